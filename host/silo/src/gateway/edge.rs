//! What every handler works with.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;

use super::body::Room;
use super::config::Bounds;
use super::failure::Refused;
use super::guard::Guard;
use super::openapi::Document;
use super::service::Service;
use crate::api::codes;

/// The silo behind the gateway, and what a request may take.
pub(super) struct Edge {
    pub(super) service: Arc<dyn Service>,
    pub(super) guard: Guard,
    pub(super) bounds: Bounds,
    pub(super) room: Room,
    pub(super) openapi: Document,
}

/// The request's id: the client's own, or one made here.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

pub(super) fn bad_query(rejection: QueryRejection) -> Refused {
    Refused::new(codes::BAD_REQUEST, rejection.body_text(), "see the route's parameters")
}
