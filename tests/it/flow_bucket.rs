//! Syncs with buckets, through the built binary and HTTP: what arrives, who else is there, and what goes wrong on the way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::dice::{Dice, rounds, runs};
use crate::support::object_store::{Fate, ObjectStore, Way, ask};
use crate::support::{Output, Sandbox};

const DENIED: &str = "<Error><Code>SignatureDoesNotMatch</Code><Message>No such key</Message><StringToSign>top-secret\
    </StringToSign></Error>";

/// A checkout with a sync `site` between the directory `files` beside it and the bucket `site`.
struct Site {
    sandbox: Sandbox,
    store: ObjectStore,
}

impl Site {
    /// Makes one; nothing where there is no object store.
    fn new() -> Option<Self> {
        let store = ObjectStore::start()?;
        let site = Self { sandbox: Sandbox::new(), store };
        std::fs::create_dir(site.sandbox.base().join("files")).unwrap();
        site.sandbox.write(".env", "BUCKET_KEY=ada\nBUCKET_SECRET=hunter2-secret\n");
        Some(site)
    }

    /// Lets the sync bring the directory to the bucket, through a port.
    fn up(&self, port: u16, store: &str, more: &str) -> &Self {
        self.configure("from: { directory: ../files }, to:", port, store, more)
    }

    /// Lets the sync bring the bucket to the directory, through a port.
    fn down(&self, port: u16, store: &str, more: &str) -> &Self {
        self.configure("to: { directory: ../files }, from:", port, store, more)
    }

    fn configure(&self, sides: &str, port: u16, store: &str, more: &str) -> &Self {
        let text = format!(
            "version: 1\nproject: shop\nnotify: {{ desktop: false }}\nsyncs:\n  site: {{ {sides} {{ bucket: \
             \"s3://site/live\", store: {{ endpoint: \"http://127.0.0.1:{port}\", access_key: \"${{BUCKET_KEY}}\", \
             secret_key: \"${{BUCKET_SECRET}}\", {store} }} }}, {more} }}\n"
        );
        self.sandbox.write("cascade-sync.yaml", text);
        self
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.sandbox.base().join("files").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn content(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.sandbox.base().join("files").join(path)).ok()
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.sandbox.base().join("files").join(path)).unwrap();
    }

    /// Runs cascade; no secret is ever told.
    #[track_caller]
    fn run(&self, words: &[&str]) -> Output {
        let output = self.sandbox.cascade(words);
        for secret in ["hunter2-secret", "top-secret"] {
            assert!(!format!("{output:?}").contains(secret), "{output:?}");
        }
        output
    }

    #[track_caller]
    fn sync(&self) -> Value {
        self.run(&["sync", "site", "--json"]).expect_code(0).json()
    }
}

#[test]
fn another_program_reads_what_the_source_has() {
    let Some(site) = Site::new() else { return };
    let way = Way::to(&site.store, |_, _| Fate::Pass);
    site.up(way.port, "part_size: 5MiB", "");
    site.put("index.html", "<h1>");
    site.put("a/with space & \u{e4}+%41.css", "x{}");
    site.put("a.txt", "");
    site.put("large.bin", vec![7; (12 << 20) + 3]);
    let report = site.sync();
    assert_eq!((&report["created"], &report["bytes"]), (&4.into(), &((12 << 20) + 3 + 7).into()), "{report}");
    let script = "for o in s3.list_objects_v2(Bucket='site')['Contents']:\n o = s3.get_object(Bucket='site', Key=o['Key']) \
        | {'Key': o['Key']}\n b = o['Body'].read()\n print(json.dumps([o['Key'], len(b), o['ContentType'], \
        hashlib.sha256(b).hexdigest() == o['Metadata']['cascade-sha256'], o['Metadata']['cascade-etag'] == o['ETag'].strip('\"')]))";
    let Some(printed) = site.store.boto3(script) else { return };
    let objects: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!([
        ["live/a.txt", 0, "text/plain", true, true],
        ["live/a/with space & \u{e4}+%41.css", 3, "text/css", true, true],
        ["live/index.html", 4, "text/html", true, true],
        ["live/large.bin", (12 << 20) + 3, "application/octet-stream", true, true],
    ]);
    assert_eq!(Value::from(objects), expected);
    way.take();
    assert_eq!(site.sync()["unchanged"], 4);
    assert_eq!(
        way.take(),
        ["GET /site?list-type=2&prefix=live/&max-keys=1000"],
        "what is as it was costs nothing else"
    );
    site.run(&["sync", "verify", "site"]).expect_code(0);
}

#[test]
fn what_is_replaced_and_deleted_comes_back() {
    let Some(site) = Site::new() else { return };
    site.up(site.store.port, "", "max_delete: 100%");
    for (path, content) in [("a", "one"), ("b", "two"), ("c", "three")] {
        site.put(path, content);
    }
    site.sync();
    site.put("a", "ONE");
    site.remove("b");
    let report = site.sync();
    assert_eq!((&report["updated"], &report["deleted"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(site.store.keys(), ["live/a", "live/c"]);
    site.run(&["snapshots", "restore", "site"]).expect_code(0);
    assert_eq!(["a", "b", "c"].map(|key| site.store.get(&format!("live/{key}")).unwrap()), ["one", "two", "three"]);
}

#[test]
fn what_somebody_changed_in_the_bucket_is_flagged_and_stays() {
    let Some(site) = Site::new() else { return };
    site.up(site.store.port, "", "");
    site.put("page", "ours 1");
    site.put("other", "x");
    site.sync();
    site.store.put("live/page", "their 1");
    site.put("page", "ours 2");
    let report = site.run(&["sync", "site", "--json"]).expect_code(5).json();
    assert_eq!(report["flagged"][0]["key"], "page");
    assert_eq!(site.store.get("live/page").as_deref(), Some("their 1"));
    site.run(&["sync", "resolve", "site", "page", "--take", "source"]).expect_code(0);
    assert_eq!(site.store.get("live/page").as_deref(), Some("ours 2"));
}

/// A site on whose object `page` somebody does this right before each request that changes it arrives.
fn raced(method: &'static str, body: &'static str) -> Option<Site> {
    let site = Site::new()?;
    let port = site.store.port;
    let way = Way::to(&site.store, move |number, line| {
        if line.starts_with("PUT /site/live/page") || line.starts_with("DELETE /site/live/page") {
            ask(port, method, "/site/live/page", &[], format!("{body}{number}").as_bytes()).unwrap();
        }
        Fate::Pass
    });
    site.put("page", "ours 1");
    site.put("other", "x");
    site.store.put("live/page", "ours 1");
    site.store.put("live/other", "x");
    site.up(way.port, "", "max_delete: 100%");
    site.sync();
    Some(site)
}

#[test]
fn whoever_is_faster_is_not_overwritten() {
    let Some(site) = raced("PUT", "theirs") else { return };
    site.put("page", "ours 2");
    let output = site.run(&["sync", "site"]).expect_code(5);
    assert!(output.stderr.contains("page was changed at the target meanwhile"), "{output:?}");
    assert!(site.store.get("live/page").unwrap().starts_with("theirs"));
    let Some(site) = raced("PUT", "theirs") else { return };
    site.remove("page");
    site.run(&["sync", "site"]).expect_code(5);
    assert!(site.store.get("live/page").unwrap().starts_with("theirs"));
    let Some(site) = raced("DELETE", "") else { return };
    site.put("page", "ours 2");
    site.run(&["sync", "site"]).expect_code(5);
    assert_eq!(site.store.get("live/page"), None);
}

#[test]
fn what_somebody_creates_first_stays() {
    let Some(site) = Site::new() else { return };
    let port = site.store.port;
    let way = Way::to(&site.store, move |_, line| {
        if line.starts_with("PUT /site/live/page") {
            ask(port, "PUT", "/site/live/page", &[], b"theirs").unwrap();
        }
        Fate::Pass
    });
    site.up(way.port, "", "");
    site.put("page", "ours 1");
    site.put("other", "x");
    let report = site.run(&["sync", "site", "--json"]).expect_code(5).json();
    assert_eq!((&report["created"], &report["flagged"][0]["key"]), (&1.into(), &"page".into()), "{report}");
    assert_eq!(site.store.get("live/page").as_deref(), Some("theirs"));
}

#[test]
fn a_store_that_ignores_conditions_is_looked_at_first() {
    let Some(site) = Site::new() else { return };
    let way = Way::to(&site.store, |_, _| Fate::Without("if-"));
    site.up(way.port, "", "max_delete: 100%");
    for path in ["a", "b", "c"] {
        site.put(path, path);
    }
    assert_eq!(site.sync()["created"], 3);
    assert_eq!(site.store.keys(), ["live/a", "live/b", "live/c"]);
    way.take();
    site.put("a", "A");
    site.remove("b");
    site.sync();
    let asked = way.take();
    for (look, change) in [("HEAD /site/live/a", "PUT /site/live/a"), ("HEAD /site/live/b", "DELETE /site/live/b")] {
        let at = |line: &str| asked.iter().position(|asked| asked == line);
        assert!(at(look).unwrap() < at(change).unwrap(), "{asked:#?}");
    }
    assert_eq!((site.store.get("live/a").as_deref(), site.store.keys().len()), (Some("A"), 2));
}

#[test]
fn busy_and_broken_answers_lose_nothing() {
    const FATES: [Fate; 6] = [
        Fate::Answer("503 Slow Down\r\nretry-after: 0", "<Error><Code>SlowDown</Code></Error>"),
        Fate::Answer("429 Too Many Requests", ""),
        Fate::Answer("500 Oh", "<html>"),
        Fate::Answer("200 OK", ""),
        Fate::Break,
        Fate::Lose,
    ];
    rounds(2, |dice| {
        let Some(site) = Site::new() else { return };
        let dice = Mutex::new(Dice::new(dice.number()));
        let way = Way::to(&site.store, move |_, line| {
            let mut dice = dice.lock().unwrap();
            // An empty answer is only an answer that is wrong where there should be content.
            let fate = if dice.once_in(5) { dice.one_of(&FATES).clone() } else { Fate::Pass };
            let is_listing = line.contains("list-type=2");
            if matches!(fate, Fate::Answer("200 OK", _)) && !is_listing { Fate::Pass } else { fate }
        });
        site.up(way.port, "part_size: 5MiB", "max_delete: 100%");
        for round in 0..2 {
            for number in 0..12 {
                site.put(&format!("f{number}"), format!("{round}"));
            }
            site.put(&format!("large{round}"), vec![round; 11 << 20]);
            let mut report = site.run(&["sync", "site", "--json"]);
            // Somebody else's luck runs out; what is not done is told, and done by the next run.
            for _ in 0..4 {
                if report.code == 0 {
                    break;
                }
                report = site.run(&["sync", "site", "--json"]);
            }
            report.expect_code(0);
            for number in 0..12 {
                assert_eq!(site.store.get(&format!("live/f{number}")), Some(format!("{round}")));
            }
        }
        assert_eq!(site.store.keys().iter().filter(|key| !key.contains("probe")).count(), 14);
    });
}

#[test]
fn an_upload_that_cannot_be_completed_leaves_nothing() {
    let Some(site) = Site::new() else { return };
    let way = Way::to(&site.store, |_, line| match line.contains("partNumber=2") {
        true => Fate::Answer("400 Bad Request", "<Error><Code>InvalidPart</Code><Message>no</Message></Error>"),
        false => Fate::Pass,
    });
    site.up(way.port, "part_size: 5MiB", "");
    site.put("large", vec![1; 16 << 20]);
    site.put("small", "x");
    let report = site.run(&["sync", "site", "--json"]).expect_code(1).json();
    assert_eq!(report["failed"][0]["reason"], "cannot write large: the store says InvalidPart: no");
    assert_eq!((site.store.keys(), site.store.uploads()), (vec!["live/small".to_owned()], Vec::new()));
    site.up(site.store.port, "part_size: 5MiB", "");
    assert_eq!(site.sync()["created"], 1);
}

#[test]
fn a_bucket_that_cannot_be_used_is_told_before_anything_is_planned() {
    let Some(site) = Site::new() else { return };
    site.put("page", "x");
    let denied = Way::to(&site.store, |_, _| Fate::Answer("403 Forbidden", DENIED));
    site.up(denied.port, "", "");
    let output = site.run(&["sync", "site"]).expect_code(1);
    assert!(output.stderr.contains("the store says SignatureDoesNotMatch: No such key"), "{output:?}");
    assert_eq!(denied.take().len(), 1, "nothing else is asked");
    let text = site.sandbox.read("cascade-sync.yaml");
    let keys = "access_key: \"${BUCKET_KEY}\", secret_key: \"${BUCKET_SECRET}\",";
    assert!(text.contains(keys), "{text}");
    site.sandbox.write("cascade-sync.yaml", text.replace(keys, ""));
    let output = site.run(&["sync", "site"]).expect_code(1);
    assert!(output.stderr.contains("there are no credentials for it: set `access_key`"), "{output:?}");
    assert!(denied.take().is_empty(), "nobody is asked without");
    let stalled = Way::to(&site.store, |_, _| Fate::Stall);
    site.up(stalled.port, "timeout: 50ms", "");
    site.run(&["sync", "site"]).expect_code(1);
    site.up(site.store.port, "", "");
    let text = site.sandbox.read("cascade-sync.yaml").replace("s3://site/live", "s3://elsewhere");
    site.sandbox.write("cascade-sync.yaml", text);
    let output = site.run(&["sync", "site"]).expect_code(1);
    let place = format!("the bucket s3://elsewhere at http://127.0.0.1:{} is not there", site.store.port);
    assert!(output.stderr.contains(&place), "{output:?}");
}

#[test]
fn a_listing_comes_in_pages_and_a_broken_one_deletes_nothing() {
    let Some(site) = Site::new() else { return };
    let is_broken = Arc::new(AtomicUsize::new(0));
    let broken = Arc::clone(&is_broken);
    let way = Way::to(&site.store, move |_, line| {
        let is_second = line.contains("continuation-token");
        match broken.load(Ordering::SeqCst) {
            1 if is_second => Fate::Answer("403 Forbidden", DENIED),
            2 => Fate::Answer("200 OK", ""),
            _ => Fate::Pass,
        }
    });
    let objects = 1_100 * runs();
    (0..objects).for_each(|number| site.store.put(&format!("live/{number:06}"), "x"));
    site.down(way.port, "", "delete: mirror, max_delete: 100%");
    assert_eq!(site.sync()["created"], objects);
    way.take();
    assert_eq!(site.sync()["unchanged"], objects);
    assert_eq!(way.take().len(), objects.div_ceil(1_000), "one request for each thousand objects");
    for fault in [1, 2] {
        is_broken.store(fault, Ordering::SeqCst);
        site.run(&["sync", "site"]).expect_code(1);
        let count = std::fs::read_dir(site.sandbox.base().join("files")).unwrap().count();
        assert_eq!(count, objects, "fault {fault}");
    }
}

/// Answers what was asked beside lists of the bucket and what a store is tried with, in order, and how often it was listed.
fn asked(way: &Way) -> (Vec<String>, usize) {
    let asked: Vec<String> = way.take().into_iter().filter(|line| !line.contains(".cascade-probe-")).collect();
    let (lists, mut others): (Vec<String>, Vec<String>) =
        asked.into_iter().partition(|line| line.contains("list-type=2"));
    others.sort();
    (others, lists.len())
}

#[test]
fn what_changed_costs_what_comes_and_what_it_replaces() {
    let Some(site) = Site::new() else { return };
    let way = Way::to(&site.store, |_, _| Fate::Pass);
    let text = |number: usize, round: usize| format!("{number:02} {round}");
    let keys = |start: &str, method: &str| [3, 14].map(|number| format!("{method} /site/{start}/{number:02}"));
    site.up(way.port, "", "");
    (0..20).for_each(|number| site.put(&format!("{number:02}"), text(number, 1)));
    site.sync();
    assert_eq!(asked(&way), ((0..20).map(|number| format!("PUT /site/live/{number:02}")).collect(), 2));
    [3, 14].into_iter().for_each(|number| site.put(&format!("{number:02}"), text(number, 2)));
    assert_eq!(site.sync()["updated"], 2);
    assert_eq!(asked(&way), ([keys("live", "GET"), keys("live", "PUT")].concat(), 2), "up");
    site.down(way.port, "", "");
    site.sync();
    way.take();
    [3, 14].into_iter().for_each(|number| site.store.put(&format!("live/{number:02}"), &text(number, 3)));
    assert_eq!(site.sync()["updated"], 2);
    assert_eq!(asked(&way), (keys("live", "GET").to_vec(), 1), "down");
    let here = format!(
        "store: {{ endpoint: \"http://127.0.0.1:{}\", access_key: \"${{BUCKET_KEY}}\", secret_key: \"${{BUCKET_SECRET}}\" }}",
        way.port
    );
    site.configure(&format!("from: {{ bucket: \"s3://site/dev\", {here} }}, to:"), way.port, "", "");
    for number in 0..20 {
        let there = site.store.get(&format!("live/{number:02}")).unwrap();
        site.store.put(&format!("dev/{number:02}"), &there);
    }
    site.sync();
    way.take();
    [3, 14].into_iter().for_each(|number| site.store.put(&format!("dev/{number:02}"), &text(number, 4)));
    assert_eq!(site.sync()["updated"], 2);
    let expected = [keys("dev", "GET"), keys("live", "GET"), keys("live", "PUT")].concat();
    assert_eq!(asked(&way), (expected, 3), "from bucket to bucket");
}

#[test]
fn names_that_are_no_paths_are_left_alone_and_told() {
    let Some(site) = Site::new() else { return };
    // Empty objects that stand for directories are nothing to speak of.
    for key in ["live/", "live/dir/", "live/a//b", "live/../up", "live/%20led", "live/good", "live/.cascade-probe-dead"]
    {
        site.store.put(key, if key.ends_with('/') { "" } else { "x" });
    }
    site.up(site.store.port, "", "delete: mirror, max_delete: 100%");
    site.put("new", "x");
    let report = site.sync();
    let skipped: Vec<&str> =
        report["skipped"].as_array().unwrap().iter().map(|noted| noted["key"].as_str().unwrap()).collect();
    assert_eq!(skipped, [" led", "(..)/up", "a/(empty)/b"], "{report}");
    let keys = site.store.keys();
    assert_eq!(keys, ["live/", "live/ led", "live/../up", "live/a//b", "live/dir/", "live/new"]);
}

#[test]
fn equal_sized_changes_within_a_second_are_all_seen() {
    rounds(1, |dice| {
        let Some(site) = Site::new() else { return };
        site.down(site.store.port, "", "");
        let mut expected = [0; 10].map(|_| String::new());
        for round in 0..6 {
            for (number, content) in expected.iter_mut().enumerate() {
                if round == 0 || dice.once_in(2) {
                    *content = format!("{:08}", dice.below(99_999_999));
                    site.store.put(&format!("live/{number}"), content);
                }
            }
            site.sync();
            let found: Vec<String> = (0..10).map(|number| site.content(&number.to_string()).unwrap()).collect();
            assert_eq!(found, expected, "round {round}");
        }
    });
}

#[test]
fn a_directory_serves_as_a_bucket() {
    let sandbox = Sandbox::new();
    for directory in ["files", "objects"] {
        std::fs::create_dir(sandbox.base().join(directory)).unwrap();
    }
    let objects = sandbox.base().join("objects").canonicalize().unwrap();
    let text = format!(
        "version: 1\nproject: shop\nsyncs:\n  site: {{ from: {{ directory: ../files }}, to: {{ bucket: \"fs://{}\" }} }}\n",
        objects.to_str().unwrap()
    );
    sandbox.write("cascade-sync.yaml", text);
    std::fs::create_dir(sandbox.base().join("files/a")).unwrap();
    for path in ["a/b", "a!", "a.c"] {
        std::fs::write(sandbox.base().join("files").join(path), path).unwrap();
    }
    sandbox.cascade(&["sync", "site"]).expect_code(0);
    for path in ["a/b", "a!", "a.c"] {
        assert_eq!(std::fs::read_to_string(objects.join(path)).unwrap(), path);
    }
    let report = sandbox.cascade(&["sync", "site", "--json"]).expect_code(0).json();
    assert_eq!((&report["unchanged"], report["skipped"].as_array().map(Vec::len)), (&3.into(), Some(0)), "{report}");
    std::fs::remove_dir_all(&objects).unwrap();
    sandbox.cascade(&["sync", "site"]).expect_code(1);
    assert!(!objects.exists(), "a directory that is not there is not made");
}
