//! Everything that a caller can be told when a call gave no result of its own.

use serde::{Deserialize, Serialize};

/// Why a call gave no result; the same cases as `call-error` in `wit/types.wit`, where each one
/// says whether the work may have been done, and one more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CallError {
    /// The deadline passed.
    #[error("the deadline passed; the work may have been done")]
    DeadlineExceeded,
    /// The outcome cannot be known.
    #[error("the outcome is unknown: {0}; the work may have been done")]
    UnknownOutcome(String),
    /// The caller or an operator gave up.
    #[error("cancelled; the work may have been done")]
    Cancelled,
    /// The callee's turn trapped, or it refused to wake.
    #[error("the actor failed: {0}; nothing since its last own outgoing call was committed")]
    Failed(String),
    /// The actor failed too often, of late with this reason, and is not woken now. Actors get it as
    /// [`Failed`](Self::Failed), since the contract has no case of its own for it.
    #[error(
        "the actor failed too often and cools down; nothing was done, try again in {retry_ms} ms, or end that with \
         `quark start` of what failed; its last failure: {reason}"
    )]
    CoolsDown {
        /// Milliseconds until it may be woken.
        retry_ms: u64,
        /// Of its last failure.
        reason: String,
    },
    /// A call that the callee made failed in turn.
    #[error("a call made by the actor failed: {0}")]
    Downstream(String),
    /// No silo can host the actor now.
    #[error("unreachable: {0}; nothing was done")]
    Unreachable(String),
    /// The actor was stopped by its parent or an operator.
    #[error("the actor is stopped; nothing was done")]
    Stopped,
    /// The mailbox or a quota is full; the wait is in milliseconds.
    #[error("overloaded; nothing was done, try again in {0} ms")]
    Overloaded(u64),
    /// The store cannot be reached or has no room; the wait is in milliseconds.
    #[error("the store is unavailable; nothing was done, try again in {0} ms")]
    Unavailable(u64),
    /// Arguments or result are over this many bytes.
    #[error("too large: more than {0} bytes; nothing was done")]
    TooLarge(u64),
    /// No such kind or method, or the types differ.
    #[error("{0}; nothing was done")]
    Incompatible(String),
    /// The call would wait for itself; the text is the path.
    #[error("deadlock, the call would wait for itself: {0}; nothing was done")]
    Deadlock(String),
    /// This caller may not make this call.
    #[error("denied: {0}; nothing was done")]
    Denied(String),
    /// The idempotency key came before with another method or other arguments. Actors get it as
    /// [`Incompatible`](Self::Incompatible), since the contract has no case of its own for it.
    #[error("{0}; nothing was done")]
    KeyReused(String),
    /// A reason that this version of the contract has no case for.
    #[error("{0}")]
    Other(String),
}

impl CallError {
    /// The case's name in WIT: stable, for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::UnknownOutcome(_) => "unknown-outcome",
            Self::Cancelled => "cancelled",
            Self::Failed(_) | Self::CoolsDown { .. } => "failed",
            Self::Downstream(_) => "downstream",
            Self::Unreachable(_) => "unreachable",
            Self::Stopped => "stopped",
            Self::Overloaded(_) => "overloaded",
            Self::Unavailable(_) => "unavailable",
            Self::TooLarge(_) => "too-large",
            Self::Incompatible(_) => "incompatible",
            Self::Deadlock(_) => "deadlock",
            Self::Denied(_) => "denied",
            Self::KeyReused(_) => "key-reused",
            Self::Other(_) => "other",
        }
    }

    /// Whether the work may have been done, so that a repeat may do it twice.
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        matches!(
            self,
            Self::DeadlineExceeded
                | Self::UnknownOutcome(_)
                | Self::Cancelled
                | Self::Failed(_)
                | Self::Downstream(_)
                | Self::Other(_)
        )
    }

    /// How long to wait before a repeat can help, where that is known; milliseconds.
    #[must_use]
    pub const fn retry_after_ms(&self) -> Option<u64> {
        if let Self::Overloaded(ms) | Self::Unavailable(ms) | Self::CoolsDown { retry_ms: ms, .. } = self {
            return Some(*ms);
        }
        None
    }
}
