//! The tables, their rows, and what is asked of them.
//!
//! | table       | key                         | row                          |
//! |-------------|-----------------------------|------------------------------|
//! | meta        | name                        | number: `format`, `reserved` |
//! | actors      | kind, key, none             | [`ActorRow`]                 |
//! | actors      | kind, key, some value name  | the value's bytes            |
//! | outbox      | kind, key, sequence         | [`TellRow`], the arguments   |
//! | deployments | name                        | [`Deployment`]               |
//! | components  | hash                        | the component's bytes        |
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
use redb::{ReadTransaction, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{Deployment, PAGE_BYTES_MAX, PAGE_MAX, Snapshot};

/// The version of this layout. A newer one is refused; an older one would be converted on opening.
pub(super) const FORMAT: u64 = 1;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const ACTORS: TableDefinition<'_, ActorKey<'_>, &[u8]> = TableDefinition::new("actors");
pub(super) const OUTBOX: TableDefinition<'_, TellKey<'_>, (&[u8], &[u8])> = TableDefinition::new("outbox");
pub(super) const DEPLOYMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("deployments");
pub(super) const COMPONENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("components");

/// In `meta`: [`FORMAT`] as it was when the file was made.
pub(super) const META_FORMAT: &str = "format";
/// In `meta`: the last reservation of numbers; one more with each start.
pub(super) const META_RESERVED: &str = "reserved";

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

/// An actor's e-tag and values; none when it never wrote.
pub(super) fn load(tx: &ReadTransaction, actor: &ActorId) -> Result<Option<Snapshot>, Broken> {
    let (kind, key, _) = actor_key(actor);
    let mut stored = None;
    for entry in tx.open_table(ACTORS)?.range(actor_key(actor)..)? {
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

/// The tells after that one, in order.
pub(super) fn outbox(
    tx: &ReadTransaction,
    after: Option<&TellId>,
    limit: usize,
) -> Result<Vec<(TellId, Tell)>, Broken> {
    let after = after.map_or(Bound::Unbounded, |id| Bound::Excluded(tell_key(id)));
    let mut page = Vec::new();
    let mut bytes = 0;
    for entry in tx.open_table(OUTBOX)?.range::<TellKey<'_>>((after, Bound::Unbounded))?.take(limit.min(PAGE_MAX)) {
        let (at, row) = entry?;
        let (kind, key, sequence) = at.value();
        let from = if kind.is_empty() { None } else { Some(actor(kind, key)?) };
        let (row, arguments) = row.value();
        let TellRow { to, method, chain } = parse(row, "a tell")?;
        let tell = Tell { to, method, arguments: arguments.to_vec(), chain };
        bytes += tell.bytes();
        page.push((TellId { from, sequence }, tell));
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(page)
}

/// The keys of a kind after that one, in order.
pub(super) fn keys(
    tx: &ReadTransaction,
    kind: &KindName,
    after: Option<&Key>,
    limit: usize,
) -> Result<Vec<Key>, Broken> {
    let table = tx.open_table(ACTORS)?;
    let kind = kind.as_str().as_bytes();
    let mut page = Vec::new();
    let mut from = after.map_or_else(Vec::new, next_key);
    while page.len() < limit.min(PAGE_MAX) {
        let Some(entry) = table.range::<ActorKey<'_>>((kind, from.as_slice(), None)..)?.next() else { break };
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

/// The least bytes above a key.
fn next_key(key: &Key) -> Vec<u8> {
    [key.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn deployments(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Vec<Deployment>, Broken> {
    let rows = table.range::<&str>(..)?;
    rows.map(|entry| parse(entry?.1.value(), "a deployment")).collect()
}

/// A stored row; `what` names it for people.
pub(super) fn parse<T: DeserializeOwned>(row: &[u8], what: &str) -> Result<T, Broken> {
    rmp_serde::from_slice(row).map_err(|error| Broken::Damaged(format!("{what}: {error}")))
}

/// A row to store.
pub(super) fn row(row: &impl Serialize) -> Result<Vec<u8>, Broken> {
    // Only a value that has no MessagePack form fails, and ours all have one.
    rmp_serde::to_vec(row).map_err(|error| Broken::Damaged(error.to_string()))
}

fn actor(kind: &[u8], key: &[u8]) -> Result<ActorId, Broken> {
    let damaged = |error: quark_core::id::IdError| Broken::Damaged(error.to_string());
    let kind = KindName::parse(text(kind, "a kind")?).map_err(damaged)?;
    Ok(ActorId { kind, key: Key::parse(text(key, "a key")?).map_err(damaged)? })
}

fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, Broken> {
    std::str::from_utf8(bytes).map_err(|error| Broken::Damaged(format!("{what}: {error}")))
}
