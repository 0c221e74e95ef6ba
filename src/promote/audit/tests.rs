use proptest::prelude::*;

use super::*;
use crate::base::clock::from_ms;
use crate::config::{Approval, parse_written};
use crate::git::CommitSummary;
use crate::promote::attestation::tests::{object, promotion, statement};
use crate::promote::attestation::{Moment, Rollback};
use crate::store::Waiver;

/// What is wrong with a release, kind by kind; nothing in the default.
#[derive(Debug, Clone, Copy, Default)]
struct Tampered {
    no_entry: bool,
    tree: bool,
    parents: bool,
    check_failed: bool,
    check_missing: bool,
    waived: bool,
    frozen: bool,
    soaked: Option<Soaked>,
    approval: Option<Spoiled>,
    policy: bool,
    source: Option<Past>,
    no_rules: bool,
    signature: Option<SignatureStatus>,
    requires_signature: bool,
    must_sign: bool,
    verdict: Option<State>,
    live: bool,
}

/// How long what lands was live upstream, where the rules want ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Soaked {
    Never,
    TooShort,
    Enough,
    AsHotfix,
    Before,
}

/// How what lands came past the branch that feeds the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    Said,
    Found,
}

/// Why an approval does not count.
#[derive(Debug, Clone, Copy)]
enum Spoiled {
    Candidate,
    Expired,
    Own,
    Refusal,
    Missing,
}

fn commit() -> LinedCommit {
    let summary =
        CommitSummary { id: object(3), subject: "Promote".to_owned(), author: "Ann".to_owned(), at: from_ms(0) };
    LinedCommit { summary, tree: object(4), parents: vec![object(2), object(1)], promotion: None }
}

fn environment() -> Environment {
    let text = "version: 1\nproject: shop\nenvironments:\n  production: { from: develop, branch: main, checks: [build] }\n\
                checks:\n  build: { run: make }\n";
    let mut environment = parse_written(text, "test").unwrap().environments["production"].clone();
    environment.approval = Some(Approval { own: false, ..Approval::default() });
    environment.waive = vec![Waivable::Checks, Waivable::Freeze, Waivable::Soak];
    environment
}

fn spoil(statement: &mut Statement, how: Spoiled) {
    let record = &mut statement.predicate.promotion;
    let word = &mut record.approvals[0];
    match how {
        Spoiled::Candidate => word.candidate = object(9),
        Spoiled::Expired => word.expires = statement.predicate.time_verified,
        Spoiled::Own => word.person = record.requested_by.clone(),
        Spoiled::Refusal => word.consent = false,
        Spoiled::Missing => record.approvals.clear(),
    }
}

fn soak(statement: &mut Statement, how: Soaked) {
    let landed_ms = statement.predicate.time_verified.as_millisecond();
    let record = &mut statement.predicate.promotion;
    match how {
        Soaked::Never => {}
        Soaked::TooShort => record.live_upstream_since = Some(from_ms(landed_ms - 599_999)),
        Soaked::Enough => record.live_upstream_since = Some(from_ms(landed_ms - 600_000)),
        Soaked::AsHotfix => record.hotfix = Some("fix".to_owned()),
        Soaked::Before => record.undoes = Some(record.id.clone()),
    }
}

/// Judges a release that is sound but for what is said.
fn found(tampered: &Tampered) -> BTreeSet<&'static str> {
    let mut commit = commit();
    let mut landing = statement(Moment::Landing, &promotion(State::Landing));
    if tampered.tree {
        commit.tree = object(9);
    }
    if tampered.parents {
        commit.parents = vec![object(9), object(1)];
    }
    let record = &mut landing.predicate.promotion;
    if tampered.check_failed {
        record.checks[0].outcome = "unknown".to_owned();
    }
    if tampered.check_missing {
        record.checks.clear();
    }
    if tampered.waived {
        // Approvals may not be waived here.
        record.waivers.extend(["checks", "freeze", "soak", "approval"].map(|gate| Waiver {
            gate: gate.to_owned(),
            person: "Bob".to_owned(),
            reason: "flaky".to_owned(),
            at: from_ms(0),
        }));
    }
    if tampered.source == Some(Past::Said) {
        landing.predicate.promotion.from = Some("develop".to_owned());
    }
    if let Some(how) = tampered.approval {
        spoil(&mut landing, how);
    }
    let mut environment = environment();
    if tampered.frozen {
        environment.freeze = vec!["00:00 - 00:00".parse().unwrap()];
    }
    if let Some(soaked) = tampered.soaked {
        environment.soak = Span::seconds(600);
        soak(&mut landing, soaked);
    }
    let (groups, authors) = (BTreeMap::new(), BTreeSet::new());
    let digest = Digest::of(if tampered.policy { b"others" } else { b"rules" });
    let status = tampered.signature.unwrap_or(SignatureStatus::Good);
    let signature = Signature { status, signer: None };
    let evidence = Evidence {
        commit: &commit,
        is_live: tampered.live,
        landing: (!tampered.no_entry).then_some(Attested { statement: &landing, signature: &signature }),
        returning: None,
        follows: true,
        was_upstream: tampered.source != Some(Past::Found),
        returned_tree: None,
        verdict: tampered.verdict,
        rules: (!tampered.no_rules).then_some(Rules {
            digest,
            environment: &environment,
            from: Some("staging"),
            groups: &groups,
            authors: &authors,
            must_sign: tampered.must_sign,
        }),
        requires_signature: tampered.requires_signature,
    };
    judge(&evidence).iter().map(Problem::code).collect()
}

/// The decision table.
fn expected(tampered: &Tampered) -> BTreeSet<&'static str> {
    if tampered.no_entry {
        return BTreeSet::from(["not_promoted"]);
    }
    let was_undone = matches!(tampered.verdict, Some(State::RolledBack | State::RollbackFailed));
    let was_stopped = !was_undone && !matches!(tampered.verdict, None | Some(State::Promoted));
    let status = tampered.signature.unwrap_or(SignatureStatus::Good);
    let ruled = !tampered.no_rules;
    let may_come_past = matches!(tampered.soaked, Some(Soaked::AsHotfix | Soaked::Before));
    let table = [
        (tampered.tree || tampered.parents, "different"),
        (ruled && (tampered.check_failed || tampered.check_missing) && !tampered.waived, "check"),
        (ruled && tampered.approval.is_some(), "approvals"),
        (ruled && tampered.frozen && !tampered.waived, "frozen"),
        (ruled && matches!(tampered.soaked, Some(Soaked::Never | Soaked::TooShort)) && !tampered.waived, "not_soaked"),
        (ruled && tampered.policy, "other_rules"),
        (ruled && tampered.source.is_some() && !may_come_past, "other_source"),
        (!ruled, "no_rules"),
        (status == SignatureStatus::Bad, "bad_signature"),
        (tampered.requires_signature && !matches!(status, SignatureStatus::Bad | SignatureStatus::Good), "not_trusted"),
        (ruled && tampered.must_sign && status == SignatureStatus::None, "not_trusted"),
        (was_stopped, "not_admitted"),
        (was_undone && tampered.live, "live_again"),
    ];
    table.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, code)| code).collect()
}

fn tampered() -> impl Strategy<Value = Tampered> {
    let spoiled = prop_oneof![
        Just(Spoiled::Candidate),
        Just(Spoiled::Expired),
        Just(Spoiled::Own),
        Just(Spoiled::Refusal),
        Just(Spoiled::Missing)
    ];
    let status = prop_oneof![
        Just(SignatureStatus::None),
        Just(SignatureStatus::Good),
        Just(SignatureStatus::Unknown),
        Just(SignatureStatus::Bad),
        Just(SignatureStatus::Unchecked)
    ];
    let verdict = proptest::sample::select(State::ALL.iter().copied().filter(|it| it.is_final()).collect::<Vec<_>>());
    let soaked = proptest::sample::select(vec![
        Soaked::Never,
        Soaked::TooShort,
        Soaked::Enough,
        Soaked::AsHotfix,
        Soaked::Before,
    ]);
    let rarely = || proptest::bool::weighted(0.15);
    let flags = proptest::collection::vec(rarely(), 14);
    let past = prop_oneof![Just(Past::Said), Just(Past::Found)];
    let whether = proptest::option::weighted(0.3, soaked);
    (flags, proptest::option::of(spoiled), proptest::option::of(status), proptest::option::of(verdict), whether, past)
        .prop_map(|(flags, approval, signature, verdict, soaked, past)| Tampered {
            no_entry: flags[0],
            tree: flags[1],
            parents: flags[2],
            check_failed: flags[3],
            check_missing: flags[4],
            waived: flags[5],
            frozen: flags[11],
            soaked,
            approval: approval.filter(|_| flags[6]),
            policy: flags[7],
            source: flags[12].then_some(past),
            no_rules: flags[8],
            signature,
            requires_signature: flags[9],
            must_sign: flags[13],
            verdict,
            live: flags[10],
        })
}

proptest! {
    #[test]
    fn every_breach_of_the_rules_is_found_and_nothing_else(tampered in tampered()) {
        prop_assert_eq!(found(&tampered), expected(&tampered));
    }
}

#[test]
fn a_release_that_was_promoted_by_the_rules_has_no_problem() {
    assert!(found(&Tampered::default()).is_empty());
    assert!(found(&Tampered { verdict: Some(State::RolledBack), ..Tampered::default() }).is_empty());
}

#[test]
fn a_branch_is_moved_to_its_source_only_by_linear_rules_and_only_forward() {
    let (mut commit, mut statement) = (commit(), statement(Moment::Landing, &promotion(State::Landing)));
    let record = &mut statement.predicate.promotion;
    (commit.summary.id, record.candidate) = (record.source, Some(record.source));
    let judged = |history: HistoryMode, follows: bool| {
        let environment = Environment { history, ..environment() };
        let rules = Rules {
            digest: Digest::of(b"rules"),
            environment: &environment,
            from: None,
            groups: &BTreeMap::new(),
            authors: &BTreeSet::new(),
            must_sign: false,
        };
        let evidence = Evidence {
            commit: &commit,
            is_live: true,
            landing: Some(Attested { statement: &statement, signature: &Signature::NONE }),
            follows,
            was_upstream: true,
            returning: None,
            returned_tree: None,
            verdict: None,
            rules: Some(rules),
            requires_signature: false,
        };
        judge(&evidence).iter().any(|problem| problem.code() == "different")
    };
    assert!(!judged(HistoryMode::Linear, true));
    assert!(judged(HistoryMode::Linear, false));
    assert!(judged(HistoryMode::Merge, true));
}

#[test]
fn the_same_person_does_not_count_twice() {
    let mut landing = statement(Moment::Landing, &promotion(State::Landing));
    let again = landing.record().approvals[0].clone();
    landing.predicate.promotion.approvals.push(again);
    landing.predicate.promotion.approvals[1].person = "Another Bob <bob@example.test>".to_owned();
    let mut environment = environment();
    environment.approval = Some(Approval { required: 2, ..Approval::default() });
    assert_eq!(breaches(&landing, &environment, &[]), [Problem::Approvals { given: 1, required: 2 }]);
}

fn breaches(landing: &Statement, environment: &Environment, authors: &[&str]) -> Vec<Problem> {
    let groups = BTreeMap::from([("leads".to_owned(), vec!["ann@example.test".to_owned()])]);
    let authors = authors.iter().map(|author| (*author).to_owned()).collect();
    let digest = Digest::of(b"rules");
    let rules = Rules { digest, environment, from: None, groups: &groups, authors: &authors, must_sign: false };
    problems_of_approvals(landing, &rules)
}

#[test]
fn approvals_come_from_those_whom_the_rules_want() {
    let landing = statement(Moment::Landing, &promotion(State::Landing));
    let mut environment = environment();
    assert_eq!(breaches(&landing, &environment, &[]), []);
    let nobody = Problem::Approvals { given: 0, required: 1 };
    assert_eq!(breaches(&landing, &environment, &["bob@example.test"]), std::slice::from_ref(&nobody), "bob wrote it");
    let each = BTreeMap::from([("leads".to_owned(), 1)]);
    environment.approval = Some(Approval { each, ..Approval::default() });
    assert_eq!(breaches(&landing, &environment, &[]), [Problem::GroupSilent("leads".to_owned())]);
    environment.approval = Some(Approval { from: vec!["leads".to_owned()], ..Approval::default() });
    assert_eq!(breaches(&landing, &environment, &[]), [nobody]);
}

#[test]
fn what_comes_back_must_be_the_content_that_was_verified() {
    let mut undone = promotion(State::RollingBack);
    (undone.rollback_from, undone.rollback_to, undone.rollback_commit) =
        (Some(object(3)), Some(object(2)), Some(object(5)));
    let returning = statement(Moment::Returning, &undone);
    assert_eq!(
        returning.record().rollback,
        Some(Rollback { from: Some(object(3)), to: Some(object(2)), commit: Some(object(5)) })
    );
    let mut restored = commit();
    restored.summary.id = object(5);
    (restored.tree, restored.parents) = (object(8), vec![object(3)]);
    let judged = |tree: u8, parent: u8| {
        let commit = LinedCommit { tree: object(tree), parents: vec![object(parent)], ..restored.clone() };
        judge(&Evidence {
            commit: &commit,
            is_live: true,
            landing: None,
            returning: Some(Attested { statement: &returning, signature: &Signature::NONE }),
            follows: true,
            was_upstream: true,
            returned_tree: Some(object(8)),
            verdict: Some(State::RolledBack),
            rules: None,
            requires_signature: false,
        })
    };
    assert_eq!(judged(8, 3), []);
    assert_eq!(judged(9, 3)[0].code(), "different");
    assert_eq!(judged(8, 9)[0].code(), "different");
}

#[test]
fn a_commit_that_claims_a_promotion_is_told_with_its_claim() {
    let mut claiming = commit();
    claiming.promotion = Some("zzzzzzzz".to_owned());
    let nothing = Evidence {
        commit: &claiming,
        is_live: true,
        landing: None,
        returning: None,
        follows: true,
        was_upstream: true,
        returned_tree: None,
        verdict: None,
        rules: None,
        requires_signature: false,
    };
    let problems = judge(&nothing);
    insta::assert_snapshot!(
        serde_json::to_string(&problems).unwrap(),
        @r#"[{"code":"not_promoted","detail":"it says that promotion zzzzzzzz made it, but the ledger has no entry for it"}]"#
    );
}

#[test]
fn a_window_without_a_zone_is_meant_where_it_landed() {
    // It landed at 00:17 UTC.
    let mut landing = statement(Moment::Landing, &promotion(State::Landing));
    let mut frozen = |window: &str, hours: i32| {
        landing.predicate.promotion.utc_offset_seconds = Some(hours * 3_600);
        let environment = Environment { freeze: vec![window.parse().unwrap()], ..environment() };
        problem_of_freeze(&landing, &environment).is_some()
    };
    assert!(frozen("02:00 - 03:00", 2) && !frozen("02:00 - 03:00", 0));
    assert!(frozen("00:00 - 01:00 UTC", 2) && !frozen("02:00 - 03:00 UTC", 2));
}
