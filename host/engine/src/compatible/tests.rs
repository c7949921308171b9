//! What may change from version to version, and what may not; each case as two interfaces.

use std::sync::Arc;

use super::*;
use crate::component::tests::{admit, with_contract};

const OLD: &str = "
  use quark:actor/types@0.1.0.{call-error};
  record point { x: s32, y: s32 }
  variant shape { nothing, circle(f64) }
  resource thing {
    constructor(key: string);
    touch: func(by: u64, at: point) -> result<shape, call-error>;
    look: func() -> u32;
  }";

fn component(interface: &str) -> Arc<Component> {
    admit(&with_contract(&format!("interface things {{ {interface} }} world made {{ export things; }}")), "").unwrap()
}

/// What is told of `OLD` becoming the same with `from` replaced by `to`. The check that sees whole
/// interfaces and the one that explains each method must agree.
fn told(from: &str, to: &str) -> Vec<String> {
    assert!(OLD.contains(from), "{from}");
    let (old, new) = (component(OLD), component(&OLD.replacen(from, to, 1)));
    let changes = breaking(&old, &new);
    let kind = &old.kinds[0];
    if let Some(now) = new.kind_at(&kind.name).map(|at| &new.kinds[at]) {
        let whole = check(&old.wit, &[(kind.interface.as_str(), now.interface.as_str())], &new.wit);
        assert_eq!(whole.is_err(), !changes.is_empty(), "{from} -> {to}: {whole:?}, {changes:?}");
    }
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn what_only_adds_is_compatible() {
    for (from, to) in [
        ("look: func() -> u32;", "look: func() -> u32; more: func(it: string);"),
        ("record point", "enum color { red } record point"),
        ("resource thing", "resource other { constructor(key: string); go: func(); } resource thing"),
        // With a type that the old version did not use.
        (
            "use quark:actor/types@0.1.0.{call-error};",
            "use quark:actor/types@0.1.0.{call-error, actor-id}; use quark:actor/blobs@0.1.0.{blob};",
        ),
        ("look: func() -> u32;", "look: func() -> u32; late: static func() -> u8;"),
        ("constructor(key: string);", "constructor(key: string) -> result<thing, string>;"),
    ] {
        assert_eq!(told(from, to), <[String; 0]>::default(), "{from} -> {to}");
    }
}

#[test]
fn what_callers_would_miss_is_told_with_what_it_was_and_is() {
    let touch = "thing.touch ";
    for (from, to, expected) in [
        ("look: func() -> u32;", "", "thing.look is gone: it was func() -> u32"),
        ("look: func", "see: func", "thing.look is gone: it was func() -> u32"),
        ("look: func() -> u32;", "look: func() -> u64;", "thing.look was func() -> u32, is func() -> u64"),
        ("look: func() -> u32;", "look: func();", "thing.look was func() -> u32, is func()"),
        ("look: func() -> u32;", "look: func(a: u8) -> u32;", "thing.look was func() -> u32, is func(a: u8) -> u32"),
        ("by: u64", "times: u64", touch),
        ("by: u64, at: point", "at: point, by: u64", touch),
        (
            "y: s32 }",
            "y: s32, z: option<s32> }",
            "thing.touch has other types: was `record point { x: s32, y: s32 }`, is `record point { x: s32, y: s32, z: \
             option<s32> }`",
        ),
        (
            "circle(f64) }",
            "circle(f64), square }",
            "thing.touch has other types: was `variant shape { nothing, circle(f64) }`, is `variant shape { nothing, \
             circle(f64), square }`",
        ),
        ("x: s32, y", "y: s32, x", touch),
    ] {
        let told = told(from, to);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{from} -> {to}: {told:?}");
    }
    let both = told("by: u64, at: point", "by: point");
    assert_eq!(both.len(), 1, "{both:?}");
}

#[test]
fn a_kind_or_a_type_that_is_gone_is_told() {
    let old = component(OLD);
    let other = component("resource other { constructor(key: string); look: func() -> u32; }");
    let gone = breaking(&old, &other);
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].to_string(), "thing is gone: the new version does not export `test:made/things#thing`");
    let (old, new) = (component(&format!("enum color {{ red }} {OLD}")), component(OLD));
    let changes = breaking(&old, &new);
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["thing has another interface: missing expected export `color`"]);
    assert!(breaking(&new, &old).is_empty());
}

#[test]
fn of_many_interfaces_only_the_changed_ones_are_told() {
    let of = |changed: &str| {
        let interfaces: String = (0..4)
            .map(|n| {
                let extra = if n == 2 { changed } else { "" };
                format!("interface t{n} {{ {extra} resource r{n} {{ constructor(key: string); go: func(); }} }} ")
            })
            .collect();
        let exports: String = (0..4).map(|n| format!("export t{n}; ")).collect();
        admit(&with_contract(&format!("{interfaces} world made {{ {exports} }}")), "").unwrap()
    };
    let (old, new) = (of("enum color { red }"), of(""));
    let told: Vec<String> = breaking(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["r2 has another interface: missing expected export `color`"]);
    assert!(breaking(&new, &old).is_empty());
}

#[test]
fn what_a_used_interface_has_beside_does_not_count() {
    let of = |beside: &str, used: &str| {
        let text = format!(
            "interface shared {{ {beside} type used = {used}; }} interface things {{ use shared.{{used}};
             resource thing {{ constructor(key: string); look: func() -> used; }} }}
             world made {{ export shared; export things; }}"
        );
        admit(&with_contract(&text), "").unwrap()
    };
    let (more, less, other) = (of("type beside = u64;", "u32"), of("", "u32"), of("", "u64"));
    assert_eq!(breaking(&more, &less), []);
    assert_eq!(breaking(&less, &more), []);
    assert_eq!(breaking(&more, &other).len(), 1, "what it uses counts");
}

#[test]
fn versions_of_packages_and_async_do_not_count() {
    let of = |version: &str, func: &str| {
        let mut resolve = Resolve::default();
        let wit = format!(
            "package test:made@{version};
             interface things {{ resource thing {{ constructor(key: string); look: {func}() -> u32; }} }}"
        );
        resolve.push_str("made.wit", &wit).unwrap();
        let id = resolve.interfaces.iter().next().unwrap().0;
        let name = resolve.id_of(id).unwrap();
        (Wit::of(resolve, [(name.clone(), id)]), name)
    };
    let ((old, old_name), (new, new_name)) = (of("1.0.0", "func"), of("2.1.0", "async func"));
    assert_eq!(check(&old, &[(old_name.as_str(), new_name.as_str())], &new), Ok(()));
    assert_eq!(check(&new, &[(new_name.as_str(), old_name.as_str())], &old), Ok(()));
}

#[test]
fn callers_that_would_break_are_found_by_what_they_call() {
    let caller = |uses: &str| {
        let wit = format!(
            "interface things {{ {uses} }}
             interface others {{ resource other {{ constructor(key: string); go: func(); }} }}
             world made {{ import things; export others; }}"
        );
        admit(&with_contract(&wit), "").unwrap()
    };
    let old = component("resource thing { constructor(key: string); look: func() -> u32; touch: func(); }");
    let new = component("resource thing { constructor(key: string); look: func() -> u64; touch: func(); }");
    let changes = breaking(&old, &new);
    assert_eq!(changes.len(), 1);
    let look = caller("resource thing { constructor(key: string); look: func() -> u32; }");
    assert_eq!(broken_calls(&look, &changes, &new), ["thing.look"]);
    let touch = caller("resource thing { constructor(key: string); touch: func(); }");
    assert!(broken_calls(&touch, &changes, &new).is_empty());
    let ready = caller("resource thing { constructor(key: string); look: func() -> u64; }");
    assert!(broken_calls(&ready, &changes, &new).is_empty(), "it was built for the new version");
    let gone = component("resource other { constructor(key: string); go: func(); }");
    assert_eq!(broken_calls(&touch, &breaking(&old, &gone), &gone), ["thing.touch"]);
}
