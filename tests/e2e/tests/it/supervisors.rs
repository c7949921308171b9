//! Parents that decide failure by failure, and those that come to no decision.

use quark_e2e::{Client, Silo, eventually};
use serde_json::{Value, json};

use crate::trees::{AT_ONCE, WORKER, all_start, ask, comes_to_have, comes_to_stop, crash, plain, starts};

fn foreman(sample: &str, limits: &str) -> (Silo, Client) {
    let (silo, client) = plain(AT_ONCE);
    client.deploy(sample, &format!("[actor.supervision]\n{AT_ONCE}\n{limits}"));
    for name in ["ann", "bob"] {
        let _ = ask(&client, "foreman/f", "take", &json!([name, "permanent"])).ok();
    }
    (silo, client)
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

#[test]
fn a_supervisor_decides_failure_by_failure() {
    for sample in ["foreman", "async/foreman"] {
        let (_silo, client) = foreman(sample, "");
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
        decide(&client, "escalate");
        crash(&client, "worker/f.ann");
        all_start(&client, &["worker/f.ann", "worker/f.bob"], &[4, 3]);
        decide(&client, "stop");
        crash(&client, "worker/f.ann");
        comes_to_stop(&client, "worker/f.ann");
        comes_to_have(&client, "foreman/f", &["f.bob"]);
        assert_eq!(decided(&client).len(), 5);
        assert_eq!(starts(&client, "worker/f.bob"), 3);
    }
}

#[test]
fn a_supervisor_that_does_not_decide_fails_itself() {
    for (sample, mode) in
        [("foreman", "trap"), ("foreman", "spin"), ("async/foreman", "trap"), ("async/foreman", "spin")]
    {
        let (_silo, client) = foreman(sample, "[actor.limits]\nturn = \"500ms\"\n");
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
}
