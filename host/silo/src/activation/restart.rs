//! An actor that failed: when it may be loaded again, and who is told meanwhile.

use std::sync::{Arc, Weak};

use quark_core::supervision::{Supervision, Verdict};
use quark_core::time::Time;
use quark_engine::Trap;

use super::turn::answer_trap;
use super::{Activation, Machine};
use crate::message::{Message, Work};
use crate::silo::Inner;

impl Activation {
    /// A failure of its own ended the instance just now, and the token is held. Gives the messages to
    /// turn away, when the machine is unlocked: it failed too often.
    pub(super) fn failed(&self, silo: &Arc<Inner>, machine: &mut Machine, trap: &Trap) -> Vec<Message> {
        if !trap.is_own_failure() {
            return Vec::new();
        }
        let policy = machine.serves.as_ref().map_or_else(Supervision::default, |it| it.kind().policy.supervision);
        // Without those that the failed turn spawned.
        silo.families.loaded(&self.id, machine.standing(), policy);
        let has_children = trap.counts() && !machine.standing().children.is_empty() && silo.families.down(&self.id);
        if let Some(parent) = machine.standing().parent.clone().filter(|_| trap.counts() && !silo.ends_waits()) {
            silo.supervised.remember(&self.id, trap);
            machine.turns.hold_down();
            silo.child_failed(parent, self.id.clone(), trap.to_string());
            silo.work(&self.id);
            return Vec::new();
        }
        let now = silo.clock.now();
        let verdict = silo.supervised.failed(&self.id, trap, &policy, now);
        if let Some(Verdict::CoolDown(until)) = verdict {
            silo.families.cool(&self.id, until, &trap.to_string());
        }
        // Its children start again with it; those that it holds from now on know whether it cools down.
        silo.work(&self.id);
        if has_children && let Some(Verdict::Restart(_)) = verdict {
            // The token is held, so this cannot grant it. It has its place unless the mailbox is full of notices.
            machine.turns.admit(Message::notice(Work::Revive, Time::NEVER)).ok();
        }
        match verdict {
            None => Vec::new(),
            Some(Verdict::Restart(at)) if at <= now || silo.ends_waits() => Vec::new(),
            Some(Verdict::Restart(at)) => {
                machine.turns.hold_down();
                silo.spawn(go_on(self.me.clone(), at, silo.clock.instant(at)));
                Vec::new()
            }
            Some(Verdict::CoolDown(_)) => machine.turns.turn_away(),
        }
    }

    /// Ends the wait before its restart.
    pub(crate) fn cut_short(self: &Arc<Self>) {
        let token = self.machine.lock().turns.go_on();
        if token {
            self.drive();
        }
    }

    /// Answers messages that waited for an actor which failed too often.
    pub(super) fn turn_away(&self, silo: &Arc<Inner>, waiting: Vec<Message>) {
        if waiting.is_empty() {
            return;
        }
        // Nothing is there when an operator has just ended it: then a repeat succeeds.
        let trap = silo.supervised.cools(&self.id, silo.clock.now()).unwrap_or(Trap::Unbegun);
        turn_away(silo, waiting, &trap);
    }

    /// Turns messages away before anything is loaded for them. True when nobody is left to load it for.
    pub(super) fn cools_down(&self, silo: &Arc<Inner>) -> bool {
        let trap = silo.supervised.cools(&self.id, silo.clock.now());
        trap.is_some_and(|trap| self.all_turned_away(silo, &trap))
    }

    /// The same for that reason.
    pub(super) fn all_turned_away(&self, silo: &Arc<Inner>, trap: &Trap) -> bool {
        let mut machine = self.machine.lock();
        let waiting = machine.turns.turn_away();
        let over = machine.turns.waiting().0 == 0;
        if over {
            machine.turns.refused();
        }
        drop(machine);
        turn_away(silo, waiting, trap);
        over
    }
}

/// The same answer for all. Operators' messages do not come here.
pub(super) fn turn_away(silo: &Arc<Inner>, waiting: Vec<Message>, trap: &Trap) {
    for message in waiting {
        match message.work {
            Work::Method { origin, .. } => answer_trap(silo, origin, trap.clone()),
            Work::Timer(firing) => silo.timers.ended(firing, silo.clock.now()),
            Work::Operate(operate) => drop(operate.reply.send(Err(super::turn::trap_error(trap.clone()).into()))),
            Work::Notice(notice) => drop(notice.reply.send(Err(super::turn::trap_error(trap.clone())))),
            Work::Adopt(adopt) => drop(adopt.reply.send(Err(super::turn::trap_error(trap.clone())))),
            Work::Revive | Work::Snapshot => {}
        }
    }
}

/// Ends the wait before a restart when it is over.
async fn go_on(activation: Weak<Activation>, at: Time, instant: tokio::time::Instant) {
    tokio::time::sleep_until(instant).await;
    let Some(activation) = activation.upgrade() else { return };
    let Some(silo) = activation.silo.upgrade() else { return };
    // Its wait may have been cut short, and it failed again: then another one of these waits.
    if silo.supervised.verdict(&activation.id, silo.clock.now()).is_some_and(|verdict| verdict.until() > at) {
        return;
    }
    drop(silo);
    let token = activation.machine.lock().turns.go_on();
    if token {
        activation.run(None).await;
    }
}
