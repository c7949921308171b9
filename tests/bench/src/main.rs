//! Ratios against raw wasmtime, tokio, kameo and ractor, all measured in one run.
//!
//! Only ratios inside one run carry over from machine to machine: every row stands beside its floor
//! or its peer, measured in the same interleaved rounds. `--smoke` runs the same code small and
//! asserts only that every row is there. A word on the command line runs the groups that have it in
//! their name, `--probe=NAME` only that probe of theirs, again and again, for a profiler. `--live=N` and
//! `--known=N` run that many actors at once instead. The order of the modules is the reading order.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command; its output is the table")]

mod report;
mod rounds;
mod guest;
mod host;
mod raw;
mod peers;
mod hot;
mod inflight;
mod nested;
mod activation;
mod memory;
mod random;
mod density;
mod durable;
mod spinners;
mod failure;
mod family;
mod timers;
mod planted;
mod reminders;
mod journals;
mod start;

use std::process::ExitCode;

use anyhow::Result;

use crate::density::Numbers;
use crate::guest::Guests;
use crate::report::Report;
use crate::rounds::{Probed, Sizes};

type Group = fn(&Guests, &Sizes, &mut Report) -> Result<()>;

/// In this order, because a process that has just started has the cleanest memory to measure.
const GROUPS: [(&str, Group); 14] = [
    ("memory", memory::run),
    ("hot", hot::run),
    ("inflight", inflight::run),
    ("nested", nested::run),
    ("activation", activation::run),
    ("random", random::run),
    ("durable", durable::run),
    ("spinners", spinners::run),
    ("failure", failure::run),
    ("family", family::run),
    ("timers", timers::run),
    ("reminders", reminders::run),
    ("journals", journals::run),
    ("start", start::run),
];

fn main() -> ExitCode {
    let mut smoke = false;
    let mut probe = None;
    let mut wanted = Vec::new();
    let mut numbers = Numbers { live: Vec::new(), known: 0 };
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--smoke" => smoke = true,
            _ if argument.starts_with("--probe=") => probe = argument.split_once('=').map(|(_, name)| name.to_owned()),
            _ if numbers.read(&argument) => {}
            _ if argument.starts_with('-') => {
                eprintln!(
                    "quark-bench: unknown `{argument}`; it is: quark-bench [--smoke] [--probe=NAME] [GROUP...], or \
                     quark-bench [--live=N...] [--known=N]"
                );
                return ExitCode::from(2);
            }
            _ => wanted.push(argument),
        }
    }
    let outcome = if numbers.are_given() {
        Guests::load().and_then(|guests| density::run(&guests, &numbers))
    } else {
        run(smoke, probe, &wanted)
    };
    host::clean();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Probed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quark-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(smoke: bool, probe: Option<String>, wanted: &[String]) -> Result<()> {
    let sizes = Sizes { probe, ..if smoke { Sizes::SMOKE } else { Sizes::FULL } };
    let guests = Guests::load()?;
    let mut report = Report::new(smoke);
    for (name, group) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            eprintln!("quark-bench: {name}");
            group(&guests, &sizes, &mut report)?;
        }
    }
    println!("{}", report.table());
    if wanted.is_empty() {
        if !smoke {
            println!("{}", report.save()?.display());
        }
        report.check()?;
    }
    Ok(())
}
