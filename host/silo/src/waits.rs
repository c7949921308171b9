//! Calls of turns that wait in mailboxes, so that rings of them are found at once.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use quark_core::envelope::Path;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::time::Time;
use quark_core::waits::{Added, WaitId, Waits};

use crate::silo::Inner;

/// A recorded call; the record goes with it.
pub(crate) struct Recorded {
    id: WaitId,
    silo: Weak<Inner>,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(silo) = self.silo.upgrade() {
            silo.waits.lock().remove(self.id);
        }
    }
}

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
        (deadline, now): (Time, Time),
    ) -> Result<Option<Box<Recorded>>, CallError> {
        if path.depth() == 0 {
            return Ok(None);
        }
        self.refuse_to_wait_for_held(path, to, method)?;
        let running = |actor: &ActorId| self.catalog.get(actor)?.machine.lock().turns.all_running();
        let added = self.waits.lock().add(path, to, method, deadline, now, running);
        match added {
            Added::Recorded(id) => Ok(Some(Box::new(Recorded { id, silo: Arc::downgrade(self) }))),
            Added::Unseen => Ok(None),
            Added::Ring(paths) => {
                self.metrics.deadlocks.increment(1);
                Err(CallError::Deadlock(paths))
            }
        }
    }
}
