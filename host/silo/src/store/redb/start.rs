//! Beginning on a database: what the log has goes into the tables, and a new log is begun.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::{self, Meta};
use super::frame::{self, HEADER_BYTES, Header, LOG_FORMAT, Unreadable};
use super::open::{Folder, OpenError, OpenFile, failed};
use super::overlay::Overlay;
use super::segment::{Disk, GROW_BYTES, Segment, forget_cached};
use super::space::Space;
use super::tables::{Broken, FORMAT, FORMAT_LOGGED};
use super::view::{Base, View};
use super::{guarded, rows};

/// An open store, before anything was written to it.
pub(super) struct Started {
    pub(super) view: View,
    /// The log's file, and the one after it.
    pub(super) active: Segment,
    pub(super) spare: Segment,
    /// The last reservation of numbers.
    pub(super) reserved: u64,
}

/// Which opening of the file this is, and whether it takes new numbers: a silo that starts does,
/// one that only opens the file again has its own still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) opened: u64,
    pub(super) reserve: bool,
}

/// Opens the database, and brings everything into its tables that was logged.
///
/// A crash in here leaves the log as it is, and the next start reads it again: the tables say,
/// in the transaction that brings the records in, that they have them.
pub(super) fn start(
    folder: &Folder,
    disk: &Disk,
    open_file: &OpenFile,
    opening: Opening,
) -> Result<Started, OpenError> {
    if !opening.reserve {
        // The last opening failed, maybe in a sync.
        if let Ok(file) = File::open(folder.data_file()) {
            forget_cached(&file);
        }
    }
    let database = folder.open(open_file)?;
    let broken = |broken| folder.broken(broken);
    let meta = guarded(|| checkpoint::meta(&database)).map_err(broken)?;
    let first = match meta {
        Meta { format: Some(FORMAT), .. } => None,
        Meta { format: Some(FORMAT_LOGGED), log: Some(first), .. } => Some(first),
        Meta { format: Some(found), .. } if found > FORMAT_LOGGED => {
            return Err(OpenError::Newer { path: folder.data_file(), found, known: FORMAT_LOGGED });
        }
        Meta { .. } => return Err(broken(Broken::Damaged("it does not say its format".into()))),
    };
    let logged = |error| failed(&disk.path(first.unwrap_or(0)), error);
    let mut there = disk.numbers().map_err(logged)?;
    // The tables have these.
    let old = first.map_or(0, |first| there.partition_point(|number| *number < first));
    clean(disk, there.drain(..old));
    let (overlay, last) = match first {
        Some(first) => replay(disk, first, &there)?,
        // What is there has been in the tables since they were closed.
        None => (Overlay::default(), there.last().copied().unwrap_or(0)),
    };
    let reserved = meta.reserved + u64::from(opening.reserve);
    let rows = overlay.rows();
    let begin = || -> Result<_, OpenError> {
        let active = disk.make(last + 1).map_err(logged)?;
        guarded(|| {
            let tx = checkpoint::begin(&database)?;
            checkpoint::fill(&tx, &overlay)?;
            checkpoint::set_log(&tx, active.number())?;
            checkpoint::set_reserved(&tx, reserved)?;
            Ok(tx.commit()?)
        })
        .map_err(broken)?;
        // The room of these may be what the next one needs.
        clean(disk, there.iter().copied().filter(|number| *number <= last));
        Ok((active, disk.make(last + 2).map_err(logged)?))
    };
    let (active, spare) = begin().map_err(|error| or_no_room(error, folder, &overlay))?;
    if rows > 0 {
        tracing::info!(rows, "what was logged is in the tables");
    }
    let base = Base { database: Arc::new(database), opened: opening.opened };
    Ok(Started { view: View::new(base), active, spare, reserved })
}

/// The same, but for what fails where there is less room than it can take.
fn or_no_room(error: OpenError, folder: &Folder, logged: &Overlay) -> OpenError {
    let path = folder.path();
    let space = Space::new(path, 0);
    let need = space.of_tables(logged.load()) + 2 * GROW_BYTES;
    if let OpenError::Failed { reason, .. } = &error
        && !space.has(need)
    {
        return OpenError::NoRoom { path: path.into(), need, reason: reason.clone() };
    }
    error
}

/// Removes files that nobody needs; the next start tries again with those that stay.
pub(super) fn clean(disk: &Disk, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        if let Err(error) = disk.remove(number) {
            tracing::warn!(%error, path = %disk.path(number).display(), "an old file of the log stays");
        }
    }
}

/// All that the log has, and the last of its files that has something.
pub(super) fn replay(disk: &Disk, first: u64, there: &[u64]) -> Result<(Overlay, u64), OpenError> {
    let mut replay = Replay { overlay: Overlay::default(), sequence: None };
    let mut last = first;
    let mut expect = first;
    for number in there.iter().copied().filter(|number| *number >= first) {
        let path = disk.path(number);
        if number != expect {
            return Err(damaged(disk.path(expect), "it is missing".into()));
        }
        expect += 1;
        let file = disk.read(number).map_err(|error| failed(&path, error))?;
        if (file.len() as u64) < GROW_BYTES {
            // A file has its name only once it has so many, durably.
            return Err(damaged(path, format!("it was cut off after {} bytes", file.len())));
        }
        let read = replay.file(number, &file);
        match read {
            Ok(true) => last = number,
            Ok(false) => {}
            Err(Bad::Newer(found)) => {
                return Err(OpenError::Newer { path, found: found.into(), known: LOG_FORMAT.into() });
            }
            Err(Bad::Damaged(reason)) => return Err(damaged(path, reason)),
        }
    }
    if expect == first {
        return Err(damaged(disk.path(first), "it is missing".into()));
    }
    Ok((replay.overlay, last))
}

/// All that one file of the log has, without others before it.
pub(super) fn replay_file(number: u64, file: &[u8]) -> Result<Overlay, Bad> {
    let mut replay = Replay { overlay: Overlay::default(), sequence: None };
    replay.file(number, file)?;
    Ok(replay.overlay)
}

fn damaged(path: PathBuf, reason: String) -> OpenError {
    OpenError::Damaged { path, reason: format!("{reason}; it is of use only with the data file beside it") }
}

/// The log's records, file by file.
struct Replay {
    overlay: Overlay,
    /// Of the last record.
    sequence: Option<u64>,
}

/// Why a file of the log cannot be used.
pub(super) enum Bad {
    Newer(u32),
    Damaged(String),
}

impl Replay {
    /// Whether it had any record. What follows the last whole one was being written when its silo
    /// ended and is dropped, unless a later record shows that it had been there.
    fn file(&mut self, number: u64, file: &[u8]) -> Result<bool, Bad> {
        let bad = |reason: &str| Bad::Damaged(reason.into());
        let header = Header::parse(file).map_err(|unreadable| match unreadable {
            Unreadable::Newer(found) => Bad::Newer(found),
            Unreadable::Damaged => bad("its header cannot be read"),
        })?;
        if header.number != number {
            return Err(Bad::Damaged(format!("it says that it is number {}", header.number)));
        }
        let mut at = HEADER_BYTES;
        while let Some(record) = file.get(at..).and_then(|rest| frame::record(rest, header.salt)) {
            if self.sequence.is_some_and(|sequence| sequence + 1 != record.sequence) {
                return Err(Bad::Damaged(format!("a record before that at byte {at} is missing")));
            }
            self.sequence = Some(record.sequence);
            for item in rows::items(record.payload) {
                let item = item.map_err(|error| Bad::Damaged(format!("the record at byte {at}: {error}")))?;
                if !self.overlay.apply(item) {
                    return Err(Bad::Damaged(format!("the record at byte {at} does not follow those before")));
                }
            }
            at += record.length;
        }
        if frame::holds_another(file.get(at..).unwrap_or_default(), header.salt) {
            return Err(Bad::Damaged(format!("the record at byte {at} cannot be read, and others follow it")));
        }
        Ok(at > HEADER_BYTES)
    }
}
