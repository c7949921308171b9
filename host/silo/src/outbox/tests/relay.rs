//! The relay against a store with a row that cannot be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use quark_core::commit::Commit;
use quark_engine::Cache;

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

    fn commit(&self, commit: Commit, done: Done<()>) {
        self.store.commit(commit, done);
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

#[tokio::test]
async fn rows_before_one_that_cannot_be_read_go_on_and_the_store_is_left_in_peace() {
    const ROWS: usize = 100;
    const GOOD: usize = 77;
    let store = MemoryStore::new();
    let mut ids = Vec::new();
    for _ in 0..ROWS {
        let (done, accepted) = tokio::sync::oneshot::channel();
        // No such kind is deployed, so it stays with the relay.
        store.accept(tell("k"), Box::new(move |id| drop(done.send(id))));
        ids.push(accepted.await.unwrap().unwrap());
    }
    let store = Arc::new(Scratched { store, row: ids[GOOD].clone(), asked: AtomicUsize::new(0) });
    let config = SiloConfig { capacity: Some(2), ..SiloConfig::default() };
    let silo = Silo::start(config, store.clone(), Cache::none()).await.unwrap();
    let all_good = async {
        while silo.0.outbox.held() < GOOD {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_good).await.expect("those before it are taken up");
    let asked = store.asked.load(Ordering::Relaxed);
    for _ in 0..1000 {
        silo.0.outbox.look();
        tokio::task::yield_now().await;
    }
    assert_eq!(silo.0.outbox.held(), GOOD);
    let more = store.asked.load(Ordering::Relaxed) - asked;
    assert!(more <= 20, "it was asked {more} times more for a row that is not mended yet");
}
