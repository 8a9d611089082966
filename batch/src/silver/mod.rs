//! Bronze to Silver, incrementally by position.
//!
//! Each source goes on where the manifest says it stopped: files of the chain after its positions are decoded by
//! the function that the speed layer uses, duplicates of the whole source are left out (the first by partition and
//! offset stays; what an earlier run took in stays before all), and the rows of each table are written in chunks of bounded size.
//!
//! With `batch.share` the decoding and writing is shared with other processes (see [`share`]); the result is the same.
//!
//! A source whose plan has changed begins again at the start of its chain with all its tables. When only some of
//! its tables changed (or are new), the chain is read from its start for those, and the others go on from their
//! positions.

pub(crate) mod seen;
mod share;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use polars::prelude::DataFrame;
use tideline_common::manifest::{Manifest, SourceProgress, TableFiles};
use tideline_common::plan::SourcePlan;
use tideline_common::ports::PortError;
use tideline_common::position::{Offset, Positions};
use tideline_common::time::Timestamp;
use tideline_transform::bronze::chain::ChainFile;
use tideline_transform::{Decoded, SourceTransform, bronze};
use tokio::task::JoinHandle;

use crate::chain::{self, Unit, UnitSize};
use crate::compact::compact;
use crate::context::Context;
use crate::error::BatchError;
use crate::lake;
use seen::Seen;
use share::Keys;
pub(crate) use share::Worker;
pub(crate) use write::Touched;
use write::Writer;

/// What the stage did.
#[derive(Debug, Default)]
pub(crate) struct SilverOutcome {
    pub(crate) sources: BTreeMap<String, SourceProgress>,
    pub(crate) tables: BTreeMap<String, TableFiles>,
    pub(crate) touched: Touched,
    pub(crate) counts: SilverCounts,
}

/// Counts of one run (not of all time).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SilverCounts {
    /// Records read from Bronze.
    pub records: u64,
    /// … of which were rejected.
    pub rejected: u64,
    /// … of which were duplicates.
    pub duplicates: u64,
    /// Rows written, over all tables.
    pub rows: u64,
    /// Files written.
    pub files: u64,
}

/// Takes in what Bronze has beyond the positions of `base`.
pub(crate) async fn advance(context: &Context, base: &Manifest) -> Result<SilverOutcome, BatchError> {
    let mut outcome = SilverOutcome::default();
    for source in &context.plan().sources {
        context.check()?;
        SourceRun::new(context, source, base)?.run(&mut outcome).await?;
    }
    Ok(outcome)
}

struct SourceRun<'a> {
    context: &'a Context,
    source: &'a SourcePlan,
    transform: Arc<SourceTransform>,
    progress: SourceProgress,
    /// Files of unchanged tables.
    tables: BTreeMap<String, TableFiles>,
    /// Tables that are made from the start of the chain.
    stale: Vec<String>,
    /// Where the tables that are not stale go on, when there are stale ones.
    resume: Option<Positions>,
    seen: Seen,
    /// The keys of a unit of a shared run: who coordinates it knows what was seen, not who does a unit.
    keys: Option<Keys>,
}

/// How often a chain is listed again because files have vanished or do not join.
const LISTINGS: usize = 3;

/// Rows of a unit by table, in the making.
type TableTask = JoinHandle<Result<Vec<(String, DataFrame)>, BatchError>>;

struct Read {
    unit: Unit,
    next: Offset,
    records: u64,
    decoded: Decoded,
}

impl<'a> SourceRun<'a> {
    fn new(context: &'a Context, source: &'a SourcePlan, base: &Manifest) -> Result<Self, BatchError> {
        let before = base.sources.get(&source.name).filter(|progress| progress.plan == source.version);
        let mut tables = BTreeMap::new();
        let mut stale = Vec::new();
        for table in context.plan().tables_of(&source.name) {
            let same = |files: &&TableFiles| before.is_some() && files.plan == table.version;
            let files = base.tables.get(&table.name).filter(same).cloned().unwrap_or_else(|| {
                stale.push(table.name.clone());
                TableFiles { plan: table.version.clone(), ..TableFiles::default() }
            });
            tables.insert(table.name.clone(), files);
        }
        let fresh = SourceProgress { plan: source.version.clone(), ..SourceProgress::default() };
        let (mut progress, resume) = match before {
            Some(before) if stale.is_empty() => (before.clone(), None),
            Some(before) => (fresh, Some(before.positions.clone())),
            None => (fresh, None),
        };
        let seen = Seen::new(&source.name, std::mem::take(&mut progress.seen));
        let transform = context.engines.source(&source.name)?;
        Ok(Self { context, source, transform, progress, tables, stale, resume, seen, keys: None })
    }

    async fn run(mut self, outcome: &mut SilverOutcome) -> Result<(), BatchError> {
        let config = &self.context.config;
        let mut writer = Writer::default();
        if let Some(resume) = self.resume.clone() {
            tracing::info!(source = self.source.name, tables = ?self.stale, "tables changed: reading Bronze from its start");
            let stale = self.stale.clone();
            self.take_in(Positions::new(), Some(&resume), stale, &mut writer, &mut outcome.counts).await?;
        }
        let from = self.resume.clone().unwrap_or_else(|| self.progress.positions.clone());
        let all = self.tables.keys().cloned().collect();
        self.take_in(from, None, all, &mut writer, &mut outcome.counts).await?;
        self.seen.flush(self.context, config.seen_keys).await?;
        writer.flush(self.context).await?;
        self.finish(writer, outcome).await
    }

    /// Takes in the records of [from, until). Files that are joined to others meanwhile are looked for again.
    async fn take_in(
        &mut self,
        mut from: Positions,
        until: Option<&Positions>,
        tables: Vec<String>,
        writer: &mut Writer,
        counts: &mut SilverCounts,
    ) -> Result<(), BatchError> {
        let (context, source) = (self.context, &self.source.name);
        let config = &context.config;
        let size = UnitSize { bytes: config.unit_bytes.max(1), records: config.unit_records.max(1) as u64 };
        if config.share {
            self.take_in_shared(&from, until, &tables, writer, counts).await?;
            for (partition, position) in &self.progress.positions {
                from.insert(*partition, *position);
            }
        }
        let mut listings = 0;
        loop {
            let chains = chain::list(context.lake.objects.as_ref(), source).await?;
            let units = chain::units(&chains, &from, until, size, listings > 0);
            match self.take_units(units, tables.clone(), writer, counts).await {
                Err(error @ (BatchError::Vanished { .. } | BatchError::Gap { .. })) if listings < LISTINGS => {
                    tracing::info!(source, %error, "listing Bronze again");
                    listings += 1;
                    from.clone_from(&self.progress.positions);
                }
                result => return result,
            }
        }
    }

    async fn take_units(
        &mut self,
        units: Vec<Unit>,
        tables: Vec<String>,
        writer: &mut Writer,
        counts: &mut SilverCounts,
    ) -> Result<(), BatchError> {
        let (context, transform) = (self.context, Arc::clone(&self.transform));
        let parallelism = context.config.parallelism.max(1);
        let mut reads = futures::stream::iter(units)
            .map(|unit| read(context, self.source.name.clone(), Arc::clone(&transform), unit))
            .buffered(parallelism);
        let mut working: VecDeque<TableTask> = VecDeque::new();
        let mut ended = Ok(());
        loop {
            context.check()?;
            let read = reads.try_next().await;
            let accepted = read
                .and_then(|read| read.map(|read| self.progress.accept(&self.source.name, read, counts)).transpose());
            let decoded = match accepted {
                Ok(Some(decoded)) => decoded,
                Ok(None) => break,
                // What has been accepted counts as taken in: its rows are still to be written.
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            };
            let mut rows = decoded.rows;
            let keep = match &mut self.keys {
                Some(keys) => keys.check(&rows),
                None => self.seen.check(&context.lake, &rows).await?,
            };
            if let Some(keep) = keep {
                let before = rows.len();
                rows.retain(&keep)?;
                self.progress.duplicates += (before - rows.len()) as u64;
                counts.duplicates += (before - rows.len()) as u64;
            }
            let (transform, tables) = (Arc::clone(&transform), tables.clone());
            working.push_back(tokio::task::spawn_blocking(move || {
                let mut over = transform.tables_over(&rows);
                let mut rows_of = |table: String| over.rows(&table).map(|rows| (table, rows)).map_err(BatchError::from);
                tables.into_iter().map(&mut rows_of).collect()
            }));
            while working.len() > parallelism {
                collect(&mut working, writer).await?;
            }
            if writer.bytes() > context.config.chunk_bytes {
                writer.flush(context).await?;
            }
            if self.seen.len() > context.config.seen_keys {
                self.seen.flush(context, context.config.seen_keys).await?;
            }
        }
        while !working.is_empty() {
            collect(&mut working, writer).await?;
        }
        ended
    }

    async fn finish(mut self, writer: Writer, outcome: &mut SilverOutcome) -> Result<(), BatchError> {
        outcome.counts.rows += writer.rows;
        for (table, files) in writer.files {
            outcome.counts.files += files.len() as u64;
            self.tables.entry(table).or_default().files.extend(files);
        }
        for files in self.tables.values_mut() {
            files.files = compact(self.context, std::mem::take(&mut files.files)).await?;
        }
        self.progress.seen = compact(self.context, std::mem::take(&mut self.seen.files)).await?;
        outcome.touched.join(writer.touched);
        outcome.tables.append(&mut self.tables);
        outcome.sources.insert(self.source.name.clone(), self.progress);
        Ok(())
    }
}

async fn collect(working: &mut VecDeque<TableTask>, writer: &mut Writer) -> Result<(), BatchError> {
    if let Some(task) = working.pop_front() {
        for (table, rows) in task.await?? {
            writer.add(&table, rows);
        }
    }
    Ok(())
}

/// Fetches and decodes a unit.
async fn read(
    context: &Context,
    source: String,
    transform: Arc<SourceTransform>,
    unit: Unit,
) -> Result<Read, BatchError> {
    let mut contents = Vec::with_capacity(unit.files.len());
    for file in &unit.files {
        contents.push(match context.lake.objects.get(&file.path).await {
            Err(PortError::NotFound { .. }) => return Err(BatchError::Vanished { path: file.path.clone() }),
            content => content?,
        });
    }
    lake::blocking(move || {
        let (records, next) = join(&source, &unit, contents)?;
        let count = records.len() as u64;
        let decoded = transform.decode(unit.partition, &records)?;
        Ok(Read { unit, next, records: count, decoded })
    })
    .await
}

/// The records of a unit's files that are wanted, and where its chain goes on.
fn join(
    source: &str,
    unit: &Unit,
    contents: Vec<Bytes>,
) -> Result<(Vec<tideline_common::record::Record>, Offset), BatchError> {
    let mut records = Vec::new();
    let mut reached: Option<Offset> = None;
    for (file, bytes) in unit.files.iter().zip(contents) {
        check_joint(source, unit, reached, file)?;
        let content =
            bronze::decode(bytes).map_err(|error| BatchError::Bronze { path: file.path.clone(), source: error })?;
        let from = reached.unwrap_or(unit.from).max(unit.from);
        records
            .extend(content.records.into_iter().filter(|record| record.offset >= from && record.offset < unit.until));
        reached = Some(reached.unwrap_or(0).max(content.next).max(file.first));
    }
    Ok((records, reached.unwrap_or(unit.from).min(unit.until)))
}

fn check_joint(source: &str, unit: &Unit, reached: Option<Offset>, file: &ChainFile) -> Result<(), BatchError> {
    match reached {
        Some(expected) if file.first > expected => Err(BatchError::Gap {
            source_name: source.to_owned(),
            partition: unit.partition,
            expected,
            found: file.first,
            path: file.path.clone(),
        }),
        _ => Ok(()),
    }
}

/// What this stage adds to a source's progress.
trait Accept {
    /// Checks that a unit goes on where the last one ended, and notes it.
    fn accept(&mut self, source: &str, read: Read, counts: &mut SilverCounts) -> Result<Decoded, BatchError>;
}

impl Accept for SourceProgress {
    fn accept(&mut self, source: &str, read: Read, counts: &mut SilverCounts) -> Result<Decoded, BatchError> {
        let Read { unit, next, records, mut decoded } = read;
        let reached = self.positions.get(&unit.partition).copied();
        if let Some(first) = unit.files.first() {
            check_joint(source, &unit, reached, first)?;
        }
        // A file that was made of several may begin before what has been taken in.
        if let Some(reached) = reached {
            let keep: Vec<bool> = decoded.rows.offsets().iter().map(|offset| *offset >= reached).collect();
            decoded.rows.retain(&keep)?;
            decoded.rejected.retain(|rejected| rejected.offset >= reached);
        }
        let mark = self.watermarks.entry(unit.partition).or_default();
        for (time, appended) in decoded.rows.event_times().iter().zip(decoded.rows.appended()) {
            mark.observe(Timestamp(*time), *appended);
        }
        let taken = (decoded.rows.len() + decoded.rejected.len()) as u64;
        debug_assert!(taken <= records);
        self.positions.insert(unit.partition, next.max(reached.unwrap_or(0)));
        self.records += taken;
        self.rejected += decoded.rejected.len() as u64;
        counts.records += taken;
        counts.rejected += decoded.rejected.len() as u64;
        for rejected in &decoded.rejected {
            let labels = [("source", source.to_owned()), ("reason", rejected.reason.kind().to_owned())];
            metrics::counter!("tideline_batch_rejected_total", &labels).increment(1);
        }
        metrics::counter!("tideline_batch_records_total", "source" => source.to_owned()).increment(taken);
        Ok(decoded)
    }
}
