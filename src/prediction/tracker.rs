//! Settings and errors of the models, to a tracker of experiments: one task of a process, beside everything else.
//!
//! Whoever predicts puts a [`Point`] into a queue and goes on. What does not fit is dropped and counted, as is what the
//! tracker does not take: nothing that is predicted waits for a tracker or depends on it. A point that is told again after
//! a restart is the same one, which changes nothing there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::ports::{Clock, PortResult, RunHandle, TrackedMetrics, TrackedRun, Tracking};
use tideline_common::position::Partition;
use tideline_common::time::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Ends a text where several are joined.
const END: &[u8] = &[0];
/// Points that wait.
const QUEUE: usize = 1_024;
/// First pause after a point that was not taken; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How long what waits may take at the end of the process.
const FLUSH: Duration = Duration::from_secs(10);

/// How a version is doing at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The prediction.
    pub prediction: String,
    /// The partition whose keys it learns from.
    pub partition: Partition,
    /// The version.
    pub version: String,
    /// Its settings.
    pub params: Vec<(String, String)>,
    /// Predictions that were compared.
    pub step: u64,
    /// The end of the window after which it is so.
    pub at: Timestamp,
    /// Its errors.
    pub figures: Vec<(String, f64)>,
    /// The model in full, JSON.
    pub document: Vec<u8>,
}

impl Point {
    /// Names its run for ever: with other settings it is another one.
    fn run(&self) -> String {
        let settings = self.params.iter().flat_map(|(name, value)| [name.as_bytes(), END, value.as_bytes(), END]);
        let settings: Vec<u8> = settings.flatten().copied().collect();
        let settings = xxhash_rust::xxh3::xxh3_64(&settings);
        format!("{}/{}/{}/{settings:016x}", self.prediction, self.version, self.partition)
    }
}

/// Where points are put.
#[derive(Clone, Debug)]
pub struct Points {
    sender: mpsc::Sender<Point>,
    every: u64,
}

impl Points {
    /// After how many compared predictions a point is wanted.
    pub const fn every(&self) -> u64 {
        self.every
    }

    /// Puts a point into the queue, if there is room.
    pub fn tell(&self, point: Point) {
        if let Err(error) = self.sender.try_send(point) {
            count("dropped");
            tracing::warn!(%error, "a point of a model is not tracked: too many wait");
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Tracker {
    points: Points,
    finish: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Tracker {
    /// Starts the task. `every`: compared predictions from one point of a version to the next; at least 1.
    pub fn start(tracking: Arc<dyn Tracking>, clock: Arc<dyn Clock>, experiment: String, every: u64) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let finish = CancellationToken::new();
        let work = Work { tracking, clock, experiment, runs: HashMap::new() };
        let task = tokio::spawn(work.run(queue, finish.clone()));
        Self { points: Points { sender, every: every.max(1) }, finish, task: Mutex::new(Some(task)) }
    }

    /// Where points are put.
    pub fn points(&self) -> Points {
        self.points.clone()
    }

    /// Ends: what waits is told, as far as that takes no longer than ten seconds.
    pub async fn stop(&self) {
        self.finish.cancel();
        let task = self.task.lock().take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(FLUSH, &mut task).await.is_err() {
            tracing::warn!("the tracker of experiments takes too long: what waits for it is dropped");
            task.abort();
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.finish.cancel();
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("tideline_tracking_points_total", "outcome" => outcome).increment(1);
}

struct Work {
    tracking: Arc<dyn Tracking>,
    clock: Arc<dyn Clock>,
    experiment: String,
    /// Runs that are open, by key: as many as there are versions.
    runs: HashMap<String, RunHandle>,
}

impl Work {
    async fn run(mut self, mut queue: mpsc::Receiver<Point>, finish: CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let point = tokio::select! {
                biased;
                point = queue.recv() => point,
                () = finish.cancelled() => None,
            };
            let Some(point) = point else { return };
            match self.track(&point).await {
                Ok(()) => {
                    count("logged");
                    pause = PAUSE;
                }
                Err(error) => {
                    count("failed");
                    tracing::warn!(prediction = point.prediction, version = point.version, step = point.step, %error, ?pause,
                        "a point of a model is not tracked");
                    // It may be another server by now.
                    self.runs.remove(&point.run());
                    finish.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn track(&mut self, point: &Point) -> PortResult<()> {
        let key = point.run();
        let run = match self.runs.get(&key) {
            Some(run) => run.clone(),
            None => {
                let run = TrackedRun {
                    experiment: self.experiment.clone(),
                    key: key.clone(),
                    name: format!("{} {} ({})", point.prediction, point.version, point.partition),
                    started: self.clock.now(),
                    params: point.params.clone(),
                };
                let run = self.tracking.open(&run).await?;
                self.runs.insert(key, run.clone());
                run
            }
        };
        let metrics = TrackedMetrics { step: point.step, at: point.at, figures: point.figures.clone() };
        self.tracking.log(&run, &metrics).await?;
        let path = format!("model/{}.json", point.version);
        self.tracking.upload(&run, &path, Bytes::from(point.document.clone())).await
    }
}
