//! Actors that misbehave hurt nobody else.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use quark_e2e::{Client, Silo, component, eventually};
use serde_json::{Value, json};

/// A short leash, so that the tests are.
const LEASH: &str = "[actor.limits]\nturn = \"300ms\"\n";

/// However busy the machine is otherwise.
const PATIENT: [(&str, &str); 1] = [("quark-timeout-ms", "80000")];

/// What threads of long turns are.
const NICE: i32 = 10;

fn hostile() -> Silo {
    let silo = Silo::start(&[]);
    silo.client().deploy("rogue", LEASH);
    silo.client().deploy("counter", "");
    silo
}

/// Others answer, and so does the rogue itself.
#[track_caller]
fn check_all_well(client: &Client, rogue: &str) {
    let _ = client.get("/readyz").expect(200);
    let before = client.call("counter/neighbour", "value", &json!([])).number();
    assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), before + 1);
    let _ = client.call("rogue/other", "ping", &json!([])).number();
    let _ = client.call(rogue, "ping", &json!([])).number();
}

#[track_caller]
fn check_fails(method: &str, arguments: &Value, about: &str) {
    let silo = hostile();
    let client = silo.client();
    let failure = client.call("rogue/r", method, arguments).failure(502, "failed");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains(about), "{message}");
    check_all_well(&client, "rogue/r");
    if method != "huge-result" {
        let last = client.inspect("rogue/r")["last_failure"].take();
        assert_eq!(last["count"], 1, "{last}");
        assert!(last["reason"].as_str().unwrap().contains(about), "{last}");
    }
}

#[test]
fn a_spinning_turn_is_ended() {
    check_fails("spin", &json!([]), "300");
}

#[test]
fn a_trap_is_told_with_its_message() {
    check_fails("trap", &json!(["boo ä"]), "boo ä");
}

#[test]
fn an_abort_is_told() {
    check_fails("abort", &json!([]), "");
}

#[test]
fn endless_recursion_is_ended() {
    check_fails("recurse", &json!([]), "deeper");
}

#[test]
fn a_limit_below_what_the_component_starts_with_is_refused_at_the_deploy() {
    let silo = Silo::start(&[]);
    let rogue = component("rogue");
    let manifest = "[actor.limits]\nmemory = \"65KiB\"\n";
    let failure = silo.client().deploy_bytes(&rogue, manifest).failure(400, "bad-component");
    let text = failure.to_string();
    assert!(text.contains("`rogue` 66560 bytes of memory (limits.memory), and it starts with"), "{text}");
}

#[test]
fn memory_beyond_the_limit_is_not_given() {
    check_fails("hoard", &json!([1000]), "");
}

#[test]
fn handles_beyond_the_limit_are_not_given() {
    check_fails("many-handles", &json!([20_000]), "");
}

#[test]
fn a_result_beyond_the_limit_is_not_sent() {
    check_fails("huge-result", &json!([17 << 20]), "over the limit of 16777216 bytes");
}

#[test]
fn state_beyond_the_limit_is_not_stored() {
    let silo = hostile();
    let client = silo.client();
    let _ = client.call("rogue/r", "store", &json!(["small"])).expect(200);
    let answer = client.call("rogue/r", "huge-state", &json!([2 << 20]));
    assert_ne!(answer.status, 200, "{}", answer.text());
    assert_eq!(client.call("rogue/r", "stored", &json!([])).ok(), "small");
    let _ = client.call("rogue/r", "huge-state", &json!([500_000])).expect(200);
    check_all_well(&client, "rogue/r");
}

#[test]
fn what_is_within_the_limits_is_given() {
    let silo = hostile();
    let client = silo.client();
    assert_eq!(client.call("rogue/r", "hoard", &json!([10])).number(), 10);
    assert_eq!(client.call("rogue/r", "many-handles", &json!([100])).number(), 100);
    assert_eq!(client.call("rogue/r", "huge-result", &json!([1 << 20])).ok().as_str().unwrap().len(), 1 << 20);
    assert_eq!(client.call("rogue/r", "ping", &json!([])).number(), 1);
}

#[test]
fn floods_of_calls_and_tells_all_arrive() {
    let silo = hostile();
    let client = silo.client();
    assert_eq!(client.call("rogue/r", "flood-calls", &json!([50, "v"])).number(), 50);
    let _ = client.call("rogue/r", "flood-tells", &json!([300, "v"])).expect(200);
    let hits = || client.call("victim/v", "hits", &json!([])).number();
    eventually("all tells were handled", || {
        let hits = hits();
        assert!(hits <= 350, "a tell was handled twice: {hits}");
        (hits == 350).then_some(())
    });
    check_all_well(&client, "rogue/r");
}

#[test]
fn floods_of_lines_are_cut_and_the_silo_lives() {
    let silo = hostile();
    let client = silo.client();
    for method in ["flood-logs", "flood-stdout"] {
        for _ in 0..5 {
            // The time of a turn may be up before all lines are out.
            let answer = client.call("rogue/r", method, &json!([20_000]));
            assert!(answer.status == 200 || answer.status == 502, "{}", answer.text());
        }
        check_all_well(&client, "rogue/r");
    }
    assert!(client.metric("quark_log_lines_dropped_total") > 0.0);
    assert!(silo.log().contains("a flood"), "nothing of it was logged");
}

#[test]
fn many_short_turns_in_a_row_are_answered() {
    let silo = Silo::start(&["--workers", "2"]);
    let client = silo.client();
    client.deploy("counter", "");
    for n in 1..=1000 {
        assert_eq!(client.call("counter/hot", "increment", &json!([1])).number(), n);
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..250).for_each(|_| drop(client.call("counter/hot", "increment", &json!([1])).expect(200)))
            });
        }
    });
    assert_eq!(client.call("counter/hot", "value", &json!([])).number(), 2000);
}

#[test]
fn a_neighbour_answers_while_more_actors_spin_than_there_are_workers() {
    let silo = Silo::start(&["--workers", "2"]);
    let client = silo.client();
    client.deploy("rogue", "[actor.limits]\nturn = \"1s\"\n");
    client.deploy("counter", "");
    assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), 1);
    let spinning = AtomicUsize::new(4);
    let answered = thread::scope(|scope| {
        for n in 0..4 {
            let (client, spinning) = (client.clone(), &spinning);
            scope.spawn(move || {
                let ended = client.call_with(&format!("rogue/{n}"), "spin", &json!([]), &PATIENT);
                // Before anything can go wrong here, which would leave the neighbour's caller without an end.
                spinning.fetch_sub(1, Ordering::Relaxed);
                let _ = ended.failure(502, "failed");
            });
        }
        for n in 0..4 {
            let running = || client.inspect(&format!("rogue/{n}"))["activation"]["turns"] == 0;
            let over = || client.inspect(&format!("rogue/{n}"))["last_failure"].is_object();
            eventually("all spin", || (running() || over()).then_some(()));
        }
        let mut answered = 0;
        while spinning.load(Ordering::Relaxed) == 4 {
            assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), answered + 2);
            answered += 1;
        }
        answered
    });
    assert!(answered > 3, "only {answered} calls were answered while four actors spun");
    // They did so where a worker that has something to do takes the processor from them.
    assert!(client.metric("quark_long_turns_total") >= 4.0);
    let threads = fs::read_dir(format!("/proc/{}/task", silo.pid())).unwrap();
    let nice = |thread: fs::DirEntry| {
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (name, numbers) = stat.split_once('(')?.1.rsplit_once(')')?;
        let nice: i32 = numbers.split_whitespace().nth(16)?.parse().ok()?;
        Some((name.to_owned(), nice))
    };
    let nice: Vec<_> = threads.filter_map(|thread| nice(thread.unwrap())).collect();
    let all = |name: &str| nice.iter().filter(|(of, _)| of == name).map(|(_, nice)| *nice).collect::<Vec<_>>();
    let (long, workers) = (all("quark-long"), all("quark-worker"));
    assert!(long == [NICE; 2] && workers.len() >= 2 && workers.iter().all(|nice| *nice == 0), "{nice:?}");
}

#[test]
fn actors_that_spin_as_they_leave_do_so_beside_the_workers() {
    let silo = Silo::start(&["--workers", "2"]);
    let client = silo.client();
    client.deploy("rogue", "[actor.limits]\nturn = \"1s\"\n");
    client.deploy("counter", "");
    let leavers: Vec<String> = (0..4).map(|n| format!("rogue/spin-deactivate-{n}")).collect();
    for rogue in &leavers {
        assert_eq!(client.call(rogue, "ping", &json!([])).number(), 1);
    }
    let stays = |rogue: &String| !client.inspect(rogue)["activation"].is_null();
    let answered = thread::scope(|scope| {
        for rogue in &leavers {
            let client = client.clone();
            scope.spawn(move || client.send("POST", &format!("/v1/actors/{rogue}/-/deactivate"), &[], b"").expect(200));
        }
        let mut answered = 0;
        while leavers.iter().any(stays) {
            answered += 1;
            assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), answered);
        }
        answered
    });
    assert!(answered > 3, "only {answered} calls were answered while four actors left");
    assert!(client.metric("quark_long_turns_total") >= 4.0);
    // The hook was ended, and that is all: they wake again.
    for rogue in &leavers {
        let failure = client.inspect(rogue)["last_failure"].to_string();
        // On a busy machine its time is over before it had a second of a processor.
        assert!(failure.contains("limits.turn") || failure.contains("its `deactivate` hook did not end"), "{failure}");
        assert_eq!(client.call(rogue, "ping", &json!([])).number(), 1);
    }
}

#[test]
fn a_turn_that_lasts_calls_others_and_is_called_back_as_any_other() {
    for sample in ["ping-pong", "async/ping-pong"] {
        let silo = Silo::start(&["--workers", "1"]);
        let client = silo.client();
        client.deploy(sample, "");
        // It computes for long between its calls, and so do those that it calls, which call it.
        for _ in 0..2 {
            let arguments = json!([["b", "a"], 200, 30_000]);
            assert_eq!(client.call_with("ping-pong/a", "practise", &arguments, &PATIENT).number(), 200);
        }
        assert!(client.metric("quark_long_turns_total") >= 2.0, "{sample}");
    }
}
