//! Damaged and missing indexes: never believed, made again with a word on it, and no reason to delete anything.

use std::fs;

use super::old_index::OldIndex;
use super::tests::{Checkout, hints, kinds, saved};
use super::*;
use crate::git::index::Proved;

fn index(at: &Checkout) -> Vec<u8> {
    fs::read(at.path(".git/index")).unwrap()
}

/// Lets one bit of the index rot, in the blob of its first entry; answers the bytes.
fn rot(at: &Checkout) -> Vec<u8> {
    let mut bytes = index(at);
    bytes[12 + 40] ^= 1;
    fs::write(at.path(".git/index"), &bytes).unwrap();
    bytes
}

#[test]
fn a_missing_index_is_made_again() {
    let at = Checkout::new();
    fs::remove_file(at.path(".git/index")).unwrap();
    at.write("one", "new");
    at.save(&["one"]);
    at.check_clean();
}

#[test]
fn bit_rot_in_the_index_is_not_signed() {
    let at = Checkout::new();
    let forms: [&[&str]; 3] = [
        &["update-index", "--force-write-index"],
        &["update-index", "--index-version", "4"],
        &["update-index", "--split-index"],
    ];
    for form in forms {
        at.git(form);
        let tip = at.git(&["rev-parse", "HEAD"]);
        let rotten = rot(&at);
        at.write("two", format!("new in {form:?}"));
        let problem = at.try_save(hints(&["two"])).unwrap_err();
        assert!(matches!(&problem, Error::IndexDamaged { .. }), "{problem}");
        assert_eq!((at.git(&["rev-parse", "HEAD"]), index(&at)), (tip, rotten.clone()), "nothing has moved");
        let (answer, rebuilt) = at.save_mending(hints(&["two"])).unwrap();
        assert_eq!(kinds(&saved(answer)), [("two".to_owned(), ChangeKind::Modified)]);
        assert_eq!(fs::read(rebuilt.unwrap().kept.unwrap()).unwrap(), rotten);
        at.check_clean();
    }
}

#[test]
fn nothing_is_deleted_by_a_rotten_index() {
    let at = Checkout::new();
    let (tip, rotten) = (at.git(&["rev-parse", "HEAD"]), rot(&at));
    fs::remove_file(at.path("two")).unwrap();
    assert!(matches!(at.try_save(hints(&["two"])), Err(Error::IndexDamaged { .. })));
    assert_eq!((at.git(&["rev-parse", "HEAD"]), index(&at)), (tip, rotten));
    assert_eq!(kinds(&saved(at.save_mending(hints(&["two"])).unwrap().0)), [("two".to_owned(), ChangeKind::Deleted)]);
}

#[test]
fn rot_under_the_own_index_is_noticed_by_the_next_save() {
    let at = Checkout::new();
    at.write("one", "first");
    at.save(&["one"]);
    at.write("one", "second");
    at.save(&["one"]);
    rot(&at);
    at.write("one", "third");
    assert!(matches!(at.try_save(hints(&["one"])), Err(Error::IndexDamaged { .. })));
}

#[test]
fn only_the_very_index_that_is_known_is_believed_unread() {
    let at = Checkout::new();
    at.write("one", "new");
    at.save(&["one"]);
    let known = at.repo.proved_index.get().unwrap();
    let mut old = OldIndex::read(&at.path(".git")).unwrap().unwrap();
    assert_eq!(old.prove(None).unwrap(), known, "what was written is what is known");
    old.bytes[12 + 40] ^= 1;
    assert_eq!(old.prove(Some(known)).unwrap(), known);
    let mut later = known;
    later.stat.mtime.1 ^= 1;
    for other in [None, Some(later), Some(Proved { checksum: [1; 20], ..known })] {
        assert!(matches!(old.prove(other), Err(Error::IndexDamaged { .. })));
    }
}

#[test]
fn an_index_without_a_checksum_stays_one_without() {
    let at = Checkout::new();
    at.git(&["config", "index.skipHash", "true"]);
    at.git(&["update-index", "--force-write-index"]);
    let is_unsigned = |bytes: Vec<u8>| bytes.ends_with(&[0; 20]);
    assert!(is_unsigned(index(&at)));
    at.write("one", "new");
    at.write("new", "new");
    at.save(&["one", "new"]);
    assert!(is_unsigned(index(&at)));
    at.check_clean();
}

#[test]
fn an_index_that_a_power_cut_left_is_made_again_wherever_changes_are_looked_for() {
    for (round, left) in [b"".as_slice(), &[0; 200], b"DIRC", b"garbage"].into_iter().enumerate() {
        for (hints, name) in [(hints(&["one"]), "paths"), (Hints::Everything, "all")] {
            let at = Checkout::new();
            fs::write(at.path(".git/index"), left).unwrap();
            at.write("one", format!("new {round} {name}"));
            assert!(matches!(at.repo.changed_files(), Err(Error::IndexDamaged { .. })));
            let (answer, rebuilt) = at.save_mending(hints).unwrap();
            assert_eq!(kinds(&saved(answer)), [("one".to_owned(), ChangeKind::Modified)]);
            assert_eq!(fs::read(rebuilt.unwrap().kept.unwrap()).unwrap(), left);
            at.check_clean();
        }
    }
}

/// Checkouts that leave out `dir/`, by patterns of both kinds.
fn sparse() -> [Checkout; 2] {
    let rules: [&[&str]; 2] = [&["set", "other"], &["set", "--no-cone", "/*", "!/dir/*"]];
    rules.map(|rules| {
        let at = Checkout::new();
        at.git(&[&["sparse-checkout"], rules].concat());
        assert!(!at.path("dir").exists() && at.path("other/d").exists());
        at
    })
}

#[test]
fn nothing_is_deleted_because_a_sparse_checkout_lost_its_index() {
    let breaks: [fn(&Checkout); 3] = [
        |at| fs::remove_file(at.path(".git/index")).unwrap(),
        |at| fs::write(at.path(".git/index"), "").unwrap(),
        |at| drop(rot(at)),
    ];
    for damage in breaks {
        for at in sparse() {
            damage(&at);
            at.write("other/d", "new");
            fs::remove_file(at.path("two")).unwrap();
            assert!(matches!(at.try_save(Hints::Everything), Err(Error::IndexDamaged { .. })));
            assert!(matches!(at.try_save(hints(&["dir", "two"])), Err(Error::IndexDamaged { .. })));
            let (answer, rebuilt) = at.save_mending(Hints::Everything).unwrap();
            use ChangeKind::{Deleted, Modified};
            let expected = [("other/d".to_owned(), Modified), ("two".to_owned(), Deleted)];
            assert_eq!(kinds(&saved(answer)), expected);
            assert!(rebuilt.is_some() && !at.path("dir").exists());
            assert_eq!(at.git(&["ls-files", "-t", "dir"]), "S dir/a\nS dir/b\nS dir/deep/c\n");
            at.check_clean();
        }
    }
}

#[test]
fn a_sparse_checkout_without_patterns_is_left_to_the_user() {
    let [at, _] = sparse();
    fs::remove_file(at.path(".git/index")).unwrap();
    fs::remove_file(at.path(".git/info/sparse-checkout")).unwrap();
    at.write("other/d", "new");
    let (tip, problem) = (at.git(&["rev-parse", "HEAD"]), at.save_mending(Hints::Everything).unwrap_err());
    assert!(problem.to_string().contains("it is missing"), "{problem}");
    assert_eq!(at.repo.index_damage().unwrap().unwrap().obstacle, Some(Obstacle::Sparse));
    assert_eq!(at.git(&["rev-parse", "HEAD"]), tip);
}
