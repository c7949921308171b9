//! Types out of WIT text. wasmtime has no other way to types than a compiled component, so the text
//! becomes one whose functions all trap.

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::{Config, Engine};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Resolve, WorldId, WorldItem};

use crate::kind::Signature;
use crate::values::type_hash;

/// Functions with their types, out of what stands in a WIT interface; `blob` and `call-error` are known.
pub(in crate::values) fn signatures(wit: &str) -> Vec<Signature> {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/types.wit");
    resolve.push_source("types.wit", &std::fs::read_to_string(contract).unwrap()).unwrap();
    let test = format!(
        "package test:values;
         interface blobs {{ resource blob; }}
         interface api {{ use blobs.{{blob}}; use quark:actor/types@0.1.0.{{call-error}}; {wit} }}
         world all {{ export api; }}"
    );
    let package = resolve.push_source("test.wit", &test).unwrap();
    let world = resolve.select_world(&[package], Some("all")).unwrap();
    let mut module = module(&resolve, world);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let bytes = ComponentEncoder::default().module(&module).unwrap().encode().unwrap();

    let mut config = Config::new();
    config.wasm_component_model_map(true).wasm_component_model_fixed_length_lists(true);
    let engine = Engine::new(&config).unwrap();
    let component = Component::new(&engine, bytes).unwrap();
    let ty = component.component_type();
    let Some(ComponentItem::ComponentInstance(api)) = ty.get_export(&engine, "test:values/api").map(|api| api.ty)
    else {
        panic!("the component exports its interface");
    };
    let functions = api.exports(&engine).filter_map(|(name, export)| {
        let ComponentItem::ComponentFunc(function) = export.ty else { return None };
        Some((name.to_owned(), function))
    });
    let signatures = functions.map(|(name, function)| {
        let params: Vec<(String, Type)> = function.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
        let types: Vec<Type> = params.iter().map(|(_, ty)| ty.clone()).collect();
        let result = function.results().next();
        let hash = type_hash(&types, result.as_ref());
        Signature { name: name.into(), params, result, hash, is_async: false, blobs_in: false, blobs_out: false }
    });
    signatures.collect()
}

/// Parameters, written as in WIT; `definitions` of the types that they name stand before them.
pub(in crate::values) fn params(definitions: &str, params: &str) -> Vec<(String, Type)> {
    signatures(&format!("{definitions} takes: func({params});")).remove(0).params
}

/// One type.
pub(in crate::values) fn ty(definitions: &str, ty: &str) -> Type {
    params(definitions, &format!("it: {ty}")).remove(0).1
}

/// A core module with the exports that the world asks for.
fn module(resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let realloc = (vec![I32; 4], vec![I32]);
    let mut functions = vec![("cabi_realloc".to_owned(), realloc)];
    for (key, item) in &resolve.worlds[world].exports {
        let WorldItem::Interface { id, .. } = item else { continue };
        let interface = resolve.name_world_key(key);
        for function in resolve.interfaces[*id].functions.values() {
            let name = function.legacy_core_export_name(Some(&interface)).into_owned();
            let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
            let core = |types: &[WasmType]| types.iter().map(core_type).collect::<Vec<u8>>();
            functions.push((name, (core(&signature.params), core(&signature.results))));
        }
    }
    let types = functions.iter().map(|(_, (params, results))| [vec![0x60], vec_of(params), vec_of(results)].concat());
    let indices = (0..functions.len()).map(number);
    let exports = functions.iter().enumerate();
    let exports = exports.map(|(at, (name, _))| [vec_of(name.as_bytes()), vec![0], number(at)].concat());
    let memory = [vec_of(b"memory"), vec![2, 0]].concat();
    // No locals, `unreachable`, `end`.
    let bodies = functions.iter().map(|_| vec_of(&[0, 0x00, 0x0b]));
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    for (id, entries) in [
        (1, types.collect()),
        (3, indices.collect()),
        (5, vec![vec![0, 1]]),
        (7, exports.chain([memory]).collect()),
        (10, bodies.collect::<Vec<_>>()),
    ] {
        bytes.push(id);
        bytes.extend(vec_of(&[number(entries.len()), entries.concat()].concat()));
    }
    bytes
}

const I32: u8 = 0x7f;

fn core_type(ty: &WasmType) -> u8 {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => I32,
        WasmType::I64 | WasmType::PointerOrI64 => 0x7e,
        WasmType::F32 => 0x7d,
        WasmType::F64 => 0x7c,
    }
}

/// Bytes with their number before them.
fn vec_of(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len()), bytes.to_vec()].concat()
}

/// LEB128.
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}
