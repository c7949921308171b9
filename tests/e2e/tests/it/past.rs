//! What an actor was at some moment, by replaying its journal where nothing can be sent.

use std::thread;

use quark_e2e::{Client, Silo, eventually};
use serde_json::{Value, json};

/// All ways in which its turns run.
const WAYS: [(&str, &str); 5] = [
    ("ledger", ""),
    ("async/ledger", ""),
    ("ledger", "[actor.journal]\nsnapshot = { every = 4 }\n"),
    ("async/ledger", "[actor]\nisolation = { packed = 4 }\n[actor.journal]\nsnapshot = { every = 4 }\n"),
    ("async/ledger", "[actor]\nreentrancy = \"full\"\n[actor.journal]\nsnapshot = { every = 4 }\n"),
];

#[track_caller]
fn sum(client: &Client, actor: &str) -> Value {
    client.call(actor, "sum", &json!([])).ok()
}

fn at(client: &Client, actor: &str, moment: &str) -> quark_e2e::Answer {
    client.get(&format!("/v1/actors/{actor}/-/journal/at?{moment}"))
}

/// What people are shown of it, which for this actor is all of it.
#[track_caller]
fn state(client: &Client, actor: &str, moment: &str) -> Value {
    at(client, actor, moment).expect(200).json()["json"].clone()
}

/// Deposits, and gives what the actor was after each.
fn deposits(client: &Client, actor: &str, times: u64) -> Vec<Value> {
    let deposit = |n| {
        let _ = client.call(actor, "deposit", &json!([n, format!("note {n}")])).number();
        sum(client, actor)
    };
    (1..=times).map(deposit).collect()
}

#[test]
fn it_is_shown_as_it_was_seen_live_then() {
    for (sample, manifest) in WAYS {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, manifest);
        let live = deposits(&client, "ledger/a", 10);
        let page = client.get("/v1/actors/ledger/a/-/journal").expect(200).json();
        for (n, seen) in (1..).zip(&live) {
            assert_eq!(state(&client, "ledger/a", &format!("sequence={n}")), *seen, "{sample} {manifest} {n}");
            let event = &page["events"][n - 1];
            let by_time = at(&client, "ledger/a", &format!("at_ms={}", event["at_ms"])).expect(200).json();
            // Several events may have been appended in one millisecond: then all of them count.
            let last = by_time["sequence"].as_u64().unwrap();
            assert!(last >= n as u64 && by_time["at_ms"] == event["at_ms"], "{sample} {n} {by_time}");
            assert_eq!(by_time["json"], live[usize::try_from(last).unwrap() - 1], "{sample} {n}");
        }
        let report = at(&client, "ledger/a", "sequence=10").expect(200).json();
        let restored = report["restored"].as_u64().unwrap_or(0);
        assert_eq!(restored + report["applied"].as_u64().unwrap(), 10, "{report}");
        if manifest.contains("every") {
            let snapshot = || client.inspect("ledger/a")["journal"]["snapshot"].as_u64().filter(|at| *at >= 8);
            let newest = eventually("the snapshots are taken", snapshot);
            let report = at(&client, "ledger/a", "sequence=10").expect(200).json();
            assert_eq!(report["restored"], newest, "{report}");
            let report = at(&client, "ledger/a", "sequence=3").expect(200).json();
            assert_eq!((report.get("restored"), &report["applied"]), (None, &json!(3)), "older than the snapshot");
        }
    }
}

#[test]
fn the_actor_is_neither_woken_nor_touched() {
    let mut silo = Silo::with(&["ledger"]);
    let live = deposits(&silo.client(), "ledger/a", 3);
    silo.crash();
    let client = silo.client();
    let before = client.inspect("ledger/a");
    assert_eq!(state(&client, "ledger/a", "sequence=2"), live[1]);
    let after = client.inspect("ledger/a");
    assert_eq!(before, after, "nothing is as much as loaded");
    assert_eq!(client.metric("quark_activations_total"), 0.0);
    assert_eq!(client.metric("quark_live_instances"), 0.0, "its instance is gone");
    // A live one goes on as it was.
    assert_eq!(sum(&client, "ledger/a"), live[2]);
    let generation = client.inspect("ledger/a")["activation"]["generation"].clone();
    assert_eq!(state(&client, "ledger/a", "sequence=1"), live[0]);
    assert_eq!(client.inspect("ledger/a")["activation"]["generation"], generation);
    assert_eq!(sum(&client, "ledger/a"), live[2]);
}

#[test]
fn what_is_not_there_is_said() {
    let silo = Silo::with(&["ledger", "counter"]);
    let client = silo.client();
    let _ = at(&client, "counter/a", "sequence=1").failure(409, "not-journaled");
    let none = at(&client, "ledger/a", "sequence=1").failure(404, "no-such-event");
    assert!(none["message"].as_str().unwrap().contains("never appended"), "{none}");
    let _ = deposits(&client, "ledger/a", 3);
    for (moment, says) in [("sequence=0", "no event 0"), ("sequence=4", "no event 4"), ("at_ms=5", "no events then")] {
        let failure = at(&client, "ledger/a", moment).failure(404, "no-such-event");
        assert!(failure["message"].as_str().unwrap().contains(says), "{failure}");
    }
    assert_eq!(state(&client, "ledger/a", "at_ms=99999999999999"), sum(&client, "ledger/a"), "the last one");
}

#[test]
fn what_was_dropped_is_gone_and_it_is_said_from_where_on_it_can_be_shown() {
    for sample in ["ledger", "async/ledger"] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, "[actor.journal]\nkeep = \"since-snapshot\"\n");
        let live = deposits(&client, "ledger/a", 5);
        let _ = client.call("ledger/a", "close-books", &json!([])).expect(200);
        eventually("the snapshot is taken", || (client.inspect("ledger/a")["journal"]["first"] == 6).then_some(()));
        let failure = at(&client, "ledger/a", "sequence=4").failure(404, "no-such-event");
        assert!(failure["message"].as_str().unwrap().contains("events up to 5 were dropped"), "{failure}");
        assert!(failure["next"].as_str().unwrap().contains("from event 5 on"), "{failure}");
        let there = at(&client, "ledger/a", "sequence=5").expect(200).json();
        assert_eq!((&there["json"], &there["applied"], &there["restored"]), (&live[4], &json!(0), &json!(5)));
        assert_eq!(there.get("at_ms"), None, "its event is gone");
        let _ = at(&client, "ledger/a", "at_ms=5").failure(404, "no-such-event");
        let more = deposits(&client, "ledger/a", 1);
        assert_eq!(state(&client, "ledger/a", "sequence=6"), more[0]);
    }
}

#[test]
fn nothing_leaves_and_what_fails_harms_nothing() {
    for sample in ["ledger", "async/ledger"] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, "");
        let live = deposits(&client, "ledger/a", 2);
        for (setting, says) in [
            ("refuse", "its settings refuse that"),
            ("break", "its settings break it"),
            ("tell", "it can send nothing"),
        ] {
            client.deploy(sample, &format!("[actor.config]\n{setting} = \"Deposited\"\n"));
            let failure = at(&client, "ledger/a", "sequence=2").failure(502, "failed");
            assert!(failure["message"].as_str().unwrap().contains(says), "{failure}");
        }
        let events = client.get("/v1/actors/ledger/other/-/journal").expect(200).json();
        assert_eq!(events, json!({ "events": [] }), "nobody was told");
        client.deploy(sample, "");
        assert_eq!(state(&client, "ledger/a", "sequence=2"), live[1]);
        assert_eq!(sum(&client, "ledger/a"), live[1]);
        assert!(client.inspect("ledger/a")["last_failure"].is_null(), "it is no failure of the actor");
    }
}

#[test]
fn many_at_once_are_bounded_and_the_rest_comes_again() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("ledger", "[actor.journal]\nsnapshot = { every = 100000 }\n");
    for _ in 0..20 {
        let _ = client.call("ledger/a", "deposit-often", &json!([500])).number();
    }
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || at(&client, "ledger/a", "sequence=10000");
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    let (good, rest): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(good.iter().all(|answer| answer.json()["json"]["balance"] == 10_000));
    assert!(!good.is_empty());
    for answer in rest {
        let failure = answer.failure(429, "overloaded");
        assert!(failure["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{failure}");
    }
    assert_eq!(client.metric("quark_live_instances"), 1.0, "all are gone");
}

#[test]
fn the_command_shows_a_past() {
    let silo = Silo::with(&["ledger"]);
    let client = silo.client();
    let live = deposits(&client, "ledger/a", 3);
    let shown = silo.cli(&["journal", "ledger/a", "--at", "2"]).exits(0).stdout;
    assert!(shown.starts_with("ledger/a as of event 2, ") && shown.contains("\n  \"balance\": 3,\n"), "{shown}");
    let json = silo.cli(&["journal", "ledger/a", "--at", "2", "--json"]).exits(0).json();
    assert_eq!((&json["json"], &json["sequence"], &json["format"]), (&live[1], &json!(2), &json!("msgpack")));
    let json = silo.cli(&["journal", "ledger/a", "--at", "2100-01-01T00:00:00Z", "--json"]).exits(0).json();
    assert_eq!(json["json"], live[2]);
    let _ = silo.cli(&["journal", "ledger/a", "--at", "2001-01-01T00:00:00Z"]).exits(2);
    let _ = silo.cli(&["journal", "ledger/a", "--at", "24h"]).exits(2);
    let _ = silo.cli(&["journal", "ledger/a", "--at", "yesterday"]).exits(2);
    let gone = silo.cli(&["journal", "ledger/a", "--at", "9"]).exits(2);
    assert!(gone.stderr.contains("its events are 1 to 3"), "{gone:?}");
}
