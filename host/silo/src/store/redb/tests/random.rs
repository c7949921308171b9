//! Random writes and questions: this store and the one in memory must answer alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use quark_core::commit::CommitError;
use quark_core::envelope::TellId;
use quark_core::id::{ActorId, Key};
use quark_core::journal::{JournalWrite, Snapshot};
use quark_core::reminders::{Fired, Reminder, ReminderChange, Stand};
use quark_core::state::Change;
use tokio::sync::oneshot;

use super::{open, open_hasty};
use crate::store::conformance::{actor, entry, reminder, tell, write};
use crate::store::memory::MemoryStore;
use crate::store::redb::RedbStore;
use crate::store::{Claim, Store};

const SEEDS: u64 = 6;
const STEPS: usize = 120;
const KEYS: [&str; 5] = ["k", "k\0", "ka", "k/", "é"];
const NAMES: [&str; 4] = ["", "n", "n\0", "na"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Mostly of a row that stands as it is here.
fn some_move(random: &mut Random, row: &Reminder) -> Fired {
    let due = row.due + u64::from(random.below(5) == 0);
    let to = (random.below(3) > 0).then(|| Stand::at(random.below(9) as u64));
    Fired::new(Arc::new(Reminder { due, ..row.clone() }), to)
}

/// The two stores, and which number of one is which of the other.
struct Pair {
    memory: MemoryStore,
    redb: RedbStore,
    claims: Vec<(ActorId, Claim, Claim)>,
    outside: BTreeMap<TellId, TellId>,
}

type Outcome<T> = oneshot::Receiver<Result<T, CommitError>>;

impl Pair {
    async fn claim(&mut self, random: &mut Random) {
        let one = actor(KEYS[random.below(KEYS.len())]);
        let memory = self.memory.claim(&one).await.unwrap();
        let redb = self.redb.claim(&one).await.unwrap();
        assert_eq!((memory.etag, &memory.values), (redb.etag, &redb.values));
        assert_eq!(memory.reminders, redb.reminders);
        self.claims.push((one, memory, redb));
    }

    fn redb_id(&self, id: &TellId) -> TellId {
        self.outside.get(id).unwrap_or(id).clone()
    }

    /// Some commit by some claim: mostly right, at times stale, of a wrong e-tag, or handling a
    /// tell that is gone.
    fn commit(
        &mut self,
        random: &mut Random,
        known: &[TellId],
        rows: &[Reminder],
    ) -> Option<(Outcome<bool>, Outcome<bool>)> {
        if self.claims.is_empty() {
            return None;
        }
        let back = if random.below(4) == 0 { random.below(self.claims.len()) } else { 0 };
        let at = self.claims.len() - 1 - back;
        let (one, memory, redb) = self.claims[at].clone();
        let mut first = write(&one, &memory, &[]);
        for _ in 0..random.below(4) {
            let value = (random.below(3) > 0).then(|| vec![random.below(256) as u8; random.below(2000)].into());
            first.write.changes.push(Change { name: NAMES[random.below(NAMES.len())].into(), value });
        }
        first.write.tells = (0..random.below(3)).map(|n| tell("b", &[n as u8])).collect();
        if random.below(3) == 0 && !known.is_empty() {
            first.write.handled = Some(known[random.below(known.len())].clone());
        }
        for _ in 0..random.below(3) {
            let (key, name) = (one.key.as_str(), NAMES[random.below(NAMES.len())]);
            let row = Reminder { revision: random.below(3) as u64, ..reminder(key, name, random.below(9) as u64) };
            first.write.reminders.push(match random.below(3) {
                0 => ReminderChange::Remove(row.id),
                _ => ReminderChange::Set(Box::new(row)),
            });
        }
        if let Some(row) = rows.iter().filter(|row| row.id.actor == one).nth(random.below(3)) {
            first.write.fired = Some(Box::new(some_move(random, row)));
        }
        if random.below(8) == 0 {
            first.etag = random.below(5) as u64;
        }
        if random.below(2) == 0 {
            let after = first.etag * 4;
            let entries = (0..random.below(4) as u64).map(|n| entry(after + n, &vec![n as u8; random.below(900)]));
            let entries: Vec<_> = entries.collect();
            let bytes = Arc::from(vec![after as u8; random.below(900)]);
            let snapshot = (random.below(3) == 0).then_some(Snapshot { sequence: after, at_ms: 1, bytes });
            let drop_through = if random.below(4) == 0 { after.saturating_sub(random.below(9) as u64) } else { 0 };
            first.write.journal = Some(Box::new(JournalWrite { entries, snapshot, drop_through }));
        }
        let mut second = first.clone();
        second.generation = redb.generation;
        second.write.handled = first.write.handled.as_ref().map(|id| self.redb_id(id));
        // Counted on as if it landed; if it does not, the next ones conflict, which is a case too.
        self.claims[at].1.etag = first.etag;
        let (done, memory) = oneshot::channel();
        self.memory.commit(first, Box::new(|ended| done.send(ended).unwrap()));
        let (done, redb) = oneshot::channel();
        self.redb.commit(second, Box::new(|ended| done.send(ended).unwrap()));
        Some((memory, redb))
    }

    async fn move_reminder(&mut self, random: &mut Random, rows: &[Reminder]) {
        if rows.is_empty() {
            return;
        }
        let row = &rows[random.below(rows.len())];
        let fired = some_move(random, row);
        let (done, memory) = oneshot::channel();
        self.memory.move_reminder(fired.clone(), Box::new(|ended| done.send(ended).unwrap()));
        let (done, redb) = oneshot::channel();
        self.redb.move_reminder(fired, Box::new(|ended| done.send(ended).unwrap()));
        assert_eq!(memory.await.unwrap(), redb.await.unwrap());
    }

    /// All reminders, which must be the same however they are asked for.
    async fn compare_reminders(&self, random: &mut Random) -> Vec<Reminder> {
        let rows = self.memory.due(None, 1000).await.unwrap();
        let limit = 1 + random.below(5);
        let mut at = random.below(rows.len() + 1);
        loop {
            let after = at.checked_sub(1).map(|before| rows[before].place());
            let page = self.redb.due(after.as_ref(), limit).await.unwrap();
            assert!(page.len() <= limit && rows[at..].starts_with(&page), "after {after:?}: {page:?}");
            at += page.len();
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(at, rows.len(), "only an empty page is the end");
        for key in KEYS {
            assert_eq!(self.memory.reminders(&actor(key)).await, self.redb.reminders(&actor(key)).await);
        }
        rows
    }

    async fn accept(&mut self) {
        let (done, memory) = oneshot::channel();
        self.memory.accept(tell("b", b"out"), Box::new(|ended| done.send(ended).unwrap()));
        let (done, redb) = oneshot::channel();
        self.redb.accept(tell("b", b"out"), Box::new(|ended| done.send(ended).unwrap()));
        self.outside.insert(memory.await.unwrap().unwrap(), redb.await.unwrap().unwrap());
    }

    /// All that can be asked; gives the outbox's ids as the store in memory has them.
    async fn compare(&self, random: &mut Random) -> Vec<TellId> {
        for key in KEYS {
            let one = actor(key);
            assert_eq!(self.memory.read(&one).await, self.redb.read(&one).await);
            assert_eq!(self.memory.journal_snapshot(&one).await, self.redb.journal_snapshot(&one).await);
            for (first, limit) in [(0, 1000), (random.below(90) as u64, 1 + random.below(5))] {
                let page = self.redb.journal(&one, first, limit).await;
                assert_eq!(self.memory.journal(&one, first, limit).await, page);
            }
        }
        let kind = actor("k").kind;
        let after = (random.below(2) == 0).then(|| Key::parse(KEYS[random.below(KEYS.len())]).unwrap());
        let limit = 1 + random.below(4);
        let keys = self.memory.keys(&kind, after.as_ref(), limit).await;
        assert_eq!(keys, self.redb.keys(&kind, after.as_ref(), limit).await);
        let rows = self.memory.outbox(None, 1000).await.unwrap();
        let expect: Vec<_> = rows.iter().map(|(id, tell)| (self.redb_id(id), tell.clone())).collect();
        assert_eq!(self.redb.outbox(None, 1000).await.unwrap(), expect);
        let limit = 1 + random.below(5);
        let mut at = random.below(expect.len() + 1);
        loop {
            let after = at.checked_sub(1).map(|before| &expect[before].0);
            let page = self.redb.outbox(after, limit).await.unwrap();
            assert!(page.len() <= limit && expect[at..].starts_with(&page), "after {after:?}");
            at += page.len();
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(at, expect.len(), "only an empty page is the end");
        rows.into_iter().map(|(id, _)| id).collect()
    }
}

#[tokio::test]
async fn both_stores_answer_alike() {
    for seed in 1..=SEEDS {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(seed);
        // Half of them with checkpoints all the time.
        let hasty = seed % 2 == 0;
        let open = |folder: &Path| if hasty { open_hasty(folder, Arc::new(|_| Ok(()))) } else { open(folder) };
        let (memory, redb) = (MemoryStore::new(), open(folder.path()));
        let mut pair = Pair { memory, redb, claims: Vec::new(), outside: BTreeMap::new() };
        let (mut known, mut rows) = (Vec::new(), Vec::new());
        let mut landed = 0;
        for _ in 0..STEPS {
            match random.below(10) {
                0..3 => pair.claim(&mut random).await,
                3 => {
                    pair.accept().await;
                    pair.move_reminder(&mut random, &rows).await;
                    rows = pair.compare_reminders(&mut random).await;
                }
                4 if !pair.claims.is_empty() => {
                    let (one, memory, redb) = pair.claims.remove(random.below(pair.claims.len()));
                    pair.memory.release(&one, memory.generation);
                    pair.redb.release(&one, redb.generation);
                }
                _ => {
                    let burst: Vec<_> =
                        (0..1 + random.below(6)).filter_map(|_| pair.commit(&mut random, &known, &rows)).collect();
                    for (memory, redb) in burst {
                        let memory = memory.await.unwrap();
                        assert_eq!(memory, redb.await.unwrap(), "seed {seed}");
                        landed += usize::from(memory.is_ok());
                    }
                    known = pair.compare(&mut random).await;
                    rows = pair.compare_reminders(&mut random).await;
                }
            }
        }
        assert!(landed > STEPS / 8, "seed {seed}: only {landed} commits landed");
        pair.redb.close().await;
    }
}
