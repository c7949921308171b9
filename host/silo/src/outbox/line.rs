//! The tells from one actor to another, in the order in which they were sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use quark_core::envelope::Tell;

/// The most tells of one line that are with the receiver at once.
pub(super) const WINDOW: usize = 64;

/// A tell and what became of it so far.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) tell: Arc<Tell>,
    /// Its turns that failed.
    pub(super) failures: u32,
    /// It is a dead letter already, and only its row must still go.
    pub(super) dead: bool,
}

/// Where a tell is that has left the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In the receiver's mailbox, or on its way into the store's bin when it is dead.
    Sent,
    /// Its turn has begun; the end of that turn or of its commit is to come.
    Begun,
    /// In the mailbox, but an older one must come again first: its turn will not begin.
    Recalled,
    /// Whether its commit landed must be asked of the store. What is younger waits.
    Doubtful,
}

/// The tells of one pair of actors by their senders' sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<u64, Row>,
    /// At most [`WINDOW`], and those that came back into doubt.
    out: BTreeMap<u64, (Phase, Row)>,
    /// Nothing is sent before.
    pub(super) retry_at: Option<Instant>,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.out.is_empty()
    }

    /// A tell that is not known yet.
    pub(super) fn add(&mut self, sequence: u64, tell: Arc<Tell>) {
        self.waiting.insert(sequence, Row { tell, failures: 0, dead: false });
    }

    /// Whether the oldest that waits may be sent.
    pub(super) fn may_send(&self) -> bool {
        let Some((_, next)) = self.waiting.first_key_value() else { return false };
        if self.out.is_empty() {
            return true;
        }
        // What has failed goes alone, so that what follows does not have to be recalled each time.
        let alone = |row: &Row| row.failures > 0 || row.dead;
        let holds = |(phase, row): &(Phase, Row)| matches!(phase, Phase::Recalled | Phase::Doubtful) || alone(row);
        self.out.len() < WINDOW && !alone(next) && !self.out.values().any(holds)
    }

    /// Sends the oldest that waits.
    pub(super) fn send(&mut self) -> Option<(u64, &Row)> {
        let (sequence, row) = self.waiting.pop_first()?;
        let (_, row) = self.out.entry(sequence).or_insert((Phase::Sent, row));
        Some((sequence, row))
    }

    /// The turn of a tell is about to begin: whether it may. One that was recalled waits again.
    pub(super) fn begin(&mut self, sequence: u64) -> bool {
        match self.out.get_mut(&sequence) {
            Some((phase @ Phase::Sent, row)) if !row.dead => {
                *phase = Phase::Begun;
                true
            }
            Some((Phase::Recalled, _)) => {
                self.back(sequence);
                false
            }
            Some(_) | None => false,
        }
    }

    /// The turn of a tell failed, or will never begin. Says how often turns of it failed, counting
    /// this one if it `counts`; nothing when its end was not what the line waited for.
    pub(super) fn failed(&mut self, sequence: u64, counts: bool) -> Option<u32> {
        let (phase, row) = self.out.get_mut(&sequence)?;
        match phase {
            Phase::Sent | Phase::Begun => {
                row.failures += u32::from(counts);
                let failures = row.failures;
                self.put_back(sequence);
                Some(failures)
            }
            Phase::Recalled => {
                self.back(sequence);
                None
            }
            Phase::Doubtful => None,
        }
    }

    /// The receiver did not take it, or its commit was not written: it waits again, and what was
    /// sent after it is recalled.
    pub(super) fn put_back(&mut self, sequence: u64) {
        if self.out.get(&sequence).is_some_and(|(phase, _)| *phase != Phase::Doubtful) {
            self.back(sequence);
            self.recall_after(sequence);
        }
    }

    /// Whether its commit landed is not known. True when it is here.
    pub(super) fn doubt(&mut self, sequence: u64) -> bool {
        let row = self.waiting.remove(&sequence).or_else(|| self.out.remove(&sequence).map(|(_, row)| row));
        let Some(row) = row else { return false };
        self.out.insert(sequence, (Phase::Doubtful, row));
        self.recall_after(sequence);
        true
    }

    /// The store still has the row of a tell in doubt.
    pub(super) fn is_there(&mut self, sequence: u64) {
        if matches!(self.out.get(&sequence), Some((Phase::Doubtful, _))) {
            self.back(sequence);
        }
    }

    /// It will never be handled. True when it was not dead before.
    pub(super) fn condemn(&mut self, sequence: u64) -> bool {
        let out = self.out.get_mut(&sequence).map(|(_, row)| row);
        let row = out.or_else(|| self.waiting.get_mut(&sequence));
        row.is_some_and(|row| !std::mem::replace(&mut row.dead, true))
    }

    /// Its row is gone from the store.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Row> {
        self.waiting.remove(&sequence).or_else(|| self.out.remove(&sequence).map(|(_, row)| row))
    }

    fn back(&mut self, sequence: u64) {
        if let Some((_, row)) = self.out.remove(&sequence) {
            self.waiting.insert(sequence, row);
        }
    }

    fn recall_after(&mut self, sequence: u64) {
        for (phase, _) in self.out.range_mut(sequence..).map(|(_, out)| out) {
            if *phase == Phase::Sent {
                *phase = Phase::Recalled;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::tell;

    fn line(tells: u64) -> Line {
        let mut line = Line::default();
        (1..=tells).for_each(|sequence| line.add(sequence, tell("b").into()));
        line
    }

    fn send(line: &mut Line) -> Option<u64> {
        line.may_send().then(|| line.send().map(|(sequence, _)| sequence)).flatten()
    }

    fn send_all(line: &mut Line) -> Vec<u64> {
        std::iter::from_fn(|| send(line)).collect()
    }

    #[test]
    fn a_window_is_sent_in_order() {
        let mut line = line(100);
        assert_eq!(send_all(&mut line), (1..=64).collect::<Vec<_>>());
        assert!(line.begin(1) && line.remove(1).is_some());
        assert_eq!(send_all(&mut line), [65]);
    }

    #[test]
    fn what_follows_a_failure_waits_for_it() {
        let mut line = line(4);
        assert_eq!(send_all(&mut line), [1, 2, 3, 4]);
        assert!(line.begin(1));
        assert_eq!(line.failed(1, true), Some(1));
        assert!(!line.begin(2) && !line.begin(3), "both are in the mailbox still, and skipped");
        assert_eq!(send(&mut line), None, "the fourth is in the mailbox");
        assert_eq!(line.failed(4, true), None, "its turn never began: no failure of its own");
        assert_eq!(send_all(&mut line), [1], "alone");
        assert!(line.begin(1) && line.remove(1).is_some());
        assert_eq!(send_all(&mut line), [2, 3, 4]);
    }

    #[test]
    fn a_turn_begins_once_for_each_sending() {
        let mut line = line(1);
        assert!(!line.begin(1), "it waits");
        assert_eq!(send(&mut line), Some(1));
        assert!(line.begin(1));
        assert!(!line.begin(1));
        line.put_back(1);
        assert!(!line.begin(1));
        assert_eq!(send(&mut line), Some(1));
        assert!(line.begin(1));
    }

    #[test]
    fn doubt_holds_what_is_younger_until_the_store_has_answered() {
        let mut line = line(3);
        assert_eq!(send_all(&mut line), [1, 2, 3]);
        assert!(line.begin(1) && line.begin(2));
        assert!(line.doubt(1));
        assert!(!line.begin(3));
        assert_eq!(line.failed(2, true), Some(1), "its commit was behind the other one");
        assert_eq!(send(&mut line), None);
        assert_eq!(line.failed(1, true), None, "only the store can tell");
        line.is_there(1);
        assert_eq!(send_all(&mut line), [1]);
    }

    #[test]
    fn a_tell_is_condemned_once() {
        let mut line = line(2);
        assert_eq!(send(&mut line), Some(1));
        assert!(line.condemn(1) && !line.condemn(1));
        assert!(!line.begin(1), "a dead letter has no turn");
        assert_eq!(send(&mut line), None, "what follows waits until the row is gone");
        line.put_back(1);
        assert!(!line.condemn(1));
        assert!(line.remove(1).is_some_and(|row| row.dead));
        assert_eq!(send(&mut line), Some(2));
    }
}
