//! Hosts, routes, limits, and how connections end.

use super::*;
use crate::gateway::Bounds;

const ECHO: &str = "POST /v1/actors/c/k/echo";
const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn only_known_hosts_are_served() {
    let silo = start_with(Fake::default(), |config| {
        config.allowed_hosts = vec!["Quark.example".into(), "one.example:81".into()];
    })
    .await;
    let port = silo.address.port();
    for host in [
        &format!("localhost:{port}"),
        &format!("LOCALHOST:{port}"),
        &format!("127.0.0.1:{port}"),
        &format!("[::1]:{port}"),
        "quark.example",
        "quark.example:99",
        "one.example:81",
    ] {
        let answer = silo.ask_raw(ECHO, &[&format!("Host: {host}"), JSON], "").await;
        assert_eq!(answer.status, 200, "{host}");
    }
    let evil = format!("localhost.evil.example:{port}");
    for host in ["evil.example", &evil, "localhost", "one.example", "10.0.0.1", "", "x:y", "[::2]"] {
        let answer = silo.ask_raw(ECHO, &[&format!("Host: {host}"), JSON], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, codes::BAD_HOST), "{host}");
    }
    let line = "POST http://evil.example/v1/actors/c/k/echo";
    assert_eq!(silo.ask(line, &[JSON], "").await.code(), codes::BAD_HOST, "an absolute target counts too");
    let twice = silo.ask(ECHO, &["Host: localhost", JSON], "").await;
    assert_eq!(twice.code(), codes::BAD_HOST);
    assert_eq!(silo.ask_raw(ECHO, &[JSON], "").await.code(), codes::BAD_HOST, "none at all");
}

#[tokio::test]
async fn probes_and_metrics_are_open_on_loopback() {
    let silo = start_with(Fake { unready: true, ..Fake::default() }, |_| {}).await;
    let health = silo.ask("GET /healthz", &[], "").await;
    assert_eq!((health.status, health.json()["ready"].clone()), (200, json!(false)), "alive though not ready");
    let ready = silo.ask("GET /readyz", &[], "").await;
    assert_eq!((ready.status, ready.json()["problems"].clone()), (503, json!(["the disk is full"])));
    let metrics = silo.ask("GET /metrics", &[], "").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "quark_live 0\n"));
    assert!(metrics.header("content-type").is_some_and(|mime| mime.starts_with("text/plain; version=0.0.4")));
}

#[tokio::test]
async fn unknown_routes_and_methods_say_what_there_is() {
    let silo = start().await;
    let nowhere = silo.ask("GET /v2/x", &[], "").await;
    assert_eq!((nowhere.status, nowhere.code().as_str()), (404, "no-such-route"));
    assert!(nowhere.body.contains("/v1/deployments"));
    let wrong = silo.ask("GET /v1/actors/c/k/echo", &[], "").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "wrong-method"));
    assert_eq!(wrong.header("allow"), Some("POST"));
    let state = silo.admin("POST /v1/actors/c/k/-/state/v", &[], "").await;
    assert_eq!((state.status, state.header("allow")), (405, Some("GET,HEAD,PUT,DELETE")));
}

#[tokio::test]
async fn garbage_and_huge_heads_end_without_harm() {
    let silo = start().await;
    for garbage in ["\0\x01\x02 nonsense\r\n\r\n".to_owned(), "GET".repeat(100_000), "\r\n".repeat(50)] {
        let mut stream = silo.connect().await;
        let _ = stream.write_all(garbage.as_bytes()).await;
        let _ = stream.shutdown().await;
        let answer = read_answer(&mut stream).await;
        assert!(matches!(answer.status, 0 | 400 | 414 | 431), "{answer:?}");
    }
    let smuggled = silo.ask(ECHO, &[JSON, "Transfer-Encoding: chunked"], "0\r\n\r\n").await;
    assert!(matches!(smuggled.status, 200 | 400), "{smuggled:?}");
    assert_eq!(silo.json(ECHO, "").await.status, 200);
}

#[tokio::test]
async fn heads_beyond_the_bounds_are_told_so_and_far_beyond_them_cut_off() {
    let bounds = Bounds::default();
    let silo = start().await;
    let ask = async |target: usize, fields: usize, bytes: usize| {
        let target = format!("/healthz?{}", "q".repeat(target - "/healthz?".len()));
        let mut head = "a: b\r\n".repeat(fields.saturating_sub(3));
        if bytes > 0 {
            head.push_str(&format!("x: {}\r\n", "y".repeat(bytes)));
        }
        let text = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n");
        let mut stream = silo.connect().await;
        let _ = stream.write_all(text.as_bytes()).await;
        let answer = read_answer(&mut stream).await;
        let code = if answer.body.starts_with(r#"{"error""#) { answer.code() } else { String::new() };
        (answer.status, code)
    };
    let told = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(ask(bounds.target_bytes, 3, 0).await, told(200, ""));
    assert_eq!(ask(bounds.target_bytes + 1, 3, 0).await, told(414, "target-too-long"));
    assert_eq!(ask(70_000, 3, 0).await, told(414, ""), "hyper's own");
    assert_eq!(ask(100, bounds.head_fields, 0).await, told(200, ""));
    assert_eq!(ask(100, bounds.head_fields + 2, 0).await, told(431, "head-too-large"));
    assert_eq!(ask(100, bounds.head_fields * 3, 0).await, told(431, ""), "hyper's own");
    assert_eq!(ask(100, 3, bounds.head_bytes - 200).await, told(200, ""));
    assert_eq!(ask(100, 3, bounds.head_bytes).await, told(431, "head-too-large"));
    assert_eq!(ask(100, 3, bounds.head_bytes * 3).await, told(431, ""), "hyper's own");
    assert_eq!(silo.json(ECHO, "").await.status, 200);
}

#[tokio::test]
async fn slow_heads_slow_bodies_and_idle_connections_are_closed() {
    let silo = start_with(Fake::default(), |config| {
        config.bounds.head_time = Duration::from_millis(200);
        config.bounds.body_pause = Duration::from_millis(200);
    })
    .await;
    for begun in ["", "POST /v1/act"] {
        let mut stream = silo.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        assert!(matches!(read_answer(&mut stream).await.status, 0 | 408), "`{begun}`");
    }
    let mut stream = silo.connect().await;
    let head = format!("{ECHO} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 5\r\n\r\n[");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "slow-body"));
    // A keep-alive connection ends when it idles, after its answer.
    let mut stream = silo.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_connection_outlives_a_refusal_or_its_answer_says_not() {
    let silo = start().await;
    let refused = format!("{ECHO} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nquark-timeout-ms: soon\r\n");
    // A body that comes a moment after its head, and then the next request on the same connection.
    let (mut kept, mut stream) = (0, None);
    for round in 0..100 {
        let mut on = match stream.take() {
            Some(kept) => kept,
            None => silo.connect().await,
        };
        on.set_nodelay(true).unwrap();
        on.write_all(format!("{refused}Content-Length: 3\r\n\r\n").as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        on.write_all(b"[1]").await.unwrap();
        let answer = read_one(&mut on).await;
        assert_eq!(answer.status, 400, "round {round}: {answer:?}");
        // A machine that stands still for a while makes the body one that stays away.
        if answer.header("connection").is_none() {
            on.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            assert_eq!(read_one(&mut on).await.status, 200, "round {round}");
            stream = Some(on);
            kept += 1;
        }
    }
    assert!(kept > 0, "every answer ended its connection");
    // A body that stays away, one that is too much, and one that the client keeps back until it is asked for.
    for head in [
        "Content-Length: 3\r\n\r\n[",
        "Content-Length: 70000000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    ] {
        let mut stream = silo.connect().await;
        stream.write_all(format!("{refused}{head}").as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{head}: {answer:?}");
    }
    // One that cannot be read to its end.
    let mut stream = silo.connect().await;
    let head = format!("{ECHO} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{answer:?}");
    // Whoever is asked for it and sends it keeps its connection.
    let mut stream = silo.connect().await;
    let head =
        format!("{ECHO} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_one(&mut stream).await.status, 100);
    stream.write_all(b"[1]").await.unwrap();
    let answer = read_one(&mut stream).await;
    assert_eq!((answer.status, answer.header("connection")), (200, None), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped() {
    let silo = start_with(Fake::default(), |config| {
        config.bounds.write_pause = Duration::from_millis(200);
        config.bounds.connections = 1;
    })
    .await;
    let mut stream = silo.connect().await;
    let head = format!("POST /v1/actors/c/k/big HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The one connection is free again although this client neither reads nor closes.
    until("the stalled connection is dropped", async || silo.json(ECHO, "").await.status == 200).await;
    drop(stream);
}

#[tokio::test]
async fn connections_and_bodies_beyond_the_limit_are_told_so() {
    let silo = start_with(Fake::default(), |config| {
        config.bounds.connections = 2;
        config.bounds.bodies_bytes = 64 << 10;
    })
    .await;
    let full = silo.json(ECHO, &format!("[\"{}\"]", "x".repeat(80 << 10))).await;
    assert_eq!((full.status, full.code().as_str()), (429, "overloaded"));
    assert_eq!(full.header("retry-after"), Some("1"));
    let mut held = Vec::new();
    while held.len() < 2 {
        // The connection before may still be on its way out.
        held.extend(silo.idle().await);
    }
    let mut third = silo.connect().await;
    let answer = read_answer(&mut third).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    drop(held);
    until("their connections are free", async || silo.json(ECHO, "").await.status == 200).await;
}

#[tokio::test]
async fn stopping_lets_running_requests_end_and_closes_the_rest() {
    let silo = start().await;
    let mut idle = silo.idle().await.unwrap();
    let mut fresh = silo.connect().await;
    let mut slow = silo.connect().await;
    let head = format!("POST /v1/actors/c/k/slow HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 0\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    silo.slow_begun().await;
    let began = tokio::time::Instant::now();
    silo.stop.send(()).unwrap();
    silo.fake.go.send_replace(true);
    assert_eq!(read_answer(&mut slow).await.body, "\"late\"");
    assert_eq!(read_answer(&mut idle).await.status, 0, "it is closed");
    assert_eq!(read_answer(&mut fresh).await.status, 0);
    silo.served.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(TcpStream::connect(silo.address).await.is_err());
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off() {
    let silo = start_with(Fake::default(), |config| config.bounds.grace = Duration::from_millis(50)).await;
    let mut slow = silo.connect().await;
    let head = format!("POST /v1/actors/c/k/slow HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 0\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    silo.slow_begun().await;
    silo.stop.send(()).unwrap();
    silo.served.await.unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let silo = start().await;
    let config = GatewayConfig::new(silo.address, TOKEN);
    let again = Gateway::bind(config, Arc::new(Fake::default())).await;
    assert!(matches!(again, Err(crate::gateway::BindError::Listen { address, .. }) if address == silo.address));
}
