//! What an actor answered to calls with an idempotency key: a repeat gets the same answer and does nothing.
//!
//! ```text
//!            begin               its end, with its commit               10 minutes later
//!   unknown ------> running --------------------------------> answered ------------------> unknown
//!      ^               | a trap, a crash
//!      +---------------+         a repeat runs                 a repeat gets that answer
//! ```
//!
//! An answer is a row among the actor's values, written by the very commit that writes what the turn did:
//! both are there, or neither. Where a commit in the middle of a turn takes along what the turn wrote so far,
//! the row says that it has *begun*: a repeat runs again, and must be the same call.
//!
//! The machine answers what to do with a call that has a key, and what a commit writes. It holds all rows of
//! the actor that are not over, and never drops one earlier: when there is no room, new keys are refused.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::idempotency::{Digest, IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey, Keyed};
use crate::state::{ANSWERS, Change, Value};

/// How long an answer is remembered, in milliseconds.
pub const ANSWER_KEPT_MS: u64 = 10 * 60 * 1000;
/// The most answers that one actor remembers.
pub const ANSWERS_MAX: usize = 16_384;
/// The most bytes of them together, with what they count beside theirs.
pub const ANSWERS_BYTES_MAX: usize = 8 << 20;
/// The longest answer that is remembered, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The most rows whose time is over that one commit removes.
pub const EXPIRED_PER_COMMIT_MAX: usize = 32;
/// What a row counts beside its key and its answer.
const ROW_OVERHEAD: usize = 128;
/// What a turn with a key may come to, which has its room before it begins.
const RESERVED: usize = IDEMPOTENCY_KEY_BYTES_MAX + ANSWER_BYTES_MAX + ROW_OVERHEAD;
/// What a new key is told to wait, in milliseconds, when running turns alone take all room.
const BUSY_RETRY_MS: u64 = 10;
/// How a row begins; what a later version writes begins otherwise.
const VERSION: u8 = 1;

/// What is kept of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it was answered, or begun: milliseconds since 1970.
    pub at_ms: u64,
    /// Of the method and its arguments.
    pub digest: Digest,
    /// The answer; none while it has only begun.
    pub answer: Option<Value>,
}

impl Row {
    /// The row as it is stored.
    #[must_use]
    pub fn encode(&self) -> Value {
        let answer = self.answer.as_deref().unwrap_or_default();
        let mut row = Vec::with_capacity(2 + size_of::<u64>() + self.digest.len() + answer.len());
        row.extend([VERSION, u8::from(self.answer.is_some())]);
        row.extend(self.at_ms.to_le_bytes());
        row.extend(self.digest);
        row.extend(answer);
        row.into()
    }

    /// What a stored row says; none when this version cannot read it.
    #[must_use]
    pub fn decode(row: &[u8]) -> Option<Self> {
        let (&[VERSION, answered @ 0..=1], rest) = row.split_first_chunk()? else { return None };
        let (at_ms, rest) = rest.split_first_chunk()?;
        let (digest, answer) = rest.split_first_chunk()?;
        let fits = if answered == 1 { answer.len() <= ANSWER_BYTES_MAX } else { answer.is_empty() };
        let answer = (answered == 1).then(|| answer.into());
        fits.then_some(Self { at_ms: u64::from_le_bytes(*at_ms), digest: *digest, answer })
    }

    fn bytes(&self, key: &str) -> usize {
        key.len() + self.answer.as_ref().map_or(0, |answer| answer.len()) + ROW_OVERHEAD
    }
}

/// What to do with a call that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Run it; then [`Answers::ended`], [`Answers::dropped`] or [`Answers::trapped`].
    Run,
    /// It was answered so.
    Answer(Value),
    /// It runs just now: wait for its end, then ask again.
    Wait,
    /// Do nothing.
    Refuse(KeyRefusal),
}

/// Why a call with a key is not begun. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// The key came before with another method or other arguments.
    Reused,
    /// There is no room for another key; the next one is free after so many milliseconds.
    Full(u64),
}

/// A turn with a key that runs.
#[derive(Debug)]
struct Running {
    turn: u64,
    keyed: Keyed,
    /// It may have written something that the next commit takes along.
    staged: bool,
    /// Its row says that it has begun.
    marked: bool,
}

/// The answers of one activation's actor.
#[derive(Debug)]
pub struct Answers {
    kept_ms: u64,
    /// As the last commit point left them.
    rows: BTreeMap<Arc<str>, Row>,
    /// Their keys by time, the oldest first; one whose row has another time now is passed over.
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    /// Keys whose time is over, and whose rows are still stored.
    expired: VecDeque<Arc<str>>,
    running: Vec<Running>,
    /// Of turns that have ended, for the next commit.
    staged: Vec<(Arc<str>, Row)>,
}

/// A later version of Quark wrote a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Answers {
    /// None yet; each is kept so long ([`ANSWER_KEPT_MS`]).
    #[must_use]
    pub const fn new(kept_ms: u64) -> Self {
        Self {
            kept_ms,
            rows: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            expired: VecDeque::new(),
            running: Vec::new(),
            staged: Vec::new(),
        }
    }

    /// Takes the rows out of an actor's loaded values; none where there are none. A row from the time to come,
    /// as the clock has it now, counts as of now: a clock that was put back keeps no row for ever.
    ///
    /// # Errors
    /// When this version cannot read one.
    pub fn take_from(
        values: &mut BTreeMap<Arc<str>, Value>,
        now_ms: u64,
        kept_ms: u64,
    ) -> Result<Option<Self>, Unreadable> {
        let names: Vec<Arc<str>> = values
            .range::<str, _>((Bound::Included(ANSWERS), Bound::Unbounded))
            .map(|(name, _)| name)
            .take_while(|name| name.starts_with(ANSWERS))
            .cloned()
            .collect();
        if names.is_empty() {
            return Ok(None);
        }
        let mut rows = Vec::with_capacity(names.len());
        for name in names {
            let row = values.remove(&name).as_deref().and_then(Row::decode).ok_or(Unreadable)?;
            let at_ms = row.at_ms.min(now_ms);
            rows.push((name[ANSWERS.len()..].into(), Row { at_ms, ..row }));
        }
        rows.sort_by_key(|(_, row)| row.at_ms);
        let mut answers = Self::new(kept_ms);
        rows.into_iter().for_each(|(key, row)| answers.put(key, row));
        Ok(Some(answers))
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.expired.is_empty() && self.running.is_empty() && self.staged.is_empty()
    }

    /// A call with a key is about to begin as that turn. `alone` says that no other turn's commit can come
    /// between those of its own, but by what runs inside of it.
    pub fn begin(&mut self, turn: u64, keyed: &Keyed, alone: bool, now_ms: u64) -> Begin {
        self.expire(now_ms);
        let key = keyed.key.text();
        let staged = self.staged.iter().find(|(staged, _)| staged == key).map(|(_, row)| row);
        let row = staged.or_else(|| self.rows.get(key));
        let running = self.running.iter().find(|running| running.keyed.key == keyed.key);
        let before = row.map(|row| row.digest).or_else(|| running.map(|running| running.keyed.digest));
        if before.is_some_and(|digest| digest != keyed.digest) {
            return Begin::Refuse(KeyRefusal::Reused);
        }
        if let Some(answer) = row.and_then(|row| row.answer.clone()) {
            return Begin::Answer(answer);
        }
        if running.is_some() {
            return Begin::Wait;
        }
        // A begun row has its place already.
        if row.is_none() && !self.has_room() {
            let first = self.order.front().map(|(at, _)| at.saturating_add(self.kept_ms).saturating_sub(now_ms).max(1));
            return Begin::Refuse(KeyRefusal::Full(first.unwrap_or(BUSY_RETRY_MS)));
        }
        let marked = row.is_some();
        self.running.push(Running { turn, keyed: keyed.clone(), staged: alone, marked });
        Begin::Run
    }

    fn has_room(&self) -> bool {
        let staged: usize = self.staged.iter().map(|(key, row)| row.bytes(key)).sum();
        let count = self.rows.len() + self.staged.len() + self.running.len();
        let bytes = self.bytes + staged + (self.running.len() + 1) * RESERVED;
        count < ANSWERS_MAX && bytes <= ANSWERS_BYTES_MAX
    }

    /// That turn staged something. Needed where turns overlap.
    pub fn wrote(&mut self, turn: u64) {
        self.running.iter_mut().filter(|running| running.turn == turn).for_each(|running| running.staged = true);
    }

    /// Whether that turn has a key.
    #[must_use]
    pub fn runs(&self, turn: u64) -> bool {
        self.running.iter().any(|running| running.turn == turn)
    }

    /// That turn has ended with that answer, of [`ANSWER_BYTES_MAX`] at most: its row goes with the next commit.
    /// Gives its key; none if it had no key.
    pub fn ended(&mut self, turn: u64, answer: Value, now_ms: u64) -> Option<IdempotencyKey> {
        debug_assert!(answer.len() <= ANSWER_BYTES_MAX);
        let Keyed { key, digest } = self.take_running(turn)?;
        self.staged.push((key.text().clone(), Row { at_ms: now_ms, digest, answer: Some(answer) }));
        Some(key)
    }

    /// That turn did not begin, after all. Gives its key; none if it had no key.
    pub fn dropped(&mut self, turn: u64) -> Option<IdempotencyKey> {
        self.take_running(turn).map(|keyed| keyed.key)
    }

    fn take_running(&mut self, turn: u64) -> Option<Keyed> {
        let at = self.running.iter().position(|running| running.turn == turn)?;
        Some(self.running.swap_remove(at).keyed)
    }

    /// The instance is over with all turns that run, and what was staged is undone.
    pub fn trapped(&mut self) {
        self.running.clear();
        self.staged.clear();
    }

    /// What goes with a commit that writes something else or nothing: answers that are staged, marks of turns
    /// that have begun, and a few rows that go since their time is over. Of a commit that writes nothing, and
    /// has no answers, nothing.
    pub fn take_changes(&mut self, writes: bool, now_ms: u64) -> Vec<Change> {
        if !writes && self.staged.is_empty() {
            return Vec::new();
        }
        let mut changed = std::mem::take(&mut self.staged);
        for running in self.running.iter_mut().filter(|running| running.staged && !running.marked) {
            running.marked = true;
            let Keyed { key, digest } = &running.keyed;
            changed.push((key.text().clone(), Row { at_ms: now_ms, digest: *digest, answer: None }));
        }
        let mut changes = Vec::with_capacity(changed.len());
        for (key, mut row) in changed {
            // In their order, also when the clock was put back: none is over earlier by that.
            row.at_ms = row.at_ms.max(self.order.back().map_or(0, |(at, _)| *at));
            changes.push(Change { name: name(&key), value: Some(row.encode()) });
            self.put(key, row);
        }
        self.expire(now_ms);
        for _ in 0..EXPIRED_PER_COMMIT_MAX {
            let Some(key) = self.expired.pop_front() else { break };
            // It may have come again.
            if !self.rows.contains_key(&key) {
                changes.push(Change { name: name(&key), value: None });
            }
        }
        changes
    }

    fn put(&mut self, key: Arc<str>, row: Row) {
        self.order.push_back((row.at_ms, key.clone()));
        self.bytes += row.bytes(&key);
        if let Some(old) = self.rows.insert(key.clone(), row) {
            self.bytes -= old.bytes(&key);
        }
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((at, _)) = self.order.front()
            && at.saturating_add(self.kept_ms) <= now_ms
        {
            let Some((at, key)) = self.order.pop_front() else { return };
            if self.rows.get(&key).is_some_and(|row| row.at_ms == at)
                && let Some(row) = self.rows.remove(&key)
            {
                self.bytes -= row.bytes(&key);
                self.expired.push_back(key);
            }
        }
    }
}

/// The name of a key's row.
fn name(key: &str) -> Arc<str> {
    [ANSWERS, key].concat().into()
}

#[cfg(test)]
mod tests;
