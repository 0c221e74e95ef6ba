//! The network: asking a remote, fetching from it and pushing to it, through the git program.

use std::time::Duration;

use super::branch::{full_name, oid};
use super::error::{Error, Result};
use super::ledger::LEDGER;
use super::lineage::RESTORES_TRAILER;
use super::program::{Output, Program};
use super::repo::Repo;
use crate::base::escape::{shell_word, shown};
use crate::base::id::ObjectId;

/// Longest time that a remote is waited for which is only asked whether it answers.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// What git and what carries it say of a connection that ended in the middle.
const DISCONNECTS: [&str; 5] =
    ["unexpected disconnect", "hung up unexpectedly", "early EOF", "Connection reset", "Broken pipe"];

/// Words by which ssh, git and the great hosts say that it is the right that is missing.
const DENIALS: [&str; 10] = [
    "Permission denied",
    "Authentication failed",
    "could not read Username",
    "error: 403",
    "error: 401",
    "marked as read only",
    "Write access to repository not granted",
    "not allowed to push",
    "access denied or repository not exported",
    "service not enabled",
];

/// What a push may do to the remote's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Only move it forward.
    Forward,
    /// Move it wherever the push says, provided that it is at this commit (none: it does not exist).
    Exactly(Option<ObjectId>),
}

/// What a push found on the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// A branch, which is moved or was there already.
    Moved,
    /// Nothing: the branch is new there.
    Created,
}

/// One reference that a push moves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    /// Its full name.
    pub full: &'a str,
    /// Where it goes.
    pub commit: ObjectId,
    /// From where.
    pub lease: Lease,
}

/// What goes back is sent at once, for what is broken is live: git would look for similarities between large files (93 s
/// for 150 of 2 MB, where this takes 13) and press them harder.
const GOING_BACK: [&str; 4] = ["-c", "core.bigFileThreshold=1m", "-c", "pack.compression=1"];

impl Repo {
    /// Answers whether a remote of that name is configured.
    #[must_use]
    pub fn has_remote(&self, remote: &str) -> bool {
        self.inner.find_remote(remote).is_ok()
    }

    /// Asks the remote where its branch is; nothing when it does not exist there.
    ///
    /// # Errors
    /// The remote cannot be reached or denies access.
    pub fn remote_tip(&self, remote: &str, branch: &str) -> Result<Option<ObjectId>> {
        Ok(self.remote_refs(remote, &[&full_name(branch)?])?.pop().flatten())
    }

    /// Asks the remote where its branch and its ledger are; nothing for what does not exist there.
    ///
    /// # Errors
    /// As [`Repo::remote_tip`].
    pub fn remote_tips(&self, remote: &str, branch: &str) -> Result<(Option<ObjectId>, Option<ObjectId>)> {
        let mut tips = self.remote_refs(remote, &[LEDGER, &full_name(branch)?])?;
        Ok((tips.pop().flatten(), tips.pop().flatten()))
    }

    /// Asks the remote where some references are, by their full names; answers them in that order.
    pub(super) fn remote_refs(&self, remote: &str, names: &[&str]) -> Result<Vec<Option<ObjectId>>> {
        let listed = self.ask(remote, names, self.network_deadline())?;
        let text = String::from_utf8_lossy(&listed);
        let listed: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
        let target = |name: &&str| {
            let found = listed.iter().find(|(_, found)| found == name);
            let malformed = |reason| Error::Integrity { what: format!("{name} on {remote}"), reason };
            found.map(|(id, _)| id.parse().map_err(malformed)).transpose()
        };
        names.iter().map(target).collect()
    }

    /// Answers the tip of a branch here or, where there is none, of the remote's branch as it was last seen.
    ///
    /// # Errors
    /// [`Error::BranchUnknown`]: neither is there.
    pub fn known_branch_tip(&self, remote: &str, branch: &str) -> Result<ObjectId> {
        let tip = self.branch_tip(branch)?.map_or_else(|| self.tracking_tip(remote, branch), |tip| Ok(Some(tip)))?;
        tip.ok_or_else(|| Error::BranchUnknown { name: shown(branch.as_bytes()), remote: remote.to_owned() })
    }

    /// Answers where a branch is as far as is known here: here, or on the remote as that was last seen, whichever of the two
    /// has the other; here, where neither does.
    ///
    /// # Errors
    /// A reference or a commit is unreadable.
    pub fn furthest_tip(&self, remote: &str, branch: &str) -> Result<Option<ObjectId>> {
        let (ours, theirs) = (self.branch_tip(branch)?, self.tracking_tip(remote, branch)?);
        let Some((here, there)) = ours.zip(theirs) else { return Ok(ours.or(theirs)) };
        Ok(if self.is_ancestor(here, there)? { theirs } else { ours })
    }

    /// Answers a revision that git takes for the commit: its branch where that has it, else the remote's, else the commit.
    ///
    /// # Errors
    /// A reference cannot be read.
    pub fn name_of(&self, remote: &str, branch: &str, commit: ObjectId) -> Result<String> {
        if self.branch_tip(branch)? == Some(commit) {
            return Ok(branch.to_owned());
        }
        let is_theirs = self.tracking_tip(remote, branch)? == Some(commit);
        Ok(if is_theirs { format!("{remote}/{branch}") } else { commit.short() })
    }

    /// Asks the remote about a branch, to learn whether it answers at all.
    ///
    /// # Errors
    /// The remote cannot be reached within [`PROBE_DEADLINE`], or denies access.
    pub fn probe(&self, remote: &str, branch: &str) -> Result<()> {
        self.ask(remote, &[&full_name(branch)?], PROBE_DEADLINE).map(drop)
    }

    /// Answers what to do about a remote that cannot be reached or denies access, by the way that leads to it. The
    /// address itself is not repeated: it may hold a password.
    #[must_use]
    pub fn access_advice(&self, remote: &str, problem: &Error) -> String {
        let found = self.inner.find_remote(remote).ok();
        let address = found.and_then(|found| found.url().ok().map(str::to_owned)).unwrap_or_default();
        advice(&Way::of(&address), matches!(problem, Error::RemoteDenied { .. }), remote)
    }

    fn ask(&self, remote: &str, names: &[&str], deadline: Duration) -> Result<Vec<u8>> {
        let arguments = ["ls-remote", "--end-of-options", remote].into_iter().chain(names.iter().copied());
        let output = Program::new(self, arguments).deadline(deadline).run()?;
        if output.status.success() { Ok(output.stdout) } else { Err(network_error(remote, &output)) }
    }

    /// Asks the remote once where some branches are, and the ledger; answers the branches in that order.
    ///
    /// # Errors
    /// As [`Repo::remote_tip`].
    pub fn remote_heads(&self, remote: &str, branches: &[&str]) -> Result<(Vec<Option<ObjectId>>, Option<ObjectId>)> {
        let names = branches.iter().map(|branch| full_name(branch)).collect::<Result<Vec<_>>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).chain([LEDGER]).collect();
        let mut tips = self.remote_refs(remote, &names)?;
        let ledger = tips.pop().flatten();
        Ok((tips, ledger))
    }

    /// Fetches a remote's branch into its tracking reference; what came is durable.
    ///
    /// # Errors
    /// The remote cannot be reached or denies access, or has no such branch.
    pub fn fetch(&self, remote: &str, branch: &str) -> Result<()> {
        let refspec = format!("+{}:refs/remotes/{remote}/{branch}", full_name(branch)?);
        // One pack is one thing to wait for: git would make files of a hundred objects.
        let arguments = ["-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
        let arguments = arguments.into_iter().chain(["--end-of-options", remote, &refspec]);
        let output = Program::new_durable(self, arguments).deadline(self.network_deadline()).run()?;
        if output.status.success() { Ok(()) } else { Err(network_error(remote, &output)) }
    }

    /// Pushes a commit to a remote's branch.
    ///
    /// Pushing what is there already succeeds.
    ///
    /// # Errors
    /// [`Error::RemoteMoved`] when the branch is elsewhere, [`Error::RemoteRefused`] when a hook or a rule says no,
    /// [`Error::RemoteDenied`] and [`Error::RemoteUnavailable`] for the connection.
    pub fn push(&self, remote: &str, commit: ObjectId, branch: &str, lease: Lease) -> Result<Pushed> {
        let full = full_name(branch)?;
        let output = self.send(remote, &[Sent { full: &full, commit, lease }], &[])?;
        answer_of_push(&output, (remote, branch), &full)?;
        Ok(if status(&output.stdout, &full, "*").is_some() { Pushed::Created } else { Pushed::Moved })
    }

    /// Asks the remote whether a commit may be pushed to its branch; no hook is run, here or there, and nothing changes.
    ///
    /// What a host decides only when something arrives (a protected branch, a server's hook) shows at a push alone.
    ///
    /// # Errors
    /// As [`Repo::push`], within [`PROBE_DEADLINE`]; [`Error::RemoteMoved`] comes from a remote that lets us push.
    pub fn probe_push(&self, remote: &str, commit: ObjectId, branch: &str) -> Result<()> {
        let full = full_name(branch)?;
        let refspec = format!("{commit}:{full}");
        let arguments = ["push", "--dry-run", "--no-verify", "--porcelain", "--no-follow-tags"];
        let rest = ["--recurse-submodules=no", "--end-of-options", remote, &refspec];
        let output = Program::new(self, arguments.into_iter().chain(rest)).deadline(PROBE_DEADLINE).run()?;
        answer_of_push(&output, (remote, branch), &full)
    }

    /// Pushes commits to references of a remote, and answers what git said of it.
    pub(super) fn send(&self, remote: &str, sent: &[Sent<'_>], options: &[&str]) -> Result<Output> {
        let mut arguments = vec!["push".to_owned(), "--porcelain".to_owned(), "--no-follow-tags".to_owned()];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        for Sent { full, lease, .. } in sent {
            if let Lease::Exactly(expected) = lease {
                let expected = expected.map_or_else(String::new, |id| id.to_string());
                arguments.push(format!("--force-with-lease={full}:{expected}"));
            }
        }
        arguments.extend(["--end-of-options".to_owned(), remote.to_owned()]);
        arguments.extend(sent.iter().map(|Sent { full, commit, .. }| format!("{commit}:{full}")));
        let goes_back = sent.iter().any(|Sent { commit, .. }| self.restores(*commit).unwrap_or(false));
        let settings: &[&str] = if goes_back { &GOING_BACK } else { &[] };
        let arguments = settings.iter().map(|word| (*word).to_owned()).chain(arguments);
        // Where the remote is now is noted here.
        Program::new_durable(self, arguments).deadline(self.network_deadline()).ending_with_us().run()
    }

    /// Answers whether a commit brings earlier content back.
    fn restores(&self, commit: ObjectId) -> Result<bool> {
        let found = self.inner.find_commit(oid(commit)?).map_err(Error::library("read a commit"))?;
        Ok(found
            .message_bytes()
            .split(|byte| *byte == b'\n')
            .any(|line| line.strip_prefix(RESTORES_TRAILER.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))))
    }
}

fn answer_of_push(output: &Output, (remote, branch): (&str, &str), full: &str) -> Result<()> {
    match (output.status.success(), rejection(&output.stdout, full)) {
        (true, None) => Ok(()),
        (_, Some(reason)) if is_stale(&reason) => {
            Err(Error::RemoteMoved { remote: remote.to_owned(), branch: shown(branch.as_bytes()) })
        }
        (_, Some(reason)) => Err(Error::RemoteRefused {
            remote: remote.to_owned(),
            branch: shown(branch.as_bytes()),
            reason: with_remote_words(&reason, output),
        }),
        (false, None) => Err(push_error(remote, branch, output)),
    }
}

/// Answers why the remote rejected `full`, from the porcelain lines `<flag>\t<from>:<to>\t<summary>`.
pub(super) fn rejection(stdout: &[u8], full: &str) -> Option<String> {
    status(stdout, full, "!")
}

/// Answers the summary of what became of `full`, where that has this flag.
fn status(stdout: &[u8], full: &str, wanted: &str) -> Option<String> {
    let text = String::from_utf8_lossy(stdout);
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (flag, refs, summary) = (fields.next()?, fields.next()?, fields.next()?);
        let is_ours = refs.rsplit_once(':').is_some_and(|(_, target)| target == full);
        (flag == wanted && is_ours).then(|| shown(summary.as_bytes()))
    })
}

/// Tells "the branch is elsewhere" from "a rule says no": git has these few words for the former.
pub(super) fn is_stale(summary: &str) -> bool {
    let stale = ["(stale info)", "(fetch first)", "(non-fast-forward)", "(remote ref updated since checkout)"];
    let raced =
        ["cannot lock ref", "failed to update ref", "reference already exists", "(incorrect old value provided)"];
    (summary.starts_with("[rejected]") && stale.iter().any(|word| summary.contains(word)))
        || (summary.starts_with("[remote rejected]") && raced.iter().any(|word| summary.contains(word)))
}

/// Adds what the remote's hooks printed (`remote: …` lines) to a rejection's summary.
fn with_remote_words(summary: &str, output: &Output) -> String {
    let message = output.message();
    let words: Vec<&str> = message
        .lines()
        .filter_map(|line| line.strip_prefix("remote:"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if words.is_empty() { summary.to_owned() } else { format!("{summary}: {}", words.join("; ")) }
}

/// A push that failed without a word on the branch: a local pre-push hook said no, or the connection failed.
pub(super) fn push_error(remote: &str, branch: &str, output: &Output) -> Error {
    let message = output.message();
    let is_reached = !["fatal:", "ssh:"].iter().any(|prefix| message.lines().any(|line| line.starts_with(prefix)));
    // Whether it took what was sent is unknown then, which is no refusal.
    let is_cut_off = DISCONNECTS.iter().any(|words| message.contains(words));
    if is_reached && !is_cut_off {
        let branch = shown(branch.as_bytes());
        return Error::RemoteRefused { remote: remote.to_owned(), branch, reason: message };
    }
    network_error(remote, output)
}

/// The way that leads to a remote.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// By ssh, to this `user@host`.
    Ssh(String),
    /// By HTTP or HTTPS.
    Http,
    /// A directory of this machine, or a way of another kind.
    Other,
}

impl Way {
    /// Reads an address as git does: `ssh://user@host:port/path` or `user@host:path`.
    fn of(address: &str) -> Self {
        if address.starts_with("http://") || address.starts_with("https://") {
            return Self::Http;
        }
        if let Some(rest) = address.strip_prefix("ssh://").or_else(|| address.strip_prefix("git+ssh://")) {
            let place = rest.split('/').next().unwrap_or_default();
            return Self::Ssh(shown(place.split(':').next().unwrap_or_default().as_bytes()));
        }
        match address.split_once(':') {
            Some((place, _)) if !place.contains('/') && !address.contains("://") => Self::Ssh(shown(place.as_bytes())),
            _ => Self::Other,
        }
    }
}

fn advice(way: &Way, is_denied: bool, remote: &str) -> String {
    match (way, is_denied) {
        (Way::Ssh(place), true) => {
            format!("see that the key is loaded and known there: `ssh-add -l`, `ssh -T {}`", shell_word(place))
        }
        (Way::Ssh(place), false) => format!("see whether the machine answers: `ssh -T {}`", shell_word(place)),
        (Way::Http, true) => format!(
            "give git a credential helper (`git config --global credential.helper store`) and log in once: \
             `git fetch {}`",
            shell_word(remote)
        ),
        (Way::Http | Way::Other, _) => "check the network and the address: `git remote -v`".to_owned(),
    }
}

pub(super) fn network_error(remote: &str, output: &Output) -> Error {
    let reason = output.message();
    let remote = remote.to_owned();
    if DENIALS.iter().any(|word| reason.contains(word)) {
        Error::RemoteDenied { remote, reason }
    } else {
        Error::RemoteUnavailable { remote, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "refs/heads/main";

    #[test]
    fn rejections_are_read_from_porcelain_lines() {
        let stdout = b"To ../origin.git\n!\tabc:refs/heads/main\t[rejected] (stale info)\nDone\n";
        let reason = rejection(stdout, FULL).unwrap();
        assert!(is_stale(&reason), "{reason}");
        assert_eq!(rejection(b"=\tabc:refs/heads/main\t[up to date]\n", FULL), None);
        assert_eq!(rejection(b"!\tabc:refs/heads/other\t[rejected] (stale info)\n", FULL), None);
    }

    #[test]
    fn advice_on_access_follows_the_way_to_the_remote() {
        let ssh = |place: &str| Way::Ssh(place.to_owned());
        for (address, expected) in [
            ("git@example.test:team/shop.git", ssh("git@example.test")),
            ("ssh://git@example.test:2222/shop.git", ssh("git@example.test")),
            ("https://user:secret@example.test/shop.git", Way::Http),
            ("../origin.git", Way::Other),
            ("/srv/a:b.git", Way::Other),
            ("file:///srv/shop.git", Way::Other),
        ] {
            assert_eq!(Way::of(address), expected, "{address}");
        }
        assert!(advice(&ssh("git@example.test"), true, "origin").contains("`ssh -T git@example.test`"));
        assert!(advice(&Way::Http, true, "origin").contains("credential helper"));
        assert!(advice(&Way::Http, false, "origin").contains("git remote -v"));
    }

    #[test]
    fn a_hook_that_declines_is_a_refusal_and_not_a_race() {
        let stdout = b"!\tabc:refs/heads/main\t[remote rejected] (pre-receive hook declined)\n";
        assert!(!is_stale(&rejection(stdout, FULL).unwrap()));
    }
}
