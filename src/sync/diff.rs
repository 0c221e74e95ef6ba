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
}

/// Judges what stands under a key.
#[must_use]
pub fn judge(source: Option<Version>, baseline: Option<Version>, target: Option<Version>) -> Finding {
    match (source, baseline, target) {
        (None, None, None) => Finding::Unchanged,
        (None, None, Some(_)) => Finding::Extra,
        (Some(_), None, None) => Finding::Create,
        (Some(here), None, Some(there)) if here == there => Finding::Converged,
        (Some(_), None, Some(_)) => Finding::Conflict(Touch::Added),
        (None, Some(_), None) => Finding::Forgotten,
        (None, Some(agreed), Some(there)) if agreed == there => Finding::Delete,
        (None, Some(_), Some(_)) => Finding::Conflict(Touch::Changed),
        (Some(here), Some(agreed), None) if here == agreed => Finding::Drift(Touch::Deleted),
        (Some(_), Some(_), None) => Finding::Conflict(Touch::Deleted),
        (Some(here), Some(agreed), Some(there)) => match (here == agreed, there == agreed) {
            (true, true) => Finding::Unchanged,
            (false, true) => Finding::Update,
            (true, false) => Finding::Drift(Touch::Changed),
            (false, false) if here == there => Finding::Converged,
            (false, false) => Finding::Conflict(Touch::Changed),
        },
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
            assert_eq!(judge(source, baseline, target), expected, "{sides}");
        }
    }

    #[test]
    fn another_form_is_another_version() {
        let link = Version { form: Form::Link, ..version(1) };
        assert_eq!(judge(Some(link), Some(version(1)), Some(version(1))), Finding::Update);
    }
}
