//! Durable turns whose answers are remembered by idempotency keys, against those without.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use quark_core::idempotency::IdempotencyKey;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved, rate};

const CONCURRENT: u64 = 100;
const MANIFEST: &str = "[actor.methods.increment]\nidempotent = true\n";

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let folder = host::scratch()?;
    let quark = Host::redb(2, &folder.path().join("silo"), &[])?;
    quark.deploy(&guests.counter, Some(MANIFEST))?;
    let actors: Vec<Actor> =
        (0..CONCURRENT).map(|key| quark.actor("counter", &key.to_string(), "increment")).collect::<Result<_>>()?;
    let each = (10 * sizes.commits).div_ceil(CONCURRENT);
    let (total, keys) = (each * CONCURRENT, AtomicU64::new(0));
    let by_one = || vec![Val::U64(1)];
    let asks = |task: u64| actors[task as usize].clone().asks(each, by_one());
    let with_keys = |task: u64| {
        let first = keys.fetch_add(each, Ordering::Relaxed);
        actors[task as usize].clone().asks_keyed(first..first + each, by_one())
    };
    let repeats =
        |task: u64| actors[task as usize].clone().asks_keyed(std::iter::repeat_n(u64::MAX, each as usize), by_one());
    let probes: Vec<Probe<'_>> = vec![
        ("plain", Box::new(|| rate(&quark.runtime, CONCURRENT, total, asks))),
        ("keyed", Box::new(|| rate(&quark.runtime, CONCURRENT, total, with_keys))),
        ("repeats", Box::new(|| rate(&quark.runtime, CONCURRENT, total, repeats))),
    ];
    let medians = interleaved(sizes, probes)?;
    let plain = medians.of("plain")?;
    report
        .row("durable calls with a key, 100 concurrent", medians.of("keyed")?, "/s")
        .against("the same without keys", plain)
        .goal(Goal::RatioAtLeast(0.5));
    report
        .row("repeats of a call with a key, 100 concurrent", medians.of("repeats")?, "/s")
        .against("durable calls without keys", plain)
        .goal(Goal::RatioAtLeast(1.0));
    Ok(())
}

impl Actor {
    /// Asks once with each of these as a key, one after the other.
    async fn asks_keyed(self, keys: impl Iterator<Item = u64>, arguments: Vec<Val>) -> Result<()> {
        for key in keys {
            let key = IdempotencyKey::parse(&format!("bench-{key}"))?;
            std::hint::black_box(self.ask_keyed(&arguments, key).await?);
        }
        Ok(())
    }
}
