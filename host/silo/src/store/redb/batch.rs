//! One batch: many writes, one durable step.

use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::{Tell, TellId};
use redb::{Database, Durability, ReadableTable, Table, WriteTransaction};

use super::fences::Numbers;
use super::queue::{Job, Verdict, Work};
use super::tables::{
    ACTORS, ActorKey, ActorRow, Broken, COMPONENTS, DEPLOYMENTS, META, META_RESERVED, OUTBOX, TellKey, TellRow,
    actor_key, deployments, parse, row, tell_key, value_key,
};
use crate::store::Deployment;

/// Milliseconds after which a write that met a damaged row may be tried again: not soon, as only
/// a person can mend it.
const DAMAGED_RETRY_MS: u64 = 60_000;

/// A batch failed as a whole.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: Broken,
    /// What became of each job.
    pub(super) verdicts: Vec<Verdict>,
}

/// Applies the jobs that have no verdict yet in one durable step, and gives the verdict of each.
///
/// # Errors
/// When the database failed. Nothing was written if it did before the commit; during the commit
/// nobody knows.
pub(super) fn write(
    database: &Database,
    numbers: &Numbers,
    jobs: &[Job],
    mut verdicts: Vec<Option<Verdict>>,
) -> Result<Vec<Verdict>, Failure> {
    if verdicts.iter().all(Option::is_some) {
        return Ok(settle(verdicts));
    }
    let applied = super::guarded(|| {
        let mut tx = database.begin_write()?;
        tx.set_durability(Durability::Immediate)?;
        apply(&tx, numbers, jobs, &mut verdicts)?;
        let reserved = numbers.low();
        if let Some(reserved) = reserved {
            tx.open_table(META)?.insert(META_RESERVED, reserved)?;
        }
        Ok((tx, reserved))
    });
    let (tx, reserved) = match applied {
        Ok(applied) => applied,
        Err(why) => {
            // What was refused for its own sake stays so; the rest went with the transaction.
            let refused = verdicts.into_iter().map(|verdict| verdict.filter(Result::is_err));
            return Err(Failure { why, verdicts: settle(refused.collect()) });
        }
    };
    let verdicts = settle(verdicts);
    if reserved.is_none() && verdicts.iter().all(Result::is_err) {
        return Ok(verdicts);
    }
    match super::guarded(|| Ok(tx.commit()?)) {
        Ok(()) => {
            if let Some(reserved) = reserved {
                numbers.extend(reserved);
            }
            Ok(verdicts)
        }
        Err(why) => {
            let verdicts = verdicts.into_iter().map(|verdict| verdict.and(Err(CommitError::Unknown))).collect();
            Err(Failure { why, verdicts })
        }
    }
}

/// What has no verdict was not written.
fn settle(verdicts: Vec<Option<Verdict>>) -> Vec<Verdict> {
    let unwritten = Err(CommitError::Unavailable { retry_ms: super::REOPEN_RETRY_MS });
    verdicts.into_iter().map(|verdict| verdict.unwrap_or(unwritten)).collect()
}

fn apply(
    tx: &WriteTransaction,
    numbers: &Numbers,
    jobs: &[Job],
    verdicts: &mut [Option<Verdict>],
) -> Result<(), Broken> {
    let mut rows = Rows { actors: tx.open_table(ACTORS)?, outbox: tx.open_table(OUTBOX)? };
    for (job, verdict) in jobs.iter().zip(verdicts) {
        if verdict.is_some() {
            continue;
        }
        *verdict = Some(match &job.work {
            Work::Commit(commit) => rows.commit(commit)?.map(|()| 0),
            Work::Accept(tell) => match numbers.draw() {
                Some(sequence) => {
                    rows.send(&TellId { from: None, sequence }, tell)?;
                    Ok(sequence)
                }
                None => Err(CommitError::Unavailable { retry_ms: super::REOPEN_RETRY_MS }),
            },
            Work::Discard(id) => {
                rows.outbox.remove(tell_key(id))?;
                Ok(0)
            }
            Work::Deploy(deployment, component) => {
                deploy(tx, deployment, component)?;
                Ok(0)
            }
            Work::Refused(error) => Err(*error),
            Work::Reserve | Work::Reopen => Ok(0),
        });
    }
    Ok(())
}

struct Rows<'tx> {
    actors: Table<'tx, ActorKey<'static>, &'static [u8]>,
    outbox: Table<'tx, TellKey<'static>, (&'static [u8], &'static [u8])>,
}

impl Rows<'_> {
    /// The fence was checked when the batch began. All other checks come before the first change,
    /// so a refused commit leaves nothing behind in the transaction that others share.
    fn commit(&mut self, commit: &Commit) -> Result<Result<(), CommitError>, Broken> {
        let key = actor_key(&commit.actor);
        let stored = match self.actors.get(key)?.map(|row| parse::<ActorRow>(row.value(), "an actor")) {
            None => 0,
            Some(Ok(row)) => row.etag,
            Some(Err(error)) => {
                tracing::error!(actor = ?commit.actor, %error, "a damaged row: its actor cannot write");
                return Ok(Err(CommitError::Unavailable { retry_ms: DAMAGED_RETRY_MS }));
            }
        };
        if commit.etag.checked_sub(1) != Some(stored) {
            return Ok(Err(CommitError::Conflict));
        }
        if let Some(handled) = &commit.write.handled
            && self.outbox.remove(tell_key(handled))?.is_none()
        {
            return Ok(Err(CommitError::Conflict));
        }
        self.actors.insert(key, row(&ActorRow { etag: commit.etag })?.as_slice())?;
        for change in &commit.write.changes {
            let key = value_key(&commit.actor, &change.name);
            match &change.value {
                Some(value) => self.actors.insert(key, &value[..])?,
                None => self.actors.remove(key)?,
            };
        }
        for (place, tell) in commit.write.tells.iter().enumerate() {
            self.send(&commit.tell_id(place), tell)?;
        }
        Ok(Ok(()))
    }

    fn send(&mut self, id: &TellId, tell: &Tell) -> Result<(), Broken> {
        let head = TellRow { to: tell.to.clone(), method: tell.method.clone(), chain: tell.chain.clone() };
        self.outbox.insert(tell_key(id), (row(&head)?.as_slice(), tell.arguments.as_slice()))?;
        Ok(())
    }
}

/// Stores both, and drops the component that nothing names any more.
fn deploy(tx: &WriteTransaction, deployment: &Deployment, component: &[u8]) -> Result<(), Broken> {
    let mut rows = tx.open_table(DEPLOYMENTS)?;
    let mut components = tx.open_table(COMPONENTS)?;
    let hash = deployment.hash.as_str();
    if components.get(hash)?.is_none() {
        components.insert(hash, component)?;
    }
    let replaced = rows.insert(deployment.name.as_str(), row(deployment)?.as_slice())?;
    let Some(replaced) = replaced.map(|row| parse::<Deployment>(row.value(), "a deployment")) else {
        return Ok(());
    };
    match (replaced, deployments(&rows)) {
        (Ok(replaced), Ok(all)) => {
            if all.iter().all(|deployment| deployment.hash != replaced.hash) {
                components.remove(replaced.hash.as_str())?;
            }
        }
        // With a row unread nobody can say what is used, so all components stay.
        (Err(error), _) | (_, Err(error @ Broken::Damaged(_))) => {
            tracing::error!(%error, "a damaged deployment: unused components are kept");
        }
        (_, Err(error @ Broken::Io(_))) => return Err(error),
    }
    Ok(())
}
