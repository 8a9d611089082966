//! Movies that trend, as polled from TMDB every five minutes of event time, and what is said about them on r/movies.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tideline_common::time::{Span, Timestamp};

use super::mix::{Dimension, Mix};
use super::{Generated, Settings, pick};

/// Topic of the movies.
pub(super) const MOVIES: &str = "tmdb_stream";
/// Topic of the comments.
pub(super) const COMMENTS: &str = "reddit_stream";

/// What can be mixed.
pub(super) const DIMENSIONS: &[Dimension] = &[
    // How many titles a comment names.
    Dimension { name: "mentions", choices: &[("none", 15), ("one", 70), ("two", 15)] },
    Dimension { name: "opinion", choices: &[("positive", 45), ("neutral", 35), ("negative", 20)] },
    // Whether a comment carries `movie_mentions`, as the connector's do (docs/adr/0013), or has them in its text only.
    Dimension { name: "mentioned", choices: &[("in_record", 100), ("in_text", 0)] },
];

/// Title, TMDB's number of it, votes on average. Some titles begin as others do, or are another's part.
const CATALOGUE: [(&str, u32, f64); 40] = [
    ("Dune", 438_631, 7.8),
    ("Dune: Part Two", 693_134, 8.2),
    ("Alien", 348, 8.2),
    ("Aliens", 679, 7.9),
    ("Alien: Romulus", 945_961, 7.2),
    ("Oppenheimer", 872_585, 8.1),
    ("Barbie", 346_698, 7.0),
    ("The Batman", 414_906, 7.7),
    ("Inception", 27_205, 8.4),
    ("Interstellar", 157_336, 8.5),
    ("Heat", 949, 7.9),
    ("Se7en", 807, 8.4),
    ("Gladiator", 98, 8.2),
    ("Gladiator II", 558_449, 6.7),
    ("Blade Runner", 78, 7.9),
    ("Blade Runner 2049", 335_984, 7.6),
    ("Mad Max: Fury Road", 76_341, 7.6),
    ("Furiosa: A Mad Max Saga", 786_892, 7.5),
    ("Poor Things", 792_307, 7.7),
    ("The Holdovers", 840_430, 7.7),
    ("Past Lives", 666_277, 7.7),
    ("Civil War", 929_590, 6.9),
    ("Challengers", 937_287, 7.0),
    ("Inside Out 2", 1_022_789, 7.6),
    ("Deadpool & Wolverine", 533_535, 7.6),
    ("Spider-Man: No Way Home", 634_649, 7.9),
    ("Spider-Man: Across the Spider-Verse", 569_094, 8.3),
    ("Everything Everywhere All at Once", 545_611, 7.8),
    ("Parasite", 496_243, 8.5),
    ("Amélie", 194, 7.9),
    ("Spirited Away", 129, 8.5),
    ("La La Land", 313_369, 7.9),
    ("Whiplash", 244_786, 8.4),
    ("Joker", 475_557, 8.1),
    ("Wicked", 402_431, 7.2),
    ("Nosferatu", 426_063, 6.7),
    ("Conclave", 974_576, 7.2),
    ("The Substance", 933_260, 7.1),
    ("Anora", 1_064_213, 7.1),
    ("Flow", 823_219, 8.3),
];

/// A page of TMDB.
const PAGE: usize = 20;
/// Event time between two polls.
const POLL: Span = Span::from_secs(300);

const GOOD: [&str; 14] = [
    "{m} was absolutely brilliant, I loved every minute",
    "Just watched {m} again. What a masterpiece!",
    "The acting in {m} is superb and the score is beautiful",
    "{m} is the best movie I have seen this year",
    "Saw {m} in IMAX, stunning. Go see it",
    "I laughed, I cried, {m} is wonderful",
    "Unpopular opinion: {m} is better than {o}",
    "The ending of {m} gave me chills, so good",
    "Took my kids to {m}, they were thrilled",
    "{m} deserves all the awards",
    "Finally got around to {m}. Great movie, great cast",
    "That one scene in {m}... perfect",
    "{m} and {o} would make an amazing double feature",
    "Can't stop thinking about {m}, incredible film",
];
const BAD: [&str; 12] = [
    "{m} was a huge disappointment, boring and far too long",
    "I hated {m}, the plot makes no sense",
    "Walked out of {m} after an hour. Terrible",
    "{m} is so overrated, weak script and awful dialogue",
    "What a waste of a good cast, {m} is bad",
    "Nothing in {m} works, I am angry I paid for it",
    "{m} is a poor copy of {o}",
    "The CGI in {m} is horrible",
    "Fell asleep during {m}, dull as hell",
    "{m} ruined the book for me",
    "Compared with {o}, {m} is a mess",
    "Skip {m}, it is a failure",
];
const PLAIN: [&str; 14] = [
    "Is {m} still in theaters?",
    "Where can I stream {m}?",
    "Watching {m} tonight",
    "Who directed {m}?",
    "{m} or {o} for the weekend?",
    "How long is {m}?",
    "Just bought tickets for {m}",
    "I read that {m} was shot on film",
    "Is {m} based on a book?",
    "What did you all think of {m}?",
    "{m} comes out on Blu-ray next month",
    "Do I need to see {o} before {m}?",
    "The trailer of {m} is online",
    "Official discussion: {m} [SPOILERS]",
];
const NO_TITLE: [&str; 10] = [
    "Ticket prices are out of control",
    "What is your favorite movie snack?",
    "Anyone else miss video stores?",
    "This sub is great, thanks for the recommendations",
    "I can't stand people who use their phones at the cinema",
    "Happy cake day!",
    "Source?",
    "[deleted]",
    "Old movies had a charm that new ones lack",
    "Who is your favorite director and why?",
];

/// Number of the first comment: Reddit's have seven digits in base 36.
const FIRST_COMMENT: u64 = 10_000_000_000;
/// Numbers of one stream.
const STREAM: u64 = 1_000_000;

/// A movie and how it does.
struct Movie {
    title: &'static str,
    id: u32,
    vote_average: f64,
    vote_count: u32,
    /// What draws people, from 1 on; falls by itself, and jumps now and then.
    interest: f64,
}

/// Movies and their audience.
pub(super) struct Cinema {
    mix: Mix,
    movies: Vec<Movie>,
    next_poll: Timestamp,
    polled_at: Timestamp,
    /// Movies of the last poll that are still to be told.
    page: VecDeque<usize>,
    /// A page would be most of what comes until the next one: then every other record is a comment.
    sparse: bool,
    movie_was_last: bool,
    /// Tells the ids of two streams apart.
    stream: u64,
    comments: u64,
}

impl Cinema {
    pub(super) fn new(rng: &mut ChaCha8Rng, settings: &Settings, mix: &Mix) -> Self {
        let start = settings.start;
        let movies = CATALOGUE
            .iter()
            .map(|(title, id, vote_average)| Movie {
                title,
                id: *id,
                vote_average: *vote_average,
                vote_count: rng.random_range(500..30_000),
                // Many draw some, some draw many.
                interest: 1.0 + 12.0 * rng.random::<f64>().powi(3),
            })
            .collect();
        let stream = u64::from(rng.random::<u16>() ^ (start.micros() / 1_000_000) as u16);
        let (mix, page) = (mix.clone(), VecDeque::new());
        let sparse = settings.step * (2 * PAGE) as f64 > POLL.micros() as f64;
        Self {
            mix,
            movies,
            next_poll: start,
            polled_at: start,
            page,
            sparse,
            movie_was_last: false,
            stream,
            comments: 0,
        }
    }

    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        if time >= self.next_poll {
            self.poll(rng, time);
        }
        let comment = self.sparse && self.movie_was_last;
        let told = if comment { None } else { self.page.pop_front() };
        self.movie_was_last = told.is_some();
        match told {
            Some(at) => {
                // A time before that of the poll is what was asked for: a record that is late.
                let at_poll = if time < self.polled_at { time } else { self.polled_at };
                self.movie(rng, at, at_poll)
            }
            None => self.comment(rng, time),
        }
    }

    /// Time goes on for the movies, and the most popular ones are the new page.
    fn poll(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) {
        // After a long silence there is one poll, not one for each that was missed; the next is due as ever.
        self.polled_at = time.floor(Span::SECOND);
        while self.next_poll <= time {
            self.next_poll = self.next_poll.plus(POLL);
        }
        for movie in &mut self.movies {
            movie.interest = 1.0 + (movie.interest - 1.0) * rng.random_range(0.93..1.03);
            movie.vote_count += (movie.interest * rng.random_range(0.0..3.0)) as u32;
            movie.vote_average = (movie.vote_average + rng.random_range(-0.01..0.01)).clamp(1.0, 10.0);
        }
        // A trailer, a premiere, a scandal.
        if rng.random_bool(0.25) {
            let lucky = rng.random_range(0..self.movies.len());
            self.movies[lucky].interest += rng.random_range(4.0..15.0);
        }
        let mut order: Vec<usize> = (0..self.movies.len()).collect();
        order.sort_by(|a, b| self.movies[*b].interest.total_cmp(&self.movies[*a].interest));
        self.page = order.into_iter().take(PAGE).collect();
    }

    fn movie(&self, rng: &mut ChaCha8Rng, at: usize, time: Timestamp) -> Generated {
        let movie = &self.movies[at];
        let popularity = movie.interest * 40.0 * rng.random_range(0.95..1.05);
        let payload = json!({
            "id": movie.id,
            "title": movie.title,
            "popularity": (popularity * 1_000.0).round() / 1_000.0,
            "vote_average": (movie.vote_average * 1_000.0).round() / 1_000.0,
            "vote_count": movie.vote_count,
            "overview": format!("{}: a movie that people talk about.", movie.title),
            "timestamp": time.to_string(),
        });
        Generated { topic: MOVIES, payload: payload.to_string() }
    }

    fn comment(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        self.comments += 1;
        let id = format!("t1_{}", base36(FIRST_COMMENT + self.stream * STREAM + self.comments));
        let (movie, other) = (self.talked_about(rng), self.talked_about(rng));
        let (movie, other) = (&self.movies[movie], &self.movies[other]);
        // A good movie is liked more than the mix says, a bad one less.
        let liked = ((movie.vote_average - 7.5) * 0.3).clamp(-0.5, 0.5);
        let opinions: Vec<(&'static str, u32)> = self
            .mix
            .choices("opinion")
            .iter()
            .map(|(opinion, weight)| {
                let factor = match *opinion {
                    "positive" => 1.0 + liked,
                    "negative" => 1.0 - liked,
                    _ => 1.0,
                };
                (*opinion, (f64::from(*weight) * factor * 100.0) as u32)
            })
            .collect();
        let phrases: &[&str] = match *pick(rng, &opinions) {
            "positive" => &GOOD,
            "negative" => &BAD,
            _ => &PLAIN,
        };
        let mentions = *pick(rng, self.mix.choices("mentions"));
        let phrase = match mentions {
            "none" => NO_TITLE[rng.random_range(0..NO_TITLE.len())],
            _ => with_titles(rng, phrases, mentions == "two"),
        };
        // People write titles as they like; the record spells them as TMDB does.
        let spelt = |rng: &mut ChaCha8Rng, title: &str| {
            if rng.random_bool(0.2) { title.to_lowercase() } else { title.to_owned() }
        };
        let text = phrase.replace("{m}", &spelt(rng, movie.title)).replace("{o}", &spelt(rng, other.title));
        let before = *pick(rng, &[("", 55), ("Honestly, ", 10), ("IMO ", 10), ("> what about it\n\n", 5), ("lol ", 5)]);
        let mut comment = json!({ "id": id, "text": format!("{before}{text}") });
        if *pick(rng, self.mix.choices("mentioned")) == "in_record" {
            let mut titles = Vec::new();
            for (placeholder, title) in [("{m}", movie.title), ("{o}", other.title)] {
                if phrase.contains(placeholder) && !titles.contains(&title) {
                    titles.push(title);
                }
            }
            comment["movie_mentions"] = json!(titles);
        }
        // Most comments have few points, some have many, few are voted down.
        let points = (rng.random::<f64>().powi(6) * 900.0) as i64;
        comment["score"] = json!(if rng.random_bool(0.07) { -points / 20 - 1 } else { points + 1 });
        comment["timestamp"] = json!(time.floor(Span::SECOND).to_string());
        Generated { topic: COMMENTS, payload: comment.to_string() }
    }

    /// A movie, the likelier the more it draws.
    fn talked_about(&self, rng: &mut ChaCha8Rng) -> usize {
        let total: f64 = self.movies.iter().map(|movie| movie.interest).sum();
        let mut at = rng.random::<f64>() * total;
        for (index, movie) in self.movies.iter().enumerate() {
            at -= movie.interest;
            if at <= 0.0 {
                return index;
            }
        }
        self.movies.len() - 1
    }
}

/// A number as Reddit writes it.
fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.extend(char::from_digit((number % 36) as u32, 36));
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// A phrase with one title or with two.
fn with_titles<'a>(rng: &mut ChaCha8Rng, phrases: &[&'a str], two: bool) -> &'a str {
    let fit: Vec<&'a str> = phrases.iter().filter(|phrase| phrase.contains("{o}") == two).copied().collect();
    fit.get(rng.random_range(0..fit.len().max(1))).copied().unwrap_or("{m}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value as Json;

    use super::super::{System, records, records_of};
    use super::*;

    fn take(settings: Settings, n: usize) -> (Vec<Json>, Vec<Json>) {
        let parsed = |record: Generated| (record.topic, serde_json::from_str::<Json>(&record.payload).unwrap());
        let (movies, comments): (Vec<_>, Vec<_>) =
            records(System::Trendscope, settings).take(n).map(parsed).partition(|(topic, _)| *topic == MOVIES);
        let bare = |records: Vec<(&str, Json)>| records.into_iter().map(|(_, record)| record).collect();
        (bare(movies), bare(comments))
    }

    #[test]
    fn a_page_of_movies_comes_every_five_minutes() {
        let start = Timestamp::parse("2026-01-05T12:00:00Z").unwrap();
        let (movies, comments) = take(Settings { start, ..Settings::default() }, 20_000);
        let mut polls: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for movie in &movies {
            let fields: Vec<&str> = movie.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["id", "title", "popularity", "vote_average", "vote_count", "overview", "timestamp"]);
            assert!((20.0..3_000.0).contains(&movie["popularity"].as_f64().unwrap()), "{movie}");
            assert!((1.0..=10.0).contains(&movie["vote_average"].as_f64().unwrap()));
            polls
                .entry(movie["timestamp"].as_str().unwrap().to_owned())
                .or_default()
                .insert(movie["id"].as_u64().unwrap());
        }
        // 20,000 records of 100 ms on average are some 33 minutes.
        assert!((6..=8).contains(&polls.len()), "{:?}", polls.keys());
        assert!(polls.values().all(|page| page.len() == PAGE));
        let times: Vec<Timestamp> = polls.keys().map(|at| Timestamp::parse(at).unwrap()).collect();
        for (index, at) in times.iter().enumerate() {
            let due = start.plus(Span(POLL.micros() * index as i64));
            assert!(*at >= due && at.since(due) <= Span::from_secs(5), "{at} instead of {due}");
        }
        assert_eq!(movies.len() + comments.len(), 20_000);
    }

    #[test]
    fn a_slow_stream_has_comments_too_and_the_movies_that_draw_most() {
        for seconds in [8, 15, 60, 400] {
            let step = f64::from(seconds) * 1e6;
            let (movies, comments) = take(Settings { step, ..Settings::default() }, 2_000);
            assert!(comments.len() >= 990, "{seconds} s: {} comments", comments.len());
            assert!(movies.len() >= 700, "{seconds} s: {} movies", movies.len());
        }
        // Every page is begun with what draws most, whether or not it is told to its end.
        let (movies, _) = take(Settings { step: 15e6, ..Settings::default() }, 2_000);
        let mut polls: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for movie in &movies {
            let popularity = movie["popularity"].as_f64().unwrap();
            polls.entry(movie["timestamp"].as_str().unwrap()).or_default().push(popularity);
        }
        let told = polls.values().map(Vec::len).sum::<usize>() as f64 / polls.len() as f64;
        assert!((7.0..=12.0).contains(&told), "{told} movies of a page");
        assert!(polls.values().all(|page| page.iter().all(|popularity| *popularity <= page[0] * 1.11)));
    }

    #[test]
    fn comments_are_of_the_mix_and_mention_what_they_say() {
        let (_, comments) = take(Settings::default(), 20_000);
        let n = comments.len() as f64;
        let carried = comments.iter().filter(|comment| comment.get("movie_mentions").is_some()).count() as f64;
        assert!((carried - n).abs() < 0.5, "{carried} of {n}");
        let (mut none, mut two) = (0.0, 0.0);
        let ids: BTreeSet<&str> = comments.iter().map(|comment| comment["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), comments.len());
        assert!(ids.iter().all(|id| id.len() == 10 && id.starts_with("t1_")), "{ids:?}");
        for comment in &comments {
            let text = comment["text"].as_str().unwrap();
            assert!(!text.contains('{'), "{text}");
            comment["score"].as_i64().unwrap();
            Timestamp::parse(comment["timestamp"].as_str().unwrap()).unwrap();
            let Some(mentions) = comment.get("movie_mentions") else { continue };
            let mentions: Vec<&str> =
                mentions.as_array().unwrap().iter().map(|title| title.as_str().unwrap()).collect();
            for title in &mentions {
                assert!(CATALOGUE.iter().any(|(known, ..)| known == title));
                assert!(text.to_lowercase().contains(&title.to_lowercase()), "{text}: {title}");
            }
            none += f64::from(mentions.is_empty());
            two += f64::from(mentions.len() == 2);
        }
        assert!((none / carried - 0.15).abs() < 0.025, "{none} of {carried}");
        // Sometimes a movie is compared with itself, and named once.
        assert!((0.10..0.16).contains(&(two / carried)), "{two} of {carried}");
        let scores: Vec<i64> = comments.iter().map(|comment| comment["score"].as_i64().unwrap()).collect();
        assert!(scores.iter().any(|score| *score < 0) && scores.iter().any(|score| *score > 500));
    }

    #[test]
    fn what_draws_is_talked_about() {
        let (movies, comments) = take(Settings::default(), 20_000);
        let mut popularity: BTreeMap<&str, f64> = BTreeMap::new();
        for movie in &movies {
            *popularity.entry(movie["title"].as_str().unwrap()).or_default() += movie["popularity"].as_f64().unwrap();
        }
        let talk = |title: &str| {
            let says = |comment: &&Json| {
                comment.get("movie_mentions").is_some_and(|all| all.as_array().unwrap().contains(&json!(title)))
            };
            comments.iter().filter(says).count()
        };
        let mut order: Vec<(&str, f64)> = popularity.into_iter().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (most, least) = (&order[..5], &order[order.len() - 5..]);
        let sum = |movies: &[(&str, f64)]| movies.iter().map(|(title, _)| talk(title)).sum::<usize>();
        assert!(sum(most) > 2 * sum(least), "{most:?} {} {least:?} {}", sum(most), sum(least));
    }

    #[test]
    fn the_mix_can_be_changed() {
        let mix = Mix::of(
            System::Trendscope,
            &["mentioned.in_text=100".to_owned(), "mentions.none=0".to_owned(), "mentions.two=0".to_owned()],
        )
        .unwrap();
        let (mut in_record, mut in_text) = (0, 0);
        for record in records_of(System::Trendscope, Settings::default(), &mix).take(2_000) {
            if record.topic == COMMENTS {
                let comment: Json = serde_json::from_str(&record.payload).unwrap();
                match comment.get("movie_mentions") {
                    Some(titles) => {
                        assert_eq!(titles.as_array().unwrap().len(), 1, "{comment}");
                        in_record += 1;
                    }
                    None => in_text += 1,
                }
            }
        }
        assert!(in_record > 800 && in_text > 800, "{in_record} {in_text}");
    }
}
