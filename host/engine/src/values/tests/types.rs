//! Tests of `types`.

use super::support::{params, signatures, ty};
use crate::values::{describe, same_shape, type_hash};

#[test]
fn types_are_shown_as_wit_writes_them() {
    let definitions = "record r { a: u8, %list: list<string> } variant v { x, y(f64) }
                       enum e { red, green } flags f { read, write }";
    for (wit, shown) in [
        ("u8", "u8"),
        ("list<option<s64>>", "list<option<s64>>"),
        ("tuple<char, bool>", "tuple<char, bool>"),
        ("result", "result"),
        ("result<u8>", "result<u8>"),
        ("result<_, string>", "result<_, string>"),
        ("result<u8, f32>", "result<u8, f32>"),
        ("map<string, u8>", "map<string, u8>"),
        ("list<u8, 4>", "list<u8, 4>"),
        ("blob", "blob"),
        ("r", "record { a: u8, list: list<string> }"),
        ("v", "variant { x, y(f64) }"),
        ("e", "enum { red, green }"),
        ("f", "flags { read, write }"),
    ] {
        assert_eq!(describe(&ty(definitions, wit)), shown);
    }
}

#[test]
fn a_long_type_is_cut() {
    let fields: Vec<String> = (0..500).map(|at| format!("field{at}: u32")).collect();
    let shown = describe(&ty(&format!("record long {{ {} }}", fields.join(", ")), "list<long>"));
    assert!(shown.len() < 450 && shown.starts_with("list<record { field0: u32, ") && shown.ends_with("..."), "{shown}");
}

/// Two types of one kind that are not the same, by whatever differs.
const DIFFERENT: &str = "
    record r1 { a: u8, b: u8 } record r2 { a: u8, c: u8 } record r3 { b: u8, a: u8 } record r4 { a: u8 }
    record r5 { a: u8, b: u16 }
    variant v1 { a, b(u8) } variant v2 { a, b } variant v3 { a, c(u8) } variant v4 { a(u8), b(u8) }
    enum e1 { a, b } enum e2 { b, a } enum e3 { a, b, c }
    flags f1 { a, b } flags f2 { b, a } flags f3 { a, b, c }
    f: func(a1: r1, a2: r2, a3: r3, a4: r4, a5: r5, b1: v1, b2: v2, b3: v3, b4: v4, c1: e1, c2: e2, c3: e3);
    g: func(d1: f1, d2: f2, d3: f3, e1: list<u8>, e2: list<s8>, e3: list<u8, 2>, e4: list<u8, 3>, g1: option<u8>);
    h: func(h1: result, h2: result<u8>, h3: result<_, u8>, h4: result<u8, u8>, i1: tuple<u8>, i2: tuple<u8, u8>);
    i: func(j1: map<u8, u8>, j2: map<u8, s8>, j3: map<u16, u8>, k: blob, l: u8, m: string, n: char, o: bool);
    j: func(p1: f32, p2: f64, q: list<option<u8>>, r: list<list<u8>>, s: option<list<u8>>, t: option<option<u8>>);
";

#[test]
fn equal_types_of_two_components_have_one_hash_and_others_never() {
    let all = |wit| signatures(wit).into_iter().flat_map(|signature| signature.params).collect::<Vec<_>>();
    let (here, there) = (all(DIFFERENT), all(DIFFERENT));
    for (at, (name, a)) in here.iter().enumerate() {
        for (other_at, (other, b)) in there.iter().enumerate() {
            let same = at == other_at;
            assert_eq!(same_shape(a, b), same, "{name} {other}");
            let hash = |ty| type_hash(std::slice::from_ref(ty), None);
            assert_eq!(hash(a) == hash(b), same, "{name} {other}");
        }
    }
}

#[test]
fn a_hash_tells_parameters_from_the_result() {
    let types: Vec<_> = params("", "a: u8, b: u8, c: string").into_iter().map(|(_, ty)| ty).collect();
    let hashes = [
        type_hash(&[], None),
        type_hash(&types[..1], None),
        type_hash(&types[..2], None),
        type_hash(&[], Some(&types[0])),
        type_hash(&types[..1], Some(&types[1])),
        type_hash(&types[1..], None),
    ];
    for (at, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..at].contains(hash));
    }
}

/// Silos of several versions talk to one another: these numbers never change.
#[test]
fn the_hash_stays_what_it_is() {
    assert_eq!(type_hash(&[], None), 0xe604_823a_2490_29bf);
    let definitions = "record r { a: u8, b: list<string> } variant v { x, y(option<f64>) }";
    let types: Vec<_> = params(definitions, "a: r, b: v, c: blob").into_iter().map(|(_, ty)| ty).collect();
    assert_eq!(type_hash(&types, Some(&ty("", "result<u32, call-error>"))), 0x6892_5666_5df7_0d55);
}
