//! What every object store must do.

use std::collections::BTreeSet;

use bytes::Bytes;
use tideline_common::ports::{Created, Objects, PortError};

use super::Fixture;

/// Runs the suite; `fixture` makes an empty store each time.
pub async fn suite<F: Fixture<dyn Objects>>(mut fixture: impl FnMut() -> F) {
    put_and_get(fixture()).await;
    exactly_one_creates(fixture()).await;
    listings(fixture()).await;
    deletions(fixture()).await;
    wrong_paths(fixture()).await;
    what_was_put_is_there_after_reopening(fixture()).await;
    readers_see_whole_objects(fixture()).await;
}

async fn put_and_get<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    let missing = objects.get("a/b").await.unwrap_err();
    assert!(matches!(&missing, PortError::NotFound { what } if what.contains("a/b")), "{missing:?}");
    objects.put("a/b", Bytes::from_static(b"one")).await.unwrap();
    assert_eq!(objects.get("a/b").await.unwrap(), "one");
    objects.put("a/b", Bytes::from_static(b"two, longer")).await.unwrap();
    assert_eq!(objects.get("a/b").await.unwrap(), "two, longer", "a put replaces");
    objects.put("empty", Bytes::new()).await.unwrap();
    assert_eq!(objects.get("empty").await.unwrap(), "");
    let large = Bytes::from((0..3_000_000u32).map(|i| i as u8).collect::<Vec<_>>());
    objects.put("large", large.clone()).await.unwrap();
    assert_eq!(objects.get("large").await.unwrap(), large);
    // Names as Hive partitions make them.
    for name in ["symbol=$TSLA/x", "symbol=a b/x", "symbol=100%/x", "symbol=é/x", "symbol=a%20b/x"] {
        objects.put(name, Bytes::from(name.to_owned())).await.unwrap();
        assert_eq!(objects.get(name).await.unwrap(), name.as_bytes());
    }
    assert_eq!(objects.get("symbol=a b/x").await.unwrap(), "symbol=a b/x", "escapes are not mixed up");
}

async fn exactly_one_creates<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    assert_eq!(objects.put_if_absent("x", Bytes::from_static(b"first")).await.unwrap(), Created::Yes);
    assert_eq!(objects.put_if_absent("x", Bytes::from_static(b"second")).await.unwrap(), Created::Exists);
    assert_eq!(objects.get("x").await.unwrap(), "first", "nothing was written");
    for round in 0..20 {
        let path = format!("race/{round}");
        let mut tasks = Vec::new();
        for writer in 0..8 {
            let (objects, path) = (objects.clone(), path.clone());
            let bytes = Bytes::from(format!("{writer}").repeat(5_000));
            tasks
                .push(tokio::spawn(async move { (bytes.clone(), objects.put_if_absent(&path, bytes).await.unwrap()) }));
        }
        let mut winners = Vec::new();
        for task in tasks {
            let (bytes, created) = task.await.unwrap();
            if created == Created::Yes {
                winners.push(bytes);
            }
        }
        assert_eq!(winners.len(), 1, "exactly one of eight creates {path}");
        assert_eq!(objects.get(&path).await.unwrap(), winners[0], "and it is the winner's");
    }
}

async fn listings<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    assert!(objects.list("nothing").await.unwrap().is_empty(), "an absent folder is empty");
    for path in ["a/2", "a/1", "a/b/3", "a/10", "ab/1", "c"] {
        objects.put(path, Bytes::from(path.to_owned())).await.unwrap();
    }
    let paths = |list: Vec<tideline_common::ports::ObjectInfo>| list.into_iter().map(|o| o.path).collect::<Vec<_>>();
    assert_eq!(
        paths(objects.list("a").await.unwrap()),
        ["a/1", "a/10", "a/2", "a/b/3"],
        "whole path parts, all levels"
    );
    assert_eq!(paths(objects.list("a/").await.unwrap()), ["a/1", "a/10", "a/2", "a/b/3"]);
    assert_eq!(paths(objects.list("").await.unwrap()), ["a/1", "a/10", "a/2", "a/b/3", "ab/1", "c"]);
    assert_eq!(paths(objects.list_after("a", "a/10").await.unwrap()), ["a/2", "a/b/3"], "strictly greater");
    assert_eq!(paths(objects.list_after("a", "a/15").await.unwrap()), ["a/2", "a/b/3"], "the offset need not exist");
    assert_eq!(paths(objects.list_after("a", "").await.unwrap()).len(), 4);
    assert!(objects.list_after("a", "b").await.unwrap().is_empty());
    let sizes: Vec<u64> = objects.list("a").await.unwrap().into_iter().map(|o| o.size).collect();
    assert_eq!(sizes, [3, 4, 3, 5]);
}

async fn deletions<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    objects.delete("never/there").await.unwrap();
    objects.put("a/b", Bytes::new()).await.unwrap();
    objects.delete("a/b").await.unwrap();
    objects.delete("a/b").await.unwrap();
    assert!(matches!(objects.get("a/b").await, Err(PortError::NotFound { .. })));
    assert!(objects.list("a").await.unwrap().is_empty());
    assert_eq!(objects.put_if_absent("a/b", Bytes::new()).await.unwrap(), Created::Yes, "the path is free again");
}

async fn wrong_paths<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    for path in ["", "/a", "a//b", "../a", "a/..", "a\nb"] {
        let error = objects.put(path, Bytes::new()).await.unwrap_err();
        assert!(matches!(error, PortError::Invalid { .. }), "{path:?}: {error:?}");
    }
}

async fn what_was_put_is_there_after_reopening<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    objects.put("a", Bytes::from_static(b"1")).await.unwrap();
    objects.put_if_absent("b", Bytes::from_static(b"2")).await.unwrap();
    objects.put("c", Bytes::new()).await.unwrap();
    objects.delete("c").await.unwrap();
    drop(objects);
    let objects = fixture.open().await;
    assert_eq!(objects.get("a").await.unwrap(), "1");
    assert_eq!(objects.put_if_absent("b", Bytes::from_static(b"3")).await.unwrap(), Created::Exists);
    assert_eq!(objects.list("").await.unwrap().len(), 2);
}

async fn readers_see_whole_objects<F: Fixture<dyn Objects>>(mut fixture: F) {
    let objects = fixture.open().await;
    let version = |n: u8| Bytes::from(vec![n; 100_000]);
    objects.put("x", version(0)).await.unwrap();
    let writer = {
        let objects = objects.clone();
        tokio::spawn(async move {
            for n in 1..30 {
                objects.put("x", version(n)).await.unwrap();
            }
        })
    };
    let mut seen = BTreeSet::new();
    loop {
        let done = writer.is_finished();
        let bytes = objects.get("x").await.unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert!(bytes.iter().all(|b| *b == bytes[0]), "one version, not two mixed");
        seen.insert(bytes[0]);
        if done {
            break;
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert_eq!(seen.last(), Some(&29), "the last version is seen once its put has answered");
}
