//! A sync of records that is killed at every moment, into each of what can hold them.
//!
//! Whatever happens: each record is old or new, what was replaced is kept, a hand edit stays, and the next run brings
//! everything to its end.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::mpsc::channel;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::fault_sync::{at_calls, sync_with_fault};
use crate::flow_records::{Api, Shop, Stop};

type Records = BTreeMap<String, Value>;

/// What the target has, by id, and how it is edited there by hand.
struct Target<'t> {
    shop: &'t Shop,
    held: Box<dyn Fn() -> Records + 't>,
    edit: Box<dyn Fn(Value) + 't>,
}

fn by_id(records: impl IntoIterator<Item = Value>) -> Records {
    records.into_iter().map(|record| (record["id"].as_str().unwrap().to_owned(), record)).collect()
}

fn record(id: &str, n: u32) -> Value {
    json!({ "id": id, "n": n })
}

fn offer(shop: &Shop, records: &[(&str, u32)]) {
    let lines: String = records.iter().map(|(id, n)| format!("{}\n", record(id, *n))).collect();
    shop.0.write("all.ndjson", lines);
}

fn table(shop: &Shop) -> Target<'_> {
    let list = || shop.run(&["records", "list", "products", "--json"]).expect_code(0).json();
    let ids = move || {
        list().as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    Target {
        shop,
        held: Box::new(move || by_id(ids().iter().map(|id| shop.record(id)))),
        edit: Box::new(|record| shop.set(&record)),
    }
}

fn file(shop: &Shop) -> Target<'_> {
    let read = || serde_json::from_str::<Vec<Value>>(&shop.0.read("site/all.json")).unwrap();
    let edit = move |record: Value| {
        let mut records = by_id(read());
        records.insert(record["id"].as_str().unwrap().to_owned(), record);
        shop.0.write("site/all.json", json!(records.values().collect::<Vec<_>>()).to_string());
    };
    Target { shop, held: Box::new(move || by_id(read())), edit: Box::new(edit) }
}

fn api<'t>(shop: &'t Shop, api: &'t Api) -> Target<'t> {
    let bare = |mut record: Value| {
        record.as_object_mut().unwrap().remove("updated_at");
        record
    };
    let edit = |record: Value| drop(api.held.lock().unwrap().records.insert("drift".to_owned(), record));
    Target { shop, held: Box::new(move || by_id(api.records().into_iter().map(bare))), edit: Box::new(edit) }
}

/// Prepares a run that creates, updates and deletes, with a hand edit at the target.
fn change(target: &Target<'_>) {
    offer(target.shop, &[("deleted", 1), ("drift", 1), ("same", 1), ("updated", 1)]);
    assert_eq!(target.shop.sync(0)["created"], 4);
    offer(target.shop, &[("created", 2), ("drift", 1), ("same", 1), ("updated", 2)]);
    (target.edit)(record("drift", 9));
}

#[track_caller]
fn check(target: &Target<'_>, what: &str) {
    let held = (target.held)();
    let is_one_of = |id: &str, either: [Option<u32>; 2]| {
        let found = held.get(id).cloned();
        assert!(either.iter().any(|n| found == n.map(|n| record(id, n))), "{what}: {id} is {found:?}");
    };
    is_one_of("created", [None, Some(2)]);
    is_one_of("deleted", [None, Some(1)]);
    is_one_of("updated", [Some(1), Some(2)]);
    is_one_of("same", [Some(1), Some(1)]);
    is_one_of("drift", [Some(9), Some(9)]);
    let report = target.shop.sync(5);
    assert_eq!(report["flagged"].as_array().map(Vec::len), Some(1), "{what}: {report}");
    let settled = [record("created", 2), record("drift", 9), record("same", 1), record("updated", 2)];
    assert_eq!((target.held)(), by_id(settled), "{what}");
    // Everything that was replaced can be brought back, whichever run replaced it.
    let list = target.shop.run(&["snapshots", "list", "products", "--json"]).expect_code(0).json();
    let oldest = list.as_array().unwrap().iter().rev().nth(1).unwrap()["id"].as_str().unwrap().to_owned();
    target.shop.run(&["snapshots", "restore", "products", "--at", &oldest]).expect_code(0);
    let held = (target.held)();
    for id in ["deleted", "updated"] {
        assert_eq!(held.get(id), Some(&record(id, 1)), "{what}: {id} is not back");
    }
}

fn killed_at_calls(to: &str, first: usize, target: impl Fn(&Shop) -> Target<'_>) {
    at_calls(first, 10, |moment| {
        let shop = Shop::new("files: all.ndjson", to, "");
        shop.0.write("site/all.json", "[]");
        let target = target(&shop);
        change(&target);
        let command = |program: &str, words: &[&str]| shop.0.command(program, words);
        let has_come = sync_with_fault((command, shop.0.base().join("trace")), "products", ("signal=KILL", moment));
        if has_come {
            check(&target, &format!("killed at call {moment}"));
        }
        has_come
    });
}

#[test]
fn a_sync_into_a_table_killed_at_any_call_is_finished_by_the_next() {
    killed_at_calls("table: products", 1, table);
}

#[test]
fn a_table_keeps_every_revision_once_whatever_was_killed() {
    at_calls(2, 10, |moment| {
        let shop = Shop::new("files: all.ndjson", "table: products", "");
        change(&table(&shop));
        let command = |program: &str, words: &[&str]| shop.0.command(program, words);
        let has_come = sync_with_fault((command, shop.0.base().join("trace")), "products", ("signal=KILL", moment));
        shop.sync(5);
        let history = shop.run(&["records", "history", "products", "updated", "--json"]).expect_code(0).json();
        let revisions: Vec<&Value> = history.as_array().unwrap().iter().map(|one| &one["record"]).collect();
        assert_eq!(revisions, [&record("updated", 2), &record("updated", 1)], "killed at call {moment}");
        has_come
    });
}

#[test]
fn a_sync_into_a_file_killed_at_any_call_is_finished_by_the_next() {
    killed_at_calls("file: site/all.json", 3, file);
}

/// Kills a sync when it waits for the answer to a request; answers whether that request came.
fn killed_at_request(after: usize, does: bool) -> bool {
    let server = Api::start();
    let to = format!("{}, ignore: [updated_at], parallel: 1", server.url());
    let shop = Shop::new("files: all.ndjson", &to, "");
    let target = api(&shop, &server);
    change(&target);
    let (tell, told) = channel();
    {
        let mut held = server.held.lock().unwrap();
        held.asked.clear();
        held.stop = Some(Stop { after, does, tell: tell.clone() });
    }
    let mut command = shop.0.command(env!("CARGO_BIN_EXE_cascade"), &["sync", "products"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let waiting = std::thread::spawn(move || {
        child.wait().unwrap();
        // Nobody listens any more where the request came first.
        let _ = tell.send(());
    });
    told.recv().unwrap();
    let has_come = server.held.lock().unwrap().stop.take().is_none();
    if has_come {
        kill_process(pid, Signal::KILL).unwrap();
    }
    waiting.join().unwrap();
    if has_come {
        check(&target, &format!("killed at request {after}, which was {}", if does { "done" } else { "not done" }));
    }
    has_come
}

#[test]
fn a_sync_into_an_api_killed_at_any_request_is_finished_by_the_next() {
    for does in [false, true] {
        let moments = (0..100).take_while(|after| killed_at_request(*after, does)).count();
        assert!(moments > 6, "{moments} requests");
    }
}
