//! Trees under load whose silo is killed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Client, Silo, eventually, kills};
use serde_json::json;

use crate::trees::{AT_ONCE, ask, is_stopped, plain, roster};

/// What one thread knows of its own crew.
#[derive(Default)]
struct Known {
    roster: Vec<String>,
    /// Work that was acknowledged, by name.
    totals: [u64; NAMES],
    /// Who was dismissed and not hired again.
    stopped: [bool; NAMES],
    /// What was asked last, if its answer did not come.
    open: Option<(&'static str, usize)>,
}

const CREWS: usize = 4;
const NAMES: usize = 6;

/// Hires, dismisses, works and crashes at random until the silo is gone.
fn manage(client: &Client, crew: usize, seed: u64, known: &mut Known, done: &AtomicU64) {
    let mut random = seed;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % bound as u64).unwrap()
    };
    loop {
        let name = below(NAMES);
        let key = format!("{crew}.{name}");
        let is_there = known.roster.contains(&key);
        let (actor, method, arguments) = match below(8) {
            _ if !is_there => (format!("crew/{crew}"), "hire", json!([name.to_string(), "permanent"])),
            0 => (format!("crew/{crew}"), "dismiss", json!([name.to_string()])),
            1 => (format!("worker/{key}"), "crash", json!([])),
            _ => (format!("worker/{key}"), "work", json!([1])),
        };
        known.open = Some((method, name));
        known.stopped[name] &= method != "hire";
        let Some(answer) = client.try_call(&actor, method, &arguments) else { return };
        match method {
            "crash" => drop(answer.failure(502, "failed")),
            "work" => known.totals[name] = answer.number(),
            _ => drop(answer.ok()),
        }
        known.open = None;
        match method {
            "hire" => known.roster.push(key),
            "dismiss" => {
                known.roster.retain(|it| *it != key);
                known.stopped[name] = true;
            }
            _ => {}
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// The tree and the totals are as they were acknowledged; what was asked last may be done or not.
fn check(client: &Client, crew: usize, known: &mut Known) {
    let now = roster(client, &format!("crew/{crew}"));
    let now: Vec<String> = now.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
    let open = known.open.take();
    let mut done = known.roster.clone();
    if let Some((method, name)) = open {
        let key = format!("{crew}.{name}");
        match method {
            "hire" => done.push(key),
            "dismiss" => done.retain(|it| *it != key),
            _ => {}
        }
    }
    assert!(now == known.roster || now == done, "{now:?}, acknowledged {:?}, open {open:?}", known.roster);
    known.roster = now;
    for name in 0..NAMES {
        let actor = format!("worker/{crew}.{name}");
        if !known.roster.contains(&format!("{crew}.{name}")) {
            known.stopped[name] |= open == Some(("dismiss", name));
            if known.stopped[name] {
                is_stopped(client, &actor);
            }
            // One that was never hired, or whose hiring nobody acknowledged, is nobody's child and may run.
            continue;
        }
        let total = ask(client, &actor, "total", &json!([])).number();
        let acknowledged = known.totals[name];
        let one_more = open == Some(("work", name)) && total == acknowledged + 1;
        assert!(total == acknowledged || one_more, "{actor}: {total}, acknowledged {acknowledged}, open {open:?}");
        known.totals[name] = total;
    }
}

#[test]
fn trees_are_right_after_kill_9_amid_hiring_and_crashing() {
    let (mut silo, _) = plain(&format!("restarts = {{ max = 1000, within = \"1s\" }}\n{AT_ONCE}"));
    let mut all: Vec<Known> = (0..CREWS).map(|_| Known::default()).collect();
    for round in 1..=kills() {
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            for (crew, known) in all.iter_mut().enumerate() {
                let (client, done) = (silo.client(), &done);
                scope.spawn(move || manage(&client, crew, round * 7919 + crew as u64 + 1, known, done));
            }
            eventually("some are hired and fired", || (done.load(Ordering::Relaxed) >= 60).then_some(()));
            silo.kill();
        });
        silo.restart(&[]);
        let client = silo.client();
        all.iter_mut().enumerate().for_each(|(crew, known)| check(&client, crew, known));
    }
    assert!(silo.stop().success());
    silo.restart(&[]);
    let client = silo.client();
    all.iter_mut().enumerate().for_each(|(crew, known)| check(&client, crew, known));
}

/// What is refused is so at once, and not at its deadline.
const REFUSALS: usize = 20;

/// Asks again and again until it was refused often, as the crew cools down.
fn until_refused(client: &Client, crew: usize, what: &str) {
    let (mut refused, mut n) = (0, crew);
    while refused < REFUSALS {
        n += 1;
        let name = n % NAMES;
        let (actor, arguments) = match what {
            "hire" => (format!("crew/{crew}"), json!([name.to_string(), "permanent"])),
            _ => (format!("worker/{crew}.{name}"), json!([])),
        };
        let answer = client.call_with(&actor, what, &arguments, &[("quark-timeout-ms", "20000")]);
        assert_ne!(answer.status, 504, "it waited out a cool-down: {actor} {what}: {}", answer.text());
        refused = if answer.text().contains("cools down") { refused + 1 } else { 0 };
    }
}

#[test]
fn nobody_waits_while_a_parent_cools_down() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let often = "restarts = { max = 2, within = \"1h\" }\nbackoff = { min = \"5ms\", max = \"50ms\" }";
    client.deploy("crew", &format!("[[actor]]\nname = \"crew\"\n[actor.supervision]\n{often}\n"));
    for round in 0..4 {
        thread::scope(|scope| {
            for crew in (round * 8..).take(8) {
                for name in 0..NAMES {
                    let _ = ask(&client, &format!("crew/{crew}"), "hire", &json!([name.to_string(), "permanent"])).ok();
                }
                for what in ["hire", "hire", "crash", "crash"] {
                    let client = &client;
                    scope.spawn(move || until_refused(client, crew, what));
                }
            }
        });
    }
}
