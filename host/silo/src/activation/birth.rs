//! How an activation comes to its instance: its own, or a seat in one that it shares.

use std::sync::{Arc, Weak};

use quark_engine::{Birth, Cause, Instance, Trap, Unborn};

use super::{Activation, Home, Live, Loaded, Slot, alone};
use crate::kinds::Served;
use crate::lasting::Lasting;
use crate::outside::ActorOutside;
use crate::packs::{Seated, Shared};
use crate::room::Room;
use crate::silo::Inner;

/// How many packs an actor tries that end while it wakes in them.
const PACKS_MAX: u32 = 16;

impl Activation {
    /// The living instance; made now if there is none.
    pub(super) async fn wake(&self, silo: &Arc<Inner>) -> Result<Box<Live>, Trap> {
        match self.take_slot() {
            Slot::Live(live) if live.instance.is_over() => Box::pin(self.wake_elsewhere(silo, live)).await,
            Slot::Live(live) => Ok(live),
            // What is loaded stays, for those who ask next.
            Slot::Loaded(loaded) if self.machine.lock().standing().stopped => {
                self.machine.lock().slot = Slot::Loaded(loaded);
                Err(Trap::Stopped)
            }
            Slot::Loaded(loaded) => match silo.supervised.cools(&self.id, silo.clock.now()) {
                Some(trap) => Err(trap),
                None => {
                    let live = self.born(silo, *loaded).await?;
                    self.is_up(silo);
                    Ok(live)
                }
            },
            Slot::Empty => Err(Trap::Guest("nothing is loaded".into())),
        }
    }

    /// Its pack is over, by no fault of its own: it wakes in another one with the values that it has.
    pub(super) async fn wake_elsewhere(&self, silo: &Arc<Inner>, live: Box<Live>) -> Result<Box<Live>, Trap> {
        let Live { instance, served, generation, home } = *live;
        let state = instance.into_state().await;
        drop(home);
        self.cancel_timers(silo);
        let Some(mut state) = state else { return Err(Trap::Neighbour("its values went with it".into())) };
        // What its hook wrote when it woke is written again.
        state.undo();
        self.born(silo, Loaded { generation, state, served, cause: Cause::Restart }).await
    }

    async fn born(&self, silo: &Arc<Inner>, loaded: Loaded) -> Result<Box<Live>, Trap> {
        let Loaded { generation, state, served, cause } = loaded;
        if served.component.is_journaled() {
            // Boxed, since most actors have no journal.
            Box::pin(self.settle_journal(silo, generation)).await?;
        }
        let (component, kind_at) = (served.component.clone(), served.at);
        let outside = ActorOutside::of(self.me.clone(), served.clone());
        let birth = Birth { actor: self.id.clone(), generation, cause, component, kind_at, state, outside };
        let (instance, home) = match (served.packed(), served.component.overlap(served.at).interleaves()) {
            (1, false) => {
                let Room::Place(place) = silo.make_room(self, &served).await? else { return Err(Trap::Unbegun) };
                let nests = birth.component.nests();
                // A place is given back after the instance that it is for.
                let born = async move { (alone(nests, Instance::new(birth)).await, place) };
                let born = Lasting::new(&silo.long_turns, Box::pin(born), false).end().await;
                let Some((instance, place)) = born else { return Err(Trap::Abandoned) };
                (instance?, Home::Own(place))
            }
            // Turns that overlap share the instance as packed actors do.
            (actors, _) => Box::pin(self.born_in_pack(silo, &served, actors, birth)).await?,
        };
        self.rests_as(instance.rest());
        Ok(Box::new(Live { instance, served, generation, home }))
    }

    async fn born_in_pack(
        &self,
        silo: &Arc<Inner>,
        served: &Arc<Served>,
        actors: u32,
        mut birth: Birth,
    ) -> Result<(Instance, Home), Trap> {
        for _ in 0..PACKS_MAX {
            let seated = self.seat(silo, served, actors).await?;
            match Instance::in_pack(birth, &seated.shared.pack).await {
                Ok(instance) => return Ok((instance, Home::Pack(seated))),
                Err(Unborn::Trap(trap)) => return Err(trap),
                Err(Unborn::Elsewhere(again)) => birth = again,
            }
        }
        Err(Trap::NoRoom(format!("{PACKS_MAX} packs ended while it woke in them")))
    }

    async fn seat(&self, silo: &Arc<Inner>, served: &Arc<Served>, actors: u32) -> Result<Seated, Trap> {
        let packs = &served.packs;
        let shares = actors > 1;
        if shares && let Some(seated) = packs.seat(&self.me) {
            return Ok(seated);
        }
        let _making = if shares { Some(packs.making.lock().await) } else { None };
        let place = match silo.make_room(self, served).await? {
            Room::Place(place) => place,
            Room::Seat(seated) => return Ok(seated),
        };
        let packs_of = if shares { Arc::downgrade(packs) } else { Weak::new() };
        let shared = Shared::new(served, actors, place, packs_of, silo);
        let seated = shared.take_seat(&self.me).ok_or_else(|| Trap::NoRoom("a new pack was full at once".into()))?;
        if shares {
            packs.add(&shared);
        }
        Ok(seated)
    }
}
