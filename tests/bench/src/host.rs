//! Silos inside this process.

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};
use quark_core::idempotency::IdempotencyKey;
use quark_core::manifest::MemoryProfile;
use quark_engine::Cache;
use quark_engine::values::Payload;
use quark_silo::api::{DeployRequest, Failure};
use quark_silo::gateway::Service as _;
use quark_silo::store::Store;
use quark_silo::store::memory::MemoryStore;
use quark_silo::store::redb::{RedbOptions, RedbStore};
use quark_silo::{ActorRef, Silo, SiloConfig};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use wasmtime::component::Val;

use crate::report;

/// As `quark silo` gives its workers.
const WORKER_STACK_BYTES: usize = 16 << 20;
/// Turns after which a component's pace is known.
const PACE_TURNS: usize = 100;

/// A tokio runtime: one thread, or two workers.
pub(crate) fn runtime(workers: usize) -> Result<Runtime> {
    let mut builder = if workers > 1 { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    if workers > 1 {
        builder.worker_threads(workers).thread_stack_size(WORKER_STACK_BYTES);
    }
    Ok(builder.enable_all().build()?)
}

/// A folder on the disk that holds the build, gone when dropped.
pub(crate) fn scratch() -> Result<TempDir> {
    tempfile::Builder::new().prefix("run-").tempdir_in(report::folder()?).context("no folder to work in")
}

/// Compiled components.
static FOLDER: OnceLock<TempDir> = OnceLock::new();

/// Removes what statics keep to the end.
pub(crate) fn clean() {
    if let Some(folder) = FOLDER.get() {
        std::fs::remove_dir_all(folder.path()).ok();
    }
}

/// Compiled components, shared by all silos of this process.
pub(crate) fn cache() -> Result<Cache> {
    if FOLDER.get().is_none() {
        // Whoever comes second loses its empty folder.
        drop(FOLDER.set(scratch()?));
    }
    Ok(Cache::at(FOLDER.get().context("the cache's folder")?.path()))
}

/// A silo and the runtime that it runs on.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) silo: Silo,
}

/// After a silo that was only dropped, the next one found its address space still taken.
impl Drop for Host {
    fn drop(&mut self) {
        self.runtime.block_on(self.silo.stop());
    }
}

pub(crate) fn failure(failure: Failure) -> anyhow::Error {
    anyhow!("{}: {}", failure.code, failure.message)
}

impl Host {
    /// A silo on the memory store.
    pub(crate) fn memory(workers: usize, capacity: usize, components: &[&[u8]]) -> Result<Self> {
        Self::start(workers, Some(capacity), Arc::new(MemoryStore::new()), components)
    }

    /// The same with all of them dense.
    pub(crate) fn dense(workers: usize, capacity: usize, components: &[&[u8]]) -> Result<Self> {
        let profile = MemoryProfile::Dense;
        Self::start_as(profile, workers, Some(capacity), Arc::new(MemoryStore::new()), components)
    }

    /// The same with a manifest for all components.
    pub(crate) fn memory_with(workers: usize, capacity: usize, components: &[&[u8]], manifest: &str) -> Result<Self> {
        let host = Self::start(workers, Some(capacity), Arc::new(MemoryStore::new()), &[])?;
        components.iter().try_for_each(|component| host.deploy(component, Some(manifest)))?;
        Ok(host)
    }

    /// A silo on redb in that folder.
    pub(crate) fn redb(workers: usize, folder: &Path, components: &[&[u8]]) -> Result<Self> {
        let store = RedbStore::open(folder, RedbOptions::default())?;
        Self::start(workers, Some(1_000), Arc::new(store), components)
    }

    /// A silo on any store; without a capacity, with what the machine holds.
    pub(crate) fn start(
        workers: usize,
        capacity: Option<usize>,
        store: Arc<dyn Store>,
        components: &[&[u8]],
    ) -> Result<Self> {
        Self::start_as(MemoryProfile::Roomy, workers, capacity, store, components)
    }

    fn start_as(
        memory_profile: MemoryProfile,
        workers: usize,
        capacity: Option<usize>,
        store: Arc<dyn Store>,
        components: &[&[u8]],
    ) -> Result<Self> {
        let runtime = runtime(workers)?;
        let capacity = capacity.map(u32::try_from).transpose()?;
        let config = SiloConfig { capacity, memory_profile, ..SiloConfig::default() };
        let silo = runtime.block_on(Silo::start(config, store, cache()?))?;
        let host = Self { runtime, silo };
        components.iter().try_for_each(|component| host.deploy(component, None))?;
        Ok(host)
    }

    /// One more component.
    pub(crate) fn add(&self, component: &[u8]) -> Result<()> {
        self.deploy(component, None)
    }

    pub(crate) fn deploy(&self, component: &[u8], manifest: Option<&str>) -> Result<()> {
        let request = DeployRequest {
            name: None,
            component: component.to_vec(),
            manifest: manifest.map(str::to_owned),
            allow_breaking: false,
            force: false,
        };
        self.runtime.block_on(self.silo.deploy(request)).map_err(failure)?;
        Ok(())
    }

    pub(crate) fn actor(&self, kind: &str, key: &str, method: &str) -> Result<Actor> {
        Actor::of(&self.silo, kind, key, method)
    }

    /// `bench:hot/hots#hot`, warm: turns on the caller's own stack need some turns before.
    pub(crate) fn hot(&self, key: &str) -> Result<Actor> {
        self.warm(self.actor("hot", key, "inc")?, &[Val::U64(1)])
    }

    /// `bench:hop/hops#hop`, which counts by itself.
    pub(crate) fn hop(&self, key: &str) -> Result<Actor> {
        self.warm(self.actor("hop", key, "inc")?, &[Val::U64(1)])
    }

    pub(crate) fn counter(&self, key: &str) -> Result<Actor> {
        self.warm(self.actor("counter", key, "value")?, &[])
    }

    pub(crate) fn relay(&self, key: &str) -> Result<Actor> {
        self.warm(self.actor("relay", key, "header")?, &[Val::String("x".into())])
    }

    fn warm(&self, actor: Actor, arguments: &[Val]) -> Result<Actor> {
        self.runtime.block_on(async {
            for _ in 0..PACE_TURNS {
                actor.ask(arguments).await?;
            }
            anyhow::Ok(())
        })?;
        Ok(actor)
    }

    /// The lane as the silo tells it.
    pub(crate) fn lane(&self, kind: &str) -> String {
        let kinds = self.silo.kinds();
        kinds.into_iter().find(|report| report.name == kind).map(|report| report.lane).unwrap_or_default()
    }

    /// Has actors leave memory.
    pub(crate) async fn let_go(silo: &Silo, kind: &str, keys: &[String]) -> Result<()> {
        for key in keys {
            silo.deactivate(kind, key).await.map_err(failure)?;
        }
        Ok(())
    }
}

/// One method of one actor.
#[derive(Clone)]
pub(crate) struct Actor(ActorRef);

impl Actor {
    pub(crate) fn of(silo: &Silo, kind: &str, key: &str, method: &str) -> Result<Self> {
        Ok(Self(silo.actor_ref(kind, key, method).map_err(failure)?))
    }

    pub(crate) async fn ask(&self, arguments: &[Val]) -> Result<Payload> {
        let payload = Payload { vals: arguments.iter().cloned().collect(), blobs: Vec::new() };
        let answer = self.0.ask(payload, None).await.map_err(|error| anyhow!("{error}"))?;
        if let Some(Val::Result(Err(error))) = answer.vals.first() {
            return Err(anyhow!("it answered {error:?}"));
        }
        Ok(answer)
    }

    pub(crate) async fn ask_keyed(&self, arguments: &[Val], key: IdempotencyKey) -> Result<Payload> {
        let payload = Payload { vals: arguments.iter().cloned().collect(), blobs: Vec::new() };
        self.0.ask_keyed(payload, None, key).await.map_err(|error| anyhow!("{error}"))
    }

    /// Asks that often, one after the other.
    pub(crate) async fn asks(self, n: u64, arguments: Vec<Val>) -> Result<()> {
        for _ in 0..n {
            std::hint::black_box(self.ask(&arguments).await?);
        }
        Ok(())
    }
}
