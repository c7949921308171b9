//! What Quark connects: stores, dispatch, gateway. See `host/ARCHITECTURE.md` for the map.
//!
//! The order of the modules is the reading order.

pub mod api;
mod clock;
mod config;
mod capacity;
mod machine;
mod thrash;
pub mod store;
pub mod gateway;
mod dead_letters;
mod traces;
mod metrics;
mod kinds;
mod supervision;
mod families;
mod message;
mod catalog;
mod outbox;
mod waits;
mod dispatch;
mod outside;
mod lasting;
mod activation;
mod timers;
mod reminders;
mod packs;
mod room;
mod actor_ref;
mod deploy;
mod silo;
mod journals;
mod scratch;
mod service;
mod run;

pub use actor_ref::ActorRef;
pub use capacity::{AddressBound, Holds, Machine, Resource, TooMany};
pub use config::{SiloConfig, StoreConfig};
pub use run::{RunError, run};
pub use silo::{Silo, StartError};
