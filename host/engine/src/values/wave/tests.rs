//! Tests of `wave`.

use super::*;
use crate::values::tests::samples::params;

/// The text is read as that type and written as `canonical`.
#[track_caller]
fn both(ty: &str, text: &str, canonical: &str) {
    let params = params(&format!("v: {ty}"));
    let payload = from_wave(&params, text).unwrap_or_else(|error| panic!("{ty}: {error}"));
    assert_eq!(to_wave(&params[0].1, &payload.vals[0], &payload.blobs), canonical, "{ty}");
    let again = from_wave(&params, canonical).unwrap_or_else(|error| panic!("{ty}: {error}"));
    assert_eq!(again.vals, payload.vals, "{ty}");
    assert_eq!(again.blobs, payload.blobs, "{ty}");
}

/// The text is refused, with this in the error and the caret at that place.
#[track_caller]
fn refused(takes: &str, text: &str, says: &str, byte: usize) {
    let error = from_wave(&params(takes), text).expect_err(text);
    let all = error.to_string();
    assert!(all.contains(says), "{all}");
    assert_eq!(error.at.map(|at| at.byte), Some(byte), "{all}");
}

#[test]
fn every_type_has_a_form() {
    both("bool", " true // yes", "true");
    both("u64", "18446744073709551615", "18446744073709551615");
    both("s8", "-128", "-128");
    both("f64", "0.1", "0.1");
    both("f64", "1e300", "1e300");
    both("f64", "-0", "-0");
    both("f32", "nan", "nan");
    both("f64", "-inf", "-inf");
    both("char", "'\\u{1f980}'", "'🦀'");
    both("char", "'\\''", "'\\''");
    both("string", r#""a\"b\\\n), ]""#, r#""a\"b\\\n), ]""#);
    both("string", "\"\"\"\n  two\n  lines\n  \"\"\"", "\"two\\nlines\"");
    both("list<u8>", "[1, 2 ,3,]", "[1, 2, 3]");
    both("list<string>", "[]", "[]");
    both("list<u16, 3>", "[1,2,3]", "[1, 2, 3]");
    both("map<string, u32>", r#"[("a", 1), ("b", 2)]"#, r#"[("a", 1), ("b", 2)]"#);
    both("tuple<u8, string>", r#"(1, "x")"#, r#"(1, "x")"#);
    both("point", r#"{label: "n", x: -3}"#, r#"{x: -3, label: some("n")}"#);
    both("point", "{x: 0}", "{x: 0}");
    both("shape", "empty", "empty");
    both("shape", "circle( 1.5 )", "circle(1.5)");
    both("shape", "nested(none)", "nested(none)");
    both("shape", "nested(5)", "nested(some(5))");
    both("shape", "%some(\"x\")", "%some(\"x\")");
    both("color", "%none", "%none");
    both("perms", "{admin, read}", "{read, admin}");
    both("perms", "{}", "{}");
    both("blob", "\"aGk=\"", "\"aGk=\"");
    both("list<blob>", r#"["", "AA=="]"#, r#"["", "AA=="]"#);
    both("option<option<u8>>", "some(none)", "some(none)");
    both("option<color>", "none", "none");
    both("option<color>", "%none", "some(%none)");
    both("result<u8, string>", "5", "ok(5)");
    both("result<u8, string>", "err(\"no\")", "err(\"no\")");
    both("result", "ok", "ok");
    both("result<_, u8>", "err(1)", "err(1)");
}

#[test]
fn mistakes_have_their_place() {
    refused("by: u8", "300", "`300` is out of range; u8 goes from 0 to 255; expected u8", 0);
    refused("by: u8", "5x", "`5x` is not a whole number", 0);
    refused("by: u8", " \"5\"", "found a string; expected u8", 1);
    refused("by: string", "bob", "found `bob`; text stands in double quotes; expected string", 0);
    refused("by: string", "\"bob", "the closing quote is missing", 0);
    refused("by: string", r#""\q""#, "check its escapes", 0);
    refused("by: char", "'ab'", "not well-formed", 0);
    refused("by: point", "{x: 1, lable: \"n\"}", "there is no field `lable`; did you mean `label`?", 7);
    refused("by: point", "{:}", "field `x` is missing", 0);
    refused("by: point", "{x: 1, x: 2}", "field `x` is there twice", 7);
    refused("by: point", "{x 1}", "found `1` after field `x`", 3);
    refused("by: shape", "circle", "`circle` has a payload: write `circle(...)`", 6);
    refused("by: shape", "empty(1)", "`empty` has no payload", 5);
    refused("by: shape", "circel(1)", "did you mean `circle`?", 0);
    refused("by: perms", "{reed}", "did you mean `read`?", 1);
    refused("by: perms", "{read, read}", "flag `read` is there twice", 7);
    refused("by: list<u8>", "[1 2]", "found `2` where `,` or `]` stands", 3);
    refused("by: list<u16, 3>", "[1, 2]", "the list has 3 elements, here are 2", 0);
    refused("by: tuple<u8, u8>", "(1)", "the tuple has 2 elements, here are 1", 0);
    refused("by: option<option<u8>>", "5", "found `5`", 0);
    refused("by: blob", "\"?\"", "the string is not base64", 0);
}

#[test]
fn mistakes_have_their_path() {
    let path = |takes: &str, text: &str| {
        let error = from_wave(&params(takes), text).expect_err(text);
        error.at.map(|at| at.to_string()).unwrap_or_default()
    };
    assert_eq!(path("by: u8", "300"), "by, byte 0");
    assert_eq!(path("a: u8, by: list<point>", r#"1, [{x: 1}, {x: "1"}]"#), "by[1].x, byte 16");
    assert_eq!(path("by: tuple<u8, list<u8>>", "(1, [2, -3])"), "by[1][1], byte 8");
    assert_eq!(path("by: shape", r#"circle("x")"#), "by.circle, byte 7");
    assert_eq!(path("by: result<u8, string>", "err(5)"), "by.err, byte 4");
    assert_eq!(path("by: option<u8>", "some(x)"), "by.some, byte 5");
    assert_eq!(path("by: map<u8, bool>", "[(1, true), (2, 3)]"), "by[1][1], byte 16");
    assert_eq!(path("by: u8", "1, 2"), "byte 3", "it is about all arguments");
}

#[test]
fn arguments_are_split_and_counted() {
    assert!(from_wave(&params(""), " ").unwrap().vals.is_empty());
    let takes = params("a: string, b: list<point>, c: perms");
    let payload = from_wave(&takes, r#" "a, (b" , [{x: 1, label: "]"}], {write}, "#).unwrap();
    assert_eq!(payload.vals.len(), 3);
    refused("by: u64, why: string", "1", "argument `why` is missing; expected (by: u64, why: string)", 1);
    refused("by: u64", "", "argument `by` is missing", 0);
    refused("by: u64", "1, 2", "found `2` after the last argument; expected (by: u64)", 3);
    refused("by: u64, of: u64", "1 2", "found `2` after argument `by`", 2);
    refused("", "1", "found `1` after the last argument", 0);
}

#[test]
fn what_wasmtime_writes_is_read_alike() {
    let takes = params("v: tuple<list<string>, f64, f32, char, option<option<u8>>, shape, point>");
    let text = r#"(["☃\t\"", "\u{0}"], 0.000001, inf, '\'', some(none), circle(-2.5), {x: 1, label: some("l")})"#;
    let ours = from_wave(&takes, text).unwrap();
    assert_eq!(Val::from_wave(&takes[0].1, text).unwrap(), ours.vals[0]);
    let theirs = ours.vals[0].to_wave().unwrap();
    assert_eq!(from_wave(&takes, &theirs).unwrap().vals, ours.vals);
    assert_eq!(Val::from_wave(&takes[0].1, &to_wave(&takes[0].1, &ours.vals[0], &[])).unwrap(), ours.vals[0]);
}

#[test]
fn depth_and_length_of_the_text_are_harmless() {
    for takes in ["by: u64", "by: list<list<u8>>", "by: option<option<u8>>", "by: shape", "by: string"] {
        for piece in ["[", "(", "some(", "nested(", "{x:"] {
            let error = from_wave(&params(takes), &piece.repeat(10_000)).expect_err(takes);
            assert!(error.to_string().len() < 1000, "{error}");
        }
    }
}
