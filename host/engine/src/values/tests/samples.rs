//! Types with names, for the tests that pin forms down.

use wasmtime::component::types::Type;

use super::support;

const DEFINITIONS: &str = "
    record point { x: s32, label: option<string> }
    variant shape { empty, circle(f64), nested(option<u8>), some(string) }
    enum color { red, green, none }
    flags perms { read, write, admin }";

/// Parameters, written as in WIT; they may name `point`, `shape`, `color` and `perms`.
pub(in crate::values) fn params(takes: &str) -> Vec<(String, Type)> {
    support::params(DEFINITIONS, takes)
}
