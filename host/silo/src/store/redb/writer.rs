//! The one thread that writes the log.

use std::ops::Add as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quark_core::commit::CommitError;

use super::REOPEN_RETRY_MS;
use super::batch::{self, Batch};
use super::close::shut;
use super::desk::{NoSpare, Sealed};
use super::log::{Bounds, Log};
use super::open::{Folder, OpenFile};
use super::queue::{Job, Taken, Verdict, Work, answer};
use super::segment::{Disk, GROW_BYTES, Unwritten};
use super::shared::Shared;
use super::space::{Load, SPACE_RETRY_MS};
use super::start::{self, Opening, Started};
use super::tables::Broken;

/// The first wait after a reopening that failed; it doubles with each further one.
const REOPEN_WAIT_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two tries to reopen.
const REOPEN_WAIT_MAX: Duration = Duration::from_secs(2);
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
    pub(super) disk: Disk,
    pub(super) open_file: OpenFile,
    pub(super) bounds: Bounds,
    pub(super) checkpointer: JoinHandle<()>,
    /// None while the store is down.
    pub(super) log: Option<Log>,
    pub(super) opened: u64,
    /// Whether there was too little room when somebody wrote last.
    pub(super) short: bool,
}

/// The database is closed after an error.
struct Down {
    until: Instant,
    wait: Duration,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut down: Option<Down> = None;
        let mut quiet: Option<Instant> = None;
        loop {
            match self.shared.queue.take(down.as_ref().map(|down| down.until).or(quiet)) {
                Taken::Jobs(jobs) => {
                    if let Err(why) = self.write(jobs) {
                        tracing::error!(%why, "the store failed; reopening it");
                        self.log = None;
                        self.shared.desk.clear();
                        down = Some(Down { until: Instant::now(), wait: REOPEN_WAIT_MIN });
                    }
                }
                Taken::Nothing => {}
                Taken::End => break,
            }
            if let Some(due) = down.take_if(|down| down.until <= Instant::now()) {
                down = self.reopen(due);
            }
            quiet = self.tidy();
        }
        self.shared.desk.close();
        if self.checkpointer.join().is_err() {
            tracing::error!("the checkpointer panicked");
        }
        if let Some(view) = self.shared.bar("it is closed".into()) {
            shut(view, &self.disk, &self.shared.space);
        }
        drop(self.folder);
        self.shared.gone.send_replace(true);
    }

    /// Seals what nobody wrote to for a while. Gives when to look again.
    fn tidy(&mut self) -> Option<Instant> {
        let log = self.log.as_ref()?;
        if self.shared.view.read().as_ref().is_ok_and(|view| view.active.is_empty()) {
            return None;
        }
        let due = log.written() + self.bounds.quiet;
        if due > Instant::now() {
            return Some(due);
        }
        self.seal();
        Some(Instant::now() + self.bounds.quiet)
    }

    /// One batch. After an error the database must be reopened.
    fn write(&mut self, jobs: Vec<Job>) -> Result<(), Broken> {
        if self.log.is_none() {
            refuse(jobs, REOPEN_RETRY_MS);
            return Ok(());
        }
        let broke = |job: &Job| matches!(job.work, Work::Reopen { opened } if opened == self.opened);
        if jobs.iter().any(broke) {
            let why = Broken::Io("reading or writing its tables failed".into());
            self.bar(&why);
            refuse(jobs, REOPEN_RETRY_MS);
            return Err(why);
        }
        if let Some(shortage) = self.shared.space.shortage() {
            self.warn_once(&shortage);
            refuse(jobs, SPACE_RETRY_MS);
            return Ok(());
        }
        match self.make_room() {
            Ok(()) => {}
            Err(NoSpare::Short) => {
                refuse(jobs, SPACE_RETRY_MS);
                return Ok(());
            }
            Err(NoSpare::Failed) => {
                let why = Broken::Io("its tables could not be written".into());
                self.bar(&why);
                refuse(jobs, REOPEN_RETRY_MS);
                return Err(why);
            }
        }
        let (deploys, mut jobs): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| matches!(job.work, Work::Deploy(..)));
        let beyond = jobs.split_off(self.fitting(&jobs));
        if beyond.is_empty() {
            self.short = false;
        } else {
            if let Some(lack) = self.shared.space.lack() {
                self.warn_once(&lack);
            }
            refuse(beyond, SPACE_RETRY_MS);
        }
        if self.shared.numbers.low().is_some() {
            self.shared.desk.reserve();
        }
        let ended = self.write_batch(jobs);
        if ended.is_ok() {
            deploys.into_iter().for_each(|job| self.shared.desk.deploy(job));
        } else {
            refuse(deploys, REOPEN_RETRY_MS);
        }
        ended
    }

    fn write_batch(&mut self, mut jobs: Vec<Job>) -> Result<(), Broken> {
        let passed = self.shared.fences.begin(jobs.iter().map(Job::actor));
        let fenced = |passed: &bool| (!passed).then_some(Err(CommitError::Fenced));
        let mut verdicts: Vec<Option<Verdict>> = passed.iter().map(fenced).collect();
        let written = self.log(&jobs, &mut verdicts);
        let (verdicts, failed) = match written {
            Ok(()) => (settle(verdicts), Ok(())),
            Err(Failure::Refused(why)) => {
                tracing::error!(error = %why, "there is no room for the log");
                (failing(verdicts, CommitError::Unavailable { retry_ms: SPACE_RETRY_MS }), Ok(()))
            }
            Err(Failure::Broken(why, outcome)) => {
                // Before the actors are unmarked: a claim must not load from a view that may show
                // less than what the files hold.
                self.bar(&why);
                (failing(verdicts, outcome), Err(why))
            }
        };
        if failed.is_ok() {
            self.apply(&mut jobs, &verdicts);
        }
        let marked = jobs.iter().zip(&passed).filter(|(_, passed)| **passed);
        self.shared.fences.end(marked.filter_map(|(job, _)| Some(job.actor()?.0)));
        let mut verdicts = verdicts.into_iter();
        answer(jobs, |_| verdicts.next().unwrap_or(Err(CommitError::Unknown)));
        failed
    }

    /// Checks the jobs and appends those that pass, durably.
    fn log(&mut self, jobs: &[Job], verdicts: &mut [Option<Verdict>]) -> Result<(), Failure> {
        let unwritten = CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS };
        let Some(log) = &mut self.log else {
            return Err(Failure::Broken(Broken::Io("it is not open".into()), unwritten));
        };
        let checked = match &*self.shared.view.read() {
            Ok(view) => {
                super::guarded(|| Batch::new(view, &self.shared.numbers, &mut log.record)?.check(jobs, verdicts))
            }
            Err(why) => Err(Broken::Io(why.clone())),
        };
        checked.map_err(|why| Failure::Broken(why, unwritten))?;
        let io = |error: std::io::Error| Broken::Io(format!("the log: {error}"));
        log.append().map_err(|failed| match failed {
            Unwritten::NoRoom(error) => Failure::Refused(error),
            Unwritten::Surely(error) => Failure::Broken(io(error), unwritten),
            Unwritten::Perhaps(error) => Failure::Broken(io(error), CommitError::Unknown),
        })
    }

    /// Shows what landed to all readers.
    fn apply(&self, jobs: &mut [Job], verdicts: &[Verdict]) {
        let mut view = self.shared.view.write();
        let Ok(view) = &mut *view else { return };
        for (job, verdict) in jobs.iter_mut().zip(verdicts) {
            if let Ok(sequence) = verdict
                && let Some(item) = batch::landed(&mut job.work, *sequence)
            {
                let follows = view.active.apply(item);
                debug_assert!(follows, "e-tags were checked");
            }
        }
    }

    /// Seals a generation that is full; waits when it is much too full.
    fn make_room(&mut self) -> Result<(), NoSpare> {
        let Bounds { bytes, rows, bytes_max, rows_max, .. } = self.bounds;
        if self.is_over(bytes_max, rows_max) {
            self.shared.desk.wait_for_spare()?;
        }
        if self.is_over(bytes, rows) {
            self.seal();
        }
        Ok(())
    }

    /// How many of these the disk has room for, when the tables take all that was logged as well: else a log could
    /// become so large that no start could ever bring it in. When it is not all, what was logged goes into
    /// the tables now.
    fn fitting(&mut self, jobs: &[Job]) -> usize {
        let none = (Load::default(), true);
        let (logged, is_sealed) =
            self.shared.view.read().as_ref().map_or(none, |view| (view.load(), view.active.is_empty()));
        let space = &self.shared.space;
        let has_room = |load: Load| {
            // Their bytes in the log come first, and a start makes two files before it takes the old ones away.
            space.has(load.bytes as u64 + space.of_tables(logged + load) + 2 * GROW_BYTES)
        };
        let of = |job: &Job| Load { bytes: job.bytes().unwrap_or(0), rows: job.rows() };
        let load = |jobs: &[Job]| jobs.iter().map(of).fold(Load::default(), Load::add);
        if has_room(load(jobs)) {
            return jobs.len();
        }
        let (mut fits, mut beyond) = (0, jobs.len());
        while beyond - fits > 1 {
            let half = usize::midpoint(fits, beyond);
            if has_room(load(&jobs[..half])) { fits = half } else { beyond = half }
        }
        if !is_sealed {
            self.seal();
        }
        fits
    }

    /// Says that there is no room, once while that is so.
    fn warn_once(&mut self, why: &impl std::fmt::Display) {
        if !std::mem::replace(&mut self.short, true) {
            tracing::warn!(%why, "writes are refused");
        }
    }

    fn is_over(&self, bytes: u64, rows: usize) -> bool {
        let (Some(log), Ok(view)) = (&self.log, &*self.shared.view.read()) else { return false };
        log.bytes() >= bytes || view.active.bytes() as u64 >= bytes || view.active.rows() >= rows
    }

    /// Hands the active generation to the checkpointer, if that one is done with the last.
    fn seal(&mut self) {
        let Some(log) = &mut self.log else { return };
        let Some(spare) = self.shared.desk.take_spare() else { return };
        let segment = log.turn(spare);
        let mut view = self.shared.view.write();
        let Ok(view) = &mut *view else { return };
        let overlay = Arc::new(std::mem::take(&mut view.active));
        view.sealed = Some(Arc::clone(&overlay));
        self.shared.desk.seal(Sealed { overlay, segment });
    }

    fn bar(&self, why: &Broken) {
        drop(self.shared.bar(format!("it failed ({why}) and is being reopened")));
    }

    fn reopen(&mut self, due: Down) -> Option<Down> {
        let opening = Opening { opened: self.opened + 1, reserve: false };
        match start::start(&self.folder, &self.disk, &self.open_file, opening) {
            Ok(Started { view, active, spare, .. }) => {
                self.opened = opening.opened;
                self.log = Some(Log::new(active));
                self.shared.desk.reset(spare);
                *self.shared.view.write() = Ok(view);
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
}

enum Failure {
    /// Nothing was written and nothing is broken.
    Refused(std::io::Error),
    /// The store must be reopened; this became of all that was not refused for its own sake.
    Broken(Broken, CommitError),
}

/// What has no verdict was not written.
fn settle(verdicts: Vec<Option<Verdict>>) -> Vec<Verdict> {
    let unwritten = Err(CommitError::Unavailable { retry_ms: REOPEN_RETRY_MS });
    verdicts.into_iter().map(|verdict| verdict.unwrap_or(unwritten)).collect()
}

/// What was refused for its own sake stays so.
fn failing(verdicts: Vec<Option<Verdict>>, outcome: CommitError) -> Vec<Verdict> {
    let failing = |verdict: Option<Verdict>| verdict.unwrap_or(Err(outcome)).and(Err(outcome));
    verdicts.into_iter().map(failing).collect()
}

fn refuse(jobs: Vec<Job>, retry_ms: u64) {
    answer(jobs, |job| match job.work {
        Work::Refused(first) => Err(first),
        Work::Commit(_)
        | Work::Accept(_)
        | Work::Discard(_)
        | Work::Move(_)
        | Work::Deploy(..)
        | Work::Reserve
        | Work::Reopen { .. } => Err(CommitError::Unavailable { retry_ms }),
    });
}
