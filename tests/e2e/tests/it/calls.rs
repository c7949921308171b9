//! Calls from outside and between actors: values, outcomes, errors, deadlines, headers.

use std::thread;

use quark_e2e::{Silo, eventually};
use serde_json::{Value, json};

#[test]
fn wave_and_json_give_both_outcomes() {
    let silo = Silo::with(&["bank", "hello"]);
    let client = silo.client();
    let answer = client.wave("account/a", "deposit", "10").expect(200);
    assert_eq!((answer.text().as_str(), answer.header("content-type")), ("ok(10)", Some("application/vnd.quark.wave")));
    let answer = client.wave("account/a", "withdraw", "11").expect(422);
    assert_eq!(answer.text(), "err(insufficient(10))");
    assert_eq!(answer.header("quark-outcome"), Some("actor-error"));

    let answer = client.call("account/a", "withdraw", &json!([4]));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.number(), 6);
    assert_eq!(client.call("account/a", "withdraw", &json!([7])).actor_error(), json!({ "insufficient": 6 }));

    assert_eq!(client.wave("greeter/x", "greet", "\"Bob\"").expect(200).text().matches("Bob").count(), 1);
    // As curl sends it: no token is needed to call.
    let stranger = silo.stranger();
    assert_eq!(stranger.call_text("account/a", "deposit", " [ 1 ] ").number(), 7);
    assert_eq!(stranger.call_text("sample:bank/accounts#account/a", "balance", "[]").status, 404);
    let full = "/v1/actors/sample%3Abank%2Faccounts%23account/a/balance";
    let answer = stranger.send("POST", full, &[("content-type", "application/json; charset=utf-8")], b"");
    assert_eq!(answer.number(), 7);
}

#[test]
fn every_type_goes_there_and_back() {
    let silo = Silo::with(&["zoo"]);
    let client = silo.client();
    let animal = concat!(
        r#"{name: "Ü\"x", home: {x: -1, y: 2}, color: green, marks: {striped, winged}, "#,
        r#"shape: polygon([{x: 0, y: 0}]), legs: some(4), names: [("a", 'b')], weight: ok(1.5)}"#
    );
    for (method, value) in [
        ("echo-bool", "true"),
        ("echo-u8", "255"),
        ("echo-u64", "18446744073709551615"),
        ("echo-s64", "-9223372036854775808"),
        ("echo-f64", "-0.125"),
        ("echo-char", "'é'"),
        ("echo-string", r#""a\"b\n""#),
        ("echo-list", "[1, 2, 3]"),
        ("echo-strings", r#"["", "x"]"#),
        ("echo-tuple", r#"(1, "x", false)"#),
        ("echo-record", "{x: 1, y: -2}"),
        ("echo-variant", "rectangle((1, 2.5))"),
        ("echo-variant", "nothing"),
        ("echo-enum", "blue"),
        ("echo-flags", "{spotted}"),
        ("echo-option", "none"),
        ("echo-option-option", "some(none)"),
        ("echo-result", r#"err("no")"#),
        ("echo-result-bare", "ok"),
        ("echo-nested", animal),
    ] {
        let answer = client.wave("zoo/z", method, value).expect(200);
        assert_eq!(answer.text(), format!("ok({value})"), "{method}");
    }
    for (method, value) in [
        ("echo-u64", json!(u64::MAX)),
        ("echo-s64", json!(i64::MIN)),
        ("echo-string", json!("a\u{0}é")),
        ("echo-record", json!({ "x": 1, "y": -2 })),
        ("echo-option", Value::Null),
        ("echo-enum", json!("red")),
        ("echo-list", json!([1, 2])),
    ] {
        assert_eq!(client.call("zoo/z", method, &json!([value])).ok(), value, "{method}");
    }
    // Actor to actor.
    let answer = client.wave("zoo/z", "animal-via", &format!("\"other\", {animal}")).expect(200);
    assert_eq!(answer.text(), format!("ok({animal})"));
    assert_eq!(client.call("zoo/z", "bare-via", &json!(["other", 7])).number(), 7);
    // A method that has no result is a tell, and one without `result` is answered bare.
    assert_eq!(client.call("zoo/z", "bare", &json!([7])).expect(200).json(), json!(7));
    let _ = client.wave("zoo/z", "tell-via", &format!("\"told\", {animal}")).expect(200);
    eventually("the animal was told", || {
        let told = client.wave("zoo/told", "told", "").expect(200).text();
        (told == format!("ok(some({animal}))")).then_some(())
    });
}

#[test]
fn actors_get_typed_errors_of_those_they_call() {
    let silo = Silo::with(&["counter", "rogue", "relay"]);
    let client = silo.client();
    assert_eq!(client.call("relay/r", "increment-on", &json!(["c", 3])).number(), 3);
    assert_eq!(client.call("counter/c", "value", &json!([])).number(), 3);
    // Its own error, through the relay's.
    assert_eq!(client.call("counter/full", "increment", &json!([u64::MAX])).number(), u64::MAX);
    assert_eq!(
        client.call("relay/r", "increment-on", &json!(["full", 1])).actor_error(),
        json!({ "counter": "overflow" })
    );
    // The call's error: the callee trapped, and its text comes along.
    let error = client.call("relay/r", "trap-on", &json!(["x"])).actor_error().to_string();
    assert!(error.contains("call") && error.contains("asked to"), "{error}");
    // The relay that called lives on, and so does the one that trapped.
    assert_eq!(client.call("relay/r", "increment-on", &json!(["c", 1])).number(), 4);
    assert_eq!(client.call("rogue/x", "ping", &json!([])).number(), 1);
    // A tell from an actor is on its way once the actor's turn is committed.
    assert_eq!(client.call("relay/r", "reset-on", &json!(["c"])).ok(), Value::Null);
    eventually("the counter was reset", || (client.call("counter/c", "value", &json!([])).number() == 0).then_some(()));
    // A key that the callee cannot have.
    let error = client.call("relay/r", "increment-on", &json!(["", 1]));
    assert!(error.status == 422 || error.status == 502, "{}", error.text());
}

#[test]
fn a_call_that_would_wait_for_itself_is_told_its_path() {
    let silo = Silo::with(&["counter", "rogue"]);
    let client = silo.client();
    for sample in ["relay", "bank"] {
        client.deploy(sample, "[actor]\nreentrancy = \"none\"\n");
    }
    assert_eq!(client.call("relay/a", "chain", &json!([["b", "c", "d"]])).number(), 3);
    for (actor, method, arguments, path) in [
        ("relay/a", "chain", json!([["b", "a"]]), "relay/a.chain -> relay/b.chain -> relay/a.chain"),
        (
            "relay/a",
            "chain",
            json!([["b", "c", "b"]]),
            "relay/a.chain -> relay/b.chain -> relay/c.chain -> relay/b.chain",
        ),
        ("relay/a", "chain", json!([["a"]]), "relay/a.chain -> relay/a.chain"),
        ("account/a", "balance-of", json!(["a"]), "account/a.balance-of -> account/a.balance"),
        ("account/a", "audit", json!([["b", "a"]]), "account/a.audit -> account/b.audit -> account/a.audit"),
    ] {
        let error = client.call(actor, method, &arguments).actor_error().to_string();
        assert!(error.contains("deadlock") && error.contains(path), "{error}");
    }
    // A path that is too long is refused with it, though all of its actors are different.
    let keys: Vec<String> = (0..64).map(|n| format!("k{n}")).collect();
    assert_eq!(client.call("relay/a", "chain", &json!([keys[..63]])).number(), 63);
    let error = client.call("relay/a", "chain", &json!([keys])).actor_error().to_string();
    assert!(error.contains("deadlock") && error.contains("k63.chain, of which 64 turns are the most"), "{error}");
    // Nobody waits for ever.
    assert_eq!(client.call("relay/a", "chain", &json!([["b"]])).number(), 1);
    assert_eq!(client.call("account/a", "audit", &json!([["b", "c"]])).number(), 0);
}

#[test]
fn what_is_visible_is_committed() {
    let mut silo = Silo::with(&["rogue"]);
    let client = silo.client();
    let stored = |key: &str| client.call(key, "stored", &json!([])).ok();
    let _ = client.call("rogue/r", "store", &json!(["begin"])).expect(200);
    let _ = client.call("rogue/r", "store-then-trap", &json!(["lost"])).failure(502, "failed");
    assert_eq!(stored("rogue/r"), "begin");
    let _ = client.call("rogue/r", "commit-then-trap", &json!(["first", "second"])).failure(502, "failed");
    assert_eq!(stored("rogue/r"), "first");
    let _ = client.call("rogue/r", "store-then-err", &json!(["kept"])).actor_error();
    assert_eq!(stored("rogue/r"), "kept");
    // What a turn that trapped told was told to nobody; a tell after it, of the same pair, comes through.
    let _ = client.call("rogue/r", "tell-then-trap", &json!(["v"])).failure(502, "failed");
    let _ = client.call("rogue/r", "flood-tells", &json!([1, "v"])).expect(200);
    let hits = || client.call("victim/v", "hits", &json!([])).number();
    assert_eq!(eventually("the tell came", || Some(hits()).filter(|hits| *hits > 0)), 1);
    silo.crash();
    assert_eq!(silo.client().call("rogue/r", "stored", &json!([])).ok(), "kept");
}

#[test]
fn at_the_deadline_the_caller_is_answered_and_the_actor_lives_on() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("counter", "");
    client.deploy("rogue", "[[actor]]\nname = \"rogue\"\n[actor.methods.sleep]\ntimeout = \"200ms\"\n");
    client.deploy("relay", "");
    assert_eq!(client.call("rogue/d", "ping", &json!([])).number(), 1);
    let late = client.call_with("rogue/d", "spin-for", &json!([1000]), &[("quark-timeout-ms", "50")]);
    assert_eq!(late.failure(504, "deadline-exceeded")["may_be_done"], true);
    // The same activation answers on.
    assert_eq!(client.call("rogue/d", "ping", &json!([])).number(), 2);
    // The method's own timeout, where the caller says nothing.
    let late = client.call("rogue/d", "sleep", &json!([1000]));
    let _ = late.failure(504, "deadline-exceeded");
    assert_eq!(client.call("rogue/d", "ping", &json!([])).number(), 3);
    // An actor's own timeout on a call.
    let error = client.call("relay/r", "spin-on", &json!(["d", 1000, 50])).actor_error();
    assert!(error["call"]["downstream"].as_str().unwrap().contains("the deadline passed"), "{error}");
    assert_eq!(client.call("rogue/d", "ping", &json!([])).number(), 4);
    // A message whose caller has given up before its turn is not handled, and is a dead letter.
    thread::scope(|scope| {
        scope.spawn(|| drop(client.call("rogue/d", "spin-for", &json!([1500]))));
        eventually("it spins", || (client.inspect("rogue/d")["activation"]["running"] == true).then_some(()));
        let late = client.call_with("rogue/d", "ping", &json!([]), &[("quark-timeout-ms", "50")]);
        let _ = late.failure(504, "deadline-exceeded");
    });
    assert_eq!(client.call("rogue/d", "ping", &json!([])).number(), 5);
    let letters = client.get("/v1/dead-letters").expect(200).json();
    assert!(letters["dead_letters"].as_array().unwrap().iter().any(|letter| letter["method"] == "ping"), "{letters}");
    for bad in ["0", "-1", "soon", "99999999999999999999"] {
        let answer = client.call_with("rogue/d", "ping", &json!([]), &[("quark-timeout-ms", bad)]);
        let _ = answer.failure(400, "bad-request");
    }
}

#[test]
fn headers_travel_with_the_chain_and_a_request_has_its_id() {
    let silo = Silo::with(&["counter", "rogue", "relay"]);
    let client = silo.client();
    let tenant = [("quark-header-tenant", "acme"), ("x-request-id", "r-17")];
    let answer = client.call_with("relay/a", "header", &json!(["tenant"]), &tenant);
    assert_eq!(answer.header("x-request-id"), Some("r-17"));
    assert_eq!(answer.ok(), "acme");
    // One hop further, together with one that the actor set.
    let answer = client.call_with("relay/a", "header-on", &json!(["b", "tenant", "other"]), &tenant);
    assert_eq!(answer.ok(), "other");
    let answer = client.call_with("relay/a", "header-on", &json!(["b", "mine", "x"]), &tenant);
    assert_eq!(answer.ok(), "x");
    // It is gone with the request.
    assert_eq!(client.call("relay/b", "header", &json!(["tenant"])).ok(), Value::Null);
    let answer = client.call("relay/b", "header", &json!(["tenant"]));
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() >= 16), "{answer:?}");
    let answer = client.call_with("relay/b", "header", &json!(["x"]), &[("x-request-id", "two words")]);
    let _ = answer.failure(400, "bad-request");
}
