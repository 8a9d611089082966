//! Prices: the chart API of Yahoo, as yfinance and yahoo-finance2 read it.

use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};
use tideline_ingest::connector::status::State;

use super::support::{Asked, Reply, Server, World};

const NOON: i64 = 1_767_614_400;

/// Bars of a minute from `from` to `to` (minutes after 12:00), as the API answers for the period that is asked for.
fn chart(asked: &Asked, symbol: &str, from: i64, to: i64) -> Json {
    let number = |name: &str| asked.param(name).unwrap().parse::<i64>().unwrap();
    let (start, end) = (number("period1"), number("period2"));
    assert!(start < end, "{start} {end}");
    assert_eq!(asked.param("interval"), Some("1m"));
    let minutes: Vec<i64> = (from..to).filter(|minute| (start..=end).contains(&(NOON + minute * 60))).collect();
    let of = |value: &dyn Fn(i64) -> Json| minutes.iter().map(|minute| value(*minute)).collect::<Vec<_>>();
    let quote = json!({
        "open": of(&|minute| json!(100.0 + minute as f64)), "high": of(&|_| json!(200.0)), "low": of(&|_| json!(50.0)),
        "close": of(&|minute| json!(100.5 + minute as f64)), "volume": of(&|minute| json!(1_000 + minute.abs())),
    });
    json!({ "chart": { "result": [{
        "meta": { "currency": "USD", "symbol": symbol, "regularMarketPrice": 240.1, "dataGranularity": "1m", "range": "" },
        "timestamp": of(&|minute| json!(NOON + minute * 60)),
        "indicators": { "quote": [quote] },
    }], "error": null }})
}

#[tokio::test]
async fn bars_that_are_over_are_records_once() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| {
        let symbol = asked.path.strip_prefix("/v8/finance/chart/").unwrap();
        Reply::ok(&chart(asked, symbol, -30, 30))
    })
    .await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"TSLA\", \"BRK-B\"]");
    // 12:00: the bar of 11:59 is over, and was so before anyone asked; that of 12:00 is under way.
    assert_eq!(stocks.settle().await, Span::MINUTE);
    assert_eq!(world.take_records().len(), 0);
    assert!(server.asked()[0].header("user-agent").starts_with("tideline/"));
    stocks.again(&world).await;
    let records = world.take_records();
    assert_eq!(
        records[0].to_string(),
        r#"{"symbol":"TSLA","trade_timestamp":"2026-01-05 12:00:00","open_price":100.0,"close_price":100.5,"volume":1000}"#
    );
    assert_eq!(records.len(), 2);
    // Three minutes were missed: they come, in order of time.
    world.advance(Span::from_secs(120));
    stocks.again(&world).await;
    let times: Vec<String> = world.take("trade_timestamp");
    assert_eq!(times.len(), 6);
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    assert_eq!(times.last().unwrap(), "2026-01-05 12:03:00");
    stocks.settle().await;
    assert_eq!(world.take_records().len(), 0);
}

#[tokio::test]
async fn a_day_comes_first_when_what_is_there_is_wanted() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| Reply::ok(&chart(asked, "TSLA", -2_000, 30))).await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"TSLA\"]\nskip_existing = false");
    stocks.settle().await;
    // The bar that begins a day ago is the end of what is before.
    assert_eq!((world.take_records().len(), stocks.status().error), (1_440 - 1, None));
}

#[tokio::test]
async fn holes_and_symbols_that_are_gone_cost_nobody_else() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| {
        if asked.path.ends_with("/GONE") {
            let body = r#"{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}"#;
            return Reply::Say(404, Vec::new(), body.to_owned());
        }
        let mut chart = chart(asked, "TSLA", -30, 30);
        // Nothing was traded in the second minute of those asked for.
        for field in ["open", "close", "volume", "high", "low"] {
            if let Some(hole) = chart["chart"]["result"][0]["indicators"]["quote"][0][field].get_mut(1) {
                *hole = Json::Null;
            }
        }
        Reply::ok(&chart)
    })
    .await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"GONE\", \"TSLA\"]");
    stocks.settle().await;
    world.advance(Span::from_secs(180));
    stocks.settle().await;
    // 11:59 (asked for as the last one known), a hole at 12:00, then two bars that are over.
    assert_eq!(world.take("trade_timestamp"), ["2026-01-05 12:01:00", "2026-01-05 12:02:00"]);
    let status = stocks.status();
    assert_eq!(status.state, State::Running);
    assert!(status.error.unwrap().contains("GONE: "), "the symbol is named");
}

#[tokio::test]
async fn when_no_symbol_works_the_poll_has_not() {
    let world = World::new();
    let server = Server::start(&world, |_, _| Reply::Say(404, Vec::new(), "{}".to_owned())).await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"A\", \"B\"]");
    stocks.settle().await;
    assert_eq!(stocks.status().state, State::Refused);
    server.answer(|_, _| {
        let bars = json!({ "timestamp": [1, 2], "indicators": { "quote": [{ "open": [1.0], "close": [1.0], "volume": [1] }] } });
        Reply::ok(&json!({ "chart": { "result": [bars], "error": null } }))
    });
    world.advance(Span::HOUR);
    stocks.settle().await;
    assert!(stocks.status().error.unwrap().contains("different lengths"));
}

#[tokio::test]
async fn what_the_api_no_longer_has_is_a_gap_and_a_market_that_rests_is_none() {
    let world = World::new();
    // Nothing is traded at all: no bars, no quotes.
    let empty = |_: &Asked, _: usize| {
        Reply::ok(&json!({ "chart": { "result": [{ "meta": {}, "indicators": { "quote": [{}] } }], "error": null } }))
    };
    let server = Server::start(&world, empty).await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"TSLA\"]");
    for _ in 0..12 {
        stocks.settle().await;
        world.advance(Span::DAY);
    }
    assert_eq!(stocks.status().gaps, 0);
    // Nobody asks for ten days.
    world.advance(Span(9 * Span::DAY.micros()));
    stocks.settle().await;
    assert_eq!(stocks.status().gaps, 1);
    assert!(stocks.status().last_gap.unwrap().contains("TSLA: bars from 2026-01-"));
    let oldest = server.asked().last().unwrap().param("period1").unwrap().parse::<i64>().unwrap();
    let back = world.now().since(Timestamp::from_millis(oldest * 1_000));
    assert!(back <= Span(7 * Span::DAY.micros()), "{back}");
}

/// An answer with these rows: second after 12:00, close.
fn rows(rows: &[(i64, Json)]) -> Reply {
    let of = |value: &dyn Fn(&(i64, Json)) -> Json| rows.iter().map(value).collect::<Vec<_>>();
    let quote =
        json!({ "open": of(&|row| row.1.clone()), "close": of(&|row| row.1.clone()), "volume": of(&|_| json!(1)) });
    let bars = json!({ "timestamp": of(&|row| json!(NOON + row.0)), "indicators": { "quote": [quote] } });
    Reply::ok(&json!({ "chart": { "result": [bars], "error": null } }))
}

#[tokio::test]
async fn on_a_feed_with_a_delay_a_bar_is_over_when_the_feed_has_come_past_it() {
    let world = World::new();
    // A quarter of an hour late: the bar under way changes until it is over, and the last trade has a row of its own.
    let server = Server::start(&world, |asked, _| {
        let second = asked.at.micros() / 1_000_000 - NOON - 900;
        let last = second.div_euclid(60);
        let close = |minute: i64| if minute < last { json!(100 + minute) } else { json!(second) };
        let mut told: Vec<(i64, Json)> = (last - 30..=last).map(|minute| (minute * 60, close(minute))).collect();
        told.extend((second % 60 != 0).then(|| (second, json!(second))));
        rows(&told)
    })
    .await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"VOW3.DE\"]\nskip_existing = false");
    world.advance(Span::from_secs(20));
    stocks.settle().await;
    assert_eq!(world.take("trade_timestamp").last().unwrap(), "2026-01-05 11:44:00");
    // Minute by minute, each once, and each as it was at its end.
    for minute in -15..-5 {
        stocks.again(&world).await;
        let records = world.take_records();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["trade_timestamp"], format!("2026-01-05 11:{:02}:00", 60 + minute));
        assert_eq!(records[0]["close_price"], 100.0 + f64::from(minute));
    }
}

#[tokio::test]
async fn a_bar_that_nothing_follows_is_over_after_the_delay() {
    for (keys, seconds) in [("", 35 * 60), ("delay = \"5m\"", 300), ("delay = \"0s\"", 0)] {
        let world = World::new();
        // Trading ends at 12:00.
        let server =
            Server::start(&world, |_, _| rows(&[(-120, json!(1.0)), (-60, json!(2.0)), (0, Json::Null)])).await;
        let keys = format!("symbols = [\"TSLA\"]\nskip_existing = false\n{keys}");
        let mut stocks = world.connector(&server, "stocks", &keys);
        if seconds > 0 {
            stocks.settle().await;
            assert_eq!(world.take("trade_timestamp"), ["2026-01-05 11:58:00"]);
            world.advance(Span::from_secs(seconds - 1));
            stocks.settle().await;
            assert_eq!(world.take_records().len(), 0);
            world.advance(Span::MINUTE);
        }
        stocks.settle().await;
        assert_eq!(world.take("trade_timestamp").last().unwrap(), "2026-01-05 11:59:00");
    }
}

#[tokio::test]
async fn the_row_of_the_last_trade_is_no_bar() {
    let world = World::new();
    // 12:12:00 is a whole minute, and less than a bar after the one before it.
    let closed = [(0, json!(1.0)), (300, json!(2.0)), (600, json!(3.0)), (720, json!(9.0))];
    let server = Server::start(&world, move |_, _| rows(&closed)).await;
    let keys = "symbols = [\"TSLA\"]\ninterval = \"5m\"\nskip_existing = false";
    let mut stocks = world.connector(&server, "stocks", keys);
    world.advance(Span::from_secs(720));
    stocks.settle().await;
    assert_eq!(world.take("trade_timestamp"), ["2026-01-05 12:00:00", "2026-01-05 12:05:00"]);
    world.advance(Span::HOUR);
    stocks.settle().await;
    assert_eq!(world.take("close_price"), ["3.0"]);
    // A bar that is less than another after the one before it, where a session follows another, is one once something follows it.
    let opened = [(600, json!(3.0)), (720, json!(4.0)), (1_020, json!(5.0)), (1_117, json!(6.0))];
    server.answer(move |_, _| rows(&opened));
    world.advance(Span::MINUTE);
    stocks.settle().await;
    assert_eq!(world.take("close_price"), ["4.0", "5.0"]);
}

#[tokio::test]
async fn bars_that_are_not_as_documented_cost_nobody_else() {
    let world = World::new();
    let server = Server::start(&world, |_, _| {
        rows(&[(-180, json!(1.0)), (-120, json!("much")), (-60, json!(3.0)), (0, json!(4.0))])
    })
    .await;
    let mut stocks = world.connector(&server, "stocks", "symbols = [\"TSLA\"]\nskip_existing = false");
    stocks.settle().await;
    assert_eq!(world.take("close_price"), ["1.0", "3.0"]);
    let status = stocks.status();
    assert_eq!(status.state, State::Running);
    assert_eq!(status.error.unwrap(), "TSLA: 1 bars are not as documented and were left out");
}

/// Symbols in the order in which they were asked for.
fn symbols(server: &Server) -> Vec<String> {
    let symbol = |asked: &Asked| asked.path.strip_prefix("/v8/finance/chart/").unwrap().to_owned();
    server.asked().iter().map(symbol).collect()
}

#[tokio::test]
async fn a_poll_that_breaks_off_keeps_what_it_has_and_the_next_one_begins_where_it_did() {
    let world = World::new();
    let good = |asked: &Asked| Reply::ok(&chart(asked, "X", -3, 30));
    let failing = move |symbol: &'static str, reply: Reply| {
        move |asked: &Asked, _: usize| if asked.path.ends_with(symbol) { reply.clone() } else { good(asked) }
    };
    let server = Server::start(&world, failing("/B", Reply::status(503))).await;
    let keys = "symbols = [\"A\", \"B\", \"C\", \"D\"]\nskip_existing = false\nattempts = 1";
    let mut stocks = world.connector(&server, "stocks", keys);
    stocks.settle().await;
    assert_eq!(world.take("symbol"), ["A", "A", "A"]);
    let status = stocks.status();
    assert_eq!((status.state, symbols(&server).join("")), (State::Running, "AB".to_owned()));
    assert!(status.error.unwrap().starts_with("B: "));
    // One that never answers keeps no other from being asked for.
    server.answer(failing("/B", Reply::status(503)));
    stocks.again(&world).await;
    assert_eq!(symbols(&server).join(""), "CDAB");
    assert_eq!(world.take("symbol").len(), 4 + 4 + 1);
    // Too many requests are no symbol's fault: with it the next poll begins.
    server.answer(failing("/A", Reply::status(429)));
    stocks.again(&world).await;
    assert_eq!((symbols(&server).join(""), stocks.status().state), ("CDA".to_owned(), State::Running));
    server.answer(failing("/", Reply::status(429)));
    stocks.again(&world).await;
    assert_eq!(symbols(&server).join(""), "ABCD");
    // Nothing works: the poll has not.
    server.answer(|_, _| Reply::status(503));
    stocks.again(&world).await;
    assert_eq!((symbols(&server).join(""), stocks.status().state), ("A".to_owned(), State::Failing));
    server.answer(failing("/", Reply::status(429)));
    stocks.again(&world).await;
    assert_eq!((symbols(&server).join(""), stocks.status().state), ("BCDA".to_owned(), State::Running));
}
