//! An actor that wakes by its journal: what its guest is given, one after the other, and what that says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::commit::CommitError;
use quark_core::id::ActorId;
use quark_core::journal::{Entry, Event, Next, Replay, Unreplayable};
use smallvec::smallvec;
use wasmtime::component::{ComponentType, Func, Lower, TypedFunc, Val};

use crate::cell::{Arguments, me};
use crate::error::Trap;
use crate::guest::Guest;
use crate::outside::{JournalError, Level, Outside};

/// How many events are read at once.
const PAGE: usize = 1024;
/// How many events are applied before others get the worker.
const EVENTS_AT_ONCE: u64 = 64;
/// With more than that the actor's log says how to wake faster.
const SLOW: Duration = Duration::from_secs(1);

/// What both functions answer.
pub(crate) type Answered = (Result<(), String>,);

/// The functions that are called. By their types, since a byte of a payload is a byte then, and not a value.
#[derive(Clone)]
pub(crate) struct Journaled {
    pub(crate) restore: TypedFunc<(Me, Arc<[u8]>), Answered>,
    pub(crate) apply: TypedFunc<(Me, EntryRecord), Answered>,
}

/// `types.actor-id`.
#[derive(Clone, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Me {
    kind: Arc<str>,
    key: Arc<str>,
}

/// `journal.entry`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct EntryRecord {
    sequence: u64,
    at: u64,
    event: EventRecord,
}

/// `journal.event`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct EventRecord {
    name: Arc<str>,
    #[component(name = "content-type")]
    content_type: Arc<str>,
    payload: Arc<[u8]>,
}

/// What the actor is given next.
pub(crate) enum Given {
    Restore(Arc<[u8]>),
    Apply(Entry),
}

/// One actor on its way.
pub(crate) struct Waking {
    pub(crate) functions: Journaled,
    pub(crate) me: Me,
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
        let me = Me { kind: actor.kind.as_str().into(), key: actor.key.as_str().into() };
        Ok(Some(Self { functions, me, replay, host, actor, doing, applied: 0, started: Instant::now() }))
    }

    /// What comes next; none when the actor is as it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Given>, Trap> {
        loop {
            match self.replay.step() {
                Next::Restore => {
                    let stored = self.host.journal_snapshot().await.map_err(unread)?;
                    let snapshot = self.replay.restore(stored).map_err(unreplayable)?;
                    self.doing = Doing::Restore(snapshot.sequence);
                    return Ok(Some(Given::Restore(snapshot.bytes)));
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
                    return Ok(Some(Given::Apply(entry)));
                }
                Next::Done => {
                    self.ended();
                    return Ok(None);
                }
            }
        }
    }

    /// The function for that, and its arguments, where calls are made by values.
    pub(crate) fn by_values(&self, given: &Given) -> (Func, Arguments) {
        match given {
            Given::Restore(snapshot) => (*self.functions.restore.func(), smallvec![me(&self.actor), bytes(snapshot)]),
            Given::Apply(entry) => (*self.functions.apply.func(), smallvec![me(&self.actor), value(entry)]),
        }
    }

    /// What the guest does with what `next` gave.
    pub(crate) fn doing(&self) -> Box<Doing> {
        Box::new(self.doing.clone())
    }

    /// What the guest answered to that.
    pub(crate) fn answered(&self, guest: &mut Guest, answer: Result<Result<(), String>, Trap>) -> Result<(), Trap> {
        let answer = answer.map_err(|trap| self.doing.named(trap))?;
        if guest.is_staged() {
            guest.member.undo();
            let what = "wrote, which it must not: the event says what was done";
            return Err(Trap::Refused(format!("{} {what}", self.doing)));
        }
        answer.map_err(|reason| Trap::Refused(format!("{} answered: {reason}", self.doing)))
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

impl From<Entry> for EntryRecord {
    fn from(entry: Entry) -> Self {
        let Entry { sequence, at_ms, event: Event { name, content_type, payload } } = entry;
        Self { sequence, at: at_ms, event: EventRecord { name, content_type, payload } }
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
