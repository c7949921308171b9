//! When reminders are due.

use super::*;

fn cron(text: &str) -> Schedule {
    Schedule::Cron(text.into())
}

#[test]
fn intervals_count_from_their_registration() {
    assert_eq!(Schedule::Once(5).first(100), Ok(105));
    assert_eq!(Schedule::Once(0).first(100), Ok(100));
    assert_eq!(Schedule::Once(5).after(105, None), None);
    assert_eq!(Schedule::Every(1000).first(100), Ok(1100));
    assert_eq!(Schedule::Every(1000).after(1100, None), Some(2100));
    assert_eq!(Schedule::Every(1000).after(1100, Some(1100)), Some(2100));
    assert_eq!(Schedule::Every(1000).after(1100, Some(5099)), Some(5100));
    assert_eq!(Schedule::Every(1000).after(1100, Some(5100)), Some(6100));
    assert_eq!(Schedule::Every(1000).after(1100, Some(7)), Some(2100), "the clock was set back");
    assert_eq!(Schedule::Every(EVERY_MIN - 1).first(0), Err(ReminderRefusal::Every(EVERY_MIN - 1)));
    assert_eq!(Schedule::Every(u64::MAX).after(5, None), None, "beyond the last year");
}

#[test]
fn times_of_the_day_are_in_utc() {
    assert_eq!(cron("*/5 * * * *").first(NEW_YEAR), Ok(NEW_YEAR + 5 * MINUTE), "strictly after");
    assert_eq!(cron("*/5 * * * *").first(NEW_YEAR - 1), Ok(NEW_YEAR));
    assert_eq!(cron("30 4 * * *").first(NEW_YEAR), Ok(NEW_YEAR + 4 * HOUR + 30 * MINUTE));
    assert_eq!(cron("0 0 * * MON").first(NEW_YEAR), Ok(NEW_YEAR + 4 * 24 * HOUR));
    assert_eq!(cron("0 8 * JAN-MAR MON").first(NEW_YEAR), Ok(NEW_YEAR + (4 * 24 + 8) * HOUR));
    assert_eq!(cron("0 0 L JAN *").first(NEW_YEAR), Ok(NEW_YEAR + 30 * 24 * HOUR));
    assert_eq!(cron("0 0 13 * FRI").first(NEW_YEAR), Ok(NEW_YEAR + 24 * HOUR), "either day will do");
    assert_eq!(cron("0 0 * * 5L").first(NEW_YEAR), Ok(NEW_YEAR + 29 * 24 * HOUR), "the last Friday");
    assert_eq!(cron("0 0 * * 5#2").first(NEW_YEAR), Ok(NEW_YEAR + 8 * 24 * HOUR), "the second Friday");
    assert_eq!(cron("0 12 29 2 *").first(NEW_YEAR), Ok(1_835_438_400_000), "2028 has that day");
    let hourly = cron("0 * * * *");
    assert_eq!(hourly.after(NEW_YEAR, None), Some(NEW_YEAR + HOUR));
    assert_eq!(hourly.after(NEW_YEAR, Some(NEW_YEAR + 5 * HOUR + 1)), Some(NEW_YEAR + 6 * HOUR));
    assert_eq!(hourly.after(NEW_YEAR, Some(NEW_YEAR - HOUR)), Some(NEW_YEAR + HOUR), "no time comes twice");
}

#[test]
fn what_is_no_schedule_of_five_fields_is_refused() {
    let long = "1,".repeat(200);
    let long = format!("{long}1 * * * *");
    let odd = ["", "* * * *", "* * * * * *", "61 * * * *", "x * * * *", "@daily", "0 0 30 2 *", &long, "* * * * *\0"];
    let names = ["MON * * * *", "0 JAN * * *", "0 0 MON * *", "0 0 1,tue * *"];
    let steps = [
        "*/60 * * * *",
        "5,0-30/61 * * * *",
        "0 */24 * * *",
        "0 0 */31 * *",
        "0 0 1 */12 *",
        "0 0 * * */8",
        "*/0 * * * *",
        "1, * * * *",
        "1,,2 * * * *",
    ];
    for bad in odd.into_iter().chain(names).chain(steps) {
        let refused = cron(bad).first(NEW_YEAR);
        assert!(matches!(refused, Err(ReminderRefusal::Cron(..))), "{bad}: {refused:?}");
    }
    let text = cron("0 0 30 2 *").first(NEW_YEAR).unwrap_err().to_string();
    assert!(cron("*/59 */23 */30 */11 */7").first(NEW_YEAR).is_ok());
    assert!(text.contains("`0 0 30 2 *` is no schedule of five fields") && text.contains("never comes"), "{text}");
}

#[test]
fn what_was_missed_is_made_up_as_the_reminder_says() {
    let every = Schedule::Every(MINUTE);
    let (due, now) = (NEW_YEAR, NEW_YEAR + 10 * MINUTE + 1);
    let next = |at, left_out| Next { at, left_out };
    assert_eq!(Missed::FireOnce.next(&every, due, now), next(Some(NEW_YEAR + 11 * MINUTE), 0));
    assert_eq!(Missed::FireAll.next(&every, due, now), next(Some(NEW_YEAR + MINUTE), 0));
    assert_eq!(Missed::Skip.next(&every, due, now), next(Some(NEW_YEAR + 11 * MINUTE), 0));
    assert_eq!(Missed::FireAll.next(&Schedule::Once(5), due, now), next(None, 0));
}

#[test]
fn of_times_that_passed_the_latest_are_made_up_and_the_rest_is_counted() {
    let all = |schedule: &Schedule, passed: u64| Missed::FireAll.next(schedule, NEW_YEAR, NEW_YEAR + passed);
    let over = |n: u64| (MADE_UP_MAX + n) * MINUTE;
    for schedule in [Schedule::Every(MINUTE), cron("* * * * *")] {
        let next = |minutes: u64, left_out| Next { at: Some(NEW_YEAR + minutes * MINUTE), left_out };
        assert_eq!(all(&schedule, over(0)), next(1, 0));
        assert_eq!(all(&schedule, over(1) - 1), next(1, 0));
        assert_eq!(all(&schedule, over(1)), next(2, 1));
        assert_eq!(all(&schedule, over(500) + 1), next(501, 500));
    }
    let rare = cron("0 8 * * *");
    let eight = NEW_YEAR + 8 * HOUR;
    assert_eq!(all(&rare, over(100_000)), Next { at: Some(eight), left_out: 0 }, "70 of them");
    let days = |n: u64| n * 24 * HOUR;
    let next = Missed::FireAll.next(&rare, eight, eight + days(MADE_UP_MAX + 7));
    assert_eq!(next, Next { at: Some(eight + days(8)), left_out: 7 });
    let Next { at, left_out } = all(&cron("* * * * *"), over(1_000_000));
    assert_eq!((at, left_out), (Some(NEW_YEAR + 1_000_001 * MINUTE), COUNTED_MAX), "the count has an end too");
    let Next { at, left_out } = all(&Schedule::Every(EVERY_MIN), 365 * 24 * HOUR);
    assert_eq!(left_out, 365 * 24 * HOUR / EVERY_MIN - MADE_UP_MAX);
    assert_eq!(at, Some(NEW_YEAR + (left_out + 1) * EVERY_MIN));
    let end = Missed::FireAll.next(&Schedule::Every(u64::MAX), 5, u64::MAX);
    assert_eq!(end, Next { at: None, left_out: 0 }, "beyond the last year");
}

#[test]
fn each_time_has_a_turn_or_is_counted_by_seed() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for _ in 0..30 {
        let schedule = match below(10) {
            0 => cron(["* * * * *", "*/7 * * * *", "5 */3 * * 1-5"][usize::try_from(below(3)).unwrap()]),
            _ => Schedule::Every(EVERY_MIN + below(10 * MINUTE)),
        };
        let (first, mut now) = (NEW_YEAR + below(HOUR), NEW_YEAR + below(3 * 24 * HOUR));
        let (mut due, mut turns, mut left_out) = (first, 0, 0);
        while due <= now {
            let next = Missed::FireAll.next(&schedule, due, now);
            turns += 1;
            left_out += next.left_out;
            due = next.at.unwrap();
            // While the turn runs.
            now += if turns < 50 { below(HOUR) } else { 0 };
            assert!(turns <= MADE_UP_MAX + 51, "{schedule:?}");
        }
        let mut expect = 0;
        let mut at = first;
        while at < due {
            (at, expect) = (schedule.after(at, None).unwrap(), expect + 1);
        }
        assert_eq!((at, turns + left_out), (due, expect), "{schedule:?}");
    }
}
