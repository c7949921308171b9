//! One live copy of a component, running turns for one actor.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use quark_core::activation::Turn;
use quark_core::commit::Write;
use quark_core::envelope::{Chain, Head, Path, TellId};
use quark_core::id::ActorId;
use quark_core::manifest::MemoryProfile;
use quark_core::state::State;
use quark_core::time::Time;
use smallvec::{SmallVec, smallvec};
use wasmtime::component::{Accessor, ComponentExportIndex, Func, Instance as Live, ResourceAny, ResourceTable, Val};
use wasmtime::{AsContextMut, Store};

use crate::component::Component;
use crate::engine::{DirectStack, slot_bytes};
use crate::error::Trap;
use crate::guest::{Guest, Runs, TurnClock, TurnContext, Wishes};
use crate::kind::Lane;
use crate::limits::Limiter;
use crate::outside::Outside;
use crate::proxy::Proxies;
use crate::slab;
use crate::transfer::{attach, detach};
use crate::values::{Payload, Vals, call_errors};
use crate::wasi::Lines;

/// Handles that the host itself keeps in an instance's table: streams and their errors.
const OWN_HANDLES: usize = 16;
/// Turns that must have been short before a component may run on its caller's stack.
const SHORT_TURNS_MIN: u32 = 64;
/// How long a turn that holds its worker waits until another thread has taken the worker's queue.
const HAND_OVER: Duration = Duration::from_millis(1);

/// Whether a component's turns have been short lately. A turn on the caller's own stack is cheapest
/// but cannot yield, so only components in the direct lane whose turns are short run so; one long
/// turn sends the component back to fibers.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= SHORT_TURNS_MIN
    }

    fn ended(&self, long: bool) {
        if long {
            self.0.store(0, Ordering::Relaxed);
        } else if !self.is_short() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why an actor wakes; the cases of `cause` in `wit/lifecycle.wit` that this version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A message came.
    Message,
    /// Its instance before failed.
    Restart,
    /// Its component has a new version.
    Upgrade,
}

/// All that a new instance starts with.
pub struct Birth {
    /// Whose it is.
    pub actor: ActorId,
    /// The claim's generation.
    pub generation: u64,
    /// Why it wakes.
    pub cause: Cause,
    /// What runs.
    pub component: Arc<Component>,
    /// The kind's place in the component.
    pub kind_at: usize,
    /// The loaded state.
    pub state: State,
    /// Its surroundings.
    pub outside: Arc<dyn Outside>,
}

/// One turn to run. What is lent is not moved through all the layers that a call passes.
#[derive(Debug)]
pub struct TurnInput<'a> {
    /// What travels with the message; afterwards that of the turn before.
    pub head: &'a mut Head,
    /// Which turn it is.
    pub turn: Turn,
    /// The method's place in the kind.
    pub method: usize,
    /// The arguments, by the method's own types; afterwards the result, without a value for a tell.
    pub payload: &'a mut Payload,
}

/// What a turn leaves beside its result.
#[derive(Debug, Default)]
pub struct Left {
    /// What is staged since the last commit point.
    pub write: Write,
    /// What the guest asked for.
    pub wishes: Wishes,
}

/// One live copy of a component. Dropping it frees all that the guest had.
pub struct Instance {
    store: Store<Guest>,
    live: Live,
    /// The Store's own, here so that it can be read while the Store is written.
    component: Arc<Component>,
    kind_at: usize,
    this: Option<ResourceAny>,
    methods: Box<[Option<Func>]>,
    stack: Option<DirectStack>,
}

/// `self` and the arguments that most methods have need no allocation.
type Arguments = SmallVec<[Val; 4]>;

/// All that a turn's call needs.
struct Begun {
    func: Func,
    arguments: Arguments,
    results: Vals,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Instance({})", self.store.data().actor)
    }
}

impl Instance {
    /// Instantiates, then runs `activate` and the constructor.
    ///
    /// # Errors
    /// When there is no room, the guest traps, or it refuses. The state given is lost; the store
    /// has it.
    pub async fn new(birth: Birth) -> Result<Box<Self>, Trap> {
        let fiber = !birth.component.runs_now();
        let component = birth.component.clone();
        let (generation, cause, kind_at) = (birth.generation, birth.cause, birth.kind_at);
        let mut store = new_store(birth);
        store.data_mut().clock.start(fiber, Instant::now(), Some(hand_over));
        store.set_epoch_deadline(1);
        let live = if fiber {
            component.pre.instantiate_async(&mut store).await
        } else {
            component.pre.instantiate(&mut store)
        };
        let live = live.map_err(|error| trap(&store, &error))?;
        let methods = vec![None; component.kinds[kind_at].methods.len()].into();
        let stack = fiber.then(|| component.direct_stack()).flatten();
        let mut instance = Box::new(Self { store, live, component, kind_at, this: None, methods, stack });
        instance.activate(generation, cause, fiber).await?;
        instance.construct(fiber).await?;
        Ok(instance)
    }

    async fn activate(&mut self, generation: u64, cause: Cause, fiber: bool) -> Result<(), Trap> {
        let component = self.component.clone();
        let Some(lifecycle) = &component.lifecycle else { return Ok(()) };
        let cause = match cause {
            Cause::Message => "message",
            Cause::Restart => "restart",
            Cause::Upgrade => "upgrade",
        };
        let activation = Val::Record(vec![
            ("me".into(), self.me()),
            ("generation".into(), Val::U64(generation)),
            ("version".into(), Val::String(component.version.clone())),
            ("cause".into(), Val::Enum(cause.into())),
        ]);
        self.hook(&lifecycle.activate, vec![activation], fiber).await?.map_err(Trap::Refused)
    }

    /// Runs the `deactivate` hook, if there is one. What it staged is in the answer.
    ///
    /// # Errors
    /// When the guest traps.
    pub async fn deactivate(&mut self, why: &str) -> Result<Write, Trap> {
        let component = self.component.clone();
        if let Some(lifecycle) = &component.lifecycle {
            self.store.data_mut().turn.runs = Runs::Deactivate;
            let fiber = !component.runs_now();
            self.enter(fiber, Instant::now());
            let arguments = vec![self.me(), Val::Enum(why.into())];
            if let Err(reason) = self.hook(&lifecycle.deactivate, arguments, fiber).await? {
                self.store.data().host.log(crate::outside::Level::Warn, &format!("deactivate answered: {reason}"));
            }
        }
        Ok(self.store.data_mut().take_write())
    }

    /// Calls a hook that answers `result<_, string>`.
    async fn hook(
        &mut self,
        export: &ComponentExportIndex,
        arguments: Vec<Val>,
        fiber: bool,
    ) -> Result<Result<(), String>, Trap> {
        let func = func(&self.live, &mut self.store, export)?;
        let mut results = [Val::Bool(false)];
        self.invoke(func, &arguments, &mut results, fiber).await?;
        let [result] = results;
        let Val::Result(Err(Some(reason))) = result else { return Ok(Ok(())) };
        Ok(Err(if let Val::String(reason) = *reason { reason } else { format!("{reason:?}") }))
    }

    async fn construct(&mut self, fiber: bool) -> Result<(), Trap> {
        let kind = &self.component.kinds[self.kind_at];
        let fails = kind.constructor_fails;
        let func = func(&self.live, &mut self.store, &kind.constructor)?;
        let key = Val::String(self.store.data().actor.key.to_string());
        let mut results = [Val::Bool(false)];
        self.invoke(func, &[key], &mut results, fiber).await?;
        let [result] = results;
        let made = match (fails, result) {
            (false, made) => made,
            (true, Val::Result(Ok(Some(made)))) => *made,
            (true, refused) => return Err(Trap::Refused(format!("its constructor answered {refused:?}"))),
        };
        let Val::Resource(this) = made else {
            return Err(Trap::Guest("its constructor gave no resource".into()));
        };
        self.this = Some(this);
        Ok(())
    }

    /// Whether the next turn may run on the caller's own stack: [`Instance::turn_now`].
    #[must_use]
    pub fn runs_now(&self) -> bool {
        self.component.runs_now()
    }

    /// The next turn handles this tell: its row goes with the turn's first commit point.
    pub fn handles(&mut self, tell: TellId) {
        self.store.data_mut().handled = Some(tell);
    }

    /// What the turn that just ended leaves, if anything: most leave nothing.
    pub fn left(&mut self) -> Option<Left> {
        let guest = self.store.data_mut();
        (!guest.is_clean()).then(|| Left { write: guest.take_write(), wishes: std::mem::take(&mut guest.wishes) })
    }

    /// Runs a turn on the caller's stack. Only when [`Instance::runs_now`].
    ///
    /// # Errors
    /// When the guest traps: drop the instance.
    pub fn turn_now(&mut self, mut input: TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        let mut begun = self.begin(&mut input)?;
        self.enter(false, now);
        let outcome = begun.func.call(&mut self.store, &begun.arguments, &mut begun.results);
        self.finish(&mut input, outcome, begun.results)
    }

    /// The same on a stack of its own. The future must be polled to its end, or the instance dropped.
    ///
    /// # Errors
    /// When the guest traps: drop the instance.
    pub async fn turn(&mut self, mut input: TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        let mut begun = self.begin(&mut input)?;
        self.stack = self.stack.take().or_else(|| self.component.direct_stack());
        self.enter(true, now);
        let outcome = self.call_async(begun.func, &begun.arguments, &mut begun.results).await;
        self.finish(&mut input, outcome, begun.results)
    }

    /// Calls on a stack of its own. A guest in the concurrent lane may go on after it has answered;
    /// its turn is over when it has ended.
    async fn call_async(&mut self, func: Func, arguments: &[Val], results: &mut [Val]) -> wasmtime::Result<()> {
        func.call_async(&mut self.store, arguments, results).await?;
        if self.component.lane == Lane::Concurrent {
            let ended = async |accessor: &Accessor<Guest>| poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            self.store.run_concurrent(ended).await?;
        }
        Ok(())
    }

    fn begin(&mut self, input: &mut TurnInput<'_>) -> Result<Begun, Trap> {
        let Some(method) = self.component.kinds[self.kind_at].methods.get(input.method) else {
            return Err(Trap::Guest("the method's place is out of range".into()));
        };
        let func = match self.methods[input.method] {
            Some(func) => func,
            None => *self.methods[input.method].insert(func(&self.live, &mut self.store, &method.export)?),
        };
        let turn = &mut self.store.data_mut().turn;
        std::mem::swap(&mut turn.head, input.head);
        turn.turn = input.turn;
        turn.runs = Runs::Method(input.method);
        turn.read_only = method.read_only;
        turn.timeout = None;
        let mut arguments = Arguments::new();
        arguments.extend(self.this.map(Val::Resource));
        arguments.extend(input.payload.vals.drain(..));
        if method.signature.blobs_in {
            let mut store = self.store.as_context_mut();
            for ((_, ty), val) in method.signature.params.iter().zip(&mut arguments[1..]) {
                attach(&mut store, ty, val, &input.payload.blobs).map_err(|error| Trap::Guest(error.to_string()))?;
            }
            input.payload.blobs.clear();
        }
        let results = if method.signature.is_tell() { Vals::new() } else { smallvec![Val::Bool(false)] };
        Ok(Begun { func, arguments, results })
    }

    fn finish(
        &mut self,
        input: &mut TurnInput<'_>,
        outcome: wasmtime::Result<()>,
        mut results: Vals,
    ) -> Result<(), Trap> {
        self.component.pace.ended(self.store.data().clock.is_long());
        outcome.map_err(|error| trap(&self.store, &error))?;
        let signature = &self.component.kinds[self.kind_at].methods[input.method].signature;
        if signature.blobs_out {
            let mut store = self.store.as_context_mut();
            for val in &mut results {
                detach(&mut store, val, &mut input.payload.blobs).map_err(|error| Trap::Guest(error.to_string()))?;
            }
        }
        if let (Some(ty), Some(val)) = (&signature.result, results.first_mut())
            && call_errors::is_err(val)
        {
            *val = call_errors::downstream(ty, std::mem::replace(val, Val::Bool(false)));
        }
        input.payload.vals = results;
        Ok(())
    }

    /// The actor's values, for an operator's turn.
    pub fn state(&mut self) -> &mut State {
        &mut self.store.data_mut().state
    }

    /// Ends the instance and keeps its values, with what is staged in them.
    #[must_use]
    pub fn into_state(self) -> State {
        self.store.into_data().state
    }

    /// What is staged, for an operator's turn.
    pub fn take_write(&mut self) -> Write {
        self.store.data_mut().take_write()
    }

    fn me(&self) -> Val {
        let actor = &self.store.data().actor;
        Val::Record(vec![
            ("kind".into(), Val::String(actor.kind.to_string())),
            ("key".into(), Val::String(actor.key.to_string())),
        ])
    }

    fn enter(&mut self, fiber: bool, now: Instant) {
        self.store.data_mut().clock.start(fiber, now, Some(hand_over));
        self.store.set_epoch_deadline(1);
    }

    async fn invoke(&mut self, func: Func, arguments: &[Val], results: &mut [Val], fiber: bool) -> Result<(), Trap> {
        let outcome = if fiber {
            self.call_async(func, arguments, results).await
        } else {
            func.call(&mut self.store, arguments, results)
        };
        outcome.map_err(|error| trap(&self.store, &error))
    }
}

fn func(live: &Live, store: &mut Store<Guest>, export: &ComponentExportIndex) -> Result<Func, Trap> {
    let func = live.get_func(store, export);
    func.ok_or_else(|| Trap::Guest("an export that was there at deploy is missing".into()))
}

impl Component {
    /// Whether turns of other instances may run on the stack of a turn of this one: wasmtime refuses
    /// a second event loop there.
    #[must_use]
    pub fn nests(&self) -> bool {
        self.lane != Lane::Concurrent
    }

    /// Whether its turns run on their callers' stacks: they cannot wait, and have been short.
    #[must_use]
    pub fn runs_now(&self) -> bool {
        self.lane == Lane::Direct && (self.pace.is_short() || self.counts_stacks() && self.engine.stacks.are_out())
    }

    fn counts_stacks(&self) -> bool {
        self.lane == Lane::Direct && self.profile == MemoryProfile::Dense
    }

    fn direct_stack(&self) -> Option<DirectStack> {
        self.counts_stacks().then(|| self.engine.stacks.take())
    }
}

/// Gives the worker's queue to another thread, since this one is held by a guest that cannot
/// yield. Tokio takes the queue back when the closure ends before another thread got it.
fn hand_over() {
    let on_worker = tokio::runtime::Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if on_worker {
        tokio::task::block_in_place(|| std::thread::sleep(HAND_OVER));
    }
}

/// What travels with a hook: nothing.
static NO_CHAIN: LazyLock<Arc<Chain>> = LazyLock::new(Arc::default);

fn new_store(birth: Birth) -> Store<Guest> {
    let kind = &birth.component.kinds[birth.kind_at];
    let limits = &kind.policy.limits;
    let memory = limits.memory.unwrap_or_else(|| slot_bytes(birth.component.profile));
    let (elements, turn) = (limits.table_elements, limits.turn);
    let lines = Lines::new(birth.outside.clone());
    let head = Head { teller: None, deadline: Time::NEVER, path: Path::START, chain: NO_CHAIN.clone() };
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles + OWN_HANDLES);
    let engine = birth.component.engine.wasmtime.clone();
    let beats = birth.component.engine.beats.clone();
    let guest = Guest {
        actor: birth.actor,
        generation: birth.generation,
        component: birth.component,
        kind_at: birth.kind_at,
        host: birth.outside,
        turn: TurnContext {
            head,
            turn: Turn { generation: birth.generation, number: 0 },
            runs: Runs::Activate,
            read_only: false,
            timeout: None,
        },
        state: birth.state,
        tells: Vec::new(),
        handled: None,
        wishes: Wishes::default(),
        broken: None,
        clock: TurnClock::new(turn, beats),
        limiter: Limiter::new(usize::try_from(memory).unwrap_or(usize::MAX), elements),
        proxies: Proxies::default(),
        table,
        wasi: None,
        lines,
    };
    let mut store = Store::new(&engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.epoch_deadline_callback(|mut store| Ok(store.data_mut().clock.tick()));
    store
}

/// Why the instance is dead, in one line for people.
fn trap(store: &Store<Guest>, error: &wasmtime::Error) -> Trap {
    let guest = store.data();
    if let Some(broken) = guest.broken {
        return Trap::Commit(broken);
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() || error.root_cause().to_string() == slab::FULL {
        return Trap::NoRoom(format!("{error}"));
    }
    if guest.clock.timed_out {
        return Trap::Guest(format!(
            "its turn was ended: it ran longer than {:?} inside the guest (limits.turn)",
            guest.clock.limit()
        ));
    }
    let said = guest.lines.last();
    let mut reason = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::StackOverflow) => "stack overflow".to_owned(),
        Some(wasmtime::Trap::UnreachableCodeReached) if !said.is_empty() => said,
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    if let Some(refused) = &guest.limiter.refused {
        reason = format!("{reason} ({refused})");
    }
    let at = error.downcast_ref::<wasmtime::WasmBacktrace>().and_then(|trace| {
        trace.frames().iter().find_map(|frame| frame.func_name().filter(|name| !name.contains("panic")))
    });
    if let Some(at) = at.filter(|_| !reason.contains("panicked at")) {
        reason = format!("{reason}, in `{at:#}`");
    }
    Trap::Guest(reason.replace('\n', " "))
}
