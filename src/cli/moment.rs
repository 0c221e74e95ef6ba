//! Moments as people name them: `10 minutes ago`, `2h`, `yesterday`, `10:30`, `10:30:15`, `2026-11-21 10:00`.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::base::Timestamp;

/// What may be written, for messages.
pub const EXAMPLES: &str = "write it like \"10 minutes ago\", 2h, yesterday, 10:30 or \"2026-11-21 10:00\"";

/// Reads a moment that is not after `now`, in the time zone of this machine.
///
/// A bare duration counts back from now; a time of day that is still to come is yesterday's.
///
/// # Errors
/// The text is no such moment, or lies in the future.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let zoned = now.to_zoned(TimeZone::system());
    let moment = named(text.trim(), &zoned).ok_or_else(|| format!("`{text}` is not a moment: {EXAMPLES}"))?;
    if moment > now {
        return Err(format!("`{text}` is still to come"));
    }
    Ok(moment)
}

fn named(text: &str, now: &Zoned) -> Option<Timestamp> {
    let days_back = |days: i64| now.checked_sub(Span::new().days(days)).ok();
    if text.eq_ignore_ascii_case("now") {
        return Some(now.timestamp());
    }
    if text.eq_ignore_ascii_case("yesterday") {
        return Some(days_back(1)?.timestamp());
    }
    // With seconds it reads like a span too; people mean the clock.
    let clock = Time::strptime("%H:%M:%S", text).or_else(|_| Time::strptime("%H:%M", text));
    if let Some(span) = text.parse::<Span>().ok().filter(|_| clock.is_err()) {
        let back = if span.is_negative() { span } else { span.negate() };
        return Some(now.checked_add(back).ok()?.timestamp());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Ok(date) = text.parse::<DateTime>().or_else(|_| DateTime::strptime("%Y-%m-%d %H:%M", text)) {
        return Some(date.to_zoned(now.time_zone().clone()).ok()?.timestamp());
    }
    let time = clock.or_else(|_| text.parse::<Time>()).ok()?;
    let today = now.with().time(time).build().ok()?;
    let is_to_come = today.timestamp() > now.timestamp();
    Some(if is_to_come { today.checked_sub(Span::new().days(1)).ok()? } else { today }.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, seconds_before: i64) {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let zoned = now.to_zoned(TimeZone::UTC);
        let moment = named(text, &zoned).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(now.as_second() - moment.as_second(), seconds_before, "{text}");
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        check("10 minutes ago", 600);
        check("2h", 7_200);
        check("1h 30m ago", 5_400);
        check("yesterday", 86_400);
        check("3 days ago", 3 * 86_400);
        check("10:30", 5_400);
        check("10:30:15", 5_385);
        check("13:00", 23 * 3_600);
        check("13:00:00", 23 * 3_600);
        check("2026-11-21 11:00", 3_600);
        check("2026-11-20", 36 * 3_600);
        check("2026-11-21T11:59:00Z", 60);
        check("now", 0);
    }

    #[test]
    fn what_is_no_moment_or_still_to_come_is_refused() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert!(parse("soon", now).unwrap_err().contains("10 minutes ago"));
        assert!(parse("2030-01-01 00:00", now).unwrap_err().contains("still to come"));
    }
}
