//! Dropping what no kept version needs.
//!
//! Versions go first, then their files: a reader that finds its version loaded finds its files. Versions newer than all
//! that are kept were loaded by someone who knows more, and are kept too; files that were loaded a short time ago may
//! be those of a version that is being loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tideline_common::manifest::Manifest;
use tideline_common::ports::PortResult;

use super::ClickHouseAnalytics;
use super::names::{literal, name};
use super::schema::{GoldTable, REPORT_COMMENT, VERSIONS, VIEW_COMMENT};
use super::server::is_absent;

/// See [`tideline_common::ports::Publication::collect`].
pub(super) async fn collect(store: &ClickHouseAnalytics, kept: &[Arc<Manifest>]) -> PortResult<u64> {
    // Nothing kept is no reason to drop everything.
    let Some(newest) = kept.iter().map(|manifest| manifest.version).max() else { return Ok(0) };
    let versions: BTreeSet<u64> = kept.iter().map(|manifest| manifest.version).collect();
    let loaded = store.versions.ask(&store.server).await?;
    let Some(current) = loaded.last().copied() else { return Ok(0) };
    for version in loaded.iter().filter(|version| **version < newest && !versions.contains(version)) {
        // The current one stays, whatever became of its manifest: readers have nothing else.
        if *version != current {
            let sql = format!("ALTER TABLE {VERSIONS} DROP PARTITION {version}");
            store.server.run("dropping a version", sql).await?;
        }
    }
    let mut needed = needed(store).await?;
    for (view, files) in kept.iter().flat_map(|manifest| &manifest.views) {
        let table = needed.entry(GoldTable::of_files(view, files).name()).or_default();
        table.extend(files.files.iter().map(|file| file.path.clone()));
    }
    let mut dropped = 0;
    for (table, view_table) in tables_of_views(store).await? {
        let parts = files_of(store, &table).await?;
        let is_unneeded = |file: &str| !needed.get(&table).is_some_and(|files| files.contains(file));
        let unneeded: Vec<&(String, bool)> = parts.iter().filter(|(file, old)| *old && is_unneeded(file)).collect();
        dropped += unneeded.len() as u64;
        if !parts.is_empty() && unneeded.len() == parts.len() && !is_of(kept, newest, &view_table) {
            let sql = format!("DROP TABLE IF EXISTS {} SYNC", name(&table));
            store.server.run("dropping the table of an old version of a view", sql).await?;
            continue;
        }
        for (file, _) in unneeded {
            let sql = format!("ALTER TABLE {} DROP PARTITION {}", name(&table), literal(file));
            store.server.run("dropping a file", sql).await?;
        }
    }
    store.versions.ask(&store.server).await?;
    Ok(dropped + reports(store, kept, newest).await?)
}

/// Files that loaded versions name, by table.
async fn needed(store: &ClickHouseAnalytics) -> PortResult<BTreeMap<String, BTreeSet<String>>> {
    let sql = format!("SELECT DISTINCT f.1, arrayJoin(f.2) FROM {VERSIONS} ARRAY JOIN files AS f");
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in store.server.table("listing the files of versions", sql).await? {
        if let [table, file] = row.as_slice() {
            needed.entry(table.clone()).or_default().insert(file.clone());
        }
    }
    Ok(needed)
}

/// Tables of views, with what their comments say: view and version.
async fn tables_of_views(store: &ClickHouseAnalytics) -> PortResult<Vec<(String, String)>> {
    let sql = format!(
        "SELECT name, comment FROM system.tables WHERE database = currentDatabase() AND startsWith(comment, {})",
        literal(VIEW_COMMENT)
    );
    let rows = store.server.table("listing tables of views", sql).await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone()))).collect())
}

/// Whether a table is of the version of its view that the newest kept manifest has.
fn is_of(kept: &[Arc<Manifest>], newest: u64, comment: &str) -> bool {
    let Some(manifest) = kept.iter().find(|manifest| manifest.version == newest) else { return true };
    manifest.views.iter().any(|(view, files)| GoldTable::of_files(view, files).comment() == comment)
}

/// Files of a table, and whether they were loaded long enough ago.
async fn files_of(store: &ClickHouseAnalytics, table: &str) -> PortResult<Vec<(String, bool)>> {
    let sql = format!(
        "SELECT partition, max(modification_time) <= now() - toIntervalSecond({}) FROM system.parts \
         WHERE active AND database = currentDatabase() AND table = {} GROUP BY partition ORDER BY partition",
        store.config.grace.as_secs(),
        literal(table)
    );
    let rows = store.server.table("listing loaded files", sql).await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)? == "1"))).collect())
}

/// Drops tables of reports that the newest kept manifest does not have.
async fn reports(store: &ClickHouseAnalytics, kept: &[Arc<Manifest>], newest: u64) -> PortResult<u64> {
    let Some(manifest) = kept.iter().find(|manifest| manifest.version == newest) else { return Ok(0) };
    let sql = format!(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(comment, {}) AND \
         NOT startsWith(name, {})",
        literal(REPORT_COMMENT),
        literal(super::schema::STAGING)
    );
    let mut dropped = 0;
    for row in store.server.table("listing tables of reports", sql).await? {
        for report in row.iter().filter(|report| !manifest.reports.contains_key(*report)) {
            match store.server.run("dropping a report", format!("DROP TABLE {} SYNC", name(report))).await {
                Ok(()) => dropped += 1,
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(dropped)
}
