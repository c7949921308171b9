//! Parents that decide failure by failure, and those that come to no decision.

use quark_e2e::{Client, Silo, eventually};
use serde_json::{Value, json};

use crate::trees::{AT_ONCE, WORKER, all_start, ask, comes_to_have, comes_to_stop, crash};

/// Two workers of a foreman, of that sample.
fn foreman(silo: &Silo, sample: &str, turn: &str) -> Client {
    let client = silo.client();
    client.deploy("crew", "");
    client.deploy(sample, &format!("[actor.supervision]\n{AT_ONCE}\n[actor.limits]\nturn = \"{turn}\"\n"));
    for name in ["ann", "bob"] {
        let _ = ask(&client, "foreman/f", "take", &json!([name, "permanent"])).ok();
    }
    client
}

fn decide(client: &Client, mode: &str) {
    let _ = ask(client, "foreman/f", "decide", &json!([mode])).ok();
}

fn decided(client: &Client) -> Vec<(String, u64)> {
    let all = ask(client, "foreman/f", "failures", &json!([])).ok();
    let one = |failed: &Value| {
        assert!(failed["reason"].as_str().unwrap().contains("the worker fell"), "{failed}");
        assert_eq!(failed["child"]["kind"], WORKER);
        (failed["child"]["key"].as_str().unwrap().to_owned(), failed["count"].as_u64().unwrap())
    };
    all.as_array().unwrap().iter().map(one).collect()
}

/// A foreman of that sample does as it decides.
#[track_caller]
pub(crate) fn check_decisions(silo: &Silo, sample: &str) {
    let client = foreman(silo, sample, "1s");
    let of = |name: &str, count: u64| (format!("f.{name}"), count);
    decide(&client, "resume");
    crash(&client, "worker/f.ann");
    all_start(&client, &["worker/f.ann", "worker/f.bob"], &[2, 1]);
    decide(&client, "restart");
    crash(&client, "worker/f.ann");
    all_start(&client, &["worker/f.ann", "worker/f.bob"], &[3, 1]);
    crash(&client, "worker/f.bob");
    all_start(&client, &["worker/f.ann", "worker/f.bob"], &[3, 2]);
    assert_eq!(decided(&client), [of("ann", 1), of("ann", 1), of("bob", 2)], "what is resumed is not counted");
    decide(&client, "stop");
    assert_eq!(ask(&client, "foreman/f", "gone", &json!([])).ok(), json!([]));
    crash(&client, "worker/f.ann");
    comes_to_stop(&client, "worker/f.ann");
    comes_to_have(&client, "foreman/f", &["f.bob"]);
    eventually("it is told", || (ask(&client, "foreman/f", "gone", &json!([])).ok() == json!(["f.ann"])).then_some(()));
    decide(&client, "escalate");
    crash(&client, "worker/f.bob");
    all_start(&client, &["worker/f.bob"], &[3]);
    assert_eq!(decided(&client).len(), 5);
    comes_to_have(&client, "foreman/f", &["f.bob"]);
    // It has no parent that could hinder it.
    assert_eq!(client.inspect("foreman/f")["last_failure"]["count"], 1);
}

/// A foreman of that sample comes to no decision, and its neighbours know nothing of it.
#[track_caller]
pub(crate) fn check_indecision(silo: &Silo, sample: &str, mode: &str) {
    // It spins in a thread that gives way to all others, and the silo waits five seconds for what it decides.
    let client = foreman(silo, sample, "500ms");
    client.deploy("counter", "");
    decide(&client, mode);
    crash(&client, "worker/f.ann");
    let mut neighbour = 0;
    let failure = eventually("the foreman failed", || {
        neighbour += 1;
        assert_eq!(client.call("counter/n", "increment", &json!([1])).number(), neighbour);
        Some(client.inspect("foreman/f")["last_failure"].take()).filter(|failure| !failure.is_null())
    });
    let reason = failure["reason"].as_str().unwrap();
    assert!(reason.contains(if mode == "spin" { "limits.turn" } else { "lost his head" }), "{failure}");
    // It is restarted, and so are they: nobody is asked again.
    all_start(&client, &["worker/f.ann", "worker/f.bob"], &[2, 2]);
    assert_eq!(decided(&client), [], "what it noted is undone");
    comes_to_have(&client, "foreman/f", &["f.ann", "f.bob"]);
}

#[test]
fn a_supervisor_decides_failure_by_failure() {
    for sample in ["foreman", "async/foreman"] {
        check_decisions(&Silo::start(&[]), sample);
    }
}

#[test]
fn a_supervisor_that_does_not_decide_fails_itself() {
    for sample in ["foreman", "async/foreman"] {
        for mode in ["trap", "spin"] {
            check_indecision(&Silo::start(&[]), sample, mode);
        }
    }
}
