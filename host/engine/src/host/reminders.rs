//! `quark:actor/reminders`: turns that the actor is given at its times, whatever becomes of its silo.

use quark_core::commit::Handled;
use quark_core::reminders::{Missed, Reminder, ReminderRefusal, Schedule};
use wasmtime::AsContextMut as _;
use wasmtime::component::Linker;

use crate::bindings::quark::actor::reminders;
use crate::guest::Guest;
use crate::host::context::now_ms;
use crate::kind::Hook;
use crate::rest::Rest;
use crate::seats::attribute;

type Answered = Result<Vec<reminders::Reminder>, String>;

impl reminders::Host for Guest {
    fn register(
        &mut self,
        name: String,
        schedule: reminders::Schedule,
        missed: reminders::Missed,
        payload: Vec<u8>,
    ) -> wasmtime::Result<Result<(), String>> {
        if self.kind().hook(Hook::Reminder).is_none() {
            return Ok(Err(
                "its component exports no `quark:actor/reminder-target@0.1.0`, so a reminder would call nobody: add \
                 `export quark:actor/reminder-target@0.1.0;` to its world and write its `on-reminder`"
                    .into(),
            ));
        }
        if self.turn.read_only {
            return Ok(Err("a method that is read-only registers no reminders".into()));
        }
        self.stages();
        let schedule = match schedule {
            reminders::Schedule::Once(after) => Schedule::Once(after),
            reminders::Schedule::Every(each) => Schedule::Every(each),
            reminders::Schedule::Cron(text) => Schedule::Cron(text),
        };
        let missed = match missed {
            reminders::Missed::FireOnce => Missed::FireOnce,
            reminders::Missed::FireAll => Missed::FireAll,
            reminders::Missed::Skip => Missed::Skip,
        };
        let own = self.member.state.reminders_mut();
        let staged = own.register(&self.member.actor, &name, (schedule, missed), payload.into(), now_ms());
        Ok(staged.map_err(|refusal: ReminderRefusal| refusal.to_string()))
    }

    /// It has no result, so what cannot be done ends the turn.
    fn unregister(&mut self, name: String) -> wasmtime::Result<()> {
        if self.turn.read_only {
            return Err(wasmtime::Error::msg("a method that is read-only unregisters no reminders"));
        }
        if self.member.state.reminders().is_some() {
            self.stages();
            self.member.state.reminders_mut().unregister(&name);
        }
        Ok(())
    }

    async fn registered(&mut self) -> wasmtime::Result<Answered> {
        let asking = self.member.host.reminders(self.turn.turn);
        self.turn.clock.pause();
        let rows = asking.await;
        self.turn.clock.resume();
        Ok(self.seen(rows))
    }
}

/// Defines what suspends once more, for components in which it is an `async func`.
pub(crate) fn define_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("quark:actor/reminders@0.1.0")?.func_wrap_concurrent("registered", |accessor, (): ()| {
        Box::pin(async move {
            let (task, asking, _under_way) = accessor.with(|mut access| -> wasmtime::Result<_> {
                let mut store = access.as_context_mut();
                attribute(&mut store)?;
                let guest = store.data_mut();
                let under_way = guest.rest.as_ref().map(Rest::other);
                Ok((guest.task(), guest.member.host.reminders(guest.turn.turn), under_way))
            })?;
            let rows = asking.await;
            accessor.with(|mut access| {
                let guest = access.data_mut();
                guest.resume(task);
                Ok((guest.seen(rows),))
            })
        })
    })
}

impl Guest {
    /// The rows of the store as the running turn sees them.
    fn seen(&mut self, rows: Result<Vec<Reminder>, String>) -> Answered {
        let fired = match &self.turn.handled {
            Some(Handled::Reminder(fired)) => Some(&**fired),
            Some(Handled::Tell(_)) | None => None,
        };
        let rows = rows?;
        let seen = match self.member.state.reminders() {
            Some(own) => own.seen(rows, fired),
            None => rows,
        };
        Ok(seen.into_iter().map(shown).collect())
    }
}

fn shown(row: Reminder) -> reminders::Reminder {
    let schedule = match row.schedule {
        Schedule::Once(after) => reminders::Schedule::Once(after),
        Schedule::Every(each) => reminders::Schedule::Every(each),
        Schedule::Cron(text) => reminders::Schedule::Cron(text),
    };
    let missed = match row.missed {
        Missed::FireOnce => reminders::Missed::FireOnce,
        Missed::FireAll => reminders::Missed::FireAll,
        Missed::Skip => reminders::Missed::Skip,
    };
    reminders::Reminder {
        name: row.id.name.to_string(),
        schedule,
        missed,
        next: row.due,
        payload: row.payload.to_vec(),
    }
}
