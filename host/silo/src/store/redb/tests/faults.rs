//! A disk that fails under the store.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use quark_core::commit::CommitError;
use redb::backends::FileBackend;
use redb::{Builder, StorageBackend};
use tokio::sync::oneshot;

use super::{HASTY, no_floor, open, settled};
use crate::store::conformance::{actor, commit, set, values, write};
use crate::store::redb::log::Bounds;
use crate::store::redb::segment::Step;
use crate::store::redb::{Below, RedbStore};
use crate::store::{Claim, Store as _, StoreError, StoreHealth};

/// What fails now.
#[derive(Debug, Default)]
struct Faults {
    read: AtomicBool,
    write: AtomicBool,
    sync: AtomicBool,
    open: AtomicBool,
    /// A sync waits while somebody holds this.
    hold: Mutex<()>,
    syncs: AtomicUsize,
}

#[derive(Debug)]
struct FaultyFile {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl Faults {
    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        drop(self.hold.lock());
        check(&self.sync)
    }
}

fn check(fault: &AtomicBool) -> io::Result<()> {
    if fault.load(Ordering::SeqCst) { Err(io::Error::other("a fault for a test")) } else { Ok(()) }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check(&self.faults.read)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        check(&self.faults.write)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.sync()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(&self.faults.write)?;
        self.file.write(offset, data)
    }
}

fn open_faulty(folder: &Path, faults: &Arc<Faults>) -> RedbStore {
    open_bounded(folder, faults, Bounds::DEFAULT)
}

fn open_bounded(folder: &Path, faults: &Arc<Faults>, bounds: Bounds) -> RedbStore {
    let (faults, log) = (Arc::clone(faults), Arc::clone(faults));
    let open_file = move |path: &Path| {
        check(&faults.open)?;
        let file = FileBackend::new(File::options().read(true).write(true).open(path)?)?;
        // Without a cache every question reaches the file.
        Builder::new().set_cache_size(0).create_with_backend(FaultyFile { file, faults: Arc::clone(&faults) })
    };
    let hook = move |step: Step| match step {
        Step::Read | Step::Remove => check(&log.read),
        Step::Make | Step::Grow | Step::Write | Step::Rename => check(&log.write),
        Step::Sync | Step::SyncFolder => log.sync(),
        Step::Checkpoint | Step::Checkpointed => Ok(()),
    };
    let below = Below { open_file: Box::new(open_file), hook: Arc::new(hook), bounds };
    RedbStore::open_with(folder, no_floor(), below).unwrap()
}

/// Waits for the store to be well again, as a silo would.
async fn recovered(store: &RedbStore) {
    for _ in 0..500 {
        if store.health() == StoreHealth::Writable {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not recover: {:?}", store.health());
}

#[tokio::test]
async fn a_failed_sync_is_unknown_and_the_store_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(folder.path(), &faults);
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    set(&store, &a, &mut claim, &[("v", Some(b"1"))]).await;

    faults.open.store(true, Ordering::SeqCst);
    faults.sync.store(true, Ordering::SeqCst);
    let ended = commit(&store, write(&a, &claim, &[("v", Some(b"2"))])).await;
    assert_eq!(ended, Err(CommitError::Unknown));
    let next = Claim { etag: claim.etag + 1, ..claim.clone() };
    let ended = commit(&store, write(&a, &next, &[("v", Some(b"3"))])).await;
    assert!(matches!(ended, Err(CommitError::Unavailable { .. })), "{ended:?}");
    assert!(matches!(store.claim(&a).await, Err(StoreError::Unavailable { .. })));
    let StoreHealth::ReadOnly(why) = store.health() else { panic!("it is not well") };
    assert!(why.contains("a fault for a test") || why.contains("cannot be reopened"), "{why}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let StoreHealth::ReadOnly(why) = store.health() else { panic!("it is not well") };
    assert!(why.contains("a fault for a test"), "{why}");

    faults.sync.store(false, Ordering::SeqCst);
    faults.open.store(false, Ordering::SeqCst);
    recovered(&store).await;
    let mut claim = store.claim(&a).await.unwrap();
    let stored = values(store.read(&a).await.unwrap());
    let expect = if claim.etag == 1 { b"1" } else { b"2" };
    assert_eq!(stored, [("v".into(), expect.to_vec())], "etag {}", claim.etag);
    set(&store, &a, &mut claim, &[("v", Some(b"4"))]).await;
    store.close().await;
    let store = open(folder.path());
    assert_eq!(values(store.read(&a).await.unwrap()), [("v".into(), b"4".to_vec())]);
    store.close().await;
}

#[tokio::test]
async fn a_failed_write_changes_nothing_of_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(folder.path(), &faults);
    let (a, b) = (actor("a"), actor("b"));
    for round in 1..=3u64 {
        let mut claim = store.claim(&a).await.unwrap();
        set(&store, &a, &mut claim, &[("v", Some(&round.to_be_bytes()))]).await;
        faults.write.store(true, Ordering::SeqCst);
        let other = store.claim(&b).await.unwrap();
        let ended = commit(&store, write(&b, &other, &[("v", Some(&[1; 100_000]))])).await;
        assert!(matches!(ended, Err(CommitError::Unknown | CommitError::Unavailable { .. })), "{ended:?}");
        faults.write.store(false, Ordering::SeqCst);
        recovered(&store).await;
        assert_eq!(values(store.read(&a).await.unwrap()), [("v".into(), round.to_be_bytes().to_vec())]);
    }
    store.close().await;
}

#[tokio::test]
async fn a_failed_read_is_unavailable_and_mends_itself_without_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_bounded(folder.path(), &faults, HASTY);
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    set(&store, &a, &mut claim, &[("v", Some(&[1; 100_000]))]).await;
    settled(&store).await;
    faults.read.store(true, Ordering::SeqCst);
    assert!(matches!(store.read(&a).await, Err(StoreError::Unavailable { .. })));
    faults.read.store(false, Ordering::SeqCst);
    for _ in 0..500 {
        match store.read(&a).await {
            Ok(Some(_)) => break,
            Ok(None) => panic!("it lost the actor"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    set(&store, &a, &mut claim, &[("v", Some(b"2"))]).await;
    store.close().await;
}

#[test]
fn a_claim_waits_for_a_write_of_the_older_one_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open_faulty(folder.path(), &faults);
    let (a, b) = (actor("a"), actor("b"));
    let old = store.claim(&a).now_or_never().unwrap().unwrap();
    let commit = |n: u64| {
        let (done, outcome) = oneshot::channel();
        let at = Claim { etag: n - 1, ..old.clone() };
        let commit = write(&a, &at, &[("n", Some(&n.to_be_bytes()))]);
        store.commit(commit, Box::new(|ended| done.send(ended).unwrap()));
        outcome
    };
    let held = faults.hold.lock();
    let syncs = faults.syncs.load(Ordering::SeqCst);
    let first = commit(1);
    while faults.syncs.load(Ordering::SeqCst) == syncs {
        std::thread::yield_now();
    }
    // The first is being written; the second waits behind it.
    let second = commit(2);
    let mut given_up = store.claim(&a);
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    let mut claim = store.claim(&a);
    assert!((&mut claim).now_or_never().is_none(), "what the older one writes is not known yet");
    assert!(store.claim(&b).now_or_never().unwrap().is_ok(), "another actor has nothing to wait for");
    assert!(store.read(&a).now_or_never().unwrap().unwrap().is_none(), "nothing is seen before it is durable");
    drop(held);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let claim = claim.await.unwrap();
        assert_eq!(claim.etag, 1);
        assert_eq!(first.await.unwrap(), Ok(false));
        assert_eq!(second.await.unwrap(), Err(CommitError::Fenced));
        store.close().await;
    });
}
