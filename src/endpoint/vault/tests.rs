//! What vaults do beyond the contract: what is damaged is told, others are not overwritten, and nothing is lost on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::chunk::tests::noise;
use super::*;
use crate::base::digest::Digest;
use crate::endpoint::contract_tests::{key, listed};
use crate::endpoint::{Form, Memory, Version};

const PLAIN: Form = Form::File { executable: false };

fn open(inner: &Arc<dyn Endpoint>) -> Vault {
    Vault::new(Arc::clone(inner), Secret::passphrase("correct horse battery")).costing(Cost::LEAST)
}

async fn vault() -> (Memory, Arc<dyn Endpoint>, Vault) {
    let memory = Memory::new("objects");
    let inner: Arc<dyn Endpoint> = Arc::new(memory.clone());
    let vault = open(&inner);
    vault.init().await.unwrap();
    (memory, inner, vault)
}

async fn known(vault: &Vault, text: &str) -> Option<Known> {
    let item = listed(vault).await.0.into_iter().find(|item| item.key == key(text))?;
    vault.recall(vec![item]).await.remove(0).ok()
}

/// Puts content under a key, whatever is there.
async fn put(vault: &Vault, text: &str, content: &[u8]) {
    let to = Version { digest: Digest::of(content), form: PLAIN, size: content.len() as u64 };
    let expected = known(vault, text).await;
    let put = Put { key: key(text), to, content: Content::whole(content.to_vec()), expected };
    vault.write(vec![put]).await.remove(0).unwrap();
}

async fn content(vault: &Vault, text: &str) -> Result<Vec<u8>> {
    let item = listed(vault).await.0.into_iter().find(|item| item.key == key(text)).unwrap();
    let content = vault.read(vec![item]).await.remove(0)?;
    objects::bytes(content, "test").await
}

/// Answers everything in a vault that can be opened and read; what cannot is left out.
async fn readable(inner: &Arc<dyn Endpoint>) -> Result<BTreeMap<String, Vec<u8>>> {
    let vault = open(inner);
    let (mut listing, mut items) = (vault.list(), Vec::new());
    while let Some(part) = listing.next().await {
        if let crate::endpoint::Listed::Items(batch) = part? {
            items.extend(batch);
        }
    }
    let mut all = BTreeMap::new();
    for (item, read) in items.iter().zip(vault.read(items.clone()).await) {
        if let Ok(content) = read
            && let Ok(content) = objects::bytes(content, "test").await
        {
            all.insert(item.key.to_string(), content);
        }
    }
    Ok(all)
}

fn sample() -> Vec<(&'static str, Vec<u8>)> {
    let text = b"words and words and words. ".repeat(40);
    vec![("empty", Vec::new()), ("large", noise(4, 3 << 20)), ("small", noise(2, 300)), ("text", text)]
}

async fn filled() -> (Memory, Arc<dyn Endpoint>, Vault) {
    let (memory, inner, vault) = vault().await;
    for (name, content) in sample() {
        put(&vault, name, &content).await;
    }
    vault.flush().await.unwrap();
    (memory, inner, vault)
}

fn names(memory: &Memory) -> Vec<String> {
    memory.contents().keys().map(ToString::to_string).collect()
}

/// Sees that what was damaged is told, and that nothing else than what was written is ever read.
#[track_caller]
fn found(what: &str, read: Result<BTreeMap<String, Vec<u8>>>, checked: Result<Checked>) {
    let expected: BTreeMap<String, Vec<u8>> =
        sample().into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
    if let Ok(read) = read {
        assert!(read.iter().all(|(name, content)| expected[name] == *content), "{what}: something else is read");
        if let Ok(checked) = &checked {
            let lost: BTreeSet<&String> = expected.keys().filter(|name| !read.contains_key(*name)).collect();
            assert_eq!(checked.lost.iter().collect::<BTreeSet<_>>(), lost, "{what}");
        }
    }
    assert!(checked.map_or(true, |checked| !checked.damaged.is_empty()), "{what}: nobody is told");
}

#[tokio::test]
async fn whatever_is_flipped_cut_off_or_taken_away_is_told() {
    let (memory, inner, _) = filled().await;
    for name in names(&memory) {
        let whole = memory.contents()[&key(&name)].clone();
        let spread = (0..=8).map(|eighth| (whole.len() - 1) * eighth / 8);
        for at in spread.chain([7, 8, 40, 41, 60].into_iter().filter(|at| *at < whole.len())) {
            for changed in [
                Some([&whole[..at], &[whole[at] ^ 1], &whole[at + 1..]].concat()),
                Some(whole[..at].to_vec()),
                Some([&whole[..], b"more"].concat()),
                None,
            ] {
                match &changed {
                    Some(changed) => memory.set(&key(&name), PLAIN, changed.clone()),
                    None => memory.unset(&key(&name)),
                }
                let told = format!("{name} at {at} of {}: {:?} bytes", whole.len(), changed.map(|it| it.len()));
                // White space in the readable object means nothing.
                let is_harmless = name == key::OBJECT && at + 1 == whole.len();
                if !is_harmless {
                    found(&told, readable(&inner).await, open(&inner).check(true).await);
                }
            }
        }
        memory.set(&key(&name), PLAIN, whole);
    }
    assert_eq!(readable(&inner).await.unwrap().len(), 4);
}

#[tokio::test]
async fn objects_that_change_places_are_told() {
    let (memory, inner, vault) = filled().await;
    put(&vault, "more", &noise(9, 500)).await;
    vault.flush().await.unwrap();
    vault.delete(vec![Take { key: key("more"), expected: known(&vault, "more").await.unwrap() }]).await;
    vault.flush().await.unwrap();
    let (other, _, _) = filled().await;
    let names = names(&memory);
    for (one, name) in names.iter().enumerate() {
        for (two, with) in names.iter().enumerate() {
            let (mine, theirs) = (memory.contents()[&key(name)].clone(), memory.contents()[&key(with)].clone());
            if one != two {
                memory.set(&key(name), PLAIN, theirs);
                found(&format!("{with} as {name}"), readable(&inner).await, open(&inner).check(true).await);
                memory.set(&key(name), PLAIN, mine);
            }
        }
    }
    for name in ["head", key::OBJECT] {
        let mine = memory.contents()[&key(name)].clone();
        memory.set(&key(name), PLAIN, other.contents()[&key(name)].clone());
        assert!(open(&inner).check(true).await.is_err(), "{name} of another vault");
        memory.set(&key(name), PLAIN, mine);
    }
    assert_eq!(readable(&inner).await.unwrap().len(), 4);
}

#[tokio::test]
async fn chunks_that_change_places_within_a_pack_are_told() {
    let (memory, inner, _) = vault().await;
    let vault = open(&inner);
    put(&vault, "a", &noise(1, 300)).await;
    put(&vault, "b", &noise(2, 300)).await;
    vault.flush().await.unwrap();
    let pack = names(&memory).into_iter().find(|name| name.starts_with("packs/")).unwrap();
    let mut bytes = memory.contents()[&key(&pack)].clone();
    let (start, length) = (seal::HEADER_BYTES, 300 + seal::TAG_BYTES);
    let (first, second) = bytes[start..start + 2 * length].split_at_mut(length);
    first.swap_with_slice(second);
    memory.set(&key(&pack), PLAIN, bytes);
    assert!(readable(&inner).await.unwrap().is_empty());
    assert_eq!(open(&inner).check(true).await.unwrap().lost, ["a", "b"]);
}

#[tokio::test]
async fn an_older_state_that_is_put_back_is_told_where_the_newer_was_seen() {
    let (memory, inner, vault) = filled().await;
    let dir = tempfile::tempdir().unwrap();
    let remembering = || open(&inner).remembering(dir.path().to_owned());
    let before = memory.contents();
    put(&vault, "small", b"newer").await;
    vault.flush().await.unwrap();
    remembering().check(false).await.unwrap();
    let newer = memory.contents();
    for (name, content) in &before {
        memory.set(name, PLAIN, content.clone());
    }
    let refused = remembering().check(false).await.unwrap_err();
    assert!(
        refused.to_string().ends_with("is at 2, and was at 3 before: somebody put an older state back"),
        "{refused}"
    );
    assert!(open(&inner).check(true).await.is_ok(), "who saw nothing cannot know");
    remembering().accept_older().await.unwrap();
    assert_eq!(content(&remembering(), "small").await.unwrap(), noise(2, 300));
    for (name, content) in newer {
        memory.set(&name, PLAIN, content);
    }
    assert_eq!(content(&remembering(), "small").await.unwrap(), b"newer");
}

#[tokio::test]
async fn only_what_is_new_travels() {
    let (memory, inner, vault) = filled().await;
    let bytes = |memory: &Memory| memory.contents().values().map(Vec::len).sum::<usize>();
    let before = bytes(&memory);
    let mut large = noise(4, 3 << 20);
    large[1_500_000] ^= 1;
    put(&vault, "large", &large).await;
    put(&vault, "copy of small", &noise(2, 300)).await;
    vault.flush().await.unwrap();
    let sent = bytes(&memory) - before;
    assert!(sent < 700 << 10, "{sent} bytes of a file of 3 MiB in which one was changed");
    assert_eq!(content(&open(&inner), "large").await.unwrap(), large);
    let names = names(&memory).len();
    put(&vault, "another copy", &large).await;
    vault.flush().await.unwrap();
    assert_eq!(self::names(&memory).len(), names + 1, "an index, and no pack");
}

#[tokio::test]
async fn what_others_did_meanwhile_stays() {
    let (_, inner, mine) = filled().await;
    let theirs = open(&inner);
    put(&mine, "mine", b"mine").await;
    put(&mine, "both", b"mine").await;
    put(&theirs, "theirs", b"theirs").await;
    put(&theirs, "both", b"theirs").await;
    theirs.flush().await.unwrap();
    mine.flush().await.unwrap();
    let all = readable(&inner).await.unwrap();
    let at = |name: &str| String::from_utf8_lossy(&all[name]).into_owned();
    assert_eq!((at("mine"), at("theirs"), at("both")), ("mine".into(), "theirs".into(), "theirs".into()));
    assert_eq!(known(&mine, "both").await.unwrap().version.digest, Digest::of(b"theirs"), "who was slower can see it");
    assert_eq!(all.len(), 7);
}

#[tokio::test]
async fn who_writes_while_somebody_cleans_up_begins_again() {
    let (memory, inner, mine) = filled().await;
    put(&mine, "mine", &noise(11, 1_000)).await;
    mine.settle(&mut *mine.0.state.lock().await).await.unwrap();
    let cleaned = open(&inner).clean().await.unwrap();
    assert_eq!((cleaned.packs, cleaned.leftovers), (0, 1), "a pack that no head knows");
    let refused = mine.flush().await.unwrap_err();
    assert!(matches!(refused, Error::Vault(error::Error::CleanedUp { .. })), "{refused}");
    put(&mine, "mine", &noise(11, 1_000)).await;
    mine.flush().await.unwrap();
    assert_eq!(readable(&inner).await.unwrap().len(), 5);
    assert!(open(&inner).check(true).await.unwrap().damaged.is_empty());
    assert_eq!(names(&memory).iter().filter(|name| name.starts_with("packs/")).count(), 2);
}

#[tokio::test]
async fn what_nobody_refers_to_is_removed_and_the_rest_stays() {
    let (memory, inner, vault) = filled().await;
    let bytes = |memory: &Memory| memory.contents().values().map(Vec::len).sum::<usize>();
    vault.delete(vec![Take { key: key("large"), expected: known(&vault, "large").await.unwrap() }]).await;
    vault.flush().await.unwrap();
    let checked = vault.check(true).await.unwrap();
    assert!(checked.unused_bytes >= 3 << 20 && checked.damaged.is_empty(), "{checked:?}");
    let cleaned = vault.clean().await.unwrap();
    assert!(cleaned.packs == 1 && cleaned.bytes >= 3 << 20, "{cleaned:?}");
    assert!(bytes(&memory) < 5_000, "{}", bytes(&memory));
    let all = readable(&inner).await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(sample().iter().filter(|(name, _)| *name != "large").all(|(name, content)| all[*name] == *content));
    assert_eq!(vault.clean().await.unwrap(), Cleaned::default());
    assert_eq!(open(&inner).check(true).await.unwrap().unused_bytes, 0);
}

#[tokio::test]
async fn what_cannot_be_cleaned_up_keeps_nobody_from_writing() {
    let (memory, _, vault) = filled().await;
    for round in 0..29_u8 {
        put(&vault, "small", &[round; 40]).await;
        vault.flush().await.unwrap();
    }
    memory.set(&key("packs/00/left"), PLAIN, "of an interrupted write");
    let mut freed = 0;
    // The next state is one after which what is not needed is looked for. A pack, a segment and a head count; what follows
    // is refused, one step later each time.
    for steps in (3..120).step_by(4) {
        let copy = Memory::new("copy");
        memory.contents().into_iter().for_each(|(name, content)| copy.set(&name, PLAIN, content));
        let inner: Arc<dyn Endpoint> = Arc::new(copy.clone());
        let vault = open(&(Arc::new(Dying { inner: copy, left: AtomicUsize::new(steps) }) as Arc<dyn Endpoint>));
        put(&vault, "small", &[99; 50]).await;
        vault.flush().await.unwrap();
        assert_eq!(content(&vault, "small").await.unwrap(), [99; 50], "{steps}");
        let checked = open(&inner).check(true).await.unwrap();
        assert!(checked.damaged.is_empty(), "{steps}: {checked:?}");
        freed += usize::from(checked.packs < 4 && checked.leftovers == 0);
    }
    assert!(freed > 0 && freed < 30, "{freed}");
}

#[tokio::test]
async fn many_states_leave_few_objects() {
    let (memory, inner, vault) = vault().await;
    for round in 0..70_u8 {
        put(&vault, &format!("item {round}"), &[round]).await;
        vault.flush().await.unwrap();
    }
    let segments = names(&memory).iter().filter(|name| name.starts_with("index/")).count();
    assert!(segments <= 33, "{segments}");
    let checked = open(&inner).check(true).await.unwrap();
    assert_eq!((checked.items, checked.leftovers), (70, 0));
    assert!(checked.packs <= 32, "{}", checked.packs);
    let all = readable(&inner).await.unwrap();
    assert!((0..70_u8).all(|round| all[&format!("item {round}")] == [round]));
}

#[tokio::test]
async fn another_passphrase_opens_after_a_rekey_and_nothing_else_was_written() {
    let (memory, inner, vault) = filled().await;
    let before = memory.contents();
    let secret = Secret::passphrase("another good passphrase");
    vault.rekey(&secret).await.unwrap();
    let changed: Vec<String> = memory
        .contents()
        .into_iter()
        .filter(|(name, content)| before.get(name) != Some(content))
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(changed, [key::OBJECT]);
    assert!(matches!(readable(&inner).await, Err(Error::Vault(error::Error::WrongKey { .. }))));
    let vault = Vault::new(Arc::clone(&inner), secret);
    assert!(vault.check(true).await.unwrap().damaged.is_empty());
    assert!(matches!(vault.rekey(&Secret::passphrase("short")).await, Err(Error::Vault(error::Error::Weak))));
}

#[tokio::test]
async fn a_vault_is_made_once_and_only_where_nothing_is() {
    let (memory, inner, vault) = vault().await;
    assert!(matches!(vault.init().await, Err(Error::Vault(error::Error::Initialised { .. }))));
    memory.unset(&key(key::OBJECT));
    assert!(matches!(readable(&inner).await, Err(Error::Vault(error::Error::NotInitialised { .. }))));
    open(&inner).init().await.unwrap();
    assert!(readable(&inner).await.unwrap().is_empty(), "an interrupted beginning is begun again");
    let other = Memory::new("other");
    other.set(&key("photo.jpg"), PLAIN, "x");
    let refused = open(&(Arc::new(other) as Arc<dyn Endpoint>)).init().await.unwrap_err();
    assert_eq!(refused.to_string(), "the vault in memory other cannot be initialised: something else is there");
}

#[tokio::test]
async fn neither_names_nor_content_nor_sizes_of_items_are_to_be_seen() {
    let (memory, _, vault) = vault().await;
    let secret = b"a sentence that stands in a file of the vault";
    put(&vault, "folder/telling-name.txt", &secret.repeat(50)).await;
    vault.flush().await.unwrap();
    for (name, content) in memory.contents() {
        let all = [name.as_bytes(), &content].concat();
        for told in [&b"telling"[..], b"folder", b"sentence", &secret[..8], Digest::of(secret).as_bytes()] {
            assert!(!all.windows(told.len()).any(|window| window == told), "{name} tells {told:?}");
        }
    }
}

/// A holder of objects that refuses the n-th thing that would change it, and everything after that.
#[derive(Debug)]
struct Dying {
    inner: Memory,
    left: AtomicUsize,
}

impl Dying {
    fn is_dead(&self) -> bool {
        let fewer = |left: usize| Some(left.saturating_sub(1));
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok_and(|left| left == 0)
    }
}

impl Endpoint for Dying {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list(&self) -> Listing {
        self.inner.list()
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        self.inner.read(items)
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.inner.digest(items)
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        if self.is_dead() { crate::endpoint::read_only(self.place(), puts.len()) } else { self.inner.write(puts) }
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        if self.is_dead() { crate::endpoint::read_only(self.place(), takes.len()) } else { self.inner.delete(takes) }
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        self.inner.flush()
    }

    fn sweep(&self, leftovers: Vec<Leftover>, is_kept: IsKept) -> Later<'_, Vec<String>> {
        self.inner.sweep(leftovers, is_kept)
    }
}

#[tokio::test]
async fn whenever_it_ends_the_state_before_or_after_is_there() {
    let mut finished = 0;
    for steps in 0..40 {
        let (memory, inner, _) = filled().await;
        let dying: Arc<dyn Endpoint> = Arc::new(Dying { inner: memory.clone(), left: AtomicUsize::new(steps) });
        let vault = open(&dying);
        put(&vault, "small", b"after").await;
        let expected = known(&vault, "large").await.unwrap();
        vault.delete(vec![Take { key: key("large"), expected }]).await.remove(0).unwrap();
        let flushed = vault.flush().await;
        let cleaned = vault.clean().await;
        let all = readable(&inner).await.unwrap();
        let is_after = all["small"] == b"after";
        assert_eq!(!all.contains_key("large"), is_after, "all of it or nothing: {steps}");
        assert_eq!(all["small"], if is_after { b"after".to_vec() } else { noise(2, 300) });
        assert!(is_after || flushed.is_err(), "{steps}: what was flushed is there");
        assert_eq!(all["text"], sample()[3].1);
        let again = open(&inner);
        assert!(again.check(true).await.unwrap().damaged.is_empty(), "{steps}");
        again.clean().await.unwrap();
        assert_eq!(again.check(true).await.unwrap().leftovers, 0, "{steps}");
        finished += usize::from(cleaned.is_ok());
    }
    assert!(finished > 0 && finished < 40, "{finished}");
}
