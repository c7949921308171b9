//! `quark trace`: the last turns, with what they took.

use std::collections::BTreeSet;
use std::time::Duration;

use quark_core::id::KindName;
use quark_silo::api::{TraceReport, TurnReport};
use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthStr as _;
use ureq::http::Method;

use crate::address::{Address, encoded};
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit, usage};
use crate::output::{Output, cut, may_colour, plain};
use crate::table::{Column, table};
use crate::units::{short_duration, shown_ago, shown_bytes, shown_ns};

/// How often the silo is asked for new ones.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most that one answer has.
const PAGE: u64 = 10_000;
/// Turns that end at the same moment may be listed in another order than that of their numbers: so many are asked
/// for again.
const LATE: u64 = 256;
/// How much of a reason a line shows; `--json` has all of it.
const DETAIL_CHARS_MAX: usize = 80;
/// How a turn that did not end well is shown on a terminal.
const FAILED: (&str, &str) = ("\x1b[31m", "\x1b[0m");

const EXAMPLES: &str = "\
Examples:
  quark trace counter --on
  quark trace counter/alice
  quark trace counter --follow --slower 5ms
  quark trace --failed --limit 20 --json
  quark trace counter --off";

/// Show the last turns: method, caller, waits, run time, commits, bytes, outcome; the oldest first.
///
/// Turns are recorded for the kinds for which that is switched on: here with --on, until the silo ends, or for
/// good with `trace = true` in the manifest. A silo keeps the last 16,384 turns, of 16 MiB at most, in memory.
///
/// QUEUED: its message waited for its turn. WOKE: the actor was loaded for it. RAN: from when the guest was
/// entered until it ended, waits included. CALLS: those that it made, and how long they took together. COMMIT: it
/// and its answer waited for the store. IN, OUT, STORED: bytes of arguments, of the result, and committed. FROM:
/// `cli`, `http`, or the turns that waited for it, the first one first.
///
/// The outcomes: `ok`, `error` (its own), `trapped`, `too-large` (its answer), `refused` (the actor would not
/// wake), `cools-down`, `stopped`, `no-room`, `not-committed`, `abandoned` (it waited long after its caller had
/// gone), `neighbour` (its instance ended with another turn), `expired` and `cancelled` (before it could begin).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Trace {
    /// Only those of this kind or actor, for example counter or counter/alice.
    #[arg(value_name = "KIND[/KEY]", value_parser = of)]
    of: Option<Of>,
    /// Record turns of this kind from now on, until the silo ends.
    #[arg(long, requires = "of", conflicts_with_all = ["off", "follow"])]
    on: bool,
    /// Record turns of this kind no more, until the silo ends. What is recorded stays.
    #[arg(long, requires = "of", conflicts_with = "follow")]
    off: bool,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=PAGE))]
    limit: u64,
    /// Only those that did not end well.
    #[arg(long)]
    failed: bool,
    /// Only those that took at least this long (200us, 5ms), from the beginning of their wait to their last commit.
    #[arg(long, value_name = "TIME", value_parser = short_duration)]
    slower: Option<Duration>,
    /// Go on with those that end, until interrupted or until the silo ends (exit code 3).
    #[arg(long)]
    follow: bool,
    /// Print JSON, times in nanoseconds; with --follow one line for each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What is asked about.
#[derive(Clone, Debug)]
enum Of {
    Kind(String),
    Actor(Address),
}

fn of(text: &str) -> Result<Of, String> {
    match Address::parse(text) {
        Ok(actor) => Ok(Of::Actor(actor)),
        // A name with a `/` in it may be a full kind's.
        Err(_) if !text.ends_with('/') && KindName::parse(text).is_ok() => Ok(Of::Kind(text.to_owned())),
        Err(error) => Err(error),
    }
}

impl Trace {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        if self.on || self.off {
            return self.switch(&client, out);
        }
        let asked = if self.failed || self.slower.is_some() || self.follow { PAGE } else { self.limit };
        let mut report: TraceReport = client.get(&format!("{}?limit={asked}", self.path()))?;
        let known: BTreeSet<u64> = report.turns.iter().map(|turn| turn.sequence).collect();
        report.turns.retain(|turn| self.wants(turn));
        let more = report.turns.len().saturating_sub(usize::try_from(self.limit).unwrap_or(usize::MAX));
        report.turns.drain(..more);
        if self.follow {
            return self.go_on(&client, report, known, out);
        }
        if self.json {
            out.json(&report);
        } else {
            self.show(&report, out);
        }
        Ok(Exit::Done)
    }

    fn switch(&self, client: &Client, out: &mut Output<'_>) -> Done {
        #[derive(Deserialize, Serialize)]
        struct Switched {
            kind: String,
            traced: bool,
        }
        let Some(Of::Kind(kind)) = &self.of else {
            return Err(
                usage("turns are recorded for a whole kind, or not").next("write it like quark trace KIND --on")
            );
        };
        let (method, body) = if self.on { (Method::PUT, Some(&b""[..])) } else { (Method::DELETE, None) };
        let answer = client.send(method, &format!("/v1/trace/{}", encoded(kind)), &[], body)?;
        let switched: Switched = client.parse(&answer.body)?;
        if self.json {
            out.json(&switched);
        } else {
            let kind = plain(&switched.kind);
            out.line(if switched.traced {
                format!("turns of {kind} are recorded, until the silo ends or --off")
            } else {
                format!("turns of {kind} are not recorded any more")
            });
        }
        Ok(Exit::Done)
    }

    fn path(&self) -> String {
        match &self.of {
            None => "/v1/trace".to_owned(),
            Some(Of::Kind(kind)) => format!("/v1/trace/{}", encoded(kind)),
            Some(Of::Actor(actor)) => actor.path_below("/v1/trace", &[]),
        }
    }

    fn wants(&self, turn: &TurnReport) -> bool {
        let took = turn.queued_ns + turn.woke_ns + turn.ran_ns + turn.commit_ns;
        let slow = self.slower.is_none_or(|slower| u128::from(took) >= slower.as_nanos());
        slow && !(self.failed && turn.outcome == "ok")
    }

    /// Why there may be none.
    fn hint(&self, report: &TraceReport) -> Option<String> {
        let kind = match &self.of {
            None if report.kinds.is_empty() => "KIND".to_owned(),
            None => return None,
            Some(Of::Kind(kind)) => kind.clone(),
            Some(Of::Actor(actor)) => actor.kind().to_owned(),
        };
        let on = report.kinds.iter().any(|known| *known == kind || known.rsplit('#').next() == Some(&kind));
        let none = if self.of.is_some() { "turns of it are not recorded" } else { "turns of no kind are recorded" };
        (!on).then(|| format!("{none}: quark trace {} --on, or `trace = true` in the manifest", plain(&kind)))
    }

    fn show(&self, report: &TraceReport, out: &mut Output<'_>) {
        if report.turns.is_empty() {
            out.line("no turns");
        } else {
            let rows = table(&COLUMNS, report.turns.iter().map(row));
            let colour = out.is_terminal() && may_colour(&std::io::stdout());
            let outcomes = std::iter::once("ok").chain(report.turns.iter().map(|turn| turn.outcome.as_str()));
            for (line, outcome) in rows.lines().zip(outcomes) {
                out.line(coloured(line, outcome, colour));
            }
        }
        self.hint(report).into_iter().for_each(|hint| out.line(hint));
        if report.dropped > 0 {
            out.line(format_args!("{} turns went unrecorded, so as not to wait for their record", report.dropped));
        }
    }

    /// Shows these, and those that end until the reader goes away; those that it `left_out` never.
    fn go_on(
        &self,
        client: &Client,
        mut report: TraceReport,
        mut left_out: BTreeSet<u64>,
        out: &mut Output<'_>,
    ) -> Done {
        report.turns.iter().for_each(|turn| _ = left_out.remove(&turn.sequence));
        let colour = out.is_terminal() && may_colour(&std::io::stdout());
        let mut widths = WIDTHS;
        if !self.json {
            report.turns.iter().for_each(|turn| drop(padded(&cells(turn), &mut widths)));
            self.hint(&report).into_iter().for_each(|hint| out.said(hint));
            out.said(padded(&COLUMNS.map(|(name, _)| name.to_owned()), &mut widths));
        }
        let (mut last, mut shown) = (left_out.last().copied().unwrap_or(0), left_out);
        loop {
            for turn in &report.turns {
                last = last.max(turn.sequence);
                if !shown.insert(turn.sequence) || !self.wants(turn) {
                    continue;
                }
                match (self.json, serde_json::to_string(turn)) {
                    (true, Ok(json)) => out.said(json),
                    (true, Err(_)) | (false, _) => {
                        out.said(coloured(&padded(&cells(turn), &mut widths), &turn.outcome, colour));
                    }
                }
            }
            let full = report.turns.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
            if out.is_closed_after(if full { Duration::ZERO } else { LOOK_EVERY }) {
                return Ok(Exit::Done);
            }
            shown = shown.split_off(&last.saturating_sub(LATE));
            report = client.get(&format!("{}?limit={PAGE}&after={}", self.path(), last.saturating_sub(LATE)))?;
        }
    }
}

const COLUMNS: [Column; 13] = [
    ("WHEN", true),
    ("ACTOR", false),
    ("METHOD", false),
    ("QUEUED", true),
    ("WOKE", true),
    ("RAN", true),
    ("CALLS", true),
    ("COMMIT", true),
    ("IN", true),
    ("OUT", true),
    ("STORED", true),
    ("FROM", false),
    ("OUTCOME", false),
];

/// What columns have that are written before all of what is in them is known.
const WIDTHS: [usize; 13] = [10, 16, 12, 8, 8, 8, 12, 8, 8, 8, 8, 12, 7];

fn cells(turn: &TurnReport) -> Vec<String> {
    row(turn).iter().map(|cell| plain(cell)).collect()
}

fn row(turn: &TurnReport) -> Vec<String> {
    let bytes = |bytes: u64| if bytes == 0 { "-".to_owned() } else { shown_bytes(bytes) };
    let calls = match turn.calls {
        0 => "-".to_owned(),
        calls => format!("{calls} in {}", shown_ns(turn.calls_ns)),
    };
    let method = match turn.stands.as_str() {
        "inside" | "beside" => format!("{} ({})", turn.method, turn.stands),
        _ => turn.method.clone(),
    };
    let outcome = match turn.detail.as_str() {
        "" => turn.outcome.clone(),
        detail => format!("{}: {}", turn.outcome, cut(detail, DETAIL_CHARS_MAX)),
    };
    vec![
        shown_ago(turn.at_ms),
        short(&turn.actor).to_owned(),
        method,
        shown_ns(turn.queued_ns),
        shown_ns(turn.woke_ns),
        shown_ns(turn.ran_ns),
        calls,
        shown_ns(turn.commit_ns),
        bytes(turn.arguments_bytes),
        bytes(turn.result_bytes),
        bytes(turn.committed_bytes),
        from(turn),
        outcome,
    ]
}

fn from(turn: &TurnReport) -> String {
    if !turn.path.is_empty() {
        return turn.path.iter().map(|hop| short(hop)).collect::<Vec<_>>().join(" -> ");
    }
    match turn.occasion.as_str() {
        "call" => short(&turn.caller).to_owned(),
        "tell" => format!("tell by {}", short(&turn.caller)),
        own => own.to_owned(),
    }
}

/// `counter/alice` of `sample:counter/counters#counter/alice`.
fn short(actor: &str) -> &str {
    actor.split_once('#').map_or(actor, |(_, short)| short)
}

fn coloured(line: &str, outcome: &str, colour: bool) -> String {
    if colour && outcome != "ok" { format!("{}{line}{}", FAILED.0, FAILED.1) } else { line.to_owned() }
}

/// A line under the ones before; a column grows with what is in it.
fn padded(cells: &[String], widths: &mut [usize]) -> String {
    let mut line = String::new();
    for ((cell, width), (_, number)) in cells.iter().zip(widths).zip(COLUMNS) {
        *width = (*width).max(cell.width());
        let fill = " ".repeat(*width - cell.width());
        let (before, after) = if number { (&*fill, "") } else { ("", &*fill) };
        line.extend([before, cell, after, "  "]);
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> TurnReport {
        TurnReport {
            actor: "a:b/c#cart/42#x/y".into(),
            method: "total".into(),
            occasion: "call".into(),
            caller: "cli".into(),
            stands: "alone".into(),
            outcome: "ok".into(),
            ran_ns: 1_500,
            ..TurnReport::default()
        }
    }

    fn trace(of_text: Option<&str>) -> Trace {
        let remote = Remote { url: String::new(), token: None };
        let of = of_text.map(|text| of(text).unwrap());
        Trace { of, on: false, off: false, limit: 5, failed: false, slower: None, follow: false, json: false, remote }
    }

    #[test]
    fn kinds_and_actors_are_told_apart() {
        assert_eq!(trace(None).path(), "/v1/trace");
        assert_eq!(trace(Some("cart")).path(), "/v1/trace/cart");
        assert_eq!(trace(Some("a:b/c#cart")).path(), "/v1/trace/a%3Ab%2Fc%23cart");
        assert_eq!(trace(Some("cart/a b")).path(), "/v1/trace/cart/a%20b");
        assert!(of("cart/").is_err());
        assert!(of("").is_err());
    }

    #[test]
    fn a_row_says_from_where_and_how() {
        let mut turn = turn();
        assert_eq!(row(&turn)[1..3], ["cart/42#x/y", "total"]);
        assert_eq!((&*row(&turn)[5], &*row(&turn)[6], &*row(&turn)[11]), ("1.5 µs", "-", "cli"));
        turn.path = vec!["a:b/c#cart/1.go".into(), "a:b/c#pay/2.charge".into()];
        (turn.stands, turn.outcome, turn.detail) = ("inside".into(), "trapped".into(), "x".repeat(500));
        (turn.calls, turn.calls_ns) = (2, 3_000_000);
        let shown = row(&turn);
        assert_eq!(
            (&*shown[2], &*shown[6], &*shown[11]),
            ("total (inside)", "2 in 3.0 ms", "cart/1.go -> pay/2.charge")
        );
        assert_eq!(shown[12], format!("trapped: {}...", "x".repeat(DETAIL_CHARS_MAX)));
        turn.detail.truncate(DETAIL_CHARS_MAX);
        assert_eq!(row(&turn)[12], format!("trapped: {}", "x".repeat(DETAIL_CHARS_MAX)));
        (turn.path, turn.occasion, turn.caller) = (Vec::new(), "tell".into(), "a:b/c#cart/7".into());
        assert_eq!(from(&turn), "tell by cart/7");
        (turn.occasion, turn.caller) = ("reminder".into(), "silo".into());
        assert_eq!(from(&turn), "reminder");
    }

    #[test]
    fn what_is_wanted_is_slow_or_failed() {
        let (mut slow, mut failed) = (trace(None), trace(None));
        (slow.slower, failed.failed) = (Some(Duration::from_millis(1)), true);
        let (mut one, mut bad) = (turn(), turn());
        bad.outcome = "expired".into();
        assert!(!slow.wants(&one) && !failed.wants(&one) && failed.wants(&bad));
        one.queued_ns = 1_000_000;
        assert!(slow.wants(&one));
    }

    #[test]
    fn lines_align_and_hints_say_what_to_do() {
        let shown = |trace: &Trace, report: &TraceReport| {
            let mut bytes = Vec::new();
            trace.show(report, &mut Output::new(&mut bytes, false));
            String::from_utf8(bytes).unwrap()
        };
        let mut report = TraceReport::default();
        let none = shown(&trace(Some("cart/1")), &report);
        assert_eq!(
            none,
            "no turns\nturns of it are not recorded: quark trace cart --on, or `trace = true` in the manifest\n"
        );
        assert!(shown(&trace(None), &report).contains("turns of no kind are recorded: quark trace KIND --on"));
        report.kinds = vec!["a:b/c#cart".into()];
        assert_eq!(shown(&trace(Some("cart/1")), &report), "no turns\n");
        (report.turns, report.dropped) = (vec![turn(), turn()], 3);
        let text = shown(&trace(Some("cart")), &report);
        let lines: Vec<&str> = text.lines().collect();
        let at = |line: &str| line.find("total").unwrap();
        assert_eq!(
            (lines.len(), at(lines[1]), lines[0].find("METHOD")),
            (4, at(lines[2]), Some(at(lines[1]))),
            "{text}"
        );
        assert!(lines[3].starts_with("3 turns went unrecorded"), "{text}");
        let mut widths = COLUMNS.map(|(name, _)| name.width());
        let head = padded(&COLUMNS.map(|(name, _)| name.to_owned()), &mut widths);
        let line = padded(&row(&turn()), &mut widths);
        assert!(head.starts_with("WHEN  ACTOR") && line.contains("  total   "), "{head}\n{line}");
        assert_eq!(coloured("x", "trapped", true), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(coloured("x", "trapped", false), "x");
    }
}
