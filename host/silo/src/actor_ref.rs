//! Calls from within the process that embeds a silo, without text in between.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use quark_core::envelope::{Chain, Path};
use quark_core::error::CallError;
use quark_core::id::{ActorId, Key};
use quark_core::idempotency::IdempotencyKey;
use quark_core::time::Time;
use quark_engine::values::Payload;

use crate::activation::Activation;
use crate::api::{Failure, codes};
use crate::dispatch::{Asking, Outgoing};
use crate::message::MethodRef;
use crate::silo::{Inner, Silo};

/// One method of one actor, looked up once and called often.
#[derive(Clone)]
pub struct ActorRef {
    silo: Arc<Inner>,
    to: ActorId,
    method: MethodRef,
    chain: Arc<Chain>,
    /// Where it was at the first call. When that has left memory, each call looks it up.
    first: OnceLock<Arc<Activation>>,
}

impl Silo {
    /// A method of an actor. The actor is not woken by this.
    ///
    /// # Errors
    /// When there is no such kind or method, or the key is none.
    pub fn actor_ref(&self, kind: &str, key: &str, method: &str) -> Result<ActorRef, Failure> {
        let served = self.0.kinds.find(kind)?;
        let key = Key::parse(key).map_err(|error| Failure::new(codes::BAD_KEY, error.to_string()))?;
        let to = ActorId { kind: served.kind().name.clone(), key };
        let method = Inner::method(&served, method)?;
        Ok(ActorRef { silo: self.0.clone(), to, method, chain: Arc::default(), first: OnceLock::new() })
    }
}

impl ActorRef {
    /// Calls the method; `payload` must be by its types.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn ask(&self, payload: Payload, timeout: Option<Duration>) -> Result<Payload, CallError> {
        match self.asking(payload, timeout, None) {
            Asking::Done(outcome) => outcome,
            waits @ Asking::Waits(..) => waits.outcome().await,
        }
    }

    /// The same with what a repeat of the call is known by. It counts only for a method that is marked
    /// `idempotent`.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn ask_keyed(
        &self,
        payload: Payload,
        timeout: Option<Duration>,
        key: IdempotencyKey,
    ) -> Result<Payload, CallError> {
        self.asking(payload, timeout, Some(key)).outcome().await
    }

    fn asking(&self, payload: Payload, timeout: Option<Duration>, key: Option<IdempotencyKey>) -> Asking {
        let call = Outgoing { path: Path::START, chain: self.chain.clone(), deadline: Time::NEVER, timeout, key };
        let first = self.first.get_or_init(|| self.silo.activation(&self.to));
        if first.is_over() {
            self.silo.ask(&self.silo.activation(&self.to), call, &self.method, payload, Instant::now())
        } else {
            self.silo.ask(first, call, &self.method, payload, Instant::now())
        }
    }
}
