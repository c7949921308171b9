//! The reminders of one actor as its turns change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    Fired, Missed, REMINDER_NAME_BYTES_MAX, REMINDER_PAYLOAD_BYTES_MAX, REMINDERS_PER_ACTOR_MAX, Reminder,
    ReminderChange, ReminderId, ReminderRefusal, Schedule,
};
use crate::id::ActorId;

/// The names of those that there are, and what the running turn staged. Names of rows that went by themselves
/// since the actor was loaded may still be here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    names: BTreeSet<Arc<str>>,
    /// Registered, or (none) unregistered.
    staged: BTreeMap<Arc<str>, Option<Box<Reminder>>>,
}

impl Own {
    /// Those that were loaded.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { names: names.into_iter().collect(), staged: BTreeMap::new() }
    }

    /// Stages a reminder, for its first time after now.
    ///
    /// # Errors
    /// When it is over a bound, or its schedule is none.
    pub fn register(
        &mut self,
        actor: &ActorId,
        name: &str,
        (schedule, missed): (Schedule, Missed),
        payload: Arc<[u8]>,
        now: u64,
    ) -> Result<(), ReminderRefusal> {
        if name.is_empty() || name.len() > REMINDER_NAME_BYTES_MAX {
            return Err(ReminderRefusal::Name(name.len()));
        }
        if payload.len() > REMINDER_PAYLOAD_BYTES_MAX {
            return Err(ReminderRefusal::Payload(payload.len()));
        }
        if !self.has(name) && self.len() >= REMINDERS_PER_ACTOR_MAX {
            return Err(ReminderRefusal::TooMany);
        }
        let due = schedule.first(now)?;
        let name: Arc<str> = name.into();
        let id = ReminderId { actor: actor.clone(), name: name.clone() };
        let row = Reminder { id, schedule, missed, payload, revision: 0, due, at: due, tries: 0 };
        self.staged.insert(name, Some(Box::new(row)));
        Ok(())
    }

    /// Stages that it goes, if it is there.
    pub fn unregister(&mut self, name: &str) {
        if name.len() <= REMINDER_NAME_BYTES_MAX {
            self.staged.insert(name.into(), None);
        }
    }

    /// Whether something is staged.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Takes what is staged, for a commit of that actor's; `fired` is the row for whose time the turn is.
    pub fn take(&mut self, actor: &ActorId, fired: Option<&Fired>) -> Vec<ReminderChange> {
        if let Some(Fired { row, to: None, .. }) = fired {
            self.names.remove(&row.id.name);
        }
        let staged = std::mem::take(&mut self.staged);
        let change = |(name, row): (Arc<str>, Option<Box<Reminder>>)| {
            let id = ReminderId { actor: actor.clone(), name: name.clone() };
            match row {
                Some(row) => {
                    self.names.insert(name);
                    Some(ReminderChange::Set(row))
                }
                // One that nobody knows leaves nothing to write.
                None => self.names.remove(&name).then_some(ReminderChange::Remove(id)),
            }
        };
        staged.into_iter().filter_map(change).collect()
    }

    /// Undoes all that is staged.
    pub fn undo(&mut self) {
        self.staged.clear();
    }

    /// The rows of the store as the running turn sees them: moved on by the time that it is for, and with what
    /// it staged.
    #[must_use]
    pub fn seen(&self, rows: Vec<Reminder>, fired: Option<&Fired>) -> Vec<Reminder> {
        let mut seen: BTreeMap<Arc<str>, Reminder> = rows.into_iter().map(|row| (row.id.name.clone(), row)).collect();
        if let Some(fired) = fired
            && let Some(row) = seen.remove(&fired.row.id.name)
        {
            match fired.after() {
                _ if !row.is_at(&fired.row) => drop(seen.insert(row.id.name.clone(), row)),
                Some(after) => drop(seen.insert(after.id.name.clone(), after)),
                None => {}
            }
        }
        for (name, row) in &self.staged {
            match row {
                Some(row) => drop(seen.insert(name.clone(), (**row).clone())),
                None => drop(seen.remove(name)),
            }
        }
        seen.into_values().collect()
    }

    fn has(&self, name: &str) -> bool {
        self.staged.get(name).map_or_else(|| self.names.contains(name), Option::is_some)
    }

    fn len(&self) -> usize {
        let new = self.staged.iter().filter(|(name, row)| row.is_some() && !self.names.contains(*name)).count();
        let gone = self.staged.iter().filter(|(name, row)| row.is_none() && self.names.contains(*name)).count();
        self.names.len() + new - gone
    }
}
