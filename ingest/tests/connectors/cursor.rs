//! The chain of notes of a connector, when processes that share it sleep, or do not hear of what they have done.

use std::sync::Arc;

use serde_json::json;
use tideline_common::ports::Objects;
use tideline_common::time::Span;
use tideline_ingest::connector::cursor::{CursorError, Cursors};

use super::support::{Failing, World};

async fn process(world: &World, holder: &str) -> Cursors {
    let objects: Arc<dyn Objects> = Arc::clone(&world.objects) as _;
    Cursors::open(objects, "test", holder.to_owned(), Some(Span::MINUTE)).await.unwrap()
}

/// Notes a cursor every 20 s, `count` times.
async fn go_on(world: &World, cursors: &mut Cursors, count: u64) {
    for number in 0..count {
        world.advance(Span::from_secs(20));
        cursors.claim(world.now(), None).await.unwrap();
        cursors.commit(json!({ "at": number }), world.now(), world.now(), None).await.unwrap();
    }
}

fn taken(answer: &Result<(), CursorError>) -> bool {
    matches!(answer, Err(CursorError::Taken { holder, .. }) if holder == "two")
}

/// A process that has noted something and then slept, and another that has gone on for so long that the numbers after that
/// note are free again.
async fn slept(world: &World) -> (Cursors, Cursors) {
    let mut one = process(world, "one").await;
    go_on(world, &mut one, 2).await;
    world.advance(Span::from_secs(61));
    let mut two = process(world, "two").await;
    go_on(world, &mut two, 8).await;
    assert_eq!(world.paths().len(), 3, "{:?}", world.paths());
    (one, two)
}

#[tokio::test]
async fn whoever_slept_does_not_claim_where_others_have_deleted_their_notes() {
    let world = World::new();
    let (mut one, mut two) = slept(&world).await;
    let before = world.paths();
    assert!(taken(&one.claim(world.now(), None).await));
    assert_eq!(world.paths(), before);
    // It has not kept the other from going on, and goes on from the other's cursor when that ends.
    go_on(&world, &mut two, 2).await;
    assert!(taken(&one.claim(world.now(), None).await));
    two.release(world.now()).await.unwrap();
    one.claim(world.now(), None).await.unwrap();
    assert_eq!(one.note().cursor, Some(json!({ "at": 1 })));
    assert!(matches!(two.claim(world.now(), None).await, Err(CursorError::Taken { holder, .. }) if holder == "one"));
}

#[tokio::test]
async fn whoever_slept_does_not_note_where_others_have_deleted_their_notes() {
    let world = World::new();
    let (mut one, mut two) = slept(&world).await;
    let before = world.paths();
    // It was between a claim and a note.
    assert!(taken(&one.commit(json!({ "at": "old" }), world.now(), world.now(), None).await));
    assert_eq!(world.paths(), before);
    assert_eq!(one.note().cursor, Some(json!({ "at": 7 })));
    assert!(taken(&one.claim(world.now(), None).await));
    go_on(&world, &mut two, 1).await;
}

#[tokio::test]
async fn a_note_that_nobody_heard_of_is_gone_on_from() {
    let world = World::new();
    let mut one = process(&world, "one").await;
    go_on(&world, &mut one, 1).await;
    world.fail_puts(&[Failing::After]);
    let lost = one.commit(json!({ "at": "lost" }), world.now(), world.now(), None).await;
    assert!(matches!(lost, Err(CursorError::Port(_))), "{lost:?}");
    // Time has passed, so that the lease of another attempt is another one: it is nobody else's for all that.
    world.advance(Span::from_secs(40));
    one.claim(world.now(), None).await.unwrap();
    assert_eq!(one.note().cursor, Some(json!({ "at": "lost" })));
    one.commit(json!({ "at": "lost" }), world.now(), world.now(), None).await.unwrap();
    assert!(world.paths().len() <= 3, "{:?}", world.paths());
}

#[tokio::test]
async fn a_hold_is_noted_and_known_to_whoever_comes_next() {
    let world = World::new();
    let mut one = process(&world, "one").await;
    go_on(&world, &mut one, 1).await;
    // Notes without a hold are as they always were.
    assert!(world.last_object().get("held_until").is_none(), "{}", world.last_object());
    let until = world.now().plus(Span::from_secs(900));
    // The lease is new, but the hold is to be noted.
    one.claim(world.now(), Some(until)).await.unwrap();
    assert_eq!(process(&world, "two").await.note().held_until(world.now()), Some(until));
    // An earlier end, or a poll that has worked, does not take it away.
    let paths = world.paths();
    one.claim(world.now(), Some(world.now().plus(Span::SECOND))).await.unwrap();
    one.claim(world.now(), None).await.unwrap();
    assert_eq!(world.paths(), paths);
    one.commit(json!({}), world.now(), world.now(), None).await.unwrap();
    one.release(world.now()).await.unwrap();
    let mut two = process(&world, "two").await;
    two.claim(world.now(), None).await.unwrap();
    assert_eq!(two.note().held_until(world.now()), Some(until));
    world.advance(Span::from_secs(900));
    assert_eq!(two.note().held_until(world.now()), None);
    two.claim(world.now(), None).await.unwrap();
    assert!(world.last_object().get("held_until").is_none(), "{}", world.last_object());
}

#[tokio::test]
async fn holds_are_noted_where_there_is_no_other_process_too() {
    let world = World::new();
    let alone = || async {
        let objects: Arc<dyn Objects> = Arc::clone(&world.objects) as _;
        Cursors::open(objects, "test", "one".to_owned(), None).await.unwrap()
    };
    let mut cursors = alone().await;
    cursors.claim(world.now(), None).await.unwrap();
    assert_eq!(world.paths().len(), 0);
    let until = world.now().plus(Span::HOUR);
    cursors.claim(world.now(), Some(until)).await.unwrap();
    assert_eq!(alone().await.note().held_until(world.now()), Some(until));
    // A hold of which the clock knows nothing any more is none.
    let before = until.minus(Span::DAY).minus(Span::SECOND);
    assert_eq!(alone().await.note().held_until(before), None);
}
