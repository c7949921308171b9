//! The OpenAPI document: valid by a validator that is not ours, and true of what the gateway takes and
//! answers.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use quark_e2e::{Client, Silo, made_of, made_with_docs};
use serde_json::{Value, json};

/// Has a document checked, and values against it.
#[track_caller]
fn check(document: &Value, cases: &[Value]) {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST
    let python = test.ancestors().nth(3).unwrap().join("openapi/bin/python");
    assert!(python.is_file(), "{} is not there: run scripts/setup-openapi.sh", python.display());
    let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.py"));
    let mut child = Command::new(python).arg(script).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let given = json!({ "document": document, "cases": cases }).to_string();
    child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

fn document(silo: &Silo) -> Value {
    // As anybody who may call it.
    silo.stranger().get("/openapi.json").expect(200).json()
}

/// Calls for real, and gives what was sent and answered as cases.
#[track_caller]
fn called(client: &Client, kind: &str, method: &str, arguments: &Value, status: u16) -> [Value; 2] {
    let answer = client.call(&format!("{kind}/o"), method, arguments).expect(status);
    let path = format!("/v1/actors/{kind}/{{key}}/{method}");
    let request = json!({ "path": path, "what": "request", "value": arguments, "fits": status != 400 });
    let answer = json!({ "path": path, "what": status.to_string(), "value": answer.json(), "fits": true });
    [request, answer]
}

fn animals() -> [Value; 2] {
    [
        json!({
            "name": "Ü", "home": { "x": -1, "y": 2 }, "color": "green", "marks": ["striped", "winged"],
            "shape": { "polygon": [{ "x": 0, "y": 0 }] }, "legs": 4, "names": [["a", "b"]], "weight": { "ok": 1.5 },
        }),
        // Without legs.
        json!({
            "name": "", "home": { "x": 0, "y": 0 }, "color": "red", "marks": [], "shape": "nothing", "names": [],
            "weight": { "err": "light" },
        }),
    ]
}

#[test]
fn every_type_is_taken_and_answered_as_the_document_says() {
    let silo = Silo::with(&["zoo", "counter", "bank"]);
    let client = silo.client();
    let [whole, least] = animals();
    let mut cases = Vec::new();
    let mut zoo = |method: &str, values: &[Value], misfits: &[Value]| {
        for (values, status) in [(values, 200), (misfits, 400)] {
            for value in values {
                cases.extend(called(&client, "zoo", method, &json!([value]), status));
            }
        }
    };
    zoo("echo-bool", &[json!(true), json!(false)], &[json!(0), Value::Null]);
    zoo("echo-u8", &[json!(0), json!(255)], &[json!(256), json!(-1), json!("1")]);
    zoo("echo-u16", &[json!(65535)], &[json!(65536)]);
    zoo("echo-u32", &[json!(u32::MAX)], &[json!(1_u64 << 32), json!("1")]);
    zoo(
        "echo-u64",
        &[json!(u64::MAX), json!("18446744073709551615"), json!("0")],
        &[json!("x"), json!(-1), json!(1.5)],
    );
    zoo("echo-s8", &[json!(-128), json!(127)], &[json!(128)]);
    zoo("echo-s16", &[json!(i16::MIN)], &[json!(40_000)]);
    zoo("echo-s32", &[json!(i32::MIN)], &[json!(1_u64 << 31)]);
    zoo("echo-s64", &[json!(i64::MIN), json!("-9223372036854775808")], &[json!("--1"), json!(u64::MAX)]);
    for method in ["echo-f32", "echo-f64"] {
        zoo(method, &[json!(-0.5), json!(7), json!("NaN"), json!("-Infinity")], &[json!("nan"), json!("1")]);
    }
    zoo("echo-char", &[json!("é"), json!("\u{10ffff}")], &[json!(""), json!("ab")]);
    zoo("echo-string", &[json!(""), json!("a\u{0}é")], &[json!(1)]);
    zoo("echo-list", &[json!([]), json!([1, "2"])], &[json!({}), json!([null])]);
    zoo("echo-strings", &[json!(["", "x"])], &[json!([1])]);
    zoo("echo-bytes", &[json!([0, 255])], &[json!([256])]);
    zoo("echo-tuple", &[json!([1, "x", false])], &[json!([1, "x"]), json!([1, "x", false, 1])]);
    zoo("echo-record", &[json!({ "x": 1, "y": -2 })], &[json!({ "x": 1 }), json!({ "x": 1, "y": 2, "z": 3 })]);
    zoo("echo-nested", &[whole.clone(), least.clone()], &[json!({})]);
    zoo("echo-animals", &[json!([]), json!([whole, least])], &[json!([{}])]);
    let shapes =
        [json!("nothing"), json!({ "circle": 1.5 }), json!({ "rectangle": [1, 2.5] }), json!({ "polygon": [] })];
    zoo("echo-variant", &shapes, &[json!("circle"), json!({ "square": 1 }), json!({})]);
    zoo("echo-enum", &[json!("blue")], &[json!("pink"), json!(1)]);
    zoo("echo-flags", &[json!([]), json!(["winged", "striped"])], &[json!(["winged", "winged"]), json!(["x"])]);
    zoo("echo-option", &[Value::Null, json!(5), json!("5")], &[json!({ "some": 5 })]);
    let nested = [Value::Null, json!({ "some": null }), json!({ "some": 5 })];
    zoo("echo-option-option", &nested, &[json!(5), json!({ "none": null })]);
    zoo("echo-result", &[json!({ "ok": 1 }), json!({ "err": "no" })], &[json!({ "ok": "no" }), json!(1)]);
    zoo("echo-result-ok", &[json!({ "ok": 1 }), json!({ "err": null })], &[json!({ "err": 1 })]);
    zoo("echo-result-err", &[json!({ "ok": null }), json!({ "err": "no" })], &[json!({ "ok": 1 })]);
    zoo("echo-result-bare", &[json!({ "ok": null }), json!({ "err": null })], &[json!("ok"), json!({})]);
    zoo("echo-blob", &[json!(""), json!("AAEC/w==")], &[json!(1)]);
    zoo("bare", &[json!(7)], &[]);
    let [whole, _] = animals();
    cases.extend(called(&client, "zoo", "nothing", &json!([]), 200));
    cases.extend(called(&client, "zoo", "nothing", &json!([1]), 400));
    cases.extend(called(&client, "zoo", "several", &json!([1, "b", [{ "x": 1, "y": 2 }]]), 200));
    cases.extend(called(&client, "zoo", "several", &json!([1, "b"]), 400));
    cases.extend(called(&client, "zoo", "tell", &json!([whole]), 202));
    cases.extend(called(&client, "zoo", "told", &json!([]), 200));
    cases.extend(called(&client, "zoo", "bare-via", &json!(["other", 7]), 200));
    cases.extend(called(&client, "counter", "increment", &json!([u64::MAX]), 200));
    cases.extend(called(&client, "counter", "increment", &json!([1]), 422));
    cases.extend(called(&client, "account", "withdraw", &json!(["7"]), 422));
    // What does not fit a schema that answers must not be taken for one that does.
    let path = "/v1/actors/counter/{key}/increment";
    for (what, value) in [("200", json!({ "err": "overflow" })), ("422", json!({ "ok": 5 })), ("400", json!({}))] {
        cases.push(json!({ "path": path, "what": what, "value": value, "fits": false }));
    }
    let document = document(&silo);
    let tell = &document["paths"]["/v1/actors/zoo/{key}/tell"]["post"]["description"];
    assert_eq!(tell, "A tell with arguments.", "as the SDK embeds it");
    check(&document, &cases);
}

const TALKATIVE: &str = "package test:made;
    interface things {
      /// Where it is.
      record point {
        /// To the east.
        x: s32,
      }
      /// A thing that is touched.
      resource thing {
        constructor(key: string);
        /// Says whether somebody
        /// was there.
        touch: func(at: point) -> result<bool, string>;
      }
    }
    world made { export things; }";

#[test]
fn the_document_follows_each_deploy_and_says_what_the_author_said() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let empty = document(&silo);
    assert_eq!((&empty["openapi"], &empty["paths"]), (&json!("3.1.0"), &json!({})));
    check(&empty, &[]);
    let _ = client.deploy_bytes(&made_with_docs(TALKATIVE), "").expect(200);
    let first = document(&silo);
    let touch = &first["paths"]["/v1/actors/thing/{key}/touch"]["post"];
    assert_eq!(touch["description"], "Says whether somebody\nwas there.", "{touch}");
    assert_eq!(first["tags"], json!([{ "name": "thing", "description": "A thing that is touched." }]));
    let point = &first["components"]["schemas"]["test.made.things.point"];
    assert_eq!(
        (&point["description"], &point["properties"]["x"]["description"]),
        (&json!("Where it is."), &json!("To the east."))
    );
    check(&first, &[]);

    // Another type of the same name, and another kind of the same short name.
    let other = TALKATIVE.replace("package test:made", "package other:made");
    let uses =
        other.replace("record point {", "use other:shared/points.{point as there}; record point { there: there,");
    let shared = "package other:shared { interface points { record point { z: u8 } } }";
    let path = "/v1/deployments?name=other";
    let other = made_of(&format!("{uses} {shared}"));
    let _ = client.send("POST", path, &[("content-type", "application/wasm")], &other).expect(200);
    let second = document(&silo);
    let names: Vec<&String> = second["paths"].as_object().unwrap().keys().collect();
    let full = "/v1/actors/other%3Amade%2Fthings%23thing/{key}/touch";
    assert_eq!(names, [full, "/v1/actors/test%3Amade%2Fthings%23thing/{key}/touch"]);
    let schemas = second["components"]["schemas"].as_object().unwrap();
    for name in ["test.made.things.point", "other.made.things.point", "other.shared.points.point"] {
        assert!(schemas.contains_key(name), "{name}: {:?}", schemas.keys());
    }
    check(&second, &[]);
    // The path is served as it stands there; the code behind it traps.
    let body = json!([{ "there": { "z": 1 }, "x": 1 }]).to_string();
    let answer =
        client.send("POST", &full.replace("{key}", "a"), &[("content-type", "application/json")], body.as_bytes());
    let answer = answer.expect(502).json();
    check(&second, &[json!({ "path": full, "what": "502", "value": answer, "fits": true })]);
}
