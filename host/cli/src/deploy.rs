//! `quark deploy`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quark_silo::api::{DeployReport, Failure, codes};
use ureq::http::Method;

use crate::address::encoded;
use crate::client::{Client, Remote};
use crate::deployed::show_kind;
use crate::exit::{Done, Exit, usage};
use crate::output::{Output, plain};
use crate::progress::Progress;
use crate::units::{shown_bytes, shown_ms};

/// A manifest travels in a header.
const MANIFEST_BYTES_MAX: usize = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  quark deploy counter.wasm
  quark deploy counter.wasm --manifest actor.toml --name counters
  quark deploy counter.wasm --allow-breaking

A deployment has one running version. A new one must have all that callers of the running one know:
its kinds, their methods, and the types of these. It may add to them.";

/// Deploy a component: check it, compile it, and have its kinds answer.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Deploy {
    /// The component, or a core module with embedded WIT metadata.
    file: PathBuf,
    /// The manifest; by default actor.toml beside FILE, if it is there.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The deployment's name; by default that of its first kind.
    #[arg(long)]
    name: Option<String>,
    /// Deploy even if callers of the running version lose what they know.
    #[arg(long)]
    allow_breaking: bool,
    /// Drop kinds whose actors have state, or have what they wake by changed between state and journal. What there is
    /// stays in the store; whoever does not read it does not serve it.
    #[arg(long)]
    force: bool,
    /// Print what was deployed as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Deploy {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let component = read(&self.file)?;
        let (manifest, found) = match &self.manifest {
            Some(path) => (Some(path.clone()), false),
            None => (beside(&self.file), true),
        };
        let mut headers = vec![("content-type", "application/wasm".to_owned())];
        if let Some(path) = &manifest {
            headers.push(("quark-manifest", STANDARD.encode(manifest_text(path)?)));
            if found {
                let _ = writeln!(io::stderr(), "using the manifest {}", plain(&path.display().to_string()));
            }
        }
        let name = self.name.as_ref().map(|name| format!("&name={}", encoded(name))).unwrap_or_default();
        let (allow_breaking, force) = (self.allow_breaking, self.force);
        let path = format!("/v1/deployments?allow-breaking={allow_breaking}&force={force}{name}");
        let client = Client::new(&self.remote, None)?;
        let answer = {
            let _turning = Progress::start(format!("deploying {}", plain(&self.file.display().to_string())));
            client.send(Method::POST, &path, &headers, Some(&component))?
        };
        if self.json {
            out.json(&client.parse::<serde_json::Value>(&answer.body)?);
        } else {
            show(&client.parse(&answer.body)?, out);
        }
        Ok(Exit::Done)
    }
}

/// The manifest that lies beside a component.
fn beside(component: &Path) -> Option<PathBuf> {
    let path = component.with_file_name("actor.toml");
    path.is_file().then_some(path)
}

fn manifest_text(path: &Path) -> Result<String, Failure> {
    let bad = |what: String| Failure::new(codes::BAD_MANIFEST, format!("{} {what}", path.display()));
    let text = String::from_utf8(read(path)?).map_err(|_| bad("is not UTF-8".to_owned()))?;
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(bad(format!("has {} bytes; at most {MANIFEST_BYTES_MAX} are allowed", text.len())));
    }
    Ok(text)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))
}

fn show(report: &DeployReport, out: &mut Output<'_>) {
    let what = if report.unchanged { "unchanged" } else { "deployed" };
    let compiled = match (report.unchanged, report.cached) {
        (true, _) => String::new(),
        (false, true) => ", compiled before".to_owned(),
        (false, false) => format!(", compiled in {}", shown_ms(report.compile_ms)),
    };
    let (name, version) = (plain(&report.name), report.version);
    out.line(format_args!("{what} {name} version {version} ({}{compiled})", shown_bytes(report.bytes)));
    for kind in &report.kinds {
        show_kind(kind, out);
    }
    for (what, asks) in [("asks for", &report.asks), ("asks newly for", &report.asks_newly)] {
        if !asks.is_empty() {
            out.line(what);
        }
        for asks in by_package(asks) {
            out.line(format_args!("  {}", plain(&asks)));
        }
    }
    if !report.breaks.is_empty() {
        out.line("breaks callers of the version before");
    }
    for broken in &report.breaks {
        out.line(format_args!("  {}", plain(broken)));
    }
    for warning in &report.warnings {
        out.line(format_args!("warning: {}", plain(warning)));
    }
}

/// `wasi:io/poll@0.2.6` and `wasi:io/streams@0.2.6` as `wasi:io@0.2.6: poll, streams`; what is no
/// interface stays as it is.
fn by_package(asks: &[String]) -> Vec<String> {
    let mut grouped: Vec<(String, String)> = Vec::new();
    for ask in asks {
        let split = ask.split_once('/').and_then(|(package, rest)| {
            let (interface, version) = rest.split_once('@')?;
            Some((format!("{package}@{version}"), interface))
        });
        let Some((package, interface)) = split else {
            grouped.push((ask.clone(), String::new()));
            continue;
        };
        match grouped.iter_mut().find(|(known, _)| *known == package) {
            Some((_, interfaces)) => interfaces.push_str(&format!(", {interface}")),
            None => grouped.push((package, format!(": {interface}"))),
        }
    }
    grouped.into_iter().map(|(package, interfaces)| package + &interfaces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quark_silo::api::{KindReport, MethodReport};

    #[test]
    fn a_deploy_is_told_whole() {
        let method =
            |name: &str, signature: &str, tell| MethodReport { name: name.into(), signature: signature.into(), tell };
        let report = DeployReport {
            name: "counter".into(),
            version: 3,
            hash: "h".into(),
            unchanged: false,
            bytes: 2048,
            compile_ms: 120,
            cached: false,
            kinds: vec![KindReport {
                kind: "sample:counter/counters#counter".into(),
                name: "counter".into(),
                deployment: "counter".into(),
                version: 3,
                lane: "direct".into(),
                lane_reason: "imports nothing that suspends".into(),
                memory_profile: "dense".into(),
                memory_profile_reason: "its manifest says so".into(),
                memory_limit: 512 << 10,
                holds: 1000,
                packed: 100,
                overlap: "full".into(),
                reentrancy: "full".into(),
                reentrancy_reason: "its manifest says so".into(),
                supervision: "all-for-one, 10 restarts in 1m, waits 100ms to 30s".into(),
                methods: vec![
                    method("increment", "func(by: u64) -> result<u64, counter-error>", false),
                    method("reset", "func()", true),
                ],
                ..KindReport::default()
            }],
            asks: ["calls a:b/c#d", "wasi:io/poll@0.2.6", "wasi:cli/exit@0.2.6", "wasi:io/streams@0.2.6"]
                .map(str::to_owned)
                .to_vec(),
            asks_newly: vec!["wasi:cli/exit@0.2.6".into()],
            breaks: vec!["counter.value is gone: it was func() -> u64".into()],
            warnings: vec!["look".into()],
        };
        let mut bytes = Vec::new();
        show(&report, &mut Output::new(&mut bytes, false));
        let expect = "\
deployed counter version 3 (2.0 KiB, compiled in 120 ms)
kind counter (sample:counter/counters#counter)
  lane direct: imports nothing that suspends
  memory dense: its manifest says so; 512.0 KiB for all that share it, at most 1000 live
  packed: 100 actors share an instance; a trap ends its memory for all of them
  reentrancy full: its manifest says so
  turns of one actor overlap
  supervision all-for-one, 10 restarts in 1m, waits 100ms to 30s
  increment: func(by: u64) -> result<u64, counter-error>
  reset: func()  (a tell)
asks for
  calls a:b/c#d
  wasi:io@0.2.6: poll, streams
  wasi:cli@0.2.6: exit
asks newly for
  wasi:cli@0.2.6: exit
breaks callers of the version before
  counter.value is gone: it was func() -> u64
warning: look
";
        assert_eq!(String::from_utf8(bytes).unwrap(), expect);
    }
}
