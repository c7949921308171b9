//! Tests of `json`.

use wasmtime::component::Val;

use super::*;
use crate::values::tests::samples::params;

/// The text is read as that type and written as `canonical`.
#[track_caller]
fn both(ty: &str, text: &str, canonical: &str) {
    let params = params(&format!("v: {ty}"));
    let payload = from_json(&params, &format!("[{text}]")).unwrap_or_else(|error| panic!("{ty}: {error}"));
    assert_eq!(to_json(&params[0].1, &payload.vals[0], &payload.blobs), canonical, "{ty}");
    let again = from_json(&params, &format!("[{canonical}]")).unwrap_or_else(|error| panic!("{ty}: {error}"));
    assert_eq!(again.vals, payload.vals, "{ty}");
    assert_eq!(again.blobs, payload.blobs, "{ty}");
}

/// The text is refused, with this in the error and the caret at that place.
#[track_caller]
fn refused(takes: &str, text: &str, says: &str, byte: usize) {
    let error = from_json(&params(takes), text).expect_err(text);
    let all = error.to_string();
    assert!(all.contains(says), "{all}");
    assert_eq!(error.at.map(|at| at.byte), Some(byte), "{all}");
}

#[test]
fn every_type_has_a_form() {
    both("bool", " true ", "true");
    both("u64", "18446744073709551615", "18446744073709551615");
    both("u64", "\"18446744073709551615\"", "18446744073709551615");
    both("s64", "-9223372036854775808", "-9223372036854775808");
    both("u8", "255", "255");
    both("f64", "0.1", "0.1");
    both("f64", "1e300", "1e300");
    both("f64", "-0.0", "-0.0");
    both("f64", "\"NaN\"", "\"NaN\"");
    both("f32", "16777216", "16777216.0");
    both("f32", "\"-Infinity\"", "\"-Infinity\"");
    both("char", "\"\\ud83e\\udd80\"", "\"🦀\"");
    both("string", r#""a\"b\\\n\u0000é""#, r#""a\"b\\\n\u0000é""#);
    both("list<u8>", "[1, 2 ,3]", "[1,2,3]");
    both("list<u8>", "[]", "[]");
    both("list<u16, 3>", "[1,2,3]", "[1,2,3]");
    both("map<string, u32>", r#"{"a": 1, "b": 2}"#, r#"{"a":1,"b":2}"#);
    both("map<u8, bool>", "[[1, true]]", "[[1,true]]");
    both("tuple<u8, string>", r#"[1, "x"]"#, r#"[1,"x"]"#);
    both("point", r#"{"label": "n", "x": -3}"#, r#"{"x":-3,"label":"n"}"#);
    both("point", r#"{"x": 0}"#, r#"{"x":0,"label":null}"#);
    both("shape", "\"empty\"", "\"empty\"");
    both("shape", r#"{"empty": null}"#, "\"empty\"");
    both("shape", r#"{"circle": 1.5}"#, r#"{"circle":1.5}"#);
    both("shape", r#"{"nested": null}"#, r#"{"nested":null}"#);
    both("color", "\"green\"", "\"green\"");
    both("perms", r#"["admin", "read"]"#, r#"["read","admin"]"#);
    both("perms", "[]", "[]");
    both("blob", "\"aGk=\"", "\"aGk=\"");
    both("blob", "\"aGk\"", "\"aGk=\"");
    both("list<blob>", r#"["", "AA=="]"#, r#"["","AA=="]"#);
}

#[test]
fn options_and_results_stay_apart() {
    both("option<u8>", "null", "null");
    both("option<u8>", "5", "5");
    both("option<option<u8>>", "null", "null");
    both("option<option<u8>>", r#"{"some": null}"#, r#"{"some":null}"#);
    both("option<option<u8>>", r#"{"some": 5}"#, r#"{"some":5}"#);
    both("result<u8, string>", r#"{"ok": 5}"#, r#"{"ok":5}"#);
    both("result<u8, string>", r#"{"err": "no"}"#, r#"{"err":"no"}"#);
    both("result", r#"{"ok": null}"#, r#"{"ok":null}"#);
    both("result<_, u8>", r#"{"err": 1}"#, r#"{"err":1}"#);
}

#[test]
fn mistakes_have_their_place() {
    refused("by: u8", "[300]", "`300` is out of range; u8 goes from 0 to 255; expected u8", 1);
    refused("by: u64", "[18446744073709551616]", "is out of range", 1);
    refused("by: u64", "[\"1x\"]", "`1x` is not a whole number", 1);
    refused("by: u32", "[\"1\"]", "found a string; expected u32", 1);
    refused("by: u32", "[1.0]", "`1.0` is not a whole number", 1);
    refused("by: u32", "[01]", "`01` is not a whole number", 1);
    refused("by: u32", "[null]", "`null` is not a whole number", 1);
    refused("by: f64", "[1e400]", "`1e400` is out of range", 1);
    refused("by: f64", "[nan]", "`nan` is not a number", 1);
    refused("by: bool", "[truee]", "found `truee`; expected bool", 1);
    refused("by: char", "[\"ab\"]", "`ab` is not one character", 1);
    refused("by: string", "[\"a\nb\"]", "not well-formed", 1);
    refused("by: string", r#"["\ud83e"]"#, "not well-formed", 1);
    refused("by: string", "[\"a", "the closing quote is missing", 1);
    refused("by: point", r#"[{"x": 1, "lable": "n"}]"#, "there is no field `lable`; did you mean `label`?", 10);
    refused("by: point", r#"[{"label": "n"}]"#, "field `x` is missing", 1);
    refused("by: point", r#"[{"x": 1, "x": 2}]"#, "field `x` is there twice", 10);
    refused("by: point", r#"[{"x": 1,}]"#, "found `}`", 9);
    refused("by: shape", "[\"circle\"]", "`circle` has a payload", 1);
    refused("by: shape", "[\"circel\"]", "did you mean `circle`?", 1);
    refused("by: shape", "[{}]", "the object is empty", 1);
    refused("by: shape", r#"[{"empty": 1}]"#, "found `1` where there is no payload", 11);
    refused("by: shape", r#"[{"circle": 1, "empty": null}]"#, "`empty` is a second entry", 15);
    refused("by: color", "[\"gren\"]", "did you mean `green`?", 1);
    refused("by: perms", r#"["read"]"#, "found a string", 1);
    refused("by: perms", r#"[["read", "read"]]"#, "flag `read` is there twice", 10);
    refused("by: list<u16, 3>", "[[1, 2]]", "the list has 3 elements, here are 2", 1);
    refused("by: tuple<u8, u8>", "[[1]]", "the array has 2 elements, here are 1", 1);
    refused("by: tuple<u8, u8>", "[[1, 2, 3]]", "here is one more", 8);
    refused("by: blob", "[\"?\"]", "the string is not base64", 1);
    refused("by: result<u8>", "[{\"okay\": 1}]", "`okay` is neither `ok` nor `err`", 2);
    refused("by: option<option<u8>>", "[5]", "found `5`", 1);
}

#[test]
fn mistakes_have_their_path() {
    let path = |takes: &str, text: &str| {
        let error = from_json(&params(takes), text).expect_err(text);
        error.at.map(|at| at.to_string()).unwrap_or_default()
    };
    assert_eq!(path("by: u8", "[300]"), "by, byte 1");
    assert_eq!(path("a: u8, by: list<point>", r#"[1, [{"x": 1}, {"x": "1"}]]"#), "by[1].x, byte 21");
    assert_eq!(path("by: list<point>", r#"[[{"x": 1, "z": 2}]]"#), "by[0], byte 11");
    assert_eq!(path("by: tuple<u8, list<u8>>", "[[1, [2, -3]]]"), "by[1][1], byte 9");
    assert_eq!(path("by: shape", r#"[{"circle": "x"}]"#), "by.circle, byte 12");
    assert_eq!(path("by: result<u8, string>", r#"[{"err": 5}]"#), "by.err, byte 9");
    assert_eq!(path("by: option<option<u8>>", r#"[{"some": "x"}]"#), "by.some, byte 10");
    assert_eq!(path("by: map<string, u32>", r#"[{"a": 1, "b\"c": -2}]"#), r#"by[`b\"c`], byte 18"#);
    assert_eq!(path("by: map<u8, bool>", "[[[1, true], [2, 3]]]"), "by[1][1], byte 17");
    assert_eq!(path("by: u8", "5"), "byte 0", "it is about all arguments");
}

#[test]
fn arguments_are_counted() {
    assert!(from_json(&params(""), "").unwrap().vals.is_empty());
    assert!(from_json(&params(""), " [ ] ").unwrap().vals.is_empty());
    assert_eq!(from_json(&params("a: u8, b: u8"), "[1,2]").unwrap().vals[..], [Val::U8(1), Val::U8(2)]);
    refused("by: u64, why: string", "[1]", "argument `why` is missing; expected (by: u64, why: string)", 2);
    refused("by: u64", "", "found the end of the text; expected an array of the arguments (by: u64)", 0);
    refused("by: u64", "5", "found `5`", 0);
    refused("by: u64", "[1, 2]", "found `2` after the last argument; expected (by: u64)", 4);
    refused("", "[1]", "found `1` after the last argument; expected ()", 1);
    refused("by: u64", "[1] x", "found `x` behind the arguments", 4);
}

#[test]
fn depth_and_length_of_the_text_are_harmless() {
    for takes in ["by: u64", "by: list<list<u8>>", "by: option<option<u8>>", "by: shape", "by: string"] {
        for piece in ["[", "{\"some\":", "{\"nested\":", "[[[["] {
            let deep = piece.repeat(10_000);
            let error = from_json(&params(takes), &format!("[{deep}")).expect_err(takes);
            assert!(error.to_string().len() < 1000, "{error}");
        }
    }
    // Each `{"x":0}` takes far more memory than its text.
    let many = format!("[[{}]]", vec!["{\"x\":0}"; 1_000_000].join(","));
    let error = from_json(&params("by: list<point>"), &many).unwrap_err();
    assert!(error.message.contains("bytes of memory"), "{error}");
}
