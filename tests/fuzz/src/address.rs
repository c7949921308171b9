//! `KIND/KEY`, and the same in the path of a request: what is named arrives as it was named, in
//! whatever way it is percent-encoded.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use quark_core::id::{KEY_BYTES_MAX, KIND_BYTES_MAX, KindName, split_address};
use quark_silo::api::{
    ActivationReport, ActorReport, Contract, DeadLetter, DeployReport, DeployRequest, Failure, Health, JournalPage,
    JournalState, KindReport, LettersWanted, Moment, ReminderOperation, ReminderReports, Reply, Request,
    StateOperation, StateValue, TraceReport, TreeReport, TurnsWanted, VersionReport, codes,
};
use quark_silo::gateway::fuzzing::Unconnected;
use quark_silo::gateway::{GatewayConfig, Service};

use crate::wire::{ADDRESS, HOST, RUNTIME, TOKEN, answers, check};

/// The longest text of an error.
const ERROR_BYTES_MAX: usize = 600;

/// An address as text, and the path of a request.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match split_address(&text) {
        Ok((kind, key)) => {
            let key = key.as_str();
            assert_eq!(format!("{kind}/{key}"), text, "nothing is lost between kind and key");
            check_bounds(kind, key);
            assert!(KindName::parse(kind).is_ok(), "{kind} names a kind");
            for seed in 0..2 {
                let path = format!("{}/{}", encode(kind.as_bytes(), seed), encode(key.as_bytes(), seed));
                let asked = ask(&format!("POST /v1/actors/{path}/touch"));
                assert_eq!(asked, Some((kind.to_owned(), key.to_owned(), "touch".to_owned())), "{path}");
                let asked = ask(&format!("GET /v1/tree/{path}"));
                assert_eq!(asked, Some((kind.to_owned(), key.to_owned(), String::new())), "{path}");
                let asked = ask(&format!("GET /v1/trace/{path}"));
                assert_eq!(asked, Some((kind.to_owned(), key.to_owned(), String::new())), "{path}");
                let member = encode(key.as_bytes(), seed + 2);
                let asked = ask(&format!("GET /v1/actors/{path}/-/state/{member}"));
                assert_eq!(asked, Some((kind.to_owned(), key.to_owned(), key.to_owned())), "{path} {member}");
            }
        }
        Err(error) => assert!(error.to_string().len() <= ERROR_BYTES_MAX, "a short error: {error}"),
    }
    raw_path(data);
}

/// Bytes as they are in a path: whoever is asked for has a name within the bounds.
fn raw_path(data: &[u8]) {
    if data.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || b"?#".contains(byte)) {
        return;
    }
    let target = [b"POST /v1/actors/", data].concat();
    let Some((kind, key, method)) = ask_bytes(&target) else { return };
    check_bounds(&kind, &key);
    assert!(!method.is_empty(), "a method has a name");
    let parts: Vec<Vec<u8>> = data.split(|byte| *byte == b'/').map(decode).collect();
    let asked = [kind, key, method].map(String::into_bytes);
    assert_eq!(parts, asked, "the parts of the path");
}

fn check_bounds(kind: &str, key: &str) {
    assert!((1..=KIND_BYTES_MAX).contains(&kind.len()), "a kind of {} bytes", kind.len());
    assert!((1..=KEY_BYTES_MAX).contains(&key.len()), "a key of {} bytes", key.len());
}

/// One part of a path: what may stand there as it is does so sometimes.
fn encode(bytes: &[u8], seed: usize) -> String {
    let encoded = bytes.iter().enumerate().map(|(at, byte)| {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~:@!$&'()*+,;=".contains(byte);
        match (at * 7 + seed * 3 + bytes.len()) % 3 {
            0 | 1 if plain => char::from(*byte).to_string(),
            1 => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        }
    });
    encoded.collect()
}

/// What a part of a path means: the other direction, by its definition.
fn decode(part: &[u8]) -> Vec<u8> {
    let digit = |at: usize| part.get(at).and_then(|it| char::from(*it).to_digit(16));
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < part.len() {
        match (part[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

/// Kind, key and method or value that the service was asked for, if it was.
type Asked = Option<(String, String, String)>;

fn ask(request: &str) -> Asked {
    ask_bytes(request.as_bytes())
}

fn ask_bytes(target: &[u8]) -> Asked {
    let head = format!(
        " HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nConnection: \
         close\r\n\r\n"
    );
    let request = [target, head.as_bytes()].concat();
    let received = RUNTIME.block_on(GATEWAY.answers(&request));
    answers(&received).iter().for_each(check);
    WITNESS.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

static WITNESS: LazyLock<Arc<Witness>> = LazyLock::new(Arc::default);
static GATEWAY: LazyLock<Unconnected> = LazyLock::new(|| {
    let config = GatewayConfig::new(SocketAddr::from(ADDRESS), TOKEN);
    Unconnected::new(config, WITNESS.clone())
});

/// Remembers whom it was asked for.
#[derive(Default)]
struct Witness(Mutex<Asked>);

impl Witness {
    fn asked(&self, kind: &str, key: &str, member: &str) {
        let asked = (kind.to_owned(), key.to_owned(), member.to_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
    }
}

fn nothing<T: Send + 'static>() -> BoxFuture<'static, Result<T, Failure>> {
    ready(Err(Failure::new(codes::NOT_FOUND, "only a witness"))).boxed()
}

impl Service for Witness {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        self.asked(&request.kind, &request.key, &request.method);
        ready(Ok(Reply::Ok("null".into()))).boxed()
    }

    fn deploy(&self, _: DeployRequest) -> BoxFuture<'_, Result<DeployReport, Failure>> {
        nothing()
    }

    fn kinds(&self) -> Vec<KindReport> {
        Vec::new()
    }

    fn deployed(&self) -> u64 {
        0
    }

    fn contract(&self) -> Contract {
        Contract::default()
    }

    fn versions<'a>(&'a self, _: Option<&'a str>) -> BoxFuture<'a, Result<Vec<VersionReport>, Failure>> {
        nothing()
    }

    fn activations(&self, _: Option<&str>, _: usize) -> Result<Vec<ActivationReport>, Failure> {
        Ok(Vec::new())
    }

    fn inspect<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<ActorReport, Failure>> {
        nothing()
    }

    fn state<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        name: &'a str,
        _: StateOperation,
        _: Option<String>,
    ) -> BoxFuture<'a, Result<StateValue, Failure>> {
        self.asked(kind, key, name);
        nothing()
    }

    fn journal<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        _: u64,
        _: usize,
    ) -> BoxFuture<'a, Result<JournalPage, Failure>> {
        self.asked(kind, key, "");
        nothing()
    }

    fn journal_at<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        _: Moment,
    ) -> BoxFuture<'a, Result<JournalState, Failure>> {
        self.asked(kind, key, "");
        nothing()
    }

    fn deactivate<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<bool, Failure>> {
        nothing()
    }

    fn set_stopped<'a>(&'a self, _: &'a str, _: &'a str, _: bool) -> BoxFuture<'a, Result<bool, Failure>> {
        nothing()
    }

    fn tree<'a>(&'a self, root: Option<(&'a str, &'a str)>, _: usize) -> BoxFuture<'a, Result<TreeReport, Failure>> {
        if let Some((kind, key)) = root {
            self.asked(kind, key, "");
        }
        nothing()
    }

    fn reminders<'a>(
        &'a self,
        of: Option<(&'a str, &'a str)>,
        _: usize,
    ) -> BoxFuture<'a, Result<ReminderReports, Failure>> {
        if let Some((kind, key)) = of {
            self.asked(kind, key, "");
        }
        nothing()
    }

    fn reminder<'a>(
        &'a self,
        (kind, key): (&'a str, &'a str),
        name: &'a str,
        _: ReminderOperation,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        self.asked(kind, key, name);
        nothing()
    }

    fn dead_letters(&self, _: &LettersWanted) -> Result<Vec<DeadLetter>, Failure> {
        Ok(Vec::new())
    }

    fn trace(&self, wanted: &TurnsWanted) -> Result<TraceReport, Failure> {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        self.asked(&name(&wanted.kind), &name(&wanted.key), "");
        Ok(TraceReport::default())
    }

    fn set_traced(&self, _: &str, _: bool) -> Result<String, Failure> {
        Ok(String::new())
    }

    fn health(&self) -> Health {
        Health { ready: true, problems: Vec::new(), version: String::new(), live: 0, capacity: 0 }
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
