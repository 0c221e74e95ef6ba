//! What every kind of endpoint promises, asked of each of them.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use super::record_server_tests::{RecordServer, Wrapping};
use super::vault::{Cost, Secret};
use super::*;
use crate::base::clock::SystemClock;
use crate::config::{BucketAddress, Expanded, StoreSpec, header_template};
use crate::git::Git;

const PLAIN: Form = Form::File { executable: false };
const PROGRAM: Form = Form::File { executable: true };

/// Puts something under a key.
type Setter = Box<dyn Fn(&str, Form, &[u8])>;

/// An endpoint, and somebody else who changes what it holds.
pub(super) struct Subject {
    pub endpoint: Arc<dyn Endpoint>,
    set: Setter,
    unset: Box<dyn Fn(&str)>,
    /// Whether it holds records, in which the content is but a field.
    holds_records: bool,
}

impl Subject {
    /// Answers a name as this kind of endpoint has it.
    fn name(&self, text: &str) -> String {
        if self.holds_records { text.replace('%', "%25").replace('/', "%2F") } else { text.to_owned() }
    }

    /// Answers content as this kind of endpoint has it under a name.
    fn body(&self, text: &str, content: &[u8]) -> Vec<u8> {
        if !self.holds_records {
            return content.to_vec();
        }
        let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{\"content\":\"{hex}\",\"id\":\"{text}\"}}").into_bytes()
    }

    fn set(&self, text: &str, form: Form, content: &[u8]) {
        (self.set)(&self.name(text), form, &self.body(text, content));
    }

    fn unset(&self, text: &str) {
        (self.unset)(&self.name(text));
    }

    fn put(&self, text: &str, form: Form, content: &[u8], expected: Option<Known>) -> Put {
        put(&self.name(text), form, &self.body(text, content), expected)
    }

    async fn known(&self, text: &str) -> Known {
        known(&*self.endpoint, &self.name(text)).await
    }

    /// Answers what is under a name; it is compared with [`Subject::body`].
    async fn content(&self, text: &str) -> Option<Vec<u8>> {
        content(&*self.endpoint, &self.name(text)).await
    }
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn version(form: Form, content: &[u8]) -> Version {
    Version { digest: Digest::of(content), form, size: content.len() as u64 }
}

fn memory() -> Subject {
    let memory = Memory::new("test");
    let (setting, unsetting) = (memory.clone(), memory.clone());
    Subject {
        endpoint: Arc::new(memory),
        set: Box::new(move |text, form, content| setting.set(&key(text), form, content)),
        unset: Box::new(move |text| unsetting.unset(&key(text))),
        holds_records: false,
    }
}

fn put_file(root: &Path, text: &str, form: Form, content: &[u8]) {
    let path = root.join(text);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&path);
    match form {
        Form::Link => symlink(std::ffi::OsStr::from_bytes(content), &path).unwrap(),
        Form::File { executable } => {
            std::fs::write(&path, content).unwrap();
            let mode = if executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

pub(super) fn directory(root: &Path) -> Subject {
    let (setting, unsetting) = (root.to_owned(), root.to_owned());
    Subject {
        endpoint: Arc::new(Directory::open(root, Arc::new(SystemClock)).unwrap()),
        set: Box::new(move |text, form, content| put_file(&setting, text, form, content)),
        unset: Box::new(move |text| std::fs::remove_file(unsetting.join(text)).unwrap()),
        holds_records: false,
    }
}

pub(super) async fn listed(endpoint: &dyn Endpoint) -> (Vec<Item>, Ended) {
    let (mut listing, mut items) = (endpoint.list(), Vec::new());
    while let Some(part) = listing.next().await {
        match part.unwrap() {
            Listed::Items(batch) => items.extend(batch),
            Listed::End(ended) => return (items, ended),
        }
    }
    panic!("no end")
}

async fn known(endpoint: &dyn Endpoint, text: &str) -> Known {
    let (items, _) = listed(endpoint).await;
    let item = items.into_iter().find(|item| item.key == key(text)).unwrap();
    endpoint.digest(vec![item]).await.remove(0).unwrap()
}

async fn content(endpoint: &dyn Endpoint, text: &str) -> Option<Vec<u8>> {
    let item = listed(endpoint).await.0.into_iter().find(|item| item.key == key(text))?;
    let content = endpoint.read(vec![item]).await.remove(0).unwrap();
    let drained = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        content.drain(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, Error>(())
        })?;
        Ok::<_, Error>(bytes)
    });
    Some(drained.await.unwrap().unwrap())
}

fn put(text: &str, form: Form, content: &[u8], expected: Option<Known>) -> Put {
    let to = version(form, content);
    Put { key: key(text), to, content: Content::whole(content.to_vec()), expected }
}

async fn write(endpoint: &dyn Endpoint, put: Put) -> Result<Fingerprint> {
    endpoint.write(vec![put]).await.remove(0)
}

/// Answers a form as an endpoint can hold it; nothing where it cannot.
fn held(endpoint: &dyn Endpoint, form: Form) -> Option<Form> {
    let can = endpoint.capabilities();
    match form {
        Form::Link => can.links.then_some(form),
        Form::File { executable } => Some(Form::File { executable: executable && can.executables }),
    }
}

/// One of everything that an endpoint can hold, in the order of keys: what it is called, its form and its content.
fn sample(subject: &Subject) -> Vec<(String, Form, Vec<u8>)> {
    let fitting = |(text, form, content): (&str, Form, Vec<u8>)| {
        Some((subject.name(text), held(&*subject.endpoint, form)?, subject.body(text, &content)))
    };
    let mut sample: Vec<_> = everything().into_iter().filter_map(fitting).collect();
    sample.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    sample
}

/// One of everything, in the order of keys.
fn everything() -> [(&'static str, Form, Vec<u8>); 8] {
    [
        ("a!/x", PLAIN, b"before the slash".to_vec()),
        ("a.txt", PLAIN, b"one".to_vec()),
        ("a/b/c", PROGRAM, b"two".to_vec()),
        ("a/link", Form::Link, b"../elsewhere".to_vec()),
        ("a0", PLAIN, Vec::new()),
        ("a0 with space & co/+%41", PLAIN, b"odd".to_vec()),
        ("large", PLAIN, vec![7; PIECE_BYTES * 3 + 5]),
        ("z/\u{e4}", PLAIN, b"umlaut".to_vec()),
    ]
}

/// What holds for every endpoint: it lists in order, reads and digests what it lists.
async fn is_read(subject: &Subject) {
    let endpoint = &*subject.endpoint;
    let held = sample(subject);
    held.iter().for_each(|(text, form, content)| (subject.set)(text, *form, content));
    let (items, ended) = listed(endpoint).await;
    let keys: Vec<Key> = held.iter().map(|(text, ..)| key(text)).collect();
    assert_eq!(items.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), keys);
    assert_eq!(ended, Ended::default());
    for (item, answer) in items.iter().zip(endpoint.digest(items.clone()).await) {
        let known = answer.unwrap();
        let (text, form, bytes) = held.iter().find(|(text, ..)| key(text) == item.key).unwrap();
        assert_eq!((known.version, item.size), (version(*form, bytes), bytes.len() as u64), "{text}");
        assert_eq!(known.fingerprint.bytes, item.fingerprint.bytes, "{text} was not touched");
        assert!(item.digest.is_none_or(|digest| digest == known.version.digest), "{text}");
        assert_eq!(content(endpoint, text).await.as_ref(), Some(bytes), "{text}");
    }
    let (again, _) = listed(endpoint).await;
    assert!(items.iter().zip(&again).all(|(one, other)| one.fingerprint.bytes == other.fingerprint.bytes));
}

async fn writes_what_is_expected_and_nothing_else(subject: &Subject) {
    let endpoint = &*subject.endpoint;
    for (form, bytes) in [(PLAIN, &b"new"[..]), (PROGRAM, b"#!"), (Form::Link, b"dir/new")] {
        let Some(form) = held(endpoint, form) else { continue };
        let fingerprint = write(endpoint, subject.put("dir/new", form, bytes, None)).await.unwrap();
        let now = subject.known("dir/new").await;
        assert_eq!(
            (now.version, &now.fingerprint.bytes),
            (version(form, &subject.body("dir/new", bytes)), &fingerprint.bytes)
        );
        let refused = write(endpoint, subject.put("dir/new", form, b"again", None)).await.unwrap_err();
        assert!(refused.is_change(), "something is there: {refused}");
        endpoint.delete(vec![Take { key: key(&subject.name("dir/new")), expected: now }]).await.remove(0).unwrap();
        assert_eq!(subject.content("dir/new").await, None);
    }
    subject.set("kept", PLAIN, b"theirs");
    let before = subject.known("kept").await;
    let form = held(endpoint, PROGRAM).unwrap();
    write(endpoint, subject.put("kept", form, b"ours", Some(before.clone()))).await.unwrap();
    assert_eq!(subject.known("kept").await.version, version(form, &subject.body("kept", b"ours")));
    let refused = write(endpoint, subject.put("kept", PLAIN, b"late", Some(before.clone()))).await.unwrap_err();
    assert!(refused.is_change(), "{refused}");
    let refused =
        endpoint.delete(vec![Take { key: key(&subject.name("kept")), expected: before.clone() }]).await.remove(0);
    assert!(refused.unwrap_err().is_change());
    assert_eq!(subject.content("kept").await, Some(subject.body("kept", b"ours")));
    subject.unset("kept");
    let refused = write(endpoint, subject.put("kept", PLAIN, b"late", Some(before))).await.unwrap_err();
    assert!(refused.is_change(), "it is gone: {refused}");
    assert_eq!(subject.content("kept").await, None);
    endpoint.flush().await.unwrap();
}

async fn never_writes_what_is_not_what_was_promised(subject: &Subject) {
    let endpoint = &*subject.endpoint;
    subject.set("old", PLAIN, b"old");
    let before = subject.known("old").await;
    let lie = |text: &str, expected| {
        let to = version(PLAIN, &subject.body(text, b"promised"));
        Put { to, ..subject.put(text, PLAIN, b"delivered", expected) }
    };
    assert!(write(endpoint, lie("old", Some(before))).await.unwrap_err().is_change());
    assert!(write(endpoint, lie("new", None)).await.unwrap_err().is_change());
    assert_eq!(subject.content("old").await, Some(subject.body("old", b"old")));
    assert_eq!(subject.content("new").await, None);
    assert_eq!(listed(endpoint).await.1, Ended::default(), "nothing is left behind");
}

async fn takes_content_in_pieces_and_answers_for_each_item(subject: &Subject) {
    let endpoint = &*subject.endpoint;
    let (sender, content_in_pieces) = pieces();
    let whole = subject.body("pieces", b"one two three");
    let parts: Vec<Vec<u8>> = whole.chunks(5).map(<[u8]>::to_vec).collect();
    let feeding = tokio::spawn(async move {
        for piece in parts {
            sender.send(Ok(piece)).await.unwrap();
        }
    });
    let to = version(PLAIN, &whole);
    subject.set("taken", PLAIN, b"x");
    let puts = vec![
        subject.put("first", PLAIN, b"1", None),
        subject.put("taken", PLAIN, b"2", None),
        Put { key: key("pieces"), to, content: content_in_pieces, expected: None },
    ];
    let done: Vec<bool> = endpoint.write(puts).await.iter().map(Result::is_ok).collect();
    feeding.await.unwrap();
    assert_eq!(done, [true, false, true]);
    assert_eq!(subject.content("pieces").await, Some(whole));
    let (broken, content_of_broken) = pieces();
    let to = version(PLAIN, &subject.body("half", b"half"));
    broken.send(Err(Error::changed(&key("half"), "broke"))).await.unwrap();
    drop(broken);
    write(endpoint, Put { key: key("half"), to, content: content_of_broken, expected: None }).await.unwrap_err();
    assert_eq!(subject.content("half").await, None);
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    is_read(&memory()).await;
    let subject = memory();
    writes_what_is_expected_and_nothing_else(&subject).await;
    never_writes_what_is_not_what_was_promised(&subject).await;
    takes_content_in_pieces_and_answers_for_each_item(&subject).await;
}

/// A directory that is used as a bucket.
fn bucket(root: &Path) -> Subject {
    let address = BucketAddress::Fs { path: root.to_str().unwrap().to_owned() };
    let bucket = Bucket::open(&address, &StoreSpec::default(), Arc::new(SystemClock)).unwrap();
    Subject { endpoint: Arc::new(bucket), ..directory(root) }
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
    is_read(&bucket(dirs[0].path())).await;
    let subject = bucket(dirs[1].path());
    writes_what_is_expected_and_nothing_else(&subject).await;
    never_writes_what_is_not_what_was_promised(&subject).await;
    takes_content_in_pieces_and_answers_for_each_item(&subject).await;
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
    is_read(&directory(dirs[0].path())).await;
    let subject = directory(dirs[1].path());
    writes_what_is_expected_and_nothing_else(&subject).await;
    never_writes_what_is_not_what_was_promised(&subject).await;
    takes_content_in_pieces_and_answers_for_each_item(&subject).await;
}

/// Lets somebody else change a vault: through one of its own, and at once.
async fn vault(inner: Arc<dyn Endpoint>) -> Subject {
    let secret = Secret::passphrase("correct horse battery");
    let open = || Vault::new(Arc::clone(&inner), secret.clone()).costing(Cost::LEAST);
    open().init().await.unwrap();
    let (setting, unsetting) = (open(), open());
    let set = async move |text: String, form, content: Vec<u8>| {
        if let Some(before) = found(&setting, &text).await {
            setting.delete(vec![Take { key: key(&text), expected: before }]).await.remove(0).unwrap();
        }
        write(&setting, put(&text, form, &content, None)).await.unwrap();
        setting.flush().await.unwrap();
    };
    let unset = async move |text: String| {
        let expected = known(&unsetting, &text).await;
        unsetting.delete(vec![Take { key: key(&text), expected }]).await.remove(0).unwrap();
        unsetting.flush().await.unwrap();
    };
    Subject {
        endpoint: Arc::new(open()),
        set: Box::new(move |text, form, content| apart(set(text.to_owned(), form, content.to_vec()))),
        unset: Box::new(move |text| apart(unset(text.to_owned()))),
        holds_records: false,
    }
}

/// Waits for something from where nothing may be waited for.
fn apart(work: impl Future<Output = ()> + Send) {
    std::thread::scope(|scope| {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        scope.spawn(move || runtime().block_on(work)).join().unwrap();
    });
}

async fn found(endpoint: &dyn Endpoint, text: &str) -> Option<Known> {
    let item = listed(endpoint).await.0.into_iter().find(|item| item.key == key(text))?;
    Some(endpoint.recall(vec![item]).await.remove(0).unwrap())
}

async fn keeps_the_contract_as_a_vault(inner: impl Fn(usize) -> Arc<dyn Endpoint>) {
    is_read(&vault(inner(0)).await).await;
    let subject = vault(inner(1)).await;
    writes_what_is_expected_and_nothing_else(&subject).await;
    never_writes_what_is_not_what_was_promised(&subject).await;
    takes_content_in_pieces_and_answers_for_each_item(&subject).await;
}

#[tokio::test]
async fn a_vault_keeps_the_contract_in_memory() {
    keeps_the_contract_as_a_vault(|number| Arc::new(Memory::new(number.to_string()))).await;
}

#[tokio::test]
async fn a_vault_keeps_the_contract_in_a_directory() {
    let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
    keeps_the_contract_as_a_vault(|number| directory(dirs[number].path()).endpoint).await;
}

#[tokio::test]
async fn a_vault_keeps_the_contract_in_a_bucket() {
    let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
    keeps_the_contract_as_a_vault(|number| bucket(dirs[number].path()).endpoint).await;
}

#[tokio::test]
async fn parts_are_read_as_they_are() {
    let dirs = [0, 1, 2].map(|_| tempfile::tempdir().unwrap());
    let held = vault(memory().endpoint).await;
    for subject in [memory(), directory(dirs[0].path()), bucket(dirs[1].path()), held] {
        for size in [10, 3 * PIECE_BYTES] {
            let content: Vec<u8> = (0..size).map(|at| at as u8 ^ (at >> 8) as u8).collect();
            let text = format!("of {size}");
            (subject.set)(&text, PLAIN, &content);
            let item = listed(&*subject.endpoint).await.0.into_iter().find(|item| item.key == key(&text)).unwrap();
            for (at, length) in [(0, 3), (3, 4), (5, size), (size - 1, 1), (size, 1), (size + 9, 1)] {
                let part = subject.endpoint.read_part(item.clone(), at as u64, length as u64).await.unwrap();
                let end = (at + length).min(size);
                assert_eq!(
                    part,
                    content.get(at..end).unwrap_or_default(),
                    "{} {at} {length}",
                    subject.endpoint.place()
                );
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_written_to_what_is_only_read() {
    let subject = memory();
    is_read(&Subject { endpoint: Arc::new(ReadOnly::new(Arc::clone(&subject.endpoint))), ..subject }).await;
    let subject = memory();
    (subject.set)("kept", PLAIN, b"theirs");
    let reader = ReadOnly::new(Arc::clone(&subject.endpoint));
    assert!(!reader.capabilities().writes && reader.capabilities().links);
    let refused = write(&reader, put("new", PLAIN, b"x", None)).await.unwrap_err();
    assert_eq!(refused.to_string(), "memory test cannot be written to");
    let expected = known(&reader, "kept").await;
    assert!(reader.delete(vec![Take { key: key("kept"), expected }]).await.remove(0).is_err());
    assert_eq!(content(&*subject.endpoint, "kept").await.as_deref(), Some(&b"theirs"[..]));
    assert_eq!(listed(&*subject.endpoint).await.0.len(), 1);
}

/// A repository with one commit; answers its directory.
fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let repo = git2::Repository::init(dir.path()).unwrap();
    let mut config = repo.config().unwrap();
    config.set_str("user.name", "Ada").unwrap();
    config.set_str("user.email", "ada@example.test").unwrap();
    dir
}

fn commit(root: &Path, branch: &str) {
    let repo = git2::Repository::open(root).unwrap();
    let mut index = repo.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    index.write().unwrap();
    let tree = repo.find_tree(index.write_tree().unwrap()).unwrap();
    let ada = repo.signature().unwrap();
    repo.commit(Some(&format!("refs/heads/{branch}")), &ada, &ada, "all", &tree, &[]).unwrap();
}

#[tokio::test]
async fn a_tree_keeps_the_contract_of_what_is_only_read_from() {
    for path in ["", "public", "deep/public"] {
        let dir = repository();
        let root = dir.path().to_owned();
        let below = root.join(path);
        for (text, form, bytes) in everything() {
            put_file(&below, text, form, &bytes);
        }
        std::fs::write(root.join(".git/not-content"), "x").unwrap();
        commit(&root, "live");
        let git = Git::open(&root, None).unwrap();
        let tree = Tree::open(&git, "live", path.as_bytes()).await.unwrap();
        let (set, unset) = (Box::new(|_: &str, _: Form, _: &[u8]| {}), Box::new(|_: &str| {}));
        let subject = Subject { endpoint: Arc::new(tree), set, unset, holds_records: false };
        is_read(&subject).await;
        let refused = write(&*subject.endpoint, put("x", PLAIN, b"x", None)).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("{} cannot be written to", subject.endpoint.place()));
        assert!(!subject.endpoint.capabilities().writes);
        let missing = Tree::open(&git, "live", b"nowhere").await.unwrap_err();
        assert_eq!(missing.to_string(), "nowhere of the branch live is not there");
        assert!(Tree::open(&git, "other", b"").await.is_err());
    }
}

#[tokio::test]
async fn a_listing_whose_work_is_lost_has_no_end() {
    let mut listing = Listing::running("the test".to_owned(), |mut lister| async move {
        lister.give(Item {
            key: key("a"),
            form: PLAIN,
            size: 0,
            fingerprint: Fingerprint { bytes: Vec::new(), is_racy: true },
            digest: None,
        });
        panic!("as a defect does");
    });
    assert!(matches!(listing.next().await, Some(Err(Error::Lost { .. }))));
}

fn shape() -> Shape {
    Shape { id: "id".to_owned(), ignore: Vec::new(), schema: None, limit: 64 << 20, by_field: false }
}

/// Records in a file, which somebody else edits as people do: read all, change, write all.
fn record_file(path: &Path) -> Subject {
    let (setting, unsetting) = (path.to_owned(), path.to_owned());
    let edit = |path: &Path, key: &str, record: Option<serde_json::Value>| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = path.extension().is_some_and(|extension| extension == "ndjson");
        let records: Vec<serde_json::Value> = match lines {
            true => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            false => serde_json::from_str(if text.is_empty() { "[]" } else { &text }).unwrap(),
        };
        let is_other = |one: &serde_json::Value| record_key(one["id"].as_str().unwrap()).unwrap() != self::key(key);
        let records: Vec<_> = records.into_iter().filter(is_other).chain(record).collect();
        let text = match lines {
            true => records.iter().map(|record| format!("{record}\n")).collect(),
            false => serde_json::to_string_pretty(&records).unwrap(),
        };
        std::fs::write(path, text).unwrap();
    };
    Subject {
        endpoint: Arc::new(RecordFile::open(path, shape()).unwrap()),
        set: Box::new(move |text, _, body| edit(&setting, text, Some(serde_json::from_slice(body).unwrap()))),
        unset: Box::new(move |text| edit(&unsetting, text, None)),
        holds_records: true,
    }
}

#[tokio::test]
async fn a_file_of_records_keeps_the_contract() {
    for name in ["all.json", "all.ndjson"] {
        let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
        is_read(&record_file(&dirs[0].path().join(name))).await;
        let subject = record_file(&dirs[1].path().join(name));
        writes_what_is_expected_and_nothing_else(&subject).await;
        never_writes_what_is_not_what_was_promised(&subject).await;
        takes_content_in_pieces_and_answers_for_each_item(&subject).await;
        let names: Vec<_> = std::fs::read_dir(dirs[1].path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(names, [name], "nothing is left behind");
    }
}

#[tokio::test]
async fn texts_of_records_keep_the_contract_of_what_is_only_read_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.json");
    let file = record_file(&path);
    let texts = RecordTexts::open(Origin::Files(path.clone()), shape(), None);
    is_read(&Subject { endpoint: Arc::new(texts), ..file }).await;
    let script = format!("cat {}", path.display());
    let surroundings = crate::config::Surroundings::default();
    let limit = crate::base::units::Span::seconds(60);
    let most = crate::base::units::ByteSize(64 << 20);
    let command = Origin::Command { script, directory: dir.path().to_owned(), limit, most, surroundings };
    let texts = RecordTexts::open(command, shape(), None);
    let subject = Subject { endpoint: Arc::new(texts), ..record_file(&path) };
    is_read(&subject).await;
    let refused = write(&*subject.endpoint, subject.put("x", PLAIN, b"x", None)).await.unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");
}

/// Somebody else who changes a table, from a thread of their own.
fn in_table(table: &RecordTable, work: impl AsyncFnOnce(&RecordTable) + Send + 'static) {
    let table = table.clone();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work(&table));
    })
    .join()
    .unwrap();
}

async fn record_table(root: &Path) -> Subject {
    let home = crate::store::Home::new(root.join("home"));
    let store = crate::store::Store::open(&home, &home.project(root)).await.unwrap();
    let table = RecordTable::open(store, "products", shape(), Arc::new(SystemClock));
    let (setting, unsetting) = (table.clone(), table.clone());
    Subject {
        endpoint: Arc::new(table),
        set: Box::new(move |_, _, body| {
            let body = body.to_vec();
            in_table(&setting, async move |table| drop(table.set(&body).await.unwrap()));
        }),
        unset: Box::new(move |text| {
            let text = text.to_owned();
            in_table(&unsetting, async move |table| {
                let take = Take { key: key(&text), expected: known(table, &text).await };
                table.delete(vec![take]).await.remove(0).unwrap();
            });
        }),
        holds_records: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_records_keeps_the_contract() {
    let dirs = [0, 1].map(|_| tempfile::tempdir().unwrap());
    is_read(&record_table(dirs[0].path()).await).await;
    let subject = record_table(dirs[1].path()).await;
    writes_what_is_expected_and_nothing_else(&subject).await;
    never_writes_what_is_not_what_was_promised(&subject).await;
    takes_content_in_pieces_and_answers_for_each_item(&subject).await;
}

/// How a server is asked about its records.
fn asking(server: &RecordServer, wrapping: Wrapping) -> (Asking, Requests) {
    let address = Expanded::new("${SHOP}", &server.address);
    let asking = Asking::new(&address, &[], std::time::Duration::from_secs(60)).unwrap();
    let is_wrapped = wrapping == Wrapping::Object;
    let pointer = |text: &str| is_wrapped.then(|| text.parse().unwrap());
    let body = || serde_json::from_str(r#"{"by": "cascade", "item": "{record}"}"#).unwrap();
    let header = Expanded::new("X-About: {id} {content}", "X-About: {id} {content}");
    let (name, template) = header_template(&header).unwrap();
    let requests = Requests {
        read: "GET /{id}".parse().unwrap(),
        create: if is_wrapped { "POST ?of={id}" } else { "POST" }.parse().unwrap(),
        update: "PUT /{id}".parse().unwrap(),
        delete: "DELETE /{id}".parse().unwrap(),
        headers: is_wrapped.then(|| (name.parse().unwrap(), template)).into_iter().collect(),
        body: is_wrapped.then(body),
        items: pointer("/data/items"),
        item: pointer("/item"),
        parallel: 3,
    };
    (asking.turning(pointer("/links/next")), requests)
}

/// Records behind an HTTP API, which somebody else changes there.
fn record_api(wrapping: Wrapping) -> (Subject, RecordServer) {
    let server = RecordServer::start(wrapping);
    let (asking, requests) = asking(&server, wrapping);
    let [setting, unsetting] = [0, 1].map(|_| Arc::clone(&server.held));
    let id = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let subject = Subject {
        endpoint: Arc::new(RecordApi::open(asking, requests, shape())),
        set: Box::new(move |text, _, body| {
            setting.lock().unwrap().records.insert(id(text), serde_json::from_slice(body).unwrap());
        }),
        unset: Box::new(move |text| drop(unsetting.lock().unwrap().records.remove(&id(text)))),
        holds_records: true,
    };
    (subject, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_of_records_keeps_the_contract() {
    for wrapping in [Wrapping::None, Wrapping::Object] {
        is_read(&record_api(wrapping).0).await;
        let (subject, _) = record_api(wrapping);
        writes_what_is_expected_and_nothing_else(&subject).await;
        never_writes_what_is_not_what_was_promised(&subject).await;
        takes_content_in_pieces_and_answers_for_each_item(&subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_records_keep_the_contract_of_what_is_only_read_from() {
    let (subject, server) = record_api(Wrapping::Object);
    let (asking, requests) = asking(&server, Wrapping::Object);
    let source = RecordTexts::open(Origin::Http(asking), shape(), requests.items);
    let subject = Subject { endpoint: Arc::new(source), ..subject };
    is_read(&subject).await;
    let refused = write(&*subject.endpoint, subject.put("x", PLAIN, b"x", None)).await.unwrap_err();
    assert!(matches!(refused, Error::ReadOnly { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_an_api_is_filled_in_and_reaches_nothing_else() {
    let (subject, server) = record_api(Wrapping::Object);
    let writing = async |id: &str, text: &str| {
        let to = version(PLAIN, text.as_bytes());
        let content = Content::whole(text.as_bytes().to_vec());
        write(&*subject.endpoint, Put { key: record_key(id).unwrap(), to, content, expected: None }).await
    };
    let asked = || std::mem::take(&mut server.held.lock().unwrap().asked);
    writing("a/b", r#"{"content":"é\r\nx: y%","id":"a/b"}"#).await.unwrap();
    assert_eq!(asked(), ["GET /all/a%2Fb", "POST /all?of=a%2Fb x-about: a/b %C3%A9%0D%0Ax: y%25"]);
    // All of them, and what is above, is not what a record names.
    for id in [".", ".."] {
        let refused = writing(id, &format!(r#"{{"content":"x","id":"{id}"}}"#)).await.unwrap_err();
        assert!(format!("{refused:?}").contains("cannot be a part of a path"), "{refused:?}");
    }
    assert_eq!(asked(), [""; 0]);
    let refused = writing("c", r#"{"id":"c"}"#).await.unwrap_err();
    assert!(format!("{refused:?}").contains("has no text or number `content`"), "{refused:?}");
    assert_eq!(server.held.lock().unwrap().records.len(), 1);
}
