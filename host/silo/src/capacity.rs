//! How many actors a machine holds live, what limits it, and what raises that. No I/O: `machine`
//! looks, this decides.

use quark_core::manifest::MemoryProfile;
use quark_engine::{Cost, Lane, cost, slot_bytes};
use serde::Serialize;

/// Mappings that the process itself needs: its binary, threads, heaps, the store, compiled code,
/// stacks that are kept for the next turn.
pub(crate) const MAPPINGS_RESERVED: u64 = 6_000;
/// The most that the kernel's setting can be.
const MAPPINGS_MAX: u64 = 2_147_483_647;
/// Memory that is left to the rest of the silo: the store's cache, calls, compiling. Of little
/// memory it is half.
const MEMORY_RESERVED: u64 = 512 << 20;
/// Address space that is left to the same.
const ADDRESS_RESERVED: u64 = 1 << 30;
/// Address space is shared by the roomy pools of both flavours, and by the dense ones.
const ADDRESS_SHARES: u64 = 3;
/// The most roomy instances that are taken unasked: each slot of their pool is set up at the start.
const ROOMY_UNASKED_MAX: u64 = 100_000;
/// The most of any that a silo keeps count of.
const INSTANCES_MAX: u64 = 100_000_000;
/// A machine that holds fewer is served all the same: it will say so when it is full.
pub(crate) const INSTANCES_MIN: u64 = 16;

/// All lanes.
const LANES: [Lane; 3] = [Lane::Direct, Lane::Fiber, Lane::Concurrent];

/// What this process can have of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Mappings (`vm.max_map_count`).
    pub mappings: u64,
    /// Bytes of memory that can still be had.
    pub memory: u64,
    /// The control group's file that bounds the memory before the machine does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Bytes of address space.
    pub address: u64,
    /// What bounds the address space, if not the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_bound: Option<AddressBound>,
}

/// What bounds the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressBound {
    /// `ulimit -v` or `ulimit -d`.
    Ulimit,
    /// `vm.overcommit_memory=2`.
    Overcommit,
}

/// What runs out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Mappings of the process.
    Mappings,
    /// Memory.
    Memory,
    /// Address space.
    AddressSpace,
    /// Nothing of the machine: more are only taken when asked for.
    Default,
}

impl Resource {
    /// As people see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mappings => "mappings",
            Self::Memory => "memory",
            Self::AddressSpace => "address space",
            Self::Default => "default",
        }
    }
}

/// How many actors of one memory profile and lane a machine holds live, if it holds no others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holds {
    /// `roomy`, `dense`.
    pub profile: &'static str,
    /// `direct`, `fiber`, `concurrent`.
    pub lane: &'static str,
    /// Bytes of memory that each may have at the most.
    pub room: u64,
    /// So many.
    pub live: u64,
    /// What runs out first.
    pub limited_by: Resource,
    /// How many the mappings allow; none when they take none.
    pub by_mappings: Option<u64>,
    /// How many the memory allows, while they are idle and small.
    pub by_memory: u64,
    /// How many the address space allows.
    pub by_address_space: u64,
    /// What makes it more: a command, or what else to do.
    pub raise: String,
}

impl Machine {
    /// What is left for instances.
    pub(crate) const fn usable_mappings(&self) -> u64 {
        self.mappings.saturating_sub(MAPPINGS_RESERVED)
    }

    pub(crate) fn usable_memory(&self) -> u64 {
        self.memory.saturating_sub(MEMORY_RESERVED).max(self.memory / 2)
    }

    fn usable_address(&self) -> u64 {
        self.address.saturating_sub(ADDRESS_RESERVED) / ADDRESS_SHARES
    }

    /// How many actors of each profile and lane it holds live.
    #[must_use]
    pub fn all(&self) -> Vec<Holds> {
        let of = |profile| LANES.map(|lane| self.holds(profile, lane));
        MemoryProfile::ALL.into_iter().flat_map(of).collect()
    }

    /// How many actors of that profile and lane it holds live.
    #[must_use]
    pub fn holds(&self, profile: MemoryProfile, lane: Lane) -> Holds {
        let limits = self.limits(profile, lane);
        let unasked = if profile == MemoryProfile::Roomy { ROOMY_UNASKED_MAX } else { INSTANCES_MAX };
        let all = [
            (limits.mappings.unwrap_or(u64::MAX), Resource::Mappings),
            (limits.memory, Resource::Memory),
            (limits.address, Resource::AddressSpace),
            (unasked, Resource::Default),
        ];
        let (live, limited_by) = all.into_iter().min_by_key(|(live, _)| *live).unwrap_or((0, Resource::Default));
        Holds {
            profile: profile.name(),
            lane: lane.name(),
            room: slot_bytes(profile),
            live,
            limited_by,
            by_mappings: limits.mappings,
            by_memory: limits.memory,
            by_address_space: limits.address,
            raise: self.raise(limited_by, limits.memory.min(limits.address), cost(profile, lane)),
        }
    }

    fn limits(&self, profile: MemoryProfile, lane: Lane) -> Limits {
        let Cost { mappings, slot_mappings, memory, address } = cost(profile, lane);
        Limits {
            mappings: self.usable_mappings().checked_div(mappings + slot_mappings),
            memory: self.usable_memory() / memory,
            address: self.usable_address() / address,
        }
    }

    /// What makes a resource last for that many instances.
    fn raise(&self, resource: Resource, wanted: u64, cost: Cost) -> String {
        match resource {
            Resource::Mappings => {
                let needed = (cost.mappings + cost.slot_mappings).saturating_mul(wanted);
                let needed = needed.saturating_add(MAPPINGS_RESERVED).next_multiple_of(10_000);
                format!("sudo sysctl -w vm.max_map_count={}", needed.min(MAPPINGS_MAX))
            }
            Resource::Memory => match &self.cgroup {
                Some(file) if file.ends_with(".max") => format!("echo max | sudo tee {file}"),
                Some(file) => format!("echo -1 | sudo tee {file}"),
                None => "give the machine more memory".into(),
            },
            Resource::AddressSpace => match self.address_bound {
                Some(AddressBound::Ulimit) => "ulimit -v unlimited; ulimit -d unlimited".into(),
                Some(AddressBound::Overcommit) => "sudo sysctl -w vm.overcommit_memory=0".into(),
                None => "nothing: it is all that the processor has".into(),
            },
            Resource::Default => "start with `quark silo --capacity N`".into(),
        }
    }
}

struct Limits {
    mappings: Option<u64>,
    memory: u64,
    address: u64,
}

/// More was asked for than the machine holds; what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine cannot hold {0}")]
pub struct TooMany(String);

/// Which pool of slots an instance is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    Roomy,
    RoomyConcurrent,
    Dense,
}

/// What one live instance takes of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) pool: Pool,
    pub(crate) mappings: u64,
    pub(crate) memory: u64,
}

impl Share {
    pub(crate) const fn of(profile: MemoryProfile, lane: Lane, cost: Cost) -> Self {
        let Cost { mappings, memory, .. } = cost;
        let pool = match (profile, lane) {
            (MemoryProfile::Dense, _) => Pool::Dense,
            (MemoryProfile::Roomy, Lane::Concurrent) => Pool::RoomyConcurrent,
            (MemoryProfile::Roomy, Lane::Direct | Lane::Fiber) => Pool::Roomy,
        };
        Self { pool, mappings, memory }
    }
}

/// What all live instances may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// The most live instances, whatever they take.
    pub(crate) instances: u64,
    /// The most in each pool, by [`Pool`].
    pub(crate) slots: [u32; 3],
    pub(crate) mappings: u64,
    pub(crate) memory: u64,
}

/// The budget of a silo: all that the machine holds, or what was asked for.
pub(crate) fn budget(machine: &Machine, profile: MemoryProfile, asked: Option<u32>) -> Result<Budget, TooMany> {
    if let Some(asked) = asked {
        check(machine, profile, asked)?;
    }
    // Slots of a lane that costs less are slots for all: what each takes is counted when it wakes.
    let limit = asked.map_or(INSTANCES_MAX, u64::from);
    let slots = |profile| {
        let most = match asked {
            None => machine.holds(profile, Lane::Direct).live,
            Some(_) => machine.limits(profile, Lane::Direct).least(),
        };
        most.max(INSTANCES_MIN).min(limit)
    };
    let (roomy, dense) = (slots(MemoryProfile::Roomy), slots(MemoryProfile::Dense));
    // The second roomy pool is made beside the first, whose stacks have their mappings then.
    let Cost { mappings, slot_mappings, .. } = cost(MemoryProfile::Roomy, Lane::Concurrent);
    let beside = machine.usable_mappings().saturating_sub(slot_mappings * roomy) / (mappings + slot_mappings);
    let concurrent = beside.max(INSTANCES_MIN).min(roomy);
    let slots = [roomy, concurrent, dense].map(|slots| u32::try_from(slots).unwrap_or(u32::MAX));
    let (mappings, memory) = (machine.usable_mappings(), machine.usable_memory());
    Ok(Budget { instances: limit, slots, mappings, memory })
}

impl Limits {
    fn least(&self) -> u64 {
        self.mappings.unwrap_or(u64::MAX).min(self.memory).min(self.address)
    }
}

/// Refuses what the machine cannot hold even if all of it costs as little as can be.
fn check(machine: &Machine, profile: MemoryProfile, asked: u32) -> Result<(), TooMany> {
    let limits = machine.limits(profile, Lane::Direct);
    let most = limits.least();
    if u64::from(asked) <= most.max(INSTANCES_MIN) {
        return Ok(());
    }
    let cost = cost(profile, Lane::Direct);
    let raise = |resource| machine.raise(resource, u64::from(asked), cost);
    let (why, next) = if limits.mappings == Some(most) {
        let each = cost.mappings + cost.slot_mappings;
        let mappings = machine.mappings;
        let why = format!("its kernel allows {mappings} mappings for a process, and each takes {each}");
        let dense = if profile == MemoryProfile::Roomy { ", or with --memory-profile dense" } else { "" };
        (why, format!("run `{}`, or start with a smaller --capacity{dense}", raise(Resource::Mappings)))
    } else {
        let resource = if limits.memory == most { Resource::Memory } else { Resource::AddressSpace };
        let why = format!("its {} ends there", resource.name());
        (why, format!("start with a smaller --capacity, or raise it: {}", raise(resource)))
    };
    Err(TooMany(format!("{asked} live actors in the {} profile, but {most} at most: {why}; {next}", profile.name())))
}

#[cfg(test)]
mod tests;
