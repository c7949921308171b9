//! Turns that an actor is given at its times, also after restarts of its silo: its method
//! `fn on_reminder(&self, firing: Firing) -> Result<(), String>` (or `&mut self`) is called, in a world with
//! `export quark:actor/reminder-target@0.1.0;`.
//!
//! What is registered is saved with what the turn changed, and so is that a time was handled: a turn that fails
//! comes again. An `Err` of the hook is such a failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::context::millis;
use crate::wit::reminders as host;
pub use crate::wit::reminders::unregister;

/// When a reminder is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Once, so long after it was registered.
    Once(Duration),
    /// Again and again, for the first time after that long.
    Every(Duration),
    /// Five fields (minute, hour, day of the month, month, day of the week), UTC.
    Cron(String),
}

/// What becomes of times that passed while no silo was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missed {
    /// One turn for all of them.
    #[default]
    FireOnce,
    /// A turn for each of the last 1000; older ones are a dead letter together.
    FireAll,
    /// None: the next one that is to come.
    Skip,
}

/// A reminder that is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// Its name.
    pub name: String,
    /// Its times.
    pub schedule: Schedule,
    /// What becomes of those that nobody was up for.
    pub missed: Missed,
    /// The next one: milliseconds since 1970.
    pub next: u64,
    /// What its turns are given.
    pub payload: Vec<u8>,
}

/// What `on_reminder` is called with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The reminder's name.
    pub name: String,
    /// The time that it is for: milliseconds since 1970. The same in each try.
    pub due: u64,
    /// What it was registered with.
    pub payload: Vec<u8>,
}

/// Registers a reminder in place of the one of that name, once the turn is saved.
///
/// # Errors
/// When it is over a bound of the contract, when the schedule is none, or when the world does not export
/// `reminder-target`.
pub fn register(name: &str, schedule: &Schedule, missed: Missed, payload: &[u8]) -> Result<(), String> {
    let schedule = match schedule {
        Schedule::Once(after) => host::Schedule::Once(millis(*after)),
        Schedule::Every(each) => host::Schedule::Every(millis(*each)),
        Schedule::Cron(text) => host::Schedule::Cron(text.clone()),
    };
    let missed = match missed {
        Missed::FireOnce => host::Missed::FireOnce,
        Missed::FireAll => host::Missed::FireAll,
        Missed::Skip => host::Missed::Skip,
    };
    host::register(name, &schedule, missed, payload)
}

/// Calls `on_reminder` once.
///
/// # Errors
/// Those of [`register`].
pub fn once(name: &str, after: Duration, payload: &[u8]) -> Result<(), String> {
    register(name, &Schedule::Once(after), Missed::FireOnce, payload)
}

/// Calls `on_reminder` again and again, for the first time after `each`. For times that passed while no silo was
/// up it is called once.
///
/// # Errors
/// Those of [`register`].
pub fn every(name: &str, each: Duration, payload: &[u8]) -> Result<(), String> {
    register(name, &Schedule::Every(each), Missed::FireOnce, payload)
}

/// The same at times of the day: five fields, UTC.
///
/// # Errors
/// Those of [`register`].
pub fn cron(name: &str, fields: &str, payload: &[u8]) -> Result<(), String> {
    register(name, &Schedule::Cron(fields.into()), Missed::FireOnce, payload)
}

quark_sdk_macros::either! {
    /// The reminders that are registered, by name, with what this turn changed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn registered() -> Result<Vec<Reminder>, String> {
        let all = host::registered().await?;
        Ok(all.into_iter().map(Reminder::from).collect())
    }
}

impl From<host::Reminder> for Reminder {
    fn from(it: host::Reminder) -> Self {
        let schedule = match it.schedule {
            host::Schedule::Once(after) => Schedule::Once(Duration::from_millis(after)),
            host::Schedule::Every(each) => Schedule::Every(Duration::from_millis(each)),
            host::Schedule::Cron(text) => Schedule::Cron(text),
        };
        let missed = match it.missed {
            host::Missed::FireOnce => Missed::FireOnce,
            host::Missed::FireAll => Missed::FireAll,
            host::Missed::Skip => Missed::Skip,
        };
        Self { name: it.name, schedule, missed, next: it.next, payload: it.payload }
    }
}
