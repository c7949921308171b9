//! The harness: starts the real `quark` on a folder of its own, talks to it as a user would, and
//! kills it as an operator or a power cut would. Nothing here waits without a deadline.

#![expect(clippy::unwrap_used, reason = "a test ends at what it cannot do")]

mod wait;
mod command;
mod samples;
mod made;
mod disk;
mod client;
mod silo;
mod compiled;

pub use client::{Answer, Client, encoded};
pub use command::{Ran, quark, run};
pub use disk::Disk;
pub use made::{made_of, made_with, made_with_docs, stamped};
pub use samples::{component, component_path};
pub use silo::Silo;
pub use wait::{DEADLINE, eventually, kills};
