//! Which actors share an instance, and the places that shared instances take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use quark_engine::Pack;

use crate::activation::{Activation, alone};
use crate::catalog::Place;
use crate::kinds::Served;
use crate::lasting::Lasting;
use crate::silo::Inner;

/// A pack, and who sits in it.
pub(crate) struct Shared {
    pub(crate) pack: Arc<Pack>,
    /// Actors that it may have.
    actors_max: u32,
    actors: AtomicU32,
    /// It is among those with room.
    listed: AtomicBool,
    members: Mutex<HashMap<usize, Weak<Activation>>>,
    packs: Weak<Packs>,
}

/// An actor's seat in a pack.
pub(crate) struct Seated {
    pub(crate) shared: Arc<Shared>,
    member: usize,
}

impl Shared {
    /// A pack for so many actors.
    pub(crate) fn new(served: &Served, actors_max: u32, place: Place, packs: Weak<Packs>, silo: &Inner) -> Arc<Self> {
        let nests = served.component.nests();
        let (runtime, long) = (silo.runtime.clone(), silo.long_turns.clone());
        // As long as the last one was, so may be the next.
        let lasted = Arc::new(AtomicBool::new(false));
        let background = Box::new(move |run| {
            let lasted = lasted.clone();
            let mut run = Lasting::new(&long, Box::pin(alone(nests, run)), lasted.load(Ordering::Relaxed));
            drop(runtime.spawn(async move {
                run.end().await;
                lasted.store(run.lasted(), Ordering::Relaxed);
            }));
        });
        Arc::new(Self {
            pack: Pack::new(&served.component, served.at, Box::new(place), background),
            actors_max,
            actors: AtomicU32::new(0),
            listed: AtomicBool::new(false),
            members: Mutex::default(),
            packs,
        })
    }

    /// Takes a seat, if there is one.
    pub(crate) fn take_seat(self: &Arc<Self>, activation: &Weak<Activation>) -> Option<Seated> {
        let take = |actors| (actors < self.actors_max).then_some(actors + 1);
        self.actors.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).ok()?;
        let member = activation.as_ptr().addr();
        self.members.lock().insert(member, activation.clone());
        Some(Seated { shared: self.clone(), member })
    }

    /// Whether it is one of those packs.
    pub(crate) fn is_one_of(&self, packs: &Arc<Packs>) -> bool {
        std::ptr::eq(self.packs.as_ptr(), Arc::as_ptr(packs))
    }

    /// Those who sit there.
    pub(crate) fn members(&self) -> Vec<Arc<Activation>> {
        self.members.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.members.lock().remove(&self.member);
        shared.actors.fetch_sub(1, Ordering::AcqRel);
        if let Some(packs) = shared.packs.upgrade() {
            packs.list(shared);
        }
    }
}

/// The packs of one kind in one version.
#[derive(Default)]
pub(crate) struct Packs {
    /// Those with a free seat, the fullest last as far as is known.
    open: Mutex<Vec<Weak<Shared>>>,
    /// Held while a pack is made: those who come meanwhile sit in that one.
    pub(crate) making: tokio::sync::Mutex<()>,
}

impl Packs {
    /// A seat in a pack that is there.
    pub(crate) fn seat(&self, activation: &Weak<Activation>) -> Option<Seated> {
        let mut open = self.open.lock();
        while let Some(last) = open.last() {
            let shared = last.upgrade().filter(|shared| !shared.pack.is_over());
            let seated = shared.as_ref().and_then(|shared| shared.take_seat(activation));
            if seated.is_some() {
                return seated;
            }
            if let Some(shared) = shared {
                shared.listed.store(false, Ordering::Relaxed);
            }
            open.pop();
        }
        None
    }

    /// A pack has a free seat.
    pub(crate) fn list(&self, shared: &Arc<Shared>) {
        if !shared.pack.is_over() {
            let mut open = self.open.lock();
            if !shared.listed.swap(true, Ordering::Relaxed) {
                // Behind the others: those that empty should empty.
                open.insert(0, Arc::downgrade(shared));
            }
        }
    }

    /// A new pack: the next to be filled.
    pub(crate) fn add(&self, shared: &Arc<Shared>) {
        let mut open = self.open.lock();
        shared.listed.store(true, Ordering::Relaxed);
        open.push(Arc::downgrade(shared));
    }
}
