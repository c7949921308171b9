//! Supervision trees: parents, their children, and who ends or starts with whom.

use std::thread;
use std::time::{Duration, Instant};

use quark_e2e::{Answer, Client, Silo, eventually};
use serde_json::{Value, json};

/// All ways in which turns of parents run.
const WAYS: [(&str, &str); 3] =
    [("crew", ""), ("async/crew", ""), ("async/crew", "[[actor]]\nname = \"worker\"\nisolation = { packed = 4 }\n")];
const CREW: &str = "sample:crew/crews#crew";
pub(crate) const WORKER: &str = "sample:crew/workers#worker";
/// Restarts that do not wait.
pub(crate) const AT_ONCE: &str = "backoff = { min = \"1ms\", max = \"1ms\" }";

/// A silo with that sample, whose crews are supervised so.
fn silo(sample: &str, manifest: &str, supervision: &str) -> (Silo, Client) {
    let silo = Silo::start(&[]);
    let client = silo.client();
    let manifest = format!("[[actor]]\nname = \"crew\"\n[actor.supervision]\n{supervision}\n{manifest}");
    client.deploy(sample, &manifest);
    (silo, client)
}

pub(crate) fn plain(supervision: &str) -> (Silo, Client) {
    silo("crew", "", supervision)
}

pub(crate) fn ask(client: &Client, actor: &str, method: &str, arguments: &Value) -> Answer {
    client.call(actor, method, arguments)
}

#[track_caller]
fn hire(client: &Client, parent: &str, name: &str, lifetime: &str) {
    let _ = ask(client, parent, "hire", &json!([name, lifetime])).ok();
}

#[track_caller]
fn hire_all(client: &Client, parent: &str, names: &[&str]) {
    names.iter().for_each(|name| hire(client, parent, name, "permanent"));
}

fn adopt(client: &Client, parent: &str, kind: &str, key: &str) -> Answer {
    ask(client, parent, "adopt", &json!([{ "kind": kind, "key": key }, "permanent"]))
}

#[track_caller]
pub(crate) fn crash(client: &Client, actor: &str) {
    let _ = ask(client, actor, "crash", &json!([])).failure(502, "failed");
}

#[track_caller]
pub(crate) fn roster(client: &Client, parent: &str) -> Value {
    ask(client, parent, "roster", &json!([])).ok()
}

/// Whoever asks for one that is stopped may know it before its parent does.
#[track_caller]
pub(crate) fn comes_to_have(client: &Client, parent: &str, children: &[&str]) {
    eventually("these are its children", || (roster(client, parent) == json!(children)).then_some(()));
}

#[track_caller]
pub(crate) fn starts(client: &Client, actor: &str) -> u64 {
    ask(client, actor, "starts", &json!([])).number()
}

#[track_caller]
pub(crate) fn all_start(client: &Client, actors: &[&str], expected: &[u64]) {
    let mut last = Vec::new();
    eventually("they started so often", || {
        last = actors.iter().map(|actor| starts(client, actor)).collect();
        assert!(last.iter().zip(expected).all(|(one, expected)| one <= expected), "{last:?}, not {expected:?}");
        (last == expected).then_some(())
    });
}

#[track_caller]
pub(crate) fn is_stopped(client: &Client, actor: &str) {
    let failure = ask(client, actor, "total", &json!([])).failure(409, "stopped");
    assert_eq!(failure["may_be_done"], false, "{failure}");
}

#[track_caller]
pub(crate) fn comes_to_stop(client: &Client, actor: &str) {
    eventually("it is stopped", || (ask(client, actor, "total", &json!([])).status == 409).then_some(()));
    is_stopped(client, actor);
}

#[track_caller]
fn terminated(client: &Client, crew: &str) -> Vec<String> {
    let all = ask(client, crew, "terminated", &json!([])).ok();
    let key = |text: &Value| text.as_str().unwrap().split(": ").next().unwrap().to_owned();
    all.as_array().unwrap().iter().map(key).collect()
}

#[test]
fn children_are_spawned_in_order_and_called() {
    for (sample, manifest) in WAYS {
        let (mut silo, client) = silo(sample, manifest, AT_ONCE);
        hire_all(&client, "crew/a", &["ann", "bob", "cid"]);
        assert_eq!(ask(&client, "worker/a.ann", "causes", &json!([])).ok(), json!(["spawn"]));
        assert_eq!(ask(&client, "crew/a", "work-all", &json!([5])).number(), 15);
        assert_eq!(ask(&client, "worker/a.bob", "total", &json!([])).number(), 5);
        // One that is a child already keeps its place, and is not activated again.
        hire(&client, "crew/a", "ann", "transient");
        assert_eq!(starts(&client, "worker/a.ann"), 1);
        assert_eq!(roster(&client, "crew/a"), json!(["a.ann", "a.bob", "a.cid"]));
        let _ = ask(&client, "crew/a", "dismiss", &json!(["bob"])).ok();
        is_stopped(&client, "worker/a.bob");
        assert_eq!(roster(&client, "crew/a"), json!(["a.ann", "a.cid"]));
        silo.crash();
        let client = silo.client();
        assert_eq!(roster(&client, "crew/a"), json!(["a.ann", "a.cid"]));
        is_stopped(&client, "worker/a.bob");
        hire(&client, "crew/a", "bob", "permanent");
        assert_eq!(roster(&client, "crew/a"), json!(["a.ann", "a.cid", "a.bob"]));
        assert_eq!(ask(&client, "crew/a", "work-all", &json!([1])).number(), 18, "their state was kept: {sample}");
    }
}

#[test]
fn the_strategy_says_who_is_restarted_with_whom() {
    // Not in a pack: a trap of one ends the instance of all.
    for (sample, manifest) in &WAYS[..2] {
        for (strategy, expected) in
            [("one-for-one", [1, 2, 1]), ("all-for-one", [2, 2, 2]), ("rest-for-one", [1, 2, 2])]
        {
            let (_silo, client) = silo(sample, manifest, &format!("strategy = \"{strategy}\"\n{AT_ONCE}"));
            hire_all(&client, "crew/a", &["ann", "bob", "cid"]);
            assert_eq!(ask(&client, "crew/a", "work-all", &json!([1])).number(), 3);
            crash(&client, "worker/a.bob");
            all_start(&client, &["worker/a.ann", "worker/a.bob", "worker/a.cid"], &expected);
            assert_eq!(roster(&client, "crew/a"), json!(["a.ann", "a.bob", "a.cid"]), "{strategy}");
            assert_eq!(ask(&client, "crew/a", "work-all", &json!([1])).number(), 6);
            assert_eq!(starts(&client, "crew/a"), 1, "the parent goes on");
        }
    }
}

#[test]
fn children_of_one_that_fails_are_restarted_with_it() {
    let (_silo, client) = plain(AT_ONCE);
    hire_all(&client, "crew/a", &["ann", "bob"]);
    hire_all(&client, "worker/a.ann", &["kid"]);
    hire_all(&client, "worker/a.ann.kid", &["babe"]);
    crash(&client, "worker/a.ann");
    let tree = ["worker/a.ann", "worker/a.ann.kid", "worker/a.ann.kid.babe", "worker/a.bob"];
    all_start(&client, &tree, &[2, 2, 2, 1]);
    assert_eq!(roster(&client, "worker/a.ann.kid"), json!(["a.ann.kid.babe"]));
}

#[test]
fn a_lifetime_says_what_an_end_means() {
    let (_silo, client) = plain(AT_ONCE);
    let last_cause = |actor: &str| {
        let causes = ask(&client, actor, "causes", &json!([])).ok();
        causes.as_array().unwrap().last().unwrap().clone()
    };
    let generation = |actor: &str| client.inspect(actor)["activation"]["generation"].as_u64();
    for lifetime in ["permanent", "transient", "temporary"] {
        hire(&client, "crew/fails", lifetime, lifetime);
        hire(&client, "crew/ends", lifetime, lifetime);
    }
    for lifetime in ["permanent", "transient"] {
        let actor = format!("worker/fails.{lifetime}");
        crash(&client, &actor);
        all_start(&client, &[&actor], &[2]);
        assert_eq!(last_cause(&actor), "restart");
    }
    crash(&client, "worker/fails.temporary");
    comes_to_stop(&client, "worker/fails.temporary");
    comes_to_have(&client, "crew/fails", &["fails.permanent", "fails.transient"]);

    let first = generation("worker/ends.permanent");
    assert!(first.is_some());
    for lifetime in ["permanent", "transient", "temporary"] {
        let _ = ask(&client, &format!("worker/ends.{lifetime}"), "resign", &json!([])).ok();
    }
    comes_to_stop(&client, "worker/ends.temporary");
    eventually("the permanent one is back", || generation("worker/ends.permanent").filter(|it| Some(*it) != first));
    eventually("the transient one has left", || {
        client.inspect("worker/ends.transient")["activation"].is_null().then_some(())
    });
    all_start(&client, &["worker/ends.permanent"], &[2]);
    assert_eq!(last_cause("worker/ends.permanent"), "restart");
    comes_to_have(&client, "crew/ends", &["ends.permanent", "ends.transient"]);
    assert!(client.inspect("worker/ends.transient")["activation"].is_null());
    assert_eq!(starts(&client, "worker/ends.transient"), 2, "whoever needs it wakes it");
    assert_eq!(last_cause("worker/ends.transient"), "message");
}

#[test]
fn one_restart_too_many_is_the_parents_failure() {
    let (_silo, client) = plain(&format!("restarts = {{ max = 2, within = \"1h\" }}\n{AT_ONCE}"));
    hire_all(&client, "crew/a", &["ann", "bob"]);
    hire(&client, "crew/a", "temp", "temporary");
    for n in 1..=2 {
        crash(&client, "worker/a.ann");
        all_start(&client, &["worker/a.ann", "worker/a.bob", "crew/a"], &[n + 1, 1, 1]);
    }
    crash(&client, "worker/a.ann");
    // The crew has no parent: its manifest restarts it, and so its children.
    all_start(&client, &["crew/a", "worker/a.ann", "worker/a.bob"], &[2, 4, 2]);
    comes_to_stop(&client, "worker/a.temp");
    comes_to_have(&client, "crew/a", &["a.ann", "a.bob"]);
    // It counts anew.
    crash(&client, "worker/a.ann");
    all_start(&client, &["crew/a", "worker/a.ann", "worker/a.bob"], &[2, 5, 2]);
}

#[test]
fn failures_climb_to_the_top() {
    let (_silo, client) = plain(&format!("restarts = {{ max = 0, within = \"1h\" }}\n{AT_ONCE}"));
    let _ = adopt(&client, "crew/upper", CREW, "lower").ok();
    hire_all(&client, "crew/lower", &["ann"]);
    crash(&client, "worker/lower.ann");
    eventually("the topmost cools down", || {
        let answer = ask(&client, "crew/upper", "starts", &json!([]));
        (answer.status == 502).then_some(())
    });
    let failure = ask(&client, "crew/upper", "starts", &json!([])).failure(502, "failed");
    assert!(failure["message"].as_str().unwrap().contains("cools down"), "{failure}");
    // Whoever starts it starts them all.
    let _ = client.send("POST", "/v1/actors/crew/upper/-/start", &[], b"").expect(200);
    all_start(&client, &["crew/upper", "crew/lower", "worker/lower.ann"], &[2, 2, 2]);
}

#[test]
fn messages_wait_for_a_child_that_backs_off() {
    let (_silo, client) = plain("backoff = { min = \"3s\", max = \"3s\", jitter = 0 }");
    hire_all(&client, "crew/a", &["ann", "bob"]);
    assert_eq!(ask(&client, "worker/a.ann", "work", &json!([7])).number(), 7);
    crash(&client, "worker/a.ann");
    all_start(&client, &["worker/a.ann"], &[2]);
    crash(&client, "worker/a.ann");
    let failed = Instant::now();
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..4).map(|_| scope.spawn(|| ask(&client, "worker/a.ann", "work", &json!([1])))).collect();
        assert_eq!(ask(&client, "worker/a.bob", "work", &json!([1])).number(), 1, "its neighbour does not wait");
        let mut totals: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap().number()).collect();
        totals.sort_unstable();
        assert_eq!(totals, [8, 9, 10, 11]);
    });
    assert!(failed.elapsed() >= Duration::from_secs(2), "they waited");
    all_start(&client, &["worker/a.ann", "worker/a.bob", "crew/a"], &[3, 1, 1]);
}

#[test]
fn an_operator_and_a_deploy_end_the_wait_of_a_child() {
    let hour = "backoff = { min = \"1h\", max = \"1h\" }";
    let (_silo, client) = plain(hour);
    hire_all(&client, "crew/a", &["ann"]);
    let waits = || {
        crash(&client, "worker/a.ann");
        eventually("it waits", || client.inspect("worker/a.ann")["held"].is_object().then_some(()));
    };
    crash(&client, "worker/a.ann");
    all_start(&client, &["worker/a.ann"], &[2]);
    waits();
    let _ = client.send("POST", "/v1/actors/worker/a.ann/-/deactivate", &[], b"").expect(200);
    all_start(&client, &["worker/a.ann"], &[3]);
    waits();
    client.deploy(
        "crew",
        &format!("[[actor]]\nname = \"crew\"\n[actor.supervision]\n{hour}\nrestarts = {{ max = 9 }}\n"),
    );
    all_start(&client, &["worker/a.ann", "crew/a"], &[4, 2]);
}

#[test]
fn settings_that_come_while_a_parent_sleeps_hold_for_its_children() {
    let (_silo, client) = plain(AT_ONCE);
    hire_all(&client, "crew/a", &["ann"]);
    client
        .deploy("crew", "[[actor]]\nname = \"crew\"\n[actor.supervision]\nbackoff = { min = \"1h\", max = \"1h\" }\n");
    eventually("the parent sleeps", || client.inspect("crew/a")["activation"].is_null().then_some(()));
    crash(&client, "worker/a.ann");
    assert_eq!(starts(&client, "worker/a.ann"), 2);
    crash(&client, "worker/a.ann");
    eventually("it waits", || client.inspect("worker/a.ann")["held"].is_object().then_some(()));
    // A tree that begins with a child shows it as one.
    let tree = client.get("/v1/tree/worker/a.ann").expect(200).json();
    let node = &tree["roots"][0];
    assert_eq!((&node["state"], &node["lifetime"]), (&json!("down"), &json!("permanent")), "{tree}");
    assert!(node["left_ms"].as_u64().is_some_and(|ms| ms > 60_000), "{tree}");
}

#[test]
fn a_parent_that_ends_takes_its_tree_along() {
    let (mut silo, client) = plain(AT_ONCE);
    hire_all(&client, "crew/w", &["ann", "bob", "cid"]);
    // All of them go to another crew, in that order; the first one watches on.
    for name in ["ann", "bob", "cid"] {
        let _ = ask(&client, "crew/w", "dismiss", &json!([name])).ok();
        let _ = adopt(&client, "crew/a", WORKER, &format!("w.{name}")).ok();
        let _ = ask(&client, "crew/w", "watch", &json!([name])).ok();
    }
    hire_all(&client, "worker/w.bob", &["kid"]);
    assert_eq!(terminated(&client, "crew/w"), Vec::<String>::new());
    let _ = silo.cli(&["stop", "crew/a"]).exits(0);
    let tree = ["worker/w.ann", "worker/w.bob", "worker/w.cid", "worker/w.bob.kid"];
    tree.iter().for_each(|actor| comes_to_stop(&client, actor));
    let told = eventually("who watches is told", || Some(terminated(&client, "crew/w")).filter(|all| all.len() == 3));
    assert_eq!(told, ["w.cid", "w.bob", "w.ann"], "the last one that came is the first one to go");
    silo.crash();
    let client = silo.client();
    tree.iter().for_each(|actor| is_stopped(&client, actor));
    assert_eq!(roster(&client, "crew/w"), json!([]));
}

#[test]
fn a_second_parent_and_a_circle_are_refused() {
    for (sample, manifest) in WAYS {
        let (_silo, client) = silo(sample, manifest, AT_ONCE);
        let refused = |parent: &str, kind: &str, key: &str, about: &str| {
            let error = adopt(&client, parent, kind, key).actor_error().to_string();
            assert!(error.contains(about), "{error}");
        };
        hire_all(&client, "crew/a", &["ann"]);
        refused("crew/b", WORKER, "a.ann", "crew/a");
        let _ = adopt(&client, "crew/a", CREW, "b").ok();
        let _ = adopt(&client, "crew/b", CREW, "c").ok();
        for (parent, key) in [("crew/a", "a"), ("crew/b", "a"), ("crew/c", "a"), ("crew/c", "b")] {
            refused(parent, CREW, key, "crew");
        }
        assert_eq!((roster(&client, "crew/a"), roster(&client, "crew/c")), (json!(["a.ann", "b"]), json!([])));
        let error = ask(&client, "crew/b", "dismiss", &json!(["ann"])).actor_error().to_string();
        assert!(error.contains("worker/b.ann"), "{error}");
        // Whom its parent has stopped, another one may take.
        let _ = ask(&client, "crew/a", "dismiss", &json!(["ann"])).ok();
        let _ = adopt(&client, "crew/c", WORKER, "a.ann").ok();
        assert_eq!(roster(&client, "crew/c"), json!(["a.ann"]));
        assert_eq!(starts(&client, "crew/a") + starts(&client, "crew/b") + starts(&client, "crew/c"), 3, "no failures");
    }
}

#[test]
fn a_child_that_does_not_wake_is_the_answer_of_spawn() {
    let (_silo, client) = plain(AT_ONCE);
    let _ = ask(&client, "worker/a.ann", "refuse", &json!([true])).ok();
    let _ = client.send("POST", "/v1/actors/worker/a.ann/-/deactivate", &[], b"").expect(200);
    let error = ask(&client, "crew/a", "hire", &json!(["ann", "permanent"])).actor_error().to_string();
    assert!(error.contains("refuses to work"), "{error}");
    assert_eq!(roster(&client, "crew/a"), json!([]));
    let error = adopt(&client, "crew/a", "no:such/kinds#kind", "x").actor_error().to_string();
    assert!(error.contains("no:such"), "{error}");
    client.deploy("rogue", "[[actor]]\nname = \"rogue\"\n[actor.limits]\nturn = \"500ms\"\n");
    for (key, about) in
        [("refuse-x", "will not wake"), ("trap-activate-x", "while waking"), ("spin-activate-x", "limits.turn")]
    {
        let error = adopt(&client, "crew/a", "sample:rogue/rogues#rogue", key).actor_error().to_string();
        assert!(error.contains(about), "{error}");
    }
    assert_eq!(roster(&client, "crew/a"), json!([]));
    hire_all(&client, "crew/a", &["bob"]);
    assert_eq!(ask(&client, "crew/a", "work-all", &json!([1])).number(), 1);
}

#[test]
fn an_actor_has_so_many_children_and_no_more() {
    const CHILDREN_MAX: usize = 1024;
    let (_silo, client) = plain(AT_ONCE);
    for n in 0..CHILDREN_MAX {
        hire(&client, "crew/a", &n.to_string(), "transient");
    }
    let error = ask(&client, "crew/a", "hire", &json!(["more", "transient"])).actor_error().to_string();
    assert!(error.contains("at most 1024 children"), "{error}");
    assert_eq!(roster(&client, "crew/a").as_array().unwrap().len(), CHILDREN_MAX);
    let _ = ask(&client, "crew/a", "dismiss", &json!(["7"])).ok();
    hire(&client, "crew/a", "more", "transient");
    assert_eq!(roster(&client, "crew/a")[CHILDREN_MAX - 1], "a.more");
}

#[test]
fn a_spawn_is_undone_when_its_parent_traps() {
    for (sample, manifest) in WAYS {
        let (mut silo, client) = silo(sample, manifest, AT_ONCE);
        hire_all(&client, "crew/a", &["ann"]);
        for _ in 0..3 {
            let _ = ask(&client, "crew/a", "hire-and-crash", &json!(["bob"])).failure(502, "failed");
        }
        assert_eq!(roster(&client, "crew/a"), json!(["a.ann"]));
        // Nobody's child: another one may take it.
        eventually("it is free", || (adopt(&client, "crew/b", WORKER, "a.bob").status == 200).then_some(()));
        silo.crash();
        let client = silo.client();
        assert_eq!((roster(&client, "crew/a"), roster(&client, "crew/b")), (json!(["a.ann"]), json!(["a.bob"])));
    }
}

#[test]
fn who_watches_is_told_of_an_end_for_good_and_of_nothing_else() {
    let (mut silo, client) = plain(AT_ONCE);
    hire_all(&client, "crew/a", &["ann", "bob", "cid"]);
    hire(&client, "crew/a", "temp", "temporary");
    for name in ["ann", "bob", "cid", "temp"] {
        let _ = ask(&client, "crew/a", "watch", &json!([name])).ok();
    }
    let _ = ask(&client, "crew/a", "unwatch", &json!(["cid"])).ok();
    crash(&client, "worker/a.ann");
    all_start(&client, &["worker/a.ann"], &[2]);
    let _ = ask(&client, "crew/a", "dismiss", &json!(["cid"])).ok();
    let _ = ask(&client, "crew/a", "dismiss", &json!(["bob"])).ok();
    let error = ask(&client, "crew/a", "watch", &json!(["bob"])).actor_error().to_string();
    assert!(error.contains("stopped"), "{error}");
    eventually("it is told of bob", || (terminated(&client, "crew/a") == ["a.bob"]).then_some(()));
    crash(&client, "worker/a.temp");
    eventually("it is told of temp", || (terminated(&client, "crew/a") == ["a.bob", "a.temp"]).then_some(()));
    silo.crash();
    let client = silo.client();
    assert_eq!(terminated(&client, "crew/a"), ["a.bob", "a.temp"]);
}

#[test]
fn operators_stop_and_start_children() {
    let (mut silo, client) = plain(AT_ONCE);
    hire_all(&client, "crew/a", &["ann", "bob"]);
    assert_eq!(ask(&client, "crew/a", "work-all", &json!([4])).number(), 8);
    let _ = silo.cli(&["stop", "worker/a.ann"]).exits(0);
    is_stopped(&client, "worker/a.ann");
    silo.crash();
    let client = silo.client();
    is_stopped(&client, "worker/a.ann");
    assert_eq!(ask(&client, "worker/a.bob", "total", &json!([])).number(), 4);
    let _ = silo.cli(&["start", "worker/a.ann"]).exits(0);
    assert_eq!(ask(&client, "worker/a.ann", "work", &json!([1])).number(), 5);
    // Its parent can have it back in any case.
    hire(&client, "crew/a", "ann", "permanent");
    crash(&client, "worker/a.ann");
    assert_eq!(ask(&client, "worker/a.ann", "total", &json!([])).number(), 5);
}
