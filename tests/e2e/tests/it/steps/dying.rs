//! A store whose process dies at a chosen write, or that loses the answer to one.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::{Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::journal::{self, Entry};
use quark_core::reminders::{Fired, Place, Reminder};
use quark_silo::store::memory::MemoryStore;
use quark_silo::store::{Claim, Deployment, Done, Snapshot, Store, StoreError, StoreHealth};
use tokio::sync::Notify;

/// What happens at the chosen write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before the write is applied: nothing is answered any more.
    Killed,
    /// It dies when the write is applied, before its answer.
    KilledAfter,
    /// The write is not applied, and nobody can tell; the store goes on.
    Doubt,
    /// The same, and it is applied.
    DoubtAfter,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Killed, Self::KilledAfter, Self::Doubt, Self::DoubtAfter];

    pub(crate) const fn kills(self) -> bool {
        matches!(self, Self::Killed | Self::KilledAfter)
    }

    const fn applies(self) -> bool {
        matches!(self, Self::KilledAfter | Self::DoubtAfter)
    }
}

/// Rows in memory, which outlive it, behind a fault. Deployments are those of another store.
pub(crate) struct Dying {
    rows: Arc<MemoryStore>,
    deployed: Arc<MemoryStore>,
    plan: Mutex<Plan>,
    died: Notify,
}

#[derive(Default)]
struct Plan {
    /// The fault, and how many writes go well before it.
    fault: Option<(usize, Fault)>,
    /// It has come.
    over: bool,
    dead: bool,
    /// Pages of reminders that were asked for.
    pages: usize,
    /// How long each answer to a question takes.
    pace: Duration,
    /// What is never called: a process that died does not even let go.
    never: Vec<Box<dyn Any + Send>>,
}

/// What becomes of a write.
enum Fate {
    Applied,
    Lost,
    Doubted { applied: bool },
}

impl Dying {
    pub(crate) fn new(rows: &Arc<MemoryStore>, deployed: &Arc<MemoryStore>) -> Arc<Self> {
        let (rows, deployed) = (rows.clone(), deployed.clone());
        Arc::new(Self { rows, deployed, plan: Mutex::default(), died: Notify::new() })
    }

    /// The fault comes after that many writes.
    pub(crate) fn arm(&self, after: usize, fault: Fault) {
        self.plan.lock().fault = Some((after, fault));
    }

    /// The fault comes no more.
    pub(crate) fn disarm(&self) {
        self.plan.lock().fault = None;
    }

    /// Whether the fault has come.
    pub(crate) fn is_over(&self) -> bool {
        self.plan.lock().over
    }

    /// Returns when the process has died.
    pub(crate) async fn died(&self) {
        self.died.notified().await;
    }

    /// From now on each question takes that long.
    pub(crate) fn slow_down(&self, pace: Duration) {
        self.plan.lock().pace = pace;
    }

    /// How many pages of reminders were asked for.
    pub(crate) fn pages(&self) -> usize {
        self.plan.lock().pages
    }

    /// Nothing of the silo is left that could be called.
    pub(crate) fn bury(&self) {
        let never = std::mem::take(&mut self.plan.lock().never);
        drop(never);
    }

    fn fate(&self) -> Fate {
        let mut plan = self.plan.lock();
        if plan.dead {
            return Fate::Lost;
        }
        let Some((left, fault)) = plan.fault else { return Fate::Applied };
        if left > 0 {
            plan.fault = Some((left - 1, fault));
            return Fate::Applied;
        }
        (plan.fault, plan.over, plan.dead) = (None, true, fault.kills());
        if !fault.kills() {
            return Fate::Doubted { applied: fault.applies() };
        }
        self.died.notify_one();
        if fault.applies() { Fate::Doubted { applied: true } } else { Fate::Lost }
    }

    fn write<T: Send + 'static>(&self, done: Done<T>, write: impl FnOnce(&MemoryStore, Done<T>)) {
        match self.fate() {
            Fate::Applied => return write(&self.rows, done),
            Fate::Lost => {}
            Fate::Doubted { applied } => {
                if applied {
                    // What the store says of it is not heard.
                    write(&self.rows, Box::new(drop));
                }
                if !self.plan.lock().dead {
                    return done(Err(CommitError::Unknown));
                }
            }
        }
        self.plan.lock().never.push(Box::new(done));
    }

    fn read<'a, T: Send + 'a>(&'a self, read: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        let (dead, pace) = {
            let plan = self.plan.lock();
            (plan.dead, plan.pace)
        };
        if dead {
            return future::pending().boxed();
        }
        if pace.is_zero() {
            return read;
        }
        async move {
            tokio::time::sleep(pace).await;
            read.await
        }
        .boxed()
    }
}

impl Store for Dying {
    fn claim<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.read(self.rows.claim(actor))
    }

    fn release(&self, actor: &ActorId, generation: u64) {
        if !self.plan.lock().dead {
            self.rows.release(actor, generation);
        }
    }

    fn commit(&self, commit: Commit, done: Done<bool>) {
        self.write(done, |rows, done| rows.commit(commit, done));
    }

    fn accept(&self, tell: Tell, done: Done<TellId>) {
        self.write(done, |rows, done| rows.accept(tell, done));
    }

    fn discard(&self, id: TellId, done: Done<()>) {
        self.write(done, |rows, done| rows.discard(id, done));
    }

    fn outbox<'a>(
        &'a self,
        after: Option<&'a TellId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(TellId, Tell)>, StoreError>> {
        self.read(self.rows.outbox(after, limit))
    }

    fn move_reminder(&self, fired: Fired, done: Done<bool>) {
        self.write(done, |rows, done| rows.move_reminder(fired, done));
    }

    fn due<'a>(&'a self, after: Option<&'a Place>, limit: usize) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.plan.lock().pages += 1;
        self.read(self.rows.due(after, limit))
    }

    fn reminders<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.read(self.rows.reminders(actor))
    }

    fn read<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        Self::read(self, self.rows.read(actor))
    }

    fn keys<'a>(
        &'a self,
        kind: &'a KindName,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        Self::read(self, self.rows.keys(kind, after, limit))
    }

    fn journal<'a>(
        &'a self,
        actor: &'a ActorId,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        Self::read(self, self.rows.journal(actor, first, limit))
    }

    fn journal_snapshot<'a>(
        &'a self,
        actor: &'a ActorId,
    ) -> BoxFuture<'a, Result<Option<journal::Snapshot>, StoreError>> {
        Self::read(self, self.rows.journal_snapshot(actor))
    }

    fn deploy(&self, _: Deployment, _: Arc<[u8]>, done: Done<()>) {
        done(Err(CommitError::Conflict));
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.deployed.deployments()
    }

    fn earlier_versions(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.deployed.earlier_versions()
    }

    fn component<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Option<Arc<[u8]>>, StoreError>> {
        self.deployed.component(hash)
    }

    fn health(&self) -> StoreHealth {
        self.rows.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        future::ready(()).boxed()
    }
}
