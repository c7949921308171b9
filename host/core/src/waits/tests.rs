//! The machine step by step, and its bounds.

use super::*;
use crate::id::{Key, KindName};

const NOW: Time = Time(1);
const LATER: Time = Time(1000);

fn actor(key: impl ToString) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(&key.to_string()).unwrap() }
}

/// The path of a chain in which these actors wait, each in its first turn.
fn path(keys: &[&str]) -> Path {
    keys.iter().fold(Path::START, |path, key| path.with(actor(key), "go".into(), (1, 1), 0))
}

/// Every actor is in its first turn.
fn first(_: &ActorId) -> Option<Running> {
    Some(Running { generation: 1, turns: vec![1], until: Until::Call })
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
fn what_nobody_waits_for_closes_no_ring() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let soon = Time(10);
    recorded(waits.add(&path(&["a"]), &actor("b"), &method, soon, NOW, first));
    recorded(waits.add(&path(&["b"]), &actor("a"), &method, LATER, soon, first));
    // One of which nobody knows what it waits for.
    let unknown = Path::START.with_that(actor("c"), "go".into(), (1, 1), 0, Awaits::Unknown);
    assert_eq!(waits.add(&unknown, &actor("b"), &method, LATER, NOW, first), Added::Unseen);
    let below = unknown.with(actor("d"), "go".into(), (1, 1), 0);
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
    let hook = Path::START.with(actor("a"), "activate".into(), (1, 0), 0);
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

/// A path of these calls by the same turns, which may have several under way.
fn one_of_several(calls: &[(&str, u32)]) -> Path {
    let with =
        |path: Path, (key, call): &(&str, u32)| path.with_that(actor(key), "go".into(), (1, 1), *call, Awaits::Several);
    calls.iter().fold(Path::START, with)
}

/// Their first turns wait for these calls of theirs, and for nothing else; those of all others run.
fn rest<'a>(rest: &'a [(&str, &[u32])]) -> impl FnMut(&ActorId) -> Option<Running> + 'a {
    |id| {
        let calls = rest.iter().find(|(key, _)| *id == actor(key)).map(|(_, calls)| *calls);
        let until = calls.map(|calls| Until::Calls(calls.iter().map(|call| (1, *call)).collect()));
        Some(Running { generation: 1, turns: vec![1], until: until.unwrap_or(Until::Unknown) })
    }
}

#[track_caller]
fn suspect(added: Added) -> WaitId {
    let Added::Suspect(id) = added else { panic!("{added:?}") };
    id
}

#[test]
fn a_ring_of_turns_that_may_wait_for_more_is_told_once_they_wait_for_nothing_else() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let first_call = recorded(waits.add(&one_of_several(&[("a", 1)]), &actor("b"), &method, LATER, NOW, rest(&[])));
    let closes = suspect(waits.add(&one_of_several(&[("b", 1)]), &actor("a"), &method, LATER, NOW, rest(&[])));
    let text = "cart/b.go -> cart/a.on, while cart/a.go -> cart/b.on".to_owned();
    for (others, looked) in [
        (rest(&[]), Looked::Suspect),
        (rest(&[("a", &[1])]), Looked::Suspect),
        // One has another call under way; it has given that one up; it has made none.
        (rest(&[("a", &[1]), ("b", &[1, 2])]), Looked::Suspect),
        (rest(&[("a", &[1]), ("b", &[2])]), Looked::Suspect),
        (rest(&[("a", &[1]), ("b", &[])]), Looked::Suspect),
        (rest(&[("a", &[1]), ("b", &[1])]), Looked::Ring(text)),
        (rest(&[("a", &[1]), ("b", &[1])]), Looked::Over),
    ] {
        assert_eq!(waits.look(closes, NOW, others), looked);
    }
    assert!(!waits.remove(closes), "its turn must not run");
    assert!(waits.remove(first_call), "and that of the other may");
    assert!(waits.is_empty() && waits.by_turn.is_empty() && waits.several == 0);
}

#[test]
fn all_calls_of_a_turn_must_wait_in_the_ring() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let mut add =
        |calls: &[(&str, u32)], to: &str| waits.add(&one_of_several(calls), &actor(to), &method, LATER, NOW, rest(&[]));
    recorded(add(&[("b", 1)], "a"));
    recorded(add(&[("c", 1)], "a"));
    let older = suspect(add(&[("a", 1)], "b"));
    let newer = suspect(add(&[("a", 2)], "c"));
    let text = "cart/a.go -> cart/c.on, while cart/c.go -> cart/a.on".to_owned();
    let mut look = |id, calls: &[(&str, &[u32])]| waits.look(id, NOW, rest(calls));
    assert_eq!(look(newer, &[("a", &[1, 2]), ("b", &[1])]), Looked::Suspect, "c goes on");
    assert_eq!(look(newer, &[("a", &[1, 2]), ("b", &[1]), ("c", &[1])]), Looked::Ring(text));
    assert_eq!(look(older, &[("a", &[1, 2]), ("b", &[1]), ("c", &[1])]), Looked::Suspect, "it is about to be told");
    assert!(matches!(look(older, &[("a", &[1]), ("b", &[1]), ("c", &[1])]), Looked::Ring(_)));
}

#[test]
fn a_call_that_runs_leads_on_and_one_that_waits_beside_the_ring_is_not_told() {
    let (mut waits, method) = (Waits::default(), "on".into());
    let mut add = |path: &Path, to: &str| waits.add(path, &actor(to), &method, LATER, NOW, rest(&[]));
    // a has called x, in whose turn, which waits for one call at a time, the call was made.
    recorded(add(&one_of_several(&[("a", 1)]).with(actor("x"), "go".into(), (1, 1), 0), "b"));
    let closes = suspect(add(&one_of_several(&[("b", 1)]), "a"));
    let beside = recorded(add(&one_of_several(&[("d", 1)]), "a"));
    let all = |id: &ActorId| {
        if *id == actor("x") { first(id) } else { rest(&[("a", &[1]), ("b", &[1]), ("d", &[1])])(id) }
    };
    assert_eq!(waits.look(beside, NOW, all), Looked::Suspect);
    let gone = |id: &ActorId| if *id == actor("x") { None } else { all(id) };
    assert_eq!(waits.look(closes, NOW, gone), Looked::Suspect, "x has trapped, and a goes on");
    let text = "cart/b.go -> cart/a.on, while cart/a.go -> cart/x.go -> cart/b.on".to_owned();
    assert_eq!(waits.look(closes, NOW, all), Looked::Ring(text));
}
