//! The output gate: nothing that a turn sends is visible before all that it wrote is durable.

use std::collections::VecDeque;

/// Commits under way, oldest first, and the outputs that wait for them. Most actors are idle most of
/// the time: with nothing under way it takes one word.
#[derive(Debug)]
pub(super) struct Gate<O>(Option<Box<UnderWay<O>>>);

#[derive(Debug)]
struct UnderWay<O> {
    /// E-tag and bytes of each commit.
    pending: VecDeque<(u64, usize)>,
    bytes: usize,
    /// Outputs with the e-tag that must be durable first; e-tags never fall along the queue.
    held: VecDeque<(u64, O)>,
}

impl<O> Gate<O> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// A commit was handed to the store; the output leaves when it lands.
    pub(super) fn submit(&mut self, etag: u64, bytes: usize, output: O) {
        let new = || Box::new(UnderWay { pending: VecDeque::new(), bytes: 0, held: VecDeque::new() });
        let UnderWay { pending, bytes: all, held } = &mut **self.0.get_or_insert_with(new);
        debug_assert!(pending.back().is_none_or(|&(last, _)| last < etag), "e-tags grow");
        pending.push_back((etag, bytes));
        *all += bytes;
        held.push_back((etag, output));
    }

    /// An output without a write: it leaves with the last commit under way; at once, and it is
    /// given back, if there is none.
    pub(super) fn hold(&mut self, output: O) -> Option<O> {
        let Some(under_way) = &mut self.0 else { return Some(output) };
        let Some(&(etag, _)) = under_way.pending.back() else { return Some(output) };
        under_way.held.push_back((etag, output));
        None
    }

    /// A commit landed: the outputs that may leave, in order.
    pub(super) fn open(&mut self, etag: u64) -> Vec<O> {
        let Some(UnderWay { pending, bytes: all, held }) = self.0.as_deref_mut() else { return Vec::new() };
        while let Some(&(first, bytes)) = pending.front() {
            if first > etag {
                break;
            }
            pending.pop_front();
            *all -= bytes;
        }
        let leaving = held.iter().take_while(|&&(needs, _)| needs <= etag).count();
        let leave = held.drain(..leaving).map(|(_, output)| output).collect();
        self.trim();
        leave
    }

    /// A commit failed: it is over, and every output behind it will never leave.
    pub(super) fn fail(&mut self, etag: u64) -> Vec<O> {
        let Some(UnderWay { pending, bytes: all, held }) = self.0.as_deref_mut() else { return Vec::new() };
        if let Some(at) = pending.iter().position(|&(pending, _)| pending == etag)
            && let Some((_, bytes)) = pending.remove(at)
        {
            *all -= bytes;
        }
        let staying = held.iter().take_while(|&&(needs, _)| needs < etag).count();
        let lost = held.drain(staying..).map(|(_, output)| output).collect();
        self.trim();
        lost
    }

    fn trim(&mut self) {
        self.0.take_if(|under_way| under_way.pending.is_empty() && under_way.held.is_empty());
    }

    /// Commits under way.
    pub(super) fn commits(&self) -> usize {
        self.0.as_ref().map_or(0, |under_way| under_way.pending.len())
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |under_way| under_way.bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
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
