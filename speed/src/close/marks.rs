//! How far the shards behind a view have come, and how far all of them together.

use std::collections::BTreeMap;

use tideline_common::position::{Offset, Shard};
use tideline_common::state::{CodecError, Reader, write_bytes, write_signed, write_varint};
use tideline_common::time::{Span, Timestamp};
use tideline_common::watermark::Watermark;

/// What a source promises about its records' times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Watermark = highest event time − this.
    pub(super) lateness: Span,
    /// A partition without a record for this long holds no other back.
    pub(super) idle_after: Span,
}

/// The first and the next offset of every partition that there is behind a view.
pub(super) type Ends = BTreeMap<Shard, (Offset, Offset)>;

/// A shard's place: everything before the position is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    position: Offset,
    watermark: Watermark,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(BTreeMap<Shard, Mark>);

impl Marks {
    /// Takes note that everything of a shard before `position` is known.
    pub(super) fn note(&mut self, shard: &Shard, position: Offset, watermark: Watermark) {
        let mark = Mark { position, watermark };
        match self.0.get_mut(shard) {
            Some(known) if position > known.position => *known = mark,
            Some(_) => {}
            None => {
                self.0.insert(shard.clone(), mark);
            }
        }
    }

    /// Up to where no shard changes anything any more: the least watermark of the shards that are not idle.
    ///
    /// - A shard that has records and has not been heard of holds everything back, and so does one whose partition has
    ///   records that it has not taken in: it is not idle, however long ago its last record came.
    /// - A shard that has taken in everything is idle when its last record was appended longer ago than its source's
    ///   `idle_after`; with all of them idle the highest watermark counts, so that the end of a stream does close.
    /// - A partition without a readable record does not count.
    pub(super) fn watermark(&self, terms: &BTreeMap<String, Terms>, ends: &Ends, now: Timestamp) -> Option<Timestamp> {
        let (mut active, mut idle): (Option<Timestamp>, Option<Timestamp>) = (None, None);
        for (shard, (first, next)) in ends {
            if next > first && !self.0.contains_key(shard) {
                return None;
            }
        }
        for (shard, mark) in &self.0 {
            let Some(terms) = terms.get(&shard.source) else { continue };
            let behind = ends.get(shard).is_some_and(|(_, next)| mark.position < *next);
            let at = match mark.watermark.at(terms.lateness) {
                Some(at) => at,
                None if behind => return None,
                None => continue,
            };
            let silent = mark.watermark.last_appended.is_none_or(|appended| now.since(appended) > terms.idle_after);
            if silent && !behind {
                idle = Some(idle.map_or(at, |other| other.max(at)));
            } else {
                active = Some(active.map_or(at, |other| other.min(at)));
            }
        }
        active.or(idle)
    }

    /// Whether this shard has been heard of.
    #[cfg(test)]
    pub(super) fn position(&self, shard: &Shard) -> Option<Offset> {
        self.0.get(shard).map(|mark| mark.position)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(self.0.len() as u64, out);
        for (shard, mark) in &self.0 {
            write_bytes(shard.source.as_bytes(), out);
            write_varint(u64::from(shard.partition), out);
            write_varint(mark.position, out);
            for time in [mark.watermark.highest, mark.watermark.last_appended] {
                write_time(time, out);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut marks = BTreeMap::new();
        for _ in 0..reader.varint()? {
            let source = reader.text()?.to_owned();
            let partition = u32::try_from(reader.varint()?).map_err(|_| reader.error("a partition"))?;
            let position = reader.varint()?;
            let watermark = Watermark { highest: read_time(reader)?, last_appended: read_time(reader)? };
            marks.insert(Shard { source, partition }, Mark { position, watermark });
        }
        Ok(Self(marks))
    }
}

pub(super) fn write_time(time: Option<Timestamp>, out: &mut Vec<u8>) {
    out.push(u8::from(time.is_some()));
    if let Some(time) = time {
        write_signed(time.0, out);
    }
}

pub(super) fn read_time(reader: &mut Reader<'_>) -> Result<Option<Timestamp>, CodecError> {
    Ok(if reader.byte()? == 0 { None } else { Some(Timestamp(reader.signed()?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(partition: u32) -> Shard {
        Shard::new("s", partition)
    }

    fn watermark(highest: i64, appended: i64) -> Watermark {
        Watermark { highest: Some(Timestamp(highest)), last_appended: Some(Timestamp(appended)) }
    }

    /// (partition, position, highest, appended) → the watermark at `now`, with lateness 10 and patience 100.
    fn at(marks: &[(u32, u64, i64, i64)], ends: &[(u32, u64, u64)], now: i64) -> Option<i64> {
        let mut all = Marks::default();
        for (partition, position, highest, appended) in marks {
            all.note(&shard(*partition), *position, watermark(*highest, *appended));
        }
        let terms = BTreeMap::from([("s".to_owned(), Terms { lateness: Span(10), idle_after: Span(100) })]);
        let ends = ends.iter().map(|(partition, first, next)| (shard(*partition), (*first, *next))).collect();
        all.watermark(&terms, &ends, Timestamp(now)).map(Timestamp::micros)
    }

    #[test]
    fn the_slowest_that_is_not_idle_counts() {
        let two = [(0, 5, 50, 1_000), (1, 7, 90, 1_000)];
        let ends = [(0, 0, 5), (1, 0, 7)];
        assert_eq!(at(&[], &[], 0), None);
        assert_eq!(at(&two, &ends, 1_050), Some(40));
        assert_eq!(at(&[(0, 5, 50, 1), two[1]], &ends, 1_050), Some(80), "the first is idle");
        assert_eq!(at(&two, &ends, 5_000), Some(80), "all are");
    }

    #[test]
    fn who_has_records_to_read_is_not_idle() {
        let two = [(0, 5, 50, 1), (1, 7, 90, 1_000)];
        assert_eq!(at(&two, &[(0, 0, 6), (1, 0, 7)], 1_050), Some(40));
    }

    #[test]
    fn who_was_not_heard_of_holds_back_if_it_has_records() {
        let one = [(1, 7, 90, 1_000)];
        assert_eq!(at(&one, &[(0, 0, 1), (1, 0, 7)], 1_050), None);
        assert_eq!(at(&one, &[(0, 0, 0), (1, 0, 7)], 1_050), Some(80));
        // All that it had has expired: there is nothing to hear of.
        assert_eq!(at(&one, &[(0, 9, 9), (1, 0, 7)], 1_050), Some(80));
    }

    #[test]
    fn who_has_no_readable_record_counts_once_it_has_all() {
        let mut marks = Marks::default();
        marks.note(&shard(0), 3, Watermark::default());
        marks.note(&shard(1), 7, watermark(90, 1_000));
        let terms = BTreeMap::from([("s".to_owned(), Terms { lateness: Span(10), idle_after: Span(100) })]);
        let at = |next| marks.watermark(&terms, &Ends::from([(shard(0), (0, next))]), Timestamp(1_000));
        assert_eq!((at(3), at(4)), (Some(Timestamp(80)), None));
    }

    #[test]
    fn what_is_older_takes_nobody_back_and_all_reads_back() {
        let mut marks = Marks::default();
        marks.note(&shard(0), 9, watermark(50, 2));
        marks.note(&shard(0), 7, watermark(10, 1));
        marks.note(&shard(3), 0, Watermark::default());
        assert_eq!((marks.position(&shard(0)), marks.position(&shard(1))), (Some(9), None));
        let mut bytes = Vec::new();
        marks.write(&mut bytes);
        assert_eq!(Marks::read(&mut Reader::new(&bytes)), Ok(marks));
    }
}
