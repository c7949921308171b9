//! The machine step by step, and against a plain list by seeds.

use super::*;

const MS: u64 = 1_000_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn new(name: &str, after: u64, every: Option<u64>) -> NewTimer<'_> {
    NewTimer { name, after: ms(after), every: every.map(ms), payload: b"p" }
}

#[track_caller]
fn fires(timers: &mut Timers<char>, now: u64) -> (char, Firing) {
    let (activation, firing) = timers.due(Time(now * MS)).expect("one is due");
    (*activation, firing)
}

#[track_caller]
fn runs(timers: &mut Timers<char>, now: u64) -> Firing {
    let (_, firing) = fires(timers, now);
    assert!(matches!(timers.begin(firing, Time(now * MS)), Begin::Run(_)));
    firing
}

#[test]
fn a_single_one_fires_once_and_is_gone() {
    let mut timers = Timers::default();
    let a = timers.owner('a');
    assert_eq!(timers.start(a, new("x", 5, None), Time(0)), Ok(true));
    assert_eq!(timers.next_due(), Some(Time(5 * MS)));
    assert!(timers.due(Time(5 * MS - 1)).is_none());
    let (activation, firing) = fires(&mut timers, 5);
    assert_eq!(activation, 'a');
    let Begin::Run(text) = timers.begin(firing, Time(5 * MS)) else { panic!("it was not stopped") };
    assert_eq!((text.name(), text.payload()), ("x", &b"p"[..]));
    assert!(!timers.stop(a, "x"), "in its own turn it is no more");
    assert!(!timers.ended(firing, Time(6 * MS)));
    assert!(timers.is_empty());
    assert_eq!(timers.next_due(), None);
}

#[test]
fn a_repeating_one_keeps_its_beat_and_skips_what_passed() {
    let mut timers = Timers::default();
    let a = timers.owner('a');
    timers.start(a, new("x", 10, Some(10)), Time(0)).unwrap();
    let first = runs(&mut timers, 11);
    assert_eq!(timers.next_due(), None, "its turn has not ended");
    assert!(timers.ended(first, Time(12 * MS)));
    assert_eq!(timers.next_due(), Some(Time(20 * MS)));
    let second = runs(&mut timers, 20);
    timers.ended(second, Time(57 * MS));
    assert_eq!(timers.next_due(), Some(Time(60 * MS)), "30, 40 and 50 are skipped");
    assert!(timers.stop(a, "x"));
    assert!(!timers.stop(a, "x"));
    assert!(timers.is_empty());
}

#[test]
fn what_is_done_to_one_that_waits_or_runs_holds() {
    let mut timers = Timers::default();
    let a = timers.owner('a');
    timers.start(a, new("stopped", 0, Some(1)), Time(0)).unwrap();
    let (_, firing) = fires(&mut timers, 0);
    assert!(timers.stop(a, "stopped"));
    assert!(!timers.stop(a, "stopped"));
    assert_eq!(timers.begin(firing, Time(0)), Begin::Over);
    assert_eq!(timers.begin(firing, Time(0)), Begin::Over);

    timers.start(a, new("later", 0, None), Time(0)).unwrap();
    let (_, firing) = fires(&mut timers, 0);
    assert_eq!(timers.start(a, new("later", 7, None), Time(0)), Ok(false));
    assert!(timers.due(Time(9 * MS)).is_none(), "one message in the mailbox is enough");
    assert_eq!(timers.begin(firing, Time(MS)), Begin::Later(true));
    let firing = runs(&mut timers, 7);
    assert_eq!(timers.start(a, new("later", 3, None), Time(7 * MS)), Ok(false));
    assert!(timers.due(Time(20 * MS)).is_none(), "its turn runs");
    assert!(timers.ended(firing, Time(8 * MS)));
    assert_eq!(timers.next_due(), Some(Time(10 * MS)));

    let firing = runs(&mut timers, 10);
    timers.start(a, new("later", 1, Some(5)), Time(10 * MS)).unwrap();
    assert!(timers.stop(a, "later"));
    assert!(!timers.ended(firing, Time(11 * MS)));
    assert!(timers.is_empty());
}

#[test]
fn one_that_found_no_place_comes_again() {
    let mut timers = Timers::default();
    let a = timers.owner('a');
    timers.start(a, new("x", 0, None), Time(0)).unwrap();
    let (_, firing) = fires(&mut timers, 0);
    assert!(timers.ended(firing, Time(0)));
    assert_eq!(timers.next_due(), Some(Time(0).after(RETRY)));
    runs(&mut timers, 10);
}

#[test]
fn all_go_with_their_activation() {
    let mut timers = Timers::default();
    let (a, b) = (timers.owner('a'), timers.owner('b'));
    for name in ["armed", "waits", "runs"] {
        timers.start(a, new(name, 0, Some(1)), Time(0)).unwrap();
    }
    timers.start(b, new("x", 1, None), Time(0)).unwrap();
    let running = runs(&mut timers, 0);
    let (_, waiting) = fires(&mut timers, 0);
    timers.cancel_all(a);
    timers.cancel_all(a);
    assert_eq!((timers.len(), timers.next_due()), (1, Some(Time(MS))));
    assert!(!timers.ended(running, Time(0)));
    assert_eq!(timers.begin(waiting, Time(0)), Begin::Over);
    let again = timers.owner('c');
    assert_eq!(again, a, "its place is used again");
    timers.start(again, new("waits", 0, None), Time(0)).unwrap();
    assert_eq!(timers.begin(waiting, Time(0)), Begin::Over, "an old firing is not of a new timer");
    assert_eq!(fires(&mut timers, 0).0, 'c');
}

#[test]
fn bounds_refuse_and_change_nothing() {
    let mut timers = Timers::default();
    let a = timers.owner('a');
    for n in 0..TIMERS_PER_ACTIVATION_MAX {
        timers.start(a, new(&n.to_string(), 1, None), Time(0)).unwrap();
    }
    assert_eq!(timers.start(a, new("more", 1, None), Time(0)), Err(TimerRefusal::TooMany));
    assert_eq!(timers.start(a, new("7", 2, None), Time(0)), Ok(false), "replacing needs no room");
    let long = "n".repeat(TIMER_NAME_BYTES_MAX + 1);
    assert_eq!(timers.start(a, new(&long, 1, None), Time(0)), Err(TimerRefusal::Name(long.len())));
    let large = vec![0; TIMER_PAYLOAD_BYTES_MAX + 1];
    let heavy = NewTimer { payload: &large, ..new("7", 1, None) };
    assert_eq!(timers.start(a, heavy, Time(0)), Err(TimerRefusal::Payload(large.len())));
    assert_eq!(timers.start(a, new("7", 1, Some(0)), Time(0)), Err(TimerRefusal::Every(Duration::ZERO)));
    assert_eq!(timers.len(), TIMERS_PER_ACTIVATION_MAX as usize);
    let b = timers.owner('b');
    assert_eq!(timers.start(b, new("x", u64::MAX, Some(u64::MAX)), Time(5)), Ok(false), "some time is never");
}

#[test]
fn a_slot_takes_no_more_than_was_reckoned() {
    let of_one = size_of::<Slot>() + size_of::<(Time, u32)>() + size_of::<u32>() + size_of::<Owned<Box<()>>>();
    // Beside the name and the payload, which have the allocator's word.
    assert!(of_one + 8 <= 100, "{of_one}");
}

/// What a timer is, told as plainly as possible.
#[derive(Clone, Debug)]
struct Plain {
    owner: usize,
    name: String,
    due: u64,
    every: u64,
    phase: Phase,
    wanted: bool,
    anew: bool,
    firing: Option<Firing>,
}

struct Run {
    seed: u64,
    now: u64,
    timers: Timers<usize>,
    owners: Vec<Option<Owner>>,
    plain: Vec<Plain>,
}

impl Run {
    fn below(&mut self, end: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % end
    }

    fn one_of(&mut self, phase: Phase) -> Option<usize> {
        let all: Vec<usize> = (0..self.plain.len()).filter(|at| self.plain[*at].phase == phase).collect();
        (!all.is_empty()).then(|| all[usize::try_from(self.below(all.len() as u64)).unwrap()])
    }

    fn step(&mut self) {
        let owner = usize::try_from(self.below(5)).unwrap();
        let name = format!("t{}", self.below(6));
        match self.below(12) {
            0..=3 => self.start(owner, &name),
            4 => self.stop(owner, &name),
            5 if self.below(6) == 0 => {
                if let Some(place) = self.owners[owner].take() {
                    self.timers.cancel_all(place);
                }
                self.plain.retain(|it| it.owner != owner);
            }
            6 | 7 => self.begin(),
            8 | 9 => self.end(),
            _ => {
                self.now += self.below(20 * MS);
                self.fire();
            }
        }
        let next = self.plain.iter().filter(|it| it.phase == Phase::Armed).map(|it| Time(it.due)).min();
        assert_eq!(self.timers.next_due(), next);
        assert_eq!(self.timers.len(), self.plain.len());
        let bytes: usize = self.plain.iter().map(|it| it.name.len() + 1).sum();
        assert_eq!(self.timers.bytes, bytes);
    }

    fn start(&mut self, owner: usize, name: &str) {
        let (after, every) = (self.below(30), [0, 0, 3, 9][usize::try_from(self.below(4)).unwrap()]);
        let timers = &mut self.timers;
        let place = *self.owners[owner].get_or_insert_with(|| timers.owner(owner));
        // Nanoseconds would be too short for a timer to repeat.
        let every_time = (every > 0).then(|| TIMER_EVERY_MIN * every);
        let every = u64::from(every) * MS;
        let new = NewTimer { name, after: Duration::from_nanos(after * MS), every: every_time, payload: b"p" };
        let next = self.timers.next_due();
        let sooner = self.timers.start(place, new, Time(self.now)).unwrap();
        let due = self.now + after * MS;
        match self.plain.iter_mut().find(|it| it.owner == owner && it.name == name) {
            Some(it) => {
                (it.due, it.every, it.wanted, it.anew) = (due, every, true, true);
                if it.phase != Phase::Armed {
                    assert!(!sooner);
                    return;
                }
            }
            None => self.plain.push(Plain {
                owner,
                name: name.into(),
                due,
                every,
                phase: Phase::Armed,
                wanted: true,
                anew: true,
                firing: None,
            }),
        }
        assert!(sooner || next.is_some_and(|next| next <= Time(due)) || self.timers.next_due() <= next);
        assert!(!sooner || self.timers.next_due() == Some(Time(due)));
    }

    fn stop(&mut self, owner: usize, name: &str) {
        let stopped = self.owners[owner].is_some_and(|place| self.timers.stop(place, name));
        let there = self.plain.iter().position(|it| it.owner == owner && it.name == name);
        assert_eq!(stopped, there.is_some_and(|at| self.plain[at].wanted));
        let Some(at) = there else { return };
        self.plain[at].wanted = false;
        if self.plain[at].phase == Phase::Armed {
            self.plain.remove(at);
        }
    }

    fn fire(&mut self) {
        while let Some((owner, firing)) = self.timers.due(Time(self.now)).map(|(owner, firing)| (*owner, firing)) {
            let due = self.plain.iter().filter(|it| it.phase == Phase::Armed).map(|it| it.due).min().unwrap();
            assert!(due <= self.now);
            let slot = &self.timers.slots[firing.slot as usize];
            let name = slot.text.as_ref().unwrap().name();
            let it = self.plain.iter_mut().find(|it| it.owner == owner && it.name == name).unwrap();
            assert_eq!((it.phase, it.due), (Phase::Armed, due), "the earliest comes first");
            (it.phase, it.firing) = (Phase::Waits, Some(firing));
        }
        assert!(self.plain.iter().all(|it| it.phase != Phase::Armed || it.due > self.now));
    }

    fn begin(&mut self) {
        let Some(at) = self.one_of(Phase::Waits) else { return };
        let begun = self.timers.begin(self.plain[at].firing.unwrap(), Time(self.now));
        let it = &mut self.plain[at];
        if !it.wanted {
            assert_eq!(begun, Begin::Over);
            self.plain.remove(at);
        } else if it.due > self.now {
            assert!(matches!(begun, Begin::Later(_)), "{begun:?}");
            it.phase = Phase::Armed;
        } else {
            let Begin::Run(text) = begun else { panic!("{begun:?}") };
            assert_eq!(text.name(), it.name);
            (it.phase, it.wanted, it.anew) = (Phase::Runs, it.every > 0, false);
        }
    }

    fn end(&mut self) {
        let Some(at) = self.one_of(Phase::Runs) else { return };
        self.timers.ended(self.plain[at].firing.unwrap(), Time(self.now));
        let it = &mut self.plain[at];
        if !it.wanted {
            self.plain.remove(at);
            return;
        }
        it.phase = Phase::Armed;
        if !it.anew {
            it.due += it.every;
            while it.due <= self.now {
                it.due += it.every;
            }
        }
    }
}

#[test]
fn it_does_what_a_plain_list_does() {
    for seed in 1..=300 {
        let mut run = Run { seed, now: 0, timers: Timers::default(), owners: vec![None; 5], plain: Vec::new() };
        // The first numbers of small seeds are alike.
        for _ in 0..20 {
            run.below(2);
        }
        for _ in 0..400 {
            run.step();
        }
    }
}
