//! What a manifest says about failures.

use std::time::Duration;

/// What one failure of a child means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Nothing.
    OneForOne,
    /// All of them are restarted with it.
    AllForOne,
    /// Those that were started after it are restarted with it.
    RestForOne,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OneForOne, Self::AllForOne, Self::RestForOne];

    /// As manifests and people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneForOne => "one-for-one",
            Self::AllForOne => "all-for-one",
            Self::RestForOne => "rest-for-one",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }
}

/// What a parent does about one failure; the cases of `directive` in `wit/supervision.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// The child alone goes on, which after a trap means with a new instance; it is not counted.
    Resume,
    /// The strategy's restart.
    Restart,
    /// The child alone ends for good.
    Stop,
    /// The parent fails too.
    Escalate,
}

/// What an end without a failure means; the cases of `lifetime` in `wit/supervision.wit`.
///
/// An end without a failure is that an actor itself asked to leave memory. What the silo does with its
/// memory (idle times, pressure, upgrades, its own stop) ends nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lifetime {
    /// It is started again, as after a failure.
    Permanent = 0,
    /// It stays ended until it is needed; it is restarted after failures only.
    Transient = 1,
    /// It is never restarted: its first end is the last one.
    Temporary = 2,
}

impl Lifetime {
    /// As people and the contract see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        }
    }
}

/// How many restarts are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// So many are allowed within the window.
    pub max: u32,
    /// The window's length.
    pub within: Duration,
}

/// A small factor in thousandths, so that it is exact: 2500 is 2.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thousandths(pub u32);

impl Thousandths {
    /// That part of a time; as long as a time can be when it is out of range.
    #[must_use]
    pub fn of(self, time: Duration) -> Duration {
        let nanos = time.as_nanos().saturating_mul(u128::from(self.0)) / 1000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How long a restart waits. The first one after a good time does not wait at all; then each waits
/// longer than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Each wait is so many times the one before; at least 1.
    pub factor: Thousandths,
    /// A wait is shorter by a random part of it, up to this; at most 1.
    pub jitter: Thousandths,
    /// After this long without a failure the next one counts as the first.
    pub reset_after: Duration,
}

/// What a kind's manifest says about failures, in `[actor.supervision]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// Of its children.
    pub strategy: Strategy,
    /// Of the children of one actor together; of an actor without a parent.
    pub restarts: RestartLimit,
    /// Of each child; of an actor without a parent.
    pub backoff: Backoff,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            strategy: Strategy::OneForOne,
            restarts: RestartLimit { max: 10, within: Duration::from_mins(1) },
            backoff: Backoff {
                min: Duration::from_millis(100),
                max: Duration::from_secs(30),
                factor: Thousandths(2000),
                jitter: Thousandths(200),
                reset_after: Duration::from_mins(1),
            },
        }
    }
}
