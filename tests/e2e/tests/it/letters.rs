//! Messages that nobody will handle: each is counted by its reason, and shown.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;

use quark_e2e::{Client, Silo, eventually, quark};
use serde_json::{Value, json};

fn letters(client: &Client, query: &str) -> Vec<Value> {
    client.get(&format!("/v1/dead-letters{query}")).expect(200).json()["dead_letters"].as_array().unwrap().clone()
}

fn count(client: &Client, reason: &str) -> f64 {
    client.metric(&format!("quark_dead_letters_total{{reason=\"{reason}\"}}"))
}

/// Runs while an actor is in a turn that lasts that long.
fn while_busy(client: &Client, actor: &str, ms: u64, then: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| drop(client.try_call(actor, "sleep", &json!([ms]))));
        eventually("it is busy", || (client.inspect(actor)["activation"]["running"] == true).then_some(()));
        then();
    });
}

#[test]
fn a_full_mailbox_is_told_of_and_does_not_push_out_the_rest() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("rogue", "[[actor]]\nname = \"rogue\"\nmailbox = { capacity = 1 }\n");
    // One that expires, one for which there is no room, and a flood of these.
    while_busy(&client, "rogue/a", 1_500, || {
        let late = client.call_with("rogue/a", "ping", &json!([]), &[("quark-timeout-ms", "50")]);
        let _ = late.failure(504, "deadline-exceeded");
        for _ in 0..300 {
            let _ = client.call("rogue/a", "ping", &json!([])).failure(429, "overloaded");
        }
    });
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
    assert_eq!((count(&client, "overflow"), count(&client, "expired")), (300.0, 1.0));
    let kept = letters(&client, "?reason=overflow").len();
    assert!((1..300).contains(&kept), "{kept}");
    let all = letters(&client, "?actor=rogue/a");
    assert_eq!(all.len(), kept + 1, "{all:?}");
    assert_eq!(all[0]["reason"], "expired", "found out when its turn came");
    assert_eq!(letters(&client, &format!("?after={}", all[1]["id"])), all[..1]);
    assert!(letters(&client, "?actor=rogue/b").is_empty());
    assert_eq!(silo.log().matches("a message is a dead letter").count(), 2, "one line for each reason, not more");
    let _ = client.get("/v1/dead-letters?reason=bad-luck").failure(400, "bad-request");

    let ran = silo.cli(&["dead-letters", "--reason", "expired", "--actor", "rogue/a", "--json"]).exits(0);
    assert_eq!(ran.json()["dead_letters"], json!([all[0]]));
    let ran = silo.cli(&["dead-letters", "--reason", "bad-luck"]).exits(2);
    assert!(ran.stderr.contains("overflow"), "{ran:?}");
    let ran = silo.cli(&["dead-letters", "--actor", "rogue"]).exits(2);
    assert!(ran.stderr.contains("KIND/KEY"), "{ran:?}");
    let _ = client.get("/v1/dead-letters?actor=rogue").failure(400, "bad-request");
    let ran = silo.cli(&["dead-letters", "--actor", "rogue/a"]).exits(0);
    assert!(ran.stdout.contains("  rogue/a  "), "{ran:?}");
}

#[test]
fn a_call_whose_caller_is_gone_before_its_turn_is_told_of() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
    while_busy(&client, "rogue/a", 1_500, || {
        let mut command = quark(&silo.folder().join("config"));
        command.args(["call", "rogue/a", "ping"]).env("QUARK_URL", format!("http://{}", silo.address()));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("it waits", || (client.inspect("rogue/a")["activation"]["waiting"] == 1).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
    });
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 2, "it had no turn");
    let all = letters(&client, "?reason=cancelled");
    assert_eq!(
        (all.len(), &all[0]["to"], &all[0]["method"]),
        (1, &json!("sample:rogue/rogues#rogue/a"), &json!("ping"))
    );
}

#[test]
fn a_tell_to_a_kind_that_nothing_serves_is_told_of_to_whoever_follows() {
    let silo = Silo::with(&["rogue", "relay"]);
    let client = silo.client();
    let mut command = quark(&silo.folder().join("config"));
    command.args(["dead-letters", "--follow", "--actor", "counter/x"]);
    let mut child =
        command.env("QUARK_URL", format!("http://{}", silo.address())).stdout(Stdio::piped()).spawn().unwrap();
    let _ = client.call("relay/a", "reset-on", &json!(["x"])).expect(200);
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for part in ["sample:counter/counters#counter/x", "reset", "  relay/a", "undeliverable"] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(count(&client, "undeliverable"), 1.0);
    eventually("its row is gone", || (client.metric("quark_tells_held") == 0.0).then_some(()));
}

#[test]
fn calls_that_wait_when_the_silo_ends_are_told_of() {
    let mut silo = Silo::with(&["rogue"]);
    let client = silo.client();
    thread::scope(|scope| {
        scope.spawn(|| drop(client.try_call("rogue/a", "sleep", &json!([120_000]))));
        eventually("it is busy", || (client.inspect("rogue/a")["activation"]["running"] == true).then_some(()));
        let waits = scope.spawn(|| client.try_call("rogue/a", "ping", &json!([])));
        eventually("one waits", || (client.inspect("rogue/a")["activation"]["waiting"] == 1).then_some(()));
        silo.ask_to_stop();
        if let Some(answer) = waits.join().unwrap() {
            assert_ne!(answer.status, 200, "it had no turn");
        }
    });
    silo.ended();
    let log = silo.log();
    let told = |line: &&str| line.contains("a message is a dead letter") && line.contains("shutdown");
    assert_eq!(log.lines().filter(told).count(), 1, "{log}");
    assert!(log.contains("calls that waited for their turns were not handled all=1"), "{log}");
}

#[test]
fn messages_to_a_stopped_actor_are_told_of_and_do_not_come_again() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    let _ = silo.cli(&["stop", "victim/v"]).exits(0);
    let _ = client.call("victim/v", "hits", &json!([])).failure(409, "stopped");
    let _ = client.call("victim/v", "poke", &json!([])).expect(202);
    let stopped = eventually("both are told of", || {
        let all = letters(&client, "?reason=stopped");
        (all.len() == 2).then_some(all)
    });
    assert_eq!((&stopped[0]["method"], &stopped[1]["method"]), (&json!("poke"), &json!("hits")));
    let _ = silo.cli(&["start", "victim/v"]).exits(0);
    assert_eq!(client.call("victim/v", "hits", &json!([])).number(), 0);
    assert_eq!(count(&client, "stopped"), 2.0);
}
