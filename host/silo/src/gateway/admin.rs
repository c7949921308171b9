//! Deploying, listing, and handling single actors. Every route here takes the token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Door;
use super::answer::Refusal;
use super::parse;
use crate::api::{
    ActivationReport, ActorReport, DeadLetter, DeployReport, DeployRequest, Failure, KindReport,
    StateOperation, StateValue, codes,
};

/// The most bytes of a manifest, decoded.
const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// The most entries of one list, and how many it has unless told.
const LIST_MAX: usize = 10_000;
const LIST_DEFAULT: usize = 1000;
const WASM: &str = "application/wasm";
const BYTES: &str = "application/octet-stream";

type Answer<T> = Result<Json<T>, Refusal>;

/// `POST /v1/deployments?name=N`: the component is the body, the manifest a header.
pub(super) async fn deploy(State(door): State<Arc<Door>>, request: Request) -> Answer<DeployReport> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: Option<String>,
    }
    let (parts, body) = request.into_parts();
    let Named { name } = parse::query(&parts)?;
    check_wasm(&parts.headers)?;
    let manifest = manifest(&parts.headers)?;
    let mut held = door.bodies.read(&parts.headers, body, door.limits.component_bytes).await?;
    let component = std::mem::take(&mut held.bytes);
    let request = DeployRequest { name, component, manifest };
    let service = Arc::clone(&door.service);
    // A deploy that has begun ends, also when its client goes away.
    let deploying = tokio::spawn(async move {
        let report = service.deploy(request).await;
        drop(held);
        report
    });
    let report = deploying.await.map_err(|_| {
        Failure { may_be_done: true, ..Failure::new(codes::INTERNAL, "the deploy broke off") }
            .next("look at the silo's log; `quark ps` shows what is deployed")
    })??;
    Ok(Json(report))
}

fn check_wasm(headers: &HeaderMap) -> Result<(), Failure> {
    let mime = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if mime.trim().eq_ignore_ascii_case(WASM) {
        return Ok(());
    }
    Err(Failure::new(codes::BAD_CONTENT_TYPE, format!("a component is sent as {WASM}"))
        .next(format!("set `Content-Type: {WASM}`, or use `quark deploy`")))
}

/// The text of `quark-manifest`, where it is given.
fn manifest(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = headers.get("quark-manifest") else { return Ok(None) };
    let bad = |what: &str| Failure::new(codes::BAD_MANIFEST, what);
    let bytes = STANDARD
        .decode(value.as_bytes())
        .map_err(|_| bad("the header quark-manifest is not base64"))?;
    if bytes.len() > MANIFEST_BYTES_MAX {
        let long = format!("the manifest is {} bytes long; at most {MANIFEST_BYTES_MAX} are allowed", bytes.len());
        return Err(bad(&long));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| bad("the manifest is not UTF-8"))
}

/// `GET /v1/kinds`.
pub(super) async fn kinds(State(door): State<Arc<Door>>) -> Json<Kinds> {
    Json(Kinds { kinds: door.service.kinds() })
}

/// `GET /v1/activations?kind=K&limit=N`.
pub(super) async fn activations(State(door): State<Arc<Door>>, request: Request) -> Answer<Activations> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Which {
        kind: Option<String>,
        limit: Option<usize>,
    }
    let (parts, _) = request.into_parts();
    let Which { kind, limit } = parse::query(&parts)?;
    let kind = kind.filter(|kind| !kind.is_empty());
    let activations = door.service.activations(kind.as_deref(), list_limit(limit)?)?;
    Ok(Json(Activations { activations }))
}

/// `GET /v1/dead-letters?limit=N`.
pub(super) async fn dead_letters(State(door): State<Arc<Door>>, request: Request) -> Answer<DeadLetters> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Which {
        limit: Option<usize>,
    }
    let (parts, _) = request.into_parts();
    let Which { limit } = parse::query(&parts)?;
    Ok(Json(DeadLetters { dead_letters: door.service.dead_letters(list_limit(limit)?).await? }))
}

fn list_limit(asked: Option<usize>) -> Result<usize, Failure> {
    match asked.unwrap_or(LIST_DEFAULT) {
        limit @ 1..=LIST_MAX => Ok(limit),
        _ => Err(Failure::new(codes::BAD_REQUEST, format!("limit must be 1 to {LIST_MAX}"))),
    }
}

/// `GET /v1/actors/{kind}/{key}`.
pub(super) async fn inspect(State(door): State<Arc<Door>>, request: Request) -> Answer<ActorReport> {
    let (mut parts, _) = request.into_parts();
    let actor = parse::target(&mut parts).await?;
    Ok(Json(door.service.inspect(&actor.kind, &actor.key).await?))
}

/// `POST /v1/actors/{kind}/{key}/-/deactivate`.
pub(super) async fn deactivate(State(door): State<Arc<Door>>, request: Request) -> Answer<Deactivated> {
    let (mut parts, _) = request.into_parts();
    let actor = parse::target(&mut parts).await?;
    let deactivated = door.service.deactivate(&actor.kind, &actor.key).await?;
    Ok(Json(Deactivated { deactivated }))
}

/// `GET /v1/actors/{kind}/{key}/-/state/{name}`: the bytes, with their e-tag.
pub(super) async fn read_state(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refusal> {
    let (name, value) = state(&door, request, |_| StateOperation::Get).await?;
    let Some(bytes) = &value.bytes else {
        return Err(Failure::new(codes::NOT_FOUND, format!("the actor's state has no value `{}`", name.escape_debug()))
            .next("`quark state KIND/KEY list` shows the names").into());
    };
    let mut response = ([(CONTENT_TYPE, BYTES)], bytes.clone()).into_response();
    tag(&mut response, &value);
    Ok(response)
}

/// `PUT /v1/actors/{kind}/{key}/-/state/{name}`: the body becomes the value.
pub(super) async fn write_state(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refusal> {
    let (_, value) = state(&door, request, StateOperation::Set).await?;
    Ok(changed(&value))
}

/// `DELETE /v1/actors/{kind}/{key}/-/state/{name}`.
pub(super) async fn delete_state(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Refusal> {
    let (_, value) = state(&door, request, |_| StateOperation::Delete).await?;
    Ok(changed(&value))
}

/// The name, and what came of an operation on the value.
async fn state(
    door: &Door,
    request: Request,
    operation: impl FnOnce(Vec<u8>) -> StateOperation + Send,
) -> Result<(String, StateValue), Refusal> {
    let (mut parts, body) = request.into_parts();
    let target = parse::target(&mut parts).await?;
    let if_match = parse::if_match(&parts.headers)?;
    let mut held = door.bodies.read(&parts.headers, body, door.limits.state_bytes).await?;
    let operation = operation(std::mem::take(&mut held.bytes));
    let conditional = if_match.is_some();
    let value = door
        .service
        .state(&target.kind, &target.key, &target.last, operation, if_match)
        .await
        .map_err(|failure| Refusal::conditional(failure, conditional))?;
    drop(held);
    Ok((target.last, value))
}

fn changed(value: &StateValue) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    tag(&mut response, value);
    response
}

fn tag(response: &mut Response, value: &StateValue) {
    let quoted = value.etag.as_ref().map(|etag| HeaderValue::from_str(&format!("\"{etag}\"")));
    if let Some(Ok(quoted)) = quoted {
        response.headers_mut().insert(ETAG, quoted);
    }
}

#[derive(Serialize)]
pub(super) struct Kinds {
    kinds: Vec<KindReport>,
}

#[derive(Serialize)]
pub(super) struct Activations {
    activations: Vec<ActivationReport>,
}

#[derive(Serialize)]
pub(super) struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

#[derive(Serialize)]
pub(super) struct Deactivated {
    deactivated: bool,
}
