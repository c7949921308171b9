//! Reminders: turns that an actor is given at its times, whatever becomes of its silo.

use std::sync::Arc;
use std::sync::mpsc;

use quark_core::reminders::{Fired, MADE_UP_MAX, Stand};
use quark_e2e::{Client, Silo, eventually};
use quark_silo::store::Store as _;
use quark_silo::store::redb::{RedbOptions, RedbStore};
use serde_json::{Value, json};

const PACKED: &str = "[actor]\nisolation = { packed = 4 }\n";
/// It may fail often, and is back at once.
const OFTEN: &str = "[actor.supervision]\nrestarts = { max = 1000, within = \"1m\" }\n\
    backoff = { min = \"1ms\", max = \"1ms\" }\n";
const FULL: &str = "[actor]\nreentrancy = \"full\"\n";
/// All ways in which turns run.
const WAYS: [(&str, &str); 4] =
    [("digest", ""), ("async/digest", ""), ("async/digest", PACKED), ("async/digest", FULL)];
const FAR: u64 = 3_600_000;

fn digest(sample: &str, manifest: &str) -> (Silo, Client) {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy(sample, manifest);
    (silo, client)
}

#[track_caller]
fn call(client: &Client, actor: &str, method: &str, arguments: &Value) -> Value {
    client.call(actor, method, arguments).ok()
}

/// The digests that were made for that reminder.
fn made(client: &Client, actor: &str, reminder: &str) -> Vec<Value> {
    let made = call(client, actor, "made", &json!([]));
    made.as_array().unwrap().iter().filter(|one| one["reminder"] == reminder).cloned().collect()
}

#[track_caller]
fn reaches(client: &Client, actor: &str, reminder: &str, least: usize) -> Vec<Value> {
    eventually("it is made", || Some(made(client, actor, reminder)).filter(|made| made.len() >= least))
}

fn planned(client: &Client, actor: &str) -> Vec<String> {
    let planned = call(client, actor, "planned", &json!([]));
    planned.as_array().unwrap().iter().map(|one| one["reminder"].as_str().unwrap().to_owned()).collect()
}

fn listed(client: &Client, actor: &str) -> Vec<Value> {
    let path = if actor.is_empty() { "/v1/reminders".to_owned() } else { format!("/v1/reminders/{actor}") };
    client.get(&path).expect(200).json()["reminders"].as_array().unwrap().clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

#[test]
fn a_reminder_wakes_its_actor_and_is_handled_with_what_its_turn_writes() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = digest(sample, manifest);
        check_fires(&client, &format!("{sample} {manifest}"));
    }
}

/// They wake it, each time once.
#[track_caller]
pub(crate) fn check_fires(client: &Client, way: &str) {
    call(client, "digest/a", "add", &json!(["x"]));
    call(client, "digest/a", "add", &json!(["y"]));
    call(client, "digest/a", "once", &json!(["soon", 300]));
    let _ = client.send("POST", "/v1/actors/digest/a/-/deactivate", &[], b"").expect(200);
    let before = client.metric("quark_reminder_turns_total");
    eventually("it fires", || (client.metric("quark_reminder_turns_total") > before).then_some(()));
    let soon = reaches(client, "digest/a", "soon", 1);
    assert_eq!((&soon[0]["entries"], &soon[0]["payload"]), (&json!(2), &json!(b"once")), "{way}");
    assert!(number(&soon[0]["at"]) >= number(&soon[0]["due"]));
    assert_eq!(call(client, "digest/a", "woke", &json!([])), json!("reminder"));
    assert_eq!((planned(client, "digest/a"), listed(client, "digest/a")), (Vec::new(), Vec::new()));

    call(client, "digest/a", "every", &json!(["often", 100, "fire-all"]));
    let often = reaches(client, "digest/a", "often", 4);
    let gaps: Vec<u64> = often.windows(2).map(|two| number(&two[1]["due"]) - number(&two[0]["due"])).collect();
    assert!(gaps.iter().all(|gap| *gap == 100), "each time once: {gaps:?}");
    call(client, "digest/a", "cancel", &json!(["often"]));
    assert_eq!(planned(client, "digest/a"), [""; 0]);
    let often = made(client, "digest/a", "often").len();
    call(client, "digest/a", "once", &json!(["later", 300]));
    reaches(client, "digest/a", "later", 1);
    assert_eq!(made(client, "digest/a", "often").len(), often, "it was cancelled");
}

#[test]
fn what_a_turn_registers_and_cancels_itself_wins() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = digest(sample, manifest);
        check_own(&client);
    }
}

/// What a reminder's turn registers and cancels itself wins.
#[track_caller]
pub(crate) fn check_own(client: &Client) {
    call(client, "digest/a", "once", &json!(["again", 0]));
    call(client, "digest/a", "every", &json!(["stop", 100, "fire-once"]));
    reaches(client, "digest/a", "again", 1);
    reaches(client, "digest/a", "stop", 1);
    let rows = listed(client, "digest/a");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["name"], &rows[0]["missed"]), (&json!("again"), &json!("skip")));
    assert!(number(&rows[0]["next_ms"]) > number(&made(client, "digest/a", "again")[0]["at"]) + FAR / 2);
    call(client, "digest/a", "once", &json!(["again", FAR]));
    let replaced = listed(client, "digest/a");
    assert_eq!((replaced.len(), &replaced[0]["missed"]), (1, &json!("fire-once")));
    assert_eq!(client.inspect("digest/a")["reminders"], 1);
}

#[test]
fn a_turn_that_traps_registers_nothing_and_refusals_say_why() {
    let (_silo, client) = digest("digest", "");
    check_refused(&client);
}

/// What a trap undoes, and what is over a bound.
#[track_caller]
pub(crate) fn check_refused(client: &Client) {
    let _ = client.call("digest/a", "undone", &json!(["gone"])).expect(502);
    assert_eq!(planned(client, "digest/a"), [""; 0]);
    let refused = |method: &str, arguments: Value| client.call("digest/a", method, &arguments).text();
    assert!(refused("at", json!(["x", "0 0 30 2 *"])).contains("never comes"));
    assert!(refused("at", json!(["x", "soon"])).contains("five fields"));
    assert!(refused("every", json!(["x", 10, "skip"])).contains("every 100 ms at most"));
    assert!(refused("once", json!(["", 10])).contains("1 to 256 bytes"));
    assert_eq!(listed(client, "").len(), 0);
    assert!(refused("many", json!([257, FAR])).contains("at most 256 reminders"));
    assert_eq!(planned(client, "digest/a").len(), 256, "an error is an answer, and commits");
    call(client, "digest/a", "cancel", &json!(["17"]));
    call(client, "digest/a", "once", &json!(["new", FAR]));
    assert!(refused("once", json!(["17", FAR])).contains("at most 256 reminders"));
    let page = client.get("/v1/reminders?limit=10").expect(200).json();
    assert_eq!((page["reminders"].as_array().unwrap().len(), &page["truncated"]), (10, &json!(true)));
}

#[test]
fn a_turn_that_fails_is_tried_again_and_then_is_a_dead_letter() {
    for name in ["fail", "trap"] {
        let (_silo, client) = digest("digest", OFTEN);
        call(&client, "digest/a", "every", &json!([name, FAR, "fire-once"]));
        let fire = format!("/v1/actors/digest/a/-/reminders/{name}/fire");
        let _ = client.send("POST", &fire, &[], b"").expect(200);
        let tries = eventually("it was tried", || {
            let tries = number(&listed(&client, "digest/a")[0]["tries"]);
            (tries >= 3).then_some(tries)
        });
        assert!(tries < 10);
        call(&client, "digest/a", "add", &json!(["calls are answered meanwhile"]));
        // The rest of the tries would take a minute.
        let _ = client.send("DELETE", &format!("/v1/actors/digest/a/-/reminders/{name}"), &[], b"").expect(200);
        assert_eq!(made(&client, "digest/a", name).len(), 0);
    }
    let (_silo, client) = digest("digest", "");
    call(&client, "digest/a", "every", &json!(["often", 200, "fire-once"]));
    let _ = client.send("POST", "/v1/actors/digest/a/-/stop", &[], b"").expect(200);
    let letter = eventually("it is a dead letter", || {
        let letters = client.get("/v1/dead-letters?reason=stopped").expect(200).json();
        letters["dead_letters"].as_array().unwrap().iter().find(|it| it["method"] == "on-reminder").cloned()
    });
    assert_eq!(letter["detail"], "reminder `often`");
    let _ = client.send("POST", "/v1/actors/digest/a/-/start", &[], b"").expect(200);
    reaches(&client, "digest/a", "often", 1);
}

#[test]
fn an_operator_lists_fires_and_deletes() {
    let (silo, client) = digest("digest", "");
    call(&client, "digest/a", "at", &json!(["daily", "0 8 * * *"]));
    call(&client, "digest/b", "once", &json!(["far", FAR]));
    let shown = silo.cli(&["reminders"]).exits(0).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 3 && lines[0].contains("SCHEDULE"), "{shown}");
    assert!(shown.contains("digest/a") && shown.contains("0 8 * * *") && shown.contains("in "), "{shown}");
    let one = silo.cli(&["reminders", "digest/b", "--json"]).exits(0).json();
    assert_eq!((&one["reminders"][0]["name"], &one["truncated"]), (&json!("far"), &json!(false)));
    let fired = silo.cli(&["reminders", "digest/a", "--fire", "daily"]).exits(0).stdout;
    assert_eq!(fired.trim(), "fires now");
    reaches(&client, "digest/a", "daily", 1);
    assert_eq!(listed(&client, "digest/a").len(), 1, "its times go on");
    assert_eq!(silo.cli(&["reminders", "digest/a", "--delete", "daily"]).exits(0).stdout.trim(), "deleted");
    assert_eq!(listed(&client, "digest/a"), Vec::<Value>::new());
    let none = silo.cli(&["reminders", "digest/b", "--delete", "near"]).exits(2);
    assert!(none.stderr.contains("no reminder `near`") && none.stderr.contains("it has far"), "{}", none.stderr);
    let shown = silo.cli(&["inspect", "digest/b"]).exits(0).stdout;
    assert!(shown.contains("reminders") && shown.contains("1: `quark reminders` shows them"), "{shown}");
}

#[test]
fn reminders_survive_whatever_kills_the_silo_and_fire_when_they_are_due() {
    check_survival(&mut Silo::with(&["digest"]));
}

/// Whatever ends the silo, they fire when they are due.
#[track_caller]
pub(crate) fn check_survival(silo: &mut Silo) {
    let client = silo.client();
    call(&client, "digest/a", "add", &json!(["x"]));
    call(&client, "digest/a", "once", &json!(["soon", 100]));
    call(&client, "digest/b", "once", &json!(["far", FAR]));
    silo.kill();
    silo.restart(&[]);
    let client = silo.client();
    assert_eq!(reaches(&client, "digest/a", "soon", 1)[0]["entries"], 1);
    assert_eq!(planned(&client, "digest/b"), ["far"]);
    // Killed all the time, each of its times is handled once: the row and the digest are one commit.
    call(&client, "digest/c", "every", &json!(["often", 100, "fire-all"]));
    for _ in 0..5 {
        let before = made(&silo.client(), "digest/c", "often").len();
        reaches(&silo.client(), "digest/c", "often", before + 2);
        silo.crash();
    }
    let client = silo.client();
    let before = made(&client, "digest/c", "often").len();
    let often = reaches(&client, "digest/c", "often", before + 5);
    let dues: Vec<u64> = often.iter().map(|one| number(&one["due"])).collect();
    assert!(dues.windows(2).all(|two| two[1] - two[0] == 100), "none is lost and none made twice: {dues:?}");
    // A calm stop too.
    silo.stop();
    silo.restart(&[]);
    assert_eq!(planned(&silo.client(), "digest/b"), ["far"]);
}

/// Moves all reminders of a silo that is down to times so long before.
fn were_due_before(silo: &Silo, ms: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = RedbStore::open(&silo.data(), RedbOptions::default()).unwrap();
    let rows = runtime.block_on(store.due(None, 10)).unwrap();
    for row in rows {
        let (moved, landed) = mpsc::channel();
        let before = Stand::at(row.due - ms);
        store.move_reminder(Fired::new(Arc::new(row), Some(before)), Box::new(move |outcome| _ = moved.send(outcome)));
        assert_eq!(landed.recv().unwrap(), Ok(true));
    }
    runtime.block_on(store.close());
}

#[test]
fn after_a_long_downtime_the_latest_times_are_made_up_and_the_rest_is_told_once() {
    const MORE: u64 = 500;
    // None comes before the silo stops.
    const EACH_MS: u64 = 30_000;
    let (mut silo, client) = digest("digest", "");
    call(&client, "digest/a", "every", &json!(["often", EACH_MS, "fire-all"]));
    silo.stop();
    were_due_before(&silo, (MADE_UP_MAX + MORE) * EACH_MS);
    silo.restart(&[]);
    let client = silo.client();
    let often = reaches(&client, "digest/a", "often", 20);
    let gaps: Vec<u64> = often.windows(2).map(|two| number(&two[1]["due"]) - number(&two[0]["due"])).collect();
    let left_out = gaps[0] / EACH_MS - 1;
    assert!((MORE - 2..=MORE).contains(&left_out), "{gaps:?}");
    assert!(gaps[1..].iter().all(|gap| *gap == EACH_MS), "{gaps:?}");
    let letters = client.get("/v1/dead-letters?reason=expired").expect(200).json();
    let letters = letters["dead_letters"].as_array().unwrap();
    assert_eq!((letters.len(), &letters[0]["method"]), (1, &json!("on-reminder")), "{letters:?}");
    let told = format!("reminder `often`: {left_out} of its times passed without a turn; the last 1000 are made up");
    assert_eq!(letters[0]["detail"], json!(told));
}
