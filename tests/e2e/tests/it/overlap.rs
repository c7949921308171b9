//! Turns of one actor that overlap: who may, whose a host call is, and that they commit together.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Answer, Client, Silo, component, eventually, kills, stamped};
use serde_json::{Value, json};

use crate::durability::check_money;

/// Turns that wait for others of their own instance let it run round; that is no hurry here.
const PATIENT: &str = "[actor.limits]\nturn = \"60s\"\n";
/// More of the same actor's turns than run at once.
const MORE_THAN_OVERLAP: u64 = 80;

fn full() -> String {
    format!("[actor]\nreentrancy = \"full\"\n{PATIENT}")
}

fn crowd(manifest: &str) -> Silo {
    let silo = Silo::start(&["--workers", "2"]);
    silo.client().deploy("async/crowd", manifest);
    silo
}

fn ask(client: &Client, actor: &str, method: &str) -> Answer {
    client.call(actor, method, &json!([]))
}

fn count(client: &Client, actor: &str) -> u64 {
    ask(client, actor, "count").number()
}

/// The turns that have come to wait are told in the log, whoever's answers are held.
fn arrived(silo: &Silo, actor: &str, turns: u64) {
    let (whose, what) = (format!("actor={actor} "), format!("{turns} arrived"));
    let is_it = |line: &str| line.contains(&whose) && line.contains(&what);
    eventually("they have arrived", || silo.log().lines().any(is_it).then_some(()));
}

/// Time enough for an answer that should not leave.
fn others_are_answered(client: &Client) {
    (0..50).for_each(|_| drop(client.call("crowd/other", "add", &json!([1])).expect(200)));
}

#[test]
fn full_overlap_is_for_the_concurrent_lane() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    for (sample, lane) in [("counter", "direct"), ("bank", "fiber")] {
        let answer = client.deploy_bytes(&component(sample), "[actor]\nreentrancy = \"full\"\n");
        let error = answer.expect(400).json()["error"].take();
        let message = error["message"].as_str().unwrap();
        assert!(["full", lane, "async func"].iter().all(|part| message.contains(part)), "{error}");
        assert!(error["next"].is_string(), "{error}");
        for manifest in ["[actor]\nreentrancy = \"none\"\n", "[actor]\nreentrancy = \"call-chain\"\n"] {
            let _ = client.deploy_bytes(&component(sample), manifest).expect(200);
        }
    }
    client.deploy("async/relay", "[actor]\nreentrancy = \"full\"\n");
}

#[test]
fn an_actor_that_waits_is_asked_by_whom_it_waits_for() {
    let silo = crowd(&full());
    let client = silo.client();
    client.deploy("async/relay", &full());
    client.deploy("async/bank", &full());
    // By a second message from outside.
    thread::scope(|scope| {
        let waits = scope.spawn(|| client.call("crowd/a", "wait-for", &json!(["b", 7])));
        arrived(&silo, "crowd/a", 1);
        assert_eq!(client.call("crowd/a", "add", &json!([3])).number(), 3);
        assert!(!waits.is_finished(), "3 is not 7");
        assert_eq!(client.call("crowd/a", "add", &json!([4])).number(), 7);
        assert_eq!(waits.join().unwrap().number(), 7);
    });
    // By the call itself, however it comes back.
    for (keys, calls) in [(json!(["a"]), 1), (json!(["b", "a"]), 2), (json!(["b", "a", "b", "a", "a"]), 5)] {
        assert_eq!(client.call("relay/a", "chain", &json!([keys])).number(), calls);
    }
    assert_eq!(client.call("account/a", "deposit", &json!([5])).number(), 5);
    assert_eq!(client.call("account/b", "deposit", &json!([20])).number(), 20);
    assert_eq!(client.call("account/a", "audit", &json!([["b", "a", "b"]])).number(), 50);
    assert_eq!(client.call("account/a", "balance-of", &json!(["a"])).number(), 5);
}

#[test]
fn with_none_a_call_that_comes_back_is_a_deadlock() {
    let silo = Silo::start(&[]);
    silo.client().deploy("async/relay", "[actor]\nreentrancy = \"none\"\n");
    let error = silo.client().call("relay/a", "chain", &json!([["b", "a"]])).actor_error().to_string();
    assert!(error.contains("relay/a.chain -> relay/b.chain -> relay/a.chain"), "{error}");
}

/// So many turns of one actor that wait for one another in its own memory.
fn meet(client: &Client, turns: u64) -> Vec<Answer> {
    thread::scope(|scope| {
        let meet = || client.call("crowd/a", "meet", &json!([turns.min(50)]));
        let threads: Vec<_> = (0..turns).map(|_| scope.spawn(meet)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn turns_meet_where_they_may_overlap_and_nowhere_else() {
    let reads = format!("[actor.methods.meet]\nread-only = true\n{PATIENT}");
    for (manifest, turns) in [(full(), 3), (reads, 3), (full(), MORE_THAN_OVERLAP)] {
        let silo = crowd(&manifest);
        for answer in meet(&silo.client(), turns) {
            assert!(answer.number() >= turns.min(50), "{manifest}");
        }
    }
    // One at a time, each waits for the other until its time is up.
    let silo = crowd("[actor.limits]\nturn = \"300ms\"\n");
    for answer in meet(&silo.client(), 2) {
        let _ = answer.failure(502, "failed");
    }
}

#[test]
fn turns_that_read_overlap_one_another_and_none_that_writes() {
    let reads = ["count", "hold", "let-go", "hold-on"].map(|it| format!("[actor.methods.{it}]\nread-only = true\n"));
    let silo = crowd(&format!("{}{PATIENT}", reads.concat()));
    let client = silo.client();
    let let_go = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = scope.spawn(|| client.call("crowd/a", "hold-on", &json!(["b"])));
        arrived(&silo, "crowd/b", 1);
        assert_eq!(count(&client, "crowd/a"), 0, "another that reads is answered meanwhile");
        let writes = scope.spawn(|| {
            assert_eq!(client.call("crowd/a", "add", &json!([1])).number(), 1);
            assert!(let_go.load(Ordering::Relaxed), "it wrote while another read");
        });
        eventually("it waits", || (client.inspect("crowd/a")["activation"]["waiting"] == 1).then_some(()));
        others_are_answered(&client);
        assert!(!reads.is_finished() && !writes.is_finished());
        let_go.store(true, Ordering::Relaxed);
        let _ = ask(&client, "crowd/b", "let-go").expect(200);
        assert_eq!(reads.join().unwrap().number(), 0);
        writes.join().unwrap();
    });
    assert_eq!(count(&client, "crowd/a"), 1);
}

#[test]
fn a_write_of_a_turn_that_only_reads_is_refused_and_others_write_meanwhile() {
    let manifest =
        format!("[actor]\nreentrancy = \"full\"\n[actor.methods.meet-then-add]\nread-only = true\n{PATIENT}");
    let silo = crowd(&manifest);
    let client = silo.client();
    thread::scope(|scope| {
        let reads = scope.spawn(|| client.call("crowd/a", "meet-then-add", &json!([2, 5])));
        arrived(&silo, "crowd/a", 1);
        assert_eq!(client.call("crowd/a", "add", &json!([3])).number(), 3, "this one may write");
        assert_eq!(client.call("crowd/a", "meet", &json!([2])).number(), 2);
        let error = reads.join().unwrap().actor_error().to_string();
        assert!(error.contains("read-only"), "{error}");
    });
    assert_eq!(count(&client, "crowd/a"), 3, "nothing of it is seen");
    assert_eq!(client.call("crowd/a", "add", &json!([1])).number(), 4);
    assert!(client.inspect("crowd/a")["last_failure"].is_null(), "an error is no failure");
}

#[test]
fn host_calls_are_those_of_their_own_turn() {
    let silo = crowd(&full());
    let client = silo.client();
    let timeouts = ["60000", "80000"];
    let visit = |id: &str, visitor: &str, timeout: &str, arguments: Value| {
        let mut headers = vec![("x-request-id", id), ("quark-timeout-ms", timeout)];
        if !visitor.is_empty() {
            headers.push(("quark-header-visitor", visitor));
        }
        client.call_with("crowd/hub", "visit", &arguments, &headers).ok()
    };
    thread::scope(|scope| {
        // All five meet, and each asks the other again and again until they have.
        let plain = scope.spawn(|| visit("r-1", "", timeouts[0], json!([5, "other", "", 0])));
        let given = scope.spawn(|| visit("r-2", "given", timeouts[1], json!([5, "other", "", 0])));
        let set = scope.spawn(|| visit("r-3", "", timeouts[1], json!([5, "other", "set", 0])));
        let hasty = scope.spawn(|| visit("r-4", "replaced", timeouts[0], json!([5, "other", "hasty", 10_000])));
        let sent = scope.spawn(|| {
            let arguments = json!(["hub", 5, "other", "sent"]);
            client.call_with("crowd/sender", "send", &arguments, &[("x-request-id", "r-5")]).ok()
        });
        let views = [plain, given, set, hasty, sent].map(|visit| visit.join().unwrap());
        for (at, view) in views.iter().enumerate() {
            assert_eq!(view["request-id"], format!("r-{}", at + 1), "{view}");
            let is_sent = at == 4;
            assert_eq!(view["caller"], if is_sent { json!("sample:crowd/crowds#crowd/sender") } else { Value::Null });
        }
        let visitors: Vec<&Value> = views.iter().map(|view| &view["visitor"]).collect();
        assert_eq!(visitors, [&Value::Null, &json!("given"), &Value::Null, &json!("replaced"), &Value::Null]);
        let deadline = |at: usize| views[at]["deadline"].as_u64().unwrap();
        assert!(deadline(1).abs_diff(deadline(2)) < 15_000 && deadline(1) > deadline(0), "{views:?}");
    });
    // Nothing of it is left to those that come later.
    let view = ask(&client, "crowd/hub", "view").ok();
    assert_eq!((&view["visitor"], &view["caller"]), (&Value::Null, &Value::Null), "{view}");
}

#[test]
fn an_answer_leaves_when_no_other_turn_is_between_its_commit_points() {
    let silo = crowd(&full());
    let client = silo.client();
    assert_eq!(client.call("crowd/a", "add", &json!([100])).number(), 100);
    let let_go = AtomicBool::new(false);
    let held = |method: &'static str, arguments: Value| {
        let (client, let_go) = (&client, &let_go);
        move || {
            let answer = client.call("crowd/a", method, &arguments).number();
            assert!(
                let_go.load(Ordering::Relaxed),
                "the answer of {method} left before what it may rest on was durable"
            );
            answer
        }
    };
    thread::scope(|scope| {
        let holds = scope.spawn(held("hold", json!([1])));
        arrived(&silo, "crowd/a", 1);
        // It has run, but it may have read what the other wrote.
        let adds = scope.spawn(held("meet-then-add", json!([1, 10])));
        arrived(&silo, "crowd/a", 2);
        let reads = scope.spawn(held("meet", json!([1])));
        arrived(&silo, "crowd/a", 3);
        others_are_answered(&client);
        assert!(!holds.is_finished() && !adds.is_finished() && !reads.is_finished());
        let_go.store(true, Ordering::Relaxed);
        let _ = ask(&client, "crowd/a", "let-go").expect(200);
        assert_eq!((holds.join().unwrap(), adds.join().unwrap(), reads.join().unwrap()), (101, 111, 3));
    });
    assert_eq!(count(&client, "crowd/a"), 111);
}

#[test]
fn a_trap_undoes_what_overlapping_turns_wrote_and_fails_them_all() {
    let mut silo = crowd(&full());
    let client = silo.client();
    assert_eq!(client.call("crowd/a", "add", &json!([5])).number(), 5);
    thread::scope(|scope| {
        let call = |method: &'static str, arguments: Value| {
            let client = &client;
            move || client.call("crowd/a", method, &arguments)
        };
        let holds = scope.spawn(call("hold", json!([1])));
        arrived(&silo, "crowd/a", 1);
        let adds = scope.spawn(call("meet-then-add", json!([1, 10])));
        arrived(&silo, "crowd/a", 2);
        let waits = scope.spawn(call("meet", json!([100])));
        arrived(&silo, "crowd/a", 3);
        let trap = client.call("crowd/a", "trap", &json!(["boo"])).failure(502, "failed");
        assert!(trap["message"].as_str().unwrap().contains("boo"), "{trap}");
        for turn in [holds, adds, waits] {
            let _ = turn.join().unwrap().failure(502, "failed");
        }
    });
    assert_eq!(client.inspect("crowd/a")["last_failure"]["count"], 1, "one trap is one failure");
    assert_eq!((count(&client, "crowd/a"), ask(&client, "crowd/a", "arrived").number()), (5, 0));
    assert_eq!(client.call("crowd/a", "add", &json!([1])).number(), 6);
    silo.crash();
    assert_eq!(count(&silo.client(), "crowd/a"), 6);
}

#[test]
fn traps_amid_overlapping_turns_fail_those_that_run_and_nobody_else() {
    // So many traps are not to make it wait or cool down.
    let often = "[actor.supervision]\nrestarts = { within = \"1ms\" }\nbackoff = { max = \"1ms\" }\n";
    let mut silo = crowd(&format!("{}{often}", full()));
    let client = silo.client();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        let add = || {
            for _ in 0..150 {
                let answer = client.call("crowd/a", "add", &json!([1]));
                if answer.status == 200 {
                    done.fetch_add(1, Ordering::Relaxed);
                } else {
                    let failure = answer.failure(502, "failed").to_string();
                    assert!(!failure.contains("loaded") && !failure.contains("wake"), "{failure}");
                }
            }
        };
        let adds: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
        let mut traps = 0;
        while adds.iter().any(|adds| !adds.is_finished()) {
            let _ = client.call("crowd/a", "trap", &json!(["boo"])).failure(502, "failed");
            traps += 1;
        }
        let failures = client.inspect("crowd/a")["last_failure"]["count"].as_u64().unwrap();
        assert!(failures <= traps, "{failures} failures of {traps} turns that trapped");
    });
    assert_eq!(count(&client, "crowd/a"), done.load(Ordering::Relaxed));
    silo.crash();
    assert_eq!(count(&silo.client(), "crowd/a"), done.load(Ordering::Relaxed));
}

#[test]
fn what_a_turn_committed_before_another_trapped_stands() {
    let silo = crowd(&full());
    let client = silo.client();
    thread::scope(|scope| {
        let holds = scope.spawn(|| client.call("crowd/b", "hold", &json!([1])));
        arrived(&silo, "crowd/b", 1);
        // Its first write is committed before its call leaves; the answer is held by the other.
        let adds = scope.spawn(|| client.call("crowd/a", "add-around", &json!([2, "b"])));
        eventually("it has written", || (count(&client, "crowd/a") == 2).then_some(()));
        let _ = client.call("crowd/a", "trap", &json!(["boo"])).failure(502, "failed");
        let _ = adds.join().unwrap().failure(502, "failed");
        assert_eq!(count(&client, "crowd/a"), 2);
        let _ = ask(&client, "crowd/b", "let-go").expect(200);
        assert_eq!(holds.join().unwrap().number(), 1, "who was called is none the worse");
    });
}

#[test]
fn turns_that_overlap_lose_no_write_of_one_another() {
    let silo = crowd(&full());
    let client = silo.client();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..50).for_each(|_| drop(client.call("crowd/a", "add-around", &json!([1, "b"])).expect(200)));
            });
        }
    });
    assert_eq!(count(&client, "crowd/a"), 800);
}

#[test]
fn kill_9_amid_overlapping_turns_loses_nothing_acknowledged() {
    const WRITERS: u64 = 6;
    let mut silo = crowd(&full());
    let mut before = 0;
    for round in 1..=3 {
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..WRITERS {
                let (client, done) = (silo.client(), &done);
                scope.spawn(move || {
                    while let Some(answer) = client.try_call("crowd/a", "add-around", &json!([1, "b"])) {
                        let _ = answer.expect(200);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("some have written", || (done.load(Ordering::Relaxed) >= 60).then_some(()));
            silo.kill();
        });
        silo.restart(&[]);
        let (count, done) = (count(&silo.client(), "crowd/a") - before, done.load(Ordering::Relaxed));
        assert!(count >= done * 2, "round {round}: {count} of {done} turns that were acknowledged, each of two");
        assert!(count <= (done + WRITERS) * 2, "round {round}: {count} of {done} turns: too many");
        before += count;
    }
    check_money("async/bank", &full(), kills() / 4);
}

#[test]
fn tells_that_overlap_are_handled_once() {
    const NOTES: u64 = 150;
    let mut silo = crowd(&full());
    let client = silo.client();
    let all = |client: &Client, expected: u64| {
        eventually("all tells are handled", || {
            let count = count(client, "crowd/a");
            assert!(count <= expected, "a tell was handled twice: {count}");
            (count == expected).then_some(())
        });
    };
    thread::scope(|scope| {
        // From an actor, from outside, and calls and traps between them; not as often as a tell is tried.
        scope.spawn(|| client.call("crowd/teller", "tell-notes", &json!(["a", NOTES, "b"])).expect(200));
        scope.spawn(|| (0..NOTES).for_each(|_| drop(client.call("crowd/a", "note", &json!(["b"])).expect(202))));
        for n in 1..=3 {
            eventually("some are handled", || (count(&client, "crowd/a") >= n * NOTES / 3).then_some(()));
            let _ = client.call("crowd/a", "trap", &json!(["boo"])).failure(502, "failed");
        }
    });
    all(&client, NOTES * 2);
    for round in 1..=2 {
        let client = silo.client();
        (0..NOTES).for_each(|_| drop(client.call("crowd/a", "note", &json!(["b"])).expect(202)));
        silo.crash();
        all(&silo.client(), NOTES * (2 + round));
    }
    assert_eq!(silo.client().get("/v1/dead-letters").expect(200).json()["dead_letters"], json!([]));
}

#[test]
fn a_turn_whose_caller_gave_up_holds_up_nobody() {
    let silo = crowd(&full());
    let client = silo.client();
    client.deploy("rogue", "");
    let soon = [("quark-timeout-ms", "700")];
    thread::scope(|scope| {
        // One waits for an actor that sleeps on, the other for nothing at all.
        let sleeps = scope.spawn(|| client.call_with("crowd/a", "sleep-on", &json!(["r", 600_000]), &soon));
        let parks = scope.spawn(|| client.call_with("crowd/p", "park", &json!([]), &soon));
        arrived(&silo, "crowd/a", 1);
        arrived(&silo, "crowd/p", 1);
        let mut n = 0;
        while !sleeps.is_finished() || !parks.is_finished() {
            n += 1;
            assert_eq!(["crowd/a", "crowd/p"].map(|it| client.call(it, "add", &json!([1])).number()), [n; 2]);
        }
        assert!(n > 3, "only {n} calls were answered meanwhile");
        assert_eq!(parks.join().unwrap().failure(504, "deadline-exceeded")["may_be_done"], true);
        // Its wait ends when its caller's does, and it may be told of that in time.
        let slept = sleeps.join().unwrap();
        if slept.status != 200 {
            let _ = slept.failure(504, "deadline-exceeded");
        }
    });
    // The wait itself got an error, and its turn ended with that.
    eventually("its turn ends", || {
        let outcome = ask(&client, "crowd/a", "outcome").ok();
        outcome.as_str().unwrap().to_lowercase().contains("deadline").then_some(())
    });
    for actor in ["crowd/a", "crowd/p"] {
        let before = count(&client, actor);
        assert_eq!(client.call(actor, "add", &json!([1])).number(), before + 1);
        assert!(client.inspect(actor)["last_failure"].is_null(), "to give up is no failure");
    }
}

#[test]
fn a_new_version_and_an_operator_wait_for_turns_that_overlap() {
    let silo = crowd(&full());
    let client = silo.client();
    client.deploy("rogue", "");
    let deactivate = || client.send("POST", "/v1/actors/crowd/a/-/deactivate", &[], b"").expect(200);
    let deploy = || client.deploy_bytes(&stamped(&component("async/crowd"), "2"), &full()).expect(200);
    for (round, leave) in [(1, &deactivate as &(dyn Fn() -> Answer + Sync)), (2, &deploy)] {
        thread::scope(|scope| {
            let sleep = |key: &'static str| {
                let client = &client;
                move || client.call("crowd/a", "sleep-on", &json!([key, 1000]))
            };
            let sleeping = [scope.spawn(sleep("one")), scope.spawn(sleep("two"))];
            eventually("both wait", || (ask(&client, "crowd/a", "arrived").number() == 2).then_some(()));
            assert_eq!(client.call("crowd/a", "add", &json!([1])).number(), round * 2 - 1);
            let leaves = scope.spawn(leave);
            assert_eq!(client.call("crowd/a", "add", &json!([1])).number(), round * 2, "it comes before or after");
            for turn in sleeping {
                let _ = turn.join().unwrap().expect(200);
            }
            let _ = leaves.join().unwrap();
        });
        eventually("it is a new life", || (ask(&client, "crowd/a", "arrived").number() == 0).then_some(()));
        assert_eq!((count(&client, "crowd/a"), ask(&client, "crowd/a", "outcome").ok()), (round * 2, json!("it woke")));
    }
    assert_eq!(client.inspect("crowd/a")["version"], 2);
    assert!(client.inspect("crowd/a")["last_failure"].is_null());
}

/// Chains through one actor and back to it, all at once.
fn chains(client: &Client, threads: usize, each: usize) {
    thread::scope(|scope| {
        for n in 0..threads {
            scope.spawn(move || {
                for _ in 0..each {
                    let through = format!("b{n}");
                    let answer = client.call("relay/a", "chain", &json!([[through, "a"]]));
                    assert_eq!(answer.number(), 2);
                }
            });
        }
    });
}

#[test]
fn more_calls_come_back_than_turns_may_overlap() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("async/relay", "[actor]\nreentrancy = \"full\"\n");
    chains(&client, usize::try_from(MORE_THAN_OVERLAP * 2).unwrap(), 5);
}

#[test]
fn calls_come_back_while_new_versions_are_deployed() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let manifest = "[actor]\nreentrancy = \"full\"\n";
    client.deploy("async/relay", manifest);
    thread::scope(|scope| {
        let calls = scope.spawn(|| chains(&client, 4, 1500));
        for version in 2..=4 {
            let next = stamped(&component("async/relay"), &version.to_string());
            let _ = client.deploy_bytes(&next, manifest).expect(200);
        }
        assert!(!calls.is_finished(), "they were over before");
    });
}
