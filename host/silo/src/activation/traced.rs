//! Turns that are recorded for people.
//!
//! A turn is noted in its machine when it begins, if its kind is recorded then, and taken from there at its end,
//! together with the output that may have to wait for commits. Where turns of an actor are not recorded there is
//! nothing in its machine, and one look at that is all it costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::activation::Turn;
use quark_core::commit::Write;
use quark_core::envelope::Head;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::time::Time;
use quark_core::trace::{Ended, Occasion, REQUEST_BYTES_MAX, Record, Stands, within};
use quark_engine::values::{Payload, call_errors};
use quark_engine::{Hook, Trap};

use super::{Activation, Machine, Slot};
use crate::clock::Clock;
use crate::message::{Gated, Message, MethodRef, Origin, Output, Work};
use crate::silo::Inner;
use crate::traces::Traced;

/// The turns of one actor that run and are recorded, by number.
#[derive(Default)]
pub(super) struct Running(Vec<(u64, Arc<Traced>)>);

/// A turn that begins.
pub(super) struct Begins<'a> {
    pub(super) method: &'a MethodRef,
    pub(super) head: &'a Head,
    pub(super) bytes: usize,
    pub(super) occasion: Occasion,
    /// When its message was let in; none for one that did not wait.
    pub(super) admitted: Option<Time>,
    pub(super) now: Instant,
}

/// What a turn is for; `told` says that its message came by the outbox.
pub(super) fn occasion(method: &MethodRef, told: bool) -> Occasion {
    match method.served.kind().hook_at(method.at) {
        Some(Hook::Timer) => Occasion::Timer,
        Some(Hook::Reminder) => Occasion::Reminder,
        Some(Hook::Snapshot) => Occasion::Snapshot,
        Some(Hook::ChildFailed | Hook::Terminated) => Occasion::Notice,
        None if told => Occasion::Tell,
        None => Occasion::Call,
    }
}

fn record_of(actor: &ActorId, begins: &Begins<'_>, clock: Clock) -> Record {
    let Begins { method, head, bytes, occasion, admitted, now } = begins;
    Record {
        sequence: 0,
        at_ms: 0,
        actor: actor.clone(),
        method: method.name().clone(),
        occasion: *occasion,
        teller: head.teller.clone(),
        path: head.path.clone(),
        request: within(&head.chain.request_id, REQUEST_BYTES_MAX).into(),
        queued: admitted.map_or(Duration::ZERO, |admitted| clock.at(*now).since(admitted)),
        woke: Duration::ZERO,
        ran: Duration::ZERO,
        calls: 0,
        called: Duration::ZERO,
        commits: 0,
        commit: Duration::ZERO,
        bytes_in: *bytes as u64,
        bytes_out: 0,
        bytes_committed: 0,
        stands: Stands::Alone,
        ended: Ended::Ok,
        detail: "".into(),
    }
}

/// How a turn ended that answered so.
fn answered(outcome: &Result<&Payload, &CallError>) -> (u64, Ended, String) {
    match outcome {
        Ok(payload) => {
            let own_error = payload.vals.first().is_some_and(call_errors::is_err);
            (payload.bytes() as u64, if own_error { Ended::Error } else { Ended::Ok }, String::new())
        }
        // Nothing else becomes of a turn that did not trap.
        Err(error) => (0, Ended::TooLarge, error.to_string()),
    }
}

/// How a turn ended that trapped, or did not begin.
const fn trapped(trap: &Trap) -> Ended {
    match trap {
        Trap::Guest(_) | Trap::Undecided(_) => Ended::Trapped,
        Trap::Refused(_) => Ended::Refused,
        Trap::Failed(_) => Ended::Error,
        Trap::Commit(_) => Ended::NotCommitted,
        Trap::Abandoned | Trap::Overdue(_) => Ended::Abandoned,
        Trap::Neighbour(_) | Trap::Unbegun => Ended::Neighbour,
        Trap::CoolsDown { .. } => Ended::CoolsDown,
        Trap::Stopped => Ended::Stopped,
        Trap::NoRoom(_) => Ended::NoRoom,
    }
}

impl Machine {
    fn take_traced(&mut self, number: u64) -> Option<Arc<Traced>> {
        let running = &mut self.traced.as_mut()?.0;
        let at = running.iter().position(|(known, _)| *known == number)?;
        Some(running.remove(at).1)
    }

    /// The turn did not begin, or comes again.
    pub(super) fn forget_traced(&mut self, turn: Turn) {
        drop(self.take_traced(turn.number));
    }

    /// The instance is over in which turns ran inside of one another: the record of the outermost.
    pub(super) fn take_outermost_traced(&mut self) -> Option<Arc<Traced>> {
        let running = std::mem::take(&mut self.traced.as_mut()?.0);
        running.into_iter().next().map(|(_, traced)| traced)
    }

    /// The record of the turn that began last, which is about to end.
    #[inline]
    pub(super) fn take_last_traced(&mut self) -> Option<Arc<Traced>> {
        if self.traced.is_none() { None } else { self.take_that_began_last() }
    }

    #[cold]
    fn take_that_began_last(&mut self) -> Option<Arc<Traced>> {
        let number = self.turns.running()?.number;
        self.take_traced(number)
    }

    /// What leaves that turn (else the one that began last) at its end, with its record if there is one. `write` is
    /// what it commits; none when that goes with another turn's.
    #[inline]
    pub(super) fn traced(&mut self, turn: Option<Turn>, write: Option<&Write>, output: Output) -> Output {
        if self.traced.is_none() { output } else { self.traced_at_its_end(turn, write, output) }
    }

    #[cold]
    fn traced_at_its_end(&mut self, turn: Option<Turn>, write: Option<&Write>, output: Output) -> Output {
        let traced = match turn {
            Some(turn) => self.take_traced(turn.number),
            None => self.take_that_began_last(),
        };
        let Some(turn) = traced else { return output };
        let unheard = matches!(&output, Output::Reply { to, .. } if to.is_closed());
        let (bytes, ended, mut detail) = match &output {
            Output::Reply { outcome, .. } => answered(&outcome.as_ref()),
            Output::Resume(_)
            | Output::Operated(..)
            | Output::Told(_)
            | Output::Reminded(_)
            | Output::Nothing
            | Output::Traced(_) => (0, Ended::Ok, String::new()),
        };
        if unheard && detail.is_empty() {
            "its caller did not wait for the answer any more".clone_into(&mut detail);
        }
        turn.ended(bytes, ended, &detail);
        self.gated(turn, write, output, true)
    }

    /// The same of a commit point in its middle.
    pub(super) fn traced_midway(&mut self, turn: Turn, write: Option<&Write>, output: Output) -> Output {
        let Some(running) = &self.traced else { return output };
        match running.0.iter().find(|(known, _)| *known == turn.number) {
            None => output,
            Some((_, traced)) => self.gated(traced.clone(), write, output, false),
        }
    }

    fn gated(&self, turn: Arc<Traced>, write: Option<&Write>, output: Output, is_last: bool) -> Output {
        let writes = write.is_some_and(|write| !write.is_empty()) || self.is_standing_staged();
        if writes {
            turn.commits(write.map_or(0, Write::bytes) as u64);
        }
        let waits = writes || write.is_none() || !self.turns.is_open();
        Output::Traced(Box::new(Gated { output, turn, since: waits.then(Instant::now), is_last }))
    }
}

impl Activation {
    /// A turn begins of a kind whose turns are recorded.
    #[cold]
    pub(super) fn trace(&self, silo: &Inner, turn: Turn, begins: &Begins<'_>) {
        let mut record = record_of(&self.id, begins, silo.clock);
        let mut machine = self.machine.lock();
        let others = machine.turns.all_running().is_some_and(|running| running.turns.len() > 1);
        record.stands = match machine.turns.interleaves() {
            _ if !others => Stands::Alone,
            true => Stands::Beside,
            false => Stands::Inside,
        };
        let wakes = matches!(machine.slot, Slot::Loaded(_));
        let traced = Arc::new(Traced::begin(&silo.traces, record, begins.now, wakes));
        machine.traced.get_or_insert_default().0.push((turn.number, traced));
    }

    /// A message's turn is about to begin, for which the actor may have to wake first.
    pub(super) fn trace_message(
        &self,
        silo: &Inner,
        turn: Turn,
        (method, head, origin, bytes): (&MethodRef, &Head, &Origin, usize),
        admitted: Time,
    ) {
        let occasion = occasion(method, matches!(origin, Origin::Outbox(_)));
        self.trace(
            silo,
            turn,
            &Begins { method, head, bytes, occasion, admitted: Some(admitted), now: Instant::now() },
        );
    }

    /// The guest is entered for it.
    pub(super) fn trace_entered(&self, turn: Turn, at: Instant, bytes: usize) {
        self.traced(turn).iter().for_each(|traced| traced.entered(at, bytes as u64));
    }

    /// The record of a turn that runs.
    pub(crate) fn traced(&self, turn: Turn) -> Option<Arc<Traced>> {
        let machine = self.machine.lock();
        let known = machine.traced.as_ref()?.0.iter().find(|(known, _)| *known == turn.number);
        known.map(|(_, traced)| traced.clone())
    }

    /// The turn did not begin, and comes again.
    pub(super) fn forget(&self, turn: Turn) {
        self.machine.lock().forget_traced(turn);
    }

    /// The turn ended so, or could not begin.
    pub(super) fn trace_trapped(&self, turn: Turn, trap: &Trap) {
        let traced = self.machine.lock().take_traced(turn.number);
        traced.iter().for_each(|traced| tell_trapped(traced, trap));
    }
}

impl Inner {
    /// A message whose caller has stopped waiting before its turn.
    pub(crate) fn trace_expired(&self, to: &ActorId, message: &Message, late: bool) {
        let Work::Method { method, payload, origin } = &message.work else { return };
        if !method.served.is_traced() {
            return;
        }
        let occasion = occasion(method, matches!(origin, Origin::Outbox(_)));
        let (head, bytes, now) = (&message.head, payload.bytes(), Instant::now());
        let begins = Begins { method, head, bytes, occasion, admitted: Some(message.admitted), now };
        let mut record = record_of(to, &begins, self.clock);
        record.end(if late { Ended::Expired } else { Ended::Cancelled }, "it had not begun, and will not");
        self.traces.add(record);
    }
}

/// A turn ended on the stack of its caller, and nothing waits.
pub(super) fn tell_answered(traced: &Traced, outcome: &Result<(), CallError>, payload: &Payload) {
    let (bytes, ended, detail) = answered(&outcome.as_ref().map(|()| payload));
    traced.ended(bytes, ended, &detail);
    traced.keep();
}

pub(super) fn tell_trapped(traced: &Traced, trap: &Trap) {
    traced.ended(0, trapped(trap), &trap.to_string());
    traced.keep();
}
