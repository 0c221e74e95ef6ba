//! `${VAR}`: variables from the environment and `.env`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::problem::brief;

/// Environment variables, captured at the edge. Their values are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, String>,
    from_dotenv: BTreeSet<String>,
}

impl Variables {
    /// Captures variables; of two with one name the later wins.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: variables.into_iter().collect(), from_dotenv: BTreeSet::new() }
    }

    /// Answers the value of a variable. It may be a secret: never show it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Lists the variables that have their value from `.env`, be it that a shell read it before.
    pub(super) fn of_dotenv(&self) -> impl Iterator<Item = &str> {
        self.from_dotenv.iter().map(String::as_str)
    }

    /// Adds what a `.env` file says; variables that are there already win.
    ///
    /// Reads `KEY=VALUE` and `export KEY=VALUE` lines, values bare, in single or in double quotes,
    /// and skips comments and lines that are none of these.
    #[must_use]
    pub fn with_dotenv(mut self, text: &str) -> Self {
        let mut file = BTreeMap::new();
        file.extend(text.trim_start_matches('\u{feff}').lines().filter_map(dotenv_line));
        let is_from_file = |(name, value): &(&String, &String)| self.get(name).is_none_or(|found| found == *value);
        let from_dotenv = file.iter().filter(is_from_file).map(|(name, _)| name.clone()).collect();
        file.append(&mut self.values);
        Self { values: file, from_dotenv }
    }

    /// Answers whether the text refers to a variable that is not set and has no default.
    pub(super) fn lack(&self, text: &str) -> bool {
        let pieces: Vec<&str> = text.split("${").collect();
        pieces.windows(2).any(|pair| {
            let name = pair[1].split_once('}').map_or("", |(inner, _)| inner);
            !pair[0].ends_with('$') && is_name(name) && self.get(name).is_none()
        })
    }

    /// Replaces `${VAR}` and `${VAR:-default}`; `$${` stands for `${`.
    ///
    /// Fails with a message that names the variable which is not set, or says that `${` is malformed.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        self.expand_as(text, |value| value.into())
    }

    /// Does the same as [`Self::expand`], with each value in the form that `form` gives it.
    pub(super) fn expand_as(&self, text: &str, form: impl Fn(&str) -> Cow<'_, str>) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, after) = (&rest[..start], &rest[start + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = after;
                continue;
            }
            expanded.push_str(before);
            let Some((inner, next)) = after.split_once('}') else {
                return Err("`${` is not closed; write `$${` for the characters themselves".to_owned());
            };
            expanded.push_str(&form(self.reference(inner)?));
            rest = next;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn reference<'a>(&'a self, inner: &'a str) -> Result<&'a str, String> {
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            return Err(format!("`${{{}}}` does not name a variable", brief(name)));
        }
        match (self.get(name), default) {
            (Some(""), Some(default)) | (None, Some(default)) => Ok(default),
            (Some(value), _) => Ok(value),
            (None, None) => Err(format!("the variable `{}` is not set, in the environment or in .env", brief(name))),
        }
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variables({} not shown)", self.values.len())
    }
}

pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn dotenv_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    is_name(name).then(|| (name.to_owned(), dotenv_value(value.trim())))
}

fn dotenv_value(value: &str) -> String {
    if let Some((inside, _)) = value.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        return inside.to_owned();
    }
    if let Some(inside) = value.strip_prefix('"').and_then(double_quoted) {
        return inside;
    }
    let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    if value.starts_with('#') { String::new() } else { value[..end].trim_end().to_owned() }
}

/// Answers the text up to the closing quote, with `\n`, `\"`, `\\` and `\$` replaced.
fn double_quoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables() -> Variables {
        Variables::new([("HOST".to_owned(), "example.org".to_owned()), ("EMPTY".to_owned(), String::new())])
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        let expanded = variables().expand(text);
        assert_eq!(expanded.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn references_are_replaced() {
        check("http://${HOST}/", Ok("http://example.org/"));
        check("${HOST}${HOST}", Ok("example.orgexample.org"));
        check("${PORT:-8080}", Ok("8080"));
        check("${EMPTY:-8080}|${EMPTY}|", Ok("8080||"));
        check("$${HOST} costs $5", Ok("${HOST} costs $5"));
    }

    #[test]
    fn what_is_not_set_is_lacking_unless_it_has_a_default() {
        let lacking = ["${NOPE}", "a${HOST}b${NOPE}c", "$${X}${NOPE}"];
        assert!(lacking.iter().all(|text| variables().lack(text)));
        let fine = ["", "${HOST}", "${EMPTY}", "${NOPE:-x}", "$${NOPE}", "${NO PE}", "${NOPE"];
        assert!(!fine.iter().any(|text| variables().lack(text)));
    }

    #[test]
    fn what_cannot_be_replaced_is_named_without_values() {
        check("${HOST}${NOPE}", Err("the variable `NOPE` is not set, in the environment or in .env"));
        check("a ${HOST", Err("`${` is not closed; write `$${` for the characters themselves"));
        check("${1 + 1}", Err("`${1 + 1}` does not name a variable"));
    }

    #[test]
    fn dotenv_lines_are_read_and_the_environment_wins() {
        let text = "# comment\nHOST=other\nexport A = bare # note\nB='sin # gle'\n\
            C=\"dou\\\"ble\\n\" # x\n\nnot a line\nD=\nE=#x\n";
        let variables = variables().with_dotenv(text);
        let expected =
            [("HOST", "example.org"), ("A", "bare"), ("B", "sin # gle"), ("C", "dou\"ble\n"), ("D", ""), ("E", "")];
        for (name, value) in expected {
            assert_eq!(variables.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn debug_shows_no_values() {
        assert_eq!(format!("{:?}", variables()), "Variables(2 not shown)");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[$\\{\\}A-Z:=\"'\\\\ #\n-]{0,40}") {
            let _ = variables().with_dotenv(&text).expand(&text);
        }
    }
}
