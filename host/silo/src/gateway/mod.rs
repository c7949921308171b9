//! The HTTP edge: what a client outside asks arrives here, and its answer leaves here.
//!
//! A connection is accepted by `server`, within bounds; `guard` checks whom the request names and
//! what it may; `routes` finds the handler; `actors` and `admin` turn the request into a question to
//! the [`Service`], and its answer into a response; `failure` knows the status of every code.
//! Nothing here knows what an actor is: the silo behind [`Service`] does.

mod config;
mod server;
mod service;

pub use config::{Bounds, GatewayConfig};
pub use server::{BindError, Gateway};
pub use service::Service;
