//! The log's bytes for the fuzzer: pure, no file is touched.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{self, FRAME_BYTES, Header};
use super::journals::EventRow;
use super::reminders::ReminderRow;
use super::rows::{self, Item};
use super::start::{self, Bad};
use super::tables::{self, ActorRow, TellRow};
use crate::store::Deployment;

/// A file of the log with those payloads, each in a record of its own.
#[must_use]
pub fn file(number: u64, salt: u64, payloads: &[&[u8]]) -> Vec<u8> {
    let mut file = Header { number, salt }.encode().to_vec();
    for (payload, sequence) in payloads.iter().zip(1..) {
        let mut record = vec![0; FRAME_BYTES];
        record.extend_from_slice(payload);
        frame::seal(&mut record, salt, sequence);
        file.extend(record);
    }
    file
}

/// What a start takes out of a file: how many rows change, and their bytes.
///
/// # Errors
/// When a start would refuse it.
pub fn replay(number: u64, file: &[u8]) -> Result<(usize, usize), String> {
    let overlay = start::replay_file(number, file).map_err(|bad| match bad {
        Bad::Newer(format) => format!("format {format}"),
        Bad::Damaged(reason) => reason,
    })?;
    Ok((overlay.rows(), overlay.bytes()))
}

/// Reads a record's writes and writes them again; a second reading gives the same.
///
/// # Errors
/// When the payload cannot be read.
pub fn rewrite(payload: &[u8]) -> Result<Vec<u8>, String> {
    let read = |payload: &[u8]| rows::items(payload).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string());
    let items = read(payload)?;
    let mut again = Vec::new();
    for item in &items {
        let put = match item {
            Item::Commit(commit) => rows::put_commit(&mut again, commit, true),
            Item::Accept(sequence, tell) => rows::put_accept(&mut again, *sequence, tell),
            Item::Discard(id) => rows::put_discard(&mut again, id),
            Item::Journal(actor, write) => rows::put_journal(&mut again, actor, write),
            Item::Moved(id, row) => rows::put_moved(&mut again, id, row.as_deref()),
        };
        put.map_err(|error| error.to_string())?;
    }
    assert_eq!(read(&again).as_ref(), Ok(&items), "what was read is written and read as the same");
    Ok(again)
}

/// Reads bytes as each row of the tables in turn, and writes again those that can be read.
#[must_use]
pub fn rewrite_rows(row: &[u8]) -> Vec<Vec<u8>> {
    let reminder = || tables::row(&tables::parse::<ReminderRow<'_>>(row, "a row").ok()?).ok();
    let event = || tables::row(&tables::parse::<EventRow<'_>>(row, "a row").ok()?).ok();
    [rewrite_row::<ActorRow>(row), rewrite_row::<TellRow>(row), rewrite_row::<Deployment>(row), event(), reminder()]
        .into_iter()
        .flatten()
        .collect()
}

fn rewrite_row<T: Serialize + DeserializeOwned>(row: &[u8]) -> Option<Vec<u8>> {
    tables::row(&tables::parse::<T>(row, "a row").ok()?).ok()
}
