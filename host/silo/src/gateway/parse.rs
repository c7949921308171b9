//! What a request's head says, parsed once: path, query, headers.

use std::time::Duration;

use axum::extract::{FromRequestParts as _, Query, RawPathParams};
use axum::http::header::IF_MATCH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use quark_core::id::{IdError, KIND_BYTES_MAX, Key};
use serde::de::DeserializeOwned;

use crate::api::{Failure, codes};

/// The most headers that travel with a call chain.
const CHAIN_HEADERS_MAX: usize = 32;
/// The most bytes of all of them.
const CHAIN_HEADERS_BYTES_MAX: usize = 8 << 10;
const CHAIN_HEADER_PREFIX: &str = "quark-header-";
const REQUEST_ID_BYTES_MAX: usize = 128;
const TRACEPARENT: &str = "traceparent";

/// An actor as a path names it, and the last part of the path where there is one.
pub(super) struct Target {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) last: String,
}

/// The actor of a path with `{kind}` and `{key}`, and its `{method}` or `{name}`.
pub(super) async fn target(parts: &mut Parts) -> Result<Target, Failure> {
    // Percent-decoding happens here: it fails only where the bytes are no UTF-8.
    let Ok(found) = RawPathParams::from_request_parts(parts, &()).await else {
        return Err(not_utf8(parts.uri.path()));
    };
    let mut target = Target { kind: String::new(), key: String::new(), last: String::new() };
    for (name, value) in &found {
        match name {
            "kind" => value.clone_into(&mut target.kind),
            "key" => value.clone_into(&mut target.key),
            _ => value.clone_into(&mut target.last),
        }
    }
    if target.kind.len() > KIND_BYTES_MAX {
        let long = IdError::KindTooLong(target.kind.len());
        return Err(Failure::new(codes::BAD_REQUEST, long.to_string()));
    }
    Key::parse(&target.key).map_err(|error| Failure::new(codes::BAD_KEY, error.to_string()))?;
    Ok(target)
}

/// Which part of the path is no UTF-8 once it is decoded.
fn not_utf8(path: &str) -> Failure {
    // `/v1/actors/KIND/KEY/...`: the key is the fifth part, counted with the empty first one.
    let key_is_bad = path
        .split('/')
        .nth(4)
        .is_some_and(|key| percent_encoding::percent_decode_str(key).decode_utf8().is_err());
    if key_is_bad {
        Failure::new(codes::BAD_KEY, "the key is not UTF-8")
            .next("percent-encode the key's UTF-8 bytes in the path")
    } else {
        Failure::new(codes::BAD_REQUEST, "the path is not UTF-8")
            .next("percent-encode the UTF-8 bytes of each part of the path")
    }
}

/// The query as `T`; unknown names are an error where `T` says so.
pub(super) fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Failure> {
    Query::<T>::try_from_uri(&parts.uri)
        .map(|Query(query)| query)
        .map_err(|error| Failure::new(codes::BAD_REQUEST, error.body_text()))
}

/// The client's own id of its request.
pub(super) fn request_id(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get("x-request-id") else { return Ok(None) };
    match value.to_str() {
        Ok(id) if (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) => Ok(Some(id.to_owned())),
        Ok(_) | Err(_) => Err(Failure::new(
            codes::BAD_REQUEST,
            format!("x-request-id must be 1 to {REQUEST_ID_BYTES_MAX} visible ASCII characters"),
        )),
    }
}

/// How long the caller waits: `quark-timeout-ms`.
pub(super) fn timeout_ms(headers: &HeaderMap, max: Duration) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get("quark-timeout-ms") else { return Ok(None) };
    let max_ms = u64::try_from(max.as_millis()).unwrap_or(u64::MAX);
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(ms) if (1..=max_ms).contains(&ms) => Ok(Some(ms)),
        Some(_) | None => Err(Failure::new(
            codes::BAD_REQUEST,
            format!("quark-timeout-ms must be a whole number of milliseconds from 1 to {max_ms}"),
        )),
    }
}

/// What travels with the call chain: each `quark-header-NAME: VALUE`, and `traceparent`.
pub(super) fn chain_headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, Failure> {
    let mut chain: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let Some(name) = chain_name(name, value) else { continue };
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return Err(bad_header(format!("the header quark-header-{name} is not UTF-8")));
        };
        if name.is_empty() || chain.iter().any(|(other, _)| other == name) {
            return Err(bad_header(format!("the header quark-header-{name} is empty or twice there")));
        }
        chain.push((name.to_owned(), value.to_owned()));
    }
    let bytes: usize = chain.iter().map(|(name, value)| name.len() + value.len()).sum();
    if chain.len() > CHAIN_HEADERS_MAX || bytes > CHAIN_HEADERS_BYTES_MAX {
        return Err(bad_header(format!(
            "{} headers of {bytes} bytes would travel with the call; at most {CHAIN_HEADERS_MAX} of \
             together {CHAIN_HEADERS_BYTES_MAX} bytes may",
            chain.len()
        )));
    }
    Ok(chain)
}

fn bad_header(message: String) -> Failure {
    Failure::new(codes::BAD_REQUEST, message)
}

/// The name under which a header travels; none for one that does not.
fn chain_name<'a>(name: &'a HeaderName, value: &HeaderValue) -> Option<&'a str> {
    if name.as_str() == TRACEPARENT {
        // W3C: what is malformed is as good as absent.
        return is_traceparent(value.as_bytes()).then_some(TRACEPARENT);
    }
    name.as_str().strip_prefix(CHAIN_HEADER_PREFIX)
}

/// `00-32 hex-16 hex-2 hex`, or a later version that begins like it.
fn is_traceparent(value: &[u8]) -> bool {
    let shaped = value.iter().take(55).enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    shaped && value.len() >= 55 && (value.len() == 55 || (&value[..2] != b"00" && value[55] == b'-'))
}

/// The e-tag that the caller goes by: `If-Match: "ETAG"`.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let bare = value.to_str().map(|text| text.trim().trim_matches('"')).unwrap_or_default();
    let odd = |c: char| matches!(c, '"' | ',' | '*' | '/') || c.is_whitespace();
    if bare.is_empty() || bare.contains(odd) || headers.get_all(IF_MATCH).iter().count() > 1 {
        return Err(Failure::new(codes::BAD_REQUEST, "If-Match must hold one e-tag")
            .next("write it as the ETag header gave it"));
    }
    Ok(Some(bare.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_told_from_garbage() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good.as_bytes()));
        assert!(is_traceparent(format!("cc{}-more", &good[2..]).as_bytes()));
        for bad in ["", "00-", &good[..54], &format!("{good}-more"), &good.to_uppercase()] {
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn if_match_takes_one_etag() {
        let given = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, HeaderValue::from_static(text));
            if_match(&headers)
        };
        assert_eq!(given("\"7-3\"").ok().flatten().as_deref(), Some("7-3"));
        assert_eq!(given("7-3").ok().flatten().as_deref(), Some("7-3"));
        for bad in ["*", "", "\"\"", "\"a\", \"b\"", "W/\"a\""] {
            assert!(given(bad).is_err(), "{bad}");
        }
    }
}
