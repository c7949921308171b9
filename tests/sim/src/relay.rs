//! The relay: brings the outbox's tells to their receivers until they are handled.
//!
//! Of each pair of actors at most a window of tells is under way, in order. A failure takes all of
//! the pair back (their attempt's epoch is over: a receiver skips them) and starts again at the
//! oldest after a wait. A tell whose commit ended in doubt is not repeated before the outbox was
//! read again: it may be handled. While the outbox is read nothing is sent, or a row that only the
//! reading finds would be overtaken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quark_core::envelope::{Tell, TellId};
use quark_core::time::Time;

use crate::Mutation;
use crate::context::{Context, Due};
use crate::store::{Store, Write};
use crate::trace::Event;
use crate::workload::{delivery, index};

/// Failures of the receiver after which a tell is a dead letter.
const FAILURES_MAX: u32 = 4;

/// How an attempt went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The receiver's: it trapped or refused to wake.
    Receiver,
    /// Nobody's: no room, or a commit that was not written.
    Passing,
    /// A commit ended in doubt: the tell may be handled.
    Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waits,
    Sent,
    /// Its turn has begun; the end of that turn or of its commit is to come.
    Begun,
    Doubtful,
    Discarding,
}

#[derive(Debug)]
struct Row {
    tell: Tell,
    phase: Phase,
    failures: u32,
}

#[derive(Debug, Default)]
struct Pair {
    rows: BTreeMap<TellId, Row>,
    epoch: u64,
    not_before: Time,
    tries: u32,
}

#[derive(Debug)]
struct Scan {
    doubtful: BTreeSet<TellId>,
    /// Over since the scan began: a page may still show them.
    over: BTreeSet<TellId>,
    found: BTreeMap<TellId, Tell>,
}

type PairId = (Option<usize>, usize);

/// What of the outbox is known in memory.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    pairs: BTreeMap<PairId, Pair>,
    places: BTreeMap<TellId, PairId>,
    scan: Option<Scan>,
    again: bool,
    pub(crate) stopping: bool,
}

impl Relay {
    /// A row that is in the outbox now.
    pub(crate) fn add(&mut self, cx: &mut Context, id: TellId, tell: Tell) {
        let pair = (id.from.as_ref().map(index), index(&tell.to));
        if self.places.insert(id.clone(), pair).is_none() {
            let row = Row { tell, phase: Phase::Waits, failures: 0 };
            self.pairs.entry(pair).or_default().rows.insert(id, row);
            self.wake(cx, pair);
        }
    }

    /// The row is not in the outbox any more.
    pub(crate) fn over(&mut self, cx: &mut Context, id: &TellId) {
        if let Some(scan) = &mut self.scan {
            scan.over.insert(id.clone());
        }
        if let Some(place) = self.places.remove(id)
            && let Some(pair) = self.pairs.get_mut(&place)
        {
            pair.rows.remove(id);
            pair.tries = 0;
            self.wake(cx, place);
        }
    }

    /// The turn of that delivery may begin; else it is an old one and must be skipped.
    pub(crate) fn begin(&mut self, cx: &Context, id: &TellId, epoch: u64) -> bool {
        let Some(pair) = self.places.get(id).and_then(|place| self.pairs.get_mut(place)) else { return false };
        let any = cx.mistake(Mutation::RunOldDeliveries) || cx.mistake(Mutation::HandleTwice);
        if pair.epoch != epoch && !any {
            return false;
        }
        match pair.rows.get_mut(id) {
            Some(row) if row.phase == Phase::Sent || any => {
                row.phase = Phase::Begun;
                true
            }
            _ => false,
        }
    }

    /// An attempt is over and the row may still be there: the one whose turn had begun, or a
    /// delivery of that epoch that never began (of an old epoch it failed already).
    pub(crate) fn failed(&mut self, cx: &mut Context, id: &TellId, epoch: Option<u64>, failure: Failure) {
        let Some(&place) = self.places.get(id) else { return };
        let Some(pair) = self.pairs.get_mut(&place) else { return };
        let Some(row) = pair.rows.get_mut(id) else { return };
        let current = match epoch {
            None => row.phase == Phase::Begun,
            Some(epoch) => row.phase == Phase::Sent && pair.epoch == epoch,
        };
        if !current {
            return;
        }
        let why = match failure {
            Failure::Receiver => "failed",
            Failure::Passing => "passing",
            Failure::Doubt => "in doubt",
        };
        cx.log(Event::Retry { id: id.clone(), why });
        row.failures += u32::from(failure == Failure::Receiver);
        row.phase = match failure {
            Failure::Doubt => Phase::Doubtful,
            Failure::Receiver | Failure::Passing if row.failures >= FAILURES_MAX => Phase::Discarding,
            Failure::Receiver | Failure::Passing => Phase::Waits,
        };
        let discard = row.phase == Phase::Discarding;
        pair.epoch += 1;
        for row in pair.rows.values_mut().filter(|row| row.phase == Phase::Sent) {
            row.phase = Phase::Waits;
        }
        pair.tries += 1;
        let wait = Duration::from_millis(cx.rng.range(5, 10 << pair.tries.min(6)));
        pair.not_before = cx.now.after(wait);
        if discard {
            // The dead letter comes first: it may come twice, but not be missing.
            cx.log(Event::DeadLetter { id: id.clone(), why: "its receiver failed too often" });
        }
        cx.at(pair.not_before, Due::Relay { from: place.0, to: place.1 });
        if failure == Failure::Doubt {
            self.rescan(cx);
        }
    }

    /// Discarding did not work; again later.
    pub(crate) fn not_discarded(&self, cx: &mut Context, id: &TellId) {
        if let Some(&(from, to)) = self.places.get(id) {
            cx.after(Duration::from_millis(50), Due::Relay { from, to });
        }
    }

    fn wake(&self, cx: &mut Context, (from, to): PairId) {
        cx.after(Duration::ZERO, Due::Relay { from, to });
    }

    /// Sends what may be sent of that pair.
    pub(crate) fn pump(&mut self, cx: &mut Context, store: &mut Store, from: Option<usize>, to: usize) {
        let Some(pair) = self.pairs.get_mut(&(from, to)) else { return };
        // A row that only the scan will find may be older than those known.
        let scanning = self.scan.is_some() && !cx.mistake(Mutation::SendWhileScanning);
        if pair.not_before > cx.now || self.stopping || scanning {
            return;
        }
        let epoch = pair.epoch;
        for (id, row) in pair.rows.iter_mut().take(cx.work.window) {
            match row.phase {
                Phase::Begun | Phase::Sent => {}
                Phase::Doubtful => break,
                Phase::Discarding => {
                    store.hand_over(cx, Write::Discard(id.clone()));
                    break;
                }
                Phase::Waits => {
                    row.phase = Phase::Sent;
                    let doubles = cx.rng.chance(cx.work.doubles);
                    for _ in 0..=u64::from(doubles) {
                        let message = delivery(cx.id(), id, &row.tell, epoch);
                        cx.after(cx.work.hop, Due::Arrive(message));
                    }
                }
            }
        }
    }

    /// Reads the outbox from its beginning: at the start, and when a commit ended in doubt.
    pub(crate) fn rescan(&mut self, cx: &mut Context) {
        if self.scan.is_some() {
            self.again = true;
        } else {
            self.again = false;
            let all = self.pairs.values().flat_map(|pair| &pair.rows);
            let doubtful = all.filter(|(_, row)| row.phase == Phase::Doubtful).map(|(id, _)| id.clone()).collect();
            self.scan = Some(Scan { doubtful, over: BTreeSet::new(), found: BTreeMap::new() });
            cx.after(Duration::from_micros(10), Due::Scan);
        }
    }

    /// Asks for the next page, or the first.
    pub(crate) fn read(&self, cx: &mut Context, store: &Store) {
        if let Some(scan) = &self.scan {
            store.ask_page(cx, scan.found.last_key_value().map(|(id, _)| id.clone()));
        }
    }

    /// A page of the outbox; an empty one is the last.
    pub(crate) fn page_read(&mut self, cx: &mut Context, store: &Store, rows: Option<Vec<(TellId, Tell)>>) {
        match (rows, &mut self.scan) {
            (None, _) => cx.after(Duration::from_millis(50), Due::Scan),
            (Some(rows), Some(scan)) if !rows.is_empty() => {
                scan.found.extend(rows);
                self.read(cx, store);
            }
            (Some(_), scan) => {
                if let Some(scan) = scan.take() {
                    self.scanned(cx, scan);
                }
            }
        }
    }

    fn scanned(&mut self, cx: &mut Context, scan: Scan) {
        let gone: Vec<_> = scan.doubtful.iter().filter(|id| !scan.found.contains_key(*id)).collect();
        let new = |id: &TellId| !scan.over.contains(id) && !self.places.contains_key(id);
        let new: Vec<_> = scan.found.iter().filter(|(id, _)| new(id)).collect();
        cx.log(Event::Scanned { added: new.len(), gone: gone.len() });
        for id in gone {
            self.over(cx, id);
        }
        for id in &scan.doubtful {
            let Some(&place) = self.places.get(id) else { continue };
            if let Some(row) = self.pairs.get_mut(&place).and_then(|pair| pair.rows.get_mut(id)) {
                row.phase = Phase::Waits;
            }
        }
        for (id, tell) in new {
            self.add(cx, id.clone(), tell.clone());
        }
        if self.again {
            self.rescan(cx);
            return;
        }
        for (&place, pair) in &self.pairs {
            if !pair.rows.is_empty() {
                self.wake(cx, place);
            }
        }
    }
}
