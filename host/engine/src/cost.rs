//! What one live instance takes of the machine, by memory profile and lane. Measured, not derived:
//! a test counts the mappings, and `make bench` prints the memory.

use quark_core::manifest::MemoryProfile;

use crate::kind::Lane;

/// Mappings that a slot of the pooling allocator takes from the start: a stack and its guard.
pub(crate) const MAPPINGS_PER_SLOT: u64 = 2;

/// What one live instance takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Mappings of the process, while it lives.
    pub mappings: u64,
    /// Mappings of the process for its slot, whether it is taken or not.
    pub slot_mappings: u64,
    /// Bytes of memory that an idle one holds at the least.
    pub memory: u64,
    /// Bytes of address space.
    pub address: u64,
}

/// Of memory, as Linux gives it.
const PAGE_BYTES: u64 = 4096;

impl Cost {
    /// That of a component whose memory starts with so many bytes of data.
    #[must_use]
    pub const fn with_data(mut self, bytes: u64) -> Self {
        self.memory += bytes.next_multiple_of(PAGE_BYTES);
        self
    }
}

/// What one live instance takes in that profile and lane, with a memory that starts empty.
#[must_use]
pub const fn cost(profile: MemoryProfile, lane: Lane) -> Cost {
    let (mappings, kib) = match (profile, lane) {
        (MemoryProfile::Roomy, Lane::Direct) => (4, 18),
        (MemoryProfile::Roomy, Lane::Fiber) => (4, 31),
        (MemoryProfile::Roomy, Lane::Concurrent) => (4, 42),
        (MemoryProfile::Dense, Lane::Direct) => (0, 14),
        (MemoryProfile::Dense, Lane::Fiber) => (2, 24),
        (MemoryProfile::Dense, Lane::Concurrent) => (2, 36),
    };
    let (slot_mappings, address) = match profile {
        MemoryProfile::Roomy => (MAPPINGS_PER_SLOT, 67 << 20),
        MemoryProfile::Dense => (0, 3 << 20),
    };
    Cost { mappings, slot_mappings, memory: kib << 10, address }
}
