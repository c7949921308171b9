//! An activation as a parent and as a child: its row, its adoption, and how it is held.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quark_core::activation::{Phase, Point, Turn, Why};
use quark_core::commit::Write;
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::standing::{KeptStanding, Standing};
use quark_engine::{Cause, Left, Trap};
use tokio::sync::oneshot;

use super::turn::trap_error;
use super::{Activation, Live, Machine, Slot};
use crate::families::Gate;
use crate::message::{Adopt, Output, commit_failed};
use crate::silo::Inner;
use crate::store::StoreError;
use crate::waits::Recorded;

/// Of an actor of which nothing is kept.
static NOTHING: Standing = Standing { stopped: false, parent: None, children: Vec::new() };

impl Machine {
    /// What is kept of the actor, with what the running turn staged.
    pub(crate) fn standing(&self) -> &Standing {
        self.standing.as_ref().map_or(&NOTHING, |kept| kept.get())
    }

    /// The same; none when nothing is loaded.
    pub(crate) fn loaded_standing(&self) -> Option<&Standing> {
        self.turns.loaded_as().map(|_| self.standing())
    }

    /// Its parent, while it waits for a restart.
    pub(crate) fn held_by(&self) -> Option<ActorId> {
        let down = self.turns.phase() == Phase::Down;
        self.standing().parent.clone().filter(|_| down)
    }

    /// Stages a change of it for the next commit point; gives it as it was.
    pub(crate) fn stage_standing(&mut self, change: impl FnOnce(&mut Standing)) -> &Standing {
        let kept = self.standing.get_or_insert_default();
        kept.stage(change);
        kept.get()
    }

    pub(super) fn is_standing_staged(&self) -> bool {
        self.standing.as_ref().is_some_and(|kept| kept.is_staged())
    }

    /// What is written with a commit.
    pub(super) fn with_standing(&mut self, mut write: Write) -> Write {
        write.changes.extend(self.standing.as_mut().and_then(|kept| kept.take_change()));
        write
    }

    /// A commit point of the running turn.
    pub(super) fn commit_point(&mut self, write: Write, output: Output) -> Point<Output> {
        let write = self.with_standing(write);
        let write = self.with_answers(write);
        self.turns.commit_point(write, output)
    }

    /// The instance is over, and what was staged with it.
    pub(super) fn trapped(&mut self) -> Vec<Output> {
        self.undo_standing();
        let undone = self.turns.trapped();
        self.keyed_trapped();
        undone
    }

    pub(super) fn undo_standing(&mut self) {
        self.standing.iter_mut().for_each(|kept| kept.undo());
    }

    /// Why it is about to be woken; false when it is awake.
    fn wakes_for(&mut self, cause: Cause) -> bool {
        let Slot::Loaded(loaded) = &mut self.slot else { return false };
        loaded.cause = cause;
        true
    }

    /// That child was stopped, or is another's now.
    pub(crate) fn forget_child(&mut self, child: &ActorId) {
        if self.standing().lists(child) {
            self.standing.iter_mut().for_each(|kept| kept.forget(child));
        }
    }
}

impl Activation {
    pub(crate) fn phase(&self) -> Phase {
        self.machine.lock().turns.phase()
    }

    /// Whether it is to end and wait, and nobody has let it go on; it has not ended yet.
    pub(crate) fn is_to_wait(&self) -> bool {
        self.machine.lock().turns.is_to_wait()
    }

    /// Whether it has no instance, and nothing that would wake it.
    pub(crate) fn is_asleep(&self) -> bool {
        let machine = self.machine.lock();
        machine.turns.is_idle() && !matches!(machine.slot, Slot::Live(_))
    }

    /// It is to end after its turn, and waits then, as a child of that parent if it has one. Whether it lived; and
    /// whether the caller now holds the token.
    pub(crate) fn hold(&self, parent: Option<&ActorId>) -> (bool, bool) {
        let mut machine = self.machine.lock();
        if machine.turns.phase() == Phase::Asleep && machine.standing.is_none() {
            // Whoever looks at one that waits sees whose it is, though nothing of it is loaded.
            let row = parent.map(|parent| Standing { parent: Some(parent.clone()), ..Standing::default() });
            machine.standing = row.map(|row| Box::new(KeptStanding::new(row)));
        }
        let lived = matches!(machine.slot, Slot::Live(_)) || machine.turns.running().is_some();
        self.restart.store(true, Ordering::Relaxed);
        (lived, machine.turns.end_and_hold())
    }

    /// Keeps what its row says, when it is loaded: without children that are no longer its own.
    ///
    /// # Errors
    /// When it must not be loaded now: with the answer for all that wait, or with none when they wait on or have
    /// been told.
    pub(super) async fn settle(&self, silo: &Arc<Inner>, row: Standing) -> Result<(), Option<CallError>> {
        // A turn that did not end well may have spawned some that its row never listed.
        if row == NOTHING && !silo.families.has(&self.id) {
            self.machine.lock().standing = None;
            return Ok(());
        }
        Box::pin(self.settle_row(silo, row)).await
    }

    async fn settle_row(&self, silo: &Arc<Inner>, row: Standing) -> Result<(), Option<CallError>> {
        // Whoever looks at one that waits sees whose it is. Whoever ends a child meanwhile takes it out.
        self.machine.lock().standing = Some(Box::new(KeptStanding::new(row.clone())));
        if let Some(parent) = &row.parent
            && self.is_held(silo, parent)
        {
            return Err(None);
        }
        let gone = match silo.no_children_any_more(&self.id, &row).await {
            Ok(gone) => gone,
            Err(StoreError::Unavailable { retry_ms, .. }) => return Err(Some(CallError::Unavailable(retry_ms))),
            Err(error @ StoreError::Damaged(_)) => return Err(Some(CallError::Failed(error.to_string()))),
        };
        let policy = silo.supervision_of(&self.id);
        let mut machine = self.machine.lock();
        gone.iter().for_each(|child| machine.forget_child(child));
        silo.families.loaded(&self.id, machine.standing(), policy);
        drop(machine);
        silo.work(&self.id);
        Ok(())
    }

    /// Whether it must not be loaded now, as a child; what is to be done about that is done.
    pub(super) fn is_held(&self, silo: &Arc<Inner>, parent: &ActorId) -> bool {
        match silo.gate(parent, &self.id) {
            Gate::Free => {
                silo.families.woke(parent, &self.id);
                return false;
            }
            Gate::Cools(trap) => return self.all_turned_away(silo, &trap),
            Gate::Down => {
                let mut machine = self.machine.lock();
                // An operator's needs no guest.
                if machine.turns.holds_control() {
                    return false;
                }
                silo.families.waits(parent, &self.id);
                machine.turns.hold_down();
            }
        }
        // Whoever ended its wait before it was held did not see it wait.
        if !matches!(silo.gate(parent, &self.id), Gate::Down) {
            self.machine.lock().turns.go_on();
        }
        true
    }

    /// After an operator's turn: it waits on if it has to.
    pub(super) fn wait_on(&self, silo: &Arc<Inner>) {
        let mut machine = self.machine.lock();
        let Some(parent) = machine.standing().parent.clone() else { return };
        if machine.standing().stopped || matches!(silo.gate(&parent, &self.id), Gate::Free) {
            return;
        }
        silo.families.waits(&parent, &self.id);
        // The token is held, so this cannot grant it, nor can what follows.
        machine.turns.end_and_hold();
        // Whoever ended its wait before it was held did not see it wait.
        if !matches!(silo.gate(&parent, &self.id), Gate::Down) {
            machine.turns.go_on();
        }
    }

    /// It becomes a child: its row says so, and it wakes. Nothing is written when it does not wake.
    pub(super) async fn adopt(
        &self,
        silo: &Arc<Inner>,
        turn: Turn,
        Adopt { parent, reply }: Adopt,
        waits: Option<Box<Recorded>>,
        last: tokio::time::Instant,
    ) {
        let checked = async {
            self.check_adoption(silo, &parent).await?;
            // Whom it has as children is certain here.
            silo.check_above(&parent, &self.id, false).await
        };
        if let Err(error) = checked.await {
            self.not_begun(turn);
            return drop(reply.send(Err(error)));
        }
        silo.supervised.forgive(&self.id);
        let born = {
            let mut machine = self.machine.lock();
            if machine.standing().stopped || machine.standing().parent.as_ref() != Some(&parent) {
                machine.stage_standing(|standing| (standing.stopped, standing.parent) = (false, Some(parent)));
            }
            machine.wakes_for(Cause::Spawn)
        };
        let woken = tokio::time::timeout_at(last, self.wake(silo)).await.unwrap_or(Err(Trap::Abandoned));
        let told = waits.is_some_and(|waits| !waits.begins());
        let live = match woken {
            Ok(live) if told => {
                self.machine.lock().undo_standing();
                return self.put_back(turn, live);
            }
            Ok(live) => live,
            Err(_) if !self.runs(turn) => return drop(reply.send(Err(trap_error(Trap::Unbegun)))),
            Err(trap) => {
                self.machine.lock().undo_standing();
                self.did_not_wake(silo, &trap);
                return drop(reply.send(Err(trap_error(trap))));
            }
        };
        let (done, landed) = oneshot::channel();
        let ended = self.end_awake(silo, turn, (live, born), Output::Resume(done)).await;
        drop(reply.send(ended.map(|()| landed)));
    }

    /// Ends a turn in which it did nothing but wake, if it was not awake. What it staged by that is committed now.
    async fn end_awake(
        &self,
        silo: &Arc<Inner>,
        turn: Turn,
        (mut live, born): (Box<Live>, bool),
        output: Output,
    ) -> Result<(), CallError> {
        let left = if born { live.instance.settle().await } else { None };
        let Left { write, wishes } = left.unwrap_or_default();
        if let Some(wait) = wishes.keep_awake {
            self.awake_until.fetch_max(silo.clock.now().after(wait).0, Ordering::Relaxed);
        }
        let mut machine = self.machine.lock();
        if !machine.turns.runs(turn) {
            return Err(trap_error(Trap::Unbegun));
        }
        let point = machine.commit_point(write, output);
        if let Point::Failed(output, error) = point {
            let undone = machine.trapped();
            drop(machine);
            undone.into_iter().for_each(|output| output.undone(silo));
            drop((live, output));
            return Err(commit_failed(error));
        }
        machine.slot = Slot::Live(live);
        machine.turns.ended(turn, None);
        if wishes.deactivate {
            // The token is held, so this cannot grant it.
            machine.turns.deactivate(Why::Ended);
        }
        drop(machine);
        self.pass(silo, point);
        Ok(())
    }

    async fn check_adoption(&self, silo: &Arc<Inner>, parent: &ActorId) -> Result<(), CallError> {
        let other = self.machine.lock().standing().parent.clone().filter(|other| other != parent);
        let Some(other) = other else { return Ok(()) };
        match silo.lists(&other, &self.id).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(CallError::Denied(format!(
                "{} is a child of {other} already: that one must stop it before {parent} can spawn it",
                self.id
            ))),
            Err(StoreError::Unavailable { retry_ms, .. }) => Err(CallError::Unavailable(retry_ms)),
            Err(error @ StoreError::Damaged(_)) => Err(CallError::Failed(error.to_string())),
        }
    }

    /// It lives: so do its children, also those that it has only spawned since.
    pub(super) fn is_up(&self, silo: &Arc<Inner>) {
        if silo.families.up(&self.id) {
            silo.work(&self.id);
        }
    }

    /// It is to be awake.
    pub(super) async fn revived(&self, silo: &Arc<Inner>, turn: Turn, last: tokio::time::Instant) {
        let born = self.machine.lock().wakes_for(Cause::Restart);
        let woken = tokio::time::timeout_at(last, self.wake(silo)).await.unwrap_or(Err(Trap::Abandoned));
        match woken {
            // Whatever fails is logged where it fails, and the next message finds it as it is.
            Ok(live) => drop(self.end_awake(silo, turn, (live, born), Output::Nothing).await),
            Err(_) if !self.runs(turn) => {}
            Err(Trap::Stopped) => self.not_begun(turn),
            Err(trap) => self.did_not_wake(silo, &trap),
        }
    }

    /// It asked to leave memory, and has: whoever has it as a child decides what that means.
    pub(super) fn has_ended(&self, silo: &Arc<Inner>) {
        let parent = self.machine.lock().standing().parent.clone();
        parent.into_iter().for_each(|parent| silo.child_ended(parent, self.id.clone()));
    }
}

impl Inner {
    /// Whether that child may be loaded. A parent of a kind that is not deployed starts nobody any more, nor does
    /// a silo that stops.
    pub(crate) fn gate(&self, parent: &ActorId, child: &ActorId) -> Gate {
        if self.ends_waits() || self.kinds.get(&parent.kind).is_none() {
            return Gate::Free;
        }
        self.families.gate(parent, child, self.clock.now())
    }
}
