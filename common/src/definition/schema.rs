//! The JSON Schema of the format, for editors, generated from the catalogue that the reader works by.

use serde_json::{Map, Value, json};

use super::format::{Kind, ROOT, Section, TYPES};

const NAME: &str = "^[A-Za-z][A-Za-z0-9_]*$";
const DURATION: &str = r"^([0-9]+(us|ms|s|m|h|d|w|y))+$";

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let mut schema = section(&ROOT);
    if let Value::Object(object) = &mut schema {
        let mut head = Map::new();
        head.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        head.insert("title".into(), json!("Tideline pipeline definition"));
        head.append(object);
        *object = head;
    }
    schema
}

fn section(section: &Section) -> Value {
    let mut properties = Map::new();
    for key in section.keys {
        let mut value = kind(&key.kind);
        if let Value::Object(object) = &mut value {
            object.insert("description".into(), json!(key.about));
        }
        properties.insert(key.name.into(), value);
    }
    let required: Vec<&str> = section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut object = json!({
        "type": "object",
        "description": section.about,
        "additionalProperties": false,
        "properties": properties,
    });
    if let Value::Object(object) = &mut object {
        if !required.is_empty() {
            object.insert("required".into(), json!(required));
        }
        if section.name == "step" {
            object.insert("minProperties".into(), json!(1));
            object.insert("maxProperties".into(), json!(1));
        }
        if section.name == "output" {
            object.insert("oneOf".into(), json!([{ "required": ["view"] }, { "required": ["table"] }]));
        }
    }
    object
}

/// A string that may hold a reference passes wherever its pattern does.
fn pattern(pattern: &str) -> Value {
    json!({ "type": "string", "anyOf": [{ "pattern": pattern }, { "pattern": r"\$\{" }] })
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::String | Kind::Sql => json!({ "type": "string" }),
        Kind::Duration => pattern(DURATION),
        Kind::Integer(least, most) => json!({ "anyOf": [
            { "type": "integer", "minimum": least, "maximum": most },
            { "type": "string", "pattern": r"\$\{" },
        ] }),
        Kind::Number(least, most) => json!({ "anyOf": [
            { "type": "number", "minimum": least, "maximum": most },
            { "type": "string", "pattern": r"\$\{" },
        ] }),
        Kind::Positive(most) => json!({ "anyOf": [
            { "type": "number", "exclusiveMinimum": 0, "maximum": most },
            { "type": "string", "pattern": r"\$\{" },
        ] }),
        Kind::Choice(choices) => {
            json!({ "type": "string", "anyOf": [{ "enum": choices }, { "pattern": r"\$\{" }] })
        }
        Kind::Strings => json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true }),
        Kind::StringOrStrings => json!({ "anyOf": [{ "type": "string" }, self::kind(&Kind::Strings)] }),
        Kind::Types => named(&json!({ "type": "string", "examples": TYPES })),
        Kind::Expressions => named(&json!({ "type": "string" })),
        Kind::Table(of) => section(of),
        Kind::StringOr(of) => json!({ "anyOf": [{ "type": "string" }, section(of)] }),
        Kind::DurationOr(of) => json!({ "anyOf": [pattern(DURATION), section(of)] }),
        Kind::Named(of) => named(&section(of)),
        Kind::Tables(of) => json!({ "type": "array", "items": section(of) }),
    }
}

fn named(value: &Value) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": NAME }, "additionalProperties": value })
}
