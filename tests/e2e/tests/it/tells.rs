//! Tells that nobody can handle.

use quark_e2e::{Silo, eventually, made_of};
use serde_json::json;

/// The code of a made component traps, whatever it is told.
const TRAPS: &str = "package test:made;
    interface things { resource thing { constructor(key: string); touch: func(n: u32); } }
    world made { export things; }";

#[test]
fn a_tell_whose_turns_fail_is_tried_five_times_and_then_one_dead_letter() {
    let mut silo = Silo::with(&["counter"]);
    let client = silo.client();
    let _ = client.deploy_bytes(&made_of(TRAPS), "").expect(200);
    for n in 0..2 {
        let _ = client.call("thing/a", "touch", &json!([n])).expect(202);
    }
    // A tell that waits to be tried again holds up nobody else's.
    assert_eq!(client.call("counter/a", "increment", &json!([5])).number(), 5);
    let _ = client.call("counter/a", "reset", &json!([])).expect(202);
    let value = || client.call("counter/a", "value", &json!([])).number();
    eventually("another actor's tell was handled", || (value() == 0).then_some(()));

    let letters = || client.get("/v1/dead-letters").expect(200).json()["dead_letters"].as_array().unwrap().clone();
    eventually("both are dead letters", || (letters().len() == 2).then_some(()));
    for letter in letters() {
        assert_eq!((&letter["to"], &letter["method"]), (&json!("test:made/things#thing/a"), &json!("touch")));
        assert!(letter["reason"].as_str().unwrap().contains("failed"), "{letter}");
    }
    eventually("their rows are gone", || (client.metric("quark_tells_held") == 0.0).then_some(()));
    assert_eq!(client.inspect("thing/a")["last_failure"]["count"], 10, "five turns for each, one tell after the other");
    assert_eq!(letters().len(), 2);
    let ran = silo.cli(&["dead-letters"]).exits(0);
    assert_eq!(ran.stdout.matches("  thing/a  ").count(), 2, "{ran:?}");
    assert_eq!(silo.cli(&["dead-letters", "--limit", "1", "--json"]).exits(0).json()["dead_letters"][0], letters()[0]);

    // They are not tried again by the next silo.
    silo.crash();
    let client = silo.client();
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 1);
    let _ = client.call("counter/a", "reset", &json!([])).expect(202);
    eventually("tells are handled", || (client.call("counter/a", "value", &json!([])).number() == 0).then_some(()));
    assert!(client.inspect("thing/a")["last_failure"].is_null());
}
