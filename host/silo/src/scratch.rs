//! An actor's past: what its journal came to at some moment, by an instance that is made for that, can send
//! nothing, and is gone when it has answered. The actor itself is neither woken nor claimed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use quark_core::activation::Turn;
use quark_core::commit::CommitError;
use quark_core::envelope::Path;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::journal::{Entry, JOURNAL, Mark, REPLAY_EVENTS_MAX, Snapshot};
use quark_core::reminders::Reminder;
use quark_core::time::Time;
use quark_core::timers::{NewTimer, TimerRefusal};
use quark_engine::{
    CallFailure, Calling, JournalError, Level, OutgoingCall, Outside, Owned, Past, Reached, Returned, Trap,
};

use crate::activation::alone;
use crate::api::{Failure, JournalState, Moment, codes};
use crate::kinds::Served;
use crate::outside::unread;
use crate::service::unavailable;
use crate::silo::Inner;

/// How many look back at once; one more is told to come again.
pub(crate) const SCRATCHES_MAX: usize = 2;
/// How long one may take in all. Each call of the guest has the time of a turn within that.
const TIME_MAX: Duration = Duration::from_secs(60);
/// When one that finds no place is told to come again.
const RETRY_MS: u64 = 1_000;

/// What a guest is told that wants to do something in the past.
const DENIED: &str = "this instance looks back at the actor's past: it can send nothing";

impl Inner {
    /// What an actor was at that moment.
    pub(crate) async fn journal_at(
        self: &Arc<Self>,
        served: &Arc<Served>,
        id: &ActorId,
        moment: Moment,
    ) -> Result<JournalState, Failure> {
        if !served.component.is_journaled() {
            let message = format!("`{}` does not wake by its journal", served.kind().name.short());
            return Err(Failure::new(codes::NOT_JOURNALED, message).next(
                "only a component that exports `quark:actor/journaled@0.1.0` says what its events came to; `quark \
                 journal` without --at lists them",
            ));
        }
        let busy = || {
            let message = format!("{SCRATCHES_MAX} look at actors' pasts just now, and more may not at once");
            Failure { retry_after_ms: Some(RETRY_MS), ..Failure::new("overloaded", message) }.next("try again")
        };
        let _one_of_few = self.scratch.try_acquire().map_err(|_| busy())?;
        let late = || {
            let message = format!("{id}: it took longer than {} s to look back that far", TIME_MAX.as_secs());
            Failure::new("deadline-exceeded", message).next("choose a moment soon after a snapshot")
        };
        tokio::time::timeout(TIME_MAX, self.look_back(served, id, moment)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn look_back(
        self: &Arc<Self>,
        served: &Arc<Served>,
        id: &ActorId,
        moment: Moment,
    ) -> Result<JournalState, Failure> {
        let stored = self.store.read(id).await.map_err(unavailable)?;
        let row = stored.as_ref().and_then(|stored| stored.values.get(JOURNAL));
        let unreadable = || Failure::new(codes::INTERNAL, "its journal was written by a later version of Quark");
        let mark = Mark::decode(row.map(|row| &**row)).ok_or_else(unreadable)?;
        let sequence = self.sequence_at(id, mark, moment).await?;
        // After the mark: an older one would have been replaced meanwhile, and what it needs dropped.
        let snapshot = self.store.journal_snapshot(id).await.map_err(unavailable)?;
        let from = begins_at(id, mark, snapshot.as_ref().map(|snapshot| snapshot.sequence), sequence)?;
        let snapshot = snapshot.filter(|snapshot| snapshot.sequence == from);
        let place = self.scratch_place(served).await.map_err(|trap| failed(id, trap))?;
        let outside = Arc::new(Scratch { silo: self.clone(), id: id.clone(), last: sequence, snapshot });
        let past = Past {
            actor: id.clone(),
            component: served.component.clone(),
            kind_at: served.at,
            mark: Mark { last: sequence, snapshot: from, ..Mark::default() },
            outside,
        };
        let said = alone(served.component.nests(), Box::pin(past.snapshot())).await;
        drop(place);
        let at_ms = self.store.journal(id, sequence, 1).await.map_err(unavailable)?;
        let at_ms = at_ms.first().filter(|entry| entry.sequence == sequence).map(|entry| entry.at_ms);
        let said = said.map_err(|trap| failed(id, trap))?;
        let (format, json) = shown(&said);
        Ok(JournalState {
            sequence,
            at_ms,
            restored: (from > 0).then_some(from),
            applied: sequence - from,
            format: format.into(),
            bytes: said.len() as u64,
            base64: json.is_none().then(|| BASE64_STANDARD.encode(&said)),
            json,
        })
    }

    /// The number of the last event by then.
    async fn sequence_at(&self, id: &ActorId, mark: Mark, moment: Moment) -> Result<u64, Failure> {
        let none = |message: String| Failure::new(codes::NO_SUCH_EVENT, message);
        if mark.last == 0 {
            let next = "its journal begins with its first event: call a method that appends one";
            return Err(none(format!("{id} never appended an event")).next(next));
        }
        match moment {
            Moment::Sequence(n) if (1..=mark.last).contains(&n) => Ok(n),
            Moment::Sequence(n) => {
                Err(none(format!("{id} has no event {n}")).next(format!("its events are 1 to {}", mark.last)))
            }
            Moment::Time(at) if at >= mark.last_at_ms => Ok(mark.last),
            Moment::Time(at) => {
                // Times never fall along a journal: half of what is left each time.
                let (mut before, mut after) = (mark.dropped, mark.last);
                while after - before > 1 {
                    let middle = before + (after - before) / 2;
                    let page = self.store.journal(id, middle, 1).await.map_err(unavailable)?;
                    match page.first() {
                        Some(entry) if entry.sequence == middle && entry.at_ms <= at => before = middle,
                        Some(entry) if entry.sequence == middle => after = middle,
                        // It was dropped meanwhile.
                        _ => before = middle,
                    }
                }
                if before > mark.dropped {
                    return Ok(before);
                }
                let message = match mark.dropped {
                    0 => format!("{id} had no events then"),
                    dropped => format!("its events up to {dropped} were dropped, and no later one is that old"),
                };
                let first = mark.dropped + 1;
                Err(none(message).next(format!("its first event that is kept is {first}: --at {first}")))
            }
        }
    }
}

/// The last event of the snapshot to begin with, so that the actor is as it was after that event; 0 for none.
fn begins_at(id: &ActorId, mark: Mark, snapshot: Option<u64>, sequence: u64) -> Result<u64, Failure> {
    let snapshot = snapshot.unwrap_or(0);
    let from = if snapshot <= sequence { snapshot } else { 0 };
    if from == 0 && mark.dropped > 0 {
        let dropped = mark.dropped;
        let message =
            format!("{id}: what it was at event {sequence} is gone, since events up to {dropped} were dropped");
        return Err(Failure::new(codes::NO_SUCH_EVENT, message).next(format!(
            "it can be shown from event {snapshot} on; `journal.keep = \"all\"` in its manifest keeps all events"
        )));
    }
    if sequence - from > REPLAY_EVENTS_MAX {
        let message = format!(
            "{id}: {} events would have to be applied, and at most {REPLAY_EVENTS_MAX} can be",
            sequence - from
        );
        return Err(Failure::new("too-large", message).next("choose an earlier event, or one after its snapshot"));
    }
    Ok(from)
}

fn failed(id: &ActorId, trap: Trap) -> Failure {
    match trap {
        Trap::NoRoom(reason) => {
            Failure { retry_after_ms: Some(RETRY_MS), ..Failure::new("overloaded", reason) }.next("try again")
        }
        Trap::Commit(_) => {
            let message = format!("{id}: the store is unavailable; nothing was changed");
            Failure { retry_after_ms: Some(RETRY_MS), ..Failure::new("unavailable", message) }
        }
        Trap::Refused(reason) | Trap::Guest(reason) | Trap::Undecided(reason) => {
            Failure::new("failed", format!("{id} could not be made as it was: {reason}"))
                .next("nothing was harmed; the version that is deployed must be able to apply its old events")
        }
        trap @ (Trap::Failed(_)
        | Trap::Abandoned
        | Trap::Overdue(_)
        | Trap::Neighbour(_)
        | Trap::Unbegun
        | Trap::CoolsDown { .. }
        | Trap::Stopped) => {
            Failure::new("failed", format!("{id} could not be made as it was: {trap}")).next("try again")
        }
    }
}

/// What people can read of what `snapshot` said.
fn shown(bytes: &[u8]) -> (&'static str, Option<serde_json::Value>) {
    if let Ok(json) = serde_json::from_slice(bytes) {
        return ("json", Some(json));
    }
    let mut reader = rmp_serde::Deserializer::new(bytes);
    let value = <serde_json::Value as serde::Deserialize>::deserialize(&mut reader).ok();
    // Almost any byte is a number in MessagePack.
    match value.filter(|value| reader.get_ref().is_empty() && (value.is_object() || value.is_array())) {
        Some(json) => ("msgpack", Some(json)),
        None => ("bytes", None),
    }
}

/// What surrounds the instance: its journal up to that event, and nothing else.
struct Scratch {
    silo: Arc<Inner>,
    id: ActorId,
    last: u64,
    snapshot: Option<Snapshot>,
}

impl Outside for Scratch {
    fn call(&self, _: OutgoingCall) -> Calling {
        Calling::Done(Err(CallFailure::Call(CallError::Denied(DENIED.into()))))
    }

    fn is_given_up(&self, _: Turn, _: &Path) -> bool {
        false
    }

    /// Nothing can be staged, so there is nothing to commit.
    fn commit(&self, _: Turn, _: Reached) -> Owned<Result<u64, CommitError>> {
        Box::pin(async { Ok(0) })
    }

    fn waits(&self, _: Turn, _: u32) {}

    fn resumes(&self, _: Turn, _: u32) {}

    fn returning(&self) -> Owned<Result<Returned, CommitError>> {
        Box::pin(std::future::pending())
    }

    fn staged(&self, _: Turn) {}

    fn is_waited_for(&self) -> bool {
        false
    }

    fn reaches(&self, _: Turn) -> bool {
        true
    }

    /// Refused before it comes here.
    fn start_timer(&self, _: Turn, _: NewTimer<'_>) -> Result<(), TimerRefusal> {
        Ok(())
    }

    fn stop_timer(&self, _: &str) -> bool {
        false
    }

    fn journal(&self, first: u64, limit: usize) -> Owned<Result<Vec<Entry>, JournalError>> {
        let (silo, id, last) = (self.silo.clone(), self.id.clone(), self.last);
        Box::pin(async move {
            let mut page = silo.store.journal(&id, first, limit).await.map_err(unread)?;
            page.retain(|entry| entry.sequence <= last);
            Ok(page)
        })
    }

    fn journal_snapshot(&self) -> Owned<Result<Option<Snapshot>, JournalError>> {
        let snapshot = self.snapshot.clone();
        Box::pin(async { Ok(snapshot) })
    }

    fn reminders(&self, _: Turn) -> Owned<Result<Vec<Reminder>, String>> {
        Box::pin(async { Err(DENIED.into()) })
    }

    fn children(&self) -> Vec<ActorId> {
        Vec::new()
    }

    fn unwatch(&self, _: &ActorId) {}

    fn check_tell(&self, _: &ActorId, _: &str, _: &str) -> Result<Vec<u8>, CallError> {
        Err(CallError::Denied(DENIED.into()))
    }

    fn etag(&self) -> Option<u64> {
        None
    }

    fn now(&self) -> Time {
        self.silo.clock.now()
    }

    fn random(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        rand::fill(&mut bytes[..]);
        bytes
    }

    /// Not into the actor's log: it did not happen now.
    fn log(&self, _: Level, line: &str) {
        tracing::debug!(actor = %self.id, event = self.last, "looking back: {line}");
    }
}

#[cfg(test)]
mod tests {
    use quark_core::id::{Key, KindName};

    use super::*;

    #[test]
    fn it_begins_at_the_newest_snapshot_that_is_not_too_new() {
        let id = ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse("a").unwrap() };
        let mark = |dropped| Mark { last: 2_000_000, snapshot: 50, dropped, ..Mark::default() };
        let from = |dropped, snapshot, sequence| {
            begins_at(&id, mark(dropped), snapshot, sequence).map_err(|failure| failure.code)
        };
        assert_eq!(from(0, None, 7), Ok(0));
        assert_eq!(from(0, Some(50), 50), Ok(50));
        assert_eq!(from(0, Some(50), 51), Ok(50));
        assert_eq!(from(0, Some(50), 49), Ok(0), "all events are there");
        assert_eq!(from(50, Some(50), 50), Ok(50));
        assert_eq!(from(50, Some(50), 49), Err(codes::NO_SUCH_EVENT.into()));
        assert_eq!(from(0, None, 1_000_000), Ok(0));
        assert_eq!(from(0, None, 1_000_001), Err("too-large".into()));
    }

    #[test]
    fn what_can_be_read_is_shown() {
        assert_eq!(shown(b"{\"a\":1}"), ("json", Some(serde_json::json!({ "a": 1 }))));
        assert_eq!(shown(&[0x81, 0xa1, b'a', 0x07]), ("msgpack", Some(serde_json::json!({ "a": 7 }))));
        for bytes in [&[0x07][..], &[0x81, 0xa1, b'a', 0x07, 0x00], &[0x81], &[], &[0xff, 0xfe]] {
            let (format, json) = shown(bytes);
            assert!(json.is_none() || format == "json", "{bytes:?} {format}");
        }
    }
}
