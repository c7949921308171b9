//! Ledgers and digests at once, however often their silo is killed: what was acknowledged is there once, a replay
//! gives what was live, and reminders fire soon. And what becomes of journals that are damaged, or too long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use quark_e2e::{Client, Silo, eventually, kills};
use redb::{Database, ReadableTable as _, TableDefinition};
use serde_json::{Value, json};

use crate::journal::{check_events, deactivate, deposit, sum};

const LEDGERS: [&str; 2] = ["ledger/a", "ledger/b"];
const DIGESTS: u64 = 4;
/// Deposits and reminders in each round.
const LEAST: usize = 30;
/// The latest that a reminder is registered for, in milliseconds from then.
const LATEST_MS: u64 = 400;
const FAR: u64 = 3_600_000;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

/// What was acknowledged.
#[derive(Default)]
struct Done {
    /// The actor of each note.
    notes: Mutex<BTreeMap<String, String>>,
    /// The actor of each reminder of this round.
    reminders: Mutex<BTreeMap<String, String>>,
}

/// Deposits until the silo is gone.
fn deposits(client: &Client, actor: &str, round: u64, done: &Done) {
    for n in 0.. {
        let note = format!("{actor}-{round}-{n}");
        match client.try_call(actor, "deposit", &json!([1, note])) {
            Some(answer) if answer.status == 200 => drop(done.notes.lock().unwrap().insert(note, actor.to_owned())),
            _ => return,
        }
    }
}

/// Registers until the silo is gone. Each round has digests of its own, so that their lists stay short.
fn registers(client: &Client, round: u64, done: &Done) {
    for n in 0..200 * DIGESTS {
        let (actor, name) = (format!("digest/{round}-{}", n % DIGESTS), format!("r{n}"));
        match client.try_call(&actor, "once", &json!([name, n * 37 % LATEST_MS])) {
            Some(answer) if answer.status == 200 => drop(done.reminders.lock().unwrap().insert(name, actor)),
            _ => return,
        }
    }
}

/// A journal is what it was, and so is what it makes of its actor, live and after each sleep.
fn check_ledgers(client: &Client, done: &Done) {
    for actor in LEDGERS {
        check_events(client, actor, &done.notes.lock().unwrap());
        let note = format!("{actor}-{}", now_ms());
        deposit(client, actor, 1, &note);
        done.notes.lock().unwrap().insert(note, actor.to_owned());
        let live = sum(client, actor);
        deactivate(client, actor);
        assert_eq!(sum(client, actor), live, "a replay gives another {actor}");
    }
}

/// Every reminder that was acknowledged has fired, and its digest was made once: the latest of them, in milliseconds
/// after it was due and the silo was up.
fn check_digests(client: &Client, done: &Done, round: u64, up_since: u64) -> u64 {
    let mut late = 0;
    for n in 0..DIGESTS {
        let actor = format!("digest/{round}-{n}");
        let wanted: BTreeSet<String> = {
            let all = done.reminders.lock().unwrap();
            all.iter().filter(|(_, of)| **of == actor).map(|(name, _)| name.clone()).collect()
        };
        let made = eventually("all that was acknowledged has fired", || {
            let made = client.call(&actor, "made", &json!([])).ok();
            let made: Vec<(String, u64, u64)> = (made.as_array().unwrap().iter())
                .map(|it| (it["reminder"].as_str().unwrap().to_owned(), number(&it["due"]), number(&it["at"])))
                .collect();
            wanted.iter().all(|name| made.iter().any(|(reminder, ..)| reminder == name)).then_some(made)
        });
        let names: BTreeSet<&String> = made.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), made.len(), "a reminder's turn and its row are one commit: {made:?}");
        for (name, due, at) in &made {
            assert!(at >= due, "{name} of {actor} fired too early");
            // Before the silo was killed it was on time, or is looked at no more.
            late = late.max(at.saturating_sub((*due).max(up_since)));
        }
    }
    done.reminders.lock().unwrap().clear();
    late
}

#[test]
#[expect(clippy::print_stdout, reason = "how late reminders are is measured")]
fn ledgers_and_digests_survive_kill_9() {
    let mut silo = Silo::start(&[]);
    silo.client().deploy("ledger", "[actor.journal]\nsnapshot = { every = 7 }\n");
    silo.client().deploy("digest", "");
    let (done, mut up_since, mut latest) = (Done::default(), now_ms(), Vec::new());
    for round in 1..=kills() {
        let before = done.notes.lock().unwrap().len();
        thread::scope(|scope| {
            for actor in LEDGERS {
                let (client, done) = (silo.client(), &done);
                scope.spawn(move || deposits(&client, actor, round, done));
            }
            let (client, done) = (silo.client(), &done);
            scope.spawn(move || registers(&client, round, done));
            eventually("some of both is done", || {
                let notes = done.notes.lock().unwrap().len() - before;
                (notes >= LEAST && done.reminders.lock().unwrap().len() >= LEAST).then_some(())
            });
            silo.kill();
        });
        silo.restart(&[]);
        let was_up = std::mem::replace(&mut up_since, now_ms());
        assert!(was_up < up_since);
        let client = silo.client();
        latest.push(check_digests(&client, &done, round, up_since));
        check_ledgers(&client, &done);
    }
    latest.sort_unstable();
    println!("reminders are late by at most {latest:?} ms in each of the rounds");
}

type EntryKey = (&'static [u8], &'static [u8], u64);
type EntryRow = (&'static [u8], &'static [u8]);
const JOURNAL: TableDefinition<'_, EntryKey, EntryRow> = TableDefinition::new("journal");
const LEDGER: &[u8] = b"sample:ledger/ledgers#ledger";

/// Changes the row of an event of `ledger/a` in the file of a silo that is down; gives what was there.
fn damage(silo: &Silo, sequence: u64, to: Option<(&[u8], &[u8])>) -> (Vec<u8>, Vec<u8>) {
    let database = Database::open(silo.data().join("quark.redb")).unwrap();
    let tx = database.begin_write().unwrap();
    let before = {
        let mut table = tx.open_table(JOURNAL).unwrap();
        let key = (LEDGER, &b"a"[..], sequence);
        let (head, payload) = table.get(key).unwrap().map_or_else(Default::default, |row| {
            let (head, payload) = row.value();
            (head.to_vec(), payload.to_vec())
        });
        match to {
            Some(row) => drop(table.insert(key, row).unwrap()),
            None => drop(table.remove(key).unwrap()),
        }
        (head, payload)
    };
    tx.commit().unwrap();
    before
}

#[test]
fn an_event_that_is_damaged_or_missing_is_named_and_nothing_is_lost() {
    let mut silo = Silo::with(&["ledger", "counter"]);
    let client = silo.client();
    for n in 1..=5 {
        deposit(&client, "ledger/a", n, "x");
        deposit(&client, "ledger/b", n, "x");
    }
    let live = sum(&client, "ledger/a");
    assert!(silo.stop().success());
    let whole = damage(&silo, 3, None);
    let (head, payload) = (whole.0.as_slice(), whole.1.as_slice());
    let mut broken = payload.to_vec();
    broken[0] ^= 0x20;
    for (row, says) in [
        (None, "event 3 of its journal is not in the store"),
        (Some((&b"\xc1no row"[..], payload)), "event 3 of a journal"),
        (Some((head, broken.as_slice())), "its `apply` of event 3 (`Deposited`)"),
    ] {
        damage(&silo, 3, row);
        silo.restart(&[]);
        let client = silo.client();
        let failure = client.call("ledger/a", "sum", &json!([])).failure(502, "failed");
        assert!(failure["message"].as_str().unwrap().contains(says), "{failure}");
        // It refuses whatever would build on it, and others know nothing of it.
        let _ = client.call("ledger/a", "deposit", &json!([1, "no"])).failure(502, "failed");
        assert_eq!(sum(&client, "ledger/b"), live);
        assert_eq!(client.inspect("ledger/a")["journal"]["last"], 5);
        assert!(silo.stop().success());
    }
    damage(&silo, 3, Some((head, payload)));
    silo.restart(&[]);
    let client = silo.client();
    assert_eq!(sum(&client, "ledger/a"), live, "with its row it is what it was");
    assert_eq!(deposit(&client, "ledger/a", 1, "on"), 16);
}

type ReminderKey = (&'static [u8], &'static [u8], &'static [u8]);
const REMINDERS: TableDefinition<'_, ReminderKey, &[u8]> = TableDefinition::new("reminders");

/// Puts a row in place of that of the reminder `soon` of `digest/a`; gives what was there.
fn put_reminder(silo: &Silo, row: &[u8]) -> Vec<u8> {
    let database = Database::open(silo.data().join("quark.redb")).unwrap();
    let tx = database.begin_write().unwrap();
    let before = {
        let mut table = tx.open_table(REMINDERS).unwrap();
        let key = (&b"sample:digest/digests#digest"[..], &b"a"[..], &b"soon"[..]);
        table.insert(key, row).unwrap().unwrap().value().to_vec()
    };
    tx.commit().unwrap();
    before
}

#[test]
fn a_reminder_that_is_damaged_stays_and_others_fire() {
    let mut silo = Silo::with(&["digest"]);
    for actor in ["digest/a", "digest/b"] {
        let _ = silo.client().call(actor, "once", &json!(["soon", FAR])).ok();
    }
    let fires = |client: &Client, actor: &str| {
        let _ = client.send("POST", &format!("/v1/actors/{actor}/-/reminders/soon/fire"), &[], b"").expect(200);
        eventually("it fires", || {
            let made = client.call(actor, "made", &json!([])).ok();
            (made.as_array().unwrap().len() == 1).then_some(())
        });
    };
    assert!(silo.stop().success());
    let whole = put_reminder(&silo, b"\xc1no row");
    silo.restart(&[]);
    fires(&silo.client(), "digest/b");
    assert!(silo.log().contains("a reminder cannot be read and does not fire"), "{}", silo.log());
    assert!(silo.stop().success());
    assert_eq!(put_reminder(&silo, &whole), b"\xc1no row", "it is left as it was");
    silo.restart(&[]);
    fires(&silo.client(), "digest/a");
}

#[test]
fn a_slow_replay_is_told_and_an_event_over_its_limit_is_refused() {
    for sample in ["ledger", "async/ledger"] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, "");
        deposit(&client, "ledger/a", 5, "x");
        let live = sum(&client, "ledger/a");
        deactivate(&client, "ledger/a");
        assert_eq!(sum(&client, "ledger/a"), live);
        assert!(!silo.log().contains("it woke slowly"), "{}", silo.log());
        let note = "x".repeat((1 << 20) + 1);
        let refused = client.call("ledger/a", "deposit", &json!([1, note])).actor_error();
        assert_eq!(refused, json!({ "state": { "too-large": 1 << 20 } }));
        assert_eq!(sum(&client, "ledger/a"), live, "nothing was appended");
        client.deploy(sample, "[actor.config]\nslow = \"Deposited\"\n");
        let slow = || {
            let answer = client.call("ledger/a", "sum", &json!([]));
            (answer.status == 200).then(|| answer.ok())
        };
        assert_eq!(eventually("it wakes", slow), live);
        let told = || silo.log().lines().find(|line| line.contains("it woke slowly")).map(str::to_owned);
        let line = eventually("its log says how to wake faster", told);
        assert!(line.contains("1 events of its journal"), "{line}");
    }
}
