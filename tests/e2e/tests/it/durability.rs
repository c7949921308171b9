//! What was acknowledged is there, whatever kills the silo.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Client, Silo, eventually, kills};
use serde_json::json;

#[test]
fn the_first_start_makes_the_data_folder() {
    let mut silo = Silo::new();
    std::fs::remove_dir(silo.data()).unwrap();
    silo.restart(&[]);
    silo.client().deploy("counter", "");
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 1);
}

#[test]
fn an_actor_is_found_again_after_kill_9() {
    let mut silo = Silo::with(&["counter"]);
    let client = silo.client();
    assert_eq!(client.call("counter/alice", "increment", &json!([5])).number(), 5);
    assert_eq!(client.call("counter/alice", "increment", &json!([2])).number(), 7);
    assert_eq!(client.call("counter/bob", "value", &json!([])).number(), 0);
    silo.crash();
    let client = silo.client();
    let kinds = client.get("/v1/kinds").expect(200).json();
    assert_eq!(kinds["kinds"][0]["kind"], "sample:counter/counters#counter");
    assert_eq!(client.call("counter/alice", "value", &json!([])).number(), 7);
    assert_eq!(client.call("counter/alice", "increment", &json!([1])).number(), 8);
    assert_eq!(client.call("counter/bob", "value", &json!([])).number(), 0);
}

#[test]
fn a_tell_is_handled_though_the_silo_dies_right_after_accepting_it() {
    let mut silo = Silo::with(&["counter"]);
    assert_eq!(silo.client().call("counter/alice", "increment", &json!([5])).number(), 5);
    let accepted = silo.client().call("counter/alice", "reset", &json!([])).expect(202).json();
    silo.kill();
    assert!(accepted["accepted"].as_str().is_some_and(|id| !id.is_empty()), "{accepted}");
    silo.restart(&[]);
    let client = silo.client();
    let value = || client.call("counter/alice", "value", &json!([])).number();
    eventually("the tell was handled", || (value() == 0).then_some(()));
}

#[test]
fn tells_from_outside_are_handled_once_whenever_the_silo_dies() {
    const TELLS: u64 = 40;
    let mut silo = Silo::with(&["bank"]);
    for round in 1..=3 {
        let client = silo.client();
        for _ in 0..TELLS {
            let _ = client.call("account/a", "credit", &json!([5])).expect(202);
        }
        silo.crash();
        let client = silo.client();
        let balance = || client.call("account/a", "balance", &json!([])).number();
        eventually("all tells were handled", || {
            let balance = balance();
            assert!(balance <= TELLS * 5 * round, "a tell was handled twice: {balance} in round {round}");
            (balance == TELLS * 5 * round).then_some(())
        });
    }
}

const ACCOUNTS: u64 = 6;
const MONEY: u64 = 1000;

fn sum(client: &Client) -> u64 {
    (0..ACCOUNTS).map(|n| client.call(&format!("account/{n}"), "balance", &json!([])).number()).sum()
}

/// Sends random transfers until the silo is gone.
fn transfers(client: &Client, seed: u64, done: &AtomicU64) {
    let mut random = seed;
    let mut below = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    loop {
        let (from, to, amount) = (below(ACCOUNTS), below(ACCOUNTS), below(50));
        let arguments = json!([to.to_string(), amount]);
        let Some(answer) = client.try_call(&format!("account/{from}"), "transfer", &arguments) else { return };
        match answer.status {
            200 => drop(done.fetch_add(1, Ordering::Relaxed)),
            422 => {}
            _ => panic!("{}", answer.text()),
        }
    }
}

#[test]
fn no_money_is_made_or_lost_by_kill_9_amid_transfers() {
    check_money("bank", "", kills());
}

/// No money is made or lost among accounts of that sample with that manifest, however often their silo
/// is killed.
#[track_caller]
pub(crate) fn check_money(sample: &str, manifest: &str, kills: u64) {
    let mut silo = Silo::start(&[]);
    silo.client().deploy(sample, manifest);
    for n in 0..ACCOUNTS {
        assert_eq!(silo.client().call(&format!("account/{n}"), "deposit", &json!([MONEY])).number(), MONEY);
    }
    for round in 1..=kills {
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 1..=4 {
                let (client, done) = (silo.client(), &done);
                scope.spawn(move || transfers(&client, round * 7919 + thread, done));
            }
            eventually("some transfers are done", || (done.load(Ordering::Relaxed) >= 60).then_some(()));
            silo.kill();
        });
        silo.restart(&[]);
        let client = silo.client();
        eventually("all money has arrived", || {
            let sum = sum(&client);
            assert!(sum <= ACCOUNTS * MONEY, "money was made in round {round}: {sum}");
            (sum == ACCOUNTS * MONEY).then_some(())
        });
    }
    assert!(silo.stop().success());
    silo.restart(&[]);
    assert_eq!(sum(&silo.client()), ACCOUNTS * MONEY);
}

#[test]
fn sigterm_under_load_loses_nothing_acknowledged() {
    let mut silo = Silo::with(&["counter"]);
    let all = AtomicU64::new(0);
    let acknowledged: Vec<u64> = thread::scope(|scope| {
        let increment = |key: usize| {
            let (client, all) = (silo.client(), &all);
            move || {
                let mut done = 0;
                while let Some(answer) = client.try_call(&format!("counter/{key}"), "increment", &json!([1])) {
                    match answer.status {
                        200 => done = answer.number(),
                        _ => assert_eq!(answer.failure(503, "stopping")["may_be_done"], false),
                    }
                    all.fetch_add(1, Ordering::Relaxed);
                }
                done
            }
        };
        let threads: Vec<_> = (0..4).map(|key| scope.spawn(increment(key))).collect();
        eventually("there is load", || (all.load(Ordering::Relaxed) >= 100).then_some(()));
        silo.ask_to_stop();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(silo.ended().success(), "{}", silo.log());
    silo.restart(&[]);
    for (key, acknowledged) in acknowledged.into_iter().enumerate() {
        let value = silo.client().call(&format!("counter/{key}"), "value", &json!([])).number();
        // The last one may have been done without its answer having come through.
        assert!(value == acknowledged || value == acknowledged + 1, "{key}: {value}, acknowledged {acknowledged}");
    }
}

#[test]
fn ctrl_c_stops_it_as_sigterm_does() {
    let mut silo = Silo::with(&["counter"]);
    assert_eq!(silo.client().call("counter/a", "increment", &json!([3])).number(), 3);
    silo.signal("INT");
    assert!(silo.ended().success(), "{}", silo.log());
    silo.restart(&[]);
    assert_eq!(silo.client().call("counter/a", "value", &json!([])).number(), 3);
}
