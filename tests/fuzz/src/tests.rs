//! Every input of the corpus, and some thousand near each, through every target.

use std::fs;
use std::path::Path;

use quark_core::journal::Mark;
use quark_silo::store::redb::fuzzing::{rewrite, rewrite_rows};

use super::{Mutations, TARGETS, Target, target};

/// Mutations of each input, by what one costs: types must be compiled, a silo must answer.
const MUTATIONS: &[(&str, usize)] = &[
    ("address", 100),
    ("component", 300),
    ("gateway", 500),
    ("json", 300),
    ("log", 3000),
    ("manifest", 2000),
    ("msgpack", 300),
    ("wave", 300),
];
const CORPUS_FILES_MAX: usize = 200;
const CORPUS_BYTES_MAX: usize = 300_000;
const SEED: u64 = 1;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("an input can be read")))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{target} has a corpus");
    inputs
}

/// Says which input it was when a target panics.
struct Told<'i> {
    of: &'i str,
    input: &'i [u8],
}

impl Drop for Told<'_> {
    #[expect(clippy::print_stderr, reason = "a test says on stderr why it fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { of, input } = self;
            eprintln!("the input was near {of}:\n{}", input.escape_ascii());
        }
    }
}

fn run(target: Target, of: &str, input: &[u8]) {
    let _told = Told { of, input };
    target(input);
}

/// As a test of its own for each target, so that they run side by side.
#[track_caller]
fn replay(name: &str) {
    let target = target(name).expect("there is such a target");
    let count = MUTATIONS.iter().find(|(known, _)| *known == name).expect("its mutations are counted").1;
    let corpus = corpus(name);
    let inputs: Vec<Vec<u8>> = corpus.iter().map(|(_, input)| input.clone()).collect();
    let mut mutations = Mutations::of(&inputs, SEED);
    for (path, input) in &corpus {
        run(target, path, input);
        for _ in 0..count {
            run(target, path, &mutations.of_one(input));
            if name == "component" {
                run(target, path, &mutations.of_nested(input));
            }
        }
    }
    for nothing in [&b""[..], b"\0", b"\xff\xff\xff\xff"] {
        run(target, "nothing", nothing);
    }
}

#[test]
fn addresses() {
    replay("address");
}

#[test]
fn components() {
    replay("component");
}

#[test]
fn requests() {
    replay("gateway");
}

#[test]
fn values_in_json() {
    replay("json");
}

#[test]
fn values_in_messagepack() {
    replay("msgpack");
}

#[test]
fn values_in_wave() {
    replay("wave");
}

#[test]
fn the_log() {
    replay("log");
}

#[test]
fn manifests() {
    replay("manifest");
}

#[test]
fn every_target_is_replayed_and_the_corpus_stays_small() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let replayed: Vec<&str> = MUTATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, replayed);
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).expect("there is a corpus");
    assert_eq!(folders.count(), names.len(), "a folder for each target, and no other");
    let inputs: Vec<Vec<u8>> = names.iter().flat_map(|name| corpus(name)).map(|(_, input)| input).collect();
    assert!(inputs.len() < CORPUS_FILES_MAX, "{} files", inputs.len());
    let bytes: usize = inputs.iter().map(Vec::len).sum();
    assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes");
}

/// So that mutations are near what can be read.
#[test]
fn the_logs_corpus_can_be_read() {
    let corpus = corpus("log");
    let input = |name: &str| {
        let found = corpus.iter().find(|(path, _)| path.ends_with(&format!("/{name}")));
        &found.unwrap_or_else(|| panic!("no {name}")).1[1..]
    };
    for writes in ["commit", "accept", "discard", "journal", "reminders"] {
        assert_eq!(rewrite(input(writes)).as_deref(), Ok(input(writes)), "{writes}");
    }
    for row in ["actor", "tell", "deployment", "event", "reminder"] {
        assert!(rewrite_rows(input(row)).iter().any(|again| again == input(row)), "{row}");
    }
    assert!(Mark::decode(Some(input("mark"))).is_some());
}

#[test]
fn the_components_of_the_corpus_are_components() {
    for (path, input) in corpus("component").iter().filter(|(path, _)| path.ends_with(".wat")) {
        let bytes = wat::parse_bytes(input).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(bytes.starts_with(b"\0asm"), "{path}");
    }
}
