//! The command line, as clap reads it. The help texts are these doc comments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::base::units::Share;
use crate::config::Waivable;

/// A git-driven release pipeline: saves become commits, commits become releases, bad releases go back.
///
/// cascade watches a checkout and turns what is saved there into durable commits on `develop`. It promotes
/// `develop → staging → main` behind checks and approvals: what lands is exactly what was checked. When verification
/// fails, everything goes back to the last verified state.
///
/// Begin with `cascade init` in a checkout, then `cascade start`.
#[derive(Debug, Clone, Parser)]
#[command(name = "cascade", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done · 1 failed · 2 usage or configuration · 3 waiting at a gate · 4 a check \
    failed · 5 conflict or drift · 6 rolled back · 7 superseded or the remote moved · 10 something would change · 70 a bug")]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Work in the checkout that contains DIR [default: the current directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Print one JSON document instead of text; failures too
    #[arg(long, global = true)]
    pub json: bool,
    /// Print answers and failures only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more on stderr; repeat for even more (CASCADE_LOG takes a filter)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Set up the pipeline in this checkout: configuration, branches, hooks
    ///
    /// Writes a commented cascade-sync.yaml, creates the branches that are missing, puts HEAD on the sandbox's branch
    /// where that changes no file, and installs a pre-push hook. Never overwrites anything; a second run changes nothing.
    Init(Init),
    /// Watch this checkout and save what changes, in the background
    Start(Start),
    /// Stop the watcher of this checkout
    ///
    /// What was changed before is saved first.
    Stop,
    /// Stop the watcher of this checkout and start it again, with the configuration as it is now
    Restart,
    /// Show the sandbox, the environments and what they wait for
    Status(Status),
    /// Ask the health checks now
    ///
    /// Exits 4 when one of them fails or cannot answer.
    Health(Health),
    /// Send a test message on every channel of alerts, and say whether it arrived
    ///
    /// The channels are those under `notify` in cascade-sync.yaml; each is tried once, whatever its list of events is.
    /// Exits 1 when the webhook or the e-mail did not arrive, or nothing did.
    Notify(Notify),
    /// Find what is wrong with this installation, and repair what can be repaired
    ///
    /// Asks about the git program, configuration, repository, locks, index, left-over files, hooks, remote access, watch
    /// limits, clock, disk space, cascade's own directory and database, and the watcher. Repairs what a killed cascade
    /// left and an index that is provably broken (the old one is kept); never touches a branch, a file of the working
    /// tree, or a lock that is not provably ours. For everything else it says what to do. Exits 0 when all is well or
    /// was repaired, 1 when something is left to do.
    Doctor(Doctor),
    /// Promote to the environment `staging`: the same as `promote staging`
    DeployStaging(PromoteFlags),
    /// Promote to the environment `production`: the same as `promote production`
    DeployProduction(PromoteFlags),
    /// Bring what is in the environment before into ENV
    ///
    /// Builds the candidate, runs the checks on exactly that commit, waits at the gates, lands it and verifies it; what
    /// does not pass verification is rolled back. The working tree is not touched. Where an approval is needed, a
    /// terminal is asked in place; elsewhere the command exits 3 and says how to approve.
    Promote(Promote),
    /// Build the candidate of a promotion to ENV and show what it would do
    ///
    /// Nothing moves and no check runs. The candidate can be approved by its id; `promote` then lands exactly it.
    Plan(Named),
    /// Consent to the candidate of a waiting promotion
    Approve(Decision),
    /// Refuse the candidate of a waiting promotion
    Reject(Decision),
    /// Bring ENV back to its last verified candidate
    ///
    /// The commits that are undone are quarantined and the environment is held until `cascade resume` or a fix. What is
    /// back is verified too: exits 4 when it does not pass.
    Rollback(Rollback),
    /// Stop promotions to ENV until `cascade resume`
    Hold(Reasoned),
    /// Let promotions to ENV go on after a hold or a rollback
    Resume(Named),
    /// Bring what ENV has and the sandbox lacks (a hotfix, a commit of somebody else) back into the sandbox's branch
    ///
    /// Saves what is not saved, then merges the environment's branch as a commit of its own. Where both sides changed the
    /// same lines nothing is done. Afterwards it goes through the pipeline with the next promotions.
    BackMerge(Named),
    /// Explain why ENV is where it is and what it waits for
    Why(Named),
    /// List promotions, the newest first
    History(History),
    /// Write a page with the pipeline, its promotions over time and the four DORA figures
    ///
    /// One HTML file with pictures that needs nothing else: no scripts, nothing from the network.
    Report(Report),
    /// Show one promotion (commits, checks, approvals, steps) or one commit (message, files)
    Show(Show),
    /// Tell whether each release was promoted by the rules
    ///
    /// Needs a clone and nothing else: the ledger at refs/cascade/ledger (fetched where it is missing), the branches, and
    /// the configurations that were committed on them. Looks at the chain, at signatures, and for each commit that an
    /// environment was at whether an entry names it and its tree, its checks passed, enough people consented, and the
    /// rules were those that were committed. Exits 1 when something is not so.
    Verify(Verify),
    /// Show what a promotion to ENV would change in its files
    Diff(Diff),
    /// List the saves, the newest first: all, or those that changed PATH
    Saves(Saves),
    /// Bring the files of a save back to what they were before it, as a new save
    ///
    /// Without SAVE the last commit is undone; a second `undo` takes the first one back. Nothing is rewritten.
    Undo(Undo),
    /// Bring files, directories or everything back to an earlier moment, as a new save
    ///
    /// What is not saved yet is saved first, so every state can be brought back again. Nothing is rewritten.
    Rewind(Rewind),
    /// Show the log of this checkout's watcher, or what the checks of a promotion printed
    Logs(Logs),
    /// List what looks like a secret in the files that changed, or at PATH
    ///
    /// Of files that changed, what the last commit has already is left out; of those that are named, all of it is listed.
    /// Exits 4 when something is found that is not allowed. No value is ever shown.
    Secrets(Secrets),
    /// Bring the targets of syncs to what their sources say: of NAME, or of all under `syncs`
    ///
    /// Touches only what changed, keeps what it replaces (`cascade snapshots`), and never overwrites what somebody changed
    /// by hand at the target: that is flagged until `cascade sync resolve`. Exits 5 when something is flagged, 4 when
    /// something is not there as it was written, 1 when an item could not be brought over. With --json: one report for
    /// NAME, a list of reports without.
    Sync(Sync),
    /// What syncs replaced: list it, show it, bring it back
    #[command(subcommand)]
    Snapshots(Snapshots),
    /// Encrypted vaults that syncs write to or read from: make them, check them, change what opens them
    #[command(subcommand)]
    Vault(Vault),
    /// Do the work of a git hook (installed by `cascade init`)
    #[command(subcommand)]
    Hook(Hook),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print the completion script for a shell
    ///
    /// For example: `cascade completions bash > ~/.local/share/bash-completion/completions/cascade`
    Completions(Completions),
    /// Print the manual page: `cascade man | man -l -`
    Man(Man),
    /// Show the whole pipeline in a throw-away repository
    Demo(Demo),
}

/// Options of `start`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Start {
    /// Stay in the foreground and log to stderr; Ctrl-C stops
    #[arg(long)]
    pub foreground: bool,
}

/// Options of `status`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Status {
    /// Keep showing, and follow changes until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// List every path that is not saved, not only the first few; `-v` does so too
    #[arg(long)]
    pub all: bool,
}

/// Options of `report`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Report {
    /// Where the page goes; `-` is stdout [default: beside cascade's own files on a terminal, else stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Since when promotions count: "2026-11-01", "4 weeks ago"
    #[arg(long, value_name = "WHEN", default_value = "90 days ago")]
    pub since: String,
}

/// Options of `saves`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Saves {
    /// A file or directory
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// List at most N of them
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20)]
    pub lines: usize,
}

/// Options of `init`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Init {
    /// Write an example of a classic use instead of the commented reference: base44, a directory of the project brought
    /// into production, file by file and with backups; storage, a development bucket brought into a production bucket
    /// after each deployment
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(crate::config::EXAMPLES))]
    pub template: Option<String>,
}

/// Options of `undo`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Undo {
    /// The save, by the beginning of its commit's name [default: the last one]
    #[arg(value_name = "SAVE")]
    pub save: Option<String>,
    /// Print what would change and stop there
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `rewind`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Rewind {
    /// Files and directories [default: everything]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// When: "10 minutes ago", 2h, yesterday, 10:30, "2026-11-21 10:00", or a commit
    #[arg(long, value_name = "WHEN")]
    pub to: String,
    /// Print what would change and stop there
    #[arg(long)]
    pub dry_run: bool,
}

/// Options of `health`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Health {
    /// Ask the verification of this environment instead of the checks under `health`
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
}

/// Options of `notify`.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Notify {
    /// Test this channel only
    #[arg(value_name = "CHANNEL")]
    pub channel: Option<Channel>,
}

/// A channel of alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    /// Desktop notifications
    Desktop,
    /// A signed POST
    Webhook,
    /// A message through the mail server
    Email,
}

/// Options of `doctor`.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Doctor {
    /// Only say what would be repaired
    #[arg(long)]
    pub dry_run: bool,
}

/// How to promote.
#[derive(Debug, Clone, ClapArgs)]
pub struct PromoteFlags {
    /// Print the plan and stop there
    #[arg(long)]
    pub dry_run: bool,
    /// Wait at closed gates instead of exiting 3, and watch what was promoted as long as `watch_for` says
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
    /// Merge, where somebody else committed on the environment's branch; the result must pass the checks itself
    #[arg(long)]
    pub merge: bool,
    /// Promote the branch BRANCH as a hotfix, past the environments before; checks and approvals hold, `--reason` is required
    #[arg(long, value_name = "BRANCH", requires = "reason")]
    pub from: Option<String>,
    /// Promote what comes before the first bad save, after a check has failed on several saves at once
    #[arg(long, conflicts_with_all = ["from", "merge"])]
    pub healthy_prefix: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Pass by a closed gate, where the environment's `waive` lets that be; recorded with the reason
    #[arg(long, value_name = "GATE", requires = "reason", value_delimiter = ',', value_parser = waivable())]
    pub waive: Vec<Waivable>,
}

/// Reads a reason: it is kept for good, and must say something.
fn reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() { Err("it says nothing: give the reason in a few words") } else { Ok(text.to_owned()) }
}

fn waivable() -> impl TypedValueParser<Value = Waivable> {
    let names = PossibleValuesParser::new(Waivable::ALL.map(Waivable::as_str));
    // Only names of gates come this far.
    names.map(|name| Waivable::ALL.into_iter().find(|gate| gate.as_str() == name).unwrap_or(Waivable::Soak))
}

/// Options of `promote`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Promote {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// How to promote.
    #[command(flatten)]
    pub flags: PromoteFlags,
}

/// An environment.
#[derive(Debug, Clone, ClapArgs)]
pub struct Named {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    pub environment: String,
}

/// An environment and a reason.
#[derive(Debug, Clone, ClapArgs)]
pub struct Reasoned {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
}

/// A person's word on a promotion.
#[derive(Debug, Clone, ClapArgs)]
pub struct Decision {
    /// The promotion, or the environment in which it waits [default: the only one that waits]
    #[arg(value_name = "ID|ENV")]
    pub promotion: Option<String>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
}

/// Options of `rollback`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Rollback {
    /// Name of the environment
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Go back to what this promotion brought [default: the last verified one before the current]
    #[arg(long, value_name = "ID")]
    pub to: Option<String>,
    /// Undo the last rollback: bring back what it took away, as a new promotion behind the same checks and gates
    #[arg(long, conflicts_with = "to")]
    pub undo: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
}

/// Options of `history`.
#[derive(Debug, Clone, ClapArgs)]
pub struct History {
    /// Only promotions to this environment
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
    /// List at most N promotions
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Also those that found nothing to promote
    #[arg(long)]
    pub all: bool,
}

/// Options of `show`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Show {
    /// The promotion, as `cascade history` lists it, or a commit: a branch, a tag, an environment, `HEAD~2`
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Options of `verify`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Verify {
    /// Only this environment
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
    /// Take a release whose entry is not signed with a trusted key for a problem
    #[arg(long)]
    pub require_signed: bool,
    /// Leave the remote alone, and judge by what was fetched last
    #[arg(long)]
    pub offline: bool,
}

/// Options of `diff`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Diff {
    /// Name of the environment; or two of environments, promotions and commits, with `..` between them
    #[arg(value_name = "ENV|A..B")]
    pub what: String,
    /// List files and counts of lines only
    #[arg(long)]
    pub stat: bool,
}

/// Options of `logs`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Logs {
    /// A promotion: what its checks printed
    #[arg(value_name = "ID")]
    pub promotion: Option<String>,
    /// Keep showing what is added, until Ctrl-C
    #[arg(short, long, conflicts_with_all = ["json", "promotion"])]
    pub follow: bool,
    /// Begin with the last N lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub lines: usize,
}

/// Options of `secrets`.
#[derive(Debug, Clone, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Secrets {
    /// What to do instead of listing.
    #[command(subcommand)]
    pub command: Option<SecretsCommand>,
    /// Files and directories to look at [default: the files that changed]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What to do about secrets.
#[derive(Debug, Clone, Subcommand)]
pub enum SecretsCommand {
    /// Note in cascade-sync.yaml that what is found at PATH is no secret, by its fingerprint
    Allow(AllowSecret),
}

/// Options of `secrets allow`.
#[derive(Debug, Clone, ClapArgs)]
pub struct AllowSecret {
    /// The file, and the line as `cascade secrets` lists it [default: every line]
    #[arg(value_name = "PATH[:LINE]")]
    pub place: OsString,
    /// Why it is no secret
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Only what this rule finds
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
}

/// Options of `sync`.
#[derive(Debug, Clone, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Sync {
    /// What to do instead of syncing.
    #[command(subcommand)]
    pub command: Option<SyncCommand>,
    /// Name of the sync [default: all of them, in order]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Print the plan and stop there
    #[arg(long)]
    pub dry_run: bool,
    /// Show what would change in the content of each item, too
    #[arg(long, requires = "dry_run")]
    pub diff: bool,
    /// Print the plan, write it to FILE and stop there: `cascade sync apply FILE` does exactly that
    #[arg(long, value_name = "FILE", requires = "name", conflicts_with_all = ["dry_run", "check_only"])]
    pub plan: Option<PathBuf>,
    /// Say whether anything would change, and stop there: exits 10 when something would, 0 when nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub check_only: bool,
    /// Run even within `min_interval`, and read all content of both sides, whatever their times and sizes say
    #[arg(long)]
    pub force: bool,
    /// Let this run delete a larger share of what is at the target than `max_delete` says, for example 100%
    #[arg(long, value_name = "SHARE", requires = "name")]
    pub max_delete: Option<Share>,
}

/// What to do about a sync.
#[derive(Debug, Clone, Subcommand)]
pub enum SyncCommand {
    /// Decide about an item that is flagged
    Resolve(Resolve),
    /// Do exactly what a plan says that `cascade sync NAME --plan FILE` wrote
    ///
    /// Refused (exit 5) once anything was synced since. An item that is not as the plan expects it, at either side, is left
    /// alone and flagged; the rest goes on.
    Apply(ApplyPlan),
    /// Read all content of both sides and compare it, changing nothing
    ///
    /// Exits 4 when the target lacks something or has something else; what only the target has is listed, and counts where
    /// the sync says `delete: mirror`. What a person or `on_drift: keep` lets differ may. Exits 1 when something could not
    /// be read.
    Verify(NamedSync),
}

/// Options of `sync resolve`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Resolve {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The item, as `cascade sync` lists it
    #[arg(value_name = "KEY")]
    pub key: OsString,
    /// What stays: `source` takes its place now; `target`, or the content of a file (`./source` for one of that name), stays
    /// until the source's changes again
    #[arg(long, value_name = "source|target|FILE")]
    pub take: PathBuf,
}

/// Options of `sync apply`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ApplyPlan {
    /// The plan
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What to do with snapshots.
#[derive(Debug, Clone, Subcommand)]
pub enum Snapshots {
    /// List the runs of a sync that replaced something, the newest first
    List(NamedSync),
    /// Show what was under each key before a run
    Show(ShowSnapshot),
    /// Show what is different at the target between two moments
    Diff(DiffSnapshots),
    /// Forget what was replaced longer ago than `snapshots` of the syncs say, and free its space
    ///
    /// That is done after each run, too.
    Prune(PruneSnapshots),
    /// Check that what was replaced can be restored
    Check(CheckSnapshots),
    /// Bring the target back to what it was before a run
    ///
    /// Undoes that run and those after it, for the items that they changed. What is replaced by that is in a snapshot
    /// itself. What is back stays until the source has something new under its key.
    Restore(RestoreSnapshot),
}

/// A sync.
#[derive(Debug, Clone, ClapArgs)]
pub struct NamedSync {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Options of `snapshots show`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ShowSnapshot {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The run, as `cascade snapshots list` names it [default: the newest]
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}

/// Options of `snapshots diff`.
#[derive(Debug, Clone, ClapArgs)]
pub struct DiffSnapshots {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
    /// From before this run, or from this moment on [default: before the newest]
    #[arg(value_name = "ID|TIME")]
    pub from: Option<String>,
    /// Up to before this run, or to this moment [default: now]
    #[arg(value_name = "ID|TIME")]
    pub to: Option<String>,
}

/// Options of `snapshots prune`.
#[derive(Debug, Clone, ClapArgs)]
pub struct PruneSnapshots {
    /// Name of the sync [default: all of them]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Options of `snapshots check`.
#[derive(Debug, Clone, ClapArgs)]
pub struct CheckSnapshots {
    /// Name of the sync [default: all of them]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Read all content, and see that it is what it was
    #[arg(long)]
    pub read_data: bool,
}

/// Options of `snapshots restore`.
#[derive(Debug, Clone, ClapArgs)]
pub struct RestoreSnapshot {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The run before which everything was as it should be [default: the newest], or a moment at which it was, like
    /// "10 minutes ago", yesterday or "2026-11-21 10:00"
    #[arg(long, value_name = "ID|TIME")]
    pub at: Option<String>,
    /// Only keys that match, as a .gitignore pattern; can be repeated
    #[arg(long, value_name = "GLOB")]
    pub keys: Vec<String>,
    /// Print the plan and stop there
    #[arg(long)]
    pub dry_run: bool,
}

/// What to do with the vault of a sync: the one that it writes to, else the one that it reads from.
#[derive(Debug, Clone, Subcommand)]
pub enum Vault {
    /// Make the vault of a sync, once, where nothing is yet
    ///
    /// What opens it stands under `vault` in cascade-sync.yaml: a passphrase from a variable, or a key file, which is made
    /// where it is missing. Keep a copy of it where the vault is not: without it nobody can read the vault, and nobody can
    /// help.
    Init(NamedSync),
    /// Check that everything that belongs to a vault is there
    ///
    /// Names what is missing or damaged, and the items that cannot be read by that, and fails then.
    Check(CheckVault),
    /// Let a vault be opened by something else; nothing but its key is written
    ///
    /// Then change `vault` in cascade-sync.yaml, for what stands there does not open it any more. Whoever copied the vault
    /// before can open that copy with what opened it then.
    Rekey(RekeyVault),
    /// Remove what no item refers to any more
    ///
    /// That is done after a run, too, once it is a quarter of the vault. Who writes to the vault at the same time has to
    /// begin again.
    Prune(NamedSync),
}

/// Options of `vault check`.
#[derive(Debug, Clone, ClapArgs)]
pub struct CheckVault {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Read and open all content
    #[arg(long)]
    pub read_data: bool,
    /// Take the vault as it is, even where this machine saw a newer state of it: somebody put a copy back, and it was you
    #[arg(long)]
    pub accept_older: bool,
}

/// Options of `vault rekey`.
#[derive(Debug, Clone, ClapArgs)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("secret").required(true)))]
pub struct RekeyVault {
    /// Name of the sync
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Variable, in the environment or in .env, with the new passphrase
    #[arg(long, value_name = "VARIABLE", group = "secret")]
    pub passphrase_from: Option<String>,
    /// The new key file; it is made where it is missing
    #[arg(long, value_name = "FILE", group = "secret")]
    pub key_file: Option<PathBuf>,
}

/// The hooks.
#[derive(Debug, Clone, Subcommand)]
pub enum Hook {
    /// Run every program in pre-push.d, in the order of their names; the first failure blocks the push
    PrePush(Push),
    /// Run the check named `lint` in the working tree
    Lint(Push),
    /// Run the check named `test` in the working tree
    Test(Push),
    /// Look for secrets in what the push adds
    SecurityScan(Push),
}

/// What git tells a pre-push hook; the pushed references come on stdin when REMOTE is given.
#[derive(Debug, Clone, ClapArgs)]
pub struct Push {
    /// Name of the remote
    #[arg(value_name = "REMOTE")]
    pub remote: Option<OsString>,
    /// Address of the remote
    #[arg(value_name = "URL")]
    pub url: Option<OsString>,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Config {
    /// Check cascade-sync.yaml; every problem is listed with its line
    Check,
    /// Print the configuration as it is understood, defaults included; values of variables are not shown
    Show,
    /// Print the JSON schema, for editors
    Schema,
    /// Print where the configuration file is
    Path,
}

/// Options of `completions`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Options of `man`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Man {
    /// Print the page of this command, for example `cascade man config check`
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Options of `demo`.
#[derive(Debug, Clone, ClapArgs)]
pub struct Demo {
    /// Keep the repository afterwards and say where it is
    #[arg(long)]
    pub keep: bool,
}
