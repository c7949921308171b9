//! The macros of `quark-sdk`; see there.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of syn and wit-parser have dozens of cases that do not matter here"
)]

use proc_macro::TokenStream;

mod actor;
mod bindings;
mod flavour;
mod hooks;
mod state;
mod world;

/// Reads the crate's `wit` folder and makes the world with that name usable: its types, its
/// imported interfaces as modules of typed proxies, and its exports, which `#[actor]` fills.
///
/// `quark_sdk::world!("counter-actor")`, or `quark_sdk::world!()` if the folder has one world only.
/// The package `quark:actor` need not lie in `wit/deps`.
#[proc_macro]
pub fn world(input: TokenStream) -> TokenStream {
    let name = syn::parse_macro_input!(input as Option<syn::LitStr>);
    world::expand(name.as_ref()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Exports an `impl`: its methods are those of the resource that has the struct's name, and the
/// hooks `on_activate`, `on_deactivate`, `on_timer`, `on_reminder`, `on_child_failed` and `on_terminated`.
///
/// Methods that call other actors are best written `async fn`, with `.await` behind each call: the
/// same source is then either flavour. In the plain one `async` and `.await` are left out.
///
/// `#[actor(state = "name")]` stores the state under another name than `state`.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = syn::parse_macro_input!(arguments as actor::Arguments);
    let item = if flavour::ASYNC { item } else { flavour::strip(item.into()).into() };
    let item = syn::parse_macro_input!(item as syn::ItemImpl);
    actor::expand(&arguments, &item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// The contract's services, for `quark-sdk` itself.
#[doc(hidden)]
#[proc_macro]
pub fn contract(_input: TokenStream) -> TokenStream {
    bindings::contract()
        .unwrap_or_else(|text| syn::Error::new(proc_macro2::Span::call_site(), text).into_compile_error())
        .into()
}

/// Code for both flavours, written as `async`; for `quark-sdk` itself.
#[doc(hidden)]
#[proc_macro]
pub fn either(input: TokenStream) -> TokenStream {
    if flavour::ASYNC { input } else { flavour::strip(input.into()).into() }
}

/// Makes a type storable as state, or as a part of it: serde's traits, and `Default` for structs.
/// A field that is missing in what was stored gets its default.
#[proc_macro_attribute]
pub fn state(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::DeriveInput);
    state::expand(&item).into()
}
