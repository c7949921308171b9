//! Each rule of a journal, and random turns against a plain sum.

use std::collections::BTreeMap;

use super::*;

fn event(bytes: usize) -> Event {
    Event { name: "e".into(), content_type: "application/json".into(), payload: vec![0; bytes].into() }
}

fn append(journal: &mut Journal, bytes: usize) -> u64 {
    journal.append(event(bytes), 5, true).unwrap()
}

#[test]
fn numbers_have_no_gaps_and_undo_gives_them_back() {
    let mut journal = Journal::default();
    assert_eq!((append(&mut journal, 1), append(&mut journal, 1)), (1, 2));
    let (write, mark) = journal.take().unwrap();
    assert_eq!((write.entries.len(), mark.last), (2, 2));
    assert!(journal.take().is_none() && !journal.is_staged());
    assert_eq!(append(&mut journal, 1), 3);
    journal.undo();
    assert_eq!((append(&mut journal, 1), journal.take().unwrap().0.entries[0].sequence), (3, 3));
}

#[test]
fn times_never_go_back() {
    let mut journal = Journal::new(Mark { last: 1, last_at_ms: 100, ..Mark::default() });
    journal.append(event(0), 40, false).unwrap();
    journal.append(event(0), 160, false).unwrap();
    let times: Vec<_> = journal.take().unwrap().0.entries.iter().map(|entry| entry.at_ms).collect();
    assert_eq!(times, [100, 160]);
}

#[test]
fn each_bound_refuses_and_changes_nothing() {
    let mut journal = Journal::default();
    assert_eq!(journal.append(event(EVENT_BYTES_MAX + 1), 0, true), Err(AppendError::TooLarge(1 << 20)));
    let long = Event { name: "n".repeat(EVENT_NAME_BYTES_MAX + 1).into(), ..event(0) };
    assert_eq!(journal.append(long, 0, true), Err(AppendError::TooLarge(256)));
    assert!(!journal.is_staged());
    for _ in 0..EVENTS_PER_COMMIT_MAX {
        append(&mut journal, 0);
    }
    assert_eq!(journal.append(event(0), 0, true), Err(AppendError::TooMany));
    journal.take();
    for _ in 0..7 {
        append(&mut journal, EVENT_BYTES_MAX);
    }
    assert_eq!(journal.append(event(EVENT_BYTES_MAX), 0, true), Err(AppendError::TooMany));
    assert_eq!(journal.mark().last, EVENTS_PER_COMMIT_MAX as u64 + 7);
    let mut full = Journal::new(Mark { last: REPLAY_EVENTS_MAX + 3, snapshot: 3, ..Mark::default() });
    assert_eq!(full.append(event(0), 0, true), Err(AppendError::TooLong));
    assert!(full.append(event(0), 0, false).is_ok(), "an audit may be of any length");
}

#[test]
fn a_snapshot_is_due_by_count_by_bytes_and_on_request_and_told_once() {
    let policy = JournalPolicy { every: 3, bytes: 10_000, keep: Keep::All };
    let mut journal = Journal::default();
    journal.want_snapshot();
    assert!(!journal.is_due(&policy), "of nothing");
    append(&mut journal, 1);
    assert!(journal.is_due(&policy) && !journal.is_due(&policy), "asked for before");
    journal.stage_snapshot(Arc::from(*b"one"), 7, policy.keep);
    append(&mut journal, 1);
    append(&mut journal, 1);
    assert!(!journal.is_due(&policy));
    append(&mut journal, 1);
    assert!(journal.is_due(&policy), "three events");
    for due in [false, false, true, false] {
        append(&mut journal, 1);
        assert_eq!(journal.is_due(&policy), due, "told again where nothing came of it");
    }
    journal.stage_snapshot(Arc::from(*b"four"), 8, policy.keep);
    append(&mut journal, 10_000);
    assert!(journal.is_due(&policy), "bytes");
    let (write, mark) = journal.take().unwrap();
    assert_eq!(write.snapshot, Some(Snapshot { sequence: 8, at_ms: 8, bytes: Arc::from(*b"four") }));
    assert_eq!((mark.last, mark.snapshot, mark.dropped, write.drop_through), (9, 8, 0, 0));
}

#[test]
fn what_a_snapshot_has_is_dropped_if_the_policy_says_so() {
    let mut journal = Journal::default();
    append(&mut journal, 1);
    journal.take();
    append(&mut journal, 1);
    journal.stage_snapshot(Arc::default(), 0, Keep::SinceSnapshot);
    let (write, mark) = journal.take().unwrap();
    assert_eq!((write.drop_through, mark.dropped, mark.snapshot), (2, 2, 2));
    journal.stage_snapshot(Arc::default(), 0, Keep::SinceSnapshot);
    assert!(!journal.is_staged(), "one has all of it");
}

#[test]
fn marks_come_back_and_others_are_refused() {
    let mark = Mark { last: 9, last_at_ms: u64::MAX, snapshot: 8, bytes: 7, dropped: 6 };
    let row = mark.encode().unwrap();
    assert_eq!(Mark::decode(Some(&row)), Some(mark));
    assert_eq!((Mark::default().encode(), Mark::decode(None)), (None, Some(Mark::default())));
    for length in 0..row.len() {
        assert_eq!(Mark::decode(Some(&row[..length])), None);
    }
    assert_eq!(Mark::decode(Some(&[&row[..], &[0]].concat())), None);
    let impossible = Mark { last: 1, snapshot: 2, ..mark };
    assert_eq!(Mark::decode(impossible.encode().as_deref()), None);
    let mut newer = row.to_vec();
    newer[0] = 2;
    assert_eq!(Mark::decode(Some(&newer)), None);
}

fn entries(sequences: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    sequences.into_iter().map(|sequence| Entry { sequence, at_ms: 0, event: event(0) }).collect()
}

#[test]
fn a_replay_finds_what_is_missing() {
    let mark = Mark { last: 5, ..Mark::default() };
    let replay = || Replay::new(mark).unwrap();
    assert_eq!(replay().give(Vec::new()), Err(Unreplayable::Missing(1)));
    assert_eq!(replay().give(entries([2, 3])), Err(Unreplayable::Missing(1)));
    assert_eq!(replay().give(entries([1, 2, 4])), Err(Unreplayable::Missing(3)));
    assert_eq!(replay().give(entries([6, 7])), Err(Unreplayable::Missing(1)));
    let mut snapshot = Replay::new(Mark { snapshot: 2, ..mark }).unwrap();
    assert_eq!(snapshot.step(), Next::Restore);
    assert_eq!(snapshot.restore(None), Err(Unreplayable::NoSnapshot(2)));
    let long = Mark { last: REPLAY_EVENTS_MAX + 1, ..Mark::default() };
    assert!(matches!(Replay::new(long), Err(Unreplayable::TooLong(_))));
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a store keeps, and how a replay reads it.
#[derive(Default)]
struct Stored {
    entries: BTreeMap<u64, Entry>,
    snapshot: Option<Snapshot>,
    row: Option<Arc<[u8]>>,
}

impl Stored {
    fn commit(&mut self, write: JournalWrite, mark: Mark) {
        self.entries.extend(write.entries.into_iter().map(|entry| (entry.sequence, entry)));
        self.snapshot = write.snapshot.or_else(|| self.snapshot.take());
        self.entries.retain(|sequence, _| *sequence > write.drop_through);
        self.row = mark.encode();
    }

    /// The sum of all events, by the snapshot and those after it.
    fn replay(&self, random: &mut Random) -> (u64, Journal) {
        let mark = Mark::decode(self.row.as_deref()).unwrap();
        let mut replay = Replay::new(mark).unwrap();
        let mut sum = 0;
        loop {
            match replay.step() {
                Next::Restore => {
                    let snapshot = replay.restore(self.snapshot.clone()).unwrap();
                    sum = u64::from_le_bytes((*snapshot.bytes).try_into().unwrap());
                }
                Next::Read(first) => {
                    let page = self.entries.range(first..).take(1 + random.below(4) as usize);
                    replay.give(page.map(|(_, entry)| entry.clone()).collect()).unwrap();
                }
                Next::Apply(entry) => sum += entry.event.payload.len() as u64,
                Next::Done => return (sum, Journal::new(mark)),
            }
        }
    }
}

/// Turns that append, snapshots, traps and crashes: whatever was committed is what a replay gives.
#[test]
fn a_replay_gives_what_was_committed() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let keep = if seed % 2 == 0 { Keep::All } else { Keep::SinceSnapshot };
        let policy = JournalPolicy { every: 1 + random.below(6), bytes: 100 + random.below(2000), keep };
        let (mut stored, mut journal) = (Stored::default(), Journal::default());
        let (mut live, mut committed) = (0, 0);
        for step in 0..60 {
            for _ in 0..random.below(4) {
                let bytes = random.below(300);
                append(&mut journal, bytes as usize);
                live += bytes;
            }
            match random.below(8) {
                0 => {
                    journal.undo();
                    live = committed;
                }
                1 => (live, journal) = stored.replay(&mut random),
                2 => journal.want_snapshot(),
                _ => {
                    if let Some((write, mark)) = journal.take() {
                        stored.commit(*write, mark);
                        committed = live;
                    }
                    if journal.is_due(&policy) {
                        journal.stage_snapshot(Arc::from(live.to_le_bytes()), step, keep);
                    }
                }
            }
            if random.below(8) == 0 {
                (live, journal) = stored.replay(&mut random);
                assert_eq!(live, committed, "seed {seed}, step {step}");
            }
        }
        let mark = Mark::decode(stored.row.as_deref()).unwrap();
        let first = stored.entries.keys().next().copied().unwrap_or(mark.last + 1);
        assert_eq!(first, mark.dropped + 1, "seed {seed}");
        assert_eq!(stored.entries.len() as u64, mark.last - mark.dropped, "seed {seed}");
    }
}
