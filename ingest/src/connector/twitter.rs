//! X (Twitter): posts of the last seven days that match a query.
//!
//! `GET {base}/2/tweets/search/recent` ([documentation](https://docs.x.com/x-api/posts/recent-search)), bearer token of the application;
//! newest first, at most 100 a page, `meta.next_token` leads on to older ones ([paging](https://docs.x.com/x-api/posts/search/integrate/paginate)).
//! Limits: `x-rate-limit-remaining` and `x-rate-limit-reset` (seconds since 1970).
//!
//! # From one poll to the next
//! A poll asks for what came after the newest post of the last one (`since_id`), and turns all pages before anything is appended, so that
//! posts are appended oldest first. A backlog of more than [`PAGES_MAX`] pages is taken in parts, newest part first: the cursor then holds
//! both ends of what is still to be fetched (`since_id`, `until_id`), so that a restart goes on in the middle. Before the first post there
//! is no id to go on from; then the time of the first poll is. X takes a time (`start_time`) beside no id: with `until_id` the time is sent as
//! the id that a post of that time would have. A `since_id` or an `until_id` older than seven days is refused: a gap.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};

use super::api::Api;
use super::error::FetchError;
use super::message::{Messages, Post, plain};
use super::{Feed, Fetched, Item, below, decoded, read_cursor, write_cursor};

/// Pages that are fetched before what they hold is appended.
const PAGES_MAX: u32 = 10;
/// How far back the search goes.
const BACK: Span = Span(7 * Span::DAY.micros());
/// The search must begin after that; it is not known to the second how far.
const BACK_MARGIN: Span = Span::MINUTE;
/// Ids hold the time: milliseconds since then, and 22 bits that tell posts of the same millisecond apart.
const ID_EPOCH_MS: i64 = 1_288_834_974_657;
const ID_TIME_SHIFT: u32 = 22;
/// Bytes of a query at most (of applications without special access).
pub(super) const QUERY_MAX: usize = 512;

/// Posts that match a query.
#[derive(Debug)]
pub struct RecentSearch {
    base: Url,
    query: String,
    skip_existing: bool,
    messages: Option<Messages>,
}

/// Where a poll goes on. Ids are decimal texts that grow with time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cursor {
    /// Everything up to this post is in the log; unless a search has been broken off, everything there was.
    since_id: Option<String>,
    /// Nothing before this time is wanted; while there is no post to go on from.
    start_time: Option<Timestamp>,
    /// A search was broken off: everything from this post on, up to `newest`, is in the log too.
    until_id: Option<String>,
    /// The newest post of the search that was broken off.
    newest: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<Json>,
    #[serde(default)]
    includes: Includes,
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Includes {
    #[serde(default)]
    places: Vec<Json>,
}

#[derive(Deserialize)]
struct Place {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    full_name: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Tweet {
    id: String,
    text: String,
    created_at: String,
    #[serde(default)]
    author_id: Option<String>,
    #[serde(default)]
    lang: Option<String>,
    #[serde(default)]
    geo: Option<Geo>,
    /// The whole of a post of more than 280 characters, of which `text` is the beginning.
    #[serde(default, rename = "note_tweet")]
    whole: Option<Note>,
}

#[derive(Deserialize)]
struct Note {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Geo {
    #[serde(default)]
    place_id: Option<String>,
}

impl RecentSearch {
    /// Posts that match `query`; none from before the first poll, when `skip_existing`. With `messages` records are customers'
    /// messages, else tweets.
    pub const fn new(base: Url, query: String, skip_existing: bool, messages: Option<Messages>) -> Self {
        Self { base, query, skip_existing, messages }
    }

    /// A query for posts with one of the keywords, in one of the languages, said by somebody themselves.
    pub fn query(keywords: &[String], languages: &[String]) -> String {
        let word = |word: &String| {
            let word = word.trim();
            if word.contains(char::is_whitespace) { format!("\"{}\"", word.replace('"', "")) } else { word.to_owned() }
        };
        let any =
            |words: Vec<String>| if words.len() == 1 { words.concat() } else { format!("({})", words.join(" OR ")) };
        let mut query = any(keywords.iter().map(word).collect());
        if !languages.is_empty() {
            query = format!("{query} {}", any(languages.iter().map(|language| format!("lang:{language}")).collect()));
        }
        format!("{query} -is:retweet")
    }

    fn url(&self, cursor: &Cursor, token: Option<&str>) -> Url {
        let mut url = below(&self.base, &["2", "tweets", "search", "recent"]);
        let mut pairs = url.query_pairs_mut();
        pairs
            .append_pair("query", &self.query)
            .append_pair("max_results", "100")
            .append_pair("tweet.fields", "author_id,created_at,geo,lang,note_tweet")
            .append_pair("expansions", "geo.place_id")
            .append_pair("place.fields", "full_name,name");
        let lower = match (&cursor.since_id, cursor.start_time, &cursor.until_id) {
            (Some(id), ..) => Some(("since_id", id.clone())),
            // X refuses `start_time` beside `until_id`.
            (None, Some(time), Some(_)) => Some(("since_id", id_before(time).to_string())),
            // Whole seconds, the first one included.
            (None, Some(time), None) => Some(("start_time", time.floor(Span::SECOND).to_string())),
            (None, None, _) => None,
        };
        if let Some((name, value)) = lower {
            pairs.append_pair(name, &value);
        }
        if let Some(id) = &cursor.until_id {
            pairs.append_pair("until_id", id);
        }
        if let Some(token) = token {
            pairs.append_pair("next_token", token);
        }
        drop(pairs);
        url
    }

    fn item(&self, tweet: &Tweet, created_at: Timestamp, places: &BTreeMap<String, String>) -> Item {
        let place = tweet.geo.as_ref().and_then(|geo| places.get(geo.place_id.as_ref()?));
        let text = tweet.whole.as_ref().and_then(|note| note.text.as_ref()).unwrap_or(&tweet.text);
        let record = match &self.messages {
            Some(messages) => messages.message(&Post {
                id: &tweet.id,
                created_at,
                text,
                author: tweet.author_id.as_deref(),
                language: tweet.lang.as_deref(),
                place: place.map(String::as_str),
            }),
            None => json!({
                "id": tweet.id,
                "created_at": plain(created_at),
                "text": text,
                "user_id": tweet.author_id,
                "language": tweet.lang,
            }),
        };
        Item { record, text: text.clone(), language: tweet.lang.clone() }
    }
}

/// The number of a post.
fn number(id: &str) -> Option<u64> {
    id.parse().ok()
}

/// The greatest number before those of posts of `time`'s second, and later ones.
fn id_before(time: Timestamp) -> u64 {
    let millis = time.floor(Span::SECOND).micros().div_euclid(1_000) - ID_EPOCH_MS;
    ((millis.max(0) as u64) << ID_TIME_SHIFT).saturating_sub(1)
}

impl Cursor {
    /// Where to go on when X refused to search this far back, and what is missing; `None`: it refused something else.
    ///
    /// X says: `'since_id' must be a tweet id created after`, and the time seven days ago.
    fn after_refusal(&self, said: &str, oldest_start: Timestamp) -> Option<(Self, String)> {
        // The upper end first: when even that is too old, nothing is left between both.
        if let Some(until) = self.until_id.as_ref().filter(|_| said.contains("until_id")) {
            return Some((
                self.given_up(),
                format!("the search no longer goes back to what is older than post {until}"),
            ));
        }
        let since = self.since_id.as_ref().filter(|_| said.contains("since_id"))?;
        let gap = format!("the search no longer goes back to post {since}");
        // A search that was broken off still goes on below what is in the log.
        Some((Self { since_id: None, start_time: Some(oldest_start), ..self.clone() }, gap))
    }

    /// Without what is left of a search that was broken off: on from the newest post of it.
    fn given_up(&self) -> Self {
        Self { since_id: self.newest.clone().or_else(|| self.since_id.clone()), ..Self::default() }
    }
}

#[async_trait]
impl Feed for RecentSearch {
    async fn fetch(&self, api: &Api, cursor: Option<&Json>) -> Result<Fetched, FetchError> {
        let Some(cursor) = read_cursor::<Cursor>(cursor)? else {
            // Nothing is asked yet: the next poll asks for what comes from now on, or for all there is.
            let start_time = self.skip_existing.then(|| api.now());
            let cursor = write_cursor(&Cursor { start_time, ..Cursor::default() })?;
            return Ok(Fetched { cursor, more: !self.skip_existing, ..Fetched::default() });
        };
        let oldest_start = api.now().minus(BACK).plus(BACK_MARGIN);
        let start = Cursor { start_time: cursor.start_time.map(|at| at.max(oldest_start)), ..cursor.clone() };
        if let (None, Some(time), Some(until)) = (&start.since_id, start.start_time, &start.until_id)
            && number(until).is_some_and(|until| until <= id_before(time).saturating_add(1))
        {
            // While this process rested, the lower end has come past the upper one.
            let gap = format!("the search no longer goes back to what is older than post {until}");
            let cursor = write_cursor(&start.given_up())?;
            return Ok(Fetched { cursor, more: true, gap: Some(gap), ..Fetched::default() });
        }
        let (mut tweets, mut places) = (Vec::new(), BTreeMap::new());
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let answer: Answer = match api.get(&self.url(&start, token.as_deref())).await {
                Ok(answer) => answer,
                Err(error) => {
                    let refused = error.refusal().and_then(|said| cursor.after_refusal(said, oldest_start));
                    let Some((next, gap)) = refused else { return Err(error) };
                    let (cursor, gap) = (write_cursor(&next)?, Some(format!("{gap}: {error}")));
                    return Ok(Fetched { cursor, more: true, gap, ..Fetched::default() });
                }
            };
            // A place that is not as documented is one that is not told.
            places.extend(decoded::<Place>(answer.includes.places, &mut 0).into_iter().filter_map(|place| {
                // `name` is the city, `full_name` the city with its region.
                Some((place.id, place.name.or(place.full_name)?))
            }));
            tweets.extend(answer.data);
            token = answer.meta.next_token;
            if token.is_none() {
                break;
            }
        }
        let mut warnings = Vec::new();
        let all = tweets.len();
        // Of those that are left out too, so that they are not fetched, and told of, again and again.
        let ids = || tweets.iter().filter_map(|tweet| number(tweet["id"].as_str()?));
        let (oldest, newest) = (ids().min(), ids().max());
        let mut found: BTreeMap<u64, (Timestamp, Tweet)> = BTreeMap::new();
        for tweet in decoded::<Tweet>(tweets, &mut 0) {
            if let (Some(number), Ok(at)) = (number(&tweet.id), Timestamp::parse(&tweet.created_at)) {
                found.insert(number, (at, tweet));
            }
        }
        if found.len() < all {
            warnings
                .push(format!("{} posts are not as documented, or came twice, and were left out", all - found.len()));
        }
        let newest_of_search = cursor.newest.clone().or_else(|| newest.map(|id| id.to_string()));
        let next = match (&token, oldest) {
            // Broken off: what is older than this part comes next.
            (Some(_), Some(oldest)) => {
                Cursor { until_id: Some(oldest.to_string()), newest: newest_of_search, ..cursor.clone() }
            }
            // To go on would be to leave out what the other pages hold.
            (Some(_), None) => {
                let reason = format!("{PAGES_MAX} pages, and no post with an id");
                return Err(FetchError::Malformed { url: below(&self.base, &[]).into(), reason });
            }
            (None, _) => Cursor {
                start_time: if newest_of_search.is_some() { None } else { cursor.start_time },
                since_id: newest_of_search.or_else(|| cursor.since_id.clone()),
                until_id: None,
                newest: None,
            },
        };
        let more = next.until_id.is_some();
        let records = found.values().map(|(at, tweet)| self.item(tweet, *at, &places)).collect();
        Ok(Fetched { records, cursor: write_cursor(&next)?, more, gap: None, warnings })
    }
}
