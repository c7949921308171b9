//! An instance that several actors share, or several turns of one.
//!
//! In the direct lane a turn has the pack for itself: it takes the lock on the [`Body`]. In the
//! concurrent lane turns are jobs for the one who holds it (`run`), which runs as long as there are
//! any. Whoever traps ends the Store for all: actors that had no turn in it keep their values and wake
//! in another pack.

mod call;
mod desk;
mod jobs;
mod run;

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use quark_core::commit::Write;
use quark_core::state::{State, Value};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};
use wasmtime::component::ResourceAny;

use self::desk::{Desk, Reply, Work};
pub use self::desk::{Done, Turned};
use crate::cell::Cell;
use crate::component::Component;
use crate::error::Trap;
use crate::guest::Member;
use crate::instance::{Birth, Cause, Left, Started, TurnInput, Unborn, left, look};
use crate::kind::Lane;
use crate::outside::{Owned, Reached};
use crate::rest::Rest;
use crate::seats::Seats;

/// Runs a future in the background; none of its polls may run another instance on the same stack.
pub type Background = Box<dyn Fn(Owned<()>) + Send + Sync>;

/// What a pack holds for as long as it has a Store.
pub type Place = Box<dyn Any + Send>;

/// An instance for several actors of one kind.
pub struct Pack {
    component: Arc<Component>,
    kind_at: usize,
    overlap: bool,
    body: Arc<AsyncMutex<Body>>,
    desk: Mutex<Desk>,
    /// Whoever runs the pack.
    awake: AtomicWaker,
    background: Background,
    /// What its turns wait for, once it is instantiated.
    rest: OnceLock<Arc<Rest>>,
    me: Weak<Self>,
}

enum Body {
    Fresh(Place),
    /// The place is given back after the Store: fields are dropped in this order.
    Alive(Box<Cell>, Place),
    Over,
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pack({})", self.component.kinds[self.kind_at].name)
    }
}

impl Pack {
    /// A pack for actors of that kind. It is instantiated with the first of them; when its Store has
    /// been dropped, so is `place`.
    #[must_use]
    pub fn new(component: &Arc<Component>, kind_at: usize, place: Place, background: Background) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            component: component.clone(),
            kind_at,
            overlap: component.overlap(kind_at).interleaves(),
            body: Arc::new(AsyncMutex::new(Body::Fresh(place))),
            desk: Mutex::default(),
            awake: AtomicWaker::new(),
            background,
            rest: OnceLock::new(),
            me: me.clone(),
        })
    }

    /// Whether its Store is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.desk.lock().over
    }

    fn runs_jobs(&self) -> bool {
        self.component.lane == Lane::Concurrent
    }

    /// Seats an actor and wakes it.
    pub(crate) async fn sit(self: &Arc<Self>, birth: Birth) -> Result<Seat, Unborn> {
        let (member, cause) = Member::of(birth);
        let sat = if self.runs_jobs() {
            let (reply, answer) = oneshot::channel();
            self.ask(None, Work::Sit(member, cause), Reply::Sat(reply, cause));
            answer.await.unwrap_or(Err(Unseated::Trap(Trap::Unbegun)))
        } else {
            self.sit_here(member, cause).await
        };
        match sat {
            Ok((at, this)) => {
                Ok(Seat { pack: self.clone(), at, this, left: None, inside: None, busy: false, gone: false })
            }
            Err(Unseated::Trap(trap)) => Err(Unborn::Trap(trap)),
            Err(Unseated::Over(member, cause)) => Err(Unborn::Elsewhere(self.birth(*member, cause))),
        }
    }

    fn birth(&self, member: Member, cause: Cause) -> Birth {
        let Member { actor, generation, host: outside, state, .. } = member;
        Birth { actor, generation, cause, component: self.component.clone(), kind_at: self.kind_at, state, outside }
    }

    async fn sit_here(&self, member: Box<Member>, cause: Cause) -> Result<(usize, ResourceAny), Unseated> {
        let fiber = !self.component.runs_now();
        let body = self.body.clone().lock_owned().await;
        let mut inside = Inside { pack: self, body, whole: false };
        let at = match std::mem::replace(&mut *inside.body, Body::Over) {
            Body::Over => {
                inside.whole = true;
                return Err(Unseated::Over(member, cause));
            }
            Body::Fresh(place) => {
                let seats = Seats::new(self.overlap);
                let cell = Cell::new(&self.component, self.kind_at, member, Some(seats), fiber).await;
                let mut cell = cell.map_err(Unseated::Trap)?;
                let at = cell.store.data_mut().sit(None);
                *inside.body = Body::Alive(Box::new(cell), place);
                at
            }
            alive @ Body::Alive(..) => {
                *inside.body = alive;
                let Body::Alive(cell, _) = &mut *inside.body else { return Err(Unseated::Trap(Trap::Unbegun)) };
                self.tidy(cell).map_err(Unseated::Trap)?;
                let at = cell.store.data_mut().sit(Some(member));
                cell.store.data_mut().show(at);
                at
            }
        };
        let Body::Alive(cell, _) = &mut *inside.body else { return Err(Unseated::Trap(Trap::Unbegun)) };
        let woken = cell.wake(cause, fiber).await;
        // An actor that refuses to wake leaves the others alone.
        inside.whole = matches!(woken, Ok(_) | Err(Trap::Refused(_)));
        if woken.is_err() {
            cell.store.data_mut().leave(at);
        }
        woken.map(|this| (at, this)).map_err(Unseated::Trap)
    }

    /// Drops what actors that have left had in the guest.
    fn tidy(&self, cell: &mut Cell) -> Result<(), Trap> {
        if !self.desk.lock().untidy() {
            return Ok(());
        }
        let left = self.desk.lock().take_left();
        // On this very stack, whatever the turn before ran on.
        cell.enter(false, Instant::now());
        // It is nobody's turn.
        cell.store.data_mut().turn.read_only = true;
        for (at, this) in left {
            cell.store.data_mut().leave(at);
            if let Some(this) = this {
                this.resource_drop(&mut cell.store).map_err(|error| crate::cell::trap(cell.store.data(), &error))?;
            }
        }
        Ok(())
    }

    /// The Store is over: who has no turn in it keeps what it has.
    fn end(&self, body: &mut Body) {
        let mut ghosts = Vec::new();
        if let Body::Alive(cell, _place) = std::mem::replace(body, Body::Over) {
            let mut guest = cell.store.into_data();
            if let Some((members, shown)) = guest.seats.take().map(|seats| seats.into_members()) {
                ghosts = members;
                if let Some(place) = shown.and_then(|shown| ghosts.get_mut(shown)) {
                    *place = Some(guest.member);
                }
            }
        }
        let mut desk = self.desk.lock();
        desk.over = true;
        desk.ghosts = ghosts;
        for (at, _) in desk.take_left() {
            desk.ghosts.get_mut(at).map(Option::take);
        }
    }
}

/// Whether the instance goes on after a turn that ended so.
const fn spares_others(ran: &Result<(), Trap>) -> bool {
    matches!(ran, Ok(()) | Err(Trap::Failed(_)))
}

/// Why an actor got no seat.
enum Unseated {
    Trap(Trap),
    Over(Box<Member>, Cause),
}

/// A turn of the direct lane that has the pack. If it does not come to its end, the Store is over.
struct Inside<'p> {
    pack: &'p Pack,
    body: OwnedMutexGuard<Body>,
    whole: bool,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.pack.end(&mut self.body);
        }
    }
}

/// Turns of one actor of a pack in the concurrent lane, beside one another.
#[derive(Clone)]
pub struct Beside {
    pack: Arc<Pack>,
    at: usize,
    this: ResourceAny,
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, seat {}", self.pack, self.at)
    }
}

impl Beside {
    /// Begins a turn. `done` is called once: at its end, on the stack of whoever runs the pack, or
    /// here when the pack is over.
    pub fn start(&self, turn: Started, done: Done) {
        self.pack.ask(Some(self.at), Work::Turn(self.this), Reply::Turned(Box::new(turn), done));
    }

    /// Ends the pack for a reason that is this actor's.
    pub fn end(&self, why: Trap) {
        self.pack.doom(self.at, why);
    }
}

/// An actor's place in a pack. Dropping it gives the place up.
pub(crate) struct Seat {
    pack: Arc<Pack>,
    at: usize,
    this: ResourceAny,
    /// What the turn that ended last left.
    pub(crate) left: Option<Box<Left>>,
    /// The lock, for a turn that begins at once.
    inside: Option<OwnedMutexGuard<Body>>,
    /// A job of this actor runs.
    busy: bool,
    /// It has been left.
    gone: bool,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, seat {}", self.pack, self.at)
    }
}

impl Seat {
    pub(crate) fn is_over(&self) -> bool {
        self.pack.is_over()
    }

    /// Takes the pack for a turn, if nobody has it.
    pub(crate) fn enter(&mut self) -> bool {
        if self.pack.runs_jobs() {
            return false;
        }
        if self.inside.is_none() {
            let body = self.pack.body.clone().try_lock_owned().ok();
            self.inside = body.filter(|body| matches!(**body, Body::Alive(..)));
        }
        self.inside.is_some()
    }

    pub(crate) fn turn_now(&mut self, input: &mut TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        let Some(body) = self.inside.take() else { return Err(Trap::Unbegun) };
        let mut inside = Inside { pack: &self.pack, body, whole: false };
        let Body::Alive(cell, _) = &mut *inside.body else { return Err(Trap::Unbegun) };
        self.pack.tidy(cell)?;
        cell.store.data_mut().show(self.at);
        let ran = cell.turn_now(self.this, input, now);
        inside.whole = spares_others(&ran);
        ran?;
        self.left = left(cell.store.data_mut()).map(Box::new);
        Ok(())
    }

    pub(crate) async fn turn(&mut self, input: &mut TurnInput<'_>, now: Instant) -> Result<(), Trap> {
        if self.pack.runs_jobs() {
            return self.turn_as_job(input).await;
        }
        let pack = self.pack.clone();
        let mut inside = self.lock(&pack).await?;
        let Body::Alive(cell, _) = &mut *inside.body else { return Err(Trap::Unbegun) };
        pack.tidy(cell)?;
        cell.store.data_mut().show(self.at);
        let ran = cell.turn(self.this, input, now).await;
        inside.whole = spares_others(&ran);
        ran?;
        self.left = left(cell.store.data_mut()).map(Box::new);
        Ok(())
    }

    /// Waits for the pack.
    async fn lock<'p>(&mut self, pack: &'p Pack) -> Result<Inside<'p>, Trap> {
        let body = match self.inside.take() {
            Some(body) => body,
            None => pack.body.clone().lock_owned().await,
        };
        let mut inside = Inside { pack, body, whole: false };
        if !matches!(*inside.body, Body::Alive(..)) {
            inside.whole = true;
            return Err(Trap::Unbegun);
        }
        Ok(inside)
    }

    async fn turn_as_job(&mut self, input: &mut TurnInput<'_>) -> Result<(), Trap> {
        let (ended, answer) = oneshot::channel();
        let turn = Started {
            head: input.head.take(),
            turn: input.turn,
            method: input.method,
            handles: input.handles.cloned(),
            payload: std::mem::take(input.payload),
        };
        self.busy = true;
        // Nobody waits any more once its instance has been dropped.
        self.turns().start(turn, Box::new(move |turned| drop(ended.send(turned))));
        let turned = answer.await;
        self.busy = false;
        match turned {
            Ok(Turned::Ended { payload, write, wishes }) => {
                *input.payload = payload;
                let write = match write {
                    Reached::Free(Some(write)) => *write,
                    Reached::Free(None) | Reached::Held => Write::default(),
                };
                let left = Left { write, wishes };
                self.left = (!left.write.is_empty() || !left.wishes.is_empty()).then(|| Box::new(left));
                Ok(())
            }
            Ok(Turned::Trapped(trap)) => Err(trap),
            Ok(Turned::Unbegun(turn)) => {
                (*input.head, *input.payload) = (turn.head, turn.payload);
                Err(Trap::Unbegun)
            }
            Err(_) => Err(Trap::Neighbour("the silo stops".into())),
        }
    }

    pub(crate) fn rest(&self) -> Option<Arc<Rest>> {
        self.pack.rest.get().cloned()
    }

    pub(crate) fn turns(&self) -> Beside {
        Beside { pack: self.pack.clone(), at: self.at, this: self.this }
    }

    pub(crate) fn step_back(&mut self) {
        self.inside = None;
    }

    pub(crate) async fn put_to_sleep(&mut self, why: &'static str, fiber: bool) -> Result<Write, Trap> {
        if self.pack.runs_jobs() {
            let (reply, answer) = oneshot::channel();
            self.busy = true;
            self.pack.ask(Some(self.at), Work::Sleep(why), Reply::Slept(reply));
            let slept = answer.await;
            self.busy = false;
            return slept.unwrap_or(Err(Trap::Unbegun));
        }
        let pack = self.pack.clone();
        let mut inside = self.lock(&pack).await?;
        let Body::Alive(cell, _) = &mut *inside.body else { return Err(Trap::Unbegun) };
        cell.store.data_mut().show(self.at);
        cell.put_to_sleep(why, fiber).await?;
        inside.whole = true;
        Ok(cell.store.data_mut().take_write())
    }

    pub(crate) async fn value(&mut self, name: &str) -> (Option<Value>, Vec<Arc<str>>) {
        if self.pack.runs_jobs() {
            let (reply, answer) = oneshot::channel();
            self.pack.ask(Some(self.at), Work::Look(name.into()), Reply::Looked(reply));
            return answer.await.unwrap_or_default();
        }
        let pack = self.pack.clone();
        let Ok(mut inside) = self.lock(&pack).await else { return pack.desk.lock().look(self.at, name) };
        inside.whole = true;
        let Body::Alive(cell, _) = &mut *inside.body else { return Default::default() };
        cell.store.data_mut().show(self.at);
        look(&cell.store.data().member.state, name)
    }

    pub(crate) async fn settle(&mut self) -> Option<Left> {
        if self.pack.runs_jobs() {
            let (reply, answer) = oneshot::channel();
            self.pack.ask(Some(self.at), Work::Settle, Reply::Settled(reply));
            return answer.await.ok().flatten();
        }
        let pack = self.pack.clone();
        let mut inside = self.lock(&pack).await.ok()?;
        inside.whole = true;
        let Body::Alive(cell, _) = &mut *inside.body else { return None };
        cell.store.data_mut().show(self.at);
        left(cell.store.data_mut())
    }

    pub(crate) async fn into_state(mut self) -> Option<State> {
        self.gone = true;
        let member = if self.pack.runs_jobs() {
            let (reply, answer) = oneshot::channel();
            self.pack.ask(Some(self.at), Work::Leave(self.this), Reply::Left(reply));
            answer.await.ok().flatten()
        } else {
            let pack = self.pack.clone();
            match self.lock(&pack).await {
                Err(_) => pack.desk.lock().take_ghost(self.at),
                Ok(mut inside) => {
                    inside.whole = true;
                    let Body::Alive(cell, _) = &mut *inside.body else { return None };
                    let member = cell.store.data_mut().leave(self.at);
                    pack.desk.lock().drop_later(self.this);
                    member
                }
            }
        };
        member.map(|member| member.state)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inside = None;
        if self.busy {
            self.pack.doom(self.at, Trap::Abandoned);
        }
        if !self.gone {
            self.pack.leave(self.at, self.this);
        }
    }
}
