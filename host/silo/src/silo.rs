//! One silo: every part built in the order of its needs, and stopped in reverse.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quark_core::activation::{Message as _, Why};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_engine::{Cache, Engine, EngineConfig, EngineError, Trap};
use tokio::task::JoinHandle;

use crate::activation::Activation;
use crate::capacity::{self, Machine, TooMany};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::SiloConfig;
use crate::dead_letters::{DeadLetters, Letter, Reason};
use crate::deploy::Deploys;
use crate::families::Families;
use crate::families::watches::Watches;
use crate::kinds::Kinds;
use crate::lasting::LongTurns;
use crate::machine::Pressure;
use crate::message::{Message, Origin, Work};
use crate::metrics::Metrics;
use crate::outbox::{self, Outbox};
use crate::reminders::{self, Reminders};
use crate::scratch::SCRATCHES_MAX;
use crate::store::{Store, StoreError};
use crate::supervision::Supervised;
use crate::thrash::Thrash;
use crate::timers::{self, Timers};
use crate::traces::Traces;
use crate::waits;

/// How often idle activations are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a stopping silo lets messages end, and hooks after them.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// How often a stopping silo looks whether all have left.
const STOP_LOOK: Duration = Duration::from_millis(20);
/// Lines that actors may log in a second, all together, before lines are dropped.
const LOG_LINES_PER_SECOND: u64 = 2_000;

/// Why a silo did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It was asked to hold more than it can.
    #[error(transparent)]
    Capacity(#[from] TooMany),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store's deployments cannot be read.
    #[error("the deployments cannot be read from the store: {0}")]
    Store(#[from] StoreError),
}

/// A running silo. Cheap to clone.
#[derive(Clone)]
pub struct Silo(pub(crate) Arc<Inner>);

/// All parts of a silo.
pub(crate) struct Inner {
    pub(crate) config: SiloConfig,
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) cache: Cache,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kinds: Kinds,
    pub(crate) deploys: Deploys,
    pub(crate) catalog: Catalog,
    pub(crate) pressure: Pressure,
    pub(crate) thrash: Thrash,
    pub(crate) outbox: Outbox,
    pub(crate) timers: Timers,
    pub(crate) reminders: Reminders,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) waits: waits::Shared,
    pub(crate) traces: Arc<Traces>,
    /// How many more instances may look back at once.
    pub(crate) scratch: tokio::sync::Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) supervised: Supervised,
    pub(crate) families: Families,
    pub(crate) watches: Watches,
    pub(crate) long_turns: Arc<LongTurns>,
    log_second: AtomicU64,
    log_lines: AtomicU64,
    ends_waits: AtomicBool,
    stopping: AtomicBool,
    stopped: AtomicBool,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Silo {
    /// Starts a silo on a store. Must be called within a tokio runtime, which then runs the turns.
    ///
    /// # Errors
    /// When the machine cannot hold the instances, or the store cannot be read.
    pub async fn start(config: SiloConfig, store: Arc<dyn Store>, cache: Cache) -> Result<Self, StartError> {
        let machine = Machine::look();
        let budget = capacity::budget(&machine, config.memory_profile, config.capacity)?;
        let [roomy, concurrent, dense] = budget.slots;
        let engine = Engine::new(EngineConfig { roomy: [roomy, concurrent], dense, profile: config.memory_profile })?;
        let clock = Clock::start();
        let metrics = Metrics::new();
        let long_turns = Arc::new(LongTurns::new(metrics.long_turns.clone()));
        let inner = Arc::new(Inner {
            clock,
            engine,
            cache,
            store,
            kinds: Kinds::default(),
            deploys: Deploys::default(),
            catalog: Catalog::new(budget),
            pressure: Pressure::of(&machine),
            thrash: Thrash::default(),
            outbox: Outbox::new(),
            timers: Timers::default(),
            reminders: Reminders::new(clock),
            dead_letters: DeadLetters::default(),
            waits: waits::Shared::default(),
            traces: Arc::default(),
            scratch: tokio::sync::Semaphore::new(SCRATCHES_MAX),
            metrics,
            supervised: Supervised::default(),
            families: Families::default(),
            watches: Watches::default(),
            long_turns,
            log_second: AtomicU64::new(0),
            log_lines: AtomicU64::new(0),
            ends_waits: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
            config,
        });
        inner.restore_deployments().await?;
        inner.spawn(outbox::relay(inner.clone()));
        inner.spawn(timers::run(inner.clone()));
        inner.spawn(reminders::run(inner.clone()));
        inner.spawn(sweep(inner.clone()));
        Ok(Self(inner))
    }

    /// The silo is about to stop: from now on no message waits for the restart of an actor that failed.
    pub fn end_waits(&self) {
        self.0.ends_waits.store(true, Ordering::Relaxed);
        self.0.catalog.for_each(Activation::cut_short);
    }

    /// Ends what runs, runs the hooks, makes everything durable and lets go of the store. Messages
    /// that come meanwhile are refused.
    pub async fn stop(&self) {
        let silo = &self.0;
        silo.stopping.store(true, Ordering::Relaxed);
        silo.ends_waits.store(true, Ordering::Relaxed);
        silo.timers.look();
        silo.reminders.look();
        let end = Instant::now() + STOP_GRACE;
        while silo.catalog.len() > 0 && Instant::now() < end {
            silo.catalog.for_each(|activation| {
                if activation.machine.lock().turns.deactivate(Why::Shutdown) {
                    silo.spawn(activation.clone().run(None));
                }
            });
            tokio::time::sleep(STOP_LOOK).await;
        }
        let left = silo.catalog.len();
        if left > 0 {
            tracing::warn!(left, "some actors did not end in time; what they had not committed is lost");
            silo.bury_what_waits();
        }
        silo.stopped.store(true, Ordering::Relaxed);
        silo.outbox.look();
        silo.store.close().await;
    }
}

impl Inner {
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(future));
    }

    pub(crate) fn spawn_joined<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(future)
    }

    pub(crate) fn ends_waits(&self) -> bool {
        self.ends_waits.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// A message that will not be handled here: its caller is told, its row is tried again.
    pub(crate) fn answer(self: &Arc<Self>, origin: Origin, error: CallError) {
        match origin {
            Origin::Caller(to) => drop(to.send(Err(error))),
            Origin::Outbox(id) => self.outbox.failed(&id, &error),
            Origin::Timer(firing) => self.timers.ended(firing, self.clock.now()),
            Origin::Snapshot => {}
            Origin::Reminder(row) => self.reminder_failed(&row, &error),
        }
    }

    pub(crate) fn answer_all(self: &Arc<Self>, messages: Vec<Message>, error: &CallError) {
        for Message { work, waits, .. } in messages {
            drop(waits);
            match work {
                Work::Method { origin, .. } => self.answer(origin, error.clone()),
                Work::Operate(operate) => drop(operate.reply.send(Err(error.clone().into()))),
                Work::Timer(firing) => self.timers.ended(firing, self.clock.now()),
                Work::Notice(notice) => drop(notice.reply.send(Err(error.clone()))),
                Work::Adopt(adopt) => drop(adopt.reply.send(Err(error.clone()))),
                Work::Revive | Work::Snapshot => {}
            }
        }
    }

    /// A message whose caller has stopped waiting before its turn.
    pub(crate) fn expired(self: &Arc<Self>, to: &ActorId, message: Message) {
        // Of a ring: that was its answer, as of a call that never left.
        if message.waits.as_ref().is_some_and(|waits| !waits.begins()) {
            return;
        }
        let late = self.clock.now() >= message.head.deadline;
        let reason = if late { Reason::Expired } else { Reason::Cancelled };
        self.trace_expired(to, &message, late);
        if !message.is_own() {
            self.bury(reason, "", to, &message);
        }
        self.answer_all(vec![message], &CallError::DeadlineExceeded);
    }

    /// Tells people of a message that nobody will handle.
    pub(crate) fn bury(&self, reason: Reason, detail: &str, to: &ActorId, message: &Message) {
        let (method, from, tell) = (message.method(), message.head.sender(), message.is_tell());
        self.dead_letters.add(reason, detail, &Letter { to, method, from, tell });
    }

    /// The silo ends: calls that wait now are never handled. Tells are rows of the store, and wait for
    /// the next start.
    fn bury_what_waits(self: &Arc<Self>) {
        let mut waiting = Vec::new();
        self.catalog.for_each(|activation| {
            let messages = activation.machine.lock().turns.take_waiting();
            waiting.push((activation.id.clone(), messages));
        });
        let calls = |(id, messages): (ActorId, Vec<Message>)| {
            messages.into_iter().filter(|message| message.is_answered()).map(move |message| (id.clone(), message))
        };
        let mut all = 0;
        for (id, message) in waiting.into_iter().flat_map(calls) {
            all += 1;
            self.bury(Reason::Shutdown, "", &id, &message);
            self.answer_all(vec![message], &CallError::Unreachable("the silo stopped before its turn".into()));
        }
        tracing::warn!(all, "calls that waited for their turns were not handled");
    }

    /// Counts an actor's own failure and says so. It has been remembered before.
    pub(crate) fn report_failure(&self, id: &ActorId, method: &str, trap: &Trap) {
        if !trap.is_own_failure() {
            return;
        }
        self.metrics.failures.increment(1);
        if self.log_allowed() {
            tracing::warn!(actor = %id, method, reason = %trap, "an actor failed");
        }
    }

    /// A `deactivate` hook failed. The actor leaves memory all the same, so nothing waits for a restart.
    pub(crate) fn hook_failed(&self, id: &ActorId, is_child: bool, trap: &Trap) {
        if is_child {
            self.supervised.remember(id, trap);
        } else {
            self.supervised.failed(id, trap, &self.supervision_of(id), self.clock.now());
        }
        self.report_failure(id, "deactivate", trap);
    }

    /// Whether one more line of an actor's log is within the rate.
    pub(crate) fn log_allowed(&self) -> bool {
        let second = self.clock.now().0 / 1_000_000_000;
        if self.log_second.swap(second, Ordering::Relaxed) != second {
            self.log_lines.store(0, Ordering::Relaxed);
        }
        let allowed = self.log_lines.fetch_add(1, Ordering::Relaxed) < LOG_LINES_PER_SECOND;
        if !allowed {
            self.metrics.log_lines_dropped.increment(1);
        }
        allowed
    }
}

/// Puts activations to sleep that nobody has used for their kind's time.
async fn sweep(silo: Arc<Inner>) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !silo.is_stopped() {
        every.tick().await;
        silo.wake_parents();
        let now = silo.clock.now().0;
        silo.catalog.for_each(|activation| {
            let Some(served) = silo.kinds.get(&activation.id.kind) else { return };
            let timeout = u64::try_from(served.kind().policy.idle_timeout.as_nanos()).unwrap_or(u64::MAX);
            let idle = now.saturating_sub(activation.last_used.load(Ordering::Relaxed));
            let awake_until = activation.awake_until.load(Ordering::Relaxed);
            if idle >= timeout && awake_until <= now && activation.machine.lock().turns.deactivate(Why::Idle) {
                silo.spawn(activation.clone().run(None));
            }
        });
    }
}
