//! Indexes of every form: version 2 is patched in place, all others by the git program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::tests::{Checkout, saved};
use super::*;

/// What makes an index of each form; the first is the ordinary one.
const FORMS: [&[&str]; 4] = [
    &["update-index", "--index-version", "2"],
    &["update-index", "--index-version", "4"],
    &["update-index", "--split-index"],
    &["sparse-checkout", "set", "--sparse-index", "other"],
];

#[test]
fn an_index_of_any_form_follows_what_is_saved() {
    for form in FORMS {
        let at = Checkout::new();
        at.git(form);
        at.write("two", "staged");
        at.git(&["add", "two"]);
        at.write("one", "new");
        at.write("other/new", "new");
        fs::remove_file(at.path("other/d")).unwrap();
        at.save(&["one", "other"]);
        assert_eq!(at.git(&["status", "--porcelain"]), "M  two\n", "{form:?}");
        at.git(&["commit", "-qm", "x"]);
        at.write("one", "again");
        saved(at.try_save(Hints::Everything).unwrap());
        at.check_clean();
    }
}

#[test]
fn what_the_user_staged_of_a_saved_path_is_kept_in_any_form() {
    for form in FORMS {
        let at = Checkout::new();
        at.git(form);
        at.write("one", "staged");
        at.git(&["add", "one"]);
        at.write("one", "newer");
        at.git(&["rm", "-q", "--cached", "two"]);
        at.write("two", "newer");
        at.write("meant", "new");
        at.git(&["add", "-N", "meant"]);
        at.write("other/d", "staged, and then deleted");
        at.git(&["add", "other/d"]);
        fs::remove_file(at.path("other/d")).unwrap();
        let answer = at.save(&["one", "two", "meant", "other/d"]);
        assert!(answer.keeps_staged, "{form:?}");
        assert_eq!([at.blob("one"), at.blob("two"), at.blob("meant")], ["newer", "newer", "new"]);
        assert_eq!(at.git(&["show", ":one"]), "staged");
        assert_eq!(at.git(&["status", "--porcelain"]), "MM one\nAD other/d\nD  two\n?? two\n", "{form:?}");
        at.git(&["commit", "-qm", "what was staged"]);
        assert_eq!(at.blob("one"), "staged");
        assert!(!at.save(&["one", "two", "other/d"]).keeps_staged);
        assert_eq!([at.blob("one"), at.blob("two")], ["newer", "newer"]);
        at.check_clean();
    }
}

#[test]
fn what_is_staged_as_it_is_saved_or_only_its_mode_is_settled_in_any_form() {
    for form in FORMS {
        let at = Checkout::new();
        at.git(form);
        at.write("one", "the same");
        at.git(&["add", "one"]);
        at.git(&["update-index", "--chmod=+x", "two"]);
        fs::set_permissions(at.path("two"), fs::Permissions::from_mode(0o755)).unwrap();
        at.write("two", "newer");
        at.write("new", "the same");
        at.git(&["add", "new"]);
        assert!(!at.save(&["one", "two", "new"]).keeps_staged, "{form:?}");
        at.check_clean();
    }
}

#[test]
fn a_conflict_is_settled_by_a_save_in_any_form() {
    for form in FORMS {
        let at = Checkout::new();
        at.git(form);
        let blob = at.git(&["rev-parse", "HEAD:one"]);
        let stages = (1..=3).map(|stage| format!("100644 {} {stage}\tone\n", blob.trim())).collect::<String>();
        fs::write(at.path("stages.tmp"), format!("0 {}\tone\n{stages}", "0".repeat(40))).unwrap();
        at.git(&["-c", "alias.feed=!git update-index --index-info < stages.tmp", "feed"]);
        assert!(at.git(&["status", "--porcelain"]).contains("UU one"));
        at.write("one", "resolved");
        assert!(!at.save(&["one"]).keeps_staged, "{form:?}");
        fs::remove_file(at.path("stages.tmp")).unwrap();
        at.check_clean();
    }
}
