//! Room for objects in a directory that is used as a bucket: a file and a directory cannot have one name there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Bucket;
use crate::endpoint::{Error, Key, Result};

/// Sees that nothing but directories is on the way of an object, and no directory in its place but an empty one, which goes.
pub(super) async fn made(bucket: &Bucket, key: &Key) -> Result<()> {
    let Some((root, path)) = local(bucket, key) else { return Ok(()) };
    let looked = tokio::task::spawn_blocking(move || look(&root, &path));
    match looked.await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(reason))) => Err(Error::changed(key, reason)),
        Ok(Err(refused)) => Err(Error::item("write", key)(refused)),
        Err(lost) => Err(Error::item("write", key)(io::Error::other(lost.to_string()))),
    }
}

/// Removes the directories that are empty now that an object is gone; they are nothing in a bucket.
pub(super) async fn left(bucket: &Bucket, key: &Key) {
    let Some((root, path)) = local(bucket, key) else { return };
    let removed = tokio::task::spawn_blocking(move || {
        let above = path.ancestors().skip(1).take_while(|above| *above != root);
        // The first that is not empty ends it.
        above.map(fs::remove_dir).take_while(io::Result::is_ok).count()
    });
    if let Err(lost) = removed.await {
        tracing::debug!(%lost, "empty directories stay");
    }
}

fn local(bucket: &Bucket, key: &Key) -> Option<(PathBuf, PathBuf)> {
    let root = bucket.path()?.to_owned();
    let path = root.join(OsStr::from_bytes(key.as_bytes()));
    Some((root, path))
}

/// Answers what is in the way of a file.
fn look(root: &Path, path: &Path) -> io::Result<Option<&'static str>> {
    for above in path.ancestors().skip(1).take_while(|above| *above != root) {
        match fs::symlink_metadata(above) {
            Ok(found) if !found.is_dir() => return Ok(Some("has something on its way that is no directory")),
            Ok(_) => {}
            Err(refused) if is_nothing(&refused) => {}
            Err(refused) => return Err(refused),
        }
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() && remove_empty(path).is_err() => Ok(Some("has other items below it")),
        Ok(found) if found.is_symlink() => Ok(Some("is a link at the target")),
        Ok(_) => Ok(None),
        Err(refused) if is_nothing(&refused) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// What lies below a file is not there either; that file is found on the way.
fn is_nothing(refused: &io::Error) -> bool {
    matches!(refused.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Removes a directory that has nothing but empty directories.
fn remove_empty(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        remove_empty(&entry.path())?;
    }
    fs::remove_dir(path)
}
