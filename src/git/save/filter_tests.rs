//! Files that a program stores elsewhere and of which commits have a pointer only (`filter=lfs`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::pull_tests::Pair;
use super::tests::{Checkout, hints, kinds};
use super::*;
use std::path::Path;

/// Stands in for git-lfs in both of its forms: a program for each file, and one that serves many (the protocol of
/// `gitattributes`, "Long Running Filter Process").
const FILTER: &str = r#"#!/bin/sh
store=$(dirname "$0")/store
mkdir -p "$store"
echo "$1" >> "$store/calls"
clean() {
    cat > "$store/incoming"
    sum=$(cksum < "$store/incoming" | tr ' ' -)
    mv "$store/incoming" "$store/$sum"
    printf 'pointer to %s\n' "$sum"
}
smudge() {
    read -r pointer
    cat "$store/${pointer#pointer to }"
}
length() {
    length=$(dd bs=1 count=4 2> /dev/null)
    [ -n "$length" ] || exit 0
    length=$((0x$length))
    [ "$length" -gt 4 ]
}
packet() { length && text=$(dd bs=1 count=$((length - 4)) 2> /dev/null); }
content() { length && dd bs=1 count=$((length - 4)) 2> /dev/null; }
say() { printf '%04x%s\n' $((${#1} + 5)) "$1"; }
process() {
    while packet; do :; done
    say git-filter-server; say version=2; printf 0000
    while packet; do :; done
    say capability=clean; say capability=smudge; printf 0000
    while :; do
        while packet; do
            case $text in command=*) command=${text#command=} ;; esac
        done
        while content; do :; done > "$store/in"
        $command < "$store/in" > "$store/out"
        say status=success; printf 0000
        printf '%04x' $(($(wc -c < "$store/out") + 4)); cat "$store/out"
        printf 00000000
    done
}
"$1"
"#;

/// Lets `*.psd` go through the stand-in as `git lfs install` and `git lfs track` do.
fn install(at: &Checkout, place: &Path, with_process: bool) {
    let program = place.join("filter");
    if !program.exists() {
        fs::write(&program, FILTER).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let modes = if with_process { vec!["clean", "smudge", "process"] } else { vec!["clean", "smudge"] };
    for mode in modes {
        at.git(&["config", &format!("filter.lfs.{mode}"), &format!("{} {mode}", program.display())]);
    }
    at.git(&["config", "filter.lfs.required", "true"]);
}

fn track(at: &Checkout) {
    at.write(".gitattributes", "*.psd filter=lfs diff=lfs merge=lfs -text\n");
    at.save(&[".gitattributes"]);
}

#[test]
fn the_blob_is_the_pointer_that_git_would_commit_and_the_checkout_is_clean() {
    for with_process in [false, true] {
        let (at, place) = (Checkout::new(), tempfile::tempdir().unwrap());
        install(&at, place.path(), with_process);
        track(&at);
        at.write("art/x.psd", "layers\r\nof one");
        at.write("y.psd", "layers of two");
        assert_eq!(at.save(&["art/x.psd", "y.psd"]).changes.len(), 2);
        for path in ["art/x.psd", "y.psd"] {
            assert!(at.blob(path).starts_with("pointer to "), "{}", at.blob(path));
            let by_git = at.git(&["hash-object", &format!("--path={path}"), path]);
            assert_eq!(at.git(&["rev-parse", &format!("HEAD:{path}")]), by_git);
        }
        at.check_clean();
        assert!(matches!(at.try_save(hints(&["art", "y.psd"])).unwrap(), SaveAnswer::Nothing { .. }));
        let calls = fs::read_to_string(place.path().join("store/calls")).unwrap();
        let expected = if with_process { "process" } else { "clean" };
        assert!(calls.lines().all(|call| call == expected), "{calls}");
    }
}

#[test]
fn without_the_required_program_its_files_are_set_aside_and_the_rest_is_saved() {
    for mode in ["clean", "process"] {
        let (at, place) = (Checkout::new(), tempfile::tempdir().unwrap());
        at.git(&["config", &format!("filter.lfs.{mode}"), "/nowhere/git-lfs"]);
        at.git(&["config", "filter.lfs.required", "true"]);
        track(&at);
        at.write("x.psd", "layers");
        at.write("one", "new");
        let saved = at.save(&["x.psd", "one"]);
        assert_eq!(kinds(&saved), [("one".to_owned(), ChangeKind::Modified)]);
        let [aside] = &saved.set_aside[..] else { panic!("{saved:?}") };
        assert_eq!(aside.path, b"x.psd");
        assert!(aside.reason.contains("lfs"), "{}", aside.reason);
        assert_eq!(at.git(&["ls-files", "x.psd"]), "");
        install(&at, place.path(), mode == "process");
        assert!(at.save(&["x.psd"]).set_aside.is_empty());
        at.check_clean();
    }
}

#[test]
fn what_others_pushed_comes_in_as_the_content_and_not_as_the_pointer() {
    for with_process in [false, true] {
        let (pair, place) = (Pair::new(), tempfile::tempdir().unwrap());
        install(&pair.at, place.path(), with_process);
        install(&pair.other, place.path(), with_process);
        track(&pair.at);
        pair.other.git(&["pull", "-q"]);
        pair.theirs("x.psd", "layers");
        pair.pulled();
        assert_eq!(pair.read("x.psd").as_deref(), Some("layers"));
        assert!(pair.at.blob("x.psd").starts_with("pointer to "));
    }
}

#[test]
fn without_the_required_program_nothing_of_a_push_is_brought_in() {
    let (pair, place) = (Pair::new(), tempfile::tempdir().unwrap());
    install(&pair.at, place.path(), false);
    install(&pair.other, place.path(), false);
    track(&pair.at);
    pair.other.git(&["pull", "-q"]);
    pair.theirs("one", "theirs");
    pair.theirs("x.psd", "layers");
    let (theirs, tip) = (pair.push(), pair.at.git(&["rev-parse", "HEAD"]));
    pair.at.git(&["config", "filter.lfs.smudge", "/nowhere/git-lfs"]);
    let problem = pair.try_pull(theirs).unwrap_err();
    assert!(matches!(&problem, Error::Program { message, .. } if message.contains("lfs")), "{problem}");
    assert_eq!((pair.at.git(&["rev-parse", "HEAD"]), pair.read("one").as_deref()), (tip, Some("one")));
    pair.at.check_clean();
}

#[test]
fn a_filter_that_serves_many_files_is_started_once_for_all_of_a_save() {
    let (at, place) = (Checkout::new(), tempfile::tempdir().unwrap());
    install(&at, place.path(), true);
    track(&at);
    let names = ["a.psd", "two\nlines.psd", "\"quoted\".psd", "dir/b c.psd", "-d.psd", "e.psd"];
    for (number, name) in names.iter().enumerate() {
        at.write(name, format!("layers of {number}"));
    }
    assert_eq!(at.save(&names).changes.len(), names.len());
    let calls = fs::read_to_string(place.path().join("store/calls")).unwrap();
    // What cannot be named in a line is asked about alone.
    assert_eq!(calls.lines().count(), 3, "{calls}");
    for name in names {
        assert_eq!(at.blob(name), at.git(&["cat-file", "blob", &format!(":{name}")]));
        assert!(at.blob(name).starts_with("pointer to "), "{name:?}");
    }
    at.check_clean();
}

#[test]
fn a_file_that_a_filter_refuses_keeps_no_other_from_being_saved() {
    let (at, place) = (Checkout::new(), tempfile::tempdir().unwrap());
    install(&at, place.path(), false);
    track(&at);
    at.write(".gitattributes", "*.psd filter=lfs -text\nbad.psd filter=none\n");
    at.git(&["config", "filter.none.clean", "false"]);
    at.git(&["config", "filter.none.required", "true"]);
    for name in ["a.psd", "bad.psd", "c.psd"] {
        at.write(name, "layers");
    }
    let saved = at.save(&[".gitattributes", "a.psd", "bad.psd", "c.psd"]);
    assert_eq!((saved.changes.len(), saved.set_aside.len()), (3, 1), "{saved:?}");
    assert_eq!(saved.set_aside[0].path, b"bad.psd");
}

#[test]
fn what_the_filter_makes_of_a_file_is_what_must_not_be_too_large() {
    let large = "x".repeat(7 << 20);
    let (at, place) = (Checkout::new(), tempfile::tempdir().unwrap());
    install(&at, place.path(), true);
    track(&at);
    at.write(".gitattributes", "*.psd filter=lfs -text\n*.raw filter=raw\n*.txt text\n");
    at.git(&["config", "filter.raw.clean", "cat"]);
    for name in ["x.psd", "y.psd", "z.raw", "note.txt", "plain"] {
        at.write(name, &large);
    }
    let saved = at.save(&[".gitattributes", "x.psd", "y.psd", "z.raw", "note.txt", "plain"]);
    let aside: Vec<(String, String)> = saved
        .set_aside
        .iter()
        .map(|one| (String::from_utf8(one.path.clone()).unwrap(), one.reason[..20].to_owned()))
        .collect();
    let of = |path: &str, reason: &str| (path.to_owned(), reason[..20].to_owned());
    let expected = [
        of("note.txt", "it has 7340032 bytes"),
        of("plain", "it has 7340032 bytes"),
        of("z.raw", "its filter makes 7340032 bytes"),
    ];
    assert_eq!(aside, expected);
    assert!(at.blob("x.psd").starts_with("pointer to ") && at.blob("y.psd").starts_with("pointer to "));
}
