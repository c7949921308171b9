//! Names of actors, from their types.

use crate::ActorId;

/// A kind of actors: a struct with `#[actor]`, or the proxy of an imported one. `world!` implements it.
pub trait Kind {
    /// The interface without its version, then the resource: `sample:counter/counters#counter`.
    const KIND: &'static str;
}

impl ActorId {
    /// The actor of that kind with that key: `ActorId::of::<counters::Counter>("alice")`.
    #[must_use]
    pub fn of<K: Kind>(key: impl Into<String>) -> Self {
        Self { kind: K::KIND.into(), key: key.into() }
    }
}

impl Eq for ActorId {}
