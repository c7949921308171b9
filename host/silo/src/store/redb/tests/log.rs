//! What a start makes of the log that it finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quark_core::commit::Write;
use quark_core::envelope::TellId;
use redb::ReadableDatabase as _;
use tempfile::TempDir;

use super::{no_floor, open, settled};
use crate::store::Store as _;
use crate::store::conformance::{actor, commit, outbox_ids, set, tell, values, write};
use crate::store::redb::RedbStore;
use crate::store::redb::frame::{self, HEADER_BYTES, Header};
use crate::store::redb::open::OpenError;
use crate::store::redb::segment::Disk;
use crate::store::redb::start::replay;
use crate::store::redb::tables::{META, META_FORMAT};

/// What a kill at this moment would leave.
pub(super) fn copy(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

pub(super) fn disk(folder: &Path) -> Disk {
    Disk::new(folder, Arc::new(|_| Ok(())))
}

/// What `kill -9` leaves of a store with this many commits of one actor, each a record, which
/// sends a tell and handles the one before. Of no other than these is anything in the log.
async fn killed(commits: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    for etag in 1..=commits {
        let mut one = write(&a, &claim, &[("n", Some(&etag.to_be_bytes()))]);
        one.write = Write { tells: vec![tell("b", b"x")], handled: sent(etag - 1), ..one.write };
        commit(&store, one).await.unwrap();
        claim.etag += 1;
    }
    let left = copy(folder.path());
    store.close().await;
    left
}

fn sent(etag: u64) -> Option<TellId> {
    (etag > 0).then(|| TellId { from: Some(actor("a")), sequence: etag << 12 })
}

/// The file with the records, its bytes, and where each record starts.
fn records(folder: &Path) -> (PathBuf, Vec<u8>, Vec<usize>) {
    let disk = disk(folder);
    let number = disk.numbers().unwrap()[0];
    let bytes = disk.read(number).unwrap();
    let salt = Header::parse(&bytes).unwrap().salt;
    let mut starts = vec![HEADER_BYTES];
    while let Some(record) = frame::record(&bytes[*starts.last().unwrap()..], salt) {
        starts.push(starts.last().unwrap() + record.length);
    }
    (disk.path(number), bytes, starts)
}

/// The e-tag that the log alone gives.
fn replayed(folder: &Path) -> Result<u64, OpenError> {
    let disk = disk(folder);
    let there = disk.numbers().unwrap();
    let (overlay, _) = replay(&disk, there[0], &there)?;
    Ok(overlay.actor(&actor("a")).map_or(0, |changed| changed.etag))
}

async fn check(store: &RedbStore, etag: u64) {
    assert_eq!(values(store.read(&actor("a")).await.unwrap()), [("n".into(), etag.to_be_bytes().to_vec())]);
    assert_eq!(store.claim(&actor("a")).await.unwrap().etag, etag);
    assert_eq!(outbox_ids(store).await, [sent(etag).unwrap()]);
}

#[tokio::test]
async fn a_record_torn_anywhere_is_as_if_it_never_was() {
    let left = killed(3).await;
    let (path, whole, starts) = records(left.path());
    let (start, end) = (starts[2], starts[3]);
    assert_eq!(replayed(left.path()).unwrap(), 3);
    for at in start..end {
        let torn = [&whole[..at], &vec![0; whole.len() - at][..]].concat();
        fs::write(&path, &torn).unwrap();
        let padding = whole[at..end].iter().all(|byte| *byte == 0);
        assert_eq!(replayed(left.path()).unwrap(), if padding { 3 } else { 2 }, "zeros from byte {at}");
    }
    for length in [0, HEADER_BYTES, start, end, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let told = replayed(left.path());
        assert!(matches!(&told, Err(OpenError::Damaged { .. })), "cut off after {length} bytes: {told:?}");
    }
    for at in [start, start + 1, start + 20, (start + end) / 2, end - 9] {
        let torn = [&whole[..at], &vec![0xee; whole.len() - at][..]].concat();
        fs::write(&path, &torn).unwrap();
        let again = copy(left.path());
        let store = open(again.path());
        check(&store, 2).await;
        set(&store, &actor("a"), &mut store.claim(&actor("a")).await.unwrap(), &[("n", Some(b"next"))]).await;
        store.close().await;
        let store = open(again.path());
        assert_eq!(store.claim(&actor("a")).await.unwrap().etag, 3);
        store.close().await;
    }
}

#[tokio::test]
async fn a_damaged_record_with_others_behind_it_is_told() {
    let left = killed(3).await;
    let (path, whole, starts) = records(left.path());
    for at in starts[0]..starts[2] {
        let mut scratched = whole.clone();
        scratched[at] ^= 0x40;
        fs::write(&path, &scratched).unwrap();
        match replayed(left.path()) {
            Err(OpenError::Damaged { path: told, .. }) => assert_eq!(told, path),
            // In the zeros that fill a record up nothing can be lost.
            other => assert_eq!((other.unwrap(), whole[at]), (3, 0), "byte {at}"),
        }
    }
    let mut scratched = whole.clone();
    scratched[starts[1] + 30] ^= 0x40;
    fs::write(&path, &scratched).unwrap();
    assert!(matches!(RedbStore::open(left.path(), no_floor()), Err(OpenError::Damaged { .. })));
    assert!(fs::read(&path).unwrap() == scratched, "nothing was changed");
}

#[tokio::test]
async fn a_damaged_end_before_a_later_file_is_told() {
    let left = killed(3).await;
    let (path, whole, starts) = records(left.path());
    let disk = disk(left.path());
    let numbers = disk.numbers().unwrap();
    let mut next = disk.make(numbers[1]).unwrap();
    let mut record = vec![0; frame::FRAME_BYTES];
    frame::seal(&mut record, next.salt(), 4);
    next.append(&record).unwrap();
    assert_eq!(replayed(left.path()).unwrap(), 3);
    fs::write(&path, [&whole[..starts[2]], &vec![0; whole.len() - starts[2]][..]].concat()).unwrap();
    assert!(
        matches!(replayed(left.path()), Err(OpenError::Damaged { path: told, .. }) if told == disk.path(numbers[1]))
    );
    fs::remove_file(&path).unwrap();
    let Err(error) = RedbStore::open(left.path(), no_floor()) else { panic!("it opened") };
    assert!(matches!(&error, OpenError::Damaged { path: told, .. } if *told == path), "{error}");
}

#[tokio::test]
async fn a_newer_log_is_left_alone() {
    let left = killed(1).await;
    let (path, mut bytes, _) = records(left.path());
    bytes[8] = 7;
    fs::write(&path, &bytes).unwrap();
    let Err(error) = RedbStore::open(left.path(), no_floor()) else { panic!("it opened") };
    assert!(matches!(&error, OpenError::Newer { path: told, found: 7, known: 2 } if *told == path), "{error}");
}

fn format(folder: &Path) -> u64 {
    let database = redb::Database::open(folder.join("quark.redb")).unwrap();
    let table = database.begin_read().unwrap().open_table(META).unwrap();
    table.get(META_FORMAT).unwrap().unwrap().value()
}

#[tokio::test]
async fn only_a_folder_without_a_log_is_for_versions_that_know_none() {
    let left = killed(2).await;
    assert_eq!(format(left.path()), 2);
    let store = open(left.path());
    check(&store, 2).await;
    store.close().await;
    assert_eq!(format(left.path()), 1);
    assert!(disk(left.path()).numbers().unwrap().is_empty(), "the log is gone");
    // What a crash between the two left of it is of no use.
    fs::write(disk(left.path()).path(1), "what was in the log").unwrap();
    let store = open(left.path());
    check(&store, 2).await;
    store.close().await;
}

#[tokio::test]
async fn a_file_of_the_log_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = super::open_hasty(folder.path(), Arc::new(|_| Ok(())));
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    for round in 0..5u64 {
        set(&store, &a, &mut claim, &[("n", Some(&[round as u8; 9000]))]).await;
        settled(&store).await;
        let numbers = disk(folder.path()).numbers().unwrap();
        assert!(numbers.len() <= 2 && numbers.is_sorted(), "{numbers:?}");
    }
    let left = copy(folder.path());
    store.close().await;
    // What is in the file from its earlier use are no records.
    let again = open(left.path());
    assert_eq!(again.claim(&a).await.unwrap().etag, 5);
    again.close().await;
}
