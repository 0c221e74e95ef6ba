//! A file system that loses its power.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::skip_unsupported;

/// `EXT4_IOC_SHUTDOWN`, and not even the journal is written out any more.
const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
const NO_LOG_FLUSH: u32 = 2;
/// Longest time that a disk may be busy before its power can be given back.
const BUSY_LIMIT: Duration = Duration::from_secs(30);

/// A small ext4 in a file, unmounted at the end.
pub struct CutDisk {
    /// One block device for all mounts: two of the same file would not see each other's writes at once.
    device: String,
    place: PathBuf,
}

impl CutDisk {
    /// Makes one and mounts it at `place`; answers nothing (and says so) where this user may not.
    pub fn mount(image: &Path, place: &Path, size_mib: u64) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        File::create(image).unwrap().set_len(size_mib << 20).unwrap();
        let run = |program: &str, words: &[&str]| {
            let output = Command::new(program).args(words).arg(image).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let device = run("mkfs.ext4", &["-q"]).and_then(|_| run("losetup", &["--find", "--show"]));
        let disk = device.map(|device| Self { device, place: place.to_owned() }).filter(Self::attach);
        if disk.is_none() {
            skip_unsupported("making and mounting an ext4 is not allowed here");
        }
        disk
    }

    /// Makes everything durable; on this disk alone, for other tests are about what is not.
    pub fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.place).unwrap()).unwrap();
    }

    /// Makes what is known of the files durable, as any other program's `fsync` does, but not what is in them.
    pub fn write_journal(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.place.join("others")).unwrap();
        file.write_all(b"x").unwrap();
        file.sync_all().unwrap();
    }

    /// Cuts the power and gives it back.
    pub fn cut(&self) {
        let top = File::open(&self.place).unwrap();
        // SAFETY: the call reads one number at a valid address.
        let shut = unsafe { libc::ioctl(top.as_raw_fd(), SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(shut, 0, "{}", std::io::Error::last_os_error());
        drop(top);
        assert!(self.detach() && self.attach());
    }

    fn attach(&self) -> bool {
        let mounted = Command::new("mount").arg(&self.device).arg(&self.place).output();
        mounted.is_ok_and(|mounted| mounted.status.success())
    }

    /// What another test starts in the same moment has a copy of every open file until it runs its program: until then the
    /// disk is busy, and nothing tells when that is over.
    fn detach(&self) -> bool {
        let unmount = || Command::new("umount").arg(&self.place).output().is_ok_and(|output| output.status.success());
        let deadline = Instant::now() + BUSY_LIMIT;
        while !unmount() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for CutDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}
