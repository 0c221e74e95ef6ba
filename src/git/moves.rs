//! Where a branch went and who moved it, by its log: what a power cut has torn of it is passed over.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use git2::Oid;

use super::branch::{full_name, object_id};
use super::error::{Error, Result};
use super::repo::Repo;
use crate::base::id::ObjectId;

/// What the log of a branch says wherever cascade moved it. What it moved it to was on the disk by then, or there is a
/// note up to where that is so (see `durable`).
pub(super) const LOG_PREFIX: &str = "cascade: ";
/// Bytes at the end of a log in which the last moves are looked for.
const LOG_END_BYTES: u64 = 4_096;
/// Letters of an object's name.
const OID_LETTERS: usize = 40;

/// One line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    /// Where the branch went.
    pub to: Oid,
    /// Whether it was cascade that moved it.
    pub is_own: bool,
}

/// What a branch had, its user took out of it, and the remote still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenBack {
    /// Commits that were in the branch here.
    pub commits: usize,
    /// Commits that others made on top of them.
    pub on_top: usize,
}

impl Repo {
    /// Answers what of `theirs` was in the branch here until its user took it out (reset, rebase, amend); nothing where
    /// all that `theirs` has and the branch lacks is the work of others.
    ///
    /// Only the branch's log knows: without one nothing was taken back. What cascade went back behind, because it was
    /// lost here, was not either.
    ///
    /// # Errors
    /// The branch does not exist, its log cannot be read, or a commit is missing.
    pub fn taken_back(&self, branch: &str, theirs: ObjectId) -> Result<Option<TakenBack>> {
        let ours = self.existing_branch_tip(branch)?;
        let beyond = self.walk_between(Some(ours), theirs)?.collect::<std::result::Result<HashSet<Oid>, _>>();
        let beyond = beyond.map_err(Error::library("walk commits"))?;
        let moves = self.moves_of(branch)?;
        let Some(last) = moves.iter().position(|made| beyond.contains(&made.to)) else { return Ok(None) };
        let was = object_id(moves[last].to)?;
        for later in moves[..last].iter().rev() {
            // What is not there any more cannot have it for certain.
            let keeps = object_id(later.to).and_then(|later| self.is_ancestor(was, later)).unwrap_or(false);
            if !keeps && later.is_own {
                return Ok(None);
            }
            if !keeps {
                break;
            }
        }
        let had = moves[last..].iter().filter(|made| beyond.contains(&made.to));
        let had = had.map(|made| object_id(made.to)).chain([Ok(ours)]).collect::<Result<HashSet<_>>>()?;
        let on_top = self.walk_without(theirs, had.into_iter())?.count();
        Ok(Some(TakenBack { commits: beyond.len() - on_top, on_top }))
    }

    /// Answers whether cascade lately moved a branch to `tip`; no is also what is not known.
    pub(super) fn is_own_move(&self, branch: &str, tip: Oid) -> Result<bool> {
        let log = self.log_of(branch)?;
        Ok(end_of(&log).is_ok_and(|end| moves(&end).any(|made| made.is_own && made.to == tip)))
    }

    /// Lists where a branch went, from the last move to the first; nothing where it has no log.
    pub(super) fn moves_of(&self, branch: &str) -> Result<Vec<Move>> {
        let log = self.log_of(branch)?;
        match fs::read(&log) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            bytes => Ok(moves(&bytes.map_err(Error::io("read", log))?).collect()),
        }
    }

    fn log_of(&self, branch: &str) -> Result<PathBuf> {
        Ok(self.common_dir().join("logs").join(full_name(branch)?))
    }
}

/// Lists the moves of a log, the last one first; what is no line of a log is left out.
fn moves(log: &[u8]) -> impl Iterator<Item = Move> {
    log.rsplit(|byte| *byte == b'\n').filter_map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let target = line[..tab].split(|byte| *byte == b' ').nth(1).filter(|target| target.len() == OID_LETTERS)?;
        let to = Oid::from_str(std::str::from_utf8(target).ok()?).ok().filter(|to| !to.is_zero())?;
        Some(Move { to, is_own: line[tab + 1..].starts_with(LOG_PREFIX.as_bytes()) })
    })
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END_BYTES)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn line(target: &str, message: &str) -> String {
        format!("{ONE} {target} Ada Byron <ada@example.test> 1800000000 +0000\t{message}\n")
    }

    #[track_caller]
    fn check(log: &str, expected: &[(&str, bool)]) {
        let found: Vec<(String, bool)> = moves(log.as_bytes()).map(|made| (made.to.to_string(), made.is_own)).collect();
        let expected: Vec<(String, bool)> = expected.iter().map(|(oid, own)| ((*oid).to_owned(), *own)).collect();
        assert_eq!(found, expected, "{log:?}");
    }

    #[test]
    fn a_log_tells_where_a_branch_went_and_who_moved_it_the_last_move_first() {
        let log = line(ONE, "cascade: Save 5") + &line(TWO, "commit: cascade: not");
        check(&log, &[(TWO, false), (ONE, true)]);
    }

    #[test]
    fn what_is_cut_off_or_no_line_of_a_log_is_left_out() {
        check("", &[]);
        let log = line(ONE, "cascade: Save 5");
        check(&(log.clone() + &log[..100]), &[(ONE, true)]);
        check(&(log.clone() + "\0\0\0\0\n"), &[(ONE, true)]);
        check(&line("22222", "cascade: Save"), &[]);
        check(&line(&"0".repeat(40), "deleted"), &[]);
        check(&log[60..], &[]);
    }
}
