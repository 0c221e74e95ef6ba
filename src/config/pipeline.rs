//! The environments as a pipeline: what feeds what.

use serde::Serialize;
use serde_json::{Value, json};

use super::model::{Approval, CheckSpec, Config, Environment};
use super::problem::nearest;
use crate::base::digest::Digest;

impl Config {
    /// Answers the environment with this name.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<&Environment> {
        self.environments.get(name)
    }

    /// Answers the environment on this branch, with its name.
    #[must_use]
    pub fn environment_on(&self, branch: &str) -> Option<(&str, &Environment)> {
        let mut environments = self.environments.iter().map(|(name, environment)| (name.as_str(), environment));
        environments.find(|(_, environment)| environment.branch == branch)
    }

    /// Answers the branch that candidates for environment `name` come from.
    #[must_use]
    pub fn source_branch(&self, name: &str) -> Option<&str> {
        let from = &self.environment(name)?.from;
        if *from == self.sandbox.branch {
            return Some(&self.sandbox.branch);
        }
        self.environment(from).map(|upstream| upstream.branch.as_str())
    }

    /// Answers the environment that feeds environment `name`; nothing where the sandbox does.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&str> {
        let from = &self.environment(name)?.from;
        if *from == self.sandbox.branch {
            return None;
        }
        self.environments.get_key_value(from).map(|(name, _)| name.as_str())
    }

    /// Answers the environments that an environment, or the sandbox by its branch, feeds; in promotion order.
    #[must_use]
    pub fn downstream(&self, name_or_sandbox_branch: &str) -> Vec<&str> {
        let fed = self.environments.iter().filter(|(_, environment)| environment.from == name_or_sandbox_branch);
        fed.map(|(name, _)| name.as_str()).collect()
    }

    /// Answers the sandbox's branch and then those of all environments, in promotion order.
    #[must_use]
    pub fn branches(&self) -> Vec<&str> {
        let environments = self.environments.values().map(|environment| environment.branch.as_str());
        std::iter::once(self.sandbox.branch.as_str()).chain(environments).collect()
    }

    /// Answers how many checks of one promotion may run at the same time; at least one.
    #[must_use]
    pub fn checks_at_once(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.parallel_checks.and_then(|limit| usize::try_from(limit).ok()).unwrap_or_else(processors).max(1)
    }

    /// Answers the environment whose name looks most like `name`, if any is close enough to be meant.
    #[must_use]
    pub fn nearest_environment(&self, name: &str) -> Option<&str> {
        nearest(name, self.environments.keys().map(String::as_str))
    }

    /// Answers the digest of the rules that hold for environment `name`: its own keys and the checks that it names, as
    /// they are written (variables unexpanded). The order of keys, comments and what only says a default change nothing.
    #[must_use]
    pub fn policy_digest(&self, name: &str) -> Option<Digest> {
        let environment = self.environment(name)?;
        let bare: Environment = serde_json::from_value(json!({ "from": "", "branch": "" })).ok()?;
        let mut rules = stated(environment, &bare);
        if let Some(approval) = &environment.approval {
            rules["approval"] = stated(approval, &Approval::default());
        }
        let asked = environment.approval.iter().flat_map(|approval| approval.from.iter().chain(approval.each.keys()));
        let groups: serde_json::Map<_, _> =
            asked.filter_map(|name| Some((name.clone(), json!(self.groups.get(name)?)))).collect();
        if !groups.is_empty() {
            rules["groups"] = groups.into();
        }
        let names = environment.checks.iter().chain(&environment.verify);
        let checks =
            names.filter_map(|name| Some((name.clone(), stated(self.checks.get(name)?, &CheckSpec::default()))));
        Some(digest_of(
            json!({ "name": name, "environment": rules, "checks": checks.collect::<serde_json::Map<_, _>>() }),
        ))
    }
}

impl CheckSpec {
    /// Answers the digest of what the check asks, as it is written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of(stated(self, &Self::default()))
    }
}

/// Answers the keys of `value` that do not only repeat the default: a key that a later version of the format adds leaves
/// the digest of what was written before as it was.
fn stated<T: Serialize>(value: &T, default: &T) -> Value {
    let object = |it: &T| match serde_json::to_value(it) {
        Ok(Value::Object(keys)) => keys,
        _ => serde_json::Map::new(),
    };
    let default = object(default);
    object(value).into_iter().filter(|(key, value)| default.get(key) != Some(value)).collect()
}

/// Digests a value in its one canonical form: compact, keys sorted.
fn digest_of(mut value: Value) -> Digest {
    value.sort_all_objects();
    Digest::of(value.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Variables, parse, template};

    fn config() -> Config {
        parse(&template("shop", "main"), "cascade-sync.yaml", &Variables::default()).unwrap()
    }

    #[test]
    fn pipeline_is_followed_both_ways() {
        let config = config();
        assert_eq!(config.branches(), ["develop", "staging", "main"]);
        assert_eq!(config.source_branch("staging"), Some("develop"));
        assert_eq!(config.source_branch("production"), Some("staging"));
        assert_eq!(config.upstream("staging"), None);
        assert_eq!(config.upstream("production"), Some("staging"));
        assert_eq!(config.downstream("develop"), ["staging"]);
        assert_eq!(config.downstream("staging"), ["production"]);
        assert!(config.downstream("production").is_empty());
        assert_eq!(config.environment("production").map(|it| it.branch.as_str()), Some("main"));
    }

    const RULES: &str = "version: 1
project: shop
environments:
  staging: { from: develop, branch: staging }
  production: { from: staging, branch: main, approval: { required: 2 }, checks: [build], verify: [up] }
checks:
  build: { run: make }
  up: { http: \"http://${HOST}/\" }
  other: { run: \"true\" }
";

    fn parse_written(text: &str) -> Config {
        crate::config::parse_written(text, "test").unwrap()
    }

    fn policy(text: &str) -> String {
        parse_written(text).policy_digest("production").unwrap().to_string()
    }

    #[test]
    fn a_policy_is_the_same_however_it_is_written() {
        let same = [
            ("branch: main, approval: { required: 2 }", "approval: { self: true, required: 2 }, branch: main"),
            ("checks: [build]", "soak: 0s, promote: manual, checks: [ build ]"),
            ("run: make", "run: make, failures: 3"),
            ("other: { run: \"true\" }", "other: { run: \"false\" }"),
            ("branch: staging", "branch: stage"),
        ];
        for (old, new) in same {
            assert!(RULES.contains(old), "{old}");
            assert_eq!(policy(RULES), policy(&RULES.replace(old, new)), "{new}");
        }
        let expanded = Variables::new([("HOST".to_owned(), "db".to_owned())]);
        let loaded = parse(RULES, "test", &expanded).unwrap();
        assert_eq!(policy(RULES), loaded.policy_digest("production").unwrap().to_string());
        assert_eq!(policy(RULES), "8d7a1337077d8a6d4a458f0e2e6a026c31d8fbb3bb333cd35276c26317f64cb5");
    }

    #[test]
    fn a_policy_is_another_with_every_rule_that_changes() {
        let others = [
            ("required: 2", "required: 1"),
            (", approval: { required: 2 }", ""),
            ("checks: [build]", "checks: []"),
            ("verify: [up]", "verify: [up, build]"),
            ("run: make", "run: make all"),
            ("${HOST}", "elsewhere"),
            ("branch: main", "branch: trunk"),
            ("from: staging", "from: develop"),
            ("required: 2 }", "required: 2 }, freeze: [\"22:00 - 06:00 UTC\"]"),
            ("required: 2 }", "required: 2 }, waive: [checks]"),
        ];
        let mut seen = vec![policy(RULES)];
        for (old, new) in others {
            let changed = policy(&RULES.replace(old, new));
            assert!(!seen.contains(&changed), "{new}");
            seen.push(changed);
        }
        assert_eq!(parse_written(RULES).policy_digest("qa"), None);
    }

    #[test]
    fn who_is_in_a_group_is_part_of_the_rules_that_ask_for_it() {
        let text = |members: &str| {
            let approval = "approval: { required: 1, from: [leads] }";
            let rules = RULES.replace("approval: { required: 2 }", approval);
            format!("{rules}groups: {{ leads: [{members}], others: [z@z.z] }}\n")
        };
        assert_ne!(policy(&text("a@b.c")), policy(&text("a@b.c, d@e.f")));
        assert_eq!(policy(&text("a@b.c")), policy(&text("a@b.c").replace("z@z.z", "y@y.y")));
    }

    #[test]
    fn a_check_has_the_digest_of_what_it_asks() {
        let config = parse_written(RULES);
        assert_ne!(config.checks["build"].digest(), config.checks["other"].digest());
        let again = parse_written(&RULES.replace("run: make", "every: 2s, run: make"));
        assert_eq!(config.checks["build"].digest(), again.checks["build"].digest());
    }

    #[test]
    fn names_that_do_not_exist_lead_to_the_nearest() {
        let config = config();
        assert_eq!(config.source_branch("qa"), None);
        assert_eq!(config.nearest_environment("prod"), Some("production"));
        assert_eq!(config.nearest_environment("stagign"), Some("staging"));
        assert_eq!(config.nearest_environment("qa"), None);
    }
}
