//! Whether whoever called for a turn still waits for it.
//!
//! A caller that gave up has dropped its end of the reply. Nothing else is kept: a call that does not
//! wait costs nothing here.

use std::sync::atomic::Ordering;
use std::time::Instant;

use quark_core::activation::Turn;
use quark_engine::Trap;

use super::Activation;
use super::turn::{Ran, Running};
use crate::lasting::Lasting;
use crate::message::{MethodRef, Origin};
use crate::silo::Inner;

impl Activation {
    /// A turn of that method begins.
    pub(super) fn note_short(&self, silo: &Inner, method: &MethodRef, now: Instant) {
        if !self.long.has(method.at) {
            silo.long_turns.note_short(now);
        }
    }

    /// A turn of that method, which may last as the one before did.
    pub(super) fn lasting(&self, silo: &Inner, method: &MethodRef, turn: Running) -> Lasting<Ran> {
        Lasting::new(&silo.long_turns, turn, self.long.has(method.at))
    }

    /// Runs a turn in a task, and notes when whoever waits for it goes away. After `last` nobody has waited
    /// for long, and the instance, which cannot be entered again, is given up.
    pub(super) async fn to_its_end(
        &self,
        mut turn: Lasting<Ran>,
        method: &MethodRef,
        origin: &mut Origin,
        last: tokio::time::Instant,
    ) -> Ran {
        let mut reply = if let Origin::Caller(reply) = origin { Some(reply) } else { None };
        let ran = std::future::poll_fn(|cx| {
            let ran = turn.poll(cx);
            if ran.is_pending()
                && let Some(to) = &mut reply
                && to.poll_closed(cx).is_ready()
            {
                self.given_up.store(true, Ordering::Relaxed);
                reply = None;
            }
            ran
        });
        let ran = tokio::time::timeout_at(last, ran).await;
        self.long.ended(method.at, turn.lasted());
        if ran.is_err() {
            turn.give_up().await;
        }
        let ran = ran.ok().flatten().unwrap_or(Err(Trap::Abandoned));
        self.given_up.store(false, Ordering::Relaxed);
        ran
    }

    /// Whether whoever called for that running turn is gone.
    pub(crate) fn is_given_up(&self, turn: Turn) -> bool {
        self.given_up.load(Ordering::Relaxed) || self.is_given_up_beside(turn)
    }

    /// Whether that turn still runs; of a hook, which has no number, that is not known.
    pub(crate) fn may_run(&self, turn: Turn) -> bool {
        turn.number == 0 || self.runs(turn)
    }
}
