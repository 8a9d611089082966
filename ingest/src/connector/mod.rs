//! Connectors: what is fetched from an API, again and again, and appended to a topic.
//!
//! # Layout
//! - [`runner`]: one connector at work · [`status`]: how it is doing · [`config`]: as `tideline.toml` says
//! - [`api`]: one API over HTTP, with [`auth`], [`budget`], [`limits`], [`backoff`], [`error`] · [`time`]: clock and pauses
//! - [`cursor`]: how far it has come, and who may ask · [`filter`]: keywords and languages · [`message`]: what a customer says
//! - [`mentions`]: titles that a comment mentions
//! - one file per API: [`tmdb`], [`reddit`], [`twitter`], [`instagram`], [`stocks`]
//!
//! # What is promised
//! A poll goes: fetch what came after the cursor → append it → note the new cursor. The cursor is noted only after the
//! log has acknowledged every record before it. So nothing that the API still has is left out, whenever the process ends;
//! a process that is killed between the append and the note fetches the same again: **at least once**. What comes twice is
//! told by the API's own ids, which every record carries where the API has them (`id`): a source with `dedupe = "id"`
//! makes it **exactly once**. What the API itself no longer has (a listing that is full, a search that goes back seven days) is a
//! *gap*: it is said in the status and the log, and counted.

pub mod api;
pub mod auth;
pub mod backoff;
pub mod budget;
pub mod config;
pub mod cursor;
pub mod error;
pub mod filter;
pub mod instagram;
pub mod limits;
pub mod mentions;
pub mod message;
pub mod reddit;
pub mod runner;
pub mod secret;
pub mod status;
pub mod stocks;
pub mod time;
pub mod tmdb;
pub mod twitter;

use async_trait::async_trait;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use api::Api;
use error::FetchError;

/// What an API has to tell, poll by poll.
#[async_trait]
pub trait Feed: Send + Sync + std::fmt::Debug {
    /// Fetches what came after `cursor`, oldest first. Without a cursor it is the first poll ever.
    ///
    /// # Errors
    /// What the API answers; nothing is lost, the next poll begins at the same cursor.
    async fn fetch(&self, api: &Api, cursor: Option<&Json>) -> Result<Fetched, FetchError>;
}

/// What a poll brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetched {
    /// Records, oldest first.
    pub records: Vec<Item>,
    /// Where the next poll goes on.
    pub cursor: Json,
    /// There is more at once.
    pub more: bool,
    /// The API no longer had everything that came after the cursor: what is missing.
    pub gap: Option<String>,
    /// What went wrong without keeping the rest from being fetched.
    pub warnings: Vec<String>,
}

/// A record, and what it is chosen by.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The record.
    pub record: Json,
    /// What keywords, and mentions, are looked for in.
    pub text: String,
    /// Its language (ISO 639-1), if it is known.
    pub language: Option<String>,
}

/// Those of `records` that are as documented, one by one: what is not costs nobody else, and is counted.
fn decoded<T: DeserializeOwned>(records: Vec<Json>, unreadable: &mut usize) -> Vec<T> {
    let all = records.len();
    let decoded: Vec<T> = records.into_iter().filter_map(|record| serde_json::from_value(record).ok()).collect();
    *unreadable += all - decoded.len();
    decoded
}

/// A cursor as a feed wrote it.
fn read_cursor<T: DeserializeOwned>(cursor: Option<&Json>) -> Result<Option<T>, FetchError> {
    let Some(cursor) = cursor else { return Ok(None) };
    serde_json::from_value(cursor.clone()).map(Some).map_err(|error| FetchError::Cursor(error.to_string()))
}

/// A cursor to be written.
fn write_cursor(cursor: &impl Serialize) -> Result<Json, FetchError> {
    serde_json::to_value(cursor).map_err(|error| FetchError::Cursor(error.to_string()))
}

/// The address of `parts` below `base`, whether that ends in a slash or not.
fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    // Addresses that cannot have a path are refused when the configuration is read.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// Whether an error is one of the thing that was asked for (a symbol, a hashtag), so that others may work all the same.
const fn is_of_one(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { .. } | FetchError::Malformed { .. } | FetchError::TooLarge { .. })
}

/// Which of `count` things the next poll begins with, when one was broken off at `broken_at`. With the same, when whoever asks is not let in.
/// Else with the one after it: one that never answers must not keep those after it from ever being asked for.
const fn next_first(error: &FetchError, broken_at: usize, count: usize) -> usize {
    match error {
        FetchError::RateLimited { .. } | FetchError::Credentials { .. } => broken_at,
        _ => (broken_at + 1) % count,
    }
}
