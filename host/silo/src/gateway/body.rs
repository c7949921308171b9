//! Bodies, within bounds of size, time and memory.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::http::{HeaderMap, header};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
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

/// What a handler has not read of a body.
///
/// A connection can serve a next request only once all of a body has been read, and hyper closes the
/// connection of one that has not without saying so in the answer: a client that keeps connections would
/// have its next request, whatever that is, end without one.
pub(super) struct Unread(Arc<Mutex<Lent>>);

struct Lent {
    parts: BodyDataStream,
    /// The client sends the body once it is asked for, and nobody has.
    is_held_back: bool,
    is_at_end: bool,
    /// It has no end that anybody could find.
    is_broken: bool,
}

impl Unread {
    /// Lends a body to a handler.
    pub(super) fn lend(body: Body, head: &HeaderMap) -> (Body, Self) {
        let is_held_back = head.contains_key(header::EXPECT) && !body.is_end_stream();
        let lent = Arc::new(Mutex::new(Lent {
            parts: body.into_data_stream(),
            is_held_back,
            is_at_end: false,
            is_broken: false,
        }));
        let handlers = Arc::clone(&lent);
        (Body::from_stream(stream::poll_fn(move |context| handlers.lock().poll(context))), Self(lent))
    }

    /// Reads what there is left; false when that is too much, too slow or broken, so that the connection
    /// has to end with its answer.
    pub(super) async fn finish(self) -> bool {
        let lent = self.0;
        let (is_held_back, is_broken) = {
            let lent = lent.lock();
            (lent.is_held_back, lent.is_broken)
        };
        if is_held_back || is_broken {
            return false;
        }
        let mut left = UNREAD_BYTES_MAX;
        let rest = async {
            while let Some(part) = poll_fn(|context| lent.lock().poll(context)).await {
                let Some(less) = part.ok().and_then(|part| left.checked_sub(part.len())) else { return false };
                left = less;
            }
            true
        };
        timeout(UNREAD_TIME_MAX, rest).await.unwrap_or(false)
    }
}

impl Lent {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        if self.is_at_end {
            return Poll::Ready(None);
        }
        self.is_held_back = false;
        let next = self.parts.poll_next_unpin(context);
        self.is_broken = matches!(next, Poll::Ready(Some(Err(_))));
        self.is_at_end = self.is_broken || matches!(next, Poll::Ready(None));
        next
    }
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
        let message = format!(
            "{} broke off, or is not divided as HTTP has it, after {received}{of} bytes; nothing was done",
            self.what
        );
        Refused::new(codes::BAD_REQUEST, message, "repeat the upload")
    }
}

/// Permits count KiB, because a semaphore's count is small.
const UNIT: usize = 1024;

/// How much of a body that nobody wants is read, and how long its answer waits for that.
const UNREAD_BYTES_MAX: usize = 64 << 10;
const UNREAD_TIME_MAX: Duration = Duration::from_millis(100);
