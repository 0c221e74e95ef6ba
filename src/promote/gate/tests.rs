use super::*;
use proptest::prelude::*;

fn id(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 20])
}

pub(super) fn facts() -> Facts {
    Facts {
        now: from_ms(1_000_000),
        environment: "production".to_owned(),
        promotion: Some(PromotionId::from_stored("k3f9x2ab")),
        requested_by: "ann".to_owned(),
        source: id(1),
        is_hotfix: false,
        candidate: id(2),
        tree: id(3),
        hold: None,
        is_fix: false,
        quarantined: Vec::new(),
        undone_upstream: None,
        proposed_at: None,
        approval: Some(Approval::default()),
        approvals: Vec::new(),
        soak: Span::default(),
        live_upstream_since: None,
        zone: TimeZone::UTC,
        groups: BTreeMap::new(),
        authors: BTreeSet::new(),
        freeze: Vec::new(),
        checks: Vec::new(),
        deliveries: Vec::new(),
        waivable: Vec::new(),
        waivers: Vec::new(),
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
    facts.approvals = vec![word("bob", id(2), true, 1_000_000), word("cy", id(9), true, 1_000_000)];
    assert!(!is_open(&facts));
    let told = |facts: &Facts| approval(facts).unwrap().fact;
    assert_eq!(told(&facts), "needs 1 approval of candidate 0202020202 (expired: bob)");
    facts.approval = Some(Approval { required: 2, ..Approval::default() });
    facts.approvals.push(word("dan", id(2), true, 2_000_000));
    assert_eq!(told(&facts), "1 of 2 approvals: dan (expired: bob)");
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
fn without_an_address_nobody_counts_where_people_must_be_told_apart() {
    let mut facts = facts();
    let apart = Approval { own: false, ..Approval::default() };
    for nameless in ["bob", "bob ", "bob <>"] {
        facts.approvals = vec![word(nameless, id(2), true, 2_000_000)];
        facts.approval = Some(Approval::default());
        assert!(is_open(&facts), "whoever asked may approve as well");
        facts.approval = Some(apart.clone());
        assert!(!is_open(&facts), "{nameless}");
    }
    facts.approvals = vec![word("Ann <other@example.test>", id(2), true, 2_000_000)];
    assert!(!is_open(&facts), "of who asked only the name is known");
    facts.requested_by = "ann <ann@example.test>".to_owned();
    assert!(is_open(&facts), "a namesake with an address of its own");
}

#[test]
fn time_for_approvals_is_over_for_what_lacks_them_only() {
    let mut facts = facts();
    let approval = Approval { expires: Span::seconds(1), ..Approval::default() };
    (facts.approval, facts.proposed_at) = (Some(approval), Some(from_ms(999_001)));
    assert_eq!(expired(&facts), None);
    facts.proposed_at = Some(from_ms(999_000));
    assert_eq!(expired(&facts).as_deref(), Some("nobody approved it within 1s"));
    assert!(closed_summary(&ask(&facts)).is_some_and(|fact| fact.starts_with("nobody approved it within 1s")));
    facts.approvals = vec![word("bob", id(2), true, 2_000_000)];
    assert_eq!(expired(&facts), None);
    assert!(is_open(&facts));
}

#[test]
fn what_was_taken_back_upstream_is_closed_whoever_approved() {
    let mut facts = facts();
    facts.approvals = vec![word("bob", id(2), true, 2_000_000)];
    let promotion = PromotionId::from_stored("dead");
    facts.undone_upstream = Some(UndoneUpstream { environment: "staging".to_owned(), promotion, at: from_ms(1) });
    let told = closed_summary(&ask(&facts));
    assert_eq!(told.as_deref(), Some("0101010101 was taken back in staging (promotion dead)"));
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

fn leads_and_qa() -> BTreeMap<String, Vec<String>> {
    let people = |names: &[&str]| names.iter().map(|name| format!("{name}@example.org")).collect();
    BTreeMap::from([("leads".to_owned(), people(&["ann", "bob"])), ("qa".to_owned(), people(&["cy"]))])
}

fn consent(name: &str) -> ApprovalRecord {
    word(&format!("{name} <{name}@Example.org>"), id(2), true, 2_000_000)
}

fn closed_gate(facts: &Facts, gate: Gate) -> Option<Finding> {
    ask(facts).into_iter().find(|finding| finding.gate == gate && !finding.open)
}

#[test]
fn each_group_gives_as_many_approvals_as_it_must() {
    let mut facts = facts();
    facts.requested_by = "zoe".to_owned();
    facts.groups = leads_and_qa();
    let each = BTreeMap::from([("leads".to_owned(), 1), ("qa".to_owned(), 1)]);
    facts.approval = Some(Approval { required: 2, each, ..Approval::default() });
    let fact = |facts: &Facts| closed_gate(facts, Gate::Approval).map(|finding| finding.fact);
    assert_eq!(
        fact(&facts).as_deref(),
        Some("needs 2 approvals of candidate 0202020202; of them from leads (1), qa (1)")
    );
    facts.approvals = vec![consent("ann"), consent("bob")];
    assert_eq!(
        fact(&facts).as_deref(),
        Some("2 of 2 approvals: ann <ann@Example.org>, bob <bob@Example.org>; missing from qa (1)")
    );
    facts.approvals = vec![consent("ann"), consent("cy")];
    assert!(is_open(&facts));
}

#[test]
fn strangers_and_authors_do_not_count_where_the_rules_say_so() {
    let mut facts = facts();
    facts.groups = leads_and_qa();
    facts.requested_by = "Cy <cy@example.org>".to_owned();
    facts.authors = BTreeSet::from(["bob@example.org".to_owned()]);
    let from = vec!["leads".to_owned(), "cy@example.org".to_owned()];
    let policy = Approval { own: false, from, ..Approval::default() };
    facts.approval = Some(policy.clone());
    let refused = |name: &str| facts.electorate(&policy).refusal(&consent(name).person);
    assert_eq!(refused("ann"), None);
    assert_eq!(refused("bob"), Some(Refusal::Own), "wrote it");
    assert_eq!(refused("cy"), Some(Refusal::Own), "asked for it");
    assert_eq!(refused("eve"), Some(Refusal::Stranger));
    let disguised = facts.electorate(&policy).refusal("ann@example.org <eve@example.org>");
    assert_eq!(disguised, Some(Refusal::Stranger));
    for name in ["bob", "cy", "eve"] {
        facts.approvals = vec![consent(name)];
        assert!(!is_open(&facts), "{name}");
    }
    facts.approvals = vec![consent("ann")];
    assert!(is_open(&facts));
}

#[test]
fn approvals_from_the_future_do_not_count() {
    let mut facts = facts();
    let ahead = |ms| ApprovalRecord { at: from_ms(1_000_000 + ms), ..word("bob", id(2), true, 9_000_000) };
    facts.approvals = vec![ahead(CLOCK_TOLERANCE_MS)];
    assert!(is_open(&facts));
    facts.approvals = vec![ahead(CLOCK_TOLERANCE_MS + 1)];
    assert!(!is_open(&facts), "the clock was set back");
}

#[test]
fn frozen_times_say_when_they_end() {
    let mut facts = facts();
    facts.approval = None;
    facts.freeze = vec!["1970-01-01 - 1970-01-02".parse().unwrap(), "00:00 - 01:00".parse().unwrap()];
    let frozen = closed_gate(&facts, Gate::Freeze).unwrap();
    assert_eq!(frozen.fact, "frozen until Sat 1970-01-03 00:00 UTC (1970-01-01 - 1970-01-02)");
    assert_eq!(frozen.since, Some(from_ms(0)));
    facts.now = from_ms(3 * 86_400_000 + 2 * 3_600_000);
    assert!(is_open(&facts));
}

#[test]
fn checks_are_told_by_what_they_answered() {
    let mut facts = facts();
    facts.approval = None;
    facts.checks = vec![outcome("build", Some("pass")), outcome("lint", Some("fail"))];
    facts.checks.extend([outcome("test", None), outcome("db", Some("unknown"))]);
    let closed = closed_gate(&facts, Gate::Checks).unwrap();
    assert_eq!(closed.fact, "failed: lint; could not answer: db; not asked yet: test");
    facts.checks.truncate(1);
    assert!(is_open(&facts));
}

fn outcome(name: &str, outcome: Option<&str>) -> CheckFact {
    CheckFact { name: name.to_owned(), outcome: outcome.map(str::to_owned), failed_before: None }
}

#[test]
fn a_check_that_failed_on_this_very_content_before_is_told_with_when_and_its_log() {
    let mut facts = facts();
    let failed =
        FailedBefore { at: from_ms(880_000), detail: "exit code 1".to_owned(), log: Some("/logs/build it".to_owned()) };
    facts.checks = vec![CheckFact { failed_before: Some(failed), ..outcome("build", None) }, outcome("test", None)];
    let closed = closed_gate(&facts, Gate::Checks).unwrap();
    assert_eq!(
        closed.fact,
        "not asked yet: test; build failed on this very content 2m ago: exit code 1; its output: tail '/logs/build it'"
    );
    assert_eq!(closed.since, Some(from_ms(880_000)));
    assert!(closed.clears.unwrap().contains("save a fix"));
}

#[test]
fn what_time_alone_opens_is_due_when_the_last_of_it_opens() {
    let mut facts = facts();
    (facts.approval, facts.soak, facts.live_upstream_since) = (None, Span::seconds(600), Some(from_ms(999_000)));
    assert_eq!(due(&ask(&facts)), Some(from_ms(1_599_000)));
    facts.freeze = vec!["1970-01-01 - 1970-01-02".parse().unwrap()];
    assert_eq!(due(&ask(&facts)), Some(from_ms(2 * 86_400_000)));
    facts.approval = Some(Approval::default());
    assert_eq!(due(&ask(&facts)), None, "a person has to consent first");
    (facts.approval, facts.now) = (None, from_ms(3 * 86_400_000));
    assert_eq!(due(&ask(&facts)), None, "it can go on now");
}

#[test]
fn checks_that_a_closed_gate_kept_from_being_asked_keep_nothing_waiting() {
    let mut facts = facts();
    (facts.approval, facts.checks) = (None, vec![outcome("build", None)]);
    assert!(can_go_on(&ask(&facts)), "going on asks them");
    (facts.soak, facts.live_upstream_since) = (Span::seconds(600), Some(from_ms(999_000)));
    assert!(!can_go_on(&ask(&facts)));
    assert_eq!(due(&ask(&facts)), Some(from_ms(1_599_000)), "time alone lets it go on");
}

#[test]
fn a_waiver_opens_its_gate_only_where_the_rules_let_it() {
    let mut facts = facts();
    facts.approval = None;
    facts.soak = Span::seconds(600);
    let waiver = |gate: &str| Waiver {
        gate: gate.to_owned(),
        person: "ann".to_owned(),
        reason: "outage".to_owned(),
        at: from_ms(7_000),
    };
    facts.live_upstream_since = Some(from_ms(999_000));
    facts.waivers = vec![waiver("soak"), waiver("hold"), waiver("quarantine")];
    assert!(!is_open(&facts), "nothing may be waived");
    facts.waivable = vec![Waivable::Soak];
    let soak = ask(&facts).remove(0);
    assert!(soak.open);
    assert_eq!(soak.fact, "must soak upstream for another 9m59s; waived by ann: outage");
    assert_eq!(soak.since, Some(from_ms(7_000)), "it is open since it was waived");
    assert_eq!(soak.waived_by.as_deref(), Some("ann"));
    facts.waivers.remove(0);
    let clears = ask(&facts).remove(0).clears.unwrap();
    assert_eq!(
        clears,
        "time: `cascade promote production --wait` waits for it, or `cascade promote production --waive soak --reason …`"
    );
}

proptest! {
    #[test]
    fn no_waiver_opens_what_may_not_be_waived(
        waivable in proptest::collection::vec(0_usize..4, 0..4),
        waived in proptest::collection::vec(0_usize..6, 0..6),
    ) {
        let mut facts = facts();
        facts.soak = Span::seconds(600);
        facts.freeze = vec!["1970-01-01 - 1970-01-02".parse().unwrap()];
        facts.checks = vec![outcome("build", Some("fail"))];
        facts.hold = Some(Hold {
            cause: HoldCause::Person,
            reason: "look".to_owned(),
            person: "bob".to_owned(),
            promotion: None,
            at: from_ms(1),
        });
        let quarantined = Quarantined {
            source: id(1), tree: id(9), promotion: PromotionId::from_stored("dead"), at: from_ms(1),
        };
        facts.quarantined = vec![quarantined];
        facts.waivable = waivable.into_iter().map(|index| Waivable::ALL[index]).collect();
        let gates = ["hold", "quarantine", "soak", "freeze", "checks", "approval"];
        facts.waivers = waived.into_iter().map(|index| Waiver {
            gate: gates[index].to_owned(), person: "ann".to_owned(), reason: "why".to_owned(), at: from_ms(1),
        }).collect();
        for finding in ask(&facts) {
            let may = finding.gate.waivable().is_some_and(|gate| facts.waivable.contains(&gate));
            let is_waived = facts.waivers.iter().any(|waiver| waiver.gate == finding.gate.as_str());
            prop_assert_eq!(finding.open, may && is_waived, "{:?}", finding);
        }
    }

    #[test]
    fn approvals_open_the_gate_exactly_when_enough_valid_ones_exist(
        required in 1_u32..4,
        words in proptest::collection::vec((0_u8..6, any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
    ) {
        let mut facts = facts();
        facts.approval = Some(Approval { required, own: false, ..Approval::default() });
        facts.requested_by = "person0@example.test".to_owned();
        facts.approvals = words.iter().enumerate().map(|(index, (person, ours, consent, fresh))| {
            let candidate = if *ours { id(2) } else { id(7) };
            let expires_ms = if *fresh { 1_000_001 } else { 1_000_000 };
            // One word per person: the store keeps the latest.
            let name = if *person == 0 { "person0@example.test".to_owned() } else { format!("p{index}@example.test") };
            word(&name, candidate, *consent, expires_ms)
        }).collect();
        let valid = words.iter().filter(|(person, ours, consent, fresh)| *person != 0 && *ours && *consent && *fresh);
        prop_assert_eq!(is_open(&facts), valid.count() >= required as usize);
    }
}
