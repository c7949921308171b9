//! The hub: from a target's name to its mailbox, and from its answer back to the caller.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quark_core::activation::{Admitted, MailboxBounds, RETURNS_MAX, Refusal, Turn};
use quark_core::envelope::{Chain, Frame, Head, PATH_DEPTH_MAX, Path, Tell, TellId};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::idempotency::{IdempotencyKey, Keyed};
use quark_core::time::Time;
use quark_engine::values::{Payload, json, msgpack};
use quark_engine::{Answer, CallFailure, Calling, OutgoingWork, Signature};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::activation::{Activation, Entered};
use crate::dead_letters::Reason;
use crate::kinds::{Served, nearest};
use crate::message::{Message, MethodRef, Origin, Outcome, Work};
use crate::outbox;
use crate::silo::Inner;
use crate::waits::{Ring, in_time};

/// How often a message looks for an activation that is not over already.
const LOOKUPS_MAX: u32 = 64;
/// Bytes that a message counts for beside its arguments.
const MESSAGE_OVERHEAD: usize = 64;

/// A call on its way out, before it has a mailbox.
pub(crate) struct Outgoing {
    pub(crate) path: Path,
    pub(crate) chain: Arc<Chain>,
    /// The caller's own; the call never has a later one.
    pub(crate) deadline: Time,
    /// What the caller asked for.
    pub(crate) timeout: Option<Duration>,
    /// Counts only for a method that is marked so.
    pub(crate) key: Option<IdempotencyKey>,
}

/// Where a call goes: found once, and good until the actor leaves memory or something is deployed.
#[derive(Clone)]
pub(crate) struct Route {
    to: ActorId,
    /// The method as its caller imports it.
    imported: Arc<Signature>,
    method: MethodRef,
    activation: Weak<Activation>,
    /// Of [`crate::kinds::Kinds::version`].
    kinds: u64,
}

/// How a call stands that was just made.
pub(crate) enum Asking {
    /// It is over.
    Done(Outcome),
    /// Its answer will come, at the latest at the deadline.
    Waits(oneshot::Receiver<Outcome>, tokio::time::Instant, Option<Ring>),
}

/// A task that nobody needs once this is dropped.
pub(crate) struct LetGo<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for LetGo<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Asking {
    /// The answer, up to the deadline.
    pub(crate) async fn outcome(self) -> Outcome {
        match self {
            Self::Done(outcome) => outcome,
            Self::Waits(answer, deadline, ring) => in_time(answer, deadline, ring).await,
        }
    }
}

impl Inner {
    /// The method of a served kind, or what to say instead.
    pub(crate) fn method(served: &Arc<Served>, name: &str) -> Result<MethodRef, CallError> {
        match served.kind().method(name) {
            Some((at, _)) => Ok(MethodRef { served: served.clone(), at }),
            None => {
                let kind = served.kind();
                let near = nearest(name, kind.methods.iter().map(|method| &*method.signature.name));
                let hint =
                    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
                Err(CallError::Incompatible(format!("`{}` has no method `{name}`{hint}", kind.name.short())))
            }
        }
    }

    fn served(&self, to: &ActorId) -> Result<Arc<Served>, CallError> {
        let none = || CallError::Incompatible(format!("no kind `{}` is deployed", to.kind));
        self.kinds.get(&to.kind).ok_or_else(none)
    }

    /// A call that an actor makes. `last` is where its calls went before.
    pub(crate) fn call_from(
        self: &Arc<Self>,
        last: Option<&Mutex<Option<Box<Route>>>>,
        to: ActorId,
        call: Outgoing,
        work: OutgoingWork,
        now: Instant,
    ) -> Calling {
        let failed = |error| Calling::Done(Err(CallFailure::Call(error)));
        if call.deadline <= self.clock.at(now) {
            return failed(CallError::DeadlineExceeded);
        }
        if let Err(error) = self.refuse_deadlock(&call.path, &to, &work) {
            return failed(error);
        }
        outbox::deliver_first(self);
        match work {
            OutgoingWork::Spawn(lifetime) => self.spawn_child(to, lifetime, call),
            OutgoingWork::Stop => self.stop_child(to, call),
            OutgoingWork::Watch => self.watch(to, &call),
            OutgoingWork::Typed(imported, payload) => {
                let (method, activation) = match self.route(last, to, &imported) {
                    Ok(found) => found,
                    Err(error) => return failed(error),
                };
                match self.ask(&activation, call, &method, payload, now) {
                    Asking::Done(outcome) => Calling::Done(typed(outcome)),
                    waits @ Asking::Waits(..) => Calling::Waits(Box::pin(async move { typed(waits.outcome().await) })),
                }
            }
            OutgoingWork::Json(method, text) => {
                let (method, payload) = match self.by_name(&to, &method, &text) {
                    Ok(found) => found,
                    Err(error) => return failed(error),
                };
                let asking = self.ask(&self.activation(&to), call, &method, payload, now);
                Calling::Waits(Box::pin(async move { in_json(&method, asking.outcome().await) }))
            }
        }
    }

    /// The method with which a call by type is served, and where.
    fn route(
        self: &Arc<Self>,
        last: Option<&Mutex<Option<Box<Route>>>>,
        to: ActorId,
        imported: &Arc<Signature>,
    ) -> Result<(MethodRef, Arc<Activation>), CallError> {
        let kinds = self.kinds.version();
        let last = last.map(Mutex::lock);
        if let Some(Some(route)) = last.as_deref()
            && route.kinds == kinds
            && Arc::ptr_eq(&route.imported, imported)
            && route.to == to
            && let Some(activation) = route.activation.upgrade().filter(|activation| !activation.is_over())
        {
            return Ok((route.method.clone(), activation));
        }
        let served = self.served(&to)?;
        let method = Self::method(&served, &imported.name)?;
        if method.method().signature.hash != imported.hash {
            return Err(CallError::Incompatible(format!(
                "the caller's types of `{}.{}` differ from the deployed ones",
                served.kind().name.short(),
                imported.name
            )));
        }
        let activation = self.activation(&to);
        if let Some(mut last) = last {
            let (method, activation) = (method.clone(), Arc::downgrade(&activation));
            *last = Some(Box::new(Route { to, imported: imported.clone(), method, activation, kinds }));
        }
        Ok((method, activation))
    }

    /// The method of a call by name, and its arguments by its types.
    fn by_name(&self, to: &ActorId, method: &str, text: &str) -> Result<(MethodRef, Payload), CallError> {
        let served = self.served(to)?;
        let method = Self::method(&served, method)?;
        let signature = &method.method().signature;
        let payload = json::from_json(&signature.params, text);
        let payload = payload.map_err(|error| CallError::Incompatible(error.to_string()))?;
        if signature.is_tell() {
            return Err(CallError::Incompatible(format!("`{}` has no result: tell it instead", signature.name)));
        }
        Ok((method, payload))
    }

    /// A path that comes back to a turn which waits on it would wait for itself, unless that turn lets
    /// it in meanwhile: up to [`RETURNS_MAX`] turns of one actor.
    fn refuse_deadlock(&self, path: &Path, to: &ActorId, work: &OutgoingWork) -> Result<(), CallError> {
        let method = work.method();
        // What ends or begins an actor's life never begins inside of its turns.
        let nests = match work {
            OutgoingWork::Typed(..) | OutgoingWork::Json(..) => true,
            OutgoingWork::Spawn(_) | OutgoingWork::Stop => false,
            OutgoingWork::Watch => return Ok(()),
        };
        let waits = path.find(to).is_some_and(|frame| {
            let Frame { generation, turn: number, .. } = *frame;
            let reads = || {
                let kind = self.kinds.get(&to.kind);
                kind.is_some_and(|kind| kind.kind().method(method).is_some_and(|(_, method)| method.read_only))
            };
            let Some(activation) = self.catalog.get(to) else { return false };
            let reads = reads();
            let machine = activation.machine.lock();
            // A hook has no number, and nothing enters while it runs.
            let hook =
                || machine.turns.running().is_some_and(|running| number == 0 && running.generation == generation);
            let turn = Turn { generation, number };
            machine.turns.blocks(turn, reads) || hook() || (!nests && machine.turns.runs(turn))
        });
        let most = match (waits, path.count(to), path.depth()) {
            (true, ..) => String::new(),
            (_, RETURNS_MAX.., _) => format!(", of which {RETURNS_MAX} turns of one actor are the most"),
            (_, _, PATH_DEPTH_MAX..) => format!(", of which {PATH_DEPTH_MAX} turns are the most"),
            (false, ..) => return Ok(()),
        };
        self.metrics.deadlocks.increment(1);
        Err(CallError::Deadlock(path.describe(to, method) + &most))
    }

    fn deadline(&self, call: &Outgoing, method: &MethodRef, at: Time) -> Time {
        let timeout = call.timeout.or_else(|| method.method().timeout).unwrap_or(self.config.default_timeout);
        call.deadline.min(at.after(timeout))
    }

    /// A client's call. It has a task of its own, since a turn on the client's own stack could neither be
    /// left at the deadline nor see that the client is gone.
    pub(crate) async fn ask_from_outside(
        self: &Arc<Self>,
        to: Arc<Activation>,
        call: Outgoing,
        method: MethodRef,
        payload: Payload,
    ) -> Outcome {
        let now = Instant::now();
        let deadline = self.clock.instant(self.deadline(&call, &method, self.clock.at(now)));
        let silo = self.clone();
        let asking = async move { silo.ask(&to, call, &method, payload, now).outcome().await };
        let mut asking = LetGo(self.spawn_joined(asking));
        match tokio::time::timeout_at(deadline, &mut asking.0).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(CallError::UnknownOutcome("the silo let go of the call".into())),
            Err(_) => Err(CallError::DeadlineExceeded),
        }
    }

    /// Makes a call: its turn runs on this very stack if the actor is idle and awake; otherwise it
    /// goes into the mailbox.
    pub(crate) fn ask(
        self: &Arc<Self>,
        to: &Arc<Activation>,
        call: Outgoing,
        method: &MethodRef,
        mut payload: Payload,
        now: Instant,
    ) -> Asking {
        let policy = &method.served.kind().policy;
        let size = payload.bytes();
        if size as u64 > policy.limits.arguments {
            return Asking::Done(Err(CallError::TooLarge(policy.limits.arguments)));
        }
        let at = self.clock.at(now);
        let deadline = self.deadline(&call, method, at);
        if deadline <= at {
            return Asking::Done(Err(CallError::DeadlineExceeded));
        }
        let mut head = Head { teller: None, deadline, path: call.path, chain: call.chain, keyed: None };
        if let Some(key) = call.key.filter(|_| method.method().idempotent) {
            match keyed(key, method, &payload) {
                Ok(keyed) => head.keyed = Some(keyed),
                Err(error) => return Asking::Done(Err(error)),
            }
        } else {
            match to.enter(self, method, &mut head, &mut payload, now) {
                Entered::Busy => {}
                Entered::Done(outcome) => return Asking::Done(outcome.map(|()| payload)),
                Entered::Waits(answer) => return Asking::Waits(answer, self.clock.instant(deadline), None),
            }
        }
        let (waits, ring) = match self.waits_for(&head.path, &to.id, method.name(), deadline) {
            Ok(known) => known,
            Err(deadlock) => return Asking::Done(Err(deadlock)),
        };
        let (reply, mut answer) = oneshot::channel();
        let work = Work::Method { method: method.clone(), payload, origin: Origin::Caller(reply) };
        let from_turn = head.path.depth() > 0;
        let message = Message::new(head, work, size + MESSAGE_OVERHEAD, waits);
        match self.place(to.clone(), message, at) {
            Err((_, error)) => return Asking::Done(Err(error)),
            // It may have been put down since that was looked at.
            Ok(None) if from_turn => self.turn_back(to),
            Ok(None) => {}
            Ok(Some(activation)) => activation.drive(),
        }
        // It may have run on this very stack.
        match answer.try_recv() {
            Ok(outcome) => Asking::Done(outcome),
            Err(_) => Asking::Waits(answer, self.clock.instant(deadline), ring),
        }
    }

    /// Puts a message into its target's mailbox, which wakes the target when it must.
    pub(crate) fn deliver(self: &Arc<Self>, to: &ActorId, message: Message, now: Time) -> Result<(), CallError> {
        if let Some(activation) = self.place(self.activation(to), message, now).map_err(|(_, error)| error)? {
            activation.drive();
        }
        Ok(())
    }

    /// A message that had its turn, which did not begin.
    pub(crate) fn deliver_again(self: &Arc<Self>, to: &ActorId, message: Message) {
        match self.place(self.activation(to), message, self.clock.now()) {
            Ok(None) => {}
            Ok(Some(activation)) => self.spawn(activation.run(None)),
            Err((message, error)) => self.answer_all(vec![message], &error),
        }
    }

    /// The same, but whoever must run is run by a task.
    pub(crate) fn deliver_later(self: &Arc<Self>, to: &ActorId, message: Message) -> Result<(), CallError> {
        let from_turn = message.head.path.depth() > 0;
        let placed = self.place(self.activation(to), message, self.clock.now());
        match placed.map_err(|(_, error)| error)? {
            Some(activation) => self.spawn(activation.run(None)),
            None if from_turn => self.catalog.get(to).iter().for_each(|activation| self.turn_back(activation)),
            None => {}
        }
        Ok(())
    }

    /// Puts a message into a mailbox; gives the activation that the caller must drive.
    #[expect(clippy::result_large_err, reason = "a message that found no place is answered at once")]
    fn place(
        self: &Arc<Self>,
        mut activation: Arc<Activation>,
        mut message: Message,
        now: Time,
    ) -> Result<Option<Arc<Activation>>, (Message, CallError)> {
        for _ in 0..LOOKUPS_MAX {
            match activation.admit(message, now) {
                Ok(Admitted::Token) => return Ok(Some(activation)),
                Ok(Admitted::Waits) => return Ok(None),
                Err(refused) => {
                    message = refused.message;
                    if let Refusal::Overloaded(ms) = refused.why {
                        self.metrics.overloaded.increment(1);
                        // A tell comes again.
                        if message.is_call() {
                            self.bury(Reason::Overflow, "", &activation.id, &message);
                        }
                        return Err((message, CallError::Overloaded(ms)));
                    }
                    // It is over and about to leave the catalog.
                    self.catalog.remove(&activation);
                    activation = self.activation(&activation.id);
                }
            }
        }
        Err((message, CallError::Overloaded(1)))
    }

    /// The actor's activation; a new one, which has loaded nothing, if it has none.
    pub(crate) fn activation(self: &Arc<Self>, id: &ActorId) -> Arc<Activation> {
        self.catalog.find_or_start(id, || {
            let bounds = self.kinds.get(&id.kind).map_or(MailboxBounds { capacity: 16, bytes: 1 << 16 }, |served| {
                let mailbox = &served.kind().policy.mailbox;
                MailboxBounds {
                    capacity: mailbox.capacity,
                    bytes: usize::try_from(mailbox.bytes).unwrap_or(usize::MAX),
                }
            });
            Activation::new(id.clone(), self, bounds)
        })
    }

    /// Checks a tell by name, and encodes its arguments.
    pub(crate) fn encode_tell(&self, to: &ActorId, method: &str, text: &str) -> Result<Vec<u8>, CallError> {
        let served = self.served(to)?;
        let method = Self::method(&served, method)?;
        let signature = &method.method().signature;
        if !signature.is_tell() {
            return Err(CallError::Incompatible(format!("`{}` has a result: call it instead", signature.name)));
        }
        let incompatible = |error: quark_engine::values::ArgumentError| CallError::Incompatible(error.to_string());
        let payload = json::from_json(&signature.params, text).map_err(incompatible)?;
        msgpack::encode_message(signature, &payload).map_err(incompatible)
    }

    /// Puts a tell of the outbox into its receiver's mailbox.
    pub(crate) fn deliver_tell(self: &Arc<Self>, id: &TellId, tell: &Tell) -> Result<(), CallError> {
        let served = self.served(&tell.to)?;
        let method = Self::method(&served, &tell.method)?;
        let payload = msgpack::decode_message(&method.method().signature, &tell.arguments)
            .map_err(|error| CallError::Incompatible(error.to_string()))?;
        let bytes = payload.bytes() + MESSAGE_OVERHEAD;
        let head = Head {
            teller: id.from.clone(),
            deadline: Time::NEVER,
            path: Path::START,
            chain: Arc::new(tell.chain.clone()),
            keyed: None,
        };
        let work = Work::Method { method, payload, origin: Origin::Outbox(id.clone()) };
        self.deliver_later(&tell.to, Message::new(head, work, bytes, None))
    }
}

#[cold]
fn keyed(key: IdempotencyKey, method: &MethodRef, payload: &Payload) -> Result<Box<Keyed>, CallError> {
    let digest = quark_engine::digest(&method.method().signature, payload);
    let digest = digest.map_err(|error| CallError::Incompatible(error.to_string()))?;
    Ok(Box::new(Keyed { key, digest }))
}

fn typed(outcome: Outcome) -> Result<Answer, CallFailure> {
    outcome.map(|payload| Answer { payload, json: String::new() }).map_err(CallFailure::Call)
}

fn in_json(method: &MethodRef, outcome: Outcome) -> Result<Answer, CallFailure> {
    let payload = outcome.map_err(CallFailure::Call)?;
    let json = match (&method.method().signature.result, payload.vals.first()) {
        (Some(ty), Some(val)) => json::to_json(ty, val, &payload.blobs),
        _ => "null".into(),
    };
    Ok(Answer { payload: Payload::default(), json })
}
