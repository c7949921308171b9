//! One silo, simulated: the real machines of `quark-core`, driven as the silo drives them, with
//! virtual time, chance from a seed, a store that fails, and a silo that is killed.
//!
//! The order of the modules is the reading order. `checks` judges what `trace` records; `store`,
//! `relay`, `silo` and `turn` stand in for the drivers; `world` makes clients and faults.

mod rng;
mod trace;
mod workload;
mod rules;
mod checks;
mod context;
mod store;
mod relay;
mod silo;
mod landing;
mod turn;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

pub use rules::{Rule, Violation};
pub use world::{run, run_killed};

use trace::{Ending, Event, Trace};

/// A mistake made on purpose, to see that a checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The driver answers before the gate lets it.
    AnswerEarly,
    /// The driver drives an actor without its token.
    DriveWithoutToken,
    /// The driver runs a message at once although another turn runs.
    EnterBusy,
    /// The driver lets a turn go on although another one has begun inside of it.
    ResumeBelow,
    /// The driver lets in messages beside a turn that waits for others.
    LetStrangersIn,
    /// The driver commits though another turn is between its commit points.
    CommitAmid,
    /// The driver does nothing with the token that a landed commit grants.
    IgnoreGrants,
    /// The driver drops outputs that never leave, without a word.
    DropFailed,
    /// A call leaves before the gate lets it.
    CallEarly,
    /// Nobody watches the deadlines of callers.
    ForgetDeadlines,
    /// A call that returns to a waiting turn is let in.
    MissDeadlocks,
    /// The driver forgets "progressed": all failed commits are "nothing was done".
    DenyAll,
    /// The mailbox is larger than was said.
    WidenMailbox,
    /// The relay's old deliveries run.
    RunOldDeliveries,
    /// The relay sends while it reads the outbox.
    SendWhileScanning,
    /// After a commit in doubt the outbox is not read again.
    TrustDoubt,
    /// A tell's row goes with its turn's last commit, not with its first.
    HandleLate,
    /// An actor that failed is loaded at once, whatever its wait.
    RestartEarly,
    /// Nobody ends the wait of an actor that failed.
    ForgetDown,
    /// The store does not check the generation.
    IgnoreFence,
    /// The store does not check the e-tag.
    IgnoreEtag,
    /// The store does not check that the handled tell is still there.
    HandleTwice,
    /// The store applies a part of a commit.
    TearCommits,
    /// The store loses a tell.
    DropTells,
    /// The disk forgets its last write in a crash.
    ForgetAcknowledged,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// After how many steps the silo was killed on purpose.
    pub killed: Option<usize>,
    /// The first rule broken.
    pub violation: Option<Violation>,
    /// Virtual time.
    pub simulated: Duration,
    trace: Trace,
}

impl Run {
    /// Equal for equal runs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How many events there were.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.trace.len()
    }

    /// The last events, one a line.
    #[must_use]
    pub fn log(&self, count: usize) -> String {
        self.trace.print(count)
    }

    /// What kinds of things happened, so that a test can see that the seeds reach them.
    #[must_use]
    pub fn sights(&self) -> BTreeSet<&'static str> {
        self.trace.events().filter_map(sight).collect()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a choice of what is worth seeing")]
const fn sight(event: &Event) -> Option<&'static str> {
    match event {
        Event::Answered { ending: Ending::Error(code, _), .. } => Some(code),
        Event::Answered { ending: Ending::Answer(true), .. } => Some("ok"),
        Event::Answered { ending: Ending::Answer(false), .. } => Some("err"),
        Event::Out { how, .. } | Event::Ended { how, .. } => Some(how),
        Event::Landed { outcome, .. } => Some(outcome),
        Event::DeadLetter { .. } => Some("dead letter"),
        Event::Crash => Some("crash"),
        Event::Stopped => Some("stopped"),
        Event::Jump => Some("jump"),
        Event::TokenBack { stalled: Some(64), .. } => Some("64 commits"),
        Event::TokenBack { stalled: Some(..64), .. } => Some("1 MiB of commits"),
        Event::FoundGone(_) => Some("gone"),
        Event::Entered { .. } => Some("entered"),
        Event::Returned { nested: true, .. } => Some("a turn inside another"),
        Event::Returned { nested: false, .. } => Some("a turn beside one that waits for it"),
        Event::Submitted { messages, .. } if messages.len() > 1 => Some("a group committed"),
        Event::Down { .. } => Some("down"),
        Event::Cools(_) => Some("cools down"),
        Event::Unclaimed(_) => Some("not claimed"),
        Event::Scanned { gone: 1.., .. } => Some("a doubtful tell was handled"),
        Event::Scanned { added: 1.., .. } => Some("the outbox had tells"),
        _ => None,
    }
}
