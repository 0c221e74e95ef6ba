//! Plans that are written down, to be looked at and carried out later exactly as they are. Pure.

use serde::{Deserialize, Serialize};

use super::plan::Action;
use super::walk::Found;
use crate::base::digest::Digest;
use crate::endpoint::{Form, Key, Version};

/// The version of the format.
const FORMAT: u32 = 1;

/// A plan as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    /// Version of this format.
    format: u32,
    /// The sync.
    pub sync: String,
    /// Between which endpoints.
    pub endpoints: String,
    /// What had been agreed on when the plan was made; it fits nothing else.
    pub serial: i64,
    /// What is done, in order.
    actions: Vec<SavedAction>,
    /// SHA-256 of everything else.
    hash: String,
}

/// Why a written plan is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no plan, or one of another version.
    #[error("it is no plan of this version of cascade: {0}")]
    NoPlan(String),
    /// It is not as it was written.
    #[error("it was changed after it was written")]
    Changed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedAction {
    action: Verb,
    key: SavedKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<SavedVersion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<SavedVersion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Create,
    Update,
    Delete,
    Adopt,
    Forget,
}

/// A key: text where it is text, else its bytes in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum SavedKey {
    Text(String),
    Bytes { hex: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedVersion {
    sha256: String,
    bytes: u64,
    form: SavedForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedForm {
    File,
    Program,
    Link,
}

impl SavedPlan {
    /// Writes a plan down.
    #[must_use]
    pub fn new(sync: String, endpoints: String, serial: i64, actions: &[Action]) -> Self {
        let actions = actions.iter().map(saved).collect();
        let plan = Self { format: FORMAT, sync, endpoints, serial, actions, hash: String::new() };
        Self { hash: plan.digest(), ..plan }
    }

    /// Answers the text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        // A plan is made of text and numbers, which always have a JSON form.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// Reads what [`SavedPlan::to_text`] wrote.
    ///
    /// # Errors
    /// It did not, or somebody changed it since.
    pub fn from_text(text: &[u8]) -> Result<Self, Unfit> {
        let plan: Self = serde_json::from_slice(text).map_err(|problem| Unfit::NoPlan(problem.to_string()))?;
        match plan.format {
            FORMAT if plan.hash == plan.digest() => Ok(plan),
            FORMAT => Err(Unfit::Changed),
            other => Err(Unfit::NoPlan(format!("its format is {other}"))),
        }
    }

    /// Answers the actions, in order.
    ///
    /// # Errors
    /// One of them is none.
    pub fn actions(&self) -> Result<Vec<Action>, Unfit> {
        let malformed = || Unfit::NoPlan("an action is malformed".to_owned());
        self.actions.iter().map(|saved| action(saved).ok_or_else(malformed)).collect()
    }

    fn digest(&self) -> String {
        let bare = Self { hash: String::new(), ..self.clone() };
        Digest::of(&serde_json::to_vec(&bare).unwrap_or_default()).to_string()
    }
}

fn saved(action: &Action) -> SavedAction {
    let (verb, from, to) = match action {
        Action::Create { to, .. } => (Verb::Create, None, Some(to)),
        Action::Replace { from, to, .. } => (Verb::Update, Some(from), Some(to)),
        Action::Delete { from, .. } => (Verb::Delete, Some(from), None),
        Action::Adopt { version, .. } => (Verb::Adopt, Some(version), Some(version)),
        Action::Forget { .. } => (Verb::Forget, None, None),
    };
    let key = match std::str::from_utf8(action.key().as_bytes()) {
        Ok(text) => SavedKey::Text(text.to_owned()),
        Err(_) => SavedKey::Bytes { hex: hex(action.key().as_bytes()) },
    };
    SavedAction { action: verb, key, from: from.map(saved_version), to: to.map(saved_version) }
}

fn action(saved: &SavedAction) -> Option<Action> {
    let key = match &saved.key {
        SavedKey::Text(text) => text.clone().into_bytes(),
        SavedKey::Bytes { hex } => unhex(hex)?,
    };
    let key = Key::new(key).ok()?;
    let known = |side: &Option<SavedVersion>| match side {
        Some(side) => version(side).map(Some),
        None => Some(None),
    };
    let (from, to) = (known(&saved.from)?, known(&saved.to)?);
    match (saved.action, from, to) {
        (Verb::Create, None, Some(to)) => Some(Action::Create { key, to }),
        (Verb::Update, Some(from), Some(to)) => Some(Action::Replace { key, from, to }),
        (Verb::Delete, Some(from), None) => Some(Action::Delete { key, from }),
        (Verb::Adopt, Some(from), Some(version)) if from == version => Some(Action::Adopt { key, version }),
        (Verb::Forget, None, None) => Some(Action::Forget { key }),
        _ => None,
    }
}

fn saved_version(version: &Version) -> SavedVersion {
    let form = match version.form {
        Form::File { executable: false } => SavedForm::File,
        Form::File { executable: true } => SavedForm::Program,
        Form::Link => SavedForm::Link,
    };
    SavedVersion { sha256: version.digest.to_string(), bytes: version.size, form }
}

fn version(saved: &SavedVersion) -> Option<Version> {
    let digest: [u8; 32] = unhex(&saved.sha256)?.try_into().ok()?;
    let form = match saved.form {
        SavedForm::File => Form::File { executable: false },
        SavedForm::Program => Form::File { executable: true },
        SavedForm::Link => Form::Link,
    };
    Some(Version { digest: Digest::from_bytes(digest), form, size: saved.bytes })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

/// What is left of a planned action now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Now {
    /// Exactly this.
    Do(Action),
    /// Nothing: what it expected is not so, for this reason.
    Stale(&'static str),
}

/// Answers what a planned action comes to where this is under its key; what is as it should be already is agreed on.
#[must_use]
pub fn fitting(action: Action, found: Option<&Found>) -> Now {
    let version = |known: &Option<crate::endpoint::Known>| known.as_ref().map(|known| known.version);
    // What is as it was agreed is not what any action was planned for.
    let Some(found) = found else { return Now::Stale("is again as it was agreed, and the plan expects it otherwise") };
    let (source, target) = (version(&found.source), version(&found.target));
    let (from, to) = match &action {
        Action::Create { to, .. } => (None, Some(*to)),
        Action::Replace { from, to, .. } => (Some(*from), Some(*to)),
        Action::Delete { from, .. } => (Some(*from), None),
        Action::Adopt { version, .. } => (Some(*version), Some(*version)),
        Action::Forget { .. } => (None, None),
    };
    let key = action.key().clone();
    match (source == to, target == from, target == to) {
        (true, true, _) => Now::Do(action),
        (true, false, true) => Now::Do(match to {
            Some(version) => Action::Adopt { key, version },
            None => Action::Forget { key },
        }),
        (false, ..) => Now::Stale("was changed at the source since the plan was made"),
        (true, false, false) => Now::Stale("was changed at the target since the plan was made"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::{Fingerprint, Known};
    use crate::sync::join::Row;

    fn any_version() -> impl Strategy<Value = Version> {
        let form = prop_oneof![
            Just(Form::Link),
            Just(Form::File { executable: true }),
            Just(Form::File { executable: false })
        ];
        (any::<u8>(), form, any::<u64>()).prop_map(|(content, form, size)| Version {
            digest: Digest::of(&[content]),
            form,
            size,
        })
    }

    fn any_action() -> impl Strategy<Value = Action> {
        let key = proptest::collection::vec(1_u8..=255, 1..9).prop_filter_map("a key", |bytes| Key::new(bytes).ok());
        (key, any_version(), any_version(), 0_u8..5).prop_map(|(key, from, to, kind)| match kind {
            0 => Action::Create { key, to },
            1 => Action::Replace { key, from, to },
            2 => Action::Delete { key, from },
            3 => Action::Adopt { key, version: to },
            _ => Action::Forget { key },
        })
    }

    fn plan(actions: &[Action]) -> SavedPlan {
        SavedPlan::new("site".to_owned(), "a → b".to_owned(), 7, actions)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_any_change_is_seen(
            actions in proptest::collection::vec(any_action(), 0..5), at in any::<usize>(), bit in 0_u8..7,
        ) {
            let text = plan(&actions).to_text();
            let read = SavedPlan::from_text(text.as_bytes()).unwrap();
            prop_assert_eq!(read.actions().unwrap(), actions.clone());
            let mut changed = text.clone().into_bytes();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            // What reads the same is the same.
            prop_assert!(SavedPlan::from_text(&changed).is_ok_and(|other| other == read) || SavedPlan::from_text(&changed).is_err());
        }

        #[test]
        fn an_action_is_done_only_where_everything_is_as_it_was_planned(
            action in any_action(),
            source in proptest::option::of(any_version()),
            target in proptest::option::of(any_version()),
        ) {
            let known = |version: Version| Known { version, fingerprint: Fingerprint { bytes: vec![], is_racy: true } };
            let row = Row { key: action.key().clone(), source: source.map(known), baseline: None, target: target.map(known) };
            match fitting(action.clone(), Some(&row)) {
                Now::Do(Action::Create { to, .. }) => prop_assert!(source == Some(to) && target.is_none()),
                Now::Do(Action::Replace { from, to, .. }) => prop_assert!(source == Some(to) && target == Some(from)),
                Now::Do(Action::Delete { from, .. }) => prop_assert!(source.is_none() && target == Some(from)),
                Now::Do(Action::Adopt { version, .. }) => prop_assert!(source == Some(version) && target == source),
                Now::Do(Action::Forget { .. }) => prop_assert!(source.is_none() && target.is_none()),
                Now::Stale(_) => {}
            }
            prop_assert!(matches!(fitting(action, None), Now::Stale(_)));
        }
    }

    #[test]
    fn a_plan_reads_like_this() {
        let key = Key::new(b"a\xff".to_vec()).unwrap();
        let to = Version { digest: Digest::of(b"x"), form: Form::File { executable: true }, size: 1 };
        let text = plan(&[Action::Create { key, to }]).to_text();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines.contains(&"\"action\": \"create\",") && lines.contains(&"\"hex\": \"61ff\""), "{text}");
        assert!(lines.contains(&"\"form\": \"program\"") && lines.contains(&"\"serial\": 7,"), "{text}");
        assert!(matches!(SavedPlan::from_text(b"{}"), Err(Unfit::NoPlan(_))));
        let other = text.replace("\"format\": 1", "\"format\": 2");
        assert!(matches!(SavedPlan::from_text(other.as_bytes()), Err(Unfit::NoPlan(_))));
        let other = text.replace("\"serial\": 7", "\"serial\": 8");
        assert_eq!(SavedPlan::from_text(other.as_bytes()), Err(Unfit::Changed));
    }
}
