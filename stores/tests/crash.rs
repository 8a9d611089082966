//! The embedded log under SIGKILL: this test starts itself again as a child that appends and says what was
//! acknowledged, kills it at random, and looks for every acknowledged record.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tideline_common::ports::{Log, ReadRequest, TopicSpec};
use tideline_common::record::NewRecord;
use tideline_common::time::Timestamp;
use tideline_stores::lock::{DataFolder, LockError};
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};

/// The folder that a child works in; set only in children.
const CHILD: &str = "TIDELINE_CRASH_FOLDER";

const ROUNDS: u32 = 6;
const PARTITIONS: u32 = 2;

fn open(folder: &Path) -> EmbeddedLog {
    let config = EmbeddedLogConfig { reserve_bytes: 0, ..EmbeddedLogConfig::default() };
    EmbeddedLog::open(folder, config).unwrap()
}

/// The child: appends for ever, from four tasks, and prints a line for each acknowledged append.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let _folder = DataFolder::open(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = std::sync::Arc::new(open(&folder.join("log")));
        log.ensure_topic(&TopicSpec { name: "t".to_owned(), partitions: PARTITIONS, retention: None, max_bytes: None })
            .await
            .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let log = log.clone();
            tasks.spawn(async move {
                for n in 0u64.. {
                    let name = format!("{} {task} {n}", std::process::id());
                    let records = (0..20)
                        .map(|i| NewRecord { payload: Bytes::from(format!("{name} {i}")), ..NewRecord::default() })
                        .collect();
                    let appended = log.append("t", records, Timestamp(1)).await.unwrap();
                    for (partition, (first, next)) in appended {
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "ACK {partition} {first} {next} {name}").unwrap();
                        out.flush().unwrap();
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}

#[test]
fn acknowledged_records_survive_sigkill_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<(u32, u64), String> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut seen, mut killed) = (0, false);
        // Killed after another number of acknowledgements each time, in the middle of others.
        let kill_after = 5 + 37 * round;
        for line in lines.map_while(Result::ok) {
            let Some(at) = line.find("ACK ") else { continue };
            let fields: Vec<&str> = line[at..].split(' ').collect();
            // The kill may tear the last line.
            let [_, partition, first, next, pid, task, n] = fields[..] else { continue };
            let (first, next): (u64, u64) = (first.parse().unwrap(), next.parse().unwrap());
            assert_eq!(next - first, 20);
            let name = format!("{pid} {task} {n}");
            let old = acknowledged.insert((partition.parse().unwrap(), first), name);
            assert_eq!(old, None, "an offset is acknowledged once");
            seen += 1;
            if seen >= kill_after && !killed {
                if round == 0 {
                    let held = DataFolder::open(folder.path()).unwrap_err();
                    assert!(matches!(held, LockError::Held { pid: Some(pid), .. } if pid == child.id()), "{held}");
                }
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "the child ended by itself after {seen} acknowledgements");
        check(folder.path(), &acknowledged);
    }
    assert!(acknowledged.len() > 100);
}

/// Opens the log as the next process would, and compares.
fn check(folder: &Path, acknowledged: &BTreeMap<(u32, u64), String>) {
    let held = DataFolder::open(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open(&held.path().join("log"));
        let info = log.topic("t").await.unwrap();
        let mut texts: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (partition, (first, next)) in info.partitions {
            assert_eq!(first, 0);
            let all = texts.entry(partition).or_default();
            while (all.len() as u64) < next {
                let request = ReadRequest {
                    topic: "t".to_owned(),
                    partition,
                    from: all.len() as u64,
                    max_records: 10_000,
                    max_bytes: 1 << 20,
                    wait: Duration::ZERO,
                };
                for record in log.read(&request).await.unwrap() {
                    assert_eq!(record.offset, all.len() as u64, "no holes");
                    all.push(String::from_utf8(record.payload.to_vec()).unwrap());
                }
            }
            let mut once = all.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), all.len(), "every record is there once");
        }
        for ((partition, first), name) in acknowledged {
            for i in 0..20 {
                assert_eq!(texts[partition][*first as usize + i], format!("{name} {i}"), "acknowledged and lost");
            }
        }
    });
}
