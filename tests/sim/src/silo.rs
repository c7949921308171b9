//! One silo: drives the turn machines as the real driver does, with the simulation's store, relay
//! and guests around them. `turn.rs` runs the guests.

use std::collections::{BTreeMap, VecDeque};

use quark_core::activation::{Admitted, Phase, Refusal, Refused, Step, Turn, Turns, Why};
use quark_core::commit::CommitError;
use quark_core::error::CallError;
use quark_core::state::State;
use quark_core::supervision::{Failures, Verdict};

use crate::Mutation;
use crate::context::{Context, Due};
use crate::landing::{Out, Underway, told};
use crate::relay::{Failure, Relay};
use crate::store::{Claim, Store};
use crate::trace::{Ending, Event, Seen, Source};
use crate::turn::{Running, Staged};
use crate::workload::{Msg, What};

/// One actor awake.
#[derive(Debug)]
pub(crate) struct Activation {
    pub(crate) turns: Turns<Msg, Out>,
    /// Loaded values; gone with the instance.
    pub(crate) state: Option<State>,
    /// The guest has woken; operators' messages run without it.
    pub(crate) awake: bool,
    pub(crate) runs: Vec<Running>,
    /// What turns staged since the last commit point.
    pub(crate) staged: Staged,
    pub(crate) underway: VecDeque<Underway>,
    /// Changes with each use, so that old timers are known.
    pub(crate) mark: u64,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    Client,
    Turn(usize, Turn),
}

/// All that is in the silo's memory, and the store beside it.
#[derive(Debug)]
pub(crate) struct Silo {
    pub(crate) store: Store,
    pub(crate) relay: Relay,
    pub(crate) catalog: Vec<Option<Activation>>,
    pub(crate) waiters: BTreeMap<u64, Waiter>,
    failures: Vec<Failures>,
    pub(crate) up: bool,
    pub(crate) stopping: bool,
}

impl Silo {
    pub(crate) fn new(actors: usize) -> Self {
        Self {
            store: Store::new(actors),
            relay: Relay::default(),
            catalog: (0..actors).map(|_| None).collect(),
            waiters: BTreeMap::new(),
            failures: vec![Failures::default(); actors],
            up: false,
            stopping: false,
        }
    }

    pub(crate) fn boot(&mut self, cx: &mut Context) {
        self.store.open(cx);
        self.up = true;
        self.relay.rescan(cx);
    }

    /// Loses memory; the clients that waited see their connections break.
    pub(crate) fn crash(&mut self, cx: &mut Context) {
        self.store.crash(cx);
        cx.log(Event::Crash);
        cx.crash();
        for (request, waiter) in std::mem::take(&mut self.waiters) {
            if matches!(waiter, Waiter::Client) {
                cx.log(Event::Broke { request });
            }
        }
        self.forget();
    }

    /// What stopping and crashing have in common.
    pub(crate) fn forget(&mut self) {
        self.relay = Relay::default();
        self.catalog.fill_with(|| None);
        self.failures.fill_with(Failures::default);
        (self.up, self.stopping) = (false, false);
    }

    pub(crate) fn handle(&mut self, cx: &mut Context, due: Due) {
        match due {
            Due::Arrive(message) => self.arrive(cx, message),
            Due::Answer { request, ending, seen } => self.answer(cx, request, ending, seen),
            Due::Deadline(request) => {
                if !cx.mistake(Mutation::ForgetDeadlines) {
                    self.answer(cx, request, (&CallError::DeadlineExceeded).into(), None);
                }
            }
            Due::Proceed { actor, turn } => self.proceed(cx, actor, turn),
            Due::Abandoned { actor, turn } => self.abandon(cx, actor, turn),
            Due::Idle { actor, mark } => {
                if self.catalog[actor].as_ref().is_some_and(|it| it.mark == mark) {
                    self.deactivate(cx, actor, Why::Idle);
                }
            }
            Due::Forget { actor, mark } => {
                if self.catalog[actor].as_ref().is_some_and(|it| it.mark == mark) {
                    self.catalog[actor] = None;
                }
            }
            Due::GoOn(actor) => self.go_on(cx, actor),
            Due::Relay { from, to } => self.relay.pump(cx, &mut self.store, from, to),
            Due::Scan => self.relay.read(cx, &self.store),
            Due::Claim(actor) => self.store.claim(cx, actor),
            Due::Claimed { actor, claim } => self.claimed(cx, actor, claim),
            Due::Batch => self.store.batch(cx),
            Due::Done(outcomes) => outcomes.into_iter().for_each(|outcome| self.done(cx, outcome)),
            Due::Page { after } => self.store.page(cx, after),
            Due::PageRead { rows } => self.relay.page_read(cx, &self.store, rows.ok()),
            Due::Client(_) | Due::Fault | Due::Flood(_) | Due::Crash | Due::Boot | Due::Stopping { .. } => {
                unreachable!("the world's own")
            }
        }
    }

    /// A message reaches the silo's dispatch: refused, or into the mailbox of its actor.
    fn arrive(&mut self, cx: &mut Context, message: Msg) {
        let (id, to, source, seen) = (message.id, message.to, message.source, message.seen);
        cx.log(Event::Arrived { message: id, by: source, to, seen });
        // The deadline comes first: a caller that is gone waits for nobody, so it is no deadlock.
        if message.head.deadline <= cx.now {
            return self.tell_caller(cx, &message, &CallError::DeadlineExceeded);
        }
        if self.stopping && !matches!(source, Source::Actor(_)) {
            return self.tell_caller(cx, &message, &CallError::Unreachable("the silo stops".into()));
        }
        if let Some(path) = self.deadlock(cx, &message) {
            if let Source::Actor(by) = source {
                cx.log(Event::Deadlock { message: id, by, to, path: path.clone() });
            }
            return self.tell_caller(cx, &message, &CallError::Deadlock(path));
        }
        self.admit(cx, message);
    }

    fn admit(&mut self, cx: &mut Context, mut message: Msg) {
        let (id, to, by, size) = (message.id, message.to, message.source, message.size);
        let control = message.what == What::Control;
        if let Some(turn) = self.enter(cx, &message) {
            self.begin(cx, to, turn, message);
            return self.drive(cx, to);
        }
        loop {
            let mark = cx.id();
            let activation = self.catalog[to].get_or_insert_with(|| Activation::new(cx, to, mark));
            activation.mark = mark;
            match activation.turns.admit(message) {
                Ok(admitted) => {
                    let (waiting, bytes) = activation.turns.waiting();
                    cx.log(Event::Admitted { message: id, by, to, control, waiting, bytes, size });
                    let overlaps = activation.turns.overlaps();
                    if admitted == Admitted::Token || cx.mistake(Mutation::DriveWithoutToken) {
                        cx.log(Event::Token(to));
                        self.drive(cx, to);
                    } else if overlaps {
                        self.drive(cx, to);
                    }
                    return;
                }
                Err(Refused { message: refused, why: Refusal::Overloaded(ms) }) => {
                    return self.tell_caller(cx, &refused, &CallError::Overloaded(ms));
                }
                Err(Refused { message: refused, why: Refusal::Gone }) => {
                    cx.log(Event::FoundGone(to));
                    message = refused;
                    self.catalog[to] = None;
                }
            }
        }
    }

    /// A call that finds its actor awake and idle is its turn at once, as in the real driver.
    fn enter(&mut self, cx: &mut Context, message: &Msg) -> Option<Turn> {
        let (id, to, by) = (message.id, message.to, message.source);
        let activation = self.catalog[to].as_mut().filter(|it| it.awake && message.what == What::Call)?;
        let turn = match activation.turns.enter(message.reads) {
            None if cx.mistake(Mutation::EnterBusy) => activation.turns.running(),
            turn => turn,
        }?;
        activation.mark = cx.id();
        cx.log(Event::Entered { message: id, by, to });
        Some(turn)
    }

    /// The path, when the message would wait for a turn that waits for it.
    fn deadlock(&self, cx: &Context, message: &Msg) -> Option<String> {
        let to = cx.work.id(message.to);
        let frame = message.head.path.find(to)?;
        let turn = Turn { generation: frame.generation, number: frame.turn };
        let waits = self.catalog[message.to].as_ref()?.turns.blocks(turn, message.reads);
        let refuse = waits && !cx.mistake(Mutation::MissDeadlocks);
        refuse.then(|| message.head.path.describe(to, &format!("m{}", message.method)))
    }

    /// The end of a message that never ran, or whose turn the platform ended.
    pub(crate) fn tell_caller(&mut self, cx: &mut Context, message: &Msg, error: &CallError) {
        if let What::Tell { id, epoch } = &message.what {
            let failure = if error.code() == "failed" { Failure::Receiver } else { Failure::Passing };
            let attempt = if message.begun { None } else { Some(*epoch) };
            self.relay.failed(cx, id, attempt, failure);
        } else {
            self.send_answer(cx, message.id, error.into(), None);
        }
    }

    pub(crate) fn send_answer(&self, cx: &mut Context, request: u64, ending: Ending, seen: Seen) {
        cx.after(cx.work.hop, Due::Answer { request, ending, seen });
    }

    /// An answer reaches whoever waits for it; late ones reach nobody.
    fn answer(&mut self, cx: &mut Context, request: u64, ending: Ending, seen: Seen) {
        let Some(waiter) = self.waiters.remove(&request) else { return };
        cx.log(Event::Answered { request, ending, seen });
        if let Waiter::Turn(actor, turn) = waiter {
            self.wake(cx, actor, turn, Ok(()));
        }
    }

    pub(crate) fn deactivate(&mut self, cx: &mut Context, actor: usize, why: Why) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        if matches!(why, Why::Upgraded | Why::Requested | Why::Shutdown) {
            cx.log(Event::Lifted(actor));
        }
        if activation.turns.deactivate(why) {
            cx.log(Event::Token(actor));
            self.drive(cx, actor);
        }
    }

    /// The token's holder: carries out steps until the token is back or a step takes its time.
    pub(crate) fn drive(&mut self, cx: &mut Context, actor: usize) {
        loop {
            let Some(activation) = &mut self.catalog[actor] else { return };
            match activation.turns.next(cx.now) {
                Step::Load => {
                    activation.drop_instance();
                    cx.log(Event::Loading(actor));
                    return self.store.ask_claim(cx, actor);
                }
                Step::Run(turn, message) => self.begin(cx, actor, turn, message),
                Step::Wait => return,
                Step::Expired(message) => {
                    cx.log(Event::Out { message: message.id, how: "expired" });
                    self.tell_caller(cx, &message, &CallError::DeadlineExceeded);
                }
                Step::Leave(turn, why) => return self.leave(cx, actor, turn, why),
                Step::Idle | Step::Down => return self.idle(cx, actor),
                Step::Gone(generation) => {
                    activation.drop_instance();
                    activation.mark = cx.id();
                    let mark = activation.mark;
                    cx.log(Event::TokenBack { actor, stalled: None });
                    cx.log(Event::Gone(actor));
                    if let Some(generation) = generation {
                        self.store.release(cx, actor, generation);
                    }
                    // A message that finds it before it is forgotten is told so.
                    let wait = cx.some(cx.work.idle);
                    return cx.after(wait, Due::Forget { actor, mark });
                }
            }
        }
    }

    /// The token is back.
    pub(crate) fn idle(&mut self, cx: &mut Context, actor: usize) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        activation.mark = cx.id();
        let mark = activation.mark;
        let stalls = activation.turns.phase() == Phase::Awake && activation.turns.waiting().0 > 0;
        let stalled = stalls.then(|| activation.turns.commits());
        cx.log(Event::TokenBack { actor, stalled });
        cx.after(cx.work.idle, Due::Idle { actor, mark });
    }

    fn claimed(&mut self, cx: &mut Context, actor: usize, claim: Result<Claim, CommitError>) {
        let Some(activation) = &mut self.catalog[actor] else { return };
        match claim {
            Ok(Claim { generation, etag, values }) => {
                let stamp = crate::store::value(&values, "stamp", 0);
                activation.state = Some(State::new(values, cx.work.state_bytes_max));
                activation.turns.loaded(generation, etag);
                cx.log(Event::Loaded { actor, generation, etag, stamp });
            }
            Err(error) => {
                let refused = activation.turns.refused();
                self.refuse(cx, &refused, &told(error, false));
                cx.log(Event::Unclaimed(actor));
            }
        }
        self.drive(cx, actor);
    }

    /// The actor itself failed: it may have to wait before it is loaded again.
    pub(crate) fn failed(&mut self, cx: &mut Context, actor: usize) {
        let random = cx.rng.next();
        let verdict = self.failures[actor].failed(&cx.work.supervision, cx.now, random);
        let Some(activation) = &mut self.catalog[actor] else { return };
        match verdict {
            Verdict::Restart(until) if until <= cx.now => {}
            Verdict::Restart(until) => {
                cx.log(Event::Down { actor, until });
                if !cx.mistake(Mutation::RestartEarly) {
                    activation.turns.hold_down();
                }
                if !cx.mistake(Mutation::ForgetDown) {
                    cx.at(until, Due::GoOn(actor));
                }
            }
            Verdict::CoolDown(_) => {
                cx.log(Event::Cools(actor));
                let waiting = activation.turns.turn_away();
                self.turn_away(cx, &waiting);
            }
        }
    }

    /// Whether it failed too often to be woken now.
    pub(crate) fn cools(&self, cx: &Context, actor: usize) -> bool {
        matches!(self.failures[actor].verdict(cx.now), Some(Verdict::CoolDown(_)))
    }

    fn go_on(&mut self, cx: &mut Context, actor: usize) {
        // It may have failed again since, if its wait was cut short.
        if self.failures[actor].verdict(cx.now).is_some() {
            return;
        }
        cx.log(Event::Lifted(actor));
        let Some(activation) = &mut self.catalog[actor] else { return };
        if activation.turns.go_on() {
            cx.log(Event::Token(actor));
            self.drive(cx, actor);
        }
    }

    /// Answers all that waited for an actor that cools down; tells come again.
    pub(crate) fn turn_away(&mut self, cx: &mut Context, waiting: &[Msg]) {
        for message in waiting {
            let error = match message.what {
                What::Tell { .. } => CallError::Overloaded(100),
                What::Call | What::Control => CallError::Failed("it cools down".into()),
            };
            self.refuse(cx, std::slice::from_ref(message), &error);
        }
    }

    /// Answers all that waited for an activation that cannot be.
    pub(crate) fn refuse(&mut self, cx: &mut Context, refused: &[Msg], error: &CallError) {
        for message in refused {
            cx.log(Event::Out { message: message.id, how: "refused" });
            self.tell_caller(cx, message, error);
        }
    }
}
