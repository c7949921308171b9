//! An actor's journal: events that it appended, and a snapshot of what they came to.
//!
//! ```text
//! append -> staged -> (commit) -> stored: 1 2 3 4 5 6 7 8
//!                                         snapshot ^ after 5:  waking = restore(snapshot), apply 6, 7, 8
//! ```
//!
//! Events have numbers without gaps, from 1. [`Mark`] is what an activation must know of all that is
//! stored; its row is among the actor's values, so that it is read by a claim and written by the very
//! commit that changes it. [`Journal`] is that with what the running turn staged. [`Replay`] says what
//! a waking actor is given, one after the other, and finds what is missing.

use std::sync::Arc;

/// The longest name of an event, in bytes.
pub const EVENT_NAME_BYTES_MAX: usize = 256;
/// The longest content type of an event, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// The longest payload of an event, in bytes.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// The most events between two commit points.
pub const EVENTS_PER_COMMIT_MAX: usize = 1024;
/// The most bytes of events between two commit points.
pub const COMMIT_BYTES_MAX: usize = 8 << 20;
/// The most events that an actor which wakes by its journal may have after its snapshot.
pub const REPLAY_EVENTS_MAX: u64 = 1_000_000;
/// The longest snapshot, in bytes.
pub const SNAPSHOT_BYTES_MAX: usize = 64 << 20;
/// What an event counts beside its bytes.
const EVENT_OVERHEAD: usize = 64;

/// The name of the row in which a silo keeps an actor's [`Mark`] among its values. No guest and no operator
/// can name it, and it does not count against the actor's limit.
pub const JOURNAL: &str = "\0journal";

/// What an actor appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Names its shape: `deposited.v2`.
    pub name: Arc<str>,
    /// What the payload is: `application/json`.
    pub content_type: Arc<str>,
    /// The actor's own.
    pub payload: Arc<[u8]>,
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 is the first; one more than that of the one before.
    pub sequence: u64,
    /// When it was appended: milliseconds since 1970, never less than that of the one before.
    pub at_ms: u64,
    /// What.
    pub event: Event,
}

impl Entry {
    /// What it counts against bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Event { name, content_type, payload } = &self.event;
        name.len() + content_type.len() + payload.len() + EVENT_OVERHEAD
    }
}

/// What an actor's events came to, as its own `snapshot` wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the last event that is in it.
    pub sequence: u64,
    /// When it was taken: milliseconds since 1970.
    pub at_ms: u64,
    /// The actor's own.
    pub bytes: Arc<[u8]>,
}

/// What one commit writes to a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalWrite {
    /// Appended, in order.
    pub entries: Vec<Entry>,
    /// In place of an older one.
    pub snapshot: Option<Snapshot>,
    /// Events up to this one are dropped; 0 drops none.
    pub drop_through: u64,
}

impl JournalWrite {
    /// What it counts against the bound on pending bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let snapshot = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.bytes.len() + EVENT_OVERHEAD);
        self.entries.iter().map(Entry::bytes).sum::<usize>() + snapshot
    }
}

/// Which events stay once a snapshot has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of them, for audits.
    #[default]
    All,
    /// Only those that are not in the newest snapshot.
    SinceSnapshot,
}

impl Keep {
    /// As manifests and people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SinceSnapshot => "since-snapshot",
        }
    }
}

/// What a kind's author decides about the journals of its actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPolicy {
    /// A snapshot is due after so many events.
    pub every: u64,
    /// A snapshot is due after so many bytes of events.
    pub bytes: u64,
    /// What stays.
    pub keep: Keep,
}

impl Default for JournalPolicy {
    fn default() -> Self {
        Self { every: 1000, bytes: 256 * 1024, keep: Keep::All }
    }
}

/// How a [`Mark`]'s row begins; what a later version writes begins otherwise.
const VERSION: u8 = 1;

/// How far a journal has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Of the last event; 0 before the first.
    pub last: u64,
    /// When that was appended.
    pub last_at_ms: u64,
    /// Of the last event in the newest snapshot; 0 without one.
    pub snapshot: u64,
    /// Bytes of the events after it.
    pub bytes: u64,
    /// Events up to this one are dropped.
    pub dropped: u64,
}

impl Mark {
    /// How many events a waking actor is given.
    #[must_use]
    pub const fn since_snapshot(&self) -> u64 {
        self.last - self.snapshot
    }

    /// The row; none where nothing was ever appended.
    #[must_use]
    pub fn encode(&self) -> Option<Arc<[u8]>> {
        if *self == Self::default() {
            return None;
        }
        let mut row = vec![VERSION];
        for number in [self.last, self.last_at_ms, self.snapshot, self.bytes, self.dropped] {
            row.extend(number.to_le_bytes());
        }
        Some(row.into())
    }

    /// What the row says; none when this version cannot read it.
    #[must_use]
    pub fn decode(row: Option<&[u8]>) -> Option<Self> {
        let Some(row) = row else { return Some(Self::default()) };
        let (&VERSION, mut rest) = row.split_first()? else { return None };
        let mut numbers = [0; 5];
        for number in &mut numbers {
            let (bytes, after) = rest.split_first_chunk()?;
            *number = u64::from_le_bytes(*bytes);
            rest = after;
        }
        let [last, last_at_ms, snapshot, bytes, dropped] = numbers;
        let whole = rest.is_empty() && dropped <= snapshot && snapshot <= last;
        whole.then_some(Self { last, last_at_ms, snapshot, bytes, dropped })
    }
}

/// Why an event was not staged. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Its name, content type or payload is over this many bytes.
    #[error("a part of the event is over its limit of {0} bytes")]
    TooLarge(u64),
    /// There are too many between two commit points.
    #[error(
        "more than {EVENTS_PER_COMMIT_MAX} events, or {COMMIT_BYTES_MAX} bytes of them, before a commit point: commit \
         first"
    )]
    TooMany,
    /// It could not be replayed any more.
    #[error("{REPLAY_EVENTS_MAX} events have no snapshot, and no more can be replayed: take a snapshot first")]
    TooLong,
}

/// An activation's journal, with what is staged for the next commit point.
#[derive(Debug, Default)]
pub struct Journal {
    mark: Mark,
    /// As it was at the last commit point, if it changed since.
    before: Option<Mark>,
    staged: JournalWrite,
    staged_bytes: usize,
    /// A snapshot is to be taken whatever the policy says.
    wanted: bool,
    /// The last event when somebody was told that one is due; 0 when nobody was.
    told: u64,
}

impl Journal {
    /// As it was loaded.
    #[must_use]
    pub fn new(mark: Mark) -> Self {
        Self { mark, ..Self::default() }
    }

    /// How far it has come, with what is staged.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Stages an event, and gives its number. `replays` says that the actor wakes by its journal.
    ///
    /// # Errors
    /// When it is over a bound.
    pub fn append(&mut self, event: Event, at_ms: u64, replays: bool) -> Result<u64, AppendError> {
        for (length, most) in [
            (event.name.len(), EVENT_NAME_BYTES_MAX),
            (event.content_type.len(), CONTENT_TYPE_BYTES_MAX),
            (event.payload.len(), EVENT_BYTES_MAX),
        ] {
            if length > most {
                return Err(AppendError::TooLarge(most as u64));
            }
        }
        let (sequence, at_ms) = (self.mark.last + 1, at_ms.max(self.mark.last_at_ms));
        let entry = Entry { sequence, at_ms, event };
        let bytes = entry.bytes();
        if self.staged.entries.len() >= EVENTS_PER_COMMIT_MAX || self.staged_bytes + bytes > COMMIT_BYTES_MAX {
            return Err(AppendError::TooMany);
        }
        if replays && self.mark.since_snapshot() >= REPLAY_EVENTS_MAX {
            return Err(AppendError::TooLong);
        }
        self.before.get_or_insert(self.mark);
        (self.mark.last, self.mark.last_at_ms) = (sequence, at_ms);
        self.mark.bytes += bytes as u64;
        self.staged_bytes += bytes;
        self.staged.entries.push(entry);
        Ok(sequence)
    }

    /// A snapshot is to be taken at the next occasion.
    pub const fn want_snapshot(&mut self) {
        (self.wanted, self.told) = (true, 0);
    }

    /// Whether a snapshot is due now and somebody is to be told: once, and again after as many events as the
    /// policy has between two snapshots, should none have been staged. None is due of what is in one already.
    pub const fn is_due(&mut self, policy: &JournalPolicy) -> bool {
        let since = self.mark.since_snapshot();
        let due = since > 0 && (self.wanted || since >= policy.every || self.mark.bytes >= policy.bytes);
        let tell = due && (self.told == 0 || self.mark.last - self.told >= policy.every);
        if tell {
            self.told = self.mark.last;
        }
        tell
    }

    /// Stages a snapshot of all that was appended so far, in place of the one before. It is of no use,
    /// and nothing is staged, when one has all of that.
    pub fn stage_snapshot(&mut self, bytes: Arc<[u8]>, at_ms: u64, keep: Keep) {
        (self.wanted, self.told) = (false, 0);
        if self.mark.since_snapshot() == 0 {
            return;
        }
        self.before.get_or_insert(self.mark);
        let sequence = self.mark.last;
        (self.mark.snapshot, self.mark.bytes) = (sequence, 0);
        if keep == Keep::SinceSnapshot {
            (self.mark.dropped, self.staged.drop_through) = (sequence, sequence);
        }
        self.staged.snapshot = Some(Snapshot { sequence, at_ms, bytes });
    }

    /// Whether something is staged.
    #[must_use]
    pub const fn is_staged(&self) -> bool {
        self.before.is_some()
    }

    /// Takes what is staged, for a commit: what goes to the journal, and the mark as it is then.
    pub fn take(&mut self) -> Option<(Box<JournalWrite>, Mark)> {
        self.before.take()?;
        self.staged_bytes = 0;
        Some((Box::new(std::mem::take(&mut self.staged)), self.mark))
    }

    /// Undoes all that is staged.
    pub fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.mark = before;
            self.staged = JournalWrite::default();
            self.staged_bytes = 0;
        }
        (self.wanted, self.told) = (false, 0);
    }
}

/// What a waking actor is given next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the store for its snapshot, and give that to `restore`.
    Restore,
    /// Ask the store for events from this one on, and give them to [`Replay::give`].
    Read(u64),
    /// Give this one to `apply`.
    Apply(Entry),
    /// It is as it was.
    Done,
}

/// Why a journal cannot be replayed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreplayable {
    /// An event is not there.
    #[error("event {0} of its journal is not in the store")]
    Missing(u64),
    /// The snapshot is not there.
    #[error("the snapshot of its journal up to event {0} is not in the store")]
    NoSnapshot(u64),
    /// There are too many events, since it was not replayed before.
    #[error("{0} events of its journal have no snapshot, and at most {REPLAY_EVENTS_MAX} can be replayed")]
    TooLong(u64),
}

/// The events of a journal on their way to its waking actor: the snapshot, then each later event once and
/// in order, up to the last.
#[derive(Debug)]
pub struct Replay {
    last: u64,
    /// Of the next event.
    next: u64,
    /// Of the snapshot, if it is still to be restored.
    restore: Option<u64>,
    /// Read and not applied, the last one first.
    read: Vec<Entry>,
}

impl Replay {
    /// All that the mark says there is.
    ///
    /// # Errors
    /// When there is too much, or it begins with an event that was dropped.
    pub fn new(mark: Mark) -> Result<Self, Unreplayable> {
        if mark.since_snapshot() > REPLAY_EVENTS_MAX {
            return Err(Unreplayable::TooLong(mark.since_snapshot()));
        }
        let restore = (mark.snapshot > 0).then_some(mark.snapshot);
        Ok(Self { last: mark.last, next: mark.snapshot + 1, restore, read: Vec::new() })
    }

    /// What comes next.
    pub fn step(&mut self) -> Next {
        if self.restore.is_some() {
            return Next::Restore;
        }
        if let Some(entry) = self.read.pop() {
            self.next = entry.sequence + 1;
            return Next::Apply(entry);
        }
        if self.next > self.last { Next::Done } else { Next::Read(self.next) }
    }

    /// The snapshot that the store has, after [`Next::Restore`].
    ///
    /// # Errors
    /// When it is another one, or none.
    pub fn restore(&mut self, snapshot: Option<Snapshot>) -> Result<Snapshot, Unreplayable> {
        let expected = self.restore.take().unwrap_or(0);
        snapshot.filter(|it| it.sequence == expected).ok_or(Unreplayable::NoSnapshot(expected))
    }

    /// A page of events, after [`Next::Read`]; later ones than the last are left out.
    ///
    /// # Errors
    /// When one is missing.
    pub fn give(&mut self, mut page: Vec<Entry>) -> Result<(), Unreplayable> {
        page.retain(|entry| entry.sequence <= self.last);
        if page.is_empty() {
            return Err(Unreplayable::Missing(self.next));
        }
        if let Some((expected, _)) = (self.next..).zip(&page).find(|(expected, entry)| entry.sequence != *expected) {
            return Err(Unreplayable::Missing(expected));
        }
        page.reverse();
        self.read = page;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
