//! The machine against a plain model that knows the truth, and its bounds.

use std::collections::VecDeque;

use super::*;
use crate::id::{Key, KindName};

const NOW: Time = Time(1);
const LATER: Time = Time(1000);

fn actor(key: impl ToString) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(&key.to_string()).unwrap() }
}

/// The path of a chain in which these actors wait, each in its first turn.
fn path(keys: &[&str]) -> Path {
    keys.iter().fold(Path::START, |path, key| path.with(actor(key), "go".into(), (1, 1), 1))
}

/// Every actor is in its first turn.
fn first(_: &ActorId) -> Option<Running> {
    Some(Running { generation: 1, turns: vec![1] })
}

#[track_caller]
fn recorded(added: Added) -> WaitId {
    let Added::Recorded(id) = added else { panic!("{added:?}") };
    id
}

#[test]
fn two_chains_that_wait_for_each_other_are_told_both_paths() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let id = recorded(waits.add(&path(&["x", "a"]), &actor("b"), &method, LATER, NOW, first));
    let text = "cart/b.go -> cart/a.on, while cart/x.go -> cart/a.go -> cart/b.on".to_owned();
    assert_eq!(waits.add(&path(&["b"]), &actor("a"), &method, LATER, NOW, first), Added::Ring(text));
    // An actor further up the path waits as well.
    assert!(matches!(waits.add(&path(&["b"]), &actor("x"), &method, LATER, NOW, first), Added::Ring(_)));
    waits.remove(id);
    assert!(waits.is_empty() && waits.by_turn.is_empty());
    recorded(waits.add(&path(&["b"]), &actor("a"), &method, LATER, NOW, first));
}

#[test]
fn a_ring_of_many_chains_is_told_within_bounds() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let next = |n: usize| actor(n + 1);
    for n in 0..100 {
        recorded(waits.add(&path(&[&n.to_string()]), &next(n), &method, LATER, NOW, first));
    }
    let Added::Ring(text) = waits.add(&path(&["100"]), &actor("0"), &method, LATER, NOW, first) else { panic!() };
    assert!(text.starts_with("cart/100.go -> cart/0.on, while cart/0.go -> cart/1.on, while "), "{text}");
    assert!(text.ends_with("93 more calls wait in between"), "{text}");
    assert_eq!(waits.skipped(), 0);
}

#[test]
fn what_nobody_waits_for_or_only_one_of_several_closes_no_ring() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let soon = Time(10);
    recorded(waits.add(&path(&["a"]), &actor("b"), &method, soon, NOW, first));
    recorded(waits.add(&path(&["b"]), &actor("a"), &method, LATER, soon, first));
    // A call beside others.
    let several = Path::START.with_one_of(actor("c"), "go".into(), (1, 1), 1, false);
    assert_eq!(waits.add(&several, &actor("b"), &method, LATER, NOW, first), Added::Unseen);
    let below = several.with(actor("d"), "go".into(), (1, 1), 1);
    recorded(waits.add(&below, &actor("e"), &method, LATER, NOW, first));
    recorded(waits.add(&path(&["e"]), &actor("c"), &method, LATER, NOW, first));
    // From outside, past its time, or back to its own path: not for this machine to decide.
    for (path, deadline) in [(Path::START, LATER), (path(&["f"]), NOW), (path(&["a"]), LATER)] {
        assert_eq!(waits.add(&path, &actor("a"), &method, deadline, NOW, first), Added::Unseen);
    }
}

#[test]
fn nobody_waits_through_a_turn_that_trapped() {
    let (mut waits, method) = (Waits::default(), "on".into());
    recorded(waits.add(&path(&["a", "b", "c"]), &actor("d"), &method, LATER, NOW, first));
    let without_b = |id: &ActorId| if *id == actor("b") { None } else { first(id) };
    recorded(waits.add(&path(&["d"]), &actor("a"), &method, LATER, NOW, without_b));
    assert!(matches!(waits.add(&path(&["d"]), &actor("c"), &method, LATER, NOW, without_b), Added::Ring(_)));
    assert!(matches!(waits.add(&path(&["d"]), &actor("a"), &method, LATER, NOW, first), Added::Ring(_)));
    // Nor through one of the new call's own path.
    let (mut waits, method) = (Waits::default(), "on".into());
    recorded(waits.add(&path(&["d"]), &actor("a"), &method, LATER, NOW, first));
    recorded(waits.add(&path(&["a", "b", "c"]), &actor("d"), &method, LATER, NOW, without_b));
}

#[test]
fn a_hook_holds_up_what_waits_for_its_actor() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let hook = Path::START.with(actor("a"), "activate".into(), (1, 0), 1);
    recorded(waits.add(&hook, &actor("b"), &method, LATER, NOW, first));
    assert!(matches!(waits.add(&path(&["b"]), &actor("a"), &method, LATER, NOW, first), Added::Ring(_)));
}

#[test]
fn records_and_searches_are_bounded() {
    let (mut waits, method) = (Waits::default(), "on".into());
    for n in 0..WAITS_MAX {
        // Nothing runs at the target yet.
        let caller = |id: &ActorId| if *id == actor(n) { first(id) } else { None };
        recorded(waits.add(&path(&[&n.to_string()]), &actor(n + 1), &method, LATER, NOW, caller));
    }
    assert_eq!(waits.add(&path(&["x"]), &actor("y"), &method, LATER, NOW, first), Added::Unseen);
    assert_eq!((waits.len(), waits.skipped()), (WAITS_MAX, 1));
    let far = waits.add(&path(&[&WAITS_MAX.to_string()]), &actor(0), &method, LATER, NOW, first);
    assert_eq!((far, waits.skipped()), (Added::Unseen, 3));
}

/// Actors, their turns and mailboxes, as simply as can be.
struct World {
    random: u64,
    now: u64,
    actors: Vec<Actor>,
    waits: Waits,
    next: u64,
    rings: u64,
}

#[derive(Default)]
struct Actor {
    turn: Option<Turn>,
    mailbox: VecDeque<Call>,
}

struct Turn {
    call: Call,
    number: u64,
    /// It may have several calls under way.
    several: bool,
    /// The call that it waits for, where, and until when.
    waits: Option<(u64, usize, u64)>,
}

struct Call {
    id: u64,
    path: Path,
    deadline: u64,
    record: Option<WaitId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: 1,
            actors: Vec::new(),
            waits: Waits::default(),
            next: 0,
            rings: 0,
        };
        let actors = 2 + world.below(12);
        world.actors.resize_with(actors, Actor::default);
        world
    }

    fn below(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn begin(&mut self, at: usize, call: Call, several: bool) {
        let number = self.new_id();
        let old = self.actors[at].turn.replace(Turn { call, number, several, waits: None });
        assert!(old.is_none());
    }

    /// A turn is over; the next message has its turn, and its caller goes on.
    fn end(&mut self, at: usize) {
        let Some(ended) = self.actors[at].turn.take() else { return };
        let id = ended.call.id;
        if let Some(caller) =
            self.actors.iter_mut().filter_map(|actor| actor.turn.as_mut()).find(|turn| waits(turn, id))
        {
            caller.waits = None;
        }
        while let Some(call) = self.actors[at].mailbox.pop_front() {
            call.record.into_iter().for_each(|id| self.waits.remove(id));
            if call.deadline > self.now {
                return self.begin(at, call, false);
            }
        }
    }

    fn pass_time(&mut self) {
        self.now += 1;
        for turn in self.actors.iter_mut().filter_map(|actor| actor.turn.as_mut()) {
            turn.waits.take_if(|(_, _, deadline)| *deadline <= self.now);
        }
    }

    /// What a turn that waits would need to go on, taken apart until nothing is left.
    fn is_stuck(&self, at: usize) -> bool {
        let mut free: Vec<bool> = self.actors.iter().map(|actor| actor.turn.as_ref().is_none_or(goes_on)).collect();
        loop {
            let before = free.clone();
            for (place, actor) in self.actors.iter().enumerate() {
                if let Some(Turn { waits: Some((_, to, _)), .. }) = actor.turn {
                    free[place] |= free[to];
                }
            }
            if before == free {
                return !free[at];
            }
        }
    }

    /// A turn calls another actor.
    fn call(&mut self, from: usize, to: usize) {
        let (id, timeout) = (self.new_id(), 1 + self.below(60) as u64);
        let Some(turn) = &self.actors[from].turn else { return };
        let deadline = turn.call.deadline.min(self.now + timeout);
        let path = turn.call.path.with_one_of(actor(from), "go".into(), (1, turn.number), 1, !turn.several);
        if path.find(&actor(to)).is_some() || deadline <= self.now {
            return;
        }
        let mut call = Call { id, path, deadline, record: None };
        let waits = Some((id, to, deadline));
        let busy = self.actors[to].turn.is_some();
        if let Some(turn) = &mut self.actors[from].turn {
            turn.waits = waits;
        }
        if !busy {
            let several = self.below(6) == 0;
            return self.begin(to, call, several);
        }
        let stuck = self.is_stuck(from);
        let Self { waits, actors, now, .. } = self;
        let running = |id: &ActorId| {
            let turn = actors[id.key.as_str().parse::<usize>().unwrap()].turn.as_ref();
            Some(Running { generation: 1, turns: turn.iter().map(|turn| turn.number).collect() })
        };
        match waits.add(&call.path, &actor(to), &"on".into(), Time(deadline), Time(*now), running) {
            Added::Ring(text) => {
                assert!(stuck, "no ring: {text}");
                self.rings += 1;
                self.actors[from].turn.as_mut().unwrap().waits = None;
            }
            added @ (Added::Recorded(_) | Added::Unseen) => {
                assert!(!stuck, "a ring was not seen");
                call.record = if let Added::Recorded(id) = added { Some(id) } else { None };
                self.actors[to].mailbox.push_back(call);
            }
        }
    }

    fn step(&mut self) -> bool {
        let (at, to) = (self.below(self.actors.len()), self.below(self.actors.len()));
        let what = self.below(100);
        let goes_on = self.actors[at].turn.as_ref().map(goes_on);
        match (what, goes_on) {
            (0, _) => self.pass_time(),
            // It traps, or is given up.
            (1, Some(false)) => self.end(at),
            (2..=14, Some(true)) => self.end(at),
            (_, Some(true)) => {
                self.call(at, to);
                return true;
            }
            (_, Some(false)) => {}
            (_, None) => {
                let id = self.new_id();
                let (deadline, several) = (self.now + 50 + self.below(100) as u64, self.below(6) == 0);
                self.begin(at, Call { id, path: Path::START, deadline, record: None }, several);
                return true;
            }
        }
        false
    }
}

fn waits(turn: &Turn, call: u64) -> bool {
    turn.waits.is_some_and(|(id, ..)| id == call)
}

fn goes_on(turn: &Turn) -> bool {
    turn.several || turn.waits.is_none()
}

#[test]
fn every_ring_is_found_and_no_other_by_seeds() {
    const CALLS: usize = 1_000_000;
    let (mut calls, mut rings, mut seed) = (0, 0, 0);
    while calls < CALLS {
        seed += 1;
        let mut world = World::new(seed);
        for _ in 0..10_000 {
            calls += usize::from(world.step());
        }
        rings += world.rings;
        // Once all turns have ended nothing is left.
        for _ in 0..1_000_000 {
            world.now += 1_000;
            (0..world.actors.len()).for_each(|at| world.end(at));
            if world.actors.iter().all(|actor| actor.turn.is_none()) {
                break;
            }
        }
        assert!(world.waits.is_empty() && world.waits.by_turn.is_empty(), "seed {seed}");
        assert_eq!(world.waits.skipped(), 0);
    }
    assert!(rings > 10_000, "{rings} rings in {calls} calls: the test shows too little");
}
