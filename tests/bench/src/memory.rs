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
    let (one, text, none) = ([Val::U64(1)], [Val::String("x".into())], []);
    let relay: [&[u8]; 3] = [&guests.counter, &guests.rogue, &guests.relay];
    let (hot, counter): ([&[u8]; 1], [&[u8]; 1]) = ([&guests.hot], [&guests.counter]);
    let (hop, concurrent): ([&[u8]; 2], [&[u8]; 1]) = ([&guests.hot, &guests.hop], [&guests.async_counter]);
    let all: [Case<'_>; 5] = [
        ("hot", &hot, Host::hot, ("hot", "inc"), &one),
        ("hop", &hop, Host::hop, ("hop", "inc"), &one),
        ("counter", &counter, Host::counter, ("counter", "value"), &none),
        ("relay", &relay, Host::relay, ("relay", "header"), &text),
        ("async counter", &concurrent, Host::counter, ("counter", "value"), &none),
    ];
    let dense = ["dense hot", "dense hop", "dense counter", "dense relay", "dense async counter"];
    let mut probes: Vec<Probe<'_>> = vec![("kameo", Box::new(|| kameo(n)))];
    for (case, dense) in all.into_iter().zip(dense) {
        probes.push((case.0, Box::new(move || quark(Host::memory, case, n))));
        probes.push((dense, Box::new(move || quark(Host::dense, case, n))));
    }
    // Ten times as many, since they are small.
    probes.push(("packed hot", Box::new(|| quark(packed, all[0], n * 10))));
    probes.push(("packed counter", Box::new(|| quark(packed, all[2], n * 10))));
    let medians = interleaved(sizes, probes)?;
    // Whose lane is which is the silo's to say; the names of the rows are checked.
    let lanes = Host::memory(1, 10, &[&guests.hot, &guests.hop, &guests.counter, &guests.rogue, &guests.relay])?;
    let concurrent = Host::memory(1, 10, &[&guests.async_counter])?.lane("counter");
    let kameo = medians.of("kameo")?;
    for (probe, kind, goal) in [
        ("hot", "hot", Some(18.0)),
        ("counter", "counter", Some(18.0)),
        ("hop", "hop", Some(26.0)),
        ("relay", "relay", Some(26.0)),
        ("async counter", "counter", None),
    ] {
        let lane = if probe == kind { lanes.lane(kind) } else { concurrent.clone() };
        report.row(format!("idle actor, {lane} lane ({kind})"), medians.of(probe)?, "KiB").against("kameo", kameo);
        let used = medians.of(&format!("dense {probe}"))?;
        let row = report.row(format!("idle actor, dense, {lane} lane ({kind})"), used, "KiB").against("kameo", kameo);
        goal.into_iter().for_each(|goal| row.goal(Goal::ValueAtMost(goal)));
    }
    for (at, probe) in ["packed hot", "packed counter"].into_iter().enumerate() {
        let case = [all[0], all[2]][at];
        let row = report.row(format!("idle actor, packed ({})", case.0), medians.of(probe)?, "KiB");
        row.against("kameo", kameo).goal(Goal::ValueAtMost(1.0));
    }
    Ok(())
}

/// A probe, its components, what warms it up, the kind and the method that wakes it, with arguments.
type Case<'a> = (&'static str, &'a [&'a [u8]], fn(&Host, &str) -> Result<Actor>, (&'a str, &'a str), &'a [Val]);
/// How a silo is started.
type Start = fn(usize, usize, &[&[u8]]) -> Result<Host>;

fn packed(workers: usize, _: usize, components: &[&[u8]]) -> Result<Host> {
    Host::memory_with(workers, 1_000, components, PACKED)
}

fn quark(start: Start, (_, components, warm, (kind, method), arguments): Case<'_>, n: usize) -> Result<f64> {
    let host = start(1, n + 10, components)?;
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
pub(crate) fn used() -> Result<f64> {
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
