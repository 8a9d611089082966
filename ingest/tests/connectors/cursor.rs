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
        cursors.claim(world.now()).await.unwrap();
        cursors.commit(json!({ "at": number }), world.now(), world.now()).await.unwrap();
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
    assert!(taken(&one.claim(world.now()).await));
    assert_eq!(world.paths(), before);
    // It has not kept the other from going on, and goes on from the other's cursor when that ends.
    go_on(&world, &mut two, 2).await;
    assert!(taken(&one.claim(world.now()).await));
    two.release(world.now()).await.unwrap();
    one.claim(world.now()).await.unwrap();
    assert_eq!(one.note().cursor, Some(json!({ "at": 1 })));
    assert!(matches!(two.claim(world.now()).await, Err(CursorError::Taken { holder, .. }) if holder == "one"));
}

#[tokio::test]
async fn whoever_slept_does_not_note_where_others_have_deleted_their_notes() {
    let world = World::new();
    let (mut one, mut two) = slept(&world).await;
    let before = world.paths();
    // It was between a claim and a note.
    assert!(taken(&one.commit(json!({ "at": "old" }), world.now(), world.now()).await));
    assert_eq!(world.paths(), before);
    assert_eq!(one.note().cursor, Some(json!({ "at": 7 })));
    assert!(taken(&one.claim(world.now()).await));
    go_on(&world, &mut two, 1).await;
}

#[tokio::test]
async fn a_note_that_nobody_heard_of_is_gone_on_from() {
    let world = World::new();
    let mut one = process(&world, "one").await;
    go_on(&world, &mut one, 1).await;
    world.fail_puts(&[Failing::After]);
    let lost = one.commit(json!({ "at": "lost" }), world.now(), world.now()).await;
    assert!(matches!(lost, Err(CursorError::Port(_))), "{lost:?}");
    // Time has passed, so that the lease of another attempt is another one: it is nobody else's for all that.
    world.advance(Span::from_secs(40));
    one.claim(world.now()).await.unwrap();
    assert_eq!(one.note().cursor, Some(json!({ "at": "lost" })));
    one.commit(json!({ "at": "lost" }), world.now(), world.now()).await.unwrap();
    assert!(world.paths().len() <= 3, "{:?}", world.paths());
}
