//! `quark:actor/context`: what a turn knows about itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quark_core::id::ActorId;
use quark_core::time::Time;

use crate::bindings::quark::actor::{context, types};
use crate::guest::Guest;

/// The most random bytes that one call gives.
const RANDOM_BYTES_MAX: u32 = 4096;

pub(crate) fn actor_id(id: &ActorId) -> types::ActorId {
    types::ActorId { kind: id.kind.to_string(), key: id.key.to_string() }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl types::Host for Guest {}

impl context::Host for Guest {
    fn me(&mut self) -> wasmtime::Result<types::ActorId> {
        Ok(actor_id(&self.member.actor))
    }

    fn caller(&mut self) -> wasmtime::Result<Option<types::ActorId>> {
        Ok(self.turn.head.sender().map(actor_id))
    }

    fn principal(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.turn.head.chain.principal.clone())
    }

    fn request_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.turn.head.chain.request_id.clone())
    }

    fn idempotency_key(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.turn.key().map(ToString::to_string))
    }

    fn generation(&mut self) -> wasmtime::Result<u64> {
        Ok(self.member.generation)
    }

    fn header(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.turn.head.chain.headers.get(&name).cloned())
    }

    /// A pair that would pass the bounds on headers is left out, with a line in the log.
    fn set_header(&mut self, name: String, value: String) -> wasmtime::Result<()> {
        if !Arc::make_mut(&mut self.turn.head.chain).set_header(&name, &value) {
            self.member
                .host
                .log(super::log::Level::Warn, &format!("header `{name}` is over the limit on headers; left out"));
        }
        Ok(())
    }

    fn deadline(&mut self) -> wasmtime::Result<Option<u64>> {
        let deadline = self.turn.head.deadline;
        if deadline == Time::NEVER {
            return Ok(None);
        }
        let left = deadline.since(self.member.host.now());
        Ok(Some(now_ms().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))))
    }

    fn set_timeout(&mut self, each: u64) -> wasmtime::Result<()> {
        self.turn.timeout = Some(Duration::from_millis(each));
        Ok(())
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        let (host, head) = (&self.member.host, &self.turn.head);
        Ok(host.now() >= head.deadline || host.is_given_up(self.turn.turn, &head.path))
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(now_ms())
    }

    fn random(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(self.member.host.random(len.min(RANDOM_BYTES_MAX) as usize))
    }

    fn config(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.kind().policy.config.get(&name).cloned())
    }

    fn deactivate_soon(&mut self) -> wasmtime::Result<()> {
        self.member.wishes.deactivate = true;
        Ok(())
    }

    fn keep_awake(&mut self, at_least: u64) -> wasmtime::Result<()> {
        self.member.wishes.keep_awake = Some(Duration::from_millis(at_least));
        Ok(())
    }
}
