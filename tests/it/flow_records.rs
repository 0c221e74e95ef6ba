//! Syncs of records, through the built binary: what arrives, what is set aside, and what goes wrong on the way.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Output, Sandbox};

const TOKEN: &str = "hunter2-secret";

/// A checkout with one sync of records.
pub struct Shop(pub Sandbox);

impl Shop {
    pub fn new(from: &str, to: &str, more: &str) -> Self {
        let shop = Self(Sandbox::new());
        shop.0.write(".env", format!("SHOP_TOKEN={TOKEN}\n"));
        shop.configure(from, to, more);
        shop
    }

    fn configure(&self, from: &str, to: &str, more: &str) {
        let text = format!(
            "version: 1\nproject: shop\nnotify: {{ desktop: false }}\nsyncs:\n  products:\n    from: {{ records: {{ {from} }} }}\n    \
             to: {{ records: {{ {to} }} }}\n    max_delete: 100%\n    {more}\n"
        );
        self.0.write("cascade-sync.yaml", text);
    }

    /// Runs cascade; no secret is ever told.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        let output = self.0.cascade(words);
        assert!(!format!("{output:?}").contains(TOKEN), "{output:?}");
        output
    }

    #[track_caller]
    pub fn sync(&self, code: i32) -> Value {
        self.run(&["sync", "products", "--json"]).expect_code(code).json()
    }

    #[track_caller]
    pub fn record(&self, id: &str) -> Value {
        self.run(&["records", "show", "products", id, "--json"]).expect_code(0).json()["record"].clone()
    }

    pub fn set(&self, record: &Value) {
        self.0.write("edit.json", record.to_string());
        self.run(&["records", "set", "products", "edit.json"]).expect_code(0);
    }
}

#[test]
fn records_come_into_a_table_and_every_revision_stays() {
    let shop = Shop::new("files: scraped", "table: products", "");
    shop.0.write("scraped/a.json", r#"[{"id":"a/1","n":1},{"id":2,"n":12345678901234567890}]"#);
    shop.0.write("scraped/deep/b.ndjson", "{\"id\":\"b\"}\n");
    shop.0.write("scraped/notes.txt", "{");
    assert_eq!(shop.sync(0)["created"], 3);
    assert_eq!(shop.sync(0)["unchanged"], 3);
    shop.0.write("scraped/a.json", "[ {\"n\": 1.0, \"id\": \"a/1\"}, {\"id\":2,\"n\":2} ]");
    let report = shop.sync(0);
    assert_eq!((&report["updated"], &report["unchanged"]), (&1.into(), &2.into()), "spaces and order are no change");
    std::fs::remove_file(shop.0.root().join("scraped/deep/b.ndjson")).unwrap();
    assert_eq!(shop.sync(0)["deleted"], 1);
    assert_eq!(shop.record("a/1"), json!({ "id": "a/1", "n": 1 }));
    let history = shop.run(&["records", "history", "products", "2", "--json"]).expect_code(0).stdout;
    assert!(history.contains("12345678901234567890") || history.contains("12345678901234567000"), "{history}");
    let gone = shop.run(&["records", "history", "products", "b", "--json"]).expect_code(0).json();
    assert_eq!((&gone[0]["record"], &gone[1]["record"]), (&Value::Null, &json!({ "id": "b" })));
    shop.run(&["snapshots", "restore", "products"]).expect_code(0);
    assert_eq!(shop.record("b"), json!({ "id": "b" }));
    shop.run(&["records", "show", "products", "nothing"]).expect_code(2);
}

#[test]
fn what_is_no_record_is_set_aside_with_its_place_and_deletes_nothing() {
    let shop =
        Shop::new("files: all.ndjson, schema: schema.json, max_record: 200B", "table: products", "delete: mirror");
    shop.0.write("schema.json", r#"{"properties":{"price":{"type":"number"}}}"#);
    shop.0.write("all.ndjson", "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n{\"id\":5}\n");
    assert_eq!(shop.sync(0)["created"], 5);
    let long = "x".repeat(300);
    let bad = [
        "{\"id\":1,\"price\":\"free\"}".to_owned(),
        "{\"id\":2,\"a\":{\"b\":nul}}".to_owned(),
        "{\"price\":1}".to_owned(),
        "{\"id\":[]}".to_owned(),
        format!("{{\"id\":3,\"long\":\"{long}\"}}"),
        "{\"id\":4}\n{\"id\":4}".to_owned(),
        "{\"id\":6}".to_owned(),
    ];
    let mut text = bad.join("\n").into_bytes();
    text.extend_from_slice(b"\n{\"id\":\"\xff\"}\n");
    std::fs::write(shop.0.root().join("all.ndjson"), text).unwrap();
    // What may be hidden is not deleted, and that is told.
    let report = shop.sync(5);
    assert_eq!((&report["created"], &report["deleted"]), (&1.into(), &0.into()), "{report}");
    let told: Vec<String> =
        report["skipped"].as_array().unwrap().iter().map(|one| format!("{} {}", one["key"], one["reason"])).collect();
    for place in [
        "\"1\" \"at the source: all.ndjson:1: /price does not fit",
        "\"all.ndjson:2\" \"at the source: /a/b is no JSON value",
        "\"all.ndjson:3\" \"at the source: the record has no `id`",
        "\"all.ndjson:4\" \"at the source: /id is neither a text nor a number",
        "\"all.ndjson:5\" \"at the source: the record is longer than 200 bytes",
        "\"4\" \"at the source: 2 records have this id (all.ndjson:6, all.ndjson:7)",
        "\"all.ndjson:9\" \"at the source: the record is not UTF-8",
    ] {
        assert!(told.iter().any(|one| one.starts_with(place)), "{place} in {told:#?}");
    }
    let list = shop.run(&["records", "list", "products", "--json"]).expect_code(0).json();
    assert_eq!(list.as_array().unwrap().len(), 6, "nothing is deleted");
}

#[test]
fn a_file_keeps_what_does_not_change_byte_for_byte() {
    let shop = Shop::new("files: new.json", "file: site/all.json", "on_drift: overwrite");
    let old = "[\n  { \"id\": 1,   \"name\" : \"one\" },\n  {\n    \"id\": 2,\n    \"name\": \"two\"\n  },\n  { \"id\": 3 }\n]\n";
    shop.0.write("site/all.json", old);
    shop.0.write("new.json", r#"[{"name":"one","id":1},{"name":"2","id":2},{"id":4}]"#);
    shop.sync(0);
    let expected = "[\n  { \"id\": 1,   \"name\" : \"one\" },\n  {\n    \"id\": 2,\n    \"name\": \"2\"\n  },\n  { \"id\": 3 },\n  {\n    \"id\": 4\n  }\n]\n";
    assert_eq!(shop.0.read("site/all.json"), expected);
    assert_eq!(shop.sync(0)["unchanged"], 4 - 1);
    shop.run(&["sync", "verify", "products"]).expect_code(0);
    let names = std::fs::read_dir(shop.0.root().join("site")).unwrap().count();
    assert_eq!(names, 1, "nothing is left beside it");
}

#[test]
fn a_field_that_was_edited_by_hand_stays_while_the_others_flow() {
    let shop = Shop::new("files: all.ndjson", "table: products", "on_drift: flag-field");
    shop.0.write("all.ndjson", "{\"id\":1,\"name\":\"x\",\"price\":1}\n{\"id\":2}\n");
    shop.sync(0);
    shop.set(&json!({ "id": 1, "name": "by hand", "price": 1 }));
    shop.0.write("all.ndjson", "{\"id\":1,\"name\":\"y\",\"price\":2,\"new\":true}\n{\"id\":2}\n");
    let report = shop.sync(5);
    assert_eq!(report["updated"], 1, "{report}");
    assert!(report["flagged"][0]["reason"].as_str().unwrap().contains("name (the rest follows"), "{report}");
    assert_eq!(shop.record("1"), json!({ "id": 1, "name": "by hand", "new": true, "price": 2 }));
    let again = shop.sync(5);
    assert_eq!((&again["updated"], again["flagged"].as_array().unwrap().len()), (&0.into(), 1));
    assert!(shop.run(&["status", "--json"]).stdout.contains("name (the rest follows the source)"));
    shop.run(&["sync", "resolve", "products", "1", "--take", "target"]).expect_code(0);
    assert_eq!(shop.sync(0)["flagged"], json!([]));
    shop.0.write("all.ndjson", "{\"id\":1,\"name\":\"y\",\"price\":3,\"new\":true}\n{\"id\":2}\n");
    shop.sync(0);
    assert_eq!(shop.record("1"), json!({ "id": 1, "name": "by hand", "new": true, "price": 3 }));
    shop.set(&json!({ "id": 1, "name": "z", "new": true, "price": 9 }));
    shop.sync(5);
    shop.run(&["sync", "resolve", "products", "1", "--take", "source"]).expect_code(0);
    assert_eq!(shop.record("1")["price"], 3);
    shop.set(&json!({ "id": 1, "price": 8 }));
    shop.sync(5);
    shop.0.write("mine.json", "{ \"price\": 7.0,\n \"id\": 1 }");
    shop.run(&["sync", "resolve", "products", "1", "--take", "mine.json"]).expect_code(0);
    assert_eq!(shop.record("1"), json!({ "id": 1, "price": 7 }));
    assert_eq!(shop.sync(0)["flagged"], json!([]));
}

#[test]
fn a_command_that_fails_stalls_or_prints_half_loses_nothing() {
    let shop = Shop::new("command: \"cat all.json\"", "table: products", "delete: mirror");
    shop.0.write("all.json", r#"[{"id":1},{"id":2}]"#);
    assert_eq!(shop.sync(0)["created"], 2);
    for (from, said) in [
        ("command: \"echo '[]'; echo broken >&2; exit 3\"", "exit code 3: broken"),
        ("command: \"echo '[]'; sleep 1000\", timeout: 200ms", "took longer than 200ms and was stopped"),
        ("command: no-such-program", "command not found"),
    ] {
        shop.configure(from, "table: products", "delete: mirror");
        let output = shop.run(&["sync", "products"]).expect_code(1);
        assert!(output.stderr.contains(said), "{output:?}");
    }
    shop.configure("command: \"echo '[{\\\"id\\\":1},{\\\"id\\\":'\"", "table: products", "delete: mirror");
    let report = shop.sync(5);
    assert_eq!((&report["deleted"], report["skipped"].as_array().unwrap().len()), (&0.into(), 1), "{report}");
    shop.configure(
        "command: \"echo [{\\\\\\\"id\\\\\\\":\\\\\\\"$SHOP_TOKEN-$CASCADE_HOME\\\\\\\"}]\"",
        "table: other",
        "",
    );
    shop.sync(0);
    shop.run(&["records", "show", "other", "-"]).expect_code(0);
}

/// An HTTP API with records in memory, two of them on a page.
pub struct Api {
    port: u16,
    pub held: Arc<Mutex<Held>>,
}

#[derive(Default)]
pub struct Held {
    pub records: BTreeMap<String, Value>,
    pub asked: Vec<String>,
    /// Answered so often with this status, before anything else.
    fails: Vec<u16>,
    /// Whether what is asked and answered is in an object each.
    wraps: bool,
    /// Where it stops.
    pub stop: Option<Stop>,
}

/// A request that gets no answer.
pub struct Stop {
    /// So many come before.
    pub after: usize,
    /// Whether what it asks for is done all the same.
    pub does: bool,
    /// Told when it has come.
    pub tell: Sender<()>,
}

impl Api {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, held) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Held>>::default());
        let shared = Arc::clone(&held);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let held = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &held));
            }
        });
        Self { port, held }
    }

    pub fn url(&self) -> String {
        format!(
            "url: \"http://127.0.0.1:{}/api/products\", headers: [\"Authorization: Bearer ${{SHOP_TOKEN}}\"]",
            self.port
        )
    }

    pub fn records(&self) -> Vec<Value> {
        self.held.lock().unwrap().records.values().cloned().collect()
    }
}

fn serve(stream: TcpStream, held: &Mutex<Held>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut line, mut length, mut is_known) = (String::new(), 0, false);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            length = header.strip_prefix("content-length: ").map_or(length, |length| length.parse().unwrap());
            is_known |= header == format!("authorization: bearer {TOKEN}");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let (stopped, (status, link, answer)) = {
            let mut held = held.lock().unwrap();
            let after = held.asked.len();
            let stop = held.stop.take_if(|stop| stop.after == after);
            let does = is_known && stop.as_ref().is_none_or(|stop| stop.does);
            let unanswered = || (401, String::new(), String::new());
            (stop, if does { answer(&line, &body, &mut held) } else { unanswered() })
        };
        if let Some(stop) = stopped {
            stop.tell.send(()).unwrap();
            // Whoever asked is gone when the connection ends.
            let _ = reader.read_line(&mut line);
            return;
        }
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nretry-after: 0\r\n{link}\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).unwrap();
    }
}

fn answer(line: &str, body: &[u8], held: &mut Held) -> (u16, String, String) {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    held.asked.push(format!("{method} {target}"));
    if let Some(status) = held.fails.pop() {
        return (status, String::new(), String::new());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let id = path.strip_prefix("/api/products/").map(|id| id.replace("%2F", "/"));
    let stored = |body: &[u8]| {
        let mut record: Value = serde_json::from_slice(body).unwrap();
        if held.wraps {
            assert_eq!(record["by"], "cascade", "{record}");
            record = record["item"].take();
        }
        record["updated_at"] = json!("now");
        record
    };
    let wraps = held.wraps;
    match (method, id) {
        ("GET", None) => {
            let page: usize = query.strip_prefix("page=").map_or(0, |page| page.parse().unwrap());
            let rest = held.records.len() > 2 * (page + 1);
            let link =
                if rest { format!("link: </api/products?page={}>; rel=\"next\"\r\n", page + 1) } else { String::new() };
            let records = json!(held.records.values().skip(2 * page).take(2).collect::<Vec<_>>());
            let next = rest.then(|| format!("?page={}", page + 1));
            match wraps {
                true => (200, String::new(), json!({ "data": records, "links": { "next": next } }).to_string()),
                false => (200, link, records.to_string()),
            }
        }
        ("GET", Some(id)) => {
            let wrapped = |it: &Value| if wraps { json!({ "data": it }) } else { it.clone() };
            let answer = |it: &Value| (200, String::new(), wrapped(it).to_string());
            held.records.get(&id).map_or((404, String::new(), String::new()), answer)
        }
        ("POST", None) => {
            let record = stored(body);
            held.records.insert(record["id"].as_str().unwrap().to_owned(), record);
            (201, String::new(), String::new())
        }
        ("PUT", Some(id)) => {
            held.records.insert(id, stored(body));
            (200, String::new(), String::new())
        }
        ("DELETE", Some(id)) => {
            (if held.records.remove(&id).is_some() { 204 } else { 404 }, String::new(), String::new())
        }
        _ => (405, String::new(), String::new()),
    }
}

#[test]
fn an_api_gets_one_request_for_each_record_that_changes() {
    let api = Api::start();
    let shop = Shop::new("files: all.ndjson", &format!("{}, ignore: [updated_at]", api.url()), "");
    let lines = |records: &[Value]| records.iter().map(|record| format!("{record}\n")).collect::<String>();
    let record = |id: &str, n: u32| json!({ "id": id, "n": n });
    shop.0.write(
        "all.ndjson",
        lines(&[record("a/1", 1), record("b", 1), record("c", 1), record("d", 1), record("e", 1)]),
    );
    assert_eq!(shop.sync(0)["created"], 5);
    assert_eq!(api.records()[0], json!({ "id": "a/1", "n": 1, "updated_at": "now" }));
    api.held.lock().unwrap().asked.clear();
    assert_eq!(shop.sync(0)["unchanged"], 5);
    assert_eq!(api.held.lock().unwrap().asked.len(), 3, "one request for each page");
    shop.0.write("all.ndjson", lines(&[record("a/1", 2), record("b", 1), record("c", 2), record("d", 1)]));
    api.held.lock().unwrap().records.insert("c".to_owned(), record("c", 9));
    api.held.lock().unwrap().fails = vec![429, 503];
    let report = shop.sync(5);
    assert_eq!((&report["updated"], &report["deleted"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["flagged"][0]["key"], "c");
    let asked = api.held.lock().unwrap().asked.clone();
    assert!(
        asked.contains(&"PUT /api/products/a%2F1".to_owned()) && asked.contains(&"DELETE /api/products/e".to_owned())
    );
    assert_eq!(api.records()[2]["n"], 9, "what somebody else changed stays");
}

#[test]
fn an_address_that_refuses_is_told_without_its_token_and_changes_nothing() {
    let api = Api::start();
    for id in ["a", "b", "c"] {
        api.held.lock().unwrap().records.insert(id.to_owned(), json!({ "id": id }));
    }
    let shop = Shop::new(&api.url(), "table: products", "delete: mirror");
    assert_eq!(shop.sync(0)["created"], 3, "two pages");
    for (status, said) in [(404, "is not there"), (403, "it answers HTTP 403"), (302, "redirects are not followed")] {
        api.held.lock().unwrap().fails = vec![status];
        let output = shop.run(&["sync", "products"]).expect_code(1);
        assert!(output.stderr.contains(said), "{output:?}");
    }
    shop.0.write(".env", "SHOP_TOKEN=other\n");
    let output = shop.run(&["sync", "products"]).expect_code(1);
    assert!(output.stderr.contains("it answers HTTP 401"), "{output:?}");
    assert_eq!(shop.run(&["records", "list", "products", "--json"]).expect_code(0).json().as_array().unwrap().len(), 3);
}

#[test]
fn what_wraps_its_records_is_read_and_written_as_it_wants() {
    let api = Api::start();
    api.held.lock().unwrap().wraps = true;
    let to = format!(
        "{}, ignore: [updated_at], items: /data, next: /links/next, item: /data, \
         body: {{ by: cascade, item: \"{{record}}\" }}, update: \"PUT /{{id}}?seen={{updated_at}}\"",
        api.url()
    );
    let shop = Shop::new("files: all.json, items: /products/list", &to, "");
    let products = |n: u32| {
        let list: Vec<Value> = ["a/1", "b", "c", "d", "e"].map(|id| json!({ "id": id, "n": n })).to_vec();
        json!({ "total": 5, "products": { "list": list } }).to_string()
    };
    shop.0.write("all.json", products(1));
    assert_eq!(shop.sync(0)["created"], 5);
    assert_eq!(api.records()[0], json!({ "id": "a/1", "n": 1, "updated_at": "now" }));
    assert_eq!(shop.sync(0)["unchanged"], 5);
    shop.0.write("all.json", products(2));
    assert_eq!(shop.sync(0)["updated"], 5);
    assert!(api.held.lock().unwrap().asked.contains(&"PUT /api/products/a%2F1?seen=now".to_owned()));
    // Where the records are not where they must be, nothing is taken for deleted.
    for (text, said) in [
        ("{}", "all.json:1 at the source: it has no array at `/products/list`"),
        ("{\"products\":\n{\"list\":{}}}", "all.json:2 at the source: it has no array at `/products/list`"),
        ("{\"products\":{\"list\":[{\"id\":", "all.json:1 at the source: it ends in the middle"),
    ] {
        shop.0.write("all.json", text);
        let output = shop.run(&["sync", "products"]).expect_code(5);
        assert!(output.stderr.contains(said), "{output:?}");
    }
    assert_eq!(api.records().len(), 5);
    // The same of an address that is read from.
    shop.configure(
        &format!("{}, items: /data, next: /links/next, ignore: [updated_at]", api.url()),
        "table: products",
        "",
    );
    assert_eq!(shop.sync(0)["created"], 5);
    shop.configure(&format!("{}, items: /data, next: /data", api.url()), "table: products", "");
    let output = shop.run(&["sync", "products"]).expect_code(1);
    assert!(output.stderr.contains("page 1 of the answer: there is no address at `/data`"), "{output:?}");
}

#[test]
fn a_saved_plan_brings_fields_together_as_it_was_looked_at() {
    let shop = Shop::new("files: all.ndjson", "table: products", "on_drift: flag-field");
    shop.0.write("all.ndjson", "{\"id\":1,\"name\":\"x\",\"price\":1}\n{\"id\":2,\"name\":\"x\"}\n");
    shop.sync(0);
    let prepare = |price: u32| {
        shop.0.write(
            "all.ndjson",
            format!("{{\"id\":1,\"name\":\"y\",\"price\":{price}}}\n{{\"id\":2,\"name\":\"x\"}}\n"),
        );
        shop.run(&["sync", "products", "--plan", "plan.json"]).expect_code(0);
    };
    let apply = |code: i32| shop.run(&["sync", "apply", "plan.json", "--json"]).expect_code(code).json();
    shop.set(&json!({ "id": 1, "name": "by hand", "price": 1 }));
    prepare(2);
    let report = apply(5);
    assert_eq!(report["updated"], 1, "{report}");
    assert!(report["flagged"][0]["reason"].as_str().unwrap().contains("name (the rest follows"), "{report}");
    assert_eq!(shop.record("1"), json!({ "id": 1, "name": "by hand", "price": 2 }));
    assert!(shop.run(&["status", "--json"]).stdout.contains("name (the rest follows the source)"));
    let again = shop.sync(5);
    assert_eq!((&again["updated"], &again["flagged"]), (&0.into(), &report["flagged"]));
    // What is not as it was looked at is left alone.
    prepare(3);
    shop.set(&json!({ "id": 1, "name": "again", "price": 2 }));
    let report = apply(5);
    assert_eq!(report["flagged"][0]["reason"], "was changed at the target since the plan was made", "{report}");
    prepare(4);
    shop.0.write("all.ndjson", "{\"id\":1,\"name\":\"y\",\"price\":5}\n{\"id\":2,\"name\":\"x\"}\n");
    let report = apply(5);
    assert_eq!(report["flagged"][0]["reason"], "was changed at the source since the plan was made", "{report}");
    assert_eq!(shop.record("1"), json!({ "id": 1, "name": "again", "price": 2 }));
}

#[test]
fn what_is_set_aside_is_no_success_and_too_much_is_refused() {
    let shop = Shop::new("files: all.ndjson, max_record: 64KiB", "table: products", "");
    let long = "x".repeat(3 << 20);
    shop.0.write("all.ndjson", format!("{{\"id\":1}}\n{{\"id\":2,\"long\":\"{long}\"}}\n{{\"id\":3}}\n"));
    for created in [2, 0] {
        let report = shop.sync(5);
        assert_eq!((&report["created"], report["skipped"].as_array().map(Vec::len)), (&created.into(), Some(1)));
        assert_eq!(report["skipped"][0]["key"], "all.ndjson:2", "{report}");
    }
    let output = shop.run(&["sync", "products"]).expect_code(5);
    assert!(output.stderr.contains("sync products: not all of the source was brought over"), "{output:?}");
    assert!(output.stderr.contains("all.ndjson:2 at the source: the record is longer than 65536 bytes"), "{output:?}");
    shop.0.write("all.ndjson", "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
    assert_eq!(shop.sync(0)["created"], 1);
    shop.configure("command: \"yes '{}'\", max_answer: 1MiB", "table: products", "");
    let output = shop.run(&["sync", "products"]).expect_code(1);
    assert!(output.stderr.contains("printed more than 1MiB and was stopped"), "{output:?}");
    let api = Api::start();
    api.held.lock().unwrap().records.insert("a".to_owned(), json!({ "id": "a", "long": long }));
    shop.configure(&format!("{}, max_answer: 1MiB", api.url()), "table: products", "");
    let output = shop.run(&["sync", "products"]).expect_code(1);
    assert!(output.stderr.contains("it answers with more than 1MiB"), "{output:?}");
    assert_eq!(shop.run(&["records", "list", "products", "--json"]).json().as_array().map(Vec::len), Some(3));
}
