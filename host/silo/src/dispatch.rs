//! The hub: from a target's name to its mailbox, and from its answer back to the caller.

use std::sync::Arc;
use std::time::Duration;

use quark_core::activation::{Admitted, MailboxBounds, Refusal};
use quark_core::envelope::{Chain, Head, PATH_DEPTH_MAX, Path, Tell, TellId};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::time::Time;
use quark_engine::values::{Payload, json, msgpack};
use quark_engine::{Answer, OutgoingWork, Signature};
use tokio::sync::oneshot;

use crate::activation::Activation;
use crate::kinds::{Served, nearest};
use crate::message::{Message, MethodRef, Origin, Outcome, Work};
use crate::silo::Inner;

/// How often a message looks for an activation that is not over already.
const LOOKUPS_MAX: u32 = 64;
/// Bytes that a message counts for beside its arguments.
const MESSAGE_OVERHEAD: usize = 64;

/// A call on its way out, before it has a mailbox.
pub(crate) struct Outgoing {
    pub(crate) from: Option<ActorId>,
    pub(crate) to: ActorId,
    pub(crate) method: Arc<str>,
    pub(crate) path: Path,
    pub(crate) chain: Arc<Chain>,
    /// The caller's own; the call never has a later one.
    pub(crate) deadline: Time,
    /// What the caller asked for.
    pub(crate) timeout: Option<Duration>,
}

/// Arguments in the form that the caller has them.
pub(crate) enum Arguments {
    Typed(Arc<Signature>, Payload),
    Json(String),
}

impl Arguments {
    pub(crate) fn of(work: OutgoingWork) -> Self {
        match work {
            OutgoingWork::Typed(signature, payload) => Self::Typed(signature, payload),
            OutgoingWork::Json(text) => Self::Json(text),
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

    /// A call that an actor makes.
    pub(crate) async fn call_from(self: Arc<Self>, call: Outgoing, arguments: Arguments) -> Result<Answer, CallError> {
        if call.deadline <= self.clock.now() {
            return Err(CallError::DeadlineExceeded);
        }
        self.refuse_deadlock(&call)?;
        let served = self.served(&call.to)?;
        let method = Self::method(&served, &call.method)?;
        let signature = &method.method().signature;
        let (payload, as_json) = match arguments {
            Arguments::Typed(imported, payload) if imported.hash == signature.hash => (payload, false),
            Arguments::Typed(..) => {
                return Err(CallError::Incompatible(format!(
                    "the caller's types of `{}.{}` differ from the deployed ones",
                    served.kind().name.short(),
                    call.method
                )));
            }
            Arguments::Json(text) => {
                let payload = json::from_json(&signature.params, &text);
                (payload.map_err(|error| CallError::Incompatible(error.to_string()))?, true)
            }
        };
        if as_json && signature.is_tell() {
            return Err(CallError::Incompatible(format!("`{}` has no result: tell it instead", call.method)));
        }
        let outcome = self.ask(call, method.clone(), payload).await?;
        if as_json {
            let signature = &method.method().signature;
            let text = match (&signature.result, outcome.vals.first()) {
                (Some(ty), Some(val)) => json::to_json(ty, val, &outcome.blobs),
                _ => "null".into(),
            };
            return Ok(Answer { payload: Payload::default(), json: text });
        }
        Ok(Answer { payload: outcome, json: String::new() })
    }

    /// A path that comes back to a turn which waits on it would wait for itself.
    fn refuse_deadlock(&self, call: &Outgoing) -> Result<(), CallError> {
        let waits = call.path.find(&call.to).is_some_and(|frame| {
            self.catalog
                .get(&call.to)
                .and_then(|activation| activation.machine.lock().running())
                .is_some_and(|turn| turn.generation == frame.generation && turn.number == frame.turn)
        });
        if waits || call.path.depth() > PATH_DEPTH_MAX {
            return Err(CallError::Deadlock(call.path.describe(&call.to, &call.method)));
        }
        Ok(())
    }

    /// Puts a call into its target's mailbox and waits for the answer, up to the deadline.
    pub(crate) async fn ask(self: &Arc<Self>, call: Outgoing, method: MethodRef, payload: Payload) -> Outcome {
        let policy = &method.served.kind().policy;
        let size = payload.bytes();
        if size as u64 > policy.limits.arguments {
            return Err(CallError::TooLarge(policy.limits.arguments));
        }
        let now = self.clock.now();
        let timeout = call.timeout.or_else(|| method.method().timeout).unwrap_or(self.config.default_timeout);
        let deadline = call.deadline.min(now.after(timeout));
        if deadline <= now {
            return Err(CallError::DeadlineExceeded);
        }
        let (reply, mut answer) = oneshot::channel();
        let head = Head { to: call.to, from: call.from, deadline, path: call.path, chain: call.chain };
        let work = Work::Method { method, payload, origin: Origin::Caller(reply) };
        self.metrics.calls.increment(1);
        self.deliver(Message { head, work, bytes: size + MESSAGE_OVERHEAD }, now)?;
        // Most calls have run on this very stack by now.
        if let Ok(outcome) = answer.try_recv() {
            return outcome;
        }
        match tokio::time::timeout_at(self.clock.instant(deadline), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(CallError::UnknownOutcome("the silo let go of the call".into())),
            Err(_) => Err(CallError::DeadlineExceeded),
        }
    }

    /// Puts a message into its target's mailbox, which wakes the target when it must.
    pub(crate) fn deliver(self: &Arc<Self>, message: Message, now: Time) -> Result<(), CallError> {
        let activation = self.place(message, now)?;
        if let Some(activation) = activation {
            activation.drive();
        }
        Ok(())
    }

    /// The same, but whoever must run is run by a task.
    pub(crate) fn deliver_later(self: &Arc<Self>, message: Message) -> Result<(), CallError> {
        if let Some(activation) = self.place(message, self.clock.now())? {
            self.spawn(activation.run(None));
        }
        Ok(())
    }

    fn place(self: &Arc<Self>, mut message: Message, now: Time) -> Result<Option<Arc<Activation>>, CallError> {
        for _ in 0..LOOKUPS_MAX {
            let activation = self.activation(&message.head.to);
            match activation.admit(message, now) {
                Ok(Admitted::Token) => return Ok(Some(activation)),
                Ok(Admitted::Waits) => return Ok(None),
                Err(refused) => {
                    message = refused.message;
                    if let Refusal::Overloaded(ms) = refused.why {
                        self.metrics.overloaded.increment(1);
                        return Err(CallError::Overloaded(ms));
                    }
                    // It is over and about to leave the catalog.
                    self.catalog.remove(&activation);
                }
            }
        }
        Err(CallError::Overloaded(1))
    }

    fn activation(self: &Arc<Self>, id: &ActorId) -> Arc<Activation> {
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
            to: tell.to.clone(),
            from: id.from.clone(),
            deadline: Time::NEVER,
            path: Path::START,
            chain: Arc::new(tell.chain.clone()),
        };
        let work = Work::Method { method, payload, origin: Origin::Outbox(id.clone()) };
        self.deliver_later(Message { head, work, bytes })
    }
}
