//! The names in a path: kind, key, and what the route is about beyond them.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use quark_core::id::{KEY_BYTES_MAX, Key, KindName};

use super::failure::Refused;
use crate::api::codes;

/// An actor, and the path's last part: a method, or the name of a state value or a reminder; empty on routes
/// that have none. So is the key on routes that are about a kind.
pub(super) struct Target {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) member: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let named = RawPathParams::from_request_parts(parts, state).await.map_err(undecodable)?;
        let mut target = Self { kind: String::new(), key: String::new(), member: String::new() };
        let mut keyed = false;
        for (name, value) in &named {
            match name {
                "kind" => value.clone_into(&mut target.kind),
                "key" => {
                    keyed = true;
                    value.clone_into(&mut target.key);
                }
                _ => value.clone_into(&mut target.member),
            }
        }
        if keyed {
            Key::parse(&target.key).map_err(|error| bad_key(&error.to_string()))?;
        }
        let kind = KindName::parse(&target.kind);
        kind.map_err(|error| Refused::new(codes::BAD_REQUEST, error.to_string(), SHAPE))?;
        Ok(target)
    }
}

/// Why the path of an actor has an empty part. Routes never match those.
pub(super) fn empty_part(path: &str) -> Option<Refused> {
    let under = path.strip_prefix("/v1/actors/").or_else(|| path.strip_prefix("/v1/tree/"));
    let under = under.or_else(|| path.strip_prefix("/v1/reminders/")).or_else(|| path.strip_prefix("/v1/trace/"));
    let mut parts = under?.split('/');
    let kind = parts.next()?;
    let key = parts.next()?;
    if kind.is_empty() {
        return Some(Refused::new(codes::BAD_REQUEST, "the kind is empty", SHAPE));
    }
    let empty = format!("the key is empty: a key is 1 to {KEY_BYTES_MAX} bytes of UTF-8");
    key.is_empty().then(|| bad_key(&empty))
}

fn undecodable(rejection: RawPathParamsRejection) -> Refused {
    let text = "kind, key and method must be UTF-8, percent-encoded";
    match rejection {
        RawPathParamsRejection::InvalidUtf8InPathParam(_) => bad_key(text),
        // Only a route that is wired wrongly has no parts.
        RawPathParamsRejection::MissingPathParams(_) | _ => {
            Refused::new(codes::INTERNAL, "the route has no parts", SHAPE)
        }
    }
}

fn bad_key(message: &str) -> Refused {
    Refused::new(codes::BAD_KEY, message, SHAPE)
}

const SHAPE: &str =
    "write KIND/KEY as in /v1/actors/KIND/KEY/METHOD, with each part percent-encoded: a `/` in a key is %2F";
