//! Imports of other kinds: constructors give proxies and send nothing, methods become calls.

use std::future::{self, Future};
use std::sync::Arc;

use quark_core::commit::TELLS_PER_COMMIT_MAX;
use quark_core::error::CallError;
use quark_core::id::{ActorId, Key, KindName};
use wasmtime::component::{Accessor, LinkerInstance, ResourceDynamic, ResourceType, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::guest::Guest;
use crate::kind::Signature;
use crate::nested::{self, Waiting};
use crate::outside::{Answer, CallFailure, Calling, OutgoingWork};
use crate::seats::attribute;
use crate::transfer::{attach, detach};
use crate::values::{Payload, call_errors, msgpack};

/// The actors that an instance's proxies stand for; a handle's `rep` is the place.
#[derive(Default)]
pub(crate) struct Proxies {
    places: Vec<Option<Target>>,
    free: Vec<u32>,
}

/// Whom a proxy stands for, or why its key names nobody.
type Target = Result<ActorId, CallError>;

impl Proxies {
    fn add(&mut self, target: Target, max: usize) -> wasmtime::Result<u32> {
        if let Some(rep) = self.free.pop() {
            self.places[rep as usize] = Some(target);
            return Ok(rep);
        }
        if self.places.len() >= max {
            return Err(wasmtime::Error::msg(format!("more than {max} handles of other actors (limits.handles)")));
        }
        self.places.push(Some(target));
        Ok(u32::try_from(self.places.len() - 1)?)
    }

    fn remove(&mut self, rep: u32) {
        if let Some(place) = self.places.get_mut(rep as usize)
            && place.take().is_some()
        {
            self.free.push(rep);
        }
    }

    fn get(&self, rep: u32) -> Target {
        match self.places.get(rep as usize) {
            Some(Some(target)) => target.clone(),
            _ => Err(CallError::Incompatible("the handle is not of this actor".into())),
        }
    }
}

/// A kind as a component imports it.
#[derive(Debug)]
pub(crate) struct ImportedKind {
    pub(crate) name: KindName,
    pub(crate) resource: String,
    /// Tells this kind's handles apart from other kinds' in the same Store.
    pub(crate) type_id: u32,
    pub(crate) constructor_fails: bool,
    pub(crate) methods: Vec<Arc<Signature>>,
}

/// Defines an imported kind in its interface.
pub(crate) fn define(linker: &mut LinkerInstance<'_, Guest>, kind: &ImportedKind) -> wasmtime::Result<()> {
    linker.resource(&kind.resource, ResourceType::host_dynamic(kind.type_id), |mut store, rep| {
        store.data_mut().proxies.remove(rep);
        Ok(())
    })?;
    define_constructor(linker, kind)?;
    for signature in &kind.methods {
        let name = format!("[method]{}.{}", kind.resource, signature.name);
        let signature = signature.clone();
        if signature.is_async {
            linker.func_new_concurrent(&name, move |accessor, _, params, results| {
                Box::pin(send(accessor, signature.clone(), params, results))
            })?;
        } else if signature.is_tell() {
            linker.func_new(&name, move |store, _, params, _| tell(store, &signature, params))?;
        } else {
            linker.func_new_async(&name, move |store, _, params, results| call(store, &signature, params, results))?;
        }
    }
    Ok(())
}

fn define_constructor(linker: &mut LinkerInstance<'_, Guest>, kind: &ImportedKind) -> wasmtime::Result<()> {
    let (name, type_id, fails) = (kind.name.clone(), kind.type_id, kind.constructor_fails);
    linker.func_new(&format!("[constructor]{}", kind.resource), move |mut store, _, params, results| {
        let Some(Val::String(key)) = params.first() else {
            return Err(wasmtime::Error::msg("a proxy's constructor takes the key"));
        };
        let target = Key::parse(key)
            .map(|key| ActorId { kind: name.clone(), key })
            .map_err(|error| CallError::Incompatible(error.to_string()));
        let max = store.data().handles_max;
        let rep = store.data_mut().proxies.add(target, max)?;
        let proxy = ResourceDynamic::new_own(rep, type_id).try_into_resource_any(store.as_context_mut())?;
        let proxy = Val::Resource(proxy);
        results[0] = if fails { Val::Result(Ok(Some(Box::new(proxy)))) } else { proxy };
        Ok(())
    })
}

/// Whom the call is for, and its arguments without their Store.
fn outgoing(
    store: &mut StoreContextMut<'_, Guest>,
    signature: &Signature,
    params: &[Val],
) -> wasmtime::Result<(Target, Payload)> {
    let Some((Val::Resource(handle), arguments)) = params.split_first() else {
        return Err(wasmtime::Error::msg("a method takes its proxy first"));
    };
    // This also gives the lent handle back.
    let rep = handle.try_into_resource_dynamic(store.as_context_mut())?.rep();
    let target = store.data().proxies.get(rep);
    let mut payload = Payload { vals: arguments.iter().cloned().collect(), blobs: Vec::new() };
    if signature.blobs_in {
        for val in &mut payload.vals {
            detach(store, val, &mut payload.blobs)?;
        }
    }
    Ok((target, payload))
}

type CallFuture<'a> = Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>;

/// Makes the call; most are over when this returns, since their target ran on this very stack.
fn call<'a>(
    mut store: StoreContextMut<'a, Guest>,
    signature: &Arc<Signature>,
    params: &'a [Val],
    results: &'a mut [Val],
) -> CallFuture<'a> {
    match start(&mut store, signature, params) {
        Err(error) => Box::new(future::ready(Err(error))),
        Ok(Calling::Done(answer)) => match answered(store, signature, answer, results) {
            // Without a value in it the future takes no allocation.
            Ok(()) => Box::new(async { Ok(()) }),
            Err(error) => Box::new(future::ready(Err(error))),
        },
        Ok(Calling::Waits(answer)) => {
            let signature = signature.clone();
            Box::new(async move {
                store.data_mut().turn.clock.pause();
                let answer = nested::wait(&mut store, answer).await?;
                store.data_mut().turn.clock.resume();
                answered(store, &signature, answer, results)
            })
        }
    }
}

/// Sends the call.
fn start(
    store: &mut StoreContextMut<'_, Guest>,
    signature: &Arc<Signature>,
    params: &[Val],
) -> wasmtime::Result<Calling> {
    let (target, payload) = outgoing(store, signature, params)?;
    let to = match target {
        Ok(to) => to,
        Err(error) => return Ok(Calling::Done(Err(CallFailure::Call(error)))),
    };
    let guest = store.data_mut();
    let call = guest.outgoing(to, OutgoingWork::Typed(signature.clone(), payload));
    Ok(guest.call(call))
}

/// The same where it is an `async func`: the instance goes on meanwhile.
async fn send(
    accessor: &Accessor<Guest>,
    signature: Arc<Signature>,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let (task, calling, _waiting) = accessor.with(|mut access| -> wasmtime::Result<_> {
        let mut store = access.as_context_mut();
        attribute(&mut store)?;
        let task = store.data().task();
        let calling = match signature.is_tell() {
            true => tell(store, &signature, params).map(|()| None),
            false => start(&mut store, &signature, params).map(Some),
        };
        let calling = calling?;
        let waiting = calling.as_ref().map(|calling| Waiting::beside(access.data_mut(), calling));
        Ok((task, calling, waiting))
    })?;
    let Some(calling) = calling else { return Ok(()) };
    let answer = calling.answer().await;
    accessor.with(|mut access| {
        let mut store = access.as_context_mut();
        store.data_mut().resume(task);
        answered(store, &signature, answer, results)
    })
}

/// What the guest gets.
fn answered(
    mut store: StoreContextMut<'_, Guest>,
    signature: &Signature,
    answer: Result<Answer, CallFailure>,
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let Some(ty) = &signature.result else {
        return Err(wasmtime::Error::msg("a call has a result"));
    };
    match answer {
        Ok(Answer { mut payload, .. }) => {
            let Some(mut val) = payload.vals.pop() else {
                return Err(wasmtime::Error::msg("the answer has no value"));
            };
            if signature.blobs_out {
                attach(&mut store, ty, &mut val, &payload.blobs)?;
            }
            results[0] = val;
            Ok(())
        }
        Err(CallFailure::Commit(error)) => Err(store.data_mut().broken(error)),
        Err(CallFailure::Call(error)) => {
            store.data_mut().turn.call_failed();
            let Some(val) = call_errors::fill(ty, &error) else {
                // A result without room for a call error: the failure ends the calling turn.
                return Err(wasmtime::Error::msg(format!(
                    "the call of `{}` failed and its result has no room to say so: {error}",
                    signature.name
                )));
            };
            results[0] = val;
            Ok(())
        }
    }
}

fn tell(mut store: StoreContextMut<'_, Guest>, signature: &Signature, params: &[Val]) -> wasmtime::Result<()> {
    let (target, payload) = outgoing(&mut store, signature, params)?;
    // A tell has no answer: what can never arrive ends the turn instead of vanishing.
    let to = target.map_err(|error| wasmtime::Error::msg(format!("a tell names nobody: {error}")))?;
    let guest = store.data_mut();
    if guest.member.tells.len() >= TELLS_PER_COMMIT_MAX {
        return Err(wasmtime::Error::msg(format!("more than {TELLS_PER_COMMIT_MAX} tells before a commit point")));
    }
    let arguments = msgpack::encode_message(signature, &payload)
        .map_err(|error| wasmtime::Error::msg(format!("the tell cannot be encoded: {error}")))?;
    guest.stage_tell(to, &signature.name, arguments)
}
