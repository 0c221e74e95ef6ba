//! The content of a file as a tree in which every value knows its place.

use std::rc::Rc;

use super::problem::{Position, brief};

/// Identifies a value or a key within its tree.
pub(super) type NodeId = usize;

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    pub id: NodeId,
    pub at: Position,
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// A number, with its digits as they were written.
    Number(Number, Rc<str>),
    Text(Rc<str>),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Stands for a value that is missing, so that reading can go on; reads as empty.
    Filler,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// A key with its value; keys are unique within their map.
#[derive(Debug)]
pub(super) struct Entry {
    pub id: NodeId,
    pub at: Position,
    pub key: Rc<str>,
    pub value: Node,
}

/// Where a value or key is: its own position, the position of its key, and its dotted path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub at: Position,
    pub key_at: Position,
    pub key: String,
}

impl Node {
    /// Answers the entry under `key`, when this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// Answers the entries of a map; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    /// Answers the value's text where it can be read as text: text and numbers.
    pub fn as_text(&self) -> Option<&Rc<str>> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(_, text) => Some(text),
            _ => None,
        }
    }

    /// Finds a value or key below this root. Depth is limited where trees are made.
    pub fn find(&self, id: NodeId) -> Option<Place> {
        if self.id == id {
            return Some(Place { at: self.at, key_at: self.at, key: String::new() });
        }
        match &self.kind {
            Kind::List(items) => {
                let found = |(index, item): (usize, &Node)| Some(item.find(id)?.below(&format!("[{index}]")));
                items.iter().enumerate().find_map(found)
            }
            Kind::Map(entries) => entries.iter().find_map(|entry| entry.find(id)),
            _ => None,
        }
    }
}

impl Entry {
    fn find(&self, id: NodeId) -> Option<Place> {
        let place = if self.id == id {
            Place { at: self.at, key_at: self.at, key: String::new() }
        } else {
            self.value.find(id)?
        };
        let key_at = if self.value.id == id { self.at } else { place.key_at };
        Some(Place { key_at, ..place.below(&brief(&self.key)) })
    }
}

impl Place {
    /// Puts a step in front of the path.
    fn below(mut self, step: &str) -> Self {
        let dot = if self.key.is_empty() || self.key.starts_with('[') { "" } else { "." };
        self.key = format!("{step}{dot}{}", self.key);
        self
    }
}

/// Appends a key to a dotted path, safe to show.
pub(super) fn dotted(path: &str, key: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{}", brief(key))
}

/// Reads an unquoted scalar by the rules of the YAML 1.2 core schema.
pub(super) fn plain_scalar(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ => match number(text) {
            Some(number) => Kind::Number(number, text.into()),
            None => Kind::Text(text.into()),
        },
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).map(Number::Unsigned);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+')).map(Number::Unsigned);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(Number::Float(f64::INFINITY));
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !is_numeric(unsigned) {
        return None;
    }
    if let Ok(value) = text.parse() {
        return Some(Number::Unsigned(value));
    }
    if let Ok(value) = text.parse() {
        return Some(Number::Signed(value));
    }
    text.parse().ok().map(Number::Float)
}

fn is_numeric(unsigned: &str) -> bool {
    unsigned.bytes().any(|byte| byte.is_ascii_digit())
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(format!("{:?}", plain_scalar(text)), expected, "{text}");
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        check("", "Null");
        check("True", "Bool(true)");
        check("yes", "Text(\"yes\")");
        check("on", "Text(\"on\")");
        check("0x1F", "Number(Unsigned(31), \"0x1F\")");
        check("-7", "Number(Signed(-7), \"-7\")");
        check("1.5", "Number(Float(1.5), \"1.5\")");
        check("3s", "Text(\"3s\")");
        check("1.2.3", "Text(\"1.2.3\")");
        check("0x+1", "Text(\"0x+1\")");
        check("127.0.0.1:80", "Text(\"127.0.0.1:80\")");
    }
}
