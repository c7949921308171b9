//! What is seen of a run: the events that the checkers judge, that the hash covers and that a
//! failing seed prints. Actors are numbers here, so that events are small.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use quark_core::envelope::TellId;
use quark_core::error::CallError;
use quark_core::time::Time;

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Client(usize),
    Operator,
    Actor(usize),
}

/// What a caller was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// The actor's own answer, `ok` or `err`.
    Answer(bool),
    /// The platform's: its code, and whether the work may have been done.
    Error(&'static str, bool),
}

impl From<&CallError> for Ending {
    fn from(error: &CallError) -> Self {
        Self::Error(error.code(), error.may_be_done())
    }
}

/// An actor's state as somebody else got to know it: the actor and the stamp of its last write.
pub(crate) type Seen = Option<(usize, u64)>;

/// A tell as a commit sends it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) id: TellId,
    pub(crate) to: usize,
    pub(crate) amount: u64,
}

/// A commit as the store applied it, with what the store then holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Applied {
    pub(crate) actor: usize,
    pub(crate) generation: u64,
    pub(crate) etag: u64,
    pub(crate) stamp: u64,
    /// Written together in each turn: differ only in a torn commit.
    pub(crate) halves: (u64, u64),
    pub(crate) balance: u64,
    pub(crate) handled: Option<TellId>,
    pub(crate) tells: Vec<Sent>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    // The world.
    Boot(u64),
    Crash,
    Stopped,
    Jump,
    Paused(Time),
    Calm,
    // Callers.
    Asked {
        request: u64,
        by: Source,
        to: usize,
        /// Its method writes nothing.
        reads: bool,
        deadline: Time,
        parent: Option<u64>,
    },
    Answered {
        request: u64,
        ending: Ending,
        seen: Seen,
    },
    Broke {
        request: u64,
    },
    // One activation.
    Arrived {
        message: u64,
        by: Source,
        to: usize,
        seen: Seen,
    },
    Admitted {
        message: u64,
        by: Source,
        to: usize,
        control: bool,
        waiting: usize,
        bytes: usize,
        size: usize,
    },
    /// Its turn at once, past the mailbox.
    Entered {
        message: u64,
        by: Source,
        to: usize,
    },
    Deadlock {
        message: u64,
        by: usize,
        to: usize,
        path: String,
    },
    Token(usize),
    /// `stalled`: commits under way, when turns wait for room in the pipeline.
    TokenBack {
        actor: usize,
        stalled: Option<usize>,
    },
    /// A message found an activation that is over.
    FoundGone(usize),
    Loading(usize),
    Loaded {
        actor: usize,
        generation: u64,
        etag: u64,
        stamp: u64,
    },
    /// The claim failed, and all that waited is answered.
    Unclaimed(usize),
    Began {
        actor: usize,
        generation: u64,
        turn: u64,
        message: Option<u64>,
    },
    /// It begins because a turn that runs waits for it.
    Returned {
        actor: usize,
        nested: bool,
    },
    Waits {
        actor: usize,
        message: u64,
        request: u64,
    },
    /// Its turn staged something.
    Wrote {
        actor: usize,
        message: Option<u64>,
    },
    /// Its turn is at a commit point.
    Reached {
        actor: usize,
        message: Option<u64>,
    },
    Ended {
        actor: usize,
        message: Option<u64>,
        how: &'static str,
    },
    /// A message that was let in has come to its end.
    Out {
        message: u64,
        how: &'static str,
    },
    Submitted {
        actor: usize,
        generation: u64,
        etag: u64,
        bytes: usize,
        commits: usize,
        /// Whose turns wrote what it has.
        messages: Vec<u64>,
    },
    Landed {
        actor: usize,
        etag: u64,
        outcome: &'static str,
    },
    Gone(usize),
    /// It failed and waits until then for its restart.
    Down {
        actor: usize,
        until: Time,
    },
    /// Its wait is over, or is cut short by somebody who may.
    Lifted(usize),
    /// It failed too often and refuses messages.
    Cools(usize),
    // The store.
    /// What a store holds of an actor when it is opened.
    Recovered {
        actor: usize,
        etag: u64,
        stamp: u64,
    },
    Claimed {
        actor: usize,
        generation: u64,
        etag: u64,
        stamp: u64,
    },
    Released {
        actor: usize,
        generation: u64,
    },
    Applied(Applied),
    Accepted(Sent),
    Discarded(TellId),
    Failing(&'static str),
    // The relay.
    DeadLetter {
        id: TellId,
        why: &'static str,
    },
    Retry {
        id: TellId,
        why: &'static str,
    },
    Scanned {
        added: usize,
        gone: usize,
    },
}

/// All that happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    events: Vec<(Time, Event)>,
    hash: Fnv,
}

impl Trace {
    pub(crate) fn push(&mut self, now: Time, event: Event) {
        now.hash(&mut self.hash);
        event.hash(&mut self.hash);
        self.events.push((now, event));
    }

    /// Equal for equal runs.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(crate) const fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|(_, event)| event)
    }

    /// The last `count` events for people, one a line.
    pub(crate) fn print(&self, count: usize) -> String {
        let mut text = String::new();
        for (now, event) in &self.events[self.events.len().saturating_sub(count)..] {
            let _ = writeln!(text, "{:>12} us  {event:?}", now.0 / 1000);
        }
        text
    }
}

/// FNV-1a: unlike the standard library's hasher, promised to stay as it is.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
