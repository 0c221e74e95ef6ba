//! Times at which something is done again and again, as cron writes them.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::problem::{brief, quoted_message};

/// How schedules are written, for messages.
const FORMS: &str = "write it like `30 4 * * mon-fri` (minute, hour, day of the month, month, day of the week), with a time \
     zone like `Europe/Berlin` behind it where it is not this machine's";

/// Fields of a schedule.
const FIELDS: usize = 5;

/// Times at which something is done again and again.
#[derive(Debug, Clone)]
pub struct Schedule {
    written: String,
    cron: Cron,
    zone: Option<TimeZone>,
}

impl Schedule {
    /// Answers its first moment after `now`; `local` is the time zone where it names none. Nothing where it never comes.
    ///
    /// An hour that is left out when clocks are put forward is made up for right after it; one that comes twice counts once.
    #[must_use]
    pub fn next_after(&self, now: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        let zone = self.zone.as_ref().unwrap_or(local).clone();
        let next = self.cron.find_next_occurrence(&now.to_zoned(zone), false).ok()?;
        Some(next.timestamp()).filter(|next| *next > now)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Schedule {}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let has_zone = words.len() == FIELDS + 1 || (words.len() == 2 && text.trim_start().starts_with('@'));
        let name = if has_zone { words.pop() } else { None };
        let unknown = |name: &str| format!("there is no time zone `{}` on this machine", brief(name));
        let zone = name.map(|name| TimeZone::get(name).map_err(|_| unknown(name))).transpose()?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(&words.join(" ")).map_err(|problem| {
            format!("`{}` is no schedule: {}: {FORMS}", brief(text), quoted_message(&problem.to_string()))
        })?;
        let schedule = Self { written: text.to_owned(), cron, zone };
        // From whenever: what never comes after that never comes at all.
        if schedule.next_after(Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_none() {
            return Err(format!("`{}` never comes: there is no such day", brief(text)));
        }
        Ok(schedule)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Schedule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": format!("Times at which something is done: {FORMS}.") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(schedule: &str, now: &str) -> Timestamp {
        schedule.parse::<Schedule>().unwrap().next_after(at(now), &TimeZone::UTC).unwrap()
    }

    #[test]
    fn the_next_moment_is_found_in_the_zone_that_is_named() {
        assert_eq!(next("30 4 * * *", "2026-03-01T04:30:00Z"), at("2026-03-02T04:30:00Z"));
        assert_eq!(next("30 4 * * * Europe/Berlin", "2026-01-01T00:00:00Z"), at("2026-01-01T03:30:00Z"));
        assert_eq!(next("30 4 * * * Europe/Berlin", "2026-07-01T00:00:00Z"), at("2026-07-01T02:30:00Z"));
        assert_eq!(next("0 0 * * mon", "2026-11-21T12:00:00Z"), at("2026-11-23T00:00:00Z"));
        assert_eq!(next("@daily", "2026-11-21T12:00:00Z"), at("2026-11-22T00:00:00Z"));
    }

    #[test]
    fn a_nightly_hour_that_is_left_out_or_comes_twice_counts_once() {
        let schedule: Schedule = "30 2 * * * Europe/Berlin".parse().unwrap();
        for (from, to) in
            [("2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z"), ("2026-10-23T12:00:00Z", "2026-10-27T12:00:00Z")]
        {
            let (mut now, mut moments) = (at(from), 0);
            while let Some(next) = schedule.next_after(now, &TimeZone::UTC).filter(|next| *next < at(to)) {
                (now, moments) = (next, moments + 1);
            }
            assert_eq!(moments, 4, "{from}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for bad in [
            "",
            "5 minutes",
            "* * * * * *",
            "61 * * * *",
            "0 4 * * * Nowhere/City",
            "* * * * * * UTC",
            "0 0 30 2 *",
            "0 0 31 4,6 * UTC",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        for rare in ["0 0 29 2 *", "0 0 31 * *"] {
            assert!(rare.parse::<Schedule>().is_ok(), "{rare}");
        }
    }
}
