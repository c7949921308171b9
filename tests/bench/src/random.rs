//! Asks in random order over many live actors: what caches do not hold any more.

use std::sync::Arc;

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::peers::{self, Kameo};
use crate::report::{Goal, Report};
use crate::rounds::{Sizes, interleaved, timed};

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let (n, live) = (sizes.asks, sizes.live);
    let quark = Host::dense(1, live + 10, &[&guests.hot])?;
    quark.hot("warm")?;
    let hot: Vec<Actor> = (0..live).map(|key| quark.actor("hot", &key.to_string(), "inc")).collect::<Result<_>>()?;
    let hot = Arc::new(hot);
    let others = host::runtime(1)?;
    let kameo: Arc<Vec<Kameo>> = Arc::new(others.block_on(async { (0..live).map(|_| peers::kameo()).collect() }));
    let medians = interleaved(
        sizes,
        vec![
            ("hot", Box::new(|| timed(&quark.runtime, n, hot_asks(hot.clone(), n)))),
            ("kameo", Box::new(|| timed(&others, n, kameo_asks(kameo.clone(), n)))),
        ],
    )?;
    report
        .row(format!("random ask, {} lane (hot, dense)", quark.lane("hot")), medians.of("hot")?, "ns")
        .against(&format!("kameo, {live} actors,"), medians.of("kameo")?)
        .goal(Goal::RatioAtMost(1.5));
    Ok(())
}

async fn hot_asks(actors: Arc<Vec<Actor>>, n: u64) -> Result<()> {
    for at in places(actors.len(), n) {
        actors[at].ask(&[Val::U64(1)]).await?;
    }
    Ok(())
}

async fn kameo_asks(actors: Arc<Vec<Kameo>>, n: u64) -> Result<()> {
    for at in places(actors.len(), n) {
        peers::kameo_ask(&actors[at]).await?;
    }
    Ok(())
}

/// The same places in no order, each time (xorshift).
pub(crate) fn places(len: usize, n: u64) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..n).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % len as u64) as usize
    })
}
