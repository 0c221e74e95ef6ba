//! Saves beside somebody who commits, stages and swaps directories as fast as possible.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use cascade::git::{Error, Hints, Repo, SaveAnswer, SaveRequest};

use crate::support::{Sandbox, dice};

/// Saves one path until it is saved; whoever holds a lock or moved the branch only delays that.
fn save(repo: &Repo, path: &str) -> Option<String> {
    loop {
        let answer = repo.save(&SaveRequest {
            branch: "develop",
            hints: Hints::Paths([path.as_bytes().to_vec()].into()),
            max_file_bytes: 1 << 20,
            excluded: &|_, _| false,
            inspect: &|_, _, _| None,
            message: &|_| "Save".to_owned(),
            author: None,
            now_seconds: 1_800_000_000,
            offset_minutes: 0,
        });
        match answer {
            Ok(SaveAnswer::Saved(saved)) => return Some(saved.commit.to_string()),
            Ok(SaveAnswer::Nothing { .. }) => return None,
            Err(Error::Locked { .. } | Error::RefMoved { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn on_develop() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.git(&["switch", "--quiet", "-c", "develop"]);
    sandbox
}

/// The user's git, tried again where it found a save's lock.
fn insist(sandbox: &Sandbox, words: &[&str]) {
    loop {
        let output = sandbox.try_git(words);
        if output.code == 0 {
            return;
        }
        let is_locked = output.stderr.contains("index.lock") || output.stderr.contains("cannot lock ref");
        assert!(is_locked, "git {words:?}: {output:#?}");
    }
}

#[test]
fn commits_of_the_user_in_a_tight_loop_lose_nothing_and_cost_no_save() {
    let sandbox = on_develop();
    let rounds = 40 * dice::runs();
    let (mine, saves) = std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            let commit = |number| {
                let path = format!("user/{number}");
                sandbox.write(&path, path.clone());
                insist(&sandbox, &["add", &path]);
                insist(&sandbox, &["commit", "--quiet", "-m", &path]);
                sandbox.git(&["log", "-1", "--format=%H", "--", &path])
            };
            (0..rounds).map(commit).collect::<BTreeSet<String>>()
        });
        let repo = Repo::open(&sandbox.root()).unwrap();
        let mut saves = BTreeSet::new();
        let mut number = 0;
        while !committing.is_finished() {
            let path = format!("saved/{number}");
            sandbox.write(&path, path.clone());
            saves.extend(save(&repo, &path));
            number += 1;
        }
        assert!(saves.len() == number, "each change is a save");
        (committing.join().unwrap(), saves)
    });
    let all = sandbox.git(&["rev-list", "develop"]);
    let all: BTreeSet<String> = all.lines().map(str::to_owned).collect();
    assert!(mine.is_subset(&all) && saves.is_subset(&all), "{} and {} of {}", mine.len(), saves.len(), all.len());
    // A commit that lost a race leaves an old index behind, and the user's next one takes out what was saved
    // meanwhile: it is still in the working tree, where a watcher looks after each commit.
    save(&Repo::open(&sandbox.root()).unwrap(), "saved");
    let tracked = sandbox.git(&["ls-tree", "-r", "--name-only", "develop"]);
    assert_eq!(tracked.lines().filter(|path| path.starts_with("user/")).count(), rounds);
    assert_eq!(tracked.lines().filter(|path| path.starts_with("saved/")).count(), saves.len());
    assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
}

/// Changes places of a directory and a link that leads out of the checkout until told to stop.
fn swap(directory: &Path, outside: &Path, stop: &AtomicBool) {
    let aside = directory.with_extension("aside");
    while !stop.load(Ordering::Relaxed) {
        std::fs::rename(directory, &aside).unwrap();
        std::os::unix::fs::symlink(outside, directory).unwrap();
        std::thread::yield_now();
        std::fs::remove_file(directory).unwrap();
        std::fs::rename(&aside, directory).unwrap();
    }
}

#[test]
fn a_directory_that_keeps_turning_into_a_link_leads_no_save_out_of_the_checkout() {
    let sandbox = on_develop();
    let outside = sandbox.base().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "not of this checkout\n").unwrap();
    sandbox.write("dir/file", "inside\n");
    sandbox.commit("first");
    let (directory, stop) = (sandbox.root().join("dir"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&directory, &outside, &stop));
        let repo = Repo::open(&sandbox.root()).unwrap();
        for _ in 0..300 * dice::runs() {
            save(&repo, "dir");
            save(&repo, "dir/file");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let objects = sandbox.git(&["cat-file", "--batch-all-objects", "--batch", "--unordered"]);
    assert!(!objects.contains("not of this checkout"));
    save(&Repo::open(&sandbox.root()).unwrap(), "dir");
    assert_eq!(sandbox.git(&["show", "develop:dir/file"]), "inside");
    sandbox.git(&["fsck", "--strict", "--no-dangling"]);
}
