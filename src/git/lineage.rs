//! What the content of an environment rests on: rollbacks lead back to what they restored.

use std::collections::HashSet;

use git2::Oid;

use super::branch::{object_id, oid};
use super::error::{Error, Result};
use super::history::{PROMOTION_TRAILER, trailer};
use super::repo::Repo;
use crate::base::id::ObjectId;

/// The trailer that names the commit whose content a rollback restored.
pub const RESTORES_TRAILER: &str = "Cascade-Restores";

impl Repo {
    /// Answers which of the commits `among` the content of `tip` rests on: a rollback leads to what it restored, and not
    /// to what it undid.
    pub(super) fn in_force(&self, tip: Oid, among: &HashSet<Oid>) -> Result<HashSet<Oid>> {
        let (mut reached, mut pending) = (HashSet::new(), vec![tip]);
        while let Some(id) = pending.pop() {
            if !among.contains(&id) || !reached.insert(id) {
                continue;
            }
            pending.extend(self.rests_on(id)?);
        }
        Ok(reached)
    }

    /// Lists the commits of a branch one after the other, oldest first: from those that are reachable from `known` up to
    /// `tip`, along first parents. What a rollback undid is left out, and so is the rollback.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn line_between(&self, known: &[ObjectId], tip: ObjectId) -> Result<Vec<ObjectId>> {
        let lacking: HashSet<Oid> = self
            .walk_without(tip, known.iter().copied())?
            .collect::<Result<_, _>>()
            .map_err(Error::library("walk commits"))?;
        let (mut line, mut next) = (Vec::new(), Some(oid(tip)?));
        while let Some(id) = next.filter(|id| lacking.contains(id)) {
            next = match self.restored(id)? {
                Some(restored) => Some(restored),
                None => {
                    line.push(object_id(id)?);
                    let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
                    commit.parent_id(0).ok()
                }
            };
        }
        line.reverse();
        Ok(line)
    }

    /// Lists the saves that a branch brings, oldest first: as [`Repo::line_between`], with each promotion that has exactly
    /// its source's content replaced by what it brought.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn saves_between(&self, known: &[ObjectId], tip: ObjectId) -> Result<Vec<ObjectId>> {
        let (mut saves, mut before) = (Vec::new(), None);
        for commit in self.line_between(known, tip)? {
            let known: Vec<ObjectId> = known.iter().copied().chain(before).collect();
            let brought = match self.carried(commit)? {
                Some(source) => self.saves_between(&known, source)?,
                None => Vec::new(),
            };
            if brought.is_empty() {
                saves.push(commit);
            }
            saves.extend(brought);
            before = Some(commit);
        }
        Ok(saves)
    }

    /// Answers the source of a promotion that has exactly its content.
    fn carried(&self, commit: ObjectId) -> Result<Option<ObjectId>> {
        let id = oid(commit)?;
        let found = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        let Ok(source) = found.parent(1) else { return Ok(None) };
        let is_carried = source.tree_id() == found.tree_id() && self.is_promotion(id)?;
        if is_carried { object_id(source.id()).map(Some) } else { Ok(None) }
    }

    /// Answers the commit whose content a branch at `tip` has: `tip` itself, or what a rollback restored there.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn stands_for(&self, tip: ObjectId) -> Result<ObjectId> {
        let mut at = oid(tip)?;
        // Each rollback leads to an older commit: the way ends.
        while let Some(restored) = self.restored(at)? {
            at = restored;
        }
        object_id(at)
    }

    /// Answers the commit that the content of a branch at `tip` was saved with: what rollbacks restored and promotions
    /// carried is followed to where it came from.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn origin_of(&self, tip: ObjectId) -> Result<ObjectId> {
        let mut at = self.stands_for(tip)?;
        // Each step leads to an older commit: the way ends.
        while let Some(source) = self.carried(at)? {
            at = self.stands_for(source)?;
        }
        Ok(at)
    }

    /// Answers whether what `ours` and `tip` have in common was rolled back on the way to `tip`: a merge would then undo
    /// it in `ours` too.
    ///
    /// # Errors
    /// A commit is missing.
    pub fn is_undone_on_the_way(&self, ours: ObjectId, tip: ObjectId) -> Result<bool> {
        let Ok(base) = self.inner.merge_base(oid(ours)?, oid(tip)?) else { return Ok(false) };
        let lacking: HashSet<Oid> = self
            .walk_without(tip, std::iter::once(ours))?
            .collect::<Result<_, _>>()
            .map_err(Error::library("walk commits"))?;
        let mut below = HashSet::new();
        for id in self.in_force(oid(tip)?, &lacking)? {
            below.extend(self.rests_on(id)?);
        }
        for id in below.difference(&lacking) {
            if self.is_ancestor(object_id(base)?, object_id(*id)?)? {
                return self.came_in_undone(ours, tip, &lacking);
            }
        }
        Ok(true)
    }

    /// Answers whether a rollback of something that `ours` has, made in another environment, came to `tip` by a merge.
    fn came_in_undone(&self, ours: ObjectId, tip: ObjectId, lacking: &HashSet<Oid>) -> Result<bool> {
        let (mut seen, mut pending) = (HashSet::new(), vec![oid(tip)?]);
        while let Some(id) = pending.pop() {
            if !lacking.contains(&id) || !seen.insert(id) {
                continue;
            }
            let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
            if let Some(restored) = self.restored(id)? {
                let ours = oid(ours)?;
                let shared = commit.parent_id(0).and_then(|undone| self.inner.merge_base(undone, ours)).ok();
                // Ours has something that was undone.
                if let Some(shared) = shared
                    && !self.is_ancestor(object_id(shared)?, object_id(restored)?)?
                {
                    return Ok(true);
                }
                pending.push(restored);
                continue;
            }
            // Content that is exactly the source's comes from there alone.
            let source = commit.parent(1).ok().filter(|source| source.tree_id() == commit.tree_id());
            match source.filter(|_| trailer(commit.message_bytes(), PROMOTION_TRAILER).is_some()) {
                Some(source) => pending.push(source.id()),
                None => pending.extend(commit.parent_ids()),
            }
        }
        Ok(false)
    }

    /// Answers what the content of a commit comes from: its parents, or what a rollback restored.
    fn rests_on(&self, id: Oid) -> Result<Vec<Oid>> {
        if let Some(restored) = self.restored(id)? {
            return Ok(vec![restored]);
        }
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        Ok(commit.parent_ids().collect())
    }

    /// Answers the promotion that a commit was made for, by its trailer, escaped.
    ///
    /// # Errors
    /// The commit is missing.
    pub fn promotion_of(&self, commit: ObjectId) -> Result<Option<String>> {
        let found = self.inner.find_commit(oid(commit)?).map_err(Error::library("read a commit"))?;
        Ok(trailer(found.message_bytes(), PROMOTION_TRAILER))
    }

    /// Answers what a commit of cascade's restored, by its trailer; nothing for any other.
    pub(super) fn restored(&self, id: Oid) -> Result<Option<Oid>> {
        if !self.is_promotion(id)? {
            return Ok(None);
        }
        let commit = self.inner.find_commit(id).map_err(Error::library("read a commit"))?;
        let named = trailer(commit.message_bytes(), RESTORES_TRAILER).and_then(|name| name.parse::<ObjectId>().ok());
        let Some(named) = named else { return Ok(None) };
        // Only what came before can be restored: a name that leads elsewhere was not written by a rollback.
        Ok(if self.is_ancestor(named, object_id(id)?)? { Some(oid(named)?) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::base::clock::from_ms;
    use crate::git::{NewCommit, Repo};

    /// Commits without files, and what the content of each rests on.
    struct World {
        repo: Repo,
        rests_on: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
        _dir: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            git2::Repository::init(dir.path()).unwrap();
            Self { repo: Repo::open(dir.path()).unwrap(), rests_on: BTreeMap::new(), _dir: dir }
        }

        fn commit(&mut self, parents: &[ObjectId], trailers: &str) -> ObjectId {
            let tree = object_id(self.repo.inner.treebuilder(None).unwrap().write().unwrap()).unwrap();
            let number = self.rests_on.len();
            let message = format!("Commit {number}\n\n{trailers}");
            let at = from_ms(1_700_000_000_000 + 1_000 * i64::try_from(number).unwrap());
            let id = self.repo.build_commit(&NewCommit { tree, parents: parents.to_vec(), message, at }).unwrap();
            let own = trailers.is_empty().then_some(id);
            let below = parents.iter().flat_map(|parent| self.rests_on[parent].clone());
            let rests_on = own.into_iter().chain(below).collect();
            self.rests_on.insert(id, rests_on);
            id
        }

        fn promote(&mut self, tip: ObjectId, source: ObjectId) -> ObjectId {
            self.commit(&[tip, source], &format!("{PROMOTION_TRAILER}: id\n"))
        }

        fn restore(&mut self, tip: ObjectId, to: ObjectId) -> ObjectId {
            let id = self.commit(&[tip], &format!("{PROMOTION_TRAILER}: id\n{RESTORES_TRAILER}: {to}\n"));
            let restored = self.rests_on[&to].clone();
            self.rests_on.insert(id, restored);
            id
        }

        fn foreign(&self, tip: ObjectId, sources: &[ObjectId]) -> BTreeSet<ObjectId> {
            self.repo
                .foreign_commits(tip, sources, None, &mut |_| Ok(true))
                .unwrap()
                .into_iter()
                .map(|commit| commit.id)
                .collect()
        }
    }

    #[test]
    fn what_a_rollback_undid_is_neither_foreign_nor_in_line() {
        let mut world = World::new();
        let first = world.commit(&[], "");
        let saves = [world.commit(&[first], ""), world.commit(&[first], "")];
        let good = world.promote(first, saves[0]);
        let bad = world.promote(good, saves[1]);
        let back = world.restore(bad, good);
        assert_eq!(world.repo.stands_for(back).unwrap(), good);
        assert_eq!(world.foreign(back, &[first]), [saves[0]].into());
        assert_eq!(world.repo.line_between(&[first], back).unwrap(), [good]);
        let again = world.promote(back, saves[1]);
        assert_eq!(world.foreign(again, &[first]), saves.into());
        assert_eq!(world.repo.line_between(&[first], again).unwrap(), [good, again]);
        assert_eq!(world.repo.promotion_of(again).unwrap().as_deref(), Some("id"));
        assert_eq!(world.repo.promotion_of(first).unwrap(), None);
    }

    #[test]
    fn saves_are_found_through_every_promotion_that_carried_them() {
        let mut world = World::new();
        let first = world.commit(&[], "");
        let mut saves = vec![first];
        for _ in 0..5 {
            saves.push(world.commit(&[saves[saves.len() - 1]], ""));
        }
        let one = world.promote(first, saves[2]);
        let two = world.promote(one, saves[5]);
        assert_eq!(world.repo.saves_between(&[first], saves[5]).unwrap(), saves[1..]);
        assert_eq!(world.repo.saves_between(&[first], two).unwrap(), saves[1..]);
        assert_eq!(world.repo.saves_between(&[one], two).unwrap(), saves[3..]);
        let main = world.promote(first, one);
        assert_eq!(world.repo.saves_between(&[main], two).unwrap(), saves[3..]);
        let again = world.promote(two, saves[5]);
        assert_eq!(world.repo.saves_between(&[two], again).unwrap(), [again], "what brings nothing stands for itself");
    }

    #[test]
    fn a_merge_over_a_rollback_is_told_from_one_beside_it() {
        let mut world = World::new();
        let first = world.commit(&[], "");
        let bad = world.commit(&[first], "");
        let landed = world.promote(first, bad);
        let back = world.restore(landed, first);
        let theirs = world.commit(&[back], "");
        assert!(world.repo.is_undone_on_the_way(bad, theirs).unwrap(), "a merge would undo `bad`");
        assert!(!world.repo.is_undone_on_the_way(first, theirs).unwrap());
        let mended = world.promote(back, bad);
        assert!(!world.repo.is_undone_on_the_way(bad, mended).unwrap());
    }

    #[test]
    fn a_name_that_leads_nowhere_restores_nothing() {
        let mut world = World::new();
        let first = world.commit(&[], "");
        let elsewhere = world.commit(&[], "");
        let theirs = world.commit(&[first], "");
        let odd = world.commit(&[theirs], &format!("{PROMOTION_TRAILER}: id\n{RESTORES_TRAILER}: {elsewhere}\n"));
        assert_eq!(world.foreign(odd, &[first]), [theirs].into());
        let unsigned = world.commit(&[theirs], &format!("{RESTORES_TRAILER}: {first}\n"));
        assert_eq!(world.foreign(unsigned, &[first]), [theirs, unsigned].into(), "only rollbacks restore");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn foreign_is_what_the_content_rests_on_and_the_source_lacks(
            steps in proptest::collection::vec((0_u8..7, any::<prop::sample::Index>()), 1..25),
        ) {
            let mut world = World::new();
            let first = world.commit(&[], "");
            let (mut source, mut tip, mut tips) = (first, first, vec![first]);
            let mut sources = vec![first];
            for (kind, pick) in steps {
                match kind {
                    0 | 1 => source = world.commit(&[source], ""),
                    2 => tip = world.promote(tip, source),
                    3 => tip = world.commit(&[tip], ""),
                    // The way back, and a rollback in the environment that feeds this one.
                    4 => source = world.commit(&[source, tip], ""),
                    5 => source = world.restore(source, sources[pick.index(sources.len())]),
                    _ => tip = world.restore(tip, tips[pick.index(tips.len())]),
                }
                tips.push(tip);
                sources.push(source);
                let in_source = &world.rests_on[&source];
                let expected: BTreeSet<ObjectId> = world.rests_on[&tip].difference(in_source).copied().collect();
                prop_assert_eq!(world.foreign(tip, &[source]), expected);
                prop_assert!(world.foreign(tip, &[source, tip]).is_empty());
            }
        }
    }
}
