//! The relay of tells: from the outbox's rows to their receivers' mailboxes, at least once.
//!
//! A row stays in the store until the commit of the turn that handled it lands. Here are the rows
//! that are on their way, a [`line`] for each pair of actors. What waits, fails or is in doubt holds
//! back all that its sender told the same receiver after it, so tells of one pair are handled in
//! order. When too many wait, newer ones are in the store alone and are read from there later
//! ([`reading`]).

mod line;
mod lines;
mod reading;
mod state;
mod relay;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::commit::CommitError;
use quark_core::envelope::{Tell, TellId};
use quark_core::error::CallError;
use tokio::sync::Notify;

use self::lines::Bounds;
use self::relay::Missing;
pub(crate) use self::relay::{deliver_first, discard, relay};
use self::state::State;

/// The most that waits here; more stays in the store alone.
const HELD_MAX: Bounds = Bounds { tells: 65_536, bytes: 64 << 20 };
/// How long the relay waits when the store does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    /// Whoever fills mailboxes.
    delivers: Mutex<Missing>,
    /// How often rows became durable, and up to where all that could be delivered is in its mailbox.
    sent: AtomicU64,
    delivered: AtomicU64,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        let (state, delivers) = (Mutex::new(State::new(HELD_MAX)), Mutex::default());
        Self { state, wake: Notify::new(), delivers, sent: AtomicU64::new(0), delivered: AtomicU64::new(0) }
    }

    /// These rows are durable now.
    pub(crate) fn sent(&self, tells: Vec<(TellId, Tell)>) {
        if !tells.is_empty() {
            self.change(|state| tells.into_iter().for_each(|(id, tell)| state.sent(&id, tell)));
            self.sent.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether rows became durable that are not in their mailboxes yet: calls that were made after them wait.
    pub(crate) fn lags(&self) -> bool {
        self.sent.load(Ordering::Acquire) != self.delivered.load(Ordering::Acquire)
    }

    /// The turn of this tell is about to begin. False when it must not: an older one of its pair
    /// comes first, or it is over. Whoever asks lets go of the message then; it comes again.
    pub(crate) fn begin(&self, id: &TellId) -> bool {
        self.change(|state| state.begin(id))
    }

    /// This row is gone: the commit that handled it landed, or it was discarded.
    pub(crate) fn handled(&self, id: &TellId) {
        self.change(|state| state.over(id));
    }

    /// The turn of this tell failed, or did not begin; its row stands. Only what the receiver
    /// itself failed at counts: a full mailbox or a store without room is not the tell's fault.
    pub(crate) fn failed(&self, id: &TellId, error: &CallError) {
        tracing::debug!(%id, %error, "a tell was not handled");
        let wait = error.retry_after_ms().map(Duration::from_millis);
        self.change(|state| state.failed(id, wait, Instant::now()));
    }

    /// The commit that handled this tell failed. When it may have landed after all, or says that
    /// the tell was handled before, the store is asked whether the row is there.
    pub(crate) fn commit_failed(&self, id: &TellId, error: CommitError) {
        match error {
            CommitError::Unknown | CommitError::Conflict => self.change(|state| state.doubt(id)),
            CommitError::Unavailable { .. } | CommitError::Fenced => self.refused(id, STORE_RETRY),
        }
    }

    /// The store may have rows that nobody told of: it is read again.
    pub(crate) fn doubt(&self) {
        self.change(State::doubt_rows);
    }

    /// The receiver, or the store, could not take it now.
    fn refused(&self, id: &TellId, wait: Duration) {
        self.change(|state| state.put_back(id, Instant::now() + wait));
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock());
        self.wake.notify_one();
        changed
    }

    /// Wakes the relay, so that it sees that the silo has stopped.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// Tells that wait or are with their receivers.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held()
    }
}
