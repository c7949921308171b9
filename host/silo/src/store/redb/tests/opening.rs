//! A data folder that cannot be used: the error says which and what to do.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{no_floor, open};
use crate::store::Store as _;
use crate::store::redb::RedbStore;
use crate::store::redb::open::OpenError;
use crate::store::redb::tables::{META, META_FORMAT};

fn refused(folder: &Path) -> OpenError {
    match RedbStore::open(folder, no_floor()) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_new_folder_is_for_its_owner_only() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("some/where");
    let store = open(&folder);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    store.close().await;
}

#[tokio::test]
async fn a_second_silo_is_told_the_first_ones_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = refused(folder.path());
    let OpenError::Locked { pid, .. } = &error else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    store.close().await;
    open(folder.path()).close().await;
}

#[tokio::test]
async fn a_newer_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().await;
    let file = folder.path().join("quark.redb");
    let database = redb::Database::open(&file).unwrap();
    let tx = database.begin_write().unwrap();
    tx.open_table(META).unwrap().insert(META_FORMAT, 9).unwrap();
    tx.commit().unwrap();
    drop(database);
    let error = refused(folder.path());
    assert!(matches!(error, OpenError::Newer { found: 9, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("format 9") && error.to_string().contains("format 2"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_told_and_kept() {
    let fresh = tempfile::tempdir().unwrap();
    open(fresh.path()).close().await;
    let whole = fs::read(fresh.path().join("quark.redb")).unwrap();
    let scratched: Vec<u8> = whole.iter().map(|byte| byte ^ 0x5a).collect();
    for damaged in [&b""[..], b"not a database", &whole[..whole.len() / 2], &whole[..100], &scratched] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quark.redb");
        fs::write(&file, damaged).unwrap();
        let error = refused(folder.path());
        assert!(matches!(error, OpenError::Damaged { .. }), "{} bytes: {error}", damaged.len());
        assert_eq!(fs::read(&file).unwrap(), damaged, "nothing was changed");
    }
}

/// Bytes changed anywhere give an error or a store that answers; nothing panics or hangs.
#[tokio::test]
async fn scratches_anywhere_do_not_panic() {
    let fresh = tempfile::tempdir().unwrap();
    let store = open(fresh.path());
    for n in 0..50 {
        let one = super::actor(&format!("a{n}"));
        let mut claim = store.claim(&one).await.unwrap();
        super::set(&store, &one, &mut claim, &[("v", Some(&[n; 300]))]).await;
    }
    store.close().await;
    let length = fs::metadata(fresh.path().join("quark.redb")).unwrap().len();
    for at in (0..length).step_by(4096 * 3 + 511) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quark.redb");
        fs::copy(fresh.path().join("quark.redb"), &file).unwrap();
        let mut scratch = File::options().write(true).open(&file).unwrap();
        scratch.seek(SeekFrom::Start(at)).unwrap();
        scratch.write_all(&[0xa5; 64]).unwrap();
        let Ok(store) = RedbStore::open(folder.path(), no_floor()) else { continue };
        for n in 0..50 {
            let one = super::actor(&format!("a{n}"));
            if let Ok(claim) = store.claim(&one).await {
                let _ = super::commit(&store, super::write(&one, &claim, &[("v", Some(b"x"))])).await;
            }
        }
        let _ = store.outbox(None, 10).await;
        store.close().await;
    }
}

#[test]
fn a_folder_that_cannot_be_made_or_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/quark".into()] {
        let error = refused(&path);
        assert!(matches!(error, OpenError::Folder { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write everywhere.
    if fs::write(closed.join("probe"), "x").is_err() {
        let error = refused(&closed);
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_a_crash_left_of_a_new_file_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("quark.redb.new"), "half a file").unwrap();
    fs::write(folder.path().join("silo.lock"), "99999999 and more text than a process id has").unwrap();
    open(folder.path()).close().await;
    assert!(!folder.path().join("quark.redb.new").exists());
    let pid = fs::read_to_string(folder.path().join("silo.lock")).unwrap();
    assert_eq!(pid, format!("{}\n", std::process::id()));
}
