#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use tideline_common::ports::{Created, Objects};

use super::*;
use crate::objects::ObjectStoreObjects;

fn store() -> (Faults, FaultyObjects) {
    let faults = Faults::new(7);
    (faults.clone(), FaultyObjects::new(Arc::new(ObjectStoreObjects::memory()), faults))
}

#[tokio::test]
async fn a_fault_before_leaves_nothing_and_one_after_leaves_the_effect() {
    let (faults, objects) = store();
    faults.add(Fault::on("objects.put", Kind::ErrorBefore).times(1));
    faults.add(Fault::on("objects.put", Kind::ErrorAfter).times(1));
    faults.add(Fault::on("objects.put", Kind::Full).times(1));
    assert!(matches!(objects.put("a", Bytes::new()).await, Err(PortError::Unavailable { .. })));
    assert!(matches!(objects.get("a").await, Err(PortError::NotFound { .. })));
    assert!(matches!(objects.put("b", Bytes::new()).await, Err(PortError::Unavailable { .. })));
    objects.get("b").await.unwrap();
    assert!(matches!(objects.put("c", Bytes::new()).await, Err(PortError::Full { .. })));
    assert!(matches!(objects.get("c").await, Err(PortError::NotFound { .. })));
    objects.put("c", Bytes::new()).await.unwrap();
    assert_eq!(faults.calls("objects.put"), 4);
}

#[tokio::test]
async fn faults_are_chosen_by_subject_count_and_family() {
    let (faults, objects) = store();
    faults.add(Fault::on("objects.put_if_absent", Kind::ErrorAfter).about("checkpoints/").skip(1).times(1));
    assert_eq!(objects.put_if_absent("bronze/1", Bytes::new()).await.unwrap(), Created::Yes);
    assert_eq!(objects.put_if_absent("checkpoints/1", Bytes::new()).await.unwrap(), Created::Yes);
    objects.put_if_absent("checkpoints/2", Bytes::new()).await.unwrap_err();
    assert_eq!(objects.put_if_absent("checkpoints/2", Bytes::new()).await.unwrap(), Created::Exists);
    faults.add(Fault::on("objects.", Kind::ErrorBefore));
    objects.list("").await.unwrap_err();
    objects.get("bronze/1").await.unwrap_err();
    faults.clear();
    objects.get("bronze/1").await.unwrap();
}

#[tokio::test]
async fn a_crash_ends_everything_until_the_next_start() {
    let (faults, objects) = store();
    for (step, kind, left) in [(2, Kind::CrashBefore, 1), (2, Kind::CrashAfter, 2)] {
        faults.crash_at(step, kind);
        objects.put("a", Bytes::new()).await.unwrap();
        objects.get("a").await.unwrap();
        objects.put("b", Bytes::new()).await.unwrap_err();
        assert!(faults.is_crashed());
        objects.get("a").await.unwrap_err();
        objects.put("c", Bytes::new()).await.unwrap_err();
        faults.revive();
        assert_eq!(objects.list("").await.unwrap().len(), left);
        assert_eq!(faults.steps(), 0);
    }
}

#[tokio::test]
async fn chance_is_decided_by_the_seed() {
    let run = || async {
        let (faults, objects) = store();
        faults.add(Fault::on("objects.list", Kind::ErrorBefore).chance(0.3));
        let mut failed = Vec::new();
        for _ in 0..200 {
            failed.push(objects.list("").await.is_err());
        }
        failed
    };
    let first = run().await;
    assert_eq!(first, run().await);
    let count = first.iter().filter(|f| **f).count();
    assert!((30..90).contains(&count), "{count} of 200 at 0.3");
}

#[tokio::test]
async fn a_delay_delays() {
    let (faults, objects) = store();
    faults.add(Fault::on("objects.list", Kind::Delay(Duration::from_millis(30))));
    let start = tokio::time::Instant::now();
    objects.list("").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
}
