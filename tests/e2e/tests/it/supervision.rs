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
fn operators_do_not_wait_for_a_restart() {
    let silo = on("backoff = { min = \"1h\", max = \"1h\" }");
    let client = silo.client();
    let _ = client.call("rogue/a", "store", &json!(["kept"])).expect(200);
    let _ = trap(&client, "rogue/a");
    let _ = trap(&client, "rogue/a");
    eventually("it is down", || (client.inspect("rogue/a")["activation"]["phase"] == "down").then_some(()));
    assert_eq!(client.inspect("rogue/a")["state"][0]["name"], "state");
    assert!(client.get("/v1/actors/rogue/a/-/state/state").expect(200).text().contains("kept"));
    assert_eq!(client.inspect("rogue/a")["activation"]["phase"], "down", "a look changes nothing");
    thread::scope(|scope| {
        let waits = scope.spawn(|| client.call("rogue/a", "ping", &json!([])));
        eventually("it waits", || (client.inspect("rogue/a")["activation"]["waiting"] == 1).then_some(()));
        assert_eq!(stand(&client, "rogue/a", "stop"), json!({ "stopped": true }));
        let _ = waits.join().unwrap().failure(409, "stopped");
    });
    let _ = stand(&client, "rogue/a", "start");
    assert_eq!(ping(&client, "rogue/a"), 1);
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
        let wait = failure["retry_after_ms"].as_u64();
        assert!(failure["may_be_done"] == false && wait.is_some_and(|ms| ms > 0 && ms <= 3_600_000), "{failure}");
    }
    assert_eq!(client.inspect("rogue/a")["held"]["why"], "cool-down");
    assert_eq!(client.inspect("rogue/a")["last_failure"]["count"], 3, "what is refused is no failure");
    // Operators see its state meanwhile, and its neighbours go on.
    let state = client.get("/v1/actors/rogue/a/-/state/state").expect(200);
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

fn stand(client: &Client, actor: &str, verb: &str) -> Value {
    client.send("POST", &format!("/v1/actors/{actor}/-/{verb}"), &[], b"").expect(200).json()
}

fn is_stopped(client: &Client, actor: &str) {
    let failure = client.call(actor, "ping", &json!([])).failure(409, "stopped");
    assert_eq!(failure["may_be_done"], false, "{failure}");
}

#[test]
fn a_stopped_actor_stays_so_until_it_is_started() {
    let mut silo = Silo::with(&["rogue"]);
    let client = silo.client();
    let _ = client.call("rogue/a", "store", &json!(["kept"])).expect(200);
    assert_eq!(stand(&client, "rogue/a", "start"), json!({ "started": false }));
    assert_eq!(stand(&client, "rogue/a", "stop"), json!({ "stopped": true }));
    assert_eq!(stand(&client, "rogue/a", "stop"), json!({ "stopped": false }));
    let left = || client.inspect("rogue/a")["activation"].is_null().then_some(());
    eventually("it has left memory", left);
    is_stopped(&client, "rogue/a");
    is_stopped(&client, "rogue/a");
    assert_eq!(ping(&client, "rogue/b"), 1);
    // One that never was can be stopped too.
    let _ = silo.cli(&["stop", "rogue/never"]).exits(0);
    is_stopped(&client, "rogue/never");
    deactivate(&client, "rogue/a");
    is_stopped(&client, "rogue/a");
    silo.crash();
    let client = silo.client();
    is_stopped(&client, "rogue/a");
    is_stopped(&client, "rogue/never");
    let shown = silo.cli(&["inspect", "rogue/a"]).exits(0);
    assert!(shown.stdout.contains("quark start"), "{}", shown.stdout);
    let started = silo.cli(&["start", "rogue/a"]).exits(0);
    assert_eq!(started.stdout, "started\n");
    assert_eq!(client.call("rogue/a", "stored", &json!([])).ok(), "kept");
    assert_eq!(stand(&client, "rogue/never", "start"), json!({ "started": true }));
    assert_eq!(ping(&client, "rogue/never"), 1);
    assert_eq!(client.inspect("rogue/a")["stopped"], false);
}

#[test]
fn nobody_but_the_silo_names_what_it_keeps_of_an_actor() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    let _ = client.call("rogue/a", "store", &json!(["x"])).expect(200);
    let before = client.inspect("rogue/a");
    let _ = stand(&client, "rogue/a", "stop");
    for path in ["/v1/actors/rogue/a/-/state/%00standing", "/v1/actors/rogue/b/-/state/%00standing"] {
        assert_ne!(client.get(path).status, 200);
        assert_ne!(client.send("PUT", path, &[], b"\x01\x00").status, 204);
        let _ = client.send("DELETE", path, &[], b"");
    }
    is_stopped(&client, "rogue/a");
    deactivate(&client, "rogue/a");
    assert_ne!(client.get("/v1/actors/rogue/a/-/state/%00standing").status, 200);
    let after = client.inspect("rogue/a");
    assert_eq!((&after["state"], &after["state_bytes"]), (&before["state"], &before["state_bytes"]));
    assert_eq!(after["stopped"], true);
}

#[test]
fn who_waits_for_an_actor_that_is_stopped_is_told() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    thread::scope(|scope| {
        let busy = scope.spawn(|| client.call("rogue/a", "sleep", &json!([2000])));
        eventually("it is busy", || (client.inspect("rogue/a")["activation"]["running"] == true).then_some(()));
        let behind: Vec<_> = (0..3).map(|_| scope.spawn(|| client.call("rogue/a", "ping", &json!([])))).collect();
        eventually("they wait", || (client.inspect("rogue/a")["activation"]["waiting"] == 3).then_some(()));
        assert_eq!(stand(&client, "rogue/a", "stop"), json!({ "stopped": true }));
        let _ = busy.join().unwrap().expect(200);
        for answer in behind.into_iter().map(|thread| thread.join().unwrap()) {
            let _ = answer.failure(409, "stopped");
        }
    });
}

#[test]
fn a_kill_leaves_an_actor_stopped_or_not_and_never_between() {
    let mut silo = Silo::with(&["rogue"]);
    let mut stopped = false;
    for round in 0..6 {
        let client = silo.client();
        let verb = if round % 2 == 0 { "stop" } else { "start" };
        let path = format!("/v1/actors/rogue/a/-/{verb}");
        let acknowledged = thread::scope(|scope| {
            let asked = scope.spawn(|| client.try_send("POST", &path, &[], b""));
            // Each round a little later, so that the kill comes before, between and behind.
            (0..round).for_each(|_| drop(client.get("/healthz")));
            silo.kill();
            asked.join().unwrap().is_some_and(|answer| answer.status == 200)
        });
        silo.restart(&[]);
        let client = silo.client();
        let now = client.inspect("rogue/a")["stopped"] == true;
        assert!(!acknowledged || now == (verb == "stop"), "round {round}: {verb} was acknowledged");
        assert!(now == stopped || now == (verb == "stop"), "round {round}: nobody asked for that");
        if now {
            is_stopped(&client, "rogue/a");
        } else {
            assert_eq!(ping(&client, "rogue/a"), 1);
        }
        stopped = now;
    }
}

#[test]
fn a_start_ends_a_cool_down() {
    let silo = on("restarts = { max = 0, within = \"1h\" }");
    let client = silo.client();
    let _ = trap(&client, "rogue/a");
    assert_eq!(client.call("rogue/a", "ping", &json!([])).status, 502);
    assert_eq!(stand(&client, "rogue/a", "start"), json!({ "started": false }));
    assert_eq!(ping(&client, "rogue/a"), 1);
}

#[test]
fn one_that_is_stopped_while_it_cools_down_is_stopped_at_once() {
    let silo = on("restarts = { max = 0, within = \"1h\" }");
    let client = silo.client();
    let _ = trap(&client, "rogue/a");
    let refused = client.call("rogue/a", "ping", &json!([])).failure(502, "failed");
    assert!(refused["message"].as_str().unwrap().contains("cools down"), "{refused}");
    let _ = stand(&client, "rogue/a", "stop");
    is_stopped(&client, "rogue/a");
    assert_eq!(client.inspect("rogue/a")["held"], Value::Null);
    let _ = stand(&client, "rogue/a", "start");
    assert_eq!(ping(&client, "rogue/a"), 1);
}
