//! Talks to a silo's gateway.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use quark_silo::api::{Failure, codes};
use quark_silo::gateway::token;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Uri};
use ureq::{Agent, Timeout};

use crate::exit::usage;

/// How long a silo may take to accept a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// The longest wait for the answer to a request that names no time of its own.
const ANSWER_TIME: Duration = Duration::from_mins(11);
/// What is added to a call's own timeout for the way there and back.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// From this size on a body is sent once the silo has said that it wants it.
const ASK_FIRST_BYTES: usize = 1 << 20;

/// Which silo to talk to.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Remote {
    /// The silo's address.
    #[arg(long, global = true, env = "QUARK_URL", default_value = "http://127.0.0.1:7070", help_heading = "Silo")]
    pub(crate) url: String,
    /// The silo's token; by default the one that it published on this machine.
    #[arg(long, global = true, env = "QUARK_TOKEN", hide_env_values = true, help_heading = "Silo")]
    pub(crate) token: Option<String>,
}

/// A silo's gateway.
pub(crate) struct Client {
    agent: Agent,
    /// `http://HOST:PORT`, without a slash at the end.
    base: String,
    token: Option<String>,
}

/// What a silo answered, when it was no failure.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// Whether it is an actor's own error.
    pub(crate) actor_error: bool,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client for `remote`; connects when it first asks. `timeout` is that of a call.
    pub(crate) fn new(remote: &Remote, timeout: Option<Duration>) -> Result<Self, Failure> {
        let base = base(&remote.url);
        let (host, port, local) = parts(&base).ok_or_else(|| {
            usage(format!("`{}`, of --url or QUARK_URL, is no address of a silo", remote.url))
                .next("write it like --url http://127.0.0.1:7070")
        })?;
        let given = remote.token.clone().filter(|token| !token.is_empty());
        let token = match given {
            Some(token) => Some(token),
            None => published(&host, port)?,
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("quark/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIME))
            .timeout_global(Some(timeout.map_or(ANSWER_TIME, |timeout| timeout + ANSWER_MARGIN)));
        if local {
            // A proxy of the environment cannot reach this machine's own silo.
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into(), base, token })
    }

    /// Asks for JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.send(Method::GET, path, &[], None)?;
        self.parse(&answer.body)
    }

    /// Reads an answer's JSON.
    pub(crate) fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            let base = &self.base;
            Failure::new("bad-answer", format!("{base} answered what this quark does not know: {error}"))
                .next("is the silo of another version, or no silo at all? see --url")
        })
    }

    /// Sends a request; an answer that says why it failed is a failure.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Option<&[u8]>,
    ) -> Result<Answer, Failure> {
        let read_only = method == Method::GET;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some_and(|body| body.len() >= ASK_FIRST_BYTES) {
            request = request.header("expect", "100-continue");
        }
        let bad = |error: ureq::http::Error| usage(format!("this cannot be sent: {error}"));
        let asked = match body {
            Some(body) => self.agent.run(request.body(body).map_err(bad)?),
            None => self.agent.run(request.body(()).map_err(bad)?),
        };
        let mut response = asked.map_err(|error| self.failed(error, read_only))?;
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap_or_default().to_owned())
        };
        let etag = header("etag").map(|etag| etag.trim_matches('"').to_owned());
        let actor_error = header("quark-outcome").is_some_and(|outcome| outcome == "actor-error");
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.failed(error, read_only))?;
        let answer = Answer { status, etag, actor_error, body };
        if (200..300).contains(&status) || actor_error { Ok(answer) } else { Err(self.refused(&answer)) }
    }

    /// The failure that an answer carries.
    fn refused(&self, answer: &Answer) -> Failure {
        #[derive(Deserialize)]
        struct Body {
            error: Failure,
        }
        let (base, status) = (&self.base, answer.status);
        match serde_json::from_slice(&answer.body) {
            Ok(Body { error }) if error.code == codes::UNAUTHORIZED => error.next(
                "give the token with --token or QUARK_TOKEN; it is in the file admin-token of the silo's data folder",
            ),
            Ok(Body { error }) => error,
            Err(_) => Failure::new("bad-answer", format!("{base} answered with status {status} and no reason"))
                .next("is it a silo? see --url"),
        }
    }

    /// The failure to get any answer.
    fn failed(&self, error: ureq::Error, read_only: bool) -> Failure {
        let base = &self.base;
        let nobody = |reason: &str| {
            Failure::new("unreachable", format!("no silo answers at {base}{reason}"))
                .next("start one with `quark silo`, or name another with --url")
        };
        let io_kind = if let ureq::Error::Io(error) = &error { Some(error.kind()) } else { None };
        if io_kind.is_some_and(refused) || matches!(error, ureq::Error::ConnectionFailed) {
            return nobody("");
        }
        let unknown_host =
            matches!(error, ureq::Error::HostNotFound) || error.to_string().contains("failed to lookup address");
        if unknown_host {
            return nobody(": there is no such host");
        }
        if matches!(error, ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve)) {
            return nobody(": the connection took too long");
        }
        if let Some(plain) = base.strip_prefix("https://")
            && no_tls(&error)
        {
            return Failure::new("unreachable", format!("{base} answers, but not in TLS")).next(format!(
                "a silo itself speaks plain HTTP: write http://{plain}, or name a proxy that speaks TLS for it"
            ));
        }
        let failure = if matches!(error, ureq::Error::Timeout(_)) {
            Failure::new("deadline-exceeded", format!("{base} did not answer in time"))
        } else {
            Failure::new("unknown-outcome", format!("the connection to {base} broke: {error}"))
        };
        if read_only {
            return failure.next("try again");
        }
        Failure { may_be_done: true, ..failure }.next("it may have been done: look before you repeat it")
    }
}

/// Whether what came back was none of TLS; nothing was asked then. The library tells it in words alone.
fn no_tls(error: &ureq::Error) -> bool {
    error.to_string().contains("received corrupt message")
}

fn refused(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(kind, K::ConnectionRefused | K::HostUnreachable | K::NetworkUnreachable)
}

/// `http://HOST:PORT` of what a user wrote.
fn base(url: &str) -> String {
    let url = url.trim();
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    full.trim_end_matches('/').to_owned()
}

/// Host, port, and whether that is this machine.
fn parts(base: &str) -> Option<(String, u16, bool)> {
    let uri: Uri = base.parse().ok()?;
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty())?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // A port that is no number, or somebody's name and password.
    let odd = authority.len() > host.len() && uri.port_u16().is_none() || authority.contains('@');
    if odd || uri.path().len() > 1 || uri.query().is_some() {
        return None;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    Some((host.to_owned(), uri.port_u16().unwrap_or(default_port), local))
}

/// The token that a silo at that address published, if one did.
fn published(host: &str, port: u16) -> Result<Option<String>, Failure> {
    let Ok(path): Result<PathBuf, _> = token::published_path(host, port) else { return Ok(None) };
    if !path.exists() {
        return Ok(None);
    }
    token::read(&path).map(Some).map_err(|error| {
        Failure::new("bad-token-file", error.to_string())
            .next("mend or remove the file, or give the token with --token or QUARK_TOKEN")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_people_write_them() {
        let read = |url: &str| parts(&base(url));
        assert_eq!(read("http://127.0.0.1:7070/"), Some(("127.0.0.1".into(), 7070, true)));
        assert_eq!(read("localhost:1"), Some(("localhost".into(), 1, true)));
        assert_eq!(read("[::1]:7070"), Some(("[::1]".into(), 7070, true)));
        assert_eq!(read("https://quark.example"), Some(("quark.example".into(), 443, false)));
        for bad in ["", "ftp://x", "http://", "http://a b", "http://h/v1", "http://h:99999", "http://u:p@h:1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_url_says_where_it_was_written() {
        let remote = |url: &str| Remote { url: url.to_owned(), token: Some("t".into()) };
        for bad in ["", "h/v1"] {
            let failure = Client::new(&remote(bad), None).err().unwrap();
            let message = format!("`{bad}`, of --url or QUARK_URL, is no address of a silo");
            assert_eq!((failure.code.as_str(), failure.message), ("bad-request", message));
            assert!(failure.next.is_some_and(|next| next.contains("--url http://127.0.0.1:7070")));
        }
    }

    #[test]
    fn an_address_without_tls_says_so() {
        use std::io::{Read as _, Write as _};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let remote = Remote { url: format!("https://{address}"), token: Some("t".into()) };
        let client = Client::new(&remote, None).unwrap();
        let failure = client.send(Method::POST, "/v1/x", &[], Some(b"[]")).err().unwrap();
        silo.join().unwrap();
        assert_eq!((failure.code.as_str(), failure.may_be_done), ("unreachable", false));
        assert_eq!(failure.message, format!("https://{address} answers, but not in TLS"));
        assert!(failure.next.is_some_and(|next| next.contains(&format!("write http://{address},"))));
    }

    #[test]
    fn nobody_there_says_how_to_start_a_silo() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let remote = Remote { url: format!("http://{free}"), token: Some("t".into()) };
        let client = Client::new(&remote, None).unwrap();
        let failure = client.get::<serde_json::Value>("/v1/kinds").unwrap_err();
        assert_eq!(failure.code, "unreachable");
        assert_eq!(failure.message, format!("no silo answers at http://{free}"));
        assert!(failure.next.is_some_and(|next| next.contains("`quark silo`")));
    }
}
