//! What SQLite and the file system refuse, in words for people.

use std::error::Error;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;
use rustix::io::Errno;

use crate::base::escape::shell_word;

/// Why the database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It may not be written.
    #[error("its file, or the directory that has it, may not be written")]
    ReadOnly,
    /// There is no room.
    #[error("the disk is full")]
    Full,
    /// The file system fails.
    #[error("the disk does not read or write it")]
    Disk,
    /// A file of its cannot be opened.
    #[error("one of its files cannot be opened or made")]
    Closed,
    /// It is not what it was.
    #[error("its file is damaged")]
    Damaged,
    /// Another process has it for itself.
    #[error("another process has locked it for too long")]
    Locked,
    /// Anything else.
    #[error(transparent)]
    Other(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(problem: sqlx::Error) -> Self {
        let known = Self::known(&problem);
        known.unwrap_or(Self::Other(problem))
    }
}

impl Refusal {
    /// Answers what an error rests on, where SQLite says it by a code that is known.
    pub(super) fn of(problem: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(problem);
        while let Some(problem) = next {
            if let Some(known) = problem.downcast_ref().and_then(Self::known) {
                return Some(known);
            }
            next = problem.source();
        }
        None
    }

    fn known(problem: &sqlx::Error) -> Option<Self> {
        let code: i32 = problem.as_database_error()?.code()?.parse().ok()?;
        // The higher bits tell apart where it happened.
        match code & 0xff {
            // BUSY and LOCKED.
            5 | 6 => Some(Self::Locked),
            8 => Some(Self::ReadOnly),
            10 => Some(Self::Disk),
            11 | 26 => Some(Self::Damaged),
            13 => Some(Self::Full),
            14 => Some(Self::Closed),
            _ => None,
        }
    }
}

/// Why a file or directory cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// Nothing can be written where it is.
    #[error("its file system is read-only")]
    ReadOnlyFileSystem,
    /// It is not this user's.
    #[error("it belongs to another user ({owner})")]
    Foreign {
        /// The number of the user who owns it.
        owner: u32,
    },
    /// Anything else, as a rule its mode.
    #[error(transparent)]
    Refused(io::Error),
}

impl Obstacle {
    /// Answers what keeps this user from writing; nothing where they may.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let refused = rustix::fs::access(path, Access::WRITE_OK).err()?;
        let owner = std::fs::metadata(path).ok().map(|found| found.uid());
        let foreign = owner.filter(|owner| *owner != rustix::process::getuid().as_raw());
        Some(match (refused, foreign) {
            (Errno::ROFS, _) => Self::ReadOnlyFileSystem,
            (_, Some(owner)) => Self::Foreign { owner },
            (refused, None) => Self::Refused(refused.into()),
        })
    }

    /// Answers what to do about it, with the command where there is one.
    pub(super) fn way_out(&self, path: &Path) -> String {
        let path = shell_word(path.as_os_str().as_encoded_bytes());
        let elsewhere = "set CASCADE_HOME to a directory of yours";
        match self {
            Self::ReadOnlyFileSystem => format!("{elsewhere} on another one"),
            Self::Foreign { .. } => format!("make it yours: `sudo chown -R \"$(id -u)\" {path}`; or {elsewhere}"),
            Self::Refused(_) => format!("allow it: `chmod -R u+rwX {path}`; or {elsewhere}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Home, Store};

    #[tokio::test]
    async fn what_sqlite_refuses_is_told_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let store = Store::open(&home, &home.project(dir.path())).await.unwrap();
        let refused = |sql: &'static str| {
            let pool = store.pool.clone();
            async move { Refusal::from(sqlx::query(sql).execute(&pool).await.unwrap_err()) }
        };
        assert!(matches!(refused("SELECT nothing FROM nowhere").await, Refusal::Other(_)));
        sqlx::query("PRAGMA query_only = ON").execute(&store.pool).await.unwrap();
        let told = refused("DELETE FROM projects").await;
        assert!(matches!(told, Refusal::ReadOnly), "{told:?}");
        assert_eq!(told.to_string(), "its file, or the directory that has it, may not be written");
    }
}
