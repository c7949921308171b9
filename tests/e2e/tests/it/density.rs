//! Memory profiles, and what a machine holds.

use std::fs;

use quark_e2e::{Client, Silo, component_path, eventually, made_with};
use serde_json::{Value, json};

const DENSE: &str = "[actor]\nmemory-profile = \"dense\"\nlimits.turn = \"300ms\"\n";

/// Actors woken where mappings are counted.
const ACTORS: u64 = 200;
/// Mappings that come and go with heaps and threads meanwhile.
const STIR: u64 = 60;

fn mappings(silo: &Silo) -> u64 {
    fs::read_to_string(format!("/proc/{}/maps", silo.pid())).unwrap().lines().count() as u64
}

fn kind(client: &Client, name: &str) -> Value {
    let kinds = client.get("/v1/kinds").expect(200).json()["kinds"].take();
    kinds.as_array().unwrap().iter().find(|kind| kind["name"] == name).unwrap().clone()
}

#[test]
fn a_dense_actor_counts_and_keeps_its_state() {
    let mut silo = Silo::start(&[]);
    fs::write(silo.folder().join("actor.toml"), DENSE).unwrap();
    let manifest = silo.folder().join("actor.toml");
    let (counter, manifest) = (component_path("counter"), manifest.to_str().unwrap().to_owned());
    let shown = silo.cli(&["deploy", counter.to_str().unwrap(), "--manifest", &manifest]).exits(0).stdout;
    assert!(shown.contains("  memory dense: its manifest says so; 512.0 KiB each, at most "), "{shown}");
    let shown = silo.cli(&["kinds"]).exits(0).stdout;
    assert!(shown.contains("  memory dense: its manifest says so; 512.0 KiB each"), "{shown}");
    for n in 1..=200 {
        assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), n);
    }
    silo.crash();
    let client = silo.client();
    assert_eq!(client.call("counter/a", "value", &json!([])).number(), 200);
    assert_eq!(kind(&client, "counter")["memory_profile"], "dense", "a start knows it again");
    client.deploy("hello", "");
    let hello = kind(&client, "greeter");
    assert_eq!(
        (&hello["memory_profile"], &hello["memory_profile_reason"]),
        (&json!("roomy"), &json!("the silo's default"))
    );
}

#[test]
fn hostile_actors_hurt_nobody_in_dense_slots() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("rogue", DENSE);
    client.deploy("counter", DENSE);
    assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), 1);
    let all = [
        ("trap", json!(["boo"]), "boo"),
        ("abort", json!([]), ""),
        ("recurse", json!([]), "deeper"),
        ("hoard", json!([1]), ""),
        ("hoard", json!([1000]), ""),
        ("many-handles", json!([20_000]), ""),
        ("spin", json!([]), "300"),
    ];
    for (method, arguments, about) in all {
        let failure = client.call("rogue/r", method, &arguments).failure(502, "failed");
        assert!(failure["message"].as_str().unwrap().contains(about), "{method}: {failure}");
        assert_eq!(client.call("rogue/r", "ping", &json!([])).number(), 1, "after {method} it is made anew");
        assert_eq!(client.call("counter/neighbour", "value", &json!([])).number(), 1, "after {method}");
    }
    assert_eq!(client.call("rogue/r", "flood-calls", &json!([20, "v"])).number(), 20);
    assert_eq!(client.call("rogue/r", "many-handles", &json!([100])).number(), 100);
    let _ = client.call("rogue/r", "store", &json!(["kept"])).expect(200);
    let _ = client.call("rogue/r", "store-then-trap", &json!(["lost"])).failure(502, "failed");
    assert_eq!(client.call("rogue/r", "stored", &json!([])).ok(), "kept");
}

/// A guest that looks through the memory that it was given, and then writes over all of it.
const LEAVES_TRACES: &str = r#"(module
  (import "[export]test:made/things" "[resource-new]thing" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 16)
  (func (export "test:made/things#[constructor]thing") (param i32 i32) (result i32) (call $new (i32.const 1)))
  (func (export "test:made/things#[method]thing.look") (param i32) (result i32) (local $at i32) (local $seen i32)
    (drop (memory.grow (i32.const 3)))
    (local.set $at (i32.const 4096))
    (loop $more
      (local.set $seen (i32.or (local.get $seen) (i32.load (local.get $at))))
      (i32.store (local.get $at) (i32.const -1))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $more (i32.lt_u (local.get $at) (i32.const 262144))))
    (local.get $seen))
  (func (export "test:made/things#[method]thing.beyond") (param i32) (result i32)
    (i32.load (i32.mul (memory.size) (i32.const 65536))))
  (func (export "test:made/things#[method]thing.grow") (param i32 i32) (result i32)
    (memory.grow (local.get 1))))"#;

const THING: &str = "package test:made; interface things { resource thing { constructor(key: string); \
                     look: func() -> u32; beyond: func() -> u32; grow: func(pages: u32) -> s32; } } \
                     world made { export things; }";

#[test]
fn a_dense_slot_keeps_its_actor_in_and_is_clean_for_the_next() {
    let silo = Silo::start(&["--memory-profile", "dense"]);
    let client = silo.client();
    let _ = client.deploy_bytes(&made_with(THING, LEAVES_TRACES), "").expect(200);
    for n in 0..100 {
        let actor = format!("thing/{}", n % 10);
        assert_eq!(client.call(&actor, "look", &json!([])).json(), json!(0), "call {n}");
        // One byte further lies the rest of the slot, which can be read: only the code's own check is in the way.
        let failure = client.call(&actor, "beyond", &json!([])).failure(502, "failed");
        assert!(failure["message"].as_str().unwrap().contains("out of bounds"), "{failure}");
    }
    assert_eq!(client.call("thing/g", "grow", &json!([7])).json(), json!(1));
    assert_eq!(client.call("thing/g", "grow", &json!([1])).json(), json!(-1), "the slot is full");
}

#[test]
fn what_does_not_fit_a_dense_slot_is_refused_with_the_reason() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let large = made_with(THING, &LEAVES_TRACES.replace("\"memory\") 1)", "\"memory\") 17)"));
    let refused = |client: &Client, component: &[u8], manifest: &str, about: &str| {
        let failure = client.deploy_bytes(component, manifest).failure(400, "bad-component");
        assert!(failure["message"].as_str().unwrap().contains(about), "{failure}");
        let next = failure["next"].as_str().unwrap().to_owned();
        assert_eq!(client.get("/v1/kinds").expect(200).json(), json!({ "kinds": [] }));
        next
    };
    let next = refused(
        &client,
        &large,
        DENSE,
        "its memory starts at 1114112 bytes, and a slot of the dense profile holds 524288",
    );
    assert!(next.contains("-zstack-size=65536") && next.contains("memory-profile = \"roomy\""), "{next}");
    let small = made_with(THING, LEAVES_TRACES);
    let limit = format!("{DENSE}limits.memory = \"1MiB\"\n");
    let _ = refused(&client, &small, &limit, "the manifest gives `thing` 1048576 bytes of memory");
    let both = "[[actor]]\nname = \"rogue\"\nmemory-profile = \"dense\"\n\
                [[actor]]\nname = \"victim\"\nmemory-profile = \"roomy\"\n";
    let rogue = fs::read(component_path("rogue")).unwrap();
    let _ = refused(&client, &rogue, both, "`rogue` is to be dense and `victim` roomy");
    let unknown = client.deploy_bytes(&small, "[actor]\nmemory-profile = \"tiny\"").failure(400, "bad-manifest");
    assert!(unknown["message"].as_str().unwrap().contains("write \"roomy\" or \"dense\""), "{unknown}");
    // Its neighbour that fits, of either profile.
    let _ = client.deploy_bytes(&large, "").expect(200);
    let _ = client.deploy_bytes(&small, DENSE).expect(200);
    assert_eq!(kind(&client, "thing")["memory_limit"], 512 << 10);

    let silo = Silo::start(&["--memory-profile", "dense"]);
    let client = silo.client();
    let _ = refused(&client, &large, "", "a slot of the dense profile, this silo's default, holds 524288");
    let _ = client.deploy_bytes(&large, "[actor]\nmemory-profile = \"roomy\"").expect(200);
    assert_eq!(client.call("thing/a", "look", &json!([])).json(), json!(0));
}

#[test]
fn an_actor_takes_as_many_mappings_as_the_silo_reckons_with() {
    let taken = |profile: &str, samples: &[&str], actor: &str, method: &str, arguments: &Value| {
        let silo = Silo::start(&["--memory-profile", profile, "--capacity", "1000"]);
        let client = silo.client();
        samples.iter().for_each(|sample| client.deploy(sample, ""));
        // Until the lane's turns are known to be short.
        (0..100).for_each(|_| drop(client.call(&format!("{actor}/warm"), method, arguments).expect(200)));
        let before = mappings(&silo);
        (0..ACTORS).for_each(|n| drop(client.call(&format!("{actor}/{n}"), method, arguments).expect(200)));
        mappings(&silo).saturating_sub(before)
    };
    let relay: [&str; 3] = ["counter", "rogue", "relay"];
    let (none, text) = (json!([]), json!(["x"]));
    let direct = taken("dense", &["counter"], "counter", "value", &none);
    assert!(direct <= STIR, "dense, direct: {direct}");
    let fiber = taken("dense", &relay, "relay", "header", &text);
    assert!((ACTORS..=2 * ACTORS + STIR).contains(&fiber), "dense, fiber: {fiber}");
    let concurrent = taken("dense", &["async/counter"], "counter", "value", &none);
    assert!((ACTORS..=2 * ACTORS + STIR).contains(&concurrent), "dense, concurrent: {concurrent}");
    let direct = taken("roomy", &["counter"], "counter", "value", &none);
    assert!((ACTORS..=4 * ACTORS + STIR).contains(&direct), "roomy, direct: {direct}");
    let fiber = taken("roomy", &relay, "relay", "header", &text);
    assert!((ACTORS..=4 * ACTORS + STIR).contains(&fiber), "roomy, fiber: {fiber}");
}

#[test]
fn a_silo_of_both_profiles_makes_room_for_either() {
    let silo = Silo::start(&["--capacity", "20"]);
    let client = silo.client();
    client.deploy("counter", DENSE);
    client.deploy("hello", "");
    client.deploy("async/zoo", "");
    for n in 0..60 {
        assert_eq!(client.call(&format!("counter/{n}"), "increment", &json!([1])).number(), 1);
        let _ = client.call(&format!("greeter/{n}"), "greet", &json!(["x"])).expect(200);
    }
    let health = client.get("/healthz").expect(200).json();
    assert!(health["live"].as_u64().unwrap() <= 20 && health["capacity"] == 20, "{health}");
    (0..60).for_each(|n| assert_eq!(client.call(&format!("counter/{n}"), "value", &json!([])).number(), 1));
}

#[test]
fn a_capacity_beyond_the_machine_is_refused_with_what_raises_it() {
    let silo = Silo::new();
    let refused = |arguments: &[&str]| {
        let ran = quark_e2e::run(silo.command(arguments)).exits(2);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        ran.stderr
    };
    let said = refused(&["--capacity", "4000000000"]);
    assert!(said.contains("cannot hold 4000000000 live actors in the roomy profile"), "{said}");
    let most: u64 = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    // Elsewhere another limit may come first.
    if most < 1_000_000 {
        assert!(said.contains("sudo sysctl -w vm.max_map_count="), "{said}");
    }
    let said = refused(&["--capacity", "4000000000", "--memory-profile", "dense"]);
    assert!(said.contains("in the dense profile") && !said.contains("sysctl"), "{said}");
    assert!(refused(&["--memory-profile", "tiny"]).contains("write roomy or dense"));
}

#[test]
fn the_doctor_says_what_the_machine_holds() {
    let silo = Silo::new();
    let text = silo.cli(&["doctor"]).exits(0).stdout;
    assert!(text.contains("PROFILE") && text.contains("more "), "{text}");
    let told = silo.cli(&["doctor", "--json"]).exits(0).json();
    let rows = told["holds"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "{told}");
    for row in rows {
        let least = ["by_mappings", "by_memory", "by_address_space"].map(|by| row[by].as_u64().unwrap_or(u64::MAX));
        assert!(row["live"].as_u64().unwrap() <= *least.iter().min().unwrap(), "{row}");
        assert!(row["raise"].as_str().is_some_and(|raise| !raise.is_empty()), "{row}");
    }
    assert!(told["machine"]["mappings"].as_u64().unwrap() > 0, "{told}");
}

#[test]
fn thrashing_is_told() {
    let silo = Silo::start(&["--capacity", "4"]);
    let client = silo.client();
    client.deploy("counter", "");
    let problem = || client.get("/readyz").expect(200).json()["problems"].as_array().unwrap().first().cloned();
    assert_eq!((problem(), client.metric("quark_thrashing")), (None, 0.0));
    let mut n = 0;
    let told = eventually("thrashing is seen", || {
        n += 1;
        let _ = client.call(&format!("counter/{}", n % 12), "increment", &json!([1])).expect(200);
        problem()
    });
    assert!(told.as_str().unwrap().contains("called again within 10 s"), "{told}");
    assert!(client.metric("quark_thrashing") > 0.0 && client.metric("quark_rewoken_total") >= 50.0);
    let shown = silo.cli(&["ps"]).exits(0).stdout;
    assert!(shown.contains("problem: the silo thrashes: "), "{shown}");
    let warned = silo.log().lines().filter(|line| line.contains("the silo thrashes")).count();
    assert_eq!(warned, 1, "{}", silo.log());
}
