//! What the hooks `on_activate` and `on_deactivate` are told.

use crate::ActorId;

/// One stay of an actor in memory, as it begins.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The actor.
    pub me: ActorId,
    /// Grows with every activation of this actor.
    pub generation: u64,
    /// Version of the component as deployed.
    pub version: String,
    /// What woke the actor.
    pub cause: Cause,
}

/// What woke an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Cause {
    Message,
    Reminder,
    Event,
    Spawn,
    Restart,
    Upgrade,
}

/// Why an actor leaves memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Deactivation {
    Idle,
    Requested,
    MemoryPressure,
    Moved,
    Upgraded,
    Shutdown,
    Fenced,
}
