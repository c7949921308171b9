//! The kinds that a component exports, read from its types.

use std::collections::HashMap;
use std::sync::Arc;

use quark_core::id::KindName;
use quark_core::manifest::{Manifest, MemoryProfile, Reentrancy};
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};

use crate::engine::{Engine, slot_bytes};
use crate::error::AdmissionError;
use crate::imports;
use crate::kind::{Hooks, Kind, Method, Signature};
use crate::transfer;
use crate::values::{describe, type_hash};
use crate::wit::{self, Wit};

/// The most kinds that one component may export.
const KINDS_MAX: usize = 256;
/// The most methods that an error names.
const METHODS_SHOWN: usize = 10;
/// The most methods that one kind may have.
const METHODS_MAX: usize = 1000;

/// The longest name of a method, in bytes: it travels with messages and stands in paths.
const METHOD_BYTES_MAX: usize = 512;
/// How many exports that are no kinds an error names.
const OTHERS_MAX: usize = 10;

/// The interface's name without its version: a kind keeps its name over versions.
pub(crate) fn without_version(interface: &str) -> &str {
    interface.split('@').next().unwrap_or(interface)
}

/// The parameters and the result of a method, without `self`.
pub(crate) fn signature(kind: &str, name: &str, ty: &ComponentFunc) -> Result<Signature, AdmissionError> {
    let refuse = |reason: String| AdmissionError::Method { kind: kind.into(), method: name.into(), reason };
    let params: Vec<(String, Type)> = ty.params().skip(1).map(|(name, ty)| (name.to_owned(), ty)).collect();
    let result = ty.results().next();
    for (what, ty) in
        params.iter().map(|(name, ty)| (name.as_str(), ty)).chain(result.as_ref().map(|ty| ("result", ty)))
    {
        let mut wrong = None;
        let shallow = transfer::visit(ty, 0, &mut |ty| {
            wrong = wrong.take().or_else(|| cannot_cross(ty));
        });
        if let Some(reason) = wrong {
            return Err(refuse(format!("its {what} holds {reason}")));
        }
        if !shallow {
            return Err(refuse(format!("its {what} is nested deeper than {} types", transfer::TYPE_DEPTH_MAX)));
        }
    }
    let types: Vec<Type> = params.iter().map(|(_, ty)| ty.clone()).collect();
    let hash = type_hash(&types, result.as_ref());
    let blobs_in = types.iter().any(transfer::holds_blobs);
    let blobs_out = result.as_ref().is_some_and(transfer::holds_blobs);
    Ok(Signature { name: name.into(), params, result, hash, is_async: ty.async_(), blobs_in, blobs_out })
}

/// What of a type cannot be sent to another actor.
#[expect(clippy::wildcard_enum_match_arm, reason = "only the types that cannot cross are named")]
fn cannot_cross(ty: &Type) -> Option<String> {
    match ty {
        // In a component's own type the blob is abstract; the linker fixes it. Whatever else is
        // owned fails there.
        Type::Borrow(_) => Some("a `borrow`: handles of actors never cross actors; send an `actor-id` or a key".into()),
        Type::Future(_) | Type::Stream(_) | Type::ErrorContext => Some(format!("a `{}`", describe(ty))),
        _ => None,
    }
}

/// The memory profile that the manifest chooses for these kinds, if it chooses one.
pub(super) fn profile(kinds: &[Kind]) -> Result<Option<MemoryProfile>, AdmissionError> {
    let mut said = kinds.iter().filter_map(|kind| Some((kind.name.short().to_owned(), kind.policy.memory_profile?)));
    let Some(first) = said.next() else { return Ok(None) };
    match said.find(|(_, profile)| *profile != first.1) {
        Some(other) => Err(AdmissionError::Profiles(first, other)),
        None => Ok(Some(first.1)),
    }
}

pub(super) fn find(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    manifest: &Manifest,
    wit: &Wit,
) -> Result<Vec<Kind>, AdmissionError> {
    let ty = compiled.component_type();
    let imported = imports::resources(engine, compiled);
    let mut kinds = Vec::new();
    let mut others = Vec::new();
    for (interface, export) in ty.exports(&engine.wasmtime) {
        let ComponentItem::ComponentInstance(instance) = &export.ty else {
            others.push(interface.to_owned());
            continue;
        };
        if interface.starts_with("quark:actor/") {
            continue;
        }
        let resources: Vec<&str> = instance
            .exports(&engine.wasmtime)
            // A `use` of an imported resource stands among the exports too, but is no kind.
            .filter(|(_, export)| matches!(&export.ty, ComponentItem::Resource(ty) if !imported.contains(ty)))
            .map(|(name, _)| name)
            .collect();
        if resources.is_empty() {
            others.push(interface.to_owned());
        }
        if resources.is_empty() {
            continue;
        }
        let text = &Arc::from(wit.text(interface)?);
        for resource in resources {
            let reader = KindReader { engine, compiled, interface, resource, wit, text };
            kinds.push(reader.read(instance, manifest)?);
        }
    }
    if kinds.is_empty() {
        let more = others.len().saturating_sub(OTHERS_MAX);
        others.truncate(OTHERS_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let why = if others.is_empty() {
            "it exports nothing".into()
        } else {
            format!("it exports {}{more}", others.join(", "))
        };
        return Err(AdmissionError::NoKind(format!(
            "{why}; a kind is an exported interface with a resource that has `constructor(key: string)`"
        )));
    }
    if kinds.len() > KINDS_MAX {
        return Err(AdmissionError::TooMuch(format!("{} kinds; at most {KINDS_MAX} are allowed", kinds.len())));
    }
    Ok(kinds)
}

struct KindReader<'a> {
    engine: &'a Engine,
    compiled: &'a wasmtime::component::Component,
    interface: &'a str,
    resource: &'a str,
    wit: &'a Wit,
    text: &'a Arc<str>,
}

impl KindReader<'_> {
    fn read(
        &self,
        instance: &wasmtime::component::types::ComponentInstance,
        manifest: &Manifest,
    ) -> Result<Kind, AdmissionError> {
        let name = KindName::parse(&format!("{}#{}", without_version(self.interface), self.resource))
            .map_err(|error| AdmissionError::TooMuch(error.to_string()))?;
        let exported = self.compiled.get_export_index(None, self.interface);
        let index = |function: &str| {
            self.compiled.get_export_index(exported.as_ref(), function).ok_or_else(|| AdmissionError::Mistyped {
                name: self.interface.into(),
                reason: format!("`{function}` is not there"),
            })
        };
        let policy = manifest.for_kind(self.resource);
        let method_prefix = format!("[method]{}.", self.resource);
        let constructor_name = format!("[constructor]{}", self.resource);
        let (mut methods, mut by_name) = (Vec::new(), HashMap::new());
        let mut constructor = None;
        for (function, export) in instance.exports(&self.engine.wasmtime) {
            match &export.ty {
                ComponentItem::ComponentFunc(ty) if function == constructor_name => {
                    constructor = Some((index(function)?, constructor_fails(name.as_str(), ty)?));
                }
                ComponentItem::ComponentFunc(ty) => {
                    let Some(method) = function.strip_prefix(&method_prefix) else {
                        self.check_plain(function)?;
                        continue;
                    };
                    if method.len() > METHOD_BYTES_MAX {
                        return Err(AdmissionError::TooMuch(format!(
                            "`{name}` has a method whose name is {} bytes long; at most {METHOD_BYTES_MAX} are allowed",
                            method.len()
                        )));
                    }
                    let signature = signature(name.as_str(), method, ty)?;
                    let text = self
                        .wit
                        .method(self.interface, self.resource, method)
                        .map_or_else(String::new, |function| wit::signature(&self.wit.resolve, function));
                    let policy = policy.methods.get(method);
                    by_name.insert(signature.name.clone(), methods.len());
                    methods.push(Arc::new(Method {
                        text,
                        read_only: policy.is_some_and(|policy| policy.read_only),
                        timeout: policy.and_then(|policy| policy.timeout),
                        idempotent: policy.is_some_and(|policy| policy.idempotent),
                        export: index(function)?,
                        signature,
                        is_hook: false,
                    }));
                }
                ComponentItem::Resource(_)
                | ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_)
                | ComponentItem::Type(_) => {}
            }
        }
        if methods.len() > METHODS_MAX {
            return Err(AdmissionError::TooMuch(format!(
                "`{name}` has {} methods; at most {METHODS_MAX} are allowed",
                methods.len()
            )));
        }
        let Some((constructor, constructor_fails)) = constructor else {
            return Err(AdmissionError::NoKind(format!(
                "the resource `{}` of `{}` has no `constructor(key: string)`",
                self.resource, self.interface
            )));
        };
        let (interface, wit) = (self.interface.to_owned(), self.text.clone());
        let (reentrancy, reentrancy_reason) = (policy.reentrancy.unwrap_or(Reentrancy::None), String::new());
        Ok(Kind {
            name,
            interface,
            wit,
            policy,
            reentrancy,
            reentrancy_reason,
            methods,
            hooks: Hooks::default(),
            by_name,
            constructor,
            constructor_fails,
        })
    }

    /// Functions beside the resource's methods have no actor to run on.
    fn check_plain(&self, function: &str) -> Result<(), AdmissionError> {
        if function.starts_with('[') {
            return Ok(());
        }
        Err(AdmissionError::Method {
            kind: without_version(self.interface).into(),
            method: function.into(),
            reason: "a function outside of a resource has no actor to run on; make it a method".into(),
        })
    }
}

/// Its methods by name, for people; some of them when there are many.
fn methods(kind: &Kind) -> String {
    let names: Vec<&str> = kind.methods.iter().map(|method| &*method.signature.name).collect();
    match names.len() {
        0..=METHODS_SHOWN => names.join(", "),
        all => format!("{} and {} more", names[..METHODS_SHOWN].join(", "), all - METHODS_SHOWN),
    }
}

/// What the manifest says must be of this kind and of this silo.
pub(super) fn check_policy(engine: &Engine, kind: &Kind) -> Result<(), AdmissionError> {
    let Kind { name, policy, by_name, .. } = kind;
    if let Some(method) = policy.methods.keys().find(|method| !by_name.contains_key(method.as_str())) {
        return Err(AdmissionError::Method {
            kind: name.to_string(),
            method: method.clone(),
            reason: format!("the manifest names it, the component has no such method; it has {}", methods(kind)),
        });
    }
    if let Some((method, reason)) = kind.methods.iter().find_map(|method| Some((method, cannot_remember(method)?))) {
        return Err(AdmissionError::Method {
            kind: name.to_string(),
            method: method.signature.name.to_string(),
            reason: reason.into(),
        });
    }
    let profile = engine.profile;
    let slot = slot_bytes(profile);
    if let Some(memory) = policy.limits.memory.filter(|memory| *memory > slot) {
        let what = format!("the manifest gives `{}` {memory} bytes of memory", name.short());
        let by_default = policy.memory_profile.is_none();
        return Err(AdmissionError::Slot { what, profile, by_default, slot });
    }
    Ok(())
}

/// Why a method that the manifest calls idempotent cannot be so.
fn cannot_remember(method: &Method) -> Option<&'static str> {
    match method.idempotent {
        true if method.read_only => Some(
            "the manifest calls it both `read-only` and `idempotent`: what writes nothing is repeated without a key, \
             so leave `idempotent` out",
        ),
        true if method.signature.is_tell() => Some(
            "the manifest calls it `idempotent`, and it has no result to remember: give it one, or leave `idempotent` \
             out, since a tell that was accepted is handled once",
        ),
        true | false => None,
    }
}

/// Checks that a constructor takes the key alone; whether it may answer with an error.
pub(crate) fn constructor_fails(kind: &str, ty: &ComponentFunc) -> Result<bool, AdmissionError> {
    let takes: Vec<Type> = ty.params().map(|(_, ty)| ty).collect();
    if !matches!(takes.as_slice(), [Type::String]) {
        return Err(AdmissionError::Mistyped {
            name: format!("{kind}'s constructor"),
            reason: format!(
                "it takes ({}), the contract's takes (key: string)",
                takes.iter().map(describe).collect::<Vec<_>>().join(", ")
            ),
        });
    }
    Ok(matches!(ty.results().next(), Some(Type::Result(_))))
}

pub(super) fn warnings_of(kind: &Kind) -> Vec<String> {
    let no_room = |method: &&Arc<Method>| {
        method.signature.result.as_ref().is_some_and(|result| !crate::values::call_errors::has_room(result))
    };
    kind.methods
        .iter()
        .filter(no_room)
        .map(|method| {
            format!(
                "{}.{} has no room for a call error in its result: when a call of it fails, the calling actor's turn \
                 traps",
                kind.name.short(),
                method.signature.name
            )
        })
        .collect()
}
