//! Calls that all wait for one another, where a turn may wait for several at once.
//!
//! Seen from one actor: what waits in its mailbox never begins if one of its running turns never ends.
//! Where turns share an instance and may have several calls under way, that is so when nothing else lets
//! any of them go on ([`Until::Calls`]) and none of those calls ever ends. A call never ends if it waits in
//! such a mailbox, or if its turn is one that never ends. What can be undone of all this is taken away
//! until nothing is left to take; what remains waits for ever.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Running, SEARCH_MAX, TurnKey, Until, WaitId, Waits, is, key};
use crate::envelope::Awaits;
use crate::id::ActorId;
use crate::time::Time;

/// What may never go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// What waits in that mailbox; and all turns of an actor whose turns may have several calls under way.
    Actor(ActorId),
    /// A turn that waits for one call.
    Turn(TurnKey),
}

/// That it goes on needs one of these to go on.
#[derive(Debug)]
struct Needs {
    to: usize,
    /// The call that waits there.
    by: Option<WaitId>,
}

#[derive(Debug, Default)]
struct Node {
    /// It goes on when all that any one of these needs goes on. None: it goes on.
    groups: Vec<Vec<Needs>>,
    stuck: bool,
}

/// All that the target of a call waits for, however far.
pub(super) struct Knot {
    nodes: Vec<Node>,
}

struct Builder<'w, R> {
    waits: &'w Waits,
    now: Time,
    running: R,
    /// Each is asked once: what is decided rests on one moment of each.
    seen: BTreeMap<ActorId, Option<Running>>,
    places: Vec<Place>,
    at: BTreeMap<Place, usize>,
}

impl Knot {
    /// None when it is too large to tell.
    pub(super) fn of(
        waits: &Waits,
        to: &ActorId,
        now: Time,
        running: impl FnMut(&ActorId) -> Option<Running>,
    ) -> Option<Self> {
        let (seen, places, at) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut builder = Builder { waits, now, running, seen, places, at };
        builder.place(Place::Actor(to.clone()));
        let mut nodes = Vec::new();
        while let Some(place) = builder.places.get(nodes.len()).cloned() {
            let groups = match &place {
                Place::Actor(actor) => builder.actor(actor),
                Place::Turn(key) => builder.turn(key),
            };
            nodes.push(Node { stuck: !groups.is_empty(), groups });
            if builder.places.len() > SEARCH_MAX {
                return None;
            }
        }
        let mut knot = Self { nodes };
        while knot.loosen() {}
        Some(knot)
    }

    /// Takes away what can go on.
    fn loosen(&mut self) -> bool {
        let mut loosened = false;
        for at in (0..self.nodes.len()).rev() {
            let node = &self.nodes[at];
            let waits = |group: &Vec<Needs>| group.iter().any(|needs| self.nodes[needs.to].stuck);
            if node.stuck && !node.groups.iter().all(waits) {
                self.nodes[at].stuck = false;
                loosened = true;
            }
        }
        loosened
    }

    /// The calls that lead from the target to the turn that waits for this call, if the target never goes on
    /// and that turn is among those it waits for.
    pub(super) fn ring(&self, id: WaitId) -> Option<Vec<WaitId>> {
        if !self.nodes.first()?.stuck {
            return None;
        }
        // Where each was reached from, and by which call.
        let mut from: BTreeMap<usize, (usize, Option<WaitId>)> = BTreeMap::new();
        let mut found = vec![0];
        let mut next = 0;
        while let Some(&at) = found.get(next) {
            next += 1;
            for needs in self.nodes[at].groups.iter().flatten().filter(|needs| self.nodes[needs.to].stuck) {
                if needs.to == 0 && needs.by == Some(id) {
                    return Some(trail(&from, at));
                }
                if needs.to != 0
                    && let Entry::Vacant(new) = from.entry(needs.to)
                {
                    new.insert((at, needs.by));
                    found.push(needs.to);
                }
            }
        }
        None
    }
}

/// The calls that led there, first to last.
fn trail(from: &BTreeMap<usize, (usize, Option<WaitId>)>, mut at: usize) -> Vec<WaitId> {
    let mut calls = Vec::new();
    while let Some((before, by)) = from.get(&at) {
        calls.extend(by);
        at = *before;
    }
    calls.reverse();
    calls
}

impl<R: FnMut(&ActorId) -> Option<Running>> Builder<'_, R> {
    fn place(&mut self, place: Place) -> usize {
        let next = self.places.len();
        let at = *self.at.entry(place.clone()).or_insert(next);
        if at == next {
            self.places.push(place);
        }
        at
    }

    fn running(&mut self, actor: &ActorId) -> Option<&Running> {
        if !self.seen.contains_key(actor) {
            let running = (self.running)(actor);
            self.seen.insert(actor.clone(), running);
        }
        self.seen.get(actor)?.as_ref()
    }

    /// What waits for that actor.
    fn actor(&mut self, actor: &ActorId) -> Vec<Vec<Needs>> {
        let Some(Running { generation, turns, until }) = self.running(actor).cloned() else { return Vec::new() };
        let calls = match until {
            Until::Call => {
                // Hooks have no number, and whoever waits for the actor waits for its hook too.
                let turns = turns.into_iter().chain([0]).map(|turn| Place::Turn((turn, generation, actor.clone())));
                return vec![turns.map(|turn| Needs { to: self.place(turn), by: None }).collect()];
            }
            Until::Calls(calls) => calls,
            Until::Unknown => return Vec::new(),
        };
        // A turn without a call is about to make one or to end; a call without a turn is of one that ended.
        let known = turns.iter().all(|turn| calls.iter().any(|(of, _)| of == turn))
            && calls.iter().all(|(of, _)| turns.contains(of));
        if !known {
            return Vec::new();
        }
        let key = |turn| (turn, generation, actor.clone());
        calls.into_iter().map(|(turn, call)| self.needs(&key(turn), Some(call)).into_iter().collect()).collect()
    }

    /// A turn that waits for one call.
    fn turn(&mut self, key: &TurnKey) -> Vec<Vec<Needs>> {
        let (turn, generation, actor) = key;
        let waits = |now: &Running| now.until == Until::Call && now.has(*turn, *generation);
        if !self.running(actor).is_some_and(waits) {
            return Vec::new();
        }
        self.needs(key, None).map(|needs| vec![vec![needs]]).unwrap_or_default()
    }

    /// What must go on before that call of that turn ends, if it is known.
    fn needs(&mut self, of: &TurnKey, call: Option<u32>) -> Option<Needs> {
        let (waits, now) = (self.waits, self.now);
        for (id, wait) in waits.through(of, call).filter(|(_, wait)| wait.deadline > now) {
            // The turn that it called, which the one that was called by that calls, and so on.
            let mut called = None;
            let mut frames = wait.path.frames();
            let Some(frame) = frames.find(|frame| {
                is(frame, of) || {
                    called = Some(*frame);
                    false
                }
            }) else {
                continue;
            };
            if call.is_none() && frame.awaits != Awaits::One {
                continue;
            }
            let Some(called) = called else {
                return Some(Needs { to: self.place(Place::Actor(wait.to.clone())), by: Some(id) });
            };
            // Otherwise it has ended, or trapped: its caller goes on.
            if self.running(&called.actor).is_some_and(|now| now.has(called.turn, called.generation)) {
                let place = match called.awaits {
                    Awaits::One => Place::Turn(key(called)),
                    Awaits::Several | Awaits::Unknown => Place::Actor(called.actor.clone()),
                };
                return Some(Needs { to: self.place(place), by: None });
            }
        }
        None
    }
}
