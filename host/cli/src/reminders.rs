//! `reminders`: what actors are to be told at their times.

use quark_silo::api::{KindReport, ReminderReport, ReminderReports};
use serde_json::json;
use ureq::http::Method;

use crate::address::{Address, name};
use crate::client::{Client, Remote};
use crate::deployed::KindList;
use crate::exit::{Done, Exit};
use crate::look::short_actor;
use crate::output::{Output, plain};
use crate::table::table;
use crate::units::shown_until;

/// List reminders, fire one now or take one away.
///
/// Without an actor those that fire first come first. A time whose turns fail is tried again, and becomes a
/// dead letter in the end.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quark reminders
  quark reminders digest/daily
  quark reminders digest/daily --fire send
  quark reminders digest/daily --delete send")]
pub(crate) struct Reminders {
    /// Only those of this actor, for example digest/daily.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Option<Address>,
    /// Fire that one now; its times go on from there.
    #[arg(long, value_name = "NAME", value_parser = name, requires = "actor", conflicts_with = "delete")]
    fire: Option<String>,
    /// Take that one away.
    #[arg(long, value_name = "NAME", value_parser = name, requires = "actor")]
    delete: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Reminders {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        if let Some(actor) = &self.actor {
            let change = match (&self.fire, &self.delete) {
                (Some(name), _) => Some((
                    Method::POST,
                    actor.path(&["-", "reminders", name, "fire"]),
                    Some(&b""[..]),
                    "fires now",
                    "fired",
                )),
                (None, Some(name)) => {
                    Some((Method::DELETE, actor.path(&["-", "reminders", name]), None, "deleted", "deleted"))
                }
                (None, None) => None,
            };
            if let Some((method, path, body, done, key)) = change {
                client.send(method, &path, &[], body)?;
                if self.json {
                    out.json(&json!({ key: true }));
                } else {
                    out.line(done);
                }
                return Ok(Exit::Done);
            }
        }
        let reports: ReminderReports = client.get(&self.path())?;
        if self.json {
            out.json(&reports);
        } else {
            self.show(&reports, &client.get::<KindList>("/v1/kinds")?.kinds, out);
        }
        Ok(Exit::Done)
    }

    fn path(&self) -> String {
        let list = "/v1/reminders";
        let list = self.actor.as_ref().map_or_else(|| list.to_owned(), |actor| actor.path_below(list, &[]));
        format!("{list}?limit={}", self.limit)
    }

    fn show(&self, reports: &ReminderReports, kinds: &[KindReport], out: &mut Output<'_>) {
        if reports.reminders.is_empty() {
            return out.line("no reminders");
        }
        let columns = [
            ("NEXT", true),
            ("ACTOR", false),
            ("NAME", false),
            ("SCHEDULE", false),
            ("MISSED", false),
            ("TRIES", true),
        ];
        out.line(table(&columns, reports.reminders.iter().map(|reminder| row(reminder, kinds))));
        if reports.truncated {
            out.line(format!("more than {}: the rest is left out; --limit or KIND/KEY shows it", self.limit));
        }
    }
}

fn row(reminder: &ReminderReport, kinds: &[KindReport]) -> Vec<String> {
    vec![
        shown_until(reminder.next_ms),
        short_actor(kinds, &reminder.actor),
        plain(&reminder.name),
        plain(&reminder.schedule),
        reminder.missed.clone(),
        reminder.tries.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reminders(actor: Option<&str>) -> Reminders {
        let remote = Remote { url: String::new(), token: None };
        let actor = actor.and_then(|actor| Address::parse(actor).ok());
        Reminders { actor, fire: None, delete: None, limit: 7, json: false, remote }
    }

    #[test]
    fn paths_name_all_or_one_actors() {
        assert_eq!(reminders(None).path(), "/v1/reminders?limit=7");
        assert_eq!(reminders(Some("digest/a b/c")).path(), "/v1/reminders/digest/a%20b%2Fc?limit=7");
    }

    #[test]
    fn they_are_shown_with_what_is_left_out() {
        let one = ReminderReport {
            actor: "a:b/c#digest/daily".into(),
            name: "send\u{1b}[31m".into(),
            schedule: "0 8 * * *".into(),
            missed: "fire-once".into(),
            due_ms: 0,
            next_ms: 0,
            tries: 2,
            payload_bytes: 3,
        };
        let shown = |reports: &ReminderReports| {
            let mut bytes = Vec::new();
            reminders(None).show(reports, &[], &mut Output::new(&mut bytes, false));
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(shown(&ReminderReports::default()), "no reminders\n");
        let text = shown(&ReminderReports { reminders: vec![one], truncated: true });
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].trim_start().starts_with("NEXT  ACTOR"), "{text}");
        assert!(
            lines[1].contains("now  a:b/c#digest/daily") && lines[1].ends_with("0 8 * * *  fire-once      2"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(lines[2], "more than 7: the rest is left out; --limit or KIND/KEY shows it");
    }
}
