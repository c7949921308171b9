//! Bringing rows into the tables, durably.

use quark_core::envelope::Tell;
use quark_core::id::ActorId;
use redb::{Database, Durability, ReadableDatabase as _, WriteTransaction};

use super::overlay::Overlay;
use super::reminders;
use super::tables::{
    ACTORS, ActorRow, Broken, FORMAT, FORMAT_LOGGED, META, META_FORMAT, META_LOG, META_RESERVED, OUTBOX, TellRow,
    actor_key, parse, row, tell_key, value_key,
};

/// A transaction of which a crash leaves all or nothing, and after which a start need not walk
/// the whole file.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Broken> {
    let mut tx = database.begin_write()?;
    tx.set_durability(Durability::Immediate)?;
    tx.set_quick_repair(true);
    Ok(tx)
}

/// Puts an overlay's rows in.
pub(super) fn fill(tx: &WriteTransaction, overlay: &Overlay) -> Result<(), Broken> {
    let mut actors = tx.open_table(ACTORS)?;
    for (kind, key, changed) in overlay.actors() {
        let actor = ActorId { kind: kind.clone(), key: key.clone() };
        let etag = row(&ActorRow { etag: changed.etag })?;
        let stored = match actors.insert(actor_key(&actor), etag.as_slice())? {
            Some(stored) => parse::<ActorRow>(stored.value(), "an actor")?.etag,
            None => 0,
        };
        if stored != changed.before {
            let before = changed.before;
            return Err(Broken::Damaged(format!("{actor:?} has e-tag {stored}, and the log goes on from {before}")));
        }
        for (name, value) in &changed.values {
            let key = value_key(&actor, name);
            match value {
                Some(value) => actors.insert(key, &value[..])?,
                None => actors.remove(key)?,
            };
        }
    }
    drop(actors);
    overlay.journals().fill(tx)?;
    let mut outbox = tx.open_table(OUTBOX)?;
    for (id, tell) in overlay.outbox(None) {
        match tell {
            Some(tell) => {
                let (head, arguments) = tell_row(tell)?;
                outbox.insert(tell_key(id), (head.as_slice(), arguments))?;
            }
            None => {
                outbox.remove(tell_key(id))?;
            }
        }
    }
    reminders::fill(tx, overlay.reminders())
}

fn tell_row(tell: &Tell) -> Result<(Vec<u8>, &[u8]), Broken> {
    let head = TellRow { to: tell.to.clone(), method: tell.method.clone(), chain: tell.chain.clone() };
    Ok((row(&head)?, &tell.arguments))
}

/// Says that the tables lack the records of the log from this file on.
pub(super) fn set_log(tx: &WriteTransaction, first: u64) -> Result<(), Broken> {
    let mut meta = tx.open_table(META)?;
    meta.insert(META_FORMAT, FORMAT_LOGGED)?;
    meta.insert(META_LOG, first)?;
    Ok(())
}

/// Says that the tables have everything.
pub(super) fn set_no_log(tx: &WriteTransaction) -> Result<(), Broken> {
    let mut meta = tx.open_table(META)?;
    meta.insert(META_FORMAT, FORMAT)?;
    meta.remove(META_LOG)?;
    Ok(())
}

/// Makes this the last reservation of numbers.
pub(super) fn set_reserved(tx: &WriteTransaction, reserved: u64) -> Result<(), Broken> {
    tx.open_table(META)?.insert(META_RESERVED, reserved)?;
    Ok(())
}

/// What `meta` says: the format, the first file of the log, the last reservation of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meta {
    pub(super) format: Option<u64>,
    pub(super) log: Option<u64>,
    pub(super) reserved: u64,
}

pub(super) fn meta(database: &Database) -> Result<Meta, Broken> {
    let meta = database.begin_read()?.open_table(META)?;
    let number = |name: &str| -> Result<Option<u64>, Broken> { Ok(meta.get(name)?.map(|row| row.value())) };
    Ok(Meta { format: number(META_FORMAT)?, log: number(META_LOG)?, reserved: number(META_RESERVED)?.unwrap_or(0) })
}
