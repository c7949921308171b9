//! What travels with a message beside its arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::ActorId;
use crate::idempotency::Keyed;
use crate::time::Time;

/// The most actors that one path of waiting turns may hold.
pub const PATH_DEPTH_MAX: u32 = 64;
/// The most headers that travel with a chain.
pub const HEADERS_MAX: usize = 64;
/// The most bytes of all header names and values together.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What is the same along a whole call chain, unless a turn changes it for its own calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The same for all calls that come of one request.
    pub request_id: String,
    /// Who the outside client proved to be.
    pub principal: Option<String>,
    /// Key/value pairs that travel with the calls.
    pub headers: BTreeMap<String, String>,
}

impl Chain {
    /// Adds or replaces a header; false, and nothing changed, when that would pass a bound.
    pub fn set_header(&mut self, name: &str, value: &str) -> bool {
        let old = self.headers.get(name).map_or(0, |old| name.len() + old.len());
        let all: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let count = self.headers.len() + usize::from(old == 0);
        if count > HEADERS_MAX || all - old + name.len() + value.len() > HEADER_BYTES_MAX {
            return false;
        }
        self.headers.insert(name.into(), value.into());
        true
    }
}

/// What lets a turn go on that made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// That call's end, and nothing else.
    One,
    /// Perhaps the end of any of several calls. Its instance knows of which, and whether of anything else.
    Several,
    /// Perhaps something that is not known.
    Unknown,
}

/// One turn that waits for an outgoing call, and those that wait for it.
#[derive(Debug)]
pub struct Frame {
    /// Who waits.
    pub actor: ActorId,
    /// The method in whose turn it waits.
    pub method: Arc<str>,
    /// Its activation.
    pub generation: u64,
    /// Its turn; 0 in a hook, which runs while no other turn of the actor can.
    pub turn: u64,
    /// What it waits for beside that call.
    pub awaits: Awaits,
    /// Which of the calls that the turn ever made.
    pub call: u32,
    /// Who called it; none for a chain's first actor.
    pub parent: Path,
    depth: u32,
}

/// The turns that wait for a message's answer, newest first. A path, not a chain id: an actor may
/// call two others at once, and both may call a third, which neither waits for the other.
#[derive(Clone, Debug, Default)]
pub struct Path(Option<Arc<Frame>>);

impl Path {
    /// The path of a chain's first message.
    pub const START: Self = Self(None);

    /// This path with one more turn, which waits for nothing else.
    #[must_use]
    pub fn with(&self, actor: ActorId, method: Arc<str>, (generation, turn): (u64, u64), call: u32) -> Self {
        self.with_that(actor, method, (generation, turn), call, Awaits::One)
    }

    /// The same with one that perhaps waits for more.
    #[must_use]
    pub fn with_that(
        &self,
        actor: ActorId,
        method: Arc<str>,
        (generation, turn): (u64, u64),
        call: u32,
        awaits: Awaits,
    ) -> Self {
        let (parent, depth) = (self.clone(), self.depth() + 1);
        Self(Some(Arc::new(Frame { actor, method, generation, turn, awaits, call, parent, depth })))
    }

    /// The waiting turns, newest first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        std::iter::successors(self.0.as_deref(), |frame| frame.parent.0.as_deref())
    }

    /// The actor whose turn waits for the message itself.
    #[must_use]
    pub fn newest(&self) -> Option<&ActorId> {
        self.0.as_ref().map(|frame| &frame.actor)
    }

    /// How many turns wait.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.0.as_ref().map_or(0, |frame| frame.depth)
    }

    /// The frame of that actor nearest to the message, if it waits on this path.
    #[must_use]
    pub fn find(&self, actor: &ActorId) -> Option<&Frame> {
        self.frames().find(|frame| frame.actor == *actor)
    }

    /// How many of the turns that wait are that actor's.
    #[must_use]
    pub fn count(&self, actor: &ActorId) -> u32 {
        u32::try_from(self.frames().filter(|frame| frame.actor == *actor).count()).unwrap_or(u32::MAX)
    }

    /// The path to a message, for people: `cart/42.checkout -> pay/9.charge -> cart/42.total`.
    #[must_use]
    pub fn describe(&self, to: &ActorId, method: &str) -> String {
        let mut hops = vec![format!("{to}.{method}")];
        hops.extend(self.frames().map(|frame| format!("{}.{}", frame.actor, frame.method)));
        hops.reverse();
        hops.join(" -> ")
    }
}

impl Drop for Frame {
    /// Long paths are taken apart in a loop, so that no depth can overflow the stack.
    fn drop(&mut self) {
        let mut at = self.parent.0.take();
        while let Some(mut frame) = at.and_then(Arc::into_inner) {
            at = frame.parent.0.take();
        }
    }
}

/// What a message carries beside its receiver and its arguments.
#[derive(Clone, Debug)]
pub struct Head {
    /// The actor that told it, for a tell. A call's sender is the newest on its path.
    pub teller: Option<ActorId>,
    /// When the sender stops waiting.
    pub deadline: Time,
    /// The turns that wait for the answer.
    pub path: Path,
    /// What travels along the chain.
    pub chain: Arc<Chain>,
    /// Its idempotency key, if it has one and its method is marked so.
    pub keyed: Option<Box<Keyed>>,
}

impl Head {
    /// The actor that sent the message; none for a client outside.
    #[must_use]
    pub fn sender(&self) -> Option<&ActorId> {
        self.teller.as_ref().or_else(|| self.path.newest())
    }

    /// What the message carries, for whoever runs it elsewhere; what stays behind is a shell.
    pub fn take(&mut self) -> Self {
        let (teller, path) = (self.teller.take(), std::mem::take(&mut self.path));
        Self { teller, deadline: self.deadline, path, chain: self.chain.clone(), keyed: self.keyed.take() }
    }
}

/// Names one tell for ever: its sender's commit (or the gateway's accept) and the place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TellId {
    /// The sender; none for a client outside.
    pub from: Option<ActorId>,
    /// Grows from tell to tell of one sender.
    pub sequence: u64,
}

/// A message that nobody waits for: a row of the outbox until its receiver's commit lands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// Whom it is for.
    pub to: ActorId,
    /// The method.
    pub method: String,
    /// The arguments, MessagePack by type.
    pub arguments: Vec<u8>,
    /// What travels along.
    pub chain: Chain,
}

impl Tell {
    /// What it counts against the bounds on pending bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arguments.len() + self.method.len() + 128
    }
}

impl fmt::Display for TellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(from) => write!(f, "{from}:{}", self.sequence),
            None => write!(f, "outside:{}", self.sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Key, KindName};

    fn actor(key: &str) -> ActorId {
        ActorId { kind: KindName::new("t:t/t", "cart"), key: Key::parse(key).unwrap() }
    }

    #[test]
    fn a_path_finds_its_actors_and_reads_from_the_first() {
        let path = Path::START.with(actor("a"), "go".into(), (1, 7), 1).with(actor("b"), "on".into(), (2, 8), 1);
        assert_eq!(path.depth(), 2);
        assert_eq!(path.find(&actor("a")).map(|frame| frame.turn), Some(7));
        assert!(path.find(&actor("c")).is_none());
        assert_eq!((path.count(&actor("a")), path.count(&actor("c"))), (1, 0));
        assert_eq!(path.describe(&actor("a"), "total"), "cart/a.go -> cart/b.on -> cart/a.total");
    }

    #[test]
    fn a_long_path_drops_without_recursion() {
        let mut path = Path::START;
        for turn in 0..200_000 {
            path = path.with(actor("a"), "go".into(), (1, turn), 1);
        }
        drop(path);
    }

    #[test]
    fn headers_are_bounded() {
        let mut chain = Chain::default();
        assert!(chain.set_header("a", &"x".repeat(1000)));
        assert!(chain.set_header("a", &"y".repeat(HEADER_BYTES_MAX - 1)), "replacing counts once");
        assert!(!chain.set_header("b", "z"));
        assert_eq!(chain.headers.len(), 1);
    }
}
