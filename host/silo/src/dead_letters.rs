//! Messages that will never be handled: counted by reason, the newest kept to be looked at.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::id::ActorId;

use crate::api::DeadLetter;
use crate::clock::unix_ms;

/// How many are kept; older ones remain in the counts only.
pub(crate) const KEPT_MAX: usize = 1_000;
/// At most one warning for each reason in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its deadline passed before its turn began.
    Expired,
    /// A tell whose turns failed too often.
    Failed,
    /// A tell that no method takes any more.
    Incompatible,
}

impl Reason {
    pub(crate) const ALL: [Self; 3] = [Self::Expired, Self::Failed, Self::Incompatible];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Incompatible => "incompatible",
        }
    }
}

#[derive(Default)]
pub(crate) struct DeadLetters(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    newest: VecDeque<DeadLetter>,
    counts: BTreeMap<Reason, (u64, Option<Instant>)>,
}

impl DeadLetters {
    pub(crate) fn add(&self, reason: Reason, detail: &str, to: &ActorId, method: &str, from: Option<&ActorId>) {
        let mut kept = self.0.lock();
        let (count, warned) = kept.counts.entry(reason).or_default();
        *count += 1;
        if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            *warned = Some(Instant::now());
            tracing::warn!(%to, method, reason = reason.name(), detail, all = *count, "a message is a dead letter");
        }
        if kept.newest.len() >= KEPT_MAX {
            kept.newest.pop_front();
        }
        kept.newest.push_back(DeadLetter {
            to: format!("{}/{}", to.kind, to.key),
            method: method.into(),
            from: from.map(|from| format!("{}/{}", from.kind, from.key)),
            reason: if detail.is_empty() { reason.name().into() } else { format!("{}: {detail}", reason.name()) },
            at_ms: unix_ms(),
        });
    }

    /// The newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<DeadLetter> {
        self.0.lock().newest.iter().rev().take(limit).cloned().collect()
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.0.lock().counts.get(&reason).map_or(0, |(count, _)| *count)
    }
}
