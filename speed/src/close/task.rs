//! The task of one partition of a view's changes: read, look for windows that close, decide, do.

use std::collections::BTreeMap;
use std::sync::Arc;

use tideline_common::ports::{PortError, ReadRequest};
use tideline_common::record::NewRecord;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::begin;
use super::chain::{self, Known};
use super::context::Context;
use super::posts::Posts;
use super::state::State;
use super::status::CloseCondition;
use crate::SpeedError;
use crate::context::compute;

/// Records and bytes of one read.
const READ_RECORDS: usize = 1_024;
const READ_BYTES: usize = 4 << 20;
/// Records of one append.
const APPEND_RECORDS: usize = 1_000;

/// Runs until stopped: starts again after what may pass, reports what does not.
pub(super) async fn supervise(context: Arc<Context>, stop: CancellationToken) {
    let mut attempt = 0;
    loop {
        context.status.begin(CloseCondition::Recovering, None);
        let began = Instant::now();
        match run(&context, &stop).await {
            Ok(()) => {
                context.status.begin(CloseCondition::Stopped, None);
                return;
            }
            Err(error) if may_pass(&error) && !stop.is_cancelled() => {
                if began.elapsed() > 2 * context.config.retry_max.to_std() {
                    attempt = 0;
                }
                let pause = context.pause(attempt);
                attempt = attempt.saturating_add(1);
                tracing::warn!(view = context.view.name, partition = context.partition, %error, ?pause, "starts again");
                metrics::counter!("tideline_close_restarts_total", &context.labels()).increment(1);
                context.status.update(|status| status.restarts += 1);
                context.status.begin(CloseCondition::Paused, Some(error.to_string()));
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(view = context.view.name, partition = context.partition, %error, "windows do not close any more");
                metrics::counter!("tideline_close_failed_total", &context.labels()).increment(1);
                context.status.begin(CloseCondition::Failed, Some(error.to_string()));
                return;
            }
        }
    }
}

/// Whether beginning again may help.
fn may_pass(error: &SpeedError) -> bool {
    match error {
        // Another process has gone on with it, or has dropped a checkpoint; or somebody a topic, which is made again.
        SpeedError::Superseded { .. } | SpeedError::Port(PortError::NotFound { .. }) => true,
        error => error.is_retryable(),
    }
}

/// Whether something was done, or it is to stop.
type Going = Result<bool, SpeedError>;

struct Task<'a> {
    context: &'a Arc<Context>,
    stop: &'a CancellationToken,
    /// Taken only while a computation holds it.
    state: Option<Box<State>>,
    posts: Posts,
    looked_at: Instant,
    checkpointed_at: Instant,
}

async fn run(context: &Arc<Context>, stop: &CancellationToken) -> Result<(), SpeedError> {
    let recovered = async {
        begin::ensure_topics(context).await?;
        loop {
            match chain::load(context).await? {
                Known::State(state) => return Ok::<_, SpeedError>(state),
                // Another version was at work meanwhile, or its checkpoints are gone.
                known => begin::begin_after(context, known).await?,
            }
        }
    };
    let state = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        state = recovered => state?,
    };
    let mut task = Task {
        context,
        stop,
        state: Some(state),
        posts: Posts::default(),
        looked_at: Instant::now(),
        checkpointed_at: Instant::now(),
    };
    context.status.begin(CloseCondition::Running, None);
    // Decided, and perhaps not done.
    let mut going = task.act().await?;
    task.report();
    while going {
        going = task.read().await? && task.round().await?;
    }
    task.finish().await
}

impl Task<'_> {
    fn state(&mut self) -> Result<&mut State, SpeedError> {
        self.state.as_deref_mut().ok_or_else(lost)
    }

    async fn compute<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, SpeedError> {
        let mut state = self.state.take().ok_or_else(lost)?;
        let (state, answer) = compute(move || {
            let answer = work(&mut state);
            (state, answer)
        })
        .await?;
        self.state = Some(state);
        Ok(answer)
    }

    /// Takes in the changes that are there.
    async fn read(&mut self) -> Going {
        let (context, stop) = (self.context, self.stop);
        let wait = context.config.read_wait.to_std().min(context.config.round_interval.to_std());
        let bytes = self.state()?.board.bytes();
        if bytes > context.config.max_state_bytes {
            let reason = format!(
                "open panes take {bytes} bytes, more than close.max_state_bytes = {}: changes are not read",
                context.config.max_state_bytes
            );
            context.status.pause(Some(reason));
            tokio::time::sleep(wait).await;
            return Ok(!stop.is_cancelled());
        }
        let request = ReadRequest {
            topic: context.topic(),
            partition: context.partition,
            from: self.state()?.next,
            max_records: READ_RECORDS,
            max_bytes: READ_BYTES,
            wait,
        };
        let read = context.retry("read changes", || context.ports.log.read(&request));
        let records = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(false),
            records = read => records,
        };
        let records = match records {
            Ok(records) => records,
            Err(PortError::Expired { first }) => {
                tracing::warn!(
                    view = context.view.name,
                    from = request.from,
                    first,
                    "changes have expired: the views are read instead"
                );
                metrics::counter!("tideline_close_reloads_total", &context.labels()).increment(1);
                let state = self.state.take().ok_or_else(lost)?;
                self.state = Some(Box::new(begin::read_views(context, *state, false).await?));
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        };
        if records.is_empty() {
            let skipped = context.ports.log.skip(&request.topic, request.partition, request.from).await?;
            self.state()?.next = skipped.max(request.from);
            return Ok(true);
        }
        let taken = self.compute(move |state| state.take(&records)).await?;
        let taken = taken.map_err(|error| PortError::corrupt(format!("a change of {}", request.topic), error))?;
        if taken.late > 0 {
            metrics::counter!("tideline_close_late_total", "view" => context.view.name.clone()).increment(taken.late);
            context.status.update(|status| status.late += taken.late);
        }
        Ok(true)
    }

    /// Looks for windows that close, at running ones, and at what is due.
    async fn round(&mut self) -> Going {
        if self.looked_at.elapsed() < self.context.config.round_interval.to_std() {
            return Ok(true);
        }
        loop {
            let context = self.context;
            let done = self.posts.done(context);
            let state = self.state()?;
            if !done.is_empty() {
                state.posts.retain(|post| !done.contains(&post.id));
                state.is_new = true;
            }
            let now = context.ports.clock.now();
            let ends = if state.board.may_close(now) {
                // What has been read was there before.
                Some(context.retry("look up topics", || context.ends()).await?)
            } else {
                None
            };
            let (rows, posts) = (context.config.max_round_rows, context.config.max_posts);
            let round = self
                .compute(move |state| {
                    let round = state.round(ends.as_ref(), now, rows, posts);
                    let known = ends.map(|ends| state.board.watermark(&ends, now));
                    (round, known)
                })
                .await?;
            let (round, watermark) = round;
            if let Some(watermark) = watermark {
                context.status.update(|status| status.watermark = watermark);
                if let Some(watermark) = watermark {
                    metrics::gauge!("tideline_close_watermark_seconds", &context.labels())
                        .set(watermark.0 as f64 / 1e6);
                }
            }
            for (alert, dropped) in &round.dropped {
                let view = &context.view.name;
                tracing::error!(view, alert, dropped, "too many posts of an alert wait: those beyond are not posted");
                let labels = [("view", view.clone()), ("alert", alert.clone())];
                metrics::counter!("tideline_alert_posts_dropped_total", &labels).increment(*dropped);
            }
            metrics::counter!("tideline_close_rows_total", "view" => context.view.name.clone()).increment(round.rows);
            context.status.update(|status| status.rows += round.rows);
            let due = self.checkpointed_at.elapsed() >= context.config.checkpoint_interval.to_std();
            // Also where nothing follows from it: windows that have closed stay closed.
            if round.decided || round.rows > 0 || (due && self.state()?.is_new) {
                self.checkpoint().await?;
            }
            let going = self.act().await?;
            self.looked_at = Instant::now();
            self.report();
            if !going || !round.more {
                return Ok(going);
            }
        }
    }

    /// Makes durable what has been decided.
    async fn checkpoint(&mut self) -> Result<(), SpeedError> {
        let (sequence, bytes) = self.compute(|state| (state.sequence, state.encode())).await?;
        metrics::gauge!("tideline_close_checkpoint_bytes", &self.context.labels()).set(bytes.len() as f64);
        chain::put(self.context, sequence, bytes).await?;
        let state = self.state()?;
        (state.sequence, state.is_new) = (sequence + 1, false);
        self.checkpointed_at = Instant::now();
        self.context.status.update(|status| status.checkpoint = Some(sequence));
        Ok(())
    }

    /// Does what has been decided and made durable: appends all of it, in order, puts objects, and sees to the posts.
    async fn act(&mut self) -> Going {
        let (context, stop) = (self.context, self.stop);
        let records = &self.state()?.records;
        let mut topics: BTreeMap<String, Vec<NewRecord>> = BTreeMap::new();
        for (topic, record) in records {
            topics.entry(topic.clone()).or_default().push(record.clone());
        }
        for (topic, records) in topics {
            for part in records.chunks(APPEND_RECORDS) {
                let append = || context.ports.log.append(&topic, part.to_vec(), context.ports.clock.now());
                tokio::select! {
                    biased;
                    // The checkpoint has them all.
                    () = stop.cancelled() => return Ok(false),
                    appended = context.retry("append closed windows", append) => appended?,
                };
            }
        }
        for (path, content) in self.state()?.objects.clone() {
            let objects = &context.ports.objects;
            let store = || async {
                match &content {
                    Some(content) => objects.put(&path, content.clone()).await,
                    None => objects.delete(&path).await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                stored = context.retry("put objects", store) => stored?,
            };
        }
        let Some(state) = self.state.as_deref_mut() else { return Err(lost()) };
        state.is_new |= !state.records.is_empty() || !state.objects.is_empty();
        state.records.clear();
        state.objects.clear();
        self.posts.start(context, &state.posts);
        Ok(!stop.is_cancelled())
    }

    /// Ends in order: what has been taken in since the last checkpoint need not be read again.
    async fn finish(mut self) -> Result<(), SpeedError> {
        let done = self.posts.done(self.context);
        let state = self.state()?;
        state.posts.retain(|post| !done.contains(&post.id));
        // What was decided and not done is in the last checkpoint, which must stay the last.
        let done = state.records.is_empty() && state.objects.is_empty();
        if state.is_new && done && state.board.has_no_changed() {
            self.checkpoint().await?;
        }
        self.report();
        Ok(())
    }

    fn report(&self) {
        let Some(state) = self.state.as_deref() else { return };
        let (bytes, through) = (state.board.bytes(), state.board.through());
        metrics::gauge!("tideline_close_state_bytes", &self.context.labels()).set(bytes as f64);
        self.context.status.update(|status| {
            status.next = state.next;
            status.end = status.end.max(state.next);
            status.through = through;
            status.posts = state.posts.len();
            status.state_bytes = bytes;
        });
        metrics::gauge!("tideline_close_lag_records", &self.context.labels())
            .set(self.context.status.get().lag() as f64);
    }
}

fn lost() -> SpeedError {
    SpeedError::Panicked("the state is lost".to_owned())
}
