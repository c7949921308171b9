//! What a gateway is started with.

use std::net::SocketAddr;
use std::time::Duration;

/// Where a gateway listens, for whom, and its bounds.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where it listens; with port 0 the system chooses one.
    pub address: SocketAddr,
    /// What deploys and administers needs this token; beyond loopback, everything does.
    pub token: String,
    /// Names that `Host` may have beside the address's own: `quark.example` (any port) or
    /// `quark.example:8443`.
    pub allowed_hosts: Vec<String>,
    /// What it takes at most.
    pub bounds: Bounds,
}

impl GatewayConfig {
    /// A gateway with the default bounds and no further hosts.
    #[must_use]
    pub fn new(address: SocketAddr, token: impl Into<String>) -> Self {
        Self { address, token: token.into(), allowed_hosts: Vec::new(), bounds: Bounds::default() }
    }
}

/// What a gateway takes at most, so that no client can exhaust the silo.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at a time; one more is answered 503 and closed.
    pub connections: usize,
    /// Bytes of a request's target: its path and query.
    pub target_bytes: usize,
    /// Bytes of a request's target and headers together. A manifest travels in a header.
    pub head_bytes: usize,
    /// Headers of a request.
    pub head_fields: usize,
    /// How long a request's head may take, and how long a connection may be idle before it.
    pub head_time: Duration,
    /// How long each next part of a body may take.
    pub body_pause: Duration,
    /// How long a body of arguments or state may take.
    pub body_time: Duration,
    /// Bytes of a call's arguments. The kind's own limit, which is checked later, is on the values.
    pub arguments_bytes: usize,
    /// Bytes of one value of an actor's state.
    pub state_bytes: usize,
    /// Bytes of a component.
    pub component_bytes: usize,
    /// How long a component's upload may take.
    pub component_time: Duration,
    /// Bytes of all bodies that are in memory at a time.
    pub bodies_bytes: usize,
    /// How long a response's next part may wait for a client that does not read.
    pub write_pause: Duration,
    /// How long running requests have to end once the gateway is told to stop.
    pub grace: Duration,
}

impl Bounds {
    pub(super) fn arguments(&self) -> BodyBounds {
        self.body("the body of arguments", self.arguments_bytes, self.body_time)
    }

    pub(super) fn state(&self) -> BodyBounds {
        self.body("the state value", self.state_bytes, self.body_time)
    }

    pub(super) fn component(&self) -> BodyBounds {
        self.body("the component", self.component_bytes, self.component_time)
    }

    fn body(&self, what: &'static str, bytes: usize, time: Duration) -> BodyBounds {
        BodyBounds { what, bytes, time, pause: self.body_pause }
    }
}

/// What one body may take.
#[derive(Clone, Copy)]
pub(super) struct BodyBounds {
    /// What the body is, for messages.
    pub(super) what: &'static str,
    pub(super) bytes: usize,
    pub(super) time: Duration,
    pub(super) pause: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            target_bytes: 16 << 10,
            head_bytes: 160 << 10,
            head_fields: 128,
            head_time: Duration::from_secs(30),
            body_pause: Duration::from_secs(15),
            body_time: Duration::from_mins(1),
            arguments_bytes: 64 << 20,
            state_bytes: 64 << 20,
            component_bytes: 128 << 20,
            component_time: Duration::from_mins(10),
            bodies_bytes: 512 << 20,
            write_pause: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}
