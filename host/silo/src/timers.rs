//! The timers of this silo's activations: one task that sleeps until the next one is due.
//!
//! An activation keeps its place here in `Activation::timers`, and has none before its first timer. Its
//! timers go when its instance does ([`Inner::cancel_timers`]). Whoever holds an activation's machine may
//! take the lock here, never the other way round.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use quark_core::activation::{Admitted, Turn};
use quark_core::envelope::{Chain, Head, Path};
use quark_core::time::Time;
use quark_core::timers::{Begin, Firing, NewTimer, Owner, Text, TimerRefusal};
use tokio::sync::Notify;

use crate::activation::Activation;
use crate::message::{Message, Work};
use crate::silo::Inner;

/// How many timers go into their mailboxes before others get the worker.
const ROUND_MAX: usize = 256;

type State = quark_core::timers::Timers<Weak<Activation>>;

#[derive(Default)]
pub(crate) struct Timers {
    state: Mutex<State>,
    /// A timer is due sooner than all others, or the silo stops.
    sooner: Notify,
}

impl Timers {
    pub(crate) fn len(&self) -> usize {
        self.state.lock().len()
    }

    /// Wakes the task, so that it sees that the silo stops.
    pub(crate) fn look(&self) {
        self.sooner.notify_one();
    }

    fn wake_if(&self, sooner: bool) {
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Whether that firing's turn may begin, with what it is given.
    pub(crate) fn begin(&self, firing: Firing, now: Time) -> Option<Text> {
        let begun = self.state.lock().begin(firing, now);
        match begun {
            Begin::Run(text) => Some(text),
            Begin::Later(sooner) => {
                self.wake_if(sooner);
                None
            }
            Begin::Over => None,
        }
    }

    /// That firing's turn has ended, or could not begin.
    pub(crate) fn ended(&self, firing: Firing, now: Time) {
        let sooner = self.state.lock().ended(firing, now);
        self.wake_if(sooner);
    }
}

impl Activation {
    /// Starts a timer for a turn that runs.
    pub(crate) fn start_timer(&self, silo: &Inner, turn: Turn, timer: NewTimer<'_>) -> Result<(), TimerRefusal> {
        let machine = self.machine.lock();
        // A turn that was given up, and whose instance is about to end. Hooks have no number.
        if turn.number > 0 && !machine.turns.runs(turn) {
            return Ok(());
        }
        let mut state = silo.timers.state.lock();
        let owner = self.timers_place().unwrap_or_else(|| {
            let owner = state.owner(self.me().clone());
            self.timers.store(owner.0 + 1, Ordering::Relaxed);
            owner
        });
        let sooner = state.start(owner, timer, silo.clock.now())?;
        drop(state);
        drop(machine);
        silo.timers.wake_if(sooner);
        Ok(())
    }

    pub(crate) fn stop_timer(&self, silo: &Inner, name: &str) -> bool {
        let mut state = silo.timers.state.lock();
        self.timers_place().is_some_and(|owner| state.stop(owner, name))
    }

    /// Its instance is over, and its timers with it.
    pub(crate) fn cancel_timers(&self, silo: &Inner) {
        silo.watches.forget(&self.id);
        if self.timers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = silo.timers.state.lock();
        if let Some(owner) = self.timers_place() {
            self.timers.store(0, Ordering::Relaxed);
            state.cancel_all(owner);
        }
    }

    /// Changes under the lock on all timers only.
    fn timers_place(&self) -> Option<Owner> {
        self.timers.load(Ordering::Relaxed).checked_sub(1).map(Owner)
    }
}

/// Puts turns of timers that are due into their mailboxes, until the silo stops.
pub(crate) async fn run(silo: Arc<Inner>) {
    while !silo.is_stopping() {
        if !fire_round(&silo) {
            tokio::task::yield_now().await;
            continue;
        }
        let next = silo.timers.state.lock().next_due();
        let sooner = silo.timers.sooner.notified();
        match next {
            Some(at) => drop(tokio::time::timeout_at(silo.clock.instant(at), sooner).await),
            None => sooner.await,
        }
    }
}

/// False when there is more to do.
fn fire_round(silo: &Arc<Inner>) -> bool {
    for _ in 0..ROUND_MAX {
        let now = silo.clock.now();
        let due = silo.timers.state.lock().due(now).map(|(activation, firing)| (activation.clone(), firing));
        let Some((activation, firing)) = due else { return true };
        // One that is being dropped takes its timers along.
        if let Some(activation) = activation.upgrade() {
            fire(silo, &activation, firing, now);
        }
    }
    false
}

fn fire(silo: &Arc<Inner>, activation: &Arc<Activation>, firing: Firing, now: Time) {
    // It begins a chain.
    let chain = Chain { request_id: format!("{:032x}", rand::random::<u128>()), ..Chain::default() };
    let head = Head { teller: None, deadline: Time::NEVER, path: Path::START, chain: Arc::new(chain) };
    match activation.admit(Message::new(head, Work::Timer(firing), 0, None), now) {
        Ok(Admitted::Token) => silo.spawn(activation.clone().run(None)),
        Ok(Admitted::Waits) => {}
        Err(_) => silo.timers.ended(firing, now),
    }
}
