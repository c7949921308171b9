//! The queue in front of an actor: bounded by count and by bytes, control before calls.

use std::collections::VecDeque;

use crate::id::ActorId;
use crate::time::Time;

/// The most operator messages that wait in one mailbox, whatever its bounds for calls.
pub const CONTROL_MAX: usize = 64;

/// The most messages in one mailbox that come back to turns which wait for them.
pub(super) const RETURNING_MAX: usize = 4096;

/// What the mailbox must know of a message.
pub trait Message {
    /// When nobody waits for its answer any more; [`Time::NEVER`] for tells.
    fn deadline(&self) -> Time;
    /// Its size against the bound on bytes.
    fn bytes(&self) -> usize;
    /// Whether it goes before all calls: an operator's.
    fn is_control(&self) -> bool;
    /// Whether nobody waits for it and its row of the outbox goes with its turn's first commit point.
    fn is_tell(&self) -> bool;
    /// Whether its method writes nothing.
    fn is_read_only(&self) -> bool;
    /// The turn of that actor that waits for what this message answers.
    fn returns_to(&self, _actor: &ActorId) -> Option<Returns> {
        None
    }
}

/// A turn to which a message comes back: the one of its receiver nearest to it on its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returns {
    /// The turn's activation.
    pub generation: u64,
    /// The turn's number.
    pub turn: u64,
    /// The call of that turn on whose path the message is: which of those that it ever made.
    pub call: u32,
}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxBounds {
    /// Messages.
    pub capacity: usize,
    /// Bytes of their arguments together.
    pub bytes: usize,
}

/// Messages that wait for their turn, first in first out, control messages first.
#[derive(Debug)]
pub struct Mailbox<M> {
    /// Few ever have any.
    ahead: Option<Box<Ahead<M>>>,
    calls: VecDeque<M>,
    bytes: usize,
    bounds: MailboxBounds,
}

/// Messages that go before all calls.
#[derive(Debug)]
struct Ahead<M> {
    control: VecDeque<M>,
    /// Those that come back to turns which run: behind those turns they would wait for ever.
    returning: VecDeque<M>,
}

impl<M: Message> Mailbox<M> {
    /// An empty mailbox.
    #[must_use]
    pub const fn new(bounds: MailboxBounds) -> Self {
        Self { ahead: None, calls: VecDeque::new(), bytes: 0, bounds }
    }

    fn ahead(&mut self) -> &mut Ahead<M> {
        let new = || Box::new(Ahead { control: VecDeque::new(), returning: VecDeque::new() });
        self.ahead.get_or_insert_with(new)
    }

    /// Puts the message at the end of its lane; gives it back when that is full. A message larger
    /// than the bound on bytes is let into an empty mailbox, or it could never pass.
    ///
    /// # Errors
    /// The message itself.
    pub fn push(&mut self, message: M) -> Result<(), M> {
        if message.is_control() {
            let control = &mut self.ahead().control;
            if control.len() >= CONTROL_MAX {
                return Err(message);
            }
            control.push_back(message);
            return Ok(());
        }
        let bytes = message.bytes();
        let full = self.calls.len() >= self.bounds.capacity || self.bytes.saturating_add(bytes) > self.bounds.bytes;
        if full && !(self.calls.is_empty() && self.bounds.capacity > 0) {
            return Err(message);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.calls.push_back(message);
        Ok(())
    }

    /// The same for one that a running turn waits for, past the bounds for others.
    ///
    /// # Errors
    /// The message itself.
    pub fn push_returning(&mut self, message: M) -> Result<(), M> {
        let bytes = message.bytes();
        let returning = &mut self.ahead().returning;
        if returning.len() >= RETURNING_MAX {
            return Err(message);
        }
        returning.push_back(message);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Whether there are any of those.
    #[must_use]
    pub fn holds_returning(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.returning.is_empty())
    }

    /// The first of those that may go now.
    pub fn take_returning(&mut self, mut may_go: impl FnMut(&M) -> bool) -> Option<M> {
        let returning = &mut self.ahead.as_mut()?.returning;
        let at = returning.iter().position(|message| may_go(message))?;
        let message = returning.remove(at)?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// Nothing comes for a while, as far as is known: an empty mailbox takes no memory.
    pub(super) fn trim(&mut self) {
        if self.calls.is_empty() {
            self.calls = VecDeque::new();
        }
        self.ahead.take_if(|ahead| ahead.control.is_empty() && ahead.returning.is_empty());
    }

    /// The next message, left where it is.
    #[must_use]
    pub fn peek(&self) -> Option<&M> {
        let ahead = self.ahead.as_ref().and_then(|ahead| ahead.control.front().or_else(|| ahead.returning.front()));
        ahead.or_else(|| self.calls.front())
    }

    /// The next message.
    pub fn pop(&mut self) -> Option<M> {
        if let Some(message) = self.ahead.as_mut().and_then(|ahead| ahead.control.pop_front()) {
            return Some(message);
        }
        if let Some(message) = self.take_returning(|_| true) {
            return Some(message);
        }
        let message = self.calls.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// Takes all but the control messages.
    pub fn take_calls(&mut self) -> Vec<M> {
        self.bytes = 0;
        let returning = self.ahead.as_mut().map(|ahead| std::mem::take(&mut ahead.returning));
        let mut all: Vec<M> = returning.unwrap_or_default().into();
        all.extend(std::mem::take(&mut self.calls));
        all
    }

    /// Takes everything, control messages first.
    pub fn take_all(&mut self) -> Vec<M> {
        let control = self.ahead.as_mut().map(|ahead| std::mem::take(&mut ahead.control));
        let mut all: Vec<M> = control.unwrap_or_default().into();
        all.extend(self.take_calls());
        all
    }

    /// Messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        let ahead = self.ahead.as_ref().map_or(0, |ahead| ahead.control.len() + ahead.returning.len());
        ahead + self.calls.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the bounds; what waits already stays.
    pub const fn rebound(&mut self, bounds: MailboxBounds) {
        self.bounds = bounds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Note(usize, bool);

    impl Message for Note {
        fn deadline(&self) -> Time {
            Time::NEVER
        }
        fn bytes(&self) -> usize {
            self.0
        }
        fn is_control(&self) -> bool {
            self.1
        }
        fn is_tell(&self) -> bool {
            false
        }
        fn is_read_only(&self) -> bool {
            false
        }
    }

    #[test]
    fn bounds_hold_and_control_goes_first() {
        let mut mailbox = Mailbox::new(MailboxBounds { capacity: 2, bytes: 10 });
        assert_eq!(mailbox.push(Note(4, false)), Ok(()));
        assert_eq!(mailbox.push(Note(7, false)), Err(Note(7, false)), "bytes");
        assert_eq!(mailbox.push(Note(6, false)), Ok(()));
        assert_eq!(mailbox.push(Note(0, false)), Err(Note(0, false)), "count");
        assert_eq!(mailbox.push(Note(99, true)), Ok(()));
        assert_eq!(mailbox.pop(), Some(Note(99, true)));
        assert_eq!(mailbox.pop(), Some(Note(4, false)));
        assert_eq!(mailbox.bytes(), 6);
        assert_eq!(mailbox.pop(), Some(Note(6, false)));
        assert_eq!(mailbox.push(Note(11, false)), Ok(()), "a large one passes alone");
        assert_eq!(mailbox.push(Note(0, false)), Err(Note(0, false)));
    }
}
