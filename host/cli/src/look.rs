//! What is there: `ps`, `inspect`; and `deactivate`.

use quark_core::id::split_address;
use quark_silo::api::{ActivationReport, ActorReport, Health, KindReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::http::Method;

use crate::address::{Address, encoded};
use crate::client::{Client, Remote};
use crate::deployed::KindList;
use crate::exit::{Done, Exit};
use crate::output::{Output, plain};
use crate::table::{list, table};
use crate::units::{shown_ago, shown_bytes, shown_ms};

/// List kinds and the actors that are in memory.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  quark ps\n  quark ps --kind counter --limit 20\n  quark ps --json")]
pub(crate) struct Ps {
    /// Only this kind.
    #[arg(long)]
    kind: Option<String>,
    /// At most this many actors.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize, Serialize)]
struct Activations {
    activations: Vec<ActivationReport>,
}

impl Ps {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let KindList { mut kinds } = client.get("/v1/kinds")?;
        // `quark kinds` shows it.
        kinds.iter_mut().for_each(|kind| kind.wit.clear());
        let of_kind = self.kind.as_ref().map(|kind| format!("&kind={}", encoded(kind))).unwrap_or_default();
        let path = format!("/v1/activations?limit={}{of_kind}", self.limit);
        let Activations { activations } = client.get(&path)?;
        let Health { problems, live, capacity, .. } = client.get("/healthz")?;
        if let Some(only) = &self.kind {
            kinds.retain(|kind| kind.kind == *only || kind.name == *only);
        }
        if self.json {
            let silo = serde_json::json!({ "live": live, "capacity": capacity, "problems": problems });
            out.json(&serde_json::json!({ "kinds": kinds, "activations": activations, "silo": silo }));
        } else {
            problems.iter().for_each(|problem| out.line(format_args!("problem: {}", plain(problem))));
            show_kinds(&kinds, out);
            out.line("");
            show_activations(&kinds, &activations, out);
        }
        Ok(Exit::Done)
    }
}

fn show_kinds(kinds: &[KindReport], out: &mut Output<'_>) {
    if kinds.is_empty() {
        return out.line("nothing is deployed; next: quark deploy FILE");
    }
    let columns = [
        ("KIND", false),
        ("DEPLOYMENT", false),
        ("VERSION", true),
        ("LANE", false),
        ("LIVE", true),
        ("METHODS", false),
    ];
    let rows = kinds.iter().map(|kind| {
        let methods: Vec<&str> = kind.methods.iter().map(|method| method.name.as_str()).collect();
        vec![
            short(kinds, &kind.kind),
            kind.deployment.clone(),
            kind.version.to_string(),
            kind.lane.clone(),
            kind.live.to_string(),
            methods.join(" "),
        ]
    });
    out.line(table(&columns, rows));
}

fn show_activations(kinds: &[KindReport], live: &[ActivationReport], out: &mut Output<'_>) {
    if live.is_empty() {
        return out.line("no actor is in memory");
    }
    let columns = [("ACTOR", false), ("PHASE", false), ("WAITING", true), ("IDLE", true), ("TURNS", true)];
    let rows = live.iter().map(|actor| {
        vec![
            format!("{}/{}", short(kinds, &actor.kind), actor.key),
            actor.phase.clone(),
            actor.waiting.to_string(),
            shown_ms(actor.idle_ms),
            actor.turns.to_string(),
        ]
    });
    out.line(table(&columns, rows));
}

/// The short name of a kind while no other has it; then it can be typed as it is shown.
pub(crate) fn short(kinds: &[KindReport], full: &str) -> String {
    let name = full.rsplit('#').next().unwrap_or(full);
    let ambiguous = kinds.iter().filter(|kind| kind.name == name).count() > 1;
    if ambiguous { full } else { name }.to_owned()
}

/// An actor whose kind is named in full, with the kind as it is [`short`] where there is such a kind.
pub(crate) fn short_actor(kinds: &[KindReport], full: &str) -> String {
    match split_address(full) {
        Ok((kind, key)) if kinds.iter().any(|known| known.kind == kind) => {
            format!("{}/{}", short(kinds, kind), key.as_str())
        }
        _ => full.to_owned(),
    }
}

/// Show everything about one actor.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  quark inspect counter/alice")]
pub(crate) struct Inspect {
    /// The actor, for example counter/alice.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Address,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Inspect {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let path = self.actor.path(&[]);
        if self.json {
            out.json(&client.get::<Value>(&path)?);
        } else {
            show_actor(&client.get(&path)?, out);
        }
        Ok(Exit::Done)
    }
}

fn show_actor(actor: &ActorReport, out: &mut Output<'_>) {
    let mut rows = vec![
        ("kind", actor.kind.clone()),
        ("key", actor.key.clone()),
        ("version", actor.version.to_string()),
        ("lane", actor.lane.clone()),
    ];
    match &actor.activation {
        None => rows.push(("phase", "not in memory".to_owned())),
        Some(live) => {
            let turn = if live.running { ", a turn runs" } else { "" };
            let (waiting, capacity) = (live.waiting, live.mailbox_capacity);
            let (bytes, most) = (shown_bytes(live.waiting_bytes), shown_bytes(live.mailbox_bytes));
            rows.extend([
                ("phase", format!("{}{turn}", live.phase)),
                ("generation", live.generation.to_string()),
                ("mailbox", format!("{waiting} of {capacity} messages, {bytes} of {most}")),
                ("turns", live.turns.to_string()),
                ("commits", format!("{} under way", live.commits)),
                ("idle", shown_ms(live.idle_ms)),
            ]);
        }
    }
    rows.push(("e-tag", actor.etag.clone().unwrap_or_else(|| "none: it never wrote".to_owned())));
    let (held, limit) = (shown_bytes(actor.state_bytes), shown_bytes(actor.state_limit));
    let values = match actor.state.len() {
        1 => "1 value".to_owned(),
        more => format!("{more} values"),
    };
    rows.push(("state", format!("{held} of {limit} in {values}")));
    if let Some(journal) = &actor.journal {
        let (last, after) = (journal.last, journal.replayed);
        let snapshot = match journal.snapshot {
            Some(snapshot) => format!("a snapshot up to {snapshot} and {after} after it"),
            None => "no snapshot".to_owned(),
        };
        rows.push(("journal", format!("{last} events, {snapshot}")));
    }
    if let Some(failure) = &actor.last_failure {
        let (ago, count) = (shown_ago(failure.at_ms), failure.count);
        rows.push(("last failure", format!("{} ({ago}, {count} since the silo started)", failure.reason)));
    }
    if actor.stopped {
        rows.push(("stopped", "yes: `quark start` lets it be woken".to_owned()));
    }
    if let Some(held) = &actor.held {
        let left = shown_ms(held.left_ms);
        let what = match &*held.why {
            "backoff" => format!("in {left}; messages wait"),
            "parent" => "with its parent; messages wait".to_owned(),
            _ => format!("in {left}: it failed too often and cools down; messages are refused"),
        };
        rows.push(("restart", what));
    }
    rows.extend(actor.parent.clone().map(|parent| ("parent", parent)));
    if actor.children > 0 {
        rows.push(("children", format!("{}: `quark tree` shows them", actor.children)));
    }
    if actor.answers > 0 {
        rows.push(("answers", format!("{} remembered by idempotency keys", actor.answers)));
    }
    if actor.reminders > 0 {
        rows.push(("reminders", format!("{}: `quark reminders` shows them", actor.reminders)));
    }
    out.line(list(rows));
    if !actor.state.is_empty() {
        out.line("");
        show_values(actor, out);
    }
}

/// The names and sizes of an actor's state.
pub(crate) fn show_values(actor: &ActorReport, out: &mut Output<'_>) {
    let rows = actor.state.iter().map(|value| vec![value.name.clone(), value.bytes.to_string()]);
    out.line(table(&[("NAME", false), ("BYTES", true)], rows));
}

/// Have an actor leave memory now; it wakes at its next message, without a wait if it had failed.
///
/// With it end the waits of all children of its parent.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  quark deactivate counter/alice")]
pub(crate) struct Deactivate {
    /// The actor, for example counter/alice.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Address,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Deactivate {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        #[derive(Deserialize, Serialize)]
        struct Deactivated {
            deactivated: bool,
        }
        let client = Client::new(&self.remote, None)?;
        let path = self.actor.path(&["-", "deactivate"]);
        let answer = client.send(Method::POST, &path, &[], Some(b""))?;
        let done: Deactivated = client.parse(&answer.body)?;
        if self.json {
            out.json(&done);
        } else {
            out.line(if done.deactivated { "deactivated" } else { "it was not in memory" });
        }
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quark_silo::api::{FailureReport, JournalReport, LiveReport, ValueReport};

    fn kind(full: &str) -> KindReport {
        KindReport {
            kind: full.into(),
            name: full.rsplit('#').next().unwrap_or_default().into(),
            deployment: "d".into(),
            version: 1,
            lane: "direct".into(),
            live: 2,
            ..KindReport::default()
        }
    }

    fn shown(show: impl FnOnce(&mut Output<'_>)) -> String {
        let mut bytes = Vec::new();
        show(&mut Output::new(&mut bytes, false));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn kinds_are_short_while_they_are_unambiguous() {
        let kinds = [kind("a:b/c#counter"), kind("x:y/z#counter"), kind("a:b/c#hello")];
        assert_eq!(short(&kinds, "a:b/c#counter"), "a:b/c#counter");
        assert_eq!(short(&kinds, "a:b/c#hello"), "hello");
        assert_eq!(short_actor(&kinds, "a:b/c#counter/a/b#c"), "a:b/c#counter/a/b#c");
        assert_eq!(short_actor(&kinds, "a:b/c#hello/a/b#c"), "hello/a/b#c");
        assert_eq!(short_actor(&kinds, "a:b/c#gone/a"), "a:b/c#gone/a");
        let text = shown(|out| show_kinds(&kinds[2..], out));
        assert_eq!(
            text,
            "KIND   DEPLOYMENT  VERSION  LANE    LIVE  METHODS\nhello  d                 1  direct     2\n"
        );
    }

    #[test]
    fn an_actor_is_shown_awake_and_away() {
        let mut actor = ActorReport {
            kind: "a:b/c#counter".into(),
            key: "alice".into(),
            version: 3,
            lane: "direct".into(),
            activation: None,
            etag: None,
            state: Vec::new(),
            state_bytes: 0,
            state_limit: 1 << 20,
            last_failure: None,
            stopped: false,
            journal: Some(JournalReport { last: 9, last_at_ms: 0, first: 1, snapshot: Some(5), replayed: 4 }),
            held: None,
            parent: Some("a:b/c#crew/night".into()),
            children: 2,
            reminders: 1,
            answers: 4,
        };
        let away = shown(|out| show_actor(&actor, out));
        assert!(away.contains("phase      not in memory\n"), "{away}");
        assert!(away.contains("\nparent     a:b/c#crew/night\nchildren   2: `quark tree` shows them\n"), "{away}");
        assert!(away.ends_with("\nreminders  1: `quark reminders` shows them\n"), "{away}");
        assert!(away.contains("\nanswers    4 remembered by idempotency keys\n"), "{away}");
        assert!(away.contains("journal    9 events, a snapshot up to 5 and 4 after it\n"), "{away}");
        actor.activation = Some(LiveReport {
            phase: "awake".into(),
            generation: 7,
            waiting: 1,
            waiting_bytes: 10,
            mailbox_capacity: 1024,
            mailbox_bytes: 1 << 20,
            commits: 0,
            turns: 9,
            idle_ms: 1500,
            running: true,
        });
        actor.state = vec![ValueReport { name: "value".into(), bytes: 8 }];
        actor.last_failure = Some(FailureReport { reason: "trap".into(), at_ms: 0, count: 2 });
        let awake = shown(|out| show_actor(&actor, out));
        assert!(awake.contains("phase         awake, a turn runs\n"), "{awake}");
        assert!(awake.contains("mailbox       1 of 1024 messages, 10 B of 1.0 MiB\n"), "{awake}");
        assert!(awake.ends_with("\n\nNAME   BYTES\nvalue      8\n"), "{awake}");
    }
}
