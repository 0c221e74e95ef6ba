//! Listing a bucket in byte order, in constant memory.

use std::path::PathBuf;
use std::{fs, io, vec};

use futures_util::TryStreamExt as _;
use opendal::options::ListOptions;
use opendal::raw::Timestamp;
use opendal::{EntryMode, Metadata, MetadataBuilder};

use super::conditions::PROBE_PREFIX;
use super::mark;
use super::open::NEW_DIRECTORY;
use super::refusal::{self, unusable};
use super::{Bucket, is_reachable};
use crate::base::escape::shown;
use crate::endpoint::{Ended, Error, Form, Item, Key, LISTED_AT_ONCE_ITEMS, Leftover, Lister, Result, Unlisted};

/// Lists everything: as the store lists it where that goes below directories, else directory by directory.
pub(super) async fn list(bucket: &Bucket, lister: Lister) -> Result<(Lister, Ended)> {
    let goes_below = bucket.0.operator.info().capability().list_with_recursive;
    let mut taking = Taking { bucket, lister, ended: Ended::default(), last: String::new() };
    if goes_below {
        flat(&mut taking).await?;
    } else {
        walk(&mut taking).await?;
    }
    Ok((taking.lister, taking.ended))
}

async fn flat(taking: &mut Taking<'_>) -> Result<()> {
    let bucket = taking.bucket;
    let failed = |refused| unusable(&bucket.0.place, refused);
    let options = ListOptions { recursive: true, limit: Some(LISTED_AT_ONCE_ITEMS), ..ListOptions::default() };
    let mut entries = bucket.0.operator.lister_options("", options).await.map_err(failed)?;
    while let Some(entry) = entries.try_next().await.map_err(failed)? {
        let (path, metadata) = entry.into_parts();
        // Some programs put empty objects where directories would be.
        if metadata.mode() != EntryMode::DIR && !taking.take(path, metadata).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Lists directory by directory: the entries of one, with a slash after those that are directories, are in the order of
/// all names when they are in order themselves.
async fn walk(taking: &mut Taking<'_>) -> Result<()> {
    let mut levels = vec![directory(taking, "").await?];
    while let Some(level) = levels.last_mut() {
        match level.next() {
            None => drop(levels.pop()),
            Some((path, metadata)) if metadata.mode() == EntryMode::DIR => {
                levels.push(directory(taking, &path).await?);
            }
            Some((path, metadata)) => {
                if !taking.take(path, metadata).await? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Answers the entries of one directory, in order.
async fn directory(taking: &mut Taking<'_>, path: &str) -> Result<vec::IntoIter<(String, Metadata)>> {
    let bucket = taking.bucket;
    let mut entries = match bucket.path() {
        Some(root) => {
            let (entries, unnamed) = local(bucket, root.to_owned(), path.to_owned()).await?;
            taking.ended.unlisted.extend(unnamed);
            entries
        }
        None => {
            let listed = bucket.0.operator.list(path).await.map_err(|refused| unusable(&bucket.0.place, refused))?;
            listed.into_iter().map(opendal::Entry::into_parts).collect()
        }
    };
    entries.retain(|(entry, _)| entry != path && entry != "/");
    entries.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    Ok(entries.into_iter())
}

/// What a directory of this machine has, and what of it has no name that an object could have.
type Local = (Vec<(String, Metadata)>, Vec<Unlisted>);

/// Answers the entries of a directory of this machine, which OpenDAL would follow out of it where they are links.
async fn local(bucket: &Bucket, root: PathBuf, path: String) -> Result<Local> {
    let place = bucket.0.place.clone();
    let read = tokio::task::spawn_blocking(move || -> io::Result<Local> {
        let (mut entries, mut unnamed) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(root.join(&path))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let key = Key::new([path.as_bytes(), name.as_encoded_bytes()].concat());
                let reason = "its name is no UTF-8".to_owned();
                unnamed.extend(key.ok().map(|key| Unlisted { key, reason, hides_items: false }));
                continue;
            };
            // What goes away meanwhile is gone.
            let Ok(found) = entry.metadata() else { continue };
            let name = format!("{path}{name}");
            entries.push(match (found.is_dir(), found.is_file()) {
                (true, _) => (format!("{name}/"), MetadataBuilder::dir().build()),
                (_, true) => {
                    let mut metadata = MetadataBuilder::file(found.len());
                    if let Ok(time) = Timestamp::try_from(found.modified()?) {
                        metadata.last_modified(time);
                    }
                    (name, metadata.build())
                }
                _ => (name, MetadataBuilder::unknown().build()),
            });
        }
        Ok((entries, unnamed))
    });
    let lost = |lost: tokio::task::JoinError| Error::Lost { place: place.clone(), reason: lost.to_string() };
    read.await.map_err(lost)?.map_err(Error::unusable(&place))
}

/// Takes what a store lists.
struct Taking<'b> {
    bucket: &'b Bucket,
    lister: Lister,
    ended: Ended,
    last: String,
}

impl Taking<'_> {
    /// Takes the next object; answers whether anybody still wants more.
    async fn take(&mut self, path: String, metadata: Metadata) -> Result<bool> {
        if self.last.as_bytes() >= path.as_bytes() && !self.last.is_empty() {
            let place = self.bucket.0.place.clone();
            let reason = format!("it lists {} after {}", shown(path.as_bytes()), shown(self.last.as_bytes()));
            return Err(Error::Lost { place, reason });
        }
        self.last.clone_from(&path);
        if is_own(&path) {
            self.ended.leftovers.push(path.into_bytes());
            return Ok(true);
        }
        let key = Key::new(path.as_bytes().to_vec());
        match key {
            Ok(key) if metadata.mode() == EntryMode::FILE && is_reachable(&path) => {
                let metadata = if metadata.etag().is_some() || metadata.last_modified().is_some() {
                    metadata
                } else {
                    let looked = self.bucket.0.operator.stat(&path).await;
                    looked.map_err(|refused| Error::item("read", &key)(refusal::io(refused)))?
                };
                let fingerprint = mark::of(&metadata, self.bucket.now_ms());
                let form = Form::File { executable: false };
                let item = Item { key, form, size: metadata.content_length(), fingerprint, digest: None };
                Ok(self.lister.hand(item).await)
            }
            key => {
                self.leave(&path, key.ok());
                Ok(true)
            }
        }
    }

    /// Notes what is no item.
    fn leave(&mut self, path: &str, key: Option<Key>) {
        let reason = match &key {
            Some(_) if is_reachable(path) => "it is a link, or no file at all",
            Some(_) => "its name has a space around it",
            None => "its name has a part that is empty, `.` or `..`, or is too long",
        };
        let key = key.or_else(|| Key::new(standing_for(path)).ok());
        let unlisted = |key| Unlisted { key, reason: reason.to_owned(), hides_items: false };
        self.ended.unlisted.extend(key.map(unlisted));
    }
}

/// Answers a key that stands for a name which is none, for people.
fn standing_for(path: &str) -> Vec<u8> {
    let part = |part| match part {
        "" => "(empty)".to_owned(),
        "." | ".." => format!("({part})"),
        part => part.chars().take(Key::LIMIT_BYTES / 8).collect(),
    };
    let parts: Vec<String> = path.split('/').map(part).collect();
    let mut bytes = parts.join("/").replace('\0', "(NUL)").into_bytes();
    bytes.truncate(Key::LIMIT_BYTES);
    bytes
}

/// Answers whether an object is our own, left behind by something that was interrupted.
fn is_own(path: &str) -> bool {
    path.starts_with(NEW_DIRECTORY) || path.rsplit('/').next().is_some_and(|name| name.starts_with(PROBE_PREFIX))
}

/// Removes what was left behind, or says why it stays.
pub(super) async fn sweep(bucket: &Bucket, leftover: &Leftover) -> Option<String> {
    let path = std::str::from_utf8(leftover).ok().filter(|path| is_own(path))?;
    let removed = bucket.0.operator.delete(path).await;
    removed.err().map(|refused| format!("{} cannot be removed: {}", shown(leftover), refusal::io(refused)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_told_as_one() {
        for (path, told) in [("a//b", "a/(empty)/b"), ("a/../b", "a/(..)/b"), ("/a", "(empty)/a"), ("a\0b", "a(NUL)b")]
        {
            assert!(Key::new(path.as_bytes().to_vec()).is_err());
            assert_eq!(Key::new(standing_for(path)).map(|key| key.to_string()), Ok(told.to_owned()));
        }
    }

    #[test]
    fn only_our_own_leftovers_are_swept() {
        assert!(is_own(".cascade-new/a/b.tmp") && is_own(".cascade-probe-0") && is_own("a/.cascade-probe-0"));
        assert!(!is_own("cascade-new/a") && !is_own("a/.cascade-new/b") && !is_own("x.cascade-probe-0"));
    }
}
