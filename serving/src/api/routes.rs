//! Every route, once: its handlers and what `/openapi.json` says of them.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::routing::{MethodRouter, get, post};
use tideline_common::plan::{EndpointPlan, Plan};

use super::{Api, agreement, alerts, endpoints, health, live, predictions, reports, runs, socket, topics, views};
use crate::live::{MESSAGES_MAX, ROWS_MAX};

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) kind: Kind,
}

/// What a parameter's value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    /// A text that may be given more than once.
    Texts,
    Time,
    /// A time, or this word.
    TimeOr(&'static str),
    Span,
    /// A whole number from .0 to .1.
    Number(u64, u64),
    OneOf(&'static [&'static str]),
    /// `key.<column>` or a column: any further parameters.
    Further,
}

/// One method of a route.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    pub(crate) id: Cow<'static, str>,
    pub(crate) tag: &'static str,
    pub(crate) summary: Cow<'static, str>,
    pub(crate) params: Vec<Param>,
    /// Whether it takes NDJSON.
    pub(crate) ndjson: bool,
    /// Status, media type and schema of what it answers.
    pub(crate) answers: Vec<(u16, &'static str, Option<&'static str>)>,
    /// Kinds of problems beside those that every route has.
    pub(crate) problems: &'static [&'static str],
}

/// A route.
pub(crate) struct Route {
    pub(crate) path: Cow<'static, str>,
    pub(crate) methods: MethodRouter<Api>,
    pub(crate) operations: Vec<Operation>,
}

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const HTML: &str = "text/html";

const LAYER: Param = Param {
    name: "layer",
    text: "Which layer answers; default merged.",
    kind: Kind::OneOf(&["merged", "speed", "batch"]),
};
const FORMAT: Param =
    Param { name: "format", text: "How the answer is written; default json.", kind: Kind::OneOf(&["json", "csv"]) };
const LIMIT: Param = Param { name: "limit", text: "Rows at most; default 1000.", kind: Kind::Number(1, 100_000) };
const CURSOR: Param = Param {
    name: "cursor",
    text: "Goes on after the page that gave it. All other parameters but `limit` must be the same.",
    kind: Kind::Text,
};
const KEY: Param = Param {
    name: "key",
    text: "One key: the value of the only key column as it is, or the values of several with commas between them (`\\,` is a comma, `\\\\` a backslash). `\\N` is null.",
    kind: Kind::Text,
};
const KEY_COLUMN: Param = Param {
    name: "key.column",
    text: "One key by its columns: `key.<column>=value`, once for each key column.",
    kind: Kind::Further,
};
const WINDOW: Param = Param {
    name: "window",
    text: "Size of the windows, any multiple of the pane, such as 5m or 1h30m; default: the declared one.",
    kind: Kind::Span,
};

const AT: Param = Param {
    name: "at",
    text: "End of the window, rounded down to a pane; default: the end of the newest pane with data, whose window is still filling. `complete`: the newest window that has ended, which ends where the newest pane with data begins.",
    kind: Kind::TimeOr("complete"),
};

impl Operation {
    fn new(
        method: &'static str,
        id: impl Into<Cow<'static, str>>,
        tag: &'static str,
        summary: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (id, summary) = (id.into(), summary.into());
        Self { method, id, tag, summary, params: Vec::new(), ndjson: false, answers: Vec::new(), problems: &[] }
    }

    fn params(mut self, params: &[Param]) -> Self {
        self.params = params.to_vec();
        self
    }

    fn answers(mut self, status: u16, media: &'static str, schema: &'static str) -> Self {
        self.answers.push((status, media, Some(schema)));
        self
    }

    fn text(mut self, status: u16, media: &'static str) -> Self {
        self.answers.push((status, media, None));
        self
    }

    fn problems(mut self, problems: &'static [&'static str]) -> Self {
        self.problems = problems;
        self
    }
}

fn route(
    path: impl Into<Cow<'static, str>>,
    methods: MethodRouter<Api>,
    operations: impl IntoIterator<Item = Operation>,
) -> Route {
    Route { path: path.into(), methods, operations: operations.into_iter().collect() }
}

/// All routes, with the endpoints of a plan.
pub(crate) fn routes(plan: &Plan) -> Vec<Route> {
    let mut all = fixed();
    all.extend(plan.endpoints.iter().map(endpoint));
    all
}

fn endpoint(plan: &EndpointPlan) -> Route {
    let summary = format!("The newest window of the view `{}`, or the one that is asked for", plan.view);
    let operation = Operation::new("get", format!("getEndpoint_{}", plan.name), "endpoints", summary)
        .params(&[
            WINDOW,
            AT,
            Param {
                name: "limit",
                text: "Rows at most; default: as the definition says.",
                kind: Kind::Number(1, 10_000),
            },
            FORMAT,
        ])
        .answers(200, JSON, "Current")
        .text(200, CSV)
        .problems(&["invalid-parameter", "too-much-work", "unavailable", "timeout"]);
    let endpoint = Arc::new(plan.clone());
    let answer = move |State(api): State<Api>, uri: Uri| endpoints::current(api, Arc::clone(&endpoint), uri);
    route(plan.path.clone(), get(answer), [operation])
}

/// Those that are always there.
fn fixed() -> Vec<Route> {
    let op = |method, id: &'static str, tag, summary: &'static str| Operation::new(method, id, tag, summary);
    let mut append = op(
        "post",
        "appendRecords",
        "topics",
        "Appends the lines of an NDJSON body to a topic; they are durable when this answers",
    )
    .answers(200, JSON, "Appended")
    .problems(&[
        "invalid-body",
        "unknown-topic",
        "body-timeout",
        "record-too-large",
        "body-too-large",
        "unsupported-encoding",
        "full",
        "unavailable",
    ]);
    append.ndjson = true;
    vec![
        route("/v1/topics/{topic}", post(topics::append), [append]),
        route(
            "/v1/views",
            get(views::list),
            [op("get", "listViews", "views", "What views there are, with columns and types").answers(200, JSON, "Views")],
        ),
        route(
            "/v1/views/{view}",
            get(views::one),
            [op("get", "getView", "views", "One view").answers(200, JSON, "View").problems(&["unknown-view"])],
        ),
        route(
            "/v1/views/{view}/rows",
            get(views::rows),
            [op("get", "getRows", "views", "Windows of a view, ordered by key, then window start")
                .params(&[
                    KEY,
                    KEY_COLUMN,
                    Param { name: "from", text: "Windows that begin at this time or later (RFC 3339, or a date).", kind: Kind::Time },
                    Param { name: "to", text: "Windows that begin before this time.", kind: Kind::Time },
                    WINDOW,
                    Param { name: "slide", text: "Distance between the starts of windows, any multiple of the pane up to the size; default: the declared one for the declared size, otherwise the size.", kind: Kind::Span },
                    LAYER,
                    LIMIT,
                    CURSOR,
                    FORMAT,
                ])
                .answers(200, JSON, "Rows")
                .text(200, CSV)
                .problems(&["invalid-parameter", "unknown-view", "too-much-work", "unavailable", "timeout"])],
        ),
        route(
            "/v1/views/{view}/top",
            get(views::top),
            [op("get", "getTop", "views", "The keys of one window, ranked by a column")
                .params(&[
                    Param { name: "by", text: "The column that ranks, descending, nulls last; default: the first of the view's `top`, or its first column.", kind: Kind::Text },
                    Param { name: "limit", text: "Entries at most; default 10.", kind: Kind::Number(1, 10_000) },
                    WINDOW,
                    AT,
                    Param { name: "previous", text: "true: each row also has `previous`, what ranked its key in the window that began one slide before, and `direction`.", kind: Kind::OneOf(&["false", "true"]) },
                    LAYER,
                    FORMAT,
                ])
                .answers(200, JSON, "Top")
                .text(200, CSV)
                .problems(&["invalid-parameter", "unknown-view", "too-much-work", "unavailable", "timeout"])],
        ),
        route(
            "/v1/views/{view}/live",
            get(live::live),
            [op("get", "streamView", "views", "The rows of the newest window as they change, as server-sent events `rows` (a Top) and `problem`")
                .params(&[
                    Param { name: "by", text: "As in top.", kind: Kind::Text },
                    Param { name: "limit", text: "Rows of the window at most; default 1000.", kind: Kind::Number(1, 1_000) },
                    WINDOW,
                    Param { name: "interval", text: "How often changes are looked for, 100ms to 60s; default 1s.", kind: Kind::Span },
                    LAYER,
                ])
                .text(200, "text/event-stream")
                .problems(&["invalid-parameter", "unknown-view", "too-much-work", "unavailable", "timeout"])],
        ),
        route(
            "/v1/live",
            get(socket::live),
            [op("get", "openLive", "views", "A WebSocket: views, rows of outputs and alerts as they change")
                .params(&[
                    Param { name: "view", text: "A view to show; default: all, `none`: none.", kind: Kind::Texts },
                    Param { name: "output", text: "An output of rows to show; default: all, `none`: none.", kind: Kind::Texts },
                    Param { name: "alert", text: "An alert to show; default: all, `none`: none.", kind: Kind::Texts },
                    Param { name: "interval", text: "How often changes are looked for, 50ms to 60s; default 200ms.", kind: Kind::Span },
                    Param { name: "rows", text: "Rows per view at most; default 100.", kind: Kind::Number(1, ROWS_MAX as u64) },
                    Param { name: "messages", text: "Messages per frame at most; default 50.", kind: Kind::Number(1, MESSAGES_MAX as u64) },
                ])
                .answers(101, JSON, "LiveFrame")
                .problems(&[
                    "invalid-parameter",
                    "unknown-view",
                    "unknown-output",
                    "unknown-alert",
                    "forbidden-origin",
                    "upgrade-required",
                    "unavailable",
                ])],
        ),
        route(
            "/v1/alerts",
            get(alerts::recent),
            [op("get", "listAlerts", "alerts", "The alerts that were fired last, newest first")
                .params(&[
                    Param { name: "limit", text: "Alerts at most; default 50.", kind: Kind::Number(1, 256) },
                    Param { name: "alert", text: "Those of one alert alone.", kind: Kind::Text },
                ])
                .answers(200, JSON, "Alerts")
                .problems(&["invalid-parameter", "unknown-alert", "unavailable"])],
        ),
        route(
            "/v1/lookups",
            get(views::lookups),
            [op("get", "listLookups", "lookups", "What lookups there are").answers(200, JSON, "Lookups")],
        ),
        route(
            "/v1/lookups/{lookup}",
            get(views::lookup),
            [op("get", "getLookup", "lookups", "The newest rows of a key, newest first")
                .params(&[KEY, KEY_COLUMN, Param { name: "limit", text: "Rows at most, up to the lookup's own limit; default: that, at most 1000.", kind: Kind::Number(1, 1_000_000) }, LAYER, FORMAT])
                .answers(200, JSON, "Lookup")
                .text(200, CSV)
                .problems(&["invalid-parameter", "unknown-lookup", "unavailable", "timeout"])],
        ),
        route(
            "/v1/reports",
            get(reports::list),
            [op("get", "listReports", "reports", "What reports there are; columns and rows once published").answers(200, JSON, "Reports").problems(&["unavailable"])],
        ),
        route(
            "/v1/reports/{report}",
            get(reports::one),
            [op("get", "getReport", "reports", "Rows of a report, as the newest batch run published them")
                .params(&[
                    LIMIT,
                    Param { name: "offset", text: "Rows to skip; default 0.", kind: Kind::Number(0, u64::MAX >> 1) },
                    CURSOR,
                    FORMAT,
                    Param { name: "column", text: "`<column>=value`: rows where the column has this value; `where.<column>` for a column called as another parameter. `\\N` is null.", kind: Kind::Further },
                ])
                .answers(200, JSON, "Report")
                .text(200, CSV)
                .problems(&["invalid-parameter", "unknown-report", "not-published", "unavailable", "timeout"])],
        ),
        route(
            "/v1/predictions",
            get(predictions::list),
            [op("get", "listPredictions", "predictions", "What predictions there are, with their models and how these are doing")
                .answers(200, JSON, "Predictions")
                .problems(&["unavailable", "timeout"])],
        ),
        route(
            "/v1/predictions/{prediction}",
            get(predictions::one),
            [op("get", "getPrediction", "predictions", "One prediction")
                .answers(200, JSON, "Prediction")
                .problems(&["unknown-prediction", "unavailable", "timeout"])],
        ),
        route(
            "/v1/predictions/{prediction}/drift",
            get(predictions::drift),
            [op("get", "getDrift", "predictions", "Whether an hour of event time is distributed as the same hour a day before")
                .params(&[
                    Param { name: "format", text: "How the report is written; default json.", kind: Kind::OneOf(&["json", "html"]) },
                    Param { name: "at", text: "A time of the hour; default: the newest with a report.", kind: Kind::Time },
                    Param { name: "partition", text: "Partition of the view's changes; default: the first with a report.", kind: Kind::Number(0, 1_023) },
                ])
                .answers(200, JSON, "DriftReport")
                .text(200, HTML)
                .problems(&["invalid-parameter", "unknown-prediction", "not-published", "unavailable", "timeout"])],
        ),
        route(
            "/v1/batch/runs",
            get(runs::list).post(runs::start),
            [
                op("get", "listRuns", "batch", "The batch runs that are remembered, newest first").answers(200, JSON, "Runs").problems(&["no-batch-layer"]),
                op("post", "startRun", "batch", "Starts a batch run; `Location` says where to follow it").answers(202, JSON, "Run").problems(&["run-in-progress", "no-batch-layer", "unavailable"]),
            ],
        ),
        route(
            "/v1/batch/runs/{id}",
            get(runs::one),
            [op("get", "getRun", "batch", "One batch run").answers(200, JSON, "Run").problems(&["unknown-run", "no-batch-layer"])],
        ),
        route(
            "/v1/agreement",
            get(agreement::compare),
            [op("get", "getAgreement", "process", "Compares what the speed layer served with what batch computed, now")
                .answers(200, JSON, "Agreement")
                .problems(&["unavailable", "timeout"])],
        ),
        route(
            "/v1/status",
            get(health::status),
            [op("get", "getStatus", "process", "How far each layer has come").answers(200, JSON, "Status")],
        ),
        route("/healthz", get(health::healthz), [op("get", "getHealth", "process", "Whether the process is alive").text(200, "text/plain")]),
        route(
            "/readyz",
            get(health::readyz),
            [op("get", "getReadiness", "process", "Whether everything that answers need works, and what does not").answers(200, JSON, "Ready").answers(503, JSON, "Ready")],
        ),
        route("/metrics", get(health::metrics), [op("get", "getMetrics", "process", "The metrics of the process, for Prometheus").text(200, "text/plain")]),
        route("/openapi.json", get(health::description), [op("get", "getDescription", "process", "This description").answers(200, JSON, "OpenApi")]),
    ]
}
