//! The commented configuration that `cascade init` writes.

/// The commented reference: a complete, valid configuration for a project named `my-site`.
pub const TEMPLATE: &str = include_str!("../../cascade-sync.yaml");

/// Names of the examples of classic uses.
pub const EXAMPLES: [&str; 3] = ["base44", "records", "storage"];

/// The examples, in the order of their names.
const TEXTS: [&str; 3] = [
    include_str!("examples/base44.yaml"),
    include_str!("examples/records.yaml"),
    include_str!("examples/storage.yaml"),
];

const PROJECT: &str = "project: ";
const PRODUCTION: &str = "  production:";
const BRANCH: &str = "    branch: ";

/// Answers the commented configuration for a project and the branch of its production environment.
///
/// Characters that the name of a project cannot have become `-`. `production_branch` must be a good
/// branch name other than `develop` and `staging`; what is written is quoted where YAML needs it.
#[must_use]
pub fn template(project: &str, production_branch: &str) -> String {
    filled(TEMPLATE, project, production_branch)
}

/// Answers an example of a classic use, one of [`EXAMPLES`]; the commented reference for any other name. Otherwise as
/// [`template`].
#[must_use]
pub fn example(name: &str, project: &str, production_branch: &str) -> String {
    let found = EXAMPLES.iter().zip(TEXTS).find(|(known, _)| **known == name);
    filled(found.map_or(TEMPLATE, |(_, text)| text), project, production_branch)
}

fn filled(template: &str, project: &str, production_branch: &str) -> String {
    let mut text = String::with_capacity(template.len() + 64);
    let mut in_production = false;
    for line in template.lines() {
        if line.starts_with("  ") && !line.starts_with("   ") {
            in_production = line == PRODUCTION;
        }
        if line.starts_with(PROJECT) {
            push_value(&mut text, line, PROJECT, &project_name(project));
        } else if in_production && line.starts_with(BRANCH) {
            push_value(&mut text, line, BRANCH, production_branch);
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

/// Writes a `key: value  # comment` line with another value, the comment in its column where it fits.
fn push_value(text: &mut String, line: &str, key: &str, value: &str) {
    let written = format!("{key}{}", scalar(value));
    match line.find(" #") {
        Some(comment) => text.push_str(&format!("{written:comment$}{}", &line[comment..])),
        None => text.push_str(&written),
    }
}

/// Makes a valid project name of any text.
fn project_name(text: &str) -> String {
    let is_good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = text.chars().map(|c| if is_good(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "my-site".to_owned() } else { name.to_owned() }
}

/// Writes text as YAML: bare where it surely stays text, else in double quotes.
fn scalar(text: &str) -> String {
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !matches!(text.to_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    // A JSON string is a YAML string.
    if is_bare { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, Variables, parse, reference};

    fn read(text: &str) -> Config {
        parse(text, "cascade-sync.yaml", &Variables::default()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The template with its examples (`#key: value`, no space after `#`) made active.
    fn with_examples() -> String {
        let active = |line: &str| {
            let indent = line.len() - line.trim_start().len();
            match line.trim_start().strip_prefix('#') {
                Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-') => {
                    format!("{}{rest}\n", " ".repeat(indent))
                }
                _ => format!("{line}\n"),
            }
        };
        TEMPLATE.lines().map(active).collect()
    }

    fn keys_of(value: &serde_yaml::Value, path: &str, keys: &mut BTreeSet<String>) {
        for item in value.as_sequence().into_iter().flatten() {
            keys_of(item, &format!("{path}[]"), keys);
        }
        let Some(map) = value.as_mapping() else { return };
        for (key, value) in map {
            let named = matches!(path, "environments" | "checks" | "groups" | "syncs") || path.ends_with(".each");
            let key = if named { "<name>" } else { key.as_str().unwrap() };
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            keys_of(value, &path, keys);
            keys.insert(path);
        }
    }

    #[test]
    fn template_is_valid_as_it_stands_and_with_every_example() {
        let config = read(TEMPLATE);
        assert_eq!(config.project, "my-site");
        assert_eq!(config.environments["production"].approval.as_ref().map(|it| it.required), Some(1));
        assert!(!read(&with_examples()).checks.is_empty());
    }

    #[test]
    fn template_shows_every_key_and_no_other() {
        let mut keys = BTreeSet::new();
        keys_of(&serde_yaml::from_str(&with_examples()).unwrap(), "", &mut keys);
        let expected: BTreeSet<String> = reference().into_iter().map(|entry| entry.key).collect();
        // What is below a body is the user's own.
        keys.retain(|key| !key.ends_with("<name>") && !key.contains(".body."));
        let expected = expected.into_iter().filter(|key| !key.ends_with("<name>")).collect::<BTreeSet<_>>();
        assert_eq!(keys, expected);
    }

    #[test]
    fn template_says_the_defaults() {
        let minimal = read("version: 1\nproject: my-site\n");
        let mut config = read(TEMPLATE);
        config.environments.clear();
        config.sandbox.exclude.clear();
        assert_eq!(config, minimal);
    }

    #[test]
    fn every_example_is_valid_and_delivers_something() {
        for name in EXAMPLES {
            let config = read(&example(name, "shop", "trunk"));
            assert_eq!((config.project.as_str(), config.branches()[2]), ("shop", "trunk"));
            let delivered = &config.environments["production"].deliver;
            let runs_itself = |name: &String| delivered.contains(name) || config.syncs[name].after.is_some();
            assert!(!config.syncs.is_empty() && config.syncs.keys().all(runs_itself), "{name}");
        }
    }

    #[test]
    fn project_and_production_branch_are_replaced() {
        let config = read(&template("shop", "trunk"));
        assert_eq!(config.project, "shop");
        assert_eq!(config.branches(), ["develop", "staging", "trunk"]);
        assert!(template("shop", "trunk").lines().count() == TEMPLATE.lines().count());
    }

    proptest! {
        #[test]
        fn any_directory_name_gives_a_valid_template(name in ".*", branch in "[a-z0-9]{1,3}/[a-z]{1,9}") {
            let config = read(&template(&name, &branch));
            prop_assert_eq!(config.branches(), ["develop", "staging", branch.as_str()]);
        }
    }
}
