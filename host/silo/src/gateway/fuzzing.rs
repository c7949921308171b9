//! The gateway without a socket, for the fuzzer: the same protocol, bounds and routes.

use std::sync::Arc;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};

use super::config::{Bounds, GatewayConfig};
use super::server::{protocol, router};
use super::service::Service;

/// Bytes on the way between client and gateway.
const PIPE_BYTES: usize = 64 << 10;

/// A gateway that nobody can connect to.
pub struct Unconnected {
    bounds: Bounds,
    router: Router,
}

impl Unconnected {
    /// A gateway that believes to listen on the configured address.
    #[must_use]
    pub fn new(config: GatewayConfig, service: Arc<dyn Service>) -> Self {
        let GatewayConfig { address, token, allowed_hosts, bounds } = config;
        Self { router: router(token, address, allowed_hosts, &bounds, service), bounds }
    }

    /// All that a client reads which sends these bytes and nothing more.
    pub async fn answers(&self, sent: &[u8]) -> Vec<u8> {
        let (client, gateway) = duplex(PIPE_BYTES);
        let service = TowerToHyperService::new(self.router.clone());
        // The client has said all from the start; what it asked is answered all the same.
        let connection = protocol(&self.bounds).half_close(true).serve_connection(TokioIo::new(gateway), service);
        let (mut answers, mut requests) = split(client);
        let ask = async {
            // A gateway that has closed wants to hear no more.
            let _ = requests.write_all(sent).await;
            let _ = requests.shutdown().await;
        };
        let mut received = Vec::new();
        let (_closed, (), _read) = tokio::join!(connection, ask, answers.read_to_end(&mut received));
        received
    }
}
