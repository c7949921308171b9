//! Children, whose failures come to this actor, and actors whose end it wants to know.
//!
//! What a failure of a child means, the manifest's strategy says, or the hook
//! `fn on_child_failed(&self, failure: Failure) -> Directive` (or `&mut self`), in a world with
//! `export quark:actor/supervisor@0.1.0;`. Of an end for good tells
//! `fn on_terminated(&self, target: ActorId, reason: String)`, with `export quark:actor/watcher@0.1.0;`. If
//! the store refuses what one of them changed, it traps.
//!
//! [`spawn`], [`stop`] and [`watch`] wait, and so they are calls: what the turn changed is saved before, and in a
//! `&mut self` method they belong inside [`crate::Actor::call`].

use serde::{Deserialize, Serialize};

#[cfg(not(test))]
use crate::wit::children as host;
pub use crate::wit::children::{Lifetime, all, unwatch};
use crate::{ActorId, CallError, turn};

quark_sdk_macros::either! {
    /// Adopts the actor and activates it. Children keep the order in which they were spawned.
    ///
    /// # Errors
    /// When it has another parent or is above this actor, and when it does not wake.
    pub async fn spawn(child: &ActorId, lifetime: Lifetime) -> Result<(), CallError> {
        turn::before_call()?;
        host::spawn(child, lifetime).await
    }

    /// Ends the child and its own children; calls to it get `stopped` until it is spawned again.
    ///
    /// # Errors
    /// When the call gave no result of its own.
    pub async fn stop(child: &ActorId) -> Result<(), CallError> {
        turn::before_call()?;
        host::stop(child).await
    }

    /// Calls `on_terminated` when that actor stops for good or its silo is lost.
    ///
    /// # Errors
    /// When the call gave no result of its own.
    pub async fn watch(target: &ActorId) -> Result<(), CallError> {
        turn::before_call()?;
        host::watch(target).await
    }
}

/// What a parent is told about a child that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who.
    pub child: ActorId,
    /// The trap or the error, one line.
    pub reason: String,
    /// Failures within the strategy's window, this one included.
    pub count: u32,
}

/// What a parent does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directive {
    /// The child alone goes on, after a trap with a new instance; it is not counted.
    Resume,
    /// The strategy's restart.
    Restart,
    /// The child alone ends for good.
    Stop,
    /// The parent fails too.
    Escalate,
}

#[cfg(test)]
mod host {
    //! A host that has seen what was asked of it.

    use std::cell::RefCell;

    use crate::{ActorId, CallError, Lifetime};

    thread_local! {
        pub(super) static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn asked(what: String) -> Result<(), CallError> {
        ASKED.with_borrow_mut(|asked| asked.push(what));
        Ok(())
    }

    quark_sdk_macros::either! {
        pub(super) async fn spawn(child: &ActorId, lifetime: Lifetime) -> Result<(), CallError> {
            asked(format!("spawn {} {lifetime:?}", child.key))
        }

        pub(super) async fn stop(child: &ActorId) -> Result<(), CallError> {
            asked(format!("stop {}", child.key))
        }

        pub(super) async fn watch(target: &ActorId) -> Result<(), CallError> {
            asked(format!("watch {}", target.key))
        }
    }
}

#[cfg(all(test, not(feature = "async")))]
mod tests {
    use super::*;
    use crate::rt::{Handle, hook_exclusive, hook_shared};
    use crate::{Actor, Kind, State};

    #[derive(Default, Serialize, Deserialize)]
    struct Parent {
        failures: State<Vec<Failure>>,
        exclusive: u32,
    }

    impl Kind for Parent {
        const KIND: &'static str = "t:t/ts#parent";
    }

    impl Actor for Parent {
        const EXCLUSIVE: bool = true;
        const HOOKS: bool = false;
    }

    fn failure(count: u32) -> Failure {
        Failure { child: ActorId::of::<Parent>("c"), reason: "boom".into(), count }
    }

    #[test]
    fn a_child_is_named_by_its_type() {
        let id = ActorId::of::<Parent>("c");
        assert_eq!((&*id.kind, &*id.key), ("t:t/ts#parent", "c"));
    }

    #[test]
    fn what_waits_is_a_call() {
        let child = ActorId::of::<Parent>("c");
        let handle = Handle::<Parent>::open("a");
        let all = |_: &Parent| -> Result<(), CallError> {
            spawn(&child, Lifetime::Transient)?;
            watch(&child)?;
            stop(&child)
        };
        assert_eq!(handle.shared(all, Err), Ok(()));
        let refused = handle.exclusive(|_| spawn(&child, Lifetime::Permanent), Err);
        assert!(matches!(refused, Err(CallError::Denied(text)) if text.contains("self.call")));
        assert_eq!(handle.exclusive(|it| it.call(|| stop(&child)), Err), Ok(()));
        host::ASKED
            .with_borrow(|asked| assert_eq!(*asked, ["spawn c Lifetime::Transient", "watch c", "stop c", "stop c"]));
    }

    #[test]
    fn a_hook_is_a_turn_that_finds_and_keeps_the_state() {
        let handle = Handle::<Parent>::open("a");
        let decided = hook_shared("a", |it: &Parent| {
            it.failures.update(|failures| failures.push(failure(1)));
            Directive::Stop
        });
        hook_exclusive("a", |it: &mut Parent| it.exclusive += 1);
        assert_eq!(decided, Directive::Stop);
        let seen = handle.shared(|it| Ok((it.failures.get(), it.exclusive)), Err::<_, CallError>);
        assert_eq!(seen, Ok((vec![failure(1)], 1)));
        drop(handle);
        let again = Handle::<Parent>::open("a");
        assert_eq!(again.shared(|it| it.exclusive, |_| 0), 1, "it was stored");
    }

    #[test]
    #[should_panic(expected = "Deadlock")]
    fn a_directive_that_cannot_be_given_is_a_trap() {
        let handle = Handle::<Parent>::open("a");
        handle
            .exclusive(|it| it.call(|| Ok::<_, CallError>(hook_shared("a", |_: &Parent| Directive::Resume))), Err)
            .ok();
    }

    #[test]
    fn without_a_hook_the_strategy_rules() {
        assert_eq!(Parent::hook_child_failed("a", failure(1)), Directive::Restart);
    }
}
