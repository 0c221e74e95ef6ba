//! A promotion as people follow it: a line per step and check, on stderr.

use super::{Ui, words};
use crate::base::id::ObjectId;
use crate::base::units::{Span, count};
use crate::check::{Answer, Outcome};
use crate::promote::{Event, Observer, Running};
use crate::store::{CheckPhase, CheckRecord, Promotion, Step};

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
            Step::RollbackRemote => format!("{environment}: putting the remote back"),
            Step::RollbackLocal => format!("{environment}: putting the branch back"),
            Step::Admit
            | Step::Check
            | Step::Gate
            | Step::Probe
            | Step::Verify
            | Step::PlanRollback
            | Step::VerifyRollback => return,
        };
        self.ui.note(&text);
    }

    fn performed(&mut self, promotion: &Promotion, step: Step, event: &Event) {
        let environment = &promotion.environment;
        match event {
            Event::VerificationFailed(reason) => {
                self.ui.warning(&format!("{environment}: verification failed: {reason}"));
            }
            Event::BackVerified if step == Step::VerifyRollback => {
                self.ui.note(&format!("{environment}: what is back passes its verification"));
            }
            _ => {}
        }
    }

    fn known(&mut self, promotion: &Promotion, name: &str) {
        self.ui.note(&format!("{}: ✓ {name} passed on this very content before", promotion.environment));
    }

    fn asking(&mut self, promotion: &Promotion, phase: CheckPhase, name: &str) {
        if phase == CheckPhase::Check && self.ui.can_picture() {
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
        let lines = running.iter().map(|check| {
            let ms = i64::try_from(check.elapsed.as_millis()).unwrap_or(i64::MAX);
            format!("{}: … {} {}  {}", promotion.environment, check.name, words::duration(ms), check.line)
        });
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
        let took = Span(std::time::Duration::from_millis(u64::try_from(answer.duration.as_millis()).unwrap_or(0)));
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
