//! What the commands of checks get to see of the environment.

use std::fmt;
use std::sync::Arc;

use super::model::Config;
use super::variables::Variables;

/// What one command gets to see of the environment. Values are never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    withheld: Arc<[String]>,
    given: Vec<(String, String)>,
}

impl Surroundings {
    /// Answers whether the command must not see the variable `name` as cascade itself does.
    #[must_use]
    pub fn withholds(&self, name: &str) -> bool {
        self.withheld.iter().any(|pattern| matches(pattern, name))
    }

    /// Answers the variables that the command gets all the same, with their values. They may be secrets: never show them.
    pub fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.given.iter().map(|(name, _)| name).collect();
        f.debug_struct("Surroundings").field("withheld", &self.withheld).field("given", &names).finish()
    }
}

/// Tells each check of a configuration what its command gets to see.
pub(super) fn surround(config: &mut Config, variables: &Variables) {
    let named = config.secrets.variables.iter().map(String::as_str);
    let withheld: Arc<[String]> = variables.of_dotenv().chain(named).map(str::to_owned).collect();
    for check in config.checks.values_mut() {
        let given = check.env.iter().filter_map(|name| Some((name.clone(), variables.get(name)?.to_owned())));
        check.surroundings = Surroundings { withheld: Arc::clone(&withheld), given: given.collect() };
    }
    for records in config.syncs.values_mut().filter_map(|sync| sync.from.records.as_mut()) {
        let given = records.env.iter().filter_map(|name| Some((name.clone(), variables.get(name)?.to_owned())));
        records.surroundings = Surroundings { withheld: Arc::clone(&withheld), given: given.collect() };
    }
}

/// Answers whether `name` is what `pattern` says; `*` stands for any text, even none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        check("TOKEN", "TOKEN", true);
        check("TOKEN", "TOKEN2", false);
        check("*_TOKEN", "NPM_TOKEN", true);
        check("*_TOKEN", "NPM_TOKENS", false);
        check("AWS_*", "AWS_", true);
        check("*SECRET*", "MY_SECRET_KEY", true);
        check("A*B*C", "AxxBxC", true);
        check("A*B*C", "AxxCxB", false);
    }

    #[test]
    fn what_comes_from_dotenv_is_withheld_unless_the_check_asks_for_it() {
        let environment = [("SAME", "1"), ("OTHER", "mine"), ("NPM_TOKEN", "t")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let variables = Variables::new(environment).with_dotenv("SAME=1\nOTHER=theirs\nONLY_THERE=x\n");
        let text = "version: 1\nproject: p\nsecrets: { variables: [\"*_TOKEN\"] }\n\
                    checks: { a: { run: x }, b: { run: x, env: [ONLY_THERE, NPM_TOKEN, NOT_SET] } }\n";
        let config = parse(text, "test", &variables).unwrap();
        let plain = &config.checks["a"].surroundings;
        let withheld = ["SAME", "ONLY_THERE", "NPM_TOKEN", "OTHER", "PATH"].map(|name| plain.withholds(name));
        assert_eq!(withheld, [true, true, true, false, false]);
        assert_eq!(plain.given().count(), 0);
        let asking = &config.checks["b"].surroundings;
        assert_eq!(asking.given().collect::<Vec<_>>(), [("ONLY_THERE", "x"), ("NPM_TOKEN", "t")]);
        let shown = format!("{config:?}");
        assert!(shown.contains("ONLY_THERE") && !shown.contains("\"t\""), "{shown}");
    }
}
