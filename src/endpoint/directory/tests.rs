use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use super::super::contract_tests::{directory, key, listed};
use super::*;
use crate::base::clock::{ManualClock, SystemClock, from_ms};
use crate::beneath;

fn sample() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "content").unwrap();
    dir
}

async fn fingerprint(clock_ms: i64, root: &Path) -> Fingerprint {
    let directory = Directory::open(root, Arc::new(ManualClock::at_ms(clock_ms))).unwrap();
    listed(&directory).await.0.remove(0).fingerprint
}

#[tokio::test]
async fn a_missing_root_and_one_that_is_a_file_are_told() {
    let dir = sample();
    let missing = Directory::open(&dir.path().join("none"), Arc::new(SystemClock)).unwrap_err();
    assert_eq!(missing.to_string(), format!("the directory {}/none is not there", dir.path().display()));
    let file = Directory::open(&dir.path().join("file"), Arc::new(SystemClock)).unwrap_err();
    assert_eq!(file.to_string(), format!("the directory {}/file cannot be used", dir.path().display()));
}

#[tokio::test]
async fn a_fingerprint_is_racy_as_long_as_the_file_may_change_within_the_same_tick() {
    let dir = sample();
    let stat = beneath::stat_at(File::open(dir.path()).unwrap().as_fd(), b"file").unwrap();
    let changed_ms = stat.ctime.0 * 1_000 + i64::from(stat.ctime.1 / 1_000_000);
    for (later_ms, is_racy) in [(-1_000_000, true), (0, true), (TICK_MS, true), (COARSE_TICK_MS + 1, false)] {
        assert_eq!(fingerprint(changed_ms + later_ms, dir.path()).await.is_racy, is_racy, "{later_ms}");
    }
    let (one, other) = (fingerprint(changed_ms, dir.path()).await, fingerprint(changed_ms + 9_999, dir.path()).await);
    assert_eq!(one.bytes, other.bytes);
}

#[tokio::test]
async fn what_is_no_file_is_told_and_hides_nothing_else() {
    let dir = sample();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let subject = directory(dir.path());
    let (items, ended) = listed(&*subject.endpoint).await;
    assert_eq!(items.len(), 1);
    let told: Vec<String> = ended.unlisted.iter().map(|one| format!("{}: {}", one.key, one.reason)).collect();
    assert_eq!(told, ["pipe: it is a FIFO", "socket: it is a socket"]);
    assert!(ended.unlisted.iter().all(|one| !one.hides_items));
}

#[tokio::test]
async fn where_modes_are_not_kept_none_is_told_and_none_is_a_change() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("run"), "x").unwrap();
    std::fs::set_permissions(dir.path().join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let kept = Directory::open(dir.path(), Arc::new(SystemClock)).unwrap().trying_modes();
    assert!(kept.capabilities().executables && modes::probe(&kept.top).unwrap());
    let lost = Directory { executables: false, ..kept.clone() };
    assert!(!lost.capabilities().executables);
    let (items, _) = listed(&lost).await;
    let plain = Form::File { executable: false };
    assert_eq!(items[0].form, plain);
    let known = lost.digest(items.clone()).await.remove(0).unwrap();
    assert_eq!(known.version.form, plain);
    lost.delete(vec![Take { key: items[0].key.clone(), expected: known }]).await.remove(0).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "and nothing is left of what was tried");
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_hides_items() {
    let dir = sample();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let (items, ended) = listed(&*directory(dir.path()).endpoint).await;
    assert_eq!(items.len(), 1);
    // Root may read everything.
    if std::fs::read_dir(&closed).is_err() {
        assert!(ended.unlisted.iter().any(|one| one.key == key("closed") && one.hides_items), "{ended:?}");
    }
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn links_lead_nowhere_when_something_is_written() {
    let (dir, outside) = (sample(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
    let subject = directory(dir.path());
    let put = |text: &str| {
        let to = Version { digest: Digest::of(b"x"), form: Form::File { executable: false }, size: 1 };
        Put { key: key(text), to, content: Content::whole(b"x".to_vec()), expected: None }
    };
    let answers = subject.endpoint.write(vec![put("out/x"), put("out/deeper/x"), put("file/x")]).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(Error::is_change)), "{answers:?}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn permissions_of_a_replaced_file_stay() {
    let dir = sample();
    let file = dir.path().join("file");
    for (mode, executable, expected) in [(0o640, false, 0o640), (0o640, true, 0o750), (0o755, false, 0o644)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let subject = directory(dir.path());
        let item = listed(&*subject.endpoint).await.0.remove(0);
        let before = subject.endpoint.digest(vec![item]).await.remove(0).unwrap();
        let content = format!("{mode}");
        let to = Version {
            digest: Digest::of(content.as_bytes()),
            form: Form::File { executable },
            size: content.len() as u64,
        };
        let put = Put { key: key("file"), to, content: Content::whole(content.into()), expected: Some(before) };
        subject.endpoint.write(vec![put]).await.remove(0).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, expected, "{mode:o}");
    }
}

#[tokio::test]
async fn emptied_directories_go_and_others_stay() {
    let dir = sample();
    for path in ["a/b/c", "a/d"] {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), path).unwrap();
    }
    let subject = directory(dir.path());
    let (items, _) = listed(&*subject.endpoint).await;
    let item = items.into_iter().find(|item| item.key == key("a/b/c")).unwrap();
    let expected = subject.endpoint.digest(vec![item]).await.remove(0).unwrap();
    subject.endpoint.delete(vec![Take { key: key("a/b/c"), expected }]).await.remove(0).unwrap();
    assert!(!dir.path().join("a/b").exists() && dir.path().join("a/d").exists());
}

#[tokio::test]
async fn leftovers_are_no_items_and_only_what_nobody_may_want_is_swept() {
    let dir = sample();
    let file = |name: &str, content: &str, mode: u32| {
        std::fs::write(dir.path().join(name), content).unwrap();
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let named = |content: &str| format!(".cascade-new-{}-x", Digest::of(content.as_bytes()).short(32));
    file(&named("whole"), "half", 0o1644);
    file(&named("new"), "new", 0o644);
    file(&named("newer"), "replaced", 0o644);
    file(".cascade-old--1", "kept", 0o644);
    file(".cascade-old--2", "by hand", 0o644);
    let subject = directory(dir.path());
    let (items, ended) = listed(&*subject.endpoint).await;
    assert_eq!((items.len(), ended.leftovers.len()), (1, 5));
    let is_kept: IsKept = Arc::new(|digest| *digest == Digest::of(b"kept") || *digest == Digest::of(b"replaced"));
    let told = subject.endpoint.sweep(ended.leftovers, is_kept).await;
    assert!(told.len() == 1 && told[0].contains(".cascade-old--2 is what somebody put there"), "{told:?}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// A directory whose clock says that everything in it is old enough to be believed.
fn later(root: &Path) -> Directory {
    let now_ms = SystemClock.now().as_millisecond();
    Directory::open(root, Arc::new(ManualClock::at_ms(now_ms + 3_600_000))).unwrap()
}

/// Lists and digests the file of a directory as a sync does, and reads it then.
async fn digested(directory: &Directory, text: &str) -> (Known, Item) {
    let item = listed(directory).await.0.into_iter().find(|item| item.key == key(text)).unwrap();
    let known = directory.digest(vec![item.clone()]).await.remove(0).unwrap();
    let item = Item { fingerprint: known.fingerprint.clone(), ..item };
    (known, item)
}

#[tokio::test]
async fn when_a_file_was_changed_is_kept_and_large_ones_are_copied_whole() {
    let (source, target) = (sample(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("large"), vec![7; 3 * PIECE_BYTES + 1]).unwrap();
    let long_ago = std::time::SystemTime::from(from_ms(1_000_000_000_123));
    for text in ["file", "large"] {
        let file = File::options().write(true).open(source.path().join(text)).unwrap();
        file.set_modified(long_ago).unwrap();
        drop(file);
        let from = later(source.path());
        let (known, item) = digested(&from, text).await;
        let content = from.read(vec![item]).await.remove(0).unwrap();
        let is_proved = matches!(&content.body, Body::File(opened) if opened.is_proved());
        assert_eq!(is_proved, text == "large", "{text}");
        let put = Put { key: key(text), to: known.version, content, expected: None };
        later(target.path()).write(vec![put]).await.remove(0).unwrap();
        let written = target.path().join(text);
        assert_eq!(std::fs::metadata(&written).unwrap().modified().unwrap(), long_ago, "{text}");
        assert!(std::fs::read(&written).unwrap() == std::fs::read(source.path().join(text)).unwrap(), "{text}");
    }
}

#[tokio::test]
async fn a_large_file_that_was_touched_since_it_was_digested_is_not_taken_for_what_it_was() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = source.path().join("large");
    std::fs::write(&path, vec![7; 2 * PIECE_BYTES]).unwrap();
    let from = later(source.path());
    let (known, item) = digested(&from, "large").await;
    for opened_before in [true, false] {
        let early = from.read(vec![item.clone()]).await.remove(0).unwrap();
        std::fs::write(&path, vec![8; 2 * PIECE_BYTES]).unwrap();
        let content = if opened_before { early } else { from.read(vec![item.clone()]).await.remove(0).unwrap() };
        let put = Put { key: key("large"), to: known.version, content, expected: None };
        let refused = later(target.path()).write(vec![put]).await.remove(0).unwrap_err();
        assert!(refused.is_change(), "{refused}");
    }
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_probe_for_names_that_are_taken_for_one_leaves_nothing_behind() {
    let dir = sample();
    let folding = directory(dir.path()).endpoint.folding().await;
    let is_same = |one: &str, other: &str| {
        std::fs::write(dir.path().join(one), "").unwrap();
        let is_same = dir.path().join(other).exists();
        std::fs::remove_file(dir.path().join(one)).unwrap();
        is_same
    };
    assert_eq!(folding.case, is_same("name", "NAME"));
    assert_eq!(folding.normalization, is_same("\u{e9}", "e\u{301}"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn no_more_directories_are_open_at_a_time_than_a_process_may_have() {
    let put = |directory: usize, file: usize| {
        let to = Version { digest: Digest::of(b""), form: Form::File { executable: false }, size: 0 };
        let key = key(&format!("{directory:04}/{file}"));
        Put { key, to, content: Content::whole(Vec::new()), expected: None }
    };
    let keys = |parts: &[Vec<Put>]| -> Vec<String> { parts.iter().flatten().map(|put| put.key.to_string()).collect() };
    let limit = write::DIRECTORIES_LIMIT;
    let puts = || (0..2 * limit + 1).flat_map(|directory| [put(directory, 1), put(directory, 2)]);
    let parts = write::parts(puts().collect());
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2 * limit, 2 * limit, 2]);
    assert_eq!(keys(&parts), keys(&[puts().collect()]), "all of them, in order");
    assert_eq!(write::parts((0..3 * limit).map(|file| put(0, file)).collect()).len(), 1);
    assert!(write::parts(Vec::new()).is_empty());
}
