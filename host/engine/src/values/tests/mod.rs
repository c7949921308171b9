//! What holds for all forms alike: round trips of random values of many types, and that no damage
//! to a form makes its reader panic.

mod call_errors;
mod dice;
mod round_trip;
pub(super) mod samples;
pub(super) mod support;
mod types;
