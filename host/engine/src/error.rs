//! Why something could not be run.

use quark_core::manifest::MemoryProfile;

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The pool of instances was refused.
    #[error(
        "this machine cannot reserve {instances} {} instances of {memory_slot} bytes: {reason}; start with a smaller \
         --capacity, or see what `quark doctor` says", profile.name()
    )]
    Start {
        /// Instances asked for.
        instances: u32,
        /// Bytes of memory for each.
        memory_slot: u64,
        /// How they lie in memory.
        profile: MemoryProfile,
        /// What the machine said.
        reason: String,
    },
    /// No thread for the ticker.
    #[error("the ticker thread could not be started: {0}")]
    Ticker(String),
}

/// Why a component cannot be deployed as it is. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The bytes are no WebAssembly.
    #[error("this is not WebAssembly: it starts with {0}")]
    NotWasm(String),
    /// The bytes end early or are damaged.
    #[error("the component is truncated or damaged: {0}")]
    Damaged(String),
    /// A core module that does not say what its imports and exports mean.
    #[error(
        "this is a core module without embedded WIT metadata: build it with wit-bindgen, or make a component of it"
    )]
    NoMetadata,
    /// A core module whose metadata cannot be used.
    #[error("the core module cannot be made a component: {0}")]
    Encode(String),
    /// Its interfaces cannot be read.
    #[error("the component's WIT cannot be read back from it: {0}")]
    NoWit(String),
    /// Nothing in it is an actor.
    #[error("the component exports no actor kind: {0}")]
    NoKind(String),
    /// An export or import that is there with the wrong type.
    #[error("`{name}` has another type than the contract: {reason}")]
    Mistyped {
        /// The export or import.
        name: String,
        /// What differs.
        reason: String,
    },
    /// An import that nobody provides.
    #[error("unknown import `{name}`{}", did_you_mean(.nearest))]
    UnknownImport {
        /// The import.
        name: String,
        /// The nearest one that the host knows.
        nearest: Option<String>,
    },
    /// A service of the contract that this version does not have yet.
    #[error("`{0}` is part of the contract but not of this version of Quark")]
    NotYet(String),
    /// A method whose signature cannot cross actors.
    #[error("`{kind}.{method}`: {reason}")]
    Method {
        /// The kind.
        kind: String,
        /// The method.
        method: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two versions of one interface, of which the newest cannot stand for both.
    #[error(
        "the component exports `{newest}` and `{older}`, which are one kind: the newest serves callers of both, but \
         {reason}"
    )]
    Versions {
        /// The interface that would be served.
        newest: String,
        /// The other.
        older: String,
        /// What callers of the other would miss.
        reason: String,
    },
    /// Some of its functions are `func` and some `async func`.
    #[error(
        "the component mixes both flavours: {plain} is a plain `func` and {asynchronous} an `async func`; write all of \
         its methods and hooks and what it imports to wait as one of them (`quark wit`, or `quark wit --async`)"
    )]
    Mixed {
        /// One that is plain.
        plain: String,
        /// One that is not.
        asynchronous: String,
    },
    /// Its actors cannot share an instance.
    #[error(
        "`{kind}` cannot be packed: it runs in the fiber lane, since {reason}, and two packs whose actors call each \
         other would wait for one another; leave `isolation` out of its manifest, or write its functions as `async \
         func` (`quark wit --async`)"
    )]
    Packed {
        /// The kind.
        kind: String,
        /// Why it runs in that lane.
        reason: String,
    },
    /// Turns of its actors cannot overlap.
    #[error(
        "`{kind}` cannot have `reentrancy = \"full\"`: it runs in the {lane} lane, where a turn has its actor to \
         itself; write its functions as `async func` (`quark wit --async`), which puts it into the concurrent lane, \
         or leave `reentrancy` out of its manifest"
    )]
    Full {
        /// The kind.
        kind: String,
        /// The lane that it runs in.
        lane: &'static str,
    },
    /// Calls cannot come back to its actors while they wait.
    #[error(
        "`{kind}` cannot have `reentrancy = \"call-chain\"`: {reason}; leave `reentrancy` out of its manifest, which \
         answers such calls `deadlock`, or build it with another toolchain (for JavaScript: componentize-qjs)"
    )]
    Returns {
        /// The kind.
        kind: String,
        /// Why not.
        reason: &'static str,
    },
    /// This machine has no room for the engine that it needs.
    #[error("the component cannot run here: {0}")]
    NoEngine(String),
    /// It asks for more than a slot of its memory profile holds.
    #[error("{what}, and a slot of the {} profile{} holds {slot}", profile.name(), of_silo(*.by_default))]
    Slot {
        /// What is too large, with its size in bytes.
        what: String,
        /// The profile.
        profile: MemoryProfile,
        /// Whether the silo's default chose it, and not the manifest.
        by_default: bool,
        /// Bytes of a slot.
        slot: u64,
    },
    /// Its manifest gives a kind less memory than it starts with.
    #[error("the manifest gives `{kind}` {limit} bytes of memory (limits.memory), and it starts with {starts}")]
    Memory {
        /// The kind's short name.
        kind: String,
        /// Bytes of the limit.
        limit: u64,
        /// Bytes at the start.
        starts: u64,
    },
    /// Its kinds disagree on their memory profile.
    #[error(
        "`{}` is to be {} and `{}` {}: the kinds of one component share its memory profile",
        .0.0, .0.1.name(), .1.0, .1.1.name()
    )]
    Profiles((String, MemoryProfile), (String, MemoryProfile)),
    /// It asks for more than one actor can have here.
    #[error("the component needs more than this silo gives: {0}")]
    TooMuch(String),
    /// The compiler refused it.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
}

const fn of_silo(by_default: bool) -> &'static str {
    if by_default { ", this silo's default," } else { "" }
}

fn did_you_mean(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Why an instance ended: it must be dropped, and nothing that its turn staged stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trap {
    /// The guest trapped, panicked or passed a limit; the reason in one line.
    #[error("{0}")]
    Guest(String),
    /// The same in the turn of a call with a key, after a call of its own had failed. So it leaves open what became
    /// of that until it is repeated: its failure, but no sign that the next turns will fail.
    #[error("{0}")]
    Undecided(String),
    /// The actor refused to wake: `activate` or the constructor answered with an error.
    #[error("it refused to wake: {0}")]
    Refused(String),
    /// A hook answered with an error, which is a failure of its actor like a trap; the instance is whole.
    #[error("{0}")]
    Failed(String),
    /// A commit point failed, so the instance's memory is ahead of the store.
    #[error("{0}")]
    Commit(quark_core::commit::CommitError),
    /// It waited long after its caller had given up. Not the guest's failure.
    #[error("it still waited long after its caller had given up")]
    Abandoned,
    /// Its `deactivate` hook was given up after that many seconds. Not the guest's failure: it may have waited for
    /// others, or for a processor.
    #[error("its `deactivate` hook did not end within {0} s, and nothing that it staged stands")]
    Overdue(u64),
    /// Its instance ended for a neighbour's failure, of which this is the reason. Not its own failure.
    #[error("its instance ended with the turn of a neighbour: {0}")]
    Neighbour(String),
    /// Its instance was over before the turn began. Nothing was done.
    #[error("its instance was over before the turn began; nothing was done, so a repeat is safe")]
    Unbegun,
    /// It failed too often, of late with this reason, and is not to be woken now. Nothing was done.
    #[error("it failed too often and cools down; its last failure: {reason}")]
    CoolsDown {
        /// Until it may be woken.
        retry_ms: u64,
        /// Of its last failure.
        reason: String,
    },
    /// It was stopped. Nothing was done.
    #[error("it is stopped")]
    Stopped,
    /// There is no room for one more live instance.
    #[error("no room for one more live instance: {0}")]
    NoRoom(String),
}

impl Trap {
    /// Whether it counts as a failure of the actor itself.
    #[must_use]
    pub const fn is_own_failure(&self) -> bool {
        match self {
            Self::Guest(_) | Self::Undecided(_) | Self::Refused(_) | Self::Failed(_) | Self::Commit(_) => true,
            Self::Abandoned | Self::Overdue(_) | Self::Neighbour(_) | Self::Unbegun => false,
            Self::CoolsDown { .. } | Self::Stopped | Self::NoRoom(_) => false,
        }
    }

    /// Whether it counts against the limit of its restarts: what is the fault of the store or of others does not.
    #[must_use]
    pub const fn counts(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::Refused(_) | Self::Failed(_))
    }
}
