//! The status of every code, and the response that says why.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::{Failure, codes};

/// No such path.
pub(super) const NO_SUCH_ROUTE: &str = "no-such-route";
/// The path is there, for other methods.
pub(super) const WRONG_METHOD: &str = "wrong-method";
/// The body came too slowly.
pub(super) const SLOW_BODY: &str = "slow-body";
/// The request's target is over the limit.
pub(super) const TARGET_TOO_LONG: &str = "target-too-long";
/// The request's headers are over the limit.
pub(super) const HEAD_TOO_LARGE: &str = "head-too-large";
/// The actor's mailbox, or the gateway, is full.
pub(super) const OVERLOADED: &str = "overloaded";

/// A failure on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) failure: Failure,
}

impl Refused {
    /// A failure of the gateway's own, with what to do next.
    pub(super) fn new(code: &str, message: impl Into<String>, next: &str) -> Self {
        Failure::new(code, message).next(next).into()
    }

    /// The gateway has no room for this now.
    pub(super) fn overloaded(message: &str) -> Self {
        let mut failure = Failure::new(OVERLOADED, message).next("repeat it after the time given");
        failure.retry_after_ms = Some(1000);
        failure.into()
    }

    /// Something broke off half-way.
    pub(super) fn defect() -> Self {
        let mut failure = Failure::new(codes::INTERNAL, "the request met a defect of Quark");
        failure.may_be_done = true;
        failure.next("look at the silo's log").into()
    }

    /// The same for a request that came with `If-Match`, for which HTTP has a status of its own.
    pub(super) fn of_condition(mut self) -> Self {
        if self.failure.code == codes::CONFLICT {
            self.status = StatusCode::PRECONDITION_FAILED;
        }
        self
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { status: status(&failure.code), failure }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Failure,
        }
        let wait = self.failure.retry_after_ms.map(|ms| HeaderValue::from(ms.div_ceil(1000)));
        let mut response = (self.status, Json(Body { error: self.failure })).into_response();
        if let Some(seconds) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The status of a code; one that is not in the table is a defect.
fn status(code: &str) -> StatusCode {
    let found = STATUSES.iter().find(|(known, _)| *known == code);
    found.map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| *status)
}

/// The codes that answer no call: of deploys, of state, of other routes.
const NOT_OF_CALLS: [&str; 9] = [
    codes::BAD_COMPONENT,
    codes::BAD_MANIFEST,
    codes::BREAKING_CHANGE,
    codes::CONFLICT,
    codes::NOT_FOUND,
    codes::NOT_JOURNALED,
    codes::NO_SUCH_EVENT,
    NO_SUCH_ROUTE,
    WRONG_METHOD,
];

/// The codes that can answer a call, by status.
pub(super) fn of_calls() -> BTreeMap<u16, Vec<&'static str>> {
    let mut codes = BTreeMap::<u16, Vec<&str>>::new();
    for (code, status) in STATUSES.iter().filter(|(code, _)| !NOT_OF_CALLS.contains(code)) {
        codes.entry(status.as_u16()).or_default().push(*code);
    }
    codes
}

const STATUSES: &[(&str, StatusCode)] = &[
    (codes::BAD_REQUEST, StatusCode::BAD_REQUEST),
    (codes::BAD_ARGUMENTS, StatusCode::BAD_REQUEST),
    (codes::BAD_KEY, StatusCode::BAD_REQUEST),
    (codes::BAD_COMPONENT, StatusCode::BAD_REQUEST),
    (codes::BAD_MANIFEST, StatusCode::BAD_REQUEST),
    ("incompatible", StatusCode::BAD_REQUEST),
    (codes::NOT_IDEMPOTENT, StatusCode::BAD_REQUEST),
    (codes::UNAUTHORIZED, StatusCode::UNAUTHORIZED),
    (codes::BAD_HOST, StatusCode::FORBIDDEN),
    ("denied", StatusCode::FORBIDDEN),
    (codes::NO_SUCH_KIND, StatusCode::NOT_FOUND),
    (codes::NO_SUCH_METHOD, StatusCode::NOT_FOUND),
    (codes::NOT_FOUND, StatusCode::NOT_FOUND),
    (codes::NO_SUCH_EVENT, StatusCode::NOT_FOUND),
    (NO_SUCH_ROUTE, StatusCode::NOT_FOUND),
    (WRONG_METHOD, StatusCode::METHOD_NOT_ALLOWED),
    (SLOW_BODY, StatusCode::REQUEST_TIMEOUT),
    (codes::AMBIGUOUS_KIND, StatusCode::CONFLICT),
    (codes::CONFLICT, StatusCode::CONFLICT),
    (codes::BREAKING_CHANGE, StatusCode::CONFLICT),
    (codes::NOT_JOURNALED, StatusCode::CONFLICT),
    ("deadlock", StatusCode::CONFLICT),
    ("stopped", StatusCode::CONFLICT),
    ("too-large", StatusCode::PAYLOAD_TOO_LARGE),
    (codes::BODY_TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE),
    (TARGET_TOO_LONG, StatusCode::URI_TOO_LONG),
    (HEAD_TOO_LARGE, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    (codes::BAD_CONTENT_TYPE, StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ("key-reused", StatusCode::CONFLICT),
    (OVERLOADED, StatusCode::TOO_MANY_REQUESTS),
    (codes::INTERNAL, StatusCode::INTERNAL_SERVER_ERROR),
    ("failed", StatusCode::BAD_GATEWAY),
    ("downstream", StatusCode::BAD_GATEWAY),
    ("unknown-outcome", StatusCode::BAD_GATEWAY),
    ("other", StatusCode::BAD_GATEWAY),
    ("unreachable", StatusCode::SERVICE_UNAVAILABLE),
    ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
    ("cancelled", StatusCode::SERVICE_UNAVAILABLE),
    (codes::STOPPING, StatusCode::SERVICE_UNAVAILABLE),
    ("deadline-exceeded", StatusCode::GATEWAY_TIMEOUT),
];

#[cfg(test)]
mod tests {
    use quark_core::error::CallError;

    use super::*;

    #[test]
    fn every_call_error_has_its_status() {
        let text = || "why".to_owned();
        for (error, expect) in [
            (CallError::DeadlineExceeded, 504),
            (CallError::UnknownOutcome(text()), 502),
            (CallError::Cancelled, 503),
            (CallError::Failed(text()), 502),
            (CallError::CoolsDown { retry_ms: 1, reason: text() }, 502),
            (CallError::Downstream(text()), 502),
            (CallError::Unreachable(text()), 503),
            (CallError::Stopped, 409),
            (CallError::Overloaded(1), 429),
            (CallError::Unavailable(1), 503),
            (CallError::TooLarge(1), 413),
            (CallError::Incompatible(text()), 400),
            (CallError::Deadlock(text()), 409),
            (CallError::Denied(text()), 403),
            (CallError::KeyReused(text()), 409),
            (CallError::Other(text()), 502),
        ] {
            assert_eq!(status(error.code()), expect, "{}", error.code());
        }
    }

    #[test]
    fn every_other_code_has_its_status() {
        for (code, expect) in [
            (codes::BAD_REQUEST, 400),
            (codes::BAD_ARGUMENTS, 400),
            (codes::BAD_KEY, 400),
            (codes::BAD_COMPONENT, 400),
            (codes::BAD_MANIFEST, 400),
            (codes::NOT_IDEMPOTENT, 400),
            (codes::UNAUTHORIZED, 401),
            (codes::BAD_HOST, 403),
            (codes::NO_SUCH_KIND, 404),
            (codes::NO_SUCH_METHOD, 404),
            (codes::NOT_FOUND, 404),
            (codes::NO_SUCH_EVENT, 404),
            (codes::NOT_JOURNALED, 409),
            (NO_SUCH_ROUTE, 404),
            (WRONG_METHOD, 405),
            (SLOW_BODY, 408),
            (codes::AMBIGUOUS_KIND, 409),
            (codes::CONFLICT, 409),
            (codes::BREAKING_CHANGE, 409),
            (codes::BODY_TOO_LARGE, 413),
            (codes::BAD_CONTENT_TYPE, 415),
            (codes::STOPPING, 503),
            (codes::INTERNAL, 500),
            ("never heard of", 500),
        ] {
            assert_eq!(status(code), expect, "{code}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<_> = STATUSES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        let listed = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), listed);
    }

    #[test]
    fn waits_are_whole_seconds_rounded_up() {
        for (ms, expect) in [(0, "0"), (1, "1"), (1000, "1"), (1001, "2")] {
            let response = Refused::from(Failure::from(CallError::Overloaded(ms))).into_response();
            assert_eq!(response.headers()[header::RETRY_AFTER], expect, "{ms} ms");
        }
    }
}
