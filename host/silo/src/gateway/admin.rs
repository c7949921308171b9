//! Deploying, listing, and single actors' state.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use quark_core::manifest::MANIFEST_BYTES_MAX;
use serde::Deserialize;
use serde_json::{Value, json};

use super::actors::{content_type, wrong_content_type};
use super::edge::{Edge, bad_query};
use super::failure::Refused;
use super::target::Target;
use crate::api::{
    ActorReport, DeployReport, DeployRequest, Failure, LettersWanted, ReminderOperation, ReminderReports,
    StateOperation, StateValue, TreeReport, codes,
};

const COMPONENT: &str = "application/wasm";
/// Carries `actor.toml`, base64.
const MANIFEST: &str = "quark-manifest";
/// How many of a list are answered when the request does not say, and the most that it may say.
const LIST: (usize, usize) = (1_000, 10_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployQuery {
    name: Option<String>,
    #[serde(default, rename = "allow-breaking")]
    allow_breaking: bool,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivationsQuery {
    kind: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionsQuery {
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LettersQuery {
    limit: Option<usize>,
    reason: Option<String>,
    actor: Option<String>,
    after: Option<u64>,
}

pub(super) async fn deploy(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<DeployQuery>, QueryRejection>,
    request: Request,
) -> Result<Json<DeployReport>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    let (head, body) = request.into_parts();
    let given = content_type(&head.headers);
    if !given.eq_ignore_ascii_case(COMPONENT) {
        return Err(wrong_content_type(given, COMPONENT));
    }
    let manifest = manifest(&head.headers)?;
    let received = edge.room.receive(body, &head.headers, edge.bounds.component()).await?;
    if received.bytes.is_empty() {
        return Err(Refused::new(codes::BAD_COMPONENT, "the body is empty", "send the component's bytes as the body"));
    }
    let DeployQuery { name, allow_breaking, force } = query;
    let request = DeployRequest { name, component: received.bytes, manifest, allow_breaking, force };
    let service = Arc::clone(&edge.service);
    let room = received.room;
    let deploying = async move {
        let report = service.deploy(request).await;
        drop(room);
        report
    };
    to_its_end(deploying).await.map(Json)
}

fn manifest(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let Some(given) = headers.get(MANIFEST) else { return Ok(None) };
    let refused = |message: &str| {
        let next = "send actor.toml's text as base64 in the header quark-manifest";
        Refused::new(codes::BAD_MANIFEST, message, next)
    };
    let bytes = BASE64_STANDARD.decode(given.as_bytes()).map_err(|_| refused("the manifest is not base64"))?;
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(refused(&format!("the manifest is over {MANIFEST_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("the manifest is not UTF-8"))?;
    Ok(Some(text))
}

pub(super) async fn kinds(State(edge): State<Arc<Edge>>) -> Json<Value> {
    Json(json!({ "kinds": edge.service.kinds() }))
}

pub(super) async fn versions(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<VersionsQuery>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    let kind = query.kind.as_deref().filter(|kind| !kind.is_empty());
    Ok(Json(json!({ "versions": edge.service.versions(kind).await? })))
}

pub(super) async fn activations(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<ActivationsQuery>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    let kind = query.kind.as_deref().filter(|kind| !kind.is_empty());
    let found = edge.service.activations(kind, limit(query.limit)?)?;
    Ok(Json(json!({ "activations": found })))
}

pub(super) async fn dead_letters(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<LettersQuery>, QueryRejection>,
) -> Result<Json<Value>, Refused> {
    let Query(LettersQuery { limit: most, reason, actor, after }) = query.map_err(bad_query)?;
    let wanted = LettersWanted { limit: limit(most)?, reason, actor, after };
    Ok(Json(json!({ "dead_letters": edge.service.dead_letters(&wanted)? })))
}

pub(super) async fn trees(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<TreeReport>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    Ok(Json(edge.service.tree(None, limit(query.limit)?).await?))
}

pub(super) async fn tree(
    State(edge): State<Arc<Edge>>,
    target: Target,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<TreeReport>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    Ok(Json(edge.service.tree(Some((&target.kind, &target.key)), limit(query.limit)?).await?))
}

pub(super) async fn all_reminders(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ReminderReports>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    Ok(Json(edge.service.reminders(None, limit(query.limit)?).await?))
}

pub(super) async fn reminders(
    State(edge): State<Arc<Edge>>,
    target: Target,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ReminderReports>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    Ok(Json(edge.service.reminders(Some((&target.kind, &target.key)), limit(query.limit)?).await?))
}

pub(super) async fn reminder_fire(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    change_reminder(&edge, target, ReminderOperation::Fire).await?;
    Ok(Json(json!({ "fired": true })))
}

pub(super) async fn reminder_delete(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    change_reminder(&edge, target, ReminderOperation::Delete).await?;
    Ok(Json(json!({ "deleted": true })))
}

async fn change_reminder(edge: &Edge, target: Target, operation: ReminderOperation) -> Result<(), Refused> {
    let service = Arc::clone(&edge.service);
    let Target { kind, key, member } = target;
    to_its_end(async move { service.reminder((&kind, &key), &member, operation).await }).await
}

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Refused> {
    let (default, most) = LIST;
    let limit = asked.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Refused::new(codes::BAD_REQUEST, format!("limit={limit} is not 1 to {most}"), "ask for that many"))
}

pub(super) async fn inspect(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<ActorReport>, Refused> {
    Ok(Json(edge.service.inspect(&target.kind, &target.key).await?))
}

pub(super) async fn deactivate(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    let service = Arc::clone(&edge.service);
    let left = to_its_end(async move { service.deactivate(&target.kind, &target.key).await }).await?;
    Ok(Json(json!({ "deactivated": left })))
}

pub(super) async fn stop(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    Ok(Json(json!({ "stopped": set_stopped(&edge, target, true).await? })))
}

pub(super) async fn start(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    Ok(Json(json!({ "started": set_stopped(&edge, target, false).await? })))
}

async fn set_stopped(edge: &Edge, target: Target, stop: bool) -> Result<bool, Refused> {
    let service = Arc::clone(&edge.service);
    to_its_end(async move { service.set_stopped(&target.kind, &target.key, stop).await }).await
}

pub(super) async fn state_get(
    State(edge): State<Arc<Edge>>,
    target: Target,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (kind, key, name) = (target.kind.clone(), target.key.clone(), target.member.clone());
    let value = change(&edge, target, &headers, StateOperation::Get).await?;
    let Some(bytes) = value.bytes else {
        let message = format!("{kind}/{key} has no state value `{name}`");
        return Err(Refused::new(codes::NOT_FOUND, message, "`quark state KIND/KEY list` shows what it has"));
    };
    let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok(with_etag((content_type, bytes).into_response(), value.etag.as_deref()))
}

pub(super) async fn state_set(
    State(edge): State<Arc<Edge>>,
    target: Target,
    request: Request,
) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let received = edge.room.receive(body, &head.headers, edge.bounds.state()).await?;
    let left = change(&edge, target, &head.headers, StateOperation::Set(received.bytes)).await?;
    Ok(with_etag(StatusCode::NO_CONTENT.into_response(), left.etag.as_deref()))
}

pub(super) async fn state_delete(
    State(edge): State<Arc<Edge>>,
    target: Target,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let left = change(&edge, target, &headers, StateOperation::Delete).await?;
    Ok(with_etag(StatusCode::NO_CONTENT.into_response(), left.etag.as_deref()))
}

async fn change(
    edge: &Edge,
    target: Target,
    headers: &HeaderMap,
    operation: StateOperation,
) -> Result<StateValue, Refused> {
    let if_match = if_match(headers)?;
    let conditional = if_match.is_some();
    let service = Arc::clone(&edge.service);
    let Target { kind, key, member } = target;
    let changed = to_its_end(async move { service.state(&kind, &key, &member, operation, if_match).await }).await;
    changed.map_err(|refused| if conditional { refused.of_condition() } else { refused })
}

/// The one e-tag of `If-Match`, quoted as HTTP wants it or bare.
fn if_match(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut all = headers.get_all(header::IF_MATCH).iter();
    let Some(given) = all.next() else { return Ok(None) };
    let text = given.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let one = !bare.is_empty() && !bare.contains(['"', ',', '*', ' ']);
    if one && all.next().is_none() {
        return Ok(Some(bare.to_owned()));
    }
    let message = format!("If-Match: {text} is not one e-tag");
    Err(Refused::new(codes::BAD_REQUEST, message, "send the ETag of an earlier answer"))
}

fn with_etag(mut response: Response, etag: Option<&str>) -> Response {
    let etag = etag.and_then(|etag| HeaderValue::try_from(format!("\"{etag}\"")).ok());
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// Runs what must not end half-way because its client went away.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Refused::defect()),
    }
}
