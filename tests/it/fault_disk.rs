//! A disk that is full: said so, nothing lost, and it goes on when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::pipeline::{PLAIN, Pipeline};

/// A small file system of its own, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `place`; answers nothing (and says so) where this user may not mount.
    fn mount(place: &Path) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(place).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(place.to_owned()));
        }
        assert!(std::env::var_os("CASCADE_REQUIRE_ALL").is_none(), "this machine must allow mounting a tmpfs");
        println!("skipped: mounting a tmpfs is not allowed here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_under_cascades_own_files_stops_a_promotion_before_anything_moves() {
    let pipeline = Pipeline::new(false, PLAIN, "");
    let home = pipeline.base().join("small");
    let Some(_disk) = SmallDisk::mount(&home) else { return };
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
