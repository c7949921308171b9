//! Tests of `manifest`.

use super::*;
use crate::journal::{JournalPolicy, Keep};
use crate::supervision::{Backoff, RestartLimit, Strategy, Thousandths};

/// The sample of the design: all features of this version, and the defaults of the others.
const FULL: &str = r#"
[actor]
name = "counter"
idle-timeout = "90s"
trace = true
placement = "hash"
isolation = "actor"
reentrancy = "none"
memory-profile = "dense"
mailbox = { capacity = 8, bytes = "2MiB", overflow = "reject" }
implicit-streams = []
store = "default"
[actor.config]
currency = "EUR"
"any key, even this" = ""
[actor.methods.value]
read-only = true
[actor.methods.transfer]
idempotent = false
timeout = "250ms"
[actor.limits]
memory = "128MiB"
turn = "1s"
state = 2048
arguments = "1KiB"
result = "256MiB"
table-elements = 7
handles = 9
[actor.journal]
snapshot = { every = 50, bytes = "32KiB" }
keep = "since-snapshot"
[actor.events]
retries = 5
[actor.supervision]
strategy = "rest-for-one"
restarts = { max = 3, within = "5s" }
backoff = { min = "50ms", max = "7s", factor = 2.5, jitter = 1, reset-after = "2m" }
[actor.grants]
http = []
"#;

#[test]
fn every_setting_reaches_its_policy() {
    let policy = Manifest::parse(FULL).unwrap().for_kind("counter");
    let expected = Policy {
        idle_timeout: Duration::from_secs(90),
        reentrancy: Some(Reentrancy::None),
        isolation: Isolation::Actor,
        mailbox: MailboxPolicy { capacity: 8, bytes: 2 << 20 },
        config: [("currency", "EUR"), ("any key, even this", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        methods: [
            ("value".to_owned(), MethodPolicy { read_only: true, timeout: None }),
            ("transfer".to_owned(), MethodPolicy { read_only: false, timeout: Some(Duration::from_millis(250)) }),
        ]
        .into(),
        memory_profile: Some(MemoryProfile::Dense),
        limits: Limits {
            memory: Some(128 << 20),
            turn: Duration::from_secs(1),
            state: 2048,
            arguments: 1024,
            result: 256 << 20,
            table_elements: 7,
            handles: 9,
        },
        supervision: Supervision {
            strategy: Strategy::RestForOne,
            restarts: RestartLimit { max: 3, within: Duration::from_secs(5) },
            backoff: Backoff {
                min: Duration::from_millis(50),
                max: Duration::from_secs(7),
                factor: Thousandths(2500),
                jitter: Thousandths(1000),
                reset_after: Duration::from_mins(2),
            },
        },
        journal: JournalPolicy { every: 50, bytes: 32 << 10, keep: Keep::SinceSnapshot },
        trace: true,
    };
    assert_eq!(policy, expected);
}

#[test]
fn an_empty_manifest_and_another_kind_have_the_defaults() {
    for text in ["", "# nothing\n", "[actor]", FULL] {
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.for_kind("other"), Policy::default(), "{text}");
    }
}

#[test]
fn a_table_without_a_name_holds_for_every_kind() {
    let manifest = Manifest::parse("[actor]\nidle-timeout = \"1h\"").unwrap();
    assert_eq!(manifest.kinds().count(), 0);
    assert_eq!(manifest.for_kind("any").idle_timeout, Duration::from_hours(1));
}

#[test]
fn each_kind_reads_its_own_table() {
    let text = "[[actor]]\nname = \"a\"\nlimits.turn = \"1s\"\n[[actor]]\nname = \"b\"\n";
    let manifest = Manifest::parse(text).unwrap();
    assert_eq!(manifest.kinds().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(manifest.for_kind("a").limits.turn, Duration::from_secs(1));
    assert_eq!(manifest.for_kind("b"), Policy::default());
}

#[test]
fn the_memory_profile_that_wins_comes_last() {
    let [embedded, given] = ["roomy", "dense"].map(|profile| {
        let text = format!("[actor]\nmemory-profile = \"{profile}\"");
        Manifest::parse(&text).unwrap()
    });
    assert_eq!(Manifest::default().memory_profiles().last(), None);
    let merged = Manifest::merge(embedded, given);
    assert_eq!(merged.memory_profiles().last(), Some(MemoryProfile::Dense));
    assert_eq!(merged.for_kind("any").memory_profile, Some(MemoryProfile::Dense));
}

#[test]
fn what_is_given_wins_key_by_key() {
    let embedded = "[actor]\nname = \"a\"\nidle-timeout = \"1m\"\nconfig = { x = \"1\", y = \"1\" }\n\
                    [actor.methods.m]\nread-only = true\ntimeout = \"1s\"";
    let given = "[actor]\nconfig = { y = \"2\" }\n[actor.methods.m]\ntimeout = \"2s\"";
    let [embedded, given] = [embedded, given].map(|text| Manifest::parse(text).unwrap());
    let policy = Manifest::merge(embedded, given).for_kind("a");
    assert_eq!(policy.idle_timeout, Duration::from_mins(1));
    assert_eq!(policy.config["x"], "1");
    assert_eq!(policy.config["y"], "2");
    let timeout = Some(Duration::from_secs(2));
    assert_eq!(policy.methods["m"], MethodPolicy { read_only: true, timeout });
}

#[test]
fn errors_name_the_place_the_key_and_what_fits() {
    for (text, expected) in [
        (
            "[actor]\nidle-timout = \"1m\"",
            "manifest, line 2, column 1: unknown key `actor.idle-timout`; \
             did you mean `idle-timeout`?",
        ),
        ("[actr]", "manifest, line 1, column 2: unknown key `actr`; did you mean `actor`?"),
        (
            "[actor.limits]\nmemory_bytes = 1",
            "manifest, line 2, column 1: unknown key `actor.limits.memory_bytes`; \
             did you mean `memory`?",
        ),
        (
            "[actor.mailbox]\nqqqqqqqqqq = 1",
            "manifest, line 2, column 1: unknown key `actor.mailbox.qqqqqqqqqq`; \
             there are: capacity, bytes, overflow",
        ),
        (
            "[actor]\nidle-timeout = \"0s\"",
            "manifest, line 2, column 16: actor.idle-timeout = \"0s\" does not fit: \
             write a time from 1s to 30d, as \"100ms\", \"5s\", \"10m\" or \"1h\"",
        ),
        (
            "[actor.limits]\nmemory = \"5GiB\"",
            "manifest, line 2, column 10: actor.limits.memory = \"5GiB\" does not fit: \
             write a size from 64KiB to 4GiB, as \"64MiB\", \"10KiB\" or bytes",
        ),
        (
            "[actor]\nmemory-profile = \"tiny\"",
            "manifest, line 2, column 18: actor.memory-profile = \"tiny\" does not fit: \
             write \"roomy\" or \"dense\"",
        ),
        (
            "actor.mailbox.capacity = 0",
            "manifest, line 1, column 26: actor.mailbox.capacity = 0 does not fit: \
             write a whole number from 1 to 1000000",
        ),
        (
            "[actor]\nreentrancy = \"some\"",
            "manifest, line 2, column 14: actor.reentrancy = \"some\" does not fit: \
             write \"none\", \"call-chain\" or \"full\"",
        ),
        (
            "[actor]\nsupervision.strategy = \"one-for-all\"",
            "manifest, line 2, column 24: actor.supervision.strategy = \"one-for-all\" does not fit: \
             write \"one-for-one\", \"all-for-one\" or \"rest-for-one\"",
        ),
        (
            "[actor]\nisolation = { packed = 0 }",
            "manifest, line 2, column 24: actor.isolation.packed = 0 does not fit: \
             write a whole number from 1 to 10000",
        ),
        (
            "[actor]\nisolation = {}",
            "manifest, line 2, column 13: actor.isolation = {} does not fit: write { packed = N }",
        ),
        (
            "[actor]\nisolation = \"packed\"",
            "manifest, line 2, column 13: actor.isolation = \"packed\" does not fit: \
             write \"actor\" or { packed = N }",
        ),
        (
            "[actor]\nplacement = { stateless-worker = { max = 8 } }",
            "manifest, line 2, column 13: actor.placement = { stateless-worker = { max = 8 } } \
             is not supported by this version; leave the key out or write \"hash\"",
        ),
        (
            "[actor.methods.m]\nidempotent = true",
            "manifest, line 2, column 14: actor.methods.m.idempotent = true is not supported by \
             this version; leave the key out or write false",
        ),
        (
            "[actor]\nconfig = { a = 1 }",
            "manifest, line 2, column 16: actor.config.a = 1 does not fit: \
             write a string, in quotes",
        ),
        ("actor = 3", "manifest, line 1, column 9: actor = 3 does not fit: write a table"),
        (
            "[[actor]]\nname = \"a\"\n[[actor]]",
            "manifest, line 3, column 1: each [[actor]] needs a `name`, \
             the short name of its kind",
        ),
        (
            "[[actor]]\nname = \"a\"\n[[actor]]\nname = \"a\"",
            "manifest, line 3, column 1: two [[actor]] tables are named \"a\"",
        ),
    ] {
        let error = Manifest::parse(text).expect_err(text).to_string();
        assert_eq!(error, expected, "{text}");
    }
}

#[test]
fn actors_may_share_instances_and_overlap_their_turns() {
    let manifest = Manifest::parse("[actor]\nisolation = { packed = 1000 }\nreentrancy = \"full\"").unwrap();
    let policy = manifest.for_kind("any");
    assert_eq!((policy.isolation, policy.reentrancy), (Isolation::Packed(1000), Some(Reentrancy::Full)));
}

#[test]
fn what_is_not_toml_or_too_long_is_refused() {
    let error = Manifest::parse("[actor\nname").unwrap_err();
    assert!(matches!(error.problem, Problem::Syntax(_)), "{error}");
    let error = Manifest::parse(&" ".repeat(MANIFEST_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.problem, Problem::TooLong(MANIFEST_BYTES_MAX + 1));
    let deep = format!("actor = {}", "[".repeat(20_000));
    assert!(Manifest::parse(&deep).is_err());
}

#[test]
fn keys_of_features_to_come_are_refused_with_anything_but_their_default() {
    for line in [
        "implicit-streams = [\"orders\"]",
        "store = \"cold\"",
        "mailbox = { overflow = \"drop\" }",
        "events = { retries = 6 }",
        "grants = { http = [\"api.example.com\"] }",
    ] {
        let error = Manifest::parse(&format!("[actor]\n{line}")).expect_err(line);
        assert!(matches!(error.problem, Problem::Unsupported { .. }), "{line}: {error}");
    }
}

#[test]
fn numbers_and_times_of_supervision_have_their_ranges() {
    for line in [
        "restarts = { max = 1001 }",
        "restarts = { within = \"0ms\" }",
        "backoff = { factor = 0.999 }",
        "backoff = { factor = -2 }",
        "backoff = { factor = nan }",
        "backoff = { factor = 1e99 }",
        "backoff = { jitter = 1.001 }",
        "backoff = { jitter = \"0.2\" }",
        "backoff = { min = \"2s\", max = \"1s\" }",
    ] {
        let error = Manifest::parse(&format!("[actor.supervision]\n{line}")).expect_err(line);
        assert!(matches!(error.problem, Problem::Value { .. }), "{line}: {error}");
    }
    let error = Manifest::parse("[actor.supervision]\nbackoff = { maximum = \"1s\" }").unwrap_err();
    assert!(error.to_string().contains("`actor.supervision.backoff.maximum`; did you mean `max`?"), "{error}");
}

#[test]
fn what_is_said_of_journals_has_its_ranges() {
    for line in [
        "snapshot = { every = 0 }",
        "snapshot = { every = 500001 }",
        "snapshot = { bytes = \"1B\" }",
        "snapshot = 5",
        "keep = \"none\"",
    ] {
        let error = Manifest::parse(&format!("[actor.journal]\n{line}")).expect_err(line);
        assert!(matches!(error.problem, Problem::Value { .. }), "{line}: {error}");
    }
    let error = Manifest::parse("[actor.journal]\nsnapshot = { evry = 5 }").unwrap_err();
    assert!(error.to_string().contains("`actor.journal.snapshot.evry`; did you mean `every`?"), "{error}");
}

#[test]
fn supervision_is_told_in_one_line() {
    for (lines, expected) in [
        ("", "one-for-one, 10 restarts in 1m, waits 100ms to 30s"),
        ("strategy = \"all-for-one\"", "all-for-one, 10 restarts in 1m, waits 100ms to 30s"),
        (
            "strategy = \"rest-for-one\"\nrestarts = { max = 1, within = \"90s\" }\nbackoff.min = \"1m\"",
            "rest-for-one, 1 restart in 90s, waits 1m",
        ),
        ("restarts.max = 0\nbackoff.max = \"1h\"", "one-for-one, no restarts, waits 100ms to 1h"),
    ] {
        let policy = Manifest::parse(&format!("[actor.supervision]\n{lines}")).unwrap().for_kind("any");
        assert_eq!(policy.supervision.to_string(), expected, "{lines}");
    }
}

#[test]
fn hostile_keys_and_values_stay_one_short_line() {
    let long = "k".repeat(10_000);
    for text in [
        format!("[actor]\n{long} = 1"),
        format!("[actor]\nidle-timeout = \"{long}\""),
        "[actor]\n\"a\\nb\\u0007\" = 1".to_owned(),
        "[actor.limits]\nstate = 99999999999999999999999999".to_owned(),
        "[actor.limits]\nstate = \"99999999999999999999999999GiB\"".to_owned(),
    ] {
        let error = Manifest::parse(&text).unwrap_err().to_string();
        assert!(error.len() < 600 && !error.contains(char::is_control), "{error}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let mut seed = 1u64;
    let mut random = |below: usize| {
        // xorshift: the core has no randomness of its own.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap()
    };
    let bits: Vec<char> = "[]{}=.,'\"\n#\\-_09aé\u{0}\u{7f}🦀".chars().collect();
    for _ in 0..4000 {
        let mut text: Vec<char> = FULL.chars().collect();
        for _ in 0..=random(6) {
            let at = random(text.len());
            match random(4) {
                0 => text.truncate(at.max(1)),
                1 => text.insert(at, bits[random(bits.len())]),
                2 => text[at] = bits[random(bits.len())],
                _ => {
                    let piece = text[at..(at + random(40)).min(text.len())].to_vec();
                    let to = random(text.len());
                    text.splice(to..to, piece);
                }
            }
        }
        if let Err(error) = Manifest::parse(&text.into_iter().collect::<String>()) {
            assert!(error.to_string().len() < 1000, "{error}");
        }
    }
}
