//! All metrics, by name. Handles are made once: counting costs one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Recorder, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use quark_core::activation::Why;
use quark_core::commit::CommitError;

use crate::dead_letters::Reason;

pub(crate) struct Metrics {
    handle: PrometheusHandle,
    calls: Counter,
    turns: Counter,
    /// Of activations that are gone; the others are asked when somebody looks.
    gone: (AtomicU64, AtomicU64),
    pub(crate) activations: Counter,
    pub(crate) failures: Counter,
    pub(crate) child_restarts: Counter,
    pub(crate) escalations: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) deadlocks: Counter,
    pub(crate) suspects: Counter,
    waits_skipped: Counter,
    pub(crate) rewoken: Counter,
    pub(crate) long_turns: Counter,
    pub(crate) timer_turns: Counter,
    pub(crate) reminder_turns: Counter,
    pub(crate) log_lines_dropped: Counter,
    commits: [Counter; 3],
    deactivations: [Counter; 5],
    dead_letters: Vec<(Reason, Counter)>,
    live: Gauge,
    activations_now: Gauge,
    capacity: Gauge,
    tells: Gauge,
    timers: Gauge,
    reminders: Gauge,
    families: Gauge,
    thrashing: Gauge,
}

/// What gauges show when somebody looks.
pub(crate) struct Now {
    pub(crate) calls: u64,
    pub(crate) turns: u64,
    pub(crate) live: usize,
    pub(crate) activations: usize,
    pub(crate) capacity: usize,
    pub(crate) tells: usize,
    pub(crate) timers: usize,
    pub(crate) reminders: usize,
    pub(crate) families: usize,
    pub(crate) waits_skipped: u64,
    pub(crate) thrashing: bool,
    pub(crate) dead: Vec<(Reason, u64)>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || Self::register(handle, &recorder))
    }

    fn register(handle: PrometheusHandle, _recorder: &dyn Recorder) -> Self {
        describe_counter!("quark_calls_total", "Calls that actors let in");
        describe_counter!("quark_turns_total", "Turns that ended, however they ended");
        describe_counter!("quark_activations_total", "Actors that were loaded into memory");
        describe_counter!("quark_deactivations_total", "Activations that left memory, by reason");
        describe_counter!("quark_failures_total", "Traps, refused activations and passed limits");
        describe_counter!("quark_child_restarts_total", "Children that were started again");
        describe_counter!("quark_escalations_total", "Parents that failed because their children did");
        describe_counter!("quark_overloaded_total", "Messages that a full mailbox refused");
        describe_counter!("quark_deadlocks_total", "Calls that were refused since they would wait for themselves");
        describe_counter!("quark_suspects_total", "Looks at calls that might wait for themselves, and waited on");
        describe_counter!(
            "quark_waits_skipped_total",
            "Calls that waited with no look for a deadlock: too many waited"
        );
        describe_counter!("quark_rewoken_total", "Actors woken again soon after they were put to sleep for room");
        describe_counter!("quark_long_turns_total", "Turns that left the workers since they ran for long, each time");
        describe_counter!("quark_timer_turns_total", "Turns of timers that began; they are turns like others too");
        describe_counter!(
            "quark_reminder_turns_total",
            "Turns of reminders that began; they are turns like others too"
        );
        describe_counter!("quark_commits_total", "Commits by outcome");
        describe_counter!("quark_dead_letters_total", "Messages that will never be handled, by reason");
        describe_counter!("quark_log_lines_dropped_total", "Lines of actors over their rate");
        describe_gauge!("quark_live_instances", "Live instances of components");
        describe_gauge!("quark_live_activations", "Actors in memory");
        describe_gauge!("quark_capacity_instances", "The most live instances");
        describe_gauge!("quark_thrashing", "1 while more actors are in use than there is room for");
        describe_gauge!("quark_timers", "Timers of the actors in memory");
        describe_gauge!("quark_reminders_held", "Reminders in memory: those that fire next, and those that fire");
        describe_gauge!(
            "quark_families_at_work",
            "Parents whose children are being ended or started, or wait for that"
        );
        describe_gauge!("quark_tells_held", "Tells on their way to their receivers");
        Self {
            handle,
            calls: counter!("quark_calls_total"),
            turns: counter!("quark_turns_total"),
            gone: Default::default(),
            activations: counter!("quark_activations_total"),
            failures: counter!("quark_failures_total"),
            child_restarts: counter!("quark_child_restarts_total"),
            escalations: counter!("quark_escalations_total"),
            overloaded: counter!("quark_overloaded_total"),
            deadlocks: counter!("quark_deadlocks_total"),
            suspects: counter!("quark_suspects_total"),
            waits_skipped: counter!("quark_waits_skipped_total"),
            rewoken: counter!("quark_rewoken_total"),
            long_turns: counter!("quark_long_turns_total"),
            timer_turns: counter!("quark_timer_turns_total"),
            reminder_turns: counter!("quark_reminder_turns_total"),
            log_lines_dropped: counter!("quark_log_lines_dropped_total"),
            commits: ["ok", "refused", "unknown"].map(|outcome| counter!("quark_commits_total", "outcome" => outcome)),
            deactivations: ["idle", "requested", "memory-pressure", "upgraded", "shutdown"]
                .map(|why| counter!("quark_deactivations_total", "why" => why)),
            dead_letters: Reason::ALL
                .map(|reason| (reason, counter!("quark_dead_letters_total", "reason" => reason.name())))
                .into(),
            live: gauge!("quark_live_instances"),
            activations_now: gauge!("quark_live_activations"),
            capacity: gauge!("quark_capacity_instances"),
            tells: gauge!("quark_tells_held"),
            timers: gauge!("quark_timers"),
            reminders: gauge!("quark_reminders_held"),
            families: gauge!("quark_families_at_work"),
            thrashing: gauge!("quark_thrashing"),
        }
    }

    /// An activation is over that let in so many calls and ran so many turns.
    pub(crate) fn gone(&self, calls: u64, turns: u64) {
        self.gone.0.fetch_add(calls, Ordering::Relaxed);
        self.gone.1.fetch_add(turns, Ordering::Relaxed);
    }

    pub(crate) fn of_gone(&self) -> (u64, u64) {
        (self.gone.0.load(Ordering::Relaxed), self.gone.1.load(Ordering::Relaxed))
    }

    pub(crate) fn commit(&self, outcome: Result<(), CommitError>) {
        let at = match outcome {
            Ok(()) => 0,
            Err(CommitError::Fenced | CommitError::Conflict | CommitError::Unavailable { .. }) => 1,
            Err(CommitError::Unknown) => 2,
        };
        self.commits[at].increment(1);
    }

    pub(crate) fn deactivated(&self, why: Why) {
        let at = match why {
            Why::Idle => 0,
            Why::Requested | Why::Ended => 1,
            Why::MemoryPressure => 2,
            Why::Upgraded => 3,
            Why::Shutdown => 4,
        };
        self.deactivations[at].increment(1);
    }

    /// All of them as Prometheus text.
    pub(crate) fn render(&self, now: Now) -> String {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        let float = |number: usize| number as f64;
        // Both only grow: a lower number, of an activation that was just going, is not taken.
        self.calls.absolute(now.calls);
        self.turns.absolute(now.turns);
        self.waits_skipped.absolute(now.waits_skipped);
        self.live.set(float(now.live));
        self.activations_now.set(float(now.activations));
        self.capacity.set(float(now.capacity));
        self.tells.set(float(now.tells));
        self.timers.set(float(now.timers));
        self.reminders.set(float(now.reminders));
        self.families.set(float(now.families));
        self.thrashing.set(float(usize::from(now.thrashing)));
        for ((_, counter), (_, count)) in self.dead_letters.iter().zip(now.dead) {
            counter.absolute(count);
        }
        self.handle.render()
    }
}
