//! One job in a pack's event loop.

use std::time::Instant;

use quark_core::activation::Turn;
use smallvec::smallvec;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, Func, GuestTaskId, Val};

use super::desk::{Job, Reply, Turned, Work};
use super::run::Call;
use super::{Pack, Unseated};
use crate::cell::{self, Arguments, Exports};
use crate::error::Trap;
use crate::guest::{Guest, Runs, TurnClock, TurnContext};
use crate::instance::{Cause, Started, left, look};
use crate::kind::Method;
use crate::replay::{Journaled, Waking};
use crate::values::{Payload, Vals};

impl Pack {
    /// Begins a job; what is over at once gives none.
    pub(super) fn begin<'a>(
        &'a self,
        accessor: &'a Accessor<Guest>,
        exports: &mut Exports,
        job: Job,
    ) -> Result<Option<Call<'a>>, Trap> {
        let Job { seat, work, reply } = job;
        let seat = match (seat, work) {
            (None, Work::Sit(member, cause)) => {
                let seat = accessor.with(|mut access| access.data_mut().sit(Some(member)));
                return self.begin_to_wake(accessor, exports, seat, cause, reply).map(Some);
            }
            (Some(seat), work) => {
                accessor.with(|mut access| access.data_mut().show(seat));
                (seat, work)
            }
            (None, _) => return Ok(None),
        };
        match (seat, reply) {
            ((seat, Work::Wake(cause)), reply) => {
                return self.begin_to_wake(accessor, exports, seat, cause, reply).map(Some);
            }
            ((seat, Work::Turn(this)), Reply::Turned(turn, done)) => {
                let Started { head, turn, method, handles, mut payload } = *turn;
                // From here on it has begun: what fails is its own fault.
                let run = self.desk.lock().begins(seat, Reply::Turns(done));
                let exported = self.component.kinds[self.kind_at].called(method);
                let func = accessor.with(|mut access| exports.method(access.as_context_mut(), method))?;
                let arguments = accessor
                    .with(|mut access| cell::arguments(access.as_context_mut(), this, exported, &mut payload))?;
                let mut context = self.context(turn, Runs::Method(method));
                (context.head, context.read_only, context.handled) = (head, exported.read_only, handles);
                let turn = Begun { seat, run, func, arguments, context };
                return Ok(Some(of(seat, self.turn(accessor, turn, exported, payload))));
            }
            ((seat, Work::Sleep(why)), reply) => {
                let run = self.desk.lock().begins(seat, reply);
                let hook = accessor.with(|mut access| exports.deactivate(access.as_context_mut(), why))?;
                return Ok(Some(of(seat, self.sleep(accessor, seat, run, hook))));
            }
            ((_, Work::Look(name)), Reply::Looked(reply)) => {
                let looked = accessor.with(|mut access| look(&access.data_mut().member.state, &name));
                drop(reply.send(looked));
            }
            ((_, Work::Settle), Reply::Settled(reply)) => {
                drop(reply.send(accessor.with(|mut access| left(access.data_mut()))));
            }
            ((seat, Work::Leave(this)), Reply::Left(reply)) => {
                let member = accessor.with(|mut access| access.data_mut().leave(seat));
                self.desk.lock().drop_later(this);
                drop(reply.send(member));
            }
            ((_, Work::Sit(..) | Work::Turn(_) | Work::Look(_) | Work::Settle | Work::Leave(_)), reply) => {
                reply.trapped(Trap::Unbegun);
            }
        }
        Ok(None)
    }

    fn context(&self, turn: Turn, runs: Runs) -> TurnContext {
        let limit = self.component.kinds[self.kind_at].policy.limits.turn;
        let mut context = TurnContext::none(TurnClock::new(limit, self.component.engine.beats.clone()));
        (context.turn, context.runs, context.read_only) = (turn, runs, false);
        context.clock.start(true, Instant::now(), None);
        context
    }

    /// Calls, as a turn of that seat's actor; the turn is shown afterwards.
    async fn call(&self, accessor: &Accessor<Guest>, call: Begun, results: &mut [Val]) -> Result<GuestTaskId, Trap> {
        let Begun { seat, func, arguments, context, run: _ } = call;
        let trap = |error| accessor.with(|mut access| cell::trap(access.data_mut(), &error));
        let called = accessor.with(|mut access| {
            let called = func.start_call_concurrent(access.as_context_mut(), &arguments, results)?;
            access.data_mut().begin(called.task(), seat, context);
            wasmtime::Result::Ok(called)
        });
        let called = called.map_err(trap)?;
        let task = called.task();
        func.finish_call_concurrent(accessor, called).await.map_err(trap)?;
        accessor.with(|mut access| access.data_mut().show_turn(task));
        Ok(task)
    }

    async fn turn(
        &self,
        accessor: &Accessor<Guest>,
        begun: Begun,
        method: &Method,
        mut payload: Payload,
    ) -> Result<(), Trap> {
        let mut results: Vals = cell::results(method);
        let run = begun.run;
        let task = self.call(accessor, begun, &mut results).await?;
        let turned = accessor.with(|mut access| {
            let mut store = access.as_context_mut();
            let answered = cell::answer(store.as_context_mut(), method, results, &mut payload);
            let guest = store.data_mut();
            let turned = match answered {
                Ok(()) => {
                    let (write, wishes) = (guest.reached(), std::mem::take(&mut guest.member.wishes));
                    Turned::Ended { payload, write, wishes }
                }
                // It leaves the other actors alone; other turns of its own would go on.
                Err(failed @ Trap::Failed(_)) if !self.overlap => {
                    guest.member.undo();
                    Turned::Trapped(failed)
                }
                Err(trap) => return Err(trap),
            };
            guest.end(task);
            Ok(turned)
        })?;
        if let Some(Reply::Turns(done)) = self.ended(run) {
            done(turned);
        }
        Ok(())
    }

    fn begin_to_wake<'a>(
        &'a self,
        accessor: &'a Accessor<Guest>,
        exports: &Exports,
        seat: usize,
        cause: Cause,
        reply: Reply,
    ) -> Result<Call<'a>, Trap> {
        let run = self.desk.lock().begins(seat, reply);
        let (journaled, activate, constructor, turn, key) = accessor.with(|mut access| {
            access.data_mut().show(seat);
            let journaled = exports.journaled(access.as_context_mut())?;
            let activate = exports.activate(access.as_context_mut(), cause)?;
            let constructor = exports.constructor(access.as_context_mut())?;
            let member = &access.data_mut().member;
            let turn = Turn { generation: member.generation, number: 0 };
            Ok((journaled, activate, constructor, turn, Val::String(member.actor.key.to_string())))
        })?;
        let begun = |func, argument| {
            let arguments: Arguments = smallvec![argument];
            Begun { seat, run, func, arguments, context: self.context(turn, Runs::Activate) }
        };
        let activate = activate.map(|(func, activation)| begun(func, activation));
        let construct = begun(constructor, key);
        Ok(of(seat, async move {
            let woken = match journaled {
                Some(functions) => Box::pin(self.replay(accessor, functions, (seat, run, turn))).await,
                None => Ok(()),
            };
            let woken = match woken {
                Ok(()) => self.wake(accessor, activate, construct).await,
                Err(trap) => Err(trap),
            };
            let sat = match woken {
                Ok(this) => Ok((seat, this)),
                // An actor that refuses to wake leaves the others alone.
                Err(refused @ Trap::Refused(_)) => {
                    accessor.with(|mut access| access.data_mut().leave(seat));
                    Err(Unseated::Trap(refused))
                }
                Err(trap) => return Err(trap),
            };
            if let Some(Reply::Sat(reply, _)) = self.ended(run)
                && let Err(Ok((seat, this))) = reply.send(sat)
            {
                // Nobody waits for it any more.
                self.desk.lock().leave(seat, this);
            }
            Ok(())
        }))
    }

    async fn replay(
        &self,
        accessor: &Accessor<Guest>,
        functions: Journaled,
        (seat, run, turn): (usize, u64, Turn),
    ) -> Result<(), Trap> {
        let waking = accessor.with(|mut access| {
            access.data_mut().show(seat);
            Waking::of(access.data_mut(), functions)
        });
        let Some(mut waking) = waking? else { return Ok(()) };
        while let Some(given) = waking.next().await? {
            let (func, arguments) = waking.by_values(&given);
            let mut context = self.context(turn, Runs::Replay);
            context.read_only = true;
            accessor.with(|mut access| {
                access.data_mut().show(seat);
                access.data_mut().member.replays = Some(waking.doing());
            });
            let answer = self.call_for_one(accessor, Begun { seat, run, func, arguments, context }).await;
            accessor.with(|mut access| {
                access.data_mut().show(seat);
                access.data_mut().member.replays = None;
                waking.answered(access.data_mut(), answer.map(cell::hook_answer))
            })?;
        }
        Ok(())
    }

    async fn wake(
        &self,
        accessor: &Accessor<Guest>,
        activate: Option<Begun>,
        construct: Begun,
    ) -> Result<wasmtime::component::ResourceAny, Trap> {
        if let Some(activate) = activate {
            let result = self.call_for_one(accessor, activate).await?;
            cell::hook_answer(result).map_err(Trap::Refused)?;
        }
        let made = self.call_for_one(accessor, construct).await?;
        cell::constructed(&self.component.kinds[self.kind_at], made)
    }

    /// Calls for one result; that turn is over then.
    async fn call_for_one(&self, accessor: &Accessor<Guest>, begun: Begun) -> Result<Val, Trap> {
        let mut results = [Val::Bool(false)];
        let task = self.call(accessor, begun, &mut results).await?;
        accessor.with(|mut access| access.data_mut().end(task));
        let [result] = results;
        Ok(result)
    }

    async fn sleep(
        &self,
        accessor: &Accessor<Guest>,
        seat: usize,
        run: u64,
        hook: Option<(Func, [Val; 2])>,
    ) -> Result<(), Trap> {
        if let Some((func, arguments)) = hook {
            let turn = Turn { generation: accessor.with(|mut access| access.data_mut().member.generation), number: 0 };
            let arguments: Arguments = arguments.into_iter().collect();
            let context = self.context(turn, Runs::Deactivate);
            let result = self.call_for_one(accessor, Begun { seat, run, func, arguments, context }).await?;
            accessor.with(|mut access| {
                access.data_mut().show(seat);
                cell::refused_to_sleep(access.data_mut(), result);
            });
        }
        let write = accessor.with(|mut access| {
            access.data_mut().show(seat);
            access.data_mut().take_write()
        });
        if let Some(Reply::Slept(reply)) = self.ended(run) {
            // Nobody waits for it any more: what it wrote is lost, as with a hook that takes too long.
            drop(reply.send(Ok(write)));
        }
        Ok(())
    }

    fn ended(&self, run: u64) -> Option<Reply> {
        self.desk.lock().runs.remove(&run).map(|runs| runs.reply)
    }
}

/// What fails is that seat's.
fn of<'a>(seat: usize, call: impl Future<Output = Result<(), Trap>> + Send + 'a) -> Call<'a> {
    Box::pin(async move { call.await.map_err(|trap| (seat, trap)) })
}

/// A call that is about to be made.
struct Begun {
    seat: usize,
    run: u64,
    func: Func,
    arguments: Arguments,
    context: TurnContext,
}
