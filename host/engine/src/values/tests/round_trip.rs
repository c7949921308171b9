//! Tests of `round_trip`.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;

use super::dice::Dice;
use super::support;
use crate::kind::Signature;
use crate::values::{ArgumentError, Payload, json, msgpack, wave};

/// Many types, each the parameter of a method; the last has several.
static ALL: LazyLock<Vec<Signature>> = LazyLock::new(|| support::signatures(WIT));

const WIT: &str = "
    record numbers { a: s8, b: u8, c: s16, d: u16, e: s32, f: u32, g: s64, h: u64, i: f32, j: f64 }
    record person { name: string, initial: char, age: option<u8>, tags: list<string>, %record: bool }
    record hollow { a: option<bool>, b: option<string> }
    variant shape { point, circle(f32), label(string), deep(option<option<u8>>), %ok(tuple<u64, s64>), bulk(blob) }
    enum color { red, %true, %none, dark-blue }
    flags rights { read, write, %list, x1 }
    flags many { f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20,
        f21, f22, f23, f24, f25, f26, f27, f28, f29, f30, f31 }
    numbers-of: func(it: numbers);
    person-of: func(it: person);
    hollow-of: func(it: hollow);
    shapes: func(it: list<shape>);
    colors: func(it: list<color>);
    rights-of: func(it: rights);
    many-of: func(it: many);
    bytes: func(it: list<u8>);
    blobs: func(it: list<blob>);
    options: func(it: list<option<option<option<string>>>>);
    maybe-color: func(it: option<color>);
    maybe-result: func(it: option<result<option<u8>, string>>);
    bare: func(it: list<result>);
    only-ok: func(it: result<list<color>>);
    only-err: func(it: result<_, shape>);
    result-option: func(it: result<option<u8>, result<u8, u8>>);
    nested: func(it: list<list<tuple<char, list<bool>>>>);
    maybe-list: func(it: option<list<option<f64>>>);
    mapped: func(it: map<string, list<shape>>);
    mapped-by-number: func(it: map<u64, option<string>>);
    fixed: func(it: list<option<u8>, 3>);
    fixed-bytes: func(it: list<u8, 3>);
    failed: func(it: result<u32, call-error>);
    nothing: func();
    several: func(a: string, b: list<shape>, c: option<person>, d: rights, e: blob) -> u8;
";

fn random(choice: usize, bytes: &[u8]) -> (&'static Signature, Payload) {
    let signature = &ALL[choice % ALL.len()];
    let mut dice = Dice::new(bytes);
    let vals = signature.params.iter().map(|(_, ty)| dice.val(ty)).collect();
    (signature, Payload { vals, blobs: dice.blobs })
}

fn texts(
    signature: &Signature,
    payload: &Payload,
    write: impl Fn(&wasmtime::component::types::Type, &wasmtime::component::Val, &[bytes::Bytes]) -> String,
) -> String {
    let vals = signature.params.iter().zip(&payload.vals).map(|((_, ty), val)| write(ty, val, &payload.blobs));
    vals.collect::<Vec<_>>().join(", ")
}

fn to_json(signature: &Signature, payload: &Payload) -> String {
    format!("[{}]", texts(signature, payload, json::to_json))
}

fn to_wave(signature: &Signature, payload: &Payload) -> String {
    texts(signature, payload, wave::to_wave)
}

fn assert_same(written: &dyn std::fmt::Debug, sent: &Payload, received: Result<Payload, ArgumentError>) {
    let received = received.unwrap_or_else(|error| panic!("{written:?}\nof {sent:?}\n{error}"));
    assert_eq!(sent.vals, received.vals, "{written:?}");
    assert_eq!(sent.blobs, received.blobs, "{written:?}");
}

/// Cuts, changes, repeats and inserts.
fn damage(form: &mut Vec<u8>, bytes: &[u8]) {
    const BITS: &[u8] = b"[]{}()\",:'\\-+.eE0189nulltruesomekfx%/ \x00\x7f\x80\xc0\xc4\xdd\xff";
    let mut dice = Dice::new(bytes);
    for _ in 0..=dice.below(4) {
        let at = dice.below(form.len() + 1);
        let bit = BITS[dice.below(BITS.len())];
        match dice.below(5) {
            0 => form.truncate(at),
            1 => form.insert(at, bit),
            2 if at < form.len() => form[at] = bit,
            3 if at < form.len() => drop(form.remove(at)),
            _ => {
                let piece = form[at..form.len().min(at + dice.below(30))].to_vec();
                let to = dice.below(form.len() + 1);
                form.splice(to..to, piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_gives_back_what_it_took(choice in 0usize..100, bytes in vec(any::<u8>(), 0..300)) {
        let (signature, payload) = random(choice, &bytes);
        let text = to_json(signature, &payload);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        prop_assert!(parsed.is_ok(), "{text}");
        assert_same(&text, &payload, json::from_json(&signature.params, &text));
    }

    #[test]
    fn wave_gives_back_what_it_took(choice in 0usize..100, bytes in vec(any::<u8>(), 0..300)) {
        let (signature, payload) = random(choice, &bytes);
        let text = to_wave(signature, &payload);
        assert_same(&text, &payload, wave::from_wave(&signature.params, &text));
    }

    #[test]
    fn messagepack_gives_back_what_it_took(choice in 0usize..100, bytes in vec(any::<u8>(), 0..300)) {
        let (signature, payload) = random(choice, &bytes);
        let message = msgpack::encode_message(signature, &payload).unwrap();
        assert_same(&message, &payload, msgpack::decode_message(signature, &message));
    }

    #[test]
    fn no_damage_makes_a_reader_panic(
        choice in 0usize..100,
        bytes in vec(any::<u8>(), 0..300),
        harm in vec(any::<u8>(), 1..60),
    ) {
        let (signature, payload) = random(choice, &bytes);
        for (text, from) in [
            (to_json(signature, &payload), json::from_json as fn(&[_], &str) -> _),
            (to_wave(signature, &payload), wave::from_wave),
        ] {
            let mut text = text.into_bytes();
            damage(&mut text, &harm);
            match from(&signature.params, &String::from_utf8_lossy(&text)) {
                // What is read is of the types, so it can be written.
                Ok(payload) => drop(msgpack::encode_message(signature, &payload).unwrap()),
                Err(error) => prop_assert!(error.to_string().len() < 2000, "{error}"),
            }
        }
        let mut message = msgpack::encode_message(signature, &payload).unwrap();
        let mut tail = message.split_off(8);
        damage(&mut tail, &harm);
        message.extend(tail);
        if let Ok(payload) = msgpack::decode_message(signature, &message) {
            // Two encodings may mean one value; written again and read again it stays that value.
            let again = msgpack::encode_message(signature, &payload).unwrap();
            assert_same(&again, &payload, msgpack::decode_message(signature, &again));
        }
    }
}
