//! Request bodies in memory: how large, how slow, how many bytes of all of them together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Limits;
use super::answer::TOO_SLOW;
use crate::api::{Failure, codes};

/// The unit of the budget.
const PIECE: usize = 1 << 10;
const RETRY_MS: u64 = 1000;

/// The budget of all bodies, and the pace that one must keep.
pub(super) struct Bodies {
    budget: Arc<Semaphore>,
    grace: Duration,
    rate: u64,
}

/// A whole body. Its place in the budget is free again when this is dropped.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    place: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(super) fn new(limits: &Limits) -> Self {
        let pieces = (limits.bodies_bytes / PIECE).min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(pieces));
        Self { budget, grace: limits.body_grace, rate: limits.body_rate.max(1) }
    }

    /// Reads a body of at most `max` bytes whole, or nothing of it counts.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        max: usize,
    ) -> Result<Held, Failure> {
        let promised = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if promised.is_some_and(|bytes: u64| bytes > max as u64) {
            return Err(too_large(promised, max));
        }
        let began = Instant::now();
        let mut held = Held { bytes: Vec::new(), place: None };
        let mut pieces = body.into_data_stream();
        loop {
            let came = held.bytes.len();
            let until = began + self.grace + Duration::from_secs(came as u64 / self.rate);
            let piece = match timeout_at(until, pieces.next()).await {
                Err(_) => return Err(self.too_slow(came)),
                Ok(None) => return Ok(held),
                Ok(Some(Err(_))) => return Err(cut_off(came, promised)),
                Ok(Some(Ok(piece))) => piece,
            };
            if piece.len() > max - came {
                return Err(too_large(promised, max));
            }
            self.make_place(&mut held, came + piece.len())?;
            held.bytes.extend_from_slice(&piece);
        }
    }

    /// Widens the body's place in the budget to `bytes`.
    fn make_place(&self, held: &mut Held, bytes: usize) -> Result<(), Failure> {
        let has = held.place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wants = u32::try_from(bytes.div_ceil(PIECE).saturating_sub(has)).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.budget).try_acquire_many_owned(wants) else {
            return Err(Failure {
                retry_after_ms: Some(RETRY_MS),
                ..Failure::new("overloaded", "too many bytes of requests are under way; nothing was done")
            });
        };
        match &mut held.place {
            Some(place) => place.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    fn too_slow(&self, came: usize) -> Failure {
        let rate = self.rate;
        Failure::new(
            TOO_SLOW,
            format!("only {came} bytes of the body came in time; nothing was done"),
        )
        .next(format!("send at least {rate} bytes a second"))
    }
}

fn too_large(promised: Option<u64>, max: usize) -> Failure {
    let is = promised.map_or_else(|| "larger".to_owned(), |bytes| format!("{bytes} bytes"));
    Failure::new(
        codes::BODY_TOO_LARGE,
        format!("the body is {is}; at most {max} bytes are taken here; nothing was done"),
    )
}

fn cut_off(came: usize, promised: Option<u64>) -> Failure {
    let of = promised.map_or_else(String::new, |bytes| format!(" of {bytes}"));
    Failure::new(
        codes::BAD_REQUEST,
        format!("the body ended early, after {came}{of} bytes; nothing was done"),
    )
    .next("send it again, whole")
}
