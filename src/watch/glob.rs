//! What git reads in a line of a .gitignore, said so that the `ignore` crate reads the same.
//!
//! The two dialects differ where globset knows more (`{a,b}`) or less (`[[:alpha:]]`, `\` inside a
//! class) than git's wildmatch, and in what they trim from the end of a line.

/// The POSIX classes that wildmatch knows, as ranges.
const CLASSES: [(&str, &str); 12] = [
    ("alnum", "a-zA-Z0-9"),
    ("alpha", "a-zA-Z"),
    ("blank", " \t"),
    ("cntrl", "\u{0}-\u{1f}\u{7f}"),
    ("digit", "0-9"),
    ("graph", "!-~"),
    ("lower", "a-z"),
    ("print", " -~"),
    ("punct", "!-/:-@\\[-`{-~"),
    ("space", " \t-\r"),
    ("upper", "A-Z"),
    ("xdigit", "0-9a-fA-F"),
];

/// Answers the pattern in git's words as a line for the `ignore` crate; nothing for blank lines,
/// comments and patterns that can match nothing.
pub(super) fn translated(line: &str) -> Option<String> {
    let line = trimmed(line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() || line.starts_with('#') || matches!(line, "/" | "!" | "!/") {
        return None;
    }
    let mut text = String::with_capacity(line.len() + 8);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let used = match c {
            '\\' => push_escaped(&mut text, rest)?,
            '[' => push_class(&mut text, rest)?,
            '{' | '}' => push_literal(&mut text, c),
            _ => {
                text.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(used..)?;
    }
    // The crate trims every kind of white space from the end, git only spaces (already gone here).
    if let Some(last) = text.chars().next_back().filter(|c| c.is_whitespace() && *c != ' ') {
        text.truncate(text.len() - last.len_utf8());
        text.push('[');
        text.push(last);
        text.push(']');
    }
    Some(text)
}

/// Git drops spaces at the end, except one that a backslash protects.
fn trimmed(line: &str) -> &str {
    let bare = line.trim_end_matches(' ');
    let backslashes = bare.len() - bare.trim_end_matches('\\').len();
    match backslashes % 2 == 1 && bare.len() < line.len() {
        true => &line[..=bare.len()],
        false => bare,
    }
}

fn push_literal(text: &mut String, c: char) -> usize {
    text.push('\\');
    text.push(c);
    c.len_utf8()
}

/// A backslash makes the next character literal; as the last character it matches nothing at all.
fn push_escaped(text: &mut String, rest: &str) -> Option<usize> {
    let next = rest.chars().nth(1)?;
    if next.is_ascii_punctuation() || next == ' ' {
        text.push('\\');
    }
    text.push(next);
    Some(1 + next.len_utf8())
}

/// Rewrites one character class; an unclosed one matches nothing in git, so it answers nothing.
fn push_class(text: &mut String, rest: &str) -> Option<usize> {
    let mut members = String::new();
    let mut at = 1;
    let negated = rest[at..].starts_with(['!', '^']);
    at += usize::from(negated);
    let start = at;
    loop {
        let c = rest[at..].chars().next()?;
        match c {
            ']' if at > start => break,
            '[' if rest[at..].starts_with("[:") => {
                let name = rest[at + 2..].split_once(":]")?.0;
                members.push_str(CLASSES.iter().find(|(known, _)| *known == name)?.1);
                at += name.len() + 4;
                continue;
            }
            '\\' => {
                at += 1;
                members.push(rest[at..].chars().next()?);
                at += rest[at..].chars().next()?.len_utf8();
                continue;
            }
            _ => members.push(c),
        }
        at += c.len_utf8();
    }
    text.push('[');
    text.push_str(if negated { "!" } else { "" });
    push_members(text, &members);
    text.push(']');
    Some(at + 1)
}

/// globset takes `]` only first, and neither `!` nor `^` there.
fn push_members(text: &mut String, members: &str) {
    let plain = members.replace("\\[", "[");
    let (first, rest): (String, String) = plain.chars().partition(|c| *c == ']');
    text.push_str(if first.is_empty() { "" } else { "]" });
    match rest.strip_prefix(['!', '^']).filter(|tail| !tail.starts_with('-')) {
        // A sign at the front would negate: move it behind the others.
        Some(tail) if first.is_empty() && !tail.is_empty() => {
            text.push_str(tail);
            text.push_str(&rest[..1]);
        }
        _ => text.push_str(&rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        assert_eq!(translated(line).as_deref(), expected, "{line:?}");
    }

    #[test]
    fn git_words_become_globset_words() {
        check("*.tmp", Some("*.tmp"));
        check("  ", None);
        check("# note", None);
        check("\\#file", Some("\\#file"));
        check("a{b,c}", Some("a\\{b,c\\}"));
        check("file   ", Some("file"));
        check("file\\ ", Some("file\\ "));
        check("dos\r", Some("dos"));
        check("[[:digit:]]x", Some("[0-9]x"));
        check("[a\\]b]", Some("[]ab]"));
        check("[ab", None);
        check("end\\", None);
        check("\\a", Some("a"));
    }
}
