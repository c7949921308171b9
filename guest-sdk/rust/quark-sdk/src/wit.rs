//! The contract, as wit-bindgen writes it: every service of `quark:actor`, untouched. The modules
//! of this crate wrap the common ones; what they leave out is here.

#![allow(unsafe_code, missing_docs, unused_qualifications, unreachable_pub, reason = "generated")]
#![allow(clippy::all, clippy::use_self, clippy::or_fun_call, reason = "generated")]

quark_sdk_macros::contract!();

pub use quark::actor::*;
