//! Where time goes: the histograms of the speed layer, and the processor time of the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

/// CPU time of this process.
pub fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on Linux.
    Duration::from_millis(ticks * 10)
}

/// Sums of the histograms of the speed layer, by name and stage.
#[derive(Debug, Default)]
pub struct Spent(Mutex<BTreeMap<String, Arc<Sum>>>);

#[derive(Debug, Default)]
struct Sum {
    nanos: AtomicU64,
    calls: AtomicU64,
}

impl HistogramFn for Sum {
    fn record(&self, seconds: f64) {
        self.nanos.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl Spent {
    /// Gathers them from now on, for this process.
    ///
    /// # Errors
    /// When something else does.
    pub fn install() -> Result<&'static Self> {
        let spent: &'static Self = Box::leak(Box::default());
        metrics::set_global_recorder(spent).map_err(|_| anyhow!("a recorder is there already"))?;
        Ok(spent)
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        for sum in self.0.lock().values() {
            sum.nanos.store(0, Ordering::Relaxed);
            sum.calls.store(0, Ordering::Relaxed);
        }
    }

    /// Seconds and calls.
    pub fn stages(&self) -> Vec<(String, (f64, u64))> {
        let sums = self.0.lock();
        let of = |sum: &Sum| (sum.nanos.load(Ordering::Relaxed) as f64 / 1e9, sum.calls.load(Ordering::Relaxed));
        sums.iter().map(|(name, sum)| (name.clone(), of(sum))).filter(|(_, (_, calls))| *calls > 0).collect()
    }
}

impl Recorder for Spent {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let stage = key.labels().find(|label| label.key() == "stage").map(|label| format!(" {}", label.value()));
        let name = key.name().trim_start_matches("tideline_speed_").trim_end_matches("_seconds");
        let sum = Arc::clone(self.0.lock().entry(name.to_owned() + &stage.unwrap_or_default()).or_default());
        Histogram::from_arc(sum)
    }
}
