//! Administration, and who may do it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const WASM: &str = "Content-Type: application/wasm";
const DEPLOY: &str = "POST /v1/deployments?name=n";

#[tokio::test]
async fn every_admin_route_takes_the_token() {
    let silo = start().await;
    let state = "/v1/actors/c/k/-/state/v";
    for line in [
        DEPLOY,
        "GET /v1/kinds",
        "GET /v1/versions",
        "GET /v1/activations",
        "GET /v1/dead-letters",
        "GET /v1/tree",
        "GET /v1/tree/c/k",
        "GET /v1/actors/c/k",
        "GET /v1/actors/c/k/-/journal",
        "GET /v1/actors/c/k/-/journal/at?sequence=1",
        "GET /v1/trace",
        "GET /v1/trace/c",
        "GET /v1/trace/c/k",
        "PUT /v1/trace/c",
        "DELETE /v1/trace/c",
        "POST /v1/actors/c/k/-/deactivate",
        "POST /v1/actors/c/k/-/stop",
        "POST /v1/actors/c/k/-/start",
        &format!("GET {state}"),
        &format!("PUT {state}"),
        &format!("DELETE {state}"),
    ] {
        for header in [
            &[][..],
            &["Authorization: Bearer wrong"],
            &["Authorization: Basic 0123456789abcdef-token"],
            &["Authorization: Bearer 0123456789abcdef-toke"],
            &["Authorization: "],
        ] {
            let answer = silo.ask(line, header, "").await;
            assert_eq!((answer.status, answer.code().as_str()), (401, codes::UNAUTHORIZED), "{line}");
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        }
        assert_ne!(silo.admin(line, &[], "").await.status, 401, "{line}");
    }
}

#[tokio::test]
async fn beyond_loopback_only_the_probes_are_open() {
    let silo = start_with(Fake::default(), |config| config.address = "0.0.0.0:0".parse().unwrap()).await;
    for line in ["POST /v1/actors/c/k/echo", "GET /openapi.json", "GET /metrics", "GET /nowhere", "PATCH /v1/kinds"] {
        assert_eq!(silo.json(line, "").await.status, 401, "{line}");
    }
    assert_eq!(silo.ask("GET /healthz", &[], "").await.status, 200);
    assert_eq!(silo.ask("GET /readyz", &[], "").await.status, 200);
    let echo = silo.admin("POST /v1/actors/c/k/echo", &["Content-Type: application/json"], "").await;
    assert_eq!(echo.status, 200);
    let weak = GatewayConfig::new("0.0.0.0:0".parse().unwrap(), "");
    let refused = Gateway::bind(weak, Arc::new(Fake::default())).await;
    assert!(matches!(refused, Err(crate::gateway::BindError::NoToken(_))));
}

#[tokio::test]
async fn a_deploy_carries_component_name_and_manifest() {
    let silo = start().await;
    let manifest = format!("quark-manifest: {}", STANDARD.encode("[actor]\nname = \"é\""));
    let answer = silo.admin(DEPLOY, &[WASM, &manifest], "\0asm....").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let report = answer.json();
    assert_eq!((&report["name"], &report["bytes"]), (&json!("n"), &json!(8)));
    assert_eq!(report["asks"], json!(["[actor]\nname = \"é\""]));
    let flagged = silo.admin(&format!("{DEPLOY}&allow-breaking=true&force=true"), &[WASM], "\0asm").await.json();
    assert_eq!((&flagged["breaks"], &flagged["asks_newly"]), (&json!(["breaking"]), &json!(["force"])));
    let careful = silo.admin(&format!("{DEPLOY}&force=false"), &[WASM], "\0asm").await.json();
    assert_eq!((&careful["breaks"], &careful["asks_newly"]), (&json!([]), &json!([])));
    let large = format!("quark-manifest: {}", STANDARD.encode("x".repeat(64 << 10)));
    assert_eq!(silo.admin(DEPLOY, &[WASM, &large], "x").await.status, 200, "64 KiB just fit");
    let larger = format!("quark-manifest: {}", STANDARD.encode("x".repeat((64 << 10) + 1)));
    for bad in [larger.as_str(), "quark-manifest: ?", "quark-manifest: //4="] {
        let answer = silo.admin(DEPLOY, &[WASM, bad], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, codes::BAD_MANIFEST));
    }
    let untyped = silo.admin(DEPLOY, &[], "").await;
    assert_eq!((untyped.status, untyped.code().as_str()), (415, codes::BAD_CONTENT_TYPE));
}

#[tokio::test]
async fn uploads_that_end_early_or_grow_too_large_deploy_nothing() {
    let silo = start_with(Fake::default(), |config| config.bounds.component_bytes = 1 << 20).await;
    let head = format!(
        "{DEPLOY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n{WASM}\r\n"
    );
    let mut stream = silo.connect().await;
    stream.write_all(format!("{head}Content-Length: 1000\r\n\r\nonly this").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, codes::BAD_REQUEST), "{answer:?}");
    assert!(answer.body.contains("after 9 of 1000 bytes"), "{}", answer.body);

    // The whole body is sent, and the answer to the head alone still arrives.
    let answer = silo.admin(DEPLOY, &[WASM], &"x".repeat(8 << 20)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, codes::BODY_TOO_LARGE));

    let mut stream = silo.connect().await;
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..32 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, codes::BODY_TOO_LARGE));
    assert_eq!(silo.fake.deploys.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn lists_take_a_kind_and_a_limit() {
    let silo = start().await;
    let first = |answer: Answer| answer.json()["activations"][0].clone();
    let some = first(silo.admin("GET /v1/activations?kind=counter&limit=7", &[], "").await);
    assert_eq!((&some["kind"], &some["key"]), (&json!("counter"), &json!("7")));
    let all = first(silo.admin("GET /v1/activations?kind=", &[], "").await);
    assert_eq!((&all["kind"], &all["key"]), (&json!("all"), &json!("1000")));
    for bad in ["limit=0", "limit=10001", "limit=-1", "size=3"] {
        let answer = silo.admin(&format!("GET /v1/activations?{bad}"), &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, codes::BAD_REQUEST), "{bad}");
    }
    let versions = silo.admin("GET /v1/versions?kind=counter", &[], "").await.json();
    assert_eq!(versions["versions"][0]["deployment"], "counter");
    assert_eq!(silo.admin("GET /v1/versions?kinds=x", &[], "").await.status, 400);
    assert_eq!(silo.admin("GET /v1/kinds", &[], "").await.json(), json!({"kinds": []}));
    assert_eq!(silo.admin("GET /v1/dead-letters", &[], "").await.json(), json!({"dead_letters": []}));
}

#[tokio::test]
async fn trees_are_all_of_them_or_one() {
    let silo = start().await;
    let all = silo.admin("GET /v1/tree?limit=7", &[], "").await.json();
    let root = json!({"kind": "all", "key": "all", "lifetime": "", "state": "", "restarts": 0});
    assert_eq!(all, json!({"roots": [root], "truncated": true}));
    let one = silo.admin("GET /v1/tree/s:c%2Fcs%23crew/a%2Fb", &[], "").await.json();
    assert_eq!((&one["roots"][0]["kind"], &one["roots"][0]["key"]), (&json!("s:c/cs#crew"), &json!("a/b")));
    assert_eq!(one["truncated"], false);
    for bad in ["?limit=0", "?limit=10001", "?depth=1", "/c/k?limit=x"] {
        let answer = silo.admin(&format!("GET /v1/tree{bad}"), &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, codes::BAD_REQUEST), "{bad}");
    }
    for (line, status, code) in [
        ("GET /v1/tree/nothing/k", 404, codes::NO_SUCH_KIND),
        ("GET /v1/tree/c/", 400, codes::BAD_KEY),
        ("GET /v1/tree/c/%FF", 400, codes::BAD_KEY),
        ("GET /v1/tree/c", 404, "no-such-route"),
        ("POST /v1/tree", 405, "wrong-method"),
    ] {
        let answer = silo.admin(line, &[], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{line}");
    }
}

#[tokio::test]
async fn state_is_bytes_under_an_etag() {
    let silo = start().await;
    let path = "/v1/actors/c/k/-/state/a%2Fb";
    let missing = silo.admin(&format!("GET {path}"), &[], "").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, codes::NOT_FOUND));
    let put = silo.admin(&format!("PUT {path}"), &["If-Match: \"e-1\""], "bytes").await;
    assert_eq!((put.status, put.header("etag")), (204, Some("\"e-1\"")));
    let got = silo.admin(&format!("GET {path}"), &[], "").await;
    assert_eq!((got.status, got.body.as_str(), got.header("etag")), (200, "bytes", Some("\"e-1\"")));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    let stale = silo.admin(&format!("DELETE {path}"), &["If-Match: \"e-0\""], "").await;
    assert_eq!((stale.status, stale.code().as_str()), (412, codes::CONFLICT));
    assert_eq!(silo.admin(&format!("DELETE {path}"), &[], "").await.status, 204);
    assert_eq!(silo.admin(&format!("GET {path}"), &[], "").await.status, 404);
}

#[tokio::test]
async fn actors_are_inspected_and_sent_away() {
    let silo = start().await;
    let inspected = silo.admin("GET /v1/actors/c/a%2Fb", &[], "").await;
    assert_eq!((inspected.status, inspected.json()["error"]["message"].clone()), (404, json!("c a/b")));
    let live = silo.admin("POST /v1/actors/c/live/-/deactivate", &[], "").await;
    assert_eq!((live.status, live.json()), (200, json!({"deactivated": true})));
    let away = silo.admin("POST /v1/actors/c/away/-/deactivate", &[], "").await;
    assert_eq!(away.json(), json!({"deactivated": false}));
    let stopped = silo.admin("POST /v1/actors/c/live/-/stop", &[], "").await;
    assert_eq!((stopped.status, stopped.json()), (200, json!({"stopped": true})));
    let started = silo.admin("POST /v1/actors/c/live/-/start", &[], "").await;
    assert_eq!((started.status, started.json()), (200, json!({"started": false})));
}

#[tokio::test]
async fn a_deploy_that_has_begun_ends_without_its_client() {
    let silo = start_with(Fake::default(), |config| config.bounds.connections = 1).await;
    let mut stream = silo.connect().await;
    let head = format!(
        "POST /v1/deployments?name=slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{WASM}\r\n\
         Content-Length: 1\r\n\r\nx"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    silo.slow_begun().await;
    drop(stream);
    // The one connection is free again once the gateway has let go of the client.
    until("the client is gone", async || silo.ask("GET /healthz", &[], "").await.status == 200).await;
    assert_eq!(silo.fake.deploys.load(Ordering::Relaxed), 0);
    silo.fake.go.send_replace(true);
    until("the deploy ends", async || silo.fake.deploys.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn what_happened_is_asked_for_by_kind_actor_and_moment() {
    let silo = start().await;
    let turns = async |path: &str| {
        let answer = silo.admin(&format!("GET /v1/trace{path}"), &[], "").await;
        answer.json()["turns"][0]["actor"].as_str().unwrap().to_owned()
    };
    assert_eq!(turns("").await, "TurnsWanted { kind: None, key: None, limit: 1000, after: None }");
    let kind = turns("/a%3Ab%2Fc%23d?limit=5&after=9").await;
    assert_eq!(kind, "TurnsWanted { kind: Some(\"a:b/c#d\"), key: None, limit: 5, after: Some(9) }");
    assert_eq!(turns("/k/on").await, "TurnsWanted { kind: Some(\"k\"), key: Some(\"on\"), limit: 1000, after: None }");
    assert_eq!(silo.admin("PUT /v1/trace/k", &[], "").await.json(), json!({ "kind": "k true", "traced": true }));
    assert_eq!(silo.admin("DELETE /v1/trace/k", &[], "").await.json(), json!({ "kind": "k false", "traced": false }));
    for (path, status, says) in [
        ("/v1/actors/k/a/-/journal/at?sequence=3", 404, "k a Sequence(3)"),
        ("/v1/actors/k/a/-/journal/at?at_ms=3", 404, "k a Time(3)"),
        ("/v1/actors/k/a/-/journal/at", 400, "for which moment"),
        ("/v1/actors/k/a/-/journal/at?at_ms=3&sequence=3", 400, "for which moment"),
        ("/v1/actors/k/a/-/journal/at?sequence=x", 400, "sequence"),
        ("/v1/trace/k/", 400, "the key is empty"),
        ("/v1/trace/k?limit=0", 400, "limit=0"),
    ] {
        let answer = silo.admin(&format!("GET {path}"), &[], "").await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, status, "{path} {message}");
        assert!(message.contains(says), "{path} {message}");
    }
}

#[tokio::test]
async fn a_large_upload_learns_why_it_is_refused() {
    let silo = start().await;
    let answer = silo.ask(DEPLOY, &[WASM, "Authorization: Bearer wrong"], &"x".repeat(32 << 20)).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, codes::UNAUTHORIZED));
    let answer = silo.admin(DEPLOY, &[WASM], &"x".repeat(140 << 20)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, codes::BODY_TOO_LARGE));
}

#[tokio::test]
async fn an_upload_that_does_not_say_its_length_is_cut_off_at_the_limit() {
    let silo = start_with(Fake::default(), |config| config.bounds.component_bytes = 100_000).await;
    let upload = async |chunks: usize, end: &str| {
        let mut stream = silo.connect().await;
        let head = format!(
            "{DEPLOY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n{WASM}\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        let body = format!("c350\r\n{}\r\n", "x".repeat(50_000)).repeat(chunks);
        stream.write_all(format!("{head}{body}{end}").as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    };
    assert_eq!(upload(2, "0\r\n\r\n").await.json()["bytes"], 100_000);
    // It never ends, and is answered all the same.
    let endless = upload(3, "").await;
    assert_eq!((endless.status, endless.code().as_str()), (413, codes::BODY_TOO_LARGE));
    for broken in ["zz\r\n", "5\r\nxx\r\n0\r\n\r\n"] {
        let answer = upload(1, broken).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, codes::BAD_REQUEST), "{broken:?}");
    }
    assert_eq!(silo.fake.deploys.load(Ordering::Relaxed), 1);
}
