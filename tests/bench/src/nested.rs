//! An actor that asks another one before it answers.

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Host};
use crate::peers;
use crate::report::{Goal, Report};
use crate::rounds::{Sizes, interleaved, timed};

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.asks / 2;
    let quark = Host::memory(1, 100, &[&guests.hot, &guests.hop, &guests.counter, &guests.rogue, &guests.relay])?;
    let hop = quark.actor("hop", "a", "inc-on")?;
    // So that `hot` is warm: turns on the caller's own stack need some turns before.
    quark.hot("a")?;
    let increment = quark.actor("relay", "a", "increment-on")?;
    let chain = quark.actor("relay", "a", "chain")?;
    // The same of `async func`, but for those that are asked; and one that comes back to who asks.
    let concurrent = Host::memory(1, 100, &[&guests.hot, &guests.async_hop, &guests.counter, &guests.async_relay])?;
    let async_hop = concurrent.actor("hop", "a", "inc-on")?;
    concurrent.hot("a")?;
    let async_increment = concurrent.actor("relay", "a", "increment-on")?;
    let full = Host::memory_with(1, 100, &[&guests.async_relay], "[actor]\nreentrancy = \"full\"\n")?;
    let full_chain = full.actor("relay", "a", "chain")?;
    let others = host::runtime(1)?;
    let kameo = others.block_on(async { peers::kameo_relay() });
    let by_one = || vec![Val::String("b".into()), Val::U64(1)];
    let to = |keys: &[&str]| vec![Val::List(keys.iter().map(|key| Val::String((*key).into())).collect())];
    let runtime = &concurrent.runtime;
    let medians = interleaved(
        sizes,
        vec![
            ("hop", Box::new(|| timed(&quark.runtime, n, hop.clone().asks(n, vec![Val::U64(1)])))),
            ("increment", Box::new(|| timed(&quark.runtime, n, increment.clone().asks(n, by_one())))),
            ("chain", Box::new(|| timed(&quark.runtime, n, chain.clone().asks(n, to(&["b"]))))),
            ("async hop", Box::new(|| timed(runtime, n, async_hop.clone().asks(n, vec![Val::U64(1)])))),
            ("async increment", Box::new(|| timed(runtime, n, async_increment.clone().asks(n, by_one())))),
            ("there", Box::new(|| timed(&full.runtime, n, full_chain.clone().asks(n, to(&["b"]))))),
            ("and back", Box::new(|| timed(&full.runtime, n, full_chain.clone().asks(n, to(&["b", "a"]))))),
            ("in and out", Box::new(|| timed(&quark.runtime, n, chain.clone().asks(n, to(&["b", "c"]))))),
            ("inside", Box::new(|| timed(&quark.runtime, n, chain.clone().asks(n, to(&["b", "a"]))))),
            ("kameo", Box::new(|| timed(&others, n, peers::kameo_relay_asks(kameo.clone(), n)))),
        ],
    )?;
    let rows = [
        ("nested ask (hop -> hot)", "hop"),
        ("nested ask with a commit (relay -> counter)", "increment"),
        ("nested ask (relay -> relay)", "chain"),
    ];
    for (name, probe) in rows {
        let row = report.row(name, medians.of(probe)?, "ns");
        row.against("kameo -> kameo", medians.of("kameo")?).goal(Goal::RatioAtMost(0.85));
    }
    let lane = concurrent.lane("hop");
    for (kinds, probe) in [("hop -> hot", "async hop"), ("relay -> counter", "async increment")] {
        let row = report.row(format!("nested ask, {lane} lane ({kinds})"), medians.of(probe)?, "ns");
        row.against("kameo -> kameo", medians.of("kameo")?);
    }
    report
        .row("re-entrant ask, fiber lane (relay -> relay -> the first)", medians.of("inside")?, "ns")
        .against("relay -> relay -> a third", medians.of("in and out")?)
        .goal(Goal::RatioAtMost(4.0));
    report
        .row("re-entrant ask, relay -> relay -> the first", medians.of("and back")?, "ns")
        .against("relay -> relay, turns overlap,", medians.of("there")?)
        .goal(Goal::RatioAtMost(2.5));
    Ok(())
}
