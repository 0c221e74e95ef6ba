//! What records must be, as a JSON Schema says it.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::json::Json;

/// A JSON Schema that was read; cheap to clone. It refers to nothing outside of itself.
#[derive(Clone)]
pub struct Schema(Arc<jsonschema::Validator>);

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// It is no JSON, or no JSON Schema; in one line for people.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let schema: Value = serde_json::from_slice(text).map_err(|problem| problem.to_string())?;
        let validator = jsonschema::validator_for(&schema);
        validator.map(|validator| Self(Arc::new(validator))).map_err(|problem| problem.to_string())
    }

    /// Answers what is wrong with a value: where, as a JSON pointer, and why; the value itself is not repeated.
    pub(super) fn problem(&self, value: &Json) -> Option<(String, String)> {
        let value = as_value(value);
        let problem = self.0.iter_errors(&value).next()?;
        Some((problem.instance_path().as_str().to_owned(), format!("does not fit: {}", problem.masked())))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

/// Answers a value as schemas are asked about it: numbers as doubles where they are no small integers.
fn as_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(number) => serde_json::from_str(number).unwrap_or_else(|_| Value::from(f64::MAX)),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(values) => Value::Array(values.iter().map(as_value).collect()),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), as_value(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_without_its_value() {
        let schema = r#"{"type":"object","required":["name"],"properties":{"price":{"type":"number","minimum":0},
            "tags":{"type":"array","items":{"type":"string"}}}}"#;
        let schema = Schema::read(schema.as_bytes()).unwrap();
        let problem = |text: &str| schema.problem(&parse(text.as_bytes()).unwrap());
        assert_eq!(problem(r#"{"name":"x","price":12345678901234567890}"#), None);
        let (pointer, reason) = problem(r#"{"name":"x","price":"secret"}"#).unwrap();
        assert_eq!((pointer.as_str(), reason.contains("secret")), ("/price", false), "{reason}");
        assert_eq!(problem(r#"{"name":"x","tags":["a",1]}"#).unwrap().0, "/tags/1");
        assert_eq!(problem(r#"{"price":1}"#).unwrap().0, "");
        assert!(Schema::read(b"{").is_err() && Schema::read(br#"{"type":"thing"}"#).is_err());
        assert!(Schema::read(br#"{"$ref":"https://example.test/schema.json"}"#).is_err(), "nothing is fetched");
    }
}
