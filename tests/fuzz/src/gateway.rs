//! Requests as they are on the wire, to a silo with a store in memory and one small kind: no
//! answer is a defect, and all of them are HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quark_engine::Cache;
use quark_silo::api::DeployRequest;
use quark_silo::gateway::fuzzing::Unconnected;
use quark_silo::gateway::{GatewayConfig, Service as _};
use quark_silo::store::memory::MemoryStore;
use quark_silo::{Silo, SiloConfig};

use crate::wire::{ADDRESS, RUNTIME, TOKEN, answers, check};

/// The kind `thing`, in the text of components.
const KIND: &str = include_str!("../corpus/component/kind.wat");
/// Live activations.
const CAPACITY: u32 = 64;
/// Inputs after which a silo has enough in its store, and a fresh one takes its place.
const INPUTS_MAX: usize = 20_000;

/// A silo, and how many inputs it has had.
struct Served {
    gateway: Unconnected,
    silo: Silo,
    inputs: usize,
}

static SERVED: Mutex<Option<Served>> = Mutex::new(None);

/// What a client sends over one connection.
pub fn gateway(data: &[u8]) {
    let mut served = SERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(old) = served.take_if(|served| served.inputs >= INPUTS_MAX) {
        RUNTIME.block_on(old.silo.stop());
    }
    let served = served.get_or_insert_with(|| RUNTIME.block_on(start()));
    served.inputs += 1;
    let received = RUNTIME.block_on(served.gateway.answers(data));
    answers(&received).iter().for_each(check);
}

async fn start() -> Served {
    let config = SiloConfig { capacity: Some(CAPACITY), ..SiloConfig::default() };
    let silo = Silo::start(config, Arc::new(MemoryStore::new()), Cache::none()).await.expect("a silo starts");
    let component = wat::parse_str(KIND).expect("it is a component");
    let manifest = Some("[actor]\nidle-timeout = \"1s\"\n[actor.methods.add]\nidempotent = true\n".to_owned());
    let deploy = DeployRequest { name: None, component, manifest, allow_breaking: false, force: false };
    silo.deploy(deploy).await.expect("the kind is deployed");
    let gateway = Unconnected::new(GatewayConfig::new(SocketAddr::from(ADDRESS), TOKEN), Arc::new(silo.clone()));
    Served { gateway, silo, inputs: 0 }
}
