//! Turns that end in a durable commit.

use std::time::Instant;

use anyhow::{Result, anyhow};
use redb::TableDefinition;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::report::{Goal, Report};
use crate::rounds::{Probe, Sizes, interleaved, rate};

const CONCURRENT: u64 = 100;
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let n = sizes.commits;
    let folder = host::scratch()?;
    let quark = Host::redb(2, &folder.path().join("silo"), &[&guests.counter])?;
    let actors: Vec<Actor> =
        (0..CONCURRENT).map(|key| quark.actor("counter", &key.to_string(), "increment")).collect::<Result<_>>()?;
    let by_one = || vec![Val::U64(1)];
    let each = (10 * n).div_ceil(CONCURRENT);
    let database = redb::Database::create(folder.path().join("raw.redb"))?;
    let probes: Vec<Probe<'_>> = vec![
        ("one", Box::new(|| rate(&quark.runtime, 1, n, |_| actors[0].clone().asks(n, by_one())))),
        (
            "many",
            Box::new(|| {
                rate(&quark.runtime, CONCURRENT, each * CONCURRENT, |task| {
                    actors[task as usize].clone().asks(each, by_one())
                })
            }),
        ),
        ("raw", Box::new(|| raw_puts(&database, n))),
    ];
    let medians = interleaved(sizes, probes)?;
    let (one, many, raw) = (medians.of("one")?, medians.of("many")?, medians.of("raw")?);
    report.row("durable commits, one at a time", one, "/s").against("raw redb durable put", raw);
    report
        .row("durable commits, 100 concurrent", many, "/s")
        .against("one at a time", one)
        .goal(Goal::RatioAtLeast(40.0));
    Ok(())
}

/// Durable puts in a second.
fn raw_puts(database: &redb::Database, n: u64) -> Result<f64> {
    let start = Instant::now();
    for key in 0..n {
        let write = database.begin_write()?;
        write.open_table(ROWS)?.insert(key, [1_u8; 16].as_slice()).map_err(|error| anyhow!("{error}"))?;
        write.commit()?;
    }
    Ok(n as f64 / start.elapsed().as_secs_f64())
}
