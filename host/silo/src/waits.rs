//! Calls of turns that wait in mailboxes, so that rings of them are found: at once, or soon.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use quark_core::envelope::Path;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::time::Time;
use quark_core::waits::{Added, Looked, Running, Until, WaitId, Waits};
use tokio::sync::oneshot;

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

/// The paths of the ring, when it turns out that a call waits for itself.
pub(crate) type Ring = oneshot::Receiver<String>;

/// Looks at a suspect again and again for as long as anybody waits for it. In a task of its own: whoever waits
/// may do so inside of an instance that would not rest while it looks.
async fn look_on(silo: Weak<Inner>, id: WaitId, mut ring: oneshot::Sender<String>) {
    let (mut wait, longest) = LOOK_AGAIN;
    while tokio::time::timeout(wait, ring.closed()).await.is_err() {
        match silo.upgrade().map(|silo| silo.look(id)) {
            Some(Looked::Suspect) => wait = longest.min(wait * 2),
            Some(Looked::Ring(paths)) => return drop(ring.send(paths)),
            Some(Looked::Over) | None => return,
        }
    }
}

/// The answer of a call, up to its deadline, unless it turns out that it waits for itself.
pub(crate) async fn in_time<T>(
    answer: oneshot::Receiver<Result<T, CallError>>,
    deadline: tokio::time::Instant,
    ring: Option<Ring>,
) -> Result<T, CallError> {
    let outcome = async {
        let Some(ring) = ring else { return answer.await.unwrap_or_else(|_| lost()) };
        match select(answer, ring).await {
            Either::Left((Ok(outcome), _)) => outcome,
            // Its message may be gone before this is told why.
            Either::Left((Err(_), ring)) => ring.await.map_or_else(|_| lost(), |paths| Err(CallError::Deadlock(paths))),
            Either::Right((Ok(paths), _)) => Err(CallError::Deadlock(paths)),
            Either::Right((Err(_), answer)) => answer.await.unwrap_or_else(|_| lost()),
        }
    };
    tokio::time::timeout_at(deadline, outcome).await.unwrap_or(Err(CallError::DeadlineExceeded))
}

fn lost<T>() -> Result<T, CallError> {
    Err(CallError::UnknownOutcome("the silo let go of the call".into()))
}

/// What is known of a call that waits: nothing of most.
pub(crate) type Known = (Option<Box<Recorded>>, Option<Ring>);

/// The lock is taken before those of activations, never while one is held.
pub(crate) type Shared = Mutex<Waits>;

impl Inner {
    /// A child that starts again only with its parent, for whose turn it would be: that would wait for itself.
    fn refuse_to_wait_for_held(&self, path: &Path, to: &ActorId, method: &str) -> Result<(), CallError> {
        let parent = self.catalog.get(to).and_then(|activation| activation.machine.lock().held_by());
        let waits = parent.is_some_and(|parent| self.families.waits_for(path, &parent, to));
        if !waits {
            return Ok(());
        }
        self.metrics.deadlocks.increment(1);
        Err(CallError::Deadlock(path.describe(to, method)))
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
                let (told, ring) = oneshot::channel();
                self.spawn(look_on(silo.clone(), id, told));
                Ok((Some(Box::new(Recorded { id, silo })), Some(ring)))
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
        match looked {
            Looked::Ring(_) => self.metrics.deadlocks.increment(1),
            Looked::Suspect => self.metrics.suspects.increment(1),
            Looked::Over => {}
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
