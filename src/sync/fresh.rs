//! Copying what is new: read once, digested on the way, in batches of bounded size, one read while another is written.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use super::apply::{Apply, Attempt};
use super::baseline::Entry;
use super::compare::Origin;
use super::error::{Error, Result};
use super::packed::{Entries, NewItems};
use super::plan::Action;
use super::report::Report;
use super::snapshot;
use crate::base::digest::Digest;
use crate::endpoint::{self, Body, Content, Endpoint, Item, Key, Known, Put, Version};

/// Items that are copied at a time, unless they are large.
const COPIED_AT_ONCE_ITEMS: usize = 1_000;

/// Bytes that are copied at a time, unless one item has more; as many are read for the next time meanwhile.
const COPIED_AT_ONCE_BYTES: u64 = 16 << 20;

/// What reading items brought.
struct Learnt {
    items: Vec<Learned>,
    failed: Vec<(Key, endpoint::Error)>,
}

/// An item that was read, and what it is.
struct Learned {
    key: Key,
    known: Known,
    content: Content,
}

impl Apply<'_> {
    /// Copies what is new at the source; what goes wrong with one of them is noted. Answers what both sides have then, still
    /// to be verified.
    pub async fn copy(&self, source: &Arc<dyn Endpoint>, new: &NewItems, report: &mut Report) -> Result<Entries> {
        let mut copied = Entries::default();
        let mut waiting = cut(new.iter());
        let mut ahead = self.learn_ahead(source, waiting.next()).await?;
        while let Some((batch, learnt)) = ahead {
            // The next ones are read while these are written.
            let (written, next) = tokio::join!(
                self.copy_batch(source, batch, learnt, &mut copied, report),
                self.learn_ahead(source, waiting.next()),
            );
            written?;
            ahead = next?;
        }
        Ok(copied)
    }

    async fn learn_ahead(
        &self,
        source: &Arc<dyn Endpoint>,
        batch: Option<Vec<Item>>,
    ) -> Result<Option<(Vec<Item>, Learnt)>> {
        let Some(batch) = batch else { return Ok(None) };
        let learnt = self.learn(source, batch.clone()).await?;
        Ok(Some((batch, learnt)))
    }

    async fn copy_batch(
        &self,
        source: &Arc<dyn Endpoint>,
        mut batch: Vec<Item>,
        mut learnt: Learnt,
        copied: &mut Entries,
        report: &mut Report,
    ) -> Result<()> {
        let (patience, mut attempts, mut done) = (self.sync.patience, 1, BTreeMap::new());
        let (items, size) = (batch.len() as u64, batch.iter().map(|item| item.size).sum());
        loop {
            let mut trying = Attempt { report: &mut *report, patience, attempts, again: BTreeSet::new() };
            learnt.failed.iter().for_each(|(key, error)| trying.fail(key, error));
            self.journal(&learnt.items).await?;
            self.put(learnt.items, &mut done, &mut trying).await;
            let again = trying.again;
            batch.retain(|item| again.contains(&item.key));
            if batch.is_empty() {
                break;
            }
            patience.wait(attempts).await;
            attempts += 1;
            learnt = self.learn(source, batch.clone()).await?;
        }
        done.iter().for_each(|(key, entry)| copied.add(key, entry));
        self.sync.progress.add(items, size);
        Ok(())
    }

    /// Reads items and says what they are; each is read only once where that can be relied on.
    async fn learn(&self, source: &Arc<dyn Endpoint>, items: Vec<Item>) -> Result<Learnt> {
        let (mut whole, mut others, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (item, read) in items.iter().zip(source.read(items.clone()).await) {
            match read {
                Ok(content) if content.fingerprint.is_some() && matches!(content.body, Body::Whole(_)) => {
                    whole.push((item.clone(), content));
                }
                Ok(_) => others.push(item.clone()),
                Err(error) => failed.push((item.key.clone(), error)),
            }
        }
        let second = whole.split_off(whole.len() / 2);
        let digest = |half: Vec<(Item, Content)>| {
            tokio::task::spawn_blocking(move || half.into_iter().filter_map(digested).collect::<Vec<_>>())
        };
        let lost =
            |lost: tokio::task::JoinError| Error::Lost { name: self.sync.name.clone(), reason: lost.to_string() };
        let (first, second) = tokio::join!(digest(whole), digest(second));
        let mut learned = first.map_err(lost)?;
        learned.extend(second.map_err(lost)?);
        for (item, answer) in others.iter().zip(self.sync.reading.look(&**source, others.clone()).await) {
            let read = match answer {
                Ok(known) => read_again(source, item, known).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(read) => learned.extend(read),
                Err(error) => failed.push((item.key.clone(), error)),
            }
        }
        Ok(Learnt { items: learned, failed })
    }

    /// Records what is about to be there: after a crash it is known for our own.
    async fn journal(&self, learned: &[Learned]) -> Result<()> {
        let create = |one: &Learned| Action::Create { key: one.key.clone(), to: one.known.version };
        let mut actions: Vec<Action> = learned.iter().map(create).collect();
        if actions.is_empty() {
            return Ok(());
        }
        actions.sort_by(|one, other| one.key().cmp(other.key()));
        let intents = snapshot::encode_intents(&actions.iter().collect::<Vec<_>>(), Origin::Source);
        Ok(self.sync.store.add_sync_intents(&self.sync.name, intents).await?)
    }

    async fn put(&self, learned: Vec<Learned>, done: &mut BTreeMap<Key, Entry>, trying: &mut Attempt<'_>) {
        let mut known = Vec::with_capacity(learned.len());
        let put = |one: Learned| {
            let put = Put { key: one.key.clone(), to: one.known.version, content: one.content, expected: None };
            known.push((one.key, one.known));
            put
        };
        let puts = learned.into_iter().map(put).collect();
        for ((key, source), answer) in known.into_iter().zip(self.sync.target.write(puts).await) {
            match answer {
                Ok(fingerprint) => {
                    let target = Some(Known { version: source.version, fingerprint });
                    done.insert(key, Entry { source: Some(source), target });
                }
                Err(error) => trying.fail(&key, &error),
            }
        }
    }
}

/// Says what content is that was read whole and in one piece.
fn digested((item, content): (Item, Content)) -> Option<Learned> {
    let Body::Whole(bytes) = &content.body else { return None };
    let version = Version { digest: Digest::of(bytes), form: item.form, size: bytes.len() as u64 };
    let known = Known { version, fingerprint: content.fingerprint.clone()? };
    Some(Learned { key: item.key, known, content: Content { digest: Some(version.digest), ..content } })
}

/// Reads an item that had to be digested first.
async fn read_again(source: &Arc<dyn Endpoint>, item: &Item, known: Known) -> endpoint::Result<Option<Learned>> {
    let version = Version { form: item.form, ..known.version };
    let listed = Item { fingerprint: known.fingerprint.clone(), ..item.clone() };
    let read = source.read(vec![listed]).await.pop().transpose()?;
    Ok(read.map(|content| Learned { key: item.key.clone(), known: Known { version, ..known }, content }))
}

/// Cuts items into batches as they come.
fn cut(items: impl Iterator<Item = Item> + Send) -> impl Iterator<Item = Vec<Item>> + Send {
    let mut items = items.peekable();
    iter::from_fn(move || {
        let first = items.next()?;
        let (mut bytes, mut batch) = (first.size, vec![first]);
        let is_room = |batch: &[Item], bytes: u64| batch.len() < COPIED_AT_ONCE_ITEMS && bytes <= COPIED_AT_ONCE_BYTES;
        while let Some(item) = items.next_if(|item| is_room(&batch, bytes + item.size)) {
            bytes += item.size;
            batch.push(item);
        }
        Some(batch)
    })
}
