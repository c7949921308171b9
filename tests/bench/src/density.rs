//! How many: live actors with random calls over all of them, and actors that only the store knows.
//! Not among the groups of a usual run: it takes minutes and gigabytes. `make density` runs it.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use quark_core::commit::{Commit, Write};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::manifest::MemoryProfile;
use quark_core::state::Change;
use quark_engine::Lane;
use quark_silo::Machine;
use quark_silo::gateway::Service as _;
use quark_silo::store::Store;
use quark_silo::store::redb::{RedbOptions, RedbStore};
use tokio::sync::mpsc;
use wasmtime::component::Val;

use crate::guest::Guests;
use crate::host::{self, Actor, Host};
use crate::memory;
use crate::random::places;

/// Writes that are handed to the store before their outcomes are waited for.
const BATCH: u64 = 8_192;
/// Known actors that are woken at the end.
const WOKEN: u64 = 10_000;
const COUNTER: &str = "sample:counter/counters#counter";
/// Memory that is left to others.
const LEFT: u64 = 3 << 30;

/// How many of each.
pub(crate) struct Numbers {
    pub(crate) live: Vec<u64>,
    pub(crate) known: u64,
}

impl Numbers {
    /// Takes an argument if it is one of these.
    pub(crate) fn read(&mut self, argument: &str) -> bool {
        match argument.split_once('=').map(|(name, number)| (name, number.parse::<u64>())) {
            Some(("--live", Ok(n))) => self.live.push(n),
            Some(("--known", Ok(n))) => self.known = n,
            Some(_) | None => return false,
        }
        true
    }

    pub(crate) const fn are_given(&self) -> bool {
        !self.live.is_empty() || self.known > 0
    }
}

pub(crate) fn run(guests: &Guests, numbers: &Numbers) -> Result<()> {
    for n in &numbers.live {
        let hot: [&[u8]; 1] = [&guests.hot];
        let hop: [&[u8]; 2] = [&guests.hot, &guests.hop];
        let counter: [&[u8]; 1] = [&guests.counter];
        for case in [
            Case { kind: "hot", lane: Lane::Direct, components: &hot, method: "inc", kib: 16 },
            Case { kind: "hop", lane: Lane::Fiber, components: &hop, method: "inc", kib: 26 },
            Case { kind: "counter", lane: Lane::Direct, components: &counter, method: "value", kib: 50 },
        ] {
            match no_room(&case, *n) {
                Some(why) => println!("{n} live actors ({}): not tried, {why}", case.kind),
                None => live(&case, *n)?,
            }
        }
    }
    if numbers.known > 0 {
        known(guests, numbers.known)?;
    }
    Ok(())
}

/// Actors of one kind that live together.
struct Case<'a> {
    kind: &'static str,
    lane: Lane,
    components: &'a [&'a [u8]],
    /// What wakes them and is asked at random.
    method: &'static str,
    /// What each takes at the most, with its memory.
    kib: u64,
}

/// Why that many are more than the machine has room for.
fn no_room(case: &Case<'_>, n: u64) -> Option<String> {
    let machine = Machine::look();
    let need = n * (case.kib << 10) + LEFT;
    if need > machine.memory {
        return Some(format!("{} MiB wanted and {} free", need >> 20, machine.memory >> 20));
    }
    let holds = machine.holds(MemoryProfile::Dense, case.lane);
    let most = holds.by_mappings.filter(|most| *most < n)?;
    Some(format!("the kernel's mappings allow {most}: {}", holds.raise))
}

/// Wakes that many and asks them in no order; none may leave memory meanwhile.
fn live(case: &Case<'_>, n: u64) -> Result<()> {
    let Case { kind, components, method, .. } = *case;
    let capacity = usize::try_from(n + 10)?;
    let host = Host::dense(2, capacity, components)?;
    let counts = method == "inc";
    let arguments = |by| if counts { vec![Val::U64(by)] } else { Vec::new() };
    // The lane's pace is known after some turns.
    let warm = host.actor(kind, "warm", method)?;
    host.runtime.block_on(warm.asks(100, arguments(1)))?;
    let before = memory::used()?;
    let start = Instant::now();
    let one = arguments(1);
    host.runtime.block_on(async {
        for key in 0..n {
            host.actor(kind, &key.to_string(), method)?.ask(&one).await?;
        }
        anyhow::Ok(())
    })?;
    let (woken, taken) = (start.elapsed(), memory::used()? - before);
    let actors: Arc<Vec<Actor>> =
        Arc::new((0..n).map(|key| host.actor(kind, &key.to_string(), method)).collect::<Result<_>>()?);
    let start = Instant::now();
    let (all, by) = (actors.clone(), one.clone());
    host.runtime.block_on(async {
        for at in places(all.len(), n) {
            all[at].ask(&by).await?;
        }
        anyhow::Ok(())
    })?;
    let asked = start.elapsed();
    let live = host.silo.health().live;
    ensure!(live > n, "only {live} of {n} are live: some left memory");
    if counts {
        let sum = host.runtime.block_on(total(&actors))?;
        ensure!(sum == 2 * n, "{sum} asks were counted instead of {}: an actor was lost", 2 * n);
    }
    println!(
        "{n} live actors ({kind}, dense, {} lane): {:.1} KiB each, {:.2} GiB; woken in {:.1} s, {:.1} us each; \
         {n} random asks, {:.2} us each; {} mappings",
        host.lane(kind),
        taken / n as f64,
        taken / (1 << 20) as f64,
        woken.as_secs_f64(),
        woken.as_micros() as f64 / n as f64,
        asked.as_micros() as f64 / n as f64,
        std::fs::read_to_string("/proc/self/maps")?.lines().count()
    );
    Ok(())
}

async fn total(actors: &[Actor]) -> Result<u64> {
    let mut sum = 0;
    for actor in actors {
        match actor.ask(&[Val::U64(0)]).await?.vals.first() {
            Some(Val::U64(count)) => sum += count,
            other => bail!("it answered {other:?}"),
        }
    }
    Ok(sum)
}

/// Writes that many states through the store's own commits, and wakes some of them.
fn known(guests: &Guests, n: u64) -> Result<()> {
    let folder = host::scratch()?;
    let path = folder.path().join("silo");
    let store = Arc::new(RedbStore::open(&path, RedbOptions::default())?);
    let host = Host::start(2, None, store.clone(), &[&guests.counter])?;
    host.runtime.block_on(host.actor("counter", "first", "increment")?.ask(&[Val::U64(5)]))?;
    let before = memory::used()?;
    let start = Instant::now();
    host.runtime.block_on(write(&store, n))?;
    let took = start.elapsed();
    let taken = memory::used()? - before;
    println!(
        "{n} known actors: written in {:.0} s, {:.0}/s; {:.2} GiB on disk, {:.0} B each; {:.0} MiB of memory in all, \
         most of it the store's cache",
        took.as_secs_f64(),
        n as f64 / took.as_secs_f64(),
        size(&path)? as f64 / (1 << 30) as f64,
        size(&path)? as f64 / n as f64,
        taken / 1024.0
    );
    let start = Instant::now();
    let some = n.min(WOKEN);
    host.runtime.block_on(async {
        for at in places(usize::try_from(n)?, some) {
            let answer = host.actor("counter", &key(at as u64), "value")?.ask(&[]).await?;
            let is_five = matches!(answer.vals.first(), Some(Val::Result(Ok(Some(value)))) if **value == Val::U64(5));
            ensure!(is_five, "{} answered {:?}", key(at as u64), answer.vals);
        }
        anyhow::Ok(())
    })?;
    let each = start.elapsed().as_micros() as f64 / some as f64;
    println!("{n} known actors: {some} of them woken at random, {each:.0} us each");
    drop(host);
    let start = Instant::now();
    let store = RedbStore::open(&path, RedbOptions::default())?;
    println!("{n} known actors: their folder opened in {:.0} ms", start.elapsed().as_millis() as f64);
    host::runtime(1)?.block_on(store.close());
    Ok(())
}

fn key(n: u64) -> String {
    format!("actor-{n:010}")
}

fn actor(key: &str) -> Result<ActorId> {
    Ok(ActorId { kind: KindName::parse(COUNTER)?, key: Key::parse(key)? })
}

/// Gives each the state of the first one.
async fn write(store: &RedbStore, n: u64) -> Result<()> {
    let first = store.read(&actor("first")?).await?;
    let values = first.map(|snapshot| snapshot.values).unwrap_or_default();
    ensure!(!values.is_empty(), "the first actor has no state");
    let changes: Vec<Change> = values.into_iter().map(|(name, value)| Change { name, value: Some(value) }).collect();
    let (landed, mut all) = mpsc::unbounded_channel();
    for from in (0..n).step_by(usize::try_from(BATCH)?) {
        let to = n.min(from + BATCH);
        let mut claims = Vec::new();
        for at in from..to {
            let actor = actor(&key(at))?;
            let claim = store.claim(&actor).await?;
            let write = Write { changes: changes.clone(), ..Write::default() };
            let (generation, etag) = (claim.generation, claim.etag + 1);
            let landed = landed.clone();
            // Nobody listens any more after a failure.
            let done = Box::new(move |outcome| _ = landed.send(outcome));
            store.commit(Commit { actor: actor.clone(), generation, etag, write }, done);
            claims.push((actor, generation));
        }
        for (actor, generation) in claims {
            let Some(outcome) = all.recv().await else { bail!("a commit was lost") };
            outcome?;
            // All of this batch are only released; the outcomes come in order.
            store.release(&actor, generation);
        }
    }
    Ok(())
}

/// Bytes of a folder's files as they lie on the disk.
fn size(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
