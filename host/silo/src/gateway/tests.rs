//! The gateway through real sockets, before a service that plays the silo.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::{Gateway, GatewayConfig, Service};
use crate::api::{
    ActivationReport, ActorReport, Contract, DeadLetter, DeployReport, DeployRequest, Failure, Format, Health,
    JournalPage, JournalState, KindReport, LettersWanted, Moment, ReminderOperation, ReminderReport, ReminderReports,
    Reply, Request, StateOperation, StateValue, TraceReport, TreeNode, TreeReport, TurnReport, TurnsWanted,
    VersionReport, codes,
};

mod admin;
mod calls;
mod edges;

const TOKEN: &str = "0123456789abcdef-token";

/// Does what the method's name says.
#[derive(Default)]
struct Fake {
    deploys: AtomicUsize,
    /// How many of the slow ones have begun, and whether they may end.
    slow: AtomicUsize,
    go: watch::Sender<bool>,
    value: Mutex<Option<Vec<u8>>>,
    unready: bool,
}

impl Service for Fake {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let text = request.arguments.clone();
            match request.method.as_str() {
                "echo" => Ok(Reply::Ok(text)),
                "err" => Ok(Reply::Err("err(overflow)".into())),
                "reset" => Ok(Reply::Accepted("t-1".into())),
                "slow" => {
                    self.wait_to_go().await;
                    Ok(Reply::Ok("\"late\"".into()))
                }
                "big" => Ok(Reply::Ok("x".repeat(64 << 20))),
                "panic" => panic!("a defect on purpose"),
                "show" => Ok(Reply::Ok(show(&request).to_string())),
                other => match other.strip_prefix("fail-") {
                    Some(code) => Err(Failure { retry_after_ms: Some(1500), ..Failure::new(code, "no") }),
                    None => Err(Failure::new(codes::NO_SUCH_METHOD, other)),
                },
            }
        })
    }

    fn deploy(&self, request: DeployRequest) -> BoxFuture<'_, Result<DeployReport, Failure>> {
        Box::pin(async move {
            if request.name.as_deref() == Some("slow") {
                self.wait_to_go().await;
            }
            self.deploys.fetch_add(1, Ordering::Relaxed);
            Ok(DeployReport {
                name: request.name.unwrap_or_default(),
                version: 1,
                hash: String::new(),
                unchanged: false,
                bytes: request.component.len() as u64,
                compile_ms: 3,
                cached: false,
                kinds: self.kinds(),
                asks: request.manifest.into_iter().collect(),
                asks_newly: request.force.then(|| "force".into()).into_iter().collect(),
                breaks: request.allow_breaking.then(|| "breaking".into()).into_iter().collect(),
                warnings: Vec::new(),
            })
        })
    }

    fn kinds(&self) -> Vec<KindReport> {
        Vec::new()
    }

    fn deployed(&self) -> u64 {
        self.deploys.load(Ordering::Relaxed) as u64
    }

    fn contract(&self) -> Contract {
        Contract::default()
    }

    fn versions<'a>(&'a self, kind: Option<&'a str>) -> BoxFuture<'a, Result<Vec<VersionReport>, Failure>> {
        let version = VersionReport {
            deployment: kind.unwrap_or("all").to_owned(),
            version: 1,
            hash: String::new(),
            at_ms: 0,
            current: true,
            live: 0,
            kinds: Vec::new(),
        };
        Box::pin(async { Ok(vec![version]) })
    }

    fn activations(&self, kind: Option<&str>, limit: usize) -> Result<Vec<ActivationReport>, Failure> {
        let (kind, key) = (kind.unwrap_or("all").to_owned(), limit.to_string());
        Ok(vec![ActivationReport { kind, key, phase: "awake".into(), waiting: 0, idle_ms: 0, turns: 1 }])
    }

    fn inspect(&self, kind: &str, key: &str) -> BoxFuture<'_, Result<ActorReport, Failure>> {
        let failure = Failure::new(codes::NO_SUCH_KIND, format!("{kind} {key}"));
        Box::pin(async { Err(failure) })
    }

    fn journal<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<JournalPage, Failure>> {
        let failure = Failure::new(codes::NO_SUCH_KIND, format!("{kind} {key} {first} {limit}"));
        Box::pin(async { Err(failure) })
    }

    fn journal_at<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        moment: Moment,
    ) -> BoxFuture<'a, Result<JournalState, Failure>> {
        let failure = Failure::new(codes::NO_SUCH_EVENT, format!("{kind} {key} {moment:?}"));
        Box::pin(async { Err(failure) })
    }

    fn state(
        &self,
        _: &str,
        _: &str,
        name: &str,
        operation: StateOperation,
        if_match: Option<String>,
    ) -> BoxFuture<'_, Result<StateValue, Failure>> {
        let known = name == "a/b" || name == "value";
        Box::pin(async move {
            if !known {
                return Ok(StateValue { bytes: None, etag: None });
            }
            if if_match.is_some_and(|etag| etag != "e-1") {
                return Err(Failure::new(codes::CONFLICT, "the e-tag is e-1"));
            }
            let mut value = self.value.lock();
            match operation {
                StateOperation::Get => {}
                StateOperation::Set(bytes) => *value = Some(bytes),
                StateOperation::Delete => *value = None,
                StateOperation::Stop | StateOperation::Start => return Ok(StateValue { bytes: None, etag: None }),
            }
            Ok(StateValue { bytes: value.clone(), etag: Some("e-1".into()) })
        })
    }

    fn deactivate(&self, _: &str, key: &str) -> BoxFuture<'_, Result<bool, Failure>> {
        let live = key == "live";
        Box::pin(async move { Ok(live) })
    }

    fn set_stopped(&self, _: &str, key: &str, stop: bool) -> BoxFuture<'_, Result<bool, Failure>> {
        let changes = (key == "live") == stop;
        Box::pin(async move { Ok(changes) })
    }

    fn tree<'a>(
        &'a self,
        root: Option<(&'a str, &'a str)>,
        limit: usize,
    ) -> BoxFuture<'a, Result<TreeReport, Failure>> {
        let (kind, key) = root.unwrap_or(("all", "all"));
        let root = TreeNode { kind: kind.into(), key: key.into(), ..TreeNode::default() };
        Box::pin(async move {
            if kind == "nothing" {
                return Err(Failure::new(codes::NO_SUCH_KIND, kind));
            }
            Ok(TreeReport { roots: vec![root], truncated: limit == 7 })
        })
    }

    fn reminders<'a>(
        &'a self,
        of: Option<(&'a str, &'a str)>,
        limit: usize,
    ) -> BoxFuture<'a, Result<ReminderReports, Failure>> {
        let (kind, key) = of.unwrap_or(("all", "all"));
        let one = ReminderReport {
            actor: format!("{kind}/{key}"),
            name: "r".into(),
            schedule: "once".into(),
            missed: "skip".into(),
            due_ms: 1,
            next_ms: 2,
            tries: 0,
            payload_bytes: 0,
        };
        Box::pin(async move { Ok(ReminderReports { reminders: vec![one], truncated: limit == 7 }) })
    }

    fn reminder<'a>(
        &'a self,
        _: (&'a str, &'a str),
        name: &'a str,
        operation: ReminderOperation,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let there = name == "a/b" && operation == ReminderOperation::Delete || name == "r";
        Box::pin(async move { if there { Ok(()) } else { Err(Failure::new(codes::NOT_FOUND, name)) } })
    }

    fn dead_letters(&self, _: &LettersWanted) -> Result<Vec<DeadLetter>, Failure> {
        Ok(Vec::new())
    }

    fn trace(&self, wanted: &TurnsWanted) -> Result<TraceReport, Failure> {
        let turn = TurnReport { actor: format!("{wanted:?}"), ..TurnReport::default() };
        Ok(TraceReport { turns: vec![turn], ..TraceReport::default() })
    }

    fn set_traced(&self, kind: &str, yes: bool) -> Result<String, Failure> {
        Ok(format!("{kind} {yes}"))
    }

    fn health(&self) -> Health {
        let problems = if self.unready { vec!["the disk is full".into()] } else { Vec::new() };
        Health { ready: !self.unready, problems, version: "0".into(), live: 0, capacity: 9 }
    }

    fn metrics(&self) -> String {
        "quark_live 0\n".into()
    }
}

impl Fake {
    async fn wait_to_go(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
        let _ = self.go.subscribe().wait_for(|go| *go).await;
    }
}

fn show(request: &Request) -> Value {
    json!({
        "kind": request.kind, "key": request.key, "arguments": request.arguments,
        "json": request.format == Format::Json, "timeout_ms": request.timeout_ms,
        "request_id": request.request_id, "headers": request.headers, "tell": request.tell,
    })
}

/// A gateway that serves until it is told to stop.
struct Running {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn start() -> Running {
    start_with(Fake::default(), |_| {}).await
}

async fn start_with(fake: Fake, change: impl FnOnce(&mut GatewayConfig)) -> Running {
    let mut config = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), TOKEN);
    config.allowed_hosts = vec!["localhost".into()];
    change(&mut config);
    let fake = Arc::new(fake);
    let gateway = Gateway::bind(config, Arc::clone(&fake) as Arc<dyn Service>).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.local_address().port()));
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(gateway.serve(async {
        let _ = stopped.await;
    }));
    Running { address, fake, stop, served }
}

/// One answer, taken apart by hand: the tests see what is on the wire.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Running {
    /// Waits until a slow request has begun.
    async fn slow_begun(&self) {
        until("a slow request begins", async || self.fake.slow.load(Ordering::Relaxed) > 0).await;
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection that was served and idles now; none when there was no room for it.
    async fn idle(&self) -> Option<TcpStream> {
        let mut stream = self.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut bytes = Vec::new();
        // All of the answer, or what stays behind would be taken for the next one.
        while !bytes.ends_with(b"}") {
            let read = stream.read_buf(&mut bytes);
            let read = tokio::time::timeout(Duration::from_secs(10), read).await.expect("the gateway answers").unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
        }
        (parse(&bytes).status == 200).then_some(stream)
    }

    /// Sends a request with these headers beside `Host`, and reads the answer to its end.
    async fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let host = format!("Host: localhost:{}", self.address.port());
        self.ask_raw(line, &[&[host.as_str()], headers].concat(), body).await
    }

    async fn ask_raw(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let mut text = format!("{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        let mut stream = self.connect().await;
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    }

    async fn json(&self, line: &str, body: &str) -> Answer {
        self.ask(line, &["Content-Type: application/json"], body).await
    }

    async fn admin(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let token = format!("Authorization: Bearer {TOKEN}");
        self.ask(line, &[&[token.as_str()], headers].concat(), body).await
    }
}

/// Waits until that holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let looks = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looks)
        .await
        .unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Reads until the other side closes.
async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes));
    read.await.expect("the gateway answers or closes").expect("no reset");
    parse(&bytes)
}

/// Reads one answer of a connection that stays, by the length that it says.
async fn read_one(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let answer = parse(&bytes);
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        if bytes.windows(4).any(|end| end == b"\r\n\r\n") && answer.body.len() >= length {
            return answer;
        }
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_buf(&mut bytes));
        let read = read.await.expect("the gateway answers").expect("no reset");
        assert!(read > 0, "the connection ended without notice after {answer:?}");
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
