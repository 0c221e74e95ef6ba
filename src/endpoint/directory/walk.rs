//! Listing a directory in byte order of full paths.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use rustix::fs::FileType;

use super::Directory;
use super::write::is_leftover;
use crate::base::digest::Digest;
use crate::beneath::{self, Beneath, FileStat, Place};
use crate::endpoint::{Ended, Error, Form, Item, Key, Result, Unlisted};
use crate::endpoint::{Endpoint as _, Lister};

/// A directory whose entries are being listed, the next one last.
struct Level {
    dir: Rc<OwnedFd>,
    prefix: Vec<u8>,
    seen_ms: i64,
    entries: Vec<(Vec<u8>, FileStat)>,
}

/// Gives every item beneath the directory to `lister`.
pub(super) fn walk(directory: &Directory, lister: &mut Lister) -> Result<Ended> {
    let beneath = directory.beneath()?;
    let mut walk = Walk { directory, beneath, lister, ended: Ended::default() };
    let top = walk.level(Vec::new()).map_err(Error::unusable(&directory.place()))?;
    let mut levels: Vec<Level> = top.into_iter().collect();
    while let Some(level) = levels.last_mut() {
        let Some((name, stat)) = level.entries.pop() else {
            levels.pop();
            continue;
        };
        let path = [&level.prefix[..], &name].concat();
        if is_leftover(&name) {
            walk.ended.leftovers.push(path);
            continue;
        }
        let Some(key) = walk.key(path) else { continue };
        if stat.kind == FileType::Directory {
            levels.extend(walk.enter(key));
        } else if !walk.give(level, key, &name, &stat) {
            break;
        }
    }
    Ok(walk.ended)
}

struct Walk<'a> {
    directory: &'a Directory,
    beneath: Beneath,
    lister: &'a mut Lister,
    ended: Ended,
}

impl Walk<'_> {
    /// Reads a directory; nothing where it is gone by now. `path` is empty for the top.
    fn level(&mut self, path: Vec<u8>) -> io::Result<Option<Level>> {
        let dir = match self.beneath.dir(&path)? {
            Place::Dir(dir) => dir,
            Place::Gone | Place::Blocked { .. } => return Ok(None),
        };
        let seen_ms = self.directory.clock.now().as_millisecond();
        let prefix = if path.is_empty() { path } else { [&path[..], b"/"].concat() };
        let mut entries = Vec::new();
        for name in beneath::list(dir.as_fd())? {
            match beneath::stat_at(dir.as_fd(), &name) {
                Ok(stat) => entries.push((name, stat)),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(refused) => self.hide([&prefix[..], &name].concat(), &refused),
            }
        }
        // A directory's name counts with the slash that follows it: so `a.` comes before `a/b`. The first stands last.
        entries.sort_by(|one, other| order(other).cmp(order(one)));
        Ok(Some(Level { dir, prefix, seen_ms, entries }))
    }

    fn enter(&mut self, key: Key) -> Option<Level> {
        match self.level(key.as_bytes().to_vec()) {
            Ok(level) => level,
            Err(refused) => {
                self.hide(key.as_bytes().to_vec(), &refused);
                None
            }
        }
    }

    /// Lists one entry; answers whether anybody still wants more.
    fn give(&mut self, level: &Level, key: Key, name: &[u8], stat: &FileStat) -> bool {
        let fingerprint = Directory::fingerprint(stat, level.seen_ms);
        let (form, size, digest) = match self.directory.form(stat) {
            Some(Form::Link) => match beneath::read_link(level.dir.as_fd(), name) {
                Ok(leads) => (Form::Link, leads.len() as u64, Some(Digest::of(&leads))),
                Err(refused) => {
                    self.hide(key.as_bytes().to_vec(), &refused);
                    return true;
                }
            },
            Some(form) => (form, stat.size, None),
            None => {
                let reason = format!("it is {}", kind_name(stat.kind));
                self.ended.unlisted.push(Unlisted { key, reason, hides_items: false });
                return true;
            }
        };
        self.lister.give(Item { key, form, size, fingerprint, digest })
    }

    fn key(&mut self, path: Vec<u8>) -> Option<Key> {
        let shortened = path.get(..Key::LIMIT_BYTES / 2).map(<[u8]>::to_vec);
        match (Key::new(path), shortened) {
            (Ok(key), _) => Some(key),
            (Err(problem), shortened) => {
                // Only length can be wrong with what a directory holds.
                if let Some(key) = shortened.and_then(|start| Key::new(start).ok()) {
                    let reason = format!("what begins so cannot be a key: {problem}");
                    self.ended.unlisted.push(Unlisted { key, reason, hides_items: true });
                }
                None
            }
        }
    }

    fn hide(&mut self, path: Vec<u8>, refused: &io::Error) {
        if let Ok(key) = Key::new(path) {
            self.ended.unlisted.push(Unlisted { key, reason: refused.to_string(), hides_items: true });
        }
    }
}

fn order((name, stat): &(Vec<u8>, FileStat)) -> impl Iterator<Item = &u8> {
    let slash: &[u8] = if stat.kind == FileType::Directory { b"/" } else { b"" };
    name.iter().chain(slash)
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "neither a file nor a link",
    }
}
