//! An actor as it was: what its journal came to at some event, in an instance that is made for that alone.

use std::sync::Arc;
use std::time::Instant;

use quark_core::id::ActorId;
use quark_core::journal::{Mark, SNAPSHOT_BYTES_MAX};
use quark_core::state::State;
use wasmtime::component::Val;

use crate::cell::{Cell, constructed, me};
use crate::component::Component;
use crate::error::Trap;
use crate::guest::{Guest, LOOKS_BACK, Member};
use crate::instance::{Birth, Cause};
use crate::kind::Hook;
use crate::outside::Outside;

/// Whom to look back at, and how far.
pub struct Past {
    /// The actor.
    pub actor: ActorId,
    /// What runs.
    pub component: Arc<Component>,
    /// The kind's place in the component.
    pub kind_at: usize,
    /// The last event to apply, and the snapshot to begin with.
    pub mark: Mark,
    /// Where events and the snapshot are read; nothing else is asked of it that could change anything.
    pub outside: Arc<dyn Outside>,
}

impl Past {
    /// What the actor's `snapshot` says after `restore`, `apply` of each event, and its constructor. Its `activate`
    /// does not run, since that is where an actor begins to do things, and it has no state beside its journal. All
    /// that could leave the instance is refused as in `apply`.
    ///
    /// # Errors
    /// When there is no room, or the guest traps or refuses.
    pub async fn snapshot(self) -> Result<Vec<u8>, Trap> {
        let Self { actor, component, kind_at, mark, outside } = self;
        let state = State::new(std::collections::BTreeMap::new(), 0).with_journal(mark);
        let (cause, generation) = (Cause::Message, 0);
        let birth = Birth { actor, generation, cause, component: component.clone(), kind_at, state, outside };
        let (member, _) = Member::of(birth);
        // On a stack of its own, whatever its lane: it gives its worker away at each tick.
        let mut cell = Cell::new(&component, kind_at, member, None, true).await?;
        cell.replay(true).await?;
        cell.say_what_it_came_to().await
    }
}

impl Cell {
    /// The replay's turn goes on: nothing can be written or sent.
    async fn say_what_it_came_to(&mut self) -> Result<Vec<u8>, Trap> {
        let constructor = self.exports.constructor(&mut self.store)?;
        let key = Val::String(self.store.data().member.actor.key.to_string());
        self.enter(true, Instant::now());
        let made = self.invoke(constructor, &[key], true).await?;
        let _this = constructed(self.exports.kind(), made)?;
        let at = self.exports.kind().hook(Hook::Snapshot);
        let at = at.ok_or_else(|| Trap::Guest("its component exports no `quark:actor/journaled@0.1.0`".into()))?;
        let snapshot = self.exports.method(&mut self.store, at)?;
        let actor = me(&self.store.data().member.actor);
        self.enter(true, Instant::now());
        let said = self.invoke(snapshot, &[actor], true).await?;
        if Guest::is_staged(self.store.data()) {
            return Err(Trap::Refused(LOOKS_BACK.into()));
        }
        let Val::List(bytes) = said else { return Err(Trap::Guest("its `snapshot` gave no bytes".into())) };
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(Trap::Guest(format!("its snapshot has over {SNAPSHOT_BYTES_MAX} bytes")));
        }
        Ok(bytes.iter().filter_map(|byte| if let Val::U8(byte) = byte { Some(*byte) } else { None }).collect())
    }
}
