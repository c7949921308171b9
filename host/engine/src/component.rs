//! Admission: bytes to a component that is checked against the contract and ready to instantiate.

mod packages;
mod bytes;
mod toolchain;
mod flavour;
mod hooks;
mod kinds;
mod versions;
mod reentrancy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::id::KindName;
use quark_core::manifest::{Isolation, Manifest, MemoryProfile, Reentrancy};
use wasmtime::ResourcesRequired;
use wasmtime::component::{InstancePre, Linker, Resource, ResourceType};

pub use self::bytes::{content_hash, embedded_manifest};
pub(crate) use self::hooks::{Journaled, Lifecycle};
pub(crate) use self::kinds::{constructor_fails, signature, without_version};
use self::toolchain::Toolchain;
use crate::bindings;
use crate::cache::Cache;
use crate::cost::{Cost, cost};
use crate::engine::{Engine, TABLE_ELEMENTS, slot_bytes};
use crate::error::AdmissionError;
use crate::guest::Guest;
use crate::host::blobs::Blob;
use crate::imports::{self, Imports};
use crate::kind::{Kind, Lane, Signature};
use crate::proxy;
use crate::wasi;
use crate::wit::Wit;

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
    /// How its instances lie in memory.
    pub profile: MemoryProfile,
    /// Whether the silo's default says so, and not its manifest.
    pub by_default: bool,
    /// What one live instance takes of the machine.
    pub cost: Cost,
    /// What it asks for.
    pub asks: Vec<String>,
    /// What works but deserves a look.
    pub warnings: Vec<String>,
    /// What compiling took; none when it came from the cache.
    pub compiled_in: Option<Duration>,
    /// Whether its turns may wait for other actors, which may call it meanwhile.
    pub(crate) asks_others: bool,
    /// The methods of other kinds that it calls.
    pub(crate) calls: Vec<(KindName, Vec<Arc<Signature>>)>,
    pub(crate) wit: Wit,
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) journaled: Option<Journaled>,
    /// Whether its turns have been short lately: then they run on their callers' stacks.
    pub(crate) pace: crate::instance::Pace,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("hash", &self.hash).field("version", &self.version).finish_non_exhaustive()
    }
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
        let default = engine.config.profile;
        let likely = manifest.memory_profiles().last().unwrap_or(default);
        let component = Self::admit_as(engine, cache, bytes, manifest, version, likely)?;
        // Only its kinds say which of the manifest's tables hold.
        let profile = kinds::profile(&component.kinds)?.unwrap_or(default);
        if profile == likely { Ok(component) } else { Self::admit_as(engine, cache, bytes, manifest, version, profile) }
    }

    fn admit_as(
        engine: &Engine,
        cache: &Cache,
        bytes: &[u8],
        manifest: &Manifest,
        version: u64,
        profile: MemoryProfile,
    ) -> Result<Arc<Self>, AdmissionError> {
        let by_default = manifest.memory_profiles().next().is_none();
        let component_bytes = bytes::componentize(bytes)?;
        let flavour = bytes::validate(&component_bytes)?;
        let engine = &engine.of(flavour, profile).map_err(|error| AdmissionError::NoEngine(error.to_string()))?;
        let hash = content_hash(bytes);
        let start = Instant::now();
        let (compiled, cached) = cache.compile(engine, &component_bytes)?;
        let compiled_in = (!cached).then(|| start.elapsed());
        fits(profile, by_default, &compiled)?;

        let imports = imports::read(engine, &compiled, flavour)?;
        let wit = read_wit(bytes, &component_bytes)?;
        let exported = kinds::find(engine, &compiled, manifest, &wit)?;
        let lifecycle = hooks::find(engine, &compiled)?;
        let journaled = hooks::find_journaled(engine, &compiled)?;
        let hooks = hooks::find_turns(engine, &compiled)?;
        flavour::check(&exported, (lifecycle.as_ref(), journaled.as_ref()), &hooks, &imports)?;
        let (mut kinds, older) = versions::newest(exported, &wit)?;
        kinds.iter_mut().for_each(|kind| kind.hooks.clone_from(&hooks));
        kinds.iter().try_for_each(|kind| kinds::check_policy(engine, kind))?;
        kinds.iter().try_for_each(|kind| has_memory(kind, &compiled))?;
        kinds.iter().try_for_each(|kind| may_share(kind, &imports))?;
        let doubted = reentrancy::choose(&mut kinds, Toolchain::of(&component_bytes)?, &imports)?;
        let pre = link(engine, &compiled, &imports)?;
        let mut warnings = imports.warnings.clone();
        warnings.extend(older);
        warnings.extend(kinds.iter().flat_map(kinds::warnings_of));
        let imported = imports.kinds.values().flatten();
        let asks_others = imports.ask_others();
        let calls = imported.map(|kind| (kind.name.clone(), kind.methods.clone())).collect();
        let mut component = Arc::new(Self {
            hash,
            bytes: bytes.len(),
            version: version.to_string(),
            kinds,
            lane: imports.lane,
            lane_reason: imports.lane_reason,
            profile,
            by_default,
            cost: cost(profile, imports.lane).with_data(bytes::data_bytes(&component_bytes)),
            asks: imports.asks,
            warnings,
            compiled_in,
            asks_others,
            calls,
            wit,
            engine: engine.clone(),
            pre,
            lifecycle,
            journaled,
            pace: crate::instance::Pace::default(),
        });
        if doubted {
            reentrancy::try_out(&mut component);
        }
        Ok(component)
    }

    /// Whether its actors wake by their journals.
    #[must_use]
    pub const fn is_journaled(&self) -> bool {
        self.journaled.is_some()
    }

    /// The place of a kind that it exports.
    #[must_use]
    pub fn kind_at(&self, name: &KindName) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.name == *name)
    }
}

/// What the component says of its interfaces, with the comments that its bytes carry beside it.
fn read_wit(bytes: &[u8], component: &[u8]) -> Result<Wit, AdmissionError> {
    packages::check(component).map_err(AdmissionError::NoWit)?;
    let mut wit = packages::guarded(|| Wit::decode(component)).map_err(AdmissionError::NoWit)??;
    if let Some(docs) = bytes::embedded_wit(bytes) {
        wit.adopt_docs(&docs);
    }
    Ok(wit)
}

/// What the manifest asks for must be possible in the lane.
fn may_share(kind: &Kind, imports: &Imports) -> Result<(), AdmissionError> {
    let short = || kind.name.short().to_owned();
    if matches!(kind.policy.isolation, Isolation::Packed(_)) && imports.lane == Lane::Fiber {
        return Err(AdmissionError::Packed { kind: short(), reason: imports.lane_reason.clone() });
    }
    if kind.policy.reentrancy == Some(Reentrancy::Full) && imports.lane != Lane::Concurrent {
        return Err(AdmissionError::Full { kind: short(), lane: imports.lane.name() });
    }
    Ok(())
}

/// Of a linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// A component that needs more than a slot is refused now and not at its first call.
fn fits(
    profile: MemoryProfile,
    by_default: bool,
    compiled: &wasmtime::component::Component,
) -> Result<(), AdmissionError> {
    let Some(needs) = compiled.resources_required() else { return Ok(()) };
    let slot = slot_bytes(profile);
    if let Some(memory) = starts_with(&needs)
        && memory > slot
    {
        let what = format!("its memory starts at {memory} bytes");
        return Err(AdmissionError::Slot { what, profile, by_default, slot });
    }
    if let Some(elements) = needs.max_initial_table_size
        && elements > TABLE_ELEMENTS as u64
    {
        let most = TABLE_ELEMENTS;
        return Err(AdmissionError::TooMuch(format!("its table starts at {elements} elements; at most {most} fit")));
    }
    Ok(())
}

/// Bytes of its memory when it starts. The number is of pages, whatever its name.
fn starts_with(needs: &ResourcesRequired) -> Option<u64> {
    Some(needs.max_initial_memory_size?.saturating_mul(PAGE_BYTES))
}

/// A kind whose limit is below what it starts with would fail at each call.
fn has_memory(kind: &Kind, compiled: &wasmtime::component::Component) -> Result<(), AdmissionError> {
    let starts = compiled.resources_required().as_ref().and_then(starts_with);
    match (kind.policy.limits.memory, starts) {
        (Some(limit), Some(starts)) if starts > limit => {
            Err(AdmissionError::Memory { kind: kind.name.short().to_owned(), limit, starts })
        }
        _ => Ok(()),
    }
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
    linker.allow_shadowing(true);
    match imports.lane {
        Lane::Direct => {}
        Lane::Fiber => crate::host::define_nesting(&mut linker).map_err(mistyped)?,
        Lane::Concurrent => crate::host::define_async(&mut linker).map_err(mistyped)?,
    }
    linker.allow_shadowing(false);
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

#[cfg(test)]
pub(crate) mod tests;
