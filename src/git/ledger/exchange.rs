//! The ledger and a remote: fetching theirs, putting ours on top of it, pushing it together with a branch.

use std::collections::HashSet;

use git2::Sort;

use super::{ATTEMPTS, Appended, LEDGER, LOG_MESSAGE, LedgerEntry, Link, Sign};
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::git::branch::{full_name, oid};
use crate::git::error::{Error, Result};
use crate::git::program::Program;
use crate::git::remote::{Lease, Sent, is_stale, network_error, push_error, rejection};
use crate::git::repo::Repo;

/// How often a push begins again because another machine's entries came first.
const RACES: usize = 5;

/// A branch's move on a remote, which the ledger accompanies.
#[derive(Debug, Clone, Copy)]
pub struct BranchPush<'a> {
    /// The remote.
    pub remote: &'a str,
    /// The branch's short name.
    pub branch: &'a str,
    /// Where it goes.
    pub commit: ObjectId,
    /// Where the remote has it now (none: it does not exist).
    pub expected: Option<ObjectId>,
}

/// What became of the ledger in a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The remote has it.
    Along,
    /// It stays here: the remote has something against it, in these words.
    Refused(String),
    /// It stays here for now, for this reason.
    KeptHere(String),
}

/// What became of the wish to have what a remote's ledger has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// All of theirs, up to here, is in ours; what only we have is on top of it.
    In(Option<ObjectId>),
    /// Theirs lacks entries that it had before; nothing was taken over from it.
    Rewritten {
        /// Where it was.
        before: ObjectId,
        /// Where it is.
        now: ObjectId,
    },
}

/// What the answer to a push of branch and ledger means.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Both,
    BranchOnly(String),
    /// Or something moved; asking again tells.
    LedgerMoved,
    BranchMoved,
    /// Neither moved; perhaps the branch alone may.
    Neither(String),
    NotTogether,
    Failed,
}

impl Repo {
    /// Answers where a remote's ledger was when it was last fetched or pushed in good order.
    ///
    /// # Errors
    /// The reference cannot be read.
    pub fn remote_ledger(&self, remote: &str) -> Result<Option<ObjectId>> {
        self.reference_target(&tracking(remote))
    }

    /// Pushes a commit to a remote's branch, with a lease, and the ledger with it: both or none, where the remote can do
    /// that. Where it will not have the ledger, the branch goes alone. `theirs` is where the remote has its ledger.
    ///
    /// # Errors
    /// As [`Repo::push`], about the branch.
    pub fn push_with_ledger(
        &self,
        push: BranchPush<'_>,
        mut theirs: Option<ObjectId>,
        sign: Sign,
    ) -> Result<Published> {
        let full = full_name(push.branch)?;
        for _ in 0..RACES {
            let expected = match self.bring_in(push.remote, theirs, sign)? {
                Brought::In(expected) => expected,
                Brought::Rewritten { before, now } => {
                    self.push_alone(push)?;
                    return Ok(Published::KeptHere(rewritten(push.remote, before, now)));
                }
            };
            let Some(ours) = self.ledger_tip()? else { break };
            let sent = [
                Sent { full: &full, commit: push.commit, lease: Lease::Exactly(push.expected) },
                Sent { full: LEDGER, commit: ours, lease: Lease::Exactly(expected) },
            ];
            let output = self.send(push.remote, &sent, &["--atomic"])?;
            match judged(output.status.success(), &output.stdout, &output.message(), &full) {
                Answer::Both => {
                    self.note_remote_ledger(push.remote, ours)?;
                    return Ok(Published::Along);
                }
                Answer::BranchOnly(reason) => return Ok(Published::Refused(reason)),
                Answer::LedgerMoved => theirs = self.remote_refs(push.remote, &[LEDGER])?.pop().flatten(),
                Answer::BranchMoved => {
                    let branch = shown(push.branch.as_bytes());
                    return Err(Error::RemoteMoved { remote: push.remote.to_owned(), branch });
                }
                Answer::Neither(reason) => {
                    self.push_alone(push)?;
                    return Ok(Published::Refused(reason));
                }
                Answer::NotTogether => {
                    self.push_alone(push)?;
                    return self.push_ledger(push.remote, sign);
                }
                // A hook of the user's that knows branches only may let the branch alone pass.
                Answer::Failed => match push_error(push.remote, push.branch, &output) {
                    Error::RemoteRefused { reason, .. } => {
                        self.push_alone(push)?;
                        return Ok(Published::Refused(reason));
                    }
                    unreachable => return Err(unreachable),
                },
            }
        }
        self.push_alone(push)?;
        Ok(Published::KeptHere(format!("other machines add to the ledger on {} all the time", push.remote)))
    }

    fn push_alone(&self, push: BranchPush<'_>) -> Result<()> {
        self.push(push.remote, push.commit, push.branch, Lease::Exactly(push.expected)).map(drop)
    }

    /// Pushes what the remote's ledger lacks of ours.
    ///
    /// # Errors
    /// The remote cannot be reached or denies access.
    pub fn push_ledger(&self, remote: &str, sign: Sign) -> Result<Published> {
        let mut theirs = self.remote_ledger(remote)?;
        for _ in 0..RACES {
            let expected = match self.bring_in(remote, theirs, sign)? {
                Brought::In(expected) => expected,
                Brought::Rewritten { before, now } => {
                    return Ok(Published::KeptHere(rewritten(remote, before, now)));
                }
            };
            let Some(ours) = self.ledger_tip()?.filter(|ours| Some(*ours) != expected) else {
                return Ok(Published::Along);
            };
            let sent = Sent { full: LEDGER, commit: ours, lease: Lease::Exactly(expected) };
            let output = self.send(remote, &[sent], &[])?;
            match (output.status.success(), rejection(&output.stdout, LEDGER)) {
                (true, None) => {
                    self.note_remote_ledger(remote, ours)?;
                    return Ok(Published::Along);
                }
                (_, Some(reason)) if is_stale(&reason) => theirs = self.remote_refs(remote, &[LEDGER])?.pop().flatten(),
                (_, Some(reason)) => return Ok(Published::Refused(reason)),
                (false, None) => return Err(network_error(remote, &output)),
            }
        }
        Ok(Published::KeptHere(format!("other machines add to the ledger on {remote} all the time")))
    }

    /// Brings what a remote's ledger has into ours; what only we have is added again on top of it. `theirs` is where the
    /// remote says that its ledger is (none: it has none).
    ///
    /// # Errors
    /// The remote cannot be reached, or the chain cannot be read or written.
    pub fn bring_in(&self, remote: &str, theirs: Option<ObjectId>, sign: Sign) -> Result<Brought> {
        let Some(mut theirs) = theirs else { return Ok(Brought::In(None)) };
        let known = self.remote_ledger(remote)?;
        if known != Some(theirs) {
            theirs = self.fetch_ledger(remote)?;
            if let Some(before) = known.filter(|known| *known != theirs)
                && !self.is_ancestor(before, theirs)?
            {
                return Ok(Brought::Rewritten { before, now: theirs });
            }
            self.note_remote_ledger(remote, theirs)?;
        }
        self.absorb(theirs, sign)?;
        Ok(Brought::In(Some(theirs)))
    }

    /// Fetches a remote's ledger, which it must have; no reference of ours that matters moves.
    fn fetch_ledger(&self, remote: &str) -> Result<ObjectId> {
        let arrived = format!("refs/cascade/remotes/{remote}/arrived");
        let refspec = format!("+{LEDGER}:{arrived}");
        let arguments = ["-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
        let arguments = arguments.into_iter().chain(["--end-of-options", remote, &refspec]);
        let output = Program::new_durable(self, arguments).deadline(self.network_deadline()).run()?;
        if !output.status.success() {
            return Err(network_error(remote, &output));
        }
        let fetched = self.reference_target(&arrived)?;
        let fetched =
            fetched.ok_or_else(|| Error::Integrity { what: arrived, reason: "nothing was fetched".to_owned() })?;
        match self.has_commit(fetched) {
            true => Ok(fetched),
            false => Err(Error::NotALedger { remote: remote.to_owned(), found: fetched }),
        }
    }

    fn note_remote_ledger(&self, remote: &str, at: ObjectId) -> Result<()> {
        let name = tracking(remote);
        let noted = self.inner.reference(&name, oid(at)?, true, LOG_MESSAGE);
        noted.map(drop).map_err(Error::library(format!("write {name}")))
    }

    /// Lets our chain contain all of theirs.
    fn absorb(&self, theirs: ObjectId, sign: Sign) -> Result<()> {
        let mut attempts_left = ATTEMPTS;
        loop {
            let ours = self.ledger_tip()?;
            let target = match ours {
                Some(ours) if self.is_ancestor(theirs, ours)? => return Ok(()),
                Some(ours) if !self.is_ancestor(ours, theirs)? => self.added_again(ours, theirs, sign)?,
                _ => theirs,
            };
            attempts_left -= 1;
            match self.move_reference(LEDGER, ours, target, LOG_MESSAGE) {
                Ok(()) => return Ok(()),
                Err(Error::RefMoved { .. }) if attempts_left > 0 => {}
                Err(refused) => return Err(refused),
            }
        }
    }

    /// Adds the entries that only `ours` leads to on top of `theirs`, in their order; answers the newest.
    fn added_again(&self, ours: ObjectId, theirs: ObjectId, sign: Sign) -> Result<ObjectId> {
        let known: HashSet<String> = self.only_in(theirs, ours)?.into_iter().filter_map(|entry| entry.key).collect();
        let mut tip = theirs;
        for entry in self.only_in(ours, theirs)? {
            if entry.key.as_ref().is_some_and(|key| known.contains(key)) {
                continue;
            }
            let commit = self.inner.find_commit(oid(entry.id)?).map_err(Error::library("read an entry"))?;
            let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
            let Appended { id, .. } = self.chain(Link { message, at: entry.at, parent: Some(tip) }, sign)?;
            tip = id;
        }
        Ok(tip)
    }

    /// Lists the entries that `one` leads to and `other` does not, oldest first.
    fn only_in(&self, one: ObjectId, other: ObjectId) -> Result<Vec<LedgerEntry>> {
        let mut walk = self.inner.revwalk().map_err(Error::library("walk the ledger"))?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(Error::library("sort the ledger"))?;
        walk.push(oid(one)?).map_err(Error::library("walk the ledger"))?;
        walk.hide(oid(other)?).map_err(Error::library("walk the ledger"))?;
        walk.map(|id| self.ledger_entry(id.map_err(Error::library("walk the ledger"))?)).collect()
    }
}

fn tracking(remote: &str) -> String {
    format!("refs/cascade/remotes/{remote}/ledger")
}

/// Says what a ledger that lacks what it had means.
#[must_use]
fn rewritten(remote: &str, before: ObjectId, now: ObjectId) -> String {
    format!(
        "the ledger on {remote} was rewritten: it was at {} and is at {}, which does not contain it",
        before.short(),
        now.short()
    )
}

fn judged(succeeded: bool, stdout: &[u8], message: &str, branch: &str) -> Answer {
    match (rejection(stdout, branch), rejection(stdout, LEDGER)) {
        (None, None) if succeeded => Answer::Both,
        (None, None) if message.contains("does not support --atomic push") => Answer::NotTogether,
        (None, None) => Answer::Failed,
        (None, Some(reason)) => Answer::BranchOnly(reason),
        (Some(branch), _) if is_stale(&branch) => Answer::BranchMoved,
        (Some(_), Some(ledger)) if is_stale(&ledger) || has_lost_a_race(&ledger) => Answer::LedgerMoved,
        (Some(branch), ledger) => Answer::Neither(ledger.unwrap_or(branch)),
    }
}

/// The remote says so of all references when one of them moved while it took the others.
fn has_lost_a_race(summary: &str) -> bool {
    summary.starts_with("[remote rejected]") && summary.contains("(atomic transaction failed)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&str, &str, &str)], succeeded: bool, expected: Answer) {
        let name = |name: &str| if name == "ledger" { LEDGER.to_owned() } else { format!("refs/heads/{name}") };
        let line = |(flag, target, summary): &(&str, &str, &str)| format!("{flag}\tabc:{}\t{summary}\n", name(target));
        let stdout: String = lines.iter().map(line).collect();
        assert_eq!(judged(succeeded, stdout.as_bytes(), "", "refs/heads/main"), expected, "{lines:?}");
    }

    #[test]
    fn the_answer_to_a_push_of_both_tells_which_of_them_was_in_the_way() {
        check(&[(" ", "main", "a..b"), ("*", "ledger", "[new reference]")], true, Answer::Both);
        check(&[("=", "main", "[up to date]"), (" ", "ledger", "a..b")], true, Answer::Both);
        let (collateral, stale) = ("[rejected] (atomic push failed)", "[rejected] (stale info)");
        check(&[("!", "main", collateral), ("!", "ledger", stale)], false, Answer::LedgerMoved);
        check(&[("!", "main", stale), ("!", "ledger", collateral)], false, Answer::BranchMoved);
        check(&[("!", "main", stale), ("!", "ledger", stale)], false, Answer::BranchMoved);
        let raced = "[remote rejected] (atomic transaction failed)";
        check(&[("!", "main", raced), ("!", "ledger", raced)], false, Answer::LedgerMoved);
        let (hook, failure) = ("[remote rejected] (hook declined)", "[remote rejected] (atomic push failure)");
        check(&[("!", "main", failure), ("!", "ledger", hook)], false, Answer::Neither(hook.to_owned()));
        check(&[("!", "main", hook), ("!", "ledger", hook)], false, Answer::Neither(hook.to_owned()));
        let hidden = "[remote rejected] (deny updating a hidden ref)";
        check(&[(" ", "main", "a..b"), ("!", "ledger", hidden)], false, Answer::BranchOnly(hidden.to_owned()));
        check(&[], false, Answer::Failed);
    }

    #[test]
    fn a_remote_that_cannot_take_both_at_once_is_told_from_one_that_is_gone() {
        let old = "fatal: the receiving end does not support --atomic push";
        assert_eq!(judged(false, b"", old, "refs/heads/main"), Answer::NotTogether);
        assert_eq!(judged(false, b"", "ssh: connect to host x", "refs/heads/main"), Answer::Failed);
    }
}
