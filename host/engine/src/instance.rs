//! One actor in its instance, running turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quark_core::activation::{Overlap, Turn};
use quark_core::commit::{Handled, Write};
use quark_core::envelope::{Awaits, Head};
use quark_core::id::ActorId;
use quark_core::manifest::{Isolation, MemoryProfile, Reentrancy};
use quark_core::state::{State, Value};
use wasmtime::component::ResourceAny;

use crate::cell::Cell;
use crate::component::Component;
use crate::engine::DirectStack;
use crate::error::Trap;
use crate::guest::{Guest, Member, Wishes};
use crate::kind::Lane;
use crate::outside::Outside;
use crate::pack::{Beside, Pack, Seat};
use crate::rest::Rest;
use crate::values::Payload;

/// Turns that must have been short before a component may run on its caller's stack.
const SHORT_TURNS_MIN: u32 = 64;
/// How long a turn that holds its worker waits until another thread has taken the worker's queue.
const HAND_OVER: Duration = Duration::from_millis(1);

/// Whether a component's turns have been short lately. A turn on the caller's own stack is cheapest
/// but cannot yield, so only components in the direct lane whose turns are short run so; one long
/// turn sends the component back to fibers.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU32);

impl Pace {
    fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= SHORT_TURNS_MIN
    }

    pub(crate) fn ended(&self, long: bool) {
        if long {
            self.0.store(0, Ordering::Relaxed);
        } else if !self.is_short() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why an actor wakes; the cases of `cause` in `wit/lifecycle.wit` that this version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A message came.
    Message,
    /// A reminder is due.
    Reminder,
    /// Its parent spawned it.
    Spawn,
    /// Its instance before failed, or it is started again with others.
    Restart,
    /// Its component has a new version.
    Upgrade,
}

/// All that a new instance starts with.
pub struct Birth {
    /// Whose it is.
    pub actor: ActorId,
    /// The claim's generation.
    pub generation: u64,
    /// Why it wakes.
    pub cause: Cause,
    /// What runs.
    pub component: Arc<Component>,
    /// The kind's place in the component.
    pub kind_at: usize,
    /// The loaded state.
    pub state: State,
    /// Its surroundings.
    pub outside: Arc<dyn Outside>,
}

/// One turn to run. What is lent is not moved through all the layers that a call passes.
#[derive(Debug)]
pub struct TurnInput<'a> {
    /// What travels with the message; afterwards that of the turn before.
    pub head: &'a mut Head,
    /// Which turn it is.
    pub turn: Turn,
    /// The method's place in the kind.
    pub method: usize,
    /// What the turn handles: its row goes, or moves on, with the turn's first commit point.
    pub handles: Option<&'a Handled>,
    /// The arguments, by the method's own types; afterwards the result, without a value for a tell.
    pub payload: &'a mut Payload,
}

/// What a turn leaves beside its result.
#[derive(Debug, Default)]
pub struct Left {
    /// What is staged since the last commit point.
    pub write: Write,
    /// What the guest asked for.
    pub wishes: Wishes,
}

/// One actor in an instance of its component: its own, or one that it shares. Dropping it frees all
/// that the guest had of it.
pub struct Instance {
    home: Home,
    component: Arc<Component>,
}

enum Home {
    Own(Cell, ResourceAny),
    Packed(Seat),
}

/// Why an actor did not wake in a pack.
#[derive(Debug)]
pub enum Unborn {
    /// It trapped or refused.
    Trap(Trap),
    /// The pack is over; the actor may wake in another one.
    Elsewhere(Birth),
}

impl std::fmt::Debug for Birth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Birth({})", self.actor)
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.home {
            Home::Own(cell, _) => write!(f, "Instance({})", cell.store.data().member.actor),
            Home::Packed(seat) => write!(f, "Instance({seat:?})"),
        }
    }
}

impl Instance {
    /// Instantiates, then runs `activate` and the constructor.
    ///
    /// # Errors
    /// When there is no room, the guest traps, or it refuses. The state given is lost; the store
    /// has it.
    pub async fn new(birth: Birth) -> Result<Self, Trap> {
        let fiber = !birth.component.runs_now();
        let (component, kind_at) = (birth.component.clone(), birth.kind_at);
        let (member, cause) = Member::of(birth);
        let mut cell = Cell::new(&component, kind_at, member, None, fiber).await?;
        let this = cell.wake(cause, fiber).await?;
        if component.overlap(kind_at) == Overlap::Nested {
            cell.let_nest(this);
        }
        Ok(Self { home: Home::Own(cell, this), component })
    }

    /// The same in an instance that is shared.
    ///
    /// # Errors
    /// When the guest traps or refuses, then as of [`Instance::new`]; or when the pack is over, then
    /// nothing was done.
    pub async fn in_pack(birth: Birth, pack: &Arc<Pack>) -> Result<Self, Unborn> {
        let component = birth.component.clone();
        let seat = Box::pin(pack.sit(birth)).await?;
        Ok(Self { home: Home::Packed(seat), component })
    }

    /// Whether its pack is over: it must wake in another one, with [`Instance::into_state`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        match &self.home {
            Home::Own(..) => false,
            Home::Packed(seat) => seat.is_over(),
        }
    }

    /// Whether a turn may begin without waiting for others in its pack; then it must begin.
    pub fn is_free(&mut self) -> bool {
        match &mut self.home {
            Home::Own(..) => true,
            Home::Packed(seat) => seat.enter(),
        }
    }

    /// Whether the next turn may run on the caller's own stack: [`Instance::turn_now`]; then it must
    /// begin.
    pub fn runs_now(&mut self) -> bool {
        self.component.runs_now() && self.is_free()
    }

    /// What the turn that just ended leaves, if anything: most leave nothing.
    pub fn left(&mut self) -> Option<Left> {
        match &mut self.home {
            Home::Own(cell, _) => left(cell.store.data_mut()),
            Home::Packed(seat) => seat.left.take().map(|left| *left),
        }
    }

    /// Runs a turn on the caller's stack. Only when [`Instance::runs_now`].
    ///
    /// # Errors
    /// When the guest traps: drop the instance.
    pub fn turn_now(&mut self, mut input: TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        match &mut self.home {
            Home::Own(cell, this) => cell.turn_now(*this, &mut input, now),
            Home::Packed(seat) => seat.turn_now(&mut input, now),
        }
    }

    /// The same on a stack of its own. The future must be polled to its end, or the instance dropped.
    ///
    /// # Errors
    /// When the guest traps: drop the instance. [`Trap::Unbegun`] when its pack is over and the turn
    /// had not begun: the input is as it was.
    pub async fn turn(&mut self, mut input: TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        match &mut self.home {
            Home::Own(cell, this) => cell.turn(*this, &mut input, now).await,
            // Boxed, so that turns of their own instance do not carry it.
            Home::Packed(seat) => Box::pin(seat.turn(&mut input, now)).await,
        }
    }

    /// Gives back what [`Instance::is_free`] took, when no turn begins.
    pub fn step_back(&mut self) {
        if let Home::Packed(seat) = &mut self.home {
            seat.step_back();
        }
    }

    /// To begin turns beside others of the same actor; none for an instance of its own.
    #[must_use]
    pub fn turns(&self) -> Option<Beside> {
        match &self.home {
            Home::Own(..) => None,
            Home::Packed(seat) => Some(seat.turns()),
        }
    }

    /// What its turns wait for, where that may be several calls and can be known.
    #[must_use]
    pub fn rest(&self) -> Option<Arc<Rest>> {
        match &self.home {
            Home::Own(cell, _) => cell.store.data().rest.clone(),
            Home::Packed(seat) => seat.rest(),
        }
    }

    /// Runs the `deactivate` hook, if there is one. What it staged is in the answer.
    ///
    /// # Errors
    /// When the guest traps.
    pub async fn deactivate(&mut self, why: &'static str) -> Result<Write, Trap> {
        let fiber = !self.component.runs_now();
        match &mut self.home {
            Home::Own(cell, _) => {
                cell.put_to_sleep(why, fiber).await?;
                Ok(cell.store.data_mut().take_write())
            }
            Home::Packed(seat) => Box::pin(seat.put_to_sleep(why, fiber)).await,
        }
    }

    /// What it staged and asked for while it woke. Only before its first turn begins.
    pub async fn settle(&mut self) -> Option<Left> {
        match &mut self.home {
            Home::Own(cell, _) => left(cell.store.data_mut()),
            Home::Packed(seat) => seat.settle().await,
        }
    }

    /// One of the actor's values, and the names of all, for an operator.
    pub async fn value(&mut self, name: &str) -> (Option<Value>, Vec<Arc<str>>) {
        match &mut self.home {
            Home::Own(cell, _) => look(&cell.store.data().member.state, name),
            Home::Packed(seat) => seat.value(name).await,
        }
    }

    /// Ends the instance and keeps the actor's values, with what is staged in them. None when they
    /// went with the pack.
    pub async fn into_state(self) -> Option<State> {
        match self.home {
            Home::Own(cell, _) => Some(cell.store.into_data().member.state),
            Home::Packed(seat) => Box::pin(seat.into_state()).await,
        }
    }
}

/// A turn to begin beside others.
#[derive(Debug)]
pub struct Started {
    /// What travels with the message.
    pub head: Head,
    /// Which turn it is.
    pub turn: Turn,
    /// The method's place in the kind.
    pub method: usize,
    /// What the turn handles.
    pub handles: Option<Handled>,
    /// The arguments, by the method's own types.
    pub payload: Payload,
}

pub(crate) fn left(guest: &mut Guest) -> Option<Left> {
    (!guest.is_clean()).then(|| Left { write: guest.take_write(), wishes: std::mem::take(&mut guest.member.wishes) })
}

pub(crate) fn look(state: &State, name: &str) -> (Option<Value>, Vec<Arc<str>>) {
    (state.get(name).cloned(), state.iter().map(|(name, _)| name.clone()).collect())
}

impl Component {
    /// Whether turns of other instances may run on the stack of a turn of this one: wasmtime refuses
    /// a second event loop there.
    #[must_use]
    pub fn nests(&self) -> bool {
        self.lane != Lane::Concurrent
    }

    /// Which turns of one actor of that kind may run at once.
    #[must_use]
    pub fn overlap(&self, kind_at: usize) -> Overlap {
        let kind = &self.kinds[kind_at];
        let reads = kind.methods.iter().any(|method| method.read_only);
        match (self.lane, kind.reentrancy) {
            (Lane::Direct, _) => Overlap::None,
            (Lane::Fiber, Reentrancy::CallChain | Reentrancy::Full) if self.asks_others => Overlap::Nested,
            (Lane::Fiber, _) => Overlap::None,
            (Lane::Concurrent, Reentrancy::Full) => Overlap::Full,
            (Lane::Concurrent, Reentrancy::CallChain) if self.asks_others => Overlap::Chain { reads },
            (Lane::Concurrent, _) if reads => Overlap::Reads,
            (Lane::Concurrent, _) => Overlap::None,
        }
    }

    /// What lets a turn of that kind go on that made a call. Where actors share an instance, or anybody may
    /// enter while a turn waits, that may be anything.
    #[must_use]
    pub fn awaits(&self, kind_at: usize) -> Awaits {
        let kind = &self.kinds[kind_at];
        match (self.lane, kind.reentrancy, kind.policy.isolation) {
            (Lane::Direct | Lane::Fiber, ..) => Awaits::One,
            (Lane::Concurrent, Reentrancy::Full, _) | (Lane::Concurrent, _, Isolation::Packed(2..)) => Awaits::Unknown,
            (Lane::Concurrent, ..) => Awaits::Several,
        }
    }

    /// Whether its turns run on their callers' stacks: they cannot wait, and have been short.
    #[must_use]
    pub fn runs_now(&self) -> bool {
        self.lane == Lane::Direct && (self.pace.is_short() || self.counts_stacks() && self.engine.stacks.are_out())
    }

    fn counts_stacks(&self) -> bool {
        self.lane == Lane::Direct && self.profile == MemoryProfile::Dense
    }

    pub(crate) fn direct_stack(&self) -> Option<DirectStack> {
        self.counts_stacks().then(|| self.engine.stacks.take())
    }
}

/// Gives the worker's queue to another thread, since this one is held by a guest that cannot
/// yield. Tokio takes the queue back when the closure ends before another thread got it.
pub(crate) fn hand_over() {
    let on_worker = tokio::runtime::Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if on_worker {
        tokio::task::block_in_place(|| std::thread::sleep(HAND_OVER));
    }
}
