//! How much room the file system has left.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How old an answer of the file system may be.
const PROBE_AGE_MAX: Duration = Duration::from_millis(50);
/// Milliseconds that a writer is told to wait for room.
pub(super) const SPACE_RETRY_MS: u64 = 1000;

/// Room that the tables take for a page of each row that is logged, for the copies of its bytes and for their own
/// book-keeping, at the most that was seen: redb rounds what is larger than a page up to a power of two.
const ROW_BYTES: u64 = 4096;
const COPIES: u64 = 2;
const BOOKS_BYTES: u64 = 1024 * 1024;

/// Room for bringing so much of the log into the tables.
pub(super) fn of_tables(bytes: usize, rows: usize) -> u64 {
    BOOKS_BYTES + COPIES * bytes as u64 + ROW_BYTES * rows as u64
}

/// Watches the room beside the data. Writes stop above zero, because a database that cannot even
/// write its own book-keeping is harder to bring back than one that stopped in time.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    /// Bytes; atomic only so that tests can move it.
    floor: AtomicU64,
    probe: Mutex<Option<(Instant, u64)>>,
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

impl Space {
    pub(super) fn new(folder: &Path, floor: u64) -> Self {
        Self {
            folder: folder.into(),
            floor: floor.into(),
            probe: Mutex::new(None),
            #[cfg(test)]
            pretended: Mutex::new(None),
        }
    }

    pub(super) fn shortage(&self) -> Option<Shortage> {
        let floor = self.floor.load(Ordering::Relaxed);
        let free = self.free()?;
        (free < floor).then(|| Shortage { free, floor, folder: self.folder.clone() })
    }

    /// Whether there is room for that much, whatever must stay free.
    pub(super) fn has(&self, bytes: u64) -> bool {
        if self.free().is_none_or(|free| free / 2 >= bytes) {
            return true;
        }
        // So near to it an old answer does not do.
        *self.probe.lock() = None;
        self.free().is_none_or(|free| free >= bytes)
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
        let answer = rustix::fs::statvfs(&self.folder).ok()?;
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
