//! The section `[actor.supervision]`.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::ManifestError;
use super::reader::Section;
use super::units::show_duration;
use crate::supervision::{Strategy, Supervision, Thousandths};

/// The most restarts that can be allowed: a silo remembers the time of each.
const RESTARTS: RangeInclusive<usize> = 0..=1000;
const WITHIN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
const FACTOR: RangeInclusive<Thousandths> = Thousandths(1000)..=Thousandths(100_000);
const JITTER: RangeInclusive<Thousandths> = Thousandths(0)..=Thousandths(1000);

/// One key that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Strategy(Strategy),
    RestartsMax(u32),
    RestartsWithin(Duration),
    WaitMin(Duration),
    WaitMax(Duration),
    Factor(Thousandths),
    Jitter(Thousandths),
    ResetAfter(Duration),
}

impl Setting {
    /// Of the shortest and the longest wait the one that is set moves the other one, if that is still
    /// where a default or another table left it.
    pub(super) fn apply(self, to: &mut Supervision) {
        match self {
            Self::Strategy(strategy) => to.strategy = strategy,
            Self::RestartsMax(count) => to.restarts.max = count,
            Self::RestartsWithin(time) => to.restarts.within = time,
            Self::WaitMin(time) => (to.backoff.min, to.backoff.max) = (time, to.backoff.max.max(time)),
            Self::WaitMax(time) => (to.backoff.min, to.backoff.max) = (to.backoff.min.min(time), time),
            Self::Factor(factor) => to.backoff.factor = factor,
            Self::Jitter(part) => to.backoff.jitter = part,
            Self::ResetAfter(time) => to.backoff.reset_after = time,
        }
    }
}

/// One line for people, with what decides most: `one-for-one, 10 restarts in 1m, waits 100ms to 30s`.
impl fmt::Display for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.strategy.name())?;
        match self.restarts.max {
            0 => f.write_str("no restarts"),
            1 => write!(f, "1 restart in {}", show_duration(self.restarts.within)),
            more => write!(f, "{more} restarts in {}", show_duration(self.restarts.within)),
        }?;
        let (min, max) = (show_duration(self.backoff.min), show_duration(self.backoff.max));
        if min == max { write!(f, ", waits {min}") } else { write!(f, ", waits {min} to {max}") }
    }
}

pub(super) fn read(mut section: Section<'_, '_>, add: &mut impl FnMut(Setting)) -> Result<(), ManifestError> {
    if let Some(item) = section.take("strategy") {
        add(Setting::Strategy(item.strategy()?));
    }
    if let Some(item) = section.take("restarts") {
        let mut restarts = item.section()?;
        if let Some(item) = restarts.take("max") {
            add(Setting::RestartsMax(u32::try_from(item.count(RESTARTS)?).unwrap_or(u32::MAX)));
        }
        if let Some(item) = restarts.take("within") {
            add(Setting::RestartsWithin(item.duration(WITHIN)?));
        }
        restarts.finish()?;
    }
    if let Some(item) = section.take("backoff") {
        read_backoff(item.section()?, add)?;
    }
    section.finish()
}

fn read_backoff(mut backoff: Section<'_, '_>, add: &mut impl FnMut(Setting)) -> Result<(), ManifestError> {
    let mut longest = WAIT;
    if let Some(item) = backoff.take("min") {
        let min = item.duration(WAIT)?;
        longest = min..=*WAIT.end();
        add(Setting::WaitMin(min));
    }
    if let Some(item) = backoff.take("max") {
        add(Setting::WaitMax(item.duration(longest)?));
    }
    if let Some(item) = backoff.take("factor") {
        add(Setting::Factor(item.thousandths(FACTOR)?));
    }
    if let Some(item) = backoff.take("jitter") {
        add(Setting::Jitter(item.thousandths(JITTER)?));
    }
    if let Some(item) = backoff.take("reset-after") {
        add(Setting::ResetAfter(item.duration(WITHIN)?));
    }
    backoff.finish()
}
