//! `#[state]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields};

pub(crate) fn expand(item: &DeriveInput) -> TokenStream {
    let named_struct = matches!(&item.data, Data::Struct(data) if matches!(data.fields, Fields::Named(_)));
    let is_struct = matches!(item.data, Data::Struct(_));
    let default_derive = is_struct.then(|| quote!(#[derive(::core::default::Default)]));
    let default_fields = named_struct.then(|| quote!(#[serde(default)]));
    quote! {
        #default_derive
        #[derive(::quark_sdk::serde::Serialize, ::quark_sdk::serde::Deserialize)]
        #[serde(crate = "::quark_sdk::serde")]
        #default_fields
        #item
    }
}
