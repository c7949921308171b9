//! Bad input gets a clear answer, and nothing is lost.

use quark_e2e::{Client, Silo, component, encoded};
use serde_json::json;

/// Whatever came before, the actor still has what it had.
#[track_caller]
fn check_unharmed(client: &Client) {
    let _ = client.get("/readyz").expect(200);
    assert_eq!(client.call("counter/kept", "value", &json!([])).number(), 7);
}

fn with_counter() -> (Silo, Client) {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/kept", "increment", &json!([7])).number(), 7);
    (silo, client)
}

#[test]
fn what_is_no_actor_component_is_refused_by_reason() {
    let (_silo, client) = with_counter();
    let whole = component("counter");
    let cases: [(&str, &[u8], &str); 7] = [
        ("empty", b"", "empty"),
        ("text", b"hello, this is no component", "not WebAssembly"),
        ("three bytes", b"\0as", ""),
        ("a core module", b"\0asm\x01\0\0\0", "metadata"),
        ("a component without kinds", b"\0asm\x0d\0\x01\0", "no actor kind"),
        ("half a component", &whole[..whole.len() / 2], "truncated"),
        ("all but a byte", &whole[..whole.len() - 1], "truncated"),
    ];
    for (what, bytes, about) in cases {
        let failure = client.deploy_bytes(bytes, "").failure(400, "bad-component");
        assert!(failure["message"].as_str().unwrap().contains(about), "{what}: {failure}");
        assert!(failure["next"].is_string(), "{what}: {failure}");
    }
    let mut flipped = whole.clone();
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        flipped[at] ^= 0x55;
        let answer = client.deploy_bytes(&flipped, "");
        // A flipped byte of the data, or of a name, may well be as good as before.
        assert!(answer.status == 200 || answer.status == 400, "{}", answer.text());
    }
    client.deploy("counter", "");
    check_unharmed(&client);
}

#[test]
fn an_upload_beyond_the_limit_is_refused_before_it_is_sent() {
    let (silo, client) = with_counter();
    let token = client.token.clone().unwrap();
    let head = format!(
        "POST /v1/deployments HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/wasm\r\ncontent-length: {}\r\nconnection: close\r\n\r\n\0asm",
        client.address,
        200 << 20
    );
    let answer = client.raw(head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("body-too-large"), "{answer}");

    let file = silo.folder().join("huge.wasm");
    std::fs::File::create(&file).unwrap().set_len(200 << 20).unwrap();
    let ran = silo.cli(&["deploy", file.to_str().unwrap()]).exits(2);
    assert!(ran.stderr.contains("is over"), "{ran:?}");
    check_unharmed(&client);
}

#[test]
fn an_upload_that_breaks_off_changes_nothing() {
    let (_silo, client) = with_counter();
    let token = client.token.clone().unwrap();
    let mut stream = std::net::TcpStream::connect(&client.address).unwrap();
    let head = format!(
        "POST /v1/deployments?name=broken HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/wasm\r\ncontent-length: {}\r\n\r\n\0asm",
        client.address,
        1 << 20
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    drop(stream);
    let kinds = client.get("/v1/kinds").expect(200).json();
    assert_eq!(kinds["kinds"].as_array().unwrap().len(), 1, "{kinds}");
    check_unharmed(&client);
}

#[test]
fn a_manifest_that_cannot_be_used_is_refused_by_place() {
    let (_silo, client) = with_counter();
    let bytes = component("counter");
    for (manifest, about) in [
        ("[actor]\nidle-timeot = \"1s\"\n", "idle-timeot"),
        ("[actors]\n", "actors"),
        ("[actor\n", "1"),
        ("[actor]\nidle-timeout = \"soon\"\n", "idle-timeout"),
        ("[actor]\nidle-timeout = 5\n", "idle-timeout"),
        ("[actor.mailbox]\ncapacity = 0\n", "capacity"),
        ("[actor.limits]\nmemory = \"1TiB\"\n", "memory"),
        ("[[actor]]\nname = \"conter\"\n", "conter"),
        ("[actor]\nplacement = \"local\"\n", "placement"),
    ] {
        let failure = client.deploy_bytes(&bytes, manifest).failure(400, "bad-manifest");
        assert!(failure["message"].as_str().unwrap().contains(about), "{manifest}: {failure}");
    }
    let headers = [("content-type", "application/wasm"), ("quark-manifest", "not base64!")];
    let answer = client.send("POST", "/v1/deployments", &headers, &bytes);
    let _ = answer.failure(400, "bad-manifest");
    assert_eq!(client.get("/v1/kinds").expect(200).json()["kinds"][0]["version"], 1);
    check_unharmed(&client);
}

#[test]
fn names_that_are_not_there_come_with_the_nearest() {
    let (_silo, client) = with_counter();
    let failure = client.call("conter/a", "value", &json!([])).failure(404, "no-such-kind");
    assert!(failure["next"].as_str().unwrap().contains("`counter`"), "{failure}");
    let failure = client.call("zzz/a", "value", &json!([])).failure(404, "no-such-kind");
    assert!(failure["next"].is_string(), "{failure}");
    let failure = client.call("counter/kept", "incremen", &json!([1])).failure(404, "no-such-method");
    assert!(failure["next"].as_str().unwrap().contains("`increment`"), "{failure}");
    let _ = client.call("counter/kept", "zzz", &json!([])).failure(404, "no-such-method");
    let _ = client.get("/v1/nothing").failure(404, "no-such-route");
    let _ = client.send("DELETE", "/v1/kinds", &[], b"").failure(405, "wrong-method");
    check_unharmed(&client);
}

#[test]
fn arguments_that_do_not_fit_are_refused_with_the_type() {
    let (_silo, client) = with_counter();
    let deep = "[".repeat(10_000);
    let closed = format!("{deep}{}", "]".repeat(10_000));
    for text in [
        r#"["x"]"#,
        "[]",
        "[1, 2]",
        "[-1]",
        "[1.5]",
        "[null]",
        "[18446744073709551616]",
        "[1e30]",
        "{}",
        "5",
        "[1",
        "[1] 2",
        "nonsense",
        deep.as_str(),
        closed.as_str(),
    ] {
        let shown: String = text.chars().take(40).collect();
        let failure = client.call_text("counter/kept", "increment", text).failure(400, "bad-arguments");
        assert!(failure["next"].as_str().is_some_and(|next| next.contains("by: u64")), "{shown}: {failure}");
    }
    for text in [r#""x""#, "", "1, 2", "-1", "1.5", "18446744073709551616", "{}", "(", "some(1)", deep.as_str()] {
        let shown: String = text.chars().take(40).collect();
        let failure = client.wave("counter/kept", "increment", text).failure(400, "bad-arguments");
        assert!(failure["next"].as_str().is_some_and(|next| next.contains("by: u64")), "{shown}: {failure}");
    }
    let path = "/v1/actors/counter/kept/increment";
    let answer = client.send("POST", path, &[("content-type", "application/json")], b"[\xff]");
    let _ = answer.failure(400, "bad-arguments");
    let _ = client.call("counter/kept", "reset", &json!([1])).failure(400, "bad-arguments");
    // `tell` is for methods without a result only.
    let answer = client.send("POST", &format!("{path}?tell=true"), &[("content-type", "application/json")], b"[1]");
    assert_eq!(answer.status, 400, "{}", answer.text());
    check_unharmed(&client);
}

#[test]
fn a_mistake_deep_inside_is_shown_by_its_path() {
    let silo = Silo::with(&["zoo"]);
    let client = silo.client();
    let animals = r#"[[{"name": "a", "home": {"x": 1, "y": "2"}}]]"#;
    let failure = client.call_text("zoo/z", "echo-animals", animals).failure(400, "bad-arguments");
    assert!(failure["message"].as_str().unwrap().contains("it[0].home.y, byte 38"), "{failure}");
    let animal = r#"{name: "a", home: {x: 1, y: "2"}}"#;
    let ran = silo.cli(&["call", "zoo/z", "echo-nested", animal]).exits(2);
    assert!(ran.stderr.contains("it.home.y, byte 28"), "{ran:?}");
}

#[test]
fn keys_are_checked_and_any_text_will_do() {
    let (_silo, client) = with_counter();
    let call = |key: &str| {
        let path = format!("/v1/actors/counter/{key}/increment");
        client.send("POST", &path, &[("content-type", "application/json")], b"[1]")
    };
    let empty = call("");
    let _ = empty.failure(400, "bad-key");
    let long = call(&"k".repeat(513));
    let _ = long.failure(400, "bad-key");
    let umlauts = call(&"%C3%A4".repeat(257));
    let _ = umlauts.failure(400, "bad-key");
    let not_utf8 = call("%FF");
    let _ = not_utf8.failure(400, "bad-key");
    assert_eq!(call(&"k".repeat(512)).number(), 1);
    // Each is an actor of its own.
    for key in
        ["a/b", "a", "a/", "/", "#", "a#b", "%", "%2F", "a b", " ", ".", "..", "-", "?", "a?b=c", "+", "ä", "\u{1F600}"]
    {
        assert_eq!(call(&encoded(key)).number(), 1, "{key:?}");
        assert_eq!(client.inspect(&format!("counter/{key}"))["key"], key);
    }
    check_unharmed(&client);
}

#[test]
fn what_administers_needs_the_token() {
    let (silo, client) = with_counter();
    let mut wrong = silo.stranger();
    wrong.token = Some(client.token.as_ref().unwrap().chars().rev().collect());
    for one in [silo.stranger(), wrong] {
        for (method, path) in [
            ("GET", "/v1/kinds"),
            ("GET", "/v1/activations"),
            ("GET", "/v1/dead-letters"),
            ("GET", "/v1/actors/counter/kept"),
            ("POST", "/v1/deployments"),
            ("POST", "/v1/actors/counter/kept/-/deactivate"),
            ("GET", "/v1/actors/counter/kept/-/state/state"),
            ("PUT", "/v1/actors/counter/kept/-/state/state"),
            ("DELETE", "/v1/actors/counter/kept/-/state/state"),
        ] {
            let answer = one.send(method, path, &[], b"");
            assert!(answer.failure(401, "unauthorized")["next"].is_string());
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let _ = silo.stranger().get(path).expect(200);
    }
    check_unharmed(&client);
}

#[test]
fn the_token_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let silo = Silo::start(&[]);
    let mode = std::fs::metadata(silo.data().join("admin-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn requests_that_a_web_page_could_send_are_refused() {
    let (_silo, client) = with_counter();
    let request = |host: &str, content_type: &str| {
        let request = format!(
            "POST /v1/actors/counter/kept/increment HTTP/1.1\r\n{host}{content_type}content-length: 3\r\nconnection: \
             close\r\n\r\n[1]"
        );
        client.raw(request.as_bytes())
    };
    let (own, json) = (format!("host: {}\r\n", client.address), "content-type: application/json\r\n");
    for host in ["host: evil.example\r\n", "host: evil.example:7070\r\n", &format!("{own}host: evil.example\r\n")] {
        let answer = request(host, json);
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("bad-host"), "{answer}");
    }
    for content_type in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"] {
        let answer = request(&own, content_type);
        assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains("bad-content-type"), "{answer}");
    }
    let answer = client.send("POST", "/v1/deployments", &[("content-type", "text/plain")], b"x");
    let _ = answer.failure(415, "bad-content-type");
    check_unharmed(&client);
}

#[test]
fn a_silo_for_others_does_not_start_without_a_token() {
    let silo = Silo::new();
    let mut command = quark_e2e::quark(silo.folder());
    command.args(["silo", "--http", "0.0.0.0:0", "--data"]).arg(silo.data());
    let ran = quark_e2e::run(command).exits(2);
    assert!(ran.stderr.contains("token"), "{ran:?}");
}

#[test]
fn heads_beyond_the_bounds_are_told_so() {
    let (_silo, client) = with_counter();
    let long = format!("/v1/actors/counter/kept/value?{}", "q".repeat(20_000));
    let _ = client.get(&long).failure(414, "target-too-long");
    let (host, large) = (&client.address, "x".repeat(170_000));
    let answer = client
        .raw(format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nx: {large}\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("head-too-large"), "{answer}");
    assert!(client.raw(b"no HTTP at all\r\n\r\n").starts_with("HTTP/1.1 400 "));
    check_unharmed(&client);
}
