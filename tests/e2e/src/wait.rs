//! Waiting for a condition.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take: far beyond what it takes, for machines that are busy.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How often a test under load kills its silo, unless `QUARK_KILLS` says otherwise (`make soak`).
const KILLS: u64 = 20;

/// How often a test under load kills its silo.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn kills() -> u64 {
    std::env::var("QUARK_KILLS").map_or(KILLS, |kills| kills.parse().expect("QUARK_KILLS is a number"))
}

/// Waits until `look` finds something.
///
/// # Panics
/// When it has found nothing by the deadline.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain until {what}");
        sleep(LOOK);
    }
}
