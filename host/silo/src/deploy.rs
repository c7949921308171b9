//! Deployments: admitted once, durable, served from then on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use quark_core::activation::Overlap;
use quark_core::activation::Why;
use quark_core::id::KindName;
use quark_core::manifest::{Manifest, MemoryProfile};
use quark_core::supervision::Supervision;
use quark_engine::{
    AdmissionError, Change, Component, Lane, broken_calls, content_hash, cost, embedded_manifest, slot_bytes,
};
use tokio::sync::oneshot;

use crate::api::{DeployReport, DeployRequest, Failure, KindReport, MethodReport, VersionReport, codes};
use crate::capacity::Share;
use crate::clock::unix_ms;
use crate::kinds::Served;
use crate::message::commit_failed;
use crate::silo::{Inner, StartError};
use crate::store::{Deployment, StoreError};

/// The longest name of a deployment, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The most changes, and the most callers, that a refusal shows.
const CHANGES_MAX: usize = 50;
/// The most names in one line of it.
const NAMES_MAX: usize = 10;
/// The service that gives an actor children, of whatever version.
const CHILDREN: &str = "quark:actor/children@";

/// One deploy at a time: each is checked against what the one before it left.
#[derive(Default)]
pub(crate) struct Deploys {
    one: tokio::sync::Mutex<()>,
    /// Deployments that the store has and this silo could not serve, for `readyz`.
    pub(crate) broken: parking_lot::Mutex<Vec<String>>,
}

fn unavailable(error: StoreError) -> Failure {
    Failure::new("unavailable", error.to_string())
}

fn bad_manifest(error: impl std::fmt::Display) -> Failure {
    Failure::new(codes::BAD_MANIFEST, error.to_string())
}

fn bad_component(error: AdmissionError) -> Failure {
    let next = match &error {
        AdmissionError::NoKind(_) => "export an interface with a resource; `quark wit` prints the contract",
        AdmissionError::NotYet(_) => "build it without that import",
        AdmissionError::UnknownImport { .. } => "`quark wit` prints what the host offers; other kinds are resources",
        AdmissionError::Versions { .. } => {
            "keep in the newest version all that the older one has and add beside it, or export the newest alone"
        }
        AdmissionError::NotWasm(_) | AdmissionError::Damaged(_) => "check the file, and that it was uploaded whole",
        AdmissionError::Slot { profile: MemoryProfile::Dense, .. } => {
            "make it smaller (Rust: RUSTFLAGS=\"-C link-arg=-zstack-size=65536\" instead of a stack of 1 MiB; a lower \
             limits.memory), or say memory-profile = \"roomy\" in its manifest"
        }
        AdmissionError::Slot { profile: MemoryProfile::Roomy, .. } => "make it smaller, or lower limits.memory",
        AdmissionError::Memory { .. } => "give it more in its manifest, or make it smaller",
        AdmissionError::Profiles(..) => "say the same memory-profile for all of them, or make two components of it",
        AdmissionError::Method { .. } => "change the component, or what its manifest says of it, and deploy it again",
        AdmissionError::Returns { .. } => "leave `reentrancy` out of its manifest",
        AdmissionError::NoMetadata
        | AdmissionError::Encode(_)
        | AdmissionError::NoWit(_)
        | AdmissionError::Mistyped { .. }
        | AdmissionError::Mixed { .. }
        | AdmissionError::Packed { .. }
        | AdmissionError::Full { .. }
        | AdmissionError::NoEngine(_)
        | AdmissionError::TooMuch(_)
        | AdmissionError::Compile(_) => "change the component and deploy it again",
    };
    Failure::new(codes::BAD_COMPONENT, error.to_string()).next(next)
}

/// The manifest in force: what the component carries, and over it what was given.
fn manifest_of(component: &[u8], given: &str) -> Result<Manifest, Failure> {
    let embedded = embedded_manifest(component).map_err(bad_component)?.unwrap_or_default();
    let embedded = Manifest::parse(&embedded)
        .map_err(|error| bad_manifest(format!("the manifest inside the component: {error}")))?;
    let given = Manifest::parse(given).map_err(bad_manifest)?;
    Ok(Manifest::merge(embedded, given))
}

/// The deployment's name as given, or that of its first kind.
fn checked_name(given: Option<String>, component: &Component) -> Result<String, Failure> {
    let first = || component.kinds.first().map(|kind| kind.name.short().to_owned());
    let name = given.or_else(first).unwrap_or_default();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("a deployment's name is 1 to {NAME_BYTES_MAX} bytes of text");
        return Err(Failure::new(codes::BAD_REQUEST, message).next("give one with --name"));
    }
    Ok(name)
}

/// A kind belongs to one deployment, whether that can be served now or not.
fn check_owners(component: &Component, name: &str, stored: &[Deployment]) -> Result<(), Failure> {
    for kind in &component.kinds {
        let owns = |other: &&Deployment| other.name != name && other.kinds.contains(&kind.name);
        if let Some(Deployment { name: other, .. }) = stored.iter().find(owns) {
            let kind = &kind.name;
            let message = format!("the kind `{kind}` belongs to the deployment `{other}`, so `{name}` cannot have it");
            return Err(Failure::new(codes::CONFLICT, message)
                .next(format!("deploy it as the next version of that one: --name {other}")));
        }
    }
    Ok(())
}

/// What callers of the running version would miss.
async fn changes(running: &Arc<Component>, component: &Arc<Component>) -> Result<Vec<Change>, Failure> {
    let (running, component) = (running.clone(), component.clone());
    let task = tokio::task::spawn_blocking(move || quark_engine::breaking(&running, &component));
    task.await.map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))
}

/// The refusal of what would break callers.
fn breaking(name: &str, lines: &[String], dropped: &[KindName]) -> Failure {
    let mut message = format!("this version would break callers of the running `{name}`; nothing was changed:");
    for line in lines {
        message.push('\n');
        message.push_str(line);
    }
    for kind in dropped {
        message.push_str(&format!("\nactors of `{kind}` have state, which nobody would serve"));
    }
    let flags = if dropped.is_empty() { "--allow-breaking" } else { "--allow-breaking --force" };
    let http = if dropped.is_empty() { "allow-breaking=true" } else { "allow-breaking=true&force=true" };
    let next = format!(
        "keep what callers know and add beside it, or deploy it all the same with {flags}; over HTTP that is {http}"
    );
    Failure::new(codes::BREAKING_CHANGE, message).next(next)
}

/// The refusal of what would wake without its past.
fn forgetting(kind: &KindName, journaled: bool) -> Failure {
    let (message, next) = if journaled {
        (
            format!(
                "this version exports `quark:actor/journaled`, and the running one does not: actors of `{kind}` have \
                 state, and would wake by their events alone; nothing was changed"
            ),
            "leave `journaled` out, or give a kind of another name the journal and move what the old one has",
        )
    } else {
        (
            format!(
                "this version no longer exports `quark:actor/journaled`: actors of `{kind}` would wake without what \
                 their events made of them; nothing was changed"
            ),
            "export it still, so that it restores and applies what is there",
        )
    };
    let next = format!(
        "{next}; or, if its code takes over what is there, deploy it with --force (over HTTP force=true): no row is \
         changed by that, and the version before finds all of them"
    );
    Failure::new(codes::CONFLICT, message).next(next)
}

/// So many, and how many more there are.
fn first(mut all: Vec<String>, most: usize) -> Vec<String> {
    let more = all.len().saturating_sub(most);
    all.truncate(most);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all
}

/// What is asked for now and was not before; versions of interfaces do not count.
fn newly(now: &[String], before: &[String]) -> Vec<String> {
    let bare = |ask: &str| ask.split('@').next().unwrap_or_default().to_owned();
    let known: Vec<String> = before.iter().map(|ask| bare(ask)).collect();
    now.iter().filter(|ask| !known.contains(&bare(ask))).cloned().collect()
}

impl Inner {
    /// Serves again what was deployed before this start. A deployment that cannot be served any
    /// more is reported and left out; the others are served.
    pub(crate) async fn restore_deployments(self: &Arc<Self>) -> Result<(), StartError> {
        for deployment in self.store.deployments().await? {
            let Some(bytes) = self.store.component(&deployment.hash).await? else {
                self.deploys.broken.lock().push(format!("the component of `{}` is missing", deployment.name));
                continue;
            };
            match self.admit(&bytes, &deployment.manifest, deployment.version).await {
                Ok(component) => self.kinds.serve(&deployment.name, deployment.version, &component),
                Err(failure) => {
                    tracing::error!(deployment = deployment.name, error = failure.message, "it cannot be served");
                    let problem = format!("deployment `{}` cannot be served: {}", deployment.name, failure.message);
                    self.deploys.broken.lock().push(problem);
                }
            }
        }
        Ok(())
    }

    async fn admit(
        self: &Arc<Self>,
        bytes: &Arc<[u8]>,
        manifest: &str,
        version: u64,
    ) -> Result<Arc<Component>, Failure> {
        let manifest = Arc::new(manifest_of(bytes, manifest)?);
        let internal = |error: tokio::task::JoinError| Failure::new(codes::INTERNAL, error.to_string());
        let admit = || {
            let (engine, cache, bytes) = (self.engine.clone(), self.cache.clone(), bytes.clone());
            let manifest = manifest.clone();
            tokio::task::spawn_blocking(move || Component::admit(&engine, &cache, &bytes, &manifest, version))
        };
        let mut admitted = admit().await.map_err(internal)?;
        if matches!(admitted, Err(AdmissionError::NoEngine(_))) {
            // The first of its profile or flavour: its engine wants mappings that live actors have.
            self.free_mappings(self.engine.mappings_to_come()).await;
            admitted = admit().await.map_err(internal)?;
        }
        self.catalog.engines_take(self.engine.mappings());
        // Its first actor shall not have to wait for all those that leave for its engine.
        self.free_mappings(0).await;
        let component = admitted.map_err(bad_component)?;
        let exports = |name: &str| component.kinds.iter().any(|kind| kind.name.short() == name);
        match manifest.kinds().find(|name| !exports(name)) {
            Some(name) => {
                let kinds: Vec<_> = component.kinds.iter().map(|kind| kind.name.short().to_owned()).collect();
                let kinds = first(kinds, NAMES_MAX).join(", ");
                Err(bad_manifest(format!("it has a table for `{name}`, which the component does not export"))
                    .next(format!("the component's kinds are {kinds}")))
            }
            None => Ok(component),
        }
    }

    pub(crate) async fn deploy(self: &Arc<Self>, request: DeployRequest) -> Result<DeployReport, Failure> {
        let _one = self.deploys.one.lock().await;
        let DeployRequest { name, component, manifest, allow_breaking, force } = request;
        let bytes: Arc<[u8]> = component.into();
        let manifest = manifest.unwrap_or_default();
        let stored = self.store.deployments().await.map_err(unavailable)?;
        let hash = content_hash(&bytes);
        let mut component = self.admit(&bytes, &manifest, 1).await?;
        let name = checked_name(name, &component)?;
        let before = stored.iter().find(|deployment| deployment.name == name);
        let running = self.kinds.running(&name);
        if let (Some(before), Some(_)) = (before, &running)
            && (&before.hash, &before.manifest) == (&hash, &manifest)
        {
            return Ok(self.report(&component, &name, before.version, true));
        }
        check_owners(&component, &name, &stored)?;
        let dropped = self.dropped_with_state(&component, before).await?;
        let mut breaks = Vec::new();
        if let Some(running) = &running {
            let changes = changes(running, &component).await?;
            breaks = self.told(&changes, &component, &name);
            if !changes.is_empty() && !allow_breaking {
                return Err(breaking(&name, &breaks, &dropped));
            }
        }
        if let Some(kind) = dropped.first().filter(|_| !force) {
            let message =
                format!("this version no longer exports `{kind}`, whose actors have state; nothing was changed");
            return Err(Failure::new(codes::CONFLICT, message)
                .next("export it still, or drop it with --force (over HTTP force=true): its state stays, unserved"));
        }
        if let Some(running) = running.as_ref().filter(|_| !force)
            && let Some(kind) = self.forgets(running, &component).await?
        {
            return Err(forgetting(&kind, component.is_journaled()));
        }
        let version = before.map_or(0, |deployment| deployment.version) + 1;
        match Arc::get_mut(&mut component) {
            Some(component) => component.version = version.to_string(),
            None => return Err(Failure::new(codes::INTERNAL, "the component is in use before it is deployed")),
        }
        let lost_manifest = before.filter(|before| manifest.is_empty() && !before.manifest.is_empty());
        let lost_manifest = lost_manifest.map(|before| {
            let (before, flag) = (before.version, "deploy it again with that manifest (`--manifest FILE`) to keep it");
            format!("version {before} came with a manifest and this one without: what it said holds no more; {flag}")
        });
        let kinds: Vec<KindName> = component.kinds.iter().map(|kind| kind.name.clone()).collect();
        let deployment = Deployment { name: name.clone(), version, hash, manifest, at_ms: unix_ms(), kinds };
        let (done, landed) = oneshot::channel();
        self.store.deploy(deployment, bytes, Box::new(move |outcome| _ = done.send(outcome)));
        match landed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(commit_failed(error).into()),
            Err(_) => return Err(Failure::new(codes::STOPPING, "the silo is stopping")),
        }
        self.kinds.serve(&name, version, &component);
        self.reminders.look();
        self.deploys.broken.lock().retain(|problem| !problem.contains(&format!("`{name}`")));
        self.upgrade_live(&component, running.as_deref());
        tracing::info!(deployment = name, version, "deployed");
        let mut report = self.report(&component, &name, version, false);
        if let Some(running) = &running {
            report.asks_newly = newly(&component.asks, &running.asks);
        }
        report.breaks = breaks;
        report.warnings.extend(lost_manifest);
        Ok(report)
    }

    /// Kinds that the version before had and this one has not, whose actors have state.
    async fn dropped_with_state(
        &self,
        component: &Component,
        before: Option<&Deployment>,
    ) -> Result<Vec<KindName>, Failure> {
        let mut dropped = Vec::new();
        for kind in before.into_iter().flat_map(|before| &before.kinds) {
            let gone = component.kind_at(kind).is_none();
            if gone && !self.store.keys(kind, None, 1).await.map_err(unavailable)?.is_empty() {
                dropped.push(kind.clone());
            }
        }
        Ok(dropped)
    }

    /// A kind of both versions whose actors have rows that the new one reads in another way: as state and no longer as
    /// events, or the other way round.
    async fn forgets(&self, running: &Component, component: &Component) -> Result<Option<KindName>, Failure> {
        if running.is_journaled() == component.is_journaled() {
            return Ok(None);
        }
        for kind in &component.kinds {
            let stays = running.kind_at(&kind.name).is_some();
            if stays && !self.store.keys(&kind.name, None, 1).await.map_err(unavailable)?.is_empty() {
                return Ok(Some(kind.name.clone()));
            }
        }
        Ok(None)
    }

    /// What changes for callers, and which deployed ones are hit, one line each.
    fn told(&self, changes: &[Change], component: &Component, name: &str) -> Vec<String> {
        let mut lines = first(changes.iter().map(ToString::to_string).collect(), CHANGES_MAX);
        let mut callers = self.kinds.all();
        // One component's kinds stand together, so that each is told once.
        callers.sort_by(|one, other| one.deployment.cmp(&other.deployment));
        callers.dedup_by(|one, other| one.deployment == other.deployment);
        let hit = callers.iter().filter(|caller| caller.deployment != name).filter_map(|caller| {
            let calls = first(broken_calls(&caller.component, changes, component), NAMES_MAX);
            let kinds = caller.component.kinds.iter().map(|kind| format!("`{}`", kind.name.short()));
            let kinds = first(kinds.collect(), NAMES_MAX).join(", ");
            let line = || format!("{kinds} of the deployment `{}` calls {}", caller.deployment, calls.join(", "));
            (!calls.is_empty()).then(line)
        });
        lines.extend(first(hit.collect(), CHANGES_MAX));
        lines
    }

    /// Live activations go on after their turn with the new version.
    /// What held them back for failures of the one before is over.
    fn upgrade_live(self: &Arc<Self>, component: &Component, before: Option<&Component>) {
        let affects =
            |kind: &KindName| component.kind_at(kind).is_some() || before.is_some_and(|it| it.kind_at(kind).is_some());
        self.supervised.forgive_kinds(affects);
        let mut parents = HashSet::new();
        self.catalog.for_each(|activation| {
            if affects(&activation.id.kind) {
                let mut machine = activation.machine.lock();
                parents.extend(machine.held_by());
                if machine.turns.deactivate(Why::Upgraded) {
                    self.spawn(activation.clone().run(None));
                }
            }
        });
        parents.iter().for_each(|parent| self.hurry(parent));
    }

    /// The versions of all deployments, or of the one that a kind belongs to: by deployment, the
    /// newest first.
    pub(crate) async fn versions(&self, kind: Option<&str>) -> Result<Vec<VersionReport>, Failure> {
        let only = kind.map(|kind| self.kinds.find(kind)).transpose()?;
        let current = self.store.deployments().await.map_err(unavailable)?;
        let earlier = self.store.earlier_versions().await.map_err(unavailable)?;
        let mut live = HashMap::<(String, u64), u64>::new();
        self.catalog.for_each(|activation| {
            if let Some(served) = activation.machine.lock().serves() {
                *live.entry((served.deployment.clone(), served.version)).or_default() += 1;
            }
        });
        let all = current.into_iter().map(|it| (it, true)).chain(earlier.into_iter().map(|it| (it, false)));
        let of = all.filter(|(it, _)| only.as_ref().is_none_or(|served| served.deployment == it.name));
        let report = |(it, current): (Deployment, bool)| VersionReport {
            live: live.get(&(it.name.clone(), it.version)).copied().unwrap_or(0),
            deployment: it.name,
            version: it.version,
            hash: it.hash,
            at_ms: it.at_ms,
            current,
            kinds: it.kinds.iter().map(KindName::to_string).collect(),
        };
        let mut versions: Vec<VersionReport> = of.map(report).collect();
        versions.sort_by(|one, other| (&one.deployment, other.version).cmp(&(&other.deployment, one.version)));
        Ok(versions)
    }

    fn report(&self, component: &Arc<Component>, name: &str, version: u64, unchanged: bool) -> DeployReport {
        let kinds = (0..component.kinds.len()).map(|at| {
            let (deployment, packs) = (name.into(), Arc::default());
            let (component, traced) = (component.clone(), AtomicBool::default());
            let served = Served { component, at, traced, deployment, version, since: 0, packs };
            self.kind_report(&served, 0)
        });
        DeployReport {
            name: name.into(),
            version,
            hash: component.hash.clone(),
            unchanged,
            bytes: component.bytes as u64,
            compile_ms: component.compiled_in.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            cached: component.compiled_in.is_none(),
            kinds: kinds.collect(),
            asks: component.asks.clone(),
            asks_newly: Vec::new(),
            breaks: Vec::new(),
            warnings: component.warnings.clone(),
        }
    }

    /// The most live actors of a kind, if there are no others.
    pub(crate) fn holds(&self, served: &Served) -> u64 {
        self.catalog.holds(served.share()).saturating_mul(u64::from(served.packed()))
    }

    /// The most live actors of what is deployed.
    pub(crate) fn capacity(&self) -> u64 {
        let most = self.kinds.all().iter().map(|served| self.holds(served)).max();
        let (profile, lane) = (self.config.memory_profile, Lane::Direct);
        most.unwrap_or_else(|| self.catalog.holds(Share::of(profile, lane, cost(profile, lane))))
    }

    pub(crate) fn kind_report(&self, served: &Served, live: u64) -> KindReport {
        let kind = served.kind();
        let method = |method: &Arc<quark_engine::Method>| MethodReport {
            name: method.signature.name.to_string(),
            signature: method.text.clone(),
            tell: method.signature.is_tell(),
        };
        let supervision = &kind.policy.supervision;
        let supervises = served.component.asks.iter().any(|ask| ask.starts_with(CHILDREN));
        let profile = served.component.profile;
        let reason = if served.component.by_default { "the silo's default" } else { "its manifest says so" };
        KindReport {
            kind: kind.name.to_string(),
            name: kind.name.short().into(),
            deployment: served.deployment.clone(),
            version: served.version,
            lane: served.component.lane.name().into(),
            lane_reason: served.component.lane_reason.clone(),
            packed: served.packed(),
            overlap: match served.component.overlap(served.at) {
                Overlap::None => "none",
                Overlap::Reads => "reads",
                Overlap::Full => "full",
                Overlap::Nested | Overlap::Chain { reads: false } => "call-chain",
                Overlap::Chain { reads: true } => "call-chain-and-reads",
            }
            .into(),
            reentrancy: kind.reentrancy.name().into(),
            reentrancy_reason: kind.reentrancy_reason.clone(),
            supervision: if supervises || *supervision != Supervision::default() {
                supervision.to_string()
            } else {
                String::new()
            },
            memory_profile: profile.name().into(),
            memory_profile_reason: reason.into(),
            memory_limit: kind.policy.limits.memory.unwrap_or_else(|| slot_bytes(profile)),
            holds: self.holds(served),
            methods: kind.methods.iter().map(method).collect(),
            wit: String::new(),
            live,
        }
    }
}
