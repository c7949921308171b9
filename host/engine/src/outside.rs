//! What an instance asks of whoever runs it: the seam between engine and silo.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quark_core::activation::Turn;
use quark_core::commit::{CommitError, Write};
use quark_core::envelope::{Chain, Path};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::idempotency::IdempotencyKey;
use quark_core::journal::{Entry, Snapshot};
use quark_core::reminders::Reminder;
use quark_core::supervision::Lifetime;
use quark_core::time::Time;
use quark_core::timers::{NewTimer, TimerRefusal};

use crate::error::Trap;
use crate::instance::Started;
use crate::kind::Signature;
use crate::values::Payload;

pub use crate::host::log::Level;

/// A future that owns all it needs.
pub type Owned<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call that a turn makes. Its write must be durable before it leaves.
pub struct OutgoingCall {
    /// Whom it is for.
    pub to: ActorId,
    /// The method and the arguments.
    pub work: OutgoingWork,
    /// What the turn staged since its last commit point.
    pub write: Reached,
    /// The turn's method, for the path.
    pub from_method: Arc<str>,
    /// When the turn's own caller stops waiting.
    pub deadline: Time,
    /// The turns that wait for this one.
    pub path: Path,
    /// What travels along the chain.
    pub chain: Arc<Chain>,
    /// Which turn it is.
    pub turn: Turn,
    /// Which of the turn's calls it is.
    pub call: u32,
    /// How long the turn waits at most; none means until its own deadline.
    pub timeout: Option<Duration>,
    /// That of the turn's own call.
    pub key: Option<IdempotencyKey>,
}

/// A turn's commit point.
#[derive(Debug)]
pub enum Reached {
    /// With all that is staged, if anything.
    Free(Option<Box<Write>>),
    /// Overlapping turns stand between their own commit points: what is staged goes with the last of
    /// those.
    Held,
}

/// What a call asks for.
pub enum OutgoingWork {
    /// The method and the arguments by the types that the caller imports.
    Typed(Arc<Signature>, Payload),
    /// The method by name, and a JSON array by the callee's types.
    Json(String, String),
    /// To make it a child.
    Spawn(Lifetime),
    /// To end a child.
    Stop,
    /// To be told of its end.
    Watch,
}

impl OutgoingWork {
    /// The method's name.
    #[must_use]
    pub fn method(&self) -> &str {
        match self {
            Self::Typed(signature, _) => &signature.name,
            Self::Json(method, _) => method,
            Self::Spawn(_) => "spawn",
            Self::Stop => "stop",
            Self::Watch => "watch",
        }
    }
}

/// What came of a call.
#[derive(Debug, Default)]
pub struct Answer {
    /// The result, for a typed call.
    pub payload: Payload,
    /// The result, for a call by name.
    pub json: String,
}

/// Why a call gave no result.
#[derive(Debug)]
pub enum CallFailure {
    /// The call failed; the turn goes on with that answer.
    Call(CallError),
    /// The caller's own commit failed, so its turn must end.
    Commit(CommitError),
}

/// How a call stands that was just made.
pub enum Calling {
    /// It is over: its target answered on this very stack, or it never left.
    Done(Result<Answer, CallFailure>),
    /// It is under way.
    Waits(Owned<Result<Answer, CallFailure>>),
}

impl Calling {
    /// What comes of it.
    pub(crate) async fn answer(self) -> Result<Answer, CallFailure> {
        match self {
            Self::Done(answer) => answer,
            Self::Waits(answer) => answer.await,
        }
    }
}

/// Why a journal could not be read. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The store cannot be reached; a repeat is safe.
    #[error("the store is unavailable, try again in {0} ms")]
    Unavailable(u64),
    /// What the store has cannot be read.
    #[error("{0}")]
    Damaged(String),
}

/// A turn that begins inside of another one, which waits for it.
pub struct Returned {
    /// The turn.
    pub started: Started,
    /// To be called once, at its end.
    pub ended: EndedInside,
}

/// What is to be done at the end of a turn inside of another one: with its result and what it staged,
/// or with the trap by which the instance is over ([`Trap::Unbegun`]: it did not begin, and the
/// instance lives).
///
/// # Errors
/// When it cannot be committed, and the instance is ahead of the store: it is over.
pub type EndedInside = Box<dyn FnOnce(Result<(Payload, Option<Box<Write>>), Trap>) -> Result<(), CommitError> + Send>;

/// What the instance of one activation asks of its silo.
pub trait Outside: Send + Sync + 'static {
    /// Commits what the call carries and sends it.
    fn call(&self, call: OutgoingCall) -> Calling;

    /// Whether nobody waits for that turn any more, or for one that waits for it on its path.
    fn is_given_up(&self, turn: Turn, path: &Path) -> bool;

    /// Commits for that turn, and gives the e-tag that is durable then.
    fn commit(&self, turn: Turn, write: Reached) -> Owned<Result<u64, CommitError>>;

    /// That turn waits for the answer of that call of its own. Only where messages of its path may
    /// begin meanwhile.
    fn waits(&self, turn: Turn, call: u32);

    /// It waits no longer.
    fn resumes(&self, turn: Turn, call: u32);

    /// The next turn to run inside of the one that waits. Nothing is lost when this is dropped.
    ///
    /// # Errors
    /// When an earlier commit failed: the turn cannot end well, and need not wait any longer.
    fn returning(&self) -> Owned<Result<Returned, CommitError>>;

    /// That turn stages something. Only where turns of one actor overlap.
    fn staged(&self, turn: Turn);

    /// That turn is at a commit point. Whether the commit is to be made now: no overlapping turn
    /// stands between its own. Only where turns of one actor overlap.
    fn reaches(&self, turn: Turn) -> bool;

    /// Whether something of the actor's other turns waits for its next commit. Only where turns of one actor
    /// overlap.
    fn is_waited_for(&self) -> bool;

    /// Starts a timer of that turn's actor, in place of the one of that name.
    ///
    /// # Errors
    /// When it is over a bound. Nothing was changed.
    fn start_timer(&self, turn: Turn, timer: NewTimer<'_>) -> Result<(), TimerRefusal>;

    /// Stops a timer of the actor. Whether there was one.
    fn stop_timer(&self, name: &str) -> bool;

    /// Events of the actor's journal from that one on, as committed: some that follow one another, none
    /// at its end.
    fn journal(&self, first: u64, limit: usize) -> Owned<Result<Vec<Entry>, JournalError>>;

    /// The newest snapshot of the actor's journal, as committed.
    fn journal_snapshot(&self) -> Owned<Result<Option<Snapshot>, JournalError>>;

    /// The actor's reminders as its commits before that turn left them, by name.
    ///
    /// # Errors
    /// When they cannot be read, with the reason for people.
    fn reminders(&self, turn: Turn) -> Owned<Result<Vec<Reminder>, String>>;

    /// The actor's children, in the order in which they were started.
    fn children(&self) -> Vec<ActorId>;

    /// The actor is not told of that one's end any more.
    fn unwatch(&self, target: &ActorId);

    /// Checks a tell by name against its target's types, and encodes its arguments.
    ///
    /// # Errors
    /// When the kind, the method or the arguments do not fit.
    fn check_tell(&self, to: &ActorId, method: &str, json: &str) -> Result<Vec<u8>, CallError>;

    /// The e-tag of the last commit point; none for an actor that never wrote.
    fn etag(&self) -> Option<u64>;

    /// The silo's monotonic clock.
    fn now(&self) -> Time;

    /// That many random bytes.
    fn random(&self, len: usize) -> Vec<u8>;

    /// A line of the actor's log.
    fn log(&self, level: Level, line: &str);
}
