//! Messages of customers over many channels: products whose mood wanders, and incidents that anger those who have one.
//!
//! A message is one JSON object: `id, created_at` (RFC 3339, milliseconds), `text, city, product, channel, platform,
//! author, language` (ISO 639-1). `channel` is why somebody writes (social, review, support, chat, survey), `platform`
//! is where.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use tideline_common::time::{Span, Timestamp};

use super::mix::{Dimension, Mix};
use super::phrases::{self, Emotion};
use super::{Generated, break_record, pick, popular};

/// The topic.
pub(super) const RAW: &str = "sentiment.raw";

/// What can be mixed.
pub(super) const DIMENSIONS: &[Dimension] = &[
    Dimension { name: "sentiment", choices: &[("positive", 38), ("neutral", 34), ("negative", 28)] },
    Dimension {
        name: "platform",
        choices: &[
            ("twitter", 30),
            ("reddit", 12),
            ("instagram", 14),
            ("app_store", 9),
            ("play_store", 10),
            ("web", 13),
            ("email", 8),
            ("phone", 4),
        ],
    },
    Dimension {
        name: "product",
        choices: &[
            ("Aurora Phone", 22),
            ("Aurora Watch", 12),
            ("Pulse Earbuds", 14),
            ("Nimbus Cloud", 16),
            ("Nimbus Mail", 10),
            ("Harbor Pay", 14),
            ("Trail Router", 12),
        ],
    },
    Dimension {
        name: "city",
        choices: &[
            ("New York", 12),
            ("Los Angeles", 8),
            ("Chicago", 6),
            ("Toronto", 5),
            ("Mexico City", 5),
            ("São Paulo", 6),
            ("Buenos Aires", 3),
            ("London", 10),
            ("Manchester", 3),
            ("Dublin", 2),
            ("Paris", 5),
            ("Lyon", 2),
            ("Madrid", 4),
            ("Barcelona", 3),
            ("Berlin", 5),
            ("Munich", 3),
            ("Amsterdam", 3),
            ("Rome", 3),
            ("Warsaw", 2),
            ("Istanbul", 3),
            ("Dubai", 2),
            ("Mumbai", 5),
            ("Bengaluru", 4),
            ("Singapore", 3),
            ("Tokyo", 4),
            ("Sydney", 4),
        ],
    },
];

/// Language of so many in ten messages of a city; the others, and those of other cities, are in English.
const LOCAL: [(&str, &str, u32); 11] = [
    ("Mexico City", "es", 7),
    ("Buenos Aires", "es", 7),
    ("Madrid", "es", 6),
    ("Barcelona", "es", 5),
    ("São Paulo", "pt", 7),
    ("Paris", "fr", 6),
    ("Lyon", "fr", 7),
    ("Berlin", "de", 4),
    ("Munich", "de", 6),
    ("Amsterdam", "de", 1),
    ("Dublin", "fr", 1),
];

/// Where people write → why they do.
const CHANNELS: [(&str, &[(&str, u32)]); 8] = [
    ("twitter", &[("social", 80), ("support", 20)]),
    ("reddit", &[("social", 90), ("review", 10)]),
    ("instagram", &[("social", 92), ("support", 8)]),
    ("app_store", &[("review", 100)]),
    ("play_store", &[("review", 100)]),
    ("web", &[("chat", 50), ("survey", 30), ("review", 20)]),
    ("email", &[("support", 80), ("survey", 20)]),
    ("phone", &[("support", 100)]),
];

const AUTHORS: usize = 40_000;
/// One message in so many is the first of an incident.
const INCIDENT_EVERY: u32 = 5_000;
/// So much more often do people have bad news while an incident lasts.
const INCIDENT_ANGER: f64 = 6.0;
/// Share of angry, disgusted or sad people who say that they leave.
const LEAVING: f64 = 0.3;

/// A product that fails for a while.
struct Incident {
    product: &'static str,
    messages_left: u32,
}

/// The customers.
pub(super) struct Customers {
    mix: Mix,
    /// Mood per product, −0.6 to 0.6, in the order of the mix.
    moods: Vec<f64>,
    incident: Option<Incident>,
    /// Tells the ids of two streams apart.
    stream: u32,
    messages: u64,
}

impl Customers {
    pub(super) fn new(rng: &mut ChaCha8Rng, start: Timestamp, mix: &Mix) -> Self {
        let moods = mix.choices("product").iter().map(|_| rng.random_range(-0.4..0.4)).collect();
        let stream = rng.random::<u32>() ^ (start.micros() / 1_000) as u32;
        Self { mix: mix.clone(), moods, incident: None, stream, messages: 0 }
    }

    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        self.messages += 1;
        let incident = self.incident(rng);
        let product = match incident {
            // Half of those who write while something fails write about that.
            Some(product) if rng.random_bool(0.5) => product,
            _ => *pick(rng, self.mix.choices("product")),
        };
        let city = *pick(rng, self.mix.choices("city"));
        let platform = *pick(rng, self.mix.choices("platform"));
        let channel =
            CHANNELS.iter().find(|(known, _)| *known == platform).map_or("social", |(_, why)| *pick(rng, why));
        let sentiment = self.sentiment(rng, product, incident == Some(product));
        let language = match LOCAL.iter().find(|(local, ..)| *local == city) {
            Some((_, language, in_ten)) if rng.random_ratio(*in_ten, 10) => *language,
            _ => "en",
        };
        let text = match language {
            "en" => english(rng, sentiment, product, platform, city),
            _ => phrases::foreign(rng, language, sentiment, product),
        };
        let payload = json!({
            "id": format!("{:08x}-{:09}", self.stream, self.messages),
            "created_at": time.floor(Span::from_millis(1)).to_string(),
            "text": text,
            "city": city,
            "product": product,
            "channel": channel,
            "platform": platform,
            "author": format!("user{:05}", popular(rng, AUTHORS)),
            "language": language,
        });
        Generated { topic: RAW, payload: payload.to_string() }
    }

    /// The product that fails now, if one does.
    fn incident(&mut self, rng: &mut ChaCha8Rng) -> Option<&'static str> {
        match &mut self.incident {
            Some(incident) if incident.messages_left > 0 => incident.messages_left -= 1,
            Some(_) => self.incident = None,
            None if rng.random_ratio(1, INCIDENT_EVERY) => {
                let product = *pick(rng, self.mix.choices("product"));
                self.incident = Some(Incident { product, messages_left: rng.random_range(200..800) });
            }
            None => {}
        }
        self.incident.as_ref().map(|incident| incident.product)
    }

    fn sentiment(&mut self, rng: &mut ChaCha8Rng, product: &str, failing: bool) -> &'static str {
        let at = self.mix.choices("product").iter().position(|(known, _)| *known == product).unwrap_or(0);
        let mut mood = 0.0;
        if let Some(of_product) = self.moods.get_mut(at) {
            // Goes back to nothing by itself, and is pushed about.
            *of_product = (*of_product * 0.999 + rng.random_range(-0.02..0.02)).clamp(-0.6, 0.6);
            mood = *of_product;
        }
        let weighted: Vec<(&'static str, u32)> = self
            .mix
            .choices("sentiment")
            .iter()
            .map(|(sentiment, weight)| {
                let factor = match *sentiment {
                    "positive" => 1.0 + mood,
                    "negative" if failing => INCIDENT_ANGER,
                    "negative" => 1.0 - mood,
                    _ => 1.0,
                };
                (*sentiment, (f64::from(*weight) * factor * 100.0) as u32)
            })
            .collect();
        let picked: &&'static str = pick(rng, &weighted);
        picked
    }
}

fn english(rng: &mut ChaCha8Rng, sentiment: &str, product: &str, platform: &str, city: &str) -> String {
    let emotion = match sentiment {
        "positive" => *pick(rng, &[(Emotion::Joy, 80), (Emotion::Surprise, 20)]),
        "negative" => {
            *pick(rng, &[(Emotion::Anger, 45), (Emotion::Sadness, 25), (Emotion::Disgust, 15), (Emotion::Fear, 15)])
        }
        _ => Emotion::Neutral,
    };
    let mut text = phrases::english(rng, emotion, product, city);
    let upset = matches!(emotion, Emotion::Anger | Emotion::Disgust | Emotion::Sadness);
    if upset && rng.random_bool(LEAVING) {
        text = format!("{text} {}", phrases::leaving(rng));
    }
    if emotion == Emotion::Anger && rng.random_bool(0.12) {
        text = format!("{text} {}", phrases::insult(rng));
    }
    phrases::as_on(rng, platform, product, emotion, text)
}

/// A record that cannot be read, or that no check lets pass: which fields are there, and what they hold, is wrong.
pub(super) fn spoil(rng: &mut ChaCha8Rng, payload: &str) -> String {
    let Ok(Json::Object(mut message)) = serde_json::from_str(payload) else { return break_record(rng, payload) };
    match rng.random_range(0..6) {
        0 => {
            message.insert("text".to_owned(), json!(""));
        }
        1 => {
            message.insert("text".to_owned(), json!("   "));
        }
        2 => {
            message.remove("created_at");
        }
        3 => {
            message.insert("created_at".to_owned(), json!("yesterday"));
        }
        _ => return break_record(rng, payload),
    }
    Json::Object(message).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::{Settings, System, records, records_of};
    use super::*;

    const N: usize = 20_000;

    fn messages(settings: Settings, changes: &[&str]) -> Vec<Json> {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        let mix = Mix::of(System::CustomerSentiment, &changes).unwrap();
        let parsed = |record: Generated| serde_json::from_str(&record.payload).unwrap();
        records_of(System::CustomerSentiment, settings, &mix).take(N).map(parsed).collect()
    }

    fn counts(messages: &[Json], field: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for message in messages {
            *counts.entry(message[field].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn every_message_has_all_fields_and_an_id_of_its_own() {
        let messages = messages(Settings::default(), &[]);
        let fields = ["id", "created_at", "text", "city", "product", "channel", "platform", "author", "language"];
        let mut ids = BTreeSet::new();
        for message in &messages {
            let found: Vec<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(found, fields);
            let text = message["text"].as_str().unwrap();
            assert!(!text.contains('{') && !text.contains('}') && text.chars().count() <= 500, "{text}");
            assert!(text.trim() == text && text.len() >= 8, "{text}");
            Timestamp::parse(message["created_at"].as_str().unwrap()).unwrap();
            assert!(ids.insert(message["id"].as_str().unwrap()));
        }
        // Another stream has other ids, or its messages were taken for duplicates.
        let other = records(System::CustomerSentiment, Settings { seed: 2, ..Settings::default() });
        let later = Settings { start: Timestamp::from_millis(60_000), ..Settings::default() };
        for record in other.take(100).chain(records(System::CustomerSentiment, later).take(100)) {
            let message: Json = serde_json::from_str(&record.payload).unwrap();
            assert!(!ids.contains(message["id"].as_str().unwrap()));
        }
    }

    #[test]
    fn shares_are_those_of_the_mix() {
        let messages = messages(Settings::default(), &[]);
        for dimension in DIMENSIONS.iter().filter(|dimension| dimension.name != "sentiment") {
            let found = counts(&messages, dimension.name);
            let total: u32 = dimension.choices.iter().map(|(_, weight)| weight).sum();
            for (choice, weight) in dimension.choices {
                let expected = f64::from(*weight) / f64::from(total);
                let share = *found.get(*choice).unwrap() as f64 / N as f64;
                // Incidents draw messages to one product.
                let tolerance = if dimension.name == "product" { 0.06 } else { 0.012 };
                assert!((share - expected).abs() < tolerance, "{choice}: {share} instead of {expected}");
            }
        }
        let languages = counts(&messages, "language");
        assert!(languages["en"] > N * 7 / 10 && languages["en"] < N * 9 / 10, "{languages:?}");
        assert_eq!(languages.keys().collect::<Vec<_>>(), ["de", "en", "es", "fr", "pt"]);
        assert_eq!(counts(&messages, "channel").len(), 5);
        // Few write much, many write little.
        let authors = counts(&messages, "author");
        assert!(authors.len() > 3_000 && authors.values().max().unwrap() > &200, "{}", authors.len());
        // What is said repeats itself seldom.
        let texts = counts(&messages, "text").len();
        assert!(texts > N * 6 / 10, "{texts} distinct texts");
    }

    #[test]
    fn a_changed_mix_changes_what_is_said() {
        let happy =
            messages(Settings::default(), &["sentiment.*=0", "sentiment.positive=1", "city.*=0", "city.Tokyo=1"]);
        let angry =
            messages(Settings::default(), &["sentiment.*=0", "sentiment.negative=1", "city.*=0", "city.Tokyo=1"]);
        assert_eq!(counts(&happy, "city").len(), 1);
        let says = |messages: &[Json], words: &[&str]| {
            let says = |message: &&Json| words.iter().any(|word| message["text"].as_str().unwrap().contains(word));
            messages.iter().filter(says).count()
        };
        let (love, leave) = (["love", "Love", "LOVE", "great", "best"], ["ancel my", "ancelling my", "witching to a"]);
        assert!(says(&happy, &love) > 5 * says(&angry, &love), "{} {}", says(&happy, &love), says(&angry, &love));
        assert!(says(&angry, &leave) > 1_200 && says(&happy, &leave) == 0);
    }

    #[test]
    fn broken_messages_are_broken_in_every_way() {
        let settings = Settings { broken: 1.0, ..Settings::default() };
        let (mut unreadable, mut without_text, mut without_time) = (0, 0, 0);
        for record in records(System::CustomerSentiment, settings).take(3_000) {
            match serde_json::from_str::<Json>(&record.payload) {
                Err(_) => unreadable += 1,
                Ok(message) if message["text"].as_str().unwrap().trim().is_empty() => without_text += 1,
                Ok(message) => {
                    let at = message["created_at"].as_str().unwrap_or_default();
                    assert!(Timestamp::parse(at).is_err(), "{message}");
                    without_time += 1;
                }
            }
        }
        for count in [unreadable, without_text, without_time] {
            assert!((850..1_150).contains(&count), "{unreadable} {without_text} {without_time}");
        }
    }
}
