//! A silo's start on a data folder that has been used: all samples deployed and compiled before.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use quark_silo::store::redb::{RedbOptions, RedbStore};
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Host};
use crate::report::{Goal, Report};
use crate::rounds::{Sizes, median};

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let folder = host::scratch()?;
    let mut components: Vec<&[u8]> = vec![&guests.hot, &guests.counter, &guests.rogue, &guests.relay];
    components.extend(guests.others.iter().map(|(_, bytes)| bytes.as_slice()));
    let quark = Host::redb(2, folder.path(), &components)?;
    quark.runtime.block_on(async {
        quark.actor("counter", "a", "increment")?.ask(&[Val::U64(1)]).await?;
        anyhow::Ok(())
    })?;
    drop(quark);

    let (mut opens, mut replies) = (Vec::new(), Vec::new());
    for round in 0..=sizes.rounds {
        let start = Instant::now();
        let store = RedbStore::open(folder.path(), RedbOptions::default())?;
        let opened = start.elapsed();
        let quark = Host::start(2, None, Arc::new(store), &[])?;
        let value = quark.actor("counter", "a", "value")?;
        quark.runtime.block_on(value.ask(&[]))?;
        let replied = start.elapsed();
        // The first one warms up.
        if round > 0 {
            opens.push(opened.as_secs_f64() * 1000.0);
            replies.push(replied.as_secs_f64() * 1000.0);
        }
    }
    report.row("silo start to first reply, cached components", median(replies), "ms").goal(Goal::ValueAtMost(150.0));
    report.row("silo start, of which the store's open", median(opens), "ms");
    Ok(())
}
