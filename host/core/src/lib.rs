//! What Quark decides.
//!
//! Pure machines and values: no I/O, no clock, no threads, no randomness of its own. Time and
//! events come in as arguments, effects go out as values; `tests/sim` drives the same machines
//! by seed. The order of the modules is the reading order: a file uses only files above it.
#![forbid(unsafe_code)]

pub mod id;
pub mod error;
pub mod time;
pub mod supervision;
pub mod journal;
pub mod manifest;
pub mod envelope;
pub mod waits;
pub mod reminders;
pub mod state;
pub mod standing;
pub mod commit;
pub mod timers;
pub mod trace;
pub mod activation;
