//! `/openapi.json`: `OpenAPI` 3.1, made from the table of routes, so that neither can be without the other.

use axum::http::Method;
use serde_json::{Map, Value as Json, json};
use tideline_common::plan::Plan;

use super::auth::{self, Need};
use super::problem::{KINDS, PROBLEM_JSON};
use super::routes::{Kind, Operation, Param, routes};
use super::schemas::schemas;

/// Problems that every operation can have.
const EVERYWHERE: &[&str] = &["unknown-parameter", "method-not-allowed", "internal", "overloaded"];

/// Problems of operations that need a token.
const GUARDED: &[&str] = &["token-missing", "token-invalid", "scope-missing"];

/// The description of the API where no tokens are checked, with the endpoints of a plan.
pub fn openapi(plan: &Plan) -> Json {
    describe(plan, false)
}

/// The description of the API, with the endpoints of a plan; `checked`: where tokens are.
pub(crate) fn describe(plan: &Plan, checked: bool) -> Json {
    let mut paths = Map::new();
    for route in routes(plan) {
        let mut item = Map::new();
        let parameters: Vec<Json> = path_parameters(&route.path).map(path_parameter).collect();
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        for operation in &route.operations {
            let guarded = checked && auth::is_guarded(&route.path);
            item.insert(operation.method.into(), operation_of(operation, guarded.then_some(&*route.path)));
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
    let mut components = json!({ "schemas": schemas });
    if checked {
        let text = "A JWT. Scopes: `read` asks, `write` appends records, `admin` allows everything.";
        let query = "The same token, of live streams alone: browsers set no headers for them.";
        components["securitySchemes"] = json!({
            "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": text },
            "access_token": { "type": "apiKey", "in": "query", "name": "access_token", "description": query },
        });
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
        "components": components,
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

/// Describes an operation; `guarded` is its route where it needs a token.
fn operation_of(operation: &Operation, guarded: Option<&str>) -> Json {
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
        if operation.problems.contains(kind)
            || EVERYWHERE.contains(kind)
            || (guarded.is_some() && GUARDED.contains(kind))
        {
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
    if let Some(route) = guarded {
        let method = Method::from_bytes(operation.method.to_uppercase().as_bytes()).unwrap_or_default();
        let scopes = [Need::of(&method, route).name()];
        out["security"] = json!([{ "bearer": scopes }]);
        if auth::is_stream(route) {
            out["security"] = json!([{ "bearer": scopes }, { "access_token": scopes }]);
        }
    }
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
