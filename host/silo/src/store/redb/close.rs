//! Ending: the last checkpoint, and no log any more.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redb::Database;

use super::segment::{Disk, Step};
use super::space::Space;
use super::start::clean;
use super::tables::Broken;
use super::view::{Base, View};
use super::{checkpoint, guarded};

/// How long readers may still use a database that is being closed.
const READERS_WAIT_MAX: Duration = Duration::from_secs(1);

/// Brings what is left into the tables, and closes them for good once those who read have ended.
pub(super) fn shut(view: View, disk: &Disk, space: &Space) {
    let has_room = space.has(space.of_tables(view.load()));
    let View { base, sealed, active } = view;
    let Base { database, .. } = base;
    let written = guarded(|| {
        if !has_room {
            return Err(Broken::Io("there is no room on the disk".into()));
        }
        let tx = checkpoint::begin(&database)?;
        if let Some(sealed) = sealed {
            checkpoint::fill(&tx, &sealed)?;
        }
        checkpoint::fill(&tx, &active)?;
        checkpoint::set_no_log(&tx)?;
        disk.step(Step::Checkpoint).map_err(|error| Broken::Io(error.to_string()))?;
        Ok(tx.commit()?)
    });
    match written {
        Ok(()) => clean(disk, disk.numbers().unwrap_or_default()),
        Err(error) => tracing::warn!(%error, "the next start brings the log into the tables"),
    }
    close(database);
}

fn close(mut database: Arc<Database>) {
    let started = Instant::now();
    loop {
        match Arc::try_unwrap(database) {
            Ok(database) => {
                let closed = guarded(|| Ok(database.close()?));
                if let Err(error) = closed {
                    tracing::warn!(%error, "the store closed with an error");
                }
                return;
            }
            // The last reader closes it then.
            Err(_) if started.elapsed() > READERS_WAIT_MAX => return,
            Err(used) => database = used,
        }
        thread::sleep(Duration::from_millis(1));
    }
}
