//! Tests of `msgpack`.

use super::*;
use crate::values::json::{from_json, to_json};
use crate::values::tests::samples::params;
use crate::values::type_hash;

fn signature(takes: &str) -> Signature {
    let params = params(takes);
    let types: Vec<Type> = params.iter().map(|(_, ty)| ty.clone()).collect();
    let hash = type_hash(&types, None);
    Signature { name: "m".into(), params, result: None, hash, is_async: false, blobs_in: true, blobs_out: false }
}

/// The value, written in JSON, has exactly these bytes, and they give the value back.
#[track_caller]
fn form(ty: &str, json: &str, bytes: &[u8]) {
    let params = params(&format!("v: {ty}"));
    let ty = &params[0].1;
    let payload = from_json(&params, &format!("[{json}]")).unwrap();
    let mut out = Vec::new();
    encode(ty, &payload.vals[0], &payload.blobs, &mut out).unwrap();
    assert_eq!(out, bytes, "{json}");
    let back = decode(ty, bytes).unwrap();
    assert_eq!(to_json(ty, &back.vals[0], &back.blobs), json);
}

#[track_caller]
fn refused(ty: &str, bytes: &[u8]) {
    let error = decode(&params(&format!("v: {ty}"))[0].1, bytes).expect_err(ty);
    assert!(error.to_string().len() < 600, "{error}");
}

#[test]
fn forms_are_fixed() {
    form("bool", "true", &[0xc3]);
    form("u64", "5", &[5]);
    form("s64", "-1", &[0xff]);
    form("f32", "1.5", &[0xca, 0x3f, 0xc0, 0, 0]);
    form("char", "\"a\"", &[97]);
    form("string", "\"hi\"", &[0xa2, b'h', b'i']);
    form("list<u8>", "[1,2]", &[0xc4, 2, 1, 2]);
    form("list<u16>", "[1,2]", &[0x92, 1, 2]);
    form("tuple<u8, bool>", "[1,false]", &[0x92, 1, 0xc2]);
    form("map<u8, bool>", "[[1,true]]", &[0x81, 1, 0xc3]);
    form("point", r#"{"x":1,"label":null}"#, &[0x92, 1, 0xc0]);
    form("shape", "\"empty\"", &[0x91, 0]);
    form("shape", r#"{"nested":null}"#, &[0x92, 2, 0xc0]);
    form("color", "\"green\"", &[1]);
    form("perms", r#"["read","admin"]"#, &[5]);
    form("option<option<u8>>", "null", &[0xc0]);
    form("option<option<u8>>", r#"{"some":null}"#, &[0x91, 0xc0]);
    form("option<option<u8>>", r#"{"some":5}"#, &[0x91, 5]);
    form("result<u8>", r#"{"err":null}"#, &[0x91, 1]);
    form("blob", "\"aGk=\"", &[0xc4, 2, b'h', b'i']);
}

#[test]
fn everything_is_checked() {
    refused("bool", &[]);
    refused("bool", &[5]);
    refused("bool", &[0xc3, 0xc3]);
    refused("u8", &[0xcd, 1, 0]);
    refused("u8", &[0xff]);
    refused("char", &[0xcd, 0xd8, 0]);
    refused("string", &[0xa2, 0xff, 0xff]);
    refused("string", &[0xa2, b'h']);
    refused("point", &[0x91, 1]);
    refused("shape", &[0x91, 9]);
    refused("shape", &[0x92, 0, 1]);
    refused("shape", &[0x91, 1]);
    refused("shape", &[0x93, 0, 0, 0]);
    refused("color", &[3]);
    refused("perms", &[8]);
    refused("result<u8>", &[0x91, 2]);
    refused("list<u16, 3>", &[0x92, 1, 2]);
    refused("option<option<u8>>", &[5]);
}

#[test]
fn claimed_lengths_allocate_nothing() {
    for ty in ["string", "list<u8>", "list<u16>", "list<point>", "blob", "map<u8, bool>", "tuple<u8, u8>"] {
        for head in [0xdb, 0xc6, 0xdd, 0xdf] {
            refused(ty, &[head, 0xff, 0xff, 0xff, 0xff, 1, 1]);
        }
    }
    refused("list<option<list<u8>>>", &[0x91; 10_000]);
    // A record of a few bytes takes hundreds in memory.
    let mut many = vec![0xdd, 0, 0x0f, 0x42, 0x40];
    many.extend([0x92, 1, 0xc0].repeat(1_000_000));
    let error = decode(&params("v: list<point>")[0].1, &many).unwrap_err();
    assert!(error.message.contains("bytes of memory"), "{error}");
}

#[test]
fn messages_carry_the_types() {
    let (sent, other) = (signature("a: u64, b: blob, c: list<blob>"), signature("a: u64, b: blob"));
    let payload = from_json(&sent.params, r#"[7, "AA==", ["aGk=", ""]]"#).unwrap();
    let bytes = encode_message(&sent, &payload).unwrap();
    let back = decode_message(&sent, &bytes).unwrap();
    assert_eq!((back.vals, back.blobs), (payload.vals.clone(), payload.blobs.clone()));
    assert!(decode_message(&other, &bytes).unwrap_err().message.contains("types of `m`"));
    for len in 0..bytes.len() {
        assert!(decode_message(&sent, &bytes[..len]).is_err(), "{len}");
    }
    assert!(encode_message(&other, &payload).is_err());
}
