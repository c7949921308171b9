//! What the macros write calls to. Not for people.

use std::fmt::Display;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::journal::{self, Entry, Journaled};
use crate::slot::{Refusal, Slot};
use crate::{Activation, Actor, CallError, Deactivation, Directive, turn};

/// The resource that stands for an actor: what the host constructs and calls.
pub struct Handle<A: Actor>(Rc<Slot<A>>);

impl<A: Actor> Handle<A> {
    /// Opens the actor's slot: that of `activate`, or a new one.
    #[must_use]
    pub fn open(key: &str) -> Self {
        report_panics();
        Self(Slot::open(key))
    }
}

quark_sdk_macros::either! {
    impl<A: Actor> Handle<A> {
        /// Runs a `&self` method.
        pub async fn shared<R>(&self, body: impl AsyncFnOnce(&A) -> R, refuse: fn(CallError) -> R) -> R {
            self.0.shared(body, refuse).await
        }

        /// Runs a `&mut self` method.
        pub async fn exclusive<R>(&self, body: impl AsyncFnOnce(&mut A) -> R, refuse: fn(CallError) -> R) -> R {
            self.0.exclusive(body, refuse).await
        }
    }
}

impl<A: Actor> Drop for Handle<A> {
    fn drop(&mut self) {
        // This handle and the register: nobody else has it.
        if Rc::strong_count(&self.0) <= 2 {
            self.0.forget();
        }
    }
}

quark_sdk_macros::either! {
    /// `lifecycle.activate`.
    ///
    /// # Errors
    /// The hook's, or that the state cannot be read.
    pub async fn activate<A: Actor>(it: Activation) -> Result<(), String> {
        report_panics();
        let slot = if A::JOURNALED { Slot::<A>::waking(&it.me.key) } else { Slot::<A>::make(&it.me.key) };
        // The value read is let go of here: the hook needs it for itself.
        let result = match slot.load().map(drop) {
            Err(Refusal::Unreadable(text)) => Err(text),
            Err(Refusal::Busy) => unreachable!("a new slot has no turns"),
            Ok(()) if A::HOOKS => {
                slot.exclusive(async |actor| actor.hook_activate(it).await, HookAnswer::refusal).await
            }
            Ok(()) => Ok(()),
        };
        if result.is_err() {
            slot.forget();
        }
        result
    }

    /// `lifecycle.deactivate`.
    ///
    /// # Errors
    /// The hook's.
    pub async fn deactivate<A: Actor>(key: &str, why: Deactivation) -> Result<(), String> {
        if A::HOOKS {
            hook_exclusive::<A, _>(key, async |actor: &mut A| actor.hook_deactivate(why).await).await
        } else {
            Ok(())
        }
    }

    /// The turn of a hook that takes `&mut self`.
    pub async fn hook_exclusive<A: Actor, R: HookAnswer>(key: &str, body: impl AsyncFnOnce(&mut A) -> R) -> R {
        report_panics();
        Slot::<A>::find_or_make(key).exclusive(body, R::refusal).await
    }

    /// The turn of a hook that takes `&self`.
    pub async fn hook_shared<A: Actor, R: HookAnswer>(key: &str, body: impl AsyncFnOnce(&A) -> R) -> R {
        report_panics();
        Slot::<A>::find_or_make(key).shared(body, R::refusal).await
    }
}

/// `journaled.restore`.
///
/// # Errors
/// When the snapshot cannot be read.
pub fn restore<A: Journaled>(key: &str, snapshot: &[u8]) -> Result<(), String> {
    report_panics();
    Slot::<A>::waking(key).restore(snapshot)
}

/// `journaled.apply`.
///
/// # Errors
/// When the event cannot be read, or the actor's own.
pub fn apply<A: Journaled>(key: &str, entry: &Entry) -> Result<(), String> {
    report_panics();
    let event = journal::decode::<A::Event>(entry)?;
    // Another try of an actor that refused to wake begins anew.
    let slot = if entry.sequence == 1 { Slot::<A>::make(key) } else { Slot::<A>::waking(key) };
    slot.change(|actor| actor.apply(&event))
}

/// `journaled.snapshot`.
#[must_use]
pub fn snapshot<A: Journaled>(key: &str) -> Vec<u8> {
    report_panics();
    Slot::<A>::find_or_make(key).snapshot().unwrap_or_else(|error| trap(error))
}

/// What a hook answers when its turn cannot be.
pub trait HookAnswer {
    /// The answer; a trap where there is no room for the error.
    fn refusal(error: CallError) -> Self;
}

impl HookAnswer for Result<(), String> {
    fn refusal(error: CallError) -> Self {
        Err(error.to_string())
    }
}

impl HookAnswer for Directive {
    fn refusal(error: CallError) -> Self {
        trap(error)
    }
}

impl HookAnswer for () {
    fn refusal(error: CallError) -> Self {
        trap(error)
    }
}

/// What a hook says to a kind that its component does not have.
#[must_use]
pub fn no_kind(kind: &str) -> String {
    format!("this component has no kind {kind}")
}

/// Before each call of a typed proxy.
///
/// # Errors
/// When the call must not leave.
pub fn before_call() -> Result<(), CallError> {
    turn::before_call()
}

/// Before a call whose result has no room for an error.
pub fn before_call_or_trap() {
    if let Err(error) = turn::before_call() {
        trap(error)
    }
}

fn trap(error: impl Display) -> ! {
    panic!("{error}")
}

/// How a method with the result `R` is refused: by its error, or by a trap where it has no room.
/// `(&Answer::<R>::NEW).refusal()` finds the right one of the two traits below.
pub struct Answer<R>(PhantomData<R>);

impl<R> Answer<R> {
    /// A value to call `refusal` on.
    pub const NEW: Self = Self(PhantomData);
}

/// By its error.
pub trait ByError<R> {
    /// How.
    fn refusal(&self) -> fn(CallError) -> R;
}

impl<T, E: From<CallError>> ByError<Result<T, E>> for Answer<Result<T, E>> {
    fn refusal(&self) -> fn(CallError) -> Result<T, E> {
        |error| Err(E::from(error))
    }
}

/// By a trap.
pub trait ByTrap<R> {
    /// How.
    fn refusal(&self) -> fn(CallError) -> R;
}

impl<R> ByTrap<R> for &Answer<R> {
    fn refusal(&self) -> fn(CallError) -> R {
        |error| trap(error)
    }
}

/// The text of a panic on one line, where the host takes a trap's reason from.
fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                let line = panic.to_string().replace('\n', " ");
                #[cfg(target_os = "unknown")]
                crate::error!("{line}");
                #[cfg(not(target_os = "unknown"))]
                #[expect(clippy::print_stderr, reason = "stderr's last line is the trap's reason")]
                {
                    eprintln!("{line}");
                }
            }));
        });
    }
}

#[cfg(all(test, not(feature = "async")))]
#[expect(clippy::needless_borrow, reason = "the borrow picks the trait, as in the macro")]
mod tests {
    use super::*;

    #[derive(Debug)]
    enum OwnError {
        Call(CallError),
    }

    impl From<CallError> for OwnError {
        fn from(error: CallError) -> Self {
            Self::Call(error)
        }
    }

    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Hooked {
        woken: u64,
    }

    impl Actor for Hooked {
        const EXCLUSIVE: bool = false;
        const HOOKS: bool = true;

        fn hook_activate(&mut self, it: Activation) -> Result<(), String> {
            self.woken += it.generation;
            if it.generation == 0 { Err("no".into()) } else { Ok(()) }
        }
    }

    fn wake(generation: u64) -> Result<(), String> {
        let me = crate::ActorId { kind: "k".into(), key: "a".into() };
        activate::<Hooked>(Activation { me, generation, version: "1".into(), cause: crate::Cause::Message })
    }

    #[test]
    fn a_hook_has_the_state_and_the_first_method_finds_it() {
        let refuse = |_| 0;
        assert_eq!(wake(3), Ok(()));
        let handle = Handle::<Hooked>::open("a");
        assert_eq!(handle.shared(|it| it.woken, refuse), 3);
        assert_eq!(wake(4), Ok(()), "an activation starts from what was saved");
        drop(handle);
        assert_eq!(Handle::<Hooked>::open("a").shared(|it| it.woken, refuse), 7);
        assert_eq!(deactivate::<Hooked>("a", Deactivation::Idle), Ok(()));
        assert_eq!(wake(0), Err("no".into()));
    }

    #[test]
    fn a_result_with_room_gets_the_error() {
        let refuse = (&Answer::<Result<u64, OwnError>>::NEW).refusal();
        assert!(matches!(refuse(CallError::Stopped), Err(OwnError::Call(CallError::Stopped))));
        let refuse = (&Answer::<Result<(), CallError>>::NEW).refusal();
        assert!(matches!(refuse(CallError::Stopped), Err(CallError::Stopped)));
    }

    #[test]
    #[should_panic(expected = "CallError::Stopped")]
    fn a_result_without_room_traps() {
        let refuse = (&Answer::<Result<u64, String>>::NEW).refusal();
        let _ = refuse(CallError::Stopped);
    }

    #[test]
    #[should_panic(expected = "CallError::Stopped")]
    fn a_bare_result_traps() {
        (&Answer::<()>::NEW).refusal()(CallError::Stopped);
    }
}
