//! The window by seed against a store that is a map: actors that register, turns that fail, commits that are
//! slow, fail or are in doubt, crashes at every step, clocks that are set.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::time::Time;

/// A change on its way into the store.
#[derive(Clone)]
enum Sent {
    Commit(Option<Fired>, Vec<ReminderChange>),
    Move(Fired),
}

struct Run {
    seed: u64,
    wall: u64,
    mono: u64,
    window: Window,
    store: BTreeMap<ReminderId, Reminder>,
    queue: VecDeque<Sent>,
    page: Option<(Option<Place>, usize)>,
    out: Vec<Arc<Reminder>>,
    begun: Vec<Fired>,
    revisions: u64,
    /// Turns that ended well, by row: registration and time.
    done: BTreeMap<(ReminderId, u64, u64), u32>,
    /// Crashes and commits in doubt: each may have a turn happen twice.
    doubts: u32,
}

impl Run {
    fn below(&mut self, n: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % n
    }

    fn now(&self) -> Now {
        Now { wall: self.wall, mono: Time(self.mono * 1_000_000) }
    }

    fn pass(&mut self, ms: u64) {
        (self.wall, self.mono) = (self.wall + ms, self.mono + ms);
    }

    fn act(&mut self) {
        match self.below(100) {
            0..12 => self.register(),
            12..14 => self.unregister(),
            14..40 => self.step(),
            40..55 => self.begin(),
            55..72 => self.end(),
            72..90 => self.land(),
            90..97 => {
                let ms = self.below(20 * SECOND);
                self.pass(ms);
            }
            97 => self.crash(),
            98 => {
                self.wall = if self.below(2) == 0 { self.wall + HOUR } else { self.wall - HOUR };
            }
            _ => self.read(),
        }
        assert!(self.window.under_way() <= UNDER_WAY_MAX + self.begun.len() + self.out.len());
    }

    fn register(&mut self) {
        let key = format!("k{}", self.below(4));
        let name = ["r", "s"][usize::try_from(self.below(2)).unwrap()];
        let schedule = match self.below(4) {
            0 => Schedule::Once(self.below(30 * SECOND)),
            1 => Schedule::Every(EVERY_MIN + self.below(20 * SECOND)),
            2 => Schedule::Cron("* * * * *".into()),
            _ => Schedule::Cron("*/3 * * * *".into()),
        };
        let missed = [Missed::FireOnce, Missed::FireAll][usize::try_from(self.below(2)).unwrap()];
        self.revisions += 1;
        let mut row = reminder(&key, schedule, missed, self.wall);
        (row.id, row.revision) = (id(&key, name), self.revisions);
        self.send(Sent::Commit(None, vec![ReminderChange::Set(Box::new(row))]));
    }

    fn unregister(&mut self) {
        let key = format!("k{}", self.below(4));
        self.send(Sent::Commit(None, vec![ReminderChange::Remove(id(&key, "r"))]));
    }

    fn send(&mut self, sent: Sent) {
        if let Sent::Commit(fired, changes) = &sent {
            self.window
                .submitted(fired.iter().map(|fired| &fired.row.id).chain(changes.iter().map(ReminderChange::id)));
        }
        self.queue.push_back(sent);
    }

    fn step(&mut self) {
        let now = self.now();
        match self.window.step(now) {
            Step::Fire(row) => {
                assert!(self.out.iter().all(|out| !Arc::ptr_eq(out, &row)));
                self.out.push(row);
            }
            Step::Move(fired) => self.send(Sent::Move(fired)),
            Step::Read(after, limit) => self.page = Some((after, limit)),
            Step::Wait(_) => {}
        }
    }

    /// Now or later: whatever lands meanwhile.
    fn read(&mut self) {
        let Some((after, limit)) = self.page.take() else { return };
        match self.below(5) {
            0 => self.window.no_page(),
            n => {
                let mut rows: Vec<Reminder> =
                    self.store.values().filter(|row| Some(&row.place()) > after.as_ref()).cloned().collect();
                rows.sort_by_key(Reminder::place);
                rows.truncate(limit.min(usize::try_from(n).unwrap()));
                // What lands between the reading and its end is told in between.
                if self.below(2) == 0 {
                    self.land();
                }
                self.window.page(rows);
            }
        }
    }

    fn begin(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let at = usize::try_from(self.below(self.out.len() as u64)).unwrap();
        let row = self.out.swap_remove(at);
        let now = self.now();
        if self.below(10) == 0 {
            assert_eq!(self.window.failed(&row, Failed::Later(20), now), None);
        } else if let Some(fired) = self.window.begin(&row, now) {
            assert!(self.begun.iter().all(|begun| begun.row.id != row.id), "one turn at a time");
            self.begun.push(fired);
        }
    }

    fn end(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        let at = usize::try_from(self.below(self.begun.len() as u64)).unwrap();
        let fired = self.begun.swap_remove(at);
        if self.below(4) == 0 {
            let now = self.now();
            if let Some((moved, dead)) = self.window.failed(&fired.row, Failed::Counts, now) {
                if dead {
                    // A letter is as good as a turn here.
                    *self.done.entry(key(&fired.row)).or_default() += 1;
                }
                self.send(Sent::Move(moved));
            }
            return;
        }
        let mut changes = Vec::new();
        if self.below(5) == 0 {
            // It is registered anew by the turn that it fired.
            self.revisions += 1;
            let row = Reminder { revision: self.revisions, ..(*fired.row).clone() };
            let due = row.schedule.first(self.wall).unwrap();
            changes.push(ReminderChange::Set(Box::new(row.moved(Stand::at(due)))));
        }
        self.send(Sent::Commit(Some(fired), changes));
    }

    /// The store carries out the next of what was handed to it.
    fn land(&mut self) {
        let Some(sent) = self.queue.pop_front() else { return };
        let outcome = self.below(12);
        let (wrote, told) = (outcome != 0 && outcome != 1, outcome != 1 && outcome != 2);
        match sent {
            Sent::Commit(fired, changes) => {
                let ids: Vec<ReminderId> =
                    fired.iter().map(|f| f.row.id.clone()).chain(changes.iter().map(|c| c.id().clone())).collect();
                let mut rows = Vec::new();
                if let Some(fired) = &fired {
                    rows.push((fired.row.id.clone(), fired.after().map(Arc::new)));
                    if wrote {
                        *self.done.entry(key(&fired.row)).or_default() += 1;
                        self.move_on(fired);
                    }
                }
                for change in changes {
                    let (id, row) = match change {
                        ReminderChange::Set(row) => (row.id.clone(), Some(*row)),
                        ReminderChange::Remove(id) => (id, None),
                    };
                    if wrote {
                        match &row {
                            Some(row) => drop(self.store.insert(id.clone(), row.clone())),
                            None => drop(self.store.remove(&id)),
                        }
                    }
                    rows.push((id, row.map(Arc::new)));
                }
                match (wrote, told) {
                    (true, true) => self.window.landed(rows),
                    // The turn is told that it failed, and its instance ends.
                    (false, true) => {
                        self.window.lost(&ids, false);
                        let now = self.now();
                        fired.iter().for_each(|fired| drop(self.window.failed(&fired.row, Failed::Later(500), now)));
                    }
                    (_, false) => {
                        self.doubts += 1;
                        self.window.lost(&ids, true);
                    }
                }
            }
            Sent::Move(fired) if !wrote => {
                let until = self.wall + 500;
                self.window.not_moved(&fired, until);
            }
            Sent::Move(fired) => {
                if self.move_on(&fired) {
                    self.window.landed(vec![(fired.row.id.clone(), fired.after().map(Arc::new))]);
                } else {
                    self.window.is_stale(&fired);
                }
            }
        }
    }

    fn move_on(&mut self, fired: &Fired) -> bool {
        let id = &fired.row.id;
        if !self.store.get(id).is_some_and(|row| row.is_at(&fired.row)) {
            return false;
        }
        match fired.after() {
            Some(row) => drop(self.store.insert(id.clone(), row)),
            None => drop(self.store.remove(id)),
        }
        true
    }

    fn crash(&mut self) {
        // What was handed over may be carried out yet, up to somewhere.
        for _ in 0..self.below(4) {
            self.land();
        }
        self.doubts += u32::try_from(self.queue.len() + self.begun.len()).unwrap();
        self.queue.clear();
        self.out.clear();
        self.begun.clear();
        self.page = None;
        let down = self.below(3) * self.below(HOUR);
        self.pass(down);
        self.window = Window::new(self.now());
    }

    /// Without faults everything comes to an end: all that is due has fired.
    fn settle(&mut self) {
        let (due, end): (Vec<_>, u64) = {
            let end = self.wall + 2 * HOUR;
            (self.store.values().filter(|row| row.at <= end).map(key).collect(), end)
        };
        // The queue is empty, so these are in the store and nobody changes them.
        while self.wall < end {
            for _ in 0..40 {
                match self.window.step(self.now()) {
                    Step::Fire(row) => self.out.push(row),
                    Step::Move(fired) => {
                        self.move_on(&fired);
                        self.window.landed(vec![(fired.row.id.clone(), fired.after().map(Arc::new))]);
                    }
                    Step::Read(after, limit) => {
                        let mut rows: Vec<Reminder> =
                            self.store.values().filter(|row| Some(&row.place()) > after.as_ref()).cloned().collect();
                        rows.sort_by_key(Reminder::place);
                        rows.truncate(limit);
                        self.window.page(rows);
                    }
                    Step::Wait(_) => break,
                }
            }
            for row in std::mem::take(&mut self.out) {
                let now = self.now();
                let Some(fired) = self.window.begin(&row, now) else { continue };
                *self.done.entry(key(&fired.row)).or_default() += 1;
                assert!(self.move_on(&fired), "the window knows the store");
                self.window.submitted([&fired.row.id]);
                self.window.landed(vec![(fired.row.id.clone(), fired.after().map(Arc::new))]);
            }
            self.pass(5 * SECOND);
        }
        for due in due {
            assert!(self.done.contains_key(&due), "{due:?} was never handled");
        }
        let twice: u32 = self.done.values().map(|times| times - 1).sum();
        assert!(twice <= self.doubts, "{twice} turns too many, {} moments in doubt", self.doubts);
    }
}

fn key(row: &Reminder) -> (ReminderId, u64, u64) {
    (row.id.clone(), row.revision, row.due)
}

#[test]
fn nothing_is_lost_and_only_doubt_repeats() {
    for seed in 1..=150 {
        let start = Now { wall: NEW_YEAR + 24 * HOUR, mono: Time(0) };
        let mut run = Run {
            seed,
            wall: start.wall,
            mono: 0,
            window: Window::new(start),
            store: BTreeMap::new(),
            queue: VecDeque::new(),
            page: None,
            out: Vec::new(),
            begun: Vec::new(),
            revisions: 0,
            done: BTreeMap::new(),
            doubts: 0,
        };
        // The first numbers of small seeds are alike.
        for _ in 0..20 {
            run.below(2);
        }
        for _ in 0..600 {
            run.act();
        }
        while !run.queue.is_empty() {
            run.land();
        }
        run.crash();
        run.settle();
    }
}
