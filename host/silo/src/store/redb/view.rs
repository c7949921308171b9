//! What can be read: the tables as last committed, and over them what is only in the log yet.
//!
//! A reader takes what it needs of the overlays and a snapshot of the tables under one lock. A
//! checkpoint commits first, and then takes the rows that the tables now have out of the overlays
//! under that lock. So no reader sees a moment in which a row is in neither; in both it is the same.
//! Snapshots are not kept between questions: pages that an open one may need are not used again.

use std::collections::BTreeSet;
use std::sync::Arc;

use quark_core::envelope::TellId;
use quark_core::id::{ActorId, Key, KindName};
use quark_core::journal::Snapshot as JournalSnapshot;
use quark_core::reminders::{Reminder, ReminderId};
use redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::journals;
use super::overlay::{Changed, Overlay};
use super::reminders;
use super::space::Load;
use super::tables::{Broken, Over, Tables};
use crate::store::reminders::ReminderRows;
use crate::store::{PAGE_MAX, Snapshot};

/// The most overlay rows, gone ones among them, that one step of a question for outbox rows takes.
const OVER_MAX: usize = 4 * PAGE_MAX;

pub(super) struct View {
    pub(super) base: Base,
    /// What a checkpoint is bringing into the tables.
    pub(super) sealed: Option<Arc<Overlay>>,
    /// What was written since.
    pub(super) active: Overlay,
}

/// What is below the overlays.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) database: Arc<Database>,
    /// Which opening of the file it is.
    pub(super) opened: u64,
}

impl View {
    pub(super) fn new(base: Base) -> Self {
        Self { base, sealed: None, active: Overlay::default() }
    }

    /// All that is to be brought into the tables.
    pub(super) fn load(&self) -> Load {
        self.active.load() + self.sealed.as_ref().map_or_else(Load::default, |sealed| sealed.load())
    }

    pub(super) fn snapshot(&self) -> Result<ReadTransaction, Broken> {
        Ok(self.base.database.begin_read()?)
    }

    /// The e-tag of the actor's last write; 0 when it never wrote.
    pub(super) fn etag(&self, tables: &Tables, actor: &ActorId) -> Result<u64, Broken> {
        let mut newest_first = self.overlays().rev();
        match newest_first.find_map(|overlay| overlay.actor(actor)) {
            Some(changed) => Ok(changed.etag),
            None => tables.etag(actor),
        }
    }

    pub(super) fn has_tell(&self, tables: &Tables, id: &TellId) -> Result<bool, Broken> {
        let mut newest_first = self.overlays().rev();
        newest_first.find_map(|overlay| overlay.tell(id)).map_or_else(|| tables.has_tell(id), Ok)
    }

    /// A reminder's row, if it is there.
    pub(super) fn reminder(&self, tables: &Tables, id: &ReminderId) -> Result<Option<Arc<Reminder>>, Broken> {
        let mut newest_first = self.overlays().rev();
        let over = newest_first.find_map(|overlay| overlay.reminders().get(id));
        over.map_or_else(|| tables.reminders().get(id), |row| Ok(row.clone()))
    }

    /// What [`reminders::due`] needs of the overlays.
    pub(super) fn reminders(&self) -> Vec<Arc<ReminderRows>> {
        self.overlays().rev().map(|overlay| overlay.reminders().clone()).filter(|rows| !rows.is_empty()).collect()
    }

    /// What the overlays say of an actor's reminders, the oldest first.
    pub(super) fn reminders_of(&self, actor: &ActorId) -> Vec<reminders::Over> {
        let of = |overlay: &Overlay| {
            let rows = overlay.reminders().of(actor);
            rows.map(|(id, row)| (id.clone(), row.clone())).collect::<Vec<_>>()
        };
        self.overlays().flat_map(of).collect()
    }

    /// Oldest first.
    fn overlays(&self) -> impl DoubleEndedIterator<Item = &Overlay> + Clone {
        self.sealed.as_deref().into_iter().chain([&self.active])
    }

    /// What a page of a journal needs of the overlays.
    pub(super) fn journal(&self, actor: &ActorId, first: u64, limit: usize) -> journals::Over {
        journals::over(self.overlays().map(Overlay::journals), actor, first, limit)
    }

    pub(super) fn journal_snapshot(&self, actor: &ActorId) -> Option<JournalSnapshot> {
        journals::snapshot_over(self.overlays().map(Overlay::journals), actor)
    }

    /// What [`load`] needs of the overlays.
    pub(super) fn changed(&self, actor: &ActorId) -> Vec<Changed> {
        self.overlays().filter_map(|overlay| overlay.actor(actor)).cloned().collect()
    }

    /// What [`keys`] needs of the overlays.
    pub(super) fn keys(&self, kind: &KindName, after: Option<&Key>, limit: usize) -> BTreeSet<Key> {
        self.overlays().flat_map(|overlay| overlay.keys(kind, after).take(limit)).cloned().collect()
    }

    /// What an answer of outbox rows needs of the overlays, and how far it goes: to the end, or
    /// only up to that tell.
    pub(super) fn outbox(&self, after: Option<&TellId>, limit: usize) -> (Vec<Over>, Option<TellId>) {
        let mut below = self.sealed.iter().flat_map(|overlay| overlay.outbox(after)).peekable();
        let mut above = self.active.outbox(after).peekable();
        let (mut over, mut live) = (Vec::<Over>::new(), 0);
        loop {
            if live == limit || over.len() == OVER_MAX {
                let until = over.last().map(|(id, _)| id.clone());
                return (over, until);
            }
            let next = match (below.peek(), above.peek()) {
                (Some((lower, _)), Some((upper, _))) if lower < upper => below.next(),
                (Some((lower, _)), Some((upper, _))) => {
                    if lower == upper {
                        below.next();
                    }
                    above.next()
                }
                (Some(_), None) => below.next(),
                (None, _) => above.next(),
            };
            let Some((id, tell)) = next else { return (over, None) };
            live += usize::from(tell.is_some());
            over.push((id.clone(), tell.clone()));
        }
    }
}

/// An actor's e-tag and values; none when it never wrote.
pub(super) fn load(tables: &Tables, actor: &ActorId, changed: Vec<Changed>) -> Result<Option<Snapshot>, Broken> {
    let mut stored = tables.load(actor)?;
    for changed in changed {
        let snapshot = stored.get_or_insert_with(|| Snapshot { etag: 0, values: Default::default() });
        snapshot.etag = changed.etag;
        for (name, value) in changed.values {
            match value {
                Some(value) => snapshot.values.insert(name, value),
                None => snapshot.values.remove(&name),
            };
        }
    }
    Ok(stored)
}

/// The keys of a kind after that one, in order.
pub(super) fn keys(
    tables: &Tables,
    kind: &KindName,
    after: Option<&Key>,
    mut over: BTreeSet<Key>,
    limit: usize,
) -> Result<Vec<Key>, Broken> {
    over.extend(tables.keys(kind, after, limit)?);
    Ok(over.into_iter().take(limit).collect())
}
