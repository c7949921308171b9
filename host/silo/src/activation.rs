//! One actor awake: carries out the steps of its turn machine.
//!
//! An idle activation owns no task. Whoever is granted its turn token runs it: [`Activation::drive`]
//! does as much as it can on the caller's own stack, and what must wait moves to a task.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::activation::{Admitted, MailboxBounds, Point, Refused, Step, Turn, Turns, Why};
use quark_core::commit::{Commit, CommitError, Write};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::state::State;
use quark_core::time::Time;
use quark_engine::{Birth, Cause, Ended, Instance, Trap, TurnInput};

use crate::api::{Failure, StateOperation, StateValue, codes};
use crate::catalog::Place;
use crate::kinds::Served;
use crate::message::{Message, MethodRef, Operate, Origin, Output, Work, commit_failed};
use crate::outside::ActorOutside;
use crate::silo::Inner;
use crate::store::StoreError;

/// How many activations may run inside one another on one stack.
const INLINE_DEPTH_MAX: u32 = 8;
/// How many turns the one who was granted the token runs before it hands the rest to a task.
const INLINE_TURNS_MAX: u32 = 4;
/// How many turns a task runs before others get its worker.
const TASK_TURNS_MAX: u32 = 64;
/// How long a turn may go on after its caller gave up. It can only be waiting then, since the time
/// inside the guest has its own limit; it is ended by dropping its instance.
const ABANDONED_GRACE: Duration = Duration::from_secs(10);

/// How long a `deactivate` hook has.
const HOOK_GRACE: Duration = Duration::from_secs(5);
/// What callers are told to wait when every place for a live instance is taken by a busy one.
const NO_ROOM_RETRY_MS: u64 = 100;

thread_local! {
    static INLINE_DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What an activation has loaded. Only the token's holder looks.
#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    /// Claimed and loaded; no message has needed the guest yet.
    Loaded {
        generation: u64,
        state: State,
        served: Arc<Served>,
        cause: Cause,
    },
    Live(Live),
}

/// An instance that lives, and what goes with it.
struct Live {
    instance: Box<Instance>,
    served: Arc<Served>,
    generation: u64,
    _place: Place,
}

/// One actor in memory.
pub(crate) struct Activation {
    pub(crate) id: ActorId,
    pub(crate) silo: Weak<Inner>,
    pub(crate) machine: Mutex<Turns<Message, Output>>,
    slot: Mutex<Slot>,
    me: Weak<Self>,
    /// Of the silo's clock, nanoseconds.
    pub(crate) last_used: AtomicU64,
    pub(crate) awake_until: AtomicU64,
    pub(crate) turns: AtomicU64,
    restart: AtomicBool,
    /// Whether the running turn has done something that a failed last commit does not undo.
    progressed: AtomicBool,
}

type Next = Step<Message>;

impl Activation {
    pub(crate) fn new(id: ActorId, silo: &Arc<Inner>, bounds: MailboxBounds) -> Arc<Self> {
        let now = silo.clock.now().0;
        Arc::new_cyclic(|me| Self {
            machine: Mutex::new(Turns::new(id.clone(), bounds)),
            id,
            silo: Arc::downgrade(silo),
            slot: Mutex::default(),
            me: me.clone(),
            last_used: AtomicU64::new(now),
            awake_until: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            restart: AtomicBool::new(false),
            progressed: AtomicBool::new(false),
        })
    }

    /// Lets a message in; the caller must drive when it is given the token.
    #[expect(clippy::result_large_err, reason = "a refused message goes on to another activation")]
    pub(crate) fn admit(&self, message: Message, now: Time) -> Result<Admitted, Refused<Message>> {
        self.last_used.store(now.0, Ordering::Relaxed);
        self.machine.lock().admit(message)
    }

    /// Runs what there is to run, as far as possible on this stack. The caller holds the token.
    pub(crate) fn drive(self: &Arc<Self>) {
        let Some(silo) = self.silo.upgrade() else { return };
        let depth = INLINE_DEPTH.get();
        if depth >= INLINE_DEPTH_MAX {
            silo.spawn(self.clone().run(None));
            return;
        }
        INLINE_DEPTH.set(depth + 1);
        if let Some(step) = self.drive_now(&silo) {
            let mut rest: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(self.clone().run(step));
            // Whatever is registered with this waker is registered anew by the task's first poll.
            let poll = rest.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if poll.is_pending() {
                silo.spawn(rest);
            }
        }
        INLINE_DEPTH.set(depth);
    }

    /// Runs turns that need no stack of their own; gives the step that does, if it comes to one.
    fn drive_now(&self, silo: &Arc<Inner>) -> Option<Option<Next>> {
        for _ in 0..INLINE_TURNS_MAX {
            let now = Instant::now();
            // A guard in the `match` itself would be held while the guest runs.
            let step = self.machine.lock().next(silo.clock.at(now));
            match step {
                Step::Idle => return None,
                Step::Expired(message) => silo.expired(message),
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

    /// Runs a call on this stack if its instance lives and may; otherwise gives the message back.
    fn run_now(&self, silo: &Arc<Inner>, turn: Turn, message: Message, now: Instant) -> Option<Message> {
        let Work::Method { method, origin: Origin::Caller(_), .. } = &message.work else { return Some(message) };
        let mut slot = self.slot.lock();
        let fits = matches!(&*slot, Slot::Live(live)
            if Arc::ptr_eq(&live.served, &method.served) && live.instance.runs_now());
        if !fits {
            return Some(message);
        }
        let Slot::Live(mut live) = std::mem::take(&mut *slot) else { return Some(message) };
        drop(slot);
        let Message { head, work, .. } = message;
        let Work::Method { method, payload, origin } = work else { return None };
        let input = TurnInput { head, turn, method: method.at, payload, handled: None };
        self.progressed.store(false, Ordering::Relaxed);
        let outcome = live.instance.turn_now(input, now);
        self.finished(silo, Finished { live, outcome, method, origin, started: now });
        None
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
                    None => self.machine.lock().next(silo.clock.now()),
                };
                match step {
                    Step::Idle => return,
                    Step::Gone(generation) => return self.gone(&silo, generation),
                    Step::Expired(message) => silo.expired(message),
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

    fn gone(&self, silo: &Inner, generation: Option<u64>) {
        *self.slot.lock() = Slot::Empty;
        silo.catalog.remove(self);
        if let Some(generation) = generation {
            silo.store.release(&self.id, generation);
        }
    }

    async fn load(&self, silo: &Arc<Inner>) {
        let before = std::mem::take(&mut *self.slot.lock());
        drop(before);
        let error = match silo.kinds.get(&self.id.kind) {
            None => CallError::Incompatible(format!("no kind `{}` is deployed", self.id.kind)),
            Some(served) => match silo.store.claim(&self.id).await {
                Ok(claim) => {
                    let limit = usize::try_from(served.kind().policy.limits.state).unwrap_or(usize::MAX);
                    let cause =
                        if self.restart.swap(false, Ordering::Relaxed) { Cause::Restart } else { Cause::Message };
                    *self.slot.lock() = Slot::Loaded {
                        generation: claim.generation,
                        state: State::new(claim.values, limit),
                        served,
                        cause,
                    };
                    self.machine.lock().loaded(claim.generation, claim.etag);
                    silo.metrics.activations.increment(1);
                    return;
                }
                Err(StoreError::Unavailable { retry_ms, .. }) => CallError::Unavailable(retry_ms),
                Err(error @ StoreError::Damaged(_)) => CallError::Failed(error.to_string()),
            },
        };
        let waiting = self.machine.lock().refused();
        silo.answer_all(waiting, &error);
    }

    async fn turn(&self, silo: &Arc<Inner>, turn: Turn, message: Message) {
        let Message { mut head, work, .. } = message;
        let (method, payload, origin) = match work {
            Work::Operate(operate) => return self.operate(silo, *operate).await,
            Work::Method { method, payload, origin } => (method, payload, origin),
        };
        if matches!(&origin, Origin::Outbox(id) if !silo.outbox.begin(id)) {
            return self.machine.lock().end(Duration::ZERO);
        }
        if head.deadline == Time::NEVER {
            head.deadline = silo.clock.now().after(silo.config.default_timeout);
        }
        let last = silo.clock.instant(head.deadline.after(ABANDONED_GRACE));
        let mut live = match tokio::time::timeout_at(last, self.wake(silo)).await.unwrap_or(Err(Trap::Abandoned)) {
            Ok(live) => live,
            Err(trap) => return self.refused(silo, origin, trap),
        };
        let method = match same_method(&live.served, method) {
            Ok(method) => method,
            Err(error) => {
                *self.slot.lock() = Slot::Live(live);
                self.machine.lock().end(Duration::ZERO);
                return silo.answer(origin, error);
            }
        };
        let started = Instant::now();
        self.progressed.store(false, Ordering::Relaxed);
        let handled = if let Origin::Outbox(id) = &origin { Some(id.clone()) } else { None };
        let input = TurnInput { head, turn, method: method.at, payload, handled };
        // After that nobody waits for it any more, and the instance cannot be entered again.
        let turn = tokio::time::timeout_at(last, live.instance.turn(input, started));
        let outcome = turn.await.unwrap_or(Err(Trap::Abandoned));
        self.finished(silo, Finished { live, outcome, method, origin, started });
    }

    /// Ends a turn: its last commit point, or the end of its instance.
    fn finished(&self, silo: &Arc<Inner>, finished: Finished) {
        let Finished { live, outcome, method, origin, started } = finished;
        let took = started.elapsed();
        self.turns.fetch_add(1, Ordering::Relaxed);
        silo.metrics.turns.increment(1);
        let Ended { payload, write, wishes } = match outcome {
            Ok(ended) => ended,
            Err(trap) => {
                drop(live);
                self.restart.store(true, Ordering::Relaxed);
                self.machine.lock().trapped();
                if !matches!(trap, Trap::Abandoned) {
                    silo.failed(&self.id, method.name(), &trap);
                }
                return silo.answer(origin, trap_error(trap));
            }
        };
        if let Some(wait) = wishes.keep_awake {
            self.awake_until.fetch_max(silo.clock.now().after(wait).0, Ordering::Relaxed);
        }
        let limit = live.served.kind().policy.limits.result;
        let progressed = self.progressed.load(Ordering::Relaxed);
        let tell = if let Origin::Outbox(id) = &origin { Some(id.clone()) } else { None };
        let output = match origin {
            Origin::Caller(to) if payload.bytes() as u64 > limit => {
                let error = CallError::Failed(format!("its result is over the limit of {limit} bytes"));
                Output::Reply { to, outcome: Err(error), progressed }
            }
            Origin::Caller(to) => Output::Reply { to, outcome: Ok(payload), progressed },
            Origin::Outbox(_) => Output::Nothing,
        };
        *self.slot.lock() = Slot::Live(live);
        let mut machine = self.machine.lock();
        let point = machine.commit_point(write, output);
        if let Point::Failed(output, error) = point {
            machine.trapped();
            drop(machine);
            *self.slot.lock() = Slot::Empty;
            // Its commit was never handed over, so nobody else tells the outbox that the row stands.
            tell.iter().for_each(|id| silo.outbox.commit_failed(id, error));
            return output.fail(error);
        }
        machine.end(took);
        if wishes.deactivate {
            // The token is held, so this cannot grant it.
            machine.deactivate(Why::Requested);
        }
        drop(machine);
        self.pass(silo, point);
    }

    /// Carries out what the machine said of a commit point.
    fn pass(&self, silo: &Arc<Inner>, point: Point<Output>) {
        match point {
            Point::Open(output) => output.release(),
            Point::Held => {}
            Point::Submit(commit) => self.submit(silo, commit),
            Point::Failed(output, error) => output.fail(error),
        }
    }

    fn submit(&self, silo: &Arc<Inner>, commit: Commit) {
        let Some(me) = self.me.upgrade() else { return };
        let etag = commit.etag;
        let sent: Vec<_> =
            commit.write.tells.iter().enumerate().map(|(place, tell)| (commit.tell_id(place), tell.clone())).collect();
        let handled = commit.write.handled.clone();
        let done_silo = silo.clone();
        silo.store.commit(
            commit,
            Box::new(move |outcome| {
                let silo = done_silo;
                silo.metrics.commit(outcome);
                match outcome {
                    Ok(()) => {
                        handled.iter().for_each(|id| silo.outbox.handled(id));
                        silo.outbox.sent(sent);
                    }
                    Err(error) => {
                        handled.iter().for_each(|id| silo.outbox.commit_failed(id, error));
                        if error == CommitError::Unknown && !sent.is_empty() {
                            silo.outbox.doubt();
                        }
                    }
                }
                me.landed(&silo, etag, outcome);
            }),
        );
    }

    /// A commit's outcome, on the store's own thread: nothing runs here.
    fn landed(self: Arc<Self>, silo: &Arc<Inner>, etag: u64, outcome: Result<(), CommitError>) {
        let landed = self.machine.lock().landed(etag, outcome);
        for output in landed.released {
            output.release();
        }
        for (output, error) in landed.failed {
            output.fail(error);
        }
        if landed.token {
            silo.spawn(self.run(None));
        }
    }

    /// A commit point in the middle of the running turn.
    pub(crate) fn commit_point(&self, silo: &Arc<Inner>, write: Write) -> MidTurn {
        self.progressed.store(true, Ordering::Relaxed);
        let (send, receive) = tokio::sync::oneshot::channel();
        let point = self.machine.lock().commit_point(write, Output::Resume(send));
        match point {
            Point::Open(_) => MidTurn::Open,
            Point::Failed(_, error) => MidTurn::Failed(error),
            Point::Held => MidTurn::Wait(receive),
            Point::Submit(commit) => {
                self.submit(silo, commit);
                MidTurn::Wait(receive)
            }
        }
    }

    /// The living instance; made now if there is none.
    async fn wake(&self, silo: &Arc<Inner>) -> Result<Live, Trap> {
        let slot = std::mem::take(&mut *self.slot.lock());
        let (generation, state, served, cause) = match slot {
            Slot::Live(live) => return Ok(live),
            Slot::Loaded { generation, state, served, cause } => (generation, state, served, cause),
            Slot::Empty => return Err(Trap::Guest("nothing is loaded".into())),
        };
        let Some(me) = self.me.upgrade() else { return Err(Trap::Guest("the activation is over".into())) };
        let place = silo.make_room().await?;
        let birth = Birth {
            actor: self.id.clone(),
            generation,
            cause,
            component: served.component.clone(),
            kind_at: served.at,
            state,
            outside: ActorOutside::of(me, served.deployment.clone()),
        };
        let instance = Instance::new(birth).await?;
        Ok(Live { instance, served, generation, _place: place })
    }

    /// The actor would not wake: the same answer for all that waited for it.
    fn refused(&self, silo: &Arc<Inner>, origin: Origin, trap: Trap) {
        if !matches!(trap, Trap::NoRoom(_)) {
            silo.failed(&self.id, "activate", &trap);
        }
        self.restart.store(true, Ordering::Relaxed);
        let waiting = self.machine.lock().refused();
        let error = trap_error(trap);
        silo.answer(origin, error.clone());
        silo.answer_all(waiting, &error);
    }

    async fn leave(&self, silo: &Arc<Inner>, _turn: Turn, why: Why) {
        let slot = std::mem::take(&mut *self.slot.lock());
        if let Slot::Live(mut live) = slot {
            let hook = tokio::time::timeout(HOOK_GRACE, live.instance.deactivate(why_name(why)));
            match hook.await.unwrap_or(Err(Trap::Abandoned)) {
                Ok(write) if !write.is_empty() => {
                    let point = self.machine.lock().commit_point(write, Output::Nothing);
                    self.pass(silo, point);
                }
                Ok(_) => {}
                Err(trap) => silo.failed(&self.id, "deactivate", &trap),
            }
            drop(live);
        }
        silo.metrics.deactivated(why);
        self.machine.lock().left();
    }

    async fn operate(&self, silo: &Arc<Inner>, operate: Operate) {
        let Operate { name, operation, if_match, reply } = operate;
        let etag = self.machine.lock().loaded_as().map_or(0, |(_, etag)| etag);
        let shown = (etag > 0).then(|| etag.to_string());
        let mut slot = std::mem::take(&mut *self.slot.lock());
        let mut write = Write::default();
        let outcome = if if_match.is_some() && if_match != shown {
            let now = shown.as_deref().unwrap_or("none: it never wrote");
            Err(Failure::new(codes::CONFLICT, format!("the e-tag of {} is {now}", self.id))
                .next("read the value again, then repeat with the e-tag that it has now"))
        } else {
            if !matches!(operation, StateOperation::Get) {
                (slot, write) = self.put_to_sleep(silo, slot).await;
            }
            change(&mut slot, &name, operation)
        };
        if let Slot::Loaded { state, .. } = &mut slot {
            write.changes.extend(state.take_changes());
        }
        *self.slot.lock() = slot;
        let etag = if write.is_empty() { shown } else { Some((etag + 1).to_string()) };
        let outcome = outcome.map(|bytes| StateValue { bytes, etag });
        let mut machine = self.machine.lock();
        let point = machine.commit_point(write, Output::Operated(reply, outcome));
        if let Point::Failed(output, error) = point {
            machine.trapped();
            drop(machine);
            return output.fail(error);
        }
        machine.end(Duration::ZERO);
        drop(machine);
        self.pass(silo, point);
    }

    /// Ends a living instance but keeps its values: the guest may hold a copy of what an operator
    /// changes, so it must load afresh. What its hook staged commits together with the change.
    async fn put_to_sleep(&self, silo: &Arc<Inner>, slot: Slot) -> (Slot, Write) {
        let Slot::Live(mut live) = slot else { return (slot, Write::default()) };
        let hook = tokio::time::timeout(HOOK_GRACE, live.instance.deactivate(why_name(Why::Requested)));
        let hook = hook.await.unwrap_or(Err(Trap::Abandoned));
        let Live { instance, served, generation, .. } = live;
        let mut state = instance.into_state();
        let write = hook.unwrap_or_else(|trap| {
            silo.failed(&self.id, "deactivate", &trap);
            state.undo();
            Write::default()
        });
        (Slot::Loaded { generation, state, served, cause: Cause::Message }, write)
    }
}

/// A turn that has run.
struct Finished {
    live: Live,
    outcome: Result<Ended, Trap>,
    method: MethodRef,
    origin: Origin,
    started: Instant,
}

/// Where a commit point in the middle of a turn leaves it.
pub(crate) enum MidTurn {
    /// All is durable.
    Open,
    /// It must wait.
    Wait(tokio::sync::oneshot::Receiver<Result<(), CommitError>>),
    /// It will never be.
    Failed(CommitError),
}

impl MidTurn {
    /// Waits until all that the turn wrote so far is durable.
    pub(crate) async fn wait(self) -> Result<(), CommitError> {
        match self {
            Self::Open => Ok(()),
            Self::Failed(error) => Err(error),
            // A sender that is gone means that the silo is going down with the commit under way.
            Self::Wait(landed) => landed.await.unwrap_or(Err(CommitError::Unknown)),
        }
    }
}

/// The method in the version that lives, if the message was made for another one.
fn same_method(served: &Arc<Served>, method: MethodRef) -> Result<MethodRef, CallError> {
    if Arc::ptr_eq(served, &method.served) {
        return Ok(method);
    }
    match served.kind().method(method.name()) {
        Some((at, now)) if now.signature.hash == method.method().signature.hash => {
            Ok(MethodRef { served: served.clone(), at })
        }
        _ => Err(CallError::Incompatible(format!(
            "a new version of `{}` was deployed meanwhile, and its `{}` has other types",
            served.kind().name.short(),
            method.name()
        ))),
    }
}

fn change(slot: &mut Slot, name: &str, operation: StateOperation) -> Result<Option<Vec<u8>>, Failure> {
    let state = match slot {
        Slot::Loaded { state, .. } => state,
        Slot::Live(live) => live.instance.state(),
        Slot::Empty => return Err(Failure::new(codes::INTERNAL, "nothing is loaded")),
    };
    match operation {
        StateOperation::Get => match state.get(name) {
            Some(value) => Ok(Some(value.to_vec())),
            None => {
                let names: Vec<&str> = state.iter().map(|(name, _)| &**name).collect();
                let failure = Failure::new(codes::NOT_FOUND, format!("it has no state value `{name}`"));
                Err(if names.is_empty() { failure } else { failure.next(format!("it has: {}", names.join(", "))) })
            }
        },
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

/// What a caller is told of a turn that ended so.
fn trap_error(trap: Trap) -> CallError {
    match trap {
        Trap::Guest(reason) => CallError::Failed(reason),
        Trap::Refused(reason) => CallError::Failed(format!("it refused to wake: {reason}")),
        Trap::Commit(error) => commit_failed(error),
        Trap::NoRoom(_) => CallError::Overloaded(NO_ROOM_RETRY_MS),
        Trap::Abandoned => CallError::DeadlineExceeded,
    }
}

const fn why_name(why: Why) -> &'static str {
    match why {
        Why::Idle => "idle",
        Why::Requested => "requested",
        Why::MemoryPressure => "memory-pressure",
        Why::Upgraded => "upgraded",
        Why::Shutdown => "shutdown",
    }
}
