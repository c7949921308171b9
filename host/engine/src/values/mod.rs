//! Component values outside every Store, and their forms: JSON and WAVE for people, MessagePack
//! for the mesh. All of it goes by the types that the components themselves declare.

mod base64;
mod budget;
pub mod call_errors;
mod errors;
pub mod json;
pub mod msgpack;
mod text;
pub mod types;
pub mod wave;

use bytes::Bytes;
use smallvec::SmallVec;
use wasmtime::component::Val;

pub use self::budget::MEMORY_MAX;
pub use self::errors::{ArgumentError, Place};
pub use self::types::{describe, same_shape, type_hash};

/// Arguments or a result. One value, as most calls have, needs no allocation.
pub type Vals = SmallVec<[Val; 1]>;

/// Values that belong to no Store.
///
/// Where a type has `own<...>`, which is always the blob resource, the value holds
/// [`Val::U32`], the place of the bytes in `blobs`.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// The arguments in order, or the one result.
    pub vals: Vals,
    /// The bytes of all blobs in them.
    pub blobs: Vec<Bytes>,
}

impl Payload {
    /// About as many bytes as the values would take in a guest's memory; what limits count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let blobs: usize = self.blobs.iter().map(Bytes::len).sum();
        self.vals.iter().map(size).sum::<usize>() + blobs
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the remaining values are handles")]
fn size(val: &Val) -> usize {
    let boxed = |val: &Option<Box<Val>>| val.as_deref().map_or(0, size);
    match val {
        Val::Bool(_) | Val::S8(_) | Val::U8(_) => 1,
        Val::S16(_) | Val::U16(_) => 2,
        Val::S64(_) | Val::U64(_) | Val::Float64(_) => 8,
        Val::String(text) => 8 + text.len(),
        Val::List(vals) => 8 + vals.iter().map(size).sum::<usize>(),
        Val::Map(entries) => 8 + entries.iter().map(|(key, val)| size(key) + size(val)).sum::<usize>(),
        Val::Tuple(vals) | Val::FixedLengthList(vals) => vals.iter().map(size).sum(),
        Val::Record(fields) => fields.iter().map(|(_, val)| size(val)).sum(),
        Val::Variant(_, val) | Val::Option(val) | Val::Result(Ok(val) | Err(val)) => 1 + boxed(val),
        Val::Enum(_) => 1,
        _ => 4,
    }
}

#[cfg(test)]
mod tests;
