//! Locks between processes, freed by the death of their holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Whoever asks for a lock's holder has the lock itself for a moment; a taker looks again so often.
const LOOK_ATTEMPTS: u32 = 4;
/// Pause between two looks.
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// A held lock; dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is held by process {}", .path.display(), .pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, where it wrote its process id already.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path`, creating its file (and directory) where missing, and writes this process's id into it.
    ///
    /// # Errors
    /// Held by another process, or the file cannot be created or written.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(io_error)?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io_error)?;
        let mut attempts_left = LOOK_ATTEMPTS;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempts_left > 0 => std::thread::sleep(LOOK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { path: path.to_owned(), pid: read_pid(&mut file) });
                }
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
            attempts_left -= 1;
        }
        file.set_len(0).map_err(io_error)?;
        file.rewind().map_err(io_error)?;
        write!(file, "{}", std::process::id()).map_err(io_error)?;
        Ok(Self { _file: file })
    }

    /// Answers the process that holds the lock at `path`; nothing when nobody does.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn holder(path: &Path) -> Result<Option<u32>, LockError> {
        let io_error = |source| LockError::Io { path: path.to_owned(), source };
        let mut file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(source)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(read_pid(&mut file)),
            Err(TryLockError::Error(source)) => Err(io_error(source)),
        }
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_taker_is_refused_until_the_first_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/one.lock");
        assert_eq!(Lock::holder(&path).unwrap(), None);
        let held = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
        assert_eq!(Lock::holder(&path).unwrap(), Some(std::process::id()));
        drop(held);
        assert_eq!(Lock::holder(&path).unwrap(), None);
        Lock::take(&path).unwrap();
    }
}
