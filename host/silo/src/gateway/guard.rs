//! Whom a request names, and what it may.
//!
//! A web page may make a browser send requests to loopback, and may have its own name resolve to
//! it. So the `Host` must be one of ours, and what changes anything must carry what a page cannot
//! send unasked: the token, or a content type that browsers ask about first.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

use super::failure::Refused;
use crate::api::codes;

/// Decides whether a request may pass.
pub(super) struct Guard {
    token: String,
    address: SocketAddr,
    allowed_hosts: Vec<String>,
}

impl Guard {
    pub(super) fn new(token: String, address: SocketAddr, allowed_hosts: Vec<String>) -> Self {
        Self { token, address, allowed_hosts }
    }

    /// Whether others than this machine's own users may reach the gateway.
    pub(super) fn is_exposed(&self) -> bool {
        !self.address.ip().is_loopback()
    }

    /// Whether the request names this gateway.
    pub(super) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let named = uri.authority().map(Authority::as_str).or_else(|| only_host(headers));
        if named.is_some_and(|named| self.is_ours(named)) {
            return Ok(());
        }
        let message = match named {
            Some(named) => format!("`{named}` is no name of this silo, which listens on {}", self.address),
            None => "the request needs exactly one Host header".into(),
        };
        Err(Refused::new(codes::BAD_HOST, message, "start the silo with --allow-host NAME to let it answer to NAME"))
    }

    fn is_ours(&self, named: &str) -> bool {
        let Ok(named) = named.parse::<Authority>() else { return false };
        // Behind an `@` another host could hide from whoever reads the log.
        if named.as_str().contains('@') {
            return false;
        }
        self.is_allowed(&named) || (named.port_u16().unwrap_or(80) == self.address.port() && self.is_own(named.host()))
    }

    /// Whether the host is the listen address. A literal address is never the result of a name
    /// that somebody else controls, so a silo that listens on all addresses takes any of them.
    fn is_own(&self, host: &str) -> bool {
        let own = self.address.ip();
        let local = own.is_loopback() || own.is_unspecified();
        if host.eq_ignore_ascii_case("localhost") {
            return local;
        }
        let Ok(host) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else { return false };
        host == own || own.is_unspecified() || (own.is_loopback() && host.is_loopback())
    }

    fn is_allowed(&self, named: &Authority) -> bool {
        self.allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(named.as_str()) || allowed.eq_ignore_ascii_case(named.host()))
    }

    /// Whether the request carries the token.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), Refused> {
        const NEXT: &str = "send `Authorization: Bearer TOKEN`; the silo keeps its token in admin-token in its data \
            folder, and the CLI takes it from QUARK_TOKEN";
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return Err(Refused::new(codes::UNAUTHORIZED, "this needs the admin token, and none was sent", NEXT));
        };
        let given = given.as_bytes().split_at_checked(BEARER.len());
        match given {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) && same(token, self.token.as_bytes()) => {
                Ok(())
            }
            _ => Err(Refused::new(codes::UNAUTHORIZED, "the token sent is not this silo's admin token", NEXT)),
        }
    }
}

/// The request's `Host`, if it is there once.
fn only_host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let only = hosts.next()?;
    if hosts.next().is_some() { None } else { only.to_str().ok() }
}

/// Compares in a time that tells nothing but the length.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (one, other)| black_box(all | (one ^ other)));
    one.len() == other.len() && differing == 0
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_hosts(address: &str, ours: &[&str], others: &[&str]) {
        let allowed = vec!["quark.example".into(), "other.example:8443".into()];
        let guard = Guard::new("t".into(), address.parse().unwrap(), allowed);
        for host in ours {
            assert!(guard.is_ours(host), "{host} at {address}");
        }
        for host in others {
            assert!(!guard.is_ours(host), "{host} at {address}");
        }
    }

    #[test]
    fn a_loopback_silo_answers_to_its_own_names() {
        check_hosts(
            "127.0.0.1:7070",
            &["localhost:7070", "LocalHost:7070", "127.0.0.1:7070", "[::1]:7070", "quark.example", "quark.example:1"],
            &[
                "localhost",
                "localhost:7071",
                "evil.example:7070",
                "10.0.0.1:7070",
                "other.example",
                "me@localhost:7070",
                "",
            ],
        );
        check_hosts("127.0.0.1:80", &["localhost", "127.0.0.1:80"], &["localhost:7070"]);
    }

    #[test]
    fn an_exposed_silo_answers_to_its_addresses() {
        check_hosts(
            "0.0.0.0:7070",
            &["10.1.2.3:7070", "[fe80::1]:7070", "localhost:7070", "other.example:8443"],
            &["evil.example:7070", "10.1.2.3"],
        );
        check_hosts("10.0.0.1:7070", &["10.0.0.1:7070"], &["10.0.0.2:7070", "localhost:7070", "127.0.0.1:7070"]);
    }

    #[test]
    fn only_the_whole_token_passes() {
        let guard = Guard::new("abc".into(), "127.0.0.1:1".parse().unwrap(), Vec::new());
        let check = |given: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::AUTHORIZATION, given.parse().unwrap());
            }
            guard.check_token(&headers).is_ok()
        };
        assert!(check(Some("Bearer abc")));
        assert!(check(Some("bearer abc")));
        for wrong in ["Bearer ab", "Bearer abcd", "Bearer abd", "Bearer ", "Bearer", "Basic abc", "abc"] {
            assert!(!check(Some(wrong)), "{wrong}");
        }
        assert!(!check(None));
    }
}
