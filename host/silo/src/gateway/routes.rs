//! Which path goes where.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use quark_core::id::IdError;

use super::answer::{NO_SUCH_ROUTE, Refusal, WRONG_METHOD};
use super::guard::{self, Guard};
use super::{Door, actors, admin, probes};
use crate::api::{Failure, codes};

const LIST: &str = "POST /v1/actors/KIND/KEY/METHOD, GET /v1/actors/KIND/KEY, \
    POST /v1/actors/KIND/KEY/-/deactivate, GET|PUT|DELETE /v1/actors/KIND/KEY/-/state/NAME, \
    POST /v1/deployments, GET /v1/kinds, GET /v1/activations, GET /v1/dead-letters, \
    GET /healthz, GET /readyz, GET /metrics";

pub(super) fn router(door: Arc<Door>, guard: Guard) -> Router {
    let guard = Arc::new(guard);
    let state = get(admin::read_state).put(admin::write_state).delete(admin::delete_state);
    let admin = Router::new()
        .route("/v1/deployments", post(admin::deploy))
        .route("/v1/kinds", get(admin::kinds))
        .route("/v1/activations", get(admin::activations))
        .route("/v1/dead-letters", get(admin::dead_letters))
        .route("/v1/actors/{kind}/{key}", get(admin::inspect))
        .route("/v1/actors/{kind}/{key}/-/deactivate", post(admin::deactivate))
        .route("/v1/actors/{kind}/{key}/-/state/{name}", state)
        .route_layer(from_fn_with_state(Arc::clone(&guard), guard::administer));
    Router::new()
        .route("/healthz", get(probes::alive))
        .route("/readyz", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .route("/v1/actors/{kind}/{key}/{method}", post(actors::call))
        .merge(admin)
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(door)
        .layer(from_fn_with_state(guard, guard::enter))
}

/// Empty parts of a path match no route, but say what is wrong.
async fn no_such_route(uri: Uri) -> Refusal {
    let path = uri.path();
    let parts: Vec<&str> = path.split('/').collect();
    let failure = match parts.as_slice() {
        ["", "v1", "actors", "", ..] => Failure::new(codes::BAD_REQUEST, IdError::EmptyKind.to_string()),
        ["", "v1", "actors", _, "", ..] => Failure::new(codes::BAD_KEY, IdError::EmptyKey.to_string()),
        _ => {
            let shown: String = path.chars().take(200).collect();
            Failure::new(NO_SUCH_ROUTE, format!("there is nothing at {shown}"))
                .next(format!("there is: {LIST}"))
        }
    };
    failure.into()
}

/// The `Allow` header of the answer is axum's.
async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let shown: String = uri.path().chars().take(200).collect();
    Failure::new(WRONG_METHOD, format!("{shown} does not take {method}"))
        .next("see the Allow header for what it takes")
        .into()
}
