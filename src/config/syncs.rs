//! What a configuration says about syncs.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bucket::StoreSpec;
use super::model::{Durability, Expanded};
use super::records::{RecordsSource, RecordsTarget};
use super::schedule::Schedule;
use crate::base::units::{Share, Span};

/// One sync: what brings a target to what a source says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncSpec {
    /// Where the content comes from.
    pub from: SyncSource,
    /// What is brought to that.
    pub to: SyncTarget,
    /// What happens to what somebody else changed at the target: it is left alone and told until `cascade sync resolve` (`flag`, which may be written `flag-record` of records), the same of single fields of a record while the others follow the source (`flag-field`), left alone (`keep`), or replaced, with a snapshot (`overwrite`). Default `flag`.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// What is deleted at the target when the source does not have it: nothing (`never`), what a sync put there (`tracked`), or anything (`mirror`). Default `tracked`.
    #[serde(default)]
    pub delete: DeleteMode,
    /// Largest share of its items at the target that one run may delete, rounded up to a whole item; never all of several. Default `10%`.
    #[serde(default = "default_max_delete")]
    pub max_delete: Share,
    /// What takes part, as .gitignore patterns. Default: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// What takes no part on either side, as .gitignore patterns; `.git` never does. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// What is compared after a run that changed something: what was written, by what tells cheaply that it is still so (`cheap`), or all content of both sides (`full`), as `cascade sync verify` does. Default `cheap`.
    #[serde(default)]
    pub verify: VerifyMode,
    /// Whether what is written to a directory waits for the disk (`full`), or reaches it seconds later (`fast`; Linux only, elsewhere as `full`): then a power cut may leave items of the last seconds torn, which the next run flags. What is replaced is on the disk before in either case. Default `full`.
    #[serde(default)]
    pub durability: Durability,
    /// How what is replaced is kept.
    #[serde(default)]
    pub snapshots: Snapshots,
    /// Runs it again and again, so much after it began last, while the watcher runs; what was missed is made up for once. Default: by hand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Runs it at these times while the watcher runs, as cron writes them (`30 4 * * mon-fri`), with a time zone behind it (`Europe/Berlin`) where it is not this machine's; what was missed is made up for once. Default: by hand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<Schedule>,
    /// Environment after each deployment of which it runs, once: when a promotion is verified, by the watcher, or by the command that promoted where none runs. What fails is tried again after 10 minutes, and undoes nothing. Default: after none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Does not run again before so much time has passed since it began last; deliveries of promotions and `--force` do. Default `0s`.
    #[serde(default)]
    pub min_interval: Span,
    /// Environments in which it runs by itself and with `cascade sync`: those that `CASCADE_ENV` names, deliver it, or that it runs `after`. By its name it always runs. Default: everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_in: Vec<String>,
}

impl SyncSpec {
    /// Answers whether it is active in an environment; nothing stands for a machine that is none.
    #[must_use]
    pub fn is_active_in(&self, environment: Option<&str>) -> bool {
        self.only_in.is_empty()
            || environment.is_some_and(|environment| self.only_in.iter().any(|it| it == environment))
    }
}

/// Where the content of a sync comes from. Exactly one of `directory`, `tree`, `bucket` and `records` is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyncSource {
    /// Path of a directory, from the top of the checkout where it does not begin with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<Expanded>,
    /// An environment, or a branch: what is committed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Directory within `tree`. Default: all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Objects in a store, like `s3://name/prefix`, or in a directory that is used like one, like `fs:///path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Expanded>,
    /// How `bucket` is reached and used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSpec>,
    /// JSON objects, each named by one of its fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsSource>,
    /// Read what an encrypted vault in `directory` or `bucket` holds. Default: what is there is read as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultSpec>,
}

/// What a sync writes to. Exactly one of `directory`, `bucket` and `records` is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyncTarget {
    /// Path of a directory that exists, from the top of the checkout where it does not begin with `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<Expanded>,
    /// A bucket that exists, like `s3://name/prefix`, or a directory that is used like one, like `fs:///path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Expanded>,
    /// How `bucket` is reached and used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreSpec>,
    /// JSON objects, each named by the same field as at the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsTarget>,
    /// Write into an encrypted vault in `directory` or `bucket`, which `cascade vault init` makes once; whatever `durability` says, it waits for the disk. Default: what is written is there as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultSpec>,
}

/// What opens a vault. Exactly one of `passphrase` and `key_file` is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VaultSpec {
    /// Passphrase of 12 characters at least; it must come from a variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Expanded>,
    /// Path of a file with a random key, from the top of the checkout where it does not begin with `/`; only its owner may read it. `cascade vault init` makes it where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<Expanded>,
}

/// How what is replaced is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// How long every snapshot is kept. Default `30d`.
    pub keep: Span,
    /// Beyond that the first snapshot of each of so many days (UTC), counted back from today, is kept; what the others have is taken in by the next older one. Default `0`.
    pub daily: u32,
    /// The same for weeks, which begin on Mondays. Default `0`.
    pub weekly: u32,
    /// The same for months. Default `0`.
    pub monthly: u32,
}

/// What happens where somebody else changed the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(transform = name_of_records)]
pub enum OnDrift {
    /// The target is left alone, and it is told until somebody decides.
    #[default]
    #[serde(alias = "flag-record")]
    Flag,
    /// The same, but only the fields of a record that were changed there are left alone; the others follow the source.
    FlagField,
    /// The target is left alone, and that is all.
    Keep,
    /// The source wins; what was there is in a snapshot.
    Overwrite,
}

/// Tells the other name of `flag` beside it, for editors and the reference.
fn name_of_records(schema: &mut Schema) {
    let choices = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    if let Some(choices) = choices {
        let name = json!({ "description": "As `flag`, said of records.", "type": "string", "const": "flag-record" });
        choices.insert(1.min(choices.len()), name);
    }
}

/// What happens to what the source does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeleteMode {
    /// Nothing is ever deleted.
    Never,
    /// What was once put there from here is deleted with it.
    #[default]
    Tracked,
    /// Whatever the source does not have is deleted.
    Mirror,
}

/// How closely a target is looked at after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifyMode {
    /// What was written must be there as it was written.
    #[default]
    Cheap,
    /// All content of both sides is read and compared.
    Full,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { keep: Span::seconds(30 * 24 * 60 * 60), daily: 0, weekly: 0, monthly: 0 }
    }
}

fn default_max_delete() -> Share {
    Share::percent(10)
}
