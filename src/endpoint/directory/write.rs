//! Changing a directory item by item, beside others who may do so too.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::place::{Spot, split};
use super::{Directory, digest_file, form, is_young, os};
use crate::base::digest::{Digest, Digesting};
use crate::base::escape::shown;
use crate::base::id::entropy;
use crate::beneath::{Beneath, FileStat};
use crate::endpoint::{Body, Content, Error, Fingerprint, Form, IsKept, Key, Known, Modified, Put, Result, Take};

/// What new content is called until it is in its place; the beginning of its digest follows.
pub(super) const NEW_PREFIX: &[u8] = b".cascade-new-";
/// What is called so is on its way out.
const OLD_PREFIX: &[u8] = b".cascade-old-";
/// Digits of a digest in the name of new content.
const DIGEST_DIGITS: usize = 32;
/// A file with this bit is new content that is not complete; it means nothing else for a file.
const INCOMPLETE: u32 = 0o1000;
/// Longest place that a link can lead to.
const LINK_LIMIT_BYTES: u64 = 4_096;
/// Directories that are open at the same time, at most.
pub(super) const DIRECTORIES_LIMIT: usize = 256;
/// Bytes that a file system is asked to copy at a time.
#[cfg(target_os = "linux")]
const COPIED_AT_ONCE_BYTES: usize = 256 << 20;

const CHANGED_HERE: &str = "was changed at the target meanwhile";
const CHANGED_THERE: &str = "was changed at the source meanwhile";

/// Answers whether an entry was left behind by an interrupted write; such names are never items.
pub(super) fn is_leftover(name: &[u8]) -> bool {
    name.starts_with(NEW_PREFIX) || name.starts_with(OLD_PREFIX)
}

/// New content, aside; removed on drop unless it went to its place.
struct Aside {
    spot: Spot,
    is_there: bool,
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.is_there {
            // What stays is swept by the next run.
            let _ = unlink(&self.spot);
        }
    }
}

/// New content that is complete, and where it belongs.
struct Staged {
    aside: Aside,
    spot: Spot,
    key: Key,
    expected: Option<Known>,
}

/// Writes many items, as many at a time as a process may have their directories open.
pub(super) fn write(directory: &Directory, beneath: &Beneath, puts: Vec<Put>) -> Vec<Result<Fingerprint>> {
    parts(puts).into_iter().flat_map(|part| write_part(directory, beneath, part)).collect()
}

/// Cuts items, in their order, where the next one would be in a directory too many.
pub(super) fn parts(puts: Vec<Put>) -> Vec<Vec<Put>> {
    let mut parts: Vec<Vec<Put>> = Vec::new();
    let (mut open, mut last) = (0, None);
    for put in puts {
        let parent = split(put.key.as_bytes()).0.to_vec();
        if last.as_ref() != Some(&parent) {
            open += 1;
            last = Some(parent);
        }
        match parts.last_mut() {
            Some(part) if open <= DIRECTORIES_LIMIT => part.push(put),
            _ => {
                open = 1;
                parts.push(vec![put]);
            }
        }
    }
    parts
}

/// Writes items: all of them aside, then to the disk at once, then each to its place.
fn write_part(directory: &Directory, beneath: &Beneath, puts: Vec<Put>) -> Vec<Result<Fingerprint>> {
    let staged: Vec<Result<Staged>> = puts.into_iter().map(|put| stage(directory, beneath, put)).collect();
    let durable = if staged.iter().any(Result::is_ok) { flush(directory) } else { Ok(()) };
    let settle = |staged: Result<Staged>| {
        let staged = staged?;
        if let Err(refused) = &durable {
            return Err(Error::item("write", &staged.key)(io::Error::new(refused.kind(), refused.to_string())));
        }
        settle(directory, staged)
    };
    staged.into_iter().map(settle).collect()
}

/// Waits until everything in the file system of an opened directory is on the disk.
#[cfg(target_os = "linux")]
pub(super) fn flush(directory: &Directory) -> io::Result<()> {
    if directory.durability.is_fast() { Ok(()) } else { Ok(rustix::fs::syncfs(directory.top.as_fd())?) }
}

/// Elsewhere new content is brought there file by file; this is for the names.
#[cfg(not(target_os = "linux"))]
pub(super) fn flush(directory: &Directory) -> io::Result<()> {
    Ok(rustix::fs::fsync(directory.top.as_fd())?)
}

fn stage(directory: &Directory, beneath: &Beneath, put: Put) -> Result<Staged> {
    let Put { key, to, content, expected } = put;
    let failed = || Error::item("write", &key);
    let spot = match Spot::made(beneath, &key) {
        Err(blocked) if blocked.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::changed(&key, "has something on its way that is no directory"));
        }
        spot => spot.map_err(failed())?,
    };
    // Whoever was faster need not wait for content that has not come yet; nothing takes the place of anything new.
    if expected.is_some() || !matches!(content.body, Body::Whole(_)) {
        require(directory, &spot, &key, expected.as_ref())?;
    }
    let aside = aside(&spot, NEW_PREFIX, &to.digest.short(DIGEST_DIGITS));
    let mut aside = Aside { spot: aside, is_there: false };
    match to.form {
        Form::Link => write_link(&mut aside, &key, to.digest, content)?,
        Form::File { executable } => {
            let old = expected.as_ref().and_then(|_| spot.stat().ok());
            write_file(&mut aside, &key, (to.digest, to.size), content, |mode| final_mode(mode, executable, old))?;
        }
    }
    Ok(Staged { aside, spot, key, expected })
}

fn aside(spot: &Spot, prefix: &[u8], middle: &str) -> Spot {
    let unique = Digest::of(&entropy()).short(16);
    spot.beside([prefix, middle.as_bytes(), b"-", unique.as_bytes()].concat())
}

/// Permissions of a replaced file stay, but for those to execute it.
fn final_mode(created: u32, executable: bool, old: Option<FileStat>) -> u32 {
    let old = old.filter(|old| matches!(form(old), Some(Form::File { .. })));
    let mode = old.map_or(created, |old| old.mode) & 0o777;
    if !executable {
        return mode & !0o111;
    }
    // Who may read it may execute it.
    mode | (mode & 0o444) >> 2 | 0o100
}

fn write_file(
    aside: &mut Aside,
    key: &Key,
    expected: (Digest, u64),
    content: Content,
    mode: impl FnOnce(u32) -> u32,
) -> Result<()> {
    let failed = || Error::item("write", key);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(aside.spot.dir(), os(aside.spot.name()), flags, raw(0o666 | INCOMPLETE));
    let mut file = File::from(opened.map_err(io::Error::from).map_err(failed())?);
    aside.is_there = true;
    let modified = content.modified;
    fill(&mut file, key, expected, content)?;
    let created = FileStat::of_open(&file).map_err(failed())?.mode;
    rustix::fs::fchmod(&file, raw(mode(created))).map_err(io::Error::from).map_err(failed())?;
    if let Some(modified) = modified {
        // Not every file system keeps times, and none is needed to tell what the content is.
        let _ = rustix::fs::futimens(&file, &times(modified));
    }
    if cfg!(not(target_os = "linux")) {
        file.sync_all().map_err(failed())?;
    }
    Ok(())
}

/// Writes content into a new file; where it is not what was promised that is an error.
fn fill(file: &mut File, key: &Key, expected: (Digest, u64), content: Content) -> Result<()> {
    let failed = || Error::item("write", key);
    if let Body::File(opened) = &content.body
        && opened.proof.is_some()
        && copy_within(file, &opened.file, expected.1).map_err(failed())?
    {
        return if opened.is_proved() { Ok(()) } else { Err(Error::changed(key, CHANGED_THERE)) };
    }
    if let (Some(digest), Body::Whole(bytes)) = (content.digest, &content.body) {
        file.write_all(bytes).map_err(failed())?;
        let is_promised = (digest, bytes.len() as u64) == expected;
        return if is_promised { Ok(()) } else { Err(Error::changed(key, CHANGED_THERE)) };
    }
    let mut digesting = Digesting::default();
    content.drain(|piece| {
        digesting.add(piece);
        file.write_all(piece).map_err(failed())
    })?;
    if digesting.finish() == expected { Ok(()) } else { Err(Error::changed(key, CHANGED_THERE)) }
}

/// Lets the file system copy a whole file by itself: by sharing its blocks, or at least without bringing them here. Answers
/// whether it could; where not, nothing was copied.
#[cfg(target_os = "linux")]
fn copy_within(to: &mut File, from: &File, size: u64) -> io::Result<bool> {
    if rustix::fs::ioctl_ficlone(&*to, from).is_ok() {
        return Ok(to.metadata()?.len() == size);
    }
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(COPIED_AT_ONCE_BYTES);
        let mut end = at;
        match rustix::fs::copy_file_range(from, Some(&mut at), &*to, Some(&mut end), length) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV | Errno::PERM | Errno::IO) if at == 0 => {
                break;
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    if at == size {
        return Ok(true);
    }
    to.set_len(0)?;
    Ok(false)
}

#[cfg(not(target_os = "linux"))]
fn copy_within(_to: &mut File, _from: &File, _size: u64) -> io::Result<bool> {
    Ok(false)
}

/// Leaves alone when it was last read.
fn times((seconds, nanoseconds): Modified) -> Timestamps {
    // The widths of these types differ between platforms.
    #[allow(clippy::useless_conversion)]
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds.into(), tv_nsec: nanoseconds.into() },
    }
}

fn raw(mode: u32) -> Mode {
    // The width of this type differs between platforms; permissions fit into all of them.
    #[allow(clippy::useless_conversion)]
    Mode::from_raw_mode(mode.try_into().unwrap_or(0o600))
}

fn write_link(aside: &mut Aside, key: &Key, expected: Digest, content: Content) -> Result<()> {
    let mut leads = Vec::new();
    content.drain(|piece| {
        leads.extend_from_slice(piece);
        if leads.len() as u64 > LINK_LIMIT_BYTES { Err(Error::changed(key, CHANGED_THERE)) } else { Ok(()) }
    })?;
    if Digest::of(&leads) != expected {
        return Err(Error::changed(key, CHANGED_THERE));
    }
    let made = rustix::fs::symlinkat(os(&leads), aside.spot.dir(), os(aside.spot.name()));
    made.map_err(io::Error::from).map_err(Error::item("write", key))?;
    aside.is_there = true;
    Ok(())
}

/// Puts complete content to its place, if what is there is still what was expected.
fn settle(directory: &Directory, mut staged: Staged) -> Result<Fingerprint> {
    let Staged { aside, spot, key, expected } = &mut staged;
    let failed = || Error::item("write", key);
    let new = aside.spot.stat().map_err(failed())?;
    match expected {
        None => rename_new(&aside.spot, spot, key)?,
        Some(expected) => exchange(directory, &aside.spot, spot, key, expected)?,
    }
    // What came out instead is what was expected: the snapshot has it.
    aside.is_there = expected.is_some();
    let seen_ms = directory.clock.now().as_millisecond();
    let found = spot.stat().map_err(failed())?;
    if (found.ino, found.dev, found.size) != (new.ino, new.dev, new.size) {
        return Err(Error::changed(key, "was changed at the target right after it was written"));
    }
    Ok(Directory::fingerprint(&found, seen_ms))
}

/// Gives new content its name, where nothing has it.
fn rename_new(from: &Spot, to: &Spot, key: &Key) -> Result<()> {
    let exists = || Error::changed(key, CHANGED_HERE);
    let failed = |refused: Errno| Error::item("write", key)(refused.into());
    let renamed = rename(from, to, RenameFlags::NOREPLACE);
    match renamed {
        Ok(()) => Ok(()),
        Err(Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) => Err(exists()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            // A file system that cannot rename so can make a second name, which never replaces anything.
            match rustix::fs::linkat(from.dir(), os(from.name()), to.dir(), os(to.name()), AtFlags::empty()) {
                Ok(()) => unlink(from).map_err(Error::item("write", key)),
                Err(Errno::EXIST) => Err(exists()),
                // Nor second names (FAT): what was looked for just now and not found is made.
                Err(Errno::PERM | Errno::NOSYS | Errno::NOTSUP) if is_missing(to) => {
                    rustix::fs::renameat(from.dir(), os(from.name()), to.dir(), os(to.name())).map_err(failed)
                }
                Err(refused) => Err(failed(refused)),
            }
        }
        Err(refused) => Err(failed(refused)),
    }
}

fn is_missing(spot: &Spot) -> bool {
    spot.stat().is_err_and(|refused| refused.kind() == io::ErrorKind::NotFound)
}

/// Lets new content and what is there change places, and back where what came out is not what was expected.
fn exchange(directory: &Directory, new: &Spot, spot: &Spot, key: &Key, expected: &Known) -> Result<()> {
    let failed = |refused: Errno| Error::item("write", key)(refused.into());
    let before = require(directory, spot, key, Some(expected))?;
    match rename(new, spot, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Err(Error::changed(key, CHANGED_HERE)),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            // A file system that cannot do that: what was looked at just now is replaced.
            return rustix::fs::renameat(new.dir(), os(new.name()), spot.dir(), os(spot.name())).map_err(failed);
        }
        Err(refused) => return Err(failed(refused)),
    }
    if is_same(directory, new, before.as_ref(), expected) {
        return Ok(());
    }
    match rename(new, spot, RenameFlags::EXCHANGE) {
        Ok(()) => Err(Error::changed(key, CHANGED_HERE)),
        Err(_) => Err(Error::Aside { key: key.clone(), aside: shown(new.name()) }),
    }
}

fn rename(from: &Spot, to: &Spot, flags: RenameFlags) -> std::result::Result<(), Errno> {
    rustix::fs::renameat_with(from.dir(), os(from.name()), to.dir(), os(to.name()), flags)
}

/// Answers what is there, if that is what was expected.
fn require(directory: &Directory, spot: &Spot, key: &Key, expected: Option<&Known>) -> Result<Option<FileStat>> {
    let changed = || Error::changed(key, CHANGED_HERE);
    let seen_ms = directory.clock.now().as_millisecond();
    let found = match spot.stat() {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(Error::item("look at", key))?),
    };
    match (found, expected) {
        (None, None) => Ok(None),
        (Some(found), Some(expected)) => {
            let fingerprint = Directory::fingerprint(&found, seen_ms);
            if fingerprint.proves(&expected.fingerprint) {
                return Ok(Some(found));
            }
            let known = directory.known(spot).map_err(|_| changed())?;
            if known.version == expected.version { Ok(Some(found)) } else { Err(changed()) }
        }
        _ => Err(changed()),
    }
}

/// Answers whether what came out is what was looked at before; moving it changed its ctime alone.
fn is_same(directory: &Directory, moved: &Spot, before: Option<&FileStat>, expected: &Known) -> bool {
    let Ok(now) = moved.stat() else { return false };
    let bare = |stat: &FileStat| FileStat { ctime: (0, 0), ..*stat };
    if before.map(bare) != Some(bare(&now)) {
        return false;
    }
    // Somebody may have written into it in the very tick in which it was looked at.
    let touched = FileStat { ctime: now.mtime, ..now };
    !is_young(&touched, directory.clock.now().as_millisecond())
        || directory.known(moved).is_ok_and(|known| known.version == expected.version)
}

/// Takes one item away, and the directories that are empty then.
pub(super) fn delete(directory: &Directory, beneath: &Beneath, take: &Take) -> Result<()> {
    let key = &take.key;
    let failed = || Error::item("delete", key);
    let spot = match Spot::existing(beneath, key) {
        Err(gone) if matches!(gone.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Error::changed(key, CHANGED_HERE));
        }
        spot => spot.map_err(failed())?,
    };
    let before = require(directory, &spot, key, Some(&take.expected))?;
    let old = aside(&spot, OLD_PREFIX, "");
    rustix::fs::renameat(spot.dir(), os(spot.name()), old.dir(), os(old.name()))
        .map_err(io::Error::from)
        .map_err(failed())?;
    if !is_same(directory, &old, before.as_ref(), &take.expected) {
        return match rename_new(&old, &spot, key) {
            Ok(()) => Err(Error::changed(key, CHANGED_HERE)),
            Err(_) => Err(Error::Aside { key: key.clone(), aside: shown(old.name()) }),
        };
    }
    unlink(&old).map_err(failed())?;
    remove_empty(beneath, split(key.as_bytes()).0);
    Ok(())
}

/// Removes a directory and those above it, as far as they are empty.
fn remove_empty(beneath: &Beneath, mut path: &[u8]) {
    while !path.is_empty() {
        beneath.forget();
        let Ok(spot) = Spot::at(beneath, path) else { return };
        if rustix::fs::unlinkat(spot.dir(), os(spot.name()), AtFlags::REMOVEDIR).is_err() {
            return;
        }
        path = split(path).0;
    }
    beneath.forget();
}

fn unlink(spot: &Spot) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(spot.dir(), os(spot.name()), AtFlags::empty())?)
}

/// Removes what an interrupted write left, or says why it stays.
pub(super) fn sweep(directory: &Directory, beneath: &Beneath, path: &[u8], is_kept: &IsKept) -> Option<String> {
    let spot = Spot::at(beneath, path).ok()?;
    let stat = spot.stat().ok()?;
    let is_incomplete = matches!(form(&stat), Some(Form::File { .. })) && stat.mode & INCOMPLETE != 0;
    if !is_incomplete {
        let digest = match form(&stat) {
            Some(Form::Link) => spot.read_link().ok().map(|leads| Digest::of(&leads)),
            Some(_) => spot.open().and_then(|file| digest_file(file, stat.size)).ok().map(|(digest, _)| digest),
            None => None,
        };
        let is_new = |digest: &Digest| {
            let named = spot.name().strip_prefix(NEW_PREFIX).unwrap_or_default();
            named.starts_with(digest.short(DIGEST_DIGITS).as_bytes())
        };
        if !digest.is_some_and(|digest| is_new(&digest) || is_kept(&digest)) {
            let place = directory.path().join(os(path));
            let place = shown(place.as_os_str().as_encoded_bytes());
            return Some(format!(
                "{place} is what somebody put there while a sync replaced it: take what you need and remove it"
            ));
        }
    }
    unlink(&spot).err().map(|refused| format!("{} cannot be removed: {refused}", shown(path)))
}
