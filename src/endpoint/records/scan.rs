//! Cutting a stream of JSON into the texts of its records, in little memory: an array, a value after the other, or lines.
//!
//! The texts are cut out by their brackets and quotes alone; whether they are JSON is for whoever parses them to say. What
//! is longer than a record may be is read over and told, and where the end of a record cannot be found, the rest is given
//! up and told.

use std::io::{self, Read};

use super::cursor::{Cursor, Found};

/// How the records of a stream are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Elements of one array.
    Array,
    /// One on each line.
    Lines,
    /// One after the other, on as many lines as they take.
    Sequence,
}

/// What a stream has next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The text of a record, which [`Scanner::text`] has; it begins after so many bytes and on this line.
    Record { offset: u64, line: u64 },
    /// Something that is no record, on this line. Where `hides_rest`, nobody knows what follows.
    Bad { line: u64, reason: String, hides_rest: bool },
    /// That was all.
    End,
}

/// Cuts one stream.
pub(super) struct Scanner<R> {
    cursor: Cursor<R>,
    limit: usize,
    layout: Option<Layout>,
    /// Whether the text goes on after its records.
    is_within: bool,
    has_begun: bool,
    /// Whether an array has a value before this place.
    has_value: bool,
    is_over: bool,
    text: Vec<u8>,
}

impl<R: Read> Scanner<R> {
    /// Begins; without a layout the first bytes tell which it is. Records longer than `limit` bytes are refused.
    pub fn new(input: R, layout: Option<Layout>, limit: usize) -> Self {
        Self::starting(Cursor::new(input, 0, 1), layout, limit)
    }

    /// Begins at an array within a text; so many bytes come before, and this line. What follows it is not looked at.
    pub fn within(input: R, (before, line): (u64, u64), limit: usize) -> Self {
        let cursor = Cursor::new(input, before, line);
        Self { is_within: true, ..Self::starting(cursor, Some(Layout::Array), limit) }
    }

    fn starting(cursor: Cursor<R>, layout: Option<Layout>, limit: usize) -> Self {
        let text = Vec::new();
        Self { cursor, limit, layout, is_within: false, has_begun: false, has_value: false, is_over: false, text }
    }

    /// Answers the text of the last record.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Answers how the records are put together; nothing before anything was read.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Answers the next record.
    pub fn next(&mut self) -> io::Result<Scanned> {
        if self.is_over {
            return Ok(Scanned::End);
        }
        let layout = match self.layout {
            Some(layout) if self.has_begun => layout,
            known => {
                let layout = self.begin(known)?;
                self.has_begun = true;
                *self.layout.insert(layout)
            }
        };
        match layout {
            Layout::Array => self.next_of_array(),
            Layout::Lines => self.next_line(),
            Layout::Sequence => self.next_of_sequence(),
        }
    }

    /// Skips what comes before the first record; answers how they are put together.
    fn begin(&mut self, known: Option<Layout>) -> io::Result<Layout> {
        self.cursor.skip_mark()?;
        self.cursor.skip_space()?;
        match known {
            Some(Layout::Lines) => Ok(Layout::Lines),
            _ if self.cursor.peek()? == Some(b'[') => {
                self.cursor.bump();
                Ok(Layout::Array)
            }
            Some(_) => Ok(Layout::Sequence),
            None => self.looks_like_lines().map(|is| if is { Layout::Lines } else { Layout::Sequence }),
        }
    }

    /// Answers whether the first value ends on its line: then each line is one, however broken others are.
    fn looks_like_lines(&mut self) -> io::Result<bool> {
        let mut length = 1_024;
        loop {
            let has_all = self.cursor.fill_to(length)?;
            let there = self.cursor.there();
            if let Some(end) = there.iter().position(|byte| *byte == b'\n') {
                return Ok(super::json::parse(&there[..end]).is_ok());
            }
            if !has_all || length > self.limit {
                return Ok(!has_all && super::json::parse(there).is_ok());
            }
            length *= 2;
        }
    }

    fn next_line(&mut self) -> io::Result<Scanned> {
        self.cursor.skip_space()?;
        if self.cursor.peek()?.is_none() {
            return Ok(self.over());
        }
        let (offset, line) = (self.cursor.offset(), self.cursor.line());
        self.text.clear();
        let mut is_too_long = false;
        while self.cursor.fill_to(1)? {
            let there = self.cursor.there();
            let end = there.iter().position(|byte| *byte == b'\n');
            let part = &there[..end.unwrap_or(there.len())];
            is_too_long |= self.text.len() + part.len() > self.limit;
            if !is_too_long {
                self.text.extend_from_slice(part);
            }
            let length = part.len();
            self.cursor.skip(length);
            if end.is_some() {
                break;
            }
        }
        if is_too_long {
            return Ok(self.too_long(line));
        }
        let length = self.text.trim_ascii_end().len();
        self.text.truncate(length);
        Ok(Scanned::Record { offset, line })
    }

    fn next_of_sequence(&mut self) -> io::Result<Scanned> {
        self.cursor.skip_space()?;
        if self.cursor.peek()?.is_none() {
            return Ok(self.over());
        }
        self.value()
    }

    fn next_of_array(&mut self) -> io::Result<Scanned> {
        self.cursor.skip_space()?;
        if self.has_value && self.cursor.peek()? == Some(b',') {
            self.cursor.bump();
            self.cursor.skip_space()?;
        } else if self.cursor.peek()? == Some(b']') {
            self.cursor.bump();
            self.cursor.skip_space()?;
            return Ok(match self.cursor.peek()? {
                _ if self.is_within => self.over(),
                None => self.over(),
                Some(_) => self.give_up("something follows the end of the array"),
            });
        } else if self.has_value && self.cursor.peek()?.is_some() {
            return Ok(self.give_up("there is neither `,` nor `]` after a record"));
        }
        match self.cursor.peek()? {
            None => Ok(self.give_up("it ends in the middle of the array")),
            Some(b',' | b']') => Ok(self.give_up("there is no record between two commas")),
            Some(_) => {
                self.has_value = true;
                self.value()
            }
        }
    }

    /// Cuts out one value.
    fn value(&mut self) -> io::Result<Scanned> {
        let (offset, line) = (self.cursor.offset(), self.cursor.line());
        match self.cursor.value(&mut self.text, self.limit)? {
            Found::End => Ok(Scanned::Record { offset, line }),
            Found::TooLong => Ok(self.too_long(line)),
            Found::Unended(reason) => {
                self.is_over = true;
                Ok(Scanned::Bad { line, reason: reason.to_owned(), hides_rest: true })
            }
        }
    }

    fn too_long(&self, line: u64) -> Scanned {
        Scanned::Bad { line, reason: format!("the record is longer than {} bytes", self.limit), hides_rest: false }
    }

    fn give_up(&mut self, reason: &str) -> Scanned {
        self.is_over = true;
        Scanned::Bad { line: self.cursor.line(), reason: reason.to_owned(), hides_rest: true }
    }

    fn over(&mut self) -> Scanned {
        self.is_over = true;
        Scanned::End
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// Answers what a stream has: `LINE TEXT`, or `LINE !REASON`.
    fn scanned(text: &str, layout: Option<Layout>, step: usize) -> Vec<String> {
        let mut scanner = Scanner::new(Slow(text.as_bytes(), step), layout, 24);
        let mut all = Vec::new();
        loop {
            match scanner.next().unwrap() {
                Scanned::Record { offset, line } => {
                    let found = std::str::from_utf8(scanner.text()).unwrap();
                    assert_eq!(&text[usize::try_from(offset).unwrap()..][..found.len()], found);
                    all.push(format!("{line} {found}"));
                }
                Scanned::Bad { line, reason, hides_rest } => {
                    all.push(format!("{line} !{reason}{}", if hides_rest { "!" } else { "" }));
                }
                Scanned::End => return all,
            }
        }
    }

    fn check(text: &str, layout: Option<Layout>, expected: &[&str]) {
        for step in [1, 3, 1_000] {
            assert_eq!(scanned(text, layout, step), expected, "{text:?} by {step}");
        }
    }

    #[test]
    fn records_are_cut_out_of_arrays_sequences_and_lines() {
        check(
            "\u{feff} [ {\"a\":\"]}\\\"\"},\n\n{\"b\":[1,{}]} ]\n",
            None,
            &["1 {\"a\":\"]}\\\"\"}", "3 {\"b\":[1,{}]}"],
        );
        check("[]", None, &[]);
        check("", None, &[]);
        check(" \n ", None, &[]);
        check("{\"a\":\n1}\n{\"b\":2} {\"c\":3}", None, &["1 {\"a\":\n1}", "3 {\"b\":2}", "3 {\"c\":3}"]);
        check("{\"a\":1}\r\n\n{\"b\":2}", None, &["1 {\"a\":1}", "3 {\"b\":2}"]);
        check("{\"a\":1}", None, &["1 {\"a\":1}"]);
        check("", Some(Layout::Array), &[]);
        check("{}", Some(Layout::Array), &["1 {}"]);
        check("} {}", None, &["1 !the record has a bracket that does not fit!"]);
        check("[1,\"x\" , null]", None, &["1 1", "1 \"x\"", "1 null"]);
    }

    #[test]
    fn a_broken_line_hides_no_other() {
        check("{\"a\":1}\n{\"b\":\n{\"c\":3}\n", None, &["1 {\"a\":1}", "2 {\"b\":", "3 {\"c\":3}"]);
        check("{\"b\n[1]\n", Some(Layout::Lines), &["1 {\"b", "2 [1]"]);
    }

    #[test]
    fn what_is_too_long_is_read_over() {
        let long = "x".repeat(100);
        let told = "the record is longer than 24 bytes";
        check(
            &format!("{{\"a\":1}}\n\"{long}\"\n{{\"b\":2}}"),
            None,
            &["1 {\"a\":1}", &format!("2 !{told}"), "3 {\"b\":2}"],
        );
        check(&format!("[{{\"a\":\"{long}\"}},{{\"b\":2}}]"), None, &[&format!("1 !{told}"), "1 {\"b\":2}"]);
    }

    #[test]
    fn what_cannot_be_cut_gives_up_the_rest() {
        check("[{\"a\":1},{\"b\":", None, &["1 {\"a\":1}", "1 !the record ends in the middle!"]);
        check("[{\"a\":1}", None, &["1 {\"a\":1}", "1 !it ends in the middle of the array!"]);
        check("[{\"a\":1}\n{}]", None, &["1 {\"a\":1}", "2 !there is neither `,` nor `]` after a record!"]);
        check("[{},,{}]", None, &["1 {}", "1 !there is no record between two commas!"]);
        check("[{},]", None, &["1 {}", "1 !there is no record between two commas!"]);
        check("[{}] x", None, &["1 {}", "1 !something follows the end of the array!"]);
        check("[{\"a\":[}]", None, &["1 !the record has a bracket that does not fit!"]);
        let deep = "[".repeat(1_000);
        check(&deep, None, &["1 !the record has too many values within values!"]);
    }

    #[test]
    fn an_array_within_a_text_ends_where_it_ends() {
        let text = "{\"a\":\n[{\"b\":1} ,\n{}],\"c\":[{}]}";
        let mut scanner = Scanner::within(&text.as_bytes()[6..], (6, 2), 24);
        assert_eq!(scanner.next().unwrap(), Scanned::Record { offset: 7, line: 2 });
        assert_eq!(scanner.text(), b"{\"b\":1}");
        assert_eq!(scanner.next().unwrap(), Scanned::Record { offset: 17, line: 3 });
        assert_eq!([scanner.next().unwrap(), scanner.next().unwrap()], [Scanned::End, Scanned::End]);
    }

    proptest! {
        #[test]
        fn any_stream_comes_to_its_end(text in "[\\[\\]{}:,\"\\\\a1\n ]{0,60}", step in 1_usize..9) {
            scanned(&text, None, step);
            scanned(&text, Some(Layout::Lines), step);
        }
    }
}
