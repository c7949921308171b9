//! A hundred asks in flight to one actor: messages in a second.

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Host};
use crate::peers;
use crate::report::{Goal, Report};
use crate::rounds::{Sizes, interleaved, rate};

const IN_FLIGHT: u64 = 100;

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    with_workers(1, "100 in flight", guests, sizes, report)?;
    with_workers(2, "100 in flight on 2 workers", guests, sizes, report)
}

fn with_workers(workers: usize, what: &str, guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let each = sizes.asks.div_ceil(IN_FLIGHT);
    let n = each * IN_FLIGHT;
    let quark = Host::memory(workers, 100, &[&guests.hot, &guests.hop, &guests.counter, &guests.rogue, &guests.relay])?;
    let (hot, hop, relay) = (quark.hot("a")?, quark.hop("a")?, quark.relay("a")?);
    let others = host::runtime(workers)?;
    let kameo = others.block_on(async { peers::kameo() });
    let name = || vec![Val::String("x".into())];
    let medians = interleaved(
        sizes,
        vec![
            ("hot", Box::new(|| rate(&quark.runtime, IN_FLIGHT, n, |_| hot.clone().asks(each, vec![Val::U64(1)])))),
            ("hop", Box::new(|| rate(&quark.runtime, IN_FLIGHT, n, |_| hop.clone().asks(each, vec![Val::U64(1)])))),
            ("relay", Box::new(|| rate(&quark.runtime, IN_FLIGHT, n, |_| relay.clone().asks(each, name())))),
            ("kameo", Box::new(|| rate(&others, IN_FLIGHT, n, |_| peers::kameo_asks(kameo.clone(), each)))),
        ],
    )?;
    for kind in ["hot", "hop", "relay"] {
        let name = format!("{what}, {} lane ({kind})", quark.lane(kind));
        report
            .row(name, medians.of(kind)? / 1000.0, "k/s")
            .against("kameo", medians.of("kameo")? / 1000.0)
            .goal(Goal::RatioAtLeast(1.3));
    }
    Ok(())
}
