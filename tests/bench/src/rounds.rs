//! How long and how often: sizes, interleaved rounds, medians.

use std::future::Future;
use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How much each group does.
pub(crate) struct Sizes {
    /// Measured rounds; one more is thrown away before.
    pub(crate) rounds: usize,
    /// Asks in one sample.
    pub(crate) asks: u64,
    /// Actors woken in one sample.
    pub(crate) wakes: usize,
    /// Live actors whose memory is measured.
    pub(crate) idle: usize,
    /// Live actors that are asked at random.
    pub(crate) live: usize,
    /// The same of actors that share instances.
    pub(crate) packed: usize,
    /// Durable commits in one sample, one at a time; ten times as many concurrently.
    pub(crate) commits: u64,
    /// Timers that are pending at once.
    pub(crate) timers: usize,
    /// Reminders of as many actors that are due at once.
    pub(crate) due: usize,
    /// Events of the longest journal; of others a tenth and a hundredth.
    pub(crate) events: u64,
    /// Samples of which the p99 is taken.
    pub(crate) latencies: usize,
    /// Runs this probe alone, for whoever looks at it with a profiler.
    pub(crate) probe: Option<String>,
}

/// Samples of a probe that runs alone.
const PROBE_SAMPLES: usize = 60;

/// A probe ran alone, so there are no rows.
#[derive(Debug)]
pub(crate) struct Probed;

impl std::fmt::Display for Probed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("one probe ran alone")
    }
}

impl std::error::Error for Probed {}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        asks: 40_000,
        wakes: 400,
        idle: 2_000,
        live: 100_000,
        packed: 100_000,
        commits: 60,
        timers: 1_000_000,
        due: 100_000,
        events: 100_000,
        latencies: 120,
        probe: None,
    };
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        asks: 100,
        wakes: 5,
        idle: 20,
        live: 20,
        packed: 50,
        commits: 2,
        timers: 1_000,
        due: 50,
        events: 400,
        latencies: 5,
        probe: None,
    };
}

/// Something that gives one sample.
pub(crate) type Probe<'a> = (&'static str, Box<dyn FnMut() -> Result<f64> + 'a>);

/// The median of each probe.
pub(crate) struct Medians(Vec<(&'static str, f64)>);

impl Medians {
    pub(crate) fn of(&self, name: &str) -> Result<f64> {
        let found = self.0.iter().find(|(probe, _)| *probe == name);
        found.map(|(_, median)| *median).with_context(|| format!("no probe `{name}`"))
    }
}

/// Runs all probes in turn, round by round, each round starting with another one.
pub(crate) fn interleaved(sizes: &Sizes, mut probes: Vec<Probe<'_>>) -> Result<Medians> {
    if let Some(only) = &sizes.probe {
        let found = probes.iter_mut().find(|(name, _)| name == only);
        let (_, probe) = found.with_context(|| format!("no probe `{only}` here"))?;
        let samples = (0..PROBE_SAMPLES).map(|_| probe()).collect::<Result<Vec<f64>>>()?;
        eprintln!("quark-bench: {only}: {:.1}", median(samples));
        return Err(Probed.into());
    }
    let mut samples = vec![Vec::new(); probes.len()];
    for round in 0..=sizes.rounds {
        for at in 0..probes.len() {
            let at = (at + round) % probes.len();
            let (name, probe) = &mut probes[at];
            let sample = probe().with_context(|| format!("in `{name}`"))?;
            // The first round warms up.
            if round > 0 {
                samples[at].push(sample);
            }
        }
    }
    Ok(Medians(probes.iter().zip(samples).map(|((name, _), samples)| (*name, median(samples))).collect()))
}

pub(crate) fn median(samples: Vec<f64>) -> f64 {
    quantile(samples, 0.5)
}

pub(crate) fn quantile(mut samples: Vec<f64>, share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds for each of `n` that the work does, run as a task of that runtime.
pub(crate) fn timed(runtime: &Runtime, n: u64, work: impl Future<Output = Result<()>> + Send + 'static) -> Result<f64> {
    runtime.block_on(async {
        let start = Instant::now();
        tokio::spawn(work).await??;
        Ok(start.elapsed().as_nanos() as f64 / n as f64)
    })
}

/// Runs that many tasks at a time and gives what they do together in a second.
pub(crate) fn rate<F>(runtime: &Runtime, tasks: u64, n: u64, work: impl Fn(u64) -> F) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    runtime.block_on(async {
        let mut set = JoinSet::new();
        let start = Instant::now();
        for task in 0..tasks {
            set.spawn(work(task));
        }
        while let Some(ended) = set.join_next().await {
            ended??;
        }
        Ok(n as f64 / start.elapsed().as_secs_f64())
    })
}
