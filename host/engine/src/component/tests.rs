//! What is admitted and what is refused, by components made of WIT alone: their code traps.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;
use crate::engine::EngineConfig;
use crate::kind::Hook;

const KIND: &str = "
  interface things {
    resource thing { constructor(key: string); touch: func() -> result<u32, string>; }
  }";

fn contract() -> Resolve {
    let mut resolve = Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    resolve
}

/// A core module for the world `made` of that WIT, with the metadata that names it.
fn module(resolve: Resolve, wit: &str) -> Vec<u8> {
    lifted(resolve, wit, LiftLowerAbi::Sync)
}

fn lifted(mut resolve: Resolve, wit: &str, abi: LiftLowerAbi) -> Vec<u8> {
    let package = resolve.push_str("made.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("made")).unwrap();
    let mut bytes = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Legacy(abi));
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8).unwrap();
    bytes
}

pub(crate) fn with_contract(wit: &str) -> Vec<u8> {
    module(contract(), &format!("package test:made;\n{wit}"))
}

pub(crate) fn admit(bytes: &[u8], manifest: &str) -> Result<Arc<Component>, AdmissionError> {
    let engine = Engine::new(EngineConfig { roomy: [4; 2], dense: 4, ..EngineConfig::default() }).unwrap();
    Component::admit(&engine, &Cache::none(), bytes, &Manifest::parse(manifest).unwrap(), 1)
}

#[track_caller]
fn refused(bytes: &[u8], manifest: &str) -> AdmissionError {
    match admit(bytes, manifest) {
        Ok(component) => panic!("it was admitted: {component:?}"),
        Err(error) => error,
    }
}

#[track_caller]
fn check_refused(wit: &str, expected: impl Fn(&AdmissionError) -> bool, text: &str) {
    let error = refused(&with_contract(wit), "");
    assert!(expected(&error) && error.to_string().contains(text), "{wit}: {error:?}: {error}");
}

#[test]
fn a_module_with_metadata_is_a_component_with_kinds() {
    let bytes = with_contract(&format!("{KIND} world made {{ include quark:actor/actor@0.1.0; export things; }}"));
    // The world includes services that are not built; what is not used is not imported, but a
    // module made of WIT uses everything.
    assert!(matches!(refused(&bytes, ""), AdmissionError::NotYet(_)));
    let bytes = with_contract(&format!("{KIND} world made {{ import quark:actor/state@0.1.0; export things; }}"));
    let component = admit(&bytes, "").unwrap();
    let kind = &component.kinds[0];
    assert_eq!((kind.name.as_str(), kind.name.short()), ("test:made/things#thing", "thing"));
    assert_eq!(kind.methods.iter().map(|method| &*method.signature.name).collect::<Vec<_>>(), ["touch"]);
    assert_eq!(component.asks, ["quark:actor/state@0.1.0"]);
    assert!(component.kind_at(&kind.name) == Some(0) && component.warnings.len() == 1, "{:?}", component.warnings);
    // The same as a component.
    let whole = wit_component::ComponentEncoder::default().module(&bytes).unwrap().encode().unwrap();
    assert_eq!(admit(&whole, "").unwrap().kinds[0].name, kind.name);
}

#[test]
fn a_component_that_waits_is_in_the_fiber_lane() {
    let lane = |import: &str| {
        let bytes = with_contract(&format!("{KIND} world made {{ {import} export things; }}"));
        admit(&bytes, "").unwrap().lane
    };
    assert_eq!(lane(""), Lane::Direct);
    assert_eq!(lane("import quark:actor/log@0.1.0;"), Lane::Direct);
    assert_eq!(lane("import quark:actor/calls@0.1.0;"), Lane::Fiber);
    let other = with_contract(
        "interface others { resource other { constructor(key: string); ask: func() -> u32; } }
         interface things { resource thing { constructor(key: string); touch: func(); } }
         world made { import others; export things; }",
    );
    let component = admit(&other, "").unwrap();
    assert_eq!((component.lane, &component.asks[..]), (Lane::Fiber, &["calls test:made/others#other".to_owned()][..]));
}

#[test]
fn what_is_no_wasm_is_refused_by_its_first_bytes() {
    for (bytes, text) in [(&b""[..], "it is empty"), (b"hello", "68 65 6c 6c 6f"), (b"\0as", "00 61 73")] {
        let error = refused(bytes, "");
        assert!(matches!(error, AdmissionError::NotWasm(_)) && error.to_string().contains(text), "{error}");
    }
    assert_eq!(refused(b"\0asm\x01\0\0\0", ""), AdmissionError::NoMetadata);
}

#[test]
fn what_ends_early_is_refused_wherever_it_ends() {
    let bytes = with_contract(&format!("{KIND} world made {{ export things; }}"));
    let whole = wit_component::ComponentEncoder::default().module(&bytes).unwrap().encode().unwrap();
    for part in (8..whole.len()).step_by(whole.len() / 24) {
        let error = refused(&whole[..part], "");
        // Cut between two sections it is whole, but has nothing to run.
        let fits = matches!(error, AdmissionError::Damaged(_) | AdmissionError::NoKind(_));
        assert!(fits, "{part} bytes: {error:?}");
    }
    // The metadata of a module that is cut off within its code.
    let error = refused(&bytes[..bytes.len() / 2], "");
    assert!(matches!(error, AdmissionError::Damaged(_) | AdmissionError::NoMetadata), "{error:?}");
}

#[test]
fn what_exports_no_kind_is_told_what_it_exports() {
    let no_kind = |error: &AdmissionError| matches!(error, AdmissionError::NoKind(_));
    check_refused("world made {}", no_kind, "exports nothing");
    check_refused("world made { export run: func(); }", no_kind, "run");
    check_refused("interface plain { run: func(); } world made { export plain; }", no_kind, "test:made/plain");
    check_refused(
        "interface things { resource thing { touch: func(); } } world made { export things; }",
        no_kind,
        "no `constructor(key: string)`",
    );
}

#[test]
fn what_has_another_type_than_the_contract_is_refused_by_name() {
    let mistyped = |error: &AdmissionError| matches!(error, AdmissionError::Mistyped { .. });
    for (takes, shown) in [("", "it takes ()"), ("key: u32", "it takes (u32)"), ("a: string, b: u8", "(string, u8)")] {
        let wit = format!(
            "interface things {{ resource thing {{ constructor({takes}); touch: func(); }} }} world made {{ export \
             things; }}"
        );
        check_refused(&wit, mistyped, shown);
    }
    let own_log = format!(
        "package test:made; package quark:actor@0.1.0 {{ interface log {{ log: func(line: string); }} }} {KIND} \
         world made {{ import quark:actor/log@0.1.0; export things; }}"
    );
    let error = refused(&module(Resolve::default(), &own_log), "");
    assert!(mistyped(&error) && error.to_string().contains("log"), "{error}");
}

#[test]
fn hooks_of_another_type_than_the_contracts_are_refused_before_an_actor_wakes() {
    let contracts =
        with_contract(&format!("{KIND} world made {{ export quark:actor/lifecycle@0.1.0; export things; }}"));
    assert!(admit(&contracts, "").unwrap().lifecycle.is_some());
    for lifecycle in [
        "activate: func(it: u32) -> result<_, string>; deactivate: func(why: u32);",
        "activate: func(); deactivate: func();",
        "deactivate: func();",
    ] {
        let wit = format!(
            "package test:made; package quark:actor@0.1.0 {{ interface lifecycle {{ {lifecycle} }} }} {KIND} world \
             made {{ export quark:actor/lifecycle@0.1.0; export things; }}"
        );
        let error = refused(&module(Resolve::default(), &wit), "");
        let named = matches!(&error, AdmissionError::Mistyped { name, .. } if name == "quark:actor/lifecycle@0.1.0");
        assert!(named && error.to_string().contains("activate"), "{error}");
    }
}

#[test]
fn hooks_with_turns_of_their_own_are_checked_against_the_contract() {
    let hooks = [
        (Hook::Timer, "timer-target", "on-timer"),
        (Hook::ChildFailed, "supervisor", "on-child-failed"),
        (Hook::Terminated, "watcher", "on-terminated"),
        (Hook::Reminder, "reminder-target", "on-reminder"),
    ];
    for (hook, interface, name) in hooks {
        let export = format!("export quark:actor/{interface}@0.1.0;");
        let contracts = with_contract(&format!("{KIND} world made {{ {export} export things; }}"));
        let kind = &admit(&contracts, "").unwrap().kinds[0];
        let at = kind.hook(hook).unwrap();
        assert!(at >= kind.methods.len() && kind.method(name).is_none(), "it is no method");
        assert_eq!((&*kind.called(at).signature.name, kind.hook_at(at)), (name, Some(hook)));
        assert!(hooks.iter().all(|other| other.0 == hook || kind.hook(other.0).is_none()));
        assert_eq!(kind.hook_at(0), None);
        let mixed = with_contract(&format!("{ASYNC_KIND} world made {{ {export} export things; }}"));
        let error = refused(&mixed, "");
        let hook = format!("its hook `{name}`");
        assert!(matches!(&error, AdmissionError::Mixed { plain, .. } if *plain == hook), "{error}");
        let wit = format!(
            "package test:made; package quark:actor@0.1.0 {{ interface {interface} {{ {name}: func(); }} }} {KIND} \
             world made {{ {export} export things; }}"
        );
        let error = refused(&module(Resolve::default(), &wit), "");
        let interface = format!("quark:actor/{interface}@0.1.0");
        let named = matches!(&error, AdmissionError::Mistyped { name, .. } if *name == interface);
        assert!(named && error.to_string().contains(name), "{error}");
    }
    for target in ["on-timer: func(name: string) -> result<_, string>;", "on-time: func();"] {
        let wit = format!(
            "package test:made; package quark:actor@0.1.0 {{ interface timer-target {{ {target} }} }} {KIND} world \
             made {{ export quark:actor/timer-target@0.1.0; export things; }}"
        );
        let error = refused(&module(Resolve::default(), &wit), "");
        let named = matches!(&error, AdmissionError::Mistyped { name, .. } if name == "quark:actor/timer-target@0.1.0");
        assert!(named && error.to_string().contains("on-timer"), "{error}");
    }
}

#[test]
fn what_wakes_by_a_journal_is_checked_against_the_contract() {
    let export = "export quark:actor/journaled@0.1.0;";
    let component = admit(&with_contract(&format!("{KIND} world made {{ {export} export things; }}")), "").unwrap();
    assert!(component.is_journaled());
    let kind = &component.kinds[0];
    let snapshot = kind.called(kind.hook(Hook::Snapshot).unwrap());
    assert!(&*snapshot.signature.name == "snapshot" && snapshot.read_only);
    let error = refused(&with_contract(&format!("{ASYNC_KIND} world made {{ {export} export things; }}")), "");
    assert!(matches!(&error, AdmissionError::Mixed { plain, .. } if plain == "its hook `restore`"), "{error}");
    let id = "record actor-id { kind: string, key: string }";
    let restore = "restore: func(me: actor-id, snapshot: list<u8>) -> result<_, string>;";
    for (functions, wrong) in [
        (String::new(), "restore"),
        (restore.into(), "apply"),
        (format!("{restore} apply: func(me: actor-id, event: list<u8>) -> result<_, string>;"), "apply"),
    ] {
        let wit = format!(
            "package test:made; package quark:actor@0.1.0 {{ interface journaled {{ {id} {functions} }} }} {KIND} \
             world made {{ {export} export things; }}"
        );
        let error = refused(&module(Resolve::default(), &wit), "");
        let named = matches!(&error, AdmissionError::Mistyped { name, .. } if name == "quark:actor/journaled@0.1.0");
        assert!(named && error.to_string().contains(wrong), "{error}");
    }
}

#[test]
fn an_unknown_import_is_named_with_the_nearest_known_one() {
    let unknown = |inside: &str, name: &str, near: Option<&str>| {
        let wit = format!("package test:made; {inside} {KIND} world made {{ import {name}; export things; }}");
        let error = refused(&module(Resolve::default(), &wit), "");
        let expected = AdmissionError::UnknownImport { name: name.into(), nearest: near.map(Into::into) };
        assert_eq!(error, expected);
    };
    let state = "interface state { get: func(name: string) -> option<string>; }";
    unknown(
        &format!("package quark:actors@0.1.0 {{ {state} }}"),
        "quark:actors/state@0.1.0",
        Some("quark:actor/state@0.1.0"),
    );
    unknown(
        &format!("package quark:actor@0.2.0 {{ {state} }}"),
        "quark:actor/state@0.2.0",
        Some("quark:actor/state@0.1.0"),
    );
    unknown("package w:x { interface y { z: func(); } }", "w:x/y", None);
    let wit = format!("{KIND} world made {{ import run: func(); export things; }}");
    check_refused(&wit, |error| matches!(error, AdmissionError::UnknownImport { .. }), "`run`");
}

/// A kind whose methods are `async func`.
const ASYNC_KIND: &str = "
  interface things {
    resource thing { constructor(key: string); touch: async func() -> result<u32, string>; }
  }";

#[test]
fn async_functions_are_in_the_concurrent_lane() {
    let wit = format!("package test:made; {ASYNC_KIND} world made {{ export things; }}");
    for abi in [LiftLowerAbi::AsyncCallback, LiftLowerAbi::Sync] {
        let component = admit(&lifted(Resolve::default(), &wit, abi), "").unwrap();
        assert_eq!(component.lane, Lane::Concurrent, "{abi:?}");
    }
    // Without a callback it would need stacks that wasmtime does not have yet.
    let error = refused(&lifted(Resolve::default(), &wit, LiftLowerAbi::AsyncStackful), "");
    assert!(matches!(&error, AdmissionError::Compile(reason) if reason.contains("stackful")), "{error}");
}

#[test]
fn both_flavours_in_one_component_are_refused_with_one_of_each() {
    let check = |wit: &str, names: [&str; 2]| {
        let bytes = lifted(contract(), &format!("package test:made;\n{wit}"), LiftLowerAbi::Sync);
        let error = refused(&bytes, "").to_string();
        assert!(names.iter().all(|name| error.contains(&format!("`{name}`"))) && error.contains("--async"), "{error}");
    };
    check(
        "interface things { resource thing {
           constructor(key: string); touch: async func() -> result<u32, string>; look: func() -> result<u32, string>;
         } }
         world made { export things; }",
        ["thing.touch", "thing.look"],
    );
    let others =
        "interface others { resource other { constructor(key: string); ask: func() -> result<u32, string>; } }";
    check(
        &format!("{ASYNC_KIND} {others} world made {{ import others; export things; }}"),
        ["thing.touch", "other.ask"],
    );
    check(
        &format!("{ASYNC_KIND} world made {{ import quark:actor/state@0.1.0; export things; }}"),
        ["thing.touch", "quark:actor/state@0.1.0 commit"],
    );
    check(
        &format!("{ASYNC_KIND} world made {{ export quark:actor/lifecycle@0.1.0; export things; }}"),
        ["thing.touch", "activate"],
    );
}

#[test]
fn what_never_waits_may_be_either() {
    // A tell that it imports, and a constructor, which cannot be `async`.
    let wit = format!(
        "package test:made; {ASYNC_KIND}
         interface others {{ resource other {{ constructor(key: string); note: func(); }} }}
         world made {{ import others; export things; }}"
    );
    assert_eq!(admit(&lifted(Resolve::default(), &wit, LiftLowerAbi::Sync), "").unwrap().lane, Lane::Concurrent);
}

#[test]
fn a_service_that_is_not_built_yet_is_refused_by_name() {
    let name = "quark:actor/streams@0.1.0";
    let wit = format!("{KIND} world made {{ import {name}; export things; }}");
    check_refused(&wit, |error| *error == AdmissionError::NotYet(name.into()), "streams");
}

#[test]
fn a_method_that_cannot_cross_actors_is_refused_by_name() {
    let method = |method: &str| {
        format!(
            "interface things {{ resource thing {{ constructor(key: string); {method} }} }}
             world made {{ export things; }}"
        )
    };
    let refused = |error: &AdmissionError| matches!(error, AdmissionError::Method { .. });
    check_refused(&method("touch: func(it: borrow<thing>);"), refused, "`borrow`");
    let plain =
        "interface things { resource thing { constructor(key: string); } run: func(); } world made { export things; }";
    check_refused(plain, refused, "no actor to run on");
    let deep = format!("{}u8{}", "list<".repeat(90), ">".repeat(90));
    check_refused(&method(&format!("touch: func(it: {deep});")), refused, "nested deeper");
}

/// Two interfaces of `a:x`, and one of `b:y` that stands between them.
const CIRCLE: &str = r#"
  (import "a:x/one" (instance $one (export "r" (type (sub resource)))))
  (alias export $one "r" (type $r))
  (import "b:y/two" (instance $two
    (alias outer 1 $r (type $b)) (export "r" (type (eq $b))) (export "s" (type (sub resource)))))
  (alias export $two "s" (type $s))
  (import "a:x/three" (instance (alias outer 1 $s (type $b)) (export "s" (type (eq $b)))))"#;

#[test]
fn packages_in_a_circle_are_refused_before_they_are_followed() {
    let component = wat::parse_str(format!("(component {CIRCLE})")).unwrap();
    assert!(packages::check(&component).unwrap_err().contains("circle"));
    let error = refused(&component, "");
    assert!(matches!(&error, AdmissionError::NoWit(reason) if reason.contains("circle")), "{error}");
    let world = format!(
        r#"(component (type (component (type (component {CIRCLE})) (export "t:t/made" (component (type 0)))))
          (export "made" (type 0)) (@custom "wit-component-encoding" "\04\00"))"#
    );
    let metadata: String = wat::parse_str(world).unwrap().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let module = wat::parse_str(format!(r#"(module (@custom "component-type:made" "{metadata}"))"#)).unwrap();
    let error = refused(&module, "");
    assert!(matches!(&error, AdmissionError::Encode(reason) if reason.contains("circle")), "{error}");
}

#[test]
fn more_packages_than_the_reader_can_follow_are_refused() {
    let imports = |count: usize| (0..count).map(|at| format!("(import \"p{at}:x/y\" (instance))")).collect::<String>();
    let check = |count| packages::check(&wat::parse_str(format!("(component {})", imports(count))).unwrap());
    assert_eq!(check(500), Ok(()));
    assert!(check(501).unwrap_err().contains("501 packages"));
}

#[test]
fn packages_that_use_one_another_in_order_are_read() {
    let bytes = with_contract(&format!("{KIND} world made {{ import quark:actor/state@0.1.0; export things; }}"));
    let whole = wit_component::ComponentEncoder::default().module(&bytes).unwrap().encode().unwrap();
    assert_eq!(packages::check(&whole), Ok(()));
}

/// A component that exports or imports (`what`) these versions of one interface, with what is in them.
fn versions(what: &str, versions: &[(&str, &str)]) -> Vec<u8> {
    let (mut packages, mut world) = (String::new(), String::new());
    for (version, inside) in versions {
        packages.push_str(&format!("package acme:shop@{version} {{ interface carts {{ {inside} }} }}\n"));
        world.push_str(&format!("{what} acme:shop/carts@{version};\n"));
    }
    let wit = format!("package test:made;\n{packages} {KIND} world made {{ {world} export things; }}");
    module(Resolve::default(), &wit)
}

/// What is in one of them.
fn cart(methods: &str) -> String {
    format!("resource cart {{ constructor(key: string); {methods} }}")
}

const ADD: &str = "add: func(item: string) -> result<u32, string>;";
const LOOK: &str = "look: func() -> result<u32, string>;";

#[test]
fn two_versions_of_one_interface_are_one_kind_of_the_newest() {
    let (old, new) = (cart(ADD), cart(&format!("{ADD} {LOOK}")));
    let (one, two, ten) = (("1.0.0", old.as_str()), ("1.2.0", old.as_str()), ("1.10.0", new.as_str()));
    let manifest = "[[actor]]\nname = \"cart\"\n[actor.methods.look]\nread-only = true\n";
    for order in [[one, two, ten], [ten, two, one], [two, ten, one]] {
        let component = admit(&versions("export", &order), manifest).unwrap();
        let mut carts = component.kinds.iter().filter(|kind| kind.name.as_str() == "acme:shop/carts#cart");
        let (cart, more) = (carts.next().unwrap(), carts.next());
        assert!(more.is_none(), "{:?}", component.kinds);
        assert_eq!((cart.interface.as_str(), cart.methods.len()), ("acme:shop/carts@1.10.0", 2));
        assert!(cart.method("look").unwrap().1.read_only);
        let told = |older: &str| {
            let about = format!("`acme:shop/carts@{older}`: the newest");
            component.warnings.iter().filter(|it| it.contains(&about)).count()
        };
        assert_eq!((told("1.0.0"), told("1.2.0"), told("1.10.0")), (1, 1, 0), "{:?}", component.warnings);
    }
}

#[test]
fn an_older_version_that_the_newest_cannot_stand_for_is_refused() {
    let check = |older: &str, newest: &str, text: &str| {
        let error = refused(&versions("export", &[("1.0.0", older), ("2.0.0", newest)]), "");
        let names = matches!(&error, AdmissionError::Versions { newest, older, .. }
            if newest == "acme:shop/carts@2.0.0" && older == "acme:shop/carts@1.0.0");
        assert!(names && error.to_string().contains(text), "{error:?}: {error}");
    };
    check(
        &cart(ADD),
        &cart(LOOK),
        "`add` of the older, func(item: string) -> result<u32, string>, is not in the newest",
    );
    let (wider, other) =
        (cart("look: func() -> result<u64, string>;"), cart("add: func(name: string) -> result<u32, string>;"));
    check(&cart(LOOK), &wider, "is func() -> result<u64, string> in the newest");
    check(&cart(ADD), &other, "is func(name: string)");
    let of_items =
        |fields: &str| format!("record item {{ {fields} }} {}", cart("put: func(it: item) -> result<u32, string>;"));
    check(&of_items("a: u8"), &of_items("a: u8, b: u8"), "has other types in the newest");
    // What is never run makes no other lane of a component, so it has the flavour of the rest.
    let waits = cart("add: async func(item: string) -> result<u32, string>;");
    let error = refused(&versions("export", &[("1.0.0", &waits), ("2.0.0", &cart(ADD))]), "");
    assert!(matches!(error, AdmissionError::Mixed { .. }), "{error:?}");
}

#[test]
fn two_versions_of_one_interface_may_be_called() {
    let component = admit(&versions("import", &[("1.0.0", &cart(ADD)), ("2.0.0", &cart(LOOK))]), "").unwrap();
    assert_eq!(component.asks, ["calls acme:shop/carts#cart"]);
    assert_eq!(component.calls.len(), 2, "each with its own methods");
}

#[test]
fn what_an_instance_takes_is_told() {
    let config = EngineConfig { roomy: [4, 3], dense: 4, profile: MemoryProfile::Dense };
    let engine = Engine::new(config).unwrap();
    assert_eq!((engine.mappings(), engine.mappings_to_come()), (0, 1024), "dense engines take none");
    let bytes = with_contract(&format!("{KIND} world made {{ export things; }}"));
    let admit = |manifest: &str| {
        Component::admit(&engine, &Cache::none(), &bytes, &Manifest::parse(manifest).unwrap(), 1).unwrap()
    };
    let dense = admit("");
    assert_eq!((dense.profile, dense.by_default, engine.mappings()), (MemoryProfile::Dense, true, 0));
    let roomy = admit("[actor]\nmemory-profile = \"roomy\"\n");
    assert_eq!((engine.mappings(), engine.mappings_to_come()), (1024, 512));
    assert!(roomy.cost.mappings > dense.cost.mappings, "{:?} {:?}", roomy.cost, dense.cost);
    let data = Cost::default().with_data(5_000);
    assert_eq!(data.memory, 8_192, "whole pages");
}

#[test]
fn the_kinds_of_a_component_share_its_memory_profile() {
    let kind = |name: &str| KIND.replace("things", &format!("{name}s")).replace("thing ", &format!("{name} "));
    let wit = format!("{} {} world made {{ export ones; export twos; }}", kind("one"), kind("two"));
    let bytes = with_contract(&wit);
    let table = |kind: &str, profile: &str| format!("[[actor]]\nname = \"{kind}\"\nmemory-profile = \"{profile}\"\n");
    let profile = |manifest: &str| admit(&bytes, manifest).unwrap().profile;
    assert_eq!(profile(""), MemoryProfile::Roomy);
    assert_eq!(profile("[actor]\nmemory-profile = \"dense\"\n"), MemoryProfile::Dense);
    assert_eq!(profile(&table("one", "dense")), MemoryProfile::Dense, "who says nothing follows");
    let both = table("one", "dense") + &table("two", "roomy");
    assert!(matches!(refused(&bytes, &both), AdmissionError::Profiles(..)));
    // A table of nobody's decides nothing here; the deploy refuses it.
    assert_eq!(profile(&(table("one", "roomy") + &table("three", "dense"))), MemoryProfile::Roomy);
}

#[test]
fn a_manifest_must_fit_the_component() {
    let bytes = with_contract(&format!("{KIND} world made {{ export things; }}"));
    let error = refused(&bytes, "[actor.methods.tuch]\nread-only = true\n");
    assert!(matches!(&error, AdmissionError::Method { method, .. } if method == "tuch"), "{error}");
    let error = refused(&bytes, "[actor.limits]\nmemory = \"1GiB\"\n");
    assert!(matches!(error, AdmissionError::Slot { by_default: true, .. }), "{error}");
    let error = refused(&bytes, "[actor]\nmemory-profile = \"dense\"\nlimits.memory = \"1MiB\"\n");
    assert!(matches!(error, AdmissionError::Slot { by_default: false, slot: 0x80000, .. }), "{error}");
    let component = admit(&bytes, "[actor.methods.touch]\nread-only = true\n").unwrap();
    assert!(component.kinds[0].methods[0].read_only);
    let component = admit(&bytes, "[actor.methods.touch]\nidempotent = true\n").unwrap();
    assert!(component.kinds[0].methods[0].idempotent);
    let error = refused(&bytes, "[actor.methods.touch]\nidempotent = true\nread-only = true\n").to_string();
    assert!(error.contains("both `read-only` and `idempotent`"), "{error}");
    let tells =
        with_contract(&format!("{} world made {{ export things; }}", KIND.replace(" -> result<u32, string>", "")));
    let error = refused(&tells, "[actor.methods.touch]\nidempotent = true\n").to_string();
    assert!(error.contains("it has no result to remember"), "{error}");
}
