//! The embedded store: one file of redb and a log before it, written by one thread each, read from
//! everywhere.
//!
//! ```text
//! commit, accept ...  -> queue -> writer: fences, checks -> one record, one fsync -> overlay -> done, done
//!                                 now and then: overlay -> checkpointer -> tables -> next log file
//! claim, read ...     -> overlay over tables, on the caller's thread -> answer
//! ```
//!
//! A write is durable when it is in the log, and can be read from then on: out of the overlay until
//! a checkpoint has brought it into the tables. A start brings in what a crash left in the log.
//!
//! Reading order: `fences` (who may write), `queue`, `space`, `tables`, `journals`; `frame`, `rows` and
//! `reminders` (the log's bytes), `segment` (its files); `overlay` and `view` (what is read);
//! `checkpoint`, `deploys` (what goes into the tables); `open`, `start`; `desk`, `shared`;
//! `checkpointer` (a thread); `batch`, `log`, `close`, `writer` (the other); `fuzzing` (the log's bytes
//! for `tests/fuzz`).

mod fences;
mod queue;
mod space;
mod tables;
mod journals;
mod frame;
mod rows;
mod reminders;
mod segment;
mod overlay;
mod view;
mod checkpoint;
mod deploys;
mod open;
mod start;
mod desk;
mod shared;
mod checkpointer;
mod batch;
mod log;
mod close;
mod writer;
#[doc(hidden)]
pub mod fuzzing;

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
use quark_core::journal::{self, Entry};
use quark_core::reminders::{Fired, Place, Reminder};
use redb::Builder;
use tokio::sync::watch;

use self::checkpointer::Checkpointer;
use self::desk::Desk;
use self::fences::{Fences, Numbers};
use self::log::{Bounds, Log};
pub use self::open::OpenError;
use self::open::{Folder, OpenFile};
use self::queue::{Queue, Reply, Work};
use self::segment::{Disk, Hook};
use self::shared::Shared;
use self::space::Space;
use self::start::{Opening, Started};
use self::tables::{Broken, Tables};
use self::view::View;
use self::writer::Writer;
use super::{Claim, Deployment, Done, PAGE_MAX, Snapshot, Store, StoreError, StoreHealth};

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

/// What tests put in place of the disk, and of bounds that only much work would reach.
struct Below {
    open_file: OpenFile,
    hook: Hook,
    bounds: Bounds,
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
        let below = Below { open_file: Box::new(open_file), hook: Arc::new(|_| Ok(())), bounds: Bounds::DEFAULT };
        Self::open_with(folder, options, below)
    }

    fn open_with(path: &Path, options: RedbOptions, below: Below) -> Result<Self, OpenError> {
        let Below { open_file, hook, bounds } = below;
        let folder = Folder::lock(path)?;
        folder.make_data_file()?;
        let disk = Disk::new(path, hook);
        let opening = Opening { opened: 1, reserve: true };
        let Started { view, active, spare, reserved } = start::start(&folder, &disk, &open_file, opening)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            fences: Fences::new(),
            numbers: Numbers::new(reserved),
            space: Space::new(path, options.free_space_floor),
            desk: Desk::default(),
            view: RwLock::new(Ok(view)),
            gone: watch::Sender::new(false),
        });
        shared.desk.reset(spare);
        let not_spawned = |error: std::io::Error| OpenError::Failed { path: path.into(), reason: error.to_string() };
        let checkpointer = Checkpointer { shared: Arc::clone(&shared), disk: disk.clone() };
        let spawned = thread::Builder::new().name("store-tables".into()).spawn(|| checkpointer.run());
        let writer = Writer {
            shared: Arc::clone(&shared),
            folder,
            disk,
            open_file,
            bounds,
            checkpointer: spawned.map_err(not_spawned)?,
            log: Some(Log::new(active)),
            opened: opening.opened,
            short: false,
        };
        let spawned = thread::Builder::new().name("store-writer".into()).spawn(|| writer.run());
        if spawned.is_err() {
            shared.desk.close();
        }
        spawned.map_err(not_spawned)?;
        Ok(Self { shared })
    }

    fn ask<O, T: Send + 'static>(
        &self,
        over: impl FnOnce(&View) -> O,
        ask: impl FnOnce(&Tables, O) -> Result<T, Broken>,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        future::ready(self.shared.read(over, ask)).boxed()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Store for RedbStore {
    fn claim<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.shared.claim(actor).boxed()
    }

    fn release(&self, actor: &ActorId, generation: u64) {
        self.shared.fences.release(actor, generation);
    }

    fn commit(&self, commit: Commit, done: Done<bool>) {
        self.shared.write(Work::Commit(commit), Reply::Moved(done));
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
        future::ready(self.shared.outbox(after, limit)).boxed()
    }

    fn move_reminder(&self, fired: Fired, done: Done<bool>) {
        self.shared.write(Work::Move(fired), Reply::Moved(done));
    }

    fn due<'a>(&'a self, after: Option<&'a Place>, limit: usize) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        let ask = |tables: &Tables, over: Vec<_>| reminders::due(tables.reminders(), after, limit.min(PAGE_MAX), &over);
        self.ask(View::reminders, ask)
    }

    fn reminders<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.ask(|view| view.reminders_of(actor), |tables, over| tables.reminders().all_of(actor, over))
    }

    fn read<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        self.ask(|view| view.changed(actor), |tables, over| view::load(tables, actor, over))
    }

    fn journal<'a>(
        &'a self,
        actor: &'a ActorId,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        let over = |view: &View| view.journal(actor, first, limit.min(PAGE_MAX));
        self.ask(over, |tables, over| journals::page(tables.tx(), actor, over))
    }

    fn journal_snapshot<'a>(
        &'a self,
        actor: &'a ActorId,
    ) -> BoxFuture<'a, Result<Option<journal::Snapshot>, StoreError>> {
        let over = |view: &View| view.journal_snapshot(actor);
        let ask = |tables: &Tables, over: Option<_>| match over {
            Some(over) => Ok(Some(over)),
            None => journals::stored_snapshot(tables.tx(), actor),
        };
        self.ask(over, ask)
    }

    fn keys<'a>(
        &'a self,
        kind: &'a KindName,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        let limit = limit.min(PAGE_MAX);
        let over = |view: &View| view.keys(kind, after, limit);
        self.ask(over, |tables, over| view::keys(tables, kind, after, over, limit))
    }

    fn deploy(&self, deployment: Deployment, component: Arc<[u8]>, done: Done<()>) {
        self.shared.write(Work::Deploy(deployment, component), Reply::Unit(done));
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.ask(|_| (), |tables, ()| tables.deployments())
    }

    fn earlier_versions(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.ask(|_| (), |tables, ()| tables.earlier_versions())
    }

    fn component<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Option<Arc<[u8]>>, StoreError>> {
        self.ask(|_| (), |tables, ()| tables.component(hash))
    }

    fn health(&self) -> StoreHealth {
        let broken = self.shared.view.read().as_ref().err().cloned();
        let shortage = || self.shared.space.shortage().map(|shortage| shortage.to_string());
        let lack = || self.shared.space.lack().map(|lack| lack.to_string());
        broken.or_else(shortage).or_else(lack).map_or(StoreHealth::Writable, StoreHealth::ReadOnly)
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
