//! An actor without a parent, ruled by its own manifest.

use super::policy::Supervision;
use super::window::{Pause, Window};
use crate::time::Time;

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be loaded again from then on; messages wait.
    Restart(Time),
    /// It failed too often: until then messages are refused.
    CoolDown(Time),
}

impl Verdict {
    /// When it is over.
    #[must_use]
    pub const fn until(self) -> Time {
        let (Self::Restart(until) | Self::CoolDown(until)) = self;
        until
    }
}

/// The failures of one actor. Small: a silo keeps one for each actor that failed lately.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    window: Window,
    pause: Pause,
    verdict: Option<Verdict>,
}

impl Failures {
    /// It failed. A failure while it cools down changes nothing.
    pub fn failed(&mut self, policy: &Supervision, now: Time, random: u64) -> Verdict {
        if let Some(cooling @ Verdict::CoolDown(_)) = self.verdict(now) {
            return cooling;
        }
        let verdict = if self.window.add(policy.restarts, now) {
            Verdict::Restart(self.pause.next(&policy.backoff, now, random))
        } else {
            // It starts anew after that.
            self.window.clear();
            self.pause = Pause::default();
            Verdict::CoolDown(now.after(policy.restarts.within))
        };
        self.verdict = Some(verdict);
        verdict
    }

    /// What still holds it back; none when it may run.
    #[must_use]
    pub fn verdict(&self, now: Time) -> Option<Verdict> {
        self.verdict.filter(|verdict| verdict.until() > now)
    }

    /// How many failures count now.
    #[must_use]
    pub fn count(&self, policy: &Supervision, now: Time) -> u32 {
        self.window.count(policy.restarts, now)
    }

    /// It may run at once, as if it had never failed: an operator says so.
    pub fn forgive(&mut self) {
        *self = Self::default();
    }
}
