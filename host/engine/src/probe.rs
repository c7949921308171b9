//! A trial of a component whose toolchain is not known: whether it can be called while it waits for
//! a call of its own.
//!
//! On throw-away instances, methods are called with plain arguments until one calls another actor. That
//! call waits, the method is called once more inside, and the trial is over. Nothing of it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::activation::Turn;
use quark_core::commit::{CommitError, Write};
use quark_core::envelope::{Chain, Head, Path};
use quark_core::error::CallError;
use quark_core::id::{ActorId, Key};
use quark_core::journal::{Entry, Snapshot};
use quark_core::reminders::Reminder;
use quark_core::state::State;
use quark_core::time::Time;
use quark_core::timers::{NewTimer, TimerRefusal};
use tokio::sync::Notify;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use crate::component::Component;
use crate::error::Trap;
use crate::instance::{Birth, Cause, Instance, Started, TurnInput};
use crate::outside::{CallFailure, Calling, JournalError, Level, OutgoingCall, Outside, Owned, Reached, Returned};
use crate::values::Payload;

/// The most methods that are called.
const TRIES_MAX: usize = 32;
/// What all of it may take.
const TRIAL: Duration = Duration::from_secs(3);
/// Bytes of state that a trial may stage.
const STATE_MAX: usize = 1 << 20;
/// How deep plain arguments go.
const DEPTH_MAX: u32 = 16;

/// Whether its guests can be called while they wait; why not.
pub(crate) fn nests(component: &Arc<Component>) -> Result<(), String> {
    // On a thread of its own, since a deploy may come from within a runtime.
    std::thread::scope(|scope| {
        let trial = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.map_err(|error| format!("no trial could be made: {error}"))?;
            let all = async { tokio::time::timeout(TRIAL, all_methods(component)).await };
            runtime.block_on(all).unwrap_or_else(|_| Err(format!("its trial did not end within {TRIAL:?}")))
        };
        scope.spawn(trial).join().unwrap_or_else(|_| Err("its trial failed".into()))
    })
}

async fn all_methods(component: &Arc<Component>) -> Result<(), String> {
    let methods = component
        .kinds
        .iter()
        .enumerate()
        .flat_map(|(kind_at, kind)| (0..kind.methods.len()).map(move |method| (kind_at, method)));
    for (kind_at, method) in methods.take(TRIES_MAX) {
        match one(component, kind_at, method).await {
            Some(Ok(())) => return Ok(()),
            Some(Err(trap)) => return Err(format!("it failed when it was called while it waited: {trap}")),
            None => {}
        }
    }
    Err(format!("none of its methods called another actor in a trial of {TRIES_MAX} at the most"))
}

/// What came of the call inside; none when the method made no call.
async fn one(component: &Arc<Component>, kind_at: usize, method: usize) -> Option<Result<(), Trap>> {
    let mut payload = arguments(component, kind_at, method)?;
    let key = Key::parse("trial").ok()?;
    let actor = ActorId { kind: component.kinds[kind_at].name.clone(), key };
    let trial = Arc::new(Trial {
        component: component.clone(),
        kind_at,
        method,
        calls: AtomicU32::new(0),
        outcome: Arc::default(),
        ended: Arc::default(),
    });
    let (generation, cause) = (1, Cause::Message);
    let state = State::new(std::collections::BTreeMap::new(), STATE_MAX);
    let outside: Arc<dyn Outside> = trial.clone();
    let birth = Birth { actor, generation, cause, component: component.clone(), kind_at, state, outside };
    let mut instance = Instance::new(birth).await.ok()?;
    let (mut head, turn) = (head(), Turn { generation, number: 1 });
    let input = TurnInput { head: &mut head, turn, method, handles: None, payload: &mut payload };
    // What comes of the outer turn does not matter: its call fails.
    instance.turn(input, Instant::now()).await.ok();
    drop(instance);
    trial.outcome.lock().take()
}

fn head() -> Head {
    Head { teller: None, deadline: Time::NEVER, path: Path::START, chain: Arc::new(Chain::default()), keyed: None }
}

/// The surroundings of an instance on trial.
struct Trial {
    component: Arc<Component>,
    kind_at: usize,
    method: usize,
    calls: AtomicU32,
    outcome: Arc<Mutex<Option<Result<(), Trap>>>>,
    ended: Arc<Notify>,
}

impl Outside for Trial {
    fn is_given_up(&self, _: Turn, _: &Path) -> bool {
        false
    }

    /// The first call waits until the turn inside has ended; all fail.
    fn call(&self, _: OutgoingCall) -> Calling {
        let failed = || Err(CallFailure::Call(CallError::Cancelled));
        if self.calls.fetch_add(1, Ordering::Relaxed) > 0 {
            return Calling::Done(failed());
        }
        let ended = self.ended.clone();
        Calling::Waits(Box::pin(async move {
            ended.notified().await;
            failed()
        }))
    }

    fn commit(&self, _: Turn, _: Reached) -> Owned<Result<u64, CommitError>> {
        Box::pin(async { Ok(1) })
    }

    fn waits(&self, _: Turn, _: u32) {}

    fn resumes(&self, _: Turn, _: u32) {}

    fn returning(&self) -> Owned<Result<Returned, CommitError>> {
        let payload = arguments(&self.component, self.kind_at, self.method);
        let Some(payload) = payload.filter(|_| self.outcome.lock().is_none()) else {
            return Box::pin(std::future::pending());
        };
        let turn = Turn { generation: 1, number: 2 };
        let started = Started { head: head(), turn, method: self.method, handles: None, payload };
        let (outcome, notify) = (self.outcome.clone(), self.ended.clone());
        let ended = move |ran: Result<(Payload, Option<Box<Write>>), Trap>| {
            *outcome.lock() = Some(ran.map(drop));
            notify.notify_one();
            Ok(())
        };
        Box::pin(async move { Ok(Returned { started, ended: Box::new(ended) }) })
    }

    fn journal(&self, _: u64, _: usize) -> Owned<Result<Vec<Entry>, JournalError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn journal_snapshot(&self) -> Owned<Result<Option<Snapshot>, JournalError>> {
        Box::pin(async { Ok(None) })
    }

    fn staged(&self, _: Turn) {}

    fn is_waited_for(&self) -> bool {
        false
    }

    fn reaches(&self, _: Turn) -> bool {
        true
    }

    fn start_timer(&self, _: Turn, _: NewTimer<'_>) -> Result<(), TimerRefusal> {
        Ok(())
    }

    fn stop_timer(&self, _: &str) -> bool {
        false
    }

    fn reminders(&self, _: Turn) -> Owned<Result<Vec<Reminder>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn children(&self) -> Vec<ActorId> {
        Vec::new()
    }

    fn unwatch(&self, _: &ActorId) {}

    fn check_tell(&self, _: &ActorId, _: &str, _: &str) -> Result<Vec<u8>, CallError> {
        Err(CallError::Cancelled)
    }

    fn etag(&self) -> Option<u64> {
        None
    }

    fn now(&self) -> Time {
        Time(0)
    }

    fn random(&self, len: usize) -> Vec<u8> {
        vec![0; len]
    }

    fn log(&self, _: Level, _: &str) {}
}

/// Plain arguments of that method; none when it takes what cannot be made up.
fn arguments(component: &Component, kind_at: usize, method: usize) -> Option<Payload> {
    let signature = &component.kinds[kind_at].methods[method].signature;
    let vals = signature.params.iter().map(|(_, ty)| plain(ty, DEPTH_MAX)).collect::<Option<_>>()?;
    Some(Payload { vals, blobs: Vec::new() })
}

/// A plain value of that type: zero, one letter, a list of one.
fn plain(ty: &Type, depth: u32) -> Option<Val> {
    let depth = depth.checked_sub(1)?;
    let some = |ty: Option<Type>| match ty {
        Some(ty) => plain(&ty, depth).map(|val| Some(Box::new(val))),
        None => Some(None),
    };
    Some(match ty {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char('a'),
        Type::String => Val::String("a".into()),
        Type::List(list) => Val::List(vec![plain(&list.ty(), depth)?]),
        Type::Record(record) => {
            let fields = record.fields().map(|field| Some((field.name.to_owned(), plain(&field.ty, depth)?)));
            Val::Record(fields.collect::<Option<_>>()?)
        }
        Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|ty| plain(&ty, depth)).collect::<Option<_>>()?),
        Type::Variant(variant) => {
            let case = variant.cases().next()?;
            Val::Variant(case.name.to_owned(), some(case.ty)?)
        }
        Type::Enum(names) => Val::Enum(names.names().next()?.to_owned()),
        Type::Option(_) => Val::Option(None),
        Type::Result(result) => Val::Result(Ok(some(result.ok())?)),
        Type::Flags(_) => Val::Flags(Vec::new()),
        Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::Map(_)
        | Type::FixedLengthList(_) => return None,
    })
}
