//! What the types cannot say about syncs.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::{Checker, NOT_ZERO, brief, is_environment_name, is_inside, pattern_problem};
use crate::base::units::Span;
use crate::config::branch_problem;
use crate::config::model::{Config, Expanded};
use crate::config::syncs::SyncSpec;
use crate::config::variables::Variables;

/// More syncs are refused.
pub(super) const MAX_SYNCS: usize = 100;

/// A sync does not run by itself more often than this.
const SHORTEST_PACE: Span = Span::seconds(1);
/// A pause that is longer means that it never runs again.
const LONGEST_PACE: Span = Span::seconds(366 * 24 * 60 * 60);

/// Words that follow `cascade sync` with a meaning of their own.
const RESERVED: [&str; 5] = ["resolve", "verify", "apply", "check-only", "help"];

impl Checker<'_> {
    pub(super) fn expand_syncs(&mut self, config: &mut Config, variables: &Variables) {
        for (name, sync) in &mut config.syncs {
            if let Some(directory) = &mut sync.from.directory {
                let value = variables.expand(directory.written());
                self.replace(&["syncs", name, "from", "directory"], directory, value);
            }
            if let Some(directory) = &mut sync.to.directory {
                let value = variables.expand(directory.written());
                self.replace(&["syncs", name, "to", "directory"], directory, value);
            }
            let (from, to) = (&mut sync.from, &mut sync.to);
            self.expand_bucket(["syncs", name, "from"], &mut from.bucket, &mut from.store, variables);
            self.expand_bucket(["syncs", name, "to"], &mut to.bucket, &mut to.store, variables);
            self.expand_vault(["syncs", name, "from"], &mut from.vault, variables);
            self.expand_vault(["syncs", name, "to"], &mut to.vault, variables);
        }
    }

    pub(super) fn check_syncs(&mut self, config: &Config) {
        let mut targets: Vec<(&str, PathBuf)> = Vec::new();
        for (name, sync) in &config.syncs {
            let path = ["syncs", name.as_str()];
            if !is_environment_name(name) {
                self.report_key(&path, "a sync's name starts with a-z or 0-9 and goes on with those, `-` and `_`");
            } else if RESERVED.contains(&name.as_str()) {
                self.report_key(&path, "a sync cannot have this name: it is a word of `cascade sync`");
            }
            let source = self.check_sync_source(config, name, sync);
            for list in ["include", "exclude"] {
                for (place, pattern) in self.texts(&[path[0], name, list]) {
                    if let Some(problem) = pattern_problem(&pattern) {
                        self.report.add(place.at, place.key, problem);
                    }
                }
            }
            self.check_triggers(config, name, sync);
            if sync.snapshots.keep.0.is_zero() {
                self.report_value(&[path[0], name, "snapshots", "keep"], NOT_ZERO);
            }
            self.check_sync_target(name, sync, source.as_deref(), &mut targets);
        }
    }

    fn check_triggers(&mut self, config: &Config, name: &str, sync: &SyncSpec) {
        let path = |key| ["syncs", name, key];
        if sync.every.is_some_and(|every| every < SHORTEST_PACE) {
            self.report_value(&path("every"), "must be 1s at least");
        }
        for (key, span) in [("every", sync.every), ("min_interval", Some(sync.min_interval))] {
            if span.is_some_and(|span| span > LONGEST_PACE) {
                self.report_value(&path(key), "must be 366d at most");
            }
        }
        if sync.only_in.is_empty() && self.is_set(&path("only_in")) {
            self.report_value(
                &path("only_in"),
                "names no environment: it could run nowhere; leave it out to run everywhere",
            );
        }
        if sync.every.is_some() && self.is_set(&path("cron")) {
            self.report_key(&path("cron"), "it runs by `every` already");
        }
        if let Some(after) = &sync.after {
            let known = self.keys("environments");
            if !known.iter().any(|known| **known == **after) {
                let known: Vec<&str> = known.iter().map(|known| &**known).collect();
                self.report_choice(
                    &path("after"),
                    &format!("there is no environment `{}`", brief(after)),
                    after,
                    &known,
                );
            } else if config
                .environment(after)
                .is_some_and(|environment| environment.deliver.iter().any(|it| it == name))
            {
                self.report_value(&path("after"), "that environment delivers it already");
            }
        }
        for (place, environment) in self.texts(&path("only_in")) {
            if !is_environment_name(&environment) {
                let message = "an environment's name starts with a-z or 0-9 and goes on with those, `-` and `_`";
                self.report.add(place.at, place.key, message);
            }
        }
    }

    /// Each name in an environment's list is one of a sync, even one whose own content was refused, and stands there once.
    pub(super) fn check_deliveries(&mut self, config: &Config, environment: &str) {
        let known = self.keys("syncs");
        let mut seen = HashSet::new();
        for (place, name) in self.texts(&["environments", environment, "deliver"]) {
            if !known.contains(&name) {
                self.report_unknown(&place, format!("there is no sync `{}`", brief(&name)), &name, &known);
            } else if !seen.insert(name.clone()) {
                self.report.add(place.at, place.key, format!("`{}` is delivered already", brief(&name)));
            } else if config.syncs.get(&*name).is_some_and(|sync| !sync.is_active_in(Some(environment))) {
                let message = format!("`{}` is not for this environment: its `only_in` does not name it", brief(&name));
                self.report.add(place.at, place.key, message);
            }
        }
    }

    /// Answers where the content is, where that is a directory or a bucket, for comparison with others.
    fn check_sync_source(&mut self, config: &Config, name: &str, sync: &SyncSpec) -> Option<PathBuf> {
        let path = |key| ["syncs", name, "from", key];
        self.check_one_thing(name, "from", &["directory", "tree", "bucket"]);
        if self.is_set(&path("path")) && !self.is_set(&path("tree")) {
            self.report_key(&path("path"), "only has a meaning beside `tree`");
        }
        if sync.from.directory.as_ref().is_some_and(|directory| !is_path(directory.value())) {
            self.report_value(&path("directory"), NO_DIRECTORY);
        }
        if let Some(problem) =
            sync.from.tree.as_deref().filter(|tree| config.environment(tree).is_none()).and_then(branch_problem)
        {
            self.report_value(&path("tree"), &format!("neither an environment nor a branch: {problem}"));
        }
        if sync.from.path.as_deref().is_some_and(|path| !is_inside(path)) {
            self.report_value(&path("path"), "must be a relative path that stays inside (no `..`)");
        }
        let bucket = self.check_bucket(["syncs", name, "from"], sync.from.bucket.as_ref(), sync.from.store.as_ref());
        let directory = sync.from.directory.as_ref().filter(|_| self.find(&path("directory")).is_some());
        let place = bucket.or_else(|| directory.map(|directory| normal(directory.value())));
        self.check_vault(["syncs", name, "from"], sync.from.vault.as_ref(), place.as_deref());
        place
    }

    /// Reports a side that is nothing, or more than one thing.
    fn check_one_thing(&mut self, name: &str, side: &str, things: &[&str]) {
        let what = if side == "from" { "source" } else { "target" };
        let mut set = things.iter().filter(|thing| self.is_set(&["syncs", name, side, thing]));
        match (set.next(), set.next()) {
            (None, _) => {
                let choices = things.iter().map(|thing| format!("`{thing}`")).collect::<Vec<_>>();
                let (last, first) =
                    choices.split_last().map_or((String::new(), &[][..]), |(one, more)| (one.clone(), more));
                self.report_key(&["syncs", name, side], &format!("a {what} is a {} or a {last}", first.join(", a ")));
            }
            (Some(one), Some(other)) => {
                let message = format!("a {what} is one thing, and this one is a `{one}` already");
                self.report_key(&["syncs", name, side, other], &message);
            }
            _ => {}
        }
    }

    fn check_sync_target<'a>(
        &mut self,
        name: &'a str,
        sync: &SyncSpec,
        source: Option<&Path>,
        targets: &mut Vec<(&'a str, PathBuf)>,
    ) {
        self.check_one_thing(name, "to", &["directory", "bucket"]);
        let path = ["syncs", name, "to", "directory"];
        let bucket = self.check_bucket(["syncs", name, "to"], sync.to.bucket.as_ref(), sync.to.store.as_ref());
        let directory = sync.to.directory.as_ref().filter(|_| self.find(&path).is_some()).map(Expanded::value);
        let (target, path) = match (bucket, directory) {
            (Some(bucket), _) => (bucket, ["syncs", name, "to", "bucket"]),
            (None, Some(value)) if !is_path(value) => return self.report_value(&path, NO_DIRECTORY),
            (None, Some(value)) => (normal(value), path),
            (None, None) => return self.check_vault(["syncs", name, "to"], sync.to.vault.as_ref(), None),
        };
        self.check_vault(["syncs", name, "to"], sync.to.vault.as_ref(), Some(&target));
        if source.is_some_and(|source| overlap(source, &target)) {
            self.report_value(&path, "source and target overlap: neither may lie in the other");
        }
        if let Some((other, _)) = targets.iter().find(|(_, other)| overlap(other, &target)) {
            let message = format!("overlaps with the target of sync `{}`", brief(other));
            self.report_value(&path, &message);
        }
        targets.push((name, target));
    }
}

const NO_DIRECTORY: &str = "must be the path of a directory";

pub(super) fn is_path(path: &str) -> bool {
    !path.trim().is_empty() && !path.contains('\0')
}

/// Answers a path without `.` and `..`, as far as that can be said without looking.
pub(super) fn normal(path: &str) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// Answers whether one path surely is the other or lies in it; those that begin elsewhere are compared when they are
/// opened.
fn overlap(one: &Path, other: &Path) -> bool {
    let ups = |path: &Path| path.components().take_while(|part| *part == Component::ParentDir).count();
    let begin_alike = one.is_absolute() == other.is_absolute() && ups(one) == ups(other);
    begin_alike && (one.starts_with(other) || other.starts_with(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_seen_through_dots() {
        let overlaps = |one: &str, other: &str| overlap(&normal(one), &normal(other));
        assert!(overlaps("/a/b", "/a/./c/../b/d") && overlaps("x", "./x/y") && overlaps("/", "/a"));
        assert!(overlaps(".", "x") && overlaps("../x", "../x/y") && !overlaps(".", "../x"));
        assert!(!overlaps("/a/b", "/a/bc") && !overlaps("/a/b", "/a/c") && !overlaps("a", "/a"));
    }
}
