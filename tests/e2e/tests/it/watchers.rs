//! Watchers that do not stand what they are told.

use quark_e2e::{Client, Silo, eventually};
use serde_json::{Value, json};

use crate::trees::{AT_ONCE, WORKER, all_start, ask, comes_to_have, comes_to_stop, starts};

/// Crews that come to that when they are told of an end.
fn manifest(mourns: &str) -> String {
    format!(
        "[[actor]]\nname = \"crew\"\n[actor.supervision]\n{AT_ONCE}\n[actor.limits]\nturn = \"1s\"\n\
         [actor.config]\nmourns = \"{mourns}\"\n"
    )
}

fn told(client: &Client, watcher: &str) -> Value {
    ask(client, watcher, "terminated", &json!([])).ok()
}

/// Of the news that nobody will hear.
fn letters(client: &Client) -> Vec<Value> {
    let letters = client.get("/v1/dead-letters").expect(200).json();
    let all = letters["dead_letters"].as_array().unwrap().iter();
    all.filter(|letter| letter["method"] == "on-terminated").cloned().collect()
}

fn check(sample: &str, mourns: &str, about: &str) {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy(sample, &manifest(mourns));
    client.deploy("foreman", "");
    client.deploy("counter", "");
    // A parent, and an actor that has other children: both watch ann.
    for name in ["ann", "bob"] {
        let _ = ask(&client, "foreman/f", "take", &json!([name, "permanent"])).ok();
    }
    let own = json!([{ "kind": WORKER, "key": "own" }, "permanent"]);
    let _ = ask(&client, "crew/f", "adopt", &own).ok();
    let _ = ask(&client, "crew/f", "watch", &json!(["ann"])).ok();
    let _ = silo.cli(&["stop", "worker/f.ann"]).exits(0);
    let mut neighbour = 0;
    let failure = eventually("the watcher failed", || {
        neighbour += 1;
        assert_eq!(client.call("counter/n", "increment", &json!([1])).number(), neighbour);
        Some(client.inspect("crew/f")["last_failure"].take()).filter(|failure| !failure.is_null())
    });
    assert!(failure["reason"].as_str().unwrap().contains(about), "{failure}");
    assert_eq!(failure["count"], 1, "it is not told again: {failure}");
    // It is back, with its children and with nothing of that turn.
    all_start(&client, &["crew/f", "worker/own"], &[2, 2]);
    assert_eq!(told(&client, "crew/f"), json!([]));
    comes_to_have(&client, "crew/f", &["own"]);
    // What it did not hear is not lost unseen.
    let letter = eventually("the news are a dead letter", || letters(&client).pop());
    assert_eq!((letter["reason"].as_str(), letter["detail"].as_str().unwrap().contains(about)), (Some("failed"), true));
    assert!(letter["to"].as_str().unwrap().ends_with("crew/f"), "{letter}");
    assert!(letter["from"].as_str().unwrap().ends_with("worker/f.ann"), "{letter}");
    // Others know nothing of it: who is gone is gone, and who else watches is told.
    comes_to_stop(&client, "worker/f.ann");
    let gone = || (ask(&client, "foreman/f", "gone", &json!([])).ok() == json!(["f.ann"])).then_some(());
    eventually("the parent is told", gone);
    comes_to_have(&client, "foreman/f", &["f.bob"]);
    assert_eq!((starts(&client, "worker/f.bob"), letters(&client).len()), (1, 1));
    // Its watches went with it; a better version watches again, and is told.
    client.deploy(sample, &manifest(""));
    let _ = ask(&client, "crew/f", "watch", &json!(["bob"])).ok();
    let _ = silo.cli(&["stop", "worker/f.bob"]).exits(0);
    let told = eventually("it is told of bob", || Some(told(&client, "crew/f")).filter(|told| *told != json!([])));
    assert!(told[0].as_str().unwrap().starts_with("f.bob") && told.as_array().unwrap().len() == 1, "{told}");
}

#[test]
fn who_traps_at_the_news_of_an_end_fails_alone() {
    for sample in ["crew", "async/crew"] {
        check(sample, "trap", "the crew cannot go on");
    }
}

#[test]
fn who_spins_at_the_news_of_an_end_fails_alone() {
    for sample in ["crew", "async/crew"] {
        check(sample, "spin", "limits.turn");
    }
}
