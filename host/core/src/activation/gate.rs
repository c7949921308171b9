//! The output gate: nothing that a turn sends is visible before all that it wrote is durable.

use std::collections::VecDeque;

/// Commits under way, oldest first, and the outputs that wait for them.
#[derive(Debug)]
pub(super) struct Gate<O> {
    /// E-tag and bytes of each commit under way.
    pending: VecDeque<(u64, usize)>,
    bytes: usize,
    /// Outputs with the e-tag that must be durable first; e-tags never fall along the queue.
    held: VecDeque<(u64, O)>,
}

impl<O> Gate<O> {
    pub(super) const fn new() -> Self {
        Self { pending: VecDeque::new(), bytes: 0, held: VecDeque::new() }
    }

    /// A commit was handed to the store; the output leaves when it lands.
    pub(super) fn submit(&mut self, etag: u64, bytes: usize, output: O) {
        debug_assert!(self.pending.back().is_none_or(|&(last, _)| last < etag), "e-tags grow");
        self.pending.push_back((etag, bytes));
        self.bytes += bytes;
        self.held.push_back((etag, output));
    }

    /// An output without a write: it leaves with the last commit under way; at once, and it is
    /// given back, if there is none.
    pub(super) fn hold(&mut self, output: O) -> Option<O> {
        let Some(&(etag, _)) = self.pending.back() else { return Some(output) };
        self.held.push_back((etag, output));
        None
    }

    /// A commit landed: the outputs that may leave, in order.
    pub(super) fn open(&mut self, etag: u64) -> Vec<O> {
        while let Some(&(first, bytes)) = self.pending.front() {
            if first > etag {
                break;
            }
            self.pending.pop_front();
            self.bytes -= bytes;
        }
        let leaving = self.held.iter().take_while(|&&(needs, _)| needs <= etag).count();
        let leave = self.held.drain(..leaving).map(|(_, output)| output).collect();
        self.trim();
        leave
    }

    /// Most actors are idle most of the time: what is empty takes no memory.
    fn trim(&mut self) {
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// A commit failed: it is over, and every output behind it will never leave.
    pub(super) fn fail(&mut self, etag: u64) -> Vec<O> {
        if let Some(at) = self.pending.iter().position(|&(pending, _)| pending == etag)
            && let Some((_, bytes)) = self.pending.remove(at)
        {
            self.bytes -= bytes;
        }
        let staying = self.held.iter().take_while(|&&(needs, _)| needs < etag).count();
        self.held.drain(staying..).map(|(_, output)| output).collect()
    }

    /// Commits under way.
    pub(super) fn commits(&self) -> usize {
        self.pending.len()
    }

    /// Their bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_wait_for_every_commit_before_them() {
        let mut gate = Gate::new();
        assert_eq!(gate.hold("free"), Some("free"));
        gate.submit(1, 10, "one");
        assert_eq!(gate.hold("read after one"), None);
        gate.submit(2, 20, "two");
        assert_eq!(gate.hold("read after two"), None);
        assert_eq!((gate.commits(), gate.bytes()), (2, 30));
        assert_eq!(gate.open(1), ["one", "read after one"]);
        assert_eq!(gate.fail(2), ["two", "read after two"]);
        assert!(gate.is_empty());
        assert_eq!(gate.bytes(), 0);
    }
}
