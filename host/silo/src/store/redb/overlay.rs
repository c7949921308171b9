//! Rows that are in the log and not yet in the tables.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use quark_core::commit::Commit;
use quark_core::envelope::{Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::journal::JournalWrite;
use quark_core::reminders::{Reminder, ReminderChange, ReminderId};
use quark_core::state::Value;

use super::journals::Journals;
use super::rows::Item;
use super::space::Load;
use crate::store::reminders::ReminderRows;

/// What a row counts beside its bytes.
const ROW_OVERHEAD: usize = 256;

/// What one generation of the log changes. Whatever was changed twice is here once, and a tell
/// that was sent and handled is not here at all.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    actors: HashMap<KindName, BTreeMap<Key, Changed>>,
    /// Sent, or (none) gone from the rows below.
    outbox: BTreeMap<TellId, Option<Arc<Tell>>>,
    journals: Journals,
    /// Whoever reads them holds them as they are: a write meanwhile takes a copy.
    reminders: Arc<ReminderRows>,
    rows: usize,
    bytes: usize,
}

/// What became of one actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// The e-tag in the rows below.
    pub(super) before: u64,
    pub(super) etag: u64,
    /// Set, or (none) deleted from the rows below.
    pub(super) values: BTreeMap<Arc<str>, Option<Value>>,
}

impl Overlay {
    /// Applies a write that passed all checks; false, with nothing applied, for a commit that
    /// does not follow the actor's last one.
    pub(super) fn apply(&mut self, item: Item) -> bool {
        match item {
            Item::Commit(commit) => return self.commit(commit),
            Item::Accept(sequence, tell) => self.send(TellId { from: None, sequence }, tell),
            Item::Discard(id) => self.remove(id),
            Item::Journal(actor, write) => {
                let follows = self.actor(&actor).is_some();
                if follows {
                    self.journal(actor, write);
                }
                return follows;
            }
            Item::Moved(id, row) => self.remind(id, row),
        }
        true
    }

    fn commit(&mut self, mut commit: Commit) -> bool {
        let tells = std::mem::take(&mut commit.write.tells);
        let sent: Vec<_> = tells.into_iter().enumerate().map(|(n, tell)| (commit.tell_id(n), tell)).collect();
        let Some(before) = commit.etag.checked_sub(1) else { return false };
        let journal = commit.write.journal.take().map(|write| (commit.actor.clone(), write));
        let ActorId { kind, key } = commit.actor;
        let names = key.as_str().len() + ROW_OVERHEAD;
        let changed = self.actors.entry(kind).or_default().entry(key).or_insert_with(|| {
            self.rows += 1;
            self.bytes += names;
            Changed { before, etag: before, values: BTreeMap::new() }
        });
        if changed.etag != before {
            return false;
        }
        changed.etag = commit.etag;
        for change in commit.write.changes {
            let name_bytes = change.name.len();
            self.bytes += change.value.as_ref().map_or(0, |value| value.len());
            match changed.values.insert(change.name, change.value) {
                Some(replaced) => self.bytes -= replaced.map_or(0, |value| value.len()),
                None => {
                    self.rows += 1;
                    self.bytes += name_bytes + names;
                }
            }
        }
        if let Some(fired) = commit.write.fired {
            self.remind(fired.row.id.clone(), fired.after().map(Box::new));
        }
        for change in commit.write.reminders {
            match change {
                ReminderChange::Set(row) => self.remind(row.id.clone(), Some(row)),
                ReminderChange::Remove(id) => self.remind(id, None),
            }
        }
        if let Some(handled) = commit.write.handled {
            self.remove(handled);
        }
        for (id, tell) in sent {
            self.send(id, tell);
        }
        if let Some((actor, write)) = journal {
            self.journal(actor, *write);
        }
        true
    }

    fn journal(&mut self, actor: ActorId, write: JournalWrite) {
        let (replaced, there) = self.journals.apply(actor, write);
        self.rows = self.rows + there.rows - replaced.rows;
        self.bytes = self.bytes + there.bytes - replaced.bytes;
    }

    fn send(&mut self, id: TellId, tell: Tell) {
        self.rows += 1;
        self.bytes += tell.bytes() + ROW_OVERHEAD;
        self.outbox.insert(id, Some(Arc::new(tell)));
    }

    fn remove(&mut self, id: TellId) {
        // A tell that was sent here is not below: its id is its own for ever.
        if let Some(Some(tell)) = self.outbox.get(&id) {
            self.rows -= 1;
            self.bytes -= tell.bytes() + ROW_OVERHEAD;
            self.outbox.remove(&id);
        } else if self.outbox.insert(id, None).is_none() {
            self.rows += 1;
            self.bytes += ROW_OVERHEAD;
        }
    }

    /// Two tables have it.
    fn remind(&mut self, id: ReminderId, row: Option<Box<Reminder>>) {
        self.bytes += row.as_ref().map_or(0, |row| row.bytes());
        match Arc::make_mut(&mut self.reminders).put(id, row.map(Arc::from)) {
            Some(before) => self.bytes -= before.map_or(0, |row| row.bytes()),
            None => {
                self.rows += 2;
                self.bytes += 2 * ROW_OVERHEAD;
            }
        }
    }

    pub(super) fn reminders(&self) -> &Arc<ReminderRows> {
        &self.reminders
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many rows of the tables it changes.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn load(&self) -> Load {
        Load { bytes: self.bytes, rows: self.rows }
    }

    pub(super) fn journals(&self) -> &Journals {
        &self.journals
    }

    pub(super) fn actor(&self, actor: &ActorId) -> Option<&Changed> {
        self.actors.get(&actor.kind)?.get(&actor.key)
    }

    /// Whether the tell is there, if this generation says so.
    pub(super) fn tell(&self, id: &TellId) -> Option<bool> {
        self.outbox.get(id).map(Option::is_some)
    }

    pub(super) fn actors(&self) -> impl Iterator<Item = (&KindName, &Key, &Changed)> {
        self.actors.iter().flat_map(|(kind, keys)| keys.iter().map(move |(key, changed)| (kind, key, changed)))
    }

    /// Keys of that kind behind that one, in order.
    pub(super) fn keys(&self, kind: &KindName, after: Option<&Key>) -> impl Iterator<Item = &Key> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.actors.get(kind).map(|keys| keys.range::<Key, _>((from, Bound::Unbounded)));
        keys.into_iter().flatten().map(|(key, _)| key)
    }

    /// Outbox rows behind that one, in order.
    pub(super) fn outbox(&self, after: Option<&TellId>) -> impl Iterator<Item = (&TellId, &Option<Arc<Tell>>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.outbox.range::<TellId, _>((from, Bound::Unbounded))
    }
}

#[cfg(test)]
mod tests {
    use quark_core::commit::Write;
    use quark_core::state::Change;

    use super::*;
    use crate::store::conformance::{actor, tell};

    fn commit(etag: u64, write: Write) -> Item {
        Item::Commit(Commit { actor: actor("a"), generation: 0, etag, write })
    }

    fn set(etag: u64, name: &str, value: &[u8]) -> Item {
        let change = Change { name: name.into(), value: Some(value.into()) };
        commit(etag, Write { changes: vec![change], ..Write::default() })
    }

    #[test]
    fn writes_of_one_actor_are_one_change() {
        let mut overlay = Overlay::default();
        assert!(overlay.apply(set(5, "v", &[1; 100])));
        let (rows, bytes) = (overlay.rows(), overlay.bytes());
        for etag in 6..50 {
            assert!(overlay.apply(set(etag, "v", &[2; 100])));
        }
        assert_eq!((overlay.rows(), overlay.bytes()), (rows, bytes));
        let changed = overlay.actor(&actor("a")).unwrap();
        assert_eq!((changed.before, changed.etag), (4, 49));
        assert!(!overlay.apply(set(49, "v", b"again")) && !overlay.apply(set(51, "v", b"a gap")));
        assert_eq!(overlay.actor(&actor("a")).unwrap().etag, 49);
    }

    #[test]
    fn a_tell_sent_and_handled_leaves_nothing_and_one_from_below_a_mark() {
        let mut overlay = Overlay::default();
        overlay.apply(commit(1, Write { tells: vec![tell("b", b"x")], ..Write::default() }));
        let id = overlay.outbox(None).next().unwrap().0.clone();
        let size = (overlay.rows(), overlay.bytes());
        overlay.apply(Item::Accept(9, tell("b", b"y")));
        overlay.apply(Item::Discard(TellId { from: None, sequence: 9 }));
        assert_eq!((overlay.rows(), overlay.bytes()), size);
        assert_eq!(overlay.tell(&id), Some(true));
        overlay.apply(commit(2, Write { handled: Some(id.clone()), ..Write::default() }));
        assert_eq!(overlay.tell(&id), None);
        let below = TellId { from: None, sequence: 1 };
        overlay.apply(Item::Discard(below.clone()));
        overlay.apply(Item::Discard(below.clone()));
        assert_eq!((overlay.tell(&below), overlay.rows()), (Some(false), size.0));
    }
}
