//! All activations of this silo.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;
use quark_core::id::ActorId;

use crate::activation::Activation;

/// Parts of the table with a lock each.
const SHARDS: usize = 64;
/// Of how many activations the one that was used longest ago makes room.
const SAMPLE: usize = 24;

type Shard = Mutex<HashTable<Arc<Activation>>>;

/// All activations of this silo, by actor.
pub(crate) struct Catalog {
    shards: Vec<Shard>,
    hasher: RandomState,
    /// Places taken by live instances, or by ones being made.
    live: Arc<AtomicUsize>,
    capacity: usize,
    hand: AtomicU64,
}

/// A live instance's place; free again when this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Catalog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            live: Arc::default(),
            capacity,
            hand: AtomicU64::new(0),
        }
    }

    /// Hashes the key alone: kinds are few, and only the shard and the bucket depend on it. The
    /// hasher's keys are random, so that nobody can choose keys that collide.
    fn shard(&self, id: &ActorId) -> (u64, &Shard) {
        let hash = self.hasher.hash_one(&id.key);
        // The table uses the upper and the lower bits.
        (hash, &self.shards[usize::try_from(hash >> 24).unwrap_or(0) % SHARDS])
    }

    pub(crate) fn get(&self, id: &ActorId) -> Option<Arc<Activation>> {
        let (hash, shard) = self.shard(id);
        shard.lock().find(hash, |activation| activation.id == *id).cloned()
    }

    pub(crate) fn find_or_start(&self, id: &ActorId, start: impl FnOnce() -> Arc<Activation>) -> Arc<Activation> {
        let (hash, shard) = self.shard(id);
        let mut shard = shard.lock();
        let rehash = |activation: &Arc<Activation>| self.hasher.hash_one(&activation.id.key);
        match shard.entry(hash, |activation| activation.id == *id, rehash) {
            Entry::Occupied(there) => there.get().clone(),
            Entry::Vacant(free) => free.insert(start()).get().clone(),
        }
    }

    /// Forgets an activation that is over, unless another one stands in its place by now.
    pub(crate) fn remove(&self, activation: &Activation) {
        let (hash, shard) = self.shard(&activation.id);
        let mut shard = shard.lock();
        if let Ok(there) = shard.find_entry(hash, |now| std::ptr::eq(&raw const **now, activation)) {
            there.remove();
        }
    }

    /// Takes a place for a live instance; none when all are taken.
    pub(crate) fn take_place(&self) -> Option<Place> {
        let take = |live| (live < self.capacity).then_some(live + 1);
        self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Place(self.live.clone()))
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Some activations, the one used longest ago first: a sample, since a total order would cost
    /// every message a write to a shared list.
    pub(crate) fn oldest(&self) -> Vec<Arc<Activation>> {
        let mut sample: Vec<Arc<Activation>> = Vec::with_capacity(SAMPLE);
        for _ in 0..SHARDS {
            let at = usize::try_from(self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS as u64).unwrap_or(0);
            let room = SAMPLE - sample.len();
            let shard = self.shards[at].lock();
            // The table's own order is random for every process, which is all that is needed.
            sample.extend(shard.iter().take(room.min(SAMPLE / 4)).cloned());
            if sample.len() >= SAMPLE {
                break;
            }
        }
        sample.sort_by_key(|activation| activation.last_used.load(Ordering::Relaxed));
        sample
    }

    /// Calls `each` for every activation, one shard at a time.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Arc<Activation>)) {
        for shard in &self.shards {
            let activations: Vec<Arc<Activation>> = shard.lock().iter().cloned().collect();
            activations.iter().for_each(&mut each);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}
