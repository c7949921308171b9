//! Reminders: what an actor is to be told at which times, whatever happens to its silo meanwhile.
//!
//! A reminder is a row of the store, and one alone is true. The row stands at the next of its times; the
//! commit of the turn that this fires moves it on to the one after it ([`Fired`]). A turn that fails moves
//! nothing, so the row fires again: at least once, and in the end as a dead letter.
//!
//! Times are of the wall clock, milliseconds since 1970, and are handed in. `schedule` says which they are,
//! `own` is what an actor registers in its turns, `window` decides what fires next.

mod schedule;
mod own;
mod window;

use std::sync::Arc;

use crate::id::ActorId;

pub use own::Own;
pub use schedule::{COUNTED_MAX, EVERY_MIN, MADE_UP_MAX, Missed, Next, Schedule};
pub use window::{ATTEMPTS_MAX, Failed, Now, Step, UNDER_WAY_MAX, WINDOW_MAX, Window};

/// The most reminders of one actor.
pub const REMINDERS_PER_ACTOR_MAX: usize = 256;
/// The most bytes of a reminder's name.
pub const REMINDER_NAME_BYTES_MAX: usize = 256;
/// The most bytes of a reminder's payload.
pub const REMINDER_PAYLOAD_BYTES_MAX: usize = 4096;
/// The most bytes of a schedule that is text.
pub const CRON_BYTES_MAX: usize = 256;

/// Why a reminder was not registered. One of that name stands as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReminderRefusal {
    /// Empty, or over [`REMINDER_NAME_BYTES_MAX`].
    #[error("a reminder's name has 1 to {REMINDER_NAME_BYTES_MAX} bytes, and this one has {0}")]
    Name(usize),
    /// Over [`REMINDER_PAYLOAD_BYTES_MAX`].
    #[error(
        "a reminder's payload has at most {REMINDER_PAYLOAD_BYTES_MAX} bytes, and this one has {0}; keep more in the \
         state"
    )]
    Payload(usize),
    /// Under [`EVERY_MIN`].
    #[error("a reminder repeats every {EVERY_MIN} ms at most, and this one would every {0} ms; a timer can")]
    Every(u64),
    /// Over [`REMINDERS_PER_ACTOR_MAX`].
    #[error("one actor has at most {REMINDERS_PER_ACTOR_MAX} reminders; unregister one, or use one for several things")]
    TooMany,
    /// It is no schedule, or one that never comes.
    #[error("`{0}` is no schedule of five fields (minute hour day month weekday, UTC): {1}")]
    Cron(String, String),
}

/// Names one reminder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReminderId {
    /// Whose.
    pub actor: ActorId,
    /// Its name.
    pub name: Arc<str>,
}

/// Where a reminder stands among all: those that fire first come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// [`Reminder::at`].
    pub at: u64,
    /// Which.
    pub id: ReminderId,
}

/// A reminder's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// Which.
    pub id: ReminderId,
    /// Its times.
    pub schedule: Schedule,
    /// What becomes of those that nobody was up for.
    pub missed: Missed,
    /// What its turns are given.
    pub payload: Arc<[u8]>,
    /// The e-tag of the commit that registered it: another one is another reminder, whatever its name.
    pub revision: u64,
    /// The next of its times.
    pub due: u64,
    /// When it fires: then, or later after turns that failed.
    pub at: u64,
    /// Turns for that time that failed.
    pub tries: u32,
}

impl Reminder {
    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { at: self.at, id: self.id.clone() }
    }

    /// The same reminder at another time.
    #[must_use]
    pub fn moved(&self, to: Stand) -> Self {
        Self { due: to.due, at: to.at, tries: to.tries, ..self.clone() }
    }

    /// Whether this is what `row` was made of: the same registration, at the same of its times.
    #[must_use]
    pub fn is_at(&self, row: &Self) -> bool {
        self.id == row.id && self.revision == row.revision && self.due == row.due
    }

    /// What it counts against bounds on bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.id.name.len() + self.payload.len() + 128
    }
}

/// Where a row stands in its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// [`Reminder::due`].
    pub due: u64,
    /// [`Reminder::at`].
    pub at: u64,
    /// [`Reminder::tries`].
    pub tries: u32,
}

impl Stand {
    /// At one of its times.
    #[must_use]
    pub const fn at(due: u64) -> Self {
        Self { due, at: due, tries: 0 }
    }
}

/// A row that moves on, or goes: only if it stands yet as it is here ([`Reminder::is_at`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The row as it was.
    pub row: Arc<Reminder>,
    /// Where it stands from then on; none when it was its last time.
    pub to: Option<Stand>,
    /// Times in between that have no turn ([`Next::left_out`]).
    pub left_out: u64,
}

impl Fired {
    /// A row that moves on and leaves nothing out.
    #[must_use]
    pub const fn new(row: Arc<Reminder>, to: Option<Stand>) -> Self {
        Self { row, to, left_out: 0 }
    }

    /// A row whose time is over now, by the clock that `due` is of.
    #[must_use]
    pub fn over(row: Arc<Reminder>, due: u64, now: u64) -> Self {
        let Next { at, left_out } = row.missed.next(&row.schedule, due, now);
        Self { row, to: at.map(Stand::at), left_out }
    }

    /// The row from then on.
    #[must_use]
    pub fn after(&self) -> Option<Reminder> {
        self.to.map(|to| self.row.moved(to))
    }
}

/// A change that an actor's commit makes to its reminders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReminderChange {
    /// It is registered, in place of the one of that name.
    Set(Box<Reminder>),
    /// It is there no longer.
    Remove(ReminderId),
}

impl ReminderChange {
    /// Which one it changes.
    #[must_use]
    pub fn id(&self) -> &ReminderId {
        match self {
            Self::Set(row) => &row.id,
            Self::Remove(id) => id,
        }
    }

    /// What it counts against bounds on bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Set(row) => row.bytes(),
            Self::Remove(id) => id.name.len() + 64,
        }
    }
}

#[cfg(test)]
mod tests;
