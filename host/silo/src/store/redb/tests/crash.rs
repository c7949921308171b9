//! `kill -9` at any moment: what was acknowledged is there, and nothing is torn.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quark_core::envelope::TellId;
use quark_core::id::ActorId;
use quark_core::journal::{JournalWrite, Snapshot};

use super::open;
use crate::store::conformance::{actor, entry, tell, write};
use crate::store::redb::RedbStore;
use crate::store::{Claim, Store as _};

const ROUNDS: u64 = 12;
const ACTORS: usize = 6;
/// Set in the child: the folder in which it writes until it is killed.
const FOLDER: &str = "QUARK_CRASH_TEST_FOLDER";

/// The child's part; as a test of its own it does nothing.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Arc::new(open(Path::new(&folder)));
    for n in 0..ACTORS {
        let claim = store.claim(&actor(&format!("a{n}"))).await.unwrap();
        write_on(Arc::clone(&store), n, claim);
    }
    accept_on(Arc::clone(&store));
    std::future::pending::<()>().await;
}

fn say(line: &str) {
    // Not println, which the test harness would keep for itself.
    writeln!(std::io::stdout(), "{line}").unwrap();
}

/// Each commit writes its e-tag into two values and an event, sends one tell and handles the one before; some
/// take a snapshot.
fn write_on(store: Arc<RedbStore>, n: usize, claim: Claim) {
    let one = actor(&format!("a{n}"));
    let etag = claim.etag + 1;
    let mark = etag.to_be_bytes();
    let large = vec![etag as u8; 20_000];
    let value = if etag.is_multiple_of(5) { &large[..] } else { &mark[..] };
    let mut commit = write(&one, &claim, &[("first", Some(&mark)), ("last", Some(&mark)), ("middle", Some(value))]);
    commit.write.tells = vec![tell("b", &mark)];
    if claim.etag > 0 {
        commit.write.handled = Some(TellId { from: Some(one), sequence: claim.etag << 12 });
    }
    let snapshot = etag.is_multiple_of(7).then(|| Snapshot { sequence: etag, at_ms: etag, bytes: Arc::from(mark) });
    let entries = vec![entry(etag, &mark)];
    commit.write.journal = Some(Box::new(JournalWrite { entries, snapshot, drop_through: 0 }));
    let on = Arc::clone(&store);
    let done = move |ended: Result<bool, _>| {
        ended.unwrap();
        say(&format!("a{n} {etag}"));
        write_on(on, n, Claim { etag, ..claim });
    };
    store.commit(commit, Box::new(done));
}

fn accept_on(store: Arc<RedbStore>) {
    let on = Arc::clone(&store);
    let done = move |ended: Result<TellId, _>| {
        say(&format!("outside {}", ended.unwrap().sequence));
        accept_on(on);
    };
    store.accept(tell("b", b"x"), Box::new(done));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = u64::from(std::process::id());
    let mut outside: Vec<u64> = Vec::new();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The first ones while the file is made or opened, the others while it writes.
        let wait = if round < 4 { round * 4 + (random >> 40) % 6 } else { 30 + (random >> 40) % 200 };
        for line in run_and_kill(folder.path(), Duration::from_millis(wait)) {
            let (name, number) = line.split_once(' ').unwrap();
            let number: u64 = number.parse().unwrap();
            if name == "outside" {
                assert!(outside.last() < Some(&number), "an id from outside came again");
                outside.push(number);
            } else {
                acknowledged.insert(name.to_owned(), number);
            }
        }
        let store = open(folder.path());
        check(&store, &acknowledged, &mut outside).await;
        store.close().await;
    }
    assert_eq!(acknowledged.len(), ACTORS, "the child did write");
}

/// The lines that the child said before it was killed.
fn run_and_kill(folder: &Path, after: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("{}::child", module_path!().split_once("::").unwrap().1);
    child.args([&name, "--exact", "--nocapture", "--test-threads=1"]);
    let mut child = child.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = said.lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with("outside ") || line.starts_with('a')).collect()
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// One event for each commit, and the newest snapshot.
async fn check_journal(store: &RedbStore, of: &ActorId, etag: u64) {
    let mut next = 1;
    loop {
        let page = store.journal(of, next, 1000).await.unwrap();
        if page.is_empty() {
            break;
        }
        for event in page {
            assert_eq!(event, entry(next, &next.to_be_bytes()), "an event is lost or doubled");
            next += 1;
        }
    }
    assert_eq!(next, etag + 1);
    let snapshot = store.journal_snapshot(of).await.unwrap().map_or(0, |snapshot| snapshot.sequence);
    assert_eq!(snapshot, etag / 7 * 7);
}

async fn check(store: &RedbStore, acknowledged: &BTreeMap<String, u64>, outside: &mut Vec<u64>) {
    let mut rows = Vec::new();
    loop {
        let page = store.outbox(rows.last(), 1000).await.unwrap();
        if page.is_empty() {
            break;
        }
        rows.extend(page.into_iter().map(|(id, _)| id));
    }
    for n in 0..ACTORS {
        let one = actor(&format!("a{n}"));
        let claim = store.claim(&one).await.unwrap();
        let told = acknowledged.get(&format!("a{n}")).copied().unwrap_or(0);
        assert!(claim.etag >= told, "a{n}: {} is stored and {told} was acknowledged", claim.etag);
        let mine: Vec<_> = rows.iter().filter(|id| id.from.as_ref() == Some(&one)).collect();
        if claim.etag == 0 {
            assert!(claim.values.is_empty() && mine.is_empty());
            continue;
        }
        let mark = claim.etag.to_be_bytes();
        assert!(claim.values["first"][..] == mark && claim.values["last"][..] == mark, "a torn commit");
        check_journal(store, &one, claim.etag).await;
        let sent = TellId { from: Some(one), sequence: claim.etag << 12 };
        assert_eq!(mine, [&sent], "one tell, that of the last commit");
    }
    let stored: Vec<u64> = rows.iter().filter(|id| id.from.is_none()).map(|id| id.sequence).collect();
    assert!(outside.iter().all(|id| stored.binary_search(id).is_ok()), "a tell was lost");
    // Those whose acknowledgement was cut off must not be given away again either.
    *outside = stored;
}
