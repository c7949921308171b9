//! What a silo is started with. Parsed once; units are in the types.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use quark_core::answers::ANSWER_KEPT_MS;
use quark_core::manifest::MemoryProfile;

/// Where actors' state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this folder.
    Folder(PathBuf),
    /// In memory: gone when the silo stops.
    Memory,
}

/// A silo's settings.
#[derive(Clone, Debug)]
pub struct SiloConfig {
    /// Where actors' state lives.
    pub store: StoreConfig,
    /// Where the gateway listens.
    pub http: SocketAddr,
    /// Hosts that requests may name beside the address itself.
    pub allowed_hosts: Vec<String>,
    /// The admin token; by default the data folder keeps one.
    pub token: Option<String>,
    /// The most live activations; by default what the machine holds.
    pub capacity: Option<u32>,
    /// How instances lie in memory whose manifest does not say.
    pub memory_profile: MemoryProfile,
    /// Threads that run turns; by default one for each processor.
    pub workers: Option<usize>,
    /// How long a call waits that says nothing itself.
    pub default_timeout: Duration,
    /// How long an actor remembers what it answered to a call with an idempotency key.
    pub answers_kept: Duration,
    /// Commits are refused while the data folder's disk has fewer bytes free.
    pub free_space_floor: u64,
    /// The most bytes of the embedded store's cache.
    pub store_cache: usize,
}

impl Default for SiloConfig {
    fn default() -> Self {
        Self {
            store: StoreConfig::Folder("./data".into()),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            allowed_hosts: Vec::new(),
            token: None,
            capacity: None,
            memory_profile: MemoryProfile::Roomy,
            workers: None,
            default_timeout: Duration::from_secs(30),
            answers_kept: Duration::from_millis(ANSWER_KEPT_MS),
            free_space_floor: 64 << 20,
            store_cache: 256 << 20,
        }
    }
}
