//! Turns of one actor that run at once, and the commit group that they form.
//!
//! They share the guest's memory, so what one of them wrote may rest on what another wrote before.
//! Therefore all that is staged is committed together, and only when no turn stands between its
//! commit points with something staged: until then the outputs of those that have reached theirs are
//! held.

use super::mailbox::{Message, Returns};

/// The most turns of one actor that stand on one path of calls, each waiting for the next.
pub const RETURNS_MAX: u32 = 32;
/// The most turns of one actor that run at once; further messages wait, unless one of them waits for
/// what such a message answers.
pub const OVERLAP_MAX: usize = 64;

/// Which turns may begin while others run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// None: one turn at a time.
    None,
    /// Turns of read-only methods, with one another.
    Reads,
    /// All.
    Full,
    /// On the one stack of an instance: a turn begins inside of the innermost one, if that waits for it.
    Nested,
    /// Those that a running turn waits for; with `reads`, turns of read-only methods too, with one another.
    Chain {
        /// Whether there are read-only methods.
        reads: bool,
    },
}

impl Overlap {
    /// Whether turns take turns within one event loop. Otherwise they stand on one stack.
    #[must_use]
    pub const fn interleaves(self) -> bool {
        matches!(self, Self::Reads | Self::Full | Self::Chain { .. })
    }

    /// Whether a turn may begin because another one waits for it, and for no other reason.
    #[must_use]
    pub const fn lets_return(self) -> bool {
        matches!(self, Self::Nested | Self::Chain { .. })
    }
}

/// What a turn is to the others, as it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begins {
    /// It writes nothing.
    reads: bool,
    /// It handles a tell, whose row goes with its first commit point.
    handles: bool,
    /// It runs alone to its end: an operator's, or the deactivate hook.
    alone: bool,
}

impl Begins {
    pub(super) fn of<M: Message>(message: &M) -> Self {
        Self { reads: message.is_read_only(), handles: message.is_tell(), alone: message.is_control() }
    }

    pub(super) const fn call(reads: bool) -> Self {
        Self { reads, handles: false, alone: false }
    }

    pub(super) const fn alone() -> Self {
        Self { reads: false, handles: false, alone: true }
    }
}

#[derive(Debug)]
struct Member {
    number: u64,
    begins: Begins,
    /// It wrote since its last commit point.
    staged: bool,
}

/// The tell whose row the next commit may take along: a commit has room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handling {
    Nothing,
    /// By that turn, which has not reached its first commit point.
    Begun(u64),
    /// It goes with the group's commit.
    Staged,
}

/// The turns that run, and outputs that wait for others of them.
#[derive(Debug)]
pub(super) struct Group<O> {
    overlap: Overlap,
    members: Vec<Member>,
    handling: Handling,
    held: Vec<O>,
    /// Few turns ever wait for long.
    waits: Option<Box<Waits>>,
}

/// The calls whose answers turns wait for, as turn and call.
#[derive(Debug, Default)]
struct Waits(Vec<(u64, u32)>);

impl<O> Group<O> {
    pub(super) const fn new(overlap: Overlap) -> Self {
        Self { overlap, members: Vec::new(), handling: Handling::Nothing, held: Vec::new(), waits: None }
    }

    pub(super) const fn set_overlap(&mut self, overlap: Overlap) {
        self.overlap = overlap;
    }

    /// Whether no turn runs.
    pub(super) const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many run.
    pub(super) const fn len(&self) -> usize {
        self.members.len()
    }

    /// The turn that began last, of those that run.
    pub(super) fn last(&self) -> Option<u64> {
        self.members.last().map(|member| member.number)
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.number).collect()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.members.iter().any(|member| member.number == number)
    }

    /// Whether such a turn may begin now.
    pub(super) fn admits(&self, begins: Begins) -> bool {
        self.members.is_empty() || self.fits(begins) && self.members.len() < OVERLAP_MAX
    }

    /// Whether a message that comes back to a running turn goes before all others: only those that run
    /// hold it up.
    pub(super) fn expects(&self, begins: Begins, to: Returns) -> bool {
        let alone = begins.alone || begins.handles;
        if self.overlap.lets_return() { !alone && self.contains(to.turn) } else { self.fits(begins) }
    }

    /// Whether such a turn may begin now though others would be too many: one of those that run waits
    /// for it.
    pub(super) fn admits_returning(&self, begins: Begins, to: Returns) -> bool {
        let waited = || self.waits_for(to.turn, to.call) && !self.members.iter().any(|member| member.begins.alone);
        match self.overlap {
            Overlap::None | Overlap::Reads | Overlap::Full => self.fits(begins),
            Overlap::Nested => self.last() == Some(to.turn) && waited(),
            Overlap::Chain { .. } => waited() || self.fits(begins),
        }
    }

    /// Whether those that run let it be.
    fn fits(&self, begins: Begins) -> bool {
        let alone = begins.alone || self.members.iter().any(|member| member.begins.alone);
        let fits = match self.overlap {
            Overlap::None | Overlap::Nested | Overlap::Chain { reads: false } => false,
            Overlap::Reads | Overlap::Chain { reads: true } => {
                begins.reads && self.members.iter().all(|member| member.begins.reads)
            }
            Overlap::Full => true,
        };
        let room = !begins.handles || self.handling == Handling::Nothing;
        fits && !alone && room
    }

    /// Whether nothing may begin beside those that run but what comes back to one of them.
    pub(super) fn is_closed(&self) -> bool {
        match self.overlap {
            Overlap::None | Overlap::Nested | Overlap::Chain { reads: false } => true,
            Overlap::Reads | Overlap::Chain { reads: true } => self.members.iter().any(|member| !member.begins.reads),
            Overlap::Full => false,
        }
    }

    /// Whether a call that comes back to that running turn would wait for it.
    pub(super) fn blocks(&self, number: u64, reads: bool) -> bool {
        self.contains(number)
            && match self.overlap {
                Overlap::None => true,
                Overlap::Reads => !reads || self.members.iter().any(|member| !member.begins.reads),
                Overlap::Full | Overlap::Nested | Overlap::Chain { .. } => false,
            }
    }

    /// That running turn waits for the answer of that call.
    pub(super) fn wait(&mut self, number: u64, call: u32) {
        if self.contains(number) {
            self.waits.get_or_insert_default().0.push((number, call));
        }
    }

    /// It waits no longer.
    pub(super) fn resume(&mut self, number: u64, call: u32) {
        if let Some(waits) = &mut self.waits {
            waits.0.retain(|wait| *wait != (number, call));
        }
    }

    fn waits_for(&self, number: u64, call: u32) -> bool {
        self.waits.as_ref().is_some_and(|waits| waits.0.contains(&(number, call)))
    }

    /// Whether any message may begin while a turn runs, because of those that wait in the mailbox or as
    /// soon as one comes.
    pub(super) const fn interleaves(&self) -> bool {
        self.overlap.interleaves()
    }

    pub(super) fn begin(&mut self, number: u64, begins: Begins) {
        if begins.handles {
            self.handling = Handling::Begun(number);
        }
        if self.members.capacity() == 0 {
            // Mostly there is one.
            self.members.reserve_exact(1);
        }
        self.members.push(Member { number, begins, staged: false });
    }

    /// The turn wrote something.
    pub(super) fn staged(&mut self, number: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.number == number) {
            member.staged = true;
        }
    }

    /// The turn is at a commit point. Whether the group may commit: no other is between its own.
    pub(super) fn reach(&mut self, number: u64) -> bool {
        if self.handling == Handling::Begun(number) {
            self.handling = Handling::Staged;
        }
        let mut free = true;
        for member in &mut self.members {
            if member.number == number {
                member.staged = false;
            } else {
                free &= !member.staged;
            }
        }
        free
    }

    pub(super) fn hold(&mut self, output: O) {
        self.held.push(output);
    }

    /// All that is staged is committed, with the outputs that waited for that.
    pub(super) fn commits(&mut self) -> Vec<O> {
        if self.handling == Handling::Staged {
            self.handling = Handling::Nothing;
        }
        self.take_held()
    }

    /// The outputs that wait, in order.
    pub(super) fn take_held(&mut self) -> Vec<O> {
        std::mem::take(&mut self.held)
    }

    pub(super) const fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }

    /// The turn is over.
    pub(super) fn end(&mut self, number: u64) {
        if self.handling == Handling::Begun(number) {
            self.handling = Handling::Nothing;
        }
        self.members.retain(|member| member.number != number);
        if let Some(waits) = &mut self.waits {
            waits.0.retain(|(turn, _)| *turn != number);
        }
    }

    /// All turns are over.
    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.handling = Handling::Nothing;
        self.waits = None;
    }
}
