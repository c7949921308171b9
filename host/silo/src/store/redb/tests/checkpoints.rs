//! Checkpoints: a crash at any of their steps, readers beside them, and one that takes too long.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::commit::CommitError;
use quark_core::envelope::TellId;
use quark_core::journal::{JournalWrite, Snapshot};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::log::copy;
use super::{HASTY, no_floor, open, open_hasty, settled};
use crate::store::conformance::{accept, actor, commit, entry, outbox_ids, tell, write};
use crate::store::redb::log::Bounds;
use crate::store::redb::queue::QUEUE_WRITES_MAX;
use crate::store::redb::segment::{Hook, Step};
use crate::store::redb::space::Load;
use crate::store::redb::{Below, RedbStore};
use crate::store::{Claim, Deployment, Store, StoreError, StoreHealth};

/// Writes the e-tag into two values and an event, sends one tell and handles the one before; some take a snapshot.
fn next(claim: &mut Claim) -> quark_core::commit::Commit {
    let mark = (claim.etag + 1).to_be_bytes();
    let mut next = write(&actor("a"), claim, &[("first", Some(&mark)), ("last", Some(&mark))]);
    next.write.tells = vec![tell("b", &mark)];
    next.write.handled = (claim.etag > 0).then(|| sent(claim.etag));
    claim.etag += 1;
    let snapshot =
        claim.etag.is_multiple_of(2).then(|| Snapshot { sequence: claim.etag, at_ms: 0, bytes: mark.into() });
    let entries = vec![entry(claim.etag, &mark)];
    next.write.journal = Some(Box::new(JournalWrite { entries, snapshot, drop_through: claim.etag / 3 }));
    next
}

fn sent(etag: u64) -> TellId {
    TellId { from: Some(actor("a")), sequence: etag << 12 }
}

/// An answer; a store that opens its files again gives it a little later.
macro_rules! answered {
    ($ask:expr) => {{
        let mut tries = 0;
        loop {
            match $ask.await {
                Err(StoreError::Unavailable { .. }) if tries < 500 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answer => break answer.unwrap(),
            }
        }
    }};
}

/// Every state that `next` can leave; gives its e-tag.
async fn whole(store: &dyn Store) -> u64 {
    let Some(stored) = answered!(store.read(&actor("a"))) else { return 0 };
    let mark = stored.etag.to_be_bytes();
    assert!(stored.values["first"][..] == mark && stored.values["last"][..] == mark, "a torn commit");
    // Each read is of its own moment, and others write meanwhile.
    let page = answered!(store.journal(&actor("a"), stored.etag.saturating_sub(50), 1000));
    let (first, last) = (page[0].sequence, page[page.len() - 1].sequence);
    assert!(page.iter().map(|entry| entry.sequence).eq(first..=last), "an event is lost or doubled");
    assert!(first <= stored.etag || last / 3 >= stored.etag, "dropped too early");
    assert!(last >= stored.etag, "the last event is lost");
    let snapshot = answered!(store.journal_snapshot(&actor("a")));
    let snapshot = snapshot.map_or(0, |snapshot| snapshot.sequence);
    assert!(snapshot >= last / 2 * 2, "a snapshot is lost");
    stored.etag
}

type Copies = Arc<Mutex<Vec<(Step, u64, TempDir)>>>;

/// Copies the folder before each step, as a kill there would leave it.
fn copying(folder: &Path, acknowledged: &Arc<AtomicU64>) -> (Hook, Copies) {
    let copies = Copies::default();
    let (folder, into, acknowledged) = (folder.to_owned(), Arc::clone(&copies), Arc::clone(acknowledged));
    let hook = move |step| {
        into.lock().push((step, acknowledged.load(Ordering::SeqCst), copy(&folder)));
        Ok(())
    };
    (Arc::new(hook), copies)
}

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (hook, copies) = copying(folder.path(), &acknowledged);
    let store = open_hasty(folder.path(), hook);
    let mut claim = store.claim(&actor("a")).await.unwrap();
    // One thing at a time, so that each copy is of one moment.
    for round in 1..=6 {
        commit(&store, next(&mut claim)).await.unwrap();
        acknowledged.store(claim.etag, Ordering::SeqCst);
        if round % 3 == 0 {
            settled(&store).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    store.close().await;
    let copies = std::mem::take(&mut *copies.lock());
    for step in [Step::Write, Step::Sync, Step::Checkpoint, Step::Checkpointed, Step::Rename, Step::SyncFolder] {
        assert!(copies.iter().any(|(taken, ..)| *taken == step), "no crash before {step:?}");
    }
    for (nth, (step, acknowledged, left)) in copies.iter().enumerate() {
        // The start after the crash may crash too, at each of its steps.
        let (hook, again) = copying(left.path(), &AtomicU64::new(0).into());
        let below = Below { open_file: Box::new(|file: &Path| redb::Database::open(file)), hook, bounds: HASTY };
        let store = RedbStore::open_with(left.path(), no_floor(), below).unwrap();
        let etag = whole(&store).await;
        let context = format!("a crash before {step:?}, the {nth}th step");
        assert!((*acknowledged..=acknowledged + 1).contains(&etag), "{etag} for {acknowledged}: {context}");
        assert_eq!(outbox_ids(&store).await, Vec::from_iter((etag > 0).then(|| sent(etag))), "{context}");
        let starts = std::mem::take(&mut *again.lock());
        store.close().await;
        // All of them for some crashes, since they are many.
        for (second, _, left) in starts.iter().skip(nth % 4).step_by(4) {
            let store = open(left.path());
            assert_eq!(whole(&store).await, etag, "{context}, then one before {second:?}");
            store.close().await;
        }
        let store = open(left.path());
        assert_eq!(whole(&store).await, etag, "{context}, opened again");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_beside_checkpoints_never_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open_hasty(folder.path(), Arc::new(|_| Ok(()))));
    let ended = Arc::new(AtomicBool::new(false));
    let mut claim = store.claim(&actor("a")).await.unwrap();
    commit(store.as_ref(), next(&mut claim)).await.unwrap();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, ended) = (Arc::clone(&store), Arc::clone(&ended));
            tokio::spawn(async move {
                let (mut last, mut reads) = (0, 0);
                while !ended.load(Ordering::SeqCst) {
                    let etag = whole(store.as_ref()).await;
                    assert!(etag >= last, "{etag} after {last}");
                    let rows = outbox_ids(store.as_ref()).await;
                    assert!(rows.len() == 1 && rows[0] >= sent(etag), "{rows:?} after e-tag {etag}");
                    assert_eq!(store.keys(&actor("a").kind, None, 9).await.unwrap(), [actor("a").key]);
                    (last, reads) = (etag, reads + 1);
                    tokio::task::yield_now().await;
                }
                reads
            })
        })
        .collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        commit(store.as_ref(), next(&mut claim)).await.unwrap();
        if claim.etag.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    }
    ended.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 10);
    }
    assert_eq!(whole(store.as_ref()).await, claim.etag);
    store.close().await;
}

/// A hook that waits at a checkpoint while it is told to.
fn holding(hold: &Arc<AtomicBool>) -> Hook {
    let hold = Arc::clone(hold);
    Arc::new(move |step| {
        while step == Step::Checkpoint && hold.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_beside_a_checkpoint_until_there_is_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(true));
    let store = open_hasty(folder.path(), holding(&hold));
    let mut claim = store.claim(&actor("a")).await.unwrap();
    for _ in 0..40 {
        commit(&store, next(&mut claim)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(store.shared.view.read().as_ref().unwrap().sealed.is_some(), "a checkpoint is held up");
    assert_eq!(whole(&store).await, 40, "and nobody waited for it");
    let (mut outcomes, many) = (Vec::new(), 4 * QUEUE_WRITES_MAX);
    for _ in 0..many {
        let (done, outcome) = oneshot::channel();
        store.accept(tell("b", &[1; 100]), Box::new(|ended| done.send(ended).unwrap()));
        outcomes.push(outcome);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let rows = store.shared.view.read().as_ref().unwrap().active.rows();
    assert!(rows <= HASTY.rows_max + QUEUE_WRITES_MAX, "{rows} rows are in memory");
    hold.store(false, Ordering::SeqCst);
    let (mut landed, mut refused) = (0, 0);
    for outcome in outcomes {
        match outcome.await.unwrap() {
            Ok(_) => landed += 1,
            Err(CommitError::Unavailable { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && landed > QUEUE_WRITES_MAX, "{landed} landed, {refused} were refused");
    store.close().await;
    let store = open(folder.path());
    let mut rows = 0;
    let mut after = None;
    while let Some((last, _)) = {
        let page = store.outbox(after.as_ref(), 1000).await.unwrap();
        rows += page.len();
        page.into_iter().last()
    } {
        after = Some(last);
    }
    assert_eq!(rows, landed + 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_do_not_wait_for_a_deploy_and_it_is_durable_when_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(true));
    let store = open_hasty(folder.path(), holding(&hold));
    let mut claim = store.claim(&actor("a")).await.unwrap();
    commit(&store, next(&mut claim)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let deployment =
        Deployment { name: "n".into(), version: 1, hash: "h".into(), manifest: String::new(), at_ms: 1, kinds: vec![] };
    let (done, mut deployed) = oneshot::channel();
    store.deploy(deployment.clone(), (*b"component").into(), Box::new(|ended| done.send(ended).unwrap()));
    commit(&store, next(&mut claim)).await.unwrap();
    assert!(deployed.try_recv().is_err(), "it waits for the checkpoint");
    assert_eq!(store.deployments().await.unwrap(), []);
    hold.store(false, Ordering::SeqCst);
    deployed.await.unwrap().unwrap();
    assert_eq!(store.deployments().await.unwrap(), std::slice::from_ref(&deployment));
    settled(&store).await;
    let left = copy(folder.path());
    store.close().await;
    let store = open(left.path());
    assert_eq!(store.deployments().await.unwrap(), [deployment]);
    assert_eq!(store.component("h").await.unwrap().as_deref(), Some(&b"component"[..]));
    assert_eq!(whole(&store).await, 2);
    store.close().await;
}

#[tokio::test]
async fn rows_gone_in_the_overlay_do_not_end_a_page() {
    const GONE: usize = 5000;
    let folder = tempfile::tempdir().unwrap();
    let quiet = Bounds { quiet: Duration::from_millis(50), ..Bounds::DEFAULT };
    let open_file = Box::new(|file: &Path| redb::Database::open(file));
    let below = Below { open_file, hook: Arc::new(|_| Ok(())), bounds: quiet };
    let store = RedbStore::open_with(folder.path(), no_floor(), below).unwrap();
    let accepted: Vec<_> = (0..GONE).map(|_| accept(&store, tell("b", b"x"))).collect();
    let ids: Vec<_> = futures_util::future::join_all(accepted).await.into_iter().map(Result::unwrap).collect();
    settled(&store).await;
    let last = accept(&store, tell("b", b"last")).await.unwrap();
    let discards = ids.iter().skip(1).map(|id| {
        let (done, outcome) = oneshot::channel();
        store.discard(id.clone(), Box::new(|ended| done.send(ended).unwrap()));
        outcome
    });
    for outcome in discards.collect::<Vec<_>>() {
        outcome.await.unwrap().unwrap();
    }
    assert_eq!(outbox_ids(&store).await, [ids[0].clone()], "a page ends where the next step begins");
    let rest = store.outbox(Some(&ids[0]), 10).await.unwrap();
    assert!(rest.iter().map(|(id, _)| id).eq([&last]));
    assert_eq!(store.outbox(Some(&last), 10).await.unwrap(), []);
    store.close().await;
}

/// A hook that fails at that step while it is told to.
fn failing(at: Step, fails: &Arc<AtomicBool>, kind: io::ErrorKind) -> Hook {
    let fails = Arc::clone(fails);
    Arc::new(move |step| if step == at && fails.load(Ordering::SeqCst) { Err(kind.into()) } else { Ok(()) })
}

#[tokio::test]
async fn a_fault_at_any_step_loses_nothing_and_mends_itself() {
    let steps = [Step::Write, Step::Sync, Step::Checkpoint, Step::Checkpointed, Step::Rename, Step::SyncFolder];
    for at in steps {
        let folder = tempfile::tempdir().unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let store = open_hasty(folder.path(), failing(at, &fails, io::ErrorKind::Other));
        let mut claim = store.claim(&actor("a")).await.unwrap();
        let mut told = 0;
        for round in 0..30 {
            fails.store(round % 10 > 5, Ordering::SeqCst);
            match commit(&store, next(&mut claim)).await {
                Ok(()) => told = claim.etag,
                Err(CommitError::Unknown | CommitError::Unavailable { .. }) => {
                    fails.store(false, Ordering::SeqCst);
                    well(&store).await;
                    claim = store.claim(&actor("a")).await.unwrap();
                    assert!((told..=told + 1).contains(&claim.etag), "{at:?}: {} after {told}", claim.etag);
                    told = claim.etag;
                }
                Err(error) => panic!("{at:?}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        fails.store(false, Ordering::SeqCst);
        well(&store).await;
        assert_eq!(whole(&store).await, told, "{at:?}");
        store.close().await;
        let store = open(folder.path());
        assert_eq!(whole(&store).await, told, "{at:?}, opened again");
        store.close().await;
    }
}

#[tokio::test]
async fn a_checkpoint_waits_for_room_and_readers_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let hold = Arc::new(AtomicBool::new(true));
    let store = open_hasty(folder.path(), holding(&hold));
    let mut claim = store.claim(&actor("a")).await.unwrap();
    // More commits than one checkpoint takes; the first of those is held up while there is room still.
    while store.shared.view.read().as_ref().unwrap().sealed.is_none() {
        commit(&store, next(&mut claim)).await.unwrap();
    }
    for _ in 0..3 {
        commit(&store, next(&mut claim)).await.unwrap();
    }
    let told = claim.etag;
    store.shared.space.pretend(Some(0));
    hold.store(false, Ordering::SeqCst);
    let refused = commit(&store, next(&mut claim)).await;
    assert!(matches!(refused, Err(CommitError::Unavailable { .. })), "{refused:?}");
    // Nothing shows that a checkpoint does not begin, but time in which it would.
    tokio::time::sleep(HASTY.quiet * 40).await;
    assert!(!store.shared.view.read().as_ref().unwrap().active.is_empty() || store.shared.desk.is_short());
    assert_eq!(whole(&store).await, told, "what was logged can be read, and so can the tables");
    let StoreHealth::ReadOnly(why) = store.health() else { panic!("it says nothing of it") };
    assert!(why.contains("0 bytes are free") && why.contains("make room"), "it is not being opened again: {why}");
    let left = copy(folder.path());
    store.shared.space.pretend(None);
    settled(&store).await;
    assert_eq!(store.health(), StoreHealth::Writable);
    let mut claim = store.claim(&actor("a")).await.unwrap();
    assert_eq!(claim.etag, told);
    commit(&store, next(&mut claim)).await.unwrap();
    // It ends without room too, and what it leaves is whole.
    store.shared.space.pretend(Some(0));
    store.close().await;
    for (folder, etag) in [(folder.path(), told + 1), (left.path(), told)] {
        let store = open(folder);
        assert_eq!(whole(&store).await, etag);
        store.close().await;
    }
}

#[tokio::test]
async fn of_a_batch_as_much_is_taken_as_there_is_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path(), no_floor()).unwrap();
    let space = &store.shared.space;
    // Room for some of them, in the log, in the tables, and for the files of a start.
    let one = space.of_tables(Load { bytes: 200_000, rows: 3 }) - space.of_tables(Load { bytes: 0, rows: 1 });
    space.pretend(Some(3 * 1024 * 1024 + 4 * one + 1024 * 1024));
    let mut outcomes = Vec::new();
    for n in 0..10 {
        let of = actor(&format!("a{n}"));
        let claim = store.claim(&of).await.unwrap();
        let (done, outcome) = oneshot::channel();
        let commit = write(&of, &claim, &[("large", Some(&[1; 200_000]))]);
        store.commit(commit, Box::new(|ended| done.send(ended).unwrap()));
        outcomes.push(outcome);
    }
    let mut landed = 0;
    for outcome in outcomes {
        match outcome.await.unwrap() {
            Ok(_) => landed += 1,
            Err(error) => assert!(matches!(error, CommitError::Unavailable { .. }), "{error}"),
        }
    }
    assert!((1..10).contains(&landed), "{landed} landed");
    // What is there was not much, and so it needs no more than it was let in for.
    settled(&store).await;
    space.pretend(None);
    assert_eq!(store.health(), StoreHealth::Writable);
    store.close().await;
}

#[tokio::test]
async fn a_commit_of_many_rows_is_weighed_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path(), no_floor()).unwrap();
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    // Many rows of few bytes cost no more pages than the tables have: little here.
    store.shared.space.pretend(Some(7 * 1024 * 1024));
    let mut many = write(&a, &claim, &[("n", Some(b"1"))]);
    many.write.tells = (0..2_000).map(|_| tell("b", b"x")).collect();
    commit(&store, many).await.unwrap();
    claim.etag += 1;
    settled(&store).await;
    commit(&store, write(&a, &claim, &[("n", Some(b"2"))])).await.unwrap();
    assert_eq!(store.health(), StoreHealth::Writable);
    store.close().await;
}

async fn well(store: &RedbStore) {
    for _ in 0..500 {
        if store.health() == StoreHealth::Writable {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not recover: {:?}", store.health());
}

#[tokio::test]
async fn a_full_disk_refuses_and_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let hook = failing(Step::Grow, &fails, io::ErrorKind::StorageFull);
    let below = Below { open_file: Box::new(|file: &Path| redb::Database::open(file)), hook, bounds: Bounds::DEFAULT };
    let store = RedbStore::open_with(folder.path(), no_floor(), below).unwrap();
    let mut claim = store.claim(&actor("a")).await.unwrap();
    commit(&store, next(&mut claim)).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    let large = write(&actor("a"), &claim, &[("large", Some(&[1; 3_000_000]))]);
    assert!(matches!(commit(&store, large.clone()).await, Err(CommitError::Unavailable { .. })));
    assert_eq!(store.health(), StoreHealth::Writable, "smaller ones still have room");
    assert_eq!(store.claim(&actor("a")).await.unwrap().etag, 1);
    let mut claim = store.claim(&actor("a")).await.unwrap();
    commit(&store, next(&mut claim)).await.unwrap();
    fails.store(false, Ordering::SeqCst);
    let large = write(&actor("a"), &claim, &[("large", Some(&[1; 3_000_000]))]);
    commit(&store, large).await.unwrap();
    store.close().await;
    let store = open(folder.path());
    assert_eq!(store.claim(&actor("a")).await.unwrap().etag, 3);
    store.close().await;
}
