//! Instagram: public photos and videos that were tagged with a hashtag within the last 24 hours, by their captions.
//!
//! Graph API: `GET {base}/ig_hashtag_search?user_id=…&q=…` finds the number of a hashtag, `GET {base}/{number}/recent_media`
//! ([documentation](https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-hashtag/recent-media)) its media: at most
//! 50 a page, `paging.cursors.after` leads on while there is `paging.next`. Not always in order of time, without the author, and only
//! of the last 24 hours; 30 different hashtags within 7 days. Errors are a status 400 with `error.code`: 4, 17, 32 and 613 are too many
//! requests, 190 is a token that is no longer accepted ([errors](https://developers.facebook.com/docs/graph-api/guides/error-handling),
//! [limits](https://developers.facebook.com/docs/graph-api/overview/rate-limiting)).
//!
//! # From one poll to the next
//! What is new is what is not among the media remembered of the last day; pages are turned until one has nothing new. Numbers of
//! hashtags are remembered too, as each search for one counts.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tideline_common::time::{Span, Timestamp};

use super::api::{Api, Verdict};
use super::error::FetchError;
use super::filter::guess_language;
use super::message::{Messages, Post};
use super::{Feed, Fetched, Item, below, read_cursor, write_cursor};

/// Pages of one hashtag and poll at most: more is a gap.
const PAGES_MAX: u32 = 20;
/// Media that are remembered at most.
const REMEMBERED: usize = 10_000;
/// How long they are: the API tells of 24 hours, by a clock of its own.
const REMEMBER_FOR: Span = Span(25 * Span::HOUR.micros());

/// Media of hashtags.
#[derive(Debug)]
pub struct HashtagMedia {
    base: Url,
    user_id: String,
    hashtags: Vec<String>,
    skip_existing: bool,
    messages: Messages,
}

/// What was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    hashtags: BTreeMap<String, Hashtag>,
    /// Media that were seen → when they were posted.
    media: BTreeMap<String, Timestamp>,
    /// Nothing from before that is new: what was remembered of it is forgotten.
    floor: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hashtag {
    /// Its number.
    id: String,
    /// Nothing from before that is wanted.
    from: Option<Timestamp>,
}

impl Cursor {
    fn is_new(&self, hashtag: &Hashtag, id: &str, at: Timestamp) -> bool {
        let after = |bound: Option<Timestamp>| bound.is_none_or(|bound| at >= bound);
        after(hashtag.from) && after(self.floor) && !self.media.contains_key(id)
    }

    /// Remembers media, and forgets those that the API does not tell of any more, or that are too many.
    fn remember(&mut self, media: impl Iterator<Item = (String, Timestamp)>, now: Timestamp) {
        self.media.extend(media);
        let oldest = now.minus(REMEMBER_FOR);
        self.media.retain(|_, at| *at >= oldest);
        if self.media.len() > REMEMBERED {
            let mut times: Vec<Timestamp> = self.media.values().copied().collect();
            times.sort_unstable();
            // What is as old as the newest that is forgotten goes too: told apart by time they cannot be.
            let floor = times[times.len() - REMEMBERED].plus(Span(1));
            self.media.retain(|_, at| *at >= floor);
            self.floor = Some(floor);
        }
    }
}

#[derive(Deserialize)]
struct Found {
    data: Vec<Number>,
}

#[derive(Deserialize)]
struct Number {
    id: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Media>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Default, Deserialize)]
struct Paging {
    #[serde(default)]
    cursors: Option<After>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Media {
    id: String,
    #[serde(default)]
    caption: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
}

/// What a poll found of one hashtag.
#[derive(Default)]
struct News {
    /// By time, then id.
    media: BTreeMap<(Timestamp, String), String>,
    gap: bool,
    unreadable: usize,
}

impl HashtagMedia {
    /// Media of `hashtags` (without `#`), asked for by the Instagram user `user_id`; none of those that are there at the first poll, when
    /// `skip_existing`.
    pub const fn new(
        base: Url,
        user_id: String,
        hashtags: Vec<String>,
        skip_existing: bool,
        messages: Messages,
    ) -> Self {
        Self { base, user_id, hashtags, skip_existing, messages }
    }

    /// What an error of the Graph API says that its status does not.
    pub fn reading(_: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Verdict> {
        let error = &serde_json::from_slice::<Json>(body).ok()?["error"];
        match error["code"].as_u64()? {
            4 | 17 | 32 | 613 => {
                // {"<business>": [{"estimated_time_to_regain_access": minutes, ..}]}
                let usage: Json =
                    serde_json::from_str(headers.get("x-business-use-case-usage")?.to_str().ok()?).unwrap_or_default();
                let minutes = usage
                    .as_object()
                    .into_iter()
                    .flatten()
                    .flat_map(|(_, uses)| uses.as_array().into_iter().flatten())
                    .filter_map(|usage| usage["estimated_time_to_regain_access"].as_u64())
                    .max();
                let wait = minutes
                    .filter(|minutes| *minutes > 0)
                    .map(|minutes| Span(minutes.min(1_440) as i64 * Span::MINUTE.micros()));
                Some(Verdict::Limited(wait))
            }
            190 => Some(Verdict::Credentials),
            _ => None,
        }
    }

    async fn number(&self, api: &Api, hashtag: &str) -> Result<String, FetchError> {
        let mut url = below(&self.base, &["ig_hashtag_search"]);
        url.query_pairs_mut().append_pair("user_id", &self.user_id).append_pair("q", hashtag);
        let found: Found = api.get(&url).await?;
        let number = found.data.into_iter().next().map(|number| number.id);
        number.ok_or_else(|| FetchError::Malformed {
            url: format!("ig_hashtag_search of {hashtag}"),
            reason: "no hashtag is in it".to_owned(),
        })
    }

    async fn news(&self, api: &Api, cursor: &Cursor, hashtag: &Hashtag) -> Result<News, FetchError> {
        let mut news = News::default();
        let mut after: Option<String> = None;
        for page in 1..=PAGES_MAX {
            let mut url = below(&self.base, &[&hashtag.id, "recent_media"]);
            url.query_pairs_mut()
                .append_pair("user_id", &self.user_id)
                .append_pair("fields", "id,caption,timestamp")
                .append_pair("limit", "50");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let answer: Answer = api.get(&url).await?;
            let before = news.media.len();
            for media in answer.data {
                let Some(at) = media.timestamp.as_deref().and_then(instant) else {
                    news.unreadable += 1;
                    continue;
                };
                if cursor.is_new(hashtag, &media.id, at) {
                    news.media.insert((at, media.id), media.caption.unwrap_or_default());
                }
            }
            after = answer.paging.cursors.and_then(|cursors| cursors.after).filter(|_| answer.paging.next.is_some());
            // Media are out of order by a little only: a page without anything new has come to what was seen.
            if after.is_none() || news.media.len() == before {
                return Ok(news);
            }
            news.gap = page == PAGES_MAX;
        }
        Ok(news)
    }

    fn item(&self, id: &str, at: Timestamp, caption: &str) -> Item {
        let language = guess_language(caption);
        let post = Post { id, created_at: at, text: caption, author: None, language, place: None };
        let record = self.messages.message(&post);
        Item { record, text: caption.to_owned(), language: language.map(str::to_owned) }
    }
}

/// `2026-01-05T12:00:00+0000`, as the Graph API writes it, or RFC 3339.
fn instant(text: &str) -> Option<Timestamp> {
    let graph = || chrono::DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%z").ok();
    Timestamp::parse(text).ok().or_else(|| graph().map(|time| Timestamp(time.timestamp_micros())))
}

#[async_trait]
impl Feed for HashtagMedia {
    async fn fetch(&self, api: &Api, cursor: Option<&Json>) -> Result<Fetched, FetchError> {
        let mut cursor: Cursor = read_cursor(cursor)?.unwrap_or_default();
        let (mut found, mut gaps, mut warnings) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (mut worked, mut failure) = (0, None);
        for name in &self.hashtags {
            let polled = async {
                let hashtag = match cursor.hashtags.get(name) {
                    Some(hashtag) => hashtag.clone(),
                    None => Hashtag {
                        id: self.number(api, name).await?,
                        from: self.skip_existing.then(|| api.now().floor(Span::SECOND)),
                    },
                };
                let news = self.news(api, &cursor, &hashtag).await?;
                Ok::<_, FetchError>((hashtag, news))
            };
            let (hashtag, news) = match polled.await {
                Ok(polled) => polled,
                // A hashtag that is refused (Instagram thinks it sensitive) must not cost the others.
                Err(error @ FetchError::Refused { .. }) => {
                    warnings.push(format!("#{name}: {error}"));
                    failure = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            worked += 1;
            if news.gap {
                gaps.push(format!("#{name}: more than {PAGES_MAX} pages since the last poll; older ones are left out"));
            }
            if news.unreadable > 0 {
                warnings.push(format!("#{name}: {} media are not as documented and were left out", news.unreadable));
            }
            cursor.hashtags.insert(name.clone(), hashtag);
            // Remembered at once: a post with two of the hashtags is one post.
            cursor.remember(news.media.keys().map(|(at, id)| (id.clone(), *at)), api.now());
            found.extend(news.media);
        }
        if let (0, Some(error)) = (worked, failure) {
            return Err(error);
        }
        let records = found.iter().map(|((at, id), caption)| self.item(id, *at, caption)).collect();
        let gap = (!gaps.is_empty()).then(|| gaps.join("; "));
        Ok(Fetched { records, cursor: write_cursor(&cursor)?, more: false, gap, warnings })
    }
}
