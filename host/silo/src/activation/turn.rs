//! Turns of one activation: how they run, and their commit points.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quark_core::activation::{Point, Turn};
use quark_core::commit::{Commit, CommitError, Handled};
use quark_core::envelope::{Head, TellId};
use quark_core::error::CallError;
use quark_core::time::Time;
use quark_engine::values::Payload;
use quark_engine::{Cause, Hook, Kind, Left, Reached, Trap, TurnInput};
use tokio::sync::oneshot;

use super::restart::turn_away;
use super::traced::{Begins, occasion, tell_answered, tell_trapped};
use super::{Activation, Entered, Home, Live, Slot};
use crate::dead_letters::{Letter, Reason};
use crate::kinds::Served;
use crate::lasting::Lasting;
use crate::message::{Message, MethodRef, Notice, Origin, Outcome, Output, Work, commit_failed};
use crate::outbox::discard;
use crate::silo::Inner;

/// How long a turn may go on after its caller gave up. It can only be waiting then, since the time
/// inside the guest has its own limit; it is ended by dropping its instance.
const ABANDONED_GRACE: Duration = Duration::from_secs(10);
/// What callers are told to wait when every place for a live instance is taken by a busy one.
pub(super) const NO_ROOM_RETRY_MS: u64 = 100;

/// What is left of a turn that has run: nothing of the instance when it trapped.
pub(super) type Ran = Result<(Box<Live>, Payload), Trap>;

/// A turn that has an instance of its own, to be polled to its end.
pub(super) type Running = Pin<Box<dyn Future<Output = Ran> + Send>>;

/// A turn that begins.
pub(super) struct Alone {
    pub(super) turn: Turn,
    pub(super) method: usize,
    pub(super) handles: Option<Handled>,
    pub(super) started: Instant,
}

/// A turn that has run, and what is to be told of it.
struct Finished {
    ran: Ran,
    method: MethodRef,
    origin: Origin,
    started: Instant,
}

impl Activation {
    /// Runs a call of the mailbox on this stack if its instance lives and may; otherwise gives the
    /// message back.
    pub(super) fn run_now(&self, silo: &Arc<Inner>, turn: Turn, message: Message, now: Instant) -> Option<Message> {
        let Work::Method { method, origin: Origin::Caller(_), .. } = &message.work else { return Some(message) };
        if message.head.keyed.is_some() {
            return Some(message);
        }
        let mut machine = self.machine.lock();
        let fits = match &mut machine.slot {
            Slot::Live(live) => Arc::ptr_eq(&live.served, &method.served) && live.instance.runs_now(),
            Slot::Loaded(_) | Slot::Empty => false,
        };
        if !fits {
            return Some(message);
        }
        let Slot::Live(mut live) = std::mem::take(&mut machine.slot) else { return Some(message) };
        drop(machine);
        let Message { head, work, waits, admitted, .. } = message;
        if waits.is_some_and(|waits| !waits.begins()) {
            self.put_back(turn, live);
            return None;
        }
        let Work::Method { method, payload, origin } = work else { return None };
        let (mut head, mut payload) = (head, payload);
        if method.served.is_traced() {
            let (bytes, occasion) = (payload.bytes(), occasion(&method, false));
            let (method, head, admitted) = (&method, &head, Some(admitted));
            self.trace(silo, turn, &Begins { method, head, bytes, occasion, admitted, now });
        }
        let input = TurnInput { head: &mut head, turn, method: method.at, handles: None, payload: &mut payload };
        self.progressed.store(false, Ordering::Relaxed);
        let ran = live.instance.turn_now(input, now).map(|()| (live, payload));
        self.finished(silo, Finished { ran, method, origin, started: now });
        None
    }

    /// The turn of a call that waits goes on in a task of its own, and what comes behind it too.
    pub(super) async fn go_on(
        self: Arc<Self>,
        turn: Lasting<Ran>,
        method: MethodRef,
        reply: oneshot::Sender<Outcome>,
        deadline: Time,
        started: Instant,
    ) {
        let Some(silo) = self.silo.upgrade() else { return };
        let last = silo.clock.instant(deadline.after(ABANDONED_GRACE));
        let mut origin = Origin::Caller(reply);
        let ran = self.to_its_end(turn, &method, &mut origin, last).await;
        self.finished(&silo, Finished { ran, method, origin, started });
        drop(silo);
        self.run(None).await;
    }

    /// A turn has run for a caller that stands on this very stack; its result is in the payload.
    pub(super) fn ended_here(
        self: &Arc<Self>,
        silo: &Arc<Inner>,
        method: &MethodRef,
        mut ran: Result<Box<Live>, Trap>,
        payload: &mut Payload,
    ) -> Entered {
        let left = ran.as_mut().ok().and_then(|live| live.instance.left());
        if left.is_none()
            && let Ok(live) = ran
        {
            match self.answered_here(live, payload) {
                Ok(outcome) => return Entered::Done(outcome),
                Err(live) => ran = Ok(live),
            }
        }
        let (reply, mut answer) = oneshot::channel();
        let ran = ran.map(|live| (live, std::mem::take(payload)));
        self.finish(silo, ran, left.unwrap_or_default(), method, Origin::Caller(reply), None);
        self.drive();
        match answer.try_recv() {
            Ok(outcome) => Entered::Done(outcome.map(|result| *payload = result)),
            Err(_) => Entered::Waits(answer),
        }
    }

    /// The end of a turn that left nothing behind: its answer needs no channel, unless it must wait
    /// for a commit under way.
    fn answered_here(self: &Arc<Self>, live: Box<Live>, payload: &Payload) -> Result<Result<(), CallError>, Box<Live>> {
        let mut machine = self.machine.lock();
        if !machine.turns.is_open() || machine.is_standing_staged() {
            return Err(live);
        }
        let outcome = within_limit(live.served.kind(), payload);
        machine.slot = Slot::Live(live);
        machine.ran += 1;
        let traced = machine.take_last_traced();
        machine.turns.end(None);
        let rests = machine.turns.rest();
        drop(machine);
        if let Some(traced) = traced {
            tell_answered(&traced, &outcome, payload);
        }
        if !rests {
            self.drive();
        }
        Ok(outcome)
    }

    /// A turn with all that may wait before it.
    pub(super) async fn turn(&self, silo: &Arc<Inner>, turn: Turn, message: Message) {
        let Some(message) = self.begin_keyed(silo, turn, message) else { return };
        let Message { mut head, work, bytes, waits, admitted } = message;
        let (method, mut payload, mut origin) = match work {
            Work::Operate(operate) => return self.operate(silo, *operate).await,
            Work::Adopt(adopt) => {
                let last = silo.clock.instant(head.deadline.after(ABANDONED_GRACE));
                return Box::pin(self.adopt(silo, turn, *adopt, waits, last)).await;
            }
            Work::Revive => {
                let deadline = silo.clock.now().after(silo.config.default_timeout);
                return Box::pin(self.revived(silo, turn, silo.clock.instant(deadline))).await;
            }
            Work::Notice(notice) => {
                let Notice { method, payload, reply } = *notice;
                (method, payload, Origin::Caller(reply))
            }
            Work::Method { method, payload, origin } => (method, payload, origin),
            Work::Snapshot => match self.on_snapshot() {
                Some((method, payload)) => (method, payload, Origin::Snapshot),
                // Its instance is over: the next one asks for a snapshot anew.
                None => return self.not_begun(turn),
            },
            Work::Timer(firing) => match self.on_timer() {
                Some(method) => (method, Payload::default(), Origin::Timer(firing)),
                // Its instance is over, and so is the timer.
                None => {
                    self.not_begun(turn);
                    return self.cancel_timers(silo);
                }
            },
        };
        // Recalled meanwhile: it comes again in its place.
        if matches!(&origin, Origin::Outbox(id) if !silo.outbox.begin(id)) {
            return self.not_begun(turn);
        }
        if method.served.is_traced() {
            self.trace_message(silo, turn, (&method, &head, &origin, payload.bytes()), admitted);
        }
        if head.deadline == Time::NEVER {
            head.deadline = silo.clock.now().after(silo.config.default_timeout);
        }
        let last = silo.clock.instant(head.deadline.after(ABANDONED_GRACE));
        if matches!(origin, Origin::Reminder(_)) {
            self.woken_by_reminder();
        }
        let woken = tokio::time::timeout_at(last, self.wake(silo)).await.unwrap_or(Err(Trap::Abandoned));
        // Until here it waited, perhaps for a hook that waits for others.
        let told = waits.is_some_and(|waits| !waits.begins());
        let mut live = match woken {
            Ok(live) if told => return self.put_back(turn, live),
            Ok(live) => live,
            // Turns that run beside it ended the instance just now: it begins in the next one.
            Err(_) if !self.runs(turn) => {
                let work = Work::Method { method, payload, origin };
                self.forget(turn);
                return self.begin_again(silo, Message::new(head, work, bytes, None));
            }
            Err(Trap::Stopped) => return self.turned_down(silo, turn, origin, method.name(), &head),
            Err(trap) => return self.refused(silo, turn, origin, trap),
        };
        let method = match same_method(&live.served, method) {
            Ok(method) => method,
            Err(error) => {
                self.put_back(turn, live);
                return silo.answer(origin, error);
            }
        };
        if let Origin::Timer(firing) = &origin {
            match self.begin_timer(silo, *firing) {
                Some(arguments) => payload = arguments,
                // It was stopped or put off.
                None => return self.put_back(turn, live),
            }
        }
        let Ok(handles) = handled_by(silo, &origin) else { return self.put_back(turn, live) };
        let started = Instant::now();
        self.note_short(silo, &method, started);
        self.progressed.store(false, Ordering::Relaxed);
        if method.served.is_traced() {
            self.trace_entered(turn, started, payload.bytes());
        }
        if live.served.component.overlap(live.served.at).interleaves() {
            return self.begin_beside(live, turn, (head, method, payload, origin), handles, last);
        }
        if live.instance.runs_now() {
            let handles = handles.as_ref();
            let input = TurnInput { head: &mut head, turn, method: method.at, handles, payload: &mut payload };
            let ran = live.instance.turn_now(input, started).map(|()| (live, payload));
            return self.finished(silo, Finished { ran, method, origin, started });
        }
        let turn = self.on_its_own(live, head, payload, Alone { turn, method: method.at, handles, started });
        let turn = self.lasting(silo, &method, turn);
        let ran = self.to_its_end(turn, &method, &mut origin, last).await;
        self.finished(silo, Finished { ran, method, origin, started });
    }

    /// The actor is stopped: the message will not be handled, and a tell need not come again.
    fn turned_down(&self, silo: &Arc<Inner>, turn: Turn, origin: Origin, method: &str, head: &Head) {
        self.trace_trapped(turn, &Trap::Stopped);
        self.not_begun(turn);
        match origin {
            Origin::Outbox(id) => discard(silo, &id, (&self.id, method), Reason::Stopped, ""),
            Origin::Caller(_) => {
                let letter = Letter { to: &self.id, method, from: head.sender(), tell: false };
                silo.dead_letters.add(Reason::Stopped, "", &letter);
                answer_trap(silo, origin, Trap::Stopped);
            }
            Origin::Timer(_) | Origin::Snapshot | Origin::Reminder(_) => answer_trap(silo, origin, Trap::Stopped),
        }
    }

    /// The turn did nothing with the instance.
    pub(super) fn put_back(&self, turn: Turn, live: Box<Live>) {
        if self.runs(turn) {
            self.machine.lock().slot = Slot::Live(live);
        }
        self.not_begun(turn);
    }

    pub(super) fn runs(&self, turn: Turn) -> bool {
        self.machine.lock().turns.runs(turn)
    }

    /// A turn is over that did nothing. It may have gone with its instance before.
    pub(super) fn not_begun(&self, turn: Turn) {
        let mut machine = self.machine.lock();
        machine.forget_traced(turn);
        if machine.turns.runs(turn) {
            machine.not_begun(turn);
        }
    }

    /// A message whose turn went with its instance before it began.
    pub(super) fn begin_again(&self, silo: &Arc<Inner>, message: Message) {
        match message.work {
            Work::Method { origin: origin @ (Origin::Outbox(_) | Origin::Reminder(_)), .. } => {
                silo.answer(origin, trap_error(Trap::Unbegun))
            }
            Work::Method { origin: Origin::Snapshot, .. } | Work::Snapshot => {}
            Work::Method { origin: Origin::Timer(firing), .. } | Work::Timer(firing) => {
                silo.timers.ended(firing, silo.clock.now());
            }
            Work::Method { origin: Origin::Caller(_), .. }
            | Work::Operate(_)
            | Work::Notice(_)
            | Work::Adopt(_)
            | Work::Revive => silo.deliver_again(&self.id, message),
        }
    }

    /// A turn with the instance to itself. In a pack that ends before the turn begins, it begins in
    /// another one.
    pub(super) fn on_its_own(
        &self,
        mut live: Box<Live>,
        mut head: Head,
        mut payload: Payload,
        alone: Alone,
    ) -> Running {
        let Alone { turn, method, handles, started } = alone;
        let packed = matches!(live.home, Home::Pack(_)).then(|| (self.me.clone(), self.silo.clone()));
        Box::pin(async move {
            loop {
                let (head, payload_now) = (&mut head, &mut payload);
                let input = TurnInput { head, turn, method, handles: handles.as_ref(), payload: payload_now };
                let nests = live.served.component.nests();
                match super::alone(nests, live.instance.turn(input, started)).await {
                    Ok(()) => return Ok((live, payload)),
                    Err(Trap::Unbegun) => {}
                    Err(trap) => return Err(trap),
                }
                // A timer is gone with the pack.
                let moves = live.served.kind().hook(Hook::Timer) != Some(method);
                let owner =
                    packed.as_ref().filter(|_| moves).and_then(|(me, silo)| Some((me.upgrade()?, silo.upgrade()?)));
                let Some((me, silo)) = owner else { return Err(Trap::Unbegun) };
                // Boxed, since all other turns would carry it for nothing.
                live = Box::pin(me.wake_elsewhere(&silo, live)).await?;
            }
        })
    }

    fn finished(&self, silo: &Arc<Inner>, finished: Finished) {
        let Finished { mut ran, method, origin, started } = finished;
        let left = ran.as_mut().ok().and_then(|(live, _)| live.instance.left()).unwrap_or_default();
        self.finish(silo, ran, left, &method, origin, Some(started));
    }

    /// Ends a turn: its last commit point, or the end of its instance. The token stays held.
    fn finish(
        &self,
        silo: &Arc<Inner>,
        ran: Ran,
        left: Left,
        method: &MethodRef,
        origin: Origin,
        started: Option<Instant>,
    ) {
        let Left { write, wishes } = left;
        let (live, payload) = match ran {
            Ok(ended) => ended,
            Err(trap) => {
                self.restart.store(true, Ordering::Relaxed);
                let mut machine = self.machine.lock();
                machine.ran += 1;
                let undone = machine.trapped();
                let traced = machine.take_outermost_traced();
                self.cancel_timers(silo);
                let waiting = self.failed(silo, &mut machine, &trap);
                drop(machine);
                traced.iter().for_each(|traced| tell_trapped(traced, &trap));
                undone.into_iter().for_each(|output| output.undone(silo));
                self.turn_away(silo, waiting);
                silo.report_failure(&self.id, method.name(), &trap);
                return answer_trap(silo, origin, trap);
            }
        };
        if let Some(wait) = wishes.keep_awake {
            self.awake_until.fetch_max(silo.clock.now().after(wait).0, Ordering::Relaxed);
        }
        let progressed = self.progressed.load(Ordering::Relaxed);
        let tell = if let Origin::Outbox(id) = &origin { Some(id.clone()) } else { None };
        let reminder = if let Origin::Reminder(row) = &origin { Some(row.clone()) } else { None };
        let timer = if let Origin::Timer(firing) = &origin { Some(*firing) } else { None };
        let output = match origin {
            Origin::Caller(to) => {
                let outcome = within_limit(live.served.kind(), &payload).map(|()| payload);
                Output::Reply { to, outcome, progressed }
            }
            Origin::Outbox(_) | Origin::Timer(_) | Origin::Snapshot | Origin::Reminder(_) => Output::Nothing,
        };
        let mut machine = self.machine.lock();
        machine.ran += 1;
        let turn = machine.turns.running();
        let output = machine.keyed_ended(turn, method, output);
        let output = machine.traced(None, Some(&write), output);
        let point = machine.commit_point(write, output);
        if let Point::Failed(output, error) = point {
            let undone = machine.trapped();
            self.cancel_timers(silo);
            drop(machine);
            undone.into_iter().for_each(|output| output.undone(silo));
            drop(live);
            // Its commit was never handed over, so nobody else tells the outbox that the row stands.
            tell.iter().for_each(|id| silo.outbox.commit_failed(id, error));
            reminder.iter().for_each(|row| silo.reminders.commit_failed(row));
            return output.fail(silo, error);
        }
        machine.slot = Slot::Live(live);
        machine.turns.end(started.map(|started| started.elapsed()));
        if wishes.deactivate {
            // The token is held, so this cannot grant it.
            machine.turns.deactivate(quark_core::activation::Why::Ended);
        } else if wishes.snapshot {
            machine.ask_for_snapshot();
        }
        drop(machine);
        timer.into_iter().for_each(|firing| silo.timers.ended(firing, silo.clock.now()));
        self.pass(silo, point);
    }

    /// The actor would not wake: the same answer for all that waited for it.
    fn refused(&self, silo: &Arc<Inner>, turn: Turn, origin: Origin, trap: Trap) {
        self.trace_trapped(turn, &trap);
        self.did_not_wake(silo, &trap);
        answer_trap(silo, origin, trap);
    }

    /// The same, for a turn that nobody else waits for.
    pub(super) fn did_not_wake(&self, silo: &Arc<Inner>, trap: &Trap) {
        silo.report_failure(&self.id, "activate", trap);
        self.restart.store(true, Ordering::Relaxed);
        let mut machine = self.machine.lock();
        machine.undo_standing();
        let waiting = machine.turns.refused();
        machine.keyed_trapped();
        // All that waited have their answer.
        self.failed(silo, &mut machine, trap);
        self.cancel_timers(silo);
        drop(machine);
        turn_away(silo, waiting, trap);
    }

    /// Carries out what the machine said of a commit point.
    pub(super) fn pass(&self, silo: &Arc<Inner>, point: Point<Output>) {
        match point {
            Point::Open(output) => output.release(),
            Point::Held => {}
            Point::Submit(commit) => self.submit(silo, commit),
            Point::Failed(output, error) => output.fail(silo, error),
        }
    }

    fn submit(&self, silo: &Arc<Inner>, commit: Commit) {
        let Some(me) = self.me.upgrade() else { return };
        let etag = commit.etag;
        let sent: Vec<_> =
            commit.write.tells.iter().enumerate().map(|(place, tell)| (commit.tell_id(place), tell.clone())).collect();
        let handled = commit.write.handled.clone();
        let reminders = silo.reminders.submitted(&commit.write);
        let done_silo = silo.clone();
        silo.store.commit(
            commit,
            Box::new(move |outcome| {
                let silo = done_silo;
                if let Some(reminders) = reminders {
                    silo.reminders_settled(*reminders, outcome);
                }
                let outcome = outcome.map(drop);
                silo.metrics.commit(outcome);
                settle(&silo, outcome, handled.as_ref(), sent);
                me.landed(&silo, etag, outcome);
            }),
        );
    }

    /// Waits for the commits under way, and commits nothing.
    pub(crate) fn after_commits(&self) -> MidTurn {
        let (send, receive) = oneshot::channel();
        let point = self.machine.lock().turns.after_commits(Output::Resume(send));
        match point {
            Point::Open(_) => MidTurn::Open,
            Point::Failed(_, error) => MidTurn::Failed(error),
            Point::Held | Point::Submit(_) => MidTurn::Wait(receive),
        }
    }

    /// It is a reminder's time for which it wakes, if it is asleep.
    fn woken_by_reminder(&self) {
        if let Slot::Loaded(loaded) = &mut self.machine.lock().slot
            && loaded.cause == Cause::Message
        {
            loaded.cause = Cause::Reminder;
        }
    }

    /// A commit's outcome, on the store's own thread: nothing runs here.
    fn landed(self: Arc<Self>, silo: &Arc<Inner>, etag: u64, outcome: Result<(), CommitError>) {
        let (landed, overlaps) = {
            let mut machine = self.machine.lock();
            (machine.turns.landed(etag, outcome), machine.turns.overlaps())
        };
        for output in landed.released {
            output.release();
        }
        for (output, error) in landed.failed {
            output.fail(silo, error);
        }
        if let Err(error) = outcome {
            self.end_all_beside(error);
        }
        // Also for a turn that waits though it cannot end well any more.
        if overlaps || outcome.is_err() {
            self.events().notify_one();
        }
        if landed.token {
            silo.spawn(self.run(None));
        }
    }

    /// A commit point in the middle of the running turn.
    pub(crate) fn commit_point(&self, silo: &Arc<Inner>, turn: Turn, write: Reached) -> MidTurn {
        self.progressed.store(true, Ordering::Relaxed);
        let Reached::Free(write) = write else { return self.hold_point(turn) };
        let mut machine = self.machine.lock();
        // Hooks have no number: they run in the turn of the message that wakes it, or in the last one.
        if turn.number > 0 && !machine.turns.runs(turn) {
            return MidTurn::Failed(CommitError::Fenced);
        }
        let writes = write.as_ref().is_some_and(|write| !write.is_empty()) || machine.is_standing_staged();
        if !writes && machine.turns.is_open() {
            return MidTurn::Open;
        }
        let (send, receive) = oneshot::channel();
        let write = write.map(|write| *write).unwrap_or_default();
        let output = machine.traced_midway(turn, Some(&write), Output::Resume(send));
        let point = machine.commit_point(write, output);
        drop(machine);
        match point {
            Point::Open(_) => MidTurn::Open,
            Point::Failed(_, error) => MidTurn::Failed(error),
            Point::Held => MidTurn::Wait(receive),
            Point::Submit(commit) => {
                self.submit(silo, commit);
                MidTurn::Wait(receive)
            }
        }
    }
}

/// What a turn handles with its first commit point.
///
/// # Errors
/// When the reminder's time comes again, or is over.
fn handled_by(silo: &Inner, origin: &Origin) -> Result<Option<Handled>, ()> {
    match origin {
        Origin::Outbox(id) => Ok(Some(Handled::Tell(id.clone()))),
        Origin::Reminder(row) => {
            let fired = silo.reminders.begin(row).ok_or(())?;
            silo.metrics.reminder_turns.increment(1);
            Ok(Some(Handled::Reminder(fired)))
        }
        Origin::Caller(_) | Origin::Timer(_) | Origin::Snapshot => Ok(None),
    }
}

/// Tells the outbox what became of a commit's tells.
fn settle(
    silo: &Inner,
    outcome: Result<(), CommitError>,
    handled: Option<&TellId>,
    sent: Vec<(TellId, quark_core::envelope::Tell)>,
) {
    match outcome {
        Ok(()) => {
            handled.into_iter().for_each(|id| silo.outbox.handled(id));
            silo.outbox.sent(sent);
        }
        Err(error) => {
            handled.into_iter().for_each(|id| silo.outbox.commit_failed(id, error));
            if error == CommitError::Unknown && !sent.is_empty() {
                silo.outbox.doubt();
            }
        }
    }
}

/// Where a commit point in the middle of a turn leaves it.
pub(crate) enum MidTurn {
    /// All is durable.
    Open,
    /// It must wait.
    Wait(oneshot::Receiver<Result<(), CommitError>>),
    /// It will never be.
    Failed(CommitError),
}

impl MidTurn {
    /// Waits until all that the turn wrote so far is durable.
    pub(crate) async fn wait(self) -> Result<(), CommitError> {
        match self {
            Self::Open => Ok(()),
            Self::Failed(error) => Err(error),
            // A sender that is gone means that the silo is going down with the commit under way.
            Self::Wait(landed) => landed.await.unwrap_or(Err(CommitError::Unknown)),
        }
    }
}

/// Whether the result is within the kind's limit.
pub(super) fn within_limit(kind: &Kind, payload: &Payload) -> Result<(), CallError> {
    let limit = kind.policy.limits.result;
    if payload.bytes() as u64 > limit {
        return Err(CallError::Failed(format!("its result is over the limit of {limit} bytes")));
    }
    Ok(())
}

/// The method in the version that lives, if the message was made for another one.
pub(super) fn same_method(served: &Arc<Served>, method: MethodRef) -> Result<MethodRef, CallError> {
    if Arc::ptr_eq(served, &method.served) {
        return Ok(method);
    }
    if let Some(hook) = method.served.kind().hook_at(method.at) {
        let at = served.kind().hook(hook);
        let gone = || CallError::Incompatible(format!("its new version exports no `{}`", method.name()));
        return at.map(|at| MethodRef { served: served.clone(), at }).ok_or_else(gone);
    }
    match served.kind().method(method.name()) {
        Some((at, now)) if now.signature.hash == method.method().signature.hash => {
            Ok(MethodRef { served: served.clone(), at })
        }
        _ => Err(CallError::Incompatible(format!(
            "a new version of `{}` was deployed meanwhile, and its `{}` has other types",
            served.kind().name.short(),
            method.name()
        ))),
    }
}

/// Tells whoever waits for a turn that it ended so. A tell that a neighbour's failure ended, or that its
/// receiver cannot take now, comes again, and that is not counted against it.
pub(super) fn answer_trap(silo: &Arc<Inner>, origin: Origin, trap: Trap) {
    let error = match (&origin, trap) {
        (Origin::Outbox(_) | Origin::Reminder(_), Trap::Neighbour(_)) => CallError::Overloaded(NO_ROOM_RETRY_MS),
        (Origin::Outbox(_) | Origin::Reminder(_), Trap::CoolsDown { retry_ms, .. }) => CallError::Overloaded(retry_ms),
        (_, trap) => trap_error(trap),
    };
    silo.answer(origin, error);
}

/// What a caller is told of a turn that ended so.
pub(super) fn trap_error(trap: Trap) -> CallError {
    match trap {
        Trap::Guest(reason) | Trap::Undecided(reason) | Trap::Failed(reason) => CallError::Failed(reason),
        Trap::Refused(reason) => CallError::Failed(format!("it refused to wake: {reason}")),
        Trap::Commit(error) => commit_failed(error),
        Trap::NoRoom(_) => CallError::Overloaded(NO_ROOM_RETRY_MS),
        Trap::Neighbour(_) => CallError::Failed(trap.to_string()),
        Trap::CoolsDown { retry_ms, reason } => CallError::CoolsDown { retry_ms, reason },
        Trap::Stopped => CallError::Stopped,
        Trap::Unbegun => CallError::Overloaded(NO_ROOM_RETRY_MS),
        Trap::Abandoned | Trap::Overdue(_) => CallError::DeadlineExceeded,
    }
}
