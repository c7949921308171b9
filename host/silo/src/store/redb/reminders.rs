//! Reminders in the tables and in the log.
//!
//! | table         | key                        | row             |
//! |---------------|----------------------------|-----------------|
//! | reminders     | kind, key, name            | [`ReminderRow`] |
//! | reminders-due | when, kind, key, name      | nothing         |
//!
//! What is due is a range of the second one: it stands in the order in which reminders fire, and has the keys of
//! the first. One silo has all of this store, so there are no slots in the keys. Both tables come with the
//! first reminder: folders of before have none.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use quark_core::id::ActorId;
use quark_core::reminders::{Missed, Place, Reminder, ReminderId, Schedule};
use redb::{ReadOnlyTable, ReadTransaction, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::rows::Bytes;
use super::tables::{Broken, actor, parse, row, text};
use crate::store::reminders::ReminderRows;

pub(super) const REMINDERS: TableDefinition<'_, NameKey<'_>, &[u8]> = TableDefinition::new("reminders");
pub(super) const DUE: TableDefinition<'_, DueKey<'_>, ()> = TableDefinition::new("reminders-due");

type NameKey<'a> = (&'a [u8], &'a [u8], &'a [u8]);
type Rows = ReadOnlyTable<NameKey<'static>, &'static [u8]>;
type Due = ReadOnlyTable<DueKey<'static>, ()>;
type DueKey<'a> = (u64, &'a [u8], &'a [u8], &'a [u8]);

/// A reminder beside its name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReminderRow<'a> {
    schedule: Cow<'a, Schedule>,
    missed: Missed,
    #[serde(borrow)]
    payload: Bytes<'a>,
    revision: u64,
    due: u64,
    at: u64,
    tries: u32,
}

impl<'a> ReminderRow<'a> {
    pub(super) fn of(reminder: &'a Reminder) -> Self {
        let Reminder { id: _, schedule, missed, payload, revision, due, at, tries } = reminder;
        let (schedule, payload) = (Cow::Borrowed(schedule), Bytes(payload));
        Self { schedule, missed: *missed, payload, revision: *revision, due: *due, at: *at, tries: *tries }
    }

    pub(super) fn reminder(self, id: ReminderId) -> Reminder {
        let Self { schedule, missed, payload, revision, due, at, tries } = self;
        let (schedule, payload) = (schedule.into_owned(), Arc::from(payload.0));
        Reminder { id, schedule, missed, payload, revision, due, at, tries }
    }
}

fn name_key(id: &ReminderId) -> NameKey<'_> {
    (id.actor.kind.as_str().as_bytes(), id.actor.key.as_str().as_bytes(), id.name.as_bytes())
}

fn due_key(at: u64, id: &ReminderId) -> DueKey<'_> {
    let (kind, key, name) = name_key(id);
    (at, kind, key, name)
}

fn read(stored: &[u8], id: ReminderId) -> Result<Reminder, Broken> {
    Ok(parse::<ReminderRow<'_>>(stored, "a reminder")?.reminder(id))
}

/// Brings an overlay's rows into the tables.
pub(super) fn fill(tx: &WriteTransaction, over: &ReminderRows) -> Result<(), Broken> {
    if over.is_empty() {
        return Ok(());
    }
    let mut rows = tx.open_table(REMINDERS)?;
    let mut due = tx.open_table(DUE)?;
    for (id, reminder) in over.all() {
        let new = reminder.as_ref().map(|reminder| row(&ReminderRow::of(reminder))).transpose()?;
        let before = match &new {
            Some(new) => rows.insert(name_key(id), new.as_slice())?,
            None => rows.remove(name_key(id))?,
        };
        let before = before.map(|before| parse::<ReminderRow<'_>>(before.value(), "a reminder").map(|row| row.at));
        if let Some(before) = before {
            due.remove(due_key(before?, id))?;
        }
        if let Some(reminder) = reminder {
            due.insert(due_key(reminder.at, id), ())?;
        }
    }
    Ok(())
}

/// What is asked of the tables; there are none before the first reminder.
pub(super) struct ReminderTables {
    tables: Option<(Rows, Due)>,
}

impl ReminderTables {
    pub(super) fn open(tx: &ReadTransaction) -> Result<Self, Broken> {
        let rows = match tx.open_table(REMINDERS) {
            Ok(rows) => rows,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Self { tables: None }),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { tables: Some((rows, tx.open_table(DUE)?)) })
    }

    pub(super) fn get(&self, id: &ReminderId) -> Result<Option<Arc<Reminder>>, Broken> {
        let Some((rows, _)) = &self.tables else { return Ok(None) };
        let stored = rows.get(name_key(id))?;
        stored.map(|stored| read(stored.value(), id.clone()).map(Arc::new)).transpose()
    }

    /// The names of an actor's, with their rows.
    fn of<T>(
        &self,
        owner: &ActorId,
        each: impl Fn(ReminderId, &[u8]) -> Result<T, Broken>,
    ) -> Result<Vec<(ReminderId, T)>, Broken> {
        let Some((rows, _)) = &self.tables else { return Ok(Vec::new()) };
        let (kind, key) = (owner.kind.as_str().as_bytes(), owner.key.as_str().as_bytes());
        let mut found = Vec::new();
        for entry in rows.range::<NameKey<'_>>((kind, key, &[][..])..)? {
            let (at, stored) = entry?;
            let (of_kind, of_key, name) = at.value();
            if (of_kind, of_key) != (kind, key) {
                break;
            }
            let id = ReminderId { actor: owner.clone(), name: text(name, "a reminder's name")?.into() };
            found.push((id.clone(), each(id, stored.value())?));
        }
        Ok(found)
    }

    /// Those of an actor, by name, under what overlays have of them, the oldest first.
    pub(super) fn all_of(&self, owner: &ActorId, over: Vec<Over>) -> Result<Vec<Reminder>, Broken> {
        let mut all: std::collections::BTreeMap<_, _> =
            self.of(owner, |id, stored| read(stored, id))?.into_iter().collect();
        for (id, row) in over {
            match row {
                Some(row) => all.insert(id, Arc::unwrap_or_clone(row)),
                None => all.remove(&id),
            };
        }
        Ok(all.into_values().collect())
    }

    /// The same, their names only.
    pub(super) fn names_of(&self, owner: &ActorId, over: Vec<Over>) -> Result<Vec<Arc<str>>, Broken> {
        if self.tables.is_none() && over.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.of(owner, |_, _| Ok(()))?;
        let mut names: std::collections::BTreeSet<_> = names.into_iter().map(|(id, ())| id.name).collect();
        for (id, row) in over {
            if row.is_some() {
                names.insert(id.name)
            } else {
                names.remove(&id.name)
            };
        }
        Ok(names.into_iter().collect())
    }

    /// The row of that place, unless `over` says something of it.
    fn at(
        &self,
        (_, kind, key, name): DueKey<'_>,
        over: impl Fn(&ReminderId) -> bool,
    ) -> Result<Option<Arc<Reminder>>, Broken> {
        let id = ReminderId { actor: actor(kind, key)?, name: text(name, "a reminder's name")?.into() };
        if over(&id) {
            return Ok(None);
        }
        let missing = || Broken::Damaged(format!("{:?} has no reminder `{}` that is due", id.actor, id.name));
        self.get(&id)?.map_or_else(|| Err(missing()), |row| Ok(Some(row)))
    }

    /// Those behind that place, in the order in which they fire, without those that `over` says something of.
    fn due(
        &self,
        after: Option<&Place>,
        limit: usize,
        over: impl Fn(&ReminderId) -> bool,
    ) -> Result<Vec<Arc<Reminder>>, Broken> {
        let Some((_, due)) = &self.tables else { return Ok(Vec::new()) };
        let from = after.map_or(Bound::Unbounded, |place| Bound::Excluded(due_key(place.at, &place.id)));
        let mut page = Vec::new();
        for entry in due.range::<DueKey<'_>>((from, Bound::Unbounded))? {
            if page.len() >= limit {
                break;
            }
            let (at, _) = entry?;
            // One that cannot be read stays in the store, and others go on.
            match self.at(at.value(), &over) {
                Ok(row) => page.extend(row),
                Err(Broken::Damaged(error)) => tracing::error!(%error, "a reminder cannot be read and does not fire"),
                Err(error @ Broken::Io(_)) => return Err(error),
            }
        }
        Ok(page)
    }
}

/// What an overlay says of a row.
pub(super) type Over = (ReminderId, Option<Arc<Reminder>>);

/// The reminders behind that place, in the order in which they fire; those of the overlays, the newest first,
/// stand over those below.
pub(super) fn due(
    tables: &ReminderTables,
    after: Option<&Place>,
    limit: usize,
    over: &[Arc<ReminderRows>],
) -> Result<Vec<Reminder>, Broken> {
    let hidden = |above: usize, id: &ReminderId| over[..above].iter().any(|rows| rows.get(id).is_some());
    let mut page = tables.due(after, limit, |id| hidden(over.len(), id))?;
    for (above, rows) in over.iter().enumerate() {
        page.extend(rows.due(after).filter(|row| !hidden(above, &row.id)).take(limit).cloned());
    }
    page.sort_unstable_by(|one, two| (one.at, &one.id).cmp(&(two.at, &two.id)));
    page.truncate(limit);
    Ok(page.into_iter().map(Arc::unwrap_or_clone).collect())
}
