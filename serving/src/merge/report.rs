//! Reports: what the batch layer has published as rows.

use tideline_common::plan::ReportPlan;
use tideline_common::ports::{PortError, ReportQuery};
use tideline_common::value::Value;

use super::Reader;
use super::answer::ReportAnswer;
use super::cursor;
use super::request::{DEFAULT_LIMIT, MAX_LIMIT, ReportRequest, checked_limit};
use super::snapshot::manifest_ref;
use crate::boundary::{Layer, Reason};
use crate::error::{QueryError, Thing};
use crate::guard::{ReadError, Size};

impl Reader {
    /// The report of this name.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] with what there is.
    pub fn report_plan(&self, name: &str) -> Result<&ReportPlan, QueryError> {
        let known = || self.plan.reports.iter().map(|report| report.name.as_str());
        let found = self.plan.reports.iter().find(|report| report.name == name);
        found.ok_or_else(|| QueryError::unknown(Thing::Report, name, known()))
    }

    /// Rows of a report.
    ///
    /// # Errors
    /// As [`Reader::rows`], and [`QueryError::NotPublished`] before the first batch run.
    pub async fn report(&self, request: &ReportRequest) -> Result<ReportAnswer, QueryError> {
        self.bounded(self.report_unbounded(request)).await
    }

    async fn report_unbounded(&self, request: &ReportRequest) -> Result<ReportAnswer, QueryError> {
        let plan = self.report_plan(&request.report)?;
        let limit = checked_limit(request.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
        let identity = format!("report {} {} {:?}", plan.name, plan.version, request.filters);
        let offset = match &request.cursor {
            Some(_) if request.offset > 0 => {
                return Err(QueryError::parameter("offset", "is not given together with a cursor"));
            }
            Some(cursor) => cursor::to_offset(&identity, cursor)?,
            None => request.offset,
        };
        let not_published = || QueryError::NotPublished { report: plan.name.clone() };
        let snapshot = self.snapshot(Layer::Batch).await?;
        let manifest = snapshot.manifest.as_deref().ok_or_else(not_published)?;
        let published = manifest.reports.get(&plan.name).ok_or_else(not_published)?;

        let mut filters = Vec::with_capacity(request.filters.len());
        for (name, text) in &request.filters {
            let Some(field) = published.columns.iter().find(|field| field.name == *name) else {
                let names: Vec<&str> = published.columns.iter().map(|f| f.name.as_str()).collect();
                let message = format!("report `{}` has no such column; it has: {}", plan.name, names.join(", "));
                return Err(QueryError::parameter(name.clone(), message));
            };
            let value = if text == "\\N" {
                Value::Null
            } else {
                Value::parse(text, field.ty).map_err(|error| QueryError::parameter(name.clone(), error))?
            };
            filters.push((name.clone(), value));
        }
        let query = ReportQuery { filters, offset, limit };
        let read = self.analytics.report(manifest, &plan.name, &query);
        let page = match self.guards.analytics.read(Size::Any, read).await {
            Ok(page) => page,
            Err(ReadError::Port(PortError::NotFound { .. })) => return Err(not_published()),
            Err(ReadError::Port(error)) => return Err(QueryError::port("the batch layer", error)),
            Err(ReadError::Down(Reason::TimedOut)) => {
                return Err(QueryError::Timeout { seconds: self.config.layer_timeout.as_secs() });
            }
            Err(ReadError::Down(_)) => return Err(QueryError::Unavailable { what: "the batch layer" }),
        };
        let next = offset.saturating_add(page.rows.len() as u64);
        Ok(ReportAnswer {
            report: plan.name.clone(),
            columns: page.columns,
            cursor: (page.more && !page.rows.is_empty()).then(|| cursor::of_offset(&identity, next)),
            rows: page.rows,
            manifest: manifest_ref(manifest),
        })
    }
}
