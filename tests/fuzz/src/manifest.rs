//! `actor.toml`: what is accepted is within its ranges, and written out in full means the same.

use std::collections::BTreeMap;
use std::time::Duration;

use quark_core::journal::{JournalPolicy, REPLAY_EVENTS_MAX};
use quark_core::manifest::{Isolation, MANIFEST_BYTES_MAX, Manifest, MethodPolicy, Policy, Reentrancy};
use quark_core::supervision::Supervision;

/// The longest text of an error.
const ERROR_CHARS_MAX: usize = 2000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The text of a manifest.
pub fn manifest(data: &[u8]) {
    // The edge refuses what is no UTF-8, and an embedded one is read with replacements.
    let text = String::from_utf8_lossy(data);
    let manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.chars().count() <= ERROR_CHARS_MAX, "a short error: {shown}");
            return;
        }
    };
    assert!(text.len() <= MANIFEST_BYTES_MAX, "a manifest over the bound was accepted");
    let merged = Manifest::merge(manifest.clone(), manifest.clone());
    for kind in manifest.kinds().chain(["of no table"]) {
        let policy = manifest.for_kind(kind);
        check_ranges(&policy);
        assert_eq!(merged.for_kind(kind), policy, "merged with itself it says the same");
        let written = write(&policy);
        if written.len() <= MANIFEST_BYTES_MAX {
            let again = Manifest::parse(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again.for_kind(kind), policy, "{written}");
        }
    }
}

fn check_ranges(policy: &Policy) {
    let Policy { idle_timeout, reentrancy: _, isolation, mailbox, config: _, methods, .. } = policy;
    let Policy { memory_profile: _, limits, supervision, journal, .. } = policy;
    let within = |name: &str, value: u64, min: u64, max: u64| {
        assert!((min..=max).contains(&value), "{name} is {value}, not {min} to {max}");
    };
    let ms = |time: &Duration| u64::try_from(time.as_millis()).expect("it is bounded");
    within("idle-timeout", ms(idle_timeout), 1000, 720 * 3_600_000);
    if let Isolation::Packed(actors) = isolation {
        within("isolation.packed", u64::from(*actors), 1, 10_000);
    }
    within("mailbox.capacity", mailbox.capacity as u64, 1, 1_000_000);
    within("mailbox.bytes", mailbox.bytes, KIB, GIB);
    within("limits.memory", limits.memory.unwrap_or(GIB), 64 * KIB, 4 * GIB);
    within("limits.turn", ms(&limits.turn), 1, 600_000);
    within("limits.state", limits.state, KIB, 256 * MIB);
    within("limits.arguments", limits.arguments, KIB, 256 * MIB);
    within("limits.result", limits.result, KIB, 256 * MIB);
    within("limits.table-elements", limits.table_elements as u64, 1, 1_000_000);
    within("limits.handles", limits.handles as u64, 1, 1_000_000);
    within("restarts.max", supervision.restarts.max.into(), 0, 1000);
    within("restarts.within", ms(&supervision.restarts.within), 1, 24 * 3_600_000);
    within("backoff.min", ms(&supervision.backoff.min), 1, 3_600_000);
    within("backoff.max", ms(&supervision.backoff.max), ms(&supervision.backoff.min), 3_600_000);
    within("backoff.factor", supervision.backoff.factor.0.into(), 1000, 100_000);
    within("backoff.jitter", supervision.backoff.jitter.0.into(), 0, 1000);
    within("backoff.reset-after", ms(&supervision.backoff.reset_after), 1, 24 * 3_600_000);
    within("journal.snapshot.every", journal.every, 1, REPLAY_EVENTS_MAX / 2);
    within("journal.snapshot.bytes", journal.bytes, 1024, 1 << 30);
    for timeout in methods.values().filter_map(|method| method.timeout) {
        within("timeout", ms(&timeout), 1, 24 * 3_600_000);
    }
}

/// A manifest that says all of this.
fn write(policy: &Policy) -> String {
    let Policy { idle_timeout, reentrancy, isolation, mailbox, config, methods, memory_profile, .. } = policy;
    let Policy { limits, supervision, journal, .. } = policy;
    let reentrancy = reentrancy.map_or("", |who| match who {
        Reentrancy::None => "reentrancy = \"none\"\n",
        Reentrancy::CallChain => "reentrancy = \"call-chain\"\n",
        Reentrancy::Full => "reentrancy = \"full\"\n",
    });
    let isolation = match isolation {
        Isolation::Actor => "\"actor\"".to_owned(),
        Isolation::Packed(actors) => format!("{{ packed = {actors} }}"),
    };
    let profile = memory_profile.map_or_else(String::new, |it| format!("memory-profile = \"{}\"\n", it.name()));
    let memory = limits.memory.map_or_else(String::new, |bytes| format!("memory = {bytes}\n"));
    format!(
        "[actor]\nidle-timeout = \"{}ms\"\n{reentrancy}isolation = {isolation}\n\
         mailbox = {{ capacity = {}, bytes = {} }}\n\
         {profile}[actor.limits]\n{memory}turn = \"{}ms\"\nstate = \"{}B\"\narguments = {}\nresult = {}\n\
         table-elements = {}\nhandles = {}\n{}{}{}{}",
        idle_timeout.as_millis(),
        mailbox.capacity,
        mailbox.bytes,
        limits.turn.as_millis(),
        limits.state,
        limits.arguments,
        limits.result,
        limits.table_elements,
        limits.handles,
        write_supervision(supervision),
        write_journal(*journal),
        write_config(config),
        write_methods(methods)
    )
}

fn write_supervision(supervision: &Supervision) -> String {
    let Supervision { strategy, restarts, backoff } = supervision;
    format!(
        "[actor.supervision]\nstrategy = \"{}\"\nrestarts = {{ max = {}, within = \"{}ms\" }}\n\
         backoff = {{ min = \"{}ms\", max = \"{}ms\", factor = {}, jitter = {}, reset-after = \"{}ms\" }}\n",
        strategy.name(),
        restarts.max,
        restarts.within.as_millis(),
        backoff.min.as_millis(),
        backoff.max.as_millis(),
        f64::from(backoff.factor.0) / 1000.0,
        f64::from(backoff.jitter.0) / 1000.0,
        backoff.reset_after.as_millis(),
    )
}

fn write_journal(journal: JournalPolicy) -> String {
    let JournalPolicy { every, bytes, keep } = journal;
    let keep = keep.name();
    format!("[actor.journal]\nsnapshot = {{ every = {every}, bytes = {bytes} }}\nkeep = \"{keep}\"\n")
}

fn write_config(config: &BTreeMap<String, String>) -> String {
    let lines = config.iter().map(|(name, value)| format!("{} = {}\n", quoted(name), quoted(value)));
    format!("[actor.config]\n{}", lines.collect::<String>())
}

fn write_methods(methods: &BTreeMap<String, MethodPolicy>) -> String {
    let tables = methods.iter().map(|(name, method)| {
        let timeout = method.timeout.map_or_else(String::new, |time| format!("timeout = \"{}ms\"\n", time.as_millis()));
        let MethodPolicy { read_only, idempotent, timeout: _ } = method;
        format!("[actor.methods.{}]\nread-only = {read_only}\nidempotent = {idempotent}\n{timeout}", quoted(name))
    });
    tables.collect()
}

/// A basic string of TOML, with an escape for all that could need one.
fn quoted(text: &str) -> String {
    let chars = text.chars().map(|it| match it {
        '0'..='9' | 'a'..='z' | 'A'..='Z' | '-' | '_' | ' ' => it.to_string(),
        other => format!("\\U{:08x}", u32::from(other)),
    });
    format!("\"{}\"", chars.collect::<String>())
}
