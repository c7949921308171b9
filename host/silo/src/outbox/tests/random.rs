//! Random lives of tells against the plainest model: the store's rows, and mailboxes that fail in
//! every way. Whatever happens, each tell is handled once, in the order of its pair, or is one dead
//! letter; and when all failures end, all of them are over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use super::*;

const SEEDS: u64 = 400;
const STEPS: usize = 600;
const SENDERS: [Option<&str>; 3] = [None, Some("s"), Some("t")];
const RECEIVERS: [&str; 3] = ["x", "y", "z"];
const ATTEMPTS: u32 = 3;
const BOUNDS: Bounds = Bounds { tells: 12, bytes: 1 << 20 };

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// What the store's thread tells the outbox, in the order in which it happened.
enum Note {
    Sent(TellId, Tell),
    Rows,
    Committed(ActorId, TellId, Result<(), CommitError>),
    Discarded(TellId, bool),
}

#[derive(Default)]
struct Receiver {
    mailbox: VecDeque<TellId>,
    commits: VecDeque<TellId>,
    /// Commits whose outcome it has not been told.
    under_way: usize,
    /// A commit failed: all behind it will.
    broken: bool,
    /// It has been told so: no turn begins until all commits have ended.
    drains: bool,
}

struct World {
    random: Random,
    state: State,
    now: Instant,
    rows: BTreeMap<TellId, Tell>,
    notes: VecDeque<Note>,
    page: Option<Vec<(TellId, Tell)>>,
    receivers: BTreeMap<ActorId, Receiver>,
    last: BTreeMap<Option<ActorId>, u64>,
    handled: BTreeMap<(Option<ActorId>, ActorId), u64>,
    dead: BTreeSet<TellId>,
    /// Those that the outbox knows to be over.
    over: BTreeSet<TellId>,
    /// Nothing fails any more.
    calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            state: State::new(BOUNDS),
            now: Instant::now(),
            rows: BTreeMap::new(),
            notes: VecDeque::new(),
            page: None,
            receivers: RECEIVERS.map(|key| (actor(key), Receiver::default())).into(),
            last: BTreeMap::new(),
            handled: BTreeMap::new(),
            dead: BTreeSet::new(),
            over: BTreeSet::new(),
            calm: false,
        }
    }

    fn fails(&mut self, one_in: usize) -> bool {
        !self.calm && self.random.below(one_in) == 0
    }

    fn send(&mut self) {
        let from = SENDERS[self.random.below(SENDERS.len())].map(actor);
        let known = !self.fails(12);
        for _ in 0..=self.random.below(4) {
            let sequence = self.last.entry(from.clone()).or_insert(0);
            *sequence += 1;
            let id = TellId { from: from.clone(), sequence: *sequence };
            let tell = tell(RECEIVERS[self.random.below(RECEIVERS.len())]);
            self.rows.insert(id.clone(), tell.clone());
            if known {
                self.notes.push_back(Note::Sent(id, tell));
            }
        }
        if !known {
            self.notes.push_back(Note::Rows);
        }
    }

    fn note(&mut self) {
        match self.notes.pop_front() {
            Some(Note::Sent(id, tell)) => self.state.sent(&id, tell),
            Some(Note::Rows) => self.state.doubt_rows(),
            Some(Note::Committed(of, id, outcome)) => self.committed(&of, &id, outcome),
            Some(Note::Discarded(id, true)) => self.end(id),
            Some(Note::Discarded(id, false)) => self.state.put_back(&id, self.now + STORE_RETRY),
            None => {}
        }
    }

    fn end(&mut self, id: TellId) {
        self.state.over(&id);
        self.over.insert(id);
    }

    fn committed(&mut self, of: &ActorId, id: &TellId, outcome: Result<(), CommitError>) {
        match outcome {
            Ok(()) => self.end(id.clone()),
            Err(CommitError::Unavailable { .. }) => self.state.put_back(id, self.now),
            Err(_) => self.state.doubt(id),
        }
        let receiver = self.receivers.get_mut(of).unwrap();
        receiver.under_way -= 1;
        receiver.drains |= outcome.is_err();
        if receiver.drains && receiver.under_way == 0 {
            (receiver.broken, receiver.drains) = (false, false);
        }
    }

    fn deliver(&mut self) {
        let Ok(next) = self.state.next(self.now) else { return };
        assert!(!self.over.contains(&next.id), "{} comes again", next.id);
        if next.dead || next.failures >= ATTEMPTS {
            if self.state.condemn(&next.id) {
                assert!(self.dead.insert(next.id.clone()), "{} is a dead letter twice", next.id);
            }
            let done = !self.fails(3);
            if done {
                self.rows.remove(&next.id);
            }
            self.notes.push_back(Note::Discarded(next.id, done));
        } else if self.fails(10) {
            self.state.put_back(&next.id, self.now + Duration::from_millis(100));
        } else {
            self.receivers.get_mut(&next.tell.to).unwrap().mailbox.push_back(next.id);
        }
    }

    /// A turn of one receiver, or the end of its activation.
    fn turn(&mut self, of: &ActorId) {
        let (traps, drained, busy) = (self.fails(8), self.fails(40), self.fails(4));
        let receiver = self.receivers.get_mut(of).unwrap();
        if drained && receiver.under_way == 0 {
            for id in std::mem::take(&mut receiver.mailbox) {
                self.state.failed(&id, Some(Duration::from_millis(10)).filter(|_| busy), self.now);
            }
            return;
        }
        if receiver.drains {
            return;
        }
        let Some(id) = receiver.mailbox.pop_front() else { return };
        if !self.state.begin(&id) {
            return;
        }
        if traps {
            self.state.failed(&id, None, self.now);
        } else {
            receiver.commits.push_back(id);
            receiver.under_way += 1;
        }
    }

    /// The oldest commit of one receiver ends.
    fn land(&mut self, of: &ActorId) {
        let fate = if self.calm { 9 } else { self.random.below(10) };
        let receiver = self.receivers.get_mut(of).unwrap();
        let Some(id) = receiver.commits.pop_front() else { return };
        let outcome = match fate {
            _ if receiver.broken || !self.rows.contains_key(&id) => Err(CommitError::Conflict),
            0 => Err(CommitError::Unavailable { retry_ms: 1 }),
            1 | 2 => Err(CommitError::Unknown),
            _ => Ok(()),
        };
        receiver.broken |= outcome.is_err();
        let landed = outcome.is_ok() || outcome == Err(CommitError::Unknown) && fate == 2;
        self.notes.push_back(Note::Committed(of.clone(), id.clone(), outcome));
        if landed {
            self.handle(&id);
        }
    }

    /// The row goes with the commit of the turn that handled it.
    fn handle(&mut self, id: &TellId) {
        let tell = self.rows.remove(id).unwrap();
        let last = self.handled.insert((id.from.clone(), tell.to), id.sequence);
        assert!(last < Some(id.sequence), "{id} was overtaken by {last:?}");
    }

    fn begin_page(&mut self) {
        if self.page.is_none() && self.state.wants_page() {
            let after = self.state.begin_page();
            let after = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let rows = self.rows.range((after, Bound::Unbounded)).take(5);
            self.page = Some(rows.map(|(id, tell)| (id.clone(), tell.clone())).collect());
        }
    }

    fn end_page(&mut self) {
        let Some(page) = self.page.take() else { return };
        if self.fails(6) {
            self.state.drop_page();
        } else {
            self.state.end_page(page);
        }
    }

    fn settle(&mut self) {
        let Some(id) = self.state.first_doubt() else { return };
        if self.rows.contains_key(&id) {
            self.state.is_there(&id);
        } else {
            self.state.over(&id);
        }
    }

    fn step(&mut self) {
        let of = actor(RECEIVERS[self.random.below(RECEIVERS.len())]);
        match self.random.below(17) {
            0 if !self.calm => self.send(),
            1..=3 => self.deliver(),
            4..=6 => self.turn(&of),
            7..=9 => self.land(&of),
            10..=12 => self.note(),
            13 => self.begin_page(),
            14 => self.end_page(),
            15 => self.settle(),
            _ => self.now += Duration::from_secs(1),
        }
        assert!(self.state.held() <= BOUNDS.tells);
    }

    fn is_over(&self) -> bool {
        let idle = self.receivers.values().all(|it| it.mailbox.is_empty() && it.under_way == 0);
        idle && self.rows.is_empty() && self.notes.is_empty() && self.state.held() == 0
    }
}

#[test]
fn every_tell_is_handled_once_and_in_order_whatever_fails() {
    let mut dead = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.calm = true;
        let mut steps = 0;
        while !world.is_over() {
            world.step();
            steps += 1;
            assert!(steps < 100_000, "seed {seed}: {:?} are left, {:?}", world.rows.keys(), world.state);
        }
        let sent: u64 = world.last.values().sum();
        assert!(sent > 0 && !world.handled.is_empty(), "seed {seed} did nothing");
        dead += world.dead.len();
    }
    assert!(dead > 0, "no failures in a row: the test shows nothing of dead letters");
}
