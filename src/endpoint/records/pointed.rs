//! Finding the one place in a JSON text that a pointer names, in one pass and in little memory.
//!
//! On the way to it the text is read strictly; what lies beside is gone over by its brackets and quotes alone.

use std::io::{self, Read};

use super::cursor::{Cursor, Found};
use super::json::{Json, parse};
use crate::base::escape::shown;
use crate::config::JsonPointer;

/// No name of a pointer is longer in a text, however it is escaped there.
const NAME_LIMIT_BYTES: usize = 64 << 10;

/// What is where a pointer points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Bytes before it.
    pub offset: u64,
    pub line: u64,
    /// Its first bytes.
    pub text: Vec<u8>,
    /// Whether these are all.
    pub is_whole: bool,
}

/// Why a text cannot be gone through, and on which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub line: u64,
    pub reason: String,
}

/// Answers what is where a pointer points, with at most `limit` bytes of it; nothing where nothing is there.
pub(super) fn find(input: impl Read, pointer: &JsonPointer, limit: usize) -> io::Result<Result<Option<Place>, Wrong>> {
    let mut walk = Walk { cursor: Cursor::new(input, 0, 1), pointer, limit, found: None };
    match walk.all() {
        Ok(()) => Ok(Ok(walk.found)),
        Err(Stop::Wrong(wrong)) => Ok(Err(wrong)),
        Err(Stop::Io(refused)) => Err(refused),
    }
}

struct Walk<'p, R> {
    cursor: Cursor<R>,
    pointer: &'p JsonPointer,
    limit: usize,
    found: Option<Place>,
}

enum Stop {
    Io(io::Error),
    Wrong(Wrong),
}

impl From<io::Error> for Stop {
    fn from(refused: io::Error) -> Self {
        Self::Io(refused)
    }
}

impl<R: Read> Walk<'_, R> {
    fn all(&mut self) -> Result<(), Stop> {
        self.cursor.skip_mark()?;
        self.value(0)?;
        self.cursor.skip_space()?;
        if self.cursor.peek()?.is_some() {
            return Err(self.wrong("it goes on after its end"));
        }
        Ok(())
    }

    fn wrong(&self, reason: impl Into<String>) -> Stop {
        Stop::Wrong(Wrong { line: self.cursor.line(), reason: reason.into() })
    }

    /// Goes over a value to which so many steps of the pointer lead.
    fn value(&mut self, steps: usize) -> Result<(), Stop> {
        self.cursor.skip_space()?;
        if steps == self.pointer.steps().len() {
            return self.take();
        }
        match self.cursor.peek()? {
            Some(b'{') => self.object(steps),
            Some(b'[') => self.array(steps),
            _ => self.pass(),
        }
    }

    fn take(&mut self) -> Result<(), Stop> {
        let (offset, line, mut text) = (self.cursor.offset(), self.cursor.line(), Vec::new());
        let is_whole = self.over(&mut text, self.limit)?;
        self.found = Some(Place { offset, line, text, is_whole });
        Ok(())
    }

    fn pass(&mut self) -> Result<(), Stop> {
        self.over(&mut Vec::new(), 1).map(drop)
    }

    /// Goes over a value; answers whether all of it is in `text`.
    fn over(&mut self, text: &mut Vec<u8>, limit: usize) -> Result<bool, Stop> {
        match self.cursor.value(text, limit)? {
            Found::End => Ok(true),
            Found::TooLong => Ok(false),
            Found::Unended(reason) => Err(self.wrong(reason.replace("the record", "it"))),
        }
    }

    /// Goes over the bracket that begins an object or an array, and over the one that ends it where nothing is between.
    fn is_empty(&mut self, end: u8) -> Result<bool, Stop> {
        self.cursor.bump();
        self.cursor.skip_space()?;
        let is_empty = self.cursor.peek()? == Some(end);
        if is_empty {
            self.cursor.bump();
        }
        Ok(is_empty)
    }

    fn object(&mut self, steps: usize) -> Result<(), Stop> {
        let mut was_there = false;
        if self.is_empty(b'}')? {
            return Ok(());
        }
        loop {
            self.cursor.skip_space()?;
            let is_on_the_way = self.name()?.is_some_and(|name| name == self.pointer.steps()[steps]);
            if is_on_the_way && was_there {
                let step = shown(self.pointer.steps()[steps].as_bytes());
                return Err(self.wrong(format!("it has `{step}` twice on the way to `{}`", self.pointed())));
            }
            was_there |= is_on_the_way;
            self.cursor.skip_space()?;
            if self.cursor.peek()? != Some(b':') {
                return Err(self.wrong("it has no `:` after a name"));
            }
            self.cursor.bump();
            self.cursor.skip_space()?;
            if is_on_the_way {
                self.value(steps + 1)?
            } else {
                self.pass()?
            }
            if self.is_last(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, steps: usize) -> Result<(), Stop> {
        let mut place = 0_usize;
        if self.is_empty(b']')? {
            return Ok(());
        }
        loop {
            self.cursor.skip_space()?;
            let is_on_the_way = place.to_string() == self.pointer.steps()[steps];
            if is_on_the_way {
                self.value(steps + 1)?
            } else {
                self.pass()?
            }
            if self.is_last(b']')? {
                return Ok(());
            }
            place += 1;
        }
    }

    /// Reads a name; nothing where it is longer than any that is looked for.
    fn name(&mut self) -> Result<Option<String>, Stop> {
        if self.cursor.peek()? != Some(b'"') {
            return Err(self.wrong("it has no name where one must be"));
        }
        let mut text = Vec::new();
        if !self.over(&mut text, NAME_LIMIT_BYTES)? {
            return Ok(None);
        }
        match parse(&text) {
            Ok(Json::String(name)) => Ok(Some(name)),
            _ => Err(self.wrong("it has a name that is no text")),
        }
    }

    fn is_last(&mut self, end: u8) -> Result<bool, Stop> {
        self.cursor.skip_space()?;
        match self.cursor.peek()? {
            Some(b',') => {
                self.cursor.bump();
                Ok(false)
            }
            Some(byte) if byte == end => {
                self.cursor.bump();
                Ok(true)
            }
            Some(_) => Err(self.wrong(format!("it has neither `,` nor `{}` after a value", char::from(end)))),
            None => Err(self.wrong("it ends in the middle")),
        }
    }

    fn pointed(&self) -> String {
        shown(self.pointer.written().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, pointer: &str) -> Result<Option<Place>, Wrong> {
        find(text.as_bytes(), &pointer.parse().unwrap(), 64).unwrap()
    }

    #[track_caller]
    fn check(text: &str, pointer: &str, expected: Option<&str>) {
        let place = found(text, pointer).unwrap();
        assert_eq!(place.as_ref().map(|place| std::str::from_utf8(&place.text).unwrap()), expected, "{text} {pointer}");
        if let Some(place) = place {
            let start = usize::try_from(place.offset).unwrap();
            assert!(text.as_bytes()[start..].starts_with(&place.text));
            assert_eq!(place.line, 1 + text[..start].matches('\n').count() as u64);
        }
    }

    #[test]
    fn a_place_is_found_wherever_it_is() {
        check(r#"{"data":[1,{"a":2}],"next":null}"#, "/data", Some(r#"[1,{"a":2}]"#));
        check("\u{feff} {\n \"data\" :\n {\"items\": [] } }\n", "/data/items", Some("[]"));
        check(r#"{"a/b":{"~":"x"}}"#, "/a~1b/~0", Some("\"x\""));
        check(r#"{"d\u0061ta":1}"#, "/data", Some("1"));
        check(r#"[{"a":1},{"a":[2,3]}]"#, "/1/a/0", Some("2"));
        check(r#"{"":{"":true}}"#, "//", Some("true"));
        for text in ["{}", "[]", "1", r#"{"data":null}"#, r#"{"other":{"data":{"items":1}}}"#, r#"{"data":[1]}"#] {
            check(text, "/data/items", None);
        }
        let long = format!(r#"{{"{}":1,"a":"{}"}}"#, "x".repeat(NAME_LIMIT_BYTES + 9), "y".repeat(99));
        let place = found(&long, "/a").unwrap().unwrap();
        assert!(!place.is_whole && place.text.len() == 64);
    }

    #[test]
    fn what_is_no_json_on_the_way_is_told_with_its_line() {
        for (text, line, reason) in [
            ("", 1, "it ends in the middle"),
            ("{\"a\":1,\n\"a\":2}", 2, "it has `a` twice on the way to `/a`"),
            ("{\"a\":[1,2}", 1, "it has a bracket that does not fit"),
            ("{\"a\":1\n", 2, "it ends in the middle"),
            ("{\"a\":1,}", 1, "it has no name where one must be"),
            ("{\"a\" 1}", 1, "it has no `:` after a name"),
            ("{\"a\":1 2}", 1, "it has neither `,` nor `}` after a value"),
            ("{\"a\":1} {}", 1, "it goes on after its end"),
        ] {
            assert_eq!(found(text, "/a"), Err(Wrong { line, reason: reason.to_owned() }), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            "[a\"]{0,3}".prop_map(Into::into)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map("[ab/~\"]{0,2}", inner, 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_a_whole_parser_finds(value in any_json(), pointer in "(/([ab]|~0|~1|[0-2])?){1,3}", is_pretty: bool) {
            let text = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let place = find(text.as_bytes(), &pointer.parse().unwrap(), 9_999).unwrap().unwrap();
            let place = place.map(|place| serde_json::from_slice::<serde_json::Value>(&place.text).unwrap());
            prop_assert_eq!(place.as_ref(), value.pointer(&pointer));
        }
    }
}
