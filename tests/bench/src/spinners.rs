//! Two workers, four actors that spin, and a neighbour that behaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::{Guests, PACKED};
use crate::host::{Actor, Host};
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved, quantile};

const SPINNERS: usize = 4;
const SPIN_MS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(1);
/// How long a spinner is left alone after its answer: no timer is due later, and nobody else is kept busy by callers.
const ALONE: Duration = Duration::from_millis(5);
/// So that timers spin again soon.
const LEASH: &str = r#"
[actor.limits]
turn = "100ms"
[actor.supervision]
restarts = { max = 1000, within = "1m" }
backoff = { min = "1ms", max = "1ms" }
"#;

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let quark = Host::memory(2, 100, &[&guests.hot, &guests.counter, &guests.rogue, &guests.relay])?;
    let neighbours = [
        ("hot", quark.hot("a")?, vec![Val::U64(1)]),
        ("counter", quark.counter("a")?, vec![]),
        ("relay", quark.relay("a")?, vec![Val::String("x".into())]),
    ];
    for (kind, neighbour, arguments) in &neighbours {
        row(&quark, sizes, report, kind, (neighbour, arguments), spin_for)?;
    }
    let (hot, one) = (quark.hot("a")?, [Val::U64(1)]);
    row(&quark, sizes, report, "hot, callees in chains", (&hot, &one), |key| {
        ("relay", "spin-on", vec![Val::String(key.to_string()), Val::U64(SPIN_MS), Val::U64(100 * SPIN_MS)])
    })?;
    drop((neighbours, hot));
    drop(quark);
    let quark = Host::memory_with(2, 100, &[&guests.rogue], LEASH)?;
    quark.add(&guests.hot)?;
    // A timer that never ends, and the next one behind it.
    row(&quark, sizes, report, "hot, timers", (&quark.hot("a")?, &one), |_| {
        ("rogue", "start-timer", vec![Val::String("spin".into()), Val::U64(1), Val::Option(None), Val::U64(0)])
    })?;
    drop(quark);
    // The same rogue in the concurrent lane, alone and all in one pack.
    for (which, manifest) in [("concurrent", ""), ("packed", PACKED)] {
        let quark = Host::memory_with(2, 100, &[&guests.async_rogue], manifest)?;
        quark.add(&guests.hot)?;
        row(&quark, sizes, report, &format!("hot, {which} spinners"), (&quark.hot("a")?, &one), spin_for)?;
    }
    Ok(())
}

/// What one of the spinners, by its number, is asked again and again.
type Asked = (&'static str, &'static str, Vec<Val>);

fn spin_for(_: usize) -> Asked {
    ("rogue", "spin-for", vec![Val::U64(SPIN_MS)])
}

fn row(
    quark: &Host,
    sizes: &Sizes,
    report: &mut Report,
    name: &str,
    (neighbour, arguments): (&Actor, &[Val]),
    asked: impl Fn(usize) -> Asked,
) -> Result<()> {
    let n = sizes.latencies;
    let probes: Vec<Probe<'_>> = vec![
        ("quiet", Box::new(|| Ok(p99(quark, neighbour, arguments, n)))),
        (
            "spinning",
            Box::new(|| {
                let spinners = Spinners::start(quark, &asked)?;
                let sample = p99(quark, neighbour, arguments, n);
                spinners.stop();
                Ok(sample)
            }),
        ),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row(format!("spinners: neighbour's p99 ({name})"), medians.of("spinning")? / 1000.0, "us")
        .against("quiet", medians.of("quiet")? / 1000.0)
        .goal(Goal::RatioAtMost(5.0));
    Ok(())
}

/// Nanoseconds from a request of another thread, as a gateway has them, to its answer.
pub(crate) fn p99(quark: &Host, neighbour: &Actor, arguments: &[Val], n: usize) -> f64 {
    let mut samples = Vec::with_capacity(n);
    let (done, answered) = mpsc::channel();
    for _ in 0..n {
        let (neighbour, arguments, done) = (neighbour.clone(), arguments.to_vec(), done.clone());
        let start = Instant::now();
        quark.runtime.spawn(async move {
            let answer = neighbour.ask(&arguments).await;
            _ = done.send(answer.is_ok());
        });
        if answered.recv().is_ok_and(|ok| ok) {
            samples.push(start.elapsed().as_nanos() as f64);
        }
        std::thread::sleep(PAUSE);
    }
    quantile(samples, 0.99)
}

struct Spinners<'a> {
    quark: &'a Host,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl<'a> Spinners<'a> {
    fn start(quark: &'a Host, asked: impl Fn(usize) -> Asked) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for key in 0..SPINNERS {
            let (kind, method, arguments) = asked(key);
            let (rogue, stop) = (quark.actor(kind, &key.to_string(), method)?, stop.clone());
            tasks.push(quark.runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    drop(rogue.ask(&arguments).await);
                    tokio::time::sleep(ALONE).await;
                }
            }));
        }
        std::thread::sleep(Duration::from_millis(2 * SPIN_MS));
        Ok(Self { quark, stop, tasks })
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            drop(self.quark.runtime.block_on(task));
        }
    }
}
