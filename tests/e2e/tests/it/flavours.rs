//! `func` and `async func` are one contract: callers and callees of either flavour understand one
//! another. The samples' tests run in both flavours; these are about both at once.

use quark_e2e::{Silo, component_path, made_of};
use serde_json::{Value, json};

/// A relay of the one flavour calls a counter of the other, and actors of its own.
#[track_caller]
fn check_bridge(relay: &str, counter: &str) {
    let silo = Silo::start(&[]);
    let client = silo.client();
    for sample in [relay, counter, "rogue"] {
        client.deploy(sample, "");
    }
    assert_eq!(client.call("relay/r", "increment-on", &json!(["c", 3])).number(), 3);
    assert_eq!(
        client.call("relay/r", "increment-on", &json!(["c", u64::MAX])).actor_error(),
        json!({ "counter": "overflow" })
    );
    assert_eq!(client.call("relay/r", "reset-on", &json!(["c"])).ok(), Value::Null);
    assert_eq!(client.call("relay/r", "increment-on", &json!(["c", 1])).number(), 1, "a pair keeps its order");
    assert_eq!(client.call("relay/r", "chain", &json!([["s", "t", "u"]])).number(), 3);
    assert_eq!(client.call("relay/r", "chain", &json!([["s", "r"]])).number(), 2, "it comes back");
    let error = client.call("relay/r", "trap-on", &json!(["x"])).actor_error().to_string();
    assert!(error.contains("asked to"), "{error}");
    let header = client.call("relay/r", "header-on", &json!(["s", "tenant", "blue"]));
    assert_eq!(header.ok(), "blue");
}

#[test]
fn an_async_caller_and_a_plain_callee() {
    check_bridge("async/relay", "counter");
}

#[test]
fn a_plain_caller_and_an_async_callee() {
    check_bridge("relay", "async/counter");
}

#[test]
fn the_lane_is_shown_with_its_reason() {
    let silo = Silo::start(&[]);
    let shown = silo.cli(&["deploy", component_path("async/counter").to_str().unwrap()]).exits(0);
    assert!(shown.stdout.contains("lane concurrent: its functions are `async func`"), "{}", shown.stdout);
}

#[test]
fn a_component_of_both_flavours_is_refused() {
    let silo = Silo::start(&[]);
    let component = made_of(
        "package test:made;
         interface things { resource thing {
           constructor(key: string); touch: async func() -> result<u32, string>; look: func() -> result<u32, string>;
         } }
         world made { export things; }",
    );
    let error = silo.client().deploy_bytes(&component, "").failure(400, "bad-component");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("`thing.look`") && message.contains("`thing.touch`"), "{message}");
}
