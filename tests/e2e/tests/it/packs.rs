//! Kinds whose actors share instances: each actor is as it would be alone, and what ends an instance
//! fails nobody but the actor that did it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use quark_e2e::{Answer, Client, Silo, component, eventually, kills, stamped};
use serde_json::{Value, json};

use crate::durability::check_money;

/// The same source in the lanes that may be packed: direct and concurrent.
const FLAVOURS: [&str; 2] = ["tenant", "async/tenant"];

fn packed(actors: u32, more: &str) -> String {
    format!("[actor]\nisolation = {{ packed = {actors} }}\n{more}")
}

fn tenants(sample: &str, manifest: &str) -> Silo {
    let silo = Silo::start(&["--workers", "2"]);
    silo.client().deploy(sample, manifest);
    silo
}

fn ask(client: &Client, actor: &str, method: &str) -> Answer {
    client.call(actor, method, &json!([]))
}

fn add(client: &Client, actor: &str, by: u64) -> u64 {
    client.call(actor, "add", &json!([by])).number()
}

fn total(client: &Client, actor: &str) -> u64 {
    ask(client, actor, "total").number()
}

fn look(client: &Client, actor: &str) -> Value {
    ask(client, actor, "look").ok()
}

fn instance(client: &Client, actor: &str) -> u64 {
    look(client, actor)["instance"].as_u64().unwrap()
}

/// How often it failed since the silo started.
fn failures(client: &Client, actor: &str) -> u64 {
    client.inspect(actor)["last_failure"]["count"].as_u64().unwrap_or(0)
}

fn is_running(client: &Client, actor: &str) -> Option<()> {
    (client.inspect(actor)["activation"]["running"] == true).then_some(())
}

#[test]
fn actors_of_a_pack_share_an_instance_and_nothing_else() {
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(3, ""));
        let client = silo.client();
        let actors: Vec<String> = (0..7).map(|key| format!("tenant/t{key}")).collect();
        for (n, actor) in (1..).zip(&actors) {
            assert_eq!(add(&client, actor, n), n);
            assert_eq!(ask(&client, actor, "ping").number(), 1, "{sample}: {actor} answered nobody before");
        }
        let mut instances = BTreeMap::<u64, u32>::new();
        for (n, actor) in (1..).zip(&actors) {
            assert_eq!((total(&client, actor), ask(&client, actor, "ping").number()), (n, 2), "{sample}: {actor}");
            let home = look(&client, actor);
            assert_eq!(home["cause"], "message", "{home}");
            *instances.entry(home["instance"].as_u64().unwrap()).or_default() += 1;
        }
        assert!(instances.values().all(|actors| *actors <= 3), "{sample}: {instances:?}");
        assert!(instances.len() < actors.len(), "{sample}: nobody shares: {instances:?}");

        for actor in &actors {
            let _ = client.call(actor, "say", &json!([format!("said by {actor}!")])).expect(200);
        }
        for actor in &actors {
            let said = format!("said by {actor}!");
            let line =
                eventually("it is logged", || silo.log().lines().find(|line| line.contains(&said)).map(str::to_owned));
            assert!(line.contains(&format!("actor={actor} ")), "it is not told whose it is: {line}");
        }
    }
}

#[test]
fn a_trap_ends_the_instance_and_fails_its_actor_alone() {
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(100, ""));
        let client = silo.client();
        let actors = ["tenant/a", "tenant/b", "tenant/c"];
        for actor in actors {
            assert_eq!(add(&client, actor, 5), 5);
            assert_eq!(ask(&client, actor, "ping").number(), 1);
        }
        let before = instance(&client, "tenant/a");
        for count in 1..=2 {
            let failure = client.call("tenant/a", "add-then-trap", &json!([7])).failure(502, "failed");
            assert!(failure["message"].as_str().unwrap().contains("added for nothing"), "{failure}");
            for actor in actors {
                assert_eq!(ask(&client, actor, "ping").number(), 1, "{sample}: {actor} has a new instance");
                assert_eq!(total(&client, actor), 5, "{sample}: {actor}");
            }
            assert_ne!(instance(&client, "tenant/b"), before);
            assert_eq!(look(&client, "tenant/a")["cause"], "restart");
            assert_eq!(actors.map(|actor| failures(&client, actor)), [count, 0, 0], "{sample}");
        }
        for actor in actors {
            assert_eq!(add(&client, actor, 1), 6, "{sample}: {actor}");
        }
    }
}

/// What a hostile actor does ends its instance, and its neighbour there is none the worse.
#[track_caller]
fn check_fails(client: &Client, kind: &str, (method, arguments): (&str, &Value)) {
    let (rogue, neighbour) = (format!("{kind}/{method}"), format!("{kind}/neighbour"));
    let pings = |actor: &str| ask(client, actor, "ping").number();
    let _ = pings(&rogue);
    let before = pings(&neighbour);
    let _ = client.call(&rogue, method, arguments).failure(502, "failed");
    assert_eq!(failures(client, &rogue), 1, "{method}");
    assert_eq!(failures(client, &neighbour), 0, "{method}");
    assert_eq!((pings(&neighbour), pings(&rogue)), (1, 1), "{method}, {before} pings before: a new instance");
}

#[test]
fn hostile_actors_of_a_pack_end_at_their_limits_and_hurt_nobody_else() {
    let limits = "[actor.limits]\nturn = \"300ms\"\n";
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(100, limits));
        let client = silo.client();
        assert_eq!(add(&client, "tenant/neighbour", 3), 3);
        for what in [("spin", json!([])), ("trap", json!(["boo"])), ("hoard", json!([1000]))] {
            check_fails(&client, "tenant", (what.0, &what.1));
            assert_eq!(total(&client, "tenant/neighbour"), 3);
        }
    }
    let silo = Silo::start(&[]);
    let client = silo.client();
    // Handles are counted for the whole instance, a hundred times what one actor has alone.
    client.deploy("async/rogue", &packed(100, &format!("{limits}handles = 100\n")));
    let _ = client.call("rogue/neighbour", "store", &json!(["kept"])).expect(200);
    for what in [
        ("spin", json!([])),
        ("trap", json!(["boo"])),
        ("abort", json!([])),
        ("recurse", json!([])),
        ("hoard", json!([1000])),
        ("many-handles", json!([20_000])),
        ("store-then-trap", json!(["lost"])),
        ("commit-then-trap", json!(["first", "second"])),
    ] {
        check_fails(&client, "rogue", (what.0, &what.1));
        assert_eq!(ask(&client, "rogue/neighbour", "stored").ok(), "kept");
    }
    assert_eq!(ask(&client, "rogue/commit-then-trap", "stored").ok(), "first");
}

#[test]
fn who_does_not_wake_leaves_the_others_as_they_are() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    client.deploy("async/rogue", &packed(100, "[actor.limits]\nturn = \"300ms\"\n"));
    let pings = || ask(&client, "rogue/neighbour", "ping").number();
    let _ = client.call("rogue/neighbour", "store", &json!(["kept"])).expect(200);
    assert_eq!(pings(), 1);
    // A refusal is an answer of the hook: nothing is wrong with the instance.
    let failure = ask(&client, "rogue/refuse-1", "ping").failure(502, "failed");
    assert!(failure["message"].as_str().unwrap().contains("refuse-1 will not wake"), "{failure}");
    assert_eq!(pings(), 2);
    for rogue in ["rogue/trap-activate-1", "rogue/spin-activate-1"] {
        let _ = ask(&client, rogue, "ping").failure(502, "failed");
        assert_eq!((failures(&client, rogue), failures(&client, "rogue/neighbour")), (1, 0), "{rogue}");
        assert_eq!((pings(), ask(&client, "rogue/neighbour", "stored").ok()), (1, json!("kept")), "{rogue}");
    }
}

#[test]
fn a_spinner_holds_up_its_pack_until_its_limit_and_no_other_pack() {
    let silo = tenants("tenant", &packed(2, "[actor.limits]\nturn = \"2s\"\n"));
    let client = silo.client();
    let mut packs = BTreeMap::<u64, Vec<String>>::new();
    for key in 0..6 {
        let actor = format!("tenant/{key}");
        assert_eq!(add(&client, &actor, 1), 1);
        packs.entry(instance(&client, &actor)).or_default().push(actor);
    }
    let shared = packs.values().find(|actors| actors.len() == 2).expect("two share an instance").clone();
    let other = packs.values().flatten().find(|actor| !shared.contains(actor)).expect("others do not").clone();
    let answered = thread::scope(|scope| {
        let spin = scope.spawn(|| ask(&client, &shared[0], "spin").failure(502, "failed"));
        eventually("it spins", || is_running(&client, &shared[0]));
        let again = scope.spawn(|| look(&client, &shared[0]));
        // These wait for the instance, which ends before they have it.
        for n in 0..4 {
            let (client, actor) = (&client, &shared[1]);
            scope.spawn(move || {
                if n == 0 {
                    let _ = total(client, actor);
                } else {
                    let _ = add(client, actor, 1);
                }
            });
        }
        let mut answered = 0;
        while !spin.is_finished() {
            assert_eq!(add(&client, &other, 1), answered + 2);
            answered += 1;
        }
        assert_eq!(again.join().unwrap()["cause"], "restart");
        answered
    });
    assert!(answered > 3, "only {answered} calls were answered while another pack's actor spun");
    assert_eq!((total(&client, &shared[0]), total(&client, &shared[1])), (1, 4), "nothing is lost or done twice");
    assert_eq!([&shared[0], &shared[1], &other].map(|actor| failures(&client, actor)), [1, 0, 0]);
}

#[test]
fn turns_of_neighbours_that_run_when_their_instance_ends_are_answered_as_failed() {
    let silo = tenants("async/tenant", &packed(10, "[actor.limits]\nturn = \"60s\"\n"));
    let client = silo.client();
    let actors = ["tenant/a", "tenant/b", "tenant/c"];
    assert_eq!(actors.map(|actor| add(&client, actor, 1)), [1; 3]);
    assert_eq!(actors.map(|actor| instance(&client, actor)), [instance(&client, "tenant/a"); 3]);
    thread::scope(|scope| {
        let wait = |actor| {
            let client = &client;
            move || client.call(actor, "add-and-meet", &json!([5, 100]))
        };
        let waiting = [scope.spawn(wait("tenant/b")), scope.spawn(wait("tenant/c"))];
        // Turns of a pack's actors overlap: this one's are answered meanwhile.
        eventually("both wait", || (ask(&client, "tenant/a", "met").number() == 2).then_some(()));
        let _ = client.call("tenant/a", "trap", &json!(["boo"])).failure(502, "failed");
        for turn in waiting {
            let _ = turn.join().unwrap().failure(502, "failed");
        }
    });
    assert_eq!(actors.map(|actor| total(&client, actor)), [1; 3], "what was not committed is undone");
    assert_eq!(actors.map(|actor| failures(&client, actor)), [1, 0, 0]);
    // All three meet in the next instance.
    thread::scope(|scope| {
        let meet = |actor| {
            let client = &client;
            move || client.call(actor, "add-and-meet", &json!([5, 3])).number()
        };
        for turn in actors.map(|actor| scope.spawn(meet(actor))) {
            assert_eq!(turn.join().unwrap(), 6);
        }
    });
}

/// Adds to many actors of a pack, one of which traps again and again.
fn check_load(sample: &str, may_fail: bool) {
    let mut silo = tenants(sample, &packed(100, ""));
    let client = silo.client();
    let done = [const { AtomicU64::new(0) }; 4];
    thread::scope(|scope| {
        let adds = done.iter().enumerate().map(|(key, done)| {
            let client = client.clone();
            scope.spawn(move || {
                for _ in 0..200 {
                    let answer = client.call(&format!("tenant/{key}"), "add", &json!([1]));
                    if answer.status == 200 {
                        done.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let failure = answer.failure(502, "failed");
                        assert!(may_fail, "a neighbour's message failed: {failure}");
                    }
                }
            })
        });
        let adds: Vec<_> = adds.collect();
        let mut traps = 0;
        while adds.iter().any(|adds| !adds.is_finished()) {
            let _ = client.call("tenant/rogue", "trap", &json!(["boo"])).failure(502, "failed");
            traps += 1;
        }
        assert_eq!(failures(&client, "tenant/rogue"), traps);
    });
    let check = |client: &Client| {
        for (key, done) in done.iter().enumerate() {
            let actor = format!("tenant/{key}");
            assert_eq!(total(client, &actor), done.load(Ordering::Relaxed), "{sample}: what was answered, and no more");
            assert_eq!(failures(client, &actor), 0);
        }
    };
    check(&client);
    silo.crash();
    check(&silo.client());
}

#[test]
fn traps_of_one_lose_nothing_of_the_others_under_load() {
    check_load("tenant", false);
    // Here neighbours may be in the middle of their turns.
    check_load("async/tenant", true);
}

#[test]
fn tells_are_handled_once_though_their_instance_ends_amid_them() {
    const TELLS: u64 = 300;
    for sample in FLAVOURS {
        let mut silo = tenants(sample, &packed(100, ""));
        let client = silo.client();
        let note = |client: &Client| drop(ask(client, "tenant/a", "note").expect(202));
        thread::scope(|scope| {
            scope.spawn(|| (0..TELLS).for_each(|_| note(&client)));
            // Not as often as a tell is tried.
            for n in 1..=3 {
                eventually("some are handled", || (total(&client, "tenant/a") >= n * TELLS / 5).then_some(()));
                let _ = client.call("tenant/b", "trap", &json!(["boo"])).failure(502, "failed");
            }
        });
        let all = |client: &Client, expected: u64| {
            eventually("all tells are handled", || {
                let total = total(client, "tenant/a");
                assert!(total <= expected, "{sample}: a tell was handled twice: {total}");
                (total == expected).then_some(())
            });
        };
        all(&client, TELLS);
        (0..20).for_each(|_| note(&client));
        silo.crash();
        all(&silo.client(), TELLS + 20);
    }
}

#[test]
fn no_money_is_made_or_lost_in_packs_by_kill_9_amid_transfers() {
    check_money("async/bank", &packed(4, ""), kills() / 4);
}

/// So many actors wake and leave in one instance, one after the other.
#[track_caller]
fn check_leaving(sample: &str, actors: u64) {
    const EACH: u64 = 500;
    /// A word for each actor that was not dropped would be more.
    const GROWTH_BYTES_MAX: u64 = 128 << 10;
    let silo = tenants(sample, &packed(1000, "[actor.limits]\nhandles = 1000\n"));
    let client = silo.client();
    client.deploy("crowd", "");
    let memory = || look(&client, "tenant/stays")["memory"].as_u64().unwrap();
    let home = instance(&client, "tenant/stays");
    let mut after_first = 0;
    for round in 0..actors / EACH {
        let woken = client.call("crowd/c", "wake-tenants", &json!([round * EACH, EACH, "stays"])).number();
        assert_eq!(woken, EACH, "{sample}: they shared the instance of the one that stays");
        if round == 0 {
            after_first = memory();
        }
    }
    eventually("all have left", || (look(&client, "tenant/stays")["actors"] == 1).then_some(()));
    assert_eq!(instance(&client, "tenant/stays"), home, "{sample}: nothing ended it");
    let grown = memory() - after_first;
    assert!(grown <= GROWTH_BYTES_MAX, "{sample}: {grown} bytes more after {actors} actors");
}

#[test]
fn an_instance_that_actors_leave_neither_grows_nor_runs_out_of_handles() {
    check_leaving("tenant", 20_000);
    check_leaving("async/tenant", 5_000);
}

#[test]
fn an_actor_that_leaves_does_not_touch_the_others() {
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(100, "idle-timeout = \"1s\"\n"));
        let client = silo.client();
        let pings = |actor: &str| ask(&client, actor, "ping").number();
        assert_eq!((add(&client, "tenant/a", 1), add(&client, "tenant/b", 2)), (1, 2));
        assert_eq!((pings("tenant/a"), pings("tenant/b")), (1, 1));
        let home = instance(&client, "tenant/b");
        assert_eq!(look(&client, "tenant/b")["actors"], 2);
        let left = client.send("POST", "/v1/actors/tenant/a/-/deactivate", &[], b"").expect(200).json();
        assert_eq!(left, json!({ "deactivated": true }));
        assert_eq!((pings("tenant/b"), look(&client, "tenant/b")["actors"].clone()), (2, json!(1)), "{sample}");
        assert_eq!((pings("tenant/a"), total(&client, "tenant/a")), (1, 1), "{sample}: a new life of one's own");
        assert_eq!((pings("tenant/b"), instance(&client, "tenant/b")), (3, home));
        // An operator's turn on one of them.
        let state = "/v1/actors/tenant/a/-/state/state";
        let bytes = client.get(state).expect(200).body;
        let _ = client.send("PUT", state, &[], &bytes).expect(204);
        assert_eq!((pings("tenant/b"), total(&client, "tenant/a")), (4, 1), "{sample}");
        // One goes idle while the other is called.
        eventually("it has left", || {
            assert!(pings("tenant/b") > 4, "{sample}: it stays in memory");
            client.inspect("tenant/a")["activation"].is_null().then_some(())
        });
        assert_eq!(total(&client, "tenant/a"), 1);
    }
}

#[test]
fn packs_make_room_for_one_another() {
    for sample in FLAVOURS {
        let silo = Silo::start(&["--workers", "2", "--capacity", "2"]);
        let client = silo.client();
        client.deploy(sample, &packed(5, ""));
        for round in 1..=3 {
            for key in 0..30 {
                assert_eq!(add(&client, &format!("tenant/{key}"), 1), round, "{sample}: tenant/{key}");
            }
        }
        // Those that make room are on their way out for a moment.
        eventually("there are no more actors than two packs of five have", || {
            let live = client.get("/v1/activations").expect(200).json();
            (1..=10).contains(&live["activations"].as_array().unwrap().len()).then_some(())
        });
    }
}

#[test]
fn the_limit_on_memory_is_that_of_the_instance() {
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(10, "[actor.limits]\nmemory = \"16MiB\"\n"));
        let client = silo.client();
        let hoard = |actor: &str, mib: u64| client.call(actor, "hoard", &json!([mib]));
        assert_eq!((add(&client, "tenant/a", 1), add(&client, "tenant/b", 2)), (1, 2));
        assert_eq!((hoard("tenant/a", 5).number(), hoard("tenant/b", 5).number()), (5, 10));
        let failure = hoard("tenant/c", 8).failure(502, "failed");
        assert!(failure["message"].as_str().unwrap().contains("memory"), "{failure}");
        assert_eq!((total(&client, "tenant/a"), total(&client, "tenant/b")), (1, 2), "{sample}");
        assert_eq!(["tenant/a", "tenant/b", "tenant/c"].map(|actor| failures(&client, actor)), [0, 0, 1], "{sample}");
        assert_eq!(hoard("tenant/c", 8).number(), 8, "{sample}: all of it was given back");
    }
}

/// Says so when a test ends, however it does.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_new_version_takes_over_packs_while_calls_run() {
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(3, ""));
        let client = silo.client();
        let (stop, done) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 4]);
        let counted = |key: usize| done[key].load(Ordering::Relaxed);
        thread::scope(|scope| {
            for (key, done) in done.iter().enumerate() {
                let (client, stop) = (client.clone(), &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let before = done.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(add(&client, &format!("tenant/{key}"), 1), before + 1);
                    }
                });
            }
            let _stop = Stop(&stop);
            let mut home = instance(&client, "tenant/0");
            // Other code; another packing; none; and packs again.
            for (stamp, manifest) in
                [("2", packed(3, "")), ("2", packed(2, "")), ("2", String::new()), ("3", packed(4, ""))]
            {
                let before: Vec<u64> = (0..4).map(counted).collect();
                let report = client.deploy_bytes(&stamped(&component(sample), stamp), &manifest).expect(200).json();
                eventually("all have answered since", || {
                    (0..4).all(|key| counted(key) > before[key] + 1).then_some(())
                });
                assert_eq!(client.inspect("tenant/0")["version"], report["version"]);
                assert_ne!(std::mem::replace(&mut home, instance(&client, "tenant/0")), home, "{sample}, {manifest}");
            }
        });
        for key in 0..4 {
            let actor = format!("tenant/{key}");
            assert_eq!((total(&client, &actor), failures(&client, &actor)), (counted(key), 0), "{sample}");
        }
    }
}

#[test]
fn a_kind_in_the_fiber_lane_is_not_packed() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    for (sample, import) in [("bank", "calls of account"), ("rogue", "calls of victim")] {
        let answer = client.deploy_bytes(&component(sample), &packed(10, ""));
        let error = answer.expect(400).json()["error"].take();
        let message = error["message"].as_str().unwrap();
        for part in ["packed", "fiber", import] {
            assert!(message.contains(part), "{part}: {error}");
        }
        assert!(error["next"].is_string(), "{error}");
    }
    for (packed, about) in [("0", "from 1 to 10000"), ("10001", "from 1 to 10000"), ("\"many\"", "packed")] {
        let manifest = format!("[actor]\nisolation = {{ packed = {packed} }}\n");
        let failure = client.deploy_bytes(&component("tenant"), &manifest).failure(400, "bad-manifest");
        assert!(failure["message"].as_str().unwrap().contains(about), "{failure}");
    }
    assert_eq!(client.get("/v1/kinds").expect(200).json(), json!({ "kinds": [] }));
    // The flavour of async functions may be.
    client.deploy("async/bank", &packed(10, ""));
    assert_eq!(client.call("account/a", "deposit", &json!([10])).number(), 10);
    assert_eq!(client.call("account/a", "transfer", &json!(["b", 4])).number(), 6);
    eventually("it arrives", || (client.call("account/b", "balance", &json!([])).number() == 4).then_some(()));
    assert_eq!(client.call("account/a", "audit", &json!([["b", "c"]])).number(), 10, "they call one another in a pack");
}

#[test]
fn an_actor_leaves_after_its_instance_ended_without_a_failure_of_its_own() {
    for sample in FLAVOURS {
        let silo = tenants(sample, &packed(100, ""));
        let client = silo.client();
        assert_eq!((add(&client, "tenant/a", 1), add(&client, "tenant/b", 2)), (1, 2));
        let _ = client.call("tenant/a", "trap", &json!(["boo"])).failure(502, "failed");
        let left = client.send("POST", "/v1/actors/tenant/b/-/deactivate", &[], b"").expect(200).json();
        assert_eq!(left, json!({ "deactivated": true }));
        assert_eq!((total(&client, "tenant/b"), failures(&client, "tenant/b")), (2, 0), "{sample}");
    }
}

#[test]
fn an_actor_that_comes_back_to_a_busy_instance_has_the_state_of_the_store() {
    let silo = Silo::start(&[]);
    let client = silo.client();
    // Without a hook that would tell the guest that this is a new life.
    client.deploy("async/crowd", &packed(10, "[actor.limits]\nturn = \"3s\"\n"));
    let count = |actor: &str| ask(&client, actor, "count").number();
    let deactivate =
        |actor: &str| client.send("POST", &format!("/v1/actors/{actor}/-/deactivate"), &[], b"").expect(200);
    assert_eq!((add(&client, "crowd/a", 5), add(&client, "crowd/other", 100)), (5, 100));
    thread::scope(|scope| {
        // It keeps the instance busy until its limit, so that nothing is tidied up there.
        scope.spawn(|| client.call("crowd/busy", "meet", &json!([2])));
        eventually("it waits", || is_running(&client, "crowd/busy"));
        assert_eq!(deactivate("crowd/a").json(), json!({ "deactivated": true }));
        let state = client.get("/v1/actors/crowd/other/-/state/state").expect(200).body;
        let _ = client.send("PUT", "/v1/actors/crowd/a/-/state/state", &[], &state).expect(204);
        assert_eq!(count("crowd/a"), 100, "it has what it had before it left");
        assert_eq!(add(&client, "crowd/a", 1), 101);
    });
}
