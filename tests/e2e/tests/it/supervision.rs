//! Actors that fail: when they are restarted, who waits, who is refused.

use std::thread;
use std::time::{Duration, Instant};

use quark_e2e::{Client, Silo, eventually};
use serde_json::{Value, json};

fn trap(client: &Client, actor: &str) -> Value {
    client.call(actor, "trap", &json!(["boom"])).failure(502, "failed")
}

fn ping(client: &Client, actor: &str) -> u64 {
    client.call(actor, "ping", &json!([])).number()
}

fn deactivate(client: &Client, actor: &str) {
    let _ = client.send("POST", &format!("/v1/actors/{actor}/-/deactivate"), &[], b"").expect(200);
}

fn on(supervision: &str) -> Silo {
    let silo = Silo::start(&[]);
    silo.client().deploy("rogue", &format!("[actor.supervision]\n{supervision}\n"));
    silo
}

#[test]
fn the_first_restart_does_not_wait() {
    let silo = on("backoff = { min = \"1h\", max = \"1h\" }");
    let client = silo.client();
    let _ = client.call("rogue/a", "store", &json!(["kept"])).expect(200);
    let _ = trap(&client, "rogue/a");
    assert_eq!(client.inspect("rogue/a")["held"], Value::Null);
    assert_eq!(ping(&client, "rogue/a"), 1, "a new instance");
    assert_eq!(client.call("rogue/a", "stored", &json!([])).ok(), "kept");
}

#[test]
fn messages_wait_for_a_restart_up_to_the_bound() {
    let silo = on("backoff = { min = \"5s\", max = \"5s\", jitter = 0 }\n[actor.mailbox]\ncapacity = 2");
    let client = silo.client();
    let _ = trap(&client, "rogue/a");
    let _ = trap(&client, "rogue/a");
    let failed = Instant::now();
    let held = client.inspect("rogue/a");
    assert_eq!((&held["held"]["why"], &held["held"]["failures"]), (&json!("backoff"), &json!(2)), "{held}");
    eventually("its commits have ended", || (client.inspect("rogue/a")["activation"]["phase"] == "down").then_some(()));
    let shown = silo.cli(&["inspect", "rogue/a"]).exits(0);
    assert!(shown.stdout.contains("restart") && shown.stdout.contains("messages wait"), "{}", shown.stdout);
    let (mut answered, mut refused) = (Vec::new(), 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| client.call("rogue/a", "ping", &json!([])))).collect();
        for answer in threads.into_iter().map(|thread| thread.join().unwrap()) {
            if answer.status == 200 {
                answered.push(answer.number());
            } else {
                let _ = answer.failure(429, "overloaded");
                refused += 1;
            }
        }
    });
    answered.sort_unstable();
    assert_eq!((answered, refused), (vec![1, 2], 4));
    assert!(failed.elapsed() >= Duration::from_secs(4), "they waited");
    // A neighbour of the same kind knows nothing of it.
    assert_eq!(ping(&client, "rogue/b"), 1);
}

#[test]
fn an_operator_cuts_a_wait_short() {
    let silo = on("backoff = { min = \"1h\", max = \"1h\" }");
    let client = silo.client();
    let _ = trap(&client, "rogue/a");
    let _ = trap(&client, "rogue/a");
    thread::scope(|scope| {
        let waits = scope.spawn(|| ping(&client, "rogue/a"));
        eventually("it waits", || (client.inspect("rogue/a")["activation"]["waiting"] == 1).then_some(()));
        deactivate(&client, "rogue/a");
        assert_eq!(waits.join().unwrap(), 1);
    });
    let _ = trap(&client, "rogue/a");
    assert_eq!(ping(&client, "rogue/a"), 1, "it counts anew");
}

#[test]
fn one_that_fails_too_often_cools_down() {
    let silo = on("restarts = { max = 2, within = \"1h\" }\nbackoff = { min = \"1ms\", max = \"1ms\" }");
    let client = silo.client();
    let _ = client.call("rogue/a", "store", &json!(["kept"])).expect(200);
    for _ in 0..3 {
        let _ = trap(&client, "rogue/a");
    }
    for _ in 0..20 {
        let failure = client.call("rogue/a", "ping", &json!([])).failure(502, "failed");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains("cools down") && message.contains("boom"), "{message}");
    }
    assert_eq!(client.inspect("rogue/a")["held"]["why"], "cool-down");
    assert_eq!(client.inspect("rogue/a")["last_failure"]["count"], 3, "what is refused is no failure");
    // Operators see its state meanwhile, and its neighbours go on.
    let state = client.get("/v1/actors/rogue/a/-/state/text").expect(200);
    assert!(state.text().contains("kept"), "{}", state.text());
    assert_eq!(client.call("rogue/a", "ping", &json!([])).status, 502);
    assert_eq!(ping(&client, "rogue/b"), 1);
    deactivate(&client, "rogue/a");
    assert_eq!(ping(&client, "rogue/a"), 1);
    assert_eq!(client.call("rogue/a", "stored", &json!([])).ok(), "kept");
}

#[test]
fn a_cool_down_ends_and_so_it_does_with_a_new_version() {
    let silo = on("restarts = { max = 0, within = \"1s\" }");
    let client = silo.client();
    let _ = trap(&client, "rogue/a");
    eventually("it has cooled down", || {
        let answer = client.call("rogue/a", "ping", &json!([]));
        (answer.status == 200).then(|| assert_eq!(answer.number(), 1))
    });
    client.deploy("rogue", "[actor.supervision]\nrestarts = { max = 0, within = \"1h\" }\n");
    let _ = trap(&client, "rogue/a");
    let _ = client.call("rogue/a", "ping", &json!([])).failure(502, "failed");
    client.deploy("rogue", "[actor.supervision]\nrestarts = { max = 1, within = \"1h\" }\n");
    assert_eq!(ping(&client, "rogue/a"), 1);
}

#[test]
fn waiting_callers_are_answered_when_an_actor_fails_too_often() {
    let silo = on("restarts = { max = 0, within = \"1h\" }");
    let client = silo.client();
    thread::scope(|scope| {
        scope.spawn(|| client.call("rogue/a", "sleep", &json!([2000])).expect(200));
        eventually("it is busy", || (client.inspect("rogue/a")["activation"]["running"] == true).then_some(()));
        let traps = scope.spawn(|| trap(&client, "rogue/a"));
        eventually("it waits", || (client.inspect("rogue/a")["activation"]["waiting"] == 1).then_some(()));
        let behind: Vec<_> = (0..4).map(|_| scope.spawn(|| client.call("rogue/a", "ping", &json!([])))).collect();
        assert!(traps.join().unwrap()["message"].as_str().unwrap().contains("boom"));
        for answer in behind.into_iter().map(|thread| thread.join().unwrap()) {
            let failure = answer.failure(502, "failed");
            assert!(failure["message"].as_str().unwrap().contains("cools down"), "{failure}");
        }
    });
}

#[test]
fn a_silo_stops_at_once_though_an_actor_waits_for_its_restart() {
    let mut silo = on("backoff = { min = \"1h\", max = \"1h\" }");
    let client = silo.client();
    let _ = trap(&client, "rogue/a");
    let _ = trap(&client, "rogue/a");
    thread::scope(|scope| {
        let waits = scope.spawn(|| ping(&client, "rogue/a"));
        eventually("it waits", || (client.inspect("rogue/a")["activation"]["waiting"] == 1).then_some(()));
        silo.ask_to_stop();
        assert_eq!(waits.join().unwrap(), 1, "it had been let in");
    });
    assert!(silo.ended().success());
    assert!(!silo.log().contains("did not end in time"), "{}", silo.log());
}

#[test]
fn packed_actors_fail_alone() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let manifest =
        "[actor]\nisolation = { packed = 4 }\n[actor.supervision]\nrestarts = { max = 0, within = \"1h\" }\n";
    client.deploy("async/rogue", manifest);
    assert_eq!((ping(&client, "rogue/a"), ping(&client, "rogue/b")), (1, 1));
    let _ = trap(&client, "rogue/a");
    let failure = client.call("rogue/a", "ping", &json!([])).failure(502, "failed");
    assert!(failure["message"].as_str().unwrap().contains("cools down"), "{failure}");
    assert_eq!(ping(&client, "rogue/b"), 1, "it wakes in another instance");
    assert_eq!(client.inspect("rogue/b")["last_failure"], Value::Null);
    deactivate(&client, "rogue/a");
    assert_eq!(ping(&client, "rogue/a"), 1);
}
