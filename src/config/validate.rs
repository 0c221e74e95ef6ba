//! What the types cannot say: names that must exist, chains that must end, exactly one of four keys.

mod buckets;
mod notify;
mod syncs;
mod vaults;

use std::collections::HashSet;
use std::rc::Rc;

use ignore::gitignore::GitignoreBuilder;

use super::message::Placeholder;
use super::model::{Approval, AutoMode, Config, Expanded, MessageSpec, PromoteMode};
use super::node::{Kind, Node, NodeId, Place, dotted};
use super::problem::{Position, Report, brief, nearest, quoted_message};
use super::refname::branch_problem;
use super::variables::{Variables, is_name};
use crate::base::units::{Span, count};

/// The keys of a check of which exactly one is set.
const QUESTIONS: [&str; 4] = ["run", "http", "tcp", "file"];

/// Expands `${VAR}` in `config` and reports everything that does not fit together.
///
/// Says nothing about values in `refused`: they have been reported.
pub(super) fn validate(
    config: &mut Config,
    root: &Node,
    refused: HashSet<NodeId>,
    variables: &Variables,
    report: &mut Report,
) {
    let mut checker = Checker { root, refused, report };
    if checker.exceeds_limits(config) {
        return;
    }
    checker.expand(config, variables);
    checker.check_top(config);
    checker.check_sandbox(config);
    checker.check_groups(config);
    checker.check_environments(config);
    checker.check_questions(config);
    checker.check_health(config);
    checker.check_secrets(config);
    checker.check_notify(&config.notify);
    checker.check_syncs(config);
}

/// Reports what does not fit together in what `config` says about secrets.
pub(super) fn validate_secrets(config: &Config, root: &Node, refused: HashSet<NodeId>, report: &mut Report) {
    Checker { root, refused, report }.check_secrets(config);
}

struct Checker<'a> {
    root: &'a Node,
    refused: HashSet<NodeId>,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn exceeds_limits(&mut self, config: &Config) -> bool {
        let counts = [
            ("environments", config.environments.len(), MAX_ENVIRONMENTS),
            ("checks", config.checks.len(), MAX_CHECKS),
            ("syncs", config.syncs.len(), syncs::MAX_SYNCS),
        ];
        let mut exceeds = false;
        for (key, _, limit) in counts.into_iter().filter(|(_, count, limit)| count > limit) {
            self.report_key(&[key], &format!("there can be {limit} at most"));
            exceeds = true;
        }
        exceeds
    }

    fn expand(&mut self, config: &mut Config, variables: &Variables) {
        for (name, check) in &mut config.checks {
            let fields = [("http", &mut check.http), ("tcp", &mut check.tcp), ("contains", &mut check.contains)];
            for (key, field) in fields {
                let Some(text) = field else { continue };
                let value = variables.expand(text.written());
                self.replace(&["checks", name, key], text, value);
            }
        }
        self.expand_notify(&mut config.notify, variables);
        self.expand_syncs(config, variables);
    }

    /// Gives a text its value, or reports why there is none.
    fn replace(&mut self, path: &[&str], text: &mut Expanded, value: Result<String, String>) {
        match value {
            Ok(value) => *text = Expanded::new(text.written(), value),
            Err(message) => self.refuse(path, &message),
        }
    }

    fn check_top(&mut self, config: &Config) {
        if config.version != 1 {
            self.report_value(&["version"], "this program reads version 1 of the format");
        }
        if config.project.is_empty() || !is_word(&config.project) {
            self.report_value(&["project"], "a project's name is made of letters, digits, `-`, `_` and `.`");
        }
        if branch_problem(&config.remote).is_some() {
            self.report_value(&["remote"], "this is not the name of a git remote");
        }
        if config.remote_deadline.0.is_zero() {
            self.report_value(&["remote_deadline"], NOT_ZERO);
        }
        if config.parallel_checks == Some(0) {
            self.report_value(&["parallel_checks"], AT_LEAST_ONE);
        }
    }

    fn check_sandbox(&mut self, config: &Config) {
        let sandbox = &config.sandbox;
        if let Some(problem) = branch_problem(&sandbox.branch) {
            self.report_value(&["sandbox", "branch"], problem);
        }
        if sandbox.settle > sandbox.batch_window {
            let message =
                format!("settle ({}) must not be longer than batch_window ({})", sandbox.settle, sandbox.batch_window);
            let key = if self.find(&["sandbox", "settle"]).is_some() { "settle" } else { "batch_window" };
            self.report_value(&["sandbox", key], &message);
        }
        self.check_message(&sandbox.message);
        for (place, pattern) in self.texts(&["sandbox", "exclude"]) {
            if let Some(problem) = pattern_problem(&pattern) {
                self.report.add(place.at, place.key, problem);
            }
        }
    }

    fn check_secrets(&mut self, config: &Config) {
        for (place, file) in self.texts(&["secrets", "rules"]) {
            if !is_inside(&file) {
                self.report.add(place.at, place.key, "must be a relative path that stays inside (no `..`)");
            }
        }
        for (place, name) in self.texts(&["secrets", "variables"]) {
            if !is_name(&name.replace('*', "_")) {
                self.report.add(
                    place.at,
                    place.key,
                    "a variable's name is made of letters, digits and `_`; `*` stands for any",
                );
            }
        }
        if config.secrets.allow.len() > MAX_ALLOWED_SECRETS {
            self.report_key(&["secrets", "allow"], &format!("there can be {MAX_ALLOWED_SECRETS} at most"));
            return;
        }
        let root = self.root;
        let entries = root.entry("secrets").and_then(|secrets| secrets.value.entry("allow"));
        let items = match entries.map(|entry| &entry.value.kind) {
            Some(Kind::List(items)) => &items[..],
            _ => &[],
        };
        for (index, item) in items.iter().enumerate().filter(|(_, item)| matches!(item.kind, Kind::Map(_))) {
            self.check_allowed_secret(item, &format!("secrets.allow[{index}]"));
        }
    }

    fn check_allowed_secret(&mut self, item: &Node, key: &str) {
        let narrows = |name: &&str| item.entry(name).is_some_and(|entry| !entry.value.is_null());
        if !["path", "rule", "fingerprint"].iter().any(narrows) {
            self.report.add(item.at, key, "allows everything: say which by `path`, `rule` or `fingerprint`");
        }
        for name in ["path", "rule", "fingerprint", "reason"] {
            let Some(entry) = item.entry(name).filter(|entry| !self.refused.contains(&entry.value.id)) else {
                continue;
            };
            if let Some(problem) = entry.value.as_text().and_then(|text| allowed_secret_problem(name, text)) {
                self.report.add(entry.value.at, dotted(key, name), problem);
            }
        }
    }

    fn check_message(&mut self, message: &MessageSpec) {
        let path = |key| ["sandbox", "message", key];
        if message.deadline.0.is_zero() {
            self.report_value(&path("deadline"), NOT_ZERO);
        } else if message.deadline > MAX_MESSAGE_DEADLINE {
            self.report_value(&path("deadline"), "must be 20s at most: each save waits that long");
        }
        let Some(summarize) = &message.summarize else { return };
        if summarize.trim().is_empty() {
            self.report_value(&path("summarize"), "the command is empty");
        }
        if message.template.as_ref().is_some_and(|template| !template.has(Placeholder::Subject)) {
            self.report_value(&path("template"), "what `summarize` prints is `{subject}`, which is not in here");
        }
    }

    fn check_environments(&mut self, config: &Config) {
        for (name, environment) in &config.environments {
            let path = ["environments", name.as_str()];
            if !is_environment_name(name) {
                let message = "an environment's name starts with a-z or 0-9 and goes on with those, `-` and `_`";
                self.report_key(&path, message);
            } else if *name == config.sandbox.branch {
                self.report_key(&path, "an environment must not have the name of the sandbox's branch");
            }
            if let Some(problem) = branch_problem(&environment.branch) {
                self.report_value(&[path[0], name, "branch"], problem);
            }
            if environment.promote == PromoteMode::Manual && environment.auto == AutoMode::Every {
                self.report_value(&[path[0], name, "auto"], "nothing is promoted by itself: it wants `promote: auto`");
            }
            if let Some(approval) = &environment.approval {
                self.check_approval(config, name, approval);
            }
            self.check_source(config, name, &environment.from);
            self.check_names(&[path[0], name, "checks"]);
            self.check_names(&[path[0], name, "verify"]);
            self.check_deliveries(config, name);
            if !environment.watch_for.0.is_zero() && environment.verify.is_empty() {
                let message = "there is nothing to watch: `verify` names no check";
                self.report_value(&[path[0], name, "watch_for"], message);
            }
        }
        self.check_branches(config);
        self.check_cycles(config);
    }

    fn check_approval(&mut self, config: &Config, name: &str, approval: &Approval) {
        let path = |key| ["environments", name, "approval", key];
        if approval.required == 0 {
            self.report_value(&path("required"), AT_LEAST_ONE);
        }
        if approval.expires.0.is_zero() {
            self.report_value(&path("expires"), NOT_ZERO);
        }
        let people = approvers(config, approval);
        if people.as_ref().is_some_and(|people| (people.len() as u64) < u64::from(approval.required)) {
            let message = format!("`from` names {} only", count(people.map_or(0, |people| people.len()), "approver"));
            self.report_value(&path("required"), &message);
        }
        let groups = self.keys("groups");
        for (place, from) in self.texts(&path("from")) {
            if !from.contains('@') && !groups.contains(&from) {
                let message = format!("`{}` is neither an e-mail address nor one of `groups`", brief(&from));
                self.report_unknown(&place, message, &from, &groups);
            }
        }
        for (group, needed) in &approval.each {
            let at = [path("each").as_slice(), &[group.as_str()]].concat();
            let members = config.groups.get(group).map_or(0, Vec::len);
            if !groups.iter().any(|known| **known == **group) {
                let known: Vec<&str> = groups.iter().map(|known| &**known).collect();
                self.report_choice(&at, &format!("there is no group `{}`", brief(group)), group, &known);
            } else if *needed == 0 {
                self.report_value(&at, AT_LEAST_ONE);
            } else if (members as u64) < u64::from(*needed) {
                self.report_value(&at, &format!("the group has {} only", count(members, "member")));
            }
        }
    }

    fn check_groups(&mut self, config: &Config) {
        for (name, members) in &config.groups {
            if !is_environment_name(name) {
                self.report_key(
                    &["groups", name],
                    "a group's name starts with a-z or 0-9 and goes on with those, `-` and `_`",
                );
            }
            if members.is_empty() {
                self.report_key(&["groups", name], "the group has no members");
            }
            for (place, member) in self.texts(&["groups", name]) {
                if !member.contains('@') {
                    let message = "members are e-mail addresses, as `git config user.email` has them";
                    self.report.add(place.at, place.key, message);
                }
            }
        }
    }

    /// `from` is the sandbox's branch or another environment, even one whose own content was refused.
    fn check_source(&mut self, config: &Config, name: &str, from: &str) {
        let known = self.keys("environments");
        if self.is_refused(&["sandbox", "branch"]) {
            return;
        }
        if from == config.sandbox.branch || known.iter().any(|known| &**known == from) {
            return;
        }
        let names = || known.iter().map(|known| &**known).filter(|known| *known != name);
        let sources: Vec<&str> = std::iter::once(config.sandbox.branch.as_str()).chain(names()).collect();
        let message = format!("`{}` is neither the sandbox's branch nor an environment", brief(from));
        self.report_choice(&["environments", name, "from"], &message, from, &sources);
    }

    fn check_branches(&mut self, config: &Config) {
        let mut seen = Vec::new();
        if !self.is_refused(&["sandbox", "branch"]) {
            seen.push(("the sandbox".to_owned(), config.sandbox.branch.as_str()));
        }
        for (name, environment) in &config.environments {
            let path = ["environments", name, "branch"];
            let clash = seen.iter().find_map(|(owner, branch)| {
                let problem = clash(branch, &environment.branch)?;
                Some(format!("`{}` {problem} of {owner}", brief(&environment.branch)))
            });
            if let Some(message) = clash {
                self.report_value(&path, &message);
            }
            if self.find(&path).is_some() {
                seen.push((format!("environment `{}`", brief(name)), &environment.branch));
            }
        }
    }

    fn check_cycles(&mut self, config: &Config) {
        let mut on_known_cycle = HashSet::new();
        for name in config.environments.keys() {
            let Some(cycle) = cycle_through(config, name) else { continue };
            if on_known_cycle.contains(name.as_str()) {
                continue;
            }
            let shown: Vec<String> = cycle.iter().chain(cycle.first()).map(|name| brief(name)).collect();
            let message = format!("the environments feed each other in a circle: {}", shown.join(" <- "));
            self.report_value(&["environments", name, "from"], &message);
            on_known_cycle.extend(cycle);
        }
    }

    fn check_questions(&mut self, config: &Config) {
        for (name, check) in &config.checks {
            let path = |key| ["checks", name.as_str(), key];
            if name.is_empty() || !is_word(name) {
                self.report_key(&["checks", name], "a check's name is made of letters, digits, `-`, `_` and `.`");
            }
            self.check_one_question(name);
            self.check_answers(name);
            self.check_variables(name);
            if check.http.as_ref().is_some_and(|url| !is_http_url(url.value())) {
                self.report_value(&path("http"), "the URL must begin with http:// or https:// and name a host");
            }
            if check.tcp.as_ref().is_some_and(|address| !is_host_and_port(address.value())) {
                self.report_value(&path("tcp"), "must be host:port, like 127.0.0.1:5432 or [::1]:5432");
            }
            if check.file.as_deref().is_some_and(|file| !is_inside(file)) {
                self.report_value(&path("file"), "must be a relative path that stays inside (no `..`)");
            }
            if check.run.as_deref().is_some_and(|run| run.trim().is_empty()) {
                self.report_value(&path("run"), "the command is empty");
            }
            if check.status.is_some_and(|status| !(100..=599).contains(&status)) {
                self.report_value(&path("status"), "an HTTP status is a number from 100 to 599");
            }
            let counts = [("successes", check.successes), ("failures", check.failures)];
            for (key, _) in counts.into_iter().filter(|(_, count)| *count == 0) {
                self.report_value(&path(key), AT_LEAST_ONE);
            }
            let spans = [("every", Some(check.every)), ("deadline", Some(check.deadline)), ("timeout", check.timeout)];
            for (key, _) in spans.into_iter().filter(|(_, span)| span.is_some_and(|span| span.0.is_zero())) {
                self.report_value(&path(key), NOT_ZERO);
            }
        }
    }

    fn check_one_question(&mut self, name: &str) {
        let set: Vec<&str> = QUESTIONS.into_iter().filter(|key| self.is_set(&["checks", name, key])).collect();
        if set.is_empty() {
            self.report_key(&["checks", name], "a check needs one of run, http, tcp and file");
        }
        for extra in set.iter().skip(1) {
            let message = format!("a check asks one question, and this one has `{}` already", set[0]);
            self.report_key(&["checks", name, extra], &message);
        }
    }

    fn check_answers(&mut self, name: &str) {
        if self.is_set(&["checks", name, "http"]) {
            return;
        }
        for key in ["status", "contains"] {
            if self.is_set(&["checks", name, key]) {
                self.report_key(&["checks", name, key], "only has a meaning beside `http`");
            }
        }
    }

    fn check_variables(&mut self, name: &str) {
        let path = ["checks", name, "env"];
        if self.is_set(&path) && !self.is_set(&["checks", name, "run"]) {
            self.report_key(&path, "only has a meaning beside `run`");
        }
        for (place, variable) in self.texts(&path) {
            if !is_name(&variable) {
                self.report.add(place.at, place.key, "a variable's name is made of letters, digits and `_`");
            }
        }
    }

    fn check_health(&mut self, config: &Config) {
        if config.health.every.0.is_zero() {
            self.report_value(&["health", "every"], NOT_ZERO);
        }
        self.check_names(&["health", "checks"]);
    }

    /// Each name in the list is one of a check, even one whose own content was refused.
    fn check_names(&mut self, path: &[&str]) {
        let known = self.keys("checks");
        for (place, name) in self.texts(path) {
            if self.report.is_full() {
                return;
            }
            if known.contains(&name) {
                continue;
            }
            self.report_unknown(&place, format!("there is no check `{}`", brief(&name)), &name, &known);
        }
    }

    fn report_unknown(&mut self, place: &Place, message: String, found: &str, known: &[Rc<str>]) {
        let near = nearest(found, known.iter().map(|known| &**known)).map(brief);
        let known = choices(known.iter().map(|known| &**known));
        self.report.add_choice(place.at, place.key.clone(), message, known, near);
    }

    fn keys(&self, map: &str) -> Vec<Rc<str>> {
        let entries = self.root.entry(map).map_or(&[][..], |entry| entry.value.entries());
        entries.iter().map(|entry| Rc::clone(&entry.key)).collect()
    }

    /// Finds a value that was not refused, with its place and its node.
    fn find(&self, path: &[&str]) -> Option<(Place, &Node)> {
        let mut place = Place { at: self.root.at, key_at: self.root.at, key: String::new() };
        let mut node = self.root;
        for step in path {
            let entry = node.entry(step)?;
            node = &entry.value;
            if self.refused.contains(&node.id) {
                return None;
            }
            place = Place { at: node.at, key_at: entry.at, key: dotted(&place.key, step) };
        }
        Some((place, node))
    }

    /// Whether the key is there with any value, good or refused.
    fn is_set(&self, path: &[&str]) -> bool {
        let node = path.iter().try_fold(self.root, |node, step| node.entry(step).map(|entry| &entry.value));
        node.is_some_and(|node| !node.is_null())
    }

    /// Whether the value, or what it is part of, was refused.
    fn is_refused(&self, path: &[&str]) -> bool {
        let mut node = self.root;
        path.iter().any(|step| match node.entry(step) {
            Some(entry) => {
                node = &entry.value;
                self.refused.contains(&node.id)
            }
            None => false,
        })
    }

    /// The texts of a list that were not refused.
    fn texts(&self, path: &[&str]) -> Vec<(Place, Rc<str>)> {
        let Some((list, node)) = self.find(path) else { return Vec::new() };
        let Kind::List(items) = &node.kind else { return Vec::new() };
        let good = items.iter().enumerate().filter(|(_, item)| !self.refused.contains(&item.id));
        good.filter_map(|(index, item)| {
            let key = format!("{}[{index}]", list.key);
            Some((Place { at: item.at, key_at: item.at, key }, Rc::clone(item.as_text()?)))
        })
        .collect()
    }

    /// Reports a value; a key without one was reported where it is required.
    fn report_value(&mut self, path: &[&str], message: &str) {
        if self.is_set(path) {
            self.report_at(path, message, |place| place.at);
        }
    }

    fn report_key(&mut self, path: &[&str], message: &str) {
        self.report_at(path, message, |place| place.key_at);
    }

    fn report_at(&mut self, path: &[&str], message: &str, at: impl Fn(&Place) -> Position) {
        if let Some((place, _)) = self.find(path) {
            self.report.add(at(&place), place.key, message);
        }
    }

    fn report_choice(&mut self, path: &[&str], message: &str, found: &str, known: &[&str]) {
        if let Some((place, _)) = self.find(path) {
            let near = nearest(found, known.iter().copied()).map(brief);
            self.report.add_choice(place.at, place.key, message, choices(known.iter().copied()), near);
        }
    }

    /// Reports a value and says nothing more about it.
    fn refuse(&mut self, path: &[&str], message: &str) {
        self.report_value(path, message);
        if let Some(id) = self.find(path).map(|(_, node)| node.id) {
            self.refused.insert(id);
        }
    }
}

/// More environments are refused.
const MAX_ENVIRONMENTS: usize = 100;

/// A longer deadline would make `cascade stop` give up before the watcher has saved.
const MAX_MESSAGE_DEADLINE: Span = Span::seconds(20);

/// More checks are refused.
const MAX_CHECKS: usize = 1_000;

/// More allowed secrets are refused.
const MAX_ALLOWED_SECRETS: usize = 10_000;

const NOT_A_FINGERPRINT: &str = "must be 8 to 64 hexadecimal digits, as `cascade secrets` shows them; never the value";
const AT_LEAST_ONE: &str = "must be at least 1";
const NOT_ZERO: &str = "must be longer than 0s";

/// At most this many names are listed as a choice.
const MAX_CHOICES: usize = 20;

fn choices<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.take(MAX_CHOICES).map(brief).collect()
}

/// Answers who may approve; nothing where anybody may.
fn approvers<'a>(config: &'a Config, approval: &'a Approval) -> Option<HashSet<&'a str>> {
    let members = |name: &'a String| match config.groups.get(name) {
        Some(group) => group.iter().map(String::as_str).collect(),
        None => vec![name.as_str()],
    };
    (!approval.from.is_empty()).then(|| approval.from.iter().flat_map(members).collect())
}

/// Says why two branches cannot be beside each other; nothing where they can.
fn clash(one: &str, other: &str) -> Option<&'static str> {
    if one == other {
        return Some("is the branch");
    }
    let is_below = |below: &str, above: &str| below.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
    (is_below(one, other) || is_below(other, one)).then_some("cannot exist in git beside the branch")
}

/// Answers the environments on the circle that `start` is on, following `from`; nothing if it is on none.
fn cycle_through<'a>(config: &'a Config, start: &'a str) -> Option<Vec<&'a str>> {
    let mut chain = vec![start];
    let mut seen = HashSet::from([start]);
    loop {
        let from = config.upstream(chain.last()?)?;
        if from == start {
            return Some(chain);
        }
        if !seen.insert(from) {
            return None;
        }
        chain.push(from);
    }
}

fn pattern_problem(pattern: &str) -> Option<String> {
    let error = GitignoreBuilder::new("").add_line(None, pattern).err()?;
    Some(format!("not a .gitignore pattern: {}", quoted_message(&error.to_string())))
}

/// Says what is wrong with a value of an allowed secret; never repeats it, for somebody may have written the secret.
fn allowed_secret_problem(name: &str, text: &str) -> Option<String> {
    let (is_wrong, problem) = match name {
        "path" => return pattern_problem(text),
        "fingerprint" => (!is_fingerprint(text), NOT_A_FINGERPRINT),
        "reason" => (text.trim().is_empty(), "say why it is no secret"),
        _ => (text.trim().is_empty(), "the name of a rule is empty"),
    };
    is_wrong.then(|| problem.to_owned())
}

fn is_fingerprint(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_environment_name(name: &str) -> bool {
    let is_first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(is_first) && name.chars().all(|c| is_first(c) || matches!(c, '-' | '_'))
}

fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let is_plain = |rest: &str| !rest.contains(|c: char| c.is_whitespace() || c.is_control());
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']) && is_plain(rest))
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_bracketed = host.len() > 2 && host.starts_with('[') && host.ends_with(']');
    let is_name = !host.is_empty() && !host.contains([':', '[', ']']);
    (is_bracketed || is_name)
        && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '@')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_inside(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.contains('\0') && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_host_and_port() {
        for good in ["127.0.0.1:80", "db:5432", "[::1]:80"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["db", ":80", "db:", "db:0", "db:99999", "::1:80", "http://db:80", "db:+80", "[]:80"] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }

    #[test]
    fn urls_need_a_scheme_and_a_host() {
        for good in ["http://x", "https://x/y?z"] {
            assert!(is_http_url(good), "{good}");
        }
        for bad in ["x", "ftp://x", "http://", "http:///x", "http://x y", "HTTP//x"] {
            assert!(!is_http_url(bad), "{bad}");
        }
    }

    #[test]
    fn files_stay_inside() {
        assert!(is_inside("config/app..yaml"));
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a/.."] {
            assert!(!is_inside(bad), "{bad}");
        }
    }
}
