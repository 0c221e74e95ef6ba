//! From a configured sync to one that can run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::archive::Archive;
use super::error::{Error, Result};
use super::filter::Filter;
use super::patience::Patience;
use super::plan::Policy;
use super::retention::Retention;
use super::run::Sync;
use super::walk::Reading;
use crate::base::escape::shown;
use crate::base::id::{ObjectId, PromotionId};
use crate::base::units::Share;
use crate::config::{Durability, Expanded, Snapshots, StoreSpec, SyncSpec, VaultSpec};
use crate::context::Context;
use crate::endpoint::vault::Secret;
use crate::endpoint::{self, Bucket, Directory, Endpoint, ReadOnly, Tree, Vault};
use crate::store::{Lock, LockError};

/// Pause between two looks at a held lock.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Takes the lock under which a project's syncs run, one after the other.
///
/// # Errors
/// Another process holds it.
pub fn lock(ctx: &Context) -> Result<Lock> {
    Ok(Lock::take(&ctx.home.sync_lock()).map_err(crate::store::Error::from)?)
}

/// Takes that lock, waiting until it is free.
///
/// # Errors
/// The lock file cannot be used.
pub async fn wait_for_lock(ctx: &Context) -> Result<Lock> {
    loop {
        match Lock::take(&ctx.home.sync_lock()) {
            Err(LockError::Held { .. }) => tokio::time::sleep(LOCK_POLL).await,
            taken => return Ok(taken.map_err(crate::store::Error::from)?),
        }
    }
}

/// Answers what is configured for a sync.
///
/// # Errors
/// No sync has that name.
pub fn require<'c>(ctx: &'c Context, name: &str) -> Result<&'c SyncSpec> {
    ctx.config.syncs.get(name).ok_or_else(|| Error::Unknown {
        name: shown(name.as_bytes()),
        known: ctx.config.syncs.keys().cloned().collect(),
    })
}

/// How a sync is opened for a promotion.
#[derive(Debug, Clone)]
pub struct Opening<'a> {
    /// What it is configured to be.
    pub spec: &'a SyncSpec,
    /// The branch of which not the tip counts but this commit.
    pub pinned: (&'a str, ObjectId),
    /// The promotion.
    pub promotion: Option<PromotionId>,
}

/// Opens a sync for a promotion, as the promotion's own configuration has it.
///
/// # Errors
/// As [`open`].
pub async fn open_as(ctx: &Context, name: &str, opening: Opening<'_>) -> Result<Sync> {
    let sync = open_spec(ctx, name, opening.spec, Some(opening.pinned)).await?;
    Ok(Sync { promotion: opening.promotion, ..sync })
}

/// Opens a configured sync; `max_delete` is for this once.
///
/// # Errors
/// No sync has that name; an endpoint is not there; source, target and what cascade works with overlap.
pub async fn open(ctx: &Context, name: &str, max_delete: Option<Share>) -> Result<Sync> {
    let spec = require(ctx, name)?;
    let sync = open_spec(ctx, name, spec, None).await?;
    Ok(match max_delete {
        None => sync,
        Some(max_delete) => {
            Sync { policy: Policy { max_delete: max_delete.as_fraction(), ..sync.policy }, max_delete, ..sync }
        }
    })
}

async fn open_spec(ctx: &Context, name: &str, spec: &SyncSpec, pinned: Option<(&str, ObjectId)>) -> Result<Sync> {
    let (target, path) = target(ctx, name, spec)?;
    if let Some(path) = &path {
        require_apart(ctx, name, path).await?;
    }
    let source = source(ctx, name, spec, (path.as_deref(), pinned)).await?;
    // Whatever comes, nothing is written to where the content comes from.
    let source: Arc<dyn Endpoint> = Arc::new(ReadOnly::new(source));
    let max_delete = spec.max_delete;
    let Snapshots { keep, daily, weekly, monthly } = spec.snapshots;
    let policy = Policy { on_drift: spec.on_drift, delete: spec.delete, max_delete: max_delete.as_fraction() };
    Ok(Sync {
        name: name.to_owned(),
        source,
        target,
        policy,
        max_delete,
        filter: Filter::new(&spec.include, &spec.exclude),
        reading: Reading::Doubtful,
        verify: spec.verify,
        retention: Retention { keep, daily, weekly, monthly },
        store: ctx.store.clone(),
        archive: Archive::new(ctx.home.snapshots()),
        patience: Patience::default(),
        progress: Arc::default(),
        clock: Arc::clone(&ctx.clock),
        promotion: None,
        is_awaited: false,
    })
}

fn directory(ctx: &Context, path: &str) -> endpoint::Result<Directory> {
    Directory::open(&ctx.git.root().join(path), Arc::clone(&ctx.clock))
}

fn bucket(ctx: &Context, address: &Expanded, store: Option<&StoreSpec>) -> endpoint::Result<Bucket> {
    let unfit = |problem: &str| endpoint::Error::Lost { place: address.to_string(), reason: problem.to_owned() };
    let parsed = address.value().parse().map_err(unfit)?;
    Bucket::open(&parsed, &store.cloned().unwrap_or_default(), Arc::clone(&ctx.clock))
}

/// Answers the vault of a sync: the one that it writes to, else the one that it reads from.
///
/// # Errors
/// No sync has that name, or it has no vault; what holds it is not there.
pub async fn open_vault(ctx: &Context, name: &str) -> Result<Vault> {
    let spec = require(ctx, name)?;
    let failed = |source| Error::Endpoint { name: name.to_owned(), source };
    let (from, to) = (&spec.from, &spec.to);
    let sides =
        [(&to.directory, &to.bucket, &to.store, &to.vault), (&from.directory, &from.bucket, &from.store, &from.vault)];
    let side = sides
        .into_iter()
        .find_map(|(directory, bucket, store, vault)| Some((directory, bucket, store, vault.as_ref()?)));
    let (path, address, store, vault) = side.ok_or_else(|| Error::NoVault { name: name.to_owned() })?;
    let inner: Arc<dyn Endpoint> = match address {
        Some(address) => Arc::new(bucket(ctx, address, store.as_ref()).map_err(failed)?),
        None => Arc::new(directory(ctx, path.as_ref().map(Expanded::value).unwrap_or_default()).map_err(failed)?),
    };
    Ok(within(ctx, inner, vault))
}

/// Answers what opens a vault.
#[must_use]
pub fn secret(ctx: &Context, spec: &VaultSpec) -> Secret {
    match &spec.key_file {
        Some(path) => Secret::KeyFile(ctx.git.root().join(path.value())),
        None => Secret::passphrase(spec.passphrase.as_ref().map(Expanded::value).unwrap_or_default()),
    }
}

fn within(ctx: &Context, inner: Arc<dyn Endpoint>, spec: &VaultSpec) -> Vault {
    Vault::new(inner, secret(ctx, spec)).remembering(ctx.home.vaults())
}

/// Answers an endpoint, or the vault that it holds.
fn maybe_within(ctx: &Context, inner: Arc<dyn Endpoint>, vault: Option<&VaultSpec>) -> Arc<dyn Endpoint> {
    match vault {
        Some(spec) => Arc::new(within(ctx, inner, spec)),
        None => inner,
    }
}

/// Answers an endpoint, and its path where it is a directory of this machine.
type Opened = (Arc<dyn Endpoint>, Option<PathBuf>);

fn target(ctx: &Context, name: &str, spec: &SyncSpec) -> Result<Opened> {
    let failed = |source| Error::Endpoint { name: name.to_owned(), source };
    if let Some(address) = &spec.to.bucket {
        let target = bucket(ctx, address, spec.to.store.as_ref()).map_err(failed)?;
        let path = target.path().map(Path::to_owned);
        return Ok((maybe_within(ctx, Arc::new(target), spec.to.vault.as_ref()), path));
    }
    let path = spec.to.directory.as_ref().map(Expanded::value).unwrap_or_default();
    // A vault of which the last seconds are torn could not be read at all.
    let durability = if spec.to.vault.is_some() { Durability::Full } else { spec.durability };
    let target = directory(ctx, path).map_err(failed)?.with_durability(durability).trying_modes();
    let path = target.path().to_owned();
    Ok((maybe_within(ctx, Arc::new(target), spec.to.vault.as_ref()), Some(path)))
}

async fn source(
    ctx: &Context,
    name: &str,
    spec: &SyncSpec,
    (target, pinned): (Option<&Path>, Option<(&str, ObjectId)>),
) -> Result<Arc<dyn Endpoint>> {
    let failed = |source| Error::Endpoint { name: name.to_owned(), source };
    let apart = |path: &Path| target.map_or(Ok(()), |target| require_disjoint(name, path, target));
    if let Some(path) = &spec.from.directory {
        let source = directory(ctx, path.value()).map_err(failed)?;
        apart(source.path())?;
        return Ok(maybe_within(ctx, Arc::new(source), spec.from.vault.as_ref()));
    }
    if let Some(address) = &spec.from.bucket {
        let source = bucket(ctx, address, spec.from.store.as_ref()).map_err(failed)?;
        source.path().map_or(Ok(()), apart)?;
        return Ok(maybe_within(ctx, Arc::new(source), spec.from.vault.as_ref()));
    }
    let tree = spec.from.tree.as_deref().unwrap_or_default();
    let branch = ctx.config.environment(tree).map_or(tree, |environment| environment.branch.as_str());
    let path = spec.from.path.as_deref().unwrap_or_default();
    let path: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let path = path.join("/");
    let opened = match pinned.filter(|(pinned, _)| *pinned == branch) {
        Some((_, commit)) => Tree::open_at(&ctx.git, branch, commit, path.as_bytes()).await,
        None => Tree::open(&ctx.git, branch, path.as_bytes()).await,
    };
    Ok(Arc::new(opened.map_err(failed)?))
}

/// Refuses a target that holds, or lies in, what cascade itself works with.
async fn require_apart(ctx: &Context, name: &str, target: &Path) -> Result<()> {
    let common_dir: PathBuf = ctx.git.run(|repo| Ok(repo.common_dir().to_owned())).await?;
    let snapshots = ctx.home.snapshots();
    let own = snapshots.parent().and_then(Path::parent).unwrap_or(&snapshots);
    for place in [common_dir.as_path(), own] {
        let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
        require_disjoint(name, &place, target)?;
    }
    Ok(())
}

fn require_disjoint(name: &str, one: &Path, other: &Path) -> Result<()> {
    if !one.starts_with(other) && !other.starts_with(one) {
        return Ok(());
    }
    let shown = |path: &Path| shown(path.as_os_str().as_encoded_bytes());
    Err(Error::Overlap { name: name.to_owned(), one: shown(one), other: shown(other) })
}
