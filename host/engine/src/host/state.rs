//! `quark:actor/state`: the actor's durable values.

use quark_core::commit::CommitError;
use quark_core::state::StageError;
use wasmtime::AsContextMut as _;
use wasmtime::component::Linker;

use crate::bindings::quark::actor::state::{self, StateError};
use crate::guest::Guest;
use crate::outside::Owned;
use crate::rest::Rest;
use crate::seats::attribute;

impl state::Host for Guest {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.member.state.get(&name).map(|value| value.to_vec()))
    }

    fn set(&mut self, name: String, value: Vec<u8>) -> wasmtime::Result<Result<(), StateError>> {
        if self.turn.read_only {
            return Ok(Err(StateError::ReadOnly));
        }
        self.stages();
        Ok(self.member.state.set(&name, value.into()).map_err(|error| match error {
            StageError::TooLarge(limit) => StateError::TooLarge(limit),
            StageError::Reserved => StateError::Unavailable(error.to_string()),
        }))
    }

    fn delete(&mut self, name: String) -> wasmtime::Result<Result<(), StateError>> {
        if self.turn.read_only {
            return Ok(Err(StateError::ReadOnly));
        }
        self.stages();
        self.member.state.delete(&name);
        Ok(Ok(()))
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.member.state.iter().map(|(name, _)| name.to_string()).collect())
    }

    fn etag(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.member.host.etag().map(|etag| etag.to_string()))
    }

    async fn commit(&mut self) -> wasmtime::Result<Result<String, StateError>> {
        let committing = self.commit_staged();
        self.turn.clock.pause();
        let outcome = committing.await;
        self.turn.clock.resume();
        self.committed(outcome)
    }
}

/// Defines what suspends once more, for components in which it is an `async func`.
pub(crate) fn define_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("quark:actor/state@0.1.0")?.func_wrap_concurrent("commit", |accessor, (): ()| {
        Box::pin(async move {
            let (task, committing, _under_way) = accessor.with(|mut access| -> wasmtime::Result<_> {
                let mut store = access.as_context_mut();
                attribute(&mut store)?;
                let guest = store.data_mut();
                let under_way = guest.rest.as_ref().map(Rest::other);
                Ok((guest.task(), guest.commit_staged(), under_way))
            })?;
            let outcome = committing.await;
            accessor.with(|mut access| {
                let guest = access.data_mut();
                guest.resume(task);
                guest.committed(outcome).map(|answer| (answer,))
            })
        })
    })
}

impl Guest {
    /// A commit point of all that is staged.
    fn commit_staged(&mut self) -> Owned<Result<u64, CommitError>> {
        let write = self.reached();
        self.member.host.commit(self.turn.turn, write)
    }

    /// What the guest is told of it.
    fn committed(&mut self, outcome: Result<u64, CommitError>) -> wasmtime::Result<Result<String, StateError>> {
        match outcome {
            Ok(etag) => Ok(Ok(etag.to_string())),
            // What was staged is gone and this memory is ahead of the store: the activation ends.
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Ends the turn for a failed commit point.
    pub(crate) fn broken(&mut self, error: CommitError) -> wasmtime::Error {
        self.turn.broken = Some(error);
        wasmtime::Error::msg(format!("{error}"))
    }
}
