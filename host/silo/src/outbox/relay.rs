//! The task that moves tells: asks the store, fills mailboxes, buries what is dead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quark_core::envelope::TellId;
use quark_core::error::CallError;
use quark_core::id::{ActorId, KindName};

use super::STORE_RETRY;
use super::lines::Next;
use crate::dead_letters::{Letter, Reason};
use crate::silo::Inner;
use crate::store::{PAGE_MAX, StoreError};

/// How often a tell's turn may fail before it is a dead letter.
const ATTEMPTS_MAX: u32 = 5;
/// How long a tell waits for a kind that nothing serves: its deployment may just be on its way.
const NO_KIND_GRACE: Duration = Duration::from_secs(15);
const NO_KIND_RETRY: Duration = Duration::from_secs(5);
/// The most kinds that are known to be missing; tells to others wait.
const MISSING_MAX: usize = 1_024;
/// How many tells are delivered before the store is looked at again.
const ROUND_MAX: usize = 1024;
/// How long the relay waits before it looks again at a row that cannot be read.
const DAMAGED_RETRY: Duration = Duration::from_secs(10);

/// Delivers until the silo stops.
pub(crate) async fn relay(silo: Arc<Inner>) {
    let mut reader = Reader { limit: PAGE_MAX, retry_at: None };
    loop {
        if silo.is_stopped() {
            return;
        }
        if silo.is_stopping() {
            // The rows are safe; the next start goes on with them.
            tokio::time::sleep(STORE_RETRY).await;
            continue;
        }
        reader.read(&silo).await;
        let wake = match deliver_round(&silo) {
            Round::Cut => {
                tokio::task::yield_now().await;
                continue;
            }
            Round::Idle(wake) => wake,
        };
        if reader.wants(&silo) {
            continue;
        }
        let wake = [wake, reader.retry_at].into_iter().flatten().min();
        let notified = silo.outbox.wake.notified();
        match wake {
            Some(at) => drop(tokio::time::timeout_at(at.into(), notified).await),
            None => notified.await,
        }
    }
}

enum Round {
    /// There is more to deliver.
    Cut,
    /// There is nothing until something changes, or until then.
    Idle(Option<Instant>),
}

/// What was told before is in its mailbox before a call comes behind it.
pub(crate) fn deliver_first(silo: &Arc<Inner>) {
    if silo.outbox.lags() && !silo.is_stopping() {
        deliver_round(silo);
    }
}

fn deliver_round(silo: &Arc<Inner>) -> Round {
    let mut missing = silo.outbox.delivers.lock();
    let sent = silo.outbox.sent.load(Ordering::Acquire);
    for _ in 0..ROUND_MAX {
        let next = silo.outbox.state.lock().next(Instant::now());
        match next {
            Ok(next) => deliver(silo, &next, &mut missing),
            Err(wake) => {
                silo.outbox.delivered.store(sent, Ordering::Release);
                return Round::Idle(wake);
            }
        }
    }
    Round::Cut
}

fn deliver(silo: &Arc<Inner>, next: &Next, missing: &mut Missing) {
    let Next { id, tell, failures, dead } = next;
    if *dead || *failures >= ATTEMPTS_MAX {
        return discard(silo, id, (&tell.to, &tell.method), Reason::Failed, "its turns failed too often");
    }
    if silo.kinds.get(&tell.to.kind).is_none() {
        // Perhaps it is one of a deployment that cannot be served since this start: the row waits for the
        // next one.
        return match missing.since(&tell.to.kind, Instant::now()) {
            Some(since) if since >= NO_KIND_GRACE && silo.deploys.broken.lock().is_empty() => {
                discard(silo, id, (&tell.to, &tell.method), Reason::Undeliverable, "no deployment serves its kind");
            }
            Some(_) | None => silo.outbox.refused(id, NO_KIND_RETRY),
        };
    }
    missing.forget(&tell.to.kind);
    match silo.deliver_tell(id, tell) {
        Ok(()) => {}
        Err(CallError::Overloaded(ms) | CallError::Unavailable(ms)) => {
            silo.outbox.refused(id, Duration::from_millis(ms));
        }
        Err(error) => discard(silo, id, (&tell.to, &tell.method), Reason::Incompatible, &error.to_string()),
    }
}

/// Kinds that tells are for and nothing serves, since when.
#[derive(Default)]
pub(super) struct Missing(HashMap<KindName, Instant>);

impl Missing {
    /// How long the kind is known to be missing; nothing when too many are.
    fn since(&mut self, kind: &KindName, now: Instant) -> Option<Duration> {
        if self.0.len() >= MISSING_MAX && !self.0.contains_key(kind) {
            return None;
        }
        Some(now - *self.0.entry(kind.clone()).or_insert(now))
    }

    /// It is there.
    fn forget(&mut self, kind: &KindName) {
        // Mostly none is missing.
        if !self.0.is_empty() {
            self.0.remove(kind);
        }
    }
}

/// Tells people, once, and then takes the tell's row out of the store: the other way round a crash
/// of this task in between would lose it unseen. If the store refuses, it is tried again.
pub(crate) fn discard(silo: &Arc<Inner>, id: &TellId, (to, method): (&ActorId, &str), reason: Reason, detail: &str) {
    if silo.outbox.change(|state| state.condemn(id)) {
        let from = id.from.as_ref();
        silo.dead_letters.add(reason, detail, &Letter { to, method, from, tell: true });
    }
    let (then, row) = (silo.clone(), id.clone());
    let done = move |outcome: Result<(), _>| match outcome {
        Ok(()) => then.outbox.handled(&row),
        Err(_) => then.outbox.refused(&row, STORE_RETRY),
    };
    silo.store.discard(id.clone(), Box::new(done));
}

/// Why rows were not read, and the row before them.
type NotRead = (StoreError, Option<TellId>);

/// Asks the store, and not too often when it does not answer.
struct Reader {
    /// Rows in a page: fewer on the way to one that cannot be read.
    limit: usize,
    retry_at: Option<Instant>,
}

impl Reader {
    fn wants(&self, silo: &Arc<Inner>) -> bool {
        let state = silo.outbox.state.lock();
        self.retry_at.is_none() && (state.wants_page() || state.first_doubt().is_some())
    }

    /// Settles what is in doubt, then reads a page if there is one to read.
    async fn read(&mut self, silo: &Arc<Inner>) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        let asked = match settle_doubts(silo).await {
            Ok(()) => self.read_page(silo).await,
            Err(failed) => Err(failed),
        };
        let Err((error, after)) = asked else { return };
        let wait = match &error {
            StoreError::Unavailable { .. } => {
                tracing::warn!(%error, "the outbox cannot be read; tells in the store wait");
                STORE_RETRY
            }
            StoreError::Damaged(_) => {
                let after = after.map_or_else(|| "none, it is the first".into(), |id| id.to_string());
                tracing::error!(%error, after, "the tell after this one cannot be read; all behind it wait");
                DAMAGED_RETRY
            }
        };
        self.retry_at = Some(Instant::now() + wait);
    }

    async fn read_page(&mut self, silo: &Arc<Inner>) -> Result<(), NotRead> {
        loop {
            let after = {
                let mut state = silo.outbox.state.lock();
                if !state.wants_page() {
                    return Ok(());
                }
                state.begin_page()
            };
            match silo.store.outbox(after.as_ref(), self.limit).await {
                Ok(rows) => {
                    self.limit = (self.limit * 2).min(PAGE_MAX);
                    silo.outbox.state.lock().end_page(rows);
                    return Ok(());
                }
                Err(error) => {
                    silo.outbox.state.lock().drop_page();
                    let damaged = matches!(error, StoreError::Damaged(_));
                    // All rows before the one that cannot be read are good.
                    if damaged && self.limit > 1 {
                        self.limit /= 2;
                        continue;
                    }
                    let Some(id) = find_damaged(silo, after.as_ref()).await.filter(|_| damaged) else {
                        return Err((error, after));
                    };
                    tracing::error!(%id, %error, "this tell cannot be read; it stays in the store, others go on");
                    silo.outbox.state.lock().skip(id);
                }
            }
        }
    }
}

/// The row that is next and cannot be read, when its sender is that of the row before it: there the
/// numbers tell where it is. Of another sender nothing is known but that it comes later.
async fn find_damaged(silo: &Arc<Inner>, after: Option<&TellId>) -> Option<TellId> {
    let from = after.and_then(|id| id.from.clone());
    let id = |sequence| TellId { from: from.clone(), sequence };
    let (mut damaged, mut good) = (after.map_or(0, |id| id.sequence), u64::MAX);
    // What comes after `damaged` cannot be read, what comes after `good` can.
    let reads = async |sequence| match silo.store.outbox(Some(&id(sequence)), 1).await {
        Ok(_) => Some(true),
        Err(StoreError::Damaged(_)) => Some(false),
        Err(StoreError::Unavailable { .. }) => None,
    };
    if !reads(good).await? {
        return None;
    }
    while good - damaged > 1 {
        let middle = damaged + (good - damaged) / 2;
        *if reads(middle).await? { &mut good } else { &mut damaged } = middle;
    }
    Some(id(good))
}

/// Asks the store about tells whose commit may have landed.
async fn settle_doubts(silo: &Arc<Inner>) -> Result<(), NotRead> {
    loop {
        let Some(id) = silo.outbox.state.lock().first_doubt() else { return Ok(()) };
        let before = id.sequence.checked_sub(1).map(|sequence| TellId { from: id.from.clone(), sequence });
        let found = silo.store.outbox(before.as_ref(), 1).await.map_err(|error| (error, before))?;
        let mut state = silo.outbox.state.lock();
        if found.first().is_some_and(|(found, _)| *found == id) {
            state.is_there(&id);
        } else {
            state.over(&id);
        }
    }
}
