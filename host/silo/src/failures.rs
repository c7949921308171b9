//! The last failure of each actor that failed lately.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use quark_core::id::ActorId;

use crate::api::FailureReport;

/// The most actors whose last failure is remembered.
const FAILURES_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Failures(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_actor: HashMap<ActorId, Failure>,
    /// In the order in which they failed first, in which they are forgotten: no storm of failures pays
    /// for a search.
    order: VecDeque<ActorId>,
}

struct Failure {
    report: FailureReport,
    /// It has not woken since.
    down: bool,
}

impl Failures {
    pub(crate) fn add(&self, id: &ActorId, reason: String, at_ms: u64) {
        let mut kept = self.0.lock();
        if let Some(failure) = kept.by_actor.get_mut(id) {
            let count = failure.report.count + 1;
            *failure = Failure { report: FailureReport { reason, at_ms, count }, down: true };
            return;
        }
        if kept.order.len() >= FAILURES_MAX
            && let Some(first) = kept.order.pop_front()
        {
            kept.by_actor.remove(&first);
        }
        kept.order.push_back(id.clone());
        kept.by_actor.insert(id.clone(), Failure { report: FailureReport { reason, at_ms, count: 1 }, down: true });
    }

    /// Whether an actor that wakes does so after a failure that it has not woken after.
    pub(crate) fn woke(&self, id: &ActorId) -> bool {
        let mut kept = self.0.lock();
        // An idle silo's wakings should not hash for nothing.
        let failed = if kept.by_actor.is_empty() { None } else { kept.by_actor.get_mut(id) };
        failed.is_some_and(|failure| std::mem::replace(&mut failure.down, false))
    }

    pub(crate) fn last(&self, id: &ActorId) -> Option<FailureReport> {
        self.0.lock().by_actor.get(id).map(|failure| failure.report.clone())
    }
}

#[cfg(test)]
mod tests {
    use quark_core::id::{Key, KindName};

    use super::*;

    fn id(key: usize) -> ActorId {
        ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(&key.to_string()).unwrap() }
    }

    #[test]
    fn an_actor_that_fails_again_is_counted_and_wakes_once_after_it() {
        let failures = Failures::default();
        assert!(!failures.woke(&id(1)));
        failures.add(&id(1), "first".into(), 1);
        failures.add(&id(1), "second".into(), 2);
        let last = failures.last(&id(1)).unwrap();
        assert_eq!((last.reason.as_str(), last.at_ms, last.count), ("second", 2, 2));
        assert!(failures.woke(&id(1)) && !failures.woke(&id(1)));
    }

    #[test]
    fn those_that_failed_first_are_forgotten_first() {
        let failures = Failures::default();
        (0..=FAILURES_MAX).for_each(|key| failures.add(&id(key), String::new(), 0));
        assert!(failures.last(&id(0)).is_none() && failures.last(&id(1)).is_some());
        assert_eq!(failures.0.lock().by_actor.len(), FAILURES_MAX);
    }
}
