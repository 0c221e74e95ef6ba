//! What a checked configuration says: the fields of `cascade-sync.yaml`, their units and defaults.
//!
//! The documentation of these fields *is* the configuration reference and the JSON schema.

use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::freeze::FreezeWindow;
use super::message::MessageTemplate;
use super::problem::Problems;
use super::surroundings::Surroundings;
use super::syncs::SyncSpec;
use crate::base::units::{ByteSize, Span};

/// The pipeline of one project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this file's format. Always `1`.
    pub version: u32,
    /// Name of the project, shown in messages and reports.
    pub project: String,
    /// The watched working copy that feeds the first environment.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Name of the git remote that branches are pushed to; nothing is pushed where it does not exist. Default `origin`.
    #[serde(default = "default_remote")]
    pub remote: String,
    /// How long one question to the remote, one fetch or one push may take; what takes longer is ended. Default `2m`.
    #[serde(default = "default_remote_deadline")]
    pub remote_deadline: Span,
    /// The environments, in promotion order.
    #[serde(default)]
    pub environments: IndexMap<String, Environment>,
    /// Named questions that environments ask in `checks` and `verify`.
    #[serde(default)]
    pub checks: BTreeMap<String, CheckSpec>,
    /// Most checks of one promotion that run at the same time; each command has a scratch checkout of its own, and `1` makes them share one, in order. Default: the number of processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_checks: Option<u32>,
    /// Named groups of people, each by the e-mail address of their git configuration. Default none.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    /// What every promotion leaves in the repository, at `refs/cascade/ledger`, for `cascade verify`.
    #[serde(default)]
    pub ledger: Ledger,
    /// Checks that are asked continuously while the watcher runs.
    #[serde(default)]
    pub health: Health,
    /// Named syncs: what brings a target to what a source says, with `cascade sync`. Default none.
    #[serde(default)]
    pub syncs: IndexMap<String, SyncSpec>,
    /// Who is told about what.
    #[serde(default)]
    pub notify: Notify,
    /// How secrets are found in what is saved and pushed, and what only looks like one.
    #[serde(default)]
    pub secrets: Secrets,
}

/// The watched working copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Branch that saves are committed to; saving pauses while another one is checked out. Default `develop`.
    pub branch: String,
    /// A path is quiet this long before it is saved, and so is what was written just before or after it, which comes
    /// along. Default `3s`.
    pub settle: Span,
    /// A changed path never waits longer than this, even when it never gets quiet. Default `10s`.
    pub batch_window: Span,
    /// Paths that are never saved, as .gitignore patterns, on top of the .gitignore files. Default none.
    pub exclude: Vec<String>,
    /// Larger files are set aside and reported; of one that a filter stores (`filter=lfs`) what
    /// the filter makes of it counts. Default `50MiB`.
    pub max_file_size: ByteSize,
    /// Push every save to the remote. Default `true`.
    pub push: bool,
    /// Bring in what others push to the branch; where both changed a line, the sandbox wins. Default `true`.
    pub pull: bool,
    /// Pause between two looks at the remote, besides those that a refused push causes. Default `1m`.
    pub pull_every: Span,
    /// What becomes of a file to which a save would add what looks like a secret: it is kept out of the commit (`block`), saved with an alert (`warn`), or not looked at (`off`). Files over 4 MiB are looked at when they are pushed; pushes always are. Default `block`.
    pub secrets: SecretsMode,
    /// Whether a save waits for the disk (`full`), or is acknowledged at once and brought to the disk seconds later (`fast`; Linux only, elsewhere as `full`). With `fast` a power cut may take the saves of the last seconds with it, never a promotion: the next start, or `cascade doctor`, goes back to the newest save that is whole, and says so. Default `full`.
    pub durability: Durability,
    /// What the commit messages of saves say.
    pub message: MessageSpec,
}

/// Whether a save waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It is acknowledged when it is on the disk.
    #[default]
    Full,
    /// It is acknowledged at once and reaches the disk seconds later.
    Fast,
}

impl Durability {
    /// Answers whether saves are acknowledged before they are on the disk; only where a file system can be asked to
    /// bring all that was written to it there.
    #[must_use]
    pub fn is_fast(self) -> bool {
        self == Self::Fast && cfg!(target_os = "linux")
    }
}

/// What becomes of a file with a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretsMode {
    /// It is kept out of the commit.
    #[default]
    Block,
    /// It is saved, with an alert.
    Warn,
    /// It is not looked at.
    Off,
}

/// What the commit messages of saves say. The trailer `Cascade-Batch` is always added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MessageSpec {
    /// The message, its first line the subject (cut to 72 characters), with placeholders: `{subject}` (what was done to which files), `{verb}`, `{count}`, `{files}`, `{changes}` (a line for each file), `{added}`, `{modified}`, `{deleted}`, `{directory}`, `{totals}`, `{project}`, `{branch}`, `{date}`, `{time}` (UTC); `{{` and `}}` are braces. A single line keeps the list of changes below it. Default: `{subject}` and the list of changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<MessageTemplate>,
    /// Shell command, run in the checkout, that reads a save's patch (at most 128 KiB) and prints its `{subject}`; when it fails, says nothing or takes too long, the save lands all the same. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarize: Option<String>,
    /// How long `summarize` may take, `20s` at most: each save waits for it. Default `10s`.
    pub deadline: Span,
}

/// A named place in the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Where candidates come from: the sandbox's branch or the name of another environment.
    pub from: String,
    /// Branch that says what the environment contains.
    pub branch: String,
    /// Who starts a promotion: a person (`manual`) or every save that reaches `from` (`auto`). Default `manual`.
    #[serde(default)]
    pub promote: PromoteMode,
    /// Which saves `promote: auto` promotes: the `latest`, which supersedes older ones that still wait, or `every` one, in order, each after the one before it has ended. Default `latest`.
    #[serde(default)]
    pub auto: AutoMode,
    /// What the branch gets: a commit that joins it with the source and has exactly the source's content (`merge`), or the source itself (`linear`), where it descends from what the branch has. Default `merge`.
    #[serde(default)]
    pub history: HistoryMode,
    /// People who must consent before a candidate lands. Default: nobody.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// How long a candidate must have been live in `from` before it may land here. Default `0s`.
    #[serde(default)]
    pub soak: Span,
    /// Times in which nothing lands: every week (`Fri 16:00 - Mon 08:00`), every day (`22:00 - 06:00`) or once (`2026-12-24 - 2027-01-02`), each with a time zone behind it (`Europe/Berlin`) where it is not this machine's. Default none.
    #[serde(default)]
    pub freeze: Vec<FreezeWindow>,
    /// Gates that `promote --waive` may pass by, with a reason that is recorded: `soak`, `freeze`, `checks`, `approval`. Default `soak` and `freeze`.
    #[serde(default = "default_waive")]
    pub waive: Vec<Waivable>,
    /// Checks that the candidate must pass before anything moves. Default none.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Whether, when a check fails on several saves at once, the first bad one is looked for by halves, with at most ⌈log2 n⌉ + 1 runs of that check. Default `true`.
    #[serde(default = "yes")]
    pub bisect: bool,
    /// Checks asked after landing, with retries; when they do not pass, the promotion is rolled back. Those by `http` and `tcp` are asked right before landing too: what failed then is waited for. Default none.
    #[serde(default)]
    pub verify: Vec<String>,
    /// How long what was promoted is verified again and again, while the watcher or `promote --wait` runs; as many failures in a row as `failures` of the check says roll it back. Default `0s`.
    #[serde(default)]
    pub watch_for: Span,
    /// How a failed promotion is undone. Default `auto`.
    #[serde(default)]
    pub rollback: RollbackMode,
}

/// Who starts promotions into an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromoteMode {
    /// A person does.
    #[default]
    Manual,
    /// Every save (or every promotion into `from`) does, while the watcher runs.
    Auto,
}

/// Which saves are promoted by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AutoMode {
    /// The newest; older ones that wait are superseded.
    #[default]
    Latest,
    /// Each, one after the other.
    Every,
}

/// What the branch of an environment gets with a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HistoryMode {
    /// A commit whose parents are the branch's tip and the source: first parents are the list of releases.
    #[default]
    Merge,
    /// The source itself, by a fast-forward; after a `restore` a joining commit, until `cascade back-merge`.
    Linear,
}

/// How a failed promotion is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RollbackMode {
    /// `reset` while the candidate never left this machine, `restore` once it was pushed.
    #[default]
    Auto,
    /// Move the branch back, on the remote too (with a lease); a remote that refuses gets a `restore`.
    Reset,
    /// Add a commit whose content equals the last verified one.
    Restore,
}

/// The approval gate of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Approval {
    /// How many people must approve. Default `1`.
    pub required: u32,
    /// How long an approval is valid, and how long a promotion may wait for its approvals: a late one ends it, and it must
    /// be promoted again. Default `24h`.
    pub expires: Span,
    /// Whether it may be approved by who asked for the promotion, or wrote or committed what it brings. Default `true`.
    #[serde(rename = "self")]
    pub own: bool,
    /// Who may approve, or reject: e-mail addresses and names of `groups`. Who asked for a promotion may always
    /// reject it. Default anybody.
    pub from: Vec<String>,
    /// How many of the approvals must come from each of these groups. Default none.
    pub each: BTreeMap<String, u32>,
}

/// A gate that the people of a project may pass by, where the environment's `waive` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Waivable {
    /// The time that a candidate must have been live upstream.
    Soak,
    /// The times in which nothing lands.
    Freeze,
    /// The checks before anything moves: they are asked and recorded all the same.
    Checks,
    /// The approvals.
    Approval,
}

impl Waivable {
    /// Every such gate.
    pub const ALL: [Self; 4] = [Self::Soak, Self::Freeze, Self::Checks, Self::Approval];

    /// Answers the gate's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soak => "soak",
            Self::Freeze => "freeze",
            Self::Checks => "checks",
            Self::Approval => "approval",
        }
    }
}

impl fmt::Display for Waivable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One automated question. Exactly one of `run`, `http`, `tcp` and `file` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSpec {
    /// Shell command, run in a scratch checkout of the candidate; passes when it exits 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// URL to request with GET; passes when the answer is as `status` and `contains` say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Expanded>,
    /// `host:port` that must accept a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Expanded>,
    /// Path inside the candidate that must be a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// HTTP status that `http` expects. Default: any of 200 to 299.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Text that the answer to `http` must contain. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<Expanded>,
    /// How long one attempt may take; an attempt that takes longer is ended and counts as unknown. Default `5m` for `run`, `10s` for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Pause between attempts when used in `verify`; `1s` at least while `watch_for` lasts. Default `2s`.
    pub every: Span,
    /// Passes in a row that make a verification pass. Default `1`.
    pub successes: u32,
    /// Failures in a row that make a verification fail. Default `3`.
    pub failures: u32,
    /// A verification without a verdict by then has failed. Default `1m`.
    pub deadline: Span,
    /// Known to fail now and then: before landing, a failure is asked once more, and both answers are recorded. Default `false`.
    pub flaky: bool,
    /// Variables that `run` gets although they are withheld, from the environment or `.env`. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What `run` gets to see of the environment; known once the file is loaded.
    #[serde(skip)]
    pub surroundings: Surroundings,
}

/// What a check asks, once it is known to be well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question<'a> {
    /// A shell command.
    Run(&'a str),
    /// An HTTP request.
    Http {
        /// The address.
        url: &'a Expanded,
        /// The status that is expected; none means any success.
        status: Option<u16>,
        /// Text that the body must contain.
        contains: Option<&'a Expanded>,
    },
    /// A TCP connection to `host:port`.
    Tcp(&'a Expanded),
    /// A file inside the candidate.
    File(&'a str),
}

/// The record of all promotions in the repository itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ledger {
    /// Push the ledger together with the branch of an environment, so that every clone can verify it. Default `true`.
    pub push: bool,
    /// Whether entries are signed, with the key and the program that git is configured with: where git signs commits or has both `user.signingKey` and `gpg.format` (`auto`), always (what cannot be signed does not land, and what lands by an unsigned entry is not by the rules), or `never`. Default `auto`.
    pub sign: SignMode,
}

/// Whether entries of the ledger are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignMode {
    /// Where git is configured to sign.
    #[default]
    Auto,
    /// Nothing lands with an entry that is not signed.
    Always,
    /// Not at all.
    Never,
}

/// Continuous health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Pause between two rounds. Default `20s`.
    pub every: Span,
    /// Checks that are asked in each round. Default none.
    pub checks: Vec<String>,
}

/// Who is told about what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Show desktop notifications where a notification service runs. Default `true`.
    pub desktop: bool,
    /// Events that are worth an alert, on every channel that has no list of its own. Default: all of them.
    pub on: Vec<AlertEvent>,
    /// Where alerts are posted to, as JSON. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Who gets alerts by e-mail. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// The variables that are not set, for which channels are off.
    #[serde(skip)]
    pub lacking: Option<Problems>,
}

impl Notify {
    /// Turns the channels off for which something is lacking.
    pub(super) fn turn_off(&mut self, lacking: Problems) {
        let lacks = |channel: &str| lacking.list().iter().any(|problem| problem.key.starts_with(channel));
        if lacks("notify.webhook") {
            self.webhook = None;
        }
        if lacks("notify.email") {
            self.email = None;
        }
        self.lacking = Some(lacking);
    }
}

/// Where alerts are posted to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// URL that alerts are posted to; nothing is posted where its variables make it empty, as `${CASCADE_WEBHOOK:-}` may.
    pub url: Expanded,
    /// Key that signs what is posted, by the Standard Webhooks specification: `whsec_` and 24 to 64 bytes in base64. It must come from a variable; where that is empty, nothing is signed. Default: nothing is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Expanded>,
    /// Events that are posted. Default: those of `notify.on`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<AlertEvent>>,
    /// How long one attempt may take, `1m` at most. Default `10s`.
    #[serde(default = "default_attempt")]
    pub timeout: Span,
}

/// Who gets alerts by e-mail.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Mail server: `smtps://user:${SMTP_PASSWORD}@host:465`, or `smtp://…:587` for STARTTLS, which must work then. The password must come from a variable; nothing is sent where variables make all of it empty.
    pub smtp: Expanded,
    /// Address that messages come from, like `cascade <cascade@example.org>`.
    pub from: Expanded,
    /// Addresses that messages go to, 50 at most.
    pub to: Vec<Expanded>,
    /// Whether the connection must be encrypted; `off` is for mail servers on this very machine. Default `required`.
    #[serde(default)]
    pub tls: Encryption,
    /// Events that are mailed. Default: those of `notify.on`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<AlertEvent>>,
    /// How long one attempt may take, `1m` at most. Default `10s`.
    #[serde(default = "default_attempt")]
    pub timeout: Span,
}

/// Whether a connection must be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// It must be.
    #[default]
    Required,
    /// It is not.
    Off,
}

/// How secrets are found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// Files of the checkout with further rules, in the format of gitleaks; a rule with the name of one of cascade's replaces it. Default none.
    pub rules: Vec<String>,
    /// What looks like a secret and is none; `cascade secrets allow` adds entries. Default none.
    pub allow: Vec<AllowedSecret>,
    /// Environment variables that checks do not get to see, as names in which `*` stands for anything, besides those of cascade (`CASCADE_*`) and those whose value is from `.env`. Default none.
    pub variables: Vec<String>,
}

/// What looks like a secret and is none. At least one of `path`, `rule` and `fingerprint` is set; all that are must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedSecret {
    /// Where it may stand, as a .gitignore pattern. Default: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Rule that finds it, as `cascade secrets` names it. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// First 8 to 64 digits of the value's SHA-256, as `cascade secrets` shows them; never the value. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Why it may be there.
    pub reason: String,
}

/// Something a person may want to know at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertEvent {
    /// A promotion is live and the next environment can follow.
    Promoted,
    /// A candidate waits for an approval.
    AwaitingApproval,
    /// A promotion failed before it landed.
    Failed,
    /// A promotion was rolled back.
    RolledBack,
    /// Saving waits for you, pushing or a promotion stopped and says why, or git's index had to be mended first.
    Paused,
    /// A save failed (it is tried again), or what was saved is lost or does not reach the disk.
    SaveFailed,
    /// A save or a push carries what looks like a secret.
    SecretFound,
    /// Others pushed an edit that lost against the sandbox's, moved the remote's branch back, deleted it, or put commits on
    /// an environment's branch.
    Conflict,
    /// A health check changed its answer.
    Health,
}

impl AlertEvent {
    /// Every event, in the order of the reference.
    pub const ALL: [Self; 9] = [
        Self::Promoted,
        Self::AwaitingApproval,
        Self::Failed,
        Self::RolledBack,
        Self::Paused,
        Self::SaveFailed,
        Self::SecretFound,
        Self::Conflict,
        Self::Health,
    ];

    /// Answers the name that the configuration has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Paused => "paused",
            Self::SaveFailed => "save_failed",
            Self::SecretFound => "secret_found",
            Self::Conflict => "conflict",
            Self::Health => "health",
        }
    }
}

/// Text in which `${VAR}` was replaced; shows itself as it was written, so that values stay out of
/// logs, errors and `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Expanded {
    written: String,
    value: String,
}

impl Expanded {
    /// Pairs the text as written with its value after expansion.
    #[must_use]
    pub fn new(written: impl Into<String>, value: impl Into<String>) -> Self {
        Self { written: written.into(), value: value.into() }
    }

    /// Answers the expanded value. It may hold a secret: never show it.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Answers the text as the configuration has it, `${VAR}` unexpanded.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Answers the text as written where variables stand for what matters in it; what was written out is not repeated.
    fn concealed(&self) -> &str {
        if self.written == self.value { "not shown" } else { &self.written }
    }
}

impl fmt::Display for Expanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for Expanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

impl Serialize for Expanded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

/// Reads the text as written; [`crate::config::load`] expands it.
impl<'de> Deserialize<'de> for Expanded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        Ok(Self { value: written.clone(), written })
    }
}

impl JsonSchema for Expanded {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Text; `${VAR}` is taken from the environment or `.env`." })
    }
}

/// Addresses of webhooks are secrets themselves.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Webhook");
        shown.field("url", &self.url.concealed()).field("secret", &self.secret.as_ref().map(Expanded::concealed));
        shown.field("on", &self.on).field("timeout", &self.timeout).finish()
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Email");
        shown.field("smtp", &self.smtp.concealed()).field("from", &self.from).field("to", &self.to);
        shown.field("tls", &self.tls).field("on", &self.on).field("timeout", &self.timeout).finish()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            branch: "develop".to_owned(),
            settle: Span::seconds(3),
            batch_window: Span::seconds(10),
            exclude: Vec::new(),
            max_file_size: ByteSize(50 << 20),
            push: true,
            pull: true,
            pull_every: Span::seconds(60),
            secrets: SecretsMode::default(),
            durability: Durability::default(),
            message: MessageSpec::default(),
        }
    }
}

impl Default for MessageSpec {
    fn default() -> Self {
        Self { template: None, summarize: None, deadline: Span::seconds(10) }
    }
}

impl Default for Approval {
    fn default() -> Self {
        Self { required: 1, expires: Span::seconds(24 * 60 * 60), own: true, from: Vec::new(), each: BTreeMap::new() }
    }
}

impl Default for CheckSpec {
    fn default() -> Self {
        Self {
            run: None,
            http: None,
            tcp: None,
            file: None,
            status: None,
            contains: None,
            timeout: None,
            every: Span::seconds(2),
            successes: 1,
            failures: 3,
            deadline: Span::seconds(60),
            flaky: false,
            env: Vec::new(),
            surroundings: Surroundings::default(),
        }
    }
}

impl CheckSpec {
    /// Answers what the check asks; nothing where no question is set (a loaded configuration has none such).
    #[must_use]
    pub fn question(&self) -> Option<Question<'_>> {
        if let Some(run) = &self.run {
            return Some(Question::Run(run));
        }
        if let Some(url) = &self.http {
            return Some(Question::Http { url, status: self.status, contains: self.contains.as_ref() });
        }
        if let Some(address) = &self.tcp {
            return Some(Question::Tcp(address));
        }
        self.file.as_deref().map(Question::File)
    }

    /// Answers how long one attempt may take.
    #[must_use]
    pub fn attempt_timeout(&self) -> Span {
        let default_seconds = if self.run.is_some() { 300 } else { 10 };
        self.timeout.unwrap_or(Span::seconds(default_seconds))
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { push: true, sign: SignMode::default() }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { every: Span::seconds(20), checks: Vec::new() }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self { desktop: true, on: AlertEvent::ALL.to_vec(), webhook: None, email: None, lacking: None }
    }
}

fn yes() -> bool {
    true
}

fn default_waive() -> Vec<Waivable> {
    vec![Waivable::Soak, Waivable::Freeze]
}

fn default_attempt() -> Span {
    Span::seconds(10)
}

fn default_remote() -> String {
    "origin".to_owned()
}

fn default_remote_deadline() -> Span {
    Span::seconds(120)
}
