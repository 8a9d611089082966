//! Taking in a version.
//!
//! Each Gold file becomes one partition of its view's table:
//!
//! 1. a staging table of its own is made, for this attempt alone;
//! 2. the rows of the file are inserted there;
//! 3. they are counted;
//! 4. `REPLACE PARTITION … FROM` puts them, all at once, in the place of whatever the table had of this file;
//! 5. the rows of the partition are counted;
//! 6. the staging table is dropped.
//!
//! Cut off anywhere, a file is in the table whole or not at all. As files never change, two that load the same one put
//! the same rows in the same place. An attempt whose outcome is not known has nothing in common with the next one but
//! the partition, which both would replace by the same rows.
//!
//! They must not do so at the same time: a replacement takes away the parts that were there when it began, so of two
//! that overlap the rows of both would stay. The server itself keeps them apart (see [`Server::run_alone`]): they have
//! the same query id, also when their client is long gone.
//!
//! [`Server::run_alone`]: super::server::Server::run_alone
//!
//! When everything is there, and counted again, reports are staged, the version's row is written, and reports take
//! their places (see [`super::reports`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use polars::prelude::IdxSize;
use tideline_common::manifest::{Manifest, TimedFile};
use tideline_common::ports::{Loaded, PortError, PortResult, ViewSchema};
use tideline_common::state::Rule;
use tideline_common::time::Span;
use tideline_transform::frame::frame_to_states;
use xxhash_rust::xxh3::Xxh3;

use super::names::{literal, name};
use super::rowbinary::write_states;
use super::schema::{GoldTable, STAGING, create_common};
use super::server::is_absent;
use super::{ClickHouseAnalytics, reports};
use crate::analytics::parquet::scan;

/// Names of staging tables of this process.
#[derive(Debug)]
pub(super) struct StagingNames {
    token: String,
    next: AtomicU64,
}

impl StagingNames {
    pub(super) fn new() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // Seeded by the operating system's randomness, anew each time.
        let mut random = std::hash::RandomState::new().build_hasher();
        random.write_u32(std::process::id());
        Self { token: format!("{:016x}", random.finish()), next: AtomicU64::new(0) }
    }

    /// A name that no other attempt has.
    pub(super) fn next(&self) -> String {
        format!("{STAGING}{}_{}", self.token, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// See [`tideline_common::ports::Publication::load`].
pub(super) async fn load(store: &ClickHouseAnalytics, manifest: &Manifest) -> PortResult<Loaded> {
    prepare(store, manifest).await?;
    let newest = store.versions.ask(&store.server).await?.last().copied();
    if newest.is_some_and(|newest| newest > manifest.version) {
        return Ok(Loaded::default());
    }
    let missing = missing(store, manifest).await?;
    let loads: Vec<_> = missing.iter().map(|(view, file)| load_file(store, view, file)).collect();
    let mut loaded = futures::stream::iter(loads)
        .buffer_unordered(store.config.max_loads.max(1))
        .try_fold(Loaded::default(), |all, one| async move { Ok(sum(all, one)) })
        .await?;
    let staged = reports::stage(store, manifest).await?;
    let finish = async {
        if let Some((view, file)) = self::missing(store, manifest).await?.first() {
            let reason = format!("{} of view {} is not there whole after the load", file.path, view.name);
            return Err(PortError::unavailable("a version in ClickHouse", reason));
        }
        if newest != Some(manifest.version) {
            store.versions.publish(&store.server, manifest).await?;
        }
        reports::swap(store, &staged).await
    };
    let result = finish.await;
    for report in &staged {
        drop_staging(store, &report.staging).await;
    }
    result?;
    loaded = staged.iter().fold(loaded, |all, report| sum(all, report.loaded));
    if loaded.files > 0 || newest != Some(manifest.version) {
        tracing::info!(
            version = manifest.version,
            files = loaded.files,
            rows = loaded.rows,
            bytes = loaded.bytes,
            "a version is loaded into ClickHouse"
        );
    }
    Ok(loaded)
}

const fn sum(a: Loaded, b: Loaded) -> Loaded {
    Loaded { files: a.files + b.files, rows: a.rows + b.rows, bytes: a.bytes + b.bytes }
}

/// Makes the tables that a manifest needs, and drops staging tables that were left behind.
async fn prepare(store: &ClickHouseAnalytics, manifest: &Manifest) -> PortResult<()> {
    let sql = "SELECT name, comment FROM system.tables WHERE database = currentDatabase()";
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    let rows = match store.server.table("listing tables", sql).await {
        Err(error) if is_absent(&error) => {
            store.server.create_database().await?;
            Vec::new()
        }
        rows => rows?,
    };
    for row in rows {
        if let [name, comment] = row.as_slice() {
            tables.insert(name.clone(), comment.clone());
        }
    }
    if !tables.contains_key(super::schema::VERSIONS) || !tables.contains_key(super::schema::REPORTS) {
        for statement in create_common() {
            store.server.run("making the tables of versions", statement).await?;
        }
    }
    for (view, files) in &manifest.views {
        let table = GoldTable::of_files(view, files);
        let what = format!("making the table of view {view}");
        match tables.get(&table.name()) {
            None => store.server.run(&what, table.create()).await?,
            Some(comment) if *comment == table.comment() => {}
            Some(_) => {
                let reason = "there is another table of this name that Tideline did not make";
                return Err(PortError::invalid(table.name(), reason));
            }
        }
        if !tables.contains_key(&table.current_name()) {
            store.server.run(&what, table.create_current()).await?;
        }
    }
    drop_stale(store).await
}

/// Drops staging tables older than any load takes.
async fn drop_stale(store: &ClickHouseAnalytics) -> PortResult<()> {
    let sql = format!(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {}) AND \
         metadata_modification_time < now() - toIntervalSecond({})",
        literal(STAGING),
        store.config.stale.as_secs()
    );
    for row in store.server.table("listing staging tables", sql).await? {
        for table in row {
            tracing::info!(table, "dropping what a load left behind");
            drop_staging(store, &table).await;
        }
    }
    Ok(())
}

/// Drops a staging table. Failing is no harm: it is dropped when it is stale.
pub(super) async fn drop_staging(store: &ClickHouseAnalytics, table: &str) {
    let sql = format!("DROP TABLE IF EXISTS {} SYNC", name(table));
    if let Err(error) = store.server.run("dropping a staging table", sql).await {
        tracing::warn!(table, %error, "a staging table stays until it is stale");
    }
}

/// The rows that tables have of each file, of those files for which `condition` (of SQL) holds.
async fn present(store: &ClickHouseAnalytics, condition: &str) -> PortResult<BTreeMap<(String, String), u64>> {
    let sql = format!(
        "SELECT table, partition, sum(rows) FROM system.parts WHERE active AND database = currentDatabase(){condition} \
         GROUP BY table, partition"
    );
    let mut present = BTreeMap::new();
    for row in store.server.table("listing loaded files", sql).await? {
        if let [table, file, rows] = row.as_slice()
            && let Ok(rows) = rows.parse()
        {
            present.insert((table.clone(), file.clone()), rows);
        }
    }
    Ok(present)
}

/// The Gold files of a manifest that are not in their tables, or not whole.
async fn missing<'m>(
    store: &ClickHouseAnalytics,
    manifest: &'m Manifest,
) -> PortResult<Vec<(ViewSchema, &'m TimedFile)>> {
    let present = present(store, "").await?;
    let mut missing = Vec::new();
    for (view, files) in &manifest.views {
        let table = GoldTable::of_files(view, files).name();
        let schema = ViewSchema {
            name: view.clone(),
            version: files.plan.clone(),
            key: files.key.clone(),
            fields: files.fields.clone(),
            pane: Span(1),
            ttl: None,
        };
        for file in files.files.iter().filter(|file| file.rows > 0) {
            if present.get(&(table.clone(), file.path.clone())) != Some(&file.rows) {
                missing.push((schema.clone(), file));
            }
        }
    }
    Ok(missing)
}

/// Takes in a file. What may work later is tried again from the start.
async fn load_file(store: &ClickHouseAnalytics, view: &ViewSchema, file: &TimedFile) -> PortResult<Loaded> {
    let (mut left, mut wait) = (store.config.attempts.max(1), store.config.retry_wait);
    loop {
        left -= 1;
        let staging = store.staging.next();
        let result = attempt(store, view, file, &staging).await;
        drop_staging(store, &staging).await;
        match result {
            Err(error) if error.is_retryable() && left > 0 => {
                tracing::warn!(file = file.path, %error, "a file was not loaded; trying again");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2);
            }
            result => return Ok(Loaded { files: 1, rows: file.rows, bytes: result? }),
        }
    }
}

/// Returns the bytes sent.
async fn attempt(store: &ClickHouseAnalytics, view: &ViewSchema, file: &TimedFile, staging: &str) -> PortResult<u64> {
    let table = GoldTable::of_schema(view);
    let what = format!("loading {}", file.path);
    store.server.run_once(&what, table.create_staging(staging, &file.path)).await?;
    let sql = format!("INSERT INTO {} ({}) FORMAT RowBinary", name(staging), table.content_names());
    let mut insert = store.server.insert(&what, sql);
    // A row with maps may be thousands of times as big as one without.
    let has_maps = view.fields.iter().any(|field| matches!(field.rule, Rule::MapSum | Rule::MapMax));
    let chunk = if has_maps { store.config.chunk_rows / 16 } else { store.config.chunk_rows }.max(1);
    let mut rows = 0_u64;
    while rows < file.rows {
        let (schema, from, of) = (view.clone(), rows as i64, what.clone());
        let read = store.lake.read(&what, vec![file.path.clone()], move |scan| {
            let length = IdxSize::try_from(chunk).unwrap_or(IdxSize::MAX);
            let frame = scan::collect(&of, scan.slice(from, length))?;
            let states = frame_to_states(&schema, &frame).map_err(|e| PortError::corrupt(&of, e))?;
            let mut bytes = Vec::new();
            write_states(&schema.key, &states, &[], &mut bytes)?;
            Ok((states.len() as u64, bytes))
        });
        let (read, bytes) = read.await?.unwrap_or_default();
        if read == 0 {
            break;
        }
        rows += read;
        insert.send(bytes).await?;
    }
    if rows != file.rows {
        return Err(PortError::corrupt(&file.path, format!("it has {rows} rows, the manifest says {}", file.rows)));
    }
    let bytes = insert.end().await?;
    expect_rows(store, &what, staging, rows).await?;
    let partition = literal(&file.path);
    let replace = format!("ALTER TABLE {} REPLACE PARTITION {partition} FROM {}", name(&table.name()), name(staging));
    store.server.run_alone(&what, &replacement_id(store, &table.name(), &file.path), replace).await?;
    let condition = format!(" AND table = {} AND partition = {partition}", literal(&table.name()));
    let present: u64 = present(store, &condition).await?.into_values().sum();
    if present != rows {
        let reason = format!("of the {rows} rows of {} there are {present} in {}", file.path, table.name());
        return Err(PortError::unavailable(format!("ClickHouse ({what})"), reason));
    }
    Ok(bytes)
}

/// The id of all queries that put a file in its place.
fn replacement_id(store: &ClickHouseAnalytics, table: &str, file: &str) -> String {
    let mut hash = Xxh3::new();
    for text in [store.config.database.as_str(), table, file] {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    }
    format!("tideline_load_{:016x}", hash.digest())
}

/// Counts the rows of a staging table.
pub(super) async fn expect_rows(store: &ClickHouseAnalytics, what: &str, table: &str, rows: u64) -> PortResult<()> {
    let counted = store.server.table(what, format!("SELECT count() FROM {}", name(table))).await?;
    let counted = counted.first().and_then(|row| row.first()).cloned().unwrap_or_default();
    if counted == rows.to_string() {
        return Ok(());
    }
    Err(PortError::unavailable(format!("ClickHouse ({what})"), format!("{rows} rows were sent, {counted} are there")))
}
