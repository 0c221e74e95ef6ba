//! Durations, sizes and counts as people write them: `3s`, `1m30s`, `24h`, `50MiB`, `2 commits`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, written as numbers with units: `500ms`, `3s`, `1m30s`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// A number of bytes, written with a unit: `512`, `64KiB`, `50MiB`, `1GiB` (`KB`, `MB`, `GB` are decimal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

/// A part of a whole in hundredths of a percent, written `10%` or `2.5%`; at most `100%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u32);

/// Units of time with their length in milliseconds, longest first (the order they are shown in).
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Counts things: `1 commit`, `3 commits`.
#[must_use]
pub fn count(amount: usize, noun: &str) -> String {
    format!("{amount} {noun}{}", if amount == 1 { "" } else { "s" })
}

impl Span {
    /// Makes a span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Answers the span in milliseconds.
    #[must_use]
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Share {
    /// Makes a share of whole percents, at most 100.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(if percent > 100 { 10_000 } else { percent * 100 })
    }

    /// Answers the share as a number from 0 to 1.
    #[must_use]
    pub fn as_fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{text}` is not a share: write it like 10% or 2.5%, 100% at most");
        let number = text.trim().strip_suffix('%').ok_or_else(problem)?.trim_end();
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(rest) || whole.len() > 3 || rest.len() > 2 {
            return Err(problem());
        }
        let hundredths: u32 = format!("{whole}{rest:0<2}").parse().map_err(|_| problem())?;
        if hundredths > 10_000 { Err(problem()) } else { Ok(Self(hundredths)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{text}` is not a duration: write it like 500ms, 3s, 1m30s, 24h or 7d");
        let mut rest = text.trim();
        let mut total_ms: u64 = 0;
        if rest.is_empty() {
            return Err(problem());
        }
        while !rest.is_empty() {
            let (number, after) = leading_number(rest).ok_or_else(problem)?;
            let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(unit_end);
            let (_, unit_ms) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(problem)?;
            total_ms = number
                .checked_mul(*unit_ms)
                .and_then(|ms| total_ms.checked_add(ms))
                .filter(|ms| i64::try_from(*ms).is_ok())
                .ok_or_else(problem)?;
            rest = next.trim_start();
        }
        Ok(Self(Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest_ms == 0 {
            return f.write_str("0s");
        }
        for (name, unit_ms) in TIME_UNITS {
            let count = rest_ms / unit_ms;
            rest_ms %= unit_ms;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{text}` is not a size: write it like 512, 64KiB, 50MiB or 1GiB");
        let (number, unit) = leading_number(text.trim()).ok_or_else(problem)?;
        let unit = unit.trim();
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(problem)?;
        number.checked_mul(*factor).map(Self).ok_or_else(problem)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = ["GiB", "MiB", "KiB"].into_iter().find_map(|name| {
            let factor = SIZE_UNITS.iter().find(|(unit, _)| *unit == name)?.1;
            (self.0 > 0 && self.0.is_multiple_of(factor)).then_some((self.0 / factor, name))
        });
        match unit {
            Some((count, name)) => write!(f, "{count}{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

macro_rules! text_in_configuration {
    ($type:ty, $name:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

text_in_configuration!(Span, "Duration", r"^(\d+(ms|s|m|h|d)\s*)+$");
text_in_configuration!(Share, "Share", r"^\d{1,3}(\.\d{1,2})?\s*%$");
text_in_configuration!(ByteSize, "Size", r"^\d+\s*(B|KB|MB|GB|KiB|MiB|GiB)?$");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_written() {
        for (text, ms) in [("500ms", 500), ("3s", 3_000), ("1m30s", 90_000), ("24h", 86_400_000), ("7d", 604_800_000)] {
            assert_eq!(text.parse::<Span>().map(Span::as_ms), Ok(ms), "{text}");
        }
    }

    #[test]
    fn malformed_durations_are_refused_with_examples() {
        for text in ["", "3", "s", "3 fortnights", "-3s", "99999999999999999999s", "99999999999999d"] {
            let problem = text.parse::<Span>().unwrap_err();
            assert!(problem.contains("write it like"), "{problem}");
        }
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(
            [count(0, "commit"), count(1, "commit"), count(2, "commit")],
            ["0 commits", "1 commit", "2 commits"]
        );
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [("512", 512), ("64KiB", 65_536), ("50 MiB", 52_428_800), ("1GB", 1_000_000_000)] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
        assert!("50 megs".parse::<ByteSize>().is_err());
        assert!("99999999999GiB".parse::<ByteSize>().is_err());
    }

    #[test]
    fn shares_read_as_written_and_no_further() {
        for (text, fraction) in [("10%", 0.1), ("2.5%", 0.025), ("0.25 %", 0.0025), ("100%", 1.0), ("0%", 0.0)] {
            assert_eq!(text.parse::<Share>().map(Share::as_fraction), Ok(fraction), "{text}");
        }
        for text in ["10", "%", "101%", "100.01%", "-1%", "1.234%", "1.%", "9999999999%"] {
            assert!(text.parse::<Share>().unwrap_err().contains("write it like"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_shares_read_back(hundredths in 0_u32..=10_000) {
            prop_assert_eq!(Share(hundredths).to_string().parse::<Share>(), Ok(Share(hundredths)));
        }

        #[test]
        fn shown_durations_read_back(ms in 0_u64..10_000_000_000) {
            let span = Span(Duration::from_millis(ms));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn shown_sizes_read_back(bytes in 0_u64..u64::MAX / 2) {
            let size = ByteSize(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
        }
    }
}
