//! Stock prices: bars of a chart API as Yahoo's.
//!
//! `GET {base}/v8/finance/chart/{symbol}?interval=1m&period1=…&period2=…`: `chart.result[0]` has `timestamp[]` (starts of bars, seconds since
//! 1970) and `indicators.quote[0]` with `open[] close[] volume[]` of the same length, null where nothing was traded; an error is `chart.error`
//! with `code` and `description`, with status 404 or 422. Yahoo does not document this API; the form is that which
//! [yfinance](https://github.com/ranaroussi/yfinance) and [yahoo-finance2](https://github.com/gadicc/yahoo-finance2) read.
//!
//! # From one poll to the next
//! A bar is a record when it is over; the one under way comes with the next poll. The cursor is the start of each symbol's last bar.
//! Bars of a minute are there for seven days: a symbol that was not asked for longer has a gap.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};

use super::api::Api;
use super::error::FetchError;
use super::message::plain;
use super::{Feed, Fetched, Item, below, read_cursor, write_cursor};

/// How far back the first poll of a symbol goes, unless what is there is skipped.
const FIRST: Span = Span::DAY;
/// How far back bars go.
const BACK: Span = Span(7 * Span::DAY.micros());

/// Bars are there after so long at the latest: some exchanges are told of with a delay.
const LATEST: Span = Span::DAY;

/// Length of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    name: &'static str,
    span: Span,
}

impl Interval {
    const ALL: [Self; 6] = [
        Self { name: "1m", span: Span::MINUTE },
        Self { name: "2m", span: Span::from_secs(120) },
        Self { name: "5m", span: Span::from_secs(300) },
        Self { name: "15m", span: Span::from_secs(900) },
        Self { name: "30m", span: Span::from_secs(1_800) },
        Self { name: "1h", span: Span::HOUR },
    ];
}

/// A length that bars do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the length of a bar: there are 1m, 2m, 5m, 15m, 30m and 1h")]
pub struct IntervalError(String);

impl std::str::FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        Self::ALL.into_iter().find(|interval| interval.name == text).ok_or_else(|| IntervalError(text.to_owned()))
    }
}

/// Bars of symbols.
#[derive(Debug)]
pub struct Bars {
    base: Url,
    symbols: Vec<String>,
    interval: Interval,
    skip_existing: bool,
}

/// Symbol → start of its last bar.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cursor {
    bars: BTreeMap<String, Timestamp>,
}

#[derive(Deserialize)]
struct Answer {
    chart: Chart,
}

#[derive(Deserialize)]
struct Chart {
    #[serde(default)]
    result: Option<Vec<Series>>,
}

#[derive(Deserialize)]
struct Series {
    // Absent when there are no bars.
    #[serde(default)]
    timestamp: Vec<i64>,
    indicators: Indicators,
}

#[derive(Deserialize)]
struct Indicators {
    quote: Vec<Quote>,
}

#[derive(Default, Deserialize)]
struct Quote {
    #[serde(default)]
    open: Vec<Option<f64>>,
    #[serde(default)]
    close: Vec<Option<f64>>,
    #[serde(default)]
    volume: Vec<Option<u64>>,
}

impl Bars {
    /// Bars of `interval` of `symbols`; none of those that were over at the first poll, when `skip_existing`.
    pub const fn new(base: Url, symbols: Vec<String>, interval: Interval, skip_existing: bool) -> Self {
        Self { base, symbols, interval, skip_existing }
    }

    async fn bars(&self, api: &Api, symbol: &str, after: Timestamp) -> Result<Vec<(Timestamp, Item)>, FetchError> {
        let now = api.now();
        let mut url = below(&self.base, &["v8", "finance", "chart", symbol]);
        url.query_pairs_mut()
            .append_pair("interval", self.interval.name)
            .append_pair("period1", &(after.micros().div_euclid(1_000_000)).to_string())
            .append_pair("period2", &(now.micros().div_euclid(1_000_000)).to_string());
        let answer: Answer = api.get(&url).await?;
        let malformed =
            |reason: &str| FetchError::Malformed { url: format!("chart of {symbol}"), reason: reason.to_owned() };
        let mut results = answer.chart.result.ok_or_else(|| malformed("chart.result is null"))?.into_iter();
        let series = results.next().ok_or_else(|| malformed("chart.result is empty"))?;
        let quote = series.indicators.quote.into_iter().next().unwrap_or_default();
        let bars = series.timestamp.len();
        if [quote.open.len(), quote.close.len(), quote.volume.len()].iter().any(|len| *len != bars && bars > 0) {
            return Err(malformed("timestamp, open, close and volume have different lengths"));
        }
        let mut found = Vec::new();
        for (index, seconds) in series.timestamp.into_iter().enumerate() {
            let at = Timestamp::from_millis(seconds.saturating_mul(1_000));
            let over = at.plus(self.interval.span) <= now;
            // The bar before the first one that is wanted comes too.
            if at <= after || !over {
                continue;
            }
            let (Some(open), Some(close)) = (quote.open[index], quote.close[index]) else { continue };
            let record = json!({
                "symbol": symbol,
                "trade_timestamp": plain(at),
                "open_price": open,
                "close_price": close,
                "volume": quote.volume[index],
            });
            found.push((at, Item { record, text: String::new(), language: None }));
        }
        Ok(found)
    }
}

#[async_trait]
impl Feed for Bars {
    async fn fetch(&self, api: &Api, cursor: Option<&Json>) -> Result<Fetched, FetchError> {
        let mut cursor: Cursor = read_cursor(cursor)?.unwrap_or_default();
        let (mut found, mut gaps, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let (mut worked, mut failure) = (0, None);
        for symbol in &self.symbols {
            let now = api.now();
            let oldest = now.minus(BACK).plus(self.interval.span);
            let mut after = match cursor.bars.get(symbol) {
                Some(after) => *after,
                // The bar under way is the first one.
                None if self.skip_existing => now.minus(self.interval.span),
                None => now.minus(FIRST),
            };
            if after < oldest {
                gaps.push(format!("{symbol}: bars from {after} to {oldest} are no longer there"));
                after = oldest;
            }
            match self.bars(api, symbol, after).await {
                Ok(bars) => {
                    worked += 1;
                    let last = bars.iter().map(|(at, _)| *at).max().unwrap_or(after);
                    // A symbol that is not traded for a week has no gap; bars that come late do so within a day.
                    cursor.bars.insert(symbol.clone(), last.max(after).max(now.minus(LATEST)));
                    found.extend(bars);
                }
                // A symbol that is no longer listed must not cost the others.
                Err(error @ (FetchError::Refused { .. } | FetchError::Malformed { .. })) => {
                    warnings.push(format!("{symbol}: {error}"));
                    failure = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let (0, Some(error)) = (worked, failure) {
            return Err(error);
        }
        // Symbols that are no longer asked for are forgotten.
        cursor.bars.retain(|symbol, _| self.symbols.contains(symbol));
        found.sort_by_key(|(at, _)| *at);
        let records = found.into_iter().map(|(_, item)| item).collect();
        let gap = (!gaps.is_empty()).then(|| gaps.join("; "));
        Ok(Fetched { records, cursor: write_cursor(&cursor)?, more: false, gap, warnings })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bars_have_the_lengths_of_the_api() {
        assert_eq!("5m".parse::<Interval>().unwrap().span, Span::from_secs(300));
        assert!("3m".parse::<Interval>().unwrap_err().to_string().contains("15m"));
    }
}
