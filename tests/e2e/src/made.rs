//! Components for what no sample does: of WIT alone, whose code traps, or with code in WAT.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

/// A core module for the world `made` of that WIT, with the metadata that a deploy reads. The
/// contract's package is there unless the WIT has one of its name.
///
/// # Panics
/// When the WIT is none.
#[must_use]
pub fn made_of(wit: &str) -> Vec<u8> {
    let (resolve, world) = read(wit);
    let mut bytes = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).unwrap();
    bytes
}

/// A component for the world `made` of that WIT, with that WAT as its code.
///
/// # Panics
/// When one of both is none, or they do not fit.
#[must_use]
pub fn made_with(wit: &str, module: &str) -> Vec<u8> {
    let (resolve, world) = read(wit);
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

/// The same component with other bytes, and so another hash: a custom section at its end says which.
#[must_use]
pub fn stamped(component: &[u8], stamp: &str) -> Vec<u8> {
    with_section(component, "stamp", stamp.as_bytes())
}

/// [`made_of`], with the comments of the WIT, as the SDK puts them into a component.
///
/// # Panics
/// When the WIT is none.
#[must_use]
pub fn made_with_docs(wit: &str) -> Vec<u8> {
    let (resolve, world) = read(wit);
    let package = resolve.worlds[world].package.unwrap();
    with_section(&made_of(wit), "quark:wit", &wit_component::encode(&resolve, package).unwrap())
}

/// With a custom section at its end.
fn with_section(component: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let name = [&leb128(name.len()), name.as_bytes()].concat();
    [component, &[0], &leb128(name.len() + data.len()), &name, data].concat()
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

fn read(wit: &str) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    if !wit.contains("package quark:actor@") {
        resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    }
    let package = resolve.push_str("made.wit", wit).unwrap_or_else(|error| panic!("{error:?}"));
    let world = resolve.select_world(&[package], Some("made")).unwrap();
    (resolve, world)
}
