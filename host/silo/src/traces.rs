//! Records of turns, for the kinds whose turns are recorded.
//!
//! There are several rings, each under a lock of its own that nobody waits for: a turn that finds one in use takes
//! the next, and when all are it goes unrecorded and is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::id::ActorId;
use quark_core::trace::{Ended, Occasion, Record, Ring};

use crate::api::{CLI_REQUESTS, TraceReport, TurnReport, TurnsWanted};
use crate::clock::unix_ms;

/// The most records that are kept, of all kinds together.
pub(crate) const RECORDS_MAX: usize = 16 * 1024;
/// The most bytes of them.
pub(crate) const BYTES_MAX: usize = 16 << 20;
/// How many rings share that.
const RINGS: usize = 8;

/// The last turns of the silo.
pub(crate) struct Traces {
    rings: [Mutex<Ring>; RINGS],
    last: AtomicU64,
    dropped: AtomicU64,
}

impl Default for Traces {
    /// Numbers go on after those of the silo's lives before, for whoever follows them.
    fn default() -> Self {
        let ring = || Mutex::new(Ring::new(RECORDS_MAX / RINGS, BYTES_MAX / RINGS));
        Self {
            rings: std::array::from_fn(|_| ring()),
            last: AtomicU64::new(unix_ms() * 1_000),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Traces {
    /// Keeps a record; never waits.
    pub(crate) fn add(&self, mut record: Record) {
        let sequence = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        (record.sequence, record.at_ms) = (sequence, unix_ms());
        let record = Arc::new(record);
        // In turn, so that all rings reach equally far back.
        let first = usize::try_from(sequence % RINGS as u64).unwrap_or(0);
        for at in (0..RINGS).map(|step| (first + step) % RINGS) {
            if let Some(mut ring) = self.rings[at].try_lock() {
                let out = ring.push(record);
                drop(ring);
                return drop(out);
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Those of that actor, of that kind, or all.
    pub(crate) fn look(&self, of: impl Fn(&ActorId) -> bool, wanted: &TurnsWanted) -> TraceReport {
        let fits = |record: &&Arc<Record>| of(&record.actor) && wanted.after.is_none_or(|last| record.sequence > last);
        let mut records: Vec<Arc<Record>> = Vec::new();
        for ring in &self.rings {
            let ring = ring.lock();
            if wanted.after.is_some() {
                records.extend(ring.records().filter(fits).take(wanted.limit).cloned());
            } else {
                records.extend(ring.records().rev().filter(fits).take(wanted.limit).cloned());
            }
        }
        records.sort_unstable_by_key(|record| record.sequence);
        let left_out = records.len().saturating_sub(wanted.limit);
        if wanted.after.is_some() {
            records.truncate(wanted.limit);
        } else {
            records.drain(..left_out);
        }
        let turns = records.iter().map(|record| report(record)).collect();
        TraceReport { turns, kinds: Vec::new(), dropped: self.dropped.load(Ordering::Relaxed) }
    }
}

/// A turn that is recorded, from its beginning to its end.
pub(crate) struct Traced {
    traces: Arc<Traces>,
    /// None once it is kept.
    turn: Mutex<Option<Begun>>,
}

struct Begun {
    record: Record,
    /// When the guest was entered; before that, when its actor began to wake.
    at: Instant,
    /// Its actor is not awake yet.
    wakes: bool,
}

impl Traced {
    pub(crate) fn begin(traces: &Arc<Traces>, record: Record, at: Instant, wakes: bool) -> Self {
        Self { traces: traces.clone(), turn: Mutex::new(Some(Begun { record, at, wakes })) }
    }

    /// The guest is entered, with so many bytes. Until then its actor woke, if it was asleep.
    pub(crate) fn entered(&self, at: Instant, bytes_in: u64) {
        if let Some(begun) = &mut *self.turn.lock() {
            if std::mem::take(&mut begun.wakes) {
                begun.record.woke = at.duration_since(begun.at);
            }
            (begun.record.bytes_in, begun.at) = (bytes_in, at);
        }
    }

    fn note(&self, note: impl FnOnce(&mut Record)) {
        if let Some(begun) = &mut *self.turn.lock() {
            note(&mut begun.record);
        }
    }

    /// It made a call, which took so long.
    pub(crate) fn called(&self, took: Duration) {
        self.note(|record| {
            record.calls += 1;
            record.called += took;
        });
    }

    /// A commit is made for it.
    pub(crate) fn commits(&self, bytes: u64) {
        self.note(|record| {
            record.commits += 1;
            record.bytes_committed += bytes;
        });
    }

    /// It, or its answer, waited so long for commits.
    pub(crate) fn waited(&self, took: Duration) {
        self.note(|record| record.commit += took);
    }

    /// The guest has ended, with so many bytes; or its actor did not wake.
    pub(crate) fn ended(&self, bytes_out: u64, ended: Ended, detail: &str) {
        if let Some(begun) = &mut *self.turn.lock() {
            let took = begun.at.elapsed();
            *(if begun.wakes { &mut begun.record.woke } else { &mut begun.record.ran }) = took;
            begun.record.bytes_out = bytes_out;
            begun.record.end(ended, detail);
        }
    }

    /// What it did is not to stand.
    pub(crate) fn breaks(&self, ended: Ended, detail: &str) {
        self.note(|record| record.end(ended, detail));
    }

    /// Nothing more will be known of it.
    pub(crate) fn keep(&self) {
        let begun = self.turn.lock().take();
        begun.into_iter().for_each(|begun| self.traces.add(begun.record));
    }
}

fn report(record: &Record) -> TurnReport {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut path: Vec<String> =
        record.path.frames().map(|frame| format!("{}.{}", full(&frame.actor), frame.method)).collect();
    path.reverse();
    TurnReport {
        sequence: record.sequence,
        at_ms: record.at_ms,
        actor: full(&record.actor),
        method: record.method.to_string(),
        occasion: record.occasion.name().into(),
        caller: caller(record),
        request_id: record.request.to_string(),
        path,
        queued_ns: nanos(record.queued),
        woke_ns: nanos(record.woke),
        ran_ns: nanos(record.ran),
        calls: record.calls,
        calls_ns: nanos(record.called),
        commits: record.commits,
        commit_ns: nanos(record.commit),
        arguments_bytes: record.bytes_in,
        result_bytes: record.bytes_out,
        committed_bytes: record.bytes_committed,
        stands: record.stands.name().into(),
        outcome: record.ended.name().into(),
        detail: record.detail.to_string(),
    }
}

fn caller(record: &Record) -> String {
    match (record.sender(), record.occasion) {
        (Some(sender), _) => full(sender),
        (None, Occasion::Call | Occasion::Tell) if record.request.starts_with(CLI_REQUESTS) => "cli".into(),
        (None, Occasion::Call | Occasion::Tell) => "http".into(),
        (None, Occasion::Timer | Occasion::Reminder | Occasion::Snapshot | Occasion::Notice) => "silo".into(),
    }
}

fn full(id: &ActorId) -> String {
    format!("{}/{}", id.kind, id.key)
}

#[cfg(test)]
mod tests {
    use quark_core::envelope::Path;
    use quark_core::id::{Key, KindName};
    use quark_core::trace::Stands;

    use super::*;

    fn record(key: &str, occasion: Occasion, request: &str) -> Record {
        let actor = ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(key).unwrap() };
        Record {
            sequence: 0,
            at_ms: 0,
            actor,
            method: "go".into(),
            occasion,
            teller: None,
            path: Path::START,
            request: request.into(),
            queued: Duration::from_nanos(1),
            woke: Duration::from_nanos(2),
            ran: Duration::from_nanos(3),
            calls: 4,
            called: Duration::from_nanos(5),
            commits: 6,
            commit: Duration::from_nanos(7),
            bytes_in: 8,
            bytes_out: 9,
            bytes_committed: 10,
            stands: Stands::Inside,
            ended: Ended::Ok,
            detail: "".into(),
        }
    }

    fn wanted(limit: usize, after: Option<u64>) -> TurnsWanted {
        TurnsWanted { limit, after, ..TurnsWanted::default() }
    }

    fn keys(report: &TraceReport) -> Vec<&str> {
        report.turns.iter().map(|turn| turn.actor.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn the_last_are_shown_in_order_and_the_next_after_one() {
        let traces = Traces::default();
        for n in 1..=20 {
            traces.add(record(&n.to_string(), Occasion::Call, ""));
        }
        let all = traces.look(|_| true, &wanted(100, None));
        assert_eq!(all.turns.len(), 20);
        assert!(all.turns.is_sorted_by_key(|turn| turn.sequence), "oldest first");
        assert_eq!(keys(&traces.look(|_| true, &wanted(3, None))), ["18", "19", "20"]);
        let fifth = all.turns[4].sequence;
        assert_eq!(keys(&traces.look(|_| true, &wanted(3, Some(fifth)))), ["6", "7", "8"], "none is passed over");
        assert_eq!(keys(&traces.look(|id| id.key.as_str() == "7", &wanted(3, None))), ["7"]);
        assert_eq!(all.dropped, 0);
    }

    #[test]
    fn they_are_bounded_and_the_newest_stay() {
        let traces = Traces::default();
        for n in 1..=2 * RECORDS_MAX {
            traces.add(record(&n.to_string(), Occasion::Call, ""));
        }
        let report = traces.look(|_| true, &wanted(usize::MAX, None));
        assert_eq!(report.turns.len(), RECORDS_MAX);
        assert_eq!(keys(&report)[0], (RECORDS_MAX + 1).to_string());
        let bytes: usize = traces.rings.iter().map(|ring| ring.lock().bytes()).sum();
        assert!(bytes <= BYTES_MAX, "{bytes}");
    }

    #[test]
    fn what_finds_no_free_ring_is_counted_and_does_not_wait() {
        let traces = Traces::default();
        let locked: Vec<_> = traces.rings.iter().map(Mutex::lock).collect();
        traces.add(record("a", Occasion::Call, ""));
        drop(locked);
        let seven: Vec<_> = traces.rings.iter().take(RINGS - 1).map(Mutex::lock).collect();
        traces.add(record("b", Occasion::Call, ""));
        drop(seven);
        let report = traces.look(|_| true, &wanted(9, None));
        assert_eq!((keys(&report), report.dropped), (vec!["b"], 1));
    }

    #[test]
    fn callers_have_names() {
        let caller = |occasion, request: &str| caller(&record("a", occasion, request));
        assert_eq!(caller(Occasion::Call, "cli-7"), "cli");
        assert_eq!(caller(Occasion::Tell, "7"), "http");
        assert_eq!(caller(Occasion::Reminder, "cli-7"), "silo");
        let told = Record { teller: Some(record("b", Occasion::Tell, "").actor), ..record("a", Occasion::Tell, "") };
        assert_eq!(super::caller(&told), "t:t/t#cart/b");
    }
}
