//! `quark`: starts a silo, and talks to one. The order of the modules is the reading order: a file
//! uses only files above it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ContextKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use quark_silo::api::Failure;

mod output;
mod exit;
mod units;
mod client;
mod address;
mod table;
mod progress;
mod silo;
mod deployed;
mod deploy;
mod call;
mod look;
mod draw;
mod tree;
mod letters;
mod reminders;
mod standing;
mod state;
mod journal;
mod trace;
mod wit;
mod doctor;

use exit::Exit;
use output::Output;

const ABOUT: &str = "\
Exit codes: 0 done; 1 the actor answered with its own error; 2 wrong usage, or something that does
not fit its type; 3 the platform could not.

QUARK_URL and QUARK_TOKEN stand for --url and --token. Without a token, the one that a silo of the
same user has published on this machine is used.";

/// Virtual actors as WebAssembly components.
#[derive(Parser)]
#[command(name = "quark", version, after_help = ABOUT, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Silo(silo::SiloOptions),
    Deploy(deploy::Deploy),
    Call(call::Call),
    Tell(call::Tell),
    Kinds(deployed::Kinds),
    Versions(deployed::Versions),
    Ps(look::Ps),
    Inspect(look::Inspect),
    Tree(tree::Tree),
    State(state::State),
    Journal(journal::Journal),
    Trace(trace::Trace),
    Deactivate(look::Deactivate),
    Stop(standing::Stop),
    Start(standing::Start),
    Reminders(reminders::Reminders),
    DeadLetters(letters::DeadLetters),
    Wit(wit::Wit),
    Doctor(doctor::Doctor),
    Completions(Completions),
}

/// Print a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  quark completions bash > ~/.local/share/bash-completion/completions/quark")]
struct Completions {
    /// Which shell.
    shell: clap_complete::Shell,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && for_machines(std::env::args_os()) => {
            exit::report(&misread(&error), true);
            return Exit::Usage.into();
        }
        Err(error) => error.exit(),
    };
    let mut out = Output::stdout();
    let done = run(cli.command, &mut out);
    // What was printed goes out before what is said about it.
    match done.and_then(|exit| out.finish().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let _ = out.finish();
            exit::report(&failure, for_machines(std::env::args_os()));
            Exit::of(&failure).into()
        }
    }
}

/// Whether the command line asks for JSON.
fn for_machines(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut options = arguments.take_while(|argument| argument != "--");
    options.any(|argument| argument == "--json" || argument.as_encoded_bytes().starts_with(b"--json="))
}

/// The failure to understand the command line: what is wrong, without what is said below it for people.
fn misread(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let message = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|below| message.find(below)).min();
    let message = message.get(..end.unwrap_or(message.len())).unwrap_or(message).trim();
    let fits = error.get(ContextKind::Usage).map_or_else(|| "--help says what fits".to_owned(), ToString::to_string);
    exit::usage(message).next(fits)
}

fn run(command: Command, out: &mut Output<'_>) -> exit::Done {
    match command {
        Command::Silo(options) => silo::run(options, out),
        Command::Deploy(deploy) => deploy.run(out),
        Command::Call(call) => call.run(out),
        Command::Tell(tell) => tell.run(out),
        Command::Kinds(kinds) => kinds.run(out),
        Command::Versions(versions) => versions.run(out),
        Command::Ps(ps) => ps.run(out),
        Command::Inspect(inspect) => inspect.run(out),
        Command::Tree(tree) => tree.run(out),
        Command::State(state) => state.run(out),
        Command::Journal(journal) => journal.run(out),
        Command::Trace(trace) => trace.run(out),
        Command::Deactivate(deactivate) => deactivate.run(out),
        Command::Stop(stop) => stop.run(out),
        Command::Start(start) => start.run(out),
        Command::Reminders(reminders) => reminders.run(out),
        Command::DeadLetters(letters) => letters.run(out),
        Command::Wit(wit) => wit.run(out),
        Command::Doctor(doctor) => doctor.run(out),
        Command::Completions(Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "quark", &mut script);
            out.bytes(&script);
            Ok(Exit::Done)
        }
    }
}

#[cfg(test)]
mod tests;
