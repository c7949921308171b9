//! Deployments: admitted once, durable, served from then on.

use std::sync::Arc;

use quark_core::activation::Why;
use quark_core::id::KindName;
use quark_core::manifest::Manifest;
use quark_engine::{AdmissionError, Component, content_hash, embedded_manifest};
use tokio::sync::oneshot;

use crate::api::{DeployReport, DeployRequest, Failure, KindReport, MethodReport, codes};
use crate::clock::unix_ms;
use crate::kinds::Served;
use crate::message::commit_failed;
use crate::silo::{Inner, StartError};
use crate::store::Deployment;

/// The longest name of a deployment, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// One deploy at a time: each is checked against what the one before it left.
#[derive(Default)]
pub(crate) struct Deploys {
    one: tokio::sync::Mutex<()>,
    /// Deployments that the store has and this silo could not serve, for `readyz`.
    pub(crate) broken: parking_lot::Mutex<Vec<String>>,
}

fn bad_manifest(error: impl std::fmt::Display) -> Failure {
    Failure::new(codes::BAD_MANIFEST, error.to_string())
}

fn bad_component(error: AdmissionError) -> Failure {
    let next = match &error {
        AdmissionError::NoKind(_) => "export an interface with a resource; `quark wit` prints the contract",
        AdmissionError::NotYet(_) => "build it without that import",
        AdmissionError::UnknownImport { .. } => "`quark wit` prints what the host offers; other kinds are resources",
        AdmissionError::NotWasm(_) | AdmissionError::Damaged(_) => "check the file, and that it was uploaded whole",
        AdmissionError::NoMetadata
        | AdmissionError::Encode(_)
        | AdmissionError::Mistyped { .. }
        | AdmissionError::Method { .. }
        | AdmissionError::Async
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
        let manifest = manifest_of(bytes, manifest)?;
        let (engine, cache, bytes) = (self.engine.clone(), self.cache.clone(), bytes.clone());
        let task = move || {
            let component = Component::admit(&engine, &cache, &bytes, &manifest, version).map_err(bad_component)?;
            let exports = |name: &str| component.kinds.iter().any(|kind| kind.name.short() == name);
            match manifest.kinds().into_iter().find(|name| !exports(name)) {
                Some(name) => {
                    Err(bad_manifest(format!("it has a table for `{name}`, which the component does not export")))
                }
                None => Ok(component),
            }
        };
        let internal = |error: tokio::task::JoinError| Failure::new(codes::INTERNAL, error.to_string());
        tokio::task::spawn_blocking(task).await.map_err(internal)?
    }

    pub(crate) async fn deploy(self: &Arc<Self>, request: DeployRequest) -> Result<DeployReport, Failure> {
        let _one = self.deploys.one.lock().await;
        let bytes: Arc<[u8]> = request.component.into();
        let manifest = request.manifest.unwrap_or_default();
        let stored = self.store.deployments().await.map_err(|error| Failure::new("unavailable", error.to_string()))?;
        let hash = content_hash(&bytes);
        let mut component = self.admit(&bytes, &manifest, 1).await?;
        let name = match request.name {
            Some(name) => name,
            None => component.kinds.first().map(|kind| kind.name.short().to_owned()).unwrap_or_default(),
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Failure::new(
                codes::BAD_REQUEST,
                format!("a deployment's name is 1 to {NAME_BYTES_MAX} bytes of text"),
            ));
        }
        let before = stored.iter().find(|deployment| deployment.name == name);
        let version = before.map_or(0, |deployment| deployment.version) + 1;
        if let Some(before) = before.filter(|before| before.hash == hash && before.manifest == manifest)
            && self.kinds.all().iter().any(|served| served.deployment == name)
        {
            return Ok(self.report(&component, &name, before.version, true));
        }
        self.check_kinds(&component, &name, before).await?;
        let Some(unshared) = Arc::get_mut(&mut component) else {
            return Err(Failure::new(codes::INTERNAL, "a component is served before it is deployed"));
        };
        unshared.version = version.to_string();
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
        self.deploys.broken.lock().retain(|problem| !problem.contains(&format!("`{name}`")));
        self.upgrade_live(&component);
        tracing::info!(deployment = name, version, "deployed");
        Ok(self.report(&component, &name, version, false))
    }

    /// A kind belongs to one deployment, and one with rows is not dropped.
    async fn check_kinds(&self, component: &Component, name: &str, before: Option<&Deployment>) -> Result<(), Failure> {
        for kind in &component.kinds {
            if let Some(other) = self.kinds.get(&kind.name).filter(|served| served.deployment != name) {
                let message = format!("the kind `{}` belongs to the deployment `{}`", kind.name, other.deployment);
                return Err(Failure::new(codes::CONFLICT, message)
                    .next(format!("deploy it as the next version of that one: --name {}", other.deployment)));
            }
        }
        for kind in before.into_iter().flat_map(|before| &before.kinds) {
            if component.kind_at(kind).is_some() {
                continue;
            }
            let keys = self.store.keys(kind, None, 1).await;
            if !keys.map_err(|error| Failure::new("unavailable", error.to_string()))?.is_empty() {
                let message = format!("this version no longer exports `{kind}`, whose actors have state");
                return Err(
                    Failure::new(codes::CONFLICT, message).next("export it still, or deploy under another name")
                );
            }
        }
        Ok(())
    }

    /// Live activations go on after their turn with the new version.
    fn upgrade_live(self: &Arc<Self>, component: &Component) {
        self.catalog.for_each(|activation| {
            let affected = component.kind_at(&activation.id.kind).is_some();
            if affected && activation.machine.lock().turns.deactivate(Why::Upgraded) {
                self.spawn(activation.clone().run(None));
            }
        });
    }

    fn report(&self, component: &Arc<Component>, name: &str, version: u64, unchanged: bool) -> DeployReport {
        let kinds = (0..component.kinds.len()).map(|at| {
            let served = Served { component: component.clone(), at, deployment: name.into(), version };
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
            warnings: component.warnings.clone(),
        }
    }

    pub(crate) fn kind_report(&self, served: &Served, live: u64) -> KindReport {
        let kind = served.kind();
        let method = |method: &Arc<quark_engine::Method>| MethodReport {
            name: method.signature.name.to_string(),
            signature: method.text.clone(),
            tell: method.signature.is_tell(),
        };
        KindReport {
            kind: kind.name.to_string(),
            name: kind.name.short().into(),
            deployment: served.deployment.clone(),
            version: served.version,
            lane: served.component.lane.name().into(),
            lane_reason: served.component.lane_reason.clone(),
            methods: kind.methods.iter().map(method).collect(),
            live,
        }
    }
}
