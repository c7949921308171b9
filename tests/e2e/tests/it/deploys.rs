//! New versions: what they may change, how live actors come to them, which are kept.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Answer, Client, Silo, component, encoded, eventually, made_of, made_with, stamped};
use serde_json::{Value, json};

const WASM: [(&str, &str); 1] = [("content-type", "application/wasm")];
/// How many versions of a deployment a silo keeps.
const VERSIONS_KEPT: u64 = 10;

fn things(inside: &str) -> String {
    format!("package test:made; interface things {{ {inside} }} world made {{ export things; }}")
}

fn deploy(client: &Client, query: &str, component: &[u8]) -> Answer {
    client.send("POST", &format!("/v1/deployments?{query}"), &WASM, component)
}

fn versions(client: &Client, kind: &str) -> Vec<Value> {
    let path = format!("/v1/versions?kind={}", encoded(kind));
    client.get(&path).expect(200).json()["versions"].as_array().unwrap().clone()
}

const OLD: &str = "record point { x: s32 } resource thing { constructor(key: string); look: func(at: point) -> u32; \
                   touch: func(); }";

#[test]
fn a_version_that_breaks_callers_is_refused_with_what_was_and_is() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let _ = deploy(&client, "", &made_of(&things(OLD))).expect(200);
    let caller = "package test:other; interface others { resource other { constructor(key: string); go: func(); } }
        world made { import test:made/things; export others; }
        package test:made { interface things { record point { x: s32 } resource thing { constructor(key: string); \
                  look: func(at: point) -> u32; } } }";
    let _ = deploy(&client, "", &made_of(caller)).expect(200);
    let broken = OLD.replace("x: s32", "x: s32, y: s32").replace("touch: func();", "");
    let file = silo.folder().join("broken.wasm");
    fs::write(&file, made_of(&things(&broken))).unwrap();
    let file = file.to_str().unwrap();

    let ran = silo.cli(&["deploy", file]).exits(2);
    for part in [
        "thing.look has other types: was `record point { x: s32 }`, is `record point { x: s32, y: s32 }`",
        "thing.touch is gone: it was func()",
        "`other` of the deployment `other` calls thing.look",
        "nothing was changed",
        "--allow-breaking",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    let failure = deploy(&client, "name=thing", &fs::read(file).unwrap()).failure(409, "breaking-change");
    assert_eq!(failure["may_be_done"], false, "{failure}");
    assert_eq!(versions(&client, "thing").len(), 1);
    // Its code traps, but it is there.
    let _ = client.call("thing/a", "look", &json!([{ "x": 1 }])).failure(502, "failed");

    let ran = silo.cli(&["deploy", file, "--allow-breaking"]).exits(0);
    for part in ["version 2", "breaks callers of the version before", "thing.touch is gone", "`other`"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let _ = client.call("thing/a", "look", &json!([{ "x": 1 }])).failure(400, "bad-arguments");
    let _ = client.call("thing/a", "look", &json!([{ "x": 1, "y": 2 }])).failure(502, "failed");
    // The same once more is nothing new.
    let ran = silo.cli(&["deploy", file]).exits(0);
    assert!(ran.stdout.starts_with("unchanged thing version 2"), "{ran:?}");
}

#[test]
fn a_version_that_adds_is_taken_and_says_what_it_newly_asks_for() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let _ = deploy(&client, "", &made_of(&things(OLD))).expect(200);
    let more = OLD.replace("touch: func();", "touch: func(); more: func() -> string;");
    let wit = format!(
        "package test:made; interface things {{ {more} }}
         interface others {{ resource other {{ constructor(key: string); go: func(); }} }}
         world made {{ import quark:actor/log@0.1.0; import others; export things; }}"
    );
    let file = silo.folder().join("more.wasm");
    fs::write(&file, made_of(&wit)).unwrap();
    let ran = silo.cli(&["deploy", file.to_str().unwrap()]).exits(0);
    let newly = "asks newly for\n  calls test:made/others#other\n  quark:actor@0.1.0: log\n";
    assert!(ran.stdout.contains("version 2") && ran.stdout.contains(newly), "{ran:?}");
    let wit = silo.cli(&["kinds", "thing", "--wit"]).exits(0).stdout;
    assert!(wit.starts_with("package test:made;") && wit.contains("more: func() -> string;"), "{wit}");
    let shown = silo.cli(&["kinds"]).exits(0).stdout;
    assert!(shown.contains("  look: func(at: point) -> u32\n"), "{shown}");
    let _ = silo.cli(&["kinds", "thong"]).exits(2);
}

#[test]
fn a_kind_with_state_is_dropped_by_force_alone_and_its_state_stays() {
    let silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/a", "increment", &json!([5])).number(), 5);
    let other = made_of(&things(OLD));
    let failure = deploy(&client, "name=counter", &other).failure(409, "breaking-change").to_string();
    for part in ["counter is gone", "sample:counter/counters#counter", "have state", "--allow-breaking --force"] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    let failure = deploy(&client, "name=counter&allow-breaking=true", &other).failure(409, "conflict").to_string();
    assert!(failure.contains("have state") && failure.contains("--force"), "{failure}");
    assert_eq!(client.call("counter/a", "increment", &json!([1])).number(), 6, "nothing was changed");
    let _ = deploy(&client, "name=counter&allow-breaking=true&force=true", &other).expect(200);
    let _ = client.call("counter/a", "value", &json!([])).failure(404, "no-such-kind");
    eventually("nobody is left in memory", || {
        let all = client.get("/v1/activations").expect(200).json();
        all["activations"].as_array().unwrap().is_empty().then_some(())
    });
    // Whoever serves the kind again finds it.
    let _ = deploy(&client, "name=again", &component("counter")).expect(200);
    assert_eq!(client.call("counter/a", "value", &json!([])).number(), 6);
    let failure = deploy(&client, "name=third", &component("counter")).failure(409, "conflict").to_string();
    assert!(failure.contains("`again`") && failure.contains("`third`"), "{failure}");
}

#[test]
fn a_kind_changes_between_state_and_journal_by_force_alone() {
    // Its component has fewer of the contract's types, which looks as if it took them away.
    const LESS: &str = "allow-breaking=true";
    let silo = Silo::with(&[]);
    let client = silo.client();
    let wit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample-actors/ledger/wit/ledger.wit"));
    let wit = wit.unwrap().replace("world ledger-actor", "world made").replace("include quark:actor/actor@0.1.0;", "");
    let (with, without) = (wit.clone(), wit.replace("export quark:actor/journaled@0.1.0;", ""));
    assert_ne!(with, without);
    let _ = deploy(&client, "", &made_of(&without)).expect(200);
    let _ = deploy(&client, "", &component("ledger")).expect(200);
    assert_eq!(client.call("ledger/a", "deposit", &json!([5, "rent"])).number(), 5);
    let failure = deploy(&client, LESS, &made_of(&without)).failure(409, "conflict").to_string();
    for part in ["no longer exports `quark:actor/journaled`", "ledgers#ledger", "nothing was changed", "--force"] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    assert_eq!(client.call("ledger/a", "deposit", &json!([1, "more"])).number(), 6);
    let _ = deploy(&client, "allow-breaking=true&force=true", &made_of(&without)).expect(200);
    // Nobody had the events replayed, and they are still there.
    let failure = deploy(&client, "", &component("ledger")).failure(409, "conflict").to_string();
    assert!(failure.contains("would wake by their events alone"), "{failure}");
    let _ = deploy(&client, "force=true", &component("ledger")).expect(200);
    assert_eq!(client.call("ledger/a", "deposit", &json!([1, "again"])).number(), 7);
}

#[test]
fn versions_are_listed_with_their_live_actors_and_the_oldest_are_forgotten() {
    let mut silo = Silo::start(&[]);
    let client = silo.client();
    let counter = component("counter");
    let _ = deploy(&client, "", &counter).expect(200);
    for key in ["a", "b"] {
        let _ = client.call(&format!("counter/{key}"), "increment", &json!([1])).expect(200);
    }
    client.deploy("hello", "");
    let first = &versions(&client, "counter")[0];
    assert_eq!((&first["version"], &first["current"], &first["live"]), (&json!(1), &json!(true), &json!(2)), "{first}");
    for version in 2..=VERSIONS_KEPT + 2 {
        let report = deploy(&client, "", &stamped(&counter, &version.to_string())).expect(200).json();
        assert_eq!((&report["version"], &report["breaks"]), (&json!(version), &json!([])), "{report}");
        assert_ne!(report["hash"], first["hash"]);
    }
    let newest = VERSIONS_KEPT + 2;
    // Who was told to leave may still be about to.
    let _ = client.call("counter/a", "increment", &json!([1])).expect(200);
    let kept: Vec<u64> = (3..=newest).rev().collect();
    let check = |client: &Client| {
        let all = versions(client, "counter");
        let numbers: Vec<u64> = all.iter().map(|version| version["version"].as_u64().unwrap()).collect();
        assert_eq!(numbers, kept);
        assert!(all.iter().all(|version| version["current"] == (version["version"] == newest)), "{all:?}");
    };
    check(&client);
    eventually("all live ones run the newest", || {
        let all = versions(&client, "counter");
        (all[0]["live"] == 1 && all[1..].iter().all(|version| version["live"] == 0)).then_some(())
    });
    assert_eq!(client.get("/v1/versions").expect(200).json()["versions"].as_array().unwrap().len(), kept.len() + 1);
    let _ = client.get("/v1/versions?kind=nothing").failure(404, "no-such-kind");
    let table = silo.cli(&["versions", "counter"]).exits(0).stdout;
    let row = table.lines().nth(1).unwrap();
    assert!(table.starts_with("DEPLOYMENT  VERSION  HASH") && row.contains(&newest.to_string()) && row.contains("yes"));
    let listed = silo.cli(&["versions", "counter", "--json"]).exits(0).json();
    assert_eq!(listed["versions"].as_array().unwrap().len(), kept.len());
    let _ = silo.cli(&["versions", "nothing"]).exits(2);
    silo.crash();
    check(&silo.client());
    assert_eq!(silo.client().call("counter/a", "value", &json!([])).number(), 2);
}

/// Accounts of one payer.
const OWN: u64 = 5;

/// Adds one to the payer's accounts in turn by a call and one by a tell, until told to stop. How often.
fn pay(client: &Client, payer: u64, stop: &AtomicBool, paid: &AtomicU64) -> u64 {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let actor = format!("account/{}", payer * OWN + rounds % OWN);
        let _ = client.call(&actor, "deposit", &json!([1])).expect(200);
        let _ = client.call(&actor, "credit", &json!([1])).expect(202);
        rounds += 1;
        paid.fetch_add(1, Ordering::Relaxed);
    }
    rounds
}

#[test]
fn calls_and_tells_go_on_while_versions_come_and_none_is_lost() {
    const PAYERS: u64 = 12;
    const DEPLOYS: u64 = 6;
    /// Payments between two deploys.
    const BETWEEN: u64 = 60;
    let silo = Silo::with(&["bank"]);
    let client = silo.client();
    let bank = component("bank");
    let (stop, paid) = (AtomicBool::new(false), AtomicU64::new(0));
    let rounds: Vec<u64> = thread::scope(|scope| {
        let payers: Vec<_> = (0..PAYERS)
            .map(|payer| {
                let (client, stop, paid) = (&client, &stop, &paid);
                scope.spawn(move || pay(client, payer, stop, paid))
            })
            .collect();
        let deploying = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for version in 2..=DEPLOYS + 1 {
                let until = paid.load(Ordering::Relaxed) + BETWEEN;
                eventually("payments go on", || {
                    (paid.load(Ordering::Relaxed) >= until || payers.iter().any(thread::ScopedJoinHandle::is_finished))
                        .then_some(())
                });
                let report = deploy(&client, "", &stamped(&bank, &version.to_string())).expect(200).json();
                assert_eq!(report["version"], version);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let rounds = payers.into_iter().map(|payer| payer.join().unwrap()).collect();
        deploying.unwrap();
        rounds
    });
    for account in 0..PAYERS * OWN {
        let rounds = rounds[usize::try_from(account / OWN).unwrap()];
        let due = 2 * (rounds / OWN + u64::from(account % OWN < rounds % OWN));
        assert!(due > 0, "{rounds} rounds");
        let actor = format!("account/{account}");
        eventually("all credits are there", || {
            let balance = client.call(&actor, "balance", &json!([])).number();
            assert!(balance <= due, "{balance} of {due}");
            (balance == due).then_some(())
        });
    }
    let all = versions(&client, "account");
    assert_eq!((all.len() as u64, &all[0]["live"]), (DEPLOYS + 1, &json!(PAYERS * OWN)), "{all:?}");
    assert_eq!(client.get("/v1/dead-letters").expect(200).json(), json!({ "dead_letters": [] }));
}

/// Says why it woke: the place of the cause in the contract's enum.
const WOKEN_WIT: &str = "package test:made;
    interface things {
      resource thing { constructor(key: string); cause: func() -> u32; spin: func(turns: u32) -> u32; }
    }
    world made { export quark:actor/lifecycle@0.1.0; export things; }";
const WOKEN: &str = r#"(module
    (import "[export]test:made/things" "[resource-new]thing" (func $new (param i32) (result i32)))
    (memory (export "memory") 1)
    (global $cause (mut i32) (i32.const 99))
    (func (export "quark:actor/lifecycle@0.1.0#activate") (param i32 i32 i32 i32 i64 i32 i32 i32) (result i32)
      local.get 7 global.set $cause i32.const 512)
    (func (export "quark:actor/lifecycle@0.1.0#deactivate") (param i32 i32 i32 i32 i32) (result i32) i32.const 512)
    (func (export "test:made/things#[constructor]thing") (param i32 i32) (result i32) i32.const 1 call $new)
    (func (export "test:made/things#[method]thing.cause") (param i32) (result i32) global.get $cause)
    (func (export "test:made/things#[method]thing.spin") (param i32 i32) (result i32)
      (loop $again
        local.get 1 i32.const 1 i32.sub local.tee 1
        br_if $again)
      i32.const 0)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))"#;

#[test]
fn an_actor_that_wakes_for_a_new_version_is_told_so() {
    // Of the enum `cause`.
    let (message, upgrade) = (json!(0), json!(5));
    let silo = Silo::start(&[]);
    let client = silo.client();
    let woken = made_with(WOKEN_WIT, WOKEN);
    let _ = deploy(&client, "", &woken).expect(200);
    assert_eq!(client.call("thing/a", "cause", &json!([])).expect(200).json(), message);
    let mut version = 1;
    // The deploy must come while the actor is busy; on a slow machine it may come too late.
    eventually("a message waited over a deploy", || {
        version += 1;
        thread::scope(|scope| {
            let busy = scope.spawn(|| client.call("thing/a", "spin", &json!([1_500_000_000])).expect(200));
            eventually("it is busy", || {
                (busy.is_finished() || client.inspect("thing/a")["activation"]["running"] == true).then_some(())
            });
            let cause = scope.spawn(|| client.call("thing/a", "cause", &json!([])).expect(200).json());
            let waits = || client.inspect("thing/a")["activation"]["waiting"] == 1;
            eventually("one waits", || (busy.is_finished() || waits()).then_some(()));
            let _ = deploy(&client, "", &stamped(&woken, &version.to_string())).expect(200);
            let _ = busy.join().unwrap();
            (cause.join().unwrap() == upgrade).then_some(())
        })
    });
}

#[test]
fn every_sample_can_take_its_own_place() {
    let samples = ["hello", "counter", "bank", "relay", "zoo", "rogue"];
    let silo = Silo::with(&samples);
    for sample in samples {
        let report = deploy(&silo.client(), "", &stamped(&component(sample), "next")).expect(200).json();
        assert_eq!((&report["version"], &report["breaks"], &report["asks_newly"]), (&json!(2), &json!([]), &json!([])));
    }
}

#[test]
fn interfaces_are_shown_as_wit_that_can_be_built_against() {
    let silo = Silo::with(&["zoo", "bank", "counter", "relay"]);
    for (kind, package) in
        [("zoo", "sample:zoo"), ("account", "sample:bank"), ("counter", "sample:counter"), ("relay", "sample:relay")]
    {
        let wit = silo.cli(&["kinds", kind, "--wit"]).exits(0).stdout;
        assert!(wit.starts_with(&format!("package {package}@1.0.0;")), "{wit}");
        let mut resolve = wit_parser::Resolve::default();
        let parsed = resolve.push_str("kind.wit", &wit).unwrap_or_else(|error| panic!("{error:?}:\n{wit}"));
        assert_eq!(resolve.packages[parsed].interfaces.len(), 1, "{wit}");
        let listed = silo.cli(&["kinds", kind, "--json"]).exits(0).json();
        assert_eq!(listed["kinds"][0]["wit"].as_str().unwrap().trim(), wit.trim());
    }
    let zoo = silo.cli(&["kinds", "zoo", "--wit"]).exits(0).stdout;
    assert!(zoo.contains("/// A tell with arguments.") && zoo.contains("flags marks"), "{zoo}");
}

fn growing(methods: &[(&str, u32)]) -> Vec<u8> {
    let list = |text: &dyn Fn(&str, u32) -> String| -> String {
        methods.iter().map(|(name, answer)| text(name, *answer)).collect()
    };
    let wit = list(&|name, _| format!("{name}: func() -> u32; "));
    let code = list(&|name, answer| {
        format!(
            r#"(func (export "test:made/things#[method]thing.{name}") (param i32) (result i32) i32.const {answer})"#
        )
    });
    let module = format!(
        r#"(module (import "[export]test:made/things" "[resource-new]thing" (func $new (param i32) (result i32)))
        (memory (export "memory") 1) {code}
        (func (export "test:made/things#[constructor]thing") (param i32 i32) (result i32) i32.const 1 call $new)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))"#
    );
    made_with(&things(&format!("resource thing {{ constructor(key: string); {wit} }}")), &module)
}

/// Calls a method of one actor after another until told to stop: it is not known yet, or answered.
fn ask_all(client: &Client, method: &str, answer: u32, first: usize, stop: &AtomicBool) {
    for key in (first..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let found = client.call(&format!("thing/{}", key % THINGS), method, &json!([]));
        if found.status == 404 {
            let _ = found.failure(404, "no-such-method");
        } else {
            assert_eq!(found.expect(200).json(), answer);
        }
    }
}

/// So many that a deploy takes a while to tell them all.
const THINGS: usize = 1500;

#[test]
fn a_method_that_a_version_adds_is_answered_by_live_actors_at_once() {
    const CALLERS: usize = 4;
    let silo = Silo::start(&[]);
    let client = silo.client();
    let mut methods = vec![("one", 1)];
    let _ = deploy(&client, "", &growing(&methods)).expect(200);
    for (name, answer) in [("two", 2), ("three", 3), ("four", 4), ("five", 5)] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (client, share) = (&client, (caller..THINGS).step_by(CALLERS));
                scope
                    .spawn(move || share.for_each(|key| drop(client.call(&format!("thing/{key}"), "one", &json!([])))));
            }
        });
        methods.push((name, answer));
        let next = growing(&methods);
        thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    let (client, stop) = (&client, &stop);
                    scope.spawn(move || ask_all(client, name, answer, caller * THINGS / CALLERS, stop))
                })
                .collect();
            let deployed = deploy(&client, "", &next);
            stop.store(true, Ordering::Relaxed);
            callers.into_iter().for_each(|caller| caller.join().unwrap());
            let _ = deployed.expect(200);
        });
        assert_eq!(client.call("thing/0", name, &json!([])).expect(200).json(), answer);
    }
}

#[test]
fn what_waits_in_a_mailbox_is_served_by_the_next_version() {
    /// Far beyond what a deploy takes of what was compiled before.
    const TURN_MS: u64 = 8000;
    let silo = Silo::start(&[]);
    let client = silo.client();
    let (rogue, next) = (component("rogue"), stamped(&component("rogue"), "next"));
    for component in [&rogue, &next, &rogue] {
        let _ = deploy(&client, "", component).expect(200);
    }
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
    thread::scope(|scope| {
        let turn = scope.spawn(|| client.call("rogue/a", "sleep", &json!([TURN_MS])));
        let live = || client.inspect("rogue/a")["activation"].take();
        eventually("it is busy", || (live()["running"] == true).then_some(()));
        let pings: Vec<_> =
            (0..3).map(|_| scope.spawn(|| client.call("rogue/a", "ping", &json!([])).number())).collect();
        eventually("they wait", || (live()["waiting"] == 3).then_some(()));
        let _ = deploy(&client, "", &next).expect(200);
        // The deploy does not wait for the turn, and the turn goes on as it began.
        let all = versions(&client, "rogue");
        assert_eq!(
            (&all[0]["version"], &all[0]["live"], &all[1]["live"]),
            (&json!(4), &json!(0), &json!(1)),
            "{all:?}"
        );
        let mut pings: Vec<u64> = pings.into_iter().map(|ping| ping.join().unwrap()).collect();
        pings.sort_unstable();
        assert_eq!(pings, [1, 2, 3], "of a new life");
        let _ = turn.join().unwrap().expect(200);
    });
    assert_eq!(versions(&client, "rogue")[0]["live"], 1);
}

#[test]
fn a_version_without_the_manifest_of_the_one_before_says_so() {
    let silo = Silo::start(&[]);
    let manifest = silo.folder().join("greeter.toml");
    fs::write(&manifest, "[actor]\nidle-timeout = \"1h\"\n").unwrap();
    let (manifest, bytes) = (manifest.to_str().unwrap(), silo.folder().join("greeter.wasm"));
    fs::write(&bytes, component("hello")).unwrap();
    let bytes = bytes.to_str().unwrap();
    let warns = |arguments: &[&str]| silo.cli(arguments).exits(0).stdout.contains("warning: version");
    assert!(!warns(&["deploy", bytes, "--manifest", manifest]), "it is the first");
    let shown = silo.cli(&["deploy", bytes]).exits(0).stdout;
    assert!(shown.contains("warning: version 1 came with a manifest and this one without"), "{shown}");
    assert!(!warns(&["deploy", bytes]), "nothing is lost any more");
    assert!(!warns(&["deploy", bytes, "--manifest", manifest]));
}
