//! Who waits for whom: finds calls of different chains that would wait for one another for ever.
//!
//! ```text
//!   chain 1:  cart/1 --waits--> pay/9, whose turn runs for chain 2
//!   chain 2:  pay/9  --waits--> cart/1, whose turn runs for chain 1
//! ```
//! A call made inside a turn that finds its target busy is recorded before it enters the mailbox,
//! and until its turn begins or nobody waits for it. All turns on its path wait for that target.
//! From the target's running turns recorded calls lead to further targets; if that comes to a turn
//! on the new call's own path, the call would close a ring, and it is refused. A ring is always
//! closed by a call that finds its target busy: a turn that just begins waits for nothing yet.
//!
//! Calls that find their target idle are not recorded, nor those from outside: nobody can wait for
//! a client. A turn that may have several calls under way ([`Frame::alone`]) may go on when any of
//! them ends, so no ring is seen through it: that is left to its deadline. A turn that trapped waits
//! no more, and what it called goes on: the turns above it on a path do not wait for that. What a
//! path returns to (its own waiting turns) is not decided here.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::envelope::{Frame, Path};
use crate::id::ActorId;
use crate::time::Time;

/// The most calls that are recorded; further ones are not, and wait until their deadline.
pub const WAITS_MAX: usize = 65_536;
/// The most actors that are looked at for one call; a longer ring is left to the deadline.
pub const SEARCH_MAX: usize = 1_024;
/// The most paths that the text of one answer shows.
const PATHS_SHOWN_MAX: usize = 8;

/// The turns of one actor that run now: what waits in its mailbox waits for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// The activation.
    pub generation: u64,
    /// Their numbers.
    pub turns: Vec<u64>,
}

/// Names a recorded call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(u64);

/// What became of a call that is about to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// It is recorded: remove it before its turn runs, and before it is answered.
    Recorded(WaitId),
    /// It waits without a record: there are too many, or nothing can be said of its path.
    Unseen,
    /// It would wait for itself. The text has the paths of all calls of the ring, its own first.
    Ring(String),
}

/// A call that waits in a mailbox.
#[derive(Debug)]
struct Wait {
    path: Path,
    to: ActorId,
    method: Arc<str>,
    /// From then on nobody on its path waits for it any more.
    deadline: Time,
    /// How many turns of its path waited for it, from the newest on.
    turns: usize,
}

/// Turn, generation, actor: numbers first, since they mostly tell two keys apart.
type TurnKey = (u64, u64, ActorId);

/// All calls that wait in mailboxes of one silo for turns of others.
#[derive(Debug, Default)]
pub struct Waits {
    calls: BTreeMap<WaitId, Wait>,
    /// The newest call that each turn waits for. An older one it has given up.
    by_turn: BTreeMap<TurnKey, WaitId>,
    last: u64,
    /// Calls of which it is not known whether they closed a ring.
    skipped: u64,
}

impl Waits {
    /// Records a call that is about to enter its target's mailbox, unless it closes a ring.
    /// `running` gives the turns of an actor that run now, none for one that is not loaded; each
    /// turn must be seen there before it makes its first call.
    pub fn add(
        &mut self,
        path: &Path,
        to: &ActorId,
        method: &Arc<str>,
        deadline: Time,
        now: Time,
        mut running: impl FnMut(&ActorId) -> Option<Running>,
    ) -> Added {
        let alone = path.frames().next().is_some_and(|frame| frame.alone);
        if !alone || deadline <= now || path.find(to).is_some() {
            return Added::Unseen;
        }
        let turns: Vec<&Frame> = path.frames().take_while(|frame| frame.alone && runs(frame, &mut running)).collect();
        match self.search(&turns, to, now, &mut running) {
            Search::Ring(ring) => return Added::Ring(self.describe(path, to, method, &ring)),
            Search::None => {}
            Search::TooLong => self.skipped += 1,
        }
        if self.calls.len() >= WAITS_MAX {
            self.skipped += 1;
            return Added::Unseen;
        }
        self.last += 1;
        let id = WaitId(self.last);
        for frame in &turns {
            self.by_turn.insert(key(frame), id);
        }
        let (path, to, method, turns) = (path.clone(), to.clone(), method.clone(), turns.len());
        self.calls.insert(id, Wait { path, to, method, deadline, turns });
        Added::Recorded(id)
    }

    /// The call's turn is about to run, or its caller is about to be told that it will not.
    pub fn remove(&mut self, id: WaitId) {
        let Some(wait) = self.calls.remove(&id) else { return };
        for frame in wait.path.frames().take(wait.turns) {
            let key = key(frame);
            if self.by_turn.get(&key) == Some(&id) {
                self.by_turn.remove(&key);
            }
        }
    }

    /// Calls that are recorded now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Calls so far that went past a bound, so that a ring of theirs may not have been seen.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Follows who waits for whom from the target on.
    fn search(
        &self,
        waiting: &[&Frame],
        to: &ActorId,
        now: Time,
        running: &mut impl FnMut(&ActorId) -> Option<Running>,
    ) -> Search {
        let mut seen = BTreeSet::from([to.clone()]);
        // With the call by which each was reached, and where that one was reached from.
        let mut found: Vec<(ActorId, Option<(WaitId, usize)>)> = vec![(to.clone(), None)];
        let mut at = 0;
        while let Some((actor, _)) = found.get(at) {
            let actor = actor.clone();
            let Running { generation, turns } = running(&actor).unwrap_or_default();
            // Hooks have no number, and whoever waits for the actor waits for its hook too.
            for turn in turns.into_iter().chain([0]) {
                let key = (turn, generation, actor.clone());
                if waiting.iter().any(|frame| is(frame, &key)) {
                    return Search::Ring(trail(&found, at));
                }
                let next = self.by_turn.get(&key).and_then(|id| Some((*id, self.calls.get(id)?)));
                let Some((id, wait)) = next.filter(|(_, wait)| wait.deadline > now) else { continue };
                let between = || wait.path.frames().take_while(|frame| !is(frame, &key));
                if between().all(|frame| runs(frame, running)) && seen.insert(wait.to.clone()) {
                    found.push((wait.to.clone(), Some((id, at))));
                }
            }
            at += 1;
            if found.len() > SEARCH_MAX {
                return Search::TooLong;
            }
        }
        Search::None
    }

    fn describe(&self, path: &Path, to: &ActorId, method: &str, ring: &[WaitId]) -> String {
        let others = ring.iter().filter_map(|id| self.calls.get(id));
        let others = others.map(|wait| wait.path.describe(&wait.to, &wait.method));
        let mut paths: Vec<String> = std::iter::once(path.describe(to, method)).chain(others).collect();
        let more = paths.len().saturating_sub(PATHS_SHOWN_MAX);
        paths.truncate(PATHS_SHOWN_MAX);
        if more > 0 {
            paths.push(format!("{more} more calls wait in between"));
        }
        paths.join(", while ")
    }
}

enum Search {
    None,
    TooLong,
    /// The calls that lead from the target back to the path.
    Ring(Vec<WaitId>),
}

/// Whether that turn is still there to wait.
fn runs(frame: &Frame, running: &mut impl FnMut(&ActorId) -> Option<Running>) -> bool {
    let now = running(&frame.actor).filter(|now| now.generation == frame.generation);
    now.is_some_and(|now| frame.turn == 0 || now.turns.contains(&frame.turn))
}

fn key(frame: &Frame) -> TurnKey {
    (frame.turn, frame.generation, frame.actor.clone())
}

fn is(frame: &Frame, (turn, generation, actor): &TurnKey) -> bool {
    frame.turn == *turn && frame.generation == *generation && frame.actor == *actor
}

/// The calls that led there, first to last.
fn trail(found: &[(ActorId, Option<(WaitId, usize)>)], mut at: usize) -> Vec<WaitId> {
    let mut calls = Vec::new();
    while let Some((_, Some((id, from)))) = found.get(at) {
        calls.push(*id);
        at = *from;
    }
    calls.reverse();
    calls
}
