//! What is promised of every connector: nothing is left out, nothing is noted before it is in the log, one process at a time.

use serde_json::{Value as Json, json};
use tideline_common::time::Span;
use tideline_ingest::connector::runner::{Runner, Step, Surroundings};
use tideline_ingest::connector::status::State;
use tokio_util::sync::CancellationToken;

use super::support::{Asked, Failing, Reply, Server, Tester, World};

/// Prices without end: the bars of each minute since 11:00.
fn bars(asked: &Asked, _: usize) -> Reply {
    let number = |name: &str| asked.param(name).unwrap().parse::<i64>().unwrap();
    let minutes: Vec<i64> = (number("period1") / 60..=number("period2") / 60).map(|minute| minute * 60).collect();
    let of = |value: f64| vec![json!(value); minutes.len()];
    let quote = json!({ "open": of(1.0), "close": of(2.0), "volume": vec![json!(3); minutes.len()] });
    Reply::ok(
        &json!({ "chart": { "result": [{ "timestamp": minutes, "indicators": { "quote": [quote] } }], "error": null } }),
    )
}

const KEYS: &str = "symbols = [\"TSLA\"]";
const SLOW: &str = "symbols = [\"TSLA\"]\nretry_initial = \"1s\"\nretry_max = \"10s\"";

fn minutes(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|minute| format!("2026-01-05 12:{minute:02}:00")).collect()
}

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ends() {
    let world = World::new();
    let server = Server::start(&world, bars).await;
    let mut first = world.connector(&server, "stocks", KEYS);
    first.settle().await;
    world.advance(Span::from_secs(240));
    first.settle().await;
    assert_eq!(world.take("trade_timestamp"), minutes(0, 4));
    drop(first);
    let mut second = world.connector(&server, "stocks", KEYS);
    // Not due yet: a restart does not ask more often than told.
    assert_eq!(second.settle().await, Span::MINUTE);
    world.advance(Span::from_secs(180));
    second.settle().await;
    assert_eq!(world.take("trade_timestamp"), minutes(4, 7));
    // Notes do not pile up.
    assert!(world.paths().len() <= 3, "{:?}", world.paths());
    assert!(world.paths()[0].starts_with("connectors/test/000000000000000000"));
}

#[tokio::test]
async fn a_log_that_fails_is_given_the_same_records_again() {
    let world = World::new();
    let server = Server::start(&world, bars).await;
    let mut stocks = world.connector(&server, "stocks", SLOW);
    stocks.settle().await;
    world.advance(Span::from_secs(180));
    world.fail_appends(3);
    let wait = stocks.settle().await;
    assert!(wait <= Span::SECOND, "{wait}");
    assert_eq!(stocks.status().state, State::Failing);
    assert!(stocks.status().error.unwrap().contains("told to fail"));
    let asked = server.asked().len();
    stocks.again(&world).await;
    stocks.again(&world).await;
    stocks.again(&world).await;
    assert_eq!(world.take("trade_timestamp"), minutes(0, 3));
    // Fetched once, appended until it worked.
    assert_eq!(server.asked().len(), asked);
    assert_eq!((stocks.status().state, stocks.status().failures), (State::Running, 0));
}

#[tokio::test]
async fn a_process_that_ends_before_the_append_loses_nothing() {
    let world = World::new();
    let server = Server::start(&world, bars).await;
    let mut stocks = world.connector(&server, "stocks", KEYS);
    stocks.settle().await;
    world.advance(Span::from_secs(180));
    world.fail_appends(1);
    stocks.settle().await;
    drop(stocks);
    let mut again = world.connector(&server, "stocks", KEYS);
    again.settle().await;
    assert_eq!(world.take("trade_timestamp"), minutes(0, 3));
}

#[tokio::test]
async fn a_note_that_is_not_written_is_written_before_anything_else_is_fetched() {
    for failing in [Failing::Before, Failing::After] {
        let world = World::new();
        let server = Server::start(&world, bars).await;
        let mut stocks = world.connector(&server, "stocks", SLOW);
        stocks.settle().await;
        world.advance(Span::from_secs(180));
        world.fail_puts(&[failing, failing]);
        stocks.settle().await;
        assert_eq!(stocks.status().state, State::Failing);
        let asked = server.asked().len();
        let mut attempts = 0;
        while stocks.status().state == State::Failing {
            stocks.again(&world).await;
            attempts += 1;
        }
        // One that has worked without an answer needs no other.
        assert_eq!(attempts, if failing == Failing::Before { 2 } else { 1 });
        assert_eq!(server.asked().len(), asked);
        // In the log once, and the next poll goes on after it.
        world.advance(Span::MINUTE);
        stocks.settle().await;
        assert_eq!(world.take("trade_timestamp"), minutes(0, 4), "{failing:?}");
    }
}

#[tokio::test]
async fn a_process_that_ends_between_append_and_note_repeats_with_the_same_ids() {
    let world = World::new();
    let server = Server::start(&world, bars).await;
    let mut stocks = world.connector(&server, "stocks", SLOW);
    stocks.settle().await;
    world.advance(Span::from_secs(180));
    world.fail_puts(&[Failing::Before]);
    stocks.settle().await;
    assert_eq!(world.take("trade_timestamp"), minutes(0, 3));
    drop(stocks);
    let mut again = world.connector(&server, "stocks", SLOW);
    again.settle().await;
    // At least once: byte for byte the same, so that a source that deduplicates has each once.
    assert_eq!(world.take("trade_timestamp"), minutes(0, 3));
}

#[tokio::test]
async fn records_that_the_log_would_not_take_do_not_block_those_after_them() {
    let world = World::new();
    let server = Server::start(&world, |_, _| {
        let movie =
            |id: u64, overview: String| json!({ "id": id, "title": "A", "popularity": 1.0, "overview": overview });
        let movies = [movie(1, "x".repeat(4_001)), movie(2, "short".to_owned())];
        Reply::ok(&json!({ "page": 1, "total_pages": 1, "results": movies }))
    })
    .await;
    let mut tmdb = world.connector(&server, "tmdb", "api_key = \"k\"");
    tmdb.settle().await;
    assert_eq!(world.take("id"), ["2"]);
    assert_eq!(tmdb.status().oversized, 1);
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_is_told_and_not_thrown_away() {
    let world = World::new();
    let server = Server::start(&world, bars).await;
    let objects = &world.surroundings().objects;
    let note = json!({ "version": "1", "holder": "", "until": 0, "polled_at": null, "cursor": { "bars": "none" } });
    let path = "connectors/test/00000000000000000007.json";
    objects.put(path, note.to_string().into()).await.unwrap();
    let mut stocks = world.connector(&server, "stocks", KEYS);
    stocks.settle().await;
    assert!(stocks.status().error.unwrap().contains("the cursor cannot be read"));
    assert_eq!((stocks.status().state, server.asked().len()), (State::Refused, 0));
    // Nor is one of a version that nobody knows here.
    objects.put("connectors/test/00000000000000000008.json", "{\"version\": \"2\"}".into()).await.unwrap();
    let mut stocks = world.connector(&server, "stocks", KEYS);
    stocks.settle().await;
    let error = stocks.status().error.unwrap();
    assert!(error.contains("00000000000000000008.json is damaged"), "{error}");
    assert_eq!(world.paths().len(), 2);
}

/// What several processes have: a name each, and a lease of a minute.
fn shared(world: &World, holder: &str) -> Surroundings {
    Surroundings { holder: holder.to_owned(), lease: Some(Span::MINUTE), ..world.surroundings() }
}

async fn trending(world: &World) -> Server {
    Server::start(world, |_, _| {
        Reply::ok(&json!({ "page": 1, "total_pages": 1, "results": [{ "id": 1, "title": "A", "popularity": 1.5 }] }))
    })
    .await
}

fn process(world: &World, server: &Server, name: &str) -> Tester {
    World::connector_in(shared(world, name), server, "tmdb", "api_key = \"k\"\nevery = \"30s\"")
}

#[tokio::test]
async fn of_two_processes_one_asks_and_the_other_takes_over() {
    let world = World::new();
    let server = trending(&world).await;
    let (mut one, mut two) = (process(&world, &server, "one"), process(&world, &server, "two"));
    // Whoever waits says every 20 s that they are there.
    assert_eq!(one.settle().await, Span::from_secs(20));
    assert_eq!(two.settle().await, Span::from_secs(20));
    assert_eq!((one.status().state, two.status().state), (State::Running, State::Standby));
    for _ in 0..12 {
        world.advance(Span::from_secs(20));
        one.settle().await;
        two.settle().await;
    }
    assert_eq!(two.status().polls, 0);
    assert_eq!(one.status().polls, world.take("id").len() as u64);
    // The first is killed. A minute after its last word the other goes on.
    drop(one);
    world.advance(Span::from_secs(50));
    two.settle().await;
    assert_eq!(two.status().state, State::Standby);
    world.advance(Span::from_secs(11));
    two.settle().await;
    assert_eq!((two.status().state, two.status().polls), (State::Running, 1));
}

#[tokio::test]
async fn a_process_that_slept_too_long_finds_the_other_at_work() {
    let world = World::new();
    let server = trending(&world).await;
    let (mut one, mut two) = (process(&world, &server, "one"), process(&world, &server, "two"));
    one.settle().await;
    two.settle().await;
    world.advance(Span::from_secs(90));
    two.settle().await;
    assert_eq!(two.status().polls, 1);
    one.settle().await;
    assert_eq!((one.status().state, one.status().polls), (State::Standby, 1));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_process_that_slept_for_many_polls_of_the_other_does_not_poll_beside_it() {
    let world = World::new();
    let server = trending(&world).await;
    let (mut one, mut two) = (process(&world, &server, "one"), process(&world, &server, "two"));
    one.settle().await;
    two.settle().await;
    world.advance(Span::MINUTE);
    // More notes than are kept: the number after the last one of the first process is free again.
    for _ in 0..8 {
        world.advance(Span::from_secs(30));
        two.settle().await;
    }
    assert_eq!(two.status().polls, 8);
    for _ in 0..3 {
        one.settle().await;
        assert_eq!((one.status().state, one.status().polls), (State::Standby, 1));
        world.advance(Span::from_secs(30));
        two.settle().await;
    }
    assert_eq!((two.status().state, two.status().polls), (State::Running, 11));
    assert_eq!(server.asked().len(), 12);
    assert_eq!(world.paths().len(), 3, "{:?}", world.paths());
}

#[tokio::test]
async fn a_process_that_lost_its_connector_while_it_fetched_appends_nothing_of_it() {
    let world = World::new();
    let server = trending(&world).await;
    let mut one = process(&world, &server, "one");
    one.settle().await;
    world.take_records();
    // It has fetched, and the log does not take it.
    world.advance(Span::from_secs(30));
    world.fail_appends(1);
    one.settle().await;
    // Meanwhile the other has gone on.
    world.advance(Span::from_secs(90));
    let mut two = process(&world, &server, "two");
    two.settle().await;
    assert_eq!(world.take("id"), ["1"]);
    one.settle().await;
    assert_eq!(world.take_records().len(), 0);
    assert_eq!(one.status().state, State::Standby);
}

#[tokio::test]
async fn a_server_that_is_slow_does_not_cost_the_connector() {
    let world = World::new();
    let server = Server::start(&world, |_, _| Reply::Hang).await;
    let (mut one, mut two) = (process(&world, &server, "one"), process(&world, &server, "two"));
    let cancel = CancellationToken::new();
    let step = async {
        one.runner.step(&cancel).await;
        one
    };
    let others = async {
        for _ in 0..12 {
            // It waits for an answer, and says that it is there.
            let before = world.now();
            world.beat();
            while world.now() == before {
                tokio::task::yield_now().await;
            }
            two.settle().await;
            assert_eq!(two.status().state, State::Standby);
        }
        cancel.cancel();
    };
    let (one, ()) = tokio::join!(step, others);
    assert_eq!(one.status().polls, 0);
    // Four minutes, four leases long.
    assert_eq!(world.now().to_string(), "2026-01-05T12:04:00Z");
}

#[tokio::test]
async fn whoever_waits_after_a_failure_keeps_the_connector() {
    let refused = "api_key = \"k\"\nevery = \"30s\"\nretry_initial = \"1s\"";
    let failing = "api_key = \"k\"\nevery = \"1h\"\nretry_initial = \"1s\"\nretry_max = \"1h\"\nattempts = 1";
    for (status, keys, state) in [(403, refused, State::Refused), (500, failing, State::Failing)] {
        let world = World::new();
        let server = Server::start(&world, move |_, _| Reply::status(status)).await;
        let connector = |name| World::connector_in(shared(&world, name), &server, "tmdb", keys);
        let (mut one, mut two) = (connector("one"), connector("two"));
        let mut waits = vec![world.now()];
        // Three hours, in which waits grow to a quarter of an hour and more.
        for _ in 0..540 {
            assert!(one.settle().await <= Span::from_secs(20));
            two.settle().await;
            assert_eq!((one.status().state, two.status().state), (state, State::Standby));
            let next = one.status().next_poll.unwrap();
            if waits.last() != Some(&next) {
                waits.push(next);
            }
            world.advance(Span::from_secs(20));
        }
        let asked = server.asked();
        assert!(asked.len() > 1 && asked.len() <= 3 * 60, "{}", asked.len());
        assert!(waits.windows(2).any(|pair| pair[1].since(pair[0]) > Span::from_secs(5 * 60)), "{waits:?}");
        // Nobody is asked before the time that was told.
        for (request, due) in asked.iter().zip(&waits) {
            assert!(request.at >= *due, "{} before {due}", request.at);
        }
    }
}

#[tokio::test]
async fn an_api_that_refuses_is_left_alone_for_a_minute_to_a_quarter_of_an_hour() {
    let world = World::new();
    let server = Server::start(&world, |_, _| Reply::status(403)).await;
    let mut tmdb = world.connector(&server, "tmdb", "api_key = \"k\"\nevery = \"1s\"\nretry_initial = \"1s\"");
    let mut waits = vec![tmdb.settle().await];
    for _ in 0..60 {
        waits.push(tmdb.again(&world).await);
    }
    assert_eq!((waits[0], server.asked().len()), (Span::MINUTE, 61));
    assert!(waits[1] <= Span::from_secs(120), "{waits:?}");
    let longest = Span::from_secs(15 * 60);
    assert!(waits.iter().all(|wait| (Span::MINUTE..=longest).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > Span::from_secs(10 * 60)), "{waits:?}");
}

#[tokio::test]
async fn a_hold_is_shown_while_it_lasts_and_kept_by_whoever_takes_over() {
    let world = World::new();
    let server = Server::start(&world, |_, at| match at {
        1 => Reply::status(429).with("retry-after", "900"),
        _ => Reply::ok(&json!({ "page": 1, "total_pages": 1, "results": [] })),
    })
    .await;
    let (mut one, mut two) = (process(&world, &server, "one"), process(&world, &server, "two"));
    one.settle().await;
    assert_eq!(one.status().held_until, None);
    world.advance(Span::from_secs(30));
    let until = world.now().plus(Span::from_secs(900));
    world.stand_still();
    let (cancel, status) = (CancellationToken::new(), one.runner.status());
    let step = async {
        one.runner.step(&cancel).await;
        one
    };
    let others = async {
        while world.last_object().get("held_until").is_none() {
            tokio::task::yield_now().await;
        }
        // The poll is under way, and waits: that is told at once, and to the others too.
        assert_eq!((status.get().held_until, status.get().next_poll), (Some(until), Some(until)));
        for _ in 0..12 {
            let before = world.now();
            world.beat();
            while world.now() == before {
                tokio::task::yield_now().await;
            }
            two.settle().await;
            assert_eq!((two.status().state, two.status().held_until), (State::Standby, Some(until)));
        }
        cancel.cancel();
    };
    let limit = std::time::Duration::from_secs(30);
    let (one, ()) = tokio::time::timeout(limit, async { tokio::join!(step, others) }).await.unwrap();
    // The first is killed.
    drop(one);
    world.advance(Span::MINUTE);
    two.settle().await;
    while world.now() < until {
        assert_eq!((two.status().state, two.status().held_until), (State::Starting, Some(until)));
        assert_eq!(two.status().next_poll, Some(until));
        assert_eq!(server.asked().len(), 2);
        two.again(&world).await;
    }
    assert_eq!(server.asked().len(), 3);
    assert_eq!(server.asked()[2].at, until);
    assert_eq!((two.status().state, two.status().held_until), (State::Running, None));
}

#[tokio::test]
async fn a_hold_outlasts_a_restart() {
    let world = World::new();
    let server = Server::start(&world, |_, at| match at {
        0 => Reply::status(429).with("retry-after", "900"),
        _ => Reply::ok(
            &json!({ "page": 1, "total_pages": 1, "results": [{ "id": 1, "title": "A", "popularity": 1.5 }] }),
        ),
    })
    .await;
    let start = world.now();
    let until = start.plus(Span::from_secs(900));
    let mut first = world.connector(&server, "tmdb", "api_key = \"k\"\nattempts = 1");
    first.settle().await;
    let status = first.status();
    assert_eq!((status.state, status.held_until, status.next_poll), (State::Failing, Some(until), Some(until)));
    drop(first);
    world.advance(Span::from_secs(100));
    let mut second = world.connector(&server, "tmdb", "api_key = \"k\"\nattempts = 1");
    assert_eq!(second.settle().await, Span::from_secs(800));
    assert_eq!((server.asked().len(), second.status().held_until), (1, Some(until)));
    second.again(&world).await;
    assert_eq!(server.asked()[1].at, until);
    assert_eq!((world.take("id"), second.status().held_until), (vec!["1".to_owned()], None));
}

#[tokio::test]
async fn a_connector_that_ends_in_order_lets_the_other_go_on_at_once() {
    let world = World::new();
    let server = trending(&world).await;
    let config = process(&world, &server, "one");
    let status = config.runner.status();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(config.runner.run(cancel.clone()));
    while server.asked().len() < 3 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    running.await.unwrap();
    assert_eq!(status.get().state, State::Stopped);
    let polls = status.get().polls;
    assert_eq!(world.take("id").len() as u64, polls);
    let mut two = process(&world, &server, "two");
    assert!(two.settle().await <= Span::from_secs(20));
    assert_ne!(two.status().state, State::Standby);
}

#[tokio::test]
async fn a_request_without_an_answer_does_not_hold_up_the_end() {
    let world = World::new();
    let server = Server::start(&world, |_, _| Reply::Hang).await;
    let tester = world.connector(&server, "tmdb", "api_key = \"k\"\ntimeout = \"60s\"");
    let (cancel, status) = (CancellationToken::new(), tester.runner.status());
    let running = tokio::spawn(tester.runner.run(cancel.clone()));
    while server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    running.await.unwrap();
    assert_eq!(status.get().state, State::Stopped);
}

#[tokio::test]
async fn connectors_know_nothing_of_each_other() {
    let world = World::new();
    let (good, bad) = (trending(&world).await, Server::start(&world, |_, _| Reply::status(500)).await);
    let runners: Vec<Runner> = [(&good, "good"), (&bad, "bad")]
        .into_iter()
        .map(|(server, name)| {
            let text = format!(
                "kind = \"tmdb\"\ntopic = \"records\"\napi_key = \"k\"\nbase = \"{}\"\nretry_initial = \"0s\"\nretry_max = \"0s\"",
                server.url
            );
            let config: tideline_ingest::connector::config::ConnectorConfig = toml::from_str(&text).unwrap();
            config.connector(name, world.surroundings()).unwrap()
        })
        .collect();
    let cancel = CancellationToken::new();
    for mut runner in runners {
        for _ in 0..4 {
            if let Step::Wait(_) = runner.step(&cancel).await {
                break;
            }
        }
        let status = runner.status().get();
        let expected = if status.name == "good" { State::Running } else { State::Failing };
        assert_eq!(status.state, expected);
        // What `/v1/status` shows of it.
        let shown: Json = serde_json::to_value(&status).unwrap();
        assert_eq!(shown["kind"], "tmdb");
        assert_eq!(shown["state"], if status.name == "good" { "running" } else { "failing" });
    }
    assert_eq!(world.take("id"), ["1"]);
    let folders: std::collections::BTreeSet<String> =
        world.paths().iter().map(|path| path.rsplit_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(folders.into_iter().collect::<Vec<_>>(), ["connectors/good"]);
}
