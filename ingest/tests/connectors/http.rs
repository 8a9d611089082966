//! What every connector does when a server does not answer as it should, shown with TMDB's and Reddit's.

use serde_json::{Value as Json, json};
use tideline_common::time::Span;
use tideline_ingest::connector::status::State;

use super::support::{Reply, Server, Tester, World};

fn movies() -> Json {
    json!({ "page": 1, "total_pages": 1, "results": [{ "id": 1, "title": "A", "popularity": 1.5 }] })
}

const WAITING: &str = "api_key = \"k\"\nretry_initial = \"1s\"\nretry_max = \"20s\"\nrate = \"1000/1s\"";

/// A connector that is answered with `replies`, then with movies.
async fn after(world: &World, keys: &str, replies: Vec<Reply>) -> (Server, Tester) {
    let server =
        Server::start(world, move |_, at| replies.get(at).cloned().unwrap_or_else(|| Reply::ok(&movies()))).await;
    let tester = world.connector(&server, "tmdb", keys);
    (server, tester)
}

#[tokio::test]
async fn servers_that_fail_are_asked_again_after_growing_waits() {
    let world = World::new();
    let replies = [500, 502, 503, 504].map(Reply::status).to_vec();
    let (server, mut tmdb) = after(&world, WAITING, replies).await;
    let start = world.now();
    let wait = tmdb.settle().await;
    // From the beginning of the poll, whatever it took.
    assert_eq!(world.now().plus(wait).since(start), Span::from_secs(300));
    assert_eq!(world.take("id"), ["1"]);
    assert_eq!(server.asked().len(), 5);
    let pauses = world.pauses();
    assert_eq!(pauses.len(), 4);
    for (pause, bound_s) in pauses.iter().zip([1, 2, 4, 8]) {
        assert!(*pause <= Span::from_secs(bound_s), "{pauses:?}");
    }
}

#[tokio::test]
async fn what_lasts_longer_than_the_attempts_is_the_next_polls() {
    let world = World::new();
    let (server, mut tmdb) = after(&world, WAITING, vec![Reply::status(500); 12]).await;
    // Five attempts, then a wait that is not shorter than `retry_max`.
    let wait = tmdb.settle().await;
    assert_eq!(server.asked().len(), 5);
    assert_eq!(wait, Span::from_secs(20));
    let status = tmdb.status();
    assert_eq!((status.state, status.failures, status.polls), (State::Failing, 1, 0));
    assert!(status.error.unwrap().contains("the server answered 500"));
    tmdb.again(&world).await;
    assert_eq!(tmdb.status().failures, 2);
    tmdb.again(&world).await;
    assert_eq!(server.asked().len(), 13);
    assert_eq!((tmdb.status().state, tmdb.status().failures), (State::Running, 0));
    assert_eq!(world.take("id"), ["1"]);
}

#[tokio::test]
async fn too_many_requests_wait_as_long_as_the_server_says() {
    let cases: [(&str, String, i64); 5] = [
        ("retry-after", "120".to_owned(), 120),
        ("retry-after", "Mon, 05 Jan 2026 12:01:30 GMT".to_owned(), 90),
        // 2026-01-05 12:00:45 UTC
        ("x-rate-limit-reset", "1767614445".to_owned(), 45),
        ("x-ratelimit-reset", "33".to_owned(), 33),
        // Longer than any backoff, and less than the bound.
        ("retry-after", "7200".to_owned(), 7_200),
    ];
    for (name, value, seconds) in cases {
        let world = World::new();
        let (server, mut tmdb) = after(&world, WAITING, vec![Reply::status(429).with(name, value)]).await;
        let start = world.now();
        tmdb.settle().await;
        let asked = server.asked();
        assert_eq!(asked.len(), 2, "{name}");
        assert_eq!(asked[1].at.since(start), Span::from_secs(seconds), "{name}");
        assert_eq!(world.take("id"), ["1"]);
    }
}

#[tokio::test]
async fn too_many_requests_without_a_word_wait_as_failures_do() {
    let world = World::new();
    let (server, mut tmdb) = after(&world, WAITING, vec![Reply::status(429); 3]).await;
    tmdb.settle().await;
    assert_eq!(server.asked().len(), 4);
    assert_eq!(world.pauses().len(), 3);
    assert_eq!(world.take("id"), ["1"]);
}

#[tokio::test]
async fn a_hold_outlasts_the_poll_that_ran_into_it() {
    let world = World::new();
    let limited = Reply::status(429).with("retry-after", "600");
    let (server, mut tmdb) = after(&world, &format!("{WAITING}\nattempts = 1"), vec![limited]).await;
    let start = world.now();
    tmdb.settle().await;
    assert_eq!(tmdb.status().held_until, Some(start.plus(Span::from_secs(600))));
    // Due long before, asked when the server wants it.
    tmdb.again(&world).await;
    assert_eq!(server.asked()[1].at.since(start), Span::from_secs(600));
    assert_eq!(world.take("id"), ["1"]);
}

#[tokio::test]
async fn the_last_request_of_a_window_holds_the_next_one() {
    let world = World::new();
    let last = Reply::ok(&movies()).with("x-ratelimit-remaining", "0").with("x-ratelimit-reset", "400");
    let (server, mut tmdb) = after(&world, WAITING, vec![last]).await;
    let start = world.now();
    tmdb.settle().await;
    tmdb.again(&world).await;
    // Due after 300 s, allowed after 400 s.
    assert_eq!(server.asked()[1].at.since(start), Span::from_secs(400));
}

#[tokio::test]
async fn the_stated_budget_is_kept_whatever_the_server_says() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| {
        let number: u32 = asked.param("page").unwrap().parse().unwrap();
        Reply::ok(&json!({ "page": number, "total_pages": 100, "results": [] }))
    })
    .await;
    let mut tmdb = world.connector(&server, "tmdb", "api_key = \"k\"\npages = 25\nrate = \"10/1m\"");
    tmdb.settle().await;
    let times: Vec<_> = server.asked().iter().map(|asked| asked.at).collect();
    assert_eq!(times.len(), 25);
    for (index, first) in times.iter().enumerate() {
        let within = times[index..].iter().filter(|at| at.since(*first) < Span::MINUTE).count();
        assert!(within <= 10, "{within} requests in a minute");
    }
}

#[tokio::test]
async fn connections_that_are_cut_and_answers_that_are_none_are_asked_for_again() {
    let world = World::new();
    let replies = vec![
        Reply::Cut(r#"{"page": 1, "results": [{"id": 1, "ti"#.to_owned()),
        Reply::Say(200, Vec::new(), "<html>Bad gateway</html>".to_owned()),
        Reply::Say(200, Vec::new(), r#"{"page": 1, "results": [{"id": 1, "ti"#.to_owned()),
        Reply::Say(200, Vec::new(), String::new()),
    ];
    let (server, mut tmdb) = after(&world, WAITING, replies).await;
    tmdb.settle().await;
    assert_eq!(server.asked().len(), 5);
    assert_eq!(world.take("id"), ["1"]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let world = World::new();
    let (server, mut tmdb) = after(&world, &format!("{WAITING}\ntimeout = \"150ms\""), vec![Reply::Hang]).await;
    tmdb.settle().await;
    assert_eq!(server.asked().len(), 2);
    assert_eq!(world.take("id"), ["1"]);
    // And one that is not there at all.
    let gone = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("base = \"http://{}\"\n{WAITING}", listener.local_addr().unwrap());
    drop(listener);
    let mut tmdb = gone.connector(&server, "tmdb", &base);
    tmdb.settle().await;
    let status = tmdb.status();
    assert_eq!(status.state, State::Failing);
    assert!(status.error.unwrap().contains("/trending/movie/day: "), "no address");
}

#[tokio::test]
async fn what_is_too_long_refused_or_elsewhere_is_not_asked_for_again() {
    let cases = [
        (Reply::Say(200, Vec::new(), format!("\"{}\"", "x".repeat(5_000))), "more than 2048 bytes"),
        (Reply::Say(404, Vec::new(), "{\"status_code\": 34}".to_owned()), "refuses (404): {\"status_code\": 34}"),
        (Reply::status(302).with("location", "http://127.0.0.1:1/elsewhere"), "refuses (302)"),
        (Reply::Say(422, Vec::new(), "y".repeat(5_000)), "yyy…"),
    ];
    for (reply, says) in cases {
        let world = World::new();
        let (server, mut tmdb) = after(&world, &format!("{WAITING}\nmax_body_bytes = 2048"), vec![reply]).await;
        tmdb.settle().await;
        assert_eq!(server.asked().len(), 1, "{says}");
        let status = tmdb.status();
        let error = status.error.unwrap();
        assert!(error.contains(says) && error.len() < 500, "{error}");
        assert_eq!(status.state, State::Refused, "{error}");
        // It is a bad answer's bad luck, not the end.
        world.advance(Span::HOUR);
        tmdb.settle().await;
        assert_eq!(world.take("id"), ["1"]);
    }
}

/// Gives tokens `t0`, `t1`, … and a listing without comments to whoever has the last one.
fn oauth(lifetime_s: u64) -> impl Fn(&super::support::Asked, usize) -> Reply + Send + Sync {
    let given = std::sync::atomic::AtomicU64::new(0);
    move |asked, _| {
        if asked.path == "/token" {
            let number = given.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let answer = json!({ "access_token": format!("t{number}"), "token_type": "bearer", "expires_in": lifetime_s, "scope": "*" });
            return Reply::ok(&answer);
        }
        let last = given.load(std::sync::atomic::Ordering::SeqCst);
        if asked.header("authorization") == format!("Bearer t{}", last.max(1) - 1) {
            Reply::ok(&json!({ "kind": "Listing", "data": { "after": null, "children": [] } }))
        } else {
            Reply::Say(401, Vec::new(), "{\"message\": \"Unauthorized\", \"error\": 401}".to_owned())
        }
    }
}

fn reddit(world: &World, server: &Server, more: &str) -> Tester {
    let keys = format!(
        "token_url = \"{}/token\"\nclient_id = \"app\"\nclient_secret = \"hush\"\nsubreddit = \"movies\"\n\
         user_agent = \"test:tideline:0.1 (by /u/nobody)\"\nevery = \"10m\"\n{more}",
        server.url
    );
    world.connector(server, "reddit", &keys)
}

#[tokio::test]
async fn an_application_gets_itself_a_token_and_another_before_it_expires() {
    let world = World::new();
    let server = Server::start(&world, oauth(3_600)).await;
    let mut reddit = reddit(&world, &server, "");
    reddit.settle().await;
    let asked = server.asked();
    assert_eq!(asked[0].path, "/token");
    // `app:hush`, as RFC 6749 §2.3.1 wants it.
    assert_eq!(asked[0].header("authorization"), "Basic YXBwOmh1c2g=");
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(asked[0].body, "grant_type=client_credentials");
    assert_eq!(asked[0].header("user-agent"), "test:tideline:0.1 (by /u/nobody)");
    assert_eq!(asked[1].header("authorization"), "Bearer t0");
    // 10, 20 … 50 minutes after, the token still holds; 60 minutes after, it would have expired.
    for _ in 0..6 {
        reddit.again(&world).await;
    }
    let tokens: Vec<_> = server.asked().iter().filter(|asked| asked.path == "/token").map(|asked| asked.at).collect();
    assert_eq!(tokens.len(), 2);
    assert_eq!(reddit.status().failures, 0);
    assert!(server.asked().iter().all(|asked| asked.path == "/token" || asked.header("authorization") != "Bearer "));
    // Nobody was ever told 401: the token was renewed before.
    assert_eq!(reddit.status().polls, 7);
    assert_eq!(server.asked().len(), 7 + 2);
}

#[tokio::test]
async fn a_token_that_is_not_taken_any_more_is_renewed_once() {
    let world = World::new();
    let server = Server::start(&world, oauth(86_400)).await;
    let mut reddit = reddit(&world, &server, "");
    reddit.settle().await;
    // The server forgets its tokens.
    server.answer(oauth(86_400));
    let forgetful = oauth(86_400);
    server.answer(move |asked, number| if number == 0 { Reply::status(401) } else { forgetful(asked, number) });
    reddit.again(&world).await;
    assert_eq!(reddit.status().state, State::Running);
    let paths: Vec<String> = server.asked().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, ["/r/movies/comments", "/token", "/r/movies/comments"]);
    // And when the new one is not taken either, it ends there.
    server.answer(
        |asked, _| {
            if asked.path == "/token" { Reply::ok(&json!({ "access_token": "x" })) } else { Reply::status(401) }
        },
    );
    reddit.again(&world).await;
    assert_eq!(server.asked().len(), 3);
    assert_eq!(reddit.status().state, State::Refused);
}

#[tokio::test]
async fn an_application_that_is_not_known_is_told_and_a_token_server_that_fails_is_asked_again() {
    let world = World::new();
    let invalid = r#"{"error": "invalid_client"}"#;
    let server = Server::start(&world, move |_, _| Reply::Say(400, Vec::new(), invalid.to_owned())).await;
    let mut reddit = reddit(&world, &server, "");
    reddit.settle().await;
    assert_eq!(server.asked().len(), 1);
    let status = reddit.status();
    assert_eq!(status.state, State::Refused);
    let error = status.error.unwrap();
    assert!(
        error.contains("/token: the credentials are not accepted (400)") && error.contains("invalid_client"),
        "{error}"
    );

    let tokens = oauth(3_600);
    server.answer(move |asked, number| if number < 3 { Reply::status(503) } else { tokens(asked, number) });
    world.advance(Span::HOUR);
    reddit.settle().await;
    assert_eq!(reddit.status().state, State::Running);
    assert_eq!(server.asked().len(), 5);
}
