//! What one instance's Store holds: its actor, the running turn, what that staged, its limits.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use quark_core::activation::Turn;
use quark_core::commit::{CommitError, Handled, TELLS_PER_COMMIT_MAX, Write};
use quark_core::envelope::{Chain, Head, Path, Tell};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::idempotency::IdempotencyKey;
use quark_core::state::State;
use quark_core::time::Time;
use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::component::Component;
use crate::engine::{Beats, TICK, TICK_IDLE};
use crate::instance::{Birth, Cause};
use crate::kind::{Hook, Kind};
use crate::limits::Limiter;
use crate::nested::Within;
use crate::outside::{CallFailure, Calling, OutgoingCall, OutgoingWork, Outside, Reached};
use crate::proxy::Proxies;
use crate::replay::Doing;
use crate::rest::Rest;
use crate::seats::Seats;
use crate::wasi::{self, Lines};

/// The turn that runs, or ran last.
pub(crate) struct TurnContext {
    pub(crate) head: Head,
    pub(crate) turn: Turn,
    pub(crate) runs: Runs,
    pub(crate) read_only: bool,
    /// For each call that the turn makes, if it asked.
    pub(crate) timeout: Option<Duration>,
    /// The tell, or the time of a reminder, that it handles, until its first commit point.
    pub(crate) handled: Option<Handled>,
    /// How many calls it made.
    pub(crate) calls: u32,
    /// Its commit point that failed.
    pub(crate) broken: Option<CommitError>,
    /// A call of its own failed.
    pub(crate) undecided: bool,
    pub(crate) clock: TurnClock,
}

impl TurnContext {
    /// No turn yet.
    pub(crate) fn none(clock: TurnClock) -> Self {
        Self {
            head: Head { teller: None, deadline: Time::NEVER, path: Path::START, chain: NO_CHAIN.clone(), keyed: None },
            turn: Turn { generation: 0, number: 0 },
            runs: Runs::Activate,
            read_only: true,
            timeout: None,
            handled: None,
            calls: 0,
            broken: None,
            undecided: false,
            clock,
        }
    }

    /// The key of the call whose turn runs; a hook has none, though it shows the head of the turn before it.
    pub(crate) fn key(&self) -> Option<&IdempotencyKey> {
        let keyed = self.head.keyed.as_ref().filter(|_| matches!(self.runs, Runs::Method(_)))?;
        Some(&keyed.key)
    }

    /// A call that it made failed.
    pub(crate) fn call_failed(&mut self) {
        self.undecided = true;
    }
}

/// Why a guest may not send anything now.
pub(crate) const LOOKS_BACK: &str = "`restore`, `apply` and `snapshot` may neither call nor tell nor start timers: do \
                                     that in the method that appends the event, or in `activate`";

/// What travels with a hook: nothing.
static NO_CHAIN: LazyLock<Arc<Chain>> = LazyLock::new(Arc::default);

/// What a turn runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// `restore` and `apply`.
    Replay,
    /// `activate` and the constructor.
    Activate,
    /// The kind's method at that place.
    Method(usize),
    /// `deactivate`.
    Deactivate,
}

/// What the guest asked for beside its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// To leave memory after this turn.
    pub deactivate: bool,
    /// To stay in memory at least that long without a message.
    pub keep_awake: Option<Duration>,
    /// A snapshot of its journal is due.
    pub snapshot: bool,
}

impl Wishes {
    /// Whether it asked for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One actor of an instance: what of it stays from turn to turn.
pub(crate) struct Member {
    pub(crate) actor: ActorId,
    pub(crate) generation: u64,
    pub(crate) host: Arc<dyn Outside>,
    pub(crate) state: State,
    pub(crate) tells: Vec<Tell>,
    /// What a turn handles that is past its first commit point, which overlapping turns hold up.
    pub(crate) handled: Option<Box<Handled>>,
    pub(crate) wishes: Wishes,
    /// What it does with its journal, while it wakes by that beside others.
    pub(crate) replays: Option<Box<Doing>>,
}

impl Member {
    /// The actor that is born.
    pub(crate) fn of(birth: Birth) -> (Box<Self>, Cause) {
        let Birth { actor, generation, cause, state, outside, component: _, kind_at: _ } = birth;
        let (tells, handled, wishes) = (Vec::new(), None, Wishes::default());
        (Box::new(Self { actor, generation, host: outside, state, tells, handled, wishes, replays: None }), cause)
    }

    /// Undoes all that is staged.
    pub(crate) fn undo(&mut self) {
        self.state.undo();
        self.tells.clear();
        self.handled = None;
        self.wishes = Wishes::default();
    }

    /// What stands in its place once it has left.
    pub(crate) fn leave(self: &mut Box<Self>) -> Box<Self> {
        let nobody = Self {
            actor: self.actor.clone(),
            generation: self.generation,
            host: self.host.clone(),
            state: State::new(BTreeMap::new(), 0),
            tells: Vec::new(),
            handled: None,
            wishes: Wishes::default(),
            replays: None,
        };
        std::mem::replace(self, Box::new(nobody))
    }
}

/// A Store's data.
pub(crate) struct Guest {
    pub(crate) component: Arc<Component>,
    pub(crate) kind_at: usize,
    /// The actor whose turn runs, or ran last.
    pub(crate) member: Box<Member>,
    pub(crate) turn: TurnContext,
    /// The others, where several actors or turns share the instance.
    pub(crate) seats: Option<Box<Seats>>,
    /// How its own methods are called while a turn waits; only where turns nest.
    pub(crate) within: Option<Box<Within>>,
    /// What its turns wait for; only where that may be several calls, and can be known.
    pub(crate) rest: Option<Arc<Rest>>,
    pub(crate) limiter: Limiter,
    pub(crate) proxies: Proxies,
    /// Proxies that there may be, of all actors together.
    pub(crate) handles_max: usize,
    pub(crate) table: ResourceTable,
    /// Made when the guest first asks: most actors never do, and it is not small.
    pub(crate) wasi: Option<Box<WasiCtx>>,
    pub(crate) lines: Arc<Lines>,
}

impl Guest {
    pub(crate) fn kind(&self) -> &Kind {
        &self.component.kinds[self.kind_at]
    }

    /// Whether the turn staged nothing and asked for nothing, as most do.
    pub(crate) fn is_clean(&self) -> bool {
        !self.is_staged() && self.member.wishes.is_empty()
    }

    pub(crate) fn is_staged(&self) -> bool {
        self.member.state.is_staged() || !self.member.tells.is_empty() || self.turn.handled.is_some()
    }

    /// Something is being staged. Where turns overlap, the others' commit points wait for this one's.
    pub(crate) fn stages(&self) {
        if self.overlaps() {
            self.member.host.staged(self.turn.turn);
        }
    }

    fn overlaps(&self) -> bool {
        self.seats.as_ref().is_some_and(|seats| seats.overlap)
    }

    /// All that is staged, for a commit point; none while an overlapping turn stands between its own
    /// commit points. What this turn handles goes with the first one: what happens after it is never
    /// repeated.
    fn reach(&mut self) -> Option<Write> {
        let free = !self.overlaps() || self.member.host.reaches(self.turn.turn);
        if !free && let Some(handled) = self.turn.handled.take() {
            // The commit that another turn makes takes it along.
            self.member.handled = Some(Box::new(handled));
        }
        free.then(|| self.take_write())
    }

    /// All that is staged.
    pub(crate) fn take_write(&mut self) -> Write {
        let Member { actor, state, tells, handled, .. } = &mut *self.member;
        let (handled, fired) = match self.turn.handled.take().or_else(|| handled.take().map(|handled| *handled)) {
            Some(Handled::Tell(id)) => (Some(id), None),
            Some(Handled::Reminder(fired)) => (None, Some(fired)),
            None => (None, None),
        };
        let reminders = state.reminders().map_or_else(Vec::new, |own| own.take(actor, fired.as_deref()));
        let mut changes = state.take_changes();
        let journal = state.take_journal().map(|(journal, change)| {
            changes.push(change);
            journal
        });
        Write { changes, tells: std::mem::take(tells), handled, fired, reminders, journal }
    }

    /// The same, as the silo gets it.
    pub(crate) fn reached(&mut self) -> Reached {
        if self.overlaps() {
            self.reach().map_or(Reached::Held, |write| Reached::Free(Some(Box::new(write))))
        } else {
            Reached::Free(self.is_staged().then(|| Box::new(self.take_write())))
        }
    }

    /// The same for a call that the turn makes. What a turn with a key writes is committed with its answer, so
    /// that a repeat after a crash does not write it once more: the call is repeated with it, and has a key too.
    /// Only where others wait for a commit of it the turn makes one here.
    fn reached_by_call(&mut self) -> Reached {
        if self.turn.key().is_none() {
            return self.reached();
        }
        if !self.overlaps() {
            return Reached::Free(None);
        }
        match self.reach_keyed() {
            Some(write) => Reached::Free(write.map(Box::new)),
            None => Reached::Held,
        }
    }

    fn reach_keyed(&mut self) -> Option<Option<Write>> {
        let (host, turn) = (self.member.host.clone(), self.turn.turn);
        host.reaches(turn).then(|| host.is_waited_for().then(|| self.take_write()))
    }

    pub(crate) fn outgoing(&mut self, to: ActorId, work: OutgoingWork) -> OutgoingCall {
        self.turn.calls = self.turn.calls.wrapping_add(1);
        OutgoingCall {
            to,
            work,
            write: self.reached_by_call(),
            key: self.turn.key().cloned(),
            from_method: self.method_name(),
            deadline: self.turn.head.deadline,
            path: self.turn.head.path.clone(),
            chain: self.turn.head.chain.clone(),
            turn: self.turn.turn,
            call: self.turn.calls,
            timeout: self.turn.timeout,
        }
    }

    /// Whether it is told or asked what it came to by its journal: nothing may leave meanwhile.
    pub(crate) fn looks_back(&self) -> bool {
        match self.turn.runs {
            Runs::Replay => true,
            Runs::Method(at) => self.component.journaled.is_some() && self.kind().hook_at(at) == Some(Hook::Snapshot),
            Runs::Activate | Runs::Deactivate => false,
        }
    }

    /// Sends a call. The time of a target that runs on this very stack is not this turn's.
    pub(crate) fn call(&mut self, call: OutgoingCall) -> Calling {
        if self.looks_back() {
            return Calling::Done(Err(CallFailure::Call(CallError::Denied(LOOKS_BACK.into()))));
        }
        let mark = self.turn.clock.mark();
        let calling = self.member.host.call(call);
        self.turn.clock.skip(mark);
        calling
    }

    /// A tick passed while the guest ran.
    pub(crate) fn tick(&mut self) -> UpdateDeadline {
        match (self.turn.clock.tick(), &self.rest) {
            (UpdateDeadline::YieldCustom(ticks, yields), Some(rest)) => {
                // Whoever is to wake it is told of that later.
                let yielding = rest.other();
                let yields = async move {
                    yields.await;
                    drop(yielding);
                };
                UpdateDeadline::YieldCustom(ticks, Box::pin(yields))
            }
            (update, _) => update,
        }
    }

    fn method_name(&self) -> Arc<str> {
        match self.turn.runs {
            Runs::Replay => "apply".into(),
            Runs::Activate => "activate".into(),
            Runs::Deactivate => "deactivate".into(),
            Runs::Method(at) => self.kind().called(at).signature.name.clone(),
        }
    }

    /// Stages a tell; the caller has checked [`TELLS_PER_COMMIT_MAX`].
    pub(crate) fn stage_tell(&mut self, to: ActorId, method: &str, arguments: Vec<u8>) -> wasmtime::Result<()> {
        if self.looks_back() {
            return Err(wasmtime::Error::msg(LOOKS_BACK));
        }
        debug_assert!(self.member.tells.len() < TELLS_PER_COMMIT_MAX);
        self.stages();
        let chain = (*self.turn.head.chain).clone();
        self.member.tells.push(Tell { to, method: method.into(), arguments, chain });
        Ok(())
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi::context(&self.lines)));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// Why the thread was given back that polled a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GaveBack {
    /// It waits for something.
    #[default]
    ToWait,
    /// A tick passed: it has more to do, and waits for nothing.
    AtTick {
        /// Whether its turn had run for long by then.
        long: bool,
    },
}

thread_local! {
    static GAVE_BACK: Cell<GaveBack> = const { Cell::new(GaveBack::ToWait) };
}

/// Why the last guest that was polled on this thread since the last look gave it back.
#[must_use]
pub fn gave_back() -> GaveBack {
    GAVE_BACK.take()
}

/// Counts the time that a turn spends inside the guest. Waits do not count.
#[derive(Debug)]
pub(crate) struct TurnClock {
    limit: Duration,
    spent: Duration,
    entered: Instant,
    /// On a fiber a tick yields; on the caller's stack there is nothing to yield with.
    fiber: bool,
    pub(crate) timed_out: bool,
    /// Called once in a long turn that cannot yield.
    hold: Option<fn()>,
    /// Counts the engine's ticks: cheaper to look at than the time.
    beats: Arc<Beats>,
}

impl TurnClock {
    pub(crate) fn new(limit: Duration, beats: Arc<Beats>) -> Self {
        Self { beats, limit, spent: Duration::ZERO, entered: Instant::now(), fiber: true, timed_out: false, hold: None }
    }

    /// The guest is entered.
    pub(crate) fn start(&mut self, fiber: bool, now: Instant, hold: Option<fn()>) {
        self.beats.used();
        self.spent = Duration::ZERO;
        self.entered = now;
        self.fiber = fiber;
        self.hold = hold;
    }

    /// A host function waits.
    pub(crate) fn pause(&mut self) {
        self.spent += self.entered.elapsed().min(2 * TICK);
    }

    /// Where the engine's ticks stand.
    pub(crate) fn mark(&self) -> u64 {
        self.beats.count()
    }

    /// Leaves out what passed since the mark, which is only worth a look when a tick passed.
    pub(crate) fn skip(&mut self, mark: u64) {
        if self.mark() != mark {
            self.resume();
        }
    }

    /// The wait is over.
    pub(crate) fn resume(&mut self) {
        self.entered = Instant::now();
    }

    /// A tick passed while the guest ran, or while it waited for a worker. Of what is longer than a tick
    /// takes at most a tick and a half counts: a machine that is busy, or was paused, would end innocent turns.
    pub(crate) fn tick(&mut self) -> UpdateDeadline {
        self.beats.used();
        let now = Instant::now();
        let ran = now.duration_since(self.entered);
        self.spent += ran.min(if self.fiber { TICK } else { TICK_IDLE } * 3 / 2);
        self.entered = now;
        if self.spent >= self.limit {
            self.timed_out = true;
            return UpdateDeadline::Interrupt;
        }
        if self.fiber {
            GAVE_BACK.set(GaveBack::AtTick { long: self.is_long() });
            return UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()));
        }
        if self.is_long()
            && let Some(hold) = self.hold.take()
        {
            hold();
            self.resume();
        }
        UpdateDeadline::Continue(1)
    }

    /// Whether the running turn, or the last one, is no short one. A tick alone does not say so:
    /// it falls into a turn of a microsecond as well.
    pub(crate) fn is_long(&self) -> bool {
        self.spent >= TICK / 2
    }

    pub(crate) const fn limit(&self) -> Duration {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_the_machine_is_no_time_of_a_turn() {
        for fiber in [true, false] {
            let mut clock = TurnClock::new(Duration::from_millis(100), Arc::default());
            let long_ago = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
            clock.start(fiber, long_ago, None);
            let _ = clock.tick();
            assert!(!clock.timed_out, "{fiber}");
            // One that goes on is ended all the same.
            for _ in 0..100 {
                clock.entered = long_ago;
                let _ = clock.tick();
            }
            assert!(clock.timed_out, "{fiber}");
        }
    }
}
