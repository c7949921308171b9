//! What a turn knows about itself. Instants are milliseconds since 1970.

use std::time::Duration;

pub use crate::wit::context::{
    caller, cancelled, config, deactivate_soon, deadline, generation, header, idempotency_key, me, now, principal,
    random, request_id, set_header,
};

/// This actor's key.
#[must_use]
pub fn key() -> String {
    me().key
}

/// For each call that this turn makes from now on; never beyond the turn's own deadline.
pub fn set_timeout(each: Duration) {
    crate::wit::context::set_timeout(millis(each));
}

/// Stay in memory at least this long without a message.
pub fn keep_awake(at_least: Duration) {
    crate::wit::context::keep_awake(millis(at_least));
}

pub(crate) fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
