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
    for bad in ["", "* * * *", "* * * * * *", "61 * * * *", "x * * * *", "@daily", "0 0 30 2 *", &long, "* * * * *\0"] {
        let refused = cron(bad).first(NEW_YEAR);
        assert!(matches!(refused, Err(ReminderRefusal::Cron(..))), "{bad}: {refused:?}");
    }
    let text = cron("0 0 30 2 *").first(NEW_YEAR).unwrap_err().to_string();
    assert!(text.contains("`0 0 30 2 *` is no schedule of five fields") && text.contains("never comes"), "{text}");
}

#[test]
fn what_was_missed_is_made_up_as_the_reminder_says() {
    let every = Schedule::Every(MINUTE);
    let (due, now) = (NEW_YEAR, NEW_YEAR + 10 * MINUTE + 1);
    assert_eq!(Missed::FireOnce.next(&every, due, now), Some(NEW_YEAR + 11 * MINUTE));
    assert_eq!(Missed::FireAll.next(&every, due, now), Some(NEW_YEAR + MINUTE));
    assert_eq!(Missed::Skip.next(&every, due, now), Some(NEW_YEAR + 11 * MINUTE));
    assert_eq!(Missed::FireAll.next(&Schedule::Once(5), due, now), None);
}
