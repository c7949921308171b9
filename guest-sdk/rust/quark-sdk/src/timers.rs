//! Turns that an actor gives itself while it is in memory: its method `on_timer` is called.
//!
//! A timer is gone when the actor leaves memory or traps; start it in `on_activate`, or where it is
//! needed. A turn of a timer never overlaps the one before. More of them, or larger ones, than the contract
//! allows (`wit/timers.wit`) end the turn.

use std::time::Duration;

use crate::context::millis;
pub use crate::wit::timers::stop;

/// Calls `on_timer` once. Replaces the timer of that name.
pub fn once(name: &str, after: Duration, payload: &[u8]) {
    start(name, after, None, payload);
}

/// Calls `on_timer` again and again, for the first time after `each`. Replaces the timer of that name.
pub fn every(name: &str, each: Duration, payload: &[u8]) {
    start(name, each, Some(each), payload);
}

/// Calls `on_timer` after that time, and then again and again if `every` is given. Replaces the timer of
/// that name.
pub fn start(name: &str, after: Duration, every: Option<Duration>, payload: &[u8]) {
    crate::wit::timers::start(name, millis(after), every.map(millis), payload);
}
