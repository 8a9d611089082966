//! What is particular to the embedded log; what every log must do is in the conformance suite.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use tideline_common::time::Span;

use super::*;

const ROOM: EmbeddedLogConfig = EmbeddedLogConfig {
    max_log_bytes: None,
    max_append_bytes: 64 << 20,
    max_waiting_bytes: 128 << 20,
    reserve_bytes: 0,
    cache_bytes: 8 << 20,
};

fn topic(name: &str, partitions: u32, retention: Option<Span>) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, retention, max_bytes: None }
}

fn records(n: usize, bytes: usize) -> Vec<NewRecord> {
    (0..n).map(|i| NewRecord { payload: Bytes::from(vec![i as u8; bytes]), ..NewRecord::default() }).collect()
}

fn from(topic: &str, from: Offset) -> ReadRequest {
    ReadRequest {
        topic: topic.to_owned(),
        partition: 0,
        from,
        max_records: 1_000_000,
        max_bytes: usize::MAX,
        wait: Duration::ZERO,
    }
}

#[tokio::test]
async fn a_damaged_block_is_named_and_its_neighbours_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), ROOM).unwrap();
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    for _ in 0..3 {
        log.append("t", records(5, 10), Timestamp(1)).await.unwrap();
    }
    let id = log.inner.topic("t").unwrap().id;
    let key = block::key(id, 0, 5);
    let mut value = log.inner.blocks.get(key).unwrap().unwrap().to_vec();
    value[block::HEADER + 3] ^= 1;
    log.inner.blocks.insert(key, value).unwrap();
    assert_eq!(log.read(&ReadRequest { max_records: 5, ..from("t", 0) }).await.unwrap().len(), 5);
    assert_eq!(log.read(&from("t", 10)).await.unwrap().len(), 5);
    let error = log.read(&from("t", 7)).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("offset 5 of topic t, partition 0"), "{error}");

    // A block that is gone is damage too, not an end.
    log.inner.blocks.remove(key).unwrap();
    let error = log.read(&from("t", 7)).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_log_refuses_the_whole_append_and_goes_on_after_expiry() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { max_log_bytes: Some(20_000), ..ROOM };
    let log = EmbeddedLog::open(folder.path(), config).unwrap();
    log.ensure_topic(&topic("t", 1, Some(Span(10)))).await.unwrap();
    log.append("t", records(10, 1_500), Timestamp(1)).await.unwrap();
    let error = log.append("t", records(10, 1_500), Timestamp(2)).await.unwrap_err();
    assert!(matches!(error, PortError::Full { .. }), "{error:?}");
    assert_eq!(log.topic("t").await.unwrap().partitions[&0], (0, 10), "nothing is half written");
    let used = log.used_bytes();
    assert!((15_000..20_000).contains(&used), "{used}");
    drop(log);
    let log = EmbeddedLog::open(folder.path(), config).unwrap();
    assert_eq!(log.used_bytes(), used, "the size is known after a restart");
    assert_eq!(log.expire(Timestamp(12), &BTreeMap::new()).await.unwrap(), 10);
    assert_eq!(log.used_bytes(), 0);
    let appended = log.append("t", records(10, 1_500), Timestamp(13)).await.unwrap();
    assert_eq!(appended[&0], (10, 20));
    drop(log);
    let log = EmbeddedLog::open(folder.path(), config).unwrap();
    assert_eq!(log.topic("t").await.unwrap().partitions[&0], (10, 20), "expiry survives a restart");
    assert_eq!(log.used_bytes(), used);
}

#[tokio::test]
async fn a_topic_with_a_bound_of_its_own_drops_its_oldest_and_fills_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedLogConfig { max_log_bytes: Some(20_000), ..ROOM };
    let bounded = |bytes| TopicSpec { max_bytes: Some(bytes), ..topic("changes", 2, None) };
    let keyed = |key: &'static [u8]| {
        let record = |record| NewRecord { key: Some(Bytes::from_static(key)), ..record };
        records(10, 300).into_iter().map(record).collect::<Vec<_>>()
    };
    let log = EmbeddedLog::open(folder.path(), config).unwrap();
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    log.ensure_topic(&bounded(10_000)).await.unwrap();
    log.append("t", records(10, 1_500), Timestamp(1)).await.unwrap();
    let used = log.used_bytes();
    // Each append is a block of 3 KB and some: three of them fit.
    let partition_of = |key: &[u8]| log.inner.topic("changes").unwrap().partition_of(key);
    let (a, at_a) = (b"a".as_slice(), partition_of(b"a"));
    let b = [b"b".as_slice(), b"c", b"d", b"e", b"f"].into_iter().find(|key| partition_of(key) != at_a);
    let b = b.expect("one of them is of the other partition");
    let at_b = partition_of(b);
    for n in 1..=20 {
        let appended = log.append("changes", keyed(a), Timestamp(n)).await.unwrap();
        assert_eq!(appended[&at_a], (10 * (n as u64 - 1), 10 * n as u64));
    }
    log.append("changes", keyed(b), Timestamp(1)).await.unwrap();
    // The oldest go after the append that was too much has been answered.
    let bounds = |partitions: BTreeMap<Partition, (Offset, Offset)>| (partitions[&at_a], partitions[&at_b]);
    let start = Instant::now();
    loop {
        let found = bounds(log.topic("changes").await.unwrap().partitions);
        if found == ((170, 200), (0, 10)) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{found:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(log.used_bytes(), used, "it takes no room of the others");
    let error = log.read(&ReadRequest { partition: at_a, ..from("changes", 169) }).await.unwrap_err();
    assert!(matches!(error, PortError::Expired { first: 170 }), "{error:?}");
    let read = log.read(&ReadRequest { partition: at_a, ..from("changes", 170) }).await.unwrap();
    assert_eq!(read.len(), 30);
    let error = log.append("t", records(10, 1_500), Timestamp(2)).await.unwrap_err();
    assert!(matches!(error, PortError::Full { .. }), "others are refused as ever: {error:?}");

    drop(log);
    let log = EmbeddedLog::open(folder.path(), config).unwrap();
    assert_eq!(log.used_bytes(), used);
    assert_eq!(bounds(log.topic("changes").await.unwrap().partitions), ((170, 200), (0, 10)));
    // A bound that is smaller than one append leaves that append, and concerns no other partition.
    log.ensure_topic(&bounded(1)).await.unwrap();
    log.append("changes", keyed(a), Timestamp(30)).await.unwrap();
    log.append("t", records(1, 1), Timestamp(30)).await.unwrap();
    assert_eq!(bounds(log.topic("changes").await.unwrap().partitions), ((200, 210), (0, 10)));
    // Without it, what is there counts again.
    log.ensure_topic(&TopicSpec { max_bytes: None, ..bounded(0) }).await.unwrap();
    assert!(log.used_bytes() > used + 6_000, "{}", log.used_bytes());
}

#[tokio::test]
async fn a_device_without_its_reserve_refuses_appends() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogConfig { reserve_bytes: u64::MAX, ..ROOM }).unwrap();
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    let error = log.append("t", records(1, 1), Timestamp(1)).await.unwrap_err();
    assert!(matches!(error, PortError::Full { .. }), "{error:?}");
    assert_eq!(log.topic("t").await.unwrap().partitions[&0], (0, 0));
}

#[tokio::test]
async fn an_append_over_the_bound_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogConfig { max_append_bytes: 1_000, ..ROOM }).unwrap();
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    let error = log.append("t", records(2, 600), Timestamp(1)).await.unwrap_err();
    assert!(matches!(error, PortError::Invalid { .. }), "{error:?}");
    log.append("t", records(1, 600), Timestamp(1)).await.unwrap();
}

#[tokio::test]
async fn payloads_are_slices_of_one_block() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), ROOM).unwrap();
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    log.append("t", records(2, 100), Timestamp(1)).await.unwrap();
    let read = log.read(&from("t", 0)).await.unwrap();
    // Key (1 byte), headers (1) and length (1) lie between the payloads.
    assert_eq!(read[0].payload.as_ptr() as usize + 103, read[1].payload.as_ptr() as usize);
}

#[tokio::test]
async fn hints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), ROOM).unwrap();
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    log.commit_hint("g", "t", 0, 7).await.unwrap();
    drop(log);
    let log = EmbeddedLog::open(folder.path(), ROOM).unwrap();
    assert_eq!(log.hint("g", "t", 0).await.unwrap(), Some(7));
    assert_eq!(log.hint("g", "t", 1).await.unwrap(), None);
}

/// Prints what appends and reads cost here; asserts nothing about time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure_appends_and_reads() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(EmbeddedLog::open(folder.path(), ROOM).unwrap());
    log.ensure_topic(&topic("t", 1, None)).await.unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        log.append("t", records(10_000, 200), Timestamp(1)).await.unwrap();
    }
    let large = start.elapsed();
    let start = Instant::now();
    for _ in 0..100 {
        log.append("t", records(100, 200), Timestamp(1)).await.unwrap();
    }
    let small = start.elapsed();
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let log = log.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..25 {
                log.append("t", records(100, 200), Timestamp(1)).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let group = start.elapsed();
    drop(log);
    let log = EmbeddedLog::open(folder.path(), ROOM).unwrap();
    let start = Instant::now();
    let (mut at, mut bytes) = (0, 0);
    loop {
        let read = log.read(&ReadRequest { max_records: 10_000, max_bytes: 4 << 20, ..from("t", at) }).await.unwrap();
        let Some(last) = read.last() else { break };
        at = last.offset + 1;
        bytes += read.iter().map(|r| r.payload.len()).sum::<usize>();
    }
    let reading = start.elapsed();
    assert_eq!(at, 150_000);
    println!("append of 10,000 records of 200 bytes: {:?}", large / 10);
    println!("append of 100 records, alone: {:?}; 16 at once: {:?} each", small / 100, group / 400);
    println!(
        "reading: {:.0} MB/s, {:.0} records/s",
        bytes as f64 / 1e6 / reading.as_secs_f64(),
        at as f64 / reading.as_secs_f64()
    );
}
