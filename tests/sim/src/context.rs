//! What every part of the simulation is given: the time, chance, what is due, the log.

use std::collections::BTreeMap;
use std::time::Duration;

use quark_core::activation::Turn;
use quark_core::commit::CommitError;
use quark_core::envelope::{Tell, TellId};
use quark_core::time::Time;

use crate::Mutation;
use crate::checks::Checks;
use crate::rng::Rng;
use crate::rules::Violation;
use crate::store::{Claim, Outcome};
use crate::trace::{Ending, Event, Seen, Trace};
use crate::workload::{Msg, Workload};

/// Something that is due at a time.
#[derive(Debug)]
pub(crate) enum Due {
    // The world's.
    Client(usize),
    Fault,
    Flood(usize),
    Crash,
    Boot,
    Stopping { since: Time },
    // The silo's; they are lost in a crash.
    Arrive(Msg),
    Answer { request: u64, ending: Ending, seen: Seen },
    Deadline(u64),
    Proceed { actor: usize, turn: Turn },
    Abandoned { actor: usize, turn: Turn },
    Idle { actor: usize, mark: u64 },
    Forget { actor: usize, mark: u64 },
    GoOn(usize),
    Relay { from: Option<usize>, to: usize },
    Scan,
    // The store's; lost too.
    Claim(usize),
    Claimed { actor: usize, claim: Result<Claim, CommitError> },
    Batch,
    Done(Vec<Outcome>),
    Page { after: Option<TellId> },
    PageRead { rows: Result<Vec<(TellId, Tell)>, CommitError> },
}

impl Due {
    const fn survives_a_crash(&self) -> bool {
        matches!(
            self,
            Self::Client(_) | Self::Fault | Self::Flood(_) | Self::Crash | Self::Boot | Self::Stopping { .. }
        )
    }
}

/// The simulation's hands and eyes.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) work: Workload,
    /// False from the time when everything must drain.
    pub(crate) faults: bool,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    checks: Checks,
    mutation: Option<Mutation>,
    due: BTreeMap<(Time, u64), Due>,
    ids: u64,
}

impl Context {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut rng = Rng::new(seed);
        let work = Workload::new(&mut rng);
        let checks = Checks::new(work.overlaps(), work.bounds);
        Self {
            now: Time(1_000_000),
            rng,
            work,
            faults: true,
            trace: Trace::default(),
            violation: None,
            checks,
            mutation,
            due: BTreeMap::new(),
            ids: 0,
        }
    }

    /// Whether this deliberate mistake is to be made now.
    pub(crate) fn mistake(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn log(&mut self, event: Event) {
        if self.violation.is_none() {
            self.violation = self.checks.observe(self.now, &event).err();
        }
        self.trace.push(self.now, event);
    }

    /// The checkers' last word, when all has drained.
    pub(crate) fn finish(&mut self) {
        if self.violation.is_none() {
            self.violation = self.checks.finish().err();
        }
    }

    /// Never used before.
    pub(crate) const fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn after(&mut self, wait: Duration, due: Due) {
        self.at(self.now.after(wait), due);
    }

    pub(crate) fn at(&mut self, time: Time, due: Due) {
        let id = self.id();
        self.due.insert((time, id), due);
    }

    /// The next thing; the clock goes to its time, unless a jump has brought it further.
    pub(crate) fn next(&mut self) -> Option<Due> {
        let ((time, _), due) = self.due.pop_first()?;
        self.now = self.now.max(time);
        Some(due)
    }

    pub(crate) fn crash(&mut self) {
        self.due.retain(|_, due| due.survives_a_crash());
    }

    /// Up to `most`, more often short than long.
    pub(crate) fn some(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).expect("short");
        let nanos = if self.rng.chance(80) { most / 4 } else { most };
        Duration::from_nanos(self.rng.range(0, nanos))
    }
}
