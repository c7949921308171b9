//! Rows of reminders in memory, by name and by when they fire.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use quark_core::id::ActorId;
use quark_core::reminders::{Place, Reminder, ReminderId};

/// Rows, and names of rows that are gone from what lies below.
#[derive(Clone, Debug, Default)]
pub(super) struct ReminderRows {
    rows: BTreeMap<ReminderId, Option<Arc<Reminder>>>,
    places: BTreeSet<Place>,
}

impl ReminderRows {
    /// A row as it is from now on; with none it is gone. Gives what was here before.
    pub(super) fn put(&mut self, id: ReminderId, row: Option<Arc<Reminder>>) -> Option<Option<Arc<Reminder>>> {
        if let Some(row) = &row {
            self.places.insert(row.place());
        }
        let place = row.as_ref().map(|row| row.place());
        let before = self.rows.insert(id, row);
        if let Some(Some(before)) = &before
            && Some(before.place()) != place
        {
            self.places.remove(&before.place());
        }
        before
    }

    /// Leaves nothing of it.
    pub(super) fn forget(&mut self, id: &ReminderId) {
        if let Some(Some(row)) = self.rows.remove(id) {
            self.places.remove(&row.place());
        }
    }

    pub(super) fn get(&self, id: &ReminderId) -> Option<&Option<Arc<Reminder>>> {
        self.rows.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&ReminderId, &Option<Arc<Reminder>>)> {
        self.rows.iter()
    }

    /// Those of one actor, by name.
    pub(super) fn of<'a>(
        &'a self,
        actor: &'a ActorId,
    ) -> impl Iterator<Item = (&'a ReminderId, &'a Option<Arc<Reminder>>)> {
        // Each claim asks, and mostly there are none.
        let first = (!self.rows.is_empty()).then(|| ReminderId { actor: actor.clone(), name: "".into() });
        let from = first.into_iter().flat_map(|first| self.rows.range(first..));
        from.take_while(move |(id, _)| id.actor == *actor)
    }

    /// The rows behind that place, in the order in which they fire.
    pub(super) fn due(&self, after: Option<&Place>) -> impl Iterator<Item = &Arc<Reminder>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let places = self.places.range::<Place, _>((from, Bound::Unbounded));
        places.filter_map(|place| self.rows.get(&place.id)?.as_ref())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
