//! Counts within a window of time, and waits that grow.

use std::collections::VecDeque;
use std::time::Duration;

use super::policy::{Backoff, RestartLimit};
use crate::time::Time;

/// The restarts of the last while. It holds no more than one over the limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Window(VecDeque<Time>);

impl Window {
    pub(super) const EMPTY: Self = Self(VecDeque::new());

    /// How many there were within the window that ends now.
    pub(super) fn count(&self, limit: RestartLimit, now: Time) -> u32 {
        let within = self.0.iter().filter(|at| now.since(**at) <= limit.within).count();
        u32::try_from(within).unwrap_or(u32::MAX)
    }

    /// Counts one more; false when it is one too many.
    pub(super) fn add(&mut self, limit: RestartLimit, now: Time) -> bool {
        while self.0.front().is_some_and(|at| now.since(*at) > limit.within) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() as u64 <= u64::from(limit.max)
    }

    pub(super) fn clear(&mut self) {
        // Most never fail again: their memory is worth more than the next allocation.
        *self = Self::EMPTY;
    }
}

/// How far the waits before restarts have grown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    /// The wait before the last restart, without its jitter; none before the first.
    last: Option<Duration>,
    /// When that restart was due.
    up_at: Time,
}

impl Pause {
    /// When the restart after a failure now is due.
    pub(super) fn next(&mut self, backoff: &Backoff, now: Time, random: u64) -> Time {
        if now.since(self.up_at) >= backoff.reset_after {
            self.last = None;
        }
        let wait = match self.last {
            None => Duration::ZERO,
            Some(Duration::ZERO) => backoff.min.min(backoff.max),
            Some(wait) => backoff.factor.of(wait).min(backoff.max),
        };
        self.last = Some(wait);
        self.up_at = now.after(wait.saturating_sub(part(backoff.jitter.of(wait), random)));
        self.up_at
    }
}

/// A random part of a time.
fn part(time: Duration, random: u64) -> Duration {
    let nanos = (time.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
