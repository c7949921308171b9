//! Families: which children a parent has, which of them are down, and what is still to be done about it.
//!
//! `core::supervision::Children` decides; this is where one of it is kept for each parent whose children have
//! had something to do with this silo. It outlives the parent's activation, and not the silo: what is durable
//! are the rows of parents and children ([`quark_core::standing`]). `work` carries out what is decided, one
//! task for a family and one action after the other; `adopt` is how actors become children and end to be
//! some, `watches` tells of ends, `report` shows it.
//!
//! An activation's machine is locked before the families, never after.

mod adopt;
mod report;
pub(crate) mod watches;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use quark_core::envelope::Path;
use quark_core::id::ActorId;
use quark_core::standing::Standing;
use quark_core::supervision::{Action, Children, Directive, Lifetime, Supervision, TooManyChildren};
use quark_core::time::Time;
use quark_engine::Trap;
use tokio::sync::Notify;

use crate::supervision::millis;

/// The most families that are kept; of those in which nothing is down the one that was used longest ago makes
/// room, and begins to count anew.
const FAMILIES_MAX: usize = 100_000;
/// How many are looked at for one that can make room.
const LOOKED_AT_MAX: usize = 64;
/// How many levels above a child are looked at for one that is held.
const LEVELS_MAX: u32 = 64;

/// All families of this silo.
#[derive(Default)]
pub(crate) struct Families {
    table: Mutex<Table>,
    /// Locked before any machine.
    adopting: Mutex<Adopting>,
}

/// Actors that are becoming children, and whose.
#[derive(Default)]
struct Adopting {
    by: HashMap<ActorId, ActorId>,
    /// How many have begun to.
    begun: u64,
}

#[derive(Default)]
struct Table {
    families: HashMap<ActorId, Family>,
    /// By their last use.
    order: BTreeMap<u64, ActorId>,
    uses: u64,
    /// How many have a task.
    at_work: usize,
}

struct Family {
    children: Children<ActorId>,
    /// Who decides about the parent's failures.
    parent: Option<ActorId>,
    /// Those that lived when they ended: their restart wakes them.
    lived: HashSet<ActorId>,
    /// The parent failed too often, and starts then at the earliest.
    cools: Option<(Time, String)>,
    /// The last failure among the children.
    last_failure: String,
    /// Children about which the parent is being asked, and who is told when nobody should wait for its answer.
    asked: HashMap<ActorId, Arc<Notify>>,
    queue: VecDeque<Action<ActorId>>,
    at_work: bool,
    changed: Arc<Notify>,
    used: u64,
}

/// Whether a child may be loaded.
pub(crate) enum Gate {
    Free,
    /// It waits for its restart, or for its parent's.
    Down,
    /// A parent of it failed too often.
    Cools(Trap),
}

/// What a family's task does next.
enum Next {
    Do(Action<ActorId>),
    Wait(Time, Arc<Notify>),
    Done,
}

/// A child as its family knows it.
pub(crate) struct Known {
    pub(crate) down_until: Option<Time>,
    pub(crate) held: bool,
    pub(crate) restarts: u64,
}

impl Table {
    fn family(&mut self, parent: &ActorId) -> Option<&mut Family> {
        let family = self.families.get_mut(parent)?;
        self.uses += 1;
        self.order.remove(&family.used);
        self.order.insert(self.uses, parent.clone());
        family.used = self.uses;
        Some(family)
    }

    fn family_or_new(&mut self, parent: &ActorId, policy: Supervision, above: Option<&ActorId>) -> Option<&mut Family> {
        if !self.families.contains_key(parent) {
            if self.families.len() >= FAMILIES_MAX && !self.make_room() {
                return None;
            }
            self.families.insert(parent.clone(), Family::new(policy));
        }
        let family = self.family(parent)?;
        family.children.set_policy(policy);
        family.parent = above.cloned();
        Some(family)
    }

    fn make_room(&mut self) -> bool {
        let rests = |(_, parent): &(&u64, &ActorId)| self.families.get(*parent).is_some_and(Family::rests);
        let found = self.order.iter().take(LOOKED_AT_MAX).find(rests);
        let Some((used, parent)) = found.map(|(used, parent)| (*used, parent.clone())) else { return false };
        self.order.remove(&used);
        self.families.remove(&parent);
        true
    }

    fn remove(&mut self, parent: &ActorId) {
        if let Some(family) = self.families.remove(parent) {
            self.order.remove(&family.used);
        }
    }
}

impl Family {
    fn new(policy: Supervision) -> Self {
        Self {
            children: Children::new(policy),
            parent: None,
            lived: HashSet::new(),
            cools: None,
            last_failure: String::new(),
            asked: HashMap::new(),
            queue: VecDeque::new(),
            at_work: false,
            changed: Arc::default(),
            used: 0,
        }
    }

    fn rests(&self) -> bool {
        !self.at_work && self.queue.is_empty() && !self.children.is_held() && self.children.next_due().is_none()
    }

    /// Whether there is no child, and nothing to be done about one.
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.children.iter().next().is_none()
    }

    fn is_down(&self, child: &ActorId) -> bool {
        self.children.contains(child) && (self.children.is_held() || self.children.starts_at(child).is_some())
    }
}

impl Families {
    /// The parent's row as it was loaded. What is to be done about those that it does not list is queued.
    pub(crate) fn loaded(&self, parent: &ActorId, row: &Standing, policy: Supervision) {
        let mut table = self.table.lock();
        if row.children.is_empty() && !table.families.contains_key(parent) {
            return;
        }
        let Some(family) = table.family_or_new(parent, policy, row.parent.as_ref()) else { return };
        let listed = row.children.iter().map(|child| (child.id.clone(), child.lifetime));
        let actions = family.children.set_listed(listed);
        family.queue.extend(actions);
    }

    /// Whether anything is known of children of that actor.
    pub(crate) fn has(&self, parent: &ActorId) -> bool {
        self.table.lock().families.contains_key(parent)
    }

    pub(crate) fn knows(&self, parent: &ActorId, child: &ActorId) -> bool {
        self.table.lock().families.get(parent).is_some_and(|family| family.children.contains(child))
    }

    /// One more child, which lives.
    fn spawned(
        &self,
        (parent, above): (&ActorId, Option<&ActorId>),
        child: &ActorId,
        lifetime: Lifetime,
        policy: Supervision,
    ) -> Result<(), TooManyChildren> {
        let mut table = self.table.lock();
        let Some(family) = table.family_or_new(parent, policy, above) else { return Ok(()) };
        family.children.spawn(child.clone(), lifetime)
    }

    /// It is no child any more, and nothing is to be done about it.
    pub(crate) fn forget(&self, parent: &ActorId, child: &ActorId) {
        let mut table = self.table.lock();
        let Some(family) = table.family(parent) else { return };
        family.children.stop(child);
        family.lived.remove(child);
        family.queue.retain(|action| !matches!(action, Action::Hold(id) | Action::Start(id) if id == child));
        if family.is_empty() && !family.at_work {
            table.remove(parent);
        }
    }

    /// Whether that child, which is to be held, is none any more; or its parent is up again, with which it was.
    fn lets_go(&self, parent: &ActorId, child: &ActorId, with_parent: bool) -> bool {
        let table = self.table.lock();
        let family = table.families.get(parent).filter(|family| family.children.contains(child));
        family.is_none_or(|family| with_parent && !family.children.is_held())
    }

    /// Whether that child, which was held just now, need not wait: it was let go of, or spawned anew meanwhile.
    fn goes_on(&self, parent: &ActorId, child: &ActorId, with_parent: bool) -> bool {
        let table = self.table.lock();
        let family = table.families.get(parent).filter(|family| family.is_down(child));
        family.is_none_or(|family| with_parent && !family.children.is_held())
    }

    /// How often children of that parent failed within the window, one more included.
    pub(crate) fn count(&self, parent: &ActorId, now: Time) -> u32 {
        self.table.lock().families.get(parent).map_or(1, |family| family.children.count(now))
    }

    /// The parent is being asked about that child.
    fn asks(&self, parent: &ActorId, child: &ActorId) -> Arc<Notify> {
        let mut table = self.table.lock();
        let family = table.families.get_mut(parent);
        family.map(|family| family.asked.entry(child.clone()).or_default().clone()).unwrap_or_default()
    }

    /// A turn on that path is about to wait for that child, which is down. True when the child starts only
    /// after a turn of the path has ended: that of a parent that fails, or of a sibling that ends with it. A
    /// parent that is asked about it, and waits for it, is not waited for.
    pub(crate) fn waits_for(&self, path: &Path, parent: &ActorId, child: &ActorId) -> bool {
        let table = self.table.lock();
        let (mut parent, mut child) = (parent, child);
        for _ in 0..LEVELS_MAX {
            let Some(family) = table.families.get(parent).filter(|family| family.children.contains(child)) else {
                break;
            };
            let on_path = path.find(parent).is_some();
            if on_path && let Some(asked) = family.asked.get(child) {
                asked.notify_one();
            }
            // One that is about to end with its siblings, but for its turn.
            let ends = |id: &ActorId| family.is_down(id) && id != child;
            if (family.children.is_held() && on_path) || path.frames().any(|frame| ends(&frame.actor)) {
                return true;
            }
            if !family.children.is_held() {
                break;
            }
            let Some(above) = family.parent.as_ref() else { break };
            (child, parent) = (parent, above);
        }
        false
    }

    /// The policy of the parent's kind as it is now: a new version may have come since the parent was loaded.
    fn follows(&self, parent: &ActorId, policy: Supervision) {
        self.table.lock().families.get_mut(parent).iter_mut().for_each(|family| family.children.set_policy(policy));
    }

    /// A child failed, and its instance is over. False when it is none.
    fn failed(&self, parent: &ActorId, child: &ActorId, directive: Directive, reason: &str, now: Time) -> bool {
        let mut table = self.table.lock();
        let Some(family) = table.family(parent).filter(|family| family.children.contains(child)) else { return false };
        family.last_failure = format!("{child}: {reason}");
        family.asked.remove(child);
        family.lived.insert(child.clone());
        let actions = family.children.failed(child, directive, now, rand::random());
        family.queue.extend(actions);
        true
    }

    /// A child asked to leave memory, and has. False when it is none.
    fn ended(&self, parent: &ActorId, child: &ActorId, now: Time) -> bool {
        let mut table = self.table.lock();
        let Some(family) = table.family(parent).filter(|family| family.children.contains(child)) else { return false };
        family.last_failure = format!("{child}: it ended");
        family.lived.insert(child.clone());
        let actions = family.children.ended(child, now, rand::random());
        family.queue.extend(actions);
        true
    }

    /// A child is being loaded.
    pub(crate) fn woke(&self, parent: &ActorId, child: &ActorId) {
        let mut table = self.table.lock();
        table.families.get_mut(parent).iter_mut().for_each(|family| family.children.woke(child));
    }

    /// Whatever children of that parent wait for is over.
    pub(crate) fn hurry(&self, parent: &ActorId, now: Time) {
        let mut table = self.table.lock();
        table.families.get_mut(parent).iter_mut().for_each(|family| family.children.hurry(now));
    }

    /// That child is not let run.
    pub(crate) fn waits(&self, parent: &ActorId, child: &ActorId) {
        let mut table = self.table.lock();
        table.families.get_mut(parent).iter_mut().for_each(|family| family.children.waits(child));
    }

    /// The parent is down; what is to be done about its children is queued. False when it has none.
    pub(crate) fn down(&self, parent: &ActorId) -> bool {
        let mut table = self.table.lock();
        let Some(family) = table.family(parent) else { return false };
        let actions = family.children.hold();
        family.queue.extend(actions);
        true
    }

    /// The same, but whoever asks carries it out.
    fn take_down(&self, parent: &ActorId) -> Vec<Action<ActorId>> {
        self.table.lock().family(parent).map(|family| family.children.hold()).unwrap_or_default()
    }

    /// The parent failed too often, and is not started before that.
    pub(crate) fn cool(&self, parent: &ActorId, until: Time, reason: &str) {
        if let Some(family) = self.table.lock().family(parent) {
            family.cools = Some((until, reason.into()));
        }
    }

    /// The parent lives; what that means for its children is queued.
    pub(crate) fn up(&self, parent: &ActorId) -> bool {
        let mut table = self.table.lock();
        let Some(family) = table.family(parent) else { return false };
        family.cools = None;
        let actions = family.children.release();
        family.queue.extend(actions);
        true
    }

    /// It lived when it was ended just now.
    fn lived(&self, parent: &ActorId, child: &ActorId) {
        if let Some(family) = self.table.lock().families.get_mut(parent) {
            family.lived.insert(child.clone());
        }
    }

    /// Whether it is to be woken now that it may start: it lived before, or others wait for it.
    fn take_lived(&self, parent: &ActorId, child: &ActorId) -> bool {
        let mut table = self.table.lock();
        let holds_others = table.families.get(child).is_some_and(|family| family.children.is_held());
        table.families.get_mut(parent).is_some_and(|family| family.lived.remove(child)) || holds_others
    }

    /// Whether that child may be loaded now.
    pub(crate) fn gate(&self, parent: &ActorId, child: &ActorId, now: Time) -> Gate {
        let table = self.table.lock();
        let (mut parent, mut child) = (parent, child);
        let mut down = false;
        for _ in 0..LEVELS_MAX {
            let Some(family) = table.families.get(parent).filter(|family| family.is_down(child)) else { break };
            down = true;
            if let Some((until, reason)) = family.cools.as_ref().filter(|(until, _)| *until > now) {
                let reason = format!("its parent {parent} failed too often: {reason}");
                return Gate::Cools(Trap::CoolsDown { retry_ms: millis(until.since(now)), reason });
            }
            let Some(above) = family.parent.as_ref().filter(|_| family.children.is_held()) else { break };
            (child, parent) = (parent, above);
        }
        if down { Gate::Down } else { Gate::Free }
    }

    /// Those of its children that are down.
    fn down_in(&self, parent: &ActorId) -> Vec<ActorId> {
        let table = self.table.lock();
        let Some(family) = table.families.get(parent) else { return Vec::new() };
        family.children.iter().map(|(id, _)| id).filter(|id| family.is_down(id)).cloned().collect()
    }

    /// All below that actor that are down.
    fn down_below(&self, parent: &ActorId) -> Vec<ActorId> {
        let (mut known, mut to_do, mut down) = (HashSet::new(), vec![parent.clone()], Vec::new());
        while let Some(id) = to_do.pop() {
            let below: Vec<_> = self.down_in(&id).into_iter().filter(|below| known.insert(below.clone())).collect();
            to_do.extend_from_slice(&below);
            down.extend(below);
        }
        down
    }

    /// The parent's own, as its row had it.
    fn above(&self, parent: &ActorId) -> Option<ActorId> {
        self.table.lock().families.get(parent)?.parent.clone()
    }

    fn last_failure(&self, parent: &ActorId) -> String {
        self.table.lock().families.get(parent).map(|family| family.last_failure.clone()).unwrap_or_default()
    }

    /// Parents whose children wait for them.
    fn waited_for(&self) -> Vec<ActorId> {
        let table = self.table.lock();
        let waits = |family: &Family| family.children.is_held() && family.children.iter().next().is_some();
        let held = table.families.iter().filter(|(_, family)| waits(family) && !family.at_work);
        held.map(|(parent, _)| parent.clone()).collect()
    }

    /// Families in which something is being done, or is due.
    pub(crate) fn at_work(&self) -> usize {
        self.table.lock().at_work
    }

    /// Whether the caller is to be the family's task.
    fn begin_work(&self, parent: &ActorId) -> bool {
        let mut table = self.table.lock();
        let Some(family) = table.families.get_mut(parent) else { return false };
        family.changed.notify_one();
        let needed = !family.queue.is_empty() || family.children.next_due().is_some();
        let begins = needed && !std::mem::replace(&mut family.at_work, true);
        table.at_work += usize::from(begins);
        begins
    }

    fn next(&self, parent: &ActorId, now: Time) -> Next {
        let mut table = self.table.lock();
        let Some(family) = table.families.get_mut(parent) else { return Next::Done };
        if family.queue.is_empty() {
            let due = family.children.due(now);
            family.queue.extend(due);
        }
        match (family.queue.pop_front(), family.children.next_due()) {
            (Some(action), _) => Next::Do(action),
            (None, Some(due)) => Next::Wait(due, family.changed.clone()),
            (None, None) => {
                let ends = std::mem::take(&mut family.at_work);
                if family.is_empty() {
                    table.remove(parent);
                }
                table.at_work -= usize::from(ends);
                Next::Done
            }
        }
    }

    /// What the family knows of a child; none when it does not know it.
    pub(crate) fn known(&self, parent: &ActorId, child: &ActorId) -> Option<Known> {
        let table = self.table.lock();
        let family = table.families.get(parent).filter(|family| family.children.contains(child))?;
        let children = &family.children;
        Some(Known {
            down_until: children.starts_at(child),
            held: children.is_held(),
            restarts: children.restarts(child),
        })
    }
}

#[cfg(test)]
mod tests;
