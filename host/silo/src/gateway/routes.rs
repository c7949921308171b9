//! Which path does what, and what it needs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures_util::FutureExt;

use super::body::Unread;
use super::edge::{Edge, RequestId};
use super::failure::{NO_SUCH_ROUTE, Refused, WRONG_METHOD};
use super::head;
use super::openapi::JSON;
use super::target;
use super::{actors, admin, past};
use crate::api::{Health, codes};

pub(super) fn router(edge: Arc<Edge>) -> Router {
    let admin = Router::new()
        .route("/v1/deployments", post(admin::deploy))
        .route("/v1/kinds", get(admin::kinds))
        .route("/v1/versions", get(admin::versions))
        .route("/v1/activations", get(admin::activations))
        .route("/v1/dead-letters", get(admin::dead_letters))
        .route("/v1/tree", get(admin::trees))
        .route("/v1/tree/{kind}/{key}", get(admin::tree))
        .route("/v1/reminders", get(admin::all_reminders))
        .route("/v1/reminders/{kind}/{key}", get(admin::reminders))
        .route("/v1/actors/{kind}/{key}/-/reminders/{name}", delete(admin::reminder_delete))
        .route("/v1/actors/{kind}/{key}/-/reminders/{name}/fire", post(admin::reminder_fire))
        .route("/v1/actors/{kind}/{key}", get(admin::inspect))
        .route("/v1/actors/{kind}/{key}/-/deactivate", post(admin::deactivate))
        .route("/v1/actors/{kind}/{key}/-/journal", get(past::journal))
        .route("/v1/actors/{kind}/{key}/-/journal/at", get(past::journal_at))
        .route("/v1/trace", get(past::all_turns))
        .route("/v1/trace/{kind}", get(past::turns).put(past::trace).delete(past::no_trace))
        .route("/v1/trace/{kind}/{key}", get(past::turns))
        .route("/v1/actors/{kind}/{key}/-/stop", post(admin::stop))
        .route("/v1/actors/{kind}/{key}/-/start", post(admin::start))
        .route(
            "/v1/actors/{kind}/{key}/-/state/{name}",
            get(admin::state_get).put(admin::state_set).delete(admin::state_delete),
        )
        .layer(from_fn_with_state(Arc::clone(&edge), need_token));
    Router::new()
        .route(HEALTHZ, get(healthz))
        .route(READYZ, get(readyz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/v1/actors/{kind}/{key}/{method}", post(actors::call))
        .merge(admin)
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&edge), enter))
        .layer(from_fn(identify))
        .with_state(edge)
}

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const ROUTES: &str = "there are POST /v1/actors/KIND/KEY/METHOD, GET /v1/actors/KIND/KEY, \
    POST /v1/actors/KIND/KEY/-/deactivate, POST /v1/actors/KIND/KEY/-/stop, \
    POST /v1/actors/KIND/KEY/-/start, GET PUT DELETE /v1/actors/KIND/KEY/-/state/NAME, \
    GET /v1/actors/KIND/KEY/-/journal, GET /v1/actors/KIND/KEY/-/journal/at, POST /v1/deployments, \
    GET /v1/trace, GET PUT DELETE /v1/trace/KIND, GET /v1/trace/KIND/KEY, \
    GET /v1/kinds, GET /v1/versions, GET /v1/activations, \
    GET /v1/dead-letters, GET /v1/tree, GET /v1/tree/KIND/KEY, \
    GET /v1/reminders, GET /v1/reminders/KIND/KEY, DELETE /v1/actors/KIND/KEY/-/reminders/NAME, \
    POST /v1/actors/KIND/KEY/-/reminders/NAME/fire, \
    GET /openapi.json, GET /healthz, GET /readyz, GET /metrics";

/// Gives the request its id, and answers even if a handler panics.
async fn identify(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let (body, unread) = Unread::lend(body, &head.headers);
    let mut request = Request::from_parts(head, body);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (id, mut response) = match request_id(request.headers()) {
        Ok(id) => {
            request.extensions_mut().insert(RequestId(id.clone()));
            let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            (id, answered.unwrap_or_else(|_| Refused::defect().into_response()))
        }
        Err(refused) => (random_id(), refused.into_response()),
    };
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, request_id = id, took = ?began.elapsed(), "answered");
    let is_read = unread.finish().await;
    let headers = response.headers_mut();
    if !is_read {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    // Whatever an actor answers or stores, no browser shall take it for a page, or keep it.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const REQUEST_ID: &str = "x-request-id";
const REQUEST_ID_BYTES_MAX: usize = 128;

fn request_id(headers: &HeaderMap) -> Result<String, Refused> {
    let Some(given) = headers.get(REQUEST_ID) else { return Ok(random_id()) };
    let given = given.to_str().unwrap_or_default();
    if (1..=REQUEST_ID_BYTES_MAX).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(given.to_owned());
    }
    let message = format!("x-request-id is not 1 to {REQUEST_ID_BYTES_MAX} visible ASCII characters");
    Err(Refused::new(codes::BAD_REQUEST, message, "leave it out to get one made"))
}

fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Lets in whoever names this silo. Whoever reaches an exposed one may only ask whether it is up.
async fn enter(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Result<Response, Refused> {
    head::check(&edge.bounds, &request)?;
    edge.guard.check_host(request.uri(), request.headers())?;
    if edge.guard.is_exposed() && ![HEALTHZ, READYZ].contains(&request.uri().path()) {
        edge.guard.check_token(request.headers())?;
    }
    Ok(next.run(request).await)
}

async fn need_token(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Result<Response, Refused> {
    edge.guard.check_token(request.headers())?;
    Ok(next.run(request).await)
}

/// Alive: a silo that cannot write for want of disk is not helped by being restarted.
async fn healthz(State(edge): State<Arc<Edge>>) -> Json<Health> {
    Json(edge.service.health())
}

async fn readyz(State(edge): State<Arc<Edge>>) -> (StatusCode, Json<Health>) {
    let health = edge.service.health();
    (if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], edge.service.metrics()).into_response()
}

async fn openapi(State(edge): State<Arc<Edge>>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], edge.openapi.of(&*edge.service)).into_response()
}

async fn no_such_route(uri: Uri) -> Refused {
    target::empty_part(uri.path())
        .unwrap_or_else(|| Refused::new(NO_SUCH_ROUTE, format!("there is nothing at {}", uri.path()), ROUTES))
}

async fn wrong_method(method: Method, uri: Uri) -> Refused {
    Refused::new(WRONG_METHOD, format!("{method} does not fit {}", uri.path()), "the Allow header names what does")
}
