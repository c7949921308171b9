//! Journals: what events add to a commit, how fast they are read, and how fast an actor wakes by them.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use quark_core::commit::Write;
use quark_silo::gateway::Service as _;
use quark_silo::store::Store as _;
use redb::{ReadableDatabase as _, TableDefinition};
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::planted::{EVENT_BYTES, Planter, events, id, now_ms, state};
use crate::report::Report;
use crate::rounds::{Probe, Sizes, interleaved, median, timed};

const LEDGER: &str = "sample:ledger/ledgers#ledger";
/// No snapshot is taken that nobody asks for.
const BY_EVENTS: &str = "[actor.journal]\nsnapshot = { every = 500000, bytes = \"1GiB\" }\n";
/// Events of one turn.
const AT_ONCE: u64 = 1000;
const CONCURRENT: usize = 100;
const PAGE: usize = 1024;
const LATER_MS: u64 = 24 * 3_600_000;
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

pub(crate) fn run(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    commits(sizes, report)?;
    reads(sizes, report)?;
    replays(guests, sizes, report)
}

fn commits(sizes: &Sizes, report: &mut Report) -> Result<()> {
    let folder = host::scratch()?;
    let planter = Planter::open(folder.path(), host::runtime(1)?)?;
    let due = now_ms()? + LATER_MS;
    let claims = |prefix: &str| {
        (0..CONCURRENT).map(|key| planter.claim(id(LEDGER, &format!("{prefix}-{key}"))?)).collect::<Result<Vec<_>>>()
    };
    let (mut all, mut alone) = (claims("all")?, claims("alone")?);
    let n = sizes.commits;
    // So many rounds of commits of the first so many.
    let rate = |actors: &mut [_], rounds: u64, history: bool| {
        let start = Instant::now();
        for _ in 0..rounds {
            planter.commit_all(actors, |planted| {
                let changes = vec![state(planted.etag())];
                if !history {
                    return Write { changes, ..Write::default() };
                }
                let journal = Some(events(2 * planted.etag() + 1, 2));
                Write { changes, journal, reminders: vec![planted.reminder(due)], ..Write::default() }
            })?;
        }
        Ok((rounds * actors.len() as u64) as f64 / start.elapsed().as_secs_f64())
    };
    let rounds = (10 * n).div_ceil(CONCURRENT as u64);
    let (mut all_too, mut alone_too) = (claims("one")?, claims("one-alone")?);
    let medians = interleaved(
        sizes,
        vec![
            ("all", Box::new(|| rate(&mut all_too[..1], n, true))),
            ("alone", Box::new(|| rate(&mut alone_too[..1], n, false))),
            ("all, many", Box::new(|| rate(&mut all, rounds, true))),
            ("alone, many", Box::new(|| rate(&mut alone, rounds, false))),
        ],
    )?;
    report
        .row("journal: commits of state, two events and a reminder", medians.of("all")?, "/s")
        .against("commits of state alone", medians.of("alone")?);
    report
        .row("journal: the same, 100 concurrent", medians.of("all, many")?, "/s")
        .against("commits of state alone", medians.of("alone, many")?);
    planter.close();
    Ok(())
}

fn reads(sizes: &Sizes, report: &mut Report) -> Result<()> {
    let (folder, n) = (host::scratch()?, sizes.events);
    let at = folder.path().join("silo");
    let planter = Planter::open(&at, host::runtime(1)?)?;
    let actor = id(LEDGER, "long")?;
    let mut long = [planter.claim(actor.clone())?];
    let each = AT_ONCE.min(n);
    for first in (0..n).step_by(usize::try_from(each)?) {
        let journal = |_: &_| Write { journal: Some(events(first + 1, each)), ..Write::default() };
        planter.commit_all(&mut long, journal)?;
    }
    planter.close();
    // Read as after a start: out of the tables.
    let planter = Planter::open(&at, host::runtime(1)?)?;
    let raw = raw_rows(&folder.path().join("raw.redb"), n)?;
    let probes: Vec<Probe<'_>> = vec![
        (
            "journal",
            Box::new(|| {
                let start = Instant::now();
                let mut next = 1;
                while next <= n {
                    let page = planter.runtime.block_on(planter.store.journal(&actor, next, PAGE))?;
                    ensure!(page.first().is_some_and(|entry| entry.sequence == next), "event {next} is missing");
                    next += page.len() as u64;
                }
                Ok(n as f64 / start.elapsed().as_secs_f64())
            }),
        ),
        ("raw", Box::new(|| read_raw(&raw, n))),
    ];
    let medians = interleaved(sizes, probes)?;
    let (journal, raw) = (medians.of("journal")?, medians.of("raw")?);
    let megabytes = |events: f64| events * EVENT_BYTES as f64 / 1e6;
    report.row("journal: events read", journal, "/s").against("rows of raw redb, copied", raw);
    report.row("journal: bytes read", megabytes(journal), "MB/s").against("raw redb", megabytes(raw));
    Ok(())
}

/// As many rows of as many bytes.
fn raw_rows(file: &Path, n: u64) -> Result<redb::Database> {
    let database = redb::Database::create(file)?;
    let write = database.begin_write()?;
    {
        let mut rows = write.open_table(ROWS)?;
        for key in 0..n {
            rows.insert(key, [7_u8; EVENT_BYTES].as_slice()).map_err(|error| anyhow!("{error}"))?;
        }
    }
    write.commit()?;
    Ok(database)
}

fn read_raw(database: &redb::Database, n: u64) -> Result<f64> {
    let start = Instant::now();
    let read = database.begin_read()?;
    let mut page = Vec::with_capacity(PAGE);
    for row in read.open_table(ROWS)?.range(0..n)? {
        page.push(row?.1.value().to_vec());
        if page.len() == PAGE {
            std::hint::black_box(std::mem::take(&mut page));
        }
    }
    Ok(n as f64 / start.elapsed().as_secs_f64())
}

/// An actor with that many events, which is asked out of its sleep.
struct Woken<'a> {
    quark: &'a Host,
    key: String,
    sum: Actor,
}

impl<'a> Woken<'a> {
    fn new(quark: &'a Host, events: u64) -> Result<Self> {
        let key = events.to_string();
        let deposit = quark.actor("ledger", &key, "deposit-often")?;
        quark.runtime.block_on(async {
            let mut left = events;
            while left > 0 {
                let now = left.min(AT_ONCE);
                deposit.ask(&[Val::U32(u32::try_from(now)?)]).await?;
                left -= now;
            }
            anyhow::Ok(())
        })?;
        Ok(Self { quark, sum: quark.actor("ledger", &key, "sum")?, key })
    }

    /// Seconds until it answers.
    fn wakes(&self) -> Result<f64> {
        self.quark.runtime.block_on(async {
            Host::let_go(&self.quark.silo, "ledger", std::slice::from_ref(&self.key)).await?;
            let start = Instant::now();
            self.sum.ask(&[]).await?;
            Ok(start.elapsed().as_secs_f64())
        })
    }

    fn wakes_often(&self, rounds: usize) -> Result<f64> {
        Ok(median((0..rounds).map(|_| self.wakes()).collect::<Result<_>>()?))
    }

    fn take_snapshot(&self) -> Result<()> {
        let close = self.quark.actor("ledger", &self.key, "close-books")?;
        self.quark.runtime.block_on(async {
            close.ask(&[]).await?;
            loop {
                let report = self.quark.silo.inspect("ledger", &self.key).await.map_err(host::failure)?;
                if report.journal.is_some_and(|journal| journal.replayed == 0) {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        })
    }
}

fn replays(guests: &Guests, sizes: &Sizes, report: &mut Report) -> Result<()> {
    let folder = host::scratch()?;
    let quark = Host::redb(2, folder.path(), &[])?;
    quark.deploy(&guests.ledger, Some(BY_EVENTS))?;
    let fresh = Woken::new(&quark, 1)?;
    let hot = timed(&quark.runtime, sizes.asks, fresh.sum.clone().asks(sizes.asks, Vec::new()))?;
    let names = [
        (100, "replay: 1,000 events, without a snapshot"),
        (10, "replay: 10,000 events, without a snapshot"),
        (1, "replay: 100,000 events, without a snapshot"),
    ];
    for (part, name) in names {
        let events = sizes.events / part;
        let long = Woken::new(&quark, events)?;
        let seconds = long.wakes_often(sizes.rounds)?;
        report.row(name, events as f64 / seconds, "events/s").against("hot asks of a ledger", 1e9 / hot);
        if part == 1 {
            long.take_snapshot()?;
            let by_snapshot = long.wakes_often(sizes.rounds)?;
            let row = report.row("replay: waking by a snapshot of 100,000 events", by_snapshot * 1000.0, "ms");
            row.against("with one event", fresh.wakes_often(sizes.rounds)? * 1000.0);
        }
    }
    Ok(())
}
