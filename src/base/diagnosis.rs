//! What was found when somebody asked whether an installation is well.

use serde::Serialize;

use super::error::Kinded;

/// How one question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is as it should be.
    Ok,
    /// Something was wrong and was put right.
    Repaired,
    /// Something is wrong and would be put right.
    CanBeRepaired,
    /// Something is wrong, and a person has to do something about it.
    Problem,
    /// The question could not be answered.
    Unknown,
}

/// One question and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What was asked about.
    pub question: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do, or what to know about what was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Verdict {
    /// Answers the word for people: with blanks, unlike in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Repaired => "repaired",
            Self::CanBeRepaired => "can be repaired",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        }
    }

    /// Answers whether nothing is left to do. What is not known is not good.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Ok | Self::Repaired)
    }
}

impl Diagnosis {
    /// Makes an answer without advice.
    #[must_use]
    pub fn new(question: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { question, verdict, detail: detail.into(), advice: None }
    }

    /// Makes the answer that all is well.
    #[must_use]
    pub fn ok(question: &'static str, detail: impl Into<String>) -> Self {
        Self::new(question, Verdict::Ok, detail)
    }

    /// Makes the answer that a person has to do something.
    #[must_use]
    pub fn problem(question: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(question, Verdict::Problem, detail).advise(advice)
    }

    /// Makes a problem of an error: its message with its causes, and its hint as advice.
    #[must_use]
    pub fn of_error(question: &'static str, error: &(impl Kinded + 'static)) -> Self {
        let mut detail = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !detail.ends_with(&cause_text) {
                detail = format!("{detail}: {cause_text}");
            }
            next = cause.source();
        }
        Self { advice: error.hint(), ..Self::new(question, Verdict::Problem, detail) }
    }

    /// Says what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_or_only_could_be_repaired_is_not_good() {
        let all = [Verdict::Ok, Verdict::Repaired, Verdict::CanBeRepaired, Verdict::Problem, Verdict::Unknown];
        let good: Vec<&str> = all.into_iter().filter(|verdict| verdict.is_good()).map(Verdict::as_str).collect();
        assert_eq!(good, ["ok", "repaired"]);
    }
}
