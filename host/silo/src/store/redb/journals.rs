//! Journals: what a generation of the log changes of them, and their tables.
//!
//! A journal only grows at its end and is dropped from its start. So what the tables have stands before
//! what the overlays have, and a row that is in both is the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quark_core::id::ActorId;
use quark_core::journal::{Entry, Event, JournalWrite, Snapshot};
use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::tables::{Broken, actor_key, parse, row};
use crate::store::PAGE_BYTES_MAX;

/// [`EventRow`] and the payload. It comes with the first event: folders of before have none.
const JOURNAL: TableDefinition<'_, EntryKey<'_>, (&[u8], &[u8])> = TableDefinition::new("journal");
/// Sequence, time, bytes. It comes with the first snapshot.
const SNAPSHOTS: TableDefinition<'_, SnapshotKey<'_>, (u64, u64, &[u8])> = TableDefinition::new("snapshots");

/// What a row counts beside its bytes.
const ROW_OVERHEAD: usize = 256;

type EntryKey<'a> = (&'a [u8], &'a [u8], u64);
type SnapshotKey<'a> = (&'a [u8], &'a [u8]);

/// An event without its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EventRow<'a> {
    at_ms: u64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    content_type: Cow<'a, str>,
}

fn entry_key(actor: &ActorId, sequence: u64) -> EntryKey<'_> {
    let (kind, key, _) = actor_key(actor);
    (kind, key, sequence)
}

fn snapshot_key(actor: &ActorId) -> SnapshotKey<'_> {
    let (kind, key, _) = actor_key(actor);
    (kind, key)
}

/// What a generation of the log changes of journals.
#[derive(Debug, Default)]
pub(super) struct Journals {
    actors: HashMap<ActorId, Changed>,
}

/// What became of one journal.
#[derive(Debug, Default)]
struct Changed {
    entries: BTreeMap<u64, Entry>,
    snapshot: Option<Snapshot>,
    drop_through: u64,
}

/// How many rows of the tables something changes, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Size {
    fn add(&mut self, entry: &Entry) {
        self.rows += 1;
        self.bytes += entry.bytes() + ROW_OVERHEAD;
    }
}

impl Changed {
    fn size(&self) -> Size {
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.bytes.len());
        let rows = self.entries.len() + usize::from(snapshot.is_some()) + usize::from(self.drop_through > 0);
        let entries: usize = self.entries.values().map(Entry::bytes).sum();
        Size { rows, bytes: entries + snapshot.unwrap_or(0) + rows * ROW_OVERHEAD }
    }
}

impl Journals {
    /// Applies a write; gives what it replaced and what is there in its place.
    pub(super) fn apply(&mut self, actor: ActorId, write: JournalWrite) -> (Size, Size) {
        let changed = self.actors.entry(actor).or_default();
        let JournalWrite { entries, snapshot, drop_through } = write;
        if snapshot.is_none() && drop_through == 0 {
            // Mostly: it grows, and need not be counted from its start.
            let (mut replaced, mut there) = (Size::default(), Size::default());
            for entry in entries {
                there.add(&entry);
                if let Some(before) = changed.entries.insert(entry.sequence, entry) {
                    replaced.add(&before);
                }
            }
            return (replaced, there);
        }
        let before = changed.size();
        changed.entries.extend(entries.into_iter().map(|entry| (entry.sequence, entry)));
        changed.drop_through = changed.drop_through.max(drop_through);
        changed.entries = changed.entries.split_off(&changed.drop_through.saturating_add(1));
        changed.snapshot = snapshot.or_else(|| changed.snapshot.take());
        (before, changed.size())
    }

    /// Puts all of it into the tables.
    pub(super) fn fill(&self, tx: &WriteTransaction) -> Result<(), Broken> {
        if self.actors.is_empty() {
            return Ok(());
        }
        let (mut journal, mut snapshots) = (tx.open_table(JOURNAL)?, tx.open_table(SNAPSHOTS)?);
        for (actor, changed) in &self.actors {
            for (sequence, entry) in &changed.entries {
                let Event { name, content_type, payload } = &entry.event;
                let (name, content_type) = (Cow::Borrowed(&**name), Cow::Borrowed(&**content_type));
                let head = row(&EventRow { at_ms: entry.at_ms, name, content_type })?;
                journal.insert(entry_key(actor, *sequence), (head.as_slice(), &payload[..]))?;
            }
            if let Some(Snapshot { sequence, at_ms, bytes }) = &changed.snapshot {
                snapshots.insert(snapshot_key(actor), (*sequence, *at_ms, &bytes[..]))?;
            }
            if changed.drop_through > 0 {
                let dropped = entry_key(actor, 0)..=entry_key(actor, changed.drop_through);
                journal.retain_in(dropped, |_, _| false)?;
            }
        }
        Ok(())
    }
}

/// What a page of a journal needs of the overlays.
#[derive(Debug)]
pub(super) struct Over {
    /// What comes before it was dropped, or was not asked for.
    first: u64,
    limit: usize,
    entries: BTreeMap<u64, Entry>,
}

/// A page from that event on, as far as overlays have it; oldest overlay first.
pub(super) fn over<'a>(
    overlays: impl Iterator<Item = &'a Journals> + Clone,
    actor: &ActorId,
    first: u64,
    limit: usize,
) -> Over {
    let changed = overlays.filter_map(|journals| journals.actors.get(actor));
    let dropped = changed.clone().map(|changed| changed.drop_through).max().unwrap_or(0);
    let first = first.max(dropped.saturating_add(1));
    let mut entries = BTreeMap::new();
    for changed in changed {
        let page = changed.entries.range(first..).take(limit);
        entries.extend(page.map(|(sequence, entry)| (*sequence, entry.clone())));
    }
    Over { first, limit, entries }
}

/// The page, of what the tables have and then of what the overlays have.
pub(super) fn page(tx: &ReadTransaction, actor: &ActorId, over: Over) -> Result<Vec<Entry>, Broken> {
    let Over { first, limit, entries } = over;
    let (mut page, mut bytes) = (Vec::new(), 0);
    let before = entries.keys().next().copied();
    match tx.open_table(JOURNAL) {
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
        Ok(_) if before == Some(first) => {}
        Ok(table) => {
            let last = before.map_or(u64::MAX, |before| before - 1);
            for stored in table.range(entry_key(actor, first)..=entry_key(actor, last))? {
                if page.len() >= limit || bytes >= PAGE_BYTES_MAX {
                    return Ok(page);
                }
                let (key, value) = stored?;
                let (_, _, sequence) = key.value();
                let (head, payload) = value.value();
                let EventRow { at_ms, name, content_type } =
                    parse(head, "its row").map_err(|error| of_event(sequence, error))?;
                // Events that follow one another are mostly of few shapes.
                let before = page.last().map(|before: &Entry| &before.event);
                let name = shared(before.map(|before| &before.name), &name);
                let content_type = shared(before.map(|before| &before.content_type), &content_type);
                let entry = Entry { sequence, at_ms, event: Event { name, content_type, payload: payload.into() } };
                bytes += entry.bytes();
                page.push(entry);
            }
        }
    }
    for entry in entries.into_values() {
        if page.len() >= limit || bytes >= PAGE_BYTES_MAX {
            break;
        }
        bytes += entry.bytes();
        page.push(entry);
    }
    Ok(page)
}

/// The same text without a copy, if the event before has it.
fn shared(before: Option<&Arc<str>>, text: &str) -> Arc<str> {
    before.filter(|before| ***before == *text).map_or_else(|| text.into(), Arc::clone)
}

/// Names the event that cannot be read.
fn of_event(sequence: u64, error: Broken) -> Broken {
    match error {
        Broken::Damaged(reason) => Broken::Damaged(format!("event {sequence} of a journal: {reason}")),
        io @ Broken::Io(_) => io,
    }
}

/// The newest snapshot that overlays have; oldest overlay first.
pub(super) fn snapshot_over<'a>(
    overlays: impl DoubleEndedIterator<Item = &'a Journals>,
    actor: &ActorId,
) -> Option<Snapshot> {
    overlays.rev().find_map(|journals| journals.actors.get(actor)?.snapshot.clone())
}

/// The snapshot that the tables have.
pub(super) fn stored_snapshot(tx: &ReadTransaction, actor: &ActorId) -> Result<Option<Snapshot>, Broken> {
    match tx.open_table(SNAPSHOTS) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(table) => Ok(table.get(snapshot_key(actor))?.map(|stored| {
            let (sequence, at_ms, bytes) = stored.value();
            Snapshot { sequence, at_ms, bytes: bytes.into() }
        })),
    }
}
