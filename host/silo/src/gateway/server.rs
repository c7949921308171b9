//! Accepts connections, within bounds, and ends them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::body::Room;
use super::config::{Bounds, GatewayConfig};
use super::edge::Edge;
use super::guard::Guard;
use super::head;
use super::openapi::Document;
use super::routes;
use super::service::Service;
use super::socket::Socket;

/// A gateway that listens; it answers once it serves.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    bounds: Bounds,
    router: Router,
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
    pub async fn bind(config: GatewayConfig, service: Arc<dyn Service>) -> Result<Self, BindError> {
        let GatewayConfig { address, token, allowed_hosts, bounds } = config;
        if token.is_empty() {
            return Err(BindError::NoToken(address));
        }
        let refused = |reason| BindError::Listen { address, reason };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let router = router(token, address, allowed_hosts, &bounds, service);
        Ok(Self { listener, address, bounds, router })
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` ends; then takes no more connections, lets running requests end
    /// within the grace, and closes.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, address: _, bounds, router } = self;
        let (stop, stopping) = watch::channel(());
        let mut clients = JoinSet::new();
        let mut turned_away = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let stream = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = clients.join_next() => {
                    note(ended);
                    continue;
                }
                Some(_) = turned_away.join_next() => continue,
                stream = accept(&listener) => stream,
            };
            if clients.len() < bounds.connections {
                clients.spawn(serve_client(stream, router.clone(), bounds.clone(), stopping.clone()));
            } else if turned_away.len() < TURNED_AWAY_MAX {
                turned_away.spawn(turn_away(stream));
            }
        }
        drop((listener, stop));
        let ended = timeout(bounds.grace, async {
            while let Some(ended) = clients.join_next().await {
                note(ended);
            }
        });
        if ended.await.is_err() {
            tracing::warn!(left = clients.len(), "requests did not end within the grace, and are cut off");
        }
        clients.shutdown().await;
    }
}

/// Everything behind the sockets.
pub(super) fn router(
    token: String,
    address: SocketAddr,
    allowed_hosts: Vec<String>,
    bounds: &Bounds,
    service: Arc<dyn Service>,
) -> Router {
    let (guard, room) = (Guard::new(token, address, allowed_hosts), Room::new(bounds.bodies_bytes));
    let openapi = Document::default();
    routes::router(Arc::new(Edge { service, guard, bounds: bounds.clone(), room, openapi }))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, request after request, until either side ends it.
async fn serve_client(stream: TcpStream, router: Router, bounds: Bounds, mut stopping: watch::Receiver<()>) {
    // An answer is written at once; waiting for more to send with it only delays it.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Socket::new(stream, bounds.write_pause));
    let mut connection = protocol(&bounds).serve_connection(io, TowerToHyperService::new(router));
    let mut draining = false;
    let ended = loop {
        let ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
            _ = stopping.changed(), if !draining => None,
        };
        if let Some(ended) = ended {
            break ended;
        }
        draining = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    if let Err(error) = ended {
        // Clients go away, stall and send garbage; none of it is news.
        tracing::debug!(%error, "a connection ended early");
    }
    let linger = if draining { LINGER_AT_DRAIN } else { LINGER };
    connection.into_parts().io.into_inner().close_gently(linger).await;
}

/// HTTP as it is spoken here, within hyper's own bounds.
pub(super) fn protocol(bounds: &Bounds) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time)
        .max_headers(bounds.head_fields * head::SLACK)
        .max_header_size(bounds.head_bytes * head::SLACK)
        .max_buf_size((bounds.head_bytes * head::SLACK).max(BUFFER_BYTES_MIN));
    protocol
}

/// Tells a client that there is no room for it, without reading what it wants.
async fn turn_away(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{NO_ROOM}",
        NO_ROOM.len()
    );
    if let Ok(Ok(())) = timeout(TURN_AWAY_TIME, stream.write_all(answer.as_bytes())).await {
        Socket::new(stream, TURN_AWAY_TIME).close_gently(TURN_AWAY_TIME).await;
    }
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task broke off");
    }
}

const NO_ROOM: &str = concat!(
    r#"{"error":{"code":"unavailable","message":"the silo has as many connections as it takes; nothing was done","#,
    r#""next":"close some, or try again","retry_after_ms":1000,"may_be_done":false}}"#
);
/// How many clients beyond the limit are told so at a time; more are closed at once.
const TURNED_AWAY_MAX: usize = 64;
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);
/// How long a client may go on sending after its last answer.
const LINGER: Duration = Duration::from_secs(3);
const LINGER_AT_DRAIN: Duration = Duration::from_millis(200);
/// The system is out of file descriptors or memory, most likely; trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// hyper takes no less than 8 KiB.
const BUFFER_BYTES_MIN: usize = 64 << 10;
