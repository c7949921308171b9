//! The same counter in kameo, in ractor and by hand on tokio.

use anyhow::{Context as _, Result, anyhow};
use kameo::actor::Spawn as _;
use kameo::error::Infallible;
use ractor::RpcReplyPort;
use tokio::sync::{mpsc, oneshot};

/// A kameo actor.
pub(crate) struct Counter(u64);

pub(crate) struct Inc(u64);

impl kameo::Actor for Counter {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: kameo::actor::ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self(0))
    }
}

impl kameo::message::Message<Inc> for Counter {
    type Reply = u64;

    async fn handle(&mut self, Inc(by): Inc, _: &mut kameo::message::Context<Self, u64>) -> u64 {
        self.0 += by;
        self.0
    }
}

/// A kameo actor that asks another one.
pub(crate) struct Relay(kameo::actor::ActorRef<Counter>);

impl kameo::Actor for Relay {
    type Args = kameo::actor::ActorRef<Counter>;
    type Error = Infallible;

    async fn on_start(to: Self::Args, _: kameo::actor::ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self(to))
    }
}

impl kameo::message::Message<Inc> for Relay {
    type Reply = u64;

    async fn handle(&mut self, inc: Inc, _: &mut kameo::message::Context<Self, u64>) -> u64 {
        self.0.ask(inc).await.unwrap_or_default()
    }
}

pub(crate) type Kameo = kameo::actor::ActorRef<Counter>;

/// Starts a kameo counter, with the mailbox that costs it least. Within a runtime.
pub(crate) fn kameo() -> Kameo {
    Counter::spawn_with_mailbox((), kameo::mailbox::unbounded())
}

pub(crate) fn kameo_relay() -> kameo::actor::ActorRef<Relay> {
    Relay::spawn_with_mailbox(kameo(), kameo::mailbox::unbounded())
}

pub(crate) async fn kameo_asks(to: Kameo, n: u64) -> Result<()> {
    for _ in 0..n {
        std::hint::black_box(kameo_ask(&to).await?);
    }
    Ok(())
}

pub(crate) async fn kameo_ask(to: &Kameo) -> Result<u64> {
    to.ask(Inc(1)).await.map_err(|error| anyhow!("{error:?}"))
}

pub(crate) async fn kameo_relay_asks(to: kameo::actor::ActorRef<Relay>, n: u64) -> Result<()> {
    for _ in 0..n {
        std::hint::black_box(to.ask(Inc(1)).await.map_err(|error| anyhow!("{error:?}"))?);
    }
    Ok(())
}

struct RactorCounter;

pub(crate) enum RactorInc {
    Inc(u64, RpcReplyPort<u64>),
}

impl ractor::Actor for RactorCounter {
    type Msg = RactorInc;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ractor::ActorRef<RactorInc>, (): ()) -> Result<u64, ractor::ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<RactorInc>,
        RactorInc::Inc(by, reply): RactorInc,
        count: &mut u64,
    ) -> Result<(), ractor::ActorProcessingErr> {
        *count += by;
        Ok(reply.send(*count)?)
    }
}

pub(crate) type Ractor = ractor::ActorRef<RactorInc>;

pub(crate) async fn ractor() -> Result<Ractor> {
    let (to, _) = ractor::Actor::spawn(None, RactorCounter, ()).await?;
    Ok(to)
}

pub(crate) async fn ractor_asks(to: Ractor, n: u64) -> Result<()> {
    for _ in 0..n {
        let answer = ractor::call!(to, RactorInc::Inc, 1);
        std::hint::black_box(answer.map_err(|error| anyhow!("{error}"))?);
    }
    Ok(())
}

pub(crate) type Tokio = mpsc::Sender<(u64, oneshot::Sender<u64>)>;

/// A counter as a task with a channel. Within a runtime.
pub(crate) fn tokio() -> Tokio {
    let (to, mut mailbox) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(64);
    tokio::spawn(async move {
        let mut count = 0;
        while let Some((by, reply)) = mailbox.recv().await {
            count += by;
            _ = reply.send(count);
        }
    });
    to
}

pub(crate) async fn tokio_asks(to: Tokio, n: u64) -> Result<()> {
    for _ in 0..n {
        let (reply, answer) = oneshot::channel();
        to.send((1, reply)).await.ok().context("the task is gone")?;
        std::hint::black_box(answer.await?);
    }
    Ok(())
}
