//! What fires next.
//!
//! ```text
//!   page, landed -> Waits --due--> Out --begin--> Begun --landed--> Waits at its next time, or gone
//!                     ^ later       |               |
//!                     +-------------+---------------+--failed--> Moved --landed--> Waits, later
//! ```
//! The window holds the rows that stand first: all of the store up to a place in their order. Others are in the
//! store alone, and are read when there is room. So what is in memory is bounded, and so is what is under way:
//! after a downtime the oldest fire first, a few at a time.
//!
//! Whoever drives it tells of each change of rows before it is handed to the store ([`Window::submitted`]) and
//! when it has its outcome ([`Window::landed`], [`Window::lost`]).
//!
//! Clocks are set. Rows whose times are intervals keep their distance when that happens, so none of them fires
//! early, twice or an hour late; those with times of the day follow the clock, and a time that was handled does
//! not come again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Fired, Missed, Place, Reminder, ReminderId, Stand};
use crate::time::Time;

/// The most rows that wait in memory; more stay in the store alone.
pub const WINDOW_MAX: usize = 8192;
/// The most firings that are under way.
pub const UNDER_WAY_MAX: usize = 64;
/// How often turns of one time may fail before that time is a dead letter.
pub const ATTEMPTS_MAX: u32 = 10;
/// The shortest and longest wait after a turn that failed, in milliseconds.
const BACKOFF_MS: (u64, u64) = (100, 60_000);
/// The most rows of one page.
const PAGE: usize = 1024;
/// The most changes that may come while a page is read; with more it is read again.
const MEANWHILE_MAX: usize = 65_536;
/// A time that passed so long before the silo was up, in milliseconds, was missed.
const MISSED_AFTER_MS: u64 = 60_000;
/// The least difference between the two clocks, in milliseconds, that is a clock being set.
const STEP_MIN_MS: u64 = 1_000;
/// The longest wait: for a clock that is set.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How long one waits that could not begin for a change of its row under way, in milliseconds.
const TOUCHED_MS: u64 = 10;

/// The two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall: u64,
    /// The one that is never set.
    pub mono: Time,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put it into its actor's mailbox; then [`Window::begin`] or [`Window::failed`].
    Fire(Arc<Reminder>),
    /// Move the row on in the store, without a turn: it was missed.
    Move(Fired),
    /// Read so many rows after that place; then [`Window::page`] or [`Window::no_page`].
    Read(Option<Place>, usize),
    /// Nothing, until something happens or so long.
    Wait(Option<Duration>),
}

/// Why a firing's turn did not handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Not for what it is: again after so many milliseconds.
    Later(u64),
    /// Its turn failed, and that counts.
    Counts,
    /// Nobody will ever handle it.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waits,
    /// In a mailbox.
    Out,
    /// Its turn has begun.
    Begun,
    /// The store is told to move it on.
    Moved,
}

#[derive(Clone, Debug)]
struct Held {
    row: Arc<Reminder>,
    /// When it fires, by the clock as it goes now.
    at: u64,
    /// By how much that clock was set since the row was made, as far as is known.
    shift: i64,
    phase: Phase,
}

/// A page that is being read.
#[derive(Clone, Debug, Default)]
struct Reading {
    meanwhile: BTreeMap<ReminderId, Option<Arc<Reminder>>>,
    spoiled: bool,
}

/// The rows that fire next, and those under way.
#[derive(Clone, Debug)]
pub struct Window {
    held: BTreeMap<ReminderId, Held>,
    /// Those that wait, by when they fire.
    order: BTreeSet<(u64, ReminderId)>,
    /// Those that wait, by their place in the store.
    places: BTreeSet<Place>,
    /// Rows of which a change is on its way into the store.
    touched: BTreeMap<ReminderId, u32>,
    /// All rows of the store up to there are known; with none before the first, unless `all` are.
    known: Option<Place>,
    all: bool,
    reading: Option<Reading>,
    /// Rows were left out since nobody serves their actors.
    left_out: bool,
    up_since: u64,
    last: Now,
}

impl Window {
    /// Of a silo that is up from now on.
    #[must_use]
    pub const fn new(now: Now) -> Self {
        Self {
            held: BTreeMap::new(),
            order: BTreeSet::new(),
            places: BTreeSet::new(),
            touched: BTreeMap::new(),
            known: None,
            all: false,
            reading: None,
            left_out: false,
            up_since: now.wall,
            last: now,
        }
    }

    /// Rows in memory.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Firings, and rows that move on without one, under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.held.len() - self.order.len()
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Now) -> Step {
        self.look_at_clocks(now);
        let due = self.order.first().filter(|(at, _)| *at <= now.wall);
        let has_room = self.under_way() < UNDER_WAY_MAX;
        if has_room && let Some((_, id)) = due.cloned() {
            return self.fire(&id, now);
        }
        if self.reading.is_none() && !self.all && self.order.len() <= WINDOW_MAX / 2 {
            self.reading = Some(Reading::default());
            return Step::Read(self.known.clone(), PAGE);
        }
        let first = self.order.first().filter(|_| has_room);
        Step::Wait(first.map(|(at, _)| Duration::from_millis(at.saturating_sub(now.wall)).min(LOOK_MAX)))
    }

    fn fire(&mut self, id: &ReminderId, now: Now) -> Step {
        self.stop_waiting(id);
        let Some(held) = self.held.get_mut(id) else { return Step::Wait(Some(Duration::ZERO)) };
        let row = held.row.clone();
        let missed = row.tries == 0 && row.due.saturating_add(MISSED_AFTER_MS) < self.up_since;
        if missed && row.missed == Missed::Skip {
            held.phase = Phase::Moved;
            let due = row.due;
            return Step::Move(Fired::over(row, due, now.wall));
        }
        held.phase = Phase::Out;
        Step::Fire(row)
    }

    /// A firing's turn is about to begin: what its commit does to the row. None when it must not: the row is
    /// another one by now, or a change of it is under way, and then it comes again.
    pub fn begin(&mut self, row: &Reminder, now: Now) -> Option<Fired> {
        let held = self.held.get_mut(&row.id).filter(|held| held.phase == Phase::Out && held.row.is_at(row))?;
        if self.touched.contains_key(&row.id) {
            self.wait(&row.id, now.wall + TOUCHED_MS);
            return None;
        }
        held.phase = Phase::Begun;
        let row = held.row.clone();
        let due = row.due.saturating_add_signed(held.shift);
        Some(Fired::over(row, due, now.wall))
    }

    /// A firing's turn failed, or did not begin. Gives what the store must do to the row, and whether its time is
    /// a dead letter now.
    pub fn failed(&mut self, row: &Reminder, how: Failed, now: Now) -> Option<(Fired, bool)> {
        let out = |held: &&mut Held| matches!(held.phase, Phase::Out | Phase::Begun) && held.row.is_at(row);
        let held = self.held.get_mut(&row.id).filter(out)?;
        let row = held.row.clone();
        let tries = row.tries + 1;
        let dead = match how {
            Failed::Later(ms) => {
                self.wait(&row.id, now.wall.saturating_add(ms));
                return None;
            }
            Failed::Counts => tries >= ATTEMPTS_MAX,
            Failed::Dead => true,
        };
        held.phase = Phase::Moved;
        let due = row.due.saturating_add_signed(held.shift);
        let fired = if dead {
            Fired::over(row, due, now.wall)
        } else {
            let to = Stand { due: row.due, at: now.wall + backoff(tries), tries };
            Fired::new(row, Some(to))
        };
        Some((fired, dead))
    }

    /// Nobody serves the actor of a firing: its row waits in the store alone until [`Window::served_anew`].
    pub fn leave_out(&mut self, row: &Reminder) {
        if self.held.get(&row.id).is_some_and(|held| held.phase == Phase::Out && held.row.is_at(row)) {
            self.held.remove(&row.id);
            self.left_out = true;
        }
    }

    /// Others may be served now.
    pub fn served_anew(&mut self) {
        if std::mem::take(&mut self.left_out) {
            self.read_again(&[]);
        }
    }

    /// Changes of these rows are handed to the store.
    pub fn submitted<'a>(&mut self, ids: impl IntoIterator<Item = &'a ReminderId>) {
        for id in ids {
            *self.touched.entry(id.clone()).or_insert(0) += 1;
        }
    }

    /// They landed: the rows as they are now.
    pub fn landed(&mut self, rows: Vec<(ReminderId, Option<Arc<Reminder>>)>) {
        for (id, row) in rows {
            self.let_go(&id);
            self.stop_waiting(&id);
            self.held.remove(&id);
            if let Some(reading) = &mut self.reading {
                reading.meanwhile.insert(id, row.clone());
                reading.spoiled |= reading.meanwhile.len() > MEANWHILE_MAX;
            }
            if let Some(row) = row.filter(|row| self.is_known(&row.place())) {
                self.hold(row);
            }
        }
    }

    /// They did not land; with `doubt` they may have after all, and the store is read again.
    pub fn lost(&mut self, ids: &[ReminderId], doubt: bool) {
        ids.iter().for_each(|id| self.let_go(id));
        if doubt {
            self.read_again(ids);
        }
    }

    /// The store did not move a row on, because it was busy: later.
    pub fn not_moved(&mut self, fired: &Fired, until: u64) {
        let id = &fired.row.id;
        if self.held.get(id).is_some_and(|held| held.phase == Phase::Moved && held.row.is_at(&fired.row)) {
            self.wait(id, until);
        }
    }

    /// The store has another row by now, or none, and nobody said so: it is read again.
    pub fn is_stale(&mut self, fired: &Fired) {
        let id = &fired.row.id;
        if self.held.get(id).is_some_and(|held| held.phase == Phase::Moved && held.row.is_at(&fired.row)) {
            self.read_again(std::slice::from_ref(id));
        }
    }

    /// The page that was asked for; an empty one is the end.
    pub fn page(&mut self, rows: Vec<Reminder>) {
        let Some(Reading { meanwhile, spoiled: false }) = self.reading.take() else { return };
        let after = self.known.take();
        self.all = rows.is_empty();
        let last = rows.last().map(Reminder::place).or_else(|| after.clone());
        self.known.clone_from(&last);
        let all = self.all;
        let is_new = |place: &Place| Some(place) > after.as_ref() && (all || Some(place) <= last.as_ref());
        let read = rows.into_iter().filter(|row| !meanwhile.contains_key(&row.id)).map(Arc::new);
        let changed = meanwhile.values().flatten().filter(|row| is_new(&row.place())).cloned();
        for row in read.chain(changed.collect::<Vec<_>>()) {
            // What is under way was read again.
            if self.held.get(&row.id).is_none_or(|held| !held.row.is_at(&row)) {
                self.stop_waiting(&row.id);
                self.held.remove(&row.id);
                self.hold(row);
            }
        }
    }

    /// The page could not be read.
    pub fn no_page(&mut self) {
        self.reading = None;
    }

    fn is_known(&self, place: &Place) -> bool {
        self.all || Some(place) <= self.known.as_ref()
    }

    /// Forgets what waits, and those rows whatever becomes of them, and reads from the beginning.
    fn read_again(&mut self, doubtful: &[ReminderId]) {
        for id in std::mem::take(&mut self.order).into_iter().map(|(_, id)| id).chain(doubtful.iter().cloned()) {
            self.held.remove(&id);
        }
        self.places.clear();
        (self.known, self.all) = (None, false);
        self.reading.iter_mut().for_each(|reading| reading.spoiled = true);
    }

    fn hold(&mut self, row: Arc<Reminder>) {
        let (id, at) = (row.id.clone(), row.at);
        self.held.insert(id.clone(), Held { row, at, shift: 0, phase: Phase::Moved });
        self.wait(&id, at);
        while self.places.len() > WINDOW_MAX {
            let Some(Place { id, .. }) = self.places.last().cloned() else { return };
            self.stop_waiting(&id);
            self.held.remove(&id);
            (self.known, self.all) = (self.places.last().cloned(), false);
            self.reading.iter_mut().for_each(|reading| reading.spoiled = true);
        }
    }

    fn wait(&mut self, id: &ReminderId, at: u64) {
        let Some(held) = self.held.get_mut(id) else { return };
        (held.phase, held.at) = (Phase::Waits, at);
        let place = held.row.place();
        self.order.insert((at, id.clone()));
        self.places.insert(place);
    }

    fn stop_waiting(&mut self, id: &ReminderId) {
        let Some(held) = self.held.get(id).filter(|held| held.phase == Phase::Waits) else { return };
        let (at, place) = (held.at, held.row.place());
        self.order.remove(&(at, id.clone()));
        self.places.remove(&place);
    }

    fn let_go(&mut self, id: &ReminderId) {
        if let Some(count) = self.touched.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                self.touched.remove(id);
            }
        }
    }

    fn look_at_clocks(&mut self, now: Now) {
        let ran = u64::try_from(now.mono.since(self.last.mono).as_millis()).unwrap_or(u64::MAX);
        let expected = self.last.wall.saturating_add(ran);
        self.last = now;
        if now.wall.abs_diff(expected) < STEP_MIN_MS {
            return;
        }
        let by = i64::try_from(now.wall).unwrap_or(i64::MAX).saturating_sub_unsigned(expected);
        self.order.clear();
        for (id, held) in &mut self.held {
            if held.row.schedule.is_interval() {
                held.at = held.at.saturating_add_signed(by);
                held.shift = held.shift.saturating_add(by);
            }
            if held.phase == Phase::Waits {
                self.order.insert((held.at, id.clone()));
            }
        }
    }
}

fn backoff(tries: u32) -> u64 {
    let (least, most) = BACKOFF_MS;
    least.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(most)
}
