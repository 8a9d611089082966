//! Reddit: <https://www.reddit.com/dev/api>, listings.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};
use tideline_ingest::connector::status::State;

use super::support::{Asked, Reply, Server, Tester, World};

/// A subreddit: comments by number, newest last; those that are deleted are in no listing.
#[derive(Default)]
struct Subreddit {
    comments: Vec<u64>,
    /// How many a listing holds.
    holds: usize,
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.insert(0, char::from_digit((number % 36) as u32, 36).unwrap());
        number /= 36;
    }
    digits.into_iter().collect()
}

fn comment(number: u64) -> Json {
    json!({ "kind": "t1", "data": {
        "id": base36(number), "name": format!("t1_{}", base36(number)), "body": format!("comment {number} & <more>"),
        "score": 3, "created_utc": 1_767_614_400.0 + number as f64, "author": "somebody", "subreddit": "movies",
        "link_title": "A thread", "edited": false, "replies": "",
    }})
}

impl Subreddit {
    /// As Reddit answers: `limit` comments after the one of the name `after`, newest first.
    fn listing(&self, asked: &Asked) -> Reply {
        assert_eq!(asked.param("raw_json"), Some("1"));
        let limit: usize = asked.param("limit").unwrap().parse().unwrap();
        assert!(limit <= 100);
        let listed: Vec<u64> = self.comments.iter().rev().take(self.holds).copied().collect();
        let from = match asked.param("after") {
            None => 0,
            Some(name) => {
                let after = u64::from_str_radix(name.strip_prefix("t1_").unwrap(), 36).unwrap();
                // A comment that is deleted meanwhile still is a place in the listing.
                listed.iter().position(|number| *number < after).unwrap_or(listed.len())
            }
        };
        let page: Vec<u64> = listed.iter().skip(from).take(limit).copied().collect();
        let more = from + page.len() < listed.len();
        let after = page.last().filter(|_| more).map(|number| format!("t1_{}", base36(*number)));
        let children: Vec<Json> = page.iter().map(|number| comment(*number)).collect();
        Reply::ok(&json!({ "kind": "Listing", "data": {
            "after": after, "before": null, "dist": children.len(), "modhash": null, "geo_filter": "", "children": children,
        }}))
        .with("x-ratelimit-used", "1")
        .with("x-ratelimit-remaining", "59.0")
        .with("x-ratelimit-reset", "300")
    }
}

struct Movies {
    world: World,
    server: Server,
    subreddit: Arc<Mutex<Subreddit>>,
}

impl Movies {
    async fn new(comments: impl Iterator<Item = u64>) -> Self {
        let world = World::new();
        let subreddit = Arc::new(Mutex::new(Subreddit { comments: comments.collect(), holds: 1_000 }));
        let listing = Arc::clone(&subreddit);
        let server = Server::start(&world, move |asked, _| match asked.path.as_str() {
            "/token" => {
                Reply::ok(&json!({ "access_token": "t", "token_type": "bearer", "expires_in": 86_400, "scope": "*" }))
            }
            "/r/movies/comments" => listing.lock().listing(asked),
            other => panic!("{other}"),
        })
        .await;
        Self { world, server, subreddit }
    }

    fn connector(&self, more: &str) -> Tester {
        let keys = format!(
            "token_url = \"{}/token\"\nclient_id = \"app\"\nclient_secret = \"hush\"\nsubreddit = \"movies\"\n\
             user_agent = \"test\"\n{more}",
            self.server.url
        );
        self.world.connector(&self.server, "reddit", &keys)
    }

    fn post(&self, comments: impl Iterator<Item = u64>) {
        let mut subreddit = self.subreddit.lock();
        subreddit.comments.extend(comments);
        subreddit.comments.sort_unstable();
    }

    fn delete(&self, comments: impl Fn(u64) -> bool) {
        self.subreddit.lock().comments.retain(|number| !comments(*number));
    }

    /// Numbers of the comments that were appended since this was last asked.
    fn taken(&self) -> Vec<u64> {
        let id = |id: String| u64::from_str_radix(id.strip_prefix("t1_").unwrap(), 36).unwrap();
        self.world.take("id").into_iter().map(id).collect()
    }
}

#[tokio::test]
async fn what_was_there_is_skipped_and_what_comes_is_appended_in_order() {
    let movies = Movies::new(1_000..1_150).await;
    let mut reddit = movies.connector("");
    assert_eq!(reddit.settle().await, Span::from_secs(10));
    assert_eq!(movies.taken(), [] as [u64; 0]);
    // One page tells where the listing stands.
    assert_eq!(movies.server.asked().len(), 2);
    movies.post(1_150..1_153);
    reddit.again(&movies.world).await;
    let records = movies.world.take_records();
    assert_eq!(
        records[0].to_string(),
        r#"{"id":"t1_vy","text":"comment 1150 & <more>","score":3,"timestamp":"2026-01-05T12:19:10Z"}"#
    );
    assert_eq!(records.len(), 3);
    // Nothing new, nothing appended.
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), [] as [u64; 0]);
    assert_eq!(reddit.status().gaps, 0);
}

#[tokio::test]
async fn nothing_is_missed_when_more_was_posted_than_a_page_holds() {
    let movies = Movies::new(1_000..1_100).await;
    let mut reddit = movies.connector("");
    reddit.settle().await;
    movies.post(1_100..1_557);
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), (1_100..1_557).collect::<Vec<_>>());
    assert_eq!(reddit.status().gaps, 0);
    // Another process goes on where this one was.
    movies.post(1_557..1_600);
    let mut other = movies.connector("");
    movies.world.advance(Span::MINUTE);
    other.settle().await;
    assert_eq!(movies.taken(), (1_557..1_600).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_than_a_listing_holds_is_a_gap_that_is_said_and_counted() {
    let movies = Movies::new(1_000..1_100).await;
    let mut reddit = movies.connector("");
    reddit.settle().await;
    movies.post(1_100..2_500);
    reddit.again(&movies.world).await;
    // The newest thousand are there, the first 400 are lost.
    assert_eq!(movies.taken(), (1_500..2_500).collect::<Vec<_>>());
    let status = reddit.status();
    assert_eq!((status.gaps, status.state), (1, State::Running));
    assert!(status.last_gap.unwrap().contains("after 1000 new comments"));
    // The next poll has none.
    movies.post(2_500..2_510);
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), (2_500..2_510).collect::<Vec<_>>());
    assert_eq!(reddit.status().gaps, 1);
}

#[tokio::test]
async fn deleted_comments_and_late_ones_are_no_trouble() {
    let movies = Movies::new((1_000..1_200).filter(|number| *number != 1_190)).await;
    let mut reddit = movies.connector("");
    reddit.settle().await;
    // The newest of those seen are deleted, which is where `before` would stand.
    movies.delete(|number| number > 1_150);
    movies.post(1_200..1_205);
    // One with a lower number than others appears late.
    movies.post(std::iter::once(1_190));
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), [1_190, 1_200, 1_201, 1_202, 1_203, 1_204]);
    assert_eq!(reddit.status().gaps, 0);
    // Even when everything that was remembered is gone, older comments do not come back as new ones.
    movies.post(1_205..1_600);
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), (1_205..1_600).collect::<Vec<_>>());
    movies.delete(|number| number > 1_250);
    movies.post(1_600..1_603);
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), [1_600, 1_601, 1_602]);
}

#[tokio::test]
async fn an_existing_page_is_taken_when_that_is_wanted() {
    let movies = Movies::new(1_000..1_040).await;
    let mut reddit = movies.connector("skip_existing = false");
    reddit.settle().await;
    assert_eq!(movies.taken(), (1_000..1_040).collect::<Vec<_>>());
    reddit.again(&movies.world).await;
    assert_eq!(movies.taken(), [] as [u64; 0]);
}

#[tokio::test]
async fn equal_requests_are_avoided_as_they_may_come_from_a_cache() {
    let movies = Movies::new(1_000..1_100).await;
    let mut reddit = movies.connector("");
    for _ in 0..12 {
        reddit.settle().await;
        movies.world.advance(Span::MINUTE);
    }
    let limits: std::collections::BTreeSet<String> =
        movies.server.asked().iter().filter_map(|asked| asked.param("limit").map(str::to_owned)).collect();
    assert_eq!(limits.len(), 10);
}

#[tokio::test]
async fn comments_that_are_not_as_documented_cost_nobody_else() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| {
        if asked.path == "/token" {
            return Reply::ok(&json!({ "access_token": "t" }));
        }
        let children = [
            json!({ "kind": "t1", "data": { "id": "-", "body": "no number", "created_utc": 1.0 } }),
            json!({ "kind": "t1", "data": { "id": "abc" } }),
            json!({ "kind": "more", "data": { "count": 7 } }),
            comment(77_777),
        ];
        Reply::ok(&json!({ "kind": "Listing", "data": { "after": null, "children": children } }))
    })
    .await;
    let keys = format!(
        "token_url = \"{}/token\"\nclient_id = \"a\"\nclient_secret = \"b\"\nsubreddit = \"movies\"\nuser_agent = \"t\"\nskip_existing = false",
        server.url
    );
    let mut reddit = world.connector(&server, "reddit", &keys);
    reddit.settle().await;
    assert_eq!(world.take_records().len(), 1);
    assert!(reddit.status().error.unwrap().contains("2 comments are not as documented"));
    assert_eq!(reddit.status().state, State::Running);
}

#[tokio::test]
async fn comments_can_be_messages_of_customers() {
    let movies = Movies::new(1_000..1_001).await;
    let mut reddit = movies
        .connector("skip_existing = false\nform = \"message\"\nproducts = { \"Aurora Phone\" = [\"comment 1000\"] }");
    reddit.settle().await;
    let record = &movies.world.take_records()[0];
    assert_eq!(record["id"], "reddit-rs");
    assert_eq!((&record["product"], &record["channel"]), (&json!("Aurora Phone"), &json!("social")));
    assert_eq!((&record["platform"], &record["author"]), (&json!("reddit"), &json!("somebody")));
    let at = Timestamp::parse(record["created_at"].as_str().unwrap()).unwrap();
    assert_eq!(at, Timestamp::from_millis((1_767_614_400 + 1_000) * 1_000));
}

#[tokio::test]
async fn comments_mention_the_titles_that_were_seen_until_then() {
    let movies = Movies::new(1_000..1_001).await;
    let mut reddit = movies.connector("titles_topic = \"tmdb_stream\"\nretry_initial = \"1s\"\nretry_max = \"2s\"");
    reddit.settle().await;
    let mentions = |world: &World| world.take("movie_mentions");
    // Nothing is known of any movie.
    movies.post(1_001..1_003);
    reddit.again(&movies.world).await;
    assert_eq!(mentions(&movies.world), ["[]", "[]"]);
    // Movies, and what is none.
    let title = |title: &str| json!({ "id": 1, "title": title });
    movies
        .world
        .tell("tmdb_stream", &[title("comment 10"), title("more"), json!({ "title": 7 }), json!([]), title("Dune")]);
    movies.post(1_003..1_005);
    // The log does not let itself be read: no comment goes on without its mentions.
    movies.world.fail_appends(1);
    reddit.again(&movies.world).await;
    assert_eq!((movies.taken().len(), reddit.status().state), (0, State::Failing));
    let asked = movies.server.asked().len();
    reddit.again(&movies.world).await;
    assert_eq!(mentions(&movies.world), [r#"["comment 10","more"]"#, r#"["comment 10","more"]"#]);
    assert_eq!(movies.server.asked().len(), asked);
    // Another title from now on.
    movies.world.tell("tmdb_stream", &[title("comment 1005")]);
    movies.post(1_005..1_006);
    reddit.again(&movies.world).await;
    assert_eq!(mentions(&movies.world), [r#"["comment 10","more","comment 1005"]"#]);
}
