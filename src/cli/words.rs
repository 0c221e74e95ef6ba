//! Ages, durations, counts and marks as people read them. Pure.

use jiff::tz::TimeZone;

use super::ui::Tone;
use crate::base::Timestamp;
use crate::base::id::ObjectId;
use crate::check::Outcome;
use crate::promote::policy::Origin;
use crate::store::{CheckPhase, DeliveryOutcome, DeliveryPhase, DeliveryRecord, Promotion, State};

/// Characters of a commit's name where many are listed.
const BRIEF_CHARS: usize = 7;
/// Units of an age: seconds in one, and its name.
const AGE_UNITS: [(i64, &str); 4] = [(86_400, "day"), (3_600, "h"), (60, "min"), (1, "s")];

/// Answers where the rules of an environment come from.
#[must_use]
pub fn origin(origin: Origin, branch: &str) -> String {
    match origin {
        Origin::Target(commit) => format!("cascade-sync.yaml as `{branch}` has it ({})", commit.short()),
        Origin::Candidate(_) => format!("cascade-sync.yaml of the candidate, for `{branch}` has none for it yet"),
        Origin::Checkout => "cascade-sync.yaml of the working tree, for none is committed".to_owned(),
    }
}

/// Answers how long ago `at` was, in its largest unit: `3 min ago`; what is still to come is `just now`.
#[must_use]
pub fn age(now: Timestamp, at: Timestamp) -> String {
    let seconds = (now.as_millisecond() - at.as_millisecond()) / 1_000;
    let unit = AGE_UNITS.iter().find(|(length, _)| seconds >= *length);
    match unit.map(|(length, name)| (seconds / length, *name)) {
        None => "just now".to_owned(),
        Some((days, "day")) if days != 1 => format!("{days} days ago"),
        Some((amount, name)) => format!("{amount} {name} ago"),
    }
}

/// Answers a duration in at most two units: `0.4s`, `12s`, `3m 5s`, `2h 10m`.
#[must_use]
pub fn duration(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..=9 => format!("{:.1}s", ms.max(0) as f64 / 1_000.0),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Answers a local date and time: `2026-11-21 05:27:53`.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Shortens a commit's name for lists; nothing is a dash.
#[must_use]
pub fn brief(id: Option<ObjectId>) -> String {
    id.map_or_else(|| "-".to_owned(), |id| id.to_string().chars().take(BRIEF_CHARS).collect())
}

/// Answers a person's name without the address.
#[must_use]
pub fn name(person: &str) -> &str {
    person.split_once(" <").map_or(person, |(name, _)| name)
}

/// Cuts text to at most `width` characters, the last of them `…` where something is missing.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Breaks text between words into lines of at most `width` characters; a longer word has a line of its own.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Answers what a promotion's state means to people.
#[must_use]
pub fn state_tone(state: State) -> Tone {
    match state {
        State::Promoted => Tone::Good,
        State::Failed | State::Conflict | State::Drifted | State::RolledBack | State::RollbackFailed => Tone::Bad,
        State::Cancelled | State::Superseded => Tone::Dim,
        State::Waiting | State::Rejected | State::Expired | State::RollingBack => Tone::Warn,
        State::Proposed | State::Planned | State::Checking | State::Landing | State::Delivering | State::Verifying => {
            Tone::Plain
        }
    }
}

/// Answers a promotion's state with blanks: `rolled back`.
#[must_use]
pub fn state(state: State) -> String {
    state.as_str().replace('_', " ")
}

/// Answers how far a promotion is: its state, or that it is live and rests unverified.
#[must_use]
pub fn progress(promotion: &Promotion) -> String {
    if promotion.is_paused() { "paused".to_owned() } else { state(promotion.state) }
}

/// Answers what the same means to people.
#[must_use]
pub fn progress_tone(promotion: &Promotion) -> Tone {
    if promotion.is_paused() { Tone::Warn } else { state_tone(promotion.state) }
}

/// Answers when a check was asked, before its name.
#[must_use]
pub fn phase(phase: CheckPhase) -> &'static str {
    match phase {
        CheckPhase::Check => "check",
        CheckPhase::Before => "before landing",
        CheckPhase::Verify => "verify",
        CheckPhase::Watch => "while watched",
        CheckPhase::Rollback => "after the rollback",
    }
}

/// Answers how a delivery went, in one line: `✓ website: 2 created, 1 updated, 0 deleted (0.3s)`.
#[must_use]
pub fn delivery(delivery: &DeliveryRecord) -> String {
    let (mark, _) = delivery_mark(delivery.outcome);
    let DeliveryRecord { sync, created, updated, deleted, flagged, failed, detail, .. } = delivery;
    let back = if delivery.phase == DeliveryPhase::TakeBack { " is back" } else { "" };
    let left = [(*flagged, "flagged"), (*failed, "failed")].into_iter().filter(|(items, _)| *items > 0);
    let left: String = left.map(|(items, word)| format!(", {items} {word}")).collect();
    let why = if detail.is_empty() { String::new() } else { format!(": {detail}") };
    let took = duration(delivery.took_ms);
    let back = if delivery.outcome == DeliveryOutcome::Failed { "" } else { back };
    format!("{mark} {sync}{back}: {created} created, {updated} updated, {deleted} deleted{left} ({took}){why}")
}

/// Answers the mark of a delivery's outcome.
#[must_use]
pub fn delivery_mark(outcome: DeliveryOutcome) -> (&'static str, Tone) {
    match outcome {
        DeliveryOutcome::Delivered => ("✓", Tone::Good),
        DeliveryOutcome::Flagged => ("•", Tone::Warn),
        DeliveryOutcome::Failed => ("✗", Tone::Bad),
    }
}

/// Answers the mark of a check's outcome, by its stored word.
#[must_use]
pub fn mark(outcome: &str) -> (&'static str, Tone) {
    match outcome.parse() {
        Ok(Outcome::Pass) => ("✓", Tone::Good),
        Ok(Outcome::Fail) => ("✗", Tone::Bad),
        _ => ("?", Tone::Warn),
    }
}

/// Sums outcomes up: fail when one failed, unknown when one is unknown or there is none, else pass.
#[must_use]
pub fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let severity = |outcome: &Outcome| match outcome {
        Outcome::Pass => 0,
        Outcome::Unknown => 1,
        Outcome::Fail => 2,
    };
    outcomes.into_iter().max_by_key(severity).unwrap_or(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;

    #[test]
    fn ages_have_one_unit() {
        let of = |seconds: i64| age(from_ms(1_000_000_000_000), from_ms(1_000_000_000_000 - seconds * 1_000));
        let cases = [(-5, "just now"), (0, "just now"), (1, "1 s ago"), (59, "59 s ago"), (60, "1 min ago")];
        let longer = [(3_599, "59 min ago"), (7_200, "2 h ago"), (86_400, "1 day ago"), (200_000, "2 days ago")];
        for (seconds, expected) in cases.into_iter().chain(longer) {
            assert_eq!(of(seconds), expected);
        }
    }

    #[test]
    fn durations_have_at_most_two_units() {
        let cases = [(-1, "0.0s"), (412, "0.4s"), (12_900, "12s"), (185_000, "3m 5s"), (7_800_000, "2h 10m")];
        for (ms, expected) in cases {
            assert_eq!(duration(ms), expected);
        }
    }

    #[test]
    fn long_text_is_cut_visibly() {
        assert_eq!(cut("straße", 6), "straße");
        assert_eq!(cut("straßen", 6), "straß…");
        assert_eq!(cut("ab", 0), "…");
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word() {
        assert_eq!(wrapped("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("enormous x", 3), ["enormous", "x"]);
        assert!(wrapped(" ", 3).is_empty());
    }

    #[test]
    fn worst_outcome_counts_and_nothing_is_unknown() {
        assert_eq!(worst([]), Outcome::Unknown);
        assert_eq!(worst([Outcome::Pass, Outcome::Pass]), Outcome::Pass);
        assert_eq!(worst([Outcome::Fail, Outcome::Unknown]), Outcome::Fail);
        assert_eq!(worst([Outcome::Pass, Outcome::Unknown]), Outcome::Unknown);
    }

    #[test]
    fn people_are_called_by_their_name() {
        assert_eq!([name("Ada <ada@example.test>"), name("ada")], ["Ada", "ada"]);
    }
}
