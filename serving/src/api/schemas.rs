//! The schemas of `/openapi.json`.

use serde_json::{Value as Json, json};

// Callers write the properties in place.
#[allow(clippy::needless_pass_by_value)]
fn object(required: &[&str], properties: Json) -> Json {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn list(schema: &str) -> Json {
    json!({ "type": "array", "items": reference(schema) })
}

fn reference(schema: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// An object with one list.
fn lists(name: &str, schema: &str) -> Json {
    object(&[name], json!({ name: list(schema) }))
}

/// All schemas by name.
pub(crate) fn schemas() -> Json {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let time = || json!({ "type": "string", "format": "date-time" });
    let maybe_time = || json!({ "type": ["string", "null"], "format": "date-time" });
    let maybe_text = || json!({ "type": ["string", "null"] });
    let positions = || json!({ "type": "object", "additionalProperties": { "type": "object", "additionalProperties": { "type": "integer" } } });
    let layer = || json!({ "type": "string", "enum": ["merged", "speed", "batch"] });
    let row = json!({
        "type": "object",
        "required": ["key", "window_start", "window_end"],
        "properties": {
            "rank": { "type": "integer", "minimum": 1, "description": "In rankings." },
            "key": { "type": "object", "additionalProperties": true },
            "window_start": time(),
            "window_end": time(),
            "partial": { "type": "boolean", "description": "True when the window reaches into a missing part; absent otherwise." },
        },
        "additionalProperties": { "description": "The answer columns of the view; null where there is no value." },
    });
    let mut schemas = json!({
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": { "type": "string", "enum": super::KINDS.iter().map(|(kind, ..)| format!("urn:tideline:problem:{kind}")).collect::<Vec<_>>() },
                "title": text(),
                "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                "detail": text(),
                "instance": text(),
                "parameter": { "type": "string", "description": "The parameter it is about." },
                "view": { "type": "string", "description": "In live frames: the view it is about." },
                "line": { "type": "integer", "minimum": 1, "description": "The line of the body it is about." },
                "suggestion": { "type": "string", "description": "What was probably meant." },
                "known": texts(),
            },
        },
        "Field": object(&["name", "type"], json!({ "name": text(), "type": { "type": "string", "enum": ["bool", "int", "float", "string", "timestamp", "strings", "map"] } })),
        "Appended": object(&["accepted", "positions"], json!({
            "accepted": count(),
            "positions": { "type": "object", "description": "Partition → [first offset, next offset].", "additionalProperties": { "type": "array", "items": { "type": "integer" }, "minItems": 2, "maxItems": 2 } },
        })),
        "View": object(&["name", "key", "columns", "window", "slide", "pane", "version"], json!({
            "name": text(), "key": list("Field"), "columns": list("Field"), "window": text(), "slide": text(), "pane": text(),
            "measures": { "type": "array", "items": object(&["name", "table", "agg"], json!({ "name": text(), "table": text(), "agg": text() })) },
            "formulas": { "type": "array", "items": object(&["name", "formula"], json!({ "name": text(), "formula": text() })) },
            "top": texts(), "tables": texts(), "sources": texts(),
            "retain_speed": maybe_text(), "retain_batch": maybe_text(), "version": text(),
        })),
        "Views": lists("views", "View"),
        "Interval": { "type": ["object", "null"], "description": "[from, to); a bound that is null is none.", "required": ["from", "to"], "properties": { "from": maybe_time(), "to": maybe_time() } },
        "Manifest": { "type": ["object", "null"], "required": ["version", "run", "published_at"], "properties": { "version": count(), "run": text(), "published_at": time() } },
        "Missing": object(&["layer", "from", "to", "reason"], json!({
            "layer": layer(), "from": maybe_time(), "to": maybe_time(),
            "reason": { "type": "string", "enum": ["unavailable", "timed_out", "damaged", "boundary_unknown", "expired"] },
        })),
        "Provenance": object(&["layer", "through", "manifest", "batch", "speed", "positions", "watermarks", "freshness_ms", "missing"], json!({
            "layer": layer(),
            "through": maybe_time(),
            "manifest": reference("Manifest"),
            "batch": reference("Interval"),
            "speed": reference("Interval"),
            "positions": object(&["batch", "speed"], json!({ "batch": positions(), "speed": positions() })),
            "watermarks": { "type": "object", "additionalProperties": maybe_time() },
            "freshness_ms": { "type": ["integer", "null"] },
            "kept": { "type": "boolean" },
            "missing": list("Missing"),
        })),
        "Row": row,
        "Rows": object(&["view", "window", "slide", "rows", "cursor", "provenance"], json!({
            "view": text(), "window": text(), "slide": text(), "rows": list("Row"), "cursor": maybe_text(), "provenance": reference("Provenance"),
        })),
        "Top": object(&["view", "by", "window_start", "window_end", "rows", "provenance"], json!({
            "view": text(), "by": text(), "window_start": maybe_time(), "window_end": maybe_time(), "rows": list("Row"), "provenance": reference("Provenance"),
        })),
        "LookupInfo": object(&["name", "table", "key", "columns", "limit"], json!({
            "name": text(), "table": text(), "key": list("Field"), "columns": list("Field"), "limit": count(),
        })),
        "Lookups": lists("lookups", "LookupInfo"),
        "Lookup": object(&["lookup", "rows", "provenance"], json!({
            "lookup": text(),
            "rows": { "type": "array", "items": { "type": "object", "required": ["event_time"], "properties": { "event_time": time() }, "additionalProperties": true } },
            "provenance": reference("Provenance"),
        })),
        "ReportInfo": object(&["name", "from", "inputs", "columns", "rows"], json!({
            "name": text(), "from": text(), "inputs": texts(),
            "columns": { "type": ["array", "null"], "items": reference("Field") },
            "rows": { "type": ["integer", "null"] },
        })),
        "Reports": lists("reports", "ReportInfo"),
        "Report": object(&["report", "columns", "rows", "cursor", "provenance"], json!({
            "report": text(), "columns": list("Field"),
            "rows": { "type": "array", "items": { "type": "object", "additionalProperties": true } },
            "cursor": maybe_text(),
            "provenance": object(&["layer", "manifest"], json!({ "layer": layer(), "manifest": reference("Manifest") })),
        })),
        "Run": object(&["id", "state", "started_at", "finished_at", "report", "error"], json!({
            "id": text(), "state": { "type": "string", "enum": ["queued", "running", "succeeded", "failed"] },
            "started_at": time(), "finished_at": maybe_time(), "report": {}, "error": maybe_text(),
        })),
        "Runs": lists("runs", "Run"),
        "Shard": object(&["source", "partition", "position"], json!({
            "source": text(), "partition": count(), "position": count(), "lag": { "type": ["integer", "null"] }, "records": count(), "rejected": count(), "duplicates": count(), "late": count(),
            "highest_event_time": maybe_time(), "last_appended": maybe_time(), "written_at": time(),
        })),
        "Status": object(&["pipeline", "version", "now", "shards", "manifest", "views", "rankings", "process"], json!({
            "pipeline": text(), "version": text(), "now": time(),
            "shards": { "type": ["array", "null"], "items": reference("Shard") },
            "manifest": { "type": ["object", "null"], "required": ["version", "run", "published_at", "positions"], "properties": { "version": count(), "run": text(), "published_at": time(), "positions": positions() } },
            "views": { "type": "object", "additionalProperties": object(&["through", "newest_pane"], json!({ "through": maybe_time(), "newest_pane": maybe_time() })) },
            "rankings": { "type": "object", "additionalProperties": reference("Ranking") },
            "process": {},
        })),
        "Ready": object(&["ready", "checks"], json!({
            "ready": { "type": "boolean" },
            "checks": { "type": "array", "items": reference("Check") },
        })),
        "OpenApi": { "type": "object", "required": ["openapi", "info", "paths"] },
    });
    // Beside the others: the macro goes only so deep.
    let truth = json!({ "type": "boolean" });
    schemas["Check"] = object(
        &["name", "ok", "detail", "since", "needed"],
        json!({ "name": text(), "ok": truth, "detail": maybe_text(), "since": maybe_time(), "needed": truth }),
    );
    schemas["Ranking"] = object(
        &["ready", "because", "since", "keys", "rows", "bytes"],
        json!({
            "ready": truth, "because": maybe_text(), "since": time(), "keys": count(), "rows": count(), "bytes": count(),
        }),
    );
    schemas["Agreement"] = object(
        &["version", "at", "unexplained", "views"],
        json!({
            "version": count(), "at": time(), "unexplained": count(),
            "views": { "type": "object", "additionalProperties": reference("ViewAgreement") },
        }),
    );
    let open = || json!({ "type": "object", "additionalProperties": true });
    schemas["Alert"] = object(
        &["id", "alert", "view", "on", "key", "window_start", "window_end", "columns", "fired_at"],
        json!({
            "id": text(), "alert": text(), "view": text(), "on": { "type": "string", "enum": ["closed", "running"] },
            "key": open(), "window_start": time(), "window_end": time(), "columns": open(), "previous": open(),
            "fired_at": time(),
        }),
    );
    schemas["Alerts"] = lists("alerts", "Alert");
    let keyed = json!({
        "type": "object", "required": ["key"], "additionalProperties": true,
        "properties": { "key": open(), "partial": { "type": "boolean" } },
        "description": "The key, and the answer columns of the view; null where there is no value.",
    });
    schemas["KeyedRow"] = keyed;
    schemas["Current"] = object(
        &["view", "window_start", "window_end", "rows", "provenance"],
        json!({
            "view": text(), "window_start": maybe_time(), "window_end": maybe_time(), "rows": list("KeyedRow"),
            "provenance": reference("Provenance"),
        }),
    );
    let window = object(
        &["window_start", "window_end", "rows", "freshness_ms"],
        json!({
            "window_start": maybe_time(), "window_end": maybe_time(), "rows": list("KeyedRow"),
            "freshness_ms": { "type": ["integer", "null"] }, "partial": truth, "truncated": truth,
        }),
    );
    let metrics = object(
        &["at", "views"],
        json!({ "at": time(), "views": { "type": "object", "additionalProperties": window } }),
    );
    let messages = object(
        &["output", "topic", "messages", "skipped"],
        json!({ "output": text(), "topic": text(), "messages": { "type": "array" }, "skipped": count() }),
    );
    let fresh = object(&["freshness_ms"], json!({ "freshness_ms": { "type": ["integer", "null"] } }));
    let heartbeat = object(
        &["time", "views"],
        json!({ "time": time(), "views": { "type": "object", "additionalProperties": fresh } }),
    );
    let event = |event: Json, data: Json| object(&["event", "data"], json!({ "event": event, "data": data }));
    schemas["LiveFrame"] = json!({
        "oneOf": [
            event(json!({ "type": "string", "enum": ["metrics:initial", "metrics:update"] }), metrics),
            event(json!({ "type": "string", "const": "message:new" }), messages),
            event(json!({ "type": "string", "pattern": "^alert:" }), reference("Alert")),
            event(json!({ "type": "string", "const": "alerts:missed" }), object(&["missed"], json!({ "missed": count() }))),
            event(json!({ "type": "string", "const": "heartbeat" }), heartbeat),
            event(json!({ "type": "string", "const": "problem" }), reference("Problem")),
        ],
    });
    let example = object(
        &["key", "pane", "because", "field", "speed", "batch"],
        json!({
            "key": texts(), "pane": time(),
            "because": { "type": "string", "enum": ["late", "expired", "duplicate", "not_yet", "unexplained"] },
            "field": maybe_text(), "speed": maybe_text(), "batch": maybe_text(),
        }),
    );
    schemas["ViewAgreement"] = object(
        &[
            "through",
            "skipped",
            "compared",
            "equal",
            "late",
            "expired",
            "duplicate",
            "not_yet",
            "unexplained",
            "examples",
        ],
        json!({
            "through": maybe_time(), "skipped": maybe_text(), "compared": count(), "equal": count(), "late": count(),
            "expired": count(), "duplicate": count(), "not_yet": count(), "unexplained": count(),
            "examples": { "type": "array", "items": example },
        }),
    );
    predictions(&mut schemas);
    schemas
}

/// Of predictions.
fn predictions(schemas: &mut Json) {
    let text = || json!({ "type": "string" });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let number = || json!({ "type": "number" });
    let maybe_number = || json!({ "type": ["number", "null"] });
    let maybe_text = || json!({ "type": ["string", "null"] });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let items = |item: Json| json!({ "type": "array", "items": item });
    let feature = object(&["name", "source"], json!({ "name": text(), "source": text() }));
    let model = object(
        &[
            "version",
            "features",
            "learning_rate",
            "l2",
            "intercept_rate",
            "clip_gradient",
            "predictions",
            "evaluated",
            "mae",
            "rmse",
            "r2",
        ],
        json!({
            "version": text(), "features": items(feature), "learning_rate": number(), "l2": number(),
            "intercept_rate": number(), "clip_gradient": number(), "predictions": count(), "evaluated": count(),
            "mae": maybe_number(), "rmse": maybe_number(), "r2": maybe_number(),
        }),
    );
    schemas["Prediction"] = object(
        &["name", "view", "target", "topic", "models", "partitions"],
        json!({
            "name": text(), "view": text(), "target": text(), "topic": text(), "models": items(model),
            "partitions": list("PredictionStatus"),
        }),
    );
    schemas["Predictions"] = lists("predictions", "Prediction");
    let weight = object(
        &["name", "mean", "variance", "weight"],
        json!({ "name": text(), "mean": number(), "variance": number(), "weight": number() }),
    );
    let status = object(
        &["version", "predictions", "evaluated", "mae", "rmse", "r2", "intercept", "features"],
        json!({
            "version": text(), "predictions": count(), "evaluated": count(), "mae": number(), "rmse": number(),
            "r2": number(), "intercept": number(), "features": items(weight),
        }),
    );
    let windows = object(
        &["new", "without_target", "after_gap", "forgotten_keys"],
        json!({ "new": count(), "without_target": count(), "after_gap": count(), "forgotten_keys": count() }),
    );
    schemas["PredictionStatus"] = object(
        &["prediction", "partition", "through", "written_at", "refused", "keys", "windows", "models", "drift"],
        json!({
            "prediction": text(), "partition": count(), "through": maybe_text(), "written_at": text(),
            "refused": maybe_text(), "keys": count(), "windows": windows, "models": items(status), "drift": texts(),
        }),
    );
    let of_columns = || items(json!({ "type": "object", "additionalProperties": true }));
    let extent = || object(&["from", "to", "rows"], json!({ "from": text(), "to": text(), "rows": count() }));
    let dataset = object(
        &["tested", "drifted", "share", "threshold", "drift"],
        json!({
            "tested": count(), "drifted": count(), "share": number(), "threshold": number(),
            "drift": { "type": "boolean" },
        }),
    );
    schemas["DriftReport"] = object(
        &["format", "prediction", "reference", "current", "dataset", "features", "errors", "quality"],
        json!({
            "format": count(), "prediction": text(), "reference": extent(), "current": extent(), "dataset": dataset,
            "features": of_columns(), "errors": of_columns(), "quality": of_columns(),
        }),
    );
}
