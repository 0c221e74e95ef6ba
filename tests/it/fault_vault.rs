//! A sync into a vault that is killed, or refused by the system, at system calls that change something.
//!
//! strace injects the fault into the built binary. Whatever happens: all that the vault refers to is there and opens, and the
//! next run brings everything to its end.

use std::process::Command;

use crate::flow_vault::{Site, noise};
use crate::support::skip;

/// What changes something, or makes it durable.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fchmod,\
                     mkdir,mkdirat";
/// More calls than a run has.
const MOMENTS_LIMIT: usize = 600;
/// Every third call is tried, by each fault beginning at another one.
const STRIDE: usize = 3;

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

/// Runs a sync with a fault at its n-th call; answers whether the fault came.
fn run_with(site: &Site, fault: &str, moment: usize) -> bool {
    let traced = site.path("trace");
    let inject = format!("inject={CALLS}:{fault}:when={moment}");
    let mut command = site.sandbox.command("strace", &["-f", "-qq", "-e", &format!("trace={CALLS}"), "-e", &inject]);
    // The fault may hit the call by which one thread wakes another: such a run never ends, and counts as killed.
    command.arg("-o").arg(&traced).args(["timeout", "--signal=KILL", "20"]);
    command.arg(env!("CARGO_BIN_EXE_cascade")).args(["sync", "up"]);
    command.output().unwrap();
    let trace = std::fs::read_to_string(traced).unwrap();
    trace.contains("INJECTED") || trace.contains("killed by SIGKILL")
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
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let mut moments = 0;
    for moment in (first..MOMENTS_LIMIT).step_by(STRIDE) {
        let site = changed();
        if !run_with(&site, fault, moment) {
            break;
        }
        moments += 1;
        check(&site, &format!("{fault} at call {moment}"));
    }
    assert!(moments > 8, "{moments} moments");
}

#[test]
fn a_sync_into_a_vault_killed_at_a_call_is_finished_by_the_next() {
    fault_here_and_there("signal=KILL", 1);
}

#[test]
fn a_sync_into_a_vault_that_runs_out_of_space_at_a_call_is_finished_by_the_next() {
    fault_here_and_there("error=ENOSPC", 2);
}
