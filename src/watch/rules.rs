//! What is nobody's business: configured excludes and git's ignore rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::glob::{Case, Patterns, Verdict};
use crate::base::escape;

/// The verdicts of at most this many directories are kept; then the cache starts afresh.
const MAX_CACHED_DIRECTORIES: usize = 100_000;

/// What follows in an ignore file after this many bytes is not read.
const MAX_IGNORE_FILE_BYTES: u64 = 16 << 20;

/// Decides which paths are excluded; safe to ask from several threads.
///
/// A path is excluded when the configured excludes match it, when git would ignore it, when it lies
/// below an excluded directory, or when a component is `.git`. The configured excludes come on top:
/// their negations take back configured excludes only, never what git ignores. Whether git *tracks* an
/// ignored path is not asked.
#[derive(Debug)]
pub struct Rules {
    root: PathBuf,
    info_exclude: PathBuf,
    excludes_file: Option<PathBuf>,
    configured: Patterns,
    case: Case,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Patterns of `.git/info/exclude` and of core.excludesFile, the stronger first; read when first asked.
    shared: Option<Arc<[IgnoreFile]>>,
    directories: BTreeMap<Vec<u8>, Directory>,
    /// Files that could not be read: each is told once.
    told: BTreeSet<PathBuf>,
}

/// What an ignore file says.
#[derive(Debug, Default)]
struct IgnoreFile {
    patterns: Patterns,
    /// Whether it is there and could not be read, so that what it says is not known.
    is_unread: bool,
}

/// What is known about the entries of one directory.
#[derive(Debug, Clone)]
enum Directory {
    Excluded,
    Open(Option<Arc<Level>>),
}

/// One `.gitignore` that says something, or may do so, and those above it.
#[derive(Debug)]
struct Level {
    file: IgnoreFile,
    /// How many bytes of a path (with the slash) lead to the directory of this file.
    prefix: usize,
    above: Option<Arc<Level>>,
}

impl Rules {
    /// Reads the rules of the checkout at `root`.
    ///
    /// `git_common_dir` holds `info/exclude`; `excludes_file` is core.excludesFile, if any. Files that
    /// are missing or unreadable count as empty (but see [`Rules::may_be_excluded`]), and lines that git would not
    /// understand are passed over, as git does. A configured exclude that is no pattern is [`Error::Pattern`].
    pub fn load(
        root: &Path,
        git_common_dir: &Path,
        exclude: &[String],
        excludes_file: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut configured = Patterns::default();
        if let Some(pattern) = exclude.iter().find(|pattern| !configured.add(pattern.as_bytes())) {
            let pattern = escape::shown(pattern.as_bytes());
            return Err(Error::Pattern { pattern, reason: "it can match nothing".to_owned() });
        }
        Ok(Self {
            root: root.to_owned(),
            info_exclude: git_common_dir.join("info/exclude"),
            excludes_file: excludes_file.map(Path::to_owned),
            configured,
            case: Case::Exact,
            cache: Mutex::default(),
        })
    }

    /// Takes letters that differ only by case for one, in every pattern, as git does where `core.ignoreCase` is set.
    #[must_use]
    pub fn folding_case(self, folds: bool) -> Self {
        Self { case: if folds { Case::Folded } else { Case::Exact }, ..self }
    }

    /// Answers whether a path of the checkout is excluded; `path` is relative, with `/` between
    /// components. The root itself (the empty path) never is.
    #[must_use]
    pub fn is_excluded(&self, path: &[u8], is_dir: bool) -> bool {
        self.known(&mut self.cache(), path, is_dir).unwrap_or(false)
    }

    /// Answers the same, and yes as well where an ignore file says so perhaps, which cannot be read now.
    #[must_use]
    pub fn may_be_excluded(&self, path: &[u8], is_dir: bool) -> bool {
        let mut cache = self.cache();
        self.known(&mut cache, path, is_dir).unwrap_or_else(|| {
            // What was unread may be readable by now.
            cache.directories.clear();
            cache.shared = None;
            self.known(&mut cache, path, is_dir).unwrap_or(true)
        })
    }

    /// Answers whether a path is excluded; nothing where a file that decides on it is unread.
    fn known(&self, cache: &mut Cache, path: &[u8], is_dir: bool) -> Option<bool> {
        let Some(parent) = parent(path) else { return Some(false) };
        let Directory::Open(levels) = self.directory(cache, parent) else { return Some(true) };
        let is_excluded = self.matches_here(cache, levels.as_ref(), path, is_dir);
        let above = std::iter::successors(levels.as_deref(), |level| level.above.as_deref());
        let shared = cache.shared.iter().flat_map(|files| files.iter());
        let is_unread = above.map(|level| &level.file).chain(shared).any(|file| file.is_unread);
        (is_excluded || !is_unread).then_some(is_excluded)
    }

    /// Answers whether the configured excludes alone match a path or a directory above it.
    #[must_use]
    pub fn configured(&self, path: &[u8], is_dir: bool) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.map(|(at, _)| &path[..at]);
        above.any(|directory| self.configured_here(directory, true)) || self.configured_here(path, is_dir)
    }

    /// Forgets what was read in a directory (the empty path: the root) and beneath it: its `.gitignore`
    /// changed, or it is another directory now.
    pub fn forget(&self, directory: &[u8]) {
        let mut cache = self.cache();
        if directory.is_empty() {
            cache.directories.clear();
            return;
        }
        let beneath: Vec<Vec<u8>> = beneath(&cache.directories, directory).cloned().collect();
        for path in beneath {
            cache.directories.remove(&path);
        }
    }

    /// Forgets everything that was read: also `info/exclude` and core.excludesFile, which nobody watches.
    pub fn forget_all(&self) {
        *self.cache() = Cache::default();
    }

    /// Knows a directory by asking from the top down, so that no pattern reaches below an excluded one.
    fn directory(&self, cache: &mut Cache, path: &[u8]) -> Directory {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut known = self.opened(cache, b"", None);
        for end in ends.chain((!path.is_empty()).then_some(path.len())) {
            let Directory::Open(levels) = known else { break };
            known = match cache.directories.get(&path[..end]).cloned() {
                Some(known) => known,
                None if self.matches_here(cache, levels.as_ref(), &path[..end], true) => {
                    remember(cache, &path[..end], Directory::Excluded)
                }
                None => self.opened(cache, &path[..end], levels),
            };
        }
        known
    }

    fn opened(&self, cache: &mut Cache, path: &[u8], above: Option<Arc<Level>>) -> Directory {
        if let Some(known) = cache.directories.get(path) {
            return known.clone();
        }
        let file = self.root.join(Path::new(std::ffi::OsStr::from_bytes(path))).join(".gitignore");
        let file = cache.read(&file, libc::O_NOFOLLOW, says_nothing);
        let levels = match file.patterns.is_empty() && !file.is_unread {
            true => above,
            false => Some(Arc::new(Level { file, prefix: path.len() + usize::from(!path.is_empty()), above })),
        };
        remember(cache, path, Directory::Open(levels))
    }

    /// Applies the patterns to one path whose parent is open: the last match of the nearest file counts.
    fn matches_here(&self, cache: &mut Cache, levels: Option<&Arc<Level>>, path: &[u8], is_dir: bool) -> bool {
        if is_git_dir(path) || self.configured_here(path, is_dir) {
            return true;
        }
        let mut next = levels;
        while let Some(level) = next {
            match level.file.patterns.matched(&path[level.prefix..], is_dir, self.case) {
                Some(verdict) => return verdict == Verdict::Ignored,
                None => next = level.above.as_ref(),
            }
        }
        let shared = match &cache.shared {
            Some(shared) => Arc::clone(shared),
            None => self.shared(cache),
        };
        shared.iter().find_map(|file| file.patterns.matched(path, is_dir, self.case)) == Some(Verdict::Ignored)
    }

    fn configured_here(&self, path: &[u8], is_dir: bool) -> bool {
        self.configured.matched(path, is_dir, self.case) == Some(Verdict::Ignored)
    }

    fn shared(&self, cache: &mut Cache) -> Arc<[IgnoreFile]> {
        let files = [Some(&self.info_exclude), self.excludes_file.as_ref()];
        let shared: Arc<[IgnoreFile]> =
            files.into_iter().flatten().map(|file| cache.read(file, 0, is_private)).collect();
        cache.shared = Some(Arc::clone(&shared));
        shared
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Nothing is left half-changed by a panic: the cache can be used on.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Reads an ignore file; one that cannot be read for a reason that is in order says nothing.
    fn read(&mut self, file: &Path, flags: i32, is_in_order: fn(&io::Error) -> bool) -> IgnoreFile {
        match read_regular(file, flags) {
            Ok(content) => IgnoreFile { patterns: Patterns::read(&content), is_unread: false },
            Err(problem) if is_in_order(&problem) => IgnoreFile::default(),
            Err(problem) => {
                if self.told.insert(file.to_owned()) {
                    let file = file.display();
                    tracing::warn!(%file, %problem, "cannot be read: new files that it may ignore are not saved");
                }
                IgnoreFile { patterns: Patterns::default(), is_unread: true }
            }
        }
    }
}

/// Answers whether a file is not there, or is a link where none is followed.
fn says_nothing(problem: &io::Error) -> bool {
    let is_link = problem.raw_os_error() == Some(libc::ELOOP);
    is_link || matches!(problem.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The same for a file outside of the checkout, which may be somebody else's: git too makes nothing of that.
fn is_private(problem: &io::Error) -> bool {
    says_nothing(problem) || problem.kind() == io::ErrorKind::PermissionDenied
}

fn remember(cache: &mut Cache, path: &[u8], known: Directory) -> Directory {
    if cache.directories.len() >= MAX_CACHED_DIRECTORIES {
        cache.directories.clear();
    }
    cache.directories.insert(path.to_vec(), known.clone());
    known
}

/// Answers the keys that name `directory` or something beneath it.
pub(super) fn beneath<'a, V>(map: &'a BTreeMap<Vec<u8>, V>, directory: &'a [u8]) -> impl Iterator<Item = &'a Vec<u8>> {
    let from = (Bound::Included(directory), Bound::Unbounded);
    // Names like `a.b` sort between `a` and `a/x`: passed over, not an end.
    map.range::<[u8], _>(from)
        .map(|(path, _)| path)
        .take_while(move |path| path.starts_with(directory))
        .filter(move |path| path.len() == directory.len() || path.get(directory.len()) == Some(&b'/'))
}

/// Answers the directory of a relative path; the root is the empty path and has none.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some(&path[..slash]),
        None => (!path.is_empty()).then_some(b""),
    }
}

fn is_git_dir(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    name.eq_ignore_ascii_case(b".git")
}

pub(super) fn as_path(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path))
}

/// Git does not follow a `.gitignore` that is a symbolic link; a FIFO must not hang us.
fn read_regular(file: &Path, flags: i32) -> io::Result<Vec<u8>> {
    let open = OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK).open(file)?;
    let mut content = Vec::new();
    if open.metadata()?.is_file() {
        open.take(MAX_IGNORE_FILE_BYTES).read_to_end(&mut content)?;
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    struct Checkout {
        dir: TempDir,
    }

    impl Checkout {
        fn with(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self { dir }
        }

        fn rules(&self, exclude: &[&str]) -> Rules {
            let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
            Rules::load(self.dir.path(), &self.dir.path().join(".git"), &exclude, None).unwrap()
        }

        fn git(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
            let mut child = Command::new("git")
                .args(args)
                .current_dir(self.dir.path())
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap())
                .env("GIT_CONFIG_GLOBAL", "")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input).unwrap();
            child.wait_with_output().unwrap().stdout
        }
    }

    #[track_caller]
    fn check(rules: &Rules, path: &str, expected: bool) {
        let (name, is_dir) = path.strip_suffix('/').map_or((path, false), |name| (name, true));
        assert_eq!(rules.is_excluded(name.as_bytes(), is_dir), expected, "{path}");
    }

    #[test]
    fn configured_excludes_come_on_top_of_gitignore() {
        let checkout = Checkout::with(&[(".gitignore", "*.log\n!keep.log\n"), ("a/.gitignore", "*.o\n")]);
        let rules = checkout.rules(&["node_modules/", "*.tmp", "!keep.tmp"]);
        for path in ["x.log", "a/b/x.log", "a/x.o", "x.tmp", "node_modules/", "b/node_modules/x/y", ".git/HEAD"] {
            check(&rules, path, true);
        }
        for path in ["keep.log", "x.o", "keep.tmp", "node_modules", "a/", "", ".gitignore", "a/.gitignore"] {
            check(&rules, path, false);
        }
        assert!(rules.configured(b"node_modules/a", false) && !rules.configured(b"x.log", false));
    }

    #[test]
    fn nothing_comes_back_below_an_excluded_directory() {
        let checkout = Checkout::with(&[(".gitignore", "out/\n!out/keep\n"), ("out/.gitignore", "!*\n")]);
        check(&checkout.rules(&[]), "out/keep", true);
    }

    #[test]
    fn nearer_files_win_over_info_exclude() {
        let checkout = Checkout::with(&[(".git/info/exclude", "*.a\n*.b\n"), (".gitignore", "!*.a\n")]);
        let rules = checkout.rules(&[]);
        check(&rules, "x.a", false);
        check(&rules, "x.b", true);
    }

    #[test]
    fn a_changed_gitignore_counts_once_it_is_forgotten() {
        let checkout = Checkout::with(&[("a/.gitignore", "*.o\n"), ("a.b/x", "")]);
        let rules = checkout.rules(&[]);
        check(&rules, "a/c/x.o", true);
        fs::write(checkout.dir.path().join("a/.gitignore"), "").unwrap();
        check(&rules, "a/c/x.o", true);
        rules.forget(b"a");
        check(&rules, "a/c/x.o", false);
    }

    #[test]
    fn a_gitignore_that_is_a_link_or_a_fifo_is_passed_over() {
        let checkout = Checkout::with(&[("rules", "*\n"), ("sub/x", "")]);
        std::os::unix::fs::symlink("rules", checkout.dir.path().join(".gitignore")).unwrap();
        let fifo = checkout.dir.path().join("sub/.gitignore");
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
        check(&checkout.rules(&[]), "sub/x", false);
    }

    #[test]
    fn what_an_unreadable_file_may_ignore_may_be_excluded_until_it_can_be_read() {
        let checkout = Checkout::with(&[("a/x", ""), ("b/x", "")]);
        // A socket cannot be opened, whoever asks.
        let unreadable = checkout.dir.path().join("a/.gitignore");
        let _socket = std::os::unix::net::UnixListener::bind(&unreadable).unwrap();
        let rules = checkout.rules(&[]);
        assert!(rules.may_be_excluded(b"a/x", false) && rules.may_be_excluded(b"a/new/x", false));
        assert!(!rules.is_excluded(b"a/x", false) && !rules.may_be_excluded(b"b/x", false));
        fs::remove_file(&unreadable).unwrap();
        fs::write(&unreadable, "/y\n").unwrap();
        assert!(!rules.may_be_excluded(b"a/x", false) && rules.may_be_excluded(b"a/y", false));
    }

    #[test]
    fn a_configured_exclude_must_be_a_pattern() {
        let refused = Rules::load(Path::new("/"), Path::new("/"), &["[a".to_owned()], None).unwrap_err();
        assert_eq!(refused.to_string(), "`[a` in sandbox.exclude is not a .gitignore pattern: it can match nothing");
    }

    fn pattern() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "*",
            "a",
            "b",
            "ab",
            "a*",
            "?b",
            "[ab]",
            "[!a]*",
            "**",
            "x.o",
            "*.o",
            "{a,b}",
            "[[:alpha:]]",
            "\\a",
            "a\\ ",
            "\\!a",
            "[]b]",
            "a b",
            "*/",
            "[a",
            "\\*",
            "#a",
            "[^b]?",
            "[a-b]",
            "A",
            "B*",
            "*.O",
            "*A*b",
            "**B",
            "[A]",
            "[A-B]*",
            "[[:upper:]]",
            "[[:lower:]]",
            "\\A",
        ]);
        let ends = (prop::sample::select(vec!["", "!", "/", "!/"]), prop::sample::select(vec!["", "/", "  ", "\r"]));
        (ends, prop::collection::vec(part, 1..4))
            .prop_map(|((front, back), parts)| format!("{front}{}{back}", parts.join("/")))
    }

    fn file() -> impl Strategy<Value = String> {
        prop::collection::vec(pattern(), 0..5).prop_map(|lines| lines.join("\n"))
    }

    fn path() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "a", "b", "ab", "bb", "x.o", "{a,b}", "a ", "!a", "a b", "]", "*", "[a", "#a", "A", "aB", "X.O",
        ]);
        prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// `git check-ignore` is the judge, on files that exist below directories that exist.
        #[test]
        fn answers_as_git_check_ignore(
            top in file(), nested in file(), info in file(), paths in prop::collection::vec(path(), 1..24),
            folds in any::<bool>(),
        ) {
            let checkout = Checkout::with(&[]);
            checkout.git(&["init", "-q"], b"");
            checkout.git(&["config", "core.ignoreCase", if folds { "true" } else { "false" }], b"");
            for (name, content) in [(".gitignore", &top), ("a/.gitignore", &nested), (".git/info/exclude", &info)] {
                let file = checkout.dir.path().join(name);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, content).unwrap();
            }
            for path in &paths {
                let file = checkout.dir.path().join(path);
                // A path may lead through a file made before, or name a directory: it is asked all the same.
                let _ = fs::create_dir_all(file.parent().unwrap()).and_then(|()| fs::write(file, ""));
            }
            let asked: Vec<&String> = paths.iter().filter(|path| checkout.dir.path().join(path).exists()).collect();
            let input: Vec<u8> = asked.iter().flat_map(|path| path.bytes().chain([0])).collect();
            let answer = checkout.git(&["check-ignore", "-z", "--no-index", "--stdin"], &input);
            let ignored: Vec<&[u8]> = answer.split(|byte| *byte == 0).collect();
            let rules = checkout.rules(&[]).folding_case(folds);
            for path in asked {
                let is_dir = checkout.dir.path().join(path).is_dir();
                prop_assert_eq!(
                    rules.is_excluded(path.as_bytes(), is_dir), ignored.contains(&path.as_bytes()), "{}", path
                );
            }
        }
    }
}
