//! The timers of all activations of a silo: what is due, and when something is due next.
//!
//! ```text
//!   start -> Armed --due--> Waits --begin--> Runs --ended--> Armed, or gone
//! ```
//! A timer that is due goes into its activation's mailbox once and is armed anew when its turn has
//! ended, so that its turns never overlap and never come in bursts. One that is stopped or started
//! anew while it waits or runs keeps its slot until then. What is armed stands in one heap; one that is
//! taken out of it leaves nothing behind.

mod heap;

use std::time::Duration;

use self::heap::Heap;
use crate::time::Time;

/// The most timers of one activation.
pub const TIMERS_PER_ACTIVATION_MAX: u32 = 256;
/// The most timers of one silo.
pub const TIMERS_MAX: u32 = 2_000_000;
/// The most bytes of the names and payloads of one silo's timers together.
pub const TIMER_BYTES_MAX: usize = 512 << 20;
/// The most bytes of a timer's name.
pub const TIMER_NAME_BYTES_MAX: usize = 256;
/// The most bytes of a timer's payload.
pub const TIMER_PAYLOAD_BYTES_MAX: usize = 4096;
/// The shortest time between two turns of a repeating timer.
pub const TIMER_EVERY_MIN: Duration = Duration::from_millis(1);
/// When a timer is due again that found no place in its mailbox.
const RETRY: Duration = Duration::from_millis(10);

/// No slot.
const NONE: u32 = u32::MAX;

/// Why a timer was not started. Nothing was changed: one of that name stands as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimerRefusal {
    /// Over [`TIMER_NAME_BYTES_MAX`].
    #[error("a timer's name has at most {TIMER_NAME_BYTES_MAX} bytes, and this one has {0}")]
    Name(usize),
    /// Over [`TIMER_PAYLOAD_BYTES_MAX`].
    #[error(
        "a timer's payload has at most {TIMER_PAYLOAD_BYTES_MAX} bytes, and this one has {0}; keep more in the state"
    )]
    Payload(usize),
    /// Under [`TIMER_EVERY_MIN`].
    #[error("a timer repeats every {TIMER_EVERY_MIN:?} at most, and this one would every {0:?}")]
    Every(Duration),
    /// Over [`TIMERS_PER_ACTIVATION_MAX`].
    #[error("one actor has at most {TIMERS_PER_ACTIVATION_MAX} timers; stop one, or use one for several things")]
    TooMany,
    /// Over [`TIMERS_MAX`].
    #[error("one silo has at most {TIMERS_MAX} timers, and this one has them already")]
    SiloFull,
    /// Over [`TIMER_BYTES_MAX`].
    #[error("the timers of one silo hold at most {TIMER_BYTES_MAX} bytes of names and payloads, and these do already")]
    SiloBytes,
}

/// The place of an activation that has or had timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u32);

/// One firing of one timer. It means nothing once its timer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    slot: u32,
    version: u32,
}

/// What a guest starts.
#[derive(Clone, Copy, Debug)]
pub struct NewTimer<'a> {
    /// Its name, by which it replaces an older one.
    pub name: &'a str,
    /// Until it is due.
    pub after: Duration,
    /// Between its turns; none for a single one.
    pub every: Option<Duration>,
    /// What its turns are given.
    pub payload: &'a [u8],
}

impl NewTimer<'_> {
    fn check(&self) -> Result<(), TimerRefusal> {
        if self.name.len() > TIMER_NAME_BYTES_MAX {
            return Err(TimerRefusal::Name(self.name.len()));
        }
        if self.payload.len() > TIMER_PAYLOAD_BYTES_MAX {
            return Err(TimerRefusal::Payload(self.payload.len()));
        }
        match self.every {
            Some(every) if every < TIMER_EVERY_MIN => Err(TimerRefusal::Every(every)),
            _ => Ok(()),
        }
    }
}

/// A timer's name and payload, as its turn gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    bytes: Box<[u8]>,
    name: u16,
}

impl Text {
    fn of(new: &NewTimer<'_>) -> Self {
        let bytes: Vec<u8> = [new.name.as_bytes(), new.payload].concat();
        Self { bytes: bytes.into(), name: u16::try_from(new.name.len()).unwrap_or(u16::MAX) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        // It was made of text.
        self.bytes.get(..usize::from(self.name)).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(usize::from(self.name)..).unwrap_or_default()
    }
}

/// Whether a firing's turn may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Run it, then call [`Timers::ended`].
    Run(Text),
    /// It was started anew meanwhile and is not due yet; true when it is now the next one of all.
    Later(bool),
    /// It was stopped.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In the heap.
    Armed,
    /// In a mailbox.
    Waits,
    /// Its turn runs.
    Runs,
}

#[derive(Debug)]
struct Slot {
    due: Time,
    /// Nanoseconds; 0 for a single one.
    every: u64,
    /// None in a free slot.
    text: Option<Text>,
    owner: u32,
    version: u32,
    /// The next one of its activation, or the next free one.
    next: u32,
    phase: Phase,
    /// It is wanted: neither stopped nor, while its turn runs, a single one.
    wanted: bool,
    /// It was started anew while its turn runs, so `due` is not of the past.
    anew: bool,
}

#[derive(Debug)]
struct Owned<O> {
    /// None in a free place.
    activation: Option<O>,
    /// Its first slot, or the next free place.
    first: u32,
    slots: u32,
}

/// All timers of a silo. `O` is an activation as the driver finds it.
#[derive(Debug)]
pub struct Timers<O> {
    heap: Heap,
    slots: Vec<Slot>,
    free: u32,
    owners: Vec<Owned<O>>,
    free_owner: u32,
    versions: u32,
    count: u32,
    bytes: usize,
}

impl<O> Default for Timers<O> {
    fn default() -> Self {
        let (slots, owners) = (Vec::new(), Vec::new());
        Self { heap: Heap::default(), slots, free: NONE, owners, free_owner: NONE, versions: 0, count: 0, bytes: 0 }
    }
}

impl<O> Timers<O> {
    /// A place for an activation, until [`Timers::cancel_all`].
    pub fn owner(&mut self, activation: O) -> Owner {
        let owned = Owned { activation: Some(activation), first: NONE, slots: 0 };
        if let Some(place) = self.owners.get_mut(self.free_owner as usize) {
            let at = std::mem::replace(&mut self.free_owner, place.first);
            *place = owned;
            return Owner(at);
        }
        self.owners.push(owned);
        Owner(u32::try_from(self.owners.len() - 1).unwrap_or(NONE))
    }

    /// Starts a timer, in place of the one of that name. True when it is now the next one of all.
    ///
    /// # Errors
    /// When it is over a bound.
    pub fn start(&mut self, owner: Owner, new: NewTimer<'_>, now: Time) -> Result<bool, TimerRefusal> {
        new.check()?;
        let there = self.find(owner, new.name);
        let bytes = new.name.len() + new.payload.len();
        let all = self.bytes - there.map_or(0, |at| self.bytes_of(at)) + bytes;
        if all > TIMER_BYTES_MAX {
            return Err(TimerRefusal::SiloBytes);
        }
        let at = match there {
            Some(at) => at,
            None => self.take_slot(owner)?,
        };
        self.bytes = all;
        let due = now.after(new.after);
        let slot = &mut self.slots[at as usize];
        slot.due = due;
        slot.every = new.every.map_or(0, nanos);
        slot.text = Some(Text::of(&new));
        slot.wanted = true;
        slot.anew = true;
        if slot.phase != Phase::Armed {
            return Ok(false);
        }
        self.heap.remove(at);
        Ok(self.arm(at, due))
    }

    /// Stops a timer. Whether there was one to stop.
    pub fn stop(&mut self, owner: Owner, name: &str) -> bool {
        let Some(at) = self.find(owner, name) else { return false };
        let slot = &mut self.slots[at as usize];
        let wanted = std::mem::replace(&mut slot.wanted, false);
        if slot.phase == Phase::Armed {
            self.heap.remove(at);
            self.unlink(at);
        }
        wanted
    }

    /// The activation's instance is over, and all its timers with it. Its place is free.
    pub fn cancel_all(&mut self, owner: Owner) {
        let Some(owned) = self.owners.get_mut(owner.0 as usize).filter(|owned| owned.activation.is_some()) else {
            return;
        };
        let mut at = std::mem::replace(&mut owned.first, self.free_owner);
        (owned.activation, owned.slots) = (None, 0);
        self.free_owner = owner.0;
        while let Some(slot) = self.slots.get(at as usize) {
            let next = slot.next;
            self.heap.remove(at);
            self.release(at);
            at = next;
        }
        self.tidy();
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.heap.first().map(|(due, _)| due)
    }

    /// One that is due, with its activation, for whose mailbox it is.
    pub fn due(&mut self, now: Time) -> Option<(&O, Firing)> {
        let (_, at) = self.heap.first().filter(|(due, _)| *due <= now)?;
        self.heap.remove(at);
        let slot = self.slots.get_mut(at as usize)?;
        slot.phase = Phase::Waits;
        let firing = Firing { slot: at, version: slot.version };
        let owned = self.owners.get(slot.owner as usize)?;
        Some((owned.activation.as_ref()?, firing))
    }

    /// A firing's turn is about to begin.
    pub fn begin(&mut self, firing: Firing, now: Time) -> Begin {
        let Some(slot) = self.slot(firing).filter(|slot| slot.phase == Phase::Waits) else { return Begin::Over };
        if !slot.wanted {
            self.unlink(firing.slot);
            return Begin::Over;
        }
        if slot.due > now {
            let due = slot.due;
            return Begin::Later(self.arm(firing.slot, due));
        }
        slot.phase = Phase::Runs;
        slot.wanted = slot.every > 0;
        slot.anew = false;
        match &slot.text {
            Some(text) => Begin::Run(text.clone()),
            None => Begin::Over,
        }
    }

    /// A firing's turn has ended, or found no place in its mailbox. True when its timer is now the next
    /// one of all.
    pub fn ended(&mut self, firing: Firing, now: Time) -> bool {
        let Some(slot) = self.slot(firing) else { return false };
        let due = match slot.phase {
            Phase::Armed => return false,
            Phase::Waits | Phase::Runs if !slot.wanted => {
                self.unlink(firing.slot);
                return false;
            }
            Phase::Waits => slot.due.max(now.after(RETRY)),
            Phase::Runs if slot.anew => slot.due,
            Phase::Runs => next_after(slot.due, slot.every, now),
        };
        self.arm(firing.slot, due)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn slot(&mut self, firing: Firing) -> Option<&mut Slot> {
        self.slots.get_mut(firing.slot as usize).filter(|slot| slot.version == firing.version && slot.text.is_some())
    }

    /// There are few of one activation.
    fn find(&self, owner: Owner, name: &str) -> Option<u32> {
        let mut at = self.owners.get(owner.0 as usize).filter(|owned| owned.activation.is_some())?.first;
        while let Some(slot) = self.slots.get(at as usize) {
            if slot.text.as_ref().is_some_and(|text| text.name() == name) {
                return Some(at);
            }
            at = slot.next;
        }
        None
    }

    fn bytes_of(&self, at: u32) -> usize {
        self.slots.get(at as usize).and_then(|slot| slot.text.as_ref()).map_or(0, |text| text.bytes.len())
    }

    fn take_slot(&mut self, owner: Owner) -> Result<u32, TimerRefusal> {
        if self.count >= TIMERS_MAX {
            return Err(TimerRefusal::SiloFull);
        }
        let owned = self.owners.get_mut(owner.0 as usize).filter(|owned| owned.slots < TIMERS_PER_ACTIVATION_MAX);
        let Some(owned) = owned else { return Err(TimerRefusal::TooMany) };
        self.versions = self.versions.wrapping_add(1);
        let slot = Slot {
            due: Time::NEVER,
            every: 0,
            text: None,
            owner: owner.0,
            version: self.versions,
            next: owned.first,
            phase: Phase::Armed,
            wanted: true,
            anew: true,
        };
        let at = if let Some(place) = self.slots.get_mut(self.free as usize) {
            let at = std::mem::replace(&mut self.free, place.next);
            *place = slot;
            at
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        };
        owned.first = at;
        owned.slots += 1;
        self.count += 1;
        Ok(at)
    }

    fn arm(&mut self, at: u32, due: Time) -> bool {
        let slot = &mut self.slots[at as usize];
        (slot.phase, slot.due) = (Phase::Armed, due);
        let sooner = self.heap.first().is_none_or(|(first, _)| due < first);
        self.heap.push(due, at);
        sooner
    }

    /// Takes one that is in no heap away from its activation.
    fn unlink(&mut self, at: u32) {
        let (owner, after) = (self.slots[at as usize].owner, self.slots[at as usize].next);
        if let Some(owned) = self.owners.get_mut(owner as usize) {
            owned.slots -= 1;
            if owned.first == at {
                owned.first = after;
            } else {
                let mut before = owned.first;
                while let Some(slot) = self.slots.get_mut(before as usize) {
                    if slot.next == at {
                        slot.next = after;
                        break;
                    }
                    before = slot.next;
                }
            }
        }
        self.release(at);
        self.tidy();
    }

    fn release(&mut self, at: u32) {
        self.bytes -= self.bytes_of(at);
        let slot = &mut self.slots[at as usize];
        (slot.text, slot.next) = (None, self.free);
        self.free = at;
        self.count -= 1;
    }

    /// With none left the memory of many is given back. Versions go on, so no old firing finds a new timer.
    fn tidy(&mut self) {
        if self.count == 0 {
            (self.heap, self.slots, self.free) = (Heap::default(), Vec::new(), NONE);
        }
    }
}

/// The first of a timer's times that has not passed.
fn next_after(due: Time, every: u64, now: Time) -> Time {
    let passed = now.0.saturating_sub(due.0) / every.max(1);
    Time(due.0.saturating_add(every.saturating_mul(passed + 1)))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
