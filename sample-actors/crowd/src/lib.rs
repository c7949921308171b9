//! Turns of one actor that meet one another, in their own memory and through others.

use std::cell::Cell;
#[cfg(feature = "async")]
use std::pin::pin;
#[cfg(feature = "async")]
use std::task::Poll;
use std::time::Duration;

use quark_sdk::prelude::*;

quark_sdk::world!("crowd-actor");

/// The header that visits set.
const VISITOR: &str = "visitor";
/// What a call has that no time was named for.
const CALL_MS: u64 = 30_000;
/// How long it waits for no call.
const PAUSE_MS: u64 = 700;
/// Deadlines of one turn are told apart by no more.
const DEADLINE_MS_APART_MAX: u64 = 2000;

#[state]
struct Crowd {
    count: State<u64>,
    outcome: State<String>,
    #[serde(skip)]
    arrived: Cell<u32>,
    #[serde(skip)]
    let_go: Cell<bool>,
}

#[actor]
impl Crowd {
    fn add(&self, by: u64) -> Result<u64, CallError> {
        Ok(self.plus(by))
    }

    fn count(&self) -> Result<u64, CallError> {
        Ok(self.count.get())
    }

    fn arrived(&self) -> Result<u32, CallError> {
        Ok(self.arrived.get())
    }

    fn trap(&self, message: String) -> Result<(), CallError> {
        panic!("{message}")
    }

    async fn meet(&self, n: u32) -> Result<u32, CallError> {
        self.arrive();
        while self.arrived.get() < n {
            pause().await;
        }
        Ok(self.arrived.get())
    }

    async fn meet_then_add(&self, n: u32, by: u64) -> Result<u64, CallError> {
        self.arrive();
        while self.arrived.get() < n {
            pause().await;
        }
        Ok(self.plus(by))
    }

    async fn hold(&self, by: u64) -> Result<u64, CallError> {
        let count = self.plus(by);
        self.arrive();
        while !self.let_go.get() {
            pause().await;
        }
        Ok(count)
    }

    fn let_go(&self) -> Result<(), CallError> {
        self.let_go.set(true);
        Ok(())
    }

    async fn park(&self) -> Result<(), CallError> {
        self.arrive();
        forever().await
    }

    async fn add_around(&self, by: u64, through: String) -> Result<u64, CallError> {
        self.plus(by);
        crowds::Crowd::new(&through).count().await?;
        Ok(self.plus(by))
    }

    async fn note(&self, through: String) {
        self.plus(1);
        // What the other says is of no matter: the note was taken.
        let _ = crowds::Crowd::new(&through).count().await;
    }

    async fn tell_notes(&self, to: String, n: u32, through: String) -> Result<(), CallError> {
        let to = crowds::Crowd::new(&to);
        for _ in 0..n {
            to.note(&through).await;
        }
        Ok(())
    }

    async fn until(&self, other: String, at_least: u64) -> Result<u64, CallError> {
        let other = crowds::Crowd::new(&other);
        for asked in 1.. {
            if other.count().await? >= at_least {
                return Ok(asked);
            }
        }
        unreachable!("there is always a next number")
    }

    async fn wait_for(&self, through: String, at_least: u64) -> Result<u64, CallError> {
        self.arrive();
        crowds::Crowd::new(&through).until(&context::key(), at_least).await?;
        Ok(self.count.get())
    }

    async fn hold_on(&self, other: String) -> Result<u64, CallError> {
        self.arrive();
        crowds::Crowd::new(&other).hold(0).await
    }

    async fn after(&self, gate: String, other: String, beside: String, both: bool) -> Result<u64, CallError> {
        crowds::Crowd::new(&gate).hold(0).await?;
        let (other, next) = (crowds::Crowd::new(&other), crowds::Crowd::new(&beside));
        if beside.is_empty() {
            return other.count().await;
        }
        if beside == context::key() {
            return first_of(other.count(), pause_for(PAUSE_MS)).await;
        }
        let (asks, holds) = (other.count(), next.hold(0));
        if both { both_of(asks, holds).await } else { first_of(asks, holds).await }
    }

    async fn sleep_on(&self, key: String, ms: u64) -> Result<(), CallError> {
        self.arrive();
        let outcome = match rogues::Rogue::new(&key).sleep(ms).await {
            Ok(()) => "it woke".into(),
            Err(error) => error.to_string(),
        };
        self.outcome.set(outcome);
        Ok(())
    }

    fn outcome(&self) -> Result<String, CallError> {
        Ok(self.outcome.get())
    }

    async fn wake_tenants(&self, first: u32, n: u32, beside: String) -> Result<u32, CallError> {
        let home = tenants::Tenant::new(&beside).look().await?.instance;
        let mut shared = 0;
        for key in first..first + n {
            let theirs = tenants::Tenant::new(&key.to_string()).leave().await?;
            shared += u32::from(theirs.instance == home);
        }
        Ok(shared)
    }

    fn view(&self) -> Result<View, CallError> {
        Ok(seen())
    }

    async fn visit(&self, n: u32, through: String, value: String, timeout: u64) -> Result<View, CallError> {
        let mut own = seen();
        let begun = own.clone();
        if !value.is_empty() {
            context::set_header(VISITOR, &value);
            own.visitor = Some(value);
        }
        if timeout > 0 {
            context::set_timeout(Duration::from_millis(timeout));
        }
        let me = Some(named(&context::me()));
        let other = crowds::Crowd::new(&through);
        self.arrive();
        loop {
            let theirs = other.view().await?;
            let now = seen();
            let end = context::now() + if timeout > 0 { timeout } else { CALL_MS };
            let deadline = Some(own.deadline.map_or(end, |deadline| deadline.min(end)));
            let expected = View { caller: me.clone(), deadline, ..own.clone() };
            let theirs = of_other(theirs);
            if !alike(&now, &own) || !alike(&theirs, &expected) {
                return Err(CallError::Other(format!("{own:?} became {now:?}, and the other saw {theirs:?}")));
            }
            if self.arrived.get() >= n {
                return Ok(begun);
            }
        }
    }

    async fn send(&self, to: String, n: u32, through: String, value: String) -> Result<View, CallError> {
        crowds::Crowd::new(&to).visit(n, &through, &value, 0).await.map(of_other)
    }
}

impl Crowd {
    fn plus(&self, by: u64) -> u64 {
        self.count.update(|count| *count += by);
        self.count.get()
    }

    fn arrive(&self) {
        self.arrived.set(self.arrived.get() + 1);
        info!("{} arrived", self.arrived.get());
    }
}

fn named(actor: &ActorId) -> String {
    format!("{}/{}", actor.kind, actor.key)
}

/// What another one answered, as one's own.
fn of_other(view: crowds::View) -> View {
    let crowds::View { caller, request_id, visitor, deadline } = view;
    View { caller, request_id, visitor, deadline }
}

fn seen() -> View {
    View {
        caller: context::caller().as_ref().map(named),
        request_id: context::request_id(),
        visitor: context::header(VISITOR),
        deadline: context::deadline(),
    }
}

/// The same turn's. Deadlines are told by a clock that others set.
fn alike(one: &View, other: &View) -> bool {
    let near = match (one.deadline, other.deadline) {
        (Some(one), Some(other)) => one.abs_diff(other) <= DEADLINE_MS_APART_MAX,
        (one, other) => one == other,
    };
    near && (&one.caller, &one.request_id, &one.visitor) == (&other.caller, &other.request_id, &other.visitor)
}

/// Lets other turns go on.
#[cfg(feature = "async")]
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(feature = "async")]
async fn forever() -> ! {
    std::future::pending().await
}

#[cfg(feature = "async")]
async fn pause_for(ms: u64) -> Result<u64, CallError> {
    let end = context::now() + ms;
    while context::now() < end {
        pause().await;
    }
    Ok(ms)
}

type Counted = Result<u64, CallError>;

#[cfg(feature = "async")]
async fn first_of(one: impl Future<Output = Counted>, other: impl Future<Output = Counted>) -> Counted {
    let (mut one, mut other) = (pin!(one), pin!(other));
    std::future::poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Pending => other.as_mut().poll(context),
        ready => ready,
    })
    .await
}

#[cfg(feature = "async")]
async fn both_of(one: impl Future<Output = Counted>, other: impl Future<Output = Counted>) -> Counted {
    let mut other = pin!(other);
    let begun = std::future::poll_fn(|context| Poll::Ready(other.as_mut().poll(context))).await;
    let one = one.await;
    one.and(if let Poll::Ready(counted) = begun { counted } else { other.await })
}

/// A plain turn ends before the next begins.
#[cfg(not(feature = "async"))]
fn pause() {
    std::hint::black_box(());
}

#[cfg(not(feature = "async"))]
fn pause_for(ms: u64) -> Counted {
    Ok(ms)
}

#[cfg(not(feature = "async"))]
fn first_of(one: Counted, _: Counted) -> Counted {
    one
}

#[cfg(not(feature = "async"))]
fn both_of(one: Counted, other: Counted) -> Counted {
    one.and(other)
}

#[cfg(not(feature = "async"))]
fn forever() -> ! {
    loop {
        pause();
    }
}
