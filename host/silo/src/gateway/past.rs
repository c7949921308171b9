//! What happened: events of journals, what they came to, and the last turns.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::limit;
use super::edge::{Edge, bad_query};
use super::failure::Refused;
use super::target::Target;
use crate::api::{JournalPage, JournalState, Moment, TraceReport, TurnsWanted, codes};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    from: Option<u64>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MomentQuery {
    sequence: Option<u64>,
    at_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnsQuery {
    limit: Option<usize>,
    after: Option<u64>,
}

pub(super) async fn journal(
    State(edge): State<Arc<Edge>>,
    target: Target,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Json<JournalPage>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    let (first, limit) = (query.from.unwrap_or(1), limit(query.limit)?);
    Ok(Json(edge.service.journal(&target.kind, &target.key, first, limit).await?))
}

pub(super) async fn journal_at(
    State(edge): State<Arc<Edge>>,
    target: Target,
    query: Result<Query<MomentQuery>, QueryRejection>,
) -> Result<Json<JournalState>, Refused> {
    let Query(query) = query.map_err(bad_query)?;
    let moment = match (query.sequence, query.at_ms) {
        (Some(sequence), None) => Moment::Sequence(sequence),
        (None, Some(at_ms)) => Moment::Time(at_ms),
        (None, None) | (Some(_), Some(_)) => {
            let message = "it is not said for which moment, or twice";
            let next = "send `sequence`, the number of an event, or `at_ms`, milliseconds since 1970";
            return Err(Refused::new(codes::BAD_REQUEST, message, next));
        }
    };
    Ok(Json(edge.service.journal_at(&target.kind, &target.key, moment).await?))
}

pub(super) async fn all_turns(
    State(edge): State<Arc<Edge>>,
    query: Result<Query<TurnsQuery>, QueryRejection>,
) -> Result<Json<TraceReport>, Refused> {
    let Query(TurnsQuery { limit: most, after }) = query.map_err(bad_query)?;
    let wanted = TurnsWanted { limit: limit(most)?, after, ..TurnsWanted::default() };
    Ok(Json(edge.service.trace(&wanted)?))
}

/// Of a kind, or of one actor.
pub(super) async fn turns(
    State(edge): State<Arc<Edge>>,
    target: Target,
    query: Result<Query<TurnsQuery>, QueryRejection>,
) -> Result<Json<TraceReport>, Refused> {
    let Query(TurnsQuery { limit: most, after }) = query.map_err(bad_query)?;
    let key = Some(target.key).filter(|key| !key.is_empty());
    let wanted = TurnsWanted { kind: Some(target.kind), key, limit: limit(most)?, after };
    Ok(Json(edge.service.trace(&wanted)?))
}

pub(super) async fn trace(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    set_traced(&edge, &target, true)
}

pub(super) async fn no_trace(State(edge): State<Arc<Edge>>, target: Target) -> Result<Json<Value>, Refused> {
    set_traced(&edge, &target, false)
}

fn set_traced(edge: &Edge, target: &Target, yes: bool) -> Result<Json<Value>, Refused> {
    let kind = edge.service.set_traced(&target.kind, yes)?;
    Ok(Json(json!({ "kind": kind, "traced": yes })))
}
