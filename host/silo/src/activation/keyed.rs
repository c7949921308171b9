//! Calls with an idempotency key: what was answered is answered again, and a repeat of what runs waits for it.
//!
//! `quark_core::answers` decides. The machine of the activation holds its answers; here a call is shown to them
//! before it begins and when it has ended, and what is answered becomes bytes and values again.

use std::collections::BTreeMap;
use std::sync::Arc;

use quark_core::activation::{Admitted, Point, Refusal, Turn};
use quark_core::answers::{ANSWER_BYTES_MAX, Answers, Begin, KeyRefusal, Unreadable};
use quark_core::commit::Write;
use quark_core::error::CallError;
use quark_core::idempotency::{IdempotencyKey, Keyed};
use quark_core::state::Value;
use quark_engine::values::{Payload, msgpack};

use super::{Activation, Machine};
use crate::clock::unix_ms;
use crate::message::{Message, MethodRef, Origin, Outcome, Output, Work};
use crate::silo::Inner;

/// The most repeats of one actor that wait for turns which run.
const PARKED_MAX: usize = 1024;
/// What further ones are told to wait, in milliseconds.
const PARKED_RETRY_MS: u64 = 100;

/// How a remembered answer begins: with the method's result, or with a failure that is its answer.
const RESULT: u8 = 0;
const FAILED: u8 = 1;

/// The answers of an activation, and repeats that wait for turns of it.
pub(super) struct Kept {
    answers: Answers,
    parked: Vec<Message>,
}

impl Kept {
    fn new(answers: Answers) -> Box<Self> {
        Box::new(Self { answers, parked: Vec::new() })
    }

    /// Those among an actor's loaded values; none where there are none.
    pub(super) fn take_from(
        values: &mut BTreeMap<Arc<str>, Value>,
        silo: &Inner,
    ) -> Result<Option<Box<Self>>, Unreadable> {
        Ok(Answers::take_from(values, unix_ms(), kept_ms(silo))?.map(Self::new))
    }
}

/// How long answers are kept, in milliseconds.
fn kept_ms(silo: &Inner) -> u64 {
    u64::try_from(silo.config.answers_kept.as_millis()).unwrap_or(u64::MAX)
}

impl Machine {
    /// What its answers add to a commit.
    pub(super) fn with_answers(&mut self, mut write: Write) -> Write {
        if let Some(kept) = &mut self.answers {
            write.changes.extend(kept.answers.take_changes(!write.is_empty(), unix_ms()));
        }
        write
    }

    /// That turn stages something, where turns overlap.
    pub(super) fn keyed_wrote(&mut self, turn: Turn) {
        self.answers.iter_mut().for_each(|kept| kept.answers.wrote(turn.number));
    }

    /// A turn has its answer, which is remembered if it has a key.
    pub(super) fn keyed_ended(&mut self, turn: Option<Turn>, method: &MethodRef, output: Output) -> Output {
        let Some(turn) = turn.filter(|turn| self.answers.as_ref().is_some_and(|kept| kept.answers.runs(turn.number)))
        else {
            return output;
        };
        let Output::Reply { to, outcome, progressed } = output else { return output };
        let (answer, outcome) = remembered(method, outcome);
        let kept = self.answers.as_mut();
        let key = kept.and_then(|kept| kept.answers.ended(turn.number, answer, unix_ms()));
        key.into_iter().for_each(|key| self.unpark(|keyed| keyed.key == key));
        Output::Reply { to, outcome, progressed }
    }

    /// A turn that runs is over, and did nothing.
    pub(super) fn not_begun(&mut self, turn: Turn) {
        self.turns.ended(turn, None);
        let key = self.answers.as_mut().and_then(|kept| kept.answers.dropped(turn.number));
        key.into_iter().for_each(|key| self.unpark(|keyed| keyed.key == key));
    }

    /// The instance is over.
    pub(super) fn keyed_trapped(&mut self) {
        if let Some(kept) = &mut self.answers {
            kept.answers.trapped();
            self.unpark(|_| true);
        }
    }

    /// Repeats that wait for such a call go back into the mailbox. The token is held, or turns run beside others,
    /// so this grants nothing.
    fn unpark(&mut self, which: impl Fn(&Keyed) -> bool) {
        let Some(kept) = &mut self.answers else { return };
        let of = |message: &mut Message| message.head.keyed.as_ref().is_none_or(|keyed| which(keyed));
        for message in kept.parked.extract_if(.., of).collect::<Vec<_>>() {
            match self.turns.admit(message) {
                Ok(admitted) => debug_assert_eq!(admitted, Admitted::Waits, "whoever unparks holds the token"),
                Err(refused) => {
                    let ms = if let Refusal::Overloaded(ms) = refused.why { ms } else { PARKED_RETRY_MS };
                    if let Work::Method { origin: Origin::Caller(to), .. } = refused.message.work {
                        drop(to.send(Err(CallError::Overloaded(ms))));
                    }
                }
            }
        }
    }
}

impl Activation {
    /// A message is about to begin as that turn. Gives it back if it is to run, as all do without a key; else it has
    /// its answer, or waits for it, and the turn is over.
    #[inline]
    pub(super) fn begin_keyed(&self, silo: &Arc<Inner>, turn: Turn, message: Message) -> Option<Message> {
        if message.head.keyed.is_none() { Some(message) } else { self.look_up(silo, turn, message) }
    }

    fn look_up(&self, silo: &Arc<Inner>, turn: Turn, mut message: Message) -> Option<Message> {
        loop {
            let mut machine = self.machine.lock();
            let Message { head, work: Work::Method { method, .. }, waits, .. } = &message else { return Some(message) };
            // Others may have ended the instance in which it was to begin: then it is looked at again.
            let Some(keyed) = head.keyed.as_deref().filter(|_| machine.turns.runs(turn)) else { return Some(message) };
            let alone = !method.served.component.overlap(method.served.at).interleaves();
            let kept = machine.answers.get_or_insert_with(|| Kept::new(Answers::new(kept_ms(silo))));
            let error = match kept.answers.begin(turn.number, keyed, alone, unix_ms()) {
                Begin::Run => return Some(message),
                Begin::Answer(_) | Begin::Wait if waits.is_some() => {
                    // No record of waits is looked at with an activation locked. What waits for a turn with its own
                    // key is not recorded: should that ever be a ring, its deadline ends it.
                    drop(machine);
                    if message.waits.take().is_some_and(|waits| !waits.begins()) {
                        self.not_begun(turn);
                        return None;
                    }
                    continue;
                }
                Begin::Answer(answer) => {
                    let point = machine.repeats(turn, message, &answer);
                    drop(machine);
                    silo.metrics.repeats.increment(1);
                    point.into_iter().for_each(|point| self.pass(silo, point));
                    return None;
                }
                Begin::Wait if kept.parked.len() < PARKED_MAX => {
                    kept.parked.push(message);
                    machine.turns.ended(turn, None);
                    return None;
                }
                Begin::Wait => CallError::Overloaded(PARKED_RETRY_MS),
                Begin::Refuse(KeyRefusal::Full(retry_ms)) => CallError::Overloaded(retry_ms),
                Begin::Refuse(KeyRefusal::Reused) => CallError::KeyReused(reused(&keyed.key, method)),
            };
            machine.turns.ended(turn, None);
            drop(machine);
            silo.answer_all(vec![message], &error);
            return None;
        }
    }
}

impl Machine {
    /// The turn of a repeat: it does nothing, and its answer leaves with those before it.
    fn repeats(&mut self, turn: Turn, message: Message, answer: &[u8]) -> Option<Point<Output>> {
        let point = if let Work::Method { method, origin: Origin::Caller(to), .. } = message.work {
            let output = Output::Reply { to, outcome: answered(&method, answer), progressed: false };
            if self.turns.is_waited_for() {
                // The answer itself may be among what others hold up.
                self.turns.hold(output);
                None
            } else {
                Some(self.turns.commit_point(Write::default(), output))
            }
        } else {
            None
        };
        self.turns.ended(turn, None);
        point
    }
}

fn reused(key: &IdempotencyKey, method: &MethodRef) -> String {
    format!(
        "the idempotency key `{key}` came before with another method or other arguments than this `{}` has: repeat \
         that very call, or give this one a key of its own",
        method.name()
    )
}

/// An answer as it is remembered, and as it is given: the same.
fn remembered(method: &MethodRef, outcome: Outcome) -> (Value, Outcome) {
    let error = match outcome.as_ref().map_err(Clone::clone).and_then(|payload| encode(method, payload)) {
        Ok(answer) if answer.len() <= ANSWER_BYTES_MAX => return (answer.into(), outcome),
        Ok(answer) => CallError::Failed(format!(
            "its answer of {} bytes is over the {ANSWER_BYTES_MAX} that are remembered for an idempotency key; what it \
             did stands",
            answer.len()
        )),
        Err(error) => error,
    };
    let text = if let CallError::Failed(text) = error { text } else { error.to_string() };
    let mut answer = vec![FAILED];
    answer.extend(text.bytes().take(ANSWER_BYTES_MAX - 1));
    (answer.into(), Err(CallError::Failed(text)))
}

fn encode(method: &MethodRef, payload: &Payload) -> Result<Vec<u8>, CallError> {
    let mut answer = vec![RESULT];
    if let Some(ty) = &method.method().signature.result {
        let val = payload.vals.first().ok_or_else(|| CallError::Failed("it gave no answer".into()))?;
        msgpack::encode(ty, val, &payload.blobs, &mut answer)
            .map_err(|error| CallError::Failed(format!("its answer cannot be remembered: {error}")))?;
    }
    Ok(answer)
}

/// An answer that was remembered.
fn answered(method: &MethodRef, answer: &[u8]) -> Outcome {
    match (answer.split_first(), &method.method().signature.result) {
        (Some((&FAILED, text)), _) => Err(CallError::Failed(String::from_utf8_lossy(text).into_owned())),
        (Some((&RESULT, [])), None) => Ok(Payload::default()),
        (Some((&RESULT, bytes)), Some(ty)) => msgpack::decode(ty, bytes).map_err(|error| {
            CallError::Incompatible(format!("the call was done; its answer was of an earlier version: {error}"))
        }),
        _ => Err(CallError::Incompatible("the call was done; its answer was of another version".into())),
    }
}
