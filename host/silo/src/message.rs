//! A message in a mailbox, and what leaves a turn.

use std::sync::Arc;
use std::time::Instant;

use quark_core::activation::{Message as Waiting, Returns};
use quark_core::commit::CommitError;
use quark_core::envelope::{Head, TellId};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::reminders::Reminder;
use quark_core::time::Time;
use quark_core::timers::Firing;
use quark_core::trace::Ended;
use quark_engine::values::Payload;
use tokio::sync::oneshot;

use crate::api::{Failure, StateOperation, StateValue};
use crate::kinds::Served;
use crate::silo::Inner;
use crate::traces::Traced;
use crate::waits::Recorded;

/// What a caller gets.
pub(crate) type Outcome = Result<Payload, CallError>;

/// A message as it waits for its turn.
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) work: Work,
    pub(crate) bytes: usize,
    /// Whoever waits for it is known to wait as long as this lives: dropped before its turn runs and
    /// before it is answered.
    pub(crate) waits: Option<Box<Recorded>>,
    /// When it was let into a mailbox.
    pub(crate) admitted: Time,
}

/// What its turn does.
pub(crate) enum Work {
    /// A method.
    Method { method: MethodRef, payload: Payload, origin: Origin },
    /// An operator's look at, or change of, the state.
    Operate(Box<Operate>),
    /// What the actor's timer calls.
    Timer(Firing),
    /// What the silo tells the actor of others.
    Notice(Box<Notice>),
    /// To become a child.
    Adopt(Box<Adopt>),
    /// To be awake.
    Revive,
    /// To say what its journal came to.
    Snapshot,
}

impl Work {
    /// What a path says of a message that has to do with families.
    pub(crate) const fn family_name(&self) -> &'static str {
        match self {
            Self::Adopt(_) => "spawn",
            Self::Operate(_) => "stop",
            Self::Method { .. } | Self::Timer(_) | Self::Notice(_) | Self::Revive | Self::Snapshot => "(family)",
        }
    }
}

/// A hook's turn, for something that happened to another actor.
pub(crate) struct Notice {
    pub(crate) method: MethodRef,
    pub(crate) payload: Payload,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// An actor becomes a child.
pub(crate) struct Adopt {
    pub(crate) parent: ActorId,
    /// It is awake, and this comes when its row is durable.
    pub(crate) reply: oneshot::Sender<Result<oneshot::Receiver<Result<(), CommitError>>, CallError>>,
}

/// Who is told how it went.
pub(crate) enum Origin {
    /// A caller that waits.
    Caller(oneshot::Sender<Outcome>),
    /// The outbox, which keeps the tell's row until it is handled.
    Outbox(TellId),
    /// A timer, which is armed anew.
    Timer(Firing),
    /// Nobody: its snapshot is committed at its end.
    Snapshot,
    /// A reminder, whose row stands until its time is handled.
    Reminder(Arc<Reminder>),
}

/// A method by its place in one version of a kind.
#[derive(Clone)]
pub(crate) struct MethodRef {
    pub(crate) served: Arc<Served>,
    pub(crate) at: usize,
}

impl MethodRef {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.method().signature.name
    }

    pub(crate) fn method(&self) -> &quark_engine::Method {
        self.served.kind().called(self.at)
    }
}

/// An operator's turn.
pub(crate) struct Operate {
    pub(crate) name: String,
    pub(crate) operation: StateOperation,
    /// The e-tag that the state must have.
    pub(crate) if_match: Option<String>,
    pub(crate) reply: oneshot::Sender<Result<StateValue, Failure>>,
}

impl Message {
    /// One that is not in any mailbox yet.
    pub(crate) const fn new(head: Head, work: Work, bytes: usize, waits: Option<Box<Recorded>>) -> Self {
        Self { head, work, bytes, waits, admitted: Time::NEVER }
    }

    /// Whether a caller waits for its answer: neither a tell nor an operator's.
    pub(crate) const fn is_call(&self) -> bool {
        matches!(&self.work, Work::Method { origin: Origin::Caller(_), .. })
    }

    /// Whether somebody waits for its answer.
    pub(crate) const fn is_answered(&self) -> bool {
        matches!(&self.work, Work::Method { origin: Origin::Caller(_), .. } | Work::Operate(_) | Work::Adopt(_))
    }

    /// Whether it is the silo's own, and no message that anybody sent.
    pub(crate) const fn is_own(&self) -> bool {
        matches!(&self.work, Work::Notice(_) | Work::Revive | Work::Snapshot)
    }

    /// The version that it was made for, as [`Served::since`] counts; none for an operator's and a timer's.
    pub(crate) fn since(&self) -> Option<u64> {
        match &self.work {
            Work::Method { method, .. } => Some(method.served.since),
            Work::Notice(notice) => Some(notice.method.served.since),
            Work::Operate(_) | Work::Timer(_) | Work::Adopt(_) | Work::Revive | Work::Snapshot => None,
        }
    }

    /// The method's name, for people.
    pub(crate) fn method(&self) -> &str {
        match &self.work {
            Work::Method { method, .. } => method.name(),
            Work::Operate(_) => "(operator)",
            Work::Timer(_) => "on-timer",
            Work::Notice(notice) => notice.method.name(),
            Work::Adopt(_) => "(spawn)",
            Work::Revive => "(restart)",
            Work::Snapshot => "snapshot",
        }
    }
}

impl Waiting for Message {
    fn deadline(&self) -> Time {
        self.head.deadline
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_control(&self) -> bool {
        matches!(self.work, Work::Operate(_) | Work::Adopt(_))
    }

    fn is_notice(&self) -> bool {
        self.is_own()
    }

    fn is_tell(&self) -> bool {
        matches!(self.work, Work::Method { origin: Origin::Outbox(_) | Origin::Reminder(_), .. })
    }

    fn is_timer(&self) -> bool {
        matches!(self.work, Work::Timer(_))
    }

    fn is_read_only(&self) -> bool {
        matches!(&self.work, Work::Method { method, .. } if method.method().read_only)
    }

    fn is_given_up(&self) -> bool {
        match &self.work {
            Work::Method { origin: Origin::Caller(to), .. } => to.is_closed(),
            Work::Notice(notice) => notice.reply.is_closed(),
            Work::Adopt(adopt) => adopt.reply.is_closed(),
            Work::Method { .. } | Work::Operate(_) | Work::Timer(_) | Work::Revive | Work::Snapshot => false,
        }
    }

    fn returns_to(&self, actor: &ActorId) -> Option<Returns> {
        let frame = self.head.path.find(actor)?;
        Some(Returns { generation: frame.generation, turn: frame.turn, call: frame.call })
    }
}

/// What waits at the output gate.
pub(crate) enum Output {
    /// An answer to a caller. `progressed` when the turn did something that stands whatever becomes
    /// of its last commit.
    Reply { to: oneshot::Sender<Outcome>, outcome: Outcome, progressed: bool },
    /// A suspended turn goes on.
    Resume(oneshot::Sender<Result<(), CommitError>>),
    /// An answer to an operator.
    Operated(oneshot::Sender<Result<StateValue, Failure>>, Result<StateValue, Failure>),
    /// The end of a turn that handled a tell.
    Told(TellId),
    /// The end of a turn that handled a reminder's time.
    Reminded(Arc<Reminder>),
    /// The end of a turn that nobody waits for.
    Nothing,
    /// Any of those, of a turn that is recorded.
    Traced(Box<Gated>),
}

/// What leaves a turn that is recorded, and what that waits for.
pub(crate) struct Gated {
    pub(crate) output: Output,
    pub(crate) turn: Arc<Traced>,
    /// From when on it waited; none when there was nothing to wait for.
    pub(crate) since: Option<Instant>,
    /// Whether the turn is over with it.
    pub(crate) is_last: bool,
}

impl Gated {
    /// The output, now that it is known what becomes of it.
    fn open(self, breaks: Option<(Ended, &str)>) -> Output {
        let Self { output, turn, since, is_last } = self;
        since.into_iter().for_each(|since| turn.waited(since.elapsed()));
        breaks.into_iter().for_each(|(ended, detail)| turn.breaks(ended, detail));
        // Before anybody hears of the turn's end.
        if is_last {
            turn.keep();
        }
        output
    }
}

impl Output {
    /// All that it rests on is durable. Whoever waited may be gone; that is theirs to choose.
    pub(crate) fn release(self) {
        match self {
            Self::Reply { to, outcome, .. } => drop(to.send(outcome)),
            Self::Resume(to) => drop(to.send(Ok(()))),
            Self::Operated(to, outcome) => drop(to.send(outcome)),
            // The store's answer said so.
            Self::Told(_) | Self::Reminded(_) | Self::Nothing => {}
            Self::Traced(gated) => gated.open(None).release(),
        }
    }

    /// Something that it rests on will never be durable.
    pub(crate) fn fail(self, silo: &Inner, error: CommitError) {
        match self {
            Self::Reply { to, progressed: true, .. } if error != CommitError::Unknown => {
                drop(to.send(Err(CallError::Failed(format!("its last commit failed: {error}")))));
            }
            Self::Reply { to, .. } => drop(to.send(Err(commit_failed(error)))),
            Self::Resume(to) => drop(to.send(Err(error))),
            Self::Operated(to, _) => drop(to.send(Err(commit_failed(error).into()))),
            Self::Told(id) => silo.outbox.commit_failed(&id, error),
            Self::Reminded(row) => silo.reminders.commit_failed(&row),
            Self::Nothing => {}
            Self::Traced(gated) => {
                gated.open(Some((Ended::NotCommitted, &error.to_string()))).fail(silo, error);
            }
        }
    }
}

impl Output {
    /// The instance died before the commit that it waited for: what the turn did is undone.
    pub(crate) fn undone(self, silo: &Arc<Inner>) {
        let error = || CallError::Failed(UNDONE.into());
        match self {
            Self::Reply { to, .. } => drop(to.send(Err(error()))),
            Self::Operated(to, _) => drop(to.send(Err(error().into()))),
            Self::Told(id) => silo.outbox.failed(&id, &error()),
            Self::Reminded(row) => silo.reminder_failed(&row, &error()),
            // Its turn died with the instance.
            Self::Resume(_) | Self::Nothing => {}
            Self::Traced(gated) => gated.open(Some((Ended::Neighbour, UNDONE))).undone(silo),
        }
    }
}

/// What is said of a turn that was undone with another one.
const UNDONE: &str = "another turn of it ended its instance before both could be committed";

/// What a caller is told of a turn whose commit failed.
pub(crate) fn commit_failed(error: CommitError) -> CallError {
    match error {
        CommitError::Unavailable { retry_ms } => CallError::Unavailable(retry_ms),
        CommitError::Fenced | CommitError::Conflict => CallError::Failed(error.to_string()),
        CommitError::Unknown => CallError::UnknownOutcome(error.to_string()),
    }
}
