//! What an instance asks of its silo.

use std::sync::Arc;

use quark_core::commit::{CommitError, Write};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::time::Time;
use quark_engine::{Answer, CallFailure, Level, OutgoingCall, Outside, Owned};

use crate::activation::Activation;
use crate::dispatch::{Arguments, Outgoing};
use crate::silo::Inner;

/// The surroundings of one activation's instance.
pub(crate) struct ActorOutside {
    activation: Arc<Activation>,
    deployment: String,
}

impl ActorOutside {
    pub(crate) fn of(activation: Arc<Activation>, deployment: String) -> Arc<dyn Outside> {
        Arc::new(Self { activation, deployment })
    }

    fn silo(&self) -> Option<Arc<Inner>> {
        self.activation.silo.upgrade()
    }
}

impl Outside for ActorOutside {
    fn call(&self, call: OutgoingCall) -> Owned<Result<Answer, CallFailure>> {
        let Some(silo) = self.silo() else { return Box::pin(async { Err(CallFailure::Commit(CommitError::Fenced)) }) };
        let OutgoingCall { to, method, work, write, from_method, head, turn, timeout } = call;
        let point = self.activation.commit_point(&silo, write);
        let from = self.activation.id.clone();
        Box::pin(async move {
            point.wait().await.map_err(CallFailure::Commit)?;
            let outgoing = Outgoing {
                path: head.path.with(from.clone(), from_method, turn.generation, turn.number),
                from: Some(from),
                to,
                method,
                chain: head.chain,
                deadline: head.deadline,
                timeout,
            };
            silo.call_from(outgoing, Arguments::of(work)).await.map_err(CallFailure::Call)
        })
    }

    fn commit(&self, write: Write) -> Owned<Result<u64, CommitError>> {
        let Some(silo) = self.silo() else { return Box::pin(async { Err(CommitError::Fenced) }) };
        let point = self.activation.commit_point(&silo, write);
        let activation = self.activation.clone();
        Box::pin(async move {
            point.wait().await?;
            Ok(activation.machine.lock().loaded_as().map_or(0, |(_, etag)| etag))
        })
    }

    fn check_tell(&self, to: &ActorId, method: &str, json: &str) -> Result<Vec<u8>, CallError> {
        let silo = self.silo().ok_or_else(|| CallError::Unreachable("the silo is stopping".into()))?;
        silo.encode_tell(to, method, json)
    }

    fn etag(&self) -> Option<u64> {
        self.activation.machine.lock().loaded_as().map(|(_, etag)| etag).filter(|etag| *etag > 0)
    }

    fn now(&self) -> Time {
        self.silo().map_or(Time::NEVER, |silo| silo.clock.now())
    }

    fn random(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        rand::fill(&mut bytes[..]);
        bytes
    }

    fn log(&self, level: Level, line: &str) {
        let (actor, deployment) = (&self.activation.id, &self.deployment);
        if !self.silo().is_some_and(|silo| silo.log_allowed()) {
            return;
        }
        match level {
            Level::Trace => tracing::trace!(target: "actor", %actor, deployment, "{line}"),
            Level::Debug => tracing::debug!(target: "actor", %actor, deployment, "{line}"),
            Level::Info => tracing::info!(target: "actor", %actor, deployment, "{line}"),
            Level::Warn => tracing::warn!(target: "actor", %actor, deployment, "{line}"),
            Level::Error => tracing::error!(target: "actor", %actor, deployment, "{line}"),
        }
    }
}
