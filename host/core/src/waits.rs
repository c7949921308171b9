//! Who waits for whom: finds calls of different chains that would wait for one another for ever.
//!
//! ```text
//!   chain 1:  cart/1 --waits--> pay/9, whose turn runs for chain 2
//!   chain 2:  pay/9  --waits--> cart/1, whose turn runs for chain 1
//! ```
//! A call made inside a turn that finds its target busy is recorded before it enters the mailbox,
//! and until its turn begins or nobody waits for it. All turns on its path wait for that target.
//! From the target's running turns recorded calls lead to further targets; if that comes to a turn
//! on the new call's own path, the call would close a ring. A ring is always closed by a call that
//! finds its target busy: a turn that just begins waits for nothing yet.
//!
//! Where each turn of the ring waits for one call at a time ([`Awaits::One`]), that is all there is
//! to know, and the call is refused. A turn that may have several calls under way
//! ([`Awaits::Several`]) goes on when any of them ends, or of itself: such a call waits as a suspect,
//! and is looked at again ([`Waits::look`]) when its instance says that its turns rest. It is refused
//! when *all* calls of all of them wait for one another (`knot`).
//!
//! Calls that find their target idle are not recorded, nor those from outside: nobody can wait for
//! a client. No ring is seen through a turn that perhaps waits for something that is not known
//! ([`Awaits::Unknown`]): that is left to its deadline. A turn that trapped waits no more, and what
//! it called goes on: the turns above it on a path do not wait for that. What a path returns to (its
//! own waiting turns) is not decided here.

mod knot;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::knot::Knot;
use crate::envelope::{Awaits, Frame, Path};
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
    /// What lets them go on.
    pub until: Until,
}

/// What lets the turns of one actor go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// Each waits for one call at a time, which its path names; or runs.
    #[default]
    Call,
    /// Nothing but the end of one of these calls, as turn and call: a turn may have several, and what
    /// one turn is told may let another one go on.
    Calls(Vec<(u64, u32)>),
    /// Perhaps something else: one of them runs, or a further one may begin beside them.
    Unknown,
}

/// Names a recorded call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(u64);

/// What became of a call that is about to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// It is recorded: remove it before its turn runs, and before it is answered.
    Recorded(WaitId),
    /// The same, and it may wait for itself: look at it again.
    Suspect(WaitId),
    /// It waits without a record: there are too many, or nothing can be said of its path.
    Unseen,
    /// It would wait for itself. The text has the paths of all calls of the ring, its own first.
    Ring(String),
}

/// What became of a suspect.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// It may still come to wait for itself: look again.
    Suspect,
    /// It waits no more, or not in a ring that can be seen.
    Over,
    /// It waits for itself, and is recorded no longer: answer it now, and do not run its turn. The text is
    /// as that of [`Added::Ring`].
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
    /// Whether one of them may have had several calls under way.
    several: bool,
}

/// Turn, generation, actor: numbers first, since they mostly tell two keys apart.
type TurnKey = (u64, u64, ActorId);

/// All calls that wait in mailboxes of one silo for turns of others.
#[derive(Debug, Default)]
pub struct Waits {
    calls: BTreeMap<WaitId, Wait>,
    /// The calls that turns wait for, by the turn and by which of its own calls leads there.
    by_turn: BTreeSet<(TurnKey, u32, WaitId)>,
    /// How many of them are on paths through turns that may have several calls under way.
    several: usize,
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
        let known = path.frames().next().is_some_and(|frame| frame.awaits != Awaits::Unknown);
        if !known || deadline <= now || path.find(to).is_some() {
            return Added::Unseen;
        }
        let turns: Vec<&Frame> =
            path.frames().take_while(|frame| frame.awaits != Awaits::Unknown && runs(frame, &mut running)).collect();
        let alone = turns.iter().take_while(|frame| frame.awaits == Awaits::One).count();
        let several = alone < turns.len();
        let mut found = self.search(&turns[..alone], Awaits::One, to, now, &mut running);
        if let Search::Ring(ring) = found {
            return Added::Ring(self.describe(path, to, method, &ring));
        }
        if matches!(found, Search::None) && (several || self.several > 0) {
            found = self.search(&turns, Awaits::Several, to, now, &mut running);
        }
        self.skipped += u64::from(matches!(found, Search::TooLong));
        if self.calls.len() >= WAITS_MAX {
            self.skipped += 1;
            return Added::Unseen;
        }
        self.last += 1;
        let id = WaitId(self.last);
        for frame in &turns {
            self.by_turn.insert((key(frame), frame.call, id));
        }
        self.several += usize::from(several);
        let (path, to, method, turns) = (path.clone(), to.clone(), method.clone(), turns.len());
        self.calls.insert(id, Wait { path, to, method, deadline, turns, several });
        if matches!(found, Search::Ring(_)) { Added::Suspect(id) } else { Added::Recorded(id) }
    }

    /// The call's turn is about to run, or its caller is about to be told that it will not. False when
    /// it was removed before: its caller has been told of a ring.
    pub fn remove(&mut self, id: WaitId) -> bool {
        let Some(wait) = self.calls.remove(&id) else { return false };
        for frame in wait.path.frames().take(wait.turns) {
            self.by_turn.remove(&(key(frame), frame.call, id));
        }
        self.several -= usize::from(wait.several);
        true
    }

    /// Looks at a suspect again. While this runs, nothing may be added or removed; `running` tells what
    /// lets turns go on as of one moment in between for each actor.
    pub fn look(&mut self, id: WaitId, now: Time, running: impl FnMut(&ActorId) -> Option<Running>) -> Looked {
        let Some(wait) = self.calls.get(&id).filter(|wait| wait.deadline > now) else { return Looked::Over };
        let Some(knot) = Knot::of(self, &wait.to, now, running) else {
            self.skipped += 1;
            return Looked::Over;
        };
        // One that came later closed it, and is looked at as well.
        let ring = knot.ring(id).filter(|ring| ring.iter().all(|other| *other < id));
        let Some(ring) = ring else { return Looked::Suspect };
        let text = self.describe(&wait.path, &wait.to, &wait.method, &ring);
        self.remove(id);
        Looked::Ring(text)
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

    /// Recorded calls whose paths pass through that turn, newest first; with `call` those that this call of
    /// the turn has led to.
    fn through(&self, key: &TurnKey, call: Option<u32>) -> impl Iterator<Item = (WaitId, &Wait)> {
        let from = (key.clone(), call.unwrap_or(0), WaitId(0));
        let to = (key.clone(), call.unwrap_or(u32::MAX), WaitId(u64::MAX));
        self.by_turn.range(from..=to).rev().filter_map(|(_, _, id)| Some((*id, self.calls.get(id)?)))
    }

    /// Follows who waits for whom from the target on: through turns that do nothing but wait, or also
    /// through those that perhaps do.
    fn search(
        &self,
        waiting: &[&Frame],
        through: Awaits,
        to: &ActorId,
        now: Time,
        running: &mut impl FnMut(&ActorId) -> Option<Running>,
    ) -> Search {
        if waiting.is_empty() {
            return Search::None;
        }
        let mut seen = BTreeSet::from([to.clone()]);
        // With the call by which each was reached, and where that one was reached from.
        let mut found: Vec<(ActorId, Option<(WaitId, usize)>)> = vec![(to.clone(), None)];
        let mut at = 0;
        while let Some((actor, _)) = found.get(at) {
            let actor = actor.clone();
            let Running { generation, turns, until: _ } = running(&actor).unwrap_or_default();
            // Hooks have no number, and whoever waits for the actor waits for its hook too.
            for turn in turns.into_iter().chain([0]) {
                let key = (turn, generation, actor.clone());
                if waiting.iter().any(|frame| is(frame, &key)) {
                    return Search::Ring(trail(&found, at));
                }
                for (id, wait) in self.through(&key, None).filter(|(_, wait)| wait.deadline > now) {
                    let next = wait.beyond(&key, through, running).into_iter().flatten();
                    let next = next.filter(|actor| seen.insert(actor.clone())).collect::<Vec<_>>();
                    found.extend(next.into_iter().map(|actor| (actor, Some((id, at)))));
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

impl Wait {
    /// Whom that turn on its path waits for by it: its target, and all who wait in between where what turns
    /// beside them are told may let them go on. None when one in between waits no more, or does not wait so.
    fn beyond(
        &self,
        key: &TurnKey,
        through: Awaits,
        running: &mut impl FnMut(&ActorId) -> Option<Running>,
    ) -> Option<Vec<ActorId>> {
        let mut actors = vec![self.to.clone()];
        for frame in self.path.frames() {
            let waits = through == Awaits::Several || frame.awaits == Awaits::One;
            if is(frame, key) {
                return waits.then_some(actors);
            }
            if !waits || !runs(frame, running) {
                return None;
            }
            if frame.awaits == Awaits::Several {
                actors.push(frame.actor.clone());
            }
        }
        None
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
    running(&frame.actor).is_some_and(|now| now.has(frame.turn, frame.generation))
}

impl Running {
    /// Whether that turn is one of them. Hooks have no number: of one that is over this is not known.
    fn has(&self, turn: u64, generation: u64) -> bool {
        self.generation == generation && (turn == 0 || self.turns.contains(&turn))
    }
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
