//! Checkpoints as bytes.
//!
//! ```text
//! "TIDECKPT"  8 bytes
//! version     1 byte, now 2
//! shard       text source | varint partition
//! fingerprint text, of the plan of the shard
//! position    varint | start varint
//! tail        first offset of the Bronze file that ends at the position: 0, or 1 and varint (from version 2 on)
//! watermark   highest, last appended: each 0, or 1 and zigzag varint
//! counters    varints: records, rejected, duplicates, late
//! dedupe      varint n | n × (16 bytes | zigzag varint)
//! views       varint n | n × (text name | text version | panes | late counts)
//! crc32       4 bytes little endian, of everything before
//! ```
//! Texts are a varint length and UTF-8; panes and cells as in [`tideline_common::state`].

use std::sync::Arc;

use tideline_common::position::{Offset, Shard};
use tideline_common::state::{CodecError, Reader, StateBatch, write_bytes, write_signed, write_varint};
use tideline_common::time::Timestamp;

use crate::dedupe;
use crate::program::Program;
use crate::state::{Counters, ShardState};

const MAGIC: &[u8; 8] = b"TIDECKPT";
const VERSION: u8 = 2;

/// Why bytes are not a checkpoint of this shard.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("not a checkpoint")]
    Magic,
    #[error("checkpoint format {0} is not known")]
    Version(u8),
    #[error("its checksum does not match")]
    Checksum,
    #[error("it is a checkpoint of {0}")]
    Shard(Shard),
    #[error("it is of another version of the plan")]
    Plan,
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// What a checkpoint will hold, as of one moment. Taking it is quick, whatever the number of keys seen; writing it is
/// not, and need not hold up the shard.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Everything before the keys.
    head: Vec<u8>,
    dedupe: dedupe::Snapshot,
    /// Everything after them.
    views: Vec<u8>,
}

impl Snapshot {
    /// The checkpoint.
    pub(crate) fn encode(self) -> Vec<u8> {
        let Self { head: mut out, dedupe, views } = self;
        dedupe.write(&mut out);
        drop(dedupe);
        out.extend_from_slice(&views);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }
}

/// The state, to be written as a checkpoint. `tail`: first offset of the Bronze file that ends at its position.
pub(crate) fn snapshot(state: &mut ShardState, tail: Option<Offset>) -> Snapshot {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    write_bytes(state.shard.source.as_bytes(), &mut out);
    write_varint(u64::from(state.shard.partition), &mut out);
    write_bytes(state.program.fingerprint.as_bytes(), &mut out);
    write_varint(state.position, &mut out);
    write_varint(state.start, &mut out);
    out.push(u8::from(tail.is_some()));
    if let Some(tail) = tail {
        write_varint(tail, &mut out);
    }
    write_time(state.watermark.highest, &mut out);
    write_time(state.watermark.last_appended, &mut out);
    let counters = state.counters;
    for counter in [counters.records, counters.rejected, counters.duplicates, counters.late] {
        write_varint(counter, &mut out);
    }
    let mut views = Vec::new();
    write_varint(state.views.len() as u64, &mut views);
    for (program, view) in state.program.views.iter().zip(&state.views) {
        write_bytes(program.schema.name.as_bytes(), &mut views);
        write_bytes(program.schema.version.as_bytes(), &mut views);
        view.panes.groups().write(&mut views);
        view.late.write(&mut views);
    }
    Snapshot { head: out, dedupe: state.dedupe.snapshot(), views }
}

/// Whether the bytes are whole: magic and checksum are right.
pub(crate) fn check(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(DecodeError::Magic)?;
    if !body.starts_with(MAGIC) {
        return Err(DecodeError::Magic);
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(DecodeError::Checksum);
    }
    Ok(&body[MAGIC.len()..])
}

/// The state of a checkpoint.
pub(crate) fn decode(
    bytes: &[u8],
    program: &Arc<Program>,
    shard: &Shard,
    max_late_groups: usize,
) -> Result<ShardState, DecodeError> {
    let mut reader = Reader::new(check(bytes)?);
    let version = reader.byte()?;
    if version == 0 || version > VERSION {
        return Err(DecodeError::Version(version));
    }
    let source = reader.text()?.to_owned();
    let partition = u32::try_from(reader.varint()?).map_err(|_| reader.error("a partition"))?;
    let owner = Shard::new(source, partition);
    if owner != *shard {
        return Err(DecodeError::Shard(owner));
    }
    if reader.text()? != program.fingerprint {
        return Err(DecodeError::Plan);
    }
    let position = reader.varint()?;
    let start = reader.varint()?;
    let tail = if version >= 2 && reader.byte()? != 0 { Some(reader.varint()?) } else { None };
    let mut state = ShardState::new(Arc::clone(program), shard.clone(), start, max_late_groups);
    state.position = position;
    state.tail = tail;
    state.watermark.highest = read_time(&mut reader)?;
    state.watermark.last_appended = read_time(&mut reader)?;
    state.counters = Counters {
        records: reader.varint()?,
        rejected: reader.varint()?,
        duplicates: reader.varint()?,
        late: reader.varint()?,
    };
    state.dedupe.read(&mut reader)?;
    if reader.varint()? != program.views.len() as u64 {
        return Err(DecodeError::Plan);
    }
    for (at, view) in program.views.iter().enumerate() {
        if reader.text()? != view.schema.name || reader.text()? != view.schema.version {
            return Err(DecodeError::Plan);
        }
        let mut panes = StateBatch::new(&view.schema.fields);
        panes.read(&mut reader)?;
        state.restore_panes(at, &panes);
        state.views[at].late.read(&mut reader)?;
    }
    if !reader.is_done() {
        return Err(reader.error("the end").into());
    }
    state.restored();
    Ok(state)
}

fn write_time(time: Option<Timestamp>, out: &mut Vec<u8>) {
    out.push(u8::from(time.is_some()));
    if let Some(time) = time {
        write_signed(time.0, out);
    }
}

fn read_time(reader: &mut Reader<'_>) -> Result<Option<Timestamp>, CodecError> {
    Ok(if reader.byte()? == 0 { None } else { Some(Timestamp(reader.signed()?)) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tideline_common::plan::{EventTime, Field, Plan, SourcePlan, Start, TimeFormat};
    use tideline_common::time::Span;
    use tideline_common::value::Type;

    use super::*;

    fn program(version: &str) -> Arc<Program> {
        let source = SourcePlan {
            name: "s".to_owned(),
            topic: "s".to_owned(),
            partitions: 1,
            retention: None,
            retain_bronze: None,
            start: Start::Earliest,
            columns: vec![Field { name: "at".to_owned(), ty: Type::Int }],
            required: Vec::new(),
            event_time: EventTime { column: "at".to_owned(), format: TimeFormat::EpochMillis },
            key: None,
            lateness: Span::ZERO,
            max_ahead: None,
            idle_after: Span::MINUTE,
            dedupe: None,
            checks: Vec::new(),
            version: version.to_owned(),
        };
        let plan = Plan {
            name: "p".to_owned(),
            sources: vec![source.clone()],
            tables: Vec::new(),
            views: Vec::new(),
            lookups: Vec::new(),
            reports: Vec::new(),
            alerts: Vec::new(),
            outputs: Vec::new(),
            predictions: Vec::new(),
            row_outputs: Vec::new(),
            endpoints: Vec::new(),
        };
        Arc::new(Program::new(&plan, &source).unwrap())
    }

    fn state() -> ShardState {
        let mut state = ShardState::new(program("1"), Shard::new("s", 3), 5, 10);
        state.position = 700;
        state.watermark.observe(Timestamp(-7), Timestamp(1 << 50));
        state.counters = Counters { records: 695, rejected: 3, duplicates: 2, late: 1 };
        for key in 0..20 {
            state.dedupe.is_duplicate(key, Timestamp(5), i64::MIN);
        }
        state
    }

    fn encode(state: &mut ShardState, tail: Option<Offset>) -> Vec<u8> {
        snapshot(state, tail).encode()
    }

    #[test]
    fn a_state_comes_back() {
        let bytes = encode(&mut state(), Some(650));
        let mut read = decode(&bytes, &program("1"), &Shard::new("s", 3), 10).unwrap();
        assert_eq!((read.position, read.start, read.counters), (700, 5, state().counters));
        assert_eq!(read.tail, Some(650));
        assert_eq!((read.watermark, read.dedupe.len()), (state().watermark, 20));
        assert!(!read.is_dirty());
        let tail = read.tail;
        assert_eq!(encode(&mut read, tail), bytes);
    }

    #[test]
    fn what_is_damaged_or_of_another_is_refused() {
        let bytes = encode(&mut state(), None);
        let (program, shard) = (program("1"), Shard::new("s", 3));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(decode(&flipped, &program, &shard, 10).is_err(), "byte {at}");
            assert!(decode(&bytes[..at], &program, &shard, 10).is_err(), "cut at {at}");
        }
        let error = |program: &Arc<Program>, shard: &Shard| decode(&bytes, program, shard, 10).unwrap_err();
        assert_eq!(error(&program, &Shard::new("s", 4)), DecodeError::Shard(shard.clone()));
        assert_eq!(error(&super::tests::program("2"), &shard), DecodeError::Plan);
        let mut newer = bytes[..bytes.len() - 4].to_vec();
        newer[8] = VERSION + 1;
        newer.extend_from_slice(&crc32fast::hash(&newer).to_le_bytes());
        assert_eq!(decode(&newer, &program, &shard, 10).unwrap_err(), DecodeError::Version(VERSION + 1));
    }
}
