//! A sync into a vault that is killed, or refused by the system, at system calls that change something.
//!
//! strace injects the fault into the built binary. Whatever happens: all that the vault refers to is there and opens, and the
//! next run brings everything to its end.

use crate::fault_sync::{at_calls, sync_with_fault};
use crate::flow_vault::{Site, noise};

/// A site whose next run creates, updates and deletes in a vault.
fn changed() -> Site {
    let site = Site::with("directory: ../safe", "key_file: ../vault.key");
    site.run(&["vault", "init", "up"]).expect_code(0);
    for name in ["updated", "deep/updated", "deleted"] {
        site.put(name, "before");
    }
    site.sync("up");
    site.put("updated", "after");
    site.put("deep/updated", "after");
    site.put("new/created", noise(5, 100_000));
    std::fs::remove_file(site.path("files/deleted")).unwrap();
    site
}

#[track_caller]
fn check(site: &Site, what: &str) {
    let checked = site.run(&["vault", "check", "up", "--read-data", "--json"]).expect_code(0).json();
    assert!(matches!(checked["items"].as_u64(), Some(3)), "{what}: {checked}");
    site.sync("up");
    site.sync("down");
    assert_eq!(site.files("out"), site.files("files"), "{what}");
    site.run(&["vault", "prune", "up"]).expect_code(0);
    let checked = site.run(&["vault", "check", "up", "--read-data", "--json"]).expect_code(0).json();
    assert_eq!(checked["leftovers"], 0, "{what}: {checked}");
    let odd = |name: &String| name.contains(".cascade-");
    assert!(!site.files("safe").keys().any(odd), "{what}: nothing is left behind: {:?}", site.files("safe").keys());
}

fn fault_here_and_there(fault: &str, first: usize) {
    at_calls(first, 8, |moment| {
        let site = changed();
        let command = |program: &str, arguments: &[&str]| site.sandbox.command(program, arguments);
        let has_come = sync_with_fault((command, site.path("trace")), "up", (fault, moment));
        if has_come {
            check(&site, &format!("{fault} at call {moment}"));
        }
        has_come
    });
}

#[test]
fn a_sync_into_a_vault_killed_at_a_call_is_finished_by_the_next() {
    fault_here_and_there("signal=KILL", 1);
}

#[test]
fn a_sync_into_a_vault_that_runs_out_of_space_at_a_call_is_finished_by_the_next() {
    fault_here_and_there("error=ENOSPC", 2);
}
