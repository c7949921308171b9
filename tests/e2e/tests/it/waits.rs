//! Who waits for whom: calls that would wait for one another, callers that gave up, deadlines.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Answer, Client, Silo, eventually, quark};
use serde_json::{Value, json};

use crate::trees::{all_start, ask, comes_to_have, crash};

/// Each relay calls the next one as soon as the same gate has answered it, which takes a while.
fn ring(client: &Client, keys: &[&str], gate: &str) -> Vec<Answer> {
    let call = |at: usize| {
        let next = keys[(at + 1) % keys.len()];
        client.call(&format!("relay/{}", keys[at]), "chain-after", &json!([gate, [next]]))
    };
    thread::scope(|scope| {
        let calls: Vec<_> = (0..keys.len()).map(|at| scope.spawn(move || call(at))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// The text of the one call that was refused; nothing when they came too late to meet.
fn deadlock_of(answers: &[Answer]) -> Option<String> {
    let (ok, failed): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    ok.iter().for_each(|answer| assert_eq!(answer.number(), 1, "the others got what they asked for"));
    assert!(failed.len() <= 1, "{failed:?}");
    let error = failed.first()?.actor_error();
    // The relay was told `deadlock`; for whoever called the relay that is one further down.
    let text = error["downstream"].as_str().unwrap_or_else(|| panic!("{error}"));
    let paths = text.strip_prefix("deadlock, the call would wait for itself: ");
    let paths = paths.and_then(|paths| paths.strip_suffix("; nothing was done"));
    Some(paths.unwrap_or_else(|| panic!("{error}")).to_owned())
}

#[test]
fn chains_that_wait_for_one_another_are_told_all_paths_at_once() {
    check_told("relay", "");
}

#[test]
fn turns_of_async_func_that_wait_for_one_another_are_told_all_paths() {
    check_told("async/relay", "");
    check_told("async/relay", "[actor]\nreentrancy = \"none\"\n");
}

fn check_told(sample: &str, manifest: &str) {
    let silo = Silo::with(&["counter", "rogue"]);
    let client = silo.client();
    client.deploy(sample, manifest);
    for keys in [&["a", "b"][..], &["c", "d", "e"], &["f", "g", "h", "i", "j"]] {
        let mut rounds = 0;
        let text = eventually("they meet", || {
            rounds += 1;
            deadlock_of(&ring(&client, keys, &format!("slow-activate-{}-{rounds}", keys.len())))
        });
        let paths: Vec<&str> = text.split(", while ").collect();
        assert_eq!(paths.len(), keys.len(), "{text}");
        for (at, key) in keys.iter().enumerate() {
            let path = format!("relay/{key}.chain-after -> relay/{}.chain", keys[(at + 1) % keys.len()]);
            assert!(paths.contains(&&*path), "{path} in {text}");
        }
    }
    // Nobody is left waiting.
    for key in ["a", "b", "c", "d", "e"] {
        assert_eq!(client.call(&format!("relay/{key}"), "chain", &json!([[]])).number(), 0);
    }
    assert_eq!(client.metric("quark_deadlocks_total"), 3.0);
}

/// Two actors whose turns ask each other when `g` is let go; that of `a` is at something else beside that.
fn ask_each_other(beside: &str, both: bool, meanwhile: impl FnOnce(&Client)) -> [Answer; 2] {
    let reads = ["hold", "let-go"].map(|it| format!("[actor.methods.{it}]\nread-only = true\n"));
    let silo = Silo::with(&[]);
    let client = silo.client();
    client.deploy("async/crowd", &format!("[actor.limits]\nturn = \"60s\"\n{}", reads.concat()));
    thread::scope(|scope| {
        let after = |key, other, beside: &str| {
            client.call(&format!("crowd/{key}"), "after", &json!(["g", other, beside, both]))
        };
        let (a, b) = (scope.spawn(move || after("a", "b", beside)), scope.spawn(move || after("b", "a", "")));
        let holds = || silo.log().lines().any(|line| line.contains("actor=crowd/g ") && line.contains("2 arrived"));
        eventually("both wait at the gate", || holds().then_some(()));
        let _ = client.call("crowd/g", "let-go", &json!([])).expect(200);
        eventually("it was looked at", || (client.metric("quark_suspects_total") >= 2.0).then_some(()));
        meanwhile(&client);
        [a, b].map(|call| call.join().unwrap())
    })
}

#[test]
fn a_turn_that_waits_for_more_than_its_ring_is_never_called_a_deadlock() {
    let let_go = |client: &Client| {
        assert_eq!(client.metric("quark_deadlocks_total"), 0.0);
        let _ = client.call("crowd/c", "let-go", &json!([])).expect(200);
    };
    // It has another call under way, whose end lets it go on; or goes on of itself.
    for answer in ask_each_other("c", false, let_go) {
        assert_eq!(answer.number(), 0);
    }
    let [a, b] = ask_each_other("a", false, |_| ());
    assert_eq!((a.number(), b.number()), (700, 0));
}

#[test]
fn a_turn_that_waits_for_all_its_calls_is_told_of_the_ring_when_the_others_are_over() {
    let let_go = |client: &Client| {
        assert_eq!(client.metric("quark_deadlocks_total"), 0.0);
        let _ = client.call("crowd/c", "let-go", &json!([])).expect(200);
    };
    let answers = ask_each_other("c", true, let_go);
    let (ok, told): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((ok.len(), told.len()), (1, 1), "{answers:?}");
    let text = told[0].actor_error().to_string();
    let paths = ["crowd/a.after -> crowd/b.count", "crowd/b.after -> crowd/a.count", ", while "];
    assert!(paths.iter().all(|path| text.contains(path)), "{text}");
}

/// Calls chains of these relays in a random order, from several threads.
fn random_chains(client: &Client, order: impl Fn(&mut Vec<usize>) + Sync, check: impl Fn(&Answer) + Sync) {
    const CALLERS: u64 = 8;
    const CALLS: usize = 60;
    let seeds = AtomicU64::new(1);
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut random = seeds.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..CALLS {
                    let mut keys: Vec<usize> = (0..5).collect();
                    for at in (1..keys.len()).rev() {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        keys.swap(at, usize::try_from(random % (at as u64 + 1)).unwrap());
                    }
                    keys.truncate(4);
                    order(&mut keys);
                    let rest: Vec<String> = keys[1..].iter().map(ToString::to_string).collect();
                    check(&client.call(&format!("relay/{}", keys[0]), "chain", &json!([rest])));
                }
            });
        }
    });
}

#[test]
fn chains_in_one_order_are_never_called_a_deadlock() {
    let silo = Silo::with(&["counter", "rogue", "relay"]);
    let client = silo.client();
    random_chains(&client, |keys| keys.sort_unstable(), |answer| assert_eq!(answer.number(), 3));
    for never in ["quark_deadlocks_total", "quark_waits_skipped_total"] {
        assert_eq!(client.metric(never), 0.0, "{never}");
    }
}

#[test]
fn chains_in_any_order_are_answered_long_before_their_deadlines() {
    let silo = Silo::with(&["counter", "rogue", "relay"]);
    let client = silo.client();
    let check = |answer: &Answer| {
        if answer.status != 200 {
            let error = answer.actor_error().to_string();
            assert!(error.contains("deadlock") && error.contains(", while "), "{error}");
        }
    };
    random_chains(&client, |_| {}, check);
    (0..5).for_each(|key| assert_eq!(client.call(&format!("relay/{key}"), "chain", &json!([[]])).number(), 0));
}

fn gave_up(silo: &Silo, actor: &str) {
    let whose = format!("actor={actor} ");
    let is_it = |line: &str| line.contains(&whose) && line.contains("the caller gave up");
    eventually("it sees that its caller gave up", || silo.log().lines().any(is_it).then_some(()));
}

fn runs(client: &Client, actor: &str) {
    eventually("it runs", || (client.inspect(actor)["activation"]["running"] == true).then_some(()));
}

/// Sends a call and does not wait for its answer.
fn send(client: &Client, path: &str, arguments: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(&client.address).unwrap();
    let (body, host) = (arguments.to_string(), &client.address);
    let head = format!("POST /v1/actors/{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    stream
}

#[test]
fn turns_see_that_their_callers_are_gone() {
    check_callers_gone("relay", "");
}

#[test]
fn turns_that_overlap_see_that_their_callers_are_gone() {
    check_callers_gone("async/relay", "[actor]\nreentrancy = \"full\"\n");
}

fn check_callers_gone(sample: &str, manifest: &str) {
    let silo = Silo::with(&["counter", "rogue"]);
    let client = silo.client();
    client.deploy(sample, &format!("{manifest}[actor.limits]\nturn = \"60s\"\n"));
    // A client that closes its connection, and all that wait for it.
    for (keys, last) in [(json!([]), "a"), (json!(["b", "c"]), "c")] {
        let stream = send(&client, "relay/a/until-cancelled", &json!([keys, 30_000]));
        runs(&client, &format!("relay/{last}"));
        drop(stream);
        gave_up(&silo, &format!("relay/{last}"));
    }
    // A command that is interrupted.
    let mut command = quark(&silo.folder().join("config"));
    command.args(["call", "relay/d", "until-cancelled", "[\"e\"]", "30000"]);
    command.env("QUARK_URL", format!("http://{}", silo.address())).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    runs(&client, "relay/e");
    child.kill().unwrap();
    child.wait().unwrap();
    gave_up(&silo, "relay/e");
    // One whose deadline passed.
    let call = json!([["g"], 30_000]);
    let _ = client.call_with("relay/f", "until-cancelled", &call, &[("quark-timeout-ms", "200")]);
    gave_up(&silo, "relay/g");
    // And none that is still there.
    assert_eq!(client.call("relay/h", "until-cancelled", &json!([["i"], 100])).ok(), false);
    // Their turns came to their ends.
    for key in ["a", "c", "e", "g"] {
        assert!(client.inspect(&format!("relay/{key}"))["last_failure"].is_null());
    }
}

#[test]
fn deadlines_shrink_on_the_way() {
    let silo = Silo::with(&["counter", "rogue", "relay"]);
    let client = silo.client();
    let answer = client.call_with("relay/a", "time-left", &json!([["b", "c"]]), &[("quark-timeout-ms", "20000")]);
    let left: Vec<u64> = answer.ok().as_array().unwrap().iter().map(|left| left.as_u64().unwrap()).collect();
    assert_eq!(left.len(), 3);
    let long = client.call_with("relay/a", "time-left", &json!([[]]), &[("quark-timeout-ms", "86400000")]).ok();
    assert!(long[0].as_u64().is_some_and(|left| left > 80_000_000), "a day may be waited for: {long}");
    assert!(left[0] <= 20_000 && left.windows(2).all(|pair| pair[1] <= pair[0] / 2), "{left:?}");
}

#[test]
fn callers_in_a_hurry_do_no_harm() {
    let silo = Silo::with(&["rogue"]);
    let client = silo.client();
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 1);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _ = client.call_with("rogue/a", "sleep", &json!([3]), &[("quark-timeout-ms", "1")]);
                }
            });
        }
    });
    // The same activation answers on, which nobody counts as failed.
    assert_eq!(client.call("rogue/a", "ping", &json!([])).number(), 2);
    assert!(client.inspect("rogue/a")["last_failure"].is_null());
}

#[test]
fn a_turn_that_cannot_be_left_does_not_hold_its_caller_up() {
    let silo = Silo::start(&["--workers", "2"]);
    let client = silo.client();
    client.deploy("tenant", "[actor.limits]\nturn = \"8s\"\n");
    // After some short turns its turns run on their callers' stacks.
    (0..100).for_each(|_| drop(client.call("tenant/a", "ping", &json!([])).expect(200)));
    let late = client.call_with("tenant/a", "spin", &json!([]), &[("quark-timeout-ms", "100")]);
    // Otherwise it would be answered that the turn failed.
    let _ = late.failure(504, "deadline-exceeded");
    assert_eq!(client.call("tenant/b", "ping", &json!([])).number(), 1);
}

#[test]
fn a_child_that_asks_the_parent_that_is_just_spawning_it_is_told_of_the_ring() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("crew", "[actor.config]\nreports = \"yes\"\n");
    let _ = ask(&client, "crew/c", "hire", &json!(["ann", "permanent"])).ok();
    let causes = ask(&client, "worker/c.ann", "causes", &json!([])).ok();
    let told = causes[1].as_str().unwrap();
    assert!(told.contains("Deadlock") && told.contains("while crew/c.hire -> worker/c.ann.spawn"), "{causes}");
    comes_to_have(&client, "crew/c", &["c.ann"]);
    // Later it is answered.
    crash(&client, "worker/c.ann");
    all_start(&client, &["worker/c.ann"], &[2]);
    let causes = ask(&client, "worker/c.ann", "causes", &json!([])).ok();
    assert_eq!(causes, json!(["spawn", told, "restart", "Ok([\"c.ann\"])"]));
}
