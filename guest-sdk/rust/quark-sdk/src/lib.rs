//! Write Quark actors in Rust: a struct, an `impl`, nothing else.
//!
//! ```ignore
//! use quark_sdk::prelude::*;
//!
//! quark_sdk::world!("counter-actor");
//!
//! #[state]
//! struct Counter {
//!     count: u64,
//! }
//!
//! #[actor]
//! impl Counter {
//!     fn increment(&mut self, by: u64) -> Result<u64, CounterError> {
//!         self.count = self.count.checked_add(by).ok_or(CounterError::Overflow)?;
//!         Ok(self.count)
//!     }
//! }
//! ```
//!
//! - [`world!`] reads the crate's `wit` folder. It brings into scope the types of the exported
//!   interfaces, and each imported interface as a module of typed proxies
//!   (`counters::Counter::new("alice").increment(5)`).
//! - [`macro@state`] makes a struct storable: `Default`, and serde's traits with names of fields, so
//!   that a field can be added later. It is one durable value, named `state`.
//! - [`macro@actor`] exports an `impl`, whose methods are those of the resource with that name, and
//!   the hooks `on_activate`, `on_deactivate`, `on_timer`, `on_reminder`, `on_child_failed` and
//!   `on_terminated` if there are any. Other methods belong in an `impl` of their own.
//!
//! # Two kinds of methods
//!
//! A **`&mut self`** method owns the state for its turn. It calls other actors through
//! [`Actor::call`], which saves first: `self.call(|| other.ask())?`. Without it the call is refused.
//! Since nobody may enter while such a method waits, a kind that has one gets
//! `reentrancy = "none"`.
//!
//! A **`&self`** method changes state through [`State`] cells, calls other actors freely (what
//! changed is saved before each call leaves), and may be re-entered while it waits.
//!
//! State is saved when it changed: before an outgoing call and at the end of the turn, also when
//! the method answers `Err`. A turn of the async flavour also saves whenever it waits, since others
//! may run then. A trap undoes what was not committed yet.
//!
//! # Journals
//!
//! A kind whose world exports `quark:actor/journaled` implements [`Journaled`]: its struct is what its events
//! made of it, see [`journal`].
//!
//! # Two flavours
//!
//! The feature `async` builds the same source from `async func` instead of `func`. Methods that call
//! others are then `async fn` with `.await`; without the feature [`macro@actor`] leaves both out.
//!
//! # Errors
//!
//! `?` works on each error that the method's own error variant has a case for: `call(call-error)`,
//! `state(state-error)`, `counter(counter-error)`.
//!
//! # The section `quark:manifest`
//!
//! What the code alone knows about its kinds goes into a custom section with that name, in the
//! format of `actor.toml`; an `actor.toml` beside the component wins key by key:
//!
//! ```toml
//! [actor]                # [[actor]], one for each kind concerned, where a component has several
//! name = "counter"
//! reentrancy = "none"
//! ```
//!
//! # The section `quark:wit`
//!
//! The package of the world as encoded WIT (what `wasm-tools component wit -w` writes), for its
//! comments: a silo shows them in its OpenAPI document, and they are nowhere else in a component.

extern crate self as quark_sdk;

pub mod children;
pub mod context;
pub mod journal;
pub mod lifecycle;
pub mod log;
pub mod reminders;
pub mod timers;
pub mod wit;

mod actor;
mod calls;
mod cell;
mod id;
mod slot;
mod turn;

#[doc(hidden)]
pub mod rt;

pub use actor::{Actor, commit};
pub use calls::{call, tell};
pub use cell::State;
pub use children::{Directive, Failure, Lifetime};
pub use id::Kind;
pub use journal::Journaled;
pub use lifecycle::{Activation, Cause, Deactivation};
pub use quark_sdk_macros::{actor, state, world};
pub use reminders::{Firing, Missed, Reminder, Schedule};
pub use wit::blobs::Blob;
pub use wit::state::StateError;
pub use wit::types::{ActorId, CallError};

#[doc(hidden)]
pub use {serde, wit_bindgen};

/// What an actor's file needs.
pub mod prelude {
    pub use crate::{Activation, Actor, ActorId, Blob, CallError, Deactivation, State, StateError};
    pub use crate::{Directive, Failure, Firing, Journaled, Lifetime, Missed, Schedule};
    pub use crate::{actor, children, context, debug, error, info, journal, reminders, state, timers, warn};
}
