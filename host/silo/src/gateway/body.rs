//! Bodies, within bounds of size, time and memory.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::config::BodyBounds;
use super::failure::{Refused, SLOW_BODY};
use crate::api::codes;

/// Room in memory for the bodies of all requests together.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A whole body, and the room that it takes until it is dropped.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Reads a body to its end.
    pub(super) async fn receive(&self, body: Body, head: &HeaderMap, bounds: BodyBounds) -> Result<Received, Refused> {
        let announced = head.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|announced: u64| announced > bounds.bytes as u64) {
            return Err(bounds.too_large());
        }
        let end = Instant::now() + bounds.time;
        let mut received = Received { bytes: Vec::new(), room: None };
        let mut parts = body.into_data_stream();
        loop {
            let next = timeout_at(end, timeout(bounds.pause, parts.next())).await;
            let Ok(Ok(next)) = next else { return Err(bounds.too_slow(received.bytes.len())) };
            let Some(part) = next else { return Ok(received) };
            let part = part.map_err(|_| bounds.broken(received.bytes.len(), announced))?;
            if received.bytes.len() + part.len() > bounds.bytes {
                return Err(bounds.too_large());
            }
            self.extend(&mut received, &part)?;
        }
    }

    fn extend(&self, received: &mut Received, part: &[u8]) -> Result<(), Refused> {
        let held = received.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (received.bytes.len() + part.len()).div_ceil(UNIT).saturating_sub(held);
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.0).try_acquire_many_owned(more);
            let room = room.map_err(|_| Refused::overloaded("the gateway has no room for another body now"))?;
            match &mut received.room {
                Some(all) => all.merge(room),
                none => *none = Some(room),
            }
        }
        received.bytes.extend_from_slice(part);
        Ok(())
    }
}

impl BodyBounds {
    fn too_large(self) -> Refused {
        let message = format!("{} is over {} bytes; nothing was done", self.what, self.bytes);
        Refused::new(codes::BODY_TOO_LARGE, message, "send less at once")
    }

    fn too_slow(self, received: usize) -> Refused {
        let message = format!("{} came too slowly: {received} bytes until now; nothing was done", self.what);
        Refused::new(SLOW_BODY, message, "repeat it over a faster connection")
    }

    fn broken(self, received: usize, announced: Option<u64>) -> Refused {
        let of = announced.map_or_else(String::new, |announced| format!(" of {announced}"));
        let message = format!("{} broke off after {received}{of} bytes; nothing was done", self.what);
        Refused::new(codes::BAD_REQUEST, message, "repeat the upload")
    }
}

/// Permits count KiB, because a semaphore's count is small.
const UNIT: usize = 1024;
