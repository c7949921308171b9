//! Whether an actor may be woken: `stop`, `start`.

use serde_json::{Value, json};
use ureq::http::Method;

use crate::address::Address;
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit};
use crate::output::Output;

/// Stop an actor for good: callers get `stopped` until it is started, also over restarts of the silo.
///
/// Its children end before it, in reverse order, and are stopped too.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  quark stop counter/alice")]
pub(crate) struct Stop {
    #[command(flatten)]
    target: Target,
}

/// Let a stopped actor be woken again by its next message.
///
/// One that waits for a restart or cools down need not wait any longer.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  quark start counter/alice")]
pub(crate) struct Start {
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args)]
struct Target {
    /// The actor, for example counter/alice.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Address,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Stop {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        self.target.run("stop", ("stopped", "it was stopped already"), out)
    }
}

impl Start {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        self.target.run("start", ("started", "it was not stopped; a backoff or cool-down that it had is over"), out)
    }
}

impl Target {
    fn run(self, verb: &str, (done, was): (&str, &str), out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let answer = client.send(Method::POST, &self.actor.path(&["-", verb]), &[], Some(b""))?;
        let changed = client.parse::<Value>(&answer.body)?[done] == true;
        if self.json {
            out.json(&json!({ done: changed }));
        } else {
            out.line(if changed { done } else { was });
        }
        Ok(Exit::Done)
    }
}
