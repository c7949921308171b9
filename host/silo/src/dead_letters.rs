//! Messages that will never be handled: counted by reason, the newest kept to be looked at.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::id::ActorId;

use crate::api::{DeadLetter, LettersWanted};
use crate::clock::unix_ms;

/// How many are kept; older ones remain in the counts only.
pub(crate) const KEPT_MAX: usize = 1_000;
/// At most one warning for each reason in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// The most calls that are kept in a second for each reason: a flood of them must not push out all
/// others. Tells are kept whatever their rate, since nobody else was told of them.
const CALLS_KEPT_PER_SECOND: u64 = 20;

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Its deadline passed before its turn began.
    Expired,
    /// Whoever waited for it was gone before its turn began.
    Cancelled,
    /// The mailbox was full.
    Overflow,
    /// A tell whose turns failed too often.
    Failed,
    /// A tell that no method takes any more.
    Incompatible,
    /// A tell to a kind that nothing serves.
    Undeliverable,
    /// The actor is stopped.
    Stopped,
    /// The silo ended before its turn.
    Shutdown,
}

impl Reason {
    pub(crate) const ALL: [Self; 8] = [
        Self::Expired,
        Self::Cancelled,
        Self::Overflow,
        Self::Failed,
        Self::Incompatible,
        Self::Undeliverable,
        Self::Stopped,
        Self::Shutdown,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Overflow => "overflow",
            Self::Failed => "failed",
            Self::Incompatible => "incompatible",
            Self::Undeliverable => "undeliverable",
            Self::Stopped => "stopped",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A message as it is told of.
pub(crate) struct Letter<'a> {
    pub(crate) to: &'a ActorId,
    pub(crate) method: &'a str,
    pub(crate) from: Option<&'a ActorId>,
    /// Its sender got no answer: it is always kept.
    pub(crate) tell: bool,
}

pub(crate) struct DeadLetters(Mutex<Kept>);

struct Kept {
    newest: VecDeque<Entry>,
    counts: BTreeMap<Reason, Count>,
    last: u64,
}

struct Entry {
    id: u64,
    to: ActorId,
    method: Box<str>,
    from: Option<ActorId>,
    reason: Reason,
    detail: Box<str>,
    at_ms: u64,
}

#[derive(Default)]
struct Count {
    all: u64,
    warned: Option<Instant>,
    /// The second that was counted last, and calls kept in it.
    second: (u64, u64),
}

impl Default for DeadLetters {
    /// Numbers go on after those of the silo's lives before, for whoever follows them.
    fn default() -> Self {
        Self(Mutex::new(Kept { newest: VecDeque::new(), counts: BTreeMap::new(), last: unix_ms() * 1_000 }))
    }
}

impl DeadLetters {
    pub(crate) fn add(&self, reason: Reason, detail: &str, letter: &Letter<'_>) {
        let Letter { to, method, from, tell } = *letter;
        let mut kept = self.0.lock();
        let at_ms = unix_ms();
        let count = kept.counts.entry(reason).or_default();
        count.all += 1;
        if count.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            count.warned = Some(Instant::now());
            tracing::warn!(%to, method, reason = reason.name(), detail, all = count.all, "a message is a dead letter");
        }
        if !tell && !count.keeps(at_ms / 1_000) {
            return;
        }
        kept.last += 1;
        if kept.newest.len() >= KEPT_MAX {
            kept.newest.pop_front();
        }
        let (id, to, from) = (kept.last, to.clone(), from.cloned());
        kept.newest.push_back(Entry { id, to, method: method.into(), from, reason, detail: detail.into(), at_ms });
    }

    /// The newest first.
    pub(crate) fn newest(&self, wanted: &LettersWanted) -> Vec<DeadLetter> {
        let kept = self.0.lock();
        let newest = kept.newest.iter().rev().take_while(|entry| wanted.after.is_none_or(|after| entry.id > after));
        newest.filter(|entry| entry.is(wanted)).take(wanted.limit).map(Entry::show).collect()
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.0.lock().counts.get(&reason).map_or(0, |count| count.all)
    }
}

impl Count {
    /// Whether one more call is kept in this second.
    fn keeps(&mut self, second: u64) -> bool {
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        self.second.1 <= CALLS_KEPT_PER_SECOND
    }
}

impl Entry {
    fn is(&self, wanted: &LettersWanted) -> bool {
        let is = |id: &ActorId, actor: &str| full(id) == *actor || id.to_string() == *actor;
        wanted.reason.as_deref().is_none_or(|reason| reason == self.reason.name())
            && wanted
                .actor
                .as_deref()
                .is_none_or(|actor| is(&self.to, actor) || self.from.as_ref().is_some_and(|from| is(from, actor)))
    }

    fn show(&self) -> DeadLetter {
        DeadLetter {
            id: self.id,
            to: full(&self.to),
            method: self.method.to_string(),
            from: self.from.as_ref().map(full),
            reason: self.reason.name().into(),
            detail: self.detail.to_string(),
            at_ms: self.at_ms,
        }
    }
}

fn full(id: &ActorId) -> String {
    format!("{}/{}", id.kind, id.key)
}

#[cfg(test)]
mod tests {
    use quark_core::id::{Key, KindName};

    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(key).unwrap() }
    }

    fn wanted(reason: Option<&str>, actor: Option<&str>, after: Option<u64>) -> LettersWanted {
        LettersWanted { limit: 2_000, reason: reason.map(Into::into), actor: actor.map(Into::into), after }
    }

    #[test]
    fn a_flood_of_calls_is_counted_and_pushes_nothing_out() {
        let letters = DeadLetters::default();
        let (a, b) = (actor("a"), actor("b"));
        letters.add(Reason::Failed, "", &Letter { to: &b, method: "told", from: None, tell: true });
        for _ in 0..10 * KEPT_MAX {
            letters.add(Reason::Overflow, "", &Letter { to: &a, method: "hit", from: Some(&b), tell: false });
        }
        assert_eq!(letters.count(Reason::Overflow), 10_000);
        let kept = letters.newest(&wanted(Some("overflow"), None, None)).len();
        // The flood may take more than a second.
        assert!((20..KEPT_MAX).contains(&kept), "{kept}");
        assert_eq!(letters.newest(&wanted(None, Some("cart/b"), None)).len(), kept + 1, "to it, or from it");
        let told = letters.newest(&wanted(Some("failed"), Some("t:t/t#cart/b"), None));
        assert_eq!((told.len(), &*told[0].method), (1, "told"));
        assert_eq!(letters.newest(&wanted(None, None, Some(told[0].id))).len(), kept);
        assert!(letters.newest(&wanted(None, Some("cart/c"), None)).is_empty());
    }

    #[test]
    fn tells_are_kept_up_to_the_bound() {
        let letters = DeadLetters::default();
        for _ in 0..2 * KEPT_MAX {
            letters.add(Reason::Failed, "", &Letter { to: &actor("a"), method: "told", from: None, tell: true });
        }
        let all = letters.newest(&wanted(None, None, None));
        assert_eq!(all.len(), KEPT_MAX);
        assert!(all[0].id == all[999].id + 999, "newest first");
    }
}
