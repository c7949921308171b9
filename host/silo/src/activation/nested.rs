//! Turns of one activation that begin inside of one that waits for them, on the stack of its instance.
//!
//! The machine says which may begin; the instance runs them where the outer turn waits
//! (`quark_engine`'s `nested`), and tells of their end here. The token stays with whoever runs the
//! outermost turn.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use quark_core::activation::{Point, Step, Turn};
use quark_core::commit::{CommitError, Write};
use quark_engine::values::Payload;
use quark_engine::{Returned, Started, Trap};

use super::Activation;
use super::traced::{Begins, occasion};
use super::turn::{answer_trap, same_method, within_limit};
use crate::kinds::Served;
use crate::message::{Message, MethodRef, Origin, Output, Work};
use crate::silo::Inner;

/// A turn inside of another one, and what is to be told of it.
struct Inside {
    turn: Turn,
    method: MethodRef,
    origin: Origin,
    started: Instant,
}

impl Activation {
    /// That turn waits for the answer of that call.
    pub(crate) fn waits(&self, turn: Turn, call: u32) {
        let mut machine = self.machine.lock();
        machine.turns.wait(turn, call);
        let wake = machine.turns.overlaps();
        drop(machine);
        if wake {
            self.events().notify_one();
        }
    }

    /// It waits no longer.
    pub(crate) fn resumes(&self, turn: Turn, call: u32) {
        self.machine.lock().turns.resume(turn, call);
    }

    /// The next turn to run inside of the one that waits.
    pub(crate) async fn returning(&self, silo: &Arc<Inner>, served: &Arc<Served>) -> Result<Returned, CommitError> {
        loop {
            match self.next_inside(silo)? {
                Some(Step::Run(turn, message)) => {
                    if let Some(returned) = self.begin_inside(silo, served, turn, message) {
                        return Ok(returned);
                    }
                }
                Some(Step::Expired(message)) => silo.expired(&self.id, message),
                Some(Step::Load | Step::Leave(..) | Step::Wait | Step::Idle | Step::Down | Step::Gone(_)) | None => {
                    self.events().notified().await;
                }
            }
        }
    }

    fn next_inside(&self, silo: &Inner) -> Result<Option<Step<Message>>, CommitError> {
        let mut machine = self.machine.lock();
        match machine.turns.broken() {
            Some(error) => Err(error),
            None => Ok(machine.turns.returning(silo.clock.now())),
        }
    }

    fn begin_inside(&self, silo: &Arc<Inner>, served: &Arc<Served>, turn: Turn, message: Message) -> Option<Returned> {
        let Message { head, work, admitted, .. } = message;
        // An operator's comes back to nothing: it has no path.
        let Work::Method { method, payload, origin } = work else { return None };
        let method = match same_method(served, method) {
            Ok(method) => method,
            Err(error) => {
                self.machine.lock().turns.ended(turn, None);
                silo.answer(origin, error);
                return None;
            }
        };
        self.progressed.store(false, Ordering::Relaxed);
        let now = Instant::now();
        if method.served.is_traced() {
            let (bytes, occasion) = (payload.bytes(), occasion(&method, matches!(origin, Origin::Outbox(_))));
            let (method, head, admitted) = (&method, &head, Some(admitted));
            self.trace(silo, turn, &Begins { method, head, bytes, occasion, admitted, now });
        }
        let started = Started { head, turn, method: method.at, handles: None, payload };
        let inside = Inside { turn, method, origin, started: now };
        let (me, silo) = (self.me.upgrade()?, silo.clone());
        Some(Returned { started, ended: Box::new(move |ran| me.ended_inside(&silo, inside, ran)) })
    }

    fn ended_inside(
        &self,
        silo: &Arc<Inner>,
        inside: Inside,
        ran: Result<(Payload, Option<Box<Write>>), Trap>,
    ) -> Result<(), CommitError> {
        let Inside { turn, method, origin, started } = inside;
        // The outer turn has made a call, at the least.
        let progressed = self.progressed.swap(true, Ordering::Relaxed);
        let (payload, write) = match ran {
            Ok(done) => done,
            Err(trap) => {
                let mut machine = self.machine.lock();
                if matches!(trap, Trap::Unbegun) {
                    machine.turns.ended(turn, None);
                } else {
                    // The outermost turn ends with the instance, and then all that run in it.
                    machine.ran += 1;
                }
                drop(machine);
                self.trace_trapped(turn, &trap);
                answer_trap(silo, origin, trap);
                return Ok(());
            }
        };
        let output = match origin {
            Origin::Caller(to) => {
                let outcome = within_limit(method.served.kind(), &payload).map(|()| payload);
                Output::Reply { to, outcome, progressed }
            }
            Origin::Outbox(id) => Output::Told(id),
            Origin::Reminder(row) => Output::Reminded(row),
            // A timer's comes back to nothing.
            Origin::Timer(_) | Origin::Snapshot => Output::Nothing,
        };
        let mut machine = self.machine.lock();
        machine.ran += 1;
        let write = write.map(|write| *write).unwrap_or_default();
        let output = machine.traced(Some(turn), Some(&write), output);
        let point = machine.commit_point(write, output);
        if let Point::Failed(output, error) = point {
            drop(machine);
            output.fail(silo, error);
            return Err(error);
        }
        machine.turns.ended(turn, Some(started.elapsed()));
        drop(machine);
        self.pass(silo, point);
        Ok(())
    }
}
