//! `quark state`: an actor's durable values, byte for byte.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use quark_silo::api::{ActorReport, Failure};
use serde_json::json;
use ureq::http::Method;

use crate::address::{Address, name};
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit, usage};
use crate::look::show_values;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  quark state counter/alice list
  quark state counter/alice get state --out state.bin
  quark state counter/alice set state --file state.bin --if-match 7-3
  quark state counter/alice delete state";

/// Read and change an actor's durable values. On a live actor each is one of its turns.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct State {
    /// The actor, for example counter/alice.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Address,
    #[command(subcommand)]
    action: Action,
    /// Only if this is the actor's e-tag.
    #[arg(long, global = true, value_name = "ETAG")]
    if_match: Option<String>,
    /// Print JSON; bytes are in base64.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Subcommand)]
enum Action {
    /// Print a value's bytes.
    Get {
        /// The value's name.
        #[arg(value_parser = name)]
        name: String,
        /// Write the bytes to this file instead.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Replace a value.
    Set {
        /// The value's name.
        #[arg(value_parser = name)]
        name: String,
        /// The bytes, as text.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        value: Option<String>,
        /// Take the bytes from this file.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Remove a value.
    Delete {
        /// The value's name.
        #[arg(value_parser = name)]
        name: String,
    },
    /// List names and sizes.
    List,
}

impl State {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let condition: Vec<(&str, String)> =
            self.if_match.iter().map(|etag| ("if-match", format!("\"{etag}\""))).collect();
        let path = |name: &str| self.actor.path(&["-", "state", name]);
        match &self.action {
            Action::Get { name, out: file } => {
                let answer = client.send(Method::GET, &path(name), &condition, None)?;
                if let Some(file) = file {
                    save(file, &answer.body)?;
                }
                if self.json {
                    let bytes = STANDARD.encode(&answer.body);
                    out.json(&json!({ "name": name, "etag": answer.etag, "bytes": bytes }));
                } else if file.is_none() {
                    print(&answer.body, out)?;
                }
            }
            Action::Set { name, value, file } => {
                let bytes = match (value, file) {
                    (_, Some(file)) => {
                        fs::read(file).map_err(|error| usage(format!("cannot read {}: {error}", file.display())))?
                    }
                    (value, None) => value.clone().unwrap_or_default().into_bytes(),
                };
                let answer = client.send(Method::PUT, &path(name), &condition, Some(&bytes))?;
                self.changed(answer.etag, out);
            }
            Action::Delete { name } => {
                let answer = client.send(Method::DELETE, &path(name), &condition, None)?;
                self.changed(answer.etag, out);
            }
            Action::List => {
                let actor: ActorReport = client.get(&self.actor.path(&[]))?;
                if self.json {
                    out.json(&json!({ "etag": actor.etag, "state": actor.state }));
                } else if actor.state.is_empty() {
                    out.line(format_args!("{} has no state", self.actor));
                } else {
                    show_values(&actor, out);
                }
            }
        }
        Ok(Exit::Done)
    }

    fn changed(&self, etag: Option<String>, out: &mut Output<'_>) {
        if self.json {
            out.json(&json!({ "etag": etag }));
        } else {
            out.line(format_args!("e-tag {}", etag.as_deref().unwrap_or("none")));
        }
    }
}

/// Bytes go out as they are; only a person at a terminal is spared what is no text.
fn print(bytes: &[u8], out: &mut Output<'_>) -> Result<(), Failure> {
    if !out.is_terminal() {
        out.bytes(bytes);
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).ok();
    match text.filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace())) {
        Some(text) => out.line(text),
        None => {
            return Err(usage(format!("the value is {} bytes and no text", bytes.len()))
                .next("write it to a file with --out FILE, or take --json"));
        }
    }
    Ok(())
}

fn save(file: &PathBuf, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(file, bytes)
        .map_err(|error| Failure::new("output-failed", format!("cannot write {}: {error}", file.display())))
}
