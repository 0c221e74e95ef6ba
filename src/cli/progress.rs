//! A promotion as people follow it: a line per step and check, on stderr.

use std::time::Duration;

use super::{Ui, words};
use crate::base::id::ObjectId;
use crate::base::units::{Span, count};
use crate::check::{Answer, Outcome};
use crate::promote::{Attempts, Event, Observer, Running};
use crate::store::{CheckPhase, CheckRecord, DeliveryRecord, Promotion, Step};

/// Says what a promotion does while it does it.
#[derive(Debug)]
pub struct Progress<'a> {
    ui: &'a Ui,
}

impl<'a> Progress<'a> {
    /// Says it through `ui`.
    #[must_use]
    pub fn new(ui: &'a Ui) -> Self {
        Self { ui }
    }
}

impl Observer for Progress<'_> {
    fn step(&mut self, promotion: &Promotion, step: Step) {
        let environment = &promotion.environment;
        let text = match step {
            Step::Plan => format!("{environment}: planning from {}", promotion.source.short()),
            Step::LandRemote => format!("{environment}: pushing the candidate"),
            Step::LandLocal => format!("{environment}: moving the branch"),
            Step::Quarantine => format!("{environment}: rolling back"),
            Step::RollbackRemote => format!("{environment}: seeing to it that the remote is back"),
            Step::RollbackLocal => format!("{environment}: putting the branch back"),
            Step::Admit
            | Step::Check
            | Step::Gate
            | Step::Probe
            | Step::Deliver
            | Step::Verify
            | Step::PlanRollback
            | Step::TakeBack
            | Step::VerifyRollback => return,
        };
        self.ui.note(&text);
    }

    fn performed(&mut self, promotion: &Promotion, step: Step, event: &Event) {
        let environment = &promotion.environment;
        match event {
            Event::DeliveryFailed(reason) => self.ui.warning(&format!("{environment}: {reason}")),
            Event::VerificationFailed(reason) => {
                self.ui.warning(&format!("{environment}: verification failed: {reason}"));
            }
            Event::BackVerified if step == Step::VerifyRollback => {
                self.ui.note(&format!("{environment}: what is back passes its verification"));
            }
            _ => {}
        }
    }

    fn delivering(&mut self, promotion: &Promotion, sync: &str) {
        self.ui.note(&format!("{}: delivering {sync} …", promotion.environment));
    }

    fn delivered(&mut self, promotion: &Promotion, delivery: &DeliveryRecord) {
        self.ui.note(&format!("{}: {}", promotion.environment, words::delivery(delivery)));
    }

    fn known(&mut self, promotion: &Promotion, name: &str) {
        self.ui.note(&format!("{}: ✓ {name} passed on this very content before", promotion.environment));
    }

    fn asking(&mut self, promotion: &Promotion, phase: CheckPhase, name: &str) {
        let is_pictured = matches!(phase, CheckPhase::Check | CheckPhase::Verify | CheckPhase::Rollback);
        if is_pictured && self.ui.can_picture() {
            return;
        }
        let verb = match phase {
            CheckPhase::Check => "checking",
            CheckPhase::Verify => "verifying",
            CheckPhase::Before | CheckPhase::Watch => "asking",
            CheckPhase::Rollback => "verifying what is back:",
        };
        self.ui.note(&format!("{}: {verb} {name} …", promotion.environment));
    }

    fn asking_again(&mut self, promotion: &Promotion, name: &str) {
        self.ui.note(&format!("{}: {name} is known to fail now and then: asking once more …", promotion.environment));
    }

    fn running(&mut self, promotion: &Promotion, running: &[Running]) {
        let lines = running.iter().map(|check| line(&promotion.environment, check));
        self.ui.picture(&lines.collect::<Vec<_>>());
    }

    fn searching(&mut self, promotion: &Promotion, name: &str, saves: usize, runs_limit: u32) {
        let runs = count(usize::try_from(runs_limit).unwrap_or(usize::MAX), "run");
        self.ui.note(&format!(
            "{}: check {name} failed: looking for the first bad of {saves} saves, with at most {runs} of it (Ctrl-C \
             leaves that)",
            promotion.environment
        ));
    }

    fn tried(&mut self, promotion: &Promotion, save: ObjectId, answer: &CheckRecord) {
        let (mark, _) = words::mark(&answer.outcome);
        let (environment, took) = (&promotion.environment, words::duration(answer.took_ms));
        self.ui.note(&format!("{environment}: {mark} {} at {} ({took}) {}", answer.name, save.short(), answer.detail));
    }

    fn answered(&mut self, promotion: &Promotion, phase: CheckPhase, name: &str, answer: &Answer) {
        let before = match (phase, answer.outcome) {
            // Nobody waits for that.
            (CheckPhase::Before, Outcome::Pass) => return,
            (CheckPhase::Before, _) => ", before anything moved",
            _ => "",
        };
        let took = Span(Duration::from_millis(u64::try_from(answer.duration.as_millis()).unwrap_or(0)));
        let mark = match answer.outcome {
            Outcome::Pass => "✓",
            Outcome::Fail => "✗",
            Outcome::Unknown => "?",
        };
        self.ui.note(&format!("{}: {mark} {name} ({took}) {}{before}", promotion.environment, answer.detail));
        if answer.outcome != Outcome::Pass {
            answer.tail.iter().for_each(|line| self.ui.note(&format!("    {line}")));
        }
    }
}

/// Answers the line of a picture about a check that is under way.
fn line(environment: &str, check: &Running) -> String {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let took = words::duration(ms(check.elapsed));
    let far = check.attempts.as_ref().map(|attempts| {
        let Attempts { number, passed, successes, deadline, last } = attempts;
        let left = words::duration(ms(deadline.0.saturating_sub(check.elapsed)));
        let last = if last.is_empty() { String::new() } else { format!(", last: {last}") };
        format!("attempt {number}, {passed} of {successes} passed in a row, {left} left{last}  ")
    });
    format!("{environment}: … {} {took}  {}{}", check.name, far.unwrap_or_default(), check.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_under_way_tells_its_attempt_the_row_and_the_time_left() {
        let attempts =
            Attempts { number: 3, passed: 1, successes: 2, deadline: Span::seconds(60), last: "status 200".to_owned() };
        let mut check = Running {
            name: "up".to_owned(),
            elapsed: Duration::from_secs(15),
            line: String::new(),
            attempts: Some(attempts),
        };
        let told = line("production", &check);
        assert_eq!(
            told.trim_end(),
            "production: … up 15s  attempt 3, 1 of 2 passed in a row, 45s left, last: status 200"
        );
        check.elapsed = Duration::from_secs(70);
        assert!(line("production", &check).contains("0.0s left"));
        (check.attempts, check.line) = (None, "compiling".to_owned());
        assert_eq!(line("production", &check), "production: … up 1m 10s  compiling");
    }
}
