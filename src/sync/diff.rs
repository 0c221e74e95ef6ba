//! What is the matter with one key: the decision table of the three-way comparison. Pure.

use crate::endpoint::Version;

/// What is the matter with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Both sides are as they were agreed, or nobody has it any more and nothing was agreed.
    Unchanged,
    /// The source has it, and the target never had.
    Create,
    /// The source changed it, and the target is as it was agreed.
    Update,
    /// The source deleted it, and the target is as it was agreed.
    Delete,
    /// Only the target has it: it did not come from here.
    Extra,
    /// Both sides have come to the same by themselves.
    Converged,
    /// Both sides deleted it.
    Forgotten,
    /// The target was changed by somebody else; the source is as it was agreed.
    Drift(Touch),
    /// Both sides were changed, in different ways.
    Conflict(Touch),
}

/// What somebody else did at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// They put something there of their own.
    Added,
    /// They changed it.
    Changed,
    /// They deleted it.
    Deleted,
    /// They put something on its way below which nothing can be.
    Barred,
}

/// What both sides had under a key when they were last brought together: the same, unless a person let them differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreed {
    /// What the source had.
    pub source: Option<Version>,
    /// What the target had.
    pub target: Option<Version>,
}

impl Agreed {
    /// Both had the same.
    #[must_use]
    pub fn both(version: Version) -> Self {
        Self { source: Some(version), target: Some(version) }
    }
}

/// Judges what stands under a key.
#[must_use]
pub fn judge(source: Option<Version>, agreed: Agreed, target: Option<Version>) -> Finding {
    let is_new = agreed == Agreed::default();
    match (source != agreed.source, target != agreed.target) {
        (false, false) => Finding::Unchanged,
        _ if source.is_none() && target.is_none() => Finding::Forgotten,
        _ if source == target => Finding::Converged,
        (true, false) if source.is_none() => Finding::Delete,
        (true, false) if target.is_none() => Finding::Create,
        (true, false) => Finding::Update,
        (false, true) if is_new => Finding::Extra,
        (false, true) => Finding::Drift(touched(agreed, target)),
        (true, true) => Finding::Conflict(touched(agreed, target)),
    }
}

fn touched(agreed: Agreed, target: Option<Version>) -> Touch {
    match (agreed.target, target) {
        (_, None) => Touch::Deleted,
        (None, Some(_)) => Touch::Added,
        (Some(_), Some(_)) => Touch::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::endpoint::Form;

    fn version(content: u8) -> Version {
        Version { digest: Digest::of(&[content]), form: Form::File { executable: false }, size: 1 }
    }

    /// The whole table: `-` is nothing there, equal letters equal versions.
    #[test]
    fn every_case_of_the_table_is_decided() {
        use Finding::*;
        let side = |letter: u8| (letter != b'-').then(|| version(letter));
        for (sides, expected) in [
            ("---", Unchanged),
            ("--a", Extra),
            ("a--", Create),
            ("a-a", Converged),
            ("a-b", Conflict(Touch::Added)),
            ("-a-", Forgotten),
            ("-aa", Delete),
            ("-ab", Conflict(Touch::Changed)),
            ("aa-", Drift(Touch::Deleted)),
            ("ba-", Conflict(Touch::Deleted)),
            ("aaa", Unchanged),
            ("baa", Update),
            ("aab", Drift(Touch::Changed)),
            ("bab", Converged),
            ("bac", Conflict(Touch::Changed)),
        ] {
            let [source, baseline, target] = [0, 1, 2].map(|at| side(sides.as_bytes()[at]));
            let agreed = baseline.map(Agreed::both).unwrap_or_default();
            assert_eq!(judge(source, agreed, target), expected, "{sides}");
        }
    }

    /// Source now, what was let be at the source and at the target, target now.
    #[test]
    fn sides_that_a_person_let_differ_rest_until_one_of_them_moves() {
        use Finding::*;
        let side = |letter: u8| (letter != b'-').then(|| version(letter));
        for (sides, expected) in [
            ("aabb", Unchanged),
            ("cabb", Update),
            ("babb", Converged),
            ("aabc", Drift(Touch::Changed)),
            ("aab-", Drift(Touch::Deleted)),
            ("-abb", Delete),
            ("cabd", Conflict(Touch::Changed)),
            ("aa--", Unchanged),
            ("ca--", Create),
            ("aa-b", Drift(Touch::Added)),
            ("-a--", Forgotten),
            ("--bb", Unchanged),
            ("--bc", Drift(Touch::Changed)),
            ("--b-", Forgotten),
            ("c-bb", Update),
        ] {
            let [source, here, there, target] = [0, 1, 2, 3].map(|at| side(sides.as_bytes()[at]));
            assert_eq!(judge(source, Agreed { source: here, target: there }, target), expected, "{sides}");
        }
    }

    #[test]
    fn another_form_is_another_version() {
        let link = Version { form: Form::Link, ..version(1) };
        assert_eq!(judge(Some(link), Agreed::both(version(1)), Some(version(1))), Finding::Update);
    }
}
