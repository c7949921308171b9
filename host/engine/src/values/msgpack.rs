//! MessagePack by the type: what crosses the mesh and waits in outboxes.
//!
//! | type                | form                                                                  |
//! |---------------------|-----------------------------------------------------------------------|
//! | numbers, bool       | themselves, in the shortest form; char as its code                     |
//! | string              | str                                                                   |
//! | list, tuple, record | array, a record's fields in order; a list of `u8` is bin               |
//! | map                 | map                                                                   |
//! | variant             | array of the case's index and the payload, if it has one               |
//! | result              | the same, with 0 for ok and 1 for err                                  |
//! | enum                | the case's index                                                      |
//! | option              | nil or the value; inside another option, the value in an array of one  |
//! | flags               | an integer, the first flag its lowest bit                             |
//! | blob                | bin                                                                   |
//!
//! Names do not travel, so both sides must have the same types: a message begins with the hash of
//! the signature's types, eight bytes little-endian, and its arguments follow one after the other.

use bytes::Bytes;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use self::read::Input;
use self::write::write;
use super::{ArgumentError, Payload};
use crate::kind::Signature;

mod read;
mod write;

/// Writes one value behind what is in `out`.
///
/// # Errors
/// When the value is not of that type.
pub fn encode(ty: &Type, val: &Val, blobs: &[Bytes], out: &mut Vec<u8>) -> Result<(), ArgumentError> {
    write(ty, val, blobs, out)
}

/// Reads one value, which must be all of the bytes.
///
/// # Errors
/// When the bytes are not a value of that type.
pub fn decode(ty: &Type, bytes: &[u8]) -> Result<Payload, ArgumentError> {
    read_all([ty], Input::new(bytes, 0))
}

/// Writes the arguments of a call.
///
/// # Errors
/// When they are not what the signature takes.
pub fn encode_message(signature: &Signature, payload: &Payload) -> Result<Vec<u8>, ArgumentError> {
    if payload.vals.len() != signature.params.len() {
        let (given, takes) = (payload.vals.len(), signature.params.len());
        return Err(ArgumentError::new(format!("{given} arguments, the method takes {takes}")));
    }
    let mut out = Vec::with_capacity(HASH_BYTES + payload.bytes());
    out.extend_from_slice(&signature.hash.to_le_bytes());
    for ((_, ty), val) in signature.params.iter().zip(&payload.vals) {
        write(ty, val, &payload.blobs, &mut out)?;
    }
    Ok(out)
}

/// Reads the arguments of a call.
///
/// # Errors
/// When they were written for other types, or are not what the signature takes.
pub fn decode_message(signature: &Signature, bytes: &[u8]) -> Result<Payload, ArgumentError> {
    let Some((hash, arguments)) = bytes.split_first_chunk::<HASH_BYTES>() else {
        return Err(ArgumentError::new("the message ends before its arguments"));
    };
    if *hash != signature.hash.to_le_bytes() {
        return Err(ArgumentError::new(format!("the types of `{}` are not those of the sender", signature.name)));
    }
    read_all(signature.params.iter().map(|(_, ty)| ty), Input::new(arguments, HASH_BYTES))
}

fn read_all<'t>(types: impl IntoIterator<Item = &'t Type>, mut input: Input<'_>) -> Result<Payload, ArgumentError> {
    let vals = types.into_iter().map(|ty| input.val(ty)).collect::<Result<Vec<_>, _>>()?;
    let blobs = input.finish()?;
    Ok(Payload { vals: vals.into(), blobs })
}

/// The hash before a message's arguments.
const HASH_BYTES: usize = size_of::<u64>();

#[cfg(test)]
mod tests;
