//! A small file system of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip;

/// A small file system, unmounted at the end.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `size_mib` at `place`; answers nothing (and says so) where this user may not mount.
    pub fn mount(place: &Path, size_mib: u32) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let size = format!("size={size_mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(place.to_owned()));
        }
        skip("mounting a tmpfs is not allowed here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
