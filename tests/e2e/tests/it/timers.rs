//! Timers: turns that an actor gives itself while it is in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use quark_e2e::{Client, Silo, eventually, made_with};
use serde_json::{Value, json};

const PACKED: &str = "[actor]\nisolation = { packed = 4 }\n";
const FULL: &str = "[actor]\nreentrancy = \"full\"\n";
/// All ways in which turns run.
const WAYS: [(&str, &str); 5] = [
    ("metronome", ""),
    ("metronome", PACKED),
    ("async/metronome", ""),
    ("async/metronome", PACKED),
    ("async/metronome", FULL),
];

fn metronome(sample: &str, manifest: &str) -> (Silo, Client) {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy(sample, manifest);
    (silo, client)
}

#[track_caller]
fn start(client: &Client, actor: &str, timer: &str, after: u64, every: Option<u64>, payload: &[u8]) {
    let _ = client.call(actor, "start", &json!([timer, after, every, payload])).expect(200);
}

#[track_caller]
fn stop(client: &Client, actor: &str, timer: &str) -> bool {
    client.call(actor, "stop", &json!([timer])).ok() == true
}

/// What a timer did in this activation, if anything.
fn beat(client: &Client, actor: &str, timer: &str) -> Option<Value> {
    let beats = client.call(actor, "beats", &json!([])).ok();
    beats.as_array().unwrap().iter().find(|beat| beat["timer"] == timer).cloned()
}

fn beats(client: &Client, actor: &str, timer: &str) -> u64 {
    beat(client, actor, timer).map_or(0, |beat| beat["beats"].as_u64().unwrap())
}

#[track_caller]
fn reaches(client: &Client, actor: &str, timer: &str, least: u64) {
    eventually("it beats", || (beats(client, actor, timer) >= least).then_some(()));
}

/// Lets a timer of another actor run out, so that others that were due before it had their time.
#[track_caller]
fn a_while(client: &Client) {
    let before = beats(client, "metronome/clock", "clock");
    start(client, "metronome/clock", "clock", 100, None, &[]);
    reaches(client, "metronome/clock", "clock", before + 1);
}

fn deactivate(client: &Client, actor: &str) {
    let _ = client.send("POST", &format!("/v1/actors/{actor}/-/deactivate"), &[], b"").expect(200);
}

#[test]
fn a_timer_fires_once_or_again_until_it_is_stopped_or_replaced() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = metronome(sample, manifest);
        start(&client, "metronome/a", "once", 1, None, &[1, 2, 255]);
        start(&client, "metronome/a", "each", 5, Some(1), b"again");
        reaches(&client, "metronome/a", "each", 5);
        reaches(&client, "metronome/a", "once", 1);
        assert!(stop(&client, "metronome/a", "each"));
        assert!(!stop(&client, "metronome/a", "each"));
        let each = beat(&client, "metronome/a", "each").unwrap();
        assert_eq!(each["payload"], json!(b"again"));

        start(&client, "metronome/a", "replaced", 3_600_000, None, b"old");
        start(&client, "metronome/a", "replaced", 1, None, b"new");
        reaches(&client, "metronome/a", "replaced", 1);
        assert!(!stop(&client, "metronome/a", "replaced"));
        assert!(!stop(&client, "metronome/a", "never"));
        start(&client, "metronome/a", "three", 1, Some(1), &[]);
        reaches(&client, "metronome/a", "three", 3);
        start(&client, "metronome/a", "again", 1, None, &[]);
        reaches(&client, "metronome/a", "again", 3);
        eventually("it is stopped", || stop(&client, "metronome/a", "again").then_some(()));

        a_while(&client);
        assert_eq!(beat(&client, "metronome/a", "each").unwrap(), each);
        assert_eq!(beats(&client, "metronome/a", "three"), 3);
        let once = beat(&client, "metronome/a", "once").unwrap();
        assert_eq!((&once["beats"], &once["payload"]), (&json!(1), &json!([1, 2, 255])));
        assert_eq!(beat(&client, "metronome/a", "replaced").unwrap()["payload"], json!(b"new"));
        let all = client.call("metronome/a", "beats", &json!([])).ok();
        let sum: u64 = all.as_array().unwrap().iter().map(|beat| beat["beats"].as_u64().unwrap()).sum();
        assert_eq!(client.call("metronome/a", "total", &json!([])).number(), sum, "each was committed");
        let turns = client.metric("quark_timer_turns_total");
        assert!(turns >= 12.0, "{turns}");
        assert_eq!(client.metric("quark_timers"), 0.0);
    }
}

#[test]
fn turns_of_one_timer_do_not_overlap_and_calls_pass_between_them() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = metronome(sample, manifest);
        start(&client, "metronome/a", "slow", 1, Some(1), &[]);
        start(&client, "metronome/a", "other", 1, Some(1), &[]);
        // Each of these looks is a call that is answered though the next turn is always due.
        reaches(&client, "metronome/a", "slow", 3);
        reaches(&client, "metronome/a", "other", 3);
        for timer in ["slow", "other"] {
            assert_eq!(beat(&client, "metronome/a", timer).unwrap()["overlapped"], false, "{timer}");
        }
    }
}

#[test]
fn timers_go_with_the_activation_and_wake_nobody() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = metronome(sample, manifest);
        start(&client, "metronome/a", "each", 1, Some(1), &[]);
        start(&client, "metronome/a", "later", 20, None, &[]);
        reaches(&client, "metronome/a", "each", 2);
        start(&client, "metronome/a", "later", 20, None, &[]);
        deactivate(&client, "metronome/a");
        a_while(&client);
        assert!(client.inspect("metronome/a")["activation"].is_null());
        assert_eq!(client.metric("quark_timers"), 0.0);
        assert_eq!(client.call("metronome/a", "beats", &json!([])).ok(), json!([]));
        a_while(&client);
        assert_eq!(client.call("metronome/a", "beats", &json!([])).ok(), json!([]));
    }
}

#[test]
fn a_timer_keeps_nobody_awake() {
    let (_silo, client) = metronome("metronome", "[actor]\nidle-timeout = \"1s\"\n");
    start(&client, "metronome/a", "each", 50, Some(50), &[]);
    eventually("it sleeps", || client.inspect("metronome/a")["activation"].is_null().then_some(()));
    assert_eq!(client.metric("quark_timers"), 0.0);
    assert!(client.call("metronome/a", "total", &json!([])).number() > 1, "it beat until then");
}

#[test]
fn an_error_or_a_trap_of_on_timer_is_a_failure() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = metronome(sample, manifest);
        start(&client, "metronome/neighbour", "each", 1, Some(20), &[]);
        reaches(&client, "metronome/neighbour", "each", 1);
        let generation = |actor: &str| client.inspect(actor)["activation"]["generation"].as_u64();
        let (before, neighbour) = (client.metric("quark_failures_total"), generation("metronome/neighbour"));
        start(&client, "metronome/a", "each", 1, Some(1), &[]);
        reaches(&client, "metronome/a", "each", 1);
        start(&client, "metronome/a", "fail", 1, None, &[]);
        let failure = eventually("it fails", || {
            Some(client.inspect("metronome/a")["last_failure"].take()).filter(|failure| !failure.is_null())
        });
        assert_eq!((&failure["reason"], &failure["count"]), (&json!("it lost the beat"), &json!(1)), "{sample}");
        assert_eq!(client.call("metronome/a", "beats", &json!([])).ok(), json!([]), "the next message loads afresh");
        let beaten = beats(&client, "metronome/neighbour", "each");
        assert!(beaten > 0, "an error leaves the others of its pack alone: {sample} {manifest}");
        assert_eq!(generation("metronome/neighbour"), neighbour);

        start(&client, "metronome/a", "trap", 1, None, &[]);
        let failure = eventually("it traps", || {
            Some(client.inspect("metronome/a")["last_failure"].take()).filter(|failure| failure["count"] == 2)
        });
        assert!(failure["reason"].as_str().unwrap().contains("it broke its string"), "{failure}");
        assert_eq!(client.metric("quark_failures_total"), before + 2.0);
        a_while(&client);
        assert_eq!(client.call("metronome/a", "beats", &json!([])).ok(), json!([]), "its timers went with it");
    }
}

#[test]
fn a_trap_of_a_method_ends_the_timers_too() {
    let silo = Silo::with(&["rogue", "metronome"]);
    let client = silo.client();
    let _ = client.call("rogue/r", "start-timer", &json!(["beat", 1, 1, 0])).expect(200);
    eventually("it beats", || (client.call("rogue/r", "ping", &json!([])).number() > 20).then_some(()));
    let _ = client.call("rogue/r", "trap", &json!(["now"])).failure(502, "failed");
    assert_eq!(client.call("rogue/r", "ping", &json!([])).number(), 1);
    a_while(&client);
    assert_eq!(client.call("rogue/r", "ping", &json!([])).number(), 2);
    assert_eq!(client.metric("quark_timers"), 0.0);
}

#[test]
fn what_is_over_a_bound_ends_the_turn_with_its_name() {
    for sample in ["metronome", "async/metronome"] {
        let (_silo, client) = metronome(sample, "");
        let refused = |method: &str, arguments: Value, about: &str| {
            let failure = client.call("metronome/a", method, &arguments).failure(502, "failed");
            let message = failure["message"].as_str().unwrap();
            assert!(message.contains(about), "{message}");
        };
        refused("start-many", json!([257]), "at most 256 timers");
        refused("start", json!(["x".repeat(257), 1, null, []]), "name has at most 256 bytes, and this one has 257");
        refused("start", json!(["x", 1, null, vec![0; 4097]]), "payload has at most 4096 bytes, and this one has 4097");
        refused("start", json!(["x", 1, 0, []]), "every 1ms at most");
        let _ = client.call("metronome/a", "start-many", &json!([256])).expect(200);
        let _ = client.call("metronome/a", "start-many", &json!([256])).expect(200);
        assert_eq!(client.metric("quark_timers"), 256.0);
        assert_eq!(client.metric("quark_timer_turns_total"), 0.0);
    }
}

#[test]
fn without_a_timer_target_nothing_starts() {
    let wit = "package test:made; interface things { resource thing { constructor(key: string); go: func() -> u32; } } \
               world made { import quark:actor/timers@0.1.0; export things; }";
    let module = r#"(module
        (import "[export]test:made/things" "[resource-new]thing" (func $new (param i32) (result i32)))
        (import "quark:actor/timers@0.1.0" "start" (func $start (param i32 i32 i64 i32 i64 i32 i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "test:made/things#[constructor]thing") (param i32 i32) (result i32) (call $new (i32.const 1)))
        (func (export "test:made/things#[method]thing.go") (param i32) (result i32)
            (call $start (i32.const 0) (i32.const 1) (i64.const 1)
                (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0))
            i32.const 7))"#;
    let silo = Silo::start(&[]);
    let client = silo.client();
    let _ = client.deploy_bytes(&made_with(wit, module), "").expect(200);
    let failure = client.call("thing/a", "go", &json!([])).failure(502, "failed");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("export quark:actor/timer-target@0.1.0;"), "{message}");
}

#[test]
fn a_full_mailbox_loses_no_timer() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("rogue", "[actor.mailbox]\ncapacity = 1\n");
    let _ = client.call("rogue/busy", "start-timer", &json!(["beat", 300, null, 0])).expect(200);
    thread::scope(|scope| {
        scope.spawn(|| client.call("rogue/busy", "sleep", &json!([1500])).expect(200));
        eventually("it is busy", || (client.inspect("rogue/busy")["activation"]["running"] == true).then_some(()));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| client.call("rogue/busy", "ping", &json!([])))).collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap().status);
        assert!(answers.filter(|status| *status == 429).count() > 0, "the mailbox was never full");
    });
    eventually("it fires", || (client.metric("quark_timer_turns_total") == 1.0).then_some(()));
}

#[test]
fn a_neighbour_answers_while_timers_spin() {
    let silo = Silo::start(&["--workers", "2"]);
    let client = silo.client();
    client.deploy("rogue", "[actor.limits]\nturn = \"1s\"\n");
    client.deploy("counter", "");
    assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), 1);
    for n in 0..4 {
        let _ = client.call(&format!("rogue/{n}"), "start-timer", &json!(["spin", 1, 1, 0])).expect(200);
    }
    eventually("all spin", || (client.metric("quark_timer_turns_total") == 4.0).then_some(()));
    let answered = AtomicUsize::new(0);
    while client.metric("quark_failures_total") == 0.0 {
        let before = answered.fetch_add(1, Ordering::Relaxed) as u64;
        assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), before + 2);
    }
    assert!(answered.load(Ordering::Relaxed) > 3, "{answered:?} calls were answered while four timers spun");
    for n in 0..4 {
        let rogue = format!("rogue/{n}");
        let failure = eventually("it is ended", || {
            Some(client.inspect(&rogue)["last_failure"].take()).filter(|failure| !failure.is_null())
        });
        assert!(failure["reason"].as_str().unwrap().contains("limits.turn"), "{failure}");
        let _ = client.call(&rogue, "ping", &json!([])).number();
    }
}
