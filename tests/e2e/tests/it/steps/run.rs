//! A silo in this process: started on rows that outlive it, and let go of as `kill -9` would.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;

use quark_core::id::{ActorId, Key, KindName};
use quark_core::standing::Standing;
use quark_core::state::STANDING;
use quark_e2e::{component, component_path};
use quark_engine::Cache;
use quark_silo::api::{DeployRequest, Failure, Format, Reply, Request, TreeNode};
use quark_silo::gateway::Service as _;
use quark_silo::store::Store as _;
use quark_silo::store::memory::MemoryStore;
use quark_silo::{Silo, SiloConfig};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::dying::Dying;

/// The most live actors.
const CAPACITY: u32 = 64;
/// How long one call may take: far beyond what it takes.
const TIMEOUT_MS: u64 = 20_000;
const CREW: &str = "sample:crew/crews#crew";
const WORKER: &str = "sample:crew/workers#worker";
const LEDGER: &str = "sample:ledger/ledgers#ledger";
const DIGEST: &str = "sample:digest/digests#digest";

/// An actor, as `KIND/KEY`.
pub(crate) type Name = &'static str;

/// The flavour of the sample, and its manifest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flavour {
    pub(crate) sample: &'static str,
    pub(crate) manifest: &'static str,
}

/// A deployment that many silos share.
pub(crate) struct Deployed {
    store: Arc<MemoryStore>,
    cache: Cache,
}

/// A silo that runs.
pub(crate) struct Run {
    // Dropped first: with it all that runs is.
    pub(crate) runtime: Runtime,
    pub(crate) silo: Silo,
    pub(crate) store: Arc<Dying>,
    pub(crate) rows: Arc<MemoryStore>,
}

fn config() -> SiloConfig {
    SiloConfig { capacity: Some(CAPACITY), default_timeout: Duration::from_millis(TIMEOUT_MS), ..SiloConfig::default() }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

impl Deployed {
    pub(crate) fn new(flavour: Flavour) -> Self {
        Self::of(&[flavour])
    }

    pub(crate) fn of(flavours: &[Flavour]) -> Self {
        // Tests run side by side: one compiles, the others wait and find it. The lock ends with the file.
        let shared = component_path("compiled").with_extension("");
        fs::create_dir_all(&shared).unwrap();
        let lock = File::create(shared.join("lock")).unwrap();
        lock.lock().unwrap();
        let (store, cache) = (Arc::new(MemoryStore::new()), Cache::at(&shared));
        let of_silo = store.clone();
        runtime().block_on(async {
            let silo = Silo::start(config(), of_silo, cache.clone()).await.unwrap();
            for flavour in flavours {
                let (component, manifest) = (component(flavour.sample), Some(flavour.manifest.to_owned()));
                let deploy = DeployRequest { name: None, component, manifest, allow_breaking: false, force: false };
                silo.deploy(deploy).await.unwrap();
            }
        });
        Self { store, cache }
    }

    /// One on one thread: what happens first does so always.
    pub(crate) fn start(&self, rows: &Arc<MemoryStore>) -> Run {
        self.start_on(rows, runtime())
    }

    pub(crate) fn start_on(&self, rows: &Arc<MemoryStore>, runtime: Runtime) -> Run {
        let store = Dying::new(rows, &self.store);
        let silo = runtime.block_on(Silo::start(config(), store.clone(), self.cache.clone())).unwrap();
        Run { runtime, silo, store, rows: rows.clone() }
    }
}

impl Run {
    /// Nothing ends in order; then another one starts.
    pub(crate) fn restart(self, deployed: &Deployed) -> Self {
        let rows = self.rows.clone();
        self.kill();
        deployed.start(&rows)
    }

    /// Nothing ends in order.
    pub(crate) fn kill(self) {
        let Self { runtime, silo, store, rows: _ } = self;
        drop(runtime);
        drop(silo);
        store.bury();
    }

    /// Calls a method; its result as JSON.
    pub(crate) async fn call(&self, actor: &str, method: &str, arguments: &Value) -> Result<Value, Failure> {
        let (kind, key) = actor.split_once('/').unwrap();
        let request = Request {
            kind: kind.into(),
            key: key.into(),
            method: method.into(),
            arguments: arguments.to_string(),
            format: Format::Json,
            timeout_ms: Some(TIMEOUT_MS),
            request_id: None,
            headers: Vec::new(),
            tell: false,
        };
        match self.silo.call(request).await? {
            Reply::Ok(text) | Reply::Err(text) => Ok(serde_json::from_str(&text).unwrap()),
            Reply::Accepted(_) => panic!("{method} is no tell"),
        }
    }

    /// All edges of the trees as people see them, in order; also those of whom nobody has as a child.
    pub(crate) async fn tree(&self) -> Vec<(String, String)> {
        let tree = self.silo.tree(None, 10_000).await.unwrap();
        assert!(!tree.truncated);
        let mut edges = Vec::new();
        for root in &tree.roots {
            edges.push((String::new(), named(root)));
            below(root, &mut edges);
        }
        edges
    }

    /// What the rows say, read past the silo.
    pub(crate) fn standing(&self, actor: &str) -> Standing {
        let id = id(actor);
        let snapshot = futures_util::FutureExt::now_or_never(self.rows.read(&id)).unwrap().unwrap();
        let row = snapshot.as_ref().and_then(|snapshot| snapshot.values.get(STANDING));
        Standing::decode(row.map(|row| &**row)).unwrap()
    }

    /// Of that actor the children by the rows: those of whom both say so.
    pub(crate) fn children_by_rows(&self, parent: &str) -> Vec<String> {
        let children = self.standing(parent).children.into_iter().map(|child| short(&child.id));
        let own = children.filter(|child| {
            let row = self.standing(child);
            !row.stopped && row.parent.as_ref().is_some_and(|of| *of == id(parent))
        });
        own.collect()
    }
}

pub(crate) fn id(actor: &str) -> ActorId {
    let (kind, key) = actor.split_once('/').unwrap();
    let kind = match kind {
        "crew" => CREW,
        "worker" => WORKER,
        "ledger" => LEDGER,
        "digest" => DIGEST,
        other => other,
    };
    ActorId { kind: KindName::parse(kind).unwrap(), key: Key::parse(key).unwrap() }
}

pub(crate) fn short(id: &ActorId) -> String {
    format!("{}/{}", id.kind.short(), id.key)
}

fn named(node: &TreeNode) -> String {
    format!("{}/{}", node.kind.rsplit('#').next().unwrap(), node.key)
}

fn below(node: &TreeNode, edges: &mut Vec<(String, String)>) {
    for child in &node.children {
        assert_ne!(child.state, "stopped", "{child:?}");
        edges.push((named(node), named(child)));
        below(child, edges);
    }
}
