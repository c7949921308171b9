//! An operator's hand in an actor's state.

use quark_e2e::{Answer, Client, Silo, encoded};
use serde_json::json;

const VALUE: &str = "state";

fn path(actor: &str, name: &str) -> String {
    let (kind, key) = actor.split_once('/').unwrap();
    format!("/v1/actors/{kind}/{}/-/state/{}", encoded(key), encoded(name))
}

fn get(client: &Client, actor: &str) -> Answer {
    client.get(&path(actor, VALUE))
}

fn set(client: &Client, actor: &str, bytes: &[u8], if_match: Option<&str>) -> Answer {
    let condition: Vec<(&str, &str)> = if_match.iter().map(|etag| ("if-match", *etag)).collect();
    client.send("PUT", &path(actor, VALUE), &condition, bytes)
}

fn value(client: &Client, actor: &str) -> u64 {
    client.call(actor, "value", &json!([])).number()
}

fn sleep(client: &Client, actor: &str) {
    let _ = client.send("POST", &format!("/v1/actors/{actor}/-/deactivate"), &[], b"").expect(200);
    assert!(client.inspect(actor)["activation"].is_null());
}

#[test]
fn state_is_read_and_changed_on_live_and_sleeping_actors() {
    let mut silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/source", "increment", &json!([41])).number(), 41);
    let source = get(&client, "counter/source").expect(200);
    assert!(!source.body.is_empty() && source.etag().is_some(), "{source:?}");
    let listed = client.inspect("counter/source");
    assert_eq!(listed["state"], json!([{ "name": VALUE, "bytes": source.body.len() }]));
    assert_eq!(listed["etag"].as_str(), source.etag().as_deref());

    // One that never lived.
    let _ = get(&client, "counter/new").failure(404, "not-found");
    let _ = set(&client, "counter/new", &source.body, None).expect(204);
    assert_eq!(value(&client, "counter/new"), 41);

    // A live one: the guest sees the operator's value, not its own copy.
    assert_eq!(client.call("counter/live", "increment", &json!([1])).number(), 1);
    let before = get(&client, "counter/live").expect(200);
    let after = set(&client, "counter/live", &source.body, before.etag().as_deref()).expect(204);
    assert_ne!(after.etag(), before.etag());
    assert_eq!(get(&client, "counter/live").expect(200).etag(), after.etag());
    assert_eq!(value(&client, "counter/live"), 41);
    assert_eq!(client.call("counter/live", "increment", &json!([1])).number(), 42);

    // Asleep.
    sleep(&client, "counter/live");
    let now = get(&client, "counter/live").expect(200);
    let _ = set(&client, "counter/live", &source.body, now.etag().as_deref()).expect(204);
    assert_eq!(value(&client, "counter/live"), 41);

    // Gone, live and asleep.
    for asleep in [false, true] {
        assert!(client.call("counter/live", "increment", &json!([1])).number() > 0);
        if asleep {
            sleep(&client, "counter/live");
        }
        let _ = client.send("DELETE", &path("counter/live", VALUE), &[], b"").expect(204);
        let _ = get(&client, "counter/live").failure(404, "not-found");
        assert_eq!(value(&client, "counter/live"), 0, "asleep: {asleep}");
    }

    // All of it is durable.
    silo.crash();
    let client = silo.client();
    assert_eq!(value(&client, "counter/new"), 41);
    assert_eq!(value(&client, "counter/live"), 0);
}

#[test]
fn a_change_with_an_old_etag_is_a_conflict() {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 1);
    let old = get(&client, "counter/a").expect(200);
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 2);
    let etag = old.etag();
    for asleep in [false, true] {
        if asleep {
            sleep(&client, "counter/a");
        }
        let conflict = set(&client, "counter/a", &old.body, etag.as_deref());
        assert!(conflict.failure(412, "conflict")["next"].is_string(), "{conflict:?}");
        let headers = [("if-match", etag.as_deref().unwrap())];
        let answer = client.send("DELETE", &path("counter/a", VALUE), &headers, b"");
        let _ = answer.failure(412, "conflict");
        assert_eq!(value(&client, "counter/a"), 2, "asleep: {asleep}");
    }
    // With the e-tag that it has, quoted as HTTP says.
    let now = get(&client, "counter/a").expect(200).etag().unwrap();
    let _ = set(&client, "counter/a", &old.body, Some(&format!("\"{now}\""))).expect(204);
    assert_eq!(value(&client, "counter/a"), 1);
    for bad in ["*", "\"a\", \"b\""] {
        let answer = set(&client, "counter/a", &old.body, Some(bad));
        let _ = answer.failure(400, "bad-request");
    }
    let never = set(&client, "counter/never", &old.body, Some("1"));
    let _ = never.failure(412, "conflict");
}

#[test]
fn state_that_no_actor_could_have_is_refused() {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 1);
    let answer = set(&client, "counter/a", &vec![0; 2 << 20], None);
    let _ = answer.failure(413, "too-large");
    assert_eq!(value(&client, "counter/a"), 1);
    // Bytes that are no state of this guest: it says so, and another value mends it.
    let good = get(&client, "counter/a").expect(200).body;
    let _ = set(&client, "counter/a", b"\xc1 no state", None).expect(204);
    let _ = client.call("counter/a", "value", &json!([])).failure(502, "failed");
    let _ = set(&client, "counter/a", &good, None).expect(204);
    assert_eq!(value(&client, "counter/a"), 1);
}
