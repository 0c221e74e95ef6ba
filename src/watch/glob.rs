//! The patterns of ignore files, read and matched byte for byte as git does.
//!
//! This follows git's own rules (`dir.c`, `wildmatch.c`) with all their corners: no library of another dialect knows
//! names that are not UTF-8, `[[:alpha:]]`, `\` inside a class and what `**` means beside other characters.

/// A longer pattern matches nothing; no path is as long.
const PATTERN_LIMIT_BYTES: usize = 4_096;
/// A comparison that takes more steps is given up as no match: hostile patterns must not stop the watcher.
const COMPARISON_LIMIT_STEPS: u32 = 200_000;

/// The patterns of one ignore file.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<Pattern>);

/// Whether letters that differ only by case are one, as `core.ignoreCase` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Case {
    #[default]
    Exact,
    Folded,
}

/// What a line says of the paths that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ignored,
    /// The line begins with `!`.
    Kept,
}

#[derive(Debug)]
struct Pattern {
    text: Vec<u8>,
    verdict: Verdict,
    directories_only: bool,
    /// It has no slash: the last component of a path decides.
    is_name: bool,
    /// How many bytes at the start are not special.
    plain_bytes: usize,
}

impl Patterns {
    /// Reads an ignore file; a mark of UTF-8 at its start is passed over.
    pub fn read(content: &[u8]) -> Self {
        let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
        let lines = content.split(|byte| *byte == b'\n');
        Self(lines.filter_map(|line| Pattern::read(line.strip_suffix(b"\r").unwrap_or(line))).collect())
    }

    /// Adds one line; false where it can match nothing.
    pub fn add(&mut self, line: &[u8]) -> bool {
        let pattern = Pattern::read(line).filter(Pattern::is_sound);
        let is_good = pattern.is_some();
        self.0.extend(pattern);
        is_good
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers what the last line that matches says of `path`, which is relative to the directory of the file.
    pub fn matched(&self, path: &[u8], is_dir: bool, case: Case) -> Option<Verdict> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let is_match = |pattern: &&Pattern| {
            (is_dir || !pattern.directories_only)
                && if pattern.is_name { pattern.matches_name(name, case) } else { pattern.matches_path(path, case) }
        };
        self.0.iter().rev().find(is_match).map(|pattern| pattern.verdict)
    }
}

impl Pattern {
    fn read(line: &[u8]) -> Option<Self> {
        let end = line.iter().position(|byte| *byte == 0).unwrap_or(line.len());
        let line = trimmed(&line[..end]);
        if line.starts_with(b"#") || line.len() > PATTERN_LIMIT_BYTES {
            return None;
        }
        let (verdict, text) = match line.strip_prefix(b"!") {
            Some(rest) => (Verdict::Kept, rest),
            None => (Verdict::Ignored, line),
        };
        let (directories_only, text) = match text.strip_suffix(b"/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if text.is_empty() {
            return None;
        }
        let is_name = !text.contains(&b'/');
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let plain_bytes = text.iter().position(|byte| is_special(*byte)).unwrap_or(text.len());
        Some(Self { text: text.to_vec(), verdict, directories_only, is_name, plain_bytes })
    }

    fn matches_name(&self, name: &[u8], case: Case) -> bool {
        match self.text.strip_prefix(b"*") {
            _ if self.plain_bytes == self.text.len() => case.equal(&self.text, name),
            Some(end) if !end.iter().any(|byte| is_special(*byte)) => {
                name.len() >= end.len() && case.equal(end, &name[name.len() - end.len()..])
            }
            _ => Wild::new(false, case).matches(&self.text, name),
        }
    }

    /// What stands before the first special character is compared apart, as git does: `**` behind it counts as at the
    /// start.
    fn matches_path(&self, path: &[u8], case: Case) -> bool {
        let (plain, rest) = self.text.split_at(self.plain_bytes);
        path.split_at_checked(plain.len())
            .is_some_and(|(start, path)| case.equal(plain, start) && Wild::new(true, case).matches(rest, path))
    }

    /// Answers whether it can match anything: its classes are closed, and nothing is missing behind a `\`.
    fn is_sound(&self) -> bool {
        let mut at = 0;
        while let Some(byte) = self.text.get(at) {
            at = match byte {
                b'\\' if at + 1 == self.text.len() => return false,
                b'\\' => at + 2,
                b'[' => match class(&self.text, at + 1, 0, Case::Exact) {
                    Some((_, end)) => end + 1,
                    None => return false,
                },
                _ => at + 1,
            };
        }
        true
    }
}

impl Case {
    fn equal(self, one: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Exact => one == other,
            Self::Folded => one.eq_ignore_ascii_case(other),
        }
    }

    fn fold(self, byte: u8) -> u8 {
        match self {
            Self::Exact => byte,
            Self::Folded => byte.to_ascii_lowercase(),
        }
    }
}

/// Git drops spaces at the end, except one that a backslash protects.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut end = None;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        match byte {
            b' ' => end = end.or(Some(at)),
            b'\\' if at + 1 == line.len() => return line,
            b'\\' => (at, end) = (at + 1, None),
            _ => end = None,
        }
        at += 1;
    }
    &line[..end.unwrap_or(line.len())]
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Match,
    No,
    /// Nor does it match anywhere further on.
    NoFurther,
    /// Nor before a `**` takes in the next slash.
    NoBeforeSlash,
}

/// One comparison.
struct Wild {
    /// Whether `*`, `?` and classes stop at slashes.
    is_path: bool,
    case: Case,
    steps_left: u32,
}

impl Wild {
    fn new(is_path: bool, case: Case) -> Self {
        Self { is_path, case, steps_left: COMPARISON_LIMIT_STEPS }
    }

    fn matches(mut self, pattern: &[u8], text: &[u8]) -> bool {
        self.compare(pattern, text) == Found::Match
    }

    fn compare(&mut self, pattern: &[u8], text: &[u8]) -> Found {
        let (mut at, mut here) = (0, 0);
        while let Some(byte) = pattern.get(at).copied() {
            let Some(steps_left) = self.steps_left.checked_sub(1) else { return Found::NoFurther };
            self.steps_left = steps_left;
            if byte == b'*' {
                match self.star(pattern, at, text, here) {
                    Ok(slash) => (at, here) = slash,
                    Err(found) => return found,
                }
            } else {
                let Some(next) = text.get(here).copied() else { return Found::NoFurther };
                let Some((matches, end)) = one(pattern, at, self.case.fold(next), self.case) else {
                    return Found::NoFurther;
                };
                let is_barred = self.is_path && next == b'/' && matches!(byte, b'?' | b'[');
                if !matches || is_barred {
                    return Found::No;
                }
                at = end;
            }
            (at, here) = (at + 1, here + 1);
        }
        if here < text.len() { Found::No } else { Found::Match }
    }

    /// Compares from the stars at `at` on; answers the end, or the slash in pattern and text where it goes on.
    fn star(&mut self, pattern: &[u8], at: usize, text: &[u8], here: usize) -> Result<(usize, usize), Found> {
        let stars = pattern[at..].iter().take_while(|byte| **byte == b'*').count();
        let after = &pattern[at + stars..];
        let stands_alone = (at == 0 || pattern[at - 1] == b'/')
            && (after.is_empty() || after.starts_with(b"/") || after.starts_with(b"\\/"));
        let crosses = !self.is_path || (stars > 1 && stands_alone);
        // `**/` may stand for nothing.
        if self.is_path
            && crosses
            && let Some(rest) = after.strip_prefix(b"/")
            && self.compare(rest, &text[here..]) == Found::Match
        {
            return Err(Found::Match);
        }
        let slash = || text[here..].iter().position(|byte| *byte == b'/');
        match after.first() {
            None if crosses || slash().is_none() => Err(Found::Match),
            None => Err(Found::NoBeforeSlash),
            Some(b'/') if !crosses => slash().map(|slash| (at + stars, here + slash)).ok_or(Found::NoFurther),
            Some(first) => Err(self.stretch(after, *first, &text[here..], crosses)),
        }
    }

    /// Lets a star take in more and more of the text until the rest matches.
    fn stretch(&mut self, rest: &[u8], first: u8, text: &[u8], crosses: bool) -> Found {
        let mut here = 0;
        while here < text.len() {
            if !is_special(first) {
                let is_first = |byte: &u8| self.case.fold(*byte) == self.case.fold(first);
                let stops = |byte: &u8| is_first(byte) || (!crosses && *byte == b'/');
                here += text[here..].iter().position(stops).unwrap_or(text.len() - here);
                if !text.get(here).is_some_and(is_first) {
                    return if crosses { Found::NoFurther } else { Found::NoBeforeSlash };
                }
            }
            match self.compare(rest, &text[here..]) {
                Found::No if !crosses && text[here] == b'/' => return Found::NoBeforeSlash,
                Found::No => {}
                Found::NoBeforeSlash if crosses => {}
                found => return found,
            }
            here += 1;
        }
        Found::NoFurther
    }
}

/// Compares one byte, folded, with the `?`, class or character at `at`; answers whether it matches and where that ends.
/// Nothing where the pattern is malformed.
///
/// Git folds plain characters of the pattern, and takes ranges and `[:upper:]` for both cases; behind a `\` and alone in
/// a class an upper-case letter stays one, and matches nothing.
fn one(pattern: &[u8], at: usize, next: u8, case: Case) -> Option<(bool, usize)> {
    match pattern[at] {
        b'?' => Some((true, at)),
        b'[' => class(pattern, at + 1, next, case),
        b'\\' => Some((pattern.get(at + 1) == Some(&next), at + 1)),
        byte => Some((case.fold(byte) == next, at)),
    }
}

/// Answers whether `next` is in the class whose first member is at `at`, and where its bracket closes.
fn class(pattern: &[u8], mut at: usize, next: u8, case: Case) -> Option<(bool, usize)> {
    let other = if case == Case::Folded { next.to_ascii_uppercase() } else { next };
    let is_negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(is_negated);
    let (mut is_in, mut previous) = (false, None);
    loop {
        previous = match (*pattern.get(at)?, previous) {
            (b'\\', _) => {
                at += 1;
                Some(*pattern.get(at)?)
            }
            (b'-', Some(start)) if pattern.get(at + 1).is_some_and(|end| *end != b']') => {
                at += if pattern[at + 1] == b'\\' { 2 } else { 1 };
                let range = start..=*pattern.get(at)?;
                is_in |= range.contains(&next) || range.contains(&other);
                None
            }
            (b'[', _) if pattern.get(at + 1) == Some(&b':') => {
                let start = at + 2;
                let end = start + pattern[start..].iter().position(|byte| *byte == b']')?;
                match pattern[start..end].strip_suffix(b":") {
                    Some(name) => {
                        is_in |= is_of_kind(name, next)? || (name == b"upper" && is_of_kind(name, other)?);
                        at = end;
                        None
                    }
                    None => Some(b'['),
                }
            }
            (member, _) => Some(member),
        };
        is_in |= previous == Some(next);
        at += 1;
        if *pattern.get(at)? == b']' {
            return Some((is_in != is_negated, at));
        }
    }
}

/// Answers whether a byte is of a kind that POSIX names; nothing for other names. Git's space has no form feed.
fn is_of_kind(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => matches!(byte, b' '..=b'~'),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => matches!(byte, b' ' | b'\t' | b'\n' | b'\r'),
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[track_caller]
    fn check(pattern: &str, good: &[&str], bad: &[&str]) {
        let patterns = Patterns::read(pattern.as_bytes());
        let is_ignored = |path: &str| patterns.matched(path.as_bytes(), false, Case::Exact) == Some(Verdict::Ignored);
        good.iter().for_each(|path| assert!(is_ignored(path), "{pattern:?} {path}"));
        bad.iter().for_each(|path| assert!(!is_ignored(path), "{pattern:?} {path}"));
    }

    #[test]
    fn patterns_match_as_in_git() {
        check("*.tmp", &["a.tmp", "d/a.tmp"], &["a.tmp2"]);
        check("/a", &["a"], &["b/a"]);
        check("d/*", &["d/a"], &["d/a/b", "e/d/a"]);
        check("d/**", &["d/a", "d/a/b"], &["d"]);
        check("**/a", &["a", "b/a", "b/c/a"], &["ab"]);
        check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb"]);
        check("a?c", &["abc"], &["ac", "a/c"]);
        check("a{b,c}", &["a{b,c}"], &["ab"]);
        check("file   \ndos\r\nother\\ ", &["file", "dos", "other "], &["file   ", "other"]);
        check("\\#a\n# a", &["#a"], &["# a", " a"]);
        check("*\n!keep", &["a"], &["keep"]);
    }

    #[test]
    fn classes_are_those_of_git() {
        check("[[:digit:]x]", &["1", "x"], &["a", ":"]);
        check("[a\\]b]", &["a", "]", "b"], &["\\"]);
        check("[]a]", &["]", "a"], &["[]a]"]);
        check("[!a-c]", &["d"], &["b"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[[:nope:]]\n[a\nend\\", &[], &["[", "a", "end", "end\\"]);
    }

    #[test]
    fn lines_that_can_match_nothing_are_not_added() {
        for line in ["", "  ", "# note", "/", "!", "!/", "[a", "end\\", "[[:nope:]]"] {
            assert!(!Patterns::default().add(line.as_bytes()), "{line:?}");
        }
        for line in ["a", "!a", "[]a]", "\\#", "a\\ ", "{a"] {
            assert!(Patterns::default().add(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn hostile_patterns_are_given_up() {
        let begun = Instant::now();
        let deep = "**/a/".repeat(600);
        check(&format!("{deep}b"), &[], &[&"a/".repeat(2_000)]);
        check(&"*a".repeat(2_000), &[], &[&"a".repeat(255)]);
        check(&"*".repeat(5_000), &[], &["a"]);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
