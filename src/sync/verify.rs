//! Comparing all content of both sides, whatever anybody says cheaply.

use std::sync::Arc;

use serde::Serialize;

use super::compare::{Unknown, is_hidden, note_unlisted};
use super::diff::{Agreed, Finding, judge};
use super::error::Result;
use super::join::Row;
use super::plan::Policy;
use super::progress::Phase;
use super::report::Noted;
use super::run::{Sync, seconds, versions};
use super::walk::{Looked, Reading, Sides, Unread, walk};
use crate::config::{DeleteMode, OnDrift};
use crate::endpoint::{Form, Key, Version};

/// What a full comparison found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verification {
    /// The sync.
    pub sync: String,
    /// Where the content comes from.
    pub source: String,
    /// What should have the same.
    pub target: String,
    /// Items that both sides have, the same on both.
    pub same: usize,
    /// Items that differ and may: a person or `on_drift: keep` lets them.
    pub kept: usize,
    /// Items that the target lacks.
    pub missing: Vec<Noted>,
    /// Items that are something else at the target.
    pub mismatched: Vec<Noted>,
    /// Items that only the target has.
    pub extra: Vec<Noted>,
    /// Whether what only the target has should not be there (`delete: mirror`).
    pub extra_is_wrong: bool,
    /// What takes no part, for it is no item.
    pub skipped: Vec<Noted>,
    /// What could not be compared.
    pub failed: Vec<Noted>,
    /// Bytes of content that both sides have, the same on both.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Verification {
    /// Answers what is not as the source says.
    pub fn wrong(&self) -> impl Iterator<Item = &Noted> {
        let extra = if self.extra_is_wrong { &self.extra[..] } else { &[] };
        self.missing.iter().chain(&self.mismatched).chain(extra)
    }
}

/// What stands under a key, as far as the target should have what the source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nothing,
    Same,
    Kept,
    Missing,
    Mismatched,
    Extra,
}

/// Judges a key by what both sides have; what a person or the policy lets differ may.
fn stands(policy: &Policy, source: Option<Version>, agreed: Agreed, target: Option<Version>) -> Standing {
    let finding = judge(source, agreed, target);
    let is_let = finding == Finding::Unchanged
        || (policy.on_drift == OnDrift::Keep && matches!(finding, Finding::Drift(_) | Finding::Conflict(_)));
    match (source, target) {
        (None, None) => Standing::Nothing,
        (source, target) if source == target => Standing::Same,
        _ if is_let => Standing::Kept,
        (Some(_), None) => Standing::Missing,
        (None, Some(_)) => Standing::Extra,
        (Some(_), Some(_)) => Standing::Mismatched,
    }
}

/// Says how two versions differ.
fn difference(source: &Version, target: &Version) -> &'static str {
    match (source.form, target.form) {
        (Form::Link, Form::File { .. }) => "is a file, and at the source a link",
        (Form::File { .. }, Form::Link) => "is a link, and at the source a file",
        _ if source.digest != target.digest => "has other content",
        (Form::File { executable: true }, _) => "cannot be executed",
        _ => "can be executed",
    }
}

impl Sync {
    /// Reads all content of both sides and compares it; nothing is changed.
    ///
    /// # Errors
    /// An endpoint cannot be listed, or what the sync remembers cannot be read.
    pub async fn verify(&self) -> Result<Verification> {
        let started_at = self.clock.now();
        let (stored, is_fresh) = self.store.sync_baseline(&self.name, &self.endpoints()).await?;
        let words = self.words(is_fresh).await?;
        self.begin(Phase::Verifying, 0, 0);
        let sides = Sides { reading: Reading::Everything, ..self.sides(Some(Arc::clone(&self.source))) };
        let (mut found, mut unread) = (Compared::default(), Vec::new());
        let mut each = |looked| match looked {
            Looked::Found(row) => found.add(&self.policy, versions(&words.applied(*row))),
            Looked::Unread(one) => unread.push(one),
            // Here everything is read.
            Looked::New(item) => {
                unread.push(Unread { key: item.key, reason: "was not read".to_owned(), may_pass: true });
            }
        };
        let ended = walk(&sides, Arc::new(stored), &mut each).await?.ended;
        let Unknown { hiding, no_items, keys: hidden, .. } = note_unlisted(ended, &self.filter);
        let unread = unread.into_iter().filter(|one| !is_hidden(&hidden, &one.key));
        let unread = unread.map(|Unread { key, reason, .. }| Noted::new(&key, reason));
        let told = |keyed: Vec<(Key, &'static str)>| {
            let seen = keyed.into_iter().filter(|(key, _)| !is_hidden(&hidden, key));
            seen.map(|(key, reason)| Noted::new(&key, reason)).collect()
        };
        Ok(Verification {
            sync: self.name.clone(),
            source: self.source.place(),
            target: self.target.place(),
            same: found.same,
            kept: found.kept,
            missing: told(found.missing),
            mismatched: told(found.mismatched),
            extra: told(found.extra),
            extra_is_wrong: self.policy.delete == DeleteMode::Mirror,
            failed: hiding.into_iter().chain(unread).collect(),
            skipped: no_items,
            bytes: found.bytes,
            seconds: seconds(started_at, self.clock.now()),
        })
    }
}

/// What was compared so far.
#[derive(Debug, Default)]
struct Compared {
    same: usize,
    kept: usize,
    bytes: u64,
    missing: Vec<(Key, &'static str)>,
    mismatched: Vec<(Key, &'static str)>,
    extra: Vec<(Key, &'static str)>,
}

impl Compared {
    fn add(&mut self, policy: &Policy, row: Row<Version, Agreed, Version>) {
        let Row { key, source, baseline, target } = row;
        match stands(policy, source, baseline.unwrap_or_default(), target) {
            Standing::Nothing => {}
            Standing::Same => {
                self.same += 1;
                self.bytes += target.map_or(0, |version| version.size);
            }
            Standing::Kept => self.kept += 1,
            Standing::Missing => self.missing.push((key, "is not at the target")),
            Standing::Extra => self.extra.push((key, "is only at the target")),
            Standing::Mismatched => {
                let how = source.zip(target).map_or("differs", |(source, target)| difference(&source, &target));
                self.mismatched.push((key, how));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::digest::Digest;

    fn version(content: u8) -> Version {
        Version { digest: Digest::of(&[content]), form: Form::File { executable: false }, size: 1 }
    }

    fn policy(on_drift: OnDrift) -> Policy {
        Policy { on_drift, delete: DeleteMode::Tracked, max_delete: 1.0 }
    }

    /// Source, what was agreed at the source and at the target, target: `-` is nothing there.
    #[test]
    fn only_what_was_let_differ_may_differ() {
        use Standing::*;
        let side = |letter: u8| (letter != b'-').then(|| version(letter));
        for (sides, flagging, keeping) in [
            ("----", Nothing, Nothing),
            ("aaaa", Same, Same),
            ("b--b", Same, Same),
            ("aaa-", Missing, Kept),
            ("a---", Missing, Missing),
            ("---a", Extra, Extra),
            ("-aaa", Extra, Extra),
            ("aaab", Mismatched, Kept),
            ("baaa", Mismatched, Mismatched),
            ("aabb", Kept, Kept),
            ("aab-", Missing, Kept),
            ("aa--", Kept, Kept),
            ("--bb", Kept, Kept),
            ("cabb", Mismatched, Mismatched),
        ] {
            let [source, here, there, target] = [0, 1, 2, 3].map(|at| side(sides.as_bytes()[at]));
            let agreed = Agreed { source: here, target: there };
            assert_eq!(stands(&policy(OnDrift::Flag), source, agreed, target), flagging, "{sides}");
            assert_eq!(stands(&policy(OnDrift::Keep), source, agreed, target), keeping, "{sides}");
        }
    }

    proptest! {
        #[test]
        fn what_differs_and_was_never_let_differ_is_never_passed_over(
            source in proptest::option::of(0_u8..3),
            agreed in proptest::option::of(0_u8..3),
            target in proptest::option::of(0_u8..3),
        ) {
            let agreed = agreed.map(|content| Agreed::both(version(content))).unwrap_or_default();
            let standing = stands(&policy(OnDrift::Flag), source.map(version), agreed, target.map(version));
            let is_told = matches!(standing, Standing::Missing | Standing::Mismatched | Standing::Extra);
            prop_assert_eq!(is_told, source != target);
        }
    }
}
