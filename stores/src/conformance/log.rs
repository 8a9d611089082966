//! What every log must do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tideline_common::ports::{Clock, Log, PortError, ReadRequest, TopicSpec};
use tideline_common::position::{Offset, Partition};
use tideline_common::record::{NewRecord, Record};
use tideline_common::time::{Span, Timestamp};

use super::Fixture;
use crate::clock::SystemClock;

/// How long a read waits for what is certain to come.
const SOON: Duration = Duration::from_secs(30);

/// Whose clock a log goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The caller's: the `now` of an append is its append time, and that of [`Log::expire`] says what has expired.
    Told,
    /// Its own, near ours: appends and retention go by it, and [`Log::expire`] has nothing to do.
    Own,
}

/// How far a log's own clock may be from ours.
const APART: Span = Span::MINUTE;

/// Runs the suite; `fixture` makes an empty log each time.
pub async fn suite<F: Fixture<dyn Log>>(mut fixture: impl FnMut() -> F, time: Time) {
    topics(fixture()).await;
    what_is_appended_is_read(fixture(), time).await;
    bounds_of_a_read(fixture()).await;
    equal_keys_stay_together_in_order(fixture()).await;
    records_without_a_key_are_spread(fixture()).await;
    a_partition_may_be_named(fixture()).await;
    append_times_never_go_back(fixture(), time).await;
    readers_wake_on_an_append(fixture()).await;
    concurrent_appends_leave_no_holes(fixture()).await;
    what_was_answered_is_there_after_reopening(fixture()).await;
    match time {
        Time::Told => expiry(fixture()).await,
        Time::Own => nothing_expires_by_the_callers_clock(fixture()).await,
    }
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, retention: None, max_bytes: None }
}

/// A record with a text, and a key if one is given.
fn record(key: Option<&str>, text: impl Into<String>) -> NewRecord {
    NewRecord { key: key.map(|k| Bytes::from(k.to_owned())), headers: Vec::new(), payload: Bytes::from(text.into()) }
}

fn request(topic: &str, partition: Partition, from: Offset) -> ReadRequest {
    ReadRequest {
        topic: topic.to_owned(),
        partition,
        from,
        max_records: usize::MAX,
        max_bytes: usize::MAX,
        wait: Duration::ZERO,
    }
}

/// All records of a partition from `from` on, in as many reads as the log takes.
async fn read_all(log: &Arc<dyn Log>, topic: &str, partition: Partition, from: Offset) -> Vec<Record> {
    let next = log.topic(topic).await.unwrap().partitions[&partition].1;
    let mut all: Vec<Record> = Vec::new();
    let mut at = from;
    while at < next {
        let read = log.read(&ReadRequest { wait: SOON, ..request(topic, partition, at) }).await.unwrap();
        at = read.last().expect("what the log counts comes within the wait").offset + 1;
        all.extend(read);
    }
    all
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|r| std::str::from_utf8(&r.payload).unwrap()).collect()
}

async fn topics<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    let missing = log.topic("none").await.unwrap_err();
    assert!(matches!(&missing, PortError::NotFound { what } if what.contains("none")), "{missing:?}");
    let refused = log.append("none", vec![record(None, "x")], Timestamp(1)).await.unwrap_err();
    assert!(matches!(refused, PortError::NotFound { .. }), "{refused:?}");
    let refused = log.read(&request("none", 0, 0)).await.unwrap_err();
    assert!(matches!(refused, PortError::NotFound { .. }), "{refused:?}");
    log.ensure_topic(&spec("b", 3)).await.unwrap();
    log.ensure_topic(&spec("a", 1)).await.unwrap();
    log.ensure_topic(&spec("b", 7)).await.unwrap();
    let info = log.topic("b").await.unwrap();
    assert_eq!(
        info.partitions,
        BTreeMap::from([(0, (0, 0)), (1, (0, 0)), (2, (0, 0))]),
        "a topic keeps its partitions"
    );
    let names: Vec<_> = log.topics().await.unwrap().into_iter().map(|t| t.name).collect();
    assert_eq!(names.iter().filter(|n| *n == "a" || *n == "b").count(), 2);
    let refused = log.read(&request("b", 3, 0)).await.unwrap_err();
    assert!(matches!(refused, PortError::NotFound { .. }), "{refused:?}");
    for wrong in [spec("", 1), spec("a/b", 1), spec("ok", 0)] {
        let refused = log.ensure_topic(&wrong).await.unwrap_err();
        assert!(matches!(refused, PortError::Invalid { .. }), "{wrong:?}: {refused:?}");
    }
    assert!(log.append("a", Vec::new(), Timestamp(1)).await.unwrap().is_empty());
    log.commit_hint("group", "a", 0, 5).await.unwrap();
}

async fn what_is_appended_is_read<F: Fixture<dyn Log>>(mut fixture: F, time: Time) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 1)).await.unwrap();
    let full = NewRecord {
        key: Some(Bytes::from_static(b"\0key\xFF")),
        headers: vec![
            ("h".to_owned(), Bytes::from_static(b"\x00\xFE")),
            ("h".to_owned(), Bytes::new()),
            ("other".to_owned(), Bytes::from_static(b"x")),
        ],
        payload: Bytes::from_static(b"\xC3\x28 not UTF-8"),
    };
    let empty = NewRecord { key: Some(Bytes::new()), ..NewRecord::default() };
    let batch = vec![full.clone(), empty.clone(), record(None, "plain")];
    let appended = log.append("t", batch.clone(), Timestamp(1_000_000)).await.unwrap();
    assert_eq!(appended, BTreeMap::from([(0, (0, 3))]));
    let large = record(None, "x".repeat(900_000));
    assert_eq!(log.append("t", vec![large.clone()], Timestamp(2_000_000)).await.unwrap()[&0], (3, 4));
    let read = read_all(&log, "t", 0, 0).await;
    assert_eq!(read.len(), 4);
    for (i, (read, new)) in read.iter().zip(batch.iter().chain([&large])).enumerate() {
        assert_eq!(read.offset, i as u64);
        assert_eq!(read.payload, new.payload, "byte for byte");
        assert_eq!(read.key, new.key, "no key and an empty one differ");
        assert_eq!(read.headers, new.headers, "in order, also twice the same name");
        match time {
            Time::Told => assert_eq!(read.appended, Timestamp(if i < 3 { 1_000_000 } else { 2_000_000 })),
            Time::Own => {
                let apart = SystemClock.now().since(read.appended).0.abs();
                assert!(apart < APART.0, "{apart} us from our clock");
            }
        }
    }
    assert_eq!(log.topic("t").await.unwrap().partitions[&0], (0, 4));
}

async fn bounds_of_a_read<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 1)).await.unwrap();
    for block in 0..10 {
        let records = (0..10).map(|i| record(None, format!("{:010}", block * 10 + i))).collect();
        log.append("t", records, Timestamp(1)).await.unwrap();
    }
    for from in [0, 1, 9, 10, 11, 55, 99] {
        let read = read_all(&log, "t", 0, from).await;
        assert_eq!(read.first().unwrap().offset, from, "from any offset");
        assert_eq!(read.len() as u64, 100 - from);
        assert!(read.iter().all(|r| texts(std::slice::from_ref(r))[0].parse::<u64>().unwrap() == r.offset));
    }
    for max in [1, 7, 10, 25] {
        let read = log.read(&ReadRequest { max_records: max, ..request("t", 0, 5) }).await.unwrap();
        assert!(!read.is_empty() && read.len() <= max, "{} of at most {max}", read.len());
        assert_eq!(read[0].offset, 5);
    }
    assert_eq!(
        log.read(&ReadRequest { max_records: 25, max_bytes: 1, ..request("t", 0, 5) }).await.unwrap().len(),
        1,
        "at least one"
    );
    let read = log.read(&ReadRequest { max_bytes: 100, ..request("t", 0, 5) }).await.unwrap();
    assert!((1..=20).contains(&read.len()), "about 100 bytes of ten each, not {}", read.len());
    assert!(log.read(&request("t", 0, 100)).await.unwrap().is_empty(), "nothing at the end");
    assert!(log.read(&request("t", 0, 1_000)).await.unwrap().is_empty(), "nor beyond it");
    assert_eq!(log.skip("t", 0, 100).await.unwrap(), 100, "there is nothing to skip");
    let brief = ReadRequest { wait: Duration::from_millis(20), ..request("t", 0, 100) };
    assert!(log.read(&brief).await.unwrap().is_empty(), "empty when none came within the wait");
}

async fn equal_keys_stay_together_in_order<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 4)).await.unwrap();
    for round in 0..20 {
        let records = (0..50).map(|k| record(Some(&format!("key{k}")), format!("{round}"))).collect();
        log.append("t", records, Timestamp(round)).await.unwrap();
    }
    let mut seen: HashMap<Bytes, (Partition, Vec<i64>)> = HashMap::new();
    let mut used = 0;
    for partition in 0..4 {
        let records = read_all(&log, "t", partition, 0).await;
        used += usize::from(!records.is_empty());
        for r in records {
            let entry = seen.entry(r.key.clone().unwrap()).or_insert((partition, Vec::new()));
            assert_eq!(entry.0, partition, "one partition per key");
            entry.1.push(texts(&[r])[0].parse().unwrap());
        }
    }
    assert!(used > 1, "fifty keys use more than one of four partitions");
    assert_eq!(seen.len(), 50);
    let order: Vec<i64> = (0..20).collect();
    assert!(seen.values().all(|(_, rounds)| *rounds == order), "each key's records in the order of appending");
}

async fn records_without_a_key_are_spread<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 4)).await.unwrap();
    let mut total = 0;
    for _ in 0..8 {
        let records: Vec<_> = (0..2_000).map(|i| record(None, format!("{i}"))).collect();
        let appended = log.append("t", records, Timestamp(1)).await.unwrap();
        total += appended.values().map(|(first, next)| next - first).sum::<u64>();
    }
    assert_eq!(total, 16_000);
    let info = log.topic("t").await.unwrap();
    assert!(info.partitions.values().all(|(_, next)| *next > 0), "every partition has some: {info:?}");
    assert_eq!(info.partitions.values().map(|(_, next)| next).sum::<u64>(), 16_000);
}

async fn a_partition_may_be_named<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 3)).await.unwrap();
    let records = |round: u64| -> Vec<NewRecord> {
        let key = |i: u64| format!("key{i}");
        (0..700).map(|i| record((i % 2 == 0).then(|| key(i)).as_deref(), format!("{}", round * 700 + i))).collect()
    };
    for round in 0..3 {
        let range = log.append_to("t", 1, records(round), Timestamp(1)).await.unwrap();
        assert_eq!(range, (round * 700, (round + 1) * 700));
    }
    let read = read_all(&log, "t", 1, 0).await;
    let order: Vec<u64> = texts(&read).iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(order, (0..2_100).collect::<Vec<_>>(), "with and without keys, in order");
    let info = log.topic("t").await.unwrap();
    assert_eq!(info.partitions, BTreeMap::from([(0, (0, 0)), (1, (0, 2_100)), (2, (0, 0))]), "and nowhere else");
    assert_eq!(log.append_to("t", 1, Vec::new(), Timestamp(1)).await.unwrap(), (2_100, 2_100));
    for (topic, partition) in [("t", 3), ("none", 0)] {
        let refused = log.append_to(topic, partition, vec![record(None, "x")], Timestamp(1)).await.unwrap_err();
        assert!(matches!(refused, PortError::NotFound { .. }), "{refused:?}");
    }
}

async fn append_times_never_go_back<F: Fixture<dyn Log>>(mut fixture: F, time: Time) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 1)).await.unwrap();
    for now in [5_000_000, 3_000_000, 9_000_000] {
        log.append("t", vec![record(None, "x")], Timestamp(now)).await.unwrap();
    }
    drop(log);
    let log = fixture.open().await;
    log.append("t", vec![record(None, "x")], Timestamp(1_000_000)).await.unwrap();
    let times: Vec<i64> = read_all(&log, "t", 0, 0).await.iter().map(|r| r.appended.0).collect();
    match time {
        Time::Told => assert_eq!(times, [5_000_000, 5_000_000, 9_000_000, 9_000_000]),
        Time::Own => assert!(times.len() == 4 && times.is_sorted(), "{times:?}"),
    }
}

async fn readers_wake_on_an_append<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 1)).await.unwrap();
    let mut readers = Vec::new();
    for from in [0, 0, 1] {
        let log = log.clone();
        readers.push(tokio::spawn(async move { log.read(&ReadRequest { wait: SOON, ..request("t", 0, from) }).await }));
    }
    tokio::task::yield_now().await;
    // One by one: the reader that waits beyond the end is not woken by the first.
    for text in ["zero", "one"] {
        log.append("t", vec![record(None, text)], Timestamp(1)).await.unwrap();
    }
    for (reader, first) in readers.into_iter().zip(["zero", "zero", "one"]) {
        let read = reader.await.unwrap().unwrap();
        assert_eq!(texts(&read)[0], first);
    }
}

async fn concurrent_appends_leave_no_holes<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 2)).await.unwrap();
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            let mut ranges = Vec::new();
            for n in 0..20 {
                let records = (0..5).map(|i| record(Some(&format!("{writer}")), format!("{writer} {}", n * 5 + i)));
                ranges.extend(log.append("t", records.collect(), Timestamp(1)).await.unwrap());
            }
            ranges
        }));
    }
    let mut answered: BTreeMap<Partition, Vec<(Offset, Offset)>> = BTreeMap::new();
    for task in tasks {
        for (partition, range) in task.await.unwrap() {
            answered.entry(partition).or_default().push(range);
        }
    }
    let mut per_writer: HashMap<String, Vec<u64>> = HashMap::new();
    for (partition, mut ranges) in answered {
        ranges.sort_unstable();
        let mut next = 0;
        for (first, end) in ranges {
            assert_eq!(first, next, "answered ranges neither overlap nor leave holes");
            next = end;
        }
        let read = read_all(&log, "t", partition, 0).await;
        assert_eq!(read.len() as u64, next);
        for r in read {
            let (writer, n) = texts(std::slice::from_ref(&r))[0]
                .split_once(' ')
                .map(|(w, n)| (w.to_owned(), n.parse().unwrap()))
                .unwrap();
            per_writer.entry(writer).or_default().push(n);
        }
    }
    let order: Vec<u64> = (0..100).collect();
    assert!(per_writer.len() == 8 && per_writer.values().all(|numbers| *numbers == order));
}

async fn what_was_answered_is_there_after_reopening<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&spec("t", 2)).await.unwrap();
    log.append("t", (0..100).map(|i| record(Some(&format!("{i}")), format!("{i}"))).collect(), Timestamp(1))
        .await
        .unwrap();
    let (before, info) =
        ([read_all(&log, "t", 0, 0).await, read_all(&log, "t", 1, 0).await], log.topic("t").await.unwrap());
    drop(log);
    let log = fixture.open().await;
    assert_eq!(log.topic("t").await.unwrap(), info);
    assert_eq!([read_all(&log, "t", 0, 0).await, read_all(&log, "t", 1, 0).await], before);
    // Keys go where they went before, and offsets go on.
    let next = info.partitions.clone();
    let appended = log
        .append("t", (0..100).map(|i| record(Some(&format!("{i}")), "again")).collect(), Timestamp(2))
        .await
        .unwrap();
    for (partition, (first, end)) in appended {
        assert_eq!(first, next[&partition].1);
        assert_eq!(end - first, next[&partition].1, "as many as before");
    }
}

async fn expiry<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    let kept = TopicSpec { retention: Some(Span::SECOND), ..spec("t", 1) };
    log.ensure_topic(&spec("t", 1)).await.unwrap();
    log.ensure_topic(&spec("forever", 1)).await.unwrap();
    for second in 1..=5 {
        for topic in ["t", "forever"] {
            let records = (0..10).map(|i| record(None, format!("{second} {i}"))).collect();
            log.append(topic, records, Timestamp(second * 1_000_000)).await.unwrap();
        }
    }
    let later = Timestamp(4_500_000);
    assert_eq!(log.expire(later, &BTreeMap::new()).await.unwrap(), 0, "for ever is the default");
    log.ensure_topic(&kept).await.unwrap();
    let held = BTreeMap::from([(("t".to_owned(), 0), 15)]);
    assert_eq!(log.expire(later, &held).await.unwrap(), 10, "what is still named stays, with its block");
    assert_eq!(log.topic("t").await.unwrap().partitions[&0], (10, 50));
    assert_eq!(log.expire(later, &BTreeMap::new()).await.unwrap(), 20);
    assert_eq!(log.expire(later, &BTreeMap::new()).await.unwrap(), 0, "once");
    for from in [0, 29] {
        let error = log.read(&request("t", 0, from)).await.unwrap_err();
        assert!(matches!(error, PortError::Expired { first: 30 }), "{error:?}");
    }
    assert_eq!(read_all(&log, "t", 0, 30).await.len(), 20);
    assert_eq!(read_all(&log, "forever", 0, 0).await.len(), 50);
    assert_eq!(log.expire(Timestamp(100_000_000), &BTreeMap::new()).await.unwrap(), 20, "everything may go");
    drop(log);
    let log = fixture.open().await;
    assert_eq!(log.topic("t").await.unwrap().partitions[&0], (50, 50), "an empty partition still counts on");
    let error = log.read(&request("t", 0, 49)).await.unwrap_err();
    assert!(matches!(error, PortError::Expired { first: 50 }), "{error:?}");
    assert_eq!(log.append("t", vec![record(None, "x")], Timestamp(1)).await.unwrap()[&0], (50, 51));
    let read = read_all(&log, "t", 0, 50).await;
    assert_eq!(read[0].appended, Timestamp(5_000_000), "append times go on too");
}

async fn nothing_expires_by_the_callers_clock<F: Fixture<dyn Log>>(mut fixture: F) {
    let log = fixture.open().await;
    log.ensure_topic(&TopicSpec { retention: Some(Span::DAY), ..spec("t", 1) }).await.unwrap();
    log.append("t", vec![record(None, "x")], Timestamp(1)).await.unwrap();
    assert_eq!(log.expire(Timestamp::MAX, &BTreeMap::new()).await.unwrap(), 0);
    assert_eq!(read_all(&log, "t", 0, 0).await.len(), 1);
}
