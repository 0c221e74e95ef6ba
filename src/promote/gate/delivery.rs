//! The gate of deliveries: what somebody else changed at a target is settled before anything lands.

use super::{Facts, Finding, Gate};
use crate::base::Timestamp;
use crate::base::escape::shell_word;
use crate::base::units::count;

/// Most items that are named.
const NAMED_LIMIT_ITEMS: usize = 5;

/// What is known of a delivery before anything lands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFact {
    /// The sync.
    pub sync: String,
    /// What is left alone at its target until a person decides: keys, safe to show, and what is the matter.
    pub flagged: Vec<(String, String)>,
    /// A flagged item that a person can decide about.
    pub resolvable: Option<String>,
    /// Since when something is flagged, where that is known.
    pub since: Option<Timestamp>,
    /// Why it could not be delivered at all.
    pub problem: Option<Hindrance>,
}

/// Why a delivery would fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// What is the matter.
    pub fact: String,
    /// What to do about it.
    pub clears: String,
}

impl DeliveryFact {
    fn is_open(&self) -> bool {
        self.flagged.is_empty() && self.problem.is_none()
    }

    fn fact(&self) -> String {
        let named = self.flagged.iter().take(NAMED_LIMIT_ITEMS).map(|(key, reason)| format!("{key} {reason}"));
        let rest = self.flagged.len().saturating_sub(NAMED_LIMIT_ITEMS);
        let rest = (rest > 0).then(|| format!("and {}", count(rest, "more item")));
        let flagged = named.chain(rest).collect::<Vec<_>>().join(", ");
        let problem = self.problem.iter().map(|problem| problem.fact.clone());
        let told = problem.chain((!flagged.is_empty()).then_some(flagged)).collect::<Vec<_>>().join("; ");
        format!("delivery {}: {told}", self.sync)
    }

    fn clears(&self) -> String {
        if let Some(problem) = &self.problem {
            return problem.clears.clone();
        }
        let Self { sync, resolvable, .. } = self;
        match resolvable {
            Some(key) => {
                format!("`cascade sync resolve {sync} {} --take source` (or `target`, or a file)", shell_word(key))
            }
            None => format!("`cascade sync {sync} --dry-run` says more"),
        }
    }
}

/// Asks whether every delivery could bring everything that it should; nothing where there are none.
pub(super) fn deliveries(facts: &Facts) -> Option<Finding> {
    if facts.deliveries.is_empty() {
        return None;
    }
    let closed: Vec<&DeliveryFact> = facts.deliveries.iter().filter(|delivery| !delivery.is_open()).collect();
    if closed.is_empty() {
        let names: Vec<&str> = facts.deliveries.iter().map(|delivery| delivery.sync.as_str()).collect();
        return Some(Finding::open(Gate::Delivery, format!("nothing is in the way of {}", names.join(", ")), None));
    }
    let fact = closed.iter().map(|delivery| delivery.fact()).collect::<Vec<_>>().join("; ");
    let clears = closed.iter().map(|delivery| delivery.clears()).collect::<Vec<_>>().join(", ");
    let since = closed.iter().filter_map(|delivery| delivery.since).min();
    Some(Finding::closed(Gate::Delivery, fact, since, clears))
}

#[cfg(test)]
mod tests {
    use super::super::tests::facts;
    use super::*;

    fn flagged(sync: &str, keys: &[&str]) -> DeliveryFact {
        let flagged = keys.iter().map(|key| ((*key).to_owned(), "was changed at the target".to_owned())).collect();
        let resolvable = keys.first().map(|key| (*key).to_owned());
        DeliveryFact { sync: sync.to_owned(), flagged, resolvable, ..DeliveryFact::default() }
    }

    fn ask(deliveries: Vec<DeliveryFact>) -> Option<Finding> {
        super::deliveries(&Facts { deliveries, ..facts() })
    }

    #[test]
    fn what_somebody_else_changed_at_a_target_closes_the_gate_and_is_named() {
        assert_eq!(ask(Vec::new()), None);
        assert!(ask(vec![flagged("site", &[])]).unwrap().open);
        let closed = ask(vec![flagged("site", &["a b"]), flagged("other", &[])]).unwrap();
        assert!(!closed.open);
        assert_eq!(closed.fact, "delivery site: a b was changed at the target");
        assert_eq!(
            closed.clears.as_deref(),
            Some("`cascade sync resolve site 'a b' --take source` (or `target`, or a file)")
        );
        let many = ask(vec![flagged("site", &["1", "2", "3", "4", "5", "6", "7"])]).unwrap();
        assert!(many.fact.ends_with("5 was changed at the target, and 2 more items"), "{}", many.fact);
    }

    #[test]
    fn what_could_not_be_delivered_at_all_closes_it_too() {
        let problem = Hindrance { fact: "it is not there".to_owned(), clears: "make it".to_owned() };
        let closed = ask(vec![DeliveryFact { problem: Some(problem), ..flagged("site", &["a"]) }]).unwrap();
        assert_eq!(closed.fact, "delivery site: it is not there; a was changed at the target");
        assert_eq!(closed.clears.as_deref(), Some("make it"));
    }
}
