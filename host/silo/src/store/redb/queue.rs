//! What waits for the writer: bounded, and answered in the order in which it came.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::{Tell, TellId};
use quark_core::id::ActorId;
use quark_core::reminders::Fired;

use crate::store::{Deployment, Done};

/// The most writes that wait. As many again can be in the batch that is being written.
pub(super) const QUEUE_WRITES_MAX: usize = 16 * 1024;
/// The most bytes of writes that wait; a single larger write passes when nothing else waits.
pub(super) const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Milliseconds after which a full queue is likely to have room: a few batches.
pub(super) const QUEUE_RETRY_MS: u64 = 25;
/// Milliseconds that a caller is told to wait when the store is closed: until a silo is back.
pub(super) const CLOSED_RETRY_MS: u64 = 1000;
/// What one write counts beside its own bytes.
const WRITE_OVERHEAD: usize = 256;

/// One thing for the writer to do, and whom to tell.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reply: Reply,
}

pub(super) enum Work {
    Commit(Commit),
    Accept(Tell),
    Discard(TellId),
    /// A reminder moves on.
    Move(Fired),
    Deploy(Deployment, Arc<[u8]>),
    /// Refused at the door, but it must not be answered before those in front of it.
    Refused(CommitError),
    /// Reserve more numbers.
    Reserve,
    /// That opening of the database met an I/O error: it answers nothing until it is reopened.
    Reopen {
        opened: u64,
    },
}

pub(super) enum Reply {
    Nobody,
    Unit(Done<()>),
    Id(Done<TellId>),
    Moved(Done<bool>),
}

/// How a job ended: with the number of the tell, for one from outside; with 1 where a reminder
/// moved on.
pub(super) type Verdict = Result<u64, CommitError>;

impl Job {
    pub(super) fn actor(&self) -> Option<(&ActorId, u64)> {
        match &self.work {
            Work::Commit(commit) => Some((&commit.actor, commit.generation)),
            Work::Accept(_)
            | Work::Discard(_)
            | Work::Move(_)
            | Work::Deploy(..)
            | Work::Refused(_)
            | Work::Reserve
            | Work::Reopen { .. } => None,
        }
    }

    /// What the job counts; none for those that are not writes of somebody.
    pub(super) fn bytes(&self) -> Option<usize> {
        let bytes = match &self.work {
            Work::Commit(commit) => commit.write.bytes(),
            Work::Accept(tell) => tell.bytes(),
            Work::Discard(_) => 0,
            Work::Move(fired) => fired.row.bytes(),
            Work::Deploy(deployment, component) => deployment.manifest.len() + component.len(),
            Work::Refused(_) | Work::Reserve | Work::Reopen { .. } => return None,
        };
        Some(bytes + WRITE_OVERHEAD)
    }

    /// Rows of the tables that it changes, at the most.
    pub(super) fn rows(&self) -> usize {
        match &self.work {
            Work::Commit(commit) => {
                let write = &commit.write;
                let journal = write.journal.as_ref().map_or(0, |journal| journal.entries.len() + 2);
                let reminders = 2 * write.reminder_ids().count();
                2 + write.changes.len() + write.tells.len() + journal + reminders
            }
            Work::Move(_) => 2,
            Work::Accept(_) | Work::Discard(_) => 1,
            Work::Deploy(..) | Work::Refused(_) | Work::Reserve | Work::Reopen { .. } => 0,
        }
    }

    pub(super) fn answer(self, verdict: Verdict) {
        match self.reply {
            Reply::Nobody => {}
            Reply::Unit(done) => done(verdict.map(|_| ())),
            Reply::Moved(done) => done(verdict.map(|moved| moved > 0)),
            Reply::Id(done) => done(verdict.map(|sequence| TellId { from: None, sequence })),
        }
    }
}

/// Answers each job. No lock is held here. A `done` that panics must not take the thread along.
pub(super) fn answer(jobs: Vec<Job>, mut verdict: impl FnMut(&Job) -> Verdict) {
    for job in jobs {
        let verdict = verdict(&job);
        if panic::catch_unwind(AssertUnwindSafe(|| job.answer(verdict))).is_err() {
            tracing::error!("somebody panicked when a write's outcome was told");
        }
    }
}

pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    writes: usize,
    bytes: usize,
    /// One `Reserve` waits, one `Reopen` waits. More of them would ask for the same.
    reserving: bool,
    reopening: bool,
    phase: Phase,
}

/// Open -> Closing (what came before is finished) -> Gone (there is no writer).
#[derive(Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Closing,
    Gone,
}

/// What the writer wakes for.
pub(super) enum Taken {
    /// All that waited; never empty.
    Jobs(Vec<Job>),
    /// The deadline passed and nothing came.
    Nothing,
    /// Nothing will come any more.
    End,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Hands a job to the writer. What finds no room is handed over without its payload and
    /// refused in its turn: the answers to one actor keep their order, which a refusal on the spot
    /// would break. Such stubs are as many as their callers keep in flight, and these are bounded.
    pub(super) fn push(&self, mut job: Job) {
        let bytes = job.bytes();
        let mut waiting = self.waiting.lock();
        let refused = match waiting.phase {
            Phase::Gone => {
                drop(waiting);
                job.answer(Err(CommitError::Unavailable { retry_ms: CLOSED_RETRY_MS }));
                return;
            }
            Phase::Closing => Some(CLOSED_RETRY_MS),
            Phase::Open => bytes.is_some_and(|bytes| waiting.is_full(bytes)).then_some(QUEUE_RETRY_MS),
        };
        if waiting.already_asked(&job.work) {
            return;
        }
        let payload = refused.map(|retry_ms| {
            let refusal = Work::Refused(CommitError::Unavailable { retry_ms });
            std::mem::replace(&mut job.work, refusal)
        });
        if let (None, Some(bytes)) = (&payload, bytes) {
            waiting.writes += 1;
            waiting.bytes += bytes;
        }
        waiting.jobs.push(job);
        drop(waiting);
        self.changed.notify_one();
    }

    /// All that waits, at once; else waits for something until the deadline.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Taken {
        let mut waiting = self.waiting.lock();
        loop {
            if !waiting.jobs.is_empty() {
                let phase = std::mem::take(&mut waiting.phase);
                let taken = std::mem::replace(&mut *waiting, Waiting { phase, ..Waiting::default() });
                return Taken::Jobs(taken.jobs);
            }
            if waiting.phase != Phase::Open {
                waiting.phase = Phase::Gone;
                return Taken::End;
            }
            match deadline {
                None => self.changed.wait(&mut waiting),
                Some(deadline) if self.changed.wait_until(&mut waiting, deadline).timed_out() => {
                    return Taken::Nothing;
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.phase == Phase::Open {
            waiting.phase = Phase::Closing;
        }
        drop(waiting);
        self.changed.notify_one();
    }
}

impl Waiting {
    /// Whether this is the store's own request and one like it waits; if none does, now one does.
    /// So these need no room: nobody waits for them, and a storm of failing reads is one job.
    fn already_asked(&mut self, work: &Work) -> bool {
        let asked = match work {
            Work::Reserve => &mut self.reserving,
            Work::Reopen { .. } => &mut self.reopening,
            Work::Commit(_)
            | Work::Accept(_)
            | Work::Discard(_)
            | Work::Move(_)
            | Work::Deploy(..)
            | Work::Refused(_) => return false,
        };
        std::mem::replace(asked, true)
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.writes >= QUEUE_WRITES_MAX || (self.writes > 0 && self.bytes + bytes > QUEUE_BYTES_MAX)
    }
}
