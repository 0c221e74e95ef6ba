//! What a person's hold on an environment, and its end, leave in the ledger: an in-toto statement. Pure.

use serde::{Deserialize, Serialize};

use super::{Resource, STATEMENT_TYPE, Statement, resource_uri, typed};
use crate::base::Timestamp;
use crate::base::digest::Digest;
use crate::base::escape::shown;
use crate::base::id::PromotionId;
use crate::store::{Hold, HoldCause};

/// The form of what it says.
pub const HOLD_TYPE: &str = "https://github.com/cascade-sync/cascade/hold/v1";

/// A statement about an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldStatement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// The environment's address, with the SHA-256 of that: a hold is about no content.
    pub subject: Vec<Resource>,
    /// [`HOLD_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: HoldChange,
}

/// A person stops an environment, or lets it go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldChange {
    /// Tells it from every other.
    pub id: String,
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// What it becomes.
    pub change: Change,
    /// Who said so.
    pub person: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rolled back promotions whose hold and quarantine end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgives: Vec<PromotionId>,
    /// When.
    pub at: Timestamp,
}

/// What an environment becomes by a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing is promoted into it.
    Held,
    /// It is as if nobody had held it; of rollbacks, those that are named are forgiven.
    Resumed,
}

/// What an entry of the ledger states.
#[derive(Debug, Clone, PartialEq)]
pub enum Stated {
    /// Something about a promotion.
    Promotion(Box<Statement>),
    /// Something about an environment.
    Hold(Box<HoldStatement>),
}

impl HoldStatement {
    /// Makes the statement of a person's word.
    #[must_use]
    pub fn new(said: HoldChange) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![subject(&said)],
            predicate_type: HOLD_TYPE.to_owned(),
            predicate: said,
        }
    }

    /// Answers the statement as it is written: one form for one content.
    #[must_use]
    pub fn to_text(&self) -> String {
        super::written(self)
    }

    /// Answers what tells this statement from every other.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.predicate.id, self.predicate.change.as_str())
    }

    /// Answers one line about it for people.
    #[must_use]
    pub fn headline(&self) -> String {
        let HoldChange { environment, change, person, .. } = &self.predicate;
        format!("{} is {} by {}", shown(environment.as_bytes()), change.as_str(), shown(person.as_bytes()))
    }

    /// Answers what contradicts itself in it; nothing where all of it fits together.
    #[must_use]
    pub fn contradiction(&self) -> Option<&'static str> {
        (self.subject != [subject(&self.predicate)])
            .then_some("it is for another environment than the one that it names")
    }
}

impl HoldChange {
    /// Answers the hold that it sets; nothing where it ends one.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        (self.change == Change::Held).then(|| Hold {
            cause: HoldCause::Person,
            reason: self.reason.clone().unwrap_or_else(|| "no reason given".to_owned()),
            person: self.person.clone(),
            promotion: None,
            at: self.at,
        })
    }
}

impl Change {
    /// Answers its name in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Resumed => "resumed",
        }
    }
}

impl Stated {
    /// Reads a statement; what it says beyond what is known here is passed over.
    ///
    /// # Errors
    /// Not a statement of cascade's, in words for people.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Form {
            #[serde(rename = "predicateType")]
            predicate_type: String,
        }
        let is_hold = typed::<Form>(bytes).is_ok_and(|form| form.predicate_type == HOLD_TYPE);
        if !is_hold {
            return Statement::parse(bytes).map(|statement| Self::Promotion(Box::new(statement)));
        }
        let statement: HoldStatement = typed(bytes)?;
        super::require_type(&statement.statement_type, STATEMENT_TYPE)?;
        Ok(Self::Hold(Box::new(statement)))
    }

    /// Answers what tells it from every other.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Promotion(statement) => statement.key(),
            Self::Hold(statement) => statement.key(),
        }
    }

    /// Answers what contradicts itself in it.
    #[must_use]
    pub fn contradiction(&self) -> Option<&'static str> {
        match self {
            Self::Promotion(statement) => statement.contradiction(),
            Self::Hold(statement) => statement.contradiction(),
        }
    }
}

fn subject(said: &HoldChange) -> Resource {
    let name = resource_uri(&said.project, &said.environment);
    let digest = Digest::of(name.as_bytes()).to_string();
    Resource { name: Some(name), uri: None, digest: [("sha256".to_owned(), digest)].into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;

    fn held() -> HoldChange {
        HoldChange {
            id: "k3f9x2ab".to_owned(),
            project: "shop".to_owned(),
            environment: "production".to_owned(),
            change: Change::Held,
            person: "Ann\n<ann@example.test>".to_owned(),
            reason: Some("a fair\n\nis on".to_owned()),
            forgives: Vec::new(),
            at: from_ms(1_000),
        }
    }

    #[test]
    fn what_was_said_is_read_as_it_was_written_without_an_empty_line() {
        let statement = HoldStatement::new(held());
        let text = statement.to_text();
        assert!(!text.contains("\n\n") && !statement.headline().contains('\n'), "{text}");
        assert_eq!(Stated::parse(text.as_bytes()), Ok(Stated::Hold(Box::new(statement.clone()))));
        assert_eq!((statement.key().as_str(), statement.contradiction()), ("k3f9x2ab held", None));
        assert_eq!(statement.predicate.hold().unwrap().at, from_ms(1_000));
    }

    #[test]
    fn a_word_on_one_environment_is_none_on_another() {
        let mut moved = HoldStatement::new(held());
        moved.predicate.environment = "staging".to_owned();
        assert!(moved.contradiction().is_some());
        let other = moved.to_text().replace(STATEMENT_TYPE, "https://example.test");
        assert!(Stated::parse(other.as_bytes()).is_err());
    }
}
