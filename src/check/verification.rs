//! Asking until there is a verdict: enough passes, or enough failures, in a row.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Outcome, Place, ask};
use crate::config::CheckSpec;

/// The shortest pause between attempts, so that `every: 0s` does not spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Counts answers in a row until they are a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracker {
    successes: u32,
    failures: u32,
    passed: u32,
    failed: u32,
}

impl Tracker {
    /// Makes a tracker that wants `successes` passes or `failures` failures in a row; 0 means 1.
    #[must_use]
    pub fn new(successes: u32, failures: u32) -> Self {
        Self { successes: successes.max(1), failures: failures.max(1), passed: 0, failed: 0 }
    }

    /// Counts one more outcome and answers the verdict, pass or fail, once there is one.
    ///
    /// Unknown is no evidence of health and ends a row of passes; it is no evidence of harm either: it neither
    /// adds to a row of failures nor ends it.
    pub fn observe(&mut self, outcome: Outcome) -> Option<Outcome> {
        match outcome {
            Outcome::Pass => (self.passed, self.failed) = (self.passed.saturating_add(1), 0),
            Outcome::Fail => (self.passed, self.failed) = (0, self.failed.saturating_add(1)),
            Outcome::Unknown => self.passed = 0,
        }
        if self.passed >= self.successes {
            return Some(Outcome::Pass);
        }
        (self.failed >= self.failures).then_some(Outcome::Fail)
    }
}

/// An attempt that has answered, in the row that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Which it is, from 1.
    pub number: u32,
    /// How many in a row have passed by now.
    pub passed: u32,
    /// Its answer.
    pub answer: &'a Answer,
}

/// Asks the check `name` every [`CheckSpec::every`] until there is a verdict, and tells `on_attempt` of each attempt.
///
/// The answer is the last attempt's, with the duration of the whole. Without a verdict by
/// [`CheckSpec::deadline`] it is [`Outcome::Unknown`]; an attempt that is under way then is ended and not told.
pub async fn verify(
    name: &str,
    spec: &CheckSpec,
    place: &Place<'_>,
    on_attempt: &mut (dyn FnMut(Attempt<'_>) + Send),
) -> Answer {
    repeat(spec, || ask(name, spec, place), on_attempt).await
}

async fn repeat<F: Future<Output = Answer>>(
    spec: &CheckSpec,
    mut attempt: impl FnMut() -> F,
    on_attempt: &mut (dyn FnMut(Attempt<'_>) + Send),
) -> Answer {
    let started = Instant::now();
    let mut tracker = Tracker::new(spec.successes, spec.failures);
    let mut last = None;
    let attempts = async {
        let mut number: u32 = 0;
        loop {
            number = number.saturating_add(1);
            let answer = last.insert(attempt().await);
            let verdict = tracker.observe(answer.outcome);
            on_attempt(Attempt { number, passed: tracker.passed, answer });
            if verdict.is_some() {
                return;
            }
            sleep(spec.every.0.max(SHORTEST_PAUSE)).await;
        }
    };
    let in_time = timeout(spec.deadline.0, attempts).await.is_ok();
    let answer = if in_time { last.unwrap_or_else(|| undecided(spec, None)) } else { undecided(spec, last) };
    Answer { duration: started.elapsed(), ..answer }
}

fn undecided(spec: &CheckSpec, last: Option<Answer>) -> Answer {
    let deadline = spec.deadline;
    match last {
        Some(last) => {
            let detail = format!("no verdict within {deadline}: last answer {}, {}", last.outcome, last.detail);
            Answer { outcome: Outcome::Unknown, detail, ..last }
        }
        None => Answer::unknown(format!("no verdict within {deadline}: the first attempt did not finish")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Span;
    use proptest::prelude::*;

    fn outcomes(letters: &str) -> Vec<Outcome> {
        let outcome = |letter| match letter {
            'P' => Outcome::Pass,
            'F' => Outcome::Fail,
            _ => Outcome::Unknown,
        };
        letters.chars().map(outcome).collect()
    }

    fn first_verdict(successes: u32, failures: u32, outcomes: &[Outcome]) -> Option<(usize, Outcome)> {
        let mut tracker = Tracker::new(successes, failures);
        outcomes.iter().enumerate().find_map(|(at, outcome)| Some((at + 1, tracker.observe(*outcome)?)))
    }

    #[test]
    fn rows_make_verdicts() {
        let cases = [
            ("P", 1, 3, Some((1, Outcome::Pass))),
            ("PFPP", 2, 3, Some((4, Outcome::Pass))),
            ("PUPP", 2, 3, Some((4, Outcome::Pass))),
            ("FFPFFF", 2, 3, Some((6, Outcome::Fail))),
            ("FUFUF", 1, 3, Some((5, Outcome::Fail))),
            ("UUUUUUUU", 1, 1, None),
            ("F", 0, 0, Some((1, Outcome::Fail))),
        ];
        for (letters, successes, failures, expected) in cases {
            assert_eq!(first_verdict(successes, failures, &outcomes(letters)), expected, "{letters}");
        }
    }

    fn any_outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        proptest::collection::vec(proptest::sample::select(&Outcome::ALL[..]), 0..40)
    }

    proptest! {
        #[test]
        fn verdict_is_what_the_last_row_says(outcomes in any_outcomes(), successes in 1_u32..5, failures in 1_u32..5) {
            if let Some((at, verdict)) = first_verdict(successes, failures, &outcomes) {
                let seen = &outcomes[..at];
                let row: Vec<_> = match verdict {
                    Outcome::Pass => seen.iter().rev().take(successes as usize).collect(),
                    _ => seen.iter().rev().filter(|o| **o != Outcome::Unknown).take(failures as usize).collect(),
                };
                let wanted = if verdict == Outcome::Pass { successes } else { failures };
                prop_assert_eq!(row.len(), wanted as usize);
                prop_assert!(row.into_iter().all(|outcome| *outcome == verdict));
            }
        }

        #[test]
        fn without_passes_nothing_passes(outcomes in any_outcomes(), successes in 1_u32..5, failures in 1_u32..5) {
            let outcomes: Vec<_> = outcomes.into_iter().filter(|outcome| *outcome != Outcome::Pass).collect();
            prop_assert!(!matches!(first_verdict(successes, failures, &outcomes), Some((_, Outcome::Pass))));
        }
    }

    async fn scripted(letters: &str, spec: &CheckSpec) -> (Answer, Vec<(u32, u32, Outcome)>) {
        let mut script = outcomes(letters).into_iter();
        let mut told = Vec::new();
        let attempt = || {
            let next = script.next();
            async move {
                match next {
                    Some(outcome) => Answer::new(outcome, "as scripted"),
                    None => std::future::pending().await,
                }
            }
        };
        let answer = repeat(spec, attempt, &mut |it| told.push((it.number, it.passed, it.answer.outcome))).await;
        (answer, told)
    }

    fn spec(deadline_ms: u64) -> CheckSpec {
        let deadline = Span(Duration::from_millis(deadline_ms));
        CheckSpec { every: Span(Duration::ZERO), successes: 2, failures: 2, deadline, ..CheckSpec::default() }
    }

    #[tokio::test]
    async fn asks_until_the_verdict_and_tells_each_attempt() {
        let (answer, told) = scripted("FPPF", &spec(60_000)).await;
        assert_eq!(answer.outcome, Outcome::Pass);
        assert_eq!(told, [(1, 0, Outcome::Fail), (2, 1, Outcome::Pass), (3, 2, Outcome::Pass)]);
        let (answer, told) = scripted("FFP", &spec(60_000)).await;
        assert_eq!((answer.outcome, told.len()), (Outcome::Fail, 2));
    }

    #[tokio::test]
    async fn no_verdict_by_the_deadline_is_unknown() {
        let (answer, told) = scripted("PF", &spec(100)).await;
        assert_eq!(answer.outcome, Outcome::Unknown);
        assert_eq!(answer.detail, "no verdict within 100ms: last answer fail, as scripted");
        assert_eq!(told.len(), 2);
        let (answer, _) = scripted("", &spec(50)).await;
        assert_eq!(answer.detail, "no verdict within 50ms: the first attempt did not finish");
    }

    #[tokio::test]
    async fn real_checks_are_verified() {
        let spec = CheckSpec { run: Some("exit 3".to_owned()), ..spec(60_000) };
        let mut attempts = 0;
        let answer = verify("broken", &spec, &Place::default(), &mut |it| attempts = it.number).await;
        assert_eq!((answer.outcome, answer.detail.as_str(), attempts), (Outcome::Fail, "exit code 3", 2));
    }
}
