//! What becomes of actors that fail: restarts, their limit, their waits, and whom a failure reaches.
//!
//! [`Failures`] decides about an actor that has no parent, by its own manifest. [`Children`] decides what
//! one parent does about all of its children. Neither touches an actor: they say what is to be done,
//! and whoever drives them does it. Times and random numbers come in as arguments.

mod policy;
mod window;
mod failures;
mod children;

pub use children::{Action, CHILDREN_MAX, Children, TooManyChildren};
pub use failures::{Failures, Verdict};
pub use policy::{Backoff, Directive, Lifetime, RestartLimit, Strategy, Supervision, Thousandths};

#[cfg(test)]
mod tests;
