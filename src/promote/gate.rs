//! Whether a candidate may land: every gate with its fact, since when, and what clears it. Pure.

use serde::Serialize;

use crate::base::Timestamp;
use crate::base::clock::from_ms;
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::{Span, count};
use crate::config::Approval;
use crate::store::{ApprovalRecord, Hold, HoldCause, Quarantined};

/// Everything the gates look at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The moment of the question.
    pub now: Timestamp,
    /// The environment's name.
    pub environment: String,
    /// The promotion's name.
    pub promotion: PromotionId,
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
    /// The approvals that the environment wants.
    pub approval: Option<Approval>,
    /// What people said.
    pub approvals: Vec<ApprovalRecord>,
    /// How long the source must have been live upstream.
    pub soak: Span,
    /// Since when it has been live upstream; nothing: it is not.
    pub live_upstream_since: Option<Timestamp>,
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
    /// Who or what opens it.
    pub clears: Option<String>,
}

/// The gates, in the order they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The environment is not held.
    Hold,
    /// The commit did not fail here before.
    Quarantine,
    /// The candidate has been live upstream long enough.
    Soak,
    /// Enough people consent.
    Approval,
}

impl Gate {
    /// Answers the gate's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Quarantine => "quarantine",
            Self::Soak => "soak",
            Self::Approval => "approval",
        }
    }

    /// Answers whether the gate is asked before checks run: there is no use in checking what cannot land.
    #[must_use]
    pub fn is_admission(self) -> bool {
        self != Self::Approval
    }
}

/// Asks every gate.
#[must_use]
pub fn ask(facts: &Facts) -> Vec<Finding> {
    let soak = match facts.is_hotfix {
        true => no_soak(facts.soak),
        false => soak(facts.soak, facts.live_upstream_since, facts.now),
    };
    [hold(facts), quarantine(facts), soak, approval(facts)].into_iter().flatten().collect()
}

/// Answers the person who rejected this very candidate, with the reason.
#[must_use]
pub fn rejection(facts: &Facts) -> Option<&ApprovalRecord> {
    facts.approvals.iter().find(|word| !word.consent && word.candidate == facts.candidate)
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
    let clears = match hold.cause {
        HoldCause::Rollback => format!("promote a fix, or `cascade resume {}`", facts.environment),
        HoldCause::Person => format!("`cascade resume {}`", facts.environment),
    };
    Some(Finding { gate: Gate::Hold, open: lifted, fact, since: Some(hold.at), clears: (!lifted).then_some(clears) })
}

fn quarantine(facts: &Facts) -> Option<Finding> {
    let entry = facts.quarantined.iter().find(|entry| entry.source == facts.source || entry.tree == facts.tree)?;
    Some(Finding {
        gate: Gate::Quarantine,
        open: false,
        fact: format!("commit {} failed here in promotion {}", entry.source.short(), entry.promotion),
        since: Some(entry.at),
        clears: Some(format!("save a fix and promote it, or `cascade resume {}`", facts.environment)),
    })
}

/// Asks whether what is live upstream since `since` (nothing: it is not) has been so for the `required` time; nothing
/// where none is required.
pub(super) fn soak(required: Span, since: Option<Timestamp>, now: Timestamp) -> Option<Finding> {
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
    let clears = (!open).then(|| "time: promote again then".to_owned());
    Some(Finding { gate: Gate::Soak, open, fact, since, clears })
}

/// Answers for a hotfix, which does not come from upstream, that it need not soak there; nothing where nothing must.
#[must_use]
pub fn no_soak(required: Span) -> Option<Finding> {
    let fact = format!("does not apply: a hotfix does not come from upstream (others soak there for {required})");
    (required.as_ms() > 0).then_some(Finding { gate: Gate::Soak, open: true, fact, since: None, clears: None })
}

fn approval(facts: &Facts) -> Option<Finding> {
    let policy = facts.approval.as_ref()?;
    let valid: Vec<&ApprovalRecord> = facts.approvals.iter().filter(|word| counts(word, policy, facts)).collect();
    let given = u32::try_from(valid.len()).unwrap_or(u32::MAX);
    let open = given >= policy.required;
    let names: Vec<&str> = valid.iter().map(|word| word.person.as_str()).collect();
    let fact = match (open, names.is_empty()) {
        (true, _) => format!("approved by {}", names.join(", ")),
        (false, true) => {
            format!("needs {} of candidate {}", count(policy.required as usize, "approval"), facts.candidate.short())
        }
        (false, false) => format!("{given} of {} approvals: {}", policy.required, names.join(", ")),
    };
    let clears = (!open).then(|| format!("`cascade approve {}`", facts.promotion));
    Some(Finding { gate: Gate::Approval, open, fact, since: valid.last().map(|word| word.at), clears })
}

/// An approval counts for this very candidate, until it expires, and not for one's own wish where that is not allowed.
fn counts(word: &ApprovalRecord, policy: &Approval, facts: &Facts) -> bool {
    word.consent
        && word.candidate == facts.candidate
        && word.expires_at > facts.now
        && (policy.own || word.person != facts.requested_by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes([byte; 20])
    }

    fn facts() -> Facts {
        Facts {
            now: from_ms(1_000_000),
            environment: "production".to_owned(),
            promotion: PromotionId::from_stored("k3f9x2ab"),
            requested_by: "ann".to_owned(),
            source: id(1),
            is_hotfix: false,
            candidate: id(2),
            tree: id(3),
            hold: None,
            is_fix: false,
            quarantined: Vec::new(),
            approval: Some(Approval::default()),
            approvals: Vec::new(),
            soak: Span::default(),
            live_upstream_since: None,
        }
    }

    fn word(person: &str, candidate: ObjectId, consent: bool, expires_ms: i64) -> ApprovalRecord {
        ApprovalRecord {
            person: person.to_owned(),
            candidate,
            consent,
            reason: None,
            at: from_ms(900_000),
            expires_at: from_ms(expires_ms),
        }
    }

    fn is_open(facts: &Facts) -> bool {
        closed_summary(&ask(facts)).is_none()
    }

    #[test]
    fn approval_counts_only_for_the_candidate_it_was_given_to() {
        let mut facts = facts();
        facts.approvals = vec![word("bob", id(9), true, 2_000_000)];
        assert!(!is_open(&facts));
        facts.approvals = vec![word("bob", id(2), true, 2_000_000)];
        assert!(is_open(&facts));
    }

    #[test]
    fn expired_approval_does_not_count() {
        let mut facts = facts();
        facts.approvals = vec![word("bob", id(2), true, 1_000_000)];
        assert!(!is_open(&facts));
    }

    #[test]
    fn own_approval_counts_only_where_allowed() {
        let mut facts = facts();
        facts.approvals = vec![word("ann", id(2), true, 2_000_000)];
        assert!(is_open(&facts));
        facts.approval = Some(Approval { own: false, ..Approval::default() });
        assert!(!is_open(&facts));
    }

    #[test]
    fn hold_after_a_rollback_opens_for_a_fix_and_a_persons_hold_does_not() {
        let mut facts = facts();
        facts.approval = None;
        let hold = |cause| Hold {
            cause,
            reason: "site down".to_owned(),
            person: "bob".to_owned(),
            promotion: None,
            at: from_ms(1),
        };
        facts.is_fix = true;
        facts.hold = Some(hold(HoldCause::Rollback));
        assert!(is_open(&facts));
        facts.hold = Some(hold(HoldCause::Person));
        assert!(!is_open(&facts));
        facts.hold = Some(hold(HoldCause::Rollback));
        facts.is_fix = false;
        assert!(!is_open(&facts));
    }

    #[test]
    fn quarantined_content_is_refused_under_any_commit() {
        let mut facts = facts();
        facts.approval = None;
        let entry =
            |source, tree| Quarantined { source, tree, promotion: PromotionId::from_stored("dead"), at: from_ms(1) };
        facts.quarantined = vec![entry(id(8), id(3))];
        assert!(!is_open(&facts), "same tree");
        facts.quarantined = vec![entry(id(1), id(8))];
        assert!(!is_open(&facts), "same commit");
        facts.quarantined = vec![entry(id(8), id(9))];
        assert!(is_open(&facts));
    }

    #[test]
    fn soak_opens_when_its_time_has_passed_and_says_how_long_is_left() {
        let mut facts = facts();
        facts.approval = None;
        facts.soak = Span::seconds(600);
        assert_eq!(closed_summary(&ask(&facts)).as_deref(), Some("not live and verified upstream"));
        facts.live_upstream_since = Some(from_ms(900_000));
        assert_eq!(closed_summary(&ask(&facts)).as_deref(), Some("must soak upstream for another 8m20s"));
        facts.live_upstream_since = Some(from_ms(400_000));
        assert!(is_open(&facts));
    }

    #[test]
    fn a_hotfix_need_not_soak_but_needs_its_approval() {
        let mut facts = facts();
        (facts.soak, facts.is_hotfix) = (Span::seconds(600), true);
        let findings = ask(&facts);
        assert!(findings[0].open && findings[0].fact.starts_with("does not apply"), "{findings:?}");
        assert!(!is_open(&facts), "nobody approved it");
        facts.approvals = vec![word("bob", id(2), true, 2_000_000)];
        assert!(is_open(&facts));
    }

    proptest! {
        #[test]
        fn approvals_open_the_gate_exactly_when_enough_valid_ones_exist(
            required in 1_u32..4,
            words in proptest::collection::vec((0_u8..6, any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
        ) {
            let mut facts = facts();
            facts.approval = Some(Approval { required, own: false, ..Approval::default() });
            facts.requested_by = "person0".to_owned();
            facts.approvals = words.iter().enumerate().map(|(index, (person, ours, consent, fresh))| {
                let candidate = if *ours { id(2) } else { id(7) };
                let expires_ms = if *fresh { 1_000_001 } else { 1_000_000 };
                // One word per person: the store keeps the latest.
                let name = if *person == 0 { "person0".to_owned() } else { format!("p{index}") };
                word(&name, candidate, *consent, expires_ms)
            }).collect();
            let valid = words.iter().filter(|(person, ours, consent, fresh)| *person != 0 && *ours && *consent && *fresh);
            prop_assert_eq!(is_open(&facts), valid.count() >= required as usize);
        }
    }
}
