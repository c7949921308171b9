//! The silo's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use quark_core::time::Time;

/// The monotonic clock that all deadlines on this silo are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Time {
        self.at(Instant::now())
    }

    pub(crate) fn at(self, instant: Instant) -> Time {
        Time(u64::try_from(instant.duration_since(self.0).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same point for timers; far away for [`Time::NEVER`].
    pub(crate) fn instant(self, time: Time) -> tokio::time::Instant {
        const FAR: u64 = 365 * 24 * 3600 * 1_000_000_000;
        tokio::time::Instant::from_std(self.0 + std::time::Duration::from_nanos(time.0.min(self.now().0 + FAR)))
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
