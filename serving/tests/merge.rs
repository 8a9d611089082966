//! The merge against a naive computation over all records, with the boundary at every pane.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::{Event, PANE, World, plan};
use tideline_common::key::Key;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Value;
use tideline_serving::boundary::{Interval, Layer, Reason};
use tideline_serving::error::QueryError;
use tideline_serving::merge::{
    At, Before, Direction, KeyFilter, LookupRequest, ReaderConfig, ReportRequest, Row, RowsRequest, TopRequest,
};

/// A window, from the records alone: count, sum, mean, least, last, median.
fn naive_window(events: &[&Event]) -> [f64; 6] {
    let n = events.len() as f64;
    let total: f64 = events.iter().map(|e| e.x).sum();
    let low = events.iter().map(|e| e.x).fold(f64::INFINITY, f64::min);
    let close = events.iter().max_by_key(|e| (e.time, e.sequence)).unwrap().x;
    let mut sorted: Vec<f64> = events.iter().map(|e| e.x).collect();
    sorted.sort_by(f64::total_cmp);
    [n, total, total / n, low, close, sorted[(events.len() - 1) / 2]]
}

type Naive = Vec<(Vec<Value>, i64, [f64; 6])>;

fn naive(events: &[Event], size: i64, slide: i64, from: i64, to: i64) -> Naive {
    let mut windows: BTreeMap<(Key, i64), Vec<&Event>> = BTreeMap::new();
    for event in events {
        // Every start that could hold it, tried one by one.
        let mut start = (event.time - size).div_euclid(slide) * slide;
        while start <= event.time {
            if event.time < start + size && from <= start && start < to {
                windows.entry((Key::of(&event.key()), start)).or_default().push(event);
            }
            start += slide;
        }
    }
    windows.into_iter().map(|((key, start), events)| (key.values().unwrap(), start, naive_window(&events))).collect()
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1e-9)
}

fn same(rows: &[Row], expected: &Naive) -> Result<(), String> {
    let have: Vec<_> = rows.iter().map(|row| (row.key.to_vec(), row.start.0)).collect();
    let want: Vec<_> = expected.iter().map(|(key, start, _)| (key.clone(), *start)).collect();
    if have != want {
        return Err(format!("windows differ:\n{have:?}\n{want:?}"));
    }
    for (row, (_, _, want)) in rows.iter().zip(expected) {
        let have: Vec<f64> = row.values.iter().map(|v| v.as_f64().unwrap()).collect();
        let fits = (0..6).all(|at| close(have[at], want[at], if at == 5 { 0.0101 } else { 1e-9 }));
        if !fits || !close(have[6], want[2], 1e-9) || row.partial {
            return Err(format!("{row:?} is not {want:?}"));
        }
    }
    Ok(())
}

const PANES: i64 = 12;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let symbol = prop_oneof![Just(None), "[a,]{0,2}".prop_map(Some)];
    let event = (-3 * 60..(PANES - 3) * 60, symbol, 0i64..2, 1u32..1_000, 0u32..2);
    prop::collection::vec(event, 1..40).prop_map(|events| {
        let event = |(at, (secs, symbol, venue, x, shard)): (usize, _)| Event {
            time: secs * 1_000_000,
            symbol,
            venue,
            x: f64::from(x) / 8.0,
            sequence: at as i64,
            shard,
        };
        events.into_iter().enumerate().map(event).collect()
    })
}

fn small_pages() -> ReaderConfig {
    ReaderConfig { page_rows: 3, ..ReaderConfig::default() }
}

async fn all_pages(world: &World, mut request: RowsRequest, limit: usize) -> Vec<Row> {
    request.limit = Some(limit);
    let mut rows = Vec::new();
    loop {
        let answer = world.reader.rows(&request).await.unwrap();
        assert!(answer.rows.len() <= limit);
        assert!(answer.cursor.is_none() || answer.rows.len() == limit, "a page that is not the last is full");
        rows.extend(answer.rows);
        match answer.cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return rows,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever pane the boundary is at, and whatever the window: the naive answer. On its side of the boundary each
    /// layer has the truth, on the other something that must not be read.
    #[test]
    fn every_boundary_gives_the_naive_answer(
        events in events(), size in 1i64..16, slide in 1i64..16, limit in 1usize..30,
        from in prop::option::of(-6 * 60i64..PANES * 60), length in 1i64..20 * 60,
    ) {
        prop_assume!(slide <= size);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (size_us, slide_us) = (size * PANE.0, slide * PANE.0);
        let (from, to) = (from.map(|s| s * 1_000_000), from.map(|s| (s + length) * 1_000_000));
        let expected = naive(&events, size_us, slide_us, from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
        for pane in -4..=PANES {
            let boundary = Timestamp(pane * PANE.0);
            let poisoned = |good: fn(Timestamp, Timestamp) -> bool| -> Vec<Event> {
                events.iter().cloned().map(|mut event| {
                    if !good(event.pane(), boundary) { event.x += 1e6; }
                    event
                }).collect()
            };
            // `through` inside of a pane belongs to the pane's start.
            let through = Timestamp(boundary.0 + 7);
            let world = World::with(plan(), &poisoned(|pane, b| pane < b), &poisoned(|pane, b| pane >= b), Some(through), small_pages());
            let request = RowsRequest {
                view: "trades".into(),
                window: Some(Span(size_us)),
                slide: Some(Span(slide_us)),
                from: from.map(Timestamp),
                to: to.map(Timestamp),
                ..RowsRequest::default()
            };
            let whole = runtime.block_on(world.reader.rows(&request)).unwrap();
            prop_assert!(whole.cursor.is_none());
            same(&whole.rows, &expected).map_err(TestCaseError::fail)?;
            let part = whole.provenance;
            match (part.batch, part.speed) {
                (Some(batch), Some(speed)) => prop_assert_eq!((batch.to, batch.to), (speed.from, boundary)),
                // No window begins in the range: no pane is needed.
                (None, None) => prop_assert!(expected.is_empty()),
                _ => {}
            }
            let paged = runtime.block_on(all_pages(&world, request.clone(), limit));
            same(&paged, &expected).map_err(TestCaseError::fail)?;
            // The same boundary by override, whatever the manifest says.
            let world = World::with(plan(), &poisoned(|pane, b| pane < b), &poisoned(|pane, b| pane >= b), None, small_pages());
            let moved = RowsRequest { boundary: Some(boundary), ..request };
            same(&runtime.block_on(world.reader.rows(&moved)).unwrap().rows, &expected).map_err(TestCaseError::fail)?;
        }
    }

    /// One key, and a ranking, over both layers.
    #[test]
    fn one_key_and_rankings(events in events(), pane in -4..=PANES, size in 1i64..8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = World::with(plan(), &events, &events, Some(Timestamp(pane * PANE.0)), small_pages());
        let key = events[0].key();
        let request = RowsRequest { view: "trades".into(), key: KeyFilter::Values(key.clone()), ..RowsRequest::default() };
        let expected: Naive = naive(&events, 5 * PANE.0, PANE.0, i64::MIN, i64::MAX).into_iter().filter(|(k, ..)| *k == key).collect();
        same(&runtime.block_on(all_pages(&world, request, 2)), &expected).map_err(TestCaseError::fail)?;

        let request = TopRequest { view: "trades".into(), by: Some("total".into()), window: Some(Span(size * PANE.0)), limit: Some(3), previous: true, ..TopRequest::default() };
        let top = runtime.block_on(world.reader.top(&request)).unwrap();
        let end = events.iter().map(Event::pane).max().unwrap().0 + PANE.0;
        prop_assert_eq!(top.window.unwrap().to, Timestamp(end));
        let mut ranked: Naive = naive(&events, size * PANE.0, PANE.0, end - size * PANE.0, end - size * PANE.0 + 1);
        ranked.sort_by(|a, b| b.2[1].total_cmp(&a.2[1]).then_with(|| Key::of(&a.0).cmp(&Key::of(&b.0))));
        ranked.truncate(3);
        same(&top.rows, &ranked).map_err(TestCaseError::fail)?;
        // The window before begins one slide earlier: the declared one for the declared size, otherwise the size.
        let start = end - size * PANE.0 - if size == 5 { PANE.0 } else { size * PANE.0 };
        let before = naive(&events, size * PANE.0, PANE.0, start, start + 1);
        for (row, (key, _, values)) in ranked.iter().enumerate() {
            let was = before.iter().find(|(other, ..)| other == key).map(|(_, _, values)| values[1]);
            let (found, direction) = top.before(row).unwrap();
            match was {
                None => prop_assert_eq!((found, direction), (&Before::Absent, Some(Direction::New))),
                Some(was) => {
                    prop_assert!((found.value().as_f64().unwrap() - was).abs() <= 1e-9 * was.abs().max(1.0));
                    let clear = (values[1] - was).abs() > 1e-6;
                    let expected = if values[1] > was { Direction::Up } else { Direction::Down };
                    prop_assert!(!clear || direction == Some(expected), "{direction:?} from {was} to {}", values[1]);
                }
            }
        }
    }
}

/// Ten panes of two keys; batch has all, speed has all.
fn ten() -> Vec<Event> {
    (0..10)
        .flat_map(|at| [Event::new(at * 60 + 5, "A", 1, 1.0, at), Event::new(at * 60 + 6, "B", 1, 2.0, at)])
        .collect()
}

fn tumbling() -> RowsRequest {
    RowsRequest { view: "trades".into(), window: Some(PANE), ..RowsRequest::default() }
}

const MIDDLE: Timestamp = Timestamp(5 * PANE.0);

#[tokio::test]
async fn a_layer_that_is_down_is_named_and_its_windows_are_partial() {
    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    world.views.faults.down.store(true, Ordering::SeqCst);
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!(answer.rows.len(), 10, "batch's five panes of two keys");
    let missing = &answer.provenance.missing;
    assert_eq!((missing.len(), missing[0].layer, missing[0].reason), (1, Layer::Speed, Reason::Unavailable));
    assert_eq!(missing[0].panes, Interval { from: MIDDLE, to: Timestamp::MAX });
    assert!(answer.provenance.speed.is_none() && answer.provenance.batch.is_some());
    assert!(answer.rows.iter().all(|row| !row.partial));
    // Windows that reach over the boundary lack something.
    let answer = world.reader.rows(&RowsRequest { view: "trades".into(), ..RowsRequest::default() }).await.unwrap();
    assert!(answer.rows.iter().all(|row| row.partial == (row.end > MIDDLE)));
    assert!(answer.rows.iter().any(|row| row.partial));
    // Asked for alone, there is nothing to answer.
    let alone = RowsRequest { layer: Layer::Speed, ..tumbling() };
    assert!(matches!(world.reader.rows(&alone).await, Err(QueryError::Unavailable { .. })));
    let top = world.reader.top(&TopRequest { view: "trades".into(), ..TopRequest::default() }).await.unwrap();
    assert_eq!(top.window.unwrap().to, MIDDLE);
    let request = TopRequest { view: "trades".into(), window: Some(PANE), previous: true, ..TopRequest::default() };
    let known = world.reader.top(&TopRequest { at: At::End(MIDDLE), ..request.clone() }).await.unwrap();
    assert!((0..2).all(|row| known.before(row).unwrap().1 == Some(Direction::Same)));
    let json = serde_json::to_string(&answer).unwrap();
    assert!(!json.contains("secret"), "what failed inside is not shown");

    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    world.analytics.faults.damaged.store(true, Ordering::SeqCst);
    // A window before that is missing says nothing of the direction.
    let unknown = world.reader.top(&TopRequest { at: At::End(MIDDLE.plus(PANE)), ..request }).await.unwrap();
    assert!((0..2).all(|row| unknown.before(row).unwrap() == (&Before::Unknown, None)), "{unknown:?}");
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!(answer.rows.len(), 10);
    assert!(answer.rows.iter().all(|row| row.start >= MIDDLE));
    assert_eq!(answer.provenance.missing[0].reason, Reason::Damaged);
    world.views.faults.down.store(true, Ordering::SeqCst);
    assert!(matches!(world.reader.rows(&tumbling()).await, Err(QueryError::Unavailable { .. })));
}

#[tokio::test]
async fn a_layer_that_fails_between_pages_is_missing_from_all_rows() {
    let world =
        World::with(plan(), &ten(), &ten(), Some(MIDDLE), ReaderConfig { page_rows: 1, ..ReaderConfig::default() });
    world.views.faults.after.store(1, Ordering::SeqCst);
    world.views.faults.down.store(true, Ordering::SeqCst);
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert!(answer.rows.iter().all(|row| row.start < MIDDLE), "not key A from both layers and key B from one");
    assert_eq!(answer.provenance.missing.len(), 1);
}

#[tokio::test]
async fn a_layer_that_hangs_is_missing_after_its_time() {
    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    world.analytics.faults.hangs.store(true, Ordering::SeqCst);
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!(answer.provenance.missing[0].reason, Reason::TimedOut);
}

#[tokio::test]
async fn without_a_manifest_the_boundary_is_the_last_known_or_unknown() {
    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    world.analytics.blind.store(true, Ordering::SeqCst);
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!(answer.rows.len(), 20);
    assert!(answer.rows.iter().all(|row| row.partial));
    assert_eq!(answer.provenance.missing[0].reason, Reason::BoundaryUnknown);
    world.analytics.blind.store(false, Ordering::SeqCst);
    world.reader.rows(&tumbling()).await.unwrap();
    world.analytics.blind.store(true, Ordering::SeqCst);
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!((answer.provenance.through, answer.provenance.missing.len()), (Some(MIDDLE), 0));
    // Before the first run there is nothing to miss.
    let world = World::new(&[], &ten(), None);
    *world.analytics.manifest.lock() = None;
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!((answer.rows.len(), answer.provenance.missing.len(), answer.provenance.batch), (20, 0, None));
}

#[tokio::test]
async fn speed_rows_that_expired_before_batch_took_them_are_said_or_taken_from_batch() {
    let mut plan = plan();
    plan.views[0].retain_speed = Some(Span::HOUR);
    let world = World::with(plan, &ten(), &[], Some(MIDDLE), ReaderConfig::default());
    world.clock.set(Timestamp(10 * Span::HOUR.0));
    // Speed stands at 12, batch at 10: two records may be in neither.
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    let missing = answer.provenance.missing;
    assert_eq!((missing.len(), missing[0].reason), (1, Reason::Expired));
    assert_eq!(missing[0].panes, Interval { from: MIDDLE, to: Timestamp(9 * Span::HOUR.0 + Span::MINUTE.0) });
    // Batch has all that speed had: it answers for everything.
    world.views.progress.lock()[0].1.position = 10;
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!((answer.rows.len(), answer.provenance.missing.len(), answer.provenance.speed), (20, 0, None));
}

#[tokio::test]
async fn layers_alone_and_batch_ahead_of_the_query() {
    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    for layer in [Layer::Speed, Layer::Batch, Layer::Merged] {
        let answer = world.reader.rows(&RowsRequest { layer, ..tumbling() }).await.unwrap();
        assert_eq!(answer.rows.len(), 20, "{layer:?}");
    }
    let early = RowsRequest { to: Some(Timestamp(2 * PANE.0)), ..tumbling() };
    let answer = world.reader.rows(&early).await.unwrap();
    assert_eq!((answer.rows.len(), answer.provenance.speed), (4, None));
    // Gold of another version of the view does not count.
    let mut manifest = support::manifest(Some(MIDDLE));
    manifest.views.get_mut("trades").unwrap().plan = "v0".into();
    *world.analytics.manifest.lock() = Some(manifest.into());
    let answer = world.reader.rows(&tumbling()).await.unwrap();
    assert_eq!((answer.rows.len(), answer.provenance.through, answer.provenance.batch), (20, None, None));
}

#[tokio::test]
async fn provenance_says_positions_watermarks_and_freshness() {
    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    let provenance = world.reader.rows(&tumbling()).await.unwrap().provenance;
    assert_eq!(provenance.positions.batch["feed"][&0], 10);
    assert_eq!(provenance.positions.speed["feed"][&0], 12);
    assert_eq!(provenance.watermarks["feed"], Some(Timestamp(600_000_000)));
    assert_eq!(provenance.freshness_ms, Some(10_000));
    assert_eq!(provenance.manifest.unwrap().run, "run-7");
}

#[tokio::test]
async fn bad_requests_name_the_parameter() {
    let world = World::new(&ten(), &ten(), Some(MIDDLE));
    let base = || RowsRequest { view: "trades".into(), ..RowsRequest::default() };
    let cases = [
        ("window", RowsRequest { window: Some(Span(90_000_000)), ..base() }),
        ("window", RowsRequest { window: Some(Span(0)), ..base() }),
        ("window", RowsRequest { window: Some(Span(-60_000_000)), ..base() }),
        ("window", RowsRequest { window: Some(Span(600_000 * PANE.0)), ..base() }),
        ("slide", RowsRequest { slide: Some(Span(6 * PANE.0)), ..base() }),
        ("slide", RowsRequest { slide: Some(Span(1)), ..base() }),
        ("to", RowsRequest { from: Some(MIDDLE), to: Some(MIDDLE), ..base() }),
        ("limit", RowsRequest { limit: Some(0), ..base() }),
        ("limit", RowsRequest { limit: Some(100_001), ..base() }),
        ("cursor", RowsRequest { cursor: Some("nonsense".into()), ..base() }),
        ("key", RowsRequest { key: KeyFilter::Text("A".into()), ..base() }),
        ("key", RowsRequest { key: KeyFilter::Text("A,x".into()), ..base() }),
    ];
    for (parameter, request) in cases {
        match world.reader.rows(&request).await {
            Err(QueryError::Parameter { parameter: named, .. }) => assert_eq!(named, parameter, "{request:?}"),
            other => panic!("{request:?}: {other:?}"),
        }
    }
    let pane = world.reader.rows(&RowsRequest { window: Some(Span(90_000_000)), ..base() }).await.unwrap_err();
    assert!(pane.to_string().contains("1m30s is not a multiple of the pane of view `trades`, 1m"), "{pane}");
    let cursor = world.reader.rows(&RowsRequest { limit: Some(1), ..base() }).await.unwrap().cursor;
    let foreign = RowsRequest { cursor, window: Some(PANE), ..base() };
    assert!(matches!(world.reader.rows(&foreign).await, Err(QueryError::Parameter { .. })));
    let unknown = world.reader.rows(&RowsRequest { view: "trade".into(), ..base() }).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no view `trade`; did you mean `trades`?");
    let by = TopRequest { view: "trades".into(), by: Some("nope".into()), ..TopRequest::default() };
    assert!(world.reader.top(&by).await.unwrap_err().to_string().contains("it has: n, total"));
}

#[tokio::test]
async fn too_much_work_is_refused_with_advice() {
    let config = ReaderConfig { max_panes: 8, page_rows: 4, ..ReaderConfig::default() };
    let world = World::with(plan(), &ten(), &ten(), Some(MIDDLE), config);
    let refused = world.reader.rows(&tumbling()).await.unwrap_err();
    assert!(matches!(&refused, QueryError::TooMuch { message } if message.contains("shorter time range")), "{refused}");
    assert!(world.reader.rows(&RowsRequest { to: Some(Timestamp(2 * PANE.0)), ..tumbling() }).await.is_ok());
}

#[tokio::test]
async fn lookups_are_the_union_of_both_layers() {
    let events = ten();
    // Batch is behind by two panes, speed has forgotten the first eight.
    let world = World::new(&events[..16], &events[14..], Some(MIDDLE));
    let request =
        LookupRequest { lookup: "latest".into(), key: KeyFilter::Text("A".into()), ..LookupRequest::default() };
    let answer = world.reader.lookup(&request).await.unwrap();
    let times: Vec<i64> = answer.rows.iter().map(|(time, _)| time.0 / 1_000_000).collect();
    assert_eq!(times, [545, 485, 425]);
    world.views.faults.down.store(true, Ordering::SeqCst);
    let answer = world.reader.lookup(&request).await.unwrap();
    assert_eq!((answer.rows[0].0.0 / 1_000_000, answer.provenance.missing[0].layer), (425, Layer::Speed));
    assert!(world.reader.lookup(&LookupRequest { key: KeyFilter::All, ..request.clone() }).await.is_err());
    assert!(world.reader.lookup(&LookupRequest { limit: Some(4), ..request }).await.is_err());
}

#[tokio::test]
async fn reports_are_paged_and_filtered() {
    let world = World::new(&[], &[], None);
    let mut request = ReportRequest { report: "summary".into(), limit: Some(2), ..ReportRequest::default() };
    let mut seen = Vec::new();
    loop {
        let page = world.reader.report(&request).await.unwrap();
        seen.extend(page.rows.iter().map(|row| row[1].as_f64().unwrap()));
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [0.0, 1.0, 2.0, 3.0, 4.0]);
    let filtered = ReportRequest {
        report: "summary".into(),
        filters: vec![("name".into(), "r1".into())],
        ..ReportRequest::default()
    };
    assert_eq!(world.reader.report(&filtered).await.unwrap().rows.len(), 2);
    let wrong = ReportRequest { filters: vec![("limit".into(), "x".into())], ..filtered.clone() };
    assert!(matches!(world.reader.report(&wrong).await, Err(QueryError::Parameter { .. })));
    *world.analytics.manifest.lock() = None;
    assert!(matches!(world.reader.report(&filtered).await, Err(QueryError::NotPublished { .. })));
}

/// Windows of a day sliding by a minute, and a big answer: the work is linear. Prints what it took.
#[tokio::test]
async fn long_windows_and_big_answers_are_linear() {
    let minutes = 4 * 1_440;
    let events: Vec<Event> = (0..minutes).map(|at| Event::new(at * 60, "A", 1, 1.0, at)).collect();
    let world = World::new(&events, &[], Some(Timestamp::MAX));
    let request = RowsRequest {
        view: "trades".into(),
        window: Some(Span::DAY),
        slide: Some(PANE),
        limit: Some(100_000),
        ..RowsRequest::default()
    };
    let began = Instant::now();
    let answer = world.reader.rows(&request).await.unwrap();
    eprintln!("{} windows of 1440 panes in {:?}", answer.rows.len(), began.elapsed());
    assert_eq!(answer.rows.len() as i64, minutes + 1_439);
    assert_eq!(answer.rows.iter().filter(|row| row.values[0] == Value::Int(1_440)).count() as i64, minutes - 1_439);

    let names: BTreeSet<String> = (0..1_000).map(|at| format!("S{at}")).collect();
    let events: Vec<Event> =
        names.iter().flat_map(|name| (0..100).map(move |at| Event::new(at * 60, name, 1, 1.5, at))).collect();
    let world = World::with(
        plan(),
        &events,
        &events,
        Some(Timestamp(50 * PANE.0)),
        ReaderConfig { page_rows: 200_000, ..ReaderConfig::default() },
    );
    let began = Instant::now();
    let answer = world.reader.rows(&RowsRequest { limit: Some(100_000), ..tumbling() }).await.unwrap();
    let merged = began.elapsed();
    assert_eq!(answer.rows.len(), 100_000);
    let began = Instant::now();
    let json = serde_json::to_vec(&answer).unwrap();
    eprintln!(
        "100,000 rows merged in {merged:?} (the double's pages included), {} bytes of JSON in {:?}",
        json.len(),
        began.elapsed()
    );
    assert!(merged < Duration::from_secs(30));
}
