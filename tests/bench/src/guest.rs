//! The components that are measured: the samples, and `hot`, which is the least that an actor can be.

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

/// Where `cabi_realloc` puts the only string that comes in.
const KEY_AT: i32 = 1024;

/// The bytes of all components.
pub(crate) struct Guests {
    /// No imports, no heap: what remains is the host's own cost.
    pub(crate) hot: Vec<u8>,
    pub(crate) counter: Vec<u8>,
    pub(crate) relay: Vec<u8>,
    pub(crate) rogue: Vec<u8>,
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
            hot: hot()?,
            counter: read("counter")?,
            relay: read("relay")?,
            rogue: read("rogue")?,
            others: others.into_iter().collect::<Result<_>>()?,
        })
    }
}

/// A component that exports `bench:hot/hots#hot`, with a count in a global.
fn hot() -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("hot.wit", HOT_WIT)?;
    let world = resolve.select_world(&[package], Some("hot-actor"))?;
    let mut module = hot_module();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let mut encoder = ComponentEncoder::default().validate(true).module(&module)?;
    encoder.encode()
}

fn hot_module() -> Vec<u8> {
    use ValType::{I32, I64};
    const COUNT: u32 = 0;
    const RESOURCE_NEW: u32 = 0;

    let mut types = TypeSection::new();
    types.ty().function([I32], [I32]);
    types.ty().function([I32, I32], [I32]);
    types.ty().function([I32, I64], [I64]);
    types.ty().function([I32, I32, I32, I32], [I32]);
    let mut imports = ImportSection::new();
    imports.import("[export]bench:hot/hots", "[resource-new]hot", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1).function(2).function(3);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    globals.global(GlobalType { val_type: I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
    let mut exports = ExportSection::new();
    exports
        .export("bench:hot/hots#[constructor]hot", ExportKind::Func, 1)
        .export("bench:hot/hots#[method]hot.inc", ExportKind::Func, 2)
        .export("cabi_realloc", ExportKind::Func, 3)
        .export("memory", ExportKind::Memory, 0);

    let mut constructor = Function::new([]);
    constructor.instructions().i32_const(1).call(RESOURCE_NEW).end();
    let mut inc = Function::new([]);
    inc.instructions().global_get(COUNT).local_get(1).i64_add().global_set(COUNT).global_get(COUNT).end();
    let mut realloc = Function::new([]);
    realloc.instructions().i32_const(KEY_AT).end();
    let mut code = CodeSection::new();
    code.function(&constructor).function(&inc).function(&realloc);

    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&code);
    module.finish()
}
