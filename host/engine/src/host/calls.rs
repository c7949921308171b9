//! `quark:actor/calls`: calls by name, with JSON.

use std::time::Duration;

use quark_core::commit::TELLS_PER_COMMIT_MAX;
use quark_core::error::CallError;
use quark_core::id::{ActorId, Key, KindName};
use wasmtime::component::Linker;

use crate::bindings::quark::actor::{calls, types};
use crate::guest::Guest;
use crate::host::{answer, suspends};
use crate::nested;
use crate::outside::{Answer, CallFailure, Calling, OutgoingWork};

/// The contract's case for a call error.
pub(crate) fn call_error(error: CallError) -> types::CallError {
    match error {
        CallError::DeadlineExceeded => types::CallError::DeadlineExceeded,
        CallError::UnknownOutcome(text) => types::CallError::UnknownOutcome(text),
        CallError::Cancelled => types::CallError::Cancelled,
        CallError::Failed(text) => types::CallError::Failed(text),
        CallError::Downstream(text) => types::CallError::Downstream(text),
        CallError::Unreachable(text) => types::CallError::Unreachable(text),
        CallError::Stopped => types::CallError::Stopped,
        CallError::Overloaded(ms) => types::CallError::Overloaded(ms),
        CallError::Unavailable(ms) => types::CallError::Unavailable(ms),
        CallError::TooLarge(bytes) => types::CallError::TooLarge(bytes),
        error @ CallError::CoolsDown { .. } => types::CallError::Failed(error.to_string()),
        CallError::Incompatible(text) | CallError::KeyReused(text) => types::CallError::Incompatible(text),
        CallError::Deadlock(path) => types::CallError::Deadlock(path),
        CallError::Denied(text) => types::CallError::Denied(text),
        CallError::Other(text) => types::CallError::Other(text),
    }
}

/// The actor of that name.
pub(crate) fn target(id: &types::ActorId) -> Result<ActorId, CallError> {
    let parse = || Ok(ActorId { kind: KindName::parse(&id.kind)?, key: Key::parse(&id.key)? });
    parse().map_err(|error: quark_core::id::IdError| CallError::Incompatible(error.to_string()))
}

impl calls::Host for Guest {
    async fn call(
        &mut self,
        to: types::ActorId,
        method: String,
        args: String,
        timeout: Option<u64>,
    ) -> wasmtime::Result<Result<String, types::CallError>> {
        let calling = self.call_by_name(&to, method, args, timeout);
        let answer = answer(self, calling).await;
        self.answered_by_name(answer)
    }

    fn tell(
        &mut self,
        to: types::ActorId,
        method: String,
        args: String,
    ) -> wasmtime::Result<Result<(), types::CallError>> {
        let staged =
            target(&to).and_then(|to| self.member.host.check_tell(&to, &method, &args).map(|bytes| (to, bytes)));
        match staged {
            Ok(_) if self.member.tells.len() >= TELLS_PER_COMMIT_MAX => {
                Ok(Err(types::CallError::TooLarge(TELLS_PER_COMMIT_MAX as u64)))
            }
            Ok((to, arguments)) => {
                self.stage_tell(to, &method, arguments)?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(call_error(error))),
        }
    }
}

type Call = (types::ActorId, String, String, Option<u64>);

/// Defines `call` once more, for components in which turns nest: it needs the whole Store.
pub(crate) fn define_nesting(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut calls = linker.instance("quark:actor/calls@0.1.0")?;
    calls.func_wrap_async("call", |mut store, (to, method, args, timeout): Call| {
        Box::new(async move {
            let calling = store.data_mut().call_by_name(&to, method, args, timeout);
            let answer = nested::answer(&mut store, calling).await?;
            Ok((store.data_mut().answered_by_name(answer)?,))
        })
    })
}

/// Defines what suspends once more, for components in which it is an `async func`.
pub(crate) fn define_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut calls = linker.instance("quark:actor/calls@0.1.0")?;
    let call = |guest: &mut Guest, (to, method, args, timeout): Call| guest.call_by_name(&to, method, args, timeout);
    suspends(&mut calls, "call", call, Guest::answered_by_name)
}

impl Guest {
    fn call_by_name(&mut self, to: &types::ActorId, method: String, args: String, timeout: Option<u64>) -> Calling {
        let to = match target(to) {
            Ok(to) => to,
            Err(error) => return Calling::Done(Err(CallFailure::Call(error))),
        };
        let mut call = self.outgoing(to, OutgoingWork::Json(method, args));
        if let Some(each) = timeout {
            call.timeout = Some(Duration::from_millis(each));
        }
        self.call(call)
    }

    fn answered_by_name(
        &mut self,
        answer: Result<Answer, CallFailure>,
    ) -> wasmtime::Result<Result<String, types::CallError>> {
        match answer {
            Ok(answer) => Ok(Ok(answer.json)),
            Err(CallFailure::Call(error)) => {
                self.turn.call_failed();
                Ok(Err(call_error(error)))
            }
            Err(CallFailure::Commit(error)) => Err(self.broken(error)),
        }
    }
}
