//! Counts. The count is the actor's durable state.

wit_bindgen::generate!({ world: "counter-actor", path: "wit", generate_all });

use exports::quark::actor::lifecycle;
use exports::sample::counter::counters::{CounterError, Guest, GuestCounter};
use quark::actor::state;

struct Component;
struct Counter;

fn count() -> u64 {
    let bytes = state::get("count").unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn set_count(count: u64) {
    state::set("count", &count.to_le_bytes()).expect("eight bytes fit");
}

impl Guest for Component {
    type Counter = Counter;
}

impl GuestCounter for Counter {
    fn new(_key: String) -> Self {
        Self
    }
    fn increment(&self, by: u64) -> Result<u64, CounterError> {
        let next = count().checked_add(by).ok_or(CounterError::Overflow)?;
        set_count(next);
        Ok(next)
    }
    fn value(&self) -> Result<u64, CounterError> {
        Ok(count())
    }
    fn reset(&self) {
        set_count(0);
    }
}

impl lifecycle::Guest for Component {
    fn activate(_it: lifecycle::Activation) -> Result<(), String> {
        Ok(())
    }
    fn deactivate(_me: lifecycle::ActorId, _why: lifecycle::Deactivation) -> Result<(), String> {
        Ok(())
    }
}

export!(Component);
