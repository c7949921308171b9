//! Small cases by hand.

use std::time::Duration;

use super::super::{Action, CHILDREN_MAX, Children, Directive, Failures, Lifetime, Strategy, Supervision, Verdict};
use crate::time::Time;

const START: Time = Time(1_000_000_000);

fn with(strategy: Strategy) -> Children<&'static str> {
    let mut children = Children::new(Supervision { strategy, ..Supervision::default() });
    children.spawn("a", Lifetime::Permanent).unwrap();
    children.spawn("b", Lifetime::Permanent).unwrap();
    children.spawn("c", Lifetime::Temporary).unwrap();
    children.spawn("d", Lifetime::Transient).unwrap();
    children
}

#[test]
fn the_rest_ends_in_reverse_order_and_starts_in_order() {
    let mut children = with(Strategy::RestForOne);
    let actions = children.failed(&"b", Directive::Restart, START, 0);
    assert_eq!(
        actions,
        [Action::Hold("d"), Action::Stop("c"), Action::Start("b"), Action::Start("d")],
        "the first restart does not wait"
    );
    let actions = children.failed(&"b", Directive::Restart, START, 0);
    assert_eq!(actions, [Action::Hold("d")], "the second one does");
    let due = children.next_due().unwrap();
    assert_eq!(due, START.after(Duration::from_millis(100)));
    assert_eq!(children.failed(&"b", Directive::Restart, START, 0), [], "it does not run");
    assert_eq!(children.due(due), [Action::Start("b"), Action::Start("d")]);
    assert_eq!(children.restarts(&"b"), 2);
}

#[test]
fn too_many_restarts_hold_all_until_the_parent_runs_again() {
    let mut children = with(Strategy::OneForOne);
    let mut now = START;
    for count in 1..=10 {
        assert_eq!(children.count(now), count);
        children.failed(&"a", Directive::Restart, now, u64::MAX);
        now = children.starts_at(&"a").unwrap_or(now);
        children.due(now);
    }
    assert_eq!(
        children.failed(&"a", Directive::Restart, now, 0),
        [Action::Hold("d"), Action::Stop("c"), Action::Hold("b"), Action::Escalate]
    );
    assert_eq!(children.next_due(), None);
    assert_eq!(children.release(), [Action::Start("a"), Action::Start("b"), Action::Start("d")]);
    assert_eq!(children.count(now), 1);
}

#[test]
fn waits_for_a_restart_can_be_ended_and_those_for_the_parent_cannot() {
    let mut children = with(Strategy::OneForOne);
    let backoff = Supervision::default().backoff;
    children.failed(&"a", Directive::Restart, START, 0);
    children.failed(&"a", Directive::Restart, START, 0);
    let due = children.starts_at(&"a").expect("it waits");
    assert!(due > START && due <= START.after(backoff.max));
    assert_eq!(children.due(START), []);
    children.hurry(START);
    assert_eq!(children.due(START), [Action::Start("a")]);
    children.hold();
    children.hurry(START);
    assert_eq!((children.due(START), children.is_up(&"a")), (vec![], false));
}

#[test]
fn one_that_is_spawned_under_a_parent_that_is_down_starts_with_it_if_it_waits() {
    let mut children = with(Strategy::OneForOne);
    children.hold();
    children.spawn("e", Lifetime::Permanent).unwrap();
    children.spawn("f", Lifetime::Permanent).unwrap();
    children.waits(&"f");
    let started = children.release();
    assert!(started.contains(&Action::Start("f")) && !started.contains(&Action::Start("e")), "{started:?}");
    children.waits(&"e");
    assert!(children.is_up(&"e"), "the parent runs");
}

#[test]
fn an_end_without_a_failure_means_what_the_lifetime_says() {
    let mut children = with(Strategy::OneForOne);
    assert_eq!(children.ended(&"a", START, 0), [Action::Start("a")]);
    assert_eq!(children.ended(&"c", START, 0), [Action::Stop("c")]);
    assert_eq!(children.ended(&"d", START, 0), []);
    assert!(!children.is_up(&"d"));
    assert!(children.contains(&"d"));
    children.woke(&"d");
    assert!(children.is_up(&"d"));
    // Woken before its end was told of, and failed before it was known to be awake.
    children.ended(&"d", START, 0);
    assert_eq!(children.failed(&"d", Directive::Restart, START, 0), [Action::Start("d")]);
    assert_eq!(children.stop_all(), [Action::Stop("d"), Action::Stop("b"), Action::Stop("a")]);
}

#[test]
fn children_are_bounded_and_one_that_is_there_keeps_its_place() {
    let mut children = Children::new(Supervision::default());
    (0..CHILDREN_MAX).for_each(|name| children.spawn(name, Lifetime::Permanent).unwrap());
    assert!(children.spawn(CHILDREN_MAX, Lifetime::Permanent).is_err());
    children.spawn(3, Lifetime::Temporary).unwrap();
    assert_eq!(children.iter().nth(3), Some((&3, Lifetime::Temporary)));
}

#[test]
fn the_defaults_allow_ten_failures_in_a_minute() {
    let (policy, mut failures, mut now) = (Supervision::default(), Failures::default(), START);
    for _ in 0..10 {
        let Verdict::Restart(at) = failures.failed(&policy, now, u64::MAX / 2) else { panic!("too soon: {now:?}") };
        now = at;
    }
    let Verdict::CoolDown(until) = failures.failed(&policy, now, 0) else { panic!("it never cools down") };
    assert_eq!(until, now.after(Duration::from_mins(1)));
    assert_eq!(failures.verdict(now), Some(Verdict::CoolDown(until)));
    assert_eq!(failures.verdict(until), None);
}

#[test]
fn those_that_the_parent_does_not_list_any_more_are_let_go_of() {
    let mut children = with(Strategy::OneForOne);
    children.failed(&"b", Directive::Restart, START, 0);
    children.failed(&"b", Directive::Restart, START, 0);
    let listed = [("d", Lifetime::Permanent), ("a", Lifetime::Permanent), ("e", Lifetime::Transient)];
    assert_eq!(children.set_listed(listed.into_iter()), [Action::Start("b")], "what waited for it runs");
    assert_eq!(children.iter().map(|(id, lifetime)| (*id, lifetime)).collect::<Vec<_>>(), listed);
    assert_eq!(children.next_due(), None);
    children.hold();
    assert_eq!(
        children.set_listed([("a", Lifetime::Permanent), ("f", Lifetime::Permanent)].into_iter()),
        [Action::Start("d"), Action::Start("e")]
    );
    assert!(!children.is_up(&"f"), "its parent is down");
    children.spawn("g", Lifetime::Permanent).unwrap();
    assert_eq!(children.release(), [Action::Start("a"), Action::Start("f")], "one that was spawned meanwhile runs");
}
