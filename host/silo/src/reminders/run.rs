//! The task that reads rows and fires them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::envelope::{Chain, Head, Path};
use quark_core::reminders::{Place, Reminder, Step};
use quark_core::time::Time;
use quark_engine::Hook;

use crate::dead_letters::Reason;
use crate::message::{Message, MethodRef, Origin, Work};
use crate::silo::Inner;
use crate::store::StoreError;

/// How many steps are carried out before others get the worker.
const ROUND_MAX: usize = 256;
/// How long the task waits before it reads again when the store does not answer, or has what nobody can read.
const UNAVAILABLE_RETRY: Duration = Duration::from_millis(500);
const DAMAGED_RETRY: Duration = Duration::from_secs(10);
/// Bytes that a firing counts for in its mailbox beside its payload.
const FIRING_OVERHEAD: usize = 64;

/// Fires reminders until the silo stops: their rows are safe, and the next start goes on with them.
pub(crate) async fn run(silo: Arc<Inner>) {
    let mut reads_at = Instant::now();
    while !silo.is_stopping() {
        match round(&silo, &mut reads_at).await {
            Round::Cut => tokio::task::yield_now().await,
            Round::Idle(None) => silo.reminders.wake.notified().await,
            Round::Idle(Some(wait)) => drop(tokio::time::timeout(wait, silo.reminders.wake.notified()).await),
        }
    }
}

enum Round {
    /// There is more to do.
    Cut,
    /// There is nothing until something changes, or so long.
    Idle(Option<Duration>),
}

async fn round(silo: &Arc<Inner>, reads_at: &mut Instant) -> Round {
    for _ in 0..ROUND_MAX {
        let now = silo.reminders.now();
        let step = silo.reminders.window.lock().step(now);
        match step {
            Step::Fire(row) => fire(silo, row),
            Step::Move(fired) => silo.move_reminder(fired),
            Step::Read(after, limit) => {
                let early = reads_at.saturating_duration_since(Instant::now());
                if !early.is_zero() {
                    silo.reminders.window.lock().no_page();
                    return Round::Idle(Some(early));
                }
                if let Some(wait) = read(silo, after, limit).await {
                    *reads_at = Instant::now() + wait;
                }
            }
            Step::Wait(wait) => return Round::Idle(wait),
        }
    }
    Round::Cut
}

/// How long to wait before the next try, if it failed.
async fn read(silo: &Arc<Inner>, after: Option<Place>, limit: usize) -> Option<Duration> {
    match silo.store.due(after.as_ref(), limit).await {
        Ok(rows) => {
            silo.reminders.window.lock().page(rows);
            None
        }
        Err(error) => {
            silo.reminders.window.lock().no_page();
            let damaged = matches!(error, StoreError::Damaged(_));
            tracing::warn!(%error, "reminders cannot be read; those in the store wait");
            Some(if damaged { DAMAGED_RETRY } else { UNAVAILABLE_RETRY })
        }
    }
}

fn fire(silo: &Arc<Inner>, row: Arc<Reminder>) {
    let Some(served) = silo.kinds.get(&row.id.actor.kind) else {
        // Its deployment may be on its way.
        return silo.reminders.window.lock().leave_out(&row);
    };
    let Some(at) = served.kind().hook(Hook::Reminder) else {
        let detail = "its component exports no `quark:actor/reminder-target@0.1.0` any more";
        return silo.reminder_is_dead(&row, Reason::Incompatible, detail);
    };
    // It begins a chain.
    let chain = Chain { request_id: format!("{:032x}", rand::random::<u128>()), ..Chain::default() };
    let head = Head { teller: None, deadline: Time::NEVER, path: Path::START, chain: Arc::new(chain) };
    let payload = quark_engine::on_reminder_arguments(&row);
    let (method, origin) = (MethodRef { served, at }, Origin::Reminder(row.clone()));
    let bytes = row.payload.len() + FIRING_OVERHEAD;
    let message = Message::new(head, Work::Method { method, payload, origin }, bytes, None);
    if let Err(error) = silo.deliver_later(&row.id.actor, message) {
        silo.reminder_failed(&row, &error);
    }
}
