//! `/openapi.json`: `OpenAPI` 3.1, made from the table of routes, so that neither can be without the other.

use serde_json::{Map, Value as Json, json};
use tideline_common::plan::Plan;

use super::problem::{KINDS, PROBLEM_JSON};
use super::routes::{Kind, Operation, Param, routes};
use super::schemas::schemas;

/// Problems that every operation can have.
const EVERYWHERE: &[&str] = &["unknown-parameter", "method-not-allowed", "internal", "overloaded"];

/// The description of the API, with the endpoints of a plan.
pub fn openapi(plan: &Plan) -> Json {
    let mut paths = Map::new();
    for route in routes(plan) {
        let mut item = Map::new();
        let parameters: Vec<Json> = path_parameters(&route.path).map(path_parameter).collect();
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        for operation in &route.operations {
            item.insert(operation.method.into(), describe(operation));
        }
        paths.insert(route.path.into_owned(), item.into());
    }
    let tags = ["topics", "views", "lookups", "reports", "alerts", "predictions", "endpoints", "batch", "process"]
        .map(|name| json!({ "name": name }));
    let mut schemas = schemas();
    if plan.endpoints.is_empty()
        && let Some(schemas) = schemas.as_object_mut()
    {
        // Nothing refers to it.
        schemas.shift_remove("Current");
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tideline",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "One answer out of a speed layer and a batch layer",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [],
        "tags": tags,
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// Names in braces.
pub(crate) fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> Json {
    json!({ "name": name, "in": "path", "required": true, "description": format!("Name of the {name}."), "schema": { "type": "string" } })
}

fn query_parameter(param: &Param) -> Json {
    let Param { name, text, kind } = param;
    let schema = match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Time => json!({ "type": "string", "examples": ["2014-01-01T09:30:00Z"] }),
        Kind::TimeOr(word) => json!({ "type": "string", "examples": ["2014-01-01T09:30:00Z", word] }),
        Kind::Span => json!({ "type": "string", "pattern": "^([0-9]+(us|ms|s|m|h|d|w|y))+$", "examples": ["5m"] }),
        Kind::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Texts => {
            let schema = json!({ "type": "array", "items": { "type": "string" } });
            return json!({ "name": name, "in": "query", "description": text, "schema": schema, "style": "form", "explode": true });
        }
        Kind::OneOf(names) => json!({ "type": "string", "enum": names }),
        Kind::Further => {
            let schema = json!({ "type": "object", "additionalProperties": { "type": "string" } });
            return json!({ "name": name, "in": "query", "description": text, "schema": schema, "style": "form", "explode": true });
        }
    };
    json!({ "name": name, "in": "query", "description": text, "schema": schema })
}

fn describe(operation: &Operation) -> Json {
    let mut responses: Map<String, Json> = Map::new();
    let mut add = |status: u16, media: &str, schema: Json, text: &str| {
        let response =
            responses.entry(status.to_string()).or_insert_with(|| json!({ "description": text, "content": {} }));
        if let Some(known) = response.get("description").and_then(Json::as_str).filter(|known| !known.contains(text)) {
            response["description"] = format!("{known} · {text}").into();
        }
        response["content"][media] = json!({ "schema": schema });
    };
    for (status, media, schema) in &operation.answers {
        let schema = schema.map_or_else(
            || json!({ "type": "string" }),
            |name| json!({ "$ref": format!("#/components/schemas/{name}") }),
        );
        add(
            *status,
            media,
            schema,
            match status {
                101 => "Frames of a WebSocket, each one of these as text",
                ..300 => "The answer",
                _ => "Not ready",
            },
        );
    }
    for (kind, status, title) in KINDS {
        if operation.problems.contains(kind) || EVERYWHERE.contains(kind) {
            let text = format!("`{kind}`: {title}");
            add(*status, PROBLEM_JSON, json!({ "$ref": "#/components/schemas/Problem" }), &text);
        }
    }
    let mut out = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": responses,
    });
    if !operation.params.is_empty() {
        out["parameters"] = operation.params.iter().map(query_parameter).collect();
    }
    if operation.ndjson {
        out["requestBody"] = json!({
            "required": true,
            "description": "One record per line, kept byte for byte, also when it does not parse; empty lines are none. May be compressed (Content-Encoding: gzip).",
            "content": { "application/x-ndjson": { "schema": { "type": "string" } } },
        });
    }
    out
}
