//! The whole configuration of wasmtime, and the clock that interrupts guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use quark_core::manifest::MemoryProfile;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::cost::MAPPINGS_PER_SLOT;
use crate::error::EngineError;
use crate::slab::{Memories, Stacks};

/// How often guests are interrupted to look at their time. A turn that runs longer than this gives
/// its worker to others in between, so a neighbour of spinning actors waits a few ticks at most.
/// Shorter ones would wake an idle machine more often, for little.
pub const TICK: Duration = Duration::from_millis(2);
/// The same while no guest runs: an idle silo should hardly wake its machine. A turn that begins then
/// is first looked at after this long.
pub(crate) const TICK_IDLE: Duration = Duration::from_millis(20);
/// Ticks without a turn after which they become rare.
const TICKS_IDLE: u32 = 50;

/// The ticks as turns see them.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    count: AtomicU64,
    /// A guest was entered, or was still inside, since the last tick.
    used: AtomicBool,
}

impl Beats {
    /// How many ticks there have been.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// A guest runs.
    pub(crate) fn used(&self) {
        // All workers read this place, and few of them have to write to it.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

/// The stack of guest code.
const WASM_STACK_BYTES: usize = 512 * 1024;
/// What the host's own functions need of a stack, at most, from one guest down to the next.
const HOST_STACK_BYTES: usize = 1024 * 1024;
/// The stack of a fiber: its guest's code, and above that a turn in the direct lane which runs on
/// its caller's stack. That one cannot call further, and every fiber has a stack of its own, so
/// there are never more than two guests on one. What is not used takes address space alone.
const FIBER_STACK_BYTES: usize = 2 * WASM_STACK_BYTES + HOST_STACK_BYTES;
/// Stacks that there are for the fewest instances: turns that overlap may take one each while they wait.
const STACKS_MIN: u32 = 256;
/// Turns that run inside of others at once, each on a stack of its own beside those of the instances:
/// one that found none would end its instance, so they are counted before.
const NESTED_STACKS_MAX: u32 = 256;
/// Core instances that one component may have (its own code, adapters and shims).
const CORE_INSTANCES_PER_COMPONENT: u32 = 16;
/// Core instances, memories and tables reserved for each live actor, on average.
const CORE_INSTANCES_PER_ACTOR: u32 = 4;
const TABLES_PER_ACTOR: u32 = 3;
/// Bytes of a memory slot that stay resident when its actor goes, to be reset by copying.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// The room that one memory has in each profile: a multiple of 64 KiB. Dense slots that lie this
/// close share page tables, four of them one page; with more room each would pay for one alone.
const ROOMY_SLOT_BYTES: u64 = 64 << 20;
const DENSE_SLOT_BYTES: u64 = 512 << 10;
/// Memories reserved for each dense instance: slots are address space alone.
const DENSE_MEMORIES_PER_ACTOR: usize = 2;
/// The most dense instances in the direct lane that have a stack; two mappings each.
const DIRECT_STACKS_MAX: usize = 1_000;
/// The most elements of one table in the roomy profile, which has slots for them too.
pub(crate) const TABLE_ELEMENTS: usize = 20_000;

/// Bytes that one memory can have in this profile.
#[must_use]
pub const fn slot_bytes(profile: MemoryProfile) -> u64 {
    match profile {
        MemoryProfile::Roomy => ROOMY_SLOT_BYTES,
        MemoryProfile::Dense => DENSE_SLOT_BYTES,
    }
}

/// What the machine gives to guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The most live roomy instances: of components with plain functions, and of those with `async
    /// func`. Each of both has a pool of its own.
    pub roomy: [u32; 2],
    /// The most live dense instances, of either.
    pub dense: u32,
    /// The profile of components whose manifest does not say.
    pub profile: MemoryProfile,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { roomy: [1000; 2], dense: 1000, profile: MemoryProfile::Roomy }
    }
}

/// Compiles and runs components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    /// Of this very engine.
    pub(crate) profile: MemoryProfile,
    pub(crate) config: EngineConfig,
    pub(crate) beats: Arc<Beats>,
    pub(crate) stacks: Arc<DirectStacks>,
    pub(crate) nested: Arc<NestedStacks>,
    all: Arc<All>,
}

/// Stacks of dense instances in the direct lane. They need none while their turns are short, and so
/// have no mappings set aside for one, but an instance that had one keeps it.
#[derive(Debug, Default)]
pub(crate) struct DirectStacks(AtomicUsize);

/// One of them; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct DirectStack(Arc<DirectStacks>);

impl DirectStacks {
    /// When there are no more, long turns too run on their callers' stacks, and hand over the worker.
    pub(crate) fn are_out(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= DIRECT_STACKS_MAX
    }

    pub(crate) fn take(self: &Arc<Self>) -> DirectStack {
        self.0.fetch_add(1, Ordering::Relaxed);
        DirectStack(self.clone())
    }
}

impl Drop for DirectStack {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Stacks for turns inside of others.
#[derive(Debug, Default)]
pub(crate) struct NestedStacks(AtomicUsize);

/// One of them; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct NestedStack(Arc<NestedStacks>);

impl NestedStacks {
    /// None when all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<NestedStack> {
        let stack = NestedStack(self.clone());
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        (taken < NESTED_STACKS_MAX as usize).then_some(stack)
    }
}

impl Drop for NestedStack {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The engines of all flavours and profiles, each made when its first component comes.
#[derive(Default)]
struct All {
    made: Mutex<[[Option<wasmtime::Engine>; 2]; 2]>,
    ticker: Ticker,
}

/// What a component's functions are written as: `func` or `async func`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Plain,
    Async,
}

impl Engine {
    /// Reserves address space for instances of the default profile and starts the ticker.
    ///
    /// # Errors
    /// When the machine cannot give that much address space.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let all = Arc::<All>::default();
        let beats = Arc::<Beats>::default();
        all.ticker.start(beats.clone())?;
        let wasmtime = all.engine(&config, Flavour::Plain, config.profile)?;
        Ok(Self {
            wasmtime,
            profile: config.profile,
            config,
            beats,
            stacks: Arc::default(),
            nested: Arc::default(),
            all,
        })
    }

    /// The engine that runs components of that flavour in that profile.
    ///
    /// # Errors
    /// When the machine cannot give the address space of one more engine.
    pub(crate) fn of(&self, flavour: Flavour, profile: MemoryProfile) -> Result<Self, EngineError> {
        let wasmtime = self.all.engine(&self.config, flavour, profile)?;
        Ok(Self { wasmtime, profile, ..self.clone() })
    }

    /// Mappings that the engines made so far take whether instances live or not.
    #[must_use]
    pub fn mappings(&self) -> u64 {
        self.pools(|made| made).sum()
    }

    /// Mappings that the next engine takes at the most.
    #[must_use]
    pub fn mappings_to_come(&self) -> u64 {
        self.pools(|made| !made).max().unwrap_or(0)
    }

    /// What the pools take that are made, or are not.
    fn pools(&self, wanted: impl Fn(bool) -> bool) -> impl Iterator<Item = u64> {
        let made = self.all.made.lock().each_ref().map(|made| made[MemoryProfile::Roomy as usize].is_some());
        let [plain, asynchronous] = self.config.roomy;
        let stacks = [stacks(Flavour::Plain, plain), stacks(Flavour::Async, asynchronous)];
        let pools = made.into_iter().zip(stacks).filter(move |(made, _)| wanted(*made));
        pools.map(|(_, stacks)| MAPPINGS_PER_SLOT * u64::from(stacks))
    }

    /// Tells compiled components of differently configured engines apart.
    #[must_use]
    pub fn compatibility(&self) -> String {
        use std::hash::{Hash, Hasher};
        // The default hasher has fixed keys; only equality on one build of Quark matters.
        let mut hasher = std::hash::DefaultHasher::new();
        self.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

impl All {
    fn engine(
        &self,
        config: &EngineConfig,
        flavour: Flavour,
        profile: MemoryProfile,
    ) -> Result<wasmtime::Engine, EngineError> {
        let mut made = self.made.lock();
        let place = &mut made[flavour as usize][profile as usize];
        if let Some(wasmtime) = place {
            return Ok(wasmtime.clone());
        }
        let instances = match profile {
            MemoryProfile::Roomy => config.roomy[flavour as usize],
            MemoryProfile::Dense => config.dense,
        };
        let stacks = stacks(flavour, instances);
        let start = || {
            let mut shared = shared(flavour);
            match profile {
                MemoryProfile::Roomy => roomy(&mut shared, instances, stacks),
                MemoryProfile::Dense => {
                    dense(&mut shared, instances as usize, stacks as usize).map_err(|error| error.to_string())?
                }
            }
            wasmtime::Engine::new(&shared).map_err(|error| format!("{error:#}"))
        };
        let refused = |reason| EngineError::Start { instances, memory_slot: slot_bytes(profile), profile, reason };
        let wasmtime = start().map_err(refused)?;
        self.ticker.engines.lock().push(wasmtime.weak());
        Ok(place.insert(wasmtime).clone())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Ticker {
    stop: Arc<AtomicBool>,
    engines: Arc<Mutex<Vec<wasmtime::EngineWeak>>>,
}

impl Ticker {
    fn start(&self, beats: Arc<Beats>) -> Result<(), EngineError> {
        let (stop, engines) = (self.stop.clone(), self.engines.clone());
        let ticks = move || {
            let mut idle = 0;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(if idle < TICKS_IDLE { TICK } else { TICK_IDLE });
                engines.lock().iter().filter_map(wasmtime::EngineWeak::upgrade).for_each(|it| it.increment_epoch());
                beats.count.fetch_add(1, Ordering::Relaxed);
                idle = if beats.used.swap(false, Ordering::Relaxed) { 0 } else { idle.saturating_add(1) };
            }
        };
        let thread = thread::Builder::new().name("quark-ticker".into()).spawn(ticks);
        thread.map(drop).map_err(|error| EngineError::Ticker(error.to_string()))
    }
}

/// How many stacks there are for so many instances. Turns nest where functions are plain.
fn stacks(flavour: Flavour, instances: u32) -> u32 {
    let nested = if flavour == Flavour::Plain { NESTED_STACKS_MAX } else { 0 };
    instances.max(STACKS_MIN).saturating_add(nested)
}

/// Each instance of the pooling allocator has slots of its own: large, with copy-on-write images.
fn roomy(wasmtime: &mut Config, instances: u32, stacks: u32) {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_ACTOR))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_PER_ACTOR))
        .total_stacks(stacks)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(4)
        .max_tables_per_component(16)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(ROOMY_SLOT_BYTES).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    wasmtime
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(ROOMY_SLOT_BYTES)
        .memory_guard_size(64 * 1024)
        .memory_init_cow(true);
}

/// Memories and stacks come from slabs, tables from the heap, as small as they are: a page for each
/// would be most of an idle actor. Nothing is reserved and nothing guarded, so that compiled code
/// checks every access; see `slab`.
fn dense(wasmtime: &mut Config, instances: usize, stacks: usize) -> std::io::Result<()> {
    let slot = usize::try_from(DENSE_SLOT_BYTES).unwrap_or(usize::MAX);
    let memories = Memories::new(slot, instances.saturating_mul(DENSE_MEMORIES_PER_ACTOR))?;
    let stacks = Stacks::new(FIBER_STACK_BYTES, stacks)?;
    wasmtime
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .with_host_memory(Arc::new(memories))
        .with_host_stack(Arc::new(stacks))
        .memory_reservation(0)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0)
        .memory_init_cow(false);
    Ok(())
}

fn shared(flavour: Flavour) -> Config {
    let mut wasmtime = Config::new();
    wasmtime
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // Epochs cost 0 to 9 % where fuel costs 9 to 17 %.
        .epoch_interruption(true)
        // With concurrency on, every call costs three to nine times as much.
        .concurrency_support(flavour == Flavour::Async)
        .cranelift_opt_level(OptLevel::Speed)
        // A trap names its function; file and line cost memory in every compiled component.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true);
    wasmtime
}
