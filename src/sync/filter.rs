//! What takes part in a sync. Pure.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::endpoint::Key;

/// Decides which keys take part, on both sides.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<Gitignore>,
    exclude: Gitignore,
    only: Option<BTreeSet<Key>>,
}

impl Filter {
    /// Reads .gitignore patterns, which a checked configuration has; without `include` everything takes part.
    #[must_use]
    pub fn new(include: &[String], exclude: &[String]) -> Self {
        let include = (!include.is_empty()).then(|| patterns(include));
        Self { include, exclude: patterns(exclude), only: None }
    }

    /// Lets nothing but these keys take part, whatever the patterns say.
    #[must_use]
    pub fn only(keys: BTreeSet<Key>) -> Self {
        Self { only: Some(keys), ..Self::new(&[], &[]) }
    }

    /// Answers the only keys that take part, where there are such.
    #[must_use]
    pub fn named(&self) -> Option<&BTreeSet<Key>> {
        self.only.as_ref()
    }

    /// Answers whether a key takes part.
    #[must_use]
    pub fn takes(&self, key: &Key) -> bool {
        if let Some(only) = &self.only {
            return only.contains(key);
        }
        let includes = |include: &Gitignore| matches(include, key, false);
        !is_of_git(key) && self.include.as_ref().is_none_or(includes) && !matches(&self.exclude, key, false)
    }

    /// Answers whether keys below one may take part.
    #[must_use]
    pub fn may_take_below(&self, key: &Key) -> bool {
        if let Some(only) = &self.only {
            return only.iter().any(|one| one.clashes_with(key));
        }
        !is_of_git(key) && !matches(&self.exclude, key, true)
    }
}

fn matches(patterns: &Gitignore, key: &Key, is_dir: bool) -> bool {
    patterns.matched_path_or_any_parents(OsStr::from_bytes(key.as_bytes()), is_dir).is_ignore()
}

/// What git keeps for itself is no content.
fn is_of_git(key: &Key) -> bool {
    key.as_bytes().split(|byte| *byte == b'/').any(|part| part == b".git")
}

fn patterns(lines: &[String]) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in lines {
        // The configuration was checked: a pattern that is none would match nothing.
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], expected: &[&str]) {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&owned(include), &owned(exclude));
        let all = ["a.html", "img/a.png", "img/raw/a.psd", "lib/a.html", "./a.html"];
        let keys = all.iter().filter_map(|text| Key::new(text.as_bytes().to_vec()).ok());
        let taken: Vec<String> = keys.filter(|key| filter.takes(key)).map(|key| key.to_string()).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        check(&[], &[], &["a.html", "img/a.png", "img/raw/a.psd", "lib/a.html"]);
        check(&["*.html"], &[], &["a.html", "lib/a.html"]);
        check(&["/*.html", "img/"], &["raw/"], &["a.html", "img/a.png"]);
        check(&[], &["*", "!a.html"], &["a.html", "lib/a.html"]);
    }

    #[test]
    fn what_git_keeps_for_itself_takes_no_part() {
        let key = |text: &str| Key::new(text.as_bytes().to_vec()).unwrap();
        let filter = Filter::new(&[], &["closed/".to_owned()]);
        assert!(
            !filter.takes(&key(".git/config")) && !filter.takes(&key("a/.git")) && filter.takes(&key(".gitignore"))
        );
        assert!(!filter.may_take_below(&key(".git")) && !filter.may_take_below(&key("closed")));
        assert!(filter.may_take_below(&key("open")));
    }

    #[test]
    fn named_keys_take_part_alone() {
        let key = |text: &str| Key::new(text.as_bytes().to_vec()).unwrap();
        let filter = Filter::only(BTreeSet::from([key("a")]));
        assert!(filter.takes(&key("a")) && !filter.takes(&key("a/b")));
    }
}
