//! Admission: bytes to a component that is checked against the contract and ready to instantiate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::id::KindName;
use quark_core::manifest::Manifest;
use sha2::{Digest, Sha256};
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{ComponentExportIndex, InstancePre, Linker, Resource, ResourceType};

use crate::bindings;
use crate::cache::Cache;
use crate::engine::Engine;
use crate::error::AdmissionError;
use crate::guest::Guest;
use crate::host::blobs::Blob;
use crate::imports::{self, Imports};
use crate::kind::{Kind, Lane, Method, Signature};
use crate::proxy;
use crate::signatures::Signatures;
use crate::transfer;
use crate::values::{describe, type_hash};
use crate::wasi;

/// The most kinds that one component may export.
const KINDS_MAX: usize = 256;
/// The most methods that one kind may have.
const METHODS_MAX: usize = 1000;
/// The custom section in which a component carries its own manifest.
const MANIFEST_SECTION: &str = "quark:manifest";
/// The lifecycle's export.
const LIFECYCLE: &str = "quark:actor/lifecycle@0.1.0";

/// Its functions, as [`describe`] shows their types.
const HOOKS: [(&str, &str); 2] = [
    (
        "activate",
        "func(record { me: record { kind: string, key: string }, generation: u64, version: string, cause: enum { \
         message, reminder, event, spawn, restart, upgrade } }) -> result<_, string>",
    ),
    (
        "deactivate",
        "func(record { kind: string, key: string }, enum { idle, requested, memory-pressure, moved, upgraded, \
         shutdown, fenced }) -> result<_, string>",
    ),
];

/// A component, checked and compiled. Instances are made of it.
pub struct Component {
    /// SHA-256 of the bytes as given, hexadecimal.
    pub hash: String,
    /// Bytes as given.
    pub bytes: usize,
    /// Its version as deployed, as guests are told.
    pub version: String,
    /// The kinds that it exports.
    pub kinds: Vec<Kind>,
    /// How its turns run.
    pub lane: Lane,
    /// Why so.
    pub lane_reason: String,
    /// What it asks for.
    pub asks: Vec<String>,
    /// What works but deserves a look.
    pub warnings: Vec<String>,
    /// What compiling took; none when it came from the cache.
    pub compiled_in: Option<Duration>,
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) lifecycle: Option<Lifecycle>,
    /// Turns that ended within a tick since the last one that did not: what may run on the
    /// caller's own stack.
    pub(crate) pace: crate::instance::Pace,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("hash", &self.hash).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The lifecycle's functions, where a component exports them.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    pub(crate) activate: ComponentExportIndex,
    pub(crate) deactivate: ComponentExportIndex,
}

/// SHA-256 of a component's bytes, hexadecimal: what deployments are known by.
#[must_use]
pub fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_magic(bytes: &[u8]) -> Result<(), AdmissionError> {
    if bytes.starts_with(b"\0asm") {
        return Ok(());
    }
    let start: String = bytes.iter().take(8).map(|byte| format!(" {byte:02x}")).collect();
    Err(AdmissionError::NotWasm(if bytes.is_empty() { "nothing, it is empty".into() } else { format!("bytes{start}") }))
}

fn damaged(error: wasmparser::BinaryReaderError) -> AdmissionError {
    let (message, at) = (error.message(), error.offset());
    AdmissionError::Damaged(format!("{} (at byte {at})", message.lines().next().unwrap_or_default()))
}

/// Makes a component of what was uploaded: a component stays as it is, a core module with WIT
/// metadata is wrapped.
fn componentize(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, AdmissionError> {
    check_magic(bytes)?;
    if wasmparser::Parser::is_component(bytes) {
        return Ok(bytes.into());
    }
    let mut has_metadata = false;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)? {
            has_metadata |= section.name().starts_with("component-type");
        }
    }
    if !has_metadata {
        return Err(AdmissionError::NoMetadata);
    }
    let encode = || {
        let encoder = wit_component::ComponentEncoder::default().validate(true);
        encoder.module(bytes).and_then(|mut encoder| encoder.encode())
    };
    encode().map(Into::into).map_err(|error| AdmissionError::Encode(format!("{error:#}")))
}

/// Whether it is whole, and without `async`, which the engine is set up without.
fn validate(component: &[u8]) -> Result<(), AdmissionError> {
    use wasmparser::{Validator, WasmFeatures};
    Validator::new_with_features(WasmFeatures::all()).validate_all(component).map_err(damaged)?;
    let features = WasmFeatures::all() - WasmFeatures::CM_ASYNC;
    match Validator::new_with_features(features).validate_all(component) {
        Ok(_) => Ok(()),
        Err(_) => Err(AdmissionError::Async),
    }
}

/// The manifest that a component carries, if it carries one.
///
/// # Errors
/// When the bytes are damaged.
pub fn embedded_manifest(bytes: &[u8]) -> Result<Option<String>, AdmissionError> {
    check_magic(bytes)?;
    let mut found = None;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)?
            && section.name() == MANIFEST_SECTION
        {
            found = Some(String::from_utf8_lossy(section.data()).into_owned());
        }
    }
    Ok(found)
}

impl Component {
    /// Checks and compiles a component. This is slow (about a second for a megabyte that is not in
    /// the cache) and must not run on a worker.
    ///
    /// # Errors
    /// When it cannot be deployed as it is. Nothing was changed.
    pub fn admit(
        engine: &Engine,
        cache: &Cache,
        bytes: &[u8],
        manifest: &Manifest,
        version: u64,
    ) -> Result<Arc<Self>, AdmissionError> {
        let component_bytes = componentize(bytes)?;
        validate(&component_bytes)?;
        let hash = content_hash(bytes);
        let start = Instant::now();
        let (compiled, cached) = cache.compile(engine, &component_bytes)?;
        let compiled_in = (!cached).then(|| start.elapsed());
        fits(engine, &compiled)?;

        let imports = imports::read(engine, &compiled)?;
        let signatures = Signatures::decode(&component_bytes);
        let kinds = find_kinds(engine, &compiled, manifest, &signatures)?;
        let pre = link(engine, &compiled, &imports)?;
        let lifecycle = lifecycle(engine, &compiled, &pre)?;
        let mut warnings = imports.warnings.clone();
        warnings.extend(kinds.iter().flat_map(warnings_of));
        Ok(Arc::new(Self {
            hash,
            bytes: bytes.len(),
            version: version.to_string(),
            kinds,
            lane: imports.lane,
            lane_reason: imports.lane_reason,
            asks: imports.asks,
            warnings,
            compiled_in,
            engine: engine.clone(),
            pre,
            lifecycle,
            pace: crate::instance::Pace::default(),
        }))
    }

    /// The place of a kind that it exports.
    #[must_use]
    pub fn kind_at(&self, name: &KindName) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.name == *name)
    }
}

/// A component that needs more than a slot of the pool is refused now and not at its first call.
fn fits(engine: &Engine, compiled: &wasmtime::component::Component) -> Result<(), AdmissionError> {
    let Some(needs) = compiled.resources_required() else { return Ok(()) };
    let config = engine.config;
    if let Some(memory) = needs.max_initial_memory_size
        && memory > config.memory_slot as u64
    {
        return Err(AdmissionError::TooMuch(format!(
            "its memory starts at {memory} bytes, a slot holds {}",
            config.memory_slot
        )));
    }
    if let Some(elements) = needs.max_initial_table_size
        && elements > config.table_elements as u64
    {
        return Err(AdmissionError::TooMuch(format!(
            "its table starts at {elements} elements, a slot holds {}",
            config.table_elements
        )));
    }
    Ok(())
}

fn link(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    imports: &Imports,
) -> Result<InstancePre<Guest>, AdmissionError> {
    let mistyped =
        |error: wasmtime::Error| AdmissionError::Mistyped { name: "its imports".into(), reason: format!("{error:#}") };
    let mut linker = Linker::<Guest>::new(&engine.wasmtime);
    wasi::define(&mut linker, imports.lane).map_err(mistyped)?;
    bindings::Services::add_to_linker::<_, wasmtime::component::HasSelf<Guest>>(&mut linker, |guest| guest)
        .map_err(mistyped)?;
    for (interface, blob) in &imports.blobs {
        let mut instance = linker.instance(interface).map_err(mistyped)?;
        instance
            .resource(blob, ResourceType::host::<Blob>(), |mut store, rep| {
                store.data_mut().table.delete(Resource::<Blob>::new_own(rep))?;
                Ok(())
            })
            .map_err(mistyped)?;
    }
    for (interface, kinds) in &imports.kinds {
        let mut instance = linker.instance(interface).map_err(mistyped)?;
        for kind in kinds {
            proxy::define(&mut instance, kind).map_err(mistyped)?;
        }
    }
    linker.instantiate_pre(compiled).map_err(mistyped)
}

fn lifecycle(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    pre: &InstancePre<Guest>,
) -> Result<Option<Lifecycle>, AdmissionError> {
    if compiled.component_type().get_export(&engine.wasmtime, LIFECYCLE).is_none() {
        return Ok(None);
    }
    let mistyped = |reason: String| AdmissionError::Mistyped { name: LIFECYCLE.into(), reason };
    bindings::lifecycle::WithLifecyclePre::new(pre.clone()).map_err(|error| mistyped(format!("{error:#}")))?;
    // That finds the hooks by name alone; their types would only be looked at when an actor wakes.
    check_hooks(engine, compiled).map_err(mistyped)?;
    let export = |name: &str| {
        let instance = compiled.get_export_index(None, LIFECYCLE);
        compiled.get_export_index(instance.as_ref(), name).ok_or_else(|| mistyped(format!("it has no `{name}`")))
    };
    Ok(Some(Lifecycle { activate: export("activate")?, deactivate: export("deactivate")? }))
}

fn check_hooks(engine: &Engine, compiled: &wasmtime::component::Component) -> Result<(), String> {
    let ty = compiled.component_type();
    let Some(ComponentItem::ComponentInstance(instance)) =
        ty.get_export(&engine.wasmtime, LIFECYCLE).map(|export| export.ty)
    else {
        return Err("it is no interface".into());
    };
    for (name, contract) in HOOKS {
        let Some(ComponentItem::ComponentFunc(ty)) =
            instance.get_export(&engine.wasmtime, name).map(|export| export.ty)
        else {
            return Err(format!("it has no function `{name}`"));
        };
        let params: Vec<String> = ty.params().map(|(_, ty)| describe(&ty)).collect();
        let result = ty.results().next().map_or_else(String::new, |ty| format!(" -> {}", describe(&ty)));
        let found = format!("func({}){result}", params.join(", "));
        if found != contract {
            return Err(format!("its `{name}` is {found}, the contract's is {contract}"));
        }
    }
    Ok(())
}

/// The interface's name without its version: a kind keeps its name over versions.
pub(crate) fn without_version(interface: &str) -> &str {
    interface.split('@').next().unwrap_or(interface)
}

/// The parameters and the result of a method, without `self`.
pub(crate) fn signature(kind: &str, name: &str, ty: &ComponentFunc) -> Result<Signature, AdmissionError> {
    let refuse = |reason: String| AdmissionError::Method { kind: kind.into(), method: name.into(), reason };
    if ty.async_() {
        return Err(AdmissionError::Async);
    }
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
    Ok(Signature { name: name.into(), params, result, hash, blobs_in, blobs_out })
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

fn find_kinds(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    manifest: &Manifest,
    signatures: &Signatures,
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
        for resource in resources {
            let reader = KindReader { engine, compiled, interface, resource, signatures };
            kinds.push(reader.read(instance, manifest)?);
        }
    }
    if kinds.is_empty() {
        let why =
            if others.is_empty() { "it exports nothing".into() } else { format!("it exports {}", others.join(", ")) };
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
    signatures: &'a Signatures,
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
                    let signature = signature(name.as_str(), method, ty)?;
                    let text = self.signatures.method(self.interface, self.resource, method, &signature);
                    let policy = policy.methods.get(method);
                    by_name.insert(signature.name.clone(), methods.len());
                    methods.push(Arc::new(Method {
                        text,
                        read_only: policy.is_some_and(|policy| policy.read_only),
                        timeout: policy.and_then(|policy| policy.timeout),
                        export: index(function)?,
                        signature,
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
        if let Some(method) = policy.methods.keys().find(|method| !by_name.contains_key(method.as_str())) {
            return Err(AdmissionError::Method {
                kind: name.to_string(),
                method: method.clone(),
                reason: "the manifest names it, the component has no such method".into(),
            });
        }
        if policy.limits.memory > self.engine.config.memory_slot as u64 {
            return Err(AdmissionError::TooMuch(format!(
                "the manifest gives `{}` {} bytes of memory; a slot of this silo holds {}",
                name.short(),
                policy.limits.memory,
                self.engine.config.memory_slot
            )));
        }
        Ok(Kind { name, policy, methods, by_name, constructor, constructor_fails })
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

fn warnings_of(kind: &Kind) -> Vec<String> {
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

#[cfg(test)]
mod tests;
