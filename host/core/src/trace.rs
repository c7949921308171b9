//! Records of turns: what people are told of the last ones, in a ring that is bounded by count and bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::envelope::{Frame, Path};
use crate::id::ActorId;

/// The longest detail of a record, in bytes.
pub const DETAIL_BYTES_MAX: usize = 256;
/// The longest request id that a record keeps, in bytes.
pub const REQUEST_BYTES_MAX: usize = 128;

/// What a turn was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A call: somebody waited for its answer.
    Call,
    /// A tell.
    Tell,
    /// A timer of its own.
    Timer,
    /// A reminder's time.
    Reminder,
    /// The silo asked for a snapshot of its journal.
    Snapshot,
    /// The silo told it of another actor: a child that failed, one that it watches.
    Notice,
}

impl Occasion {
    /// As people read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Tell => "tell",
            Self::Timer => "timer",
            Self::Reminder => "reminder",
            Self::Snapshot => "snapshot",
            Self::Notice => "notice",
        }
    }
}

/// How a turn stood to others of its actor when it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stands {
    /// No other one ran.
    #[default]
    Alone,
    /// Beside others that waited.
    Beside,
    /// Inside of one that waited for it.
    Inside,
}

impl Stands {
    /// As people read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Beside => "beside",
            Self::Inside => "inside",
        }
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Well: what it wrote is durable.
    Ok,
    /// It answered with its own error; what it wrote is durable all the same, unless it is a hook's.
    Error,
    /// It trapped, or passed a limit.
    Trapped,
    /// Its answer was over the kind's limit; what it wrote is durable.
    TooLarge,
    /// Its actor would not wake.
    Refused,
    /// The actor failed too often and cools down: the turn did not begin.
    CoolsDown,
    /// The actor is stopped: the turn did not begin.
    Stopped,
    /// There was no room for its instance: the turn did not begin.
    NoRoom,
    /// A commit failed.
    NotCommitted,
    /// It still waited long after its caller had given up.
    Abandoned,
    /// Its instance ended with another turn.
    Neighbour,
    /// Its caller's deadline passed before it could begin.
    Expired,
    /// Its caller was gone before it could begin.
    Cancelled,
}

impl Ended {
    /// As people read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Trapped => "trapped",
            Self::TooLarge => "too-large",
            Self::Refused => "refused",
            Self::CoolsDown => "cools-down",
            Self::Stopped => "stopped",
            Self::NoRoom => "no-room",
            Self::NotCommitted => "not-committed",
            Self::Abandoned => "abandoned",
            Self::Neighbour => "neighbour",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What is known of one turn.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts the records of a silo, in the order in which their turns ended.
    pub sequence: u64,
    /// When it ended, its commits included: milliseconds since 1970.
    pub at_ms: u64,
    /// Whose.
    pub actor: ActorId,
    /// Its method, or the hook.
    pub method: Arc<str>,
    /// What it was for.
    pub occasion: Occasion,
    /// The actor that told it, for a tell. A call's caller is the newest on the path.
    pub teller: Option<ActorId>,
    /// The turns that waited for it.
    pub path: Path,
    /// The same for all turns that come of one request; at most [`REQUEST_BYTES_MAX`].
    pub request: Box<str>,
    /// How long its message waited for its turn.
    pub queued: Duration,
    /// How long the actor took to wake for it.
    pub woke: Duration,
    /// From when the guest was entered until it ended, waits included.
    pub ran: Duration,
    /// Calls that it made.
    pub calls: u32,
    /// How long those took together. Where a turn makes several at once, that may be more than it ran.
    pub called: Duration,
    /// Commits that were made for it.
    pub commits: u32,
    /// How long it and its answer waited for commits.
    pub commit: Duration,
    /// Bytes of its arguments.
    pub bytes_in: u64,
    /// Bytes of its result.
    pub bytes_out: u64,
    /// Bytes that it committed.
    pub bytes_committed: u64,
    /// How it stood to others.
    pub stands: Stands,
    /// How it ended.
    pub ended: Ended,
    /// Why, in one line; at most [`DETAIL_BYTES_MAX`].
    pub detail: Box<str>,
}

impl Record {
    /// Says how it ended.
    pub fn end(&mut self, ended: Ended, detail: &str) {
        self.ended = ended;
        self.detail = within(detail, DETAIL_BYTES_MAX).into();
    }

    /// The actor that called or told; none for somebody outside, and for what the silo or the actor itself began.
    #[must_use]
    pub fn sender(&self) -> Option<&ActorId> {
        self.teller.as_ref().or_else(|| self.path.newest())
    }

    /// What it takes of a ring's bytes. What records share counts for each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let name = |id: &ActorId| id.kind.as_str().len() + id.key.as_str().len();
        let frame = |frame: &Frame| size_of::<Frame>() + name(&frame.actor) + frame.method.len();
        let names = name(&self.actor) + self.teller.as_ref().map_or(0, name) + self.method.len();
        let path: usize = self.path.frames().map(frame).sum();
        size_of::<Self>() + names + path + self.request.len() + self.detail.len()
    }
}

/// The beginning of a text that has at most so many bytes.
#[must_use]
pub fn within(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The last records, oldest first.
#[derive(Debug)]
pub struct Ring {
    /// With the bytes that each counts.
    records: VecDeque<(Arc<Record>, usize)>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Ring {
    /// An empty one with these bounds.
    #[must_use]
    pub const fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, records_max, bytes_max }
    }

    /// Adds a record; those that have no room any more are given back, so that they are dropped where no lock is
    /// held. One that is over the bound on bytes alone has no room itself.
    pub fn push(&mut self, record: Arc<Record>) -> Vec<Arc<Record>> {
        let bytes = record.bytes();
        self.records.push_back((record, bytes));
        self.bytes += bytes;
        let mut out = Vec::new();
        while self.records.len() > self.records_max || self.bytes > self.bytes_max {
            let Some((record, bytes)) = self.records.pop_front() else { break };
            self.bytes -= bytes;
            out.push(record);
        }
        out
    }

    /// All of them, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Arc<Record>> {
        self.records.iter().map(|(record, _)| record)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What they count together.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
