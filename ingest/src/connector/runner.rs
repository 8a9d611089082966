//! One connector at work: claim, fetch, filter, append, note, wait.

use std::sync::Arc;

use bytes::Bytes;
use metrics::{counter, gauge};
use serde_json::Value as Json;
use tideline_common::ports::{Log, Objects, PortResult};
use tideline_common::time::{Span, Timestamp};
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::backoff::Backoff;
use super::cursor::{CursorError, Cursors};
use super::error::FetchError;
use super::filter::Filter;
use super::mentions::{Mentions, Titles};
use super::status::{State, Status, StatusCell};
use super::time::Time;
use super::{Feed, Fetched, Item};
use crate::appender::Appender;

/// What a connector is made of.
#[derive(Debug)]
pub struct Parts {
    /// Name, as configured.
    pub name: String,
    /// Where records go.
    pub topic: String,
    /// From the beginning of a poll to that of the next.
    pub every: Span,
    /// What is fetched.
    pub feed: Box<dyn Feed>,
    /// From where.
    pub api: Api,
    /// What of it is wanted.
    pub filter: Filter,
    /// What finds the titles that records mention; `None`: that is not asked for.
    pub mentions: Option<Mentions>,
    /// First wait after a poll that has not worked.
    pub retry_initial: Span,
    /// Longest wait after a poll that has not worked.
    pub retry_max: Span,
    /// How it is doing.
    pub status: StatusCell,
}

/// What a connector works with.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Takes records in.
    pub appender: Arc<Appender>,
    /// The log: for titles that were seen on another topic.
    pub log: Arc<dyn Log>,
    /// Makes a set of titles to look for.
    pub titles: fn() -> Box<dyn Titles>,
    /// Where cursors are.
    pub objects: Arc<dyn Objects>,
    /// Time.
    pub time: Time,
    /// The longest record that the log takes, in bytes.
    pub max_record_bytes: usize,
    /// Name of this process among those that share the cursors.
    pub holder: String,
    /// For how long a process has a connector for itself; `None`: there is no other process.
    pub lease: Option<Span>,
}

/// A connector at work.
#[derive(Debug)]
pub struct Runner {
    parts: Parts,
    around: Surroundings,
    cursors: Option<Cursors>,
    /// Fetched and not yet in the log.
    batch: Option<Batch>,
    /// In the log and not yet noted.
    noting: Option<(Json, Timestamp, bool)>,
    backoff: Backoff,
    refusals: Backoff,
    failures: u32,
    /// After something that has not worked: when it is tried again, and how long that was ahead.
    retry: Option<(Timestamp, Span)>,
}

/// What is to be appended.
#[derive(Debug)]
struct Batch {
    items: Vec<Item>,
    /// The items, as they are appended: made once, so that another attempt appends the same.
    payloads: Option<Vec<Bytes>>,
    cursor: Json,
    polled_at: Timestamp,
    more: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on at once.
    Go,
    /// Wait so long.
    Wait(Span),
}

/// First and longest wait after an API refused: it will hardly change its mind in a minute.
const REFUSED_INITIAL: Span = Span::MINUTE;
const REFUSED_MAX: Span = Span::from_secs(15 * 60);

impl Runner {
    /// A connector that has not begun.
    pub fn new(mut parts: Parts, around: Surroundings) -> Self {
        parts.api.show_in(parts.status.clone());
        let seed = around.time.now().micros() as u64 ^ parts.name.len() as u64;
        let backoff = Backoff::new(parts.retry_initial, parts.retry_max, seed);
        // Without waits between attempts there are none here either: for tests, and for servers on one's own machine.
        let refused = if parts.retry_initial == Span::ZERO { Span::ZERO } else { REFUSED_INITIAL };
        let refusals = Backoff::new(refused, REFUSED_MAX, seed);
        Self { parts, around, cursors: None, batch: None, noting: None, backoff, refusals, failures: 0, retry: None }
    }

    /// How it is doing, for others to read.
    pub fn status(&self) -> StatusCell {
        self.parts.status.clone()
    }

    /// Polls until `cancel`; whatever fails is tried again. What was appended is noted before this ends, if the object
    /// store answers.
    pub async fn run(mut self, cancel: CancellationToken) {
        tracing::info!(connector = self.parts.name, topic = self.parts.topic, every = %self.parts.every, "a connector begins");
        let time = self.around.time.clone();
        while !cancel.is_cancelled() {
            match self.step(&cancel).await {
                // Others get a turn also when there is always more.
                Step::Go => tokio::task::yield_now().await,
                Step::Wait(span) => {
                    cancel.run_until_cancelled(time.pause(span)).await;
                }
            }
        }
        self.end().await;
    }

    /// One step. Only waits and requests are given up when `cancel` comes in between; what is being written is written.
    pub async fn step(&mut self, cancel: &CancellationToken) -> Step {
        let now = self.around.time.now();
        if let Err(error) = self.claim(now).await {
            return self.unclaimed(&error, now);
        }
        if let Some(at) = self.retry_at(now) {
            return self.wait_until(at, now);
        }
        self.retry = None;
        if let Some((cursor, polled_at, more)) = self.noting.take() {
            return self.note(cursor, polled_at, more).await;
        }
        if self.batch.is_some() {
            return self.append().await;
        }
        let held_until = self.parts.api.held_until();
        // While the server holds it, there is nothing that a poll could do.
        let due = self.due(now).max(held_until.unwrap_or(now));
        if due > now {
            self.change(|status| (status.next_poll, status.held_until) = (Some(due), held_until));
            return self.wait_until(due, now);
        }
        match self.fetch(cancel).await {
            None => Step::Go,
            Some(Ok(fetched)) => {
                // A poll that the server held up for long is as old as its answer.
                let end = self.around.time.now();
                self.take(fetched, if end.since(now) > self.parts.every { end } else { now });
                self.append().await
            }
            Some(Err(error)) => {
                let step = self.failed(&error);
                // What the server said is noted before the wait, not after it. What goes wrong here the next step finds too.
                if let Err(error) = self.claim(self.around.time.now()).await {
                    tracing::debug!(connector = self.parts.name, %error, "until when the server holds a connector was not noted");
                }
                step
            }
        }
    }

    /// Whoever waits long says in between that they are there: every step begins with that.
    fn wait_until(&self, at: Timestamp, now: Timestamp) -> Step {
        let wait = at.since(now);
        Step::Wait(self.around.lease.map_or(wait, |lease| wait.min(Span(lease.micros() / 3))))
    }

    /// When what has not worked is tried again, if that is still to come: not where the clock was set back since.
    fn retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry.filter(|(at, wait)| *at > now && at.since(now) <= *wait).map(|(at, _)| at)
    }

    /// When the next poll is due: after a restart too, so that one does not poll more often than told.
    fn due(&self, now: Timestamp) -> Timestamp {
        let polled_at = self.cursors.as_ref().and_then(|cursors| cursors.note().polled_at);
        // A clock that was set back does not make one wait for its old time.
        polled_at.map_or(now, |at| at.plus(self.parts.every).min(now.plus(self.parts.every)))
    }

    async fn claim(&mut self, now: Timestamp) -> Result<(), CursorError> {
        if self.cursors.is_none() {
            let around = &self.around;
            let objects = Arc::clone(&around.objects);
            let opened = Cursors::open(objects, &self.parts.name, around.holder.clone(), around.lease).await?;
            self.cursors = Some(opened);
        }
        let Some(cursors) = &mut self.cursors else { return Ok(()) };
        let held_until = self.parts.api.held_until();
        cursors.claim(now, held_until).await?;
        // What the server told whoever had the connector before holds for this process too.
        if let Some(until) = cursors.note().held_until(now).filter(|until| Some(*until) > held_until) {
            self.parts.api.hold(until);
        }
        self.change(|status| {
            if status.state == State::Standby {
                status.state = State::Starting;
            }
        });
        Ok(())
    }

    fn unclaimed(&mut self, error: &CursorError, now: Timestamp) -> Step {
        match error {
            CursorError::Taken { until, .. } => {
                self.dispossessed(error);
                let lease = self.around.lease.unwrap_or(Span::MINUTE);
                // It may be let go before its time.
                Step::Wait(until.since(now).max(Span::SECOND).min(Span(lease.micros() / 3)))
            }
            CursorError::Port(_) => {
                // Whoever waits anyway tries again meanwhile, and has nothing new to tell.
                if let Some(at) = self.retry_at(now) {
                    tracing::debug!(connector = self.parts.name, %error, "the lease of a connector was not renewed");
                    return self.wait_until(at, now);
                }
                self.troubled(error)
            }
        }
    }

    /// Another process has gone on: what this one has fetched is the other's to fetch.
    fn dispossessed(&mut self, error: &CursorError) {
        (self.batch, self.noting, self.retry) = (None, None, None);
        let was = self.parts.status.get().state;
        if was != State::Standby {
            tracing::info!(connector = self.parts.name, reason = %error, "a connector stands by");
        }
        gauge!("tideline_connector_up", "connector" => self.parts.name.clone()).set(0.0);
        let now = self.around.time.now();
        let held_until = self.cursors.as_ref().and_then(|cursors| cursors.note().held_until(now));
        self.change(|status| {
            status.state = State::Standby;
            status.held_until = held_until;
            status.error = None;
            status.next_poll = None;
        });
    }

    /// Fetches; `None` when cancelled, or when another process has taken over meanwhile.
    async fn fetch(&mut self, cancel: &CancellationToken) -> Option<Result<Fetched, FetchError>> {
        let Some(cursors) = &mut self.cursors else { return None };
        let cursor = cursors.note().cursor.clone();
        let fetch = self.parts.feed.fetch(&self.parts.api, cursor.as_ref());
        tokio::pin!(fetch);
        loop {
            // A server that lets one wait for a quarter of an hour must not cost the connector.
            let renewal = Span(self.around.lease.unwrap_or(Span::MINUTE).micros() / 3);
            tokio::select! {
                biased;
                () = cancel.cancelled() => return None,
                fetched = &mut fetch => return Some(fetched),
                // A hold is noted at once: this process may not be the one that is there at its end.
                () = self.parts.api.held_up() => {}
                () = self.around.time.beat(renewal) => {}
            }
            match cursors.claim(self.around.time.now(), self.parts.api.held_until()).await {
                Ok(()) => {}
                Err(error @ CursorError::Taken { .. }) => {
                    tracing::warn!(connector = self.parts.name, reason = %error, "another process has taken over a connector");
                    return None;
                }
                Err(CursorError::Port(error)) => {
                    tracing::debug!(connector = self.parts.name, %error, "the lease of a connector was not renewed");
                }
            }
        }
    }

    /// Keeps of what was fetched what is wanted.
    fn take(&mut self, fetched: Fetched, polled_at: Timestamp) {
        let Fetched { records, cursor, more, gap, warnings } = fetched;
        let all = records.len();
        let wants = |item: &Item| self.parts.filter.wants(&item.text, item.language.as_deref());
        let items: Vec<Item> = records.into_iter().filter(wants).collect();
        let filtered = all - items.len();
        if let Some(gap) = &gap {
            tracing::warn!(connector = self.parts.name, gap, "the API no longer had everything");
            counter!("tideline_connector_gaps_total", "connector" => self.parts.name.clone()).increment(1);
        }
        for warning in &warnings {
            tracing::warn!(connector = self.parts.name, warning, "a part of a poll has not worked");
        }
        counter!("tideline_connector_filtered_total", "connector" => self.parts.name.clone())
            .increment(filtered as u64);
        let held_until = self.parts.api.held_until();
        self.change(|status| {
            status.filtered += filtered as u64;
            status.gaps += u64::from(gap.is_some());
            status.last_gap = gap.or(status.last_gap.take());
            status.error = (!warnings.is_empty()).then(|| warnings.join("; "));
            status.held_until = held_until;
        });
        self.batch = Some(Batch { items, payloads: None, cursor, polled_at, more });
    }

    /// The records of a batch as they are appended.
    async fn payloads(&mut self) -> PortResult<Vec<Bytes>> {
        let Some(batch) = &mut self.batch else { return Ok(Vec::new()) };
        if let Some(payloads) = &batch.payloads {
            return Ok(payloads.clone());
        }
        if let Some(mentions) = &mut self.parts.mentions
            && !batch.items.is_empty()
        {
            mentions.catch_up().await?;
            for item in &mut batch.items {
                mentions.put(&mut item.record, &item.text);
            }
        }
        let (all, max) = (batch.items.len(), self.around.max_record_bytes);
        let made = batch.items.drain(..).map(|item| Bytes::from(item.record.to_string()));
        let payloads: Vec<Bytes> = made.filter(|payload| payload.len() <= max).collect();
        let oversized = all - payloads.len();
        batch.payloads = Some(payloads.clone());
        if oversized > 0 {
            tracing::warn!(
                connector = self.parts.name,
                oversized,
                max,
                "records longer than the log takes were left out"
            );
            self.change(|status| status.oversized += oversized as u64);
        }
        Ok(payloads)
    }

    async fn append(&mut self) -> Step {
        let payloads = match self.payloads().await {
            Ok(payloads) => payloads,
            Err(error) => return self.troubled(&error),
        };
        let count = payloads.len() as u64;
        if count > 0
            && let Err(error) = self.around.appender.append(&self.parts.topic, payloads).await
        {
            return self.troubled(&error);
        }
        let Some(batch) = self.batch.take() else { return Step::Go };
        counter!("tideline_connector_records_total", "connector" => self.parts.name.clone()).increment(count);
        self.change(|status| status.records += count);
        self.note(batch.cursor, batch.polled_at, batch.more).await
    }

    async fn note(&mut self, cursor: Json, polled_at: Timestamp, more: bool) -> Step {
        let now = self.around.time.now();
        let Some(cursors) = &mut self.cursors else { return Step::Go };
        // A poll that is not over is due at once, also after a restart.
        let noted_at = if more { polled_at.minus(self.parts.every) } else { polled_at };
        match cursors.commit(cursor.clone(), noted_at, now, self.parts.api.held_until()).await {
            Ok(()) => {}
            Err(error @ CursorError::Taken { .. }) => {
                tracing::warn!(
                    connector = self.parts.name, reason = %error,
                    "another process has gone on: what was appended last may be in the log twice"
                );
                self.dispossessed(&error);
                return Step::Go;
            }
            Err(error) => {
                self.noting = Some((cursor, polled_at, more));
                return self.troubled(&error);
            }
        }
        self.failures = 0;
        gauge!("tideline_connector_up", "connector" => self.parts.name.clone()).set(1.0);
        gauge!("tideline_connector_last_poll_seconds", "connector" => self.parts.name.clone())
            .set(polled_at.micros() as f64 / 1e6);
        counter!("tideline_connector_polls_total", "connector" => self.parts.name.clone(), "outcome" => "ok")
            .increment(1);
        let next = polled_at.plus(self.parts.every);
        self.change(|status| {
            status.state = State::Running;
            status.failures = 0;
            status.polls += 1;
            status.polled_at = Some(polled_at);
            status.next_poll = Some(if more { now } else { next });
        });
        Step::Go
    }

    /// A poll has not worked.
    fn failed(&mut self, error: &FetchError) -> Step {
        self.failures = self.failures.saturating_add(1);
        let transient = error.is_transient();
        let wait =
            if transient { self.backoff.wait(self.failures) } else { self.refusals.wait_at_least(self.failures) };
        // Not more often than when it works.
        let wait = wait.max(self.parts.every.min(self.parts.retry_max));
        let now = self.around.time.now();
        let wait = self.parts.api.held_until().map_or(wait, |until| wait.max(until.since(now)));
        let state = if transient { State::Failing } else { State::Refused };
        self.wait_after(error, state, wait)
    }

    /// The log or the object store has not taken what it was given.
    fn troubled(&mut self, error: &dyn std::error::Error) -> Step {
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.wait(self.failures);
        self.wait_after(error, State::Failing, wait)
    }

    fn wait_after(&mut self, error: &dyn std::error::Error, state: State, wait: Span) -> Step {
        let mut reason = error.to_string();
        if let Some(source) = error.source()
            && !reason.contains(&source.to_string())
        {
            reason = format!("{reason}: {source}");
        }
        tracing::warn!(connector = self.parts.name, error = reason, failures = self.failures, %wait, "a connector has not polled");
        gauge!("tideline_connector_up", "connector" => self.parts.name.clone()).set(0.0);
        counter!("tideline_connector_polls_total", "connector" => self.parts.name.clone(), "outcome" => "failed")
            .increment(1);
        let now = self.around.time.now();
        let (next, failures) = (now.plus(wait), self.failures);
        let held_until = self.parts.api.held_until();
        self.change(|status| {
            status.state = state;
            status.error = Some(reason);
            status.failures = failures;
            status.next_poll = Some(next);
            status.held_until = held_until;
        });
        self.retry = Some((next, wait));
        self.wait_until(next, now)
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.parts.status.change(change);
    }

    /// Notes what is in the log already, and lets others have the connector.
    async fn end(&mut self) {
        if let Some((cursor, polled_at, more)) = self.noting.take() {
            self.note(cursor, polled_at, more).await;
        }
        let now = self.around.time.now();
        if let Some(cursors) = &mut self.cursors
            && let Err(error) = cursors.release(now).await
        {
            tracing::debug!(%error, connector = self.parts.name, "a connector was not let go");
        }
        gauge!("tideline_connector_up", "connector" => self.parts.name.clone()).set(0.0);
        self.change(|status| {
            status.state = State::Stopped;
            status.next_poll = None;
        });
        tracing::info!(connector = self.parts.name, "a connector has ended");
    }
}
