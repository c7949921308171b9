//! What families keep, step by step.

use std::time::Duration;

use quark_core::id::{Key, KindName};
use quark_core::supervision::Strategy;

use super::*;

const NOW: Time = Time(1_000_000_000);

fn actor(key: &str) -> ActorId {
    ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() }
}

fn policy(strategy: Strategy) -> Supervision {
    Supervision { strategy, ..Supervision::default() }
}

/// A family whose parent is the child of that one.
fn spawn(families: &Families, above: Option<&str>, parent: &str, children: &[&str], strategy: Strategy) {
    let (above, parent) = (above.map(actor), actor(parent));
    for child in children {
        let spawned = (&parent, above.as_ref());
        families.spawned(spawned, &actor(child), Lifetime::Permanent, policy(strategy)).unwrap();
    }
}

fn fail(families: &Families, parent: &str, child: &str) -> bool {
    families.failed(&actor(parent), &actor(child), Directive::Restart, "boom", NOW)
}

/// Two failures: the first restart does not wait.
fn fail_twice(families: &Families, parent: &str, child: &str) {
    assert!(fail(families, parent, child));
    let _ = to_do(families, parent);
    assert!(fail(families, parent, child));
}

/// All that is to be done now.
fn to_do(families: &Families, parent: &str) -> Vec<String> {
    let mut all = Vec::new();
    while let Next::Do(action) = families.next(&actor(parent), NOW) {
        all.push(match action {
            Action::Hold(id) => format!("hold {}", id.key),
            Action::Start(id) => format!("start {}", id.key),
            Action::Stop(id) => format!("stop {}", id.key),
            Action::Escalate => "escalate".into(),
        });
    }
    all
}

fn gate(families: &Families, parent: &str, child: &str) -> &'static str {
    match families.gate(&actor(parent), &actor(child), NOW) {
        Gate::Free => "free",
        Gate::Down => "down",
        Gate::Cools(_) => "cools",
    }
}

fn kept(families: &Families) -> (usize, usize) {
    let table = families.table.lock();
    (table.families.len(), table.order.len())
}

#[test]
fn families_are_bounded_and_one_that_rests_makes_room() {
    let families = Families::default();
    let one = |n: usize| spawn(&families, None, &format!("p{n}"), &["c"], Strategy::OneForOne);
    (0..FAMILIES_MAX).for_each(one);
    fail_twice(&families, "p0", "c");
    one(1);
    one(FAMILIES_MAX);
    assert_eq!(kept(&families), (FAMILIES_MAX, FAMILIES_MAX));
    assert!(families.knows(&actor("p0"), &actor("c")), "one of it is down");
    assert!(families.knows(&actor("p1"), &actor("c")), "it was used since");
    assert!(!families.knows(&actor("p2"), &actor("c")), "it was used longest ago");
    (0..=FAMILIES_MAX).filter(|n| *n != 2).for_each(|n| assert!(families.down(&actor(&format!("p{n}")))));
    one(FAMILIES_MAX + 1);
    assert_eq!(kept(&families), (FAMILIES_MAX, FAMILIES_MAX));
    assert!(!families.knows(&actor(&format!("p{}", FAMILIES_MAX + 1)), &actor("c")), "none of the others rests");
}

#[test]
fn a_child_waits_for_all_above_it() {
    let families = Families::default();
    spawn(&families, None, "p", &["a", "b"], Strategy::OneForOne);
    spawn(&families, Some("p"), "a", &["a.x"], Strategy::OneForOne);
    spawn(&families, Some("a"), "a.x", &["a.x.y"], Strategy::OneForOne);
    assert_eq!((gate(&families, "a.x", "a.x.y"), gate(&families, "p", "stranger")), ("free", "free"));
    fail_twice(&families, "p", "a");
    assert_eq!((gate(&families, "p", "a"), gate(&families, "p", "b")), ("down", "free"));
    assert_eq!(gate(&families, "a", "a.x"), "free", "its own parent has not been held");
    assert!(families.down(&actor("a")) && families.down(&actor("a.x")));
    assert_eq!(gate(&families, "a.x", "a.x.y"), "down");
    families.cool(&actor("p"), NOW.after(Duration::from_secs(1)), "too often");
    assert_eq!((gate(&families, "a.x", "a.x.y"), gate(&families, "p", "b")), ("cools", "free"));
    let later = NOW.after(Duration::from_secs(2));
    assert!(matches!(families.gate(&actor("a.x"), &actor("a.x.y"), later), Gate::Down));
    assert!(families.up(&actor("a.x")));
    assert_eq!(gate(&families, "a.x", "a.x.y"), "free", "its parent lives");
}

#[test]
fn what_is_to_be_done_is_queued_once_and_in_order() {
    let families = Families::default();
    spawn(&families, None, "p", &["a", "b", "c"], Strategy::RestForOne);
    assert!(!fail(&families, "p", "stranger") && !fail(&families, "q", "a"));
    assert!(!families.begin_work(&actor("p")), "nothing is to be done");
    assert!(fail(&families, "p", "b"));
    assert!(families.begin_work(&actor("p")) && !families.begin_work(&actor("p")), "one task is at work");
    assert_eq!(to_do(&families, "p"), ["hold c", "start b", "start c"]);
    assert!(fail(&families, "p", "b"));
    assert_eq!(to_do(&families, "p"), ["hold c"], "the second restart waits");
    assert!(matches!(families.next(&actor("p"), NOW), Next::Wait(..)));
    assert!(families.down(&actor("p")));
    assert_eq!(to_do(&families, "p"), ["hold a"], "the others wait already");
    assert!(families.up(&actor("p")));
    assert_eq!(to_do(&families, "p"), ["start a", "start b", "start c"]);
}

#[test]
fn nothing_is_done_about_one_that_was_let_go_of() {
    let families = Families::default();
    spawn(&families, None, "p", &["a", "b", "c"], Strategy::AllForOne);
    assert!(fail(&families, "p", "b"));
    families.forget(&actor("p"), &actor("a"));
    assert!(families.lets_go(&actor("p"), &actor("a"), false) && !families.lets_go(&actor("p"), &actor("c"), false));
    assert!(families.lets_go(&actor("p"), &actor("c"), true), "its parent is up");
    assert_eq!(to_do(&families, "p"), ["hold c", "start b", "start c"]);
    assert!(families.down(&actor("p")));
    assert!(!families.lets_go(&actor("p"), &actor("c"), true));
    let listed = Standing { children: Vec::new(), ..Standing::default() };
    families.loaded(&actor("p"), &listed, policy(Strategy::AllForOne));
    assert_eq!(to_do(&families, "p"), ["hold c", "hold b", "start b", "start c"], "its row lists none");
    assert_eq!(kept(&families), (0, 0));
}

#[test]
fn one_that_is_stopped_and_spawned_anew_while_it_is_held_does_not_wait() {
    let families = Families::default();
    let goes_on = |child, with_parent| families.goes_on(&actor("p"), &actor(child), with_parent);
    spawn(&families, None, "p", &["a", "b", "c"], Strategy::AllForOne);
    fail_twice(&families, "p", "b");
    let Next::Do(Action::Hold(held)) = families.next(&actor("p"), NOW) else { panic!("nobody is to be held") };
    assert_eq!(held, actor("c"));
    assert!(!goes_on("c", false) && goes_on("c", true) && goes_on("stranger", false));
    families.forget(&actor("p"), &actor("c"));
    spawn(&families, None, "p", &["c"], Strategy::AllForOne);
    assert!(goes_on("c", false), "nothing will start it");
    assert!(!families.lets_go(&actor("p"), &actor("c"), false), "it is a child yet");
    assert!(families.down(&actor("p")));
    assert!(!goes_on("c", false) && !goes_on("c", true), "its parent is down");
    assert!(families.up(&actor("p")));
    assert!(goes_on("c", true));
}

#[test]
fn a_child_that_fails_is_judged_by_its_parents_newest_policy() {
    let families = Families::default();
    spawn(&families, None, "p", &["a", "b"], Strategy::OneForOne);
    families.follows(&actor("p"), policy(Strategy::AllForOne));
    assert!(fail(&families, "p", "a"));
    assert_eq!(to_do(&families, "p"), ["hold b", "start a", "start b"]);
    families.follows(&actor("q"), policy(Strategy::AllForOne));
    assert_eq!(kept(&families), (1, 1), "nobody's family is made by that");
}

#[test]
fn all_that_are_down_below_one_are_found_once() {
    let families = Families::default();
    for (parent, children) in [("p", &["a", "b"][..]), ("a", &["x"]), ("x", &["p"])] {
        spawn(&families, None, parent, children, Strategy::OneForOne);
        assert!(families.down(&actor(parent)));
    }
    let mut below: Vec<_> = families.down_below(&actor("p")).iter().map(|id| id.key.to_string()).collect();
    below.sort_unstable();
    assert_eq!(below, ["a", "b", "p", "x"], "though they are a ring");
}

#[test]
fn a_family_without_children_is_not_kept() {
    let families = Families::default();
    families.loaded(&actor("p"), &Standing::default(), Supervision::default());
    spawn(&families, None, "p", &["a", "b"], Strategy::OneForOne);
    assert!(families.down(&actor("p")));
    assert_eq!(families.waited_for(), [actor("p")]);
    families.forget(&actor("p"), &actor("a"));
    families.forget(&actor("p"), &actor("b"));
    assert_eq!((kept(&families), families.waited_for().len()), ((0, 0), 0), "though it was held");
}

#[test]
fn those_that_lived_are_woken_once() {
    let families = Families::default();
    spawn(&families, None, "p", &["a", "b"], Strategy::OneForOne);
    spawn(&families, Some("p"), "b", &["b.x"], Strategy::OneForOne);
    assert!(fail(&families, "p", "a"));
    assert!(families.take_lived(&actor("p"), &actor("a")) && !families.take_lived(&actor("p"), &actor("a")));
    assert!(!families.take_lived(&actor("p"), &actor("b")));
    families.lived(&actor("p"), &actor("b"));
    assert!(families.down(&actor("b")) && families.take_lived(&actor("p"), &actor("b")));
    assert!(families.take_lived(&actor("p"), &actor("b")), "its children wait for it");
}

#[test]
fn a_child_that_fails_before_its_parent_is_awake_starts_with_it() {
    let families = Families::default();
    spawn(&families, None, "p", &["a"], Strategy::OneForOne);
    assert!(families.down(&actor("p")));
    let _ = to_do(&families, "p");
    spawn(&families, None, "p", &["b", "c"], Strategy::OneForOne);
    assert!(fail(&families, "p", "b") && families.ended(&actor("p"), &actor("c"), NOW));
    assert_eq!(to_do(&families, "p"), [""; 0]);
    assert!(families.up(&actor("p")));
    assert_eq!(to_do(&families, "p"), ["start a", "start b", "start c"]);
}
