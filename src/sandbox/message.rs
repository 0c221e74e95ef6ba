//! The commit message of a save: pure.

use std::fmt::Write as _;

use crate::base::Timestamp;
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::base::units::ByteSize;
use crate::config::message::Part;
use crate::config::{MessageTemplate, Placeholder};
use crate::git::{Change, ChangeKind};

/// Longest subject, in characters.
pub const SUBJECT_LIMIT_CHARS: usize = 72;
/// Most changes that the body lists.
pub const LISTED_LIMIT_CHANGES: usize = 50;
/// Longest name in the body, in characters.
const NAME_LIMIT_CHARS: usize = 300;
/// A subject within a template gets this much at least, before the whole line is cut.
const SHORTEST_SUBJECT_CHARS: usize = 24;
/// Below this line git takes a message for ended.
const SCISSORS: &str = "------------------------ >8 ------------------------";

/// The trailer that names the batch of a save.
pub const BATCH_TRAILER: &str = "Cascade-Batch";

/// The trailer that names what a merge brought in.
pub const MERGED_TRAILER: &str = "Cascade-Merged";

/// What a message can tell.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The sandbox's branch.
    pub branch: &'a str,
    /// What is saved.
    pub changes: &'a [Change],
    /// When; it tells equal batches apart.
    pub at: Timestamp,
}

/// Composes a message: subject, body and the trailer that names the batch.
///
/// `summary` takes the place of the usual subject, `template` says where it stands and what else is there; the first
/// line of the message has at most [`SUBJECT_LIMIT_CHARS`] and is never empty. Without a template, or with one of a
/// single line, the body is a list of at most [`LISTED_LIMIT_CHANGES`] and totals. Names and texts are escaped: besides
/// line breaks there are no control characters. Git finds the trailer whatever stands above it.
#[must_use]
pub fn compose(facts: &Facts<'_>, template: Option<&MessageTemplate>, summary: Option<&str>) -> String {
    let line = template.map_or_else(
        || summary_within(facts, summary, SUBJECT_LIMIT_CHARS),
        |template| subject_of(facts, template, summary),
    );
    let line = if line.trim().is_empty() { subject(facts.changes) } else { line };
    let body = template.map(|template| body_of(facts, template, summary)).unwrap_or_default();
    let body = if body.trim().is_empty() { usual_body(facts.changes) } else { body };
    // A person's own trailers and ours are one block.
    let gap = if ends_with_trailers(&body) { "\n" } else { "\n\n" };
    format!(
        "{}\n\n{}{gap}{BATCH_TRAILER}: {}\n",
        cut(&harmless(line.trim()), SUBJECT_LIMIT_CHARS),
        body,
        batch_id(facts)
    )
}

/// Answers the usual first line: what was done to how much, and as many names as fit.
#[must_use]
pub fn subject(changes: &[Change]) -> String {
    subject_within(changes, SUBJECT_LIMIT_CHARS)
}

fn subject_within(changes: &[Change], room: usize) -> String {
    let verb = verb(changes);
    let names: Vec<String> = changes.iter().take(SUBJECT_LIMIT_CHARS).map(|change| shown(&change.path)).collect();
    match names.as_slice() {
        [] => "Save".to_owned(),
        [only] => fitted(&format!("{verb} "), only, room),
        _ => {
            let count = format!("{verb} {} files", changes.len());
            match common_directory(changes) {
                Some(directory) => fitted(&format!("{count} in "), &directory, room),
                None => with_names(&format!("{count}: "), &names, changes.len(), room),
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

/// Composes the message of a merge that brings what an environment has at `theirs` back into the sandbox's branch.
#[must_use]
pub fn compose_back_merge(environment: &str, branch: &str, theirs: ObjectId) -> String {
    let branch = shown(branch.as_bytes());
    format!("Bring {environment} at {} back into {branch}\n\n{MERGED_TRAILER}: {theirs}\n", theirs.short())
}

fn summary_within(facts: &Facts<'_>, summary: Option<&str>, room: usize) -> String {
    let summary = summary.map(|text| shown(text.as_bytes())).filter(|text| !text.trim().is_empty());
    summary.map_or_else(|| subject_within(facts.changes, room), |text| cut(text.trim(), room))
}

/// Fills in the first line; what is said of the changes gets the room that the rest of it leaves.
fn subject_of(facts: &Facts<'_>, template: &MessageTemplate, summary: Option<&str>) -> String {
    let fill = |subject: &str| -> String {
        let parts = template.subject().iter().map(|part| match part {
            Part::Text(text) => shown(text.as_bytes()),
            Part::Placeholder(Placeholder::Subject) => subject.to_owned(),
            Part::Placeholder(other) => value(facts, *other).replace('\n', ", "),
        });
        parts.collect()
    };
    let room = SUBJECT_LIMIT_CHARS.saturating_sub(chars(fill("").trim())).max(SHORTEST_SUBJECT_CHARS);
    fill(&summary_within(facts, summary, room))
}

fn body_of(facts: &Facts<'_>, template: &MessageTemplate, summary: Option<&str>) -> String {
    let parts = template.body().iter().map(|part| match part {
        Part::Text(text) => text.split('\n').map(|line| shown(line.as_bytes())).collect::<Vec<_>>().join("\n"),
        Part::Placeholder(Placeholder::Subject) => summary_within(facts, summary, SUBJECT_LIMIT_CHARS),
        Part::Placeholder(other) => value(facts, *other),
    });
    let text = parts.collect::<String>();
    text.trim().split('\n').map(|line| harmless(line.trim_end())).collect::<Vec<_>>().join("\n")
}

fn value(facts: &Facts<'_>, placeholder: Placeholder) -> String {
    let changes = facts.changes;
    match placeholder {
        Placeholder::Subject => subject(changes),
        Placeholder::Verb => verb(changes).to_owned(),
        Placeholder::Count => changes.len().to_string(),
        Placeholder::Files => files(changes),
        Placeholder::Changes => list(changes).trim_end().to_owned(),
        Placeholder::Added => count(changes, &[ChangeKind::Added]).to_string(),
        Placeholder::Modified => count(changes, &[ChangeKind::Modified, ChangeKind::ModeChanged]).to_string(),
        Placeholder::Deleted => count(changes, &[ChangeKind::Deleted]).to_string(),
        Placeholder::Directory => common_directory(changes).unwrap_or_else(|| "./".to_owned()),
        Placeholder::Totals => totals(changes),
        Placeholder::Project => shown(facts.project.as_bytes()),
        Placeholder::Branch => shown(facts.branch.as_bytes()),
        Placeholder::Date => facts.at.strftime("%Y-%m-%d").to_string(),
        Placeholder::Time => facts.at.strftime("%H:%M:%S").to_string(),
    }
}

fn files(changes: &[Change]) -> String {
    let listed = changes.iter().take(LISTED_LIMIT_CHANGES);
    let names: Vec<String> = listed.map(|change| ending(&shown(&change.path), NAME_LIMIT_CHARS)).collect();
    let rest = if changes.len() > names.len() { ", …" } else { "" };
    names.join(", ") + rest
}

fn usual_body(changes: &[Change]) -> String {
    format!("{}\n{}", list(changes), totals(changes))
}

fn list(changes: &[Change]) -> String {
    let mut text: String = changes.iter().take(LISTED_LIMIT_CHANGES).map(listed).collect();
    if changes.len() > LISTED_LIMIT_CHANGES {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "and {} more", changes.len() - LISTED_LIMIT_CHANGES);
    }
    text
}

/// Moves away from the start of its line what git takes for the end of a message.
fn harmless(line: &str) -> String {
    let is_divider = line.strip_prefix("---").is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace));
    if is_divider || line.contains(SCISSORS) { format!(" {line}") } else { line.to_owned() }
}

/// Answers whether the last paragraph is made of trailers (`Key: value`).
fn ends_with_trailers(body: &str) -> bool {
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_trailer = |line: &str| line.split_once(": ").is_some_and(|(key, _)| is_key(key));
    body.rsplit("\n\n").next().is_some_and(|last| last.lines().all(is_trailer))
}

/// Shortens a line to `room` characters, with a sign that there was more.
fn cut(line: &str, room: usize) -> String {
    if chars(line) <= room {
        return line.to_owned();
    }
    let start: String = line.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", start.trim_end())
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

fn with_names(start: &str, names: &[String], count: usize, room: usize) -> String {
    let mut text = start.to_owned();
    for (index, name) in names.iter().enumerate() {
        let (glue, rest) = (if index == 0 { "" } else { ", " }, if index + 1 == count { "" } else { ", …" });
        if chars(&text) + chars(glue) + chars(name) + chars(rest) > room {
            return if index == 0 { fitted(start, name, room) } else { text + ", …" };
        }
        text = text + glue + name;
    }
    if names.len() < count { text + ", …" } else { text }
}

/// Puts `name` behind `start`; of one that is too long the end stays, for it tells more.
fn fitted(start: &str, name: &str, room: usize) -> String {
    format!("{start}{}", ending(name, room.saturating_sub(chars(start))))
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

fn count(changes: &[Change], wanted: &[ChangeKind]) -> usize {
    changes.iter().filter(|change| wanted.contains(&change.kind)).count()
}

fn totals(changes: &[Change]) -> String {
    let count = |wanted: &[ChangeKind]| count(changes, wanted);
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
fn batch_id(facts: &Facts<'_>) -> String {
    let mut content = format!("{}\0{}\0", facts.project, facts.at.as_millisecond()).into_bytes();
    for change in facts.changes {
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

    fn facts(changes: &[Change]) -> Facts<'_> {
        Facts { project: "shop", branch: "develop", changes, at: Timestamp::from_second(1_769_868_309).unwrap() }
    }

    #[track_caller]
    fn check_template(template: &str, summary: Option<&str>, changes: &[(&[u8], ChangeKind)], expected: &str) {
        let changes: Vec<Change> = changes.iter().map(|(path, kind)| change(path, *kind)).collect();
        let text = compose(&facts(&changes), Some(&template.parse().unwrap()), summary);
        let (message, id) = text.trim_end().rsplit_once(' ').unwrap();
        assert_eq!((message, id.len()), (expected, 8));
    }

    #[track_caller]
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
        let text = compose(&facts(&changes), None, None);
        assert!(text.contains("\nA f0 (1KiB)\n") && text.contains("\nand 10 more\n"), "{text}");
        assert!(text.contains("\n60 added, 0 modified, 0 deleted; 90KiB\n\nCascade-Batch: "), "{text}");
    }

    #[test]
    fn template_of_one_line_shapes_the_subject_and_keeps_the_body() {
        check_template(
            "[{project}/{branch}] {verb} {count} {{x}} {subject}",
            None,
            &[(b"src/a", ChangeKind::Added)],
            "[shop/develop] Add 1 {x} Add src/a\n\nA src/a (1KiB)\n\n1 added, 0 modified, 0 deleted; 1KiB\n\nCascade-Batch:",
        );
    }

    #[test]
    fn template_of_many_lines_is_the_whole_message() {
        check_template(
            "{files} in {directory}\n{added}/{modified}/{deleted}\n{changes}\n\n{date}T{time}",
            None,
            &[(b"d/a", ChangeKind::Added), (b"d/b", ChangeKind::Deleted)],
            "d/a, d/b in d/\n\n1/0/1\nA d/a (1KiB)\nD d/b\n\n2026-01-31T14:05:09\n\nCascade-Batch:",
        );
    }

    #[test]
    fn own_trailers_and_the_batch_are_one_block() {
        check_template(
            "{subject}\n\n{totals}\n\nSigned-off-by: Ada <ada@example.test>",
            None,
            &[(b"a", ChangeKind::Deleted)],
            "Delete a\n\n0 added, 0 modified, 1 deleted; 1KiB\n\nSigned-off-by: Ada <ada@example.test>\nCascade-Batch:",
        );
    }

    #[test]
    fn summary_is_the_subject_within_the_template() {
        let changes: &[(&[u8], ChangeKind)] = &[(b"a", ChangeKind::Modified)];
        let rest = "\n\nx\n\nCascade-Batch:";
        check_template("s: {subject}\nx", Some(" Fix \x1b[1mit\n"), changes, &format!("s: Fix \\x1b[1mit\\n{rest}"));
        check_template("s: {subject}\nx", Some(" \t "), changes, &format!("s: \\t{rest}"));
        check_template("s: {subject}\nx", Some("  "), changes, &format!("s: Change a{rest}"));
        let long = format!("s: {}…{rest}", "y".repeat(68));
        check_template("s: {subject}\nx", Some(&"y".repeat(100)), changes, &long);
    }

    #[test]
    fn what_git_takes_for_the_end_of_a_message_is_moved() {
        check_template(
            "{files}\n---\n--- x\n----",
            None,
            &[(b"---", ChangeKind::Added)],
            " ---\n\n ---\n --- x\n----\n\nCascade-Batch:",
        );
    }

    #[test]
    fn subject_that_comes_out_empty_is_the_usual_one() {
        check_template("{files}\nx", None, &[(b"   ", ChangeKind::Added)], "Add\n\nx\n\nCascade-Batch:");
    }

    fn kind() -> impl Strategy<Value = ChangeKind> {
        use ChangeKind::{Added, Deleted, ModeChanged, Modified};
        prop::sample::select(vec![Added, Modified, Deleted, ModeChanged])
    }

    proptest! {
        #[test]
        fn any_names_make_a_valid_message(
            given in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), kind()), 0..80),
            template in prop::option::of("([{](subject|files|changes|totals|directory|verb)[}]|[{][{]|\\PC|[ \n\r\t-]){1,30}"),
            summary in prop::option::of(".{0,120}"),
        ) {
            let changes: Vec<Change> = given.iter().map(|(path, kind)| change(path, *kind)).collect();
            let template = template.and_then(|text| text.parse::<MessageTemplate>().ok());
            let text = compose(&facts(&changes), template.as_ref(), summary.as_deref());
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{}", text);
            let mut lines = text.lines();
            prop_assert!(lines.next().is_some_and(|line| !line.trim().is_empty() && chars(line) <= SUBJECT_LIMIT_CHARS));
            prop_assert_eq!(lines.next(), Some(""));
            prop_assert!(text.lines().last().is_some_and(|line| line.starts_with("Cascade-Batch: ")));
            prop_assert!(text.lines().all(|line| line != "---" && !line.starts_with("--- ")), "{}", text);
        }
    }
}
