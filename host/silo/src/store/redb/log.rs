//! The log's end, where the writer is.

use std::time::{Duration, Instant};

use super::frame::{self, FRAME_BYTES};
use super::segment::{Segment, Unwritten};

/// What the record's buffer keeps of its size between batches.
const RECORD_KEEP_BYTES: usize = 4 * 1024 * 1024;

/// When a generation of the log is sealed, to be brought into the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// With this many bytes in its file or in memory,
    pub(super) bytes: u64,
    /// when it changes this many rows, each of which can cost the tables a page of 4 KiB,
    pub(super) rows: usize,
    /// or when nothing was written for so long.
    pub(super) quiet: Duration,
    /// The writer waits for the checkpoint that is running when the generation behind it has this
    /// many bytes or rows. Meanwhile the queue fills and refuses.
    pub(super) bytes_max: u64,
    pub(super) rows_max: usize,
}

impl Bounds {
    /// More rows would be fewer pages in all, but more of them at once: the log's fsyncs wait behind
    /// them, and a start after a crash brings them in before it answers. Whether the disk has room for
    /// them is asked before (`space`).
    pub(super) const DEFAULT: Self = Self {
        bytes: 16 * 1024 * 1024,
        rows: 8 * 1024,
        quiet: Duration::from_secs(3),
        bytes_max: 64 * 1024 * 1024,
        rows_max: 24 * 1024,
    };
}

/// The file that is being written, and what is next in it.
pub(super) struct Log {
    active: Segment,
    /// Of the next record.
    sequence: u64,
    written: Instant,
    /// Where the next record is put together.
    pub(super) record: Vec<u8>,
}

impl Log {
    /// A log that starts in this file.
    pub(super) fn new(active: Segment) -> Self {
        Self { active, sequence: 1, written: Instant::now(), record: Vec::new() }
    }

    /// Appends the record that was put together, durably; does nothing when it is empty.
    pub(super) fn append(&mut self) -> Result<(), Unwritten> {
        if self.record.len() <= FRAME_BYTES {
            return Ok(());
        }
        frame::seal(&mut self.record, self.active.salt(), self.sequence);
        self.active.append(&self.record)?;
        self.record.truncate(RECORD_KEEP_BYTES);
        self.record.shrink_to(RECORD_KEEP_BYTES);
        self.sequence += 1;
        self.written = Instant::now();
        Ok(())
    }

    /// Goes on in the next file, and gives back the last.
    pub(super) fn turn(&mut self, next: Segment) -> Segment {
        std::mem::replace(&mut self.active, next)
    }

    /// Bytes in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.active.end()
    }

    /// When the last record was written.
    pub(super) fn written(&self) -> Instant {
        self.written
    }
}
