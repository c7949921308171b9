//! The turns that run now, and what must happen before a call leaves one of them. Turns of one
//! instance nest (a call may come back), so they are a stack.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use crate::{CallError, StateError, cell};

/// An actor as its turns see it, whatever its type.
pub(crate) trait Saves: Any {
    /// Stages the state if it changed. Not for a state that a turn holds for itself.
    fn save(&self) -> Result<(), StateError>;
    /// The same, for the turn that holds the state: `held` must be that very value.
    fn save_held(&self, held: &dyn Any) -> Option<Result<(), StateError>>;
    /// `kind/key` for messages.
    fn name(&self) -> String;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `&self`: the state can be saved at any moment.
    Shared,
    /// `&mut self`: only the method itself can reach it.
    Exclusive,
    /// `&mut self`, inside `self.call(..)`: it is saved and cannot change.
    Saved,
}

struct Turn {
    actor: Rc<dyn Saves>,
    mode: Mode,
}

thread_local! {
    static TURNS: RefCell<Vec<Turn>> = const { RefCell::new(Vec::new()) };
}

/// The turn on top, while this lives.
struct Running;

impl Running {
    fn start(actor: Rc<dyn Saves>, mode: Mode) -> Self {
        TURNS.with_borrow_mut(|turns| turns.push(Turn { actor, mode }));
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        TURNS.with_borrow_mut(Vec::pop);
    }
}

/// Runs a turn, or a part of one.
#[cfg(not(feature = "async"))]
pub(crate) fn run<R>(actor: Rc<dyn Saves>, mode: Mode, body: impl FnOnce() -> R) -> R {
    let _running = Running::start(actor, mode);
    body()
}

/// Runs a turn, or a part of one. Turns interleave: it is the one on top only while it is polled.
#[cfg(feature = "async")]
pub(crate) async fn run<R>(actor: Rc<dyn Saves>, mode: Mode, body: impl AsyncFnOnce() -> R) -> R {
    let mut body = std::pin::pin!(body());
    let poll = |context: &mut std::task::Context<'_>| {
        let _running = Running::start(Rc::clone(&actor), mode);
        body.as_mut().poll(context)
    };
    std::future::poll_fn(poll).await
}

/// Runs what a `&self` method does, then saves what it changed.
#[cfg(not(feature = "async"))]
pub(crate) fn saving<R>(
    save: impl Fn() -> Result<(), StateError>,
    body: impl FnOnce() -> R,
) -> (R, Result<(), StateError>) {
    let result = body();
    (result, save())
}

/// Runs what a `&self` method does, and saves what it changed whenever it waits: other turns of its
/// actor run then, and what is saved in one of them counts as theirs. What cannot be saved ends it.
#[cfg(feature = "async")]
pub(crate) async fn saving<R>(
    save: impl Fn() -> Result<(), StateError>,
    body: impl AsyncFnOnce() -> R,
) -> (R, Result<(), StateError>) {
    let mut body = std::pin::pin!(body());
    let mut saved = Ok(());
    let poll = |context: &mut std::task::Context<'_>| {
        let polled = body.as_mut().poll(context);
        if saved.is_ok() {
            saved = save();
        }
        polled.map(|result| (result, std::mem::replace(&mut saved, Ok(()))))
    };
    std::future::poll_fn(poll).await
}

fn current() -> Option<(Rc<dyn Saves>, Mode)> {
    TURNS.with_borrow(|turns| turns.last().map(|turn| (Rc::clone(&turn.actor), turn.mode)))
}

/// What [`before_call`] finds wrong.
enum Obstacle {
    Misuse(String),
    State(StateError),
}

fn prepare() -> Result<(), Obstacle> {
    if cell::updating() {
        return Err(Obstacle::Misuse("a call from inside State::update; finish the update first".into()));
    }
    match current() {
        Some((actor, Mode::Shared)) => actor.save().map_err(Obstacle::State),
        Some((actor, Mode::Exclusive)) => Err(Obstacle::Misuse(format!(
            "a call from a `&mut self` method of {} outside `self.call(..)`",
            actor.name()
        ))),
        Some((_, Mode::Saved)) | None => Ok(()),
    }
}

/// Every outgoing call goes through here first.
pub(crate) fn before_call() -> Result<(), CallError> {
    prepare().map_err(|obstacle| match obstacle {
        Obstacle::Misuse(text) => CallError::Denied(text),
        Obstacle::State(error) => call_error(error),
    })
}

pub(crate) fn before_commit() -> Result<(), StateError> {
    prepare().map_err(|obstacle| match obstacle {
        Obstacle::Misuse(text) => StateError::Unavailable(text),
        Obstacle::State(error) => error,
    })
}

quark_sdk_macros::either! {
    /// [`crate::Actor::call`].
    pub(crate) async fn saved<A: 'static, T, E: From<CallError>>(
        state: &A,
        calls: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let Some((actor, Mode::Exclusive)) = current() else {
            return calls().await;
        };
        match actor.save_held(state) {
            None => calls().await,
            Some(Err(error)) => Err(call_error(error).into()),
            Some(Ok(())) => run(actor, Mode::Saved, calls).await,
        }
    }
}

/// How a caller is told that the state could not be saved.
pub(crate) fn call_error(error: StateError) -> CallError {
    match error {
        StateError::TooLarge(limit) => CallError::TooLarge(limit),
        StateError::ReadOnly => CallError::Denied("a read-only method changed the state".into()),
        StateError::Conflict => CallError::Other("somebody else wrote the state".into()),
        StateError::Fenced => CallError::Other("a newer activation owns this actor".into()),
        StateError::Unavailable(text) => CallError::Other(format!("the store is unavailable: {text}")),
    }
}
