//! Adding to a configuration without touching what a person wrote: comments, order and form stay.

use std::fmt::Write as _;

use super::model::{AllowedSecret, Config};
use super::variables::Variables;
use super::{FILE_NAME, parse};

/// Why a text cannot be added to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The list is not written line by line, so there is no safe place to add to.
    #[error("the list `secrets.allow` cannot be added to as it is written; add this to it by hand:\n{entries}")]
    Form {
        /// The entries, as they would be written.
        entries: String,
    },
}

/// Answers the text of a configuration with `entries` added to the list of what only looks like a secret.
///
/// Nothing else changes, which is proved by reading both. `text` must be a good configuration.
///
/// # Errors
/// [`Refusal::Form`] where the list is in braces, or otherwise not to be added to by lines.
pub fn allowing(text: &str, entries: &[AllowedSecret], variables: &Variables) -> Result<String, Refusal> {
    let break_ = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let refusal = || Refusal::Form { entries: written(entries, "  ", "\n") };
    let amended = inserted(text, entries, break_).ok_or_else(refusal)?;
    let read = |text: &str| -> Option<Config> { parse(text, FILE_NAME, variables).ok() };
    let (Some(mut before), Some(after)) = (read(text), read(&amended)) else { return Err(refusal()) };
    before.secrets.allow.splice(0..0, entries.iter().cloned());
    let mut wanted = before.secrets.allow.clone();
    let mut found = after.secrets.allow.clone();
    wanted.sort_by_key(sort_key);
    found.sort_by_key(sort_key);
    before.secrets.allow.clone_from(&after.secrets.allow);
    if wanted == found && before == after { Ok(amended) } else { Err(refusal()) }
}

fn sort_key(entry: &AllowedSecret) -> [Option<String>; 4] {
    [entry.path.clone(), entry.rule.clone(), entry.fingerprint.clone(), Some(entry.reason.clone())]
}

/// Puts the entries where they seem to belong; nothing where no line looks like the place.
fn inserted(text: &str, entries: &[AllowedSecret], break_: &str) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(secrets) = lines.iter().position(|line| is_key(line, 0, "secrets")) else {
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { break_ };
        let entries = written(entries, "    ", break_);
        return Some(format!("{text}{gap}{break_}secrets:{break_}  allow:{break_}{entries}"));
    };
    let below = lines.iter().enumerate().skip(secrets + 1).filter(|(_, line)| is_content(line));
    let below: Vec<usize> = below.take_while(|(_, line)| indent(line) > 0).map(|(index, _)| index).collect();
    let step = below.first().map_or(2, |first| indent(lines[*first]));
    let allow = below.iter().position(|index| is_key(lines[*index], step, "allow"));
    let (after, head, depth) = match allow {
        None => (secrets, format!("{}allow:{break_}", " ".repeat(step)), step + 2),
        Some(place) => {
            let item =
                below.get(place + 1).map(|index| lines[*index]).filter(|line| line.trim_start().starts_with('-'));
            (below[place], String::new(), item.map_or(step + 2, indent))
        }
    };
    let last_is_open = lines.get(after).is_some_and(|line| !line.ends_with('\n'));
    let mut out: String = lines[..=after].concat();
    out.push_str(if last_is_open { break_ } else { "" });
    out.push_str(&head);
    out.push_str(&written(entries, &" ".repeat(depth), break_));
    out.push_str(&lines[after + 1..].concat());
    Some(out)
}

/// Answers whether the line is this key with nothing but a comment behind it.
fn is_key(line: &str, depth: usize, key: &str) -> bool {
    let rest = (indent(line) == depth).then(|| line.trim_start().strip_prefix(key)).flatten();
    let after = rest.and_then(|rest| rest.trim_start().strip_prefix(':'));
    after.is_some_and(|after| {
        after.trim().is_empty() || after.trim_start().starts_with('#') && after.starts_with([' ', '\t'])
    }) || depth == 0 && after.is_some()
}

fn is_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn written(entries: &[AllowedSecret], margin: &str, break_: &str) -> String {
    let mut text = String::new();
    for entry in entries {
        let fields = [("path", &entry.path), ("rule", &entry.rule), ("fingerprint", &entry.fingerprint)];
        let fields = fields.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        for (index, (key, value)) in fields.chain([("reason", &entry.reason)]).enumerate() {
            let mark = if index == 0 { "- " } else { "  " };
            // A JSON string is a YAML string. Writing to a String cannot fail.
            let _ = write!(text, "{margin}{mark}{key}: {}{break_}", serde_json::Value::from(value.as_str()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::TEMPLATE;

    const HEAD: &str = "version: 1 # one\nproject: shop\n";

    fn entry(reason: &str) -> AllowedSecret {
        AllowedSecret {
            path: Some("a b.txt".to_owned()),
            fingerprint: Some("0123456789012345".to_owned()),
            reason: reason.to_owned(),
            rule: None,
        }
    }

    fn amended(text: &str) -> Result<String, Refusal> {
        allowing(text, &[entry("why")], &Variables::default())
    }

    fn check(before: &str, expected: &str) {
        assert_eq!(amended(&format!("{HEAD}{before}")).unwrap(), format!("{HEAD}{expected}"));
    }

    const FLAT: &str = "  - path: \"a b.txt\"\n    fingerprint: \"0123456789012345\"\n    reason: \"why\"\n";
    const DEEP: &str = "    - path: \"a b.txt\"\n      fingerprint: \"0123456789012345\"\n      reason: \"why\"\n";

    #[test]
    fn list_is_begun_where_there_is_none() {
        check("", &format!("\nsecrets:\n  allow:\n{DEEP}"));
        check("remote: x", &format!("remote: x\n\nsecrets:\n  allow:\n{DEEP}"));
        check("secrets: # ours\n  rules: []\n", &format!("secrets: # ours\n  allow:\n{DEEP}  rules: []\n"));
        check("secrets:\n", &format!("secrets:\n  allow:\n{DEEP}"));
    }

    #[test]
    fn entries_join_a_list_in_its_own_form() {
        let old = "# old\n  - { rule: x, reason: y }\nremote: z # end\n";
        check(&format!("secrets:\n  allow: # some\n{old}"), &format!("secrets:\n  allow: # some\n{FLAT}{old}"));
        let old = "\n    # old\n    - rule: x\n      reason: y\n";
        check(&format!("secrets:\n  allow:\n{old}"), &format!("secrets:\n  allow:\n{DEEP}{old}"));
        check("secrets:\n  allow:\n", &format!("secrets:\n  allow:\n{DEEP}"));
    }

    #[test]
    fn what_cannot_be_added_to_by_lines_is_refused_with_what_to_write() {
        for text in ["secrets: {}\n", "secrets:\n  allow: []\n", "secrets: { allow: [{ rule: x, reason: y }] }\n"] {
            let Err(Refusal::Form { entries }) = amended(&format!("{HEAD}{text}")) else { panic!("{text}") };
            assert_eq!(entries, FLAT);
        }
    }

    #[test]
    fn line_ends_stay_what_they_are() {
        let text = amended("version: 1\r\nproject: shop\r\n").unwrap();
        assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
    }

    #[test]
    fn template_can_be_added_to_again_and_again() {
        let once = amended(TEMPLATE).unwrap();
        assert!(once.starts_with(TEMPLATE));
        let twice = allowing(&once, &[entry("again")], &Variables::default()).unwrap();
        assert_eq!(parse(&twice, FILE_NAME, &Variables::default()).unwrap().secrets.allow.len(), 2);
    }

    proptest! {
        #[test]
        fn any_reason_is_kept(reason in "[^\\p{Cc}]{0,20}[a-z][^\\p{Cc}]{0,20}") {
            let text = allowing(HEAD, &[entry(&reason)], &Variables::default()).unwrap();
            let config = parse(&text, FILE_NAME, &Variables::default()).unwrap();
            prop_assert_eq!(&config.secrets.allow, &[entry(&reason)]);
        }
    }
}
