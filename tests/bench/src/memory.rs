//! What an idle live actor takes: resident memory and page tables, all of the host included.

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use wasmtime::component::Val;

use crate::guest::{Guests, PACKED};
use crate::host::{self, Actor, Host};
use crate::peers;
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved};

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.idle;
    let probes: Vec<Probe<'_>> = vec![
        ("hot", Box::new(|| quark(&[&guests.hot], n, Host::hot, ("hot", "inc"), &[Val::U64(1)]))),
        ("hop", Box::new(|| quark(&[&guests.hot, &guests.hop], n, Host::hop, ("hop", "inc"), &[Val::U64(1)]))),
        ("counter", Box::new(|| quark(&[&guests.counter], n, Host::counter, ("counter", "value"), &[]))),
        (
            "relay",
            Box::new(|| {
                let components: [&[u8]; 3] = [&guests.counter, &guests.rogue, &guests.relay];
                quark(&components, n, Host::relay, ("relay", "header"), &[Val::String("x".into())])
            }),
        ),
        ("async counter", Box::new(|| quark(&[&guests.async_counter], n, Host::counter, ("counter", "value"), &[]))),
        ("packed hot", Box::new(|| packed(&guests.hot, n, Host::hot, ("hot", "inc"), &[Val::U64(1)]))),
        ("packed counter", Box::new(|| packed(&guests.counter, n, Host::counter, ("counter", "value"), &[]))),
        ("kameo", Box::new(|| kameo(n))),
    ];
    let medians = interleaved(sizes, probes)?;
    // Whose lane is which is the silo's to say; the names of the rows are checked.
    let lanes = Host::memory(1, 10, &[&guests.hot, &guests.hop, &guests.counter, &guests.rogue, &guests.relay])?;
    for (kind, goal) in [("hot", 18.0), ("counter", 18.0), ("hop", 26.0), ("relay", 26.0)] {
        let name = format!("idle actor, {} lane ({kind})", lanes.lane(kind));
        report.row(name, medians.of(kind)?, "KiB").against("kameo", medians.of("kameo")?).goal(Goal::ValueAtMost(goal));
    }
    let lane = Host::memory(1, 10, &[&guests.async_counter])?.lane("counter");
    let used = medians.of("async counter")?;
    report.row(format!("idle actor, {lane} lane (counter)"), used, "KiB").against("kameo", medians.of("kameo")?);
    for (kind, probe) in [("hot", "packed hot"), ("counter", "packed counter")] {
        let row = report.row(format!("idle actor, packed ({kind})"), medians.of(probe)?, "KiB");
        row.against("kameo", medians.of("kameo")?).goal(Goal::ValueAtMost(1.0));
    }
    Ok(())
}

/// Ten times as many, since they are small.
fn packed(
    component: &[u8],
    n: usize,
    warm: fn(&Host, &str) -> Result<Actor>,
    method: (&str, &str),
    arguments: &[Val],
) -> Result<f64> {
    wake(Host::memory_with(1, 1_000, &[component], PACKED)?, n * 10, warm, method, arguments)
}

fn quark(
    components: &[&[u8]],
    n: usize,
    warm: fn(&Host, &str) -> Result<Actor>,
    method: (&str, &str),
    arguments: &[Val],
) -> Result<f64> {
    wake(Host::memory(1, n + 10, components)?, n, warm, method, arguments)
}

/// What each of so many actors takes.
fn wake(
    host: Host,
    n: usize,
    warm: fn(&Host, &str) -> Result<Actor>,
    (kind, method): (&str, &str),
    arguments: &[Val],
) -> Result<f64> {
    warm(&host, "warm")?;
    let before = used()?;
    host.runtime.block_on(async {
        for key in 0..n {
            host.actor(kind, &format!("actor-{key}"), method)?.ask(arguments).await?;
        }
        anyhow::Ok(())
    })?;
    Ok((used()? - before) / n as f64)
}

fn kameo(n: usize) -> Result<f64> {
    let runtime: Runtime = host::runtime(1)?;
    let before = used()?;
    let live = runtime.block_on(async {
        let live: Vec<_> = (0..n).map(|_| peers::kameo()).collect();
        for actor in &live {
            peers::kameo_ask(actor).await?;
        }
        anyhow::Ok(live)
    })?;
    let after = used()?;
    drop(live);
    Ok((after - before) / n as f64)
}

/// KiB of resident memory and page tables of this process, without what the allocator only keeps.
fn used() -> Result<f64> {
    // SAFETY: it takes no pointers and touches nothing but the allocator's own free lists.
    #[expect(unsafe_code, reason = "the allocator has no safe form of it")]
    unsafe {
        libc::malloc_trim(0)
    };
    Ok(field("/proc/self/smaps_rollup", "Rss:")? + field("/proc/self/status", "VmPTE:")?)
}

fn field(file: &str, name: &str) -> Result<f64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number =
        line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name} in {file}"))?;
    Ok(number.parse()?)
}
