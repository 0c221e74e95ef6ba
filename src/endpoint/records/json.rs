//! JSON as records need it: read strictly, with the place of what is wrong, and written in one canonical way. Pure.
//!
//! The canonical text is that of RFC 8785. Numbers that a double cannot tell from others keep all their digits: an integer
//! beyond 2^53, or a fraction with more than 17 digits, is never rounded, which the RFC leaves to whoever writes it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

/// Values within values beyond this are refused.
pub(super) const DEPTH_LIMIT: usize = 128;
/// So many fields are compared one by one.
const FEW_FIELDS: usize = 32;
/// More digits than a double ever needs.
const DOUBLE_DIGITS: usize = 17;
/// Up to here a number is written without an exponent.
const PLAIN_LIMIT: i64 = 21;

/// A JSON value; the fields of objects in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// In canonical form.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Why a text is no JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Bytes before it.
    pub offset: usize,
    /// The value that it is in, as a JSON pointer; empty: all of it.
    pub pointer: String,
    pub reason: Cow<'static, str>,
}

/// Reads a text that is one value.
pub(super) fn parse(text: &[u8]) -> Result<Json, Malformed> {
    let text = std::str::from_utf8(text).map_err(|problem| Malformed {
        offset: problem.valid_up_to(),
        pointer: String::new(),
        reason: "is not UTF-8".into(),
    })?;
    let mut parser = Parser { text, at: 0, path: Vec::new() };
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.refuse("goes on after its end")),
    }
}

/// A step on the way to a value.
enum Step {
    Field(String),
    Place(usize),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    path: Vec<Step>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn refuse(&self, reason: impl Into<Cow<'static, str>>) -> Malformed {
        let pointer = self.path.iter().fold(String::new(), |pointer, step| match step {
            Step::Field(name) => format!("{pointer}/{}", escaped(name)),
            Step::Place(place) => format!("{pointer}/{place}"),
        });
        Malformed { offset: self.at, pointer, reason: reason.into() }
    }

    fn value(&mut self) -> Result<Json, Malformed> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.refuse("is no JSON value")),
            None => Err(self.refuse("ends in the middle")),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Malformed> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.refuse("is no JSON value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Goes one level down.
    fn enter(&mut self, step: Step) -> Result<(), Malformed> {
        if self.path.len() >= DEPTH_LIMIT {
            return Err(self.refuse(format!("has more than {DEPTH_LIMIT} values within values")));
        }
        self.path.push(step);
        Ok(())
    }

    fn array(&mut self) -> Result<Json, Malformed> {
        let mut values = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(values));
        }
        loop {
            self.enter(Step::Place(values.len()))?;
            self.skip_space();
            values.push(self.value()?);
            self.path.pop();
            if self.is_last(b']')? {
                return Ok(Json::Array(values));
            }
        }
    }

    fn object(&mut self) -> Result<Json, Malformed> {
        let (mut fields, mut seen) = (Vec::<(String, Json)>::new(), HashSet::new());
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.refuse(if self.peek().is_none() { "ends in the middle" } else { "has no name here" }));
            }
            let name = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.refuse("has no `:` after a name"));
            }
            self.at += 1;
            self.enter(Step::Field(name.clone()))?;
            self.skip_space();
            let value = self.value()?;
            let is_known = match fields.len() {
                ..FEW_FIELDS => fields.iter().any(|(other, _)| *other == name),
                FEW_FIELDS => {
                    seen.extend(fields.iter().map(|(other, _)| other.clone()));
                    !seen.insert(name.clone())
                }
                _ => !seen.insert(name.clone()),
            };
            if is_known {
                return Err(self.refuse("is there twice"));
            }
            self.path.pop();
            fields.push((name, value));
            if self.is_last(b'}')? {
                return Ok(Json::Object(fields));
            }
        }
    }

    /// Reads what follows a value: its end, or a comma.
    fn is_last(&mut self, end: u8) -> Result<bool, Malformed> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(self.refuse(format!("has neither `,` nor `{}` after a value", char::from(end)))),
            None => Err(self.refuse("ends in the middle")),
        }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
            let Some(plain) = plain else { return Err(self.refuse("ends in the middle")) };
            string.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                _ => return Err(self.refuse("has a control character in a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let refused = self.refuse("has an escape that is none");
        let Some(letter) = self.text.as_bytes().get(self.at + 1) else { return Err(refused) };
        self.at += 2;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code(),
            _ => return Err(refused),
        })
    }

    fn code(&mut self) -> Result<char, Malformed> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.refuse("has half of a character"));
        }
        if !self.text[self.at..].starts_with("\\u") {
            return Err(self.refuse("has half of a character"));
        }
        self.at += 2;
        let second = self.hex()?;
        let code = (0xdc00..0xe000).contains(&second).then(|| 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        code.and_then(char::from_u32).ok_or_else(|| self.refuse("has half of a character"))
    }

    fn hex(&mut self) -> Result<u32, Malformed> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).filter(|it| it.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.refuse("has an escape that is none"))?;
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<String, Malformed> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        let text = &self.text[self.at..self.at + length];
        let canonical = canonical_number(text).ok_or_else(|| self.refuse("is no number"))?;
        self.at += length;
        Ok(canonical)
    }
}

/// Escapes a name as a part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A number without its sign: `0.DIGITS` times ten to the power of `point`; no zeros at either end of the digits.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    digits: String,
    point: i64,
}

impl Decimal {
    /// Reads a number without a sign, as JSON has it; nothing where it is none.
    fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, part)| (whole, Some(part)));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) || !fraction.is_none_or(is_digits) {
            return None;
        }
        let all = [whole, fraction.unwrap_or_default()].concat();
        let digits = all.trim_start_matches('0');
        let skipped = i64::try_from(all.len() - digits.len()).ok()?;
        let digits = digits.trim_end_matches('0').to_owned();
        Some(Self { digits, point: i64::try_from(whole.len()).ok()? - skipped + exponent })
    }

    fn is_whole(&self) -> bool {
        i64::try_from(self.digits.len()).is_ok_and(|count| count <= self.point)
    }

    /// Writes it as ECMAScript does.
    fn written(&self) -> String {
        let Self { digits, point } = self;
        let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        match *point {
            _ if digits.is_empty() => "0".to_owned(),
            point if count <= point && point <= PLAIN_LIMIT => format!("{digits}{}", zeros(point - count)),
            point if 0 < point && point <= PLAIN_LIMIT => {
                let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
                format!("{whole}.{fraction}")
            }
            point if -6 < point && point <= 0 => format!("0.{}{digits}", zeros(-point)),
            point => {
                let (first, rest) = digits.split_at(1);
                let dot = if rest.is_empty() { "" } else { "." };
                let sign = if point > 0 { "+" } else { "-" };
                format!("{first}{dot}{rest}e{sign}{}", (point - 1).unsigned_abs())
            }
        }
    }
}

fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What is larger is no number that anybody means.
    text.parse::<i32>().ok().map(i64::from)
}

/// Answers the shortest number that means a double; of two that are equally near, the even one.
fn shortest(double: f64) -> Option<Decimal> {
    let found = Decimal::read(&format!("{double:e}"))?;
    let count = found.digits.len();
    let exact = format!("{double:.60e}").replace('.', "");
    let (start, rest) = exact.split('e').next()?.split_at_checked(count)?;
    let is_tie = rest.strip_prefix('5').is_some_and(|rest| rest.bytes().all(|byte| byte == b'0'));
    let is_even = start.bytes().last().is_some_and(|digit| digit.is_multiple_of(2));
    if !is_tie || !is_even || found.digits == start {
        return Some(found);
    }
    Some(Decimal { digits: start.trim_end_matches('0').to_owned(), point: found.point })
}

/// Answers a number in canonical form; nothing where it is none.
fn canonical_number(text: &str) -> Option<String> {
    let (sign, bare) = text.strip_prefix('-').map_or(("", text), |bare| ("-", bare));
    let decimal = Decimal::read(bare)?;
    if decimal.digits.is_empty() {
        return Some("0".to_owned());
    }
    if decimal.digits.len() <= 15 && (-300..300).contains(&decimal.point) {
        return Some(format!("{sign}{}", decimal.written()));
    }
    let double: f64 = bare.parse().ok()?;
    let nearest = if double.is_finite() && double != 0.0 { shortest(double) } else { None };
    let is_exact =
        |nearest: &Decimal| *nearest == decimal || (!decimal.is_whole() && decimal.digits.len() <= DOUBLE_DIGITS);
    Some(format!("{sign}{}", nearest.filter(is_exact).unwrap_or(decimal).written()))
}

impl Json {
    /// Writes it in the one canonical way.
    pub fn canonical(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.write_canonical(&mut text);
        text
    }

    /// Writes it in the one canonical way, behind what is there.
    pub fn write_canonical(&self, text: &mut Vec<u8>) {
        match self {
            Self::Array(values) => {
                text.push(b'[');
                for (place, value) in values.iter().enumerate() {
                    text.extend_from_slice(if place > 0 { b"," } else { b"" });
                    value.write_canonical(text);
                }
                text.push(b']');
            }
            Self::Object(fields) => {
                let mut sorted: Vec<&(String, Json)> = fields.iter().collect();
                sorted.sort_by(|(one, _), (other, _)| by_utf16(one, other));
                text.push(b'{');
                for (place, (name, value)) in sorted.into_iter().enumerate() {
                    text.extend_from_slice(if place > 0 { b"," } else { b"" });
                    write_string(name, text);
                    text.push(b':');
                    value.write_canonical(text);
                }
                text.push(b'}');
            }
            scalar => scalar.write_scalar(text),
        }
    }

    fn write_scalar(&self, text: &mut Vec<u8>) {
        match self {
            Self::Bool(true) => text.extend_from_slice(b"true"),
            Self::Bool(false) => text.extend_from_slice(b"false"),
            Self::Number(number) => text.extend_from_slice(number.as_bytes()),
            Self::String(string) => write_string(string, text),
            Self::Null | Self::Array(_) | Self::Object(_) => text.extend_from_slice(b"null"),
        }
    }

    /// Writes it for people, on lines of its own, each but the first behind `indent` and two spaces a level.
    pub fn write_pretty(&self, indent: &str, text: &mut Vec<u8>) {
        let inner = format!("{indent}  ");
        let (open, close, count) = match self {
            Self::Array(values) => (b'[', b']', values.len()),
            Self::Object(fields) => (b'{', b'}', fields.len()),
            scalar => return scalar.write_scalar(text),
        };
        text.push(open);
        for place in 0..count {
            text.extend_from_slice(if place > 0 { b",\n" } else { b"\n" });
            text.extend_from_slice(inner.as_bytes());
            match self {
                Self::Object(fields) => {
                    write_string(&fields[place].0, text);
                    text.extend_from_slice(b": ");
                    fields[place].1.write_pretty(&inner, text);
                }
                Self::Array(values) => values[place].write_pretty(&inner, text),
                _ => {}
            }
        }
        if count > 0 {
            text.push(b'\n');
            text.extend_from_slice(indent.as_bytes());
        }
        text.push(close);
    }

    /// Writes it in one line, fields in the order in which they are.
    pub fn write_line(&self, text: &mut Vec<u8>) {
        match self {
            Self::Array(values) => {
                text.push(b'[');
                for (place, value) in values.iter().enumerate() {
                    text.extend_from_slice(if place > 0 { b"," } else { b"" });
                    value.write_line(text);
                }
                text.push(b']');
            }
            Self::Object(fields) => {
                text.push(b'{');
                for (place, (name, value)) in fields.iter().enumerate() {
                    text.extend_from_slice(if place > 0 { b"," } else { b"" });
                    write_string(name, text);
                    text.push(b':');
                    value.write_line(text);
                }
                text.push(b'}');
            }
            scalar => scalar.write_scalar(text),
        }
    }

    /// Answers a field of an object.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// The order of RFC 8785: that of UTF-16 code units.
pub(super) fn by_utf16(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        return one.cmp(other);
    }
    one.encode_utf16().cmp(other.encode_utf16())
}

fn write_string(string: &str, text: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    text.push(b'"');
    let mut rest = string.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        text.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => text.extend_from_slice(&[b'\\', byte]),
            0x08 => text.extend_from_slice(b"\\b"),
            0x09 => text.extend_from_slice(b"\\t"),
            0x0a => text.extend_from_slice(b"\\n"),
            0x0c => text.extend_from_slice(b"\\f"),
            0x0d => text.extend_from_slice(b"\\r"),
            byte => {
                text.extend_from_slice(b"\\u00");
                text.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        String::from_utf8(parse(text.as_bytes()).unwrap().canonical()).unwrap()
    }

    #[test]
    fn the_canonical_text_is_that_of_the_rfc() {
        let given = r#"{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"#;
        let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
        assert_eq!(canonical(given), expected);
        let given = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
        let names = ["\\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
        let places = names.map(|name| canonical(given).find(&format!("\"{name}\":")).unwrap());
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn numbers_are_those_of_the_rfc_and_never_another_integer() {
        for (text, expected) in [
            ("-0", "0"),
            ("0.0e5", "0"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740992", "9007199254740992"),
            ("295147905179352830000", "295147905179352830000"),
            ("999999999999999900000", "999999999999999900000"),
            ("1e21", "1e+21"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("333333333.33333325", "333333333.33333325"),
            ("1424953923781206.2", "1424953923781206.2"),
            ("-12345678901234567890", "-12345678901234567890"),
            ("9007199254740993", "9007199254740993"),
            ("0.1234567890123456789", "0.1234567890123456789"),
            ("1e400", "1e+400"),
            ("120e-1", "12"),
        ] {
            assert_eq!(canonical_number(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "+1", "1e99999999999", "1.2.3", "--1"] {
            assert_eq!(canonical_number(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, offset, pointer, reason) in [
            (&b""[..], 0, "", "ends in the middle"),
            (b"{\"a\":1} x", 8, "", "goes on after its end"),
            (b"{\"a\":{\"b/c\":[1,nul]}}", 15, "/a/b~1c/1", "is no JSON value"),
            (b"{\"a\":\"\xff\"}", 6, "", "is not UTF-8"),
            (b"{\"a\":\"\\ud800\"}", 12, "/a", "has half of a character"),
            (b"{\"a\":\"\\x\"}", 6, "/a", "has an escape that is none"),
            (b"{\"a\":1,\"a\":2}", 12, "/a", "is there twice"),
            (b"{\"a\":01}", 5, "/a", "is no number"),
            (b"{\"a\" 1}", 5, "", "has no `:` after a name"),
            (b"[1 2]", 3, "", "has neither `,` nor `]` after a value"),
            (b"{\"a\":\"x\ny\"}", 7, "/a", "has a control character in a text"),
            (b"{,}", 1, "", "has no name here"),
        ] {
            let expected = Malformed { offset, pointer: pointer.to_owned(), reason: reason.into() };
            assert_eq!(parse(text), Err(expected), "{}", text.escape_ascii());
        }
        assert!(parse("[".repeat(100_000).as_bytes()).unwrap_err().reason.contains("values within values"));
    }

    #[test]
    fn people_get_lines() {
        let value = parse(br#"{"b":[1,{"c":[]}],"a":{}}"#).unwrap();
        let (mut pretty, mut line) = (Vec::new(), Vec::new());
        value.write_pretty("  ", &mut pretty);
        value.write_line(&mut line);
        let expected = "{\n    \"b\": [\n      1,\n      {\n        \"c\": []\n      }\n    ],\n    \"a\": {}\n  }";
        assert_eq!(String::from_utf8(pretty).unwrap(), expected);
        assert_eq!(String::from_utf8(line).unwrap(), r#"{"b":[1,{"c":[]}],"a":{}}"#);
    }

    fn json() -> impl Strategy<Value = Json> {
        let number =
            prop_oneof![any::<i64>().prop_map(|it| it.to_string()), any::<f64>().prop_map(|it| format!("{it:e}"))];
        let number = number.prop_filter_map("no number", |text| canonical_number(&text));
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            number.prop_map(Json::Number),
            ".*".prop_map(Json::String)
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let fields = proptest::collection::btree_map(".*", inner.clone(), 0..5);
            prop_oneof![
                proptest::collection::vec(inner, 0..5).prop_map(Json::Array),
                fields.prop_map(|fields| Json::Object(fields.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn every_way_to_write_a_value_has_one_canonical_text(value in json()) {
            let canonical = value.canonical();
            let (mut pretty, mut line) = (Vec::new(), Vec::new());
            value.write_pretty("", &mut pretty);
            value.write_line(&mut line);
            for text in [&canonical, &pretty, &line] {
                prop_assert_eq!(parse(text).unwrap().canonical(), canonical.clone());
            }
        }

        #[test]
        fn a_double_is_written_as_itself(double in any::<f64>().prop_filter("finite", |it| it.is_finite() && *it != 0.0)) {
            let canonical = canonical_number(&format!("{double:e}")).unwrap();
            prop_assert_eq!(canonical.parse::<f64>().unwrap(), double);
            let long = canonical_number(&format!("{double:.40}"));
            prop_assert!(long.is_some());
        }

        #[test]
        fn any_text_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&text);
        }

        #[test]
        fn almost_json_is_read_or_refused(text in "[\\[\\]{}:,\"\\\\a0-9.eE \n+-]{0,40}") {
            let _ = parse(text.as_bytes());
        }
    }
}
