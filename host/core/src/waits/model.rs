//! The machine against a plain model that knows the truth.

use std::collections::VecDeque;

use super::*;
use crate::id::{Key, KindName};

/// Actors, their turns and mailboxes, as simply as can be.
struct World {
    random: u64,
    now: u64,
    actors: Vec<Actor>,
    waits: Waits,
    next: u64,
    /// Calls to look at again, with those that made them.
    suspects: Vec<(WaitId, u64)>,
    /// Rings that were told at once, and later.
    at_once: u64,
    later: u64,
}

struct Actor {
    awaits: Awaits,
    generation: u64,
    /// Of one whose turns wait for one call, the last one stands on the others.
    turns: Vec<Turn>,
    mailbox: VecDeque<Call>,
}

struct Turn {
    call: Call,
    number: u64,
    /// Its calls that it waits for.
    under_way: Vec<UnderWay>,
    /// How many it ever made.
    calls: u32,
    /// It does nothing until something happens.
    rests: bool,
    /// It waits for something else as well.
    timer: bool,
}

#[derive(Clone, Copy)]
struct UnderWay {
    id: u64,
    call: u32,
    to: usize,
    deadline: u64,
}

struct Call {
    id: u64,
    path: Path,
    deadline: u64,
    record: Option<WaitId>,
}

impl Turn {
    /// What its instance says of it.
    fn is_quiet(&self) -> bool {
        self.rests && !self.timer && !self.under_way.is_empty()
    }
}

impl Actor {
    fn goes_on(&self) -> bool {
        match self.awaits {
            Awaits::One => self.turns.last().is_none_or(|turn| turn.under_way.is_empty()),
            Awaits::Several => self.turns.is_empty() || !self.turns.iter().all(Turn::is_quiet),
            Awaits::Unknown => true,
        }
    }

    /// The calls whose ends let it go on.
    fn waits_for(&self) -> impl Iterator<Item = &UnderWay> {
        let all = if self.awaits == Awaits::One { self.turns.len().saturating_sub(1) } else { 0 };
        self.turns[all..].iter().flat_map(|turn| &turn.under_way)
    }

    fn running(&self) -> Running {
        let calls = || self.turns.iter().flat_map(|turn| turn.under_way.iter().map(|it| (turn.number, it.call)));
        let until = match self.awaits {
            Awaits::One => Until::Call,
            Awaits::Several if !self.goes_on() => Until::Calls(calls().collect()),
            Awaits::Several | Awaits::Unknown => Until::Unknown,
        };
        Running { generation: self.generation, turns: self.turns.iter().map(|turn| turn.number).collect(), until }
    }
}

fn place(id: &ActorId) -> usize {
    id.key.as_str().parse().unwrap()
}

fn actor(at: usize) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(&at.to_string()).unwrap() }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: 1,
            actors: Vec::new(),
            waits: Waits::default(),
            next: 0,
            suspects: Vec::new(),
            at_once: 0,
            later: 0,
        };
        let (actors, several) = (2 + world.below(12), world.below(5));
        for _ in 0..actors {
            let awaits = match world.below(4) {
                0 if world.below(4) == 0 => Awaits::Unknown,
                kind if kind < several => Awaits::Several,
                _ => Awaits::One,
            };
            world.actors.push(Actor { awaits, generation: 1, turns: Vec::new(), mailbox: VecDeque::new() });
        }
        world
    }

    fn below(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn begin(&mut self, at: usize, call: Call) {
        let number = self.new_id();
        let turn = Turn { call, number, under_way: Vec::new(), calls: 0, rests: false, timer: false };
        self.actors[at].turns.push(turn);
    }

    /// Whoever waits for that call goes on.
    fn answer(&mut self, call: u64) {
        for turn in self.actors.iter_mut().flat_map(|actor| &mut actor.turns) {
            if let Some(at) = turn.under_way.iter().position(|it| it.id == call) {
                turn.under_way.swap_remove(at);
                turn.rests = false;
            }
        }
    }

    /// A turn is over; if it was the only one the next message has its turn. What it called goes on.
    fn end(&mut self, at: usize, turn: usize) {
        let ended = self.actors[at].turns.remove(turn);
        self.answer(ended.call.id);
        if self.actors[at].turns.is_empty() {
            self.begin_next(at);
        }
    }

    /// The instance is over, and all turns in it.
    fn trap(&mut self, at: usize) {
        let turns = std::mem::take(&mut self.actors[at].turns);
        self.actors[at].generation += 1;
        turns.into_iter().for_each(|turn| self.answer(turn.call.id));
        self.begin_next(at);
    }

    fn begin_next(&mut self, at: usize) {
        while let Some(call) = self.actors[at].mailbox.pop_front() {
            let told = call.record.is_some_and(|id| !self.waits.remove(id));
            let waited = self.actors.iter().flat_map(|actor| &actor.turns).flat_map(|turn| &turn.under_way);
            let waited = call.path.depth() == 0 || waited.into_iter().any(|it| it.id == call.id);
            assert!(!told || !waited, "it was told of a ring and still waits");
            if !told && waited && call.deadline > self.now {
                return self.begin(at, call);
            }
        }
    }

    fn pass_time(&mut self) {
        self.now += 1;
        let now = self.now;
        for turn in self.actors.iter_mut().flat_map(|actor| &mut actor.turns) {
            let all = turn.under_way.len();
            turn.under_way.retain(|it| it.deadline > now);
            turn.rests &= turn.under_way.len() == all;
        }
    }

    /// Which actors go on some time, found by taking away what does until nothing is left to take.
    fn free(&self) -> Vec<bool> {
        self.free_if(None)
    }

    /// The same if that one goes on.
    fn free_if(&self, goes_on: Option<usize>) -> Vec<bool> {
        let goes_on = |(at, actor): (usize, &Actor)| goes_on == Some(at) || actor.goes_on();
        let mut free: Vec<bool> = self.actors.iter().enumerate().map(goes_on).collect();
        loop {
            let before = free.clone();
            for (place, actor) in self.actors.iter().enumerate() {
                free[place] |= actor.waits_for().any(|it| before[it.to]);
            }
            if before == free {
                return free;
            }
        }
    }

    /// A turn calls another actor.
    fn call(&mut self, from: usize, turn: usize, to: usize) {
        let (id, timeout) = (self.new_id(), 1 + self.below(60) as u64);
        let to_awaits = self.actors[to].awaits;
        let Actor { awaits, generation, turns, .. } = &mut self.actors[from];
        let (awaits, generation, turn) = (*awaits, *generation, &mut turns[turn]);
        let deadline = turn.call.deadline.min(self.now + timeout);
        if deadline <= self.now {
            return;
        }
        turn.calls += 1;
        let call = turn.calls;
        let path = turn.call.path.with_that(actor(from), "go".into(), (generation, turn.number), call, awaits);
        let returns = path.find(&actor(to)).is_some();
        // Back to where turns stand on one stack they begin at once, or not: no matter for this machine.
        if returns && to_awaits == Awaits::One {
            return;
        }
        turn.under_way.push(UnderWay { id, call, to, deadline });
        let mut call = Call { id, path, deadline, record: None };
        if returns || self.actors[to].turns.is_empty() || to_awaits == Awaits::Unknown && self.one_in(2) {
            return self.begin(to, call);
        }
        let stuck = !self.free()[from];
        let Self { waits, actors, now, .. } = self;
        let running = |id: &ActorId| Some(actors[place(id)].running());
        let added = waits.add(&call.path, &actor(to), &"on".into(), Time(deadline), Time(*now), running);
        // Those whom it waits for may be in a ring without it, of which one of them will be told.
        let closes = stuck && self.free_if(Some(from))[to];
        match added {
            Added::Ring(text) => {
                assert!(stuck, "no ring: {text}");
                self.at_once += 1;
                return self.answer(id);
            }
            Added::Suspect(record) => {
                call.record = Some(record);
                self.suspects.push((record, id));
            }
            Added::Recorded(record) => {
                assert!(!closes, "a ring was not seen");
                call.record = Some(record);
            }
            Added::Unseen => assert!(!closes, "a ring was not seen"),
        }
        self.actors[to].mailbox.push_back(call);
    }

    fn look(&mut self, at: usize) -> bool {
        let (record, call) = self.suspects[at];
        let Self { waits, actors, now, .. } = self;
        let looked = waits.look(record, Time(*now), |id| Some(actors[place(id)].running()));
        let Looked::Ring(text) = looked else {
            if looked == Looked::Over {
                self.suspects.remove(at);
            }
            return false;
        };
        let waits = |actor: &Actor| actor.waits_for().any(|it| it.id == call);
        let caller = self.actors.iter().position(waits).unwrap_or_else(|| panic!("nobody waits: {text}"));
        assert!(!self.free()[caller], "no ring: {text}");
        self.later += 1;
        self.suspects.remove(at);
        self.answer(call);
        true
    }

    /// Looks at all suspects until there is nothing to tell: then nobody is stuck.
    fn look_at_all(&mut self) {
        while (0..self.suspects.len()).rev().any(|at| self.look(at)) {}
        assert!(self.free().into_iter().all(|free| free), "a ring is not seen");
    }

    /// Something happens to a turn. Whether it was a call.
    fn act(&mut self, at: usize, turn: usize) -> bool {
        let several = self.actors[at].awaits != Awaits::One;
        let is_last = turn + 1 == self.actors[at].turns.len();
        let (what, to) = (self.below(100), self.below(self.actors.len()));
        let it = &mut self.actors[at].turns[turn];
        let runs = if several { !it.is_quiet() } else { it.under_way.is_empty() && is_last };
        if !runs {
            // It traps, or is given up.
            if what == 0 {
                self.trap(at);
            }
            return false;
        }
        match what {
            0..=13 => self.end(at, turn),
            14..=60 if several && !it.under_way.is_empty() => (it.rests, it.timer) = (true, what == 14),
            // Others are told of what it was told.
            61..=65 if several => self.actors[at].turns.iter_mut().for_each(|turn| turn.rests = false),
            // It gives one of its calls up.
            66..=68 if several => drop(it.under_way.pop()),
            _ => {
                self.call(at, turn, to);
                return true;
            }
        }
        false
    }

    fn step(&mut self) -> bool {
        if self.one_in(100) {
            self.pass_time();
        }
        if !self.suspects.is_empty() && self.one_in(12) {
            let at = self.below(self.suspects.len());
            self.look(at);
        }
        if self.one_in(150) {
            self.look_at_all();
        }
        let at = self.below(self.actors.len());
        let turns = self.actors[at].turns.len();
        if turns > 0 {
            let turn = self.below(turns);
            return self.act(at, turn);
        }
        let (id, deadline) = (self.new_id(), self.now + 50 + self.below(100) as u64);
        self.begin(at, Call { id, path: Path::START, deadline, record: None });
        true
    }
}

#[test]
fn every_ring_is_found_and_no_other_by_seeds() {
    const CALLS: usize = 1_000_000;
    let (mut calls, mut at_once, mut later, mut seed) = (0, 0, 0, 0);
    while calls < CALLS {
        seed += 1;
        let mut world = World::new(seed);
        for _ in 0..10_000 {
            calls += usize::from(world.step());
        }
        (at_once, later) = (at_once + world.at_once, later + world.later);
        // Once all turns have ended nothing is left.
        for _ in 0..1_000_000 {
            world.now += 1_000;
            (0..world.actors.len()).for_each(|at| world.trap(at));
            if world.actors.iter().all(|actor| actor.turns.is_empty()) {
                break;
            }
        }
        assert!(world.waits.is_empty() && world.waits.by_turn.is_empty() && world.waits.several == 0, "seed {seed}");
        assert_eq!(world.waits.skipped(), 0);
    }
    let enough = at_once > 10_000 && later > 10_000;
    assert!(enough, "{at_once} and {later} rings in {calls} calls: the test shows too little");
}
