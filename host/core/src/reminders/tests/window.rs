//! The window, case by case.

use std::time::Duration;

use super::*;
use crate::time::Time;

fn at(wall: u64) -> Now {
    Now { wall, mono: Time((wall - NEW_YEAR + 2 * HOUR) * 1_000_000) }
}

/// A window that knows all of a store with those rows.
fn filled(rows: Vec<Reminder>, now: Now) -> Window {
    let mut window = Window::new(now);
    assert!(matches!(window.step(now), Step::Read(None, _)));
    window.page(Vec::new());
    window.landed(rows.into_iter().map(|row| (row.id.clone(), Some(Arc::new(row)))).collect());
    window
}

fn landed(window: &mut Window, fired: &Fired) {
    window.submitted([&fired.row.id]);
    window.landed(vec![(fired.row.id.clone(), fired.after().map(Arc::new))]);
}

fn fire(window: &mut Window, now: Now) -> Arc<Reminder> {
    match window.step(now) {
        Step::Fire(row) => row,
        other @ (Step::Move(_) | Step::Read(..) | Step::Wait(_)) => panic!("{other:?}"),
    }
}

#[test]
fn it_fires_when_due_and_moves_on_with_its_commit() {
    let row = reminder("a", Schedule::Every(MINUTE), Missed::FireOnce, NEW_YEAR);
    let mut window = filled(vec![row], at(NEW_YEAR));
    assert_eq!(window.step(at(NEW_YEAR)), Step::Wait(Some(Duration::from_millis(500))));
    let now = at(NEW_YEAR + MINUTE);
    let row = fire(&mut window, now);
    assert_eq!((window.under_way(), window.step(now)), (1, Step::Wait(None)));
    let fired = window.begin(&row, now).unwrap();
    assert_eq!(fired.to, Some(Stand::at(NEW_YEAR + 2 * MINUTE)));
    assert_eq!(window.begin(&row, now), None, "once");
    landed(&mut window, &fired);
    assert_eq!(window.step(at(NEW_YEAR + 2 * MINUTE - 5)), Step::Wait(Some(Duration::from_millis(5))));
    fire(&mut window, at(NEW_YEAR + 2 * MINUTE));
}

#[test]
fn what_is_changed_meanwhile_does_not_begin() {
    let row = reminder("a", Schedule::Every(MINUTE), Missed::FireOnce, NEW_YEAR);
    let mut window = filled(vec![row.clone()], at(NEW_YEAR));
    let now = at(NEW_YEAR + MINUTE);
    let out = fire(&mut window, now);
    window.submitted([&row.id]);
    assert_eq!(window.begin(&out, now), None, "a change is on its way");
    window.lost(std::slice::from_ref(&row.id), false);
    let out = fire(&mut window, at(NEW_YEAR + MINUTE + SECOND));
    window.submitted([&row.id]);
    let anew = Reminder { revision: 2, ..row.clone() };
    window.landed(vec![(row.id.clone(), Some(Arc::new(anew.clone())))]);
    assert_eq!(window.begin(&out, now), None, "it is another one");
    let out = fire(&mut window, at(NEW_YEAR + MINUTE + SECOND));
    assert_eq!(*out, anew);
    window.submitted([&row.id]);
    window.landed(vec![(row.id.clone(), None)]);
    assert_eq!((window.begin(&out, now), window.held()), (None, 0));
}

#[test]
fn failing_turns_wait_longer_each_time_and_then_their_time_is_dead() {
    let mut now = NEW_YEAR + MINUTE;
    let row = reminder("a", Schedule::Every(HOUR), Missed::FireOnce, now - HOUR);
    let mut window = filled(vec![row], at(now));
    let mut waits = Vec::new();
    for _ in 1..ATTEMPTS_MAX {
        let row = fire(&mut window, at(now));
        window.begin(&row, at(now)).unwrap();
        let (fired, dead) = window.failed(&row, Failed::Counts, at(now)).unwrap();
        assert!(!dead && window.under_way() == 1);
        waits.push(fired.to.unwrap().at - now);
        assert_eq!(fired.to.unwrap().due, row.due, "the turn is told of the time that it is for");
        landed(&mut window, &fired);
        now = fired.to.unwrap().at;
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600]);
    let row = fire(&mut window, at(now));
    let (fired, dead) = window.failed(&row, Failed::Counts, at(now)).unwrap();
    assert_eq!((dead, fired.to), (true, Some(Stand::at(row.due + HOUR))));
    landed(&mut window, &fired);
    let row = fire(&mut window, at(row.due + HOUR));
    assert_eq!(window.failed(&row, Failed::Later(50), at(now)), None);
    assert_eq!(window.failed(&row, Failed::Counts, at(now)), None, "it waits");
}

#[test]
fn a_store_that_is_busy_is_asked_again_and_a_row_that_is_another_is_let_go() {
    let row = reminder("a", Schedule::Once(MINUTE), Missed::FireOnce, NEW_YEAR);
    let mut window = filled(vec![row], at(NEW_YEAR));
    let now = at(NEW_YEAR + MINUTE);
    let row = fire(&mut window, now);
    let (fired, _) = window.failed(&row, Failed::Dead, now).unwrap();
    assert_eq!(fired.to, None);
    window.not_moved(&fired, now.wall + 500);
    let row = fire(&mut window, at(now.wall + 500));
    let (fired, _) = window.failed(&row, Failed::Dead, now).unwrap();
    window.is_stale(&fired);
    assert_eq!(window.held(), 0);
}

#[test]
fn after_a_downtime_what_was_missed_is_skipped_where_that_is_wanted() {
    let up = NEW_YEAR + HOUR;
    let every = |key, missed| reminder(key, Schedule::Every(10 * MINUTE), missed, NEW_YEAR);
    let rows = vec![every("a", Missed::FireOnce), every("b", Missed::FireAll), every("c", Missed::Skip)];
    let mut window = filled(rows, at(up));
    let a = fire(&mut window, at(up));
    assert_eq!(window.begin(&a, at(up)).unwrap().to, Some(Stand::at(up + 10 * MINUTE)));
    let b = fire(&mut window, at(up));
    assert_eq!(window.begin(&b, at(up)).unwrap().to, Some(Stand::at(NEW_YEAR + 20 * MINUTE)));
    let Step::Move(c) = window.step(at(up)) else { panic!() };
    assert_eq!((&c.row.id, c.to), (&id("c", "r"), Some(Stand::at(up + 10 * MINUTE))));
    // One that was due just before, as of a silo that is killed and back at once.
    let just = reminder("d", Schedule::Once(HOUR - 5 * SECOND), Missed::Skip, NEW_YEAR);
    let mut window = filled(vec![just], at(up));
    fire(&mut window, at(up));
}

#[test]
fn a_clock_that_is_set_moves_intervals_along_and_repeats_no_time_of_the_day() {
    for step in [HOUR.cast_signed(), -HOUR.cast_signed()] {
        let start = NEW_YEAR + 5 * HOUR;
        let every = reminder("a", Schedule::Every(MINUTE), Missed::FireAll, start);
        let daily = reminder("b", Schedule::Cron("0 5-7 * * *".into()), Missed::FireOnce, start - 1);
        let mut window = filled(vec![every, daily], at(start));
        let daily = fire(&mut window, at(start));
        let fired = window.begin(&daily, at(start)).unwrap();
        assert_eq!(fired.to, Some(Stand::at(start + HOUR)));
        landed(&mut window, &fired);
        let set = |ran: u64| Now { wall: start.saturating_add_signed(step) + ran, ..at(start + ran) };
        if step > 0 {
            // The time of the day has come, once.
            let daily = fire(&mut window, set(30 * SECOND));
            let fired = window.begin(&daily, set(30 * SECOND)).unwrap();
            assert_eq!(fired.to, Some(Stand::at(start + 2 * HOUR)));
            landed(&mut window, &fired);
        }
        for minute in 1..=90 {
            assert!(matches!(window.step(set(minute * MINUTE - 1)), Step::Wait(_)), "{step} {minute}");
            let every = fire(&mut window, set(minute * MINUTE));
            assert_eq!(every.id, id("a", "r"));
            let fired = window.begin(&every, set(minute * MINUTE)).unwrap();
            landed(&mut window, &fired);
            if step > 0 && minute == 60 {
                let daily = fire(&mut window, set(minute * MINUTE));
                let fired = window.begin(&daily, set(minute * MINUTE)).unwrap();
                landed(&mut window, &fired);
            }
        }
        let next = fire_next(&mut window, set, 120 * MINUTE);
        assert_eq!(next, (step < 0).then(|| id("b", "r")), "an hour that comes twice fires once");
    }
}

/// Whether the reminder of the day fires at that moment.
fn fire_next(window: &mut Window, set: impl Fn(u64) -> Now, ran: u64) -> Option<ReminderId> {
    loop {
        match window.step(set(ran)) {
            Step::Fire(row) if row.id.actor == actor("b") => return Some(row.id.clone()),
            Step::Fire(_) => {}
            Step::Wait(_) => return None,
            other @ (Step::Move(_) | Step::Read(..)) => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_nobody_serves_is_left_in_the_store_until_somebody_does() {
    let rows = vec![reminder("a", Schedule::Once(SECOND), Missed::FireOnce, NEW_YEAR)];
    let mut window = filled(rows.clone(), at(NEW_YEAR));
    let now = at(NEW_YEAR + SECOND);
    let row = fire(&mut window, now);
    window.leave_out(&row);
    assert_eq!((window.held(), window.step(now)), (0, Step::Wait(None)));
    window.served_anew();
    assert!(matches!(window.step(now), Step::Read(None, _)));
    window.page(rows);
    fire(&mut window, now);
}

#[test]
fn memory_is_bounded_and_rows_beyond_it_are_read_later() {
    let row = |n: u64| Reminder {
        due: NEW_YEAR + n,
        at: NEW_YEAR + n,
        ..reminder(&format!("{n:06}"), Schedule::Once(0), Missed::FireOnce, NEW_YEAR)
    };
    let mut window = filled(Vec::new(), at(NEW_YEAR));
    for n in (0..WINDOW_MAX as u64 + 10).rev() {
        let row = Arc::new(row(n));
        window.submitted([&row.id]);
        window.landed(vec![(row.id.clone(), Some(row))]);
    }
    assert_eq!(window.held(), WINDOW_MAX);
    let later = at(NEW_YEAR + HOUR);
    let mut out = Vec::new();
    while let Step::Fire(row) = window.step(later) {
        out.push(row);
    }
    assert_eq!((out.len(), window.under_way()), (UNDER_WAY_MAX, UNDER_WAY_MAX));
    assert!(out.is_sorted_by_key(|row| row.due), "the oldest first");
    for row in &out {
        let fired = window.begin(row, later).unwrap();
        landed(&mut window, &fired);
    }
    for _ in 0..WINDOW_MAX / 2 - UNDER_WAY_MAX {
        let Step::Fire(row) = window.step(later) else { break };
        let fired = window.begin(&row, later).unwrap();
        landed(&mut window, &fired);
    }
    assert!(matches!(window.step(later), Step::Fire(_)), "what is due goes before reading");
}
