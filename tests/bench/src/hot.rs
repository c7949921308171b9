//! One ask in flight: the whole way to an actor that is awake, and back.

use anyhow::Result;
use quark_silo::gateway::Service as _;
use wasmtime::component::Val;

use crate::guest::{Guests, PACKED};
use crate::host::{self, Host};
use crate::peers;
use crate::raw::Raw;
use crate::report::{Goal, Report};
use crate::rounds::{Sizes, interleaved, timed};

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    one_thread(guests, sizes, report)?;
    two_workers(guests, sizes, report)
}

fn one_thread(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.asks;
    let quark = Host::memory(1, 100, &[&guests.hot, &guests.hop, &guests.counter, &guests.rogue, &guests.relay])?;
    let (hot, hop) = (quark.hot("a")?, quark.hop("a")?);
    let (counter, relay) = (quark.counter("a")?, quark.relay("a")?);
    let concurrent = Host::memory(1, 100, &[&guests.async_counter])?;
    let concurrent_counter = concurrent.counter("a")?;
    let pack = Host::memory_with(1, 100, &[&guests.hot, &guests.counter], PACKED)?;
    let traced = Host::memory(1, 100, &[&guests.hot])?;
    traced.silo.set_traced("hot", true).map_err(host::failure)?;
    let traced_hot = traced.hot("a")?;
    let (packed_hot, packed_counter) = (pack.hot("a")?, pack.counter("a")?);
    let others = host::runtime(1)?;
    let kameo = others.block_on(async { peers::kameo() });
    let ractor = others.block_on(peers::ractor())?;
    let tokio = others.block_on(async { peers::tokio() });
    let raw_hot = Raw::new(&guests.hot, "bench:hot/hots", "hot")?;
    let raw_counter = Raw::new(&guests.counter, "sample:counter/counters@1.0.0", "counter")?;
    let mut live_hot = raw_hot.wake("a")?;
    let mut live_counter = raw_counter.wake("a")?;

    let medians = interleaved(
        sizes,
        vec![
            ("hot", Box::new(|| timed(&quark.runtime, n, hot.clone().asks(n, vec![Val::U64(1)])))),
            ("hop", Box::new(|| timed(&quark.runtime, n, hop.clone().asks(n, vec![Val::U64(1)])))),
            ("counter", Box::new(|| timed(&quark.runtime, n, counter.clone().asks(n, vec![])))),
            ("relay", Box::new(|| timed(&quark.runtime, n, relay.clone().asks(n, vec![Val::String("x".into())])))),
            ("concurrent", Box::new(|| timed(&concurrent.runtime, n, concurrent_counter.clone().asks(n, vec![])))),
            ("traced hot", Box::new(|| timed(&traced.runtime, n, traced_hot.clone().asks(n, vec![Val::U64(1)])))),
            ("packed hot", Box::new(|| timed(&pack.runtime, n, packed_hot.clone().asks(n, vec![Val::U64(1)])))),
            ("packed counter", Box::new(|| timed(&pack.runtime, n, packed_counter.clone().asks(n, vec![])))),
            ("kameo", Box::new(|| timed(&others, n, peers::kameo_asks(kameo.clone(), n)))),
            ("ractor", Box::new(|| timed(&others, n, peers::ractor_asks(ractor.clone(), n)))),
            ("tokio", Box::new(|| timed(&others, n, peers::tokio_asks(tokio.clone(), n)))),
            ("raw", Box::new(|| live_hot.typed_calls("inc", n))),
            ("raw counter", Box::new(|| live_counter.calls("value", &[], n))),
        ],
    )?;
    let kameo = medians.of("kameo")?;
    let (hot, raw) = (medians.of("hot")?, medians.of("raw")?);
    let mut row = |name: String, probe: &str, goal: Option<f64>| -> Result<()> {
        let row = report.row(name, medians.of(probe)?, "ns").against("kameo", kameo);
        if let Some(goal) = goal {
            row.goal(Goal::RatioAtMost(goal));
        }
        Ok(())
    };
    row(format!("hot ask, {} lane (hot)", quark.lane("hot")), "hot", Some(0.6))?;
    row(format!("hot ask, {} lane (counter)", quark.lane("counter")), "counter", Some(0.6))?;
    row(format!("hot ask, {} lane (hop)", quark.lane("hop")), "hop", Some(0.8))?;
    row(format!("hot ask, {} lane (relay)", quark.lane("relay")), "relay", Some(0.8))?;
    row(format!("hot ask, {} lane (counter)", concurrent.lane("counter")), "concurrent", Some(4.0))?;
    row(format!("packed: hot ask, {} lane (hot)", pack.lane("hot")), "packed hot", None)?;
    row(format!("packed: hot ask, {} lane (counter)", pack.lane("counter")), "packed counter", None)?;
    row("hot ask, ractor".into(), "ractor", None)?;
    row("hot ask, tokio mpsc + oneshot".into(), "tokio", None)?;
    row("hot ask, raw wasmtime call".into(), "raw", None)?;
    report
        .row("hot ask, each recorded, against none (hot)", medians.of("traced hot")?, "ns")
        .against("not recorded", hot);
    report.row("hot ask against the raw call (hot)", hot, "ns").against("raw typed call", raw);
    report
        .row("hot ask against the raw call (counter)", medians.of("counter")?, "ns")
        .against("raw Val call, stub host", medians.of("raw counter")?);
    Ok(())
}

fn two_workers(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.asks;
    let quark = Host::memory(2, 100, &[&guests.hot, &guests.hop, &guests.counter, &guests.rogue, &guests.relay])?;
    let (hot, hop, relay) = (quark.hot("a")?, quark.hop("a")?, quark.relay("a")?);
    let others = host::runtime(2)?;
    let kameo = others.block_on(async { peers::kameo() });
    let medians = interleaved(
        sizes,
        vec![
            ("hot", Box::new(|| timed(&quark.runtime, n, hot.clone().asks(n, vec![Val::U64(1)])))),
            ("hop", Box::new(|| timed(&quark.runtime, n, hop.clone().asks(n, vec![Val::U64(1)])))),
            ("relay", Box::new(|| timed(&quark.runtime, n, relay.clone().asks(n, vec![Val::String("x".into())])))),
            ("kameo", Box::new(|| timed(&others, n, peers::kameo_asks(kameo.clone(), n)))),
        ],
    )?;
    for (kind, goal) in [("hot", 0.6), ("hop", 0.8), ("relay", 0.8)] {
        let name = format!("hot ask on 2 workers, {} lane ({kind})", quark.lane(kind));
        report.row(name, medians.of(kind)?, "ns").against("kameo", medians.of("kameo")?).goal(Goal::RatioAtMost(goal));
    }
    Ok(())
}
