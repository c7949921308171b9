//! What holds for any bytes that reach a parser of Quark from outside: one plain function for each
//! target, which panics where something does not hold.
//!
//! The test of this package runs all of them over the corpus and over mutations of it, on any
//! compiler. `make fuzz` runs them under libFuzzer, which looks for inputs by coverage.
#![expect(clippy::missing_panics_doc, reason = "a panic is what a target says")]

mod address;
mod answers;
mod component;
mod gateway;
mod log;
mod manifest;
mod mutate;
mod types;
mod values;
mod wire;

pub use address::address;
pub use answers::answers;
pub use component::component;
pub use gateway::gateway;
pub use log::log;
pub use manifest::manifest;
pub use mutate::Mutations;
pub use values::{json, msgpack, wave};

/// A target: it takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by name, which is also the name of the folder of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address),
    ("answers", answers),
    ("component", component),
    ("gateway", gateway),
    ("json", json),
    ("log", log),
    ("manifest", manifest),
    ("msgpack", msgpack),
    ("wave", wave),
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// The names of all targets, for people.
#[must_use]
pub fn names() -> String {
    TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
