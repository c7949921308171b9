//! Who may come in: the `Host` that was asked for, the token, and the id of the request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::GatewayConfig;
use super::answer::Refusal;
use super::parse;
use crate::api::{Failure, codes};

/// The id of the request: the client's own, or one made here.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

/// What the guard goes by.
pub(super) struct Guard {
    token: String,
    allowed_hosts: Vec<String>,
    /// Beyond loopback everything but the probes takes the token.
    beyond_loopback: bool,
    /// No request takes longer; a net below the deadlines of calls, not a deadline.
    longest: Duration,
}

impl Guard {
    pub(super) fn new(config: &GatewayConfig, address: SocketAddr) -> Self {
        Self {
            token: config.token.clone(),
            allowed_hosts: config.allowed_hosts.iter().map(|host| host.to_lowercase()).collect(),
            beyond_loopback: !address.ip().is_loopback(),
            longest: config.limits.call_time + Duration::from_secs(30),
        }
    }

    fn admit(&self, request: &Request) -> Result<(), Failure> {
        let path = request.uri().path();
        if path != "/healthz" {
            self.check_host(request.uri(), request.headers())?;
        }
        if self.beyond_loopback && !matches!(path, "/healthz" | "/readyz") {
            self.check_token(request.headers())?;
        }
        Ok(())
    }

    /// A web page that has its own name point here ("DNS rebinding") still names itself in `Host`.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return Err(Failure::new(codes::BAD_HOST, "a request must have one Host header"));
        };
        let host = host.to_str().unwrap_or("(not ASCII)");
        let absolute = uri.authority().map_or(host, |authority| authority.as_str());
        for host in [host, absolute] {
            if !self.knows(&host.to_lowercase()) {
                let known = "localhost, 127.0.0.1, [::1] or a name that the silo was told";
                return Err(Failure::new(
                    codes::BAD_HOST,
                    format!("the Host header says `{}`: not {known}", host.escape_default()),
                )
                .next("ask for the silo by one of its names, or start it with --allow-host NAME"));
            }
        }
        Ok(())
    }

    /// Ports are not compared for the silo's own names: a tunnel or a container maps them at will,
    /// and an attacker's page is told apart by its name.
    fn knows(&self, host: &str) -> bool {
        let name = without_port(host);
        if self.allowed_hosts.iter().any(|allowed| allowed == host || allowed == name) {
            return true;
        }
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            // An address cannot be rebound; beyond loopback a silo may have any.
            Ok(address) => address.is_loopback() || self.beyond_loopback,
            Err(_) => name == "localhost",
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(given) = headers.get(AUTHORIZATION) else {
            return Err(Failure::new(codes::UNAUTHORIZED, "this needs the silo's token")
                .next("send `Authorization: Bearer TOKEN`; the token is in the file admin-token of the silo's data folder"));
        };
        let (scheme, token) = given.as_bytes().split_at(given.len().min(7));
        let right = bool::from(token.trim_ascii().ct_eq(self.token.as_bytes()));
        if scheme.eq_ignore_ascii_case(b"bearer ") && right {
            return Ok(());
        }
        Err(Failure::new(codes::UNAUTHORIZED, "this is not the silo's token")
            .next("the token is in the file admin-token of the silo's data folder"))
    }
}

/// `host` without `:port`; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// Around every route: admits the request, names it, and marks the answer.
pub(super) async fn enter(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let (id, bad_id) = match parse::request_id(request.headers()) {
        Ok(Some(id)) => (id, None),
        Ok(None) => (fresh_id(), None),
        Err(failure) => (fresh_id(), Some(failure)),
    };
    let name = HeaderValue::from_str(&id).ok();
    request.extensions_mut().insert(RequestId(id));
    let admitted = bad_id.map_or_else(|| guard.admit(&request), Err);
    let mut response = match admitted {
        Err(failure) => Refusal::from(failure).into_response(),
        Ok(()) => tokio::time::timeout(guard.longest, next.run(request))
            .await
            .unwrap_or_else(|_| Refusal::from(out_of_time()).into_response()),
    };
    let headers = response.headers_mut();
    if let Some(name) = name {
        headers.insert("x-request-id", name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // State values are whatever an actor wrote: a browser must not guess that one is a page.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Around the routes of administration: the token, wherever the gateway listens.
pub(super) async fn administer(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.check_token(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(failure) => Refusal::from(failure).into_response(),
    }
}

fn fresh_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn out_of_time() -> Failure {
    let may_be_done = true;
    Failure { may_be_done, ..Failure::new("deadline-exceeded", "the request took too long") }
}
