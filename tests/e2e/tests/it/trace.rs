//! Records of turns: what is said of each, in every lane, and that nobody pays who did not ask.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;

use quark_e2e::{Client, Silo, eventually, quark};
use serde_json::{Value, json};

const TRACED: &str = "[actor]\ntrace = true\n";
const PACKED: &str = "[actor]\ntrace = true\nisolation = { packed = 4 }\n";
const FULL: &str = "[actor]\ntrace = true\nreentrancy = \"full\"\n";
/// All ways in which turns run.
const WAYS: [(&str, &str); 5] = [
    ("counter", TRACED),
    ("counter", PACKED),
    ("async/counter", TRACED),
    ("async/counter", PACKED),
    ("async/counter", FULL),
];

#[track_caller]
fn turns(client: &Client, of: &str) -> Vec<Value> {
    let path = if of.is_empty() { "/v1/trace".to_owned() } else { format!("/v1/trace/{of}") };
    client.get(&path).expect(200).json()["turns"].as_array().unwrap().clone()
}

/// The only record of that method.
#[track_caller]
fn turn(client: &Client, of: &str, method: &str) -> Value {
    let mut all = turns(client, of);
    all.retain(|turn| turn["method"] == method);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[track_caller]
fn number(turn: &Value, name: &str) -> u64 {
    turn[name].as_u64().unwrap_or_else(|| panic!("{name} of {turn}"))
}

fn increment(client: &Client, actor: &str) {
    let _ = client.call(actor, "increment", &json!([1])).number();
}

/// Runs while an actor is in a turn that lasts that long.
fn while_busy(client: &Client, actor: &str, ms: u64, then: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| drop(client.try_call(actor, "sleep", &json!([ms]))));
        eventually("it is busy", || (client.inspect(actor)["activation"]["running"] == true).then_some(()));
        then();
    });
}

#[test]
fn nothing_is_recorded_before_somebody_says_so() {
    let mut silo = Silo::with(&["counter", "rogue"]);
    let client = silo.client();
    increment(&client, "counter/a");
    let report = client.get("/v1/trace").expect(200).json();
    assert_eq!(report, json!({ "turns": [], "kinds": [], "dropped": 0 }));
    let hint = silo.cli(&["trace", "counter/a"]).exits(0);
    assert!(hint.stdout.contains("not recorded: quark trace counter --on"), "{hint:?}");
    let on = silo.cli(&["trace", "counter", "--on", "--json"]).exits(0).json();
    assert_eq!(on, json!({ "kind": "sample:counter/counters#counter", "traced": true }));
    increment(&client, "counter/a");
    let _ = client.call("rogue/a", "ping", &json!([])).number();
    assert_eq!(turns(&client, "").len(), 1, "of that kind alone");
    // Over a deploy what an operator said holds.
    client.deploy("counter", "[actor]\nidle-timeout = \"1h\"\n");
    increment(&client, "counter/a");
    assert_eq!(turns(&client, "counter").len(), 2);
    let _ = silo.cli(&["trace", "counter", "--off"]).exits(0);
    increment(&client, "counter/a");
    assert_eq!(turns(&client, "counter").len(), 2, "what is recorded stays");
    client.deploy("counter", TRACED);
    increment(&client, "counter/a");
    assert_eq!(turns(&client, "counter").len(), 2, "over a manifest too");
    let last = number(&turns(&client, "counter")[1], "sequence");
    silo.crash();
    let client = silo.client();
    assert_eq!(turns(&client, "").len(), 0, "they are in memory alone");
    increment(&client, "counter/a");
    let again = turns(&client, "counter");
    assert_eq!(again.len(), 1, "and the manifest says so again");
    assert!(number(&again[0], "sequence") > last, "for whoever follows them");
    let _ = silo.cli(&["trace", "nothing", "--on"]).exits(2);
    let _ = silo.cli(&["trace", "counter/a", "--on"]).exits(2);
    let _ = client.get("/v1/trace/nothing").failure(404, "no-such-kind");
}

#[test]
fn a_turn_says_what_it_took_in_every_lane() {
    for (sample, manifest) in WAYS {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, manifest);
        // So many that short ones run on their caller's stack.
        for _ in 0..80 {
            increment(&client, "counter/a");
        }
        assert_eq!(client.call("counter/a", "value", &json!([])).number(), 80);
        let all = turns(&client, "counter/a");
        assert_eq!(all.len(), 81, "{sample} {manifest}");
        let (first, durable, pure) = (&all[0], &all[79], &all[80]);
        assert!(number(first, "woke_ns") > 0, "{first}");
        for turn in [durable, pure] {
            assert_eq!((&turn["outcome"], &turn["occasion"]), (&json!("ok"), &json!("call")), "{sample} {turn}");
            assert_eq!((&turn["caller"], &turn["path"]), (&json!("http"), &json!([])), "{sample} {turn}");
            assert_eq!((number(turn, "woke_ns"), number(turn, "calls")), (0, 0), "{sample} {turn}");
            assert!(number(turn, "ran_ns") > 0 && number(turn, "result_bytes") > 0, "{sample} {turn}");
        }
        assert_eq!((&durable["method"], &pure["method"]), (&json!("increment"), &json!("value")));
        assert_eq!((number(durable, "commits"), number(pure, "commits")), (1, 0), "{sample} {manifest}");
        assert!(number(durable, "commit_ns") > 0 && number(durable, "committed_bytes") > 0, "{sample} {durable}");
        assert_eq!((number(pure, "commit_ns"), number(pure, "committed_bytes")), (0, 0), "{sample} {pure}");
        assert!(number(durable, "arguments_bytes") > 0 && number(pure, "arguments_bytes") == 0, "{sample}");
        assert!(all.is_sorted_by_key(|turn| number(turn, "sequence")));
        let some = client.get("/v1/trace/counter?limit=2").expect(200).json();
        assert_eq!(some["turns"].as_array().unwrap()[..], all[79..]);
    }
}

#[test]
fn a_chain_says_who_called_and_what_was_waited_for() {
    for (relay, counter) in [("relay", "counter"), ("async/relay", "async/counter")] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(relay, TRACED);
        client.deploy(counter, TRACED);
        let called = silo.cli(&["call", "relay/r", "increment-on", "\"c\"", "5"]).exits(0);
        assert!(called.stdout.contains("ok(5)"), "{called:?}");
        let (caller, callee) = (turn(&client, "relay/r", "increment-on"), turn(&client, "counter/c", "increment"));
        let r = "sample:relay/relays#relay/r";
        let path = json!([format!("{r}.increment-on")]);
        assert_eq!((&callee["caller"], &callee["path"]), (&json!(r), &path), "{relay}");
        assert_eq!((&caller["caller"], &caller["request_id"]), (&json!("cli"), &callee["request_id"]), "{relay}");
        assert_eq!((number(&caller, "calls"), number(&callee, "calls")), (1, 0), "{relay} {caller}");
        assert!(number(&caller, "calls_ns") <= number(&caller, "ran_ns"), "{relay} {caller}");
        let inner = number(&callee, "ran_ns") + number(&callee, "commit_ns");
        assert!(number(&caller, "calls_ns") >= inner, "{relay} {caller} {callee}");
        assert_eq!((number(&caller, "commits"), number(&callee, "commits")), (0, 1), "{relay}");
        assert!(number(&caller, "sequence") > number(&callee, "sequence"), "the inner one ends first");
        let shown = silo.cli(&["trace", "counter/c"]).exits(0);
        let lines: Vec<&str> = shown.stdout.lines().collect();
        assert_eq!(lines.len(), 2, "{shown:?}");
        assert!(lines[0].contains("QUEUED") && lines[1].contains("relay/r.increment-on"), "{shown:?}");
        assert!(!shown.stdout.contains('\u{1b}'), "no colour where nobody looks");
    }
}

#[test]
fn a_tell_says_who_told_and_an_error_of_its_own_is_one() {
    for sample in ["bank", "async/bank"] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, TRACED);
        let _ = client.call("account/ann", "deposit", &json!([100])).number();
        let _ = client.call("account/ann", "transfer", &json!(["bob", 30])).number();
        let told = eventually("it is told", || {
            turns(&client, "account/bob").into_iter().find(|turn| turn["method"] == "credit")
        });
        let ann = json!("sample:bank/accounts#account/ann");
        assert_eq!((&told["occasion"], &told["caller"], &told["path"]), (&json!("tell"), &ann, &json!([])), "{sample}");
        assert_eq!(told["request_id"], turn(&client, "account/ann", "transfer")["request_id"], "{sample}");
        let _ = client.call("account/ann", "withdraw", &json!([1_000])).actor_error();
        let own = turn(&client, "account/ann", "withdraw");
        assert_eq!((&own["outcome"], number(&own, "commits")), (&json!("error"), 0), "{sample}");
    }
}

#[test]
fn turns_that_overlap_say_so() {
    for (sample, stands) in [("ping-pong", "inside"), ("async/ping-pong", "beside")] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, TRACED);
        let ball = json!({ "text": "", "items": [] });
        let _ = client.call("ping-pong/a", "rally", &json!([["b", "a"], ball])).ok();
        let all = turns(&client, "ping-pong/a");
        let stood: Vec<_> = all.iter().map(|turn| turn["stands"].as_str().unwrap()).collect();
        assert_eq!(stood, [stands, "alone"], "{sample}");
        assert_eq!(all[0]["path"].as_array().unwrap().len(), 2, "{sample} {}", all[0]);
        assert_eq!(turns(&client, "ping-pong").len(), 3, "{sample}");
    }
}

#[test]
fn waits_and_failures_are_told_apart() {
    for sample in ["rogue", "async/rogue"] {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, TRACED);
        let _ = client.call("rogue/a", "ping", &json!([])).number();
        while_busy(&client, "rogue/a", 1_000, || {
            let late = client.call_with("rogue/a", "stored", &json!([]), &[("quark-timeout-ms", "50")]);
            let _ = late.failure(504, "deadline-exceeded");
            let _ = client.call("rogue/a", "ping", &json!([])).number();
        });
        let late = eventually("it is found out when its turn came", || {
            turns(&client, "rogue/a").into_iter().find(|turn| turn["method"] == "stored")
        });
        assert_eq!((&late["outcome"], number(&late, "ran_ns")), (&json!("expired"), 0), "{late}");
        assert!(number(&late, "queued_ns") >= 50_000_000, "it waited for its deadline at least: {late}");
        let pings: Vec<_> = turns(&client, "rogue/a").into_iter().filter(|turn| turn["method"] == "ping").collect();
        let (idle, queued) = (&pings[0], &pings[1]);
        assert!(number(queued, "queued_ns") > number(idle, "queued_ns"), "{idle} {queued}");
        let slept = turn(&client, "rogue/a", "sleep");
        assert!(number(&slept, "ran_ns") >= 1_000_000_000, "{slept}");
        let _ = client.call("rogue/a", "store-then-trap", &json!(["x"])).failure(502, "failed");
        let trapped = turn(&client, "rogue/a", "store-then-trap");
        assert_eq!((&trapped["outcome"], number(&trapped, "commits")), (&json!("trapped"), 0), "{trapped}");
        assert!(!trapped["detail"].as_str().unwrap().is_empty(), "{trapped}");
        let _ = client.call("rogue/a", "commit-then-trap", &json!(["x", "y"])).failure(502, "failed");
        let midway = turn(&client, "rogue/a", "commit-then-trap");
        assert_eq!((&midway["outcome"], number(&midway, "commits")), (&json!("trapped"), 1), "{midway}");
        assert!(number(&midway, "commit_ns") > 0 && number(&midway, "commit_ns") <= number(&midway, "ran_ns"));
        let failed = silo.cli(&["trace", "rogue/a", "--failed", "--json"]).exits(0).json();
        let failed: Vec<_> = failed["turns"].as_array().unwrap().iter().map(|turn| &turn["method"]).collect();
        assert_eq!(failed, ["stored", "store-then-trap", "commit-then-trap"], "{sample}");
        let slow = silo.cli(&["trace", "rogue", "--slower", "900ms", "--json"]).exits(0).json();
        assert!(slow["turns"].as_array().unwrap().iter().any(|turn| turn["method"] == "sleep"), "{slow}");
        let _ = silo.cli(&["stop", "rogue/a"]).exits(0);
        let _ = client.call("rogue/a", "hoard", &json!([1])).failure(409, "stopped");
        let stopped = turn(&client, "rogue/a", "hoard");
        assert_eq!((&stopped["outcome"], number(&stopped, "ran_ns")), (&json!("stopped"), 0), "{stopped}");
    }
}

#[test]
fn an_actor_that_will_not_wake_is_told_of() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("ledger", TRACED);
    let _ = client.call("ledger/a", "deposit", &json!([5, "x"])).number();
    client.deploy("ledger", &format!("{TRACED}[actor.config]\nrefuse = \"Deposited\"\n"));
    let _ = client.call("ledger/a", "sum", &json!([])).failure(502, "failed");
    let refused = turn(&client, "ledger/a", "sum");
    assert_eq!((&refused["outcome"], number(&refused, "ran_ns")), (&json!("refused"), 0), "{refused}");
    assert!(number(&refused, "woke_ns") > 0, "it tried: {refused}");
    assert!(refused["detail"].as_str().unwrap().contains("event 1"), "{refused}");
}

#[test]
fn turns_that_nobody_called_for_are_recorded_too() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    for sample in ["metronome", "digest", "bank"] {
        client.deploy(sample, TRACED);
    }
    client.deploy("async/ledger", &format!("{TRACED}[actor.journal]\nsnapshot = {{ every = 2 }}\n"));
    let _ = client.call("metronome/m", "start", &json!(["t", 1, null, []])).expect(200);
    let _ = client.call("digest/d", "once", &json!(["soon", 1])).expect(200);
    let _ = client.call("account/a", "credit", &json!([5])).expect(202);
    for _ in 0..2 {
        let _ = client.call("ledger/l", "deposit", &json!([1, ""])).number();
    }
    for (actor, method, occasion, caller) in [
        ("metronome/m", "on-timer", "timer", "silo"),
        ("digest/d", "on-reminder", "reminder", "silo"),
        ("account/a", "credit", "tell", "http"),
        ("ledger/l", "snapshot", "snapshot", "silo"),
    ] {
        let found = eventually(method, || {
            turns(&client, actor).into_iter().find(|turn| turn["method"] == method && turn["outcome"] == "ok")
        });
        assert_eq!((&found["occasion"], &found["caller"]), (&json!(occasion), &json!(caller)), "{found}");
        assert!(number(&found, "commits") == 1 && number(&found, "commit_ns") > 0, "{found}");
    }
    let shown = silo.cli(&["trace"]).exits(0).stdout;
    for from in ["  timer  ", "  reminder  ", "  tell by http  ", "  snapshot  "] {
        assert!(shown.contains(from), "{from} {shown}");
    }
}

#[test]
fn whoever_follows_sees_each_turn_once() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("counter", TRACED);
    increment(&client, "counter/a");
    let follow = |more: &[&str]| {
        let mut command = quark(&silo.folder().join("config"));
        command.args(["trace", "counter/a", "--follow"]).args(more);
        command.env("QUARK_URL", format!("http://{}", silo.address())).stdout(Stdio::piped()).spawn().unwrap()
    };
    let (mut follower, mut people) = (follow(&["--json"]), follow(&[]));
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let mut seen = vec![number(&next(), "sequence")];
    for _ in 0..3 {
        for _ in 0..10 {
            increment(&client, "counter/a");
            increment(&client, "counter/b");
        }
        for _ in 0..10 {
            let turn = next();
            assert_eq!(turn["actor"], "sample:counter/counters#counter/a");
            seen.push(number(&turn, "sequence"));
        }
    }
    let all: Vec<_> = turns(&client, "counter/a").iter().map(|turn| number(turn, "sequence")).collect();
    assert_eq!(seen, all);
    let shown: Vec<_> = BufReader::new(people.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    let column = shown[0].find("METHOD").unwrap();
    assert!(shown[1..].iter().all(|line| line[column..].starts_with("increment")), "{shown:?}");
    // What is left out at first never comes.
    let mut limited = follow(&["--json", "--limit", "2"]);
    let mut lines = BufReader::new(limited.stdout.take().unwrap()).lines();
    let mut next = || number(&serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap(), "sequence");
    assert_eq!([next(), next()], all[all.len() - 2..]);
    increment(&client, "counter/a");
    assert!(next() > all[all.len() - 1]);
    for mut child in [follower, people, limited] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn under_load_each_turn_is_recorded_or_counted() {
    for (sample, manifest) in WAYS {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(sample, manifest);
        thread::scope(|scope| {
            for actor in ["counter/a", "counter/b", "counter/c", "counter/a"] {
                let client = &client;
                scope.spawn(move || (0..200).for_each(|_| increment(client, actor)));
            }
        });
        let report = client.get("/v1/trace?limit=10000").expect(200).json();
        let all = report["turns"].as_array().unwrap();
        assert_eq!(all.len() as u64 + number(&report, "dropped"), 800, "{sample} {manifest}");
        assert!(all.iter().all(|turn| turn["outcome"] == "ok"), "{sample} {manifest}");
        // Of turns that overlap one may commit what several wrote.
        let commits: u64 = all.iter().map(|turn| number(turn, "commits")).sum();
        assert!(commits <= 800 && commits > 0, "{sample} {manifest}: {commits}");
        assert!(all.is_sorted_by_key(|turn| number(turn, "sequence")));
    }
}
