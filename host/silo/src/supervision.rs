//! What is remembered of actors that failed, and what that means for their next start.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use quark_core::id::{ActorId, KindName};
use quark_core::supervision::{Failures, Supervision, Verdict};
use quark_core::time::Time;
use quark_engine::Trap;

use crate::api::{FailureReport, HeldReport};
use crate::clock::unix_ms;

/// The most actors whose failures are remembered; the one that failed longest ago makes room.
const FAILURES_MAX: usize = 10_000;

/// The failures of this silo's actors. They outlive the activations, and not the silo.
#[derive(Default)]
pub(crate) struct Supervised(Mutex<Table>);

#[derive(Default)]
struct Table {
    actors: HashMap<ActorId, Failed>,
    /// By the time of the last failure.
    order: BTreeMap<u64, ActorId>,
    next: u64,
}

struct Failed {
    failures: Failures,
    report: FailureReport,
    /// It has not woken since.
    down: bool,
    order: u64,
}

impl Table {
    fn remember(&mut self, id: &ActorId, trap: &Trap) -> &mut Failed {
        if !self.actors.contains_key(id)
            && self.actors.len() >= FAILURES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.actors.remove(&oldest);
        }
        self.next += 1;
        let order = self.next;
        let report = FailureReport { reason: String::new(), at_ms: 0, count: 0 };
        let new = || Failed { failures: Failures::default(), report, down: true, order };
        let failed = self.actors.entry(id.clone()).or_insert_with(new);
        self.order.remove(&failed.order);
        self.order.insert(order, id.clone());
        failed.order = order;
        failed.down = true;
        failed.report = FailureReport { reason: trap.to_string(), at_ms: unix_ms(), count: failed.report.count + 1 };
        failed
    }
}

impl Supervised {
    /// Remembers a failure. What the policy says about the actor's restart, if it is of the kind that counts.
    pub(crate) fn failed(&self, id: &ActorId, trap: &Trap, policy: &Supervision, now: Time) -> Option<Verdict> {
        let mut table = self.0.lock();
        let failed = table.remember(id, trap);
        trap.counts().then(|| failed.failures.failed(policy, now, rand::random()))
    }

    /// Remembers the failure of a child, about which its parent decides.
    pub(crate) fn remember(&self, id: &ActorId, trap: &Trap) {
        self.0.lock().remember(id, trap);
    }

    /// What the policy says about a failure that is remembered already.
    pub(crate) fn judge(&self, id: &ActorId, policy: &Supervision, now: Time) -> Verdict {
        let mut table = self.0.lock();
        let failed = table.actors.get_mut(id);
        failed.map_or(Verdict::Restart(now), |failed| failed.failures.failed(policy, now, rand::random()))
    }

    /// Whether an actor that wakes does so after a failure that it has not woken after.
    pub(crate) fn woke(&self, id: &ActorId) -> bool {
        let mut table = self.0.lock();
        // An idle silo's wakings should not hash for nothing.
        let failed = if table.actors.is_empty() { None } else { table.actors.get_mut(id) };
        failed.is_some_and(|failed| std::mem::replace(&mut failed.down, false))
    }

    /// What holds the actor back now.
    pub(crate) fn verdict(&self, id: &ActorId, now: Time) -> Option<Verdict> {
        let table = self.0.lock();
        let failed = if table.actors.is_empty() { None } else { table.actors.get(id) };
        failed?.failures.verdict(now)
    }

    /// Why the actor must not be woken now, if it failed too often.
    pub(crate) fn cools(&self, id: &ActorId, now: Time) -> Option<Trap> {
        let Some(Verdict::CoolDown(until)) = self.verdict(id, now) else { return None };
        let reason = self.last_failure(id).map(|failure| failure.reason).unwrap_or_default();
        Some(Trap::CoolsDown { retry_ms: millis(until.since(now)), reason })
    }

    /// That actor may start at once.
    pub(crate) fn forgive(&self, id: &ActorId) {
        if let Some(failed) = self.0.lock().actors.get_mut(id) {
            failed.failures.forgive();
        }
    }

    /// So may all actors of those kinds: another version of them was deployed.
    pub(crate) fn forgive_kinds(&self, of: impl Fn(&KindName) -> bool) {
        let mut table = self.0.lock();
        let affected = table.actors.iter_mut().filter(|(id, _)| of(&id.kind));
        affected.for_each(|(_, failed)| failed.failures.forgive());
    }

    pub(crate) fn last_failure(&self, id: &ActorId) -> Option<FailureReport> {
        self.0.lock().actors.get(id).map(|failed| failed.report.clone())
    }

    /// What holds the actor back, for people.
    pub(crate) fn held(&self, id: &ActorId, policy: &Supervision, now: Time) -> Option<HeldReport> {
        let table = self.0.lock();
        let failures = &table.actors.get(id)?.failures;
        let verdict = failures.verdict(now)?;
        let why = if matches!(verdict, Verdict::Restart(_)) { "backoff" } else { "cool-down" };
        let left_ms = millis(verdict.until().since(now));
        Some(HeldReport { why: why.into(), left_ms, failures: failures.count(policy, now) })
    }
}

/// Rounded up, so that a repeat after it is late enough.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use quark_core::id::Key;

    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() }
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_failure_makes_room() {
        let (table, policy, trap) = (Supervised::default(), Supervision::default(), Trap::Guest("boom".into()));
        let fail = |n: usize| table.failed(&actor(&n.to_string()), &trap, &policy, Time(1));
        (0..FAILURES_MAX).for_each(|n| assert_eq!(fail(n), Some(Verdict::Restart(Time(1)))));
        fail(0);
        fail(FAILURES_MAX);
        assert_eq!(table.last_failure(&actor("0")).unwrap().count, 2, "it failed again, so it is not the oldest");
        assert_eq!(table.last_failure(&actor("1")), None);
        assert_eq!(table.0.lock().order.len(), FAILURES_MAX);
    }

    #[test]
    fn what_is_the_stores_fault_does_not_hold_an_actor_back() {
        let (table, policy) = (Supervised::default(), Supervision::default());
        let trap = Trap::Commit(quark_core::commit::CommitError::Unknown);
        (0..50).for_each(|_| assert_eq!(table.failed(&actor("a"), &trap, &policy, Time(1)), None));
        assert_eq!(table.last_failure(&actor("a")).unwrap().count, 50);
        assert!(table.woke(&actor("a")) && !table.woke(&actor("a")));
    }

    #[test]
    fn too_many_failures_cool_down_until_somebody_forgives() {
        let (table, policy, trap) = (Supervised::default(), Supervision::default(), Trap::Guest("boom".into()));
        let a = actor("a");
        (0..11).for_each(|_| assert!(table.failed(&a, &trap, &policy, Time(1)).is_some()));
        let Some(Trap::CoolsDown { retry_ms: 60_000, reason }) = table.cools(&a, Time(1)) else { panic!() };
        assert_eq!(reason, "boom");
        assert_eq!(table.held(&a, &policy, Time(1)).unwrap().why, "cool-down");
        table.forgive_kinds(|kind| *kind == a.kind);
        assert_eq!(table.cools(&a, Time(1)), None);
        table.failed(&a, &trap, &policy, Time(1));
        table.failed(&a, &trap, &policy, Time(1));
        assert_eq!(table.held(&a, &policy, Time(1)).unwrap().why, "backoff");
        table.forgive(&a);
        assert_eq!(table.held(&a, &policy, Time(1)), None);
    }
}
