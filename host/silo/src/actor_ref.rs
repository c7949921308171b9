//! Calls from within the process that embeds a silo, without text in between.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::envelope::{Chain, Path};
use quark_core::error::CallError;
use quark_core::id::{ActorId, Key};
use quark_core::time::Time;
use quark_engine::values::Payload;

use crate::activation::Activation;
use crate::api::{Failure, codes};
use crate::dispatch::Outgoing;
use crate::message::MethodRef;
use crate::silo::{Inner, Silo};

/// One method of one actor, looked up once and called often.
pub struct ActorRef {
    silo: Arc<Inner>,
    to: ActorId,
    method: MethodRef,
    chain: Arc<Chain>,
    /// Where it was last; looked up again when that has left memory.
    found: Mutex<Weak<Activation>>,
}

impl Clone for ActorRef {
    fn clone(&self) -> Self {
        Self {
            silo: self.silo.clone(),
            to: self.to.clone(),
            method: self.method.clone(),
            chain: self.chain.clone(),
            found: Mutex::new(self.found.lock().clone()),
        }
    }
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
        Ok(ActorRef { silo: self.0.clone(), to, method, chain: Arc::default(), found: Mutex::default() })
    }
}

impl ActorRef {
    /// Calls the method; `payload` must be by its types.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn ask(&self, payload: Payload, timeout: Option<Duration>) -> Result<Payload, CallError> {
        let call =
            Outgoing { from: None, path: Path::START, chain: self.chain.clone(), deadline: Time::NEVER, timeout };
        self.silo.ask(&self.find(), call, &self.method, payload, Instant::now()).outcome().await
    }

    fn find(&self) -> Arc<Activation> {
        let mut found = self.found.lock();
        if let Some(activation) = found.upgrade().filter(|activation| !activation.is_over()) {
            return activation;
        }
        let activation = self.silo.activation(&self.to);
        *found = Arc::downgrade(&activation);
        activation
    }
}
