//! One live copy of a component in its Store, and how its functions are called.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use quark_core::activation::Turn;
use quark_core::envelope::Awaits;
use quark_core::id::ActorId;
use quark_core::manifest::Isolation;
use quark_core::reminders::Reminder;
use quark_core::supervision::Directive;
use quark_core::timers::Text;
use smallvec::{SmallVec, smallvec};
use wasmtime::component::{
    Accessor, ComponentExportIndex, ComponentNamedList, Func, Instance as Live, Lift, Lower, ResourceAny,
    ResourceTable, TypedFunc, Val,
};
use wasmtime::{AsContextMut, Store, StoreContextMut};

use crate::component::Component;
use crate::engine::{DirectStack, slot_bytes};
use crate::error::Trap;
use crate::guest::{Guest, Member, Runs, TurnClock, TurnContext};
use crate::instance::{Cause, TurnInput, hand_over};
use crate::kind::{Kind, Lane, Method};
use crate::limits::Limiter;
use crate::nested::Within;
use crate::proxy::Proxies;
use crate::replay::{Given, Journaled, Waking};
use crate::rest::noted;
use crate::seats::{Seats, attribute};
use crate::slab;
use crate::transfer::{attach, detach};
use crate::values::{Payload, Vals, call_errors};
use crate::wasi::Lines;

/// Handles that the host itself keeps in an instance's table: streams and their errors.
const OWN_HANDLES: usize = 16;
/// Handles of a guest's own resources that one actor may have: wasmtime's default for a Store.
const GUEST_HANDLES: usize = 100_000;

/// `self` and the arguments that most methods have need no allocation.
pub(crate) type Arguments = SmallVec<[Val; 4]>;

/// A Store with an instance in it.
pub(crate) struct Cell {
    pub(crate) store: Store<Guest>,
    pub(crate) exports: Exports,
    /// It has had a stack, which it keeps.
    stack: Option<DirectStack>,
}

/// What is called of an instance.
pub(crate) struct Exports {
    live: Live,
    component: Arc<Component>,
    kind_at: usize,
    /// Those that were looked up.
    methods: Box<[Option<Func>]>,
}

impl Exports {
    pub(crate) fn kind(&self) -> &Kind {
        &self.component.kinds[self.kind_at]
    }

    fn func(&self, store: impl AsContextMut, export: &ComponentExportIndex) -> Result<Func, Trap> {
        let func = self.live.get_func(store, export);
        func.ok_or_else(|| Trap::Guest("an export that was there at deploy is missing".into()))
    }

    /// The method at that place.
    pub(crate) fn method(&mut self, store: impl AsContextMut, at: usize) -> Result<Func, Trap> {
        if let Some(Some(func)) = self.methods.get(at) {
            return Ok(*func);
        }
        if at >= self.methods.len() {
            return Err(Trap::Guest("the method's place is out of range".into()));
        }
        let func = self.func(store, &self.kind().called(at).export)?;
        Ok(*self.methods[at].insert(func))
    }

    /// The kind's constructor.
    pub(crate) fn constructor(&self, store: impl AsContextMut) -> Result<Func, Trap> {
        self.func(store, &self.kind().constructor)
    }

    /// The hook that runs first, with its arguments, if there is one.
    pub(crate) fn activate(
        &self,
        mut store: StoreContextMut<'_, Guest>,
        cause: Cause,
    ) -> Result<Option<(Func, Val)>, Trap> {
        let Some(lifecycle) = &self.component.lifecycle else { return Ok(None) };
        let cause = match cause {
            Cause::Message => "message",
            Cause::Reminder => "reminder",
            Cause::Spawn => "spawn",
            Cause::Restart => "restart",
            Cause::Upgrade => "upgrade",
        };
        let member = &store.data().member;
        let activation = Val::Record(vec![
            ("me".into(), me(&member.actor)),
            ("generation".into(), Val::U64(member.generation)),
            ("version".into(), Val::String(self.component.version.clone())),
            ("cause".into(), Val::Enum(cause.into())),
        ]);
        Ok(Some((self.func(&mut store, &lifecycle.activate)?, activation)))
    }

    /// How the actor wakes by its journal, if it does.
    pub(crate) fn journaled(&self, mut store: impl AsContextMut) -> Result<Option<Journaled>, Trap> {
        let Some(journaled) = &self.component.journaled else { return Ok(None) };
        let restore = self.func(&mut store, &journaled.restore)?.typed(store.as_context());
        let apply = self.func(&mut store, &journaled.apply)?.typed(store.as_context());
        let other = |error: wasmtime::Error| Trap::Guest(format!("its `journaled` has other types: {error}"));
        Ok(Some(Journaled { restore: restore.map_err(other)?, apply: apply.map_err(other)? }))
    }

    /// The hook that runs last, with its arguments, if there is one.
    pub(crate) fn deactivate(
        &self,
        mut store: StoreContextMut<'_, Guest>,
        why: &str,
    ) -> Result<Option<(Func, [Val; 2])>, Trap> {
        let Some(lifecycle) = &self.component.lifecycle else { return Ok(None) };
        let arguments = [me(&store.data().member.actor), Val::Enum(why.into())];
        Ok(Some((self.func(&mut store, &lifecycle.deactivate)?, arguments)))
    }
}

pub(crate) fn me(actor: &ActorId) -> Val {
    Val::Record(vec![
        ("kind".into(), Val::String(actor.kind.to_string())),
        ("key".into(), Val::String(actor.key.to_string())),
    ])
}

/// What a timer's turn gives `on-timer`.
#[must_use]
pub fn on_timer_arguments(actor: &ActorId, text: &Text) -> Payload {
    let payload = Val::List(text.payload().iter().copied().map(Val::U8).collect());
    Payload { vals: smallvec![me(actor), Val::String(text.name().into()), payload], blobs: Vec::new() }
}

/// What `snapshot` is given.
#[must_use]
pub fn snapshot_arguments(actor: &ActorId) -> Payload {
    Payload { vals: smallvec![me(actor)], blobs: Vec::new() }
}

/// What `on-reminder` is given.
#[must_use]
pub fn on_reminder_arguments(row: &Reminder) -> Payload {
    let firing = Val::Record(vec![
        ("name".into(), Val::String(row.id.name.to_string())),
        ("due".into(), Val::U64(row.due)),
        ("payload".into(), Val::List(row.payload.iter().copied().map(Val::U8).collect())),
    ]);
    Payload { vals: smallvec![me(&row.id.actor), firing], blobs: Vec::new() }
}

/// What `on-child-failed` is given: the child, why it failed, and how often within the window.
#[must_use]
pub fn child_failed_arguments(actor: &ActorId, child: &ActorId, reason: &str, count: u32) -> Payload {
    let failure = Val::Record(vec![
        ("child".into(), me(child)),
        ("reason".into(), Val::String(reason.into())),
        ("count".into(), Val::U32(count)),
    ]);
    Payload { vals: smallvec![me(actor), failure], blobs: Vec::new() }
}

/// What `on-child-failed` answered; none for what is no answer of it.
#[must_use]
pub fn directive(answer: &Payload) -> Option<Directive> {
    let Some(Val::Enum(case)) = answer.vals.first() else { return None };
    match case.as_str() {
        "resume" => Some(Directive::Resume),
        "restart" => Some(Directive::Restart),
        "stop" => Some(Directive::Stop),
        "escalate" => Some(Directive::Escalate),
        _ => None,
    }
}

/// What `on-terminated` is given.
#[must_use]
pub fn terminated_arguments(actor: &ActorId, target: &ActorId, reason: &str) -> Payload {
    Payload { vals: smallvec![me(actor), me(target), Val::String(reason.into())], blobs: Vec::new() }
}

/// What a hook answered: `result<_, string>`.
pub(crate) fn hook_answer(result: Val) -> Result<(), String> {
    let Val::Result(Err(Some(reason))) = result else { return Ok(()) };
    Err(if let Val::String(reason) = *reason { reason } else { format!("{reason:?}") })
}

/// What the constructor made.
pub(crate) fn constructed(kind: &Kind, result: Val) -> Result<ResourceAny, Trap> {
    let made = match (kind.constructor_fails, result) {
        (false, made) => made,
        (true, Val::Result(Ok(Some(made)))) => *made,
        (true, refused) => return Err(Trap::Refused(format!("its constructor answered {refused:?}"))),
    };
    let Val::Resource(this) = made else { return Err(Trap::Guest("its constructor gave no resource".into())) };
    Ok(this)
}

/// `self`, unless it is a hook, and the arguments, in the Store.
pub(crate) fn arguments(
    mut store: StoreContextMut<'_, Guest>,
    this: ResourceAny,
    method: &Method,
    payload: &mut Payload,
) -> Result<Arguments, Trap> {
    let mut arguments: Arguments = smallvec![];
    if !method.is_hook {
        arguments.push(Val::Resource(this));
    }
    arguments.extend(payload.vals.drain(..));
    if method.signature.blobs_in {
        for ((_, ty), val) in method.signature.params.iter().zip(&mut arguments[1..]) {
            attach(&mut store, ty, val, &payload.blobs).map_err(|error| Trap::Guest(error.to_string()))?;
        }
        payload.blobs.clear();
    }
    Ok(arguments)
}

/// The place for a method's result.
pub(crate) fn results(method: &Method) -> Vals {
    if method.signature.is_tell() { Vals::new() } else { smallvec![Val::Bool(false)] }
}

/// The result without its Store, as callers get it.
pub(crate) fn answer(
    mut store: StoreContextMut<'_, Guest>,
    method: &Method,
    mut results: Vals,
    payload: &mut Payload,
) -> Result<(), Trap> {
    let signature = &method.signature;
    if method.is_hook {
        let answer = results.pop();
        if let Some(Val::Enum(_)) = answer {
            payload.vals.extend(answer);
            return Ok(());
        }
        if let Some(Val::List(bytes)) = answer {
            return store.data_mut().stage_snapshot(bytes).map_err(Trap::Failed);
        }
        return answer.map_or(Ok(()), hook_answer).map_err(Trap::Failed);
    }
    if signature.blobs_out {
        for val in &mut results {
            detach(&mut store, val, &mut payload.blobs).map_err(|error| Trap::Guest(error.to_string()))?;
        }
    }
    if let (Some(ty), Some(val)) = (&signature.result, results.first_mut())
        && call_errors::is_err(val)
    {
        *val = call_errors::downstream(ty, std::mem::replace(val, Val::Bool(false)));
    }
    payload.vals = results;
    Ok(())
}

impl Cell {
    /// Instantiates, with the first actor that lives in it. With `fiber` on a stack of its own.
    pub(crate) async fn new(
        component: &Arc<Component>,
        kind_at: usize,
        member: Box<Member>,
        seats: Option<Seats>,
        fiber: bool,
    ) -> Result<Self, Trap> {
        let mut store = new_store(component, kind_at, member, seats);
        store.data_mut().turn.clock.start(fiber, Instant::now(), Some(hand_over));
        store.set_epoch_deadline(1);
        let live = if fiber {
            component.pre.instantiate_async(&mut store).await
        } else {
            component.pre.instantiate(&mut store)
        };
        let live = live.map_err(|error| trap(store.data(), &error))?;
        let kind = &component.kinds[kind_at];
        let hooks = kind.hooks.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let methods = vec![None; kind.methods.len() + hooks].into();
        let stack = fiber.then(|| component.direct_stack()).flatten();
        Ok(Self { store, exports: Exports { live, component: component.clone(), kind_at, methods }, stack })
    }

    /// Gives the actor that is shown its journal, and runs `activate` and the constructor.
    pub(crate) async fn wake(&mut self, cause: Cause, fiber: bool) -> Result<ResourceAny, Trap> {
        let (generation, number) = (self.store.data().member.generation, 0);
        self.store.data_mut().turn.turn = Turn { generation, number };
        if self.exports.component.is_journaled() {
            // Boxed, since most actors have none.
            Box::pin(self.replay(fiber)).await?;
        }
        let turn = &mut self.store.data_mut().turn;
        turn.runs = Runs::Activate;
        turn.read_only = false;
        self.enter(fiber, Instant::now());
        if let Some((activate, activation)) = self.exports.activate(self.store.as_context_mut(), cause)? {
            let result = self.invoke(activate, &[activation], fiber).await?;
            hook_answer(result).map_err(Trap::Refused)?;
        }
        let constructor = self.exports.constructor(&mut self.store)?;
        let key = Val::String(self.store.data().member.actor.key.to_string());
        let made = self.invoke(constructor, &[key], fiber).await?;
        constructed(self.exports.kind(), made)
    }

    /// Gives the actor that is shown its journal. Until something else begins nothing can be written or sent.
    pub(crate) async fn replay(&mut self, fiber: bool) -> Result<(), Trap> {
        let Some(functions) = self.exports.journaled(&mut self.store)? else { return Ok(()) };
        let Some(mut waking) = Waking::of(self.store.data(), functions)? else { return Ok(()) };
        let turn = &mut self.store.data_mut().turn;
        (turn.runs, turn.read_only) = (Runs::Replay, true);
        while let Some(given) = waking.next().await? {
            self.enter(fiber, Instant::now());
            let (functions, me) = (waking.functions.clone(), waking.me.clone());
            let answer = match given {
                Given::Restore(snapshot) => self.invoke_typed(functions.restore, (me, snapshot), fiber).await,
                Given::Apply(entry) => self.invoke_typed(functions.apply, (me, entry.into()), fiber).await,
            };
            waking.answered(self.store.data_mut(), answer.map(|(answer,)| answer))?;
        }
        Ok(())
    }

    /// From now on turns of that actor may begin inside of one that waits for them.
    pub(crate) fn let_nest(&mut self, this: ResourceAny) {
        let live = self.exports.live;
        self.store.data_mut().within = Some(Box::new(Within { live, this }));
    }

    /// Runs the `deactivate` hook of the actor that is shown, if there is one.
    pub(crate) async fn put_to_sleep(&mut self, why: &str, fiber: bool) -> Result<(), Trap> {
        let Some((hook, arguments)) = self.exports.deactivate(self.store.as_context_mut(), why)? else {
            return Ok(());
        };
        let turn = &mut self.store.data_mut().turn;
        (turn.runs, turn.turn.number, turn.read_only) = (Runs::Deactivate, 0, false);
        self.enter(fiber, Instant::now());
        let result = self.invoke(hook, &arguments, fiber).await?;
        refused_to_sleep(self.store.data(), result);
        Ok(())
    }

    /// What a turn's call needs.
    fn begin(&mut self, this: ResourceAny, input: &mut TurnInput<'_>) -> Result<(Func, Arguments), Trap> {
        let func = self.exports.method(&mut self.store, input.method)?;
        let method = self.exports.component.kinds[self.exports.kind_at].called(input.method);
        begin(&mut self.store.data_mut().turn, method.read_only, input);
        Ok((func, arguments(self.store.as_context_mut(), this, method, input.payload)?))
    }

    fn finish(&mut self, input: &mut TurnInput<'_>, outcome: wasmtime::Result<()>, results: Vals) -> Result<(), Trap> {
        self.exports.component.pace.ended(self.store.data().turn.clock.is_long());
        outcome.map_err(|error| trap(self.store.data(), &error))?;
        let method = self.exports.component.kinds[self.exports.kind_at].called(input.method);
        answer(self.store.as_context_mut(), method, results, input.payload)
    }

    /// Runs a turn on the caller's stack.
    pub(crate) fn turn_now(&mut self, this: ResourceAny, input: &mut TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        let (func, arguments) = self.begin(this, input)?;
        let mut results = results(self.exports.kind().called(input.method));
        self.enter(false, now);
        let outcome = func.call(&mut self.store, &arguments, &mut results);
        self.finish(input, outcome, results)
    }

    /// Runs a turn on a stack of its own.
    pub(crate) async fn turn(
        &mut self,
        this: ResourceAny,
        input: &mut TurnInput<'_>,
        now: Instant,
    ) -> Result<(), Trap> {
        let (func, arguments) = self.begin(this, input)?;
        let mut results = results(self.exports.kind().called(input.method));
        self.stack = self.stack.take().or_else(|| self.exports.component.direct_stack());
        self.enter(true, now);
        let outcome = self.call_async(func, &arguments, &mut results).await;
        self.finish(input, outcome, results)
    }

    pub(crate) fn enter(&mut self, fiber: bool, now: Instant) {
        self.store.data_mut().turn.clock.start(fiber, now, Some(hand_over));
        self.store.set_epoch_deadline(1);
    }

    /// Calls a function that has one result.
    pub(crate) async fn invoke(&mut self, func: Func, arguments: &[Val], fiber: bool) -> Result<Val, Trap> {
        let mut results = [Val::Bool(false)];
        let outcome = if fiber {
            self.call_async(func, arguments, &mut results).await
        } else {
            func.call(&mut self.store, arguments, &mut results)
        };
        outcome.map_err(|error| trap(self.store.data(), &error))?;
        let [result] = results;
        Ok(result)
    }

    /// The same for a function whose types are known.
    async fn invoke_typed<P, R>(&mut self, func: TypedFunc<P, R>, arguments: P, fiber: bool) -> Result<R, Trap>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let outcome = if !fiber {
            func.call(&mut self.store, arguments)
        } else if self.exports.component.lane != Lane::Concurrent {
            func.call_async(&mut self.store, arguments).await
        } else {
            let call = async |accessor: &Accessor<Guest>| {
                let result = func.call_concurrent(accessor, arguments).await?;
                poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                wasmtime::Result::Ok(result)
            };
            let rest = self.store.data().rest.clone();
            noted(rest, self.store.run_concurrent(call)).await.and_then(|result| result)
        };
        outcome.map_err(|error| trap(self.store.data(), &error))
    }

    /// Calls on a stack of its own. A guest in the concurrent lane may go on after it has answered;
    /// its turn is over when it has ended.
    pub(crate) async fn call_async(
        &mut self,
        func: Func,
        arguments: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        if self.exports.component.lane != Lane::Concurrent {
            return func.call_async(&mut self.store, arguments, results).await;
        }
        let call = async |accessor: &Accessor<Guest>| {
            func.call_concurrent(accessor, arguments, results).await?;
            poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
            wasmtime::Result::Ok(())
        };
        let rest = self.store.data().rest.clone();
        noted(rest, self.store.run_concurrent(call)).await?
    }
}

/// The context of a method's turn.
fn begin(turn: &mut TurnContext, read_only: bool, input: &mut TurnInput<'_>) {
    std::mem::swap(&mut turn.head, input.head);
    turn.turn = input.turn;
    turn.runs = Runs::Method(input.method);
    turn.read_only = read_only;
    turn.timeout = None;
    turn.calls = 0;
    turn.undecided = false;
    turn.handled = input.handles.cloned();
}

/// A `deactivate` hook that answers with an error changes nothing, but somebody should know.
pub(crate) fn refused_to_sleep(guest: &Guest, result: Val) {
    if let Err(reason) = hook_answer(result) {
        guest.member.host.log(crate::outside::Level::Warn, &format!("deactivate answered: {reason}"));
    }
}

fn new_store(component: &Arc<Component>, kind_at: usize, member: Box<Member>, seats: Option<Seats>) -> Store<Guest> {
    let policy = &component.kinds[kind_at].policy;
    let limits = &policy.limits;
    let packed = match policy.isolation {
        Isolation::Actor => 1,
        Isolation::Packed(actors) => actors as usize,
    };
    let memory = limits.memory.unwrap_or_else(|| slot_bytes(component.profile));
    let handles_max = limits.handles.saturating_mul(packed);
    let mut table = ResourceTable::new();
    table.set_max_capacity(handles_max.saturating_add(OWN_HANDLES));
    let engine = component.engine.wasmtime.clone();
    let attributes = seats.is_some() && component.lane == Lane::Concurrent;
    let clock = TurnClock::new(limits.turn, component.engine.beats.clone());
    let guest = Guest {
        component: component.clone(),
        kind_at,
        lines: Lines::new(member.host.clone()),
        member,
        turn: TurnContext::none(clock),
        seats: seats.map(Box::new),
        within: None,
        rest: (component.awaits(kind_at) == Awaits::Several).then(Arc::default),
        limiter: Limiter::new(usize::try_from(memory).unwrap_or(usize::MAX), limits.table_elements),
        proxies: Proxies::default(),
        handles_max,
        table,
        wasi: None,
    };
    let mut store = Store::new(&engine, guest);
    if packed > 1 {
        // Its own resource, and what it may hold beside that.
        store.set_max_component_handles(packed.saturating_add(GUEST_HANDLES));
    }
    store.limiter(|guest| &mut guest.limiter);
    if attributes {
        store.epoch_deadline_callback(|mut store| {
            // What runs on after its turn counts for nobody's, and has the same limit.
            drop(attribute(&mut store));
            Ok(store.data_mut().tick())
        });
    } else {
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().tick()));
    }
    store
}

/// Why the instance is dead, in one line for people.
pub(crate) fn trap(guest: &Guest, error: &wasmtime::Error) -> Trap {
    if let Some(broken) = guest.turn.broken {
        return Trap::Commit(broken);
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() || error.root_cause().to_string() == slab::FULL {
        return Trap::NoRoom(format!("{error}"));
    }
    if guest.turn.clock.timed_out {
        return Trap::Guest(format!(
            "its turn was ended: it ran longer than {:?} inside the guest (limits.turn)",
            guest.turn.clock.limit()
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
    let reason = reason.replace('\n', " ");
    let overran =
        guest.limiter.refused.is_some() || matches!(error.downcast_ref(), Some(wasmtime::Trap::StackOverflow));
    if guest.turn.undecided && guest.turn.key().is_some() && !overran {
        Trap::Undecided(reason)
    } else {
        Trap::Guest(reason)
    }
}
