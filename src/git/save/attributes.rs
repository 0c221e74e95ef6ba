//! Which files git stores in another form than they have on disk.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::beneath::{self, Beneath, Place};
use crate::git::error::Result;
use crate::git::program::Program;
use crate::git::repo::{Repo, user_directories};
use crate::git::tree::{self, BaseTree};

/// How a file's content becomes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// As it is.
    None,
    /// Line ends become LF; `guessed` when nobody said that the file is text.
    LineEnds { guessed: bool },
    /// Whatever a filter, an encoding or keywords ask for.
    Program,
}

/// Knows where attributes could say something, so that repositories without any pay nothing.
pub(in crate::git) struct Attributes {
    everywhere: bool,
    autocrlf: bool,
    dirs: HashMap<Vec<u8>, bool>,
}

impl Attributes {
    /// Reads the settings that concern every path.
    pub fn new(repo: &Repo, config: &git2::Config) -> Self {
        let autocrlf = config.get_string("core.autocrlf").is_ok_and(|value| {
            value.eq_ignore_ascii_case("input") || git2::Config::parse_bool(value.as_str()).unwrap_or(false)
        });
        let own = repo.common_dir().join("info/attributes");
        let files = [Some(own), user_file(config), Some(PathBuf::from("/etc/gitattributes"))];
        let everywhere = autocrlf || files.iter().flatten().any(|file| file.exists());
        Self { everywhere, autocrlf, dirs: HashMap::new() }
    }

    /// Answers whether any attributes could apply to `path`.
    pub fn may_convert(&mut self, path: &[u8], beneath: &Beneath, base: &mut BaseTree<'_>) -> Result<bool> {
        if self.everywhere {
            return Ok(true);
        }
        let mut dir = tree::split(path).0;
        loop {
            let here = match self.dirs.get(dir) {
                Some(known) => *known,
                None => {
                    let here = has_attributes(dir, beneath) || base.find(&tree::join(dir, NAME))?.is_some();
                    self.dirs.insert(dir.to_vec(), here);
                    here
                }
            };
            if here || dir.is_empty() {
                return Ok(here);
            }
            dir = tree::split(dir).0;
        }
    }

    /// Asks git how each of `paths` is converted.
    pub(super) fn conversions(&self, root: &Path, paths: &[&[u8]]) -> Result<Vec<Conversion>> {
        let output = asked(root, paths)?;
        Ok(values(&output).chunks_exact(ASKED.len()).map(|values| self.conversion(values)).collect())
    }

    /// Asks git which of `paths` a checkout has in another form than their blobs; `crlf` says whether the configuration asks
    /// for these line ends where text says nothing about its own.
    pub fn converted<'p>(&self, root: &Path, paths: &[&'p [u8]], crlf: bool) -> Result<Vec<&'p [u8]>> {
        let output = asked(root, paths)?;
        let is_converted = |values: &[&[u8]]| match (self.conversion(values), values[4]) {
            (Conversion::Program, _) => true,
            (Conversion::None, _) | (Conversion::LineEnds { .. }, b"lf") => false,
            (Conversion::LineEnds { .. }, eol) => crlf || eol == b"crlf",
        };
        let values = values(&output);
        let converted = paths.iter().zip(values.chunks_exact(ASKED.len())).filter(|(_, values)| is_converted(values));
        Ok(converted.map(|(path, _)| *path).collect())
    }

    fn conversion(&self, values: &[&[u8]]) -> Conversion {
        let said = |value: &[u8]| value != b"unspecified" && value != b"unset";
        if values[..3].iter().any(|value| said(value)) {
            return Conversion::Program;
        }
        let text = if values[3] == b"unspecified" { values[5] } else { values[3] };
        match text {
            b"unset" => Conversion::None,
            b"auto" => Conversion::LineEnds { guessed: true },
            b"unspecified" if said(values[4]) => Conversion::LineEnds { guessed: false },
            b"unspecified" if self.autocrlf => Conversion::LineEnds { guessed: true },
            b"unspecified" => Conversion::None,
            _ => Conversion::LineEnds { guessed: false },
        }
    }
}

const NAME: &[u8] = b".gitattributes";
/// The attributes that say in which form a file is.
const ASKED: [&str; 6] = ["filter", "ident", "working-tree-encoding", "text", "eol", "crlf"];

fn asked(root: &Path, paths: &[&[u8]]) -> Result<Vec<u8>> {
    let mut input = paths.join(&0);
    input.push(0);
    Program::durable(root, ["check-attr", "--stdin", "-z"].into_iter().chain(ASKED)).input(input).keep_all().succeed()
}

/// Answers the values alone of what git says in triples: path, attribute, value.
fn values(output: &[u8]) -> Vec<&[u8]> {
    let words: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    words.chunks_exact(3).map(|triple| triple[2]).collect()
}

fn has_attributes(dir: &[u8], beneath: &Beneath) -> bool {
    match beneath.dir(dir) {
        Ok(Place::Dir(fd)) => beneath::stat_at(fd.as_fd(), NAME).is_ok(),
        _ => false,
    }
}

/// Answers the attributes file of the user, where git looks for it.
fn user_file(config: &git2::Config) -> Option<PathBuf> {
    if let Ok(path) = config.get_path("core.attributesFile") {
        return Some(path);
    }
    user_directories().into_iter().map(|directory| directory.join("attributes")).find(|file| file.exists())
}
