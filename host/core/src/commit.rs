//! What one commit point writes, and how that can end.

use crate::envelope::{Tell, TellId};
use crate::id::ActorId;
use crate::journal::JournalWrite;
use crate::reminders::{Fired, ReminderChange, ReminderId};
use crate::state::Change;

/// The most tells that one turn may send between two commit points.
pub const TELLS_PER_COMMIT_MAX: usize = 4096;
/// Commits of one actor number its tells: commit << TELL_BITS | place.
const TELL_BITS: u32 = 12;

/// What a turn staged since its last commit point. Empty when it only read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// State values set and deleted.
    pub changes: Vec<Change>,
    /// Tells to send, in order; at most [`TELLS_PER_COMMIT_MAX`].
    pub tells: Vec<Tell>,
    /// The tell whose turn this is: its outbox row goes with this commit.
    pub handled: Option<TellId>,
    /// What goes to its journal; its row is among the changes.
    pub journal: Option<Box<JournalWrite>>,
    /// The reminder whose time this turn was for: its row moves on with this commit, if it stands yet as it was.
    pub fired: Option<Box<Fired>>,
    /// Reminders registered and unregistered; they are as these say, whatever `fired` does.
    pub reminders: Vec<ReminderChange>,
}

/// What a turn was given out of the store's rows, which its first commit point takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handled {
    /// A tell.
    Tell(TellId),
    /// A reminder's time.
    Reminder(Box<Fired>),
}

impl Write {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing = self.changes.is_empty() && self.tells.is_empty() && self.handled.is_none();
        nothing && self.fired.is_none() && self.reminders.is_empty() && self.journal.is_none()
    }

    /// What it counts against the bound on pending bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let changes = self.changes.iter();
        let values: usize = changes.map(|c| c.name.len() + c.value.as_ref().map_or(0, |value| value.len()) + 32).sum();
        let journal = self.journal.as_ref().map_or(0, |journal| journal.bytes());
        let reminders = self.reminders.iter().map(ReminderChange::bytes).sum::<usize>();
        values + self.tells.iter().map(Tell::bytes).sum::<usize>() + reminders + self.fired_bytes() + journal
    }

    fn fired_bytes(&self) -> usize {
        self.fired.as_ref().map_or(0, |fired| fired.row.bytes())
    }

    /// The reminders that it changes.
    pub fn reminder_ids(&self) -> impl Iterator<Item = &ReminderId> {
        self.fired.iter().map(|fired| &fired.row.id).chain(self.reminders.iter().map(ReminderChange::id))
    }

    /// Those that it registers are from the commit with that e-tag.
    pub(crate) fn stamp(&mut self, etag: u64) {
        for change in &mut self.reminders {
            if let ReminderChange::Set(row) = change {
                row.revision = etag;
            }
        }
    }
}

/// A write of one activation, as the store gets it. The store checks fence and e-tag and applies
/// all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose.
    pub actor: ActorId,
    /// The activation's generation: refused as `Fenced` when a newer one has claimed the actor.
    pub generation: u64,
    /// The e-tag that this commit makes; its predecessor's is one less. 1 is the first.
    pub etag: u64,
    /// What it writes.
    pub write: Write,
}

impl Commit {
    /// The id of this commit's tell at that place.
    #[must_use]
    pub fn tell_id(&self, place: usize) -> TellId {
        debug_assert!(place < TELLS_PER_COMMIT_MAX, "tells per commit are bounded when staged");
        TellId { from: Some(self.actor.clone()), sequence: self.etag << TELL_BITS | place as u64 }
    }
}

/// Why a commit did not land.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A newer activation owns the actor. Nothing was written; this activation must end.
    #[error("a newer activation owns the actor; nothing was written")]
    Fenced,
    /// The stored e-tag is another one. Nothing was written; this activation must end.
    #[error("somebody else wrote the actor's state; nothing was written")]
    Conflict,
    /// The store has no room or cannot be reached. Nothing was written; a repeat is safe.
    #[error("the store is unavailable; nothing was written, try again in {retry_ms} ms")]
    Unavailable {
        /// Milliseconds until a repeat can help.
        retry_ms: u64,
    },
    /// The store broke off while it wrote. The write may be there; the next load tells.
    #[error("the store failed while it wrote; the write may have landed")]
    Unknown,
}
