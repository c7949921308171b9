//! Points in time, as given to the machines by whoever drives them.

use std::time::Duration;

use chrono::DateTime;

/// A point on the driver's monotonic clock: nanoseconds since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// This much later; [`Time::NEVER`] when out of range.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A moment as people write it (RFC 3339: `2026-11-26T08:00:00Z`), in milliseconds since 1970; none when it is no
/// such text, or before that year.
#[must_use]
pub fn moment_ms(text: &str) -> Option<u64> {
    u64::try_from(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        assert_eq!(moment_ms("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(moment_ms("1970-01-01T01:00:00.250+01:00"), Some(250));
        for bad in ["", "5", "1970-01-01", "1970-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "tomorrow"] {
            assert_eq!(moment_ms(bad), None, "{bad}");
        }
    }
}
