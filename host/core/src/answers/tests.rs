//! Cases, and histories by seed: crashes at any moment, repeats, clocks that go on.

use std::collections::BTreeMap;

use super::*;

const MINUTE: u64 = 60_000;
const START: u64 = 1_700_000_000_000;

fn keyed(key: &str, call: u8) -> Keyed {
    Keyed { key: IdempotencyKey::parse(key).unwrap(), digest: [call; 32] }
}

fn value(number: u64) -> Value {
    number.to_le_bytes().into()
}

fn apply(values: &mut BTreeMap<Arc<str>, Value>, changes: Vec<Change>) {
    for Change { name, value } in changes {
        match value {
            Some(value) => values.insert(name, value),
            None => values.remove(&name),
        };
    }
}

fn loaded(values: &BTreeMap<Arc<str>, Value>, now_ms: u64) -> Answers {
    let answers = Answers::take_from(&mut values.clone(), now_ms, ANSWER_KEPT_MS).unwrap();
    answers.unwrap_or_else(|| Answers::new(ANSWER_KEPT_MS))
}

#[test]
fn a_repeat_gets_the_answer_for_ten_minutes() {
    let (mut answers, mut values) = (Answers::new(ANSWER_KEPT_MS), BTreeMap::new());
    assert_eq!(answers.begin(1, &keyed("k", 1), true, START), Begin::Run);
    assert_eq!(answers.begin(2, &keyed("k", 1), true, START), Begin::Wait);
    assert_eq!(answers.begin(2, &keyed("k", 2), true, START), Begin::Refuse(KeyRefusal::Reused), "while it runs");
    assert_eq!(answers.ended(1, value(7), START), Some(keyed("k", 1).key));
    assert_eq!(answers.begin(2, &keyed("k", 1), true, START), Begin::Answer(value(7)), "before its commit");
    let changes = answers.take_changes(false, START);
    assert_eq!(changes.len(), 1);
    assert_eq!(&*changes[0].name, "\0answer\0k");
    apply(&mut values, changes);
    for mut answers in [answers, loaded(&values, START)] {
        let last = START + ANSWER_KEPT_MS - 1;
        assert_eq!(answers.begin(3, &keyed("k", 1), true, last), Begin::Answer(value(7)));
        assert_eq!(answers.begin(3, &keyed("k", 2), true, last), Begin::Refuse(KeyRefusal::Reused));
        assert_eq!(answers.begin(3, &keyed("k", 2), true, last + 1), Begin::Run, "it is another call");
        assert_eq!(answers.take_changes(false, last + 1), [], "no commit for that alone");
    }
}

#[test]
fn rows_whose_time_is_over_go_with_later_commits() {
    let (mut answers, mut values) = (Answers::new(ANSWER_KEPT_MS), BTreeMap::new());
    for n in 0..100 {
        let key = keyed(&format!("k{n}"), 1);
        assert_eq!(answers.begin(n, &key, true, START), Begin::Run);
        answers.ended(n, value(n), START);
        apply(&mut values, answers.take_changes(true, START));
    }
    let mut answers = loaded(&values, START);
    let later = START + ANSWER_KEPT_MS;
    assert_eq!((answers.len(), values.len()), (100, 100));
    // One of them comes again before its row is gone.
    assert_eq!(answers.begin(200, &keyed("k0", 2), true, later), Begin::Run);
    answers.ended(200, value(200), later);
    let mut most = 0;
    for _ in 0..5 {
        let changes = answers.take_changes(true, later);
        most = most.max(changes.len());
        apply(&mut values, changes);
    }
    assert_eq!((answers.len(), values.len(), most), (1, 1, EXPIRED_PER_COMMIT_MAX));
    assert!(!answers.is_empty());
    assert_eq!(loaded(&values, later).begin(1, &keyed("k0", 2), true, later), Begin::Answer(value(200)));
}

#[test]
fn a_new_key_without_room_is_refused_and_no_old_one_is_dropped() {
    let mut answers = Answers::new(ANSWER_KEPT_MS);
    let large: Value = vec![1; ANSWER_BYTES_MAX].into();
    let mut count = 0;
    let refused = loop {
        let begun = answers.begin(count, &keyed(&format!("k{count}"), 1), true, START + count);
        if begun != Begin::Run {
            break begun;
        }
        answers.ended(count, large.clone(), START + count);
        answers.take_changes(true, START + count);
        count += 1;
    };
    assert_eq!(refused, Begin::Refuse(KeyRefusal::Full(ANSWER_KEPT_MS - count)), "until the first is free");
    assert!((100..=128).contains(&count), "{count}");
    for n in 0..count {
        let known = answers.begin(count, &keyed(&format!("k{n}"), 1), true, START + ANSWER_KEPT_MS - 1);
        assert_eq!(known, Begin::Answer(large.clone()), "{n}");
    }
    assert_eq!(answers.begin(count, &keyed("new", 1), true, START + ANSWER_KEPT_MS), Begin::Run);
    let mut many = Answers::new(ANSWER_KEPT_MS);
    for n in 0..ANSWERS_MAX as u64 {
        assert_eq!(many.begin(n, &keyed(&format!("k{n}"), 1), true, START), Begin::Run, "{n}");
        many.ended(n, value(n), START);
        many.take_changes(true, START);
    }
    assert_eq!(many.begin(0, &keyed("new", 1), true, START), Begin::Refuse(KeyRefusal::Full(ANSWER_KEPT_MS)));
}

#[test]
fn turns_that_run_have_their_room() {
    let mut answers = Answers::new(ANSWER_KEPT_MS);
    let running = (0..1000).take_while(|n| {
        let begun = answers.begin(*n, &keyed(&format!("k{n}"), 1), false, START);
        assert!(matches!(begun, Begin::Run | Begin::Refuse(KeyRefusal::Full(BUSY_RETRY_MS))), "{begun:?}");
        begun == Begin::Run
    });
    let running = running.count();
    assert!(running * RESERVED <= ANSWERS_BYTES_MAX && (running + 1) * RESERVED > ANSWERS_BYTES_MAX);
    assert_eq!(answers.dropped(0), Some(keyed("k0", 1).key));
    assert_eq!(answers.begin(2000, &keyed("new", 1), false, START), Begin::Run);
    answers.trapped();
    assert!(answers.is_empty());
}

#[test]
fn what_has_begun_runs_again_and_is_the_same_call() {
    let (mut answers, mut values) = (Answers::new(ANSWER_KEPT_MS), BTreeMap::new());
    assert_eq!(answers.begin(1, &keyed("k", 1), true, START), Begin::Run);
    assert_eq!(answers.begin(2, &keyed("other", 1), false, START), Begin::Run);
    let changes = answers.take_changes(true, START);
    assert_eq!(changes.len(), 1, "the other one wrote nothing: {changes:?}");
    assert_eq!(Row::decode(changes[0].value.as_ref().unwrap()).unwrap().answer, None);
    apply(&mut values, changes);
    answers.wrote(2);
    assert_eq!(answers.take_changes(true, START).len(), 1);
    assert_eq!(answers.take_changes(true, START), [], "each is marked once");
    let mut answers = loaded(&values, START + MINUTE);
    assert_eq!(answers.begin(3, &keyed("k", 2), true, START), Begin::Refuse(KeyRefusal::Reused));
    assert_eq!(answers.begin(3, &keyed("k", 1), true, START), Begin::Run);
    answers.trapped();
    assert_eq!(answers.begin(4, &keyed("k", 1), true, START), Begin::Run);
    answers.ended(4, value(4), START + MINUTE);
    apply(&mut values, answers.take_changes(true, START + MINUTE));
    let late = START + ANSWER_KEPT_MS + MINUTE - 1;
    assert_eq!(loaded(&values, late).begin(5, &keyed("k", 1), true, late), Begin::Answer(value(4)), "since its end");
}

#[test]
fn a_clock_that_is_put_back_drops_nothing_and_keeps_nothing_for_ever() {
    let (mut answers, mut values) = (Answers::new(ANSWER_KEPT_MS), BTreeMap::new());
    for (turn, now) in [(1, START + 60 * MINUTE), (2, START)] {
        assert_eq!(answers.begin(turn, &keyed(&format!("k{turn}"), 1), true, now), Begin::Run);
        answers.ended(turn, value(turn), now);
        apply(&mut values, answers.take_changes(true, now));
    }
    let later = START + ANSWER_KEPT_MS + MINUTE;
    assert_eq!(answers.begin(3, &keyed("k2", 1), true, later), Begin::Answer(value(2)), "kept too long at most");
    let mut answers = loaded(&values, START);
    assert_eq!(answers.begin(3, &keyed("k1", 1), true, START), Begin::Answer(value(1)));
    assert_eq!(answers.begin(3, &keyed("k1", 1), true, START + ANSWER_KEPT_MS), Begin::Run);
}

#[test]
fn rows_come_back_and_what_is_none_is_refused() {
    let begun = Row { at_ms: 5, digest: [7; 32], answer: None };
    for row in [
        begun.clone(),
        Row { answer: Some(value(1)), ..begun.clone() },
        Row { answer: Some(Value::from([])), at_ms: u64::MAX, ..begun.clone() },
        Row { answer: Some(vec![0; ANSWER_BYTES_MAX].into()), ..begun.clone() },
    ] {
        assert_eq!(Row::decode(&row.encode()), Some(row));
    }
    let row = begun.encode();
    for bad in [&row[..row.len() - 1], b"", b"\x01", b"\x02\x00", &[&row[..], b"x"].concat()] {
        assert_eq!(Row::decode(bad), None, "{bad:?}");
    }
    let long = Row { answer: Some(vec![0; ANSWER_BYTES_MAX + 1].into()), ..begun };
    assert_eq!(Row::decode(&long.encode()), None);
    let mut values = BTreeMap::from([("\0answer\0k".into(), Value::from(*b"later"))]);
    assert_eq!(Answers::take_from(&mut values, 0, 1).err(), Some(Unreadable));
    let mut values =
        BTreeMap::from([("\0answer".into(), value(1)), ("\0answes".into(), value(1)), ("a".into(), value(1))]);
    assert!(Answers::take_from(&mut values, 0, 1).unwrap().is_none());
    assert_eq!(values.len(), 3, "the actor's own stay");
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What one commit brings: rows, and for each call that ended in it its key, its time and its answer.
struct Submitted {
    changes: Vec<Change>,
    effects: Vec<(u8, u64, u64)>,
}

/// One actor whose calls have effects that can be counted, over a store that lands commits late, or not at all.
struct World {
    dice: Dice,
    now: u64,
    answers: Answers,
    /// Turns that run, with their keys.
    running: Vec<(u64, u8)>,
    turn: u64,
    under_way: VecDeque<Submitted>,
    values: BTreeMap<Arc<str>, Value>,
    /// Of each key, all that landed.
    landed: BTreeMap<u8, Vec<(u64, u64)>>,
    told: [u64; 4],
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: START,
            answers: Answers::new(ANSWER_KEPT_MS),
            running: Vec::new(),
            turn: 0,
            under_way: VecDeque::new(),
            values: BTreeMap::new(),
            landed: BTreeMap::new(),
            told: [0; 4],
        }
    }

    /// The last effect of that key, landed or under way.
    fn last(&self, key: u8) -> Option<(u64, u64)> {
        let coming = self.under_way.iter().rev().flat_map(|commit| commit.effects.iter().rev());
        let coming = coming.filter(|(of, ..)| *of == key).map(|(_, at, answer)| (*at, *answer)).next();
        coming.or_else(|| self.landed.get(&key)?.last().copied())
    }

    fn call(&mut self) {
        let key = u8::try_from(self.dice.below(6)).unwrap();
        let other = self.dice.below(8) == 0;
        self.turn += 1;
        let call = if other { keyed(&format!("k{key}"), 9) } else { keyed(&format!("k{key}"), key) };
        let begin = self.answers.begin(self.turn, &call, self.dice.below(2) == 0, self.now);
        let runs = self.running.iter().any(|(_, running)| *running == key);
        let known = self.last(key).filter(|(at, _)| at + ANSWER_KEPT_MS > self.now);
        match begin {
            Begin::Run if other => {
                assert!(!runs && known.is_none());
                // What it would do is of no matter here.
                self.answers.dropped(self.turn);
            }
            Begin::Run => {
                assert!(!runs && known.is_none(), "{known:?} at {}", self.now);
                self.running.push((self.turn, key));
                self.told[0] += 1;
            }
            Begin::Answer(answer) => {
                let (_, expected) = known.expect("it was answered");
                assert!(!other && answer == value(expected));
                self.told[1] += 1;
            }
            Begin::Wait => {
                assert!(runs && !other);
                self.told[2] += 1;
            }
            Begin::Refuse(why) => {
                assert!(other && why == KeyRefusal::Reused);
                self.told[3] += 1;
            }
        }
    }

    fn submit(&mut self, writes: bool, effects: Vec<(u8, u64, u64)>) {
        let changes = self.answers.take_changes(writes, self.now);
        if writes || !changes.is_empty() {
            self.under_way.push_back(Submitted { changes, effects });
        }
    }

    fn end_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let at = usize::try_from(self.dice.below(self.running.len() as u64)).unwrap();
        let (turn, key) = self.running.swap_remove(at);
        self.answers.ended(turn, value(turn), self.now);
        self.submit(self.dice.0.is_multiple_of(2), vec![(key, self.now, turn)]);
    }

    fn land(&mut self) {
        let Some(Submitted { changes, effects }) = self.under_way.pop_front() else { return };
        apply(&mut self.values, changes);
        for (key, at, answer) in effects {
            let all = self.landed.entry(key).or_default();
            let before = all.last().map_or(0, |(at, _)| *at);
            assert!(before == 0 || before + ANSWER_KEPT_MS <= at, "two effects of {key}: at {before} and {at}");
            all.push((at, answer));
        }
    }

    /// What was under way landed up to some point; all else is gone.
    fn crash(&mut self) {
        for _ in 0..self.dice.below(self.under_way.len() as u64 + 1) {
            self.land();
        }
        self.under_way.clear();
        self.running.clear();
        self.answers = loaded(&self.values, self.now);
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=8 => self.call(),
            9..=11 => self.end_one(),
            12 | 13 => self.land(),
            14 => self.submit(true, Vec::new()),
            15 => {
                // A trap: commits under way stand.
                self.answers.trapped();
                self.running.clear();
            }
            16 => self.crash(),
            _ => self.now += self.dice.below(3 * MINUTE),
        }
    }
}

#[test]
fn each_key_has_its_effect_once_whatever_crashes() {
    let mut told = [0; 4];
    for seed in 1..=400 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.step();
        }
        while !world.under_way.is_empty() {
            world.land();
        }
        told = std::array::from_fn(|at| told[at] + world.told[at]);
        let most = world.values.len();
        assert!(most <= 6, "{most} rows of 6 keys, by seed {seed}");
    }
    assert!(told.iter().all(|count| *count > 1000), "all of it happened: {told:?}");
}
