//! What of the outbox is in memory, and what to deliver next. Decides only; time is handed in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::envelope::{Tell, TellId};

use super::lines::{Bounds, Lines, Next};
use super::reading::{Place, Reading};

/// The shortest and longest wait before a tell whose turn failed is delivered again.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

#[derive(Debug)]
pub(super) struct State {
    lines: Lines,
    /// Tells of which the store must say whether they are handled.
    doubts: BTreeSet<TellId>,
    reading: Reading,
}

impl State {
    /// A silo starts behind: the rows of its life before wait in the store.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { lines: Lines::new(bounds), doubts: BTreeSet::new(), reading: Reading::pass() }
    }

    pub(super) fn held(&self) -> usize {
        self.lines.held()
    }

    /// A row is durable now.
    pub(super) fn sent(&mut self, id: &TellId, tell: Tell) {
        let tell = Arc::new(tell);
        if matches!(self.reading.sent(id, &tell), Place::Here) && !self.lines.hold(id, tell) {
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
        self.lines.remove(id);
    }

    /// Whether the turn of a tell may begin now.
    pub(super) fn begin(&mut self, id: &TellId) -> bool {
        self.lines.change(id, |line| line.begin(id.sequence)).unwrap_or(false)
    }

    /// The turn of a tell failed or will never begin. It comes again after `wait`; without one the
    /// failure counts against the tell and decides how long.
    pub(super) fn failed(&mut self, id: &TellId, wait: Option<Duration>, now: Instant) {
        self.lines.change(id, |line| {
            if let Some(failures) = line.failed(id.sequence, wait.is_none()) {
                let at = now + wait.unwrap_or_else(|| backoff(failures));
                line.retry_at = line.retry_at.max(Some(at));
            }
        });
    }

    /// It could not be delivered, or its commit was not written; nobody failed.
    pub(super) fn put_back(&mut self, id: &TellId, until: Instant) {
        self.lines.change(id, |line| {
            line.put_back(id.sequence);
            line.retry_at = line.retry_at.max(Some(until));
        });
    }

    /// Whether its commit landed is not known: the store must be asked.
    pub(super) fn doubt(&mut self, id: &TellId) {
        if self.lines.change(id, |line| line.doubt(id.sequence)) == Some(true) {
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
            self.lines.change(id, |line| line.is_there(id.sequence));
        }
    }

    /// It will never be handled. True when that was not known before.
    pub(super) fn condemn(&mut self, id: &TellId) -> bool {
        self.lines.change(id, |line| line.condemn(id.sequence)).unwrap_or(false)
    }

    /// The next tell to deliver; or when there may be one.
    pub(super) fn next(&mut self, now: Instant) -> Result<Next, Option<Instant>> {
        self.lines.next(now)
    }

    /// Whether a page of rows should be read: few at a time would cost as much as many.
    pub(super) fn wants_page(&self) -> bool {
        self.lines.has_room() && self.reading.wants_page()
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
        self.reading.end_page(rows, |id, tell| self.lines.hold(id, tell));
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1)
}
