//! Components that are well-formed and still no actors of this version.

use quark_e2e::{Client, Silo, component, made_of, made_with};
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
    let name = "quark:actor/streams@0.1.0";
    check_refused(&client, &world("", &format!("import {name};")), &[name, "not of this version"]);
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

/// Two versions of one interface; who made the one was not to know of the other.
const SHOPS: &str = "
  package acme:shop@1.0.0 { interface carts { resource cart { constructor(key: string); add: func(n: u32) -> u32; } } }
  package acme:shop@1.1.0 { interface carts { resource cart { constructor(key: string); add: func(n: u32) -> u32;
    total: func() -> u32; } } }";

/// The older's code traps, that of the newest adds.
const SHOP: &str = r#"(module
  (import "[export]acme:shop/carts@1.1.0" "[resource-new]cart" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $total (mut i32) (i32.const 0))
  (func (export "acme:shop/carts@1.0.0#[constructor]cart") (param i32 i32) (result i32) unreachable)
  (func (export "acme:shop/carts@1.0.0#[method]cart.add") (param i32 i32) (result i32) unreachable)
  (func (export "acme:shop/carts@1.1.0#[constructor]cart") (param i32 i32) (result i32) i32.const 1 call $new)
  (func $total (export "acme:shop/carts@1.1.0#[method]cart.total") (param i32) (result i32) global.get $total)
  (func (export "acme:shop/carts@1.1.0#[method]cart.add") (param i32 i32) (result i32)
    global.get $total local.get 1 i32.add global.set $total
    local.get 0 call $total)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))"#;

/// Knows both versions, and calls the actor of its own key by each.
const BUYER: &str = r#"(module
  (import "[export]test:buyer/buyers" "[resource-new]buyer" (func $new (param i32) (result i32)))
  (import "acme:shop/carts@1.0.0" "[constructor]cart" (func $old (param i32 i32) (result i32)))
  (import "acme:shop/carts@1.0.0" "[method]cart.add" (func $add (param i32 i32) (result i32)))
  (import "acme:shop/carts@1.1.0" "[constructor]cart" (func $now (param i32 i32) (result i32)))
  (import "acme:shop/carts@1.1.0" "[method]cart.total" (func $total (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $cart-of-old (mut i32) (i32.const 0))
  (global $cart-of-now (mut i32) (i32.const 0))
  (func (export "test:buyer/buyers#[constructor]buyer") (param i32 i32) (result i32)
    local.get 0 local.get 1 call $old global.set $cart-of-old
    local.get 0 local.get 1 call $now global.set $cart-of-now
    i32.const 1 call $new)
  (func (export "test:buyer/buyers#[method]buyer.buy") (param i32 i32) (result i32)
    global.get $cart-of-old local.get 1 call $add
    i32.const 1000 i32.mul
    global.get $cart-of-now call $total i32.add)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))"#;

#[test]
fn two_versions_of_one_interface_are_one_kind_and_one_actor() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let world = "world made { export acme:shop/carts@1.0.0; export acme:shop/carts@1.1.0; }";
    let shop = made_with(&format!("package test:made; {SHOPS} {world}"), SHOP);
    let report = client.deploy_bytes(&shop, "").expect(200).json();
    assert_eq!(report["kinds"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["kinds"][0]["kind"], "acme:shop/carts#cart");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("`acme:shop/carts@1.0.0`: the newest serves callers of both"), "{warnings}");
    let buyer = "interface buyers { resource buyer { constructor(key: string); buy: func(n: u32) -> u32; } }
        world made { import acme:shop/carts@1.0.0; import acme:shop/carts@1.1.0; export buyers; }";
    let buyer = made_with(&format!("package test:buyer; {SHOPS} {buyer}"), BUYER);
    let _ = client.deploy_bytes(&buyer, "").expect(200);
    for (n, total) in [(3, 3), (4, 7)] {
        assert_eq!(client.call("buyer/a", "buy", &json!([n])).expect(200).json(), total * 1000 + total);
    }
    assert_eq!(client.call("cart/a", "total", &json!([])).expect(200).json(), 7);
    assert_eq!(client.metric("quark_live_instances"), 2.0, "the buyer and its cart");
    // One that would leave callers of the older without a method.
    let less = SHOPS.replacen("add: func(n: u32) -> u32;", "take: func(n: u32) -> u32;", 1);
    check_refused(&client, &format!("package test:made; {less} {world}"), &["acme:shop/carts@1.0.0", "`take`"]);
}
