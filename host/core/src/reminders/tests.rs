//! Schedules, what an actor stages, and the window against a plain store by seed.

mod own;
mod run;
mod schedules;
mod window;

use std::sync::Arc;

use super::*;
use crate::id::{Key, KindName};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// 2026-01-01 00:00 UTC, a Thursday.
const NEW_YEAR: u64 = 1_767_225_600_000;

fn actor(key: &str) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() }
}

fn id(key: &str, name: &str) -> ReminderId {
    ReminderId { actor: actor(key), name: name.into() }
}

fn reminder(key: &str, schedule: Schedule, missed: Missed, now: u64) -> Reminder {
    let due = schedule.first(now).unwrap();
    let payload = Arc::from(*b"p");
    Reminder { id: id(key, "r"), schedule, missed, payload, revision: 1, due, at: due, tries: 0 }
}
