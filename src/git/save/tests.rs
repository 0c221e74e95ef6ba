use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::*;

pub(super) struct Checkout {
    pub dir: tempfile::TempDir,
    pub repo: Repo,
}

impl Checkout {
    /// Tells git to sign commits, with a program that signs everything.
    pub fn sign(&self) {
        let signer = self.path(".git/signer");
        let script = "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\n\
                      printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nx\\n-----END PGP SIGNATURE-----\\n'\n";
        fs::write(&signer, script).unwrap();
        fs::set_permissions(&signer, fs::Permissions::from_mode(0o755)).unwrap();
        self.git(&["config", "commit.gpgSign", "true"]);
        self.git(&["config", "gpg.program", signer.to_str().unwrap()]);
    }

    /// Makes a repository with a few files, committed on `develop`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), &["init", "-q", "-b", "develop"]);
        for (key, value) in [("user.name", "T"), ("user.email", "t@localhost"), ("core.autocrlf", "false")] {
            run(dir.path(), &["config", key, value]);
        }
        let this = Self { repo: Repo::open(dir.path()).unwrap(), dir };
        for path in ["one", "two", "dir/a", "dir/b", "dir/deep/c", "other/d"] {
            this.write(path, path);
        }
        this.git(&["add", "-A"]);
        this.git(&["commit", "-qm", "first"]);
        this
    }

    pub fn path(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.dir.path().join(OsStr::from_bytes(path.as_ref()))
    }

    pub fn write(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn git(&self, args: &[&str]) -> String {
        run(self.dir.path(), args)
    }

    pub fn try_save(&self, hints: Hints) -> Result<SaveAnswer> {
        self.save_with(hints, &|changes| format!("Save {}", changes.len()))
    }

    pub fn save_with(&self, hints: Hints, message: &dyn Fn(&[Change]) -> String) -> Result<SaveAnswer> {
        self.save_seeing(hints, &|proposal| message(proposal.changes()))
    }

    pub fn save_seeing(&self, hints: Hints, message: &dyn Fn(&mut Proposal<'_, '_>) -> String) -> Result<SaveAnswer> {
        self.repo.save(&Self::request(hints, message))
    }

    /// Saves as the watcher does, which lets a damaged index be made again.
    pub fn save_mending(&self, hints: Hints) -> Result<(SaveAnswer, Option<Rebuilt>)> {
        let request = Self::request(hints, &|_| "Save".to_owned());
        self.repo.mending(|| self.repo.save(&request))
    }

    fn request<'r>(hints: Hints, message: &'r dyn Fn(&mut Proposal<'_, '_>) -> String) -> SaveRequest<'r> {
        SaveRequest {
            branch: "develop",
            hints,
            max_file_bytes: 6 << 20,
            excluded: &|path, _| path.ends_with(b".tmp") || path == b"cache",
            inspect: &refuse_hush,
            message,
            author: None,
            now_seconds: 1_700_000_000,
            offset_minutes: 120,
        }
    }

    pub fn save(&self, paths: &[&str]) -> Saved {
        saved(self.try_save(hints(paths)).unwrap())
    }

    pub fn blob(&self, path: &str) -> String {
        self.git(&["show", &format!("HEAD:{path}")])
    }

    pub fn check_clean(&self) {
        assert_eq!(self.git(&["status", "--porcelain"]), "");
        let fsck = command(self.dir.path(), &["fsck", "--strict", "--no-dangling"]).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
    }
}

/// Keeps files out that say `hush` where they did not say it before.
fn refuse_hush(path: &[u8], content: &[u8], committed: &dyn Fn() -> Option<Vec<u8>>) -> Option<String> {
    let hushes = |bytes: &[u8]| bytes.windows(4).any(|word| word == b"hush");
    let is_new = hushes(content) && !committed().is_some_and(|before| hushes(&before));
    is_new.then(|| format!("{} says hush", String::from_utf8_lossy(path)))
}

pub(super) fn command(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(args).current_dir(root).env("GIT_CONFIG_GLOBAL", "").env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

pub(super) fn run(root: &Path, args: &[&str]) -> String {
    let output = command(root, args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(super) fn hints(paths: &[&str]) -> Hints {
    Hints::Paths(paths.iter().map(|path| path.as_bytes().to_vec()).collect())
}

pub(super) fn saved(answer: SaveAnswer) -> Saved {
    match answer {
        SaveAnswer::Saved(saved) => saved,
        other => panic!("not saved: {other:?}"),
    }
}

pub(super) fn kinds(saved: &Saved) -> Vec<(String, ChangeKind)> {
    saved.changes.iter().map(|change| (String::from_utf8_lossy(&change.path).into_owned(), change.kind)).collect()
}

#[test]
fn changed_added_deleted_files_are_saved() {
    let at = Checkout::new();
    at.write("one", "new one");
    at.write("new/x/y", "y");
    fs::remove_file(at.path("dir/deep/c")).unwrap();
    fs::set_permissions(at.path("two"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../outside", at.path("link")).unwrap();
    let saved = at.save(&["one", "new/x/y", "dir/deep/c", "two", "link"]);
    use ChangeKind::{Added, Deleted, ModeChanged, Modified};
    let expected =
        [("dir/deep/c", Deleted), ("link", Added), ("new/x/y", Added), ("one", Modified), ("two", ModeChanged)];
    assert_eq!(kinds(&saved), expected.map(|(path, kind)| (path.to_owned(), kind)));
    assert_eq!(at.git(&["rev-parse", "HEAD~1"]).trim(), saved.parent.to_string());
    assert_eq!(at.git(&["log", "-1", "--format=%an %s %ad", "--date=raw"]).trim(), "T Save 5 1700000000 +0200");
    assert_eq!(at.git(&["reflog", "-1", "--format=%gs", "HEAD"]).trim(), "cascade: Save 5");
    at.check_clean();
    assert_eq!(at.repo.save_packs(), 1);
    assert!(at.repo.is_tracked(b"new/x").unwrap() && !at.repo.is_tracked(b"dir/deep").unwrap());
}

#[test]
fn hostile_but_legal_names_are_saved() {
    let at = Checkout::new();
    let names: [&[u8]; 4] = [b"caf\xe9", b"new\nline", b"-n", b"dir/sp ace\t\"q\""];
    for name in names {
        at.write(name, name);
    }
    let paths = names.iter().map(|name| name.to_vec()).collect();
    assert_eq!(saved(at.try_save(Hints::Paths(paths)).unwrap()).changes.len(), 4);
    at.check_clean();
}

#[test]
fn file_and_directory_change_places() {
    let at = Checkout::new();
    fs::remove_dir_all(at.path("dir")).unwrap();
    at.write("dir", "now a file");
    fs::remove_file(at.path("one")).unwrap();
    at.write("one/inside", "now a directory");
    at.save(&["dir/a", "dir", "one"]);
    at.check_clean();
    assert_eq!(at.git(&["ls-files"]), "dir\none/inside\nother/d\ntwo\n");
    fs::remove_dir_all(at.path("one")).unwrap();
    fs::remove_file(at.path("dir")).unwrap();
    at.write("dir/a", "back");
    at.write("one", "back");
    at.save(&["dir", "one/inside"]);
    at.check_clean();
}

#[test]
fn vanished_directory_deletes_everything_below() {
    let at = Checkout::new();
    fs::remove_dir_all(at.path("dir")).unwrap();
    assert_eq!(at.save(&["dir"]).changes.len(), 3);
    at.check_clean();
    assert_eq!(at.git(&["write-tree"]).trim(), at.git(&["rev-parse", "HEAD^{tree}"]).trim());
}

#[test]
fn touched_file_makes_no_commit() {
    let at = Checkout::new();
    at.write("one", "one");
    let answer = at.try_save(hints(&["one", "nowhere", "dir"])).unwrap();
    assert_eq!(answer, SaveAnswer::Nothing { set_aside: vec![], unsettled: vec![] });
    assert_eq!(at.repo.save_packs(), 0);
}

#[test]
fn staged_work_on_other_paths_stays_staged() {
    let at = Checkout::new();
    at.write("two", "staged");
    at.write("staged/new", "staged");
    at.git(&["add", "two", "staged/new"]);
    at.git(&["rm", "-q", "--cached", "other/d"]);
    at.write("one", "saved");
    at.save(&["one"]);
    assert_eq!(at.git(&["status", "--porcelain"]), "D  other/d\nA  staged/new\nM  two\n?? other/\n");
    assert_eq!(at.git(&["diff", "--name-only", "HEAD~1", "HEAD"]), "one\n");
    at.git(&["commit", "-qm", "by hand"]);
    assert_eq!(at.git(&["status", "--porcelain"]), "?? other/\n");
}

#[test]
fn everything_finds_staged_and_new_work() {
    let at = Checkout::new();
    at.write("two", "staged");
    at.git(&["add", "two"]);
    at.write("two", "staged and edited");
    at.write("new/file", "new");
    at.write("x.tmp", "never");
    fs::remove_file(at.path("dir/a")).unwrap();
    let saved = saved(at.try_save(Hints::Everything).unwrap());
    assert_eq!(saved.changes.len(), 3);
    assert_eq!(at.blob("two"), "staged and edited");
    assert_eq!(at.git(&["status", "--porcelain"]), "MM two\n?? x.tmp\n");
}

#[test]
fn commit_by_the_user_meanwhile_is_not_reverted() {
    let at = Checkout::new();
    at.write("one", "saved");
    let tries = std::cell::Cell::new(0);
    let answer = at.save_with(hints(&["one"]), &|_| {
        if tries.replace(tries.get() + 1) == 0 {
            at.write("two", "by the user");
            at.git(&["add", "two"]);
            at.git(&["commit", "-qm", "by hand"]);
        }
        "Save".to_owned()
    });
    saved(answer.unwrap());
    assert_eq!(tries.get(), 2);
    assert_eq!((at.blob("one").as_str(), at.blob("two").as_str()), ("saved", "by the user"));
    at.check_clean();
}

#[test]
fn staging_by_the_user_meanwhile_is_kept() {
    let at = Checkout::new();
    at.write("one", "saved");
    at.write("two", "staged");
    let answer = at.save_with(hints(&["one"]), &|_| {
        at.git(&["add", "two"]);
        "Save".to_owned()
    });
    saved(answer.unwrap());
    assert_eq!(at.git(&["status", "--porcelain"]), "M  two\n");
}

#[test]
fn held_lock_stops_the_save_and_nothing_moves() {
    let at = Checkout::new();
    let (head, index) = (at.git(&["rev-parse", "HEAD"]), fs::read(at.path(".git/index")).unwrap());
    fs::write(at.path(".git/index.lock"), "").unwrap();
    at.write("one", "new");
    assert!(matches!(at.try_save(hints(&["one"])), Err(Error::Locked { .. })));
    assert!(at.path(".git/index.lock").exists());
    assert_eq!((at.git(&["rev-parse", "HEAD"]), fs::read(at.path(".git/index")).unwrap()), (head, index));
    fs::remove_file(at.path(".git/index.lock")).unwrap();
    at.save(&["one"]);
    at.check_clean();
}

/// Leaves git's directory as a save does that is killed once it holds the lock.
fn kill_save(at: &Checkout, commit: Oid, index: &[u8]) {
    let own = at.path(format!(".git/cascade-save-{commit}-1"));
    fs::write(&own, index).unwrap();
    fs::hard_link(&own, at.path(".git/index.lock")).unwrap();
}

fn leftovers(at: &Checkout) -> Vec<String> {
    let names = fs::read_dir(at.path(".git")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("cascade") || name.ends_with(".lock")).collect()
}

#[test]
fn save_killed_after_the_branch_moved_is_finished() {
    let at = Checkout::new();
    let before = fs::read(at.path(".git/index")).unwrap();
    at.write("one", "new");
    let saved = at.save(&["one"]);
    let after = fs::read(at.path(".git/index")).unwrap();
    fs::write(at.path(".git/index"), before).unwrap();
    kill_save(&at, saved.commit, &after);
    assert!(matches!(at.try_save(Hints::Everything), Ok(SaveAnswer::Nothing { .. })));
    assert_eq!(leftovers(&at), [""; 0]);
    at.check_clean();
}

#[test]
fn save_killed_before_the_branch_moved_is_undone_and_done_again() {
    let at = Checkout::new();
    at.write("one", "new");
    let never = Oid::from_str(&"7".repeat(40)).unwrap();
    kill_save(&at, never, b"DIRC half an index");
    fs::write(at.path(".git/refs/heads/develop.lock"), format!("{never}\n")).unwrap();
    at.repo.recover_save().unwrap();
    assert!(!at.path(".git/refs/heads/develop.lock").exists());
    assert_eq!(leftovers(&at), [""; 0]);
    at.save(&["one"]);
    at.check_clean();
}

#[test]
fn locks_of_others_and_of_the_living_are_left_alone() {
    let at = Checkout::new();
    let commit = Oid::from_str(&"7".repeat(40)).unwrap();
    let living = super::lock::NewIndex::create(&at.path(".git"), commit).unwrap();
    fs::write(at.path(".git/index.lock"), "somebody's").unwrap();
    fs::write(at.path(".git/refs/heads/develop.lock"), "somebody's").unwrap();
    at.repo.recover_save().unwrap();
    assert_eq!(leftovers(&at).len(), 2);
    assert!(at.path(".git/refs/heads/develop.lock").exists());
    drop(living);
    assert_eq!(leftovers(&at), ["index.lock"]);
}

#[test]
fn bad_paths_are_set_aside_and_the_rest_is_saved() {
    let at = Checkout::new();
    let fifo = at.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    at.write("git~1", "refused");
    at.write("large", vec![0; (6 << 20) + 1]);
    at.write("one", "saved");
    run(at.dir.path(), &["init", "-q", "nested"]);
    at.write("nested/file", "nested");
    let started = Instant::now();
    let saved = at.save(&["fifo", "git~1", "large", "one", "nested", "nested/file", ".git/index", "../x"]);
    assert!(started.elapsed().as_millis() < 1_000);
    let aside: Vec<_> = saved.set_aside.iter().map(|aside| String::from_utf8_lossy(&aside.path)).collect();
    assert_eq!(aside, ["../x", "fifo", "git~1", "large", "nested"]);
    assert_eq!(kinds(&saved), [("one".to_owned(), ChangeKind::Modified)]);
}

#[test]
fn symlinked_parent_is_never_read_through() {
    let at = Checkout::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("d"), "secret").unwrap();
    fs::remove_dir_all(at.path("other")).unwrap();
    symlink(outside.path(), at.path("other")).unwrap();
    let saved = at.save(&["other/d"]);
    let expected = [("other".to_owned(), ChangeKind::Added), ("other/d".to_owned(), ChangeKind::Deleted)];
    assert_eq!(kinds(&saved), expected);
    at.check_clean();
    let answer = at.try_save(hints(&["other/d"])).unwrap();
    assert!(matches!(answer, SaveAnswer::Nothing { set_aside, .. } if set_aside.len() == 1));
}

#[test]
fn large_file_is_streamed() {
    let at = Checkout::new();
    let content: Vec<u8> = (0..5_500_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    at.write("large", &content);
    at.save(&["large"]);
    at.check_clean();
    assert!(matches!(at.try_save(hints(&["large"])).unwrap(), SaveAnswer::Nothing { .. }));
}

#[test]
fn paused_away_from_the_branch_and_in_operations() {
    let at = Checkout::new();
    at.git(&["checkout", "-q", "-b", "else"]);
    at.write("one", "x");
    assert!(matches!(at.try_save(hints(&["one"])).unwrap(), SaveAnswer::Paused { .. }));
    at.git(&["checkout", "-q", "develop"]);
    fs::write(at.path(".git/MERGE_HEAD"), at.git(&["rev-parse", "HEAD"])).unwrap();
    assert!(matches!(at.try_save(hints(&["one"])).unwrap(), SaveAnswer::Paused { reason } if reason.contains("merge")));
}

#[test]
fn filters_and_line_ends_go_through_git() {
    let at = Checkout::new();
    at.git(&["config", "filter.up.clean", "tr a-z A-Z"]);
    at.git(&["config", "filter.bad.clean", "false"]);
    at.git(&["config", "filter.bad.required", "true"]);
    at.write(".gitattributes", "*.up filter=up\n*.txt text\n*.bin -text\n*.bad filter=bad\n");
    at.write("x.up", "loud");
    at.write("sub/x.txt", "a\r\nb\r\n");
    at.write("x.bin", "a\r\nb\r\n");
    at.write("x.bad", "never raw");
    let saved = at.save(&[".gitattributes", "x.up", "sub/x.txt", "x.bin", "x.bad"]);
    assert_eq!((saved.changes.len(), saved.set_aside.len()), (4, 1));
    assert_eq!(
        (at.blob("x.up"), at.blob("sub/x.txt"), at.blob("x.bin")),
        ("LOUD".into(), "a\nb\n".into(), "a\r\nb\r\n".into())
    );
    fs::remove_file(at.path("x.bad")).unwrap();
    at.check_clean();
    at.write("x.up", "LOUD");
    assert!(matches!(at.try_save(hints(&["x.up"])).unwrap(), SaveAnswer::Nothing { .. }));
}

#[test]
fn file_that_changes_while_it_is_read_is_left_for_later() {
    let at = Checkout::new();
    at.git(&["config", "filter.grow.clean", "cat; echo more >> %f"]);
    at.write(".gitattributes", "grows filter=grow\n");
    at.write("grows", "content");
    let saved = at.save(&[".gitattributes", "grows"]);
    assert_eq!((saved.changes.len(), saved.unsettled), (1, vec![b"grows".to_vec()]));
}

#[test]
fn commit_is_signed_when_git_is_told_to() {
    let at = Checkout::new();
    at.sign();
    at.write("one", "signed");
    at.save(&["one"]);
    assert!(at.git(&["cat-file", "commit", "HEAD"]).contains("gpgsig -----BEGIN"));
    at.check_clean();
}

#[test]
fn of_a_submodule_the_commit_is_saved_and_what_is_in_it_stays() {
    let at = Checkout::new();
    let commit = at.git(&["rev-parse", "HEAD"]);
    at.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", commit.trim())]);
    at.git(&["commit", "-qm", "submodule"]);
    at.write("sub/file", "x");
    at.write("one", "new");
    assert_eq!(kinds(&at.save(&["sub", "sub/file", "one"])), [("one".to_owned(), ChangeKind::Modified)]);
    fs::remove_dir_all(at.path("sub")).unwrap();
    for look in [hints(&["sub", "sub/file"]), Hints::Everything] {
        let SaveAnswer::Nothing { set_aside, .. } = at.try_save(look).unwrap() else { panic!() };
        assert!(set_aside.len() == 1 && set_aside[0].reason.contains("is not there"), "{set_aside:?}");
    }
    let inner = Checkout::new();
    inner.git(&["commit", "-q", "--allow-empty", "-m", "another one than the first of both"]);
    run(at.dir.path(), &["clone", "-q", inner.dir.path().to_str().unwrap(), "sub"]);
    assert!(matches!(at.try_save(hints(&["sub"])).unwrap(), SaveAnswer::Saved(_)));
    for look in [hints(&["sub/file"]), Hints::Everything] {
        let move_it =
            ["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-q", "--allow-empty", "-m", "moved"];
        run(&at.path("sub"), &move_it);
        let head = run(&at.path("sub"), &["rev-parse", "HEAD"]);
        assert_eq!(kinds(&saved(at.try_save(look).unwrap())), [("sub".to_owned(), ChangeKind::Modified)]);
        assert_eq!(at.git(&["ls-tree", "HEAD", "sub"]), format!("160000 commit {}\tsub\n", head.trim()));
        assert_eq!(at.git(&["status", "--porcelain"]), "");
    }
    at.write("sub/file", "x");
    assert!(matches!(at.try_save(hints(&["sub/file"])).unwrap(), SaveAnswer::Nothing { .. }));
}

#[test]
fn autocrlf_leaves_files_committed_with_crlf() {
    let at = Checkout::new();
    at.write("crlf", "a\r\n");
    at.save(&["crlf"]);
    at.git(&["config", "core.autocrlf", "input"]);
    at.write("crlf", "a\r\nb\r\n");
    at.write("fresh", "a\r\nb\r\n");
    at.save(&["crlf", "fresh"]);
    assert_eq!((at.blob("crlf"), at.blob("fresh")), ("a\r\nb\r\n".into(), "a\nb\n".into()));
    at.check_clean();
}

#[test]
fn sparse_checkout_deletes_nothing() {
    let at = Checkout::new();
    at.git(&["sparse-checkout", "set", "other"]);
    assert!(!at.path("dir/a").exists());
    at.write("other/d", "new");
    let saved = at.save(&["dir", "dir/a", "other/d"]);
    assert_eq!(kinds(&saved), [("other/d".to_owned(), ChangeKind::Modified)]);
    at.check_clean();
}

#[test]
fn edit_of_equal_size_right_after_a_save_is_noticed() {
    let at = Checkout::new();
    for round in 0..5 {
        at.write("one", format!("a{round}"));
        at.save(&["one"]);
        at.write("one", format!("b{round}"));
        assert_eq!(at.git(&["status", "--porcelain"]), " M one\n");
    }
}

#[test]
fn racy_entries_of_others_stay_distrusted() {
    let at = Checkout::new();
    for round in 0..5 {
        at.write("two", format!("a{round}"));
        at.git(&["add", "two"]);
        at.write("two", format!("b{round}"));
        at.write("one", format!("{round}"));
        at.save(&["one"]);
        assert_eq!(at.git(&["status", "--porcelain"]), "MM two\n");
        at.git(&["checkout", "-q", "HEAD", "two"]);
    }
}

#[test]
fn excluded_paths_are_not_saved() {
    let at = Checkout::new();
    at.write("cache/x", "x");
    at.write("y.tmp", "y");
    at.write("one", "new");
    assert_eq!(at.save(&["cache/x", "cache", "y.tmp", "one"]).changes.len(), 1);
}

#[test]
fn linked_worktree_saves_on_its_own_branch() {
    let at = Checkout::new();
    at.git(&["checkout", "-q", "-b", "else"]);
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path().join("linked");
    at.git(&["worktree", "add", "-q", root.to_str().unwrap(), "develop"]);
    let linked = Checkout { repo: Repo::open(&root).unwrap(), dir: tree };
    fs::write(root.join("one"), "linked").unwrap();
    linked.save(&["one"]);
    assert_eq!(run(&root, &["status", "--porcelain"]), "");
    assert_eq!(at.git(&["show", "develop:one"]), "linked");
    at.check_clean();
}

/// A small generator of reproducible choices.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Does something to the working tree and answers the path.
pub(super) fn random_edit(at: &Checkout, dice: &mut Dice) -> String {
    let names = ["a", "b", "a.b", "a-b", "dir", "one", "c0"];
    let depth = 1 + dice.roll(3);
    let path = (0..depth).map(|_| names[dice.roll(names.len())]).collect::<Vec<_>>().join("/");
    let full = at.path(&path);
    // Whatever is in the way goes.
    let mut above = full.parent().unwrap();
    while above != at.dir.path() {
        if above.symlink_metadata().is_ok_and(|stat| !stat.is_dir()) {
            fs::remove_file(above).unwrap();
        }
        above = above.parent().unwrap();
    }
    if full.symlink_metadata().is_ok_and(|stat| stat.is_dir()) {
        fs::remove_dir_all(&full).unwrap();
    } else {
        let _ = fs::remove_file(&full);
    }
    match dice.roll(8) {
        0 | 1 => {}
        2 => {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            symlink(format!("to{}", dice.roll(3)), &full).unwrap();
        }
        choice => {
            at.write(&path, format!("content {}", dice.roll(5)));
            fs::set_permissions(&full, fs::Permissions::from_mode(if choice == 3 { 0o755 } else { 0o644 })).unwrap();
        }
    }
    path
}

#[test]
fn random_edits_give_the_tree_that_git_gives() {
    for seed in 0..5 {
        let at = Checkout::new();
        let mut dice = Dice(seed);
        for round in 0..8 {
            let edits = 1 + dice.roll(6);
            let paths = (0..edits).map(|_| random_edit(&at, &mut dice).into_bytes()).collect();
            if dice.roll(3) == 0 {
                // Entries of the cache of trees to keep right.
                at.git(&["read-tree", "HEAD"]);
            }
            at.try_save(Hints::Paths(paths)).unwrap();
            let fresh = at.path(".git/fresh-index");
            let _ = fs::remove_file(&fresh);
            let with_fresh = |args: &[&str]| {
                let output = command(at.dir.path(), args).env("GIT_INDEX_FILE", &fresh).output().unwrap();
                assert!(output.status.success());
                String::from_utf8_lossy(&output.stdout).into_owned()
            };
            with_fresh(&["add", "-A"]);
            let expected = with_fresh(&["write-tree"]);
            assert_eq!(at.git(&["rev-parse", "HEAD^{tree}"]), expected, "seed {seed} round {round}");
            assert_eq!(at.git(&["ls-files", "-s"]), with_fresh(&["ls-files", "-s"]), "seed {seed} round {round}");
            assert_eq!(at.git(&["write-tree"]), expected, "seed {seed} round {round}: cache of trees");
            assert_eq!(at.git(&["status", "--porcelain"]), "", "seed {seed} round {round}");
        }
        at.check_clean();
    }
}

#[test]
fn the_packs_of_many_saves_are_joined_and_nothing_is_lost() {
    let at = Checkout::new();
    for round in 0..=PACKS_KEPT {
        at.write("one", format!("round {round}"));
        at.try_save(Hints::Paths([b"one".to_vec()].into())).unwrap();
    }
    assert!(at.repo.save_packs() > PACKS_KEPT);
    at.repo.consolidate().unwrap();
    assert!(at.repo.save_packs() < 5, "{} packs are left", at.repo.save_packs());
    assert_eq!(at.git(&["rev-list", "--count", "HEAD"]).trim(), (PACKS_KEPT + 2).to_string());
    at.git(&["fsck", "--strict"]);
    at.write("one", "after");
    assert!(matches!(at.try_save(Hints::Paths([b"one".to_vec()].into())), Ok(SaveAnswer::Saved(_))));
}

#[test]
fn refused_content_is_kept_out_and_the_rest_is_saved() {
    let at = Checkout::new();
    at.write("one", "hush now");
    at.write("dir/new", "hush");
    at.write("two", "fine");
    let saved = at.save(&["one", "dir", "two"]);
    assert_eq!(kinds(&saved), [("two".to_owned(), ChangeKind::Modified)]);
    let reasons: Vec<&str> = saved.set_aside.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["dir/new says hush", "one says hush"]);
    assert_eq!((at.blob("one").as_str(), at.git(&["ls-files", "dir/new"]).as_str()), ("one", ""));
    assert_eq!(at.git(&["cat-file", "--batch-all-objects", "--batch-check"]).matches("blob 8").count(), 0);
    at.write("one", "fine again");
    assert!(at.save(&["one"]).set_aside.is_empty());
}

#[test]
fn content_that_was_committed_before_is_known_to_whoever_looks() {
    let at = Checkout::new();
    at.write("one", "hush");
    at.git(&["commit", "-qam", "by hand"]);
    at.write("one", "hush, more");
    assert!(at.save(&["one"]).set_aside.is_empty());
    assert_eq!(at.repo.committed(b"one").unwrap().as_deref(), Some(&b"hush, more"[..]));
    assert_eq!(at.repo.committed(b"dir").unwrap(), None);
}

#[test]
fn converted_content_is_looked_at_as_it_would_be_committed() {
    let at = Checkout::new();
    at.write(".gitattributes", "*.txt text\n");
    at.write("a.txt", "hush\r\n");
    let saved = at.save(&[".gitattributes", "a.txt"]);
    assert_eq!(saved.set_aside.len(), 1);
    assert_eq!(saved.set_aside[0].path, b"a.txt");
}

#[test]
fn files_are_listed_at_and_below_paths() {
    let at = Checkout::new();
    at.write("dir/new", "x");
    at.write("one", "changed");
    let listed = at.repo.files_at(&[b"dir".to_vec(), b"two".to_vec()]).unwrap();
    assert_eq!(listed, [&b"dir/a"[..], b"dir/b", b"dir/deep/c", b"dir/new", b"two"]);
    assert_eq!(at.repo.changed_files().unwrap(), [&b"dir/new"[..], b"one"]);
}

/// Saves everything and answers the patch that was proposed, and the one that git makes of the commit.
fn patches(repo: &Checkout) -> (Vec<u8>, Vec<u8>) {
    let seen = std::cell::RefCell::default();
    let answer = repo.save_seeing(Hints::Everything, &|proposal| {
        *seen.borrow_mut() = proposal.patch().unwrap();
        "x".to_owned()
    });
    let saved = saved(answer.unwrap());
    let mut git = Command::new("git");
    git.current_dir(repo.dir.path()).args([
        "-c",
        "core.abbrev=7",
        "-c",
        "core.quotePath=false",
        "diff",
        "--no-renames",
    ]);
    let made = git.args([saved.parent.to_string(), saved.commit.to_string()]).output().unwrap().stdout;
    (seen.into_inner(), made)
}

#[test]
fn a_proposal_has_the_patch_that_git_makes_of_the_commit() {
    let repo = Checkout::new();
    let lines = |count: usize| (0..count).map(|n| format!("line {n}\n")).collect::<String>();
    let write_all = |contents: [&str; 6]| {
        let names = ["text", "d/new line\n\"q\"", "no end", "type", "gone", "grüße"];
        names.iter().zip(contents).for_each(|(name, content)| repo.write(name, content));
    };
    write_all([&lines(40), "a\n", "x", "file\n", "bye\n", "1\n"]);
    repo.write("mode", "m\n");
    repo.write(b"raw\xff", "1\n");
    repo.write("binary", b"a\0b");
    repo.save(&["."]);
    write_all([&lines(40).replace("line 20", "line twenty"), "b\n", "y", "", "", "2\n"]);
    repo.write(b"raw\xff", "2\n");
    repo.write("binary", b"a\0c");
    repo.write("empty", "");
    repo.write("added", "no end");
    for path in ["gone", "type"] {
        fs::remove_file(repo.path(path)).unwrap();
    }
    symlink("text", repo.path("type")).unwrap();
    fs::set_permissions(repo.path("mode"), fs::Permissions::from_mode(0o755)).unwrap();
    let (proposed, made) = patches(&repo);
    assert_eq!(String::from_utf8_lossy(&proposed), String::from_utf8_lossy(&made));
    assert_eq!(proposed, made);
}

#[test]
fn a_large_proposal_is_cut_and_names_what_it_does_not_show() {
    let repo = Checkout::new();
    repo.write("a", "long line of text\n".repeat(20_000));
    repo.write("b", "x".repeat(2 << 20));
    repo.write("c", "short\n");
    let (proposed, _) = patches(&repo);
    assert!(proposed.len() <= PATCH_LIMIT_BYTES);
    let text = String::from_utf8(proposed).unwrap();
    assert!(text.contains("+long line of text\n\\ The rest is not shown\ndiff --git a/b b/b\n"), "{}", text.len());
    assert!(text.contains("Binary files /dev/null and b/b differ\n") && text.ends_with("@@ -0,0 +1 @@\n+short\n"));
    for number in 0..PATCH_LIMIT_FILES + 5 {
        repo.write(format!("many/{number}"), "");
    }
    let (proposed, _) = patches(&repo);
    assert_eq!(String::from_utf8(proposed).unwrap().matches("diff --git").count(), PATCH_LIMIT_FILES);
}
