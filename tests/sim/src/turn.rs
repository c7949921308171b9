//! One turn of a guest: its program's steps, its commit points, its end.

use std::time::Duration;

use quark_core::activation::{Overlap, Point, Turn, Turns, Why};
use quark_core::commit::{CommitError, Write};
use quark_core::envelope::{Head, Tell, TellId};
use quark_core::error::CallError;
use quark_core::state::{State, Value};
use quark_core::time::Time;

use crate::Mutation;
use crate::context::{Context, Due};
use crate::landing::{Out, Underway, told};
use crate::relay::Failure;
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
    Gate(Option<Leaving>),
    /// The answer of that call.
    Answer(u32),
}

/// A call as its turn made it.
#[derive(Debug)]
struct Leaving {
    to: usize,
    method: usize,
    deadline: Time,
    /// The caller's state at the time.
    stamp: u64,
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
    /// Goes with its first commit point.
    handled: Option<TellId>,
    /// Something of this turn is durable, or it has called others.
    progressed: bool,
    /// How many calls it made.
    calls: u32,
    /// What it waits for has come, while a turn inside of it runs.
    woken: Option<Result<(), CommitError>>,
    began: Time,
}

impl Running {
    fn message(&self) -> Option<u64> {
        self.message.as_ref().map(|message| message.id)
    }
}

/// What an actor's turns staged together since its last commit point.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// The stamp of all these writes.
    stamp: Option<u64>,
    /// The stamp at the last commit point.
    before: u64,
    tells: Vec<Tell>,
    handled: Option<TellId>,
    /// Whose turns.
    by: Vec<u64>,
}

impl Activation {
    pub(crate) fn new(cx: &Context, actor: usize, mark: u64) -> Self {
        let mut bounds = cx.work.bounds;
        if cx.mistake(Mutation::WidenMailbox) {
            bounds.bytes *= 10;
        }
        let mut overlap = cx.work.overlap(actor);
        if cx.mistake(Mutation::LetStrangersIn) && overlap.lets_return() {
            overlap = Overlap::Full;
        }
        let turns = Turns::new(cx.work.id(actor).clone(), bounds, overlap);
        let staged = Staged::default();
        Self { turns, state: None, awake: false, runs: Vec::new(), staged, underway: [].into(), mark }
    }

    fn run(&mut self, turn: Turn) -> Option<&mut Running> {
        self.runs.iter_mut().find(|run| run.turn == turn)
    }

    pub(crate) fn drop_instance(&mut self) {
        self.state = None;
        self.awake = false;
    }
}

impl Silo {
    /// Begins a message's turn, which may be over at once.
    pub(crate) fn begin(&mut self, cx: &mut Context, actor: usize, turn: Turn, mut message: Msg) {
        let (generation, id) = (turn.generation, message.id);
        if let Some(activation) = self.catalog[actor].as_ref().filter(|it| !it.runs.is_empty()) {
            let overlap = cx.work.overlap(actor);
            let to = message.head.path.find(cx.work.id(actor));
            if to.is_some_and(|to| activation.runs.iter().any(|run| run.turn.number == to.turn)) {
                cx.log(Event::Returned { actor, nested: overlap == Overlap::Nested });
            }
        }
        cx.log(Event::Began { actor, generation, turn: turn.number, message: Some(id) });
        let Some(activation) = &mut self.catalog[actor] else { return };
        let mut handled = None;
        if let What::Tell { id: tell, epoch } = &message.what {
            if !self.relay.begin(cx, tell, *epoch) {
                activation.turns.ended(turn, None);
                cx.log(Event::Ended { actor, message: Some(id), how: "skipped" });
                cx.log(Event::Out { message: id, how: "skipped" });
                return;
            }
            handled = Some(tell.clone());
            message.begun = true;
        }
        if !activation.awake && message.what != What::Control && self.cools(cx, actor) {
            let Some(activation) = &mut self.catalog[actor] else { return };
            let mut refused = activation.turns.refused();
            activation.drop_instance();
            cx.log(Event::Ended { actor, message: Some(id), how: "cools down" });
            refused.insert(0, message);
            return self.turn_away(cx, &refused);
        }
        let Some(activation) = &mut self.catalog[actor] else { return };
        if !activation.awake && message.what != What::Control {
            if cx.faults && cx.rng.chance(cx.work.refuses) {
                let mut refused = activation.turns.refused();
                activation.drop_instance();
                cx.log(Event::Ended { actor, message: Some(id), how: "refused to wake" });
                refused.insert(0, message);
                self.refuse(cx, &refused, &CallError::Failed("refused to wake".into()));
                return self.failed(cx, actor);
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
        if activation.runs.is_empty() {
            let before = activation.state.as_ref().map_or(0, |state| get(state, "stamp", 0));
            activation.staged = Staged { before, ..Staged::default() };
        }
        activation.runs.push(Running {
            turn,
            message,
            program,
            at: 0,
            wait: Wait::Step,
            lost: None,
            handled,
            progressed: false,
            calls: 0,
            woken: None,
            began: cx.now,
        });
        let wait = cx.some(Duration::from_micros(100));
        cx.after(wait, Due::Proceed { actor, turn });
    }

    /// What the suspended turn waited for is there, or will never be.
    pub(crate) fn wake(&mut self, cx: &mut Context, actor: usize, turn: Turn, outcome: Result<(), CommitError>) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        let innermost = activation.runs.last().is_some_and(|run| run.turn == turn);
        let below = cx.work.overlap(actor) == Overlap::Nested && !innermost && !cx.mistake(Mutation::ResumeBelow);
        let Some(run) = activation.run(turn) else { return };
        if below {
            // It goes on when the turns inside of it have ended.
            run.woken = Some(outcome);
            return;
        }
        run.lost = outcome.err();
        match std::mem::replace(&mut run.wait, Wait::Step) {
            Wait::Gate(Some(call)) if run.lost.is_none() => self.call(cx, actor, turn, call),
            Wait::Answer(call) => {
                activation.turns.resume(turn, call);
                cx.after(Duration::ZERO, Due::Proceed { actor, turn });
            }
            Wait::Gate(_) | Wait::Step => cx.after(Duration::ZERO, Due::Proceed { actor, turn }),
        }
    }

    /// A commit failed: of turns that nest, the innermost one need not wait any longer.
    pub(crate) fn give_up(&mut self, cx: &mut Context, actor: usize, error: CommitError) {
        let Some(activation) = &self.catalog[actor] else { return };
        let waits = activation.runs.last().filter(|run| matches!(run.wait, Wait::Answer(_)));
        if cx.work.overlap(actor) == Overlap::Nested
            && let Some(turn) = waits.map(|run| run.turn)
        {
            self.wake(cx, actor, turn, Err(error));
        }
    }

    /// All is durable: the call leaves.
    fn call(&mut self, cx: &mut Context, actor: usize, turn: Turn, call: Leaving) {
        let Leaving { to, method, deadline, stamp } = call;
        let request = cx.id();
        let Some(activation) = &mut self.catalog[actor] else { return };
        let broken = activation.turns.broken();
        let Some(run) = activation.run(turn) else { return };
        run.calls += 1;
        let number = run.calls;
        run.wait = Wait::Answer(number);
        run.progressed = true;
        let Some(message) = &run.message else { return };
        let from = cx.work.id(actor).clone();
        let mine = format!("m{}", message.method).into();
        let path = message.head.path.with(from, mine, (turn.generation, turn.number), number);
        let head = Head { teller: None, deadline, path, chain: chain(), keyed: None };
        let source = Source::Actor(actor);
        let seen = Some((actor, stamp));
        let (reads, amount, begun, what) = (cx.work.reads(to, method), 0, false, What::Call);
        let depth = message.depth + 1;
        let size = 20 + usize::try_from(request % 100).expect("small");
        let parent = Some(message.id);
        let waiting = message.id;
        let sent = Msg { id: request, to, head, source, method, reads, amount, depth, seen, size, begun, what };
        self.waiters.insert(request, Waiter::Turn(actor, turn));
        cx.log(Event::Asked { request, by: source, to, reads, deadline: deadline.max(cx.now), parent });
        cx.log(Event::Waits { actor, message: waiting, request });
        cx.at(deadline, Due::Deadline(request));
        cx.after(cx.work.hop, Due::Arrive(sent));
        if let Some(activation) = &mut self.catalog[actor] {
            activation.turns.wait(turn, number);
        }
        if let Some(error) = broken {
            self.give_up(cx, actor, error);
        }
    }

    /// Nobody waits for this turn any more and it does not end: its instance is dropped.
    pub(crate) fn abandon(&mut self, cx: &mut Context, actor: usize, turn: Turn) {
        if self.catalog[actor].as_mut().and_then(|activation| activation.run(turn)).is_some() {
            self.trap(cx, actor, turn, "abandoned", &CallError::DeadlineExceeded);
        }
    }

    /// Goes on with a turn's program until it suspends or ends.
    pub(crate) fn proceed(&mut self, cx: &mut Context, actor: usize, turn: Turn) {
        let run = self.catalog[actor].as_mut().and_then(|activation| activation.run(turn));
        let Some(run) = run.filter(|run| matches!(run.wait, Wait::Step)) else { return };
        if let Some(error) = run.lost {
            let error = told(error, run.progressed && !cx.mistake(Mutation::DenyAll));
            return self.trap(cx, actor, turn, "commit failed", &error);
        }
        loop {
            let Some(activation) = &mut self.catalog[actor] else { return };
            let Some(run) = activation.run(turn) else { return };
            let Some(op) = run.program.get(run.at).cloned() else { return self.finish(cx, actor, turn, true) };
            run.at += 1;
            match op {
                Op::Work(micros) => return cx.after(Duration::from_micros(micros), Due::Proceed { actor, turn }),
                Op::Trap { percent } if cx.rng.chance(percent) => {
                    return self.trap(cx, actor, turn, "trapped", &CallError::Failed("trapped".into()));
                }
                Op::Trap { .. } => {}
                Op::Fail => return self.finish(cx, actor, turn, false),
                Op::Write { pad } => {
                    if !activation.write(cx, actor, turn, pad, (0, 0)) {
                        return self.finish(cx, actor, turn, false);
                    }
                }
                Op::Deposit => {
                    let amount = run.message.as_ref().map_or(0, |message| message.amount);
                    if !activation.write(cx, actor, turn, 0, (amount, 0)) {
                        return self.trap(cx, actor, turn, "no room", &CallError::Failed("no room".into()));
                    }
                }
                Op::Give { to, amount } => {
                    let has = activation.state.as_ref().map_or(0, |state| get(state, "balance", BALANCE));
                    if has >= amount && activation.write(cx, actor, turn, 0, (0, amount)) {
                        activation.stage_tell(cx, actor, turn, to, (DEPOSIT, amount));
                    }
                }
                Op::Tell { to, method } => activation.stage_tell(cx, actor, turn, to, (method, 0)),
                Op::Call { to, method, timeout } => {
                    let own = run.message.as_ref().map_or(Time::NEVER, |message| message.head.deadline);
                    // A call's deadline never passes its caller's own.
                    let deadline = cx.now.after(timeout).min(own);
                    let stamp = activation.state.as_ref().map_or(0, |state| get(state, "stamp", 0));
                    if let Some(run) = activation.run(turn) {
                        run.wait = Wait::Gate(Some(Leaving { to, method, deadline, stamp }));
                    }
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
        match self.point(cx, actor, turn, Out::Resume(turn)) {
            Err((out, error)) => self.fail(cx, actor, out, error),
            Ok(()) if cx.mistake(Mutation::CallEarly) => self.wake(cx, actor, turn, Ok(())),
            Ok(()) => {}
        }
    }

    /// A commit point; an error when the turn's instance is to be dropped.
    fn point(&mut self, cx: &mut Context, actor: usize, turn: Turn, out: Out) -> Result<(), (Out, CommitError)> {
        let Some(activation) = &mut self.catalog[actor] else { return Ok(()) };
        let late = cx.mistake(Mutation::HandleLate) && matches!(out, Out::Resume(_));
        let Some(run) = activation.run(turn) else { return Ok(()) };
        let (message, handled) = (run.message(), if late { None } else { run.handled.take() });
        if handled.is_some() {
            activation.staged.handled = handled;
            activation.staged.by.extend(message.filter(|message| !activation.staged.by.contains(message)));
        }
        cx.log(Event::Reached { actor, message });
        if !activation.turns.reach(turn) && !cx.mistake(Mutation::CommitAmid) {
            activation.turns.hold(out);
            return Ok(());
        }
        let Some(state) = &mut activation.state else { return Ok(()) };
        let changes = state.take_changes();
        let Staged { tells, handled, by, .. } = std::mem::take(&mut activation.staged);
        activation.staged.before = get(state, "stamp", 0);
        let write = Write { changes, tells, handled: handled.clone(), ..Write::default() };
        let bytes = write.bytes();
        match activation.turns.commit_point(write, out) {
            Point::Open(out) => self.release(cx, actor, out),
            Point::Held => {}
            Point::Submit(commit) => {
                activation.runs.iter_mut().for_each(|run| run.progressed = true);
                let tells = commit.write.tells.iter().enumerate();
                let tells = tells.map(|(place, tell)| (commit.tell_id(place), tell.clone())).collect();
                activation.underway.push_back(Underway { etag: commit.etag, handled, tells });
                let (generation, etag, commits) = (commit.generation, commit.etag, activation.turns.commits());
                cx.log(Event::Submitted { actor, generation, etag, bytes, commits, messages: by });
                self.store.hand_over(cx, StoreWrite::Commit(commit));
            }
            Point::Failed(out, error) => {
                activation.staged.handled = handled;
                return Err((out, error));
            }
        }
        Ok(())
    }

    /// The turn returns, `ok` or `err`.
    fn finish(&mut self, cx: &mut Context, actor: usize, turn: Turn, ok: bool) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        let Some(stamp) = activation.state.as_ref().map(|state| get(state, "stamp", 0)) else { return };
        let Some(run) = activation.run(turn) else { return };
        let seen = Some((actor, stamp));
        let (took, progressed, message) = (cx.now.since(run.began), run.progressed, run.message());
        let leaving = message.is_none();
        let out = match &run.message {
            Some(Msg { id, what: What::Call | What::Control, .. }) => {
                Out::Reply { message: *id, ending: Ending::Answer(ok), seen, progressed }
            }
            _ => Out::Done(message),
        };
        if let Out::Reply { message, ending, seen, .. } = &out
            && cx.mistake(Mutation::AnswerEarly)
        {
            self.send_answer(cx, *message, ending.clone(), *seen);
        }
        if let Err((_, error)) = self.point(cx, actor, turn, out) {
            let error = told(error, progressed);
            return self.trap(cx, actor, turn, "commit failed", &error);
        }
        let Some(activation) = &mut self.catalog[actor] else { return };
        activation.runs.retain(|run| run.turn != turn);
        if leaving {
            activation.drop_instance();
            activation.turns.left();
        } else {
            activation.turns.ended(turn, Some(took));
        }
        cx.log(Event::Ended { actor, message, how: if leaving { "left" } else { "returned" } });
        // What waited for the end of a turn inside of it goes on.
        if let Some(run) = activation.runs.last_mut()
            && let Some(outcome) = run.woken.take()
        {
            let turn = run.turn;
            return self.wake(cx, actor, turn, outcome);
        }
        if leaving || !activation.turns.rest() {
            return self.drive(cx, actor);
        }
        self.idle(cx, actor);
    }

    /// The instance is dead by this turn, all other turns with it, and what was staged since the last
    /// commit point.
    fn trap(&mut self, cx: &mut Context, actor: usize, turn: Turn, how: &'static str, error: &CallError) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        let Some(state) = &mut activation.state else { return };
        state.undo();
        assert_eq!(get(state, "stamp", 0), activation.staged.before, "undo restores the last commit point");
        activation.drop_instance();
        let runs = std::mem::take(&mut activation.runs);
        let undone = activation.turns.trapped();
        // Whoever handled it, its row was not committed.
        if let Some(tell) = activation.staged.handled.take() {
            self.relay.failed(cx, &tell, None, Failure::Passing);
        }
        for out in undone {
            self.undone(cx, out);
        }
        let beside = CallError::Failed("another turn trapped".into());
        for run in &runs {
            let (how, error) = if run.turn == turn { (how, error) } else { ("undone beside another", &beside) };
            cx.log(Event::Ended { actor, message: run.message(), how });
            let Some(message) = &run.message else { continue };
            cx.log(Event::Out { message: message.id, how });
            match &message.what {
                // Handed to the store already: the commit's outcome is the tell's.
                What::Tell { .. } if run.handled.is_none() => {}
                What::Tell { .. } | What::Call | What::Control => self.tell_caller(cx, message, error),
            }
        }
        if matches!(how, "trapped" | "no room") {
            self.failed(cx, actor);
        }
        self.drive(cx, actor);
    }
}

impl Activation {
    /// Stages one write: both halves, the stamp, the balance; false when there is no room.
    fn write(&mut self, cx: &mut Context, actor: usize, turn: Turn, pad: usize, (gets, gives): (u64, u64)) -> bool {
        let Some(state) = &mut self.state else { return false };
        let next = get(state, "left", 0) + 1;
        // Never the same length twice running: an unchanged value is not written.
        let length = pad + usize::try_from(next % 64).expect("small");
        if pad > 0 && state.set("pad", vec![0; length].into()).is_err() {
            return false;
        }
        let stamp = *self.staged.stamp.get_or_insert_with(|| cx.id());
        let balance = get(state, "balance", BALANCE) + gets - gives;
        let values = [("left", next), ("right", next), ("stamp", stamp), ("balance", balance)];
        let written = values.into_iter().all(|(name, value)| state.set(name, Value::from(value.to_le_bytes())).is_ok());
        self.wrote(cx, actor, turn);
        written
    }

    fn stage_tell(&mut self, cx: &mut Context, actor: usize, turn: Turn, to: usize, (method, amount): (usize, u64)) {
        let stamp = self.state.as_ref().map_or(0, |state| get(state, "stamp", 0));
        let depth = self.run(turn).and_then(|run| run.message.as_ref()).map_or(0, |message| message.depth) + 1;
        self.staged.tells.push(tell(cx.work.id(to), method, amount, depth, stamp));
        self.wrote(cx, actor, turn);
    }

    fn wrote(&mut self, cx: &mut Context, actor: usize, turn: Turn) {
        self.turns.staged(turn);
        let message = self.run(turn).and_then(|run| run.message());
        self.staged.by.extend(message.filter(|message| !self.staged.by.contains(message)));
        cx.log(Event::Wrote { actor, message });
    }
}

fn get(state: &State, name: &str, default: u64) -> u64 {
    state.get(name).map_or(default, |value| number(value))
}
