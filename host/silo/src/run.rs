//! A silo from its start to its end, as `quark silo` runs it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use quark_engine::Cache;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{SiloConfig, StoreConfig};
use crate::gateway::{BindError, Gateway, GatewayConfig, token};
use crate::silo::{Silo, StartError};
use crate::store::memory::MemoryStore;
use crate::store::redb::{OpenError, RedbOptions, RedbStore};
use crate::store::{Store, StoreHealth};

/// The stack of a thread that runs turns: in the direct lane, guests run on it.
pub(crate) const WORKER_STACK_BYTES: usize = 16 << 20;

/// Why a silo did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No runtime, no signals.
    #[error("the silo could not start: {0}")]
    Runtime(#[from] std::io::Error),
    /// The data folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The silo itself.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin token.
    #[error(transparent)]
    Token(#[from] token::TokenError),
    /// It would listen to others without a token that anybody chose.
    #[error(
        "{0} can be reached from other machines, and no admin token was given: give one with --token-file or \
         QUARK_TOKEN, or listen on 127.0.0.1"
    )]
    NoToken(std::net::SocketAddr),
}

/// Runs a silo until SIGTERM or Ctrl-C, then stops it gracefully. `started` is told the gateway's
/// address once calls are taken.
///
/// # Errors
/// When it could not start. Nothing was changed then, but the data folder may have been made.
pub fn run(config: SiloConfig, started: impl FnOnce(std::net::SocketAddr)) -> Result<(), RunError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = config.workers {
        runtime.worker_threads(workers.max(1));
    }
    let runtime = runtime.thread_name("quark-worker").thread_stack_size(WORKER_STACK_BYTES).enable_all().build()?;
    runtime.block_on(serve(config, started))
}

async fn serve(config: SiloConfig, started: impl FnOnce(std::net::SocketAddr)) -> Result<(), RunError> {
    check_address(&config)?;
    let (store, cache): (Arc<dyn Store>, Cache) = match &config.store {
        StoreConfig::Memory => (Arc::new(MemoryStore::new()), Cache::none()),
        StoreConfig::Folder(folder) => {
            let options = RedbOptions { free_space_floor: config.free_space_floor, cache_bytes: config.store_cache };
            let store = RedbStore::open(folder, options)?;
            let compiled = folder.join("compiled");
            // Whoever can write there can run code as the silo.
            let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&compiled);
            made.inspect_err(|error| tracing::warn!(%error, "no cache of compiled components")).ok();
            if let StoreHealth::ReadOnly(reason) = store.health() {
                tracing::warn!(reason, "the store takes no writes");
            }
            (Arc::new(store), Cache::at(&compiled))
        }
    };
    // The folder is this silo's own now, and exists.
    let token = admin_token(&config)?;
    let mut gateway = GatewayConfig::new(config.http, token.clone());
    gateway.allowed_hosts.clone_from(&config.allowed_hosts);
    let silo = Silo::start(config, store, cache).await?;
    let gateway = Gateway::bind(gateway, Arc::new(silo.clone())).await?;
    let address = gateway.local_address();
    if let Err(error) = token::publish(address, &token) {
        tracing::warn!(%error, "the local command line will need --token");
    }
    started(address);
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = silo.clone();
    let stop = async move {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
        }
        stopping.end_waits();
    };
    gateway.serve(stop).await;
    silo.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// A silo that others can reach needs a token that somebody chose, or that an earlier start made.
fn check_address(config: &SiloConfig) -> Result<(), RunError> {
    let kept = match &config.store {
        StoreConfig::Folder(folder) => folder.join("admin-token").exists(),
        StoreConfig::Memory => false,
    };
    if config.http.ip().is_loopback() || config.token.is_some() || kept {
        return Ok(());
    }
    Err(RunError::NoToken(config.http))
}

fn admin_token(config: &SiloConfig) -> Result<String, RunError> {
    match (&config.token, &config.store) {
        (Some(token), _) => Ok(token.clone()),
        (None, StoreConfig::Folder(folder)) => Ok(token::read_or_create(folder)?),
        (None, StoreConfig::Memory) => Ok(token::fresh()),
    }
}
