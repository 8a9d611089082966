//! Stock prices: bars of a chart API as Yahoo's.
//!
//! `GET {base}/v8/finance/chart/{symbol}?interval=1m&period1=…&period2=…`: `chart.result[0]` has `timestamp[]` (starts of bars, seconds since
//! 1970) and `indicators.quote[0]` with `open[] close[] volume[]` of the same length, null where nothing was traded; an error is `chart.error`
//! with `code` and `description`, with status 404 or 422. Yahoo does not document this API; the form is that which
//! [yfinance](https://github.com/ranaroussi/yfinance) and [yahoo-finance2](https://github.com/gadicc/yahoo-finance2) read.
//!
//! # From one poll to the next
//! A bar is a record when it is over; the one under way comes with a later poll. Clocks do not tell that: some exchanges are told of with a
//! delay of up to half an hour, and the bar under way is then one of the past. A bar is over when something was traded an interval later, or
//! when nothing was for so long that no delay explains it. While a market is open, Yahoo adds a row of its own for the last trade, at the second
//! of that trade: it is no bar. The cursor is the start of each symbol's last bar. Bars of a minute are there for seven days: a symbol that was
//! not asked for longer has a gap.
//!
//! A poll that is broken off, by an API that does not answer or wants no more requests, keeps what it has; the next one begins with the
//! symbol that was not asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};

use super::api::Api;
use super::error::FetchError;
use super::message::plain;
use super::{Feed, Fetched, Item, below, is_of_one, next_first, read_cursor, write_cursor};

/// How far back the first poll of a symbol goes, unless what is there is skipped.
const FIRST: Span = Span::DAY;
/// How far back bars go.
const BACK: Span = Span(7 * Span::DAY.micros());

/// Bars are there after so long at the latest: some exchanges are told of with a delay.
const LATEST: Span = Span::DAY;
/// After so long a bar is over that nothing follows, unless it is configured: Yahoo tells of some exchanges 30 minutes late.
pub(super) const DELAY: Span = Span::from_secs(35 * 60);
/// The longest that can be configured: shorter than [`LATEST`] by more than a bar.
pub(super) const DELAY_MAX: Span = Span(12 * Span::HOUR.micros());

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
    delay: Span,
    skip_existing: bool,
    /// Which symbol the next poll begins with.
    first: AtomicUsize,
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
    timestamp: Vec<Json>,
    indicators: Indicators,
}

#[derive(Deserialize)]
struct Indicators {
    quote: Vec<Quote>,
}

#[derive(Default, Deserialize)]
struct Quote {
    #[serde(default)]
    open: Vec<Json>,
    #[serde(default)]
    close: Vec<Json>,
    #[serde(default)]
    volume: Vec<Json>,
}

/// A row of an answer.
struct Row {
    at: Timestamp,
    /// Open, close and volume; `None` where nothing was traded.
    traded: Option<(f64, f64, Option<u64>)>,
}

/// What an answer holds.
struct Found {
    bars: Vec<(Timestamp, Item)>,
    unreadable: usize,
}

impl Bars {
    /// Bars of `interval` of `symbols`; none of those that were over at the first poll, when `skip_existing`. A bar that nothing follows
    /// is over after `delay`.
    pub const fn new(base: Url, symbols: Vec<String>, interval: Interval, delay: Span, skip_existing: bool) -> Self {
        Self { base, symbols, interval, delay, skip_existing, first: AtomicUsize::new(0) }
    }

    async fn bars(&self, api: &Api, symbol: &str, after: Timestamp) -> Result<Found, FetchError> {
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
        let read: Vec<Option<Row>> = (0..bars)
            .map(|index| row(&series.timestamp[index], &quote.open[index], &quote.close[index], &quote.volume[index]))
            .collect();
        let unreadable = read.iter().filter(|row| row.is_none()).count();
        let rows: Vec<Row> = read.into_iter().flatten().collect();
        let record = |at: Timestamp, (open, close, volume): (f64, f64, Option<u64>)| {
            json!({
                "symbol": symbol,
                "trade_timestamp": plain(at),
                "open_price": open,
                "close_price": close,
                "volume": volume,
            })
        };
        let bars = self
            .over(&rows, now)
            // The bar before the first one that is wanted comes too.
            .filter(|row| row.at > after)
            .filter_map(|row| Some((row.at, record(row.at, row.traded?))))
            .map(|(at, record)| (at, Item { record, text: String::new(), language: None }))
            .collect();
        Ok(Found { bars, unreadable })
    }

    /// Rows that are bars, and over.
    fn over<'a>(&self, rows: &'a [Row], now: Timestamp) -> impl Iterator<Item = &'a Row> {
        let (span, delay) = (self.interval.span, self.delay);
        // How far trading has come, as far as this answer knows.
        let traded = rows.iter().filter(|row| row.traded.is_some()).map(|row| row.at).max();
        // The row of the last trade, where it falls on a whole minute: less than a bar after the one before it. So does the first bar after
        // another session; it comes as soon as another follows.
        let last = match rows {
            [.., before, last] if last.at < before.at.plus(span) => rows.len() - 1,
            _ => rows.len(),
        };
        rows[..last].iter().filter(move |row| {
            let end = row.at.plus(span);
            // Bars begin at whole minutes, whatever their length.
            let is_bar = row.at == row.at.floor(Span::MINUTE);
            is_bar && (traded.is_some_and(|traded| traded >= end) || end.plus(delay) <= now)
        })
    }
}

/// A row as it is documented: numbers, or null where nothing was traded.
fn row(at: &Json, open: &Json, close: &Json, volume: &Json) -> Option<Row> {
    let at = Timestamp::from_millis(at.as_i64()?.saturating_mul(1_000));
    let number = |value: &Json| if value.is_null() { Some(None) } else { value.as_f64().map(Some) };
    let volume = if volume.is_null() { None } else { Some(volume.as_u64()?) };
    let traded = match (number(open)?, number(close)?) {
        (Some(open), Some(close)) => Some((open, close, volume)),
        _ => None,
    };
    Some(Row { at, traded })
}

#[async_trait]
impl Feed for Bars {
    async fn fetch(&self, api: &Api, cursor: Option<&Json>) -> Result<Fetched, FetchError> {
        let mut cursor: Cursor = read_cursor(cursor)?.unwrap_or_default();
        let (mut found, mut gaps, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let (mut worked, mut failure) = (0, None);
        let (count, first) = (self.symbols.len(), self.first.load(Ordering::Relaxed));
        for turn in 0..count {
            let number = (first + turn) % count;
            let symbol = &self.symbols[number];
            // What was fetched goes on its way before a server is waited for that wants no request.
            if worked > 0
                && let Some(until) = api.held_until().filter(|until| *until > api.now())
            {
                self.first.store(number, Ordering::Relaxed);
                warnings.push(format!("the API wants no request before {until}: {symbol} is the next poll's first"));
                break;
            }
            let now = api.now();
            let oldest = now.minus(BACK).plus(self.interval.span);
            let noted = match cursor.bars.get(symbol) {
                Some(after) => *after,
                // The bar under way is the first one.
                None if self.skip_existing => now.minus(self.interval.span),
                None => now.minus(FIRST),
            };
            let after = noted.max(oldest);
            match self.bars(api, symbol, after).await {
                Ok(Found { bars, unreadable }) => {
                    worked += 1;
                    if noted < oldest {
                        gaps.push(format!("{symbol}: bars from {noted} to {oldest} are no longer there"));
                    }
                    if unreadable > 0 {
                        warnings.push(format!("{symbol}: {unreadable} bars are not as documented and were left out"));
                    }
                    let last = bars.iter().map(|(at, _)| *at).max().unwrap_or(after);
                    // A symbol that is not traded for a week has no gap; bars that come late do so within a day.
                    cursor.bars.insert(symbol.clone(), last.max(after).max(now.minus(LATEST)));
                    found.extend(bars);
                }
                Err(error) => {
                    warnings.push(format!("{symbol}: {error}"));
                    // One that is no longer listed must not cost the others.
                    let goes_on = is_of_one(&error);
                    if !goes_on {
                        self.first.store(next_first(&error, number, count), Ordering::Relaxed);
                    }
                    failure = Some(error);
                    if !goes_on {
                        break;
                    }
                }
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
