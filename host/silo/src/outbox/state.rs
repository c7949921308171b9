//! What of the outbox is in memory, and what to deliver next. Decides only; time is handed in.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::envelope::{Tell, TellId};
use quark_core::id::ActorId;

use super::line::Line;
use super::reading::{Place, Reading};

/// The shortest and longest wait before a tell whose turn failed is delivered again.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// Sender and receiver.
type Pair = (Option<ActorId>, ActorId);
type LineId = u64;

/// The most that is in memory; more stays in the store alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) tells: usize,
    /// One tell is held whatever its size.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct State {
    bounds: Bounds,
    lines: HashMap<LineId, Entry>,
    by_pair: HashMap<Pair, LineId>,
    by_tell: HashMap<TellId, LineId>,
    /// Lines with something to deliver, the one that waits longest first.
    ready: BTreeSet<(u64, LineId)>,
    /// Lines that wait for a time.
    timed: BTreeSet<(Instant, LineId)>,
    /// Tells of which the store must say whether they are handled.
    doubts: BTreeSet<TellId>,
    /// The last number given to a line, or to its place among those that are ready.
    numbers: u64,
    bytes: usize,
    reading: Reading,
}

#[derive(Debug)]
struct Entry {
    pair: Pair,
    line: Line,
    stands: Stands,
}

/// Where a line is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Nowhere,
    Ready(u64),
    Until(Instant),
}

/// A tell to deliver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) id: TellId,
    pub(super) tell: Arc<Tell>,
    pub(super) failures: u32,
    /// It is a dead letter already: only its row must go.
    pub(super) dead: bool,
}

impl State {
    /// A silo starts behind: the rows of its life before wait in the store.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lines: HashMap::new(),
            by_pair: HashMap::new(),
            by_tell: HashMap::new(),
            ready: BTreeSet::new(),
            timed: BTreeSet::new(),
            doubts: BTreeSet::new(),
            numbers: 0,
            bytes: 0,
            reading: Reading::pass(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.by_tell.len()
    }

    /// A row is durable now.
    pub(super) fn sent(&mut self, id: &TellId, tell: Tell) {
        let tell = Arc::new(tell);
        if matches!(self.reading.sent(id, &tell), Place::Here) && !self.hold(id, tell) {
            self.reading.miss();
        }
    }

    /// The store may have rows that nobody told of: it is read again.
    pub(super) fn doubt_rows(&mut self) {
        self.reading.doubt();
    }

    /// A row is gone from the store.
    pub(super) fn over(&mut self, id: &TellId) {
        self.reading.ended(id);
        self.doubts.remove(id);
        let Some(at) = self.by_tell.remove(id) else { return };
        let row = self.lines.get_mut(&at).and_then(|entry| entry.line.remove(id.sequence));
        self.bytes -= row.map_or(0, |row| row.tell.bytes());
        self.settle(at);
    }

    /// Whether the turn of a tell may begin now.
    pub(super) fn begin(&mut self, id: &TellId) -> bool {
        self.change(id, |line| line.begin(id.sequence)).unwrap_or(false)
    }

    /// The turn of a tell failed or will never begin. It comes again after `wait`; without one the
    /// failure counts against the tell and decides how long.
    pub(super) fn failed(&mut self, id: &TellId, wait: Option<Duration>, now: Instant) {
        self.change(id, |line| {
            if let Some(failures) = line.failed(id.sequence, wait.is_none()) {
                let at = now + wait.unwrap_or_else(|| backoff(failures));
                line.retry_at = line.retry_at.max(Some(at));
            }
        });
    }

    /// It could not be delivered, or its commit was not written; nobody failed.
    pub(super) fn put_back(&mut self, id: &TellId, until: Instant) {
        self.change(id, |line| {
            line.put_back(id.sequence);
            line.retry_at = line.retry_at.max(Some(until));
        });
    }

    /// Whether its commit landed is not known: the store must be asked.
    pub(super) fn doubt(&mut self, id: &TellId) {
        if self.change(id, |line| line.doubt(id.sequence)) == Some(true) {
            self.doubts.insert(id.clone());
        }
    }

    /// A tell that the store must be asked about.
    pub(super) fn first_doubt(&self) -> Option<TellId> {
        self.doubts.first().cloned()
    }

    /// The store still has the row of a tell that was in doubt.
    pub(super) fn is_there(&mut self, id: &TellId) {
        if self.doubts.remove(id) {
            self.change(id, |line| line.is_there(id.sequence));
        }
    }

    /// It will never be handled. True when that was not known before.
    pub(super) fn condemn(&mut self, id: &TellId) -> bool {
        self.change(id, |line| line.condemn(id.sequence)).unwrap_or(false)
    }

    /// The next tell to deliver; or when there may be one.
    pub(super) fn next(&mut self, now: Instant) -> Result<Next, Option<Instant>> {
        while let Some(&(at, line)) = self.timed.first()
            && at <= now
        {
            self.timed.pop_first();
            if let Some(entry) = self.lines.get_mut(&line) {
                entry.line.retry_at = None;
                entry.stands = Stands::Nowhere;
            }
            self.settle(line);
        }
        while let Some((_, at)) = self.ready.pop_first() {
            let Some(entry) = self.lines.get_mut(&at) else { continue };
            entry.stands = Stands::Nowhere;
            let sent = entry.line.send().map(|(sequence, row)| Next {
                id: TellId { from: entry.pair.0.clone(), sequence },
                tell: row.tell.clone(),
                failures: row.failures,
                dead: row.dead,
            });
            self.settle(at);
            if let Some(next) = sent {
                return Ok(next);
            }
        }
        Err(self.timed.first().map(|(at, _)| *at))
    }

    /// Whether a page of rows should be read: few at a time would cost as much as many.
    pub(super) fn wants_page(&self) -> bool {
        let room = self.held() <= self.bounds.tells / 2 && self.bytes <= self.bounds.bytes / 2;
        room && self.reading.wants_page()
    }

    /// The page that is read now has the rows after this one.
    pub(super) fn begin_page(&mut self) -> Option<TellId> {
        self.reading.begin_page()
    }

    /// The row that is next cannot be read: the reading goes on behind it.
    pub(super) fn skip(&mut self, id: TellId) {
        self.reading.skip(id);
    }

    /// The page could not be read.
    pub(super) fn drop_page(&mut self) {
        self.reading.drop_page();
    }

    /// A page has been read; an empty one is the end.
    pub(super) fn end_page(&mut self, rows: Vec<(TellId, Tell)>) {
        let rows = rows.into_iter().map(|(id, tell)| (id, Arc::new(tell))).collect();
        let mut reading = std::mem::take(&mut self.reading);
        reading.end_page(rows, |id, tell| self.hold(id, tell));
        self.reading = reading;
    }

    fn hold(&mut self, id: &TellId, tell: Arc<Tell>) -> bool {
        if self.by_tell.contains_key(id) {
            return true;
        }
        let (held, bytes) = (self.held(), self.bytes + tell.bytes());
        if held > 0 && (held >= self.bounds.tells || bytes > self.bounds.bytes) {
            return false;
        }
        self.bytes = bytes;
        let pair = (id.from.clone(), tell.to.clone());
        let at = *self.by_pair.entry(pair).or_insert_with_key(|pair| {
            self.numbers += 1;
            let entry = Entry { pair: pair.clone(), line: Line::default(), stands: Stands::Nowhere };
            self.lines.insert(self.numbers, entry);
            self.numbers
        });
        self.by_tell.insert(id.clone(), at);
        if let Some(entry) = self.lines.get_mut(&at) {
            entry.line.add(id.sequence, tell);
        }
        self.settle(at);
        true
    }

    fn change<T>(&mut self, id: &TellId, change: impl FnOnce(&mut Line) -> T) -> Option<T> {
        let at = *self.by_tell.get(id)?;
        let changed = change(&mut self.lines.get_mut(&at)?.line);
        self.settle(at);
        Some(changed)
    }

    /// Enters a line that has changed where it belongs.
    fn settle(&mut self, at: LineId) {
        let Some(entry) = self.lines.get_mut(&at) else { return };
        let stands = match (entry.line.retry_at, entry.stands) {
            _ if entry.line.is_empty() => Stands::Nowhere,
            (Some(retry), _) => Stands::Until(retry),
            (None, _) if !entry.line.may_send() => Stands::Nowhere,
            (None, ready @ Stands::Ready(_)) => ready,
            (None, Stands::Nowhere | Stands::Until(_)) => {
                self.numbers += 1;
                Stands::Ready(self.numbers)
            }
        };
        let stood = std::mem::replace(&mut entry.stands, stands);
        if stood != stands {
            match stood {
                Stands::Nowhere => false,
                Stands::Ready(place) => self.ready.remove(&(place, at)),
                Stands::Until(when) => self.timed.remove(&(when, at)),
            };
            match stands {
                Stands::Nowhere => false,
                Stands::Ready(place) => self.ready.insert((place, at)),
                Stands::Until(when) => self.timed.insert((when, at)),
            };
        }
        if entry.line.is_empty()
            && let Some(entry) = self.lines.remove(&at)
        {
            self.by_pair.remove(&entry.pair);
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1)
}
