//! Who may write which actor, and the numbers that tell claims and tells apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quark_core::id::ActorId;
use tokio::sync::watch;

/// The newest claim of every actor that is awake.
///
/// The invariant: *no write of an older activation is applied after a newer one loaded.* A check
/// of the generation alone does not give it, because a batch is checked some milliseconds before
/// it can be read. So the writer marks the actors of its batch in the same step in which it checks
/// their generations, and unmarks them when the batch has landed or failed. A claim first puts its
/// own generation in, so that nothing older passes the check any more; when it then finds the
/// actor marked, an older write did pass, and the claim loads only after that batch ended. An
/// actor whose old activation has no write under way is never marked, so its claim never waits.
#[derive(Debug)]
pub(super) struct Fences {
    actors: Mutex<HashMap<ActorId, Fence>>,
    batch_ended: watch::Sender<()>,
}

#[derive(Debug)]
struct Fence {
    generation: u64,
    /// A write of this actor is in the writer's batch.
    writing: bool,
}

/// The generation of an actor that was released while it was being written. No claim has it.
const NOBODY: u64 = 0;

impl Fences {
    pub(super) fn new() -> Self {
        Self { actors: Mutex::default(), batch_ended: watch::Sender::new(()) }
    }

    /// Fences off all older generations. Also says whether a write of one is under way, which must
    /// end before the caller may load.
    pub(super) fn claim(&self, actor: &ActorId, numbers: &Numbers) -> Option<(u64, bool)> {
        let mut actors = self.actors.lock();
        // Drawn under the lock, so that the last claim is the one with the highest generation.
        let generation = numbers.draw()?;
        if let Some(fence) = actors.get_mut(actor) {
            fence.generation = generation;
            return Some((generation, fence.writing));
        }
        actors.insert(actor.clone(), Fence { generation, writing: false });
        Some((generation, false))
    }

    /// Waits until no write of the actor is under way.
    pub(super) async fn written(&self, actor: &ActorId) {
        let mut batch_ended = self.batch_ended.subscribe();
        while self.actors.lock().get(actor).is_some_and(|fence| fence.writing) {
            if batch_ended.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn release(&self, actor: &ActorId, generation: u64) {
        let mut actors = self.actors.lock();
        if let Some(fence) = actors.get_mut(actor)
            && fence.generation == generation
        {
            fence.generation = NOBODY;
            if !fence.writing {
                actors.remove(actor);
            }
        }
    }

    /// The writer's door: whether each of these may be written, and marks those that may.
    pub(super) fn begin<'a>(&self, writes: impl Iterator<Item = Option<(&'a ActorId, u64)>>) -> Vec<bool> {
        let mut actors = self.actors.lock();
        let mut pass = |(actor, generation): (&ActorId, u64)| {
            let fence = actors.get_mut(actor).filter(|fence| fence.generation == generation);
            fence.map(|fence| fence.writing = true).is_some()
        };
        writes.map(|write| write.is_none_or(&mut pass)).collect()
    }

    /// Unmarks the actors of a batch; now its outcome, if it landed, can be read.
    pub(super) fn end<'a>(&self, written: impl Iterator<Item = &'a ActorId>) {
        let mut actors = self.actors.lock();
        for actor in written {
            if let Some(fence) = actors.get_mut(actor) {
                fence.writing = false;
                if fence.generation == NOBODY {
                    actors.remove(actor);
                }
            }
        }
        drop(actors);
        self.batch_ended.send_replace(());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.actors.lock().len()
    }
}

/// Numbers for claims and for tells from outside: they grow, also over restarts, and none is given
/// twice. The upper half is durable (`reserved` in the file), the lower half counts in memory, so
/// drawing one writes nothing.
#[derive(Debug)]
pub(super) struct Numbers {
    next: AtomicU64,
    end: AtomicU64,
}

/// Each durable step reserves two to this power of numbers.
const RESERVE_BITS: u32 = 32;
/// With fewer numbers than this left the writer reserves more with its next batch. At a million
/// draws a second this is half an hour.
const RESERVE_LOW: u64 = 1 << 31;

impl Numbers {
    /// The numbers of the reservation with this index; indices start at 1.
    pub(super) const fn new(reserved: u64) -> Self {
        let first = reserved << RESERVE_BITS;
        Self { next: AtomicU64::new(first), end: AtomicU64::new(first + (1 << RESERVE_BITS)) }
    }

    /// A new number; none when the reservation is used up.
    pub(super) fn draw(&self) -> Option<u64> {
        // Nothing else is ordered by these numbers but the numbers themselves.
        let end = self.end.load(Ordering::Relaxed);
        let above = |next| (next < end).then_some(next + 1);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, above).ok()
    }

    /// The index to reserve when few numbers are left.
    pub(super) fn low(&self) -> Option<u64> {
        let end = self.end.load(Ordering::Relaxed);
        let left = end - self.next.load(Ordering::Relaxed).min(end);
        (left < RESERVE_LOW).then_some(end >> RESERVE_BITS)
    }

    /// Adds the reservation with the index that `low` gave, when that is durable.
    pub(super) fn extend(&self, reserved: u64) {
        self.end.store((reserved + 1) << RESERVE_BITS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_over_reservations_without_a_gap_or_a_repeat() {
        let numbers = Numbers::new(7);
        assert_eq!(numbers.draw(), Some(7 << 32));
        assert_eq!(numbers.low(), None);
        numbers.next.store((8 << 32) - 1, Ordering::Relaxed);
        assert_eq!(numbers.low(), Some(8));
        assert_eq!(numbers.draw(), Some((8 << 32) - 1));
        assert_eq!(numbers.draw(), None, "nothing beyond what is reserved");
        numbers.extend(8);
        assert_eq!(numbers.low(), None);
        assert_eq!(numbers.draw(), Some(8 << 32));
    }
}
