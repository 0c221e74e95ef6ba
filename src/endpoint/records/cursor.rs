//! Going over a stream of JSON byte by byte, in little memory, knowing where one is.

use std::io::{self, Read};

use super::json::DEPTH_LIMIT;

/// Bytes that are read at a time.
const READ_AT_ONCE_BYTES: usize = 256 << 10;

/// A place in a stream.
pub(super) struct Cursor<R> {
    input: R,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes before the buffer.
    before: u64,
    line: u64,
}

/// How the end of a value was looked for.
pub(super) enum Found {
    End,
    TooLong,
    Unended(&'static str),
}

impl<R: Read> Cursor<R> {
    /// Begins; so many bytes come before, and this line.
    pub fn new(input: R, before: u64, line: u64) -> Self {
        Self { input, buffer: Vec::new(), at: 0, before, line }
    }

    /// Answers the bytes before this place.
    pub fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    pub fn line(&self) -> u64 {
        self.line
    }

    /// Answers what was read of what follows; see [`Cursor::fill_to`].
    pub fn there(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Goes over bytes that are there and end no line.
    pub fn skip(&mut self, count: usize) {
        self.at += count;
    }

    pub fn skip_mark(&mut self) -> io::Result<()> {
        self.fill_to(3)?;
        if self.there().starts_with(b"\xef\xbb\xbf") {
            self.skip(3);
        }
        Ok(())
    }

    pub fn skip_space(&mut self) -> io::Result<()> {
        while matches!(self.peek()?, Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.bump();
        }
        Ok(())
    }

    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at >= self.buffer.len() {
            self.fill_to(1)?;
        }
        Ok(self.buffer.get(self.at).copied())
    }

    /// Goes over the byte that is there.
    pub fn bump(&mut self) {
        self.line += u64::from(self.buffer.get(self.at) == Some(&b'\n'));
        self.at += 1;
    }

    /// Sees that so many bytes are there; answers whether they are.
    pub fn fill_to(&mut self, count: usize) -> io::Result<bool> {
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

    /// Goes over what cannot end a text or a line, as far as it was read; answers whether it does not fit into `text`.
    fn take_plain(&mut self, text: &mut Vec<u8>, limit: usize) -> bool {
        let there = self.there();
        let plain = there.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\n')).unwrap_or(there.len());
        let room = plain.min(limit.saturating_sub(text.len()));
        text.extend_from_slice(&there[..room]);
        self.skip(plain);
        room < plain
    }

    /// Goes over one value, by its brackets and quotes alone; puts its first `limit` bytes into `text`.
    pub fn value(&mut self, text: &mut Vec<u8>, limit: usize) -> io::Result<Found> {
        text.clear();
        let (mut open, mut in_text, mut is_escaped, mut is_too_long) = (Vec::new(), false, false, false);
        loop {
            if in_text && !is_escaped {
                is_too_long |= self.take_plain(text, limit);
            }
            let Some(byte) = self.peek()? else {
                let is_whole = open.is_empty() && !in_text && !text.is_empty();
                return Ok(if is_whole { Found::End } else { Found::Unended("the record ends in the middle") });
            };
            let is_bare = open.is_empty() && !in_text && !text.is_empty();
            if is_bare && matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(if is_too_long { Found::TooLong } else { Found::End });
            }
            self.bump();
            is_too_long |= text.len() >= limit;
            if !is_too_long {
                text.push(byte);
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
}
