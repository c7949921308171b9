//! Rows that are put into a store without a silo: what actors would have written themselves.

use std::path::Path;
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use quark_core::commit::{Commit, Write};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::journal::{Entry, Event, JournalWrite};
use quark_core::reminders::{Missed, Reminder, ReminderChange, ReminderId, Schedule};
use quark_core::state::Change;
use quark_silo::store::redb::{RedbOptions, RedbStore};
use quark_silo::store::{Claim, Store as _};
use tokio::runtime::Runtime;

/// Payload bytes of a planted event.
pub(crate) const EVENT_BYTES: usize = 256;
/// Commits that are under way at once.
const COMMITS_MAX: usize = 512;

/// A store in that folder, and what asks it.
pub(crate) struct Planter {
    pub(crate) runtime: Runtime,
    pub(crate) store: RedbStore,
}

/// An actor whose writer this is.
pub(crate) struct Planted {
    actor: ActorId,
    claim: Claim,
}

pub(crate) fn id(kind: &str, key: &str) -> Result<ActorId> {
    Ok(ActorId { kind: KindName::parse(kind)?, key: Key::parse(key)? })
}

pub(crate) fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

impl Planter {
    pub(crate) fn open(folder: &Path, runtime: Runtime) -> Result<Self> {
        Ok(Self { runtime, store: RedbStore::open(folder, RedbOptions::default())? })
    }

    pub(crate) fn claim(&self, actor: ActorId) -> Result<Planted> {
        let claim = self.runtime.block_on(self.store.claim(&actor))?;
        Ok(Planted { actor, claim })
    }

    /// Commits one write of each, and waits for all of them.
    pub(crate) fn commit_all(&self, all: &mut [Planted], write: impl Fn(&Planted) -> Write) -> Result<()> {
        let (said, done) = mpsc::channel();
        let mut under_way = 0;
        let landed = |under_way: &mut usize| -> Result<()> {
            let outcome: Result<bool, _> = done.recv().context("the store says nothing")?;
            *under_way -= 1;
            outcome.map(drop).map_err(|error| anyhow!("{error}"))
        };
        for planted in all {
            let write = write(planted);
            planted.claim.etag += 1;
            let Planted { actor, claim } = &*planted;
            let commit = Commit { actor: actor.clone(), generation: claim.generation, etag: claim.etag, write };
            let said = said.clone();
            self.store.commit(commit, Box::new(move |outcome| _ = said.send(outcome)));
            under_way += 1;
            if under_way == COMMITS_MAX {
                landed(&mut under_way)?;
            }
        }
        while under_way > 0 {
            landed(&mut under_way)?;
        }
        Ok(())
    }

    /// All is in the tables then.
    pub(crate) fn close(self) {
        self.runtime.block_on(self.store.close());
    }
}

impl Planted {
    pub(crate) fn etag(&self) -> u64 {
        self.claim.etag
    }

    /// One that fires once, at that time.
    pub(crate) fn reminder(&self, due: u64) -> ReminderChange {
        let id = ReminderId { actor: self.actor.clone(), name: "due".into() };
        let (schedule, missed, payload) = (Schedule::Once(0), Missed::FireOnce, [].into());
        ReminderChange::Set(Box::new(Reminder { id, schedule, missed, payload, revision: 1, due, at: due, tries: 0 }))
    }
}

/// One small value.
pub(crate) fn state(etag: u64) -> Change {
    Change { name: "value".into(), value: Some(etag.to_le_bytes().as_slice().into()) }
}

/// Events from that number on.
pub(crate) fn events(first: u64, count: u64) -> Box<JournalWrite> {
    let event = || Event {
        name: "planted".into(),
        content_type: "application/octet-stream".into(),
        payload: [7; EVENT_BYTES].as_slice().into(),
    };
    let entries = (first..first + count).map(|sequence| Entry { sequence, at_ms: sequence, event: event() });
    Box::new(JournalWrite { entries: entries.collect(), ..JournalWrite::default() })
}
