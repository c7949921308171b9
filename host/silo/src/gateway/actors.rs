//! `POST /v1/actors/{kind}/{key}/{method}`: calls and tells.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::Json;
use serde::{Deserialize, Serialize};

use super::Door;
use super::answer::Refusal;
use super::guard::RequestId;
use super::parse;
use crate::api::{self, Failure, Format, Reply, codes};

const JSON: &str = "application/json";
const WAVE: &str = "application/vnd.quark.wave";

/// Sends a message and answers with what came of it.
pub(super) async fn call(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Flags {
        #[serde(default)]
        tell: bool,
    }
    let (mut parts, body) = request.into_parts();
    let target = parse::target(&mut parts).await?;
    let flags: Flags = parse::query(&parts)?;
    let format = format(&parts.headers)?;
    let timeout_ms = parse::timeout_ms(&parts.headers, door.limits.call_time)?;
    let headers = parse::chain_headers(&parts.headers)?;
    let request_id = parts.extensions.remove::<RequestId>().map(|RequestId(id)| id);
    let held = door.bodies.read(&parts.headers, body, door.limits.call_bytes).await?;
    let message = api::Request {
        kind: target.kind,
        key: target.key,
        method: target.last,
        arguments: arguments(&held.bytes, format)?,
        format,
        timeout_ms,
        request_id,
        headers,
        tell: flags.tell,
    };
    let reply = door.service.call(message).await?;
    // The budget counts the arguments until the actor answered.
    drop(held);
    Ok(answer(reply, format))
}

/// Only these types are taken: neither can a web page of another origin send unasked.
fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mime = given.split(';').next().unwrap_or_default().trim();
    if mime.eq_ignore_ascii_case(JSON) {
        Ok(Format::Json)
    } else if mime.eq_ignore_ascii_case(WAVE) {
        Ok(Format::Wave)
    } else {
        let what = if given.is_empty() { "there is no Content-Type".to_owned() } else {
            format!("the Content-Type `{}` is not taken", given.escape_default())
        };
        Err(Failure::new(codes::BAD_CONTENT_TYPE, what).next(format!("send {JSON} (an array of arguments) or {WAVE}")))
    }
}

/// The arguments' text; an empty body is no arguments.
fn arguments(bytes: &[u8], format: Format) -> Result<String, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Failure::new(codes::BAD_ARGUMENTS, format!("the arguments are not UTF-8 from byte {at} on"))
    })?;
    match format {
        Format::Json if text.trim_ascii().is_empty() => Ok("[]".to_owned()),
        Format::Json | Format::Wave => Ok(text.to_owned()),
    }
}

fn answer(reply: Reply, format: Format) -> Response {
    #[derive(Serialize)]
    struct Accepted {
        accepted: String,
    }
    let mime = HeaderValue::from_static(match format {
        Format::Json => JSON,
        Format::Wave => WAVE,
    });
    match reply {
        Reply::Ok(text) => ([(CONTENT_TYPE, mime)], text).into_response(),
        Reply::Err(text) => {
            let headers = [(CONTENT_TYPE.as_str(), mime), ("quark-outcome", HeaderValue::from_static("actor-error"))];
            (StatusCode::UNPROCESSABLE_ENTITY, headers, text).into_response()
        }
        Reply::Accepted(id) => (StatusCode::ACCEPTED, Json(Accepted { accepted: id })).into_response(),
    }
}
