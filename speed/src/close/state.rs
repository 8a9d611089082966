//! All that one partition of a view's changes has come to, and its form in a checkpoint.
//!
//! ```text
//! "TIDECLSE" | format 2 | view text | partition varint | sequence varint | version text | next offset varint
//! | records: n × (topic text | key: 0, or 1 and bytes | headers: n × (name text, bytes) | payload bytes)
//! | objects: n × (path text | 0: it is gone, or 1 and bytes) | posts: n × (alert text | id text | body bytes) | consumers: n × (name text | what it saved, bytes)
//! | board, see Board::write | CRC-32 of everything before it, 4 bytes
//! ```
//! Format 1, which is still read, had no objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tideline_common::changes::Change;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::ViewSchema;
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::state::{CodecError, Reader, write_bytes, write_varint};
use tideline_common::time::Timestamp;
use tideline_common::window::Window;

use super::board::{Board, Kind, Taken};
use super::consumer::{self, Consumer, Consumers, Effect, KeyWindow, Post};
use super::marks::{Ends, Terms};

const MAGIC: &[u8; 8] = b"TIDECLSE";
const FORMAT: u8 = 2;
/// The format before: without objects.
const FORMAT_WITHOUT_OBJECTS: u8 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    view: Arc<ViewPlan>,
    schema: ViewSchema,
    partition: Partition,
    /// Number of the next checkpoint.
    pub(super) sequence: u64,
    /// The next change to read.
    pub(super) next: Offset,
    pub(super) board: Board,
    consumers: Vec<Box<dyn Consumer>>,
    /// The kind of window of each consumer, by index.
    kind_of: Vec<usize>,
    /// Decided, and not known to be in their topics.
    pub(super) records: Vec<(String, NewRecord)>,
    /// Decided, and not known to be in the lake: the content of a path, or that it is gone.
    pub(super) objects: BTreeMap<String, Option<Bytes>>,
    /// Decided, and not known to have been taken.
    pub(super) posts: Vec<Post>,
    /// Whether there is more than in the last checkpoint.
    pub(super) is_new: bool,
}

/// What a round has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Rows of windows that have closed.
    pub(super) rows: u64,
    /// Whether more can close.
    pub(super) more: bool,
    /// Whether something was decided that is to be done.
    pub(super) decided: bool,
    /// Posts for which there was no room, by alert.
    pub(super) dropped: BTreeMap<String, u64>,
}

/// What a checkpoint cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum DamagedState {
    #[error("it is no checkpoint of closing windows")]
    Magic,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("format {0} is not known to this program")]
    Format(u8),
    #[error("it is of another view, partition or place")]
    Other,
    #[error("{0}")]
    Codec(#[from] CodecError),
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(plan: &Plan, view: &Arc<ViewPlan>, partition: Partition, others: &dyn Consumers) -> Self {
        let consumers = consumer::of(plan, view, partition, others);
        let mut windows: Vec<(Window, bool)> = Vec::new();
        let mut kind_of = Vec::new();
        for consumer in &consumers {
            let window = consumer.window();
            let at = windows.iter().position(|(known, _)| *known == window).unwrap_or_else(|| {
                windows.push((window, false));
                windows.len() - 1
            });
            windows[at].1 |= consumer.wants_previous();
            kind_of.push(at);
        }
        let kinds = windows.into_iter().map(|(window, before)| Kind::new(window, before)).collect();
        let sources = plan.sources.iter().filter(|source| view.sources.contains(&source.name));
        let terms = |source: &tideline_common::plan::SourcePlan| Terms {
            lateness: source.lateness,
            idle_after: source.idle_after,
        };
        let terms: BTreeMap<String, Terms> = sources.map(|source| (source.name.clone(), terms(source))).collect();
        let follows = consumers.iter().any(|consumer| consumer.follows());
        Self {
            view: Arc::clone(view),
            schema: ViewSchema::from(view.as_ref()),
            partition,
            sequence: 0,
            next: 0,
            board: Board::new(Arc::clone(view), kinds, terms, follows),
            consumers,
            kind_of,
            records: Vec::new(),
            objects: BTreeMap::new(),
            posts: Vec::new(),
            is_new: true,
        }
    }

    /// Takes in records of changes.
    ///
    /// # Errors
    /// One that cannot be read.
    pub(super) fn take(&mut self, records: &[Record]) -> Result<Taken, CodecError> {
        let mut taken = Taken::default();
        for record in records {
            // Of another version of the view: nothing to us.
            if let Some((change, part)) = Change::decode_part(&record.payload, &self.schema)? {
                let some = self.board.take(&change, part);
                taken.changed += some.changed;
                taken.late += some.late;
            }
            self.next = self.next.max(record.offset + 1);
        }
        self.is_new |= !records.is_empty();
        Ok(taken)
    }

    /// Looks at running windows, closes those that can change no more, and decides what follows. Of each alert at most
    /// `most_posts` posts wait.
    pub(super) fn round(&mut self, ends: Option<&Ends>, now: Timestamp, most_rows: usize, most_posts: usize) -> Round {
        let mut effects = Vec::new();
        let mut round = Round::default();
        let wanted: Vec<bool> = (0..self.board.kinds().len())
            .map(|kind| self.consumers.iter().zip(&self.kind_of).any(|(c, at)| *at == kind && c.follows()))
            .collect();
        if wanted.contains(&true) {
            for row in self.board.take_running(&wanted) {
                let window = self.board.kinds()[row.kind].window();
                let window = KeyWindow::of(&self.view, window, &row, now);
                let of_kind = self.consumers.iter_mut().zip(&self.kind_of).filter(|(_, at)| **at == row.kind);
                for (consumer, _) in of_kind.filter(|(consumer, _)| consumer.follows()) {
                    consumer.changed(&window, &mut effects);
                }
            }
        }
        if let Some(ends) = ends {
            let closed = self.board.close(ends, now, most_rows);
            (round.rows, round.more) = (closed.rows.len() as u64, closed.more);
            for row in &closed.rows {
                let window = self.board.kinds()[row.kind].window();
                let window = KeyWindow::of(&self.view, window, row, now);
                let of_kind = self.consumers.iter_mut().zip(&self.kind_of).filter(|(_, at)| **at == row.kind);
                for (consumer, _) in of_kind {
                    consumer.closed(&window, &mut effects);
                }
            }
            if let Some(through) = self.board.through() {
                for consumer in &mut self.consumers {
                    consumer.forget(through);
                }
            }
        }
        let complete = self.board.take_complete();
        for (consumer, kind) in self.consumers.iter_mut().zip(&self.kind_of) {
            if let Some(through) = complete[*kind] {
                consumer.complete(through, now, &mut effects);
            }
        }
        round.decided = !effects.is_empty();
        self.is_new |= round.decided || round.rows > 0;
        round.dropped = self.decide(effects, most_posts);
        round
    }

    /// Takes note of what is to be done. Answers the posts for which there was no room, by alert: one whose receiver is gone
    /// takes none from the others.
    fn decide(&mut self, effects: Vec<Effect>, most_posts: usize) -> BTreeMap<String, u64> {
        let mut dropped = BTreeMap::new();
        let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
        if effects.iter().any(|effect| matches!(effect, Effect::Post(_))) {
            for post in &self.posts {
                *waiting.entry(post.alert.clone()).or_default() += 1;
            }
        }
        for effect in effects {
            match effect {
                Effect::Append { topic, record } => self.records.push((topic, record)),
                Effect::Store { path, content } => {
                    self.objects.insert(path, content);
                }
                Effect::Post(post) => {
                    let waiting = waiting.entry(post.alert.clone()).or_default();
                    if *waiting < most_posts {
                        *waiting += 1;
                        self.posts.push(post);
                    } else {
                        *dropped.entry(post.alert).or_default() += 1;
                    }
                }
            }
        }
        dropped
    }

    /// The checkpoint of this state.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(FORMAT);
        write_bytes(self.view.name.as_bytes(), &mut out);
        write_varint(u64::from(self.partition), &mut out);
        write_varint(self.sequence, &mut out);
        write_bytes(self.view.version.as_bytes(), &mut out);
        write_varint(self.next, &mut out);
        write_varint(self.records.len() as u64, &mut out);
        for (topic, record) in &self.records {
            write_bytes(topic.as_bytes(), &mut out);
            out.push(u8::from(record.key.is_some()));
            if let Some(key) = &record.key {
                write_bytes(key, &mut out);
            }
            write_varint(record.headers.len() as u64, &mut out);
            for (name, value) in &record.headers {
                write_bytes(name.as_bytes(), &mut out);
                write_bytes(value, &mut out);
            }
            write_bytes(&record.payload, &mut out);
        }
        write_varint(self.objects.len() as u64, &mut out);
        for (path, content) in &self.objects {
            write_bytes(path.as_bytes(), &mut out);
            out.push(u8::from(content.is_some()));
            if let Some(content) = content {
                write_bytes(content, &mut out);
            }
        }
        write_varint(self.posts.len() as u64, &mut out);
        for post in &self.posts {
            write_bytes(post.alert.as_bytes(), &mut out);
            write_bytes(post.id.as_bytes(), &mut out);
            write_bytes(&post.body, &mut out);
        }
        write_varint(self.consumers.len() as u64, &mut out);
        for consumer in &self.consumers {
            write_bytes(consumer.name().as_bytes(), &mut out);
            let mut saved = Vec::new();
            consumer.save(&mut saved);
            write_bytes(&saved, &mut out);
        }
        self.board.write(&mut out);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Takes over a checkpoint, into a state of which nothing is known yet. Of one of another version of the view all
    /// but the panes: what has closed, what is still to be done, and what consumers remember. `true` when it is of this one.
    ///
    /// # Errors
    /// Bytes that are no checkpoint of this view and partition, or of another sequence than `sequence`.
    pub(super) fn decode(&mut self, bytes: &[u8], sequence: u64) -> Result<bool, DamagedState> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(DamagedState::Magic)?;
        let rest = body.strip_prefix(MAGIC).ok_or(DamagedState::Magic)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(DamagedState::Checksum);
        }
        let mut reader = Reader::new(rest);
        let format = reader.byte()?;
        if !matches!(format, FORMAT | FORMAT_WITHOUT_OBJECTS) {
            return Err(DamagedState::Format(format));
        }
        let own = reader.text()? == self.view.name && reader.varint()? == u64::from(self.partition);
        if !own || reader.varint()? != sequence {
            return Err(DamagedState::Other);
        }
        let same = reader.text()? == self.view.version;
        let next = reader.varint()?;
        self.sequence = sequence + 1;
        for _ in 0..reader.varint()? {
            let topic = reader.text()?.to_owned();
            let key = if reader.byte()? == 0 { None } else { Some(reader.bytes()?.to_vec().into()) };
            let mut headers = Vec::new();
            for _ in 0..reader.varint()? {
                headers.push((reader.text()?.to_owned(), reader.bytes()?.to_vec().into()));
            }
            let payload = reader.bytes()?.to_vec().into();
            self.records.push((topic, NewRecord { key, headers, payload }));
        }
        let objects = if format == FORMAT_WITHOUT_OBJECTS { 0 } else { reader.varint()? };
        for _ in 0..objects {
            let path = reader.text()?.to_owned();
            let content = if reader.byte()? == 0 { None } else { Some(reader.bytes()?.to_vec().into()) };
            self.objects.insert(path, content);
        }
        for _ in 0..reader.varint()? {
            let (alert, id) = (reader.text()?.to_owned(), reader.text()?.to_owned());
            self.posts.push(Post { alert, id, body: reader.bytes()?.to_vec() });
        }
        for _ in 0..reader.varint()? {
            let (name, saved) = (reader.text()?, reader.bytes()?);
            // One that is there no more has nothing to remember.
            if let Some(consumer) = self.consumers.iter_mut().find(|consumer| consumer.name() == name) {
                consumer.restore(&mut Reader::new(saved))?;
            }
        }
        if !same {
            self.board.read_closed(&mut reader)?;
            return Ok(false);
        }
        self.next = next;
        self.board.read(&mut reader)?;
        if !reader.is_done() {
            return Err(reader.error("the end").into());
        }
        self.is_new = false;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::consumer::NoOthers;
    use super::*;

    const DEFINITION: &str = r#"
version = 1
name = "test"
[sources.events]
topic = "events"
columns = { at = "string", who = "string" }
event_time = "at"
[tables.rows]
from = "events"
columns = { who = "who" }
[views.counts]
key = ["who"]
window = "1m"
measures.n = { table = "rows", agg = "count()" }
[outputs.counts]
view = "counts"
topic = "counts"
"#;

    fn state() -> State {
        let types = &tideline_transform::SqlTypes;
        let plan = tideline_common::plan::load("test.toml", DEFINITION, &|_| None, types).unwrap();
        let view = Arc::new(plan.views[0].clone());
        State::new(&plan, &view, 3, &NoOthers)
    }

    fn with_crc(mut body: Vec<u8>) -> Vec<u8> {
        let crc = crc32fast::hash(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        body
    }

    #[test]
    fn what_was_decided_reads_back() {
        let mut one = state();
        (one.sequence, one.next) = (7, 12);
        one.objects.insert("a/b".to_owned(), Some(Bytes::from_static(b"content")));
        one.objects.insert("a/gone".to_owned(), None);
        one.records.push(("counts".to_owned(), NewRecord { payload: "{}".into(), ..NewRecord::default() }));
        let bytes = one.encode();
        let mut other = state();
        assert!(other.decode(&bytes, 7).unwrap());
        assert_eq!((other.sequence, other.next, other.objects.clone()), (8, 12, one.objects.clone()));
        assert_eq!(other.records, one.records);
        other.sequence = 7;
        assert_eq!(other.encode(), bytes);
    }

    #[test]
    fn each_alert_has_room_of_its_own_for_posts() {
        let mut state = state();
        let posts = |alert: &str, ids: std::ops::Range<u32>| -> Vec<Effect> {
            let post = |id: u32| Post { alert: alert.to_owned(), id: format!("{alert}{id}"), body: b"{}".to_vec() };
            ids.map(|id| Effect::Post(post(id))).collect()
        };
        assert_eq!(state.decide(posts("gone", 0..2), 3), BTreeMap::new());
        let both = [posts("gone", 2..7), posts("well", 0..3)].concat();
        assert_eq!(state.decide(both, 3), BTreeMap::from([("gone".to_owned(), 4)]));
        let ids: Vec<&str> = state.posts.iter().map(|post| post.id.as_str()).collect();
        assert_eq!(ids, ["gone0", "gone1", "gone2", "well0", "well1", "well2"]);
        // What waits is in the checkpoint, as many as there are.
        let mut other = self::state();
        assert!(other.decode(&state.encode(), 0).unwrap());
        assert_eq!(other.posts, state.posts);
        state.posts.retain(|post| post.id != "gone1");
        assert_eq!(state.decide(posts("gone", 7..9), 3), BTreeMap::from([("gone".to_owned(), 1)]));
    }

    #[test]
    fn a_checkpoint_of_the_format_before_is_read() {
        let mut one = state();
        (one.sequence, one.next) = (7, 12);
        let mut body = one.encode();
        body.truncate(body.len() - 4);
        let mut head = MAGIC.to_vec();
        head.push(FORMAT_WITHOUT_OBJECTS);
        write_bytes(one.view.name.as_bytes(), &mut head);
        write_varint(3, &mut head);
        write_varint(7, &mut head);
        write_bytes(one.view.version.as_bytes(), &mut head);
        write_varint(12, &mut head);
        // No record; then came what there is none of.
        write_varint(0, &mut head);
        assert_eq!((body[head.len()], &body[MAGIC.len() + 1..head.len()]), (0, &head[MAGIC.len() + 1..]));
        let old = with_crc([&head, &body[head.len() + 1..]].concat());
        let mut other = state();
        assert!(other.decode(&old, 7).unwrap());
        assert_eq!((other.next, other.objects.len()), (12, 0));
        body[MAGIC.len()] = 99;
        assert!(matches!(state().decode(&with_crc(body), 7), Err(DamagedState::Format(99))));
    }
}
