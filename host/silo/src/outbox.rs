//! The relay of tells: from the outbox's rows to their receivers' mailboxes, at least once.
//!
//! A row stays in the store until the commit of the turn that handled it lands. Here are the rows
//! that are on their way: those of one sender to one receiver wait in order behind one another. When
//! too many wait, newer ones are let go of and read from the store again later, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::commit::CommitError;
use quark_core::envelope::{Tell, TellId};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use tokio::sync::Notify;

use crate::dead_letters::Reason;
use crate::silo::Inner;
use crate::store::PAGE_MAX;

/// The most tells that wait here; more stay in the store alone.
const HELD_MAX: usize = 65_536;
/// The most tells of one pair of actors in the receiver's mailbox at once.
const WINDOW: usize = 64;
/// How often a tell's turn may fail before it is a dead letter.
const ATTEMPTS_MAX: u32 = 5;
/// The shortest and longest wait before a tell is delivered again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// How long the relay waits when the store does not answer.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Sender and receiver.
type Pair = (Option<ActorId>, ActorId);

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<Pair, Line>,
    /// Pairs with something to deliver.
    ready: BTreeSet<Pair>,
    held: usize,
    /// Rows that are only in the store: everything must be read from there until the end is seen.
    behind: bool,
    /// A row was let go of since the reading began.
    missed: bool,
    /// Rows that were handled since the reading began: a page read before may still show them.
    ended: BTreeSet<TellId>,
}

/// Tells of one pair, in order.
#[derive(Default)]
struct Line {
    waiting: VecDeque<(TellId, Tell)>,
    sent: VecDeque<(TellId, Tell)>,
    /// Turns of the oldest tell that failed.
    failures: BTreeMap<TellId, u32>,
    retry_at: Option<Instant>,
}

impl Outbox {
    /// A silo starts behind: the rows of its life before wait in the store.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { behind: true, ..State::default() }), wake: Notify::new() }
    }

    /// These rows are durable now.
    pub(crate) fn sent(&self, tells: Vec<(TellId, Tell)>) {
        if tells.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.behind {
            state.missed = true;
        } else {
            for (id, tell) in tells {
                if state.behind || !state.hold(id, tell) {
                    state.behind = true;
                    state.missed = true;
                }
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// This row is gone: the commit that handled it landed.
    pub(crate) fn handled(&self, id: &TellId) {
        let mut state = self.state.lock();
        if state.behind {
            state.ended.insert(id.clone());
        }
        // A turn that was given up while its commit was under way has put its tell back in line.
        for ((sender, _), line) in &mut state.lines {
            if *sender == id.from
                && let Some(at) = line.waiting.iter().position(|(waiting, _)| waiting == id)
                && let Some(back) = line.waiting.remove(at)
            {
                line.sent.push_back(back);
            }
        }
        drop(state);
        self.over(id, |_, _| {});
    }

    /// The turn of this tell failed, or did not begin; its row stands. Only what the receiver
    /// itself failed at counts: a full mailbox or a store without room is not the tell's fault.
    pub(crate) fn failed(&self, id: &TellId, error: &CallError) {
        tracing::debug!(%id, %error, "a tell was not handled");
        let wait = error.retry_after_ms().map(Duration::from_millis);
        self.over(id, |line, (id, tell)| {
            let wait = wait.unwrap_or_else(|| {
                let failures = line.failures.entry(id.clone()).or_insert(0);
                *failures += 1;
                backoff(*failures)
            });
            line.retry_at = Some(Instant::now() + wait);
            line.put_back(id, tell);
        });
    }

    /// The commit that handled this tell failed. When it may have landed after all, or says that
    /// the tell was handled before, the store is asked which tells there are.
    pub(crate) fn commit_failed(&self, id: &TellId, error: CommitError) {
        match error {
            CommitError::Unknown | CommitError::Conflict => {
                self.over(id, |_, _| {});
                self.doubt();
            }
            CommitError::Unavailable { .. } | CommitError::Fenced => self.refused(id, STORE_RETRY),
        }
    }

    /// What is held here may differ from what the store has: it is read again.
    pub(crate) fn doubt(&self) {
        let mut state = self.state.lock();
        state.behind = true;
        state.missed = true;
        drop(state);
        self.wake.notify_one();
    }

    /// The receiver could not take it now.
    fn refused(&self, id: &TellId, wait: Duration) {
        self.over(id, |line, (id, tell)| {
            line.retry_at = Some(Instant::now() + wait);
            line.put_back(id, tell);
        });
    }

    fn over(&self, id: &TellId, then: impl FnOnce(&mut Line, (TellId, Tell))) {
        let mut state = self.state.lock();
        let state = &mut *state;
        // A sender has few receivers under way at a time.
        let from = id.from.clone();
        let lines = state.lines.iter_mut().filter(|((sender, _), _)| *sender == from);
        for (pair, line) in lines {
            let Some(at) = line.sent.iter().position(|(sent, _)| sent == id) else { continue };
            let Some(sent) = line.sent.remove(at) else { continue };
            let waiting = line.waiting.len();
            then(line, sent);
            if line.waiting.len() == waiting {
                line.failures.remove(id);
                state.held -= 1;
            }
            let pair = pair.clone();
            if line.waiting.is_empty() && line.sent.is_empty() {
                state.lines.remove(&pair);
            } else {
                state.ready.insert(pair);
            }
            break;
        }
        self.wake.notify_one();
    }

    /// Wakes the relay, so that it sees that the silo has stopped.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// Tells that wait or are with their receivers.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held
    }
}

impl Line {
    /// In its place among those that wait, by the order in which they were sent.
    fn put_back(&mut self, id: TellId, tell: Tell) {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting > id).unwrap_or(self.waiting.len());
        self.waiting.insert(at, (id, tell));
    }
}

impl State {
    /// Reading begins with the oldest row, so it waits until it can bring in many.
    const fn must_read(&self) -> bool {
        self.behind && self.held <= HELD_MAX / 2
    }

    fn hold(&mut self, id: TellId, tell: Tell) -> bool {
        if self.ended.contains(&id) {
            return true;
        }
        if self.held >= HELD_MAX {
            return false;
        }
        let pair = (id.from.clone(), tell.to.clone());
        let line = self.lines.entry(pair.clone()).or_default();
        let known = line.waiting.iter().chain(&line.sent).any(|(known, _)| *known == id);
        if !known {
            line.waiting.push_back((id, tell));
            self.held += 1;
            self.ready.insert(pair);
        }
        true
    }

    /// The next tell to deliver, moved to those that are sent; or when to look again.
    fn next(&mut self, now: Instant) -> Result<(TellId, Tell), Option<Instant>> {
        let mut wake: Option<Instant> = None;
        let mut done = Vec::new();
        let mut found = None;
        for pair in &self.ready {
            let Some(line) = self.lines.get_mut(pair) else {
                done.push(pair.clone());
                continue;
            };
            if let Some(at) = line.retry_at {
                if at > now {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    continue;
                }
                line.retry_at = None;
            }
            // After a failure one at a time, so that what follows does not overtake it again.
            let window = if line.failures.is_empty() { WINDOW } else { 1 };
            if line.sent.len() >= window {
                done.push(pair.clone());
                continue;
            }
            match line.waiting.pop_front() {
                Some(next) => {
                    line.sent.push_back(next.clone());
                    found = Some(next);
                    break;
                }
                None => done.push(pair.clone()),
            }
        }
        for pair in done {
            self.ready.remove(&pair);
        }
        found.ok_or(wake)
    }

    fn failures(&self, id: &TellId, to: &ActorId) -> u32 {
        let pair = (id.from.clone(), to.clone());
        self.lines.get(&pair).and_then(|line| line.failures.get(id)).copied().unwrap_or(0)
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF.0.saturating_mul(1 << failures.min(16)).min(BACKOFF.1)
}

/// Delivers until the silo stops.
pub(crate) async fn relay(silo: Arc<Inner>) {
    loop {
        if silo.is_stopped() {
            return;
        }
        if silo.is_stopping() {
            // The rows are safe; the next start goes on with them.
            tokio::time::sleep(STORE_RETRY).await;
            continue;
        }
        let behind = silo.outbox.state.lock().must_read();
        if behind && !catch_up(&silo).await {
            tokio::time::sleep(STORE_RETRY).await;
            continue;
        }
        let wake = deliver_ready(&silo).await;
        let notified = silo.outbox.wake.notified();
        match wake {
            Some(at) => drop(tokio::time::timeout_at(at.into(), notified).await),
            None => notified.await,
        }
    }
}

async fn deliver_ready(silo: &Arc<Inner>) -> Option<Instant> {
    loop {
        let next = {
            let mut state = silo.outbox.state.lock();
            state.next(Instant::now()).map(|(id, tell)| {
                let failures = state.failures(&id, &tell.to);
                (id, tell, failures)
            })
        };
        let (id, tell, failures) = match next {
            Ok(next) => next,
            Err(wake) => return wake,
        };
        if failures >= ATTEMPTS_MAX {
            discard(silo, id, &tell, Reason::Failed, "its turns failed too often").await;
            continue;
        }
        if silo.kinds.get(&tell.to.kind).is_none() {
            // Perhaps its deployment cannot be served since this start: the row waits for the next one.
            silo.outbox.refused(&id, BACKOFF.1);
            continue;
        }
        match silo.deliver_tell(&id, &tell) {
            Ok(()) => {}
            Err(CallError::Overloaded(ms) | CallError::Unavailable(ms)) => {
                silo.outbox.refused(&id, Duration::from_millis(ms));
            }
            Err(error) => discard(silo, id, &tell, Reason::Incompatible, &error.to_string()).await,
        }
    }
}

/// Takes a tell's row out of the store and tells people; if the store refuses, it is tried again.
async fn discard(silo: &Arc<Inner>, id: TellId, tell: &Tell, reason: Reason, detail: &str) {
    let (done, landed) = tokio::sync::oneshot::channel();
    silo.store.discard(id.clone(), Box::new(move |outcome| _ = done.send(outcome)));
    if let Ok(Ok(())) = landed.await {
        silo.dead_letters.add(reason, detail, &tell.to, &tell.method, id.from.as_ref());
        silo.outbox.handled(&id);
    } else {
        silo.outbox.refused(&id, STORE_RETRY);
    }
}

/// Reads rows from the store until the end, or until enough wait here. False when the store did
/// not answer.
async fn catch_up(silo: &Arc<Inner>) -> bool {
    {
        let mut state = silo.outbox.state.lock();
        state.missed = false;
        state.ended.clear();
    }
    let mut after: Option<TellId> = None;
    loop {
        let page = match silo.store.outbox(after.as_ref(), PAGE_MAX).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "the outbox cannot be read; tells wait");
                return false;
            }
        };
        let end = page.is_empty();
        after = page.last().map(|(id, _)| id.clone()).or(after);
        let mut state = silo.outbox.state.lock();
        for (id, tell) in page {
            if !state.hold(id, tell) {
                // Enough for now; what is left comes when these are delivered.
                return true;
            }
        }
        if end {
            // A row that was let go of meanwhile may lie before the place that was read last.
            state.behind = state.missed;
            state.ended.clear();
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quark_core::envelope::Chain;
    use quark_core::id::{Key, KindName};

    fn tell() -> Tell {
        let to = ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse("k").unwrap() };
        Tell { to, method: "m".into(), arguments: Vec::new(), chain: Chain::default() }
    }

    fn id(sequence: u64) -> TellId {
        TellId { from: None, sequence }
    }

    /// An outbox whose three tells are all with their receiver.
    fn delivered() -> Outbox {
        let outbox = Outbox::default();
        outbox.sent((1..=3).map(|sequence| (id(sequence), tell())).collect());
        for sequence in 1..=3 {
            assert_eq!(outbox.state.lock().next(Instant::now()), Ok((id(sequence), tell())));
        }
        outbox
    }

    fn next_after_the_wait(outbox: &Outbox) -> u64 {
        let next = outbox.state.lock().next(Instant::now() + BACKOFF.1);
        next.map(|(id, _)| id.sequence).unwrap()
    }

    #[test]
    fn tells_that_fail_together_come_back_in_order_and_one_at_a_time() {
        let outbox = delivered();
        for sequence in 1..=3 {
            outbox.failed(&id(sequence), &CallError::Failed("x".into()));
        }
        assert_eq!(next_after_the_wait(&outbox), 1);
        assert!(outbox.state.lock().next(Instant::now() + BACKOFF.1).is_err(), "the next one waits for it");
        outbox.handled(&id(1));
        assert_eq!(next_after_the_wait(&outbox), 2);
        assert_eq!(outbox.held(), 2);
    }

    #[test]
    fn a_store_without_room_is_no_failure_of_the_tell() {
        let outbox = delivered();
        for _ in 0..2 * ATTEMPTS_MAX {
            outbox.commit_failed(&id(1), CommitError::Unavailable { retry_ms: 1 });
            assert_eq!(outbox.state.lock().failures(&id(1), &tell().to), 0);
            assert_eq!(next_after_the_wait(&outbox), 1);
        }
    }

    #[test]
    fn a_tell_put_back_and_then_handled_after_all_is_over() {
        let outbox = delivered();
        outbox.failed(&id(2), &CallError::DeadlineExceeded);
        outbox.handled(&id(2));
        assert_eq!(outbox.held(), 2);
        assert!(outbox.state.lock().next(Instant::now() + BACKOFF.1).is_err());
    }

    #[test]
    fn doubt_asks_the_store_and_forgets_what_was_held() {
        let outbox = delivered();
        outbox.commit_failed(&id(1), CommitError::Unknown);
        assert_eq!(outbox.held(), 2);
        assert!(outbox.state.lock().must_read());
    }
}
