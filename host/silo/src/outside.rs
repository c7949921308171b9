//! What an instance asks of its silo.

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use quark_core::activation::Turn;
use quark_core::commit::CommitError;
use quark_core::envelope::{Awaits, Path};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::journal::{Entry, Snapshot};
use quark_core::reminders::Reminder;
use quark_core::time::Time;
use quark_core::timers::{NewTimer, TimerRefusal};
use quark_engine::{CallFailure, Calling, JournalError, Level, OutgoingCall, Outside, Owned, Reached, Returned};

use crate::activation::{Activation, MidTurn};
use crate::dispatch::{Outgoing, Route};
use crate::kinds::Served;
use crate::silo::Inner;
use crate::store::StoreError;

/// The surroundings of one activation's instance. Weak, since the activation owns the instance.
pub(crate) struct ActorOutside {
    activation: Weak<Activation>,
    served: Arc<Served>,
    awaits: Awaits,
    /// Where its last call went: most go there again.
    last: Mutex<Option<Box<Route>>>,
}

impl ActorOutside {
    pub(crate) fn of(activation: Weak<Activation>, served: Arc<Served>) -> Arc<dyn Outside> {
        let awaits = served.component.awaits(served.at);
        Arc::new(Self { activation, served, awaits, last: Mutex::default() })
    }

    /// Neither is there any more only while the silo is being dropped with the turn still running.
    fn own(&self) -> Option<(Arc<Inner>, Arc<Activation>)> {
        let activation = self.activation.upgrade()?;
        Some((activation.silo.upgrade()?, activation))
    }
}

/// What a guest is told to wait when its silo is just stopping.
const STOPPING_RETRY_MS: u64 = 1000;

pub(crate) fn unread(error: StoreError) -> JournalError {
    match error {
        StoreError::Unavailable { retry_ms, .. } => JournalError::Unavailable(retry_ms),
        StoreError::Damaged(reason) => JournalError::Damaged(reason),
    }
}

/// All that the turn wrote is durable: the call leaves.
fn send(
    silo: &Arc<Inner>,
    last: Option<&Mutex<Option<Box<Route>>>>,
    (from, awaits): (&ActorId, Awaits),
    call: OutgoingCall,
) -> Calling {
    let OutgoingCall { to, work, from_method, deadline, path, chain, turn, call, timeout, write: _ } = call;
    let path = path.with_that(from.clone(), from_method, (turn.generation, turn.number), call, awaits);
    let outgoing = Outgoing { path, chain, deadline, timeout };
    silo.call_from(last, to, outgoing, work, Instant::now())
}

impl ActorOutside {
    fn send(&self, mut call: OutgoingCall) -> Calling {
        let Some((silo, activation)) = self.own() else {
            return Calling::Done(Err(CallFailure::Commit(CommitError::Fenced)));
        };
        // Of a hook that may have several calls under way it is not known which: it has no number.
        let hook = call.turn.number == 0 && self.awaits == Awaits::Several;
        let awaits = if hook { Awaits::Unknown } else { self.awaits };
        match activation.commit_point(&silo, call.turn, std::mem::replace(&mut call.write, Reached::Free(None))) {
            MidTurn::Open => send(&silo, Some(&self.last), (&activation.id, awaits), call),
            MidTurn::Failed(error) => Calling::Done(Err(CallFailure::Commit(error))),
            point @ MidTurn::Wait(_) => Calling::Waits(Box::pin(async move {
                point.wait().await.map_err(CallFailure::Commit)?;
                match send(&silo, None, (&activation.id, awaits), call) {
                    Calling::Done(answer) => answer,
                    Calling::Waits(answer) => answer.await,
                }
            })),
        }
    }

    /// The same where turns are recorded: how long it took is noted.
    fn send_traced(&self, call: OutgoingCall) -> Calling {
        let traced = self.activation.upgrade().and_then(|activation| activation.traced(call.turn));
        let Some(traced) = traced else { return self.send(call) };
        let since = Instant::now();
        match self.send(call) {
            Calling::Waits(answer) => Calling::Waits(Box::pin(async move {
                let answer = answer.await;
                traced.called(since.elapsed());
                answer
            })),
            done @ Calling::Done(_) => {
                traced.called(since.elapsed());
                done
            }
        }
    }
}

impl Outside for ActorOutside {
    fn call(&self, call: OutgoingCall) -> Calling {
        if self.served.is_traced() { self.send_traced(call) } else { self.send(call) }
    }

    fn is_given_up(&self, turn: Turn, path: &Path) -> bool {
        let Some((silo, activation)) = self.own() else { return true };
        activation.is_given_up(turn)
            || path.frames().any(|frame| {
                let turn = Turn { generation: frame.generation, number: frame.turn };
                let above = silo.catalog.get(&frame.actor);
                above.is_none_or(|above| !above.may_run(turn) || above.is_given_up(turn))
            })
    }

    fn waits(&self, turn: Turn, call: u32) {
        self.activation.upgrade().iter().for_each(|activation| activation.waits(turn, call));
    }

    fn resumes(&self, turn: Turn, call: u32) {
        self.activation.upgrade().iter().for_each(|activation| activation.resumes(turn, call));
    }

    fn returning(&self) -> Owned<Result<Returned, CommitError>> {
        let (own, served) = (self.own(), self.served.clone());
        Box::pin(async move {
            let Some((silo, activation)) = own else { return Err(CommitError::Fenced) };
            activation.returning(&silo, &served).await
        })
    }

    fn staged(&self, turn: Turn) {
        self.activation.upgrade().iter().for_each(|activation| activation.staged(turn));
    }

    fn reaches(&self, turn: Turn) -> bool {
        self.activation.upgrade().is_none_or(|activation| activation.reaches(turn))
    }

    fn commit(&self, turn: Turn, write: Reached) -> Owned<Result<u64, CommitError>> {
        let Some((silo, activation)) = self.own() else { return Box::pin(async { Err(CommitError::Fenced) }) };
        let point = activation.commit_point(&silo, turn, write);
        Box::pin(async move {
            point.wait().await?;
            Ok(activation.machine.lock().turns.loaded_as().map_or(0, |(_, etag)| etag))
        })
    }

    fn start_timer(&self, turn: Turn, timer: NewTimer<'_>) -> Result<(), TimerRefusal> {
        self.own().map_or(Ok(()), |(silo, activation)| activation.start_timer(&silo, turn, timer))
    }

    fn stop_timer(&self, name: &str) -> bool {
        self.own().is_some_and(|(silo, activation)| activation.stop_timer(&silo, name))
    }

    fn journal(&self, first: u64, limit: usize) -> Owned<Result<Vec<Entry>, JournalError>> {
        let own = self.own();
        Box::pin(async move {
            let (silo, activation) = own.ok_or(JournalError::Unavailable(STOPPING_RETRY_MS))?;
            silo.store.journal(&activation.id, first, limit).await.map_err(unread)
        })
    }

    fn journal_snapshot(&self) -> Owned<Result<Option<Snapshot>, JournalError>> {
        let own = self.own();
        Box::pin(async move {
            let (silo, activation) = own.ok_or(JournalError::Unavailable(STOPPING_RETRY_MS))?;
            silo.store.journal_snapshot(&activation.id).await.map_err(unread)
        })
    }

    fn reminders(&self, _: Turn) -> Owned<Result<Vec<Reminder>, String>> {
        let Some((silo, activation)) = self.own() else {
            return Box::pin(async { Err("the silo is stopping".into()) });
        };
        let before = activation.after_commits();
        Box::pin(async move {
            before.wait().await.map_err(|error| error.to_string())?;
            silo.store.reminders(&activation.id).await.map_err(|error| error.to_string())
        })
    }

    fn children(&self) -> Vec<ActorId> {
        let Some(activation) = self.activation.upgrade() else { return Vec::new() };
        let machine = activation.machine.lock();
        machine.standing().children.iter().map(|child| child.id.clone()).collect()
    }

    fn unwatch(&self, target: &ActorId) {
        self.own().iter().for_each(|(silo, activation)| silo.watches.remove(&activation.id, target));
    }

    fn check_tell(&self, to: &ActorId, method: &str, json: &str) -> Result<Vec<u8>, CallError> {
        let (silo, _) = self.own().ok_or_else(|| CallError::Unreachable("the silo is stopping".into()))?;
        silo.encode_tell(to, method, json)
    }

    fn etag(&self) -> Option<u64> {
        let activation = self.activation.upgrade()?;
        let loaded = activation.machine.lock().turns.loaded_as();
        loaded.map(|(_, etag)| etag).filter(|etag| *etag > 0)
    }

    fn now(&self) -> Time {
        self.own().map_or(Time::NEVER, |(silo, _)| silo.clock.now())
    }

    fn random(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        rand::fill(&mut bytes[..]);
        bytes
    }

    fn log(&self, level: Level, line: &str) {
        let Some((_, activation)) = self.own().filter(|(silo, _)| silo.log_allowed()) else { return };
        let (actor, deployment) = (&activation.id, &self.served.deployment);
        match level {
            Level::Trace => tracing::trace!(target: "actor", %actor, deployment, "{line}"),
            Level::Debug => tracing::debug!(target: "actor", %actor, deployment, "{line}"),
            Level::Info => tracing::info!(target: "actor", %actor, deployment, "{line}"),
            Level::Warn => tracing::warn!(target: "actor", %actor, deployment, "{line}"),
            Level::Error => tracing::error!(target: "actor", %actor, deployment, "{line}"),
        }
    }
}
