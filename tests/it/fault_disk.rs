//! A disk that is full, or has room for no further file: said so, nothing lost, and it goes on when there is room again.

use cascade::config::Durability;
use cascade::git::SaveAnswer;

use crate::fault_syscalls::save;
use crate::support::Sandbox;
use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::small_disk::SmallDisk;
use crate::support::watched::Watched;

/// Files and directories that a disk has room for.
const FILES: u32 = 1_000;
/// More files than a save makes.
const FREE_LIMIT: usize = 16;

#[test]
fn a_full_disk_under_cascades_own_files_stops_a_promotion_before_anything_moves() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let home = pipeline.base().join("small");
    let Some(_disk) = SmallDisk::mount(&home, 1) else { return };
    let tip = pipeline.tip("staging");
    let filler = home.join("filler");
    // As much as goes in; the error at the end is the point.
    let _ = std::fs::write(&filler, vec![0_u8; 2 << 20]);
    let promote = || {
        let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["promote", "staging"]);
        command.env("CASCADE_HOME", home.join("cascade"));
        crate::support::output(command, b"")
    };
    let full = promote().expect_code(1);
    assert!(full.stderr.contains("CASCADE_HOME") && full.stderr.contains("hint:"), "{full:?}");
    assert_eq!(pipeline.tip("staging"), tip);
    std::fs::remove_file(&filler).unwrap();
    promote().expect_code(0);
    assert_ne!(pipeline.tip("staging"), tip);
}

/// Makes a repository with one commit on `develop` where a disk is mounted.
fn set_up(sandbox: &Sandbox) {
    sandbox.git(&["init", "--quiet", "--initial-branch", "develop"]);
    sandbox.write("page", "first\n");
    sandbox.commit("First commit");
}

#[test]
fn a_disk_without_room_for_a_file_pauses_saving_with_its_reason_until_there_is() {
    let sandbox = Sandbox::empty();
    let Some(disk) = SmallDisk::mount_for(&sandbox.root(), FILES) else { return };
    set_up(&sandbox);
    // What the watcher does is told on another disk.
    let watched = Watched::of(sandbox, "50ms", "");
    watched.start();
    let tip = watched.git(&["rev-parse", "develop"]);
    let crowd = disk.crowd(0);
    watched.write("page", "changed\n");
    let sandbox = || watched.cascade(&["status", "--json"]).json()["sandbox"].clone();
    watched.until("a word on the disk", || {
        let sandbox = sandbox();
        let reason = sandbox["reason"].as_str().unwrap_or_default();
        sandbox["state"] == "paused" && reason.contains("No space left")
    });
    assert_eq!(watched.git(&["rev-parse", "develop"]), tip);
    std::fs::remove_dir_all(crowd).unwrap();
    watched.until_saved("develop", "page", "changed");
    watched.until("no pause", || sandbox()["state"] == "watching");
    watched.stop();
    assert_eq!(watched.left_behind(), [""; 0]);
    assert_eq!(watched.git(&["status", "--porcelain"]), "");
    watched.git(&["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_save_that_runs_out_of_files_at_any_of_them_is_whole_or_not_there() {
    let sandbox = Sandbox::empty();
    let Some(disk) = SmallDisk::mount_for(&sandbox.root(), FILES) else { return };
    set_up(&sandbox);
    sandbox.write(".gitignore", "/crowd\n");
    sandbox.commit("Ignore");
    let mut refused = 0;
    for free in 0..FREE_LIMIT {
        let before = sandbox.git(&["rev-parse", "develop"]);
        let content = format!("{free} files");
        sandbox.write("page", &content);
        let crowd = disk.crowd(free);
        let answer = save(&sandbox.root(), Durability::Full);
        std::fs::remove_dir_all(crowd).unwrap();
        let tip = sandbox.git(&["rev-parse", "develop"]);
        match answer {
            Ok(SaveAnswer::Saved(saved)) => assert_eq!(saved.commit.to_string(), tip),
            Err(problem) => {
                refused += 1;
                let told = format!("{problem:?}");
                assert!(told.contains("StorageFull") || told.contains("o space left"), "{told}");
                assert_eq!(tip, before, "{content}");
            }
            other => panic!("{content}: {other:?}"),
        }
        assert_eq!(sandbox.left_behind(), [""; 0], "{content}");
        save(&sandbox.root(), Durability::Full).unwrap();
        assert_eq!(sandbox.git(&["show", "develop:page"]), content);
        assert_eq!(sandbox.git(&["status", "--porcelain"]), "");
        sandbox.git(&["fsck", "--strict", "--no-dangling"]);
    }
    assert!((1..FREE_LIMIT - 1).contains(&refused), "{refused} times there was no room");
}
