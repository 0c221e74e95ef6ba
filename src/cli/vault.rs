//! `cascade vault init|check|rekey|prune`.

use serde::Serialize;
use serde_json::json;

use super::args::{CheckVault, RekeyVault, Vault as Command};
use super::sync::bytes;
use super::{Failure, Outcome, Shell};
use crate::base::ErrorKind;
use crate::base::units::count;
use crate::config::VaultSpec;
use crate::context::Context;
use crate::endpoint::vault::{Checked, Secret, make_key_file};
use crate::endpoint::{self, Endpoint as _, Vault};
use crate::sync;

/// Most items that are named one by one.
const NAMED_LIMIT_ITEMS: usize = 20;

/// Makes, checks, rekeys or prunes the vault of a sync.
///
/// # Errors
/// No such sync or vault; it cannot be opened; it is damaged (all is printed).
pub async fn run(shell: &Shell, command: &Command) -> Outcome {
    let ctx = shell.context().await?;
    match command {
        Command::Init(args) => init(shell, &ctx, &args.name).await,
        Command::Check(args) => check(shell, &ctx, args).await,
        Command::Rekey(args) => rekey(shell, &ctx, args).await,
        Command::Prune(args) => prune(shell, &ctx, &args.name).await,
    }
}

/// Says which sync a failure is about.
fn of(name: &str) -> impl FnOnce(endpoint::Error) -> Failure {
    let name = name.to_owned();
    move |source| sync::Error::Endpoint { name, source }.into()
}

/// Answers what a sync says about its vault.
fn spec<'c>(ctx: &'c Context, name: &str) -> Outcome<&'c VaultSpec> {
    let spec = sync::require(ctx, name)?;
    let missing = || sync::Error::NoVault { name: name.to_owned() };
    Ok(spec.to.vault.as_ref().or(spec.from.vault.as_ref()).ok_or_else(missing)?)
}

async fn init(shell: &Shell, ctx: &Context, name: &str) -> Outcome {
    let _lock = sync::lock(ctx)?;
    let secret = sync::secret(ctx, spec(ctx, name)?);
    let vault = sync::open_vault(ctx, name).await?;
    let made = make_missing(shell, name, &secret)?;
    vault.init().await.map_err(of(name))?;
    shell.ui.success(&format!("{} is ready", vault.place()));
    let kept = match secret {
        Secret::Passphrase(_) => "passphrase",
        Secret::KeyFile(_) => "key file",
    };
    shell.ui.note(&format!("keep a copy of the {kept} elsewhere: without it nobody can read the vault"));
    if shell.ui.is_json() {
        return shell
            .ui
            .json(&json!({ "sync": name, "vault": vault.place(), "opened_by": kept, "key_file_made": made }));
    }
    Ok(())
}

/// Makes a key file where it is missing; answers whether it did.
fn make_missing(shell: &Shell, name: &str, secret: &Secret) -> Outcome<bool> {
    let Secret::KeyFile(path) = secret else { return Ok(false) };
    let made = make_key_file(path).map_err(|refused| of(name)(refused.into()))?;
    if made {
        shell
            .ui
            .success(&format!("made the key file {}", crate::base::escape::shown(path.as_os_str().as_encoded_bytes())));
    }
    Ok(made)
}

/// What was found, for programs.
#[derive(Debug, Serialize)]
struct Document<'c> {
    sync: &'c str,
    vault: String,
    #[serde(flatten)]
    checked: &'c Checked,
}

async fn check(shell: &Shell, ctx: &Context, args: &CheckVault) -> Outcome {
    let name = &args.name;
    let vault = sync::open_vault(ctx, name).await?;
    if args.accept_older {
        vault.accept_older().await.map_err(of(name))?;
    }
    let checked = vault.check(args.read_data).await.map_err(of(name))?;
    if shell.ui.is_json() {
        shell.ui.json(&Document { sync: name, vault: vault.place(), checked: &checked })?;
    } else {
        tell(shell, name, &checked);
    }
    if checked.damaged.is_empty() && checked.lost.is_empty() {
        return Ok(());
    }
    let lost = count(checked.lost.len(), "item");
    let failure = Failure::new(ErrorKind::Integrity, format!("{} cannot be read from {}", lost, vault.place()));
    Err(failure.with_hint(format!(
        "everything else can; where the source still has them, `cascade sync {name} --force` finds them and says what to do"
    )))
}

fn tell(shell: &Shell, name: &str, checked: &Checked) {
    for damage in &checked.damaged {
        shell.ui.warning(&format!("{}: {}", damage.object, damage.reason));
    }
    for key in checked.lost.iter().take(NAMED_LIMIT_ITEMS) {
        shell.ui.warning(&format!("{key} cannot be read"));
    }
    if let Some(more) = checked.lost.len().checked_sub(NAMED_LIMIT_ITEMS).filter(|more| *more > 0) {
        shell.ui.warning(&format!("and {}", count(more, "more item")));
    }
    let read = if checked.read { "all read" } else { "not read; --read-data does" };
    let (items, packs) = (count(checked.items, "item"), count(checked.packs, "pack"));
    let (content, stored, unused) = (bytes(checked.bytes), bytes(checked.stored_bytes), bytes(checked.unused_bytes));
    shell.ui.answer(&format!("{name}: {items} of {content} in {packs} of {stored}, {unused} of that unused ({read})"));
    if checked.leftovers > 0 {
        let left = count(checked.leftovers, "object");
        shell
            .ui
            .note(&format!("{left} of interrupted runs: `cascade vault prune {name}` removes what is left of those"));
    }
}

async fn rekey(shell: &Shell, ctx: &Context, args: &RekeyVault) -> Outcome {
    let _lock = sync::lock(ctx)?;
    let name = &args.name;
    let secret = match (&args.passphrase_from, &args.key_file) {
        (Some(variable), _) => {
            let value = ctx.variables.get(variable).filter(|value| !value.is_empty());
            let shown = crate::base::escape::shown(variable.as_bytes());
            let missing =
                || Failure::usage(format!("the variable `{shown}` is not set, in the environment or in .env"));
            Secret::passphrase(value.ok_or_else(missing)?)
        }
        (None, Some(path)) => Secret::KeyFile(shell.directory.join(path)),
        (None, None) => return Err(Failure::usage("name what is to open the vault")),
    };
    let vault: Vault = sync::open_vault(ctx, name).await?;
    let made = make_missing(shell, name, &secret)?;
    vault.rekey(&secret).await.map_err(of(name))?;
    shell.ui.success(&format!("{} has a new key", vault.place()));
    shell
        .ui
        .note(&format!("now change `vault` of the sync {name} in cascade-sync.yaml, or the variable that it names"));
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "sync": name, "vault": vault.place(), "key_file_made": made }));
    }
    Ok(())
}

async fn prune(shell: &Shell, ctx: &Context, name: &str) -> Outcome {
    let _lock = sync::lock(ctx)?;
    let vault = sync::open_vault(ctx, name).await?;
    let cleaned = vault.clean().await.map_err(of(name))?;
    let (packs, leftovers) = (count(cleaned.packs, "pack"), count(cleaned.leftovers, "leftover"));
    shell.ui.success(&format!("{name}: {packs} and {leftovers} removed, {} free", bytes(cleaned.bytes)));
    if shell.ui.is_json() {
        return shell.ui.json(&json!({ "sync": name, "vault": vault.place(), "removed": cleaned }));
    }
    Ok(())
}
