//! The store's log. An input's first byte says what the others are: `f` a file, `r` the writes of a
//! record, `t` a row of a table or the mark of a journal, or `d` writes and damage to the file that holds them.

use quark_core::journal::Mark;
use quark_silo::store::redb::fuzzing::{file, replay, rewrite, rewrite_rows};

const NUMBER: u64 = 1;
const SALT: u64 = u64::from_le_bytes(*b"saltsalt");
/// Records of one file.
const RECORDS_MAX: usize = 8;
/// What stands before a file's records.
const HEADER_BYTES: usize = 64;

/// Bytes of the log, or of the tables.
pub fn log(data: &[u8]) {
    let Some((what, data)) = data.split_first() else { return };
    match what {
        b'f' => drop(replay(NUMBER, data)),
        b't' => rows(data),
        b'd' => damage(data),
        _ => writes(data),
    }
}

fn writes(payload: &[u8]) {
    let read = rewrite(payload);
    if let Ok(again) = &read {
        assert_eq!(rewrite(again).as_ref(), Ok(again), "there is one form of each write");
    }
    let replayed = replay(NUMBER, &file(NUMBER, SALT, &[payload]));
    assert!(read.is_ok() || replayed.is_err(), "what cannot be read is not brought in");
    if payload.is_empty() {
        assert_eq!(replayed, Ok((0, 0)));
    }
}

fn rows(row: &[u8]) {
    for again in rewrite_rows(row) {
        assert!(rewrite_rows(&again).contains(&again), "there is one form of each row");
    }
    if let Some(mark) = Mark::decode(Some(row)) {
        assert!(mark.dropped <= mark.snapshot && mark.snapshot <= mark.last, "{mark:?}");
        let again = mark.encode();
        assert_eq!(again.is_none(), mark == Mark::default());
        assert!(again.is_none_or(|again| *again == *row), "there is one form of each mark");
    }
}

/// Two bytes of a place, one of a change, then records, each behind its length.
fn damage(data: &[u8]) {
    let Some(([low, high, change], mut rest)) = data.split_first_chunk() else { return };
    let mut records = Vec::new();
    while let Some((length, behind)) = rest.split_first()
        && records.len() < RECORDS_MAX
    {
        let (record, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        records.push(record);
        rest = behind;
    }
    let whole = file(NUMBER, SALT, &records);
    let Ok(all) = replay(NUMBER, &whole) else { return };
    let at = usize::from(u16::from_le_bytes([*low, *high])) % whole.len();
    // A start finds what was written up to some record, or refuses the file; never anything else.
    let parts: Vec<_> = (0..=records.len()).map(|end| replay(NUMBER, &file(NUMBER, SALT, &records[..end]))).collect();
    assert_eq!(parts.last(), Some(&Ok(all)), "the same file says the same");
    let torn = replay(NUMBER, &whole[..at]);
    assert!(at < HEADER_BYTES || torn.is_ok(), "a torn end is cut off: {torn:?}");
    assert!(torn.is_err() || parts.contains(&torn), "cut off at {at}: {torn:?} of {parts:?}");
    let mut scratched = whole;
    scratched[at] ^= change;
    let scratched = replay(NUMBER, &scratched);
    assert!(scratched.is_err() || parts.contains(&scratched), "scratched at {at}: {scratched:?} of {parts:?}");
}
