//! Rows of reports.

use polars::prelude::IdxSize;
use tideline_common::manifest::Manifest;
use tideline_common::plan::Field;
use tideline_common::ports::{PortError, PortResult, ReportPage, ReportQuery};
use tideline_common::value::{Type, Value};
use tideline_transform::frame::frame_to_columns;

use super::scan::{Lake, collect, equals};

/// See [`tideline_common::ports::Analytics::report`].
pub(super) async fn report(
    lake: &Lake,
    manifest: &Manifest,
    name: &str,
    query: &ReportQuery,
) -> PortResult<ReportPage> {
    let what = format!("report {name}");
    let report = manifest.reports.get(name).ok_or_else(|| PortError::NotFound { what: what.clone() })?;
    let fields = report.columns.clone();
    let mut filter = None;
    for (column, value) in &query.filters {
        check_filter(&what, &fields, column, value)?;
        let one = equals(column, value);
        filter = Some(match filter {
            None => one,
            Some(all) => polars::prelude::Expr::and(all, one),
        });
    }
    // Without a filter, the manifest says which files the page lies in.
    let (mut skip, mut files) = (query.offset, Vec::new());
    for file in report.files.iter().filter(|f| f.rows > 0) {
        if filter.is_none() && files.is_empty() && skip >= file.rows {
            skip -= file.rows;
        } else {
            files.push(file.path.clone());
        }
    }
    let empty = ReportPage { columns: fields.clone(), rows: Vec::new(), more: false };
    if query.limit == 0 {
        return Ok(empty);
    }
    let limit = query.limit;
    let offset = i64::try_from(skip).map_err(|e| PortError::invalid(&what, e))?;
    let one_more = IdxSize::try_from(limit.saturating_add(1)).unwrap_or(IdxSize::MAX);
    let name = what.clone();
    let read = lake.read(&what, files, move |scan| {
        let scan = match &filter {
            Some(filter) => scan.filter(filter.clone()),
            None => scan,
        };
        let frame = collect(&name, scan.slice(offset, one_more))?;
        let columns = frame_to_columns(&fields, &frame).map_err(|e| PortError::corrupt(&name, e))?;
        let rows = (0..frame.height().min(limit)).map(|row| columns.iter().map(|c| c.value(row)).collect()).collect();
        Ok(ReportPage { columns: fields.clone(), rows, more: frame.height() > limit })
    });
    Ok(read.await?.unwrap_or(empty))
}

/// A filter names a column and a value of its type.
pub(in crate::analytics) fn check_filter(what: &str, fields: &[Field], column: &str, value: &Value) -> PortResult<()> {
    let Some(field) = fields.iter().find(|f| f.name == column) else {
        return Err(PortError::invalid(what, format!("it has no column {column}")));
    };
    let fits = match value {
        Value::Null => true,
        Value::Bool(_) => field.ty == Type::Bool,
        Value::Int(_) => field.ty.is_numeric(),
        Value::Float(_) => field.ty == Type::Float,
        Value::String(_) => matches!(field.ty, Type::String | Type::Map),
        Value::Timestamp(_) => field.ty == Type::Timestamp,
        Value::Strings(_) | Value::Map(_) => false,
    };
    if fits {
        Ok(())
    } else {
        Err(PortError::invalid(what, format!("column {column} is of type {} and cannot equal {value:?}", field.ty)))
    }
}
