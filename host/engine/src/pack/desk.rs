//! What waits for a pack, and what is left of one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use quark_core::commit::Write;
use quark_core::state::Value;
use tokio::sync::oneshot;
use wasmtime::component::ResourceAny;

use super::Unseated;
use crate::error::Trap;
use crate::guest::{Member, Wishes};
use crate::instance::{Cause, Left, Started, look};
use crate::outside::Reached;
use crate::values::Payload;

/// What became of a turn that ran beside others.
#[derive(Debug)]
pub enum Turned {
    /// It ended.
    Ended {
        /// The result.
        payload: Payload,
        /// Its last commit point.
        write: Reached,
        /// What the guest asked for.
        wishes: Wishes,
    },
    /// Its instance is over.
    Trapped(Trap),
    /// Its instance was over before it began. Nothing was done.
    Unbegun(Box<Started>),
}

/// Called when a turn is over.
pub type Done = Box<dyn FnOnce(Turned) + Send>;

/// What the concurrent lane does for an actor.
pub(super) enum Work {
    Sit(Box<Member>, Cause),
    /// The rest of that, for the first actor of an instance.
    Wake(Cause),
    Turn(ResourceAny),
    Sleep(&'static str),
    Look(String),
    Settle,
    Leave(ResourceAny),
}

/// Who waits for it.
pub(super) enum Reply {
    Sat(oneshot::Sender<Result<(usize, ResourceAny), Unseated>>, Cause),
    Turned(Box<Started>, Done),
    /// The same once it has begun.
    Turns(Done),
    Slept(oneshot::Sender<Result<Write, Trap>>),
    Looked(oneshot::Sender<(Option<Value>, Vec<Arc<str>>)>),
    Settled(oneshot::Sender<Option<Left>>),
    Left(oneshot::Sender<Option<Box<Member>>>),
}

impl Reply {
    /// The instance is over. Nobody waits for an answer whose receiver is gone.
    pub(super) fn trapped(self, trap: Trap) {
        match self {
            Self::Sat(reply, _) => drop(reply.send(Err(Unseated::Trap(trap)))),
            Self::Turned(_, done) | Self::Turns(done) => done(Turned::Trapped(trap)),
            Self::Slept(reply) => drop(reply.send(Err(trap))),
            Self::Looked(reply) => drop(reply.send((None, Vec::new()))),
            Self::Settled(reply) => drop(reply.send(None)),
            Self::Left(reply) => drop(reply.send(None)),
        }
    }
}

/// Something to do for the actor of a seat, or for one that has none yet.
pub(super) struct Job {
    pub(super) seat: Option<usize>,
    pub(super) work: Work,
    pub(super) reply: Reply,
}

/// Something that is being done.
pub(super) struct Runs {
    pub(super) seat: usize,
    pub(super) reply: Reply,
}

/// What waits for a pack. Each of its actors has no more in it than turns that may overlap, and one
/// thing more.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) jobs: VecDeque<Job>,
    /// Somebody carries out jobs.
    pub(super) driven: bool,
    pub(super) runs: HashMap<u64, Runs>,
    pub(super) last: u64,
    /// The instance must end, for that seat's reason.
    pub(super) doomed: Option<(usize, Trap)>,
    /// Seats that were left, and guests' resources that nobody has any more.
    left: Vec<(usize, Option<ResourceAny>)>,
    /// The Store is gone.
    pub(super) over: bool,
    /// Those who sat in it.
    pub(super) ghosts: Vec<Option<Box<Member>>>,
}

/// The seat of what nobody sits on any more.
const NOWHERE: usize = usize::MAX;

impl Desk {
    pub(super) fn leave(&mut self, at: usize, this: ResourceAny) {
        if self.over {
            drop(self.take_ghost(at));
        } else {
            self.left.push((at, Some(this)));
        }
    }

    /// A resource whose actor has left already.
    pub(super) fn drop_later(&mut self, this: ResourceAny) {
        if !self.over {
            self.left.push((NOWHERE, Some(this)));
        }
    }

    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    pub(super) fn untidy(&self) -> bool {
        !self.left.is_empty()
    }

    pub(super) fn take_left(&mut self) -> Vec<(usize, Option<ResourceAny>)> {
        std::mem::take(&mut self.left)
    }

    pub(super) fn take_ghost(&mut self, at: usize) -> Option<Box<Member>> {
        self.ghosts.get_mut(at)?.take()
    }

    pub(super) fn look(&self, at: usize, name: &str) -> (Option<Value>, Vec<Arc<str>>) {
        match self.ghosts.get(at) {
            Some(Some(member)) => look(&member.state, name),
            _ => (None, Vec::new()),
        }
    }

    /// The seat for whose reason the instance must end, unless what ran for it has ended meanwhile.
    pub(super) fn take_doomed(&mut self) -> Option<(usize, Trap)> {
        self.doomed.take().filter(|(at, _)| self.runs.values().any(|runs| runs.seat == *at))
    }

    /// Notes who waits for something that begins.
    pub(super) fn begins(&mut self, seat: usize, reply: Reply) -> u64 {
        self.last += 1;
        self.runs.insert(self.last, Runs { seat, reply });
        self.last
    }
}
