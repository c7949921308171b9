//! One actor awake: carries out the steps of its turn machine.
//!
//! An idle activation owns no task. A call that finds it idle runs as its turn on the caller's own
//! stack ([`Activation::enter`]). Other messages go through the mailbox, and whoever is granted the
//! turn token by that runs the actor: [`Activation::drive`] does as much as it can on the same
//! stack. What must wait moves to a task. `turn` runs turns and ends them, `beside` those that
//! overlap, `nested` those inside of one that waits for them; `birth` makes instances, `callers` tells
//! who still waits, `restart` is about those that failed, `family` about parents and children, `operate`
//! is for operators, `timed` for timers, `journal` for those that wake by their journals, `keyed` for calls with an
//! idempotency key, `traced` for turns that are recorded.

mod beside;
mod birth;
mod callers;
mod family;
mod journal;
mod keyed;
mod nested;
mod operate;
mod restart;
mod timed;
mod traced;
mod turn;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::activation::{Admitted, MailboxBounds, Overlap, Refused, Step, Turn, Turns, Why};
use quark_core::commit::Write;
use quark_core::envelope::Head;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::journal::{JOURNAL, Mark};
use quark_core::standing::{KeptStanding, Standing};
use quark_core::state::{STANDING, State};
use quark_core::time::Time;
use quark_engine::values::Payload;
use quark_engine::{Cause, Instance, Trap, TurnInput};
use tokio::sync::oneshot;

use crate::catalog::Place;
use crate::kinds::Served;
use crate::lasting::{Lasting, LongMethods};
use crate::message::{Message, MethodRef, Outcome, Output, Work};
use crate::packs::{Seated, Shared};
use crate::silo::Inner;
use crate::store::StoreError;

pub(crate) use self::turn::MidTurn;

/// How many activations may run inside one another on one stack.
const INLINE_DEPTH_MAX: u32 = 8;
/// How many turns the one who was granted the token runs before it hands the rest to a task.
const INLINE_TURNS_MAX: u32 = 4;
/// How many turns a task runs before others get its worker.
const TASK_TURNS_MAX: u32 = 64;
/// How often a call looks whether a short turn of another worker has ended.
const SPINS_MAX: u32 = 8;
/// Pauses of the processor between two looks.
const SPIN: u32 = 16;
/// How long a `deactivate` hook has.
const HOOK_GRACE: Duration = Duration::from_secs(5);

/// What callers of an actor are told whose standing a later version of Quark wrote.
const UNREADABLE: &str = "what its silo keeps of it was written by a later version of Quark: run that one";

thread_local! {
    static INLINE_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// One more activation runs on this stack while this lives.
struct Inside(u32);

impl Inside {
    /// None when there are too many already.
    fn enter() -> Option<Self> {
        let depth = INLINE_DEPTH.get();
        let entered = (depth < INLINE_DEPTH_MAX).then_some(Self(depth))?;
        INLINE_DEPTH.set(depth + 1);
        Some(entered)
    }
}

/// On this thread no activation ever runs inside of another one.
pub(crate) fn never_inline() {
    INLINE_DEPTH.set(INLINE_DEPTH_MAX);
}

/// Polls a future of an instance on whose stack no other may run.
pub(crate) async fn alone<F: Future>(nests: bool, future: F) -> F::Output {
    if nests {
        return future.await;
    }
    let mut future = std::pin::pin!(future);
    let poll = |cx: &mut Context<'_>| {
        let _full = Inside(INLINE_DEPTH.replace(INLINE_DEPTH_MAX));
        future.as_mut().poll(cx)
    };
    std::future::poll_fn(poll).await
}

impl Drop for Inside {
    fn drop(&mut self) {
        INLINE_DEPTH.set(self.0);
    }
}

/// What an activation has loaded. Only the token's holder looks.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    /// Claimed and loaded; no message has needed the guest yet.
    Loaded(Box<Loaded>),
    Live(Box<Live>),
}

/// What a new instance is made of.
struct Loaded {
    generation: u64,
    state: State,
    served: Arc<Served>,
    cause: Cause,
}

/// An instance that lives, and what goes with it.
struct Live {
    instance: Instance,
    served: Arc<Served>,
    generation: u64,
    home: Home,
}

/// What it takes of the room for live instances.
enum Home {
    Own(#[expect(dead_code, reason = "it is given back when dropped")] Place),
    Pack(Seated),
}

impl Live {
    /// Runs the hook, which has [`HOOK_GRACE`]. Without itself when the silo is over.
    async fn deactivate(mut self: Box<Self>, silo: &Inner, why: Why) -> (Option<Box<Self>>, Result<Write, Trap>) {
        let hook = async move {
            let nests = self.served.component.nests();
            let hook = tokio::time::timeout(HOOK_GRACE, self.instance.deactivate(why_name(why)));
            let done = alone(nests, hook).await.unwrap_or(Err(Trap::Overdue(HOOK_GRACE.as_secs())));
            (Some(self), done)
        };
        let done = Lasting::new(&silo.long_turns, Box::pin(hook), false).end().await;
        done.unwrap_or((None, Err(Trap::Abandoned)))
    }
}

/// The turn machine and what it drives, under one lock that is held for moments: never while a
/// guest runs.
pub(crate) struct Machine {
    pub(crate) turns: Turns<Message, Output>,
    slot: Slot,
    /// The version that was loaded last.
    serves: Option<Arc<Served>>,
    /// Calls that were let in, and turns that ended: counted here and not for the whole silo, where
    /// all workers would write to one place.
    calls: u64,
    ran: u64,
    /// When turns that overlap are given up.
    beside: Option<Box<beside::Times>>,
    /// What is kept of it that is not its own; of most there is nothing.
    standing: Option<Box<KeptStanding>>,
    /// Turns that run and are recorded.
    traced: Option<Box<traced::Running>>,
    /// What it answered to calls with a key; few ever have any.
    answers: Option<Box<keyed::Kept>>,
}

impl Machine {
    /// Calls that were let in, and turns that ended.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.calls, self.ran)
    }

    /// The version that is loaded.
    pub(crate) fn serves(&self) -> Option<&Arc<Served>> {
        self.serves.as_ref().filter(|_| self.turns.loaded_as().is_some())
    }

    /// A message for a newer version than the one that is loaded finds that one, whatever is told
    /// to go meanwhile. True when that grants the token: it was down, and a new version ends that.
    fn catch_up(&mut self, with: Option<u64>) -> bool {
        let behind = self.serves.as_ref().zip(with).is_some_and(|(served, since)| served.since < since);
        behind && self.turns.deactivate(Why::Upgraded)
    }

    /// The turn of a call that may begin at once, with the instance to run it.
    fn enter(&mut self, method: &MethodRef) -> Option<(Turn, Box<Live>)> {
        let Slot::Live(live) = &mut self.slot else { return None };
        if !Arc::ptr_eq(&live.served, &method.served) || !live.instance.is_free() {
            return None;
        }
        let Some(turn) = self.turns.enter(method.method().read_only) else {
            live.instance.step_back();
            return None;
        };
        self.calls += 1;
        match std::mem::take(&mut self.slot) {
            Slot::Live(live) => Some((turn, live)),
            Slot::Loaded(_) | Slot::Empty => None,
        }
    }
}

/// One actor in memory.
pub(crate) struct Activation {
    pub(crate) id: ActorId,
    pub(crate) silo: Weak<Inner>,
    pub(crate) machine: Mutex<Machine>,
    me: Weak<Self>,
    /// Of the silo's clock, nanoseconds.
    pub(crate) last_used: AtomicU64,
    pub(crate) awake_until: AtomicU64,
    restart: AtomicBool,
    upgraded: AtomicBool,
    /// Whether the running turn has done something that a failed last commit does not undo.
    progressed: AtomicBool,
    /// Whoever waited for the running turn is gone. Only while it runs in a task of its own.
    given_up: AtomicBool,
    long: LongMethods,
    /// It has left the catalog: whoever remembers it must look the actor up again.
    over: AtomicBool,
    /// Its place among those that have timers, plus one; 0 for none.
    pub(crate) timers: AtomicU32,
    /// Something happened that may let a turn begin beside others; most actors have none.
    events: OnceLock<Box<beside::Events>>,
}

/// How a call stands that was just made.
pub(crate) enum Entered {
    /// It could not begin here and now; it is as it was.
    Busy,
    /// It ran on this very stack; the payload is its result, if it has one.
    Done(Result<(), CallError>),
    /// Its answer will come.
    Waits(oneshot::Receiver<Outcome>),
}

/// What an activation takes of the room for live instances.
pub(crate) enum Takes {
    Nothing,
    Instance,
    Seat(Arc<Shared>),
}

type Next = Step<Message>;

impl Activation {
    pub(crate) fn new(id: ActorId, silo: &Arc<Inner>, bounds: MailboxBounds) -> Arc<Self> {
        let now = silo.clock.now().0;
        let turns = Turns::new(id.clone(), bounds, Overlap::None);
        let machine = Machine {
            turns,
            slot: Slot::Empty,
            serves: None,
            calls: 0,
            ran: 0,
            beside: None,
            standing: None,
            traced: None,
            answers: None,
        };
        Arc::new_cyclic(|me| Self {
            machine: Mutex::new(machine),
            id,
            silo: Arc::downgrade(silo),
            me: me.clone(),
            last_used: AtomicU64::new(now),
            awake_until: AtomicU64::new(0),
            restart: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            progressed: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            long: LongMethods::default(),
            over: AtomicBool::new(false),
            timers: AtomicU32::new(0),
            events: OnceLock::new(),
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Lets a message in; the caller must drive when it is given the token.
    #[expect(clippy::result_large_err, reason = "a refused message goes on to another activation")]
    pub(crate) fn admit(&self, mut message: Message, now: Time) -> Result<Admitted, Refused<Message>> {
        // What an actor gives itself to do is no use that others make of it.
        if !matches!(message.work, Work::Timer(_)) {
            self.last_used.store(now.0, Ordering::Relaxed);
        }
        message.admitted = now;
        let (is_call, since) = (message.is_call(), message.since());
        let mut machine = self.machine.lock();
        let mut admitted = machine.turns.admit(message);
        if admitted.is_ok() && machine.catch_up(since) {
            admitted = Ok(Admitted::Token);
        }
        machine.calls += u64::from(is_call && admitted.is_ok());
        if machine.turns.overlaps() {
            self.events().notify_one();
        }
        admitted
    }

    /// What it takes of the room for live instances, unless a turn runs in it.
    pub(crate) fn takes(&self) -> Takes {
        match &self.machine.lock().slot {
            Slot::Live(live) => match &live.home {
                Home::Own(_) => Takes::Instance,
                Home::Pack(seated) if seated.shared.pack.is_over() => Takes::Nothing,
                Home::Pack(seated) => Takes::Seat(seated.shared.clone()),
            },
            Slot::Loaded(_) | Slot::Empty => Takes::Nothing,
        }
    }

    pub(crate) const fn me(&self) -> &Weak<Self> {
        &self.me
    }

    /// Runs a call as this actor's turn on the caller's stack, up to its first wait, if the actor
    /// is idle and its instance lives.
    pub(crate) fn enter(
        self: &Arc<Self>,
        silo: &Arc<Inner>,
        method: &MethodRef,
        head: &mut Head,
        payload: &mut Payload,
        now: Instant,
    ) -> Entered {
        let Some(_inside) = Inside::enter() else { return Entered::Busy };
        let Some((turn, mut live)) = self.take_turn(method) else { return Entered::Busy };
        self.last_used.store(silo.clock.at(now).0, Ordering::Relaxed);
        self.note_short(silo, method, now);
        self.progressed.store(false, Ordering::Relaxed);
        if method.served.is_traced() {
            let (bytes, occasion) = (payload.bytes(), traced::occasion(method, false));
            self.trace(silo, turn, &traced::Begins { method, head, bytes, occasion, admitted: None, now });
        }
        if live.instance.runs_now() {
            let input = TurnInput { head, turn, method: method.at, handles: None, payload };
            let ran = live.instance.turn_now(input, now).map(|()| live);
            return self.ended_here(silo, method, ran, payload);
        }
        let deadline = head.deadline;
        let alone = turn::Alone { turn, method: method.at, handles: None, started: now };
        let mut turn = self.on_its_own(live, head.take(), std::mem::take(payload), alone);
        let turn = if self.long.has(method.at) {
            Lasting::new(&silo.long_turns, turn, true)
        } else {
            // Whatever is registered with this waker is registered anew by the task's first poll.
            match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok((live, result))) => {
                    *payload = result;
                    return self.ended_here(silo, method, Ok(live), payload);
                }
                Poll::Ready(Err(trap)) => return self.ended_here(silo, method, Err(trap), payload),
                Poll::Pending => Lasting::after_a_poll(&silo.long_turns, turn),
            }
        };
        let (reply, answer) = oneshot::channel();
        silo.spawn(self.clone().go_on(turn, method.clone(), reply, deadline, now));
        Entered::Waits(answer)
    }

    /// The turn of a call that may begin at once. When another worker is just running a turn of the
    /// shortest kind, its end is waited for, two or three microseconds at most: a place in the
    /// mailbox costs both workers more.
    fn take_turn(&self, method: &MethodRef) -> Option<(Turn, Box<Live>)> {
        for _ in 0..SPINS_MAX {
            let mut machine = self.machine.lock();
            let entered = machine.enter(method);
            if entered.is_some() || !machine.turns.is_soon_idle() || !method.served.component.runs_now() {
                return entered;
            }
            drop(machine);
            (0..SPIN).for_each(|_| std::hint::spin_loop());
        }
        None
    }

    /// Runs what there is to run, as far as possible on this stack. The caller holds the token.
    pub(crate) fn drive(self: &Arc<Self>) {
        let Some(silo) = self.silo.upgrade() else { return };
        let Some(_inside) = Inside::enter() else { return silo.spawn(self.clone().run(None)) };
        if let Some(step) = self.drive_now(&silo) {
            let mut rest: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(self.clone().run(step));
            // Whatever is registered with this waker is registered anew by the task's first poll.
            let poll = rest.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if poll.is_pending() {
                silo.spawn(rest);
            }
        }
    }

    /// Runs turns that need no stack of their own; gives the step that does, if it comes to one.
    fn drive_now(&self, silo: &Arc<Inner>) -> Option<Option<Next>> {
        for _ in 0..INLINE_TURNS_MAX {
            let now = Instant::now();
            // A guard in the `match` itself would be held while the guest runs.
            let step = self.machine.lock().turns.next(silo.clock.at(now));
            match step {
                Step::Idle => return None,
                Step::Down => {
                    silo.turn_back(self);
                    return None;
                }
                Step::Wait => return Some(Some(Step::Wait)),
                Step::Expired(message) => silo.expired(&self.id, message),
                Step::Gone(generation) => {
                    self.gone(silo, generation);
                    return None;
                }
                Step::Run(turn, message) => match self.run_now(silo, turn, message, now) {
                    None => {}
                    Some(message) => return Some(Some(Step::Run(turn, message))),
                },
                step @ (Step::Load | Step::Leave(..)) => return Some(Some(step)),
            }
        }
        Some(None)
    }

    /// Carries out steps until the token is given back.
    pub(crate) fn run(self: Arc<Self>, first: Option<Next>) -> impl Future<Output = ()> + Send {
        let mut first = first;
        async move {
            let mut turns = 0;
            loop {
                let Some(silo) = self.silo.upgrade() else { return };
                let step = match first.take() {
                    Some(step) => step,
                    None => self.machine.lock().turns.next(silo.clock.now()),
                };
                match step {
                    Step::Idle => return,
                    Step::Down => return silo.turn_back(&self),
                    Step::Wait => self.wait_beside().await,
                    Step::Gone(generation) => return self.gone(&silo, generation),
                    Step::Expired(message) => silo.expired(&self.id, message),
                    Step::Load => self.load(&silo).await,
                    Step::Run(turn, message) => self.turn(&silo, turn, message).await,
                    Step::Leave(turn, why) => self.leave(&silo, turn, why).await,
                }
                turns += 1;
                if turns % TASK_TURNS_MAX == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn take_slot(&self) -> Slot {
        std::mem::take(&mut self.machine.lock().slot)
    }

    fn gone(&self, silo: &Inner, generation: Option<u64>) {
        drop(self.take_slot());
        self.cancel_timers(silo);
        self.over.store(true, Ordering::Relaxed);
        let (calls, turns) = self.machine.lock().counts();
        silo.metrics.gone(calls, turns);
        silo.catalog.remove(self);
        if let Some(generation) = generation {
            silo.store.release(&self.id, generation);
        }
    }

    async fn load(&self, silo: &Arc<Inner>) {
        drop(self.take_slot());
        self.cancel_timers(silo);
        if self.cools_down(silo) {
            return;
        }
        // Under the lock, so that no message for a version that was not seen here comes in before.
        let served = {
            let mut machine = self.machine.lock();
            machine.serves = silo.kinds.get(&self.id.kind);
            machine.serves.clone()
        };
        let error = match served {
            None => CallError::Incompatible(format!("no kind `{}` is deployed", self.id.kind)),
            Some(served) => match silo.store.claim(&self.id).await {
                Ok(claim) => {
                    let limit = usize::try_from(served.kind().policy.limits.state).unwrap_or(usize::MAX);
                    let upgraded = self.upgraded.swap(false, Ordering::Relaxed);
                    let failed = silo.supervised.woke(&self.id);
                    let cause = match self.restart.swap(false, Ordering::Relaxed) || failed {
                        true => Cause::Restart,
                        false if upgraded => Cause::Upgrade,
                        false => Cause::Message,
                    };
                    let (generation, mut values, reminders) = (claim.generation, claim.values, claim.reminders);
                    let (row, journal) = (values.remove(STANDING), values.remove(JOURNAL));
                    let (row, mark) = (Standing::decode(row.as_deref()), Mark::decode(journal.as_deref()));
                    let answers = keyed::Kept::take_from(&mut values, silo);
                    let (Some(row), Some(mark), Ok(answers)) = (row, mark, answers) else {
                        let waiting = self.machine.lock().turns.refused();
                        return silo.answer_all(waiting, &CallError::Failed(UNREADABLE.into()));
                    };
                    if let Err(error) = self.settle(silo, row).await {
                        silo.store.release(&self.id, generation);
                        return error.iter().for_each(|error| {
                            let waiting = self.machine.lock().turns.refused();
                            silo.answer_all(waiting, error);
                        });
                    }
                    let state = State::new(values, limit).with_journal(mark).with_reminders(reminders);
                    let mut machine = self.machine.lock();
                    machine.answers = answers;
                    machine.turns.set_overlap(served.component.overlap(served.at));
                    machine.slot = Slot::Loaded(Box::new(Loaded { generation, state, served, cause }));
                    machine.turns.loaded(claim.generation, claim.etag);
                    drop(machine);
                    silo.metrics.activations.increment(1);
                    return;
                }
                Err(StoreError::Unavailable { retry_ms, .. }) => CallError::Unavailable(retry_ms),
                Err(error @ StoreError::Damaged(_)) => CallError::Failed(error.to_string()),
            },
        };
        let waiting = self.machine.lock().turns.refused();
        silo.answer_all(waiting, &error);
    }

    async fn leave(&self, silo: &Arc<Inner>, _turn: Turn, why: Why) {
        let slot = self.take_slot();
        let (mut live, mut left) = (None, Write::default());
        if let Slot::Live(lives) = slot {
            let done;
            (live, done) = lives.deactivate(silo, why).await;
            match done {
                Ok(write) => left = write,
                Err(trap) => {
                    let is_child = {
                        let mut machine = self.machine.lock();
                        machine.undo_standing();
                        machine.standing().parent.is_some()
                    };
                    // Else its instance ended before, by no fault of its own.
                    if !matches!(trap, Trap::Unbegun | Trap::Neighbour(_)) {
                        silo.hook_failed(&self.id, is_child, &trap);
                    }
                }
            }
        }
        // Also what its row lists and is its child no more: the next one to load it would see by the children's rows.
        let mut machine = self.machine.lock();
        let left = machine.with_standing(left);
        let point = (!left.is_empty()).then(|| machine.commit_point(left, Output::Nothing));
        drop(machine);
        point.into_iter().for_each(|point| self.pass(silo, point));
        drop(live);
        self.cancel_timers(silo);
        silo.metrics.deactivated(why);
        self.upgraded.store(why == Why::Upgraded, Ordering::Relaxed);
        self.machine.lock().turns.left();
        if why == Why::Ended {
            self.has_ended(silo);
        }
    }
}

const fn why_name(why: Why) -> &'static str {
    match why {
        Why::Idle => "idle",
        Why::Requested | Why::Ended => "requested",
        Why::MemoryPressure => "memory-pressure",
        Why::Upgraded => "upgraded",
        Why::Shutdown => "shutdown",
    }
}
