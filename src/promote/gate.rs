//! Whether a candidate may land: every gate with its fact, since when, and what clears it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::escape::shell_word;
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::{Span, count};
use crate::config::{Approval, FreezeWindow, Waivable};
use crate::store::{ApprovalRecord, Hold, HoldCause, Quarantined, Waiver};

/// The command by which a person consents.
const APPROVE: &str = "cascade approve";

/// Everything the gates look at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The moment of the question.
    pub now: Timestamp,
    /// The time zone of freeze windows that name none.
    pub zone: TimeZone,
    /// The environment's name.
    pub environment: String,
    /// The promotion's name; none while nobody has asked for one.
    pub promotion: Option<PromotionId>,
    /// Who asked for it.
    pub requested_by: String,
    /// The source commit.
    pub source: ObjectId,
    /// Whether it comes past the environments before.
    pub is_hotfix: bool,
    /// The candidate commit.
    pub candidate: ObjectId,
    /// The candidate's tree.
    pub tree: ObjectId,
    /// The hold on the environment.
    pub hold: Option<Hold>,
    /// Whether the source is a fix of what the hold's rollback undid: a descendant with another content.
    pub is_fix: bool,
    /// Commits that may not be promoted again.
    pub quarantined: Vec<Quarantined>,
    /// What is known against the source where it comes from; a hotfix comes from nowhere.
    pub undone_upstream: Option<UndoneUpstream>,
    /// When it was proposed; nothing while nobody has.
    pub proposed_at: Option<Timestamp>,
    /// The approvals that the environment wants.
    pub approval: Option<Approval>,
    /// The groups of people that approvals may come from.
    pub groups: BTreeMap<String, Vec<String>>,
    /// E-mail addresses of who wrote or committed what the candidate brings; empty where they may approve it.
    pub authors: BTreeSet<String>,
    /// What people said.
    pub approvals: Vec<ApprovalRecord>,
    /// How long the source must have been live upstream.
    pub soak: Span,
    /// Since when it has been live upstream; nothing: it is not.
    pub live_upstream_since: Option<Timestamp>,
    /// The times in which nothing lands.
    pub freeze: Vec<FreezeWindow>,
    /// The environment's checks, with what is known of the candidate.
    pub checks: Vec<CheckFact>,
    /// Gates that may be waived.
    pub waivable: Vec<Waivable>,
    /// Gates that somebody waived for this promotion.
    pub waivers: Vec<Waiver>,
}

/// What is known of one check of the candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFact {
    /// The check.
    pub name: String,
    /// `pass`, `fail` or `unknown`; nothing where it is still to be asked.
    pub outcome: Option<String>,
    /// How it failed on this very content before; it is asked once more all the same.
    pub failed_before: Option<FailedBefore>,
}

/// A failure of a check on content that is offered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedBefore {
    /// When.
    pub at: Timestamp,
    /// Why, in one line.
    pub detail: String,
    /// Where its output is.
    pub log: Option<String>,
}

impl FailedBefore {
    /// Answers when it failed, why, and how to see its output.
    #[must_use]
    pub fn words(&self, now: Timestamp) -> String {
        let ago_ms = now.as_millisecond().saturating_sub(self.at.as_millisecond());
        let ago = Span(std::time::Duration::from_secs(u64::try_from(ago_ms).unwrap_or(0) / 1_000));
        let log = self.log.as_deref().map(|log| format!("; its output: tail {}", shell_word(log)));
        format!("failed on this very content {ago} ago: {}{}", self.detail, log.unwrap_or_default())
    }
}

/// A rollback in the environment that feeds another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoneUpstream {
    /// The environment that was rolled back.
    pub environment: String,
    /// The promotion that was undone there.
    pub promotion: PromotionId,
    /// When.
    pub at: Timestamp,
}

/// One gate's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The gate.
    pub gate: Gate,
    /// Whether it lets the candidate pass.
    pub open: bool,
    /// Why.
    pub fact: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// When it opens by time alone.
    pub until: Option<Timestamp>,
    /// Who or what opens it.
    pub clears: Option<String>,
    /// Who waived it, where it is open for that reason alone.
    pub waived_by: Option<String>,
}

impl Finding {
    pub(super) fn open(gate: Gate, fact: String, since: Option<Timestamp>) -> Self {
        Self { gate, open: true, fact, since, until: None, clears: None, waived_by: None }
    }

    pub(super) fn closed(gate: Gate, fact: String, since: Option<Timestamp>, clears: String) -> Self {
        Self { gate, open: false, fact, since, until: None, clears: Some(clears), waived_by: None }
    }

    /// Answers whether a person's consent opens it: not any more once the time for that is over.
    #[must_use]
    pub fn awaits_consent(&self) -> bool {
        let clears = self.clears.as_deref().unwrap_or_default();
        self.gate == Gate::Approval && !self.open && clears.contains(APPROVE)
    }

    /// Answers whether checks keep it closed that failed on this very content before.
    #[must_use]
    pub fn failed_before(&self) -> bool {
        self.gate == Gate::Checks && !self.open && self.since.is_some()
    }

    fn until(self, until: Option<Timestamp>) -> Self {
        Self { until, ..self }
    }
}

/// The gates, in the order they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The environment is not held.
    Hold,
    /// The commit did not fail here before, and was not taken back where it comes from.
    Quarantine,
    /// The candidate has been live upstream long enough.
    Soak,
    /// It is no time in which nothing lands.
    Freeze,
    /// Every check passed on the candidate.
    Checks,
    /// Enough people consent.
    Approval,
    /// What is live is verified: here, or where the candidate comes from.
    Verification,
}

impl Gate {
    /// Answers the gate's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Quarantine => "quarantine",
            Self::Soak => "soak",
            Self::Freeze => "freeze",
            Self::Checks => "checks",
            Self::Approval => "approval",
            Self::Verification => "verification",
        }
    }

    /// Answers whether the gate is asked before checks run: there is no use in checking what cannot land, but what time
    /// or people let pass later can be checked meanwhile.
    #[must_use]
    pub fn is_admission(self) -> bool {
        matches!(self, Self::Hold | Self::Quarantine | Self::Soak)
    }

    /// Answers how the gate is waived, where it can be.
    #[must_use]
    pub fn waivable(self) -> Option<Waivable> {
        match self {
            Self::Hold | Self::Quarantine | Self::Verification => None,
            Self::Soak => Some(Waivable::Soak),
            Self::Freeze => Some(Waivable::Freeze),
            Self::Checks => Some(Waivable::Checks),
            Self::Approval => Some(Waivable::Approval),
        }
    }
}

/// Asks every gate.
#[must_use]
pub fn ask(facts: &Facts) -> Vec<Finding> {
    let soak = match facts.is_hotfix {
        true => no_soak(facts.soak),
        false => soak(facts),
    };
    let findings = [hold(facts), quarantine(facts), soak, freeze(facts), checks(facts), approval(facts)];
    findings.into_iter().flatten().map(|finding| waived(finding, facts)).collect()
}

/// Opens a closed gate that somebody waived, where the environment lets it be.
fn waived(finding: Finding, facts: &Facts) -> Finding {
    let Some(waivable) = finding.gate.waivable().filter(|gate| !finding.open && facts.waivable.contains(gate)) else {
        return finding;
    };
    match facts.waivers.iter().find(|waiver| waiver.gate == waivable.as_str()) {
        Some(waiver) => Finding {
            open: true,
            fact: format!("{}; waived by {}: {}", finding.fact, waiver.person, waiver.reason),
            since: Some(waiver.at),
            until: None,
            clears: None,
            waived_by: Some(waiver.person.clone()),
            ..finding
        },
        None => {
            let waive = format!("`cascade promote {} --waive {waivable} --reason …`", facts.environment);
            let clears = finding.clears.map_or(waive.clone(), |clears| format!("{clears}, or {waive}"));
            Finding { clears: Some(clears), ..finding }
        }
    }
}

/// Answers the person who rejected this very candidate, with the reason.
#[must_use]
pub fn rejection(facts: &Facts) -> Option<&ApprovalRecord> {
    facts.approvals.iter().find(|word| !word.consent && word.candidate == facts.candidate)
}

/// Answers when a promotion can go on by time alone; nothing where it can now, or somebody has to do something first.
#[must_use]
pub fn due(findings: &[Finding]) -> Option<Timestamp> {
    let closed = awaited(findings).map(|finding| finding.until);
    closed.collect::<Option<Vec<Timestamp>>>()?.into_iter().max()
}

/// Answers whether a promotion that waits can go on now: nothing is closed but checks, which going on asks.
#[must_use]
pub fn can_go_on(findings: &[Finding]) -> bool {
    awaited(findings).next().is_none()
}

/// Answers what a promotion that waits waits for. Its checks are none of it: one that failed would have ended it.
fn awaited(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| !finding.open && finding.gate != Gate::Checks)
}

/// Sums closed gates up in one line.
#[must_use]
pub fn closed_summary(findings: &[Finding]) -> Option<String> {
    let closed: Vec<&str> = findings.iter().filter(|finding| !finding.open).map(|f| f.fact.as_str()).collect();
    (!closed.is_empty()).then(|| closed.join("; "))
}

fn hold(facts: &Facts) -> Option<Finding> {
    let hold = facts.hold.as_ref()?;
    let lifted = hold.cause == HoldCause::Rollback && facts.is_fix;
    let fact = match (hold.cause, lifted) {
        (_, true) => format!("held ({}), lifted by this fix", hold.reason),
        (HoldCause::Rollback, false) => format!("held since a rollback: {}", hold.reason),
        (HoldCause::Person, false) => format!("held by {}: {}", hold.person, hold.reason),
    };
    if lifted {
        return Some(Finding::open(Gate::Hold, fact, Some(hold.at)));
    }
    let clears = match hold.cause {
        HoldCause::Rollback => format!("promote a fix, or `cascade resume {}`", facts.environment),
        HoldCause::Person => format!("`cascade resume {}`", facts.environment),
    };
    Some(Finding::closed(Gate::Hold, fact, Some(hold.at), clears))
}

fn quarantine(facts: &Facts) -> Option<Finding> {
    let failed = |entry: &&Quarantined| entry.source == facts.source || entry.tree == facts.tree;
    let Some(entry) = facts.quarantined.iter().find(failed) else { return undone_upstream(facts) };
    let fact = format!("commit {} failed here in promotion {}", entry.source.short(), entry.promotion);
    let clears = format!("save a fix and promote it, or `cascade resume {}`", facts.environment);
    Some(Finding::closed(Gate::Quarantine, fact, Some(entry.at), clears))
}

/// What was taken back where it comes from goes no further, whoever approved it.
fn undone_upstream(facts: &Facts) -> Option<Finding> {
    let UndoneUpstream { environment, promotion, at } = facts.undone_upstream.as_ref()?;
    let fact = format!("{} was taken back in {environment} (promotion {promotion})", facts.source.short());
    let clears = format!("promote to {environment} what is good, then that to {}", facts.environment);
    Some(Finding::closed(Gate::Quarantine, fact, Some(*at), clears))
}

/// What time opens needs nobody.
fn time(environment: &str) -> String {
    format!("time: `cascade promote {environment} --wait` waits for it")
}

/// Asks whether the source has been live upstream for the required time; nothing where none is required.
fn soak(facts: &Facts) -> Option<Finding> {
    let (required, since, now) = (facts.soak, facts.live_upstream_since, facts.now);
    let required_ms = required.as_ms();
    if required_ms == 0 {
        return None;
    }
    let ready = since.map(|since| from_ms(since.as_millisecond().saturating_add(required_ms)));
    let open = ready.is_some_and(|ready| ready <= now);
    let fact = match ready {
        None => "not live and verified upstream".to_owned(),
        Some(_) if open => format!("live upstream for {required}"),
        Some(ready) => {
            let left_ms = ready.as_millisecond() - now.as_millisecond();
            let left = std::time::Duration::from_secs(u64::try_from(left_ms).unwrap_or(0).div_ceil(1_000));
            format!("must soak upstream for another {}", Span(left))
        }
    };
    Some(match (open, since) {
        (true, _) => Finding::open(Gate::Soak, fact, since),
        (false, Some(_)) => Finding::closed(Gate::Soak, fact, since, time(&facts.environment)).until(ready),
        (false, None) => {
            let clears = format!("promote it to where it comes from, then `cascade promote {}`", facts.environment);
            Finding::closed(Gate::Soak, fact, since, clears)
        }
    })
}

/// Of windows that overlap, the one that ends last is told.
fn freeze(facts: &Facts) -> Option<Finding> {
    if facts.freeze.is_empty() {
        return None;
    }
    let frozen = facts.freeze.iter().filter_map(|window| Some((window, window.at(facts.now, &facts.zone)?)));
    Some(match frozen.max_by_key(|(_, frozen)| frozen.until) {
        None => Finding::open(Gate::Freeze, "nothing is frozen now".to_owned(), None),
        Some((window, frozen)) => {
            let until = frozen.until.to_zoned(facts.zone.clone()).strftime("%a %F %H:%M %Z");
            let fact = format!("frozen until {until} ({window})");
            Finding::closed(Gate::Freeze, fact, Some(frozen.since), time(&facts.environment)).until(Some(frozen.until))
        }
    })
}

fn checks(facts: &Facts) -> Option<Finding> {
    if facts.checks.is_empty() {
        return None;
    }
    let with = |wanted: Option<&str>| {
        let found = facts.checks.iter().filter(|check| check.outcome.as_deref() == wanted && check.is_new());
        found.map(|check| check.name.as_str()).collect::<Vec<_>>()
    };
    let told =
        [(with(Some("fail")), "failed"), (with(Some("unknown")), "could not answer"), (with(None), "not asked yet")];
    let told = told.into_iter().filter(|(names, _)| !names.is_empty());
    let told = told.map(|(names, what)| format!("{what}: {}", names.join(", ")));
    let again = facts.checks.iter().filter_map(|check| Some((&check.name, check.failed_before.as_ref()?)));
    let again = again.map(|(name, failed)| format!("{name} {}", failed.words(facts.now)));
    let told: Vec<String> = told.chain(again).collect();
    let since = facts.checks.iter().filter_map(|check| Some(check.failed_before.as_ref()?.at)).max();
    Some(match (told.is_empty(), since) {
        (true, _) => Finding::open(Gate::Checks, format!("passed: {}", with(Some("pass")).join(", ")), None),
        (false, None) => {
            Finding::closed(Gate::Checks, told.join("; "), None, format!("`cascade promote {}`", facts.environment))
        }
        (false, since) => {
            let clears = format!("save a fix; `cascade promote {}` asks it again as it is", facts.environment);
            Finding::closed(Gate::Checks, told.join("; "), since, clears)
        }
    })
}

impl CheckFact {
    /// Answers whether nothing is told of an earlier failure.
    fn is_new(&self) -> bool {
        self.failed_before.is_none()
    }
}

/// Answers for a hotfix, which does not come from upstream, that it need not soak there; nothing where nothing must.
fn no_soak(required: Span) -> Option<Finding> {
    let fact = format!("does not apply: a hotfix does not come from upstream (others soak there for {required})");
    (required.as_ms() > 0).then(|| Finding::open(Gate::Soak, fact, None))
}

fn approval(facts: &Facts) -> Option<Finding> {
    let policy = facts.approval.as_ref()?;
    let electorate = facts.electorate(policy);
    let valid = electorate.valid(&facts.approvals);
    let missing = electorate.missing(&valid);
    let names = valid.iter().map(|word| word.person.as_str()).collect::<Vec<_>>().join(", ");
    let since = valid.last().map(|word| word.at);
    if valid.len() as u64 >= u64::from(policy.required) && missing.is_empty() {
        return Some(Finding::open(Gate::Approval, format!("approved by {names}"), since));
    }
    let mut fact = match valid.is_empty() {
        true => {
            format!("needs {} of candidate {}", count(policy.required as usize, "approval"), facts.candidate.short())
        }
        false => format!("{} of {} approvals: {names}", valid.len(), policy.required),
    };
    let expired = expired_by(facts);
    if !expired.is_empty() {
        fact.push_str(&format!(" (expired: {})", expired.join(", ")));
    }
    if !missing.is_empty() {
        let verb = if valid.is_empty() { "of them" } else { "missing" };
        let groups: Vec<String> = missing.iter().map(|(group, left)| format!("{group} ({left})")).collect();
        fact.push_str(&format!("; {verb} from {}", groups.join(", ")));
    }
    if !policy.from.is_empty() {
        fact.push_str(&format!("; from {}", policy.from.join(", ")));
    }
    if let Some(over) = facts.time_is_up() {
        let again = format!("`cascade promote {}` ends it, and once more begins a new one", facts.environment);
        return Some(Finding::closed(Gate::Approval, format!("{over}: {fact}"), since, again));
    }
    let clears = match &facts.promotion {
        Some(promotion) => format!("`{APPROVE} {promotion}`"),
        // Nobody can approve what nobody asked for yet.
        None => format!("`cascade promote {}` asks for it", facts.environment),
    };
    Some(Finding::closed(Gate::Approval, fact, since, clears))
}

/// Answers why nobody can approve a promotion any more: it lacks approvals, and the time for them is over. The one
/// decision on that, whoever asks.
#[must_use]
pub fn expired(facts: &Facts) -> Option<String> {
    let approval = waived(approval(facts)?, facts);
    facts.time_is_up().filter(|_| !approval.open)
}

/// Answers whose approvals would count, had they not expired.
pub(super) fn expired_by(facts: &Facts) -> Vec<&str> {
    let Some(policy) = &facts.approval else { return Vec::new() };
    let electorate = facts.electorate(policy);
    let expired = facts.approvals.iter().filter(|word| word.expires_at <= facts.now && electorate.fits(word));
    expired.map(|word| word.person.as_str()).collect()
}

/// A word from further in the future was given before the clock was set back: nobody knows how old it is.
const CLOCK_TOLERANCE_MS: i64 = 5 * 60 * 1_000;

/// Why a person's approval would not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The person is not among those who may approve.
    Stranger,
    /// The person asked for it, or wrote or committed what it brings.
    Own,
    /// The person has no e-mail address, by which alone people are told apart.
    Nobody,
}

/// Whose approvals of a candidate count at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Electorate<'a> {
    /// What the environment wants.
    pub policy: &'a Approval,
    /// Who belongs to which group.
    pub groups: &'a BTreeMap<String, Vec<String>>,
    /// E-mail addresses of who wrote or committed what the candidate brings.
    pub authors: &'a BTreeSet<String>,
    /// Who asked for the promotion.
    pub requested_by: &'a str,
    /// The candidate.
    pub candidate: ObjectId,
    /// The moment.
    pub now: Timestamp,
}

impl Facts {
    /// Says that the promotion has waited for approvals as long as one is valid, and whose went with that time; nothing
    /// while it has not.
    fn time_is_up(&self) -> Option<String> {
        let (policy, proposed) = self.approval.as_ref().zip(self.proposed_at)?;
        if proposed.as_millisecond().saturating_add(policy.expires.as_ms()) > self.now.as_millisecond() {
            return None;
        }
        let approved = expired_by(self);
        Some(match approved.is_empty() {
            true => format!("nobody approved it within {}", policy.expires),
            false => format!("the approval by {} expired after {}", approved.join(", "), policy.expires),
        })
    }

    pub(super) fn electorate<'a>(&'a self, policy: &'a Approval) -> Electorate<'a> {
        let Self { groups, authors, requested_by, candidate, now, .. } = self;
        Electorate { policy, groups, authors, requested_by, candidate: *candidate, now: *now }
    }
}

impl Electorate<'_> {
    /// Answers the approvals that count: one word for each person, however many names the person goes by.
    #[must_use]
    pub fn valid<'w>(&self, words: &'w [ApprovalRecord]) -> Vec<&'w ApprovalRecord> {
        let mut valid: Vec<&ApprovalRecord> = Vec::new();
        for word in words.iter().filter(|word| self.counts(word)) {
            if !valid.iter().any(|earlier| same_person(&earlier.person, &word.person)) {
                valid.push(word);
            }
        }
        valid
    }

    /// Answers the groups that have not approved enough, with how many approvals are missing.
    #[must_use]
    pub fn missing(&self, valid: &[&ApprovalRecord]) -> Vec<(&str, u64)> {
        let missing = self.policy.each.iter().filter_map(|(group, needed)| {
            let given = valid.iter().filter(|word| self.is_member(&word.person, group)).count() as u64;
            let left = u64::from(*needed).saturating_sub(given);
            (left > 0).then_some((group.as_str(), left))
        });
        missing.collect()
    }

    /// An approval counts for this very candidate, until it expires, and from those who may give it.
    #[must_use]
    pub fn counts(&self, word: &ApprovalRecord) -> bool {
        word.expires_at > self.now && self.fits(word)
    }

    fn fits(&self, word: &ApprovalRecord) -> bool {
        word.consent
            && word.candidate == self.candidate
            && word.at.as_millisecond() <= self.now.as_millisecond() + CLOCK_TOLERANCE_MS
            && self.refusal(&word.person).is_none()
    }

    /// Answers why `person` may not approve; nothing where the person may.
    #[must_use]
    pub fn refusal(&self, person: &str) -> Option<Refusal> {
        let matters = !self.policy.own || !self.policy.from.is_empty() || !self.policy.each.is_empty();
        if matters && email(person).is_none() {
            return Some(Refusal::Nobody);
        }
        if !self.is_named(person) {
            return Some(Refusal::Stranger);
        }
        let wrote = || self.authors.iter().any(|author| same_person(person, author));
        (!self.policy.own && (self.may_have_asked(person) || wrote())).then_some(Refusal::Own)
    }

    /// Answers whether `person` may refuse the candidate: who may approve here, and who asked for it.
    #[must_use]
    pub fn may_refuse(&self, person: &str) -> bool {
        self.is_named(person) || self.may_have_asked(person)
    }

    /// Answers whether `person` is among those who may approve, be it that anybody may.
    fn is_named(&self, person: &str) -> bool {
        let may = |from: &String| same_person(person, from) || self.is_member(person, from);
        self.policy.from.is_empty() || self.policy.from.iter().any(may)
    }

    /// Of somebody who asked without an address, only the name is known.
    fn may_have_asked(&self, person: &str) -> bool {
        let is_namesake = || name(person).eq_ignore_ascii_case(name(self.requested_by));
        same_person(person, self.requested_by) || (email(self.requested_by).is_none() && is_namesake())
    }

    fn is_member(&self, person: &str, group: &str) -> bool {
        self.groups.get(group).is_some_and(|members| members.iter().any(|member| same_person(person, member)))
    }
}

/// People are told apart by their e-mail addresses, where they have one; names alone may be shared.
pub(super) fn same_person(one: &str, other: &str) -> bool {
    address(one).eq_ignore_ascii_case(address(other))
}

/// Answers the e-mail address in `name <address>`, else all of it.
fn address(person: &str) -> &str {
    email(person).unwrap_or(person)
}

/// Answers the e-mail address of `name <address>`, or of somebody who is written as an address alone.
fn email(person: &str) -> Option<&str> {
    let inner = person.rsplit_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    let found = inner.unwrap_or(if person.contains('@') { person } else { "" }).trim();
    (!found.is_empty()).then_some(found)
}

fn name(person: &str) -> &str {
    person.rsplit_once('<').map_or(person, |(name, _)| name).trim()
}

#[cfg(test)]
mod tests;
