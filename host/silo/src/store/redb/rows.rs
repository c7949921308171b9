//! What a record of the log says: writes, as MessagePack.

use std::borrow::Cow;

use quark_core::commit::{Commit, Write};
use quark_core::envelope::{Chain, Tell, TellId};
use quark_core::id::ActorId;
use quark_core::journal::{Entry, Event, JournalWrite, Snapshot};
use quark_core::reminders::{Reminder, ReminderChange, ReminderId};
use quark_core::state::Change;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::reminders::ReminderRow;
use super::tables::{Broken, parse};

/// Before each row: its length.
const LENGTH_BYTES: usize = 4;

/// One write, as it is applied: all checks were made before it was logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Its generation means nothing any more.
    Commit(Commit),
    Accept(u64, Tell),
    Discard(TellId),
    /// Behind the commit that it is a part of.
    Journal(ActorId, JournalWrite),
    /// A reminder as it is from then on; none when it is gone.
    Moved(ReminderId, Option<Box<Reminder>>),
}

#[derive(Serialize, Deserialize)]
enum Row<'a> {
    #[serde(rename = "c", borrow)]
    Commit(CommitRow<'a>),
    #[serde(rename = "a", borrow)]
    Accept(AcceptRow<'a>),
    #[serde(rename = "d")]
    Discard(Cow<'a, TellId>),
    #[serde(rename = "j", borrow)]
    Journal(JournalRow<'a>),
    #[serde(rename = "r", borrow)]
    Moved(MovedRow<'a>),
}

#[derive(Serialize, Deserialize)]
struct CommitRow<'a> {
    actor: Cow<'a, ActorId>,
    etag: u64,
    #[serde(borrow)]
    changes: Vec<(&'a str, Option<Bytes<'a>>)>,
    #[serde(borrow)]
    tells: Vec<TellRow<'a>>,
    handled: Option<Cow<'a, TellId>>,
    /// Reminders that it changed as they are from then on; none for those that are gone. Rows of versions without
    /// reminders end in front of it.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    reminders: Vec<(&'a str, Option<ReminderRow<'a>>)>,
}

#[derive(Serialize, Deserialize)]
struct MovedRow<'a> {
    actor: Cow<'a, ActorId>,
    name: &'a str,
    #[serde(borrow)]
    row: Option<ReminderRow<'a>>,
}

#[derive(Serialize, Deserialize)]
struct AcceptRow<'a> {
    sequence: u64,
    #[serde(borrow)]
    tell: TellRow<'a>,
}

#[derive(Serialize, Deserialize)]
struct JournalRow<'a> {
    actor: Cow<'a, ActorId>,
    #[serde(borrow)]
    entries: Vec<EntryRow<'a>>,
    /// Sequence, time, bytes.
    #[serde(borrow)]
    snapshot: Option<(u64, u64, Bytes<'a>)>,
    drop_through: u64,
}

#[derive(Serialize, Deserialize)]
struct EntryRow<'a> {
    sequence: u64,
    at_ms: u64,
    name: &'a str,
    content_type: &'a str,
    #[serde(borrow)]
    payload: Bytes<'a>,
}

#[derive(Serialize, Deserialize)]
struct TellRow<'a> {
    to: Cow<'a, ActorId>,
    method: &'a str,
    #[serde(borrow)]
    arguments: Bytes<'a>,
    chain: Cow<'a, Chain>,
}

/// Bytes that are written as such; serde takes a slice for a list of numbers.
#[derive(Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

/// With `fires` the reminder that it fired moves on.
pub(super) fn put_commit(record: &mut Vec<u8>, commit: &Commit, fires: bool) -> Result<(), Broken> {
    let Write { changes, tells, handled, fired, reminders, journal } = &commit.write;
    let fired = fired.as_ref().filter(|_| fires).map(|fired| (&*fired.row.id.name, fired.after()));
    let mut of_reminders: Vec<(&str, Option<ReminderRow<'_>>)> = Vec::new();
    of_reminders.extend(fired.iter().map(|(name, after)| (*name, after.as_ref().map(ReminderRow::of))));
    of_reminders.extend(reminders.iter().map(|change| match change {
        ReminderChange::Set(row) => (&*row.id.name, Some(ReminderRow::of(row))),
        ReminderChange::Remove(id) => (&*id.name, None),
    }));
    let row = CommitRow {
        actor: Cow::Borrowed(&commit.actor),
        etag: commit.etag,
        changes: changes.iter().map(|change| (&*change.name, change.value.as_deref().map(Bytes))).collect(),
        tells: tells.iter().map(TellRow::of).collect(),
        handled: handled.as_ref().map(Cow::Borrowed),
        reminders: of_reminders,
    };
    put(record, &Row::Commit(row))?;
    journal.as_ref().map_or(Ok(()), |journal| put_journal(record, &commit.actor, journal))
}

/// Right behind its commit, so that it is in the same record.
pub(super) fn put_journal(record: &mut Vec<u8>, actor: &ActorId, write: &JournalWrite) -> Result<(), Broken> {
    let snapshot = write.snapshot.as_ref();
    let row = JournalRow {
        actor: Cow::Borrowed(actor),
        entries: write.entries.iter().map(EntryRow::of).collect(),
        snapshot: snapshot.map(|snapshot| (snapshot.sequence, snapshot.at_ms, Bytes(&snapshot.bytes))),
        drop_through: write.drop_through,
    };
    put(record, &Row::Journal(row))
}

pub(super) fn put_accept(record: &mut Vec<u8>, sequence: u64, tell: &Tell) -> Result<(), Broken> {
    put(record, &Row::Accept(AcceptRow { sequence, tell: TellRow::of(tell) }))
}

pub(super) fn put_discard(record: &mut Vec<u8>, id: &TellId) -> Result<(), Broken> {
    put(record, &Row::Discard(Cow::Borrowed(id)))
}

pub(super) fn put_moved(record: &mut Vec<u8>, id: &ReminderId, row: Option<&Reminder>) -> Result<(), Broken> {
    let row = MovedRow { actor: Cow::Borrowed(&id.actor), name: &id.name, row: row.map(ReminderRow::of) };
    put(record, &Row::Moved(row))
}

fn put(record: &mut Vec<u8>, row: &Row<'_>) -> Result<(), Broken> {
    let start = record.len();
    record.extend_from_slice(&[0; LENGTH_BYTES]);
    // Only a value that has no MessagePack form fails, and ours all have one.
    rmp_serde::encode::write(record, row).map_err(|error| Broken::Damaged(error.to_string()))?;
    let length = record.len() - start - LENGTH_BYTES;
    // What does not fit into a length does not fit into a record, and is taken out again.
    record[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// The writes of one record, in order.
pub(super) fn items(payload: &[u8]) -> impl Iterator<Item = Result<Item, Broken>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let row = std::mem::take(&mut rest).split_first_chunk().and_then(|(length, rows)| {
            let (row, others) = rows.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = others;
            Some(row)
        });
        let row = row.ok_or_else(|| Broken::Damaged("a logged write is cut off".into()));
        Some(row.and_then(|row| parse::<Row<'_>>(row, "a logged write")).map(Row::item))
    })
}

impl Row<'_> {
    fn item(self) -> Item {
        match self {
            Self::Commit(row) => {
                let value = |value: Option<Bytes<'_>>| value.map(|Bytes(value)| value.into());
                let changes = row.changes.into_iter();
                let id = |name: &str| ReminderId { actor: (*row.actor).clone(), name: name.into() };
                let reminder = |(name, row): (&str, Option<ReminderRow<'_>>)| match row {
                    Some(row) => ReminderChange::Set(Box::new(row.reminder(id(name)))),
                    None => ReminderChange::Remove(id(name)),
                };
                let write = Write {
                    fired: None,
                    reminders: row.reminders.into_iter().map(reminder).collect(),
                    changes: changes.map(|(name, bytes)| Change { name: name.into(), value: value(bytes) }).collect(),
                    tells: row.tells.into_iter().map(TellRow::tell).collect(),
                    handled: row.handled.map(Cow::into_owned),
                    journal: None,
                };
                Item::Commit(Commit { actor: row.actor.into_owned(), generation: 0, etag: row.etag, write })
            }
            Self::Accept(row) => Item::Accept(row.sequence, row.tell.tell()),
            Self::Discard(id) => Item::Discard(id.into_owned()),
            Self::Journal(row) => {
                let snapshot = row.snapshot.map(|(sequence, at_ms, Bytes(bytes))| Snapshot {
                    sequence,
                    at_ms,
                    bytes: bytes.into(),
                });
                let entries = row.entries.into_iter().map(EntryRow::entry).collect();
                let write = JournalWrite { entries, snapshot, drop_through: row.drop_through };
                Item::Journal(row.actor.into_owned(), write)
            }
            Self::Moved(MovedRow { actor, name, row }) => {
                let id = ReminderId { actor: actor.into_owned(), name: name.into() };
                Item::Moved(id.clone(), row.map(|row| Box::new(row.reminder(id))))
            }
        }
    }
}

impl<'a> EntryRow<'a> {
    fn of(entry: &'a Entry) -> Self {
        let Entry { sequence, at_ms, event: Event { name, content_type, payload } } = entry;
        Self { sequence: *sequence, at_ms: *at_ms, name, content_type, payload: Bytes(payload) }
    }

    fn entry(self) -> Entry {
        let Self { sequence, at_ms, name, content_type, payload: Bytes(payload) } = self;
        let event = Event { name: name.into(), content_type: content_type.into(), payload: payload.into() };
        Entry { sequence, at_ms, event }
    }
}

impl<'a> TellRow<'a> {
    fn of(tell: &'a Tell) -> Self {
        let Tell { to, method, arguments, chain } = tell;
        Self { to: Cow::Borrowed(to), method, arguments: Bytes(arguments), chain: Cow::Borrowed(chain) }
    }

    fn tell(self) -> Tell {
        Tell {
            to: self.to.into_owned(),
            method: self.method.into(),
            arguments: self.arguments.0.into(),
            chain: self.chain.into_owned(),
        }
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Bytes<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Bytes(bytes))
            }
        }
        from.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quark_core::reminders::{Fired, Stand};

    use super::*;
    use crate::store::conformance::{actor, entry, reminder, tell};

    fn some() -> (Vec<u8>, Vec<Item>) {
        let change = |name: &str, value: Option<&[u8]>| Change { name: name.into(), value: value.map(Into::into) };
        let commit = Commit {
            actor: actor("a"),
            generation: 0,
            etag: 3,
            write: Write {
                changes: vec![change("", Some(b"")), change("é", Some(&[200; 300])), change("gone", None)],
                tells: vec![tell("b", &[255; 40]), tell("c", b"")],
                handled: Some(TellId { from: None, sequence: u64::MAX }),
                journal: None,
                fired: None,
                reminders: vec![
                    ReminderChange::Set(Box::new(reminder("a", "é", 9))),
                    ReminderChange::Remove(reminder("a", "gone", 9).id),
                ],
            },
        };
        let snapshot = Snapshot { sequence: 8, at_ms: 9, bytes: Arc::from([7; 300]) };
        let entries = vec![entry(7, b""), entry(8, &[0; 70])];
        let journal = JournalWrite { entries, snapshot: Some(snapshot), drop_through: 6 };
        let discarded = TellId { from: Some(actor("b")), sequence: 4096 };
        let mut payload = Vec::new();
        let mut whole = commit.clone();
        whole.write.journal = Some(Box::new(journal.clone()));
        put_commit(&mut payload, &whole, true).unwrap();
        put_accept(&mut payload, 7, &tell("b", b"x")).unwrap();
        put_discard(&mut payload, &discarded).unwrap();
        let moved = Box::new(reminder("b", "m", u64::MAX));
        put_moved(&mut payload, &moved.id, Some(&moved)).unwrap();
        put_moved(&mut payload, &moved.id, None).unwrap();
        let (set, gone) = (Item::Moved(moved.id.clone(), Some(moved.clone())), Item::Moved(moved.id, None));
        let journal = Item::Journal(commit.actor.clone(), journal);
        let tells = [Item::Commit(commit), journal, Item::Accept(7, tell("b", b"x")), Item::Discard(discarded)];
        (payload, tells.into_iter().chain([set, gone]).collect())
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let (payload, expect) = some();
        assert_eq!(items(&payload).collect::<Result<Vec<_>, _>>().unwrap(), expect);
        assert_eq!(items(&[]).count(), 0);
    }

    #[test]
    fn a_commit_moves_its_reminder_on_only_when_that_stands() {
        let row = reminder("a", "r", 9);
        let to = Some(Stand::at(10));
        let fired = Some(Box::new(Fired::new(Arc::new(row.clone()), to)));
        let write = Write { fired, ..Write::default() };
        let commit = Commit { actor: actor("a"), generation: 0, etag: 3, write };
        let mut payload = Vec::new();
        put_commit(&mut payload, &commit, true).unwrap();
        let with = payload.len();
        put_commit(&mut payload, &commit, false).unwrap();
        let read: Vec<_> = items(&payload).map(Result::unwrap).collect();
        let [Item::Commit(moved), Item::Commit(stale)] = &read[..] else { panic!("{read:?}") };
        let after = row.moved(Stand::at(10));
        assert_eq!(moved.write.reminders, [ReminderChange::Set(Box::new(after))]);
        assert_eq!(stale.write, Write::default());
        // As versions without reminders wrote it.
        assert_eq!(payload[with + 4 + 3], 0x95);
    }

    /// Cut or changed anywhere: an error or other rows, never a panic, and always an end.
    #[test]
    fn any_bytes_come_to_an_end() {
        let (payload, _) = some();
        for at in 0..payload.len() {
            assert!(items(&payload[..at]).count() <= 6);
            for change in [0x01, 0x80, 0xff] {
                let mut scratched = payload.clone();
                scratched[at] ^= change;
                assert!(items(&scratched).count() <= payload.len());
            }
        }
        // Arrays, strings and maps of four billion.
        for hostile in [&[0xdd, 255, 255, 255, 255][..], &[0xdb, 255, 255, 255, 255], &[0xdf, 255, 255, 255, 255, 1]] {
            assert!(items(hostile).all(|item| item.is_err()));
            let inside = [&[9, 0, 0, 0, 0x81, 0xa1, b'c', 0x95][..], hostile].concat();
            assert!(items(&inside).all(|item| item.is_err()));
        }
    }
}
