//! `quark journal`: the events that an actor appended.

use std::thread::sleep;
use std::time::Duration;

use quark_silo::api::{EventReport, JournalPage};

use crate::address::Address;
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit};
use crate::output::{Output, plain};
use crate::table::table;
use crate::units::shown_ago;

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
  quark journal ledger/alice --follow";

/// List the events of an actor's journal, the oldest first.
///
/// A payload is shown as JSON where the event says that it is, else by its size; --json prints it in
/// base64 then. Reading wakes nobody.
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
