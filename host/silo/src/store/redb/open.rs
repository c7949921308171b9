//! Opening a data folder: make it, lock it, check what is in it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, StorageError};

use super::guarded;
use super::tables::{ACTORS, Broken, COMPONENTS, DEPLOYMENTS, FORMAT, META, META_FORMAT, OUTBOX};

/// Held locked while a silo has the folder; its text is that silo's process id.
const LOCK_FILE: &str = "silo.lock";
pub(super) const DATA_FILE: &str = "quark.redb";
/// A data file until it is whole, so that a crash while it is made leaves none.
const NEW_FILE: &str = "quark.redb.new";
/// Nobody else may look into the folder: state and tokens are in it.
const FOLDER_MODE: u32 = 0o700;
/// The most bytes read of a lock file: a process id is shorter.
const PID_BYTES_MAX: u64 = 32;

/// Why a data folder was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder does not exist and cannot be made.
    #[error("the data folder {} cannot be made ({source}); make it yourself or name another one", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder, or the data in it, cannot be written.
    #[error("{} cannot be written; let this user write there or name another data folder", path.display())]
    ReadOnly {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another silo uses the folder.
    #[error(
        "the data folder {} is in use by another silo ({}); stop that one or name another data folder",
        path.display(), pid.map_or_else(|| "process unknown".into(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other silo's process, when it has left its id.
        pid: Option<u32>,
    },
    /// A newer version of Quark wrote the data.
    #[error(
        "{} has format {found} and this version of quark reads up to format {known}; use the newer quark that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The data cannot be read.
    #[error("{} is damaged ({reason}); restore it from a copy, or move it away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is too little room on its disk to bring what was logged into its tables.
    #[error(
        "there is too little room in {} to start ({reason}); nothing is lost: make {} MiB free there and start again",
        path.display(), need.div_ceil(1024 * 1024)
    )]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// How many bytes it takes at the most.
        need: u64,
        /// What failed.
        reason: String,
    },
    /// The system failed otherwise.
    #[error("{} cannot be opened ({reason}); mend that and start again", path.display())]
    Failed {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A folder that is this silo's while this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Unlocked when it is dropped.
    _lock: File,
}

/// How long a start waits for the folder's last silo to be gone, and how often it looks.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_LOOK: Duration = Duration::from_millis(20);

/// Opens a database file that exists. Tests put faults under it.
pub(super) type OpenFile = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send>;

impl Folder {
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
        made.map_err(|source| OpenError::Folder { path: path.into(), source })?;
        let at = path.join(LOCK_FILE);
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&at);
        let mut lock = opened.map_err(|error| failed(&at, error))?;
        let give_up = Instant::now() + LOCK_WAIT;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A killed silo keeps its lock until the kernel has taken its memory apart.
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => thread::sleep(LOCK_LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::Locked { path: path.into(), pid: read_pid(&mut lock) });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&at, error)),
            }
        }
        write_pid(&mut lock).map_err(|error| failed(&at, error))?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data_file(&self) -> PathBuf {
        self.path.join(DATA_FILE)
    }

    /// Makes the data file if there is none, all or nothing.
    pub(super) fn make_data_file(&self) -> Result<(), OpenError> {
        let file = self.data_file();
        if file.try_exists().map_err(|error| failed(&file, error))? {
            return Ok(());
        }
        let new = self.path.join(NEW_FILE);
        let make = || -> io::Result<()> {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let tables = |database: Database| -> Result<(), redb::Error> {
                let tx = database.begin_write()?;
                tx.open_table(META)?.insert(META_FORMAT, FORMAT)?;
                tx.open_table(ACTORS)?;
                tx.open_table(OUTBOX)?;
                tx.open_table(DEPLOYMENTS)?;
                tx.open_table(COMPONENTS)?;
                tx.commit()?;
                Ok(database.close()?)
            };
            let made = Database::create(&new).map_err(redb::Error::from).and_then(tables);
            made.map_err(|error| if let redb::Error::Io(error) = error { error } else { io::Error::other(error) })?;
            fs::rename(&new, &file)?;
            // The name of a new file is durable only with its folder.
            File::open(&self.path)?.sync_all()
        };
        make().map_err(|error| failed(&file, error))
    }

    /// Opens the data file.
    pub(super) fn open(&self, open_file: &OpenFile) -> Result<Database, OpenError> {
        let path = self.data_file();
        // redb checks what it reads, but may still panic on a file that something else changed.
        let opened = guarded(|| Ok(open_file(&path)));
        opened
            .and_then(|opened| match opened {
                Ok(database) => Ok(Ok(database)),
                Err(DatabaseError::Storage(StorageError::Io(error))) => Ok(Err(failed(&path, error))),
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    Ok(Err(OpenError::Locked { path: self.path.clone(), pid: None }))
                }
                Err(other) => Err(Broken::from(other)),
            })
            .unwrap_or_else(|broken| Err(self.broken(broken)))
    }

    /// The data file gave no answer.
    pub(super) fn broken(&self, broken: Broken) -> OpenError {
        match broken {
            Broken::Damaged(reason) => OpenError::Damaged { path: self.data_file(), reason },
            Broken::Io(reason) => OpenError::Failed { path: self.data_file(), reason },
        }
    }
}

pub(super) fn failed(path: &Path, error: io::Error) -> OpenError {
    let path = path.into();
    // The system's kinds grow; what is not known here is told as it is.
    #[expect(clippy::wildcard_enum_match_arm)]
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path, source: error }
        }
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            OpenError::Damaged { path, reason: error.to_string() }
        }
        _ => OpenError::Failed { path, reason: error.to_string() },
    }
}

/// None when the other silo has not written it yet.
fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}
