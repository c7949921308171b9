//! Reminders of this silo's actors: from their rows to turns, and what becomes of the rows.
//!
//! The machine of `core` decides what fires; here are its lock, what it is told of commits, and the task that
//! carries out its steps (`run`). Whoever holds an activation's machine may take the lock here, never the other
//! way round.

mod operate;
mod run;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quark_core::commit::{CommitError, Write};
use quark_core::error::CallError;
use quark_core::reminders::{
    COUNTED_MAX, Failed, Fired, MADE_UP_MAX, Now, Reminder, ReminderChange, ReminderId, Window,
};
use tokio::sync::Notify;

use crate::clock::{Clock, unix_ms};
use crate::dead_letters::{Letter, Reason};
use crate::silo::Inner;

pub(crate) use self::run::run;

/// How long a row waits that the store could not move on.
const STORE_RETRY_MS: u64 = 500;
/// How long a firing waits that another silo, or another version, would have to take.
const ELSEWHERE_RETRY_MS: u64 = 1_000;

/// How far the two clocks may be read apart, and how often that is tried.
const APART_MAX: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 8;

/// What calls of a reminder are named.
const METHOD: &str = "on-reminder";

pub(crate) struct Reminders {
    window: Mutex<Window>,
    wake: Notify,
    clock: Clock,
}

/// What a commit does to reminders, until it has its outcome.
pub(crate) struct Submitted {
    fired: Option<Arc<Reminder>>,
    /// Times of that which have no turn.
    left_out: u64,
    moved: Vec<(ReminderId, Option<Arc<Reminder>>)>,
    changed: Vec<(ReminderId, Option<Arc<Reminder>>)>,
}

impl Submitted {
    fn ids(&self) -> Vec<ReminderId> {
        self.moved.iter().chain(&self.changed).map(|(id, _)| id.clone()).collect()
    }
}

impl Reminders {
    pub(crate) fn new(clock: Clock) -> Self {
        let window = Mutex::new(Window::new(now(clock)));
        Self { window, wake: Notify::new(), clock }
    }

    fn now(&self) -> Now {
        now(self.clock)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Window) -> T) -> T {
        let changed = change(&mut self.window.lock());
        self.wake.notify_one();
        changed
    }

    /// Wakes the task, so that it sees what is served now, or that the silo stops.
    pub(crate) fn look(&self) {
        self.change(Window::served_anew);
    }

    /// Reminders in memory.
    pub(crate) fn held(&self) -> usize {
        self.window.lock().held()
    }

    /// The turn of that reminder is about to begin: what its commit does to the row. None when it must not;
    /// then it comes again, or is over.
    pub(crate) fn begin(&self, row: &Reminder) -> Option<Box<Fired>> {
        let now = self.now();
        self.change(|window| window.begin(row, now)).map(Box::new)
    }

    /// A commit is handed to the store.
    pub(crate) fn submitted(&self, write: &Write) -> Option<Box<Submitted>> {
        if write.fired.is_none() && write.reminders.is_empty() {
            return None;
        }
        let id_and_row = |change: &ReminderChange| match change {
            ReminderChange::Set(row) => (row.id.clone(), Some(Arc::new((**row).clone()))),
            ReminderChange::Remove(id) => (id.clone(), None),
        };
        let submitted = Submitted {
            fired: write.fired.as_ref().map(|fired| fired.row.clone()),
            left_out: write.fired.as_ref().map_or(0, |fired| fired.left_out),
            moved: write.fired.iter().map(|fired| (fired.row.id.clone(), fired.after().map(Arc::new))).collect(),
            changed: write.reminders.iter().map(id_and_row).collect(),
        };
        self.change(|window| window.submitted(&submitted.ids()));
        Some(Box::new(submitted))
    }

    /// It has its outcome; `Ok(false)` when what it fired for had changed before.
    fn settled(&self, submitted: Submitted, outcome: Result<bool, CommitError>) {
        let ids = submitted.ids();
        let Submitted { fired, moved, changed, left_out: _ } = submitted;
        let now = self.now();
        self.change(|window| match outcome {
            Ok(as_told) => {
                if as_told || moved.is_empty() {
                    window.landed(moved.into_iter().chain(changed).collect());
                } else {
                    // Nobody knows what is there but the store.
                    window.lost(&moved.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), true);
                    window.landed(changed);
                }
            }
            Err(error) => {
                window.lost(&ids, error == CommitError::Unknown);
                fired.iter().for_each(|row| drop(window.failed(row, Failed::Later(STORE_RETRY_MS), now)));
            }
        });
    }

    /// A turn's commit was never handed to the store.
    pub(crate) fn commit_failed(&self, row: &Reminder) {
        let now = self.now();
        self.change(|window| window.failed(row, Failed::Later(STORE_RETRY_MS), now));
    }
}

/// Both clocks at one moment, as near as a busy machine lets that be: what lies between would look like a clock
/// that was set.
fn now(clock: Clock) -> Now {
    let mut mono = clock.now();
    for _ in 0..LOOKS_MAX {
        let (wall, then) = (unix_ms(), clock.now());
        if then.since(mono) < APART_MAX {
            return Now { wall, mono };
        }
        mono = then;
    }
    Now { wall: unix_ms(), mono }
}

impl Inner {
    /// A commit that changed reminders has its outcome; `Ok(false)` when what it fired for had changed before.
    pub(crate) fn reminders_settled(&self, submitted: Submitted, outcome: Result<bool, CommitError>) {
        if let (Ok(true), Some(row)) = (outcome, &submitted.fired) {
            self.tell_left_out(row, submitted.left_out);
        }
        self.reminders.settled(submitted, outcome);
    }

    /// Times that nobody will handle, since there were too many: told once they are passed over.
    fn tell_left_out(&self, row: &Reminder, left_out: u64) {
        if left_out == 0 {
            return;
        }
        let least = if left_out >= COUNTED_MAX && !row.schedule.is_interval() { "at least " } else { "" };
        let name = &row.id.name;
        let detail = format!(
            "reminder `{name}`: {least}{left_out} of its times passed without a turn; the last {MADE_UP_MAX} are made \
             up"
        );
        let letter = Letter { to: &row.id.actor, method: METHOD, from: None, tell: true };
        self.dead_letters.add(Reason::Expired, &detail, &letter);
    }

    /// The turn of a reminder failed, or did not begin. Only what its actor itself failed at counts.
    pub(crate) fn reminder_failed(self: &Arc<Self>, row: &Arc<Reminder>, error: &CallError) {
        tracing::debug!(actor = %row.id.actor, name = %row.id.name, %error, "a reminder was not handled");
        let how = match error {
            CallError::Overloaded(ms) | CallError::Unavailable(ms) | CallError::CoolsDown { retry_ms: ms, .. } => {
                Failed::Later((*ms).max(1))
            }
            CallError::Unreachable(_) | CallError::Incompatible(_) => Failed::Later(ELSEWHERE_RETRY_MS),
            CallError::Stopped => return self.reminder_is_dead(row, Reason::Stopped, ""),
            CallError::DeadlineExceeded
            | CallError::UnknownOutcome(_)
            | CallError::Cancelled
            | CallError::Failed(_)
            | CallError::Downstream(_)
            | CallError::TooLarge(_)
            | CallError::Deadlock(_)
            | CallError::Denied(_)
            | CallError::KeyReused(_)
            | CallError::Other(_) => Failed::Counts,
        };
        self.fail_reminder(row, how, Reason::Failed, &error.to_string());
    }

    /// Nobody will handle this time of it.
    pub(crate) fn reminder_is_dead(self: &Arc<Self>, row: &Arc<Reminder>, reason: Reason, detail: &str) {
        self.fail_reminder(row, Failed::Dead, reason, detail);
    }

    fn fail_reminder(self: &Arc<Self>, row: &Arc<Reminder>, how: Failed, reason: Reason, detail: &str) {
        let now = self.reminders.now();
        let Some((fired, dead)) = self.reminders.change(|window| window.failed(row, how, now)) else { return };
        if dead {
            // Told before the row moves on: the other way round a crash in between would lose it unseen.
            let name = &row.id.name;
            let detail =
                if detail.is_empty() { format!("reminder `{name}`") } else { format!("reminder `{name}`: {detail}") };
            let letter = Letter { to: &row.id.actor, method: METHOD, from: None, tell: true };
            self.dead_letters.add(reason, &detail, &letter);
        }
        self.move_reminder(fired);
    }

    /// Moves a row on that no turn is for.
    fn move_reminder(self: &Arc<Self>, fired: Fired) {
        let (silo, told) = (self.clone(), fired.clone());
        let done = move |outcome: Result<bool, CommitError>| {
            let until = unix_ms() + STORE_RETRY_MS;
            if outcome == Ok(true) {
                silo.tell_left_out(&told.row, told.left_out);
            }
            silo.reminders.change(|window| match outcome {
                Ok(true) => window.landed(vec![(told.row.id.clone(), told.after().map(Arc::new))]),
                Ok(false) => window.is_stale(&told),
                Err(CommitError::Unknown) => window.lost(std::slice::from_ref(&told.row.id), true),
                Err(_) => window.not_moved(&told, until),
            });
        };
        self.store.move_reminder(fired, Box::new(done));
    }
}
