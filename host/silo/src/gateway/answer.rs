//! From a [`Failure`] to a status and a JSON body: the one table that says which code is which.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::{Failure, codes};

/// No route has that path.
pub(super) const NO_SUCH_ROUTE: &str = "no-such-route";
/// The route does not take that method.
pub(super) const WRONG_METHOD: &str = "wrong-method";
/// The body came too slowly.
pub(super) const TOO_SLOW: &str = "too-slow";
/// A `conflict` of a request that had an `If-Match`; not a code of its own.
const PRECONDITION_FAILED: u16 = 412;

/// Every code that a client can meet, with its HTTP status. Codes that are not here are 500.
pub const STATUSES: &[(&str, u16)] = &[
    (codes::BAD_REQUEST, 400),
    (codes::BAD_ARGUMENTS, 400),
    (codes::BAD_KEY, 400),
    (codes::BAD_COMPONENT, 400),
    (codes::BAD_MANIFEST, 400),
    (codes::AMBIGUOUS_KIND, 400),
    ("incompatible", 400),
    (codes::UNAUTHORIZED, 401),
    (codes::BAD_HOST, 403),
    ("denied", 403),
    (codes::NO_SUCH_KIND, 404),
    (codes::NO_SUCH_METHOD, 404),
    (codes::NOT_FOUND, 404),
    (NO_SUCH_ROUTE, 404),
    (WRONG_METHOD, 405),
    (TOO_SLOW, 408),
    (codes::CONFLICT, 409),
    ("deadlock", 409),
    ("stopped", 409),
    (codes::BODY_TOO_LARGE, 413),
    ("too-large", 413),
    (codes::BAD_CONTENT_TYPE, 415),
    ("overloaded", 429),
    (codes::INTERNAL, 500),
    ("failed", 502),
    ("downstream", 502),
    ("unknown-outcome", 502),
    ("cancelled", 502),
    ("other", 502),
    (codes::STOPPING, 503),
    ("unavailable", 503),
    ("unreachable", 503),
    ("deadline-exceeded", 504),
];

/// A failure on its way to the client.
#[derive(Debug)]
pub(super) struct Refusal {
    failure: Failure,
    status: u16,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let found = STATUSES.iter().find(|(code, _)| *code == failure.code);
        Self { status: found.map_or(500, |(_, status)| *status), failure }
    }
}

impl Refusal {
    /// A failure of a request that was to happen only for one e-tag.
    pub(super) fn conditional(failure: Failure, had_condition: bool) -> Self {
        let mut refusal = Self::from(failure);
        if had_condition && refusal.failure.code == codes::CONFLICT {
            refusal.status = PRECONDITION_FAILED;
        }
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Failure,
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let wait_ms = self.failure.retry_after_ms;
        let mut response = (status, Json(Body { error: self.failure })).into_response();
        if let Some(ms) = wait_ms {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"quark\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
