//! Turns of one activation that overlap, in a component of the concurrent lane.
//!
//! The holder of the token begins them and waits for what lets the next one begin. They end on the
//! stack of whoever runs the pack: there all their commit points are made, in the order in which the
//! guest reached them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::activation::{Point, Turn, Why};
use quark_core::commit::{CommitError, Handled};
use quark_core::envelope::Head;
use quark_engine::values::Payload;
use quark_engine::{Reached, Rest, Started, Trap, Turned, Wishes};
use tokio::sync::{Notify, oneshot};

use super::turn::{MidTurn, answer_trap, within_limit};
use super::{Activation, Live, Slot};
use crate::message::{Message, MethodRef, Origin, Output, Work};
use crate::silo::Inner;

/// When the holder looks again though nothing happened, if no turn has a time of its own.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A turn that overlaps, and what is to be told of it.
struct Beside {
    turn: Turn,
    method: MethodRef,
    origin: Origin,
    started: Instant,
    last: tokio::time::Instant,
}

/// Where turns that overlap hear of one another, and what they wait for.
#[derive(Default)]
pub(super) struct Events {
    told: Notify,
    /// Of the instance that was made last.
    rest: Mutex<Option<Arc<Rest>>>,
}

/// Turns that overlap and have not ended.
#[derive(Default)]
pub(super) struct Times(Vec<Begun>);

struct Begun {
    number: u64,
    /// After that it is given up.
    last: tokio::time::Instant,
    /// Only looked at, whether somebody still waits for it.
    origin: Weak<Mutex<Option<Origin>>>,
}

impl Times {
    fn begin(&mut self, turn: Turn, last: tokio::time::Instant, origin: &Arc<Mutex<Option<Origin>>>) {
        self.0.push(Begun { number: turn.number, last, origin: Arc::downgrade(origin) });
    }

    fn end(&mut self, turn: Turn) {
        self.0.retain(|begun| begun.number != turn.number);
    }

    fn first(&self) -> Option<tokio::time::Instant> {
        self.0.iter().map(|begun| begun.last).min()
    }

    /// Whether whoever called for that turn is gone.
    fn is_given_up(&self, turn: Turn) -> bool {
        let begun = self.0.iter().find(|begun| begun.number == turn.number);
        let origin = begun.and_then(|begun| begun.origin.upgrade());
        origin.is_some_and(|origin| matches!(&*origin.lock(), Some(Origin::Caller(to)) if to.is_closed()))
    }

    /// Whether the time of one has passed: it is told once.
    fn pass(&mut self, now: tokio::time::Instant) -> bool {
        let all = self.0.len();
        self.0.retain(|begun| begun.last > now);
        self.0.len() < all
    }
}

impl Activation {
    /// Where turns that overlap hear of one another.
    pub(super) fn events(&self) -> &Notify {
        &self.events.get_or_init(Box::default).told
    }

    /// What the turns of its instance wait for, where one may have several calls under way.
    pub(crate) fn rest(&self) -> Option<Arc<Rest>> {
        self.events.get()?.rest.lock().clone()
    }

    /// It has a new instance.
    pub(super) fn rests_as(&self, rest: Option<Arc<Rest>>) {
        if rest.is_some() || self.events.get().is_some() {
            *self.events.get_or_init(Box::default).rest.lock() = rest;
        }
    }

    /// Begins a turn; its end comes by [`Activation::ended_beside`].
    pub(super) fn begin_beside(
        &self,
        live: Box<Live>,
        turn: Turn,
        (head, method, payload, origin): (Head, MethodRef, Payload, Origin),
        handles: Option<Handled>,
        last: tokio::time::Instant,
    ) {
        let turns = live.instance.turns();
        let mut machine = self.machine.lock();
        if !machine.turns.runs(turn) {
            // Others ended the instance in which it was to begin.
            drop(machine);
            let bytes = payload.bytes();
            let Some(silo) = self.silo.upgrade() else { return };
            let work = Work::Method { method, payload, origin };
            self.forget(turn);
            return self.begin_again(&silo, Message::new(head, work, bytes, None));
        }
        machine.slot = Slot::Live(live);
        let origin = Arc::new(Mutex::new(Some(origin)));
        machine.beside.get_or_insert_default().begin(turn, last, &origin);
        drop(machine);
        let begun = Instant::now();
        let started = Started { head, turn, method: method.at, handles, payload };
        let (me, silo) = (self.me.clone(), self.silo.clone());
        let done = move |turned| {
            // Neither is there any more only while the silo is being dropped.
            let origin = origin.lock().take();
            if let (Some(me), Some(silo), Some(origin)) = (me.upgrade(), silo.upgrade(), origin) {
                me.ended_beside(&silo, Beside { turn, method, origin, started: begun, last }, turned);
            }
        };
        match turns {
            Some(turns) => turns.start(started, Box::new(done)),
            None => done(Turned::Trapped(Trap::Guest("its instance cannot run turns beside others".into()))),
        }
    }

    /// Waits until the next turn may begin, or one has run too long.
    pub(super) async fn wait_beside(&self) {
        let last = self.machine.lock().beside.as_ref().and_then(|times| times.first());
        let last = last.unwrap_or_else(|| tokio::time::Instant::now() + LOOK_AGAIN);
        if tokio::time::timeout_at(last, self.events().notified()).await.is_ok() {
            return;
        }
        let mut machine = self.machine.lock();
        let now = tokio::time::Instant::now();
        if !machine.beside.as_mut().is_some_and(|times| times.pass(now)) {
            return;
        }
        // It is given up once; all that run with it are told by their pack.
        let turns = if let Slot::Live(live) = &machine.slot { live.instance.turns() } else { None };
        drop(machine);
        tracing::debug!(actor = %self.id, "a turn was given up");
        turns.iter().for_each(|turns| turns.end(Trap::Abandoned));
    }

    /// Whether whoever called for that turn, which overlaps, is gone.
    pub(super) fn is_given_up_beside(&self, turn: Turn) -> bool {
        self.machine.lock().beside.as_ref().is_some_and(|times| times.is_given_up(turn))
    }

    fn ended_beside(&self, silo: &Arc<Inner>, beside: Beside, turned: Turned) {
        match turned {
            Turned::Ended { payload, write, wishes } => self.done_beside(silo, beside, payload, write, wishes),
            Turned::Trapped(trap) => self.trapped_beside(silo, beside, trap),
            Turned::Unbegun(started) => self.again(silo, beside, *started),
        }
        self.events().notify_one();
    }

    fn done_beside(&self, silo: &Arc<Inner>, beside: Beside, payload: Payload, write: Reached, wishes: Wishes) {
        let Beside { turn, method, origin, started, last: _ } = beside;
        if let Some(wait) = wishes.keep_awake {
            self.awake_until.fetch_max(silo.clock.now().after(wait).0, Ordering::Relaxed);
        }
        let mut timer = None;
        let output = match origin {
            Origin::Caller(to) => {
                let outcome = within_limit(method.served.kind(), &payload).map(|()| payload);
                Output::Reply { to, outcome, progressed: true }
            }
            Origin::Outbox(id) => Output::Told(id),
            Origin::Reminder(row) => Output::Reminded(row),
            Origin::Timer(firing) => {
                timer = Some(firing);
                Output::Nothing
            }
            Origin::Snapshot => Output::Nothing,
        };
        let mut machine = self.machine.lock();
        machine.ran += 1;
        machine.beside.iter_mut().for_each(|times| times.end(turn));
        if !machine.turns.runs(turn) {
            let output = machine.traced(Some(turn), None, output);
            drop(machine);
            return output.undone(silo);
        }
        let point = match write {
            Reached::Held => {
                let output = machine.traced(Some(turn), None, output);
                machine.turns.hold(output);
                Point::Held
            }
            Reached::Free(write) => {
                let write = write.map(|write| *write).unwrap_or_default();
                let output = machine.traced(Some(turn), Some(&write), output);
                machine.commit_point(write, output)
            }
        };
        if let Point::Failed(output, error) = point {
            drop(machine);
            output.fail(silo, error);
            return self.end_instance(silo, turn, error);
        }
        machine.turns.ended(turn, Some(started.elapsed()));
        if wishes.deactivate {
            // The token is held, so this cannot grant it.
            machine.turns.deactivate(Why::Ended);
        } else if wishes.snapshot {
            machine.ask_for_snapshot();
        }
        drop(machine);
        timer.into_iter().for_each(|firing| silo.timers.ended(firing, silo.clock.now()));
        self.pass(silo, point);
    }

    /// A commit failed: the guest's memory is ahead of the store.
    fn end_instance(&self, silo: &Arc<Inner>, turn: Turn, error: CommitError) {
        let Some((undone, slot, _)) = self.take_trapped(silo, turn, None) else { return };
        undone.into_iter().for_each(|output| output.undone(silo));
        if let Slot::Live(live) = slot {
            // Turns that still run in it are told by their pack.
            live.instance.turns().iter().for_each(|turns| turns.end(Trap::Commit(error)));
        }
    }

    /// A commit failed while turns run: none of them can end well.
    pub(super) fn end_all_beside(&self, error: CommitError) {
        let turns = match &self.machine.lock().slot {
            Slot::Live(live) => live.instance.turns(),
            Slot::Loaded(_) | Slot::Empty => None,
        };
        turns.iter().for_each(|turns| turns.end(Trap::Commit(error)));
    }

    /// What goes with the instance in which that turn ran, unless it went before; and, if the actor failed
    /// too often with it, the messages to turn away.
    fn take_trapped(
        &self,
        silo: &Arc<Inner>,
        turn: Turn,
        trap: Option<&Trap>,
    ) -> Option<(Vec<Output>, Slot, Vec<Message>)> {
        let mut machine = self.machine.lock();
        machine.beside.iter_mut().for_each(|times| times.end(turn));
        machine.turns.runs(turn).then(|| {
            self.restart.store(true, Ordering::Relaxed);
            machine.beside = None;
            let undone = machine.trapped();
            self.cancel_timers(silo);
            let waiting = trap.map(|trap| self.failed(silo, &mut machine, trap));
            (undone, std::mem::take(&mut machine.slot), waiting.unwrap_or_default())
        })
    }

    fn trapped_beside(&self, silo: &Arc<Inner>, beside: Beside, trap: Trap) {
        let Beside { turn, method, origin, started: _, last } = beside;
        self.machine.lock().ran += 1;
        // Of several turns that end with their instance the first one counts.
        if let Some((undone, slot, waiting)) = self.take_trapped(silo, turn, Some(&trap)) {
            undone.into_iter().for_each(|output| output.undone(silo));
            drop(slot);
            self.turn_away(silo, waiting);
            silo.report_failure(&self.id, method.name(), &trap);
        }
        let of_another = trap == Trap::Abandoned && tokio::time::Instant::now() < last;
        let trap = if of_another { Trap::Neighbour(trap.to_string()) } else { trap };
        self.trace_trapped(turn, &trap);
        answer_trap(silo, origin, trap);
    }

    /// Nothing was done: the message waits again.
    fn again(&self, silo: &Arc<Inner>, beside: Beside, started: Started) {
        let Beside { turn, method, origin, started: _, last: _ } = beside;
        if let Some((undone, slot, _)) = self.take_trapped(silo, turn, None) {
            undone.into_iter().for_each(|output| output.undone(silo));
            drop(slot);
        }
        let Started { head, payload, .. } = started;
        let bytes = payload.bytes();
        self.forget(turn);
        self.begin_again(silo, Message::new(head, Work::Method { method, payload, origin }, bytes, None));
    }

    /// A commit point of a turn that overlaps, in its middle, while others are between their own.
    pub(super) fn hold_point(&self, turn: Turn) -> MidTurn {
        let (send, receive) = oneshot::channel::<Result<(), CommitError>>();
        let mut machine = self.machine.lock();
        let output = machine.traced_midway(turn, None, Output::Resume(send));
        machine.turns.hold(output);
        MidTurn::Wait(receive)
    }

    /// That turn stages something.
    pub(crate) fn staged(&self, turn: Turn) {
        self.machine.lock().turns.staged(turn);
    }

    /// That turn is at a commit point: whether it is to be made now.
    pub(crate) fn reaches(&self, turn: Turn) -> bool {
        self.machine.lock().turns.reach(turn)
    }
}
