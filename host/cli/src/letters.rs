//! `dead-letters`: messages that nobody will handle.

use std::time::Duration;

use quark_silo::api::{DeadLetter, KindReport};
use serde::{Deserialize, Serialize};

use crate::address::{Address, encoded};
use crate::client::{Client, Remote};
use crate::deployed::KindList;
use crate::exit::{Done, Exit};
use crate::look::short_actor;
use crate::output::{Output, plain};
use crate::table::table;
use crate::units::shown_ago;

/// How often the silo is asked for new ones.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most that one answer shows of those that came meanwhile.
const NEW_MAX: u32 = 10_000;

/// List messages that nobody will handle, and why; the newest first.
///
/// The reasons: `expired` (its deadline passed before its turn), `cancelled` (its caller was gone
/// before its turn), `overflow` (the mailbox was full), `failed` (a tell or a reminder whose turns
/// failed too often), `incompatible` (a tell or a reminder that nothing takes), `undeliverable` (a
/// tell to a kind that nothing serves), `stopped` (the actor is stopped), `shutdown` (the silo ended
/// first). Of calls at most 20 a second are listed for each reason; `/metrics` counts all.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  quark dead-letters --limit 20\n  quark dead-letters --reason overflow \
    --actor counter/alice\n  quark dead-letters --follow")]
pub(crate) struct DeadLetters {
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those with this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Only those to or from this actor: KIND/KEY.
    #[arg(long, value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Option<Address>,
    /// Go on with those that come, the oldest first, until interrupted or until the silo ends (exit code 3).
    #[arg(long)]
    follow: bool,
    /// Print JSON; with --follow one line for each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize, Serialize)]
struct Letters {
    dead_letters: Vec<DeadLetter>,
}

impl DeadLetters {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let letters: Letters = client.get(&self.path(self.limit, None))?;
        if self.follow {
            return self.go_on(&client, letters, out);
        }
        if self.json {
            out.json(&letters);
        } else if letters.dead_letters.is_empty() {
            out.line("no dead letters");
        } else {
            let columns = [("WHEN", true), ("TO", false), ("METHOD", false), ("FROM", false), ("REASON", false)];
            let kinds = client.get::<KindList>("/v1/kinds")?.kinds;
            out.line(table(&columns, letters.dead_letters.iter().map(|letter| row(letter, &kinds))));
        }
        Ok(Exit::Done)
    }

    fn path(&self, limit: u32, after: Option<u64>) -> String {
        let option = |name: &str, value: Option<String>| value.map(|value| format!("&{name}={}", encoded(&value)));
        let reason = option("reason", self.reason.clone()).unwrap_or_default();
        let actor = option("actor", self.actor.as_ref().map(Address::to_string)).unwrap_or_default();
        let after = option("after", after.map(|after| after.to_string())).unwrap_or_default();
        format!("/v1/dead-letters?limit={limit}{reason}{actor}{after}")
    }

    /// Shows what comes until the reader goes away.
    fn go_on(&self, client: &Client, mut letters: Letters, out: &mut Output<'_>) -> Done {
        let mut last = 0;
        let kinds = if self.json { Vec::new() } else { client.get::<KindList>("/v1/kinds")?.kinds };
        loop {
            for letter in letters.dead_letters.iter().rev() {
                last = last.max(letter.id);
                match (self.json, serde_json::to_string(letter)) {
                    (true, Ok(json)) => out.said(json),
                    (true, Err(_)) | (false, _) => out.said(row(letter, &kinds).join("  ")),
                }
            }
            if out.is_closed_after(LOOK_EVERY) {
                return Ok(Exit::Done);
            }
            letters = client.get(&self.path(NEW_MAX, Some(last)))?;
        }
    }
}

fn row(letter: &DeadLetter, kinds: &[KindReport]) -> Vec<String> {
    let from = letter.from.as_ref().map_or_else(|| "outside".to_owned(), |from| short_actor(kinds, from));
    let reason = match letter.detail.as_str() {
        "" => letter.reason.clone(),
        detail => format!("{}: {}", letter.reason, plain(detail)),
    };
    vec![shown_ago(letter.at_ms), short_actor(kinds, &letter.to), letter.method.clone(), from, reason]
}
