//! The one thread that writes.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::commit::CommitError;

use super::batch::{self, Failure};
use super::open::{Folder, OpenFile};
use super::queue::{Job, Taken, Verdict, Work};
use super::space::SPACE_RETRY_MS;
use super::tables::Broken;
use super::{REOPEN_RETRY_MS, Shared};

/// The first wait after a reopening that failed; it doubles with each further one.
const REOPEN_WAIT_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two tries to reopen.
const REOPEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long readers may still use a database that is being closed.
const READERS_WAIT_MAX: Duration = Duration::from_secs(1);

/// Takes all that waits, writes it in one durable step, answers, and starts over:
///
/// ```text
///            jobs                    I/O error
/// Open ----> batch ----> Open      batch ----> Down (queue is refused) --- wait, reopen ---> Open
/// ```
///
/// A job alone starts at once; while its fsync runs others gather, and they are the next batch.
/// So the load itself sets the size of batches, without a delay that somebody would have to tune.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    /// Dropped, and so unlocked, after the database is closed.
    pub(super) folder: Folder,
    pub(super) open_file: OpenFile,
}

/// The database is closed after an error.
struct Down {
    until: Instant,
    wait: Duration,
}

impl Writer {
    pub(super) fn run(self) {
        let mut down: Option<Down> = None;
        loop {
            match self.shared.queue.take(down.as_ref().map(|down| down.until)) {
                Taken::Jobs(jobs) => {
                    if let Err(why) = self.write(jobs) {
                        tracing::error!(%why, "the store failed; reopening it");
                        down = Some(Down { until: Instant::now(), wait: REOPEN_WAIT_MIN });
                    }
                }
                Taken::Nothing => {}
                Taken::End => break,
            }
            if let Some(due) = down.take_if(|down| down.until <= Instant::now()) {
                down = self.reopen(due);
            }
        }
        self.shut("it is closed");
        drop(self.folder);
        self.shared.gone.send_replace(true);
    }

    /// One batch. After an error the database must be reopened.
    fn write(&self, jobs: Vec<Job>) -> Result<(), Broken> {
        // A copy, since `done`s are called below and no lock may be held then.
        let Ok(database) = self.shared.database.read().clone() else {
            refuse(jobs, REOPEN_RETRY_MS);
            return Ok(());
        };
        // A read that failed asks for a reopening, for which no room is needed.
        let reopening = jobs.iter().any(|job| matches!(job.work, Work::Reopen));
        if !reopening && self.shared.space.shortage().is_some() {
            refuse(jobs, SPACE_RETRY_MS);
            return Ok(());
        }
        let passed = self.shared.fences.begin(jobs.iter().map(Job::actor));
        let fenced = |passed: bool| (!passed).then_some(Err(CommitError::Fenced));
        let verdicts = passed.iter().map(|passed| fenced(*passed)).collect();
        let written = batch::write(&database, &self.shared.numbers, &jobs, verdicts);
        let (verdicts, failed) = match written {
            Ok(verdicts) => (verdicts, Ok(())),
            Err(Failure { why, verdicts }) => {
                // Before the actors are unmarked: a claim must not load from a database that may
                // show less than what the file holds.
                self.shared.bar(format!("it failed ({why}) and is being reopened"));
                (verdicts, Err(why))
            }
        };
        let marked = jobs.iter().zip(&passed).filter(|(_, passed)| **passed);
        self.shared.fences.end(marked.filter_map(|(job, _)| Some(job.actor()?.0)));
        let mut verdicts = verdicts.into_iter();
        answer(jobs, |_| verdicts.next().unwrap_or(Err(CommitError::Unknown)));
        failed
    }

    fn reopen(&self, due: Down) -> Option<Down> {
        match self.folder.open(&self.open_file) {
            Ok(database) => {
                *self.shared.database.write() = Ok(Arc::new(database));
                tracing::info!("the store is open again");
                None
            }
            Err(error) => {
                let reason = format!("it failed and cannot be reopened yet: {error}");
                tracing::error!(%error, wait_ms = due.wait.as_millis(), "the store cannot be reopened yet");
                self.shared.bar(reason);
                Some(Down { until: Instant::now() + due.wait, wait: (due.wait * 2).min(REOPEN_WAIT_MAX) })
            }
        }
    }

    /// Closes the database for good, once those who read from it have ended.
    fn shut(&self, reason: &str) {
        let Some(mut database) = self.shared.bar(reason.into()) else { return };
        let started = Instant::now();
        loop {
            match Arc::try_unwrap(database) {
                Ok(database) => {
                    let closed = super::guarded(|| Ok(database.close()?));
                    if let Err(error) = closed {
                        tracing::warn!(%error, "the store closed with an error");
                    }
                    return;
                }
                // The last reader closes it then.
                Err(_) if started.elapsed() > READERS_WAIT_MAX => return,
                Err(used) => database = used,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn refuse(jobs: Vec<Job>, retry_ms: u64) {
    answer(jobs, |job| match job.work {
        Work::Refused(first) => Err(first),
        Work::Commit(_) | Work::Accept(_) | Work::Discard(_) | Work::Deploy(..) | Work::Reserve | Work::Reopen => {
            Err(CommitError::Unavailable { retry_ms })
        }
    });
}

/// No lock is held here. A `done` that panics must not take the writer along.
fn answer(jobs: Vec<Job>, mut verdict: impl FnMut(&Job) -> Verdict) {
    for job in jobs {
        let verdict = verdict(&job);
        if panic::catch_unwind(AssertUnwindSafe(|| job.answer(verdict))).is_err() {
            tracing::error!("somebody panicked when a write's outcome was told");
        }
    }
}
