//! `quark journal`: the events that an actor appended.

use std::thread::sleep;
use std::time::Duration;

use quark_silo::api::{EventReport, JournalPage, JournalState, Moment};

use crate::address::Address;
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit};
use crate::output::{Output, plain};
use crate::table::table;
use crate::units::{self, shown_ago, shown_bytes};

/// How often the silo is asked for new ones.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most that one answer has.
const PAGE: u64 = 1000;
/// How much of a payload a line shows.
const PAYLOAD_CHARS_MAX: usize = 200;

const EXAMPLES: &str = "\
Examples:
  quark journal ledger/alice
  quark journal ledger/alice --from 100 --limit 20 --json
  quark journal ledger/alice --follow
  quark journal ledger/alice --at 42
  quark journal ledger/alice --at 2026-11-26T08:00:00Z --json
  quark journal ledger/alice --at 5m";

/// List the events of an actor's journal, the oldest first; or show what it was at some moment.
///
/// A payload is shown as JSON where the event says that it is, else by its size; --json prints it in
/// base64 then. Reading wakes nobody.
///
/// With --at the events up to that moment are applied in an instance that can send nothing and is gone
/// afterwards; the actor itself is not touched. What its `snapshot` says is shown as JSON if it is that,
/// or MessagePack as the Rust SDK writes it; else by its size, with all of it in --json.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Journal {
    /// The actor, for example ledger/alice.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Address,
    /// The number of the first event.
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// At most this many; with --follow, before it waits for more.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// What it was: after the event of that number, at that time, or so long ago.
    #[arg(long, value_name = "SEQ|TIME", value_parser = units::moment)]
    #[arg(conflicts_with_all = ["from", "limit", "follow"])]
    at: Option<Moment>,
    /// Go on with those that come, until interrupted.
    #[arg(long)]
    follow: bool,
    /// Print JSON; with --follow one line for each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Journal {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        if let Some(moment) = self.at {
            return self.look_back(&client, moment, out);
        }
        let (mut next, mut left) = (self.from, self.limit);
        let mut events = Vec::new();
        loop {
            let JournalPage { events: page } = client.get(&self.path(next, left.min(PAGE)))?;
            let Some(last) = page.last() else { break };
            (next, left) = (last.sequence + 1, left.saturating_sub(page.len() as u64));
            events.extend(page);
            if left == 0 {
                break;
            }
        }
        if self.follow {
            return self.go_on(&client, events, next, out);
        }
        if self.json {
            out.json(&JournalPage { events });
        } else if events.is_empty() {
            out.line(format_args!("no events from number {} on", self.from));
        } else {
            let columns = [("SEQ", true), ("WHEN", true), ("EVENT", false), ("PAYLOAD", false)];
            out.line(table(&columns, events.iter().map(row)));
        }
        Ok(Exit::Done)
    }

    fn look_back(&self, client: &Client, moment: Moment, out: &mut Output<'_>) -> Done {
        let moment = match moment {
            Moment::Sequence(sequence) => format!("sequence={sequence}"),
            Moment::Time(at_ms) => format!("at_ms={at_ms}"),
        };
        let path = format!("{}?{moment}", self.actor.path(&["-", "journal", "at"]));
        let state: JournalState = client.get(&path)?;
        if self.json {
            out.json(&state);
        } else {
            out.line(format_args!("{} {}", plain(&self.actor.to_string()), as_of(&state)));
            out.line(said(&state));
        }
        Ok(Exit::Done)
    }

    fn path(&self, first: u64, limit: u64) -> String {
        format!("{}?from={first}&limit={limit}", self.actor.path(&["-", "journal"]))
    }

    /// Shows what comes until the reader goes away.
    fn go_on(&self, client: &Client, mut events: Vec<EventReport>, mut next: u64, out: &mut Output<'_>) -> Done {
        loop {
            for event in &events {
                next = event.sequence + 1;
                match (self.json, serde_json::to_string(event)) {
                    (true, Ok(json)) => out.said(json),
                    (true, Err(_)) | (false, _) => out.said(row(event).join("  ")),
                }
            }
            if out.is_closed() {
                return Ok(Exit::Done);
            }
            if events.is_empty() {
                sleep(LOOK_EVERY);
            }
            events = client.get::<JournalPage>(&self.path(next, PAGE))?.events;
        }
    }
}

fn as_of(state: &JournalState) -> String {
    let when = state.at_ms.map_or_else(String::new, |at_ms| format!(", {}", shown_ago(at_ms)));
    let from = state.restored.map_or_else(String::new, |restored| format!("the snapshot up to event {restored} and "));
    let events = if state.applied == 1 { "1 event".to_owned() } else { format!("{} events", state.applied) };
    format!("as of event {}{when}: {from}{events}", state.sequence)
}

/// In lines, since it is one thing alone; what steers a terminal is escaped in JSON.
fn said(state: &JournalState) -> String {
    let pretty = state.json.as_ref().and_then(|json| serde_json::to_string_pretty(json).ok());
    let lines = pretty.map(|json| json.lines().map(plain).collect::<Vec<_>>().join("\n"));
    lines.unwrap_or_else(|| format!("{} that are no JSON: --json prints them in base64", shown_bytes(state.bytes)))
}

fn row(event: &EventReport) -> Vec<String> {
    let payload = match &event.json {
        Some(json) => cut(json.to_string()),
        None => format!("{} B {}", event.bytes, event.content_type),
    };
    vec![event.sequence.to_string(), shown_ago(event.at_ms), plain(&event.name), plain(&payload)]
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(PAYLOAD_CHARS_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_past_is_shown_with_what_it_came_from() {
        let mut state = JournalState {
            sequence: 12,
            at_ms: None,
            restored: Some(10),
            applied: 2,
            format: "json".into(),
            bytes: 7,
            json: Some(serde_json::json!({ "a": "\u{1b}[31m\u{9b}" })),
            base64: None,
        };
        assert_eq!(as_of(&state), "as of event 12: the snapshot up to event 10 and 2 events");
        assert_eq!(said(&state), "{\n  \"a\": \"\\u001b[31m\\u{9b}\"\n}");
        (state.json, state.restored, state.applied) = (None, None, 1);
        assert_eq!(as_of(&state), "as of event 12: 1 event");
        assert_eq!(said(&state), "7 B that are no JSON: --json prints them in base64");
    }

    #[test]
    fn json_is_shown_as_such_and_the_rest_by_its_size() {
        let mut event = EventReport {
            sequence: 7,
            at_ms: 0,
            name: "deposited".into(),
            content_type: "application/json".into(),
            bytes: 12,
            json: Some(serde_json::json!({ "by": 5 })),
            base64: None,
        };
        assert_eq!(row(&event)[2..], ["deposited", "{\"by\":5}"]);
        event.json = Some(serde_json::json!("x".repeat(1000)));
        assert_eq!(row(&event)[3].chars().count(), PAYLOAD_CHARS_MAX + 3);
        (event.json, event.content_type) = (None, "application/cbor".into());
        assert_eq!(row(&event)[3], "12 B application/cbor");
    }
}
