//! What a silo can be asked from outside, as plain data: the gateway serves it, the CLI reads it.

mod journal;
mod trace;

use std::collections::BTreeMap;

use quark_core::error::CallError;
use quark_core::idempotency::IdempotencyKey;
use serde::{Deserialize, Serialize};

pub use self::journal::{EventReport, JournalPage, JournalReport, JournalState, Moment};
pub use self::trace::{CLI_REQUESTS, TraceReport, TurnReport, TurnsWanted};

/// The longest that a caller from outside may wait, in milliseconds: a day, as for a method's own timeout.
pub const CALL_TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The format of arguments and of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON array of arguments; a JSON value as the answer.
    Json,
    /// WAVE: the arguments as between the parentheses of a call; one WAVE value as the answer.
    Wave,
}

/// A message from outside.
#[derive(Clone, Debug)]
pub struct Request {
    /// The kind as written: short or full.
    pub kind: String,
    /// The key.
    pub key: String,
    /// The method.
    pub method: String,
    /// The arguments' text.
    pub arguments: String,
    /// The format of the text, and of the answer.
    pub format: Format,
    /// How long the caller waits; milliseconds. None means the method's or the silo's default.
    pub timeout_ms: Option<u64>,
    /// The caller's own id of the request, if it gave one.
    pub request_id: Option<String>,
    /// Headers that travel with the call chain.
    pub headers: Vec<(String, String)>,
    /// True when only a method without a result will do (`quark tell`), false when both will.
    pub tell: bool,
    /// What a repeat of the call is known by; only for a method that is marked `idempotent`.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// What came of a message from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The method returned, and it was not an `err`: its result in the request's format.
    Ok(String),
    /// The method returned `err`: the whole result in the request's format.
    Err(String),
    /// It was a tell: it is durable and will be handled once. Its id.
    Accepted(String),
}

/// Why a request was not carried out, for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, for machines; those of [`CallError::code`] and the constants of [`codes`].
    pub code: String,
    /// What is wrong, named.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Milliseconds until a repeat can help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether the work may have been done, so that a repeat may do it twice.
    #[serde(default)]
    pub may_be_done: bool,
}

/// Codes of failures that are no call errors.
pub mod codes {
    /// The request itself is malformed.
    pub const BAD_REQUEST: &str = "bad-request";
    /// The arguments do not fit the method's types.
    pub const BAD_ARGUMENTS: &str = "bad-arguments";
    /// The key is empty, too long or no UTF-8.
    pub const BAD_KEY: &str = "bad-key";
    /// No deployed kind has that name.
    pub const NO_SUCH_KIND: &str = "no-such-kind";
    /// Several deployed kinds have that short name.
    pub const AMBIGUOUS_KIND: &str = "ambiguous-kind";
    /// The kind has no such method.
    pub const NO_SUCH_METHOD: &str = "no-such-method";
    /// The call has an idempotency key, and its method remembers no answers.
    pub const NOT_IDEMPOTENT: &str = "not-idempotent";
    /// No state value of that name, or no such thing otherwise.
    pub const NOT_FOUND: &str = "not-found";
    /// The e-tag given is not the actor's.
    pub const CONFLICT: &str = "conflict";
    /// The component cannot be deployed as it is.
    pub const BAD_COMPONENT: &str = "bad-component";
    /// The component lacks something that callers of the running version know.
    pub const BREAKING_CHANGE: &str = "breaking-change";
    /// The manifest cannot be used as it is.
    pub const BAD_MANIFEST: &str = "bad-manifest";
    /// The token is missing or wrong.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// The Host header names somebody else.
    pub const BAD_HOST: &str = "bad-host";
    /// The body is not of a type that the route takes.
    pub const BAD_CONTENT_TYPE: &str = "bad-content-type";
    /// The body is over its limit.
    pub const BODY_TOO_LARGE: &str = "body-too-large";
    /// The actor's component does not wake its actors by their journals.
    pub const NOT_JOURNALED: &str = "not-journaled";
    /// The journal has no such event, or not any more.
    pub const NO_SUCH_EVENT: &str = "no-such-event";
    /// The silo is stopping.
    pub const STOPPING: &str = "stopping";
    /// That of [`CallError::UnknownOutcome`](quark_core::error::CallError::UnknownOutcome).
    pub const UNKNOWN_OUTCOME: &str = "unknown-outcome";
    /// A defect of Quark.
    pub const INTERNAL: &str = "internal";
}

impl Failure {
    /// A failure after which nothing was done.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), next: None, retry_after_ms: None, may_be_done: false }
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self {
            code: error.code().into(),
            message: error.to_string(),
            next: next_after(&error).map(Into::into),
            retry_after_ms: error.retry_after_ms(),
            may_be_done: error.may_be_done(),
        }
    }
}

/// What helps while the store takes no writes.
pub(crate) const UNAVAILABLE_NEXT: &str = "try again; while it lasts, `quark ps` and /readyz say why";

/// What helps after a failure that a repeat alone does not mend.
const fn next_after(error: &CallError) -> Option<&'static str> {
    match error {
        CallError::Stopped => Some("`quark start` lets it be woken again"),
        CallError::Failed(_) => Some("`quark inspect` shows its last failure"),
        CallError::DeadlineExceeded => Some("`quark inspect` shows what it does; or give the call a longer timeout"),
        CallError::Unavailable(_) => Some(UNAVAILABLE_NEXT),
        CallError::UnknownOutcome(_)
        | CallError::Cancelled
        | CallError::CoolsDown { .. }
        | CallError::Downstream(_)
        | CallError::Unreachable(_)
        | CallError::Overloaded(_)
        | CallError::TooLarge(_)
        | CallError::Incompatible(_)
        | CallError::Deadlock(_)
        | CallError::Denied(_)
        | CallError::KeyReused(_)
        | CallError::Other(_) => None,
    }
}

/// A component to deploy.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// The deployment's name; by default that of its first kind.
    pub name: Option<String>,
    /// The component, or a core module with embedded WIT metadata.
    pub component: Vec<u8>,
    /// The manifest's text (`actor.toml`), if one was given.
    pub manifest: Option<String>,
    /// Whether it may break who calls the running version.
    pub allow_breaking: bool,
    /// Whether kinds whose actors have state may be dropped.
    pub force: bool,
}

/// What a deploy did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployReport {
    /// The deployment's name.
    pub name: String,
    /// Grows with each deploy under this name.
    pub version: u64,
    /// SHA-256 of the component as given.
    pub hash: String,
    /// Whether this very component and manifest were deployed already, so that nothing changed.
    pub unchanged: bool,
    /// Bytes of the component.
    pub bytes: u64,
    /// What compiling took; 0 when it came from the cache.
    pub compile_ms: u64,
    /// Whether it came from the cache of compiled components.
    pub cached: bool,
    /// Its kinds.
    pub kinds: Vec<KindReport>,
    /// Services of the contract that it asks for, other kinds that it calls, WASI that it uses.
    pub asks: Vec<String>,
    /// Those of them that the version before did not ask for; none for a first version.
    #[serde(default)]
    pub asks_newly: Vec<String>,
    /// What it breaks for callers of the version before, where that was allowed.
    #[serde(default)]
    pub breaks: Vec<String>,
    /// What works but deserves a look.
    pub warnings: Vec<String>,
}

/// A deployed kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindReport {
    /// The full name.
    pub kind: String,
    /// The short name.
    pub name: String,
    /// The deployment that it belongs to.
    pub deployment: String,
    /// The deployment's version.
    pub version: u64,
    /// `direct`, `fiber`, `concurrent`.
    pub lane: String,
    /// Why that lane.
    pub lane_reason: String,
    /// How many actors share an instance; 1 when each has its own.
    #[serde(default)]
    pub packed: u32,
    /// Which turns of one actor begin while others wait: `none`, `reads` (those that only read, beside one
    /// another), `call-chain` (those that a waiting turn waits for), `call-chain-and-reads`, `full`.
    #[serde(default)]
    pub overlap: String,
    /// `none`, `call-chain`, `full`: who may enter while a turn waits for a call.
    #[serde(default)]
    pub reentrancy: String,
    /// Why so.
    #[serde(default)]
    pub reentrancy_reason: String,
    /// What becomes of its actors' children that fail, and of actors without a parent: a line for people. Empty
    /// where nothing but the defaults rules and its actors have no children.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub supervision: String,
    /// `roomy`, `dense`: how its instances lie in memory.
    #[serde(default)]
    pub memory_profile: String,
    /// Who chose that.
    #[serde(default)]
    pub memory_profile_reason: String,
    /// Bytes of memory that one instance may have.
    #[serde(default)]
    pub memory_limit: u64,
    /// The most live actors of it that the silo holds, if it holds no others.
    #[serde(default)]
    pub holds: u64,
    /// Its methods.
    pub methods: Vec<MethodReport>,
    /// The interface that exports it, as WIT text; in lists of kinds only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wit: String,
    /// Live activations now.
    pub live: u64,
}

/// What is deployed, as callers see it.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    /// The kinds.
    pub kinds: Vec<KindContract>,
    /// The JSON Schemas of the types that have names.
    pub schemas: BTreeMap<String, serde_json::Value>,
}

/// A kind, as callers see it.
#[derive(Clone, Debug)]
pub struct KindContract {
    /// Its short name, or the full one where several have that.
    pub name: String,
    /// What its author says of it.
    pub docs: Option<String>,
    /// Its methods, by name.
    pub methods: BTreeMap<String, quark_engine::Described>,
}

/// A method of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodReport {
    /// Its name.
    pub name: String,
    /// Its signature in WIT: `func(by: u64) -> result<u64, counter-error>`.
    pub signature: String,
    /// Whether it is a tell: a method without a result.
    pub tell: bool,
}

/// A version of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReport {
    /// The deployment's name.
    pub deployment: String,
    /// Counts the versions of this deployment.
    pub version: u64,
    /// SHA-256 of the component as given.
    pub hash: String,
    /// When it was deployed: milliseconds since 1970.
    pub at_ms: u64,
    /// Whether it is the one that new activations take.
    pub current: bool,
    /// Activations that run it now.
    pub live: u64,
    /// The full names of its kinds.
    pub kinds: Vec<String>,
}

/// A live activation, as `quark ps` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationReport {
    /// The full kind.
    pub kind: String,
    /// The key.
    pub key: String,
    /// `asleep`, `loading`, `awake`, `leaving`, `draining`, `down`.
    pub phase: String,
    /// Messages that wait.
    pub waiting: u64,
    /// Milliseconds since its last message.
    pub idle_ms: u64,
    /// Turns since it was activated.
    pub turns: u64,
}

/// Everything about one actor, as `quark inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorReport {
    /// How many answers it remembers by idempotency keys, also those that the next commits remove.
    #[serde(default)]
    pub answers: u64,
    /// The full kind.
    pub kind: String,
    /// The key.
    pub key: String,
    /// The deployment's version that serves it.
    pub version: u64,
    /// `direct`, `fiber`.
    pub lane: String,
    /// Its live activation; none when it is not in memory.
    pub activation: Option<LiveReport>,
    /// The e-tag of its last commit; none when it never wrote.
    pub etag: Option<String>,
    /// Names and sizes of its state's values.
    pub state: Vec<ValueReport>,
    /// Bytes of all values together.
    pub state_bytes: u64,
    /// The kind's limit on them.
    pub state_limit: u64,
    /// Its last failure since the silo started.
    pub last_failure: Option<FailureReport>,
    /// Whether it was stopped: it is not woken until it is started.
    #[serde(default)]
    pub stopped: bool,
    /// Its journal; none for an actor that never appended anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalReport>,
    /// What keeps it from being started after its failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldReport>,
    /// Its parent, as `KIND/KEY` with the full kind; none for an actor that nobody spawned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many children it has.
    #[serde(default)]
    pub children: u64,
    /// How many reminders it has.
    #[serde(default)]
    pub reminders: u64,
}

/// The live part of an [`ActorReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveReport {
    /// `asleep`, `loading`, `awake`, `leaving`, `draining`, `down`.
    pub phase: String,
    /// Of this activation.
    pub generation: u64,
    /// Messages and bytes that wait, and the bounds of both.
    pub waiting: u64,
    /// Bytes that wait.
    pub waiting_bytes: u64,
    /// The most messages that may wait.
    pub mailbox_capacity: u64,
    /// The most bytes that may wait.
    pub mailbox_bytes: u64,
    /// Commits under way.
    pub commits: u64,
    /// Turns since it was activated.
    pub turns: u64,
    /// Milliseconds since its last message.
    pub idle_ms: u64,
    /// Whether a turn runs now.
    pub running: bool,
}

/// One named value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueReport {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Why an actor is not started now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldReport {
    /// `backoff`: messages wait for its restart. `parent`: they wait for its parent's. `cool-down`: it failed too
    /// often, and they are refused.
    pub why: String,
    /// Milliseconds until that is over; 0 where that is its parent's to say.
    pub left_ms: u64,
    /// Failures that count against its limit now; of a child those that count against its parent's.
    pub failures: u32,
}

/// A failure of an actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// The trap or the error, one line.
    pub reason: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How many since the silo started.
    pub count: u64,
}

/// Supervision trees: who is whose child, as `quark tree` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReport {
    /// The actors that have children and no parent, or the one that was asked for.
    pub roots: Vec<TreeNode>,
    /// Whether there are more actors than the limit: the rest is left out.
    pub truncated: bool,
}

/// An actor in its tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeNode {
    /// The full kind.
    pub kind: String,
    /// The key.
    pub key: String,
    /// `permanent`, `transient`, `temporary`; empty for an actor without a parent.
    pub lifetime: String,
    /// `awake`, `asleep`, `loading`, `leaving`, `draining`, `down` (it waits for its restart), `held` (its
    /// parent is down), `cool-down`, `stopped`.
    pub state: String,
    /// Milliseconds until its restart, or until its cool-down is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// How often it was restarted.
    pub restarts: u64,
    /// Its last failure since the silo started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureReport>,
    /// In the order in which they were started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}

/// Reminders, as `quark reminders` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReminderReports {
    /// Of one actor by name, or of all in the order in which they fire.
    pub reminders: Vec<ReminderReport>,
    /// Whether there are more than the limit: the rest is left out.
    pub truncated: bool,
}

/// A reminder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReminderReport {
    /// Whose, as `KIND/KEY` with the full kind.
    pub actor: String,
    /// Its name.
    pub name: String,
    /// `once`, `every N s`, or five fields.
    pub schedule: String,
    /// `fire-once`, `fire-all`, `skip`.
    pub missed: String,
    /// The next of its times: milliseconds since 1970.
    pub due_ms: u64,
    /// When it fires: then, or later after turns that failed.
    pub next_ms: u64,
    /// Turns for that time that failed.
    pub tries: u32,
    /// Bytes of its payload.
    pub payload_bytes: u64,
}

/// What to do with a reminder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReminderOperation {
    /// Fire it now; its times go on from there. One that fires once is over then.
    Fire,
    /// Take it away.
    Delete,
}

/// A value of an actor's state, or what a change of it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateValue {
    /// The bytes; none after a deletion.
    pub bytes: Option<Vec<u8>>,
    /// The e-tag now.
    pub etag: Option<String>,
}

/// What to do with one value of an actor's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOperation {
    /// Read it.
    Get,
    /// Replace it.
    Set(Vec<u8>),
    /// Remove it.
    Delete,
    /// End it for good: it is not woken until it is started. Of no value; gives the row of its standing before.
    Stop,
    /// Let it be woken again. Of no value.
    Start,
}

/// Which dead letters to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LettersWanted {
    /// At most so many, the newest.
    pub limit: usize,
    /// Only those with this reason.
    pub reason: Option<String>,
    /// Only those to or from this actor, `KIND/KEY` with the kind's short or full name.
    pub actor: Option<String>,
    /// Only those after the one with this number.
    pub after: Option<u64>,
}

/// A message that will never be handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number, which grows.
    pub id: u64,
    /// Whom it was for.
    pub to: String,
    /// The method.
    pub method: String,
    /// Who sent it; none for a client outside.
    pub from: Option<String>,
    /// Why nobody handles it: one of a few words.
    pub reason: String,
    /// More of that, for people; may be empty.
    pub detail: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
}

/// How the silo is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it takes calls and its store takes writes.
    pub ready: bool,
    /// What is wrong; empty when nothing is.
    pub problems: Vec<String>,
    /// Quark's version.
    pub version: String,
    /// Live activations.
    pub live: u64,
    /// The most activations that it keeps.
    pub capacity: u64,
}
