//! What holds of the outbox without a silo around it.

mod random;
mod relay;

use quark_core::envelope::Chain;
use quark_core::id::{ActorId, Key, KindName};

use super::lines::Next;
use super::state::BACKOFF;
use super::*;

const MANY: Bounds = Bounds { tells: 1000, bytes: 1 << 20 };

pub(super) fn actor(key: &str) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() }
}

pub(super) fn tell(to: &str) -> Tell {
    Tell { to: actor(to), method: "m".into(), arguments: Vec::new(), chain: Chain::default() }
}

fn id(sequence: u64) -> TellId {
    TellId { from: None, sequence }
}

fn from(sender: &str, sequence: u64) -> TellId {
    TellId { from: Some(actor(sender)), sequence }
}

/// A state that has read all there was: nothing.
fn state(bounds: Bounds) -> State {
    let mut state = State::new(bounds);
    state.begin_page();
    state.end_page(Vec::new());
    state
}

/// An outbox whose three tells are all with their receiver, and their turns begun.
fn delivered() -> Outbox {
    let outbox = Outbox { state: Mutex::new(state(MANY)), ..Outbox::new() };
    outbox.sent((1..=3).map(|sequence| (id(sequence), tell("k"))).collect());
    for sequence in 1..=3 {
        let next = outbox.state.lock().next(Instant::now()).unwrap();
        assert_eq!((next.id, &*next.tell), (id(sequence), &tell("k")));
    }
    outbox
}

/// What is sent once all waits are over.
fn later(outbox: &Outbox) -> Vec<(u64, u32)> {
    let mut state = outbox.state.lock();
    let next = || state.next(Instant::now() + BACKOFF.1).ok().map(|next| (next.id.sequence, next.failures));
    std::iter::from_fn(next).collect()
}

#[test]
fn tells_whose_receiver_does_not_wake_come_again_in_order_and_one_at_a_time() {
    let outbox = delivered();
    for sequence in 1..=3 {
        outbox.failed(&id(sequence), &CallError::Failed("x".into()));
    }
    assert_eq!(later(&outbox), [(1, 1)], "the others wait for it, and no turn of theirs failed");
    outbox.handled(&id(1));
    assert_eq!(later(&outbox), [(2, 0), (3, 0)]);
    assert_eq!(outbox.held(), 2);
}

#[test]
fn a_store_without_room_is_no_failure_of_the_tell() {
    for _ in 0..10 {
        let outbox = delivered();
        assert!(outbox.begin(&id(1)));
        outbox.commit_failed(&id(1), CommitError::Unavailable { retry_ms: 1 });
        assert_eq!(later(&outbox), [], "the others are in the mailbox still");
        assert!(!outbox.begin(&id(2)) && !outbox.begin(&id(3)));
        assert_eq!(later(&outbox), [(1, 0), (2, 0), (3, 0)]);
    }
}

#[test]
fn a_tell_put_back_and_then_handled_after_all_is_over() {
    let outbox = delivered();
    assert!(outbox.begin(&id(1)));
    outbox.failed(&id(1), &CallError::DeadlineExceeded);
    outbox.handled(&id(1));
    assert_eq!(outbox.held(), 2);
    assert!(!outbox.begin(&id(1)) && !outbox.begin(&id(2)) && !outbox.begin(&id(3)));
    assert_eq!(later(&outbox), [(2, 0), (3, 0)]);
}

#[test]
fn a_commit_that_may_have_landed_is_asked_for_before_anything_younger_goes_on() {
    for there in [true, false] {
        let outbox = delivered();
        assert!(outbox.begin(&id(1)));
        outbox.commit_failed(&id(1), CommitError::Unknown);
        assert!(!outbox.begin(&id(2)) && !outbox.begin(&id(3)));
        assert_eq!(later(&outbox), []);
        let mut state = outbox.state.lock();
        assert_eq!(state.first_doubt(), Some(id(1)));
        if there {
            state.is_there(&id(1));
        } else {
            state.over(&id(1));
        }
        assert_eq!(state.first_doubt(), None);
        drop(state);
        assert_eq!(later(&outbox).first(), Some(&(if there { 1 } else { 2 }, 0)));
    }
}

#[test]
fn lines_take_turns() {
    let mut state = state(MANY);
    for sequence in 1..=3 {
        state.sent(&from("a", sequence), tell("x"));
        state.sent(&from("b", sequence), tell("x"));
    }
    let order: Vec<TellId> = std::iter::from_fn(|| state.next(Instant::now()).ok().map(|next| next.id)).collect();
    assert_eq!(order, [1, 2, 3].map(|sequence| [from("a", sequence), from("b", sequence)]).concat());
}

#[test]
fn a_line_that_waits_holds_up_nobody_else() {
    let mut state = state(MANY);
    let now = Instant::now();
    state.sent(&id(1), tell("x"));
    state.sent(&id(2), tell("y"));
    assert_eq!(state.next(now).unwrap().id, id(1));
    let later = now + Duration::from_secs(1);
    state.put_back(&id(1), later);
    assert_eq!(state.next(now).unwrap().id, id(2));
    assert_eq!(state.next(now), Err(Some(later)));
    assert_eq!(state.next(later).unwrap().id, id(1));
}

#[test]
fn bytes_are_bounded_but_one_tell_is_always_held() {
    let mut state = state(Bounds { tells: 1000, bytes: 1000 });
    let large = Tell { arguments: vec![0; 5000], ..tell("x") };
    state.sent(&id(1), large.clone());
    assert_eq!(state.held(), 1);
    state.sent(&id(2), tell("x"));
    assert_eq!(state.held(), 1, "it is in the store");
    assert!(!state.wants_page());
    assert_eq!(state.next(Instant::now()).unwrap().id, id(1));
    state.over(&id(1));
    assert!(state.wants_page());
    assert_eq!(state.begin_page(), None);
    state.end_page(vec![(id(2), tell("x"))]);
    assert_eq!(state.begin_page(), Some(id(2)));
    state.end_page(Vec::new());
    assert!(!state.wants_page() && state.held() == 1);
}

/// Rows that a store would answer, and how many it answered.
struct Rows {
    rows: std::collections::BTreeMap<TellId, Tell>,
    read: usize,
}

impl Rows {
    fn page(&mut self, after: Option<&TellId>) -> Vec<(TellId, Tell)> {
        let after = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let page = self.rows.range((after, std::ops::Bound::Unbounded)).take(64);
        let page: Vec<_> = page.map(|(id, tell)| (id.clone(), tell.clone())).collect();
        self.read += page.len();
        page
    }
}

#[test]
fn a_backlog_is_read_once_however_long_it_is() {
    const BACKLOG: u64 = 50_000;
    let bounds = Bounds { tells: 1000, ..HELD_MAX };
    // All from outside, and each to another receiver: all that a row costs is looked up, not searched.
    let backlog = (1..=BACKLOG).map(|sequence| (id(sequence), tell(&format!("k{sequence}"))));
    let mut store = Rows { rows: backlog.collect(), read: 0 };
    let mut state = State::new(bounds);
    let (mut handled, mut sequence) = (0, BACKLOG);
    while !store.rows.is_empty() || state.wants_page() {
        while state.wants_page() {
            let after = state.begin_page();
            let page = store.page(after.as_ref());
            state.end_page(page);
        }
        assert!(state.held() <= bounds.tells);
        let next = state.next(Instant::now()).unwrap();
        assert!(state.begin(&next.id));
        assert!(store.rows.remove(&next.id).is_some(), "{} is delivered twice", next.id);
        state.over(&next.id);
        handled += 1;
        // Others go on sending meanwhile, half as much as is handled.
        if handled % 2 == 0 && sequence < BACKLOG * 3 / 2 {
            sequence += 1;
            store.rows.insert(id(sequence), tell("late"));
            state.sent(&id(sequence), tell("late"));
        }
    }
    assert_eq!((state.held(), handled), (0, sequence));
    let rows = usize::try_from(sequence).unwrap();
    assert!(store.read <= rows + rows / 5, "{} rows were read of {rows}", store.read);
}

#[test]
fn what_comes_faster_than_it_is_handled_is_not_read_over_and_over() {
    let bounds = Bounds { tells: 1000, ..HELD_MAX };
    let mut store = Rows { rows: std::collections::BTreeMap::new(), read: 0 };
    let mut state = state(bounds);
    let mut last = [0; 3];
    let (mut sent, mut handled) = (0_u64, 0_u64);
    while sent < 60_000 || handled < sent {
        for sender in 0..3 {
            if sent < 60_000 {
                (last[sender], sent) = (last[sender] + 1, sent + 1);
                let id = from(["a", "b", "c"][sender], last[sender]);
                store.rows.insert(id.clone(), tell("x"));
                state.sent(&id, tell("x"));
            }
        }
        while state.wants_page() {
            let after = state.begin_page();
            let page = store.page(after.as_ref());
            state.end_page(page);
        }
        assert!(state.held() <= bounds.tells);
        for _ in 0..2 {
            let Ok(Next { id, .. }) = state.next(Instant::now()) else { break };
            assert!(state.begin(&id) && store.rows.remove(&id).is_some(), "{id} is delivered twice");
            state.over(&id);
            handled += 1;
        }
    }
    assert!(store.read <= 3 * 60_000, "{} rows were read", store.read);
}
