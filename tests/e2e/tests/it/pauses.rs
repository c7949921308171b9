//! A silo whose machine stops for a while and goes on: it must not take that time for time that turns took.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quark_e2e::{Client, Silo, eventually};
use serde_json::{Value, json};

const ROUNDS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(1500);
/// Far less than a pause: whose turn stands in one would be ended by it.
const LEASH: &str = "[actor.limits]\nturn = \"300ms\"\n";
const BEAT_MS: u64 = 50;
const PAYERS: u64 = 4;
const EACH: u64 = 1_000_000;

fn pause(silo: &Silo) {
    silo.signal("STOP");
    let since = Instant::now();
    eventually("the pause is over", || (since.elapsed() > PAUSE).then_some(()));
    silo.signal("CONT");
}

/// Asks that again and again; how often.
fn ask(client: &Client, actor: &str, method: &str, arguments: &Value, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let _ = client.call(actor, method, arguments).ok();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn goes_on(done: &AtomicU64) {
    let before = done.load(Ordering::Relaxed);
    eventually("calls are answered", || (done.load(Ordering::Relaxed) > before + 20).then_some(()));
}

#[test]
fn a_pause_of_the_silo_costs_no_turn_and_loses_nothing() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    ["bank", "rogue", "metronome", "digest", "counter"].iter().for_each(|sample| client.deploy(sample, LEASH));
    for payer in 0..PAYERS {
        let _ = client.call(&format!("account/{payer}"), "deposit", &json!([EACH])).ok();
    }
    let begun = Instant::now();
    let _ = client.call("metronome/m", "start", &json!(["tick", BEAT_MS, BEAT_MS, []])).ok();
    let _ = client.call("digest/d", "every", &json!(["sum", 200, "skip"])).ok();
    let (stop, paid, spun, counted) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for payer in 0..PAYERS {
            let (client, stop, paid) = (silo.client(), &stop, &paid);
            let transfer = json!([format!("{}", (payer + 1) % PAYERS), 1]);
            scope.spawn(move || ask(&client, &format!("account/{payer}"), "transfer", &transfer, stop, paid));
        }
        // One turn is under way at nearly all times.
        scope.spawn(|| ask(&silo.client(), "rogue/r", "spin-for", &json!([50]), &stop, &spun));
        scope.spawn(|| ask(&silo.client(), "counter/c", "increment", &json!([1]), &stop, &counted));
        for _ in 0..ROUNDS {
            goes_on(&spun);
            pause(&silo);
        }
        [&paid, &spun, &counted].into_iter().for_each(goes_on);
        stop.store(true, Ordering::Relaxed);
    });
    for actor in ["rogue/r", "counter/c", "account/0", "metronome/m", "digest/d"] {
        assert_eq!(client.inspect(actor)["last_failure"], Value::Null, "{actor}");
    }
    assert_eq!(client.call("counter/c", "value", &json!([])).number(), counted.load(Ordering::Relaxed));
    eventually("all that was paid arrived", || {
        let balance = |payer| client.call(&format!("account/{payer}"), "balance", &json!([])).number();
        ((0..PAYERS).map(balance).sum::<u64>() == PAYERS * EACH).then_some(())
    });
    // What a timer missed meanwhile is left out.
    let beats = client.call("metronome/m", "beats", &json!([])).ok();
    let most = (begun.elapsed() - ROUNDS * PAUSE).as_millis() / u128::from(BEAT_MS) + u128::from(2 * ROUNDS) + 1;
    assert!(beats[0]["overlapped"] == false, "{beats}");
    assert!(u128::from(beats[0]["beats"].as_u64().unwrap()) <= most, "{beats}, at most {most}");
    let made = || client.call("digest/d", "made", &json!([])).ok().as_array().unwrap().len();
    let before = made();
    eventually("the reminder goes on", || (made() > before + 2).then_some(()));
}
