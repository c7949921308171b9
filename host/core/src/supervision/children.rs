//! What one parent does about its children.
//!
//! The rules are those of OTP's supervisors: restarts are counted for all children of a parent together,
//! a group ends in reverse order and starts in order, a temporary child is never restarted and ends
//! with its group. What OTP has not is added: waits before restarts, and directives failure by failure.

use super::policy::{Directive, Lifetime, Strategy, Supervision};
use super::window::{Pause, Window};
use crate::time::Time;

/// The most children of one parent.
pub const CHILDREN_MAX: usize = 1024;

/// A parent has [`CHILDREN_MAX`] children already. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an actor has at most {CHILDREN_MAX} children: stop one, or give the work to a child")]
pub struct TooManyChildren;

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<C> {
    /// End its instance, and its own children's; messages to it wait.
    Hold(C),
    /// Let it run, and its own children.
    Start(C),
    /// End it for good, and its own children; it is no child any more.
    Stop(C),
    /// The parent has failed; all its children are held.
    Escalate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// It starts then.
    Down(Time),
    /// It ended without a failure, and starts only with others.
    Ended,
}

#[derive(Clone, Debug)]
struct Child<C> {
    id: C,
    lifetime: Lifetime,
    state: State,
    pause: Pause,
    restarts: u64,
}

/// The children of one parent, in the order in which they were started. `C` names a child.
#[derive(Clone, Debug)]
pub struct Children<C> {
    policy: Supervision,
    children: Vec<Child<C>>,
    window: Window,
    /// The parent is down, and so are they.
    held: bool,
}

impl<C: Clone + PartialEq> Children<C> {
    /// No children yet.
    #[must_use]
    pub const fn new(policy: Supervision) -> Self {
        Self { policy, children: Vec::new(), window: Window::EMPTY, held: false }
    }

    /// The policy from now on, which a new version of the parent's kind may have changed.
    pub const fn set_policy(&mut self, policy: Supervision) {
        self.policy = policy;
    }

    /// All of them, in the order in which they were started.
    pub fn iter(&self) -> impl Iterator<Item = (&C, Lifetime)> {
        self.children.iter().map(|child| (&child.id, child.lifetime))
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, id: &C) -> bool {
        self.place(id).is_some()
    }

    /// Whether that child runs or may run.
    #[must_use]
    pub fn is_up(&self, id: &C) -> bool {
        self.place(id).is_some_and(|at| self.children[at].state != State::Ended && !self.is_down(at))
    }

    /// When that child starts, if it waits for its restart.
    #[must_use]
    pub fn starts_at(&self, id: &C) -> Option<Time> {
        let State::Down(at) = self.children[self.place(id)?].state else { return None };
        Some(at)
    }

    /// How often that child was restarted.
    #[must_use]
    pub fn restarts(&self, id: &C) -> u64 {
        self.place(id).map_or(0, |at| self.children[at].restarts)
    }

    /// Whether the parent is down, and so all of them.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// One more child, which runs; it is the last in order. One that is a child already keeps its place and
    /// has that lifetime from now on.
    ///
    /// # Errors
    /// When there are too many.
    pub fn spawn(&mut self, id: C, lifetime: Lifetime) -> Result<(), TooManyChildren> {
        if let Some(at) = self.place(&id) {
            self.children[at].lifetime = lifetime;
            return Ok(());
        }
        if self.children.len() >= CHILDREN_MAX {
            return Err(TooManyChildren);
        }
        self.children.push(Child { id, lifetime, state: State::Up, pause: Pause::default(), restarts: 0 });
        Ok(())
    }

    /// They are those that the parent's row lists, in its order: others are let go of, and what waited runs.
    pub fn set_listed(&mut self, listed: impl Iterator<Item = (C, Lifetime)>) -> Vec<Action<C>> {
        let listed: Vec<_> = listed.take(CHILDREN_MAX).collect();
        if listed.iter().map(|(id, _)| id).eq(self.children.iter().map(|child| &child.id)) {
            self.children.iter_mut().zip(listed).for_each(|(child, (_, lifetime))| child.lifetime = lifetime);
            return Vec::new();
        }
        let mut before = std::mem::take(&mut self.children);
        for (id, lifetime) in listed {
            let known = before.iter().position(|child| child.id == id).map(|at| before.remove(at));
            let state = if self.held { State::Down(Time::NEVER) } else { State::Up };
            let new = || Child { id, lifetime, state, pause: Pause::default(), restarts: 0 };
            self.children.push(known.map_or_else(new, |child| Child { lifetime, ..child }));
        }
        let waited = before.into_iter().filter(|child| matches!(child.state, State::Down(_)));
        waited.map(|child| Action::Start(child.id)).collect()
    }

    /// The parent ends that child for good.
    pub fn stop(&mut self, id: &C) -> Vec<Action<C>> {
        let Some(at) = self.place(id) else { return Vec::new() };
        vec![Action::Stop(self.children.remove(at).id)]
    }

    /// The parent itself ends for good: so do they, in reverse order.
    pub fn stop_all(&mut self) -> Vec<Action<C>> {
        self.children.drain(..).rev().map(|child| Action::Stop(child.id)).collect()
    }

    /// How many restarts there were within the window, if a failure now is counted too.
    #[must_use]
    pub fn count(&self, now: Time) -> u32 {
        self.window.count(self.policy.restarts, now).saturating_add(1)
    }

    /// That child failed, and this is the parent's directive. One that does not run cannot fail: a late report
    /// changes nothing.
    pub fn failed(&mut self, id: &C, directive: Directive, now: Time, random: u64) -> Vec<Action<C>> {
        // What fails lived, though its end may have been told after a message had woken it again.
        let Some(at) = self.place(id).filter(|at| !self.is_down(*at)) else { return Vec::new() };
        self.children[at].state = State::Up;
        let temporary = self.children[at].lifetime == Lifetime::Temporary;
        match directive {
            Directive::Stop => self.stop(id),
            _ if self.held => {
                if temporary {
                    self.stop(id)
                } else {
                    self.waits(id);
                    Vec::new()
                }
            }
            Directive::Resume | Directive::Restart if temporary => self.stop(id),
            Directive::Escalate => self.escalate(Some(at)),
            Directive::Resume => {
                let due = self.children[at].pause.next(&self.policy.backoff, now, random);
                self.children[at].state = State::Down(due);
                self.due(now)
            }
            Directive::Restart => self.restart(at, now, random),
        }
    }

    /// That child ended without a failure.
    pub fn ended(&mut self, id: &C, now: Time, random: u64) -> Vec<Action<C>> {
        let Some(at) = self.place(id).filter(|at| self.children[*at].state == State::Up) else { return Vec::new() };
        match self.children[at].lifetime {
            Lifetime::Permanent if self.held => {
                self.waits(id);
                Vec::new()
            }
            Lifetime::Permanent => self.restart(at, now, random),
            Lifetime::Transient => {
                self.children[at].state = State::Ended;
                Vec::new()
            }
            Lifetime::Temporary => self.stop(id),
        }
    }

    /// A message wakes a child that had ended.
    pub fn woke(&mut self, id: &C) {
        if let Some(at) = self.place(id).filter(|at| !self.held && self.children[*at].state == State::Ended) {
            self.children[at].state = State::Up;
        }
    }

    /// That child is not let run, since the parent is down: it starts with it, though it ran until now. The parent's
    /// last turn may have spawned it.
    pub fn waits(&mut self, id: &C) {
        if let Some(at) = self.place(id).filter(|at| self.held && !self.is_down(*at)) {
            self.children[at].state = State::Down(Time::NEVER);
        }
    }

    /// When [`Children::due`] has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let waits = self.children.iter().filter_map(|child| match child.state {
            State::Down(at) => Some(at),
            State::Up | State::Ended => None,
        });
        waits.min().filter(|_| !self.held)
    }

    /// Starts those whose wait is over, in order.
    pub fn due(&mut self, now: Time) -> Vec<Action<C>> {
        if self.held {
            return Vec::new();
        }
        let due = |child: &&mut Child<C>| matches!(child.state, State::Down(at) if at <= now);
        self.children.iter_mut().filter(due).map(Child::start).collect()
    }

    /// Those that wait for their restart need not wait any longer. Those that wait for the parent do.
    pub fn hurry(&mut self, now: Time) {
        for child in &mut self.children {
            if let State::Down(at) = &mut child.state
                && *at < Time::NEVER
            {
                *at = now.min(*at);
            }
        }
    }

    /// The parent is down: so are they, in reverse order; those that are temporary end for good.
    pub fn hold(&mut self) -> Vec<Action<C>> {
        self.held = true;
        self.end_from(0, None, Time::NEVER)
    }

    /// The parent runs again: so do they, in order, as if none had ever failed.
    pub fn release(&mut self) -> Vec<Action<C>> {
        if !std::mem::take(&mut self.held) {
            return Vec::new();
        }
        self.window.clear();
        self.children.iter_mut().for_each(|child| child.pause = Pause::default());
        // The parent may have spawned one while it woke, which runs.
        let down = |child: &&mut Child<C>| child.state != State::Up;
        self.children.iter_mut().filter(down).map(Child::start).collect()
    }

    fn place(&self, id: &C) -> Option<usize> {
        self.children.iter().position(|child| child.id == *id)
    }

    fn is_down(&self, at: usize) -> bool {
        matches!(self.children[at].state, State::Down(_))
    }

    /// Restarts what the strategy says, if that is not one restart too many.
    fn restart(&mut self, at: usize, now: Time, random: u64) -> Vec<Action<C>> {
        if !self.window.add(self.policy.restarts, now) {
            return self.escalate(Some(at));
        }
        let due = self.children[at].pause.next(&self.policy.backoff, now, random);
        let mut actions = match self.policy.strategy {
            Strategy::OneForOne => {
                self.children[at].state = State::Down(due);
                Vec::new()
            }
            Strategy::AllForOne => self.end_from(0, Some(at), due),
            Strategy::RestForOne => self.end_from(at, Some(at), due),
        };
        actions.extend(self.due(now));
        actions
    }

    fn escalate(&mut self, failed: Option<usize>) -> Vec<Action<C>> {
        self.held = true;
        let mut actions = self.end_from(0, failed, Time::NEVER);
        actions.push(Action::Escalate);
        actions
    }

    /// Ends all from that place on, in reverse order, until a restart that is due then; the one that failed has
    /// ended already. None of them starts before one that stands before it, since each starts at the latest
    /// time of those.
    fn end_from(&mut self, first: usize, failed: Option<usize>, due: Time) -> Vec<Action<C>> {
        let mut actions = Vec::new();
        for at in (first..self.children.len()).rev() {
            let child = &mut self.children[at];
            if child.lifetime == Lifetime::Temporary {
                actions.push(Action::Stop(self.children.remove(at).id));
                continue;
            }
            if child.state == State::Up && failed != Some(at) {
                actions.push(Action::Hold(child.id.clone()));
            }
            let later = if let State::Down(later) = child.state { later.max(due) } else { due };
            child.state = State::Down(later);
        }
        let mut latest = Time::default();
        for child in self.children.iter_mut().skip(first) {
            if let State::Down(at) = &mut child.state {
                latest = latest.max(*at);
                *at = latest;
            }
        }
        actions
    }
}

impl<C: Clone> Child<C> {
    fn start(&mut self) -> Action<C> {
        self.state = State::Up;
        self.restarts += 1;
        Action::Start(self.id.clone())
    }
}
