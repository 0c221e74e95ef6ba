//! Secrets in what is saved: looked for while git looks at what changed, told once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::digest::Digest;
use crate::base::escape::{shell_path, shown};
use crate::check::secrets::{Error, Finding, Scanner};
use crate::config::{self, FILE_NAME, Secrets, SecretsMode};
use crate::context::Context;
use crate::watch::Batch;

/// Most findings that one alert lists.
const LISTED_LIMIT: usize = 10;

/// What was found, by path.
pub(super) type Found = BTreeMap<Vec<u8>, Vec<Finding>>;

/// What a watcher looks for, and what it has told of already.
#[derive(Debug)]
pub(super) struct Inspection {
    mode: SecretsMode,
    secrets: Secrets,
    scanner: Scanner,
    told: BTreeMap<Vec<u8>, BTreeSet<Digest>>,
}

/// Looks at the files of one save; goes to the thread where git works.
#[derive(Debug, Clone)]
pub(super) struct Looker {
    mode: SecretsMode,
    scanner: Scanner,
    found: Arc<Mutex<Found>>,
}

impl Inspection {
    /// Prepares to look by the configuration.
    ///
    /// # Errors
    /// As [`Scanner::new`].
    pub fn new(ctx: &Context) -> Result<Self, Error> {
        let secrets = ctx.config.secrets.clone();
        let scanner = Scanner::new(ctx.git.root(), &secrets)?;
        Ok(Self { mode: ctx.config.sandbox.secrets, secrets, scanner, told: BTreeMap::new() })
    }

    /// Reads the rules and the allow list again where the batch may have changed them; answers whether it did.
    ///
    /// What cannot be read changes nothing: the file may be half written, and the old rules are safe.
    pub fn reread(&mut self, root: &Path, batch: &Batch) -> bool {
        let names = [FILE_NAME].into_iter().chain(self.secrets.rules.iter().map(String::as_str));
        let is_named = names.map(str::as_bytes).any(|name| batch.paths.contains(name));
        if self.mode == SecretsMode::Off || !(is_named || batch.everything) {
            return false;
        }
        let secrets = match config::load_secrets(root) {
            // A file of rules may say something else under the same name.
            Ok(secrets) if secrets == self.secrets && (!is_named || secrets.rules.is_empty()) => return false,
            Ok(secrets) => secrets,
            Err(problem) => {
                tracing::warn!(%problem, "what is allowed to look like a secret stays as it was");
                return false;
            }
        };
        match Scanner::new(root, &secrets) {
            Ok(scanner) => (self.scanner, self.secrets) = (scanner, secrets),
            Err(problem) => {
                tracing::warn!(%problem, "the rules for secrets stay as they were");
                return false;
            }
        }
        true
    }

    /// Answers one that looks at the files of one save.
    pub fn looker(&self) -> Looker {
        Looker { mode: self.mode, scanner: self.scanner.clone(), found: Arc::default() }
    }

    /// Answers title and body of what is to be told: nothing where all of it was told before and has not gone since.
    ///
    /// `looked_at` are the paths that were looked at, with what lies below them; nothing stands for all.
    pub fn news(&mut self, looked_at: Option<&BTreeSet<Vec<u8>>>, found: &Found) -> Option<(&'static str, String)> {
        let covers = |path: &Vec<u8>| {
            let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            let mut heads = slashes.chain([path.len()]).map(|end| &path[..end]);
            looked_at.is_none_or(|paths| heads.any(|head| paths.contains(head)))
        };
        self.told.retain(|path, _| found.contains_key(path) || !covers(path));
        let mut lines = Vec::new();
        for (path, findings) in found {
            let told = self.told.entry(path.clone()).or_default();
            let news = findings.iter().filter(|finding| told.insert(finding.digest));
            lines.extend(news.map(|finding| format!("{}: {finding}", shown(path))));
        }
        if lines.is_empty() {
            return None;
        }
        let surplus = lines.len().saturating_sub(LISTED_LIMIT);
        lines.truncate(LISTED_LIMIT);
        lines.extend((surplus > 0).then(|| format!("and {surplus} more")));
        lines.push(match self.mode {
            SecretsMode::Warn => "It was saved: replace the secret, for pushes are stopped by it.".to_owned(),
            _ => format!("Remove it, or {}", way_out("PATH")),
        });
        let title = match self.mode {
            SecretsMode::Warn => "saved, but it looks like a secret",
            _ => "not saved, for it looks like a secret",
        };
        Some((title, lines.join("\n")))
    }
}

impl Looker {
    /// Answers why new content is kept out of a save, in the form that [`crate::git::Inspect`] has.
    ///
    /// `gone` answers the files that the last commit has and the checkout has not, with what they were: a value that was
    /// allowed there has moved.
    pub fn inspect(
        &self,
        path: &[u8],
        content: &[u8],
        committed: &dyn Fn() -> Option<Vec<u8>>,
        gone: &dyn Fn() -> Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Option<String> {
        if self.mode == SecretsMode::Off {
            return None;
        }
        let name = shown(path);
        let mut findings = self.scanner.scan_added(&name, content, committed);
        findings.retain(|finding| finding.allowed.is_none());
        if findings.iter().any(|finding| self.scanner.is_allowed_elsewhere(finding)) {
            let moved: Vec<Finding> =
                gone().iter().flat_map(|(path, content)| self.scanner.scan(&shown(path), content)).collect();
            let is_moved = |finding: &Finding| {
                let same = |was: &Finding| was.rule == finding.rule && was.digest == finding.digest;
                moved.iter().any(|was| was.allowed.is_some() && same(was))
            };
            findings.retain(|finding| !is_moved(finding));
        }
        let first = findings.first()?;
        let more = if findings.len() > 1 { format!(", and {} more", findings.len() - 1) } else { String::new() };
        let reason = format!(
            "{first}{more}: remove it, or {}",
            way_out(&shell_path([path, format!(":{}", first.line).as_bytes()].concat()))
        );
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_vec(), findings);
        (self.mode == SecretsMode::Block).then_some(reason)
    }

    /// Answers what was found so far.
    pub fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn way_out(place: &str) -> String {
    format!("where it is none: `cascade secrets allow {place} --reason TEXT`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> String {
        format!("gh{}{}q7Rf2LxVb9KdTz4MnWc8HpYs3GjEa6UvQr", "p_", 10 + number)
    }

    fn inspection(mode: SecretsMode) -> Inspection {
        let (secrets, scanner) = (Secrets::default(), Scanner::default());
        Inspection { mode, secrets, scanner, told: BTreeMap::new() }
    }

    /// Looks at files and answers the reasons and what is told.
    fn look(at: &mut Inspection, files: &[(&str, &str)]) -> (Vec<String>, Option<(&'static str, String)>) {
        let looker = at.looker();
        let reasons = files
            .iter()
            .filter_map(|(path, text)| looker.inspect(path.as_bytes(), text.as_bytes(), &|| None, &Vec::new));
        let (reasons, paths) = (reasons.collect(), files.iter().map(|(path, _)| path.as_bytes().to_vec()).collect());
        (reasons, at.news(Some(&paths), &looker.found()))
    }

    #[test]
    fn blocked_file_says_where_and_what_to_do_without_the_value() {
        let mut at = inspection(SecretsMode::Block);
        let (reasons, _) = look(&mut at, &[("-a\nb", &token(3)), ("-d", &token(4))]);
        assert!(reasons[0].ends_with("allow \"$(printf './-a\\nb:1')\" --reason TEXT`"), "{reasons:?}");
        assert!(reasons[1].ends_with("`cascade secrets allow ./-d:1 --reason TEXT`"), "{reasons:?}");
        let (reasons, told) = look(&mut at, &[("a $(b)", &format!("x\n{}\n{}", token(1), token(2))), ("c", "fine")]);
        let expected = "line 2 looks like a secret: github-token (ghp_…, 40 characters), and 1 more: remove it, or where it \
            is none: `cascade secrets allow 'a $(b):2' --reason TEXT`";
        assert_eq!(reasons, [expected]);
        let (title, body) = told.unwrap();
        assert_eq!(title, "not saved, for it looks like a secret");
        assert!(body.starts_with("a $(b): line 2 looks") && body.lines().count() == 3, "{body}");
        assert!(!body.contains(&token(1)));
    }

    #[test]
    fn the_same_secret_is_told_once_until_it_was_gone() {
        let mut at = inspection(SecretsMode::Block);
        assert!(look(&mut at, &[("f", &token(1))]).1.is_some());
        assert!(look(&mut at, &[("f", &format!("moved\n{}", token(1)))]).1.is_none());
        assert!(look(&mut at, &[("other", "fine")]).1.is_none());
        let another = look(&mut at, &[("f", &format!("{}\n{}", token(1), token(2)))]).1.unwrap();
        assert_eq!(another.1.lines().count(), 2);
        assert!(look(&mut at, &[("f", "fine")]).1.is_none());
        assert!(look(&mut at, &[("f", &token(1))]).1.is_some());
    }

    #[test]
    fn many_secrets_are_one_short_message() {
        let files: Vec<(String, String)> = (0..30).map(|number| (format!("f{number}"), token(number))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let body = look(&mut inspection(SecretsMode::Block), &files).1.unwrap().1;
        assert_eq!(body.lines().count(), LISTED_LIMIT + 2);
        assert!(body.contains("\nand 20 more\n"), "{body}");
    }

    #[test]
    fn warned_files_are_saved_and_told_and_others_are_not_looked_at() {
        let (reasons, told) = look(&mut inspection(SecretsMode::Warn), &[("f", &token(1))]);
        assert!(reasons.is_empty());
        assert_eq!(told.unwrap().0, "saved, but it looks like a secret");
        assert_eq!(look(&mut inspection(SecretsMode::Off), &[("f", &token(1))]), (Vec::new(), None));
    }

    #[test]
    fn allow_list_is_read_again_when_the_configuration_changed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
        let batch = |path: &[u8]| Batch { paths: [path.to_vec()].into(), everything: false, first_ms: 0, last_ms: 0 };
        let mut at = inspection(SecretsMode::Block);
        write("version: 1\nproject: p\nsecrets:\n  allow: [{ path: f, reason: made up }]\n");
        assert!(!at.reread(dir.path(), &batch(b"f")));
        assert!(at.reread(dir.path(), &batch(FILE_NAME.as_bytes())));
        assert!(!at.reread(dir.path(), &batch(FILE_NAME.as_bytes())));
        assert!(look(&mut at, &[("f", &token(1))]).0.is_empty());
        write("version: 1\nproject: p\nsecrets:\n  allow: [{ path: f }]\n");
        assert!(!at.reread(dir.path(), &batch(FILE_NAME.as_bytes())));
    }
}
