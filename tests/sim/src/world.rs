//! The world around the silo: clients, faults, operators; and the run from a seed to its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quark_core::activation::{Phase, Why};
use quark_core::envelope::{Head, Path};
use quark_core::time::Time;

use crate::context::{Context, Due};
use crate::rules::{Rule, Violation};
use crate::silo::{Silo, Waiter};
use crate::store::Write;
use crate::trace::{Event, Source};
use crate::workload::{Msg, What, chain, tell};
use crate::{Mutation, Run};

/// A run that makes more events than this will never end.
const EVENTS_MAX: usize = 500_000;
/// A stop that takes longer is a kill.
const STOP_MAX: Duration = Duration::from_secs(20);
/// The method that always writes.
const WRITES: usize = 3;

/// Runs one seed to its end.
#[must_use]
pub fn run(seed: u64, mutation: Option<Mutation>) -> Run {
    finish(seed, None, World::new(seed, mutation))
}

/// Runs a seed and kills the silo when it has made this many steps.
#[must_use]
pub fn run_killed(seed: u64, step: usize) -> Run {
    finish(seed, Some(step), World { kill: Some(step), ..World::new(seed, None) })
}

fn finish(seed: u64, killed: Option<usize>, mut world: World) -> Run {
    let start = world.cx.now;
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let mut cx = world.cx;
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|| "no text".into());
        cx.violation.get_or_insert(Violation { rule: Rule::Panic, text });
    }
    Run { seed, killed, violation: cx.violation, simulated: cx.now.since(start), trace: cx.trace }
}

struct World {
    cx: Context,
    silo: Silo,
    end: Time,
    /// Steps until the silo is killed.
    kill: Option<usize>,
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let cx = Context::new(seed, mutation);
        let end = cx.now.after(cx.work.length);
        let silo = Silo::new(cx.work.actors());
        Self { cx, silo, end, kill: None }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is the silo's")]
    fn run(&mut self) {
        self.plan();
        while let Some(due) = self.cx.next() {
            if self.cx.faults && self.cx.now >= self.end {
                self.cx.faults = false;
                self.cx.log(Event::Calm);
            }
            match due {
                Due::Client(client) => self.client(client),
                Due::Fault => self.fault(),
                Due::Flood(to) => self.call(Source::Client(0), to, WRITES, What::Call),
                Due::Crash => self.crash(),
                Due::Boot => self.silo.boot(&mut self.cx),
                Due::Stopping { since } => self.stopping(since),
                due => self.silo.handle(&mut self.cx, due),
            }
            self.kill = self.kill.and_then(|steps| steps.checked_sub(1));
            if self.kill == Some(0) {
                self.crash();
            }
            if self.cx.violation.is_some() {
                return;
            }
            if self.cx.trace.len() > EVENTS_MAX {
                let text = "things go on happening for ever".into();
                self.cx.violation = Some(Violation { rule: Rule::Liveness, text });
                return;
            }
        }
        self.cx.finish();
        if self.cx.violation.is_none() && self.silo.catalog.iter().any(Option::is_some) {
            let text = "an activation never left".into();
            self.cx.violation = Some(Violation { rule: Rule::Liveness, text });
        }
    }

    /// All that the world will do of itself.
    fn plan(&mut self) {
        let cx = &mut self.cx;
        let length = u64::try_from(cx.work.length.as_micros()).expect("seconds");
        for client in 0..cx.work.clients {
            cx.after(Duration::ZERO, Due::Client(client));
        }
        let crashes = (0..cx.work.crashes).map(|_| Due::Crash);
        let faults = (0..cx.work.faults).map(|_| Due::Fault);
        for due in crashes.chain(faults).collect::<Vec<_>>() {
            let wait = Duration::from_micros(cx.rng.range(1, length));
            cx.after(wait, due);
        }
        self.silo.boot(cx);
    }

    /// A client asks for something, and again later.
    fn client(&mut self, client: usize) {
        if !self.cx.faults {
            return;
        }
        let gap = self.cx.some(self.cx.work.gap * 2);
        self.cx.after(gap, Due::Client(client));
        let to = self.cx.rng.index(self.cx.work.actors());
        // A few actors are asked more than all others.
        let to = if self.cx.rng.chance(30) { to % 2 } else { to };
        let method = self.cx.work.any_method(&mut self.cx.rng);
        if self.cx.rng.chance(20) {
            self.tell(client, to, method);
        } else {
            self.call(Source::Client(client), to, method, What::Call);
        }
    }

    fn ask(&mut self, by: Source, to: usize, reads: bool) -> Option<(u64, Time)> {
        if !self.silo.up || self.silo.stopping {
            return None;
        }
        let cx = &mut self.cx;
        let request = cx.id();
        let deadline = cx.now.after(Duration::from_millis(cx.rng.range(2, 600)));
        self.silo.waiters.insert(request, Waiter::Client);
        cx.log(Event::Asked { request, by, to, reads, deadline, parent: None });
        cx.at(deadline, Due::Deadline(request));
        Some((request, deadline))
    }

    fn call(&mut self, source: Source, to: usize, method: usize, what: What) {
        let reads = what == What::Call && self.cx.work.reads(to, method);
        let Some((id, deadline)) = self.ask(source, to, reads) else { return };
        let cx = &mut self.cx;
        let head = Head { teller: None, deadline, path: Path::START, chain: chain(), keyed: None };
        let size = cx.rng.index(200);
        let (amount, depth, seen, begun) = (0, 0, None, false);
        let message = Msg { id, to, head, source, method, reads, amount, depth, seen, size, begun, what };
        cx.after(cx.work.hop, Due::Arrive(message));
    }

    fn tell(&mut self, client: usize, to: usize, method: usize) {
        let Some((request, _)) = self.ask(Source::Client(client), to, false) else { return };
        let tell = tell(self.cx.work.id(to), method, 0, 0, 0);
        self.silo.store.hand_over(&mut self.cx, Write::Accept(request, tell));
    }

    fn fault(&mut self) {
        let to = self.cx.rng.index(self.cx.work.actors());
        let kind = self.cx.rng.range(0, 9);
        if !self.silo.up || !self.cx.faults {
            return;
        }
        match kind {
            0 => {
                let pause = Duration::from_millis(self.cx.rng.range(5, 300));
                self.silo.store.pause(&mut self.cx, pause);
            }
            1 => {
                let jump = Duration::from_millis(self.cx.rng.range(5, 900));
                self.cx.now = self.cx.now.after(jump);
                self.cx.log(Event::Jump);
            }
            2..4 => self.silo.store.steal(&mut self.cx, to),
            4..6 => self.call(Source::Operator, to, 0, What::Control),
            6 => {
                self.silo.store.pause(&mut self.cx, Duration::from_millis(80));
                for n in 0..120 {
                    self.cx.after(Duration::from_micros(n * 500), Due::Flood(to));
                }
            }
            7 => {
                self.silo.stopping = true;
                self.silo.relay.stopping = true;
                let since = self.cx.now;
                self.cx.after(Duration::ZERO, Due::Stopping { since });
            }
            _ => {
                let whys = [Why::Idle, Why::Requested, Why::MemoryPressure, Why::Upgraded];
                let why = whys[self.cx.rng.index(whys.len())];
                self.silo.deactivate(&mut self.cx, to, why);
            }
        }
    }

    fn crash(&mut self) {
        if self.silo.up {
            self.silo.crash(&mut self.cx);
            self.boot_later();
        }
    }

    fn boot_later(&mut self) {
        let down = Duration::from_millis(self.cx.rng.range(1, 50));
        self.cx.after(down, Due::Boot);
    }

    /// Asks all to leave, until none is left and nobody waits.
    fn stopping(&mut self, since: Time) {
        if !self.silo.stopping {
            return;
        }
        for actor in 0..self.cx.work.actors() {
            self.silo.deactivate(&mut self.cx, actor, Why::Shutdown);
        }
        let gone = |it: &Option<crate::silo::Activation>| it.as_ref().is_none_or(|it| it.turns.phase() == Phase::Gone);
        let empty = self.silo.catalog.iter().all(gone) && self.silo.waiters.is_empty();
        if empty && self.silo.store.is_quiet() {
            self.cx.log(Event::Stopped);
            self.cx.crash();
            self.silo.forget();
            self.boot_later();
        } else if self.cx.now.since(since) > STOP_MAX {
            self.crash();
        } else {
            self.cx.after(Duration::from_millis(5), Due::Stopping { since });
        }
    }
}
