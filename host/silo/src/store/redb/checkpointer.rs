//! The thread that brings the log into the tables while the writer goes on in the log's next file.

use std::sync::Arc;
use std::time::Duration;

use quark_core::commit::CommitError;

use super::desk::{Sealed, Task};
use super::queue::{Job, Reply, Verdict, Work, answer};
use super::segment::{Disk, Segment, Step};
use super::shared::Shared;
use super::space::{Load, SPACE_RETRY_MS};
use super::tables::Broken;
use super::view::Base;
use super::{REOPEN_RETRY_MS, checkpoint, deploys};

/// How often a checkpoint that waits for room looks for it.
const ROOM_LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Checkpointer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Disk,
}

impl Checkpointer {
    pub(super) fn run(self) {
        while let Some(task) = self.shared.desk.next() {
            let Some(base) = self.shared.base() else {
                if let Task::Deploy(job) = task {
                    answer(vec![job], |_| Err(CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS }));
                }
                self.shared.desk.done(None, false);
                continue;
            };
            let opened = base.opened;
            // redb would have to be opened again after a write that there was no room for, with nothing to read
            // meanwhile. What waits here is in the log.
            let has_room = |bytes| {
                let space = &self.shared.space;
                space.has(space.of_tables(Load { bytes, rows: 1 }))
            };
            let ended = match task {
                Task::Checkpoint(sealed) => {
                    if self.wait_for_room(sealed.overlay.load()) {
                        self.checkpoint(&base, sealed).map(Some)
                    } else {
                        Ok(None)
                    }
                }
                Task::Deploy(job) if !has_room(job.bytes().unwrap_or(0)) => {
                    answer(vec![job], |_| Err(CommitError::Unavailable { retry_ms: SPACE_RETRY_MS }));
                    Ok(None)
                }
                Task::Deploy(job) => self.deploy(&base, job).map(|()| None),
                Task::Reserve if !has_room(0) => Ok(None),
                Task::Reserve => self.commit(&base, |_| Ok(()), || Ok(())).map(|()| None).map_err(|(why, _)| why),
            };
            match ended {
                Ok(spare) => self.shared.desk.done(spare, false),
                Err(why) => {
                    tracing::error!(%why, "what was logged cannot be brought into the tables");
                    self.shared.desk.done(None, true);
                    self.shared.write(Work::Reopen { opened }, Reply::Nobody);
                }
            }
        }
    }

    /// False when that is given up.
    fn wait_for_room(&self, load: Load) -> bool {
        let space = &self.shared.space;
        let mut told = false;
        loop {
            // A transaction writes something, whatever became of its rows.
            let bytes = space.of_tables(load + Load { bytes: 0, rows: 1 });
            if space.has(bytes) {
                break;
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(bytes, "what was logged waits for so much room on the disk before its tables take it");
            }
            if !self.shared.desk.wait_for_room(ROOM_LOOK_EVERY) {
                return false;
            }
        }
        self.shared.desk.has_room();
        true
    }

    /// Brings a sealed generation into the tables, and gives back its file for the one after next.
    fn checkpoint(&self, base: &Base, sealed: Sealed) -> Result<Segment, Broken> {
        let Sealed { overlay, segment } = sealed;
        let next = segment.number() + 1;
        let fill = |tx: &_| {
            checkpoint::fill(tx, &overlay)?;
            checkpoint::set_log(tx, next)
        };
        let step = || Ok(self.disk.step(Step::Checkpoint)?);
        self.commit(base, fill, step).map_err(|(why, _)| why)?;
        self.shared.unseal(base.opened);
        let io = |error: std::io::Error| Broken::Io(format!("the log: {error}"));
        self.disk.step(Step::Checkpointed).map_err(io)?;
        segment.reuse(next + 1).map_err(io)
    }

    fn deploy(&self, base: &Base, job: Job) -> Result<(), Broken> {
        let Work::Deploy(deployment, component) = &job.work else { return Ok(()) };
        let written = self.commit(base, |tx| deploys::deploy(tx, deployment, component), || Ok(()));
        let (verdict, ended): (Verdict, _) = match written {
            Ok(()) => (Ok(0), Ok(())),
            Err((why, CommitBroke(true))) => (Err(CommitError::Unknown), Err(why)),
            Err((why, CommitBroke(false))) => (Err(CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS }), Err(why)),
        };
        answer(vec![job], |_| verdict);
        ended
    }

    /// One transaction.
    fn commit(
        &self,
        base: &Base,
        fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), Broken>,
        before: impl FnOnce() -> Result<(), Broken>,
    ) -> Result<(), (Broken, CommitBroke)> {
        let numbers = &self.shared.numbers;
        let (tx, reserved) = super::guarded(|| {
            let tx = checkpoint::begin(&base.database)?;
            fill(&tx)?;
            let reserved = numbers.low();
            if let Some(reserved) = reserved {
                checkpoint::set_reserved(&tx, reserved)?;
            }
            before()?;
            Ok((tx, reserved))
        })
        .map_err(|why| (why, CommitBroke(false)))?;
        super::guarded(|| {
            tx.commit()?;
            if let Some(reserved) = reserved {
                numbers.extend(reserved);
            }
            Ok(())
        })
        .map_err(|why| (why, CommitBroke(true)))
    }
}

/// Whether it broke when the commit had begun: then nobody knows whether it landed.
struct CommitBroke(bool);
