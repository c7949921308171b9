//! The machine step by step.

use super::*;
use crate::id::{Key, KindName};
use crate::state::Change;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ask(u32);

/// The first of an operator's messages.
const CONTROL: Ask = Ask(1000);
const NOTICE: Ask = Ask(999);

impl Message for Ask {
    fn deadline(&self) -> Time {
        Time(1000)
    }
    fn bytes(&self) -> usize {
        1
    }
    fn is_control(&self) -> bool {
        self.0 >= CONTROL.0
    }
    fn is_notice(&self) -> bool {
        self.0 == NOTICE.0
    }
    fn is_tell(&self) -> bool {
        false
    }
    fn is_read_only(&self) -> bool {
        false
    }
}

const NOW: Time = Time(1);

fn awake() -> Turns<Ask, u32> {
    let actor = ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse("k").unwrap() };
    let mut turns = Turns::new(actor, MailboxBounds { capacity: 4, bytes: 100 }, Overlap::None);
    assert_eq!(turns.admit(Ask(0)).unwrap(), Admitted::Token);
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(7, 0);
    turns
}

fn write() -> Write {
    Write { changes: vec![Change { name: "n".into(), value: None }], ..Write::default() }
}

#[track_caller]
fn run(turns: &mut Turns<Ask, u32>) -> Ask {
    let step = turns.next(NOW);
    let Step::Run(_, ask) = step else { panic!("no turn: {step:?}") };
    ask
}

#[test]
fn outputs_of_pipelined_turns_wait_for_the_commits_before_them() {
    let mut turns = awake();
    run(&mut turns);
    let Point::Submit(first) = turns.commit_point(write(), 0) else { panic!("a write is submitted") };
    turns.end(None);
    assert_eq!(turns.next(NOW), Step::Idle);
    assert_eq!(turns.admit(Ask(1)).unwrap(), Admitted::Token, "the next turn need not wait");
    run(&mut turns);
    assert_eq!(turns.commit_point(Write::default(), 1), Point::Held, "a read waits too");
    turns.end(None);
    assert_eq!(turns.landed(first.etag, Ok(())).released, [0, 1]);
}

#[test]
fn an_idle_actor_is_entered_past_its_mailbox_and_a_busy_one_is_not() {
    let mut turns = awake();
    assert_eq!(turns.enter(false), None, "it is held, and a message waits");
    run(&mut turns);
    assert!(turns.is_open());
    let Point::Submit(first) = turns.commit_point(write(), 0) else { panic!() };
    assert!(!turns.is_open(), "a commit is under way");
    turns.end(None);
    assert_eq!(turns.next(NOW), Step::Idle);
    assert_eq!(turns.enter(false), Some(Turn { generation: 7, number: 2 }), "a commit under way is no hindrance");
    assert_eq!(turns.enter(false), None, "it runs");
    assert_eq!(turns.admit(Ask(1)).unwrap(), Admitted::Waits);
    assert_eq!(turns.commit_point(Write::default(), 1), Point::Held);
    turns.end(None);
    assert!(!turns.rest(), "a message came meanwhile");
    assert_eq!(run(&mut turns), Ask(1));
    turns.commit_point(Write::default(), 2);
    turns.end(None);
    assert!(turns.rest());
    assert_eq!(turns.landed(first.etag, Ok(())).released, [0, 1, 2]);
    assert!(turns.deactivate(Why::Requested));
    assert_eq!(turns.enter(false), None, "it leaves");
}

#[test]
fn a_failed_commit_fails_all_behind_it_and_loads_anew() {
    let mut turns = awake();
    run(&mut turns);
    let Point::Submit(first) = turns.commit_point(write(), 0) else { panic!() };
    turns.end(None);
    turns.admit(Ask(1)).unwrap();
    run(&mut turns);
    let Point::Submit(second) = turns.commit_point(write(), 1) else { panic!() };
    turns.admit(Ask(2)).unwrap();
    let landed = turns.landed(first.etag, Err(CommitError::Fenced));
    assert_eq!(landed.failed, [(0, CommitError::Fenced), (1, CommitError::Fenced)]);
    assert!(!landed.token, "the running turn's holder goes on");
    assert_eq!(turns.commit_point(write(), 9), Point::Failed(9, CommitError::Fenced));
    assert!(turns.trapped().is_empty());
    assert_eq!(turns.next(NOW), Step::Idle, "a commit is still under way");
    assert!(turns.landed(second.etag, Err(CommitError::Conflict)).token);
    assert_eq!(turns.next(NOW), Step::Load, "a message waits");
    turns.loaded(8, 0);
    assert_eq!(run(&mut turns), Ask(2));
}

#[test]
fn the_pipeline_is_bounded() {
    let mut turns = awake();
    run(&mut turns);
    let mut etags = Vec::new();
    for output in 0..PENDING_COMMITS_MAX as u32 {
        let Point::Submit(commit) = turns.commit_point(write(), output) else { panic!() };
        etags.push(commit.etag);
    }
    turns.end(None);
    turns.admit(Ask(1)).unwrap();
    assert_eq!(turns.next(NOW), Step::Idle);
    assert!(turns.landed(etags[0], Ok(())).token);
    assert_eq!(run(&mut turns), Ask(1));
    let Point::Submit(_) = turns.commit_point(write(), 99) else { panic!() };
    turns.end(None);
    assert!(turns.deactivate(Why::Requested) || turns.held);
    assert_eq!(turns.next(NOW), Step::Idle, "the deactivate hook may commit: it waits too");
    assert!(turns.landed(etags[1], Ok(())).token);
    assert!(matches!(turns.next(NOW), Step::Leave(_, Why::Requested)));
}

#[test]
fn leaving_ends_turns_waits_for_commits_and_comes_back_for_messages() {
    let mut turns = awake();
    assert!(!turns.deactivate(Why::Idle), "messages wait");
    run(&mut turns);
    assert!(!turns.deactivate(Why::Requested));
    assert_eq!(turns.commit_point(Write::default(), 0), Point::Open(0));
    turns.end(None);
    assert!(matches!(turns.next(NOW), Step::Leave(_, Why::Requested)));
    let Point::Submit(last) = turns.commit_point(write(), 1) else { panic!() };
    turns.left();
    assert_eq!(turns.next(NOW), Step::Idle);
    turns.admit(Ask(5)).map(|admitted| assert_eq!(admitted, Admitted::Token)).unwrap();
    assert_eq!(turns.next(NOW), Step::Idle, "the commit comes first");
    assert!(turns.landed(last.etag, Ok(())).token);
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(8, last.etag);
    run(&mut turns);
    turns.commit_point(Write::default(), 2);
    turns.end(None);
    assert_eq!(turns.next(NOW), Step::Idle);
    assert!(turns.deactivate(Why::Idle));
    assert!(matches!(turns.next(NOW), Step::Leave(..)));
    turns.left();
    assert_eq!(turns.next(NOW), Step::Gone(Some(8)));
    assert_eq!(turns.admit(Ask(6)), Err(Refused { message: Ask(6), why: Refusal::Gone }));
}

#[test]
fn a_failed_claim_answers_operators_too() {
    let actor = ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse("k").unwrap() };
    let mut turns: Turns<Order, u32> = Turns::new(actor, MailboxBounds { capacity: 4, bytes: 100 }, Overlap::None);
    turns.admit(Order(true)).unwrap();
    turns.admit(Order(false)).unwrap();
    assert_eq!(turns.next(NOW), Step::Load);
    assert_eq!(turns.refused(), [Order(true), Order(false)]);
    assert_eq!(turns.next(NOW), Step::Gone(None), "it does not claim again for the operator");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order(bool);

impl Message for Order {
    fn deadline(&self) -> Time {
        Time::NEVER
    }
    fn bytes(&self) -> usize {
        1
    }
    fn is_control(&self) -> bool {
        self.0
    }
    fn is_tell(&self) -> bool {
        false
    }
    fn is_read_only(&self) -> bool {
        false
    }
}

#[test]
fn overload_expiry_and_refusal_answer_every_message() {
    let mut turns = awake();
    for n in 1..4 {
        turns.admit(Ask(n)).unwrap();
    }
    let refused = turns.admit(Ask(4)).unwrap_err();
    assert!(matches!(refused, Refused { message: Ask(4), why: Refusal::Overloaded(10..=5000) }));
    assert_eq!(turns.next(Time(1000)), Step::Expired(Ask(0)));
    assert_eq!(run(&mut turns), Ask(1));
    assert_eq!(turns.refused(), [Ask(2), Ask(3)]);
    assert_eq!(turns.next(NOW), Step::Gone(Some(7)));
}

#[test]
fn one_that_is_down_lets_messages_wait_and_nobody_run_it() {
    let mut turns = awake();
    run(&mut turns);
    let Point::Submit(first) = turns.commit_point(write(), 0) else { panic!() };
    turns.trapped();
    turns.hold_down();
    assert_eq!(turns.next(NOW), Step::Idle, "its commit comes first");
    assert_eq!(turns.admit(Ask(1)).unwrap(), Admitted::Token);
    assert_eq!(turns.next(NOW), Step::Idle);
    assert!(turns.landed(first.etag, Ok(())).token);
    assert_eq!(turns.next(NOW), Step::Down);
    assert_eq!(turns.phase(), Phase::Down);
    assert_eq!(turns.admit(Ask(2)).unwrap(), Admitted::Waits);
    assert_eq!(turns.enter(false), None);
    assert!(!turns.deactivate(Why::Idle) && !turns.deactivate(Why::MemoryPressure));
    turns.admit(Ask(3)).unwrap();
    turns.admit(Ask(4)).unwrap();
    assert!(matches!(turns.admit(Ask(5)).unwrap_err().why, Refusal::Overloaded(_)), "its mailbox is bounded");
    assert!(turns.go_on());
    assert!(!turns.go_on(), "once");
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(8, first.etag);
    assert_eq!(run(&mut turns), Ask(1));
    turns.trapped();
    turns.hold_down();
    assert!(!turns.go_on(), "it was not down yet, and its driver goes on");
    assert_eq!(turns.next(NOW), Step::Load);
}

#[test]
fn one_that_is_held_ends_after_its_turn_and_waits() {
    let mut turns = awake();
    assert_eq!(run(&mut turns), Ask(0));
    assert!(!turns.end_and_hold(), "its driver goes on");
    turns.admit(Ask(1)).unwrap();
    turns.commit_point(Write::default(), 0);
    turns.end(None);
    assert!(matches!(turns.next(NOW), Step::Leave(_, Why::Requested)));
    turns.left();
    assert_eq!((turns.next(NOW), turns.phase()), (Step::Down, Phase::Down));
    assert_eq!(turns.admit(NOTICE).unwrap(), Admitted::Waits);
    assert!(!turns.end_and_hold(), "it is");
    assert!(turns.go_on());
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(8, 0);
    assert_eq!(run(&mut turns), NOTICE, "before all calls");
}

#[test]
fn one_that_is_idle_or_loads_is_held_too_and_one_that_goes_on_meanwhile_does_not_wait() {
    let mut turns = awake();
    run(&mut turns);
    turns.commit_point(Write::default(), 0);
    turns.end(None);
    assert_eq!(turns.next(NOW), Step::Idle);
    assert!(turns.end_and_hold(), "the caller drives it to its end");
    assert!(matches!(turns.next(NOW), Step::Leave(..)));
    turns.left();
    assert!(!turns.go_on(), "it was not down yet");
    assert_eq!(turns.next(NOW), Step::Gone(Some(7)));

    let mut turns = awake();
    run(&mut turns);
    turns.trapped();
    turns.admit(Ask(1)).unwrap();
    assert_eq!(turns.next(NOW), Step::Load);
    turns.hold_down();
    assert_eq!((turns.next(NOW), turns.phase()), (Step::Down, Phase::Down), "instead of loading it");
    assert!(turns.go_on());
    assert_eq!(turns.next(NOW), Step::Load);
}

#[test]
fn operators_messages_do_not_wait_for_a_restart() {
    let mut turns = awake();
    run(&mut turns);
    turns.admit(CONTROL).unwrap();
    turns.trapped();
    turns.hold_down();
    assert_eq!(turns.next(NOW), Step::Load, "it would wait for nothing");
    turns.loaded(8, 0);
    assert_eq!(run(&mut turns), CONTROL);
    turns.commit_point(Write::default(), 0);
    turns.end(None);
    turns.end_and_hold();
    assert!(matches!(turns.next(NOW), Step::Leave(..)));
    turns.left();
    assert_eq!(turns.next(NOW), Step::Down);
    assert_eq!(turns.admit(Ask(1)).unwrap(), Admitted::Waits);
    assert_eq!(turns.admit(CONTROL).unwrap(), Admitted::Token);
    assert_eq!(turns.next(NOW), Step::Load);
}

#[test]
fn one_that_is_down_ends_with_its_silo_and_when_nothing_waits() {
    let mut turns = awake();
    run(&mut turns);
    turns.trapped();
    turns.hold_down();
    assert_eq!(turns.next(NOW), Step::Down);
    turns.admit(Ask(1)).unwrap();
    assert_eq!(turns.turn_away(), [Ask(1)]);
    assert!(turns.deactivate(Why::Shutdown), "nobody waits for the end of its wait");
    assert_eq!(turns.next(NOW), Step::Gone(Some(7)));
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timed(bool);

impl Message for Timed {
    fn deadline(&self) -> Time {
        Time::NEVER
    }
    fn bytes(&self) -> usize {
        1
    }
    fn is_control(&self) -> bool {
        false
    }
    fn is_tell(&self) -> bool {
        false
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn is_timer(&self) -> bool {
        self.0
    }
}

#[test]
fn timers_go_with_the_instance_and_wake_nobody() {
    let actor = ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse("k").unwrap() };
    let mut turns: Turns<Timed, u32> = Turns::new(actor, MailboxBounds { capacity: 4, bytes: 100 }, Overlap::None);
    turns.admit(Timed(false)).unwrap();
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(7, 0);
    assert!(matches!(turns.next(NOW), Step::Run(_, Timed(false))));
    turns.admit(Timed(true)).unwrap();
    turns.admit(Timed(true)).unwrap();
    turns.end(None);
    assert!(matches!(turns.next(NOW), Step::Run(_, Timed(true))), "with an instance they run");
    turns.trapped();
    assert_eq!(turns.next(NOW), Step::Gone(Some(7)), "without one they are no reason to load");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Back(Option<u64>);

impl Message for Back {
    fn deadline(&self) -> Time {
        Time::NEVER
    }
    fn bytes(&self) -> usize {
        1
    }
    fn is_control(&self) -> bool {
        false
    }
    fn is_tell(&self) -> bool {
        false
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn returns_to(&self, _: &ActorId) -> Option<Returns> {
        self.0.map(|turn| Returns { generation: 7, turn, call: 1 })
    }
}

#[test]
fn what_a_running_turn_waits_for_begins_past_all_bounds() {
    let actor = ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse("k").unwrap() };
    let bounds = MailboxBounds { capacity: 100, bytes: 1000 };
    let mut turns: Turns<Back, u32> = Turns::new(actor, bounds, Overlap::Full);
    for _ in 0..crate::activation::OVERLAP_MAX + 2 {
        turns.admit(Back(None)).unwrap();
    }
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(7, 0);
    let mut first = None;
    while let Step::Run(turn, _) = turns.next(NOW) {
        first.get_or_insert(turn);
    }
    let first = first.unwrap();
    assert!(turns.waiting().0 > 0, "some found no room");
    turns.admit(Back(Some(first.number))).unwrap();
    let Step::Run(second, Back(Some(_))) = turns.next(NOW) else { panic!("the first turn waits for it") };
    assert_eq!(turns.next(NOW), Step::Wait);
    assert!(!turns.deactivate(Why::Upgraded));
    turns.admit(Back(Some(second.number))).unwrap();
    let Step::Run(third, Back(Some(_))) = turns.next(NOW) else { panic!("it leaves after the first turn") };
    turns.admit(Back(Some(third.number + 1))).unwrap();
    assert_eq!(turns.next(NOW), Step::Wait, "nobody waits for that one");
}

fn nested(overlap: Overlap) -> Turns<Back, u32> {
    let actor = ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse("k").unwrap() };
    let mut turns = Turns::new(actor, MailboxBounds { capacity: 1, bytes: 1 }, overlap);
    turns.admit(Back(None)).unwrap();
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(7, 0);
    turns
}

#[track_caller]
fn begun(step: Option<Step<Back>>) -> Turn {
    let Some(Step::Run(turn, _)) = step else { panic!("no turn: {step:?}") };
    turn
}

#[test]
fn a_turn_begins_inside_of_the_one_that_waits_for_it() {
    let mut turns = nested(Overlap::Nested);
    let outer = begun(Some(turns.next(NOW)));
    turns.admit(Back(None)).unwrap();
    assert!(!turns.overlaps(), "it waits for the outer turn's end");
    turns.admit(Back(Some(outer.number))).unwrap();
    assert!(turns.overlaps());
    assert_eq!(turns.returning(NOW), None, "the outer turn does not wait");
    turns.wait(outer, 2);
    assert_eq!(turns.returning(NOW), None, "it waits for another call");
    turns.resume(outer, 2);
    turns.wait(outer, 1);
    assert!(!turns.deactivate(Why::Upgraded));
    let inner = begun(turns.returning(NOW));
    turns.admit(Back(Some(outer.number))).unwrap();
    assert_eq!(turns.returning(NOW), None, "the inner turn is in between");
    turns.admit(Back(Some(inner.number))).unwrap();
    turns.wait(inner, 1);
    let innermost = begun(turns.returning(NOW));
    let Point::Submit(_) = turns.commit_point(write(), 1) else { panic!("it commits at its end") };
    turns.ended(innermost, None);
    turns.resume(inner, 1);
    turns.ended(inner, None);
    let second = begun(turns.returning(NOW));
    turns.ended(second, None);
    turns.end(None);
    assert!(!turns.rest());
}

#[test]
fn a_trap_inside_ends_all_and_what_came_back_begins_afresh() {
    let mut turns = nested(Overlap::Nested);
    let outer = begun(Some(turns.next(NOW)));
    turns.wait(outer, 1);
    turns.admit(Back(Some(outer.number))).unwrap();
    let inner = begun(turns.returning(NOW));
    turns.admit(Back(Some(inner.number))).unwrap();
    turns.trapped();
    assert_eq!((turns.runs(outer), turns.runs(inner)), (false, false));
    assert_eq!(turns.next(NOW), Step::Load);
    turns.loaded(8, 0);
    begun(Some(turns.next(NOW)));
}

#[test]
fn of_a_chain_only_what_a_turn_waits_for_begins_beside_it() {
    let mut turns = nested(Overlap::Chain { reads: false });
    let first = begun(Some(turns.next(NOW)));
    turns.admit(Back(None)).unwrap();
    assert_eq!(turns.next(NOW), Step::Wait);
    turns.admit(Back(Some(first.number))).unwrap();
    assert_eq!(turns.next(NOW), Step::Wait, "it does not wait yet");
    turns.wait(first, 1);
    turns.wait(first, 2);
    begun(Some(turns.next(NOW)));
    assert_eq!(turns.next(NOW), Step::Wait);
}
