//! All activations of this silo.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;
use quark_core::id::ActorId;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::activation::Activation;
use crate::capacity::{Budget, INSTANCES_MIN, Pool, Share};

/// Parts of the table with a lock each.
const SHARDS: usize = 64;
/// Of how many activations the one that was used longest ago makes room.
const SAMPLE: usize = 24;
/// How many of a shard are looked at for one that is wanted, where few are.
const LOOKED_AT_MAX: usize = 4_096;

type Shard = Mutex<HashTable<Arc<Activation>>>;

/// All activations of this silo, by actor.
pub(crate) struct Catalog {
    shards: Vec<Shard>,
    hasher: RandomState,
    budget: Budget,
    places: Arc<Places>,
    /// Mappings that engines take, whatever lives.
    engines: AtomicU64,
    hand: AtomicU64,
}

#[derive(Default)]
struct Places {
    taken: Mutex<Taken>,
    /// One was given back.
    freed: Notify,
}

/// What live instances take, with those being made.
#[derive(Default)]
struct Taken {
    instances: u64,
    slots: [u32; 3],
    mappings: u64,
    memory: u64,
}

/// What there is too little of for one more instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    Instances,
    Slots(Pool),
    Mappings,
    Memory,
}

impl Short {
    /// Whether the end of an instance with that share helps.
    pub(crate) fn is_eased_by(self, share: Share) -> bool {
        match self {
            Self::Instances | Self::Memory => true,
            Self::Slots(pool) => share.pool == pool,
            Self::Mappings => share.mappings > 0,
        }
    }
}

/// A live instance's place; free again when this is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    share: Share,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.instances -= 1;
        taken.slots[self.share.pool as usize] -= 1;
        taken.mappings -= self.share.mappings;
        taken.memory -= self.share.memory;
        drop(taken);
        self.places.freed.notify_waiters();
    }
}

impl Catalog {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            budget,
            places: Arc::default(),
            engines: AtomicU64::new(0),
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

    /// What an actor is known by where a few that are mistaken for one another do no harm.
    pub(crate) fn hash(&self, id: &ActorId) -> u64 {
        self.hasher.hash_one(id)
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

    /// Takes a place for a live instance; what it is short of when there is none.
    pub(crate) fn take_place(&self, share: Share) -> Result<Place, Short> {
        let Budget { instances, slots, mappings, memory } = self.budget;
        let pool = share.pool as usize;
        let mut taken = self.places.taken.lock();
        if taken.instances >= instances {
            return Err(Short::Instances);
        }
        if taken.slots[pool] >= slots[pool] {
            return Err(Short::Slots(share.pool));
        }
        // What takes none of a resource has a place whatever the others take.
        let few = taken.instances < INSTANCES_MIN;
        let with = self.engines.load(Ordering::Relaxed) + taken.mappings + share.mappings;
        if share.mappings > 0 && with > mappings && !few {
            return Err(Short::Mappings);
        }
        if taken.memory + share.memory > memory && !few {
            return Err(Short::Memory);
        }
        taken.instances += 1;
        taken.slots[pool] += 1;
        taken.mappings += share.mappings;
        taken.memory += share.memory;
        Ok(Place { places: self.places.clone(), share })
    }

    /// A place that is given back from now on.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.places.freed.notified()
    }

    /// Mappings that the engines take by now.
    pub(crate) fn engines_take(&self, mappings: u64) {
        self.engines.store(mappings, Ordering::Relaxed);
    }

    /// Whether so many mappings are free.
    pub(crate) fn has_mappings(&self, wanted: u64) -> bool {
        self.engines.load(Ordering::Relaxed) + self.places.taken.lock().mappings + wanted <= self.budget.mappings
    }

    pub(crate) fn live(&self) -> usize {
        usize::try_from(self.places.taken.lock().instances).unwrap_or(usize::MAX)
    }

    /// The most live instances with that share, if there are no others.
    pub(crate) fn holds(&self, share: Share) -> u64 {
        let Budget { instances, slots, mappings, memory } = self.budget;
        let free = mappings.saturating_sub(self.engines.load(Ordering::Relaxed));
        let by_mappings = free.checked_div(share.mappings).unwrap_or(u64::MAX);
        let most = by_mappings.min(memory / share.memory).max(INSTANCES_MIN);
        most.min(instances).min(u64::from(slots[share.pool as usize]))
    }

    /// Some activations that are wanted, the one used longest ago first: a sample, since a total
    /// order would cost every message a write to a shared list.
    pub(crate) fn oldest(&self, wanted: impl Fn(&Activation) -> bool) -> Vec<Arc<Activation>> {
        let mut sample: Vec<Arc<Activation>> = Vec::with_capacity(SAMPLE);
        for _ in 0..SHARDS {
            let at = usize::try_from(self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS as u64).unwrap_or(0);
            let room = (SAMPLE - sample.len()).min(SAMPLE / 4);
            let shard = self.shards[at].lock();
            // The table's own order is random for every process, which is all that is needed.
            sample.extend(shard.iter().take(LOOKED_AT_MAX).filter(|it| wanted(it)).take(room).cloned());
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

#[cfg(test)]
mod tests;
