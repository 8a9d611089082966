//! TMDB: <https://developer.themoviedb.org/reference/trending-movies>.

use serde_json::{Value as Json, json};
use tideline_common::time::Span;
use tideline_ingest::connector::status::State;

use super::support::{Reply, Server, World};

/// A movie as TMDB tells of it, with fields that nobody needs.
fn movie(id: u64, title: &str) -> Json {
    json!({
        "backdrop_path": "/x.jpg", "id": id, "title": title, "original_title": title, "overview": "About something.",
        "poster_path": "/y.jpg", "media_type": "movie", "adult": false, "original_language": "en",
        "genre_ids": [28, 878], "popularity": 156.78, "release_date": "2024-02-27", "video": false,
        "vote_average": 8.158, "vote_count": 6_021,
    })
}

fn page(number: u32, total: u32, movies: &[Json]) -> Json {
    json!({ "page": number, "results": movies, "total_pages": total, "total_results": 10_000 })
}

#[tokio::test]
async fn a_poll_is_a_record_per_movie_with_its_time() {
    let world = World::new();
    let server = Server::start(&world, |_, _| {
        Reply::ok(&page(1, 500, &[movie(693_134, "Dune: Part Two"), movie(348, "Alien")]))
    })
    .await;
    let mut tmdb = world.connector(&server, "tmdb", "api_key = \"k3y\"");
    // Every five minutes, and ten seconds for an answer.
    assert_eq!(tmdb.settle().await, Span::from_secs(300));
    let records = world.take_records();
    assert_eq!(
        records[0].to_string(),
        r#"{"id":693134,"title":"Dune: Part Two","popularity":156.78,"vote_average":8.158,"vote_count":6021,"overview":"About something.","timestamp":"2026-01-05T12:00:00Z"}"#
    );
    assert_eq!(records.len(), 2);
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/trending/movie/day");
    assert_eq!((asked[0].param("api_key"), asked[0].param("page")), (Some("k3y"), Some("1")));
    assert_eq!(asked[0].header("accept"), "application/json");
    tmdb.again(&world).await;
    assert_eq!(world.take("timestamp"), ["2026-01-05T12:05:00Z", "2026-01-05T12:05:00Z"]);
    assert_eq!(tmdb.status().state, State::Running);
    assert_eq!((tmdb.status().polls, tmdb.status().records), (2, 4));
}

#[tokio::test]
async fn pages_are_turned_and_a_movie_that_moves_between_them_is_one_record() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| match asked.param("page") {
        Some("1") => Reply::ok(&page(1, 2, &[movie(1, "A"), movie(2, "B")])),
        Some("2") => Reply::ok(&page(2, 2, &[movie(2, "B"), movie(3, "C")])),
        other => panic!("page {other:?}"),
    })
    .await;
    let mut tmdb = world.connector(&server, "tmdb", "token = \"t0ken\"\npages = 5\nevery = \"1m\"");
    assert_eq!(tmdb.settle().await, Span::MINUTE);
    assert_eq!(world.take("id"), ["1", "2", "3"]);
    assert!(server.asked().iter().all(|asked| asked.header("authorization") == "Bearer t0ken"));
    assert!(server.asked().iter().all(|asked| asked.param("api_key").is_none()));
}

#[tokio::test]
async fn movies_are_filtered_by_words_and_language() {
    let world = World::new();
    let server = Server::start(&world, |_, _| {
        let mut german = movie(3, "Alien auf Deutsch");
        german["original_language"] = json!("de");
        Reply::ok(&page(1, 1, &[movie(1, "Alien"), movie(2, "Heat"), german]))
    })
    .await;
    let mut tmdb =
        world.connector(&server, "tmdb", "api_key = \"k\"\nkeywords = [\"alien\"]\nlanguages = [\"en\", \"fr\"]");
    tmdb.settle().await;
    assert_eq!(world.take("title"), ["Alien"]);
    assert_eq!(tmdb.status().filtered, 2);
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_said_and_tried_now_and_then() {
    let world = World::new();
    let body = r#"{"status_code":7,"status_message":"Invalid API key: You must be granted a valid key. (s3cret)","success":false}"#;
    let server = Server::start(&world, move |_, _| Reply::Say(401, Vec::new(), body.to_owned())).await;
    let mut tmdb =
        world.connector(&server, "tmdb", "api_key = \"s3cret\"\nretry_initial = \"1s\"\nretry_max = \"10s\"");
    let wait = tmdb.settle().await;
    // One request, not five: nothing changes by asking again.
    assert_eq!(server.asked().len(), 1);
    assert!(wait >= Span::from_secs(10) && wait <= Span::MINUTE, "{wait}");
    let status = tmdb.status();
    assert_eq!((status.state, status.failures), (State::Refused, 1));
    let error = status.error.unwrap();
    assert!(error.contains("credentials are not accepted (401)") && error.contains("Invalid API key"), "{error}");
    // Neither the address nor what the server repeats shows the key.
    assert!(!error.contains("s3cret") && !error.contains("api_key"), "{error}");
    // When somebody has paid, it goes on by itself.
    server.answer(|_, _| Reply::ok(&page(1, 1, &[movie(1, "A")])));
    tmdb.again(&world).await;
    assert_eq!(world.take("id"), ["1"]);
    assert_eq!((tmdb.status().state, tmdb.status().error), (State::Running, None));
}

#[tokio::test]
async fn movies_that_are_not_as_documented_cost_nobody_else() {
    let world = World::new();
    let (mut broken, mut unknown) = (movie(1, "A"), movie(2, "B"));
    broken["popularity"] = json!("much");
    unknown["popularity"] = Json::Null;
    let untitled = json!({ "id": 3, "popularity": 1.0 });
    let movies = [broken, unknown, json!("no movie"), untitled, movie(4, "D")];
    let server = Server::start(&world, move |_, _| Reply::ok(&page(1, 1, &movies))).await;
    let mut tmdb = world.connector(&server, "tmdb", "api_key = \"k\"");
    tmdb.settle().await;
    let records = world.take_records();
    let told = |record: &Json| (record["id"].clone(), record["popularity"].clone());
    // A popularity that is not known is null, as the source of movies takes it.
    assert_eq!(records.iter().map(told).collect::<Vec<_>>(), [(json!(2), Json::Null), (json!(4), json!(156.78))]);
    let status = tmdb.status();
    assert_eq!(status.state, State::Running);
    assert_eq!(status.error.unwrap(), "3 movies are not as documented and were left out");
}

#[tokio::test]
async fn answers_that_are_not_as_documented_are_told() {
    let world = World::new();
    let server = Server::start(&world, |_, _| Reply::ok(&json!({ "page": 1, "results": "none" }))).await;
    let mut tmdb = world.connector(&server, "tmdb", "api_key = \"k\"");
    tmdb.settle().await;
    let error = tmdb.status().error.unwrap();
    assert!(error.contains("the answer makes no sense") && error.contains("none"), "{error}");
    assert_eq!(world.take_records().len(), 0);
}
