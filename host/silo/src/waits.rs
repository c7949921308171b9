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
use tokio::sync::oneshot::error::RecvError;

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
    /// What comes of a call, or nothing at its deadline; a ring if it turns out that it waits for itself.
    async fn look_on<T>(
        &self,
        answer: &mut oneshot::Receiver<T>,
        deadline: tokio::time::Instant,
    ) -> Result<Option<Result<T, RecvError>>, CallError> {
        let (mut wait, longest) = LOOK_AGAIN;
        loop {
            let look = tokio::time::Instant::now() + wait;
            if let Ok(answered) = tokio::time::timeout_at(look.min(deadline), &mut *answer).await {
                return Ok(Some(answered));
            }
            match self.silo.upgrade().filter(|_| look < deadline).map(|silo| silo.look(self.id)) {
                Some(Looked::Ring(paths)) => return Err(CallError::Deadlock(paths)),
                Some(Looked::Suspect) => wait = longest.min(wait * 2),
                Some(Looked::Over) | None => return Ok(tokio::time::timeout_at(deadline, answer).await.ok()),
            }
        }
    }
}

/// The answer of a call, up to its deadline, unless it turns out that it waits for itself.
pub(crate) async fn in_time<T>(
    mut answer: oneshot::Receiver<Result<T, CallError>>,
    deadline: tokio::time::Instant,
    suspect: Option<Box<Suspect>>,
) -> Result<T, CallError> {
    let answered = match suspect {
        None => tokio::time::timeout_at(deadline, answer).await.ok(),
        // Boxed, since few calls ever wait so.
        Some(suspect) => Box::pin(suspect.look_on(&mut answer, deadline)).await?,
    };
    match answered {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) => Err(CallError::UnknownOutcome("the silo let go of the call".into())),
        None => Err(CallError::DeadlineExceeded),
    }
}

/// What is known of a call that waits: nothing of most.
pub(crate) type Known = (Option<Box<Recorded>>, Option<Box<Suspect>>);

/// The lock is taken before those of activations, never while one is held.
pub(crate) type Shared = Mutex<Waits>;

impl Inner {
    /// A child that starts again only with its parent, for whose turn it would be: that would wait for itself.
    fn refuse_to_wait_for_held(&self, path: &Path, to: &ActorId, method: &str) -> Result<(), CallError> {
        let parent = self.catalog.get(to).and_then(|activation| activation.machine.lock().held_by());
        let waits = parent.is_some_and(|parent| self.families.waits_for(path, &parent, to));
        if waits { Err(CallError::Deadlock(path.describe(to, method))) } else { Ok(()) }
    }

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
        self.refuse_to_wait_for_held(path, to, method)?;
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
