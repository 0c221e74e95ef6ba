//! The commit message of a save: pure.

use std::fmt::Write as _;

use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::ByteSize;
use crate::git::{Change, ChangeKind};

/// Longest subject, in characters.
pub const SUBJECT_LIMIT_CHARS: usize = 72;
/// Most changes that the body lists.
pub const LISTED_LIMIT_CHANGES: usize = 50;
/// Longest name in the body, in characters.
const NAME_LIMIT_CHARS: usize = 300;

/// The trailer that names the batch of a save.
pub const BATCH_TRAILER: &str = "Cascade-Batch";

/// The trailer that names what a merge brought in.
pub const MERGED_TRAILER: &str = "Cascade-Merged";

/// Composes the message for `changes` of `project`, saved at `at_ms` (which tells equal batches apart).
///
/// Subject (at most [`SUBJECT_LIMIT_CHARS`]), a list of at most [`LISTED_LIMIT_CHANGES`], totals, and the trailer.
/// Names are escaped: besides line breaks there are no control characters.
#[must_use]
pub fn compose(project: &str, changes: &[Change], at_ms: i64) -> String {
    compose_with(&subject(changes), project, changes, at_ms)
}

/// Composes the message with another first line, which is escaped and cut to [`SUBJECT_LIMIT_CHARS`].
#[must_use]
pub fn compose_with(subject: &str, project: &str, changes: &[Change], at_ms: i64) -> String {
    let subject: String = shown(subject.as_bytes()).chars().take(SUBJECT_LIMIT_CHARS).collect();
    let mut text = format!("{subject}\n\n");
    for change in changes.iter().take(LISTED_LIMIT_CHANGES) {
        text.push_str(&listed(change));
    }
    if changes.len() > LISTED_LIMIT_CHANGES {
        text.push_str(&format!("and {} more\n", changes.len() - LISTED_LIMIT_CHANGES));
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{}\n\n{BATCH_TRAILER}: {}\n", totals(changes), batch_id(project, changes, at_ms));
    text
}

/// Answers the first line: what was done to how much, and as many names as fit.
#[must_use]
pub fn subject(changes: &[Change]) -> String {
    let verb = verb(changes);
    let names: Vec<String> = changes.iter().take(SUBJECT_LIMIT_CHARS).map(|change| shown(&change.path)).collect();
    match names.as_slice() {
        [] => "Save".to_owned(),
        [only] => fitted(&format!("{verb} "), only),
        _ => {
            let count = format!("{verb} {} files", changes.len());
            match common_directory(changes) {
                Some(directory) => fitted(&format!("{count} in "), &directory),
                None => with_names(&format!("{count}: "), &names, changes.len()),
            }
        }
    }
}

/// Composes the message of a merge with what others pushed as `theirs`; `lost` are the paths where their edits lost.
#[must_use]
pub fn compose_merge(remote: &str, branch: &str, theirs: ObjectId, lost: &[Vec<u8>]) -> String {
    let mut text = format!("Bring in {} from {}\n\n", theirs.short(), shown(format!("{remote}/{branch}").as_bytes()));
    if !lost.is_empty() {
        text.push_str("Both sides had changed these; what the sandbox has was kept:\n");
        for path in lost.iter().take(LISTED_LIMIT_CHANGES) {
            text.push_str(&format!("  {}\n", ending(&shown(path), NAME_LIMIT_CHARS)));
        }
        if lost.len() > LISTED_LIMIT_CHANGES {
            text.push_str(&format!("and {} more\n", lost.len() - LISTED_LIMIT_CHANGES));
        }
        text.push('\n');
    }
    text.push_str(&format!("{MERGED_TRAILER}: {theirs}\n"));
    text
}

fn verb(changes: &[Change]) -> &'static str {
    let all = |kind| changes.iter().all(|change| change.kind == kind);
    match () {
        () if all(ChangeKind::Added) => "Add",
        () if all(ChangeKind::Deleted) => "Delete",
        () if changes.len() == 1 => "Change",
        () => "Save",
    }
}

/// Answers the directory that all changes are below, with a slash; nothing when that is the top.
fn common_directory(changes: &[Change]) -> Option<String> {
    let directory = |path: &[u8]| path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let first = &changes.first()?.path;
    let mut common = &first[..directory(first)];
    for change in changes {
        while !change.path.starts_with(common) {
            common = &common[..directory(&common[..common.len() - 1])];
        }
    }
    (!common.is_empty()).then(|| shown(common))
}

fn with_names(start: &str, names: &[String], count: usize) -> String {
    let mut text = start.to_owned();
    for (index, name) in names.iter().enumerate() {
        let (glue, rest) = (if index == 0 { "" } else { ", " }, if index + 1 == count { "" } else { ", …" });
        if chars(&text) + chars(glue) + chars(name) + chars(rest) > SUBJECT_LIMIT_CHARS {
            return if index == 0 { fitted(start, name) } else { text + ", …" };
        }
        text = text + glue + name;
    }
    if names.len() < count { text + ", …" } else { text }
}

/// Puts `name` behind `start`; of one that is too long the end stays, for it tells more.
fn fitted(start: &str, name: &str) -> String {
    format!("{start}{}", ending(name, SUBJECT_LIMIT_CHARS.saturating_sub(chars(start))))
}

fn ending(name: &str, room: usize) -> String {
    let surplus = (chars(name) + 1).saturating_sub(room);
    if chars(name) <= room {
        name.to_owned()
    } else {
        std::iter::once('…').chain(name.chars().skip(surplus)).collect()
    }
}

fn listed(change: &Change) -> String {
    let name = ending(&shown(&change.path), NAME_LIMIT_CHARS);
    match change.kind {
        ChangeKind::Added => format!("A {name} ({})\n", size(change.bytes)),
        ChangeKind::Modified => format!("M {name} ({})\n", size(change.bytes)),
        ChangeKind::Deleted => format!("D {name}\n"),
        ChangeKind::ModeChanged => format!("M {name} (mode)\n"),
    }
}

fn totals(changes: &[Change]) -> String {
    let count = |wanted: &[ChangeKind]| changes.iter().filter(|change| wanted.contains(&change.kind)).count();
    let bytes = changes.iter().fold(0_u64, |sum, change| sum.saturating_add(change.bytes));
    format!(
        "{} added, {} modified, {} deleted; {}",
        count(&[ChangeKind::Added]),
        count(&[ChangeKind::Modified, ChangeKind::ModeChanged]),
        count(&[ChangeKind::Deleted]),
        size(bytes)
    )
}

/// Answers a size in the largest unit that it fills, cut to whole ones.
fn size(bytes: u64) -> String {
    let unit = [30, 20, 10].into_iter().find(|shift| bytes >> shift > 0).unwrap_or(0);
    let whole = ByteSize(bytes >> unit << unit);
    if unit == 0 { format!("{bytes} B") } else { whole.to_string() }
}

/// Answers the short name of a batch: what changed, where and when.
fn batch_id(project: &str, changes: &[Change], at_ms: i64) -> String {
    let mut content = format!("{project}\0{at_ms}\0").into_bytes();
    for change in changes {
        content.extend_from_slice(&change.path);
        content.push(0);
    }
    Digest::of(&content).short(8)
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(path: &[u8], kind: ChangeKind) -> Change {
        Change { path: path.to_vec(), kind, bytes: 1_536 }
    }

    fn check(changes: &[(&str, ChangeKind)], expected: &str) {
        let changes: Vec<Change> = changes.iter().map(|(path, kind)| change(path.as_bytes(), *kind)).collect();
        assert_eq!(subject(&changes), expected);
    }

    #[test]
    fn subject_says_what_was_done_to_which_files() {
        use ChangeKind::{Added, Deleted, Modified};
        check(&[("config/app.yaml", Added)], "Add config/app.yaml");
        check(&[("a", Modified)], "Change a");
        check(&[("docs/a", Deleted), ("docs/b/c", Deleted)], "Delete 2 files in docs/");
        check(&[("README.md", Modified), ("src/a.rs", Added)], "Save 2 files: README.md, src/a.rs");
        check(&[("a\nb", Added), ("c", Deleted)], "Save 2 files: a\\nb, c");
    }

    #[test]
    fn long_names_keep_their_ends() {
        let long = format!("{}/end.rs", "d".repeat(200));
        let text = subject(&[change(long.as_bytes(), ChangeKind::Added)]);
        assert!(text.starts_with("Add …") && text.ends_with("/end.rs"), "{text}");
        assert_eq!(text.chars().count(), SUBJECT_LIMIT_CHARS);
    }

    #[test]
    fn body_lists_changes_and_counts_the_rest() {
        let changes: Vec<Change> =
            (0..60).map(|number| change(format!("f{number}").as_bytes(), ChangeKind::Added)).collect();
        let text = compose("p", &changes, 1);
        assert!(text.contains("\nA f0 (1KiB)\n") && text.contains("\nand 10 more\n"), "{text}");
        assert!(text.contains("\n60 added, 0 modified, 0 deleted; 90KiB\n\nCascade-Batch: "), "{text}");
    }

    fn kind() -> impl Strategy<Value = ChangeKind> {
        use ChangeKind::{Added, Deleted, ModeChanged, Modified};
        prop::sample::select(vec![Added, Modified, Deleted, ModeChanged])
    }

    proptest! {
        #[test]
        fn any_names_make_a_valid_message(
            given in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), kind()), 0..80),
        ) {
            let changes: Vec<Change> = given.iter().map(|(path, kind)| change(path, *kind)).collect();
            let text = compose("p", &changes, 7);
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{}", text);
            let mut lines = text.lines();
            prop_assert!(lines.next().is_some_and(|line| !line.trim().is_empty() && chars(line) <= SUBJECT_LIMIT_CHARS));
            prop_assert_eq!(lines.next(), Some(""));
            prop_assert!(text.lines().last().is_some_and(|line| line.starts_with("Cascade-Batch: ")));
        }
    }
}
