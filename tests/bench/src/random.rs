//! Asks in random order over many live actors: what caches do not hold any more.

use std::sync::Arc;

use anyhow::Result;
use wasmtime::component::Val;

use crate::guest::{Guests, PACKED};
use crate::host::{self, Actor, Host};
use crate::peers::{self, Kameo};
use crate::report::{Goal, Report};
use crate::rounds::{Medians, Sizes, interleaved, timed};

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let alone = Host::dense(1, sizes.live + 10, &[&guests.hot])?;
    let medians = asks(&alone, sizes, sizes.live)?;
    report
        .row(format!("random ask, {} lane (hot, dense)", alone.lane("hot")), medians.of("hot")?, "ns")
        .against(&format!("kameo, {} actors,", sizes.live), medians.of("kameo")?)
        .goal(Goal::RatioAtMost(1.5));
    drop(alone);
    let packed = Host::memory_with(1, 1_000, &[&guests.hot], PACKED)?;
    let medians = asks(&packed, sizes, sizes.packed)?;
    report
        .row(format!("packed: random ask, {} lane (hot)", packed.lane("hot")), medians.of("hot")?, "ns")
        .against(&format!("kameo, {} actors,", sizes.packed), medians.of("kameo")?)
        .goal(Goal::RatioAtMost(0.7));
    Ok(())
}

/// So many actors, all of them live.
fn asks(quark: &Host, sizes: &Sizes, live: usize) -> Result<Medians> {
    let n = sizes.asks;
    quark.hot("warm")?;
    let hot: Vec<Actor> = (0..live).map(|key| quark.actor("hot", &key.to_string(), "inc")).collect::<Result<_>>()?;
    let hot = Arc::new(hot);
    timed(&quark.runtime, 1, all(hot.clone()))?;
    let others = host::runtime(1)?;
    let kameo: Arc<Vec<Kameo>> = Arc::new(others.block_on(async { (0..live).map(|_| peers::kameo()).collect() }));
    interleaved(
        sizes,
        vec![
            ("hot", Box::new(|| timed(&quark.runtime, n, hot_asks(hot.clone(), n)))),
            ("kameo", Box::new(|| timed(&others, n, kameo_asks(kameo.clone(), n)))),
        ],
    )
}

/// Each of them once, so that all are live.
async fn all(actors: Arc<Vec<Actor>>) -> Result<()> {
    for actor in actors.iter() {
        actor.ask(&[Val::U64(1)]).await?;
    }
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
