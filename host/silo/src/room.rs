//! Room for one more live instance: a place that is free, or one that idle activations leave.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use quark_core::activation::Why;
use quark_engine::Trap;

use crate::activation::{Activation, Takes};
use crate::catalog::{Place, Short};
use crate::kinds::Served;
use crate::packs::{Packs, Seated};
use crate::silo::Inner;
use crate::thrash::WINDOW;

/// An activation used this recently does not make room for another.
const JUST_WOKEN: Duration = Duration::from_millis(100);
/// How often one that needs room puts others to sleep before it gives up.
const TRIES_MAX: u32 = 8;
/// How long it waits in all for others to become idle.
const IDLE_WAIT_MAX: Duration = Duration::from_millis(160);
/// When it looks for them again, unless a place is given back sooner.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long it waits for the hooks of those that leave.
const LEAVE_WAIT: Duration = Duration::from_millis(500);
/// So few live instances make no room for others, however little memory the machine has left.
const LIVE_MIN: usize = 16;

/// What one that wakes was given.
pub(crate) enum Room {
    /// A place for an instance of its own, or for a new pack.
    Place(Place),
    /// A seat in a pack that is there.
    Seat(Seated),
}

/// What those give back who were put to sleep. An instance's place is free a moment later.
enum Leaves {
    Nobody,
    Seat,
    Instance,
}

impl Inner {
    /// Takes a place for one more live instance, or a seat in one of its kind's packs; when there is
    /// neither, the idle activations that were used longest ago leave memory first.
    pub(crate) async fn make_room(self: &Arc<Self>, activation: &Activation, served: &Served) -> Result<Room, Trap> {
        if self.thrash.is_watching() && self.thrash.woken(self.catalog.hash(&activation.id), self.clock.now()) {
            self.metrics.rewoken.increment(1);
            self.say_thrashing();
        }
        // One goes for one that comes, so that the memory that is left stays as it is.
        let pressed = self.pressure.is_high() && self.catalog.live() >= LIVE_MIN;
        match self.room(activation, served, pressed) {
            Ok(room) => Ok(room),
            // Boxed, since mostly there is room.
            Err(_) => Box::pin(self.make_room_by_others(activation, served, pressed)).await,
        }
    }

    /// What is free now; what it is short of when nothing is.
    fn room(&self, activation: &Activation, served: &Served, pressed: bool) -> Result<Room, Short> {
        let seat = if served.packed() > 1 { served.packs.seat(activation.me()) } else { None };
        match seat {
            Some(seated) => Ok(Room::Seat(seated)),
            None if pressed => Err(Short::Memory),
            None => self.catalog.take_place(served.share()).map(Room::Place),
        }
    }

    /// A place for an instance that is no activation's, and gone soon.
    pub(crate) async fn scratch_place(self: &Arc<Self>, served: &Served) -> Result<Place, Trap> {
        let mut short = match self.catalog.take_place(served.share()) {
            Ok(place) => return Ok(place),
            Err(short) => short,
        };
        for _ in 0..TRIES_MAX {
            let mut freed = std::pin::pin!(self.catalog.freed());
            freed.as_mut().enable();
            if !matches!(self.put_to_sleep(short, None).await, Leaves::Nobody) {
                drop(tokio::time::timeout(LOOK_AGAIN, freed).await);
            }
            short = match self.catalog.take_place(served.share()) {
                Ok(place) => return Ok(place),
                Err(short) => short,
            };
        }
        Err(Trap::NoRoom(self.no_room(short, served)))
    }

    async fn make_room_by_others(
        self: &Arc<Self>,
        activation: &Activation,
        served: &Served,
        mut pressed: bool,
    ) -> Result<Room, Trap> {
        let packs = (served.packed() > 1).then_some(&served.packs);
        let (mut left, mut waited) = (0, Duration::ZERO);
        loop {
            let mut freed = std::pin::pin!(self.catalog.freed());
            freed.as_mut().enable();
            let short = match self.room(activation, served, pressed) {
                Ok(room) => return Ok(room),
                Err(short) => short,
            };
            if left == TRIES_MAX || waited >= IDLE_WAIT_MAX {
                return Err(Trap::NoRoom(self.no_room(short, served)));
            }
            let leaves = self.put_to_sleep(short, packs).await;
            if matches!(leaves, Leaves::Seat) {
                left += 1;
                continue;
            }
            let from = tokio::time::Instant::now();
            drop(tokio::time::timeout(LOOK_AGAIN, freed).await);
            match leaves {
                // By the clock: others may take each place that is given back.
                Leaves::Nobody => waited += from.elapsed(),
                Leaves::Seat | Leaves::Instance => (left, pressed) = (left + 1, false),
            }
        }
    }

    /// Puts idle activations to sleep whose end eases what is short: one with an instance of its own,
    /// or all that share one. Where nobody can give a place, one of those packs gives a seat.
    async fn put_to_sleep(self: &Arc<Self>, short: Short, packs: Option<&Arc<Packs>>) -> Leaves {
        let now = self.clock.now();
        let just_woken = u64::try_from(JUST_WOKEN.as_nanos()).unwrap_or(u64::MAX);
        let unused =
            |activation: &Activation| now.0.saturating_sub(activation.last_used.load(Ordering::Relaxed)) >= just_woken;
        let may_leave = |activation: &Arc<Activation>| unused(activation) && activation.machine.lock().turns.is_idle();
        let eases = |activation: &Activation| {
            let served = self.kinds.get(&activation.id.kind);
            unused(activation) && served.is_none_or(|served| short.is_eased_by(served.share()))
        };
        let mut seat = None;
        let mut leave = Vec::new();
        for candidate in self.catalog.oldest(eases) {
            match candidate.takes() {
                Takes::Nothing => {}
                Takes::Instance => leave.push(candidate),
                Takes::Seat(shared) => {
                    let members = shared.members();
                    if members.iter().all(may_leave) {
                        leave = members;
                    } else if seat.is_none() && packs.is_some_and(|packs| shared.is_one_of(packs)) {
                        seat = Some(candidate);
                    }
                }
            }
            leave.retain(|activation| activation.machine.lock().turns.deactivate(Why::MemoryPressure));
            if !leave.is_empty() {
                break;
            }
        }
        let mut leaves = Leaves::Instance;
        if leave.is_empty() {
            leaves = Leaves::Seat;
            leave.extend(seat.filter(|it| it.machine.lock().turns.deactivate(Why::MemoryPressure)));
        }
        if leave.is_empty() {
            return Leaves::Nobody;
        }
        let leave = leave.into_iter().map(|activation| {
            self.thrash.evicted(self.catalog.hash(&activation.id), now);
            // On a task of its own: messages that come for it meanwhile are its own affair.
            self.spawn_joined(activation.run(None))
        });
        drop(tokio::time::timeout(LEAVE_WAIT, join_all(leave)).await);
        leaves
    }

    /// Puts idle actors to sleep that take mappings, until so many are free or nobody is idle.
    pub(crate) async fn free_mappings(self: &Arc<Self>, wanted: u64) {
        let mut waited = Duration::ZERO;
        while !self.catalog.has_mappings(wanted) && waited < IDLE_WAIT_MAX {
            let mut freed = std::pin::pin!(self.catalog.freed());
            freed.as_mut().enable();
            let leaves = self.put_to_sleep(Short::Mappings, None).await;
            let from = tokio::time::Instant::now();
            drop(tokio::time::timeout(LOOK_AGAIN, freed).await);
            if matches!(leaves, Leaves::Nobody) {
                waited += from.elapsed();
            }
        }
    }

    fn no_room(&self, short: Short, served: &Served) -> String {
        let (live, kind) = (self.catalog.live(), served.kind().name.short());
        let what = match short {
            Short::Instances => "the silo's capacity is",
            Short::Slots(_) => "all slots for its memory profile are",
            Short::Mappings => "the process's mappings are",
            Short::Memory => "the memory is",
        };
        format!(
            "{what} taken by {live} instances, and none that could leave for a `{kind}` is idle; see `quark doctor`"
        )
    }

    fn say_thrashing(&self) {
        let Some(window) = self.thrash.to_say(self.clock.now()) else { return };
        let (rewoken, evicted) = (window.rewoken, window.evicted);
        tracing::warn!(rewoken, evicted, live = self.catalog.live(), "{}", thrashing_text(rewoken));
    }
}

/// What thrashing means, and what to do.
pub(crate) fn thrashing_text(rewoken: u64) -> String {
    format!(
        "the silo thrashes: {rewoken} actors that were put to sleep for room were called again within {} s; it holds \
         fewer than are in use: raise its capacity (`quark doctor` says how), or spread the load",
        WINDOW.as_secs()
    )
}
