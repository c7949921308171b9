//! Trees of supervision, for people.

use std::sync::Arc;

use quark_core::id::ActorId;
use quark_core::standing::{ChildRow, Standing};
use quark_core::supervision::Verdict;
use quark_core::time::Time;

use crate::api::{TreeNode, TreeReport};
use crate::kinds::Served;
use crate::service::phase_name;
use crate::silo::Inner;
use crate::store::{PAGE_MAX, StoreError};
use crate::supervision::millis;

/// The service that an actor with children asks for.
pub(crate) const CHILDREN: &str = "quark:actor/children@0.1.0";
/// The most actors that are looked at for those that have children.
const LOOKED_AT_MAX: usize = 100_000;
/// The most levels that are shown.
const LEVELS_SHOWN_MAX: u32 = 48;

/// How many actors may still be shown.
struct Left {
    actors: usize,
    truncated: bool,
}

impl Inner {
    /// The tree of that actor, or all whose root nobody has as a child; at most so many actors.
    pub(crate) async fn tree(&self, root: Option<ActorId>, limit: usize) -> Result<TreeReport, StoreError> {
        let mut left = Left { actors: limit, truncated: false };
        let roots = match root {
            Some(root) => vec![root],
            None => self.roots(&mut left).await?,
        };
        let mut report = TreeReport::default();
        for root in roots {
            if left.actors == 0 {
                left.truncated = true;
                break;
            }
            let row = self.standing_of(&root).await?;
            let mut child = None;
            if let Some(parent) = self.parent_of(&root).await? {
                let listed = self.standing_of(&parent).await?.children.into_iter().find(|child| child.id == root);
                child = listed.map(|listed| (parent, listed));
            }
            let child = child.as_ref().map(|(parent, listed)| (parent, listed));
            report.roots.push(Box::pin(self.node(root, row, child, LEVELS_SHOWN_MAX, &mut left)).await?);
        }
        report.truncated = left.truncated;
        Ok(report)
    }

    /// All actors that have children and no parent.
    async fn roots(&self, left: &mut Left) -> Result<Vec<ActorId>, StoreError> {
        let parents = |served: &&Arc<Served>| served.component.asks.iter().any(|it| it == CHILDREN);
        let (mut roots, mut looked_at) = (Vec::new(), 0);
        for served in self.kinds.all().iter().filter(parents) {
            let kind = &served.kind().name;
            let mut last = None;
            loop {
                let keys = self.store.keys(kind, last.as_ref(), PAGE_MAX).await?;
                let Some(end) = keys.last() else { break };
                last = Some(end.clone());
                for key in keys {
                    looked_at += 1;
                    if looked_at > LOOKED_AT_MAX {
                        left.truncated = true;
                        return Ok(roots);
                    }
                    let id = ActorId { kind: kind.clone(), key };
                    if !self.standing_of(&id).await?.children.is_empty() && self.parent_of(&id).await?.is_none() {
                        roots.push(id);
                    }
                }
            }
        }
        Ok(roots)
    }

    async fn node(
        &self,
        id: ActorId,
        row: Standing,
        child: Option<(&ActorId, &ChildRow)>,
        levels: u32,
        left: &mut Left,
    ) -> Result<TreeNode, StoreError> {
        left.actors = left.actors.saturating_sub(1);
        let now = self.clock.now();
        let known = child.and_then(|(parent, _)| self.families.known(parent, &id));
        let (state, until) = match (&known, self.supervised.verdict(&id, now)) {
            _ if row.stopped => ("stopped", None),
            (_, Some(Verdict::CoolDown(until))) => ("cool-down", Some(until)),
            (Some(known), _) if known.held => ("held", None),
            (Some(known), _) if known.down_until.is_some() => ("down", known.down_until),
            (_, Some(Verdict::Restart(until))) => ("down", Some(until)),
            _ => (self.catalog.get(&id).map_or("asleep", |activation| phase_name(activation.phase())), None),
        };
        let mut node = TreeNode {
            kind: id.kind.to_string(),
            key: id.key.to_string(),
            lifetime: child.map_or("", |(_, row)| row.lifetime.name()).into(),
            state: state.into(),
            left_ms: until.filter(|until| *until < Time::NEVER).map(|until| millis(until.since(now))),
            restarts: known.map_or(0, |known| known.restarts),
            last_failure: self.supervised.last_failure(&id),
            children: Vec::new(),
        };
        for child in &row.children {
            let below = self.standing_of(&child.id).await?;
            // Its own row decides.
            if below.stopped || below.parent.as_ref() != Some(&id) {
                continue;
            }
            if left.actors == 0 || levels == 0 {
                left.truncated = true;
                break;
            }
            let below = Box::pin(self.node(child.id.clone(), below, Some((&id, child)), levels - 1, left));
            node.children.push(below.await?);
        }
        Ok(node)
    }
}
