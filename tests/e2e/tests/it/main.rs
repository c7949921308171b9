//! What a user sees, against the real binary with real components.

#![expect(clippy::unwrap_used, reason = "a test ends at what it cannot do")]

mod durability;
mod pauses;
mod calls;
mod reentrance;
mod flavours;
mod blobs;
mod waits;
mod tells;
mod timers;
mod journal;
mod past;
mod trace;
mod reminders;
mod history;
mod letters;
mod hostile;
mod stacks;
mod lifecycle;
mod supervision;
mod trees;
mod supervisors;
mod watchers;
mod crews;
mod steps;
mod idempotency;
mod packs;
mod overlap;
mod state;
mod input;
mod admission;
mod deploys;
mod bounds;
mod density;
mod folder;
mod disk;
mod openapi;
mod cli;
mod languages;
