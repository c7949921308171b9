//! What only this store does: it comes back after a crash, an error and a full disk.

mod crash;
mod faults;
mod figures;
mod log;
mod checkpoints;
mod opening;
mod random;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quark_core::commit::CommitError;
use tokio::sync::oneshot;

use super::log::Bounds;
use super::queue::{Job, Queue, Reply, Work};
use super::segment::Hook;
use super::{Below, RedbOptions, RedbStore};
use crate::store::conformance::{self, Fresh, actor, commit, outbox_ids, set, tell, values, write};
use crate::store::{Claim, Deployment, Store, StoreHealth};

pub(super) fn no_floor() -> RedbOptions {
    RedbOptions { free_space_floor: 0, cache_bytes: 16 * 1024 * 1024 }
}

pub(super) fn open(folder: &Path) -> RedbStore {
    RedbStore::open(folder, no_floor()).unwrap()
}

/// Checkpoints all the time.
pub(super) const HASTY: Bounds =
    Bounds { bytes: 4096, rows: 16, quiet: Duration::from_millis(5), bytes_max: 64 * 1024, rows_max: 64 };

pub(super) fn open_hasty(folder: &Path, hook: Hook) -> RedbStore {
    let open_file = Box::new(|file: &Path| redb::Database::open(file));
    RedbStore::open_with(folder, no_floor(), Below { open_file, hook, bounds: HASTY }).unwrap()
}

/// Waits until all is in the tables.
pub(super) async fn settled(store: &RedbStore) {
    for _ in 0..1000 {
        if let Ok(view) = &*store.shared.view.read()
            && view.active.is_empty()
            && view.sealed.is_none()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the log is not brought into the tables");
}

fn make_hasty() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(open_hasty(folder.path(), Arc::new(|_| Ok(())))), Box::new(folder))
}

/// The whole suite again, with checkpoints between any two steps.
mod hasty {
    use super::make_hasty;
    use crate::store::conformance;

    conformance::suite!(make_hasty);
}

fn make() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(open(folder.path())), Box::new(folder))
}

conformance::suite!(make);

#[tokio::test]
async fn a_reopening_keeps_everything_and_numbers_grow() {
    let folder = tempfile::tempdir().unwrap();
    let a = actor("a");
    let mut last = (0, None);
    for round in 1..=3u64 {
        let store = open(folder.path());
        let mut claim = store.claim(&a).await.unwrap();
        assert_eq!(claim.etag, round - 1);
        assert!(claim.generation > last.0);
        set(&store, &a, &mut claim, &[(&format!("v{round}"), Some(b"x"))]).await;
        let id = conformance::accept(&store, tell("b", b"x")).await.unwrap();
        assert!(Some(&id) > last.1.as_ref(), "an id from outside is never used again");
        assert_eq!(outbox_ids(&store).await.len() as u64, round);
        let deployment = Deployment {
            name: "n".into(),
            version: round,
            hash: format!("h{round}"),
            manifest: String::new(),
            at_ms: 1,
            kinds: vec![],
        };
        let (done, deployed) = oneshot::channel();
        store.deploy(deployment.clone(), (*b"component").into(), Box::new(|ended| done.send(ended).unwrap()));
        deployed.await.unwrap().unwrap();
        last = (claim.generation, Some(id));
        store.close().await;
        let again = open(folder.path());
        assert_eq!(values(again.read(&a).await.unwrap()).len() as u64, round);
        assert_eq!(again.deployments().await.unwrap(), [deployment]);
        assert!(again.component(&format!("h{round}")).await.unwrap().is_some());
        again.close().await;
    }
}

#[tokio::test]
async fn writes_handed_over_before_closing_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = actor("a");
    let claim = store.claim(&a).await.unwrap();
    let mut outcomes = Vec::new();
    for n in 0..100 {
        let (done, outcome) = oneshot::channel();
        let at = Claim { etag: n, ..claim.clone() };
        store.commit(write(&a, &at, &[("n", Some(&n.to_be_bytes()))]), Box::new(|ended| done.send(ended).unwrap()));
        outcomes.push(outcome);
    }
    store.close().await;
    for outcome in outcomes {
        outcome.await.unwrap().unwrap();
    }
    let again = open(folder.path());
    assert_eq!(again.claim(&a).await.unwrap().etag, 100);
    again.close().await;
}

#[tokio::test]
async fn fences_do_not_outlive_their_claims() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..100 {
        let one = actor(&format!("a{n}"));
        let mut claim = store.claim(&one).await.unwrap();
        set(&store, &one, &mut claim, &[("v", Some(b"x"))]).await;
        let late = write(&one, &claim, &[("v", Some(b"late"))]);
        let (done, outcome) = oneshot::channel();
        store.commit(late, Box::new(|ended| done.send(ended).unwrap()));
        // Against the rules, with a write under way: it may land or be fenced, nothing else.
        store.release(&one, claim.generation);
        assert!(matches!(outcome.await.unwrap(), Ok(false) | Err(CommitError::Fenced)));
    }
    assert_eq!(store.shared.fences.len(), 0);
    store.close().await;
    assert!(store.claim(&actor("a0")).await.is_err());
    assert_eq!(store.shared.fences.len(), 0, "a claim that failed leaves nothing");
}

#[tokio::test]
async fn below_the_floor_writes_are_refused_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path(), RedbOptions { free_space_floor: u64::MAX, ..no_floor() }).unwrap();
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    let refused = commit(&store, write(&a, &claim, &[("v", Some(b"x"))])).await;
    assert!(matches!(refused, Err(CommitError::Unavailable { .. })));
    let StoreHealth::ReadOnly(why) = store.health() else { panic!("not healthy") };
    assert!(why.contains("bytes are free at") && why.contains(&folder.path().display().to_string()), "{why}");
    assert_eq!(store.read(&a).await.unwrap(), None, "reads go on");
    store.shared.space.set_floor(0);
    assert_eq!(store.health(), StoreHealth::Writable);
    set(&store, &a, &mut claim, &[("v", Some(b"x"))]).await;
    store.close().await;
}

#[test]
fn a_full_queue_refuses_in_order() {
    let queue = Queue::new();
    let (told, outcomes) = std::sync::mpsc::channel();
    let discard = |n: u64| {
        let told = told.clone();
        let work = Work::Discard(quark_core::envelope::TellId { from: None, sequence: n });
        queue.push(Job { work, reply: Reply::Unit(Box::new(move |ended| told.send((n, ended)).unwrap())) });
    };
    let room = super::queue::QUEUE_WRITES_MAX as u64;
    (0..room + 10).for_each(discard);
    assert!(outcomes.try_recv().is_err(), "no refusal overtakes what is in front of it");
    let super::queue::Taken::Jobs(jobs) = queue.take(None) else { panic!("nothing taken") };
    for job in jobs {
        let verdict = match &job.work {
            Work::Refused(error) => Err(*error),
            Work::Commit(_)
            | Work::Accept(_)
            | Work::Discard(_)
            | Work::Move(_)
            | Work::Deploy(..)
            | Work::Reserve
            | Work::Reopen { .. } => Ok(0),
        };
        job.answer(verdict);
    }
    for n in 0..room + 10 {
        let (at, ended) = outcomes.try_recv().unwrap();
        assert_eq!((at, ended.is_ok()), (n, n < room));
    }
}

#[test]
fn what_the_store_asks_of_itself_is_asked_once() {
    let queue = Queue::new();
    let ask = || {
        queue.push(Job { work: Work::Reopen { opened: 1 }, reply: Reply::Nobody });
        queue.push(Job { work: Work::Reserve, reply: Reply::Nobody });
    };
    for _ in 0..2 {
        (0..100).for_each(|_| ask());
        let super::queue::Taken::Jobs(jobs) = queue.take(None) else { panic!("nothing taken") };
        assert_eq!(jobs.len(), 2);
    }
}
