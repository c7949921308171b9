//! The tables, their rows, and what is asked of them.
//!
//! | table       | key                         | row                          |
//! |-------------|-----------------------------|------------------------------|
//! | meta        | name                        | number: `format`, `reserved`, `log` |
//! | actors      | kind, key, none             | [`ActorRow`]                 |
//! | actors      | kind, key, some value name  | the value's bytes            |
//! | outbox      | kind, key, sequence         | [`TellRow`], the arguments   |
//! | deployments | name                        | [`Deployment`]               |
//! | versions    | name, version               | [`Deployment`] that another replaced |
//! | components  | hash                        | the component's bytes        |
//! | journal     | kind, key, sequence         | an event's head, its payload |
//! | snapshots   | kind, key                   | sequence, time, bytes        |
//!
//! `reminders` has two more.
//!
//! Each value has a row of its own, so that a commit writes only what changed; it stands right
//! behind its actor's row, so that both are mostly on one page: what a commit costs beside the
//! fsync is the number of pages that it touches.
//!
//! Keys are tuples, compared part by part as bytes: no key runs into another, whatever characters
//! it holds, and rows sort as [`TellId`] and [`Key`] do. A tell from outside has an empty kind and
//! an empty key, which no actor has. Rows are MessagePack.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use quark_core::envelope::{Chain, Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::reminders::ReminderTables;
use crate::store::{Deployment, PAGE_BYTES_MAX, Snapshot};

/// The version of this layout. A newer one is refused; an older one would be converted on opening.
/// All that was written is in the tables.
pub(super) const FORMAT: u64 = 1;
/// The same tables, and beside them a log whose records they lack: a version of Quark that knows
/// nothing of the log must not open them. A store that closes goes back to [`FORMAT`].
pub(super) const FORMAT_LOGGED: u64 = 2;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const ACTORS: TableDefinition<'_, ActorKey<'_>, &[u8]> = TableDefinition::new("actors");
pub(super) const OUTBOX: TableDefinition<'_, TellKey<'_>, (&[u8], &[u8])> = TableDefinition::new("outbox");
pub(super) const DEPLOYMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("deployments");
/// It comes with the first deployment that replaces another: folders of before have none.
pub(super) const VERSIONS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("versions");
pub(super) const COMPONENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("components");

/// In `meta`: [`FORMAT`] or [`FORMAT_LOGGED`].
pub(super) const META_FORMAT: &str = "format";
/// In `meta`: the last reservation of numbers; one more with each start.
pub(super) const META_RESERVED: &str = "reserved";

/// In `meta`, with [`FORMAT_LOGGED`]: the first file of the log whose records the tables lack.
pub(super) const META_LOG: &str = "log";

pub(super) type ActorKey<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);
pub(super) type TellKey<'a> = (&'a [u8], &'a [u8], u64);

/// An actor beside its values.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ActorRow {
    pub(super) etag: u64,
}

/// A tell without its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TellRow {
    pub(super) to: ActorId,
    pub(super) method: String,
    pub(super) chain: Chain,
}

/// Why the database gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// Reading or writing the file failed; redb answers nothing any more until it is reopened.
    #[error("{0}")]
    Io(String),
    /// What is in the file is not what was written.
    #[error("{0}")]
    Damaged(String),
}

impl<E: Into<redb::Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        let error = error.into();
        // redb's errors grow with its versions; what is not known to be damage may pass.
        #[expect(clippy::wildcard_enum_match_arm)]
        match error {
            redb::Error::Corrupted(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_) => Self::Damaged(error.to_string()),
            redb::Error::Io(ref io) if io.kind() == std::io::ErrorKind::InvalidData => Self::Damaged(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Where an actor's row is.
pub(super) fn actor_key(actor: &ActorId) -> ActorKey<'_> {
    (actor.kind.as_str().as_bytes(), actor.key.as_str().as_bytes(), None)
}

/// Where the value of that name is.
pub(super) fn value_key<'a>(actor: &'a ActorId, name: &'a str) -> ActorKey<'a> {
    (actor.kind.as_str().as_bytes(), actor.key.as_str().as_bytes(), Some(name.as_bytes()))
}

pub(super) fn tell_key(id: &TellId) -> TellKey<'_> {
    match &id.from {
        Some(actor) => (actor.kind.as_str().as_bytes(), actor.key.as_str().as_bytes(), id.sequence),
        None => (&[], &[], id.sequence),
    }
}

/// What is asked of the tables, as they were committed at one moment.
pub(super) struct Tables {
    actors: ReadOnlyTable<ActorKey<'static>, &'static [u8]>,
    outbox: ReadOnlyTable<TellKey<'static>, (&'static [u8], &'static [u8])>,
    /// Each claim and each firing asks them, and opening takes longer than asking.
    reminders: ReminderTables,
    tx: ReadTransaction,
}

/// Where an outbox row of the tables is replaced: by a tell, or by none.
pub(super) type Over = (TellId, Option<Arc<Tell>>);

impl Tables {
    pub(super) fn open(tx: ReadTransaction) -> Result<Self, Broken> {
        let (actors, outbox, reminders) = (tx.open_table(ACTORS)?, tx.open_table(OUTBOX)?, ReminderTables::open(&tx)?);
        Ok(Self { actors, outbox, reminders, tx })
    }

    /// The actor's e-tag; 0 when it never wrote.
    pub(super) fn etag(&self, actor: &ActorId) -> Result<u64, Broken> {
        let Some(row) = self.actors.get(actor_key(actor))? else { return Ok(0) };
        Ok(parse::<ActorRow>(row.value(), "an actor")?.etag)
    }

    pub(super) fn has_tell(&self, id: &TellId) -> Result<bool, Broken> {
        Ok(self.outbox.get(tell_key(id))?.is_some())
    }

    /// An actor's e-tag and values; none when it never wrote.
    pub(super) fn load(&self, actor: &ActorId) -> Result<Option<Snapshot>, Broken> {
        let (kind, key, _) = actor_key(actor);
        let mut stored = None;
        for entry in self.actors.range(actor_key(actor)..)? {
            let (at, row) = entry?;
            match (at.value(), &mut stored) {
                ((of_kind, of_key, None), None) if (of_kind, of_key) == (kind, key) => {
                    let ActorRow { etag } = parse(row.value(), "an actor")?;
                    stored = Some(Snapshot { etag, values: BTreeMap::new() });
                }
                ((of_kind, of_key, Some(name)), Some(stored)) if (of_kind, of_key) == (kind, key) => {
                    let name = Arc::from(text(name, "a value's name")?);
                    stored.values.insert(name, Arc::from(row.value()));
                }
                _ => break,
            }
        }
        Ok(stored)
    }

    /// The tells after that one, in order, up to `until`; those of `over` replace the tables' own.
    pub(super) fn outbox(
        &self,
        after: Option<&TellId>,
        until: Option<&TellId>,
        over: Vec<Over>,
        limit: usize,
    ) -> Result<Vec<(TellId, Tell)>, Broken> {
        let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(tell_key(id)));
        let to = until.map_or(Bound::Unbounded, |id| Bound::Included(tell_key(id)));
        let mut page = Page { rows: Vec::new(), bytes: 0, limit };
        let mut over = over.into_iter().peekable();
        for entry in self.outbox.range::<TellKey<'_>>((from, to))? {
            let (at, row) = entry?;
            let (kind, key, sequence) = at.value();
            let id = TellId { from: if kind.is_empty() { None } else { Some(actor(kind, key)?) }, sequence };
            while let Some((over_id, tell)) = over.next_if(|(over, _)| *over < id) {
                page.push_over(over_id, tell);
            }
            match over.next_if(|(over, _)| *over == id) {
                Some((id, tell)) => page.push_over(id, tell),
                None if page.is_full() => {}
                None => {
                    let (row, arguments) = row.value();
                    let TellRow { to, method, chain } = parse(row, "a tell")?;
                    page.push(id, Tell { to, method, arguments: arguments.to_vec(), chain });
                }
            }
            if page.is_full() {
                return Ok(page.rows);
            }
        }
        over.for_each(|(id, tell)| page.push_over(id, tell));
        Ok(page.rows)
    }

    /// The keys of a kind after that one, in order.
    pub(super) fn keys(&self, kind: &KindName, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, Broken> {
        let kind = kind.as_str().as_bytes();
        let mut page = Vec::new();
        let mut from = after.map_or_else(Vec::new, next_key);
        while page.len() < limit {
            let Some(entry) = self.actors.range::<ActorKey<'_>>((kind, from.as_slice(), None)..)?.next() else { break };
            let (at, _) = entry?;
            let (of, key, _) = at.value();
            if of != kind {
                break;
            }
            let key = actor(of, key)?.key;
            // Leaps over the actor's values, which may be many and large.
            from = next_key(&key);
            page.push(key);
        }
        Ok(page)
    }

    /// The moment, for what is asked of other tables.
    pub(super) const fn tx(&self) -> &ReadTransaction {
        &self.tx
    }

    pub(super) const fn reminders(&self) -> &ReminderTables {
        &self.reminders
    }

    pub(super) fn deployments(&self) -> Result<Vec<Deployment>, Broken> {
        deployments(&self.tx.open_table(DEPLOYMENTS)?)
    }

    pub(super) fn earlier_versions(&self) -> Result<Vec<Deployment>, Broken> {
        match self.tx.open_table(VERSIONS) {
            Ok(table) => earlier_versions(&table),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn component(&self, hash: &str) -> Result<Option<Arc<[u8]>>, Broken> {
        Ok(self.tx.open_table(COMPONENTS)?.get(hash)?.map(|row| row.value().into()))
    }
}

/// An answer of outbox rows while it grows.
struct Page {
    rows: Vec<(TellId, Tell)>,
    bytes: usize,
    limit: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || self.bytes >= PAGE_BYTES_MAX
    }

    fn push(&mut self, id: TellId, tell: Tell) {
        self.bytes += tell.bytes();
        self.rows.push((id, tell));
    }

    fn push_over(&mut self, id: TellId, tell: Option<Arc<Tell>>) {
        if let Some(tell) = tell
            && !self.is_full()
        {
            self.push(id, Arc::unwrap_or_clone(tell));
        }
    }
}

/// The least bytes above a key.
fn next_key(key: &Key) -> Vec<u8> {
    [key.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn deployments(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Vec<Deployment>, Broken> {
    let rows = table.range::<&str>(..)?;
    rows.map(|entry| parse(entry?.1.value(), "a deployment")).collect()
}

pub(super) fn earlier_versions(
    table: &impl ReadableTable<(&'static str, u64), &'static [u8]>,
) -> Result<Vec<Deployment>, Broken> {
    let rows = table.range::<(&str, u64)>(..)?;
    rows.map(|entry| parse(entry?.1.value(), "a version of a deployment")).collect()
}

/// A stored row; `what` names it for people.
pub(super) fn parse<'a, T: Deserialize<'a>>(row: &'a [u8], what: &str) -> Result<T, Broken> {
    rmp_serde::from_slice(row).map_err(|error| Broken::Damaged(format!("{what}: {error}")))
}

/// A row to store.
pub(super) fn row(row: &impl Serialize) -> Result<Vec<u8>, Broken> {
    // Only a value that has no MessagePack form fails, and ours all have one.
    rmp_serde::to_vec(row).map_err(|error| Broken::Damaged(error.to_string()))
}

pub(super) fn actor(kind: &[u8], key: &[u8]) -> Result<ActorId, Broken> {
    let damaged = |error: quark_core::id::IdError| Broken::Damaged(error.to_string());
    let kind = KindName::parse(text(kind, "a kind")?).map_err(damaged)?;
    Ok(ActorId { kind, key: Key::parse(text(key, "a key")?).map_err(damaged)? })
}

pub(super) fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Broken> {
    std::str::from_utf8(bytes).map_err(|error| Broken::Damaged(format!("{what}: {error}")))
}
