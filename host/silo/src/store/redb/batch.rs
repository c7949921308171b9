//! One batch: many writes, checked one after the other and written as one record of the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::TellId;
use quark_core::id::ActorId;
use quark_core::reminders::{Fired, Reminder, ReminderChange, ReminderId};

use super::fences::Numbers;
use super::frame::{FRAME_BYTES, RECORD_BYTES_MAX};
use super::queue::{Job, Verdict, Work};
use super::rows::{self, Item};
use super::tables::{Broken, Tables};
use super::view::View;

/// Milliseconds after which a write that met a damaged row may be tried again: not soon, as only
/// a person can mend it.
const DAMAGED_RETRY_MS: u64 = 60_000;

/// Finds the verdict on each job if the batch lands, and writes the record of those that pass.
/// All checks come before the append, so a refused write leaves nothing behind.
pub(super) struct Batch<'a> {
    view: &'a View,
    tables: Tables,
    numbers: &'a Numbers,
    record: &'a mut Vec<u8>,
    /// What earlier jobs of the batch made of actors and tells.
    etags: HashMap<&'a ActorId, u64>,
    tells: HashMap<TellId, bool>,
    reminders: BTreeMap<ReminderId, Option<Arc<Reminder>>>,
}

impl<'a> Batch<'a> {
    /// The record becomes room for a frame and the payload of all that passes.
    ///
    /// # Errors
    /// When the database failed.
    pub(super) fn new(view: &'a View, numbers: &'a Numbers, record: &'a mut Vec<u8>) -> Result<Self, Broken> {
        record.clear();
        record.resize(FRAME_BYTES, 0);
        let tables = Tables::open(view.snapshot()?)?;
        let (etags, tells, reminders) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        Ok(Self { view, tables, numbers, record, etags, tells, reminders })
    }

    /// The verdicts on the jobs that have none yet.
    ///
    /// # Errors
    /// When the database failed; nothing was written.
    pub(super) fn check(&mut self, jobs: &'a [Job], verdicts: &mut [Option<Verdict>]) -> Result<(), Broken> {
        for (job, verdict) in jobs.iter().zip(verdicts) {
            if verdict.is_none() {
                *verdict = Some(self.check_one(&job.work)?);
            }
        }
        Ok(())
    }

    fn check_one(&mut self, work: &'a Work) -> Result<Verdict, Broken> {
        let start = self.record.len();
        let verdict = match work {
            Work::Commit(commit) => self.commit(commit)?,
            Work::Accept(tell) => match self.numbers.draw() {
                Some(sequence) => {
                    rows::put_accept(self.record, sequence, tell)?;
                    Ok(sequence)
                }
                None => Err(CommitError::Unavailable { retry_ms: super::REOPEN_RETRY_MS }),
            },
            Work::Discard(id) => {
                rows::put_discard(self.record, id)?;
                Ok(0)
            }
            Work::Move(fired) => {
                let stands = self.stands(fired)?;
                if stands {
                    rows::put_moved(self.record, &fired.row.id, fired.after().as_ref())?;
                }
                Ok(u64::from(stands))
            }
            Work::Refused(error) => Err(*error),
            Work::Deploy(..) | Work::Reserve | Work::Reopen { .. } => Ok(0),
        };
        if self.record.len() > RECORD_BYTES_MAX {
            tracing::error!("a write that no record can hold is refused");
            self.record.truncate(start);
            return Ok(Err(CommitError::Unavailable { retry_ms: DAMAGED_RETRY_MS }));
        }
        match work {
            Work::Commit(commit) => {
                if let Ok(fires) = verdict {
                    self.committed(commit, fires > 0);
                }
            }
            Work::Move(fired) if verdict == Ok(1) => self.moves(fired),
            Work::Discard(id) => drop(self.tells.insert(id.clone(), false)),
            Work::Accept(_)
            | Work::Move(_)
            | Work::Deploy(..)
            | Work::Refused(_)
            | Work::Reserve
            | Work::Reopen { .. } => {}
        }
        Ok(verdict)
    }

    /// The fence was checked when the batch began.
    fn commit(&mut self, commit: &'a Commit) -> Result<Verdict, Broken> {
        let stored = match self.etags.get(&commit.actor) {
            Some(etag) => *etag,
            None => match self.view.etag(&self.tables, &commit.actor) {
                Ok(etag) => etag,
                Err(Broken::Damaged(error)) => {
                    tracing::error!(actor = ?commit.actor, %error, "a damaged row: its actor cannot write");
                    return Ok(Err(CommitError::Unavailable { retry_ms: DAMAGED_RETRY_MS }));
                }
                Err(error @ Broken::Io(_)) => return Err(error),
            },
        };
        if commit.etag.checked_sub(1) != Some(stored) {
            return Ok(Err(CommitError::Conflict));
        }
        if let Some(handled) = &commit.write.handled {
            let there = self.tells.get(handled).copied();
            if !there.map_or_else(|| self.view.has_tell(&self.tables, handled), Ok)? {
                return Ok(Err(CommitError::Conflict));
            }
        }
        let fires = match &commit.write.fired {
            Some(fired) => self.stands(fired)?,
            None => false,
        };
        rows::put_commit(self.record, commit, fires)?;
        Ok(Ok(u64::from(fires)))
    }

    /// Whether a reminder stands yet as it was when it fired. A row that cannot be read does not.
    fn stands(&self, fired: &Fired) -> Result<bool, Broken> {
        let id = &fired.row.id;
        let row = match self.reminders.get(id) {
            Some(row) => row.clone(),
            None => match self.view.reminder(&self.tables, id) {
                Ok(row) => row,
                Err(Broken::Damaged(error)) => {
                    tracing::error!(actor = ?id.actor, name = %id.name, %error, "a damaged reminder does not move on");
                    None
                }
                Err(error @ Broken::Io(_)) => return Err(error),
            },
        };
        Ok(row.is_some_and(|row| row.is_at(&fired.row)))
    }

    fn moves(&mut self, fired: &Fired) {
        self.reminders.insert(fired.row.id.clone(), fired.after().map(Arc::new));
    }

    fn committed(&mut self, commit: &'a Commit, fires: bool) {
        if fires {
            commit.write.fired.iter().for_each(|fired| self.moves(fired));
        }
        for change in &commit.write.reminders {
            let row = if let ReminderChange::Set(row) = change { Some(Arc::new((**row).clone())) } else { None };
            self.reminders.insert(change.id().clone(), row);
        }
        self.etags.insert(&commit.actor, commit.etag);
        if let Some(handled) = &commit.write.handled {
            self.tells.insert(handled.clone(), false);
        }
        for place in 0..commit.write.tells.len() {
            self.tells.insert(commit.tell_id(place), true);
        }
    }
}

/// Takes the payload out of a job that landed; what is left of it can only be answered.
pub(super) fn landed(work: &mut Work, sequence: u64) -> Option<Item> {
    match work {
        Work::Commit(commit) => {
            let mut write = std::mem::take(&mut commit.write);
            if sequence == 0 {
                write.fired = None;
            }
            Some(Item::Commit(Commit { actor: commit.actor.clone(), write, ..*commit }))
        }
        Work::Move(fired) => (sequence > 0).then(|| Item::Moved(fired.row.id.clone(), fired.after().map(Box::new))),
        Work::Accept(_) | Work::Discard(_) => match std::mem::replace(work, Work::Reserve) {
            Work::Accept(tell) => Some(Item::Accept(sequence, tell)),
            Work::Discard(id) => Some(Item::Discard(id)),
            Work::Commit(_)
            | Work::Move(_)
            | Work::Deploy(..)
            | Work::Refused(_)
            | Work::Reserve
            | Work::Reopen { .. } => None,
        },
        Work::Deploy(..) | Work::Refused(_) | Work::Reserve | Work::Reopen { .. } => None,
    }
}
