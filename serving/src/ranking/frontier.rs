//! How far a copy has come, shard by shard: up to where it has every change.

use std::collections::{BTreeMap, VecDeque};

use tideline_common::changes::Part;
use tideline_common::ports::Progress;
use tideline_common::position::{Offset, Shard};
use tideline_common::watermark::Watermark;

/// Changes of one shard of which only some parts have come; of more, the oldest are forgotten: a later change that is
/// whole makes up for them.
const OPEN_MAX: usize = 16;

/// A change of which only some parts have come.
#[derive(Debug)]
struct Open {
    position: Offset,
    seen: Vec<bool>,
    left: u64,
}

/// A shard's place.
#[derive(Debug, Default)]
struct Mark {
    position: Offset,
    watermark: Watermark,
    open: VecDeque<Open>,
}

/// The place of every shard.
#[derive(Debug, Default)]
pub(crate) struct Frontier(BTreeMap<Shard, Mark>);

impl Frontier {
    /// Where a copy stands that was read after `progress`: it has at least as much.
    pub(crate) fn of(progress: &[(Shard, Progress)]) -> Self {
        let mark = |progress: &Progress| Mark {
            position: progress.position,
            watermark: Watermark { highest: progress.highest, last_appended: progress.last_appended },
            open: VecDeque::new(),
        };
        Self(progress.iter().map(|(shard, progress)| (shard.clone(), mark(progress))).collect())
    }

    /// Takes note of a part of a change. When all parts have come, the shard stands there.
    pub(crate) fn note(&mut self, shard: &Shard, position: Offset, watermark: Watermark, part: Part) {
        if !self.0.contains_key(shard) {
            self.0.insert(shard.clone(), Mark::default());
        }
        let Some(mark) = self.0.get_mut(shard) else { return };
        if position <= mark.position && mark.position > 0 {
            return;
        }
        let Some(parts) = usize::try_from(part.parts).ok().filter(|_| part.part < part.parts) else { return };
        let at = mark.open.iter().position(|open| open.position == position && open.seen.len() == parts);
        let at = at.unwrap_or_else(|| {
            if mark.open.len() == OPEN_MAX {
                mark.open.pop_front();
            }
            mark.open.push_back(Open { position, seen: vec![false; parts], left: part.parts });
            mark.open.len() - 1
        });
        let open = &mut mark.open[at];
        if !std::mem::replace(&mut open.seen[part.part as usize], true) {
            open.left -= 1;
        }
        if open.left == 0 {
            (mark.position, mark.watermark) = (position, watermark);
            mark.open.retain(|open| open.position > position);
        }
    }

    /// Whether every shard of `goal` has come as far as it says.
    pub(crate) fn has_reached(&self, goal: &[(Shard, Progress)]) -> bool {
        goal.iter().all(|(shard, progress)| {
            progress.position == 0 || self.0.get(shard).is_some_and(|mark| mark.position >= progress.position)
        })
    }

    /// Position and watermark of every shard, as the speed views tell them.
    pub(crate) fn progress(&self) -> Vec<(Shard, Progress)> {
        let progress = |mark: &Mark| Progress {
            position: mark.position,
            highest: mark.watermark.highest,
            last_appended: mark.watermark.last_appended,
            ..Progress::default()
        };
        self.0.iter().map(|(shard, mark)| (shard.clone(), progress(mark))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: u64) -> Part {
        Part { part, parts: 3, bucket: None }
    }

    #[test]
    fn a_shard_stands_where_all_parts_have_come() {
        let shard = Shard::new("s", 0);
        let mut frontier = Frontier::of(&[(shard.clone(), Progress { position: 5, ..Progress::default() })]);
        let at = |frontier: &Frontier| frontier.progress()[0].1.position;
        for (position, number) in [(9, 0), (9, 2), (9, 0), (4, 1), (12, 1)] {
            frontier.note(&shard, position, Watermark::default(), part(number));
            assert_eq!(at(&frontier), 5, "{position} {number}");
        }
        frontier.note(&shard, 9, Watermark::default(), part(1));
        assert_eq!(at(&frontier), 9);
        let goal = |position| [(shard.clone(), Progress { position, ..Progress::default() })];
        assert!(frontier.has_reached(&goal(9)) && !frontier.has_reached(&goal(10)));
        // What is older never takes it back, and another shard begins on its own.
        frontier.note(&shard, 7, Watermark::default(), Part { part: 0, parts: 1, bucket: None });
        assert_eq!(at(&frontier), 9);
        frontier.note(&Shard::new("s", 1), 3, Watermark::default(), Part { part: 0, parts: 1, bucket: None });
        assert_eq!(frontier.progress()[1].1.position, 3);
        assert!(frontier.has_reached(&[(Shard::new("s", 2), Progress::default())]), "nothing to reach");
    }

    #[test]
    fn parts_that_never_come_are_forgotten() {
        let shard = Shard::new("s", 0);
        let mut frontier = Frontier::default();
        for position in 1..1_000 {
            frontier.note(&shard, position, Watermark::default(), part(0));
        }
        assert_eq!(frontier.0[&shard].open.len(), OPEN_MAX);
    }
}
