//! Components that are larger, longer or deeper than any should be: taken, or refused by name; nothing
//! that is there is lost.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use quark_e2e::{Client, DEADLINE, Silo, made_of, stamped};
use serde_json::{Value, json};

/// A silo with a counter that must go on counting.
struct Guarded {
    silo: Silo,
    client: Client,
}

impl Guarded {
    fn start() -> Self {
        let silo = Silo::with(&["counter"]);
        let client = silo.client();
        Self { silo, client }
    }

    #[track_caller]
    fn check_refused(&self, component: &[u8], about: &str) {
        let failure = self.client.deploy_bytes(component, "").failure(400, "bad-component");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains(about) && message.len() < 2000, "{message}");
        assert!(failure["next"].is_string() && failure["may_be_done"] == false, "{failure}");
        self.check_well();
    }

    #[track_caller]
    fn check_well(&self) {
        let count = self.client.call("counter/a", "value", &json!([])).number();
        assert_eq!(self.client.call("counter/a", "increment", &json!([1])).number(), count + 1);
        let kinds = self.client.get("/v1/kinds").expect(200).json();
        assert!(kinds["kinds"].as_array().unwrap().iter().any(|kind| kind["name"] == "counter"), "{kinds}");
    }
}

fn thing(inside: &str) -> Vec<u8> {
    made_of(&format!(
        "package test:made; interface things {{ resource thing {{ constructor(key: string); {inside} }} }}
         world made {{ export things; }}"
    ))
}

#[test]
fn a_hundred_thousand_exports_are_refused() {
    let guarded = Guarded::start();
    let exports: String = (0..100_000).map(|n| format!(r#"(export "e{n}" (component $it))"#)).collect();
    let component = wat::parse_str(format!("(component (component $it) {exports})")).unwrap();
    guarded.check_refused(&component, "100000 exports; at most 1000 are allowed");
    // Those of a core module need not be of the world; then nobody sees them.
    let functions: String = (0..100_000).map(|n| format!(r#"(export "e{n}" (func 0))"#)).collect();
    let module = wat::parse_str(format!("(module (func) {functions})")).unwrap();
    guarded.check_refused(&module, "without embedded WIT");
    let few: String = (0..100).map(|n| format!(r#"(export "e{n}" (instance $it))"#)).collect();
    let component = wat::parse_str(format!("(component (instance $it) {few})")).unwrap();
    guarded.check_refused(&component, "and 90 more");
}

#[test]
fn a_name_of_a_mebibyte_is_refused_wherever_it_stands() {
    let guarded = Guarded::start();
    let long = "n".repeat(1 << 20);
    let component =
        wat::parse_str(format!(r#"(component (component $it) (export "{long}" (component $it)))"#)).unwrap();
    guarded.check_refused(&component, "longer than WebAssembly allows");
    guarded.check_refused(&thing(&format!("{}: func();", &long[..600])), "600 bytes long; at most 512");
    let kind = made_of(&format!(
        "package test:made; interface {} {{ resource thing {{ constructor(key: string); go: func(); }} }}
         world made {{ export {}; }}",
        &long[..600],
        &long[..600]
    ));
    guarded.check_refused(&kind, "at most 512");
    let wasm = ("content-type", "application/wasm");
    let client = &guarded.client;
    let deploy = |name: &str, headers: &[(&str, &str)]| {
        client.send(
            "POST",
            &format!("/v1/deployments?name={name}"),
            &[&[wasm], headers].concat(),
            &thing("go: func();"),
        )
    };
    let _ = deploy(&long[..20_000], &[]).failure(414, "target-too-long");
    let _ = deploy(&long[..129], &[]).failure(400, "bad-request");
    for target in [format!("/v1/deployments?name={long}"), format!("/v1/actors/counter/{long}/value")] {
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(&client.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The silo may stop reading, and its answer may be lost with what it did not read.
        let _ = stream.write_all(head.as_bytes());
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).is_ok() {
            assert!([b"HTTP/1.1 414", b"HTTP/1.1 431"].contains(&&answer), "{answer:?}");
        }
    }
    let method = format!("/v1/actors/counter/a/{}", &long[..10_000]);
    let _ = client.send("POST", &method, &[("content-type", "application/json")], b"[]").failure(404, "no-such-method");
    let ran = guarded.silo.cli(&["versions", &long[..10_000]]).exits(2);
    assert!(ran.stderr.len() < 25_000, "{}", ran.stderr.len());
    guarded.check_well();
}

#[test]
fn a_thousand_methods_work_and_one_more_is_refused() {
    let guarded = Guarded::start();
    let methods =
        |count: usize| thing(&(0..count).map(|n| format!("m{n}: func(it: u64) -> u64; ")).collect::<String>());
    guarded.check_refused(&methods(1001), "has 1001 methods; at most 1000 are allowed");
    let _ = guarded.client.deploy_bytes(&methods(1000), "").expect(200);
    // Their code traps, but they are found and their arguments read.
    let _ = guarded.client.call("thing/a", "m999", &json!([1])).failure(502, "failed");
    let _ = guarded.client.call("thing/a", "m999", &json!(["x"])).failure(400, "bad-arguments");
    let paths = guarded.client.get("/openapi.json").expect(200).json()["paths"].take();
    assert_eq!(paths.as_object().unwrap().keys().filter(|path| path.contains("/thing/")).count(), 1000);
    let all = guarded.client.get("/v1/kinds").expect(200).json()["kinds"].take();
    let thing = all.as_array().unwrap().iter().find(|kind| kind["name"] == "thing").unwrap();
    assert_eq!(thing["methods"].as_array().unwrap().len(), 1000);
    // It is compared method by method with the version before.
    let failure = guarded.client.deploy_bytes(&methods(1), "").failure(409, "breaking-change");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("thing.m1 is gone") && message.contains("and 949 more"), "{message}");
    guarded.check_well();
}

#[test]
fn as_many_kinds_as_are_allowed_work_and_one_more_is_refused() {
    let guarded = Guarded::start();
    let kinds = |count: usize| {
        let interfaces: String = (0..count)
            .map(|n| format!("interface i{n} {{ resource k{n} {{ constructor(key: string); go: func() -> u8; }} }} "))
            .collect();
        let exports: String = (0..count).map(|n| format!("export i{n}; ")).collect();
        made_of(&format!("package test:made; {interfaces} world made {{ {exports} }}"))
    };
    guarded.check_refused(&kinds(257), "257 kinds; at most 256 are allowed");
    let many = kinds(256);
    let _ = guarded.client.deploy_bytes(&many, "").expect(200);
    let next = guarded.client.deploy_bytes(&stamped(&many, "next"), "").expect(200).json();
    assert_eq!((&next["version"], &next["breaks"]), (&json!(2), &json!([])));
    let _ = guarded.client.call("k255/a", "go", &json!([])).failure(502, "failed");
    guarded.check_well();
}

#[test]
fn types_nest_up_to_a_depth_and_are_refused_beyond() {
    let guarded = Guarded::start();
    let nested = |what: &str, depth: usize| format!("{}u8{}", format!("{what}<").repeat(depth), ">".repeat(depth));
    for what in ["list", "option", "tuple"] {
        for depth in [70, 90] {
            let method = format!("go: func(it: {});", nested(what, depth));
            guarded.check_refused(&thing(&method), "nest");
        }
        let method = format!("go: func(it: {}) -> u8;", nested(what, 60));
        let path = "/v1/deployments?allow-breaking=true";
        let answer = guarded.client.send("POST", path, &[("content-type", "application/wasm")], &thing(&method));
        let _ = answer.expect(200);
        let argument = match what {
            "option" => (0..59).fold(json!(1), |inner, _| json!({ "some": inner })),
            _ => (0..60).fold(json!(1), |inner, _| Value::from(vec![inner])),
        };
        // The code traps, but not before its argument is read.
        let _ = guarded.client.call("thing/a", "go", &json!([argument])).failure(502, "failed");
        let document = guarded.client.get("/openapi.json").expect(200).text();
        assert!(document.contains("/v1/actors/thing/{key}/go"), "{}", document.len());
    }
    // Deep by names, one type for each level.
    let levels: String = (1..100).map(|n| format!("record r{n} {{ of: r{} }} ", n - 1)).collect();
    let deep = made_of(&format!(
        "package test:made; interface things {{ record r0 {{ it: u8 }} {levels}
         resource thing {{ constructor(key: string); go: func(it: r99); }} }} world made {{ export things; }}"
    ));
    guarded.check_refused(&deep, "nest");
}
