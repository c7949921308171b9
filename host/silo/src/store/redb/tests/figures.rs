//! Figures, for people: run with `--run-ignored only -E "test(figures)" --no-capture`, in release.

#![expect(clippy::print_stderr, reason = "figures are for people")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::{copy, disk};
use super::open;
use crate::store::conformance::{actor, commit, write};
use crate::store::redb::RedbStore;
use crate::store::redb::checkpoint::meta;
use crate::store::redb::start::replay;
use crate::store::{Claim, Store as _};

const WORKERS: usize = 2;
const LASTS: Duration = Duration::from_secs(6);
/// In the child that fills a folder and is killed.
const FILL: &str = "QUARK_FIGURES_FOLDER";
const FILL_ACTORS: usize = 300_000;

/// Commits a second, and how long each took, in order.
fn committers(tasks: usize, actors: usize) -> (f64, Vec<Duration>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().unwrap();
    let work = |task: usize| {
        let store = Arc::clone(&store);
        async move {
            let mut claims = Vec::new();
            for n in (task..actors).step_by(tasks) {
                // Scattered: no two neighbours in time are neighbours in the file.
                let one = actor(&format!("{:08x}", (n as u32).wrapping_mul(0x9e37_79b1)));
                claims.push((one.clone(), store.claim(&one).await.unwrap()));
            }
            let (started, mut took) = (Instant::now(), Vec::new());
            'all: loop {
                for (one, claim) in &mut claims {
                    let at = Instant::now();
                    commit(store.as_ref(), write(one, claim, &[("n", Some(&[7; 16]))])).await.unwrap();
                    claim.etag += 1;
                    took.push(at.elapsed());
                    if started.elapsed() > LASTS {
                        break 'all;
                    }
                }
            }
            (took.len() as f64 / started.elapsed().as_secs_f64(), took)
        }
    };
    let tasks: Vec<_> = (0..tasks).map(|task| runtime.spawn(work(task))).collect();
    let (mut rate, mut all) = (0.0, Vec::new());
    for task in tasks {
        let (of_one, took) = runtime.block_on(task).unwrap();
        rate += of_one;
        all.extend(took);
    }
    all.sort_unstable();
    runtime.block_on(store.close());
    (rate, all)
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().into()
}

#[test]
#[ignore = "it measures"]
fn figures_of_commits() {
    for (tasks, actors) in [(1, 100), (1, 20_000), (100, 100), (100, 20_000)] {
        let (rate, took) = committers(tasks, actors);
        let of = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        let (half, most, longest, load) = (of(0.5), of(0.999), of(1.0), load());
        eprintln!(
            "{tasks} committers, {actors} actors: {rate:.0}/s, {half:.1?} p50, {most:.1?} p99.9, \
             {longest:.1?} longest, load {load}"
        );
    }
}

#[tokio::test]
#[ignore = "it measures"]
async fn figures_child() {
    let Some(folder) = std::env::var_os(FILL) else { return };
    let store = Arc::new(open(Path::new(&folder)));
    fill(&store).await;
    eprintln!("filled");
    std::future::pending::<()>().await;
}

async fn fill(store: &RedbStore) {
    for first in (0..FILL_ACTORS).step_by(1000) {
        let mut outcomes = Vec::new();
        for n in first..first + 1000 {
            let one = actor(&format!("{:08x}", (n as u32).wrapping_mul(0x9e37_79b1)));
            let claim = store.claim(&one).await.unwrap();
            let at = Claim { ..claim };
            let (done, outcome) = tokio::sync::oneshot::channel();
            store.commit(write(&one, &at, &[("v", Some(&[7; 900]))]), Box::new(|ended| done.send(ended).unwrap()));
            outcomes.push((one, at.generation, outcome));
        }
        for (one, generation, outcome) in outcomes {
            outcome.await.unwrap().unwrap();
            store.release(&one, generation);
        }
    }
}

#[tokio::test]
#[ignore = "it measures"]
async fn figures_of_an_open_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("{}::figures_child", module_path!().split_once("::").unwrap().1);
    child.args([&name, "--exact", "--nocapture", "--ignored"]);
    let child = child.env(FILL, folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let started = Instant::now();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("filled") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "the child ended");
    }
    eprintln!("filled in {:.1?}", started.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    eprintln!("{} MB, load {}", bytes / 1_000_000, load());
    let copied = copy(folder.path());
    let started = Instant::now();
    let database = redb::Database::open(copied.path().join("quark.redb")).unwrap();
    eprintln!("the database alone in {:.1?}", started.elapsed());
    let meta = meta(&database).unwrap();
    drop(database);
    let disk = disk(folder.path());
    let started = Instant::now();
    let (overlay, _) = replay(&disk, meta.log.unwrap(), &disk.numbers().unwrap()).unwrap();
    eprintln!("read {} rows of the log in {:.1?}", overlay.rows(), started.elapsed());
    for after in ["a kill", "a close"] {
        let started = Instant::now();
        let store = open(folder.path());
        eprintln!("opened after {after} in {:.1?}, load {}", started.elapsed(), load());
        store.close().await;
    }
}
