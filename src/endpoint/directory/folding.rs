//! Which names a file system takes for one: asked of itself, with a file that is gone at once.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::os;
use super::write::NEW_PREFIX;
use crate::base::digest::Digest;
use crate::base::id::entropy;
use crate::beneath;
use crate::endpoint::Folding;

/// Makes a file with a telling name and looks for it by other names.
pub(super) fn probe(top: &OwnedFd) -> io::Result<Folding> {
    let unique = Digest::of(&entropy()).short(16);
    let name = |telling: &str| [NEW_PREFIX, telling.as_bytes(), b"-", unique.as_bytes()].concat();
    // An e with an acute accent, as one character and as two.
    let (made, upper, apart) = (name("probe\u{e9}"), name("PROBE\u{e9}"), name("probee\u{301}"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(rustix::fs::openat(top.as_fd(), os(&made), flags, Mode::from_raw_mode(0o600))?);
    let is_found = |name: &[u8]| beneath::stat_at(top.as_fd(), name).is_ok();
    let folding = Folding { case: is_found(&upper), normalization: is_found(&apart) };
    rustix::fs::unlinkat(top.as_fd(), os(&made), AtFlags::empty())?;
    Ok(folding)
}
