//! Whether a file system has room for more.

use std::io;
use std::path::Path;

use crate::base::Diagnosis;

/// With less than this, saves and promotions may soon fail.
pub const FREE_MIN_BYTES: u64 = 100 << 20;
/// With a smaller part of a file system's inodes, new files may soon be refused.
pub const FREE_INODES_MIN_PERCENT: u64 = 1;

/// What is left of a file system for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Room for content.
    pub free_bytes: u64,
    /// Files that may still be made.
    pub free_inodes: u64,
    /// All its inodes; 0 where they are not counted.
    pub inodes: u64,
}

impl Space {
    /// Asks the file system that `path` is on, or would be on once it is made.
    ///
    /// # Errors
    /// It does not answer.
    pub fn at(path: &Path) -> io::Result<Self> {
        let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
        let found = rustix::fs::statvfs(existing)?;
        Ok(Self {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            free_inodes: found.f_favail,
            inodes: found.f_files,
        })
    }

    /// Answers whether there is enough; `place` names the directory for people.
    #[must_use]
    pub fn judged(self, question: &'static str, place: &str) -> Diagnosis {
        let free = format!("{} free for {place}", size(self.free_bytes));
        if self.free_bytes < FREE_MIN_BYTES {
            let advice = format!("make room: at least {} should be free; see `df -h`", size(FREE_MIN_BYTES));
            return Diagnosis::problem(question, format!("only {free}"), advice);
        }
        // Some file systems make inodes as they are needed, and count none.
        if self.inodes > 0 && self.free_inodes.saturating_mul(100) < self.inodes.saturating_mul(FREE_INODES_MIN_PERCENT)
        {
            let detail = format!("{free}, but only {} of {} inodes", self.free_inodes, self.inodes);
            return Diagnosis::problem(question, detail, "delete files that are not needed; see `df -i`");
        }
        Diagnosis::ok(question, free)
    }
}

/// Answers a size in the unit that keeps it short: `12.3 GiB`, `99 MiB`.
fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB { format!("{:.1} GiB", bytes as f64 / GIB as f64) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Verdict;

    fn check(free_bytes: u64, free_inodes: u64, inodes: u64, expected: Verdict) {
        let found = Space { free_bytes, free_inodes, inodes }.judged("disk", "x");
        assert_eq!(found.verdict, expected, "{found:?}");
    }

    #[test]
    fn room_and_inodes_each_have_a_limit() {
        check(FREE_MIN_BYTES, 1_000, 100_000, Verdict::Ok);
        check(FREE_MIN_BYTES - 1, 1_000, 100_000, Verdict::Problem);
        check(FREE_MIN_BYTES, 999, 100_000, Verdict::Problem);
        check(FREE_MIN_BYTES, 0, 0, Verdict::Ok);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_room_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let there = Space::at(dir.path()).unwrap();
        assert_eq!(Space::at(&dir.path().join("not/yet")).unwrap().inodes, there.inodes);
    }
}
