//! Instagram: public photos and videos that were tagged with a hashtag within the last 24 hours, by their captions.
//!
//! Graph API: `GET {base}/ig_hashtag_search?user_id=…&q=…` finds the number of a hashtag, `GET {base}/{number}/recent_media`
//! ([documentation](https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-hashtag/recent-media)) its media: at most
//! 50 a page, `paging.cursors.after` leads on while there is `paging.next`. Not always in order of time, without the author, and only
//! of the last 24 hours; 30 different hashtags within 7 days. Errors are a status 400 or 403 with `error.code`: 4, 17, 32, 613 and 80002 are
//! too many requests, 190 is a token that is no longer accepted ([errors](https://developers.facebook.com/docs/graph-api/guides/error-handling),
//! [limits](https://developers.facebook.com/docs/graph-api/overview/rate-limiting)).
//!
//! # From one poll to the next
//! What is new is what is not among the media remembered of the last day; pages are turned until one has nothing that was not seen under this
//! hashtag. Media are remembered by hashtag, so that one of which much is told makes no other's forgotten. Numbers of hashtags are remembered
//! too, as each search for one counts.
//!
//! A poll that is broken off, by an API that does not answer or wants no more requests, keeps what it has; the next one begins with the
//! hashtag that was not asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

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
use super::{Feed, Fetched, Item, below, decoded, is_of_one, next_first, read_cursor, write_cursor};

/// Pages of one hashtag and poll at most: more is a gap.
const PAGES_MAX: u32 = 20;
/// Media that are remembered at most, of all hashtags.
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
    /// Which hashtag the next poll begins with.
    first: AtomicUsize,
}

/// What was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    hashtags: BTreeMap<String, Hashtag>,
    /// Media that were seen under whatever hashtag, and when they were posted: of notes from before they were kept by hashtag.
    #[serde(default)]
    media: BTreeMap<String, Timestamp>,
    /// As [`Hashtag::floor`], of such notes.
    #[serde(default)]
    floor: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Hashtag {
    /// Its number.
    id: String,
    /// Nothing from before that is wanted.
    from: Option<Timestamp>,
    /// Media that were seen under it → when they were posted.
    #[serde(default)]
    media: BTreeMap<String, Timestamp>,
    /// What was remembered of before that is forgotten: of a post from then it is not known whether it was seen.
    #[serde(default)]
    floor: Option<Timestamp>,
}

impl Cursor {
    /// As it is now written: what was remembered of all hashtags together bounds each of them.
    fn by_hashtag(mut self) -> Self {
        if let Some(floor) = self.floor.take() {
            self.hashtags.values_mut().for_each(|hashtag| hashtag.floor = hashtag.floor.max(Some(floor)));
        }
        self
    }

    /// Whether a post was seen under any hashtag.
    fn has_seen(&self, id: &str) -> bool {
        self.media.contains_key(id) || self.hashtags.values().any(|hashtag| hashtag.media.contains_key(id))
    }

    /// Forgets media that the API does not tell of any more, and the oldest of those hashtags that have the most, when all are too many.
    fn forget(&mut self, now: Timestamp) {
        let oldest = now.minus(REMEMBER_FOR);
        self.media.retain(|_, at| *at >= oldest);
        for hashtag in self.hashtags.values_mut() {
            hashtag.media.retain(|_, at| *at >= oldest);
            hashtag.floor = hashtag.floor.filter(|floor| *floor > oldest);
        }
        let share = share(self.hashtags.values().map(|hashtag| hashtag.media.len()), REMEMBERED);
        self.hashtags.values_mut().for_each(|hashtag| hashtag.keep(share));
    }
}

impl Hashtag {
    /// Keeps the newest media, `most` at most.
    fn keep(&mut self, most: usize) {
        if self.media.len() <= most {
            return;
        }
        let mut times: Vec<Timestamp> = self.media.values().copied().collect();
        times.sort_unstable();
        // What is as old as the newest that is forgotten goes too: told apart by time they cannot be.
        let floor = times[times.len() - most - 1].plus(Span(1));
        self.media.retain(|_, at| *at >= floor);
        self.floor = self.floor.max(Some(floor));
    }
}

/// The most that each of `counts` may keep, so that all together keep at most `all`: those that have less keep what they have.
fn share(counts: impl Iterator<Item = usize>, all: usize) -> usize {
    let mut counts: Vec<usize> = counts.collect();
    counts.sort_unstable();
    let (mut left, mut others) = (all, counts.len());
    for count in counts {
        if count > left / others {
            return left / others;
        }
        (left, others) = (left - count, others - 1);
    }
    all
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
    data: Vec<Json>,
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
    /// New ones, by time, then id.
    media: BTreeMap<(Timestamp, String), String>,
    /// Those that were not seen under this hashtag, which another one may have had.
    seen: BTreeMap<String, Timestamp>,
    /// More pages than are turned.
    gap: bool,
    /// Those that may be new, and are older than what is remembered.
    unknown: usize,
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
        Self { base, user_id, hashtags, skip_existing, messages, first: AtomicUsize::new(0) }
    }

    /// What an error of the Graph API says that its status does not.
    pub fn reading(_: StatusCode, _: &HeaderMap, body: &[u8]) -> Option<Verdict> {
        let error = &serde_json::from_slice::<Json>(body).ok()?["error"];
        match error["code"].as_u64()? {
            // Until when the headers tell, if anything does: `limits` reads them in any answer.
            4 | 17 | 32 | 613 | 80_002 => Some(Verdict::Limited(None)),
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
        // Those below the floor since the last one above it.
        let mut below_floor: Vec<String> = Vec::new();
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
            let before = news.seen.len();
            for media in decoded::<Media>(answer.data, &mut news.unreadable) {
                let Some(at) = media.timestamp.as_deref().and_then(instant) else {
                    news.unreadable += 1;
                    continue;
                };
                if hashtag.from.is_some_and(|from| at < from) || news.seen.contains_key(&media.id) {
                    continue;
                }
                let seen_here = hashtag.media.contains_key(&media.id) || cursor.media.contains_key(&media.id);
                if !seen_here && hashtag.floor.is_some_and(|floor| at < floor) {
                    below_floor.push(media.id);
                    continue;
                }
                // The listing had not come to what is forgotten: those before this one came late, and nobody knows whether they are new.
                // They are remembered by their place in the listing, so that they are told of once.
                news.unknown += below_floor.len();
                news.seen.extend(below_floor.drain(..).map(|id| (id, at)));
                if seen_here {
                    continue;
                }
                news.seen.insert(media.id.clone(), at);
                if !cursor.has_seen(&media.id) {
                    news.media.insert((at, media.id), media.caption.unwrap_or_default());
                }
            }
            after = answer.paging.cursors.and_then(|cursors| cursors.after).filter(|_| answer.paging.next.is_some());
            // Media are out of order by a little only: a page without anything new has come to what was seen.
            if after.is_none() || news.seen.len() == before {
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
        let mut cursor = read_cursor::<Cursor>(cursor)?.unwrap_or_default().by_hashtag();
        let (mut found, mut gaps, mut warnings) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (mut worked, mut failure) = (0, None);
        let (count, first) = (self.hashtags.len(), self.first.load(Ordering::Relaxed));
        for turn in 0..count {
            let number = (first + turn) % count;
            let name = &self.hashtags[number];
            // What was fetched goes on its way before a server is waited for that wants no request.
            if worked > 0
                && let Some(until) = api.held_until().filter(|until| *until > api.now())
            {
                self.first.store(number, Ordering::Relaxed);
                warnings.push(format!("the API wants no request before {until}: #{name} is the next poll's first"));
                break;
            }
            let polled = async {
                let hashtag = match cursor.hashtags.get(name) {
                    Some(hashtag) => hashtag.clone(),
                    None => Hashtag {
                        id: self.number(api, name).await?,
                        from: self.skip_existing.then(|| api.now().floor(Span::SECOND)),
                        media: BTreeMap::new(),
                        floor: None,
                    },
                };
                let news = self.news(api, &cursor, &hashtag).await?;
                Ok::<_, FetchError>((hashtag, news))
            };
            let (mut hashtag, news) = match polled.await {
                Ok(polled) => polled,
                Err(error) => {
                    warnings.push(format!("#{name}: {error}"));
                    // One that is refused (Instagram thinks it sensitive) must not cost the others.
                    let goes_on = is_of_one(&error);
                    if !goes_on {
                        self.first.store(next_first(&error, number, count), Ordering::Relaxed);
                    }
                    failure = Some(error);
                    if goes_on {
                        continue;
                    }
                    break;
                }
            };
            worked += 1;
            if news.gap {
                gaps.push(format!("#{name}: more than {PAGES_MAX} pages since the last poll; older ones are left out"));
            }
            if news.unknown > 0 {
                gaps.push(format!(
                    "#{name}: {} posts that came late are older than those remembered, and were left out",
                    news.unknown
                ));
            }
            if news.unreadable > 0 {
                warnings.push(format!("#{name}: {} media are not as documented and were left out", news.unreadable));
            }
            hashtag.media.extend(news.seen);
            // Remembered at once: a post with two of the hashtags is one post.
            cursor.hashtags.insert(name.clone(), hashtag);
            found.extend(news.media);
        }
        if let (0, Some(error)) = (worked, failure) {
            return Err(error);
        }
        cursor.forget(api.now());
        let records = found.iter().map(|((at, id), caption)| self.item(id, *at, caption)).collect();
        let gap = (!gaps.is_empty()).then(|| gaps.join("; "));
        Ok(Fetched { records, cursor: write_cursor(&cursor)?, more: false, gap, warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_shared_and_the_quiet_keep_what_they_have() {
        let kept = |counts: &[usize], all| {
            let share = share(counts.iter().copied(), all);
            counts.iter().map(|count| *count.min(&share)).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[], 10), [] as [usize; 0]);
        assert_eq!(kept(&[3, 7], 10), [3, 7]);
        assert_eq!(kept(&[8, 2, 9], 10), [4, 2, 4]);
        assert_eq!(kept(&[9, 9, 9], 10), [3, 3, 3]);
        assert_eq!(kept(&[0, 11], 10), [0, 10]);
    }

    #[test]
    fn what_is_forgotten_is_below_the_floor() {
        let at = |second: i64| Timestamp(second * 1_000_000);
        let media = [("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", 4)];
        let media = media.into_iter().map(|(id, second)| (id.to_owned(), at(second))).collect();
        let mut hashtag = Hashtag { id: "1".to_owned(), from: None, media, floor: None };
        hashtag.keep(5);
        assert_eq!((hashtag.media.len(), hashtag.floor), (5, None));
        // Of the same time as one that goes.
        hashtag.keep(3);
        assert_eq!(hashtag.media.keys().collect::<Vec<_>>(), ["d", "e"]);
        assert!(hashtag.floor > Some(at(2)) && hashtag.floor < Some(at(3)));
    }
}
