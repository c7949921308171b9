//! The floor: the same components on wasmtime alone, in an engine that is set up as Quark's is.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{
    Component, ComponentExportIndex, Func, Instance, InstancePre, Linker, ResourceAny, ResourceType, Val,
};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

const LIFECYCLE: &str = "quark:actor/lifecycle@0.1.0";
const MEMORY_SLOT: usize = 64 << 20;
const KEEP_RESIDENT_BYTES: usize = 64 * 1024;
const INSTANCES: u32 = 100;

/// What stands for every resource that a host would give.
struct Stub;

/// A component, ready to instantiate. Its imports answer with nothing.
pub(crate) struct Raw {
    engine: Engine,
    component: Component,
    pre: InstancePre<()>,
    interface: ComponentExportIndex,
    resource: String,
    activate: Option<ComponentExportIndex>,
}

impl Raw {
    pub(crate) fn new(bytes: &[u8], interface: &str, resource: &str) -> Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(INSTANCES)
            .max_memory_size(MEMORY_SLOT)
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(KEEP_RESIDENT_BYTES)
            .pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .memory_reservation(MEMORY_SLOT as u64)
            .memory_guard_size(64 * 1024)
            .epoch_interruption(true)
            .concurrency_support(false);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        stub_imports(&engine, &component, &mut linker)?;
        let pre = linker.instantiate_pre(&component)?;
        let interface = component.get_export_index(None, interface).context("no such interface")?;
        let lifecycle = component.get_export_index(None, LIFECYCLE);
        let activate = lifecycle.and_then(|lifecycle| component.get_export_index(Some(&lifecycle), "activate"));
        Ok(Self { engine, component, pre, interface, resource: resource.into(), activate })
    }

    /// What a wake-up is at least: instantiate, `activate` where it is exported, construct.
    pub(crate) fn wake(&self, key: &str) -> Result<RawActor<'_>> {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let live = self.pre.instantiate(&mut store)?;
        if let Some(activate) = &self.activate {
            let text = |text: &str| Val::String(text.into());
            let me = Val::Record(vec![("kind".into(), text(&self.resource)), ("key".into(), text(key))]);
            let activation = Val::Record(vec![
                ("me".into(), me),
                ("generation".into(), Val::U64(1)),
                ("version".into(), text("1")),
                ("cause".into(), Val::Enum("message".into())),
            ]);
            let func = live.get_func(&mut store, activate).context("no activate")?;
            func.call(&mut store, &[activation], &mut [Val::Bool(false)])?;
        }
        let constructor = self.export(&format!("[constructor]{}", self.resource))?;
        let func = live.get_func(&mut store, constructor).context("no constructor")?;
        let mut made = [Val::Bool(false)];
        func.call(&mut store, &[Val::String(key.into())], &mut made)?;
        let [Val::Resource(this)] = made else { bail!("the constructor gave no resource") };
        Ok(RawActor { raw: self, store, live, this })
    }

    fn export(&self, name: &str) -> Result<ComponentExportIndex> {
        self.component.get_export_index(Some(&self.interface), name).with_context(|| format!("no export {name}"))
    }

    /// The place of a method, looked up once.
    pub(crate) fn method(&self, name: &str) -> Result<ComponentExportIndex> {
        self.export(&format!("[method]{}.{name}", self.resource))
    }
}

/// One live instance with its resource.
pub(crate) struct RawActor<'a> {
    raw: &'a Raw,
    store: Store<()>,
    live: Instance,
    this: ResourceAny,
}

impl RawActor<'_> {
    fn func(&mut self, method: &ComponentExportIndex) -> Result<Func> {
        self.live.get_func(&mut self.store, method).context("no such method")
    }

    /// One call by values.
    pub(crate) fn call(&mut self, method: &ComponentExportIndex, arguments: &[Val]) -> Result<()> {
        let func = self.func(method)?;
        self.call_func(func, arguments)
    }

    fn call_func(&mut self, func: Func, arguments: &[Val]) -> Result<()> {
        let mut all = vec![Val::Resource(self.this)];
        all.extend_from_slice(arguments);
        let mut results = [Val::Bool(false)];
        func.call(&mut self.store, &all, &mut results)?;
        std::hint::black_box(results);
        Ok(())
    }

    /// Nanoseconds of a call by values.
    pub(crate) fn calls(&mut self, method: &str, arguments: &[Val], n: u64) -> Result<f64> {
        let method = self.raw.method(method)?;
        let func = self.func(&method)?;
        let start = Instant::now();
        for _ in 0..n {
            self.call_func(func, arguments)?;
        }
        Ok(start.elapsed().as_nanos() as f64 / n as f64)
    }

    /// Nanoseconds of a typed call of `func(u64) -> u64`.
    pub(crate) fn typed_calls(&mut self, method: &str, n: u64) -> Result<f64> {
        let method = self.raw.method(method)?;
        let func = self.func(&method)?.typed::<(ResourceAny, u64), (u64,)>(&self.store)?;
        let start = Instant::now();
        for _ in 0..n {
            std::hint::black_box(func.call(&mut self.store, (self.this, 1))?);
        }
        Ok(start.elapsed().as_nanos() as f64 / n as f64)
    }
}

fn stub_imports(engine: &Engine, component: &Component, linker: &mut Linker<()>) -> Result<()> {
    for (interface, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = &import.ty else { bail!("{interface} is no interface") };
        let mut stubs = linker.instance(interface)?;
        for (name, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::Resource(_) => stubs.resource(name, ResourceType::host::<Stub>(), |_, _| Ok(()))?,
                ComponentItem::ComponentFunc(_) => stubs.func_new(name, |_, ty, _, results| {
                    for (result, ty) in results.iter_mut().zip(ty.results()) {
                        *result = nothing(&ty).ok_or_else(|| wasmtime::Error::msg("a stub cannot answer that"))?;
                    }
                    Ok(())
                })?,
                ComponentItem::CoreFunc(_)
                | ComponentItem::Module(_)
                | ComponentItem::Component(_)
                | ComponentItem::ComponentInstance(_)
                | ComponentItem::Type(_) => {}
            }
        }
    }
    Ok(())
}

/// The least value of a type.
#[expect(clippy::wildcard_enum_match_arm, reason = "only what the samples ask for on their way is here")]
fn nothing(ty: &Type) -> Option<Val> {
    let payload = |ty: Option<Type>| match ty {
        None => Some(None),
        Some(ty) => nothing(&ty).map(|val| Some(Box::new(val))),
    };
    Some(match ty {
        Type::Bool => Val::Bool(false),
        Type::U8 => Val::U8(0),
        Type::U32 => Val::U32(0),
        Type::U64 => Val::U64(0),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Result(ty) => Val::Result(Ok(payload(ty.ok())?)),
        Type::Record(ty) => {
            let field = |field: wasmtime::component::types::Field<'_>| Some((field.name.into(), nothing(&field.ty)?));
            Val::Record(ty.fields().map(field).collect::<Option<_>>()?)
        }
        Type::Tuple(ty) => Val::Tuple(ty.types().map(|ty| nothing(&ty)).collect::<Option<_>>()?),
        _ => return None,
    })
}
