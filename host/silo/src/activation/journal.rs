//! An activation with a journal: when it wakes by that, and when it says what that came to.

use std::sync::Arc;

use quark_core::activation::Turn;
use quark_core::time::Time;
use quark_engine::values::Payload;
use quark_engine::{Hook, Reached, Trap};

use super::{Activation, Machine, Slot};
use crate::message::{Message, MethodRef, Work};
use crate::silo::Inner;

impl Machine {
    /// A snapshot is taken next. The token is held, or turns run beside others, so this grants nothing. It has
    /// its place unless the mailbox is full of notices; then a later event asks again.
    pub(super) fn ask_for_snapshot(&mut self) {
        self.turns.admit(Message::notice(Work::Snapshot, Time::NEVER)).ok();
    }
}

impl Activation {
    /// What takes a snapshot, if an instance lives that can.
    pub(super) fn on_snapshot(&self) -> Option<(MethodRef, Payload)> {
        let machine = self.machine.lock();
        let Slot::Live(live) = &machine.slot else { return None };
        let at = live.served.kind().hook(Hook::Snapshot).filter(|_| !live.instance.is_over())?;
        Some((MethodRef { served: live.served.clone(), at }, quark_engine::snapshot_arguments(&self.id)))
    }

    /// All that it appended must be in the store before it is read from there.
    pub(super) async fn settle_journal(&self, silo: &Arc<Inner>, generation: u64) -> Result<(), Trap> {
        let point = self.commit_point(silo, Turn { generation, number: 0 }, Reached::Free(None));
        point.wait().await.map_err(Trap::Commit)
    }
}
