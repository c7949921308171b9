//! Who is told of whose end. Volatile: a watch goes with the activation that asked for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_engine::{Answer, CallFailure, Calling, Hook};
use tokio::sync::oneshot;

use crate::dead_letters::{Letter, Reason};
use crate::dispatch::Outgoing;
use crate::message::{Message, MethodRef, Notice, Work};
use crate::silo::Inner;
use crate::store::StoreError;

/// The most watches of one silo.
const WATCHES_MAX: usize = 100_000;
/// The most actors that one activation watches.
const WATCHED_MAX: usize = 1024;
/// What is said to wait when there are too many.
const RETRY_MS: u64 = 1_000;
/// What calls of it are named.
const METHOD: &str = "on-terminated";
/// How long the news of an end may wait for its turn.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// All watches of this silo.
#[derive(Default)]
pub(crate) struct Watches {
    table: Mutex<Table>,
    /// So that most activations end without a look at the table.
    count: AtomicUsize,
}

#[derive(Default)]
struct Table {
    /// With the generation of the activation that watches.
    by_target: HashMap<ActorId, HashMap<ActorId, u64>>,
    by_watcher: HashMap<ActorId, HashSet<ActorId>>,
}

impl Watches {
    fn add(&self, watcher: &ActorId, generation: u64, target: &ActorId) -> Result<(), CallError> {
        let mut table = self.table.lock();
        let watched = table.by_watcher.get(watcher);
        if watched.is_none_or(|watched| !watched.contains(target)) {
            if watched.map_or(0, HashSet::len) >= WATCHED_MAX {
                return Err(CallError::Denied(format!("an actor watches at most {WATCHED_MAX} others")));
            }
            if self.count.load(Ordering::Relaxed) >= WATCHES_MAX {
                return Err(CallError::Overloaded(RETRY_MS));
            }
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        table.by_target.entry(target.clone()).or_default().insert(watcher.clone(), generation);
        table.by_watcher.entry(watcher.clone()).or_default().insert(target.clone());
        Ok(())
    }

    pub(crate) fn remove(&self, watcher: &ActorId, target: &ActorId) {
        let mut table = self.table.lock();
        let Some(watchers) = table.by_target.get_mut(target) else { return };
        if watchers.remove(watcher).is_none() {
            return;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        if watchers.is_empty() {
            table.by_target.remove(target);
        }
        if let Some(watched) = table.by_watcher.get_mut(watcher) {
            watched.remove(target);
            if watched.is_empty() {
                table.by_watcher.remove(watcher);
            }
        }
    }

    /// That activation is over.
    pub(crate) fn forget(&self, watcher: &ActorId) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let watched = self.table.lock().by_watcher.get(watcher).cloned();
        watched.iter().flatten().for_each(|target| self.remove(watcher, target));
    }

    fn take(&self, target: &ActorId) -> Vec<(ActorId, u64)> {
        let watchers = self.table.lock().by_target.get(target).cloned().unwrap_or_default();
        watchers.keys().for_each(|watcher| self.remove(watcher, target));
        watchers.into_iter().collect()
    }
}

impl Inner {
    /// `children.watch`. An actor that is stopped already is answered with, and nobody is told later.
    pub(crate) fn watch(self: &Arc<Self>, target: ActorId, call: &Outgoing) -> Calling {
        let frame = call.path.frames().next().map(|frame| (frame.actor.clone(), frame.generation));
        let silo = self.clone();
        Calling::Waits(Box::pin(async move {
            let watched = silo.watched(frame, target).await;
            watched.map(|()| Answer::default()).map_err(CallFailure::Call)
        }))
    }

    async fn watched(&self, watcher: Option<(ActorId, u64)>, target: ActorId) -> Result<(), CallError> {
        let Some((watcher, generation)) = watcher else { return Ok(()) };
        if self.kinds.get(&target.kind).is_none() {
            return Err(CallError::Incompatible(format!("no kind `{}` is deployed", target.kind)));
        }
        // First, so that no end between the two is missed.
        self.watches.add(&watcher, generation, &target)?;
        let row = self.standing_of(&target).await.map_err(|error| match error {
            StoreError::Unavailable { retry_ms, .. } => CallError::Unavailable(retry_ms),
            StoreError::Damaged(_) => CallError::Failed(error.to_string()),
        });
        match row {
            Ok(row) if !row.stopped => Ok(()),
            Ok(_) => {
                self.watches.remove(&watcher, &target);
                Err(CallError::Stopped)
            }
            Err(error) => {
                self.watches.remove(&watcher, &target);
                Err(error)
            }
        }
    }

    /// Tells those that watch it, if they are still who asked.
    pub(super) fn tell_watchers(self: &Arc<Self>, target: &ActorId, reason: &str) {
        if self.watches.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        for (watcher, generation) in self.watches.take(target) {
            let Some(activation) = self.catalog.get(&watcher) else { continue };
            let loaded = activation.machine.lock().turns.loaded_as().map(|(generation, _)| generation);
            let Some(served) = self.kinds.get(&watcher.kind).filter(|_| loaded == Some(generation)) else { continue };
            let Some(at) = served.kind().hook(Hook::Terminated) else { continue };
            let payload = quark_engine::terminated_arguments(&watcher, target, reason);
            let (reply, answer) = oneshot::channel();
            let notice = Work::Notice(Box::new(Notice { method: MethodRef { served, at }, payload, reply }));
            let deadline = self.clock.now().after(TOLD_WITHIN);
            let told = self.deliver_later(&watcher, Message::notice(notice, deadline));
            let (silo, target) = (self.clone(), target.clone());
            // As long as somebody waits for it, it is not given up.
            self.spawn(async move {
                let outcome = match told {
                    Ok(()) => answer.await,
                    Err(error) => Ok(Err(error)),
                };
                // Without an outcome the silo ends, and all watches with it.
                if let Ok(Err(error)) = outcome {
                    silo.news_are_dead(&watcher, &target, &error);
                }
            });
        }
    }

    /// Whoever watched could not be told: its watch is gone, and nobody tries again.
    fn news_are_dead(&self, watcher: &ActorId, target: &ActorId, error: &CallError) {
        let reason = match error {
            CallError::Overloaded(_) => Reason::Overflow,
            CallError::DeadlineExceeded => Reason::Expired,
            CallError::Stopped => Reason::Stopped,
            CallError::Incompatible(_) => Reason::Incompatible,
            CallError::UnknownOutcome(_)
            | CallError::Cancelled
            | CallError::Failed(_)
            | CallError::CoolsDown { .. }
            | CallError::Downstream(_)
            | CallError::Unreachable(_)
            | CallError::Unavailable(_)
            | CallError::TooLarge(_)
            | CallError::Deadlock(_)
            | CallError::Denied(_)
            | CallError::KeyReused(_)
            | CallError::Other(_) => Reason::Failed,
        };
        let letter = Letter { to: watcher, method: METHOD, from: Some(target), tell: true };
        self.dead_letters.add(reason, &error.to_string(), &letter);
    }
}

#[cfg(test)]
mod tests {
    use quark_core::id::{Key, KindName};

    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() }
    }

    fn kept(watches: &Watches) -> (usize, usize, usize) {
        let table = watches.table.lock();
        (watches.count.load(Ordering::Relaxed), table.by_target.len(), table.by_watcher.len())
    }

    #[test]
    fn an_actor_watches_so_many_and_a_silo_so_many() {
        let watches = Watches::default();
        let add = |watcher: usize, target: usize| {
            watches.add(&actor(&format!("w{watcher}")), 1, &actor(&format!("t{target}")))
        };
        (0..WATCHED_MAX).for_each(|target| add(0, target).unwrap());
        assert!(matches!(add(0, WATCHED_MAX), Err(CallError::Denied(_))));
        assert_eq!(add(0, 0), Ok(()), "it is watched already");
        let more = (WATCHED_MAX..WATCHES_MAX).map(|n| (1 + n / WATCHED_MAX, n % WATCHED_MAX));
        more.for_each(|(watcher, target)| add(watcher, target).unwrap());
        assert_eq!(add(WATCHES_MAX, 0), Err(CallError::Overloaded(RETRY_MS)));
        assert_eq!(kept(&watches).0, WATCHES_MAX);
        watches.forget(&actor("w0"));
        assert_eq!(kept(&watches).0, WATCHES_MAX - WATCHED_MAX);
        assert_eq!(add(WATCHES_MAX, 0), Ok(()));
    }

    #[test]
    fn nothing_is_left_of_a_watch_that_is_over() {
        let watches = Watches::default();
        for (watcher, generation, target) in [("a", 1, "x"), ("a", 1, "y"), ("b", 2, "x"), ("b", 3, "x")] {
            watches.add(&actor(watcher), generation, &actor(target)).unwrap();
        }
        assert_eq!(kept(&watches), (3, 2, 2));
        let mut told = watches.take(&actor("x"));
        told.sort();
        assert_eq!(told, [(actor("a"), 1), (actor("b"), 3)], "by the activation that asked last");
        assert_eq!((watches.take(&actor("x")), kept(&watches)), (Vec::new(), (1, 1, 1)), "they are told once");
        watches.remove(&actor("a"), &actor("x"));
        watches.forget(&actor("b"));
        assert_eq!(kept(&watches), (1, 1, 1), "nothing is counted twice");
        watches.forget(&actor("a"));
        assert_eq!(kept(&watches), (0, 0, 0));
    }
}
