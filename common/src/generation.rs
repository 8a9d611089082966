//! Generations of what the speed layer keeps: a replay makes its views and checkpoints anew beside those in use, and
//! takes over when they are whole.
//!
//! ```text
//! replays/<generation, 10 digits>/begun    a replay makes this generation
//! replays/<generation, 10 digits>/built    its views and checkpoints are whole: it is the one in use
//! replays/<generation, 10 digits>/done     Gold has been made anew too
//! ```
//! Each is put only if absent, and none is ever changed: the generation in use is the highest that is built, and 0 where
//! there has been no replay. Names of generation 0 are bare; those of a later one carry it, so two never meet, and a
//! worker of the one before, however late it wakes, writes to what nobody reads any more.

use std::collections::BTreeMap;

use crate::ports::{Objects, PortResult};
use crate::position::Shard;

/// Folder of what replays note.
pub const REPLAYS: &str = "replays";

/// Between a name and its generation: no name of a definition has it.
const SEPARATOR: char = '@';

/// Number of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It is being made.
    Begun,
    /// Views and checkpoints are whole.
    Built,
    /// Gold is too.
    Done,
}

impl Step {
    const ALL: [(Self, &'static str); 3] = [(Self::Begun, "begun"), (Self::Built, "built"), (Self::Done, "done")];

    /// The object that says that a replay has come here.
    pub fn path(self, generation: Generation) -> String {
        let name = Self::ALL.into_iter().find_map(|(step, name)| (step == self).then_some(name)).unwrap_or_default();
        format!("{REPLAYS}/{:010}/{name}", generation.0)
    }
}

impl Generation {
    /// A name of this generation: of a version, a source, a plan.
    pub fn name(self, bare: &str) -> String {
        if self.0 == 0 { bare.to_owned() } else { format!("{bare}{SEPARATOR}{}", self.0) }
    }

    /// Takes a name apart; `None` when what follows the separator is no generation.
    pub fn parse(name: &str) -> Option<(&str, Self)> {
        match name.rsplit_once(SEPARATOR) {
            None => Some((name, Self(0))),
            Some((bare, number)) => Some((bare, Self(number.parse().ok().filter(|number| *number > 0)?))),
        }
    }

    /// The shard by which rows of this generation are told apart from those of others.
    pub fn shard(self, shard: &Shard) -> Shard {
        Shard { source: self.name(&shard.source), partition: shard.partition }
    }

    /// The shard whose rows these are, if they are of this generation.
    pub fn own(self, shard: &Shard) -> Option<Shard> {
        let (source, generation) = Self::parse(&shard.source)?;
        (generation == self).then(|| Shard::new(source, shard.partition))
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What is known of replays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replays(BTreeMap<Generation, Step>);

impl Replays {
    /// What the lake knows of them.
    ///
    /// # Errors
    /// What the object store answers.
    pub async fn read(objects: &dyn Objects) -> PortResult<Self> {
        let found = objects.list(REPLAYS).await?;
        Ok(Self::of(found.iter().map(|object| object.path.as_str())))
    }

    /// From the paths below [`REPLAYS`]; others are passed over.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut replays: BTreeMap<Generation, Step> = BTreeMap::new();
        for path in paths {
            let Some((number, name)) = path
                .strip_prefix(REPLAYS)
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(|rest| rest.split_once('/'))
            else {
                continue;
            };
            let step = Step::ALL.into_iter().find_map(|(step, known)| (known == name).then_some(step));
            if let (Ok(number), Some(step)) = (number.parse(), step) {
                let furthest = replays.entry(Generation(number)).or_insert(step);
                *furthest = step.max(*furthest);
            }
        }
        Self(replays)
    }

    /// The generation in use.
    pub fn current(&self) -> Generation {
        let built = self.0.iter().rev().find(|(_, step)| **step >= Step::Built);
        built.map_or(Generation(0), |(generation, _)| *generation)
    }

    /// The generation that is being made beside it.
    pub fn building(&self) -> Option<Generation> {
        let (generation, step) = self.0.last_key_value()?;
        (*step == Step::Begun).then_some(*generation)
    }

    /// The replay that has not come to its end, with how far it has come.
    pub fn unfinished(&self) -> Option<(Generation, Step)> {
        let (generation, step) = self.0.last_key_value()?;
        (*step < Step::Done).then_some((*generation, *step))
    }

    /// The generation that a new replay makes.
    pub fn next(&self) -> Generation {
        self.0.last_key_value().map_or(Generation(1), |(generation, _)| generation.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_generation() {
        let (first, third) = (Generation(0), Generation(3));
        assert_eq!((first.name("a1b2"), third.name("a1b2")), ("a1b2".to_owned(), "a1b2@3".to_owned()));
        assert_eq!(Generation::parse("a1b2@3"), Some(("a1b2", third)));
        assert_eq!(Generation::parse("a1b2"), Some(("a1b2", first)));
        // The first has one name only.
        assert_eq!((Generation::parse("a1b2@0"), Generation::parse("a1b2@x")), (None, None));
        let shard = Shard::new("tweets", 7);
        assert_eq!(third.shard(&shard).to_string(), "tweets@3/7");
        assert_eq!(third.own(&third.shard(&shard)), Some(shard.clone()));
        assert_eq!((first.own(&third.shard(&shard)), third.own(&shard)), (None, None));
        assert_eq!(first.own(&shard), Some(shard));
    }

    #[test]
    fn the_highest_that_is_built_is_in_use() {
        let of = |noted: &[(u64, Step)]| {
            let paths: Vec<String> = noted.iter().map(|(number, step)| step.path(Generation(*number))).collect();
            Replays::of(paths.iter().map(String::as_str))
        };
        let none = of(&[]);
        assert_eq!((none.current(), none.building(), none.unfinished()), (Generation(0), None, None));
        assert_eq!(none.next(), Generation(1));
        let begun = of(&[(1, Step::Begun)]);
        assert_eq!((begun.current(), begun.building()), (Generation(0), Some(Generation(1))));
        let built = of(&[(1, Step::Begun), (1, Step::Built)]);
        assert_eq!((built.current(), built.building()), (Generation(1), None));
        assert_eq!(built.unfinished(), Some((Generation(1), Step::Built)));
        let two = of(&[(1, Step::Begun), (1, Step::Built), (1, Step::Done), (2, Step::Begun)]);
        assert_eq!((two.current(), two.building(), two.next()), (Generation(1), Some(Generation(2)), Generation(3)));
        let done = of(&[(1, Step::Done), (2, Step::Begun), (2, Step::Done)]);
        assert_eq!((done.current(), done.unfinished(), done.next()), (Generation(2), None, Generation(3)));
        let others = Replays::of(["replays/x/begun", "replays/0000000004/other", "bronze/1/begun"]);
        assert_eq!(others, Replays::default());
    }
}
