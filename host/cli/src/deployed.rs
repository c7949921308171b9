//! What is deployed: `kinds`, with their methods or their WIT, and `versions`.

use quark_silo::api::{Failure, KindReport, VersionReport, codes};
use serde::{Deserialize, Serialize};

use crate::address::encoded;
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit};
use crate::output::{Output, plain};
use crate::table::table;
use crate::units::{shown_ago, shown_bytes};

/// Characters of a content hash that people get to see; `--json` has all.
const HASH_SHOWN: usize = 12;

/// What `/v1/kinds` answers.
#[derive(Deserialize, Serialize)]
pub(crate) struct KindList {
    pub(crate) kinds: Vec<KindReport>,
}

/// Show the kinds that are deployed: their methods, or their interfaces as WIT.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  quark kinds\n  quark kinds counter\n  quark kinds counter --wit > counter.wit")]
pub(crate) struct Kinds {
    /// Only this kind.
    kind: Option<String>,
    /// Print the interfaces as WIT, for callers to build against.
    #[arg(long, conflicts_with = "json")]
    wit: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Kinds {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let KindList { mut kinds } = client.get("/v1/kinds")?;
        if let Some(only) = &self.kind {
            kinds.retain(|kind| kind.kind == *only || kind.name == *only);
            if kinds.is_empty() {
                let message = format!("no kind `{only}` is deployed");
                return Err(Failure::new(codes::NO_SUCH_KIND, message).next("`quark kinds` lists the kinds that are"));
            }
        }
        if self.json {
            out.json(&KindList { kinds });
        } else if kinds.is_empty() {
            out.line("nothing is deployed; next: quark deploy FILE");
        } else if self.wit {
            show_wit(&kinds, out);
        } else {
            kinds.iter().for_each(|kind| show_kind(kind, out));
        }
        Ok(Exit::Done)
    }
}

/// A kind with its methods.
pub(crate) fn show_kind(kind: &KindReport, out: &mut Output<'_>) {
    out.line(format_args!("kind {} ({})", plain(&kind.name), plain(&kind.kind)));
    out.line(format_args!("  lane {}: {}", plain(&kind.lane), plain(&kind.lane_reason)));
    let (profile, reason) = (plain(&kind.memory_profile), plain(&kind.memory_profile_reason));
    let (limit, holds) = (shown_bytes(kind.memory_limit), kind.holds);
    let each = if kind.packed > 1 { "for all that share it" } else { "each" };
    out.line(format_args!("  memory {profile}: {reason}; {limit} {each}, at most {holds} live"));
    if kind.packed > 1 {
        out.line(format_args!(
            "  packed: {} actors share an instance; a trap ends its memory for all of them",
            kind.packed
        ));
    }
    out.line(format_args!("  reentrancy {}: {}", plain(&kind.reentrancy), plain(&kind.reentrancy_reason)));
    match kind.overlap.as_str() {
        "full" => out.line("  turns of one actor overlap"),
        "reads" | "call-chain-and-reads" => out.line("  turns of one actor that only read overlap"),
        _ => {}
    }
    if !kind.supervision.is_empty() {
        out.line(format_args!("  supervision {}", plain(&kind.supervision)));
    }
    for method in &kind.methods {
        let tell = if method.tell { "  (a tell)" } else { "" };
        out.line(format_args!("  {}: {}{tell}", plain(&method.name), plain(&method.signature)));
    }
}

/// Each interface once, also where several kinds are in it.
fn show_wit(kinds: &[KindReport], out: &mut Output<'_>) {
    let mut shown: Vec<&str> = Vec::new();
    for kind in kinds {
        if shown.contains(&kind.wit.as_str()) {
            continue;
        }
        if !shown.is_empty() {
            out.line("");
        }
        kind.wit.lines().for_each(|line| out.line(plain(line)));
        shown.push(&kind.wit);
    }
}

/// List the versions of deployments that the silo keeps; the newest first.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  quark versions\n  quark versions counter --json")]
pub(crate) struct Versions {
    /// Only those of the deployment that this kind belongs to.
    kind: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize, Serialize)]
struct VersionList {
    versions: Vec<VersionReport>,
}

impl Versions {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let of_kind = self.kind.as_ref().map(|kind| format!("?kind={}", encoded(kind))).unwrap_or_default();
        let list: VersionList = client.get(&format!("/v1/versions{of_kind}"))?;
        if self.json {
            out.json(&list);
        } else {
            show_versions(&list.versions, out);
        }
        Ok(Exit::Done)
    }
}

fn show_versions(versions: &[VersionReport], out: &mut Output<'_>) {
    if versions.is_empty() {
        return out.line("nothing is deployed; next: quark deploy FILE");
    }
    let columns = [
        ("DEPLOYMENT", false),
        ("VERSION", true),
        ("HASH", false),
        ("DEPLOYED", true),
        ("CURRENT", false),
        ("LIVE", true),
    ];
    let rows = versions.iter().map(|version| {
        vec![
            version.deployment.clone(),
            version.version.to_string(),
            version.hash.chars().take(HASH_SHOWN).collect(),
            shown_ago(version.at_ms),
            if version.current { "yes" } else { "no" }.to_owned(),
            version.live.to_string(),
        ]
    });
    out.line(table(&columns, rows));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_a_table() {
        let version = |version, current, live| VersionReport {
            deployment: "counter".into(),
            version,
            hash: "0123456789abcdef".into(),
            at_ms: u64::MAX,
            current,
            live,
            kinds: vec!["a:b/c#counter".into()],
        };
        let mut bytes = Vec::new();
        show_versions(&[version(2, true, 10), version(1, false, 0)], &mut Output::new(&mut bytes, false));
        let expect = "\
DEPLOYMENT  VERSION  HASH          DEPLOYED  CURRENT  LIVE
counter           2  0123456789ab  0 ms ago  yes        10
counter           1  0123456789ab  0 ms ago  no          0
";
        assert_eq!(String::from_utf8(bytes).unwrap(), expect);
    }

    #[test]
    fn an_interface_of_several_kinds_is_printed_once() {
        let kind = |name: &str, wit: &str| KindReport {
            kind: format!("a:b/c#{name}"),
            name: name.into(),
            deployment: "d".into(),
            version: 1,
            wit: wit.into(),
            ..KindReport::default()
        };
        let mut bytes = Vec::new();
        let kinds = [kind("one", "package a:b;\n"), kind("two", "package a:b;\n"), kind("three", "package x:y;\n")];
        show_wit(&kinds, &mut Output::new(&mut bytes, false));
        assert_eq!(String::from_utf8(bytes).unwrap(), "package a:b;\n\npackage x:y;\n");
    }
}
