//! What Quark runs: components, kinds, instances, values. The only crate that names wasmtime.
//!
//! [`Engine`] is the configured wasmtime; [`Component::admit`] checks and compiles what a user
//! deploys; an [`Instance`] runs turns for one actor in a live copy of it, which several share in a
//! [`Pack`]. What an instance needs from its surroundings it asks of [`Outside`], which the silo implements.

mod error;
mod slab;
mod kind;
mod cost;
mod engine;
mod outside;
pub mod values;
mod keys;
mod bindings;
mod host;
mod limits;
mod rest;
mod wasi;
mod transfer;
mod proxy;
mod guest;
mod imports;
mod wit;
mod cache;
mod component;
mod compatible;
mod schema;
mod seats;
mod replay;
mod cell;
mod nested;
mod pack;
mod instance;
mod past;
mod probe;

pub use cache::Cache;
pub use cell::{
    child_failed_arguments, directive, on_reminder_arguments, on_timer_arguments, snapshot_arguments,
    terminated_arguments,
};
pub use compatible::{Change, breaking, broken_calls};
pub use component::{Component, content_hash, embedded_manifest};
pub use cost::{Cost, cost};
pub use engine::{Engine, EngineConfig, TICK, slot_bytes};
pub use error::{AdmissionError, EngineError, Trap};
pub use guest::{GaveBack, Wishes, gave_back};
pub use instance::{Birth, Cause, Instance, Left, Started, TurnInput, Unborn};
pub use keys::{derived_key, digest};
pub use kind::{Hook, Kind, Lane, Method, Signature};
pub use outside::{
    Answer, CallFailure, Calling, EndedInside, JournalError, Level, OutgoingCall, OutgoingWork, Outside, Owned,
    Reached, Returned,
};
pub use pack::{Background, Beside, Done, Pack, Place, Turned};
pub use past::Past;
pub use rest::Rest;
pub use schema::{Described, Schemas};
