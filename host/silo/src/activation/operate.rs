//! An operator's look at, or change of, an actor's state or standing: one of its turns.

use std::sync::Arc;

use quark_core::activation::{Point, Why};
use quark_core::commit::Write;
use quark_core::error::CallError;
use quark_core::standing::Standing;
use quark_core::state::Value;
use quark_engine::Cause;

use super::turn::NO_ROOM_RETRY_MS;
use super::{Activation, Live, Loaded, Slot};
use crate::api::{Failure, StateOperation, StateValue, codes};
use crate::message::{Operate, Output};
use crate::silo::Inner;

impl Activation {
    pub(super) async fn operate(&self, silo: &Arc<Inner>, operate: Operate) {
        let Operate { name, operation, if_match, reply } = operate;
        let etag = self.machine.lock().turns.loaded_as().map_or(0, |(_, etag)| etag);
        let shown = (etag > 0).then(|| etag.to_string());
        let mut slot = self.take_slot();
        let mut write = Write::default();
        let outcome = if if_match.is_some() && if_match != shown {
            let now = shown.as_deref().unwrap_or("none: it never wrote");
            Err(Failure::new(codes::CONFLICT, format!("the e-tag of {} is {now}", self.id))
                .next("read the value again, then repeat with the e-tag that it has now"))
        } else {
            if !matches!(operation, StateOperation::Get) {
                (slot, write) = self.put_to_sleep(silo, slot).await;
            }
            if matches!(slot, Slot::Empty) {
                // Its values went with its pack: the next message loads them from the store.
                let undone = self.machine.lock().trapped();
                undone.into_iter().for_each(|output| output.undone(silo));
                return drop(reply.send(Err(CallError::Overloaded(NO_ROOM_RETRY_MS).into())));
            }
            match operation {
                StateOperation::Stop | StateOperation::Start => {
                    let mut machine = self.machine.lock();
                    let before = machine.standing().encode();
                    machine.stage_standing(|standing| stop_or_start(standing, operation == StateOperation::Stop));
                    Ok(before.map(|row| row.to_vec()))
                }
                operation @ (StateOperation::Get | StateOperation::Set(_) | StateOperation::Delete) => {
                    change(&mut slot, &name, operation).await
                }
            }
        };
        if let Slot::Loaded(loaded) = &mut slot {
            write.changes.extend(loaded.state.take_changes());
        }
        let mut machine = self.machine.lock();
        let write = machine.with_standing(write);
        let etag = if write.is_empty() { shown } else { Some((etag + 1).to_string()) };
        let outcome = outcome.map(|bytes| StateValue { bytes, etag });
        machine.slot = slot;
        let point = machine.commit_point(write, Output::Operated(reply, outcome));
        if let Point::Failed(output, error) = point {
            let undone = machine.trapped();
            drop(machine);
            undone.into_iter().for_each(|output| output.undone(silo));
            return output.fail(silo, error);
        }
        machine.turns.end(None);
        if machine.standing().stopped {
            // Nothing can be done with it in memory. The token is held, so this cannot grant it.
            machine.turns.deactivate(Why::Requested);
        }
        drop(machine);
        self.pass(silo, point);
        self.wait_on(silo);
    }

    /// Ends a living instance but keeps its values: the guest may hold a copy of what an operator
    /// changes, so it must load afresh. What its hook staged commits together with the change.
    async fn put_to_sleep(&self, silo: &Arc<Inner>, slot: Slot) -> (Slot, Write) {
        let Slot::Live(live) = slot else { return (slot, Write::default()) };
        let (Some(live), hook) = live.deactivate(silo, Why::Requested).await else {
            return (Slot::Empty, Write::default());
        };
        let Live { instance, served, generation, home } = *live;
        let state = instance.into_state().await;
        drop(home);
        self.cancel_timers(silo);
        let Some(mut state) = state else { return (Slot::Empty, Write::default()) };
        let write = hook.unwrap_or_else(|trap| {
            let is_child = self.machine.lock().standing().parent.is_some();
            silo.hook_failed(&self.id, is_child, &trap);
            state.undo();
            Write::default()
        });
        (Slot::Loaded(Box::new(Loaded { generation, state, served, cause: Cause::Message })), write)
    }
}

/// One that is stopped is nobody's child and nobody's parent.
fn stop_or_start(standing: &mut Standing, stop: bool) {
    if stop {
        *standing = Standing { stopped: true, ..Standing::default() };
    } else {
        standing.stopped = false;
    }
}

async fn change(slot: &mut Slot, name: &str, operation: StateOperation) -> Result<Option<Vec<u8>>, Failure> {
    let state = match slot {
        Slot::Loaded(loaded) => &mut loaded.state,
        Slot::Live(live) => return shown(name, live.instance.value(name).await),
        Slot::Empty => return Err(Failure::new(codes::INTERNAL, "nothing is loaded")),
    };
    match operation {
        StateOperation::Get => {
            shown(name, (state.get(name).cloned(), state.iter().map(|(name, _)| name.clone()).collect()))
        }
        StateOperation::Stop | StateOperation::Start => Ok(None),
        StateOperation::Set(bytes) => match state.set(name, bytes.into()) {
            Ok(()) => Ok(None),
            Err(error) => Err(Failure::new("too-large", error.to_string())),
        },
        StateOperation::Delete => {
            state.delete(name);
            Ok(None)
        }
    }
}

fn shown(name: &str, (value, names): (Option<Value>, Vec<Arc<str>>)) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(value) = value {
        return Ok(Some(value.to_vec()));
    }
    let failure = Failure::new(codes::NOT_FOUND, format!("it has no state value `{name}`"));
    Err(if names.is_empty() { failure } else { failure.next(format!("it has: {}", names.join(", "))) })
}
