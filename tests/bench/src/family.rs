//! Parents and children: what a spawn and a supervised restart take, what neighbours see of those that behave
//! badly in each role, and how soon a call that would wait for itself is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{Actor, Host};
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved};
use crate::spinners::p99;

/// So that no round comes to the limit.
const CREW: &str = "[actor.supervision]\nrestarts = { max = 1000, within = \"1m\" }\n";
/// Nobody comes back.
const ALONE: &str = "[actor]\nreentrancy = \"none\"\n";
/// Its turns end soon.
const SHORT: &str = "[actor.limits]\nturn = \"100ms\"\n";
/// Families that behave badly at once.
const BAD: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    children(guests, sizes, report)?;
    roles(guests, sizes, report)?;
    deadlock(guests, sizes, report)
}

fn name(text: &str) -> Val {
    Val::String(text.into())
}

fn hire(name_of: &str) -> [Val; 2] {
    [name(name_of), Val::Enum("permanent".into())]
}

fn children(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.wakes;
    let quark = Host::memory_with(1, 6 * n + 100, &[&guests.crew], CREW)?;
    let workers = |prefix: &str, method: &str| -> Result<Vec<Actor>> {
        (0..n).map(|key| quark.actor("worker", &format!("{prefix}.{key}"), method)).collect()
    };
    // The parent of that round, with all its children.
    let family = async |parent: &str| -> Result<f64> {
        let hires = quark.actor("crew", parent, "hire")?;
        let start = Instant::now();
        for key in 0..n {
            hires.ask(&hire(&key.to_string())).await?;
        }
        Ok(start.elapsed().as_nanos() as f64 / n as f64)
    };
    // Each crashes once and is asked again.
    let crash_all = async |prefix: &str| -> Result<f64> {
        let (crashing, asked) = (workers(prefix, "crash")?, workers(prefix, "total")?);
        let start = Instant::now();
        for (crashing, asked) in crashing.iter().zip(&asked) {
            ensure!(crashing.ask(&[]).await.is_err(), "a worker that was to crash answered");
            asked.ask(&[]).await?;
        }
        Ok(start.elapsed().as_nanos() as f64 / n as f64)
    };
    let rounds: [std::cell::Cell<usize>; 4] = Default::default();
    let next = |at: usize| {
        rounds[at].set(rounds[at].get() + 1);
        format!("{at}-{}", rounds[at].get())
    };
    let probes: Vec<Probe<'_>> = vec![
        ("spawned", Box::new(|| quark.runtime.block_on(family(&next(0))))),
        (
            "fresh",
            Box::new(|| {
                let fresh = workers(&next(1), "work")?;
                quark.runtime.block_on(async {
                    let start = Instant::now();
                    for worker in &fresh {
                        worker.ask(&[Val::U64(1)]).await?;
                    }
                    Ok(start.elapsed().as_nanos() as f64 / n as f64)
                })
            }),
        ),
        (
            "child",
            Box::new(|| {
                let parent = next(2);
                quark.runtime.block_on(async {
                    family(&parent).await?;
                    crash_all(&parent).await
                })
            }),
        ),
        (
            "orphan",
            Box::new(|| {
                let prefix = next(3);
                let fresh = workers(&prefix, "work")?;
                quark.runtime.block_on(async {
                    for worker in &fresh {
                        worker.ask(&[Val::U64(1)]).await?;
                    }
                    crash_all(&prefix).await
                })
            }),
        ),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row("family: spawn of a child (crew, worker)", medians.of("spawned")? / 1000.0, "us")
        .against("first call of a fresh key, which writes", medians.of("fresh")? / 1000.0);
    report
        .row("family: a child's crash and its next answer", medians.of("child")? / 1000.0, "us")
        .against("without a parent", medians.of("orphan")? / 1000.0);
    Ok(())
}

/// Who behaves badly, and how.
struct Role {
    name: &'static str,
    kind: &'static str,
    method: &'static str,
    arguments: Vec<Val>,
}

fn roles(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let quark = Host::memory_with(2, 1_000, &[&guests.crew], CREW)?;
    quark.add(&guests.hot)?;
    quark.deploy(&guests.foreman, Some(SHORT))?;
    let (neighbour, one, n) = (quark.hot("a")?, [Val::U64(1)], sizes.latencies);
    let roles = [
        Role { name: "a child that crashes", kind: "worker", method: "crash", arguments: Vec::new() },
        Role { name: "a child that spins", kind: "worker", method: "busy", arguments: vec![Val::U64(50)] },
        Role { name: "a parent that crashes", kind: "crew", method: "crash", arguments: Vec::new() },
    ];
    quark.runtime.block_on(async {
        for key in 0..BAD {
            quark.actor("crew", &key.to_string(), "hire")?.ask(&hire("w")).await?;
            let take = quark.actor("foreman", &key.to_string(), "take")?;
            take.ask(&hire("f")).await?;
            quark.actor("foreman", &key.to_string(), "decide")?.ask(&[Val::Enum("spin".into())]).await?;
        }
        anyhow::Ok(())
    })?;
    for role in &roles {
        let keys: Vec<String> = match role.kind {
            "worker" => (0..BAD).map(|key| format!("{key}.w")).collect(),
            _ => (0..BAD).map(|key| key.to_string()).collect(),
        };
        let actors = keys.iter().map(|key| quark.actor(role.kind, key, role.method)).collect::<Result<Vec<_>>>()?;
        row(&quark, report, sizes, role.name, || Bad::start(&quark, &actors, &role.arguments), (&neighbour, &one, n))?;
    }
    // Each of the foremen is asked about a failure, and never answers.
    let workers =
        (0..BAD).map(|key| quark.actor("worker", &format!("{key}.f"), "crash")).collect::<Result<Vec<_>>>()?;
    let spins = "a parent whose on-child-failed spins";
    row(&quark, report, sizes, spins, || Bad::start(&quark, &workers, &[]), (&neighbour, &one, n))
}

fn row<'a>(
    quark: &Host,
    report: &mut Report,
    sizes: &Sizes,
    name: &str,
    start: impl Fn() -> Bad<'a>,
    (neighbour, arguments, n): (&Actor, &[Val], usize),
) -> Result<()> {
    let probes: Vec<Probe<'_>> = vec![
        ("quiet", Box::new(|| Ok(p99(quark, neighbour, arguments, n)))),
        (
            "bad",
            Box::new(|| {
                let bad = start();
                let sample = p99(quark, neighbour, arguments, n);
                bad.stop();
                Ok(sample)
            }),
        ),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row(format!("roles: neighbour's p99 ({name})"), medians.of("bad")? / 1000.0, "us")
        .against("quiet", medians.of("quiet")? / 1000.0)
        .goal(Goal::RatioAtMost(5.0));
    Ok(())
}

/// Actors that are asked again and again, whatever they answer.
struct Bad<'a> {
    quark: &'a Host,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl<'a> Bad<'a> {
    fn start(quark: &'a Host, actors: &[Actor], arguments: &[Val]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |actor: &Actor| {
            let (actor, arguments, stop) = (actor.clone(), arguments.to_vec(), stop.clone());
            quark.runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    drop(actor.ask(&arguments).await);
                    tokio::time::sleep(PAUSE).await;
                }
            })
        };
        let tasks = actors.iter().map(ask).collect();
        std::thread::sleep(Duration::from_millis(100));
        Self { quark, stop, tasks }
    }

    /// What they were asked last may take as long as a restart, and so may what their parents were.
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.abort();
            drop(self.quark.runtime.block_on(task));
        }
        for key in 0..BAD {
            let parent = self.quark.actor("foreman", &key.to_string(), "roster");
            drop(parent.map(|parent| self.quark.runtime.block_on(async move { parent.ask(&[]).await })));
        }
    }
}

/// A chain that comes back to a kind that lets nobody in.
fn deadlock(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let quark = Host::memory_with(1, 100, &[&guests.relay], ALONE)?;
    let n = sizes.asks / 10;
    let chain = |keys: &[&str]| [Val::List(keys.iter().map(|key| name(key)).collect())];
    let (comes_back, ends) = (chain(&["b", "a"]), chain(&["b", "c"]));
    let actor = quark.actor("relay", "a", "chain")?;
    let asks = |arguments: &[Val; 1], fails: bool| {
        let start = Instant::now();
        quark.runtime.block_on(async {
            for _ in 0..n {
                ensure!(actor.ask(arguments).await.is_err() == fails, "a chain ended otherwise");
            }
            Ok(start.elapsed().as_nanos() as f64 / n as f64)
        })
    };
    let probes: Vec<Probe<'_>> =
        vec![("refused", Box::new(|| asks(&comes_back, true))), ("answered", Box::new(|| asks(&ends, false)))];
    let medians = interleaved(sizes, probes)?;
    report
        .row("deadlock: a chain that comes back, to its answer", medians.of("refused")? / 1000.0, "us")
        .against("the same to a third actor", medians.of("answered")? / 1000.0);
    Ok(())
}
