//! Whether a file system keeps which files may be executed: some (FAT, exFAT) say of all files that they may, or of none.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::os;
use super::write::NEW_PREFIX;
use crate::base::digest::Digest;
use crate::base::id::entropy;
use crate::beneath;

/// Those that do: ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs, NFS.
#[cfg(target_os = "linux")]
const KEEPING: [u64; 9] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e, 0x6969];
/// Those that do not: FAT, exFAT.
#[cfg(target_os = "linux")]
const LOSING: [u64; 2] = [0x4d44, 0x2011_bab0];

/// Answers it by the kind of file system, where that is known.
#[cfg(target_os = "linux")]
pub(super) fn known(top: &OwnedFd) -> Option<bool> {
    let kind = u64::try_from(rustix::fs::fstatfs(top).ok()?.f_type).ok()?;
    if KEEPING.contains(&kind) {
        return Some(true);
    }
    LOSING.contains(&kind).then_some(false)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn known(_top: &OwnedFd) -> Option<bool> {
    None
}

/// Makes a file that may not be executed, then one that may, and looks whether it is so.
pub(super) fn probe(top: &OwnedFd) -> io::Result<bool> {
    let unique = Digest::of(&entropy()).short(16);
    let name = [NEW_PREFIX, b"mode-", unique.as_bytes()].concat();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(top.as_fd(), os(&name), flags, Mode::from_raw_mode(0o600))?;
    let may_be_executed = || beneath::stat_at(top.as_fd(), &name).map(|stat| stat.executable());
    let before = may_be_executed();
    let changed = rustix::fs::fchmod(&file, Mode::from_raw_mode(0o700));
    let after = may_be_executed();
    rustix::fs::unlinkat(top.as_fd(), os(&name), AtFlags::empty())?;
    Ok(!before? && changed.is_ok() && after?)
}
