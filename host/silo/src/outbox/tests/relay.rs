//! The relay against a store with a row that cannot be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use quark_core::commit::Commit;
use quark_core::reminders::{Fired, Place, Reminder};
use quark_engine::Cache;

use quark_core::journal::{self, Entry};

use super::*;
use crate::config::SiloConfig;
use crate::silo::Silo;
use crate::store::memory::MemoryStore;
use crate::store::{Claim, Deployment, Done, Snapshot, Store, StoreError, StoreHealth};

/// A store of which one row of the outbox is damaged.
struct Scratched {
    store: MemoryStore,
    row: TellId,
    asked: AtomicUsize,
}

impl Store for Scratched {
    fn outbox<'a>(
        &'a self,
        after: Option<&'a TellId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(TellId, Tell)>, StoreError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        async move {
            let page = self.store.outbox(after, limit).await?;
            if page.iter().any(|(id, _)| *id == self.row) {
                return Err(StoreError::Damaged("a tell: scratched".into()));
            }
            Ok(page)
        }
        .boxed()
    }

    fn claim<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.store.claim(actor)
    }

    fn release(&self, actor: &ActorId, generation: u64) {
        self.store.release(actor, generation);
    }

    fn commit(&self, commit: Commit, done: Done<bool>) {
        self.store.commit(commit, done);
    }

    fn move_reminder(&self, fired: Fired, done: Done<bool>) {
        self.store.move_reminder(fired, done);
    }

    fn due<'a>(&'a self, after: Option<&'a Place>, limit: usize) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.store.due(after, limit)
    }

    fn reminders<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.store.reminders(actor)
    }

    fn accept(&self, tell: Tell, done: Done<TellId>) {
        self.store.accept(tell, done);
    }

    fn discard(&self, id: TellId, done: Done<()>) {
        self.store.discard(id, done);
    }

    fn read<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        self.store.read(actor)
    }

    fn journal<'a>(
        &'a self,
        actor: &'a ActorId,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        self.store.journal(actor, first, limit)
    }

    fn journal_snapshot<'a>(
        &'a self,
        actor: &'a ActorId,
    ) -> BoxFuture<'a, Result<Option<journal::Snapshot>, StoreError>> {
        self.store.journal_snapshot(actor)
    }

    fn keys<'a>(
        &'a self,
        kind: &'a KindName,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        self.store.keys(kind, after, limit)
    }

    fn deploy(&self, deployment: Deployment, component: Arc<[u8]>, done: Done<()>) {
        self.store.deploy(deployment, component, done);
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.store.deployments()
    }

    fn earlier_versions(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.store.earlier_versions()
    }

    fn component<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Option<Arc<[u8]>>, StoreError>> {
        self.store.component(hash)
    }

    fn health(&self) -> StoreHealth {
        self.store.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        future::ready(()).boxed()
    }
}

async fn accept(store: &MemoryStore) -> TellId {
    let (done, accepted) = tokio::sync::oneshot::channel();
    // No such kind is deployed, so it stays with the relay.
    store.accept(tell("k"), Box::new(move |id| drop(done.send(id))));
    accepted.await.unwrap().unwrap()
}

async fn start(store: MemoryStore, row: TellId) -> (Arc<Scratched>, Silo) {
    let store = Arc::new(Scratched { store, row, asked: AtomicUsize::new(0) });
    let config = SiloConfig { capacity: Some(2), ..SiloConfig::default() };
    let silo = Silo::start(config, store.clone(), Cache::none()).await.unwrap();
    (store, silo)
}

/// Waits until that many are held, and then sees that no more come.
async fn check_held(silo: &Silo, held: usize) {
    let all = async {
        while silo.0.outbox.held() < held {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("what can be read is taken up");
    for _ in 0..1000 {
        silo.0.outbox.look();
        tokio::task::yield_now().await;
    }
    assert_eq!(silo.0.outbox.held(), held);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_and_all_others_go_on() {
    for damaged in [0, 1, 77, 98, 99] {
        let store = MemoryStore::new();
        let mut ids = Vec::new();
        for _ in 0..100 {
            ids.push(accept(&store).await);
        }
        let (store, silo) = start(store, ids[damaged].clone()).await;
        check_held(&silo, 99).await;
        assert!(!silo.0.outbox.state.lock().wants_page(), "all has been read");
        // And what is told from now on.
        let id = accept(&store.store).await;
        silo.0.outbox.sent(vec![(id, tell("k"))]);
        check_held(&silo, 100).await;
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_found_holds_up_those_behind_it_and_the_store_is_left_in_peace() {
    let store = MemoryStore::new();
    for _ in 0..10 {
        accept(&store).await;
    }
    let sender = actor("s");
    let claim = store.claim(&sender).await.unwrap();
    let write = quark_core::commit::Write { tells: vec![tell("k"); 3], ..Default::default() };
    let commit = Commit { actor: sender, generation: claim.generation, etag: claim.etag + 1, write };
    let row = commit.tell_id(0);
    store.commit(commit, Box::new(|done| assert!(done.is_ok())));
    let (store, silo) = start(store, row).await;
    check_held(&silo, 10).await;
    let asked = store.asked.load(Ordering::Relaxed);
    check_held(&silo, 10).await;
    let more = store.asked.load(Ordering::Relaxed) - asked;
    assert!(more <= 20, "it was asked {more} times more for a row that is not mended yet");
}
