//! Calls that come back to actors which wait for them: the values that cross, the depth, what is durable
//! when something inside fails.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Client, Silo, component, made_of};
use serde_json::json;

/// The same source, in the fiber and in the concurrent lane.
const FLAVOURS: [&str; 2] = ["ping-pong", "async/ping-pong"];
/// Turns of one actor that may stand on one path.
const RETURNS_MAX: usize = 32;

fn silo(flavour: &str, manifest: &str) -> Silo {
    let silo = Silo::start(&["--workers", "2"]);
    silo.client().deploy(flavour, manifest);
    silo
}

fn score(client: &Client, player: &str) -> (u64, u64) {
    let score = client.call(&format!("ping-pong/{player}"), "score", &json!([])).ok();
    (score["before"].as_u64().unwrap(), score["after"].as_u64().unwrap())
}

fn players(names: &str, times: usize) -> Vec<String> {
    let each = names.split(' ').map(str::to_owned);
    each.cycle().take(names.split(' ').count() * times).collect()
}

#[test]
fn every_value_is_right_however_deep_it_comes_back() {
    for flavour in FLAVOURS {
        check_values(&silo(flavour, ""), flavour);
    }
}

pub(crate) fn check_values(silo: &Silo, flavour: &str) {
    let client = silo.client();
    // a -> b -> a -> b -> ..., and an actor that calls itself.
    for (others, times, bytes) in [
        (players("b a", 1), 1000, 400),
        (players("b a", 4), 1000, 80),
        (players("b a", 4), 5, 60_000),
        (players("b c a", 2), 50, 2_000),
        (players("a", 8), 50, 2_000),
    ] {
        const AT_ONCE: u32 = 100;
        for _ in 0..u32::div_ceil(times, AT_ONCE) {
            let some = times.min(AT_ONCE);
            let practised = client.call("ping-pong/a", "practise", &json!([others, some, bytes]));
            assert_eq!(practised.number(), u64::from(some), "{flavour}, {others:?}");
        }
    }
    let ball = json!({ "text": "ö", "items": [] });
    let seen = client.call("ping-pong/a", "rally", &json!([["b", "a", "c", "a"], ball])).ok();
    assert_eq!(seen, json!({ "depth": 4, "text": "öabac", "items": [] }), "{flavour}");
}

#[test]
fn paths_that_meet_again_in_one_actor_all_enter() {
    for flavour in FLAVOURS {
        check_meetings(&silo(flavour, ""), flavour);
    }
}

pub(crate) fn check_meetings(silo: &Silo, flavour: &str) {
    let client = silo.client();
    for end in ["a", "d", "b"] {
        let depth = client.call("ping-pong/a", "fan", &json!([["b", "c", "b"], end])).number();
        assert_eq!(depth, 3, "{flavour}, {end}");
    }
}

#[test]
fn too_deep_is_a_deadlock_with_the_whole_path() {
    for flavour in FLAVOURS {
        check_depth(&silo(flavour, ""), flavour);
    }
}

pub(crate) fn check_depth(silo: &Silo, flavour: &str) {
    let client = silo.client();
    let deep = |times: usize| client.call("ping-pong/a", "finish", &json!([players("a", times), "ok"]));
    assert_eq!(deep(RETURNS_MAX - 1).ok(), json!("point"), "{flavour}");
    let error = deep(RETURNS_MAX).actor_error().to_string();
    let path = vec!["ping-pong/a.finish"; RETURNS_MAX + 1].join(" -> ");
    assert!(error.contains("deadlock") && error.contains(&path), "{flavour}: {error}");
    assert_eq!(deep(1).ok(), json!("point"), "{flavour}");
}

#[test]
fn with_none_what_comes_back_is_a_deadlock_at_once() {
    for flavour in FLAVOURS {
        let silo = silo(flavour, "[actor]\nreentrancy = \"none\"\n");
        let error = silo.client().call("ping-pong/a", "finish", &json!([["b", "c", "a"], "ok"])).actor_error();
        let path = "ping-pong/a.finish -> ping-pong/b.finish -> ping-pong/c.finish -> ping-pong/a.finish";
        assert!(error.to_string().contains("deadlock") && error.to_string().contains(path), "{flavour}: {error}");
    }
}

#[test]
fn what_was_committed_before_a_failure_inside_stands() {
    for flavour in FLAVOURS {
        check_failures(silo(flavour, "[actor.limits]\nturn = \"300ms\"\n"), flavour);
    }
}

pub(crate) fn check_failures(mut silo: Silo, flavour: &str) {
    let client = silo.client();
    // Both turns of a, with its own answer: an error is one.
    assert_eq!(client.call("ping-pong/a", "finish", &json!([["b", "a"], "ok"])).ok(), json!("point"));
    assert_eq!((score(&client, "a"), score(&client, "b")), ((2, 2), (1, 1)), "{flavour}");
    let _ = client.call("ping-pong/a", "finish", &json!([["b", "a"], "miss"])).actor_error();
    assert_eq!((score(&client, "a"), score(&client, "b")), ((4, 2), (2, 1)), "{flavour}");
    // The inner turn takes the outer one along; what that wrote before its call stands.
    for (how, reason) in [("trap", "the racket broke"), ("spin", "limits.turn")] {
        let before = score(&client, "a");
        let error = client.call("ping-pong/a", "finish", &json!([["b", "a"], how]));
        let text = error.failure(502, "failed").to_string();
        assert!(text.contains(reason), "{flavour}: {text}");
        assert_eq!(score(&client, "a"), (before.0 + 1, before.1), "{flavour}, {how}");
    }
    assert_eq!(score(&client, "b"), (4, 1), "{flavour}");
    // Whoever waits outside of the actor that failed inside is told, and goes on.
    let told = client.call("ping-pong/c", "attempt", &json!([["b", "b"], "trap"])).ok();
    assert!(told.to_string().contains("the racket broke"), "{flavour}: {told}");
    // However deep it was: the reason is told once.
    let deep = client.call("ping-pong/e", "finish", &json!([["f", "e", "f", "e"], "trap"]));
    let deep = deep.failure(502, "failed").to_string();
    assert!(deep.contains("the racket broke") && deep.matches("came back to it").count() < 2, "{flavour}: {deep}");
    let scores = || (score(&silo.client(), "a"), score(&silo.client(), "b"), score(&silo.client(), "c"));
    let live = scores();
    assert_eq!((live.1, live.2), ((5, 1), (1, 1)), "{flavour}");
    silo.crash();
    let durable = (score(&silo.client(), "a"), score(&silo.client(), "b"), score(&silo.client(), "c"));
    assert_eq!(durable, live, "{flavour}");
}

#[test]
fn an_actor_that_is_to_leave_lets_in_what_its_turn_waits_for() {
    for flavour in FLAVOURS {
        let silo = silo(flavour, "");
        let client = silo.client();
        thread::scope(|scope| {
            let plays = scope.spawn(|| {
                let practise = || client.call("ping-pong/a", "practise", &json!([["b", "a", "b", "a"], 200, 400]));
                (0..5).map(|_| practise().number()).collect::<Vec<u64>>()
            });
            // Each is asked to leave while it plays.
            for version in 0..5 {
                let manifest = format!("[actor.config]\nversion = \"{version}\"\n");
                client.deploy(flavour, &manifest);
            }
            assert_eq!(plays.join().unwrap(), [200; 5], "{flavour}");
        });
    }
}

/// The same component, of which nobody knows what built it.
fn unsigned(component: &[u8]) -> Vec<u8> {
    let (from, to) = (b"\x09producers", b"\x09forgotten");
    let mut bytes = component.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

/// The same component, as if that tool had built it.
fn signed(component: &[u8], tool: &str) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let fields = [vec![1], string("processed-by"), vec![1], string(tool), string("1.0.0")].concat();
    let section = [string("producers"), fields].concat();
    [component, &[0, u8::try_from(section.len()).unwrap()], &section].concat()
}

#[test]
fn the_toolchain_decides_unless_the_manifest_does() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let ping_pong = component("ping-pong");
    let comes_back = || client.call("ping-pong/a", "finish", &json!([["b", "a"], "ok"]));
    for (bytes, manifest, reentrancy, reason) in [
        (ping_pong.clone(), "", "call-chain", "it is Rust"),
        (unsigned(&ping_pong), "", "call-chain", "its toolchain is not known, and it passed the trial"),
        (signed(&ping_pong, "ComponentizeJS"), "", "none", "StarlingMonkey"),
        (ping_pong.clone(), "[actor]\nreentrancy = \"none\"\n", "none", "its manifest says so"),
    ] {
        let report = client.deploy_bytes(&bytes, manifest).expect(200).json();
        let kind = &report["kinds"][0];
        assert_eq!(kind["reentrancy"], reentrancy, "{report}");
        assert!(kind["reentrancy_reason"].as_str().unwrap().contains(reason), "{report}");
        assert_eq!(comes_back().status == 200, reentrancy == "call-chain", "{report}");
    }
    let refused = client.deploy_bytes(&signed(&ping_pong, "ComponentizeJS"), "[actor]\nreentrancy = \"call-chain\"\n");
    let error = refused.failure(400, "bad-component").to_string();
    assert!(error.contains("StarlingMonkey") && error.contains("componentize-qjs"), "{error}");
}

#[test]
fn what_does_not_pass_the_trial_is_not_entered() {
    let silo = Silo::start(&[]);
    // Its methods trap at once.
    let untried = made_of(
        "package test:made;
         interface others { resource other { constructor(key: string); ask: func(by: u64) -> result<u32, string>; } }
         interface things { resource thing { constructor(key: string); touch: func() -> result<u32, string>; } }
         world made { import others; export things; }",
    );
    let report = silo.client().deploy_bytes(&unsigned(&untried), "").expect(200).json();
    assert_eq!(report["kinds"][0]["reentrancy"], "none", "{report}");
    let reason = report["kinds"][0]["reentrancy_reason"].as_str().unwrap();
    assert!(reason.contains("none of its methods called another actor"), "{reason}");
}

#[test]
fn chains_that_cross_end_well_or_are_told_of_the_deadlock() {
    for flavour in FLAVOURS {
        chains_cross(&silo(flavour, ""));
    }
}

/// Chains of many clients over the same few actors: each comes back to itself and runs into the others.
fn chains_cross(silo: &Silo) {
    const CLIENTS: u64 = 6;
    const CHAINS: u64 = 60;
    let ended = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            let (client, ended) = (silo.client(), &ended);
            scope.spawn(move || {
                let mut random = seed;
                let mut player = || {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
                    ["a", "b", "c", "d"][(random >> 40) as usize % 4]
                };
                for _ in 0..CHAINS {
                    let (first, others) = (player(), [player(), player(), player(), player()]);
                    let ball = json!({ "text": "x", "items": [] });
                    let answer = client.call(&format!("ping-pong/{first}"), "rally", &json!([others, ball]));
                    if answer.status == 200 {
                        assert_eq!(answer.ok()["text"], format!("x{first}{}", others[..3].concat()));
                        ended.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let text = answer.text();
                        assert!(text.contains("deadlock") && text.contains(", while "), "{text}");
                    }
                }
            });
        }
    });
    let ended = ended.into_inner();
    assert!(ended > CHAINS, "{ended} of {} ended well", CLIENTS * CHAINS);
}
