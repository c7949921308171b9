//! What a component imports: services, WASI, other kinds; and the lane that follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quark_core::id::KindName;
use wasmtime::component::ResourceType;
use wasmtime::component::types::{ComponentInstance, ComponentItem};

use crate::component::{constructor_fails, signature, without_version};
use crate::engine::{Engine, Flavour};
use crate::error::AdmissionError;
use crate::kind::Lane;
use crate::proxy::ImportedKind;
use crate::wasi;

/// Services of the contract that are built.
const BUILT: [&str; 10] = [
    "quark:actor/types@0.1.0",
    "quark:actor/context@0.1.0",
    "quark:actor/state@0.1.0",
    "quark:actor/calls@0.1.0",
    "quark:actor/blobs@0.1.0",
    "quark:actor/log@0.1.0",
    "quark:actor/timers@0.1.0",
    "quark:actor/children@0.1.0",
    "quark:actor/journal@0.1.0",
    "quark:actor/reminders@0.1.0",
];
/// Services of the contract that are not.
const NOT_BUILT: [&str; 1] = ["quark:actor/streams@0.1.0"];
/// The service whose resource other interfaces use.
const BLOBS: &str = "quark:actor/blobs@0.1.0";
/// Functions of services that suspend their caller.
const SUSPENDS: [(&str, &str); 7] = [
    ("quark:actor/state@0.1.0", "commit"),
    ("quark:actor/calls@0.1.0", "call"),
    ("quark:actor/children@0.1.0", "spawn"),
    ("quark:actor/children@0.1.0", "stop"),
    ("quark:actor/children@0.1.0", "watch"),
    ("quark:actor/journal@0.1.0", "read"),
    ("quark:actor/reminders@0.1.0", "registered"),
];
/// Packages of WASI that are provided, with nothing behind them.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// What the imports of a component come to.
pub(crate) struct Imports {
    pub(crate) lane: Lane,
    pub(crate) lane_reason: String,
    pub(crate) asks: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// Functions of services that suspend their caller, and whether they are `async func` here.
    pub(crate) waits: Vec<(String, bool)>,
    /// By interface, as the component names it.
    pub(crate) kinds: BTreeMap<String, Vec<ImportedKind>>,
    /// Interfaces that use the blob, with the name that it has there.
    pub(crate) blobs: Vec<(String, String)>,
}

impl Imports {
    /// Whether a turn may wait for another actor.
    pub(crate) fn ask_others(&self) -> bool {
        let others = ["quark:actor/calls", "quark:actor/children"];
        let by_name = || self.waits.iter().any(|(what, _)| others.iter().any(|service| what.starts_with(service)));
        by_name() || self.kinds.values().flatten().any(|kind| kind.methods.iter().any(|method| !method.is_tell()))
    }
}

/// The resources that a component imports, from wherever.
pub(crate) fn resources(engine: &Engine, compiled: &wasmtime::component::Component) -> Vec<ResourceType> {
    let mut found = Vec::new();
    for (_, import) in compiled.component_type().imports(&engine.wasmtime) {
        let ComponentItem::ComponentInstance(instance) = &import.ty else { continue };
        found.extend(
            instance
                .exports(&engine.wasmtime)
                .filter_map(|(_, export)| if let ComponentItem::Resource(ty) = export.ty { Some(ty) } else { None }),
        );
    }
    found
}

/// Reads a component's imports.
pub(crate) fn read(
    engine: &Engine,
    compiled: &wasmtime::component::Component,
    flavour: Flavour,
) -> Result<Imports, AdmissionError> {
    let mut imports = Imports {
        lane: Lane::Direct,
        lane_reason: "it imports nothing that waits".into(),
        asks: Vec::new(),
        warnings: Vec::new(),
        waits: Vec::new(),
        kinds: BTreeMap::new(),
        blobs: Vec::new(),
    };
    let mut blob: Option<ResourceType> = None;
    let mut suspends = Vec::new();
    let mut type_id = 0;
    let ty = compiled.component_type();
    for (name, import) in ty.imports(&engine.wasmtime) {
        let ComponentItem::ComponentInstance(instance) = &import.ty else {
            return Err(unknown(name));
        };
        let functions = functions(engine, instance);
        if BUILT.contains(&name) {
            if name == BLOBS
                && let Some(ComponentItem::Resource(ty)) = instance.get_export(&engine.wasmtime, "blob").map(|e| e.ty)
            {
                blob = Some(ty);
            }
            for (_, function) in SUSPENDS.iter().filter(|(from, _)| *from == name) {
                let export = instance.get_export(&engine.wasmtime, function);
                if let Some(ComponentItem::ComponentFunc(ty)) = export.map(|export| export.ty) {
                    imports.waits.push((format!("{name} {function}"), ty.async_()));
                    suspends.push(format!("{name} {function}"));
                }
            }
        } else if NOT_BUILT.contains(&name) {
            // Types alone are no service.
            if !functions.is_empty() {
                return Err(AdmissionError::NotYet(name.into()));
            }
            continue;
        } else if WASI.iter().any(|package| name.starts_with(package)) {
            suspends.extend(functions.iter().filter(|f| wasi::suspends(f)).map(|f| format!("{name} {f}")));
        } else if functions.is_empty() {
            // An interface of types only: nothing to provide.
            continue;
        } else {
            let kinds = read_kinds(engine, name, instance, (blob, &mut imports.blobs), &mut type_id)?;
            suspends.extend(
                kinds
                    .iter()
                    .filter(|kind| kind.methods.iter().any(|m| !m.is_tell()))
                    .map(|kind| format!("calls of {}", kind.name.short())),
            );
            imports.asks.extend(kinds.iter().map(|kind| format!("calls {}", kind.name)));
            imports.kinds.insert(name.into(), kinds);
            continue;
        }
        if !functions.is_empty() {
            imports.asks.push(name.into());
        }
    }
    imports.asks.sort();
    // Two versions of one kind are the same actors.
    imports.asks.dedup();
    choose_lane(&mut imports, suspends, flavour);
    Ok(imports)
}

/// The cheapest lane for what it imports, with the reason.
fn choose_lane(imports: &mut Imports, mut suspends: Vec<String>, flavour: Flavour) {
    // What the actor itself asks for says more than what its language's tools link.
    suspends.sort_by_key(|what| (what.starts_with("wasi:"), what.starts_with("quark:actor/")));
    if flavour == Flavour::Async {
        imports.lane = Lane::Concurrent;
        imports.lane_reason = "its functions are `async func`".into();
    } else if let Some(first) = suspends.first() {
        imports.lane = Lane::Fiber;
        let more = suspends.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        imports.lane_reason = format!("it imports what may wait: {first}{more}");
    }
}

fn functions<'a>(engine: &'a Engine, instance: &'a ComponentInstance) -> Vec<&'a str> {
    instance
        .exports(&engine.wasmtime)
        .filter_map(|(name, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)).then_some(name))
        .collect()
}

/// The kinds of an imported interface that is no service: each resource with a constructor.
fn read_kinds(
    engine: &Engine,
    interface: &str,
    instance: &ComponentInstance,
    (blob, blobs): (Option<ResourceType>, &mut Vec<(String, String)>),
    type_id: &mut u32,
) -> Result<Vec<ImportedKind>, AdmissionError> {
    let mut kinds: Vec<ImportedKind> = Vec::new();
    for (resource, export) in instance.exports(&engine.wasmtime) {
        let ComponentItem::Resource(ty) = export.ty else { continue };
        if blob == Some(ty) {
            blobs.push((interface.into(), resource.into()));
            continue;
        }
        let name = KindName::parse(&format!("{}#{resource}", without_version(interface)))
            .map_err(|error| AdmissionError::TooMuch(error.to_string()))?;
        *type_id += 1;
        let mut kind = ImportedKind {
            name,
            resource: resource.into(),
            type_id: *type_id,
            constructor_fails: false,
            methods: Vec::new(),
        };
        let method_prefix = format!("[method]{resource}.");
        for (function, export) in instance.exports(&engine.wasmtime) {
            let ComponentItem::ComponentFunc(ty) = &export.ty else { continue };
            if function.strip_prefix("[constructor]") == Some(resource) {
                kind.constructor_fails = constructor_fails(kind.name.as_str(), ty)?;
            } else if let Some(method) = function.strip_prefix(&method_prefix) {
                kind.methods.push(Arc::new(signature(kind.name.as_str(), method, ty)?));
            }
        }
        kinds.push(kind);
    }
    let known = |function: &str| {
        kinds.iter().any(|kind| {
            function.strip_prefix("[constructor]") == Some(&kind.resource)
                || function.starts_with(&format!("[method]{}.", kind.resource))
        })
    };
    // An interface whose functions belong to no resource is nobody's: no kind and no service.
    if kinds.is_empty() || functions(engine, instance).into_iter().any(|function| !known(function)) {
        return Err(unknown(interface));
    }
    Ok(kinds)
}

fn unknown(name: &str) -> AdmissionError {
    let known = BUILT.iter().chain(&NOT_BUILT).copied().chain(WASI);
    let nearest = known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_owned());
    AdmissionError::UnknownImport { name: name.into(), nearest }
}
