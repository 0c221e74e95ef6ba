use super::*;
use crate::base::clock::from_ms;

/// The name of an object that does not exist.
pub fn object(byte: u8) -> ObjectId {
    ObjectId::from_bytes([byte; 20])
}

/// A promotion of commit 1 that lands as commit 3 with tree 4 on top of commit 2.
pub fn promotion(state: State) -> Promotion {
    let (id, person) = (PromotionId::from_stored("k3f9x2ab"), "Ann <ann@example.test>");
    Promotion {
        state,
        previous: Some(object(2)),
        candidate: Some(object(3)),
        tree: Some(object(4)),
        remote: Some("origin".to_owned()),
        pushed: true,
        purpose: Some("launch".to_owned()),
        updated_at: from_ms(1_060_500),
        ..Promotion::proposed(id, "production", object(1), person, from_ms(1_000_000))
    }
}

/// The statement of a promotion with one check and one approval.
pub fn statement(moment: Moment, promotion: &Promotion) -> Statement {
    let check = CheckRecord {
        phase: CheckPhase::Check,
        name: "build".to_owned(),
        outcome: "pass".to_owned(),
        detail: "exit code 0".to_owned(),
        log: Some("/var/log/build".to_owned()),
        cached: false,
        took_ms: 1_250,
        at: from_ms(1_010_000),
        position: 0,
        earlier: None,
    };
    let approval = ApprovalRecord {
        person: "Bob <bob@example.test>".to_owned(),
        candidate: object(3),
        consent: true,
        reason: None,
        at: from_ms(1_050_000),
        expires_at: from_ms(87_450_000),
    };
    let known = Known {
        project: "shop",
        branch: "main",
        policy: Some(Digest::of(b"rules")),
        promotion,
        checks: &[(check, Some(Digest::of(b"make build")))],
        deliveries: &[],
        approvals: &[approval],
        waivers: &[],
        from: Some("staging"),
        live_upstream_since: None,
        utc_offset_seconds: None,
    };
    Statement::new(moment, &known)
}

/// The statement of a landing as JSON, and apart from it the extension of cascade's own.
fn landing() -> (String, String) {
    let text = statement(Moment::Landing, &promotion(State::Landing)).to_text();
    let mut whole: serde_json::Value =
        serde_json::from_str(&text.replace(env!("CARGO_PKG_VERSION"), "[version]")).unwrap();
    let predicate = whole["predicate"].as_object_mut().unwrap();
    let extension = predicate.remove("https://github.com/cascade-sync/cascade/promotion/v1").unwrap();
    (serde_json::to_string_pretty(&whole).unwrap(), serde_json::to_string_pretty(&extension).unwrap())
}

#[test]
fn a_statement_is_in_toto_with_a_verification_summary() {
    insta::assert_snapshot!(landing().0, @r#"
        {
          "_type": "https://in-toto.io/Statement/v1",
          "subject": [
            {
              "name": "refs/heads/main",
              "digest": {
                "gitCommit": "0303030303030303030303030303030303030303"
              }
            },
            {
              "name": "refs/heads/main^{tree}",
              "digest": {
                "gitTree": "0404040404040404040404040404040404040404"
              }
            }
          ],
          "predicateType": "https://slsa.dev/verification_summary/v1",
          "predicate": {
            "verifier": {
              "id": "https://github.com/cascade-sync/cascade",
              "version": {
                "cascade": "[version]"
              }
            },
            "timeVerified": "1970-01-01T00:17:40.5Z",
            "resourceUri": "cascade:shop/production",
            "policy": {
              "uri": "cascade:shop/production/policy",
              "digest": {
                "sha256": "6c621d1a05138a7888d37d9269a9da8e2e11e4aced2f6cfd24b05ab1b9e61bb0"
              }
            },
            "verificationResult": "PASSED",
            "verifiedLevels": [
              "CASCADE_ADMITTED"
            ]
          }
        }

    "#);
}

#[test]
fn the_extension_has_all_that_was_looked_at() {
    insta::assert_snapshot!(landing().1, @r#"
        {
          "id": "k3f9x2ab",
          "moment": "landing",
          "state": "landing",
          "project": "shop",
          "environment": "production",
          "branch": "main",
          "source": "0101010101010101010101010101010101010101",
          "from": "staging",
          "previous": "0202020202020202020202020202020202020202",
          "candidate": "0303030303030303030303030303030303030303",
          "tree": "0404040404040404040404040404040404040404",
          "merge": false,
          "pushed": true,
          "requested_by": "Ann <ann@example.test>",
          "purpose": "launch",
          "reason": null,
          "checks": [
            {
              "name": "build",
              "phase": "check",
              "definition": "d1121e35fa7adab170fe1ee4b6226e4bd5059535e24dc4767f1bf2b62d957399",
              "outcome": "pass",
              "seconds": 1.25,
              "cached": false,
              "at": "1970-01-01T00:16:50Z"
            }
          ],
          "approvals": [
            {
              "person": "Bob <bob@example.test>",
              "candidate": "0303030303030303030303030303030303030303",
              "consent": true,
              "reason": null,
              "at": "1970-01-01T00:17:30Z",
              "expires": "1970-01-02T00:17:30Z"
            }
          ],
          "waivers": [],
          "rollback": null,
          "created_at": "1970-01-01T00:16:40Z",
          "finished_at": null
        }
    "#);
}

#[test]
fn a_rollback_is_stated_before_it_happens_and_when_it_has() {
    let mut undone = promotion(State::RollingBack);
    undone.rollback_from = Some(object(3));
    undone.rollback_to = Some(object(2));
    undone.rollback_commit = Some(object(5));
    undone.reason = Some("check `up` failed".to_owned());
    let mut before = statement(Moment::Returning, &undone);
    before.rest_on("k3f9x2ab landing", b"the landing");
    undone.state = State::RolledBack;
    undone.finished_at = Some(from_ms(1_060_500));
    let after = statement(Moment::Settled, &undone);
    assert_eq!(before.subject[0].digest["gitCommit"], object(5).to_string());
    assert_eq!(after.subject[0].digest["gitCommit"], object(3).to_string());
    assert_eq!(before.predicate.verification_result, "PASSED", "the content that comes back was verified");
    assert_eq!(after.predicate.verification_result, "FAILED");
    assert_eq!(before.headline(), "Promotion k3f9x2ab is taken out of production");
    assert_eq!(after.headline(), "Promotion k3f9x2ab to production: rolled back");
    assert_eq!(before.key(), format!("k3f9x2ab returning {}", object(5)));
    assert_eq!(after.key(), "k3f9x2ab settled rolled_back");
    assert_eq!(after.record().rollback.as_ref().unwrap().to, Some(object(2)));
    assert!(before.to_text().contains("\"uri\": \"cascade:shop/production#k3f9x2ab/landing\""));
}

#[test]
fn a_statement_reads_back_as_it_was_written() {
    for moment in [Moment::Landing, Moment::Settled] {
        for state in State::ALL {
            let written = statement(moment, &promotion(*state));
            let read = Statement::parse(written.to_text().as_bytes()).unwrap();
            assert_eq!(read, written);
            assert_eq!(read.to_text(), written.to_text());
            assert_eq!(read.contradiction(), None, "{moment:?} {state}");
        }
    }
}

#[test]
fn a_promotion_without_a_candidate_speaks_of_its_source() {
    let mut drifted = promotion(State::Drifted);
    (drifted.previous, drifted.candidate, drifted.tree) = (None, None, None);
    let statement = statement(Moment::Settled, &drifted);
    assert_eq!(statement.subject.len(), 1);
    assert_eq!(statement.subject[0].digest["gitCommit"], object(1).to_string());
    assert_eq!(statement.contradiction(), None);
}

#[test]
fn a_statement_that_contradicts_itself_is_found_out() {
    type Change = fn(&mut Statement);
    let changes: [(Change, &str); 4] = [
        (|it| it.predicate.resource_uri = "cascade:shop/staging".to_owned(), "another environment"),
        (|it| it.predicate.promotion.candidate = Some(object(9)), "another commit"),
        (|it| it.predicate.promotion.tree = Some(object(9)), "another commit"),
        (|it| it.predicate.verification_result = "FAILED".to_owned(), "another than its state"),
    ];
    for (change, expected) in changes {
        let mut changed = statement(Moment::Landing, &promotion(State::Landing));
        change(&mut changed);
        assert!(changed.contradiction().is_some_and(|found| found.contains(expected)), "{expected}");
    }
}

#[test]
fn what_is_no_statement_is_refused_in_words_that_can_be_shown() {
    let good = statement(Moment::Landing, &promotion(State::Landing)).to_text();
    for (old, new, expected) in [
        ("in-toto.io/Statement/v1", "in-toto.io/Statement/v9", "its type is"),
        ("verification_summary/v1", "provenance/v1", "its type is"),
        ("\"k3f9x2ab\"", "\"../\\u001b[31m\"", "not the id of a promotion"),
        ("\"landing\"", "\"flying\"", "unknown variant"),
        ("{", "", "expected"),
    ] {
        let problem = Statement::parse(good.replacen(old, new, 1).as_bytes()).unwrap_err();
        assert!(problem.contains(expected) && !problem.contains('\x1b'), "{new}: {problem}");
    }
    assert!(Statement::parse(&vec![b' '; SIZE_LIMIT_BYTES + 1]).is_err());
    let extended = good.replacen("\"subject\"", "\"https://example.test/x\": 1,\n  \"subject\"", 1);
    assert!(Statement::parse(extended.as_bytes()).is_ok(), "extensions of others are passed over");
}

#[test]
fn the_extension_is_named_by_the_address_of_the_project() {
    let named = format!("\"{VERIFIER}/promotion/v1\"");
    assert!(statement(Moment::Landing, &promotion(State::Landing)).to_text().contains(&named));
}
