//! A small file system of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip;

/// A small file system, unmounted at the end.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `size_mib` at `place`; answers nothing (and says so) where this user may not mount.
    pub fn mount(place: &Path, size_mib: u32) -> Option<Self> {
        Self::mount_with(place, &format!("size={size_mib}m"))
    }

    /// Mounts one that has room for `files` files and directories.
    pub fn mount_for(place: &Path, files: u32) -> Option<Self> {
        Self::mount_with(place, &format!("nr_inodes={files}"))
    }

    /// Makes empty files until there is room for `free` more and no other; answers where they are.
    pub fn crowd(&self, free: usize) -> PathBuf {
        let crowd = self.0.join("crowd");
        std::fs::create_dir(&crowd).unwrap();
        let made = (0..).take_while(|number| File::create(crowd.join(number.to_string())).is_ok()).count();
        let gone = made - free.min(made)..made;
        gone.for_each(|number| std::fs::remove_file(crowd.join(number.to_string())).unwrap());
        crowd
    }

    fn mount_with(place: &Path, option: &str) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", option, "tmpfs"]).arg(place).output();
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
