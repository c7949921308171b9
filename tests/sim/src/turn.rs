//! One turn of a guest: its program's steps, its commit points, its end.

use std::time::Duration;

use quark_core::activation::{Point, Turn, Turns, Why};
use quark_core::commit::{CommitError, Write};
use quark_core::envelope::{Head, Tell, TellId};
use quark_core::error::CallError;
use quark_core::state::{State, Value};
use quark_core::time::Time;

use crate::Mutation;
use crate::context::{Context, Due};
use crate::landing::{Out, Underway, told};
use crate::silo::{Activation, Silo, Waiter};
use crate::store::Write as StoreWrite;
use crate::trace::{Ending, Event, Source};
use crate::workload::{BALANCE, DEPOSIT, Msg, Op, What, chain, number, tell};

/// How long after its caller's deadline a turn may go on.
const GRACE: Duration = Duration::from_millis(100);
/// How long without a caller.
const TURN_MAX: Duration = Duration::from_secs(5);

/// What the running turn waits for.
#[derive(Debug)]
enum Wait {
    /// A `Proceed` is on its way.
    Step,
    /// The gate, with the call that then leaves.
    Gate(Option<(usize, usize, Time)>),
    /// An answer.
    Answer,
}

/// A turn between two steps.
#[derive(Debug)]
pub(crate) struct Running {
    turn: Turn,
    /// None for the deactivate hook.
    message: Option<Msg>,
    program: Vec<Op>,
    at: usize,
    wait: Wait,
    lost: Option<CommitError>,
    /// The stamp of all writes since the last commit point.
    stamp: Option<u64>,
    /// The stamp at the last commit point.
    before: u64,
    tells: Vec<Tell>,
    handled: Option<TellId>,
    /// Something of this turn is durable, or it has called others.
    progressed: bool,
    began: Time,
}

impl Activation {
    pub(crate) fn new(cx: &Context, actor: usize, mark: u64) -> Self {
        let mut bounds = cx.work.bounds;
        if cx.mistake(Mutation::WidenMailbox) {
            bounds.bytes *= 10;
        }
        let turns = Turns::new(cx.work.id(actor).clone(), bounds);
        Self { turns, state: None, awake: false, run: None, underway: [].into(), mark }
    }

    pub(crate) fn drop_instance(&mut self) {
        self.state = None;
        self.awake = false;
    }
}

impl Silo {
    /// Begins a message's turn; false when it is over at once.
    pub(crate) fn begin(&mut self, cx: &mut Context, actor: usize, turn: Turn, mut message: Msg) -> bool {
        let (generation, id) = (turn.generation, message.id);
        cx.log(Event::Began { actor, generation, turn: turn.number, message: Some(id) });
        let Some(activation) = &mut self.catalog[actor] else { return false };
        let mut handled = None;
        if let What::Tell { id: tell, epoch } = &message.what {
            if !self.relay.begin(cx, tell, *epoch) {
                activation.turns.end(None);
                cx.log(Event::Ended { actor, how: "skipped" });
                cx.log(Event::Out { message: id, how: "skipped" });
                return false;
            }
            handled = Some(tell.clone());
            message.begun = true;
        }
        if !activation.awake && message.what != What::Control {
            if cx.faults && cx.rng.chance(cx.work.refuses) {
                let mut refused = activation.turns.refused();
                activation.drop_instance();
                cx.log(Event::Ended { actor, how: "refused to wake" });
                refused.insert(0, message);
                self.refuse(cx, &refused, &CallError::Failed("refused to wake".into()));
                return false;
            }
            activation.awake = true;
        }
        if message.head.deadline != Time::NEVER {
            cx.at(message.head.deadline.after(GRACE), Due::Abandoned { actor, turn });
        } else {
            cx.after(TURN_MAX, Due::Abandoned { actor, turn });
        }
        let program = cx.work.program(&message);
        self.run(cx, actor, turn, Some(message), program, handled);
        true
    }

    /// The deactivate hook: a last turn without a message, which may write and tell, or trap.
    pub(crate) fn leave(&mut self, cx: &mut Context, actor: usize, turn: Turn, _why: Why) {
        cx.log(Event::Began { actor, generation: turn.generation, turn: turn.number, message: None });
        let awake = self.catalog[actor].as_ref().is_some_and(|activation| activation.awake);
        let to = cx.rng.index(cx.work.actors());
        let program = match cx.rng.range(0, 9) {
            _ if !awake => vec![],
            0..3 => vec![Op::Write { pad: 0 }],
            3 => vec![Op::Work(500), Op::Give { to, amount: 1 }],
            4 => vec![Op::Write { pad: 0 }, Op::Trap { percent: 50 }],
            _ => vec![],
        };
        self.run(cx, actor, turn, None, program, None);
    }

    fn run(
        &mut self,
        cx: &mut Context,
        actor: usize,
        turn: Turn,
        message: Option<Msg>,
        program: Vec<Op>,
        handled: Option<TellId>,
    ) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        let before = activation.state.as_ref().map_or(0, |state| get(state, "stamp", 0));
        activation.run = Some(Running {
            turn,
            message,
            program,
            at: 0,
            wait: Wait::Step,
            lost: None,
            stamp: None,
            before,
            tells: Vec::new(),
            handled,
            progressed: false,
            began: cx.now,
        });
        let wait = cx.some(Duration::from_micros(100));
        cx.after(wait, Due::Proceed { actor, turn });
    }

    /// What the suspended turn waited for is there, or will never be.
    pub(crate) fn wake(&mut self, cx: &mut Context, actor: usize, turn: Turn, outcome: Result<(), CommitError>) {
        let run = self.catalog[actor].as_mut().and_then(|activation| activation.run.as_mut());
        let Some(run) = run.filter(|run| run.turn == turn) else { return };
        run.lost = outcome.err();
        match std::mem::replace(&mut run.wait, Wait::Step) {
            Wait::Gate(Some(call)) if run.lost.is_none() => self.call(cx, actor, turn, call),
            Wait::Gate(_) | Wait::Answer | Wait::Step => cx.after(Duration::ZERO, Due::Proceed { actor, turn }),
        }
    }

    /// All is durable: the call leaves.
    fn call(&mut self, cx: &mut Context, actor: usize, turn: Turn, (to, method, deadline): (usize, usize, Time)) {
        let request = cx.id();
        let Some(activation) = &mut self.catalog[actor] else { return };
        let (Some(run), Some(state)) = (&mut activation.run, &activation.state) else { return };
        run.wait = Wait::Answer;
        run.progressed = true;
        let Some(message) = &run.message else { return };
        let from = cx.work.id(actor).clone();
        let path = message.head.path.with(from, format!("m{}", message.method).into(), turn.generation, turn.number);
        let head = Head { teller: None, deadline, path, chain: chain() };
        let source = Source::Actor(actor);
        let seen = Some((actor, get(state, "stamp", 0)));
        let depth = message.depth + 1;
        let size = 20 + usize::try_from(request % 100).expect("small");
        let parent = Some(message.id);
        let sent =
            Msg { id: request, to, head, source, method, amount: 0, depth, seen, size, begun: false, what: What::Call };
        self.waiters.insert(request, Waiter::Turn(actor, turn));
        cx.log(Event::Asked { request, by: source, to, deadline: deadline.max(cx.now), parent });
        cx.log(Event::Waits { actor, request });
        cx.at(deadline, Due::Deadline(request));
        cx.after(cx.work.hop, Due::Arrive(sent));
    }

    /// Nobody waits for this turn any more and it does not end: its instance is dropped.
    pub(crate) fn abandon(&mut self, cx: &mut Context, actor: usize, turn: Turn) {
        let run = self.catalog[actor].as_ref().and_then(|activation| activation.run.as_ref());
        if run.is_some_and(|run| run.turn == turn) {
            self.trap(cx, actor, "abandoned", &CallError::DeadlineExceeded);
        }
    }

    /// Goes on with a turn's program until it suspends or ends.
    pub(crate) fn proceed(&mut self, cx: &mut Context, actor: usize, turn: Turn) {
        let run = self.catalog[actor].as_mut().and_then(|activation| activation.run.as_mut());
        let Some(run) = run.filter(|run| run.turn == turn && matches!(run.wait, Wait::Step)) else { return };
        if let Some(error) = run.lost {
            let error = told(error, run.progressed && !cx.mistake(Mutation::DenyAll));
            return self.trap(cx, actor, "commit failed", &error);
        }
        loop {
            let Some(activation) = &mut self.catalog[actor] else { return };
            let (Some(run), Some(state)) = (&mut activation.run, &mut activation.state) else { return };
            let Some(op) = run.program.get(run.at).cloned() else { return self.finish(cx, actor, true) };
            run.at += 1;
            match op {
                Op::Work(micros) => return cx.after(Duration::from_micros(micros), Due::Proceed { actor, turn }),
                Op::Trap { percent } if cx.rng.chance(percent) => {
                    return self.trap(cx, actor, "trapped", &CallError::Failed("trapped".into()));
                }
                Op::Trap { .. } => {}
                Op::Fail => return self.finish(cx, actor, false),
                Op::Write { pad } => {
                    if !write(cx, run, state, pad, 0, 0) {
                        return self.finish(cx, actor, false);
                    }
                }
                Op::Deposit => {
                    let amount = run.message.as_ref().map_or(0, |message| message.amount);
                    if !write(cx, run, state, 0, amount, 0) {
                        return self.trap(cx, actor, "no room", &CallError::Failed("no room".into()));
                    }
                }
                Op::Give { to, amount } => {
                    if get(state, "balance", BALANCE) >= amount && write(cx, run, state, 0, 0, amount) {
                        stage_tell(cx, run, state, to, DEPOSIT, amount);
                    }
                }
                Op::Tell { to, method } => stage_tell(cx, run, state, to, method, 0),
                Op::Call { to, method, timeout } => {
                    let own = run.message.as_ref().map_or(Time::NEVER, |message| message.head.deadline);
                    // A call's deadline never passes its caller's own.
                    let deadline = cx.now.after(timeout).min(own);
                    run.wait = Wait::Gate(Some((to, method, deadline)));
                    return self.suspend(cx, actor, turn);
                }
                Op::Commit => {
                    run.wait = Wait::Gate(None);
                    return self.suspend(cx, actor, turn);
                }
            }
        }
    }

    fn suspend(&mut self, cx: &mut Context, actor: usize, turn: Turn) {
        match self.point(cx, actor, Out::Resume(turn)) {
            Err((out, error)) => self.fail(cx, actor, out, error),
            Ok(()) if cx.mistake(Mutation::CallEarly) => self.wake(cx, actor, turn, Ok(())),
            Ok(()) => {}
        }
    }

    /// A commit point; an error when the turn's instance is to be dropped.
    fn point(&mut self, cx: &mut Context, actor: usize, out: Out) -> Result<(), (Out, CommitError)> {
        let Some(activation) = &mut self.catalog[actor] else { return Ok(()) };
        let (Some(run), Some(state)) = (&mut activation.run, &mut activation.state) else { return Ok(()) };
        let late = cx.mistake(Mutation::HandleLate) && matches!(out, Out::Resume(_));
        let handled = if late { None } else { run.handled.take() };
        let changes = state.take_changes();
        let tells = std::mem::take(&mut run.tells);
        let write = Write { changes, tells, handled: handled.clone() };
        let bytes = write.bytes();
        run.stamp = None;
        run.before = get(state, "stamp", 0);
        let message = run.message.as_ref().map(|message| message.id);
        match activation.turns.commit_point(write, out) {
            Point::Open(out) => self.release(cx, actor, out),
            Point::Held => {}
            Point::Submit(commit) => {
                run.progressed = true;
                let tells = commit.write.tells.iter().enumerate();
                let tells = tells.map(|(place, tell)| (commit.tell_id(place), tell.clone())).collect();
                activation.underway.push_back(Underway { etag: commit.etag, handled, tells });
                let (generation, etag, commits) = (commit.generation, commit.etag, activation.turns.commits());
                cx.log(Event::Submitted { actor, generation, etag, bytes, commits, message });
                self.store.hand_over(cx, StoreWrite::Commit(commit));
            }
            Point::Failed(out, error) => {
                run.handled = handled;
                return Err((out, error));
            }
        }
        Ok(())
    }

    /// The turn returns, `ok` or `err`.
    fn finish(&mut self, cx: &mut Context, actor: usize, ok: bool) {
        let Some(activation) = &self.catalog[actor] else { return };
        let (Some(run), Some(state)) = (&activation.run, &activation.state) else { return };
        let seen = Some((actor, get(state, "stamp", 0)));
        let (took, progressed) = (cx.now.since(run.began), run.progressed);
        let leaving = run.message.is_none();
        let out = match &run.message {
            Some(Msg { id, what: What::Call | What::Control, .. }) => {
                Out::Reply { message: *id, ending: Ending::Answer(ok), seen, progressed }
            }
            other => Out::Done(other.as_ref().map(|message| message.id)),
        };
        if let Out::Reply { message, ending, seen, .. } = &out
            && cx.mistake(Mutation::AnswerEarly)
        {
            self.send_answer(cx, *message, ending.clone(), *seen);
        }
        if let Err((_, error)) = self.point(cx, actor, out) {
            let error = told(error, progressed);
            return self.trap(cx, actor, "commit failed", &error);
        }
        let Some(activation) = &mut self.catalog[actor] else { return };
        activation.run = None;
        if leaving {
            activation.drop_instance();
            activation.turns.left();
        } else {
            activation.turns.end(Some(took));
        }
        cx.log(Event::Ended { actor, how: if leaving { "left" } else { "returned" } });
        if leaving || !activation.turns.rest() {
            return self.drive(cx, actor);
        }
        self.idle(cx, actor);
    }

    /// The turn's instance is dead, and what was staged since the last commit point with it.
    fn trap(&mut self, cx: &mut Context, actor: usize, how: &'static str, error: &CallError) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        let (Some(run), Some(state)) = (activation.run.take(), &mut activation.state) else { return };
        state.undo();
        assert_eq!(get(state, "stamp", 0), run.before, "undo restores the last commit point");
        activation.drop_instance();
        activation.turns.trapped();
        cx.log(Event::Ended { actor, how });
        if let Some(message) = &run.message {
            cx.log(Event::Out { message: message.id, how });
            match &message.what {
                // Handed to the store already: the commit's outcome is the tell's.
                What::Tell { .. } if run.handled.is_none() => {}
                What::Tell { .. } | What::Call | What::Control => self.tell_caller(cx, message, error),
            }
        }
        self.drive(cx, actor);
    }
}

/// Stages one write of an actor: both halves, the stamp, the balance; false when there is no room.
fn write(cx: &mut Context, run: &mut Running, state: &mut State, pad: usize, gets: u64, gives: u64) -> bool {
    let next = get(state, "left", 0) + 1;
    // Never the same length twice running: an unchanged value is not written.
    let length = pad + usize::try_from(next % 64).expect("small");
    if pad > 0 && state.set("pad", vec![0; length].into()).is_err() {
        return false;
    }
    let stamp = *run.stamp.get_or_insert_with(|| cx.id());
    let balance = get(state, "balance", BALANCE) + gets - gives;
    let values = [("left", next), ("right", next), ("stamp", stamp), ("balance", balance)];
    values.into_iter().all(|(name, value)| state.set(name, Value::from(value.to_le_bytes())).is_ok())
}

fn stage_tell(cx: &Context, run: &mut Running, state: &State, to: usize, method: usize, amount: u64) {
    let depth = run.message.as_ref().map_or(0, |message| message.depth) + 1;
    run.tells.push(tell(cx.work.id(to), method, amount, depth, get(state, "stamp", 0)));
}

fn get(state: &State, name: &str, default: u64) -> u64 {
    state.get(name).map_or(default, |value| number(value))
}
