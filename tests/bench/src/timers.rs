//! A million timers that are due much later: what each takes, what they cost while nothing is due, and
//! what it takes to start and stop one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use wasmtime::component::Val;

use crate::guest::{Guests, PACKED};
use crate::host::{self, Host};
use crate::memory::used;
use crate::report::{Goal, Report};
use crate::rounds::{Sizes, interleaved, timed};

/// Timers of each actor: nearly as many as it may have.
const EACH: u32 = 250;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(3);
const LATER: Duration = Duration::from_secs(3600);
/// Starts and stops in one turn.
const BATCH: u32 = 100;
/// What nothing is divided by when nothing was used.
const TICK_MS: f64 = 10.0;

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let quark = Host::memory_with(1, 1_000, &[&guests.metronome], PACKED)?;
    let actors = sizes.timers.div_ceil(EACH as usize);
    let total = (actors * EACH as usize) as f64;
    wake(&quark, actors)?;
    let quiet = idle(&quark)?;
    let before = used()?;
    start(&quark, actors)?;
    let bytes = (used()? - before) * 1024.0 / total;
    let busy = idle(&quark)?;
    let row = report.row("pending timers: each one takes", bytes, "bytes");
    row.against("a tokio task that sleeps", tasks(sizes.timers)?).goal(Goal::RatioAtMost(0.5));
    let row = report.row("pending timers: CPU while none is due", busy, "ms/s");
    row.against("none pending", quiet.max(TICK_MS / IDLE.as_secs_f64())).goal(Goal::RatioAtMost(2.0));

    let n = sizes.asks;
    let others = host::runtime(1)?;
    let flicker = quark.actor("metronome", "0", "start-and-stop")?;
    let asks = n.div_ceil(u64::from(BATCH));
    let each = asks * u64::from(BATCH);
    let medians = interleaved(
        sizes,
        vec![
            ("quark", Box::new(|| timed(&quark.runtime, each, flicker.clone().asks(asks, vec![Val::U32(BATCH)])))),
            ("tokio", Box::new(|| timed(&others, n, sleep_and_abort(n)))),
        ],
    )?;
    report
        .row("timer: start and stop, by a guest", medians.of("quark")?, "ns")
        .against("spawn and abort a tokio task that sleeps", medians.of("tokio")?);
    Ok(())
}

fn wake(quark: &Host, actors: usize) -> Result<()> {
    quark.runtime.block_on(async {
        for key in 0..actors {
            quark.actor("metronome", &key.to_string(), "start-and-stop")?.ask(&[Val::U32(BATCH)]).await?;
        }
        Ok(())
    })
}

fn start(quark: &Host, actors: usize) -> Result<()> {
    quark.runtime.block_on(async {
        for key in 0..actors {
            quark.actor("metronome", &key.to_string(), "start-many")?.ask(&[Val::U32(EACH)]).await?;
        }
        Ok(())
    })
}

/// Milliseconds of processor time in a second in which nothing happens.
fn idle(quark: &Host) -> Result<f64> {
    let before = cpu_ms()?;
    quark.runtime.block_on(async { tokio::time::sleep(IDLE).await });
    Ok((cpu_ms()? - before) / IDLE.as_secs_f64())
}

/// Of this process, as the kernel counts it: in hundredths of a second.
fn cpu_ms() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().context("no fields")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() * TICK_MS)
}

/// Bytes of a task for each timer, which is the plainest way.
fn tasks(n: usize) -> Result<f64> {
    let runtime = host::runtime(1)?;
    let before = used()?;
    runtime.block_on(async {
        for _ in 0..n {
            drop(tokio::spawn(tokio::time::sleep(LATER)));
        }
        tokio::task::yield_now().await;
        Ok((used()? - before) * 1024.0 / n as f64)
    })
}

async fn sleep_and_abort(n: u64) -> Result<()> {
    for _ in 0..n {
        let task = tokio::spawn(tokio::time::sleep(LATER));
        // So that it is in the wheel.
        tokio::task::yield_now().await;
        task.abort();
    }
    Ok(())
}
