//! What is told of an actor's journal.

use serde::{Deserialize, Serialize};

/// How far an actor's journal has come, as committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// The number of its last event.
    pub last: u64,
    /// When that was appended: milliseconds since 1970.
    pub last_at_ms: u64,
    /// The number of the oldest event that is kept.
    pub first: u64,
    /// The number of the last event in the newest snapshot, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
    /// How many events stand after that.
    pub replayed: u64,
}

/// An event of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReport {
    /// Its number.
    pub sequence: u64,
    /// When it was appended: milliseconds since 1970.
    pub at_ms: u64,
    /// Its name.
    pub name: String,
    /// What its payload is.
    pub content_type: String,
    /// Bytes of its payload.
    pub bytes: u64,
    /// The payload, where it is JSON and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// The payload otherwise, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// A moment of an actor's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Right after that event.
    Sequence(u64),
    /// After the last event that was appended by then: milliseconds since 1970.
    Time(u64),
}

/// What an actor's journal came to at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalState {
    /// The number of the last event that is in it.
    pub sequence: u64,
    /// When that was appended: milliseconds since 1970; none when the event itself is not kept any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// The last event of the snapshot that it began with, if there was one at or before that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// How many events were applied.
    pub applied: u64,
    /// What the actor's `snapshot` said is `json`, `msgpack` (shown as JSON) or other `bytes`.
    pub format: String,
    /// Bytes of it.
    pub bytes: u64,
    /// All of it, where it can be shown as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// All of it otherwise, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// Some events of a journal that follow one another; none at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPage {
    /// In order.
    pub events: Vec<EventReport>,
}
