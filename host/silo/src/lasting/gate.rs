//! Which of those that last has the last thread: it rests while there are short turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// For so long after a short turn one processor is left to others like it.
const LEFT_FREE_MS: u64 = 1_000;

/// Which of those that last runs in the last thread.
pub(super) struct Gate {
    /// What lasts now.
    inside: AtomicUsize,
    /// The threads but the last.
    most: AtomicUsize,
    /// The last thread has something to do, or there is none.
    taken: AtomicBool,
    since: Instant,
    /// When the last short turn began: milliseconds from then, and `LEFT_FREE_MS`. 0 when there was none.
    last_short: AtomicU64,
}

impl Gate {
    /// Closed: there are no threads yet.
    pub(super) fn new() -> Self {
        Self {
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            taken: AtomicBool::new(true),
            since: Instant::now(),
            last_short: AtomicU64::new(0),
        }
    }

    /// There are so many threads besides the last one, if there is one.
    pub(super) fn open(&self, most: usize, has_last: bool) {
        self.most.store(most, Ordering::Relaxed);
        self.taken.store(!has_last, Ordering::Relaxed);
    }

    /// A turn begins that should be a short one.
    pub(super) fn note_short(&self, now: Instant) {
        if self.inside.load(Ordering::Relaxed) > 0 {
            self.last_short.store(self.at(now), Ordering::Relaxed);
        }
    }

    fn at(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.since).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(LEFT_FREE_MS)
    }

    /// Whether there was no short turn lately.
    fn is_quiet(&self) -> bool {
        self.at(Instant::now()) >= self.last_short.load(Ordering::Relaxed).saturating_add(LEFT_FREE_MS)
    }
}

/// Work that lasts.
pub(super) struct Inside {
    gate: Arc<Gate>,
    /// It has the last thread.
    last: bool,
}

impl Inside {
    pub(super) fn enter(gate: &Arc<Gate>) -> Self {
        gate.inside.fetch_add(1, Ordering::Relaxed);
        let last = gate.is_quiet() && !gate.taken.swap(true, Ordering::Relaxed);
        Self { gate: gate.clone(), last }
    }

    pub(super) const fn has_last(&self) -> bool {
        self.last
    }

    /// Whether it should go on in another thread.
    pub(super) fn moves(&self) -> bool {
        let gate = &self.gate;
        if self.last {
            return !gate.is_quiet();
        }
        !gate.taken.load(Ordering::Relaxed)
            && gate.inside.load(Ordering::Relaxed) > gate.most.load(Ordering::Relaxed)
            && gate.is_quiet()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(1, Ordering::Relaxed);
        if self.last {
            self.gate.taken.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_those_that_last_has_the_last_thread_while_there_are_no_short_turns() {
        let gate = Arc::new(Gate::new());
        assert!(!Inside::enter(&gate).last, "there is none before the threads are");
        gate.open(1, true);
        let (first, second) = (Inside::enter(&gate), Inside::enter(&gate));
        assert!(first.last && !first.moves() && !second.last && !second.moves());
        drop(first);
        assert!(!second.moves(), "it is alone, so it runs");
        let third = Inside::enter(&gate);
        assert!(third.last);
        gate.note_short(Instant::now());
        assert!(third.moves() && !Inside::enter(&gate).last);
        drop(third);
        let fourth = Inside::enter(&gate);
        assert!(!fourth.last && !second.moves());
        gate.last_short.store(0, Ordering::Relaxed);
        assert!(second.moves(), "the last thread is free, and there is more than one for the others");
    }
}
