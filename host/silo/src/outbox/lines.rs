//! All lines: which tell is in which, and which line is next.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use quark_core::envelope::{Tell, TellId};
use quark_core::id::ActorId;

use super::line::Line;

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

/// A tell to deliver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) id: TellId,
    pub(super) tell: Arc<Tell>,
    pub(super) failures: u32,
    /// It is a dead letter already: only its row must go.
    pub(super) dead: bool,
}

/// Finds whatever it is asked for by an index, so that a tell costs the same however many there are.
#[derive(Debug)]
pub(super) struct Lines {
    bounds: Bounds,
    lines: HashMap<LineId, Entry>,
    by_pair: HashMap<Pair, LineId>,
    by_tell: HashMap<TellId, LineId>,
    /// Lines with something to deliver, the one that waits longest first.
    ready: BTreeSet<(u64, LineId)>,
    /// Lines that wait for a time.
    timed: BTreeSet<(Instant, LineId)>,
    /// The last number given to a line, or to its place among those that are ready.
    numbers: u64,
    bytes: usize,
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

impl Lines {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lines: HashMap::new(),
            by_pair: HashMap::new(),
            by_tell: HashMap::new(),
            ready: BTreeSet::new(),
            timed: BTreeSet::new(),
            numbers: 0,
            bytes: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.by_tell.len()
    }

    /// Whether less than half of what may be held is.
    pub(super) fn has_room(&self) -> bool {
        self.held() <= self.bounds.tells / 2 && self.bytes <= self.bounds.bytes / 2
    }

    /// Takes a tell up, at the end of its line; false when there is no room for it.
    pub(super) fn hold(&mut self, id: &TellId, tell: Arc<Tell>) -> bool {
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

    /// Lets go of a tell.
    pub(super) fn remove(&mut self, id: &TellId) {
        let Some(at) = self.by_tell.remove(id) else { return };
        let row = self.lines.get_mut(&at).and_then(|entry| entry.line.remove(id.sequence));
        self.bytes -= row.map_or(0, |row| row.tell.bytes());
        self.settle(at);
    }

    /// Changes the line of a tell, if it is held.
    pub(super) fn change<T>(&mut self, id: &TellId, change: impl FnOnce(&mut Line) -> T) -> Option<T> {
        let at = *self.by_tell.get(id)?;
        let changed = change(&mut self.lines.get_mut(&at)?.line);
        self.settle(at);
        Some(changed)
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
