//! Agreement of the layers: every pane that speed served and batch has taken over is compared.
//!
//! For each view, panes ending at or before the boundary are read from both sides, Gold a bucket at a time, speed
//! a page of keys at a time; the states of a group's shards are merged and compared state by state: counts,
//! extremes, first and last values and sketches exactly, float sums within a tolerance. Equal states finish to
//! equal answers. Both directions are seen: groups that only one side has are differences too.
//!
//! # What explains a difference
//! 1. **late**: the speed layer counted late rows for the group.
//! 2. **expired**: the view's speed rows live for a limited time, and some partition has had no record of the group
//!    for longer than that, by the append times in Bronze. (A row may have been written later than its records were
//!    appended, after an outage; it then lives longer than this says, which can only excuse a difference that there is.)
//! 3. **duplicate**: in the pane, batch left out a duplicate whose first copy came from another partition. It is known per
//!    pane, not per key.
//! 4. **not yet**: the speed layer is behind the manifest, or ahead of it and the pane could still take records
//!    that were on time.
//!
//! Anything else is **unexplained**: a bug.

mod agreement;
mod compare;
mod evidence;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tideline_common::key::Key;
use tideline_common::manifest::{Manifest, TimedFile, ViewFiles};
use tideline_common::plan::ViewPlan;
use tideline_common::ports::{KeySelector, PaneQuery, SpeedViews, ViewSchema};
use tideline_common::position::{Offset, Positions, Shard};
use tideline_common::state::{StateBatch, StateTable};
use tideline_common::time::Timestamp;
use tideline_transform::frame;

use crate::context::Context;
use crate::error::BatchError;
use crate::layer::BatchLayer;
use crate::{gold, lake, publish};
pub use agreement::{Agreement, Difference, Example, ViewAgreement};
use compare::Tolerance;
use evidence::{Evidence, Group, Standing};

impl BatchLayer {
    /// Compares what the speed layer serves with the published version: `tideline verify`.
    ///
    /// # Errors
    /// When a store fails or Gold cannot be read. A difference is no error: see [`Agreement::unexplained`].
    pub async fn reconcile(&self, views: &dyn SpeedViews) -> Result<Agreement, BatchError> {
        let now = self.clock.now();
        let Some(manifest) = self.manifests.current().await? else {
            return Ok(Agreement { version: 0, at: now, views: BTreeMap::new() });
        };
        let context = Context::new(
            Arc::clone(&self.engines),
            self.lake.clone(),
            Arc::clone(&self.config),
            publish::run_id(now),
            Arc::clone(&self.clock),
            self.stop.clone(),
        );
        let before = positions_of(views).await?;
        let mut agreement = Agreement { version: manifest.version, at: now, views: BTreeMap::new() };
        for view in &context.plan().views {
            let comparison = Comparison {
                context: &context,
                views,
                manifest: &manifest,
                view,
                before: &before,
                live_from: None,
                found: ViewAgreement::default(),
            };
            let found = comparison.run().await?;
            report(&view.name, &found);
            agreement.views.insert(view.name.clone(), found);
        }
        Ok(agreement)
    }
}

async fn positions_of(views: &dyn SpeedViews) -> Result<BTreeMap<Shard, Offset>, BatchError> {
    Ok(views.progress().await?.into_iter().map(|(shard, progress)| (shard, progress.position)).collect())
}

fn report(view: &str, found: &ViewAgreement) {
    let counts = [
        ("equal", found.equal),
        (Difference::Late.name(), found.late),
        (Difference::Expired.name(), found.expired),
        (Difference::Duplicate.name(), found.duplicate),
        (Difference::NotYet.name(), found.not_yet),
        (Difference::Unexplained.name(), found.unexplained),
    ];
    for (outcome, count) in counts {
        metrics::counter!("tideline_agreement_panes_total", "view" => view.to_owned(), "outcome" => outcome)
            .increment(count);
    }
    if found.unexplained > 0 {
        tracing::error!(view, unexplained = found.unexplained, compared = found.compared, "the layers disagree");
    } else {
        tracing::info!(view, compared = found.compared, equal = found.equal, "the layers agree");
    }
}

/// The comparison of one view.
struct Comparison<'a> {
    context: &'a Context,
    views: &'a dyn SpeedViews,
    manifest: &'a Manifest,
    view: &'a ViewPlan,
    /// Positions of the speed layer before anything was read: its rows hold at least this.
    before: &'a BTreeMap<Shard, Offset>,
    /// Found when first needed: it reads Bronze.
    live_from: Option<BTreeMap<String, Positions>>,
    found: ViewAgreement,
}

/// A group on which the sides differ, not yet explained.
struct Differing {
    group: Group,
    field: Option<String>,
    speed: Option<String>,
    batch: Option<String>,
    /// The speed layer counts something more than batch: no expiry does that.
    more: bool,
}

impl Comparison<'_> {
    async fn run(mut self) -> Result<ViewAgreement, BatchError> {
        let skip = |reason: &str| ViewAgreement { skipped: Some(reason.to_owned()), ..ViewAgreement::default() };
        let Some(files) = self.manifest.views.get(&self.view.name) else {
            return Ok(skip("the published version does not have this view yet"));
        };
        if files.plan != self.view.version {
            return Ok(skip("the published version has another definition of this view"));
        }
        let Some(through) = files.through else { return Ok(skip("no pane belongs to batch yet")) };
        self.found.through = Some(through);
        for (range, file) in self.ranges(files, through) {
            self.context.check()?;
            self.compare(&range, file).await?;
        }
        Ok(self.found)
    }

    /// All time up to `through`, cut at the Gold files: what lies between them is compared with nothing.
    fn ranges<'f>(&self, files: &'f ViewFiles, through: Timestamp) -> Vec<(Range<Timestamp>, Option<&'f TimedFile>)> {
        let bucket = gold::bucket_of(self.view, &self.context.config);
        // What batch has forgotten is not compared, nor what it could no longer correct.
        let tables = &self.manifest.tables;
        let least = gold::horizon(self.view, tables, bucket).max(gold::complete_from(self.view, tables, bucket));
        let mut at = least.unwrap_or(Timestamp::MIN);
        let mut ranges = Vec::new();
        for file in &files.files {
            let from = file.min_time.max(at);
            let to = file.max_time.plus(self.view.pane).min(through);
            if from >= to {
                continue;
            }
            if at < from {
                ranges.push((at..from, None));
            }
            ranges.push((from..to, Some(file)));
            at = to;
        }
        if at < through {
            ranges.push((at..through, None));
        }
        ranges
    }

    async fn compare(&mut self, range: &Range<Timestamp>, file: Option<&TimedFile>) -> Result<(), BatchError> {
        let batch = self.gold(range, file).await?;
        let mut matched = vec![false; batch.len()];
        let mut differing = Vec::new();
        let schema = ViewSchema::from(self.view);
        let mut after: Option<Key> = None;
        loop {
            let query = PaneQuery {
                keys: KeySelector::All { after },
                from: range.start,
                to: range.end,
                max_rows: self.context.config.verify_page.max(1),
            };
            let page = self.views.panes(&schema, &query, self.context.now).await?;
            // The shards of a group meet here.
            let mut speed = StateTable::new(&self.view.fields);
            speed.merge(&page.panes);
            self.compare_page(&speed, &batch, &mut matched, &mut differing);
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
        for row in (0..batch.len()).filter(|row| !matched[*row]) {
            self.found.compared += 1;
            self.found.missing_in_speed += 1;
            let groups = batch.groups();
            let text = describe_group(groups, row);
            differing.push(Differing {
                group: group_of(groups, row),
                field: None,
                speed: None,
                batch: Some(text),
                more: false,
            });
        }
        if differing.is_empty() { Ok(()) } else { self.explain(range, differing).await }
    }

    /// Gold states of a range.
    async fn gold(&self, range: &Range<Timestamp>, file: Option<&TimedFile>) -> Result<StateTable, BatchError> {
        let mut table = StateTable::new(&self.view.fields);
        let Some(file) = file else { return Ok(table) };
        let content = self.context.lake.read(&file.path).await?;
        let (schema, range) = (ViewSchema::from(self.view), range.clone());
        lake::blocking(move || {
            let states = frame::frame_to_states(&schema, &content)?;
            let mut wanted = StateBatch::new(&schema.fields);
            for row in (0..states.len()).filter(|row| range.contains(&states.panes[*row])) {
                wanted.push_from(&states, row);
            }
            table.merge(&wanted);
            Ok(table)
        })
        .await
    }

    fn compare_page(
        &mut self,
        speed: &StateTable,
        batch: &StateTable,
        matched: &mut [bool],
        differing: &mut Vec<Differing>,
    ) {
        let config = &self.context.config;
        let tolerance = Tolerance { relative: config.tolerance, absolute: config.tolerance_absolute };
        let (left, right) = (speed.groups(), batch.groups());
        for row in 0..left.len() {
            self.found.compared += 1;
            let Some(other) = batch.find(left.keys.get(row), left.panes[row]) else {
                self.found.missing_in_batch += 1;
                let text = describe_group(left, row);
                differing.push(Differing {
                    group: group_of(left, row),
                    field: None,
                    speed: Some(text),
                    batch: None,
                    more: true,
                });
                continue;
            };
            matched[other] = true;
            match compare::differs(left, row, right, other, tolerance) {
                None => self.found.equal += 1,
                Some(column) => differing.push(Differing {
                    group: group_of(left, row),
                    field: self.view.fields.get(column).map(|field| field.name.clone()),
                    speed: Some(compare::describe(&left.states[column], row)),
                    batch: Some(compare::describe(&right.states[column], other)),
                    more: compare::counts_more(&self.view.fields, left, row, right, other),
                }),
            }
        }
    }

    async fn explain(&mut self, range: &Range<Timestamp>, differing: Vec<Differing>) -> Result<(), BatchError> {
        if let Some(ttl) = self.view.retain_speed
            && self.live_from.is_none()
        {
            let edge = self.context.now.minus(ttl);
            self.live_from = Some(evidence::live_from(self.context, self.view, edge).await?);
        }
        // Positions are read again, after the rows: these hold at most this.
        let after = positions_of(self.views).await?;
        let standing = Standing::of(self.context, self.view, self.manifest, self.before, &after);
        let live_from = self.live_from.as_ref();
        // The range before the first file begins with time itself: evidence is only where differences are.
        let panes = || differing.iter().map(|difference| difference.group.1);
        let from = panes().min().unwrap_or(range.start);
        let to = panes().max().map_or(range.end, |pane| pane.plus(self.view.pane));
        let evidence =
            Evidence::gather(self.context, self.views, self.view, self.manifest, &(from..to), live_from).await?;
        for difference in differing {
            let because = evidence.explain(self.view, &standing, &difference.group, difference.more);
            self.found.count(because, 1);
            if self.found.wants(because) {
                let (key, pane) = difference.group;
                let values = Key(key).values().unwrap_or_default();
                self.found.keep(Example {
                    key: values.iter().map(ToString::to_string).collect(),
                    pane,
                    because,
                    field: difference.field,
                    speed: difference.speed,
                    batch: difference.batch,
                });
            }
        }
        Ok(())
    }
}

fn group_of(groups: &StateBatch, row: usize) -> Group {
    (groups.keys.get(row).to_vec(), groups.panes[row])
}

fn describe_group(groups: &StateBatch, row: usize) -> String {
    let states: Vec<String> = groups.states.iter().take(8).map(|column| compare::describe(column, row)).collect();
    states.join(", ")
}
