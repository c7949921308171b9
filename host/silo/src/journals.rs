//! Journals as people look at them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use quark_core::id::ActorId;
use quark_core::journal::{Entry, JOURNAL, Mark};

use crate::api::{EventReport, JournalPage, JournalReport};
use crate::silo::Inner;
use crate::store::{Snapshot, StoreError};

/// What a payload is that people can read.
const JSON: &str = "application/json";

impl Inner {
    /// Events of an actor's journal from that one on, as committed.
    pub(crate) async fn journal(&self, id: &ActorId, first: u64, limit: usize) -> Result<JournalPage, StoreError> {
        let page = self.store.journal(id, first, limit).await?;
        Ok(JournalPage { events: page.into_iter().map(report).collect() })
    }
}

/// How far the journal has come; none where nothing was ever appended.
pub(crate) fn mark_of(snapshot: Option<&Snapshot>) -> Option<JournalReport> {
    let row = snapshot?.values.get(JOURNAL)?;
    let mark = Mark::decode(Some(row))?;
    Some(JournalReport {
        last: mark.last,
        last_at_ms: mark.last_at_ms,
        first: mark.dropped + 1,
        snapshot: (mark.snapshot > 0).then_some(mark.snapshot),
        replayed: mark.since_snapshot(),
    })
}

fn report(entry: Entry) -> EventReport {
    let Entry { sequence, at_ms, event } = entry;
    let json = if &*event.content_type == JSON { serde_json::from_slice(&event.payload).ok() } else { None };
    let base64 = json.is_none().then(|| BASE64_STANDARD.encode(&event.payload));
    EventReport {
        sequence,
        at_ms,
        name: event.name.to_string(),
        content_type: event.content_type.to_string(),
        bytes: event.payload.len() as u64,
        json,
        base64,
    }
}
