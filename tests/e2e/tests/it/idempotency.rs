//! Calls with an idempotency key: one effect, and one answer, however often they are repeated.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Answer, Client, Silo, eventually, kills};
use serde_json::{Value, json};

const MARKED: &str = "increment.idempotent = true\n";
const BANK: &str = "deposit.idempotent = true\npay.idempotent = true\n";

/// A manifest that marks these methods, with more about the actor.
fn marking(marks: &str, more: &str) -> String {
    format!("[actor]\n{more}[actor.methods]\n{marks}")
}

/// All ways in which turns run: flavour, and what the manifest says of it.
const WAYS: [(&str, &str); 6] = [
    ("", ""),
    ("", "isolation = { packed = 4 }\n"),
    ("", "memory-profile = \"dense\"\n"),
    ("async/", ""),
    ("async/", "isolation = { packed = 4 }\n"),
    ("async/", "reentrancy = \"full\"\n"),
];

#[track_caller]
fn keyed(client: &Client, actor: &str, method: &str, arguments: &Value, key: &str) -> Answer {
    client.call_with(actor, method, arguments, &[("idempotency-key", key)])
}

#[track_caller]
fn increment(client: &Client, by: u64, key: &str) -> Answer {
    keyed(client, "counter/a", "increment", &json!([by]), key)
}

#[test]
fn a_repeat_gets_the_same_answer_and_does_nothing() {
    for (flavour, more) in WAYS {
        let mut silo = Silo::start(&[]);
        silo.client().deploy(&format!("{flavour}counter"), &marking(MARKED, more));
        let client = silo.client();
        let value = |client: &Client| client.call("counter/a", "value", &json!([])).number();
        assert_eq!(increment(&client, 5, "one").number(), 5, "{flavour} {more}");
        assert_eq!(increment(&client, 5, "one").number(), 5, "{flavour} {more}");
        assert_eq!(client.call("counter/a", "increment", &json!([5])).number(), 10, "without a key it is done again");
        assert_eq!(increment(&client, 5, "\"one\"").number(), 5, "quotes are none of it");
        assert_eq!(increment(&client, 2, "two").number(), 12);
        let reused = increment(&client, 6, "one").failure(409, "key-reused");
        let text = reused["message"].as_str().unwrap();
        assert!(
            text.contains("the idempotency key `one` came before with another method or other arguments"),
            "{text}"
        );
        assert_eq!(reused["may_be_done"], false);
        // An answer is an answer, also when it is an error.
        assert_eq!(increment(&client, u64::MAX, "much").actor_error(), json!("overflow"));
        let _ = client.call("counter/a", "reset", &json!([])).expect(202);
        eventually("it is reset", || (value(&client) == 0).then_some(()));
        assert_eq!(increment(&client, u64::MAX, "much").actor_error(), json!("overflow"));
        // Wherever the actor is meanwhile.
        let _ = client.send("POST", "/v1/actors/counter/a/-/deactivate", &[], b"").expect(200);
        assert_eq!(increment(&client, 5, "one").number(), 5);
        assert_eq!(keyed(&client, "counter/b", "increment", &json!([7]), "one").number(), 7, "another has its own");
        silo.crash();
        let client = silo.client();
        assert_eq!(increment(&client, 5, "one").number(), 5, "{flavour} {more}");
        assert_eq!(increment(&client, u64::MAX, "much").actor_error(), json!("overflow"));
        let _ = increment(&client, 6, "one").failure(409, "key-reused");
        assert_eq!(value(&client), 0, "{flavour} {more}");
        assert!(silo.stop().success());
        silo.restart(&[]);
        assert_eq!(increment(&silo.client(), 2, "two").number(), 12);
        assert!(silo.client().metric("quark_repeats_total") >= 1.0);
    }
}

#[test]
fn what_cannot_be_remembered_is_refused_and_says_what_to_do() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("counter", &marking(MARKED, ""));
    let long = "k".repeat(201);
    for (key, why) in [
        ("a b", "visible ASCII characters only"),
        ("", "is not empty"),
        ("~mine", "one that Quark derives"),
        (&*long, "at most 200 characters, this one has 201 bytes"),
    ] {
        let failure = increment(&client, 1, key).failure(400, "bad-request");
        assert!(failure["message"].as_str().unwrap().contains(why), "{failure}");
        assert!(failure["next"].as_str().unwrap().contains("Idempotency-Key: "), "{failure}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let failure = client.call_with("counter/a", "increment", &json!([1]), &twice).failure(400, "bad-request");
    assert!(failure["message"].as_str().unwrap().contains("it is there twice"), "{failure}");
    let failure = keyed(&client, "counter/a", "value", &json!([]), "k").failure(400, "not-idempotent");
    let next = failure["next"].as_str().unwrap();
    assert!(next.contains("`[actor.methods.value]` with `idempotent = true`"), "{next}");
    let failure = keyed(&client, "counter/a", "reset", &json!([]), "k").failure(400, "not-idempotent");
    assert!(failure["next"].as_str().unwrap().contains("a tell that was accepted is handled once"), "{failure}");
    assert_eq!(client.call("counter/a", "value", &json!([])).number(), 0, "nothing was done");
    for (marks, why) in [
        ("value = { read-only = true, idempotent = true }\n", "both `read-only` and `idempotent`"),
        ("reset.idempotent = true\n", "no result to remember"),
        ("valu.idempotent = true\n", "no such method"),
    ] {
        let answer = client.deploy_bytes(&quark_e2e::component("counter"), &marking(marks, ""));
        assert!(answer.status == 400 && answer.text().contains(why), "{}", answer.text());
    }
    let document = client.get("/openapi.json").expect(200).json();
    let parameters = |method: &str| {
        document["paths"][format!("/v1/actors/counter/{{key}}/{method}")]["post"]["parameters"].to_string()
    };
    assert!(parameters("increment").contains("idempotency-key") && !parameters("value").contains("idempotency-key"));
}

#[test]
fn the_command_line_gives_a_key() {
    let silo = Silo::start(&[]);
    silo.client().deploy("counter", &marking(MARKED, ""));
    let call = |by: &str, key: &str| silo.cli(&["call", "counter/a", "increment", by, "--idempotency-key", key]);
    for _ in 0..2 {
        assert_eq!(call("5", "order-17").stdout.trim(), "ok(5)");
    }
    let refused = call("6", "order-17");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("give this one a key of its own"), "{}", refused.stderr);
    let refused = call("5", "two words");
    assert!(refused.code == Some(2) && refused.stderr.contains("visible ASCII"), "{}", refused.stderr);
    let help = silo.cli(&["call", "--help"]).stdout;
    assert!(help.contains("--idempotency-key"), "{help}");
}

#[test]
fn repeats_at_once_wait_for_the_first() {
    const KEYS: u32 = 30;
    const AT_ONCE: u32 = 8;
    for (flavour, more) in WAYS {
        // What makes calls by plain functions shares no instance.
        if flavour.is_empty() && more.contains("packed") {
            continue;
        }
        let silo = Silo::start(&[]);
        silo.client().deploy(&format!("{flavour}bank"), &marking(BANK, more));
        let client = silo.client();
        assert_eq!(client.call("account/a", "deposit", &json!([1000])).number(), 1000);
        for n in 1..=KEYS {
            let all = Barrier::new(AT_ONCE as usize);
            let key = format!("k{n}");
            thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    let (client, all, key) = (silo.client(), &all, &key);
                    scope.spawn(move || {
                        all.wait();
                        let rest = keyed(&client, "account/a", "pay", &json!(["b", 3]), key).number();
                        assert_eq!(rest, 1000 - 3 * u64::from(n), "{flavour} {more}");
                    });
                }
            });
        }
        let paid = 3 * u64::from(KEYS);
        assert_eq!(client.call("account/a", "balance", &json!([])).number(), 1000 - paid, "{flavour} {more}");
        assert_eq!(client.call("account/b", "balance", &json!([])).number(), paid, "{flavour} {more}");
        let repeats = client.metric("quark_repeats_total");
        assert!(repeats >= f64::from(KEYS * (AT_ONCE - 1)), "{repeats}");
    }
}

#[test]
fn calls_of_a_turn_have_keys_derived_from_its_own() {
    for flavour in ["", "async/"] {
        let silo = Silo::with(&["counter", "rogue"]);
        let client = silo.client();
        client.deploy(&format!("{flavour}relay"), &marking("keys.idempotent = true\n", ""));
        let keys = |actor: &str, key: &str| keyed(&client, actor, "keys", &json!([["b", "c", "c"]]), key).ok();
        let of_a = keys("relay/a", "k");
        let all = of_a.as_array().unwrap();
        assert_eq!((all.len(), &all[0]), (4, &json!("k")));
        assert!(all[1..].iter().all(|key| key.as_str().unwrap().starts_with('~')), "{of_a}");
        assert!(all[1] != all[2] && all[2] != all[3], "{of_a}");
        assert_eq!(keys("relay/a", "k"), of_a, "it is remembered");
        let others = [keys("relay/a", "l"), keys("relay/d", "k")];
        assert!(others[0][1] != of_a[1] && others[1][1] != of_a[1] && others[0][1] != others[1][1], "{others:?}");
        assert_eq!(
            client.call("relay/a", "keys", &json!([["b"]])).ok(),
            json!([null, null]),
            "without a key there is none"
        );
    }
}

#[test]
fn a_call_that_comes_back_has_its_key_too() {
    for flavour in ["", "async/"] {
        let mut silo = Silo::start(&[]);
        silo.client().deploy(&format!("{flavour}bank"), &marking("audit.idempotent = true\n", ""));
        for (account, money) in [("a", 3), ("b", 4)] {
            let _ = silo.client().call(&format!("account/{account}"), "deposit", &json!([money])).number();
        }
        let audit = |silo: &Silo| keyed(&silo.client(), "account/a", "audit", &json!([["b", "a", "b"]]), "k").number();
        for _ in 0..2 {
            assert_eq!(audit(&silo), 14, "{flavour}");
            let _ = silo.client().call("account/b", "deposit", &json!([1])).number();
        }
        // Each of the four turns has its answer.
        let answers = |account: &str| silo.client().inspect(&format!("account/{account}"))["answers"].clone();
        assert_eq!((answers("a"), answers("b")), (json!(2), json!(2)));
        silo.crash();
        assert_eq!(audit(&silo), 14, "{flavour}");
    }
}

#[test]
fn an_actor_that_remembers_all_it_can_refuses_new_keys_and_forgets_none() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("zoo", &marking("echo-string.idempotent = true\n", ""));
    let text = |n: usize| format!("{n:060000}");
    let echo = |n: usize| keyed(&client, "zoo/z", "echo-string", &json!([text(n)]), &format!("k{n}"));
    let mut kept = 0;
    let full = loop {
        let answer = echo(kept);
        if answer.status != 200 {
            break answer;
        }
        kept += 1;
    };
    let full = full.failure(429, "overloaded");
    let wait = full["retry_after_ms"].as_u64().unwrap();
    assert!((100..150).contains(&kept) && (300_000..=600_000).contains(&wait), "{kept}: {full}");
    assert_eq!(full["may_be_done"], false);
    for n in [0, kept / 2, kept - 1] {
        assert_eq!(echo(n).ok(), json!(text(n)));
    }
    assert_eq!(keyed(&client, "zoo/other", "echo-string", &json!(["x"]), "k").ok(), json!("x"));
    assert_eq!(client.call("zoo/z", "echo-string", &json!(["without"])).ok(), json!("without"));
    let state = client.inspect("zoo/z");
    assert_eq!((&state["state"], &state["state_bytes"]), (&json!([]), &json!(0)), "they are no state of its own");
    assert_eq!(state["answers"], kept);
    let shown = silo.cli(&["inspect", "zoo/z"]).stdout;
    assert!(shown.contains(&format!("{kept} remembered by idempotency keys")), "{shown}");
    let name = "%00answer%00k0";
    assert_eq!(client.get(&format!("/v1/actors/zoo/z/-/state/{name}")).status, 404);
    // What is too long to be kept is a failure, and remembered as that.
    let long = "y".repeat(70_000);
    for _ in 0..2 {
        let failure = keyed(&client, "zoo/long", "echo-string", &json!([long]), "k").failure(502, "failed");
        assert!(failure["message"].as_str().unwrap().contains("that are remembered"), "{failure}");
    }
}

/// Calls again and again with one key until there is an answer.
fn until_answered(
    client: &Client,
    gone: &AtomicBool,
    actor: &str,
    method: &str,
    arguments: &Value,
    key: &str,
) -> Option<Answer> {
    loop {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let path = format!("/v1/actors/{actor}/{method}");
        let answer = client.try_send("POST", &path, &headers, arguments.to_string().as_bytes());
        match answer {
            Some(answer) if matches!(answer.status, 200 | 422) => return Some(answer),
            Some(answer) => assert!(matches!(answer.status, 429 | 502 | 503), "{}", answer.text()),
            None => {}
        }
        if gone.load(Ordering::Relaxed) {
            return None;
        }
    }
}

const ACCOUNTS: u64 = 5;
const MONEY: u64 = 10_000;

/// Each thread pays from accounts to later ones, so that no two wait for each other.
fn check_payments(flavour: &str, more: &str, kills: u64) {
    let mut silo = Silo::start(&[]);
    silo.client().deploy(&format!("{flavour}bank"), &marking(BANK, more));
    let mut expected: BTreeMap<u64, u64> = (0..ACCOUNTS).map(|n| (n, MONEY)).collect();
    for n in 0..ACCOUNTS {
        let first = keyed(&silo.client(), &format!("account/{n}"), "deposit", &json!([MONEY]), "first");
        assert_eq!(first.number(), MONEY);
    }
    // What each thread has not heard the answer of: it goes on with that.
    let mut open: [Option<(u64, u64, u64, String)>; 4] = Default::default();
    let mut count = 0;
    for round in 1..=kills {
        let (done, gone) = (AtomicU64::new(0), AtomicBool::new(false));
        let results = thread::scope(|scope| {
            let threads: Vec<_> = open
                .iter_mut()
                .enumerate()
                .map(|(thread, open)| {
                    let (client, done, gone) = (silo.client(), &done, &gone);
                    scope.spawn(move || {
                        let mut random = round * 7919 + thread as u64 + 1;
                        let mut paid = Vec::new();
                        for n in 0.. {
                            let (from, to, amount, key) = open.take().unwrap_or_else(|| {
                                random ^= random << 13;
                                random ^= random >> 7;
                                random ^= random << 17;
                                let from = random % (ACCOUNTS - 1);
                                let to = from + 1 + (random >> 8) % (ACCOUNTS - 1 - from);
                                (from, to, 1 + (random >> 16) % 9, format!("r{round}-t{thread}-{n}"))
                            });
                            let arguments = json!([to.to_string(), amount]);
                            let answer =
                                until_answered(&client, gone, &format!("account/{from}"), "pay", &arguments, &key);
                            let Some(answer) = answer else {
                                *open = Some((from, to, amount, key));
                                return paid;
                            };
                            if answer.status == 200 {
                                paid.push((from, to, amount));
                            } else {
                                let _ = answer.actor_error();
                            }
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        paid
                    })
                })
                .collect();
            eventually("some payments are made", || (done.load(Ordering::Relaxed) >= 30).then_some(()));
            silo.kill();
            gone.store(true, Ordering::Relaxed);
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        silo.restart(&[]);
        count += results.len();
        for (from, to, amount) in results {
            *expected.get_mut(&from).unwrap() -= amount;
            *expected.get_mut(&to).unwrap() += amount;
        }
    }
    let (client, never) = (silo.client(), AtomicBool::new(false));
    for (from, to, amount, key) in open.into_iter().flatten() {
        let arguments = json!([to.to_string(), amount]);
        let answer = until_answered(&client, &never, &format!("account/{from}"), "pay", &arguments, &key).unwrap();
        if answer.status == 200 {
            *expected.get_mut(&from).unwrap() -= amount;
            *expected.get_mut(&to).unwrap() += amount;
        }
    }
    for (n, expected) in expected {
        let balance = client.call(&format!("account/{n}"), "balance", &json!([])).number();
        assert_eq!(balance, expected, "account {n} after {count} payments, {flavour} {more}");
    }
}

#[test]
fn accounts_that_pay_each_other_at_once_come_to_their_ends() {
    const PAYMENTS: u64 = 25;
    // Actors of packs that wait for one another do so until their deadlines.
    for (flavour, more) in WAYS.into_iter().filter(|(_, more)| !more.contains("packed")) {
        let silo = Silo::start(&[]);
        let client = silo.client();
        client.deploy(&format!("{flavour}bank"), &marking(BANK, more));
        for account in ["a", "b"] {
            let _ = client.call(&format!("account/{account}"), "deposit", &json!([1_000])).ok();
        }
        let never = AtomicBool::new(false);
        thread::scope(|scope| {
            for (n, (from, to)) in [("a", "b"), ("b", "a"), ("a", "b"), ("b", "a")].into_iter().enumerate() {
                let (client, never) = (&client, &never);
                scope.spawn(move || {
                    for payment in 0..PAYMENTS {
                        let key = format!("p{n}-{payment}");
                        let account = format!("account/{from}");
                        let _ = until_answered(client, never, &account, "pay", &json!([to, 1]), &key).unwrap().ok();
                    }
                });
            }
        });
        for account in ["account/a", "account/b"] {
            assert_eq!(client.call(account, "balance", &json!([])).number(), 1_000, "{flavour} {more} {account}");
            // Turns that closed a ring left open what became of them, and were repeated; nobody had to wait for it.
            let standing = client.inspect(account)["last_failure"]["reason"].to_string();
            assert!(standing == "null" || standing.contains("Deadlock"), "{flavour} {more} {account}: {standing}");
        }
    }
}

#[test]
fn each_payment_is_made_once_amid_kill_9() {
    check_payments("", "", kills());
}

#[test]
fn each_payment_of_async_funcs_is_made_once_amid_kill_9() {
    check_payments("async/", "", kills() / 2);
    check_payments("async/", "isolation = { packed = 4 }\n", kills() / 2);
}

#[test]
fn each_deposit_is_made_once_amid_kill_9_where_turns_overlap() {
    const MORE: &str = "reentrancy = \"full\"\n";
    let mut silo = Silo::start(&[]);
    silo.client().deploy("async/bank", &marking(BANK, MORE));
    let mut next = [0_u64; 4];
    for _ in 1..=kills() {
        let (done, gone) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for (thread, next) in next.iter_mut().enumerate() {
                let (client, done, gone) = (silo.client(), &done, &gone);
                scope.spawn(move || {
                    loop {
                        let key = format!("t{thread}-{next}");
                        // The answer may be another thread's later balance, but it is one.
                        let Some(answer) = until_answered(&client, gone, "account/a", "deposit", &json!([1]), &key)
                        else {
                            return;
                        };
                        let _ = answer.number();
                        *next += 1;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("some deposits are made", || (done.load(Ordering::Relaxed) >= 40).then_some(()));
            silo.kill();
            gone.store(true, Ordering::Relaxed);
        });
        silo.restart(&[]);
    }
    let (client, never) = (silo.client(), AtomicBool::new(false));
    for (thread, next) in next.iter_mut().enumerate() {
        let key = format!("t{thread}-{next}");
        let _ = until_answered(&client, &never, "account/a", "deposit", &json!([1]), &key).unwrap().number();
        *next += 1;
    }
    assert_eq!(client.call("account/a", "balance", &json!([])).number(), next.iter().sum::<u64>());
}
