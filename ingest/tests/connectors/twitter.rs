//! X: <https://docs.x.com/x-api/posts/recent-search>, <https://docs.x.com/x-api/posts/search/integrate/paginate>.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};
use tideline_ingest::connector::status::State;

use super::support::{Asked, Reply, Server, Tester, World};

/// Posts by number, which here is the second of 2026-01-05 12:00 UTC at which each was posted.
#[derive(Default)]
struct Posts(Vec<u64>);

fn second(number: u64) -> Timestamp {
    Timestamp::parse("2026-01-05T12:00:00Z").unwrap().plus(Span::from_secs(number as i64))
}

/// The id of a post of that time, as X makes them: milliseconds since its epoch, then 22 bits.
fn id_at(time: Timestamp) -> u64 {
    ((time.micros() / 1_000 - 1_288_834_974_657) as u64) << 22
}

fn id(number: u64) -> u64 {
    id_at(second(number))
}

/// The number of a post by its id, which must be one.
fn number(text: &str) -> u64 {
    let millis = (text.parse::<u64>().unwrap() >> 22) as i64 + 1_288_834_974_657;
    let number = (millis * 1_000 - second(0).micros()) / 1_000_000;
    assert_eq!(id(number as u64).to_string(), text);
    number as u64
}

fn post(number: u64) -> Json {
    let id = id(number).to_string();
    let mut post = json!({
        "id": id, "text": format!("post {number} about $TSLA"), "author_id": "2244994945",
        "created_at": second(number).to_string().replace('Z', ".000Z"), "lang": "en", "edit_history_tweet_ids": [id],
    });
    if number.is_multiple_of(2) {
        post["geo"] = json!({ "place_id": "01a9a39529b27f36" });
    }
    post
}

impl Posts {
    /// As X answers: newest first, a token that says where the next page begins.
    fn search(&self, asked: &Asked) -> Reply {
        assert_eq!(asked.path, "/2/tweets/search/recent");
        assert_eq!(asked.param("max_results"), Some("100"));
        let bound = |name: &str| asked.param(name).map(|id| id.parse::<u64>().unwrap());
        let (since, until) = (bound("since_id"), bound("until_id"));
        let start = asked.param("start_time").map(|at| Timestamp::parse(at).unwrap());
        if start.is_some() && (since.is_some() || until.is_some()) {
            let message = "Invalid use of 'since_id' or 'until_id' in conjunction with 'start_time' or 'end_time'";
            return refused(&[("start_time", message.to_owned())]);
        }
        let oldest = asked.at.minus(Span(7 * Span::DAY.micros()));
        if start.is_some_and(|start| start < oldest) {
            return refused(&[("start_time", format!("'start_time' must be on or after {oldest}"))]);
        }
        let too_old: Vec<(&str, String)> = ["since_id", "until_id"]
            .into_iter()
            .filter(|name| bound(name).is_some_and(|id| id < id_at(oldest)))
            .map(|name| (name, format!("'{name}' must be a tweet id created after [{oldest}]")))
            .collect();
        if !too_old.is_empty() {
            return refused(&too_old);
        }
        let matching: Vec<u64> = self
            .0
            .iter()
            .rev()
            .copied()
            .filter(|number| second(*number) >= oldest)
            .filter(|number| since.is_none_or(|since| id(*number) > since))
            .filter(|number| until.is_none_or(|until| id(*number) < until))
            .filter(|number| start.is_none_or(|start| second(*number) >= start))
            .collect();
        let from: usize =
            asked.param("next_token").map_or(0, |token| token.strip_prefix("page-").unwrap().parse().unwrap());
        let page: Vec<u64> = matching.iter().skip(from).take(100).copied().collect();
        let mut meta = json!({ "result_count": page.len() });
        if let (Some(newest), Some(oldest)) = (page.first(), page.last()) {
            meta["newest_id"] = json!(id(*newest).to_string());
            meta["oldest_id"] = json!(id(*oldest).to_string());
        }
        if from + page.len() < matching.len() {
            meta["next_token"] = json!(format!("page-{}", from + page.len()));
        }
        // Without results there is no `data`.
        let mut answer = json!({ "meta": meta });
        if !page.is_empty() {
            answer["data"] = page.iter().map(|number| post(*number)).collect();
            answer["includes"] =
                json!({ "places": [{ "id": "01a9a39529b27f36", "name": "Manhattan", "full_name": "Manhattan, NY" }] });
        }
        Reply::ok(&answer)
    }
}

/// A refusal, as X says it.
fn refused(errors: &[(&str, String)]) -> Reply {
    let error = |(name, message): &(&str, String)| json!({ "parameters": { *name: ["…"] }, "message": message });
    let body = json!({
        "errors": errors.iter().map(error).collect::<Vec<_>>(),
        "title": "Invalid Request", "detail": "One or more parameters to your request was invalid.",
        "type": "https://api.twitter.com/2/problems/invalid-request",
    });
    Reply::Say(400, Vec::new(), body.to_string())
}

struct X {
    world: World,
    server: Server,
    posts: Arc<Mutex<Posts>>,
}

impl X {
    async fn new() -> Self {
        let world = World::new();
        let posts = Arc::new(Mutex::new(Posts::default()));
        let searched = Arc::clone(&posts);
        let server = Server::start(&world, move |asked, _| searched.lock().search(asked)).await;
        Self { world, server, posts }
    }

    fn connector(&self, more: &str) -> Tester {
        self.world.connector(&self.server, "twitter", &format!("token = \"b3arer\"\nkeywords = [\"$TSLA\"]\n{more}"))
    }

    fn post(&self, numbers: impl Iterator<Item = u64>) {
        self.posts.lock().0.extend(numbers);
    }

    fn taken(&self) -> Vec<u64> {
        self.world.take("id").iter().map(|id| number(id)).collect()
    }
}

#[tokio::test]
async fn polls_go_on_from_the_newest_post() {
    let x = X::new().await;
    let mut twitter = x.connector("languages = [\"en\"]");
    // The first poll asks nothing: what was there before is not wanted, and there is no id to go on from.
    assert_eq!(twitter.settle().await, Span::from_secs(30));
    assert_eq!(x.server.asked().len(), 0);
    x.post(10..13);
    twitter.again(&x.world).await;
    let records = x.world.take_records();
    assert_eq!(
        records[0].to_string(),
        json!({ "id": id(10).to_string(), "created_at": "2026-01-05 12:00:10", "text": "post 10 about $TSLA",
                "user_id": "2244994945", "language": "en" })
        .to_string()
    );
    assert_eq!(records.len(), 3);
    let asked = &x.server.asked()[0];
    assert_eq!(asked.header("authorization"), "Bearer b3arer");
    assert_eq!(asked.param("query"), Some("$TSLA lang:en -is:retweet"));
    assert_eq!(asked.param("start_time"), Some("2026-01-05T12:00:00Z"));
    x.post(40..42);
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [40, 41]);
    let asked = &x.server.asked()[1];
    assert_eq!((asked.param("since_id").map(number), asked.param("start_time")), (Some(12), None));
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [] as [u64; 0]);
    assert_eq!(x.server.asked()[2].param("since_id").map(number), Some(41));
}

#[tokio::test]
async fn a_quiet_time_before_the_first_post_is_not_skipped() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    twitter.again(&x.world).await;
    twitter.again(&x.world).await;
    // Posted long before this poll, after the first one.
    x.post(5..8);
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [5, 6, 7]);
}

#[tokio::test]
async fn all_pages_are_turned_before_anything_is_appended() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    x.post(10..460);
    twitter.again(&x.world).await;
    assert_eq!(x.server.asked().len(), 5);
    assert_eq!(x.taken(), (10..460).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_long_backlog_comes_in_parts_and_a_restart_goes_on_in_the_middle() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    x.post(10..20);
    twitter.again(&x.world).await;
    assert_eq!(x.taken().len(), 10);
    x.post(20..2_530);
    // The second part fails: the process ends with one part in the log.
    let posts = Arc::clone(&x.posts);
    x.server.answer(move |asked, number| if number < 10 { posts.lock().search(asked) } else { Reply::status(503) });
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), (1_530..2_530).collect::<Vec<_>>());
    assert_eq!(twitter.status().state, State::Failing);
    drop(twitter);
    // More is posted meanwhile: it is not mixed in.
    x.post(2_530..2_540);
    let posts = Arc::clone(&x.posts);
    x.server.answer(move |asked, _| posts.lock().search(asked));
    let mut twitter = x.connector("");
    twitter.settle().await;
    let mut taken = x.taken();
    // The parts follow each other without waiting; each is in order.
    assert_eq!(taken[..1_000], (530..1_530).collect::<Vec<_>>());
    assert_eq!(taken[1_000..], (20..530).collect::<Vec<_>>());
    twitter.again(&x.world).await;
    taken = x.taken();
    assert_eq!(taken, (2_530..2_540).collect::<Vec<_>>());
    assert_eq!(twitter.status().gaps, 0);
}

const DAY: u64 = 86_400;

#[tokio::test]
async fn a_search_that_no_longer_goes_back_far_enough_is_a_gap() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    x.post(std::iter::once(3));
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [3]);
    // Nobody asks for eight days.
    x.world.advance(Span(8 * Span::DAY.micros()));
    x.post([10, 4 * DAY, 5 * DAY].into_iter());
    twitter.again(&x.world).await;
    // All that the search still has.
    assert_eq!(x.taken(), [4 * DAY, 5 * DAY]);
    let status = twitter.status();
    assert_eq!((status.gaps, status.state), (1, State::Running));
    assert!(status.last_gap.unwrap().contains(&format!("post {}", id(3))));
    let asked = x.server.asked();
    let start = Timestamp::parse(asked.last().unwrap().param("start_time").unwrap()).unwrap();
    let back = x.world.now().since(start);
    assert!(back < Span::from_secs(7 * 86_400) && back > Span::from_secs(6 * 86_400), "{back}");
}

#[tokio::test]
async fn a_backlog_before_there_is_a_post_to_go_on_from_comes_in_parts_too() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    // Of the very second of the first poll: wanted, whichever way the search is bounded.
    x.post(std::iter::once(0));
    x.world.advance(Span::from_secs(5_000));
    x.post(40..2_540);
    twitter.settle().await;
    let taken = x.taken();
    assert_eq!(taken[..1_000], (1_540..2_540).collect::<Vec<_>>());
    assert_eq!(taken[1_000..2_000], (540..1_540).collect::<Vec<_>>());
    assert_eq!(taken[2_000..], std::iter::once(0).chain(40..540).collect::<Vec<_>>());
    assert_eq!((twitter.status().state, twitter.status().gaps), (State::Running, 0));
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [] as [u64; 0]);
}

#[tokio::test]
async fn a_gap_with_a_long_backlog_behind_it_is_over_when_the_backlog_is() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    x.post(std::iter::once(3));
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [3]);
    x.world.advance(Span(8 * Span::DAY.micros()));
    let backlog = 4 * DAY..4 * DAY + 2_500;
    x.post(std::iter::once(10).chain(backlog.clone()));
    twitter.again(&x.world).await;
    let mut taken = x.taken();
    assert_eq!(taken[0], 4 * DAY + 1_500);
    taken.sort_unstable();
    assert_eq!(taken, backlog.collect::<Vec<_>>());
    let status = twitter.status();
    assert_eq!((status.gaps, status.state, status.error), (1, State::Running, None));
    x.post(std::iter::once(8 * DAY));
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [8 * DAY]);
}

#[tokio::test]
async fn what_is_left_of_a_search_and_too_old_is_a_gap() {
    // With a post to go on from, and with the time of the first poll.
    for first in [None, Some(3)] {
        let x = X::new().await;
        let mut twitter = x.connector("");
        twitter.settle().await;
        x.post(first.into_iter());
        twitter.again(&x.world).await;
        x.world.advance(Span::from_secs(3_000));
        x.post(10..2_010);
        let posts = Arc::clone(&x.posts);
        x.server.answer(move |asked, number| if number < 10 { posts.lock().search(asked) } else { Reply::status(503) });
        twitter.settle().await;
        assert_eq!(x.taken().len(), 1_000 + first.iter().count());
        // The process rests, until neither end of what is left is there any more.
        x.world.advance(Span(8 * Span::DAY.micros()));
        let posts = Arc::clone(&x.posts);
        x.server.answer(move |asked, _| posts.lock().search(asked));
        x.post(std::iter::once(8 * DAY));
        twitter.settle().await;
        assert_eq!(x.taken(), [8 * DAY], "{first:?}");
        let status = twitter.status();
        assert_eq!((status.gaps, status.state), (2, State::Running), "{first:?}");
        let asked = x.server.asked();
        assert!(asked.last().unwrap().param("until_id").is_none());
        twitter.again(&x.world).await;
        assert_eq!((x.taken(), twitter.status().gaps), (vec![], 2));
    }
}

#[tokio::test]
async fn posts_that_are_not_as_documented_cost_nobody_else_and_are_told_once() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    x.post(10..14);
    let posts = Arc::clone(&x.posts);
    x.server.answer(move |asked, _| {
        let Reply::Say(status, headers, body) = posts.lock().search(asked) else { panic!("no answer") };
        let mut body: Json = serde_json::from_str(&body).unwrap();
        if let Some(posts) = body.get_mut("data").and_then(Json::as_array_mut) {
            // The newest without a text, another at no time, and what is no post at all.
            posts[0]["text"] = Json::Null;
            posts[1]["created_at"] = json!("yesterday");
            posts.push(json!(7));
            body["includes"]["places"] = json!([{ "name": "nowhere" }, body["includes"]["places"][0]]);
        }
        Reply::Say(status, headers, body.to_string())
    });
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [10, 11]);
    let status = twitter.status();
    assert_eq!(status.state, State::Running);
    assert!(status.error.unwrap().starts_with("3 posts are not as documented"));
    twitter.again(&x.world).await;
    assert_eq!((x.taken(), twitter.status().error), (vec![], None));
    assert_eq!(x.server.asked()[1].param("since_id").map(number), Some(13));
}

#[tokio::test]
async fn limits_of_x_are_kept() {
    let x = X::new().await;
    let mut twitter = x.connector("");
    twitter.settle().await;
    let posts = Arc::clone(&x.posts);
    let reset = (x.world.now().micros() / 1_000_000 + 600).to_string();
    x.server.answer(move |asked, number| match number {
        0 => Reply::Say(429, Vec::new(), r#"{"title":"Too Many Requests","status":429}"#.to_owned())
            .with("x-rate-limit-limit", "300")
            .with("x-rate-limit-remaining", "0")
            .with("x-rate-limit-reset", reset.clone()),
        _ => posts.lock().search(asked),
    });
    x.post(10..12);
    let start = x.world.now();
    twitter.again(&x.world).await;
    assert_eq!(x.taken(), [10, 11]);
    assert_eq!(x.server.asked()[1].at.since(start), Span::from_secs(600));
}

#[tokio::test]
async fn posts_can_be_messages_of_customers_with_their_place() {
    let x = X::new().await;
    let mut twitter = x.connector("form = \"message\"\ncity = \"nowhere\"\nproducts = { \"Model 3\" = [\"$TSLA\"] }");
    twitter.settle().await;
    x.post(10..12);
    twitter.again(&x.world).await;
    let records = x.world.take_records();
    assert_eq!(
        records[0].to_string(),
        r#"{"id":"twitter-ID","created_at":"2026-01-05T12:00:10Z","text":"post 10 about $TSLA","city":"Manhattan","product":"Model 3","channel":"social","platform":"twitter","author":"2244994945","language":"en"}"#
            .replace("ID", &id(10).to_string())
    );
    assert_eq!(records[1]["city"], "nowhere");
}

#[tokio::test]
async fn an_application_of_x_gets_its_token_from_x() {
    let world = World::new();
    let server = Server::start(&world, |asked, _| {
        if asked.path == "/oauth2/token" {
            // Without an end: https://docs.x.com/resources/fundamentals/authentication/api-reference
            return Reply::ok(&json!({ "token_type": "bearer", "access_token": "AAAA" }));
        }
        assert_eq!(asked.header("authorization"), "Bearer AAAA");
        Posts(vec![10]).search(asked)
    })
    .await;
    let keys = "client_id = \"key\"\nclient_secret = \"secret\"\nquery = \"from:nasa\"\nskip_existing = false";
    let mut twitter = world.connector(&server, "twitter", keys);
    twitter.settle().await;
    assert_eq!(world.take("id"), [id(10).to_string()]);
    assert_eq!(server.asked()[1].param("query"), Some("from:nasa"));
    assert_eq!(server.asked()[1].param("start_time"), None);
}

#[tokio::test]
async fn long_posts_are_whole_and_what_x_found_is_not_searched_again() {
    for (keys, taken) in [("", 2), ("query = \"$TSLA\"", 1)] {
        let x = X::new().await;
        let mut twitter = x.connector(keys);
        twitter.settle().await;
        x.post(10..12);
        let posts = Arc::clone(&x.posts);
        x.server.answer(move |asked, _| {
            assert!(asked.param("tweet.fields").unwrap().split(',').any(|field| field == "note_tweet"));
            let Reply::Say(status, headers, body) = posts.lock().search(asked) else { panic!("no answer") };
            let mut body: Json = serde_json::from_str(&body).unwrap();
            if let Some(posts) = body["data"].as_array_mut() {
                // The keyword is in what is cut off; and, of the other, where X looks and its text does not tell.
                posts[0]["text"] = json!("A long story…");
                posts[0]["note_tweet"] = json!({ "text": "A long story of $TSLA", "entities": {} });
                posts[1]["text"] = json!("https://t.co/abc");
            }
            Reply::Say(status, headers, body.to_string())
        });
        twitter.again(&x.world).await;
        let texts = x.world.take("text");
        assert_eq!((texts.len(), texts.last().map(String::as_str)), (taken, Some("A long story of $TSLA")), "{keys}");
        assert_eq!(twitter.status().filtered as usize, 2 - taken, "{keys}");
    }
}
