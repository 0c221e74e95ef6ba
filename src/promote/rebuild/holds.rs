//! How the ledger leaves an environment held: by people's words and by rollbacks, in the order of the chain. Pure.

use std::collections::HashMap;

use super::{Told, hold_of, is_back, is_news};
use crate::base::Timestamp;
use crate::base::id::PromotionId;
use crate::promote::attestation::{Change, HoldChange, Moment, Record};
use crate::store::{Acquaintance, Hold, HoldCause, State};

/// What becomes of the hold on an environment by what the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldNews {
    /// The environment.
    pub environment: String,
    /// The hold from now on; nothing where it is over.
    pub hold: Option<Hold>,
}

impl HoldNews {
    /// Answers whether a person's word decided it; otherwise a rollback did, which comes with its promotion.
    #[must_use]
    pub fn is_by_word(&self) -> bool {
        self.hold.as_ref().is_none_or(|hold| hold.cause == HoldCause::Person)
    }
}

/// An environment after some of the chain.
#[derive(Debug, Default)]
struct Standing {
    /// The hold, and whether the database may not know it.
    held: Option<(Hold, bool)>,
    /// When a person last let it go on.
    resumed_at: Option<Timestamp>,
    forgiven: Vec<PromotionId>,
}

impl Standing {
    fn hear(&mut self, word: &HoldChange) {
        if let Some(hold) = word.hold() {
            self.held = Some((hold, true));
            return;
        }
        self.resumed_at = Some(word.at);
        self.forgiven.extend(word.forgives.iter().cloned());
        // What whoever resumed could not know of stays.
        self.held.take_if(|(hold, _)| hold.cause == HoldCause::Person || is_forgiven(hold, &word.forgives));
    }

    fn see(&mut self, record: &Record, is_news: bool) {
        let is_by_person = self.held.as_ref().is_some_and(|(hold, _)| hold.cause == HoldCause::Person);
        match record.state {
            _ if is_by_person || record.moment != Moment::Settled => {}
            State::Promoted => self.held = None,
            _ if is_back(record) => self.held = hold_of(record).map(|hold| (hold, is_news)),
            _ => {}
        }
    }

    /// Answers the hold from now on, where the database has `known`.
    fn after(self, known: Option<&Hold>) -> Option<Hold> {
        let is_over = |hold: &Hold| match hold.cause {
            HoldCause::Person => self.resumed_at.is_some_and(|resumed| hold.at <= resumed),
            HoldCause::Rollback => is_forgiven(hold, &self.forgiven),
        };
        let kept = known.filter(|hold| !is_over(hold));
        match (self.held, kept) {
            (Some((hold, true)), Some(kept)) if outweighs(kept, &hold) => Some(kept.clone()),
            (Some((hold, true)), _) => Some(hold),
            (_, kept) => kept.cloned(),
        }
    }
}

/// A person's hold stays, as in a rollback here, unless a newer word says why.
fn outweighs(kept: &Hold, told: &Hold) -> bool {
    kept.cause == HoldCause::Person && (told.cause == HoldCause::Rollback || kept.at >= told.at)
}

fn is_forgiven(hold: &Hold, forgiven: &[PromotionId]) -> bool {
    hold.promotion.as_ref().is_some_and(|undone| forgiven.contains(undone))
}

/// Finds what becomes of the holds that the database has.
pub(super) fn news(
    told: &[Told],
    known: &HashMap<PromotionId, Acquaintance>,
    held: &HashMap<String, Hold>,
) -> Vec<HoldNews> {
    let mut standings: Vec<(&str, Standing)> = Vec::new();
    for one in told {
        let name = one.environment();
        let position = standings.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            standings.push((name, Standing::default()));
            standings.len() - 1
        });
        let standing = &mut standings[position].1;
        match one {
            Told::Promotion(record) => standing.see(record, is_news(record, known.get(&record.id))),
            Told::Hold(word) => standing.hear(word),
        }
    }
    let changed = standings.into_iter().filter_map(|(name, standing)| {
        let before = held.get(name);
        let hold = standing.after(before);
        (hold.as_ref() != before).then(|| HoldNews { environment: name.to_owned(), hold })
    });
    changed.collect()
}

/// Answers whether a word after it lifts what the rollback of a promotion left.
pub(super) fn is_forgiven_later(record: &Record, later: &[Told]) -> bool {
    later.iter().any(|one| match one {
        Told::Hold(word) => word.change == Change::Resumed && word.forgives.contains(&record.id),
        Told::Promotion(_) => false,
    })
}
