//! `cascade diff ENV|A..B [--stat]`.

use serde_json::{Value, json};

use super::args::Diff;
use super::{Failure, Outcome, Shell, revision, standing};
use crate::base::escape::shown;
use crate::base::id::ObjectId;
use crate::context::Context;
use crate::git::PatchForm;
use crate::promote;

/// Two contents, and what people call them.
struct Sides {
    environment: Option<String>,
    from: Option<ObjectId>,
    to: ObjectId,
    /// What there is to say where they are the same.
    same: String,
}

/// Shows what a promotion would change in the environment's files, or how two commits differ.
///
/// # Errors
/// Unknown environment, no branch that feeds it, nothing that is called as one of the two sides, unreadable repository.
pub async fn run(shell: &Shell, args: &Diff) -> Outcome {
    let ctx = shell.context().await?;
    let Sides { environment, from, to, same } = match args.what.split_once("..") {
        Some((_, to)) if to.contains("..") => {
            let what = shown(args.what.as_bytes());
            return Err(Failure::usage(format!("`{what}` has more than two sides"))
                .with_hint("ask for two: `cascade diff A..B`"));
        }
        Some((from, to)) => range(&ctx, from, to).await?,
        None => promotion(&ctx, &args.what).await?,
    };
    if shell.ui.is_json() {
        let files = ctx.git.run(move |repo| repo.file_changes(from, to)).await?;
        let mut document = json!({ "from": from, "to": to, "files": files });
        if let (Some(name), Value::Object(fields)) = (environment, &mut document) {
            fields.insert("environment".to_owned(), name.into());
        }
        return shell.ui.json(&document);
    }
    let form = if args.stat { PatchForm::Stat } else { PatchForm::Full };
    let patch = ctx.git.run(move |repo| repo.patch_between(from, to, form)).await?;
    if patch.is_empty() {
        shell.ui.note(&same);
        return Ok(());
    }
    let text = String::from_utf8_lossy(patch.strip_suffix(b"\n").unwrap_or(&patch));
    shell.ui.line(&text);
    Ok(())
}

async fn promotion(ctx: &Context, environment: &str) -> Outcome<Sides> {
    let spec = standing::known(ctx, environment)?;
    let branch = spec.branch.clone();
    let feeding = promote::policy::shown_feeding(ctx, environment).await?.branch(&ctx.config).to_owned();
    let same = format!("{environment} has the content of {feeding} already");
    let (sandbox, remote) = (ctx.config.sandbox.branch.clone(), ctx.config.remote.clone());
    let tips = ctx.git.run(move |repo| {
        let source = promote::known_source(repo, (&feeding, &sandbox), &remote)?;
        Ok((repo.furthest_tip(&remote, &branch)?, source.map_or_else(|| repo.existing_branch_tip(&feeding), Ok)?))
    });
    let (from, to) = tips.await?;
    Ok(Sides { environment: Some(environment.to_owned()), from, to, same })
}

async fn range(ctx: &Context, from: &str, to: &str) -> Outcome<Sides> {
    let same = format!("{} and {} have the same content", called(from), called(to));
    let from = Some(revision::commit(ctx, from).await?);
    Ok(Sides { environment: None, from, to: revision::commit(ctx, to).await?, same })
}

fn called(name: &str) -> String {
    if name.is_empty() { "HEAD".to_owned() } else { shown(name.as_bytes()) }
}
