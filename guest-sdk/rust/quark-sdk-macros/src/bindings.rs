//! The contract, and what wit-bindgen writes for it and for a user's world, in the flavour of this build.

use proc_macro2::TokenStream;
use quote::quote;
use wit_bindgen_core::wit_parser::{PackageId, Resolve, SourceMap, WorldId};
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;

use crate::flavour::{ASYNC, borrow_parameters, make_async};

pub(crate) const CONTRACT: &str = "quark:actor";

/// For folders of WIT that do not hold the contract themselves.
const CONTRACT_FILES: [(&str, &str); 11] = [
    ("blobs.wit", include_str!("../../../../wit/blobs.wit")),
    ("calls.wit", include_str!("../../../../wit/calls.wit")),
    ("context.wit", include_str!("../../../../wit/context.wit")),
    ("journal.wit", include_str!("../../../../wit/journal.wit")),
    ("lifecycle.wit", include_str!("../../../../wit/lifecycle.wit")),
    ("state.wit", include_str!("../../../../wit/state.wit")),
    ("streams.wit", include_str!("../../../../wit/streams.wit")),
    ("supervision.wit", include_str!("../../../../wit/supervision.wit")),
    ("timers.wit", include_str!("../../../../wit/timers.wit")),
    ("types.wit", include_str!("../../../../wit/types.wit")),
    ("world.wit", include_str!("../../../../wit/world.wit")),
];

/// The bindings of everything that the contract offers.
pub(crate) fn contract() -> Result<TokenStream, String> {
    let mut resolve = Resolve::default();
    let package = push_contract(&mut resolve).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], Some("host")).map_err(|error| format!("{error:#}"))?;
    let opts = || Opts {
        runtime_path: Some("::wit_bindgen::rt".into()),
        generate_all: true,
        additional_derive_attributes: ["PartialEq", "serde::Serialize", "serde::Deserialize"].map(Into::into).into(),
        ..Opts::default()
    };
    let file = bindings(&resolve, world, &opts)?;
    Ok(quote!(#file))
}

/// The contract's package.
pub(crate) fn push_contract(resolve: &mut Resolve) -> anyhow::Result<PackageId> {
    let mut contract = SourceMap::default();
    for (name, text) in CONTRACT_FILES {
        contract.push_str(name, text);
    }
    let contract = contract.parse().map_err(|(_, error)| error)?;
    Ok(resolve.push_group(contract)?)
}

/// What wit-bindgen writes, in the flavour of this build.
pub(crate) fn bindings(resolve: &Resolve, world: WorldId, opts: &dyn Fn() -> Opts) -> Result<syn::File, String> {
    let mut plain = written(resolve.clone(), world, opts())?;
    if !ASYNC {
        return Ok(plain);
    }
    let mut resolve = resolve.clone();
    make_async(&mut resolve);
    let mut file = written(resolve, world, opts())?;
    borrow_parameters(&mut file.items, &mut plain.items);
    Ok(file)
}

fn written(mut resolve: Resolve, world: WorldId, opts: Opts) -> Result<syn::File, String> {
    let mut files = Files::default();
    opts.build().generate(&mut resolve, world, &mut files).map_err(|error| format!("{error:#}"))?;
    let (_, text) = files.iter().next().ok_or("wit-bindgen wrote nothing")?;
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    syn::parse_file(text).map_err(|error| error.to_string())
}
