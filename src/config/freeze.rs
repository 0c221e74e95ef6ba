//! Freeze windows: times in which nothing may land.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::problem::brief;

/// How windows are written, for messages.
const FORMS: &str = "write it like `Fri 16:00 - Mon 08:00`, `22:00 - 06:00` or `2026-12-24 - 2027-01-02`, with a time \
     zone like `Europe/Berlin` behind it where it is not this machine's";

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A time in which nothing may land: once, every day or every week.
///
/// It begins with its first minute and ends before its last: `22:00 - 06:00` lets a candidate land at 06:00. A day
/// without a time counts whole, the last one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeWindow {
    written: String,
    span: WindowSpan,
    zone: Option<TimeZone>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowSpan {
    Weekly { from: (Weekday, Time), to: (Weekday, Time) },
    Daily { from: Time, to: Time },
    Once { from: DateTime, to: DateTime },
}

/// One occurrence of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen {
    /// Its first moment.
    pub since: Timestamp,
    /// The first moment after it.
    pub until: Timestamp,
}

impl FreezeWindow {
    /// Answers the occurrence that `now` is in, if any; `local` is the time zone of windows that name none.
    #[must_use]
    pub fn at(&self, now: Timestamp, local: &TimeZone) -> Option<Frozen> {
        let zone = self.zone.as_ref().unwrap_or(local);
        let (since, until) = self.around(now.to_zoned(zone.clone()).datetime())?;
        let moment = |civil: DateTime| civil.to_zoned(zone.clone()).map(|zoned: Zoned| zoned.timestamp()).ok();
        let frozen = Frozen { since: moment(since)?, until: moment(until)? };
        // Where clocks are set back an hour passes twice; what counts is the moment.
        (frozen.since <= now && now < frozen.until).then_some(frozen)
    }

    /// Answers whether the window names its time zone.
    #[must_use]
    pub fn has_zone(&self) -> bool {
        self.zone.is_some()
    }

    fn around(&self, now: DateTime) -> Option<(DateTime, DateTime)> {
        match self.span {
            WindowSpan::Once { from, to } => (from <= now && now < to).then_some((from, to)),
            WindowSpan::Daily { from, to } => (0..=1).find_map(|back| {
                let first = now.date().checked_sub(back.days()).ok()?;
                let last = first.checked_add(i32::from(to <= from).days()).ok()?;
                let occurrence = (first.to_datetime(from), last.to_datetime(to));
                (occurrence.0 <= now && now < occurrence.1).then_some(occurrence)
            }),
            WindowSpan::Weekly { from, to } => (0..=7).find_map(|back| {
                let first = now.date().checked_sub(back.days()).ok().filter(|date| date.weekday() == from.0)?;
                let days = i32::from(from.0.until(to.0));
                let days = if days == 0 && to.1 <= from.1 { 7 } else { days };
                let last = first.checked_add(days.days()).ok()?;
                let occurrence = (first.to_datetime(from.1), last.to_datetime(to.1));
                (occurrence.0 <= now && now < occurrence.1).then_some(occurrence)
            }),
        }
    }
}

impl FromStr for FreezeWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("`{}` is no freeze window: {FORMS}", brief(text));
        let (from, rest) = text.split_once(" - ").ok_or_else(problem)?;
        let from: Vec<&str> = from.split_whitespace().collect();
        let mut to: Vec<&str> = rest.split_whitespace().collect();
        let zone = match to.last() {
            Some(last) if !is_moment(last) => {
                let name = to.pop().unwrap_or_default();
                let unknown = || format!("there is no time zone `{}` on this machine", brief(name));
                Some(TimeZone::get(name).map_err(|_| unknown())?)
            }
            _ => None,
        };
        let span = span(&from, &to).ok_or_else(problem)?;
        if span.is_empty() {
            return Err(format!("`{}` ends before it begins", brief(text)));
        }
        Ok(Self { written: text.to_owned(), span, zone })
    }
}

impl WindowSpan {
    fn is_empty(self) -> bool {
        matches!(self, Self::Once { from, to } if to <= from)
    }
}

/// Whether a word belongs to a window's end, and is not the name of a time zone.
fn is_moment(word: &str) -> bool {
    day(word).is_some() || word.starts_with(|c: char| c.is_ascii_digit())
}

fn span(from: &[&str], to: &[&str]) -> Option<WindowSpan> {
    match (from, to) {
        ([from], [to]) if from.contains(':') => Some(WindowSpan::Daily { from: time(from)?, to: time(to)? }),
        ([first, from], [last, to]) if day(first).is_some() => {
            Some(WindowSpan::Weekly { from: (day(first)?, time(from)?), to: (day(last)?, time(to)?) })
        }
        _ => {
            let (first, from) = dated(from)?;
            let (last, to) = dated(to)?;
            let end = match to {
                Some(time) => last.to_datetime(time),
                None => last.tomorrow().ok()?.to_datetime(Time::midnight()),
            };
            Some(WindowSpan::Once { from: first.to_datetime(from.unwrap_or(Time::midnight())), to: end })
        }
    }
}

fn dated(words: &[&str]) -> Option<(Date, Option<Time>)> {
    let (date, rest) = words.split_first()?;
    let date = if date.len() == 10 { date.parse().ok()? } else { return None };
    match rest {
        [] => Some((date, None)),
        [at] => Some((date, Some(time(at)?))),
        _ => None,
    }
}

fn day(word: &str) -> Option<Weekday> {
    let short = word.get(..3)?.to_ascii_lowercase();
    let (_, day) = DAYS.iter().find(|(name, _)| *name == short)?;
    let full = format!("{day:?}").to_ascii_lowercase();
    (word.len() == 3 || word.eq_ignore_ascii_case(&full)).then_some(*day)
}

fn time(word: &str) -> Option<Time> {
    let (hour, minute) = word.split_once(':')?;
    let number = |digits: &str| {
        let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    Time::new(number(hour)?, number(minute).filter(|_| minute.len() == 2)?, 0, 0).ok()
}

impl fmt::Display for FreezeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for FreezeWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for FreezeWindow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for FreezeWindow {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FreezeWindow".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": format!("A time in which nothing may land: {FORMS}.") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frozen(window: &str, now: &str) -> Option<(String, String)> {
        let window: FreezeWindow = window.parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = now.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
        let shown = |moment: Timestamp| moment.to_zoned(zone.clone()).strftime("%a %F %H:%M").to_string();
        window.at(now, &zone).map(|frozen| (shown(frozen.since), shown(frozen.until)))
    }

    fn pair(since: &str, until: &str) -> Option<(String, String)> {
        Some((since.to_owned(), until.to_owned()))
    }

    #[test]
    fn weekends_are_frozen_from_friday_to_monday() {
        let weekend = "Fri 16:00 - Mon 08:00";
        let this_one = pair("Fri 2026-11-20 16:00", "Mon 2026-11-23 08:00");
        for (now, expected) in [
            ("2026-11-20T15:59:59", None),
            ("2026-11-20T16:00", this_one.clone()),
            ("2026-11-22T12:00", this_one.clone()),
            ("2026-11-23T07:59:59", this_one),
            ("2026-11-23T08:00", None),
            ("2026-11-18T12:00", None),
        ] {
            assert_eq!(frozen(weekend, now), expected, "{now}");
        }
    }

    #[test]
    fn nights_reach_into_the_next_day() {
        assert_eq!(frozen("22:00 - 06:00", "2026-11-20T23:00"), pair("Fri 2026-11-20 22:00", "Sat 2026-11-21 06:00"));
        assert_eq!(frozen("22:00 - 06:00", "2026-11-21T05:59"), pair("Fri 2026-11-20 22:00", "Sat 2026-11-21 06:00"));
        assert_eq!(frozen("22:00 - 06:00", "2026-11-21T06:00"), None);
        assert_eq!(frozen("9:00 - 17:00", "2026-11-21T12:00"), pair("Sat 2026-11-21 09:00", "Sat 2026-11-21 17:00"));
    }

    #[test]
    fn dates_count_whole_unless_a_time_is_given() {
        let holidays = "2026-12-24 - 2027-01-02";
        assert_eq!(frozen(holidays, "2026-12-23T23:59"), None);
        assert!(frozen(holidays, "2027-01-02T23:59").is_some());
        assert_eq!(frozen(holidays, "2027-01-03T00:00"), None);
        assert_eq!(frozen("2026-12-24 12:00 - 2026-12-24 13:00", "2026-12-24T13:00"), None);
    }

    #[test]
    fn a_window_of_another_time_zone_is_reckoned_there() {
        assert!(frozen("Fri 16:00 - Mon 08:00 UTC", "2026-11-20T16:30").is_none(), "15:30 there");
        assert!(frozen("Fri 16:00 - Mon 08:00 America/New_York", "2026-11-23T13:59").is_some());
    }

    #[test]
    fn a_week_from_friday_to_friday_is_a_whole_one() {
        assert!(frozen("Fri 16:00 - Fri 16:00", "2026-11-25T12:00").is_some());
        assert_eq!(frozen("Fri 16:00 - Fri 17:00", "2026-11-25T12:00"), None);
        assert_eq!(
            frozen("Fri 16:00 - Fri 15:00", "2026-11-27T14:00"),
            pair("Fri 2026-11-20 16:00", "Fri 2026-11-27 15:00")
        );
    }

    #[test]
    fn an_hour_that_passes_twice_is_frozen_by_its_moment() {
        // In the night to October 25, 2026 clocks go back from 03:00 to 02:00.
        let window: FreezeWindow = "2026-10-25 02:30 - 2026-10-25 04:00".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| window.at(text.parse().unwrap(), &zone).is_some();
        assert!(!at("2026-10-25T00:29:00Z"));
        assert!(at("2026-10-25T00:30:00Z") && at("2026-10-25T01:45:00Z"));
        assert!(!at("2026-10-25T03:00:00Z"));
    }

    #[test]
    fn what_is_no_window_is_told_how_to_write_one() {
        for text in ["", "Fri", "Fri - Mon", "16:00", "25:00 - 26:00", "Fri 16:00 - 08:00", "2026-13-01 - 2026-13-02"] {
            let problem = text.parse::<FreezeWindow>().unwrap_err();
            assert!(problem.contains("write it like"), "{problem}");
        }
        let zone = "Fri 16:00 - Mon 08:00 Atlantis/Center".parse::<FreezeWindow>().unwrap_err();
        assert_eq!(zone, "there is no time zone `Atlantis/Center` on this machine");
        let backwards = "2026-12-24 - 2026-12-01".parse::<FreezeWindow>().unwrap_err();
        assert_eq!(backwards, "`2026-12-24 - 2026-12-01` ends before it begins");
    }

    proptest! {
        #[test]
        fn a_moment_is_frozen_exactly_inside_its_occurrence(
            from in (0_usize..7, 0_i8..24, 0_i8..60), to in (0_usize..7, 0_i8..24, 0_i8..60), minutes in 0_i64..60 * 24 * 400,
        ) {
            let text = |(day, hour, minute): (usize, i8, i8)| format!("{} {hour:02}:{minute:02}", DAYS[day].0);
            let window: FreezeWindow = format!("{} - {} UTC", text(from), text(to)).parse().unwrap();
            let now = Timestamp::from_second(1_700_000_000 / 60 * 60 + minutes * 60).unwrap();
            let of_week = |day: i64, hour: i8, minute: i8| (day * 24 + i64::from(hour)) * 60 + i64::from(minute);
            let civil = now.to_zoned(TimeZone::UTC);
            let at = of_week(i64::from(civil.weekday().to_monday_zero_offset()), civil.hour(), civil.minute());
            let (from, to) = (of_week(from.0 as i64, from.1, from.2), of_week(to.0 as i64, to.1, to.2));
            let inside = if from < to { from <= at && at < to } else { at >= from || at < to };
            let found = window.at(now, &TimeZone::UTC);
            prop_assert_eq!(found.is_some(), inside);
            if let Some(found) = found {
                prop_assert!(found.since <= now && now < found.until);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<FreezeWindow>();
        }
    }
}
