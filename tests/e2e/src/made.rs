//! Components made of WIT alone, for what no sample does. Their code traps.

use wit_component::{StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// A core module for the world `made` of that WIT, with the metadata that a deploy reads. The
/// contract's package is there unless the WIT has one of its name.
///
/// # Panics
/// When the WIT is none.
#[must_use]
pub fn made_of(wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    if !wit.contains("package quark:actor@") {
        resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    }
    let package = resolve.push_str("made.wit", wit).unwrap_or_else(|error| panic!("{error:?}"));
    let world = resolve.select_world(&[package], Some("made")).unwrap();
    let mut bytes = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).unwrap();
    bytes
}
