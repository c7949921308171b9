//! Which times a reminder has.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

use super::{CRON_BYTES_MAX, ReminderRefusal};

/// The letters of a name of a day or a month; marks as `L` have fewer.
const NAME_LETTERS: usize = 3;

/// The longest steps of the fields: a longer one leads beyond the field's last value.
const STEPS_MAX: [u32; 5] = [59, 23, 30, 11, 7];

/// The shortest time between two times of a reminder, in milliseconds.
pub const EVERY_MIN: u64 = 100;
/// The most times that passed for each of which [`Missed::FireAll`] has a turn: the latest of them.
pub const MADE_UP_MAX: u64 = 1_000;
/// The most times of a schedule of text that are counted when they are left out.
pub const COUNTED_MAX: u64 = 10_000;
/// The shortest time between two times of a schedule of text, in milliseconds.
const CRON_MIN_MS: u64 = 60_000;
/// The latest time that there is: the year 9999, beyond which no schedule of text reaches.
const LAST_MS: u64 = 253_402_300_799_000;

/// When a reminder is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Once, so many milliseconds after it was registered.
    #[serde(rename = "o")]
    Once(u64),
    /// Again and again after so many milliseconds, the first time too.
    #[serde(rename = "e")]
    Every(u64),
    /// Five fields (minute, hour, day of the month, month, day of the week), UTC.
    #[serde(rename = "c")]
    Cron(String),
}

/// What becomes of times that passed while no silo was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missed {
    /// One turn for all of them.
    #[serde(rename = "o")]
    FireOnce,
    /// A turn for each of the last [`MADE_UP_MAX`].
    #[serde(rename = "a")]
    FireAll,
    /// None: the next one that is to come.
    #[serde(rename = "s")]
    Skip,
}

/// Where a row goes from a time that is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The next time that has a turn; none after the last one.
    pub at: Option<u64>,
    /// The times before it that should have had a turn each and are too many; of a schedule of text no more than
    /// [`COUNTED_MAX`] are counted.
    pub left_out: u64,
}

impl Schedule {
    /// Its first time when it is registered now.
    ///
    /// # Errors
    /// When there is none, or they would come too fast.
    pub fn first(&self, now: u64) -> Result<u64, ReminderRefusal> {
        match self {
            Self::Once(after) => Ok(now.saturating_add(*after).min(LAST_MS)),
            Self::Every(each) if *each < EVERY_MIN => Err(ReminderRefusal::Every(*each)),
            Self::Every(each) => Ok(now.saturating_add(*each).min(LAST_MS)),
            Self::Cron(text) => {
                let refused = |why: &str| ReminderRefusal::Cron(text.chars().take(80).collect(), why.into());
                check(text).map_err(|why| refused(&why))?;
                let cron = parse(text).map_err(|why| refused(&why))?;
                next_of(&cron, now).ok_or_else(|| refused("it never comes"))
            }
        }
    }

    /// The time after `due`; with `passed`, the first of those that has not passed then.
    #[must_use]
    pub fn after(&self, due: u64, passed: Option<u64>) -> Option<u64> {
        let next = match self {
            Self::Once(_) => None,
            Self::Every(each) => {
                let each = (*each).max(EVERY_MIN);
                let passed = passed.map_or(0, |now| now.saturating_sub(due) / each);
                due.checked_add(each.checked_mul(passed.checked_add(1)?)?)
            }
            Self::Cron(text) => next_of(&parse(text).ok()?, passed.map_or(due, |now| now.max(due))),
        };
        next.filter(|next| *next <= LAST_MS)
    }

    /// The time after `due`, but for those that passed by `now` and are more than [`MADE_UP_MAX`].
    fn made_up(&self, due: u64, now: u64) -> Next {
        let from = |at: u64| Next { at: (at <= LAST_MS).then_some(at), left_out: 0 };
        match self {
            Self::Once(_) => Next { at: None, left_out: 0 },
            Self::Every(each) => {
                let each = (*each).max(EVERY_MIN);
                let left_out = (now.saturating_sub(due) / each).saturating_sub(MADE_UP_MAX);
                // No more than has passed, so it does not overflow.
                Next { left_out, ..from((due + left_out * each).saturating_add(each)) }
            }
            Self::Cron(text) => {
                let Some((cron, next)) = parse(text).ok().and_then(|cron| next_of(&cron, due).map(|next| (cron, next)))
                else {
                    return Next { at: None, left_out: 0 };
                };
                match oldest_made_up(&cron, due, now).filter(|oldest| *oldest > next) {
                    None => from(next),
                    Some(oldest) => Next { left_out: count(&cron, due, oldest), ..from(oldest) },
                }
            }
        }
    }

    /// Whether its times lie so far apart, and not at times of the day.
    #[must_use]
    pub const fn is_interval(&self) -> bool {
        matches!(self, Self::Once(_) | Self::Every(_))
    }
}

impl Missed {
    /// Where a row goes from the time `due` that is handled now.
    #[must_use]
    pub fn next(self, schedule: &Schedule, due: u64, now: u64) -> Next {
        match self {
            Self::FireAll => schedule.made_up(due, now),
            Self::FireOnce | Self::Skip => Next { at: schedule.after(due, Some(now)), left_out: 0 },
        }
    }
}

/// What the parser takes, and means another thing than whoever wrote it would think.
fn check(text: &str) -> Result<(), String> {
    if text.len() > CRON_BYTES_MAX {
        return Err(format!("it has {} bytes, and {CRON_BYTES_MAX} are the most", text.len()));
    }
    // The parser knows names for some schedules; five fields are what the contract has.
    if text.split_whitespace().count() != 5 {
        return Err("it has another number of fields".into());
    }
    // The parser takes the names of days and months in every field, for the numbers that they stand for.
    let named = |field: &&str| field.split(|c: char| !c.is_alphabetic()).any(|word| word.len() >= NAME_LETTERS);
    if let Some(field) = text.split_whitespace().take(3).find(named) {
        return Err(format!("`{field}` names a day or a month where it must be a number"));
    }
    if let Some(field) = text.split_whitespace().find(|field| field.split(',').any(str::is_empty)) {
        return Err(format!("a part of `{field}` is empty"));
    }
    for (field, most) in text.split_whitespace().zip(STEPS_MAX) {
        let mut steps = field.split(',').filter_map(|part| part.split_once('/'));
        if let Some((part, step)) = steps.find(|(_, step)| step.parse::<u32>().is_ok_and(|step| step > most)) {
            return Err(format!("the step of `{part}/{step}` is over {most}, so it would never be taken"));
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| error.to_string())
}

/// Strictly after that time.
fn next_of(cron: &Cron, after: u64) -> Option<u64> {
    let after: DateTime<Utc> = DateTime::from_timestamp_millis(i64::try_from(after).ok()?)?;
    let next = cron.find_next_occurrence(&after, false).ok()?;
    u64::try_from(next.timestamp_millis()).ok()
}

/// The first of the last [`MADE_UP_MAX`] times by `now`, if `due` lies before it.
fn oldest_made_up(cron: &Cron, due: u64, now: u64) -> Option<u64> {
    if now.saturating_sub(due) / CRON_MIN_MS < MADE_UP_MAX {
        return None;
    }
    let mut oldest = now.saturating_add(1);
    for _ in 0..MADE_UP_MAX {
        oldest = last_of(cron, oldest).filter(|at| *at > due)?;
    }
    Some(oldest)
}

/// Times after the one and before the other, up to [`COUNTED_MAX`].
fn count(cron: &Cron, after: u64, before: u64) -> u64 {
    let (mut at, mut count) = (after, 0);
    while count < COUNTED_MAX
        && let Some(next) = next_of(cron, at).filter(|next| *next < before)
    {
        (at, count) = (next, count + 1);
    }
    count
}

/// The last one strictly before that time.
fn last_of(cron: &Cron, before: u64) -> Option<u64> {
    // Times are whole seconds, and what is over one is not looked at.
    let before: DateTime<Utc> = DateTime::from_timestamp(i64::try_from(before.div_ceil(1_000)).ok()?, 0)?;
    let last = cron.find_previous_occurrence(&before, false).ok()?;
    u64::try_from(last.timestamp_millis()).ok()
}
