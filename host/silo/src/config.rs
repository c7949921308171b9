//! What a silo is started with. Parsed once; units are in the types.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Threads that run turns; by default one for each processor.
    pub workers: Option<usize>,
    /// How long a call waits that says nothing itself.
    pub default_timeout: Duration,
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
            workers: None,
            default_timeout: Duration::from_secs(30),
            free_space_floor: 64 << 20,
            store_cache: 256 << 20,
        }
    }
}

/// The kernel's bound on mappings of one process, where it tells.
fn mappings_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Mappings that the process itself needs: its binary, threads, heaps, the store.
const MAPPINGS_RESERVED: u64 = 6_000;
/// Mappings that one live instance takes in the fiber lane.
const MAPPINGS_PER_INSTANCE: u64 = 7;
/// The capacity where the kernel does not tell its bound, and the most that is taken unasked: more
/// reserves address space that few machines have use for.
const CAPACITY: (u64, u64) = (4_000, 100_000);

/// How many instances this machine can hold live.
pub(crate) fn capacity() -> u32 {
    let fits = mappings_max().map_or(CAPACITY.0, |max| max.saturating_sub(MAPPINGS_RESERVED) / MAPPINGS_PER_INSTANCE);
    u32::try_from(fits.clamp(16, CAPACITY.1)).unwrap_or(u32::MAX)
}
