//! The template of commit messages: text with placeholders.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::problem::brief;

/// Longest template, in characters.
const TEMPLATE_LIMIT_CHARS: usize = 2_000;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placeholder {
    /// What was done to which files, or what `summarize` printed.
    Subject,
    /// `Add`, `Change`, `Delete` or `Save`.
    Verb,
    /// How many files were changed.
    Count,
    /// The names of the changed files, with commas.
    Files,
    /// The changed files, one on each line, with sizes.
    Changes,
    /// How many files are new.
    Added,
    /// How many files have another content or mode.
    Modified,
    /// How many files are gone.
    Deleted,
    /// The directory that all of them are in.
    Directory,
    /// Counts and size in words.
    Totals,
    /// The project's name.
    Project,
    /// The sandbox's branch.
    Branch,
    /// The day, `2026-01-31`, in UTC.
    Date,
    /// The time of day, `14:05:09`, in UTC.
    Time,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stays as it is.
    Text(String),
    /// Something that is filled in.
    Placeholder(Placeholder),
}

/// A template that was read: the subject is its first line, the body what follows.
///
/// `{name}` stands for what is filled in, `{{` and `}}` for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageTemplate {
    written: String,
    subject: Vec<Part>,
    body: Vec<Part>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder that does not exist; it names what was written.
    #[error("there is no placeholder `{{{}}}`", brief(.0))]
    Unknown(String),
    /// A brace without its counterpart, or something else that cannot be read.
    #[error("{0}")]
    Malformed(&'static str),
}

impl Placeholder {
    /// Every placeholder with its name, in the order of the reference.
    pub const ALL: [(&'static str, Self); 14] = [
        ("subject", Self::Subject),
        ("verb", Self::Verb),
        ("count", Self::Count),
        ("files", Self::Files),
        ("changes", Self::Changes),
        ("added", Self::Added),
        ("modified", Self::Modified),
        ("deleted", Self::Deleted),
        ("directory", Self::Directory),
        ("totals", Self::Totals),
        ("project", Self::Project),
        ("branch", Self::Branch),
        ("date", Self::Date),
        ("time", Self::Time),
    ];

    /// The names alone.
    const NAMES: [&'static str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].0;
            at += 1;
        }
        names
    };

    fn named(name: &str) -> Result<Self, TemplateError> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, placeholder)| *placeholder).ok_or_else(|| TemplateError::Unknown(name.to_owned()))
    }
}

impl MessageTemplate {
    /// Answers the text as the configuration has it.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Answers the first line.
    #[must_use]
    pub fn subject(&self) -> &[Part] {
        &self.subject
    }

    /// Answers what follows the first line, with its line breaks; empty where nothing does.
    #[must_use]
    pub fn body(&self) -> &[Part] {
        &self.body
    }

    /// Answers whether it has a placeholder anywhere.
    #[must_use]
    pub fn has(&self, placeholder: Placeholder) -> bool {
        self.subject.iter().chain(&self.body).any(|part| *part == Part::Placeholder(placeholder))
    }
}

impl FromStr for MessageTemplate {
    type Err = TemplateError;

    fn from_str(written: &str) -> Result<Self, TemplateError> {
        let text = written.trim();
        if text.is_empty() {
            return Err(TemplateError::Malformed("the template is empty"));
        }
        if text.chars().nth(TEMPLATE_LIMIT_CHARS).is_some() {
            return Err(TemplateError::Malformed("the template has more than 2000 characters"));
        }
        let (subject, body) = text.split_once('\n').unwrap_or((text, ""));
        Ok(Self { written: written.to_owned(), subject: parts(subject)?, body: parts(body.trim())? })
    }
}

fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(TemplateError::Malformed("`}` closes nothing; write `}}` for the character itself"));
        }
        let Some((name, after)) = after.split_once('}') else {
            return Err(TemplateError::Malformed("`{` is not closed; write `{{` for the character itself"));
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Placeholder(Placeholder::named(name)?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

impl fmt::Display for MessageTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for MessageTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for MessageTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error| match error {
            // So that the nearest name is told.
            TemplateError::Unknown(name) => de::Error::unknown_variant(&name, &Placeholder::NAMES),
            TemplateError::Malformed(_) => de::Error::custom(error),
        })
    }
}

impl JsonSchema for MessageTemplate {
    fn schema_name() -> Cow<'static, str> {
        "MessageTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<String> = Placeholder::NAMES.iter().map(|name| format!("{{{name}}}")).collect();
        json_schema!({ "type": "string", "description": format!("Text with {}.", names.join(", ")) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    #[test]
    fn first_line_is_the_subject_and_the_rest_the_body() {
        let template: MessageTemplate = "\n[{branch}] {subject}\n\n{changes}\n\nBy: x\n".parse().unwrap();
        let placeholder = Part::Placeholder;
        let expected = [text("["), placeholder(Placeholder::Branch), text("] "), placeholder(Placeholder::Subject)];
        assert_eq!(template.subject(), expected);
        assert_eq!(template.body(), [placeholder(Placeholder::Changes), text("\n\nBy: x")]);
        assert!(template.has(Placeholder::Subject) && !template.has(Placeholder::Files));
    }

    #[test]
    fn doubled_braces_are_braces() {
        let template: MessageTemplate = "{{{verb}}} }}{{".parse().unwrap();
        assert_eq!(template.subject(), [text("{"), Part::Placeholder(Placeholder::Verb), text("} }{")]);
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_way_out() {
        for (written, expected) in [
            ("{sbject}", "there is no placeholder `{sbject}`"),
            ("{}", "there is no placeholder `{}`"),
            ("{ subject }", "there is no placeholder `{ subject }`"),
            ("{subject", "`{` is not closed; write `{{` for the character itself"),
            ("subject}", "`}` closes nothing; write `}}` for the character itself"),
            (" \n ", "the template is empty"),
            (&"x".repeat(2_001), "the template has more than 2000 characters"),
        ] {
            assert_eq!(written.parse::<MessageTemplate>().unwrap_err().to_string(), expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn escaped_text_is_only_text(written in ".{0,60}") {
            let escaped = written.replace('{', "{{").replace('}', "}}");
            if let Ok(template) = escaped.parse::<MessageTemplate>() {
                let parts = template.subject().iter().chain(template.body());
                prop_assert!(parts.clone().all(|part| matches!(part, Part::Text(_))));
                let first = written.trim().lines().next().unwrap_or_default().to_owned();
                prop_assert!(template.subject().is_empty() || template.subject() == [Part::Text(first)]);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(written in "[{}a-z \n]{0,40}") {
            let _ = written.parse::<MessageTemplate>();
        }
    }
}
