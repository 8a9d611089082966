//! Reddit: the comments of a subreddit, newest first, a hundred a page and about a thousand at all.
//!
//! `GET {base}/r/{subreddit}/comments?limit=100&after=…` ([documentation](https://www.reddit.com/dev/api#GET_comments_{article}), listings),
//! with a token of the application (OAuth client credentials, [documentation](https://github.com/reddit-archive/reddit/wiki/OAuth2)).
//! 60 requests a minute; `X-Ratelimit-Remaining` and `-Reset` (seconds from now) tell what is left.
//!
//! # From one poll to the next
//! The obvious way, `before` = the last comment seen, loses comments: when that comment has been deleted the listing is empty from
//! then on, and it passes over comments that appear out of order ([PRAW #1043](https://github.com/praw-dev/praw/issues/1043),
//! [async PRAW #18](https://github.com/praw-dev/asyncpraw/pull/18)). Here the listing is read from its newest end, by fullname
//! (`after`), until a page holds a comment that was seen before; what is new is what is not among the last ones seen. Numbers of comments
//! (base 36) grow, so that those older than all of these are told apart from those that came late. `limit` changes from poll to poll, as PRAW
//! does it, because equal requests may be answered from a cache.
//!
//! When the listing ends before a comment that was seen, more were posted than it holds (or all of those seen are deleted): a gap.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};

use super::api::Api;
use super::error::FetchError;
use super::filter::guess_language;
use super::message::{Messages, Post};
use super::{Feed, Fetched, Item, below, read_cursor, write_cursor};

/// Comments of a page at most.
const PAGE: u32 = 100;
/// Pages of a listing at most, and then some: an end for an API that has none.
const PAGES_MAX: u32 = 12;
/// Comments that are remembered: three pages, so that one that comes late is told apart from one that came before.
const REMEMBERED: usize = 300;

/// The comments of a subreddit.
#[derive(Debug)]
pub struct Comments {
    base: Url,
    subreddit: String,
    skip_existing: bool,
    messages: Option<Messages>,
    polls: AtomicU32,
}

/// What was seen: numbers of the newest comments.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    newest: BTreeSet<u64>,
}

#[derive(Deserialize)]
struct Listing {
    data: Page,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: Option<String>,
    children: Vec<Child>,
}

#[derive(Deserialize)]
struct Child {
    kind: String,
    data: Json,
}

#[derive(Deserialize)]
struct Comment {
    id: String,
    body: String,
    #[serde(default)]
    score: i64,
    created_utc: f64,
    #[serde(default)]
    author: Option<String>,
}

impl Comments {
    /// The comments of `subreddit`; the first poll ever takes in none of those that are there, when `skip_existing`. With `messages`
    /// records are customers' messages, else comments.
    pub fn new(base: Url, subreddit: String, skip_existing: bool, messages: Option<Messages>) -> Self {
        Self { base, subreddit, skip_existing, messages, polls: AtomicU32::new(0) }
    }

    fn item(&self, comment: &Comment) -> Item {
        let created_at = Timestamp((comment.created_utc * 1e6) as i64);
        let language = guess_language(&comment.body);
        let record = match &self.messages {
            Some(messages) => messages.message(&Post {
                id: &comment.id,
                created_at,
                text: &comment.body,
                author: comment.author.as_deref(),
                language,
                place: None,
            }),
            None => json!({
                "id": format!("t1_{}", comment.id),
                "text": comment.body,
                "score": comment.score,
                "timestamp": created_at.floor(Span::SECOND).to_string(),
            }),
        };
        Item { record, text: comment.body.clone(), language: language.map(str::to_owned) }
    }
}

/// The number of a comment: its id in base 36.
fn number(id: &str) -> Option<u64> {
    u64::from_str_radix(id, 36).ok()
}

#[async_trait]
impl Feed for Comments {
    async fn fetch(&self, api: &Api, cursor: Option<&Json>) -> Result<Fetched, FetchError> {
        let seen: Option<Seen> = read_cursor(cursor)?;
        let first = seen.is_none();
        let mut seen = seen.unwrap_or_default();
        // Older than all that is remembered: not new, whatever the listing says.
        let floor = seen.newest.first().copied();
        let limit = PAGE - self.polls.fetch_add(1, Ordering::Relaxed) % 10;
        let mut found: Vec<(u64, Comment)> = Vec::new();
        let mut numbers = BTreeSet::new();
        let mut warnings = Vec::new();
        let mut after: Option<String> = None;
        let mut reached = false;
        let mut unreadable = 0;
        for _ in 0..PAGES_MAX {
            let mut url = below(&self.base, &["r", &self.subreddit, "comments"]);
            // Without raw_json `<` comes as `&lt;`.
            url.query_pairs_mut().append_pair("limit", &limit.to_string()).append_pair("raw_json", "1");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let page = api.get::<Listing>(&url).await?.data;
            for child in page.children.into_iter().filter(|child| child.kind == "t1") {
                let comment = serde_json::from_value::<Comment>(child.data);
                let Some((number, comment)) = comment.ok().and_then(|comment| Some((number(&comment.id)?, comment)))
                else {
                    unreadable += 1;
                    continue;
                };
                if seen.newest.contains(&number) {
                    reached = true;
                } else if floor.is_some_and(|floor| number < floor) {
                    // All remembered ones above it may be deleted: the listing has come to what was seen all the same.
                    reached = true;
                } else if numbers.insert(number) {
                    found.push((number, comment));
                }
            }
            after = page.after;
            // The first poll needs to know where the listing stands, no more.
            if reached || first || after.is_none() {
                break;
            }
        }
        if unreadable > 0 {
            warnings.push(format!("{unreadable} comments are not as documented and were left out"));
        }
        let gap = (!first && !reached && !seen.newest.is_empty()).then(|| {
            format!(
                "r/{}: the listing ended after {} new comments without one that was seen before; those in between are lost",
                self.subreddit,
                found.len()
            )
        });
        found.sort_unstable_by_key(|(number, _)| *number);
        seen.newest.extend(&numbers);
        while seen.newest.len() > REMEMBERED {
            seen.newest.pop_first();
        }
        let records = if first && self.skip_existing {
            Vec::new()
        } else {
            found.iter().map(|(_, comment)| self.item(comment)).collect()
        };
        Ok(Fetched { records, cursor: write_cursor(&seen)?, more: false, gap, warnings })
    }
}
