//! The turn machine of one actor: mailbox, turn token, commit points, output gate.
//!
//! ```text
//!            admit              loaded              deactivate
//!   Asleep ---------> Loading ---------> Awake ------------------> Leaving
//!                      ^   | refused       | trapped, refused,        |
//!      messages wait   |   v               v commit failed            v left
//!                      +-- Draining <------+--------------------------+
//!                             | none waits
//!                             v
//!                            Gone
//! ```
//! Draining waits for the end of the activation's commits; only then may the actor be loaded anew. One
//! that failed, or whose parent did, is Down after that ([`Turns::hold_down`], [`Turns::end_and_hold`]): messages
//! wait, nobody runs it, until [`Turns::go_on`]. Operators' messages do not wait there.
//!
//! Whoever is *granted the token* (by [`Turns::admit`], [`Turns::landed`], [`Turns::deactivate`])
//! must call [`Turns::next`] until it answers [`Step::Idle`], [`Step::Down`] or [`Step::Gone`], carrying out each
//! step: nobody else runs the actor meanwhile. The same machine is driven by `silo` and by the
//! simulation.
//!
//! Where turns may overlap ([`Overlap`]), the holder keeps the token as long as any turn runs, and
//! asks `next` again whenever a message came, a turn ended or a commit landed. Each turn then goes
//! through [`Turns::reach`] at its commit points.
//!
//! Where turns nest ([`Overlap::Nested`]), a turn that waits for a call says so with [`Turns::wait`]
//! and, while it does, runs what [`Turns::returning`] gives, one inside the other.

use std::time::Duration;

use super::gate::Gate;
use super::mailbox::{Mailbox, MailboxBounds, Message, Returns};
use super::overlap::{Begins, Group, Overlap};
use crate::commit::{Commit, CommitError, Write};
use crate::id::ActorId;
use crate::time::Time;
use crate::waits::{Running, Until};

/// The most commits of one actor under way; the next turn waits.
pub const PENDING_COMMITS_MAX: usize = 64;
/// The most bytes of one actor's commits under way; the next turn waits.
pub const PENDING_BYTES_MAX: usize = 1 << 20;
/// The shortest and longest wait that an overloaded actor asks for.
const RETRY_MS: (u64, u64) = (10, 5_000);

/// Where an activation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is loaded; the next message starts it.
    Asleep,
    /// It is being claimed and loaded; messages wait.
    Loading,
    /// Turns run.
    Awake,
    /// The deactivate hook runs.
    Leaving,
    /// Its instance is over; it waits for the end of its commits.
    Draining,
    /// It failed and waits for its restart; messages wait with it.
    Down,
    /// It is over; a message must find another activation.
    Gone,
}

/// Why an activation leaves memory; the cases of `deactivation` in `wit/lifecycle.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing came for a while.
    Idle,
    /// An operator asked, or whoever decides about its failures.
    Requested,
    /// It asked itself.
    Ended,
    /// Others need the memory.
    MemoryPressure,
    /// A new version of its component was deployed.
    Upgraded,
    /// The silo stops.
    Shutdown,
}

/// One turn of one activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The activation.
    pub generation: u64,
    /// Counts the turns of this actor while the machine lives.
    pub number: u64,
}

/// What the holder of the token does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<M> {
    /// Drop the instance and state of before, if any; claim the actor and load its state; then call
    /// [`Turns::loaded`] or [`Turns::refused`].
    Load,
    /// Run this message's turn: any number of [`Turns::commit_point`], then [`Turns::end`],
    /// [`Turns::trapped`] or [`Turns::refused`].
    Run(Turn, M),
    /// Nobody waits for this message any more: it has not begun and will not.
    Expired(M),
    /// Run the deactivate hook as a last turn, drop the instance, then call [`Turns::left`].
    Leave(Turn, Why),
    /// No further turn can begin now, and some run: ask again when something happened.
    Wait,
    /// The token is given back. Whatever must go on grants it anew.
    Idle,
    /// The same, and it waits for [`Turns::go_on`] from now on. Calls whose callers that waits for would wait
    /// for ever: take them out with [`Turns::take_calls_where`].
    Down,
    /// It is over: release the claim (of this generation, if it ever loaded) and forget the machine.
    Gone(Option<u64>),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It waits, and the caller now holds the token.
    Token,
    /// It waits; somebody else drives.
    Waits,
}

/// A message that was not let in. Nothing was done with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused<M> {
    /// The message.
    pub message: M,
    /// Why.
    pub why: Refusal,
}

/// Why a message was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The mailbox is full; try again after this many milliseconds.
    Overloaded(u64),
    /// This activation is over: look the actor up again.
    Gone,
}

/// What became of a commit point's output.
#[derive(Debug, PartialEq, Eq)]
pub enum Point<O> {
    /// Nothing is under way before it: it may leave now.
    Open(O),
    /// It is held until earlier commits land.
    Held,
    /// Hand this commit to the store, and its outcome to [`Turns::landed`]; the output is held.
    Submit(Commit),
    /// An earlier commit failed, so this write can never be: end the turn with
    /// [`Turns::trapped`]. The output will never leave.
    Failed(O, CommitError),
}

/// What a commit's outcome sets free.
#[derive(Debug, PartialEq, Eq)]
pub struct Landed<O> {
    /// Outputs that leave now, in order.
    pub released: Vec<O>,
    /// Outputs that never leave, with the reason; also those that waited for overlapping turns.
    pub failed: Vec<(O, CommitError)>,
    /// Whether the caller now holds the token.
    pub token: bool,
}

/// The turn machine. `M` is a message as it waits; `O` is what leaves a turn (a reply, or a
/// suspended turn's leave to go on).
#[derive(Debug)]
pub struct Turns<M, O> {
    actor: ActorId,
    phase: Phase,
    held: bool,
    mailbox: Mailbox<M>,
    gate: Gate<O>,
    generation: Option<u64>,
    /// The e-tag that the next commit follows.
    etag: u64,
    turn: u64,
    running: Group<O>,
    broken: Option<CommitError>,
    leave: Option<Why>,
    /// It is to wait when it has drained.
    down: bool,
    /// Moving mean of turn times, for the wait that `Overloaded` names.
    turn_time: Duration,
}

impl<M: Message, O> Turns<M, O> {
    /// A machine for an actor that is not loaded.
    #[must_use]
    pub const fn new(actor: ActorId, bounds: MailboxBounds, overlap: Overlap) -> Self {
        Self {
            actor,
            phase: Phase::Asleep,
            held: false,
            mailbox: Mailbox::new(bounds),
            gate: Gate::new(),
            generation: None,
            etag: 0,
            turn: 0,
            running: Group::new(overlap),
            broken: None,
            leave: None,
            down: false,
            turn_time: Duration::from_micros(100),
        }
    }

    /// Which turns may overlap from now on. Only while none runs.
    pub fn set_overlap(&mut self, overlap: Overlap) {
        debug_assert!(self.running.is_empty());
        self.running.set_overlap(overlap);
    }

    /// Whose it is.
    #[must_use]
    pub const fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// Where it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Messages that wait, and their bytes.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.mailbox.len(), self.mailbox.bytes())
    }

    /// Commits under way.
    #[must_use]
    pub fn commits(&self) -> usize {
        self.gate.commits()
    }

    /// The turn that runs now; of several the one that began last.
    #[must_use]
    pub fn running(&self) -> Option<Turn> {
        Some(Turn { generation: self.generation?, number: self.running.last()? })
    }

    /// All turns that run now; none while nothing is loaded.
    #[must_use]
    pub fn all_running(&self) -> Option<Running> {
        Some(Running { generation: self.generation?, turns: self.running.numbers(), until: Until::Call })
    }

    /// Whether its turns run beside one another, where several run; else they run inside one another.
    #[must_use]
    pub const fn interleaves(&self) -> bool {
        self.running.interleaves()
    }

    /// Whether nothing can happen to its turns from outside of them but the end of their calls, and what
    /// comes back by those.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Awake && self.gate.commits() == 0 && self.broken.is_none() && self.running.is_closed()
    }

    /// Whether that turn runs.
    #[must_use]
    pub fn runs(&self, turn: Turn) -> bool {
        self.generation == Some(turn.generation) && self.running.contains(turn.number)
    }

    /// Whether a call that comes back to that turn, which waits for it, would wait for that turn.
    #[must_use]
    pub fn blocks(&self, turn: Turn, read_only: bool) -> bool {
        self.generation == Some(turn.generation) && self.running.blocks(turn.number, read_only)
    }

    /// The generation while it is loaded, with the e-tag of its last commit point.
    #[must_use]
    pub const fn loaded_as(&self) -> Option<(u64, u64)> {
        match self.generation {
            Some(generation) => Some((generation, self.etag)),
            None => None,
        }
    }

    /// Whether it has been asked to leave memory and has not left yet.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leave.is_some() || matches!(self.phase, Phase::Leaving | Phase::Draining)
    }

    /// Lets a message in, or refuses it.
    ///
    /// # Errors
    /// The message and why; nothing was done with it.
    pub fn admit(&mut self, message: M) -> Result<Admitted, Refused<M>> {
        if self.phase == Phase::Gone {
            return Err(Refused { message, why: Refusal::Gone });
        }
        let returns = message.returns_to(&self.actor).is_some_and(|to| {
            self.generation == Some(to.generation)
                && self.running.contains(to.turn)
                && self.running.expects(Begins::of(&message), to)
        });
        let pushed = if returns { self.mailbox.push_returning(message) } else { self.mailbox.push(message) };
        match pushed {
            Err(message) => Err(Refused { message, why: Refusal::Overloaded(self.retry_ms()) }),
            Ok(()) if self.goes_on() && self.grant() => Ok(Admitted::Token),
            Ok(()) => Ok(Admitted::Waits),
        }
    }

    /// Whether what has just been let in need not wait for a restart. An operator's does not.
    fn goes_on(&mut self) -> bool {
        if self.phase == Phase::Down && self.mailbox.holds_control() {
            self.phase = Phase::Draining;
        }
        self.phase != Phase::Down
    }

    /// Lets a message's turn begin at once, past the mailbox, when that changes no order: the actor
    /// is awake and idle, nothing waits and the pipeline has room. The caller then holds the token
    /// and runs the turn as after [`Step::Run`]. None, and nothing changed, when the message must
    /// be admitted.
    pub fn enter(&mut self, read_only: bool) -> Option<Turn> {
        let idle = self.phase == Phase::Awake && !self.held && self.leave.is_none() && self.mailbox.is_empty();
        let generation = self.generation.filter(|_| idle && !self.is_full())?;
        self.held = true;
        Some(self.begin(generation, Begins::call(read_only)))
    }

    /// Whether a turn runs now and nothing stands behind it: with its end the actor can be entered.
    #[must_use]
    pub fn is_soon_idle(&self) -> bool {
        self.phase == Phase::Awake && !self.running.is_empty() && self.leave.is_none() && self.mailbox.is_empty()
    }

    /// Whether it does nothing, and nothing waits for it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Awake && !self.is_busy()
    }

    fn is_busy(&self) -> bool {
        self.held || !self.mailbox.is_empty()
    }

    /// Asks it to leave memory: now if it is idle, else once its running turn has ended. True when
    /// the caller now holds the token. An idle one with messages waiting stays, unless the reason
    /// is an operator's or the silo's: then one that is down goes on at once.
    pub fn deactivate(&mut self, why: Why) -> bool {
        let busy = self.is_busy();
        match (self.phase, why) {
            (Phase::Down, Why::Idle | Why::MemoryPressure) => false,
            (Phase::Down, _) => self.go_on(),
            (Phase::Leaving | Phase::Draining, Why::Upgraded | Why::Requested | Why::Ended | Why::Shutdown) => {
                self.down = false;
                false
            }
            (Phase::Gone | Phase::Leaving | Phase::Draining, _) => false,
            (_, Why::Idle | Why::MemoryPressure) if busy => false,
            _ => {
                self.leave.get_or_insert(why);
                self.grant()
            }
        }
    }

    /// What the holder of the token does next.
    pub fn next(&mut self, now: Time) -> Step<M> {
        debug_assert!(self.held, "only the token's holder");
        match self.phase {
            Phase::Awake => self.next_awake(now),
            Phase::Asleep | Phase::Draining => {
                if self.gate.commits() > 0 {
                    return self.idle();
                }
                if std::mem::take(&mut self.down) && !self.mailbox.holds_control() {
                    self.phase = Phase::Down;
                    self.idle();
                    return Step::Down;
                }
                self.load_or_go()
            }
            Phase::Loading | Phase::Leaving | Phase::Down | Phase::Gone => {
                debug_assert!(false, "next() in {:?}", self.phase);
                self.idle()
            }
        }
    }

    fn next_awake(&mut self, now: Time) -> Step<M> {
        if let Some(step) = self.returning(now) {
            return step;
        }
        // The deactivate hook is a turn like others and may commit: it waits for room too.
        if self.is_full() || self.broken.is_some() {
            return self.rests();
        }
        if let (Some(why), Some(generation)) = (self.leave, self.generation) {
            if !self.running.is_empty() {
                return Step::Wait;
            }
            self.leave = None;
            self.phase = Phase::Leaving;
            return Step::Leave(self.begin(generation, Begins::alone()), why);
        }
        let (Some(next), Some(generation)) = (self.mailbox.peek(), self.generation) else { return self.rests() };
        let (begins, expired) = (Begins::of(next), is_over(next, now));
        if !expired && !self.running.admits(begins) {
            return Step::Wait;
        }
        match self.mailbox.pop() {
            None => self.rests(),
            Some(message) if expired => Step::Expired(message),
            Some(message) => Step::Run(self.begin(generation, begins), message),
        }
    }

    /// A message that a running turn waits for begins past all bounds, and also when the actor is about
    /// to leave: that turn would never end otherwise. There are no more of them than turns that wait, and
    /// calls that those make at once. Only [`Step::Run`] and [`Step::Expired`]; any number while turns run.
    pub fn returning(&mut self, now: Time) -> Option<Step<M>> {
        let runs = !self.running.is_empty() && self.broken.is_none() && self.mailbox.holds_returning();
        let generation = self.generation.filter(|_| runs && self.phase == Phase::Awake)?;
        let (actor, running) = (&self.actor, &self.running);
        let message = self.mailbox.take_returning(|message| {
            let to = message.returns_to(actor).unwrap_or(Returns { generation: 0, turn: 0, call: 0 });
            is_over(message, now) || running.admits_returning(Begins::of(message), to)
        })?;
        if is_over(&message, now) {
            return Some(Step::Expired(message));
        }
        Some(Step::Run(self.begin(generation, Begins::of(&message)), message))
    }

    /// The turn waits for the answer of that call, by the number that the call's path has.
    pub fn wait(&mut self, turn: Turn, call: u32) {
        if self.generation == Some(turn.generation) {
            self.running.wait(turn.number, call);
        }
    }

    /// It waits no longer.
    pub fn resume(&mut self, turn: Turn, call: u32) {
        if self.generation == Some(turn.generation) {
            self.running.resume(turn.number, call);
        }
    }

    /// Why no turn that runs can end well, if so.
    #[must_use]
    pub const fn broken(&self) -> Option<CommitError> {
        self.broken
    }

    fn begin(&mut self, generation: u64, begins: Begins) -> Turn {
        self.turn += 1;
        self.running.begin(self.turn, begins);
        Turn { generation, number: self.turn }
    }

    /// Nothing begins now.
    fn rests(&mut self) -> Step<M> {
        if self.running.is_empty() { self.idle() } else { Step::Wait }
    }

    /// Whether another turn may begin while those run that do, so that whoever runs them should ask
    /// [`Turns::next`] (or, where turns nest, [`Turns::returning`]) again after an event.
    #[must_use]
    pub fn overlaps(&self) -> bool {
        let waits = self.running.interleaves() || self.mailbox.holds_returning();
        waits && !self.running.is_empty() && self.phase == Phase::Awake
    }

    /// The claim's answer.
    pub fn loaded(&mut self, generation: u64, etag: u64) {
        debug_assert_eq!(self.phase, Phase::Loading);
        self.phase = Phase::Awake;
        self.generation = Some(generation);
        self.etag = etag;
    }

    /// The claim failed, or the actor refused to wake in its first turn (whose message the caller
    /// has): all that waited for it get the same answer. After a refusal to wake, operators'
    /// messages stay: they run without the guest. After a failed claim nothing stays, or it would
    /// be claimed again and again for as long as the store fails.
    pub fn refused(&mut self) -> Vec<M> {
        debug_assert!(self.phase == Phase::Loading || !self.running.is_empty());
        let loading = self.phase == Phase::Loading;
        self.running.clear();
        self.phase = Phase::Draining;
        if loading { self.mailbox.take_all() } else { self.mailbox.take_calls() }
    }

    /// Takes calls, and what becomes of families, out of the mailbox.
    pub fn take_calls_where(&mut self, wanted: impl Fn(&M) -> bool) -> Vec<M> {
        self.mailbox.take_calls_where(wanted)
    }

    /// Takes all that waits, since nobody will run it any more.
    pub fn take_waiting(&mut self) -> Vec<M> {
        self.mailbox.take_all()
    }

    /// Whether a commit point without a write would let its output leave at once, and do nothing
    /// else: then it need not be made.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.broken.is_none() && self.gate.commits() == 0 && self.running.holds_nothing()
    }

    /// A commit point within the running turn, or at its end: `write` is all that was staged since
    /// the last one, `output` what may leave once it and all before it are durable.
    pub fn commit_point(&mut self, mut write: Write, output: O) -> Point<O> {
        debug_assert!(!self.running.is_empty(), "only turns commit");
        if let Some(error) = self.broken {
            return Point::Failed(output, error);
        }
        if write.is_empty() && self.running.holds_nothing() {
            return match self.gate.hold(output) {
                Some(output) => Point::Open(output),
                None => Point::Held,
            };
        }
        let Some(generation) = self.generation else {
            return Point::Failed(output, CommitError::Fenced);
        };
        self.etag += 1;
        write.stamp(self.etag);
        let mut outputs = self.running.commits();
        outputs.push(output);
        let mut outputs = outputs.into_iter();
        if let Some(first) = outputs.next() {
            self.gate.submit(self.etag, write.bytes(), first);
        }
        for output in outputs {
            // Held, since a commit is under way.
            let left = self.gate.hold(output);
            debug_assert!(left.is_none());
        }
        Point::Submit(Commit { actor: self.actor.clone(), generation, etag: self.etag, write })
    }

    /// An output that waits for the commits under way, and for nothing that is only staged.
    pub fn after_commits(&mut self, output: O) -> Point<O> {
        if let Some(error) = self.broken {
            return Point::Failed(output, error);
        }
        self.gate.hold(output).map_or(Point::Held, Point::Open)
    }

    /// The turn staged something. Needed where turns may overlap.
    pub fn staged(&mut self, turn: Turn) {
        self.running.staged(turn.number);
    }

    /// The turn is at a commit point. True when the caller is to make it, with all that is staged by
    /// any turn; false when the turn's output must be given to [`Turns::hold`], since others are
    /// between their commit points.
    pub fn reach(&mut self, turn: Turn) -> bool {
        self.running.reach(turn.number) || self.broken.is_some()
    }

    /// The output leaves with the commit that the last of the group's turns makes.
    pub fn hold(&mut self, output: O) {
        self.running.hold(output);
    }

    /// The running turn ended, having made its last commit point (or found that it need not make
    /// it: [`Turns::is_open`]). Its time, where it was measured, counts for what `Overloaded` says.
    pub fn end(&mut self, took: Option<Duration>) {
        let last = self.running.last();
        debug_assert!(last.is_some());
        self.end_of(last.unwrap_or_default(), took);
    }

    /// The same, of one turn among several.
    pub fn ended(&mut self, turn: Turn, took: Option<Duration>) {
        debug_assert!(self.running.contains(turn.number));
        self.end_of(turn.number, took);
    }

    fn end_of(&mut self, number: u64, took: Option<Duration>) {
        self.running.end(number);
        if let Some(took) = took {
            self.turn_time = (self.turn_time * 7 + took) / 8;
        }
        if self.broken.is_some() && self.running.is_empty() {
            self.phase = Phase::Draining;
        }
    }

    /// Gives the token back if there is nothing to do; false when its holder must ask
    /// [`Turns::next`]. Between turns, instead of a `next` that would mostly answer `Idle`.
    pub fn rest(&mut self) -> bool {
        debug_assert!(self.held, "only the token's holder");
        let rests =
            self.phase == Phase::Awake && self.running.is_empty() && self.leave.is_none() && self.mailbox.is_empty();
        if rests {
            self.held = false;
        }
        rests
    }

    /// The instance is dead, and all turns that run in it: the caller has dropped it, and undone what
    /// was staged. Earlier commits stand. The next message loads afresh. Outputs that waited for
    /// overlapping turns are given back: they never leave.
    pub fn trapped(&mut self) -> Vec<O> {
        debug_assert!(!self.running.is_empty());
        self.running.clear();
        self.phase = Phase::Draining;
        self.running.take_held()
    }

    /// It failed, and is not to be loaded before [`Turns::go_on`]. Right after [`Turns::trapped`], or
    /// [`Turns::refused`] by an actor that did not wake; or instead of loading it.
    pub fn hold_down(&mut self) {
        debug_assert!(matches!(self.phase, Phase::Draining | Phase::Loading));
        self.phase = Phase::Draining;
        self.down = true;
    }

    /// It is to end after its running turn, and not to be loaded before [`Turns::go_on`]. True when the caller
    /// now holds the token.
    pub fn end_and_hold(&mut self) -> bool {
        match self.phase {
            Phase::Gone | Phase::Down => false,
            Phase::Draining | Phase::Leaving => {
                self.down = true;
                false
            }
            Phase::Asleep | Phase::Loading | Phase::Awake => {
                self.down = true;
                self.leave.get_or_insert(Why::Requested);
                self.grant()
            }
        }
    }

    /// Whether it is to end and wait ([`Turns::end_and_hold`]), and has not ended yet.
    #[must_use]
    pub const fn is_to_wait(&self) -> bool {
        self.down
    }

    /// Whether an operator's message waits, which needs no guest.
    #[must_use]
    pub fn holds_control(&self) -> bool {
        self.mailbox.holds_control()
    }

    /// The wait of one that is held down is over. True when the caller now holds the token.
    pub fn go_on(&mut self) -> bool {
        self.down = false;
        if self.phase != Phase::Down {
            return false;
        }
        self.phase = Phase::Draining;
        self.grant()
    }

    /// It failed too often: those that wait for it get the same answer. Operators' messages stay.
    pub fn turn_away(&mut self) -> Vec<M> {
        debug_assert!(matches!(self.phase, Phase::Draining | Phase::Loading | Phase::Down));
        self.mailbox.take_calls()
    }

    /// The deactivate hook has ended, with its commit point made, and the instance is dropped.
    pub fn left(&mut self) {
        debug_assert_eq!(self.phase, Phase::Leaving);
        self.running.clear();
        self.phase = Phase::Draining;
    }

    /// A commit's outcome. Outcomes come in the order in which commits were submitted.
    pub fn landed(&mut self, etag: u64, outcome: Result<(), CommitError>) -> Landed<O> {
        let mut landed = Landed { released: Vec::new(), failed: Vec::new(), token: false };
        match outcome {
            Ok(()) => landed.released = self.gate.open(etag),
            Err(error) => {
                // Those behind it were built on it: they fail for its reason, whatever theirs is.
                let error = *self.broken.get_or_insert(error);
                let behind = self.gate.fail(etag).into_iter().chain(self.running.take_held());
                landed.failed = behind.map(|output| (output, error)).collect();
                if self.phase == Phase::Awake && self.running.is_empty() {
                    self.phase = Phase::Draining;
                }
            }
        }
        landed.token = self.has_work() && self.grant();
        landed
    }

    /// Whether the token's holder would find something to do.
    fn has_work(&self) -> bool {
        match self.phase {
            Phase::Awake => !self.is_full() && (self.leave.is_some() || !self.mailbox.is_empty()),
            Phase::Draining => self.gate.commits() == 0,
            Phase::Asleep | Phase::Loading | Phase::Leaving | Phase::Down | Phase::Gone => false,
        }
    }

    /// Whether the pipeline of commits has no room for another turn; each that runs may add one.
    fn is_full(&self) -> bool {
        self.gate.commits() + self.running.len() >= PENDING_COMMITS_MAX || self.gate.bytes() >= PENDING_BYTES_MAX
    }

    fn grant(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }

    fn idle(&mut self) -> Step<M> {
        self.mailbox.trim();
        self.held = false;
        Step::Idle
    }

    /// No commit is under way and no instance runs: over, or once more if messages wait.
    fn load_or_go(&mut self) -> Step<M> {
        debug_assert!(self.gate.is_empty(), "no output outlives its commit");
        let generation = self.generation.take();
        // Asked to leave while it does not live: there is nothing to leave.
        self.leave = None;
        self.broken = None;
        // Timers wake nobody.
        self.mailbox.drop_timers();
        if self.mailbox.is_empty() {
            self.phase = Phase::Gone;
            self.held = false;
            return Step::Gone(generation);
        }
        self.phase = Phase::Loading;
        Step::Load
    }

    fn retry_ms(&self) -> u64 {
        let waits = self.turn_time.saturating_mul(u32::try_from(self.mailbox.len()).unwrap_or(u32::MAX));
        u64::try_from(waits.as_millis()).unwrap_or(u64::MAX).clamp(RETRY_MS.0, RETRY_MS.1)
    }
}

/// Whether nobody waits for that message any more.
fn is_over(message: &impl Message, now: Time) -> bool {
    message.deadline() <= now || message.is_given_up()
}

#[cfg(test)]
mod tests;
