//! The kinds that this silo serves, and the deployments that they belong to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use quark_core::id::KindName;
use quark_core::manifest::Isolation;
use quark_engine::{Component, Kind};

use crate::api::{Failure, codes};
use crate::capacity::Share;
use crate::packs::Packs;

/// How many near names an error shows.
const NEAR_MAX: usize = 3;

/// A kind as served now. In this order, so that all that a call looks at lies together.
#[repr(C)]
pub(crate) struct Served {
    pub(crate) component: Arc<Component>,
    pub(crate) at: usize,
    /// Whether turns that begin now are recorded.
    pub(crate) traced: AtomicBool,
    pub(crate) deployment: String,
    pub(crate) version: u64,
    /// Grows with all that is served: of two versions of a kind the later one has the larger.
    pub(crate) since: u64,
    /// Where its actors share instances.
    pub(crate) packs: Arc<Packs>,
}

impl Served {
    pub(crate) fn kind(&self) -> &Kind {
        &self.component.kinds[self.at]
    }

    /// Whether turns that begin now are recorded.
    pub(crate) fn is_traced(&self) -> bool {
        self.traced.load(Ordering::Relaxed)
    }

    /// How many actors share an instance.
    pub(crate) fn packed(&self) -> u32 {
        match self.kind().policy.isolation {
            Isolation::Actor => 1,
            Isolation::Packed(actors) => actors,
        }
    }

    /// What one live instance takes.
    pub(crate) fn share(&self) -> Share {
        Share::of(self.component.profile, self.component.lane, self.component.cost)
    }
}

#[derive(Default)]
struct Table {
    by_name: BTreeMap<KindName, Arc<Served>>,
    by_short: BTreeMap<String, Vec<KindName>>,
    /// What operators said of kinds' records, whatever their manifests say; over deploys too.
    traced: BTreeMap<KindName, bool>,
}

/// All kinds that this silo serves.
#[derive(Default)]
pub(crate) struct Kinds {
    table: RwLock<Table>,
    version: AtomicU64,
}

impl Kinds {
    /// Grows whenever something else is served: what was looked up before may be out of date.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, name: &KindName) -> Option<Arc<Served>> {
        self.table.read().by_name.get(name).cloned()
    }

    /// The version of a deployment that is served, if it is.
    pub(crate) fn running(&self, deployment: &str) -> Option<Arc<Component>> {
        let table = self.table.read();
        table.by_name.values().find(|served| served.deployment == deployment).map(|served| served.component.clone())
    }

    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        self.table.read().by_name.values().cloned().collect()
    }

    /// The kind of that name as people write it, short or full.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Served>, Failure> {
        let table = self.table.read();
        if let Some(served) = KindName::parse(name).ok().and_then(|name| table.by_name.get(&name)) {
            return Ok(served.clone());
        }
        match table.by_short.get(name).map(Vec::as_slice) {
            Some([only]) => table.by_name.get(only).cloned().ok_or_else(|| no_such_kind(name, &table)),
            Some(several) if !several.is_empty() => {
                let all: Vec<&str> = several.iter().map(KindName::as_str).collect();
                Err(Failure::new(
                    codes::AMBIGUOUS_KIND,
                    format!("several kinds are called `{name}`: {}", all.join(", ")),
                )
                .next("write the full name"))
            }
            _ => Err(no_such_kind(name, &table)),
        }
    }

    /// Says whether turns of a kind that is served are recorded, until the silo ends.
    pub(crate) fn set_traced(&self, kind: &KindName, yes: bool) {
        let mut table = self.table.write();
        if let Some(served) = table.by_name.get(kind) {
            served.traced.store(yes, Ordering::Relaxed);
            table.traced.insert(kind.clone(), yes);
        }
    }

    /// Serves all kinds of a component, in place of what its deployment served before.
    pub(crate) fn serve(&self, deployment: &str, version: u64, component: &Arc<Component>) {
        let mut table = self.table.write();
        let since = self.version() + 1;
        table.by_name.retain(|_, served| served.deployment != deployment);
        for (at, kind) in component.kinds.iter().enumerate() {
            let traced = table.traced.get(&kind.name).copied().unwrap_or(kind.policy.trace);
            let served = Served {
                component: component.clone(),
                at,
                traced: AtomicBool::new(traced),
                deployment: deployment.into(),
                version,
                since,
                packs: Arc::default(),
            };
            table.by_name.insert(kind.name.clone(), Arc::new(served));
        }
        let mut by_short = BTreeMap::<String, Vec<KindName>>::new();
        for name in table.by_name.keys() {
            by_short.entry(name.short().into()).or_default().push(name.clone());
        }
        table.by_short = by_short;
        self.version.store(since, Ordering::Release);
    }
}

fn no_such_kind(name: &str, table: &Table) -> Failure {
    let failure = Failure::new(codes::NO_SUCH_KIND, format!("no kind `{name}` is deployed"));
    let near = nearest(name, table.by_name.keys().map(KindName::short));
    if !near.is_empty() {
        failure.next(format!("did you mean {}?", near.join(" or ")))
    } else if table.by_name.is_empty() {
        failure.next("deploy one with `quark deploy FILE.wasm`")
    } else {
        failure.next("`quark ps` lists the kinds that are")
    }
}

/// Known names that are like the one given, the likest first.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut near: Vec<(f64, &str)> = known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.5)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.dedup_by(|a, b| a.1 == b.1);
    near.into_iter().take(NEAR_MAX).map(|(_, known)| format!("`{known}`")).collect()
}
