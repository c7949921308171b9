//! The files of the log: made, used again, written, read. Never closed over an error: whoever gets
//! one throws the file away and reads what is on the disk.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Advice;

use super::frame::{FRAME_BYTES, HEADER_BYTES, Header, RECORD_BYTES_MAX};

/// A file grows in steps of this many bytes of zeros, so that a sync writes data and not also a
/// new size. A file that is used again does not grow.
pub(super) const GROW_BYTES: u64 = 1024 * 1024;
/// What a file keeps of its size when it is used again.
const KEEP_BYTES: u64 = 32 * 1024 * 1024;
/// A longer file is not one of the log's: a segment that is full takes one more record.
const FILE_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 + 256 * 1024 * 1024;
const PREFIX: &str = "log-";
/// A file of the log until it has its header.
const NEW_FILE: &str = "log.new";

/// What is about to be done to the log's files or, at a checkpoint, to the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Make,
    Read,
    Grow,
    Write,
    Sync,
    Rename,
    SyncFolder,
    Remove,
    /// The tables are about to be committed.
    Checkpoint,
    /// They were.
    Checkpointed,
}

/// Called before each step, which fails if this does. Tests put faults and crashes in here.
pub(super) type Hook = Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// Where the log's files are.
#[derive(Clone)]
pub(super) struct Disk {
    folder: PathBuf,
    hook: Hook,
}

/// A file of the log that is being written.
pub(super) struct Segment {
    disk: Disk,
    file: File,
    path: PathBuf,
    header: Header,
    /// Where the next record goes.
    end: u64,
    /// Up to here the file has its bytes on the disk.
    size: u64,
}

/// Why a record was not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// There is no room for it; the file is as it was.
    NoRoom(io::Error),
    /// The file must be thrown away, but surely has nothing of the record.
    Surely(io::Error),
    /// The file must be thrown away, and may have the record.
    Perhaps(io::Error),
}

impl Disk {
    pub(super) fn new(folder: &Path, hook: Hook) -> Self {
        Self { folder: folder.into(), hook }
    }

    pub(super) fn step(&self, step: Step) -> io::Result<()> {
        (self.hook)(step)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{number:016x}"))
    }

    /// The numbers of the files that are there, in order.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
            // Other spellings of a number are not ours.
            numbers.extend(number.filter(|number| self.path(*number).file_name() == Some(&name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A whole file, as it is on the disk and not as a failed write left it in the page cache.
    pub(super) fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.step(Step::Read)?;
        let file = File::open(self.path(number))?;
        forget_cached(&file);
        let mut bytes = Vec::new();
        if (&file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than any log"));
        }
        Ok(bytes)
    }

    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        self.step(Step::Remove)?;
        fs::remove_file(self.path(number))
    }

    /// An empty file of that number, durably there.
    pub(super) fn make(&self, number: u64) -> io::Result<Segment> {
        self.step(Step::Make)?;
        let new = self.folder.join(NEW_FILE);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
        let header = Header { number, salt: rand::random() };
        let segment = Segment { disk: self.clone(), file, path: new.clone(), header, end: 0, size: 0 };
        segment.start(number).inspect_err(|_| {
            // It may take the room that is missing.
            let _ = fs::remove_file(&new);
        })
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.step(Step::SyncFolder)?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Segment {
    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    pub(super) fn salt(&self) -> u64 {
        self.header.salt
    }

    /// Bytes written, the header among them.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Empties the file for another number. Call it when nobody needs its records any more.
    pub(super) fn reuse(mut self, number: u64) -> io::Result<Self> {
        if self.size > KEEP_BYTES {
            self.disk.step(Step::Grow)?;
            self.file.set_len(KEEP_BYTES)?;
            self.size = KEEP_BYTES;
        }
        // A new salt, so that what it holds are no records from now on.
        self.header = Header { number, salt: rand::random() };
        self.start(number)
    }

    /// Gives the file its header, and then its name: a file of that name has always a header.
    fn start(mut self, number: u64) -> io::Result<Self> {
        self.grow(HEADER_BYTES as u64)?;
        self.write(&self.header.encode(), 0)?;
        self.sync()?;
        self.disk.step(Step::Rename)?;
        let path = self.disk.path(number);
        fs::rename(&self.path, &path)?;
        self.disk.sync_folder()?;
        self.path = path;
        self.end = HEADER_BYTES as u64;
        Ok(self)
    }

    /// Adds a sealed record, durably.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), Unwritten> {
        let end = self.end + record.len() as u64;
        self.grow(end)
            .map_err(|error| if is_full(&error) { self.give_back(error) } else { Unwritten::Surely(error) })?;
        if let Err(error) = self.write(record, self.end) {
            // Some of it may be there. Without its frame it is nothing.
            let cut = self.write(&[0; FRAME_BYTES], self.end).and_then(|()| self.sync());
            return Err(if cut.is_ok() { Unwritten::Surely(error) } else { Unwritten::Perhaps(error) });
        }
        self.sync().map_err(Unwritten::Perhaps)?;
        self.end = end;
        Ok(())
    }

    /// What it grew by before there was no room is left to others, the tables above all.
    fn give_back(&self, full: io::Error) -> Unwritten {
        match self.file.set_len(self.size) {
            Ok(()) => Unwritten::NoRoom(full),
            Err(error) => Unwritten::Surely(error),
        }
    }

    fn grow(&mut self, end: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let size = end.next_multiple_of(GROW_BYTES);
        if end <= self.size {
            return Ok(());
        }
        self.disk.step(Step::Grow)?;
        let mut at = self.size;
        while at < size {
            let length = (size - at).min(ZEROS.len() as u64);
            self.file.write_all_at(&ZEROS[..length as usize], at)?;
            at += length;
        }
        self.size = size;
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.step(Step::Write)?;
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step(Step::Sync)?;
        self.file.sync_data()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// After a failed sync the kernel may show pages that never reached the disk. They are clean then,
/// and so this drops them.
pub(super) fn forget_cached(file: &File) {
    if let Err(error) = rustix::fs::fadvise(file, 0, None, Advice::DontNeed) {
        tracing::warn!(%error, "cached pages are kept");
    }
}
