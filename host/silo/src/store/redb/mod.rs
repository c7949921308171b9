//! The embedded store: one file of redb, written by one thread, read from everywhere.
//!
//! ```text
//! commit, accept ...  -> queue -> writer: fences, batch -> one fsync -> done, done, done
//! claim, read ...     -> tables, on the caller's thread -> answer
//! ```
//!
//! Reading order: `fences` (who may write), `queue`, `space`, `tables`, `open`, `batch` (one durable
//! step), `writer` (the thread).

mod fences;
mod queue;
mod space;
mod tables;
mod open;
mod batch;
mod writer;

#[cfg(test)]
mod tests;

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use futures_util::future::{self, BoxFuture, FutureExt as _};
use parking_lot::RwLock;
use quark_core::commit::Commit;
use quark_core::envelope::{Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase as _};
use tokio::sync::watch;

use self::fences::{Fences, Numbers};
pub use self::open::OpenError;
use self::open::{Folder, OpenFile};
use self::queue::{Job, Queue, Reply, Work};
use self::space::Space;
use self::tables::{Broken, COMPONENTS, DEPLOYMENTS};
use self::writer::Writer;
use super::{Claim, Deployment, Done, Snapshot, Store, StoreError, StoreHealth};

/// Milliseconds that a caller is told to wait while the database is reopened.
const REOPEN_RETRY_MS: u64 = 100;

/// How the store uses the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedbOptions {
    /// Bytes that stay free in the file system: with less, writes are refused as `Unavailable`.
    pub free_space_floor: u64,
    /// Bytes of the file that are kept in memory.
    pub cache_bytes: usize,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { free_space_floor: 256 * 1024 * 1024, cache_bytes: 256 * 1024 * 1024 }
    }
}

/// A store in a folder of this machine, which no other silo can open meanwhile.
///
/// Questions are answered on the caller's thread, at the first poll; only the claim of an actor
/// whose last activation still has a write under way waits for that write. Call [`Store::close`]
/// before the folder is opened again; a value that is just dropped finishes its writes later.
pub struct RedbStore {
    shared: Arc<Shared>,
}

/// What the callers and the writer have in common.
struct Shared {
    queue: Queue,
    fences: Fences,
    numbers: Numbers,
    space: Space,
    /// The open database, or why there is none now.
    database: RwLock<Result<Arc<Database>, String>>,
    /// Whether the writer has ended.
    gone: watch::Sender<bool>,
}

impl RedbStore {
    /// Opens the store in that folder, which is made when it does not exist.
    ///
    /// # Errors
    /// When the folder or its data cannot be used; the error says what to do.
    pub fn open(folder: &Path, options: RedbOptions) -> Result<Self, OpenError> {
        let cache_bytes = options.cache_bytes;
        let open_file = move |file: &Path| {
            let mut builder = Builder::new();
            builder.set_cache_size(cache_bytes).set_repair_callback(|repair| {
                let percent = (repair.progress() * 100.0).round();
                tracing::info!(percent, "checking the whole data file, because it was not closed the last time");
            });
            builder.open(file)
        };
        Self::open_with(folder, options, Box::new(open_file))
    }

    fn open_with(path: &Path, options: RedbOptions, open_file: OpenFile) -> Result<Self, OpenError> {
        let folder = Folder::lock(path)?;
        folder.make_data_file()?;
        let database = folder.open(&open_file)?;
        let reserved = folder.start(&database)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            fences: Fences::new(),
            numbers: Numbers::new(reserved),
            space: Space::new(path, options.free_space_floor),
            database: RwLock::new(Ok(Arc::new(database))),
            gone: watch::Sender::new(false),
        });
        let writer = Writer { shared: Arc::clone(&shared), folder, open_file };
        let spawned = thread::Builder::new().name("store-writer".into()).spawn(|| writer.run());
        spawned.map_err(|error| OpenError::Failed { path: path.into(), reason: error.to_string() })?;
        Ok(Self { shared })
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&ReadTransaction) -> Result<T, Broken>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        future::ready(self.shared.read(ask)).boxed()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Shared {
    fn write(&self, work: Work, reply: Reply) {
        self.queue.push(Job { work, reply });
    }

    /// Answers from what is committed now.
    fn read<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, Broken>) -> Result<T, StoreError> {
        let unavailable = |reason| StoreError::Unavailable { reason, retry_ms: REOPEN_RETRY_MS };
        let database = self.database.read().clone().map_err(unavailable)?;
        guarded(|| ask(&database.begin_read()?)).map_err(|broken| match broken {
            Broken::Damaged(row) => StoreError::Damaged(row),
            Broken::Io(reason) => {
                self.write(Work::Reopen, Reply::Nobody);
                unavailable(reason)
            }
        })
    }

    /// From now on there is no database to read, for this reason. Gives back the one there was.
    fn bar(&self, reason: String) -> Option<Arc<Database>> {
        std::mem::replace(&mut *self.database.write(), Err(reason)).ok()
    }

    async fn claim(&self, actor: &ActorId) -> Result<Claim, StoreError> {
        let Some((generation, writing)) = self.fences.claim(actor, &self.numbers) else {
            self.write(Work::Reserve, Reply::Nobody);
            let reason = "all numbers for claims are used up; more are being reserved".into();
            return Err(StoreError::Unavailable { reason, retry_ms: REOPEN_RETRY_MS });
        };
        let mut unclaim = Unclaim { shared: self, actor, generation, armed: true };
        if writing {
            self.fences.written(actor).await;
        }
        let stored = self.read(|tx| tables::load(tx, actor))?;
        unclaim.armed = false;
        let (etag, values) = stored.map_or_else(Default::default, |stored| (stored.etag, stored.values));
        Ok(Claim { generation, etag, values })
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

impl Store for RedbStore {
    fn claim<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.shared.claim(actor).boxed()
    }

    fn release(&self, actor: &ActorId, generation: u64) {
        self.shared.fences.release(actor, generation);
    }

    fn commit(&self, commit: Commit, done: Done<()>) {
        self.shared.write(Work::Commit(commit), Reply::Unit(done));
    }

    fn accept(&self, tell: Tell, done: Done<TellId>) {
        self.shared.write(Work::Accept(tell), Reply::Id(done));
    }

    fn discard(&self, id: TellId, done: Done<()>) {
        self.shared.write(Work::Discard(id), Reply::Unit(done));
    }

    fn outbox<'a>(
        &'a self,
        after: Option<&'a TellId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(TellId, Tell)>, StoreError>> {
        self.ask(|tx| tables::outbox(tx, after, limit))
    }

    fn read<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        self.ask(|tx| tables::load(tx, actor))
    }

    fn keys<'a>(
        &'a self,
        kind: &'a KindName,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        self.ask(|tx| tables::keys(tx, kind, after, limit))
    }

    fn deploy(&self, deployment: Deployment, component: Arc<[u8]>, done: Done<()>) {
        self.shared.write(Work::Deploy(deployment, component), Reply::Unit(done));
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.ask(|tx| tables::deployments(&tx.open_table(DEPLOYMENTS)?))
    }

    fn component<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Option<Arc<[u8]>>, StoreError>> {
        self.ask(|tx| Ok(tx.open_table(COMPONENTS)?.get(hash)?.map(|row| row.value().into())))
    }

    fn health(&self) -> StoreHealth {
        let broken = self.shared.database.read().as_ref().err().cloned();
        let shortage = || self.shared.space.shortage().map(|shortage| shortage.to_string());
        broken.or_else(shortage).map_or(StoreHealth::Writable, StoreHealth::ReadOnly)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.queue.close();
        async {
            let mut gone = self.shared.gone.subscribe();
            // It fails only without a sender, and that is in `shared`.
            let _ = gone.wait_for(|gone| *gone).await;
        }
        .boxed()
    }
}

/// Runs what uses redb. A panic in there means a file that is not as redb wrote it; it must cost
/// neither the writer nor a caller.
fn guarded<T>(work: impl FnOnce() -> Result<T, Broken>) -> Result<T, Broken> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(Broken::Damaged(format!("the database panicked: {}", text.unwrap_or("it did not say why"))))
    })
}
