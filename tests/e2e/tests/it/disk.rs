//! A disk that is really full, or takes no writes.

use std::time::{Duration, Instant};

use quark_e2e::{Client, Disk, Silo, eventually, made_of, run};
use serde_json::json;

/// The default one is as large as these disks.
const FLOOR: [&str; 2] = ["--free-space-floor", "8MiB"];

fn value(client: &Client, actor: &str) -> u64 {
    client.call(actor, "value", &json!([])).number()
}

/// The log takes writes as long as there is room in its own file.
const WRITES_AT_A_TIME: usize = 500;

/// Writes until one is refused; what was acknowledged, and what may have been done beyond that.
fn write_until_refused(client: &Client, actor: &str) -> (u64, u64) {
    let mut acknowledged = value(client, actor);
    let mut unknown = 0;
    let mut is_refused = || {
        let answer = client.call(actor, "increment", &json!([1]));
        if answer.status == 200 {
            acknowledged = answer.number();
            return false;
        }
        let error = answer.json()["error"].take();
        unknown += u64::from(error["may_be_done"] == true);
        answer.status == 503 && error["code"] == "unavailable"
    };
    eventually("a write is refused", || (0..WRITES_AT_A_TIME).any(|_| is_refused()).then_some(()));
    (acknowledged, unknown)
}

/// A silo on a small disk with two live counters, at 5 and 7.
fn silo_on_disk(floor: &[&str]) -> Option<(Silo, Disk)> {
    let mut silo = Silo::new();
    let disk = Disk::mount(&silo.data(), 64)?;
    silo.restart(floor);
    let client = silo.client();
    client.deploy("counter", "");
    client.deploy("hello", "");
    assert_eq!(client.call("counter/a", "increment", &json!([5])).number(), 5);
    assert_eq!(client.call("counter/b", "increment", &json!([7])).number(), 7);
    Some((silo, disk))
}

/// Once there is room, writes succeed again and what was acknowledged is there, also for the next
/// silo.
fn check_recovers(mut silo: Silo, disk: &Disk, floor: &[&str], (acknowledged, unknown): (u64, u64)) {
    let client = silo.client();
    disk.make_room();
    let known = eventually("writes are taken again", || {
        let answer = client.call("counter/a", "increment", &json!([1]));
        (answer.status == 200).then(|| answer.number())
    });
    assert!((acknowledged + 1..=acknowledged + 1 + unknown).contains(&known), "{acknowledged} {unknown} {known}");
    assert_eq!(client.call("counter/b", "increment", &json!([1])).number(), 8);
    eventually("it is ready again", || (client.get("/readyz").status == 200).then_some(()));
    silo.kill();
    silo.restart(floor);
    assert_eq!((value(&silo.client(), "counter/a"), value(&silo.client(), "counter/b")), (known, 8));
}

#[test]
fn on_a_full_disk_writes_are_refused_reads_go_on_and_health_says_why() {
    let Some((silo, disk)) = silo_on_disk(&FLOOR) else { return };
    let client = silo.client();
    disk.fill();
    let written = write_until_refused(&client, "counter/a");
    assert_eq!(written.1, 0, "below the floor nothing is tried, so nothing is in doubt");
    // Live actors go on reading, and so do those that wake and write nothing.
    assert_eq!(value(&client, "counter/b"), 7);
    let _ = client.call("greeter/x", "greet", &json!(["Bob"])).expect(200);
    let _ = client.call("counter/b", "reset", &json!([])).failure(503, "unavailable");
    let _ = client.deploy_bytes(&quark_e2e::component("bank"), "").failure(503, "unavailable");
    for (path, status) in [("/readyz", 503), ("/healthz", 200)] {
        let health = client.get(path).expect(status).json();
        let problems = health["problems"].to_string();
        assert!(problems.contains("takes no writes") && problems.contains("make room"), "{path}: {health}");
    }
    let ran = silo.cli(&["call", "counter/b", "increment", "1"]).exits(3);
    assert!(ran.stderr.contains("unavailable"), "{ran:?}");
    check_recovers(silo, &disk, &FLOOR, written);
}

#[test]
fn without_a_floor_a_full_disk_loses_nothing_acknowledged() {
    let floor = ["--free-space-floor", "0"];
    let Some((silo, disk)) = silo_on_disk(&floor) else { return };
    let client = silo.client();
    disk.fill();
    let written = write_until_refused(&client, "counter/a");
    assert_eq!(value(&client, "counter/b"), 7);
    let _ = client.call("counter/b", "increment", &json!([1])).failure(503, "unavailable");
    // The database was opened anew under it, and it reads on.
    eventually("it reads", || (client.call("counter/b", "value", &json!([])).status == 200).then_some(()));
    assert_eq!(value(&client, "counter/b"), 7);
    check_recovers(silo, &disk, &floor, written);
}

#[test]
fn a_disk_without_room_for_a_start_is_told_as_such() {
    let Some((mut silo, disk)) = silo_on_disk(&FLOOR) else { return };
    assert!(silo.stop().success());
    disk.fill();
    let ran = run(silo.command(&FLOOR)).exits(3);
    assert!(ran.stderr.contains("space"), "{ran:?}");
    disk.make_room();
    silo.restart(&FLOOR);
    assert_eq!(value(&silo.client(), "counter/a"), 5);
}

#[test]
fn a_silo_does_not_fill_its_disk_so_far_that_none_can_start() {
    let floor = ["--free-space-floor", "1MiB"];
    let mut silo = Silo::new();
    let Some(_disk) = Disk::mount(&silo.data(), 32) else { return };
    silo.restart(&floor);
    silo.client().deploy("rogue", "");
    let text = "x".repeat(200_000);
    let mut stored = 0;
    // Killed while much is in the log alone, and again when there is no room for more.
    for lives in 0..2 {
        let client = silo.client();
        let mut refused = 0;
        eventually("there is no room", || {
            let answer = client.call(&format!("rogue/r{stored}"), "store", &json!([text]));
            if answer.status == 200 {
                (stored, refused) = (stored + 1, 0);
            } else {
                let _ = answer.failure(503, "unavailable");
                refused += 1;
            }
            (refused > lives * 20).then_some(())
        });
        silo.kill();
        silo.restart(&floor);
        for n in 0..stored {
            assert_eq!(silo.client().call(&format!("rogue/r{n}"), "stored", &json!([])).ok(), text.as_str(), "r{n}");
        }
    }
    assert!(stored > 20, "{stored}");
    // The last of its room is enough for its end too.
    assert!(silo.stop().success());
    silo.restart(&floor);
}

#[test]
fn a_start_without_room_for_its_log_says_how_much_it_needs() {
    let floor = ["--free-space-floor", "0"];
    let Some((mut silo, disk)) = silo_on_disk(&floor) else { return };
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 6);
    silo.kill();
    disk.fill();
    let ran = run(silo.command(&floor)).exits(3);
    for part in ["too little room", "nothing is lost", "MiB free"] {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    disk.make_room();
    silo.restart(&floor);
    assert_eq!(value(&silo.client(), "counter/a"), 6);
}

#[test]
fn a_disk_that_takes_no_writes_is_told_as_such() {
    let Some((mut silo, disk)) = silo_on_disk(&FLOOR) else { return };
    assert!(silo.stop().success());
    disk.set_read_only(true);
    let ran = run(silo.command(&FLOOR)).exits(3);
    assert!(ran.stderr.contains("cannot be written"), "{ran:?}");
    disk.set_read_only(false);
    silo.restart(&FLOOR);
    assert_eq!(value(&silo.client(), "counter/b"), 7);
}

#[test]
fn a_dead_letter_is_shown_once_though_its_row_cannot_go() {
    let Some((silo, disk)) = silo_on_disk(&FLOOR) else { return };
    let client = silo.client();
    let traps = "package test:made;
        interface things { resource thing { constructor(key: string); touch: func(); } }
        world made { export things; }";
    let _ = client.deploy_bytes(&made_of(traps), "").expect(200);
    let _ = client.call("thing/a", "touch", &json!([])).expect(202);
    disk.fill();
    let letters = || client.get("/v1/dead-letters").expect(200).json()["dead_letters"].as_array().unwrap().len();
    eventually("it is a dead letter", || (letters() == 1).then_some(()));
    // Twice as long as it takes to try again to remove its row.
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let _ = client.call("counter/b", "increment", &json!([1])).failure(503, "unavailable");
        assert_eq!((letters(), client.metric("quark_tells_held")), (1, 1.0));
    }
    disk.make_room();
    eventually("its row is gone", || (client.metric("quark_tells_held") == 0.0).then_some(()));
    assert_eq!(letters(), 1);
    assert_eq!(client.metric("quark_dead_letters_total{reason=\"failed\"}"), 1.0);
}
