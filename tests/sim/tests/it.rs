//! The simulation over many seeds, what proves its checkers, and the tidiness of the sources.
//!
//! `QUARK_SIM_SEEDS=N` runs that many seeds, `QUARK_SIM_SEED=n` only that one, `QUARK_SIM_KILL=step` kills it there.
#![expect(clippy::print_stdout, reason = "a test tells what it saw; a failing seed prints its log")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "it/tidy.rs"]
mod tidy;

use quark_sim::{Mutation, Rule, Run, run, run_killed};

/// Seeds in CI.
const SEEDS: u64 = 1000;
/// Lines of a failing seed's log that are printed; the file has all.
const TAIL: usize = 60;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Prints why a seed failed and how to see it again.
fn report(run: &Run) {
    let Some(violation) = &run.violation else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sim");
    let file = folder.join(format!("seed-{}.log", run.seed));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, run.log(usize::MAX)));
    let whole = written.map_or_else(|error| format!("not written: {error}"), |()| file.display().to_string());
    let kill = run.killed.map_or_else(String::new, |step| format!("QUARK_SIM_KILL={step} "));
    panic!(
        "{}\nseed {} broke {:?}: {}\nthe whole log, {} events: {whole}\nreplay: {kill}make sim SEED={}\n     or: \
         {kill}QUARK_SIM_SEED={} cargo test -p quark-sim --test it seeds -- --nocapture\n",
        run.log(TAIL),
        run.seed,
        violation.rule,
        violation.text,
        run.events(),
        run.seed,
        run.seed,
    );
}

#[test]
fn seeds_hold_every_rule() {
    let only = from_environment("QUARK_SIM_SEED");
    let kill =
        only.and_then(|_| from_environment("QUARK_SIM_KILL")).map(|step| usize::try_from(step).expect("64 bits"));
    let first = only.unwrap_or(1);
    let count = only.map_or_else(|| from_environment("QUARK_SIM_SEEDS").unwrap_or(SEEDS), |_| 1);
    let start = Instant::now();
    let (mut events, mut simulated, mut sights) = (0, Duration::ZERO, BTreeSet::new());
    for seed in first..first + count {
        let run = kill.map_or_else(|| run(seed, None), |step| run_killed(seed, step));
        report(&run);
        events += run.events();
        simulated += run.simulated;
        sights.extend(run.sights());
        if only.is_some() {
            println!("{}", run.log(TAIL));
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {events} events, {:.0} simulated seconds in {took:.1} s: {:.0} seeds and {:.0} s a second",
        simulated.as_secs_f64(),
        count as f64 / took,
        simulated.as_secs_f64() / took,
    );
    println!("seen: {sights:?}");
    if count >= SEEDS {
        let missing: Vec<_> = SIGHTS.iter().filter(|sight| !sights.contains(*sight)).collect();
        assert!(missing.is_empty(), "no seed reaches {missing:?}: the workload has grown too tame");
    }
}

/// What the seeds must reach, or they prove nothing about it.
const SIGHTS: &[&str] = &[
    "1 MiB of commits",
    "64 commits",
    "a doubtful tell was handled",
    "a group committed",
    "a turn beside one that waits for it",
    "a turn inside another",
    "abandoned",
    "commit failed",
    "conflict",
    "cools down",
    "crash",
    "dead letter",
    "deadline-exceeded",
    "deadlock",
    "down",
    "entered",
    "err",
    "expired",
    "failed",
    "fenced",
    "gone",
    "jump",
    "left",
    "not claimed",
    "ok",
    "overloaded",
    "refused to wake",
    "skipped",
    "stopped",
    "the outbox had tells",
    "unavailable",
    "undone",
    "undone beside another",
    "unknown",
    "unknown-outcome",
    "unreachable",
];

#[test]
fn a_seed_gives_the_same_trace_again() {
    for seed in 1..=20 {
        let (one, two) = (run(seed, None), run(seed, None));
        assert_eq!((one.hash(), one.events()), (two.hash(), two.events()), "seed {seed}");
        assert_eq!(one.log(usize::MAX), two.log(usize::MAX), "seed {seed}");
    }
    assert_ne!(run(1, None).hash(), run(2, None).hash());
}

/// How many steps of one run are tried as its last.
const KILLS: usize = 300;

#[test]
fn a_kill_at_any_step_loses_nothing() {
    for step in 1..=KILLS {
        report(&run_killed(KILLED_SEED, step));
    }
}

/// A run with much under way early: tells, calls, pipelines.
const KILLED_SEED: u64 = 9;

/// Seeds within which a mistake must be found.
const MUTANT_SEEDS: u64 = 150;

/// Makes a mistake on purpose and expects that the first seed which breaks, breaks by these rules.
#[track_caller]
fn check_mutation(mutation: Mutation, expect: &[Rule]) {
    let found = (1..=MUTANT_SEEDS).map(|seed| run(seed, Some(mutation))).find(|run| run.violation.is_some());
    let Some(run) = found else { panic!("{mutation:?} is never found") };
    let violation = run.violation.as_ref().expect("found by it");
    assert!(expect.contains(&violation.rule), "{mutation:?}, seed {}: {violation:?}\n{}", run.seed, run.log(TAIL));
    println!("{mutation:?}: seed {}, {:?}: {}", run.seed, violation.rule, violation.text);
}

#[test]
fn mistakes_of_the_driver_are_found() {
    check_mutation(Mutation::AnswerEarly, &[Rule::VisibleBeforeDurable]);
    check_mutation(Mutation::CallEarly, &[Rule::VisibleBeforeDurable]);
    check_mutation(Mutation::DriveWithoutToken, &[Rule::Token]);
    check_mutation(Mutation::EnterBusy, &[Rule::OneTurn, Rule::Token]);
    check_mutation(Mutation::ResumeBelow, &[Rule::OneTurn]);
    check_mutation(Mutation::LetStrangersIn, &[Rule::OneTurn]);
    check_mutation(Mutation::CommitAmid, &[Rule::Group]);
    check_mutation(Mutation::IgnoreGrants, &[Rule::Liveness]);
    check_mutation(Mutation::DropFailed, &[Rule::Ends, Rule::Liveness]);
    check_mutation(Mutation::ForgetDeadlines, &[Rule::Deadline]);
    check_mutation(Mutation::MissDeadlocks, &[Rule::Deadlock]);
    check_mutation(Mutation::DenyAll, &[Rule::Honest]);
    check_mutation(Mutation::WidenMailbox, &[Rule::Bounds]);
    check_mutation(Mutation::RestartEarly, &[Rule::Restart]);
    check_mutation(Mutation::ForgetDown, &[Rule::Liveness]);
    check_mutation(Mutation::HandleLate, &[Rule::Sum]);
}

#[test]
fn mistakes_of_the_relay_are_found() {
    check_mutation(Mutation::RunOldDeliveries, &[Rule::Order]);
    check_mutation(Mutation::SendWhileScanning, &[Rule::Order]);
    check_mutation(Mutation::TrustDoubt, &[Rule::Lost, Rule::Liveness, Rule::Order]);
}

#[test]
fn mistakes_of_the_store_are_found() {
    check_mutation(Mutation::IgnoreFence, &[Rule::Linear]);
    check_mutation(Mutation::IgnoreEtag, &[Rule::Linear]);
    check_mutation(Mutation::HandleTwice, &[Rule::Once]);
    check_mutation(Mutation::TearCommits, &[Rule::Torn]);
    check_mutation(Mutation::DropTells, &[Rule::Lost]);
    check_mutation(Mutation::ForgetAcknowledged, &[Rule::Durable]);
}
