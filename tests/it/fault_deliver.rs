//! A promotion with a delivery, killed before and after every step and every delivery, and at system calls in between: branch
//! and target come to the same end as without the kill.

use std::process::Command;

use crate::fault_promote::{MOMENTS_LIMIT, kill_at};
use crate::flow_deliver::Shop;
use crate::support::skip;

/// What changes something, or makes it durable.
const CALLS: &str = "write,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,symlinkat,unlink,\
                     unlinkat,rmdir,ftruncate,fchmod,mkdir,mkdirat";
/// More calls than a promotion makes.
const CALLS_LIMIT: usize = 2_000;
/// So many calls lie between two that are tried.
const STRIDE: usize = 29;

/// A shop whose next promotion creates, updates and deletes at the target, beside a hand edit; `breaks`: and is rolled back.
fn ready(has_remote: bool, breaks: bool) -> Shop {
    let shop = Shop::new(has_remote, "", "");
    shop.release(&[("public/updated", "before"), ("public/deep/same", "same"), ("public/deleted", "before")], 0);
    shop.edit_live("theirs", "not ours");
    std::fs::remove_file(shop.root().join("public/deleted")).unwrap();
    shop.write("public/updated", "after");
    shop.write("public/new/created", "after");
    if breaks {
        shop.write("broken", "");
    }
    shop.save("Change everything");
    shop.promote("staging", 0);
    shop
}

/// What must be the same with and without a kill.
#[derive(Debug, PartialEq, Eq)]
struct EndState {
    states: Vec<String>,
    main_tree: String,
    outcomes: Vec<String>,
    target: Vec<(String, String)>,
}

fn end_state(shop: &Shop) -> EndState {
    let history = shop.cascade(&["history", "production", "--json"]).expect_code(0).json();
    let mut promotions: Vec<_> = history.as_array().unwrap().iter().rev().collect();
    // What was asked for after the kill waits, or has nothing to do.
    promotions.truncate(2);
    let told = promotions[1]["deliveries"].as_array().unwrap();
    let outcome =
        |one: &serde_json::Value| format!("{} {}", one["phase"].as_str().unwrap(), one["outcome"].as_str().unwrap());
    let names = ["updated", "deep/same", "deleted", "new/created", "theirs"];
    let content = |name: &str| (name.to_owned(), shop.live(name).unwrap_or_else(|| "nothing".to_owned()));
    EndState {
        states: promotions.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect(),
        main_tree: shop.tree("main"),
        outcomes: told.iter().map(outcome).collect(),
        target: names.iter().map(|name| content(name)).collect(),
    }
}

/// Takes up what was interrupted, and compares the end.
#[track_caller]
fn check(shop: &Shop, expected: &EndState, breaks: bool, what: &str) {
    let after = shop.cascade(&["promote", "production"]);
    let allowed: &[i32] = if breaks { &[3, 6] } else { &[0] };
    assert!(allowed.contains(&after.code), "{what}: {after:?}");
    assert_eq!(&end_state(shop), expected, "{what}");
    // Nothing is left to be done at the target, and nothing lies about there.
    let report = shop.cascade(&["sync", "website", "--json"]).expect_code(0).json();
    for word in ["created", "updated", "deleted"] {
        assert_eq!(report[word], 0, "{what}: {report}");
    }
    assert!(
        report["flagged"].as_array().unwrap().is_empty() && report["left"].as_array().unwrap().is_empty(),
        "{what}: {report}"
    );
}

fn expected(has_remote: bool, breaks: bool) -> EndState {
    let shop = ready(has_remote, breaks);
    shop.promote("production", if breaks { 6 } else { 0 });
    let end = end_state(&shop);
    let target: Vec<&str> = end.target.iter().map(|(_, content)| content.as_str()).collect();
    match breaks {
        true => assert_eq!(target, ["before", "same", "before", "nothing", "not ours"]),
        false => assert_eq!(target, ["after", "same", "nothing", "after", "not ours"]),
    }
    end
}

fn kill_at_every_step(has_remote: bool, breaks: bool) {
    let expected = expected(has_remote, breaks);
    for moment in 0..MOMENTS_LIMIT {
        let shop = ready(has_remote, breaks);
        if !kill_at(&shop, moment) {
            assert!(moment >= 16, "only {moment} moments");
            return;
        }
        check(&shop, &expected, breaks, &format!("killed at moment {moment}"));
    }
    panic!("a promotion has more than {MOMENTS_LIMIT} moments");
}

#[test]
fn killed_at_every_step_what_lands_is_delivered() {
    kill_at_every_step(true, false);
}

#[test]
fn killed_at_every_step_what_is_rolled_back_is_taken_back() {
    kill_at_every_step(false, true);
}

/// Promotes with a kill at the n-th call; answers whether it came.
fn kill_at_call(shop: &Shop, call: usize) -> bool {
    let traced = shop.base().join("trace");
    let inject = format!("inject={CALLS}:signal=KILL:when={call}");
    let mut command = shop.command("strace", &["-f", "--detach-on=execve", "-qq", "-e", &format!("trace={CALLS}")]);
    command.args(["-e", &inject, "-o"]).arg(&traced).args([env!("CARGO_BIN_EXE_cascade"), "promote", "production"]);
    command.output().unwrap();
    std::fs::read_to_string(traced).unwrap().contains("killed by SIGKILL")
}

#[test]
fn killed_at_system_calls_what_lands_is_delivered_and_what_is_rolled_back_is_taken_back() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    for breaks in [false, true] {
        let (expected, mut kills) = (expected(false, breaks), 0);
        for call in (1..CALLS_LIMIT).step_by(STRIDE) {
            let shop = ready(false, breaks);
            if !kill_at_call(&shop, call) {
                break;
            }
            kills += 1;
            check(&shop, &expected, breaks, &format!("killed at call {call}"));
        }
        assert!(kills >= 4, "{kills} kills");
    }
}
