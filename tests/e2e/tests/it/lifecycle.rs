//! Waking, sleeping, and what does not fit in memory.

use std::thread;

use quark_e2e::{Silo, eventually};
use serde_json::json;

#[test]
fn an_actor_that_refuses_to_wake_fails_its_callers_each_time() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("rogue", "[actor.limits]\nturn = \"300ms\"\n");
    for (actor, about) in [
        ("rogue/refuse-1", "refuse-1 will not wake"),
        ("rogue/trap-activate-1", "trap-activate-1 trapped while waking"),
        ("rogue/spin-activate-1", ""),
    ] {
        for count in 1..=2 {
            let failure = client.call(actor, "ping", &json!([])).failure(502, "failed");
            assert!(failure["message"].as_str().unwrap().contains(about), "{failure}");
            let last = client.inspect(actor)["last_failure"].take();
            assert_eq!(last["count"], count, "{last}");
            // After its first failure it does not wait for its restart.
            eventually("it is gone", || client.inspect(actor)["activation"].is_null().then_some(()));
        }
    }
    // Slow to wake is no refusal; who comes meanwhile waits.
    let mut pings: Vec<u64> = thread::scope(|scope| {
        let ping = || client.call("rogue/slow-activate-1", "ping", &json!([])).number();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ping)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    pings.sort_unstable();
    assert_eq!(pings, [1, 2, 3, 4]);
}

#[test]
fn a_full_mailbox_refuses_and_nobody_hangs() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("rogue", "[actor.mailbox]\ncapacity = 2\n");
    let (mut answered, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| client.call("rogue/busy", "sleep", &json!([3000])).expect(200));
        eventually("it is busy", || (client.inspect("rogue/busy")["activation"]["running"] == true).then_some(()));
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(|| client.call("rogue/busy", "ping", &json!([])))).collect();
        for answer in threads.into_iter().map(|thread| thread.join().unwrap()) {
            if answer.status == 200 {
                answered += 1;
                continue;
            }
            let failure = answer.failure(429, "overloaded");
            assert!(failure["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{failure}");
            assert_eq!(failure["may_be_done"], false);
            assert!(answer.header("retry-after").is_some_and(|seconds| seconds != "0"), "{answer:?}");
            refused += 1;
        }
    });
    assert!(answered >= 2 && refused >= 1, "{answered} answered, {refused} refused");
    assert_eq!(client.call("rogue/busy", "ping", &json!([])).number(), answered + 1);
}

#[test]
fn an_idle_actor_leaves_memory_and_comes_back() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("counter", "[actor]\nidle-timeout = \"1s\"\n");
    assert_eq!(client.call("counter/a", "increment", &json!([3])).number(), 3);
    assert_eq!(client.inspect("counter/a")["activation"]["phase"], "awake");
    eventually("it sleeps", || client.inspect("counter/a")["activation"].is_null().then_some(()));
    eventually("its place is free", || (client.metric("quark_live_instances") == 0.0).then_some(()));
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 4);
}

#[test]
fn an_operator_puts_an_actor_to_sleep() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    let deactivate = |actor: &str| client.send("POST", &format!("/v1/actors/{actor}/-/deactivate"), &[], b"");
    let _ = client.call("rogue/a", "store", &json!(["kept"])).expect(200);
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 2);
    let generation = client.inspect("rogue/a")["activation"]["generation"].as_u64().unwrap();
    assert_eq!(deactivate("rogue/a").expect(200).json(), json!({ "deactivated": true }));
    assert!(client.inspect("rogue/a")["activation"].is_null());
    assert_eq!(deactivate("rogue/a").expect(200).json(), json!({ "deactivated": false }));
    assert_eq!(deactivate("rogue/never").expect(200).json(), json!({ "deactivated": false }));
    // A new life: what was in memory only is gone.
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
    assert_eq!(client.call("rogue/a", "stored", &json!([])).ok(), "kept");
    assert!(client.inspect("rogue/a")["activation"]["generation"].as_u64().unwrap() > generation);
    // A busy one leaves after its turn, and who waits is answered.
    thread::scope(|scope| {
        let busy = scope.spawn(|| client.call("rogue/a", "sleep", &json!([500])));
        eventually("it is busy", || (client.inspect("rogue/a")["activation"]["running"] == true).then_some(()));
        let _ = deactivate("rogue/a").expect(200);
        let _ = busy.join().unwrap().expect(200);
    });
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
}

#[test]
fn a_hook_that_waits_as_its_actor_leaves_is_given_up() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    let rogue = "rogue/wait-deactivate-1";
    assert_eq!(client.call(rogue, "ping", &json!([])).number(), 1);
    // It would wait for a minute, and has a few seconds.
    let _ = client.send("POST", &format!("/v1/actors/{rogue}/-/deactivate"), &[], b"").expect(200);
    let failure = client.inspect(rogue)["last_failure"]["reason"].to_string();
    assert!(failure.contains("its `deactivate` hook did not end within 5 s"), "{failure}");
    assert_eq!(client.call(rogue, "ping", &json!([])).number(), 1);
}

#[test]
fn calls_and_turns_are_counted_beyond_the_lives_of_actors() {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    let counts = || (client.metric("quark_calls_total"), client.metric("quark_turns_total"));
    assert_eq!(counts(), (0.0, 0.0));
    for by in [1, 2] {
        let _ = client.call("counter/a", "increment", &json!([by])).number();
    }
    let _ = client.call("counter/a", "reset", &json!([])).expect(202);
    eventually("the tell is handled", || (counts().1 == 3.0).then_some(()));
    assert_eq!(counts(), (2.0, 3.0), "a tell is a turn and no call");
    let _ = client.send("POST", "/v1/actors/counter/a/-/deactivate", &[], b"").expect(200);
    assert_eq!(counts(), (2.0, 3.0), "neither is a hook");
    assert_eq!(client.call("counter/a", "value", &json!([])).number(), 0);
    assert_eq!(counts(), (3.0, 4.0));
}

#[test]
fn more_actors_than_fit_take_turns_in_memory() {
    let silo = Silo::start(&["--capacity", "16"]);
    let client = silo.client();
    client.deploy("counter", "");
    for round in 1..=2 {
        for key in 0..100_u64 {
            assert_eq!(client.call(&format!("counter/{key}"), "increment", &json!([key])).number(), key * round);
        }
        assert!(client.metric("quark_live_instances") <= 16.0);
    }
    // All at once: some may be told to come back, and then they are served.
    thread::scope(|scope| {
        for start in 0..10_u64 {
            let client = &client;
            scope.spawn(move || {
                for key in (start..100).step_by(10) {
                    eventually("there is room", || {
                        let answer = client.call(&format!("counter/{key}"), "value", &json!([]));
                        if answer.status == 429 {
                            assert!(answer.failure(429, "overloaded")["retry_after_ms"].as_u64() > Some(0));
                            return None;
                        }
                        assert_eq!(answer.number(), key * 2);
                        Some(())
                    });
                }
            });
        }
    });
    let health = client.get("/readyz").expect(200).json();
    assert_eq!(health["capacity"], 16, "{health}");
}

#[test]
fn a_new_version_takes_over_live_actors() {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/a", "increment", &json!([3])).number(), 3);
    let same = client.deploy_bytes(&quark_e2e::component("counter"), "").expect(200).json();
    assert_eq!((&same["unchanged"], &same["version"]), (&json!(true), &json!(1)));
    let next = client.deploy_bytes(&quark_e2e::component("counter"), "[actor]\nidle-timeout = \"1h\"\n");
    let next = next.expect(200).json();
    assert_eq!((&next["unchanged"], &next["version"]), (&json!(false), &json!(2)));
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 4);
    assert_eq!(client.inspect("counter/a")["version"], 2);
}
