//! The bounds of the ring, by cases and by seed.

use super::*;
use crate::id::{Key, KindName};

fn actor(key: &str) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(key).unwrap() }
}

fn record(sequence: u64, key: &str, path: Path) -> Arc<Record> {
    Arc::new(Record {
        sequence,
        at_ms: 0,
        actor: actor(key),
        method: "go".into(),
        occasion: Occasion::Call,
        teller: None,
        path,
        request: "".into(),
        queued: Duration::ZERO,
        woke: Duration::ZERO,
        ran: Duration::ZERO,
        calls: 0,
        called: Duration::ZERO,
        commits: 0,
        commit: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
        bytes_committed: 0,
        stands: Stands::Alone,
        ended: Ended::Ok,
        detail: "".into(),
    })
}

fn numbers(ring: &Ring) -> Vec<u64> {
    ring.records().map(|record| record.sequence).collect()
}

#[test]
fn the_oldest_go_first_by_count_and_by_bytes() {
    let mut ring = Ring::new(3, usize::MAX);
    let mut gone = Vec::new();
    for n in 1..=5 {
        gone.extend(ring.push(record(n, "a", Path::START)).iter().map(|record| record.sequence));
    }
    assert_eq!((numbers(&ring), gone), (vec![3, 4, 5], vec![1, 2]));
    let one = record(0, "a", Path::START).bytes();
    assert_eq!(ring.bytes(), 3 * one);
    let mut ring = Ring::new(100, 3 * one);
    for n in 1..=3 {
        assert!(ring.push(record(n, "a", Path::START)).is_empty());
    }
    let longer = record(4, "a longer key", Path::START);
    assert_eq!(ring.push(longer).len(), 2, "it takes the room of two");
    assert_eq!(numbers(&ring), [3, 4]);
    let large =
        record(5, &"k".repeat(512), (0..64).fold(Path::START, |path, n| path.with(actor("b"), "m".into(), (1, n), 1)));
    assert!(large.bytes() > 3 * one);
    assert_eq!(ring.push(large).len(), 3, "what never fits is not kept");
    assert_eq!((ring.len(), ring.bytes(), ring.is_empty()), (0, 0, true));
}

#[test]
fn whatever_is_pushed_the_bounds_hold_and_the_newest_stay() {
    for seed in 0..200_u64 {
        let mut random = seed;
        let mut next = |most: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % most
        };
        let (count, bytes) = (1 + next(20), 200 + next(8_000));
        let (count, bytes) = (usize::try_from(count).unwrap(), usize::try_from(bytes).unwrap());
        let mut ring = Ring::new(count, bytes);
        for n in 1..=100 {
            let key = "k".repeat(1 + usize::try_from(next(400)).unwrap());
            let before = ring.len();
            let out = ring.push(record(n, &key, Path::START));
            assert_eq!(before + 1, ring.len() + out.len());
            assert!(ring.len() <= count && ring.bytes() <= bytes, "seed {seed}");
            assert_eq!(ring.bytes(), ring.records().map(|record| record.bytes()).sum::<usize>(), "seed {seed}");
            let kept = numbers(&ring);
            let expect: Vec<u64> = (n + 1 - kept.len() as u64..=n).collect();
            assert!(kept == expect, "seed {seed}: {kept:?}");
        }
    }
}

#[test]
fn details_are_cut_between_characters() {
    let mut cut = Arc::unwrap_or_clone(record(1, "a", Path::START));
    cut.end(Ended::Trapped, &"é".repeat(200));
    assert_eq!((cut.detail.len(), cut.ended.name()), (DETAIL_BYTES_MAX, "trapped"));
    cut.end(Ended::Trapped, &format!("x{}", "é".repeat(200)));
    assert_eq!(cut.detail.len(), DETAIL_BYTES_MAX - 1);
}
