//! Components that are well-formed and still no actors of this version.

use quark_e2e::{Client, Silo, component, made_of};
use serde_json::json;

const KIND: &str = "interface things { resource thing { constructor(key: string); touch: func() -> result<u32, \
                    string>; } }";

#[track_caller]
fn check_refused(client: &Client, wit: &str, about: &[&str]) {
    let failure = client.deploy_bytes(&made_of(wit), "").failure(400, "bad-component");
    let message = failure["message"].as_str().unwrap();
    assert!(about.iter().all(|about| message.contains(about)), "{message}");
    assert!(failure["next"].is_string(), "{failure}");
}

#[test]
fn what_differs_from_the_contract_is_named() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let world = |inside: &str, world: &str| {
        format!("package test:made; {inside} {KIND} world made {{ {world} export things; }}")
    };
    // An export of another type.
    let wit = "package test:made; interface things { resource thing { constructor(key: u32); touch: func(); } } world \
               made { export things; }";
    check_refused(&client, wit, &["things#thing", "(u32)", "(key: string)"]);
    let hooks = "interface lifecycle { activate: func(it: u32) -> result<_, string>; deactivate: func(); }";
    let wit = world(&format!("package quark:actor@0.1.0 {{ {hooks} }}"), "export quark:actor/lifecycle@0.1.0;");
    check_refused(&client, &wit, &["quark:actor/lifecycle@0.1.0", "activate", "func(u32)"]);
    // An import of another type, an unknown one, one that is nothing like any.
    let wit =
        world("package quark:actor@0.1.0 { interface log { log: func(x: u8); } }", "import quark:actor/log@0.1.0;");
    check_refused(&client, &wit, &["quark:actor/log@0.1.0"]);
    let wit =
        world("package quark:actor@0.1.0 { interface stat { get: func() -> u8; } }", "import quark:actor/stat@0.1.0;");
    check_refused(&client, &wit, &["`quark:actor/stat@0.1.0`", "did you mean `quark:actor/state@0.1.0`?"]);
    let wit = world("package w:x { interface y { z: func(); } }", "import w:x/y;");
    check_refused(&client, &wit, &["unknown import `w:x/y`"]);
    // A service of the contract that is not built.
    for service in ["journal", "timers", "reminders", "streams", "children"] {
        let name = format!("quark:actor/{service}@0.1.0");
        check_refused(&client, &world("", &format!("import {name};")), &[&name, "not of this version"]);
    }
    assert_eq!(client.get("/v1/kinds").expect(200).json(), json!({ "kinds": [] }));
    // Its neighbour without a fault, so that it is not the way it is made.
    let _ = client.deploy_bytes(&made_of(&world("", "import quark:actor/log@0.1.0;")), "").expect(200);
}

#[test]
fn a_short_name_that_two_kinds_have_needs_the_full_one() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let deploy = |package: &str| {
        let wit = format!("package {package}; {KIND} world made {{ export things; }}");
        let path = format!("/v1/deployments?name={}", package.replace(':', "-"));
        client.send("POST", &path, &[("content-type", "application/wasm")], &made_of(&wit)).expect(200)
    };
    let _ = deploy("one:made");
    // The code of these traps, but it is found.
    let _ = client.call("thing/a", "touch", &json!([])).failure(502, "failed");
    let _ = deploy("two:made");
    let failure = client.call("thing/a", "touch", &json!([])).failure(409, "ambiguous-kind");
    let text = failure.to_string();
    assert!(text.contains("one:made/things#thing") && text.contains("two:made/things#thing"), "{failure}");
    let ran = silo.cli(&["call", "thing/a", "touch"]).exits(2);
    assert!(ran.stderr.contains("two:made/things#thing"), "{ran:?}");
    for full in ["one:made/things#thing/a", "two:made/things#thing/a"] {
        let ran = silo.cli(&["call", full, "touch"]).exits(3);
        assert!(ran.stderr.contains("thing"), "its code traps: {ran:?}");
    }
    // Deployments that clash in other ways.
    let kind = format!("package one:made; {KIND} world made {{ export things; }}");
    let path = "/v1/deployments?name=three";
    let answer = client.send("POST", path, &[("content-type", "application/wasm")], &made_of(&kind));
    let _ = answer.failure(409, "conflict");
}

#[test]
fn the_next_version_tells_what_compiling_it_took() {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    // The same code in other bytes: a custom section of one byte, named `x`.
    let bytes = [component("counter"), vec![0, 3, 1, b'x', 0]].concat();
    let report = client.deploy_bytes(&bytes, "").expect(200).json();
    assert_eq!((&report["version"], &report["cached"]), (&json!(2), &json!(false)), "{report}");
    assert!(report["compile_ms"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 1);
}
