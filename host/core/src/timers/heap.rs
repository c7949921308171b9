//! Which of many slots is due next: a binary heap that knows where each slot stands, so that one can be
//! taken out of its middle and nothing is left behind.

use crate::time::Time;

/// The place of a slot that is not in the heap.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<(Time, u32)>,
    /// By slot.
    places: Vec<u32>,
}

impl Heap {
    /// The slot that is due next, and when.
    pub(super) fn first(&self) -> Option<(Time, u32)> {
        self.entries.first().copied()
    }

    /// Puts a slot in that is not there.
    pub(super) fn push(&mut self, due: Time, slot: u32) {
        let at = slot as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, NOWHERE);
        }
        debug_assert_eq!(self.places[at], NOWHERE, "a slot is in the heap once");
        self.entries.push((due, slot));
        self.rise(self.entries.len() - 1);
    }

    /// Takes a slot out, if it is there.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize).filter(|place| **place != NOWHERE) else { return };
        let at = std::mem::replace(place, NOWHERE) as usize;
        let Some(last) = self.entries.pop() else { return };
        if at < self.entries.len() {
            self.entries[at] = last;
            let at = self.rise(at);
            self.sink(at);
        }
    }

    /// Moves the entry up to where it belongs, and notes its place.
    fn rise(&mut self, mut at: usize) -> usize {
        let entry = self.entries[at];
        while at > 0 {
            let above = (at - 1) / 2;
            if self.entries[above].0 <= entry.0 {
                break;
            }
            self.put(at, self.entries[above]);
            at = above;
        }
        self.put(at, entry);
        at
    }

    /// The same downwards.
    fn sink(&mut self, mut at: usize) {
        let entry = self.entries[at];
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let Some(mut below) = self.entries.get(left).map(|_| left) else { break };
            if self.entries.get(right).is_some_and(|it| it.0 < self.entries[left].0) {
                below = right;
            }
            if entry.0 <= self.entries[below].0 {
                break;
            }
            self.put(at, self.entries[below]);
            at = below;
        }
        self.put(at, entry);
    }

    fn put(&mut self, at: usize, entry: (Time, u32)) {
        self.entries[at] = entry;
        // There are fewer timers than a `u32` counts.
        self.places[entry.1 as usize] = u32::try_from(at).unwrap_or(NOWHERE);
    }
}
