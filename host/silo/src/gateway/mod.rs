//! The HTTP edge: what a client outside asks arrives here, and its answer leaves here.
//!
//! ```text
//! socket -> server (how many, how long) -> routes: request id, head (size), guard (host, token)
//!        -> actors | admin | past -> Service (the silo) -> failure (status, JSON)
//! ```
//!
//! The gateway knows HTTP and nothing about actors: it parses a request into the plain data of
//! [`crate::api`], asks the [`Service`], and turns what comes back into a status and a body.
//! Arguments and results pass through as text; only the engine knows their types. The order of the
//! modules is the reading order.

mod config;
mod service;
pub mod token;
mod failure;
mod guard;
mod head;
mod body;
mod openapi;
mod edge;
mod target;
mod actors;
mod admin;
mod past;
mod routes;
mod socket;
mod server;
#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod tests;

pub use config::{Bounds, GatewayConfig};
pub use server::{BindError, Gateway};
pub use service::Service;
