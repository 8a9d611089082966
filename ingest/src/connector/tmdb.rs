//! TMDB: the movies that trend today, polled again and again.
//!
//! `GET {base}/trending/movie/day?page=N` ([documentation](https://developer.themoviedb.org/reference/trending-movies)): pages of 20
//! movies, from page 1 on; an API key in the query, or a token as bearer. Errors are a status with `status_code` and
//! `status_message` in JSON ([errors](https://developer.themoviedb.org/docs/errors)); the limit is some 40 requests per second
//! ([rate limiting](https://developer.themoviedb.org/docs/rate-limiting)), answered with 429.
//!
//! A poll is a snapshot: there is nothing to go on from. A record is a movie at the time of a poll (`id`, `timestamp`).

use async_trait::async_trait;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tideline_common::time::Span;

use super::api::Api;
use super::error::FetchError;
use super::{Feed, Fetched, Item, decoded};

/// The movies that trend.
#[derive(Debug)]
pub struct Trending {
    base: Url,
    pages: u32,
}

#[derive(Deserialize)]
struct Page {
    results: Vec<Json>,
    #[serde(default)]
    total_pages: u32,
}

#[derive(Deserialize)]
struct Movie {
    id: u64,
    title: String,
    #[serde(default)]
    popularity: Option<f64>,
    #[serde(default)]
    vote_average: Option<f64>,
    #[serde(default)]
    vote_count: Option<u64>,
    #[serde(default)]
    overview: Option<String>,
    #[serde(default)]
    original_language: Option<String>,
}

impl Trending {
    /// The first `pages` pages of the API at `base`.
    pub const fn new(base: Url, pages: u32) -> Self {
        Self { base, pages }
    }
}

#[async_trait]
impl Feed for Trending {
    async fn fetch(&self, api: &Api, _: Option<&Json>) -> Result<Fetched, FetchError> {
        let polled_at = api.now().floor(Span::SECOND).to_string();
        let mut records = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut unreadable = 0;
        for number in 1..=self.pages {
            let mut url = super::below(&self.base, &["trending", "movie", "day"]);
            url.query_pairs_mut().append_pair("page", &number.to_string());
            let page: Page = api.get(&url).await?;
            for movie in decoded::<Movie>(page.results, &mut unreadable) {
                // Ranks move while pages are turned: a movie may be on two of them.
                if !seen.insert(movie.id) {
                    continue;
                }
                let record = json!({
                    "id": movie.id,
                    "title": movie.title,
                    "popularity": movie.popularity,
                    "vote_average": movie.vote_average,
                    "vote_count": movie.vote_count,
                    "overview": movie.overview,
                    "timestamp": polled_at,
                });
                let text = format!("{}\n{}", movie.title, movie.overview.unwrap_or_default());
                records.push(Item { record, text, language: movie.original_language });
            }
            if number >= page.total_pages {
                break;
            }
        }
        let warnings = if unreadable == 0 {
            Vec::new()
        } else {
            vec![format!("{unreadable} movies are not as documented and were left out")]
        };
        Ok(Fetched { records, warnings, ..Fetched::default() })
    }
}
