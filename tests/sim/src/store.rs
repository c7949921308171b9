//! A store as `host/silo/src/store` promises it: fence and e-tag checked in one step, group commit,
//! outcomes in order, and failures: late, refused, broken off, lost with the silo before it was
//! acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::{Tell, TellId};
use quark_core::state::Value;
use quark_core::time::Time;

use crate::Mutation;
use crate::context::{Context, Due};
use crate::trace::{Applied, Event, Sent};
use crate::workload::{BALANCE, amount, index, number};

/// Rows that one question about the outbox answers.
const PAGE: usize = 5;

/// What a claim gives.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) generation: u64,
    pub(crate) etag: u64,
    pub(crate) values: Values,
}

pub(crate) type Values = BTreeMap<Arc<str>, Value>;

/// A number among the values of an actor.
pub(crate) fn value(values: &Values, name: &str, default: u64) -> u64 {
    values.get(name).map_or(default, |value| number(value))
}

/// A write on its way.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Commit(Commit),
    /// A tell from outside, with the request that brought it.
    Accept(u64, Tell),
    Discard(TellId),
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Commit { actor: usize, etag: u64, result: Result<(), CommitError> },
    Accept { request: u64, tell: Tell, result: Result<TellId, CommitError> },
    Discard { id: TellId, result: Result<(), CommitError> },
}

#[derive(Clone, Debug, Default)]
struct Row {
    etag: u64,
    values: Values,
}

/// What is on disk, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Store {
    // On disk.
    boot: u64,
    rows: Vec<Row>,
    outbox: BTreeMap<TellId, Tell>,
    outside: u64,
    // In memory.
    claims: u64,
    owners: Vec<Option<u64>>,
    queue: VecDeque<Write>,
    batch: Vec<Write>,
    paused: Time,
    answered: Time,
    /// What was on disk before the last batch, for a disk that forgets.
    before: Option<(usize, Row)>,
}

impl Store {
    pub(crate) fn new(actors: usize) -> Self {
        Self { rows: vec![Row::default(); actors], owners: vec![None; actors], ..Self::default() }
    }

    /// Opens what is on disk.
    pub(crate) fn open(&mut self, cx: &mut Context) {
        self.boot += 1;
        cx.log(Event::Boot(self.boot));
        for (actor, row) in self.rows.iter().enumerate() {
            let stamp = value(&row.values, "stamp", 0);
            cx.log(Event::Recovered { actor, etag: row.etag, stamp });
        }
    }

    /// Loses all that is in memory; the batch under way is on disk or not.
    pub(crate) fn crash(&mut self, cx: &mut Context) {
        if cx.rng.chance(50) {
            let batch = std::mem::take(&mut self.batch);
            self.apply(cx, batch);
        }
        if cx.mistake(Mutation::ForgetAcknowledged)
            && let Some((actor, row)) = self.before.take()
        {
            self.rows[actor] = row;
        }
        self.queue.clear();
        self.batch.clear();
        self.owners.fill(None);
        self.claims = 0;
        (self.paused, self.answered) = (Time(0), Time(0));
    }

    /// Stands still for a while.
    pub(crate) fn pause(&mut self, cx: &mut Context, time: Duration) {
        self.paused = cx.now.after(time);
        cx.log(Event::Paused(self.paused));
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.batch.is_empty()
    }

    pub(crate) fn hand_over(&mut self, cx: &mut Context, write: Write) {
        self.queue.push_back(write);
        self.start(cx);
    }

    fn start(&mut self, cx: &mut Context) {
        if self.batch.is_empty() && !self.queue.is_empty() {
            let count = self.queue.len().min(cx.work.batch_max);
            self.batch = self.queue.drain(..count).collect();
            let due = self.when(cx);
            cx.at(due, Due::Batch);
        }
    }

    /// When a question or a batch that begins now is carried out.
    fn when(&self, cx: &mut Context) -> Time {
        let latency = cx.some(cx.work.store_latency);
        cx.now.max(self.paused).after(latency)
    }

    /// The batch under way reaches the disk, or does not; then the next one starts.
    pub(crate) fn batch(&mut self, cx: &mut Context) {
        if self.paused > cx.now {
            return cx.at(self.paused, Due::Batch);
        }
        let batch = std::mem::take(&mut self.batch);
        let fails = cx.faults && cx.rng.chance(cx.work.store_fails);
        let outcomes = if !fails {
            self.apply(cx, batch)
        } else if cx.rng.chance(60) {
            cx.log(Event::Failing("unavailable"));
            batch.into_iter().map(|write| failed(write, CommitError::Unavailable { retry_ms: 50 })).collect()
        } else {
            cx.log(Event::Failing("unknown"));
            if cx.rng.chance(50) {
                self.apply(cx, batch.clone());
            }
            batch.into_iter().map(|write| failed(write, CommitError::Unknown)).collect()
        };
        // Acknowledged a little later, never out of order.
        let wait = cx.some(cx.work.store_latency / 10);
        self.answered = self.answered.max(cx.now.after(wait));
        cx.at(self.answered, Due::Done(outcomes));
        self.start(cx);
    }

    fn apply(&mut self, cx: &mut Context, batch: Vec<Write>) -> Vec<Outcome> {
        let one = |write| match write {
            Write::Commit(commit) => {
                let (actor, etag) = (index(&commit.actor), commit.etag);
                Outcome::Commit { actor, etag, result: self.commit(cx, commit) }
            }
            Write::Accept(request, tell) => {
                self.outside += 1;
                let id = TellId { from: None, sequence: self.outside };
                cx.log(Event::Accepted(sent(&id, &tell)));
                self.outbox.insert(id.clone(), tell.clone());
                Outcome::Accept { request, tell, result: Ok(id) }
            }
            Write::Discard(id) => {
                if self.outbox.remove(&id).is_some() {
                    cx.log(Event::Discarded(id.clone()));
                }
                Outcome::Discard { id, result: Ok(()) }
            }
        };
        batch.into_iter().map(one).collect()
    }

    fn commit(&mut self, cx: &mut Context, commit: Commit) -> Result<(), CommitError> {
        let actor = index(&commit.actor);
        if self.owners[actor] != Some(commit.generation) && !cx.mistake(Mutation::IgnoreFence) {
            return Err(CommitError::Fenced);
        }
        if self.rows[actor].etag + 1 != commit.etag && !cx.mistake(Mutation::IgnoreEtag) {
            return Err(CommitError::Conflict);
        }
        if let Some(id) = &commit.write.handled
            && self.outbox.remove(id).is_none()
            && !cx.mistake(Mutation::HandleTwice)
        {
            return Err(CommitError::Conflict);
        }
        self.before = Some((actor, self.rows[actor].clone()));
        let row = &mut self.rows[actor];
        row.etag = commit.etag;
        let torn = cx.mistake(Mutation::TearCommits) && cx.rng.chance(5);
        let changes = commit.write.changes.iter().filter(|change| !torn || &*change.name != "right");
        for change in changes {
            match &change.value {
                Some(value) => row.values.insert(change.name.clone(), value.clone()),
                None => row.values.remove(&change.name),
            };
        }
        let tells = commit.write.tells.iter().enumerate();
        let rows: Vec<_> = tells.map(|(place, tell)| (commit.tell_id(place), tell)).collect();
        cx.log(Event::Applied(Applied {
            actor,
            generation: commit.generation,
            etag: commit.etag,
            stamp: value(&row.values, "stamp", 0),
            halves: (value(&row.values, "left", 0), value(&row.values, "right", 0)),
            balance: value(&row.values, "balance", BALANCE),
            handled: commit.write.handled.clone(),
            tells: rows.iter().map(|(id, tell)| sent(id, tell)).collect(),
        }));
        let forget = cx.mistake(Mutation::DropTells) && cx.rng.chance(20);
        self.outbox.extend(rows.into_iter().filter(|_| !forget).map(|(id, tell)| (id, tell.clone())));
        Ok(())
    }

    pub(crate) fn ask_claim(&self, cx: &mut Context, actor: usize) {
        let due = self.when(cx);
        cx.at(due, Due::Claim(actor));
    }

    /// The claim happens; its answer takes a little longer.
    pub(crate) fn claim(&mut self, cx: &mut Context, actor: usize) {
        let unavailable = self.paused > cx.now || (cx.faults && cx.rng.chance(cx.work.store_fails));
        let claim =
            if unavailable { Err(CommitError::Unavailable { retry_ms: 50 }) } else { Ok(self.claim_now(cx, actor)) };
        let wait = cx.some(cx.work.store_latency / 10);
        cx.after(wait, Due::Claimed { actor, claim });
    }

    fn claim_now(&mut self, cx: &mut Context, actor: usize) -> Claim {
        self.claims += 1;
        let generation = (self.boot << 32) | self.claims;
        self.owners[actor] = Some(generation);
        let Row { etag, values } = self.rows[actor].clone();
        cx.log(Event::Claimed { actor, generation, etag, stamp: value(&values, "stamp", 0) });
        Claim { generation, etag, values }
    }

    pub(crate) fn release(&mut self, cx: &mut Context, actor: usize, generation: u64) {
        if self.owners[actor] == Some(generation) {
            self.owners[actor] = None;
            cx.log(Event::Released { actor, generation });
        }
    }

    /// Somebody else takes the actor and, perhaps, writes: all of an older generation is fenced.
    pub(crate) fn steal(&mut self, cx: &mut Context, actor: usize) {
        let claim = self.claim_now(cx, actor);
        if cx.rng.chance(50) {
            let stamp = cx.id();
            let next = value(&claim.values, "left", 0) + 1;
            let change = |name: &str, value: u64| quark_core::state::Change {
                name: name.into(),
                value: Some(Value::from(value.to_le_bytes())),
            };
            let changes = vec![change("left", next), change("right", next), change("stamp", stamp)];
            let write = quark_core::commit::Write { changes, ..Default::default() };
            let id = cx.work.id(actor).clone();
            let commit = Commit { actor: id, generation: claim.generation, etag: claim.etag + 1, write };
            self.commit(cx, commit).expect("it has just claimed the actor");
        }
        self.release(cx, actor, claim.generation);
    }

    pub(crate) fn ask_page(&self, cx: &mut Context, after: Option<TellId>) {
        let due = self.when(cx);
        cx.at(due, Due::Page { after });
    }

    /// The outbox is read from there on; the answer takes a little longer.
    pub(crate) fn page(&self, cx: &mut Context, after: Option<TellId>) {
        let unavailable = self.paused > cx.now || (cx.faults && cx.rng.chance(cx.work.store_fails));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.outbox.range((from, Bound::Unbounded)).take(PAGE);
        let page = page.map(|(id, tell)| (id.clone(), tell.clone())).collect();
        let rows = if unavailable { Err(CommitError::Unavailable { retry_ms: 50 }) } else { Ok(page) };
        let wait = cx.some(cx.work.store_latency / 10);
        cx.after(wait, Due::PageRead { rows });
    }
}

fn failed(write: Write, error: CommitError) -> Outcome {
    match write {
        Write::Commit(commit) => Outcome::Commit { actor: index(&commit.actor), etag: commit.etag, result: Err(error) },
        Write::Accept(request, tell) => Outcome::Accept { request, tell, result: Err(error) },
        Write::Discard(id) => Outcome::Discard { id, result: Err(error) },
    }
}

fn sent(id: &TellId, tell: &Tell) -> Sent {
    Sent { id: id.clone(), to: index(&tell.to), amount: amount(tell) }
}
