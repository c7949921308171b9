//! Two workers, four actors that spin, and a neighbour that behaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::{Guests, PACKED};
use crate::host::{Actor, Host};
use crate::report::Report;
use crate::rounds::{Probe, Sizes, interleaved, quantile};

const SPINNERS: usize = 4;
const SPIN_MS: u64 = 50;
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let quark = Host::memory(2, 100, &[&guests.hot, &guests.counter, &guests.rogue, &guests.relay])?;
    let neighbours = [
        ("hot", quark.hot("a")?, vec![Val::U64(1)]),
        ("counter", quark.counter("a")?, vec![]),
        ("relay", quark.relay("a")?, vec![Val::String("x".into())]),
    ];
    for (kind, neighbour, arguments) in &neighbours {
        row(&quark, sizes, report, kind, neighbour, arguments)?;
    }
    drop(neighbours);
    drop(quark);
    // The same rogue in the concurrent lane, alone and all in one pack.
    for (which, manifest) in [("concurrent", ""), ("packed", PACKED)] {
        let quark = Host::memory_with(2, 100, &[&guests.async_rogue], manifest)?;
        quark.add(&guests.hot)?;
        row(&quark, sizes, report, &format!("hot, {which} spinners"), &quark.hot("a")?, &[Val::U64(1)])?;
    }
    Ok(())
}

fn row(
    quark: &Host,
    sizes: &Sizes,
    report: &mut Report,
    name: &str,
    neighbour: &Actor,
    arguments: &[Val],
) -> Result<()> {
    let n = sizes.latencies;
    let probes: Vec<Probe<'_>> = vec![
        ("quiet", Box::new(|| Ok(p99(quark, neighbour, arguments, n)))),
        (
            "spinning",
            Box::new(|| {
                let spinners = Spinners::start(quark)?;
                let sample = p99(quark, neighbour, arguments, n);
                spinners.stop();
                Ok(sample)
            }),
        ),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row(format!("spinners: neighbour's p99 ({name})"), medians.of("spinning")? / 1000.0, "us")
        .against("quiet", medians.of("quiet")? / 1000.0);
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
    fn start(quark: &'a Host) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for key in 0..SPINNERS {
            let rogue = quark.actor("rogue", &key.to_string(), "spin-for")?;
            let stop = stop.clone();
            tasks.push(quark.runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) && rogue.ask(&[Val::U64(SPIN_MS)]).await.is_ok() {}
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
