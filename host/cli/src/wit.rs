//! `quark wit`: the contract, in either flavour.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use quark_silo::api::Failure;

use crate::exit::{Done, Exit};
use crate::output::Output;

/// The contract. `types.wit` is first: it has the package's documentation.
const FILES: [(&str, &str); 11] = [
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("lifecycle.wit", include_str!("../../../wit/lifecycle.wit")),
    ("context.wit", include_str!("../../../wit/context.wit")),
    ("state.wit", include_str!("../../../wit/state.wit")),
    ("calls.wit", include_str!("../../../wit/calls.wit")),
    ("blobs.wit", include_str!("../../../wit/blobs.wit")),
    ("journal.wit", include_str!("../../../wit/journal.wit")),
    ("timers.wit", include_str!("../../../wit/timers.wit")),
    ("streams.wit", include_str!("../../../wit/streams.wit")),
    ("supervision.wit", include_str!("../../../wit/supervision.wit")),
    ("world.wit", include_str!("../../../wit/world.wit")),
];

/// The interfaces that actors export; the host calls all their functions.
const EXPORTED: [&str; 7] =
    ["lifecycle", "journaled", "timer-target", "reminder-target", "stream-target", "supervisor", "watcher"];

const EXAMPLES: &str = "\
With --async, these functions are written `async func`: those marked [suspends], and all of the
interfaces that an actor exports (lifecycle, journaled, timer-target, reminder-target,
stream-target, supervisor, watcher). What never waits stays a plain func. Write your own
interface's methods the same way; one flavour for a component.

Examples:
  quark wit > wit/deps/quark-actor.wit
  quark wit --async --out wit/deps/quark-actor";

/// Print the contract between Quark and actors, for any toolchain to build against.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Wit {
    /// The flavour of `async func`, for the concurrent lane.
    #[arg(long = "async")]
    is_async: bool,
    /// Write one file for each part into this folder, made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON: each file's name and its text.
    #[arg(long)]
    json: bool,
}

impl Wit {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let files = FILES.map(|(name, text)| {
            let text = if self.is_async { asynchronous(text) } else { text.to_owned() };
            (name, text)
        });
        if let Some(folder) = &self.out {
            save(folder, &files)?;
        }
        if self.json {
            out.json(&BTreeMap::from(files));
        } else if self.out.is_none() {
            out.bytes(one_file(&files).as_bytes());
        }
        Ok(Exit::Done)
    }
}

fn save(folder: &Path, files: &[(&str, String)]) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new("output-failed", format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// All parts as one file, which names its package once.
fn one_file(files: &[(&str, String)]) -> String {
    let mut whole = String::new();
    for (at, (_, text)) in files.iter().enumerate() {
        let is_rest = at > 0;
        for line in text.lines().filter(|line| !(is_rest && line.starts_with("package "))) {
            whole.push_str(line);
            whole.push('\n');
        }
    }
    whole
}

/// The same text with `async func` where a function may wait.
fn asynchronous(text: &str) -> String {
    let mut whole = String::with_capacity(text.len() + 256);
    let (mut in_exported, mut suspends) = (false, false);
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(rest) = code.strip_prefix("interface ") {
            let name = rest.split([' ', '{']).next().unwrap_or_default();
            in_exported = EXPORTED.contains(&name);
        }
        if code.starts_with("///") {
            suspends |= code.contains("[suspends]");
            whole.push_str(line);
        } else {
            let waits = in_exported || suspends;
            suspends = false;
            match line.split_once(": func(") {
                Some((name, rest)) if waits => {
                    whole.push_str(name);
                    whole.push_str(": async func(");
                    whole.push_str(rest);
                }
                Some(_) | None => whole.push_str(line),
            }
        }
        whole.push('\n');
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_the_contract_is_left_out() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
        let mut there: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".wit"))
            .collect();
        let mut here = FILES.map(|(name, _)| name.to_owned());
        there.sort();
        here.sort();
        assert_eq!(there, here);
    }

    #[test]
    fn one_file_names_its_package_once() {
        let whole = one_file(&FILES.map(|(name, text)| (name, text.to_owned())));
        assert_eq!(whole.lines().filter(|line| line.starts_with("package ")).count(), 1);
        assert!(whole.starts_with("/// The contract"));
        for (_, text) in FILES {
            let interface = text.lines().find(|line| line.starts_with("interface ")).unwrap_or_default();
            assert!(whole.contains(interface));
        }
    }

    #[test]
    fn what_may_wait_is_async_and_nothing_else() {
        let whole = FILES.map(|(_, text)| asynchronous(text)).concat();
        for waits in [
            "  call: async func(target",
            "  commit: async func()",
            "  publish: async func(id",
            "  activate: async func(it",
            "  deactivate: async func(me",
            "  on-timer: async func(me",
            "  on-reminder: async func(",
            "  on-event: async func(",
            "  apply: async func(",
            "  on-child-failed: async func(",
            "  on-terminated: async func(",
            "  spawn: async func(",
        ] {
            assert!(whole.contains(waits), "{waits}");
        }
        for plain in [
            "  tell: func(target",
            "  get: func(name",
            "  set: func(name",
            "  me: func()",
            "  emit: func(id",
            "  append: func(event",
            "  size: func()",
            "  unwatch: func(",
            "  start: func(name",
            "constructor(bytes",
        ] {
            assert!(whole.contains(plain), "{plain}");
        }
        let plain = FILES.map(|(_, text)| text).concat();
        assert_eq!(whole.replace("async func(", "func("), plain.replace("async func(", "func("));
        assert!(!whole.contains("async async"));
    }
}
