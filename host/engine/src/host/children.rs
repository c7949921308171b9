//! `quark:actor/children`: actors whose failures come to this one, and whose ends it is told of.

use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::supervision::Lifetime;
use wasmtime::component::Linker;

use crate::bindings::quark::actor::{children, types};
use crate::guest::{Guest, LOOKS_BACK};
use crate::host::calls::{call_error, target};
use crate::host::{answer, suspends};
use crate::kind::Hook;
use crate::nested;
use crate::outside::{Answer, CallFailure, Calling, OutgoingWork};

type Answered = Result<(), types::CallError>;

impl children::Host for Guest {
    async fn spawn(&mut self, child: types::ActorId, lifetime: children::Lifetime) -> wasmtime::Result<Answered> {
        let calling = self.spawn(&child, lifetime);
        let answer = answer(self, calling).await;
        self.settled(answer)
    }

    async fn stop(&mut self, child: types::ActorId) -> wasmtime::Result<Answered> {
        let calling = self.family(&child, OutgoingWork::Stop);
        let answer = answer(self, calling).await;
        self.settled(answer)
    }

    fn all(&mut self) -> wasmtime::Result<Vec<types::ActorId>> {
        let id = |id: ActorId| types::ActorId { kind: id.kind.to_string(), key: id.key.to_string() };
        Ok(self.member.host.children().into_iter().map(id).collect())
    }

    async fn watch(&mut self, target: types::ActorId) -> wasmtime::Result<Answered> {
        let calling = self.watch(&target);
        let answer = answer(self, calling).await;
        self.settled(answer)
    }

    fn unwatch(&mut self, to: types::ActorId) -> wasmtime::Result<()> {
        if self.looks_back() {
            return Err(wasmtime::Error::msg(LOOKS_BACK));
        }
        if let Ok(to) = target(&to) {
            self.member.host.unwatch(&to);
        }
        Ok(())
    }
}

/// Defines what suspends once more, for components in which turns nest: it needs the whole Store.
pub(crate) fn define_nesting(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut functions = linker.instance("quark:actor/children@0.1.0")?;
    functions.func_wrap_async("spawn", |mut store, (child, lifetime): (types::ActorId, children::Lifetime)| {
        Box::new(async move {
            let calling = store.data_mut().spawn(&child, lifetime);
            let answer = nested::answer(&mut store, calling).await?;
            Ok((store.data_mut().settled(answer)?,))
        })
    })?;
    functions.func_wrap_async("stop", |mut store, (child,): (types::ActorId,)| {
        Box::new(async move {
            let calling = store.data_mut().family(&child, OutgoingWork::Stop);
            let answer = nested::answer(&mut store, calling).await?;
            Ok((store.data_mut().settled(answer)?,))
        })
    })?;
    functions.func_wrap_async("watch", |mut store, (target,): (types::ActorId,)| {
        Box::new(async move {
            let calling = store.data_mut().watch(&target);
            let answer = nested::answer(&mut store, calling).await?;
            Ok((store.data_mut().settled(answer)?,))
        })
    })
}

/// The same for components in which it is an `async func`.
pub(crate) fn define_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut functions = linker.instance("quark:actor/children@0.1.0")?;
    let spawn = |guest: &mut Guest, (child, lifetime): (types::ActorId, _)| guest.spawn(&child, lifetime);
    suspends(&mut functions, "spawn", spawn, Guest::settled)?;
    let stop = |guest: &mut Guest, (child,): (types::ActorId,)| guest.family(&child, OutgoingWork::Stop);
    suspends(&mut functions, "stop", stop, Guest::settled)?;
    let watch = |guest: &mut Guest, (target,): (types::ActorId,)| guest.watch(&target);
    suspends(&mut functions, "watch", watch, Guest::settled)
}

impl Guest {
    fn spawn(&mut self, child: &types::ActorId, lifetime: children::Lifetime) -> Calling {
        let lifetime = match lifetime {
            children::Lifetime::Permanent => Lifetime::Permanent,
            children::Lifetime::Transient => Lifetime::Transient,
            children::Lifetime::Temporary => Lifetime::Temporary,
        };
        self.family(child, OutgoingWork::Spawn(lifetime))
    }

    fn watch(&mut self, target: &types::ActorId) -> Calling {
        if self.kind().hook(Hook::Terminated).is_none() {
            return refused(CallError::Incompatible(
                "its component exports no `quark:actor/watcher@0.1.0`, so nobody would be told: add `export \
                 quark:actor/watcher@0.1.0;` to its world and write its `on-terminated`"
                    .into(),
            ));
        }
        self.family(target, OutgoingWork::Watch)
    }

    /// What changes or looks at who belongs to whom. It leaves like a call: what was staged is durable before.
    fn family(&mut self, to: &types::ActorId, work: OutgoingWork) -> Calling {
        if self.turn.read_only && !matches!(work, OutgoingWork::Watch) {
            return refused(CallError::Denied("a method that is read-only neither spawns nor stops children".into()));
        }
        let to = match target(to) {
            Ok(to) => to,
            Err(error) => return refused(error),
        };
        let call = self.outgoing(to, work);
        self.call(call)
    }

    fn settled(&mut self, answer: Result<Answer, CallFailure>) -> wasmtime::Result<Answered> {
        match answer {
            Ok(_) => Ok(Ok(())),
            Err(CallFailure::Call(error)) => Ok(Err(call_error(error))),
            Err(CallFailure::Commit(error)) => Err(self.broken(error)),
        }
    }
}

fn refused(error: CallError) -> Calling {
    Calling::Done(Err(CallFailure::Call(error)))
}
