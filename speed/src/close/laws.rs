//! Laws of closing: whatever the order in which changes come, however they are cut, and however often they are read, the
//! same windows close with the same rows, and these are the rows of the panes as they are in the end.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use tideline_common::aggregate::{Aggregate, Function};
use tideline_common::changes::Change;
use tideline_common::key::Key;
use tideline_common::plan::{Field, Measure, ViewPlan};
use tideline_common::ports::ViewSchema;
use tideline_common::position::Shard;
use tideline_common::record::NewRecord;
use tideline_common::state::{Reader, StateBatch, StateColumn, StateTable};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::{Type, Value};
use tideline_common::watermark::{Watermark, is_late};
use tideline_common::window::Window;

use super::board::{Board, Kind, Row};
use super::marks::{Ends, Terms};

const LATENESS: Span = Span(4);
const SHARDS: usize = 3;
const SOURCE: &str = "events";

/// An event of a shard.
#[derive(Clone, Copy, Debug)]
struct Event {
    time: i64,
    key: u8,
    amount: i64,
}

/// What a shard goes through: events, each with whether a flush follows, and after which of the flushes it begins again
/// from an earlier one (a kill).
#[derive(Clone, Debug)]
struct Story {
    events: Vec<(Event, bool)>,
    again: Vec<usize>,
}

fn view(window: Window) -> ViewPlan {
    let aggregate = Aggregate::new(Function::Count, None).unwrap();
    let fields: Vec<_> = aggregate.states().iter().map(|spec| spec.field("n".to_owned(), "rows", None)).collect();
    let measure = Measure {
        name: "n".to_owned(),
        table: "rows".to_owned(),
        states: vec![0],
        ty: Type::Int,
        aggregate,
        sql: "count()".to_owned(),
    };
    ViewPlan {
        name: "v".to_owned(),
        key: vec![Field { name: "who".to_owned(), ty: Type::Int }],
        window,
        pane: window.pane(),
        measures: vec![measure],
        columns: Vec::new(),
        answer: vec![Field { name: "n".to_owned(), ty: Type::Int }],
        fields,
        tables: vec!["rows".to_owned()],
        sources: vec![SOURCE.to_owned()],
        retain_speed: None,
        retain_batch: None,
        top: Vec::new(),
        version: "1".to_owned(),
    }
}

fn key(number: u8) -> Vec<u8> {
    Key::of(&[Value::Int(i64::from(number))]).0
}

/// A shard as the speed layer has it: its panes, and its watermark.
#[derive(Clone)]
struct Machine {
    at: usize,
    table: Vec<(Vec<u8>, Timestamp, i64)>,
    changed: BTreeSet<(Vec<u8>, Timestamp)>,
    watermark: Watermark,
}

impl Machine {
    fn new() -> Self {
        Self { at: 0, table: Vec::new(), changed: BTreeSet::new(), watermark: Watermark::default() }
    }

    fn take(&mut self, view: &ViewPlan, event: Event) {
        let time = Timestamp(event.time);
        let late = self.watermark.highest.is_some_and(|highest| is_late(view.window, time, highest, LATENESS));
        if !late {
            let (key, pane) = (key(event.key), time.floor(view.pane));
            match self.table.iter_mut().find(|(k, p, _)| *k == key && *p == pane) {
                Some((_, _, sum)) => *sum += event.amount,
                None => self.table.push((key.clone(), pane, event.amount)),
            }
            self.changed.insert((key, pane));
        }
        self.watermark.observe(time, Timestamp(0));
        self.at += 1;
    }

    fn flush(&mut self, view: &ViewPlan, shard: &Shard) -> Change {
        let mut panes = StateBatch::new(&view.fields);
        for (key, pane) in std::mem::take(&mut self.changed) {
            let (_, _, sum) = self.table.iter().find(|(k, p, _)| *k == key && *p == pane).unwrap();
            let at = panes.push_identity(&key, pane);
            let StateColumn::SumInt(sums) = &mut panes.states[0] else { panic!("not a sum") };
            sums[at] = *sum;
        }
        let (shard, watermark) = (shard.clone(), self.watermark);
        Change { version: view.version.clone(), shard, position: self.at as u64, watermark, panes }
    }
}

/// The changes that a shard tells, and how it is in the end.
fn tell(view: &ViewPlan, shard: &Shard, story: &Story) -> (Vec<Change>, Machine) {
    let mut machine = Machine::new();
    let mut changes = vec![machine.flush(view, shard)];
    // Where it may begin again: what was told when it was there.
    let mut checkpoints = vec![machine.clone()];
    let mut again = story.again.clone();
    while machine.at < story.events.len() {
        let (event, flush) = story.events[machine.at];
        machine.take(view, event);
        if flush || machine.at == story.events.len() {
            changes.push(machine.flush(view, shard));
            checkpoints.push(machine.clone());
            if let Some(back) = again.pop() {
                machine = checkpoints[back % checkpoints.len()].clone();
                // It says where it stands.
                changes.push(machine.flush(view, shard));
            }
        }
    }
    (changes, machine)
}

fn ends(stories: &[Story]) -> Ends {
    let end = |(at, story): (usize, &Story)| (Shard::new(SOURCE, at as u32), (0, story.events.len() as u64));
    stories.iter().enumerate().map(end).collect()
}

fn terms() -> BTreeMap<String, Terms> {
    BTreeMap::from([(SOURCE.to_owned(), Terms { lateness: LATENESS, idle_after: Span::HOUR })])
}

/// Kind, window and key → values, and those of the window before.
type Rows = BTreeMap<(usize, Timestamp, Vec<u8>), (Vec<Value>, Option<Vec<Value>>)>;

/// Rows that closed, in order of window and key; each came once.
fn closed(rows: Vec<Row>) -> Rows {
    let mut all = BTreeMap::new();
    for row in rows {
        let before = all.insert((row.kind, row.start, row.key), (row.values, row.previous));
        assert_eq!(before, None, "a window closed twice");
    }
    all
}

/// What must have closed: rows of the panes as they are in the end.
fn expected(view: &ViewPlan, kinds: &[Kind], machines: &[Machine]) -> Rows {
    let mut all = BTreeMap::new();
    let counted: Vec<&Machine> = machines.iter().filter(|machine| machine.watermark.highest.is_some()).collect();
    let Some(highest) = counted.iter().filter_map(|machine| machine.watermark.highest).min() else { return all };
    let count = |window: Window, start: i64, key: &[u8]| -> Option<i64> {
        let within = |pane: Timestamp| pane.0 >= start && pane.0 < start + window.size.0;
        let panes = machines.iter().flat_map(|machine| &machine.table);
        let found: Vec<i64> = panes.filter(|(k, pane, _)| k == key && within(*pane)).map(|(_, _, sum)| *sum).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    };
    for (at, kind) in kinds.iter().enumerate() {
        let window = kind.window();
        for start in (-200..200).map(|n| n * window.slide.0) {
            let last = Timestamp(start + window.size.0 - 1);
            if !is_late(view.window, last, highest, LATENESS) {
                break;
            }
            for key in (0..4).map(key) {
                if let Some(n) = count(window, start, &key) {
                    let previous = kind.before.then(|| count(window, start - window.slide.0, &key)).flatten();
                    let row = |n: i64| vec![Value::Int(n)];
                    all.insert((at, Timestamp(start), key), (row(n), previous.map(row)));
                }
            }
        }
    }
    all
}

/// Reads records in the order that `order` says, each shard's own in theirs, and closes as often as it says.
fn read(
    view: &Arc<ViewPlan>,
    kinds: &[Kind],
    ends: &Ends,
    told: &[Vec<NewRecord>],
    order: &[(u8, u8)],
    restart: bool,
) -> Vec<Row> {
    let schema = ViewSchema::from(view.as_ref());
    let fresh = || Board::new(Arc::clone(view), kinds.to_vec(), terms(), false);
    let (mut board, mut rows) = (fresh(), Vec::new());
    let mut queues: Vec<std::slice::Iter<'_, NewRecord>> = told.iter().map(|records| records.iter()).collect();
    let mut steps = order.iter().cycle();
    while queues.iter().any(|queue| queue.len() > 0) {
        let (which, what) = *steps.next().unwrap();
        let waiting: Vec<usize> = (0..queues.len()).filter(|at| queues[*at].len() > 0).collect();
        let record = queues[waiting[usize::from(which) % waiting.len()]].next().unwrap();
        for _ in 0..=(what % 2) {
            let (change, part) = Change::decode_part(&record.payload, &schema).unwrap().unwrap();
            board.take(&change, part);
        }
        if what % 3 == 0 {
            let most = 1 + usize::from(what) % 5;
            rows.extend(board.close(ends, Timestamp(0), most).rows);
        }
        if restart && what % 7 == 0 {
            // A kill: what it knows comes back from a checkpoint.
            let mut bytes = Vec::new();
            board.write(&mut bytes);
            board = fresh();
            let mut reader = Reader::new(&bytes);
            board.read(&mut reader).unwrap();
            assert!(reader.is_done());
        }
    }
    loop {
        let closed = board.close(ends, Timestamp(0), 3);
        rows.extend(closed.rows);
        if !closed.more {
            return rows;
        }
    }
}

fn story() -> impl Strategy<Value = Story> {
    let event = (0i64..80, 0u8..4, 1i64..5).prop_map(|(time, key, amount)| Event { time, key, amount });
    let events = prop::collection::vec((event, any::<bool>()), 0..25).prop_map(|mut events| {
        // Time goes on, by and large.
        for (at, (event, _)) in events.iter_mut().enumerate() {
            event.time = event.time / 4 + at as i64 * 3;
        }
        events
    });
    (events, prop::collection::vec(0usize..10, 0..3)).prop_map(|(events, again)| Story { events, again })
}

fn windows() -> impl Strategy<Value = (Window, Window)> {
    let window = |size: i64, slide: i64| Window::new(Span(size), Span(slide)).unwrap();
    prop_oneof![
        Just((window(10, 10), window(20, 10))),
        Just((window(12, 4), window(8, 8))),
        Just((window(9, 6), window(6, 6))),
        Just((window(5, 1), window(7, 3))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn order_cuts_and_repeats_are_not_seen(
        stories in prop::collection::vec(story(), SHARDS),
        orders in prop::collection::vec(prop::collection::vec((any::<u8>(), any::<u8>()), 1..40), 3),
        (window, other) in windows(),
        before in any::<bool>(),
    ) {
        let view = Arc::new(view(window));
        let kinds = [Kind::new(window, before), Kind::new(other, false)];
        let ends = ends(&stories);
        let told: Vec<(Vec<Change>, Machine)> = stories
            .iter()
            .enumerate()
            .map(|(at, story)| tell(&view, &Shard::new(SOURCE, at as u32), story))
            .collect();
        let machines: Vec<Machine> = told.iter().map(|(_, machine)| machine.clone()).collect();
        let expected = expected(&view, &kinds, &machines);
        for (at, order) in orders.iter().enumerate() {
            // Cut for one partition, and for several.
            let cut = |change: &Change| if at == 1 { change.encode() } else { change.encode_for(1) };
            let records: Vec<Vec<NewRecord>> =
                told.iter().map(|(changes, _)| changes.iter().flat_map(cut).collect()).collect();
            let rows = read(&view, &kinds, &ends, &records, order, at == 2);
            prop_assert_eq!(closed(rows), expected.clone(), "order {}", at);
        }
    }

    /// Of a topic of two partitions each closes the windows of its own keys, and both together those of all.
    #[test]
    fn partitions_share_the_keys(
        stories in prop::collection::vec(story(), SHARDS),
        order in prop::collection::vec((any::<u8>(), any::<u8>()), 1..40),
    ) {
        let window = Window::new(Span(12), Span(4)).unwrap();
        let view = Arc::new(view(window));
        let kinds = [Kind::new(window, true)];
        let ends = ends(&stories);
        let told: Vec<(Vec<Change>, Machine)> = stories
            .iter()
            .enumerate()
            .map(|(at, story)| tell(&view, &Shard::new(SOURCE, at as u32), story))
            .collect();
        let machines: Vec<Machine> = told.iter().map(|(_, machine)| machine.clone()).collect();
        let mut rows = Vec::new();
        for partition in 0..2_u8 {
            let own = |record: &NewRecord| record.key.as_ref().is_some_and(|key| key[0] % 2 == partition);
            let records: Vec<Vec<NewRecord>> = told
                .iter()
                .map(|(changes, _)| changes.iter().flat_map(Change::encode).filter(own).collect())
                .collect();
            rows.extend(read(&view, &kinds, &ends, &records, &order, true));
        }
        prop_assert_eq!(closed(rows), expected(&view, &kinds, &machines));
    }
}

#[test]
fn one_that_was_not_heard_of_holds_back() {
    let window = Window::new(Span(10), Span(10)).unwrap();
    let view = Arc::new(view(window));
    let mut board = Board::new(Arc::clone(&view), vec![Kind::new(window, false)], terms(), false);
    let event = |time| (Event { time, key: 1, amount: 1 }, true);
    let story = Story { events: vec![event(3), event(30)], again: Vec::new() };
    let (changes, _) = tell(&view, &Shard::new(SOURCE, 0), &story);
    let schema = ViewSchema::from(view.as_ref());
    for record in changes.iter().flat_map(|change| change.encode_for(1)) {
        let (change, part) = Change::decode_part(&record.payload, &schema).unwrap().unwrap();
        board.take(&change, part);
    }
    let both = Ends::from([(Shard::new(SOURCE, 0), (0, 2)), (Shard::new(SOURCE, 1), (0, 1))]);
    assert!(board.may_close(Timestamp(0)));
    assert_eq!(board.close(&both, Timestamp(0), 10).rows, []);
    let one = Ends::from([(Shard::new(SOURCE, 0), (0, 2)), (Shard::new(SOURCE, 1), (0, 0))]);
    let rows = board.close(&one, Timestamp(0), 10).rows;
    assert_eq!(rows.iter().map(|row| row.start).collect::<Vec<_>>(), [Timestamp(0)]);
    // What the other says then comes too late: it is counted, and closes nothing.
    let late = Story { events: vec![event(4)], again: Vec::new() };
    let (changes, _) = tell(&view, &Shard::new(SOURCE, 1), &late);
    let mut taken = 0;
    for record in changes.iter().flat_map(|change| change.encode_for(1)) {
        let (change, part) = Change::decode_part(&record.payload, &schema).unwrap().unwrap();
        taken += board.take(&change, part).late;
    }
    assert_eq!((board.close(&one, Timestamp(0), 10).rows, taken), (Vec::new(), 0), "its pane is gone");
}

/// Closed after a restart, by what was read before it: it is known of all keys then, or as soon as a change is read.
#[test]
fn what_is_complete_is_told_although_nothing_more_closes() {
    let window = Window::new(Span(10), Span(10)).unwrap();
    let view = Arc::new(view(window));
    let schema = ViewSchema::from(view.as_ref());
    let fresh = || Board::new(Arc::clone(&view), vec![Kind::new(window, false)], terms(), false);
    let shard = Shard::new(SOURCE, 0);
    let mut machine = Machine::new();
    let mut flush = |time| {
        for key in 0..4 {
            machine.take(&view, Event { time, key, amount: 1 });
        }
        let records = machine.flush(&view, &shard).encode();
        // One of two partitions.
        records.into_iter().filter(|record| record.key.as_ref().is_some_and(|key| key[0] % 2 == 0)).collect::<Vec<_>>()
    };
    let take = |board: &mut Board, records: &[NewRecord]| {
        for record in records {
            let (change, part) = Change::decode_part(&record.payload, &schema).unwrap().unwrap();
            board.take(&change, part);
        }
    };
    let again = |board: &Board| {
        let mut bytes = Vec::new();
        board.write(&mut bytes);
        let mut board = fresh();
        board.read(&mut Reader::new(&bytes)).unwrap();
        board
    };
    let ends = |next| Ends::from([(Shard::new(SOURCE, 0), (0, next))]);
    let mut board = fresh();
    take(&mut board, &flush(30));
    // One change: its buckets may not have come yet.
    let mut board = again(&board);
    assert!(!board.close(&ends(4), Timestamp(0), 100).more);
    assert_eq!((board.through(), board.take_complete()), (Some(Timestamp(20)), vec![None]));
    // The second closes nothing, and tells which keys there are.
    let second = flush(31);
    take(&mut board, &second[..1]);
    assert!(!board.may_close(Timestamp(0)));
    assert_eq!(board.take_complete(), [Some(Timestamp(20))]);
    assert_eq!(board.take_complete(), [None], "once");
    take(&mut board, &second[1..]);
    take(&mut board, &flush(50));
    // It is known from then on.
    let mut board = again(&board);
    board.close(&ends(12), Timestamp(0), 100);
    assert_eq!(board.take_complete(), [Some(Timestamp(40))]);
}

#[test]
fn what_has_closed_is_forgotten() {
    let window = Window::new(Span(10), Span(10)).unwrap();
    let view = Arc::new(view(window));
    let mut board = Board::new(Arc::clone(&view), vec![Kind::new(window, false)], terms(), false);
    let schema = ViewSchema::from(view.as_ref());
    let shard = Shard::new(SOURCE, 0);
    let mut machine = Machine::new();
    let mut most = 0;
    for time in 0..2_000 {
        machine.take(&view, Event { time, key: (time % 4) as u8, amount: 1 });
        machine.table.retain(|(_, pane, _)| pane.0 > time - 30);
        for record in machine.flush(&view, &shard).encode_for(1) {
            let (change, part) = Change::decode_part(&record.payload, &schema).unwrap().unwrap();
            board.take(&change, part);
        }
        board.close(&Ends::new(), Timestamp(0), 100);
        most = most.max(board.bytes());
    }
    let mut table = StateTable::new(&view.fields);
    for n in 0..16 {
        table.row(&key(n), Timestamp(0));
    }
    assert!(most <= 3 * table.bytes(), "{most} bytes for two panes of four keys, {} for 16 groups", table.bytes());
}
