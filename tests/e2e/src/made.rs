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
///
/// # Panics
/// When the stamp is too long.
#[must_use]
pub fn stamped(component: &[u8], stamp: &str) -> Vec<u8> {
    const NAME: &[u8] = b"stamp";
    let size = u8::try_from(1 + NAME.len() + stamp.len()).unwrap();
    assert!(size < 128, "one byte of LEB128 has no room for more");
    let name_size = u8::try_from(NAME.len()).unwrap();
    [component, &[0, size, name_size], NAME, stamp.as_bytes()].concat()
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
