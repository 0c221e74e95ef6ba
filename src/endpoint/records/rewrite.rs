//! Writing a text of records anew with some of them changed: what is not touched stays byte for byte. In little memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::fs::FileExt as _;

use super::json::{Json, parse};
use super::scan::{Layout, Scanned, Scanner};
use super::shape::Shape;
use crate::base::digest::Digest;
use crate::endpoint::Key;

/// What becomes of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// What must be there; none: nothing.
    pub from: Option<Digest>,
    /// Its new canonical text; none: it is taken out.
    pub to: Option<Vec<u8>>,
}

pub(super) type Changes = BTreeMap<Key, Change>;

/// Bytes that are looked at around what stands between two records.
const LOOKED_AT_BYTES: u64 = 64 << 10;

/// Writes one text anew.
pub(super) struct Rewrite<'r, W> {
    shape: &'r Shape,
    layout: Layout,
    changes: &'r Changes,
    old: &'r File,
    out: W,
    /// Bytes of the old text that are dealt with.
    done: u64,
    /// Whether no record was met yet.
    is_lead: bool,
    /// Whether something that is no record stands since the last one.
    is_rich: bool,
    /// Whether a record, or what is none, is in the new text already.
    has_any: bool,
    /// What stands between records, to be written before new ones.
    between: Option<Vec<u8>>,
    is_pretty: bool,
    met: BTreeSet<Key>,
    /// Keys under which something is that is not what was expected.
    refused: Vec<Key>,
}

impl<'r, W: Write> Rewrite<'r, W> {
    pub fn new((shape, layout): (&'r Shape, Layout), changes: &'r Changes, old: &'r File, out: W) -> Self {
        Self {
            shape,
            layout,
            changes,
            old,
            out,
            done: 0,
            is_lead: true,
            is_rich: false,
            has_any: false,
            between: None,
            is_pretty: false,
            met: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    /// Takes the old text over with all changes; answers whoever was written to and the keys that were refused.
    pub fn run(mut self) -> io::Result<(W, Vec<Key>)> {
        let mut scanner = Scanner::new(Reading(self.old, 0), Some(self.layout), self.shape.limit);
        loop {
            match scanner.next()? {
                Scanned::End => break,
                Scanned::Bad { hides_rest: true, line, reason } => {
                    return Err(io::Error::other(format!("line {line}: {reason}")));
                }
                // What is no record stays where it is.
                Scanned::Bad { .. } => self.is_rich = true,
                Scanned::Record { offset, .. } => self.record(offset, scanner.text())?,
            }
        }
        if scanner.layout() == Some(Layout::Sequence) && self.layout == Layout::Array && !self.is_lead {
            return Err(io::Error::other("it is no array of records"));
        }
        let tail = self.rest()?;
        self.add_new()?;
        self.out.write_all(&tail)?;
        Ok((self.out, self.refused))
    }

    /// Takes one record over, changed or not.
    fn record(&mut self, offset: u64, text: &[u8]) -> io::Result<()> {
        let found = self.shape.record(text).ok();
        let change = found.as_ref().and_then(|record| Some((record, self.changes.get(&record.key)?)));
        let is_pretty = text.contains(&b'\n');
        self.is_pretty |= is_pretty;
        let mut is_kept = true;
        if let Some((record, change)) = change {
            self.met.insert(record.key.clone());
            is_kept = change.from != Some(record.known.version.digest);
            if is_kept {
                self.refused.push(record.key.clone());
            }
        }
        match change.filter(|_| !is_kept) {
            Some((_, Change { to: None, .. })) => self.leave_gap(offset)?,
            Some((record, Change { to: Some(canonical), .. })) => {
                let indent = self.gap(offset)?;
                let new = written(&record.value, canonical, is_pretty.then_some(&indent))?;
                self.out.write_all(&new)?;
                self.has_any = true;
            }
            None => {
                self.gap(offset)?;
                self.out.write_all(text)?;
                self.has_any = true;
            }
        }
        self.done = offset + text.len() as u64;
        (self.is_lead, self.is_rich) = (false, false);
        Ok(())
    }

    /// Takes over what stands before a record that stays; answers how far that is indented.
    fn gap(&mut self, offset: u64) -> io::Result<String> {
        let end = read(self.old, self.done.max(offset.saturating_sub(LOOKED_AT_BYTES)), offset)?;
        if !self.is_rich && (!self.is_lead || self.layout == Layout::Array) {
            self.between = Some(if self.is_lead { as_between(&end) } else { end.clone() });
        }
        let from = self.without_separator(offset)?;
        copy(self.old, from, offset, &mut self.out)?;
        self.has_any |= self.is_rich;
        Ok(indent_of(&end))
    }

    /// Deals with what stands before a record that is taken out.
    fn leave_gap(&mut self, offset: u64) -> io::Result<()> {
        if self.is_rich {
            let from = self.without_separator(offset)?;
            let start = from.max(offset.saturating_sub(LOOKED_AT_BYTES));
            let end = read(self.old, start, offset)?;
            let spare = end.iter().rev().take_while(|byte| byte.is_ascii_whitespace() || **byte == b',').count();
            copy(self.old, from, offset - spare as u64, &mut self.out)?;
            self.has_any = true;
        } else if self.is_lead {
            let lead = read(self.old, self.done, offset)?;
            let open = lead.iter().position(|byte| *byte == b'[').map_or(0, |at| at + 1);
            self.out.write_all(&lead[..open])?;
        }
        Ok(())
    }

    /// Answers where what is taken over begins: what separates it from something before needs that to be there.
    fn without_separator(&self, to: u64) -> io::Result<u64> {
        if self.has_any || self.is_lead {
            return Ok(self.done);
        }
        let start = read(self.old, self.done, to.min(self.done + LOOKED_AT_BYTES))?;
        let skipped = match self.layout {
            Layout::Array => start.iter().position(|byte| *byte == b',').map_or(0, |at| at + 1),
            Layout::Lines | Layout::Sequence => start.iter().take_while(|byte| byte.is_ascii_whitespace()).count(),
        };
        Ok(self.done + skipped as u64)
    }

    /// Takes over what stands behind the last record; answers what belongs behind new ones.
    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let length = self.old.metadata()?.len();
        let end = read(self.old, self.done.max(length.saturating_sub(LOOKED_AT_BYTES)), length)?;
        let is_empty = self.is_lead && !self.is_rich && !end.contains(&b'[');
        if self.layout == Layout::Array && is_empty {
            self.out.write_all(b"[")?;
            return Ok(b"\n]\n".to_vec());
        }
        let from = self.without_separator(length)?;
        if self.layout != Layout::Array {
            copy(self.old, from, length, &mut self.out)?;
            self.has_any |= self.is_rich;
            let is_open = self.has_any && !end.ends_with(b"\n") && self.adds();
            self.out.write_all(if is_open { b"\n" } else { b"" })?;
            return Ok(Vec::new());
        }
        let close = end.iter().rposition(|byte| *byte == b']').unwrap_or(end.len());
        let spaces = end[..close].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        let tail = &end[close - spaces..];
        copy(self.old, from, (length - tail.len() as u64).max(from), &mut self.out)?;
        self.has_any |= self.is_rich;
        let is_tight = !self.has_any && self.between.is_none() && !tail[..spaces].contains(&b'\n');
        Ok(if is_tight && self.adds() { [b"\n", tail].concat() } else { tail.to_vec() })
    }

    fn adds(&self) -> bool {
        self.changes.iter().any(|(key, change)| change.to.is_some() && change.from.is_none() && !self.met.contains(key))
    }

    /// Adds what is new, in the order of keys.
    fn add_new(&mut self) -> io::Result<()> {
        let between = self.between.take().unwrap_or_else(|| b",\n  ".to_vec());
        let (indent, is_array) = (indent_of(&between), self.layout == Layout::Array);
        for (key, change) in self.changes.iter().filter(|(key, _)| !self.met.contains(*key)) {
            let (None, Some(canonical)) = (&change.from, &change.to) else {
                self.refused.push(key.clone());
                continue;
            };
            let new = written(&Json::Null, canonical, (is_array && self.is_pretty).then_some(&indent))?;
            let separator = if self.has_any { &between[..] } else { without_comma(&between) };
            self.out.write_all(if is_array { separator } else { b"" })?;
            self.out.write_all(&new)?;
            self.out.write_all(if is_array { b"" } else { b"\n" })?;
            self.has_any = true;
        }
        Ok(())
    }
}

/// Writes a record with its fields in the order of another one.
fn written(like: &Json, canonical: &[u8], indent: Option<&String>) -> io::Result<Vec<u8>> {
    let value = parse(canonical).map_err(|malformed| io::Error::other(malformed.reason.into_owned()))?;
    let (value, mut text) = (ordered_like(value, like), Vec::new());
    match indent {
        Some(indent) => value.write_pretty(indent, &mut text),
        None => value.write_line(&mut text),
    }
    Ok(text)
}

/// Answers what would stand between two records like what stands before the first.
fn as_between(lead: &[u8]) -> Vec<u8> {
    let open = lead.iter().rposition(|byte| *byte == b'[').map_or(0, |at| at + 1);
    [b",", &lead[open..]].concat()
}

/// Answers a value with its fields in the order of another one; what that lacks comes last.
fn ordered_like(value: Json, like: &Json) -> Json {
    match (value, like) {
        (Json::Object(mut fields), Json::Object(order)) => {
            let places: BTreeMap<&str, usize> =
                order.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
            fields.sort_by_key(|(name, _)| places.get(name.as_str()).copied().unwrap_or(usize::MAX));
            let like_of = |name: &str| places.get(name).map_or(&Json::Null, |place| &order[*place].1);
            let ordered = |(name, value): (String, Json)| {
                let value = ordered_like(value, like_of(&name));
                (name, value)
            };
            Json::Object(fields.into_iter().map(ordered).collect())
        }
        (value, _) => value,
    }
}

fn without_comma(between: &[u8]) -> &[u8] {
    let start = between.iter().position(|byte| *byte == b',').map_or(0, |at| at + 1);
    &between[start..]
}

/// Answers the spaces that the last line of a gap begins with.
fn indent_of(gap: &[u8]) -> String {
    let line = gap.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_line = gap.contains(&b'\n');
    let spaces = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    String::from_utf8_lossy(if is_line { &line[..spaces] } else { b"" }).into_owned()
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(|_| io::ErrorKind::InvalidData)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

fn copy(file: &File, from: u64, to: u64, out: &mut impl Write) -> io::Result<()> {
    io::copy(&mut Reading(file, from).take(to - from), out).map(drop)
}

/// Reads a file from its own place.
struct Reading<'f>(&'f File, u64);

impl io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::super::shape::tests::shape;
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    fn digest(text: &str) -> Digest {
        shape().record(text.as_bytes()).unwrap().known.version.digest
    }

    /// Answers a text after changes: key, what is there, what comes there (`-` is nothing).
    fn after(layout: Layout, text: &str, changes: &[(&str, &str, &str)]) -> (String, Vec<Key>) {
        let mut old = tempfile::tempfile().unwrap();
        old.write_all(text.as_bytes()).unwrap();
        let canonical = |text: &str| (text != "-").then(|| shape().record(text.as_bytes()).unwrap().canonical);
        let change = |from: &str, to: &str| Change { from: (from != "-").then(|| digest(from)), to: canonical(to) };
        let changes = changes.iter().map(|(name, from, to)| (key(name), change(from, to))).collect();
        let shape = Shape { limit: 60, ..shape() };
        let (out, refused) = Rewrite::new((&shape, layout), &changes, &old, Vec::new()).run().unwrap();
        (String::from_utf8(out).unwrap(), refused)
    }

    #[track_caller]
    fn check(layout: Layout, text: &str, changes: &[(&str, &str, &str)], expected: &str) {
        assert_eq!(after(layout, text, changes), (expected.to_owned(), Vec::new()));
    }

    const A: &str = r#"{"id":"a"}"#;
    const B: &str = r#"{"n" : 1, "id":"b"}"#;

    #[test]
    fn an_array_keeps_its_looks() {
        let check =
            |text: &str, changes: &[(&str, &str, &str)], expected: &str| check(Layout::Array, text, changes, expected);
        let two = format!("[\n  {A},\n  {B}\n]\n");
        check(
            &two,
            &[("b", B, r#"{"id":"b","m":0,"n":2}"#)],
            &format!("[\n  {A},\n  {{\"n\":2,\"id\":\"b\",\"m\":0}}\n]\n"),
        );
        check(&two, &[("a", A, "-")], &format!("[\n  {B}\n]\n"));
        check(&two, &[("b", B, "-")], &format!("[\n  {A}\n]\n"));
        check(&two, &[("a", A, "-"), ("b", B, "-")], "[\n]\n");
        check(&two, &[("a", A, "-"), ("b", B, "-"), ("c", "-", r#"{"id":"c"}"#)], "[\n  {\"id\":\"c\"}\n]\n");
        check(&two, &[("c", "-", r#"{"id":"c"}"#)], &format!("[\n  {A},\n  {B},\n  {{\"id\":\"c\"}}\n]\n"));
        check("", &[("a", "-", A), ("b", "-", B)], "[\n  {\"id\":\"a\"},\n  {\"id\":\"b\",\"n\":1}\n]\n");
        check("[]", &[("a", "-", A)], "[\n  {\"id\":\"a\"}\n]");
        check(&format!("[{A}]"), &[("b", "-", B)], &format!("[{A},{{\"id\":\"b\",\"n\":1}}]"));
        let pretty = "[\n    {\n      \"id\": \"a\"\n    }\n]";
        check(
            pretty,
            &[("b", "-", B)],
            "[\n    {\n      \"id\": \"a\"\n    },\n    {\n      \"id\": \"b\",\n      \"n\": 1\n    }\n]",
        );
    }

    #[test]
    fn lines_stay_lines() {
        let check =
            |text: &str, changes: &[(&str, &str, &str)], expected: &str| check(Layout::Lines, text, changes, expected);
        check(&format!("{A}\n{B}"), &[("c", "-", r#"{"id":"c"}"#)], &format!("{A}\n{B}\n{{\"id\":\"c\"}}\n"));
        check(&format!("{A}\n\n{B}\n"), &[("a", A, "-")], &format!("{B}\n"));
        check(&format!("{A}\n{B}\n"), &[("b", B, "-")], &format!("{A}\n"));
        check(&format!("{A}\n"), &[("a", A, "-")], "");
        check("", &[("a", "-", A)], "{\"id\":\"a\"}\n");
    }

    #[test]
    fn what_is_no_record_stays() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(99));
        check(Layout::Array, &format!("[{A}, {long}, {B}]"), &[("a", A, "-"), ("b", B, "-")], &format!("[ {long}]"));
        check(
            Layout::Lines,
            &format!("{A}\n{long}\nbroken\n{B}\n"),
            &[("a", A, "-")],
            &format!("{long}\nbroken\n{B}\n"),
        );
        let (same, refused) =
            after(Layout::Array, &format!("[{A}]"), &[("a", B.replace("\"b\"", "\"a\"").as_str(), "-")]);
        assert_eq!((same, refused), (format!("[{A}]"), vec![key("a")]), "it is not what was expected");
        let (same, refused) = after(Layout::Array, &format!("[{A}]"), &[("b", B, "-"), ("a", "-", A)]);
        assert_eq!((same, refused), (format!("[{A}]"), vec![key("a"), key("b")]));
    }

    proptest! {
        #[test]
        fn a_text_has_what_all_changes_made_of_it(
            before in proptest::collection::btree_map("[a-f]", 0..3_u8, 0..6),
            wanted in proptest::collection::btree_map("[a-f]", proptest::option::of(0..3_u8), 0..6),
            layout in prop_oneof![Just(Layout::Array), Just(Layout::Lines), Just(Layout::Sequence)],
            gap in "[ \n]{0,3}",
        ) {
            let record = |name: &str, value: u8| format!("{{\"id\":\"{name}\",\"n\":{value}}}");
            let records: Vec<String> = before.iter().map(|(name, value)| record(name, *value)).collect();
            let text = match layout {
                Layout::Array => format!("[{gap}{}{gap}]", records.join(&format!("{gap},{gap}"))),
                Layout::Lines => records.iter().map(|record| format!("{record}\n{gap}")).collect(),
                Layout::Sequence => records.iter().map(|record| format!("{record}{gap}")).collect(),
            };
            let mut expected = before.clone();
            let mut changes = Vec::new();
            for (name, value) in &wanted {
                let from = before.get(name).map_or_else(|| "-".to_owned(), |value| record(name, *value));
                let to = value.map_or_else(|| "-".to_owned(), |value| record(name, value));
                if (from.as_str(), to.as_str()) != ("-", "-") {
                    changes.push((name.clone(), from, to));
                }
                match value {
                    Some(value) => expected.insert(name.clone(), *value),
                    None => expected.remove(name),
                };
            }
            let changes: Vec<(&str, &str, &str)> =
                changes.iter().map(|(name, from, to)| (name.as_str(), from.as_str(), to.as_str())).collect();
            let (new, refused) = after(layout, &text, &changes);
            prop_assert_eq!(refused, Vec::new());
            let mut scanner = Scanner::new(new.as_bytes(), Some(layout), 99);
            let mut found = BTreeMap::new();
            loop {
                match scanner.next().unwrap() {
                    Scanned::End => break,
                    Scanned::Record { .. } => {
                        let Json::Object(fields) = parse(scanner.text()).unwrap() else { panic!() };
                        let [(_, Json::String(name)), (_, Json::Number(value))] = &fields[..] else { panic!() };
                        found.insert(name.clone(), value.parse::<u8>().unwrap());
                    }
                    bad => prop_assert!(false, "{:?} in {:?}", bad, new),
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
