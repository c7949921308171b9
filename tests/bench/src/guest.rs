//! The components that are measured: the samples, and the least that actors can be: `hot`, which
//! counts, and `hop`, which asks a `hot`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const HOT_WIT: &str = "
package bench:hot;
interface hots {
  resource hot {
    constructor(key: string);
    inc: func(by: u64) -> u64;
  }
}
world hot-actor { export hots; }
";

const HOP_WIT: &str = "
package bench:hop;
interface hops {
  resource hop {
    constructor(key: string);
    inc: func(by: u64) -> u64;
    inc-on: func(by: u64) -> u64;
  }
}
world hop-actor {
  import bench:hot/hots;
  export hops;
}
";

/// Both as `async func`. Their code stays the same: a call that it waits for suspends its stack.
fn made_async(wit: &str) -> String {
    wit.replace(": func(", ": async func(")
}

/// What a kind has in its manifest whose actors share instances.
pub(crate) const PACKED: &str = "[actor]\nisolation = { packed = 1000 }\n";

/// Where `cabi_realloc` puts the only string that comes in.
const KEY_AT: i32 = 1024;

/// The bytes of all components.
pub(crate) struct Guests {
    /// No imports, no heap: what remains is the host's own cost.
    pub(crate) hot: Vec<u8>,
    /// Counts as `hot` does, but in the fiber lane; or asks the `hot` of its own key to count.
    pub(crate) hop: Vec<u8>,
    pub(crate) counter: Vec<u8>,
    pub(crate) relay: Vec<u8>,
    pub(crate) rogue: Vec<u8>,
    pub(crate) metronome: Vec<u8>,
    pub(crate) digest: Vec<u8>,
    pub(crate) ledger: Vec<u8>,
    pub(crate) crew: Vec<u8>,
    pub(crate) foreman: Vec<u8>,
    /// Those once more, of `async func`.
    pub(crate) async_hop: Vec<u8>,
    pub(crate) async_counter: Vec<u8>,
    pub(crate) async_rogue: Vec<u8>,
    pub(crate) async_relay: Vec<u8>,
    pub(crate) others: Vec<(&'static str, Vec<u8>)>,
}

impl Guests {
    pub(crate) fn load() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/actors");
        let read = |name: &str| {
            let file: PathBuf = folder.join(format!("{name}.wasm"));
            std::fs::read(&file).with_context(|| format!("cannot read {}; run scripts/build-actors.sh", file.display()))
        };
        let others = ["hello", "bank", "zoo"].map(|name| read(name).map(|bytes| (name, bytes)));
        Ok(Self {
            hot: component(&[HOT_WIT], "hot-actor", hot_module())?,
            hop: component(&[HOT_WIT, HOP_WIT], "hop-actor", hop_module())?,
            counter: read("counter")?,
            crew: read("crew")?,
            foreman: read("foreman")?,
            relay: read("relay")?,
            rogue: read("rogue")?,
            metronome: read("metronome")?,
            digest: read("digest")?,
            ledger: read("ledger")?,
            async_hop: component(&[&made_async(HOT_WIT), &made_async(HOP_WIT)], "hop-actor", hop_module())?,
            async_counter: read("async/counter")?,
            async_rogue: read("async/rogue")?,
            async_relay: read("async/relay")?,
            others: others.into_iter().collect::<Result<_>>()?,
        })
    }
}

fn component(wit: &[&str], world: &str, mut module: Vec<u8>) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let mut package = None;
    for text in wit {
        package = Some(resolve.push_str("bench.wit", text)?);
    }
    let world = resolve.select_world(&[package.context("no WIT")?], Some(world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

/// Exports `bench:hot/hots#hot`, with a count in a global.
fn hot_module() -> Vec<u8> {
    let mut parts = Parts::default();
    let new = parts.import("[export]bench:hot/hots", "[resource-new]hot", [ValType::I32], [ValType::I32]);
    let count = parts.global(ValType::I64);
    let mut constructor = Function::new([]);
    constructor.instructions().i32_const(1).call(new).end();
    parts.export("bench:hot/hots#[constructor]hot", [ValType::I32; 2], [ValType::I32], constructor);
    let inc = count_up(count);
    parts.export("bench:hot/hots#[method]hot.inc", [ValType::I32, ValType::I64], [ValType::I64], inc);
    parts.finish()
}

/// Exports `bench:hop/hops#hop`; its proxy of `hot` is made once, by the constructor.
fn hop_module() -> Vec<u8> {
    let mut parts = Parts::default();
    let new = parts.import("[export]bench:hop/hops", "[resource-new]hop", [ValType::I32], [ValType::I32]);
    let proxy = parts.import("bench:hot/hots", "[constructor]hot", [ValType::I32; 2], [ValType::I32]);
    let ask = parts.import("bench:hot/hots", "[method]hot.inc", [ValType::I32, ValType::I64], [ValType::I64]);
    let (count, handle) = (parts.global(ValType::I64), parts.global(ValType::I32));
    let mut constructor = Function::new([]);
    constructor.instructions().local_get(0).local_get(1).call(proxy).global_set(handle).i32_const(1).call(new).end();
    parts.export("bench:hop/hops#[constructor]hop", [ValType::I32; 2], [ValType::I32], constructor);
    let inc = count_up(count);
    parts.export("bench:hop/hops#[method]hop.inc", [ValType::I32, ValType::I64], [ValType::I64], inc);
    let mut inc_on = Function::new([]);
    inc_on.instructions().global_get(handle).local_get(1).call(ask).end();
    parts.export("bench:hop/hops#[method]hop.inc-on", [ValType::I32, ValType::I64], [ValType::I64], inc_on);
    parts.finish()
}

fn count_up(count: u32) -> Function {
    let mut inc = Function::new([]);
    inc.instructions().global_get(count).local_get(1).i64_add().global_set(count).global_get(count).end();
    inc
}

/// A core module in the making. Imports come first.
#[derive(Default)]
struct Parts {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    globals: GlobalSection,
    exports: ExportSection,
    code: CodeSection,
}

impl Parts {
    fn ty<const P: usize, const R: usize>(&mut self, params: [ValType; P], results: [ValType; R]) -> u32 {
        self.types.ty().function(params, results);
        self.types.len() - 1
    }

    fn import<const P: usize, const R: usize>(
        &mut self,
        module: &str,
        name: &str,
        params: [ValType; P],
        results: [ValType; R],
    ) -> u32 {
        let ty = self.ty(params, results);
        self.imports.import(module, name, EntityType::Function(ty));
        self.imports.len() - 1
    }

    fn global(&mut self, val_type: ValType) -> u32 {
        let zero = if val_type == ValType::I64 { ConstExpr::i64_const(0) } else { ConstExpr::i32_const(0) };
        self.globals.global(GlobalType { val_type, mutable: true, shared: false }, &zero);
        self.globals.len() - 1
    }

    fn export<const P: usize, const R: usize>(
        &mut self,
        name: &str,
        params: [ValType; P],
        results: [ValType; R],
        code: Function,
    ) {
        let ty = self.ty(params, results);
        self.functions.function(ty);
        self.exports.export(name, ExportKind::Func, self.imports.len() + self.functions.len() - 1);
        self.code.function(&code);
    }

    fn finish(mut self) -> Vec<u8> {
        let mut realloc = Function::new([]);
        realloc.instructions().i32_const(KEY_AT).end();
        self.export("cabi_realloc", [ValType::I32; 4], [ValType::I32], realloc);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
        self.exports.export("memory", ExportKind::Memory, 0);
        let mut module = Module::new();
        module
            .section(&self.types)
            .section(&self.imports)
            .section(&self.functions)
            .section(&memories)
            .section(&self.globals)
            .section(&self.exports)
            .section(&self.code);
        module.finish()
    }
}
