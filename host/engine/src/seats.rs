//! Several actors, or several turns of one, in the same instance: whose a host call is.
//!
//! The [`Guest`] shows its host functions one actor and one turn. Before a function that depends on
//! them runs, [`attribute`] puts those that call in their place.

use std::collections::HashMap;

use smallvec::SmallVec;
use wasmtime::StoreContextMut;
use wasmtime::component::GuestTaskId;

use crate::guest::{Guest, Member, TurnContext};

/// The most tasks of one call stack that are looked at.
const STACK_MAX: usize = 64;

/// The actors and turns that are not shown.
#[derive(Default)]
pub(crate) struct Seats {
    /// Whether turns of one actor overlap.
    pub(crate) overlap: bool,
    /// By seat; none where nobody sits, and for the actor that is shown.
    members: Vec<Option<Box<Member>>>,
    free: Vec<usize>,
    /// The seat of the actor that is shown.
    seat: Option<usize>,
    /// By the task of their call; that of the turn that is shown has another's context.
    turns: HashMap<GuestTaskId, Shared>,
    task: Option<GuestTaskId>,
    /// No turn runs, but the guest is made or parts of it are dropped.
    any_call: bool,
}

struct Shared {
    seat: usize,
    context: TurnContext,
}

impl Seats {
    pub(crate) fn new(overlap: bool) -> Self {
        Self { overlap, any_call: true, ..Self::default() }
    }

    /// All actors but the one that is shown.
    pub(crate) fn into_members(self) -> (Vec<Option<Box<Member>>>, Option<usize>) {
        (self.members, self.seat)
    }
}

impl Guest {
    /// Gives an actor a seat. The first one of an instance is there already.
    pub(crate) fn sit(&mut self, member: Option<Box<Member>>) -> usize {
        let Some(seats) = &mut self.seats else { return 0 };
        let first = member.is_none();
        let seat = match seats.free.pop() {
            Some(seat) => {
                seats.members[seat] = member;
                seat
            }
            None => {
                seats.members.push(member);
                seats.members.len() - 1
            }
        };
        if first {
            seats.seat = Some(seat);
        }
        seat
    }

    /// Shows the actor of that seat.
    pub(crate) fn show(&mut self, seat: usize) {
        let Some(seats) = &mut self.seats else { return };
        if seats.seat == Some(seat) {
            return;
        }
        let Some(member) = seats.members.get_mut(seat).and_then(Option::take) else { return };
        let before = std::mem::replace(&mut self.member, member);
        if let Some(before_at) = seats.seat.replace(seat) {
            seats.members[before_at] = Some(before);
        }
        if self.wasi.is_some() {
            self.lines.turn_to(&self.member.host);
        }
    }

    /// Takes an actor away.
    pub(crate) fn leave(&mut self, seat: usize) -> Option<Box<Member>> {
        let seats = self.seats.as_mut()?;
        let member = if seats.seat == Some(seat) {
            seats.seat = None;
            Some(self.member.leave())
        } else {
            seats.members.get_mut(seat)?.take()
        };
        if member.is_some() {
            seats.free.push(seat);
        }
        member
    }

    /// Whether host functions may be called outside of any turn.
    pub(crate) fn let_any_call(&mut self, yes: bool) {
        if let Some(seats) = &mut self.seats {
            seats.any_call = yes;
        }
    }

    /// Whether nobody sits here any more.
    pub(crate) fn is_deserted(&self) -> bool {
        self.seats.as_ref().is_some_and(|seats| seats.members.len() == seats.free.len())
    }

    /// The seat of the actor that is shown.
    pub(crate) fn seat(&self) -> Option<usize> {
        self.seats.as_ref()?.seat
    }

    /// A turn begins, as that task.
    pub(crate) fn begin(&mut self, task: GuestTaskId, seat: usize, context: TurnContext) {
        if let Some(seats) = &mut self.seats {
            seats.turns.insert(task, Shared { seat, context });
        }
    }

    /// Shows that task's turn and its actor. False when there is no such turn.
    pub(crate) fn show_turn(&mut self, task: GuestTaskId) -> bool {
        let Some(seats) = &mut self.seats else { return true };
        let Some(seat) = seats.turns.get(&task).map(|turn| turn.seat) else { return false };
        if seats.task != Some(task) {
            self.put_turn_back();
            if let Some(seats) = &mut self.seats
                && let Some(turn) = seats.turns.get_mut(&task)
            {
                std::mem::swap(&mut self.turn, &mut turn.context);
                seats.task = Some(task);
            }
        }
        // Another actor may be shown, for what was done for that one between turns.
        self.show(seat);
        true
    }

    /// The task whose turn is shown.
    pub(crate) fn task(&self) -> Option<GuestTaskId> {
        self.seats.as_ref()?.task
    }

    /// What that task's turn waited for has come; the turn may be over.
    pub(crate) fn resume(&mut self, task: Option<GuestTaskId>) {
        if task.is_none_or(|task| self.show_turn(task)) {
            self.turn.clock.resume();
        }
    }

    fn put_turn_back(&mut self) {
        if let Some(seats) = &mut self.seats
            && let Some(task) = seats.task.take()
            && let Some(turn) = seats.turns.get_mut(&task)
        {
            std::mem::swap(&mut self.turn, &mut turn.context);
        }
    }

    /// The turn is over.
    pub(crate) fn end(&mut self, task: GuestTaskId) -> Option<TurnContext> {
        let seats = self.seats.as_mut()?;
        if seats.task == Some(task) {
            self.put_turn_back();
        }
        Some(self.seats.as_mut()?.turns.remove(&task)?.context)
    }
}

/// Shows the turn that calls. Without seats there is only one.
///
/// # Errors
/// When what calls goes on after its turn has answered.
pub(crate) fn attribute(store: &mut StoreContextMut<'_, Guest>) -> wasmtime::Result<()> {
    if store.data().seats.as_ref().is_none_or(|seats| seats.any_call) {
        return Ok(());
    }
    let stack: SmallVec<[GuestTaskId; 4]> = store.async_call_stack()?.take(STACK_MAX).collect();
    if stack.into_iter().any(|task| store.data_mut().show_turn(task)) {
        return Ok(());
    }
    store.data_mut().put_turn_back();
    Err(wasmtime::Error::msg(
        "it went on after its turn had answered, which a kind that is packed or whose turns overlap cannot do",
    ))
}
