//! A client of a silo's gateway, with what it answered kept whole.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, Response};

use crate::samples::component;
use crate::wait::DEADLINE;

const JSON: &str = "application/json";
const WAVE: &str = "application/vnd.quark.wave";

/// Talks to one silo.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    /// `HOST:PORT`.
    pub address: String,
    /// The admin token, when there is one to send.
    pub token: Option<String>,
}

/// What a silo answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?} {}", self.text()))
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The e-tag without its quotes.
    #[must_use]
    pub fn etag(&self) -> Option<String> {
        self.header("etag").map(|etag| etag.trim_matches('"').to_owned())
    }

    /// The same, checked for its status.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The value of an `ok`.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    #[must_use]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json().get("ok").unwrap_or_else(|| panic!("no ok: {}", self.text())).clone()
    }

    /// The number of an `ok`.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    #[must_use]
    pub fn number(&self) -> u64 {
        self.ok().as_u64().unwrap_or_else(|| panic!("no number: {}", self.text()))
    }

    /// What the platform says of its failure, checked for its status and code.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    #[must_use]
    pub fn failure(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let error = self.json()["error"].take();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        error
    }

    /// An actor's own `err`.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    #[must_use]
    pub fn actor_error(&self) -> Value {
        assert_eq!((self.status, self.header("quark-outcome")), (422, Some("actor-error")), "{}", self.text());
        self.json().get("err").unwrap_or_else(|| panic!("no err: {}", self.text())).clone()
    }
}

impl Client {
    pub(crate) fn new(address: &str, token: Option<String>) -> Self {
        Self::waiting(address, token, DEADLINE)
    }

    /// One that waits that long for each answer.
    pub(crate) fn waiting(address: &str, token: Option<String>, each: Duration) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(each));
        Self { agent: config.build().into(), address: address.to_owned(), token }
    }

    /// Sends a request; none is there when the connection broke.
    #[must_use]
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        self.exchange(method, path, headers, body).ok()
    }

    fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let sent = if body.is_empty() && method == "GET" {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        };
        answer(sent?)
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    #[must_use]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.exchange(method, path, headers, body);
        answer.unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    /// Asks for a path.
    #[track_caller]
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    /// Calls a method with a JSON array of arguments; none is there when the connection broke.
    #[must_use]
    pub fn try_call(&self, actor: &str, method: &str, arguments: &Value) -> Option<Answer> {
        self.try_send("POST", &path(actor, method), &[("content-type", JSON)], arguments.to_string().as_bytes())
    }

    /// Calls a method of `KIND/KEY` with a JSON array of arguments.
    #[track_caller]
    #[must_use]
    pub fn call(&self, actor: &str, method: &str, arguments: &Value) -> Answer {
        self.call_with(actor, method, arguments, &[])
    }

    /// The same with headers.
    #[track_caller]
    #[must_use]
    pub fn call_with(&self, actor: &str, method: &str, arguments: &Value, headers: &[(&str, &str)]) -> Answer {
        let headers = [&[("content-type", JSON)], headers].concat();
        self.send("POST", &path(actor, method), &headers, arguments.to_string().as_bytes())
    }

    /// Calls a method with JSON as it is written.
    #[track_caller]
    #[must_use]
    pub fn call_text(&self, actor: &str, method: &str, json: &str) -> Answer {
        self.send("POST", &path(actor, method), &[("content-type", JSON)], json.as_bytes())
    }

    /// Calls a method with arguments in WAVE.
    #[track_caller]
    #[must_use]
    pub fn wave(&self, actor: &str, method: &str, arguments: &str) -> Answer {
        self.send("POST", &path(actor, method), &[("content-type", WAVE)], arguments.as_bytes())
    }

    /// Deploys bytes.
    #[track_caller]
    #[must_use]
    pub fn deploy_bytes(&self, bytes: &[u8], manifest: &str) -> Answer {
        let manifest = BASE64_STANDARD.encode(manifest);
        let headers = [("content-type", "application/wasm"), ("quark-manifest", manifest.as_str())];
        self.send("POST", "/v1/deployments", &headers, bytes)
    }

    /// Deploys a sample with a manifest.
    #[track_caller]
    pub fn deploy(&self, sample: &str, manifest: &str) {
        let _ = self.deploy_bytes(&component(sample), manifest).expect(200);
    }

    /// All about `KIND/KEY`.
    #[track_caller]
    #[must_use]
    pub fn inspect(&self, actor: &str) -> Value {
        let (kind, key) = actor.split_once('/').unwrap();
        self.get(&format!("/v1/actors/{}/{}", encoded(kind), encoded(key))).expect(200).json()
    }

    /// One of the numbers that the silo keeps, or zero.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Sends bytes as they are and reads the answer, for what no proper client would send.
    #[must_use]
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        // What was said before the connection ended counts, however it ended.
        while let Ok(read @ 1..) = stream.read(&mut part) {
            answer.extend_from_slice(&part[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn answer(mut response: Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = response.headers().iter().map(header).collect();
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
    Ok(Answer { status, headers, body })
}

fn path(actor: &str, method: &str) -> String {
    let (kind, key) = actor.split_once('/').unwrap();
    format!("/v1/actors/{}/{}/{}", encoded(kind), encoded(key), encoded(method))
}

/// One part of a path, with all but letters and digits as percents.
#[must_use]
pub fn encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte.into()),
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
    }
    text
}
