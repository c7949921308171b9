//! Actors in other languages than Rust. `make test-languages` builds them all and runs the ignored
//! tests; that in C is built with the samples.

use quark_e2e::{Client, Silo, component, component_path, eventually};
use serde_json::{Value, json};

use crate::supervisors::{check_decisions, check_indecision};
use crate::{journal, reentrance, reminders};

/// How often a silo with a ledger is killed.
const KILLS: u64 = 3;

/// All four languages.
const PIG: [&str; 4] = ["counter", "die", "player", "game"];

fn number(client: &Client, actor: &str, method: &str) -> u64 {
    client.call(actor, method, &json!([])).number()
}

/// The rows of a game's table: each player and its score.
fn standings(play: &Value) -> Vec<(String, u64)> {
    let row = |row: &Value| (row["player"].as_str().unwrap().to_owned(), row["score"].as_u64().unwrap());
    play.as_array().unwrap().iter().map(row).collect()
}

/// A game of two players.
fn game() -> Silo {
    let silo = Silo::with_compiled(&PIG);
    let client = silo.client();
    assert_eq!(client.call("player/ann", "join", &json!(["g"])).number(), 1);
    assert_eq!(client.call("player/bob", "join", &json!(["g"])).number(), 2);
    silo
}

#[test]
fn c_keeps_its_state_and_calls_rust() {
    let mut silo = Silo::with(&["counter", "die"]);
    let client = silo.client();
    let faces: Vec<u64> = (0..20).map(|_| number(&client, "die/red", "roll")).collect();
    assert!(faces.iter().all(|face| (1..=6).contains(face)), "{faces:?}");
    assert!(faces.iter().any(|face| *face != faces[0]), "{faces:?}");
    let _ = number(&client, "die/blue", "roll");
    assert_eq!((number(&client, "die/red", "rolls"), number(&client, "counter/rolls", "value")), (20, 21));
    silo.crash();
    let client = silo.client();
    assert_eq!((number(&client, "die/red", "rolls"), number(&client, "counter/rolls", "value")), (20, 21));
    assert!((1..=6).contains(&number(&client, "die/red", "roll")));
    assert_eq!(number(&client, "die/red", "rolls"), 21);
}

#[test]
fn c_answers_with_the_failure_of_its_call() {
    let silo = Silo::with(&["die"]);
    let client = silo.client();
    let error = client.call("die/red", "roll", &json!([])).actor_error();
    assert!(error["downstream"].as_str().unwrap().contains("counter"), "{error}");
    // Stored before the call left.
    assert_eq!(number(&client, "die/red", "rolls"), 1);
}

#[test]
fn c_is_entered_while_it_waits() {
    const SAMPLE: &str = "c-ping-pong";
    let silo = Silo::with(&[SAMPLE]);
    reentrance::check_values(&silo, SAMPLE);
    reentrance::check_meetings(&silo, SAMPLE);
    reentrance::check_depth(&silo, SAMPLE);
    let silo = Silo::start(&[]);
    silo.client().deploy(SAMPLE, "[actor.limits]\nturn = \"1s\"\n");
    reentrance::check_failures(silo, SAMPLE);
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn a_game_goes_through_four_languages() {
    let mut silo = game();
    let client = silo.client();
    let turns = 12;
    for _ in 0..turns {
        let _ = client.call("game/g", "play", &json!([])).ok();
    }
    let check = |client: &Client, table: &[(String, u64)]| {
        assert_eq!(table.len(), 2, "{table:?}");
        for (player, score) in table {
            assert_eq!(number(client, &format!("player/{player}"), "score"), *score, "{table:?}");
        }
        let rolls = number(client, "counter/rolls", "value");
        assert_eq!(number(client, "die/of-g", "rolls"), rolls);
        rolls
    };
    let table = standings(&client.call("game/g", "play", &json!([])).ok());
    assert!(table[0].1 >= table[1].1, "the best is first: {table:?}");
    assert_eq!(client.call("game/g", "leader", &json!([])).ok(), json!(table[0].0));
    assert_eq!(client.call("player/bob", "who-leads", &json!([])).ok(), json!(table[0].0));
    let rolls = check(&client, &table);
    assert!(rolls >= 2 * (turns + 1), "each turn rolls: {rolls}");

    silo.crash();
    let client = silo.client();
    assert_eq!(check(&client, &table), rolls);
    let later = standings(&client.call("game/g", "play", &json!([])).ok());
    assert!(check(&client, &later) > rolls);

    let _ = client.send("POST", "/v1/actors/game/g/over?tell=true", &[("content-type", "application/json")], b"[]");
    eventually("all have left", || {
        let left = |player: &str| client.call(player, "who-leads", &json!([])).ok().is_null();
        (left("player/ann") && left("player/bob")).then_some(())
    });
    assert_eq!(number(&client, "player/ann", "score"), 0);
    assert_eq!(client.call("game/g", "play", &json!([])).actor_error(), json!("nobody"));
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn a_game_of_async_functions_has_all_players_play_at_once() {
    let mut silo = Silo::with_compiled(&["counter", "die", "player", "game-async"]);
    let client = silo.client();
    for (at, player) in ["ann", "bob", "cid"].into_iter().enumerate() {
        let joined = client.call(&format!("player/{player}"), "join", &json!(["g"])).number();
        assert_eq!(joined, at as u64 + 1);
    }
    let table = standings(&client.call("game/g", "play", &json!([])).ok());
    assert_eq!(table.len(), 3, "{table:?}");
    let check = |client: &Client, table: &[(String, u64)]| {
        for (player, score) in table {
            assert_eq!(number(client, &format!("player/{player}"), "score"), *score, "{table:?}");
            assert!(number(client, &format!("die/{player}-of-g"), "rolls") >= 1);
        }
    };
    check(&client, &table);
    // Its player asks it back while it waits.
    assert_eq!(client.call("game/g", "hearsay", &json!(["ann"])).ok(), json!(table[0].0));
    assert_eq!(client.call("game/empty", "play", &json!([])).actor_error(), json!("nobody"));

    silo.crash();
    let client = silo.client();
    assert_eq!(client.call("game/g", "leader", &json!([])).ok(), json!(table[0].0));
    let later = standings(&client.call("game/g", "play", &json!([])).ok());
    check(&client, &later);
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn games_in_python_share_an_instance() {
    const GAMES: u32 = 5;
    let packed = "[actor]\nisolation = { packed = 10 }\n";
    let mut silo = Silo::with_compiled(&["counter", "die", "player", "game-async"]);
    let client = silo.client();
    client.deploy("game-async", packed);
    let games = || (0..GAMES).map(|n| format!("game/g{n}"));
    for game in games() {
        for at in 1..=2 {
            let player = format!("player/{at}-of-{}", &game[5..]);
            assert_eq!(client.call(&player, "join", &json!([&game[5..]])).number(), at);
        }
    }
    let play = |client: &Client, game: &str| standings(&client.call(game, "play", &json!([])).ok());
    let check = |client: &Client, game: &str, table: &[(String, u64)]| {
        assert_eq!(table.len(), 2, "{game}: {table:?}");
        for (player, score) in table {
            assert!(player.ends_with(&format!("-of-{}", &game[5..])), "{game}: {table:?}");
            assert_eq!(number(client, &format!("player/{player}"), "score"), *score, "{game}: {table:?}");
        }
    };
    for game in games() {
        check(&client, &game, &play(&client, &game));
    }
    // All of them at once: their turns overlap in one interpreter.
    std::thread::scope(|scope| {
        let plays: Vec<_> = games()
            .map(|game| {
                let (client, play) = (&client, &play);
                scope.spawn(move || (play(client, &game), game))
            })
            .collect();
        for play in plays {
            let (table, game) = play.join().unwrap();
            check(&client, &game, &table);
        }
    });
    let left = client.send("POST", "/v1/actors/game/g0/-/deactivate", &[], b"").expect(200).json();
    assert_eq!(left, json!({ "deactivated": true }));
    check(&client, "game/g0", &play(&client, "game/g0"));
    silo.crash();
    for game in games() {
        check(&silo.client(), &game, &play(&silo.client(), &game));
    }
    // Plain Python may wait, and so each has an interpreter of its own.
    let error = silo.client().deploy_bytes(&component("python-rogue"), packed).expect(400).json();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("fiber") && message.contains("quark:actor/state@0.1.0 commit"), "{error}");
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn errors_go_through_four_languages() {
    let silo = game();
    let client = silo.client();
    assert_eq!(client.call("player/ann", "join", &json!(["h"])).actor_error(), json!({ "playing": "g" }));
    // Python is entered while it waits for JavaScript.
    assert_eq!(
        client.call("game/g", "hearsay", &json!(["ann"])).ok(),
        client.call("game/g", "leader", &json!([])).ok()
    );
    assert!(client.call("game/g", "hearsay", &json!(["nobody"])).ok().is_null());
    assert_eq!(standings(&client.call("game/g", "play", &json!([])).ok()).len(), 2);
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn a_call_that_fails_is_an_exception_and_an_error() {
    let silo = Silo::with_compiled(&["player", "game"]);
    let client = silo.client();
    assert_eq!(client.call("player/ann", "join", &json!(["g"])).number(), 1);
    // No die is deployed: JavaScript cannot call it, and Python cannot have what JavaScript did not get.
    for (actor, arguments) in [("player/ann", json!(["d"])), ("game/g", json!([]))] {
        let method = if arguments == json!([]) { "play" } else { "take-turn" };
        let error = client.call(actor, method, &arguments).actor_error();
        assert!(error["call"]["downstream"].as_str().unwrap().contains("sample:pig/dice#die"), "{error}");
    }
    assert_eq!(number(&client, "player/ann", "score"), 0);
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn deploy_tells_of_the_lanes() {
    let silo = Silo::with_compiled(&["player", "game", "python-rogue"]);
    for (sample, reason) in
        [("game", "calls of player"), ("player", "calls of die"), ("python-rogue", "quark:actor/state@0.1.0 commit")]
    {
        let report = silo.cli(&["deploy", component_path(sample).to_str().unwrap(), "--json"]).exits(0).json();
        assert_eq!(report["kinds"][0]["lane"], "fiber", "{report}");
        assert!(report["kinds"][0]["lane_reason"].as_str().unwrap().contains(reason), "{report}");
        assert!(report["bytes"].as_u64().unwrap() > 10 << 20, "{report}");
    }
}

#[test]
#[ignore = "needs Python: make test-languages"]
fn python_is_entered_while_it_waits() {
    const SAMPLE: &str = "python-ping-pong";
    let silo = Silo::with_compiled(&[SAMPLE]);
    reentrance::check_values(&silo, SAMPLE);
    reentrance::check_meetings(&silo, SAMPLE);
    reentrance::check_depth(&silo, SAMPLE);
    let silo = Silo::with_compiled(&[SAMPLE]);
    silo.client().deploy(SAMPLE, "[actor.limits]\nturn = \"1s\"\n");
    reentrance::check_failures(silo, SAMPLE);
}

/// What it did is told, nothing of it is stored, and it and its neighbour answer.
#[track_caller]
fn check_fails(client: &Client, rogue: &str, method: &str, arguments: &Value, about: &str) {
    let before = number(client, "counter/neighbour", "value");
    let failure = client.call(rogue, method, arguments).failure(502, "failed");
    assert!(failure["message"].as_str().unwrap().contains(about), "{method}: {failure}");
    assert_eq!(client.call("counter/neighbour", "increment", &json!([1])).number(), before + 1);
    assert_eq!(client.call(rogue, "stored", &json!([])).ok(), "kept", "{method}");
    assert_eq!(number(client, rogue, "ping"), 1, "{method}: it is a new instance");
}

fn rogue(kind: &str) -> (Silo, String) {
    let silo = Silo::with_compiled(&["counter", kind]);
    let rogue = format!("{kind}/r");
    let _ = silo.client().call(&rogue, "store", &json!(["kept"])).expect(200);
    (silo, rogue)
}

#[test]
#[ignore = "needs Python: make test-languages"]
fn python_that_misbehaves_hurts_nobody_else() {
    let (silo, rogue) = rogue("python-rogue");
    let client = silo.client();
    check_fails(&client, &rogue, "raise", &json!(["boo ä"]), "ValueError: boo ä");
    check_fails(&client, &rogue, "store-then-raise", &json!(["lost"]), "ValueError: stored, then raised");
    check_fails(&client, &rogue, "exit", &json!([]), "");
    check_fails(&client, &rogue, "recurse", &json!([]), "RecursionError");
    check_fails(&client, &rogue, "lie", &json!([]), "'str' object cannot be interpreted as an integer");
    check_fails(&client, &rogue, "leak", &json!([]), "memory limit of 67108864 bytes");
    check_fails(&client, &rogue, "spin", &json!([]), "limits.turn");
}

#[test]
#[ignore = "needs Python: make test-languages"]
fn python_has_no_network_no_files_and_no_environment() {
    let (silo, rogue) = rogue("python-rogue");
    let client = silo.client();
    for method in ["connect", "look-up", "open-file"] {
        let outcome = client.call(&rogue, method, &json!([])).ok();
        assert!(outcome.as_str().unwrap().contains("rror: "), "{method}: {outcome}");
    }
    assert_eq!(client.call(&rogue, "environment", &json!([])).ok(), json!([]));
    // What waits lets others work, and what failed left it whole.
    let _ = client.call(&rogue, "sleep", &json!([20])).expect(200);
    assert_eq!(number(&client, &rogue, "ping"), 1);
}

#[test]
#[ignore = "needs JavaScript: make test-languages"]
fn javascript_that_misbehaves_hurts_nobody_else() {
    let (silo, rogue) = rogue("javascript-rogue");
    let client = silo.client();
    check_fails(&client, &rogue, "throw", &json!(["boo ä"]), "boo ä");
    check_fails(&client, &rogue, "reject", &json!(["boo ä"]), "boo ä");
    check_fails(&client, &rogue, "never", &json!([]), "event loop");
    check_fails(&client, &rogue, "store-then-throw", &json!(["lost"]), "stored, then threw");
    check_fails(&client, &rogue, "store-then-never", &json!(["lost"]), "event loop");
    check_fails(&client, &rogue, "recurse", &json!([]), "");
    check_fails(&client, &rogue, "lie", &json!([]), "");
    check_fails(&client, &rogue, "leak", &json!([]), "memory limit of 67108864 bytes");
    check_fails(&client, &rogue, "spin", &json!([]), "limits.turn");
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn foremen_decide_in_their_languages() {
    for sample in ["python-foreman", "python-foreman-async", "javascript-foreman"] {
        check_decisions(&Silo::with_compiled(&[sample]), sample);
        for mode in ["trap", "spin"] {
            check_indecision(&Silo::with_compiled(&[sample]), sample, mode);
        }
    }
}

/// The sample `digest` in each language, and `ledger`.
const DIGESTS: [&str; 3] = ["python-digest", "python-digest-async", "javascript-digest"];
const LEDGERS: [&str; 3] = ["python-ledger", "python-ledger-async", "javascript-ledger"];

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn reminders_fire_in_their_languages() {
    for sample in DIGESTS {
        let silo = || Silo::with_compiled(&[sample]);
        reminders::check_fires(&silo().client(), sample);
        reminders::check_own(&silo().client());
        reminders::check_refused(&silo().client());
        reminders::check_survival(&mut silo());
    }
}

/// A ledger of that sample is what its events made of it.
fn check_ledger(sample: &str, manifest: &str) {
    let ledger = |manifest: &str| {
        let silo = Silo::with_compiled(&[sample]);
        silo.client().deploy(sample, manifest);
        silo
    };
    journal::check_past(&ledger(manifest).client(), &format!("{sample} {manifest}"), true);
    journal::check_trap(&ledger(manifest).client());
    journal::check_refusals(&ledger("").client(), sample);
    journal::check_snapshots(&ledger(journal::SHORT).client());
    journal::check_kills(&mut ledger(manifest), KILLS);
}

#[test]
#[ignore = "needs Python: make test-languages"]
fn a_ledger_in_python_is_what_its_events_made_of_it() {
    check_ledger("python-ledger", journal::FEW);
}

#[test]
#[ignore = "needs Python: make test-languages"]
fn a_ledger_of_async_functions_is_what_its_events_made_of_it() {
    check_ledger("python-ledger-async", journal::FEW);
}

#[test]
#[ignore = "needs Python: make test-languages"]
fn ledgers_that_share_an_interpreter_are_what_their_events_made_of_them() {
    check_ledger("python-ledger-async", journal::PACKED);
}

#[test]
#[ignore = "needs JavaScript: make test-languages"]
fn a_ledger_in_javascript_is_what_its_events_made_of_it() {
    check_ledger("javascript-ledger", journal::FEW);
}

#[test]
#[ignore = "needs Python and JavaScript: make test-languages"]
fn a_ledger_goes_on_in_another_language() {
    let silo = Silo::with_compiled(&LEDGERS);
    let client = silo.client();
    let all = || ["ledger"].into_iter().chain(LEDGERS);
    // Some tools keep types of the contract that others leave out, and so one looks as if it took them away.
    let deploy = |sample: &str| {
        let path = "/v1/deployments?name=ledger&allow-breaking=true";
        let _ = client.send("POST", path, &[("content-type", "application/wasm")], &component(sample)).expect(200);
    };
    for (sample, rounds) in all().zip(1..) {
        deploy(sample);
        assert_eq!(journal::deposit(&client, "ledger/a", 2, "é"), rounds + 1);
        assert_eq!(client.call("ledger/a", "withdraw", &json!([1, "fee"])).number(), rounds);
        let lines = client.call("ledger/a", "audit", &json!([1, 100])).ok();
        assert_eq!(lines.as_array().unwrap().len() as u64, 2 * rounds, "{sample}: {lines}");
    }
    let sums = all().map(|sample| {
        deploy(sample);
        journal::sum(&client, "ledger/a")
    });
    let sums: Vec<Value> = sums.collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}
