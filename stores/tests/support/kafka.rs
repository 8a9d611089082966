//! What the tests on a real Kafka broker share: the broker, and names of their own.

#![allow(unreachable_pub, reason = "one copy per test program")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tideline_common::ports::TopicSpec;

/// The broker, if the environment names one.
pub fn broker(test: &str) -> Option<String> {
    let broker = std::env::var("TIDELINE_TEST_KAFKA").ok().filter(|broker| !broker.is_empty());
    if broker.is_none() {
        eprintln!("SKIPPED {test}: TIDELINE_TEST_KAFKA is not set");
    }
    broker
}

/// A name that no other test, nor another run of this one, has used.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    format!("test-{since}-{}-{}-{name}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, retention: None, max_bytes: None }
}
