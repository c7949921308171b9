//! Arguments by their types. An input is a line that says the types (`types`), and behind it their
//! text or bytes.
//!
//! What can be read is within its bound, can be written in every form, and is read from each as
//! the same value.

use quark_engine::values::{self, ArgumentError, MEMORY_MAX, Payload, describe, same_shape, type_hash};
use wasmtime::component::types::Type;

use crate::types::{Params, params};

/// The longest text of an error: an excerpt, a type that is cut, and a path as deep as types nest.
const ERROR_BYTES_MAX: usize = 3000;

/// Types, and their values in JSON.
pub fn json(data: &[u8]) {
    let (params, text) = split(data);
    // The edge refuses what is no UTF-8.
    let text = String::from_utf8_lossy(text);
    check(&params, values::json::from_json(&params, &text));
}

/// Types, and their values in WAVE.
pub fn wave(data: &[u8]) {
    let (params, text) = split(data);
    let text = String::from_utf8_lossy(text);
    check(&params, values::wave::from_wave(&params, &text));
}

/// Types, and a value of the first in MessagePack.
pub fn msgpack(data: &[u8]) {
    let (params, bytes) = split(data);
    let Some(first) = params.first() else { return };
    check(std::slice::from_ref(first), values::msgpack::decode(&first.1, bytes));
}

fn split(data: &[u8]) -> (Params, &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, rest) = data.split_at(end);
    (params(line), rest.get(1..).unwrap_or_default())
}

fn check(params: &[(String, Type)], read: Result<Payload, ArgumentError>) {
    let payload = match read {
        Ok(payload) => payload,
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.len() <= ERROR_BYTES_MAX, "a short error: {shown}");
            return;
        }
    };
    assert_eq!(payload.vals.len(), params.len(), "a value for each parameter");
    assert!(payload.bytes() <= MEMORY_MAX, "{} bytes of values", payload.bytes());
    check_types(params);
    // A record's fields, and the blobs in them, come in any order: MessagePack puts them into that of the type.
    let settled = each(params, &payload, |ty, payload, at| {
        let mut bytes = Vec::new();
        let written = values::msgpack::encode(ty, &payload.vals[at], &payload.blobs, &mut bytes);
        written.unwrap_or_else(|error| panic!("what was read can be written: {error}"));
        read_back(values::msgpack::decode(ty, &bytes), &bytes)
    });
    for ((at, settled), (name, ty)) in settled.iter().enumerate().zip(params) {
        let param = [(name.clone(), ty.clone())];
        let text = values::json::to_json(ty, &settled.vals[0], &settled.blobs);
        assert_eq!(text, values::json::to_json(ty, &payload.vals[at], &payload.blobs), "MessagePack keeps the value");
        let json = serde_json::from_str::<serde_json::Value>(&text);
        assert!(json.is_ok(), "what is written is JSON: {text}");
        let text = format!("[{text}]");
        same(settled, &read_back(values::json::from_json(&param, &text), &text), &text);
        let text = values::wave::to_wave(ty, &settled.vals[0], &settled.blobs);
        same(settled, &read_back(values::wave::from_wave(&param, &text), &text), &text);
    }
}

fn each(
    params: &[(String, Type)],
    payload: &Payload,
    mut pass: impl FnMut(&Type, &Payload, usize) -> Payload,
) -> Vec<Payload> {
    params.iter().enumerate().map(|(at, (_, ty))| pass(ty, payload, at)).collect()
}

fn read_back(read: Result<Payload, ArgumentError>, written: &dyn std::fmt::Debug) -> Payload {
    read.unwrap_or_else(|error| panic!("what was written can be read: {error}\n{written:?}"))
}

fn same(one: &Payload, other: &Payload, written: &str) {
    assert_eq!(one.vals, other.vals, "{written}");
    assert_eq!(one.blobs, other.blobs, "{written}");
}

fn check_types(params: &[(String, Type)]) {
    for (_, ty) in params {
        assert!(describe(ty).len() <= ERROR_BYTES_MAX, "a short type");
        assert!(same_shape(ty, ty), "{} is itself", describe(ty));
    }
    let types: Vec<Type> = params.iter().map(|(_, ty)| ty.clone()).collect();
    assert_eq!(type_hash(&types, None), type_hash(&types, None), "one hash");
}
