//! The shape of the sources, checked by reading them: who may name what, in which order, how long.

use std::fs;
use std::path::{Path, PathBuf};

const LINE_MAX: usize = 120;
const FUNCTION_MAX: usize = 100;

/// Words that only one place may say outside comments: the words, where they may be, why.
const HOMES: &[(&[&str], &[&str], &str)] = &[
    (&["wasmtime::"], &["host/engine/", "tests/bench/", "tests/fuzz/"], "only the engine knows wasmtime"),
    (&["redb::", "axum::"], &["host/silo/", "tests/e2e/", "tests/bench/"], "only the silo connects"),
];
/// What the core must not say anywhere outside comments.
const NOT_IN_CORE: &[&str] = &["tokio", "Instant::now", "SystemTime", "rand::", "thread_rng", "std::fs", "std::net"];

/// A source file of the host or its tests.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["host", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "the sources are not where they were");
    found.sort_by(|one, two| one.path.cmp(&two.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !matches!(name, "target" | "components") && !name.starts_with('.') {
            collect(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let path = path.strip_prefix(root()).expect("it is below the root").display().to_string();
            found.push(Source { path, text });
        }
    }
}

/// The line without its comment. A `//` in a text counts as one; none of the words is behind such.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether the word stands there on its own: `redb::` is not in `crate::store::redb::`'s own path.
fn says(line: &str, word: &str) -> bool {
    code(line).match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|it| !it.is_alphanumeric() && it != '_' && it != ':' && it != '"')
    })
}

#[test]
fn every_file_says_what_it_is_and_fits_the_screen() {
    let mut faults = Vec::new();
    for Source { path, text } in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{path}: begins without a `//!` line"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_MAX {
                faults.push(format!("{path}:{}: more than {LINE_MAX} columns", number + 1));
            }
        }
        for (number, name, length) in functions(&text) {
            if length > FUNCTION_MAX {
                faults.push(format!("{path}:{number}: `{name}` has {length} lines, more than {FUNCTION_MAX}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Line, name and length of each function: from `fn` to the closing brace at the same indent, which
/// rustfmt promises.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((head, rest)) = code(line).split_once("fn ") else { continue };
        let is_head = head.trim().split(' ').all(|word| {
            let word = word.split('(').next().unwrap_or_default();
            matches!(word, "" | "pub" | "const" | "async" | "unsafe" | "extern")
        });
        if !is_head || line.trim_end().ends_with('}') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let name = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
        let close = format!("{}}}", " ".repeat(indent));
        let end =
            lines[at..].iter().position(|line| *line == close || code(line).ends_with(';') && at_head(line, indent));
        if let Some(length) = end {
            found.push((at + 1, name, length + 1));
        }
    }
    found
}

/// A declaration without a body ends with `;` at its own indent.
fn at_head(line: &str, indent: usize) -> bool {
    line.len() - line.trim_start().len() == indent
}

#[test]
fn functions_are_measured() {
    let text =
        "impl A {\n    fn a(&self);\n    pub(crate) async fn b<T>(\n        t: T,\n    ) {\n        t\n    }\n}\n";
    let lengths: Vec<_> = functions(text).into_iter().map(|(line, name, length)| (line, length, name)).collect();
    assert_eq!(lengths, [(2, 1, "a".to_owned()), (3, 5, "b".to_owned())]);
}

#[test]
fn each_library_is_named_in_its_own_crate_alone() {
    let mut faults = Vec::new();
    for Source { path, text } in sources().iter().filter(|source| !source.path.ends_with("tidy.rs")) {
        for (number, line) in text.lines().enumerate() {
            for (words, homes, why) in HOMES {
                let home = homes.iter().any(|home| path.starts_with(home));
                if let Some(word) = words.iter().find(|word| !home && says(line, word)) {
                    faults.push(format!("{path}:{}: `{word}`: {why}", number + 1));
                }
            }
            let core = path.starts_with("host/core/");
            if let Some(word) = NOT_IN_CORE.iter().find(|word| core && says(line, word)) {
                faults.push(format!("{path}:{}: `{word}`: the core decides and does nothing else", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_file_of_the_core_uses_only_those_above_it() {
    let core = sources().into_iter().filter(|source| source.path.starts_with("host/core/src/")).collect::<Vec<_>>();
    let lib = core.iter().find(|source| source.path.ends_with("src/lib.rs")).expect("the core has a lib.rs");
    let module = |line: &str| {
        Some(line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')?.to_owned())
    };
    let order: Vec<String> = lib.text.lines().filter_map(module).collect();
    let place = |name: &str| order.iter().position(|module| module == name);
    let mut faults = Vec::new();
    for Source { path, text } in &core {
        let inner = path.trim_start_matches("host/core/src/");
        let name = inner.split(['/', '.']).next().unwrap_or_default();
        let Some(own) = place(name) else { continue };
        for (number, line) in text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]") {
            for (at, _) in code(line).match_indices("crate::") {
                let used: String = line[at + 7..].chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
                if place(&used).is_some_and(|used| used > own) {
                    faults.push(format!("{path}:{}: uses `{used}`, which is below it in lib.rs", number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
