//! Turns of an activation's timers: they begin only while the instance lives that started them.

use quark_core::timers::Firing;
use quark_engine::Hook;
use quark_engine::values::Payload;

use super::{Activation, Slot};
use crate::message::MethodRef;
use crate::silo::Inner;

impl Activation {
    /// What timers call, if an instance lives that they are of.
    pub(super) fn on_timer(&self) -> Option<MethodRef> {
        let machine = self.machine.lock();
        let Slot::Live(live) = &machine.slot else { return None };
        let at = live.served.kind().hook(Hook::Timer).filter(|_| !live.instance.is_over())?;
        Some(MethodRef { served: live.served.clone(), at })
    }

    /// The arguments of a timer's turn, if that is still to be.
    pub(super) fn begin_timer(&self, silo: &Inner, firing: Firing) -> Option<Payload> {
        let text = silo.timers.begin(firing, silo.clock.now())?;
        silo.metrics.timer_turns.increment(1);
        Some(quark_engine::on_timer_arguments(&self.id, &text))
    }
}
