//! What can go wrong with a promotion before or beside its own states.

use std::path::PathBuf;

use crate::base::{ErrorKind, Kinded};
use crate::config::{self, Waivable};
use crate::{git, store};

/// Answer of everything in this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that is not a state of the promotion.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No environment has that name.
    #[error("there is no environment `{name}`{}", .nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownEnvironment {
        /// The name as given, escaped.
        name: String,
        /// The configured name that is most like it.
        nearest: Option<String>,
        /// Every configured name.
        known: Vec<String>,
    },
    /// Another process promotes or rolls back in this project.
    #[error("another cascade command (process {}) is promoting in this project", .pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Busy {
        /// Its process id, where it is known.
        pid: Option<u32>,
    },
    /// Nothing before a bad save can be promoted.
    #[error("there is no healthy prefix for {environment}: {why}")]
    NoHealthyPrefix {
        /// The environment.
        environment: String,
        /// Why not.
        why: String,
    },
    /// Somebody ended the checks that were under way, and wants nothing else to begin.
    #[error("{reason}")]
    Stopped {
        /// Who did.
        reason: String,
    },
    /// A promotion cannot be approved, rejected or rolled back as it stands.
    #[error("promotion {id} {why}")]
    NotNow {
        /// The promotion.
        id: String,
        /// What is in the way.
        why: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A promotion cannot be approved or rejected because something newer came first.
    #[error("promotion {id} to {environment} does not wait any more, something newer came first: {why}")]
    Superseded {
        /// The promotion.
        id: String,
        /// The environment that it was for.
        environment: String,
        /// What came first.
        why: String,
    },
    /// There is nothing to roll back.
    #[error("{environment} has no promotion to roll back")]
    NothingToRollBack {
        /// The environment.
        environment: String,
    },
    /// There is no rollback to undo.
    #[error("the last thing that happened in {environment} is no rollback: {}", .last.as_deref().unwrap_or("nothing was promoted yet"))]
    NoRollback {
        /// The environment.
        environment: String,
        /// What happened instead.
        last: Option<String>,
    },
    /// Nothing waits in an environment.
    #[error("nothing waits for an answer in {environment}")]
    NothingWaits {
        /// The environment (or `any environment`).
        environment: String,
    },
    /// The person who asked may not approve their own promotion.
    #[error("{person} asked for this promotion, or wrote what it brings, and may not approve it")]
    OwnApproval {
        /// The person.
        person: String,
    },
    /// The working tree names another source than the rules of the environment.
    #[error(
        "{environment} gets what is on `{ruled}` by its rules ({commit}), and what is on `{written}` by the working tree's cascade-sync.yaml"
    )]
    OtherSource {
        /// The environment.
        environment: String,
        /// The branch that the working tree names.
        written: String,
        /// The branch that the rules name.
        ruled: String,
        /// Where the rules were read.
        commit: String,
    },
    /// Nobody can tell whether who approves asked for it, or belongs to a group.
    #[error("{person} has no e-mail address, by which approvals to {environment} are told apart")]
    NoAddress {
        /// The person.
        person: String,
        /// The environment.
        environment: String,
    },
    /// A branch cannot be promoted past the environments before.
    #[error("`{branch}` is no hotfix for {environment}: it is the branch of it, or what feeds it anyway")]
    NotAHotfix {
        /// The branch, escaped.
        branch: String,
        /// The environment.
        environment: String,
    },
    /// What an environment has cannot be merged into the sandbox's branch.
    #[error("what {environment} has is not brought back: {why}")]
    CannotBringBack {
        /// The environment.
        environment: String,
        /// What is in the way, and what to do.
        why: String,
    },
    /// The person is not among those who may approve.
    #[error("{person} may not approve promotions to {environment}")]
    NotAnApprover {
        /// The person.
        person: String,
        /// The environment.
        environment: String,
        /// Who may: addresses and groups.
        from: Vec<String>,
    },
    /// The person neither may approve nor asked for it.
    #[error("{person} may not reject promotions to {environment}")]
    NotARefuser {
        /// The person.
        person: String,
        /// The environment.
        environment: String,
        /// Who may: addresses and groups.
        from: Vec<String>,
    },
    /// A gate that the environment does not let be waived.
    #[error("{environment} does not let its gate `{gate}` be waived")]
    NotWaivable {
        /// The gate.
        gate: Waivable,
        /// The environment.
        environment: String,
        /// The gates that may be.
        waivable: Vec<Waivable>,
    },
    /// The configuration that is committed where rules are read from is no good.
    #[error("the rules cannot be read: {problems}")]
    Policy {
        /// The commit.
        commit: String,
        /// What is wrong with it.
        problems: Box<config::Problems>,
    },
    /// The ledger is broken where the next entry would go.
    #[error("the ledger (refs/cascade/ledger) is broken at its head, and nothing is promoted on top of that: {what}")]
    BrokenLedger {
        /// What is wrong with it.
        what: String,
    },
    /// An event does not belong to the promotion's state: a defect.
    #[error("promotion {id} is {state} and cannot take `{event}`")]
    OutOfPhase {
        /// The promotion.
        id: String,
        /// Its state.
        state: String,
        /// The event.
        event: String,
    },
    /// A directory for checks cannot be used.
    #[error("cannot create {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Git(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::UnknownEnvironment { .. }
            | Self::NotAHotfix { .. }
            | Self::NotNow { .. }
            | Self::NothingToRollBack { .. }
            | Self::NoRollback { .. }
            | Self::NoHealthyPrefix { .. }
            | Self::NothingWaits { .. } => ErrorKind::Usage,
            Self::OwnApproval { .. }
            | Self::NoAddress { .. }
            | Self::NotAnApprover { .. }
            | Self::NotARefuser { .. }
            | Self::NotWaivable { .. }
            | Self::Stopped { .. } => ErrorKind::Denied,
            Self::Superseded { .. } => ErrorKind::Superseded,
            Self::CannotBringBack { .. } => ErrorKind::Conflict,
            Self::Policy { .. } | Self::OtherSource { .. } => ErrorKind::Config,
            Self::Busy { .. } | Self::Directory { .. } => ErrorKind::Unavailable,
            Self::BrokenLedger { .. } => ErrorKind::Integrity,
            Self::OutOfPhase { .. } => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Git(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::UnknownEnvironment { known, .. } if known.is_empty() => {
                Some("add one under `environments:` in cascade-sync.yaml".to_owned())
            }
            Self::UnknownEnvironment { known, .. } => Some(format!("the environments are: {}", known.join(", "))),
            Self::Busy { .. } => Some("wait until it is done (`cascade status --watch`), then try again".to_owned()),
            Self::NotNow { hint, .. } => hint.clone(),
            Self::Superseded { environment, .. } => {
                Some(format!("see what waits now: `cascade history {environment}`"))
            }
            Self::NotAHotfix { environment, .. } => {
                Some(format!("`cascade promote {environment}` promotes what feeds it"))
            }
            Self::NothingToRollBack { environment } | Self::NoRollback { environment, .. } => {
                Some(format!("see `cascade history {environment}`"))
            }
            Self::NoHealthyPrefix { environment, .. } => Some(format!("look at `cascade why {environment}`")),
            Self::BrokenLedger { .. } => Some("`cascade doctor` tells how to put it right".to_owned()),
            Self::NothingWaits { .. } => Some("see `cascade status`".to_owned()),
            Self::OwnApproval { .. } => Some("somebody else must run `cascade approve`".to_owned()),
            Self::NoAddress { .. } => Some("set yours: `git config user.email you@example.org`".to_owned()),
            Self::NotAnApprover { from, .. } => Some(format!("these may: {}", from.join(", "))),
            Self::NotARefuser { from, .. } => Some(format!("who asked for it may, and these: {}", from.join(", "))),
            Self::NotWaivable { waivable, .. } if waivable.is_empty() => Some("it lets no gate be waived".to_owned()),
            Self::NotWaivable { waivable, .. } => {
                let gates: Vec<&str> = waivable.iter().map(|gate| gate.as_str()).collect();
                Some(format!("these may be: {}; `waive` on the environment's own branch says which", gates.join(", ")))
            }
            Self::Policy { commit, .. } => {
                Some(format!("mend cascade-sync.yaml as commit {commit} has it, or set the variables it needs"))
            }
            Self::OtherSource { ruled, .. } => Some(format!(
                "`from` counts once it is live there: commit the change and promote it from `{ruled}`, or take it back"
            )),
            Self::CannotBringBack { .. } | Self::OutOfPhase { .. } | Self::Directory { .. } | Self::Stopped { .. } => {
                None
            }
        }
    }
}
