//! The questions about the ledger of promotions.

use std::collections::HashMap;

use super::machine::idle;
use super::{Mode, of_error};
use crate::base::id::ObjectId;
use crate::base::units::count;
use crate::base::{Diagnosis, Timestamp, Verdict};
use crate::config::Config;
use crate::git::{Git, Published, Sign};
use crate::promote::audit::{chain_problems, head_problem, soundest};
use crate::promote::ledger::{kept, offer_again};
use crate::promote::rebuild::{Missing, Told, lacking, missing, records, restore};
use crate::store::{Home, LockError, ProjectHome, Store};

const LEDGER: &str = "ledger";

/// Where cascade's own files are.
pub struct Places<'a> {
    /// Those of all projects.
    pub home: &'a Home,
    /// Those of this one.
    pub project: &'a ProjectHome,
}

/// Asks whether the ledger is where it should be and the database knows what it says. A database that is lost is made
/// again, as far as the ledger goes.
pub async fn all(git: &Git, config: &Config, places: Places<'_>, mode: Mode, now: Timestamp) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    if config.ledger.push {
        all.extend(place(git, config, places.project, mode, now).await);
    }
    all.push(match known(git, config, &places, mode, now).await {
        Ok(diagnosis) | Err(diagnosis) => diagnosis,
    });
    all.extend(match sound(git, config, &places).await {
        Ok(problems) => problems,
        Err(unanswered) => vec![unanswered],
    });
    all
}

/// Asks why it is on this machine alone; a remote that refused it is offered it again.
async fn place(git: &Git, config: &Config, project: &ProjectHome, mode: Mode, now: Timestamp) -> Option<Diagnosis> {
    let mut kept = kept(project)?;
    if mode == Mode::Repair {
        match offer_again(git, config, project, now).await {
            Ok(Published::Along) => {
                return Some(Diagnosis::new(LEDGER, Verdict::Repaired, format!("{} has it again", config.remote)));
            }
            Ok(_) => kept = self::kept(project)?,
            Err(problem) => tracing::debug!(%problem, "the ledger could not be offered again"),
        }
    }
    let advice = if kept.refused {
        "let the host accept refs/cascade/*, then `cascade doctor` offers it again; or set `ledger: { push: false }`"
    } else {
        "look at `cascade verify`; the next promotion tries again"
    };
    Some(Diagnosis::problem(LEDGER, format!("it stays on this machine: {}", kept.reason), advice))
}

/// Asks whether the chain is whole, by itself and by what is remembered of it here.
async fn sound(git: &Git, config: &Config, places: &Places<'_>) -> Result<Vec<Diagnosis>, Diagnosis> {
    let known = match places.home.database().exists() {
        true => {
            let store = Store::open(places.home, places.project).await;
            let tip = store.map_err(|problem| Diagnosis::of_error(LEDGER, &problem))?.ledger_tip().await;
            tip.map_err(|problem| Diagnosis::of_error(LEDGER, &problem))?
        }
        false => None,
    };
    let config = config.clone();
    let looked = git.run(move |repo| match head_problem(repo, known)? {
        // What is below a head that is not sound may not even be readable.
        Some(broken) => Ok((vec![broken], Some(soundest(repo, &config, known)?))),
        None => Ok((chain_problems(repo, &config, known)?, None)),
    });
    let (problems, way_back) = looked.await.map_err(|problem| of_error(LEDGER, &problem))?;
    let advice = way_back.map_or_else(
        || {
            "`cascade verify` tells what that means for the releases; a clone that still has what is missing can push it \
             again"
                .to_owned()
        },
        put_right,
    );
    Ok(problems.iter().map(|problem| Diagnosis::problem(LEDGER, problem.words(), &advice)).collect())
}

/// Says how promotions can go on where the head is broken: nothing of the chain is given up without a person.
fn put_right(sound: Option<ObjectId>) -> String {
    match sound {
        Some(entry) => format!(
            "nothing can be promoted until it is put right: `git update-ref refs/cascade/ledger {entry}` goes back to the \
             newest entry that is sound"
        ),
        None => {
            "nothing can be promoted until it is put right: no entry here is sound; fetch it from a clone that has it, \
                 or begin a new one with `git update-ref -d refs/cascade/ledger`"
                .to_owned()
        }
    }
}

/// Both answers are told alike; the way out of a question that cannot be asked is the shorter one.
async fn known(
    git: &Git,
    config: &Config,
    places: &Places<'_>,
    mode: Mode,
    now: Timestamp,
) -> Result<Diagnosis, Diagnosis> {
    let git_problem = |problem| of_error(LEDGER, &problem);
    let store_problem = |problem: crate::store::Error| Diagnosis::of_error(LEDGER, &problem);
    if mode == Mode::Repair {
        fetch_lost(git, config).await.map_err(git_problem)?;
    }
    let entries = git.run(records).await.map_err(git_problem)?;
    if entries.is_empty() {
        return Ok(Diagnosis::ok(LEDGER, "no promotion is recorded in it yet"));
    }
    let is_there = places.home.database().exists();
    let store = match is_there || mode == Mode::Repair {
        true => Some(Store::open(places.home, places.project).await.map_err(store_problem)?),
        false => None,
    };
    let missing = match &store {
        Some(store) => {
            let lacking = lacking(store, &entries, &config.remote).await;
            lacking.map_err(|problem| Diagnosis::of_error(LEDGER, &problem))?
        }
        None => missing(&entries, &HashMap::new(), &HashMap::new(), &config.remote),
    };
    let diagnosis = match store.filter(|_| mode == Mode::Repair && !missing.is_empty()) {
        Some(store) => repaired(&store, places.project, &missing, now).await,
        None => told(&missing, entries.iter().filter_map(Told::promotion).count()),
    };
    Ok(diagnosis)
}

/// A ledger that is on the remote and not here was lost with the clone.
async fn fetch_lost(git: &Git, config: &Config) -> crate::git::Result<()> {
    let (remote, branch) = (config.remote.clone(), config.sandbox.branch.clone());
    let fetched = git.run(move |repo| {
        if repo.ledger_tip()?.is_some() || !repo.has_remote(&remote) {
            return Ok(());
        }
        // The question about the remote tells why it does not answer.
        let Ok((_, theirs)) = repo.remote_tips(&remote, &branch) else { return Ok(()) };
        repo.bring_in(&remote, theirs, Sign::Never).map(drop)
    });
    fetched.await
}

fn told(missing: &Missing, entries: usize) -> Diagnosis {
    if !missing.is_empty() {
        let detail = format!("the database lacks {} that it has", amount(missing));
        return Diagnosis::new(LEDGER, Verdict::CanBeRepaired, detail);
    }
    let open = match missing.unfinished.as_slice() {
        [] => String::new(),
        [id, ..] => format!("; without a verdict so far: {id}"),
    };
    Diagnosis::ok(LEDGER, format!("the database knows its {}{open}", count(entries, "promotion")))
}

fn amount(missing: &Missing) -> String {
    let promotions = count(missing.promotions.len(), "promotion");
    match (missing.promotions.len(), missing.words()) {
        (_, 0) => promotions,
        (0, words) => format!("what people said of holds in {}", count(words, "environment")),
        (_, words) => format!("{promotions} and what people said of holds in {}", count(words, "environment")),
    }
}

async fn repaired(store: &Store, project: &ProjectHome, missing: &Missing, now: Timestamp) -> Diagnosis {
    let number = amount(missing);
    let _lock = match idle(project, Mode::Repair) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => {
            let detail = format!("the database lacks {number} that it has");
            return Diagnosis::new(LEDGER, Verdict::CanBeRepaired, detail).advise("wait until nobody promotes");
        }
        Err(problem) => return Diagnosis::of_error(LEDGER, &crate::store::Error::from(problem)),
    };
    match restore(store, missing, now).await {
        Ok(()) => Diagnosis::new(LEDGER, Verdict::Repaired, format!("the database has {number} from it again"))
            .advise("approvals of promotions that wait, details of checks and journals are not in it; holds are set"),
        Err(problem) => Diagnosis::of_error(LEDGER, &problem),
    }
}
