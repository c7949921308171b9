//! What the callers and the two threads have in common.

use parking_lot::RwLock;
use quark_core::envelope::{Tell, TellId};
use quark_core::id::ActorId;
use tokio::sync::watch;

use super::desk::Desk;
use super::fences::{Fences, Numbers};
use super::queue::{Job, Queue, Reply, Work};
use super::space::Space;
use super::tables::{Broken, Tables};
use super::view::{self, Base, View};
use super::{REOPEN_RETRY_MS, guarded};
use crate::store::{Claim, PAGE_MAX, StoreError};

pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) fences: Fences,
    pub(super) numbers: Numbers,
    pub(super) space: Space,
    pub(super) desk: Desk,
    /// What can be read, or why nothing can now.
    pub(super) view: RwLock<Result<View, String>>,
    /// Whether the writer has ended.
    pub(super) gone: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn write(&self, work: Work, reply: Reply) {
        self.queue.push(Job { work, reply });
    }

    /// Answers from what is durable now: takes what it needs of the overlays, and then asks the
    /// tables that lay below them at that moment, without a lock.
    pub(super) fn read<O, T>(
        &self,
        over: impl FnOnce(&View) -> O,
        ask: impl FnOnce(&Tables, O) -> Result<T, Broken>,
    ) -> Result<T, StoreError> {
        let unavailable = |reason| StoreError::Unavailable { reason, retry_ms: REOPEN_RETRY_MS };
        let taken = match &*self.view.read() {
            Ok(view) => Ok((over(view), guarded(|| view.snapshot()), view.base.clone())),
            Err(reason) => Err(reason.clone()),
        };
        let (over, snapshot, Base { database: _kept_open, opened }) = taken.map_err(unavailable)?;
        snapshot.and_then(|tx| guarded(|| ask(&Tables::open(tx)?, over))).map_err(|broken| match broken {
            Broken::Damaged(row) => StoreError::Damaged(row),
            Broken::Io(reason) => {
                self.write(Work::Reopen { opened }, Reply::Nobody);
                unavailable(reason)
            }
        })
    }

    pub(super) fn base(&self) -> Option<Base> {
        self.view.read().as_ref().ok().map(|view| view.base.clone())
    }

    /// Takes the sealed overlay away, when the tables have it.
    pub(super) fn unseal(&self, opened: u64) {
        let mut sealed = None;
        if let Ok(view) = &mut *self.view.write()
            && view.base.opened == opened
        {
            sealed = view.sealed.take();
        }
        // Without the lock, since there may be much to free.
        drop(sealed);
    }

    /// From now on there is nothing to read, for this reason. Gives back what there was.
    pub(super) fn bar(&self, reason: String) -> Option<View> {
        std::mem::replace(&mut *self.view.write(), Err(reason)).ok()
    }

    /// Outbox rows; a step of which all rows are gone is no answer, as an empty one is the end.
    pub(super) fn outbox(&self, after: Option<&TellId>, limit: usize) -> Result<Vec<(TellId, Tell)>, StoreError> {
        let limit = limit.min(PAGE_MAX);
        let mut from = after.cloned();
        loop {
            let after = from.as_ref();
            let (page, until) = self.read(
                |view| view.outbox(after, limit),
                |tables, (over, until)| Ok((tables.outbox(after, until.as_ref(), over, limit)?, until)),
            )?;
            if until.is_none() || !page.is_empty() || limit == 0 {
                return Ok(page);
            }
            from = until;
        }
    }

    pub(super) async fn claim(&self, actor: &ActorId) -> Result<Claim, StoreError> {
        let Some((generation, writing)) = self.fences.claim(actor, &self.numbers) else {
            self.write(Work::Reserve, Reply::Nobody);
            let reason = "all numbers for claims are used up; more are being reserved".into();
            return Err(StoreError::Unavailable { reason, retry_ms: REOPEN_RETRY_MS });
        };
        let mut unclaim = Unclaim { shared: self, actor, generation, armed: true };
        if writing {
            self.fences.written(actor).await;
        }
        let over = |view: &View| (view.changed(actor), view.reminders_of(actor));
        let (stored, reminders) = self.read(over, |tables, (over, reminders)| {
            Ok((view::load(tables, actor, over)?, tables.reminders().names_of(actor, reminders)?))
        })?;
        unclaim.armed = false;
        let (etag, values) = stored.map_or_else(Default::default, |stored| (stored.etag, stored.values));
        Ok(Claim { generation, etag, values, reminders })
    }
}

/// Gives a claim back that failed, or that its caller gave up while it waited.
struct Unclaim<'a> {
    shared: &'a Shared,
    actor: &'a ActorId,
    generation: u64,
    armed: bool,
}

impl Drop for Unclaim<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.shared.fences.release(self.actor, self.generation);
        }
    }
}
