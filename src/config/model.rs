//! What a checked configuration says: the fields of `cascade-sync.yaml`, their units and defaults.
//!
//! The documentation of these fields *is* the configuration reference and the JSON schema.

use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::message::MessageTemplate;
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
    /// Checks that are asked continuously while the watcher runs.
    #[serde(default)]
    pub health: Health,
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
    /// A path is quiet this long before it is saved. Default `3s`.
    pub settle: Span,
    /// A changed path never waits longer than this, even when it never gets quiet. Default `10s`.
    pub batch_window: Span,
    /// Paths that are never saved, as .gitignore patterns, on top of the .gitignore files. Default none.
    pub exclude: Vec<String>,
    /// Larger files are set aside and reported. Default `50MiB`.
    pub max_file_size: ByteSize,
    /// Push every save to the remote. Default `true`.
    pub push: bool,
    /// Bring in what others push to the branch; where both changed a line, the sandbox wins. Default `true`.
    pub pull: bool,
    /// Pause between two looks at the remote, besides those that a refused push causes. Default `1m`.
    pub pull_every: Span,
    /// What becomes of a file to which a save would add what looks like a secret: it is kept out of the commit (`block`), saved with an alert (`warn`), or not looked at (`off`). Files over 4 MiB are looked at when they are pushed; pushes always are. Default `block`.
    pub secrets: SecretsMode,
    /// What the commit messages of saves say.
    pub message: MessageSpec,
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
    /// Checks that the candidate must pass before anything moves. Default none.
    #[serde(default)]
    pub checks: Vec<String>,
    /// Checks asked after landing, with retries; when they do not pass, the promotion is rolled back. Default none.
    #[serde(default)]
    pub verify: Vec<String>,
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
    /// How long an approval is valid. Default `24h`.
    pub expires: Span,
    /// Whether the person who asked for the promotion may approve it. Default `true`.
    #[serde(rename = "self")]
    pub own: bool,
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
    /// Pause between attempts when used in `verify`. Default `2s`.
    pub every: Span,
    /// Passes in a row that make a verification pass. Default `1`.
    pub successes: u32,
    /// Failures in a row that make a verification fail. Default `3`.
    pub failures: u32,
    /// A verification without a verdict by then has failed. Default `1m`.
    pub deadline: Span,
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
    /// Events that are worth a notification. Default: all of them.
    pub on: Vec<AlertEvent>,
}

/// How secrets are found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// Files of the checkout with further rules, in the format of gitleaks; a rule with the name of one of cascade's replaces it. Default none.
    pub rules: Vec<String>,
    /// What looks like a secret and is none; `cascade secrets allow` adds entries. Default none.
    pub allow: Vec<AllowedSecret>,
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
    /// Saving or pushing stopped and says why.
    Paused,
    /// A save or a push carries what looks like a secret.
    SecretFound,
    /// Others pushed an edit that lost against the sandbox's, moved the remote's branch back, or put commits on an environment's branch.
    Conflict,
    /// A health check changed its answer.
    Health,
}

impl AlertEvent {
    /// Every event, in the order of the reference.
    pub const ALL: [Self; 8] = [
        Self::Promoted,
        Self::AwaitingApproval,
        Self::Failed,
        Self::RolledBack,
        Self::Paused,
        Self::SecretFound,
        Self::Conflict,
        Self::Health,
    ];
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
        Self { required: 1, expires: Span::seconds(24 * 60 * 60), own: true }
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

impl Default for Health {
    fn default() -> Self {
        Self { every: Span::seconds(20), checks: Vec::new() }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self { desktop: true, on: AlertEvent::ALL.to_vec() }
    }
}

fn default_remote() -> String {
    "origin".to_owned()
}

fn default_remote_deadline() -> Span {
    Span::seconds(120)
}
