//! The throw-away store: everything in one mutex, gone when it is dropped.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use parking_lot::Mutex;
use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::{Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::journal::{self, Entry, JournalWrite};
use quark_core::reminders::{Fired, Place, Reminder, ReminderChange};

use super::reminders::ReminderRows;
use super::{
    Claim, Deployment, Done, PAGE_BYTES_MAX, PAGE_MAX, Snapshot, Store, StoreError, StoreHealth, VERSIONS_MAX,
};

/// Milliseconds that a refused caller is told to wait.
const RETRY_MS: u64 = 100;

/// A store in this process's memory. Writes are done before the call returns.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// The newest generation of each claimed actor.
    claims: HashMap<ActorId, u64>,
    /// The last generation, and the last id from outside, that were given away.
    numbers: u64,
    actors: BTreeMap<ActorId, Snapshot>,
    outbox: BTreeMap<TellId, Tell>,
    journals: HashMap<ActorId, Journal>,
    reminders: ReminderRows,
    deployments: BTreeMap<String, Deployment>,
    earlier: BTreeMap<(String, u64), Deployment>,
    components: BTreeMap<String, Arc<[u8]>>,
    closed: bool,
    /// What every write is answered instead of being done.
    refusal: Option<CommitError>,
}

#[derive(Debug, Default)]
struct Journal {
    entries: BTreeMap<u64, Entry>,
    snapshot: Option<journal::Snapshot>,
}

impl Journal {
    fn write(&mut self, write: JournalWrite) {
        self.entries.extend(write.entries.into_iter().map(|entry| (entry.sequence, entry)));
        if write.drop_through > 0 {
            self.entries = self.entries.split_off(&write.drop_through.saturating_add(1));
        }
        self.snapshot = write.snapshot.or_else(|| self.snapshot.take());
    }

    fn page(&self, first: u64, limit: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let page = self.entries.range(first..).take(limit.min(PAGE_MAX)).take_while(|(_, entry)| {
            let room = bytes < PAGE_BYTES_MAX;
            bytes += entry.bytes();
            room
        });
        page.map(|(_, entry)| entry.clone()).collect()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every write fails like this and changes nothing; with `None` they work again.
    /// For tests of what happens then.
    pub fn refuse_writes(&self, refusal: Option<CommitError>) {
        self.rows.lock().refusal = refusal;
    }

    fn write<T>(&self, done: Done<T>, write: impl FnOnce(&mut Rows) -> Result<T, CommitError>) {
        let ended = {
            let mut rows = self.rows.lock();
            match rows.refusal {
                _ if rows.closed => Err(CommitError::Unavailable { retry_ms: RETRY_MS }),
                Some(refusal) => Err(refusal),
                None => write(&mut rows),
            }
        };
        done(ended);
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&mut Rows) -> T) -> BoxFuture<'static, Result<T, StoreError>> {
        let mut rows = self.rows.lock();
        let answer = if rows.closed {
            Err(StoreError::Unavailable { reason: "it is closed".into(), retry_ms: RETRY_MS })
        } else {
            Ok(read(&mut rows))
        };
        future::ready(answer).boxed()
    }
}

impl Rows {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn commit(&mut self, commit: Commit) -> Result<bool, CommitError> {
        if self.claims.get(&commit.actor) != Some(&commit.generation) {
            return Err(CommitError::Fenced);
        }
        let stored = self.actors.get(&commit.actor).map_or(0, |actor| actor.etag);
        if commit.etag.checked_sub(1) != Some(stored) {
            return Err(CommitError::Conflict);
        }
        if let Some(handled) = &commit.write.handled
            && self.outbox.remove(handled).is_none()
        {
            return Err(CommitError::Conflict);
        }
        for (place, tell) in commit.write.tells.iter().enumerate() {
            self.outbox.insert(commit.tell_id(place), tell.clone());
        }
        if let Some(journal) = commit.write.journal {
            self.journals.entry(commit.actor.clone()).or_default().write(*journal);
        }
        let moved = commit.write.fired.as_ref().is_some_and(|fired| self.move_on(fired));
        for change in commit.write.reminders {
            match change {
                ReminderChange::Set(row) => drop(self.reminders.put(row.id.clone(), Some(row.into()))),
                ReminderChange::Remove(id) => self.reminders.forget(&id),
            }
        }
        let empty = || Snapshot { etag: 0, values: BTreeMap::new() };
        let actor = self.actors.entry(commit.actor).or_insert_with(empty);
        actor.etag = commit.etag;
        for change in commit.write.changes {
            match change.value {
                Some(value) => actor.values.insert(change.name, value),
                None => actor.values.remove(&change.name),
            };
        }
        Ok(moved)
    }

    fn move_on(&mut self, fired: &Fired) -> bool {
        let row = &fired.row;
        let stands = matches!(self.reminders.get(&row.id), Some(Some(stored)) if stored.is_at(row));
        match fired.after() {
            _ if !stands => {}
            Some(after) => drop(self.reminders.put(after.id.clone(), Some(Arc::new(after)))),
            None => self.reminders.forget(&row.id),
        }
        stands
    }

    fn deploy(&mut self, deployment: Deployment, component: Arc<[u8]>) {
        self.components.insert(deployment.hash.clone(), component);
        let name = deployment.name.clone();
        if let Some(replaced) = self.deployments.insert(name.clone(), deployment) {
            self.earlier.insert((name.clone(), replaced.version), replaced);
        }
        let of_name = |(of, _): &&(String, u64)| *of == name;
        let kept: Vec<_> = self.earlier.keys().filter(of_name).cloned().collect();
        let surplus = (kept.len() + 1).saturating_sub(VERSIONS_MAX);
        kept.iter().take(surplus).for_each(|oldest| drop(self.earlier.remove(oldest)));
        let used = |hash: &str| self.deployments.values().chain(self.earlier.values()).any(|it| it.hash == hash);
        self.components.retain(|hash, _| used(hash));
    }

    fn outbox(&self, after: Option<&TellId>, limit: usize) -> Vec<(TellId, Tell)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.outbox.range((from, Bound::Unbounded)).take(limit.min(PAGE_MAX));
        let mut bytes = 0;
        let page = rows.take_while(|(_, tell)| {
            let room = bytes < PAGE_BYTES_MAX;
            bytes += tell.bytes();
            room
        });
        page.map(|(id, tell)| (id.clone(), tell.clone())).collect()
    }
}

impl Store for MemoryStore {
    fn claim<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.read(|rows| {
            let generation = rows.number();
            rows.claims.insert(actor.clone(), generation);
            let stored = rows.actors.get(actor).cloned();
            let Snapshot { etag, values } = stored.unwrap_or(Snapshot { etag: 0, values: BTreeMap::new() });
            let reminders = rows.reminders.of(actor).map(|(id, _)| id.name.clone()).collect();
            Claim { generation, etag, values, reminders }
        })
    }

    fn release(&self, actor: &ActorId, generation: u64) {
        let claims = &mut self.rows.lock().claims;
        if claims.get(actor) == Some(&generation) {
            claims.remove(actor);
        }
    }

    fn commit(&self, commit: Commit, done: Done<bool>) {
        self.write(done, |rows| rows.commit(commit));
    }

    fn accept(&self, tell: Tell, done: Done<TellId>) {
        self.write(done, |rows| {
            let id = TellId { from: None, sequence: rows.number() };
            rows.outbox.insert(id.clone(), tell);
            Ok(id)
        });
    }

    fn discard(&self, id: TellId, done: Done<()>) {
        self.write(done, |rows| {
            rows.outbox.remove(&id);
            Ok(())
        });
    }

    fn outbox<'a>(
        &'a self,
        after: Option<&'a TellId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(TellId, Tell)>, StoreError>> {
        self.read(|rows| rows.outbox(after, limit))
    }

    fn move_reminder(&self, fired: Fired, done: Done<bool>) {
        self.write(done, |rows| Ok(rows.move_on(&fired)));
    }

    fn due<'a>(&'a self, after: Option<&'a Place>, limit: usize) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.read(|rows| rows.reminders.due(after).take(limit.min(PAGE_MAX)).map(|row| (**row).clone()).collect())
    }

    fn reminders<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>> {
        self.read(|rows| rows.reminders.of(actor).filter_map(|(_, row)| Some((**row.as_ref()?).clone())).collect())
    }

    fn read<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>> {
        self.read(|rows| rows.actors.get(actor).cloned())
    }

    fn journal<'a>(
        &'a self,
        actor: &'a ActorId,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>> {
        self.read(|rows| rows.journals.get(actor).map_or_else(Vec::new, |journal| journal.page(first, limit)))
    }

    fn journal_snapshot<'a>(
        &'a self,
        actor: &'a ActorId,
    ) -> BoxFuture<'a, Result<Option<journal::Snapshot>, StoreError>> {
        self.read(|rows| rows.journals.get(actor).and_then(|journal| journal.snapshot.clone()))
    }

    fn keys<'a>(
        &'a self,
        kind: &'a KindName,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>> {
        self.read(|rows| {
            let after = after.map(|key| ActorId { kind: kind.clone(), key: key.clone() });
            let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let actors = rows.actors.range((from, Bound::Unbounded)).map(|(actor, _)| actor);
            let of_kind = actors.skip_while(|actor| actor.kind < *kind).take_while(|actor| actor.kind == *kind);
            of_kind.take(limit.min(PAGE_MAX)).map(|actor| actor.key.clone()).collect()
        })
    }

    fn deploy(&self, deployment: Deployment, component: Arc<[u8]>, done: Done<()>) {
        self.write(done, |rows| {
            rows.deploy(deployment, component);
            Ok(())
        });
    }

    fn deployments(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.read(|rows| rows.deployments.values().cloned().collect())
    }

    fn earlier_versions(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>> {
        self.read(|rows| rows.earlier.values().cloned().collect())
    }

    fn component<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Option<Arc<[u8]>>, StoreError>> {
        self.read(|rows| rows.components.get(hash).cloned())
    }

    fn health(&self) -> StoreHealth {
        let rows = self.rows.lock();
        match rows.refusal {
            _ if rows.closed => StoreHealth::ReadOnly("it is closed".into()),
            Some(refusal) => StoreHealth::ReadOnly(refusal.to_string()),
            None => StoreHealth::Writable,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.rows.lock().closed = true;
        future::ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{self, Fresh};

    fn make() -> Fresh {
        (Arc::new(MemoryStore::new()), Box::new(()))
    }

    conformance::suite!(make);

    #[tokio::test]
    async fn a_refusal_lasts_until_it_is_taken_back() {
        let store = MemoryStore::new();
        let a = conformance::actor("a");
        let mut claim = store.claim(&a).await.unwrap();
        store.refuse_writes(Some(CommitError::Unknown));
        assert_eq!(conformance::commit(&store, conformance::write(&a, &claim, &[])).await, Err(CommitError::Unknown));
        assert!(matches!(store.health(), StoreHealth::ReadOnly(_)));
        store.refuse_writes(None);
        conformance::set(&store, &a, &mut claim, &[]).await;
    }
}
