//! The keys that are remembered: at most so many, the one whose last window was observed longest ago forgotten first.

use std::collections::BTreeMap;

use tideline_common::key::Key;

use crate::history::History;

/// A prediction that waits for its window.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// What the model saw; absent features are NaN.
    pub(super) sample: Vec<f64>,
    pub(super) predicted: Option<f64>,
}

/// What belongs to a key.
#[derive(Clone, Debug)]
pub(super) struct KeyState {
    pub(super) history: History,
    /// One place per version.
    pub(super) waiting: Vec<Option<Waiting>>,
}

impl KeyState {
    pub(super) fn new(columns: usize, versions: usize) -> Self {
        Self { history: History::new(columns), waiting: vec![None; versions] }
    }
}

/// The keys, with their order.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    max: usize,
    states: ahash::HashMap<Key, (u64, KeyState)>,
    /// Key by the moment of its last window, counted in windows.
    order: BTreeMap<u64, Key>,
    moment: u64,
}

impl Keys {
    pub(super) fn new(max: usize) -> Self {
        Self { max, states: ahash::HashMap::default(), order: BTreeMap::new(), moment: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&KeyState> {
        self.states.get(key).map(|(_, state)| state)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut KeyState> {
        self.states.get_mut(key).map(|(_, state)| state)
    }

    /// The state of `key`, which is now the youngest; and whether the oldest was forgotten for it.
    pub(super) fn touch(&mut self, key: &Key, new: impl FnOnce() -> KeyState) -> (&mut KeyState, bool) {
        self.moment += 1;
        let moment = self.moment;
        let mut evicted = false;
        if let Some((last, _)) = self.states.get_mut(key) {
            let key = self.order.remove(last).unwrap_or_else(|| key.clone());
            self.order.insert(moment, key);
            *last = moment;
        } else {
            if self.states.len() >= self.max
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.states.remove(&oldest);
                evicted = true;
            }
            self.order.insert(moment, key.clone());
        }
        let (_, state) = self.states.entry(key.clone()).or_insert_with(|| (moment, new()));
        (state, evicted)
    }

    /// Adds a key that is younger than all.
    pub(super) fn push(&mut self, key: &Key, state: KeyState) {
        self.touch(key, || state);
    }

    /// All keys, from the oldest to the youngest.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &KeyState)> {
        self.order.values().filter_map(|key| self.states.get(key).map(|(_, state)| (key, state)))
    }
}
