//! Which save to ask about next, so that the first bad one is found in few runs of a check. Pure.

use std::ops::RangeInclusive;

/// What is known of the content of a save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Unasked,
    /// The check passes on it.
    Good,
    /// The check fails on it.
    Bad,
    /// The check could not answer: it is passed over.
    Unclear,
}

/// What is to be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// What the saves build on.
    Base,
    /// A save, by its place among them, the oldest first.
    Save(usize),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Ask about that.
    Ask(Place),
    /// Nothing: this is it.
    End(Verdict),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This save is bad and what comes before it is good.
    First(usize),
    /// The first bad save is one of these, the last of which is bad; which one could not be told.
    Among(RangeInclusive<usize>),
    /// What the saves build on is bad already.
    Older,
}

/// The search for the first bad one of some saves, of which the last is bad.
#[derive(Debug, Clone)]
pub struct Search {
    base: Seen,
    saves: Vec<Seen>,
    runs: u32,
    runs_limit: u32,
    /// The last save that was known to be bad before anything was asked, with something unknown behind it: it may have
    /// been mended there, and then it is not what ails the last one.
    stale: Option<usize>,
}

/// Answers how many runs a search among so many saves takes at most: ⌈log2 n⌉ + 1.
#[must_use]
pub fn runs_limit(saves: usize) -> u32 {
    saves.next_power_of_two().trailing_zeros() + 1
}

impl Search {
    /// Begins with what is known already; the last save counts as bad whatever is said of it.
    #[must_use]
    pub fn new(base: Seen, mut saves: Vec<Seen>) -> Self {
        if let Some(last) = saves.last_mut() {
            *last = Seen::Bad;
        }
        let last = saves.len().saturating_sub(1);
        let known = |seen: Seen| saves.iter().take(last).rposition(|it| *it == seen);
        let stale = known(Seen::Bad).filter(|bad| bad + 1 < last && known(Seen::Good).is_none_or(|good| good < *bad));
        let runs_limit = runs_limit(saves.len()) + stale.map_or(0, |bad| runs_limit(last - bad));
        Self { base, saves, runs: 0, runs_limit, stale }
    }

    /// Answers how many answers are asked for at most: [`runs_limit`], and as many again for what follows a save that is
    /// known to be bad.
    #[must_use]
    pub fn runs_limit(&self) -> u32 {
        self.runs_limit
    }

    /// Answers how many answers were asked for.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Answers what to do next.
    #[must_use]
    pub fn turn(&self) -> Turn {
        let may_ask = self.runs < self.runs_limit;
        let last = self.saves.len().saturating_sub(1);
        let good = self.saves.iter().take(last).rposition(|seen| *seen == Seen::Good);
        match (good, self.base) {
            (None, Seen::Bad) => return Turn::End(Verdict::Older),
            (None, Seen::Unasked) if may_ask => return Turn::Ask(Place::Base),
            _ => {}
        }
        let from = good.map_or(0, |good| good + 1);
        let bad = self.first_bad(from);
        let behind = self.stale.filter(|stale| *stale >= from).and_then(|stale| self.halving(stale + 1));
        if let Some(next) = behind.or_else(|| self.halving(from)).filter(|_| may_ask) {
            return Turn::Ask(Place::Save(next));
        }
        let is_certain = from == bad && (good.is_some() || self.base == Seen::Good);
        Turn::End(if is_certain { Verdict::First(bad) } else { Verdict::Among(from..=bad) })
    }

    fn first_bad(&self, from: usize) -> usize {
        let last = self.saves.len().saturating_sub(1);
        (from..last).find(|at| self.saves[*at] == Seen::Bad).unwrap_or(last)
    }

    /// Answers the save in the middle of those from `from` to the first bad one that nothing is known of.
    fn halving(&self, from: usize) -> Option<usize> {
        let bad = self.first_bad(from);
        let middle = (from + bad).saturating_sub(1) / 2;
        let unasked = (from..bad).filter(|at| self.saves[*at] == Seen::Unasked);
        unasked.min_by_key(|at| at.abs_diff(middle))
    }

    /// Takes an answer that was asked for.
    pub fn answer(&mut self, place: Place, seen: Seen) {
        self.runs += 1;
        self.learn(place, seen);
    }

    /// Takes what is known without another run.
    pub fn learn(&mut self, place: Place, seen: Seen) {
        // Nothing may be asked about twice.
        let seen = if seen == Seen::Unasked { Seen::Unclear } else { seen };
        match place {
            Place::Base => self.base = seen,
            // That the last one is bad is what the search is about.
            Place::Save(at) if at + 1 == self.saves.len() => {}
            Place::Save(at) => self.saves.get_mut(at).into_iter().for_each(|known| *known = seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Searches to the end; answers the verdict, the runs and the search.
    fn search(mut search: Search, truth: impl Fn(Place) -> Seen) -> (Verdict, u32, Search) {
        loop {
            match search.turn() {
                Turn::End(verdict) => return (verdict, search.runs(), search),
                Turn::Ask(place) => search.answer(place, truth(place)),
            }
        }
    }

    fn good_until(first_bad: usize) -> impl Fn(Place) -> Seen {
        move |place| match place {
            Place::Save(at) if at >= first_bad => Seen::Bad,
            _ => Seen::Good,
        }
    }

    #[test]
    fn limit_is_the_logarithm_and_one() {
        let limits = [1, 2, 3, 4, 5, 8, 9, 1_000].map(runs_limit);
        assert_eq!(limits, [1, 2, 3, 3, 4, 4, 5, 11]);
    }

    #[test]
    fn what_failed_before_is_nobodys_fault_here() {
        let (verdict, runs, _) = search(Search::new(Seen::Unasked, vec![Seen::Unasked; 9]), |_| Seen::Bad);
        assert_eq!((verdict, runs), (Verdict::Older, 1));
    }

    #[test]
    fn a_single_save_on_something_good_takes_no_run() {
        let begun = Search::new(Seen::Good, vec![Seen::Unasked]);
        assert_eq!(begun.turn(), Turn::End(Verdict::First(0)));
    }

    fn known() -> impl Strategy<Value = bool> {
        prop::bool::weighted(0.2)
    }

    proptest! {
        #[test]
        fn first_bad_save_is_found_within_the_limit(
            saves in 1_usize..300, at in any::<prop::sample::Index>(), base in known(), given in prop::collection::vec(known(), 300),
        ) {
            let first = at.index(saves);
            let truth = good_until(first);
            let tell = |place, is_known| if is_known { truth(place) } else { Seen::Unasked };
            let told = (0..saves).map(|at| tell(Place::Save(at), given[at])).collect();
            let begun = Search::new(tell(Place::Base, base), told);
            let limit = begun.runs_limit();
            prop_assert!(limit <= 2 * runs_limit(saves));
            let (verdict, runs, _) = search(begun, &truth);
            prop_assert_eq!(verdict, Verdict::First(first));
            prop_assert!(runs <= limit);
        }

        #[test]
        fn what_cannot_answer_widens_the_verdict_and_never_makes_it_wrong(
            saves in 1_usize..80, at in any::<prop::sample::Index>(), unclear in prop::collection::vec(prop::bool::weighted(0.4), 80),
        ) {
            let first = at.index(saves);
            let truth = |place| match place {
                Place::Save(at) if unclear[at] => Seen::Unclear,
                other => good_until(first)(other),
            };
            let (verdict, runs, _) = search(Search::new(Seen::Unasked, vec![Seen::Unasked; saves]), truth);
            prop_assert!(runs <= runs_limit(saves));
            match verdict {
                Verdict::First(found) => prop_assert_eq!(found, first),
                Verdict::Among(suspects) => prop_assert!(suspects.contains(&first)),
                Verdict::Older => prop_assert!(false, "the base is good"),
            }
        }

        #[test]
        fn what_was_mended_is_not_blamed_for_what_broke_later(
            good in 1_usize..20, bad in 1_usize..20, mended in 1_usize..20, broken in 1_usize..20,
            known in any::<prop::sample::Index>(),
        ) {
            let (broke, mend, again) = (good, good + bad, good + bad + mended);
            let truth = |place| match place {
                Place::Save(at) if (broke..mend).contains(&at) || at >= again => Seen::Bad,
                _ => Seen::Good,
            };
            let saves = again + broken;
            // The failed promotion of one of the first bad saves, and what its own search found.
            let known = broke + known.index(bad);
            let mut told = vec![Seen::Unasked; saves];
            (told[known], told[broke], told[broke - 1]) = (Seen::Bad, Seen::Bad, Seen::Good);
            let (verdict, runs, ended) = search(Search::new(Seen::Good, told), truth);
            prop_assert!(runs <= ended.runs_limit());
            // Halving can miss the good ones where they are few beside the bad ones around them.
            let bad_still = mend - known;
            let is_met_at_once = bad_still < mended + broken && broken <= bad_still + mended;
            if is_met_at_once || ended.saves[known..].contains(&Seen::Good) {
                prop_assert_eq!(verdict, Verdict::First(again));
            }
        }

        #[test]
        fn no_save_before_a_later_known_good_one_is_blamed(
            saves in 2_usize..60, told in prop::collection::vec(0_u8..4, 60), answers in prop::collection::vec(0_u8..3, 61),
        ) {
            let seen = |answer| [Seen::Good, Seen::Bad, Seen::Unclear, Seen::Unasked][usize::from(answer)];
            let truth = |place| match place {
                Place::Base => seen(answers[60]),
                Place::Save(at) => seen(answers[at]),
            };
            let told = told.into_iter().take(saves).map(seen).collect();
            let (verdict, runs, ended) = search(Search::new(Seen::Unasked, told), truth);
            prop_assert!(runs <= ended.runs_limit());
            let last_good = ended.saves.iter().rposition(|seen| *seen == Seen::Good);
            match verdict {
                Verdict::First(found) => prop_assert!(last_good.is_none_or(|good| good + 1 == found)),
                Verdict::Among(suspects) => prop_assert!(last_good.is_none_or(|good| good < *suspects.start())),
                Verdict::Older => prop_assert_eq!(last_good, None),
            }
        }

        #[test]
        fn whatever_is_answered_a_first_bad_save_follows_a_good_one(
            saves in 1_usize..60, answers in prop::collection::vec(0_u8..3, 61),
        ) {
            let seen = |answer| [Seen::Good, Seen::Bad, Seen::Unclear][usize::from(answer)];
            let truth = |place| match place {
                Place::Base => seen(answers[60]),
                Place::Save(at) => seen(answers[at]),
            };
            let (verdict, runs, ended) = search(Search::new(Seen::Unasked, vec![Seen::Unasked; saves]), truth);
            prop_assert!(runs <= runs_limit(saves));
            if let Verdict::First(found) = verdict {
                let before = if found == 0 { ended.base } else { ended.saves[found - 1] };
                prop_assert_eq!((before, ended.saves[found]), (Seen::Good, Seen::Bad));
            }
        }
    }
}
