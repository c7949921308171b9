//! What the macro `actor` makes of a struct.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wit::state;
use crate::{Activation, ActorId, CallError, Deactivation, Directive, Failure, Firing, StateError, turn};

quark_sdk_macros::either! {
    /// An actor's state and its hooks. `#[actor]` implements it.
    pub trait Actor: Default + Serialize + DeserializeOwned + 'static {
        /// The name under which the state is stored.
        const STATE: &'static str = "state";
        /// Some method needs the state for itself, so nobody may enter while it waits.
        #[doc(hidden)]
        const EXCLUSIVE: bool;
        /// There is a hook for the lifecycle.
        #[doc(hidden)]
        const HOOKS: bool;
        /// What it was comes back from its journal, and is no stored value.
        #[doc(hidden)]
        const JOURNALED: bool = false;

        #[doc(hidden)]
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn hook_activate(&mut self, _it: Activation) -> Result<(), String> {
            Ok(())
        }

        #[doc(hidden)]
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn hook_deactivate(&mut self, _why: Deactivation) -> Result<(), String> {
            Ok(())
        }

        #[doc(hidden)]
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn hook_timer(_key: &str, name: String, _payload: Vec<u8>) -> Result<(), String> {
            Err(format!("timer `{name}`: this kind has no `on_timer`"))
        }

        #[doc(hidden)]
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn hook_reminder(_key: &str, firing: Firing) -> Result<(), String> {
            Err(format!("reminder `{}`: this kind has no `on_reminder`", firing.name))
        }

        /// As if nobody had been asked: the manifest's strategy restarts.
        #[doc(hidden)]
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn hook_child_failed(_key: &str, _failure: Failure) -> Directive {
            Directive::Restart
        }

        #[doc(hidden)]
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn hook_terminated(_key: &str, target: ActorId, reason: String) {
            crate::warn!("{}/{} terminated, and this kind has no `on_terminated`: {reason}", target.kind, target.key);
        }

        /// Calls other actors from a `&mut self` method: saves what changed, then runs `calls`, in
        /// which the state can be read and not changed.
        ///
        /// # Errors
        /// Those of `calls`, and the store's.
        #[allow(async_fn_in_trait, reason = "a guest has one thread")]
        async fn call<T, E: From<CallError>>(&self, calls: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
            turn::saved(self, calls).await
        }
    }

    /// Commits what this turn did so far and waits until it is durable; answers the state's e-tag.
    /// In a `&mut self` method it belongs inside [`Actor::call`], like a call.
    ///
    /// # Errors
    /// The store's.
    pub async fn commit() -> Result<String, StateError> {
        turn::before_commit()?;
        state::commit().await
    }
}
