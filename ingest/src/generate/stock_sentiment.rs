//! Tweets about symbols, and their prices: a random walk whose drift colours what is said.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tideline_common::time::{Span, Timestamp};

use super::{Generated, pick, popular};

/// Topic of the tweets.
pub(super) const TWEETS: &str = "tweets";
/// Topic of the prices.
pub(super) const PRICES: &str = "stock-prices";

const SYMBOLS: [(&str, f64); 16] = [
    ("AAPL", 190.0),
    ("TSLA", 240.0),
    ("AMZN", 180.0),
    ("GOOG", 170.0),
    ("MSFT", 420.0),
    ("NVDA", 120.0),
    ("META", 500.0),
    ("NFLX", 640.0),
    ("AMD", 160.0),
    ("INTC", 30.0),
    ("BAC", 40.0),
    ("JPM", 200.0),
    ("GE", 160.0),
    ("F", 12.0),
    ("T", 18.0),
    ("XOM", 115.0),
];
const GOOD: [&str; 10] = [
    "{s} looks great today, love this stock!",
    "Very bullish on {s}, strong earnings :)",
    "{s} breaking out, huge win for the bulls 🚀",
    "Best quarter ever for {s}. Amazing results!",
    "I trust {s}, solid growth and a good team",
    "Buying more {s}, this is a beautiful chart",
    "{s} up again, congratulations to all holders!",
    "Happy with {s} and {t}, nice gains",
    "Upgrade for {s}: analysts are optimistic",
    "{s} beats expectations, excellent guidance",
];
const BAD: [&str; 10] = [
    "{s} is crashing, terrible news :(",
    "Awful guidance from {s}, very disappointed",
    "Selling all my {s}, this is a disaster",
    "{s} misses badly, what a horrible quarter",
    "Worried about {s}, the risk is too high",
    "{s} down again, I hate this stock",
    "Lawsuit against {s}, shares fall sharply",
    "No good reason to hold {s} or {t}",
    "{s} and {t} both failed their support, ugly",
    "Downgrade for {s}: weak demand, losses ahead",
];
const PLAIN: [&str; 8] = [
    "{s} opens at ${p}",
    "Watching {s} and {t} this week",
    "{s} options activity http://t.co/abc123",
    "What do you think about {s}?",
    "{s} reports on Thursday",
    "RT @trader: {s} {t} levels for today",
    "Market wrap: {s}, {t}",
    "Today in the market: nothing new",
];
/// A price comes for one symbol in so many tweets.
const TWEETS_PER_PRICE: u32 = 4;

/// Prices and moods.
pub(super) struct Market {
    prices: Vec<f64>,
    drift: Vec<f64>,
    next_price: usize,
}

impl Market {
    pub(super) fn new(rng: &mut ChaCha8Rng) -> Self {
        Self {
            prices: SYMBOLS.iter().map(|(_, price)| *price).collect(),
            drift: SYMBOLS.iter().map(|_| rng.random_range(-1.0..1.0)).collect(),
            next_price: 0,
        }
    }

    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        if rng.random_ratio(1, TWEETS_PER_PRICE + 1) { self.price(rng, time) } else { self.tweet(rng, time) }
    }

    fn price(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        let at = self.next_price;
        self.next_price = (at + 1) % SYMBOLS.len();
        self.drift[at] = (self.drift[at] * 0.95 + rng.random_range(-0.3..0.3)).clamp(-1.0, 1.0);
        let open = self.prices[at];
        let close = (open * (1.0 + 0.004 * self.drift[at] + rng.random_range(-0.002..0.002))).max(0.01);
        self.prices[at] = close;
        let payload = json!({
            "symbol": SYMBOLS[at].0,
            "trade_timestamp": plain(time),
            "open_price": cents(open),
            "close_price": cents(close),
            "volume": rng.random_range(1_000..2_000_000),
        });
        Generated { topic: PRICES, payload: payload.to_string() }
    }

    fn tweet(&self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        let at = popular(rng, SYMBOLS.len());
        let other = (at + rng.random_range(1..SYMBOLS.len())) % SYMBOLS.len();
        let mood = self.drift[at];
        let weight = |x: f64| (x.max(0.0) * 100.0) as u32;
        let moods: [(&[&str], u32); 3] = [(&GOOD, 25 + weight(mood)), (&BAD, 20 + weight(-mood)), (&PLAIN, 40)];
        let texts = *pick(rng, &moods);
        let text = texts[rng.random_range(0..texts.len())]
            .replace("{s}", &format!("${}", SYMBOLS[at].0))
            .replace("{t}", &format!("${}", SYMBOLS[other].0))
            .replace("{p}", &cents(self.prices[at]).to_string());
        let payload = json!({
            "created_at": plain(time),
            "text": text,
            "user_id": format!("{}", 1_000_000 + popular(rng, 50_000)),
        });
        Generated { topic: TWEETS, payload: payload.to_string() }
    }
}

fn cents(price: f64) -> f64 {
    (price * 100.0).round() / 100.0
}

/// `YYYY-MM-DD HH:MM:SS`, whole seconds.
fn plain(time: Timestamp) -> String {
    time.floor(Span::SECOND).to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}
