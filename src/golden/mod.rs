//! Golden tests of definitions: one folder is a definition, input and expected answers.
//!
//! ```text
//! golden.toml                      definition = "path of the definition, from this folder"
//! input/<topic>.ndjson             records of a topic, in order
//! expected/<view>.ndjson           rows of a view, as GET /v1/views/<view>/rows answers them
//! expected/reports/<report>.ndjson rows of a report
//! expected/outputs/<output>.ndjson rows of all windows of an output, in the same form: those that have closed must be in its topic;
//!                                  of an output that takes the rows of a table, all of them, as they are in its topic, in any order
//! expected/predictions/<prediction>.ndjson records of a prediction over all windows: those that follow from closed ones must be in its topic
//! ```
//! A view over a topic that the pipeline itself writes needs no expected rows: what it holds depends on which windows have closed.
//!
//! Each case runs as speed only, as speed killed half-way and resumed, as batch only, and merged with the boundary
//! at every pane; every answer must equal the expected rows (see [`compare`]).

pub mod case;
pub mod compare;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use tideline_common::key::Key;
use tideline_common::plan::{OutputPlan, PredictionPlan, RowOutputPlan, ViewPlan};
use tideline_common::ports::{KeySelector, PaneQuery, ReadRequest, ViewSchema};
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};
use tideline_serving::boundary::Layer;
use tideline_serving::merge::{MAX_LIMIT, Reader, ReportRequest, RowsRequest};
use tideline_speed::close::ID_HEADER;

use crate::config::Config;
use crate::platform::{Platform, Stores};
use case::Case;
use compare::Answer;

/// Records in one append.
const CHUNK: usize = 100;
/// How long the speed layer may take to take everything in.
const PATIENCE: Duration = Duration::from_mins(1);

/// A check that was made.
#[derive(Debug)]
pub struct Checked {
    /// What was compared: mode and view or report.
    pub name: String,
    /// What differs; nothing when all is well.
    pub differences: Vec<String>,
}

/// Runs one case in every mode.
///
/// # Errors
/// A folder that cannot be read, or a run that cannot be made. Differences are no error here: they are in the checks.
pub fn run(folder: &Path) -> anyhow::Result<Vec<Checked>> {
    let case = Case::read(folder)?;
    let mut checks = Vec::new();
    for killed in [false, true] {
        let data = tempfile::tempdir()?;
        if killed {
            kill_half_way(&case, data.path())?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let found = runtime.block_on(straight(&case, data.path(), killed));
        runtime.shutdown_timeout(PATIENCE);
        checks.extend(found?);
    }
    Ok(checks)
}

/// Takes in the first half, and is dropped wherever it happens to be.
fn kill_half_way(case: &Case, data: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let config = config();
    runtime.block_on(async {
        let stores = Stores::open(data, &config).await?;
        let platform = Platform::start(Arc::new(case.plan.clone()), stores, &config).await?;
        append(&platform, case, Half::First).await?;
        // Some of it has been flushed, some has not; a checkpoint may be on its way.
        tokio::time::sleep(Duration::from_millis(150)).await;
        // Leaked on purpose: nothing is stopped in order. The runtime's end drops the tasks.
        drop(platform);
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(PATIENCE);
    Ok(())
}

fn config() -> Config {
    let mut config = Config::default();
    // Several checkpoints within a short test.
    config.speed.checkpoint_interval = tideline_common::time::Span::from_millis(200);
    config.batch.schedule = String::new();
    config
}

async fn straight(case: &Case, data: &Path, killed: bool) -> anyhow::Result<Vec<Checked>> {
    let config = config();
    let stores = Stores::open(data, &config).await?;
    let plan = Arc::new(case.plan.clone());
    let platform = Platform::start(Arc::clone(&plan), stores, &config).await?;
    append(&platform, case, if killed { Half::Second } else { Half::Both }).await?;
    caught_up(&platform).await?;
    let mode = |name: &str| if killed { format!("killed, {name}") } else { name.to_owned() };
    let mut checks = Vec::new();
    let compared = || plan.views.iter().filter(|view| case.views.contains_key(&view.name));
    for view in compared() {
        checks.push(check_view(&platform.reader, case, view, Layer::Speed, None, mode("speed")).await?);
    }
    for output in &plan.outputs {
        checks.push(check_output(&platform, case, output, mode("closed windows")).await?);
    }
    for prediction in &plan.predictions {
        checks.push(check_prediction(&platform, case, prediction, mode("closed windows")).await?);
    }
    for output in &plan.row_outputs {
        checks.push(check_rows(&platform, case, output, mode("rows")).await?);
    }
    let report = platform.batch.run().await.context("the batch run failed")?;
    if !report.is_clean() {
        checks.push(Checked { name: mode("batch run"), differences: vec![serde_json::to_string(&report)?] });
    }
    for view in compared() {
        checks.push(check_view(&platform.reader, case, view, Layer::Batch, None, mode("batch")).await?);
        // Once per case is enough for the costly part: the layers' contents are equal in both runs.
        let boundaries = if killed { Vec::new() } else { boundaries(&platform, view).await? };
        for boundary in boundaries {
            let name = mode(&format!("merged at {boundary}"));
            checks.push(check_view(&platform.reader, case, view, Layer::Merged, Some(boundary), name).await?);
        }
        checks.push(check_view(&platform.reader, case, view, Layer::Merged, None, mode("merged")).await?);
    }
    for name in case.reports.keys() {
        checks.push(check_report(&platform.reader, case, name, mode("report")).await?);
    }
    let agreement = platform.batch.reconcile(platform.stores.views.as_ref()).await?;
    let differences = if agreement.unexplained() == 0 { Vec::new() } else { vec![serde_json::to_string(&agreement)?] };
    checks.push(Checked { name: mode("agreement of the layers"), differences });
    platform.stop().await;
    Ok(checks)
}

#[derive(Clone, Copy, PartialEq)]
enum Half {
    First,
    Second,
    Both,
}

/// Appends the input, the topics in step with each other.
async fn append(platform: &Platform, case: &Case, half: Half) -> anyhow::Result<()> {
    let mut chunks: Vec<(f64, &str, &[Bytes])> = Vec::new();
    for (topic, records) in &case.input {
        for (at, chunk) in records.chunks(CHUNK).enumerate() {
            chunks.push(((at * CHUNK) as f64 / records.len() as f64, topic, chunk));
        }
    }
    chunks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = chunks.len() / 2;
    let chosen = match half {
        Half::First => &chunks[..middle],
        Half::Second => &chunks[middle..],
        Half::Both => &chunks[..],
    };
    for (_, topic, records) in chosen {
        platform.appender.append(topic, records.to_vec()).await.with_context(|| format!("topic {topic}"))?;
    }
    Ok(())
}

/// Waits until everything that the log holds is visible.
async fn caught_up(platform: &Platform) -> anyhow::Result<()> {
    platform.speed.seal().await?;
    let begun = Instant::now();
    while platform.speed.status().iter().any(|shard| shard.flushed < shard.position || shard.lag() > 0) {
        if begun.elapsed() > PATIENCE {
            bail!("the speed layer does not catch up: {:?}", platform.speed.status());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Starts of all panes that a view has, and the end of the last: with the boundary at the first, everything comes
/// from speed; at the last, everything from batch.
async fn boundaries(platform: &Platform, view: &ViewPlan) -> anyhow::Result<Vec<Timestamp>> {
    let mut panes = std::collections::BTreeSet::new();
    let mut after: Option<Key> = None;
    loop {
        let query = PaneQuery {
            keys: KeySelector::All { after: after.take() },
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            max_rows: 100_000,
        };
        let page = platform.stores.views.panes(&ViewSchema::from(view), &query, platform.stores.clock.now()).await?;
        for pane in &page.panes.panes {
            panes.insert(*pane);
            panes.insert(pane.plus(view.pane));
        }
        match page.more_after {
            Some(key) => after = Some(key),
            None => return Ok(panes.into_iter().collect()),
        }
    }
}

async fn check_view(
    reader: &Reader,
    case: &Case,
    view: &ViewPlan,
    layer: Layer,
    boundary: Option<Timestamp>,
    mode: String,
) -> anyhow::Result<Checked> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let request = RowsRequest {
            view: view.name.clone(),
            layer,
            limit: Some(MAX_LIMIT),
            cursor: cursor.take(),
            boundary,
            ..RowsRequest::default()
        };
        let answer = reader.rows(&request).await.with_context(|| format!("{mode}: {}", view.name))?;
        if !answer.provenance.missing.is_empty() {
            bail!("{mode}: {}: a part of the answer is missing: {:?}", view.name, answer.provenance.missing);
        }
        found.extend(answer.rows.iter().map(|row| Answer::of_row(&answer.key, &answer.columns, row)));
        match answer.cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let expected = case.views.get(&view.name).with_context(|| format!("expected/{}.ndjson is missing", view.name))?;
    let differences = compare::view(view, expected, &found);
    Ok(Checked { name: format!("{}: {mode}", view.name), differences })
}

/// The records of an output are the rows of every window that has closed, and of no other.
async fn check_output(platform: &Platform, case: &Case, output: &OutputPlan, mode: String) -> anyhow::Result<Checked> {
    let view = case.plan.view(&output.view).context("an output has a view")?;
    let expected = &case.outputs[&output.name];
    let name = format!("{}: {mode}", output.name);
    let begun = Instant::now();
    loop {
        platform.close.look().await?;
        let statuses = platform.close.status();
        let of_view = || statuses.iter().filter(|status| status.view == output.view);
        let through = of_view().map(|status| status.through).min().flatten();
        let read = of_view().count() > 0 && of_view().all(|status| status.lag() == 0);
        let mut found: BTreeMap<String, Answer> = BTreeMap::new();
        let mut differences = Vec::new();
        for record in records(platform, &output.topic).await? {
            let json = serde_json::from_slice(&record.payload).context("a record of an output is JSON")?;
            let answer = Answer::of_record(&view.key, &json).context("a record of an output has a key and a window")?;
            if let Some(other) = found.insert(answer.group.clone(), answer.clone())
                && other.values != answer.values
            {
                differences.push(format!("{} is there twice, and not the same", answer.group));
            }
        }
        let closed = |row: &&serde_json::Value| {
            let start = row["window_start"].as_str().and_then(|text| Timestamp::parse(text).ok());
            start.zip(through).is_some_and(|(start, through)| start < through)
        };
        let wanted: Vec<serde_json::Value> = expected.iter().filter(closed).cloned().collect();
        let found: Vec<Answer> = found.into_values().collect();
        differences.extend(compare::view(view, &wanted, &found));
        // While windows close, one may have come that is not told of yet.
        if read && !wanted.is_empty() && differences.is_empty() {
            return Ok(Checked { name, differences });
        }
        if begun.elapsed() > PATIENCE {
            differences.push(format!("{} of {} closed rows came: {statuses:?}", found.len(), wanted.len()));
            return Ok(Checked { name, differences });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The records of a prediction are those that follow from every window that has closed, and no others.
async fn check_prediction(
    platform: &Platform,
    case: &Case,
    prediction: &PredictionPlan,
    mode: String,
) -> anyhow::Result<Checked> {
    let view = case.plan.view(&prediction.view).context("a prediction has a view")?;
    let expected = &case.predictions[&prediction.name];
    let name = format!("{}: {mode}", prediction.name);
    let begun = Instant::now();
    loop {
        platform.close.look().await?;
        let statuses = platform.close.status();
        let of_view = || statuses.iter().filter(|status| status.view == prediction.view);
        let through = of_view().map(|status| status.through).min().flatten();
        let read = of_view().count() > 0 && of_view().all(|status| status.lag() == 0);
        let records = records(platform, &prediction.topic).await?;
        let found: Result<Vec<serde_json::Value>, _> =
            records.iter().map(|record| serde_json::from_slice(&record.payload)).collect();
        let found = found.context("a record of a prediction is JSON")?;
        // One of a window to come follows from the window before.
        let follows = |row: &&serde_json::Value| {
            let window = row["timestamp"].as_str().and_then(|text| Timestamp::parse(text).ok());
            let after = if row["status"] == "settled" { Span::ZERO } else { view.window.slide };
            window.zip(through).is_some_and(|(window, through)| window.minus(after) < through)
        };
        let wanted: Vec<serde_json::Value> = expected.iter().filter(follows).cloned().collect();
        let mut differences = compare::prediction(&wanted, &found);
        if read && !wanted.is_empty() && differences.is_empty() {
            return Ok(Checked { name, differences });
        }
        if begun.elapsed() > PATIENCE {
            differences.push(format!("{} records came, {} should have: {statuses:?}", found.len(), wanted.len()));
            return Ok(Checked { name, differences });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The records of an output of a table are its rows, each once but for copies that are the same.
async fn check_rows(platform: &Platform, case: &Case, output: &RowOutputPlan, mode: String) -> anyhow::Result<Checked> {
    let mut found: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut differences = Vec::new();
    for record in records(platform, &output.topic).await? {
        let (_, id) = record.headers.iter().find(|(name, _)| name == ID_HEADER).context("a row has an id")?;
        if let Some(other) = found.insert(id.clone(), record.payload.clone())
            && other != record.payload
        {
            differences.push(format!("{} is there twice, and not the same", String::from_utf8_lossy(id)));
        }
    }
    let found: Result<Vec<serde_json::Value>, _> = found.values().map(|row| serde_json::from_slice(row)).collect();
    differences.extend(compare::rows(&case.outputs[&output.name], &found.context("a row of an output is JSON")?));
    Ok(Checked { name: format!("{}: {mode}", output.name), differences })
}

/// The records of a topic.
async fn records(platform: &Platform, topic: &str) -> anyhow::Result<Vec<Record>> {
    let mut all = Vec::new();
    for (partition, (first, next)) in platform.stores.log.topic(topic).await?.partitions {
        let mut from = first;
        while from < next {
            let request = ReadRequest {
                topic: topic.to_owned(),
                partition,
                from,
                max_records: 10_000,
                max_bytes: 16 << 20,
                wait: Duration::from_secs(1),
            };
            let records = platform.stores.log.read(&request).await?;
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            all.extend(records);
        }
    }
    Ok(all)
}

async fn check_report(reader: &Reader, case: &Case, name: &str, mode: String) -> anyhow::Result<Checked> {
    let mut found = Vec::new();
    let mut columns = Vec::new();
    loop {
        let request = ReportRequest {
            report: name.to_owned(),
            filters: Vec::new(),
            offset: found.len() as u64,
            limit: Some(MAX_LIMIT),
            cursor: None,
        };
        let answer = reader.report(&request).await.with_context(|| format!("{mode}: {name}"))?;
        columns.clone_from(&answer.columns);
        let more = answer.cursor.is_some();
        found.extend(answer.rows);
        if !more {
            break;
        }
    }
    let differences = compare::report(&columns, &case.reports[name], &found);
    Ok(Checked { name: format!("{name}: {mode}"), differences })
}
