//! Reports: a table of the report's name with the rows of the newest loaded version, and nothing else.
//!
//! A changed report is loaded into a staging table of its own columns; when its version is made current the two tables
//! change places, so a reader sees the rows of one version, and a report may change its columns.
//!
//! Every row tells which files it is of, in a column that `SELECT *` does not show. A read asks for those that its
//! manifest names; when the table has others (of another version) the report is read from the lake.

use std::collections::BTreeMap;

use polars::prelude::IdxSize;
use tideline_common::manifest::{Manifest, ReportFiles};
use tideline_common::ports::{Loaded, PortError, PortResult, ReportPage, ReportQuery};
use tideline_common::value::Type;
use tideline_transform::frame::frame_to_columns;
use xxhash_rust::xxh3::Xxh3;

use super::ClickHouseAnalytics;
use super::load::{drop_staging, expect_rows};
use super::names::{list, name};
use super::panes::equals;
use super::rowbinary::{Reader, ValueRows, write_int, write_value};
use super::schema::{REPORT_COMMENT, REPORT_FILES, REPORT_ROW, REPORTS, ReportTable};
use super::server::{Param, Statement, is_taken};
use crate::analytics::parquet::scan;

/// A report in its staging table.
#[derive(Debug)]
pub(super) struct Staged {
    report: String,
    pub(super) staging: String,
    /// Whether the report has a table already.
    replaces: bool,
    pub(super) loaded: Loaded,
}

/// Names the rows of a report: a hash of its files and columns.
fn fingerprint(report: &ReportFiles) -> String {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    };
    for file in &report.files {
        add(&file.path);
    }
    for column in &report.columns {
        add(&column.name);
        add(column.ty.name());
    }
    format!("{:016x}", hash.digest())
}

/// Loads the reports of a manifest whose tables have other rows, each into a staging table. When one fails, those of the
/// others are dropped.
pub(super) async fn stage(store: &ClickHouseAnalytics, manifest: &Manifest) -> PortResult<Vec<Staged>> {
    if manifest.reports.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT report, arrayJoin(order_by) FROM {REPORTS} FINAL");
    let mut order_by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in store.server.table("reading how reports are sorted", sql).await? {
        if let [report, column] = row.as_slice() {
            order_by.entry(report.clone()).or_default().push(column.clone());
        }
    }
    let sql = "SELECT name, comment FROM system.tables WHERE database = currentDatabase()";
    let mut tables: BTreeMap<String, String> = BTreeMap::new();
    for row in store.server.table("listing tables", sql).await? {
        if let [table, comment] = row.as_slice() {
            tables.insert(table.clone(), comment.clone());
        }
    }
    let mut staged = Vec::new();
    for (report, files) in &manifest.reports {
        let (print, none) = (fingerprint(files), Vec::new());
        let order_by = order_by.get(report).unwrap_or(&none);
        let table = ReportTable { columns: &files.columns, order_by, files: &print };
        let replaces = tables.contains_key(report);
        let one = async {
            match tables.get(report) {
                Some(comment) if *comment == table.comment() => return Ok(None),
                Some(comment) if !comment.starts_with(REPORT_COMMENT) => {
                    let reason = "there is another table of this name that Tideline did not make";
                    return Err(PortError::invalid(format!("report {report}"), reason));
                }
                _ => {}
            }
            if files.columns.is_empty() {
                return Ok(None);
            }
            let staging = store.staging.next();
            match fill(store, report, files, &table, &staging).await {
                Ok(loaded) => Ok(Some(Staged { report: report.clone(), staging, replaces, loaded })),
                Err(error) => {
                    drop_staging(store, &staging).await;
                    Err(error)
                }
            }
        };
        match one.await {
            Ok(one) => staged.extend(one),
            Err(error) => {
                for report in &staged {
                    drop_staging(store, &report.staging).await;
                }
                return Err(error);
            }
        }
    }
    Ok(staged)
}

/// Makes the staging table of a report and fills it.
async fn fill(
    store: &ClickHouseAnalytics,
    report: &str,
    files: &ReportFiles,
    table: &ReportTable<'_>,
    staging: &str,
) -> PortResult<Loaded> {
    let what = format!("loading report {report}");
    store.server.run_once(&what, table.create(staging)).await?;
    let sql = format!("INSERT INTO {} ({}) FORMAT RowBinary", name(staging), table.inserted());
    let mut insert = store.server.insert(&what, sql);
    let (mut number, chunk) = (0_i64, store.config.chunk_rows.max(1));
    for file in &files.files {
        let mut rows = 0_u64;
        while rows < file.rows {
            let (fields, from, of, first) = (files.columns.clone(), rows as i64, what.clone(), number);
            let read = store.lake.read(&what, vec![file.path.clone()], move |scan| {
                let length = IdxSize::try_from(chunk).unwrap_or(IdxSize::MAX);
                let frame = scan::collect(&of, scan.slice(from, length))?;
                let columns = frame_to_columns(&fields, &frame).map_err(|e| PortError::corrupt(&of, e))?;
                let mut bytes = Vec::new();
                for row in 0..frame.height() {
                    for column in &columns {
                        write_value(column, row, &mut bytes);
                    }
                    write_int(first + row as i64, &mut bytes);
                }
                Ok((frame.height() as u64, bytes))
            });
            let (read, bytes) = read.await?.unwrap_or_default();
            if read == 0 {
                break;
            }
            rows += read;
            number += read as i64;
            insert.send(bytes).await?;
        }
        if rows != file.rows {
            return Err(PortError::corrupt(&file.path, format!("it has {rows} rows, the manifest says {}", file.rows)));
        }
    }
    let bytes = insert.end().await?;
    expect_rows(store, &what, staging, number as u64).await?;
    Ok(Loaded { files: files.files.len() as u64, rows: number as u64, bytes })
}

/// Puts staged reports in their places. What was there before is in the staging table then.
pub(super) async fn swap(store: &ClickHouseAnalytics, staged: &[Staged]) -> PortResult<()> {
    for Staged { report, staging, replaces, .. } in staged {
        let what = format!("swapping in report {report}");
        // Never tried again by itself: a second exchange would undo a first one whose answer was lost.
        let (report, staging) = (name(report), name(staging));
        let sql = if *replaces {
            format!("EXCHANGE TABLES {staging} AND {report}")
        } else {
            format!("RENAME TABLE {staging} TO {report}")
        };
        match store.server.run_once(&what, sql).await {
            // Which of the two is newer is not known here: the next load sees it.
            Err(error) if is_taken(&error) => return Err(PortError::unavailable(what, "another load came first")),
            result => result?,
        }
    }
    Ok(())
}

/// See [`tideline_common::ports::Analytics::report`]; `None` when the table has the rows of other files.
pub(super) async fn report(
    store: &ClickHouseAnalytics,
    manifest: &Manifest,
    report: &str,
    query: &ReportQuery,
) -> PortResult<Option<ReportPage>> {
    let what = format!("reading report {report}");
    let files = manifest.reports.get(report).ok_or_else(|| PortError::NotFound { what: format!("report {report}") })?;
    let fields = &files.columns;
    for (column, value) in &query.filters {
        crate::analytics::parquet::report::check_filter(&format!("report {report}"), fields, column, value)?;
    }
    // A list may be null in the lake and cannot be here.
    if fields.is_empty() || fields.iter().any(|f| f.ty == Type::Strings) {
        return Ok(None);
    }
    let table = name(report);
    let mut count = Statement::new(format!("SELECT count() FROM {table} WHERE {REPORT_FILES} = "));
    let print = count.param(Param::Text(fingerprint(files)));
    count.push(&print);
    let mut statement = Statement::new(format!(
        "SELECT {} FROM {table} WHERE {REPORT_FILES} = ",
        list(fields.iter().map(|f| f.name.as_str()))
    ));
    let print = statement.param(Param::Text(fingerprint(files)));
    statement.push(&print);
    for (column, value) in &query.filters {
        let condition = equals(&mut statement, column, value);
        statement.push(&format!(" AND {condition}"));
    }
    let limit = statement.param(Param::Unsigned((query.limit as u64).saturating_add(1)));
    let offset = statement.param(Param::Unsigned(query.offset));
    statement.push(&format!(" ORDER BY {REPORT_ROW} LIMIT {limit} OFFSET {offset}"));
    let fetched = async {
        let new = || Reader::new(ValueRows::new(fields));
        let reader = store.server.fetch(&what, &statement, "RowBinary", new).await?;
        let read = reader.rows.columns.first().map_or(0, tideline_common::column::Column::len);
        // Rows prove that the table is of these files; none may mean either.
        let whole = read > 0 || {
            let counted = store.server.table(&what, count).await?;
            counted.first().and_then(|row| row.first()).is_some_and(|count| *count == files.rows.to_string())
        };
        Ok::<_, PortError>(whole.then_some((reader.rows.columns, read)))
    };
    let (columns, read) = match fetched.await {
        Ok(Some(fetched)) => fetched,
        Ok(None) => return Ok(None),
        // Not swapped in yet, or with other columns.
        Err(PortError::Invalid { reason, .. }) => {
            tracing::debug!(report, reason, "the table of a report is of another version");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let rows = (0..read.min(query.limit)).map(|row| columns.iter().map(|c| c.value(row)).collect()).collect();
    Ok(Some(ReportPage { columns: fields.clone(), rows, more: read > query.limit }))
}
