//! `cascade report`.

mod chart;
mod page;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use askama::Template as _;
use serde::Serialize;

use self::page::{Page, Release};
use super::args::Report;
use super::standing::{self, Standing};
use super::{Failure, Outcome, Shell, moment};
use crate::base::Timestamp;
use crate::base::id::PromotionId;
use crate::context::Context;
use crate::promote::figures::{Delivery, End, Figures, figures};
use crate::store::{Promotion, State};

/// More promotions than the newest so many are left out.
const PROMOTIONS_LIMIT: i64 = 100_000;
/// Of a promotion with more commits, the newest so many count.
const COMMITS_LIMIT: usize = 500;
/// Most releases that the page lists.
const LISTED_LIMIT: usize = 50;

/// What programs read.
#[derive(Debug, Serialize)]
struct Document {
    project: String,
    since: Timestamp,
    until: Timestamp,
    environments: Vec<Measured>,
}

/// One environment and how well it is delivered to.
#[derive(Debug, Serialize)]
struct Measured {
    environment: String,
    #[serde(flatten)]
    figures: Figures,
}

/// Writes the page, or the figures alone with `--json`.
///
/// # Errors
/// The moment cannot be read; the store, the repository or the file cannot be used.
pub async fn run(shell: &Shell, args: &Report) -> Outcome {
    let ctx = shell.context().await?;
    let now = ctx.now();
    let since = moment::parse(&args.since, now).map_err(Failure::usage)?;
    let promotions = ctx.store.promotions(None, PROMOTIONS_LIMIT).await?;
    let ended: Vec<Promotion> = promotions.into_iter().filter(|it| ended_at(it) >= since).collect();
    let earliest = ended.iter().map(|it| it.created_at).min().unwrap_or(since);
    let landings = ctx.store.landings(earliest).await?;
    let standings = standing::all(&ctx).await?;
    let mut deliveries: HashMap<&str, Vec<Delivery>> = HashMap::new();
    for promotion in &ended {
        if let Some(delivery) = delivery(&ctx, promotion, &landings).await? {
            deliveries.entry(&promotion.environment).or_default().push(delivery);
        }
    }
    let measured = |standing: &Standing| Measured {
        environment: standing.name.clone(),
        figures: figures(deliveries.get(standing.name.as_str()).map_or(&[], Vec::as_slice), since, now),
    };
    let environments: Vec<Measured> = standings.iter().map(measured).collect();
    if shell.ui.is_json() {
        let project = ctx.config.project.clone();
        return shell.ui.json(&Document { project, since, until: now, environments });
    }
    let releases = ended.iter().take(LISTED_LIMIT).map(Release::of).collect();
    let page = Page::new(&ctx, (since, now), &standings, &environments, &ended, releases);
    let html = page.render().map_err(|problem| Failure::internal(format!("cannot write the page: {problem}")))?;
    match &args.output {
        Some(output) => write(shell, output, html.as_bytes()),
        // What is written into the checkout would be saved, so that is for whoever asks for it.
        None if shell.ui.is_terminal() => write(shell, &prepared(ctx.home.report())?, html.as_bytes()),
        None => write(shell, Path::new("-"), html.as_bytes()),
    }
}

fn ended_at(promotion: &Promotion) -> Timestamp {
    promotion.finished_at.unwrap_or(promotion.updated_at)
}

/// Answers what a promotion means for the figures; nothing while it is under way, or when it was not meant seriously.
async fn delivery(
    ctx: &Context,
    promotion: &Promotion,
    landings: &HashMap<PromotionId, Timestamp>,
) -> Outcome<Option<Delivery>> {
    let end = match promotion.state {
        State::Promoted => End::Live,
        State::RolledBack | State::RollbackFailed => End::RolledBack,
        State::Failed | State::Conflict | State::Drifted | State::Rejected | State::Expired => End::Stopped,
        _ => return Ok(None),
    };
    let commits_at = match end {
        End::Stopped => Vec::new(),
        _ => {
            let (previous, source) = (promotion.previous, promotion.source);
            let commits = ctx.git.run(move |repo| repo.news_between(previous, source, COMMITS_LIMIT)).await;
            // History that was pruned away since has nothing to tell.
            commits.unwrap_or_default().into_iter().map(|commit| commit.at).collect()
        }
    };
    let live_at = landings.get(&promotion.id).copied().filter(|_| end != End::Stopped);
    Ok(Some(Delivery { end, at: ended_at(promotion), live_at, commits_at }))
}

/// Makes the directory that a file is to be in.
fn prepared(path: PathBuf) -> Outcome<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)
        .map_err(|source| Failure::unavailable(format!("{} cannot be made", directory.display()), &source))?;
    Ok(path)
}

fn write(shell: &Shell, output: &Path, html: &[u8]) -> Outcome {
    if output == Path::new("-") {
        shell.ui.raw(html);
        return Ok(());
    }
    let path = shell.edge.directory().join(output);
    let directory = path.parent().unwrap_or(Path::new("."));
    let unwritable =
        |source: std::io::Error| Failure::unavailable(format!("{} cannot be written", path.display()), &source);
    if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        // A device or a pipe is written to, never replaced.
        std::fs::write(&path, html).map_err(unwritable)?;
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(unwritable)?;
    file.write_all(html).map_err(unwritable)?;
    file.persist(&path).map_err(|failed| unwritable(failed.error))?;
    shell.ui.answer(&format!("the report is in {}", path.display()));
    Ok(())
}
