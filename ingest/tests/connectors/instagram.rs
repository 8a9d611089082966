//! Instagram: <https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-hashtag/recent-media>.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};
use tideline_ingest::connector::status::State;

use super::support::{Asked, Reply, Server, Tester, World};

const MINUTE: i64 = 60;

/// Media of a hashtag: (id, second after 12:00, caption), in the order in which the API tells of them.
type Media = Vec<(u64, i64, &'static str)>;

#[derive(Default)]
struct Tags {
    coke: Media,
    pepsi: Media,
}

fn noon() -> Timestamp {
    Timestamp::parse("2026-01-05T12:00:00Z").unwrap()
}

fn media((id, second, caption): &(u64, i64, &str)) -> Json {
    let at = noon().plus(Span::from_secs(*second)).to_string().replace('Z', "+0000");
    json!({ "id": format!("1785{id:013}"), "caption": caption, "timestamp": at })
}

impl Tags {
    fn answer(&self, asked: &Asked) -> Reply {
        assert_eq!(asked.param("access_token"), Some("t0ken"));
        assert_eq!(asked.param("user_id"), Some("17841405309211844"));
        let (media_of, number): (&Media, _) = match asked.path.as_str() {
            "/ig_hashtag_search" => {
                let number = match asked.param("q") {
                    Some("coke") => "17873440459141021",
                    Some("pepsi") => "17843857450040591",
                    _ => return error(400, 24, "Invalid parameter", 2_207_024),
                };
                return Reply::ok(&json!({ "data": [{ "id": number }] }));
            }
            "/17873440459141021/recent_media" => (&self.coke, "coke"),
            "/17843857450040591/recent_media" => (&self.pepsi, "pepsi"),
            other => panic!("{other}"),
        };
        assert_eq!(asked.param("fields"), Some("id,caption,timestamp"));
        let from: usize = asked.param("after").map_or(0, |after| after.parse().unwrap());
        let page: Vec<Json> = media_of.iter().skip(from).take(50).map(media).collect();
        let mut answer = json!({ "data": page });
        let next = from + page.len();
        if !page.is_empty() {
            answer["paging"] = json!({ "cursors": { "after": next.to_string() } });
        }
        if next < media_of.len() {
            answer["paging"]["next"] = json!(format!("https://graph.facebook.com/{number}/recent_media?after={next}"));
        }
        Reply::ok(&answer)
    }
}

fn error(status: u16, code: u64, message: &str, subcode: u64) -> Reply {
    let error = json!({ "error": { "message": message, "type": "OAuthException", "code": code, "error_subcode": subcode, "fbtrace_id": "A" } });
    Reply::Say(status, Vec::new(), error.to_string())
}

struct Graph {
    world: World,
    server: Server,
    tags: Arc<Mutex<Tags>>,
}

impl Graph {
    async fn new() -> Self {
        let world = World::new();
        let tags = Arc::new(Mutex::new(Tags::default()));
        let told = Arc::clone(&tags);
        let server = Server::start(&world, move |asked, _| told.lock().answer(asked)).await;
        Self { world, server, tags }
    }

    fn connector(&self, hashtags: &str, more: &str) -> Tester {
        let keys = format!("token = \"t0ken\"\nuser_id = \"17841405309211844\"\nhashtags = {hashtags}\n{more}");
        self.world.connector(&self.server, "instagram", &keys)
    }

    fn taken(&self) -> Vec<u64> {
        let id = |id: &String| id.strip_prefix("instagram-1785").unwrap().parse().unwrap();
        self.world.take("id").iter().map(id).collect()
    }
}

#[tokio::test]
async fn captions_are_messages_in_order_of_time() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"#coke\"]", "products = { Coke = [\"coke\"] }\ncity = \"Atlanta\"");
    graph.tags.lock().coke = vec![(1, -MINUTE, "before anyone asked")];
    assert_eq!(instagram.settle().await, Span::MINUTE);
    assert_eq!(graph.taken(), [] as [u64; 0]);
    // Not in order, as documented.
    graph.tags.lock().coke = vec![
        (3, 2 * MINUTE, "c"),
        (4, 4 * MINUTE, "I love my coke in the morning sun #coke"),
        (2, MINUTE, "b"),
        (1, -MINUTE, ""),
    ];
    instagram.again(&graph.world).await;
    let records = graph.world.take_records();
    assert_eq!(records.len(), 3);
    assert_eq!(
        records[2].to_string(),
        r#"{"id":"instagram-17850000000000004","created_at":"2026-01-05T12:04:00Z","text":"I love my coke in the morning sun #coke","city":"Atlanta","product":"Coke","channel":"social","platform":"instagram","author":null,"language":"en"}"#
    );
    // The hashtag's number is looked up once.
    let searches = graph.server.asked().iter().filter(|asked| asked.path == "/ig_hashtag_search").count();
    assert_eq!(searches, 1);
    instagram.again(&graph.world).await;
    assert_eq!(graph.taken(), [] as [u64; 0]);
}

#[tokio::test]
async fn pages_are_turned_until_one_has_nothing_new() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\"]", "skip_existing = false");
    graph.tags.lock().coke = (1..=170).rev().map(|id| (id, id as i64 - 400, "x")).collect();
    instagram.settle().await;
    assert_eq!(graph.taken(), (1..=170).collect::<Vec<_>>());
    let before = graph.server.asked().len();
    graph.tags.lock().coke = (1..=230).rev().map(|id| (id, id as i64 - 400, "x")).collect();
    instagram.again(&graph.world).await;
    assert_eq!(graph.taken(), (171..=230).collect::<Vec<_>>());
    // 50 new ones, 10 new ones, none: three pages of five.
    assert_eq!(graph.server.asked().len() - before, 3);
}

#[tokio::test]
async fn a_post_with_two_hashtags_is_one_message_also_when_polls_lie_between() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\", \"pepsi\"]", "skip_existing = false");
    graph.tags.lock().coke = vec![(2, 0, "both"), (1, -5, "coke")];
    graph.tags.lock().pepsi = vec![(3, 1, "pepsi"), (2, 0, "both")];
    instagram.settle().await;
    assert_eq!(graph.taken(), [1, 2, 3]);
    graph.tags.lock().coke = vec![(3, 1, "tagged later"), (2, 0, "both"), (1, -5, "coke")];
    instagram.again(&graph.world).await;
    assert_eq!(graph.taken(), [] as [u64; 0]);
}

#[tokio::test]
async fn more_than_twenty_pages_are_a_gap() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\"]", "skip_existing = false");
    graph.tags.lock().coke = (1..=1_100).rev().map(|id| (id, id as i64 - 2_000, "x")).collect();
    instagram.settle().await;
    assert_eq!(graph.taken(), (101..=1_100).collect::<Vec<_>>());
    assert_eq!(instagram.status().gaps, 1);
    assert!(instagram.status().last_gap.unwrap().contains("#coke"));
}

#[tokio::test]
async fn a_hashtag_that_is_refused_costs_no_other() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"forbidden\", \"coke\"]", "skip_existing = false");
    graph.tags.lock().coke = vec![(1, 0, "x")];
    instagram.settle().await;
    assert_eq!(graph.taken(), [1]);
    let status = instagram.status();
    assert_eq!(status.state, State::Running);
    assert!(status.error.unwrap().contains("#forbidden"));
    // Alone it is the whole poll's failure.
    let mut instagram = graph.connector("[\"forbidden\"]", "");
    graph.world.advance(Span::HOUR);
    instagram.settle().await;
    assert_eq!(instagram.status().state, State::Refused);
}

#[tokio::test]
async fn the_graph_apis_own_errors_are_understood() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\"]", "");
    graph.tags.lock().coke = vec![(1, MINUTE, "x")];
    // Too many requests, as a 400, with an estimate of 9 minutes.
    let tags = Arc::clone(&graph.tags);
    graph.server.answer(move |asked, number| match number {
        0 => error(400, 4, "Application request limit reached", 0).with(
            "x-business-use-case-usage",
            r#"{"17841405309211844":[{"type":"instagram","call_count":100,"total_cputime":25,"total_time":25,"estimated_time_to_regain_access":9}]}"#,
        ),
        _ => tags.lock().answer(asked),
    });
    let start = graph.world.now();
    instagram.settle().await;
    assert_eq!(graph.server.asked()[1].at.since(start), Span::from_secs(540));
    assert_eq!(instagram.status().state, State::Running);
    // A token that has expired, as a 400 too.
    graph.server.answer(|_, _| error(400, 190, "Error validating access token: Session has expired", 463));
    instagram.again(&graph.world).await;
    let status = instagram.status();
    assert_eq!((status.state, graph.server.asked().len()), (State::Refused, 1));
    let said = status.error.unwrap();
    assert!(said.contains("credentials are not accepted (400)") && said.contains("Session has expired"), "{said}");
    assert!(!said.contains("t0ken"), "{said}");
}

#[tokio::test]
async fn too_many_requests_are_told_by_a_code_whatever_the_status_and_without_a_header() {
    for (status, code) in [(400, 4), (403, 4), (400, 17), (403, 32), (400, 613), (403, 80_002)] {
        let graph = Graph::new().await;
        let mut instagram = graph.connector("[\"coke\"]", "attempts = 2");
        graph.server.answer(move |_, _| error(status, code, "(#4) Application request limit reached", 0));
        instagram.settle().await;
        let told = instagram.status();
        let said = told.error.unwrap();
        assert_eq!((told.state, graph.server.asked().len()), (State::Failing, 2), "{code}: {said}");
        assert!(said.contains(&format!("too many requests ({status})")), "{code}: {said}");
    }
}

#[tokio::test]
async fn a_poll_ends_when_all_of_a_limit_is_used_and_the_rest_comes_after_it() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\", \"pepsi\"]", "skip_existing = false");
    graph.tags.lock().coke = vec![(1, 0, "x")];
    graph.tags.lock().pepsi = vec![(2, 0, "y")];
    let tags = Arc::clone(&graph.tags);
    graph.server.answer(move |asked, number| {
        let answer = tags.lock().answer(asked);
        let usage = r#"{"call_count":100,"total_time":25,"total_cputime":25}"#;
        if number == 1 { answer.with("x-app-usage", usage) } else { answer }
    });
    let start = graph.world.now();
    // The search for a number, and the media: what they brought does not wait for the other hashtag. The next poll does.
    assert_eq!(instagram.settle().await, Span::from_secs(300));
    assert_eq!((graph.taken(), graph.server.asked().len()), (vec![1], 2));
    let status = instagram.status();
    assert_eq!(status.state, State::Running);
    assert!(status.error.unwrap().contains("no request before 2026-01-05T12:05:00Z: #pepsi"));
    instagram.again(&graph.world).await;
    assert_eq!((graph.taken(), instagram.status().error), (vec![2], None));
    let asked = &graph.server.asked()[2];
    assert_eq!((asked.param("q"), asked.at.since(start)), (Some("pepsi"), Span::from_secs(300)));
}

#[tokio::test]
async fn a_hashtag_that_fails_ends_the_poll_and_keeps_what_it_has() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\", \"pepsi\"]", "skip_existing = false\nattempts = 1");
    graph.tags.lock().coke = vec![(1, 0, "x")];
    graph.tags.lock().pepsi = vec![(2, 0, "y")];
    // The application's limit: nobody is asked for after pepsi, with which the next poll begins.
    let tags = Arc::clone(&graph.tags);
    graph.server.answer(move |asked, _| match asked.param("q") {
        Some("pepsi") => error(403, 4, "Application request limit reached", 0),
        _ => tags.lock().answer(asked),
    });
    instagram.settle().await;
    assert_eq!(graph.taken(), [1]);
    let status = instagram.status();
    assert_eq!(status.state, State::Running);
    assert!(status.error.unwrap().contains("#pepsi: "));
    let tags = Arc::clone(&graph.tags);
    graph.server.answer(move |asked, _| tags.lock().answer(asked));
    instagram.again(&graph.world).await;
    assert_eq!((graph.taken(), graph.server.asked()[0].param("q")), (vec![2], Some("pepsi")));
    // When nothing works, the poll has not.
    graph.server.answer(|_, _| Reply::status(503));
    instagram.again(&graph.world).await;
    assert_eq!((instagram.status().state, graph.server.asked().len()), (State::Failing, 1));
}

#[tokio::test]
async fn media_that_are_not_as_documented_cost_nobody_else() {
    let graph = Graph::new().await;
    let mut instagram = graph.connector("[\"coke\"]", "skip_existing = false");
    graph.tags.lock().coke = vec![(2, 0, "y"), (1, -5, "x")];
    let tags = Arc::clone(&graph.tags);
    graph.server.answer(move |asked, _| {
        let Reply::Say(status, headers, body) = tags.lock().answer(asked) else { panic!("no answer") };
        let mut body: Json = serde_json::from_str(&body).unwrap();
        if asked.path.ends_with("recent_media") {
            let good = body["data"].clone();
            let bad = [json!({ "id": 7 }), json!("none"), json!({ "id": "8", "timestamp": "yesterday" })];
            body["data"] = json!([bad[0], good[0], bad[1], bad[2], good[1]]);
        }
        Reply::Say(status, headers, body.to_string())
    });
    instagram.settle().await;
    assert_eq!(graph.taken(), [1, 2]);
    let status = instagram.status();
    assert_eq!(status.state, State::Running);
    assert_eq!(status.error.unwrap(), "#coke: 3 media are not as documented and were left out");
}

#[tokio::test]
async fn a_busy_hashtag_costs_no_other_a_post_and_what_nobody_remembers_is_a_gap() {
    let graph = Graph::new().await;
    let more = "skip_existing = false\nrate = \"1000/1s\"\nevery = \"1m\"";
    let mut instagram = graph.connector("[\"coke\", \"pepsi\"]", more);
    let pepsi = |id: u64| (id, id as i64 - 12_000, "pepsi");
    graph.tags.lock().pepsi = (1..=10).rev().map(pepsi).collect();
    // One a second, 900 a poll; more at last than are remembered of all hashtags.
    let coke = |number: u64| (100_000 + number, number as i64 - 11_000, "coke");
    instagram.settle().await;
    assert_eq!(graph.taken().len(), 10);
    for poll in 1..=12 {
        graph.tags.lock().coke = (1..=poll * 900).rev().map(coke).collect();
        instagram.again(&graph.world).await;
        assert_eq!(graph.taken().len(), 900);
    }
    // Posts of the other hashtag that are older than any of those: new ones are, seen ones are not.
    graph.tags.lock().pepsi = (1..=13).rev().map(pepsi).collect();
    instagram.again(&graph.world).await;
    assert_eq!((graph.taken(), instagram.status().gaps), (vec![11, 12, 13], 0));
    // One that gets the busy hashtag late, from a time of which the first 800 posts are forgotten.
    graph.tags.lock().coke.insert(0, (300_000, -10_900, "tagged late"));
    instagram.again(&graph.world).await;
    assert_eq!((graph.taken(), instagram.status().gaps), (vec![], 1));
    let gap = instagram.status().last_gap.unwrap();
    assert!(gap.starts_with("#coke: 1 posts that came late"), "{gap}");
    // It is told of once.
    graph.tags.lock().coke.insert(0, coke(20_000));
    instagram.again(&graph.world).await;
    assert_eq!((graph.taken(), instagram.status().gaps), (vec![120_000], 1));
}

#[tokio::test]
async fn a_note_that_does_not_tell_hashtags_apart_is_still_read() {
    let graph = Graph::new().await;
    let at = |second: i64| noon().plus(Span::from_secs(second)).micros();
    let cursor = json!({
        "hashtags": { "coke": { "id": "17873440459141021", "from": null } },
        "media": { "17850000000000002": at(-10), "17850000000000001": at(-20) },
        "floor": at(-25),
    });
    let note = json!({ "version": "1", "holder": "", "until": 0, "polled_at": null, "cursor": cursor });
    let objects = &graph.world.surroundings().objects;
    objects.put("connectors/test/00000000000000000007.json", note.to_string().into()).await.unwrap();
    graph.tags.lock().coke = vec![(3, -5, "new"), (2, -10, "seen"), (1, -20, "seen"), (0, -30, "forgotten")];
    let mut instagram = graph.connector("[\"coke\"]", "");
    instagram.settle().await;
    assert_eq!((graph.taken(), instagram.status().gaps), (vec![3], 0));
    // Its number needs no search.
    assert!(graph.server.asked().iter().all(|asked| asked.path.ends_with("/recent_media")));
    instagram.again(&graph.world).await;
    assert_eq!((graph.taken(), instagram.status().gaps), (vec![], 0));
}

#[tokio::test]
async fn polls_are_as_far_apart_as_the_budget_wants() {
    for (hashtags, more, seconds) in [
        ("[\"coke\"]", "", 60),
        ("[\"coke\", \"pepsi\"]", "", 80),
        ("[\"coke\", \"pepsi\"]", "rate = \"400/1h\"", 60),
        ("[\"coke\", \"pepsi\"]", "rate = \"50/1h\"", 320),
        ("[\"coke\", \"pepsi\"]", "every = \"10s\"", 10),
    ] {
        let graph = Graph::new().await;
        let mut instagram = graph.connector(hashtags, more);
        assert_eq!(instagram.settle().await, Span::from_secs(seconds), "{hashtags} {more}");
    }
}
