//! The environments as a pipeline: what feeds what.

use super::model::{Config, Environment};
use super::problem::nearest;

impl Config {
    /// Answers the environment with this name.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<&Environment> {
        self.environments.get(name)
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

    /// Answers the environment whose name looks most like `name`, if any is close enough to be meant.
    #[must_use]
    pub fn nearest_environment(&self, name: &str) -> Option<&str> {
        nearest(name, self.environments.keys().map(String::as_str))
    }
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

    #[test]
    fn names_that_do_not_exist_lead_to_the_nearest() {
        let config = config();
        assert_eq!(config.source_branch("qa"), None);
        assert_eq!(config.nearest_environment("prod"), Some("production"));
        assert_eq!(config.nearest_environment("stagign"), Some("staging"));
        assert_eq!(config.nearest_environment("qa"), None);
    }
}
