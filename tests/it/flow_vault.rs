//! Encrypted vaults through the built binary: what goes in comes out, opens for nobody else, and what is damaged is told.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::object_store::ObjectStore;
use crate::support::{Output, Sandbox};

const PASSPHRASE: &str = "hunter2 correct horse battery";

/// A checkout with a sync `up` of the directory `files` into a vault, and one `down` of the vault into `out`, all beside it.
pub struct Site {
    pub sandbox: Sandbox,
}

impl Site {
    /// Makes one with a vault in the directory `safe`, which is initialised.
    fn new() -> Self {
        let site = Self::with("directory: ../safe", "passphrase: \"${PHRASE}\"");
        site.run(&["vault", "init", "up"]).expect_code(0);
        site
    }

    pub fn with(place: &str, key: &str) -> Self {
        let site = Self { sandbox: Sandbox::new() };
        for name in ["files", "safe", "out"] {
            std::fs::create_dir(site.path(name)).unwrap();
        }
        site.sandbox.write(".env", format!("PHRASE={PASSPHRASE}\nBUCKET_KEY=ada\nBUCKET_SECRET=hunter2-secret\n"));
        site.configure(place, key);
        site
    }

    fn configure(&self, place: &str, key: &str) {
        let vault = format!("{place}, vault: {{ {key} }}");
        let text = format!(
            "version: 1\nproject: shop\nnotify: {{ desktop: false }}\nsyncs:\n  up: {{ from: {{ directory: ../files }}, to: {{ \
             {vault} }}, max_delete: 100% }}\n  down: {{ from: {{ {vault} }}, to: {{ directory: ../out }} }}\n"
        );
        self.sandbox.write("cascade-sync.yaml", text);
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.sandbox.base().join(path)
    }

    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path("files").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Runs cascade; no secret is ever told.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        let output = self.sandbox.cascade(words);
        assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
        output
    }

    #[track_caller]
    pub fn sync(&self, name: &str) -> Value {
        self.run(&["sync", name, "--json"]).expect_code(0).json()
    }

    /// Answers the files below a directory, with their content.
    pub fn files(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let (top, mut found) = (self.path(name), BTreeMap::new());
        gather(&top, &top, &mut found);
        found
    }

    fn safe_bytes(&self) -> usize {
        self.files("safe").values().map(Vec::len).sum()
    }
}

fn gather(top: &Path, directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if path.is_symlink() {
            found.insert(name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            gather(top, &path, found);
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

/// Answers bytes without a pattern.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn what_goes_into_a_vault_comes_out_of_it() {
    let site = Site::new();
    site.put("page.html", "<h1>a telling sentence</h1>");
    site.put("deep/large.bin", noise(1, 5 << 20));
    site.put("deep/empty", "");
    site.put("bin/run", "#!/bin/sh\n");
    std::fs::set_permissions(site.path("files/bin/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("page.html", site.path("files/link")).unwrap();
    assert_eq!(site.sync("up")["created"], 5);
    assert_eq!(site.sync("down")["created"], 5);
    assert_eq!(site.files("files"), site.files("out"));
    let mode = |name: &str| std::fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o111;
    assert!(mode("out/bin/run") != 0 && mode("out/page.html") == 0);
    let modified = |name: &str| std::fs::metadata(site.path(name)).unwrap().modified().unwrap();
    assert_eq!(modified("files/deep/large.bin"), modified("out/deep/large.bin"));
    for name in ["up", "down"] {
        assert_eq!(site.sync(name)["unchanged"], 5);
        site.run(&["sync", "verify", name]).expect_code(0);
    }
    for (name, content) in site.files("safe") {
        let all = [name.as_bytes(), &content].concat();
        for told in ["telling", "large.bin", "page"] {
            assert!(!all.windows(told.len()).any(|window| window == told.as_bytes()), "{name} tells {told}");
        }
    }
}

#[test]
fn what_is_replaced_in_a_vault_comes_back() {
    let site = Site::new();
    site.put("a", "one");
    site.put("b", noise(1, 2 << 20));
    site.sync("up");
    site.put("a", "two");
    std::fs::remove_file(site.path("files/b")).unwrap();
    let report = site.sync("up");
    assert_eq!((&report["updated"], &report["deleted"]), (&1.into(), &1.into()), "{report}");
    site.run(&["snapshots", "restore", "up"]).expect_code(0);
    site.sync("down");
    let expected = [("a".to_owned(), b"one".to_vec()), ("b".to_owned(), noise(1, 2 << 20))];
    assert_eq!(site.files("out"), BTreeMap::from(expected));
}

#[test]
fn a_second_backup_sends_little_more_than_what_changed() {
    let site = Site::new();
    for number in 0..1_000 {
        site.put(&format!("{}/file {number}", number % 10), noise(number, 4_000));
    }
    site.sync("up");
    let before = site.files("safe");
    for number in 0..10 {
        site.put(&format!("{}/file {number}", number % 10), noise(number + 5_000, 4_000));
    }
    let report = site.sync("up");
    assert_eq!(report["updated"], 10, "{report}");
    let all: usize = before.values().map(Vec::len).sum();
    let is_new = |(name, content): &(String, Vec<u8>)| before.get(name) != Some(content);
    let sent: usize = site.files("safe").into_iter().filter(is_new).map(|(_, content)| content.len()).sum();
    assert!(sent * 100 <= all * 3, "{sent} of {all} bytes");
    assert!(site.files("safe").len() < 12, "many files are in few objects");
}

#[test]
fn a_vault_opens_with_its_own_passphrase_alone() {
    let site = Site::with("directory: ../safe", "passphrase: \"${PHRASE}\"");
    let refused = site.run(&["sync", "up"]).expect_code(2);
    assert!(refused.stderr.contains("has not been initialised"), "{}", refused.stderr);
    assert!(refused.stderr.contains("`cascade vault init NAME`"), "{}", refused.stderr);
    site.sandbox.write(".env", "PHRASE=hunter2\n");
    let weak = site.run(&["vault", "init", "up"]).expect_code(2);
    assert!(weak.stderr.contains("12 characters at least"), "{}", weak.stderr);
    site.sandbox.write(".env", format!("PHRASE={PASSPHRASE}\n"));
    site.run(&["vault", "init", "up"]).expect_code(0);
    site.put("a", "one");
    site.sync("up");
    site.sandbox.write(".env", "PHRASE=hunter2 correct horse staple\n");
    for words in [&["sync", "down"][..], &["vault", "check", "up"], &["vault", "prune", "up"]] {
        let refused = site.run(words).expect_code(1);
        assert!(
            refused.stderr.contains("the passphrase does not open the vault in the directory"),
            "{}",
            refused.stderr
        );
    }
    assert!(site.files("out").is_empty());
}

#[test]
fn a_rekeyed_vault_opens_with_the_new_key_and_has_what_it_had() {
    let site = Site::new();
    site.put("a", "one");
    site.sync("up");
    let before = site.files("safe");
    site.sandbox.write(".env", format!("PHRASE={PASSPHRASE}\nNEXT=hunter2 another long phrase\n"));
    site.run(&["vault", "rekey", "up", "--passphrase-from", "NOTHING"]).expect_code(2);
    site.run(&["vault", "rekey", "up"]).expect_code(2);
    site.run(&["vault", "rekey", "up", "--passphrase-from", "NEXT"]).expect_code(0);
    site.run(&["sync", "up"]).expect_code(1);
    site.configure("directory: ../safe", "passphrase: \"${NEXT}\"");
    assert_eq!(site.sync("up")["unchanged"], 1);
    let key = site.path("vault.key");
    site.run(&["vault", "rekey", "up", "--key-file", key.to_str().unwrap()]).expect_code(0);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = site.run(&["sync", "down"]).expect_code(2);
    assert!(refused.stderr.contains("is opened by a key file, and not by a passphrase"), "{}", refused.stderr);
    site.configure("directory: ../safe", "key_file: ../vault.key");
    assert_eq!(site.sync("down")["created"], 1);
    assert_eq!(site.files("out"), site.files("files"));
    let after = site.files("safe");
    let changed: Vec<&String> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert_eq!(changed, ["cascade-vault.json"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = site.run(&["sync", "down"]).expect_code(2);
    assert!(refused.stderr.contains("is open to others (mode 644)"), "{}", refused.stderr);
}

#[test]
fn what_is_damaged_in_a_vault_is_told_and_the_rest_comes_out() {
    let site = Site::new();
    site.put("early/a", noise(1, 9 << 20));
    site.sync("up");
    site.put("late/b", "kept");
    site.sync("up");
    let checked = site.run(&["vault", "check", "up", "--read-data", "--json"]).expect_code(0).json();
    assert_eq!((&checked["items"], &checked["read"]), (&2.into(), &true.into()), "{checked}");
    let (largest, mut content) = site.files("safe").into_iter().max_by_key(|(_, content)| content.len()).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(site.path("safe").join(&largest), &content).unwrap();
    site.run(&["vault", "check", "up"]).expect_code(0);
    let checked = site.run(&["vault", "check", "up", "--read-data", "--json"]).expect_code(1).json();
    assert_eq!(checked["lost"], serde_json::json!(["early/a"]), "{checked}");
    assert_eq!(checked["damaged"][0]["object"], largest.as_str());
    let report = site.run(&["sync", "down", "--json"]).expect_code(1).json();
    assert_eq!((&report["created"], &report["failed"][0]["key"]), (&1.into(), &"early/a".into()), "{report}");
    assert_eq!(site.files("out"), BTreeMap::from([("late/b".to_owned(), b"kept".to_vec())]));
    std::fs::remove_file(site.path("safe").join(&largest)).unwrap();
    let told = site.run(&["vault", "check", "up"]).expect_code(1);
    assert!(told.stderr.contains("it is missing") && told.stderr.contains("early/a cannot be read"), "{}", told.stderr);
    let head = site.path("safe/head");
    std::fs::write(&head, &std::fs::read(&head).unwrap()[1..]).unwrap();
    let told = site.run(&["sync", "up"]).expect_code(1);
    assert!(told.stderr.contains("head in the vault in the directory"), "{}", told.stderr);
}

#[test]
fn an_older_copy_of_a_vault_is_not_taken_for_the_newest() {
    let site = Site::new();
    site.put("a", "one");
    site.sync("up");
    let older = site.files("safe");
    site.put("a", "two");
    site.sync("up");
    std::fs::write(site.path("safe/head"), &older["head"]).unwrap();
    let refused = site.run(&["sync", "down"]).expect_code(1);
    assert!(refused.stderr.contains("somebody put an older state back"), "{}", refused.stderr);
    site.run(&["vault", "check", "up", "--accept-older"]).expect_code(0);
    site.sync("down");
    assert_eq!(site.files("out")["a"], b"one");
}

#[test]
fn space_that_nothing_needs_is_free_after_a_prune() {
    let site = Site::new();
    site.put("large", noise(1, 4 << 20));
    site.put("small", "kept");
    site.sync("up");
    std::fs::remove_file(site.path("files/large")).unwrap();
    std::fs::create_dir_all(site.path("safe/packs/00")).unwrap();
    std::fs::write(site.path("safe/packs/00/left"), "of an interrupted run").unwrap();
    site.sync("up");
    assert!(site.safe_bytes() > 4 << 20);
    let pruned = site.run(&["vault", "prune", "up", "--json"]).expect_code(0).json();
    assert_eq!((&pruned["removed"]["packs"], &pruned["removed"]["leftovers"]), (&1.into(), &1.into()), "{pruned}");
    assert!(site.safe_bytes() < 10_000, "{}", site.safe_bytes());
    site.sync("down");
    assert_eq!(site.files("out"), site.files("files"));
}

#[test]
fn a_vault_in_a_bucket_is_as_good_as_one_in_a_directory() {
    let Some(store) = ObjectStore::start() else { return };
    let place = format!(
        "bucket: \"s3://site/safe\", store: {{ endpoint: \"http://127.0.0.1:{}\", access_key: \"${{BUCKET_KEY}}\", secret_key: \
         \"${{BUCKET_SECRET}}\", part_size: 5MiB }}",
        store.port
    );
    let site = Site::with(&place, "key_file: ../vault.key");
    site.run(&["vault", "init", "up"]).expect_code(0);
    site.put("page", "words");
    site.put("large", noise(3, 11 << 20));
    assert_eq!(site.sync("up")["created"], 2);
    assert!(store.keys().len() < 7, "{:?}", store.keys());
    site.put("page", "other words");
    assert_eq!(site.sync("up")["updated"], 1);
    assert_eq!(site.sync("down")["created"], 2);
    assert_eq!(site.files("out"), site.files("files"));
    site.run(&["vault", "check", "down", "--read-data"]).expect_code(0);
    site.run(&["vault", "prune", "up"]).expect_code(0);
    assert_eq!(site.sync("up")["unchanged"], 2);
}

#[test]
fn a_sync_without_a_vault_says_so() {
    let site = Site::new();
    let text =
        "version: 1\nproject: shop\nsyncs: { up: { from: { directory: ../files }, to: { directory: ../safe } } }\n";
    site.sandbox.write("cascade-sync.yaml", text);
    let refused = site.run(&["vault", "check", "up"]).expect_code(2);
    assert!(refused.stderr.contains("sync up has no vault"), "{}", refused.stderr);
    site.run(&["vault", "check", "other"]).expect_code(2);
}
