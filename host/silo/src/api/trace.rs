//! What is told of turns.

use serde::{Deserialize, Serialize};

/// How the request ids of the `quark` command begin, by which its calls are told from others.
pub const CLI_REQUESTS: &str = "cli-";

/// Which records of turns somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct TurnsWanted {
    /// The kind as written: short or full; none for all.
    pub kind: Option<String>,
    /// With a kind: only that actor's.
    pub key: Option<String>,
    /// At most this many.
    pub limit: usize,
    /// Only later ones than that, and of those the first; else the last that there are.
    pub after: Option<u64>,
}

/// Records of turns, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// In the order in which they ended.
    pub turns: Vec<TurnReport>,
    /// The full names of the kinds whose turns are recorded now.
    pub kinds: Vec<String>,
    /// Turns since the silo started that should have been recorded and were not, since all places were just in use.
    pub dropped: u64,
}

/// What is known of one turn. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnReport {
    /// Counts all records; also over restarts of the silo it only grows.
    pub sequence: u64,
    /// When it ended, its commits included: milliseconds since 1970.
    pub at_ms: u64,
    /// Whose: `KIND/KEY` with the full kind.
    pub actor: String,
    /// Its method, or the hook.
    pub method: String,
    /// What it was for: `call`, `tell`, `timer`, `reminder`, `snapshot`, `notice`.
    pub occasion: String,
    /// Who called or told: an actor as `KIND/KEY`, `cli` (the `quark` command), `http` (another client), `silo` (what
    /// the silo or the actor itself began).
    pub caller: String,
    /// The same for all turns that come of one request.
    pub request_id: String,
    /// The turns that waited for it, the first one first: `KIND/KEY.METHOD`.
    pub path: Vec<String>,
    /// How long its message waited for its turn.
    pub queued_ns: u64,
    /// How long the actor took to wake for it; 0 when it was awake.
    pub woke_ns: u64,
    /// From when the guest was entered until it ended, waits included.
    pub ran_ns: u64,
    /// Calls that it made.
    pub calls: u32,
    /// How long those took together.
    pub calls_ns: u64,
    /// Commits that were made for it.
    pub commits: u32,
    /// How long it and its answer waited for commits; 0 where nothing was to be waited for.
    pub commit_ns: u64,
    /// Bytes of its arguments.
    pub arguments_bytes: u64,
    /// Bytes of its result.
    pub result_bytes: u64,
    /// Bytes that it committed.
    pub committed_bytes: u64,
    /// `alone`, `beside` (other turns of its actor waited), `inside` (of one that waited for it).
    pub stands: String,
    /// `ok`, `error` (its own), `trapped`, `refused`, ...
    pub outcome: String,
    /// Why, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}
