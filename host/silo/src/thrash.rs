//! Actors that are put to sleep for room and woken again soon: more are in use than there is room
//! for, and the silo does little but wake them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quark_core::time::Time;

/// An actor that is woken this soon after it was put to sleep for room was needed still. As long is
/// the window in which such actors are counted.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// So many in a window are thrashing, if they are this part of those that were put to sleep.
const REWOKEN_MIN: u64 = 50;
const REWOKEN_PART: u64 = 4;
/// How many that were put to sleep are remembered; later ones take the places of earlier ones.
const REMEMBERED: usize = 65_536;
/// How often the log says so at most.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What happened in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Put to sleep for room.
    pub(crate) evicted: u64,
    /// Woken again within [`WINDOW`].
    pub(crate) rewoken: u64,
}

impl Window {
    /// Of very many that were put to sleep, only some are remembered and can be seen to come back.
    fn is_thrashing(self) -> bool {
        let seen = self.evicted.min(REMEMBERED as u64);
        self.rewoken >= REWOKEN_MIN && self.rewoken * REWOKEN_PART >= seen
    }
}

/// Tells whether a silo thrashes. Actors are known by a hash.
#[derive(Default)]
pub(crate) struct Thrash {
    /// Whether any was ever put to sleep for room: else there is nothing to look up.
    any: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Hashes, with when they were put to sleep; allocated when the first one is.
    asleep: Vec<(u64, Time)>,
    since: Time,
    now: Window,
    before: Window,
    said: Option<Time>,
}

impl Seen {
    /// Begins a new window when the running one is over.
    fn roll(&mut self, now: Time) {
        if now < self.since.after(WINDOW) {
            return;
        }
        // After a pause the window before was a quiet one.
        self.before = if now < self.since.after(WINDOW * 2) { self.now } else { Window::default() };
        self.now = Window::default();
        self.since = now;
    }
}

impl Thrash {
    /// An actor was put to sleep for room.
    pub(crate) fn evicted(&self, actor: u64, now: Time) {
        self.any.store(true, Ordering::Relaxed);
        let mut seen = self.seen.lock();
        seen.roll(now);
        seen.now.evicted += 1;
        if seen.asleep.is_empty() {
            seen.asleep = vec![(0, Time(0)); REMEMBERED];
        }
        seen.asleep[place(actor)] = (actor, now);
    }

    /// Whether anything was put to sleep for room: before that nothing can be woken too soon.
    pub(crate) fn is_watching(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// An actor was woken; whether that was soon after it was put to sleep for room.
    pub(crate) fn woken(&self, actor: u64, now: Time) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let mut seen = self.seen.lock();
        seen.roll(now);
        let (known, at) = seen.asleep[place(actor)];
        let soon = known == actor && now < at.after(WINDOW);
        if soon {
            seen.asleep[place(actor)] = (0, Time(0));
            seen.now.rewoken += 1;
        }
        soon
    }

    /// The window in which the silo thrashes, or did just now.
    pub(crate) fn thrashes(&self, now: Time) -> Option<Window> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut seen = self.seen.lock();
        seen.roll(now);
        [seen.now, seen.before].into_iter().find(|window| window.is_thrashing())
    }

    /// The same, but not again for a while: for the log.
    pub(crate) fn to_say(&self, now: Time) -> Option<Window> {
        let window = self.thrashes(now)?;
        let mut seen = self.seen.lock();
        if seen.said.is_some_and(|said| now < said.after(SAY_EVERY)) {
            return None;
        }
        seen.said = Some(now);
        Some(window)
    }
}

fn place(actor: u64) -> usize {
    usize::try_from(actor % REMEMBERED as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(1_000_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn actors_that_come_back_at_once_are_thrashing() {
        let thrash = Thrash::default();
        for actor in 0..REWOKEN_MIN {
            assert_eq!(thrash.thrashes(at(actor)), None);
            thrash.evicted(actor, at(actor));
            assert!(thrash.woken(actor, at(actor + 5_000)));
            assert!(!thrash.woken(actor, at(actor + 5_000)), "it is counted once");
        }
        let window = Window { evicted: REWOKEN_MIN, rewoken: REWOKEN_MIN };
        assert_eq!(thrash.thrashes(at(6_000)), Some(window));
        assert_eq!((thrash.to_say(at(6_000)), thrash.to_say(at(7_000))), (Some(window), None), "said once");
        assert_eq!(thrash.thrashes(at(12_000)), Some(window), "the window before counts too");
        assert_eq!(thrash.thrashes(at(40_000)), None, "and is over then");
    }

    #[test]
    fn actors_that_stay_away_are_not() {
        let thrash = Thrash::default();
        for actor in 0..1_000 {
            thrash.evicted(actor, at(0));
        }
        for actor in 0..REWOKEN_MIN {
            assert!(thrash.woken(actor, at(1)));
        }
        assert_eq!(thrash.thrashes(at(1)), None, "few of those that were put to sleep came back");
        assert!(!thrash.woken(999, at(10_000)), "that was long after");
        assert!(!thrash.woken(5_000, at(1)), "it was never put to sleep");
    }
}
