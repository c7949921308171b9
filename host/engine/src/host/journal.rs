//! `quark:actor/journal`: events that commit with the state, and what was appended before.

use quark_core::commit::CommitError;
use quark_core::journal::{AppendError, Entry, Event, SNAPSHOT_BYTES_MAX};
use wasmtime::AsContextMut as _;
use wasmtime::component::{Linker, Val};

use crate::bindings::quark::actor::journal;
use crate::bindings::quark::actor::state::StateError;
use crate::guest::Guest;
use crate::host::context::now_ms;
use crate::outside::{JournalError, Owned};
use crate::seats::attribute;

type Read = Result<Vec<journal::Entry>, StateError>;

impl journal::Host for Guest {
    fn append(&mut self, event: journal::Event) -> wasmtime::Result<Result<u64, StateError>> {
        if self.turn.read_only {
            return Ok(Err(StateError::ReadOnly));
        }
        self.stages();
        let replays = self.component.is_journaled();
        let journal = self.member.state.open_journal();
        let appended = journal.append(to_core(event), now_ms(), replays);
        self.snapshot_if_due();
        Ok(appended.map_err(|error| match error {
            AppendError::TooLarge(limit) => StateError::TooLarge(limit),
            AppendError::TooMany | AppendError::TooLong => StateError::Unavailable(error.to_string()),
        }))
    }

    async fn read(&mut self, first: u64, limit: u32) -> wasmtime::Result<Read> {
        let reading = self.read_journal(first, limit);
        self.turn.clock.pause();
        let outcome = reading.await;
        self.turn.clock.resume();
        self.journal_read(outcome)
    }

    /// It has no result, so what cannot be done ends the turn.
    fn snapshot_soon(&mut self) -> wasmtime::Result<()> {
        if !self.component.is_journaled() {
            return Err(wasmtime::Error::msg(
                "its component exports no `quark:actor/journaled@0.1.0`, so there is nobody to take a snapshot: add \
                 `export quark:actor/journaled@0.1.0;` to its world and write its functions",
            ));
        }
        if let Some(journal) = self.member.state.journal() {
            journal.want_snapshot();
        }
        self.snapshot_if_due();
        Ok(())
    }
}

/// Defines what suspends once more, for components in which it is an `async func`.
pub(crate) fn define_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("quark:actor/journal@0.1.0")?.func_wrap_concurrent(
        "read",
        |accessor, (first, limit): (u64, u32)| {
            Box::pin(async move {
                let (task, reading) = accessor.with(|mut access| -> wasmtime::Result<_> {
                    let mut store = access.as_context_mut();
                    attribute(&mut store)?;
                    let guest = store.data_mut();
                    Ok((guest.task(), guest.read_journal(first, limit)))
                })?;
                let outcome = reading.await;
                accessor.with(|mut access| {
                    let guest = access.data_mut();
                    guest.resume(task);
                    guest.journal_read(outcome).map(|answer| (answer,))
                })
            })
        },
    )
}

/// Why a read gave nothing.
enum Unread {
    /// The commit point before it.
    Commit(CommitError),
    Journal(JournalError),
}

impl Guest {
    fn snapshot_if_due(&mut self) {
        let policy = &self.component.kinds[self.kind_at].policy.journal;
        if self.component.is_journaled()
            && let Some(journal) = self.member.state.journal()
            && journal.is_due(policy)
        {
            self.member.wishes.snapshot = true;
        }
    }

    /// What `snapshot` answered.
    pub(crate) fn stage_snapshot(&mut self, bytes: Vec<Val>) -> Result<(), String> {
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(format!(
                "its snapshot has {} bytes, and at most {SNAPSHOT_BYTES_MAX} can be kept",
                bytes.len()
            ));
        }
        let bytes: Vec<u8> =
            bytes.iter().filter_map(|byte| if let Val::U8(byte) = byte { Some(*byte) } else { None }).collect();
        self.stages();
        let keep = self.kind().policy.journal.keep;
        if let Some(journal) = self.member.state.journal() {
            journal.stage_snapshot(bytes.into(), now_ms(), keep);
        }
        Ok(())
    }

    /// A commit point, so that a turn reads what it appended; then the events.
    fn read_journal(&mut self, first: u64, limit: u32) -> Owned<Result<Vec<Entry>, Unread>> {
        let write = self.reached();
        let committing = self.member.host.commit(self.turn.turn, write);
        let host = self.member.host.clone();
        Box::pin(async move {
            committing.await.map_err(Unread::Commit)?;
            host.journal(first, usize::try_from(limit).unwrap_or(usize::MAX)).await.map_err(Unread::Journal)
        })
    }

    fn journal_read(&mut self, outcome: Result<Vec<Entry>, Unread>) -> wasmtime::Result<Read> {
        match outcome {
            Ok(page) => Ok(Ok(page.into_iter().map(to_wit).collect())),
            Err(Unread::Journal(error)) => Ok(Err(StateError::Unavailable(error.to_string()))),
            Err(Unread::Commit(error)) => Err(self.broken(error)),
        }
    }
}

fn to_core(event: journal::Event) -> Event {
    let journal::Event { name, content_type, payload } = event;
    Event { name: name.into(), content_type: content_type.into(), payload: payload.into() }
}

fn to_wit(entry: Entry) -> journal::Entry {
    let Entry { sequence, at_ms, event: Event { name, content_type, payload } } = entry;
    let event =
        journal::Event { name: name.to_string(), content_type: content_type.to_string(), payload: payload.to_vec() };
    journal::Entry { sequence, at: at_ms, event }
}
