//! Turns of one actor that stand on one stack: while one waits for its call, those that it waits for
//! begin inside of it.
//!
//! A guest with plain functions can be called again from inside of a host function that it called. The
//! innermost turn alone goes on. Whatever ends a turn inside other than by its own answer ends the
//! instance: wasmtime leaves the scope of such a call behind, so that nothing of what the outer turns do
//! after it can be relied on.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use quark_core::activation::Turn;
use quark_core::commit::{CommitError, Write};
use wasmtime::component::{Instance, ResourceAny};
use wasmtime::{AsContextMut as _, StoreContextMut};

use crate::cell;
use crate::error::Trap;
use crate::guest::{Guest, Runs, TurnClock, TurnContext};
use crate::instance::{Started, hand_over};
use crate::outside::{Answer, CallFailure, Calling, Outside, Owned, Returned};
use crate::rest::UnderWay;
use crate::values::Payload;

const LOST: &str = "a turn that came back to it while it waited ended its instance: ";

/// What is called of an instance from inside of itself.
pub(crate) struct Within {
    pub(crate) live: Instance,
    pub(crate) this: ResourceAny,
}

/// A turn waits for the answer of a call for as long as this lives.
pub(crate) struct Waiting {
    host: Arc<dyn Outside>,
    turn: Turn,
    call: u32,
}

impl Waiting {
    /// The turn that is shown waits for the call that it made last.
    pub(crate) fn of(guest: &Guest) -> Self {
        let (host, turn, call) = (guest.member.host.clone(), guest.turn.turn, guest.turn.calls);
        host.waits(turn, call);
        Self { host, turn, call }
    }

    /// The same in the concurrent lane, if it waits: that may let something in, and something go on.
    pub(crate) fn beside(guest: &Guest, calling: &Calling) -> (Option<Self>, Option<UnderWay>) {
        if !matches!(calling, Calling::Waits(_)) {
            return (None, None);
        }
        let lets = guest.turn.turn.number > 0 && guest.component.overlap(guest.kind_at).lets_return();
        let under_way = guest.rest.as_ref().map(|rest| rest.call(guest.turn.turn, guest.turn.calls));
        (lets.then(|| Self::of(guest)), under_way)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.host.resumes(self.turn, self.call);
    }
}

/// What comes first of what a turn waits for.
enum Event {
    Answer(Result<Answer, CallFailure>),
    Returned(Result<Returned, CommitError>),
}

/// The answer of a call by name, or of one like it, that was made just now.
///
/// # Errors
/// When the instance is over.
pub(crate) async fn answer(
    store: &mut StoreContextMut<'_, Guest>,
    calling: Calling,
) -> wasmtime::Result<Result<Answer, CallFailure>> {
    match calling {
        Calling::Done(answer) => Ok(answer),
        Calling::Waits(answer) => {
            store.data_mut().turn.clock.pause();
            let answer = wait(store, answer).await?;
            store.data_mut().turn.clock.resume();
            Ok(answer)
        }
    }
}

/// Waits for the answer of the call that was made last, and runs what comes back meanwhile.
///
/// # Errors
/// When the instance is over.
pub(crate) async fn wait(
    store: &mut StoreContextMut<'_, Guest>,
    mut answer: Owned<Result<Answer, CallFailure>>,
) -> wasmtime::Result<Result<Answer, CallFailure>> {
    // Hooks have no number, and nothing enters an actor that wakes or leaves.
    if store.data().within.is_none() || store.data().turn.turn.number == 0 {
        return Ok(answer.await);
    }
    let waiting = Waiting::of(store.data());
    loop {
        let mut returning = waiting.host.returning();
        let event = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Event::Answer(answer)),
            Poll::Pending => returning.as_mut().poll(cx).map(Event::Returned),
        });
        let returned = match event.await {
            Event::Answer(answer) => return Ok(answer),
            Event::Returned(Err(error)) => return Err(store.data_mut().broken(error)),
            Event::Returned(Ok(returned)) => returned,
        };
        let mut answered = None;
        let mut running = Box::pin(run(store, returned));
        // Whoever answers the call may itself wait on this very stack: it is polled along.
        let ended = poll_fn(|cx| {
            if answered.is_none()
                && let Poll::Ready(answer) = answer.as_mut().poll(cx)
            {
                answered = Some(answer);
            }
            running.as_mut().poll(cx)
        });
        let ended = ended.await;
        drop(running);
        ended?;
        if let Some(answer) = answered {
            return Ok(answer);
        }
    }
}

/// Runs a turn inside of the one that waits.
async fn run(store: &mut StoreContextMut<'_, Guest>, returned: Returned) -> wasmtime::Result<()> {
    let Returned { started, ended } = returned;
    let Some(_stack) = store.data().component.engine.nested.take() else {
        return ended(Err(Trap::Unbegun)).map_err(|error| wasmtime::Error::msg(error.to_string()));
    };
    let Started { head, turn, method, handles, mut payload } = started;
    let outer = begin(store.data_mut(), turn, method);
    let guest = store.data_mut();
    (guest.turn.head, guest.turn.handled) = (head, handles);
    let ran = call(store, method, &mut payload).await;
    let guest = store.data_mut();
    let ran = ran.map(|()| (payload, staged(guest)));
    guest.turn = outer;
    match ran {
        Ok(done) => ended(Ok(done)).map_err(|error| lost(&Trap::Commit(error))),
        Err(trap) => {
            let lost = lost(&trap);
            // The trap goes first: it is why the instance is over.
            ended(Err(trap)).ok();
            Err(lost)
        }
    }
}

/// What the turn that waits ends with. However many of them wait, the text says so once.
fn lost(trap: &Trap) -> wasmtime::Error {
    let reason = trap.to_string();
    let reason = reason.strip_prefix(LOST).unwrap_or(&reason);
    wasmtime::Error::msg(format!("{LOST}{reason}"))
}

/// Shows the turn that begins; gives the one that waits, which has its own time and its own path.
fn begin(guest: &mut Guest, turn: Turn, method: usize) -> TurnContext {
    let limit = guest.kind().policy.limits.turn;
    let mut context = TurnContext::none(TurnClock::new(limit, guest.component.engine.beats.clone()));
    (context.turn, context.runs) = (turn, Runs::Method(method));
    context.read_only = guest.kind().methods.get(method).is_some_and(|method| method.read_only);
    context.clock.start(true, Instant::now(), Some(hand_over));
    std::mem::replace(&mut guest.turn, context)
}

fn staged(guest: &mut Guest) -> Option<Box<Write>> {
    let write = guest.take_write();
    (!write.is_empty()).then(|| Box::new(write))
}

async fn call(store: &mut StoreContextMut<'_, Guest>, method: usize, payload: &mut Payload) -> Result<(), Trap> {
    let missing = || Trap::Guest("an export that was there at deploy is missing".into());
    let Guest { component, kind_at, within, .. } = store.data();
    let (component, kind_at) = (component.clone(), *kind_at);
    let within = within.as_ref().ok_or_else(missing)?;
    let (live, this) = (within.live, within.this);
    let method = component.kinds[kind_at].methods.get(method).ok_or_else(missing)?;
    let func = live.get_func(store.as_context_mut(), method.export).ok_or_else(missing)?;
    let arguments = cell::arguments(store.as_context_mut(), this, method, payload)?;
    let mut results = cell::results(method);
    let called = func.call_async(store.as_context_mut(), &arguments, &mut results).await;
    called.map_err(|error| cell::trap(store.data(), &error))?;
    cell::answer(store.as_context_mut(), method, results, payload)
}
