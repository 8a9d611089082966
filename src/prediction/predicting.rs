//! One prediction, in one partition of its view's changes.
//!
//! Windows are learnt from in an order that is always the same: by start, and by key. One that has closed for its key waits
//! until all keys have closed theirs, so that what is predicted never depends on how changes came to be read.
//!
//! A definition that does not fit what was learnt is refused: nothing is predicted, what was learnt is kept as it is, and
//! goes on when the definition fits again. Whoever else waits for windows notices nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use tideline_common::key::Key;
use tideline_common::plan::{PredictionPlan, ViewPlan};
use tideline_common::position::Partition;
use tideline_common::prediction::{
    FeatureStatus, ModelStatus, PredictionStatus, REPORTS_KEPT, ReportFormat, WindowCounts, hour_name, report_path,
    status_path,
};
use tideline_common::state::{CodecError, Reader, write_bytes};
use tideline_common::time::{Span, Timestamp};
use tideline_common::window::Window;
use tideline_predict::drift::{DriftSpec, RecorderSpec, html};
use tideline_predict::model::Model;
use tideline_predict::predictor::{Arrival, Settled};
use tideline_predict::spec::PredictorSpec;
use tideline_speed::close::consumer::{Consumer, Effect, KeyWindow};

use super::gauges::Gauges;
use super::record::Records;
use super::saved::{Drift, Memory, Unreadable};
use super::tracker::{Point, Points};
use super::{predictor_spec, recorder_spec};

/// See the module.
#[derive(Debug)]
pub(super) struct Predicting {
    plan: PredictionPlan,
    window: Window,
    partition: Partition,
    specs: (PredictorSpec, RecorderSpec),
    records: Records,
    /// The columns that are learnt from, and where they stand among the values of a window.
    columns: Vec<(String, Option<usize>)>,
    work: Work,
    points: Option<Points>,
    gauges: Gauges,
}

/// Whether it works.
#[derive(Debug)]
enum Work {
    /// It does.
    Running(Box<Memory>),
    /// It does not, for a reason.
    Refused {
        reason: String,
        /// What was saved, to be saved again.
        saved: Option<Vec<u8>>,
        /// Whether it has been told.
        told: bool,
    },
}

impl Predicting {
    pub(super) fn new(plan: PredictionPlan, view: &ViewPlan, partition: Partition, points: Option<Points>) -> Self {
        let specs = (predictor_spec(&plan, view), recorder_spec(&plan));
        let place = |name: &String| view.answer.iter().position(|field| field.name == *name);
        let columns = specs.0.columns().into_iter().map(|name| (name.clone(), place(&name))).collect();
        let work = match Memory::new(specs.0.clone(), specs.1.clone()) {
            Ok(memory) => Work::Running(Box::new(memory)),
            Err(reason) => Work::Refused { reason, saved: None, told: false },
        };
        let records = Records::new(&plan.name, &plan.target, &view.key, view.window.size);
        let gauges = Gauges::new(&plan, partition);
        let predicting = Self { window: view.window, partition, specs, records, columns, work, points, gauges, plan };
        predicting.tell_condition();
        predicting
    }

    /// Tells operators whether it works.
    fn tell_condition(&self) {
        if let Work::Refused { reason, .. } = &self.work {
            tracing::error!(prediction = self.plan.name, partition = self.partition, reason, "nothing is predicted");
        }
        self.gauges.refused(matches!(self.work, Work::Refused { .. }));
    }

    /// Tells how the models are doing.
    fn tell_errors(&self, memory: &Memory) {
        for model in memory.predictor.models() {
            self.gauges.errors(model.version(), &model.metrics());
        }
    }

    /// Takes in the windows that wait and start before `through`.
    fn learn(&self, memory: &mut Memory, through: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let later = memory.waiting.split_off(&(through, Vec::new()));
        let windows = std::mem::replace(&mut memory.waiting, later);
        memory.through = memory.through.max(Some(through));
        let some = !windows.is_empty();
        let label = [("prediction", self.plan.name.clone())];
        let (updating, predicting) =
            (metrics::histogram!("ml_update_seconds", &label), metrics::histogram!("ml_prediction_seconds", &label));
        let mut made: BTreeMap<std::sync::Arc<str>, u64> = BTreeMap::new();
        for ((start, key), values) in windows {
            // Whatever comes from now on is in this hour, or in one after it.
            self.report(memory, start, effects);
            let key = Key(key);
            let value = |name: &str| {
                let at = self.columns.iter().position(|(column, _)| column == name)?;
                values.get(at).copied().flatten()
            };
            let began = Instant::now();
            let (arrival, settled) = memory.predictor.learn(&key, start, value);
            updating.record(began.elapsed().as_secs_f64());
            for settled in &settled {
                self.append(self.records.settled(key.as_bytes(), settled), effects);
            }
            self.track(memory, start, &settled);
            if arrival != Arrival::New {
                continue;
            }
            let began = Instant::now();
            let predictions = memory.predictor.predict(&key);
            predicting.record(began.elapsed().as_secs_f64());
            for prediction in predictions {
                self.append(self.records.predicted(key.as_bytes(), &prediction), effects);
                *made.entry(prediction.version).or_default() += u64::from(prediction.predicted.is_some());
            }
            memory.recorder.record(start, memory.predictor.features(&key), &settled);
        }
        let reported = memory.reports.back().copied();
        self.report(memory, through, effects);
        for (version, made) in made {
            let labels = [("prediction", self.plan.name.clone()), ("model_version", version.to_string())];
            metrics::counter!("ml_predictions_total", &labels).increment(made);
        }
        if some {
            self.tell_errors(memory);
        }
        if some || memory.reports.back().copied() != reported {
            self.store_status(&self.status(memory, now), effects);
        }
    }

    fn append(&self, record: tideline_common::record::NewRecord, effects: &mut Vec<Effect>) {
        effects.push(Effect::Append { topic: self.plan.topic.clone(), record });
    }

    /// The report of the newest hour, if nothing more comes for it before `until`, and there is one a day before.
    fn report(&self, memory: &mut Memory, until: Timestamp, effects: &mut Vec<Effect>) {
        let Some(hour) = memory.recorder.newest() else { return };
        if hour.plus(Span::HOUR) > until || memory.reports.back().is_some_and(|reported| *reported >= hour) {
            return;
        }
        let Some(report) = memory.recorder.report(&self.plan.name, hour, &DriftSpec::default()) else { return };
        let json = match serde_json::to_vec_pretty(&report) {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(prediction = self.plan.name, %error, "a drift report could not be written");
                return;
            }
        };
        let path = |hour, format| report_path(&self.plan.name, self.partition, hour, format);
        let mut store = |path, content| effects.push(Effect::Store { path, content });
        store(path(hour, ReportFormat::Html), Some(Bytes::from(html::page(&report))));
        store(path(hour, ReportFormat::Json), Some(Bytes::from(json)));
        memory.reports.push_back(hour);
        while memory.reports.len() > REPORTS_KEPT {
            if let Some(old) = memory.reports.pop_front() {
                store(path(old, ReportFormat::Html), None);
                store(path(old, ReportFormat::Json), None);
            }
        }
        let drift = Drift { share: report.dataset.share, drifted: report.dataset.drift };
        memory.drift = Some(drift);
        self.gauges.drift(drift);
    }

    /// Tells the tracker of experiments of versions whose number of compared predictions is a round one.
    fn track(&self, memory: &Memory, start: Timestamp, settled: &[Settled]) {
        let Some(points) = &self.points else { return };
        for model in memory.predictor.models() {
            let compared = settled.iter().any(|was| *was.version == *model.version() && was.error.is_some());
            let metrics = model.metrics();
            if compared && metrics.evaluated.is_multiple_of(points.every()) {
                points.tell(Point {
                    prediction: self.plan.name.clone(),
                    partition: self.partition,
                    version: model.version().to_owned(),
                    params: model.parameters(),
                    step: metrics.evaluated,
                    at: start.plus(self.window.size),
                    figures: [("mae", metrics.mae), ("rmse", metrics.rmse), ("r2", metrics.r2)]
                        .map(|(name, figure)| (name.to_owned(), figure))
                        .to_vec(),
                    document: serde_json::to_vec_pretty(&model.document()).unwrap_or_default(),
                });
            }
        }
    }

    fn status(&self, memory: &Memory, now: Timestamp) -> PredictionStatus {
        let counters = memory.predictor.counters();
        PredictionStatus {
            through: memory.through.map(|through| through.to_string()),
            keys: memory.predictor.keys() as u64,
            windows: WindowCounts {
                new: counters.windows,
                without_target: counters.without_target,
                after_gap: counters.after_gap,
                forgotten_keys: counters.evicted,
            },
            models: memory.predictor.models().iter().map(model_status).collect(),
            drift: memory.reports.iter().rev().map(|hour| hour_name(*hour)).collect(),
            ..self.empty_status(now)
        }
    }

    fn empty_status(&self, now: Timestamp) -> PredictionStatus {
        PredictionStatus {
            prediction: self.plan.name.clone(),
            partition: self.partition,
            through: None,
            written_at: now.to_string(),
            refused: None,
            keys: 0,
            windows: WindowCounts::default(),
            models: Vec::new(),
            drift: Vec::new(),
        }
    }

    fn store_status(&self, status: &PredictionStatus, effects: &mut Vec<Effect>) {
        // Numbers and texts: there is nothing that could not be written.
        let content = serde_json::to_vec(status).unwrap_or_default();
        let path = status_path(&self.plan.name, self.partition);
        effects.push(Effect::Store { path, content: Some(content.into()) });
    }
}

fn model_status(model: &Model) -> ModelStatus {
    let (document, metrics) = (model.document(), model.metrics());
    ModelStatus {
        version: document.version,
        predictions: model.predictions(),
        evaluated: metrics.evaluated,
        mae: metrics.mae,
        rmse: metrics.rmse,
        r2: metrics.r2,
        intercept: document.intercept,
        features: document
            .features
            .into_iter()
            .map(|feature| FeatureStatus {
                name: feature.name,
                mean: feature.mean,
                variance: feature.variance,
                weight: feature.weight,
            })
            .collect(),
    }
}

impl Consumer for Predicting {
    fn name(&self) -> String {
        format!("prediction {}", self.plan.name)
    }

    fn window(&self) -> Window {
        self.window
    }

    fn closed(&mut self, window: &KeyWindow<'_>, _: &mut Vec<Effect>) {
        let Work::Running(memory) = &mut self.work else { return };
        let value = |at: Option<usize>| window.values.get(at?)?.as_f64();
        let values = self.columns.iter().map(|(_, at)| value(*at)).collect();
        memory.waiting.insert((window.start, window.key.to_vec()), values);
    }

    fn complete(&mut self, through: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        // Taken for as long as it is worked on.
        let nothing = Work::Refused { reason: String::new(), saved: None, told: true };
        match std::mem::replace(&mut self.work, nothing) {
            Work::Running(mut memory) => {
                self.learn(&mut memory, through, now, effects);
                self.work = Work::Running(memory);
            }
            Work::Refused { reason, saved, told } => {
                if !told {
                    let status = PredictionStatus { refused: Some(reason.clone()), ..self.empty_status(now) };
                    self.store_status(&status, effects);
                }
                self.work = Work::Refused { reason, saved, told: true };
            }
        }
    }

    fn save(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        match &self.work {
            Work::Running(memory) => memory.write(&mut body),
            Work::Refused { saved, .. } => body.extend_from_slice(saved.as_deref().unwrap_or_default()),
        }
        write_bytes(&body, out);
    }

    fn restore(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        let body = reader.bytes()?;
        // Refused before anything was learnt.
        if body.is_empty() {
            return Ok(());
        }
        let (predictor, recorder) = self.specs.clone();
        self.work = match Memory::read(body, predictor, recorder) {
            Ok(memory) => Work::Running(Box::new(memory)),
            Err(Unreadable::Damaged(error)) => return Err(error),
            Err(Unreadable::Refused(reason)) => Work::Refused { reason, saved: Some(body.to_vec()), told: false },
        };
        self.tell_condition();
        if let Work::Running(memory) = &self.work {
            self.tell_errors(memory);
            // The next report may be an hour away.
            if let Some(drift) = memory.drift {
                self.gauges.drift(drift);
            }
        }
        Ok(())
    }
}
