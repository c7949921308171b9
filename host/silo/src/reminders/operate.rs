//! What an operator sees of reminders, and does to them.

use std::sync::Arc;

use quark_core::commit::CommitError;
use quark_core::id::ActorId;
use quark_core::reminders::{Fired, Missed, Place, Reminder, Schedule, Stand};
use tokio::sync::oneshot;

use crate::api::{Failure, ReminderOperation, ReminderReport, ReminderReports, codes};
use crate::clock::unix_ms;
use crate::message::commit_failed;
use crate::service::unavailable;
use crate::silo::Inner;
use crate::store::{PAGE_MAX, StoreError};

/// How often an operation looks again at a row that moves on meanwhile.
const TRIES_MAX: u32 = 16;
/// When to look again at one that moved on each time.
const RETRY_MS: u64 = 100;

impl Inner {
    /// Reminders of one actor, or of all, in the order in which they fire.
    pub(crate) async fn list_reminders(
        &self,
        of: Option<&ActorId>,
        limit: usize,
    ) -> Result<ReminderReports, StoreError> {
        let mut rows = Vec::new();
        if let Some(actor) = of {
            rows = self.store.reminders(actor).await?;
            rows.sort_by_key(|row| row.at);
        } else {
            let mut after: Option<Place> = None;
            while rows.len() <= limit {
                let page = self.store.due(after.as_ref(), (limit + 1 - rows.len()).min(PAGE_MAX)).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.place());
                rows.extend(page);
            }
        }
        let truncated = rows.len() > limit;
        rows.truncate(limit);
        Ok(ReminderReports { reminders: rows.into_iter().map(report).collect(), truncated })
    }

    /// Fires a reminder now, or takes it away.
    pub(crate) async fn operate_reminder(
        self: &Arc<Self>,
        actor: &ActorId,
        name: &str,
        operation: ReminderOperation,
    ) -> Result<(), Failure> {
        for _ in 0..TRIES_MAX {
            let rows = self.store.reminders(actor).await.map_err(unavailable)?;
            let Some(row) = rows.iter().find(|row| *row.id.name == *name) else {
                return Err(none(actor, name, &rows));
            };
            let to = match operation {
                ReminderOperation::Delete => None,
                ReminderOperation::Fire => Some(Stand::at(row.due.min(unix_ms()))),
            };
            if self.change_reminder(Fired::new(Arc::new(row.clone()), to)).await? {
                return Ok(());
            }
        }
        let message = format!("`{name}` of {actor} changes all the time; nothing was done");
        Err(Failure { retry_after_ms: Some(RETRY_MS), ..Failure::new("unavailable", message) })
    }

    /// Whether the row stood yet as it was.
    async fn change_reminder(self: &Arc<Self>, fired: Fired) -> Result<bool, Failure> {
        let (done, landed) = oneshot::channel();
        self.reminders.change(|window| window.submitted([&fired.row.id]));
        let (silo, told) = (self.clone(), fired.clone());
        let then = move |outcome: Result<bool, CommitError>| {
            let id = &told.row.id;
            silo.reminders.change(|window| match outcome {
                Ok(true) => window.landed(vec![(id.clone(), told.after().map(Arc::new))]),
                Ok(false) => window.lost(std::slice::from_ref(id), false),
                Err(error) => window.lost(std::slice::from_ref(id), error == CommitError::Unknown),
            });
            done.send(outcome).ok();
        };
        self.store.move_reminder(fired, Box::new(then));
        match landed.await {
            Ok(outcome) => outcome.map_err(|error| commit_failed(error).into()),
            Err(_) => Err(Failure::new(codes::STOPPING, "the silo is stopping; nothing was done")),
        }
    }
}

fn none(actor: &ActorId, name: &str, rows: &[Reminder]) -> Failure {
    let failure = Failure::new(codes::NOT_FOUND, format!("{actor} has no reminder `{name}`"));
    let names: Vec<&str> = rows.iter().map(|row| &*row.id.name).take(20).collect();
    if names.is_empty() { failure.next("it has none") } else { failure.next(format!("it has {}", names.join(", "))) }
}

fn report(row: Reminder) -> ReminderReport {
    let actor = format!("{}/{}", row.id.actor.kind, row.id.actor.key);
    let schedule = match row.schedule {
        Schedule::Once(_) => "once".into(),
        Schedule::Every(each) => format!("every {}", std::time::Duration::from_millis(each).as_secs_f64()) + " s",
        Schedule::Cron(text) => text,
    };
    let missed = match row.missed {
        Missed::FireOnce => "fire-once",
        Missed::FireAll => "fire-all",
        Missed::Skip => "skip",
    };
    ReminderReport {
        actor,
        name: row.id.name.to_string(),
        schedule,
        missed: missed.into(),
        due_ms: row.due,
        next_ms: row.at,
        tries: row.tries,
        payload_bytes: row.payload.len() as u64,
    }
}
