//! What lies between the writer and the checkpointer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use quark_core::commit::CommitError;

use super::REOPEN_RETRY_MS;
use super::overlay::Overlay;
use super::queue::{Job, QUEUE_BYTES_MAX, QUEUE_RETRY_MS, answer};
use super::segment::Segment;
use super::space::SPACE_RETRY_MS;

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
    /// What is being done waits for room on the disk.
    short: bool,
    failed: bool,
    closing: bool,
}

/// Why there is no spare file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSpare {
    /// The checkpointer failed, so that there will be none.
    Failed,
    /// There is none before there is room on the disk.
    Short,
}

/// What the checkpointer does next.
pub(super) enum Task {
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

    /// Waits until there is a spare file.
    pub(super) fn wait_for_spare(&self) -> Result<(), NoSpare> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State { failed: true, .. } => return Err(NoSpare::Failed),
                State { spare: Some(_), .. } => return Ok(()),
                State { short: true, .. } => return Err(NoSpare::Short),
                State { .. } => self.changed.wait(&mut state),
            }
        }
    }

    /// The task that was taken waits for room, a while at most, and deploys do not wait behind it. False when it is
    /// to be given up: its log is on the disk.
    pub(super) fn wait_for_room(&self, most: Duration) -> bool {
        let mut state = self.state.lock();
        state.short = true;
        self.changed.notify_all();
        let deploys = std::mem::take(&mut state.deploys);
        state.deploy_bytes = 0;
        if !deploys.is_empty() {
            drop(state);
            answer(deploys.into(), |_| Err(CommitError::Unavailable { retry_ms: SPACE_RETRY_MS }));
            state = self.state.lock();
        }
        if !state.failed && !state.closing {
            self.changed.wait_for(&mut state, most);
        }
        !state.failed && !state.closing
    }

    /// There is room for it now.
    pub(super) fn has_room(&self) {
        self.state.lock().short = false;
    }

    #[cfg(test)]
    pub(super) fn is_short(&self) -> bool {
        self.state.lock().short
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
        self.changed.notify_all();
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

    /// The next task; none when all is done and nothing will come.
    pub(super) fn next(&self) -> Option<Task> {
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

    /// A task has ended, maybe with the log's next file.
    pub(super) fn done(&self, spare: Option<Segment>, failed: bool) {
        let mut state = self.state.lock();
        state.busy = false;
        state.short = false;
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
