//! `cascade promote`, `deploy-staging` and `deploy-production`.

use super::args::PromoteFlags;
use super::progress::Progress;
use super::{Failure, Outcome, Shell, plan, service, standing, words};
use crate::base::ErrorKind;
use crate::base::units::count;
use crate::check;
use crate::context::Context;
use crate::promote::{self, Finding, Gate, Request, Source, culprit, watch};
use crate::store::{CheckPhase, CheckRecord, Lock, Promotion, State};

/// Pause between two looks at closed gates with `--wait`.
const WAIT_POLL: std::time::Duration = std::time::Duration::from_secs(2);

/// Promotes into an environment, asking for the approval in place where a person can be asked.
///
/// # Errors
/// The promotion did not end as promoted: the failure's kind says how.
pub async fn run(shell: &Shell, environment: &str, flags: &PromoteFlags) -> Outcome {
    let ctx = shell.context().await?;
    let request = Request {
        environment: environment.to_owned(),
        source: source(shell, &ctx, environment, flags).await?,
        merge: flags.merge,
        purpose: flags.reason.clone(),
        waivers: flags.waive.clone(),
    };
    if flags.dry_run {
        return plan::show(shell, &ctx, &request, None).await;
    }
    if request.source == Source::Upstream
        && let Some(back) = promote::goes_back(&ctx, environment).await.ok().flatten()
    {
        shell.ui.warning(&back.words(environment));
    }
    let lock = promote::lock(&ctx, flags.wait).await?;
    let mut promotion = promote::promote(&ctx, &lock, &request, &mut Progress::new(&shell.ui)).await?;
    find_culprit(shell, &ctx, &lock, &promotion).await;
    // Others need not wait for a person to make up their mind.
    drop(lock);
    if promotion.state == State::Waiting && !flags.wait {
        promotion = ask_in_place(shell, &ctx, promotion).await?;
    }
    if flags.wait {
        promotion = stay(shell, &ctx, promotion).await?;
    }
    conclude(shell, &ctx, &promotion).await
}

async fn source(shell: &Shell, ctx: &Context, environment: &str, flags: &PromoteFlags) -> Outcome<Source> {
    if !flags.healthy_prefix {
        return Ok(flags.from.clone().map_or(Source::Upstream, Source::Hotfix));
    }
    let lock = promote::lock(ctx, flags.wait).await?;
    let mut progress = Progress::new(&shell.ui);
    Ok(Source::Commit(culprit::healthy_prefix(ctx, &lock, environment, &mut progress).await?))
}

/// Looks for the save that is to blame where a check failed. That it failed is told first, and stands whatever comes of
/// the search.
async fn find_culprit(shell: &Shell, ctx: &Context, lock: &Lock, promotion: &Promotion) {
    if promotion.state != State::Failed {
        return;
    }
    if let Err(problem) = culprit::find(ctx, lock, promotion, &mut Progress::new(&shell.ui)).await {
        shell.ui.warning(&format!("the first bad save could not be looked for: {problem}"));
    }
}

/// Waits at closed gates and for what fails that is not the promotion's fault, and watches what was promoted to the end.
async fn stay(shell: &Shell, ctx: &Context, mut promotion: Promotion) -> Outcome<Promotion> {
    let mut progress = Progress::new(&shell.ui);
    loop {
        if promotion.state == State::Waiting {
            promotion = wait_for_gates(shell, ctx, &promotion).await?;
        } else if promotion.is_paused() {
            shell.ui.note(&format!("waiting: {}", promotion.reason.as_deref().unwrap_or_default()));
            promotion = watch::take_up(ctx, &promotion, &mut progress).await?;
        } else {
            break;
        }
    }
    // Where there was nothing to do, somebody promoted it before: that can be watched still.
    let live = match promotion.state {
        State::Cancelled => ctx.store.live(&promotion.environment).await?,
        _ => Some(promotion.clone()),
    };
    let Some(watched) = live.filter(watch::is_watched) else { return Ok(promotion) };
    shell.ui.note(&format!("{}: watching until {}", watched.environment, until(&watched)));
    Ok(watch::watch(ctx, &watched, &mut progress).await?)
}

fn until(watched: &Promotion) -> String {
    watched.watching_until.map(words::moment).unwrap_or_default()
}

/// Says who verifies on what was promoted, or that nobody does.
fn tell_watch(shell: &Shell, ctx: &Context, promotion: &Promotion) -> Outcome {
    if !watch::is_watched(promotion) {
        return Ok(());
    }
    let until = until(promotion);
    if service::watcher(&ctx.home)?.is_some() {
        shell.ui.note(&format!("the watcher verifies it again and again until {until}"));
        return Ok(());
    }
    let environment = &promotion.environment;
    shell.ui.warning(&format!(
        "nobody verifies it again until {until}: start the watcher with `cascade start`, or \
         `cascade promote {environment} --wait`"
    ));
    Ok(())
}

/// Asks the person at the terminal for the one thing that is missing, showing what the answer covers.
async fn ask_in_place(shell: &Shell, ctx: &Context, promotion: Promotion) -> Outcome<Promotion> {
    let findings = promote::findings(ctx, &promotion).await?;
    let closed: Vec<Gate> = findings.iter().filter(|finding| !finding.open).map(|finding| finding.gate).collect();
    if !shell.ui.is_interactive() || closed != [Gate::Approval] {
        return Ok(promotion);
    }
    show_coverage(shell, ctx, &promotion).await?;
    let question = format!("Approve this candidate for {}?", promotion.environment);
    let consents = shell
        .ui
        .confirm(&question)
        .await
        .map_err(|source| Failure::unavailable("the terminal cannot be read", &source))?;
    if !consents {
        return Ok(promotion);
    }
    let lock = promote::lock(ctx, true).await?;
    let current = ctx.store.promotion(promotion.id.as_str()).await?;
    if current.state != State::Waiting {
        return Ok(current);
    }
    Ok(promote::approve::approve(ctx, &lock, current, None, &mut Progress::new(&shell.ui)).await?)
}

/// Shows the commits and files that an approval covers.
async fn show_coverage(shell: &Shell, ctx: &Context, promotion: &Promotion) -> Outcome {
    let Some(candidate) = promotion.candidate else { return Ok(()) };
    let (previous, source) = (promotion.previous, promotion.source);
    let (commits, changes) = ctx
        .git
        .run(move |repo| Ok((repo.news_between(previous, source, 21)?, repo.changes_between(previous, candidate)?)))
        .await?;
    let ui = &shell.ui;
    ui.note(&format!("candidate {} for {} covers:", candidate.short(), promotion.environment));
    for commit in commits.iter().take(20) {
        ui.note(&format!("  {} {} ({})", commit.id.short(), commit.subject, commit.author));
    }
    if commits.len() > 20 {
        ui.note("  and earlier ones");
    }
    for (letter, path) in changes.files.iter().take(20) {
        ui.note(&format!("  {letter} {path}"));
    }
    let files = count(changes.files.len(), "file");
    ui.note(&format!("  {files}, +{} -{} lines", changes.insertions, changes.deletions));
    Ok(())
}

/// Looks again until a gate opens or the promotion ends otherwise.
async fn wait_for_gates(shell: &Shell, ctx: &Context, waiting: &Promotion) -> Outcome<Promotion> {
    shell.ui.note("waiting:");
    for finding in promote::findings(ctx, waiting).await?.iter().filter(|finding| !finding.open) {
        shell.ui.note(&format!("    {}", line_of(finding)));
    }
    loop {
        tokio::time::sleep(WAIT_POLL).await;
        let current = ctx.store.promotion(waiting.id.as_str()).await?;
        let goes_on = current.state != State::Waiting
            || promote::findings(ctx, &current).await?.iter().all(|finding| finding.open);
        if goes_on {
            // Whoever goes on with it already holds the lock until it rests.
            let lock = promote::lock(ctx, true).await?;
            let mut progress = Progress::new(&shell.ui);
            return Ok(promote::approve::proceed(ctx, &lock, current.id.as_str(), &mut progress).await?);
        }
    }
}

/// Tells how a promotion ended, and turns every end but the wished one into a failure with its exit code.
///
/// # Errors
/// The promotion is not promoted.
pub async fn conclude(shell: &Shell, ctx: &Context, promotion: &Promotion) -> Outcome {
    if let Some(failure) = failure_of(ctx, promotion).await? {
        return Err(failure);
    }
    if shell.ui.is_json() {
        shell.ui.json(&super::history::document(ctx, promotion).await?)?;
        return tell_watch(shell, ctx, promotion);
    }
    let environment = &promotion.environment;
    if promotion.state == State::Cancelled {
        shell.ui.line(&format!("{environment} is up to date: there is nothing to promote"));
        return Ok(());
    }
    let candidate = promotion.candidate.map(|id| id.short()).unwrap_or_default();
    shell.ui.answer(&format!("{environment} is live at {candidate} (promotion {})", promotion.id));
    // Who is not at this terminal learns too what a hotfix asks for. What has landed has, whatever comes of this.
    if promotion.hotfix.is_some()
        && let Err(problem) = promote::rehearse::rehearse(ctx, None).await
    {
        tracing::warn!(%problem, "the promotions to come could not be rehearsed");
    }
    let downstream = || ctx.config.downstream(environment).first().map(|next| format!("cascade promote {next}"));
    let lacking = promote::rehearsal(ctx, environment).await.ok().flatten().filter(|found| found.next.is_some());
    if let Some(fact) = lacking.as_ref().and_then(|lacking| lacking.fact.as_deref()) {
        shell.ui.note(&format!("{fact}: its next promotion would stop"));
    }
    if let Some(next) = lacking.and_then(|lacking| lacking.next).or_else(downstream) {
        shell.ui.hint(&format!("next: {next}"));
    }
    tell_watch(shell, ctx, promotion)
}

async fn failure_of(ctx: &Context, promotion: &Promotion) -> Outcome<Option<Failure>> {
    let (environment, id) = (&promotion.environment, &promotion.id);
    let reason = promotion.reason.as_deref().unwrap_or("no reason was recorded");
    if promotion.is_paused() {
        let message = format!("promotion {id} to {environment} is live and not verified: {reason}");
        let hint = hint_for(ctx, promotion).await?;
        return Ok(Some(Failure::new(ErrorKind::Waiting, message).with_hint(hint)));
    }
    let (kind, message) = match promotion.state {
        State::Promoted | State::Cancelled => return Ok(None),
        State::Waiting => {
            let closed = promote::findings(ctx, promotion).await?.iter().filter(|finding| !finding.open).count();
            let what = if closed > 1 { format!(" at {closed} gates") } else { format!(": {reason}") };
            (ErrorKind::Waiting, format!("promotion {id} to {environment} waits{what}"))
        }
        State::Conflict | State::Drifted => {
            (ErrorKind::Conflict, format!("nothing was promoted to {environment}: {reason}"))
        }
        State::RolledBack => (ErrorKind::RolledBack, format!("{environment} was rolled back: {reason}")),
        State::RollbackFailed => (ErrorKind::Integrity, format!("{environment} could NOT be rolled back: {reason}")),
        State::Superseded => {
            (ErrorKind::Superseded, format!("promotion {id} to {environment} was superseded: {reason}"))
        }
        State::Rejected | State::Expired => {
            (ErrorKind::Denied, format!("promotion {id} to {environment} ended: {reason}"))
        }
        _ => (failed_kind(ctx, promotion).await?, format!("nothing was promoted to {environment}: {reason}")),
    };
    Ok(Some(Failure::new(kind, message).with_hint(hint_for(ctx, promotion).await?)))
}

/// A promotion that failed because of a check has its own exit code.
async fn failed_kind(ctx: &Context, promotion: &Promotion) -> Outcome<ErrorKind> {
    let checks = ctx.store.checks(&promotion.id).await?;
    let failed = checks.iter().any(|check| check.phase == CheckPhase::Check && check.outcome != "pass");
    Ok(if failed { ErrorKind::CheckFailed } else { ErrorKind::Denied })
}

/// Says what opens the gates that are closed: where they are several, a line for each, with what is the matter.
fn ways_through(findings: &[Finding]) -> String {
    let closed: Vec<&Finding> = findings.iter().filter(|finding| !finding.open).collect();
    match closed.as_slice() {
        [Finding { clears: Some(clears), .. }] => clears.clone(),
        several => several.iter().map(|finding| format!("\n    {}", line_of(finding))).collect(),
    }
}

/// Answers a closed gate, what is the matter, and who or what opens it.
fn line_of(finding: &Finding) -> String {
    let clears = finding.clears.as_deref().map(|clears| format!(" → {clears}")).unwrap_or_default();
    format!("{}: {}{clears}", finding.gate.as_str(), finding.fact)
}

/// Answers how a check is mended that cannot even start: the rules on the environment's branch have it, and hold until
/// they are others there.
async fn mended_rules(ctx: &Context, promotion: &Promotion) -> Outcome<Option<String>> {
    let checks = ctx.store.checks(&promotion.id).await?;
    let cannot_start =
        |check: &&CheckRecord| check.phase == CheckPhase::Check && check.detail.starts_with(check::CANNOT_START);
    let Some(check) = checks.iter().find(cannot_start) else { return Ok(None) };
    let policy = promote::policy::of_promotion(ctx, promotion).await?;
    let environment = &promotion.environment;
    let branch = standing::known(ctx, environment)?.branch.as_str();
    Ok(matches!(policy.origin, promote::policy::Origin::Target(_)).then(|| {
        format!(
            "if the rules have check `{}` wrong: commit the mended cascade-sync.yaml to `{branch}` and push it, `cascade \
             back-merge {environment}`, then `{}`",
            check.name,
            standing::way_to(ctx, environment)
        )
    }))
}

async fn hint_for(ctx: &Context, promotion: &Promotion) -> Outcome<String> {
    let (environment, id) = (&promotion.environment, &promotion.id);
    Ok(match promotion.state {
        State::Waiting | State::Verifying => ways_through(&promote::findings(ctx, promotion).await?),
        State::RolledBack if promote::rollback::met_other_content(ctx, promotion).await? => format!(
            "what was checked is not to blame: see what changes the branch as soon as it is pushed (a hook of the remote, a \
             mirror, somebody else), then `cascade resume {environment}` and promote again; details: `cascade show {id}`"
        ),
        State::RolledBack => format!(
            "the environment is held until a fix is promoted: save it, then `{}`; details: `cascade show {id}`",
            standing::way_to(ctx, environment)
        ),
        // The reason says how a hotfix gets what it lacks.
        State::Drifted | State::Conflict if promotion.hotfix.is_some() => format!("details: `cascade show {id}`"),
        State::Drifted | State::Conflict => {
            let next = standing::of(ctx, environment).await?.way_out().map(str::to_owned);
            next.map_or_else(|| format!("details: `cascade show {id}`"), |next| format!("`{next}`"))
        }
        State::Expired => {
            format!("promote and approve again: `cascade promote {environment}`; details: `cascade show {id}`")
        }
        State::Superseded => format!("look at `cascade plan {environment}`, then promote again"),
        _ => {
            let found = culprit::of(ctx, promotion).await?;
            let way_out = found.as_ref().and_then(|found| found.way_out(environment));
            let way_out = way_out.map(|command| format!("what comes before it: `{command}`"));
            let facts = found.as_ref().map(culprit::Culprit::fact).into_iter().chain(way_out);
            let facts = facts.chain(mended_rules(ctx, promotion).await?);
            facts.chain([format!("details: `cascade show {id}`")]).collect::<Vec<_>>().join("; ")
        }
    })
}
