//! The reference of all keys, for editors (JSON schema) and for the README.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::model::Config;

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Dotted path; `<name>` stands for a name that the user chooses.
    pub key: String,
    /// What may stand there, in words.
    pub kind: String,
    /// The default in words; `required` where there is none.
    pub default: String,
    /// What the key means.
    pub description: String,
}

/// Answers the JSON schema (draft 2020-12) of the configuration file.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), super::FILE_NAME.into());
    schema.to_value()
}

/// Answers every key of the configuration, in the order of the model.
#[must_use]
pub fn reference() -> Vec<Entry> {
    let schema = schema();
    let mut walk = Walk { definitions: &schema["$defs"], entries: Vec::new() };
    walk.properties(&schema, "");
    walk.entries
}

/// Answers the reference as a markdown table.
#[must_use]
pub fn reference_markdown() -> String {
    let mut table = "| key | value | default | meaning |\n|---|---|---|---|\n".to_owned();
    for entry in reference() {
        let [kind, default, description] = [&entry.kind, &entry.default, &entry.description].map(|it| cell(it));
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{}` | {kind} | {default} | {description} |", entry.key);
    }
    table
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

struct Walk<'a> {
    definitions: &'a Value,
    entries: Vec<Entry>,
}

impl<'a> Walk<'a> {
    fn properties(&mut self, schema: &'a Value, path: &str) {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let target = self.resolve(property);
            let description = property["description"].as_str().or(target["description"].as_str()).unwrap_or_default();
            let (description, stated) = split_default(description);
            let default = match stated {
                _ if required.contains(&name.as_str()) => "required".to_owned(),
                Some(stated) => stated,
                None => property.get("default").map(shown_default).unwrap_or_else(|| "none".to_owned()),
            };
            let kind = self.kind(target);
            self.entries.push(Entry { key: key.clone(), kind, default, description });
            self.below(target, &key);
        }
    }

    fn below(&mut self, schema: &'a Value, path: &str) {
        if schema["properties"].is_object() {
            self.properties(schema, path);
        } else if schema["additionalProperties"].is_object() {
            let target = self.resolve(&schema["additionalProperties"]);
            self.properties(target, &format!("{path}.<name>"));
        } else if schema["items"].is_object() {
            let target = self.resolve(&schema["items"]);
            self.properties(target, &format!("{path}[]"));
        }
    }

    /// Follows references, and passes over `null` where a value is optional.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
            return self.resolve(&self.definitions[name]);
        }
        let mut choices = schema["anyOf"].as_array().into_iter().flatten();
        match choices.find(|choice| choice["type"] != "null") {
            Some(choice) => self.resolve(choice),
            None => schema,
        }
    }

    fn kind(&self, schema: &'a Value) -> String {
        let choices = choices(schema);
        if !choices.is_empty() {
            return choices.join(", ");
        }
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        match type_name(schema) {
            "string" if pattern.contains("ms") => "duration".to_owned(),
            "string" if pattern.contains("MiB") => "size".to_owned(),
            "string" if pattern.contains('%') => "percentage".to_owned(),
            "string" => "text".to_owned(),
            "integer" => "number".to_owned(),
            "boolean" => "true, false".to_owned(),
            "array" => format!("list of {}", self.kind(self.resolve(&schema["items"]))),
            "object" if schema["additionalProperties"].is_object() => "names with keys".to_owned(),
            "object" => "keys".to_owned(),
            other => other.to_owned(),
        }
    }
}

/// The type of a value other than `null`.
fn type_name(schema: &Value) -> &str {
    let types = &schema["type"];
    let listed = || types.as_array()?.iter().filter_map(Value::as_str).find(|name| *name != "null");
    types.as_str().or_else(listed).unwrap_or("any")
}

fn choices(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten().map(|choice| &choice["const"]);
    listed.chain(described).filter_map(Value::as_str).map(|choice| format!("`{choice}`")).collect()
}

/// Cuts the last sentence of a description off where it states the default.
fn split_default(description: &str) -> (String, Option<String>) {
    match description.rsplit_once(". Default") {
        Some((meaning, default)) => {
            let default = default.trim_start_matches(':').trim().trim_end_matches('.');
            (format!("{meaning}."), Some(default.to_owned()))
        }
        None => (description.to_owned(), None),
    }
}

fn shown_default(default: &Value) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Object(fields) => shown_fields(fields),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// The default of a group is that of each of its keys.
fn shown_fields(fields: &Map<String, Value>) -> String {
    if fields.is_empty() { "none".to_owned() } else { "see below".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_where(is_wanted: impl Fn(&str) -> bool) -> String {
        reference_markdown().split_inclusive('\n').filter(|line| is_wanted(line)).collect()
    }

    fn is_of_alerts(line: &str) -> bool {
        line.starts_with("| `notify")
    }

    fn is_of_checks(line: &str) -> bool {
        line.starts_with("| `checks") || line.starts_with("| `parallel_checks")
    }

    #[test]
    fn reference_lists_every_key() {
        let is_elsewhere = |line: &str| is_of_alerts(line) || is_of_checks(line) || line.starts_with("| `syncs");
        insta::assert_snapshot!(lines_where(|line| !is_elsewhere(line)), @"
        | key | value | default | meaning |
        |---|---|---|---|
        | `version` | number | required | Version of this file's format. Always `1`. |
        | `project` | text | required | Name of the project, shown in messages and reports. |
        | `sandbox` | keys | see below | The watched working copy that feeds the first environment. |
        | `sandbox.branch` | text | `develop` | Branch that saves are committed to; saving pauses while another one is checked out. |
        | `sandbox.settle` | duration | `3s` | A path is quiet this long before it is saved, and so is what was written just before or after it, which comes along. |
        | `sandbox.batch_window` | duration | `10s` | A changed path never waits longer than this, even when it never gets quiet. |
        | `sandbox.exclude` | list of text | none | Paths that are never saved, as .gitignore patterns, on top of the .gitignore files. |
        | `sandbox.max_file_size` | size | `50MiB` | Larger files are set aside and reported; of one that a filter stores (`filter=lfs`) what the filter makes of it counts. |
        | `sandbox.push` | true, false | `true` | Push every save to the remote. |
        | `sandbox.pull` | true, false | `true` | Bring in what others push to the branch; where both changed a line, the sandbox wins. |
        | `sandbox.pull_every` | duration | `1m` | Pause between two looks at the remote, besides those that a refused push causes. |
        | `sandbox.secrets` | `block`, `warn`, `off` | `block` | What becomes of a file to which a save would add what looks like a secret: it is kept out of the commit (`block`), saved with an alert (`warn`), or not looked at (`off`). Files over 4 MiB are looked at when they are pushed; pushes always are. |
        | `sandbox.durability` | `full`, `fast` | `full` | Whether a save waits for the disk (`full`), or is acknowledged at once and brought to the disk seconds later (`fast`; Linux only, elsewhere as `full`). With `fast` a power cut may take the saves of the last seconds with it, never a promotion: the next start, or `cascade doctor`, goes back to the newest save that is whole, and says so. |
        | `sandbox.message` | keys | see below | What the commit messages of saves say. |
        | `sandbox.message.template` | text | `{subject}` and the list of changes | The message, its first line the subject (cut to 72 characters), with placeholders: `{subject}` (what was done to which files), `{verb}`, `{count}`, `{files}`, `{changes}` (a line for each file), `{added}`, `{modified}`, `{deleted}`, `{directory}`, `{totals}`, `{project}`, `{branch}`, `{date}`, `{time}` (UTC); `{{` and `}}` are braces. A single line keeps the list of changes below it. |
        | `sandbox.message.summarize` | text | none | Shell command, run in the checkout, that reads a save's patch (at most 128 KiB) and prints its `{subject}`; when it fails, says nothing or takes too long, the save lands all the same. |
        | `sandbox.message.deadline` | duration | `10s` | How long `summarize` may take, `20s` at most: each save waits for it. |
        | `remote` | text | `origin` | Name of the git remote that branches are pushed to; nothing is pushed where it does not exist. |
        | `remote_deadline` | duration | `2m` | How long one question to the remote, one fetch or one push may take; what takes longer is ended. |
        | `environments` | names with keys | none | The environments, in promotion order. |
        | `environments.<name>.from` | text | required | Where candidates come from: the sandbox's branch or the name of another environment. |
        | `environments.<name>.branch` | text | required | Branch that says what the environment contains. |
        | `environments.<name>.promote` | `manual`, `auto` | `manual` | Who starts a promotion: a person (`manual`) or every save that reaches `from` (`auto`). |
        | `environments.<name>.auto` | `latest`, `every` | `latest` | Which saves `promote: auto` promotes: the `latest`, which supersedes older ones that still wait, or `every` one, in order, each after the one before it has ended. |
        | `environments.<name>.history` | `merge`, `linear` | `merge` | What the branch gets: a commit that joins it with the source and has exactly the source's content (`merge`), or the source itself (`linear`), where it descends from what the branch has. |
        | `environments.<name>.approval` | keys | nobody | People who must consent before a candidate lands. |
        | `environments.<name>.approval.required` | number | `1` | How many people must approve. |
        | `environments.<name>.approval.expires` | duration | `24h` | How long an approval is valid, and how long a promotion may wait for its approvals: a late one ends it, and it must be promoted again. |
        | `environments.<name>.approval.self` | true, false | `true` | Whether it may be approved by who asked for the promotion, or wrote or committed what it brings. |
        | `environments.<name>.approval.from` | list of text | anybody | Who may approve, or reject: e-mail addresses and names of `groups`. Who asked for a promotion may always reject it. |
        | `environments.<name>.approval.each` | names with keys | none | How many of the approvals must come from each of these groups. |
        | `environments.<name>.soak` | duration | `0s` | How long a candidate must have been live in `from` before it may land here. |
        | `environments.<name>.freeze` | list of text | none | Times in which nothing lands: every week (`Fri 16:00 - Mon 08:00`), every day (`22:00 - 06:00`) or once (`2026-12-24 - 2027-01-02`), each with a time zone behind it (`Europe/Berlin`) where it is not this machine's. |
        | `environments.<name>.waive` | list of `soak`, `freeze`, `checks`, `approval` | `soak` and `freeze` | Gates that `promote --waive` may pass by, with a reason that is recorded: `soak`, `freeze`, `checks`, `approval`. |
        | `environments.<name>.checks` | list of text | none | Checks that the candidate must pass before anything moves. |
        | `environments.<name>.bisect` | true, false | `true` | Whether, when a check fails on several saves at once, the first bad one is looked for by halves, with at most ⌈log2 n⌉ + 1 runs of that check. |
        | `environments.<name>.deliver` | list of text | none | Syncs that bring the outside to what landed, one after the other, before `verify`; when one of them fails, the promotion is rolled back, and what they replaced is put back. A sync from this environment's tree brings exactly the commit that landed. |
        | `environments.<name>.verify` | list of text | none | Checks asked after landing, with retries; when they do not pass, the promotion is rolled back. Those by `http` and `tcp` are asked right before landing too: what failed then is waited for. |
        | `environments.<name>.watch_for` | duration | `0s` | How long what was promoted is verified again and again, while the watcher or `promote --wait` runs; as many failures in a row as `failures` of the check says roll it back. |
        | `environments.<name>.rollback` | `auto`, `reset`, `restore` | `auto` | How a failed promotion is undone. |
        | `groups` | names with keys | none | Named groups of people, each by the e-mail address of their git configuration. |
        | `ledger` | keys | see below | What every promotion leaves in the repository, at `refs/cascade/ledger`, for `cascade verify`. |
        | `ledger.push` | true, false | `true` | Push the ledger together with the branch of an environment, so that every clone can verify it. |
        | `ledger.sign` | `auto`, `always`, `never` | `auto` | Whether entries are signed, with the key and the program that git is configured with: where git signs commits or has both `user.signingKey` and `gpg.format` (`auto`), always (what cannot be signed does not land, and what lands by an unsigned entry is not by the rules), or `never`. |
        | `health` | keys | see below | Checks that are asked continuously while the watcher runs. |
        | `health.every` | duration | `20s` | Pause between two rounds. |
        | `health.checks` | list of text | none | Checks that are asked in each round. |
        | `secrets` | keys | see below | How secrets are found in what is saved and pushed, and what only looks like one. |
        | `secrets.rules` | list of text | none | Files of the checkout with further rules, in the format of gitleaks; a rule with the name of one of cascade's replaces it. |
        | `secrets.allow` | list of keys | none | What looks like a secret and is none; `cascade secrets allow` adds entries. |
        | `secrets.allow[].path` | text | anywhere | Where it may stand, as a .gitignore pattern. |
        | `secrets.allow[].rule` | text | any | Rule that finds it, as `cascade secrets` names it. |
        | `secrets.allow[].fingerprint` | text | any | First 8 to 64 digits of the value's SHA-256, as `cascade secrets` shows them; never the value. |
        | `secrets.allow[].reason` | text | required | Why it may be there. |
        | `secrets.variables` | list of text | none | Environment variables that checks do not get to see, as names in which `*` stands for anything, besides those of cascade (`CASCADE_*`) and those whose value is from `.env`. |
        ");
    }

    #[test]
    fn reference_lists_the_keys_of_checks() {
        insta::assert_snapshot!(lines_where(is_of_checks), @"
        | `checks` | names with keys | none | Named questions that environments ask in `checks` and `verify`. |
        | `checks.<name>.run` | text | none | Shell command, run in a scratch checkout of the candidate; passes when it exits 0. |
        | `checks.<name>.http` | text | none | URL to request with GET; passes when the answer is as `status` and `contains` say. |
        | `checks.<name>.tcp` | text | none | `host:port` that must accept a connection. |
        | `checks.<name>.file` | text | none | Path inside the candidate that must be a file. |
        | `checks.<name>.status` | number | any of 200 to 299 | HTTP status that `http` expects. |
        | `checks.<name>.contains` | text | anything | Text that the answer to `http` must contain. |
        | `checks.<name>.timeout` | duration | `5m` for `run`, `10s` for others | How long one attempt may take; an attempt that takes longer is ended and counts as unknown. |
        | `checks.<name>.every` | duration | `2s` | Pause between attempts when used in `verify`; `1s` at least while `watch_for` lasts. |
        | `checks.<name>.successes` | number | `1` | Passes in a row that make a verification pass. |
        | `checks.<name>.failures` | number | `3` | Failures in a row that make a verification fail. |
        | `checks.<name>.deadline` | duration | `1m` | A verification without a verdict by then has failed. |
        | `checks.<name>.flaky` | true, false | `false` | Known to fail now and then: before landing, a failure is asked once more, and both answers are recorded. |
        | `checks.<name>.env` | list of text | none | Variables that `run` gets although they are withheld, from the environment or `.env`. |
        | `parallel_checks` | number | the number of processors | Most checks of one promotion that run at the same time; each command has a scratch checkout of its own, and `1` makes them share one, in order. |
        ");
    }

    fn is_of_records(line: &str) -> bool {
        line.starts_with("| `syncs") && line.contains(".records.")
    }

    #[test]
    fn reference_lists_the_keys_of_syncs() {
        insta::assert_snapshot!(lines_where(|line| line.starts_with("| `syncs") && !is_of_records(line)), @"
        | `syncs` | names with keys | none | Named syncs: what brings a target to what a source says, with `cascade sync`. |
        | `syncs.<name>.from` | keys | required | Where the content comes from. |
        | `syncs.<name>.from.directory` | text | none | Path of a directory, from the top of the checkout where it does not begin with `/`. |
        | `syncs.<name>.from.tree` | text | none | An environment, or a branch: what is committed there. |
        | `syncs.<name>.from.path` | text | all of it | Directory within `tree`. |
        | `syncs.<name>.from.bucket` | text | none | Objects in a store, like `s3://name/prefix`, or in a directory that is used like one, like `fs:///path`. |
        | `syncs.<name>.from.store` | keys | none | How `bucket` is reached and used. |
        | `syncs.<name>.from.store.endpoint` | text | `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`, else Amazon's | Address of a store that is not Amazon's. |
        | `syncs.<name>.from.store.region` | text | `AWS_REGION`, else `AWS_DEFAULT_REGION`, else `us-east-1` | Region of the bucket. |
        | `syncs.<name>.from.store.access_key` | text | `AWS_ACCESS_KEY_ID` | Access key; it must come from a variable. |
        | `syncs.<name>.from.store.secret_key` | text | `AWS_SECRET_ACCESS_KEY` | Secret of `access_key`; it must come from a variable. |
        | `syncs.<name>.from.store.session_token` | text | `AWS_SESSION_TOKEN`, where the access key is from the environment too | Token of a temporary `access_key`; it must come from a variable. |
        | `syncs.<name>.from.store.anonymous` | true, false | `false` | Ask without credentials, as anybody may. |
        | `syncs.<name>.from.store.instance_role` | true, false | `false` | Ask the machine itself (EC2) for credentials where there are no others. |
        | `syncs.<name>.from.store.virtual_hosts` | true, false | `false` | Put the bucket's name into the host's name (`https://name.host/`), which a few stores insist on. |
        | `syncs.<name>.from.store.parallel` | number | `16` | Objects that are transferred at the same time, 256 at most. |
        | `syncs.<name>.from.store.bandwidth` | size | no limit | Bytes per second that are transferred at most, in both directions together. |
        | `syncs.<name>.from.store.part_size` | size | `8MiB` | Objects larger than this are transferred in parts of this size; 5MiB to 1GiB. |
        | `syncs.<name>.from.store.timeout` | duration | `1m` | How long one request may take; it is tried again then. |
        | `syncs.<name>.from.records` | keys | none | JSON objects, each named by one of its fields. |
        | `syncs.<name>.from.vault` | keys | what is there is read as it is | Read what an encrypted vault in `directory` or `bucket` holds. |
        | `syncs.<name>.from.vault.passphrase` | text | none | Passphrase of 12 characters at least; it must come from a variable. |
        | `syncs.<name>.from.vault.key_file` | text | none | Path of a file with a random key, from the top of the checkout where it does not begin with `/`; only its owner may read it. `cascade vault init` makes it where it is missing. |
        | `syncs.<name>.to` | keys | required | What is brought to that. |
        | `syncs.<name>.to.directory` | text | none | Path of a directory that exists, from the top of the checkout where it does not begin with `/`. |
        | `syncs.<name>.to.bucket` | text | none | A bucket that exists, like `s3://name/prefix`, or a directory that is used like one, like `fs:///path`. |
        | `syncs.<name>.to.store` | keys | none | How `bucket` is reached and used. |
        | `syncs.<name>.to.store.endpoint` | text | `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`, else Amazon's | Address of a store that is not Amazon's. |
        | `syncs.<name>.to.store.region` | text | `AWS_REGION`, else `AWS_DEFAULT_REGION`, else `us-east-1` | Region of the bucket. |
        | `syncs.<name>.to.store.access_key` | text | `AWS_ACCESS_KEY_ID` | Access key; it must come from a variable. |
        | `syncs.<name>.to.store.secret_key` | text | `AWS_SECRET_ACCESS_KEY` | Secret of `access_key`; it must come from a variable. |
        | `syncs.<name>.to.store.session_token` | text | `AWS_SESSION_TOKEN`, where the access key is from the environment too | Token of a temporary `access_key`; it must come from a variable. |
        | `syncs.<name>.to.store.anonymous` | true, false | `false` | Ask without credentials, as anybody may. |
        | `syncs.<name>.to.store.instance_role` | true, false | `false` | Ask the machine itself (EC2) for credentials where there are no others. |
        | `syncs.<name>.to.store.virtual_hosts` | true, false | `false` | Put the bucket's name into the host's name (`https://name.host/`), which a few stores insist on. |
        | `syncs.<name>.to.store.parallel` | number | `16` | Objects that are transferred at the same time, 256 at most. |
        | `syncs.<name>.to.store.bandwidth` | size | no limit | Bytes per second that are transferred at most, in both directions together. |
        | `syncs.<name>.to.store.part_size` | size | `8MiB` | Objects larger than this are transferred in parts of this size; 5MiB to 1GiB. |
        | `syncs.<name>.to.store.timeout` | duration | `1m` | How long one request may take; it is tried again then. |
        | `syncs.<name>.to.records` | keys | none | JSON objects, each named by the same field as at the source. |
        | `syncs.<name>.to.vault` | keys | what is written is there as it is | Write into an encrypted vault in `directory` or `bucket`, which `cascade vault init` makes once; whatever `durability` says, it waits for the disk. |
        | `syncs.<name>.to.vault.passphrase` | text | none | Passphrase of 12 characters at least; it must come from a variable. |
        | `syncs.<name>.to.vault.key_file` | text | none | Path of a file with a random key, from the top of the checkout where it does not begin with `/`; only its owner may read it. `cascade vault init` makes it where it is missing. |
        | `syncs.<name>.on_drift` | `flag`, `flag-record`, `flag-field`, `keep`, `overwrite` | `flag` | What happens to what somebody else changed at the target: it is left alone and told until `cascade sync resolve` (`flag`, which may be written `flag-record` of records), the same of single fields of a record while the others follow the source (`flag-field`), left alone (`keep`), or replaced, with a snapshot (`overwrite`). |
        | `syncs.<name>.delete` | `never`, `tracked`, `mirror` | `tracked` | What is deleted at the target when the source does not have it: nothing (`never`), what a sync put there (`tracked`), or anything (`mirror`). |
        | `syncs.<name>.max_delete` | percentage | `10%` | Largest share of its items at the target that one run may delete, rounded up to a whole item; never all of several. |
        | `syncs.<name>.include` | list of text | everything | What takes part, as .gitignore patterns. |
        | `syncs.<name>.exclude` | list of text | nothing | What takes no part on either side, as .gitignore patterns; `.git` never does. |
        | `syncs.<name>.verify` | `cheap`, `full` | `cheap` | What is compared after a run that changed something: what was written, by what tells cheaply that it is still so (`cheap`), or all content of both sides (`full`), as `cascade sync verify` does. |
        | `syncs.<name>.durability` | `full`, `fast` | `full` | Whether what is written to a directory waits for the disk (`full`), or reaches it seconds later (`fast`; Linux only, elsewhere as `full`): then a power cut may leave items of the last seconds torn, which the next run flags. What is replaced is on the disk before in either case. |
        | `syncs.<name>.snapshots` | keys | see below | How what is replaced is kept. |
        | `syncs.<name>.snapshots.keep` | duration | `30d` | How long every snapshot is kept. |
        | `syncs.<name>.snapshots.daily` | number | `0` | Beyond that the first snapshot of each of so many days (UTC), counted back from today, is kept; what the others have is taken in by the next older one. |
        | `syncs.<name>.snapshots.weekly` | number | `0` | The same for weeks, which begin on Mondays. |
        | `syncs.<name>.snapshots.monthly` | number | `0` | The same for months. |
        | `syncs.<name>.every` | duration | by hand only | Runs it again and again, so much after it began last, while the watcher runs; what was missed is made up for once. |
        | `syncs.<name>.cron` | text | by hand only | Runs it at these times while the watcher runs, as cron writes them (`30 4 * * mon-fri`), with a time zone behind it (`Europe/Berlin`) where it is not this machine's; what was missed is made up for once. |
        | `syncs.<name>.after` | text | after none | Environment after each deployment of which it runs, once: when a promotion is verified, by the watcher, or by the command that promoted where none runs. What fails is tried again after 10 minutes, and undoes nothing. |
        | `syncs.<name>.min_interval` | duration | `0s` | Does not run again before so much time has passed since it began last; deliveries of promotions and `--force` do. |
        | `syncs.<name>.only_in` | list of text | everywhere | Environments in which it runs by itself and with `cascade sync`: those that `CASCADE_ENV` names, deliver it, or that it runs `after`. By its name it always runs. |
        ");
    }

    #[test]
    fn reference_lists_the_keys_of_records() {
        insta::assert_snapshot!(lines_where(is_of_records), @"
        | `syncs.<name>.from.records.files` | text | none | A file, all `*.json`, `*.ndjson` and `*.jsonl` below a directory, or the files that a name with `*` fits; from the top of the checkout where it does not begin with `/`. |
        | `syncs.<name>.from.records.command` | text | none | A command for `sh`, run at the top of the checkout, that prints records. |
        | `syncs.<name>.from.records.url` | text | none | An address that answers with records; where it answers in pages, each names the next in a `Link` header (`rel=\"next\"`), or where `next` says. |
        | `syncs.<name>.from.records.items` | text | the text is the array, or has one record after the other | Where the array of records is within a text or an answer, as a JSON pointer like `/data`. |
        | `syncs.<name>.from.records.next` | text | the `Link` header | Where an answer of `url` has the address of the next page, as a JSON pointer like `/links/next`. |
        | `syncs.<name>.from.records.table` | text | none | A table of the store. |
        | `syncs.<name>.from.records.id` | text | `id` | The field that names a record: a text or a number, one of its own for each. |
        | `syncs.<name>.from.records.ignore` | list of text | none | Fields that take no part. |
        | `syncs.<name>.from.records.schema` | text | none | File with a JSON Schema that every record must fit; others are set aside. |
        | `syncs.<name>.from.records.max_record` | size | `16MiB` | Longer records are set aside; up to 256MiB. |
        | `syncs.<name>.from.records.max_answer` | size | `10GiB` | The most that `command` may print, or `url` answer on all its pages; with more nothing is done. |
        | `syncs.<name>.from.records.headers` | list of text | none | Headers that `url` is asked with, like `Authorization: Bearer ${TOKEN}`. |
        | `syncs.<name>.from.records.env` | list of text | none | Variables that `command` gets although they are withheld, from the environment or `.env`. |
        | `syncs.<name>.from.records.timeout` | duration | `5m` | How long `command`, or one request to `url`, may take. |
        | `syncs.<name>.to.records.file` | text | none | A file with an array of records, or a record on each line where its name ends with `.ndjson` or `.jsonl`; from the top of the checkout where it does not begin with `/`. |
        | `syncs.<name>.to.records.table` | text | none | A table of the store, where every revision of a record is kept (`cascade records`). |
        | `syncs.<name>.to.records.url` | text | none | An address that answers with all records, as `from.records.url`; a record is read and written below it. |
        | `syncs.<name>.to.records.items` | text | the answer is the array | Where the array of records is within that answer, as `from.records.items`. |
        | `syncs.<name>.to.records.next` | text | the `Link` header | Where that answer has the address of the next page, as `from.records.next`. |
        | `syncs.<name>.to.records.item` | text | the answer is the record | Where the record is within the answer of `read`, as a JSON pointer. |
        | `syncs.<name>.to.records.headers` | list of text | none | Headers of every request to `url`, like `Authorization: Bearer ${TOKEN}`; one with `{id}` or `{FIELD}` goes only with what writes or deletes a record. |
        | `syncs.<name>.to.records.body` | any | the record | What `create` and `update` send, as JSON in which the text `{record}` stands for the record, `{id}` for its id and `{FIELD}` for a field. |
        | `syncs.<name>.to.records.ignore` | list of text | none | Fields that the API sets by itself: they take no part. |
        | `syncs.<name>.to.records.read` | text | `GET /{id}` | How a record is read, as method and path behind `url`; `{id}` stands for its id. |
        | `syncs.<name>.to.records.create` | text | `POST` | How a new record is written; `{FIELD}` stands for a field of it, here and in `update` and `delete`. |
        | `syncs.<name>.to.records.update` | text | `PUT /{id}` | How a record is replaced. |
        | `syncs.<name>.to.records.delete` | text | `DELETE /{id}` | How a record is deleted. |
        | `syncs.<name>.to.records.parallel` | number | `4` | Requests at the same time, 64 at most. |
        | `syncs.<name>.to.records.timeout` | duration | `1m` | How long one request may take. |
        ");
    }

    #[test]
    fn reference_lists_the_keys_of_alerts() {
        insta::assert_snapshot!(lines_where(is_of_alerts), @"
        | `notify` | keys | see below | Who is told about what. |
        | `notify.desktop` | true, false | `true` | Show desktop notifications where a notification service runs. |
        | `notify.on` | list of `promoted`, `awaiting_approval`, `failed`, `rolled_back`, `paused`, `save_failed`, `secret_found`, `conflict`, `health` | all of them | Events that are worth an alert, on every channel that has no list of its own. |
        | `notify.webhook` | keys | nowhere | Where alerts are posted to, as JSON. |
        | `notify.webhook.url` | text | required | URL that alerts are posted to; nothing is posted where its variables make it empty, as `${CASCADE_WEBHOOK:-}` may. |
        | `notify.webhook.secret` | text | nothing is signed | Key that signs what is posted, by the Standard Webhooks specification: `whsec_` and 24 to 64 bytes in base64. It must come from a variable; where that is empty, nothing is signed. |
        | `notify.webhook.on` | list of `promoted`, `awaiting_approval`, `failed`, `rolled_back`, `paused`, `save_failed`, `secret_found`, `conflict`, `health` | those of `notify.on` | Events that are posted. |
        | `notify.webhook.timeout` | duration | `10s` | How long one attempt may take, `1m` at most. |
        | `notify.email` | keys | nobody | Who gets alerts by e-mail. |
        | `notify.email.smtp` | text | required | Mail server: `smtps://user:${SMTP_PASSWORD}@host:465`, or `smtp://…:587` for STARTTLS, which must work then. The password must come from a variable; nothing is sent where variables make all of it empty. |
        | `notify.email.from` | text | required | Address that messages come from, like `cascade <cascade@example.org>`. |
        | `notify.email.to` | list of text | required | Addresses that messages go to, 50 at most. |
        | `notify.email.tls` | `required`, `off` | `required` | Whether the connection must be encrypted; `off` is for mail servers on this very machine. |
        | `notify.email.on` | list of `promoted`, `awaiting_approval`, `failed`, `rolled_back`, `paused`, `save_failed`, `secret_found`, `conflict`, `health` | those of `notify.on` | Events that are mailed. |
        | `notify.email.timeout` | duration | `10s` | How long one attempt may take, `1m` at most. |
        ");
    }

    #[test]
    fn schema_names_itself_and_its_dialect() {
        let schema = schema();
        assert_eq!(schema["title"], "cascade-sync.yaml");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn every_key_has_a_meaning() {
        for entry in reference() {
            assert!(!entry.description.is_empty(), "{}", entry.key);
        }
    }
}
