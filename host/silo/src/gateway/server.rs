//! Accepts connections, within bounds, and ends them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::config::GatewayConfig;
use super::service::Service;

/// A gateway that listens and does not serve yet.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a gateway cannot listen. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is no token: whoever reaches the port could deploy.
    #[error("the admin token is empty: without one, whoever reaches {0} could deploy")]
    NoToken(SocketAddr),
    /// The system refused the address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
}

impl Gateway {
    /// Listens.
    ///
    /// # Errors
    /// When there is no token, or the address cannot be had.
    pub async fn bind(config: GatewayConfig, _service: Arc<dyn Service>) -> Result<Self, BindError> {
        let refused = |reason| BindError::Listen { address: config.address, reason };
        if config.token.is_empty() {
            return Err(BindError::NoToken(config.address));
        }
        let listener = TcpListener::bind(config.address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends; then takes no more connections, lets running requests end
    /// within the grace, and closes.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        drop(self.listener);
    }
}
