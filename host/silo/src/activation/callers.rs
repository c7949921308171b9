//! Whether whoever called for a turn still waits for it.
//!
//! A caller that gave up has dropped its end of the reply. Nothing else is kept: a call that does not
//! wait costs nothing here.

use std::sync::atomic::Ordering;

use quark_core::activation::Turn;
use quark_engine::Trap;

use super::Activation;
use super::turn::{Ran, Running};
use crate::lasting::Lasting;
use crate::message::Origin;
use crate::silo::Inner;

/// So many turns in a row must be short before the next one begins with a worker again: long ones may come between
/// others.
const LASTS_FOR: u8 = 8;

impl Activation {
    /// Its next turn, which may last as its last one did.
    pub(super) fn lasting(&self, silo: &Inner, turn: Running) -> Lasting<Ran> {
        Lasting::new(&silo.long_turns, turn, self.lasts())
    }

    pub(super) fn lasts(&self) -> bool {
        self.lasts.load(Ordering::Relaxed) > 0
    }

    /// Runs a turn in a task, and notes when whoever waits for it goes away. After `last` nobody has waited
    /// for long, and the instance, which cannot be entered again, is given up.
    pub(super) async fn to_its_end(
        &self,
        mut turn: Lasting<Ran>,
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
        let left = self.lasts.load(Ordering::Relaxed).saturating_sub(1);
        self.lasts.store(if turn.lasted() { LASTS_FOR } else { left }, Ordering::Relaxed);
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
