//! Viewing events: sessions of users who view, pause, resume, complete and rate.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tideline_common::time::Timestamp;

use super::{Generated, pick, popular};

/// The topic.
pub(super) const EVENTS: &str = "movie-viewing-events";

const MOVIES: usize = 200;
const USERS: usize = 2_000;
/// Sessions under way at most; the oldest ends when one more begins.
const SESSIONS_MAX: usize = 1_000;

struct Session {
    user: usize,
    movie: usize,
    seconds: i64,
    paused: bool,
}

/// People who watch.
pub(super) struct Audience {
    sessions: Vec<Session>,
    events: u64,
}

impl Audience {
    pub(super) const fn new() -> Self {
        Self { sessions: Vec::new(), events: 0 }
    }

    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng, time: Timestamp) -> Generated {
        self.events += 1;
        let begin = self.sessions.is_empty() || rng.random_bool(0.35);
        let (user, movie, event, seconds, rating) = if begin {
            if self.sessions.len() >= SESSIONS_MAX {
                self.sessions.swap_remove(0);
            }
            let session = Session { user: popular(rng, USERS), movie: popular(rng, MOVIES), seconds: 0, paused: false };
            let ids = (session.user, session.movie);
            self.sessions.push(session);
            (ids.0, ids.1, "view", 0, None)
        } else {
            let at = rng.random_range(0..self.sessions.len());
            let session = &mut self.sessions[at];
            session.seconds += rng.random_range(30..1_800);
            let event =
                if session.paused { "resume" } else { *pick(rng, &[("pause", 45), ("complete", 35), ("rating", 20)]) };
            session.paused = event == "pause";
            let found = (session.user, session.movie, event, session.seconds, None::<i64>);
            if event == "complete" || event == "rating" {
                self.sessions.swap_remove(at);
            }
            if event == "rating" {
                // Popular movies are liked better.
                let fans = if found.1 < 20 { 3 } else { 1 };
                let rating = *pick(rng, &[(5, 4 * fans), (4, 4 * fans), (3, 4), (2, 2), (1, 1)]);
                (found.0, found.1, event, found.3, Some(i64::from(rating)))
            } else {
                found
            }
        };
        let payload = json!({
            "event_id": format!("e{:012}", self.events),
            "user_id": format!("u{user:05}"),
            "movie_id": format!("m{movie:04}"),
            "event_type": event,
            "timestamp": time.to_string(),
            "duration": seconds,
            "rating": rating,
        });
        Generated { topic: EVENTS, payload: payload.to_string() }
    }
}
