//! Reminders: what it takes to register one, and how soon a great many fire that came due while no silo was up.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use quark_core::commit::Write;
use quark_silo::gateway::Service as _;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::planted::{Planter, id, now_ms};
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved, median, rate};
use crate::spinners::p99;

const DIGEST: &str = "sample:digest/digests#digest";
const CONCURRENT: u64 = 100;
/// Calls of fresh keys that are under way at once: as many as firings.
const FIRINGS: usize = 512;
/// Registered for then.
const LATER_MS: u64 = 24 * 3_600_000;
/// Due since then.
const DOWN_MS: u64 = 600_000;
/// Rounds, of which each fires all.
const ROUNDS_MAX: usize = 3;
/// When a call that found no room is repeated, and how often.
const AGAIN: Duration = Duration::from_millis(100);
const TRIES_MAX: u32 = 100;
/// How often it is looked how many have fired.
const LOOK: Duration = Duration::from_millis(50);
const DONE_WITHIN: Duration = Duration::from_secs(300);

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    register(guests, sizes, report)?;
    due(guests, sizes, report)
}

fn text(text: &str) -> Val {
    Val::String(text.into())
}

fn register(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let folder = host::scratch()?;
    let quark = Host::redb(2, folder.path(), &[&guests.digest])?;
    let actors = |method: &str| -> Result<Vec<Actor>> {
        (0..CONCURRENT).map(|key| quark.actor("digest", &key.to_string(), method)).collect()
    };
    let (once, add) = (actors("once")?, actors("add")?);
    let each = (10 * sizes.commits).div_ceil(CONCURRENT);
    let asks = |actors: &[Actor], arguments: Vec<Val>| {
        rate(&quark.runtime, CONCURRENT, each * CONCURRENT, |task| {
            actors[task as usize].clone().asks(each, arguments.clone())
        })
    };
    let probes: Vec<Probe<'_>> = vec![
        ("registered", Box::new(|| asks(&once, vec![text("later"), Val::U64(LATER_MS)]))),
        ("written", Box::new(|| asks(&add, vec![text("entry")]))),
    ];
    let medians = interleaved(sizes, probes)?;
    report
        .row("reminders: registered, 100 concurrent", medians.of("registered")?, "/s")
        .against("calls that write state alone", medians.of("written")?);
    Ok(())
}

/// What one round came to.
struct Fired {
    seconds: f64,
    per_second: f64,
    asks_per_second: f64,
    meanwhile: f64,
    quiet: f64,
}

fn due(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let rounds = (0..sizes.rounds.min(ROUNDS_MAX)).map(|_| fire_all(guests, sizes)).collect::<Result<Vec<_>>>()?;
    let of = |part: fn(&Fired) -> f64| median(rounds.iter().map(part).collect());
    report
        .row("reminders: 100,000 due after a downtime", of(|it| it.per_second), "/s")
        .against("first calls of as many keys, which write", of(|it| it.asks_per_second))
        .goal(Goal::ValueAtLeast(15_000.0));
    report.row("reminders: 100,000 due, to the last", of(|it| it.seconds), "s");
    report
        .row("reminders: neighbour's p99 meanwhile (hot)", of(|it| it.meanwhile) / 1000.0, "us")
        .against("quiet", of(|it| it.quiet) / 1000.0);
    Ok(())
}

/// Each of as many actors has one that came due while no silo was up.
fn fire_all(guests: &Guests, sizes: &Sizes) -> Result<Fired> {
    let (n, one) = (sizes.due, [Val::U64(1)]);
    let folder = host::scratch()?;
    drop(Host::redb(2, folder.path(), &[&guests.hot, &guests.digest])?);
    plant(folder.path(), n)?;
    let planter = Planter::open(folder.path(), host::runtime(1)?)?;
    let start = Instant::now();
    let quark = Host::start(2, None, Arc::new(planter.store), &[])?;
    let neighbour = quark.actor("hot", "a", "inc")?;
    let seconds = std::thread::scope(|scope| -> Result<(f64, f64)> {
        let fired = scope.spawn(|| all_fired(&quark, n, start));
        let meanwhile = p99(&quark, &neighbour, &one, sizes.latencies);
        Ok((fired.join().ok().context("whoever counted panicked")??, meanwhile))
    });
    let (seconds, meanwhile) = seconds?;
    let asks_per_second = ask_fresh(&quark, n)?;
    let quiet = p99(&quark, &neighbour, &one, sizes.latencies);
    Ok(Fired { seconds, per_second: n as f64 / seconds, asks_per_second, meanwhile, quiet })
}

fn plant(folder: &Path, n: usize) -> Result<()> {
    let planter = Planter::open(folder, host::runtime(1)?)?;
    let since = now_ms()? - DOWN_MS;
    let mut all = (0..n).map(|key| planter.claim(id(DIGEST, &format!("due-{key}"))?)).collect::<Result<Vec<_>>>()?;
    planter.commit_all(&mut all, |planted| Write { reminders: vec![planted.reminder(since)], ..Write::default() })?;
    planter.close();
    Ok(())
}

/// Seconds until that many turns of reminders have begun and no row is left.
fn all_fired(quark: &Host, n: usize, start: Instant) -> Result<f64> {
    loop {
        ensure!(start.elapsed() < DONE_WITHIN, "{n} reminders do not fire");
        std::thread::sleep(LOOK);
        if turns(quark) < n {
            continue;
        }
        let left = quark.runtime.handle().block_on(quark.silo.reminders(None, 1)).map_err(host::failure)?;
        if left.reminders.is_empty() {
            return Ok(start.elapsed().as_secs_f64());
        }
    }
}

fn turns(quark: &Host) -> usize {
    let metrics = quark.silo.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("quark_reminder_turns_total "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// First calls of as many keys in a second, as many at once.
fn ask_fresh(quark: &Host, n: usize) -> Result<f64> {
    let tasks = FIRINGS.min(n);
    let each = n / tasks;
    rate(&quark.runtime, tasks as u64, (tasks * each) as u64, |task| {
        let silo = quark.silo.clone();
        async move {
            for key in 0..each {
                let actor = Actor::of(&silo, "digest", &format!("asked-{task}-{key}"), "add")?;
                let mut tries = 0;
                // As a firing does that finds no room.
                while let Err(error) = actor.ask(&[text("entry")]).await {
                    tries += 1;
                    ensure!(tries < TRIES_MAX, error);
                    tokio::time::sleep(AGAIN).await;
                }
            }
            Ok(())
        }
    })
}
