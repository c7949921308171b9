//! The command line as a whole.

use super::*;

fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["quark"], line].concat())
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example() {
    for command in Cli::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example = format!("quark {}", command.get_name());
        assert!(help.contains(&example), "{example}");
    }
}

#[test]
fn the_lines_of_the_manual_are_understood() {
    for line in [
        &["silo", "--data", "./data"][..],
        &["silo", "--memory", "--http", "127.0.0.1:0", "--free-space-floor", "1GiB", "--log-format", "json"],
        &["deploy", "counter.wasm", "--manifest", "actor.toml", "--name", "n"],
        &["deploy", "counter.wasm", "--allow-breaking", "--force"],
        &["kinds"],
        &["kinds", "counter", "--wit"],
        &["versions", "counter", "--json"],
        &["call", "counter/alice", "increment", "5"],
        &["call", "counter/alice", "add", "-5", "-1.5"],
        &["call", "counter/alice", "add", "--", "-inf"],
        &["call", "counter/alice", "increment", "--json", "[5]"],
        &["call", "counter/alice", "value", "--json"],
        &["call", "counter/alice", "value", "--timeout", "5s", "--header", "a=b", "--header", "c=d"],
        &["tell", "counter/alice", "reset"],
        &["ps", "--json", "--url", "http://h:1", "--token", "t"],
        &["tree"],
        &["tree", "crew/night", "--follow", "--limit", "5", "--json"],
        &["state", "counter/alice", "get", "value", "--out", "f"],
        &["state", "counter/alice", "set", "value", "text", "--if-match", "e", "--json"],
        &["state", "counter/alice", "set", "value", "--file", "f", "--url", "h:1"],
        &["state", "counter/alice", "delete", "value"],
        &["state", "counter/alice", "list"],
        &["journal", "ledger/alice", "--at", "2", "--json"],
        &["journal", "ledger/alice", "--at", "5m"],
        &["trace"],
        &["trace", "counter", "--on"],
        &["trace", "counter/alice", "--follow", "--failed", "--slower", "5ms", "--limit", "5", "--json"],
        &["deactivate", "counter/alice"],
        &["reminders", "--limit", "5"],
        &["reminders", "digest/a", "--fire", "send", "--json"],
        &["reminders", "digest/a", "--delete", "send"],
        &["dead-letters", "--limit", "5"],
        &["wit", "--async", "--out", "d"],
        &["completions", "zsh"],
    ] {
        assert!(parse(line).is_ok(), "{line:?}: {}", parse(line).err().unwrap());
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    for line in [
        &["nothing"][..],
        &["call", "counter", "increment"],
        &["call", "counter/alice"],
        &["call", "counter/alice", "increment", "5", "--json", "[5]"],
        &["call", "counter/alice", "increment", "--json", "5"],
        &["call", "counter/alice", "increment", "--timeout", "soon"],
        &["silo", "--memory", "--data", "d"],
        &["silo", "--workers", "0"],
        &["silo", "--http", "nowhere"],
        &["state", "counter/alice", "set", "value"],
        &["state", "counter/alice", "set", "value", "v", "--file", "f"],
        &["state", "counter/alice", "get", ""],
        &["state", "counter/alice", "set", "", "v"],
        &["state", "counter/alice", "delete", ""],
        &["call", "counter/alice", ""],
        &["journal", "ledger/alice", "--from", "0"],
        &["reminders", "digest/a", "--fire", ""],
        &["ps", "--limit", "0"],
        &["tree", "crew"],
        &["reminders", "--fire", "send"],
        &["reminders", "digest/a", "--fire", "send", "--delete", "send"],
        &["tree", "--limit", "10001"],
    ] {
        let code = parse(line).err().map(|error| error.exit_code());
        assert_eq!(code, Some(2), "{line:?}");
    }
}

#[test]
fn errors_are_json_where_the_command_line_asks_for_json() {
    let asks = |line: &[&str]| for_machines(line.iter().map(OsString::from));
    assert!(asks(&["quark", "call", "counter/a", "increment", "--json", "[5]"]) && asks(&["quark", "ps", "--json"]));
    assert!(asks(&["quark", "call", "counter/a", "increment", "--json=[5]"]));
    assert!(!asks(&["quark", "ps"]) && !asks(&["quark", "call", "greeter/a", "greet", "--", "--json"]));
}

#[test]
fn wrong_usage_is_a_failure_like_others_for_machines() {
    for (line, says, next) in [
        (&["call", "counter", "--json"][..], "KIND/KEY", "--help"),
        (&["ps", "--limit", "x", "--json"], "invalid value 'x' for '--limit <LIMIT>'", "--help"),
        (&["trace", "--on", "--json"], "<KIND[/KEY]>", "Usage: quark trace"),
        (&["kinds", "counter", "--wit", "--json"], "cannot be used with", "Usage: quark kinds"),
        (&["journal", "ledger/none", "--limit", "0", "--json"], "0 is not in 1..", "--help"),
        (&["state", "counter/a", "set", "", "v", "--json"], "the name is empty", "--help"),
        (&["ps", "--jsn"], "--jsn", "Usage: quark ps"),
    ] {
        let failure = misread(&parse(line).err().unwrap());
        assert_eq!(Exit::of(&failure), Exit::Usage, "{line:?}");
        let (message, hint) = (&failure.message, failure.next.as_deref().unwrap());
        assert!(message.contains(says) && hint.contains(next), "{message}\n{hint}");
        let people = message.starts_with("error") || message.contains("Usage:") || message.contains("For more");
        assert!(!people, "{message}");
    }
}
