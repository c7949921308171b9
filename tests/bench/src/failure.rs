//! Actors that crash: how soon they answer again, and what their neighbours see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{Actor, Host};
use crate::report::Report;
use crate::rounds::{Probe, Sizes, interleaved};
use crate::spinners::p99;

/// Crashes in a second, while a neighbour is measured.
const STORM_PER_SECOND: u64 = 10_000;
/// How often some of them are let go.
const STORM_STEP: Duration = Duration::from_millis(1);
/// Calls that end in a crash, under way at most.
const STORM_CALLS_MAX: u64 = 1_000;

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    restart(guests, sizes, report)?;
    storm(guests, sizes, report)
}

fn crash() -> [Val; 1] {
    [Val::String("on purpose".into())]
}

/// Both calls, the one that crashes the actor and the one that it answers: there is an instance between.
fn restart(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.wakes;
    let quark = Host::memory(1, n + 100, &[&guests.rogue])?;
    let actors = |prefix: &str, round: usize, method: &str| -> Result<Vec<Actor>> {
        (0..n).map(|key| quark.actor("rogue", &format!("{prefix}-{round}-{key}"), method)).collect()
    };
    let (mut crashed, mut fresh) = (0, 0);
    let probes: Vec<Probe<'_>> = vec![
        (
            "crashed",
            Box::new(|| {
                crashed += 1;
                let (crashing, asked) = (actors("crashed", crashed, "trap")?, actors("crashed", crashed, "stored")?);
                quark.runtime.block_on(async {
                    for actor in &asked {
                        actor.ask(&[]).await?;
                    }
                    let start = Instant::now();
                    for (crashing, actor) in crashing.iter().zip(&asked) {
                        ensure!(crashing.ask(&crash()).await.is_err(), "an actor that was to crash answered");
                        actor.ask(&[]).await?;
                    }
                    Ok(start.elapsed().as_nanos() as f64 / n as f64)
                })
            }),
        ),
        (
            "fresh",
            Box::new(|| {
                fresh += 1;
                let asked = actors("fresh", fresh, "stored")?;
                quark.runtime.block_on(async {
                    let start = Instant::now();
                    for actor in &asked {
                        actor.ask(&[]).await?;
                    }
                    Ok(start.elapsed().as_nanos() as f64 / n as f64)
                })
            }),
        ),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row("failure: a crash and the next answer (rogue)", medians.of("crashed")? / 1000.0, "us")
        .against("first call of a fresh key", medians.of("fresh")? / 1000.0);
    Ok(())
}

fn storm(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let quark = Host::memory(2, 2_000, &[&guests.hot, &guests.rogue])?;
    let (neighbour, one) = (quark.hot("a")?, [Val::U64(1)]);
    let n = sizes.latencies;
    let mut crashes = (0, Duration::ZERO);
    let probes: Vec<Probe<'_>> = vec![
        ("quiet", Box::new(|| Ok(p99(&quark, &neighbour, &one, n)))),
        (
            "crashing",
            Box::new(|| {
                let storm = Storm::start(&quark);
                let sample = p99(&quark, &neighbour, &one, n);
                let (count, time) = storm.stop()?;
                crashes = (crashes.0 + count, crashes.1 + time);
                Ok(sample)
            }),
        ),
    ];
    let medians = interleaved(sizes, probes)?;
    let per_second = crashes.0 as f64 / crashes.1.as_secs_f64();
    report
        .row("failure: neighbour's p99 while one kind crashes", medians.of("crashing")? / 1000.0, "us")
        .against("quiet", medians.of("quiet")? / 1000.0);
    report.row("failure: crashes in a second meanwhile", per_second, "/s");
    Ok(())
}

/// Ever new actors of one kind that wake and crash, from a thread of its own.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(u64, Duration)>>,
}

/// No key crashes twice.
static KEYS: AtomicU64 = AtomicU64::new(0);

impl Storm {
    fn start(quark: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (silo, runtime, stopped) = (quark.silo.clone(), quark.runtime.handle().clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let crashed = Arc::new(AtomicU64::new(0));
            let (start, mut begun) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let due = u64::try_from(start.elapsed().as_micros())? * STORM_PER_SECOND / 1_000_000;
                while begun < due && begun - crashed.load(Ordering::Relaxed) < STORM_CALLS_MAX {
                    begun += 1;
                    let actor = Actor::of(&silo, "rogue", &KEYS.fetch_add(1, Ordering::Relaxed).to_string(), "trap")?;
                    let crashed = crashed.clone();
                    runtime.spawn(async move {
                        if actor.ask(&crash()).await.is_err() {
                            crashed.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                std::thread::sleep(STORM_STEP);
            }
            Ok((crashed.load(Ordering::Relaxed), start.elapsed()))
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the storm's thread panicked"))?
    }
}
