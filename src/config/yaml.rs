//! YAML: the only file that knows the YAML libraries.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::model::Config;
use super::node::{Entry, Kind, Node, NodeId, plain_scalar};
use super::problem::{Position, brief, quoted_message};

/// Larger files are refused.
pub(super) const MAX_FILE_BYTES: usize = 1 << 20;

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;

/// Anchors and aliases may add this many values.
const MAX_ALIAS_NODES: usize = 10_000;

/// Something that is wrong with the file as YAML.
#[derive(Debug)]
pub(super) struct Fault {
    pub at: Position,
    /// The key that is meant, when one is.
    pub entry: Option<NodeId>,
    pub message: String,
}

/// What was read; without a root where the file is not usable as YAML at all.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub root: Option<Node>,
    pub faults: Vec<Fault>,
}

/// Writes a configuration, `${VAR}` as it was written, defaults spelled out.
#[must_use]
pub fn to_yaml(config: &Config) -> String {
    // Only text, numbers, lists and maps with text keys: nothing that the writer refuses.
    let text = serde_yaml::to_string(config).unwrap_or_else(|error| format!("# {error}\n"));
    if !text.contains(LINE_SEPARATORS) {
        return text;
    }
    // The writer takes these for text and readers take them for ends of lines. JSON is YAML, and can escape them.
    let json = serde_json::to_string_pretty(config).unwrap_or(text);
    LINE_SEPARATORS.iter().fold(json, |json, c| json.replace(*c, &format!("\\u{:04x}", u32::from(*c))))
}

/// What some versions of YAML end lines with.
const LINE_SEPARATORS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Reads one YAML document.
pub(super) fn read(text: &str) -> Document {
    let mut builder = Builder::default();
    if text.len() > MAX_FILE_BYTES {
        builder.fault(START, format!("the file is larger than {MAX_FILE_BYTES} bytes"));
        return Document { root: None, faults: builder.faults };
    }
    let complete = builder.read(text);
    let root = if complete { builder.root.or(Some(Node { id: 0, at: START, kind: Kind::Null })) } else { None };
    let end = end_of(text);
    builder.faults.iter_mut().for_each(|fault| fault.at = fault.at.min(end));
    Document { root, faults: builder.faults }
}

const START: Position = Position { line: 1, column: 1 };

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    faults: Vec<Fault>,
    documents: usize,
    last_id: NodeId,
    alias_nodes: usize,
}

/// A list or map that is not complete yet.
struct Frame {
    id: NodeId,
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<Rc<str>, NodeId>, pending: Option<(Position, Rc<str>)> },
}

/// Reading cannot go on; the reason is among the faults.
struct Stopped;

impl Builder {
    /// Takes in the whole text; answers whether the root is complete.
    fn read(&mut self, text: &str) -> bool {
        for next in Parser::new_from_str(text) {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => {
                    self.fault(position(*error.marker()), format!("not YAML: {}", advice(error.info())));
                    return false;
                }
            };
            if self.documents > 1 {
                return true;
            }
            if self.take(event, position(span.start)).is_err() {
                return false;
            }
        }
        true
    }

    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Stopped> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.fault(at, "a second document starts here; the file must hold one");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = self.scalar(&text, style, tag.as_deref(), at);
                let node = Node { id: self.new_id(), at, kind };
                self.complete(node, anchor)?;
            }
            Event::Alias(anchor) => self.alias(anchor, at)?,
            Event::SequenceStart(anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Content::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), seen: HashMap::new(), pending: None };
                self.open(at, anchor, tag.as_deref(), content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Kind {
        let as_text = style != ScalarStyle::Plain
            || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str" || is_non_specific(tag));
        self.check_tag(tag, at);
        if as_text { Kind::Text(text.into()) } else { plain_scalar(text) }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, at: Position) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema() && !is_non_specific(tag)) {
            let message = format!("the tag `{}` means nothing here", brief(&tag.to_string()));
            self.fault(at, message);
        }
    }

    fn open(&mut self, at: Position, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), Stopped> {
        self.check_tag(tag, at);
        if self.stack.len() >= MAX_DEPTH {
            self.fault(at, format!("nested deeper than {MAX_DEPTH} levels"));
            return Err(Stopped);
        }
        let id = self.new_id();
        self.stack.push(Frame { id, at, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stopped> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let kind = match frame.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        self.complete(Node { id: frame.id, at: frame.at, kind }, frame.anchor)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Stopped> {
        let Some(original) = self.anchors.remove(&anchor) else {
            self.fault(at, "the alias refers to a value that contains it");
            let id = self.new_id();
            return self.place(Node { id, at, kind: Kind::Null });
        };
        let copy = self.copy(&original, self.stack.len(), at);
        self.anchors.insert(anchor, original);
        self.place(copy?)
    }

    /// Remembers a complete value under its anchor and puts it where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Stopped> {
        if anchor > 0 {
            let copy = self.copy(&node, self.stack.len(), node.at)?;
            self.anchors.insert(anchor, copy);
        }
        self.place(node)
    }

    /// Copies a value with identifiers of its own, within the budgets for aliases and depth.
    fn copy(&mut self, node: &Node, depth: usize, at: Position) -> Result<Node, Stopped> {
        self.alias_nodes += 1;
        if self.alias_nodes > MAX_ALIAS_NODES {
            self.fault(at, format!("aliases add more than {MAX_ALIAS_NODES} values"));
            return Err(Stopped);
        }
        if depth > MAX_DEPTH {
            self.fault(at, format!("aliases nest deeper than {MAX_DEPTH} levels"));
            return Err(Stopped);
        }
        let kind = match &node.kind {
            Kind::Null | Kind::Filler => Kind::Null,
            Kind::Bool(value) => Kind::Bool(*value),
            Kind::Number(value, written) => Kind::Number(*value, Rc::clone(written)),
            Kind::Text(text) => Kind::Text(Rc::clone(text)),
            Kind::List(items) => {
                Kind::List(items.iter().map(|item| self.copy(item, depth + 1, at)).collect::<Result<_, _>>()?)
            }
            Kind::Map(entries) => {
                Kind::Map(entries.iter().map(|entry| self.copy_entry(entry, depth + 1, at)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Node { id: self.new_id(), at: node.at, kind })
    }

    fn copy_entry(&mut self, entry: &Entry, depth: usize, at: Position) -> Result<Entry, Stopped> {
        let value = self.copy(&entry.value, depth, at)?;
        Ok(Entry { id: self.new_id(), at: entry.at, key: Rc::clone(&entry.key), value })
    }

    fn place(&mut self, node: Node) -> Result<(), Stopped> {
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { pending: pending @ None, .. }) => match key_text(&node) {
                Some(key) => *pending = Some((node.at, key)),
                None => {
                    self.fault(node.at, "a key must be text");
                    return Err(Stopped);
                }
            },
            Some(Content::Map { .. }) => self.place_value(node),
        }
        Ok(())
    }

    /// Ends the pending entry of the innermost map with its value.
    fn place_value(&mut self, value: Node) {
        let id = self.new_id();
        let Some(Frame { content: Content::Map { entries, seen, pending }, .. }) = self.stack.last_mut() else {
            return;
        };
        let Some((at, key)) = pending.take() else { return };
        let fault = if &*key == "<<" {
            Some((None, "merge keys are not supported; use an alias for the whole value".to_owned()))
        } else {
            seen.get(&key).map(|first| (Some(*first), format!("`{}` is here a second time", brief(&key))))
        };
        match fault {
            Some((entry, message)) => self.faults.push(Fault { at, entry, message }),
            None => {
                seen.insert(Rc::clone(&key), id);
                entries.push(Entry { id, at, key, value });
            }
        }
    }

    fn new_id(&mut self) -> NodeId {
        self.last_id += 1;
        self.last_id
    }

    fn fault(&mut self, at: Position, message: impl Into<String>) {
        self.faults.push(Fault { at, entry: None, message: message.into() });
    }
}

/// Answers the last place of a text: the reader names one beyond it when something is missing at the end.
fn end_of(text: &str) -> Position {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let last = text.rsplit('\n').next().unwrap_or_default();
    Position { line: text.split('\n').count(), column: last.chars().count() + 1 }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn is_non_specific(tag: &Tag) -> bool {
    tag.suffix == "!" && tag.handle.is_empty() || tag.handle == "!" && tag.suffix.is_empty()
}

/// Keys are text as written; a list, a map or nothing is no key.
fn key_text(node: &Node) -> Option<Rc<str>> {
    match &node.kind {
        Kind::Bool(value) => Some(value.to_string().into()),
        _ => node.as_text().cloned(),
    }
}

fn advice(info: &str) -> String {
    let advice = if info.contains("tab") { " (indent with spaces)" } else { "" };
    format!("{}{advice}", quoted_message(info))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn faults(text: &str) -> String {
        let mut shown = String::new();
        for fault in read(text).faults {
            writeln!(shown, "{}:{}: {}", fault.at.line, fault.at.column, fault.message).unwrap();
        }
        shown
    }

    #[test]
    fn anchors_and_aliases_are_followed() {
        let document = read("a: &x [1, two]\nb: *x\n");
        assert!(document.faults.is_empty());
        let root = document.root.unwrap();
        assert!(matches!(&root.entry("b").unwrap().value.kind, Kind::List(items) if items.len() == 2));
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let aliases = vec![format!("*l{}", level - 1); 10].join(", ");
            writeln!(text, "l{level}: &l{level} [{aliases}]").unwrap();
        }
        insta::assert_snapshot!(faults(&text), @"4:40: aliases add more than 10000 values");
    }

    #[test]
    fn deep_nesting_is_refused() {
        insta::assert_snapshot!(faults(&"[".repeat(100_000)), @"1:256: not YAML: recursion limit exceeded");
        insta::assert_snapshot!(faults(&"- ".repeat(1_000)), @"1:129: nested deeper than 64 levels");
    }

    #[test]
    fn what_is_not_plain_yaml_is_named_at_its_place() {
        insta::assert_snapshot!(faults("a:\n\tb: 1\n"), @"2:2: not YAML: tabs disallowed within this context (block indentation) (indent with spaces)");
        insta::assert_snapshot!(faults("a: 1\nb: 2\na: 3\n"), @"3:1: `a` is here a second time");
        insta::assert_snapshot!(faults("a: 1\n---\nb: 2\n"), @"2:1: a second document starts here; the file must hold one");
        insta::assert_snapshot!(faults("a: &x [*x]\n"), @"1:8: the alias refers to a value that contains it");
        insta::assert_snapshot!(faults("a: *nowhere\n"), @"1:4: not YAML: while parsing node, found unknown anchor");
        insta::assert_snapshot!(faults("a: &x {b: 1}\nc:\n  <<: *x\n"), @"3:3: merge keys are not supported; use an alias for the whole value");
        insta::assert_snapshot!(faults("a: !secret 1\n"), @"1:4: the tag `!secret` means nothing here");
        insta::assert_snapshot!(faults("[1, 2]: 3\n"), @"1:1: a key must be text");
        insta::assert_snapshot!(faults("a:\n>"), @"2:2: not YAML: simple key expected");
        insta::assert_snapshot!(faults("a: \"open\n"), @"1:4: not YAML: while scanning a quoted scalar, found unexpected end of stream");
    }

    #[test]
    fn too_large_files_are_refused() {
        insta::assert_snapshot!(faults(&"#".repeat(MAX_FILE_BYTES + 1)), @"1:1: the file is larger than 1048576 bytes");
    }
}
