//! What buckets do beyond the contract.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::base::clock::SystemClock;
use crate::base::digest::Digest;
use crate::config::{BucketAddress, StoreSpec};
use crate::endpoint::contract_tests::{key, listed};
use crate::endpoint::{Form, Version};

fn bucket(root: &Path) -> Bucket {
    let address = BucketAddress::Fs { path: root.to_str().unwrap().to_owned() };
    Bucket::open(&address, &StoreSpec::default(), Arc::new(SystemClock)).unwrap()
}

fn put(text: &str, content: &[u8]) -> Put {
    let to =
        Version { digest: Digest::of(content), form: Form::File { executable: false }, size: content.len() as u64 };
    Put { key: key(text), to, content: Content::whole(content.to_vec()), expected: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_listed_directory_by_directory_is_in_the_order_of_whole_names(
        paths in prop::collection::vec(prop::collection::vec("[a!.~-]{0,2}x", 1..4), 1..12)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut made = BTreeSet::new();
        for path in paths.iter().map(|parts| parts.join("/")) {
            let file = dir.path().join(&path);
            // One name cannot be a file and a directory.
            if std::fs::create_dir_all(file.parent().unwrap()).is_ok() && std::fs::write(&file, "x").is_ok() {
                made.insert(key(&path));
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (items, _) = runtime.block_on(listed(&bucket(dir.path())));
        let keys: Vec<Key> = items.into_iter().map(|item| item.key).collect();
        prop_assert_eq!(keys, made.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn links_are_no_items_and_leftovers_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = bucket(dir.path());
    symlink("/", dir.path().join("link")).unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xe4")), "x").unwrap();
    for path in [".cascade-new/half", ".cascade-probe-dead"] {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), "x").unwrap();
    }
    let (items, ended) = listed(&bucket).await;
    assert!(items.is_empty(), "{items:?}");
    let unlisted: Vec<_> = ended.unlisted.iter().map(|one| (one.key.clone(), one.hides_items)).collect();
    assert_eq!(unlisted, [(Key::new(b"\xe4".to_vec()).unwrap(), false), (key("link"), false)]);
    assert_eq!(ended.leftovers.len(), 2);
    let said = bucket.sweep(ended.leftovers, Arc::new(|_: &Digest| false)).await;
    assert!(said.is_empty(), "{said:?}");
    assert!(listed(&bucket).await.1.leftovers.is_empty());
}

#[tokio::test]
async fn a_file_makes_room_for_a_directory_and_a_directory_for_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = bucket(dir.path());
    let turns: [(&str, &[&str]); 4] = [("a", &[]), ("a/b/c", &["a"]), ("a/b", &["a/b/c"]), ("a", &["a/b"])];
    for (new, old) in turns {
        let items = listed(&bucket).await.0;
        let digested = bucket.digest(items.clone()).await.into_iter().map(Result::unwrap);
        let takes: Vec<Take> =
            items.iter().zip(digested).map(|(item, expected)| Take { key: item.key.clone(), expected }).collect();
        assert_eq!(
            takes.iter().map(|take| take.key.clone()).collect::<Vec<_>>(),
            old.iter().map(|old| key(old)).collect::<Vec<_>>()
        );
        assert!(bucket.delete(takes).await.iter().all(Result::is_ok));
        bucket.write(vec![put(new, b"x")]).await.remove(0).unwrap();
    }
    // What is in the way stays, and so does what is below.
    std::fs::create_dir_all(dir.path().join("d/empty")).unwrap();
    std::fs::create_dir_all(dir.path().join("e/empty")).unwrap();
    std::fs::write(dir.path().join("e/theirs"), "x").unwrap();
    symlink("/", dir.path().join("link")).unwrap();
    let said = bucket.write(["a/b", "d", "e", "link/x"].map(|name| put(name, b"y")).into()).await;
    assert!(
        matches!(said[..], [Err(Error::Changed { .. }), Ok(_), Err(Error::Changed { .. }), Err(Error::Changed { .. })]),
        "{said:?}"
    );
    assert!(said[0].as_ref().unwrap_err().to_string().contains("no directory"), "{said:?}");
}

#[tokio::test]
async fn names_that_a_store_would_take_for_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = bucket(dir.path());
    let latin = Key::new(b"\xe4".to_vec()).unwrap();
    let puts =
        vec![put(" led", b"x"), put("trailed ", b"x"), Put { key: latin, ..put("x", b"x") }, put("in side", b"x")];
    let answers = bucket.write(puts).await;
    let refused: Vec<bool> = answers.iter().map(Result::is_err).collect();
    assert_eq!(refused, [true, true, true, false]);
    let keys: Vec<Key> = listed(&bucket).await.0.into_iter().map(|item| item.key).collect();
    assert_eq!(keys, [key("in side")], "and nothing is left of what was tried");
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let address = "s3://site/live".parse().unwrap();
    let text = |name: &str, value: &str| Some(crate::config::Expanded::new(format!("${{{name}}}"), value));
    let spec = StoreSpec {
        endpoint: text("HOST", "http://127.0.0.1:1"),
        access_key: text("KEY", "hunter-key"),
        secret_key: text("SECRET", "hunter-secret"),
        session_token: text("TOKEN", "hunter-token"),
        ..StoreSpec::default()
    };
    let bucket = Bucket::open(&address, &spec, Arc::new(SystemClock)).unwrap();
    let error = bucket.list().next().await.unwrap().unwrap_err();
    let said = format!("{bucket:?} {spec:?} {error:?} {error} {}", bucket.place());
    assert!(!said.contains("hunter") && said.contains("connection refused"), "{said}");
    assert_eq!(error.class(), crate::endpoint::Class::Transient);
}
