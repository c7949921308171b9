//! Calls and tells.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quark_core::envelope::{HEADER_BYTES_MAX, HEADERS_MAX};
use quark_core::idempotency::IdempotencyKey;
use serde::Deserialize;
use serde_json::json;

use super::edge::{Edge, RequestId, bad_query};
use super::failure::Refused;
use super::openapi::{ACTOR_ERROR, IDEMPOTENCY_KEY, JSON, OUTCOME, TIMEOUT, WAVE};
use super::target::Target;
use crate::api::{self, CALL_TIMEOUT_MS_MAX, Format, Reply, codes};

/// Headers with this prefix travel with the call chain, without it.
const CHAIN_PREFIX: &str = "quark-header-";
const TRACEPARENT: &str = "traceparent";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallQuery {
    #[serde(default)]
    tell: bool,
}

pub(super) async fn call(
    State(edge): State<Arc<Edge>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    target: Target,
    query: Result<Query<CallQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    let (head, body) = request.into_parts();
    let format = format_of(&head.headers)?;
    let timeout_ms = timeout_of(&head.headers)?;
    let headers = chain_headers(&head.headers)?;
    let idempotency_key = key_of(&head.headers)?;
    let received = edge.room.receive(body, &head.headers, edge.bounds.arguments()).await?;
    let arguments = arguments(received.bytes, format)?;
    let request = api::Request {
        kind: target.kind,
        key: target.key,
        method: target.member,
        arguments,
        format,
        timeout_ms,
        request_id: Some(request_id),
        headers,
        tell: query.tell,
        idempotency_key,
    };
    let reply = edge.service.call(request).await?;
    // The arguments are in memory until the actor has answered.
    drop(received.room);
    Ok(respond(reply, format))
}

fn respond(reply: Reply, format: Format) -> Response {
    let content_type = match format {
        Format::Json => JSON,
        Format::Wave => WAVE,
    };
    match reply {
        Reply::Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Reply::Err(text) => {
            let headers = [(header::CONTENT_TYPE.as_str(), content_type), (OUTCOME, ACTOR_ERROR)];
            (StatusCode::UNPROCESSABLE_ENTITY, headers, text).into_response()
        }
        Reply::Accepted(id) => (StatusCode::ACCEPTED, Json(json!({ "accepted": id }))).into_response(),
    }
}

fn format_of(headers: &HeaderMap) -> Result<Format, Refused> {
    let given = content_type(headers);
    if given.eq_ignore_ascii_case(JSON) {
        Ok(Format::Json)
    } else if given.eq_ignore_ascii_case(WAVE) {
        Ok(Format::Wave)
    } else {
        Err(wrong_content_type(given, &format!("{JSON} (an array of arguments) or {WAVE}")))
    }
}

/// The content type without its parameters; empty when there is none.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim()
}

pub(super) fn wrong_content_type(given: &str, expected: &str) -> Refused {
    let message = if given.is_empty() {
        "the request has no Content-Type".into()
    } else {
        format!("this takes no Content-Type `{given}`")
    };
    Refused::new(codes::BAD_CONTENT_TYPE, message, &format!("send Content-Type: {expected}"))
}

fn timeout_of(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(given) = headers.get(TIMEOUT) else { return Ok(None) };
    match given.to_str().ok().and_then(|given| given.parse().ok()) {
        Some(ms) if (1..=CALL_TIMEOUT_MS_MAX).contains(&ms) => Ok(Some(ms)),
        _ => Err(Refused::new(
            codes::BAD_REQUEST,
            format!("{TIMEOUT} is not a whole number of milliseconds from 1 to {CALL_TIMEOUT_MS_MAX}"),
            "write it like `quark-timeout-ms: 5000`",
        )),
    }
}

/// The text may stand in quotes, as the draft of the header's standard has it.
fn key_of(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Refused> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let refused = |why: &str| {
        let next = "send one of your own for each call, for example a random UUID: `Idempotency-Key: 8e03978e-40d5`";
        Refused::new(codes::BAD_REQUEST, format!("the header {IDEMPOTENCY_KEY} cannot be used: {why}"), next)
    };
    if given.next().is_some() {
        return Err(refused("it is there twice"));
    }
    let text = first.to_str().unwrap_or("\u{fffd}").trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    IdempotencyKey::parse(bare).map(Some).map_err(|error| refused(&error.to_string()))
}

fn chain_headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, Refused> {
    let mut chain = Vec::new();
    for (name, value) in headers {
        let travels = name.as_str().strip_prefix(CHAIN_PREFIX).filter(|rest| !rest.is_empty());
        let travels =
            travels.or_else(|| (name == TRACEPARENT && is_traceparent(value.as_bytes())).then_some(TRACEPARENT));
        let Some(name) = travels else { continue };
        if chain.iter().any(|(known, _)| known == name) {
            let message = format!("the header `{name}` is there twice");
            return Err(Refused::new(codes::BAD_REQUEST, message, "send each header that travels once"));
        }
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            let message = format!("the header `{name}` is not UTF-8");
            Refused::new(codes::BAD_REQUEST, message, "encode it, for example as base64")
        })?;
        chain.push((name.to_owned(), value.to_owned()));
    }
    let bytes: usize = chain.iter().map(|(name, value)| name.len() + value.len()).sum();
    if chain.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        let message = format!("{} headers of {bytes} bytes together would travel with the call", chain.len());
        let next = format!("send at most {HEADERS_MAX} of {HEADER_BYTES_MAX} bytes together");
        return Err(Refused::new(codes::BAD_REQUEST, message, &next));
    }
    Ok(chain)
}

/// The arguments' text; an empty body is no arguments.
fn arguments(bytes: Vec<u8>, format: Format) -> Result<String, Refused> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let message = format!("the arguments are not UTF-8 from byte {}", error.utf8_error().valid_up_to());
        Refused::new(codes::BAD_ARGUMENTS, message, "send text in UTF-8; bytes are base64 in JSON")
    })?;
    Ok(if text.trim_ascii().is_empty() && format == Format::Json { "[]".into() } else { text })
}

/// `00-32 hex-16 hex-2 hex`, or a later version that begins like it. W3C: a malformed one is as
/// good as none.
fn is_traceparent(value: &[u8]) -> bool {
    let shaped = value.iter().take(TRACEPARENT_BYTES).enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let whole = value.len() == TRACEPARENT_BYTES;
    let later = value.len() > TRACEPARENT_BYTES && !value.starts_with(b"00") && value[TRACEPARENT_BYTES] == b'-';
    shaped && (whole || later)
}

const TRACEPARENT_BYTES: usize = 55;

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
}
