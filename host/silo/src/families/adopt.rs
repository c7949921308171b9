//! How actors become children, and how trees of them end.

use std::sync::Arc;
use std::time::Duration;

use quark_core::activation::Turn;
use quark_core::commit::CommitError;
use quark_core::envelope::{Head, Path};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::standing::Standing;
use quark_core::supervision::{CHILDREN_MAX, Lifetime, TooManyChildren};
use quark_engine::{Answer, CallFailure, Calling};
use tokio::sync::oneshot;

use super::Families;
use crate::activation::Activation;
use crate::api::{StateOperation, codes};
use crate::dispatch::Outgoing;
use crate::message::{Adopt, Message, Operate, Work, commit_failed};
use crate::silo::Inner;
use crate::store::StoreError;
use crate::waits::in_time;

/// The most actors above one that spawns.
const LEVELS_ABOVE_MAX: usize = 32;
/// The most actors that are looked at there: who has them as children, and who is just adopting them.
const ABOVE_MAX: usize = 256;
/// How long the end of one actor of a tree may take: it waits for its running turn.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a stop is repeated of which nobody knows whether it was made.
const DOUBTS_MAX: u32 = 2;
/// How often the children of one that is being stopped are stopped before it, if it spawns others meanwhile.
const ROUNDS_MAX: u32 = 4;
/// How often a child is looked at that is none any more, while others are being adopted.
const LOOKS_MAX: u32 = 64;

/// That actor is becoming a child of that parent, as long as this lives: until the parent lists it.
struct Adoption {
    silo: Arc<Inner>,
    child: ActorId,
}

impl Drop for Adoption {
    fn drop(&mut self) {
        self.silo.families.adopting.lock().by.remove(&self.child);
    }
}

/// Who asks for a change of its family: a turn.
struct Asker {
    id: ActorId,
    turn: Turn,
}

impl Asker {
    fn of(path: &Path) -> Option<Self> {
        let frame = path.frames().next()?;
        let turn = Turn { generation: frame.generation, number: frame.turn };
        Some(Self { id: frame.actor.clone(), turn })
    }

    /// Its activation, while the turn runs; of a hook, while it is loaded.
    fn activation(&self, silo: &Inner) -> Option<Arc<Activation>> {
        let activation = silo.catalog.get(&self.id)?;
        let generation = activation.machine.lock().turns.loaded_as().map(|(generation, _)| generation);
        (generation == Some(self.turn.generation) && activation.may_run(self.turn)).then_some(activation)
    }

    /// What the turn has of its standing, with a change that goes with its next commit point.
    fn stage(&self, silo: &Inner, change: impl FnOnce(&mut Standing)) -> Option<Standing> {
        let activation = self.activation(silo)?;
        let mut machine = activation.machine.lock();
        machine.turns.staged(self.turn);
        Some(machine.stage_standing(change).clone())
    }

    fn standing(&self, silo: &Inner) -> Standing {
        let activation = self.activation(silo);
        activation.and_then(|activation| activation.machine.lock().loaded_standing().cloned()).unwrap_or_default()
    }
}

impl Families {
    fn is_adopted(&self, child: &ActorId, by: &ActorId) -> bool {
        self.adopting.lock().by.get(child) == Some(by)
    }
}

fn denied(text: impl Into<String>) -> CallError {
    CallError::Denied(text.into())
}

fn unreadable(error: StoreError) -> CallError {
    match error {
        StoreError::Unavailable { retry_ms, .. } => CallError::Unavailable(retry_ms),
        StoreError::Damaged(_) => CallError::Failed(error.to_string()),
    }
}

/// A call of `children`, which goes on as long as its caller waits.
fn asked(future: impl Future<Output = Result<(), CallError>> + Send + 'static) -> Calling {
    Calling::Waits(Box::pin(async move { future.await.map(|()| Answer::default()).map_err(CallFailure::Call) }))
}

impl Inner {
    /// `children.spawn`: the child's row names the parent before it wakes; the parent's lists it with its next
    /// commit.
    pub(crate) fn spawn_child(self: &Arc<Self>, child: ActorId, lifetime: Lifetime, call: Outgoing) -> Calling {
        let silo = self.clone();
        asked(async move { silo.spawned(child, lifetime, call).await })
    }

    async fn spawned(self: &Arc<Self>, child: ActorId, lifetime: Lifetime, call: Outgoing) -> Result<(), CallError> {
        let Some(asker) = Asker::of(&call.path) else { return Err(denied("only actors have children")) };
        let parent = &asker.id;
        if self.kinds.get(&child.kind).is_none() {
            return Err(CallError::Incompatible(format!("no kind `{}` is deployed", child.kind)));
        }
        let row = asker.standing(self);
        if row.children.len() >= CHILDREN_MAX && !row.lists(&child) {
            return Err(denied(TooManyChildren.to_string()));
        }
        let _adopting = self.begin_to_adopt(&child, parent)?;
        self.check_above(parent, &child, true).await?;
        let (reply, answer) = oneshot::channel();
        let adopt = Work::Adopt(Box::new(Adopt { parent: parent.clone(), reply }));
        let adopted = async {
            let landed = self.ask_for_family(&child, adopt, call, answer).await?;
            landed.await.unwrap_or(Err(CommitError::Unknown)).map_err(commit_failed)
        };
        if let Err(error) = adopted.await {
            self.look_again(parent, &child, true).await;
            return Err(error);
        }
        // A turn that is over took its children along.
        if let Some(row) = asker.stage(self, |row| row.list(&child, lifetime)) {
            let policy = self.supervision_of(parent);
            let spawned = self.families.spawned((parent, row.parent.as_ref()), &child, lifetime, policy);
            self.look_again(parent, &child, true).await;
            return spawned.map_err(|error| denied(error.to_string()));
        }
        Ok(())
    }

    /// Whether that child still says that it is one; else it is none. Whoever stops it and whoever spawns it anew may
    /// come at once, and each looks when it is done; who `adopts` it has begun to and not ended.
    async fn look_again(self: &Arc<Self>, parent: &ActorId, child: &ActorId, adopts: bool) {
        for _ in 0..LOOKS_MAX {
            let begun = self.families.adopting.lock().begun;
            match self.standing_of(child).await {
                Ok(row) if row.stopped || row.parent.as_ref() != Some(parent) => {}
                Ok(_) | Err(_) => return,
            }
            // As long as this is locked nobody begins to adopt it.
            let adopting = self.families.adopting.lock();
            if !adopts && adopting.by.get(child) == Some(parent) {
                return;
            }
            if !adopts && adopting.begun != begun {
                // It may have been adopted anew since it was looked at.
                continue;
            }
            // In this order: a parent that is just being loaded takes those for its children that its row has.
            if let Some(activation) = self.catalog.get(parent) {
                activation.machine.lock().forget_child(child);
            }
            self.families.forget(parent, child);
            drop(adopting);
            // It may just have been held with others, whose start does not mean it any more.
            return self.go_on(child);
        }
    }

    /// Sends a message of `children`, and waits as its caller does.
    async fn ask_for_family<T>(
        self: &Arc<Self>,
        to: &ActorId,
        work: Work,
        call: Outgoing,
        answer: oneshot::Receiver<Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let now = self.clock.now();
        let deadline = call.deadline.min(now.after(call.timeout.unwrap_or(self.config.default_timeout)));
        let method = Arc::from(work.family_name());
        let (waits, ring) = self.waits_for(&call.path, to, &method, deadline)?;
        let head = Head { teller: None, deadline, path: call.path, chain: call.chain, keyed: None };
        self.deliver_later(to, Message::new(head, work, 0, waits))?;
        in_time(answer, self.clock.instant(deadline), ring).await
    }

    fn begin_to_adopt(self: &Arc<Self>, child: &ActorId, parent: &ActorId) -> Result<Adoption, CallError> {
        let mut adopting = self.families.adopting.lock();
        if let Some(other) = adopting.by.get(child) {
            return Err(denied(format!("{child} is just being spawned by {other}")));
        }
        adopting.by.insert(child.clone(), parent.clone());
        adopting.begun += 1;
        Ok(Adoption { silo: self.clone(), child: child.clone() })
    }

    /// Refuses a child that is its own parent's ancestor. When it `begins` to be adopted, also one that may come to be
    /// one: of two that are adopted at once the later sees the other.
    pub(crate) async fn check_above(&self, parent: &ActorId, child: &ActorId, begins: bool) -> Result<(), CallError> {
        // Who was found, below whom and on which level; in the order of their levels.
        let mut found: Vec<(ActorId, Option<usize>, usize)> = vec![(parent.clone(), None, 0)];
        let mut at = 0;
        while let Some((id, below, level)) = found.get(at).cloned() {
            if id == *child {
                let line = std::iter::successors(below, |below| found[*below].1);
                let line: Vec<_> = line.map(|below| format!("{} -> ", found[below].0)).collect();
                return Err(denied(format!("{child} would be above itself ({child} -> {}{child})", line.concat())));
            }
            if level >= LEVELS_ABOVE_MAX || found.len() > ABOVE_MAX {
                return Err(denied(format!(
                    "{parent} has more than {LEVELS_ABOVE_MAX} actors above it: a deeper tree is refused"
                )));
            }
            for (above, adopts) in self.parents_of(&id).await.map_err(unreadable)? {
                if (begins || !adopts) && found.iter().all(|(known, ..)| *known != above) {
                    found.push((above, Some(at), level + 1));
                }
            }
            at += 1;
        }
        Ok(())
    }

    /// The one that adopts that actor just now, true, which may be refused yet; and the parent that lists it.
    async fn parents_of(&self, id: &ActorId) -> Result<Vec<(ActorId, bool)>, StoreError> {
        let adopts = self.families.adopting.lock().by.get(id).cloned();
        let mut parents = Vec::from_iter(adopts.map(|adopts| (adopts, true)));
        if let Some(parent) = self.standing_of(id).await?.parent
            && self.lists(&parent, id).await?
        {
            parents.push((parent, false));
        }
        Ok(parents)
    }

    /// The parent of that actor that lists it, else the one that is about to.
    pub(crate) async fn parent_of(&self, id: &ActorId) -> Result<Option<ActorId>, StoreError> {
        Ok(self.parents_of(id).await?.pop().map(|(parent, _)| parent))
    }

    /// Whether that actor is that parent's child, or about to be.
    pub(crate) async fn lists(&self, parent: &ActorId, child: &ActorId) -> Result<bool, StoreError> {
        let row = self.standing_of(parent).await?;
        Ok(row.lists(child) || self.families.is_adopted(child, parent))
    }

    /// `children.stop`.
    pub(crate) fn stop_child(self: &Arc<Self>, child: ActorId, call: Outgoing) -> Calling {
        let silo = self.clone();
        asked(async move {
            let Some(asker) = Asker::of(&call.path) else { return Err(denied("only actors have children")) };
            if !asker.standing(&silo).lists(&child) {
                return Err(denied(format!("{child} is no child of {}", asker.id)));
            }
            if silo.standing_of(&child).await.map_err(unreadable)?.parent.as_ref() != Some(&asker.id) {
                // It was stopped meanwhile, and may be another's.
                asker.stage(&silo, |row| row.unlist(&child));
                return Ok(());
            }
            let now = silo.clock.now();
            let deadline = call.deadline.min(now.after(call.timeout.unwrap_or(silo.config.default_timeout)));
            // Once it has begun it cannot be refused: a ring that is not seen at once is left to the deadline.
            let (_waits, _) = silo.waits_for(&call.path, &child, &"stop".into(), deadline)?;
            // It goes on when its caller has gone: half a tree helps nobody.
            let (of, stopping) = (child.clone(), silo.clone());
            let stopping = silo.spawn_joined(async move { stopping.stop_tree(&of, "its parent stopped it").await });
            match tokio::time::timeout_at(silo.clock.instant(deadline), stopping).await {
                Ok(Ok(stopped)) => stopped?,
                Ok(Err(_)) => return Err(CallError::UnknownOutcome("the silo let go of the request".into())),
                Err(_) => return Err(CallError::DeadlineExceeded),
            }
            asker.stage(&silo, |row| row.unlist(&child));
            Ok(())
        })
    }

    /// Ends an actor for good, and all that are below it before it: the last that was started first. What fails
    /// on the way leaves the rest as it was; a repeat goes on from there.
    pub(crate) async fn stop_tree(self: &Arc<Self>, root: &ActorId, reason: &str) -> Result<(), CallError> {
        // Whom to stop, whether those below it have been seen, and how often.
        let mut to_do = vec![(root.clone(), 0)];
        while let Some((id, seen)) = to_do.pop() {
            let row = self.standing_of(&id).await.map_err(unreadable)?;
            if row.stopped && row.children.is_empty() && id != *root {
                continue;
            }
            let mut below = self.own_children(&id, &row).await.map_err(unreadable)?;
            // One that waits for the end of this one is not below it, whatever rows say.
            below.retain(|child| to_do.iter().all(|(id, seen)| *seen == 0 || id != child));
            if seen < ROUNDS_MAX && !below.is_empty() {
                to_do.push((id, seen + 1));
                to_do.extend(below.into_iter().map(|child| (child, 0)));
                continue;
            }
            let before = self.stop_one(&id).await?;
            // Who calls it is told that it is stopped, and not that it cools down.
            self.supervised.forgive(&id);
            // It went on spawning until now; they are stopped behind it.
            let below = self.own_children(&id, &before).await.map_err(unreadable)?;
            to_do.extend(below.into_iter().map(|child| (child, 0)));
            // It may have got another parent meanwhile.
            self.ended(&id, [row.parent, before.parent], reason).await;
        }
        Ok(())
    }

    /// Those of the row's children whose own rows say so.
    async fn own_children(&self, parent: &ActorId, row: &Standing) -> Result<Vec<ActorId>, StoreError> {
        let mut own = Vec::new();
        for child in &row.children {
            let childs = self.standing_of(&child.id).await?;
            if childs.parent.as_ref() == Some(parent) && !childs.stopped {
                own.push(child.id.clone());
            }
        }
        Ok(own)
    }

    /// Gives its row as it was. Whether a stop that nobody knows of was made is found out by another one.
    async fn stop_one(self: &Arc<Self>, id: &ActorId) -> Result<Standing, CallError> {
        let mut stopped = self.try_stop(id).await;
        for _ in 0..DOUBTS_MAX {
            if !matches!(stopped, Err(CallError::UnknownOutcome(_))) {
                break;
            }
            stopped = self.try_stop(id).await;
        }
        stopped
    }

    async fn try_stop(self: &Arc<Self>, id: &ActorId) -> Result<Standing, CallError> {
        let (reply, answer) = oneshot::channel();
        let deadline = self.clock.now().after(STOP_TIMEOUT);
        let operate = Operate { name: String::new(), operation: StateOperation::Stop, if_match: None, reply };
        let message = Message::notice(Work::Operate(Box::new(operate)), deadline);
        self.deliver_later(id, message)?;
        match tokio::time::timeout_at(self.clock.instant(deadline), answer).await {
            Ok(Ok(Ok(before))) => Ok(Standing::decode(before.bytes.as_deref()).unwrap_or_default()),
            Ok(Ok(Err(failure))) => Err(match failure.retry_after_ms {
                Some(ms) => CallError::Unavailable(ms),
                None if failure.code == codes::UNKNOWN_OUTCOME => CallError::UnknownOutcome(failure.message),
                None => CallError::Failed(failure.message),
            }),
            Ok(Err(_)) => Err(CallError::UnknownOutcome("the silo let go of the request".into())),
            Err(_) => Err(CallError::DeadlineExceeded),
        }
    }

    /// It was stopped, durably: those that had it as a child have it no longer, and whoever watches it is told.
    async fn ended(self: &Arc<Self>, id: &ActorId, parents: [Option<ActorId>; 2], reason: &str) {
        for parent in parents.iter().flatten() {
            self.look_again(parent, id, false).await;
        }
        self.go_on(id);
        self.tell_watchers(id, reason);
    }

    /// Those of a parent's children that are still its own, when it is loaded: a child whose row says otherwise
    /// was stopped, or is another's, and the parent's row does not know yet.
    pub(crate) async fn no_children_any_more(
        &self,
        parent: &ActorId,
        row: &Standing,
    ) -> Result<Vec<ActorId>, StoreError> {
        let mut gone = Vec::new();
        let above = self.line_above(parent, row).await?;
        for child in &row.children {
            if above.contains(&child.id) {
                gone.push(child.id.clone());
                continue;
            }
            if self.families.knows(parent, &child.id) {
                continue;
            }
            let childs = self.standing_of(&child.id).await?;
            if childs.stopped || childs.parent.as_ref() != Some(parent) {
                gone.push(child.id.clone());
            }
        }
        Ok(gone)
    }

    /// Who is above that actor, if it has children. None of them may be its child: such rows mean nothing.
    async fn line_above(&self, id: &ActorId, row: &Standing) -> Result<Vec<ActorId>, StoreError> {
        let (mut line, mut last) = (Vec::new(), id.clone());
        let mut above = row.parent.clone().filter(|_| !row.children.is_empty());
        while let Some(parent) = above.take()
            && line.len() <= LEVELS_ABOVE_MAX
            && !line.contains(&parent)
            && self.lists(&parent, &last).await?
        {
            above = self.standing_of(&parent).await?.parent;
            line.push(parent.clone());
            last = parent;
        }
        Ok(line)
    }
}
