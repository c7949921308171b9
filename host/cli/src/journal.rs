//! `quark journal`: the events that an actor appended.

use std::time::Duration;

use quark_silo::api::{ActorReport, EventReport, Failure, JournalPage, JournalReport, JournalState, Moment};

use crate::address::Address;
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit, note};
use crate::output::{Output, cut, plain};
use crate::table::table;
use crate::units::{self, shown_ago, shown_bytes};

/// How often the silo is asked for new ones.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most that one answer has.
const PAGE: u64 = 1000;
/// How many are listed where it is not said.
const LIMIT: u64 = 100;
/// How much of a payload a line shows.
const PAYLOAD_CHARS_MAX: usize = 200;

const EXAMPLES: &str = "\
Examples:
  quark journal ledger/alice
  quark journal ledger/alice --from 100 --limit 20 --json
  quark journal ledger/alice --follow --limit 10
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
    /// The number of the first event; they begin at 1.
    #[arg(long, value_name = "SEQ", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// At most this many, the first ones from there on, 100 if it is not said; with --follow the newest of those
    /// that are there, all if it is not said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: Option<u64>,
    /// What it was: after the event of that number, at that time, or so long ago.
    #[arg(long, value_name = "SEQ|TIME", value_parser = units::moment)]
    #[arg(conflicts_with_all = ["from", "limit", "follow"])]
    at: Option<Moment>,
    /// Go on with those that come, until interrupted or until the silo ends (exit code 3). Events that
    /// `journal.keep` dropped meanwhile are told on standard error.
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
        if self.follow {
            let ask = |next| client.get(&self.path(next, PAGE));
            let told = |gone: &str| note("events-gone", gone, self.json);
            let actor: ActorReport = client.get(&self.actor.path(&[]))?;
            return self.go_on(self.begin(actor.journal.as_ref()), ask, told, LOOK_EVERY, out);
        }
        let (mut next, mut left) = (self.from, self.limit.unwrap_or(LIMIT));
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

    /// The number of the event to follow from: what is gone already nobody misses, and with --limit only the newest
    /// are shown.
    fn begin(&self, journal: Option<&JournalReport>) -> u64 {
        let (first, last) = journal.map_or((1, 0), |journal| (journal.first, journal.last));
        let newest = self.limit.map_or(1, |limit| last.saturating_add(1).saturating_sub(limit));
        self.from.max(first).max(newest)
    }

    /// Shows what there is from the event `next` on, and what comes until the reader goes away.
    fn go_on(
        &self,
        mut next: u64,
        mut ask: impl FnMut(u64) -> Result<JournalPage, Failure>,
        mut told: impl FnMut(&str),
        wait: Duration,
        out: &mut Output<'_>,
    ) -> Done {
        loop {
            let events = ask(next)?.events;
            for event in &events {
                if event.sequence > next {
                    told(&gone(next, event.sequence - 1));
                }
                next = event.sequence.saturating_add(1);
                match (self.json, serde_json::to_string(event)) {
                    (true, Ok(json)) => out.said(json),
                    (true, Err(_)) | (false, _) => out.said(row(event).join("  ")),
                }
            }
            if out.is_closed_after(if events.is_empty() { wait } else { Duration::ZERO }) {
                return Ok(Exit::Done);
            }
        }
    }
}

fn gone(first: u64, last: u64) -> String {
    let which = if first == last { format!("event {first} is") } else { format!("events {first} to {last} are") };
    format!("{which} gone: journal.keep drops those before a snapshot")
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
        Some(json) => cut(&json.to_string(), PAYLOAD_CHARS_MAX),
        None => format!("{} B {}", event.bytes, event.content_type),
    };
    vec![event.sequence.to_string(), shown_ago(event.at_ms), plain(&event.name), plain(&payload)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(from: u64) -> Journal {
        let remote = Remote { url: String::new(), token: None };
        let actor = Address::parse("ledger/a").unwrap();
        Journal { actor, from, limit: None, at: None, follow: true, json: true, remote }
    }

    fn event(sequence: u64) -> EventReport {
        let (name, content_type) = ("deposited".into(), "application/json".into());
        EventReport { sequence, at_ms: 0, name, content_type, bytes: 4, json: Some(serde_json::json!(1)), base64: None }
    }

    /// What is printed and told of these pages, one after the other, until the silo is gone.
    fn followed(from: u64, pages: &[&[u64]]) -> (Vec<u64>, Vec<String>) {
        let (mut bytes, mut notes, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        let mut out = Output::new(&mut bytes, false);
        let ask = |next: u64| {
            let page = pages.get(asked.len()).ok_or_else(|| Failure::new("unreachable", "gone"))?;
            asked.push(next);
            Ok(JournalPage { events: page.iter().copied().map(event).collect() })
        };
        let told = |gone: &str| notes.push(gone.to_owned());
        let done = journal(from).go_on(from, ask, told, Duration::ZERO, &mut out);
        assert_eq!(done.unwrap_err().code, "unreachable");
        drop(out);
        assert_eq!(asked[0], from);
        let lines = String::from_utf8(bytes).unwrap();
        let number = |line: &str| serde_json::from_str::<EventReport>(line).unwrap().sequence;
        (lines.lines().map(number).collect(), notes)
    }

    #[test]
    fn events_that_went_between_two_looks_are_told() {
        let (shown, notes) = followed(19, &[&[19, 20], &[], &[42, 43], &[45], &[46]]);
        assert_eq!(shown, [19, 20, 42, 43, 45, 46]);
        assert_eq!(notes, [gone(21, 41), gone(44, 44)]);
        assert_eq!(notes[0], "events 21 to 41 are gone: journal.keep drops those before a snapshot");
        assert!(notes[1].starts_with("event 44 is gone"), "{notes:?}");
        assert_eq!(followed(1, &[&[], &[3]]).1, [gone(1, 2)], "also where there was nothing yet");
    }

    #[test]
    fn what_is_followed_begins_with_the_newest_that_are_kept() {
        let begin = |from: u64, limit: Option<u64>, (first, last): (u64, u64)| {
            let report = JournalReport { last, last_at_ms: 0, first, snapshot: None, replayed: 0 };
            Journal { limit, ..journal(from) }.begin(Some(&report))
        };
        let all = (1, 5);
        assert_eq!([begin(1, None, all), begin(3, None, all), begin(9, None, all)], [1, 3, 9]);
        assert_eq!([begin(1, Some(2), all), begin(5, Some(2), all), begin(1, Some(9), all)], [4, 5, 1]);
        assert_eq!([begin(1, None, (601, 600)), begin(1, Some(2), (601, 600))], [601, 601]);
        assert_eq!((journal(1).begin(None), journal(7).begin(None)), (1, 7), "there is no journal yet");
    }

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
