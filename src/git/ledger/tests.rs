use std::path::Path;
use std::process::Command;

use super::*;
use crate::base::clock::from_ms;

/// Checkouts that share one bare remote.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        world.git("", &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        world
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn git(&self, place: &str, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(args).current_dir(self.path().join(place));
        command.env("GIT_CONFIG_GLOBAL", "").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn checkout(&self, name: &str) -> Repo {
        self.git("", &["init", "-q", "-b", "main", name]);
        for (key, value) in [("user.name", name), ("user.email", "t@localhost"), ("commit.gpgSign", "false")] {
            self.git(name, &["config", key, value]);
        }
        self.git(name, &["remote", "add", "origin", "../origin.git"]);
        Repo::open(&self.path().join(name)).unwrap()
    }
}

fn entry(key: &str, at_seconds: i64) -> NewEntry {
    let statement = format!("{{\"key\":\"{key}\"}}\n");
    NewEntry { key: key.to_owned(), subject: format!("About {key}"), statement, at: from_ms(at_seconds * 1_000) }
}

fn add(repo: &Repo, key: &str, at_seconds: i64) -> ObjectId {
    repo.append_entry(&entry(key, at_seconds), from_ms(at_seconds * 1_000), Sign::Never).unwrap().id
}

/// The keys in the chain, the oldest first; each entry has the one before it as its only parent.
fn keys(repo: &Repo) -> Vec<String> {
    let (mut keys, mut next) = (Vec::new(), repo.ledger_tip().unwrap());
    while let Some(id) = next {
        let entry = repo.ledger_entry(oid(id).unwrap()).unwrap();
        assert!(entry.parents.len() <= 1);
        let statement = String::from_utf8(repo.statement_of(id).unwrap().unwrap()).unwrap();
        keys.insert(0, entry.key.unwrap());
        assert_eq!(statement, format!("{{\"key\":\"{}\"}}\n", keys[0]));
        next = entry.parents.first().copied();
    }
    keys
}

fn push(repo: &Repo) -> Published {
    repo.push_ledger("origin", Sign::Never).unwrap()
}

#[test]
fn entries_form_one_chain_and_an_entry_is_added_once() {
    let world = World::new();
    let repo = world.checkout("one");
    assert_eq!(repo.ledger_tip().unwrap(), None);
    let first = add(&repo, "a landing", 100);
    let second = add(&repo, "b landing", 101);
    assert_eq!(repo.append_entry(&entry("a landing", 105), from_ms(99_999), Sign::Never).unwrap().id, first);
    assert_eq!(repo.ledger_tip().unwrap(), Some(second));
    assert_eq!(keys(&repo), ["a landing", "b landing"]);
    assert_eq!(world.git("one", &["log", "-1", "--format=%s", LEDGER]), "About b landing");
    world.git("one", &["fsck", "--strict"]);
}

#[test]
fn an_entry_is_found_however_far_ahead_the_clock_of_another_writer_is() {
    let world = World::new();
    let repo = world.checkout("one");
    let own = add(&repo, "a landing", 100);
    add(&repo, "future landing", 9_000);
    let after = add(&repo, "b landing", 101);
    assert_eq!(repo.ledger_entry(oid(after).unwrap()).unwrap().at.as_second(), 9_000, "time does not go back");
    assert_eq!(repo.find_entry("a landing", from_ms(100_900)).unwrap().map(|found| found.id), Some(own));
    assert_eq!(repo.find_entry("a landing", from_ms(101_000)).unwrap(), None, "it was added before");
}

#[test]
fn what_two_machines_added_at_the_same_time_is_brought_into_one_order() {
    let world = World::new();
    let (one, two) = (world.checkout("one"), world.checkout("two"));
    add(&one, "a", 100);
    assert_eq!(push(&one), Published::Along);
    add(&two, "b", 101);
    add(&two, "c", 102);
    assert_eq!(push(&two), Published::Along);
    assert_eq!(keys(&two), ["a", "b", "c"]);
    add(&one, "d", 103);
    assert_eq!(push(&one), Published::Along);
    assert_eq!(keys(&one), ["a", "b", "c", "d"]);
    assert_eq!(world.git("origin.git", &["rev-parse", LEDGER]), one.ledger_tip().unwrap().unwrap().to_string());
    let theirs = two.remote_refs("origin", &[LEDGER]).unwrap()[0];
    assert_eq!(two.bring_in("origin", theirs, Sign::Never).unwrap(), Brought::In(theirs));
    assert_eq!(two.ledger_tip().unwrap(), one.ledger_tip().unwrap(), "theirs only: the very same chain");
}

#[test]
fn a_branch_and_the_ledger_reach_the_remote_together_even_when_others_came_first() {
    let world = World::new();
    let (one, two) = (world.checkout("one"), world.checkout("two"));
    add(&two, "theirs", 100);
    assert_eq!(push(&two), Published::Along);
    world.git("one", &["commit", "-q", "--allow-empty", "-m", "First"]);
    let commit = world.git("one", &["rev-parse", "main"]).parse().unwrap();
    add(&one, "ours", 101);
    // Nobody asked where the remote's ledger is: the push finds out.
    let landing = BranchPush { remote: "origin", branch: "main", commit, expected: None };
    assert_eq!(one.push_with_ledger(landing, None, Sign::Never).unwrap(), Published::Along);
    assert_eq!(keys(&one), ["theirs", "ours"]);
    assert_eq!(one.remote_tips("origin", "main").unwrap(), (Some(commit), one.ledger_tip().unwrap()));
    let moved = BranchPush { expected: one.ledger_tip().unwrap(), ..landing };
    world.git("one", &["commit", "-q", "--allow-empty", "-m", "Second"]);
    let moved = BranchPush { commit: world.git("one", &["rev-parse", "main"]).parse().unwrap(), ..moved };
    let lost = one.push_with_ledger(moved, one.ledger_tip().unwrap(), Sign::Never);
    assert!(matches!(lost, Err(Error::RemoteMoved { .. })), "{lost:?}");
}

#[test]
fn a_remote_that_will_not_have_the_ledger_or_not_both_at_once_gets_the_branch() {
    for (key, value, expected) in
        [("receive.hideRefs", "refs/cascade", None), ("receive.advertiseAtomic", "false", Some(Published::Along))]
    {
        let world = World::new();
        let one = world.checkout("one");
        world.git("origin.git", &["config", key, value]);
        world.git("one", &["commit", "-q", "--allow-empty", "-m", "First"]);
        let commit = world.git("one", &["rev-parse", "main"]).parse().unwrap();
        add(&one, "ours", 101);
        let landing = BranchPush { remote: "origin", branch: "main", commit, expected: None };
        let published = one.push_with_ledger(landing, None, Sign::Never).unwrap();
        match expected {
            Some(expected) => assert_eq!(published, expected, "{key}"),
            None => assert!(matches!(published, Published::Refused(_)), "{key}: {published:?}"),
        }
        assert_eq!(one.remote_tip("origin", "main").unwrap(), Some(commit), "{key}");
    }
}

#[test]
fn a_rewritten_ledger_is_neither_taken_over_nor_overwritten() {
    let world = World::new();
    let (one, two) = (world.checkout("one"), world.checkout("two"));
    add(&one, "a", 100);
    add(&one, "b", 101);
    assert_eq!(push(&one), Published::Along);
    add(&two, "forged", 100);
    let forged = two.ledger_tip().unwrap().unwrap();
    world.git("two", &["push", "-q", "--force", "origin", &format!("{LEDGER}:{LEDGER}")]);
    add(&one, "c", 102);
    let kept = push(&one);
    assert!(matches!(&kept, Published::KeptHere(why) if why.contains("was rewritten")), "{kept:?}");
    let now = one.bring_in("origin", Some(forged), Sign::Never).unwrap();
    assert!(matches!(now, Brought::Rewritten { now, .. } if now == forged), "told again: {now:?}");
    assert_eq!(keys(&one), ["a", "b", "c"]);
    assert_eq!(world.git("origin.git", &["rev-parse", LEDGER]), forged.to_string());
}

#[test]
fn an_entry_that_cannot_be_signed_is_added_unsigned_or_not_at_all() {
    let world = World::new();
    let repo = world.checkout("one");
    assert!(!repo.signs());
    world.git("one", &["config", "gpg.format", "ssh"]);
    world.git("one", &["config", "user.signingKey", "/no/such/key"]);
    assert!(repo.signs());
    let since = from_ms(0);
    let refused = repo.append_entry(&entry("a", 100), since, Sign::Required);
    assert!(matches!(refused, Err(Error::NotSigned { .. })), "{refused:?}");
    assert_eq!(repo.ledger_tip().unwrap(), None);
    let added = repo.append_entry(&entry("a", 100), since, Sign::IfPossible).unwrap();
    assert!(added.unsigned_because.is_some());
    assert_eq!(keys(&repo), ["a"]);
}

#[test]
fn a_statement_is_what_stands_between_headline_and_trailer() {
    let statement =
        |message: &str| statement_in(message.as_bytes()).map(|found| String::from_utf8_lossy(found).into_owned());
    let odd = "{\n  \"reason\": \"a\\n\\nCascade-Entry: forged\"\n}\n";
    let message = format!("Promotion x\n\n{odd}\nCascade-Entry: x landing\n");
    assert_eq!(statement(&message).as_deref(), Some(odd));
    assert_eq!(key_in(message.as_bytes()).as_deref(), Some("x landing"));
    for other in ["", "Fix\n", "Fix\n\nbody\n", "Fix\n\nCascade-Entry: x\n", "Cascade-Entry: x"] {
        assert_eq!(statement(other), None, "{other:?}");
    }
    assert_eq!(key_in(b"Cascade-Entry: x\n\nbody\n"), None);
}
