//! The command line as a user meets it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use quark_e2e::{Silo, component_path, eventually, quark};
use serde_json::json;

fn deployed(samples: &[&str]) -> Silo {
    let silo = Silo::start(&[]);
    for sample in samples {
        let path = component_path(sample);
        let ran = silo.cli(&["deploy", path.to_str().unwrap()]).exits(0);
        assert!(ran.stdout.contains("version 1"), "{ran:?}");
    }
    silo
}

#[test]
fn deploy_says_what_it_found() {
    let silo = Silo::start(&[]);
    let path = component_path("counter");
    let path = path.to_str().unwrap();
    let ran = silo.cli(&["deploy", path]).exits(0);
    for part in ["counter", "version 1", "increment", "func(by: u64) -> result<u64, counter-error>", "lane", "compiled"]
    {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let report = silo.cli(&["deploy", path, "--json"]).exits(0).json();
    assert_eq!((&report["unchanged"], &report["version"]), (&json!(true), &json!(1)));
    let manifest = silo.folder().join("mine.toml");
    fs::write(&manifest, "[actor]\nidle-timeout = \"1h\"\n").unwrap();
    let with = ["deploy", path, "--manifest", manifest.to_str().unwrap(), "--json"];
    assert_eq!(silo.cli(&with).exits(0).json()["version"], 2);
    fs::write(&manifest, "[actor]\nidle = 1\n").unwrap();
    let ran = silo.cli(&with).exits(2);
    assert!(ran.stderr.contains("idle"), "{ran:?}");
    // A kind belongs to one deployment.
    let ran = silo.cli(&["deploy", path, "--name", "other"]).exits(2);
    assert!(ran.stderr.contains("--name counter"), "{ran:?}");
    let _ = silo.cli(&["deploy", "nowhere.wasm"]).exits(2);
}

#[test]
fn call_prints_the_result_and_exits_by_its_outcome() {
    let silo = deployed(&["counter", "bank", "rogue"]);
    assert_eq!(silo.cli(&["call", "counter/alice", "increment", "5"]).exits(0).stdout, "ok(5)\n");
    assert_eq!(silo.cli(&["call", "counter/alice", "increment", "--json", "[5]"]).exits(0).json(), json!({ "ok": 10 }));
    let full = "sample:counter/counters#counter/alice";
    assert_eq!(silo.cli(&["call", full, "value"]).exits(0).stdout, "ok(10)\n");
    let ran = silo.cli(&["call", "account/a", "withdraw", "1"]).exits(1);
    assert_eq!(ran.stdout, "err(insufficient(0))\n");
    for (usage, about) in [
        (vec!["call", "counter/alice", "increment", "\"x\""], "by: u64"),
        (vec!["call", "counter/alice", "increment"], "by: u64"),
        (vec!["call", "counter/alice", "increment", "1", "2"], "by: u64"),
        (vec!["call", "counter/alice", "incremen", "1"], "`increment`"),
        (vec!["call", "conter/alice", "increment", "1"], "`counter`"),
        (vec!["call", "counter/", "value"], "key"),
        (vec!["call", "counter", "value"], "KIND/KEY"),
        (vec!["call", "counter/alice", "increment", "--json", "5"], "[5]"),
        (vec!["tell", "counter/alice", "value"], "tell"),
        (vec!["call"], "Usage"),
        (vec!["cal"], "call"),
    ] {
        let ran = silo.cli(&usage).exits(2);
        assert!(ran.stderr.contains(about) && ran.stdout.is_empty(), "{usage:?}: {ran:?}");
    }
    let ran = silo.cli(&["call", "rogue/r", "trap", "--json", "[\"boo\"]"]).exits(3);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["may_be_done"]), (&json!("failed"), &json!(true)), "{error}");
    let ran = silo.cli(&["call", "rogue/r", "trap", "\"boo\""]).exits(3);
    assert!(ran.stderr.contains("boo"), "{ran:?}");
    let ran = silo.cli(&["call", "rogue/r", "sleep", "2000", "--timeout", "100ms"]).exits(3);
    assert!(ran.stderr.contains("deadline"), "{ran:?}");
    let ran = silo.cli(&["tell", "counter/alice", "reset"]).exits(0);
    assert!(ran.stdout.starts_with("accepted "), "{ran:?}");
    let _ = silo.cli(&["tell", "counter/alice", "reset", "--json"]).exits(0).json();
    let _ = silo.cli(&["call", "counter/alice", "value", "--url", "http://127.0.0.1:1"]).exits(3);
    let ran = silo.cli(&["ps", "--token", "0123456789abcdef0123456789abcdef"]).exits(2);
    assert!(ran.stderr.contains("QUARK_TOKEN"), "{ran:?}");
}

#[test]
fn wrong_usage_is_json_where_json_is_asked_for() {
    let silo = Silo::new();
    for line in [
        &["call", "counter", "--json"][..],
        &["ps", "--limit", "x", "--json"],
        &["trace", "--on", "--json"],
        &["kinds", "counter", "--wit", "--json"],
        &["call", "--json=[5]"],
    ] {
        let ran = silo.cli(line).exits(2);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!((&error["error"]["code"], &*ran.stdout), (&json!("bad-request"), ""), "{ran:?}");
        assert!(error["error"]["next"].is_string(), "{ran:?}");
    }
    let ran = silo.cli(&["call", "counter", "--", "--json"]).exits(2);
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    for text in [["ps", "--json", "--help"], ["ps", "--help", "--json"]] {
        assert!(silo.cli(&text).exits(0).stdout.contains("Usage: quark ps"));
    }
}

#[test]
fn the_looking_glasses_show_what_is_there() {
    let silo = deployed(&["counter"]);
    let _ = silo.cli(&["call", "counter/alice", "increment", "5"]).exits(0);
    let ran = silo.cli(&["ps"]).exits(0);
    assert!(ran.stdout.contains("counter/alice") && ran.stdout.contains("awake"), "{ran:?}");
    let ps = silo.cli(&["ps", "--json"]).exits(0).json();
    assert_eq!(ps["kinds"][0]["name"], "counter");
    assert_eq!(ps["activations"][0]["key"], "alice");
    let ran = silo.cli(&["inspect", "counter/alice"]).exits(0);
    for part in ["e-tag", "generation", "mailbox", "lane", "state"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(silo.cli(&["inspect", "counter/alice", "--json"]).exits(0).json()["activation"]["phase"], "awake");
    let _ = silo.cli(&["inspect", "conter/alice"]).exits(2);
    let _ = silo.cli(&["deactivate", "counter/alice"]).exits(0);
    assert!(silo.cli(&["inspect", "counter/alice", "--json"]).exits(0).json()["activation"].is_null());
    assert_eq!(silo.cli(&["dead-letters", "--json"]).exits(0).json(), json!({ "dead_letters": [] }));
}

#[test]
fn what_rules_failures_is_shown_where_it_says_something() {
    let silo = deployed(&["counter"]);
    let manifest = silo.folder().join("mine.toml");
    fs::write(&manifest, "[actor.supervision]\nstrategy = \"all-for-one\"\nrestarts.max = 3\n").unwrap();
    let path = component_path("rogue");
    let ran = silo.cli(&["deploy", path.to_str().unwrap(), "--manifest", manifest.to_str().unwrap()]).exits(0);
    let line = "  supervision all-for-one, 3 restarts in 1m, waits 100ms to 30s\n";
    assert!(ran.stdout.contains(line), "{ran:?}");
    assert!(silo.cli(&["kinds", "rogue"]).exits(0).stdout.contains(line));
    assert!(!silo.cli(&["kinds", "counter"]).exits(0).stdout.contains("supervision"));
}

#[test]
fn a_silo_without_children_has_no_trees() {
    let silo = deployed(&["counter"]);
    assert_eq!(silo.cli(&["call", "counter/a", "increment", "5"]).exits(0).stdout, "ok(5)\n");
    assert_eq!(silo.cli(&["tree"]).exits(0).stdout, "no actor has children\n");
    assert_eq!(silo.cli(&["tree", "--json"]).exits(0).json(), json!({ "roots": [], "truncated": false }));
    let ran = silo.cli(&["tree", "conter/a"]).exits(2);
    assert!(ran.stderr.contains("`counter`"), "{ran:?}");
    let _ = silo.cli(&["tree", "counter/a", "--url", "127.0.0.1:1"]).exits(3);
}

#[test]
fn who_follows_trees_is_told_when_the_silo_is_gone() {
    let mut silo = Silo::start(&[]);
    let mut command = quark(&silo.folder().join("config"));
    command.args(["tree", "--follow", "--json"]).env("QUARK_URL", format!("http://{}", silo.address()));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "{\"roots\":[],\"truncated\":false}");
    silo.kill();
    assert!(lines.next().is_none(), "nothing changed");
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
}

#[test]
fn who_follows_ends_with_its_reader() {
    let silo = deployed(&["ledger"]);
    let _ = silo.cli(&["call", "ledger/a", "deposit", "5", "\"rent\""]).exits(0);
    let _ = silo.cli(&["trace", "ledger", "--on"]).exits(0);
    for command in [&["journal", "ledger/a"][..], &["trace", "ledger"], &["tree"], &["dead-letters"]] {
        let mut quark = quark(&silo.folder().join("config"));
        quark.args(command).arg("--follow").env("QUARK_URL", format!("http://{}", silo.address()));
        let mut child = quark.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if command != ["dead-letters"] {
            let _ = stdout.read_line(&mut String::new()).unwrap();
        }
        drop(stdout);
        let ended = eventually("it ends, and nothing was to be written", || child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{command:?}");
    }
}

#[test]
fn state_goes_out_and_in_byte_for_byte() {
    let silo = deployed(&["counter"]);
    let _ = silo.cli(&["call", "counter/alice", "increment", "300"]).exits(0);
    let listed = silo.cli(&["state", "counter/alice", "list", "--json"]).exits(0).json();
    assert_eq!(listed["state"][0]["name"], "state");
    let file = silo.folder().join("value");
    let file = file.to_str().unwrap();
    let _ = silo.cli(&["state", "counter/alice", "get", "state", "--out", file]).exits(0);
    assert_eq!(fs::read(file).unwrap().len() as u64, listed["state"][0]["bytes"].as_u64().unwrap());
    let _ = silo.cli(&["state", "counter/bob", "set", "state", "--file", file]).exits(0);
    assert_eq!(silo.cli(&["call", "counter/bob", "value"]).exits(0).stdout, "ok(300)\n");
    let ran = silo.cli(&["state", "counter/bob", "set", "state", "--file", file, "--if-match", "999"]).exits(2);
    assert!(ran.stderr.contains("e-tag"), "{ran:?}");
    let _ = silo.cli(&["state", "counter/bob", "delete", "state"]).exits(0);
    assert_eq!(silo.cli(&["call", "counter/bob", "value"]).exits(0).stdout, "ok(0)\n");
    let ran = silo.cli(&["state", "counter/bob", "get", "nothing"]).exits(2);
    assert!(ran.stderr.contains("nothing"), "{ran:?}");
}

#[test]
fn wit_prints_the_contract_in_both_flavours() {
    let silo = Silo::new();
    let plain = silo.cli(&["wit"]).exits(0).stdout;
    assert!(plain.contains("package quark:actor@") && plain.contains("variant call-error"), "{plain}");
    assert!(!plain.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("async func")));
    let flavoured = silo.cli(&["wit", "--async"]).exits(0).stdout;
    assert!(flavoured.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("async func")));
    let files = silo.cli(&["wit", "--json"]).exits(0).json();
    assert!(files["world.wit"].is_string(), "{files}");
    let folder = silo.folder().join("deps/quark-actor");
    let _ = silo.cli(&["wit", "--out", folder.to_str().unwrap()]).exits(0);
    assert_eq!(fs::read_to_string(folder.join("types.wit")).unwrap(), files["types.wit"].as_str().unwrap());
}

#[test]
fn any_key_can_be_written_and_what_is_none_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt as _;

    let silo = deployed(&["counter"]);
    let long = "k".repeat(512);
    for key in ["a/b", "a#b", "100%", "a b", "-", "../x", "\u{e4}\u{1F600}", long.as_str()] {
        let actor = format!("counter/{key}");
        assert_eq!(silo.cli(&["call", &actor, "increment", "1"]).exits(0).stdout, "ok(1)\n", "{key}");
        assert_eq!(silo.cli(&["inspect", &actor, "--json"]).exits(0).json()["key"], key);
    }
    let ran = silo.cli(&["call", &format!("counter/{long}k"), "value"]).exits(2);
    assert!(ran.stderr.contains("512"), "{ran:?}");
    let not_utf8 = std::ffi::OsStr::from_bytes(b"counter/\xff");
    let ran = silo.cli(&["call".as_ref(), not_utf8, "value".as_ref()]).exits(2);
    assert!(ran.stderr.contains("UTF-8"), "{ran:?}");
}

#[test]
fn numbers_and_nesting_beyond_all_bounds_are_wrong_usage() {
    let silo = deployed(&["counter"]);
    let deep = format!("[{}{}]", "[".repeat(10_000), "]".repeat(10_000));
    for bad in ["[18446744073709551616]", "[1e99]", "[-1]", "[1.5]", deep.as_str()] {
        let ran = silo.cli(&["call", "counter/a", "increment", "--json", bad]).exits(2);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran:?}");
    }
    let ran = silo.cli(&["call", "counter/a", "increment", "18446744073709551616"]).exits(2);
    assert!(ran.stderr.contains("u64"), "{ran:?}");
    assert_eq!(silo.cli(&["call", "counter/a", "increment", "18446744073709551615"]).exits(0).stdout.len(), 25);
}

#[test]
fn the_environment_stands_for_the_flags() {
    let silo = deployed(&["counter"]);
    let token = silo.client().token.unwrap();
    // A user who does not share the silo's settings.
    let elsewhere = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = quark(&silo.folder().join("elsewhere"));
        command.args(arguments).envs(variables.iter().copied());
        quark_e2e::run(command)
    };
    let url = format!("http://{}", silo.address());
    let ran = elsewhere(&[("QUARK_URL", &url), ("QUARK_TOKEN", &token)], &["ps", "--json"]).exits(0);
    assert_eq!(ran.json()["kinds"][0]["name"], "counter");
    let ran = elsewhere(&[("QUARK_URL", &url)], &["ps"]).exits(2);
    assert!(ran.stderr.contains("QUARK_TOKEN"), "{ran:?}");
    let _ = elsewhere(&[("QUARK_URL", "http://127.0.0.1:1")], &["ps", "--url", &url, "--token", &token]).exits(0);
    let _ = elsewhere(&[("QUARK_URL", &url)], &["call", "counter/a", "value"]).exits(0);
}

#[test]
fn headers_and_json_reach_every_command_that_takes_them() {
    let silo = deployed(&["relay", "counter", "rogue"]);
    let with = ["call", "relay/r", "header", "\"tenant\"", "--header", "tenant=acme"];
    assert_eq!(silo.cli(&with).exits(0).stdout, "ok(some(\"acme\"))\n");
    let ran = silo.cli(&["call", "relay/r", "header", "\"tenant\"", "--header", "tenant"]).exits(2);
    assert!(ran.stderr.contains("NAME=VALUE"), "{ran:?}");
    let _ = silo.cli(&["call", "counter/a", "increment", "1"]).exits(0);
    let out = silo.cli(&["deactivate", "counter/a", "--json"]).exits(0).json();
    assert_eq!(out["deactivated"], true, "{out}");
}

#[test]
fn completions_are_scripts_for_the_shell_asked_for() {
    let silo = Silo::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = silo.cli(&["completions", shell]).exits(0);
        assert!(ran.stdout.contains("dead-letters"), "{shell}: {ran:?}");
    }
    let script = silo.folder().join("quark.bash");
    fs::write(&script, silo.cli(&["completions", "bash"]).stdout).unwrap();
    let parsed = std::process::Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(parsed.success());
    let ran = silo.cli(&["completions", "cmd"]).exits(2);
    assert!(ran.stderr.contains("bash"), "{ran:?}");
}

#[test]
fn every_command_explains_itself() {
    let silo = Silo::new();
    let all = silo.cli(&["--help"]).exits(0).stdout;
    for command in [
        "silo",
        "deploy",
        "call",
        "tell",
        "kinds",
        "versions",
        "ps",
        "inspect",
        "tree",
        "state",
        "deactivate",
        "stop",
        "start",
        "dead-letters",
        "wit",
        "completions",
    ] {
        assert!(all.contains(command), "{command}: {all}");
        let ran = silo.cli(&[command, "--help"]).exits(0);
        assert!(ran.stdout.contains("Usage: quark"), "{ran:?}");
        let ran = silo.cli(&[command, "--no-such-flag"]).exits(2);
        assert!(ran.stderr.contains("--no-such-flag"), "{ran:?}");
    }
}
