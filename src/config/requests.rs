//! How an HTTP API of records is asked: templates of method, path, headers and body, and where records are in what it answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::Expanded;

/// What stands for the id of a record.
const ID: &str = "id";

/// Text in which `{id}` stands for the id of a record, and `{name}` for one of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(String),
}

impl TextTemplate {
    /// Cuts a text at the placeholders that `is_known` accepts; other braces stand for themselves, and so does `${`.
    fn cut(text: &str, is_known: impl Fn(&str) -> bool) -> Self {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(start) = rest.find('{') {
            plain.push_str(&rest[..start]);
            let inner = &rest[start + 1..];
            match inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}') && is_known(&inner[..*end])) {
                Some(end) if !plain.ends_with('$') => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(Piece::Placeholder(inner[..end].to_owned()));
                    rest = &inner[end + 1..];
                }
                _ => {
                    plain.push('{');
                    rest = inner;
                }
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Self(pieces)
    }

    /// Answers what is filled in, in order: `id` and the names of fields.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Answers whether it says where the id goes.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.placeholders().any(|name| name == ID)
    }

    /// Fills in what stands for each placeholder.
    ///
    /// # Errors
    /// As `value`.
    pub fn filled<E>(&self, mut value: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
        let filled = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Ok(text.clone()),
            Piece::Placeholder(name) => value(name),
        });
        filled.collect()
    }

    fn has_braces(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(['{', '}'])))
    }
}

/// A method and what comes behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTemplate {
    /// The method.
    pub method: String,
    /// The path.
    pub path: TextTemplate,
}

impl std::str::FromStr for RequestTemplate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (method, path) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method) {
            return Err("begins with GET, POST, PUT, PATCH or DELETE");
        }
        let path = path.trim();
        let template = TextTemplate::cut(path, |name| !name.is_empty());
        let begins = path.is_empty() || path.starts_with(['/', '?']);
        if !begins || !path.chars().all(|c| c.is_ascii_graphic() && c != '#') || template.has_braces() {
            return Err("a path begins with `/` or `?` and has no spaces; `{id}` and `{FIELD}` are filled in");
        }
        Ok(Self { method: method.to_owned(), path: template })
    }
}

/// Answers the name and the value of a header, as `Name: value`.
#[must_use]
pub fn header(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once(':')?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let is_value = value.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte));
    (!name.is_empty() && name.chars().all(is_token) && is_value).then(|| (name, value.trim()))
}

/// Answers a header into which something of a record is filled; nothing where it is the same for all of them.
///
/// Placeholders are those that the configuration has: what a variable brings with it is never one.
#[must_use]
pub fn header_template(text: &Expanded) -> Option<(&str, TextTemplate)> {
    let is_name = |name: &str| !name.is_empty() && !name.contains([' ', '"', '\'', ':', ',']);
    let written = TextTemplate::cut(text.written(), is_name);
    let (name, value) = header(text.value())?;
    let template = TextTemplate::cut(value, |name| written.placeholders().any(|known| known == name));
    template.placeholders().next()?;
    Some((name, template))
}

/// JSON in which the text `{record}` stands for a record, and `{id}` and `{name}` for its id and one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BodyTemplate(Value);

impl BodyTemplate {
    /// Answers the JSON, placeholders and all.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// Answers what a whole text stands for: `record`, `id`, or the name of a field.
    #[must_use]
    pub fn placeholder(text: &str) -> Option<&str> {
        let name = text.strip_prefix('{')?.strip_suffix('}')?;
        (!name.is_empty() && !name.contains(['{', '}'])).then_some(name)
    }

    /// Answers whether one of its texts is such a one.
    pub(super) fn any_text(&self, is: impl Fn(&str) -> bool) -> bool {
        let mut open = vec![&self.0];
        while let Some(value) = open.pop() {
            match value {
                Value::String(text) if is(text) => return true,
                Value::Array(values) => open.extend(values),
                Value::Object(fields) => open.extend(fields.values()),
                _ => {}
            }
        }
        false
    }
}

/// Where something is in a JSON text (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer {
    written: String,
    steps: Vec<String>,
}

impl JsonPointer {
    /// Answers it as it is written.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Answers the names of fields, or the places in arrays, on the way.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }
}

impl std::str::FromStr for JsonPointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let steps = text.strip_prefix('/').ok_or("must be a JSON pointer, like `/data/items`")?;
        let is_escaped = |step: &str| step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        let steps: Vec<&str> = steps.split('/').collect();
        if !steps.iter().all(|step| is_escaped(step)) {
            return Err("`~` is written as `~0` in a JSON pointer, and `/` within a name as `~1`");
        }
        let steps = steps.into_iter().map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        Ok(Self { written: text.to_owned(), steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &TextTemplate) -> String {
        template.filled(|name| Ok::<_, ()>(format!("<{name}>"))).unwrap()
    }

    #[test]
    fn requests_read_as_written() {
        let request = |text: &str| text.parse::<RequestTemplate>().map(|it| (it.method, filled(&it.path)));
        assert_eq!(request("PUT /a/{id}?x={sku}"), Ok(("PUT".to_owned(), "/a/<id>?x=<sku>".to_owned())));
        assert_eq!(request(" POST "), Ok(("POST".to_owned(), String::new())));
        for text in ["", "put /x", "GET x", "GET /{}", "GET /{a", "GET /a}", "GET /{{id}}", "GET /a b", "GET /a#b"] {
            assert!(request(text).is_err(), "{text}");
        }
        assert!("GET /{id}".parse::<RequestTemplate>().unwrap().path.has_id());
        assert!(!"GET /{ids}".parse::<RequestTemplate>().unwrap().path.has_id());
    }

    #[test]
    fn headers_read_as_written_and_variables_bring_no_placeholders() {
        assert_eq!(header("Authorization: Bearer x:y"), Some(("Authorization", "Bearer x:y")));
        for text in ["", "x", ": x", "a b: c", "a: b\r\nc: d"] {
            assert_eq!(header(text), None, "{text}");
        }
        let template = |written: &str, value: &str| {
            let text = Expanded::new(written, value);
            header_template(&text).map(|(name, template)| format!("{name} = {}", filled(&template)))
        };
        assert_eq!(template("Key: {id}-{n}", "Key: {id}-{n}").as_deref(), Some("Key = <id>-<n>"));
        assert_eq!(template("Key: ${id}", "Key: s{id}cret"), None);
        assert_eq!(template("Key: ${A}{id}", "Key: {b}{id}").as_deref(), Some("Key = {b}<id>"));
        assert_eq!(template(r#"Key: {"a": 1}"#, r#"Key: {"a": 1}"#), None);
    }

    #[test]
    fn pointers_name_each_step() {
        let steps = |text: &str| text.parse::<JsonPointer>().map(|it| it.steps);
        assert_eq!(steps("/data/a~1b/~01/"), Ok(["data", "a/b", "~1", ""].map(str::to_owned).to_vec()));
        for text in ["", "data", "/a~2", "/~"] {
            assert!(steps(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_whole_text_stands_for_something_in_a_body() {
        let body = |text: &str| serde_json::from_str::<BodyTemplate>(text).unwrap();
        let fills = |text: &str, name| body(text).any_text(|text| BodyTemplate::placeholder(text) == Some(name));
        assert!(fills(r#"[{"a": {"b": "{record}"}}]"#, "record"));
        assert!(!fills(r#"{"{record}": "the {record}", "b": "{id}"}"#, "record"));
        assert_eq!(
            ["{id}", "{", "{}", "x{id}", "{a}{b}"].map(BodyTemplate::placeholder),
            [Some("id"), None, None, None, None]
        );
    }
}
