//! A file system that takes names which differ only by case for one, and keeps the spelling.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Sandbox, skip_unsupported};

/// Room for a small repository.
const SIZE_BYTES: u64 = 64 << 20;

/// Such a file system, unmounted at the end.
pub struct FoldingDisk {
    place: PathBuf,
    /// Given back after unmounting, where the mount does not do it.
    device: Option<String>,
}

impl FoldingDisk {
    /// Mounts one at `place`: ext4 that folds case, else exFAT; answers nothing (and says so) where neither works.
    pub fn mount(place: &Path, image: &Path) -> Option<Self> {
        let mounted = Self::ext4(place, image).or_else(|| Self::exfat(place, image));
        if mounted.is_none() {
            skip_unsupported(
                "no file system that folds case can be mounted here (ext4 with CONFIG_UNICODE, or exfat-fuse)",
            );
        }
        mounted
    }

    fn ext4(place: &Path, image: &Path) -> Option<Self> {
        File::create(image).unwrap().set_len(SIZE_BYTES).unwrap();
        run("mkfs.ext4", &["-q", "-O", "casefold", &text(image)])?;
        run("mount", &["-o", "loop", &text(image), &text(place)])?;
        let disk = Self { place: place.to_owned(), device: None };
        // A directory can be told to fold while it is empty.
        fs::remove_dir(place.join("lost+found")).unwrap();
        run("chattr", &["+F", &text(place)]).and_then(|_| disk.checked())
    }

    fn exfat(place: &Path, image: &Path) -> Option<Self> {
        File::create(image).unwrap().set_len(SIZE_BYTES).unwrap();
        run("mkfs.exfat", &[&text(image)])?;
        let device = run("losetup", &["--find", "--show", &text(image)])?.trim().to_owned();
        let disk = Self { place: place.to_owned(), device: Some(device.clone()) };
        run("mount.exfat-fuse", &[&device, &text(place)]).and_then(|_| disk.checked())
    }

    fn checked(self) -> Option<Self> {
        fs::write(self.place.join("probe"), "").unwrap();
        let folds = self.place.join("PROBE").exists();
        fs::remove_file(self.place.join("probe")).unwrap();
        folds.then_some(self)
    }
}

impl Drop for FoldingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).output();
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").args(["--detach", device]).output();
        }
    }
}

/// Makes a checkout with one commit on `develop`, on a file system that folds case.
///
/// The disk comes last, so that it goes first: a directory that something is mounted at cannot be removed.
pub fn folding_checkout() -> Option<(Sandbox, FoldingDisk)> {
    let sandbox = Sandbox::empty();
    let disk = FoldingDisk::mount(&sandbox.root(), &sandbox.base().join("image"))?;
    sandbox.git(&["init", "--quiet", "--initial-branch=develop"]);
    assert_eq!(sandbox.git(&["config", "core.ignoreCase"]), "true");
    sandbox.write("Readme.md", "hello\n");
    sandbox.write("src/a", "a\n");
    sandbox.write("src/deep/b", "b\n");
    sandbox.commit("First commit");
    Some((sandbox, disk))
}

/// Answers what a program printed; nothing where it is not there or fails.
fn run(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
