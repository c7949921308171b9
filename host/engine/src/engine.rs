//! The whole configuration of wasmtime, and the clock that interrupts guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::error::EngineError;

/// How often guests are interrupted to look at their time. A turn that runs longer than this gives
/// its worker to others in between, so a neighbour of spinning actors waits a few ticks at most.
/// Shorter ones would wake an idle machine more often, for little.
pub const TICK: Duration = Duration::from_millis(2);
/// The same while no guest runs: an idle silo should hardly wake its machine. A turn that begins then
/// is first looked at after this long.
const TICK_IDLE: Duration = Duration::from_millis(20);
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
/// Core instances that one component may have (its own code, adapters and shims).
const CORE_INSTANCES_PER_COMPONENT: u32 = 16;
/// Core instances, memories and tables reserved for each live actor, on average.
const CORE_INSTANCES_PER_ACTOR: u32 = 4;
const TABLES_PER_ACTOR: u32 = 3;
/// Bytes of a memory slot that stay resident when its actor goes, to be reset by copying.
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// What the machine gives to guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// The most live instances.
    pub instances: u32,
    /// The most linear memory that one instance may have; bytes, a multiple of 64 KiB.
    pub memory_slot: usize,
    /// The most elements of one table.
    pub table_elements: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { instances: 1000, memory_slot: 64 << 20, table_elements: 20_000 }
    }
}

/// Compiles and runs components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) config: EngineConfig,
    pub(crate) beats: Arc<Beats>,
    ticker: Arc<Ticker>,
    /// The one for components with `async func`, made when the first of them comes.
    concurrent: Arc<Mutex<Option<wasmtime::Engine>>>,
}

/// What a component's functions are written as: `func` or `async func`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Plain,
    Async,
}

impl Engine {
    /// Reserves address space for all instances and starts the ticker.
    ///
    /// # Errors
    /// When the machine cannot give that much address space.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let wasmtime = start(&config, Flavour::Plain)?;
        let ticker = Arc::<Ticker>::default();
        let beats = Arc::<Beats>::default();
        ticker.engines.lock().push(wasmtime.weak());
        ticker.start(beats.clone())?;
        Ok(Self { wasmtime, config, beats, ticker, concurrent: Arc::default() })
    }

    /// The engine that runs components of that flavour.
    ///
    /// # Errors
    /// When the machine cannot give the address space of a second pool.
    pub(crate) fn of(&self, flavour: Flavour) -> Result<Self, EngineError> {
        if flavour == Flavour::Plain {
            return Ok(self.clone());
        }
        let mut concurrent = self.concurrent.lock();
        let wasmtime = match &*concurrent {
            Some(wasmtime) => wasmtime.clone(),
            None => {
                let wasmtime = start(&self.config, flavour)?;
                self.ticker.engines.lock().push(wasmtime.weak());
                concurrent.insert(wasmtime).clone()
            }
        };
        drop(concurrent);
        let mut engine = self.clone();
        engine.wasmtime = wasmtime;
        Ok(engine)
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

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn start(config: &EngineConfig, flavour: Flavour) -> Result<wasmtime::Engine, EngineError> {
    wasmtime::Engine::new(&configure(config, flavour)).map_err(|error| EngineError::Start {
        instances: config.instances,
        memory_slot: config.memory_slot,
        reason: format!("{error:#}"),
    })
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

fn configure(config: &EngineConfig, flavour: Flavour) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    let live = config.instances;
    pool.total_component_instances(live)
        .total_core_instances(live.saturating_mul(CORE_INSTANCES_PER_ACTOR))
        .total_memories(live)
        .total_tables(live.saturating_mul(TABLES_PER_ACTOR))
        .total_stacks(live)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(4)
        .max_tables_per_component(16)
        .table_elements(config.table_elements)
        .max_memory_size(config.memory_slot)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);

    let mut wasmtime = Config::new();
    wasmtime
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(config.memory_slot as u64)
        .memory_guard_size(64 * 1024)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // Epochs cost 0 to 9 % where fuel costs 9 to 17 %.
        .epoch_interruption(true)
        // With concurrency on, every call costs three to nine times as much.
        .concurrency_support(flavour == Flavour::Async)
        .cranelift_opt_level(OptLevel::Speed)
        .memory_init_cow(true)
        // A trap names its function; file and line cost memory in every compiled component.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true);
    wasmtime
}
