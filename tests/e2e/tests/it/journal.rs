//! Journals: actors that wake by their events, and what is kept of those.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;

use quark_e2e::{Client, Silo, eventually, kills, quark};
use serde_json::{Value, json};

pub(crate) const FEW: &str = "[actor.journal]\nsnapshot = { every = 5 }\n";
pub(crate) const SHORT: &str = "[actor.journal]\nkeep = \"since-snapshot\"\n";
pub(crate) const PACKED: &str = "[actor]\nisolation = { packed = 4 }\n[actor.journal]\nsnapshot = { every = 5 }\n";
const FULL: &str = "[actor]\nreentrancy = \"full\"\n[actor.journal]\nsnapshot = { every = 5 }\n";
/// All ways in which its turns run.
const WAYS: [(&str, &str); 5] =
    [("ledger", ""), ("ledger", FEW), ("async/ledger", FEW), ("async/ledger", PACKED), ("async/ledger", FULL)];

fn ledger(sample: &str, manifest: &str) -> (Silo, Client) {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy(sample, manifest);
    (silo, client)
}

#[track_caller]
pub(crate) fn deposit(client: &Client, actor: &str, amount: u64, note: &str) -> u64 {
    client.call(actor, "deposit", &json!([amount, note])).number()
}

#[track_caller]
pub(crate) fn sum(client: &Client, actor: &str) -> Value {
    client.call(actor, "sum", &json!([])).ok()
}

#[track_caller]
pub(crate) fn deactivate(client: &Client, actor: &str) {
    let _ = client.send("POST", &format!("/v1/actors/{actor}/-/deactivate"), &[], b"").expect(200);
}

#[track_caller]
fn events(client: &Client, actor: &str) -> Vec<Value> {
    let page = client.get(&format!("/v1/actors/{actor}/-/journal")).expect(200).json();
    page["events"].as_array().unwrap().clone()
}

#[track_caller]
fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect()
}

/// Waits until nothing is due any more, and gives what the silo says of the journal.
#[track_caller]
fn settled(client: &Client, actor: &str, every: u64) -> Value {
    eventually("the snapshot is taken", || {
        let journal = client.inspect(actor)["journal"].clone();
        (journal["replayed"].as_u64().unwrap() < every).then_some(journal)
    })
}

#[test]
fn an_actor_is_what_its_events_made_of_it() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = ledger(sample, manifest);
        check_past(&client, &format!("{sample} {manifest}"), !manifest.is_empty());
    }
}

/// It is what its events made of it; with `few` there are snapshots.
#[track_caller]
pub(crate) fn check_past(client: &Client, way: &str, few: bool) {
    for n in 1..=13 {
        assert_eq!(deposit(client, "ledger/a", n, "é"), n * (n + 1) / 2, "{way}");
    }
    assert_eq!(client.call("ledger/a", "withdraw", &json!([1, "fee"])).number(), 90);
    let _ = client.call("ledger/a", "withdraw", &json!([91, "too much"])).actor_error();
    let live = sum(client, "ledger/a");
    assert_eq!((&live["balance"], &live["lines"]), (&json!(90), &json!(14)));
    if few {
        let journal = settled(client, "ledger/a", 5);
        assert!(journal["snapshot"].as_u64().unwrap() >= 10, "{journal}");
    }
    for _ in 0..2 {
        deactivate(client, "ledger/a");
        assert_eq!(sum(client, "ledger/a"), live, "{way}");
    }
    let journal = client.inspect("ledger/a")["journal"].clone();
    assert_eq!((&journal["last"], &journal["first"]), (&json!(14), &json!(1)));
    assert_eq!(client.inspect("ledger/a")["state"], json!([]), "it is no state");
    let lines = client.call("ledger/a", "audit", &json!([13, 100])).ok();
    let lines: Vec<_> = lines.as_array().unwrap().iter().map(|line| (&line["number"], &line["amount"])).collect();
    assert_eq!(lines, [(&json!(13), &json!(13)), (&json!(14), &json!(-1))]);
    assert_eq!(sum(client, "ledger/b")["lines"], 0, "another has its own");
}

#[test]
fn a_trap_undoes_what_the_turn_appended() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = ledger(sample, manifest);
        check_trap(&client);
    }
}

#[track_caller]
pub(crate) fn check_trap(client: &Client) {
    deposit(client, "ledger/a", 5, "kept");
    let live = sum(client, "ledger/a");
    let _ = client.call("ledger/a", "deposit-and-break", &json!([7])).failure(502, "failed");
    assert_eq!(sum(client, "ledger/a"), live);
    assert_eq!(deposit(client, "ledger/a", 2, "next"), 7);
    let events = events(client, "ledger/a");
    assert_eq!(numbers(&events), [1, 2], "numbers are not used up");
    assert_eq!(events[1]["json"], json!({ "Deposited": { "amount": 2, "note": "next" } }));
    assert_eq!((&events[1]["name"], &events[1]["content_type"]), (&json!("Deposited"), &json!("application/json")));
}

#[test]
fn an_event_that_cannot_be_applied_is_named_and_nothing_is_harmed() {
    for sample in ["ledger", "async/ledger"] {
        let (_silo, client) = ledger(sample, "");
        check_refusals(&client, sample);
    }
}

#[track_caller]
pub(crate) fn check_refusals(client: &Client, sample: &str) {
    deposit(client, "ledger/a", 5, "one");
    let _ = client.call("ledger/a", "withdraw", &json!([1, "two"])).expect(200);
    let live = sum(client, "ledger/a");
    for (setting, says) in [
        ("refuse", "answered: its settings refuse that"),
        ("break", "its settings break it"),
        ("tell", "may neither call nor tell"),
    ] {
        client.deploy(sample, &format!("[actor.config]\n{setting} = \"Withdrawn\"\n"));
        let failure = client.call("ledger/a", "sum", &json!([])).failure(502, "failed");
        let text = failure["message"].as_str().unwrap();
        assert!(text.contains("its `apply` of event 2 (`Withdrawn`)") && text.contains(says), "{text}");
        assert_eq!(numbers(&events(client, "ledger/a")), [1, 2]);
    }
    client.deploy(sample, "");
    let again = || {
        let answer = client.call("ledger/a", "sum", &json!([]));
        (answer.status == 200).then(|| answer.ok())
    };
    assert_eq!(eventually("it wakes again", again), live);
    let _ = client.call("ledger/a", "gift", &json!([])).expect(202);
    eventually("tells append too", || (events(client, "ledger/a").len() == 3).then_some(()));
    assert_eq!(events(client, "ledger/other"), [] as [Value; 0], "nobody was told");
}

#[test]
fn a_snapshot_is_taken_on_request_and_old_events_are_dropped_if_so_decided() {
    for sample in ["ledger", "async/ledger"] {
        let (_silo, client) = ledger(sample, SHORT);
        check_snapshots(&client);
    }
}

/// Of a ledger that keeps what came after its snapshot.
#[track_caller]
pub(crate) fn check_snapshots(client: &Client) {
    assert_eq!(client.call("ledger/a", "deposit-often", &json!([600])).number(), 600);
    let _ = client.call("ledger/a", "close-books", &json!([])).expect(200);
    let closed = settled(client, "ledger/a", 1);
    assert_eq!((&closed["snapshot"], &closed["first"], &closed["last"]), (&json!(600), &json!(601), &json!(600)));
    assert_eq!(events(client, "ledger/a"), [] as [Value; 0]);
    deposit(client, "ledger/a", 1, "after");
    let live = sum(client, "ledger/a");
    deactivate(client, "ledger/a");
    assert_eq!(sum(client, "ledger/a"), live);
    assert_eq!(numbers(&events(client, "ledger/a")), [601]);
    // More than a turn may append, and then all of it is undone by the method's own trap.
    let failure = client.call("ledger/a", "deposit-often", &json!([1025])).actor_error();
    assert!(failure.to_string().contains("commit first"), "{failure}");
}

#[test]
fn an_operators_change_of_its_state_leaves_its_events() {
    let (silo, client) = ledger("ledger", FEW);
    for n in 1..=7 {
        deposit(&client, "ledger/a", n, "x");
    }
    let live = sum(&client, "ledger/a");
    let _ = silo.cli(&["state", "ledger/a", "set", "note", "hello"]).exits(0);
    assert_eq!(sum(&client, "ledger/a"), live);
    deposit(&client, "ledger/a", 8, "y");
    assert_eq!(numbers(&events(&client, "ledger/a")), [1, 2, 3, 4, 5, 6, 7, 8]);
    let _ = client.get("/v1/actors/ledger/a/-/state/%00journal").failure(404, "not-found");
}

#[test]
fn the_command_shows_events() {
    let (silo, client) = ledger("ledger", "");
    let _ = silo.cli(&["journal", "nothing/a"]).exits(2);
    let none = silo.cli(&["journal", "ledger/a"]).exits(0);
    assert!(none.stdout.contains("no events from number 1 on"), "{none:?}");
    deposit(&client, "ledger/a", 5, "rent");
    deposit(&client, "ledger/a", 6, "more");
    let shown = silo.cli(&["journal", "ledger/a", "--from", "2"]).exits(0);
    assert!(
        shown.stdout.contains("Deposited") && shown.stdout.contains("{\"amount\":6,\"note\":\"more\"}"),
        "{shown:?}"
    );
    assert!(!shown.stdout.contains("rent"), "{shown:?}");
    let json = silo.cli(&["journal", "ledger/a", "--limit", "1", "--json"]).exits(0).json();
    assert_eq!((&json["events"][0]["sequence"], json["events"].as_array().unwrap().len()), (&json!(1), 1));
    let inspected = silo.cli(&["inspect", "ledger/a"]).exits(0);
    assert!(inspected.stdout.contains("2 events, no snapshot"), "{inspected:?}");
}

#[test]
fn the_command_follows_from_the_newest_that_it_may_show() {
    let (mut silo, client) = ledger("ledger", "");
    for n in 1..=5 {
        deposit(&client, "ledger/a", n, "x");
    }
    let mut command = quark(&silo.folder().join("config"));
    command.args(["journal", "ledger/a", "--follow", "--limit", "2", "--json"]);
    command.env("QUARK_URL", format!("http://{}", silo.address()));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["sequence"].clone();
    assert_eq!((next(), next()), (json!(4), json!(5)));
    deposit(&client, "ledger/a", 6, "y");
    assert_eq!(next(), 6);
    silo.kill();
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
}

/// Deposits until the silo is gone; gives what was acknowledged, by note.
fn deposits(client: &Client, actor: &str, round: u64, done: &Mutex<BTreeMap<String, String>>) {
    for n in 0.. {
        let note = format!("{actor}-{round}-{n}");
        let Some(answer) = client.try_call(actor, "deposit", &json!([1, note])) else { return };
        if answer.status != 200 {
            return;
        }
        done.lock().unwrap().insert(note, actor.to_owned());
    }
}

#[test]
fn no_acknowledged_event_is_lost_or_doubled_by_kill_9() {
    for sample in ["ledger", "async/ledger"] {
        let mut silo = Silo::start(&[]);
        silo.client().deploy(sample, "[actor.journal]\nsnapshot = { every = 7 }\n");
        check_kills(&mut silo, kills());
    }
}

/// It is killed so often while it has deposits.
#[track_caller]
pub(crate) fn check_kills(silo: &mut Silo, kills: u64) {
    let done = Mutex::new(BTreeMap::new());
    for round in 1..=kills {
        let before = done.lock().unwrap().len();
        thread::scope(|scope| {
            for actor in ["ledger/a", "ledger/b", "ledger/c"] {
                let (client, done) = (silo.client(), &done);
                scope.spawn(move || deposits(&client, actor, round, done));
            }
            let enough = || (done.lock().unwrap().len() >= before + 40).then_some(());
            eventually("some deposits are done", enough);
            silo.kill();
        });
        silo.restart(&[]);
        let client = silo.client();
        for actor in ["ledger/a", "ledger/b", "ledger/c"] {
            check_events(&client, actor, &done.lock().unwrap());
        }
    }
}

/// All that was acknowledged is there once, and the actor is what all of it comes to.
#[track_caller]
pub(crate) fn check_events(client: &Client, actor: &str, done: &BTreeMap<String, String>) {
    let woken = sum(client, actor);
    let mut notes = BTreeMap::<String, u64>::new();
    let (mut next, mut digest) = (1_u64, 0_u64);
    loop {
        let path = format!("/v1/actors/{actor}/-/journal?from={next}&limit=1000");
        let page = client.get(&path).expect(200).json();
        let page = page["events"].as_array().unwrap();
        if page.is_empty() {
            break;
        }
        for event in page {
            assert_eq!(event["sequence"], next, "a gap");
            let note = event["json"]["Deposited"]["note"].as_str().unwrap();
            // As the sample does it.
            for byte in note.bytes().chain(next.to_le_bytes()) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            *notes.entry(note.to_owned()).or_default() += 1;
            next += 1;
        }
    }
    assert!(notes.values().all(|count| *count == 1), "an event is doubled");
    let lost: Vec<_> = done.iter().filter(|(note, of)| *of == actor && !notes.contains_key(*note)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(woken, json!({ "balance": next - 1, "lines": next - 1, "digest": digest }), "a replay gives another");
}
