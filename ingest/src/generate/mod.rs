//! Synthetic streams of the systems: seeded, so that one seed, start and rate always give the same records.

mod customer_sentiment;
mod mix;
mod movie_viewing;
mod phrases;
mod stock_sentiment;
mod trendscope;

pub use mix::{Dimension, Mix, MixError};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tideline_common::time::{Span, Timestamp};

/// A system with a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Tweets and prices.
    StockSentiment,
    /// Viewing events.
    MovieViewing,
    /// Movies that trend, and comments about them.
    Trendscope,
    /// Messages of customers.
    CustomerSentiment,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::StockSentiment, Self::MovieViewing, Self::Trendscope, Self::CustomerSentiment];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StockSentiment => "stock-sentiment",
            Self::MovieViewing => "movie-viewing",
            Self::Trendscope => "trendscope",
            Self::CustomerSentiment => "customer-sentiment",
        }
    }

    /// Topics that its records go to, the main one first.
    pub const fn topics(self) -> &'static [&'static str] {
        match self {
            Self::StockSentiment => &[stock_sentiment::TWEETS, stock_sentiment::PRICES],
            Self::MovieViewing => &[movie_viewing::EVENTS],
            Self::Trendscope => &[trendscope::COMMENTS, trendscope::MOVIES],
            Self::CustomerSentiment => &[customer_sentiment::RAW],
        }
    }

    /// What of its mix can be changed.
    pub const fn dimensions(self) -> &'static [Dimension] {
        match self {
            Self::StockSentiment | Self::MovieViewing => &[],
            Self::Trendscope => trendscope::DIMENSIONS,
            Self::CustomerSentiment => customer_sentiment::DIMENSIONS,
        }
    }

    /// The mix when nothing else is asked for.
    fn mix(self) -> Mix {
        // No change, no error.
        Mix::of(self, &[]).unwrap_or_default()
    }
}

impl std::str::FromStr for System {
    type Err = UnknownSystem;

    fn from_str(text: &str) -> Result<Self, UnknownSystem> {
        Self::ALL.into_iter().find(|system| system.name() == text).ok_or_else(|| UnknownSystem(text.to_owned()))
    }
}

/// A system without a generator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no system `{0}`: there are stock-sentiment, movie-viewing, trendscope and customer-sentiment")]
pub struct UnknownSystem(String);

/// Event time between two records when nothing else is asked for: 100 ms in µs.
pub const STEP: f64 = 100_000.0;

/// What to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Seed of all randomness.
    pub seed: u64,
    /// Event time of the first record.
    pub start: Timestamp,
    /// Event time between two records on average, in µs: that of a rate need not be a whole number.
    pub step: f64,
    /// Share of records (0 to 1) whose event time lies up to a few minutes back.
    pub late: f64,
    /// Share of records that are sent twice.
    pub duplicates: f64,
    /// Share of records that cannot be read (of customer-sentiment also: that no check lets pass).
    pub broken: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, start: Timestamp(0), step: STEP, late: 0.0, duplicates: 0.0, broken: 0.0 }
    }
}

/// A record and the topic it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Topic.
    pub topic: &'static str,
    /// One line of JSON (or, by the share asked for, of something broken).
    pub payload: String,
}

/// The records of `system`, without end.
pub fn records(system: System, settings: Settings) -> Records {
    records_of(system, settings, &system.mix())
}

/// The records of `system` in a mix of one's own, without end. `mix` must be of the same system.
pub fn records_of(system: System, settings: Settings, mix: &Mix) -> Records {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let stream = match system {
        System::StockSentiment => Stream::Stock(Box::new(stock_sentiment::Market::new(&mut rng))),
        System::MovieViewing => Stream::Movies(Box::new(movie_viewing::Audience::new())),
        System::Trendscope => Stream::Trends(Box::new(trendscope::Cinema::new(&mut rng, &settings, mix))),
        System::CustomerSentiment => {
            Stream::Customers(Box::new(customer_sentiment::Customers::new(&mut rng, settings.start, mix)))
        }
    };
    Records { settings, rng, stream, now: settings.start, rest: 0.0, again: None }
}

/// Event time that `count` records of a stream take up: about that of so many steps or, where only those of one topic
/// count, that of all records until so many of it have come.
pub fn duration(system: System, settings: Settings, mix: &Mix, topic: Option<&str>, count: u64) -> Span {
    let Some(topic) = topic else { return Span((settings.step * count as f64) as i64) };
    let mut records = records_of(system, settings, mix);
    let mut left = count;
    while left > 0
        && let Some(record) = records.next()
    {
        left -= u64::from(record.topic == topic);
    }
    records.now.since(settings.start)
}

/// Records without end, made one by one.
pub struct Records {
    settings: Settings,
    rng: ChaCha8Rng,
    stream: Stream,
    now: Timestamp,
    /// Part of a microsecond that `now` lacks.
    rest: f64,
    again: Option<Generated>,
}

/// Steps from which gaps are cut to whole microseconds. A stream runs 5 in a million slow by that at most, and one seed gives
/// the records that it always gave.
const CUT: f64 = STEP;

impl Records {
    /// Gaps between events are exponential, as those of independent senders are.
    fn advance(&mut self) {
        let gap = -(1.0 - self.rng.random::<f64>()).ln() * self.settings.step + self.rest;
        let whole = gap as i64;
        if self.settings.step < CUT {
            self.rest = gap - whole as f64;
        }
        self.now = self.now.plus(Span(whole));
    }
}

impl Iterator for Records {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        if let Some(record) = self.again.take() {
            return Some(record);
        }
        self.advance();
        let Self { settings, rng, stream, now, again, .. } = self;
        let time =
            if rng.random_bool(settings.late) { now.minus(Span::from_secs(rng.random_range(1..=900))) } else { *now };
        let mut record = match stream {
            Stream::Stock(market) => market.next(rng, time),
            Stream::Movies(audience) => audience.next(rng, time),
            Stream::Trends(cinema) => cinema.next(rng, time),
            Stream::Customers(customers) => customers.next(rng, time),
        };
        if rng.random_bool(settings.broken) {
            record.payload = match stream {
                Stream::Customers(_) => customer_sentiment::spoil(rng, &record.payload),
                _ => break_record(rng, &record.payload),
            };
        }
        if rng.random_bool(settings.duplicates) {
            *again = Some(record.clone());
        }
        Some(record)
    }
}

enum Stream {
    Stock(Box<stock_sentiment::Market>),
    Movies(Box<movie_viewing::Audience>),
    Trends(Box<trendscope::Cinema>),
    Customers(Box<customer_sentiment::Customers>),
}

fn break_record(rng: &mut ChaCha8Rng, payload: &str) -> String {
    match rng.random_range(0..3) {
        0 => payload.chars().take(payload.chars().count() / 2).collect(),
        1 => payload.replacen('{', "{\"broken\": tru, ", 1),
        _ => "not a record at all".to_owned(),
    }
}

/// Picks by weight; the first when all weights are zero.
fn pick<'a, T>(rng: &mut ChaCha8Rng, choices: &'a [(T, u32)]) -> &'a T {
    let total: u32 = choices.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.random_range(0..total.max(1));
    for (choice, weight) in choices {
        if at < *weight {
            return choice;
        }
        at -= weight;
    }
    &choices[0].0
}

/// An index below `n` by a Zipf-like law: low indexes are popular.
fn popular(rng: &mut ChaCha8Rng, n: usize) -> usize {
    let x: f64 = rng.random();
    ((n as f64).powf(x) - 1.0).min(n as f64 - 1.0) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn take(system: System, settings: Settings, n: usize) -> Vec<Generated> {
        records(system, settings).take(n).collect()
    }

    #[test]
    fn one_seed_gives_one_stream() {
        for system in System::ALL {
            let settings = Settings { seed: 7, ..Settings::default() };
            assert_eq!(take(system, settings, 500), take(system, settings, 500));
            assert_ne!(take(system, settings, 500), take(system, Settings { seed: 8, ..settings }, 500));
            assert_eq!(system.name().parse::<System>().unwrap(), system);
        }
    }

    #[test]
    fn records_are_json_of_the_topics() {
        for system in System::ALL {
            let mut topics = BTreeSet::new();
            for record in take(system, Settings::default(), 2_000) {
                let value: serde_json::Value = serde_json::from_str(&record.payload).unwrap();
                assert!(value.is_object());
                assert!(!record.payload.contains('\n'));
                topics.insert(record.topic);
            }
            assert_eq!(topics, system.topics().iter().copied().collect());
        }
    }

    #[test]
    fn shares_are_kept() {
        let settings = Settings { broken: 0.1, duplicates: 0.2, ..Settings::default() };
        let records = take(System::MovieViewing, settings, 10_000);
        let broken = records.iter().filter(|r| serde_json::from_str::<serde_json::Value>(&r.payload).is_err()).count();
        assert!((800..1_200).contains(&broken), "{broken}");
        let distinct: BTreeSet<&str> = records.iter().map(|r| r.payload.as_str()).collect();
        assert!(distinct.len() < 9_000, "{}", distinct.len());
    }

    /// Event time of a record of any system.
    fn event_time(record: &Generated) -> Timestamp {
        let value: serde_json::Value = serde_json::from_str(&record.payload).unwrap();
        let fields = ["timestamp", "created_at", "trade_timestamp"];
        Timestamp::parse(fields.into_iter().find_map(|field| value[field].as_str()).unwrap()).unwrap()
    }

    #[test]
    fn every_system_has_late_and_repeated_records_by_their_shares() {
        for system in System::ALL {
            let n = 20_000;
            let late = take(system, Settings { late: 0.05, step: STEP / 10.0, ..Settings::default() }, n);
            // Behind what came before by more than the few seconds that rounding and a page of movies explain.
            let (mut highest, mut behind) = (Timestamp::MIN, 0);
            for record in &late {
                let time = event_time(record);
                behind += usize::from(highest.since(time) > Span::from_secs(10));
                highest = highest.max(time);
            }
            // Some of the 5 % are late by less than that.
            assert!((900..1_050).contains(&behind), "{}: {behind}", system.name());
            let twice = take(system, Settings { duplicates: 0.1, ..Settings::default() }, n);
            let repeated = twice.windows(2).filter(|pair| pair[0] == pair[1]).count();
            // So many in ten of those that are not repeats themselves.
            assert!((1_700..1_950).contains(&repeated), "{}: {repeated}", system.name());
        }
    }

    /// Event time of so many records of this step, in seconds.
    fn seconds(step: f64, n: usize) -> f64 {
        let mut records = records(System::MovieViewing, Settings { step, ..Settings::default() });
        records.by_ref().take(n).for_each(drop);
        records.now.micros() as f64 / 1e6
    }

    #[test]
    fn no_rate_is_too_high_to_be_kept() {
        let n = 100_000;
        for rate in [10.0, 12_000.0, 1e6, 3e6] {
            // Gaps are as long as they are on average: so many of them differ from that by a third of a percent.
            let kept = seconds(1e6 / rate, n) * rate / n as f64;
            assert!((0.985..1.015).contains(&kept), "{rate}/s: {kept}");
        }
        // Nothing drifts: what is cut off a gap is added to the next one.
        let (short, long) = (seconds(100.5, n), seconds(201.0, n));
        assert!((2.0 * short - long).abs() < 5e-6, "{short} {long}");
    }

    #[test]
    fn one_seed_gives_the_records_that_it_always_gave() {
        // As tests/golden/make.py made them; behind these lines are some that were written by hand.
        let golden = include_str!("../../../tests/golden/movie-viewing/input/movie-viewing-events.ndjson");
        let start = Timestamp::parse("2024-05-06T19:58:00Z").unwrap();
        let settings =
            Settings { seed: 12, start, step: 400_000.0, duplicates: 0.05, broken: 0.03, ..Settings::default() };
        let made = take(System::MovieViewing, settings, 400);
        assert!(golden.lines().take(400).eq(made.iter().map(|record| record.payload.as_str())));
    }

    #[test]
    fn it_is_known_how_long_records_take() {
        let settings = Settings::default();
        let mix = System::StockSentiment.mix();
        let of = |topic, count| duration(System::StockSentiment, settings, &mix, topic, count).micros() as f64 / 1e6;
        assert!((of(None, 20_000) - 2_000.0).abs() < 1e-3);
        // One record in five is a price.
        assert!((900.0..1_100.0).contains(&of(Some(stock_sentiment::PRICES), 2_000)));
        assert!((1_150.0..1_350.0).contains(&of(Some(stock_sentiment::TWEETS), 10_000)));
    }
}
