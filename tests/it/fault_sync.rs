//! A sync that is killed, or refused by the system, at every single system call that changes something.
//!
//! strace injects the fault into the built binary. Whatever happens: each item at the target is old or new, what was
//! replaced is kept, a hand edit stays, and the next run brings everything to its end.

use std::path::PathBuf;
use std::process::Command;

use crate::flow_sync::Site;
use crate::support::skip;

/// What changes something, or makes it durable.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,symlinkat,unlink,\
                     unlinkat,rmdir,ftruncate,fchmod,mkdir,mkdirat";
/// More calls than a run has.
const MOMENTS_LIMIT: usize = 600;
/// Every third call is tried, by each fault beginning at another one.
const STRIDE: usize = 3;

/// A site whose next run creates, updates and deletes, with a hand edit at the target.
fn changed() -> Site {
    let site = Site::new("max_delete: 100%");
    for name in ["updated", "deep/updated", "deleted", "drift"] {
        site.put(&format!("source/{name}"), "before");
    }
    site.sync(0);
    site.put("source/updated", "after");
    site.put("source/deep/updated", "after");
    site.put("source/new/created", "after");
    site.remove("source/deleted");
    site.put("target/drift", "by hand");
    site
}

/// Runs a sync with a fault at its n-th call; answers whether the fault came. `command` prepares a program for the
/// checkout, and `traced` is where the calls are noted.
pub fn sync_with_fault(
    (command, traced): (impl Fn(&str, &[&str]) -> Command, PathBuf),
    name: &str,
    (fault, moment): (&str, usize),
) -> bool {
    let inject = format!("inject={CALLS}:{fault}:when={moment}");
    let mut command = command("strace", &["-f", "-qq", "-e", &format!("trace={CALLS}"), "-e", &inject]);
    // The fault may hit the call by which one thread wakes another: such a run never ends, and counts as killed.
    command.arg("-o").arg(&traced).args(["timeout", "--signal=KILL", "20"]);
    command.arg(env!("CARGO_BIN_EXE_cascade")).args(["sync", name]);
    command.output().unwrap();
    let trace = std::fs::read_to_string(traced).unwrap();
    trace.contains("INJECTED") || trace.contains("killed by SIGKILL")
}

/// Plays a fault at every third call from the `first` on, until none comes any more: at `at_least` so many.
pub fn at_calls(first: usize, at_least: usize, mut play: impl FnMut(usize) -> bool) {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let moments = (first..MOMENTS_LIMIT).step_by(STRIDE).take_while(|moment| play(*moment)).count();
    assert!(moments > at_least, "{moments} moments");
}

#[track_caller]
fn check(site: &Site, what: &str) {
    let at_target = |name: &str| site.content(&format!("target/{name}"));
    for name in ["updated", "deep/updated"] {
        let content = at_target(name);
        assert!(matches!(content.as_deref(), Some("before" | "after")), "{what}: {name} is {content:?}");
    }
    assert!(matches!(at_target("deleted").as_deref(), None | Some("before")), "{what}");
    assert!(matches!(at_target("new/created").as_deref(), None | Some("after")), "{what}");
    assert_eq!(at_target("drift").as_deref(), Some("by hand"), "{what}");
    let report = site.sync(5);
    assert_eq!(report["flagged"].as_array().unwrap().len(), 1, "{what}: {report}");
    assert_eq!(report["left"].as_array().unwrap().len(), 0, "{what}: {report}");
    let expected = [
        ("updated", Some("after")),
        ("deep/updated", Some("after")),
        ("new/created", Some("after")),
        ("deleted", None),
    ];
    for (name, content) in expected {
        assert_eq!(at_target(name).as_deref(), content, "{what}: {name}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(site.path("target")).unwrap().map(|one| one.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["deep", "drift", "new", "updated"], "{what}: nothing is left behind");
    // Everything that was replaced can be brought back, whichever run replaced it.
    let list = site.run(&["snapshots", "list", "site", "--json"]).expect_code(0).json();
    let oldest = list.as_array().unwrap().iter().rev().nth(1).unwrap()["id"].as_str().unwrap().to_owned();
    site.run(&["snapshots", "restore", "site", "--at", &oldest]).expect_code(0);
    for name in ["updated", "deep/updated", "deleted"] {
        assert_eq!(at_target(name).as_deref(), Some("before"), "{what}: {name} is not back");
    }
}

#[test]
fn a_fast_sync_waits_for_the_disk_only_for_what_it_replaces() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let flushes = |site: &Site| {
        let traced = site.path("trace");
        let mut command = site.command("strace", &["-f", "-qq", "-e", "trace=syncfs", "-o"]);
        command.arg(&traced).arg(env!("CARGO_BIN_EXE_cascade")).args(["sync", "site"]);
        assert!(command.output().unwrap().status.success());
        std::fs::read_to_string(traced).unwrap().matches("syncfs(").count()
    };
    for (durability, is_fast) in [("full", false), ("fast", true)] {
        let site = Site::new(&format!("durability: {durability}"));
        site.put("source/a", "one");
        assert_eq!(flushes(&site) == 0, is_fast, "{durability}");
        site.put("source/a", "two");
        assert!(flushes(&site) > 0, "{durability}: what is replaced is on the disk before");
    }
}

fn fault_everywhere(fault: &str, first: usize) {
    at_calls(first, 10, |moment| {
        let site = changed();
        let command = |program: &str, arguments: &[&str]| site.command(program, arguments);
        let has_come = sync_with_fault((command, site.path("trace")), "site", (fault, moment));
        if has_come {
            check(&site, &format!("{fault} at call {moment}"));
        }
        has_come
    });
}

#[test]
fn a_sync_killed_at_any_call_is_finished_by_the_next() {
    fault_everywhere("signal=KILL", 1);
}

#[test]
fn a_sync_that_the_disk_refuses_at_any_call_is_finished_by_the_next() {
    fault_everywhere("error=EIO", 2);
}

#[test]
fn a_sync_that_runs_out_of_space_at_any_call_is_finished_by_the_next() {
    fault_everywhere("error=ENOSPC", 3);
}
