//! Calls by name, with JSON. Where the callee's interface is known, its typed proxy is better.

use std::time::Duration;

use crate::wit::calls;
use crate::{ActorId, CallError, context, turn};

quark_sdk_macros::either! {
    /// Calls a method by its name. `args` is a JSON array, the answer a JSON value.
    ///
    /// # Errors
    /// When the call gave no result of its own.
    pub async fn call(
        target: &ActorId,
        method: &str,
        args: &str,
        timeout: Option<Duration>,
    ) -> Result<String, CallError> {
        turn::before_call()?;
        calls::call(target, method, args, timeout.map(context::millis)).await
    }
}

/// One way: leaves when the turn commits, never if it traps.
///
/// # Errors
/// When the kind, the method or the arguments do not fit.
pub fn tell(target: &ActorId, method: &str, args: &str) -> Result<(), CallError> {
    calls::tell(target, method, args)
}
