//! Cutting a stream of JSON into the texts of its records, in little memory: an array, a value after the other, or lines.
//!
//! The texts are cut out by their brackets and quotes alone; whether they are JSON is for whoever parses them to say. What
//! is longer than a record may be is read over and told, and where the end of a record cannot be found, the rest is given
//! up and told.

use std::io::{self, Read};

use super::json::DEPTH_LIMIT;

/// Bytes that are read at a time.
const READ_AT_ONCE_BYTES: usize = 256 << 10;

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
    input: R,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes before the buffer.
    before: u64,
    line: u64,
    limit: usize,
    layout: Option<Layout>,
    /// Whether an array has a value before this place.
    has_value: bool,
    is_over: bool,
    text: Vec<u8>,
}

/// How the end of a text was looked for.
enum Found {
    End,
    TooLong,
    Unended(&'static str),
}

impl<R: Read> Scanner<R> {
    /// Begins; without a layout the first bytes tell which it is. Records longer than `limit` bytes are refused.
    pub fn new(input: R, layout: Option<Layout>, limit: usize) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            at: 0,
            before: 0,
            line: 1,
            limit,
            layout,
            has_value: false,
            is_over: false,
            text: Vec::new(),
        }
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
            Some(layout) if self.before > 0 || self.at > 0 => layout,
            known => {
                let layout = self.begin(known)?;
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
        self.fill_to(3)?;
        if self.buffer[self.at..].starts_with(b"\xef\xbb\xbf") {
            self.at += 3;
        }
        self.skip_space()?;
        match known {
            Some(Layout::Lines) => Ok(Layout::Lines),
            _ if self.peek()? == Some(b'[') => {
                self.bump();
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
            let has_all = self.fill_to(length)?;
            let there = &self.buffer[self.at..];
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
        self.skip_space()?;
        if self.peek()?.is_none() {
            return Ok(self.over());
        }
        let (offset, line) = (self.offset(), self.line);
        self.text.clear();
        let mut is_too_long = false;
        while self.fill_to(1)? {
            let there = &self.buffer[self.at..];
            let end = there.iter().position(|byte| *byte == b'\n');
            let part = &there[..end.unwrap_or(there.len())];
            is_too_long |= self.text.len() + part.len() > self.limit;
            if !is_too_long {
                self.text.extend_from_slice(part);
            }
            self.at += part.len();
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
        self.skip_space()?;
        if self.peek()?.is_none() {
            return Ok(self.over());
        }
        self.value()
    }

    fn next_of_array(&mut self) -> io::Result<Scanned> {
        self.skip_space()?;
        if self.has_value && self.peek()? == Some(b',') {
            self.bump();
            self.skip_space()?;
        } else if self.peek()? == Some(b']') {
            self.bump();
            self.skip_space()?;
            return Ok(match self.peek()? {
                None => self.over(),
                Some(_) => self.give_up("something follows the end of the array"),
            });
        } else if self.has_value && self.peek()?.is_some() {
            return Ok(self.give_up("there is neither `,` nor `]` after a record"));
        }
        match self.peek()? {
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
        let (offset, line) = (self.offset(), self.line);
        self.text.clear();
        match self.find_end()? {
            Found::End => Ok(Scanned::Record { offset, line }),
            Found::TooLong => Ok(self.too_long(line)),
            Found::Unended(reason) => {
                self.is_over = true;
                Ok(Scanned::Bad { line, reason: reason.to_owned(), hides_rest: true })
            }
        }
    }

    fn find_end(&mut self) -> io::Result<Found> {
        let (mut open, mut in_text, mut is_escaped, mut is_too_long) = (Vec::new(), false, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                let is_whole = open.is_empty() && !in_text && !self.text.is_empty();
                return Ok(if is_whole { Found::End } else { Found::Unended("the record ends in the middle") });
            };
            let is_bare = open.is_empty() && !in_text && !self.text.is_empty();
            if is_bare && matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(if is_too_long { Found::TooLong } else { Found::End });
            }
            self.bump();
            is_too_long |= self.text.len() >= self.limit;
            if !is_too_long {
                self.text.push(byte);
            }
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_text => is_escaped = true,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'{' | b'[' if open.len() >= 2 * DEPTH_LIMIT => {
                    return Ok(Found::Unended("the record has too many values within values"));
                }
                b'{' => open.push(b'}'),
                b'[' => open.push(b']'),
                b'}' | b']' if open.pop() != Some(byte) => {
                    return Ok(Found::Unended("the record has a bracket that does not fit"));
                }
                _ => {}
            }
            if open.is_empty() && !in_text && matches!(byte, b'}' | b']' | b'"') {
                return Ok(if is_too_long { Found::TooLong } else { Found::End });
            }
        }
    }

    fn too_long(&self, line: u64) -> Scanned {
        Scanned::Bad { line, reason: format!("the record is longer than {} bytes", self.limit), hides_rest: false }
    }

    fn give_up(&mut self, reason: &str) -> Scanned {
        self.is_over = true;
        Scanned::Bad { line: self.line, reason: reason.to_owned(), hides_rest: true }
    }

    fn over(&mut self) -> Scanned {
        self.is_over = true;
        Scanned::End
    }

    fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    fn skip_space(&mut self) -> io::Result<()> {
        while matches!(self.peek()?, Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.bump();
        }
        Ok(())
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at >= self.buffer.len() {
            self.fill_to(1)?;
        }
        Ok(self.buffer.get(self.at).copied())
    }

    /// Goes over the byte that is there.
    fn bump(&mut self) {
        self.line += u64::from(self.buffer.get(self.at) == Some(&b'\n'));
        self.at += 1;
    }

    /// Sees that so many bytes are there; answers whether they are.
    fn fill_to(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() - self.at < count {
            self.before += self.at as u64;
            self.buffer.drain(..self.at);
            self.at = 0;
            let start = self.buffer.len();
            self.buffer.resize(start + READ_AT_ONCE_BYTES, 0);
            let read = loop {
                match self.input.read(&mut self.buffer[start..]) {
                    Err(again) if again.kind() == io::ErrorKind::Interrupted => {}
                    answer => break answer,
                }
            };
            self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
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

    proptest! {
        #[test]
        fn any_stream_comes_to_its_end(text in "[\\[\\]{}:,\"\\\\a1\n ]{0,60}", step in 1_usize..9) {
            scanned(&text, None, step);
            scanned(&text, Some(Layout::Lines), step);
        }
    }
}
