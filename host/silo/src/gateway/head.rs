//! The bounds of a request's head.
//!
//! hyper has bounds of its own and answers beyond them with a bare status. Ours are lower, so that
//! whoever goes over them by mistake is told so like of any other failure.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};

use super::config::Bounds;
use super::failure::{HEAD_TOO_LARGE, Refused, TARGET_TOO_LONG};

/// hyper's bounds on a head are so many times ours.
pub(super) const SLACK: usize = 2;
/// What a header takes beside its name and value: a colon, a space and the end of its line.
const FIELD_BYTES: usize = 4;

/// Refuses a head beyond the bounds.
pub(super) fn check(bounds: &Bounds, request: &Request) -> Result<(), Refused> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > bounds.target_bytes {
        let message = format!("the request's target has {target} bytes; at most {} are taken", bounds.target_bytes);
        return Err(Refused::new(TARGET_TOO_LONG, message, "send arguments and values in the body"));
    }
    let fields = request.headers().len();
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + FIELD_BYTES;
    let bytes = target + request.headers().iter().map(bytes).sum::<usize>();
    if fields > bounds.head_fields || bytes > bounds.head_bytes {
        let message = format!(
            "the request has {fields} headers, with its target {bytes} bytes; at most {} and {} are taken",
            bounds.head_fields, bounds.head_bytes
        );
        return Err(Refused::new(HEAD_TOO_LARGE, message, "send fewer or shorter headers"));
    }
    Ok(())
}
