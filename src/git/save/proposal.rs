//! What a save is about to commit, for whoever writes its message.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{DiffOptions, Odb, Oid, Patch};

use super::Change;
use crate::git::error::{Error, Result};
use crate::git::index::Op;
use crate::git::pack::PackWriter;
use crate::git::tree::{BaseTree, MODE_LINK, MODE_TREE};

/// Most bytes of a proposal's patch.
pub const PATCH_LIMIT_BYTES: usize = 128 << 10;
/// Most files that a proposal's patch names.
pub const PATCH_LIMIT_FILES: usize = 500;
/// A file of which either version is larger is named only.
const COMPARED_LIMIT_BYTES: u64 = 1 << 20;
/// A NUL in this much of the start means that it is not text; git looks as far.
const BINARY_PROBE_BYTES: usize = 8_000;
/// What stands where the lines of a file end before their time; readers of patches pass such a line over.
const CUT_NOTE: &[u8] = b"\\ The rest is not shown\n";

/// A commit that is about to be made: its files are read already, and nothing is locked.
pub struct Proposal<'a, 'r> {
    changes: &'a [Change],
    ops: &'a BTreeMap<Vec<u8>, (Change, Op)>,
    base: &'a mut BaseTree<'r>,
    pack: &'a mut PackWriter,
    odb: &'a Odb<'r>,
}

/// One version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    mode: u32,
    oid: Oid,
}

impl<'a, 'r> Proposal<'a, 'r> {
    pub(super) fn new(
        changes: &'a [Change],
        ops: &'a BTreeMap<Vec<u8>, (Change, Op)>,
        base: &'a mut BaseTree<'r>,
        pack: &'a mut PackWriter,
        odb: &'a Odb<'r>,
    ) -> Self {
        Self { changes, ops, base, pack, odb }
    }

    /// Answers what is saved, sorted by path; never empty.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        self.changes
    }

    /// Answers the patch from the parent to this commit in git's unified form, read from the very objects that are saved.
    ///
    /// Bounded by [`PATCH_LIMIT_BYTES`] and [`PATCH_LIMIT_FILES`]: of a file that does not fit, the first lines are shown
    /// and a note that there are more. Binary files and those above 1 MiB are only named. Renames are not looked for.
    ///
    /// # Errors
    /// An object cannot be read.
    pub fn patch(&mut self) -> Result<Vec<u8>> {
        let mut patch = Vec::new();
        let files: Vec<&Vec<u8>> = self.ops.keys().take(PATCH_LIMIT_FILES).collect();
        for (index, path) in files.iter().enumerate() {
            let mut section = Vec::new();
            // Half of what is left: no file takes the room of all that follow.
            let room = PATCH_LIMIT_BYTES.saturating_sub(patch.len()) / if index + 1 == files.len() { 1 } else { 2 };
            self.file(&mut section, path, room)?;
            if patch.len() + section.len() > PATCH_LIMIT_BYTES {
                break;
            }
            patch.append(&mut section);
        }
        Ok(patch)
    }

    fn file(&mut self, section: &mut Vec<u8>, path: &[u8], room: usize) -> Result<()> {
        let base = self.base.find(path)?.filter(|entry| entry.mode != MODE_TREE);
        let old = base.map(|entry| Side { mode: entry.mode, oid: entry.oid });
        let new = match self.ops.get(path) {
            Some((_, Op::Put(content))) => Some(Side { mode: content.mode, oid: content.oid }),
            _ => None,
        };
        match (old, new) {
            (Some(before), Some(after)) if (before.mode == MODE_LINK) != (after.mode == MODE_LINK) => {
                self.versions(section, path, old, None, room / 2)?;
                self.versions(section, path, None, new, room / 2)
            }
            _ => self.versions(section, path, old, new, room),
        }
    }

    fn versions(
        &mut self,
        section: &mut Vec<u8>,
        path: &[u8],
        old: Option<Side>,
        new: Option<Side>,
        room: usize,
    ) -> Result<()> {
        push_header(section, path, old, new);
        if old.map(|side| side.oid) == new.map(|side| side.oid) {
            return Ok(());
        }
        let name = |side: Option<Side>, prefix| side.map_or_else(|| b"/dev/null".to_vec(), |_| quoted(prefix, path));
        let (from, to) = (name(old, "a/"), name(new, "b/"));
        let contents = (self.content(old)?, self.content(new)?);
        let (Some(before), Some(after)) = contents else {
            section.extend([b"Binary files ", &from[..], b" and ", &to, b" differ\n"].concat());
            return Ok(());
        };
        let lines = lines_between(&before, &after, room.saturating_sub(section.len()))?;
        if !lines.is_empty() {
            // Git ends names that have blanks with a tab.
            let end = |name: &[u8]| if name.contains(&b' ') { &b"\t\n"[..] } else { b"\n" };
            section.extend([b"--- ", &from[..], end(&from), b"+++ ", &to, end(&to), &lines].concat());
        }
        Ok(())
    }

    /// Answers a version's text; nothing where it is not text or too large. A version that is not there is empty.
    fn content(&mut self, side: Option<Side>) -> Result<Option<Vec<u8>>> {
        let Some(Side { oid, .. }) = side else { return Ok(Some(Vec::new())) };
        let content = match self.pack.read_blob(oid, COMPARED_LIMIT_BYTES)? {
            Some(content) => Some(content),
            None => self.known(oid)?,
        };
        Ok(content.filter(|bytes| !bytes[..bytes.len().min(BINARY_PROBE_BYTES)].contains(&0)))
    }

    /// Reads an object that the repository has; nothing where it is too large, or not there (but in the pack).
    fn known(&self, oid: Oid) -> Result<Option<Vec<u8>>> {
        let Ok((size, _)) = self.odb.read_header(oid) else { return Ok(None) };
        if size as u64 > COMPARED_LIMIT_BYTES {
            return Ok(None);
        }
        let object = self.odb.read(oid).map_err(Error::library(format!("read blob {oid}")))?;
        Ok(Some(object.data().to_vec()))
    }
}

fn push_header(section: &mut Vec<u8>, path: &[u8], old: Option<Side>, new: Option<Side>) {
    section.extend([b"diff --git ", &quoted("a/", path)[..], b" ", &quoted("b/", path), b"\n"].concat());
    let short = |side: Option<Side>| side.map_or(Oid::ZERO_SHA1, |side| side.oid).to_string()[..7].to_owned();
    let ids = format!("index {}..{}", short(old), short(new));
    let text = match (old, new) {
        (None, Some(new)) => format!("new file mode {:06o}\n{ids}\n", new.mode),
        (Some(old), None) => format!("deleted file mode {:06o}\n{ids}\n", old.mode),
        (Some(old), Some(new)) if old.mode == new.mode => format!("{ids} {:06o}\n", old.mode),
        (Some(old), Some(new)) => {
            let ids = if old.oid == new.oid { String::new() } else { format!("{ids}\n") };
            format!("old mode {:06o}\nnew mode {:06o}\n{ids}", old.mode, new.mode)
        }
        (None, None) => String::new(),
    };
    section.extend(text.into_bytes());
}

/// Answers the hunks between two texts, whole lines in at most about `room` bytes.
fn lines_between(before: &[u8], after: &[u8], room: usize) -> Result<Vec<u8>> {
    let failed = || Error::library("compare two versions of a file");
    let name = Some(Path::new("file"));
    let mut options = DiffOptions::new();
    options.force_text(true).context_lines(3);
    let patch = Patch::from_buffers(before, name, after, name, Some(&mut options)).map_err(failed())?;
    let mut text = Vec::new();
    for hunk in 0..patch.num_hunks() {
        let (header, lines) = patch.hunk(hunk).map_err(failed())?;
        text.extend_from_slice(header.header());
        for line in 0..lines {
            let line = patch.line_in_hunk(hunk, line).map_err(failed())?;
            if text.len() + line.content().len() + CUT_NOTE.len() >= room {
                text.extend_from_slice(CUT_NOTE);
                return Ok(text);
            }
            if matches!(line.origin(), ' ' | '+' | '-') {
                text.push(line.origin() as u8);
            }
            text.extend_from_slice(line.content());
        }
    }
    Ok(text)
}

/// Writes a name as git does with `core.quotePath=false`: in quotes where it has control characters or quotes.
fn quoted(prefix: &str, path: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| !byte.is_ascii_control() && !matches!(byte, b'"' | b'\\');
    if path.iter().all(is_plain) {
        return [prefix.as_bytes(), path].concat();
    }
    let mut text = [b"\"", prefix.as_bytes()].concat();
    for byte in path {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\t' => text.extend(b"\\t"),
            byte if byte.is_ascii_control() => text.extend(format!("\\{byte:03o}").into_bytes()),
            byte => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}
