//! Waking: from the first message of an actor that is not in memory to its answer.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::raw::Raw;
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved};

const STATE_BYTES: usize = 1024;

/// Which samples of a wake-up are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Answer,
    OutOfMemory,
}

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    without_state(guests, sizes, report)?;
    with_state(guests, sizes, report)
}

/// Actors that are woken in samples, always with keys that were never used.
struct Fresh<'a> {
    host: &'a Host,
    kind: &'static str,
    method: &'static str,
    arguments: Vec<Val>,
    next: usize,
}

impl<'a> Fresh<'a> {
    fn new(host: &'a Host, kind: &'static str, method: &'static str, arguments: Vec<Val>) -> Self {
        Self { host, kind, method, arguments, next: 0 }
    }

    fn sample(&mut self, n: usize, until: Until) -> Result<f64> {
        let keys: Vec<String> = (self.next..self.next + n).map(|key| format!("fresh-{key}")).collect();
        self.next += n;
        wake((self.host, self.kind, self.method), &self.arguments, &keys, until)
    }
}

/// Nanoseconds for each of those actors, which leave memory afterwards in any case.
fn wake((host, kind, method): (&Host, &str, &str), arguments: &[Val], keys: &[String], until: Until) -> Result<f64> {
    let actors: Vec<Actor> = keys.iter().map(|key| host.actor(kind, key, method)).collect::<Result<_>>()?;
    host.runtime.block_on(async {
        let start = Instant::now();
        for actor in &actors {
            actor.ask(arguments).await?;
        }
        let answered = start.elapsed();
        Host::let_go(&host.silo, kind, keys).await?;
        let took = if until == Until::Answer { answered } else { start.elapsed() };
        Ok(took.as_nanos() as f64 / keys.len() as f64)
    })
}

fn raw_wakes(raw: &Raw, method: &str, arguments: &[Val], n: usize) -> Result<f64> {
    let method = raw.method(method)?;
    let start = Instant::now();
    for key in 0..n {
        raw.wake(&key.to_string())?.call(&method, arguments)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / n as f64)
}

fn without_state(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.wakes;
    // A silo for each kind: a place in the pool that another component left must be mapped anew.
    let hots = Host::memory(1, n + 100, &[&guests.hot])?;
    let counters = Host::memory(1, n + 100, &[&guests.counter])?;
    hots.hot("warm")?;
    counters.counter("warm")?;
    let raw_hot = Raw::new(&guests.hot, "bench:hot/hots", "hot")?;
    let raw_counter = Raw::new(&guests.counter, "sample:counter/counters@1.0.0", "counter")?;
    let one = vec![Val::U64(1)];
    // Every probe has keys of its own.
    let mut hot = Fresh::new(&hots, "hot", "inc", one.clone());
    let mut hot_out = Fresh { next: 1 << 32, ..Fresh::new(&hots, "hot", "inc", one.clone()) };
    let mut counter = Fresh::new(&counters, "counter", "value", vec![]);
    let mut counter_out = Fresh { next: 1 << 32, ..Fresh::new(&counters, "counter", "value", vec![]) };
    let probes: Vec<Probe<'_>> = vec![
        ("hot", Box::new(|| hot.sample(n, Until::Answer))),
        ("hot out", Box::new(|| hot_out.sample(n, Until::OutOfMemory))),
        ("raw hot", Box::new(|| raw_wakes(&raw_hot, "inc", &one, n))),
        ("counter", Box::new(|| counter.sample(n, Until::Answer))),
        ("counter out", Box::new(|| counter_out.sample(n, Until::OutOfMemory))),
        ("raw counter", Box::new(|| raw_wakes(&raw_counter, "value", &[], n))),
    ];
    let medians = interleaved(sizes, probes)?;
    for kind in ["hot", "counter"] {
        let raw = medians.of(&format!("raw {kind}"))? / 1000.0;
        let first = medians.of(kind)? / 1000.0;
        report
            .row(format!("activation: first call of a fresh key ({kind})"), first, "us")
            .against("raw instantiate + call + drop", raw);
        let out = medians.of(&format!("{kind} out"))? / 1000.0;
        report
            .row(format!("activation: first call, then out of memory ({kind})"), out, "us")
            .against("raw instantiate + call + drop", raw)
            .goal(Goal::RatioAtMost(3.0));
    }
    Ok(())
}

fn with_state(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.wakes;
    let folder = host::scratch()?;
    let quark = Host::redb(1, Path::new(folder.path()), &[&guests.rogue])?;
    let stored: Vec<String> = (0..n).map(|key| format!("stored-{key}")).collect();
    quark.runtime.block_on(async {
        let mut set = tokio::task::JoinSet::new();
        for key in &stored {
            let actor = quark.actor("rogue", key, "store")?;
            set.spawn(async move { actor.ask(&[Val::String("x".repeat(STATE_BYTES))]).await.map(drop) });
        }
        while let Some(ended) = set.join_next().await {
            ended??;
        }
        Host::let_go(&quark.silo, "rogue", &stored).await
    })?;
    let mut fresh = Fresh::new(&quark, "rogue", "stored", vec![]);
    let probes: Vec<Probe<'_>> = vec![
        ("stored", Box::new(|| wake((&quark, "rogue", "stored"), &[], &stored, Until::Answer))),
        ("fresh", Box::new(|| fresh.sample(n, Until::Answer))),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row("activation on redb, 1 KiB of state (rogue)", medians.of("stored")? / 1000.0, "us")
        .against("without state", medians.of("fresh")? / 1000.0)
        .goal(Goal::RatioAtMost(2.0));
    Ok(())
}
