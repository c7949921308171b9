//! Calls of turns that wait in mailboxes, so that rings of them are found: at once, or soon.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use quark_core::envelope::Path;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::time::Time;
use quark_core::waits::{Added, Looked, Running, Until, WaitId, Waits};
use tokio::sync::oneshot;

use crate::message::Outcome;
use crate::silo::Inner;

/// When a call that may wait for itself is looked at again for the first time: its turn and those around it
/// rest by then. Each further time is twice as far, up to the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A recorded call; the record goes with it.
pub(crate) struct Recorded {
    id: WaitId,
    silo: Weak<Inner>,
}

impl Recorded {
    /// The call's turn is about to begin. False when it must not: its caller has been told of a ring.
    pub(crate) fn begins(&self) -> bool {
        self.silo.upgrade().is_none_or(|silo| silo.waits.lock().remove(self.id))
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(silo) = self.silo.upgrade() {
            silo.waits.lock().remove(self.id);
        }
    }
}

/// A recorded call that may wait for itself.
pub(crate) struct Suspect {
    id: WaitId,
    silo: Weak<Inner>,
}

impl Suspect {
    /// Its answer, up to the deadline, unless it turns out that it waits for itself.
    pub(crate) async fn outcome(
        self: Box<Self>,
        mut answer: oneshot::Receiver<Outcome>,
        deadline: tokio::time::Instant,
    ) -> Outcome {
        let (mut wait, longest) = LOOK_AGAIN;
        loop {
            let look = tokio::time::Instant::now() + wait;
            if look >= deadline {
                return in_time(answer, deadline).await;
            }
            if let Ok(answered) = tokio::time::timeout_at(look, &mut answer).await {
                return told(answered);
            }
            match self.silo.upgrade().map(|silo| silo.look(self.id)) {
                Some(Looked::Ring(paths)) => return Err(CallError::Deadlock(paths)),
                Some(Looked::Suspect) => wait = longest.min(wait * 2),
                Some(Looked::Over) | None => return in_time(answer, deadline).await,
            }
        }
    }
}

/// The answer of a call, up to its deadline.
pub(crate) async fn in_time(answer: oneshot::Receiver<Outcome>, deadline: tokio::time::Instant) -> Outcome {
    tokio::time::timeout_at(deadline, answer).await.map_or(Err(CallError::DeadlineExceeded), told)
}

fn told(answered: Result<Outcome, oneshot::error::RecvError>) -> Outcome {
    answered.unwrap_or_else(|_| Err(CallError::UnknownOutcome("the silo let go of the call".into())))
}

/// What is known of a call that waits: nothing of most.
pub(crate) type Known = (Option<Box<Recorded>>, Option<Box<Suspect>>);

/// The lock is taken before those of activations, never while one is held.
pub(crate) type Shared = Mutex<Waits>;

impl Inner {
    /// Records a call that found its target busy. Nothing to record when it comes from outside: that
    /// is most of them.
    pub(crate) fn waits_for(
        self: &Arc<Self>,
        path: &Path,
        to: &ActorId,
        method: &Arc<str>,
        deadline: Time,
    ) -> Result<Known, CallError> {
        if path.depth() == 0 {
            return Ok((None, None));
        }
        let added = {
            let mut waits = self.waits.lock();
            // Whoever gave up before this moment is not taken to wait.
            waits.add(path, to, method, deadline, self.clock.now(), |actor| self.running(actor))
        };
        let silo = Arc::downgrade(self);
        match added {
            Added::Recorded(id) => Ok((Some(Box::new(Recorded { id, silo })), None)),
            Added::Suspect(id) => {
                let suspect = Suspect { id, silo: silo.clone() };
                Ok((Some(Box::new(Recorded { id, silo })), Some(Box::new(suspect))))
            }
            Added::Unseen => Ok((None, None)),
            Added::Ring(paths) => {
                self.metrics.deadlocks.increment(1);
                Err(CallError::Deadlock(paths))
            }
        }
    }

    fn look(&self, id: WaitId) -> Looked {
        let mut waits = self.waits.lock();
        let looked = waits.look(id, self.clock.now(), |actor| self.running(actor));
        if matches!(looked, Looked::Ring(_)) {
            self.metrics.deadlocks.increment(1);
        }
        looked
    }

    /// The turns of that actor that run now, and what lets them go on.
    fn running(&self, actor: &ActorId) -> Option<Running> {
        let activation = self.catalog.get(actor)?;
        let machine = activation.machine.lock();
        let mut running = machine.turns.all_running()?;
        if let Some(rest) = activation.rest() {
            // Turns begin and end, and calls come and go, under the lock that is held or while it does not rest.
            let calls = rest.calls().filter(|_| machine.turns.is_closed());
            running.until = calls.map_or(Until::Unknown, Until::Calls);
        }
        Some(running)
    }
}
