//! What the host calls beside methods, where a component exports it, checked against the contract.

use std::sync::Arc;

use wasmtime::component::ComponentExportIndex;
use wasmtime::component::types::ComponentItem;

use crate::engine::Engine;
use crate::error::AdmissionError;
use crate::kind::{Hook, Hooks, Method, Signature};
use crate::values::describe;

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

/// Hooks that have turns of their own, as [`Hook`] has them: interface, function, and how [`describe`] shows it.
const TURNS: [(Hook, &str, &str, &str); 5] = [
    (
        Hook::Timer,
        "quark:actor/timer-target@0.1.0",
        "on-timer",
        "func(record { kind: string, key: string }, string, list<u8>) -> result<_, string>",
    ),
    (
        Hook::ChildFailed,
        "quark:actor/supervisor@0.1.0",
        "on-child-failed",
        "func(record { kind: string, key: string }, record { child: record { kind: string, key: string }, reason: \
         string, count: u32 }) -> enum { resume, restart, stop, escalate }",
    ),
    (
        Hook::Terminated,
        "quark:actor/watcher@0.1.0",
        "on-terminated",
        "func(record { kind: string, key: string }, record { kind: string, key: string }, string)",
    ),
    (
        Hook::Reminder,
        "quark:actor/reminder-target@0.1.0",
        "on-reminder",
        "func(record { kind: string, key: string }, record { name: string, due: u64, payload: list<u8> }) -> result<_, \
         string>",
    ),
    (Hook::Snapshot, JOURNALED, "snapshot", "func(record { kind: string, key: string }) -> list<u8>"),
];

/// The export of actors that wake by their journals.
const JOURNALED: &str = "quark:actor/journaled@0.1.0";

/// Its functions that run while an actor wakes, as [`describe`] shows their types.
const WAKING: [(&str, &str); 2] = [
    ("restore", "func(record { kind: string, key: string }, list<u8>) -> result<_, string>"),
    (
        "apply",
        "func(record { kind: string, key: string }, record { sequence: u64, at: u64, event: record { name: string, \
         content-type: string, payload: list<u8> } }) -> result<_, string>",
    ),
];

/// The lifecycle's functions, where a component exports them.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    pub(crate) activate: ComponentExportIndex,
    pub(crate) deactivate: ComponentExportIndex,
    /// Each hook, and whether it is an `async func`.
    pub(crate) flavours: [(&'static str, bool); 2],
}

/// How actors wake by their journals, where a component exports that.
#[derive(Clone, Debug)]
pub(crate) struct Journaled {
    pub(crate) restore: ComponentExportIndex,
    pub(crate) apply: ComponentExportIndex,
    /// Each function, and whether it is an `async func`.
    pub(crate) flavours: [(&'static str, bool); 2],
}

/// The lifecycle's functions, if the component exports them as the contract has them.
pub(super) fn find(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
) -> Result<Option<Lifecycle>, AdmissionError> {
    if compiled.component_type().get_export(&engine.wasmtime, LIFECYCLE).is_none() {
        return Ok(None);
    }
    let mistyped = |reason: String| AdmissionError::Mistyped { name: LIFECYCLE.into(), reason };
    let flavours = check_hooks(engine, compiled, LIFECYCLE, HOOKS).map_err(mistyped)?;
    let export = |name: &str| {
        let instance = compiled.get_export_index(None, LIFECYCLE);
        compiled.get_export_index(instance.as_ref(), name).ok_or_else(|| mistyped(format!("it has no `{name}`")))
    };
    Ok(Some(Lifecycle { activate: export("activate")?, deactivate: export("deactivate")?, flavours }))
}

/// How actors wake by their journals, if the component exports that as the contract has it.
pub(super) fn find_journaled(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
) -> Result<Option<Journaled>, AdmissionError> {
    if compiled.component_type().get_export(&engine.wasmtime, JOURNALED).is_none() {
        return Ok(None);
    }
    let mistyped = |reason: String| AdmissionError::Mistyped { name: JOURNALED.into(), reason };
    let flavours = check_hooks(engine, compiled, JOURNALED, WAKING).map_err(mistyped)?;
    let export = |name: &str| {
        let instance = compiled.get_export_index(None, JOURNALED);
        compiled.get_export_index(instance.as_ref(), name).ok_or_else(|| mistyped(format!("it has no `{name}`")))
    };
    Ok(Some(Journaled { restore: export("restore")?, apply: export("apply")?, flavours }))
}

/// Hooks with turns of their own that the component exports as the contract has them.
pub(super) fn find_turns(engine: &Engine, compiled: &wasmtime::component::Component) -> Result<Hooks, AdmissionError> {
    let mut hooks = Hooks::default();
    for (hook, interface, name, text) in TURNS {
        hooks[hook as usize] = find_turn(engine, compiled, interface, (hook, name, text))?;
    }
    Ok(hooks)
}

fn find_turn(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    interface: &'static str,
    (hook, name, text): (Hook, &'static str, &'static str),
) -> Result<Option<Arc<Method>>, AdmissionError> {
    let ty = compiled.component_type();
    let Some(exported) = ty.get_export(&engine.wasmtime, interface) else { return Ok(None) };
    let mistyped = |reason: String| AdmissionError::Mistyped { name: interface.into(), reason };
    let [(name, is_async)] = check_hooks(engine, compiled, interface, [(name, text)]).map_err(mistyped)?;
    let missing = || mistyped(format!("it has no function `{name}`"));
    let ComponentItem::ComponentInstance(functions) = exported.ty else { return Err(missing()) };
    let Some(ComponentItem::ComponentFunc(ty)) = functions.get_export(&engine.wasmtime, name).map(|export| export.ty)
    else {
        return Err(missing());
    };
    let instance = compiled.get_export_index(None, interface);
    let export = compiled.get_export_index(instance.as_ref(), name).ok_or_else(missing)?;
    let signature = Signature {
        name: name.into(),
        params: ty.params().map(|(name, ty)| (name.to_owned(), ty)).collect(),
        result: ty.results().next(),
        hash: 0,
        is_async,
        blobs_in: false,
        blobs_out: false,
    };
    // What a snapshot says is what is there.
    let (text, read_only) = (text.into(), hook == Hook::Snapshot);
    Ok(Some(Arc::new(Method { signature, text, read_only, timeout: None, idempotent: false, export, is_hook: true })))
}

fn check_hooks<const N: usize>(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    interface: &str,
    hooks: [(&'static str, &str); N],
) -> Result<[(&'static str, bool); N], String> {
    let ty = compiled.component_type();
    let Some(ComponentItem::ComponentInstance(instance)) =
        ty.get_export(&engine.wasmtime, interface).map(|export| export.ty)
    else {
        return Err("it is no interface".into());
    };
    let mut flavours = hooks.map(|(name, _)| (name, false));
    for ((name, contract), flavour) in hooks.into_iter().zip(&mut flavours) {
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
        flavour.1 = ty.async_();
    }
    Ok(flavours)
}
