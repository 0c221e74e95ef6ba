//! Names on a file system that takes spellings which differ only by case for one name (`core.ignoreCase`).
//!
//! Git believes the spelling in its index there and does not see when a file is spelled anew. Here the listing of the
//! directory says how a name is spelled, so that no name is saved twice, and a new spelling is saved as one.

use std::collections::HashMap;
use std::os::fd::AsFd as _;

use crate::beneath::{self, Beneath, Place};
use crate::git::error::{Error, Result};
use crate::git::repo::Repo;
use crate::git::tree::{BaseTree, split};

impl Repo {
    /// Answers whether git was told that the file system takes names that differ only by case for one.
    ///
    /// # Errors
    /// The configuration is unreadable.
    pub fn ignores_case(&self) -> Result<bool> {
        let config = self.inner.config().map_err(Error::library("read the configuration"))?;
        Ok(config.get_bool("core.ignoreCase").unwrap_or(false))
    }
}

/// How names are spelled, directory by directory.
#[derive(Default)]
pub(super) struct Spellings {
    listed: HashMap<Vec<u8>, Names>,
    committed: HashMap<Vec<u8>, Names>,
}

/// What a name in a directory stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// For itself.
    Plain,
    /// For these names in the same directory.
    Others(Vec<Vec<u8>>),
    /// For what the commit has under this name, which is spelled anew.
    Renamed { from: Vec<u8> },
    /// For itself, but it cannot be told from this other name.
    Twin { of: Vec<u8> },
    /// For something that is listed under a name that we cannot guess.
    Unlisted,
}

/// The names in one directory, by what they are when case does not count.
#[derive(Default)]
struct Names(HashMap<Vec<u8>, Vec<Vec<u8>>>);

impl Names {
    fn of(names: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.0.entry(folded(&name)).or_default().push(name));
        all
    }

    fn like(&self, name: &[u8]) -> Vec<Vec<u8>> {
        self.0.get(&folded(name)).cloned().unwrap_or_default()
    }
}

impl Spellings {
    /// Answers what `name` in `dir` stands for, whose own spelling is that of the disk.
    pub fn of(&mut self, dir: &[u8], name: &[u8], beneath: &Beneath, base: &mut BaseTree<'_>) -> Result<Spelling> {
        let first = self.look(dir, name, beneath, base)?;
        if first != Spelling::Unlisted {
            return Ok(first);
        }
        // It may have been made since the directory was listed.
        self.listed.remove(dir);
        self.look(dir, name, beneath, base)
    }

    fn look(&mut self, dir: &[u8], name: &[u8], beneath: &Beneath, base: &mut BaseTree<'_>) -> Result<Spelling> {
        let listed = self.listed(dir, beneath).like(name);
        let committed = self.committed(dir, base)?.like(name);
        let folds = listed.is_empty() && committed.len() > 1 && self.folds(dir, beneath);
        Ok(decide(name, &listed, &committed, folds, &|other| reaches(beneath, dir, other)))
    }

    /// Answers whether a path is spelled on the disk exactly so.
    pub fn is_exact(&mut self, path: &[u8], beneath: &Beneath) -> bool {
        let (dir, name) = split(path);
        let is_listed = self.listed(dir, beneath).like(name).iter().any(|listed| listed == name);
        is_listed && (dir.is_empty() || self.is_exact(dir, beneath))
    }

    /// Answers the names that the commit has in `dir` for `name`, whatever their case.
    pub fn committed_like(&mut self, dir: &[u8], name: &[u8], base: &mut BaseTree<'_>) -> Result<Vec<Vec<u8>>> {
        Ok(self.committed(dir, base)?.like(name))
    }

    /// Answers whether the file system takes names that differ only by case for one, as far as can be told in `dir`.
    pub fn folds(&mut self, dir: &[u8], beneath: &Beneath) -> bool {
        let flip = |byte: &u8| byte ^ if byte.is_ascii_alphabetic() { 0x20 } else { 0 };
        let lone = self.listed(dir, beneath).0.values().filter(|names| names.len() == 1).flatten();
        let mut flipped = lone.map(|name| (name, name.iter().map(flip).collect::<Vec<u8>>()));
        match flipped.find(|(name, flipped)| flipped != *name) {
            Some((_, flipped)) => reaches(beneath, dir, &flipped),
            None if dir.is_empty() => false,
            None => self.folds(split(dir).0, beneath),
        }
    }

    fn listed(&mut self, dir: &[u8], beneath: &Beneath) -> &Names {
        self.listed.entry(dir.to_vec()).or_insert_with(|| match beneath.dir(dir) {
            // A directory that cannot be listed is told by whoever goes into it.
            Ok(Place::Dir(fd)) => Names::of(beneath::list(fd.as_fd()).unwrap_or_default()),
            _ => Names::default(),
        })
    }

    fn committed(&mut self, dir: &[u8], base: &mut BaseTree<'_>) -> Result<&Names> {
        if !self.committed.contains_key(dir) {
            let names = Names::of(base.entries(dir)?.into_iter().map(|entry| entry.name));
            self.committed.insert(dir.to_vec(), names);
        }
        Ok(&self.committed[dir])
    }
}

/// Decides by the names that differ from `name` by case at most: those that are listed on the disk, and the commit's.
///
/// `folds` counts where nothing is listed; `reaches` answers whether the file system finds something by a name.
fn decide(
    name: &[u8],
    listed: &[Vec<u8>],
    committed: &[Vec<u8>],
    folds: bool,
    reaches: &dyn Fn(&[u8]) -> bool,
) -> Spelling {
    let is_committed = committed.iter().any(|other| other == name);
    let others: Vec<&Vec<u8>> = committed.iter().filter(|other| *other != name).collect();
    let twin = |of: &[u8]| Spelling::Twin { of: of.to_vec() };
    if listed.iter().any(|other| other == name) {
        // The file system can tell the two apart, but git was told not to: the older one stays alone.
        let is_older = |other: &&Vec<u8>| committed.contains(other) || other.as_slice() < name;
        let like = |other: &&Vec<u8>| other.as_slice() != name && other.eq_ignore_ascii_case(name);
        if let Some(other) = listed.iter().filter(like).find(is_older).filter(|_| !is_committed) {
            return twin(other);
        }
        let gone: Vec<&Vec<u8>> = others.into_iter().filter(|other| !listed.contains(other)).collect();
        return match gone[..] {
            [from] if !is_committed => Spelling::Renamed { from: from.clone() },
            [other, ..] if gone.iter().any(|other| reaches(other)) => twin(other),
            _ => Spelling::Plain,
        };
    }
    match (is_committed, others.first(), listed.is_empty()) {
        (true, Some(other), false) if reaches(name) => twin(other),
        (true, Some(other), true) if folds => twin(other),
        (true, None, false) | (false, _, false) => Spelling::Others(listed.to_vec()),
        (false, Some(_), true) => Spelling::Others(committed.to_vec()),
        (false, None, true) if reaches(name) => Spelling::Unlisted,
        _ => Spelling::Plain,
    }
}

/// Answers a path as it is when case does not count.
pub(super) fn folded(path: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(path) {
        Ok(text) if !text.is_ascii() => text.chars().map(folded_letter).collect::<String>().into_bytes(),
        _ => path.to_ascii_lowercase(),
    }
}

/// File systems fold letter by letter: what would become several letters stays.
fn folded_letter(letter: char) -> char {
    let one = |mut letters: std::char::ToUppercase| letters.next().filter(|_| letters.len() == 0);
    let upper = one(letter.to_uppercase()).unwrap_or(letter);
    let mut lower = upper.to_lowercase();
    lower.next().filter(|_| lower.len() == 0).unwrap_or(upper)
}

fn reaches(beneath: &Beneath, dir: &[u8], name: &[u8]) -> bool {
    match beneath.dir(dir) {
        Ok(Place::Dir(fd)) => beneath::stat_at(fd.as_fd(), name).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decides about `x` or `X` with what is listed and committed, on a file system that folds case or on one that does
    /// not and finds only what is listed.
    fn on(folds: bool, name: &str, listed: &[&str], committed: &[&str]) -> Spelling {
        let bytes = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        let reaches = |other: &[u8]| match folds {
            true => listed.iter().any(|name| folded(name.as_bytes()) == folded(other)),
            false => listed.iter().any(|name| name.as_bytes() == other),
        };
        decide(name.as_bytes(), &bytes(listed), &bytes(committed), folds, &reaches)
    }

    fn others(names: &[&str]) -> Spelling {
        Spelling::Others(names.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn a_name_that_is_spelled_as_the_commit_has_it_stands_for_itself() {
        for folds in [false, true] {
            for (listed, committed) in [(&["x"][..], &["x"][..]), (&["x"], &[]), (&[], &["x"]), (&[], &[])] {
                assert_eq!(on(folds, "x", listed, committed), Spelling::Plain);
            }
        }
    }

    #[test]
    fn another_spelling_stands_for_what_is_there_or_was_committed() {
        for folds in [false, true] {
            assert_eq!(on(folds, "X", &["x"], &["x"]), others(&["x"]));
            assert_eq!(on(folds, "X", &["x"], &[]), others(&["x"]));
            assert_eq!(on(folds, "X", &[], &["x"]), others(&["x"]), "it is deleted");
        }
    }

    #[test]
    fn a_new_spelling_is_found_by_either_name() {
        for folds in [false, true] {
            assert_eq!(on(folds, "X", &["X"], &["x"]), Spelling::Renamed { from: b"x".to_vec() });
            assert_eq!(on(folds, "x", &["X"], &["x"]), others(&["X"]));
        }
    }

    #[test]
    fn two_committed_names_are_twins_only_where_they_cannot_be_told_apart() {
        for (name, listed) in [("x", &["x"][..]), ("X", &["x"]), ("x", &[]), ("X", &[])] {
            assert!(matches!(on(true, name, listed, &["X", "x"]), Spelling::Twin { .. }), "{name} {listed:?}");
            assert_eq!(on(false, name, listed, &["X", "x"]), Spelling::Plain);
        }
        assert_eq!(on(false, "x", &["X", "x"], &["X", "x"]), Spelling::Plain);
    }

    #[test]
    fn of_two_files_that_git_cannot_tell_apart_the_older_one_stays() {
        assert_eq!(on(false, "X", &["X", "x"], &["x"]), Spelling::Twin { of: b"x".to_vec() });
        assert_eq!(on(false, "x", &["X", "x"], &["x"]), Spelling::Plain);
        assert_eq!(on(false, "X", &["X", "x"], &[]), Spelling::Plain);
        assert_eq!(on(false, "x", &["X", "x"], &[]), Spelling::Twin { of: b"X".to_vec() });
        assert_eq!(on(false, "\u{e9}", &["\u{c9}", "\u{e9}"], &["\u{c9}"]), Spelling::Plain, "git folds ASCII only");
    }

    #[test]
    fn letters_are_folded_one_by_one() {
        for (a, b) in
            [("Readme", "rEADME"), ("\u{c9}t\u{e9}", "\u{e9}T\u{c9}"), ("\u{3c3}", "\u{3c2}"), ("k", "\u{212a}")]
        {
            assert_eq!(folded(a.as_bytes()), folded(b.as_bytes()), "{a} {b}");
        }
        assert_ne!(folded("stra\u{df}e".as_bytes()), folded(b"strasse"));
        assert_eq!(folded(b"Caf\xe9"), b"caf\xe9");
    }
}
