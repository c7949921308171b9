//! How much room the file system has left.

use std::fs;
use std::ops::Add;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::open::DATA_FILE;

/// What the system counts a file's room in.
const BLOCK_BYTES: u64 = 512;
/// How old an answer of the file system may be.
const PROBE_AGE_MAX: Duration = Duration::from_millis(50);
/// How long there is known to be too little room after somebody asked for it.
const LACK_AGE_MAX: Duration = Duration::from_secs(5);
/// Milliseconds that a writer is told to wait for room.
pub(super) const SPACE_RETRY_MS: u64 = 1000;

/// Room that the tables take at the most for what is logged: they copy a page for each row that changes, but no more
/// than they have; redb rounds what is larger than a page up to a power of two; and there is their own book-keeping.
const ROW_BYTES: u64 = 4096;
const ROUNDED: u64 = 2;
const BOOKS_BYTES: u64 = 1024 * 1024;

/// What is to be brought from the log into the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// With what each row counts beside its own.
    pub(super) bytes: usize,
    pub(super) rows: usize,
}

impl Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, rows: self.rows + other.rows }
    }
}

/// Watches the room beside the data. Writes stop above zero, because a database that cannot even
/// write its own book-keeping is harder to bring back than one that stopped in time.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    /// Bytes; atomic only so that tests can move it.
    floor: AtomicU64,
    probe: Mutex<Option<(Instant, u64)>>,
    /// Bytes that there was no room for, and when.
    lacking: Mutex<Option<(Instant, u64)>>,
    #[cfg(test)]
    pretended: Mutex<Option<u64>>,
}

/// There is less room than there must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{free} bytes are free at {} and {floor} must stay free: make room there", folder.display())]
pub(super) struct Shortage {
    free: u64,
    floor: u64,
    folder: PathBuf,
}

/// There is less room than the tables can take for what is logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{free} bytes are free at {} and what was written last can take {need} in the tables: make room there",
    folder.display()
)]
pub(super) struct Lack {
    free: u64,
    need: u64,
    folder: PathBuf,
}

impl Space {
    pub(super) fn new(folder: &Path, floor: u64) -> Self {
        Self {
            folder: folder.into(),
            floor: floor.into(),
            probe: Mutex::new(None),
            lacking: Mutex::new(None),
            #[cfg(test)]
            pretended: Mutex::new(None),
        }
    }

    pub(super) fn shortage(&self) -> Option<Shortage> {
        let floor = self.floor.load(Ordering::Relaxed);
        let free = self.free()?;
        (free < floor).then(|| Shortage { free, floor, folder: self.folder.clone() })
    }

    /// Room for bringing that into the tables; none for nothing.
    pub(super) fn of_tables(&self, load: Load) -> u64 {
        if load == Load::default() {
            return 0;
        }
        // Its holes take no room.
        let file = fs::metadata(self.folder.join(DATA_FILE)).map_or(u64::MAX, |file| file.blocks() * BLOCK_BYTES);
        BOOKS_BYTES + ROUNDED * load.bytes as u64 + file.min(ROW_BYTES * load.rows as u64)
    }

    /// Whether there is room for that much, whatever must stay free. If not, it is [lacking](Self::lack).
    pub(super) fn has(&self, bytes: u64) -> bool {
        if self.free().is_none_or(|free| free / 2 >= bytes) {
            return true;
        }
        // So near to it an old answer does not do.
        *self.probe.lock() = None;
        let has = self.free().is_none_or(|free| free >= bytes);
        if !has {
            *self.lacking.lock() = Some((Instant::now(), bytes));
        }
        has
    }

    /// What there was too little room for just now, while that is so. What lasts is asked about again and again; a
    /// single large write that was refused says nothing of others.
    pub(super) fn lack(&self) -> Option<Lack> {
        let mut lacking = self.lacking.lock();
        let (_, need) = lacking.filter(|(at, _)| at.elapsed() < LACK_AGE_MAX)?;
        let free = self.free()?;
        if free >= need {
            *lacking = None;
            return None;
        }
        Some(Lack { free, need, folder: self.folder.clone() })
    }

    /// Bytes that this process may still write; none when the file system does not say.
    fn free(&self) -> Option<u64> {
        let mut probe = self.probe.lock();
        #[cfg(test)]
        if let Some(pretended) = *self.pretended.lock() {
            return Some(pretended);
        }
        if let Some((at, free)) = *probe
            && at.elapsed() < PROBE_AGE_MAX
        {
            return Some(free);
        }
        // Some file systems say that they have nothing at all.
        let answer = rustix::fs::statvfs(&self.folder).ok().filter(|answer| answer.f_blocks > 0)?;
        let free = answer.f_bavail.saturating_mul(answer.f_frsize);
        *probe = Some((Instant::now(), free));
        Some(free)
    }

    #[cfg(test)]
    pub(super) fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn pretend(&self, free: Option<u64>) {
        *self.pretended.lock() = free;
    }
}
