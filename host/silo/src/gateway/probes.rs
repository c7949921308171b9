//! For whoever watches the silo: alive, ready, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use super::Door;

/// Alive: the process answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Ready: it takes calls and its store takes writes; else 503 and the reasons.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Response {
    let health = door.service.health();
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

/// Metrics for Prometheus.
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], door.service.metrics()).into_response()
}
