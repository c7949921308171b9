//! The queue in front of an actor: bounded by count and by bytes, control before calls.

use std::collections::VecDeque;

use crate::id::ActorId;
use crate::time::Time;
use crate::timers::TIMERS_PER_ACTIVATION_MAX;

/// The most operator messages that wait in one mailbox, whatever its bounds for calls.
pub const CONTROL_MAX: usize = 64;

/// The most messages in one mailbox that come back to turns which wait for them.
pub(super) const RETURNING_MAX: usize = 4096;

/// The most notices in one mailbox: of all children, of all that are watched, and a few more.
const NOTICES_MAX: usize = 4096;

/// The most turns of timers that wait in one mailbox: each timer has one there at most, and a few may be
/// left of those of an instance that is over.
const TIMED_MAX: usize = 2 * TIMERS_PER_ACTIVATION_MAX as usize;

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
    /// Whether it is a turn of a timer: it has its place whatever the bounds for calls, begins in turn with
    /// them, and goes with the instance.
    fn is_timer(&self) -> bool {
        false
    }
    /// Whether it is the silo's own and tells an actor of others: it goes before all calls, whatever the bounds
    /// for those. There are no more of them than actors that it has to do with.
    fn is_notice(&self) -> bool {
        false
    }
    /// Whether its method writes nothing.
    fn is_read_only(&self) -> bool;
    /// Whether nobody waits for its answer any more though its deadline is to come.
    fn is_given_up(&self) -> bool {
        false
    }
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

/// Messages that wait for their turn, first in first out, control messages first. Timers and calls take
/// turns, so that neither keeps the other waiting.
#[derive(Debug)]
pub struct Mailbox<M> {
    /// Few ever have any.
    ahead: Option<Box<Ahead<M>>>,
    calls: VecDeque<M>,
    bytes: usize,
    bounds: MailboxBounds,
}

/// Messages that do not stand in line with the calls.
#[derive(Debug)]
struct Ahead<M> {
    control: VecDeque<M>,
    /// Those that come back to turns which run: behind those turns they would wait for ever.
    returning: VecDeque<M>,
    notices: VecDeque<M>,
    /// Turns of timers.
    timed: VecDeque<M>,
    /// A timer was the last to begin: a call is next.
    timer_was_last: bool,
}

impl<M> Ahead<M> {
    const fn new() -> Self {
        Self {
            control: VecDeque::new(),
            returning: VecDeque::new(),
            notices: VecDeque::new(),
            timed: VecDeque::new(),
            timer_was_last: false,
        }
    }

    fn len(&self) -> usize {
        self.control.len() + self.returning.len() + self.notices.len() + self.timed.len()
    }

    /// Whether a timer goes before the calls that wait.
    fn times(&self, calls: &VecDeque<M>) -> bool {
        !self.timed.is_empty() && (calls.is_empty() || !self.timer_was_last)
    }
}

impl<M: Message> Mailbox<M> {
    /// An empty mailbox.
    #[must_use]
    pub const fn new(bounds: MailboxBounds) -> Self {
        Self { ahead: None, calls: VecDeque::new(), bytes: 0, bounds }
    }

    fn ahead(&mut self) -> &mut Ahead<M> {
        self.ahead.get_or_insert_with(|| Box::new(Ahead::new()))
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
        if message.is_notice() {
            let notices = &mut self.ahead().notices;
            if notices.len() >= NOTICES_MAX {
                return Err(message);
            }
            notices.push_back(message);
            return Ok(());
        }
        if message.is_timer() {
            let timed = &mut self.ahead().timed;
            if timed.len() >= TIMED_MAX {
                return Err(message);
            }
            timed.push_back(message);
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

    /// Whether an operator's message waits.
    #[must_use]
    pub fn holds_control(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.control.is_empty())
    }

    /// Whether there are any of those.
    #[must_use]
    pub fn holds_returning(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.returning.is_empty())
    }

    /// The first of those that may go now.
    pub fn take_returning(&mut self, may_go: impl Fn(&M) -> bool) -> Option<M> {
        let returning = &mut self.ahead.as_mut()?.returning;
        let at = returning.iter().position(may_go)?;
        let message = returning.remove(at)?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// Nothing comes for a while, as far as is known: an empty mailbox takes no memory.
    pub(super) fn trim(&mut self) {
        if self.calls.is_empty() {
            self.calls = VecDeque::new();
        }
        self.ahead.take_if(|ahead| ahead.len() == 0);
    }

    /// The next message, left where it is.
    #[must_use]
    pub fn peek(&self) -> Option<&M> {
        let Some(ahead) = &self.ahead else { return self.calls.front() };
        let first = ahead.control.front().or_else(|| ahead.returning.front()).or_else(|| ahead.notices.front());
        first.or_else(|| if ahead.times(&self.calls) { ahead.timed.front() } else { self.calls.front() })
    }

    /// The next message.
    pub fn pop(&mut self) -> Option<M> {
        if let Some(message) = self.ahead.as_mut().and_then(|ahead| ahead.control.pop_front()) {
            return Some(message);
        }
        if let Some(message) = self.take_returning(|_| true) {
            return Some(message);
        }
        if let Some(ahead) = &mut self.ahead {
            if let Some(notice) = ahead.notices.pop_front() {
                return Some(notice);
            }
            ahead.timer_was_last = ahead.times(&self.calls);
            if ahead.timer_was_last {
                return ahead.timed.pop_front();
            }
        }
        let message = self.calls.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// The instance is over, and its timers with it.
    pub fn drop_timers(&mut self) {
        self.ahead.iter_mut().for_each(|ahead| ahead.timed.clear());
    }

    /// Takes those calls, in order, and then those notices.
    pub fn take_calls_where(&mut self, wanted: impl Fn(&M) -> bool) -> Vec<M> {
        let mut taken = take_where(&mut self.calls, &wanted);
        self.bytes -= taken.iter().map(Message::bytes).sum::<usize>();
        taken.extend(self.ahead.iter_mut().flat_map(|ahead| take_where(&mut ahead.notices, &wanted)));
        taken
    }

    /// Takes all but the control messages; turns of timers go.
    pub fn take_calls(&mut self) -> Vec<M> {
        self.drop_timers();
        self.bytes = 0;
        let returning = self.ahead.as_mut().map(|ahead| std::mem::take(&mut ahead.returning));
        let mut all: Vec<M> = returning.unwrap_or_default().into();
        all.extend(self.ahead.iter_mut().flat_map(|ahead| std::mem::take(&mut ahead.notices)));
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
        self.ahead.as_ref().map_or(0, |ahead| ahead.len()) + self.calls.len()
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

fn take_where<M>(messages: &mut VecDeque<M>, wanted: impl Fn(&M) -> bool) -> Vec<M> {
    let (taken, left): (Vec<M>, Vec<M>) = std::mem::take(messages).into_iter().partition(wanted);
    *messages = left.into();
    taken
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

    #[test]
    fn calls_are_taken_by_what_they_are_and_the_others_stay_in_line() {
        let mut mailbox = Mailbox::new(MailboxBounds { capacity: 9, bytes: 100 });
        (1..=5).for_each(|n| mailbox.push(Note(n, false)).unwrap());
        mailbox.push(Note(2, true)).unwrap();
        assert_eq!(mailbox.take_calls_where(|note| note.0 % 2 == 0), [Note(2, false), Note(4, false)]);
        assert_eq!((mailbox.len(), mailbox.bytes()), (4, 9));
        assert_eq!(mailbox.take_all(), [Note(2, true), Note(1, false), Note(3, false), Note(5, false)]);
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Beat(u32, bool);

    impl Message for Beat {
        fn deadline(&self) -> Time {
            Time::NEVER
        }
        fn bytes(&self) -> usize {
            1
        }
        fn is_control(&self) -> bool {
            false
        }
        fn is_tell(&self) -> bool {
            false
        }
        fn is_read_only(&self) -> bool {
            false
        }
        fn is_timer(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn timers_have_their_place_and_take_turns_with_calls() {
        let mut mailbox = Mailbox::new(MailboxBounds { capacity: 3, bytes: 3 });
        for n in 0..3 {
            assert_eq!(mailbox.push(Beat(n, false)), Ok(()));
        }
        assert_eq!(mailbox.push(Beat(3, false)), Err(Beat(3, false)), "full for calls");
        for n in 10..14 {
            assert_eq!(mailbox.push(Beat(n, true)), Ok(()), "and not for timers");
        }
        assert_eq!(mailbox.len(), 7);
        let mut begun = Vec::new();
        while let Some(next) = mailbox.peek().map(|next| next.0) {
            begun.push(next);
            assert_eq!(mailbox.pop().map(|popped| popped.0), Some(next));
        }
        assert_eq!(begun, [10, 0, 11, 1, 12, 2, 13]);
        for n in 0..u32::try_from(TIMED_MAX).unwrap() {
            assert_eq!(mailbox.push(Beat(n, true)), Ok(()));
        }
        assert_eq!(mailbox.push(Beat(0, true)), Err(Beat(0, true)));
        assert_eq!(mailbox.push(Beat(0, false)), Ok(()));
        mailbox.drop_timers();
        assert_eq!(mailbox.take_all(), [Beat(0, false)]);
    }
}
