//! Calls and tells.

use super::*;

const ECHO: &str = "POST /v1/actors/counter/alice/echo";

#[tokio::test]
async fn calls_answer_in_the_type_that_was_sent() {
    let silo = start().await;
    let json = silo.json(ECHO, "[5]").await;
    assert_eq!((json.status, json.body.as_str()), (200, "[5]"));
    assert_eq!(json.header("content-type"), Some("application/json"));
    let wave = silo.ask(ECHO, &["Content-Type: application/vnd.quark.wave; charset=utf-8"], "5, \"é\"").await;
    assert_eq!((wave.status, wave.body.as_str()), (200, "5, \"é\""));
    assert_eq!(wave.header("content-type"), Some("application/vnd.quark.wave"));
    assert_eq!(silo.json(ECHO, "").await.body, "[]", "an empty body is no arguments");
}

#[tokio::test]
async fn own_errors_and_tells_have_their_own_status() {
    let silo = start().await;
    let err = silo.json("POST /v1/actors/counter/alice/err", "").await;
    assert_eq!((err.status, err.body.as_str()), (422, "err(overflow)"));
    assert_eq!(err.header("quark-outcome"), Some("actor-error"));
    let told = silo.json("POST /v1/actors/counter/alice/reset", "").await;
    assert_eq!((told.status, told.json()), (202, json!({"accepted": "t-1"})));
}

#[tokio::test]
async fn the_whole_request_reaches_the_service() {
    let silo = start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = silo
        .ask(
            "POST /v1/actors/sample:counter%2Fcounters%23counter/a%2Fb%20%23%25%C3%A9/show?tell=true",
            &[
                "Content-Type: application/json",
                "quark-timeout-ms: 250",
                "x-request-id: r-7",
                "Quark-Header-Tenant: acme",
                &format!("traceparent: {trace}"),
            ],
            "[1]",
        )
        .await;
    assert_eq!(answer.header("x-request-id"), Some("r-7"));
    let mut seen = answer.json();
    let headers = seen.as_object_mut().and_then(|seen| seen.remove("headers")).unwrap_or_default();
    assert!(headers == json!([["tenant", "acme"], ["traceparent", trace]]), "{headers}");
    let expect = json!({
        "kind": "sample:counter/counters#counter", "key": "a/b #%é", "arguments": "[1]",
        "json": true, "timeout_ms": 250, "request_id": "r-7", "tell": true,
    });
    assert_eq!(seen, expect);
}

#[tokio::test]
async fn a_request_id_is_made_where_none_came() {
    let silo = start().await;
    let answer = silo.json("POST /v1/actors/counter/alice/show", "").await;
    let id = answer.header("x-request-id").unwrap_or_default().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(answer.json()["request_id"], json!(id));
    assert!(silo.ask("GET /nowhere", &[], "").await.header("x-request-id").is_some());
}

#[tokio::test]
async fn heads_that_do_not_fit_are_refused() {
    let silo = start().await;
    let json = "Content-Type: application/json";
    let long = format!("POST /v1/actors/counter/{}/echo", "k".repeat(513));
    let many: Vec<String> = (0..65).map(|n| format!("quark-header-h{n}: v")).collect();
    let many: Vec<&str> = std::iter::once(json).chain(many.iter().map(String::as_str)).collect();
    let cases: &[(&str, &[&str], &str, u16, &str)] = &[
        (ECHO, &[], "", 415, codes::BAD_CONTENT_TYPE),
        (ECHO, &["Content-Type: text/plain"], "[]", 415, codes::BAD_CONTENT_TYPE),
        (ECHO, &[json, "quark-timeout-ms: 0"], "", 400, codes::BAD_REQUEST),
        (ECHO, &[json, "quark-timeout-ms: 5s"], "", 400, codes::BAD_REQUEST),
        (ECHO, &[json, "quark-timeout-ms: 99999999999"], "", 400, codes::BAD_REQUEST),
        (ECHO, &[json, "x-request-id: "], "", 400, codes::BAD_REQUEST),
        (ECHO, &[json, "quark-header-a: 1", "quark-header-A: 2"], "", 400, codes::BAD_REQUEST),
        (ECHO, &many, "", 400, codes::BAD_REQUEST),
        ("POST /v1/actors/counter/a/echo?tel=true", &[json], "", 400, codes::BAD_REQUEST),
        ("POST /v1/actors/counter/a/echo?tell=maybe", &[json], "", 400, codes::BAD_REQUEST),
        ("POST /v1/actors/counter//echo", &[json], "", 400, codes::BAD_KEY),
        ("POST /v1/actors//alice/echo", &[json], "", 400, codes::BAD_REQUEST),
        ("POST /v1/actors/counter/%ff/echo", &[json], "", 400, codes::BAD_KEY),
        ("POST /v1/actors/counter/a/%ff", &[json], "", 400, codes::BAD_KEY),
        (&long, &[json], "", 400, codes::BAD_KEY),
    ];
    for (line, headers, body, status, code) in cases {
        let answer = silo.ask(line, headers, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{line} {headers:?}");
    }
}

#[tokio::test]
async fn bodies_of_any_kind_are_the_engines_to_judge() {
    let silo = start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(silo.json(ECHO, &deep).await.body, deep);
    let large = format!("[\"{}\"]", "x".repeat(65 << 20));
    let answer = silo.json(ECHO, &large).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, codes::BODY_TOO_LARGE));
    let mut stream = silo.connect().await;
    let head = "POST /v1/actors/c/k/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(&[head.as_bytes(), b"\xff\xfe["].concat()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, codes::BAD_ARGUMENTS));
}

#[tokio::test]
async fn failures_have_a_status_and_say_when_to_retry() {
    let silo = start().await;
    for (code, status) in
        [("overloaded", 429), ("no-such-kind", 404), ("deadline-exceeded", 504), ("never-heard-of", 500)]
    {
        let answer = silo.json(&format!("POST /v1/actors/c/k/fail-{code}"), "").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(answer.header("retry-after"), Some("2"), "1500 ms, rounded up");
        let expect = json!({"code": code, "message": "no", "retry_after_ms": 1500, "may_be_done": false});
        assert_eq!(answer.json()["error"], expect);
    }
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let silo = start().await;
    let answer = silo.json("POST /v1/actors/c/k/panic", "").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, codes::INTERNAL));
    assert_eq!(silo.json(ECHO, "").await.status, 200);
}
