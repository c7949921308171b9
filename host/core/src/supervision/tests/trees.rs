//! Random trees and failures: the machines, with a driver that does nothing but carry actions from one
//! to the next, against the model. Waits are zero here; `waits` is about those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{Action, Backoff, Children, Directive, Lifetime, RestartLimit, Strategy, Supervision, Thousandths};
use super::model::{Event, Mistake, Model, Name, Supervisor};
use super::rng::Rng;
use crate::time::Time;

const SEEDS: u64 = 10_000;
const STEPS: usize = 60;
/// How many seeds a mistake has to show itself.
const MISTAKE_SEEDS: u64 = 1000;

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::AllForOne, Strategy::RestForOne];
const LIFETIMES: [Lifetime; 4] = [Lifetime::Permanent, Lifetime::Permanent, Lifetime::Transient, Lifetime::Temporary];
const NO_WAIT: Backoff = Backoff {
    min: Duration::ZERO,
    max: Duration::ZERO,
    factor: Thousandths(1000),
    jitter: Thousandths(0),
    reset_after: Duration::ZERO,
};

/// The machines of a tree.
struct Tree<'d> {
    nodes: BTreeMap<Name, Children<Name>>,
    parents: BTreeMap<Name, Name>,
    log: Vec<Event>,
    directive: &'d dyn Fn(Name, Name, u32) -> Directive,
}

impl Tree<'_> {
    fn failed(&mut self, name: Name, now: Time) {
        let Some(parent) = self.parents.get(&name).copied() else { return self.log.push(Event::Over) };
        let count = self.nodes[&parent].count(now);
        self.log.push(Event::Asked(parent, name, count));
        let directive = (self.directive)(parent, name, count);
        let actions = self.nodes.get_mut(&parent).unwrap().failed(&name, directive, now, 0);
        self.carry_out(parent, actions, now);
    }

    fn ended(&mut self, name: Name, now: Time) {
        let parent = self.parents[&name];
        let actions = self.nodes.get_mut(&parent).unwrap().ended(&name, now, 0);
        self.carry_out(parent, actions, now);
    }

    fn stop(&mut self, name: Name, now: Time) {
        let parent = self.parents[&name];
        let actions = self.nodes.get_mut(&parent).unwrap().stop(&name);
        self.carry_out(parent, actions, now);
    }

    fn carry_out(&mut self, parent: Name, actions: Vec<Action<Name>>, now: Time) {
        for action in actions {
            match action {
                Action::Hold(name) => {
                    self.below(name, Children::hold, now);
                    self.log.push(Event::Held(name));
                }
                Action::Start(name) => {
                    self.log.push(Event::Started(name));
                    self.below(name, Children::release, now);
                }
                Action::Stop(name) => {
                    self.below(name, Children::stop_all, now);
                    self.parents.remove(&name);
                    self.log.push(Event::Stopped(name));
                }
                Action::Escalate => self.failed(parent, now),
            }
        }
    }

    fn below(&mut self, name: Name, what: impl Fn(&mut Children<Name>) -> Vec<Action<Name>>, now: Time) {
        let actions = self.nodes.get_mut(&name).map(what).unwrap_or_default();
        self.carry_out(name, actions, now);
    }
}

/// Runs one seed; what differs, if anything does.
fn compare(seed: u64, mistake: Option<Mistake>, seen: &mut BTreeMap<&'static str, u64>) -> Result<(), String> {
    let rng = &mut Rng::new(seed);
    let salt = rng.next();
    // In half of the runs the strategies decide alone, as they do in OTP.
    let decides = rng.below(2) == 0;
    let directive = move |parent: Name, child: Name, count: u32| {
        let mut rng = Rng::new(salt ^ u64::from(parent) << 40 ^ u64::from(child) << 20 ^ u64::from(count));
        match rng.below(if decides { 12 } else { 1 }) {
            1 | 2 => Directive::Resume,
            3 => Directive::Stop,
            4 => Directive::Escalate,
            _ => Directive::Restart,
        }
    };
    let mut tree = Tree { nodes: BTreeMap::new(), parents: BTreeMap::new(), log: Vec::new(), directive: &directive };
    let mut model = Model {
        supervisors: BTreeMap::new(),
        parents: BTreeMap::new(),
        up: BTreeMap::from([(0, true)]),
        held: BTreeSet::new(),
        log: Vec::new(),
        directive: &directive,
        mistake,
        over: false,
    };
    let supervisors = 1 + rng.below(5) as Name;
    let mut names = supervisors;
    for name in 0..supervisors {
        let (strategy, max) = (rng.pick(&STRATEGIES), rng.below(5) as u32);
        let within = Duration::from_nanos(rng.below(200));
        let restarts = RestartLimit { max, within };
        tree.nodes.insert(name, Children::new(Supervision { strategy, restarts, backoff: NO_WAIT }));
        let supervisor = Supervisor { strategy, max, within, children: Vec::new(), restarts: Vec::new() };
        model.supervisors.insert(name, supervisor);
    }
    let spawn = |tree: &mut Tree<'_>, model: &mut Model<'_>, rng: &mut Rng, parent: Name, name: Name| {
        let lifetime = rng.pick(&LIFETIMES);
        tree.nodes.get_mut(&parent).unwrap().spawn(name, lifetime).unwrap();
        tree.parents.insert(name, parent);
        model.spawn(parent, name, lifetime);
    };
    for name in 1..supervisors {
        let parent = rng.below(u64::from(name)) as Name;
        spawn(&mut tree, &mut model, rng, parent, name);
    }
    let mut now = Time(1000);
    for _ in 0..STEPS {
        now = now.after(Duration::from_nanos(rng.pick(&[0, 1, 10, 50, 100, 300])));
        let up: Vec<Name> = (1..names).filter(|name| model.is_up(*name)).collect();
        match rng.below(10) {
            0..3 => {
                let parent = rng.below(u64::from(supervisors)) as Name;
                if model.is_up(parent) {
                    spawn(&mut tree, &mut model, rng, parent, names);
                    names += 1;
                }
            }
            _ if up.is_empty() => {}
            3..8 => {
                let name = rng.pick(&up);
                tree.failed(name, now);
                model.failed(name, now);
            }
            8 => {
                let name = rng.pick(&up);
                // Supervisors do not end by themselves.
                if name >= supervisors {
                    tree.ended(name, now);
                    model.ended(name, now);
                }
            }
            _ => {
                let name = rng.pick(&up);
                tree.stop(name, now);
                model.remove(model.parents[&name], name);
            }
        }
        if tree.log != model.log {
            let same = tree.log.iter().zip(&model.log).take_while(|(one, two)| one == two).count();
            return Err(format!("seed {seed}: {:?} but the model {:?}", &tree.log[same..], &model.log[same..]));
        }
        for name in 1..names {
            let is_up = tree.parents.get(&name).is_some_and(|parent| tree.nodes[parent].is_up(&name));
            if is_up != model.is_up(name) {
                return Err(format!("seed {seed}: {name} up {is_up}, which the model says it is not"));
            }
        }
        if model.over {
            break;
        }
    }
    count(&model.log, seen);
    Ok(())
}

/// Counts what a run reached.
fn count(log: &[Event], seen: &mut BTreeMap<&'static str, u64>) {
    for event in log {
        let name = match event {
            Event::Started(_) => "started",
            Event::Held(_) => "held",
            Event::Stopped(_) => "stopped",
            Event::Asked(..) => "asked",
            Event::Over => "over",
        };
        *seen.entry(name).or_default() += 1;
    }
}

#[test]
fn trees_behave_as_those_of_otp_do() {
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        if let Err(difference) = compare(seed, None, &mut seen) {
            panic!("{difference}");
        }
    }
    for event in ["started", "held", "stopped", "asked", "over"] {
        assert!(seen.get(event).is_some_and(|times| *times > SEEDS / 20), "too tame: {seen:?}");
    }
}

#[test]
fn the_comparison_sees_every_mistake() {
    for mistake in Mistake::ALL {
        let found = (0..MISTAKE_SEEDS).find(|seed| compare(*seed, Some(mistake), &mut BTreeMap::new()).is_err());
        assert!(found.is_some(), "{mistake:?} was not seen in {MISTAKE_SEEDS} seeds");
    }
}
