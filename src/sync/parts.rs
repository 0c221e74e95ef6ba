//! Bringing both sides together part by part, where their content has parts and somebody changed some of them by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::baseline::Entry;
use super::diff::{Finding, Touch, judge};
use super::error::{Error, Result};
use super::join::Row;
use super::plan::Flag;
use super::run::{Sync, versions};
use super::walk::Found;
use crate::base::digest::Digest;
use crate::config::OnDrift;
use crate::endpoint::{self, Content, Endpoint, Item, Key, Merge, Merged, Version};

/// What became of items that were brought together part by part.
pub type Merges = BTreeMap<Key, Together>;

/// An item that was brought together part by part.
#[derive(Debug)]
pub struct Together {
    /// What the target has.
    pub from: Version,
    /// What it is to have.
    pub to: Version,
    /// How it came to that.
    pub merged: Merged,
    /// What was the matter.
    pub finding: Finding,
}

impl Together {
    /// Answers what is told of it, where fields were left alone.
    pub(super) fn flag(&self, key: &Key) -> Option<Flag> {
        let flag = || Flag { key: key.clone(), finding: self.finding, parts: self.merged.kept.clone() };
        (!self.merged.kept.is_empty()).then(flag)
    }

    /// Answers what is agreed once the target has what it is to have.
    pub(super) fn agreed(&self, there: Entry) -> Entry {
        let [source, target] = self.merged.agreed.clone();
        Entry { source: source.or(there.source), target: target.or(there.target) }
    }
}

impl Sync {
    /// Brings together what can be: it was changed by hand, or a person let it differ, and what was agreed is known.
    pub(super) async fn bring_together(&self, found: &[Found]) -> Result<Merges> {
        let mut merges = Merges::new();
        let merger = if self.policy.on_drift == OnDrift::FlagField { self.target.merger() } else { None };
        let Some(merger) = merger else { return Ok(merges) };
        for row in found {
            if let Some(finding) = mergeable(row) {
                let together = self.together(&merger, row, finding).await?;
                merges.extend(together.map(|together| (row.key.clone(), together)));
            }
        }
        Ok(merges)
    }

    /// Brings one item together; nothing where that cannot be, for whatever reason: then it is flagged as a whole.
    async fn together(&self, merger: &Arc<dyn Merge>, row: &Found, finding: Finding) -> Result<Option<Together>> {
        let (Some(source), Some(target)) = (&row.source, &row.target) else { return Ok(None) };
        let Some(Entry { source: Some(here), target: Some(there) }) = &row.baseline else { return Ok(None) };
        let item = |known: &endpoint::Known| super::apply::source_item(Some(known), &row.key, &known.version);
        let ours = self.content(&*self.source, item(source)).await?;
        let theirs = self.content(&*self.target, item(target)).await?;
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(None) };
        let is_listed = |bytes: &[u8], version: &Version| Digest::of(bytes) == version.digest;
        if !is_listed(&ours, &source.version) || !is_listed(&theirs, &target.version) {
            return Ok(None);
        }
        let merged = merger.merge([&here.fingerprint, &there.fingerprint], &ours, &theirs);
        Ok(merged.map(|merged| {
            let size = merged.content.len() as u64;
            let to = Version { digest: Digest::of(&merged.content), form: merged.form, size };
            Together { from: target.version, to, merged, finding }
        }))
    }

    /// Reads one item; nothing where that fails.
    async fn content(&self, endpoint: &dyn Endpoint, item: Item) -> Result<Option<Vec<u8>>> {
        let Some(Ok(content)) = endpoint.read(vec![item]).await.pop() else { return Ok(None) };
        let drained = tokio::task::spawn_blocking(move || whole(content).ok());
        drained.await.map_err(|lost| Error::Lost { name: self.name.clone(), reason: lost.to_string() })
    }
}

pub(super) fn whole(content: Content) -> endpoint::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.drain(|piece| {
        bytes.extend_from_slice(piece);
        Ok::<_, endpoint::Error>(())
    })?;
    Ok(bytes)
}

/// Answers what is the matter with what can be brought together.
fn mergeable(row: &Found) -> Option<Finding> {
    let Row { source, baseline, target, .. } = versions(row);
    let agreed = baseline?;
    let finding = judge(source, agreed, target);
    let differs = agreed.source != agreed.target;
    match finding {
        Finding::Drift(Touch::Changed) | Finding::Conflict(Touch::Changed) => Some(finding),
        Finding::Update if differs => Some(finding),
        _ => None,
    }
}
