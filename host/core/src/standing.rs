//! What a silo keeps of an actor that is not the actor's own: whether it was stopped, its parent, its children.

use crate::id::{ActorId, Key, KindName};
use crate::state::{Change, STANDING, Value};
use crate::supervision::{CHILDREN_MAX, Lifetime};

/// How a row begins; what a later version writes begins otherwise.
const VERSION: u8 = 2;
/// Rows of the version before: one more byte, whether it was stopped.
const VERSION_STOPPED_ONLY: u8 = 1;

/// A child as its parent's row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRow {
    /// Who it is.
    pub id: ActorId,
    /// What its ends mean.
    pub lifetime: Lifetime,
}

/// An actor's place among others. A child's row names its parent and the parent's row lists the child; the
/// child's row is written first, and only where both say so is it one. So whatever the moment in which a
/// silo dies: one row alone means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It was stopped: it is not woken until it is started or spawned again.
    pub stopped: bool,
    /// Who decides about its failures, if that one lists it.
    pub parent: Option<ActorId>,
    /// In the order in which they were started; at most [`CHILDREN_MAX`].
    pub children: Vec<ChildRow>,
}

impl Standing {
    /// Whether that child is listed.
    #[must_use]
    pub fn lists(&self, child: &ActorId) -> bool {
        self.children.iter().any(|row| row.id == *child)
    }

    /// Lists it, as the last one; one that is listed keeps its place.
    pub fn list(&mut self, child: &ActorId, lifetime: Lifetime) {
        match self.children.iter_mut().find(|row| row.id == *child) {
            Some(row) => row.lifetime = lifetime,
            None => self.children.push(ChildRow { id: child.clone(), lifetime }),
        }
    }

    /// Lists it no longer.
    pub fn unlist(&mut self, child: &ActorId) {
        self.children.retain(|row| row.id != *child);
    }

    /// The row; none where there is nothing to keep.
    #[must_use]
    pub fn encode(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let mut row = vec![VERSION, u8::from(self.stopped), u8::from(self.parent.is_some())];
        self.parent.iter().for_each(|parent| write_actor(&mut row, parent));
        for child in &self.children {
            row.push(child.lifetime as u8);
            write_actor(&mut row, &child.id);
        }
        Some(row.into())
    }

    /// What the row says; none when this version cannot read it.
    #[must_use]
    pub fn decode(row: Option<&[u8]>) -> Option<Self> {
        match row {
            None => Some(Self::default()),
            Some(&[VERSION_STOPPED_ONLY, stopped @ 0..=1]) => Some(Self { stopped: stopped == 1, ..Self::default() }),
            Some(&[VERSION, stopped @ 0..=1, has_parent @ 0..=1, ref rest @ ..]) => {
                let mut rest = rest;
                let parent = if has_parent == 1 { Some(read_actor(&mut rest)?) } else { None };
                let mut children = Vec::new();
                while let Some((lifetime, after)) = rest.split_first() {
                    rest = after;
                    let lifetime = LIFETIMES.into_iter().find(|known| *known as u8 == *lifetime)?;
                    if children.len() >= CHILDREN_MAX {
                        return None;
                    }
                    children.push(ChildRow { id: read_actor(&mut rest)?, lifetime });
                }
                Some(Self { stopped: stopped == 1, parent, children })
            }
            Some(_) => None,
        }
    }
}

const LIFETIMES: [Lifetime; 3] = [Lifetime::Permanent, Lifetime::Transient, Lifetime::Temporary];

fn write_actor(row: &mut Vec<u8>, actor: &ActorId) {
    for text in [actor.kind.as_str(), actor.key.as_str()] {
        // Names of kinds and keys are far shorter than that.
        row.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        row.extend(text.as_bytes());
    }
}

fn read_actor(row: &mut &[u8]) -> Option<ActorId> {
    let kind = KindName::parse(read_text(row)?).ok()?;
    Some(ActorId { kind, key: Key::parse(read_text(row)?).ok()? })
}

fn read_text<'a>(row: &mut &'a [u8]) -> Option<&'a str> {
    let (len, rest) = row.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *row = rest;
    std::str::from_utf8(text).ok()
}

/// The standing as an activation holds it: as it is now, with what the running turn staged, and as it was at
/// the last commit point.
#[derive(Clone, Debug, Default)]
pub struct KeptStanding {
    now: Standing,
    before: Option<Standing>,
    /// The row lists children that are none any more: the next commit says so.
    stale: bool,
}

impl KeptStanding {
    /// As it was loaded.
    #[must_use]
    pub const fn new(loaded: Standing) -> Self {
        Self { now: loaded, before: None, stale: false }
    }

    /// As it is now.
    #[must_use]
    pub const fn get(&self) -> &Standing {
        &self.now
    }

    /// Stages a change for the next commit point.
    pub fn stage(&mut self, change: impl FnOnce(&mut Standing)) {
        self.before.get_or_insert_with(|| self.now.clone());
        change(&mut self.now);
    }

    /// Whether the next commit has something to write.
    #[must_use]
    pub const fn is_staged(&self) -> bool {
        self.before.is_some() || self.stale
    }

    /// Undoes what is staged.
    pub fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.now = before;
        }
    }

    /// Takes what is staged, for a commit.
    pub fn take_change(&mut self) -> Option<Change> {
        let staged = self.before.take().is_some_and(|before| before != self.now);
        let stale = std::mem::take(&mut self.stale);
        (staged || stale).then(|| Change { name: STANDING.into(), value: self.now.encode() })
    }

    /// That child's own row says that it is none any more, so it is not listed, whatever becomes of the running
    /// turn. Until a commit says the same, whoever loads the row sees it by the child's; and no commit point
    /// passes it by, or a spawn that is cut off would find the child listed already.
    pub fn forget(&mut self, child: &ActorId) {
        self.stale |= self.now.lists(child) || self.before.as_ref().is_some_and(|before| before.lists(child));
        self.now.unlist(child);
        self.before.iter_mut().for_each(|before| before.unlist(child));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(key: &str) -> ActorId {
        ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() }
    }

    fn full() -> Standing {
        let mut standing = Standing { stopped: true, parent: Some(actor("boss")), children: Vec::new() };
        standing.list(&actor("a"), Lifetime::Permanent);
        standing.list(&actor(&"ü".repeat(256)), Lifetime::Temporary);
        standing.list(&actor("c"), Lifetime::Transient);
        standing
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let only_stopped = Standing { stopped: true, ..Standing::default() };
        for standing in [full(), only_stopped.clone(), Standing { stopped: false, ..full() }] {
            assert_eq!(Standing::decode(standing.encode().as_deref()), Some(standing));
        }
        assert_eq!(Standing::default().encode(), None);
        assert_eq!(Standing::decode(None), Some(Standing::default()));
        assert_eq!(Standing::decode(Some(b"\x01\x01")), Some(only_stopped), "of the version before");
    }

    #[test]
    fn what_is_no_row_of_this_version_is_refused() {
        let row = full().encode().unwrap();
        let cut = (4..row.len()).filter(|len| Standing::decode(Some(&row[..*len])).is_some()).count();
        assert_eq!(cut, 3, "only between children does a shorter one make sense");
        for bad in
            [&b"\x03?"[..], b"", b"\x02", b"\x02\x02\x00", b"\x02\x00\x01", b"\x02\x00\x00\x09\x01\x00a\x01\x00b"]
        {
            assert_eq!(Standing::decode(Some(bad)), None, "{bad:?}");
        }
        let one = b"\x00\x01\x00a\x01\x00b";
        let many = |count: usize| [&b"\x02\x00\x00"[..], &one.repeat(count)].concat();
        assert!(Standing::decode(Some(&many(CHILDREN_MAX))).is_some());
        assert!(Standing::decode(Some(&many(CHILDREN_MAX + 1))).is_none());
    }

    #[test]
    fn one_that_is_listed_again_keeps_its_place() {
        let mut standing = full();
        standing.list(&actor("a"), Lifetime::Temporary);
        assert_eq!((standing.children.len(), standing.children[0].lifetime), (3, Lifetime::Temporary));
        standing.unlist(&actor("a"));
        assert!(!standing.lists(&actor("a")) && standing.lists(&actor("c")));
    }

    #[test]
    fn what_is_staged_is_undone_or_taken_once() {
        let mut kept = KeptStanding::new(full());
        kept.stage(|standing| standing.stopped = false);
        kept.stage(|standing| standing.unlist(&actor("a")));
        kept.undo();
        assert_eq!(kept.get(), &full());
        assert_eq!(kept.take_change(), None);
        kept.stage(|standing| standing.stopped = false);
        let change = kept.take_change().unwrap();
        assert_eq!((&*change.name, change.value), (STANDING, Standing { stopped: false, ..full() }.encode()));
        kept.stage(|standing| standing.stopped = false);
        assert_eq!((kept.is_staged(), kept.take_change(), kept.is_staged()), (true, None, false));
    }

    #[test]
    fn a_child_that_others_stopped_stays_forgotten_when_the_turn_is_undone() {
        let mut kept = KeptStanding::new(full());
        kept.stage(|standing| standing.list(&actor("new"), Lifetime::Permanent));
        kept.forget(&actor("a"));
        kept.undo();
        assert!(!kept.get().lists(&actor("a")) && !kept.get().lists(&actor("new")) && kept.get().lists(&actor("c")));
    }

    #[test]
    fn a_child_that_others_stopped_leaves_the_row_with_the_next_commit() {
        let mut kept = KeptStanding::new(full());
        kept.forget(&actor("stranger"));
        assert!(!kept.is_staged(), "nothing changed");
        kept.forget(&actor("a"));
        kept.stage(|standing| standing.list(&actor("new"), Lifetime::Permanent));
        kept.undo();
        assert!(kept.is_staged(), "the row lists it as before");
        let mut without = full();
        without.unlist(&actor("a"));
        assert_eq!(kept.take_change().map(|change| change.value), Some(without.encode()));
        assert_eq!((kept.is_staged(), kept.take_change()), (false, None));
    }
}
