//! Everybody does everything to a tree at once. When all is over nobody waits any more, and trees, rosters and rows
//! say the same.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_e2e::DEADLINE;
use quark_silo::api::{Failure, TreeNode};
use quark_silo::gateway::Service as _;
use quark_silo::store::memory::MemoryStore;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::dying::Fault;
use super::model::Model;
use super::run::{Deployed, Flavour, Name, Run, id};
use super::{STACK_BYTES, Shown, on_a_large_stack};

/// What is done at once.
pub(super) const HANDS: u64 = 6;
/// What each of them does in one storm.
const DEEDS: u64 = 40;
/// Storms in CI for each kind of them, unless `QUARK_STORMS` says otherwise.
const STORMS: u64 = 4;
/// What takes longer waits for something that may never come.
const SLOW: Duration = Duration::from_secs(10);
/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(5);

const CREWS: [Name; 2] = ["crew/c", "crew/d"];
const WORKERS: [Name; 7] =
    ["worker/c.a", "worker/c.a.x", "worker/c.a.x.z", "worker/c.a.y", "worker/c.b", "worker/c.b.x", "worker/d.a"];

/// A generator of Marsaglia's xorshift family.
pub(super) struct Rng(u64);

impl Rng {
    /// That of one hand in a storm.
    pub(super) fn of(seed: u64, hand: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(hand) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

impl Run {
    async fn deed(&self, rng: &mut Rng) -> (String, Result<Value, Failure>) {
        let (crew, worker) = (rng.one_of(&CREWS), rng.one_of(&WORKERS));
        let any = if rng.below(4) == 0 { crew } else { worker };
        let hired = worker.rsplit('.').next().unwrap();
        let lifetime = rng.one_of(&["permanent", "permanent", "transient", "temporary"]);
        // Mostly somebody of whom the worker can be a child by its name.
        let parent = match worker.rsplit_once('.').unwrap().0 {
            above if above.contains('.') => above.to_owned(),
            above => above.replace("worker/", "crew/"),
        };
        let (to, method, arguments) = match rng.below(12) {
            0..=3 => (parent.as_str(), "hire", json!([hired, lifetime])),
            4 => (CREWS[usize::from(worker.contains("c."))], "adopt", {
                json!([{"kind": id(worker).kind.as_str(), "key": id(worker).key.as_str()}, lifetime])
            }),
            5 => (crew, "dismiss", json!([hired])),
            6 => (any, "crash", json!([])),
            7 => (worker, "crash", json!([])),
            8 => (worker, "resign", json!([])),
            9 => (crew, "hire-and-crash", json!([hired])),
            10 => (crew, "work-all", json!([1])),
            _ => {
                let (kind, key) = any.split_once('/').unwrap();
                let done = match rng.below(3) {
                    0 => self.silo.set_stopped(kind, key, true).await,
                    1 => self.silo.set_stopped(kind, key, false).await,
                    _ => self.silo.deactivate(kind, key).await,
                };
                return (format!("stop, start or deactivate {any}"), done.map(Value::from));
            }
        };
        let done = self.call(to, method, &arguments).await;
        (format!("{to} {method} {arguments}"), done)
    }

    /// Its result; and when it takes long, all that could be seen meanwhile.
    async fn seen_if_slow<T>(&self, deed: impl Future<Output = T>) -> (T, String) {
        let mut deed = std::pin::pin!(deed);
        if let Ok(done) = tokio::time::timeout(SLOW, &mut deed).await {
            return (done, String::new());
        }
        let mut seen = format!("{:#?}", self.silo.tree(None, 1000).await);
        for actor in CREWS.iter().chain(&WORKERS) {
            let (kind, key) = actor.split_once('/').unwrap();
            let report = self.silo.inspect(kind, key).await;
            seen.push_str(&format!("\n{actor}: {:?}, {report:?}", self.standing(actor)));
        }
        (deed.await, seen)
    }

    /// Nobody waits for a restart any more, and everybody answers.
    async fn rests(&self) {
        let end = Instant::now() + DEADLINE;
        for actor in CREWS.iter().chain(&WORKERS) {
            loop {
                match self.call(actor, "roster", &json!([])).await {
                    Ok(_) => break,
                    Err(failure) if failure.code == "stopped" => break,
                    // It waits for the end of a cool-down, or stood behind a write that nobody knows of.
                    Err(failure) if matches!(&*failure.code, "failed" | "unknown-outcome" | "overloaded") => {}
                    Err(failure) => panic!("{actor}: {failure:?}"),
                }
                assert!(Instant::now() < end, "{actor} never answers");
                tokio::time::sleep(LOOK).await;
            }
        }
        let at_work = || !self.silo.metrics().lines().any(|line| line == "quark_families_at_work 0");
        while at_work() || self.silo.tree(None, 1000).await.unwrap().roots.iter().any(waits) {
            assert!(Instant::now() < end, "somebody waits for ever: {:#?}", self.silo.tree(None, 1000).await);
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn waits(node: &TreeNode) -> bool {
    matches!(&*node.state, "down" | "held" | "cool-down") || node.children.iter().any(waits)
}

/// Whose call lasts until its deadline waited for something that never came.
pub(super) fn check(deed: &str, done: Result<Value, Failure>, seen: &str) {
    if let Err(failure) = done {
        assert!(!matches!(&*failure.code, "deadline-exceeded" | "internal"), "{deed}: {failure:?}\n{seen}");
    }
}

fn storm(deployed: &Deployed, seed: u64, workers: usize, doubts: bool, shown: &str) {
    let shown = Shown(format!("{shown}, seed {seed}, {workers} threads, doubts: {doubts}"));
    let run = start(deployed, &Arc::new(MemoryStore::new()), workers);
    let mut rng = Rng::of(seed, 0);
    run.runtime.block_on(async {
        let hands = (0..HANDS).map(|hand| {
            let mut rng = Rng::of(seed, hand);
            let run = &run;
            async move {
                for _ in 0..DEEDS {
                    let ((deed, done), seen) = run.seen_if_slow(run.deed(&mut rng)).await;
                    check(&deed, done, &seen);
                }
            }
        });
        if doubts {
            run.store.arm(rng.below(100), rng.one_of(&[Fault::Doubt, Fault::DoubtAfter]));
        }
        futures_util::future::join_all(hands).await;
        run.rests().await;
        Model::known(CREWS.iter().chain(&WORKERS)).by_rows(&run).check(&run).await;
    });
    let model = Model::known(CREWS.iter().chain(&WORKERS)).by_rows(&run);
    let run = run.restart(deployed);
    run.runtime.block_on(model.check(&run));
    run.kill();
    drop(shown);
}

/// One after the other: the first is `QUARK_STORM`, their number `QUARK_STORMS`.
pub(super) fn seeds() -> Range<u64> {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let first = number("QUARK_STORM", 1);
    first..first + number("QUARK_STORMS", STORMS)
}

pub(super) fn start(deployed: &Deployed, rows: &Arc<MemoryStore>, workers: usize) -> Run {
    let mut runtime = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = runtime.worker_threads(workers).thread_stack_size(STACK_BYTES).enable_all().build().unwrap();
    deployed.start_on(rows, runtime)
}

fn storms(sample: &'static str, manifest: &'static str) {
    on_a_large_stack(|| {
        let deployed = Deployed::new(Flavour { sample, manifest });
        for seed in seeds() {
            storm(&deployed, seed, 1 + usize::from(seed % 2 == 0), seed % 3 == 0, &format!("{sample}: {manifest}"));
        }
    });
}

/// Failures never add up to an escalation.
pub(super) const PATIENT: &str = r#"
[[actor]]
name = "crew"
[actor.supervision]
strategy = "rest-for-one"
restarts = { max = 1000, within = "1m" }
backoff = { min = "1ms", max = "5ms" }
[[actor]]
name = "worker"
[actor.supervision]
strategy = "all-for-one"
restarts = { max = 1000, within = "1m" }
backoff = { min = "1ms", max = "5ms" }
"#;

/// They do so soon, and cool down for moments.
const IMPATIENT: &str = r#"
[[actor]]
name = "crew"
[actor.supervision]
strategy = "all-for-one"
restarts = { max = 2, within = "50ms" }
backoff = { min = "1ms", max = "5ms" }
[[actor]]
name = "worker"
[actor.supervision]
restarts = { max = 1, within = "50ms" }
backoff = { min = "1ms", max = "5ms" }
"#;

const PACKED: &str = r#"
[[actor]]
name = "crew"
[actor.supervision]
restarts = { max = 2, within = "50ms" }
backoff = { min = "1ms", max = "5ms" }
[[actor]]
name = "worker"
isolation = { packed = 4 }
[actor.supervision]
restarts = { max = 1, within = "50ms" }
backoff = { min = "1ms", max = "5ms" }
"#;

#[test]
fn a_storm_over_patient_parents_leaves_a_tree_that_is_one() {
    storms("crew", PATIENT);
}

#[test]
fn a_storm_over_impatient_parents_leaves_a_tree_that_is_one() {
    storms("crew", IMPATIENT);
}

#[test]
fn a_storm_over_turns_that_interleave_leaves_a_tree_that_is_one() {
    storms("async/crew", IMPATIENT);
}

#[test]
fn a_storm_over_packs_leaves_a_tree_that_is_one() {
    storms("async/crew", PACKED);
}
