//! An actor that wakes by its journal: what its guest is given, one after the other, and what that says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::commit::CommitError;
use quark_core::id::ActorId;
use quark_core::journal::{Entry, Next, Replay, Unreplayable};
use wasmtime::component::{Func, Val};

use crate::cell::{Arguments, hook_answer, me};
use crate::error::Trap;
use crate::guest::Guest;
use crate::outside::{JournalError, Level, Outside};

/// How many events are read at once.
const PAGE: usize = 1024;
/// How many events are applied before others get the worker.
const EVENTS_AT_ONCE: u64 = 64;
/// With more than that the actor's log says how to wake faster.
const SLOW: Duration = Duration::from_secs(1);

/// The functions that are called.
#[derive(Clone, Copy)]
pub(crate) struct Journaled {
    pub(crate) restore: Func,
    pub(crate) apply: Func,
}

/// One actor on its way.
pub(crate) struct Waking {
    functions: Journaled,
    replay: Replay,
    host: Arc<dyn Outside>,
    actor: ActorId,
    doing: Doing,
    applied: u64,
    started: Instant,
}

/// What the guest does just now.
#[derive(Clone)]
pub(crate) enum Doing {
    Restore(u64),
    Apply(u64, Arc<str>),
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restore(sequence) => write!(f, "its `restore` of the snapshot up to event {sequence}"),
            Self::Apply(sequence, name) => write!(f, "its `apply` of event {sequence} (`{name}`)"),
        }
    }
}

impl Doing {
    /// The failure, with what it was that trapped.
    pub(crate) fn named(&self, trap: Trap) -> Trap {
        let Trap::Guest(reason) = &trap else { return trap };
        Trap::Guest(format!("{self} trapped: {reason}"))
    }
}

impl Waking {
    /// Of the actor that is shown; none when it never appended anything.
    pub(crate) fn of(guest: &Guest, functions: Journaled) -> Result<Option<Self>, Trap> {
        let member = &guest.member;
        let mark = member.state.mark();
        if mark.last == 0 {
            return Ok(None);
        }
        let replay = Replay::new(mark).map_err(unreplayable)?;
        let (host, actor, doing) = (member.host.clone(), member.actor.clone(), Doing::Restore(mark.snapshot));
        Ok(Some(Self { functions, replay, host, actor, doing, applied: 0, started: Instant::now() }))
    }

    /// What to call next, with which arguments; none when the actor is as it was.
    pub(crate) async fn next(&mut self) -> Result<Option<(Func, Arguments)>, Trap> {
        loop {
            match self.replay.step() {
                Next::Restore => {
                    let stored = self.host.journal_snapshot().await.map_err(unread)?;
                    let snapshot = self.replay.restore(stored).map_err(unreplayable)?;
                    self.doing = Doing::Restore(snapshot.sequence);
                    let arguments = [me(&self.actor), bytes(&snapshot.bytes)].into_iter().collect();
                    return Ok(Some((self.functions.restore, arguments)));
                }
                Next::Read(first) => {
                    let page = self.host.journal(first, PAGE).await.map_err(unread)?;
                    self.replay.give(page).map_err(unreplayable)?;
                }
                Next::Apply(entry) => {
                    self.applied += 1;
                    if self.applied.is_multiple_of(EVENTS_AT_ONCE) {
                        tokio::task::yield_now().await;
                    }
                    self.doing = Doing::Apply(entry.sequence, entry.event.name.clone());
                    let arguments = [me(&self.actor), value(&entry)].into_iter().collect();
                    return Ok(Some((self.functions.apply, arguments)));
                }
                Next::Done => {
                    self.ended();
                    return Ok(None);
                }
            }
        }
    }

    /// What the guest does with what `next` gave.
    pub(crate) fn doing(&self) -> Box<Doing> {
        Box::new(self.doing.clone())
    }

    /// What the guest answered to that.
    pub(crate) fn answered(&self, guest: &mut Guest, answer: Result<Val, Trap>) -> Result<(), Trap> {
        let answer = answer.map_err(|trap| self.doing.named(trap))?;
        if guest.is_staged() {
            guest.member.undo();
            let what = "wrote, which it must not: the event says what was done";
            return Err(Trap::Refused(format!("{} {what}", self.doing)));
        }
        hook_answer(answer).map_err(|reason| Trap::Refused(format!("{} answered: {reason}", self.doing)))
    }

    fn ended(&self) {
        let took = self.started.elapsed();
        if took > SLOW {
            let (events, took) = (self.applied, took.as_millis());
            let line = format!(
                "it woke slowly: {events} events of its journal took {took} ms; take snapshots more often \
                 (`[actor.journal] snapshot`), or make `apply` cheaper"
            );
            self.host.log(Level::Warn, &line);
        }
    }
}

fn value(entry: &Entry) -> Val {
    let event = vec![
        ("name".into(), Val::String(entry.event.name.to_string())),
        ("content-type".into(), Val::String(entry.event.content_type.to_string())),
        ("payload".into(), bytes(&entry.event.payload)),
    ];
    Val::Record(vec![
        ("sequence".into(), Val::U64(entry.sequence)),
        ("at".into(), Val::U64(entry.at_ms)),
        ("event".into(), Val::Record(event)),
    ])
}

fn bytes(bytes: &[u8]) -> Val {
    Val::List(bytes.iter().copied().map(Val::U8).collect())
}

fn unreplayable(error: Unreplayable) -> Trap {
    Trap::Refused(error.to_string())
}

fn unread(error: JournalError) -> Trap {
    match error {
        JournalError::Unavailable(retry_ms) => Trap::Commit(CommitError::Unavailable { retry_ms }),
        JournalError::Damaged(reason) => Trap::Refused(format!("its journal cannot be read: {reason}")),
    }
}
