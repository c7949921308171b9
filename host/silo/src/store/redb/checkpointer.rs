//! The thread that brings the log into the tables while the writer goes on in the log's next file.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use quark_core::commit::CommitError;

use super::overlay::Overlay;
use super::queue::{Job, QUEUE_BYTES_MAX, QUEUE_RETRY_MS, Reply, Verdict, Work, answer};
use super::segment::{Disk, Segment, Step};
use super::tables::Broken;
use super::view::Base;
use super::{REOPEN_RETRY_MS, Shared, checkpoint, deploys};

/// The most deploys that wait; their bytes are bounded as those of the queue are.
const DEPLOYS_MAX: usize = 64;

/// A generation of the log that nobody writes any more.
pub(super) struct Sealed {
    pub(super) overlay: Arc<Overlay>,
    pub(super) segment: Segment,
}

/// Where the writer puts what the checkpointer is to do, and gets the log's next file.
///
/// There are two files and two overlays at most: the writer can seal one only with a spare file at
/// hand, and that one comes back from the checkpoint of the last.
#[derive(Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    sealed: Option<Sealed>,
    deploys: VecDeque<Job>,
    deploy_bytes: usize,
    reserve: bool,
    /// The log's next file: empty, and durably there.
    spare: Option<Segment>,
    busy: bool,
    failed: bool,
    closing: bool,
}

enum Task {
    Checkpoint(Sealed),
    Deploy(Job),
    Reserve,
}

impl Desk {
    /// For a log that was just begun. Nothing of the last one is left.
    pub(super) fn reset(&self, spare: Segment) {
        let mut state = self.state.lock();
        state.failed = false;
        state.spare = Some(spare);
    }

    pub(super) fn take_spare(&self) -> Option<Segment> {
        self.state.lock().spare.take()
    }

    /// Waits until there is a spare file; false when there will be none, because the checkpointer
    /// failed.
    pub(super) fn wait_for_spare(&self) -> bool {
        let mut state = self.state.lock();
        while state.spare.is_none() && !state.failed {
            self.changed.wait(&mut state);
        }
        !state.failed
    }

    pub(super) fn seal(&self, sealed: Sealed) {
        self.state.lock().sealed = Some(sealed);
        self.changed.notify_all();
    }

    pub(super) fn reserve(&self) {
        self.state.lock().reserve = true;
        self.changed.notify_all();
    }

    /// Hands a deploy over, or answers it when too many wait.
    pub(super) fn deploy(&self, job: Job) {
        let bytes = job.bytes().unwrap_or(0);
        let mut state = self.state.lock();
        let full = state.deploys.len() >= DEPLOYS_MAX
            || (!state.deploys.is_empty() && state.deploy_bytes + bytes > QUEUE_BYTES_MAX);
        if full || state.failed {
            drop(state);
            answer(vec![job], |_| Err(CommitError::Unavailable { retry_ms: QUEUE_RETRY_MS }));
            return;
        }
        state.deploy_bytes += bytes;
        state.deploys.push_back(job);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for what is being done, and takes back all else. For a database that failed: its log
    /// is read again from the disk.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.failed = true;
        while state.busy {
            self.changed.wait(&mut state);
        }
        let cleared = std::mem::replace(&mut *state, State { failed: true, ..State::default() });
        state.closing = cleared.closing;
        drop(state);
        answer(cleared.deploys.into(), |_| Err(CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS }));
    }

    /// The checkpointer ends when it has done everything.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.state.lock();
        loop {
            if !state.failed {
                let task = state.next();
                state.busy = task.is_some();
                if task.is_some() {
                    return task;
                }
            }
            if state.closing {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn done(&self, spare: Option<Segment>, failed: bool) {
        let mut state = self.state.lock();
        state.busy = false;
        state.failed |= failed;
        if spare.is_some() {
            state.spare = spare;
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn next(&mut self) -> Option<Task> {
        if let Some(sealed) = self.sealed.take() {
            return Some(Task::Checkpoint(sealed));
        }
        if let Some(job) = self.deploys.pop_front() {
            self.deploy_bytes -= job.bytes().unwrap_or(0);
            return Some(Task::Deploy(job));
        }
        std::mem::take(&mut self.reserve).then_some(Task::Reserve)
    }
}

pub(super) struct Checkpointer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Disk,
}

impl Checkpointer {
    pub(super) fn run(self) {
        while let Some(task) = self.shared.desk.next() {
            let Some(base) = self.shared.base() else {
                if let Task::Deploy(job) = task {
                    answer(vec![job], |_| Err(CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS }));
                }
                self.shared.desk.done(None, false);
                continue;
            };
            let opened = base.opened;
            let ended = match task {
                Task::Checkpoint(sealed) => self.checkpoint(&base, sealed).map(Some),
                Task::Deploy(job) => self.deploy(&base, job).map(|()| None),
                Task::Reserve => self.commit(&base, |_| Ok(()), || Ok(())).map(|()| None).map_err(|(why, _)| why),
            };
            match ended {
                Ok(spare) => self.shared.desk.done(spare, false),
                Err(why) => {
                    tracing::error!(%why, "what was logged cannot be brought into the tables");
                    self.shared.desk.done(None, true);
                    self.shared.write(Work::Reopen { opened }, Reply::Nobody);
                }
            }
        }
    }

    /// Brings a sealed generation into the tables, and gives back its file for the one after next.
    fn checkpoint(&self, base: &Base, sealed: Sealed) -> Result<Segment, Broken> {
        let Sealed { overlay, segment } = sealed;
        let next = segment.number() + 1;
        let fill = |tx: &_| {
            checkpoint::fill(tx, &overlay)?;
            checkpoint::set_log(tx, next)
        };
        let step = || Ok(self.disk.step(Step::Checkpoint)?);
        self.commit(base, fill, step).map_err(|(why, _)| why)?;
        self.shared.unseal(base.opened);
        let io = |error: std::io::Error| Broken::Io(format!("the log: {error}"));
        self.disk.step(Step::Checkpointed).map_err(io)?;
        segment.reuse(next + 1).map_err(io)
    }

    fn deploy(&self, base: &Base, job: Job) -> Result<(), Broken> {
        let Work::Deploy(deployment, component) = &job.work else { return Ok(()) };
        let written = self.commit(base, |tx| deploys::deploy(tx, deployment, component), || Ok(()));
        let (verdict, ended): (Verdict, _) = match written {
            Ok(()) => (Ok(0), Ok(())),
            Err((why, CommitBroke(true))) => (Err(CommitError::Unknown), Err(why)),
            Err((why, CommitBroke(false))) => (Err(CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS }), Err(why)),
        };
        answer(vec![job], |_| verdict);
        ended
    }

    /// One transaction.
    fn commit(
        &self,
        base: &Base,
        fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), Broken>,
        before: impl FnOnce() -> Result<(), Broken>,
    ) -> Result<(), (Broken, CommitBroke)> {
        let numbers = &self.shared.numbers;
        let (tx, reserved) = super::guarded(|| {
            let tx = checkpoint::begin(&base.database)?;
            fill(&tx)?;
            let reserved = numbers.low();
            if let Some(reserved) = reserved {
                checkpoint::set_reserved(&tx, reserved)?;
            }
            before()?;
            Ok((tx, reserved))
        })
        .map_err(|why| (why, CommitBroke(false)))?;
        super::guarded(|| {
            tx.commit()?;
            if let Some(reserved) = reserved {
                numbers.extend(reserved);
            }
            Ok(())
        })
        .map_err(|why| (why, CommitBroke(true)))
    }
}

/// Whether it broke when the commit had begun: then nobody knows whether it landed.
struct CommitBroke(bool);
