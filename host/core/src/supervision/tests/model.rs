//! OTP's supervisors, written down as plainly as can be: no waits, all history kept, recursion. One thing
//! is other than there: a parent that fails by itself, and not for its children's sake, leaves them alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{Directive, Lifetime, Strategy};
use crate::time::Time;

/// Names an actor of a tree.
pub(super) type Name = u32;

/// What happened, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Started(Name),
    Held(Name),
    Stopped(Name),
    /// The parent was asked about its child's failure, which is the how manieth.
    Asked(Name, Name, u32),
    /// The tree's top failed.
    Over,
}

/// A rule that is broken on purpose, to show that the comparison sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    OneRestartMore,
    OldRestartsCount,
    TemporaryRestarts,
    TransientRestarts,
    GroupEndsInOrder,
    RestIsAll,
    ResumeCounts,
    StopEndsAll,
    EscalationKeepsCount,
    GrandchildrenStay,
}

impl Mistake {
    pub(super) const ALL: [Self; 10] = [
        Self::OneRestartMore,
        Self::OldRestartsCount,
        Self::TemporaryRestarts,
        Self::TransientRestarts,
        Self::GroupEndsInOrder,
        Self::RestIsAll,
        Self::ResumeCounts,
        Self::StopEndsAll,
        Self::EscalationKeepsCount,
        Self::GrandchildrenStay,
    ];
}

/// One supervisor.
pub(super) struct Supervisor {
    pub(super) strategy: Strategy,
    pub(super) max: u32,
    pub(super) within: Duration,
    pub(super) children: Vec<(Name, Lifetime)>,
    pub(super) restarts: Vec<Time>,
}

pub(super) struct Model<'d> {
    pub(super) supervisors: BTreeMap<Name, Supervisor>,
    pub(super) parents: BTreeMap<Name, Name>,
    pub(super) up: BTreeMap<Name, bool>,
    /// Those whose children all ended with them.
    pub(super) held: BTreeSet<Name>,
    pub(super) log: Vec<Event>,
    pub(super) directive: &'d dyn Fn(Name, Name, u32) -> Directive,
    pub(super) mistake: Option<Mistake>,
    pub(super) over: bool,
}

impl Model<'_> {
    fn made(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    pub(super) fn is_up(&self, name: Name) -> bool {
        self.up.get(&name).copied().unwrap_or(false)
    }

    pub(super) fn spawn(&mut self, parent: Name, name: Name, lifetime: Lifetime) {
        self.supervisors.get_mut(&parent).unwrap().children.push((name, lifetime));
        self.parents.insert(name, parent);
        self.up.insert(name, true);
    }

    fn lifetime(&self, parent: Name, name: Name) -> Lifetime {
        self.supervisors[&parent].children.iter().find(|(child, _)| *child == name).unwrap().1
    }

    /// It and all below it end; those that are temporary for good.
    fn hold(&mut self, name: Name) {
        self.hold_children(name);
        if self.up.insert(name, false) == Some(true) {
            self.log.push(Event::Held(name));
        }
    }

    fn hold_children(&mut self, parent: Name) {
        if self.made(Mistake::GrandchildrenStay) {
            return;
        }
        let Some(supervisor) = self.supervisors.get(&parent) else { return };
        let children = supervisor.children.clone();
        self.end_group(parent, None, children);
        self.held.insert(parent);
    }

    fn end_group(&mut self, parent: Name, failed: Option<Name>, mut group: Vec<(Name, Lifetime)>) {
        if !self.made(Mistake::GroupEndsInOrder) {
            group.reverse();
        }
        for (child, lifetime) in group {
            if lifetime == Lifetime::Temporary && !self.made(Mistake::TemporaryRestarts) {
                self.remove(parent, child);
            } else if failed != Some(child) {
                self.hold(child);
            }
        }
    }

    /// It and all below it end for good.
    pub(super) fn remove(&mut self, parent: Name, name: Name) {
        if let Some(supervisor) = self.supervisors.get(&name) {
            for (child, _) in supervisor.children.clone().into_iter().rev() {
                self.remove(name, child);
            }
        }
        self.supervisors.get_mut(&parent).unwrap().children.retain(|(child, _)| *child != name);
        self.parents.remove(&name);
        self.up.remove(&name);
        self.log.push(Event::Stopped(name));
    }

    fn start(&mut self, name: Name) {
        self.log.push(Event::Started(name));
        self.up.insert(name, true);
        if self.made(Mistake::GrandchildrenStay) {
            return;
        }
        if !self.held.remove(&name) {
            return;
        }
        let keeps = self.made(Mistake::EscalationKeepsCount);
        if let Some(supervisor) = self.supervisors.get_mut(&name) {
            if !keeps {
                supervisor.restarts.clear();
            }
            for (child, _) in supervisor.children.clone() {
                self.start(child);
            }
        }
    }

    pub(super) fn failed(&mut self, name: Name, now: Time) {
        self.up.insert(name, false);
        let Some(parent) = self.parents.get(&name).copied() else {
            self.over = true;
            return self.log.push(Event::Over);
        };
        let count = self.recent(parent, now) + 1;
        self.log.push(Event::Asked(parent, name, count));
        let temporary = self.lifetime(parent, name) == Lifetime::Temporary && !self.made(Mistake::TemporaryRestarts);
        match (self.directive)(parent, name, count) {
            Directive::Resume | Directive::Restart if temporary => self.remove(parent, name),
            Directive::Stop if self.made(Mistake::StopEndsAll) => {
                for (child, _) in self.supervisors[&parent].children.clone() {
                    self.remove(parent, child);
                }
            }
            Directive::Stop => self.remove(parent, name),
            Directive::Resume => {
                if self.made(Mistake::ResumeCounts) {
                    self.supervisors.get_mut(&parent).unwrap().restarts.push(now);
                }
                self.start(name);
            }
            Directive::Escalate => self.escalate(parent, name, now),
            Directive::Restart => self.restart(parent, name, now),
        }
    }

    pub(super) fn ended(&mut self, name: Name, now: Time) {
        let parent = self.parents[&name];
        self.up.insert(name, false);
        match self.lifetime(parent, name) {
            Lifetime::Permanent => self.restart(parent, name, now),
            Lifetime::Transient if self.made(Mistake::TransientRestarts) => self.restart(parent, name, now),
            Lifetime::Transient => {}
            Lifetime::Temporary => self.remove(parent, name),
        }
    }

    fn recent(&self, parent: Name, now: Time) -> u32 {
        let supervisor = &self.supervisors[&parent];
        let all = self.made(Mistake::OldRestartsCount);
        let recent = supervisor.restarts.iter().filter(|at| all || now.0 - at.0 <= supervisor.within.as_nanos() as u64);
        recent.count() as u32
    }

    fn restart(&mut self, parent: Name, name: Name, now: Time) {
        let more = u32::from(self.made(Mistake::OneRestartMore));
        if self.recent(parent, now) + 1 > self.supervisors[&parent].max + more {
            return self.escalate(parent, name, now);
        }
        let rest_is_all = self.made(Mistake::RestIsAll);
        let supervisor = self.supervisors.get_mut(&parent).unwrap();
        supervisor.restarts.push(now);
        let place = supervisor.children.iter().position(|(child, _)| *child == name).unwrap();
        let group = match supervisor.strategy {
            Strategy::OneForOne => vec![supervisor.children[place]],
            Strategy::RestForOne if !rest_is_all => supervisor.children[place..].to_vec(),
            Strategy::RestForOne | Strategy::AllForOne => supervisor.children.clone(),
        };
        self.end_group(parent, Some(name), group.clone());
        for (child, _) in group {
            if self.parents.contains_key(&child) {
                self.start(child);
            }
        }
    }

    fn escalate(&mut self, parent: Name, failed: Name, now: Time) {
        let children = self.supervisors[&parent].children.clone();
        self.end_group(parent, Some(failed), children);
        self.held.insert(parent);
        self.failed(parent, now);
    }
}
