//! Host functions: one file for each interface of `wit/`, of the same name.

pub(crate) mod blobs;
pub(crate) mod calls;
pub(crate) mod children;
pub(crate) mod context;
pub(crate) mod journal;
pub(crate) mod log;
pub(crate) mod reminders;
pub(crate) mod state;
pub(crate) mod timers;

use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower};
use wasmtime::{AsContextMut as _, StoreContextMut};

use crate::bindings::quark::actor;
use crate::guest::Guest;
use crate::nested::Waiting;
use crate::outside::{Answer, CallFailure, Calling};
use crate::seats::attribute;

/// Defines once more what suspends, and what depends on the turn that calls, for components whose
/// functions are `async func`: there an instance may run several turns.
pub(crate) fn define_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    state::define_async(linker)?;
    calls::define_async(linker)?;
    children::define_async(linker)?;
    journal::define_async(linker)?;
    reminders::define_async(linker)?;
    let mut of_reminders = linker.instance("quark:actor/reminders@0.1.0")?;
    of_reminders.func_wrap(
        "register",
        of_turn(|guest, (name, schedule, missed, payload)| {
            actor::reminders::Host::register(guest, name, schedule, missed, payload)
        }),
    )?;
    of_reminders
        .func_wrap("unregister", does_of_turn(|guest, (name,)| actor::reminders::Host::unregister(guest, name)))?;
    let mut of_children = linker.instance("quark:actor/children@0.1.0")?;
    of_children.func_wrap("all", of_turn(|guest, ()| actor::children::Host::all(guest)))?;
    of_children.func_wrap("unwatch", does_of_turn(|guest, (target,)| actor::children::Host::unwatch(guest, target)))?;
    let mut of_state = linker.instance("quark:actor/state@0.1.0")?;
    of_state.func_wrap("get", of_turn(|guest, (name,)| actor::state::Host::get(guest, name)))?;
    of_state.func_wrap("set", of_turn(|guest, (name, value)| actor::state::Host::set(guest, name, value)))?;
    of_state.func_wrap("delete", of_turn(|guest, (name,)| actor::state::Host::delete(guest, name)))?;
    of_state.func_wrap("names", of_turn(|guest, ()| actor::state::Host::names(guest)))?;
    of_state.func_wrap("etag", of_turn(|guest, ()| actor::state::Host::etag(guest)))?;
    let mut of_calls = linker.instance("quark:actor/calls@0.1.0")?;
    of_calls
        .func_wrap("tell", of_turn(|guest, (to, method, args)| actor::calls::Host::tell(guest, to, method, args)))?;
    let mut context = linker.instance("quark:actor/context@0.1.0")?;
    context.func_wrap("me", of_turn(|guest, ()| actor::context::Host::me(guest)))?;
    context.func_wrap("caller", of_turn(|guest, ()| actor::context::Host::caller(guest)))?;
    context.func_wrap("principal", of_turn(|guest, ()| actor::context::Host::principal(guest)))?;
    context.func_wrap("request-id", of_turn(|guest, ()| actor::context::Host::request_id(guest)))?;
    context.func_wrap("idempotency-key", of_turn(|guest, ()| actor::context::Host::idempotency_key(guest)))?;
    context.func_wrap("generation", of_turn(|guest, ()| actor::context::Host::generation(guest)))?;
    context.func_wrap("header", of_turn(|guest, (name,)| actor::context::Host::header(guest, name)))?;
    context.func_wrap("deadline", of_turn(|guest, ()| actor::context::Host::deadline(guest)))?;
    context.func_wrap("cancelled", of_turn(|guest, ()| actor::context::Host::cancelled(guest)))?;
    context.func_wrap(
        "set-header",
        does_of_turn(|guest, (name, value)| actor::context::Host::set_header(guest, name, value)),
    )?;
    context.func_wrap("set-timeout", does_of_turn(|guest, (each,)| actor::context::Host::set_timeout(guest, each)))?;
    context.func_wrap("deactivate-soon", does_of_turn(|guest, ()| actor::context::Host::deactivate_soon(guest)))?;
    context.func_wrap("keep-awake", does_of_turn(|guest, (time,)| actor::context::Host::keep_awake(guest, time)))?;
    let mut of_timers = linker.instance("quark:actor/timers@0.1.0")?;
    of_timers.func_wrap(
        "start",
        does_of_turn(|guest, (name, after, every, payload)| {
            actor::timers::Host::start(guest, name, after, every, payload)
        }),
    )?;
    of_timers.func_wrap("stop", of_turn(|guest, (name,)| actor::timers::Host::stop(guest, name)))?;
    let mut of_journal = linker.instance("quark:actor/journal@0.1.0")?;
    of_journal.func_wrap("append", of_turn(|guest, (event,)| actor::journal::Host::append(guest, event)))?;
    of_journal.func_wrap("snapshot-soon", does_of_turn(|guest, ()| actor::journal::Host::snapshot_soon(guest)))?;
    let mut of_log = linker.instance("quark:actor/log@0.1.0")?;
    of_log.func_wrap(
        "log",
        does_of_turn(|guest, (level, line, fields)| actor::log::Host::log(guest, level, line, fields)),
    )
}

/// Defines once more what waits for other actors, for components in which turns nest.
pub(crate) fn define_nesting(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    calls::define_nesting(linker)?;
    children::define_nesting(linker)
}

/// The answer of a call, for which the turn waits.
async fn answer(guest: &mut Guest, calling: Calling) -> Result<Answer, CallFailure> {
    match calling {
        Calling::Done(answer) => answer,
        Calling::Waits(answer) => {
            guest.turn.clock.pause();
            let answer = answer.await;
            guest.turn.clock.resume();
            answer
        }
    }
}

/// A host function that makes a call and waits for its answer, as an `async func`.
fn suspends<P, R>(
    functions: &mut LinkerInstance<'_, Guest>,
    name: &str,
    ask: impl Fn(&mut Guest, P) -> Calling + Copy + Send + Sync + 'static,
    answered: impl Fn(&mut Guest, Result<Answer, CallFailure>) -> wasmtime::Result<R> + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    R: Send + 'static,
    (R,): ComponentNamedList + Lower,
{
    functions.func_wrap_concurrent(name, move |accessor, params: P| {
        Box::pin(async move {
            let (task, calling, _waiting) = accessor.with(|mut access| -> wasmtime::Result<_> {
                let mut store = access.as_context_mut();
                attribute(&mut store)?;
                let guest = store.data_mut();
                let calling = ask(guest, params);
                let waiting = Waiting::beside(guest, &calling);
                Ok((guest.task(), calling, waiting))
            })?;
            let answer = calling.answer().await;
            accessor.with(|mut access| {
                let guest = access.data_mut();
                guest.resume(task);
                answered(guest, answer).map(|answer| (answer,))
            })
        })
    })
}

/// A host function that gives one result, of the turn that calls.
fn of_turn<P, R>(
    function: impl Fn(&mut Guest, P) -> wasmtime::Result<R> + Send + Sync + 'static,
) -> impl Fn(StoreContextMut<'_, Guest>, P) -> wasmtime::Result<(R,)> + Send + Sync + 'static {
    move |mut store, params| {
        attribute(&mut store)?;
        Ok((function(store.data_mut(), params)?,))
    }
}

/// The same of one that gives nothing.
fn does_of_turn<P>(
    function: impl Fn(&mut Guest, P) -> wasmtime::Result<()> + Send + Sync + 'static,
) -> impl Fn(StoreContextMut<'_, Guest>, P) -> wasmtime::Result<()> + Send + Sync + 'static {
    move |mut store, params| {
        attribute(&mut store)?;
        function(store.data_mut(), params)
    }
}
