//! The rows that the store keeps, as plain data.

use std::fmt;
use std::str::FromStr;

use super::notes::SandboxNotes;
use serde::{Deserialize, Serialize};

use crate::base::Timestamp;
use crate::base::id::{ObjectId, PromotionId};

/// What a database has of a promotion: a name is given once in it, whatever the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquaintance {
    /// How far it is.
    pub state: State,
    /// Whether it is of the project that asks, not of another checkout of the same repository.
    pub is_ours: bool,
}

/// One attempt to bring a candidate into an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// Its name.
    pub id: PromotionId,
    /// The environment it goes to.
    pub environment: String,
    /// How far it is.
    pub state: State,
    /// The step that was begun and whose event is not recorded yet.
    pub step: Option<Step>,
    /// The commit that is promoted: the tip of `from` when it was proposed, a save before it, or a hotfix.
    pub source: ObjectId,
    /// The branch that the source comes from where it passes over the environments before: a hotfix.
    pub hotfix: Option<String>,
    /// The environment's tip that the candidate builds on, once planned.
    pub previous: Option<ObjectId>,
    /// The exact commit offered, once planned.
    pub candidate: Option<ObjectId>,
    /// The candidate's tree.
    pub tree: Option<ObjectId>,
    /// Whether a three-way merge may make the candidate when the environment's branch has drifted.
    pub merge_allowed: bool,
    /// The remote it is pushed to; none: the promotion stays on this machine.
    pub remote: Option<String>,
    /// Whether the candidate may have left this machine.
    pub pushed: bool,
    /// The commit whose content a rollback brings back.
    pub rollback_to: Option<ObjectId>,
    /// The tip that a rollback undoes: the candidate, or what cascade put on top of it since.
    pub rollback_from: Option<ObjectId>,
    /// The commit that a rollback puts the branch on: `rollback_to` itself, or a new one with its tree.
    pub rollback_commit: Option<ObjectId>,
    /// The promotion whose rollback it undoes, where it does.
    pub undoes: Option<PromotionId>,
    /// Until when it is verified again and again, once it is promoted; none: it is not, or no longer.
    pub watching_until: Option<Timestamp>,
    /// Who asked for it.
    pub requested_by: String,
    /// Why it was asked for, in the asker's words.
    pub purpose: Option<String>,
    /// Why it is in its state, in cascade's words.
    pub reason: Option<String>,
    /// When it was proposed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl Promotion {
    /// Makes one that was just asked for: nothing is planned yet, and it stays on this machine.
    #[must_use]
    pub fn proposed(id: PromotionId, environment: &str, source: ObjectId, requested_by: &str, at: Timestamp) -> Self {
        Self {
            id,
            environment: environment.to_owned(),
            state: State::Proposed,
            step: None,
            source,
            hotfix: None,
            previous: None,
            candidate: None,
            tree: None,
            merge_allowed: false,
            remote: None,
            pushed: false,
            rollback_to: None,
            rollback_from: None,
            rollback_commit: None,
            undoes: None,
            watching_until: None,
            requested_by: requested_by.to_owned(),
            purpose: None,
            reason: None,
            created_at: at,
            updated_at: at,
            finished_at: None,
        }
    }

    /// Answers whether it is live and rests unverified: what fails now failed before it landed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state == State::Verifying && self.step.is_none()
    }
}

/// How one delivery of a promotion went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Out, or back.
    pub phase: DeliveryPhase,
    /// The sync.
    pub sync: String,
    /// Its place among the deliveries of the environment.
    pub position: i64,
    /// How it ended.
    pub outcome: DeliveryOutcome,
    /// Why, in one line, where it is not simply delivered.
    pub detail: String,
    /// Items that were put where nothing was.
    pub created: i64,
    /// Items that were replaced.
    pub updated: i64,
    /// Items that were taken away.
    pub deleted: i64,
    /// Items that were left alone until a person decides.
    pub flagged: i64,
    /// Items that could not be brought to what they should be.
    pub failed: i64,
    /// Bytes of content that were written.
    pub bytes: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// When it ended.
    pub at: Timestamp,
}

/// Declares an enum whose variants have one stable spelling in the store, in JSON and on screen.
macro_rules! stored_words {
    ($(#[$meta:meta])* $name:ident, $expected:literal, { $($(#[$vmeta:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
        }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Answers the stored spelling.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = super::Error;

            fn from_str(word: &str) -> Result<Self, super::Error> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(super::Error::Malformed { expected: $expected, value: word.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

stored_words!(
    /// How far a promotion is.
    State, "a promotion's state", {
    /// Recorded, nothing done yet.
    Proposed => "proposed",
    /// Its candidate exists.
    Planned => "planned",
    /// Checks run on the candidate.
    Checking => "checking",
    /// A gate is closed.
    Waiting => "waiting",
    /// The branch moves.
    Landing => "landing",
    /// What landed is brought outside.
    Delivering => "delivering",
    /// Checks run on what is live; it rests here while something fails that failed before it landed.
    Verifying => "verifying",
    /// Live and verified.
    Promoted => "promoted",
    /// Ended before it landed: a check did not pass, or a step failed.
    Failed => "failed",
    /// A three-way merge has conflicts.
    Conflict => "conflict",
    /// Somebody else committed on the environment's branch.
    Drifted => "drifted",
    /// A person said no.
    Rejected => "rejected",
    /// Nobody answered in time.
    Expired => "expired",
    /// A newer candidate, or somebody else's push, came first.
    Superseded => "superseded",
    /// Withdrawn: there was nothing to do.
    Cancelled => "cancelled",
    /// The environment goes back.
    RollingBack => "rolling_back",
    /// The environment is back at its last verified content.
    RolledBack => "rolled_back",
    /// The environment could not be brought back: a person must look.
    RollbackFailed => "rollback_failed",
});

stored_words!(
    /// One effect of a promotion: journaled before it happens.
    Step, "a promotion's step", {
    /// Build the candidate and keep it alive by a reference.
    Plan => "plan",
    /// Ask the gates that need no checks: hold, quarantine, soak.
    Admit => "admit",
    /// Run the environment's checks on the candidate.
    Check => "check",
    /// Ask every gate.
    Gate => "gate",
    /// Ask what verifies the environment, while nothing has moved.
    Probe => "probe",
    /// Move the branch on the remote.
    LandRemote => "land_remote",
    /// Move the local branch.
    LandLocal => "land_local",
    /// Run the environment's deliveries.
    Deliver => "deliver",
    /// Ask the environment's verification.
    Verify => "verify",
    /// Keep the failed commits from coming back.
    Quarantine => "quarantine",
    /// Decide where the branch goes back to and build that commit.
    PlanRollback => "plan_rollback",
    /// Move the branch back on the remote.
    RollbackRemote => "rollback_remote",
    /// Move the local branch back.
    RollbackLocal => "rollback_local",
    /// Put back what the deliveries replaced.
    TakeBack => "take_back",
    /// Ask what verifies the environment, now that it is back.
    VerifyRollback => "verify_rollback",
});

stored_words!(
    /// Which question of an environment a check answers.
    CheckPhase, "a check's phase", {
    /// Whether the candidate may land.
    Check => "check",
    /// How the environment was right before landing.
    Before => "before",
    /// Whether what landed is well.
    Verify => "verify",
    /// Whether what was promoted stays well.
    Watch => "watch",
    /// How the environment is after it went back.
    Rollback => "rollback",
});

stored_words!(
    /// Which way a delivery went.
    DeliveryPhase, "a delivery's phase", {
    /// The outside was brought to what landed.
    Deliver => "deliver",
    /// What that replaced was put back.
    TakeBack => "take_back",
});

stored_words!(
    /// How a delivery ended.
    DeliveryOutcome, "a delivery's outcome", {
    /// The outside is as it should be.
    Delivered => "delivered",
    /// It is, but for what somebody else changed there.
    Flagged => "flagged",
    /// It is not.
    Failed => "failed",
});

stored_words!(
    /// Why an environment is held.
    HoldCause, "a hold's cause", {
    /// A person asked for it.
    Person => "person",
    /// A rollback did it; a fix or a person lifts it.
    Rollback => "rollback",
});

stored_words!(
    /// What the watcher of a sandbox does.
    SandboxState, "a sandbox's state", {
    /// Saving what changes.
    Watching => "watching",
    /// Saving waits for a reason.
    Paused => "paused",
    /// Not running.
    Stopped => "stopped",
});

impl State {
    /// Answers whether nothing will happen any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Proposed
                | Self::Planned
                | Self::Checking
                | Self::Waiting
                | Self::Landing
                | Self::Delivering
                | Self::Verifying
                | Self::RollingBack
        )
    }
}

/// One person's word on one candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRecord {
    /// Who.
    pub person: String,
    /// The candidate it binds to.
    pub candidate: ObjectId,
    /// Yes or no.
    pub consent: bool,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// When it was given.
    pub at: Timestamp,
    /// When it ends to count.
    pub expires_at: Timestamp,
}

/// A gate that one promotion may pass by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// The gate's name.
    pub gate: String,
    /// Who waived it.
    pub person: String,
    /// Why, in the person's words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// The answer of one check for one promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRecord {
    /// When it was asked, and so what its answer means.
    pub phase: CheckPhase,
    /// The check's name.
    pub name: String,
    /// `pass`, `fail` or `unknown`.
    pub outcome: String,
    /// One line on why.
    pub detail: String,
    /// The kept output.
    pub log: Option<String>,
    /// Whether the answer was known already for this very content.
    pub cached: bool,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// When it was answered.
    pub at: Timestamp,
    /// Its place among the checks that the environment asks before landing; 0 in other phases.
    pub position: i64,
    /// How it failed first, where it was asked once more because it is known to fail now and then.
    pub earlier: Option<EarlierAttempt>,
}

/// The first of two attempts at a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierAttempt {
    /// `fail`: nothing else is asked once more.
    pub outcome: String,
    /// One line on why.
    pub detail: String,
    /// The kept output.
    pub log: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
}

stored_words!(
    /// Who is to blame for a failed check.
    Blame, "who is to blame", {
    /// One save: what comes before it is good.
    First => "first",
    /// One of some saves: the check could not answer on all of them.
    Among => "among",
    /// No save: it failed before them already.
    Older => "older",
});

/// What is to blame for the failed check of a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CulpritRecord {
    /// The check.
    #[serde(rename = "check")]
    pub name: String,
    /// Who is to blame.
    pub blame: Blame,
    /// The first bad save; where that is not certain, the newest that can be it.
    pub first_bad: Option<ObjectId>,
    /// The last commit before it that can be promoted.
    pub healthy: Option<ObjectId>,
    /// How many saves were searched.
    pub saves: i64,
    /// How many of them can be the first bad one.
    pub suspects: i64,
    /// How often the check was run to find it.
    pub runs: i64,
    /// When it was found.
    pub at: Timestamp,
}

/// A stop on an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Who or what caused it.
    pub cause: HoldCause,
    /// Why.
    pub reason: String,
    /// On whose behalf.
    pub person: String,
    /// The promotion that was rolled back, where one was.
    pub promotion: Option<PromotionId>,
    /// Since when.
    pub at: Timestamp,
}

/// A commit that may not be promoted again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The source commit.
    pub source: ObjectId,
    /// Its tree.
    pub tree: ObjectId,
    /// The promotion that failed.
    pub promotion: PromotionId,
    /// Since when.
    pub at: Timestamp,
}

/// What the watcher last said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRecord {
    /// What it does.
    pub state: SandboxState,
    /// Why it is paused.
    pub reason: Option<String>,
    /// The branch it saves to.
    pub branch: String,
    /// The branch's tip after the last save.
    pub head: Option<ObjectId>,
    /// Paths that changed and are not saved yet.
    pub pending: i64,
    /// Saves that the remote does not have.
    pub unpushed: i64,
    /// Why the last push failed.
    pub push_problem: Option<String>,
    /// Paths that are not saved, each with its reason (escaped for people).
    pub set_aside: Vec<(String, String)>,
    /// Why changes are found only by looking periodically, where that is so.
    pub limited: Option<String>,
    /// Paths of which the user has staged something that is not committed (escaped for people).
    pub staged: Vec<String>,
    /// What else there is to say.
    pub notes: SandboxNotes,
    /// When the last save was made.
    pub saved_at: Option<Timestamp>,
    /// When the watcher last gave a sign of life.
    pub seen_at: Timestamp,
}

impl SandboxRecord {
    /// Makes the record of a watcher that has just begun to save to `branch` and knows nothing yet.
    #[must_use]
    pub fn begun(branch: &str, now: Timestamp) -> Self {
        Self {
            state: SandboxState::Watching,
            reason: None,
            branch: branch.to_owned(),
            head: None,
            pending: 0,
            unpushed: 0,
            push_problem: None,
            set_aside: Vec::new(),
            limited: None,
            staged: Vec::new(),
            notes: SandboxNotes::default(),
            saved_at: None,
            seen_at: now,
        }
    }
}

/// The latest answer of a continuous health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRecord {
    /// The check's name.
    pub name: String,
    /// `pass`, `fail` or `unknown`.
    pub outcome: String,
    /// One line on why.
    pub detail: String,
    /// Since when the outcome is this one.
    pub since: Timestamp,
    /// When it was last asked.
    pub at: Timestamp,
}

stored_words!(
    /// What a rehearsal found.
    Verdict, "a rehearsal's verdict", {
    /// The promotion would get as far as checks and gates.
    Clean => "clean",
    /// It would stop: the environment has commits that its source lacks.
    Drift => "drift",
    /// It would stop, and merging the two would conflict.
    Conflict => "conflict",
});

/// What the next promotion into an environment would meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RehearsalRecord {
    /// In a word.
    pub verdict: Verdict,
    /// In a sentence; empty where it is clean.
    pub fact: String,
    /// Since when it is so.
    pub since: Timestamp,
}

/// One line of a promotion's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// `step` (about to happen) or `event` (happened).
    pub kind: String,
    /// The step's or event's name.
    pub name: String,
    /// More about it.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}
